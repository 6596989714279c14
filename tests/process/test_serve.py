# SPDX-License-Identifier: MIT
"""`serve` as a process: how it starts, what it needs, how it ends."""

import os
import resource
import signal
import socket
import subprocess

import pytest

from support import build, env, ports, wire
from support.mesh import Mesh, peers_text
from support.proc import run
from support.wait import holds_for, wait_until


def complaint(done):
    """Its one line on stderr."""
    lines = [line for line in done.err.splitlines() if line.startswith("zmqnet: ")]
    assert len(lines) == 1, done
    return lines[0]


def test_port_taken():
    with Mesh(run=0) as mesh, socket.create_server(("127.0.0.1", mesh.port["alpha"])):
        done = mesh.zmqnet("serve", "-n", "alpha")
        assert done.code == 1, done
        assert str(mesh.port["alpha"]) in complaint(done) and "taken" in complaint(done)
        assert done.out == ""


def test_name_not_in_the_file():
    with Mesh(run=0) as mesh:
        done = mesh.zmqnet("serve", "-n", "zulu")
        assert done.code == 2, done
        assert "zulu" in complaint(done) and "alpha, bravo, charlie" in complaint(done)


def test_second_replica_of_a_name_ends():
    """At another address, with another file: the first one stays, the second gives up."""
    with Mesh() as mesh:
        moved = dict(mesh.port)
        moved["alpha"], = ports.take(1)
        other = mesh.dir / "moved.json"
        other.write_text(peers_text(moved))
        second = mesh.spawn(env.ZMQNET, "-p", other, "serve", "-n", "alpha")
        assert second.wait(5) == 2
        assert len(second.err.matching("^zmqnet: .*alpha")) == 1
        assert any(mesh.counters(name)["name_clash"] for name in ("bravo", "charlie"))
        sent = mesh.send("hello")
        assert sent.code == 0, sent
        assert mesh.wait_delivered("alpha", "hello")


def test_other_peers_file_is_reported():
    """A replica that knows the others under the same names but has another file."""
    with Mesh(run=2) as mesh:
        ports_plus = dict(mesh.port)
        ports_plus["delta"], = ports.take(1)
        other = mesh.dir / "more.json"
        other.write_text(peers_text(ports_plus))
        mesh.start("charlie", argv=[env.ZMQNET, "-p", other, "serve", "-n", "charlie"])
        mesh.linked()
        assert mesh.peer("alpha", "charlie")["config_differs"] is True
        assert mesh.counters("alpha")["config_differs"] >= 1
        assert mesh.send("hello").code == 0


@pytest.mark.parametrize("limit", [12, 40])
def test_too_few_descriptors(limit):
    with Mesh(run=0) as mesh:
        proc = mesh.spawn_zmqnet("serve", "-n", "alpha", limits=[(resource.RLIMIT_NOFILE, limit)])
        assert proc.wait(5) == 1
        assert len(proc.err.matching("^zmqnet: .*descriptor")) == 1, proc.err.text()


def test_descriptor_limit_is_raised():
    """Where only the soft limit is low, nobody has to know."""
    with Mesh(run=0) as mesh:
        command = ["sh", "-c", 'ulimit -S -n 20 && exec "$@"', "sh", env.ZMQNET, "-p", mesh.path]
        for name in mesh.names:
            mesh.start(name, argv=command + ["serve", "-n", name])
        mesh.linked()
        assert mesh.send("hello").code == 0


def test_no_descriptor_left_for_a_stranger():
    """More connections than descriptors: those that are there go on being served."""
    limit = 300
    with Mesh(run=0) as mesh:
        for name in mesh.names:
            mesh.procs[name] = mesh.spawn_zmqnet("serve", "-n", name,
                                                 limits=[(resource.RLIMIT_NOFILE, limit)])
            mesh.wait_ready(name)
        mesh.linked()
        with mesh.client("bravo") as client:
            assert wire.is_complete(client.submit("before"), mesh.names)
            strangers = [socket.create_connection(("127.0.0.1", mesh.port["bravo"]))
                         for _ in range(limit + 20)]
            assert wire.is_complete(client.submit("meanwhile"), mesh.names)
            for stranger in strangers:
                stranger.close()
            assert wire.is_complete(client.submit("after"), mesh.names)
        sent = mesh.send("new connection")
        assert sent.code == 0, sent


# ---- output ----

@pytest.mark.parametrize("args", [
    ["serve", "-n", "alpha"], ["send", "-n", "bravo", "hello"], ["status"],
    ["status", "-n", "bravo", "--json"], ["wait", "-n", "bravo", "-q", "2"], ["check"],
    ["version"], ["help"], ["completion", "bash"],
], ids=" ".join)
def test_output_that_cannot_be_written(args):
    with Mesh(run=0) as mesh:
        mesh.start("bravo", "charlie")
        mesh.linked()
        with open("/dev/full", "wb") as full:
            proc = mesh.spawn_zmqnet(*args, stdout=full)
            assert proc.wait(5) == 1
            assert len(proc.err.matching("^zmqnet: standard output")) == 1, proc.err.text()


@pytest.mark.parametrize("command", [
    "help", "check", "send -n bravo one two three four", "status", "status --json",
    "completion bash",
])
def test_head_ends_quietly(command):
    with Mesh() as mesh:
        done = run("bash", "-c", f'"$0" -p "$1" {command} | head -1', env.ZMQNET, mesh.path)
        assert len(done.out.splitlines()) == 1 and done.err == "", done


def test_reader_goes_away():
    """`serve | head -1` ends, with nothing said, even if no message comes."""
    with Mesh(run=0) as mesh:
        read, write = os.pipe()
        with open(write, "wb") as out:
            proc = mesh.spawn_zmqnet("serve", "-n", "charlie", stdout=out)
        with open(read, "rb") as lines:
            assert lines.readline().startswith(b"ready charlie")
        assert proc.wait(5) == 0
        assert not proc.err.matching("^zmqnet: ")


def test_reader_that_does_not_read_stops_nothing():
    """Lines are dropped, and that is told; the replica goes on answering."""
    with Mesh(run=2) as mesh:
        read, write = os.pipe()
        with open(write, "wb") as out:
            proc = mesh.spawn_zmqnet("serve", "-n", "charlie", stdout=out)
        with open(read, "rb"):
            mesh.wait_up("alpha", mesh.names)
            with mesh.client("alpha") as client:
                for _ in range(40):
                    answer = client.submit("x" * 100_000)
                    assert wire.is_complete(answer, mesh.names), answer
            wait_until(lambda: proc.err.matching("lines dropped"), 5, "the drop is told")
        proc.signal(signal.SIGTERM)
        assert proc.wait(5) in (0, 1)


# ---- readiness ----

class NotifySocket:
    """What a service manager listens on."""

    def __init__(self, directory, abstract):
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.name = f"@zmqnet-test-{os.getpid()}" if abstract else str(directory / "notify")
        self._socket.bind("\0" + self.name[1:] if abstract else self.name)
        self._socket.setblocking(False)
        self.got = []

    def says(self, text):
        try:
            self.got += self._socket.recv(4096).decode().splitlines()
        except BlockingIOError:
            pass
        return text in self.got

    def close(self):
        self._socket.close()


@pytest.mark.parametrize("abstract", [False, True], ids=["path", "abstract"])
def test_readiness_is_told_to_the_service_manager(abstract):
    with Mesh(run=0) as mesh:
        manager = NotifySocket(mesh.dir, abstract)
        proc = mesh.spawn_zmqnet("serve", "-n", "alpha", extra_env={"NOTIFY_SOCKET": manager.name})
        wait_until(lambda: manager.says("READY=1"), 5, "READY=1")
        with mesh.client("alpha") as client:
            assert client.status().name == "alpha"
        proc.signal(signal.SIGTERM)
        wait_until(lambda: manager.says("STOPPING=1"), 5, "STOPPING=1")
        assert proc.wait() == 0
        manager.close()


def test_missing_service_manager_is_no_reason_to_fail():
    with Mesh(run=0) as mesh:
        proc = mesh.spawn_zmqnet("serve", "-n", "alpha", extra_env={"NOTIFY_SOCKET": "/nowhere"})
        mesh.procs["alpha"] = proc
        mesh.wait_ready("alpha")


# ---- ending ----

def test_sigterm_with_an_open_request():
    """What is open has a second to finish; then it is failed and the replica ends all the same."""
    with Mesh() as mesh:
        mesh.pause("charlie")
        send = mesh.spawn_zmqnet("send", "-n", "alpha", "--json", "-t", "10s", "-r", "1", "open")
        mesh.wait_delivered("alpha", "open")
        assert mesh.end("alpha") == 0
        assert send.wait(5) in (4, 5), send.out.text()
        mesh.resume("charlie")


def test_open_request_is_finished_before_the_end():
    with Mesh(run=0) as mesh:
        mesh.start("alpha", "bravo")
        mesh.start("charlie", argv=[build.program("replica.c"), mesh.path, "charlie"])
        mesh.linked()
        send = mesh.spawn_zmqnet("send", "-n", "alpha", "--to", "charlie", "hold")
        mesh.wait_delivered("charlie", "hold")
        mesh.procs["alpha"].signal(signal.SIGTERM)
        holds_for(lambda: mesh.procs["alpha"].code is None, 0.2, "alpha finishes what is open")
        mesh.procs["charlie"].write("\n")
        assert mesh.procs["alpha"].wait(2) == 0
        assert send.wait(2) == 0, send.out.text()


def test_peers_see_the_end_at_once():
    """A replica that ends says so: the others need no timeout to know."""
    with Mesh() as mesh:
        assert mesh.end("charlie") == 0
        with mesh.client("alpha") as client:
            def state():
                return {peer.name: peer.state for peer in client.status().peers}["charlie"]
            wait_until(lambda: state() == 3, 1, "alpha sees charlie down")
        sent = mesh.send("hello", "-t", "20s", via="alpha")
        assert sent.code == 4 and sent.seconds < 5, sent


def test_stdin_is_left_alone():
    with Mesh(run=0) as mesh:
        mesh.start("alpha")
        mesh.procs["alpha"].close_stdin()
        with mesh.client("alpha") as client:
            assert client.status().name == "alpha"


def test_closed_output():
    with Mesh(run=0) as mesh:
        done = run("sh", "-c", 'exec "$0" -p "$1" serve -n alpha >&-', env.ZMQNET, mesh.path)
        assert done.code == 1, done
        assert "standard output cannot be written: Bad file descriptor" in complaint(done), done


def test_closed_descriptors():
    """Started with 0, 1 and 2 closed: no socket takes their place."""
    with Mesh(run=0) as mesh:
        done = subprocess.run(
            ["sh", "-c", 'exec "$0" -p "$1" serve -n alpha --uptime 300ms <&- >&- 2>&-',
             env.ZMQNET, mesh.path], env=env.clean(), timeout=20, check=False)
        assert done.returncode in (0, 1)
