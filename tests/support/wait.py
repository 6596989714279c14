# SPDX-License-Identifier: MIT
"""wait_until(), the only way in which a test waits."""

import time

from support.env import SCALE

POLL_SECONDS = 0.004


def wait_until(condition, seconds, what):
    """Return the first true value of condition(); fail if there is none within `seconds`.

    `what` names the thing that was waited for. The limit is scaled for slow builds.
    """
    limit = time.monotonic() + seconds * SCALE
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < limit, f"not within {seconds * SCALE:g} s: {what}"
        time.sleep(POLL_SECONDS)


def holds_for(condition, seconds, what):
    """Fail as soon as condition() is false; return after `seconds`, which are not scaled."""
    limit = time.monotonic() + seconds
    while time.monotonic() < limit:
        assert condition(), f"did not stay so for {seconds:g} s: {what}"
        time.sleep(POLL_SECONDS)
