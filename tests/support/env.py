# SPDX-License-Identifier: MIT
"""Where things are, and how slow this build is."""

import functools
import json
import os
import pathlib
import subprocess

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = ROOT / os.environ.get("ZMQNET_BUILD", os.environ.get("BUILD", "build"))
ZMQNET = BUILD / "zmqnet"

# Sanitizer builds and slow machines set it above 1: every time limit is multiplied by it.
SCALE = float(os.environ.get("ZMQNET_TEST_SCALE", "1"))


@functools.cache
def sanitizers():
    """What the build directory was configured with, as -fsanitize= takes it; "" for none."""
    options = subprocess.run(["meson", "introspect", BUILD, "--buildoptions"],
                             stdout=subprocess.PIPE, check=True).stdout
    value = {o["name"]: o["value"] for o in json.loads(options)}["b_sanitize"]
    value = ",".join(value) if isinstance(value, list) else value
    return "" if value == "none" else value


def clean(extra=None):
    """An environment for the command that does not depend on the one of the tests."""
    env = {k: v for k, v in os.environ.items()
           if not k.startswith("ZMQNET_") and k not in ("PEERS_PATH", "NO_COLOR", "NOTIFY_SOCKET")}
    env.update(LC_ALL="C.UTF-8", TERM="dumb")
    env.update(extra or {})
    return env
