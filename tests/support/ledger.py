# SPDX-License-Identifier: MIT
"""Whether anything was lost in silence, ran twice, or took room or time that it may not take.

Auditor       asks replicas for their books all the time, and holds them against each other
check_told    what clients were told, against what the handlers ran
check_prompt  how long others had to wait during a fault, against how long before
"""

import collections
import os
import threading

from support import env, wire

MIB = 1 << 20
STRICT = "ZMQNET_FAULTS_STRICT" in os.environ  # nothing else runs on this machine
LAST_LINES = 64  # of a killed replica: its handler ran, and the line was not written any more


def balance(view):
    """What is wrong with the books of a coordinator that was asked for broadcasts only; "" if
    nothing. Each broadcast has, at each peer, exactly one place."""
    broadcasts = {c.name: c.value for c in view.counters}["broadcasts"]
    wrong = []
    for peer in view.peers:
        if peer.name == view.name:
            continue
        over = peer.acked + peer.refused + peer.unknown
        if over + peer.never_sent + peer.inflight + peer.queue_messages != broadcasts:
            wrong.append(f"{broadcasts} broadcasts, and of these at {peer.name}:\n{peer}")
        if not over + peer.inflight <= peer.sent <= over + peer.inflight + peer.queue_messages:
            wrong.append(f"{peer.sent} sent, and of these at {peer.name}:\n{peer}")
    return "\n".join(wrong)


def memory_peak(pid):
    """The most that a process has had in memory, in bytes; 0 if it is gone."""
    try:
        with open(f"/proc/{pid}/status") as f:
            return next((int(line.split()[1]) * 1024 for line in f if line.startswith("VmHWM")), 0)
    except FileNotFoundError:
        return 0


class Auditor:
    """While the block lasts, looks into the books of these replicas, which go on all the time.
    looks: how often it has; each of them is a moment at which everything had its place."""

    def __init__(self, mesh, *names, memory_max=64 * MIB):
        self.looks = 0
        self._mesh, self._names, self._memory_max = mesh, names, memory_max
        self._wrong = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _run(self):
        try:
            clients = [self._mesh.client(name, "dealer") for name in self._names]
            while not self._stop.is_set() and not self._wrong:
                for client in clients:
                    self._look(client.status())
                self._stop.wait(0.005)
            for client in clients:
                client.close()
        except AssertionError as error:
            self._wrong = str(error)

    def _look(self, view):
        self.looks += 1
        self._wrong = self._wrong or balance(view)

    def check(self):
        """Also at the end: nobody has needed more memory than he may."""
        assert not self._wrong, self._wrong
        assert self.looks > 10
        if env.sanitizers():
            return
        peaks = {name: memory_peak(proc.pid) for name, proc in self._mesh.procs.items()}
        assert max(peaks.values()) < self._memory_max, peaks

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, kind, *_):
        self._stop.set()
        self._thread.join()
        if kind is None:
            self.check()


def check_told(mesh, asked):
    """Each answer has a row for every replica, and each row is true. Needs mesh.finish() before.
    Returns how many rows there were of each outcome."""
    ran = {name: collections.Counter(d.text for d in mesh.deliveries_ever(name))
           for name in mesh.names}
    outcomes, unwritten = collections.Counter(), collections.Counter()
    for one in asked:
        assert one.answer is None or [row.name for row in one.answer.rows] == list(mesh.names), one
        for row in one.answer.rows if one.answer else ():
            outcome, times = wire.proto().Outcome.Name(row.outcome), ran[row.name][one.text]
            outcomes[outcome] += 1
            must_have_run = outcome in ("SELF", "ACKED")
            assert times <= (outcome != "NEVER_SENT"), (outcome, times, one)
            unwritten[row.name] += must_have_run and times == 0
    for name, lost in unwritten.items():
        assert lost <= LAST_LINES * mesh.kills[name], f"{name}: {lost} acked and not run"
    twice = [one for one in asked for texts in ran.values() if texts[one.text] > 1]
    assert not twice, twice
    return outcomes


def _p99(times):
    return sorted(times)[len(times) * 99 // 100]


def check_prompt(before, during, strict=STRICT, slack_s=0.250):
    """The aim is 20 %, which a machine that does other things meanwhile cannot show. The slack is far
    below what waiting for somebody takes: a second at least, before anyone is suspected."""
    assert min(len(before), len(during)) > 100, (len(before), len(during))
    was, now = _p99(before), _p99(during)
    limit = 1.2 * was + 50e-6 if strict else (5 * was + slack_s) * env.SCALE
    assert now <= limit, f"p99 was {was * 1000:.2f} ms and is {now * 1000:.2f} ms"
