# SPDX-License-Identifier: MIT
"""What all tests in Python share; see tests/support."""

from support.plugin import *  # noqa: F401,F403
