# SPDX-License-Identifier: MIT
"""A peers file and its replicas, as processes of the built command."""

import collections
import json
import pathlib
import signal
import tempfile

from support import build, env, ports, wire
from support.proc import Proc, zmqnet
from support.wait import wait_until

NAMES = ("alpha", "bravo", "charlie", "delta", "echo", "foxtrot", "golf", "hotel", "india", "juliett",
         "kilo", "lima", "mike", "november", "oscar", "papa", "quebec", "romeo", "sierra", "tango")

UP, DOWN, SLOW = 2, 3, 5  # states of a peer, as proto/zmqnet.proto numbers them

Delivery = collections.namedtuple("Delivery", "origin id text")


def peers_text(port_of, host="127.0.0.1", more_ports_of=None):
    """A peers file in the shape of the original program. more_ports_of: "ports" of each name."""
    replicas = [{
        "pid": 1000 + i, "name": name, "address": f"{host}:{port}", "host": "apollo",
        "ipaddr": "127.0.0.1", "port": port,
    } for i, (name, port) in enumerate(port_of.items())]
    for replica in replicas if more_ports_of else ():
        replica["ports"] = more_ports_of[replica["name"]]
    info = {"num_replicas": len(replicas), "updated": "2017-07-13T13:36:53.158Z"}
    return json.dumps({"info": info, "replicas": replicas}, indent=2) + "\n"


class Mesh:
    """Replicas of one peers file in a directory of their own.

    with Mesh(3) as mesh: all three run and are linked.  Mesh(3, run=1): only alpha runs.
    pattern: what they speak among themselves.  obedient: names of those that run replica.c.
    When the block ends well, each replica that still runs must end with 0 on SIGTERM. When it ends
    badly, everything that the processes wrote is printed. In any case all of them are gone.
    """

    def __init__(self, count=3, run=None, host="127.0.0.1", pattern="router", obedient=()):
        self.names = NAMES[:count]
        self.pattern = pattern
        self._obedient = obedient
        self._run = self.names[:count if run is None else run]
        self._scratch = tempfile.TemporaryDirectory(prefix="zmqnet-test-")
        self.dir = pathlib.Path(self._scratch.name)
        self.port = dict(zip(self.names, ports.take(count)))
        self.path = self.dir / "peers.json"
        self.more_ports = self._more_ports()
        self.path.write_text(peers_text(self.port, host, self.more_ports))
        self.procs = {}
        self.kills = collections.Counter()
        self._lives = collections.defaultdict(list)
        self._all = []

    def _more_ports(self):
        """Only pubsub has more than one port; its defaults may be another test's."""
        if self.pattern != "pubsub":
            return None
        return {name: dict(zip(("pub", "ack"), ports.take(2))) for name in self.names}

    def endpoint(self, name):
        return f"tcp://127.0.0.1:{self.port[name]}"

    # ---- processes ----

    def spawn(self, *argv, **kwargs):
        """Any process; it is shown and killed with the mesh."""
        kwargs.setdefault("cwd", self.dir)
        proc = Proc(argv, **kwargs)
        self._all.append(proc)
        return proc

    def path_of(self, name):
        """The peers file that this replica is started with."""
        return self.path

    def spawn_zmqnet(self, *args, **kwargs):
        return self.spawn(env.ZMQNET, "-p", self.path, *args, **kwargs)

    def start(self, *names, args=(), argv=None):
        """Start replicas; return when each has said that it is ready. argv: another program."""
        for name in names:
            command = argv or [env.ZMQNET, "-p", self.path_of(name), "serve", "-n", name,
                               "--pattern", self.pattern, *args]
            self.adopt(name, self.spawn(*command))
        for name in names:
            self.wait_ready(name)

    def adopt(self, name, proc):
        """This process is the replica `name` from now on."""
        self.procs[name] = proc
        self._lives[name].append(proc)

    def start_obedient(self, *names):
        """Start replicas whose handler does what the message says, see replica.c; a line on their
        stdin lets them answer what they hold."""
        for name in names:
            self.start(name, argv=[build.program("replica.c"), self.path, name, self.pattern])

    def wait_ready(self, name):
        proc = self.procs[name]
        said = r'^ready |"event":"ready"'
        wait_until(lambda: proc.out.matching(said) or proc.code is not None, 5, f"{name} is ready")
        assert proc.code is None, f"{proc} ended"

    def running(self):
        return [name for name, proc in self.procs.items() if proc.code is None]

    def linked(self, *names):
        """Return when each of these (default: all that run) sees the others of them up."""
        names = names or self.running()
        for name in names:
            self.wait_up(name, names)

    def wait_up(self, name, others):
        """Return when replica `name` sees all of the others up, or up and slow."""
        others = set(others) - {name}

        def up():
            return {peer.name for peer in client.status().peers if peer.state in (UP, SLOW)}
        with self.client(name) as client:
            wait_until(lambda: others <= up(), 10, f"{name} sees {sorted(others)} up")

    def wait_refused(self, name, other):
        """Return when replica `name` knows that nobody listens at the port of `other`."""
        def refused():
            peers = {peer.name: peer for peer in client.status().peers}
            return peers[other].state == DOWN and peers[other].cause == "connection refused"
        with self.client(name) as client:
            wait_until(refused, 10, f"{name} sees {other} down")

    def kill(self, name):
        """SIGKILL. The others may not know yet."""
        self.kills[name] += 1
        self.procs[name].kill()

    def lose(self, name):
        """SIGKILL; return when the others that run know."""
        self.kill(name)
        for other in self.running():
            self.wait_refused(other, name)

    def pause(self, name):
        self.procs[name].signal(signal.SIGSTOP)

    def resume(self, name):
        self.procs[name].signal(signal.SIGCONT)

    def end(self, name):
        """SIGTERM; returns the exit code."""
        self.procs[name].signal(signal.SIGTERM)
        return self.procs[name].wait()

    def finish(self):
        """SIGTERM all that run; each has to end with 0. After this deliveries() is complete."""
        names = self.running()
        for name in names:
            self.resume(name)
            self.procs[name].signal(signal.SIGTERM)
        codes = {name: self.procs[name].wait() for name in names}
        assert not any(codes.values()), f"exit codes on SIGTERM: {codes}"

    # ---- what it says ----

    def zmqnet(self, *args, **kwargs):
        """A command of this mesh, run to its end."""
        kwargs.setdefault("cwd", self.dir)
        return zmqnet("-p", self.path, *args, **kwargs)

    def send(self, *args, via="bravo", **kwargs):
        return self.zmqnet("send", "-n", via, "--json", *args, **kwargs)

    def client(self, name, sort="req"):
        return wire.Client(self.port[name], sort)

    def deliveries(self, name, text=None):
        """What the handler of `name` got in this life, as far as it was written and read by now, or
        only the messages with this text."""
        return [d for d in _deliveries(self.procs[name]) if text is None or d.text == text]

    def deliveries_ever(self, name):
        """What the handler of `name` got in all lives that start() has begun."""
        return [d for proc in self._lives[name] for d in _deliveries(proc)]

    def wait_delivered(self, name, text, seconds=5):
        return wait_until(lambda: self.deliveries(name, text), seconds, f"{name} delivers {text!r}")

    def view(self, name):
        """What `status --json -n NAME` prints."""
        return self.zmqnet("status", "--json", "-n", name).json

    def counters(self, name):
        return counters_of(self.view(name))

    def wait_counted(self, name, counter, at_least=1):
        return wait_until(lambda: self.counters(name)[counter] >= at_least, 5,
                          f"{name} counts {at_least} {counter}")

    def peer(self, name, of):
        """The row of `of` in the view of `name`."""
        return peers_of(self.view(name))[of]

    # ---- life ----

    def __enter__(self):
        try:
            if self._run:
                self.start(*(name for name in self._run if name not in self._obedient))
                self.start_obedient(*self._obedient)
                self.linked()
        except BaseException:
            self._close(failed=True)
            raise
        return self

    def __exit__(self, kind, _value, _trace):
        failed = True
        try:
            if kind is None:
                self.finish()
                self._check()
                failed = False
        finally:
            self._close(failed)

    def _check(self):
        """What holds in every test: no sanitizer spoke, no life ran a handler twice for one id."""
        for proc in self._all:
            assert not proc.trouble(), proc.trouble()
            ids = [d.id for d in _deliveries(proc) if not d.id.startswith("0" * 16)]
            assert len(ids) == len(set(ids)), f"{proc} ran a handler twice for one id"

    def _close(self, failed):
        for proc in self._all:
            proc.kill()
        for proc in self._all if failed else ():
            proc.show()
        self._scratch.cleanup()


def _deliveries(proc):
    split = (line.split(" ", 3) for line in proc.out.matching("^deliver ")) if proc.out else ()
    return [Delivery(*(parts[1:] + [""])[:3]) for parts in split]


def counters_of(view):
    return view["counters"]


def peers_of(view):
    return {peer["name"]: peer for peer in view["peers"]}
