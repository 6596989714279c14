# SPDX-License-Identifier: MIT
"""The trials of a run, as the results file has them, and what is read from several of one case."""
import json
import statistics

from systems import SYSTEMS

CLIENTS = (1, 2, 3, 5, 9, 27)
PIPELINED = 256

CASE_KEYS = ("clients", "inflight", "size", "placement", "quorum", "state")
THROUGHPUT = "throughput (msg/sec)"


def key(clients, inflight=1, size=32, placement="one", quorum="all", state="healthy"):
    return (clients, inflight, size, placement, quorum, state)


ONE = key(27)
SINGLE = key(1)
SPREAD = key(27, placement="spread")
PIPE = key(1, PIPELINED)
MAJORITY = key(27, quorum="majority")


class Results:
    """The trials of one file."""

    def __init__(self, path):
        with open(path, encoding="ascii") as file:
            records = [json.loads(line) for line in file]
        self.machine = next(r for r in records if r["section"] == "machine")
        self.quick = self.machine["quick"]
        self.seconds = next((r["seconds"] for r in records if r["section"] == "end"), None)
        self.trials = [r for r in records if r["section"] in ("load", "scale")]
        self.good = [r for r in self.trials if "error" not in r]
        self._by = {}
        for r in self.good:
            if "idle" in r:
                place = ("idle", r["system"], r["replicas"])
            else:
                place = (r["section"], r["system"], r["replicas"], *(r[k] for k in CASE_KEYS))
            self._by.setdefault(place, {})[r["round"]] = r
        there = {r["system"] for r in self.good}
        self.systems = [s for s in SYSTEMS if s in there]
        self.scaled = [s for s in self.systems
                       if any(r["section"] == "scale" and r["system"] == s for r in self.good)]
        self.scales = sorted({r["replicas"] for r in self.good if r["section"] == "scale"})

    def rounds(self, system, case, value):
        """{round: value} of a case with three replicas; value: a key, or a function of a trial."""
        return _values(self._by.get(("load", system, 3, *case), {}), value)

    def scale(self, system, count, case, value):
        return _values(self._by.get(("scale", system, count, *case), {}), value)

    def idle(self, system, count, value):
        return _values(self._by.get(("idle", system, count), {}), value)


def _values(trials, value):
    read = value if callable(value) else lambda trial: trial[value]
    values = {round_: read(trial) for round_, trial in trials.items()}
    return {round_: v for round_, v in values.items() if v is not None}


def median(values):
    return statistics.median(values.values()) if values else None


def ratio(above, below):
    """Median of the ratios of the rounds that both have."""
    ratios = [above[r] / below[r] for r in above if below.get(r)]
    return statistics.median(ratios) if ratios else None


def cpu_us_per_op(trial):
    """CPU time of all replicas for one broadcast."""
    return 1e6 * trial["replicas_cpus"] / trial[THROUGHPUT] if trial[THROUGHPUT] else None
