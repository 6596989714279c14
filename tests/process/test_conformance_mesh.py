# SPDX-License-Identifier: MIT
"""Conformance, all well: who reaches whom, what a receipt says, and many at once.

Each case runs for each pattern; where they differ, tests/support/patterns.py says so.
"""

import json
import os
import signal
import time

import pytest

from support import wire
from support.load import Load, take_answers
from support.mesh import Mesh, peers_of
from support.patterns import each_pattern
from support.wait import wait_until

pytestmark = each_pattern

SORTS = ("req", "correlated", "dealer", "bare")

# How long the closed loops cross each other; a longer run finds rarer troubles.
CROSSED_SECONDS = float(os.environ.get("ZMQNET_TEST_CROSSED_SECONDS", "2"))


# What may be counted where nothing is wrong; a slow moment of the machine may cause a repeat.
TRAFFIC = {"frames_in", "frames_out", "messages_in", "messages_out", "delivered", "broadcasts",
           "requests", "retries", "duplicate", "late_reply", "loop_late"}


def troubles(mesh):
    """What the replicas have counted that does not happen where nothing is wrong."""
    found = []
    for name in mesh.names:
        with mesh.client(name) as client:
            found += [(name, counter.name, counter.value) for counter in client.status().counters
                      if counter.value and counter.name not in TRAFFIC]
    return found


def rows_of(answer):
    """[(name, outcome)] of a receipt, in its order."""
    return [(row.name, wire.proto().Outcome.Name(row.outcome)) for row in answer.rows]


@pytest.mark.parametrize("count", [2, 3, 5, 9])
def test_every_replica_asks_every_other(pattern, count):
    """Each ordered pair, and each to all. Nobody gets what is not for him."""
    with Mesh(count, pattern=pattern) as mesh:
        names = mesh.names
        for name in names:
            others = [other for other in names if other != name]
            with mesh.client(name, "dealer") as client:
                assert wire.is_complete(client.submit(f"{name} to all"), names)
                for other in others:
                    client.send(client.submit_body(f"{name} to {other}", target=other))
                answers = take_answers(client, len(others))
                assert [rows_of(answers[seq]) for seq in sorted(answers)] == [
                    [(other, "ACKED")] for other in others]
        assert not troubles(mesh)
        mesh.finish()
        for name in names:
            wanted = [(by, f"{by} to all") for by in names]
            wanted += [(by, f"{by} to {name}") for by in names if by != name]
            assert sorted((d.origin, d.text) for d in mesh.deliveries(name)) == sorted(wanted)


def test_all_say_which_pattern_they_speak(pattern):
    with Mesh(pattern=pattern) as mesh:
        for name in mesh.names:
            assert mesh.procs[name].out.all()[0] == (
                f"ready {name} {mesh.endpoint(name)} {pattern} 2 peers")
            view = mesh.view(name)
            assert view["pattern"] == pattern
            assert [peer["state"] for peer in peers_of(view).values()] == [
                "self" if other == name else "up" for other in mesh.names]


def test_receipt_of_a_broadcast(pattern):
    """A row for each replica of the file, in its order, with the answer of its handler."""
    with Mesh(pattern=pattern, obedient=["bravo", "charlie"]) as mesh:
        with mesh.client("alpha") as client:
            answer = client.submit("hello")
            assert rows_of(answer) == [("alpha", "SELF"), ("bravo", "ACKED"), ("charlie", "ACKED")]
            assert (answer.code, answer.need, answer.have) == (0, 3, 3)
            assert [row.reply for row in answer.rows] == [b"", b"got hello", b"got hello"]
            assert all(row.rtt_us > 0 for row in answer.rows[1:])

            answer = client.submit("refuse 42 not today", quorum=1)
            assert answer.code == 0
            for name in ("bravo", "charlie"):
                answer = client.submit("refuse 42 not today", target=name)
                row, = answer.rows
                assert (row.code, row.reply) == (42, b"not today") and answer.code < 0, answer

            mesh.lose("charlie")
            answer = client.submit("hello again", quorum=2)
            assert rows_of(answer) == [
                ("alpha", "SELF"), ("bravo", "ACKED"), ("charlie", "NEVER_SENT")]
            assert (answer.code, answer.need, answer.have) == (0, 2, 2)
            assert answer.rows[2].why == "connection refused"
        mesh.finish()
        assert [d.text for d in mesh.deliveries("bravo")] == [
            "hello", "refuse 42 not today", "refuse 42 not today", "hello again"]


def test_a_coordinator_that_refuses(pattern):
    with Mesh(pattern=pattern, obedient=["charlie"]) as mesh:
        sent = mesh.send("refuse 42 not today", via="charlie")
        assert sent.code == 8, sent
        assert [row["outcome"] for row in sent.json["peers"]] == [
            "never_sent", "never_sent", "refused"]
        mesh.finish()
        assert not mesh.deliveries("alpha") and not mesh.deliveries("bravo")


def test_quorum(pattern):
    """Reached or impossible: the receipt comes at once in either case."""
    with Mesh(5, pattern=pattern) as mesh:
        def sends(quorum, need, code):
            sent = mesh.send("hello", "-q", quorum, "-t", "20s")
            assert sent.code == code and sent.seconds < 5, sent
            rows = sent.json["peers"]
            assert [row["name"] for row in rows] == list(mesh.names)
            have = sum(row["outcome"] in ("acked", "self") for row in rows)
            assert sent.json["quorum"] == {"need": need, "have": have, "of": 5}, sent
            assert (have >= need) == (code == 0), sent
        for quorum, need in (("all", 5), ("majority", 3), ("1", 1), ("4", 4)):
            sends(quorum, need, 0)
        mesh.lose("delta")
        mesh.lose("echo")
        for quorum, need, code in (("all", 5, 4), ("4", 4, 4), ("majority", 3, 0), ("2", 2, 0)):
            sends(quorum, need, code)
        mesh.kill("charlie")
        sends("majority", 3, 4)
        sends("2", 2, 0)


def test_bodies_of_all_kinds(pattern):
    """Empty, not UTF-8, with control bytes, and large."""
    bodies = ["", 'say "hi"\n\tand \\ \x1b[31m', "x" * 300_000]
    with Mesh(2, run=0, pattern=pattern) as mesh:
        mesh.start("alpha", "bravo", args=["--json"])
        mesh.linked()
        with mesh.client("alpha") as client:
            for body in bodies:
                assert wire.is_complete(client.submit(body), mesh.names)
            assert wire.is_complete(client.submit("", message=b"\xff\0\xfe"), mesh.names)
        lines = mesh.procs["bravo"].out
        wait_until(lambda: len(lines.all()) == 5, 5, "all are delivered")
        got = [json.loads(line) for line in lines.all()[1:]]
        assert [line["message"] for line in got[:3]] == bodies
        assert got[3]["message_base64"] == "/wD+"


def test_clients_of_every_sort(pattern):
    """Those that know our fields, and those of the original program, which know three."""
    with Mesh(pattern=pattern) as mesh:
        for sort in SORTS:
            with mesh.client("bravo", sort) as client:
                for number in range(2):
                    answer = client.submit(f"{sort} {number}")
                    assert wire.is_complete(answer, mesh.names), answer
                    assert (answer.origin, answer.seq) == (client.origin, client.seq)
                    answer = client.ask(wire.body(sender="bravo",
                                                  message=f"original {sort} {number}".encode()))
                    assert answer.type == wire.proto().SINGLE
                    assert "3/3" in answer.message.decode(), answer
        mesh.finish()
        wanted = [f"{kind}{sort} {number}"
                  for sort in SORTS for number in range(2) for kind in ("", "original ")]
        for name in mesh.names:
            assert [d.text for d in mesh.deliveries(name)] == wanted


def test_crossed_broadcasts(pattern):
    """All replicas broadcast to each other at once, for several clients with much open at once."""
    each = 25
    with Mesh(5, pattern=pattern) as mesh:
        clients = [mesh.client(name, "dealer") for name in mesh.names for _ in range(2)]
        try:
            for number in range(each):
                for who, client in enumerate(clients):
                    client.send(client.submit_body(f"{number} by {who}"))
            for client in clients:
                for answer in take_answers(client, each).values():
                    assert wire.is_complete(answer, mesh.names), answer
        finally:
            for client in clients:
                client.close()
        assert not troubles(mesh)
        mesh.finish()
        wanted = sorted(f"{n} by {who}" for n in range(each) for who in range(len(clients)))
        for name in mesh.names:
            assert sorted(d.text for d in mesh.deliveries(name)) == wanted


def test_three_clients_at_three_replicas(pattern):
    """The original program comes to a standstill here. No receipt is incomplete."""
    with Mesh(pattern=pattern) as mesh:
        with Load(mesh, mesh.names) as load:
            until = time.monotonic() + CROSSED_SECONDS
            wait_until(lambda: time.monotonic() > until, CROSSED_SECONDS + 5, "the end of the run")
        incomplete = [one for one in load.asked()
                      if one.answer is None or not wire.is_complete(one.answer, mesh.names)]
        assert not incomplete
        for name in mesh.names:
            assert len(load.asked(name)) > 50 * CROSSED_SECONDS
        assert not troubles(mesh)
        mesh.finish()
        wanted = sorted(one.text for one in load.asked())
        for name in mesh.names:
            assert sorted(d.text for d in mesh.deliveries(name)) == wanted


def test_up_and_send(pattern):
    with Mesh(run=0, pattern=pattern) as mesh:
        up = mesh.spawn_zmqnet("up", "--pattern", pattern)
        for name in mesh.names:
            ready = rf"^{name} *\| ready {name} {mesh.endpoint(name)} {pattern} 2 peers$"
            wait_until(lambda: up.out.matching(ready), 5, f"{name} is ready")
        for name in mesh.names:
            mesh.wait_up(name, mesh.names)
        for via in mesh.names:
            sent = mesh.send("hello", via=via)
            assert sent.code == 0 and sent.json["quorum"] == {"need": 3, "have": 3, "of": 3}, sent
        up.signal(signal.SIGTERM)
        assert up.wait() == 0
