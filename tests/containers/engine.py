"""What the container tests share: running a command."""

import subprocess

IMAGES = ("silodns/api", "silodns/updater", "silodns/hostsync")


def run(*command, check=True, timeout=300, **more):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=timeout, **more)
    assert not check or done.returncode == 0, f"{command}\n{done.stdout[-2000:]}\n{done.stderr[-3000:]}"
    return done
