# SPDX-License-Identifier: MIT
"""A replica that does what the original program did: original.py PEERS NAME

It knows the first three fields of a message and nothing else. One loop reads one REP socket; a
client's message is bounced to each peer over a REQ, and only when all have answered, or not within
2 s, does the loop go on. A REQ without an answer is closed and opened anew. Whatever it does not
know ends it.

For the tests it prints ready and deliver lines, and on the text "hold" waits for a line on stdin
before it answers. It ends with 0 on SIGTERM.
"""
import json
import signal
import sys

import zmq
from zmqnet_pb2 import BOUNCE, SINGLE, Body

TIMEOUT_MS = 2000
TURN_MS = 20


def say(*words):
    print(*words, flush=True)


class Remote:
    """One peer, asked in lock step."""

    def __init__(self, context, name, address):
        self.context, self.name, self.address = context, name, address
        self.open()

    def open(self):
        self.socket = self.context.socket(zmq.REQ)
        self.socket.connect(f"tcp://{self.address}")

    def send(self, text):
        self.socket.send(Body(type=BOUNCE, sender=self.name, message=text).SerializeToString())

    def receive(self):
        """True when it has answered."""
        if self.socket.poll(TIMEOUT_MS):
            Body.FromString(self.socket.recv())
            return True
        self.socket.close(linger=0)
        self.open()
        return False


class Original:
    def __init__(self, path, name):
        with open(path, encoding="utf-8") as file:
            peers = {r["name"]: r["address"] for r in json.load(file)["replicas"]}
        self.name, self.context = name, zmq.Context()
        self.port = self.context.socket(zmq.REP)
        self.port.bind(f"tcp://{peers[name]}")
        self.remotes = [Remote(self.context, peer, address)
                        for peer, address in peers.items() if peer != name]
        say("ready", name)

    def run(self):
        while True:
            # A signal that comes just before a call that blocks for ever would not be seen.
            while not self.port.poll(TURN_MS):
                pass
            message = Body.FromString(self.port.recv())
            text = self.handle(message)
            self.port.send(Body(type=SINGLE, sender=self.name, message=text).SerializeToString())

    def handle(self, message):
        if message.type not in (SINGLE, BOUNCE):
            raise ValueError(f"type {message.type}")
        text = message.message.decode()
        say("deliver", message.sender or "-", "0" * 16, text)
        if text == "hold":
            sys.stdin.readline()
        if message.type == BOUNCE:
            return b"ACK"
        for remote in self.remotes:
            remote.send(message.message)
        acks = [remote.receive() for remote in self.remotes]
        return b"%d acks" % sum(acks)


def end(*_):
    sys.exit(0)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, end)
    replica = Original(*sys.argv[1:])
    try:
        replica.run()
    finally:
        replica.context.destroy(linger=0)
