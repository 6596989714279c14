# SPDX-License-Identifier: MIT
"""A TCP proxy that fails on command. It needs the standard library alone and knows nothing of what
it carries.

A Proxy has links. A link listens at a port (or several), and each connection to it is joined to one
to the port behind. `there` is the way of what the side that connected says, `back` that of the
answers; a fault is of one way, or of both. A link is healthy until it is told otherwise:

    delay MS [JITTER_MS]  bytes arrive so much later, and up to so much more, in their order
    throttle BYTES_PER_S  no more than so many
    stall                 nothing passes, nobody is told; what waits passes after heal
    cut LEAST MOST        each connection is reset after so many more bytes: in mid-message
    reset, close          the open connections end, with RST or with FIN behind what is under way
    refuse, drop, hold    new connections: nobody listens; reset at once; taken and not served
    heal                  all of the above is over

Every verb is a method of Link, and a word of a script: lines of "AT_MS LINKS VERB [ARGUMENTS]
[WAY]", LINKS a shell pattern of names. What is drawn (jitter, where to cut, random_script()) depends
on the seed, the link's name, the number of the connection and the byte, never on time or on how TCP
cut the stream; `decisions` lists it. A connection is reset, not refused, if nobody listens behind.

One thread runs all links; every call is from another one and returns when it has taken effect.
"""

import asyncio
import collections
import contextlib
import dataclasses
import fnmatch
import random
import socket
import struct
import threading

WAYS = ("there", "back")
READ_BYTES = 65536       # the most at once
JITTER_BYTES = 512       # jitter is drawn for each such part of the stream
UNDER_WAY_MAX = 64       # pieces of one way of one connection, read and not passed on yet
THROTTLE_TURNS = 50      # per second
DECISIONS_MAX = 10_000   # the oldest are forgotten


@dataclasses.dataclass(frozen=True)
class Fault:
    """What one way of a link does to bytes; see the verbs above."""

    delay_ms: float = 0
    jitter_ms: float = 0
    bytes_per_s: float = 0
    stalled: bool = False
    cut: tuple = None


Step = collections.namedtuple("Step", "at_ms links verb args")


def parse(script):
    """The steps of a script. ValueError names the line that is wrong."""
    steps = []
    for number, line in enumerate(script.splitlines(), 1):
        words = line.split("#")[0].split()
        if not words:
            continue
        try:
            at_ms, links, verb, *args = words
            steps.append(Step(float(at_ms), links, verb,
                              tuple(a if a in WAYS else float(a) for a in args)))
        except ValueError:
            raise ValueError(f"line {number}: {line!r} is not AT_MS LINKS VERB [ARGUMENTS]") from None
        if verb not in Link.VERBS:
            raise ValueError(f"line {number}: there is no fault {verb!r}")
    return sorted(steps, key=lambda step: step.at_ms)


def random_script(seed, links, count, every_ms=100):
    """A script of `count` faults on these links, each healed before the next one."""
    draw = random.Random(f"script {seed}")
    lines = []
    for turn in range(count):
        verb, args = draw.choice([
            ("delay", [draw.randrange(1, 30), draw.randrange(10)]), ("stall", []),
            ("throttle", [draw.randrange(2000, 50_000)]), ("cut", [1, draw.randrange(2, 3000)]),
            ("reset", []), ("close", []), ("refuse", []), ("drop", []), ("hold", [])])
        if verb in ("delay", "stall", "throttle", "cut"):
            args += draw.choice([[], ["there"], ["back"]])
        link = draw.choice(list(links))
        lines.append(" ".join(map(str, [turn * every_ms, link, verb, *args])))
        lines.append(f"{turn * every_ms + draw.randrange(every_ms // 2, every_ms)} {link} heal")
    return "\n".join(lines) + "\n"


class Proxy:
    """The links, and the thread that runs them."""

    def __init__(self, seed=0):
        self.seed = seed
        self.links = {}
        self.decisions = collections.deque(maxlen=DECISIONS_MAX)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    def link(self, name, ports):
        """A new link. ports: {where we listen: the port behind}, all on 127.0.0.1."""
        link = Link(self, name, ports)
        self.call(link._listen())
        self.links[name] = link
        return link

    def matching(self, pattern="*"):
        return [link for name, link in self.links.items() if fnmatch.fnmatchcase(name, pattern)]

    def play(self, script):
        """Begin a script; returns a future whose result() waits for its end."""
        return asyncio.run_coroutine_threadsafe(self._play(parse(script)), self._loop)

    async def _play(self, steps):
        begin = self._loop.time()
        for step in steps:
            await asyncio.sleep(max(0, begin + step.at_ms / 1000 - self._loop.time()))
            for link in self.matching(step.links):
                await link.apply(step.verb, *step.args)

    def call(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()

    def close(self):
        for link in self.links.values():
            self.call(link.apply("refuse"))
            self.call(link.apply("reset"))
        self.call(self._last_words())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _last_words(self):
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def _verb(name):
    """The blocking form of a verb, for other threads than the proxy's."""
    def method(self, *args, **kwargs):
        self.proxy.call(self.apply(name, *args, **kwargs))
    method.__name__ = name
    return method


class Link:
    """One link; made by Proxy.link(). `accepted` counts connections, `passed` bytes by way."""

    VERBS = ("delay", "throttle", "stall", "cut", "reset", "close", "refuse", "drop", "hold", "heal")
    delay, throttle, stall, cut, reset, close, refuse, drop, hold, heal = map(_verb, VERBS)

    def __init__(self, proxy, name, ports):
        self.proxy = proxy
        self.name = name
        self.ports = dict(ports)
        self.accepted = 0
        self.passed = dict.fromkeys(WAYS, 0)
        self.faults = dict.fromkeys(WAYS, Fault())
        self.connections = set()
        self._admit = "serve"
        self._listening = []
        self._changed = asyncio.Event()

    # ---- the rest runs in the proxy's thread ----

    async def apply(self, verb, *args, **kwargs):
        await getattr(self, f"_do_{verb}")(*args, **kwargs)
        self._changed.set()
        self._changed = asyncio.Event()

    async def change(self):
        """Return after the next verb."""
        await self._changed.wait()

    def decide(self, text):
        self.proxy.decisions.append(f"{self.name} {text}")

    def _set(self, way, **fields):
        for one in [way] if way else WAYS:
            self.faults[one] = dataclasses.replace(self.faults[one], **fields)

    async def _do_delay(self, ms, jitter_ms=0, way=None):
        if jitter_ms in WAYS:
            jitter_ms, way = 0, jitter_ms
        self._set(way, delay_ms=ms, jitter_ms=jitter_ms)

    async def _do_throttle(self, bytes_per_s, way=None):
        self._set(way, bytes_per_s=bytes_per_s)

    async def _do_stall(self, way=None):
        self._set(way, stalled=True)

    async def _do_cut(self, least, most, way=None):
        self._set(way, cut=(int(least), int(most)))
        for connection in self.connections:
            connection.plan_cuts()

    async def _do_reset(self):
        for connection in list(self.connections):
            connection.reset()

    async def _do_close(self):
        for connection in list(self.connections):
            connection.finish()

    async def _do_refuse(self):
        self._admit = "refuse"
        for task, listener in self._listening:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
            listener.close()
        self._listening = []

    async def _do_drop(self):
        self._admit = "drop"
        await self._listen()

    async def _do_hold(self):
        self._admit = "hold"
        await self._listen()

    async def _do_heal(self):
        self._admit = "serve"
        self.faults = dict.fromkeys(WAYS, Fault())
        for connection in self.connections:
            connection.plan_cuts()
        await self._listen()

    async def _listen(self):
        for port, behind in self.ports.items() if not self._listening else ():
            listener = socket.create_server(("127.0.0.1", port), backlog=128)
            listener.setblocking(False)
            task = asyncio.ensure_future(self._accept(listener, behind))
            self._listening.append((task, listener))

    async def _accept(self, listener, behind):
        loop = asyncio.get_running_loop()
        while True:
            near, _ = await loop.sock_accept(listener)
            near.setblocking(False)
            self.accepted += 1
            if self._admit == "drop":
                _abort(near)
                continue
            connection = _Connection(self, self.accepted, near, behind)
            self.connections.add(connection)
            connection.task = asyncio.ensure_future(connection.run())

    async def until_served(self):
        while self._admit == "hold":
            await self.change()


def _abort(sock):
    """Close with RST."""
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


class _Connection:
    """One connection of a link and the one behind it, from accept to the end of both."""

    def __init__(self, link, number, near, behind):
        self.link = link
        self.number = number
        self.near = near
        self.behind = behind
        self.far = None
        self.task = None
        self.pumps = {way: _Pump(self, way) for way in WAYS}
        self.plan_cuts()

    def plan_cuts(self):
        for pump in self.pumps.values():
            pump.plan_cut()

    async def run(self):
        """A connection that ends otherwise than by FIN on both ways is reset on both sides."""
        loop = asyncio.get_running_loop()
        try:
            await self.link.until_served()
            self.far = socket.socket()
            self.far.setblocking(False)
            await loop.sock_connect(self.far, ("127.0.0.1", self.behind))
            for sock in (self.near, self.far):
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            await asyncio.gather(self.pumps["there"].run(self.near, self.far),
                                 self.pumps["back"].run(self.far, self.near))
            self._end(socket.socket.close)
        except (OSError, asyncio.CancelledError):
            self._end(_abort)

    def _end(self, close):
        for pump in self.pumps.values():
            pump.stop()
        for sock in (self.near, self.far):
            if sock:
                close(sock)
        self.link.connections.discard(self)

    def reset(self):
        self.task.cancel()

    def finish(self):
        """The end of input, as if both sides had said it: what is under way still passes."""
        for sock in (self.near, self.far):
            with contextlib.suppress(OSError, AttributeError):
                sock.shutdown(socket.SHUT_RD)


class _Pump:
    """One way of one connection: a reader, what is under way, and a writer."""

    def __init__(self, connection, way):
        self.connection = connection
        self.link = connection.link
        self.way = way
        self.read = 0    # bytes, from the one side
        self.passed = 0  # to the other
        self.cut_at = None
        self._extra_ms = None  # the jitter of the part that is being read
        self._draw = random.Random(
            f"{self.link.proxy.seed} {self.link.name} {connection.number} {way}")
        self._under_way = asyncio.Queue(UNDER_WAY_MAX)
        self._tasks = []

    def decide(self, text):
        self.link.decide(f"{self.connection.number} {self.way} {text}")

    def plan_cut(self):
        cut = self.link.faults[self.way].cut
        self.cut_at = None
        if cut:
            more = self._draw.randint(*cut)
            self.cut_at = self.passed + more
            self.decide(f"cut after {more}")

    async def run(self, source, sink):
        self._tasks = [asyncio.ensure_future(self._read(source)),
                       asyncio.ensure_future(self._write(sink))]
        try:
            await self._tasks[1]
        finally:
            self.stop()

    def stop(self):
        for task in self._tasks:
            task.cancel()

    async def _read(self, source):
        loop = asyncio.get_running_loop()
        end = b""
        try:
            while data := await loop.sock_recv(source, READ_BYTES):
                while data:
                    data = data[await self._late(loop, data):]
        except OSError as error:
            end = error
        await self._under_way.put((0, end))

    async def _late(self, loop, data):
        """Send a part of data on its way; returns how much.

        Whatever pieces the stream comes in, the same parts of it are late by the same jitter.
        """
        fault = self.link.faults[self.way]
        late_ms = fault.delay_ms
        if fault.jitter_ms:
            into = self.read % JITTER_BYTES
            data = data[:JITTER_BYTES - into]
            if into == 0 or self._extra_ms is None:
                self._extra_ms = self._draw.uniform(0, fault.jitter_ms)
                self.decide(f"byte {self.read} later by {self._extra_ms:.3f} ms")
            late_ms += self._extra_ms
        else:
            self._extra_ms = None
        self.read += len(data)
        await self._under_way.put((loop.time() + late_ms / 1000, data))
        return len(data)

    async def _write(self, sink):
        loop = asyncio.get_running_loop()
        while True:
            due, data = await self._under_way.get()
            if due > loop.time():
                await asyncio.sleep(due - loop.time())
            if not data or isinstance(data, OSError):
                await self._unstalled()
                if data:
                    raise data
                sink.shutdown(socket.SHUT_WR)
                return
            while data:
                data = data[await self._pass(loop, sink, data):]

    async def _unstalled(self):
        while self.link.faults[self.way].stalled:
            await self.link.change()

    async def _pass(self, loop, sink, data):
        """Write a part of data; returns how much."""
        await self._unstalled()
        rate = self.link.faults[self.way].bytes_per_s
        if rate:
            data = data[:max(1, int(rate / THROTTLE_TURNS))]
            await asyncio.sleep(len(data) / rate)
        cut = self.cut_at is not None and self.passed + len(data) >= self.cut_at
        if cut:
            data = data[:self.cut_at - self.passed]
        await loop.sock_sendall(sink, data)
        self.passed += len(data)
        self.link.passed[self.way] += len(data)
        if cut:
            raise ConnectionResetError("cut here")
        return len(data)
