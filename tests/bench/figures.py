"""The figures: each function measures one group, beside its ceiling, and returns the rows of the table."""

import dataclasses
import typing

from bench import Wrong, median

SILOS = 1000  # where a figure does not say otherwise
CLIENTS = 128
BODY = ('{"id":"s0000000","dnsrecords":[{"hostname":"a.example.net","ip":"198.51.100.1"},'
        '{"hostname":"b.example.net","ip":"192.0.2.7"}]}')


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
    return Row(figure, median(own), unit, median(ceiling), median([a / b for a, b in zip(own, ceiling)]), of="ratio",
               rounds={"own": own, "ceiling": ceiling}, **goal)


def get(bench):
    """GET /silos/{id} with a password, 128 connections, random ids; and the same with If-None-Match. The ceiling is a bare Ulfius with the
    hub's start-up options and number of threads, which answers each request with an equal body and equal headers."""
    hub = bench.hub(SILOS)
    bare = bench.ceiling(body=BODY)
    bare_304 = bench.ceiling(body=BODY, status=304)
    results = bench.alternate(
        own=lambda: bench.load(hub.port, mode="get", silos=SILOS),
        bare=lambda: bench.load(bare.port, mode="get", silos=SILOS),
        own_304=lambda: bench.load(hub.port, mode="get-304", silos=SILOS),
        bare_304=lambda: bench.load(bare_304.port, mode="get-304", silos=SILOS),
    )
    return [
        against("GET /silos/{id}", "requests/s", rates(results["own"]), rates(results["bare"]), at_least=0.75),
        against("GET /silos/{id}, 304", "requests/s", rates(results["own_304"]), rates(results["bare_304"]), at_least=0.80),
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
        against("PUT, 128 clients on different silos", "changes/s", different, rates(results["direct"]), at_least=3),
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
    return [against("PUT, one client, p50", "ms", percentiles(results["own"]), percentiles(results["direct"]), at_most=1.5)]


FIGURES = {"get": get, "put": put, "put-one": put_one}
LONG = ()  # only when asked for
