"""Programs that are kept running: started, their logs kept, started again when they die, stopped."""

import os
import subprocess
import threading
import time

RESTART_MIN, RESTART_MAX = 0.2, 10  # seconds before a program that died is started again
EXIT_SETTINGS = 2  # of the programs: trying again does not help
LOG_MAX = 20 << 20  # bytes; then the log becomes NAME.log.old


class Failure(Exception):
    """Something that the person who ran this can mend."""


class Stopped(Exception):
    """Asked to stop."""


def environment(settings):
    """This process' own, with no SILODNS_ setting but these; settings: without SILODNS_."""
    keep = {k: v for k, v in os.environ.items() if not k.startswith("SILODNS_")}
    return keep | {f"SILODNS_{k}": str(v) for k, v in settings.items()}


class Child:
    def __init__(self, name, command, log, settings=None, on_line=None, on_end=None, is_deaf=None):
        """settings: without SILODNS_. on_line(bytes) and on_end(text) are called from a thread of the child's own.

        is_deaf(): whether a signal to stop would be lost on it just now.
        """
        self.name, self.log, self.on_line, self.on_end, self.is_deaf = name, log, on_line, on_end, is_deaf
        # Should this process be killed, its children end as well. A session of their own: Ctrl-C comes to us alone.
        self.command = ["setpriv", "--pdeathsig", "TERM", "--", *map(str, command)]
        self.environment = environment(settings or {})
        self.stopping = threading.Event()
        self.lock = threading.Lock()  # starting and stopping
        self.ends, self.refuses = 0, False
        self.process = None
        self.thread = threading.Thread(target=self.keep_running, daemon=True)
        self.start()
        self.thread.start()

    def start(self):
        with self.lock:
            if self.stopping.is_set():
                return False
            self.process = subprocess.Popen(self.command, env=self.environment, stdin=subprocess.DEVNULL,
                                            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True)
            return True

    def keep_running(self):
        pause, began = RESTART_MIN, time.monotonic()
        while True:
            self.read_log()
            code = self.process.wait()
            self.ends += 1
            if self.stopping.is_set():
                return
            if code == EXIT_SETTINGS:
                self.refuses = True
                return
            pause = RESTART_MIN if time.monotonic() - began > RESTART_MAX else min(pause * 2, RESTART_MAX)
            self.on_end(f"{self.name} ended ({describe(code)}), is started again in {pause:.1f} s")
            self.stopping.wait(pause)
            began = time.monotonic()
            if not self.start():
                return

    def read_log(self):
        for line in self.process.stdout:
            try:
                if self.log.exists() and self.log.stat().st_size > LOG_MAX:
                    self.log.rename(f"{self.log}.old")
                with open(self.log, "ab") as log:
                    log.write(line)
            except OSError:  # a full disk must not stop the program
                pass
            if self.on_line:
                self.on_line(line)

    def log_tail(self, lines=8):
        text = self.log.read_text(errors="replace") if self.log.exists() else ""
        return "".join(f"\n    {line}" for line in text.splitlines()[-lines:])

    def stop(self, seconds):
        self.stopping.set()
        with self.lock:
            process = self.process
        end = time.monotonic() + seconds
        while self.is_deaf and process.poll() is None and self.is_deaf() and time.monotonic() < end:
            time.sleep(0.03)
        process.terminate()
        try:
            process.wait(max(1, end - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        self.thread.join(5)

    def wait_until(self, condition, seconds, stop_wanted):
        """Until the program is up; a program that keeps ending is given up early."""
        end = time.monotonic() + seconds
        while not condition():
            if stop_wanted.is_set():
                raise Stopped
            self.check_settings()
            if self.ends >= 3 or time.monotonic() > end:
                self.fail("does not come up")
            time.sleep(0.03)

    def check_settings(self):
        if self.refuses:
            self.fail("refuses its settings")

    def fail(self, how):
        raise Failure(f"{self.name} {how}; the end of {self.log} says{self.log_tail()}")


def describe(code):
    return f"signal {-code}" if code < 0 else f"exit code {code}"
