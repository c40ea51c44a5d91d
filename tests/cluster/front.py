"""nginx in front of several hubs, as an ingress stands there: a hub that is to stop is taken out first, and only what is safe is tried again."""

import subprocess

from tests.lib.hub import Endpoint
from tests.lib.waiting import wait_until

PORT = 8080

CONFIGURATION = """
user root;
daemon off;
worker_processes 2;
worker_rlimit_nofile 30000;
pid {directory}/pid;
error_log {directory}/error.log warn;
events {{ worker_connections 12000; }}
http {{
	log_format asked '$msec $status $request_method $request_uri $upstream_addr $upstream_status $request_time';
	access_log {directory}/access.log asked buffer=32k flush=100ms;
	client_body_temp_path {directory}/body;
	proxy_temp_path {directory}/proxy;
	fastcgi_temp_path {directory}/fastcgi;
	uwsgi_temp_path {directory}/uwsgi;
	scgi_temp_path {directory}/scgi;
	keepalive_timeout 0; # a worker that is to end closes connections that are idle, be a request on its way over one

	upstream hubs {{
{servers}
		keepalive 64;
		keepalive_timeout 20s; # less than SILODNS_IDLE_TIMEOUT: a change must not meet a connection that the hub is closing
		keepalive_requests 100000;
	}}
	proxy_http_version 1.1;
	proxy_set_header Connection "";
	proxy_set_header Host $host;
	proxy_set_header X-Forwarded-For $remote_addr;
	proxy_connect_timeout 1s;

	server {{
		listen {address}:{port} backlog=4096;
		location / {{
			# A change may have been made although no answer came: whoever asked must know. A read is asked again.
			error_page 418 = @change;
			if ($request_method !~ "^(GET|HEAD)$") {{ return 418; }}
			proxy_next_upstream error timeout;
			proxy_pass http://hubs;
		}}
		location @change {{
			proxy_next_upstream off;
			proxy_pass http://hubs;
		}}
		location = /watch {{
			proxy_buffering off;
			proxy_read_timeout 1h;
			proxy_next_upstream error timeout http_503;
			proxy_pass http://hubs;
		}}
	}}
}}
"""


class Front(Endpoint):
    def __init__(self, machine, directory, hubs):
        super().__init__(machine.address, PORT)
        self.machine, self.directory, self.hubs = machine, directory, hubs
        directory.mkdir()
        directory.chmod(0o755)
        self.database = None
        self._write(hubs)
        self.command = [*machine.wrapper, "nginx", "-p", str(directory), "-e", str(directory / "error.log"), "-c", str(directory / "conf")]
        self.process = subprocess.Popen(self.command,
                                        stderr=open(directory / "stderr", "wb"))
        wait_until(self.is_listening, what="nginx")

    def is_listening(self):
        assert self.process.poll() is None, (self.directory / "stderr").read_text()
        try:
            return self.get("/healthz", auth=None).status
        except OSError:
            return False

    def _write(self, hubs):
        servers = "\n".join(f"\t\tserver {hub.address}:{hub.port} max_fails=1 fail_timeout=1s;" for hub in hubs)
        (self.directory / "conf").write_text(CONFIGURATION.format(directory=self.directory, address=self.address, port=self.port, servers=servers))

    def workers(self):
        return set(subprocess.run(["pgrep", "-P", str(self.process.pid), "-f", "worker process$"], stdout=subprocess.PIPE, text=True).stdout.split())

    def route(self, hubs):
        """New requests go to these only; those under way and streams stay where they are."""
        before = self.workers()
        self._write(hubs)
        subprocess.run([*self.command, "-s", "reload"], check=True, stderr=subprocess.DEVNULL)
        wait_until(lambda: self.workers() and not self.workers() & before, what="nginx to take its new configuration")

    def asked(self):
        """Each request: (seconds since 1970, status, method, path, address of the hub(s), seconds that it took)."""
        for line in (self.directory / "access.log").read_text().splitlines():
            words = line.split(" ")
            yield float(words[0]), int(words[1]), words[2], words[3], " ".join(words[4:-2]), float(words[-1])

    def close(self):
        self.process.terminate()
        self.process.wait(30)
