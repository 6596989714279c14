# SPDX-License-Identifier: MIT
"""Replicas of ours and original.py, which does what the original program did, in one mesh."""

import pathlib

import built
import pytest

from support import wire
from support.mesh import Mesh
from support.wait import wait_until

ORIGINAL = "charlie"
PROGRAM = pathlib.Path(__file__).parent / "original.py"


def start_original(mesh):
    mesh.start(ORIGINAL, argv=built.python(PROGRAM, mesh.path, ORIGINAL))


def linked(mesh):
    """The original has no status; ours say when they see all."""
    for name in mesh.names:
        if name != ORIGINAL:
            mesh.wait_up(name, mesh.names)


@pytest.fixture(name="mixed")
def _mixed():
    """alpha and bravo are ours and speak reqrep, charlie is the original."""
    with Mesh(run=0, pattern="reqrep") as mesh:
        mesh.start("alpha", "bravo")
        start_original(mesh)
        linked(mesh)
        yield mesh


def single(text):
    """What the original's client sends."""
    return wire.body(type=wire.proto().SINGLE, sender="bravo", message=text)


def texts(mesh, name):
    """What was delivered there; our hello is an empty message to the original."""
    return [d.text for d in mesh.deliveries(name) if d.text]


def rows(answer):
    outcome = wire.proto().Outcome
    return {row.name: outcome.Name(row.outcome).lower() for row in answer.rows}


def test_our_client_at_ours(mixed):
    with mixed.client("bravo") as client:
        for number in range(3):
            answer = client.submit(f"message {number}")
            assert wire.is_complete(answer, mixed.names), answer
        answer = client.submit("for you alone", target=ORIGINAL)
        assert (answer.code, rows(answer)) == (0, {ORIGINAL: "acked"})
    assert mixed.send("grüße").code == 0
    mixed.finish()
    for name, alone in (("alpha", []), (ORIGINAL, ["for you alone"])):
        assert texts(mixed, name) == ["message 0", "message 1", "message 2", *alone, "grüße"]


def test_original_client_at_ours(mixed):
    with mixed.client("bravo") as client:
        answer = client.ask(single(b"hello"))
        assert answer.type == wire.proto().SINGLE and "3/3" in answer.message.decode(), answer
    mixed.finish()
    for name in mixed.names:
        assert texts(mixed, name) == ["hello"]


def test_original_client_at_the_original(mixed):
    with mixed.client(ORIGINAL) as client:
        for number in range(3):
            assert client.ask(single(b"hello %d" % number)).message == b"2 acks"
    mixed.finish()
    for name in mixed.names:
        assert texts(mixed, name) == ["hello 0", "hello 1", "hello 2"]


def test_both_directions_at_once(mixed):
    """The original reads nothing while it waits for us; that we answer it does not wait for it."""
    count = 30
    clients = [mixed.client(name) for name in mixed.names]
    try:
        for number in range(count):
            for client in clients[:2]:
                client.send(client.submit_body(f"message {number}"))
            clients[2].send(single(b"hello %d" % number))
            for client in clients[:2]:
                answer = client.recv()
                assert wire.is_complete(answer, mixed.names), answer
            assert clients[2].recv().message == b"2 acks"
    finally:
        for client in clients:
            client.close()
    mixed.finish()
    for name in mixed.names:
        assert len(texts(mixed, name)) == 3 * count


def test_original_waits_for_a_stopped_replica(mixed):
    """Its loop stands still for 2 s; what we ask meanwhile is answered when it goes on."""
    mixed.pause("alpha")
    with mixed.client(ORIGINAL) as theirs, mixed.client("bravo") as ours:
        theirs.send(single(b"theirs"))
        mixed.wait_delivered("bravo", "theirs")
        answer = ours.submit("ours", quorum=2)
        assert (answer.code, rows(answer)["charlie"]) == (0, "acked"), answer
        assert theirs.recv().message == b"1 acks"


def test_slow_original_is_asked_once(mixed):
    """It would run a repeat again. Others don't wait for it, and afterwards all is as before."""
    done = mixed.send("-t", "300ms", "-r", "3", "hold")
    assert done.code == 4, done
    assert [row["outcome"] for row in done.json["peers"]] == ["acked", "self", "unknown"], done
    done = mixed.send("--quorum", "majority", "meanwhile")
    assert done.code == 0, done
    mixed.procs[ORIGINAL].write("go on\n")
    wait_until(lambda: mixed.send("-t", "1s", "-r", "1", "at last").code == 0, 5, "it goes on")
    mixed.finish()
    assert texts(mixed, ORIGINAL).count("hold") == 1


def test_original_dies_between_request_and_reply(mixed):
    """Nobody can know whether it has run, and the next life of it does not get the message."""
    with mixed.client("bravo") as client:
        client.send(client.submit_body("hold"))
        mixed.wait_delivered(ORIGINAL, "hold")
        mixed.kill(ORIGINAL)
        answer = client.recv()
        assert rows(answer) == {"alpha": "acked", "bravo": "self", ORIGINAL: "unknown"}, answer
        start_original(mixed)
        linked(mixed)
        answer = client.submit("hello again")
        assert wire.is_complete(answer, mixed.names), answer
    mixed.finish()
    assert texts(mixed, ORIGINAL) == ["hello again"]


def test_only_text_is_sent_to_it(mixed):
    with mixed.client("bravo") as client:
        answer = client.submit("", message=b"\xff\xfe")
        assert rows(answer) == {"alpha": "acked", "bravo": "self", ORIGINAL: "never_sent"}, answer
        assert [row.why for row in answer.rows if row.name == ORIGINAL] == [
            "not text, and the original program takes nothing else"]
        assert wire.is_complete(client.submit("text"), mixed.names)
    mixed.finish()
    assert texts(mixed, ORIGINAL) == ["text"]


def test_our_commands_leave_it_alone(mixed):
    """It would bounce a question of theirs to all if it took it for a client's message."""
    for verb in ("status", "wait"):
        mixed.zmqnet(verb, "-t", "200ms")
    mixed.finish()
    assert not mixed.deliveries("alpha") and not mixed.deliveries("bravo")


def test_only_reqrep_takes_it():
    with Mesh(run=0, pattern="router") as mesh:
        mesh.start("alpha", "bravo")
        start_original(mesh)
        mesh.linked("alpha", "bravo")
        wait_until(lambda: "original program" in mesh.peer("alpha", ORIGINAL)["cause"], 5,
                   "alpha says why")
        done = mesh.send("hello")
        assert done.code == 4 and done.json["peers"][2]["outcome"] == "never_sent", done
        with mesh.client(ORIGINAL) as client:
            assert client.ask(single(b"still here")).message == b"2 acks"
