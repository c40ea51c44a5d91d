"""A private MariaDB server, for one test session: own directory, own socket, own port on 127.0.0.1."""

import atexit
import contextlib
import functools
import os
import pathlib
import pwd
import random
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile

from tests.lib import leaks, processes
from tests.lib.waiting import wait_until

AS_ROOT = ["--user=root"] if os.geteuid() == 0 else [f"--user={pwd.getpwuid(os.geteuid()).pw_name}"]


def free_port():
    """Not from the range out of which the kernel gives clients theirs: a hub that is started again must find its port free."""
    first = int(pathlib.Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    while True:
        port = random.randrange(10000, max(first, 11000))
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)):
                return port


@functools.cache
def installed():
    """The data directory of a new server, which is made once for all of this run."""
    directory = pathlib.Path(tempfile.mkdtemp(prefix="silodns-db-"))
    atexit.register(shutil.rmtree, directory, ignore_errors=True)
    # A MariaDB that starts removes other servers' temporary tables from the directory that it uses.
    done = subprocess.run(["mariadb-install-db", "--no-defaults", *AS_ROOT, f"--datadir={directory}/data", "--auth-root-authentication-method=normal", "--skip-test-db"],
                          env=os.environ | {"TMPDIR": str(directory)}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert done.returncode == 0, done.stdout.decode()[-3000:]
    return directory / "data"


class MariaDB:
    """On 127.0.0.1, or at `address`, if `wrapper` is a command that runs it where it has that one. `data`: where its data come from, rather than to make
    them anew."""

    def __init__(self, directory, *options, address="127.0.0.1", port=None, wrapper=(), data=None, start=True):
        self.address, self.wrapper = address, wrapper
        self.directory = pathlib.Path(directory)
        self.options = options  # of mariadbd, behind the usual ones
        self.socket = str(self.directory / "s")  # short: a socket's path has a limit
        self.port = port or free_port()
        self.process = None
        (self.directory / "tmp").mkdir()
        # Next to nothing but holes: as quick as it is small
        subprocess.run(["cp", "-a", "--sparse=always", data or installed(), self.directory / "data"], check=True)
        if start:
            self.start()

    def command(self):
        server = shutil.which("mariadbd") or "/usr/sbin/mariadbd"
        return [*self.wrapper, server, "--no-defaults", *AS_ROOT, f"--datadir={self.directory}/data", f"--socket={self.socket}",
                f"--tmpdir={self.directory}/tmp", f"--port={self.port}", f"--bind-address={self.address}", "--skip-name-resolve",
                "--innodb-flush-log-at-trx-commit=1", "--innodb-buffer-pool-size=64M", "--max-connections=200", *self.options]

    def start(self, *more, wait=True):
        """`more`: options of this start only."""
        log = open(self.directory / "log", "ab")
        self.process = subprocess.Popen([*self.command(), *more], stdout=log, stderr=log)
        log.close()
        if wait:
            wait_until(self.answers, 60, "MariaDB")

    def answers(self):
        if self.process.poll() is not None:
            raise AssertionError((self.directory / "log").read_text()[-3000:])
        return subprocess.run(self.client("SELECT 1"), stdout=subprocess.DEVNULL,
                              stderr=subprocess.DEVNULL).returncode == 0

    def client(self, sql, *more):
        return ["mariadb", "--no-defaults", "-uroot", f"-S{self.socket}", "--batch", "--skip-column-names", *more,
                "-e", sql]

    def sql(self, statement, database=None, timeout=60):
        """Rows as lists of text."""
        done = subprocess.run(self.client(statement, *([database] if database else [])), check=True,
                              stdout=subprocess.PIPE, timeout=timeout)
        return [line.split("\t") for line in done.stdout.decode().splitlines()]

    def stop(self):
        self._end(signal.SIGTERM)

    def kill(self):
        self._end(signal.SIGKILL)

    def _end(self, how):
        if self.process and self.process.poll() is None:
            processes.thaw(self.process)
            self.process.send_signal(how)
        if self.process:
            self.process.wait(60)

    def pause(self):
        processes.freeze(self.process)

    def resume(self):
        processes.thaw(self.process)


class Session:
    """A client that stays, and with it its transaction and locks. `number` is the server's name for it."""

    def __init__(self, server, database):
        command = ["mariadb", "--no-defaults", "-uroot", f"-S{server.socket}", "--batch", "--skip-column-names", "--unbuffered", "--force", database]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        ((self.number,),) = self.sql("SELECT CONNECTION_ID()")

    def begin(self, statement):
        """Without waiting for its end; finish() then must come."""
        self.process.stdin.write(f"{statement};\nSELECT 'the end';\n")
        self.process.stdin.flush()

    def finish(self):
        rows = []
        for line in self.process.stdout:
            if line == "the end\n":
                return [row.split("\t") for row in rows]
            assert not line.startswith("ERROR"), line
            rows.append(line.rstrip("\n"))
        raise AssertionError("the session has ended")

    def sql(self, statement):
        self.begin(statement)
        return self.finish()

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()


class Database:
    """A schema and a user of its own."""

    def __init__(self, server):
        self.server = server
        self.name = "t" + secrets.token_hex(4)
        self.password = secrets.token_hex(8)
        leaks.note(self.password)
        server.sql(f"CREATE DATABASE {self.name}; CREATE USER {self.name}@'%' IDENTIFIED BY '{self.password}'; "
                   f"GRANT ALL ON {self.name}.* TO {self.name}@'%'")

    def settings(self):
        return {"DB_HOST": self.server.address, "DB_PORT": self.server.port, "DB_NAME": self.name, "DB_USER": self.name,
                "DB_PASSWORD": self.password}

    def sql(self, statement, **more):
        return self.server.sql(statement, self.name, **more)

    def drop(self):
        self.server.sql(f"DROP DATABASE IF EXISTS {self.name}; DROP USER IF EXISTS {self.name}@'%'")


@contextlib.contextmanager
def paused(server):
    server.pause()
    try:
        yield
    finally:
        server.resume()


@contextlib.contextmanager
def locked(database, statement):
    with Session(database.server, database.name) as session:
        session.sql(statement)
        yield


def revision_locked(database):
    """Somebody else holds the lock through which every change must go."""
    return locked(database, "START TRANSACTION; SELECT id FROM hub FOR UPDATE")


def log_locked(database):
    """Whoever reads the log waits, for as long as one of its statements may take: two seconds."""
    return locked(database, "LOCK TABLES change_log WRITE")


def dump(database):
    done = subprocess.run(["mariadb-dump", "--no-defaults", "-uroot", f"-S{database.server.socket}", "--single-transaction", database.name],
                          stdout=subprocess.PIPE, check=True)
    return done.stdout
