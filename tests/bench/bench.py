"""What the figures stand on: a private MariaDB, databases full of silos, hubs, the load generator and the ceilings."""

import contextlib
import json
import os
import pathlib
import select
import shutil
import socket
import statistics
import subprocess
import tempfile
import time

from tests.lib.hostskeeper import BINARY as KEEPER_PROGRAM
from tests.lib.hostskeeper import Keeper
from tests.lib.hub import ADMIN, BUILD, Hub, clean_environment
from tests.lib.mariadb import Database, MariaDB, free_port
from tests.lib.waiting import wait_until

PROGRAMS = BUILD / "bench"
BARE_THREADS = sorted({2, 4, 8, os.cpu_count(), 2 * os.cpu_count()} - {1})  # the fastest of these is the ceiling; a pool of one is none
# Room for a million silos; the log large enough that no check point falls into one measurement and not into the other.
MARIADB_OPTIONS = ("--innodb-buffer-pool-size=512M", "--innodb-log-file-size=512M", "--max-connections=300")

HUGE_PAGES = ("env", "GLIBC_TUNABLES=glibc.malloc.hugetlb=1:glibc.malloc.arena_max=1")  # for many silos, as docs/scale.md advises
BODY = ('{"id":"s0000000","dnsrecords":[{"hostname":"a.example.net","ip":"198.51.100.1"},'
        '{"hostname":"b.example.net","ip":"192.0.2.7"}]}')


class Wrong(Exception):
    """A measurement that says nothing, or a promise that was not kept while measuring."""


def median(values):
    return statistics.median(values)


def flags(options):
    return [word for name, value in options.items() for word in ("--" + name.replace("_", "-"), str(value))]


class Ceiling:
    """A program that is no hub but can be asked as one."""

    def __init__(self, program, **options):
        self.port = free_port()
        self.process = subprocess.Popen([PROGRAMS / program, *flags(options), "--port", str(self.port)])

    def is_listening(self):
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def stop(self):
        self.process.terminate()
        self.process.wait(10)


class MeasuredHub(Hub):
    """Knows how long its start took, and its memory then."""

    def start(self, wait_ready=True):
        started = time.monotonic()
        super().start(wait_ready=False)
        self.wait_ready(timeout=120)
        self.started_in = time.monotonic() - started
        self.memory_kb_at_start = self.memory_kb()
        self.get("/silos?limit=1")  # the password is verified once, which is no part of any figure
        return self


class HostsKeeper(Keeper):
    """hostsync whose log is read as it comes."""

    def start(self, *words, **settings):
        self.process = subprocess.Popen([KEEPER_PROGRAM, *words], env=self.environment(**settings), stderr=subprocess.PIPE)
        self.lines = b""
        return self

    def wait_written(self, revision, timeout=10):
        """Until it says that the hosts file with that revision, or a newer one, is synced."""
        deadline = time.monotonic() + timeout
        while True:
            line, found, self.lines = self.lines.partition(b"\n")
            if not found:
                self.lines = line
                if not select.select([self.process.stderr], [], [], max(deadline - time.monotonic(), 0))[0]:
                    raise Wrong(f"hostsync wrote nothing of revision {revision} within {timeout} s")
                more = os.read(self.process.stderr.fileno(), 65536)
                if not more:
                    raise Wrong("hostsync has ended")
                self.lines += more
                continue
            event = json.loads(line)
            if event["msg"] == "hosts file written" and event["revision"] >= revision:
                return


class Background:
    """One of the programs, while something else goes on."""

    def __init__(self, process):
        self.process = process

    def first_line(self, timeout=90):
        """Of one that says something before its end."""
        if not select.select([self.process.stdout], [], [], timeout)[0]:
            raise Wrong(f"no word within {timeout} s")
        line = self.process.stdout.readline()
        if not line:
            self.result()
        return json.loads(line)

    def go_on(self):
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def result(self, timeout=120):
        out, err = self.process.communicate(timeout=timeout)
        if self.process.returncode:
            raise Wrong(err.strip() or self.process.returncode)
        return checked(json.loads(out.splitlines()[0]))


def checked(result):
    """Whatever answer is not as wanted makes a measurement worthless."""
    if result.get("unexpected"):
        raise Wrong(f"{result['unexpected']} answers that were not wanted, the first: {result['first_unexpected']}")
    return result


class Bench:
    """Everything that is started in one run, and its end. `seconds`: how long one round of one side takes."""

    def __init__(self, seconds, rounds):
        self.seconds, self.rounds = seconds, rounds
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="silodns-bench-"))
        self.stack = contextlib.ExitStack()
        self.stack.callback(shutil.rmtree, self.directory, ignore_errors=True)
        self.databases, self.hubs = {}, {}
        self.next_change = 0
        self.mariadb = None

    def __enter__(self):
        try:
            self.mariadb = MariaDB(self.directory, *MARIADB_OPTIONS)
        except BaseException:
            self.stack.close()
            raise
        self.stack.callback(self.mariadb.stop)
        return self

    def __exit__(self, *failure):
        self.stack.close()

    # --- databases and hubs

    def database(self, silos, name=""):
        """With so many silos, s0000000 and on, of two records; made once per name."""
        if (silos, name) not in self.databases:
            database = Database(self.mariadb)
            with self.a_hub(database):  # makes tables and admin
                pass
            if silos:
                fill(database, silos)
            self.databases[silos, name] = database
        return self.databases[silos, name]

    @contextlib.contextmanager
    def a_hub(self, database, **settings):
        hub = MeasuredHub(self.directory, database, LOG_LEVEL="info", **settings)
        hub.start()
        try:
            yield hub
        finally:
            code = hub.stop()
            if code:
                raise Wrong(f"a hub ended with {code}: {hub.log()[-2000:]}")

    def hub(self, silos, second=False):
        """One that goes on running till the end of the run, and a second one on the same database."""
        if (silos, second) not in self.hubs:
            wrapper = HUGE_PAGES if silos >= 100_000 else ()
            self.hubs[silos, second] = self.stack.enter_context(self.a_hub(self.database(silos), wrapper=wrapper))
        return self.hubs[silos, second]

    @contextlib.contextmanager
    def keeper(self, hub, silo):
        """A hostsync that has written its first hosts file."""
        directory = pathlib.Path(tempfile.mkdtemp(dir=self.directory))
        with HostsKeeper(directory, hub, silos=silo, USER=ADMIN[0], PASSWORD=ADMIN[1]) as keeper:
            keeper.hosts.write_text("127.0.0.1\tlocalhost\n")
            keeper.start()
            keeper.wait_written(0)
            yield keeper
            keeper.stop()

    def ceiling(self, program, **options):
        made = Ceiling(program, **options)
        self.stack.callback(made.stop)
        wait_until(made.is_listening, what=program)
        return made

    def best_bare(self, mode, **options):
        """A bare Ulfius with as many threads as make it fastest here."""
        rates = {}
        for threads in BARE_THREADS:
            bare = Ceiling("bare", threads=threads, body=BODY, **options)
            wait_until(bare.is_listening, what="bare")
            rates[threads] = self.load(bare.port, mode=mode, silos=1000, duration_ms=self.duration(0.5))["per_second"]
            bare.stop()
        threads = max(rates, key=rates.get)
        bare = self.ceiling("bare", threads=threads, body=BODY, **options)
        bare.note = f"bare Ulfius: {threads} threads"
        return bare

    # --- the programs

    def environment(self, **more):
        return clean_environment({}) | {"BENCH_PASSWORD": ADMIN[1]} | more

    def start_program(self, name, database=None, **options):
        environment = self.environment(**{f"SILODNS_{k}": str(v) for k, v in database.settings().items()} if database else {})
        return subprocess.Popen([PROGRAMS / name, *flags(options)], env=environment, text=True, stdin=subprocess.PIPE,
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    @contextlib.contextmanager
    def in_background(self, name, **options):
        process = self.start_program(name, **options)
        try:
            yield Background(process)
        finally:
            process.kill()
            process.wait()

    def program(self, name, timeout=120, **options):
        """Runs one to its end: what it printed."""
        with self.in_background(name, **options) as running:
            return running.result(timeout)

    def duration(self, share=1.0):
        return int(self.seconds * share * 1000)

    def take_changes(self, count):
        """The first of so many numbers of changes, for somebody else than load() and direct()."""
        first = self.next_change
        self.next_change += count
        return first

    def changing(self, name, **options):
        result = self.program(name, first_change=self.next_change, **({"duration_ms": self.duration()} | options))
        self.next_change = result["next_change"]
        return result

    def load(self, port, **options):
        return self.changing("load", port=port, user=ADMIN[0], **options)

    def direct(self, database, **options):
        return self.changing("direct", database=database, **options)

    def watch(self, port, meanwhile=lambda: None, timeout=120, **options):
        """Opens watchers, looks at something once all are there, then lets the changes begin."""
        with self.in_background("watch", port=port, user=ADMIN[0], first_change=self.next_change, **options) as running:
            synced = running.first_line()
            seen = meanwhile()
            running.go_on()
            result = running.result(timeout)
        self.next_change = result["next_change"]
        return {**synced, **result, "seen": seen}

    def alternate(self, **sides):
        """Each side in turn, in every round with another one first: {side: [result of each round]}."""
        results = {name: [] for name in sides}
        order = list(sides)
        for _ in range(self.rounds):
            for name in order:
                results[name].append(sides[name]())
            order.append(order.pop(0))
        return results


def fill(database, silos):
    """As if an admin had put them one after the other; the log of it is not kept."""
    database.sql(f"""
        SET @owner = (SELECT id FROM account WHERE name = '{ADMIN[0]}'), @base = (SELECT revision FROM hub);
        SET unique_checks = 0, foreign_key_checks = 0;
        START TRANSACTION;
        INSERT INTO silo (id, owner, revision)
            SELECT CONCAT('s', LPAD(seq, 7, '0')), @owner, @base + 1 + seq FROM seq_0_to_{silos - 1};
        INSERT INTO record (silo, hostname, ip)
            SELECT CONCAT('s', LPAD(seq DIV 2, 7, '0')), IF(seq % 2, 'b.example.net', 'a.example.net'),
                IF(seq % 2, '192.0.2.7', '198.51.100.1') FROM seq_0_to_{2 * silos - 1};
        UPDATE hub SET revision = revision + {silos}, silos = {silos}, records = {2 * silos};
        COMMIT""", timeout=300)
