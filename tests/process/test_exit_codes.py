# SPDX-License-Identifier: MIT
"""Every exit code that a command can return, each brought about once in the plainest way.

A scenario gets a mesh of three with nothing started and returns what was run. No command returns 7
yet; 9 is in test_bench.py.
"""

import contextlib
import signal
import socket

import pytest

from support import build
from support.mesh import Mesh
from support.wait import wait_until


def _started(mesh, *names):
    mesh.start(*(names or mesh.names))
    mesh.linked()
    return mesh


def _with_replica_program(mesh):
    mesh.start("alpha", "bravo")
    mesh.start("charlie", argv=[build.program("replica.c"), mesh.path, "charlie"])
    mesh.linked()
    return mesh


# ---- 0: what was asked for happened ----

def send_to_all(mesh):
    return _started(mesh).zmqnet("send", "-n", "alpha", "hello")


def send_to_a_majority(mesh):
    return _started(mesh, "alpha", "bravo").zmqnet("send", "-n", "alpha", "-q", "majority", "hello")


def status_of_all(mesh):
    return _started(mesh).zmqnet("status")


def status_of_one(mesh):
    return _started(mesh).zmqnet("status", "-n", "charlie")


def wait_for_all(mesh):
    return _started(mesh).zmqnet("wait", "-t", "5s")


def wait_for_one(mesh):
    return _started(mesh).zmqnet("wait", "-n", "alpha", "-t", "5s")


def wait_for_a_majority(mesh):
    return _started(mesh, "alpha", "bravo").zmqnet("wait", "--quorum", "majority", "-t", "5s")


def check_of_a_good_file(mesh):
    return mesh.zmqnet("check")


def serve_until_sigterm(mesh):
    _started(mesh).procs["alpha"].signal(signal.SIGTERM)
    mesh.procs["alpha"].wait()
    return mesh.procs["alpha"]


def serve_until_sigint(mesh):
    _started(mesh).procs["alpha"].signal(signal.SIGINT)
    mesh.procs["alpha"].wait()
    return mesh.procs["alpha"]


# ---- 1: another failure at run time ----

def serve_on_a_taken_port(mesh):
    with contextlib.closing(socket.create_server(("127.0.0.1", mesh.port["alpha"]))):
        return mesh.zmqnet("serve", "-n", "alpha")


def serve_with_the_name_of_a_running_one(mesh):
    return _started(mesh).zmqnet("serve", "-n", "alpha")


# ---- 2: usage or configuration ----

def no_verb(mesh):
    return mesh.zmqnet()


def wrong_verb(mesh):
    return mesh.zmqnet("serv")


def wrong_option(mesh):
    return mesh.zmqnet("send", "-n", "alpha", "--jsn", "hello")


def option_without_value(mesh):
    return mesh.zmqnet("send", "hello", "-n")


def bad_duration(mesh):
    return mesh.zmqnet("send", "-n", "alpha", "-t", "2 seconds", "hello")


def bad_quorum(mesh):
    return mesh.zmqnet("send", "-n", "alpha", "-q", "most", "hello")


def quorum_above_the_replicas(mesh):
    return mesh.zmqnet("send", "-n", "alpha", "-q", "4", "hello")


def send_without_name(mesh):
    return mesh.zmqnet("send", "hello")


def serve_without_name(mesh):
    return mesh.zmqnet("serve")


def serve_of_a_name_not_in_the_file(mesh):
    return mesh.zmqnet("serve", "-n", "zulu")


def send_to_a_name_not_in_the_file(mesh):
    return mesh.zmqnet("send", "-n", "zulu", "hello")


def send_to_a_peer_not_in_the_file(mesh):
    return mesh.zmqnet("send", "-n", "alpha", "--to", "zulu", "hello")


def peers_file_missing(mesh):
    return mesh.zmqnet("-p", "nowhere.json", "send", "-n", "alpha", "hello")


def peers_file_bad(mesh):
    mesh.path.write_text("{")
    return mesh.zmqnet("send", "-n", "alpha", "hello")


def check_of_a_bad_file(mesh):
    mesh.path.write_text("{}")
    return mesh.zmqnet("check")


# ---- 3: degraded ----

def status_with_one_missing(mesh):
    return _started(mesh, "alpha", "bravo").zmqnet("status")


def wait_with_one_missing(mesh):
    return _started(mesh, "alpha", "bravo").zmqnet("wait", "-t", "1s")


# ---- 4: no quorum ----

def send_with_one_missing(mesh):
    return _started(mesh, "alpha", "bravo").zmqnet("send", "-n", "alpha", "hello")


def status_with_two_missing(mesh):
    return _started(mesh, "alpha").zmqnet("status")


def wait_with_two_missing(mesh):
    return _started(mesh, "alpha").zmqnet("wait", "-t", "300ms")


# ---- 5: unknown ----

def send_to_a_stopped_peer(mesh):
    _started(mesh).pause("charlie")
    return mesh.zmqnet("send", "-n", "alpha", "--to", "charlie", "-t", "300ms", "-r", "1", "hello")


def send_while_the_coordinator_stops(mesh):
    _with_replica_program(mesh)
    send = mesh.spawn_zmqnet("send", "-n", "charlie", "-t", "1s", "-r", "1", "hold")
    mesh.wait_delivered("charlie", "hold")
    mesh.pause("charlie")
    send.wait()
    return send


# ---- 6: never sent ----

def send_with_nobody_there(mesh):
    return mesh.zmqnet("send", "-n", "alpha", "-t", "100ms", "hello")


def send_to_a_stopped_coordinator(mesh):
    _started(mesh).pause("alpha")
    return mesh.zmqnet("send", "-n", "alpha", "-t", "150ms", "-r", "2", "hello")


def send_to_a_killed_peer(mesh):
    _started(mesh).lose("charlie")
    return mesh.zmqnet("send", "-n", "alpha", "--to", "charlie", "hello")


# ---- 8: refused by the handler ----

def send_what_the_handler_refuses(mesh):
    return _with_replica_program(mesh).zmqnet("send", "-n", "charlie", "refuse 3 no")


# ---- 130 and 143 ----

def _send_interrupted(mesh, number):
    _with_replica_program(mesh)
    send = mesh.spawn_zmqnet("send", "-n", "charlie", "hold")
    mesh.wait_delivered("charlie", "hold")
    send.signal(number)
    send.wait(2)
    return send


def send_interrupted(mesh):
    return _send_interrupted(mesh, signal.SIGINT)


def send_terminated(mesh):
    return _send_interrupted(mesh, signal.SIGTERM)


def wait_interrupted(mesh):
    mesh.start("alpha")
    wait = mesh.spawn_zmqnet("wait", "-n", "alpha", "-t", "20s")
    with mesh.client("alpha") as client:
        def of_others():
            """Frames that alpha got from anybody but us."""
            nonlocal ours
            ours += 1
            return {c.name: c.value for c in client.status().counters}["frames_in"] - ours
        ours = 0
        wait_until(lambda: of_others() > 2, 5, "wait asks alpha")
    wait.signal(signal.SIGINT)
    wait.wait(2)
    return wait


TABLE = {
    0: [send_to_all, send_to_a_majority, status_of_all, status_of_one, wait_for_all, wait_for_one,
        wait_for_a_majority, check_of_a_good_file, serve_until_sigterm, serve_until_sigint],
    1: [serve_on_a_taken_port, serve_with_the_name_of_a_running_one],
    2: [no_verb, wrong_verb, wrong_option, option_without_value, bad_duration, bad_quorum,
        quorum_above_the_replicas, send_without_name, serve_without_name,
        serve_of_a_name_not_in_the_file, send_to_a_name_not_in_the_file,
        send_to_a_peer_not_in_the_file, peers_file_missing, peers_file_bad, check_of_a_bad_file],
    3: [status_with_one_missing, wait_with_one_missing],
    4: [send_with_one_missing, status_with_two_missing, wait_with_two_missing],
    5: [send_to_a_stopped_peer, send_while_the_coordinator_stops],
    6: [send_with_nobody_there, send_to_a_stopped_coordinator, send_to_a_killed_peer],
    8: [send_what_the_handler_refuses],
    130: [send_interrupted, wait_interrupted],
    143: [send_terminated],
}


@pytest.mark.parametrize("code, scenario", [
    pytest.param(code, scenario, id=f"{code}-{scenario.__name__}")
    for code, scenarios in TABLE.items() for scenario in scenarios])
def test_exit_code(code, scenario):
    with Mesh(run=0) as mesh:
        done = scenario(mesh)
        assert done.code == code, done
        err = done.err if isinstance(done.err, str) else done.err.text()
        lines = [line for line in err.splitlines() if line.startswith("zmqnet: ")]
        if code in (1, 2):
            assert lines, f"nothing on stderr says why: {done}"
        if code == 0 and scenario is not check_of_a_good_file:
            assert not lines, done
