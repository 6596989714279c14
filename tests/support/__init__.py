# SPDX-License-Identifier: MIT
"""The harness of the tests that run the built command as real processes.

env.py      where things are, and how slow this build is
wait.py     wait_until(), the only way to wait
ports.py    free ports that two workers never share
proc.py     one process, or one finished command
mesh.py     a peers file and its replicas
wire.py     clients that speak the wire format without our library
load.py     clients that keep replicas busy
fake.py     a replica in Python that can misbehave
patterns.py the patterns that the conformance suite runs for, and where they differ
build.py    C programs compiled against the built library
plugin.py   time limit and turns, for every test
"""
