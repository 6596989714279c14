# SPDX-License-Identifier: MIT
"""`up`: the whole mesh as children of one process."""

import os
import signal

import pytest

from support.mesh import Mesh
from support.proc import children
from support.wait import wait_until


def prefixed(name, text):
    """A line of a child: its name in front, then what it said."""
    return rf"^{name} *\| {text}"


def start_up(mesh, *args):
    up = mesh.spawn_zmqnet("up", *args)
    for name in mesh.names:
        wait_until(lambda: up.out.matching(prefixed(name, "ready ")), 5, f"{name} is ready")
    for name in mesh.names:
        mesh.wait_up(name, mesh.names)
    return up


def child_of(up, name):
    """Process id of the child that is this replica."""
    for pid in children(up.pid):
        with open(f"/proc/{pid}/cmdline", "rb") as f:
            if name.encode() in f.read().split(b"\0"):
                return pid
    return None


def is_gone(pid):
    return not os.path.exists(f"/proc/{pid}")


def test_prefix():
    with Mesh(run=0) as mesh:
        up = start_up(mesh)
        assert mesh.send("hello").code == 0
        for name in mesh.names:
            wait_until(lambda: up.out.matching(prefixed(name, "deliver bravo .* hello$")), 5,
                       f"{name} delivers")
        up.signal(signal.SIGTERM)
        assert up.wait() == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["SIGINT", "SIGTERM"])
def test_signal_stops_all(number):
    with Mesh(run=0) as mesh:
        up = start_up(mesh)
        pids = children(up.pid)
        assert len(pids) == 3
        up.signal(number)
        assert up.wait(5) == 0
        assert all(is_gone(pid) for pid in pids)


def test_ctrl_c_of_a_terminal_stops_all():
    """A terminal signals the whole process group at once."""
    with Mesh(run=0) as mesh:
        up = start_up(mesh)
        pids = children(up.pid)
        os.killpg(up.pid, signal.SIGINT)
        assert up.wait(5) == 0
        assert all(is_gone(pid) for pid in pids)


def test_killed_up_leaves_no_orphans():
    with Mesh(run=0) as mesh:
        up = start_up(mesh)
        pids = children(up.pid)
        os.kill(up.pid, signal.SIGKILL)
        wait_until(lambda: all(is_gone(pid) for pid in pids), 5, "the children end")


def test_killed_child_is_reported():
    with Mesh(run=0) as mesh:
        up = start_up(mesh)
        os.kill(child_of(up, "charlie"), signal.SIGKILL)
        wait_until(lambda: up.err.matching("^zmqnet: charlie ended: killed by signal 9$"), 5,
                   "the death of charlie is told")
        sent = mesh.send("hello", "-q", "majority")
        assert sent.code == 0, sent
        assert len(children(up.pid)) == 2
        up.signal(signal.SIGTERM)
        up.wait()


def test_restart():
    with Mesh(run=0) as mesh:
        up = start_up(mesh, "--restart")
        os.kill(child_of(up, "charlie"), signal.SIGKILL)
        wait_until(lambda: len(up.out.matching(prefixed("charlie", "ready "))) == 2, 5,
                   "charlie is ready again")
        mesh.wait_up("alpha", mesh.names)
        mesh.wait_up("bravo", mesh.names)
        assert mesh.send("hello").code == 0
        up.signal(signal.SIGTERM)
        assert up.wait() == 0


def test_port_taken():
    """One replica cannot start: that is told, and the others run."""
    with Mesh(run=0) as mesh:
        mesh.start("charlie")
        up = mesh.spawn_zmqnet("up")
        wait_until(lambda: up.err.matching(prefixed("charlie", ".* taken")), 5, "the port is taken")
        wait_until(lambda: up.err.matching("^zmqnet: charlie ended: exit code 1$"), 5, "its end")
        mesh.wait_up("alpha", mesh.names)
        up.signal(signal.SIGTERM)
        up.wait()
