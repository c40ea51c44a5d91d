"""The hub speaks TLS itself: nothing weaker, certificates renewed without cutting a connection, handshakes that stop half way cost nothing."""

import datetime
import os
import signal
import socket
import ssl
import subprocess
import time

import pytest

from tests.lib.answers import put_at_last
from tests.lib.certificates import Authority, openssl
from tests.lib.hostskeeper import Keeper, block
from tests.lib.hub import ADMIN, SLOW, clean_environment, run_api, run_program
from tests.lib.nobody import nobody  # noqa: F401
from tests.lib.waiting import wait_until
from tests.lib.watcher import Watcher

pytestmark = pytest.mark.hub
HSTS = 86400


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture(scope="module")
def certificate(authority):
    return authority.issue("hub")


@pytest.fixture(scope="module")
def tls_hub(make_shared_hub, authority, certificate):
    hub = make_shared_hub(start=False, ca=authority.file, TLS_CERT_FILE=certificate[0], TLS_KEY_FILE=certificate[1], HSTS="1d")
    hub.settings["LISTEN"] += f",127.0.0.2:{hub.port}"
    return hub.start()


def put_in_place(directory, pair):
    """As a renewal does it: under another name first."""
    for source, name in zip(pair, ("cert", "key")):
        (directory / "new").write_bytes(source.read_bytes())
        os.replace(directory / "new", directory / name)


@pytest.fixture
def renewable(make_hub, database, authority, tmp_path):
    """A hub whose certificate's files lie in tmp_path."""
    put_in_place(tmp_path, authority.issue("first"))
    return make_hub(database, ca=authority.file, TLS_CERT_FILE=tmp_path / "cert", TLS_KEY_FILE=tmp_path / "key", IDLE_TIMEOUT="2s")


def handshake(hub, **options):
    context = ssl.create_default_context(cafile=hub.ca)
    for name, value in options.items():
        context.set_ciphers(value) if name == "ciphers" else setattr(context, name, value)
    return context.wrap_socket(socket.create_connection(("127.0.0.1", hub.port), 20), server_hostname="localhost")


def presented(hub):
    """The name in the certificate that a new connection is shown."""
    with handshake(hub) as sock:
        return dict(pair[0] for pair in sock.getpeercert()["subject"])["commonName"]


def half_hello(hub):
    """A connection with the first half of a handshake's first message."""
    ours, theirs = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = ssl.create_default_context(cafile=hub.ca).wrap_bio(theirs, ours, server_hostname="localhost")
    with pytest.raises(ssl.SSLWantReadError):
        tls.do_handshake()
    sock = socket.create_connection(("127.0.0.1", hub.port), 20)
    sock.sendall(ours.read()[:100])
    return sock


def ends(sock):
    sock.settimeout(20 * SLOW)
    try:
        while sock.recv(4096):
            pass
    except ConnectionError:
        pass
    return True


def cpu_seconds(hub):
    with open(f"/proc/{hub.process.pid}/stat") as stat:
        fields = stat.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


# ---- what it speaks ----


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_requests_of_any_size_and_streams_go_over_tls(tls_hub, version):
    silo = f"big-{version.name}"
    records = {f"host-{i:04}": f"192.0.{i >> 8}.{i & 255}" for i in range(5000)}  # many TLS records, in both directions
    put_at_last(tls_hub, silo, records)
    with handshake(tls_hub, minimum_version=version, maximum_version=version) as sock:
        assert sock.version() == version.name.replace("_", ".")
        for _ in range(3):
            sock.sendall(b"GET /ping HTTP/1.1\r\nHost: hub\r\n\r\n")
            answer = b""
            while b"PONG" not in answer:
                answer += sock.recv(4096)
            assert f"strict-transport-security: max-age={HSTS}\r\n".encode() in answer.lower()
    watcher = Watcher(tls_hub, silo).wait_synced()
    assert watcher.records(silo) == records
    put_at_last(tls_hub, silo, {"h": "192.0.2.1"})
    watcher.wait_for(lambda w: w.records(silo) == {"h": "192.0.2.1"})
    watcher.close()


@pytest.mark.parametrize("options", [{"minimum_version": ssl.TLSVersion.TLSv1, "maximum_version": ssl.TLSVersion.TLSv1_1, "ciphers": "ALL:@SECLEVEL=0"},
                                     {"maximum_version": ssl.TLSVersion.TLSv1_2, "ciphers": "AES256-GCM-SHA384:AES128-SHA"},
                                     {"maximum_version": ssl.TLSVersion.TLSv1_2, "ciphers": "ECDHE-ECDSA-AES128-SHA:ECDHE-ECDSA-AES256-SHA384"}],
                         ids=["before 1.2", "no forward secrecy", "CBC"])
def test_nothing_weaker_is_spoken(tls_hub, options):
    with pytest.raises((ssl.SSLError, ConnectionError)):
        handshake(tls_hub, **options)


def test_plain_http_gets_no_answer(tls_hub):
    with socket.create_connection(("127.0.0.1", tls_hub.port), 20) as sock:
        sock.sendall(b"GET /ping HTTP/1.1\r\nHost: hub\r\n\r\n")
        received = sock.recv(4096)
        assert b"HTTP" not in received and b"PONG" not in received


def test_requests_on_a_kept_connection_do_not_wait_for_acknowledgements(tls_hub):
    connection = tls_hub.connect()
    took = []
    for _ in range(20):
        started = time.monotonic()
        assert tls_hub.get("/readyz", auth=None, connection=connection).status == 200
        took.append(time.monotonic() - started)
    connection.close()
    assert sorted(took)[len(took) // 2] < 0.03 * SLOW  # a delayed acknowledgement would make it 0.04


def test_the_certificates_end_is_told(tls_hub):
    with handshake(tls_hub) as sock:
        expires = ssl.cert_time_to_seconds(sock.getpeercert()["notAfter"])
    told = tls_hub.get("/readyz", auth=None).json["certificate_expires"]
    assert datetime.datetime.fromisoformat(told.replace("Z", "+00:00")).timestamp() == expires
    assert tls_hub.metric("silodns_tls_certificate_expiry_timestamp_seconds") == expires


def test_without_tls_nothing_is_said_of_it(shared_hub):
    answer = shared_hub.get("/readyz", auth=None)
    assert "certificate_expires" not in answer.json and answer.headers["Strict-Transport-Security"] is None
    assert shared_hub.metric("silodns_tls_certificate_expiry_timestamp_seconds") == 0


def test_the_health_check_of_its_own_machine_works(tls_hub):
    done = run_api("check", settings={"LISTEN": f"[::]:{tls_hub.port}", "TLS_CERT_FILE": "/x", "TLS_KEY_FILE": "/x"})
    assert done.returncode == 0 and '"status":"ready"' in done.stdout, done


# ---- the clients ----


def test_hostsync_and_updater_trust_the_right_authority_and_name_only(tls_hub, authority, certificate, tmp_path):
    other = Authority(tmp_path / "other")
    put_at_last(tls_hub, "served", {"web.test": "192.0.2.7"})
    (tmp_path / "d").mkdir()
    account = {"USER": ADMIN[0], "PASSWORD": ADMIN[1]}
    with Keeper(tmp_path / "d", tls_hub, "served", TLS_CA=str(authority.file), **account) as keeper:
        keeper.hosts.write_text("127.0.0.1\tlocalhost\n")
        keeper.start()
        keeper.wait_text("127.0.0.1\tlocalhost\n" + block(("served", [("web.test", "192.0.2.7")])))
        assert keeper.stop() == 0
    # 127.0.0.2 reaches the hub, but is not in its certificate
    for url, ca, why in ((tls_hub.url, authority.file, None), (tls_hub.url, other.file, "certificate"), (tls_hub.url, None, "certificate"),
                         (tls_hub.url.replace("127.0.0.1", "127.0.0.2"), authority.file, "match")):
        done = run_program("silodns-updater", "--once", settings={**account, "URL": url, "TLS_CA": ca, "SILO": "up", "HOSTNAMES": "me", "TIMEOUT": "5s",
                                                                  "SOURCE": "command:echo 9.9.9.9"})
        assert done.returncode == (3 if why else 0), done
        assert why is None or ("tls" in done.stderr and why in done.stderr), done.stderr
        assert tls_hub.delete("/silos/up").status == (404 if why else 204)


# ---- renewal ----


def test_a_renewed_certificate_is_taken_up_and_no_connection_is_cut(renewable, authority, tmp_path):
    hub = renewable
    kept, watcher = hub.connect(), Watcher(hub, "a").wait_synced()
    assert hub.get("/ping", auth=None, connection=kept).status == 200 and presented(hub) == "first"
    expires = hub.get("/readyz", auth=None).json["certificate_expires"]
    put_in_place(tmp_path, authority.issue("second", valid=(-3600, 2 * 86400)))
    while presented(hub) != "second":  # as soon as it notices; the kept connection is in use meanwhile
        assert hub.get("/ping", auth=None, connection=kept).status == 200
    assert hub.get("/ping", auth=None, connection=kept).status == 200
    assert hub.get("/readyz", auth=None).json["certificate_expires"] > expires
    put_at_last(hub, "a", {"h": "192.0.2.1"})
    watcher.wait_for(lambda w: w.records("a") == {"h": "192.0.2.1"})
    watcher.close()
    kept.close()
    # a file may also be a symbolic link, of which only the target changes
    (tmp_path / "elsewhere").mkdir()
    put_in_place(tmp_path / "elsewhere", authority.issue("third"))
    for name in ("key", "cert"):
        (tmp_path / "link").symlink_to(tmp_path / "elsewhere" / name)
        os.replace(tmp_path / "link", tmp_path / name)
    wait_until(lambda: presented(hub) == "third", 15 * SLOW, "the third certificate")


def test_what_cannot_be_used_is_refused_and_the_old_one_stays(renewable, authority, tmp_path):
    hub = renewable
    old = authority.issue("old", valid=(-7200, -3600))
    for n, (damage, reason) in enumerate(((lambda: (tmp_path / "cert").write_text("garbage"), "holds no certificate in PEM form"),
                                          (lambda: put_in_place(tmp_path, old), "expired at"),
                                          (lambda: (tmp_path / "cert").write_bytes(authority.issue("mismatch")[0].read_bytes()), "is not that of"),
                                          (lambda: (tmp_path / "cert").unlink(), "cannot be read: No such file"))):
        damage()
        wait_until(lambda: hub.log().count("certificate not renewed") > n, 15 * SLOW, "the refusal")
        assert any("certificate not renewed" in line and reason in line for line in hub.log().splitlines()), reason
        assert presented(hub) == "first"
    refusals = hub.log().count("certificate not renewed")
    hub.signal(signal.SIGHUP)  # asked for, so told again
    wait_until(lambda: hub.log().count("certificate not renewed") == refusals + 1, 15 * SLOW, "the refusal")
    put_in_place(tmp_path, authority.issue("mended"))
    wait_until(lambda: presented(hub) == "mended", 15 * SLOW, "the new certificate")


def test_a_chain_may_have_sixteen_certificates(renewable, authority, tmp_path):
    cert, key = authority.issue("long")
    (tmp_path / "cert-new").write_bytes(cert.read_bytes() + 15 * authority.file.read_bytes())
    put_in_place(tmp_path, (tmp_path / "cert-new", key))
    wait_until(lambda: presented(renewable) == "long", 15 * SLOW, "the new certificate")


def test_sighup_loads_it_in_any_case(renewable):
    hub = renewable
    hub.signal(signal.SIGHUP)
    wait_until(lambda: "certificate renewed" in hub.log(), 15 * SLOW, "the renewal")
    assert presented(hub) == "first"


# ---- the start ----


def bad_pairs(authority, directory):
    cert, key = authority.issue("good")
    garbage, encrypted = directory / "garbage", directory / "encrypted"
    garbage.write_text("this is no PEM\n")
    (directory / "long").write_bytes(17 * cert.read_bytes())
    openssl("pkcs8", "-topk8", "-in", key, "-out", encrypted, "-passout", "pass:secret", "-v2", "aes-256-cbc")
    return {"missing certificate": (directory / "nothing", key, f"{directory}/nothing cannot be read: No such file"),
            "missing key": (cert, directory / "nothing", f"{directory}/nothing cannot be read: No such file"),
            "a directory": (directory, key, "cannot be read: Is a directory"),
            "no certificate": (garbage, key, f"{garbage} holds no certificate in PEM form"),
            "too long a chain": (directory / "long", key, "The given memory buffer is too short"),
            "no key": (cert, garbage, f"{garbage} holds no private key in PEM form"),
            "the key as certificate": (key, key, "holds no certificate in PEM form"),
            "another's key": (cert, authority.issue("other")[1], "is not that of the first certificate in"),
            "encrypted": (cert, encrypted, "is encrypted"),
            "expired": (*authority.issue("expired", valid=(-7200, -60)), "expired at 2"),
            "not yet valid": (*authority.issue("later", valid=(3600, 7200)), "is valid from 2")}


def test_a_certificate_that_cannot_work_is_refused_at_the_start_and_the_reason_told(authority, tmp_path):
    for what, (cert, key, reason) in bad_pairs(authority, tmp_path).items():
        done = run_api("serve", settings={"TLS_CERT_FILE": cert, "TLS_KEY_FILE": key, "LISTEN": "127.0.0.1:1", "LOG_FORMAT": "json"})
        assert done.returncode == 1 and "cannot use the certificate" in done.stderr and reason in done.stderr, f"{what}: {done}"


def test_an_unreadable_key_is_told(authority, nobody):  # noqa: F811
    put_in_place(nobody.directory, authority.issue("unreadable"))
    cert, key = nobody.directory / "cert", nobody.directory / "key"
    cert.chmod(0o644)
    key.chmod(0)
    done = subprocess.run(nobody.command("silodns-api"), text=True, stderr=subprocess.PIPE, timeout=60,
                          env=clean_environment({"TLS_CERT_FILE": cert, "TLS_KEY_FILE": key, "LISTEN": "127.0.0.1:1"}))
    assert done.returncode == 1 and f"{key} cannot be read: Permission denied" in done.stderr, done


@pytest.mark.parametrize("given", ["TLS_CERT_FILE", "TLS_KEY_FILE"])
def test_one_file_without_the_other_is_a_wrong_setting(given, certificate):
    done = run_api("serve", settings={given: certificate[0]})
    assert done.returncode == 2 and "needed together" in done.stderr


# ---- strangers ----


def test_handshakes_that_stop_half_way_cost_nothing_and_end(renewable):
    hub = renewable
    wait_until(lambda: "no old history" in hub.log(), 15 * SLOW, "the end of the start")
    stalled = [half_hello(hub) for _ in range(16)]
    one_byte = socket.create_connection(("127.0.0.1", hub.port), 20)
    one_byte.sendall(b"\x16")
    wait_until(lambda: hub.metric("silodns_http_connections") >= len(stalled) + 2, 15 * SLOW, "the connections")
    before, started = cpu_seconds(hub), time.monotonic()
    time.sleep(1)  # what is measured is a time in which nothing happens
    assert cpu_seconds(hub) - before < 0.25 * (time.monotonic() - started) * SLOW, "waiting handshakes keep the hub busy"
    assert hub.get("/ping", auth=None).status == 200
    assert all(ends(sock) for sock in (*stalled, one_byte)), "SILODNS_IDLE_TIMEOUT"
    wait_until(lambda: hub.metric("silodns_http_connections") == 1, 15 * SLOW, "the end of the connections")


def test_a_slow_handshake_is_finished(renewable):
    hub = renewable
    ours, theirs = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = ssl.create_default_context(cafile=hub.ca).wrap_bio(theirs, ours, server_hostname="localhost")
    with socket.create_connection(("127.0.0.1", hub.port), 20) as sock:
        while True:
            try:
                tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                for byte in ours.read():
                    sock.sendall(bytes([byte]))
                theirs.write(sock.recv(65536))
        tls.write(b"GET /ping HTTP/1.1\r\nHost: hub\r\nConnection: close\r\n\r\n")
        for byte in ours.read():
            sock.sendall(bytes([byte]))
        received = b""
        while b"PONG" not in received:
            try:
                received += tls.read(65536)
            except ssl.SSLWantReadError:
                data = sock.recv(65536)
                assert data
                theirs.write(data)


def test_sigterm_ends_a_hub_with_handshakes_under_way(make_hub, database, authority, certificate):
    hub = make_hub(database, ca=authority.file, TLS_CERT_FILE=certificate[0], TLS_KEY_FILE=certificate[1])
    stalled = [half_hello(hub) for _ in range(4)]
    watcher = Watcher(hub, "a").wait_synced()
    assert hub.stop(10) == 0
    watcher.thread.join(10)
    assert all(ends(sock) for sock in stalled) and watcher.ended
