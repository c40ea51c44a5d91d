"""Processes as /proc tells of them."""

import contextlib
import os
import pathlib
import signal


def children(parent):
    """{pid: its directory in /proc} of the living children of a process."""
    found = {}
    for name in filter(str.isdigit, os.listdir("/proc")):  # pathlib's glob() looks into each, and raises if one has just ended
        directory = pathlib.Path("/proc", name)
        with contextlib.suppress(OSError):  # it has just ended
            state, its_parent = (directory / "stat").read_text().rsplit(")", 1)[1].split()[:2]
            if int(its_parent) == parent and state != "Z":
                found[int(name)] = directory
    return found


def freeze(process):
    """Returns when it stands still: SIGSTOP reaches one thread after the other, and meanwhile the others go on."""
    process.send_signal(signal.SIGSTOP)
    os.waitid(os.P_PID, process.pid, os.WSTOPPED)


def thaw(process):
    process.send_signal(signal.SIGCONT)
