"""The connection to the database breaks in the middle of COMMIT: the hub finds out what happened before it answers."""

import concurrent.futures
import socket
import threading

import pytest
from mariadb import wait_until

pytestmark = pytest.mark.hub


class Proxy:
    """Stands between the hub and MariaDB. `cut` once: "before" the COMMIT reaches the server, or "after" the server has done it and before the hub hears of
    it."""

    def __init__(self, port):
        self.target, self.cut, self.cuts = port, None, 0
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.port = self.listening.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                client, _ = self.listening.accept()
            except OSError:
                return
            server = socket.create_connection(("127.0.0.1", self.target))
            pair = {"client": client, "server": server, "deaf": False}
            threading.Thread(target=self.to_server, args=(pair,), daemon=True).start()
            threading.Thread(target=self.to_client, args=(pair,), daemon=True).start()

    @staticmethod
    def close(pair):
        for s in (pair["client"], pair["server"]):
            try:
                s.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def to_server(self, pair):
        try:
            while data := pair["client"].recv(65536):
                if self.cut and data.endswith(b"\x03COMMIT"):  # COM_QUERY
                    how, self.cut = self.cut, None
                    self.cuts += 1
                    if how == "before":
                        break
                    pair["deaf"] = True
                pair["server"].sendall(data)
        except OSError:
            pass
        self.close(pair) if not pair["deaf"] else None

    def to_client(self, pair):
        try:
            while data := pair["server"].recv(65536):
                if pair["deaf"]:  # the server has committed
                    break
                pair["client"].sendall(data)
        except OSError:
            pass
        self.close(pair)


@pytest.fixture
def proxied(make_hub, database):
    proxy = Proxy(database.server.port)
    hub = make_hub(database, DB_PORT=proxy.port)
    yield hub, proxy
    proxy.listening.close()


@pytest.mark.parametrize("how", ["before", "after"])
def test_a_change_whose_commit_was_cut_is_answered_by_what_really_happened(proxied, database, how):
    hub, proxy = proxied
    hub.put_silo("a", {"h": "10.0.0.1"})
    for n in range(2, 7):
        start = hub.revision()
        proxy.cut = how
        answer = hub.put_silo("a", {"h": f"10.0.0.{n}"})
        assert proxy.cuts == n - 1
        assert answer.status == 200, answer
        assert answer.headers["ETag"] == f'"{start + 1}"'
        assert database.sql("SELECT ip FROM record WHERE silo = 'a'") == [[f"10.0.0.{n}"]]
        assert database.sql("SELECT MAX(revision), COUNT(*) FROM change_log") == [[str(start + 1)] * 2], "happened once"
        wait_until(lambda: hub.get("/silos/a").json["dnsrecords"][0]["ip"] == f"10.0.0.{n}", what="the change in memory")  # noqa: B023
    landed = [line for line in hub.log().splitlines() if "the outcome of an interrupted commit is known" in line]
    assert len(landed) == 5 and all(f"landed={'true' if how == 'after' else 'false'}" in line for line in landed)


@pytest.mark.parametrize("how", ["before", "after"])
def test_a_whole_batch_is_settled_together(proxied, database, how):
    hub, proxy = proxied

    def write(n):
        connection = hub.connect()
        for i in range(30):
            if n == 0 and i % 5 == 4:
                proxy.cut = how
            answer = hub.put_silo(f"s{n}", {"h": f"10.{n}.0.{i + 1}"}, connection=connection)
            assert answer.status in (200, 201), answer
        connection.close()

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        list(pool.map(write, range(8)))
    assert proxy.cuts >= 3
    for n in range(8):
        assert database.sql(f"SELECT ip FROM record WHERE silo = 's{n}'") == [[f"10.{n}.0.30"]]
        assert hub.get(f"/silos/s{n}").json["dnsrecords"] == [{"hostname": "h", "ip": f"10.{n}.0.30"}]
    assert database.sql("SELECT COUNT(*) = MAX(revision) FROM change_log") == [["1"]]
    assert database.sql("SELECT COUNT(*) FROM change_log WHERE kind = 'silo-put'") == [[str(8 * 30)]]
