# SPDX-License-Identifier: MIT
"""Packets that a firewall drops: what TCP and libzmq make of it, which no proxy shows.

Three replicas in network namespaces of their own. In each case bravo hears both others, and a
majority of it and one of them is not slowed.
"""

import pytest

from support import netns
from support.survive import cases

reason = netns.usable()
pytestmark = pytest.mark.skipif(reason is not None, reason=str(reason))


def outcomes(sent):
    return {row["name"]: row["outcome"] for row in sent.json["peers"]}


def majority_is_quick(mesh):
    """At every replica: nobody waits for one that is not heard."""
    for name in mesh.names:
        sent = mesh.zmqnet("send", "-n", name, "-q", "majority", "-t", "20s", "hello", at=name)
        assert sent.code == 0 and sent.seconds < 5, sent


CUTS = {
    # What alpha sends to charlie, answers and TCP's own acknowledgements too, is lost: so neither
    # hears the other.
    "all that it sends": ("ip daddr {charlie}", {"alpha": "down", "charlie": "down"}),
    # alpha cannot reach charlie's port, and charlie reaches alpha's: one direction alone is down.
    "its connections": ("ip daddr {charlie} tcp dport 3264", {"alpha": "down", "charlie": "up"}),
}


@pytest.mark.parametrize("packets, seen", **cases(CUTS, ["its connections"]))
def test_one_way_cut(packets, seen):
    with netns.NetnsMesh() as mesh:
        mesh.firewall("alpha", packets.format(**mesh.address) + " drop")
        mesh.wait_states("alpha", charlie=seen["alpha"])
        mesh.wait_states("charlie", alpha=seen["charlie"])
        mesh.wait_states("bravo", alpha="up", charlie="up")
        majority_is_quick(mesh)
        sent = mesh.zmqnet("send", "-n", "alpha", "-t", "20s", "--json", "hello", at="alpha")
        assert sent.code == 4 and sent.seconds < 5, sent
        assert outcomes(sent)["charlie"] == "never_sent"
        mesh.firewall("alpha", "")
        mesh.linked()
        sent = mesh.zmqnet("send", "-n", "alpha", "hello", at="alpha")
        assert sent.code == 0, sent
