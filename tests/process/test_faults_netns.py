# SPDX-License-Identifier: MIT
"""Packets that a firewall drops: what TCP and libzmq make of it, which no proxy shows.

Three replicas in network namespaces of their own. In each case bravo hears both others, and a
majority of it and one of them is not slowed.
"""

import contextlib

import pytest

from support import netns
from support.mesh import DOWN, SLOW, UP
from support.survive import FULL, cases, survive

reason = netns.usable()
pytestmark = pytest.mark.skipif(reason is not None, reason=str(reason))

REACHED = (UP, SLOW)


def outcomes(sent):
    return {row["name"]: row["outcome"] for row in sent.json["peers"]}


def majority_is_quick(mesh):
    """At every replica: nobody waits for one that is not heard."""
    for name in mesh.names:
        sent = mesh.zmqnet("send", "-n", name, "-q", "majority", "-t", "20s", "hello", at=name)
        assert sent.code == 0 and sent.seconds < 5, sent


def state_of(mesh, name, other):
    with mesh.client(name) as client:
        return next(peer.state for peer in client.status().peers if peer.name == other)


CUTS = {
    # What alpha sends to charlie, answers and TCP's own acknowledgements too, is lost: so neither
    # hears the other.
    "all that it sends": ("ip daddr {charlie}", [DOWN]),
    # alpha cannot reach charlie's port, and charlie reaches alpha's: one direction alone is down.
    "its connections": ("ip daddr {charlie} tcp dport 3264", REACHED),
}


@pytest.mark.limit(90 if FULL else 30)
@pytest.mark.parametrize("packets, at_charlie", **cases(CUTS, ["its connections"]))
def test_one_way_cut(packets, at_charlie):
    """`at_charlie`: how it may see alpha, which sees it down."""
    @contextlib.contextmanager
    def fault(mesh):
        mesh.firewall("alpha", packets.format(**mesh.address) + " drop")
        yield lambda: (state_of(mesh, "alpha", "charlie") == DOWN
                       and state_of(mesh, "charlie", "alpha") in at_charlie)
        assert {state_of(mesh, "bravo", other) for other in ("alpha", "charlie")} <= set(REACHED)
        majority_is_quick(mesh)
        sent = mesh.zmqnet("send", "-n", "alpha", "-t", "20s", "--json", "hello", at="alpha")
        assert sent.code == 4 and sent.seconds < 5, sent
        assert outcomes(sent)["charlie"] == "never_sent"
        mesh.firewall("alpha", "")
    with netns.NetnsMesh() as mesh:
        survive(mesh, fault)
