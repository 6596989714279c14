# SPDX-License-Identifier: MIT
"""Strangers at a port: each is a block, during which they come; it gives how many have come so far."""

import contextlib
import random
import socket
import struct
import threading

from support import wire

GREETING = b"\xff" + bytes(8) + b"\x7f\x03\0NULL" + bytes(16) + b"\0" + bytes(31)
MORE, LONG, COMMAND = 1, 2, 4  # flags of a ZMTP frame
REST_S = 0.01  # of each stranger, so that what is measured is the replica and not this process


def frame(flags, data):
    """A frame of ZMTP 3."""
    if len(data) < 256:
        return bytes([flags, len(data)]) + data
    return bytes([flags | LONG]) + struct.pack(">Q", len(data)) + data


READY_DEALER = frame(COMMAND, b"\x05READY\x0bSocket-Type\0\0\0\x06DEALER\x08Identity\0\0\0\0")


def connect(port):
    return socket.create_connection(("127.0.0.1", port), 5)


def shake_hands(connection):
    """ZMTP's NULL handshake. Messages count only when the other side has said its READY too, which
    is as long as ours."""
    connection.sendall(GREETING + READY_DEALER)
    wanted = len(GREETING + READY_DEALER)
    while wanted > 0 and (more := connection.recv(wanted)):
        wanted -= len(more)


@contextlib.contextmanager
def silent(port, count=250):
    """They connect and say nothing, for as long as they are let."""
    connections = []
    try:
        for _ in range(count):
            connections.append(connect(port))
        yield lambda: len(connections)
    finally:
        for connection in connections:
            connection.close()


@contextlib.contextmanager
def crowd(port, count):
    """They come all at once, and those that are let in say their part of the handshake and stay."""
    connections = [socket.socket() for _ in range(count)]
    try:
        for connection in connections:
            connection.setblocking(False)
            connection.connect_ex(("127.0.0.1", port))
            with contextlib.suppress(OSError):
                connection.send(GREETING + READY_DEALER)
        yield lambda: count
    finally:
        for connection in connections:
            connection.close()


@contextlib.contextmanager
def flood(port):
    """They connect and go away, as fast as they can."""
    with _repeat(port, lambda connection: None, 1, rest_s=0) as come:
        yield come


@contextlib.contextmanager
def garbage(port):
    """Bytes that are no ZMTP, or stop being it after the handshake, or anywhere."""
    draw = random.Random(5)

    def say(connection):
        words = GREETING + READY_DEALER + frame(0, b"") + frame(0, b"\x08\x01")
        keep = draw.randrange(len(words) + 1)
        connection.sendall(words[:keep] + draw.randbytes(draw.randrange(2000)))
        connection.shutdown(socket.SHUT_WR)
        while connection.recv(65536):
            pass
    with _repeat(port, say, 2) as come:
        yield come


@contextlib.contextmanager
def malformed(port):
    """Good ZMTP, whose messages are no messages of ours."""
    draw = random.Random(6)

    def say(connection):
        shake_hands(connection)
        for _ in range(100):
            parts = [draw.randbytes(draw.randrange(60)) for _ in range(draw.randrange(1, 4))]
            connection.sendall(b"".join(frame(MORE, part) for part in parts[:-1])
                               + frame(0, parts[-1]))
        connection.shutdown(socket.SHUT_WR)
        while connection.recv(65536):
            pass
    with _repeat(port, say, 1) as come:
        yield come


@contextlib.contextmanager
def huge(port):
    """Frames of more than is allowed: some only announced, some sent until nobody takes more."""
    draw = random.Random(7)

    def say(connection):
        size = draw.choice([1 << 40, 1 << 63, 40 << 20, 30 << 20])
        shake_hands(connection)
        connection.sendall(bytes([LONG]) + struct.pack(">Q", size))
        for _ in range(20):
            connection.sendall(bytes(1 << 20))
    with _repeat(port, say, 1, rest_s=0.05) as come:
        yield come


@contextlib.contextmanager
def large(port, wrong_life=1):
    """Messages of 12 MiB that are understood and refused, a few at a time."""
    body = wire.body(type=wire.proto().SINGLE, kind=wire.proto().SUBMIT, origin=1, seq=1,
                     to_life=[wrong_life], budget_ms=1000, message=bytes(12 << 20))
    words = frame(MORE, b"") + frame(0, body.SerializeToString())

    def say(connection):
        shake_hands(connection)
        connection.sendall(words)
        connection.recv(4096)
    with _repeat(port, say, 8, rest_s=0.3) as come:
        yield come


@contextlib.contextmanager
def _repeat(port, say, side_by_side, rest_s=REST_S):
    """So many at a time: each connects, says its words, goes, and rests; until the end of the
    block."""
    come, over, open_ones, lock = [0], threading.Event(), set(), threading.Lock()

    def one():
        while not over.is_set():
            with contextlib.suppress(OSError), connect(port) as connection:
                with lock:
                    open_ones.add(connection)
                come[0] += 1
                try:
                    if not over.is_set():
                        say(connection)
                finally:
                    with lock:
                        open_ones.discard(connection)
            over.wait(rest_s)

    threads = [threading.Thread(target=one) for _ in range(side_by_side)]
    for thread in threads:
        thread.start()
    try:
        yield lambda: come[0]
    finally:
        over.set()
        with lock:
            for connection in open_ones:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
        for thread in threads:
            thread.join()
