# SPDX-License-Identifier: MIT
"""Faults of the links of one replica, by the fault proxy; tests/support/survive.py has what must hold.

`*>charlie` are the links on which the others ask charlie, `charlie>*` those on which charlie asks.
"""

import contextlib
import time

import pytest

from support import env, patterns, proxy
from support.mesh import DOWN, SLOW, UP
from support.proxied import ProxiedMesh
from support.survive import FULL, cases, seconds_until_down, survive

ALL = ("*>charlie", "charlie>*")


def peer_of(mesh, name, other):
    with mesh.client(name) as client:
        return next(peer for peer in client.status().peers if peer.name == other)


def down(mesh, *causes):
    """alpha sees charlie down, for one of these causes if any are given."""
    def seen():
        peer = peer_of(mesh, "alpha", "charlie")
        return peer.state == DOWN and (not causes or peer.cause in causes)
    return seen


def open_at_alpha(mesh, count):
    """So many are sent to charlie and not answered, or wait to be sent. Or it was too slow even for
    pings."""
    def seen():
        peer = peer_of(mesh, "alpha", "charlie")
        return peer.inflight + peer.queue_messages > count or peer.state == DOWN
    return seen


def connected(mesh, count):
    """So many more connections were made on the links than there were."""
    before = sum(link.accepted for link in mesh.links(*ALL))
    return lambda: sum(link.accepted for link in mesh.links(*ALL)) >= before + count


# What it is: what is done to which links, a line after the other, and how it is seen.
FAULTS = {
    "slow": (["*charlie* delay 40 20"], lambda mesh: open_at_alpha(mesh, 10)),
    "slow drain": (["*charlie* throttle 4000"], lambda mesh: open_at_alpha(mesh, 100)),
    "half open": (["*charlie* stall"], lambda mesh: down(mesh, "silent")),
    "answers do not come": (["*>charlie stall back", "charlie>* stall there"],
                            lambda mesh: down(mesh, "silent")),
    "cut in mid-message": (["*charlie* cut 1 3000"], lambda mesh: connected(mesh, 16)),
    "refused": (["*charlie* refuse", "*charlie* reset"],
                lambda mesh: down(mesh, "connection refused")),
    "dropped": (["*charlie* drop", "*charlie* reset"], down),
    "no handshake": (["*charlie* hold", "*charlie* reset"],
                     lambda mesh: down(mesh, "no ZeroMQ handshake")),
    "reset again and again": (["*charlie* reset"] * 6, lambda mesh: connected(mesh, 12)),
    "closed again and again": (["*charlie* close"] * 6, lambda mesh: connected(mesh, 12)),
}


@pytest.mark.limit(90 if FULL else 30)
@pytest.mark.parametrize("pattern", patterns.PATTERNS if FULL else ["router"])
@pytest.mark.parametrize("lines, seen",
                         **cases(FAULTS, ["slow drain", "half open", "cut in mid-message"]))
def test_link_fault(lines, seen, pattern):
    @contextlib.contextmanager
    def fault(mesh):
        condition = seen(mesh)
        played = mesh.proxy.play("\n".join(f"{60 * n} {line}" for n, line in enumerate(lines)))
        yield lambda: played.done() and condition()
        for link in mesh.links(*ALL):
            link.heal()
    with ProxiedMesh(pattern=pattern) as mesh:
        survive(mesh, fault)


@pytest.mark.limit(90 if FULL else 30)
@pytest.mark.parametrize("pattern", patterns.PATTERNS if FULL else ["pubsub"])
def test_one_way_cut(pattern):
    """What charlie says to alpha does not arrive; the way from alpha to charlie is open, and bravo
    hears both."""
    @contextlib.contextmanager
    def fault(mesh):
        for link, way in mesh.one_way("charlie", "alpha"):
            link.stall(way)
        yield lambda: (peer_of(mesh, "alpha", "charlie").state == DOWN
                       and peer_of(mesh, "charlie", "alpha").state == DOWN)
        assert peer_of(mesh, "bravo", "charlie").state in (UP, SLOW)
        assert peer_of(mesh, "charlie", "bravo").state in (UP, SLOW)
        for link, _ in mesh.one_way("charlie", "alpha"):
            link.heal()
    with ProxiedMesh(pattern=pattern) as mesh:
        survive(mesh, fault)


SILENT_S = 2.0       # 500 ms until it is pinged, three patiences of 500 ms
SILENT_BUSY_S = 8.0  # patiences of up to 2 s, and time in which who looks did not run itself
QUICK_US = 50_000    # answers within this leave the patience at 500 ms


def all_was_quick(mesh, name):
    """This one itself was never late, and charlie's answers were quick."""
    with mesh.client(name) as client:
        view = client.status()
    rtt_us = next(peer.rtt_us for peer in view.peers if peer.name == "charlie")
    return rtt_us < QUICK_US and not {c.name: c.value for c in view.counters}["loop_late"]


@pytest.mark.limit(90 if FULL else 30)
@pytest.mark.parametrize("pattern", patterns.PATTERNS if FULL else ["router"])
def test_killed_host(pattern):
    """kill -9, and no FIN, RST or refusal tells of it. Two ask it all the time, delta never does."""
    def kill(mesh):
        for link in mesh.links(*ALL):
            link.stall()
            link.hold()
        silent_since = time.time()
        mesh.kill("charlie")
        return silent_since

    @contextlib.contextmanager
    def fault(mesh):
        took = seconds_until_down(mesh, "charlie", lambda: kill(mesh))
        for name, seconds in took.items():
            most = SILENT_S + 0.1 if all_was_quick(mesh, name) else SILENT_BUSY_S
            assert seconds < most * env.SCALE, took
        yield lambda: peer_of(mesh, "alpha", "charlie").state == DOWN
        for link in mesh.links(*ALL):
            link.heal()
            link.reset()
        mesh.start("charlie")
    with ProxiedMesh(4, pattern=pattern) as mesh:
        survive(mesh, fault)


@pytest.mark.limit(60)
@pytest.mark.parametrize("pattern", patterns.PATTERNS if FULL else ["router"])
def test_a_large_body_on_a_slow_link(pattern):
    """A ping waits behind it for longer than a silence is borne. The link is slow, and not given up."""
    body = b"x" * (16 << 20 if FULL else 10 << 20)
    with ProxiedMesh(pattern=pattern) as mesh:
        for link in mesh.links("*>charlie", "charlie>*"):
            link.throttle(4_000_000, "there")
        sent = mesh.send("--quorum", "all", "--timeout", "50s", "-", via="alpha", stdin=body,
                         seconds=55)
        assert sent.code == 0, sent.err
        assert not mesh.procs["alpha"].err.matching("peer.down .*silent")
        mesh.finish()


@pytest.mark.limit(90 if FULL else 30)
@pytest.mark.parametrize("seed", range(1, 6 if FULL else 2))
def test_random_faults(seed):
    """Of charlie's links, one after the other; seed N draws the same ones each time."""
    @contextlib.contextmanager
    def fault(mesh):
        links = [link.name for link in mesh.links(*ALL)]
        played = mesh.proxy.play(proxy.random_script(seed, links, 60 if FULL else 8))
        yield played.done
        played.result()
    with ProxiedMesh(seed=seed) as mesh:
        survive(mesh, fault)


def test_greets_and_drops():
    """charlie's port greets and drops, time and again: alpha comes back ever more slowly. When that
    is over, it takes no longer than the longest back-off."""
    with ProxiedMesh() as mesh:
        link = mesh.proxy.links["alpha>charlie"]
        before, end = link.accepted, time.monotonic() + 1.5
        while time.monotonic() < end:
            if peer_of(mesh, "alpha", "charlie").state in (UP, SLOW):
                link.reset()
        assert 4 <= link.accepted - before <= 16, "two connections for each try"
        mesh.linked()
