"""The figures: each function measures one group, beside its ceiling, and returns the rows of the table."""

import dataclasses
import os
import random
import time
import typing

from tests.bench.bench import ADMIN, Wrong, median

SILOS = 1000  # where a figure does not say otherwise
MILLION = 1_000_000
CLIENTS = 128


@dataclasses.dataclass
class Row:
    """One line of the table. `goal`: what `of` (value or ratio) must not be above or below; None: for information."""

    figure: str
    value: float
    unit: str
    ceiling: typing.Optional[float] = None
    ratio: typing.Optional[float] = None
    of: str = "value"
    at_most: typing.Optional[float] = None
    at_least: typing.Optional[float] = None
    note: str = ""
    rounds: dict = dataclasses.field(default_factory=dict)

    @property
    def met(self):
        number = self.ratio if self.of == "ratio" else self.value
        if self.at_most is None and self.at_least is None:
            return None
        return (self.at_most is None or number <= self.at_most) and (self.at_least is None or number >= self.at_least)


def rates(results):
    return [result["per_second"] for result in results]


def percentiles(results, name="p50"):
    """In milliseconds."""
    return [result["latency_us"][name] / 1000 for result in results]


def against(figure, unit, own, ceiling, **goal):
    """Of pairs that were measured one after the other: the ratio is the median of the rounds' ratios."""
    assert all(ceiling), f"{figure}: the ceiling came to nothing in its time; measure for longer (--seconds)"
    return Row(figure, median(own), unit, median(ceiling), median([a / b for a, b in zip(own, ceiling)]), of="ratio",
               rounds={"own": own, "ceiling": ceiling}, **goal)


def get(bench):
    """GET /silos/{id} with a password, 128 connections, random ids; and the same with If-None-Match. The ceiling is a bare Ulfius with as many
    threads as make it fastest, which answers each request with an equal body and equal headers."""
    hub = bench.hub(SILOS)
    bare = bench.best_bare("get")
    bare_304 = bench.best_bare("get-304", status=304)
    results = bench.alternate(
        own=lambda: bench.load(hub.port, mode="get", silos=SILOS),
        bare=lambda: bench.load(bare.port, mode="get", silos=SILOS),
        own_304=lambda: bench.load(hub.port, mode="get-304", silos=SILOS),
        bare_304=lambda: bench.load(bare_304.port, mode="get-304", silos=SILOS),
    )
    return [
        against("GET /silos/{id}", "requests/s", rates(results["own"]), rates(results["bare"]), at_least=0.9, note=bare.note),
        against("GET /silos/{id}, 304", "requests/s", rates(results["own_304"]), rates(results["bare_304"]), at_least=0.9, note=bare_304.note),
    ]


def check_acknowledged(database, acks):
    """No update is lost: each acknowledged change has a revision of its own, and stands there in the log."""
    told = [tuple(map(int, line.split())) for line in acks.read_text().splitlines()]
    if not told:
        raise Wrong("nothing was acknowledged")
    log = database.sql(f"SELECT revision, document FROM change_log WHERE revision >= {min(told)[0]} AND revision <= {max(told)[0]}")
    documents = {int(revision): document for revision, document in log}
    for revision, silo, change in told:
        ip = f"10.{change >> 16 & 255}.{change >> 8 & 255}.{change & 255}"
        document = documents.pop(revision, None)
        if document is None or f'"ip":"{ip}"' not in document or f'"id":"s{silo:07}"' not in document:
            raise Wrong(f"acknowledged as revision {revision}: {ip} in silo {silo}; in the log: {document}")
    acks.unlink()


def put_checked(bench, hub, **options):
    acks = bench.directory / "acks"
    result = bench.load(hub.port, acks=acks, silos=SILOS, **options)
    check_acknowledged(hub.database, acks)
    return result


def put(bench):
    """Durable changes of 128 clients, each on silos of its own, then all on one silo; each acknowledged change is looked up in the log. The
    ceiling is MariaDB driven by 32 connections, one transaction per update of the same tables."""
    hub = bench.hub(SILOS)
    other = bench.database(SILOS, "direct")
    results = bench.alternate(
        own=lambda: put_checked(bench, hub, mode="put", connections=CLIENTS),
        direct=lambda: bench.direct(other, connections=32, silos=SILOS),
        same=lambda: put_checked(bench, hub, mode="put-same", connections=CLIENTS),
    )
    different, same = rates(results["own"]), rates(results["same"])
    return [
        against("PUT, 128 clients on different silos", "changes/s", different, rates(results["direct"]), at_least=8),
        against("PUT, 128 clients on one silo ÷ different silos", "changes/s", same, different, at_least=0.5,
                note="every acknowledged change is in the log"),
    ]


def put_one(bench):
    """One client changing one silo after the other: how long one change takes, beside one transaction over one connection."""
    hub = bench.hub(SILOS)
    other = bench.database(SILOS, "direct")
    results = bench.alternate(
        own=lambda: put_checked(bench, hub, mode="put", connections=1),
        direct=lambda: bench.direct(other, connections=1, silos=SILOS),
    )
    return [against("PUT, one client, p50", "ms", percentiles(results["own"]), percentiles(results["direct"]), at_most=1.25)]


def mixed(bench):
    """How long reading takes (1,000 GET/s over 32 connections) while 5,000 changes/s arrive over 128 connections: p99 of the GETs, and how
    many changes were acknowledged. The ceiling is the same reading from a bare Ulfius that has nothing else to do."""
    hub, bare = bench.hub(SILOS), bench.best_bare("get")
    reading = {"mode": "get", "connections": 32, "rate": 1000, "silos": SILOS}

    def both():
        with bench.in_background("load", port=hub.port, user=ADMIN[0], mode="put", silos=SILOS, rate=5000, connections=CLIENTS,
                                 first_change=bench.take_changes(200_000), warmup_ms=500,
                                 duration_ms=bench.duration(1.5)) as writing:
            own = bench.load(hub.port, warmup_ms=bench.duration(0.25) + 500, **reading)
            return {**own, "written": writing.result()["per_second"]}

    results = bench.alternate(own=both, bare=lambda: bench.load(bare.port, **reading))
    row = against("GET p99 while 5,000 changes/s arrive", "ms", percentiles(results["own"], "p99"), percentiles(results["bare"], "p99"))
    row.of, row.at_most = "value", 10
    written = median([result["written"] for result in results["own"]])
    row.note = f"{written:,.0f} changes/s were acknowledged meanwhile"
    return [row]


def hosts(bench):
    """From the moment a PUT is sent to the moment hostsync has replaced the hosts file and synced it (it says so, and the file is looked
    into), with a change every few tens of milliseconds; then the same with hostsync at another api process than the change. The ceiling is
    a plain loop of write, fsync, rename, fsync of the directory, of a file of the same length."""
    first, second = bench.hub(SILOS), bench.hub(SILOS, second=True)
    rows = []
    for name, hub, bounds in (("one api process", first, (5, 20)), ("through a second api process", second, (40, 80))):
        with bench.keeper(hub, silo="s0000000") as keeper:
            results = bench.alternate(
                own=lambda: follow_changes(bench, first, keeper),
                plain=lambda: replace_file(bench, keeper.directory / "plain", keeper.text()),
            )
        for percentile, bound in zip(("p50", "p99"), bounds):
            row = against(f"PUT sent → hosts file synced, {name}, {percentile}", "ms", percentiles(results["own"], percentile),
                          percentiles(results["plain"], percentile))
            row.of, row.at_most = "value", bound
            rows.append(row)
    return rows


def follow_changes(bench, hub, keeper):
    """Changes one after the other, each once the last is in the file. As the programs' results."""
    times = []
    connection = hub.connect()
    deadline = time.monotonic() + bench.seconds
    while time.monotonic() < deadline or len(times) < 20:
        ip = "10." + ".".join(map(str, bench.take_changes(1).to_bytes(3, "big")))
        started = time.monotonic()
        answer = hub.put_silo("s0000000", {"a.example.net": ip, "b.example.net": "192.0.2.7"}, connection=connection)
        if answer.status != 200:
            raise Wrong(f"PUT: {answer}")
        keeper.wait_written(int(answer.headers["ETag"].strip('"')))
        times.append((time.monotonic() - started) * 1e6)
        if ip not in keeper.text():
            raise Wrong("hostsync says that it has written a change that is not in the file")
        time.sleep(random.uniform(0.01, 0.03))  # so that no beat of the hub's polls is hit, or missed, always
    connection.close()
    return latency(times)


def replace_file(bench, path, text):
    """The least that keeping a hosts file costs, again and again, as far apart as the changes."""
    times, new = [], path.with_suffix(".new")
    directory = os.open(path.parent, os.O_RDONLY)
    deadline = time.monotonic() + bench.seconds
    while time.monotonic() < deadline:
        started = time.monotonic()
        with open(new, "w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(new, path)
        os.fsync(directory)
        times.append((time.monotonic() - started) * 1e6)
        time.sleep(0.02)
    os.close(directory)
    return latency(times)


def latency(times):
    """Of microseconds, as the programs say it."""
    times.sort()
    return {"latency_us": {"p50": times[len(times) // 2], "p99": times[min(len(times) - 1, len(times) * 99 // 100)]}}


def memory(bench):
    """Resident memory of the api, empty and with 1,000,000 silos of 2 records, and how long it takes to start with them (till /readyz says
    200). Nothing to compare with: the goals are absolute."""
    with bench.a_hub(bench.database(0)) as hub:
        empty = hub.memory_kb() / 1024
    started = time.monotonic()
    bench.database(MILLION)
    filled = time.monotonic() - started
    hub = bench.hub(MILLION)
    return [
        Row("api memory, empty", empty, "MB", at_most=20),
        Row("api memory, 1,000,000 silos", hub.memory_kb_at_start / 1024, "MB", at_most=300),
        Row("start with 1,000,000 silos", hub.started_in, "s", at_most=2.5, note=f"in huge pages; filling the database took {filled:.0f} s"),
    ]


def growth(bench):
    """Rates of GET and PUT at 1, 1,000 and 1,000,000 silos: the cost of one is to grow as the depth of a tree does, not as the number of
    silos. Compared with 1,000 silos, in the same minutes."""
    rows = []
    hubs = {silos: bench.hub(silos) for silos in (1, SILOS, MILLION)}
    for what, mode, connections in (("GET", "get", CLIENTS), ("PUT, one client", "put", 1)):
        results = bench.alternate(**{str(silos): lambda silos=silos: bench.load(hubs[silos].port, mode=mode, silos=silos, connections=connections)
                                     for silos in hubs})
        rows += [against(f"{what}: {silos:,} silos ÷ {SILOS:,} silos", "/s", rates(results[str(silos)]), rates(results[str(SILOS)]))
                 for silos in hubs if silos != SILOS]
    return rows


def fan_out(bench):
    """10, 1,000 and 10,000 watchers of one silo at one api process: how long from sending a change to the last watcher's event, and what a
    watcher costs in resident memory. Each count at a process of its own. The ceiling is one thread that does nothing but send() the event to
    one connection after the other."""
    rows = []
    broadcast = bench.ceiling("broadcast")
    for watchers in (10, 1000, 10_000):
        options = {"watchers": watchers, "silos": SILOS, "named": 1, "changes": 10}
        results = {"own": [], "broadcast": []}
        for _ in range(2):
            with bench.a_hub(bench.database(SILOS)) as hub:
                before = hub.memory_kb()
                own = bench.watch(hub.port, meanwhile=hub.memory_kb, **options)
            results["own"].append({**own, "each_kb": (own["seen"] - before) / watchers})
            results["broadcast"].append(bench.watch(broadcast.port, **options))
        last = {side: [us / 1000 for result in results[side] for us in result["last_watcher_us"]] for side in results}
        rows.append(Row(f"one change, last of {watchers:,} watchers", median(last["own"]), "ms", median(last["broadcast"]),
                        median(last["own"]) / median(last["broadcast"]), of="ratio", at_most=1.1 if watchers == 10_000 else None,
                        note=f"slowest of {len(last['own'])}: {max(last['own']):.0f} ms; all synced in {results['own'][0]['synced_seconds']:.1f} s",
                        rounds=last))
        if watchers == 10_000:
            rows.append(Row("api memory per watcher", max(result["each_kb"] for result in results["own"]), "kB", at_most=10))
    return rows


def stream(bench):
    """1,000 changes/s of 1,000 silos with 1,000 watchers, each of all silos, for 60 s: in the end every watcher is to know the newest state
    of every silo, and none may ever have heard of a change later than 1 s after it was sent."""
    with bench.a_hub(bench.database(SILOS)) as hub:
        result = bench.watch(hub.port, watchers=1000, silos=SILOS, rate=1000, duration_ms=int(bench.seconds * 60_000))
    if result["behind"]:
        raise Wrong(f"{result['behind']} states were not told within 5 s after the last change")
    return [Row("1,000 watchers of all silos, slowest event", result["delay_us"]["max"] / 1e6, "s", at_most=1,
                note=f"p50 {result['delay_us']['p50'] / 1000:.0f} ms, p99 {result['delay_us']['p99'] / 1000:.0f} ms; "
                     f"{result['per_second']:,.0f} changes/s, {result['events']:,} events"),
            Row("changes acknowledged meanwhile", result["per_second"], "changes/s", at_least=950,
                note=f"{result['refused']:,} refused as nothing went on for 0.9 s" if result["refused"] else "")]


def churn_for(bench, seconds, changes, connections, at_most, watchers=100):
    """Rates are spread over the time; memory is looked at every 50th part of it."""
    with bench.a_hub(bench.database(SILOS)) as hub:
        with bench.in_background("watch", port=hub.port, user=ADMIN[0], first_change=bench.take_changes(changes + 1000), watchers=watchers, silos=SILOS,
                                 rate=changes // seconds, reconnect=connections // seconds, duration_ms=seconds * 1000) as running:
            running.first_line()
            running.go_on()
            memory = []
            for _ in range(50):
                time.sleep(seconds / 50)
                memory.append(hub.memory_kb() / 1024)
            result = running.result()
    if result["behind"]:
        raise Wrong(f"{result['behind']} states were not told within 5 s after the last change")
    warm = memory[10:]
    growth = (max(warm) - warm[0]) / warm[0] * 100
    return Row(f"api memory growth over {seconds} s of churn, after warm-up", growth, "%", at_most=at_most, rounds={"own": memory},
               note=f"{warm[0]:.1f} → {memory[-1]:.1f} MB; {result['changes']:,} changes, {result['reconnected']:,} watchers came and went")


def churn(bench):
    """Resident memory of an api process through which changes flow while watchers come and go: 30,000 changes and 3,000 watchers within 30 s.
    The first fifth is warm-up; from there on it is to stay within 5%."""
    return [churn_for(bench, 30, 30_000, 3000, at_most=5)]


def churn_long(bench):
    """The same over 15 minutes: 1,000,000 changes, 100,000 watchers; within 2%. (make bench-churn)"""
    return [churn_for(bench, 900, 1_000_000, 100_000, at_most=2)]


FIGURES = {"get": get, "put": put, "put-one": put_one, "mixed": mixed, "hosts": hosts, "fan-out": fan_out, "stream": stream, "churn": churn,
           "memory": memory, "growth": growth, "churn-long": churn_long}
LONG = ("churn-long",)  # only when asked for
