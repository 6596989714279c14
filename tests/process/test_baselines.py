# SPDX-License-Identifier: MIT
"""The baselines of `make bench` do the work that they are compared by: a broadcast reaches every
other replica, and its answer waits for their acks."""

import json
import signal
import socket
import struct

import pytest
import zmq

from support import env, ports
from support.proc import Proc, run
from support.wait import wait_until

NAMES = ("raw_tcp", "raw_zmq")
ASK, BOUNCE, ACK, ANSWER = 1, 2, 3, 4
ALL, MAJORITY = 0, 255
HEAD = struct.Struct("=BBHIQ")

each_baseline = pytest.mark.parametrize("name", NAMES)


def program(name):
    return env.BUILD / "bench" / name


class Baseline:
    """Three replicas of a baseline that are linked, and a client at the first."""

    def __init__(self, name):
        self.name = name
        self.addresses = [f"127.0.0.1:{port}" for port in ports.take(3)]
        self.procs = [Proc([program(name), "serve", i, *self.addresses]) for i in range(3)]

    def bench(self, *args):
        return run(program(self.name), "bench", *args, *self.addresses)

    def end(self):
        """SIGTERM to all that run; returns the counters of each."""
        for proc in self.procs:
            proc.signal(signal.SIGTERM)
        assert [proc.wait() for proc in self.procs] == [0, 0, 0]
        return [json.loads(proc.out.all()[-1]) for proc in self.procs]

    def __enter__(self):
        for proc in self.procs:
            wait_until(lambda: proc.out.matching("^ready .* 2 peers$"), 5, f"{proc} is ready")
        return self

    def __exit__(self, kind, *_):
        for proc in self.procs:
            proc.kill()
            assert not proc.trouble(), proc.err.text()
            if kind:
                proc.show()


class Client:
    """Speaks to a replica of a baseline without the baseline's own client."""

    def __init__(self, baseline):
        host, port = baseline.addresses[0].split(":")
        self._tcp = baseline.name == "raw_tcp"
        if self._tcp:
            self._socket = socket.create_connection((host, int(port)))
        else:
            self._context = zmq.Context()
            self._socket = self._context.socket(zmq.DEALER)
            self._socket.linger = 0
            self._socket.connect(f"tcp://{host}:{port}")
        self._seq = 0

    def ask(self, votes, payload=b"hello"):
        self._seq += 1
        frame = HEAD.pack(ASK, votes, 0, 0, self._seq) + payload
        self._socket.send(struct.pack("=I", len(frame)) + frame if self._tcp else frame)

    def votes(self, seconds=5):
        """Of the answer to what was asked last; None if there is none in time."""
        frame = self._recv(seconds * env.SCALE)
        if frame is None:
            return None
        kind, votes, _, _, seq = HEAD.unpack(frame)
        assert (kind, seq) == (ANSWER, self._seq)
        return votes

    def _recv(self, seconds):
        if not self._tcp:
            return self._socket.recv() if self._socket.poll(int(seconds * 1000)) else None
        self._socket.settimeout(seconds)
        try:
            return self._socket.recv(4 + HEAD.size, socket.MSG_WAITALL)[4:]
        except TimeoutError:
            return None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._socket.close()
        if not self._tcp:
            self._context.term()


# ---- the work ----

@each_baseline
@pytest.mark.parametrize("load", [("-c", 1), ("-c", 5), ("-c", 1, "--inflight", 100, "-n", 1),
                                  ("-c", 3, "--inflight", 4, "-s", "64K")], ids=str)
def test_a_broadcast_reaches_all_others(name, load):
    with Baseline(name) as baseline:
        result = baseline.bench(*load, "-d", "100ms", "--warmup", "20ms")
        assert result.code == 0, result
        counts = baseline.end()
        size = 65536 if "64K" in load else 32
        asked = sum(c["asked"] for c in counts)
        assert asked >= result.json["messages"] > 0 and result.json["failed"] == 0
        for c in counts:
            assert c["answered"] == c["asked"] and c["failed"] == c["dropped"] == 0, c
            assert c["sent"] == c["acked"] == 2 * c["asked"], c
            assert c["served"] == asked - c["asked"], c
            assert c["served_bytes"] == size * c["served"], c


@each_baseline
def test_spread_or_at_one(name):
    with Baseline(name) as baseline:
        assert baseline.bench("-c", 3, "-d", "50ms", "--warmup", "0").code == 0
        assert baseline.bench("-c", 3, "-d", "50ms", "--warmup", "0", "-n", 2).json["name"] == "2"
        counts = baseline.end()
        assert all(c["asked"] > 0 for c in counts), counts


@each_baseline
@pytest.mark.parametrize("wanted, votes", [(ALL, 3), (MAJORITY, 2), (3, 3), (2, 2), (1, 1), (4, 0)])
def test_the_answer_says_how_many_have_it(name, wanted, votes):
    with Baseline(name) as baseline, Client(baseline) as client:
        client.ask(wanted)
        assert client.votes() == votes


@each_baseline
def test_all_waits_for_a_stopped_replica_and_majority_does_not(name):
    with Baseline(name) as baseline, Client(baseline) as client:
        baseline.procs[2].signal(signal.SIGSTOP)
        for _ in range(10):
            client.ask(MAJORITY)
            assert client.votes() == 2
        client.ask(ALL)
        assert client.votes(0.1) is None
        baseline.procs[2].signal(signal.SIGCONT)
        assert client.votes() == 3
        counts = baseline.end()
        assert counts[0]["sent"] == counts[0]["acked"] == 22
        assert counts[1]["served"] == counts[2]["served"] == 11


@each_baseline
def test_majority_with_one_killed(name):
    with Baseline(name) as baseline:
        baseline.procs[2].kill()
        result = baseline.bench("-n", 0, "-q", "majority", "-d", "50ms", "--warmup", "0")
        assert result.json["ok"] > 0 and result.json["failed"] == 0, result


def test_tcp_says_at_once_that_all_is_impossible():
    with Baseline("raw_tcp") as baseline, Client(baseline) as client:
        baseline.procs[2].kill()

        def fails():
            client.ask(ALL)
            return client.votes() == 0
        wait_until(fails, 5, "the connection to the killed one is closed")


@each_baseline
def test_what_is_not_answered_has_failed(name):
    """A stopped replica: every broadcast of these clients is open until the load gives up."""
    with Baseline(name) as baseline:
        baseline.procs[2].signal(signal.SIGSTOP)
        result = baseline.bench("-c", 2, "--inflight", 3, "-d", "20ms", "--warmup", "0")
        assert result.code == 1 and result.json["ok"] == 0 and result.json["failed"] == 6, result


@each_baseline
def test_results_have_the_keys_of_the_command(name):
    with Baseline(name) as baseline:
        result = baseline.bench("-c", 2, "--inflight", 5, "-s", "1K", "-d", "50ms").json
        assert list(result) == [
            "name", "n_clients", "messages", "latency (nsec)", "throughput (msg/sec)", "pattern",
            "size", "inflight", "duration_us", "ok", "failed", "p50_us", "p90_us", "p99_us",
            "p999_us", "max_us", "cpu_us_per_op"]
        assert (result["name"], result["pattern"]) == ("0,1,2", name)
        assert (result["n_clients"], result["inflight"], result["size"]) == (2, 5, 1024)
        assert result["duration_us"] >= 50000 and result["ok"] == result["messages"] > 0
        assert 0 < result["p50_us"] <= result["p99_us"] <= result["max_us"]


# ---- how it ends ----

@each_baseline
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it(name, number):
    with Baseline(name) as baseline:
        baseline.procs[0].signal(number)
        assert baseline.procs[0].wait() == 0


@each_baseline
def test_it_waits_for_the_others_until_a_signal(name):
    addresses = [f"127.0.0.1:{port}" for port in ports.take(2)]
    with Proc([program(name), "serve", 0, *addresses]) as proc:
        host, port = addresses[0].split(":")
        wait_until(lambda: listens(host, int(port)), 5, f"{proc} listens")
        assert not proc.out.all()
        proc.signal(signal.SIGTERM)
        assert proc.wait() == 0


def listens(host, port):
    with socket.socket() as s:
        return s.connect_ex((host, port)) == 0


@each_baseline
@pytest.mark.parametrize("args, says", [
    ([], "use: "),
    (["nonsense"], "use: "),
    (["serve"], "INDEX"),
    (["serve", "0"], "INDEX"),
    (["serve", "1", "127.0.0.1:9"], "1 is not the index"),
    (["serve", "0", "127.0.0.1"], "127.0.0.1 is not HOST:PORT"),
    (["serve", "0", "127.0.0.1:70000"], "127.0.0.1:70000 is not HOST:PORT"),
    (["serve", "0", *["127.0.0.1:9"] * 65], "too many"),
    (["bench"], "HOST:PORT"),
    (["bench", "-c", "0", "127.0.0.1:9"], "-c: 0"),
    (["bench", "-d", "1", "127.0.0.1:9"], "-d: 1"),
    (["bench", "-q", "most", "127.0.0.1:9"], "-q: most"),
    (["bench", "-s", "1T", "127.0.0.1:9"], "-s: 1T"),
    (["bench", "-n", "1", "127.0.0.1:9"], "-n: "),
    (["bench", "--nonsense", "127.0.0.1:9"], "--nonsense"),
], ids=lambda v: " ".join(v)[:40] if isinstance(v, list) else None)
def test_bad_arguments(name, args, says):
    result = run(program(name), *args)
    assert result.code == 2 and says in result.err and not result.out, result


@each_baseline
def test_a_port_that_is_taken(name):
    port = ports.take(1)[0]
    with socket.create_server(("127.0.0.1", port)):
        result = run(program(name), "serve", 0, f"127.0.0.1:{port}")
    assert result.code == 1 and f"127.0.0.1:{port}: Address already in use" in result.err, result


def test_bench_says_that_nobody_is_there():
    address = f"127.0.0.1:{ports.take(1)[0]}"
    result = run(program("raw_tcp"), "bench", address)
    assert result.code == 1 and f"{address}: Connection refused" in result.err, result


def test_bytes_that_are_no_frame_close_the_connection():
    with Baseline("raw_tcp") as baseline, Client(baseline) as client:
        host, port = baseline.addresses[0].split(":")
        with socket.create_connection((host, int(port))) as stranger:
            stranger.sendall(b"GET / HTTP/1.1\r\n\r\n")
            stranger.settimeout(5)
            assert stranger.recv(1) == b""
        client.ask(ALL)
        assert client.votes() == 3
