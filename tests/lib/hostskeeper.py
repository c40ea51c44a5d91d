"""Runs silodns-hostsync on a hosts file of its own, for the tests."""

import json
import os
import pathlib
import re
import shlex
import signal
import subprocess

from tests.lib import leaks
from tests.lib.hub import BUILD, check_sanitizers
from tests.lib.waiting import wait_until

BINARY = BUILD / "silodns-hostsync"

BEGIN = "# BEGIN silodns: kept by silodns-hostsync, changes between these two lines are lost\n"
END = "# END silodns\n"


def block(*parts):
    """block(("a", [("db", "192.0.2.7")]), …) as it stands in the file."""
    text = BEGIN
    for silo, records in parts:
        text += f"# silo {silo}\n" + "".join(f"{ip}\t{name}\n" for name, ip in records)
    return text + END


class Keeper:
    """A hosts file in `directory` and the settings of the hostsync that keeps it."""

    program = BINARY

    def __init__(self, directory, hub=None, silos="a", **settings):
        self.directory = pathlib.Path(directory)
        self.hosts = self.directory / "hosts"
        self.log_file = self.directory.parent / f"{self.directory.name}.log"
        self.settings = {"HOSTS_FILE": str(self.hosts), "SILOS": silos, "LOG_FORMAT": "json", "TIMEOUT": "5s"}
        if hub:
            self.settings["URL"] = hub.url
        self.settings |= settings
        self.process = None
        self.wrapper = []  # a command that runs hostsync, such as unshare; for start() one that becomes hostsync

    def environment(self, **more):
        settings = {k: v for k, v in (self.settings | more).items() if v is not None}
        keep = {k: v for k, v in os.environ.items() if not k.startswith("SILODNS_")}
        return keep | {"SILODNS_" + k: v for k, v in settings.items()}

    def run(self, *flags, timeout=30, shell_before=None, shell_after=None, **settings):
        """To its end. shell_before and shell_after: shell text around it, in the same namespaces."""
        command = [str(self.program), *flags]
        if shell_before or shell_after:
            script = f"set -e\n{shell_before or ':'}\nset +e\n{shlex.join(command)}\ncode=$?\n"
            script += f"{shell_after or ':'}\nexit $code\n"
            command = ["sh", "-c", script]
        done = subprocess.run(
            self.wrapper + command, env=self.environment(**settings), capture_output=True, timeout=timeout, check=False
        )
        leaks.check((done.stdout + done.stderr).decode(errors="replace"), leaks.of_settings(self.settings | settings), "the output")
        done.events = self.parse(done.stderr.decode())
        return done

    def once(self, *flags, **settings):
        return self.run("--once", *flags, **settings)

    def start(self, *flags, **settings):
        leaks.of_settings(self.settings | settings)
        with open(self.log_file, "ab") as log:
            self.process = subprocess.Popen([*self.wrapper, str(self.program), *flags], env=self.environment(**settings), stderr=log)
        return self

    def stop(self, timeout=10):
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(timeout)
        return self.process.returncode if self.process else None

    def kill(self):
        self.process.kill()
        self.process.wait()

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        if self.process and self.process.poll() is None:
            self.kill()
        if self.log_file.exists():
            log = self.log_file.read_text(errors="replace")
            check_sanitizers(log)
            leaks.check(log, leaks.of_settings(self.settings), "the log")

    @staticmethod
    def parse(text):
        events = []
        for line in text.splitlines():
            try:
                events.append(json.loads(line))
            except ValueError:
                events.append({"message": line})
        return events

    @staticmethod
    def message(event):
        return event.get("message") or event.get("msg") or ""

    def events(self, message=None):
        text = self.log_file.read_text() if self.log_file.exists() else ""
        return [e for e in self.parse(text) if message is None or self.message(e) == message]

    def wait_event(self, message, count=1, timeout=10):
        wait_until(lambda: len(self.events(message)) >= count, timeout, f"{count} × {message!r}")
        return self.events(message)

    def text(self):
        with open(self.hosts, newline="") as file:
            return file.read()

    def wait_text(self, text, timeout=10):
        try:
            wait_until(lambda: self.hosts.exists() and self.text() == text, timeout)
        except AssertionError:
            raise AssertionError(f"the hosts file is\n{self.text()}\nand not\n{text}") from None

    def leftovers(self):
        return sorted(p.name for p in self.directory.iterdir() if re.match(r"\..*silodns", p.name))


def messages(done):
    return [Keeper.message(e) for e in done.events]
