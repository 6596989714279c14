# SPDX-License-Identifier: MIT
"""Faults of one replica as a process, and strangers at its port, while the other two are busy;
tests/support/survive.py has what must hold.
"""

import contextlib
import functools
import os
import resource

import pytest

from support import env, patterns, ports, strangers
from support.ledger import MIB, check_prompt
from support.mesh import DOWN, Mesh, peers_of, peers_text
from support.survive import FULL, cases, seconds_until_down, survive
from support.wait import wait_until

HEARTBEAT_S = 0.5
EVERY_PATTERN = list(patterns.PATTERNS) if FULL else ["router"]

each_pattern = pytest.mark.parametrize("pattern", EVERY_PATTERN)


def always():
    return True


def state_of(mesh, name, other):
    with mesh.client(name) as client:
        return next(peer.state for peer in client.status().peers if peer.name == other)


# ---- killed, stopped, restarted ----

def kill_9(mesh, victim):
    """Down at all others within three heartbeats."""
    took = seconds_until_down(mesh, victim, lambda: mesh.kill(victim))
    assert max(took.values()) < 3 * HEARTBEAT_S * env.SCALE, took
    for name in took:
        assert state_of(mesh, name, victim) == DOWN


@each_pattern
@pytest.mark.parametrize("count", [3, 5])
def test_kill_9(count, pattern):
    """Two ask it all the time, the others never do; and up when it is started again."""
    @contextlib.contextmanager
    def fault(mesh):
        kill_9(mesh, "charlie")
        yield always
        mesh.start("charlie")
    with Mesh(count, pattern=pattern) as mesh:
        survive(mesh, fault)


@pytest.mark.limit(60)
@each_pattern
@pytest.mark.parametrize("count", [3, 5, 20] if FULL else [3, 5])
def test_kill_9_when_idle(count, pattern):
    """Nobody asks anybody anything. Among 20, links are pinged only every 950 ms."""
    with Mesh(count, pattern=pattern) as mesh:
        for victim in mesh.names[-5:] if FULL else mesh.names[-1:]:
            kill_9(mesh, victim)
            mesh.start(victim)
            mesh.linked()


@each_pattern
def test_stop_and_continue(pattern):
    """It has requests, and gets more, until it is down; what it got it runs later, once."""
    @contextlib.contextmanager
    def fault(mesh):
        mesh.pause("charlie")
        yield lambda: state_of(mesh, "alpha", "charlie") == DOWN
        mesh.resume("charlie")
    with Mesh(pattern=pattern) as mesh:
        outcomes = survive(mesh, fault)
        assert outcomes["NEVER_SENT"] > 0


@pytest.mark.limit(120)
@each_pattern
def test_restart_storm(pattern):
    """Killed and started, time and again; every other time before it was up."""
    @contextlib.contextmanager
    def fault(mesh):
        for turn in range(100 if FULL else 4):
            mesh.kill("charlie")
            mesh.start("charlie")
            if turn % 2:
                mesh.wait_up("alpha", ["charlie"])
        yield always
    with Mesh(pattern=pattern) as mesh:
        survive(mesh, fault)


# ---- what it may use ----

def start_limited(mesh, *limits):
    mesh.adopt("charlie", mesh.spawn_zmqnet("serve", "-n", "charlie", limits=limits))
    mesh.wait_ready("charlie")
    mesh.linked()


def stays_up(mesh, come):
    """A fault: so many strangers, during which nobody loses charlie."""
    def lost():
        return [line for name in ("alpha", "bravo")
                for line in mesh.procs[name].err.matching("peer.(down|connecting) peer=charlie")]

    @contextlib.contextmanager
    def fault(mesh):
        before = len(lost())
        with come(mesh) as seen:
            yield seen
        assert len(lost()) == before, lost()
    return fault


def elsewhere(come, *limits):
    """The same strangers at a charlie of another mesh: the processor they take from all, whoever it is
    that they come to."""
    @contextlib.contextmanager
    def calm():
        with Mesh(run=0) as other:
            start_limited(other, *limits)
            with come(other):
                yield
    return calm


def test_log_on_a_full_disk():
    """Records that cannot be written are lost, and nothing else is: neither when the others come and
    go, nor when strangers are complained of."""
    def come(mesh):
        return _until(strangers.malformed(mesh.port["charlie"]), 10)
    with Mesh(run=2) as mesh:
        mesh.start("charlie", argv=["sh", "-c", 'exec "$@" 2>/dev/full', "sh", env.ZMQNET, "-p",
                                    mesh.path, "serve", "-n", "charlie"])
        mesh.lose("alpha")
        mesh.start("alpha")
        mesh.linked()
        survive(mesh, stays_up(mesh, come), counted="bad_protobuf", calm=elsewhere(come))


def test_output_on_a_disk_that_fills_up():
    """It ends and says why; what it has acked and cannot show any more, it ran."""
    @contextlib.contextmanager
    def fault(mesh):
        charlie = mesh.procs["charlie"]
        assert charlie.wait(10) == 1
        assert len(charlie.err.matching("^zmqnet: standard output")) == 1, charlie.err.text()
        yield always
        mesh.start("charlie")
    with Mesh(run=2) as mesh:
        size = 60 << 10  # bytes that a file may have; too late for the ready line, soon after
        script = f'trap "" XFSZ; ulimit -f {size // 512}; exec "$@" > charlie.out'
        mesh.procs["charlie"] = mesh.spawn("sh", "-c", script, "sh", env.ZMQNET, "-p", mesh.path,
                                           "serve", "-n", "charlie")
        mesh.kills["charlie"] = 1000  # its file is not read
        mesh.linked("alpha", "bravo")
        survive(mesh, fault)


@pytest.mark.skipif(env.SCALE > 1, reason="sanitizers take memory without end")
def test_memory_limit():
    """Less than all that comes would take: what has no room is dropped, and it goes on."""
    limit = (resource.RLIMIT_AS, 200 * MIB)

    def come(mesh):
        return _until(strangers.large(mesh.port["charlie"]), 10)
    with Mesh(run=2) as mesh:
        start_limited(mesh, limit)
        with come(mesh) as enough:
            wait_until(enough, 10, "large messages")
        survive(mesh, stays_up(mesh, come), counted="over_limit", calm=elsewhere(come, limit),
                prompt=functools.partial(check_prompt, slack_s=0.5), memory_max=200 * MIB)


def waiting_at(port):
    """Connections that the kernel has set up and nobody has taken."""
    with open("/proc/net/tcp") as f:
        listening = [line.split() for line in f if f":{port:04X} 00000000:0000 0A" in line]
    return sum(int(fields[4].split(":")[1], 16) for fields in listening)


def test_descriptor_limit():
    """Three times as many strangers come as there are descriptors, and those that get in stay. The
    others wait outside: at no time is libzmq left with one that it cannot take, which it would try
    without end."""
    most = 300
    limit = (resource.RLIMIT_NOFILE, most)

    @contextlib.contextmanager
    def come(mesh):
        charlie, port = mesh.procs["charlie"], mesh.port["charlie"]
        with strangers.crowd(port, 3 * most):
            yield lambda: (charlie.err.matching("reason=connections_full") and not waiting_at(port)
                           and len(os.listdir(f"/proc/{charlie.pid}/fd")) < most)
    with Mesh(run=2) as mesh:
        start_limited(mesh, limit)
        survive(mesh, stays_up(mesh, come), counted="connections_full", calm=elsewhere(come, limit))


@contextlib.contextmanager
def _until(strangers_come, count):
    """Gives the condition that so many have come."""
    with strangers_come as so_many:
        yield lambda: so_many() >= count


# ---- strangers ----

STRANGERS = {
    "silent": (strangers.silent, 250, "bad_handshake"),
    "flood": (strangers.flood, 500, "bad_handshake"),
    "garbage": (strangers.garbage, 50, "bad_handshake"),
    "malformed": (strangers.malformed, 10, "bad_protobuf"),
    "huge frames": (strangers.huge, 10, None),
}


@pytest.mark.parametrize("come, count, counter",
                         **cases(STRANGERS, ["silent", "flood", "malformed", "huge frames"]))
def test_strangers(come, count, counter):
    """So many come to charlie's port. It counts them, and stays up at the others."""
    def they(mesh):
        return _until(come(mesh.port["charlie"]), count)
    with Mesh() as mesh:
        survive(mesh, stays_up(mesh, they), counted=counter, calm=elsewhere(they),
                memory_max=128 * MIB)


# ---- set up wrongly ----

def another_file(mesh, **moved):
    """The mesh's peers file, but for the ports of these."""
    path = mesh.dir / "another.json"
    path.write_text(peers_text({**mesh.port, **moved}))
    return path


def test_two_replicas_with_one_name():
    """A second charlie elsewhere, again and again: the first one stays, and serves."""
    def come(mesh):
        return _seconds(mesh, another_file(mesh, charlie=ports.take(1)[0]))

    @contextlib.contextmanager
    def _seconds(mesh, path):
        for _ in range(10 if FULL else 2):
            second = mesh.spawn(env.ZMQNET, "-p", path, "serve", "-n", "charlie")
            assert second.wait(5) == 2 and not second.out.matching("^deliver"), second
        yield always
    with Mesh() as mesh:
        survive(mesh, stays_up(mesh, come))


def differing(mesh, name):
    """Whom this one shows with another peers file than its own."""
    return {other for other, row in peers_of(mesh.view(name)).items() if row["config_differs"]}


def test_wrong_peers_file_on_one():
    """charlie believes in a fourth replica: it is shown on all whose file differs, and all is served;
    nothing is shown any more when charlie has the right file."""
    differs = {"alpha": {"charlie"}, "bravo": {"charlie"}, "charlie": {"alpha", "bravo"}}

    @contextlib.contextmanager
    def fault(mesh):
        path = another_file(mesh, delta=ports.take(1)[0])
        mesh.kill("charlie")
        mesh.start("charlie", argv=[env.ZMQNET, "-p", path, "serve", "-n", "charlie"])
        mesh.linked()
        yield always
        for name, others in differs.items():
            assert differing(mesh, name) == others
            rows = mesh.zmqnet("status", "-n", name).out.splitlines()[1:]
            assert {row.split()[0] for row in rows if "its peers file differs" in row} == others
            assert mesh.procs[name].err.matching("config.differs")
        mesh.kill("charlie")
        mesh.start("charlie")
        mesh.linked()
        assert not any(differing(mesh, name) for name in mesh.names)
    with Mesh() as mesh:
        survive(mesh, fault)
