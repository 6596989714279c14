# SPDX-License-Identifier: MIT
"""A mesh whose replicas have a network namespace each, joined by a switch in one more, and a firewall.

Needs root, `ip` and `nft`; `usable()` says what is missing. Nothing of this machine's own network is
touched: tests ask the replicas by commands and clients inside the namespaces.
"""

import contextlib
import ctypes
import json
import os
import shutil
import subprocess

from support import env, proc, wire
from support.mesh import Mesh

PORT = 3264
CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)
NETWORK = "198.18.0"


def usable():
    """None, or why not."""
    if os.geteuid() != 0:
        return "only root makes network namespaces"
    missing = [tool for tool in ("ip", "nft") if not shutil.which(tool)]
    if missing:
        return f"{missing[0]} is not installed"
    probe = f"zn{os.getpid()}"
    if subprocess.run(["ip", "netns", "add", probe], stderr=subprocess.DEVNULL).returncode:
        return "this system lets nobody make network namespaces"
    subprocess.run(["ip", "netns", "del", probe], check=True)
    return None


def run(*words):
    subprocess.run(words, check=True, stdout=subprocess.PIPE)


def _enter(path):
    with open(path) as space:
        assert _libc.setns(space.fileno(), CLONE_NEWNET) == 0, os.strerror(ctypes.get_errno())


@contextlib.contextmanager
def inside(space):
    """This thread is in the namespace for as long as the block lasts; sockets that it opens stay there,
    and so do threads that it starts, as libzmq's for a context is by its first socket."""
    with open("/proc/thread-self/ns/net") as home:
        _enter(f"/run/netns/{space}")
        try:
            yield
        finally:
            _enter(f"/proc/self/fd/{home.fileno()}")


class NetnsMesh(Mesh):
    """The replicas of a mesh at addresses of their own; each one's namespace has its name."""

    def __init__(self, count=3, **kwargs):
        super().__init__(count, run=0, **kwargs)
        self._space = {name: f"zn{os.getpid()}{name}" for name in (*self.names, "switch")}
        self.address = {name: f"{NETWORK}.{n}" for n, name in enumerate(self.names, 1)}
        self.path.write_text(json.dumps({"replicas": [
            {"pid": n, "name": name, "address": f"{self.address[name]}:{PORT}"}
            for n, name in enumerate(self.names)]}))

    def _inside(self, name, *words):
        return ["ip", "netns", "exec", self._space[name], *map(str, words)]

    def _build(self):
        for space in self._space.values():
            run("ip", "netns", "add", space)
        switch = self._space["switch"]
        run("ip", "-n", switch, "link", "add", "name", "bridge0", "type", "bridge")
        run("ip", "-n", switch, "link", "set", "bridge0", "up")
        for name in self.names:
            space = self._space[name]
            run("ip", "link", "add", "name", "eth0", "netns", space, "type", "veth", "peer", "name", name,
                "netns", switch)
            run("ip", "-n", switch, "link", "set", name, "master", "bridge0", "up")
            run("ip", "-n", space, "addr", "add", f"{self.address[name]}/24", "dev", "eth0")
            for device in ("lo", "eth0"):
                run("ip", "-n", space, "link", "set", device, "up")

    def start(self, *names, args=(), argv=None):
        for name in names:
            self.adopt(name, self.spawn(*self._inside(
                name, env.ZMQNET, "-p", self.path, "serve", "-n", name, "--pattern",
                self.pattern)))
        for name in names:
            self.wait_ready(name)

    def firewall(self, name, rule):
        """What `name` sends is subject to this rule of nftables; "": to none any more."""
        lines = ["add table inet faults", "delete table inet faults"]
        if rule:
            lines += ["add table inet faults",
                      "add chain inet faults out { type filter hook output priority 0; }",
                      f"add rule inet faults out {rule}"]
        subprocess.run(self._inside(name, "nft", "-f", "-"), check=True, text=True,
                       input="\n".join(lines) + "\n")

    # ---- asking, from inside ----

    def zmqnet(self, *args, at=None, **kwargs):
        """A command that runs where this replica (default: the first) runs."""
        return proc.run(*self._inside(at or self.names[0], env.ZMQNET, "-p", self.path, *args),
                        cwd=self.dir, **kwargs)

    def view(self, name):
        return self.zmqnet("status", "--json", "-n", name, at=name).json

    def client(self, name, sort="req"):
        with inside(self._space[name]):
            return wire.Client(PORT, sort, self.address[name])

    def __enter__(self):
        try:
            self._build()
            self.start(*self.names)
            self.linked()
        except BaseException:
            self._close(failed=True)
            raise
        return self

    def _close(self, failed):
        super()._close(failed)
        for space in self._space.values():
            subprocess.run(["ip", "netns", "del", space], stderr=subprocess.DEVNULL, check=False)
