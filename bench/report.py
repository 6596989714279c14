# SPDX-License-Identifier: MIT
"""What the trials of a run say: docs/bench.md, its plots, and the table on the terminal.

Every number comes from the results file. A ratio is the median of the ratios of the single rounds,
so that both sides of each had the same minute of the machine.
"""
import os

import plots
from systems import SIZES
from trials import (CLIENTS, MAJORITY, ONE, PIPE, PIPELINED, SINGLE, SPREAD, THROUGHPUT,
                    cpu_us_per_op, key, median, ratio)

MIB = 1 << 20
BASE = "raw_zmq"
OURS = "router"
FOREIGN_CPUS = 0.1  # a trial beside which others took more of the machine than this is suspect


# ---- text ----

def number(value, digits=0):
    return "–" if value is None else f"{value:,.{digits}f}".replace(",", " ")


def times(value):
    return "–" if value is None else f"{value:.2f}"


def with_ratio(values, base):
    return f"{number(median(values))} ({times(ratio(values, base))})"


def spread(values, digits=0):
    """Median and, in brackets, the least and the most."""
    if not values:
        return "–"
    low, high = min(values.values()), max(values.values())
    return f"{number(median(values), digits)} ({number(low, digits)} to {number(high, digits)})"


def table(head, rows):
    """Markdown that can be read as it is: columns are as wide as their widest cell."""
    widths = [max(map(len, column)) for column in zip(head, *rows)]
    lines = [[cell.ljust(width) for cell, width in zip(row, widths)] for row in [head, *rows]]
    lines.insert(1, ["-" * width for width in widths])
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)


# ---- the goals ----

def goals(results):
    """Rows of (work, goal, measured, reached or None)."""
    r = lambda case, value=THROUGHPUT, system=OURS: results.rounds(system, case, value)
    degraded = lambda state: ratio(r(key(27, quorum="majority", state=state)), r(MAJORITY))
    rows = [
        _at_least("27 clients at one replica, closed loop, 32 B",
                  ratio(r(ONE), r(ONE, system=BASE)), 0.9, f"x {BASE}"),
        _at_most("1 client, p50", ratio(r(SINGLE, "p50_us"), r(SINGLE, "p50_us", BASE)),
                 1.1, f"x {BASE}"),
        _at_least("27 clients spread over three replicas", ratio(r(SPREAD), r(ONE)),
                  1.0, "x its own at one"),
        _at_least(f"1 client with {PIPELINED} in flight", ratio(r(PIPE), r(ONE)),
                  5.0, "x its own with 27 in closed loops"),
        _at_least("one replica killed, quorum majority", degraded("killed"), 0.9, "x healthy"),
        _at_least("one replica stopped, quorum majority", degraded("stopped"), 0.8, "x healthy"),
    ]
    most = max(results.scales, default=0)
    idle = results.idle(OURS, most, "idle_cpus")
    memory = results.idle(OURS, most, lambda t: max(t["rss_bytes"]) / MIB)
    rows.append(_at_most(f"{most} replicas, idle: cores in all", median(idle), 0.05, "", 3))
    rows.append(_at_most(f"{most} replicas, idle: the largest one", median(memory), 16, "MiB", 1))
    return rows


def _at_least(work, value, goal, unit):
    reached = None if value is None else value >= goal
    return work, f"at least {goal:g} {unit}".rstrip(), f"{times(value)}", reached


def _at_most(work, value, goal, unit, digits=2):
    reached = None if value is None else value <= goal
    return work, f"at most {goal:g} {unit}".rstrip(), number(value, digits), reached


def goals_table(results):
    verdict = {True: "yes", False: "**no**", None: "not measured"}
    return table(["work (pattern router)", "goal", "measured", "reached"],
                 [[work, goal, measured, verdict[reached]]
                  for work, goal, measured, reached in goals(results)])


# ---- three replicas ----

KEY_CASES = (("27 clients at one", ONE), ("1 client", SINGLE), ("27 clients spread", SPREAD),
             (f"1 client, {PIPELINED} in flight", PIPE))


def key_table(results):
    rows = []
    for title, case in KEY_CASES:
        for system in results.systems:
            values = results.rounds(system, case, THROUGHPUT)
            rows.append([
                title, system, spread(values),
                times(ratio(values, results.rounds(BASE, case, THROUGHPUT))),
                number(median(results.rounds(system, case, "p50_us"))),
                number(median(results.rounds(system, case, "p99_us"))),
                times(ratio(results.rounds(system, case, "p50_us"),
                            results.rounds(BASE, case, "p50_us"))),
                number(median(results.rounds(system, case, cpu_us_per_op)), 1),
            ])
    return table(["load", "system", "broadcasts/s: median (least to most)", f"ratio to {BASE}",
                  "p50 us", "p99 us", "ratio of p50", "CPU us per broadcast"], rows)


def acks_table(results):
    """What the receipts of our own command say."""
    rows = []
    for title, case in KEY_CASES:
        for system in results.systems:
            if results.rounds(system, case, lambda t: t.get("majority_us")):
                rows.append([title, system, *(
                    number(median(results.rounds(system, case, lambda t: t[ack][quantile])))
                    for ack in ("first_ack_us", "majority_us", "all_us")
                    for quantile in ("p50", "p99"))])
    return table(["load", "pattern", "first ack: p50 us", "p99", "majority: p50", "p99", "all: p50",
                  "p99"], rows) if rows else "No pattern of ours was measured.\n"


def matrix_tables(results):
    text = ""
    for name, size in SIZES.items():
        for pipelined in (False, True):
            title = f"{name}, " + (f"{PIPELINED} in flight in all" if pipelined else "closed loop")
            text += f"\n### {title}\n\n" + matrix_table(results, size, pipelined)
    return text


def matrix_table(results, size, pipelined):
    rows = []
    for placement in ("one", "spread"):
        for clients in CLIENTS:
            case = key(clients, PIPELINED // clients if pipelined else 1, size, placement)
            base = results.rounds(BASE, case, THROUGHPUT)
            cells = []
            for system in results.systems:
                values = results.rounds(system, case, THROUGHPUT)
                cells.append(with_ratio(values, base) if values else "–")
            if any(cell != "–" for cell in cells):
                rows.append([str(clients), placement, *cells])
    return table(["clients", "at", *results.systems], rows)


def degraded_table(results):
    rows = []
    for title, load in (("27 clients", {"clients": 27}), ("1 client", {"clients": 1}),
                        (f"1 client, {PIPELINED} in flight",
                         {"clients": 1, "inflight": PIPELINED})):
        for system in results.systems:
            cases = {state: key(**load, quorum="majority", state=state)
                     for state in ("healthy", "killed", "stopped")}
            values = {state: results.rounds(system, case, THROUGHPUT)
                      for state, case in cases.items()}
            if not values["killed"]:
                continue
            rows.append([
                title, system, number(median(values["healthy"])),
                *(with_ratio(values[state], values["healthy"]) for state in ("killed", "stopped")),
                *(number(median(results.rounds(system, cases[state], "p99_us")))
                  for state in ("healthy", "killed", "stopped")),
                number(median(results.rounds(system, cases["stopped"],
                                             lambda t: t["rss_max_bytes"] / MIB)), 1),
                number(sum(sum(results.rounds(system, case, "failed").values())
                           for case in cases.values())),
            ])
    return table(["load", "system", "healthy", "killed (ratio)", "stopped (ratio)",
                  "p99 us healthy", "killed", "stopped", "MiB while stopped", "failed"], rows)


# ---- scale ----

def scale_table(results, title, value, digits=0):
    """A row per number of replicas; value(system, count) gives {round: value}."""
    rows = [[str(count)] + [number(median(value(system, count)), digits)
                            for system in results.scaled] for count in results.scales]
    return f"\n{title}\n\n" + table(["replicas", *results.scaled], rows)


def scale_tables(results):
    pick = lambda case, value: lambda system, n: results.scale(system, n, case, value)
    idle = lambda value: lambda system, n: results.idle(system, n, value)
    return "".join([
        scale_table(results, "Broadcasts per second, 27 clients in closed loops at one replica:",
                    pick(ONE, THROUGHPUT)),
        scale_table(results, f"Broadcasts per second, one client with {PIPELINED} in flight:",
                    pick(PIPE, THROUGHPUT)),
        scale_table(results, "p50 of one client in a closed loop, microseconds:",
                    pick(SINGLE, "p50_us")),
        scale_table(results, "CPU per broadcast of all replicas, 27 clients in closed loops, "
                    "microseconds:", pick(ONE, cpu_us_per_op), 1),
        scale_table(results, f"The same, one client with {PIPELINED} in flight:",
                    pick(PIPE, cpu_us_per_op), 1),
        scale_table(results, "Idle, per cent of one core, all replicas together:",
                    idle(lambda t: 100 * t["idle_cpus"]), 2),
        scale_table(results, "Resident memory of the largest replica, idle, MiB:",
                    idle(lambda t: max(t["rss_bytes"]) / MIB), 1),
        scale_table(results, "Descriptors of one replica, idle:",
                    idle(lambda t: max(t["descriptors"]))),
        scale_table(results, "From the start of the processes until all are linked, milliseconds:",
                    idle(lambda t: t["linked_us"] / 1000)),
    ])


def line_through(points):
    """Least squares of the relative error, as the points span two decades: (at 0, slope, the worst
    relative error)."""
    weights = [(1 / y ** 2, x, y) for x, y in points]
    w, wx, wy, wxx, wxy = (sum(f(*p) for p in weights) for f in (
        lambda a, x, y: a, lambda a, x, y: a * x, lambda a, x, y: a * y,
        lambda a, x, y: a * x * x, lambda a, x, y: a * x * y))
    slope = (w * wxy - wx * wy) / (w * wxx - wx * wx)
    start = (wy - slope * wx) / w
    return start, slope, max(abs(start + slope * x - y) / y for x, y in points)


def cost_table(results):
    rows = []
    for title, case in (("27 clients in closed loops", ONE),
                        (f"1 client, {PIPELINED} in flight", PIPE)):
        for system in results.scaled:
            points = [(n - 1, median(results.scale(system, n, case, cpu_us_per_op)))
                      for n in results.scales]
            points = [(x, y) for x, y in points if y]
            if len(points) > 2:
                start, slope, worst = line_through(points)
                rows.append([title, system, number(start, 1), number(slope, 1),
                             f"{100 * worst:.0f} %"])
    head = ["load", "system", "us per broadcast", "and per other replica", "worst point is off by"]
    return table(head, rows) if rows else "Too few sizes were measured.\n"


# ---- the whole ----

def method(results):
    m, plan = results.machine, results.machine["plan"]
    suspect = sum(r.get("foreign_cpus", 0) > FOREIGN_CPUS for r in results.good)
    took = f" in {results.seconds / 60:.0f} minutes" if results.seconds else ""
    ms = {name: f"{1000 * seconds:.0f} ms" for name, seconds in plan.items()}
    return f"""\
`make bench{" QUICK=1" if m["quick"] else ""}` made this page on {m["date"]}: \
{len(results.trials)} trials{took}, {len(results.trials) - len(results.good)} without a result. \
Machine: {m["cpu"]}, {m["cpus"]} CPUs, {m["memory_bytes"] / (1 << 30):.0f} GiB, {m["kernel"]}, \
libzmq {m["libzmq"]}. The load, all replicas and all their threads share these CPUs.

- `router`, `reqrep`, `pubsub`: `zmqnet serve --quiet --pattern P`, and `zmqnet bench`.
- `raw_zmq` ([source](../bench/raw_zmq.c)): the smallest mesh of ROUTER and DEALER sockets that \
does the same broadcasts, without deadlines, retries, deduplication or receipts. It is what libzmq \
allows.
- `raw_tcp` ([source](../bench/raw_tcp.c)): the same without ZeroMQ. It is what the kernel allows.

A trial measures for {ms["seconds"]} after {ms["warmup"]} that do not count; the main loads for \
{ms["key_seconds"]}, and those with a replica stopped for {ms["stopped_seconds"]}. A rate is over \
the time until the last answer. A broadcast counts when the quorum that was asked for has answered: \
`all`, if not said otherwise. CPU per broadcast is that of all replicas, all their threads, in the \
middle of this time, without the clients.

Everything runs in rounds, in each of which every system has its turn at a case, and never two at \
once. Figures are medians of the rounds; a ratio is the median of the ratios within the rounds. \
Beside {suspect} of the trials, other work took more than {FOREIGN_CPUS:g} of a CPU; the load \
average was {m["load"]:.1f} when it began.

To see one figure by hand, with three replicas up (`zmqnet up`):

    zmqnet bench -n alpha -c 27 -d 10s
    scripts/bench --report bench/results/full.jsonl     # this page again, from the trials
"""


def page(results):
    return f"""\
# How fast, beside what is possible

This page is generated. {method(results)}
## The goals

{goals_table(results)}
## Three replicas: the main loads

32 B, everyone's ack. `at one`: all clients at the same replica.

{key_table(results)}
The time until the coordinator has the first ack, a majority (it counts itself), and all:

{acks_table(results)}
![Broadcasts per second over the number of clients](bench-clients.svg)

![Broadcasts per second with many in flight, over the size](bench-sizes.svg)

## One replica killed or stopped

Quorum majority, clients at one replica, which has to do without the third; it was killed or \
stopped just before the load began. Each trial, a healthy one too, has three new processes. MiB: \
the largest of those that still run.

{degraded_table(results)}
![Broadcasts per second, healthy and with one killed or stopped](bench-faults.svg)

## From {results.scales[0]} to {results.scales[-1]} replicas

All on this machine, so that the CPUs are shared by ever more of them; a trial is \
longer by a sixteenth for each.
{scale_tables(results)}
CPU per broadcast, of all replicas together, as a straight line over the number of other replicas:

{cost_table(results)}
![Throughput and cost over the number of replicas](bench-scale.svg)

## Three replicas: all loads

Broadcasts per second, in brackets the ratio to `{BASE}`.
{matrix_tables(results)}"""


def summary(results):
    """What is printed at the end of a run."""
    return key_table(results) + "\n" + degraded_table(results) + "\n" + goals_table(results)


def write(results, folder):
    os.makedirs(folder, exist_ok=True)
    plots.write(results, folder)
    with open(os.path.join(folder, "bench.md"), "w", encoding="utf-8") as file:
        file.write(page(results))
