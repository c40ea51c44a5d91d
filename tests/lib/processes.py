"""Processes as /proc tells of them."""

import contextlib
import os
import pathlib


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
