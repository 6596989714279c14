# SPDX-License-Identifier: MIT
"""Replicas that speak different patterns in one mesh: they work together, or say why not."""

import pytest

from support.mesh import Mesh
from support.wait import wait_until


def start(mesh, patterns):
    for name, pattern in patterns.items():
        mesh.start(name, args=("--pattern", pattern))


@pytest.mark.parametrize("patterns", [
    {"alpha": "router", "bravo": "reqrep", "charlie": "router"},
    {"alpha": "reqrep", "bravo": "router", "charlie": "reqrep"},
], ids=" ".join)
def test_router_and_reqrep_work_together(patterns):
    with Mesh(run=0) as mesh:
        start(mesh, patterns)
        mesh.linked()
        for name in mesh.names:
            sent = mesh.send(f"through {name}", via=name)
            assert sent.code == 0 and sent.json["quorum"]["have"] == 3, sent
        mesh.lose("charlie")
        mesh.start("charlie", args=("--pattern", patterns["charlie"]))
        mesh.linked()
        assert mesh.send("after").code == 0
        mesh.finish()
        assert [len(mesh.deliveries("alpha", f"through {name}")) for name in mesh.names] == [1, 1, 1]


@pytest.mark.parametrize("other", ["router", "reqrep"])
def test_pubsub_and_another_refuse_each_other(other):
    """With a sentence that names both patterns, on both sides."""
    with Mesh(run=0, pattern="pubsub") as mesh:
        start(mesh, {"alpha": "pubsub", "bravo": "pubsub", "charlie": other})
        mesh.linked("alpha", "bravo")

        def cause(name, of):
            row = mesh.peer(name, of)
            return row["cause"] if row["state"] == "down" else ""

        for name, pattern in (("alpha", "pubsub"), ("bravo", "pubsub")):
            wait_until(lambda: cause(name, "charlie") ==
                       f"charlie speaks {other}, {name} speaks pubsub", 5, f"{name} says why")
            wait_until(lambda: cause("charlie", name) ==
                       f"{name} speaks pubsub, charlie speaks {other}", 5, "charlie says why")
        sent = mesh.send("hello", via="alpha")
        assert sent.code == 4, sent
        row = {peer["name"]: peer for peer in sent.json["peers"]}["charlie"]
        assert row["outcome"] == "never_sent" and "charlie speaks" in row["why"], row
        assert mesh.send("hello", "-q", "majority", via="alpha").code == 0
