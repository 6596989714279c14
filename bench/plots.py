# SPDX-License-Identifier: MIT
"""The plots of docs/bench.md, by gnuplot. A missing figure is a gap."""
import os
import subprocess

import trials
from systems import SIZES

STYLE = {  # colour and point of each system, the same in every plot
    "router": ("#1f4e9c", 7), "reqrep": ("#c2571a", 5), "pubsub": ("#4a8f3c", 9),
    "raw_zmq": ("#666666", 6), "raw_tcp": ("#aaaaaa", 4),
}
HEAD = """\
set terminal svg size {width},{height} font "sans-serif,12" background "white"
set encoding utf8
set termoption noenhanced
set grid ytics lc rgb "#dddddd"
set border 3
set tics nomirror
set key outside right top Left reverse samplen 2
set offsets graph 0.04, graph 0.04, 0, 0
set datafile missing "?"
set yrange [0:*]
"""


def write(results, folder):
    for name, script in (("clients", clients(results)), ("sizes", sizes(results)),
                         ("faults", faults(results)), ("scale", scale(results))):
        path = os.path.join(folder, f"bench-{name}.svg")
        subprocess.run(["gnuplot"], input=f"set output '{path}'\n{script}", text=True, check=True)


def head(width, height):
    return HEAD.format(width=width, height=height)


def cell(value):
    return "?" if value is None else f"{value:g}"


def block(name, rows):
    return f"${name} << END\n" + "\n".join(" ".join(map(str, row)) for row in rows) + "\nEND\n"


def lines(results, name, xs, values):
    """A block and the plot command for a line per system: median, and a bar from least to most.
    values(system, x) gives {round: value}; x may be placed by its number, so that all are seen."""
    text, parts = "", []
    for system in results.systems:
        rows = []
        for place, x in enumerate(xs):
            v = values(system, x)
            bounds = (min(v.values()), max(v.values())) if v else (None, None)
            rows.append([place, x, *map(cell, (trials.median(v), *bounds))])
        if all(row[2] == "?" for row in rows):
            continue
        colour, point = STYLE[system]
        text += block(f"{name}_{system}", rows)
        parts.append(f"${name}_{system} using 1:3:4:5:xtic(2) with yerrorlines "
                     f"lc rgb '{colour}' pt {point} ps 0.6 title '{system}'")
    return text, "plot " + ", ".join(parts) + "\n"


def many(width, height, charts):
    """Charts beside each other: (block, settings, plot command) each."""
    text = head(width, height) + "".join(data for data, _, _ in charts)
    text += f"set multiplot layout 1,{len(charts)} margins 0.09,0.88,0.16,0.88 spacing 0.1\n"
    for i, (_, settings, plot) in enumerate(charts):
        last = i == len(charts) - 1
        text += f"{'set key at screen 0.995,0.9 right' if last else 'unset key'}\n{settings}{plot}"
    return text + "unset multiplot\n"


def titles(title, x, y):
    return f"set title '{title}'\nset xlabel '{x}'\nset ylabel '{y}'\n"


def clients(results):
    charts = []
    titled = (("one", "all clients at one replica"), ("spread", "spread over three"))
    for placement, title in titled:
        def values(system, n, placement=placement):
            where = "one" if n == 1 else placement
            return results.rounds(system, trials.key(n, placement=where), trials.THROUGHPUT)
        data, plot = lines(results, placement, trials.CLIENTS, values)
        settings = titles(f"closed loop, 32 B, {title}", "clients", "broadcasts/s")
        charts.append((data, settings, plot))
    return many(1100, 380, charts)


def bars(results, name, groups, values):
    """A group of bars per entry of groups, a bar per system."""
    rows = [[f'"{group}"', *(cell(trials.median(values(system, group)))
                             for system in results.systems)] for group in groups]
    parts = [f"${name} using {i + 2}:xtic(1) lc rgb '{STYLE[system][0]}' title '{system}'"
             for i, system in enumerate(results.systems)]
    return block(name, rows), "plot " + ", ".join(parts) + "\n"


BARS = "set style data histogram\nset style histogram clustered gap 1\nset style fill solid 0.9\n"


def sizes(results):
    charts = []
    for inflight, title in ((1, "1 client, closed loop"),
                            (trials.PIPELINED, f"1 client, {trials.PIPELINED} in flight")):
        def values(system, size, inflight=inflight):
            return results.rounds(system, trials.key(1, inflight, SIZES[size]),
                                  trials.THROUGHPUT)
        data, plot = bars(results, f"at{inflight}", SIZES, values)
        charts.append((data, BARS + "set logscale y\nset yrange [*:*]\n" +
                       titles(title, "size", "broadcasts/s, logarithmic"), plot))
    return many(1100, 380, charts)


def faults(results):
    def values(system, state):
        return results.rounds(system, trials.key(27, quorum="majority", state=state),
                              trials.THROUGHPUT)
    data, plot = bars(results, "faults", ("healthy", "killed", "stopped"), values)
    return head(800, 380) + data + BARS + titles("27 clients at one replica, quorum majority", "",
                                                 "broadcasts/s") + plot


def scale(results):
    def chart(name, title, y, value):
        data, plot = lines(results, name, results.scales,
                           lambda system, n: results.scale(system, n, trials.ONE, value))
        return data, titles(title, "replicas", y), plot
    logarithmic = "set logscale y\nset yrange [*:*]\n"
    charts = [chart("rate", "27 clients at one replica", "broadcasts/s", trials.THROUGHPUT),
              chart("cost", "CPU of all replicas", "us per broadcast", trials.cpu_us_per_op)]
    return many(1100, 380, [(data, logarithmic + settings, plot)
                            for data, settings, plot in charts])
