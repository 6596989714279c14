# SPDX-License-Identifier: MIT
"""A client in Python written from docs/wire.md, without anything of ours but the .proto file.

The first test runs the program that stands in that document.
"""

import re
import sys

import pytest

from support import wire
from support.env import ROOT
from support.mesh import Mesh
from support.patterns import each_pattern
from support.proc import run

# Field numbers of docs/wire.md, section 2; this client knows no protobuf library.
VARINT, I64, LEN = 0, 1, 2


def varint(value):
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes(out) + bytes([value])


def field(number, kind, value):
    tag = varint(number << 3 | kind)
    if kind == VARINT:
        return tag + varint(value)
    if kind == I64:
        return tag + value.to_bytes(8, "little")
    return tag + varint(len(value)) + value


def zigzag(value):
    return value << 1 if value >= 0 else (-value << 1) - 1


def read_varint(data, at):
    value = shift = 0
    while True:
        value |= (data[at] & 0x7F) << shift
        shift += 7
        at += 1
        if data[at - 1] < 0x80:
            return value, at


def fields(data):
    """[(number, value)] of a message; values of length-delimited fields are bytes."""
    found, at = [], 0
    while at < len(data):
        tag, at = read_varint(data, at)
        kind = tag & 7
        if kind == VARINT:
            value, at = read_varint(data, at)
        elif kind == I64:
            value, at = int.from_bytes(data[at:at + 8], "little"), at + 8
        else:
            assert kind == LEN, kind
            size, at = read_varint(data, at)
            value, at = data[at:at + size], at + size
        found.append((tag >> 3, value))
    return found


def submit(origin, seq, text, quorum=0, target=""):
    """SUBMIT, section 7."""
    return (field(3, LEN, text.encode()) + field(4, VARINT, 5) + field(5, I64, origin)
            + field(6, VARINT, seq) + field(8, VARINT, 3000) + field(9, VARINT, 1)
            + field(10, VARINT, zigzag(quorum)) + field(16, LEN, target.encode()))


def receipt(data):
    """(code, need, have, {name: outcome}) of a REPLY with rows."""
    top = dict(fields(data))
    assert top[4] == 6, "kind REPLY"
    rows = {}
    for number, value in fields(data):
        if number == 14:
            row = dict(fields(value))
            rows[row[1].decode()] = row[2]
    code = top.get(13, 0)
    return (code >> 1) ^ -(code & 1), top.get(21, 0), top.get(22, 0), rows


SELF, ACKED, NEVER_SENT = 1, 2, 5


@each_pattern
@pytest.mark.parametrize("sort", ["req", "bare", "dealer"])
def test_bytes_by_hand(pattern, sort):
    with Mesh(pattern=pattern) as mesh, mesh.client("bravo", sort) as client:
        origin = wire.new_origin()
        client.send_raw(submit(origin, 1, "this is a test message"))
        data = client.recv_raw()
        assert receipt(data) == (0, 3, 3, {"alpha": ACKED, "bravo": SELF, "charlie": ACKED})
        top = dict(fields(data))
        assert (top[5], top[6], top[2]) == (origin, 1, b"bravo")
        assert all(mesh.wait_delivered(name, "this is a test message") for name in mesh.names)

        client.send_raw(submit(origin, 2, "only charlie", target="charlie"))
        code, _, _, rows = receipt(client.recv_raw())
        assert (code, rows) == (0, {"charlie": ACKED})

        mesh.lose("charlie")
        client.send_raw(submit(origin, 3, "majority", quorum=-1))
        assert receipt(client.recv_raw()) == (
            0, 2, 2, {"alpha": ACKED, "bravo": SELF, "charlie": NEVER_SENT})
        client.send_raw(submit(origin, 4, "all"))
        code, need, have, rows = receipt(client.recv_raw())
        assert (code, need, have, rows["charlie"]) == (-14, 3, 2, NEVER_SENT)


@each_pattern
@pytest.mark.parametrize("sort", ["req", "bare"])
def test_both_codecs_agree(pattern, sort):
    """What Python's protobuf encodes we understand, what we encode it decodes, field for field."""
    with Mesh(pattern=pattern) as mesh, mesh.client("alpha", sort) as client:
        request = client.submit_body("grüße", quorum=-1, idempotent=True, floor=0)
        by_hand = submit(client.origin, client.seq, "grüße", quorum=-1)
        assert dict(fields(request.SerializeToString()))[3] == dict(fields(by_hand))[3]
        client.send(request)
        data = client.recv_raw()
        answer = wire.decode(data)
        top = dict(fields(data))
        assert (answer.origin, answer.seq) == (top[5], top[6]) == (client.origin, client.seq)
        assert answer.sender == "alpha" and not answer.UnknownFields()
        assert [row.name for row in answer.rows] == list(mesh.names)
        view = client.status()
        assert (view.name, view.pattern) == ("alpha", pattern)
        assert [peer.name for peer in view.peers] == list(mesh.names)
        assert {counter.name for counter in view.counters} >= {"frames_in", "delivered"}


def test_hello_and_ping_of_a_client():
    """Sections 4 and 8: a client learns the life of a replica, pins a request to it, and pings."""
    kinds = wire.proto()
    with Mesh() as mesh, mesh.client("alpha", "bare") as client:
        hello = client.ask(wire.body(kind=kinds.HELLO, life=client.origin, version=1,
                                     pattern="router", target="alpha"))
        assert (hello.kind, hello.code, hello.sender) == (kinds.HELLO, 0, "alpha")
        assert hello.life == client.status().life and hello.version == 1
        assert hello.peers_hash == peers_hash(mesh)
        pong = client.ask(wire.body(kind=kinds.PING, life=client.origin, seq=77))
        assert (pong.kind, pong.seq, pong.life) == (kinds.PONG, 77, hello.life)
        assert wire.is_complete(client.submit("pinned", to_life=[hello.life]), mesh.names)


def peers_hash(mesh):
    """Section 4."""
    value = 0xCBF29CE484222325
    for name in sorted(mesh.names):
        for byte in f"{name}\x00127.0.0.1\x00{mesh.port[name]}\n".encode():
            value = (value ^ byte) * 0x100000001B3 & (1 << 64) - 1
    return value


def test_wrong_target_is_refused():
    kinds = wire.proto()
    with Mesh() as mesh, mesh.client("alpha", "bare") as client:
        answer = client.submit("hello", target="zulu")
        assert (answer.type, answer.code) == (kinds.ERROR, -4)
        answer = client.submit("hello", quorum=4)
        assert (answer.type, answer.code) == (kinds.ERROR, -1)


def test_the_program_of_the_document(tmp_path):
    """The Python in docs/wire.md runs as it stands there, but for the port."""
    text = (ROOT / "docs/wire.md").read_text()
    program = next(block for block in re.findall(r"```python\n(.*?)```", text, re.S)
                   if "SUBMIT" in block)
    with Mesh() as mesh:
        assert "localhost:3265" in program
        program = program.replace("localhost:3265", f"127.0.0.1:{mesh.port['bravo']}")
        (tmp_path / "client.py").write_text(program)
        assert run("protoc", f"--python_out={tmp_path}", f"-I{ROOT / 'proto'}",
                   ROOT / "proto/zmqnet.proto").code == 0
        done = run(sys.executable, tmp_path / "client.py", "hello from the document")
        assert done.code == 0 and "code 0" in done.out, done
        for name in mesh.names:
            assert name in done.out
        assert mesh.wait_delivered("bravo", "hello from the document")
