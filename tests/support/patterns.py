# SPDX-License-Identifier: MIT
"""The patterns that the conformance suite runs for, and the few things in which they differ.

What is not in this table holds for every pattern in the same way.
"""

import collections

import pytest

Pattern = collections.namedtuple("Pattern", [
    "window",        # messages for one peer that may be under way at once; the others wait for them
    "late_answers",  # an answer that comes after its request was over is still seen, and counted
    "one_port",      # replicas talk on the port that clients use, so a FakeReplica can stand in
])

PATTERNS = {
    "router": Pattern(window=1024, late_answers=True, one_port=True),
    "reqrep": Pattern(window=1, late_answers=False, one_port=True),
    "pubsub": Pattern(window=1024, late_answers=True, one_port=False),
}

each_pattern = pytest.mark.parametrize("pattern", PATTERNS)
each_pattern_with_one_port = pytest.mark.parametrize(
    "pattern", [name for name, pattern in PATTERNS.items() if pattern.one_port])


def of(pattern):
    return PATTERNS[pattern]
