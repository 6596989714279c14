# SPDX-License-Identifier: MIT
"""`up`: the whole mesh as children of one process."""

import fcntl
import os
import shutil
import signal

import pytest

from support import env
from support.mesh import Mesh
from support.proc import Lines, children, run
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


def test_reader_goes_away_while_idle():
    """`up | head -1` ends, with nothing said, even if nothing happens any more."""
    with Mesh(run=0) as mesh:
        read, write = os.pipe()
        with open(write, "wb") as out:
            up = mesh.spawn_zmqnet("up", stdout=out)
        with open(read, "rb") as lines:
            for _ in mesh.names:
                assert b"ready" in lines.readline()
        assert up.wait(5) == 0
        assert not up.err.matching("^zmqnet: .*(cannot|ended)")


def test_closed_output():
    with Mesh(run=0) as mesh:
        done = run("sh", "-c", 'exec "$0" -p "$1" up >&-', env.ZMQNET, mesh.path)
        assert done.code == 1, done
        assert "standard output cannot be written: Bad file descriptor" in done.err, done


def test_child_that_ended_by_itself_is_a_failure():
    with Mesh(run=0) as mesh:
        up = start_up(mesh)
        os.kill(child_of(up, "charlie"), signal.SIGKILL)
        wait_until(lambda: up.err.matching("^zmqnet: 2/3 replicas are running$"), 5, "it is told")
        up.signal(signal.SIGTERM)
        assert up.wait() == 1


def test_child_that_had_to_be_killed_is_a_failure():
    with Mesh(run=0) as mesh:
        up = start_up(mesh)
        os.kill(child_of(up, "charlie"), signal.SIGSTOP)
        up.signal(signal.SIGTERM)
        assert up.wait() == 1
        assert up.err.matching("^zmqnet: charlie ended: killed by signal 9$")


def test_child_that_crashes_while_stopping_is_a_failure():
    with Mesh(run=0) as mesh:
        up = start_up(mesh)
        charlie, others = child_of(up, "charlie"), children(up.pid)
        others.remove(charlie)
        os.kill(charlie, signal.SIGSTOP)
        up.signal(signal.SIGTERM)
        wait_until(lambda: all(is_gone(pid) for pid in others), 2, "the others have ended")
        os.kill(charlie, signal.SIGABRT)
        os.kill(charlie, signal.SIGCONT)
        assert up.wait() == 1
        assert up.err.matching("^zmqnet: charlie ended: killed by signal 6$")


def test_last_lines_of_a_killed_child_while_nobody_reads():
    """They are kept for the reader, and do not keep the child from being started again."""
    messages = [f"message {i:04}" + "." * 1000 for i in range(20)]
    with Mesh(run=0) as mesh:
        read, write = os.pipe()
        fcntl.fcntl(write, fcntl.F_SETPIPE_SZ, 4096)
        with open(write, "wb") as out:
            up = mesh.spawn_zmqnet("up", "--restart", stdout=out)
        with open(read, "r", encoding="utf-8") as lines:
            wait_until(lambda: up.err.matching("3/3 replicas ready"), 5, "all are ready")
            mesh.wait_up("bravo", mesh.names)
            for message in messages:
                assert mesh.send(message).code == 0
            mesh.view("charlie")  # an answer in a later turn: what was delivered has been written
            os.kill(child_of(up, "charlie"), signal.SIGKILL)
            linked = prefixed("charlie", ".* peer.up peer=bravo")
            wait_until(lambda: len(up.err.matching(linked)) == 2, 5, "charlie is there again")
            reader = Lines(lines.buffer)
            up.signal(signal.SIGTERM)
            assert up.wait() == 0
            reader.finish()
        said = reader.matching(prefixed("charlie", "deliver "))
        assert [line.split(" ", 5)[-1] for line in said] == messages


def test_wrong_use_is_not_restarted():
    """With a peers file that has become wrong, it would end in the same way each time."""
    with Mesh(run=0) as mesh:
        up = start_up(mesh, "--restart")
        mesh.path.write_text("{}")
        os.kill(child_of(up, "charlie"), signal.SIGKILL)
        wait_until(lambda: up.err.matching("^zmqnet: charlie ended: exit code 2$"), 5, "it is told")
        assert len(children(up.pid)) == 2
        up.signal(signal.SIGTERM)
        assert up.wait() == 1
        assert len(up.err.matching("^zmqnet: charlie ended")) == 2


def test_variables_of_serve_do_not_reach_the_children():
    with Mesh(run=0) as mesh:
        up = mesh.spawn_zmqnet("up", extra_env={"ZMQNET_UPTIME": "1ms", "ZMQNET_NAME": "bravo"})
        wait_until(lambda: up.err.matching("3/3 replicas ready"), 5, "all are ready")
        for name in mesh.names:
            mesh.wait_up(name, mesh.names)
        up.signal(signal.SIGTERM)
        assert up.wait() == 0


def test_program_that_cannot_be_run_any_more():
    with Mesh(run=0) as mesh:
        program = mesh.dir / "zmqnet"
        shutil.copy(env.ZMQNET, program)
        up = mesh.spawn(program, "-p", mesh.path, "up", "--restart")
        wait_until(lambda: up.err.matching("3/3 replicas ready"), 5, "all are ready")
        program.unlink()
        os.kill(child_of(up, "charlie"), signal.SIGKILL)
        said = prefixed("charlie", "zmqnet: .* cannot be run: No such file or directory$")
        wait_until(lambda: up.err.matching(said), 5, "the reason is told")
        up.signal(signal.SIGTERM)
        assert up.wait() == 0
