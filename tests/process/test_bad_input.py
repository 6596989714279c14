# SPDX-License-Identifier: MIT
"""Whatever comes to the port: counted under its own name, and nobody else is disturbed.

Each case throws something at alpha of three replicas. A client of bravo sends to all before,
meanwhile and after; alpha has to take its part each time. The original ends on most of it.
"""

import ctypes
import random
import socket
import struct

import pytest
import zmq

from support import strangers, wire
from support.fake import FakeReplica
from support.mesh import Mesh, counters_of
from support.wait import wait_until

MIB = 1 << 20


class Bystander:
    """A client of another replica that must not notice anything."""

    def __init__(self, mesh):
        self.mesh = mesh
        self.client = mesh.client("bravo")
        self.sent = 0

    def sends(self):
        self.sent += 1
        answer = self.client.submit(f"bystander {self.sent}")
        assert wire.is_complete(answer, self.mesh.names), answer

    def __enter__(self):
        for name in self.mesh.running():
            self.mesh.wait_up(name, self.mesh.names)
        self.sends()
        return self

    def __exit__(self, kind, *_):
        with self.client:
            if kind is None:
                self.sends()


# ---- bytes that are not ZeroMQ ----

def _connection(mesh):
    return socket.create_connection(("127.0.0.1", mesh.port["alpha"]))


POST = (b"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: text/plain\r\n"
        b"Content-Length: 28\r\n\r\n\x01\x00\x1b\x7e" + b"a cross-site form in hiding\r\n")

GARBAGE = {
    "text": b"hello, is this the mesh?\r\n" * 20,
    "random": random.Random(1).randbytes(4096),
    "almost a greeting": b"\xff" + random.Random(2).randbytes(4096),
    "HTTP POST": POST,
    "TLS": bytes.fromhex("16030100c8010000c40303") + random.Random(3).randbytes(200),
    "a message before READY": strangers.GREETING + strangers.frame(0, b"too soon"),
    "half a greeting": b"\xff\0\0\0\0\0\0\0\x01\x7f\x03",
    "zeros": bytes(4096),
}


@pytest.mark.parametrize("bytes_", GARBAGE.values(), ids=GARBAGE)
def test_garbage_on_the_port(bytes_):
    with Mesh() as mesh, Bystander(mesh) as bystander:
        before = mesh.counters("alpha")
        with _connection(mesh) as stranger:
            stranger.sendall(bytes_)
            bystander.sends()
        bad = ("bad_handshake", "bad_envelope", "extra_frames", "empty_message", "bad_protobuf",
               "oversize", "unknown_type", "unknown_kind")

        def counted():
            now = mesh.counters("alpha")
            return [name for name in bad if now[name] > before[name]]
        wait_until(counted, 5, f"alpha counts one of {bad}")


def test_a_port_scan_is_survived():
    """Connections that say nothing and go away."""
    with Mesh() as mesh, Bystander(mesh):
        for _ in range(200):
            _connection(mesh).close()


# ---- ZeroMQ messages that are not ours ----

def _many(count, size):
    return [b"x" * size] * count


FRAMES = {
    "malformed protobuf": ("bad_protobuf", [b"", b"\xff\xff\xff\xff not a protobuf"]),
    "text": ("bad_protobuf", [b"", b"hello world"]),
    "bare text": ("bad_protobuf", [b"hello world"]),
    "cut off in the middle": ("bad_protobuf", [b"", b"\x1a\x7fabc"]),
    "empty": ("empty_message", [b"", b""]),
    "bare empty": ("empty_message", [b""]),
    "extra frame": ("extra_frames", [b"", b"\x08\x00", b"\x08\x00"]),
    "a hundred frames": ("extra_frames", [b""] + _many(100, 10)),
    "long envelope": ("bad_envelope", _many(20, 4) + [b"", b"\x08\x00"]),
    "wide envelope": ("bad_envelope", _many(1, 4000) + [b"", b"\x08\x00"]),
    "unknown type": ("unknown_type", [b"", b"\x08\x07"]),
    "negative type": ("unknown_type", [b"", b"\x08" + b"\xff" * 9 + b"\x01"]),
    "unknown kind": ("unknown_kind", [b"", b"\x20\x63"]),
    "a frame above the limit": ("oversize", [b"", b"\x1a\x80\x80\xc0\x08" + bytes(17 * MIB)]),
}


@pytest.mark.parametrize("counter, frames", FRAMES.values(), ids=FRAMES)
def test_bad_message(counter, frames):
    with Mesh() as mesh, Bystander(mesh) as bystander, mesh.client("alpha", "bare") as stranger:
        before = mesh.counters("alpha")[counter]
        stranger.socket.send_multipart(frames)
        bystander.sends()
        mesh.wait_counted("alpha", counter, before + 1)


def test_text_that_is_not_utf8():
    """A name that is not text, with a NUL, or too long."""
    with Mesh() as mesh, Bystander(mesh), mesh.client("alpha", "dealer") as stranger:
        for data in (b"\x12\x02\xc3\x28", b"\x12\x03a\0b"):
            before = mesh.counters("alpha")["bad_protobuf"]
            stranger.send_raw(data)
            mesh.wait_counted("alpha", "bad_protobuf", before + 1)
        stranger.send(wire.body(kind=wire.proto().SUBMIT, origin=1, seq=1, target="x" * 5000))
        mesh.wait_counted("alpha", "over_limit")


def test_a_flood_of_junk_delays_nobody():
    with Mesh() as mesh, Bystander(mesh) as bystander, mesh.client("alpha", "dealer") as stranger:
        for _ in range(20_000):
            stranger.send_raw(b"\xff\xff\xff junk")
        for _ in range(20):
            bystander.sends()
        mesh.wait_counted("alpha", "bad_protobuf", 20_000)
        assert len(mesh.procs["alpha"].err.matching("input.bad")) < 20, "one record per second"


def test_send_above_the_limit_is_refused_before_it_leaves():
    with Mesh() as mesh, Bystander(mesh):
        sent = mesh.send("-", stdin=bytes(17 * MIB), via="alpha")
        assert sent.code == 2, sent.err
        assert "limit" in sent.err and "16" in sent.err


# ---- our own kinds, by somebody who should not say them ----

def test_request_without_hello():
    with Mesh() as mesh, Bystander(mesh), mesh.client("alpha") as stranger:
        answer = stranger.ask(wire.body(
            type=wire.proto().BOUNCE, kind=wire.proto().REQUEST, sender="charlie",
            message=b"sneaked in", origin=stranger.origin, seq=1, budget_ms=1000))
        assert answer.code < 0
        assert mesh.counters("alpha")["no_hello"] == 1
    assert "sneaked in" not in mesh.procs["alpha"].out.text()


def test_forged_sender():
    with Mesh(run=2) as mesh, FakeReplica(mesh, "charlie") as charlie:
        with Bystander(mesh):
            charlie.link_to("alpha")
            forged = charlie.ask(charlie.request("from bravo, honestly", sender="bravo"))
            assert forged.code < 0
            assert mesh.counters("alpha")["forged_sender"] == 1
            honest = charlie.ask(charlie.request("from charlie", seq=2))
            assert honest.code == 0
            assert mesh.wait_delivered("alpha", "from charlie")[0].origin == "charlie"
            assert not mesh.deliveries("alpha", "from bravo, honestly")


@pytest.mark.parametrize("fields", [
    {"sender": "alpha"}, {"sender": "zulu"}, {"target": "bravo"}, {"version": 99},
    {"pattern": "pigeon"},
], ids=lambda fields: " ".join(fields) + " " + str(*fields.values()))
def test_hello_that_cannot_be(fields):
    """Refused with a sentence, on both sides."""
    with Mesh(run=2) as mesh, FakeReplica(mesh, "charlie") as charlie:
        with Bystander(mesh):
            answer = charlie.link_to("alpha", **fields)
            assert answer.code < 0
            assert mesh.counters("alpha")["hello_refused"] >= 1
            request = charlie.ask(charlie.request("let me in"))
            assert request.code < 0
            wait_until(lambda: mesh.procs["alpha"].err.matching("hello.refused"), 5, "a log record")
        mesh.finish()
        assert not mesh.deliveries("alpha", "let me in")


def test_reply_that_nobody_asked_for():
    with Mesh(run=2) as mesh, FakeReplica(mesh, "charlie") as charlie:
        with Bystander(mesh) as bystander:
            for number in range(3):
                charlie.say(wire.body(
                    type=wire.proto().BOUNCE, kind=wire.proto().REPLY, sender="charlie",
                    origin=wire.new_origin(), seq=1 + number))
            bystander.sends()
            wait_until(lambda: sum(mesh.counters(name)["unasked_reply"]
                                   for name in ("alpha", "bravo")) == 3, 5, "three counted")


def test_reply_of_an_earlier_life():
    """Meant for another life of the asker: not taken for an answer."""
    with Mesh(run=2) as mesh, FakeReplica(mesh, "charlie") as charlie:
        def stale_first(message):
            return [charlie.reply(message, code=5, to_life=[wire.new_origin()]),
                    charlie.reply(message)]
        with Bystander(mesh):
            charlie.on_request = stale_first
            sent = mesh.send("hello", via="alpha")
            assert sent.code == 0, sent
            assert mesh.counters("alpha")["stale_reply"] == 1


def test_second_reply_is_late():
    """The first answer counts; what contradicts it later is only counted."""
    with Mesh(run=2) as mesh, FakeReplica(mesh, "charlie") as charlie:
        with Bystander(mesh):
            charlie.on_request = lambda message: [charlie.reply(message),
                                                  charlie.reply(message, code=9)]
            sent = mesh.send("hello", via="alpha")
            assert sent.code == 0, sent
            view = mesh.view("alpha")
            assert counters_of(view)["late_reply"] == 1


def test_replies_that_are_junk():
    with Mesh(run=2) as mesh, FakeReplica(mesh, "charlie") as charlie:
        with Bystander(mesh):
            kinds = wire.proto()
            charlie.on_request = lambda message: [
                wire.body(type=kinds.BOUNCE, kind=kinds.REQUEST, sender="charlie", origin=7, seq=7),
                wire.body(type=kinds.BOUNCE, kind=kinds.STATUS, sender="charlie"),
                charlie.reply(message)]
            sent = mesh.send("hello", via="alpha")
            assert sent.code == 0, sent
            assert mesh.counters("alpha")["unknown_kind"] == 2
        mesh.finish()
        assert not mesh.deliveries("alpha", "")


def test_peer_that_speaks_no_protobuf():
    """A port of the peers file at which a foreign ZeroMQ program listens."""
    with Mesh(run=2) as mesh:
        with zmq.Context() as context, context.socket(zmq.ROUTER) as foreign:
            foreign.linger = 0
            foreign.bind(mesh.endpoint("charlie"))
            for _ in range(2):
                assert foreign.poll(10_000), "alpha and bravo say hello"
                *envelope, _hello = foreign.recv_multipart()
                foreign.send_multipart(envelope + [b"what do you want?"])
            mesh.wait_counted("alpha", "bad_protobuf")
            sent = mesh.send("hello", "-q", "majority", "-t", "2s", via="alpha")
            assert sent.code == 0, sent
            assert sent.json["peers"][2]["outcome"] == "never_sent"


# ---- connections that name themselves ----

def _zmtp(port, identity):
    """A DEALER's connection that gives itself a routing id; libzmq lets it be any bytes."""
    properties = b"\x05READY\x0bSocket-Type\0\0\0\x06DEALER\x08Identity"
    ready = properties + struct.pack(">I", len(identity)) + identity
    connection = socket.create_connection(("127.0.0.1", port))
    greeting = b"\xff" + bytes(8) + b"\x7f\x03\0NULL" + bytes(16) + b"\0" + bytes(31)
    connection.sendall(greeting + bytes([4, len(ready)]) + ready)
    return connection


def test_nobody_can_take_the_next_routing_id():
    """libzmq numbers anonymous connections from rand(), and asserts where a client already sits on
    the next number. The numbers of an unseeded rand() are the same in every process."""
    libc = ctypes.CDLL(None)
    libc.srand(1)
    firsts = [(libc.rand() | libc.rand() << 31) & 0xffffffff for _ in range(6)]
    with Mesh() as mesh, Bystander(mesh):
        held = []
        try:
            for first in firsts:
                held += [_zmtp(mesh.port["alpha"], b"\0" + struct.pack(">I", (first + k) % 2**32))
                         for k in range(40)]
                held += [_zmtp(mesh.port["alpha"], b"") for _ in range(3)]
                with mesh.client("alpha") as client:
                    assert wire.is_complete(client.submit("still there?"), mesh.names)
        finally:
            for connection in held:
                connection.close()
