# SPDX-License-Identifier: MIT
"""A time limit for every test, and turns: a test that measures time runs alone on this machine."""

import contextlib
import fcntl
import os
import signal
import tempfile

import pytest

from support.env import SCALE, ZMQNET

LIMIT_SECONDS = 30


def _lock_path(name):
    return os.path.join(tempfile.gettempdir(), f"zmqnet-test-{name}.{os.getuid()}")


@contextlib.contextmanager
def _turn(alone):
    """Hold the machine with others, or alone. The gate keeps those who come later from overtaking
    one who waits to be alone."""
    with open(_lock_path("machine"), "a") as machine:
        with open(_lock_path("gate"), "a") as gate:
            fcntl.flock(gate, fcntl.LOCK_EX)
            fcntl.flock(machine, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        yield


@contextlib.contextmanager
def _limit(seconds):
    def expire(_signal, _frame):
        pytest.fail(f"the test took longer than {seconds:g} s")

    before = signal.signal(signal.SIGALRM, expire)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_call(item):
    limit = item.get_closest_marker("limit")
    seconds = limit.args[0] if limit else LIMIT_SECONDS
    with _turn(item.get_closest_marker("alone") is not None), _limit(seconds * SCALE):
        yield


def pytest_collection_modifyitems(items):
    """Those that run alone come last: nobody has to wait for them then."""
    items.sort(key=lambda item: item.get_closest_marker("alone") is not None)


def pytest_sessionstart(session):
    if not os.access(ZMQNET, os.X_OK):
        pytest.exit(f"{ZMQNET} is not there: run `make` first", returncode=2)
