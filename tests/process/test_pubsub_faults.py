# SPDX-License-Identifier: MIT
"""What only pubsub can suffer: strangers at the pub port, and two who subscribe under one name."""

import contextlib
import json
import socket
import threading
import time

import zmq

from support import env, ports
from support.load import Load, MAJORITY, REST_S
from support.mesh import DOWN, Mesh
from support.wait import wait_until

# The greeting of ZMTP 3.0 without security, and a SUB that is ready.
GREETING = b"\xff" + bytes(8) + b"\x7f\x03\x00NULL" + bytes(48)
READY = b"\x05READY\x0bSocket-Type\x00\x00\x00\x03SUB"


def port_of(mesh, name, which):
    replicas = json.loads(mesh.path.read_text())["replicas"]
    return next(r["ports"][which] for r in replicas if r["name"] == name)


def pub_port(mesh, name):
    return port_of(mesh, name, "pub")


@contextlib.contextmanager
def stray_subscriber(port, name):
    """One that subscribes as if it were this replica, and does nothing else."""
    with zmq.Context() as context, context.socket(zmq.SUB) as sub:
        sub.linger = 0
        sub.connect(f"tcp://127.0.0.1:{port}")
        sub.subscribe(b"T" + name.encode() + b"\0" + b"12345678")
        yield sub


def test_subscriber_that_never_acks():
    """It listens at charlie's ack port and subscribes as charlie, and says nothing: no request is
    sent to it, its link is named for what it is, and it delays nobody."""
    with Mesh(run=2, pattern="pubsub") as mesh, zmq.Context() as context, \
            context.socket(zmq.PULL) as acks:
        acks.bind(f"tcp://127.0.0.1:{port_of(mesh, 'charlie', 'ack')}")
        with stray_subscriber(pub_port(mesh, "alpha"), "charlie") as stray:
            assert stray.poll(int(5000 * env.SCALE)), "the hello to charlie"
            wait_until(lambda: mesh.peer("alpha", "charlie")["cause"] == "connected, but no hello",
                       10, "alpha says what is wrong")
            sent = mesh.send("hello", "-t", "20s", via="alpha")
            assert sent.code == 4 and sent.seconds < 5, sent
            assert [row["outcome"] for row in sent.json["peers"] if row["name"] == "charlie"] == [
                "never_sent"]
            assert mesh.send("hello", "-q", "majority", via="alpha").code == 0


def test_forgotten_subscription_under_load():
    """A stray one takes the place of one that is silent. When that goes on, it hears what goes to
    all and nothing else: it sees that it is not known, and subscribes anew."""
    with Mesh(4, pattern="pubsub") as mesh:
        with Load(mesh, ["alpha"], REST_S, quorum=MAJORITY) as load:
            mesh.pause("bravo")
            with stray_subscriber(pub_port(mesh, "alpha"), "bravo") as stray:
                assert stray.poll(int(5000 * env.SCALE)), "the stray one is taken for bravo"
            mesh.resume("bravo")
            resumed = time.monotonic()
            mesh.wait_up("alpha", ["bravo"])
            assert time.monotonic() - resumed < 5 * env.SCALE
        assert all(one.answer and one.answer.code == 0 for one in load.asked())
        assert mesh.send("after", via="alpha").code == 0
        mesh.finish()
        assert len(mesh.deliveries("bravo", "after")) == 1


def connect_subscriber(port):
    s = socket.create_connection(("127.0.0.1", port))
    s.sendall(GREETING + b"\x04" + bytes([len(READY)]) + READY)
    with s.makefile("rb") as answers:
        assert len(answers.read(len(GREETING))) == len(GREETING)
    return s


def subscribe_without_end(s):
    """To ever new topics, which have little in common, until the connection is shut."""
    number = 0
    with contextlib.suppress(OSError):
        while True:
            s.sendall(b"".join(b"\x00\xf1\x01" + b"%012d" % n * 20
                               for n in range(number, number + 500)))
            number += 500


def test_flood_of_subscriptions():
    """The loop goes on: a question is answered within a second, all the time."""
    with Mesh(2, pattern="pubsub") as mesh:
        stranger = connect_subscriber(pub_port(mesh, "alpha"))
        flood = threading.Thread(target=subscribe_without_end, args=(stranger,))
        flood.start()
        try:
            slowest, end = 0, time.monotonic() + 1.2
            with mesh.client("alpha") as client:
                while time.monotonic() < end:
                    asked = time.monotonic()
                    client.status()
                    slowest = max(slowest, time.monotonic() - asked)
                flooded = client.status()
        finally:
            stranger.shutdown(socket.SHUT_RDWR)
            flood.join()
            stranger.close()
        assert slowest < 1 * env.SCALE
        assert {c.name: c.value for c in flooded.counters}["bad_topic"] > 1000
        assert not [peer for peer in flooded.peers if peer.state == DOWN]
        mesh.linked()
        # What libzmq has read of the flood, its thread works through first.
        assert mesh.send("after", "-t", f"{5 * env.SCALE:g}s", via="alpha").code == 0


def peers_file_of_another(mesh, name):
    """As the mesh's, but `name` listens elsewhere."""
    info = json.loads(mesh.path.read_text())
    row = next(r for r in info["replicas"] if r["name"] == name)
    row["port"], pub, ack = ports.take(3)
    row.update(address=f"127.0.0.1:{row['port']}", ports={"pub": pub, "ack": ack})
    path = mesh.dir / "another.json"
    path.write_text(json.dumps(info))
    return path


def test_second_replica_of_a_name():
    """The first one answers, so the second is not heard, and is counted."""
    with Mesh(2, pattern="pubsub") as mesh, mesh.client("alpha") as client:
        second = mesh.spawn(env.ZMQNET, "-p", peers_file_of_another(mesh, "bravo"), "serve",
                            "-n", "bravo", "--pattern", "pubsub")
        wait_until(lambda: second.out.matching("^ready "), 5, "the second bravo is ready")
        sent = 0

        def clashed():
            nonlocal sent
            assert client.submit(f"number {sent}").code == 0
            sent += 1
            return {c.name: c.value for c in client.status().counters}["name_clash"] >= 1
        wait_until(clashed, 5, "alpha counts name_clash")
        assert client.submit("after").code == 0
        mesh.finish()
        assert [d.text for d in mesh.deliveries("bravo")] == [
            *(f"number {n}" for n in range(sent)), "after"]
        assert not second.out.matching("^deliver ")
