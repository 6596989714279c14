# SPDX-License-Identifier: MIT
"""`bench`: what it writes and counts, that a stall cannot hide, and how it compares two sets of runs.

Nothing here judges how fast anything is.
"""

import json
import re
import signal

import pytest

from support import env
from support.mesh import Mesh
from support.proc import zmqnet
from support.wait import holds_for, wait_until

KEYS = ["name", "n_clients", "messages", "latency (nsec)", "throughput (msg/sec)", "pattern", "size",
        "inflight", "duration_us", "ok", "failed", "p50_us", "p90_us", "p99_us", "p999_us", "max_us",
        "first_ack_us", "majority_us", "all_us", "cpu_us_per_op", "rate", "quorum", "replicas"]

STALL_SECONDS = 0.3


def lines_of(mesh, name="results.json"):
    """The lines of a results file, none if there is none."""
    path = mesh.dir / name
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def sent(bench_err):
    return int(re.search(r"^  sent +(\d+) in ", bench_err, re.M)[1])


def start_bench(mesh, *args):
    """Start one; return when it is under way."""
    before = {name: len(mesh.deliveries(name)) for name in mesh.names}
    bench = mesh.spawn_zmqnet("bench", "--json", "--warmup", "0s", *args)
    wait_until(lambda: any(len(mesh.deliveries(name)) >= before[name] + 20 for name in mesh.running()),
               10, "the load has begun")
    return bench


def result(bench):
    """Its line, once it has ended."""
    code = bench.wait(15)
    assert len(bench.out.all()) == 1, (code, bench.out.all(), bench.err.all())
    return code, json.loads(bench.out.all()[0])


# ---- what it writes ----

def test_a_run_appends_a_line():
    """The keys and their order are a contract; the first five are the original program's."""
    with Mesh() as mesh:
        done = mesh.zmqnet("bench", "-n", "alpha", "-c", "3", "-d", "300ms", "--warmup", "50ms",
                           "--json", "-s", "1K", "-q", "majority")
        assert done.code == 0, done
        assert list(done.json) == KEYS
        line = done.json
        assert (line["name"], line["n_clients"], line["pattern"], line["size"]) == \
            ("alpha", 3, "router", 1024)
        assert (line["inflight"], line["rate"], line["quorum"], line["replicas"]) == \
            (1, None, "majority", 3)
        assert line["messages"] == line["ok"] == sent(done.err) > 0 and line["failed"] == 0
        assert 300_000 <= line["duration_us"] < 10_000_000
        assert line["throughput (msg/sec)"] == pytest.approx(
            line["ok"] / line["duration_us"] * 1e6, rel=1e-3)
        quantiles = [line[f"{key}_us"] for key in ("p50", "p90", "p99", "p999", "max")]
        assert quantiles == sorted(quantiles) and quantiles[0] > 0
        assert 0 < line["latency (nsec)"] <= line["max_us"] * 1000
        for key in ("first_ack_us", "majority_us", "all_us"):
            assert list(line[key]) == ["p50", "p99"]
        assert line["first_ack_us"]["p50"] <= line["p50_us"]
        assert line["cpu_us_per_op"] > 0
        assert lines_of(mesh) == [line]

        done = mesh.zmqnet("bench", "-d", "100ms", "--warmup", "0s")
        assert done.code == 0 and done.out == "", done
        assert len(lines_of(mesh)) == 2 and lines_of(mesh)[0] == line
        assert lines_of(mesh)[1]["name"] == "alpha"


def test_clients_are_spread_and_x_writes_nothing():
    with Mesh() as mesh:
        done = mesh.zmqnet("bench", "-c", "5", "--inflight", "4", "-d", "200ms", "--warmup", "0s",
                           "-X", "--json")
        assert done.code == 0, done
        assert done.json["name"] == "alpha,bravo,charlie" and done.json["inflight"] == 4
        for name in mesh.names:
            assert {d.origin for d in mesh.deliveries(name)} == set(mesh.names)
        done = mesh.zmqnet("bench", "-n", "charlie", "-n", "bravo", "-c", "2", "-d", "50ms", "-o",
                           "other.json", "--warmup", "0s", "--quiet", "--json")
        assert done.code == 0 and done.err == "", done
        assert lines_of(mesh) == []
        assert [line["name"] for line in lines_of(mesh, "other.json")] == ["charlie,bravo"]


@pytest.mark.parametrize("pattern", ["reqrep", "pubsub"])
def test_the_pattern_is_that_of_the_replicas(pattern):
    with Mesh(pattern=pattern) as mesh:
        done = mesh.zmqnet("bench", "-X", "--json", "-d", "100ms", "--warmup", "0s", "-c", "2")
        assert done.code == 0 and done.json["pattern"] == pattern, done


def test_a_line_per_second():
    with Mesh() as mesh:
        done = mesh.zmqnet("bench", "-X", "-d", "1100ms", "--warmup", "100ms", "--rate", "100")
        assert done.code == 0 and done.out == "", done
        assert re.search(r"^   1 s +\d+ ok +0 failed  p50 \d+ us", done.err, re.M), done
        assert sent(done.err) == 110, done


# ---- what it counts ----

def test_open_loop_sends_by_the_clock():
    with Mesh() as mesh:
        done = mesh.zmqnet("bench", "-X", "--json", "-c", "3", "--rate", "1000", "-d", "500ms",
                           "--warmup", "100ms")
        assert done.code == 0, done
        assert done.json["ok"] + done.json["failed"] == sent(done.err) == 500
        assert done.json["rate"] == 1000


def stall(mesh, *args):
    """The line of a run against alpha, which is stopped for a while in the middle."""
    bench = start_bench(mesh, "-X", "-n", "alpha", "-d", "1200ms", *args)
    mesh.pause("alpha")
    holds_for(lambda: bench.code is None, STALL_SECONDS, "the load goes on")
    mesh.resume("alpha")
    code, line = result(bench)
    assert code == 0 and line["failed"] == 0, line
    return line


def test_a_stall_shows_in_an_open_loop():
    """Everything that was due meanwhile had to wait; a closed loop has one message that did."""
    stall_us = STALL_SECONDS * 1e6 * 0.9
    with Mesh() as mesh:
        line = stall(mesh, "--rate", "400")
        assert line["ok"] == 480
        assert min(line["p99_us"], line["p999_us"], line["max_us"]) > stall_us * 0.7, line
        assert line["max_us"] > stall_us, line
        line = stall(mesh)
        assert line["max_us"] > stall_us, line
        assert line["p99_us"] < stall_us, line


def test_a_stall_of_bench_itself_shows():
    """What was due while it could not send is sent late, and its time counts from when it was due."""
    with Mesh() as mesh:
        bench = start_bench(mesh, "-X", "-n", "alpha", "-d", "1s", "--rate", "400")
        bench.signal(signal.SIGSTOP)
        holds_for(lambda: bench.code is None, STALL_SECONDS, "it is stopped")
        bench.signal(signal.SIGCONT)
        code, line = result(bench)
        assert code == 0 and line["ok"] + line["failed"] == 400, line
        assert line["p99_us"] > STALL_SECONDS * 1e6 * 0.7, line


def test_a_killed_replica_in_mid_run():
    """Closed loop: every broadcast after it lacks its ack, and is failed; the mesh goes on."""
    with Mesh() as mesh:
        bench = start_bench(mesh, "-n", "alpha", "-c", "2", "-d", "800ms", "-t", "300ms", "-r", "1")
        mesh.kill("charlie")
        code, line = result(bench)
        assert code == 0 and line["ok"] > 0 and line["failed"] > 0, line
        assert line["ok"] + line["failed"] == sent(bench.err.text())
        assert re.search(r"^  failed +\d+: .*\d+ no_quorum", bench.err.text(), re.M)


def test_a_killed_target_in_mid_run():
    """Open loop: what is due goes on being due. Nothing is lost from the count."""
    with Mesh() as mesh:
        bench = start_bench(mesh, "-n", "alpha", "-n", "bravo", "-c", "2", "--rate", "500", "-d", "1s",
                            "-t", "200ms", "-r", "1", "--inflight", "10", "-q", "majority")
        mesh.kill("alpha")
        code, line = result(bench)
        assert code == 0 and line["failed"] > 0, line
        assert line["ok"] + line["failed"] == sent(bench.err.text()) == 500
        assert re.search(r"^  failed +\d+: .*\d+ full", bench.err.text(), re.M), bench.err.text()


def test_nothing_gets_its_quorum():
    with Mesh() as mesh:
        mesh.lose("charlie")
        done = mesh.zmqnet("bench", "-n", "alpha", "-d", "100ms", "--warmup", "0s", "--json")
        assert done.code == 4, done
        assert list(done.json) == KEYS
        assert done.json["messages"] == done.json["ok"] == 0 < done.json["failed"]
        assert done.json["throughput (msg/sec)"] == 0
        for key in ("latency (nsec)", "p50_us", "max_us", "cpu_us_per_op"):
            assert done.json[key] is None
        assert done.json["all_us"] == {"p50": None, "p99": None}
        assert lines_of(mesh) == [done.json]
        assert re.search(r"^zmqnet: alpha: no quorum", done.err, re.M), done

        done = mesh.zmqnet("bench", "-c", "3", "-d", "100ms", "--warmup", "0s", "-q", "majority",
                           "-t", "100ms", "-r", "1", "-X", "--json")
        assert done.code == 0 and done.json["ok"] > 0 and done.json["failed"] > 0, done
        assert "charlie does not answer (connection refused" in done.err, done
        assert mesh.zmqnet("bench", "-n", "charlie", "--json").code == 6
        assert len(lines_of(mesh)) == 1


@pytest.mark.parametrize("number, code", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_it_with_what_is_known(number, code):
    with Mesh() as mesh:
        bench = start_bench(mesh, "-d", "1m", "-c", "3")
        bench.signal(number)
        got, line = result(bench)
        assert got == code
        assert line["ok"] > 0 and line["duration_us"] < 60_000_000
        assert line["ok"] + line["failed"] == sent(bench.err.text())
        assert lines_of(mesh) == [line]


def test_a_signal_during_the_warm_up():
    with Mesh() as mesh:
        bench = start_bench(mesh, "-d", "1m", "--warmup", "1m")
        bench.signal(signal.SIGINT)
        code, line = result(bench)
        assert code == 130 and line["ok"] == line["failed"] == 0
        assert lines_of(mesh) == []


# ---- what cannot work ----

@pytest.mark.parametrize("args, texts", [
    (["-c", "0"], ["-c/--clients", "1 to 1000"]),
    (["-s", "17M"], ["-s/--size", "17M", "16777216"]),
    (["-s", "1k"], ["-s/--size", "64K"]),
    (["--rate", "0"], ["--rate", "from 1"]),
    (["-d", "0"], ["-d/--duration", "above 0"]),
    (["-d"], ["-d/--duration", "needs a value"]),
    (["--inflight", "1025"], ["--inflight", "1024"]),
    (["--tolerance", "101%"], ["--tolerance", "100%"]),
    (["--tolerance", "5%%"], ["--tolerance"]),
    (["-c", "100", "-s", "16M"], ["--clients times --inflight times --size"]),
    (["-c", "2", "-n", "alpha", "-n", "alpha"], ["alpha is there twice"]),
    (["-n", "alpha", "-n", "bravo"], ["2 replicas", "--clients"]),
    (["-n", "delta"], ["no replica delta"]),
    (["-q", "4"], ["--quorum", "4 of 3"]),
    (["-t", "200s"], ["--timeout times --retries"]),
    (["results.json"], ["no argument like", "--compare"]),
    (["--compare", "a.json"], ["two results files"]),
], ids=" ".join)
def test_bad_input(args, texts):
    done = zmqnet("bench", "-p", env.ROOT / "peers.json", "-X", *args)
    assert done.code == 2 and done.out == "", done
    assert len(done.err.splitlines()) == 1, done
    for text in texts:
        assert text in done.err, done


def test_results_that_cannot_be_written_are_told_before_the_run():
    with Mesh() as mesh:
        for path in ("nowhere/results.json", "."):
            done = mesh.zmqnet("bench", "-d", "1m", "-o", path)
            assert done.code == 2 and path in done.err and "-X" in done.err, done


def test_nobody_is_there():
    with Mesh(run=0) as mesh:
        done = mesh.zmqnet("bench", "-d", "1m", "--json")
        assert done.code == 6 and done.json["error"]["code"] == "never_sent", done
        assert "start it with zmqnet serve -n alpha" in done.json["error"]["hint"], done
        assert lines_of(mesh) == []


# ---- comparing ----

# Six runs of one thing on a machine that is not quiet.
NOISE = [1.0, 0.981, 1.014, 0.993, 1.022, 0.987]


def run_line(**changes):
    line = {"name": "alpha", "n_clients": 27, "messages": 1000, "latency (nsec)": 200_000,
            "throughput (msg/sec)": 10_000.0, "pattern": "router", "size": 32, "inflight": 1,
            "p50_us": 200, "p99_us": 900, "rate": None, "quorum": "all", "replicas": 3}
    return line | changes


def write_runs(path, speed, noise=NOISE, **changes):
    """Runs that are `speed` times as fast as those of run_line()."""
    lines = [run_line(**{"throughput (msg/sec)": 10_000 * speed * n, "p50_us": int(2000 / speed / n),
                         "p99_us": int(9000 / speed / n)} | changes) for n in noise]
    with open(path, "a") as file:
        file.writelines(json.dumps(line) + "\n" for line in lines)
    return path


def compare(a, b, *args):
    return zmqnet("bench", "--compare", a, b, *args)


@pytest.fixture
def files(tmp_path):
    return tmp_path / "A.json", tmp_path / "B.json"


def verdicts(done):
    return [line["verdict"] for line in done.jsons if "verdict" in line]


def test_compare_equal_sets(files):
    a, b = write_runs(files[0], 1), write_runs(files[1], 1, [n + 0.003 for n in reversed(NOISE)])
    done = compare(a, b, "--json")
    assert done.code == 0 and verdicts(done) == ["no difference"] * 3, done
    assert list(done.jsons[0]) == ["v", "case", "figure", "runs_a", "runs_b", "median_a", "median_b",
                                   "ratio", "p", "verdict"]
    assert [line["figure"] for line in done.jsons] == ["throughput", "p50_us", "p99_us"]
    done = compare(a, b)
    assert done.code == 0 and done.err == "" and "Mann-Whitney" in done.out, done


def test_compare_ten_per_cent_slower(files):
    a, b = write_runs(files[0], 1), write_runs(files[1], 0.9)
    done = compare(a, b)
    assert done.code == 9 and len(done.err.splitlines()) == 1, done
    assert len(re.findall(r"  worse$", done.out, re.M)) == 3, done
    done = compare(a, b, "--json")
    assert done.code == 9 and verdicts(done) == ["worse"] * 3, done
    assert done.jsons[0]["ratio"] == pytest.approx(0.9) and done.jsons[0]["p"] < 0.05
    assert done.jsons[-1]["error"]["exit"] == 9
    assert compare(a, b, "--tolerance", "15%").code == 0
    assert verdicts(compare(a, b, "--tolerance", "15", "--json")) == ["within the tolerance"] * 3
    assert verdicts(compare(b, a, "--json")) == ["better"] * 3
    assert compare(b, a).code == 0


def test_compare_by_case(files):
    """Each case is judged by itself; one that only one file has is told, and not judged."""
    for path, slow in zip(files, (1, 0.9)):
        write_runs(path, 1)
        write_runs(path, slow, size=1024)
        write_runs(path, slow, n_clients=1, rate=500)
    write_runs(files[0], 1, pattern="pubsub")
    done = compare(*files, "--json")
    assert done.code == 9, done
    cases = {}
    for line in done.jsons[:-1]:
        cases.setdefault(line["case"], []).append(line["verdict"])
    assert sorted(map(tuple, cases.values())) == \
        [("no difference",) * 3, ("worse",) * 3, ("worse",) * 3]
    assert re.search(r"only \S*A\.json has: 1$", done.err, re.M), done


def test_compare_runs_without_an_answer(files):
    """Null is worse than any latency."""
    a = write_runs(files[0], 1)
    b = write_runs(files[1], 1, **{"p50_us": None, "p99_us": None, "throughput (msg/sec)": 0})
    done = compare(a, b, "--json")
    assert done.code == 9 and verdicts(done) == ["worse"] * 3, done
    assert done.jsons[1]["median_b"] is None and done.jsons[1]["ratio"] is None


def test_compare_needs_enough_runs(files):
    a, b = write_runs(files[0], 1, NOISE[:3]), write_runs(files[1], 0.5, NOISE[:3])
    done = compare(a, b)
    assert done.code == 2 and "too few runs" in done.out and "four of each" in done.err, done


def test_compare_what_cannot_be_compared(files):
    a, b = write_runs(files[0], 1), write_runs(files[1], 1, size=64)
    done = compare(a, b)
    assert done.code == 2 and "no case in common" in done.err, done
    with open(b, "a") as file:
        file.write('\n{"name":"alpha","n_clients":2}\n')
    done = compare(a, b)
    assert done.code == 2 and done.out == "", done
    assert f'{b}:8: "inflight" is missing' in done.err, done
    b.write_bytes(b'{"name":"alpha"\n')
    assert f"{b}:1: this is no line of JSON" in compare(a, b).err
    b.write_bytes(b"x" * 70000 + b"\n")
    assert f"{b}:1: the line is too long" in compare(a, b).err
    done = compare(a, b.with_name("none.json"))
    assert done.code == 2 and "none.json cannot be read: No such file" in done.err, done
