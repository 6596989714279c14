# SPDX-License-Identifier: MIT
"""A client and its coordinator: repeats of a message, and coordinators that start late, stop or
restart meanwhile. Which pattern the replicas speak is nothing to a client: what they do to each other
stands in test_conformance_faults.py.

A message is followed by the deliver lines of the replicas: those show how often a handler ran.
"""

from support import wire
from support.mesh import Mesh
from support.wait import holds_for


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
    with Mesh(obedient=["bravo"]) as mesh:
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


def test_coordinator_restarted_with_the_request_open():
    with Mesh(obedient=["charlie"]) as mesh:
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
    with Mesh(obedient=["alpha"]) as mesh:
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
