# SPDX-License-Identifier: MIT
"""A replica in Python that plays by the rules until the test tells it otherwise.

It owns the port of one name of the peers file. Whoever links to it gets a correct hello and pongs;
each REQUEST is acked, unless `on_request` is replaced. With link_to() it also makes the link in the
other direction, on which it can say whatever it likes.
"""

import queue
import threading

import zmq

from support import wire
from support.wait import wait_until

TURN_MS = 5
VERSION = 1


class FakeReplica:
    """One thread owns the sockets. What it got stands in `hellos` and `requests`."""

    def __init__(self, mesh, name):
        self.name = name
        self.mesh = mesh
        self.life = wire.new_origin()
        self.hellos, self.requests, self.answers = [], [], []
        self.on_request = self.ack
        self._peers_hash = 0
        self._commands = queue.SimpleQueue()
        self._envelope = None
        self._context = zmq.Context()
        self._port = self._context.socket(zmq.ROUTER)
        self._link = None
        self._port.bind(f"tcp://127.0.0.1:{mesh.port[name]}")
        self._stop = False
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    # ---- called by the test ----

    def say(self, message):
        """Send a message back on the connection that asked us last."""
        wait_until(lambda: self._envelope, 5, f"a link to the fake {self.name}")
        self._commands.put(lambda: self._port.send_multipart(
            self._envelope + [message.SerializeToString()]))

    def link_to(self, name, **fields):
        """Make a link to a replica and say hello, properly except for `fields`; returns the
        answer."""
        def connect():
            self._link = self._context.socket(zmq.DEALER)
            self._link.linger = 0
            self._link.connect(self.mesh.endpoint(name))
        self._commands.put(connect)
        return self.ask(self.hello(name, **fields))

    def ask(self, message):
        """Send on our own link and return the next thing that comes back there."""
        have = len(self.answers)
        self._commands.put(lambda: self._link.send(message.SerializeToString()))
        wait_until(lambda: len(self.answers) > have, 5, f"an answer on the link of {self.name}")
        return self.answers[have]

    def hello(self, to, **fields):
        values = dict(type=wire.proto().BOUNCE, kind=wire.proto().HELLO, sender=self.name,
                      target=to, life=self.life, version=VERSION, pattern="router",
                      peers_hash=self._peers_hash)
        values.update(fields)
        return wire.body(**values)

    def request(self, text, **fields):
        """A REQUEST with an id of its own."""
        values = dict(type=wire.proto().BOUNCE, kind=wire.proto().REQUEST, sender=self.name,
                      message=text.encode(), origin=self.life, seq=1, budget_ms=5000, attempt=1)
        values.update(fields)
        return wire.body(**values)

    def ack(self, message):
        """The proper answer to a REQUEST. `on_request` returns a list of messages."""
        return [self.reply(message)]

    def reply(self, message, **fields):
        values = dict(type=wire.proto().BOUNCE, kind=wire.proto().REPLY, sender=self.name,
                      origin=message.origin, seq=message.seq, code=0)
        values.update(fields)
        return wire.body(**values)

    def close(self):
        self._stop = True
        self._thread.join()
        self._context.destroy(linger=0)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    # ---- in the thread ----

    def _run(self):
        while not self._stop:
            if self._port.poll(TURN_MS):
                self._asked(self._port.recv_multipart())
            while not self._commands.empty():
                self._commands.get()()
            while self._link and self._link.poll(0):
                frame = self._link.recv_multipart()[-1]
                self.answers.extend(wire.flatten(wire.decode(frame)))

    def _asked(self, frames):
        self._envelope = frames[:-1]
        for message in wire.flatten(wire.decode(frames[-1])):
            for answer in self._answers_to(message):
                self._port.send_multipart(self._envelope + [answer.SerializeToString()])

    def _answers_to(self, message):
        kinds = wire.proto()
        if message.kind == kinds.HELLO:
            self.hellos.append(message)
            self._peers_hash = message.peers_hash
            return [self.hello(message.sender)]
        if message.kind == kinds.PING:
            return [wire.body(type=kinds.BOUNCE, kind=kinds.PONG, sender=self.name,
                              origin=message.origin, seq=message.seq, life=self.life)]
        if message.kind == kinds.REQUEST:
            self.requests.append(message)
            return self.on_request(message)
        return []
