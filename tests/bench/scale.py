#!/usr/bin/python3
"""From measured unit costs to sizes that no test machine has: docs/scale.md says what is behind it.   tests/bench/scale.py [--check]

A small simulation of one hub: changes arrive at random, the journal commits what waits in one batch, the watch thread tells its watchers in
rounds. Two points of each curve set its unit costs; the others must then come out as they were measured (--check), before anything is said about
more. Prints the tables of docs/scale.md.
"""

import json
import pathlib
import random
import sys

MEASURED = json.loads((pathlib.Path(__file__).parent / "measured.json").read_text())
BATCH_MAX = 256  # services/api/batch.h
TOLERANCE = 0.4  # of a measured point: the machine's own rounds differ by as much
CHANGES = 4000  # that a simulation looks at
NODES, SILOS = 100_000, 10_000_000


class Costs:
    """Milliseconds."""

    def __init__(self, measured):
        fan_out = {int(n): ms for n, ms in measured["fan_out_ms"].items()}
        few, many = min(fan_out), max(fan_out)
        self.watcher = (fan_out[many] - fan_out[few]) / (many - few)  # to tell one more of one change
        self.round = fan_out[few] - few * self.watcher  # to tell anybody at all, from the PUT on
        batch = 1000 * measured["clients"] / measured["put_per_s"]  # who waits for one answer sends no other change: a batch is everybody
        self.change = (batch - measured["put_one_ms"]) / (measured["clients"] - 1)  # one more in a batch
        self.commit = measured["put_one_ms"] - self.change
        self.event = 0.0  # one more event for one watcher that is told anyway
        self.event = self.find_event(measured["stream"])

    def find_event(self, stream):
        """The one with which the simulation has the stream's median."""
        low, high = 0.0, 1.0 / stream["watchers"]
        for _ in range(12):
            self.event = (low + high) / 2
            if percentile(simulate(self, stream["watchers"], stream["per_s"]), 50) > stream["p50_ms"]:
                high = self.event
            else:
                low = self.event
        return self.event


def simulate(costs, watchers, per_second, seed=1):
    """For each change, how long until the last watcher has it; milliseconds."""
    dice = random.Random(seed)
    arrivals, now = [], 0.0
    for _ in range(CHANGES):
        now += dice.expovariate(per_second / 1000)
        arrivals.append(now)
    committed, free, first = [], 0.0, 0
    while first < CHANGES:  # the journal takes what waits
        begin = max(free, arrivals[first])
        count = 1
        while first + count < CHANGES and count < BATCH_MAX and arrivals[first + count] <= begin:
            count += 1
        free = begin + costs.commit + count * costs.change
        committed += [free] * count
        first += count
    delays, free, first = [], 0.0, 0
    while first < CHANGES:  # a round tells all that was committed when it began
        begin = max(free, committed[first])
        count = 1
        while first + count < CHANGES and committed[first + count] <= begin:
            count += 1
        free = begin + watchers * (costs.watcher + (count - 1) * costs.event)
        delays += [free - arrival for arrival in arrivals[first:first + count]]
        first += count
    return delays


def percentile(values, percent):
    return sorted(values)[min(len(values) - 1, len(values) * percent // 100)]


def compared(costs, measured):
    """(what, simulated, measured) of points that set no cost."""
    fan_out = sorted((int(n), ms) for n, ms in measured["fan_out_ms"].items())
    points = [(f"one change to {n:,} watchers, ms", costs.round + n * costs.watcher, ms) for n, ms in fan_out[1:-1]]
    stream = measured["stream"]
    delays = simulate(costs, stream["watchers"], stream["per_s"])
    points.append((f"{stream['watchers']:,} watchers of everything at {stream['per_s']:,} changes/s, p99, ms", percentile(delays, 99), stream["p99_ms"]))
    return points


def extrapolated(costs, measured):
    """Rows of the table for NODES and SILOS."""
    for replicas in (3, 10, 30, 100):
        watchers = NODES // replicas
        memory = measured["empty_mb"] + SILOS / 1e6 * measured["million_silos_mb"] + watchers * measured["watcher_kb"] / 1024
        last = measured["poll_ms"] + costs.round + watchers * costs.watcher
        own = percentile(simulate(costs, 1, 1000), 99)  # each node follows silos of its own
        yield replicas, watchers, memory / 1024, last, measured["poll_ms"] + own


def main():
    costs = Costs(MEASURED)
    wrong = []
    print("| point | simulated | measured |\n|---|---|---|")
    for what, simulated, seen in compared(costs, MEASURED):
        print(f"| {what} | {simulated:.0f} | {seen:.0f} |")
        if abs(simulated - seen) > TOLERANCE * seen:
            wrong.append(what)
    print(f"\n| replicas | nodes on each | memory of each, GB | one change to all {NODES:,} nodes, ms | changes of 1,000/s, each for one node, p99, ms |")
    print("|---|---|---|---|---|")
    for replicas, watchers, memory, last, own in extrapolated(costs, MEASURED):
        print(f"| {replicas} | {watchers:,} | {memory:.1f} | {last:,.0f} | {own:.0f} |")
    if wrong and "--check" in sys.argv:
        sys.exit(f"the simulation does not come to what was measured: {'; '.join(wrong)}")


if __name__ == "__main__":
    main()
