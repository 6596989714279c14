# SPDX-License-Identifier: MIT
"""Conformance under load: a queue that fills, replicas that come and go, and one that ends.

Each case runs for each pattern; where they differ, tests/support/patterns.py says so.
"""

import signal

from support import patterns, wire
from support.load import Load, MAJORITY, REST_S, take_answers
from support.mesh import Mesh
from support.wait import wait_until

pytestmark = patterns.each_pattern

QUEUE = 2048  # messages that wait for a peer, in every pattern; src/base/limits.h


def outcome(answer, name):
    return next(wire.proto().Outcome.Name(row.outcome) for row in answer.rows if row.name == name)


def assert_all_reached_a_majority(asked, what):
    """At the first try: nobody waited for one that was not there."""
    assert len(asked) > 20, what
    assert not [one for one in asked if one.answer is None or one.answer.code != 0], what


def test_queue_that_fills(pattern):
    """One peer takes nothing more: what has no room is refused at once, and the others are served.
    Then it goes on, and all that had room is carried out once."""
    room = patterns.of(pattern).window + QUEUE
    extra = 100
    with Mesh(pattern=pattern, obedient=["charlie"]) as mesh, \
            mesh.client("alpha", "dealer") as many:
        for number in range(room + extra):
            text = f"number {number}" if number else "hold all"
            many.send(many.submit_body(text, target="charlie", budget_ms=25_000))
        refused = take_answers(many, extra)
        assert min(refused) > room
        for answer in refused.values():
            row, = answer.rows
            assert (row.name, row.why) == ("charlie", "queue full"), answer
            assert outcome(answer, "charlie") == "NEVER_SENT"

        row = mesh.peer("alpha", "charlie")
        assert (row["queue_messages"], row["inflight"]) == (QUEUE, room - QUEUE)
        with mesh.client("alpha") as client:
            assert client.submit("meanwhile", target="bravo").code == 0
            answer = client.submit("meanwhile to all", quorum=MAJORITY)
            assert answer.code == 0 and outcome(answer, "charlie") == "NEVER_SENT", answer
        assert mesh.counters("alpha")["queue_full"] == extra + 1

        wait_until(lambda: len(mesh.deliveries("charlie")) == room - QUEUE, 5, "charlie holds")
        mesh.procs["charlie"].write("\n")
        acked = take_answers(many, room)
        assert all(outcome(answer, "charlie") == "ACKED" for answer in acked.values())
        mesh.finish()
        texts = [d.text for d in mesh.deliveries("charlie")]
        assert len(texts) == room and len(set(texts)) == room


def test_restart_storm(pattern):
    """Two of five are killed and started, time and again: each broadcast reaches a majority."""
    with Mesh(5, pattern=pattern) as mesh:
        with Load(mesh, ["alpha", "bravo"], REST_S, quorum=MAJORITY) as load:
            for turn in range(4):
                two = [mesh.names[2 + (turn + k) % 3] for k in range(2)]
                for name in two:
                    mesh.kill(name)
                mesh.start(*two)
                mesh.linked()
        for name in ("alpha", "bravo"):
            assert_all_reached_a_majority(load.asked(name), f"by {name}")
        for name in mesh.names:
            with mesh.client(name) as client:
                assert wire.is_complete(client.submit(f"after, by {name}"), mesh.names)
        mesh.finish()
        asked = sorted(one.text for one in load.asked())
        for name in ("alpha", "bravo"):
            assert sorted(d.text for d in mesh.deliveries(name) if " to all " in d.text) == asked


def test_sigterm_under_load(pattern):
    """It ends with 0 and soon, what it acked was delivered, and the other two notice nothing."""
    with Mesh(pattern=pattern) as mesh:
        with Load(mesh, mesh.names, quorum=MAJORITY) as load, \
                Load(mesh, ["bravo"], target="charlie") as straight:
            wait_until(lambda: min(len(load.asked("charlie")), len(straight.asked())) > 50, 10,
                       "load")
            mesh.procs["charlie"].signal(signal.SIGTERM)
            assert mesh.procs["charlie"].wait(0.9) == 0, "it takes nothing new and needs no grace"
            until = {name: len(load.asked(name)) + 50 for name in ("alpha", "bravo")}
            wait_until(lambda: all(len(load.asked(name)) > until[name] for name in until), 10,
                       "load on the two that are left")
        for name in until:
            assert_all_reached_a_majority(load.asked(name), f"by {name}")
        told = load.asked("charlie") + straight.asked()
        acked = {one.text for one in told if one.answer and one.answer.code == 0}
        assert len(acked) > 50
        acked |= {one.text for name in until for one in load.asked(name)
                  if outcome(one.answer, "charlie") == "ACKED"}
        assert acked <= {d.text for d in mesh.deliveries("charlie")}
