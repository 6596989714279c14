# SPDX-License-Identifier: MIT
"""Clients that keep replicas busy: in closed loops, each in a thread, or with much open at once."""

import collections
import threading
import time

from support import wire

MAJORITY = -1
REST_S = 0.001  # for a client that is not to take all it can get of the machine

# A coordinator asks again after a third of the five seconds that these messages have. An answer
# that comes later was lost, or waited for somebody.
FIRST_RETRY_SECONDS = 1.6

# answer: None if none came in time
Asked = collections.namedtuple("Asked", "via text answer seconds")


class Load:
    """A client at each of these replicas that sends its next message when the last is answered.

    with Load(mesh, names) as load: they run; afterwards load.asked() is complete. A client that got
    no answer within patience_s stops. `fields` are those of its messages; it rests for rest_s after
    each of them.
    """

    def __init__(self, mesh, names, rest_s=0, patience_s=FIRST_RETRY_SECONDS, **fields):
        self._stop = False
        self._resting = threading.Event()
        self._rest_s = rest_s
        self._patience_s = patience_s
        self._asked = {name: [] for name in names}
        self._threads = [threading.Thread(target=self._run, args=(mesh, name, fields))
                         for name in names]

    def _run(self, mesh, name, fields):
        to = fields.get("target", "all")
        with mesh.client(name, "dealer") as client:
            while not self._stop:
                message = client.submit_body(f"{name} to {to} {client.seq}", **fields)
                begin = time.monotonic()
                client.send(message)
                answer = client.recv(self._patience_s)
                self._asked[name].append(Asked(name, message.message.decode(), answer,
                                               time.monotonic() - begin))
                if answer is None:
                    return
                if self._rest_s:
                    self._resting.wait(self._rest_s)

    def asked(self, *names):
        """What these (default: all) have sent so far, and what they were told."""
        return [one for name in names or self._asked for one in self._asked[name]]

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self._stop = True
        self._resting.set()
        for thread in self._threads:
            thread.join()


def take_answers(client, count, seconds=10):
    """The next `count` answers, by the seq of what they answer. `client` is a DEALER."""
    answers = {}
    limit = time.monotonic() + seconds
    while len(answers) < count:
        frame = client.recv(max(0, limit - time.monotonic()))
        assert frame is not None, f"{len(answers)} of {count} answers in {seconds} s"
        answers.update((answer.seq, answer) for answer in wire.flatten(frame))
    return answers
