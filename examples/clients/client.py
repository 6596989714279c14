#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Hands a message to a replica and prints what became of it at each; README.md says how to run it.

The replica has 2 s, and we wait a little longer, so that a receipt that took all of that still
comes. Exit codes: 0 all of them did it, 4 not all, 1 another error; 5 unknown.
"""
import secrets
import sys
import zmq
from zmqnet_pb2 import Body, Outcome, SUBMIT

sort, endpoint, message = sys.argv[1:]
socket = zmq.Context.instance().socket({"req": zmq.REQ, "dealer": zmq.DEALER}[sort])
socket.linger = 0
socket.connect(endpoint)
ask = Body(kind=SUBMIT, message=message.encode(), origin=secrets.randbits(64) | 1, seq=1,
           budget_ms=2000, attempt=1)
socket.send(ask.SerializeToString())
if not socket.poll(2500):
    print("unknown: no answer in time, it may have happened", file=sys.stderr)
    sys.exit(5)
receipt = Body.FromString(socket.recv())
for row in receipt.rows:
    print(f"{row.name:10} {Outcome.Name(row.outcome):10} {row.why}")
print(f"{receipt.have} of {receipt.need} said yes", receipt.message.decode())
sys.exit({0: 0, -14: 4}.get(receipt.code, 1))
