# SPDX-License-Identifier: MIT
"""The fault proxy itself: each fault does what it says, to its own way and link, and heals."""

import contextlib
import socket
import struct
import threading
import time

import pytest

from support import ports, proxy
from support.wait import holds_for, wait_until

SECONDS = 5


class Echo:
    """Sends back what it gets, until the end of input."""

    def __init__(self, port):
        self.got = 0
        self.ends = []  # how each connection ended
        self._listener = socket.create_server(("127.0.0.1", port))
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self):
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection):
        with connection:
            try:
                while data := connection.recv(65536):
                    self.got += len(data)
                    connection.sendall(data)
                self.ends.append("closed")
            except OSError:
                self.ends.append("reset")

    def close(self):
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


class Rig:
    """A proxy of one link with an echo behind it."""

    def __init__(self, seed=1):
        self.port, behind = ports.take(2)
        self.echo = Echo(behind)
        self.proxy = proxy.Proxy(seed)
        self.link = self.proxy.link("alpha>bravo", {self.port: behind})

    def connect(self):
        connection = socket.create_connection(("127.0.0.1", self.port), SECONDS)
        connection.settimeout(SECONDS)
        return connection

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.proxy.close()
        self.echo.close()


def read(connection, count):
    """`count` bytes, or fewer if the input ends."""
    data = b""
    while len(data) < count and (more := connection.recv(count - len(data))):
        data += more
    return data


def round_trip_seconds(connection, data=b"hello"):
    begin = time.monotonic()
    connection.sendall(data)
    assert read(connection, len(data)) == data
    return time.monotonic() - begin


def has_input(connection):
    """Whether something can be read without waiting."""
    connection.setblocking(False)
    try:
        return len(connection.recv(1, socket.MSG_PEEK)) > 0
    except BlockingIOError:
        return False
    finally:
        connection.settimeout(SECONDS)


def test_healthy_link_passes_all_and_counts_it():
    data = bytes(range(256)) * 8192
    with Rig() as rig, rig.connect() as connection:
        sender = threading.Thread(target=connection.sendall, args=(data,))
        sender.start()
        assert read(connection, len(data)) == data
        sender.join()
        connection.shutdown(socket.SHUT_WR)
        assert connection.recv(1) == b"", "the end of input goes through, and back"
        wait_until(lambda: rig.echo.ends == ["closed"], SECONDS, "the echo sees the end")
        assert rig.link.passed == {"there": len(data), "back": len(data)}
        wait_until(lambda: not rig.link.connections, SECONDS, "nothing is left of it")


@pytest.mark.parametrize("way, least", [(None, 0.2), ("there", 0.1), ("back", 0.1)])
def test_delay(way, least):
    with Rig() as rig, rig.connect() as connection:
        rig.link.delay(100, way=way)
        assert round_trip_seconds(connection) >= least
        rig.link.heal()
        assert min(round_trip_seconds(connection) for _ in range(5)) < 0.05


def test_jitter_keeps_the_order():
    data = bytes(range(256)) * 20
    with Rig() as rig, rig.connect() as connection:
        round_trip_seconds(connection, bytes(512))  # the proxy reads already when the jitter comes
        rig.link.delay(0, 20)
        assert round_trip_seconds(connection, data) >= 0.005
        assert len([d for d in rig.proxy.decisions if "there" in d]) == len(data) // 512


def test_throttle():
    with Rig() as rig, rig.connect() as connection:
        rig.link.throttle(20_000, "back")
        assert round_trip_seconds(connection, bytes(4000)) >= 0.19
        assert rig.echo.got == 4000


def test_stall_tells_nobody_and_loses_nothing():
    with Rig() as rig, rig.connect() as connection:
        round_trip_seconds(connection)
        rig.link.stall("back")
        connection.sendall(b"one")
        wait_until(lambda: rig.echo.got == 8, SECONDS, "the other way is open")
        holds_for(lambda: not has_input(connection), 0.1, "nothing comes back")
        rig.link.heal()
        assert read(connection, 3) == b"one"


def test_stall_hides_how_the_other_side_ended():
    with Rig() as rig:
        with rig.connect() as connection:
            round_trip_seconds(connection)
            rig.link.stall()
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        holds_for(lambda: not rig.echo.ends, 0.1, "the echo knows nothing of the reset")
        rig.link.heal()
        wait_until(lambda: rig.echo.ends == ["reset"], SECONDS, "the echo sees the reset")


def test_stall_fills_up_to_the_sender():
    """A link that takes everything would hide what a full one does."""
    with Rig() as rig, rig.connect() as connection:
        rig.link.stall()
        connection.settimeout(0.2)
        with pytest.raises(TimeoutError):
            while True:
                connection.sendall(bytes(1 << 20))


def test_cut_in_mid_message():
    with Rig() as rig, rig.connect() as connection:
        rig.link.cut(1000, 1000, "there")
        connection.sendall(bytes(5000))
        with pytest.raises(ConnectionResetError):
            while connection.recv(5000):
                pass
        wait_until(lambda: rig.echo.ends == ["reset"], SECONDS, "the echo sees the reset")
        assert rig.echo.got == 1000
        rig.link.heal()
        with rig.connect() as again:
            round_trip_seconds(again, bytes(5000))


def test_reset():
    with Rig() as rig, rig.connect() as connection:
        round_trip_seconds(connection)
        rig.link.reset()
        with pytest.raises(ConnectionResetError):
            connection.recv(1)
        wait_until(lambda: rig.echo.ends == ["reset"], SECONDS, "the echo sees the reset")
        with rig.connect() as again:
            round_trip_seconds(again)


def test_close_lets_through_what_is_under_way():
    with Rig() as rig, rig.connect() as connection:
        rig.link.delay(50, way="back")
        connection.sendall(b"last words")
        wait_until(lambda: rig.echo.got == 10 and rig.link.passed["there"] == 10, SECONDS, "echo")
        wait_until(lambda: next(iter(rig.link.connections)).pumps["back"].read == 10, SECONDS,
                   "the proxy has read the answer")
        rig.link.close()
        assert read(connection, 11) == b"last words"
        wait_until(lambda: rig.echo.ends == ["closed"], SECONDS, "the echo sees the end")


def test_new_connections():
    with Rig() as rig, rig.connect() as old:
        round_trip_seconds(old)
        rig.link.refuse()
        with pytest.raises(ConnectionRefusedError):
            rig.connect()
        rig.link.drop()
        with pytest.raises(ConnectionResetError), rig.connect() as dropped:
            dropped.recv(1)
        rig.link.hold()
        with rig.connect() as held:
            held.sendall(b"hello")
            holds_for(lambda: not has_input(held), 0.1, "nobody answers")
            assert rig.echo.got == 5
            round_trip_seconds(old)
            rig.link.heal()
            assert read(held, 5) == b"hello"


def test_nobody_behind():
    port, behind = ports.take(2)
    with proxy.Proxy() as one:
        one.link("x", {port: behind})
        with pytest.raises(ConnectionResetError):  # by the first read, or before
            with socket.create_connection(("127.0.0.1", port), SECONDS) as connection:
                connection.recv(1)


def test_another_link_is_not_concerned():
    with Rig() as rig:
        port, = ports.take(1)
        behind = next(iter(rig.link.ports.values()))
        rig.proxy.link("charlie>bravo", {port: behind})
        with socket.create_connection(("127.0.0.1", port), SECONDS) as other:
            for verb in ("stall", "drop", "reset"):
                getattr(rig.link, verb)()
                round_trip_seconds(other)
        assert [link.name for link in rig.proxy.matching("alpha>*")] == ["alpha>bravo"]


# ---- scripts ----

def decisions(seed, piece):
    """What is drawn for three connections that send 3000 bytes in pieces of so many."""
    with Rig(seed) as rig:
        rig.link.delay(0, 2, "there")
        rig.link.cut(100, 9000, "back")
        for _ in range(3):
            with rig.connect() as connection, contextlib.suppress(OSError):
                for at in range(0, 3000, piece):
                    connection.sendall(bytes(min(piece, 3000 - at)))
                connection.shutdown(socket.SHUT_WR)
                while connection.recv(4096):
                    pass
            wait_until(lambda: not rig.link.connections, SECONDS, "the connection is over")
        return [d for d in rig.proxy.decisions if "byte" not in d or "byte 0 " in d]


def test_same_seed_same_decisions():
    """However TCP cuts the stream: where to cut, and by how much the first part is late."""
    first = decisions(7, 3000)
    assert len(first) >= 6
    assert decisions(7, 100) == first
    assert decisions(8, 3000) != first


def test_random_script_is_a_script_and_repeats():
    links = ["alpha>bravo", "bravo>alpha"]
    script = proxy.random_script(3, links, 40)
    assert script == proxy.random_script(3, links, 40)
    assert script != proxy.random_script(4, links, 40)
    steps = proxy.parse(script)
    assert len(steps) == 80 and {step.verb for step in steps} == set(proxy.Link.VERBS)
    assert {step.links for step in steps} == set(links)


def test_script_is_played_in_its_time():
    with Rig() as rig, rig.connect() as connection:
        rig.link.stall()
        begin = time.monotonic()
        played = rig.proxy.play("""
            150 *>bravo      heal             # the order in the text does not matter
            0   alpha>bravo  delay 1 2 back
        """)
        connection.sendall(b"hello")
        assert read(connection, 5) == b"hello"
        assert time.monotonic() - begin >= 0.15
        played.result(SECONDS)


@pytest.mark.parametrize("line", ["now x heal", "5 x explode", "5 x", "5 x delay many"])
def test_script_that_is_none(line):
    with pytest.raises(ValueError, match="line 2: "):
        proxy.parse(f"0 x heal\n{line}\n")
