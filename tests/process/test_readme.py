# SPDX-License-Identifier: MIT
"""What the README of the original program promises, letter for letter, but for the port numbers."""

import os
import re
import shlex

from support import env
from support.mesh import Mesh
from support.proc import run
from support.wait import wait_until


def _path():
    """An environment in which `zmqnet` is the built command."""
    return {"PATH": f"{env.BUILD}{os.pathsep}{os.environ['PATH']}"}


def test_four_terminals():
    with Mesh(run=0, host="localhost") as mesh:
        for name in mesh.names:
            command = shlex.split(f"zmqnet -p peers.json serve -n {name}")
            mesh.procs[name] = mesh.spawn(*command, extra_env=_path())
        for name in mesh.names:
            mesh.wait_ready(name)
            port = mesh.port[name]
            assert mesh.procs[name].out.all() == [
                f"ready {name} tcp://localhost:{port} router 2 peers"]
        mesh.linked()

        command = shlex.split('zmqnet -p peers.json send -n bravo "this is a test message"')
        sent = run(*command, cwd=mesh.dir, extra_env=_path())
        assert sent.code == 0, sent
        head = re.match(r"bravo  ([0-9a-f]{16}-\d+)  quorum 3/3 in [\d.]+ m?s\n", sent.out)
        assert head, sent
        assert re.search(r"^  alpha +acked +[\d.]+ ms$", sent.out, re.M), sent
        assert re.search(r"^  charlie +acked +[\d.]+ ms$", sent.out, re.M), sent

        for name in mesh.names:
            assert mesh.wait_delivered(name, "this is a test message") == [
                ("bravo", head[1], "this is a test message")]


def test_peers_path_variable():
    with Mesh() as mesh:
        sent = run(env.ZMQNET, "send", "-n", "bravo", "--json", "hello", cwd="/",
                   extra_env={"PEERS_PATH": str(mesh.path)})
        assert sent.code == 0, sent
        assert [row["name"] for row in sent.json["peers"]] == ["alpha", "bravo", "charlie"]


def test_peers_file_of_the_working_directory():
    with Mesh() as mesh:
        sent = run(env.ZMQNET, "send", "-n", "bravo", "hello", cwd=mesh.dir)
        assert sent.code == 0, sent


def test_an_option_wins_over_its_variable():
    with Mesh() as mesh:
        by_variable = {"PEERS_PATH": "/nowhere", "ZMQNET_PEERS": str(mesh.path),
                       "ZMQNET_NAME": "bravo", "ZMQNET_JSON": "1"}
        sent = run(env.ZMQNET, "send", "hello", cwd="/", extra_env=by_variable)
        assert (sent.code, sent.json["via"]) == (0, "bravo"), sent
        sent = run(env.ZMQNET, "send", "--name", "alpha", "hello", cwd="/", extra_env=by_variable)
        assert (sent.code, sent.json["via"]) == (0, "alpha"), sent


def test_options_stand_before_or_after_the_verb():
    with Mesh() as mesh:
        for line in ("-n alpha --json -p peers.json send hello",
                     "send hello -p peers.json -n alpha --json",
                     "--peers=peers.json send --name=alpha --json -- hello"):
            sent = run(env.ZMQNET, *shlex.split(line), cwd=mesh.dir)
            assert (sent.code, sent.json["via"]) == (0, "alpha"), sent


def test_uptime_ends_a_replica():
    with Mesh(run=0) as mesh:
        proc = mesh.spawn_zmqnet("serve", "-n", "alpha", "--uptime", "300ms")
        assert proc.wait(5) == 0
        assert proc.out.matching("^ready alpha ")


def test_quiet_prints_no_deliver_lines():
    with Mesh(run=0) as mesh:
        mesh.start("alpha", args=["--quiet"])
        mesh.start("bravo")
        mesh.linked()
        assert mesh.send("hello", "-q", "2").code == 0
        mesh.wait_delivered("bravo", "hello")
        assert mesh.end("alpha") == 0
        assert len(mesh.procs["alpha"].out.all()) == 1


def test_serve_json():
    with Mesh(run=0) as mesh:
        mesh.start("alpha", "bravo", "charlie", args=["--json"])
        mesh.linked()
        sent = mesh.send("this is a test message")
        assert sent.code == 0, sent
        out = mesh.procs["alpha"].out
        wait_until(lambda: len(out.all()) == 2, 5, "the deliver line")
        ready, deliver = out.all()
        assert ready == ('{"v":1,"event":"ready","name":"alpha","endpoint":"%s","pattern":"router",'
                         '"peers":2,"pid":%d}' % (mesh.endpoint("alpha"), mesh.procs["alpha"].pid))
        assert deliver == ('{"v":1,"event":"deliver","from":"bravo","id":"%s","bytes":22,'
                           '"message":"this is a test message"}' % sent.json["id"])
