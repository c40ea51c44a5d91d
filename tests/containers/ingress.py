"""nginx as ingress-nginx would set it up for the rendered Ingress, in front of the hubs of a test."""

import http.server
import json
import pathlib
import threading

from tests.containers.engine import run
from tests.containers.pods import get
from tests.lib.waiting import wait_until

PORT = 8081
IMPATIENT_PORT, IMPATIENT_S = 8082, 12  # the same but for proxy_read_timeout: between the hub's 10 s and what the Ingress says
ANNOTATION = "nginx.ingress.kubernetes.io/"

# What ingress-nginx makes of an annotation
DIRECTIVES = {"proxy-buffering": "proxy_buffering {};", "proxy-read-timeout": "proxy_read_timeout {}s;", "proxy-connect-timeout": "proxy_connect_timeout {}s;",
              "proxy-body-size": "client_max_body_size {};", "proxy-next-upstream": "proxy_next_upstream {};",
              "proxy-next-upstream-tries": "proxy_next_upstream_tries {};", "ssl-redirect": ""}


def annotations(ingress):
    return {name.removeprefix(ANNOTATION): value for name, value in ingress["metadata"]["annotations"].items()}


def locations(ingress):
    for path in ingress["spec"]["rules"][0]["http"]["paths"]:
        matches = [f"= {path['path']}"] + ([f"^~ {path['path']}/"] if path["pathType"] == "Prefix" else [])
        yield from (f"location {match} {{ proxy_pass http://hub; }}" for match in matches)


def server(port, notes, ingress):
    directives = [DIRECTIVES[name].format(value) for name, value in notes.items()]
    return "\n".join([f"server {{ listen {port};", *directives, *locations(ingress), "location = /other { proxy_pass http://other; }", "location / { return 404; }", "}"])


def configuration(ingress, upstreams, other):
    """`upstreams`: "address:port", perhaps with " backup". The controller's own balancer counts no failures: max_fails=0."""
    servers = "\n".join(f"server {upstream} max_fails=0;" for upstream in upstreams)
    notes = annotations(ingress)
    return "\n".join(["events {}", "http {", f"upstream hub {{\n{servers}\nkeepalive 320; keepalive_timeout 60s; }}", f"upstream other {{ server {other}; }}",
                      "log_format tries '$status $request_method $uri $upstream_addr|$upstream_status'; access_log /dev/stdout tries;",
                      "keepalive_timeout 0;",  # of clients: a reload, which the controller does not need, would end them
                      'proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header Host $host;',
                      "proxy_set_header X-Forwarded-For $remote_addr;",
                      "proxy_ignore_headers X-Accel-Buffering;",  # by which the hub asks for the same as the annotation
                      server(PORT, notes, ingress), server(IMPATIENT_PORT, notes | {"proxy-read-timeout": str(IMPATIENT_S)}, ingress), "}"])


class Nginx:
    """`other`: what answers at /other, which is no path of the Ingress."""

    def __init__(self, cluster, ingress, directory, upstreams, other="127.0.0.1:9"):
        self.ingress, self.other, self.file = ingress, other, directory / "nginx.conf"
        run("docker", "build", "-q", "-t", "silodnstest/nginx", pathlib.Path(__file__).with_name("nginx"), timeout=600)
        self.file.write_text(configuration(ingress, upstreams, other))
        self.id = run("docker", "run", "-d", "--network", cluster.name, "-v", f"{self.file}:/etc/nginx/nginx.conf:ro", "silodnstest/nginx").stdout.strip()
        cluster.started.append(self.id)
        (network,) = json.loads(run("docker", "inspect", self.id).stdout)[0]["NetworkSettings"]["Networks"].values()
        self.address, self.gateway = network["IPAddress"], network["Gateway"]
        wait_until(lambda: get(self.url("/ping"))[0] == 200, 60, what="nginx")

    def url(self, path, port=PORT):
        return f"http://{self.address}:{port}{path}"

    def workers(self):
        """Those that take requests; one that only has streams left is called "worker process is shutting down"."""
        lines = run("docker", "top", self.id, "-eo", "pid,args").stdout.splitlines()
        return {line.split()[0] for line in lines if line.endswith("worker process")}

    def route(self, upstreams):
        """New requests go to these only; streams stay where they are."""
        before = self.workers()
        self.file.write_text(configuration(self.ingress, upstreams, self.other))  # in place: it is mounted by itself
        run("docker", "kill", "-s", "HUP", self.id)
        wait_until(lambda: self.workers() and not self.workers() & before, 60, what="nginx to take its new configuration")

    def tries(self):
        """Each request: (status, method, path, addresses that were tried, what each answered)."""
        for line in run("docker", "logs", self.id).stdout.splitlines():
            words, _, statuses = line.partition("|")
            status, method, path, addresses = words.split(" ", 3)
            yield int(status), method, path, addresses.split(", "), statuses.split(", ")


class Impostor:
    """Stands where a hub should be. What it does with a request is up to `answer(handler, body)`; without an answer the connection is closed."""

    def __init__(self, address, answer):
        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do(self):
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                self.close_connection = True
                answer(self, body)

            do_GET = do_PUT = do_DELETE = do

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer((address, 0), Handler)
        self.server.daemon_threads = True
        self.upstream = f"{address}:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()
