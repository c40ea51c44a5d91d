"""Tokens whose secrets were chosen before there was a hub: for an updater and hostsyncs that come up together with it."""

import base64
import secrets

import pytest

from tests.lib.answers import refused
from tests.lib.hub import ADMIN, bearer, run_program
from tests.lib.mariadb import Database
from tests.lib.waiting import wait_until
from tests.lib.watcher import Watcher

pytestmark = pytest.mark.hub


def new_secret():
    return "silodns_" + base64.urlsafe_b64encode(secrets.token_bytes(32)).decode().rstrip("=")


@pytest.fixture
def given():
    return {"CLIENT_SILOS": "cluster,more cluster", "CLIENT_HOSTNAMES": "project_me_1", "UPDATER_TOKEN": new_secret(), "HOSTSYNC_TOKEN": new_secret()}


def tokens(hub):
    return {token["name"]: token for token in hub.get("/users/admin/tokens").json}


def are_made(hub, number=2):
    wait_until(lambda: len(tokens(hub)) == number, what="the tokens")


def restart(hub, **settings):
    hub.stop()
    hub.settings |= settings
    hub.secrets |= {value for name, value in settings.items() if name.endswith("_TOKEN") and value}
    hub.start()


def test_a_new_hub_makes_the_tokens_of_its_settings_and_their_silos(make_hub, database, given):
    hub = make_hub(database, **given)
    are_made(hub)
    assert {name: (token["verbs"], token["silos"], token.get("hostnames")) for name, token in tokens(hub).items()} == {
        "updater": (["read", "update"], ["cluster", "more"], ["project_me_1"]), "hostsync": (["read"], ["cluster", "more"], None)}
    assert hub.get("/silos").json == [{"id": silo, "dnsrecords": []} for silo in ("cluster", "more")]
    updater, hostsync = bearer(given["UPDATER_TOKEN"]), bearer(given["HOSTSYNC_TOKEN"])
    assert hub.put_silo("cluster", {"project_me_1": "192.0.2.1"}, auth=updater).status == 200
    refused(hub.put_silo("cluster", {"project_me_1": "192.0.2.1", "other": "192.0.2.1"}, auth=updater), "only those of its own hostnames")
    assert hub.get("/silos/cluster", auth=hostsync).status == 200
    refused(hub.put_silo("cluster", {}, auth=hostsync), "no verb")
    hub.put_silo("elsewhere", {})
    for auth in (updater, hostsync):
        refused(hub.get("/silos/elsewhere", auth=auth))
        refused(hub.get("/users", auth=auth))
    entries = hub.get("/audit?outcome=changed").json
    assert [entry["change"] for entry in entries if entry["subject"] in ("admin/updater", "admin/hostsync")] == ["token-put"] * 2


def test_updater_and_hostsync_take_them_from_files_as_the_units_have_it(make_hub, database, given, tmp_path):
    hub = make_hub(database, **given)
    are_made(hub)
    none = tmp_path / "none"
    none.write_text("-")  # what systemd makes of a credential whose file is not there
    for name in ("UPDATER_TOKEN", "HOSTSYNC_TOKEN"):
        (tmp_path / name).write_text(given[name] + "\n")
    (tmp_path / "password").write_text(ADMIN[1] + "\n")
    (tmp_path / "hosts").write_text("127.0.0.1 localhost\n")
    by_token = {"PASSWORD_FILE": none}
    by_password = {"TOKEN_FILE": none, "USER": ADMIN[0], "PASSWORD_FILE": tmp_path / "password"}
    for n, credentials in enumerate((by_token, by_password)):
        done = run_program("silodns-updater", "--once", settings={"URL": hub.url, "TOKEN_FILE": tmp_path / "UPDATER_TOKEN", "SILO": "cluster", "HOSTNAMES": "project_me_1",
                                                                  "SOURCE": f"command:echo 9.9.9.{n}", **credentials})
        assert done.returncode == 0, done.stderr
        done = run_program("silodns-hostsync", "--once", settings={"URL": hub.url, "TOKEN_FILE": tmp_path / "HOSTSYNC_TOKEN", "SILOS": "cluster",
                                                                   "HOSTS_FILE": tmp_path / "hosts", **credentials})
        assert done.returncode == 0 and f"9.9.9.{n}\tproject_me_1" in (tmp_path / "hosts").read_text(), done.stderr


def test_one_that_was_revoked_is_not_made_again_but_with_another_secret(make_hub, database, given):
    hub = make_hub(database, **given)
    are_made(hub)
    assert hub.delete("/users/admin/tokens/updater").status == 204
    restart(hub)
    wait_until(lambda: "was revoked: it stays so" in hub.log(), what="a word about it")
    assert set(tokens(hub)) == {"hostsync"}
    refused(hub.get("/silos", auth=bearer(given["UPDATER_TOKEN"])), "no such token", 401, "unauthorized")
    renewed = new_secret()
    restart(hub, UPDATER_TOKEN=renewed)
    are_made(hub)
    assert hub.put_silo("cluster", {"project_me_1": "192.0.2.1"}, auth=bearer(renewed)).status == 200


def test_they_follow_the_settings_and_a_silo_that_is_gone_stays_so(make_hub, database, given):
    hub = make_hub(database, **given)
    are_made(hub)
    made = tokens(hub)
    assert hub.delete("/silos/more").status == 204
    restart(hub)
    assert tokens(hub) == made and hub.revision() == 6, "nothing was to be changed"
    restart(hub, CLIENT_HOSTNAMES="project_me_1 you.cluster")
    wait_until(lambda: tokens(hub).get("updater", {}).get("hostnames") == ["project_me_1", "you.cluster"], what="the new scope")
    assert tokens(hub)["hostsync"] == made["hostsync"]
    renewed = new_secret()
    restart(hub, HOSTSYNC_TOKEN=renewed)
    wait_until(lambda: hub.get("/silos", auth=bearer(renewed)).status == 200, what="the new secret")
    refused(hub.get("/silos", auth=bearer(given["HOSTSYNC_TOKEN"])), "no such token", 401, "unauthorized")
    restart(hub, CLIENT_SILOS=None, CLIENT_HOSTNAMES=None, UPDATER_TOKEN=None, HOSTSYNC_TOKEN=None)
    assert set(tokens(hub)) == {"updater", "hostsync"}, "what no setting names is left alone"


def test_one_whose_scope_changes_is_there_all_the_time(make_hub, database, given):
    """It is replaced in one change: whatever happens between two, no client is without its token."""
    hub = make_hub(database, **given)
    are_made(hub)
    restart(hub, CLIENT_HOSTNAMES="project_me_1 you.cluster")
    wait_until(lambda: tokens(hub)["updater"]["hostnames"] == ["project_me_1", "you.cluster"], what="the new scope")
    assert database.sql("SELECT COUNT(*) FROM change_log WHERE kind = 'token-delete'") == [["0"]]


def test_a_stream_ends_when_its_token_is_replaced_by_one_of_another_scope(make_hub, database, given):
    hub, other = make_hub(database, **given), make_hub(database)
    are_made(other)
    watcher = Watcher(other, auth=bearer(given["HOSTSYNC_TOKEN"]))
    watcher.wait_synced()
    restart(hub, CLIENT_SILOS="more")
    wait_until(lambda: watcher.ended, what="the end of the stream that had the former scope")
    watcher.close()


def test_two_secrets_may_be_exchanged(make_hub, database, given):
    """Whenever it is killed on the way: the token that lost its secret to the other one does not count as revoked."""
    hub = make_hub(database, **given)
    are_made(hub)
    swapped = {"UPDATER_TOKEN": given["HOSTSYNC_TOKEN"], "HOSTSYNC_TOKEN": given["UPDATER_TOKEN"]}
    for settings in (swapped, given, swapped, given):
        made = hub.log().count("token made")
        restart(hub, **settings)
        wait_until(lambda: hub.log().count("token made") > made, what="one of them")  # noqa: B023
        hub.kill()
        restart(hub)
        wait_until(lambda: hub.put_silo("cluster", {"project_me_1": "192.0.2.1"}, auth=bearer(settings["UPDATER_TOKEN"])).status == 200, what="the updater's")  # noqa: B023
        wait_until(lambda: hub.get("/silos/cluster", auth=bearer(settings["HOSTSYNC_TOKEN"])).status == 200, what="the hostsync's")  # noqa: B023
        refused(hub.put_silo("cluster", {}, auth=bearer(settings["HOSTSYNC_TOKEN"])), "no verb")


def test_a_hub_that_is_not_new_makes_them_too_on_silos_of_others(make_hub, database, given):
    hub = make_hub(database)
    hub.add_user("nodes", quota=1)
    auth = ("nodes", "a-users-password")
    assert hub.put_silo("cluster", {"db": "192.0.2.7"}, auth=auth).status == 201
    restart(hub, **given)
    are_made(hub)
    assert hub.get("/silos/cluster", auth=bearer(given["HOSTSYNC_TOKEN"])).json["dnsrecords"] == [{"hostname": "db", "ip": "192.0.2.7"}]
    assert hub.get("/silos/cluster", auth=auth).status == 200, "it still belongs to whom it did"


def test_several_hubs_that_start_at_once_make_each_once(make_hub, database, given):
    hubs = [make_hub(database, start=False, **given) for _ in range(3)]
    for hub in hubs:
        hub.start(wait_ready=False)
    for hub in hubs:
        hub.wait_ready()
    for hub in hubs:
        wait_until(lambda: all(hub.get("/silos", auth=bearer(given[name])).status == 200 for name in ("UPDATER_TOKEN", "HOSTSYNC_TOKEN")), what="both tokens")  # noqa: B023
    assert [made for (made,) in database.sql("SELECT subject FROM change_log WHERE kind = 'token-put' ORDER BY subject")] == ["admin/hostsync", "admin/updater"]


def test_a_database_that_comes_later_is_waited_for(make_hub, own_mariadb, given):
    database = Database(own_mariadb)
    own_mariadb.stop()
    hub = make_hub(database, start=False, **given)
    hub.start(wait_ready=False)
    own_mariadb.start()
    hub.wait_ready()
    are_made(hub)


def test_what_is_stored_of_a_secret_is_its_hash(make_hub, database, given):
    hub = make_hub(database, **given)
    are_made(hub)
    wait_until(lambda: len(database.sql("SELECT * FROM client_secret")) == 2, what="both to be remembered")
    everything = str(database.sql("SELECT * FROM token") + database.sql("SELECT * FROM client_secret") + database.sql("SELECT * FROM change_log"))
    assert not [name for name in ("UPDATER_TOKEN", "HOSTSYNC_TOKEN") if given[name].removeprefix("silodns_") in everything]


@pytest.mark.parametrize("change, words", [
    ({"UPDATER_TOKEN": "silodns_tooshort"}, "SILODNS_UPDATER_TOKEN: is no token"), ({"HOSTSYNC_TOKEN": "a-users-password"}, "SILODNS_HOSTSYNC_TOKEN: is no token"),
    ({"CLIENT_SILOS": None}, "needs SILODNS_CLIENT_SILOS"), ({"CLIENT_HOSTNAMES": None}, "needs SILODNS_CLIENT_SILOS and SILODNS_CLIENT_HOSTNAMES"),
    ({"CLIENT_SILOS": " ".join(f"s{n}" for n in range(65))}, "silos is a list of 1 to 64")])
def test_settings_that_make_no_token_are_refused_at_the_start(given, change, words):
    settings = {name: value for name, value in (given | change).items() if value}
    done = run_program("silodns-api", "serve", settings=settings)
    assert done.returncode == 2 and words in done.stderr, done.stderr
    assert not [value for name, value in settings.items() if name.endswith("TOKEN") and value in done.stderr]


def test_one_secret_for_both_is_refused_at_the_start(given):
    done = run_program("silodns-api", "serve", settings={**given, "HOSTSYNC_TOKEN": given["UPDATER_TOKEN"]})
    assert done.returncode == 2 and "SILODNS_UPDATER_TOKEN and SILODNS_HOSTSYNC_TOKEN are the same secret" in done.stderr
    assert given["UPDATER_TOKEN"] not in done.stderr
