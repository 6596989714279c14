# SPDX-License-Identifier: MIT
"""The frame of the fault tests: load, a fault of charlie's, and what has to hold all the same.

A client at alpha and one at bravo broadcast all the time, and are content with a majority, so charlie
is not needed. The fault lasts until it was seen to work and much was asked meanwhile. At every
moment the coordinators' books balance; no client waits for charlie; when the fault is over, all
three answer again, nothing ran twice, and every row of every receipt was true.
"""

import contextlib
import datetime
import os
import time

from support import wire
from support.ledger import STRICT, Auditor, check_prompt, check_told
from support.load import Load, MAJORITY, REST_S
from support.wait import wait_until

COORDINATORS = ("alpha", "bravo")
FULL = os.environ.get("ZMQNET_FAULTS") == "full"  # the long form: `make faults`
ASKED_LEAST = 800 if STRICT else 400 if FULL else 80  # at each coordinator, in each phase


def cases(table, short):
    """The rows of a table, in the short form only the ones that are named; for parametrize()."""
    names = table if FULL else short
    return {"argvalues": [table[name] for name in names], "ids": names}


def wait_for_more(load, seen=lambda: True):
    """Until each coordinator was asked so much more, and `seen()`; returns what was asked."""
    before = {name: len(load.asked(name)) for name in COORDINATORS}
    wait_until(lambda: all(len(load.asked(name)) >= before[name] + ASKED_LEAST
                           for name in COORDINATORS) and seen(), 25 if FULL else 15, "load while the fault lasts")
    return [one for name in COORDINATORS for one in load.asked(name)[before[name]:]]


def _stamp(line):
    """When a record of the log was written, as time.time() counts."""
    return datetime.datetime.fromisoformat(line.split()[0].replace("Z", "+00:00")).timestamp()


def seconds_until_down(mesh, victim, fault):
    """Do fault(), and return how long after it each other one that runs said that the victim is down,
    by the time in its log: a test that is late itself measures nothing else. fault() may return the
    moment from which it counts, if that is not its beginning."""
    others = [name for name in mesh.running() if name != victim]
    begin = time.time()
    since = fault() or begin

    def said():
        lines = {name: mesh.procs[name].err.matching(f" peer.down peer={victim} ") for name in others}
        stamps = {name: [s for s in map(_stamp, lines[name]) if s > begin - 0.001] for name in others}
        return all(stamps.values()) and {name: times[0] - since for name, times in stamps.items()}
    took = wait_until(said, 12, f"all others say that {victim} is down")
    assert len(took) == len(mesh.names) - 1
    return took


def survive(mesh, fault, prompt=check_prompt, counted=None, calm=contextlib.nullcontext, **limits):
    """fault(mesh): a context manager that gives a condition: the fault has been seen. counted: a
    counter of charlie's that it must have moved. calm(): a context manager, what the fault costs this
    machine without being one; with it the others' waiting is compared when that is asked strictly.
    Returns how many rows there were of each outcome.
    """
    with Load(mesh, COORDINATORS, REST_S, quorum=MAJORITY) as load, \
            Auditor(mesh, *COORDINATORS, **limits):
        wait_for_more(load)
        with calm() if STRICT else contextlib.nullcontext():
            before = wait_for_more(load)
        with fault(mesh) as seen:
            during = wait_for_more(load, seen)
        mesh.linked()
    for name in mesh.names:
        with mesh.client(name) as client:
            assert wire.is_complete(client.submit(f"after, by {name}"), mesh.names)
    if counted:
        assert mesh.counters("charlie")[counted] > 0
    mesh.finish()
    assert not [one for one in load.asked() if not one.answer or one.answer.code != 0]
    prompt([one.seconds for one in before], [one.seconds for one in during])
    return check_told(mesh, load.asked())
