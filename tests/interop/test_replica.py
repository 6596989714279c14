# SPDX-License-Identifier: MIT
"""replica.py, which knows docs/wire.md and nothing else, as a full peer in a mesh with ours."""

import pathlib

import built
import pytest

from support import wire
from support.mesh import Mesh
from support.patterns import PATTERNS

REPLICA = pathlib.Path(__file__).parent / "replica.py"
PYTHON = "charlie"
WITH_ONE_PORT = [name for name, pattern in PATTERNS.items() if pattern.one_port]


def start(mesh, *names):
    """Start replicas in Python."""
    for name in names:
        mesh.start(name, argv=built.python(REPLICA, mesh.path, name))


def outcomes(done):
    return {row["name"]: row["outcome"] for row in done.json["peers"]}


@pytest.fixture(name="mixed", params=WITH_ONE_PORT)
def _mixed(request):
    """alpha and bravo are ours and speak a pattern that fits, charlie is in Python."""
    with Mesh(run=2, pattern=request.param) as mesh:
        start(mesh, PYTHON)
        mesh.linked()
        yield mesh


def test_it_answers_our_broadcasts(mixed):
    for number in range(3):
        done = mixed.send(f"message {number}")
        assert done.code == 0, done
        assert outcomes(done) == {"alpha": "acked", "bravo": "self", "charlie": "acked"}
    done = mixed.send("--to", PYTHON, "for you alone")
    assert done.code == 0 and outcomes(done) == {PYTHON: "acked"}, done
    done = mixed.send("refuse 7 not today")
    assert (done.code, done.json["peers"][2]["code"]) == (4, 7), done
    mixed.finish()
    assert [d.text for d in mixed.deliveries(PYTHON)] == [
        "message 0", "message 1", "message 2", "for you alone", "refuse 7 not today"]
    assert {d.origin for d in mixed.deliveries(PYTHON)} == {"bravo"}


def test_it_coordinates(mixed):
    done = mixed.send("hello", via=PYTHON)
    assert done.code == 0, done
    assert outcomes(done) == {"alpha": "acked", "bravo": "acked", "charlie": "self"}
    done = mixed.send("--to", "alpha", "for you alone", via=PYTHON)
    assert done.code == 0 and outcomes(done) == {"alpha": "acked"}, done
    done = mixed.send("refuse 7 not today", via=PYTHON)
    assert done.code == 8 and not mixed.deliveries("alpha", "refuse 7 not today"), done
    mixed.finish()
    for name in ("alpha", "bravo"):
        assert {d.origin for d in mixed.deliveries(name)} == {PYTHON}


def test_one_client_at_several_coordinators(mixed):
    """The same id through each of them: served once everywhere."""
    origin = wire.new_origin()
    for name in mixed.names:
        with mixed.client(name) as client:
            answer = client.submit("once", origin=origin, seq=1)
            assert wire.is_complete(answer, mixed.names), answer
    mixed.finish()
    for name in mixed.names:
        assert len(mixed.deliveries(name, "once")) == 1


def test_it_is_killed_and_restarted(mixed):
    mixed.lose(PYTHON)
    done = mixed.send("one is missing")
    assert done.code == 4 and outcomes(done)[PYTHON] == "never_sent", done
    start(mixed, PYTHON)
    mixed.linked()
    assert mixed.send("it is back").code == 0
    assert mixed.send("hello from it", via=PYTHON).code == 0
    assert not mixed.deliveries(PYTHON, "one is missing")


def test_ours_is_killed_and_restarted(mixed):
    mixed.kill("alpha")
    mixed.wait_refused("bravo", "alpha")
    done = mixed.send("one is missing", "-t", "1s", "-r", "1", via=PYTHON)
    assert done.code == 4 and outcomes(done)["alpha"] in ("never_sent", "unknown"), done
    mixed.start("alpha")
    mixed.linked()
    done = mixed.send("it is back", via=PYTHON)
    assert done.code == 0, done
    assert mixed.send("hello from it", via="alpha").code == 0


def test_it_stops_and_goes_on(mixed):
    """What was sent while it was stopped runs there once, and is counted when it is answered."""
    mixed.pause(PYTHON)
    done = mixed.send("-t", "600ms", "-r", "2", "are you there?")
    assert done.code == 4 and outcomes(done)[PYTHON] == "unknown", done
    mixed.resume(PYTHON)
    mixed.wait_delivered(PYTHON, "are you there?")
    mixed.linked()
    assert mixed.send("and now?").code == 0
    mixed.finish()
    assert len(mixed.deliveries(PYTHON, "are you there?")) == 1


@pytest.mark.parametrize("pattern", WITH_ONE_PORT)
def test_crossed_broadcasts(pattern):
    """Each replica coordinates at once, two of them in Python; nobody waits for anybody."""
    count = 50
    with Mesh(4, run=2, pattern=pattern) as mesh:
        start(mesh, "charlie", "delta")
        mesh.linked()
        clients = [mesh.client(name, "bare") for name in mesh.names]
        try:
            for client in clients:
                for number in range(count):
                    client.send(client.submit_body(f"{number} through {client.socket}"))
            for client in clients:
                receipts = []
                while len(receipts) < count:
                    frame = client.recv()
                    assert frame is not None, f"{len(receipts)} of {count}"
                    receipts += wire.flatten(frame)
                assert all(wire.is_complete(receipt, mesh.names) for receipt in receipts)
        finally:
            for client in clients:
                client.close()
        mesh.finish()
        assert {len(mesh.deliveries(name)) for name in mesh.names} == {4 * count}


# ---- the same questions to a replica of ours and to the one in Python ----

@pytest.fixture(name="asked", params=["ours", "python"])
def _asked(request):
    """A replica and a connection to it on which a peer has said hello: (ask, life of the replica).

    The peer is the test: it owns no port, so the replica can't reach it."""
    with Mesh(2, run=0) as mesh:
        if request.param == "ours":
            mesh.start("alpha")
        else:
            start(mesh, "alpha")
        with mesh.client("alpha", "bare") as client:
            yield Asker(client)


class Asker:
    """bravo, as seen by alpha."""

    def __init__(self, client):
        self.client, self.kinds = client, wire.proto()
        self.life = wire.new_origin()

    def ask(self, kind, **fields):
        values = dict(type=self.kinds.BOUNCE, kind=kind, sender="bravo")
        values.update(fields)
        return self.client.ask(wire.body(**values))

    def hello(self, **fields):
        values = dict(life=self.life, version=1, pattern="router", target="alpha")
        values.update(fields)
        return self.ask(self.kinds.HELLO, **values)

    def request(self, seq, text="hello", **fields):
        values = dict(origin=self.life, seq=seq, message=text.encode(), budget_ms=5000, attempt=1)
        values.update(fields)
        return self.ask(self.kinds.REQUEST, **values)


def test_hello_comes_first(asked):
    assert asked.request(1).code == -20
    hello = asked.hello()
    assert (hello.code, hello.sender, hello.target) == (0, "alpha", "bravo")
    done = asked.request(1)
    assert (done.code, done.type, done.sender) == (0, asked.kinds.BOUNCE, "alpha")
    assert (done.origin, done.seq, list(done.to_life)) == (asked.life, 1, [asked.life])
    assert asked.request(2, sender="alpha").code == -20


def test_hello_is_refused(asked):
    for code, fields in ((-23, {"target": "bravo"}), (-4, {"sender": "zulu"}),
                         (-21, {"version": 2}), (-22, {"pattern": "pubsub"}),
                         (-24, {"sender": "alpha"})):
        answer = asked.hello(**fields)
        assert (answer.kind, answer.type, answer.code) == (
            asked.kinds.HELLO, asked.kinds.ERROR, code), answer
        assert answer.message and answer.target == fields.get("sender", "bravo"), answer
    assert asked.hello().code == 0


def test_pinned_to_a_life(asked):
    life = asked.hello().life
    assert asked.request(1, to_life=[life ^ 1]).code == -18
    assert asked.request(1, to_life=[life ^ 1, life]).code == 0


def test_repeat_gets_the_stored_answer(asked):
    asked.hello()
    first = asked.request(1)
    assert asked.request(1, attempt=2, text="another text") == first


def test_floor(asked):
    asked.hello()
    assert asked.request(5).code == 0
    assert asked.request(6, floor=5).code == 0
    assert asked.request(5, attempt=2).code == -19
    assert asked.request(3).code == -19


def test_id_of_another_replica(asked):
    """The id of bravo's life is taken on bravo's connection only, in a client's message too."""
    life = asked.hello().life
    assert asked.request(1, origin=life).code == -20
    assert asked.client.submit("stolen", origin=life, seq=1).code == -20


def test_batch(asked):
    """Members are handled in their order; a bad one harms no other."""
    asked.hello()
    requests = [wire.body(type=asked.kinds.BOUNCE, kind=asked.kinds.REQUEST, sender="bravo",
                          origin=asked.life, seq=seq, attempt=1).SerializeToString()
                for seq in (1, 2, 3)]
    requests[1] = b"\xff"
    asked.client.send(wire.body(batch=requests))
    answers = []
    while len(answers) < 3:
        frame = asked.client.recv()
        assert frame is not None, answers
        answers += wire.flatten(frame)
    assert sorted((a.seq, a.code) for a in answers) == [(0, -25), (1, 0), (3, 0)]


def test_ping_bye_and_nonsense(asked):
    hello = asked.hello()
    pong = asked.ask(asked.kinds.PING, seq=77, life=asked.life)
    assert (pong.kind, pong.seq, pong.life) == (asked.kinds.PONG, 77, hello.life)
    asked.client.send_raw(b"\xff\xff")
    assert asked.client.recv().code == -25
    assert asked.request(1).code == 0


def test_client_says_bye(asked):
    """All ids of its life are finished, and from then on too old."""
    life = wire.new_origin()
    quorum = {"origin": life, "quorum": 1}
    assert asked.client.submit("hello", seq=1, **quorum).code == 0
    asked.client.send(wire.body(kind=asked.kinds.BYE, life=life))
    assert asked.client.submit("hello", seq=1, **quorum).code in (0, -19)
    assert asked.client.submit("hello", seq=2, **quorum).code == -19
