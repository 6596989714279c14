# SPDX-License-Identifier: MIT
"""The harness of the tests that run the built command as real processes.

env.py      where things are, and how slow this build is
wait.py     wait_until(), the only way to wait
ports.py    free ports that two workers never share
proc.py     one process, or one finished command
mesh.py     a peers file and its replicas
wire.py     clients that speak the wire format without our library
load.py     clients that keep replicas busy
ledger.py   nothing lost in silence, nothing twice, nobody late, memory below its bound
proxy.py    a TCP proxy that fails on command
proxied.py  a mesh whose links go through it
netns.py    a mesh with a network namespace for each replica, and a firewall in each
fake.py     a replica in Python that can misbehave
strangers.py who comes to a port without being asked
patterns.py the patterns that the conformance suite runs for, and where they differ
build.py    C programs compiled against the built library
plugin.py   time limit and turns, for every test
"""
