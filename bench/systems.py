# SPDX-License-Identifier: MIT
"""What is measured: replicas of the mesh, one system per pattern, and the two baselines.

A Mesh is the replicas of one system as processes of this machine, and how load is put on them.
"""
import json
import os
import pathlib
import resource
import signal
import subprocess
import tempfile
import time

from support import env, ports
from support.proc import Proc
from support.wait import wait_until

PATTERNS = ("router", "reqrep", "pubsub")
BASELINES = ("raw_zmq", "raw_tcp")
SYSTEMS = PATTERNS + BASELINES

READY_SECONDS = 60
LOAD_EXTRA_SECONDS = 20  # a load that takes so much longer than asked for is killed

SIZES = {"32 B": 32, "1 KiB": 1 << 10, "64 KiB": 64 << 10}


class Failed(Exception):
    """A trial that gave no result, with the reason."""


def _ms(seconds):
    return f"{round(seconds * 1000)}ms"


class Mesh:
    """`count` replicas of a system. with Mesh("router", 3) as mesh: they run and are linked."""

    def __init__(self, system, count):
        self.system = system
        self._baseline = system in BASELINES
        self._scratch = tempfile.TemporaryDirectory(prefix="zmqnet-bench-")
        self._dir = pathlib.Path(self._scratch.name)
        self._names = [f"r{i:02}" for i in range(count)]
        self._ports = ports.take(count)
        self._addresses = [f"127.0.0.1:{port}" for port in self._ports]
        self._peers = self._dir / "peers.json"
        self._peers.write_text(self._peers_text())
        self.procs = []

    def _peers_text(self):
        replicas = [{"name": name, "address": address}
                    for name, address in zip(self._names, self._addresses)]
        if self.system == "pubsub":
            more = ports.take(2 * len(replicas))
            for i, replica in enumerate(replicas):
                replica["ports"] = {"pub": more[2 * i], "ack": more[2 * i + 1]}
        return json.dumps({"replicas": replicas})

    def _program(self):
        return env.BUILD / "bench" / self.system if self._baseline else env.ZMQNET

    def _serve_argv(self, i):
        if self._baseline:
            return [self._program(), "serve", i, *self._addresses]
        return [self._program(), "-p", self._peers, "serve", "-n", self._names[i], "--quiet",
                "--pattern", self.system]

    def _bench_argv(self, case, seconds, warmup):
        common = ["-c", case["clients"], "--inflight", case["inflight"], "-s", case["size"],
                  "-d", _ms(seconds), "--warmup", _ms(warmup), "-q", case["quorum"]]
        one = case["placement"] == "one"
        if self._baseline:
            return [self._program(), "bench", *common, *(["-n", 0] if one else []),
                    *self._addresses]
        return [self._program(), "-p", self._peers, "bench", *common,
                *(["-n", self._names[0]] if one else []), "-o", self._dir / "results.json"]

    # ---- life ----

    def __enter__(self):
        try:
            self._start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_):
        self.close()

    def _start(self):
        for i in range(len(self._names)):
            self.procs.append(Proc(self._serve_argv(i), cwd=self._dir))
        for proc in self.procs:
            wait_until(lambda: proc.out.matching("^ready ") or proc.code is not None,
                       READY_SECONDS, f"{proc} is ready")
            if proc.code is not None:
                raise Failed(f"{proc} ended: {proc.err.text()}")
        if not self._baseline:
            subprocess.run([env.ZMQNET, "-p", self._peers, "wait", "-t", f"{READY_SECONDS}s"],
                           env=env.clean(), check=True, stdout=subprocess.DEVNULL)

    def degrade(self, state):
        """The last replica is killed or stopped. Nobody puts load on it."""
        if state == "killed":
            self.procs[-1].kill()
        elif state == "stopped":
            self.procs[-1].signal(signal.SIGSTOP)

    def close(self):
        for proc in self.procs:
            proc.kill()
        self._scratch.cleanup()

    # ---- what it costs ----

    def pids(self):
        return [proc.pid for proc in self.procs if proc.code is None]

    def cpu_us(self):
        """CPU time of all replicas so far."""
        return sum(cpu_us(pid) for pid in self.pids())

    def busy(self, seconds):
        """CPUs that all replicas together take, over so long."""
        before, begin = self.cpu_us(), time.monotonic()
        time.sleep(seconds)
        return (self.cpu_us() - before) / ((time.monotonic() - begin) * 1e6)

    def rss_bytes(self):
        """Resident memory of each replica."""
        return [_status_bytes(pid, "VmRSS") for pid in self.pids()]

    def descriptors(self):
        return [len(os.listdir(f"/proc/{pid}/fd")) for pid in self.pids()]

    # ---- load ----

    def load(self, case, seconds, warmup):
        """One trial: the result's line, and what it took of the machine."""
        results = self._dir / "results.json"
        results.unlink(missing_ok=True)
        argv = [str(arg) for arg in self._bench_argv(case, seconds, warmup)]
        machine, children, own = _machine_busy_us(), _children_us(), self.cpu_us()
        begin = time.monotonic()
        with subprocess.Popen(argv, cwd=self._dir, env=env.clean(), stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as child:
            # The middle of the measuring, when all are connected and nobody is done yet.
            time.sleep(warmup + 0.1 * seconds)
            busy = self.busy(0.8 * seconds)
            out, err = _finish(child, seconds + LOAD_EXTRA_SECONDS)
        elapsed_us = (time.monotonic() - begin) * 1e6
        known_us = self.cpu_us() - own + _children_us() - children
        foreign_us = max(0, _machine_busy_us() - machine - known_us)
        lines = results.read_text() if results.exists() else out
        try:
            result = json.loads(lines.splitlines()[-1])
        except (IndexError, ValueError):
            raise Failed(f"{' '.join(argv)}: exit code {child.returncode}: "
                         f"{' '.join(err.split())[:300]}") from None
        return {**result, "replicas_cpus": round(busy, 4), "rss_max_bytes": max(self.rss_bytes()),
                "foreign_cpus": round(foreign_us / elapsed_us, 3)}


def _finish(child, seconds):
    try:
        return child.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        child.kill()
        raise Failed(f"no end after {seconds:g} s: {' '.join(child.args)}") from None


# ---- what the kernel says ----

_TICK_US = 1e6 / os.sysconf("SC_CLK_TCK")


def cpu_us(pid):
    """CPU time of a process, all threads. schedstat has nanoseconds; stat, in hundredths of a
    second, is too coarse for an idle one."""
    total_ns = 0
    for task in os.listdir(f"/proc/{pid}/task"):
        try:
            with open(f"/proc/{pid}/task/{task}/schedstat", encoding="ascii") as file:
                total_ns += int(file.read().split()[0])
        except FileNotFoundError:
            continue
    return total_ns / 1000


def _status_bytes(pid, key):
    with open(f"/proc/{pid}/status", encoding="ascii", errors="replace") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith(key))


def _children_us():
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (usage.ru_utime + usage.ru_stime) * 1e6


def _machine_busy_us():
    """CPU time of everything on this machine, what the host took from it included."""
    with open("/proc/stat", encoding="ascii") as file:
        user, nice, system, _idle, _iowait, irq, softirq, steal = \
            (int(n) for n in file.readline().split()[1:9])
    return (user + nice + system + irq + softirq + steal) * _TICK_US


def machine():
    """What a reader has to know to compare: the machine and the versions."""
    with open("/proc/cpuinfo", encoding="ascii", errors="replace") as file:
        model = next((line.split(":")[1].strip() for line in file if line.startswith("model name")),
                     "unknown processor")
    with open("/proc/meminfo", encoding="ascii") as file:
        memory = int(file.readline().split()[1]) * 1024
    libzmq = subprocess.run(["pkg-config", "--modversion", "libzmq"], stdout=subprocess.PIPE,
                            text=True, check=False).stdout.strip()
    return {"cpu": model, "cpus": len(os.sched_getaffinity(0)), "memory_bytes": memory,
            "kernel": f"{os.uname().sysname} {os.uname().release}", "libzmq": libzmq,
            "load": os.getloadavg()[0]}
