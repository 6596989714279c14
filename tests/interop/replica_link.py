# SPDX-License-Identifier: MIT
"""The connection of replica.py to one peer: docs/wire.md, section 4."""

import time

import zmq
from replica_wire import EHELLO, FITTING, VERSION, frames_of, members
from zmqnet_pb2 import ERROR, HELLO, PING, PONG, REPLY

PING_S, DOWN_S, AGAIN_S = 0.5, 2, 1
CONNECTING, UP, DOWN = 1, 2, 3


class Link:
    """Requests out, answers in.

    With ZMQ_IMMEDIATE a DEALER can be written to only while it is connected, which is how a new
    connection is seen, and its end. A new one begins with our hello; the proper answer makes it up.
    """

    def __init__(self, replica, name, address):
        self.replica, self.name, self.address = replica, name, address
        self.life, self.cause, self.socket = 0, "", None
        self.outbox = []
        self.reopen("connecting")

    def reopen(self, cause):
        if self.socket:
            self.socket.close(linger=0)
        self.socket = self.replica.context.socket(zmq.DEALER)
        self.socket.setsockopt(zmq.IMMEDIATE, 1)
        self.socket.setsockopt(zmq.SNDHWM, 0)
        self.socket.setsockopt(zmq.RECONNECT_IVL_MAX, 1000)
        self.socket.connect(f"tcp://{self.address[0]}:{self.address[1]}")
        self.lost(cause)

    def lost(self, cause):
        self.state, self.cause = (CONNECTING if not self.life else DOWN), cause
        self.greeted = self.pinged = self.heard = 0.0
        self.outbox.clear()

    def greet(self):
        self.greeted = self.heard = time.monotonic()
        self.outbox.append(self.replica.hello(self.name))

    def turn(self, now):
        """Everything that depends on the connection and on the time."""
        connected = self.socket.getsockopt(zmq.EVENTS) & zmq.POLLOUT
        if not connected:
            if self.greeted:
                self.lost("connection lost")
        elif not self.greeted:
            self.greet()
        elif now - self.heard > DOWN_S:
            self.reopen("silent" if self.state == UP else self.cause)
        elif self.state == UP and now - max(self.heard, self.pinged) > PING_S:
            self.ping(now)
        if connected and self.greeted:
            for frame in frames_of(self.outbox):
                self.socket.send(frame)
            self.outbox.clear()

    def ping(self, now):
        self.pinged = now
        self.outbox.append(self.replica.body(PING, life=self.replica.life))

    def receive(self):
        while self.socket.poll(0):
            frames = self.socket.recv_multipart()
            for message in members(frames[0]) if len(frames) == 1 else [None]:
                self.heard = time.monotonic()
                self.handle(message)

    def handle(self, message):
        if message is None or message.kind not in (HELLO, PONG, REPLY):
            self.replica.count("bad_on_link")
        elif message.kind == HELLO:
            self.greeting(message)
        elif message.kind == PONG:
            self.replica.decide_clash(self, message.life)
            if message.life != self.life:
                self.greet()
        elif message.to_life and self.replica.life not in message.to_life:
            self.replica.count("stale_reply")
        elif message.code == EHELLO:
            if self.heard - self.greeted > AGAIN_S:
                self.greet()
        else:
            self.replica.replied(self.name, message)

    def greeting(self, message):
        """Their answer to our hello."""
        if message.code or message.type == ERROR:
            self.state, self.cause = DOWN, message.message.decode(errors="replace")
        elif message.life == self.replica.life or message.sender != self.name:
            self.state, self.cause = DOWN, f"this is {message.sender}"
        elif message.version != VERSION or message.pattern not in FITTING:
            self.state, self.cause = DOWN, "version or pattern do not fit"
        else:
            self.state, self.cause, self.life = UP, "", message.life
            self.replica.lives[message.life] = self.name
            self.replica.decide_clash(self, message.life)
            self.replica.link_up(self)
