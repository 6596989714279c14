# SPDX-License-Identifier: MIT
"""Clients that speak the wire format through pyzmq and protobuf, without our library."""

import functools
import importlib
import random
import subprocess
import sys
import tempfile

import zmq

from support.env import ROOT, SCALE

_random = random.SystemRandom()


@functools.cache
def proto():
    """The Python module that protoc makes of proto/zmqnet.proto."""
    with tempfile.TemporaryDirectory() as out:
        subprocess.run(["protoc", f"--proto_path={ROOT / 'proto'}", f"--python_out={out}",
                        "zmqnet.proto"], check=True)
        sys.path.insert(0, out)
        try:
            return importlib.import_module("zmqnet_pb2")
        finally:
            sys.path.remove(out)


def body(**fields):
    return proto().Body(**fields)


def new_origin():
    return _random.getrandbits(64) | 1


def decode(data):
    return proto().Body.FromString(data)


def flatten(message):
    """The messages of a frame: itself, or those of a batch."""
    return [decode(item) for item in message.batch] or [message]


class Client:
    """A client at one replica. `sort` is how its envelope looks:

    req         a plain REQ socket
    correlated  REQ with the request id frame in front of the delimiter
    dealer      DEALER that sends the delimiter itself
    bare        DEALER without a delimiter
    """

    def __init__(self, port, sort="req", host="127.0.0.1"):
        self.sort = sort
        self.origin, self.seq = new_origin(), 0
        self._context = zmq.Context()
        self.socket = self._context.socket(zmq.REQ if sort in ("req", "correlated") else zmq.DEALER)
        self.socket.linger = 0
        if sort == "correlated":
            self.socket.req_correlate = 1
            self.socket.req_relaxed = 1
        self.socket.connect(f"tcp://{host}:{port}")

    def send_raw(self, data):
        self.socket.send_multipart([b"", data] if self.sort == "dealer" else [data])

    def recv_raw(self, seconds=5):
        """The next answer's body frame, or None after `seconds`."""
        if not self.socket.poll(int(seconds * SCALE * 1000)):
            return None
        frames = self.socket.recv_multipart()
        if self.sort == "dealer":
            assert frames[0] == b"", frames
            frames = frames[1:]
        assert len(frames) == 1, frames
        return frames[0]

    def send(self, message):
        self.send_raw(message.SerializeToString())

    def recv(self, seconds=5):
        data = self.recv_raw(seconds)
        return None if data is None else decode(data)

    def ask(self, message, seconds=5):
        self.send(message)
        answer = self.recv(seconds)
        assert answer is not None, f"no answer in {seconds} s to\n{message}"
        return answer

    def submit_body(self, text, **fields):
        """A SUBMIT with the next id; fields replace what is set here."""
        if "seq" not in fields:
            self.seq += 1
        values = dict(type=proto().SINGLE, kind=proto().SUBMIT, message=text.encode(),
                      origin=self.origin, seq=self.seq, budget_ms=5000, attempt=1)
        values.update(fields)
        return body(**values)

    def submit(self, text, **fields):
        return self.ask(self.submit_body(text, **fields))

    def status(self):
        """The replica's own view, as a StatusView."""
        self.seq += 1
        answer = self.ask(body(type=proto().SINGLE, kind=proto().STATUS, origin=self.origin,
                               seq=self.seq, budget_ms=5000))
        assert answer.HasField("status"), answer
        return answer.status

    def close(self):
        self._context.destroy(linger=0)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def is_complete(answer, names):
    """True for a receipt with every replica acked, the coordinator's own row included."""
    outcome = proto().Outcome
    rows = {row.name: row.outcome for row in answer.rows}
    return (answer.kind == proto().REPLY and answer.code == 0 and sorted(rows) == sorted(names)
            and sorted(rows.values()) == sorted([outcome.Value("SELF")]
                                                + [outcome.Value("ACKED")] * (len(names) - 1)))
