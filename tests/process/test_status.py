# SPDX-License-Identifier: MIT
"""`status` and `wait`: who reaches whom. Every replica of the file stands in every answer."""

import re

from support import env, ports
from support.env import ROOT
from support.mesh import Mesh, peers_of, peers_text
from support.proc import run

PEER_KEYS = ["name", "endpoint", "state", "since_us", "cause", "rtt_us", "queue_messages",
             "queue_bytes", "inflight", "sent", "acked", "refused", "unknown", "never_sent",
             "retries", "late", "config_differs"]


def counter_names():
    text = (ROOT / "src/core/counters.h").read_text()
    return re.findall(r"^    X\((\w+),", text, re.M)


def test_view_of_one_replica():
    with Mesh() as mesh:
        for _ in range(3):
            assert mesh.send("hello").code == 0
        view = mesh.view("bravo")
        assert (view["name"], view["pattern"]) == ("bravo", "router")
        assert re.fullmatch("[0-9a-f]{16}", view["life"]) and view["uptime_us"] > 0
        assert list(view["counters"]) == counter_names()
        assert view["counters"]["broadcasts"] == 3 and view["counters"]["delivered"] == 3
        peers = peers_of(view)
        assert list(peers) == list(mesh.names)
        assert {name: peer["state"] for name, peer in peers.items()} == {
            "alpha": "up", "bravo": "self", "charlie": "up"}
        for name in ("alpha", "charlie"):
            assert set(PEER_KEYS) >= set(peers[name])
            assert peers[name]["endpoint"] == mesh.endpoint(name)
            assert (peers[name]["sent"], peers[name]["acked"]) == (3, 3)
            assert peers[name]["rtt_us"] > 0


def test_view_of_a_killed_peer():
    with Mesh() as mesh:
        mesh.lose("charlie")
        assert mesh.send("hello").code == 4
        charlie = mesh.peer("bravo", "charlie")
        assert (charlie["state"], charlie["cause"]) == ("down", "connection refused")
        assert (charlie["sent"], charlie["never_sent"]) == (0, 1)


def test_all_for_people():
    with Mesh() as mesh:
        mesh.lose("charlie")
        done = mesh.zmqnet("status")
        assert done.code == 3, done
        assert "2/3" in done.out
        for name in mesh.names:
            assert re.search(rf"^\W*{name}\b", done.out, re.M), done
        assert re.search("^.*charlie.*connection refused.*$", done.out, re.M), done


def test_all_for_programs():
    with Mesh() as mesh:
        mesh.lose("charlie")
        done = mesh.zmqnet("status", "--json")
        assert done.code == 3, done
        assert (done.json["v"], done.json["answer"], done.json["of"]) == (1, 2, 3)
        replicas = {replica["name"]: replica for replica in done.json["replicas"]}
        assert list(replicas) == list(mesh.names)
        assert (replicas["charlie"]["state"], replicas["charlie"]["sees"]) == ("down", 0)
        assert replicas["charlie"]["cause"] == "connection refused"
        assert (replicas["alpha"]["state"], replicas["alpha"]["sees"]) == ("up", 2)
        assert list(replicas["alpha"]["counters"]) == counter_names()


def test_status_of_a_replica_that_is_not_there():
    with Mesh(run=2) as mesh:
        done = mesh.zmqnet("status", "-n", "charlie", "--json")
        assert done.code == 6, done
        assert done.json["ok"] is False and done.json["error"]["exit"] == 6


def test_wait_returns_when_the_last_one_is_up():
    with Mesh(run=0) as mesh:
        mesh.start("alpha", "bravo")
        wait = mesh.spawn_zmqnet("wait", "-t", "10s")
        mesh.start("charlie")
        assert wait.wait(5) == 0
        assert mesh.send("hello").code == 0


def test_wait_started_before_the_mesh():
    with Mesh(run=0) as mesh:
        wait = mesh.spawn_zmqnet("wait", "-n", "alpha", "--quorum", "2", "-t", "10s")
        mesh.start("alpha", "charlie")
        assert wait.wait(5) == 0
        assert mesh.send("hello", "-q", "2", via="alpha").code == 0


def wall_off(mesh):
    """Give each replica a file in which the others are where nobody listens."""
    for name in mesh.names:
        elsewhere = dict(zip(mesh.names, ports.take(len(mesh.names))))
        elsewhere[name] = mesh.port[name]
        path = mesh.dir / f"{name}.json"
        path.write_text(peers_text(elsewhere))
        mesh.start(name, argv=[env.ZMQNET, "-p", path, "serve", "-n", name])


def test_no_majority_where_nobody_sees_one():
    with Mesh(run=0) as mesh:
        wall_off(mesh)
        done = mesh.zmqnet("status")
        assert done.code == 4, done
        assert "3/3 replicas answer" in done.out and done.out.count("sees 1/3") == 3, done
        waited = mesh.zmqnet("wait", "-q", "2", "-t", "200ms")
        assert waited.code == 4, waited
        assert "0 of the 2 wanted replicas see 2/3 up" in waited.err, waited


def test_a_replica_with_another_peers_file():
    with Mesh(run=2) as mesh:
        more = dict(mesh.port)
        more["delta"], = ports.take(1)
        path = mesh.dir / "more.json"
        path.write_text(peers_text(more))
        mesh.start("charlie", argv=[env.ZMQNET, "-p", path, "serve", "-n", "charlie"])
        mesh.linked()
        done = mesh.zmqnet("status")
        assert done.code == 3, done
        assert re.search("^charlie +up +sees 3/4 .*its peers file differs", done.out, re.M), done
        assert done.out.count("differs") == 1, done
        assert done.out.endswith("\nmend first: the peers file of charlie, which has replicas that ours "
                                 "does not have\n"), done


def test_stopped_replica_delays_the_others_by_the_timeout_only():
    with Mesh() as mesh:
        before_us = mesh.view("alpha")["uptime_us"]
        mesh.pause("charlie")
        waited = mesh.zmqnet("status", "--json").json
        done = mesh.zmqnet("status")
        one = mesh.zmqnet("status", "-n", "charlie")
        mesh.resume("charlie")
        assert done.code == 3 and done.seconds < 2 * env.SCALE, done
        assert waited["replicas"][0]["uptime_us"] - before_us > 900_000  # not as it was before the wait
        assert re.search("^charlie +unknown ", done.out, re.M), done
        assert re.search("^2/3 replicas answer", done.out, re.M), done
        assert one.code in (5, 6) and "kill -CONT" in one.err, one


def test_status_of_all_that_are_dead_is_quick():
    with Mesh(run=0) as mesh:
        done = mesh.zmqnet("status")
        assert done.code == 4 and done.out.count("connection refused") == 3, done
        assert done.seconds < 0.5 * env.SCALE, done


def test_many_replicas_with_few_descriptors(tmp_path):
    path = tmp_path / "peers.json"
    path.write_text(peers_text(dict((f"r{i}", port) for i, port in enumerate(ports.take(64)))))
    for limit, codes in ((1024, (4,)), (60, (1,))):
        done = run("bash", "-c", f'ulimit -n {limit}; "$0" -p "$1" status', env.ZMQNET, path)
        assert done.code in codes, done
        if codes == (1,):
            assert "descriptor" in done.err, done


def test_status_for_people_says_since_when():
    with Mesh() as mesh:
        done = mesh.zmqnet("status")
        assert done.code == 0, done
        assert re.search(r"^alpha +up +sees 3/3 +router +up for \d", done.out, re.M), done
