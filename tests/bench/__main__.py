"""Measures the hub beside its ceilings: python3 -m tests.bench [--seconds S] [--rounds N] [FIGURE…]

Prints one line per figure (value, ceiling, ratio, goal) and writes build/bench/result.json. What can be measured: python3 -m tests.bench --list
The exit code is 0 if all could be measured, whether or not a goal was met. See docs/bench.md.
"""

import argparse
import dataclasses
import datetime
import json
import os
import signal
import subprocess
import sys
import time

from tests.bench.bench import PROGRAMS, Bench, Wrong
from tests.bench.figures import FIGURES, LONG
from tests.lib.hub import REPO

RESULT = PROGRAMS / "result.json"


def number(value):
    if value is None:
        return ""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def goal(row):
    bounds = [f"≤ {row.at_most:g}"] if row.at_most is not None else []
    bounds += [f"≥ {row.at_least:g}"] if row.at_least is not None else []
    return " ".join(bounds)


def cells(row):
    verdict = {None: "", True: "met", False: "MISSED"}[row.met]
    return [row.figure, f"{number(row.value)} {row.unit}", number(row.ceiling), number(row.ratio), goal(row), verdict, row.note]


def print_table(rows):
    table = [["figure", "measured", "ceiling", "ratio", "goal", "", ""]] + [cells(row) for row in rows]
    widths = [max(len(line[column]) for line in table) for column in range(len(table[0]))]
    for line in table:
        print("  ".join(cell.ljust(width) if column in (0, 6) else cell.rjust(width)
                        for column, (cell, width) in enumerate(zip(line, widths))).rstrip())


def machine():
    cpus = [line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")]
    return {"cpus": os.cpu_count(), "cpu": cpus[0] if cpus else "", "kernel": os.uname().release, "load": os.getloadavg()[0]}


def commit():
    done = subprocess.run(["git", "-C", REPO, "describe", "--always", "--dirty"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    return done.stdout.strip()


def measure(bench, names):
    """All rows, and what could not be measured."""
    rows, failures = [], []
    for name in names:
        print(f"measuring {name} …", file=sys.stderr, flush=True)
        started = time.monotonic()
        try:
            measured = FIGURES[name](bench)
        except (Wrong, AssertionError, subprocess.SubprocessError) as failure:
            failures.append(f"{name}: {failure}")
            print(f"  {name}: {failure}", file=sys.stderr, flush=True)
            continue
        rows += measured
        for row in measured:
            print("  " + "  ".join(cell for cell in cells(row) if cell), file=sys.stderr, flush=True)
        print(f"  ({time.monotonic() - started:.0f} s)", file=sys.stderr, flush=True)
    return rows, failures


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("--seconds", type=float, default=1, help="of one round of one side")
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--list", action="store_true")
    parser.add_argument("figures", nargs="*")
    wanted = parser.parse_args()
    if wanted.list:
        for name, function in FIGURES.items():
            print(f"{name:16} {' '.join(function.__doc__.split())}")
        return 0
    names = wanted.figures or [name for name in FIGURES if name not in LONG]
    unknown = [name for name in names if name not in FIGURES]
    if unknown:
        sys.exit(f"there is no figure {', '.join(unknown)}; there are: {', '.join(FIGURES)}")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that everything is stopped
    started = datetime.datetime.now(datetime.timezone.utc)
    with Bench(wanted.seconds, wanted.rounds) as bench:
        rows, failures = measure(bench, names)
    print_table(rows)
    for failure in failures:
        print(f"not measured: {failure}")
    result = {"at": started.isoformat(timespec="seconds"), "commit": commit(), "machine": machine(), "failures": failures,
              "figures": [{**dataclasses.asdict(row), "met": row.met} for row in rows]}
    RESULT.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n")
    print(f"also in {os.path.relpath(RESULT)}; it took {(datetime.datetime.now(datetime.timezone.utc) - started).seconds} s")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
