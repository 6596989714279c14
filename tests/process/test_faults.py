# SPDX-License-Identifier: MIT
"""Replicas that are killed, stopped, started late or again: the promises of docs/promises.md.

A message is followed by the deliver lines of the replicas: those show how often a handler ran.
"""

from support import build, wire
from support.fake import FakeReplica
from support.mesh import Mesh, NAMES
from support.wait import holds_for, wait_until

MAJORITY = -1


def outcomes(answer):
    names = wire.proto().Outcome.Name
    return {row.name: names(row.outcome) for row in answer.rows}


def test_killed_peer_is_known_at_once():
    """No request waits for the timeout because of it."""
    with Mesh() as mesh:
        mesh.kill("charlie")
        for _ in range(5):
            sent = mesh.send("hello", "-t", "20s")
            assert sent.code == 4 and sent.seconds < 5, sent
            sent = mesh.send("hello", "-t", "20s", "-q", "majority")
            assert sent.code == 0 and sent.seconds < 5, sent


def test_killed_while_it_has_the_request():
    """What was sent to it may have happened: unknown, and at once, not after the timeout."""
    with Mesh(run=0) as mesh:
        mesh.start("alpha", "bravo")
        mesh.start("charlie", argv=[build.program("replica.c"), mesh.path, "charlie"])
        mesh.linked()
        send = mesh.spawn_zmqnet("send", "-n", "alpha", "--json", "-t", "10s", "hold")
        mesh.wait_delivered("charlie", "hold")
        mesh.kill("charlie")
        assert send.wait(5) in (4, 5)
        assert '"name":"charlie","outcome":"unknown"' in send.out.text()
        assert mesh.wait_delivered("bravo", "hold")


def test_stopped_peer_delays_nobody_and_runs_once():
    with Mesh() as mesh:
        mesh.pause("charlie")
        sent = mesh.send("while stopped", "-q", "majority", "-t", "300ms", "-r", "4")
        assert sent.code == 0, sent
        sent = mesh.send("retried", "-t", "200ms", "-r", "4", "-q", "all")
        assert sent.code == 4, sent
        assert {row["name"]: row["outcome"] for row in sent.json["peers"]} == {
            "alpha": "acked", "bravo": "self", "charlie": "unknown"}
        assert mesh.send("others", "--to", "alpha").code == 0
        mesh.resume("charlie")
        mesh.linked()
        assert mesh.send("after").code == 0
        mesh.finish()
        for text in ("while stopped", "retried", "after"):
            for name in ("alpha", "bravo"):
                assert len(mesh.deliveries(name, text)) == 1
            assert len(mesh.deliveries("charlie", text)) <= 1
        assert mesh.deliveries("charlie", "after")


def test_late_answers_are_counted():
    """Stopped for less than it takes to be called silent: it answers after the request is over."""
    with Mesh() as mesh:
        mesh.pause("charlie")
        sent = mesh.send("late", "-t", "200ms", "-r", "2")
        assert sent.code in (4, 5), sent
        mesh.resume("charlie")
        assert len(mesh.wait_delivered("charlie", "late")) == 1
        view = wait_until(lambda: mesh.peer("bravo", "charlie")["late"] and mesh.view("bravo"), 5,
                          "bravo counts a late answer")
        assert view["counters"]["late_reply"] >= 1
        assert mesh.send("after").code == 0
        mesh.finish()
        assert len(mesh.deliveries("charlie", "late")) == 1


def test_replica_started_late():
    with Mesh(run=2) as mesh:
        assert mesh.send("early").code == 4
        mesh.start("charlie")
        mesh.linked()
        assert mesh.send("late").code == 0
        mesh.finish()
        assert [d.text for d in mesh.deliveries("charlie")] == ["late"]


def test_coordinator_started_during_retries():
    """The original's promise: if the server comes back during retries, the message is handled."""
    with Mesh(run=0) as mesh:
        mesh.start("alpha", "charlie")
        send = mesh.spawn_zmqnet("send", "-n", "bravo", "-t", "500ms", "-r", "6", "-q", "1",
                                 "hello")
        holds_for(lambda: send.code is None, 0.7, "send retries")
        mesh.start("bravo")
        assert send.wait(5) == 0
        mesh.finish()
        assert len(mesh.deliveries("bravo", "hello")) == 1


def test_coordinator_stopped_during_retries():
    """Each try reaches it, it runs one, and the client gets the receipt of that one."""
    with Mesh() as mesh:
        with mesh.client("bravo", "dealer") as client:
            client.submit("warm")
            mesh.pause("bravo")
            request = client.submit_body("once", budget_ms=10_000)
            for attempt in (1, 2, 3):
                request.attempt = attempt
                client.send(request)
            mesh.resume("bravo")
            answer = client.recv()
            assert wire.is_complete(answer, mesh.names), answer
        mesh.finish()
        for name in mesh.names:
            assert len(mesh.deliveries(name, "once")) == 1


def test_send_survives_a_stop_of_its_coordinator():
    with Mesh(run=0) as mesh:
        mesh.start("alpha", "charlie")
        mesh.start("bravo", argv=[build.program("replica.c"), mesh.path, "bravo"])
        mesh.linked()
        send = mesh.spawn_zmqnet("send", "-n", "bravo", "-t", "1s", "-r", "8", "hold")
        mesh.wait_delivered("bravo", "hold")
        mesh.pause("bravo")
        holds_for(lambda: send.code is None, 1.2, "send waits")
        mesh.resume("bravo")
        mesh.procs["bravo"].write("\n")
        assert send.wait(8) == 0
        mesh.finish()
        for name in mesh.names:
            assert len(mesh.deliveries(name, "hold")) == 1


def test_peer_restarted():
    with Mesh() as mesh:
        with mesh.client("charlie") as client:
            life = client.status().life
        for number in range(3):
            mesh.kill("charlie")
            mesh.start("charlie")
            mesh.linked()
            assert mesh.send(f"life {number}").code == 0
            mesh.wait_delivered("charlie", f"life {number}")
            assert len(mesh.deliveries("charlie")) == 1
        with mesh.client("charlie") as client:
            assert client.status().life != life


def test_peer_restarted_with_the_request_open():
    """A request is pinned to the life that it was sent to: the new one does not run it again."""
    with Mesh(run=0) as mesh:
        mesh.start("alpha", "bravo")
        mesh.start("charlie", argv=[build.program("replica.c"), mesh.path, "charlie"])
        mesh.linked()
        send = mesh.spawn_zmqnet("send", "-n", "alpha", "--json", "-t", "2s", "-r", "5", "hold")
        mesh.wait_delivered("charlie", "hold")
        mesh.kill("charlie")
        mesh.start("charlie")
        assert send.wait() in (4, 5)
        assert '"name":"charlie","outcome":"unknown"' in send.out.text()
        mesh.linked()
        assert mesh.send("next", via="alpha").code == 0
        mesh.finish()
        assert [d.text for d in mesh.deliveries("charlie")] == ["next"]


def test_coordinator_restarted_with_the_request_open():
    with Mesh(run=0) as mesh:
        mesh.start("alpha", "bravo")
        mesh.start("charlie", argv=[build.program("replica.c"), mesh.path, "charlie"])
        mesh.linked()
        send = mesh.spawn_zmqnet("send", "-n", "charlie", "--json", "-t", "2s", "-r", "5", "hold")
        mesh.wait_delivered("charlie", "hold")
        mesh.kill("charlie")
        mesh.start("charlie")
        assert send.wait() == 5
        mesh.finish()
        assert not mesh.deliveries("charlie", "hold")


def test_same_id_runs_once_and_gets_the_same_answer():
    with Mesh() as mesh, mesh.client("bravo") as client, mesh.client("bravo", "bare") as again:
        first = client.submit("once")
        assert wire.is_complete(first, mesh.names)
        for number in (2, 3):
            repeat = again.ask(client.submit_body("once", seq=client.seq, attempt=number))
            assert list(repeat.rows) == list(first.rows)
            assert (repeat.code, repeat.need, repeat.have) == (0, 3, 3)
        assert mesh.counters("bravo")["duplicate"] == 2
        mesh.finish()
        for name in mesh.names:
            assert len(mesh.deliveries(name, "once")) == 1


def test_repeat_while_the_first_is_under_way():
    with Mesh(run=0) as mesh:
        mesh.start("bravo", "charlie")
        mesh.start("alpha", argv=[build.program("replica.c"), mesh.path, "alpha"])
        mesh.linked()
        with mesh.client("alpha", "bare") as client:
            request = client.submit_body("hold")
            client.send(request)
            mesh.wait_delivered("alpha", "hold")
            request.attempt = 2
            client.send(request)
            mesh.wait_counted("alpha", "duplicate")
            mesh.procs["alpha"].write("\n")
            assert wire.is_complete(client.recv(), mesh.names)
        mesh.finish()
        assert len(mesh.deliveries("alpha", "hold")) == 1


def test_id_below_the_floor_is_refused():
    """The client said that it is finished with it, so the window may have forgotten it."""
    with Mesh() as mesh, mesh.client("bravo") as client:
        assert wire.is_complete(client.submit("new", seq=20, floor=19), mesh.names)
        old = client.submit("old", seq=5)
        assert old.code < 0
        assert mesh.counters("bravo")["too_old"] == 1
        mesh.finish()
        assert not any(mesh.deliveries(name, "old") for name in mesh.names)


def test_request_for_another_life_is_refused():
    with Mesh() as mesh, mesh.client("bravo") as client:
        wrong = client.submit("wrong life", to_life=[wire.new_origin()])
        assert wrong.code < 0
        assert mesh.counters("bravo")["wrong_life"] == 1
        right = client.submit("right life", to_life=[client.status().life])
        assert wire.is_complete(right, mesh.names)
        mesh.finish()
        assert not any(mesh.deliveries(name, "wrong life") for name in mesh.names)


def test_lost_answer_is_asked_for_again():
    """The peer ran it, the answer is lost, the retry gets the stored answer."""
    with Mesh(run=2) as mesh, FakeReplica(mesh, "charlie") as charlie:
        mesh.wait_up("alpha", mesh.names)
        seen = []

        def answer_the_second(message):
            seen.append(message.seq)
            return [charlie.reply(message)] if len(seen) == 2 else []
        charlie.on_request = answer_the_second
        with mesh.client("alpha") as client:
            answer = client.submit("hello", budget_ms=3000)
            assert wire.is_complete(answer, mesh.names), answer
        assert len(seen) == 2 and seen[0] == seen[1]


def test_five_replicas_with_two_killed():
    with Mesh(5) as mesh:
        mesh.lose("delta")
        mesh.lose("echo")
        sent = mesh.send("hello", "-q", "majority")
        assert sent.code == 0 and sent.json["quorum"] == {"need": 3, "have": 3, "of": 5}, sent
        mesh.kill("charlie")
        sent = mesh.send("hello", "-q", "majority", "-t", "20s")
        assert sent.code == 4 and sent.seconds < 5, sent
        assert [row["name"] for row in sent.json["peers"]] == list(NAMES[:5])
