"""What a test uses as a secret may stand in no log, no output and no command line of any program, in the whole run of tests."""

import os
import pathlib
import subprocess

SHORTEST = 6  # what is shorter is found in any text
SECRET_SETTINGS = ("PASSWORD", "TOKEN")

used = set()


def note(*secrets):
    used.update(str(secret) for secret in secrets if secret and len(str(secret)) >= SHORTEST)


def of_settings(settings):
    """The secrets among a program's settings, whose names are without SILODNS_."""
    found = {str(value) for name, value in settings.items() if value and name.endswith(SECRET_SETTINGS) and len(str(value)) >= SHORTEST}
    note(*found)
    return found


def check(text, secrets, where):
    for secret in secrets:
        assert secret not in text, f"a secret stands in {where}: {text[max(text.index(secret) - 300, 0):][:600]}"


def check_command_line(process, secrets):
    """Of a program that runs; also its environment, of which it has wiped them."""
    try:
        for name in ("cmdline", "environ"):
            check(pathlib.Path(f"/proc/{process.pid}/{name}").read_bytes().decode(errors="replace"), secrets, f"/proc/{name}")
    except OSError:  # it has just ended, or does not let its own user look
        pass


def check_logs(directory, pattern="*.log"):
    """All logs below a directory against all secrets of this run."""
    if not used:
        return
    done = subprocess.run(["grep", "-rlaF", f"--include={pattern}", "-f", "-", os.fspath(directory)], input="\n".join(sorted(used)), text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert done.returncode == 1, f"secrets stand in {done.stdout.splitlines()[:10]}; {done.stderr}"
