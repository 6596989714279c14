# SPDX-License-Identifier: MIT
"""Who reaches whom, as `status` shows it from every node: cuts in one direction and in both, a replica
that dies, a row that is a lie."""

import selectors
import socket
import threading

import pytest
from support import env, ports, wire
from support.fake import FakeReplica
from support.load import Load, REST_S
from support.mesh import Mesh, peers_text
from support.wait import wait_until

ONE_WAY = "alpha cannot reach bravo (connection refused, 127.0.0.1:{}); bravo reaches alpha\n"
MAJORITY = -1
TURN_SECONDS = 0.02


class Forwarder:
    """One directed link: whoever connects here talks to `target`, as long as bytes flow."""

    def __init__(self, target):
        self.target, self._stop, self._other = target, False, {}
        self.flows = threading.Event()
        self.flows.set()
        self._selector = selectors.DefaultSelector()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def close(self):
        self._stop = True
        self._thread.join()
        for one in [self._listener, *self._other]:
            one.close()

    def _run(self):
        while not self._stop:
            if not self.flows.wait(TURN_SECONDS):
                continue
            for key, _ in self._selector.select(TURN_SECONDS):
                if key.fileobj is self._listener:
                    self._pair(self._listener.accept()[0])
                else:
                    self._move(key.fileobj)

    def _pair(self, near):
        far = socket.socket()
        if far.connect_ex(("127.0.0.1", self.target)) != 0:
            near.close()
            return
        for one, other in ((near, far), (far, near)):
            self._other[one] = other
            self._selector.register(one, selectors.EVENT_READ)

    def _move(self, one):
        try:
            data = one.recv(65536) if one in self._other else None
            if data:
                self._other[one].sendall(data)
        except OSError:
            data = b""
        if data == b"":
            for end in (one, self._other[one]):
                self._selector.unregister(end)
                del self._other[end]
                end.close()


def write_file(mesh, name, **elsewhere):
    """A peers file like the mesh's, but that some are looked for at other ports."""
    path = mesh.dir / f"{name}.json"
    path.write_text(peers_text({**mesh.port, **elsewhere}))
    return path


def start_with(mesh, name, **elsewhere):
    path = write_file(mesh, name, **elsewhere)
    mesh.start(name, argv=[env.ZMQNET, "-p", path, "serve", "-n", name, "--pattern", mesh.pattern])
    return path


def status(mesh, path=None):
    """`status` with a peers file of its own; the last -p counts."""
    return mesh.zmqnet("status", "-p", path or mesh.path)


def wait_says(mesh, text, path=None):
    def says():
        done = status(mesh, path)
        return done if text in done.out else None
    return wait_until(says, 10, f"status says: {text}")


def wait_told(mesh, name, who):
    """Return when replica `name` has heard from `who` that it reaches all."""
    def told():
        rows = {row.name: row.links for row in client.status().rows}
        return set(rows.get(who, b"")[::2]) == {2, 4}
    with mesh.client(name) as client:
        wait_until(told, 5, f"{name} is told by {who} that it reaches all")


@pytest.mark.parametrize("pattern", ["router", "reqrep"])
def test_one_way_cut_is_named_from_any_node(pattern):
    """alpha looks for bravo where nobody listens. Whoever asks whom he can: the answer is the same."""
    with Mesh(run=0, pattern=pattern) as mesh:
        nowhere, = ports.take(1)
        start_with(mesh, "alpha", bravo=nowhere)
        mesh.start("bravo", "charlie")
        mesh.linked("bravo", "charlie")
        seen = wait_says(mesh, ONE_WAY.format(mesh.port["bravo"]))
        assert seen.code == 3, seen
        assert "largest set in which all reach all: 2/3, alpha, charlie\n" in seen.out, seen
        assert "mend first: alpha -> bravo (connection refused" in seen.out, seen
        assert "3/3 replicas answer\n" in seen.out, seen
        says = mesh.zmqnet("status", "--json").json
        assert says["cuts"] == [{"from": "alpha", "to": "bravo", "cause": "connection refused",
                                 "back": "up"}]
        assert says["mend"] == {"from": "alpha", "to": "bravo", "both": False, "more": 0}
        at_alpha = wait_says(mesh, ONE_WAY.format(nowhere), mesh.dir / "alpha.json")
        assert at_alpha.code == 3 and "2/3 replicas answer\n" in at_alpha.out, at_alpha
        for only in mesh.names:
            others = dict(zip(mesh.names, ports.take(3)))
            del others[only]
            path = write_file(mesh, f"only-{only}", **others)
            port = others.get("bravo", mesh.port["bravo"])
            done = wait_says(mesh, ONE_WAY.format(port), path)
            assert done.code == 3 and "1/3 replicas answer\n" in done.out, done


def test_link_that_falls_silent_and_heals_under_load():
    """The bytes from alpha to bravo stop while bravo broadcasts; then they flow again."""
    with Mesh(run=0) as mesh:
        forwarder = Forwarder(mesh.port["bravo"])
        try:
            start_with(mesh, "alpha", bravo=forwarder.port)
            mesh.start("bravo", "charlie")
            mesh.linked()
            wait_says(mesh, "in which all reach all: 3/3\n")
            only_alpha = write_file(mesh, "only-alpha", **dict(zip(("bravo", "charlie"),
                                                                   ports.take(2))))
            with Load(mesh, ["bravo"], REST_S, quorum=MAJORITY) as load:
                forwarder.flows.clear()
                cut = wait_says(mesh, "; bravo reaches alpha\n")
                assert cut.code == 3 and "alpha cannot reach bravo (" in cut.out, cut
                wait_says(mesh, "; bravo reaches alpha\n", only_alpha)
                forwarder.flows.set()
                assert wait_says(mesh, "in which all reach all: 3/3\n").code == 0
            assert all(one.answer and one.answer.code == 0 for one in load.asked())
        finally:
            forwarder.close()


def test_two_and_two():
    with Mesh(4, run=0) as mesh:
        nowhere = dict(zip(mesh.names, ports.take(4)))
        for name in mesh.names:
            side = mesh.names[:2] if name in mesh.names[:2] else mesh.names[2:]
            start_with(mesh, name, **{k: v for k, v in nowhere.items() if k not in side})
        done = wait_says(mesh, "alpha, bravo cannot reach charlie, delta (connection refused); "
                               "charlie, delta cannot reach alpha, bravo\n")
        assert done.code == 4, done
        assert "largest set in which all reach all: 2/4, alpha, bravo\n" in done.out, done
        assert "a majority, 3/4, is reached by nobody\n" in done.out, done


def test_killed_replica_reaches_nobody():
    """What it told the others before is not held against its death, at no moment."""
    with Mesh() as mesh:
        wait_told(mesh, "alpha", "charlie")
        mesh.kill("charlie")

        def dead():
            done = status(mesh)
            assert "charlie reaches" not in done.out, done
            return "nobody reaches charlie (connection refused" in done.out and done
        done = wait_until(dead, 2, "status says that nobody reaches charlie")
        assert done.code == 3, done
        assert "mend first: charlie: start it with zmqnet serve -n charlie\n" in done.out, done


def test_a_row_that_is_a_lie_misleads_only_its_reader():
    with Mesh(run=2) as mesh, FakeReplica(mesh, "charlie") as fake:
        mesh.wait_up("bravo", mesh.names)
        names_hash = 0xCBF29CE484222325
        for byte in b"alpha\nbravo\ncharlie\n":
            names_hash = (names_hash ^ byte) * 0x100000001B3 % 2**64
        fake.link_to("bravo")
        kinds = wire.proto()
        for links in (bytes([3, 9] * 3), bytes([200, 200] * 3), bytes([2, 0] * 2)):
            pong = fake.ask(wire.body(type=kinds.BOUNCE, kind=kinds.PING, sender="charlie", seq=9,
                                      links=links, names_hash=names_hash))
            assert pong.links == bytes([2, 0, 4, 0, 2, 0]) and pong.names_hash == names_hash
            with mesh.client("bravo") as client:
                view = client.status()
            rows = {row.name: row.links for row in view.rows}
            assert rows["charlie"] == (links if len(links) == 6 else bytes([200, 200] * 3))
            assert [peer.state for peer in view.peers] == [2, 4, 2]
        assert mesh.send("hello").code == 0
        assert "from     alpha" in mesh.zmqnet("status").out
        fake.ask(wire.body(type=kinds.BOUNCE, kind=kinds.PING, sender="charlie", links=b"odd"))
        mesh.wait_counted("bravo", "over_limit")


def test_many_replicas_that_are_not_there():
    """Sixty-four rows: each line is short, and each replica stands in it."""
    with Mesh(run=2) as mesh:
        more = dict(zip((f"r{i}" for i in range(61)), ports.take(61)))
        done = mesh.zmqnet("status", "-p", write_file(mesh, "many", **more))
        assert done.code == 4, done
        lines = done.out.splitlines()
        assert max(map(len, lines)) < 100, done
        assert "\n   1 alpha   -.xaaaa" in done.out, done
        assert "\nlargest set in which all reach all: 2/64, alpha, bravo\n" in done.out, done
        for name in more:
            assert f"\n{name} " in done.out, done
