# SPDX-License-Identifier: MIT
"""Clients that know nothing of us: those of the original program, and every shape of envelope."""

import threading

import pytest
import zmq

from support import ports, wire
from support.mesh import Mesh

SORTS = ("req", "correlated", "dealer", "bare")


def original(text, **fields):
    """What the original program sends: fields 1 to 3, with the recipient's name as the sender."""
    return wire.body(type=wire.proto().SINGLE, sender="bravo", message=text.encode(), **fields)


def test_original_client_learns_of_a_dead_replica():
    with Mesh() as mesh, mesh.client("bravo") as client:
        mesh.lose("charlie")
        answer = client.ask(original("hello"))
        text = answer.message.decode()
        assert "/3 acked" in text and "charlie never_sent: connection refused" in text, answer


def test_original_replica_is_answered():
    """A BOUNCE without our fields is acked as the original does it."""
    with Mesh(1) as mesh, mesh.client("alpha") as client:
        request = original("bounced")
        request.type = wire.proto().BOUNCE
        answer = client.ask(request)
        assert answer.message == b"ACK"
        assert mesh.wait_delivered("alpha", "bounced")


def _proxy(context, front, back, control):
    with context.socket(zmq.ROUTER) as router, context.socket(zmq.DEALER) as dealer:
        with context.socket(zmq.PAIR) as stop:
            for socket in (router, dealer, stop):
                socket.linger = 0
            router.bind(f"tcp://127.0.0.1:{front}")
            dealer.connect(f"tcp://127.0.0.1:{back}")
            stop.connect(control)
            zmq.proxy_steerable(router, dealer, None, stop)


@pytest.mark.parametrize("sort", ["req", "correlated", "dealer"])
def test_through_a_proxy(sort):
    """Two clients behind one connection: each gets its own answers."""
    front, = ports.take(1)
    with Mesh() as mesh, zmq.Context() as context, context.socket(zmq.PAIR) as stop:
        stop.linger = 0
        stop.bind("inproc://stop")
        thread = threading.Thread(
            target=_proxy, args=(context, front, mesh.port["alpha"], "inproc://stop"))
        thread.start()
        try:
            with wire.Client(front, sort) as one, wire.Client(front, sort) as two:
                first, second = one.submit_body("one"), two.submit_body("two")
                one.send(first)
                two.send(second)
                for client in (two, one):
                    answer = client.recv()
                    assert wire.is_complete(answer, mesh.names), answer
                    assert answer.origin == client.origin
        finally:
            stop.send(b"TERMINATE")
            thread.join()


def test_pipelined_requests_of_one_dealer():
    """Many are open at once on one connection; each is answered, by its id."""
    with Mesh() as mesh, mesh.client("alpha", "dealer") as client:
        for number in range(200):
            client.send(client.submit_body(f"message {number}"))
        seqs = set()
        while len(seqs) < 200:
            frame = client.recv()
            assert frame is not None, f"{len(seqs)} of 200 answered"
            for answer in wire.flatten(frame):
                assert wire.is_complete(answer, mesh.names), answer
                seqs.add(answer.seq)
        assert seqs == set(range(1, 201))


def test_many_clients():
    with Mesh() as mesh:
        clients = [mesh.client(mesh.names[i % 3], SORTS[i % 4]) for i in range(30)]
        try:
            for client in clients:
                client.send(client.submit_body("hello"))
            for client in clients:
                assert wire.is_complete(client.recv(), mesh.names)
        finally:
            for client in clients:
                client.close()


def test_client_that_goes_away_without_its_answer():
    with Mesh() as mesh:
        for _ in range(20):
            with mesh.client("alpha", "dealer") as client:
                client.send(client.submit_body("gone"))
                client.socket.linger = 500
        assert mesh.send("hello").code == 0
