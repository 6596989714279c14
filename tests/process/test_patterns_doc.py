# SPDX-License-Identifier: MIT
"""docs/patterns.md: its formulas, its tests, and what it says that a pattern does not keep.

What the page says of late answers, slow handlers, mixed meshes and the original program is tested
where it names a test; the rest is here.
"""

import json
import re

import pytest
import zmq

from support import env, wire
from support.mesh import DOWN, UP, Mesh
from support.proc import run, zmqnet
from support.wait import wait_until

PAGE = (env.ROOT / "docs" / "patterns.md").read_text()
PATTERNS = re.search(r"--pattern (\S+)", zmqnet("help", "serve").out)[1].split("|")

MIB = 1 << 20


def section(pattern):
    return re.search(rf"^## {pattern}\n(.*?)(?=^## |\Z)", PAGE, re.M | re.S)[1]


def formulas(text):
    """{what: formula} of the tables in it."""
    return dict(re.findall(r"^\| ([\w ]+) \| `([^`]+)` \|", text, re.M))


# ---- the page ----

@pytest.mark.parametrize("pattern", PATTERNS)
def test_each_pattern_has_its_section(pattern):
    text = section(pattern)
    picture = re.search(r"!\[[^]]+\]\((\S+\.svg)\)", text)
    assert (env.ROOT / "docs" / picture[1]).exists()
    assert len(formulas(text)) == 4, text


def test_the_tests_that_it_names_exist():
    named = re.findall(r"`(tests/[\w./]+)::(\w+)`", PAGE)
    assert len(named) > 10, named
    for path, case in named:
        assert re.search(rf"\b{case}\(", (env.ROOT / path).read_text()), f"{path}::{case}"


def test_its_numbers_are_those_of_the_command():
    """Each stands between the comments that `scripts/patterns --write` looks for."""
    blocks = re.findall(r"^<!-- scripts/patterns: ([\w ]+) -->\n(.+?)\n<!-- end -->$", PAGE,
                        re.M | re.S)
    assert [name for name, _ in blocks] == [*(f"sockets {pattern}" for pattern in PATTERNS),
                                            "strangers", "broadcast", "faults"]


@pytest.mark.limit(60)
def test_its_formulas_hold():
    """The command compares them with what it counts."""
    done = run(env.ROOT / "scripts" / "patterns", "--build", env.BUILD, "--replicas", "3",
               "sockets", seconds=50)
    assert done.code == 0, done
    parts = re.split(r"^sockets (\w+)\n", done.out, flags=re.M)[1:]
    counted = {name: formulas(text) for name, text in zip(parts[::2], parts[1::2])}
    assert counted == {pattern: formulas(section(pattern)) for pattern in PATTERNS}


# ---- reqrep ----

@pytest.mark.parametrize("pattern", PATTERNS)
def test_asked_again_after_a_ping(pattern):
    """Long before the next try. In lock step the ping gives up the answer, so the question comes
    again; in other patterns a ping is answered beside it."""
    lock_step = pattern == "reqrep"
    with Mesh(pattern=pattern, obedient=["charlie"]) as mesh, mesh.client("alpha") as client:
        client.send(client.submit_body("hold", target="charlie", budget_ms=25_000))
        mesh.wait_delivered("charlie", "hold")
        if lock_step:
            mesh.wait_counted("charlie", "duplicate", 2)
        else:
            rtt_us = mesh.peer("alpha", "charlie")["rtt_us"]
            wait_until(lambda: mesh.peer("alpha", "charlie")["rtt_us"] != rtt_us, 5, "a pong")
        assert (mesh.counters("alpha")["retries"] >= 2) == lock_step
        mesh.procs["charlie"].write("\n")
        assert client.recv().code == 0
        mesh.finish()
        assert len(mesh.deliveries("charlie", "hold")) == 1


# ---- pubsub ----

class Stranger:
    """Somebody who is no replica, at the pub port of one."""

    def __init__(self, mesh, name, *topics):
        replicas = json.loads(mesh.path.read_text())["replicas"]
        ports = next(replica["ports"] for replica in replicas if replica["name"] == name)
        self._context = zmq.Context()
        self._sub, self._push = self._context.socket(zmq.SUB), self._context.socket(zmq.PUSH)
        self._sub.linger = self._push.linger = self._sub.sndhwm = 0
        for topic in topics:
            self._sub.subscribe(topic)
        self._sub.connect(f"tcp://127.0.0.1:{ports['pub']}")
        self._push.connect(f"tcp://127.0.0.1:{ports['ack']}")
        self.read = []  # (topic and numbers, message) of what has come so far

    def texts(self):
        """Those of the requests that have come so far."""
        while self._sub.poll(0):
            head, body = self._sub.recv_multipart()
            self.read += [(head, message) for message in wire.flatten(wire.decode(body))]
        return [message.message.decode() for _, message in self.read]

    def wait_for(self, text):
        """The topic and numbers, and the message, of this request."""
        wait_until(lambda: text in self.texts(), 5, f"a stranger reads {text!r}")
        return next(read for read in self.read if read[1].message.decode() == text)

    def ack(self, name, head, request):
        """Say what that replica would say."""
        nonce = head[len(b"T" + name.encode() + b"\0"):][:8]
        reply = wire.body(type=wire.proto().BOUNCE, kind=wire.proto().REPLY, sender=name,
                          origin=request.origin, seq=request.seq)
        self._push.send_multipart([b"\0" + nonce, reply.SerializeToString()])

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._context.destroy(linger=0)


def listen(mesh, *strangers):
    """Return when they read what alpha asks: until their subscriptions are there, nothing comes."""
    numbers = iter(range(1000))

    def heard():
        text = f"does anybody hear {next(numbers)}"
        assert mesh.send(text, via="alpha").code == 0
        return all(text in stranger.texts() for stranger in strangers)
    wait_until(heard, 5, "strangers read along")


def test_a_stranger_reads_along():
    """What goes to all, on the topic A; everything, without a topic."""
    with Mesh(pattern="pubsub") as mesh:
        with Stranger(mesh, "alpha", b"A") as one, Stranger(mesh, "alpha", b"") as other:
            listen(mesh, one, other)
            assert mesh.send("for bravo", "--to", "bravo", via="alpha").code == 0
            other.wait_for("for bravo")
            assert mesh.send("for all", via="alpha").code == 0
            one.wait_for("for all")
            assert "for bravo" not in one.texts()


def test_a_stranger_answers_for_a_peer():
    """With what it has read. The peer itself has not even got the question."""
    with Mesh(pattern="pubsub") as mesh, Stranger(mesh, "alpha", b"") as stranger:
        listen(mesh, stranger)
        mesh.pause("charlie")
        send = mesh.spawn_zmqnet("send", "-n", "alpha", "--to", "charlie", "-t", "5s", "hello")
        stranger.ack("charlie", *stranger.wait_for("hello"))
        assert send.wait(5) == 0
        mesh.resume("charlie")


def _resident_bytes(pid):
    with open(f"/proc/{pid}/status") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith("VmRSS"))


def test_subscriptions_of_strangers_cost_memory():
    """They are counted, and libzmq keeps them all."""
    topics = 1000
    with Mesh(2, pattern="pubsub") as mesh:
        before = _resident_bytes(mesh.procs["alpha"].pid)
        with Stranger(mesh, "alpha", *(b"%06d" % i + bytes(1000) for i in range(topics))):
            mesh.wait_counted("alpha", "bad_topic", topics)
            assert _resident_bytes(mesh.procs["alpha"].pid) - before > 10 * MIB
            assert mesh.send("hello", via="alpha").code == 0


# ---- the original program as a peer ----

class Original:
    """What it does when it is asked: its handler gets the text, and the answer is ACK."""

    def __init__(self, mesh, name):
        self._name = name
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.REP)
        self._socket.bind(f"tcp://127.0.0.1:{mesh.port[name]}")
        self.texts = []

    def turn(self):
        while self._socket.poll(0):
            self.texts.append(wire.decode(self._socket.recv()).message)
            self._socket.send(wire.body(sender=self._name, message=b"ACK").SerializeToString())
        return self.texts

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._context.destroy(linger=0)


CAUSE_OF_THE_ORIGINAL = {
    "router": "the original program answers there, only replicas with reqrep can ask it",
    "pubsub": "connection refused",
}


@pytest.mark.parametrize("pattern", PATTERNS)
def test_the_original_as_a_peer(pattern):
    """reqrep: one empty message at the connection, and then what it is asked. Others don't take it,
    for the reason that the page gives."""
    with Mesh(2, run=1, pattern=pattern) as mesh:
        with Original(mesh, "bravo") as original, mesh.client("alpha") as client:
            def state():
                original.turn()
                peer, = [peer for peer in client.status().peers if peer.name == "bravo"]
                return peer.state, peer.cause
            cause = CAUSE_OF_THE_ORIGINAL.get(pattern)
            if cause is None:
                wait_until(lambda: state()[0] == UP, 5, "it is up")
                client.send(client.submit_body("hello"))
                wait_until(lambda: len(original.turn()) == 2, 5, "it is asked")
                assert wire.is_complete(client.recv(), mesh.names)
                assert original.texts == [b"", b"hello"]
            else:
                wait_until(lambda: state() == (DOWN, cause), 5, cause)
                assert cause in " ".join(PAGE.split()), "the page has this sentence"
                assert not any(original.texts), "nothing but hellos"
