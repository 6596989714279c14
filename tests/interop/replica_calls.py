# SPDX-License-Identifier: MIT
"""What replica.py remembers: the answers of its handler, and the messages that it coordinates."""

import collections
import time

from replica_wire import (EFULL, EINVAL, ENEVERSENT, ENOQUORUM, EREFUSED, ETOOOLD, EUNKNOWN,
                          Refusal)
from zmqnet_pb2 import ACKED, NEVER_SENT, NONE, REFUSED, SELF, UNKNOWN

BUDGET_MS, BUDGET_MAX_MS = 6000, 300000
CALLERS, ANSWERS, REMEMBER_S = 4096, 1024, 330


class Window:
    """The answers of the handler by id, so that it runs at most once for each (section 5)."""

    def __init__(self):
        # origin -> [forgotten up to, {seq: answer}, last seen]; who was seen last comes last
        self._callers = collections.OrderedDict()

    def run(self, message, handler):
        """The stored answer, or what handler() returns now."""
        if not message.origin:
            return handler()
        caller = self._caller(message.origin)
        self._forget(caller, message.floor)
        forgotten, answers, _ = caller
        if message.seq <= forgotten:
            raise Refusal(ETOOOLD, "older than what is remembered of its origin")
        if message.seq not in answers:
            answers[message.seq] = handler()
            if len(answers) > ANSWERS:
                self._forget(caller, min(answers))
        return answers[message.seq]

    def _caller(self, origin):
        now = time.monotonic()
        if origin not in self._callers and len(self._callers) == CALLERS:
            oldest = next(iter(self._callers))
            if now - self._callers[oldest][2] < REMEMBER_S:
                raise Refusal(EFULL, "too many callers")
            del self._callers[oldest]
        caller = self._callers.setdefault(origin, [0, {}, now])
        caller[2] = now
        self._callers.move_to_end(origin)
        return caller

    def end(self, origin):
        """All ids of this origin are finished."""
        if origin in self._callers:
            self._forget(self._callers[origin], 2**64)

    @staticmethod
    def _forget(caller, floor):
        if floor > caller[0]:
            caller[:2] = floor, {seq: answer for seq, answer in caller[1].items() if seq > floor}


class Call:
    """A client's message: a row for each replica, until the receipt is made (section 7)."""

    def __init__(self, ask, envelope, names, body):
        self.ask, self.envelope, self.body = ask, envelope, body
        self.receipt = None
        budget_ms = min(ask.budget_ms or BUDGET_MS, BUDGET_MAX_MS)
        self.deadline = time.monotonic() + budget_ms / 1000
        asked = [ask.target] if ask.target else names
        if not -1 <= ask.quorum <= len(names):
            raise Refusal(EINVAL, "the quorum makes no sense")
        self.need = {0: len(asked), -1: len(asked) // 2 + 1}.get(ask.quorum, ask.quorum)
        if ask.target:
            self.need = 1
        body.need = self.need
        self.rows = {name: self.body.rows.add(name=name) for name in asked}
        self.sendings = dict.fromkeys(asked, 0)
        self.first_sent, self.last_sent, self.life = {}, {}, {}

    def open_names(self):
        return [name for name, row in self.rows.items() if row.outcome == NONE]

    def close_row(self, name, outcome, why="", code=0, reply=b""):
        row = self.rows[name]
        row.outcome, row.why, row.code, row.reply = outcome, why, code, reply
        if name in self.first_sent and outcome in (ACKED, REFUSED):
            row.rtt_us = int((time.monotonic() - self.first_sent[name]) * 1e6)

    def close_not_done(self, name, why):
        """It did not happen by the copy that was refused; of earlier ones that says nothing."""
        self.close_row(name, UNKNOWN if self.sendings[name] > 1 else NEVER_SENT, why)

    def finish(self, now):
        """True when the receipt can be made: quorum, no quorum possible, or the deadline."""
        yes = sum(row.outcome in (SELF, ACKED) for row in self.rows.values())
        if yes < self.need <= yes + len(self.open_names()) and now < self.deadline:
            return False
        for name in self.open_names():
            if self.sendings[name]:
                self.close_row(name, UNKNOWN, "not answered yet")
            else:
                self.close_row(name, NEVER_SENT, "not connected")
        self.body.have = yes
        self.body.code = 0 if yes >= self.need else self._why_not()
        self.receipt = self.body
        return True

    def _why_not(self):
        only = {row.outcome for row in self.rows.values()} if self.ask.target else set()
        if only & {UNKNOWN, NEVER_SENT}:
            return EUNKNOWN if UNKNOWN in only else ENEVERSENT
        here = self.rows.get(self.body.sender)
        return EREFUSED if only or here and here.outcome == REFUSED else ENOQUORUM
