# SPDX-License-Identifier: MIT
"""What replica.py knows of docs/wire.md without sockets: limits, frames, and the peers file."""

import json

from google.protobuf.message import DecodeError
from zmqnet_pb2 import BOUNCE, BYE, ERROR, LEGACY, NEVER_SENT, SELF, SINGLE, Body

EINVAL, ENOPEER, ECLOSED, EFULL, ENOQUORUM, EUNKNOWN = -1, -4, -11, -12, -14, -15
ENEVERSENT, EREFUSED, ELIFE, ETOOOLD, EHELLO, EVERSION = -16, -17, -18, -19, -20, -21
EPATTERN, ENAME, ECLASH, EPROTO = -22, -23, -24, -25

VERSION, PATTERN = 1, "router"
FITTING = ("router", "reqrep")

ENVELOPE_FRAMES, ENVELOPE_BYTES = 8, 512
BATCH, BATCH_BYTES = 256, 256 * 1024


class Refusal(Exception):
    """What the replica itself says no to: a code of section 10 and a sentence."""

    def __init__(self, code, text):
        super().__init__(text)
        self.code, self.text = code, text


def read_peers(path):
    """{name: (host, port)} in the order of the file, and its hash."""
    with open(path, encoding="utf-8") as file:
        replicas = json.load(file)["replicas"]
    peers = {r["name"]: tuple(r["address"].rsplit(":", 1)) for r in replicas}
    value = 0xCBF29CE484222325
    for name, (host, port) in sorted(peers.items(), key=lambda peer: peer[0].encode()):
        for byte in f"{name}\0{host}\0{port}\n".encode():
            value = (value ^ byte) * 0x100000001B3 % 2**64
    return peers, value


def split(frames):
    """(envelope, body) of what a ROUTER has received; None if it is neither form of section 1."""
    empty = frames.index(b"") if b"" in frames[:-1] else 0
    envelope, rest = tuple(frames[:empty + 1]), frames[empty + 1:]
    if len(rest) != 1 or len(envelope) > ENVELOPE_FRAMES \
            or sum(map(len, envelope)) > ENVELOPE_BYTES:
        return None
    return envelope, rest[0]


def members(frame):
    """The messages of a frame, None for each that cannot be read (sections 2 and 9)."""
    whole = decode(frame)
    if whole is None or not whole.batch:
        return [whole]
    if len(whole.ListFields()) > 1 or whole.UnknownFields() or len(whole.batch) > BATCH:
        return [None]
    inner = [decode(data) for data in whole.batch]
    return [None if message is None or message.batch else message for message in inner]


def decode(data):
    try:
        message = Body.FromString(data)
    except DecodeError:
        return None
    ok = (data and message.type in (SINGLE, BOUNCE, ERROR) and LEGACY <= message.kind <= BYE
          and len(message.sender.encode()) <= 64 and len(message.target.encode()) <= 64
          and len(message.to_life) <= 64 and len(message.rows) <= 64
          and all(SELF <= row.outcome <= NEVER_SENT for row in message.rows))
    return message if ok else None


def frames_of(messages):
    """Encoded, in as few frames as section 9 allows."""
    batch, size = [], 0
    for data in [message.SerializeToString() for message in messages] + [None]:
        if batch and (data is None or len(batch) == BATCH or size + len(data) > BATCH_BYTES):
            yield batch[0] if len(batch) == 1 else Body(batch=batch).SerializeToString()
            batch, size = [], 0
        if data is not None:
            batch.append(data)
            size += len(data) + 8
