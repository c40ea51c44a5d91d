"""silodns-api as a black box: the real program, spoken to over HTTP."""

import base64
import collections
import http.client
import json
import os
import pathlib
import re
import signal
import ssl
import subprocess
import urllib.parse

from tests.lib import leaks
from tests.lib.mariadb import free_port
from tests.lib.waiting import wait_until

REPO = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("SILODNS_BUILD", REPO / "build")).resolve()
API = BUILD / "silodns-api"
SLOW = 5 if BUILD.name in ("asan", "tsan") else 1  # what a sanitizer may make of a time limit

ADMIN = ("admin", "the-admins-password")
SANITIZER_REPORTS = ("ERROR: AddressSanitizer", "AddressSanitizer:DEADLYSIGNAL", "runtime error:", "ERROR: LeakSanitizer",
                     "WARNING: ThreadSanitizer", "ERROR: ThreadSanitizer")

Answer = collections.namedtuple("Answer", "status headers body")


class AnswerWithJson(Answer):
    @property
    def json(self):
        return json.loads(self.body)

    @property
    def revision(self):
        return int(self.headers["ETag"].strip('"'))


def basic(user, password):
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def bearer(secret):
    return f"Bearer {secret}"


def make_token(hub, user, name, auth=ADMIN, **scope):
    answer = hub.put(f"/users/{user}/tokens/{name}", scope, auth=auth)
    assert answer.status == 201, answer
    secret = answer.json["token"]
    hub.secrets |= {secret, secret.removeprefix("silodns_"), basic(user, secret)}
    return bearer(secret)


def clean_environment(settings):
    """The caller's environment without any SILODNS_ setting but these."""
    keep = {k: v for k, v in os.environ.items() if not k.startswith("SILODNS_")}
    return keep | {"SILODNS_" + k: str(v) for k, v in settings.items() if v is not None}


def check_sanitizers(log):
    for word in SANITIZER_REPORTS:
        assert word not in log, log[max(log.index(word) - 200, 0):][:6000]


def run_program(name, *words, settings, stdin=None, timeout=60):
    """One of the programs, to its end. `settings` without SILODNS_; those that are None are left out."""
    done = subprocess.run([BUILD / name, *words], env=clean_environment(settings), input=stdin, timeout=timeout * SLOW,
                          text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    check_sanitizers(done.stderr)
    leaks.check(done.stdout + done.stderr, leaks.of_settings(settings), "the output")
    return done


def run_api(*words, settings, **more):
    return run_program("silodns-api", *words, settings=settings, **more)


class Endpoint:
    """Where a hub is spoken to: itself, or what stands in front of it."""

    def __init__(self, address, port, ca=None):
        """`ca`: of one that speaks TLS, the file by which its certificate is verified."""
        self.address, self.port, self.ca = address, port, ca
        self.url = f"http{'s' * bool(ca)}://{address}:{port}"
        self.queries = set()  # of targets that were asked for: they may hold anything

    def connect(self, timeout=20, host=None):
        host = host or self.address
        if self.ca:
            return http.client.HTTPSConnection(host, self.port, timeout=timeout, context=ssl.create_default_context(cafile=self.ca))
        return http.client.HTTPConnection(host, self.port, timeout=timeout)

    def request(self, method, path, body=None, auth=ADMIN, headers=None, connection=None, host=None):
        """auth: (user, password), a header's value, or None."""
        own = connection is None
        self.queries |= {path[path.index("?"):]} if "?" in path else set()
        connection = connection or self.connect(host=host)
        sent = dict(headers or {})
        if auth:
            sent["Authorization"] = auth if isinstance(auth, str) else basic(*auth)
        if isinstance(body, (dict, list)):
            body = json.dumps(body)
        if isinstance(body, str):
            body = body.encode()
        try:
            connection.request(method, path, body, sent)
            answer = connection.getresponse()
            return AnswerWithJson(answer.status, answer.headers, answer.read())
        finally:
            if own:
                connection.close()

    def get(self, path, **more):
        return self.request("GET", path, **more)

    def put(self, path, body, **more):
        return self.request("PUT", path, body, **more)

    def delete(self, path, **more):
        return self.request("DELETE", path, **more)

    def pages(self, path, **more):
        """The answers to a listing and to what its Link, and that one's, names as the next page."""
        while path:
            answer = self.get(path, **more)
            assert answer.status == 200, answer
            yield answer
            link = answer.headers["Link"]
            path = link and urllib.parse.urljoin(path, re.fullmatch(r'<(\?[^>]*)>; rel="next"', link)[1])

    def put_silo(self, silo, records, **more):
        """records: {hostname: address}"""
        body = {"id": silo, "dnsrecords": [{"hostname": h, "ip": ip} for h, ip in records.items()]}
        return self.put(f"/silos/{silo}", body, **more)


class Hub(Endpoint):
    """On 127.0.0.1, or at `address`, if `wrapper` is a command that runs it where it has that one."""

    program = API

    def __init__(self, directory, database, ca=None, address="127.0.0.1", wrapper=(), **settings):
        super().__init__(address, free_port(), ca)
        self.database, self.wrapper = database, wrapper
        self.log_file = pathlib.Path(directory) / f"api-{self.port}.log"
        self.settings = {"LISTEN": f"{address}:{self.port}", "ADMIN_USER": ADMIN[0], "ADMIN_PASSWORD": ADMIN[1],
                         "LOG_LEVEL": "debug", **(database.settings() if database else {}), **settings}
        self.process = None
        self.killed = False
        self.secrets = {ADMIN[1], basic(*ADMIN), *([database.password] if database else [])} | leaks.of_settings(self.settings)

    def start(self, wait_ready=True):
        self.killed = False
        with open(self.log_file, "ab") as log:
            self.process = subprocess.Popen([*self.wrapper, self.program], env=clean_environment(self.settings), stdout=log, stderr=log)
        wait_until(self.is_listening, 30 * SLOW, "the hub's port")
        if wait_ready:
            self.wait_ready()
        return self

    def is_listening(self):
        assert self.process.poll() is None, self.log()
        try:
            return self.get("/healthz", auth=None).status == 200
        except OSError:
            return False

    def wait_ready(self, timeout=30 * SLOW):
        wait_until(lambda: self.get("/readyz", auth=None).status == 200, timeout, "readiness of the hub")

    def log(self):
        return self.log_file.read_text(errors="replace") if self.log_file.exists() else ""

    def add_user(self, name, password="a-users-password", **more):
        self.secrets |= {password, basic(name, password)}
        answer = self.put(f"/users/{name}", {"password": password, **more})
        assert answer.status == 201, answer
        return (name, password)

    def revision(self):
        return self.get("/readyz", auth=None).json["revision"]

    def check_memory(self):
        """What the hub answers from its memory is what is in the database."""
        ((revision,),) = self.database.sql("SELECT revision FROM hub")
        assert self.revision() == int(revision)
        stored = self.database.sql("SELECT id, revision FROM silo")
        told = {silo: self.get(f"/silos/{silo}").revision for silo, _ in stored}
        assert told == {silo: int(revision) for silo, revision in stored}
        records = {(silo["id"], r["hostname"], r["ip"]) for silo in self.get("/silos").json for r in silo["dnsrecords"]}
        assert records == {tuple(row) for row in self.database.sql("SELECT silo, hostname, ip FROM record")}
        assert {user["name"] for user in self.get("/users").json} == {name for (name,) in self.database.sql("SELECT name FROM account")}

    def metric(self, name):
        """One that has no labels."""
        return float(re.search(rf"^{name} (\S+)$", self.get("/metrics").body.decode(), re.MULTILINE)[1])

    def wait_requests(self, count):
        """Until so many are under way."""
        wait_until(lambda: self.metric("silodns_http_requests_in_progress") == count + 1, what=f"{count} requests under way")

    def memory_kb(self):
        status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmRSS")))

    def signal(self, number):
        self.process.send_signal(number)

    def kill(self):
        self.killed = True
        self.process.kill()
        self.process.wait(30)

    def stop(self, timeout=60):
        """An orderly end; its exit code."""
        if not self.process:
            return None
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(timeout * SLOW)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"no end {timeout * SLOW} s after SIGTERM:\n{self.log()[-3000:]}") from None

    def finish(self):
        """At the end of a test: nothing is left running, nothing has crashed, the log is clean."""
        if self.process:
            if self.process.poll() is None:
                leaks.check_command_line(self.process, self.secrets)
            code = self.stop()
            self.check_log()
            assert self.killed or code == 0, f"the hub ended with {code}:\n{self.log()[-3000:]}"

    def check_log(self):
        """What must stand in no log: a sanitizer's report, a secret, the query of a request's target."""
        log = self.log()
        check_sanitizers(log)
        leaks.note(*self.secrets, *(secret.removeprefix("Basic ") for secret in self.secrets))
        leaks.check(log, self.secrets, "the log")
        leaks.check(log, (query for query in self.queries if len(query) > 3), "the log")
        assert not re.search(r"[ {]\"?path\"?[=:]\S*\?", log), "a target is logged with its query"


def finish_all(hubs):
    """Each, whatever another one fails by."""
    failures = []
    for hub in hubs:
        try:
            hub.finish()
        except AssertionError as failure:
            failures.append(failure)
    if failures:
        raise failures[0]
