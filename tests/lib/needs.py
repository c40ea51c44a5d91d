"""What a test needs that not every machine gives: without it the test is skipped, and says so."""

import os
import resource
import socket
import subprocess

import pytest


def _works(*command):
    try:
        return subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False).returncode == 0
    except OSError:
        return False


def _has_ipv6():
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
        return True
    except OSError:
        return False


root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
ipv6 = pytest.mark.skipif(not _has_ipv6(), reason="this machine has no ::1")
mounts = pytest.mark.skipif(not _works("unshare", "-m", "--propagation", "private", "mount", "-t", "tmpfs", "none", "/mnt"),
                            reason="needs the right to mount (root, and in a container CAP_SYS_ADMIN)")
network = pytest.mark.skipif(not _works("unshare", "-n", "ip", "link", "add", "x0", "type", "veth", "peer", "name", "x1"),
                             reason="needs the right to make network interfaces (root, and in a container CAP_SYS_ADMIN)")


def descriptors(count):
    """So many open files at a time, for the test and for each program that it starts."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < count:
        pytest.skip(f"needs {count} file descriptors; here a process may have {hard}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, count), hard))
