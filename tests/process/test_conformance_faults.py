# SPDX-License-Identifier: MIT
"""Conformance, one replica in trouble: killed, stopped, slow, late, restarted.

Each case runs for each pattern; where they differ, tests/support/patterns.py says so. A message is
followed by the deliver lines of the replicas: those show how often a handler ran.
"""

import json

from support import patterns, wire
from support.fake import FakeReplica
from support.mesh import Mesh
from support.wait import wait_until


def outcomes(receipt):
    """{name: outcome} of what `send --json` printed."""
    return {row["name"]: row["outcome"] for row in receipt["peers"]}


def times_delivered(mesh, name, text):
    return len(mesh.deliveries(name, text))


# ---- killed ----

@patterns.each_pattern
def test_killed_peer_is_known_at_once(pattern):
    """No request waits for the timeout because of it."""
    with Mesh(pattern=pattern) as mesh:
        mesh.kill("charlie")
        for _ in range(5):
            sent = mesh.send("hello", "-t", "20s")
            assert sent.code == 4 and sent.seconds < 5, sent
            sent = mesh.send("hello", "-t", "20s", "-q", "majority")
            assert sent.code == 0 and sent.seconds < 5, sent


@patterns.each_pattern
def test_killed_while_it_has_the_request(pattern):
    """What was sent to it may have happened: unknown, and at once, not after the timeout."""
    with Mesh(pattern=pattern, obedient=["charlie"]) as mesh:
        send = mesh.spawn_zmqnet("send", "-n", "alpha", "--json", "-t", "10s", "hold")
        mesh.wait_delivered("charlie", "hold")
        mesh.kill("charlie")
        assert send.wait(5) == 4
        assert outcomes(json.loads(send.out.text())) == {
            "alpha": "self", "bravo": "acked", "charlie": "unknown"}


# ---- stopped ----

@patterns.each_pattern
def test_stopped_peer_delays_nobody_and_runs_once(pattern):
    """It has one message and is asked for another one. In lock step that one never leaves."""
    lock_step = patterns.of(pattern).window == 1
    with Mesh(pattern=pattern) as mesh:
        mesh.pause("charlie")
        sent = mesh.send("while stopped", "-q", "majority", "-t", "2s", "-r", "4")
        assert sent.code == 0, sent
        sent = mesh.send("retried", "-t", "200ms", "-r", "4", "-q", "all")
        assert sent.code == 4, sent
        assert outcomes(sent.json) == {"alpha": "acked", "bravo": "self",
                                       "charlie": "never_sent" if lock_step else "unknown"}
        assert mesh.send("others", "--to", "alpha").code == 0
        mesh.resume("charlie")
        mesh.linked()
        assert mesh.send("after").code == 0
        mesh.finish()
        for text in ("while stopped", "retried", "after"):
            for name in ("alpha", "bravo"):
                assert times_delivered(mesh, name, text) == 1
            assert times_delivered(mesh, "charlie", text) <= 1
        assert times_delivered(mesh, "charlie", "after") == 1
        assert not (lock_step and mesh.deliveries("charlie", "retried")), "it was never sent"


@patterns.each_pattern
def test_silent_peer_is_down_and_comes_back(pattern):
    """Its connections stand; only its silence tells. Then nothing is sent to it any more."""
    with Mesh(pattern=pattern) as mesh:
        mesh.pause("charlie")
        wait_until(lambda: mesh.peer("alpha", "charlie")["state"] == "down", 15, "charlie is down")
        assert mesh.peer("alpha", "charlie")["cause"] == "silent"
        sent = mesh.send("to nobody", "--to", "charlie", "-t", "20s", via="alpha")
        assert sent.code == 6 and sent.seconds < 5, sent
        mesh.resume("charlie")
        mesh.linked()
        assert mesh.send("back").code == 0
        mesh.finish()
        assert [d.text for d in mesh.deliveries("charlie")] == ["back"]


# ---- slow ----

@patterns.each_pattern
def test_retry_against_a_slow_handler(pattern):
    """Asked again and again, it runs once, and its one answer counts."""
    with Mesh(pattern=pattern, obedient=["charlie"]) as mesh:
        send = mesh.spawn_zmqnet("send", "-n", "alpha", "--json", "-t", "500ms", "-r", "6", "hold")
        mesh.wait_delivered("charlie", "hold")
        mesh.wait_counted("charlie", "duplicate")
        assert mesh.counters("alpha")["retries"] >= 1
        mesh.procs["charlie"].write("\n")
        assert send.wait(5) == 0
        assert outcomes(json.loads(send.out.text()))["charlie"] == "acked"
        mesh.finish()
        for name in mesh.names:
            assert times_delivered(mesh, name, "hold") == 1


@patterns.each_pattern
def test_slow_handler_and_the_next_request(pattern):
    """It delays nobody else. In lock step it delays the next request to itself."""
    lock_step = patterns.of(pattern).window == 1
    with Mesh(pattern=pattern, obedient=["charlie"]) as mesh, mesh.client("alpha") as client:
        with mesh.client("alpha", "dealer") as waiting:
            waiting.send(waiting.submit_body("hold", budget_ms=20_000))
            mesh.wait_delivered("charlie", "hold")
            row, = client.submit("next", target="charlie", budget_ms=300).rows
            assert wire.proto().Outcome.Name(row.outcome) == (
                "NEVER_SENT" if lock_step else "ACKED")
            assert client.submit("next", target="bravo", budget_ms=300).code == 0
            assert client.submit("next to most", quorum=2, budget_ms=300).code == 0
            mesh.procs["charlie"].write("\n")
            assert wire.is_complete(waiting.recv(), mesh.names)
        mesh.finish()
        assert times_delivered(mesh, "charlie", "next") == (0 if lock_step else 1)
        assert times_delivered(mesh, "charlie", "hold") == 1


@patterns.each_pattern
def test_late_answer(pattern):
    """It comes when its request is over, and the next one has been answered."""
    with Mesh(pattern=pattern, obedient=["charlie"]) as mesh:
        sent = mesh.send("hold", "--to", "charlie", "-t", "200ms", "-r", "2", via="alpha")
        assert sent.code == 5 and outcomes(sent.json) == {"charlie": "unknown"}, sent
        assert mesh.send("next", "--to", "charlie", via="alpha").code == 0
        mesh.procs["charlie"].write("\n")
        if patterns.of(pattern).late_answers:
            mesh.wait_counted("alpha", "late_reply")
        assert mesh.send("after", via="alpha").code == 0
        late = mesh.peer("alpha", "charlie")["late"]
        assert (late >= 1) == patterns.of(pattern).late_answers, late
        mesh.finish()
        assert [d.text for d in mesh.deliveries("charlie")] == ["hold", "next", "after"]


@patterns.each_pattern_with_one_port
def test_lost_answer_is_asked_for_again(pattern):
    """The peer ran it, the answer is lost, the retry gets the stored answer."""
    with Mesh(run=2, pattern=pattern) as mesh, FakeReplica(mesh, "charlie") as charlie:
        mesh.wait_up("alpha", mesh.names)
        seen = []

        def answer_the_second(message):
            seen.append(message.seq)
            return [charlie.reply(message)] if len(seen) == 2 else []
        charlie.on_request = answer_the_second
        with mesh.client("alpha") as client:
            answer = client.submit("hello", budget_ms=900)
            assert wire.is_complete(answer, mesh.names), answer
        assert len(seen) == 2 and seen[0] == seen[1]


# ---- late and restarted ----

@patterns.each_pattern
def test_replica_started_late(pattern):
    with Mesh(run=2, pattern=pattern) as mesh:
        early = mesh.send("early")
        assert early.code == 4 and outcomes(early.json)["charlie"] == "never_sent", early
        mesh.start("charlie")
        mesh.linked()
        assert mesh.send("late").code == 0
        mesh.finish()
        assert [d.text for d in mesh.deliveries("charlie")] == ["late"]


@patterns.each_pattern
def test_peer_restarted(pattern):
    with Mesh(pattern=pattern) as mesh:
        with mesh.client("charlie") as client:
            life = client.status().life
        mesh.kill("charlie")
        mesh.start("charlie")
        mesh.linked()
        with mesh.client("charlie") as client:
            assert client.status().life != life
        for via in mesh.names:
            assert mesh.send(f"by {via}", via=via).code == 0
        mesh.finish()
        assert [d.text for d in mesh.deliveries("charlie")] == [f"by {via}" for via in mesh.names]


@patterns.each_pattern
def test_peer_restarted_with_the_request_open(pattern):
    """A request is pinned to the life that it was sent to: the new one does not run it again. Who
    asked does not see it dead: the new one is there when it looks."""
    with Mesh(pattern=pattern, obedient=["charlie"]) as mesh:
        send = mesh.spawn_zmqnet("send", "-n", "alpha", "--json", "-t", "2s", "-r", "5", "hold")
        mesh.wait_delivered("charlie", "hold")
        mesh.pause("alpha")
        mesh.kill("charlie")
        mesh.start("charlie")
        mesh.resume("alpha")
        assert send.wait() == 4
        receipt = json.loads(send.out.text())
        assert outcomes(receipt)["charlie"] == "unknown"
        assert receipt["peers"][2]["why"] == "restarted", receipt
        mesh.linked()
        assert mesh.send("next", via="alpha").code == 0
        mesh.finish()
        assert [d.text for d in mesh.deliveries("charlie")] == ["next"]
