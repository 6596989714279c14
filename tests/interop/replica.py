# SPDX-License-Identifier: MIT
"""A replica of the pattern `router`, written from docs/wire.md alone: replica.py PEERS NAME

It shares no code with zmqnet, and with the tests only the schema. One thread, one ROUTER for all
who ask us, one DEALER for each peer that we ask (replica_link.py). The handler refuses
"refuse CODE TEXT", and answers anything else with "got " and the message.

It prints the ready and deliver lines of `zmqnet serve`, and ends with 0 on SIGTERM.
"""
import collections
import secrets
import signal
import socket
import sys
import time

import zmq
from replica_calls import CALLERS, Call, Window
from replica_link import DOWN, UP, Link
from replica_wire import (ECLASH, ECLOSED, EFULL, EHELLO, ELIFE, ENAME, ENOPEER, EPATTERN, EPROTO,
                          EVERSION, FITTING, PATTERN, VERSION, Refusal, frames_of, members,
                          read_peers, split)
from zmqnet_pb2 import (ACKED, BOUNCE, BYE, ERROR, HELLO, LEGACY, NEVER_SENT, PING, PONG, REFUSED,
                        REPLY, REQUEST, SELF, SINGLE, STATUS, SUBMIT, UNKNOWN, Body)

TURN_MS, STOP_S, RETRY_S = 10, 1, 1
CALLS = 4096
ITSELF = 4  # as the state of a StatusPeer; the others are those of a link


def say(*words):
    print(*words, flush=True)


class Replica:
    def __init__(self, path, name):
        self.name, self.life = name, secrets.randbits(64) | 1
        self.peers, self.peers_hash = read_peers(path)
        self.seq, self.began, self.stopping = 0, time.monotonic(), None
        self.counters = collections.Counter()
        self.window, self.lives = Window(), {}
        self.calls = collections.OrderedDict()  # (origin, seq) -> Call, finished ones too
        self.greeted_by = {}                    # routing id -> (name, life) of its hello
        self.waiting = {}                       # name -> (envelope, hello) of another life
        self.answers = collections.defaultdict(list)
        self.context = zmq.Context()
        self.port = self.context.socket(zmq.ROUTER)
        host, port = self.peers[name]
        self.port.bind(f"tcp://{socket.gethostbyname(host)}:{port}")
        self.links = {peer: Link(self, peer, address)
                      for peer, address in self.peers.items() if peer != name}

    def count(self, what):
        self.counters[what] += 1

    def body(self, kind, **fields):
        return Body(**{"type": BOUNCE, "kind": kind, "sender": self.name, **fields})

    def hello(self, to, **fields):
        return self.body(HELLO, life=self.life, version=VERSION, peers_hash=self.peers_hash,
                         pattern=PATTERN, target=to, **fields)

    # ---- the loop ----

    def run(self):
        signal.signal(signal.SIGTERM, lambda *_: setattr(self, "stopping", time.monotonic()))
        host, port = self.peers[self.name]
        say(f"ready {self.name} tcp://{host}:{port} {PATTERN} {len(self.links)} peers")
        while not self.may_end():
            readable = [self.port] + [link.socket for link in self.links.values()]
            zmq.zmq_poll([(each, zmq.POLLIN) for each in readable], TURN_MS)
            while self.port.poll(0):
                self.asked(self.port.recv_multipart())
            for link in self.links.values():
                link.receive()
            self.turn(time.monotonic())
        for link in self.links.values():
            link.outbox.append(self.body(BYE, life=self.life))
        self.turn(time.monotonic())
        self.context.destroy(linger=100)

    def may_end(self):
        waits = any(call.receipt is None for call in self.calls.values())
        return self.stopping and (not waits or time.monotonic() - self.stopping > STOP_S)

    def turn(self, now):
        for name in list(self.waiting):
            if self.links[name].state != UP:
                self.accept(*self.waiting.pop(name))
        for call in [call for call in self.calls.values() if call.receipt is None]:
            for name in call.open_names():
                if self.links[name].state == UP and now - call.last_sent.get(name, now) > RETRY_S:
                    self.request(call, self.links[name])
            self.settle(call)
        for envelope, bodies in self.answers.items():
            for frame in frames_of(bodies):
                self.port.send_multipart([*envelope, frame])
        self.answers.clear()
        for link in self.links.values():
            link.turn(now)

    # ---- what comes to our port ----

    def asked(self, frames):
        envelope, body = split(frames) or (None, None)
        if envelope is None:
            self.count("bad_envelope")
            return
        for message in members(body):
            try:
                self.dispatch(envelope, message)
            except Refusal as no:
                self.answer(envelope, message, REPLY, type=ERROR, code=no.code,
                            message=no.text.encode())

    def dispatch(self, envelope, message):
        if message is None:
            self.count("malformed")
            raise Refusal(EPROTO, "cannot be understood")
        handlers = {LEGACY: self.on_legacy, HELLO: self.on_hello, PING: self.on_ping,
                    REQUEST: self.on_request, SUBMIT: self.on_submit, STATUS: self.on_status,
                    BYE: self.on_bye}
        if message.kind in handlers:
            handlers[message.kind](envelope, message)
        else:
            self.count("wrong_way")

    def answer(self, envelope, question, kind, **fields):
        """Echoes the id; says whose it is, if the asker has said hello (section 6)."""
        name, life = self.greeted_by.get(envelope[0], ("", 0))
        fields = {"type": BOUNCE if name else SINGLE, **fields}
        if kind == REPLY and question is not None:
            fields.update(origin=question.origin, seq=question.seq, to_life=[life] if life else [])
        self.answers[envelope].append(self.body(kind, **fields))

    def on_hello(self, envelope, hello):
        try:
            self.check(hello)
        except Refusal as no:
            refused = self.hello(hello.sender, type=ERROR, code=no.code, message=no.text.encode())
            self.answers[envelope].append(refused)
            return
        link = self.links.get(hello.sender)
        if link and link.state == UP and link.life != hello.life:
            self.waiting[hello.sender] = envelope, hello
            link.ping(time.monotonic())
        else:
            self.accept(envelope, hello)

    def check(self, hello):
        if hello.target != self.name and (hello.target or hello.sender):
            raise Refusal(ENAME, f"this is {self.name}, not {hello.target}")
        if hello.sender == self.name:
            raise Refusal(ENAME if hello.life == self.life else ECLASH, "this is my name")
        if hello.sender and hello.sender not in self.peers:
            raise Refusal(ENOPEER, f"{hello.sender} is not in the peers file")
        if hello.version != VERSION:
            raise Refusal(EVERSION, f"version {hello.version} is not {VERSION}")
        if hello.sender and hello.pattern not in FITTING:
            raise Refusal(EPATTERN, f"{self.name} speaks {PATTERN}, "
                                    f"{hello.sender} speaks {hello.pattern}")

    def accept(self, envelope, hello):
        """A hello on a second connection replaces the first one of that replica."""
        old = [key for key, (name, _) in self.greeted_by.items() if name == hello.sender]
        for key in old if hello.sender else old[:-CALLERS]:
            del self.greeted_by[key]
        self.greeted_by[envelope[0]] = hello.sender, hello.life
        if hello.sender:
            self.lives[hello.life] = hello.sender
        sort = BOUNCE if hello.sender else SINGLE
        self.answers[envelope].append(self.hello(hello.sender, type=sort))

    def decide_clash(self, link, life):
        """The peer has said which life it is: who waits under its name is this one, or another."""
        envelope, hello = self.waiting.pop(link.name, (None, None))
        if hello and hello.life == life:
            self.accept(envelope, hello)
        elif hello:
            self.answers[envelope].append(self.hello(
                hello.sender, type=ERROR, code=ECLASH, message=b"another of that name is alive"))

    def on_ping(self, envelope, ping):
        self.answer(envelope, ping, PONG, life=self.life, seq=ping.seq)

    def on_bye(self, envelope, bye):
        name, life = self.greeted_by.get(envelope[0], ("", 0))
        if not bye.sender:
            self.window.end(bye.life)
        elif (name, life) == (bye.sender, bye.life):
            for call in self.calls.values():
                if call.receipt is None and name in call.open_names() and call.sendings[name]:
                    call.close_row(name, UNKNOWN, "it ended")
            self.links[name].reopen("it ended")

    def on_request(self, envelope, message):
        name, _ = self.greeted_by.get(envelope[0], ("", 0))
        if not name or message.sender != name:
            raise Refusal(EHELLO, "no hello on this connection, or of another")
        self.check_id(envelope, message)
        code, text = self.window.run(message, lambda: self.handle(name, message))
        self.answer(envelope, message, REPLY, code=code, message=text)

    def check_id(self, envelope, message):
        """Whose id it is, and for which life it is meant (sections 4 and 5)."""
        owner = self.lives.get(message.origin, "")
        if message.origin == self.life or owner and (
                self.greeted_by.get(envelope[0]) != (owner, message.origin)):
            raise Refusal(EHELLO, "the id of another replica")
        if message.to_life and self.life not in message.to_life:
            raise Refusal(ELIFE, "meant for another life of this replica")

    def handle(self, name, message):
        """The handler: (code, answer)."""
        text = message.message.decode(errors="replace")
        say(f"deliver {name} {message.origin:016x}-{message.seq} {text}")
        if text.startswith("refuse "):
            _, code, why = text.split(" ", 2)
            return int(code), why.encode()
        return 0, b"got " + message.message

    def on_legacy(self, envelope, message):
        """Section 11."""
        if message.type == BOUNCE:
            code, _ = self.handle("unknown", message)
            fields = {"type": ERROR, "message": b"REFUSED"} if code else {"message": b"ACK"}
            self.answers[envelope].append(Body(sender=self.name, **fields))
        elif message.type == SINGLE:
            self.submit(envelope, Body(message=message.message))
        else:
            raise Refusal(EPROTO, "no question")

    # ---- a client's message, which we coordinate ----

    def on_submit(self, envelope, ask):
        self.check_id(envelope, ask)
        if ask.target and ask.target not in self.peers:
            raise Refusal(ENOPEER, f"{ask.target} is not in the peers file")
        known = self.calls.get((ask.origin, ask.seq)) if ask.origin else None
        if known is None:
            self.submit(envelope, ask)
        else:
            known.envelope = envelope
            if known.receipt:
                self.answers[envelope].append(known.receipt)

    def submit(self, envelope, ask):
        if self.stopping:
            raise Refusal(ECLOSED, "the replica is closing")
        if sum(call.receipt is None for call in self.calls.values()) >= CALLS:
            raise Refusal(EFULL, "too many at once")
        if not ask.origin:
            self.seq += 1
            ask.origin, ask.seq = self.life, self.seq
        _, life = self.greeted_by.get(envelope[0], ("", 0))
        receipt = self.body(REPLY, type=SINGLE, origin=ask.origin, seq=ask.seq,
                            to_life=[life] if life else [])
        call = Call(ask, envelope, list(self.peers), receipt)
        if self.name in call.rows:
            self.run_here(call)
        self.calls[ask.origin, ask.seq] = call
        if len(self.calls) > 2 * CALLS:
            self.calls = collections.OrderedDict(
                pair for pair in list(self.calls.items())[CALLS:] if pair[1].receipt is None)
        for name in call.open_names():
            link = self.links[name]
            if link.state == UP:
                self.request(call, link)
            elif link.state == DOWN:
                call.close_row(name, NEVER_SENT, link.cause[:200])
        self.settle(call)

    def run_here(self, call):
        """Our own handler comes first; if it refuses, nothing is bounced."""
        code, text = self.window.run(call.ask, lambda: self.handle(self.name, call.ask))
        call.close_row(self.name, REFUSED if code else SELF, code=code, reply=text)
        for name in call.open_names() if code else ():
            call.close_row(name, NEVER_SENT, f"{self.name} refused it")

    def request(self, call, link):
        name, now = link.name, time.monotonic()
        call.sendings[name] += 1
        call.first_sent.setdefault(name, now)
        call.last_sent[name] = now
        call.life.setdefault(name, link.life)
        link.outbox.append(self.body(
            REQUEST, origin=call.ask.origin, seq=call.ask.seq, message=call.ask.message,
            to_life=[call.life[name]], attempt=call.sendings[name],
            idempotent=call.ask.idempotent, budget_ms=max(1, int((call.deadline - now) * 1000))))

    def link_up(self, link):
        """Sends what waits for the peer: to the life that it was first sent to, or to any."""
        for call in list(self.calls.values()):
            if call.receipt is not None or link.name not in call.open_names():
                continue
            if call.ask.idempotent:
                call.life.pop(link.name, None)
            if call.life.get(link.name, link.life) == link.life:
                self.request(call, link)
            else:
                call.close_row(link.name, UNKNOWN, "restarted")

    def replied(self, name, reply):
        call = self.calls.get((reply.origin, reply.seq))
        if reply.sender != name or call is None or name not in call.rows:
            self.count("reply_to_nothing")
        elif call.receipt is not None:
            self.count("late_reply")
        elif name not in call.open_names() or reply.code in (EFULL, ECLOSED):
            self.count("reply_without_effect")
        elif reply.code < 0:
            call.close_not_done(name, reply.message.decode(errors="replace")[:200])
        else:
            call.close_row(name, REFUSED if reply.code else ACKED, code=reply.code,
                           reply=reply.message)

    def settle(self, call):
        if call.receipt is not None or not call.finish(time.monotonic()):
            return
        if call.ask.kind == LEGACY:
            text = f"{call.receipt.have}/{len(call.rows)} acked"
            self.answers[call.envelope].append(Body(sender=self.name, message=text.encode()))
        else:
            self.answers[call.envelope].append(call.receipt)

    def on_status(self, envelope, question):
        now = time.monotonic()
        reply = self.body(REPLY, type=SINGLE, origin=question.origin, seq=question.seq)
        view = reply.status
        view.name, view.pattern, view.life = self.name, PATTERN, self.life
        view.uptime_us = int((now - self.began) * 1e6)
        for name, (host, port) in self.peers.items():
            link = self.links.get(name)
            view.peers.add(name=name, endpoint=f"tcp://{host}:{port}",
                           state=link.state if link else ITSELF, cause=link.cause if link else "")
        for name, value in self.counters.items():
            view.counters.add(name=name, value=value)
        self.answers[envelope].append(reply)


if __name__ == "__main__":
    Replica(*sys.argv[1:]).run()
