"""Three hubs write through three nodes at once: what one node has certified stops the others' transactions, which the journals run again."""

import threading

from tests.lib.waiting import wait_until

CHANGES = 15
WRITERS = 2  # at each hub


def test_no_update_is_lost(several, cluster, figure):
    """Each writer reads the silo that all share, adds a record of its own, and has it replaced only if nobody else has done so meanwhile."""
    several.hubs[0].put_silo("shared", {"first": "10.0.0.1"})
    for hub in several.hubs:
        wait_until(lambda: hub.get("/silos/shared").status == 200, what="the silo")  # noqa: B023
    failures = cluster.count("local_cert_failures") + cluster.count("local_bf_aborts")
    made, wrong, lost = [], [], []

    def write(hub, name):
        for n in range(CHANGES):
            while not wrong:
                silo = hub.get("/silos/shared")
                records = [*silo.json["dnsrecords"], {"hostname": f"{name}-{n}", "ip": "10.0.0.2"}]
                answer = hub.put("/silos/shared", {"dnsrecords": records}, headers={"If-Match": silo.headers["ETag"]})
                if answer.status == 200:
                    made.append(f"{name}-{n}")
                    break
                if answer.status == 412:
                    lost.append(name)
                elif answer.status != 503:
                    wrong.append(answer)

    threads = [threading.Thread(target=write, args=(hub, f"hub{h}-{w}")) for h, hub in enumerate(several.hubs) for w in range(WRITERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
        assert not thread.is_alive()
    assert not wrong and len(made) == len(threads) * CHANGES and lost
    several.check()
    hostnames = {record["hostname"] for record in several.hubs[0].get("/silos/shared").json["dnsrecords"]}
    assert hostnames == {"first", *made}
    failures = cluster.count("local_cert_failures") + cluster.count("local_bf_aborts") - failures
    figure(f"transactions that had to give way to another node's, for {len(made)} changes of one silo and the ledger's", failures)
    assert failures, "no two nodes met: this test showed nothing"


def test_what_was_changed_through_one_hub_is_known_to_the_next(several):
    """A change that another hub has acknowledged counts in every decision that is made after it: here, that nothing has changed."""
    first, second = several.hubs[:2]
    for n in range(1, 41):
        answers = [first.put_silo("turn", {"h": f"10.0.1.{n}"}), second.put_silo("turn", {"h": f"10.0.2.{n}"}), first.put_silo("turn", {"h": f"10.0.1.{n}"})]
        if any(answer.status == 503 for answer in answers):
            continue
        revisions = [answer.revision for answer in answers]
        assert revisions[0] < revisions[1] < revisions[2], "a hub answered from what it knew before"
    several.check()
