# SPDX-License-Identifier: MIT
"""Free ports that no two tests of this machine share.

They lie below the ephemeral range, where a socket that reconnects on loopback could connect to
itself. A port stays with the process that took it until that process ends: the registry is a locked
file of "port pid" lines.
"""

import fcntl
import os
import random
import socket
import tempfile

FIRST, LAST = 20000, 32000
_registry = os.path.join(tempfile.gettempdir(), f"zmqnet-test-ports.{os.getuid()}")
_random = random.SystemRandom()


def _alive(pid):
    return os.path.exists(f"/proc/{pid}")


def _is_free(port):
    with socket.socket() as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            s.bind(("", port))
        except OSError:
            return False
        return True


def take(count):
    """`count` ports that are free now and that no other test takes while this process lives."""
    with open(_registry, "a+") as f:
        fcntl.flock(f, fcntl.LOCK_EX)
        f.seek(0)
        taken = {int(port): int(pid) for port, pid in (line.split() for line in f)}
        taken = {port: pid for port, pid in taken.items() if _alive(pid)}
        ours = []
        while len(ours) < count:
            port = _random.randrange(FIRST, LAST)
            if port not in taken and _is_free(port):
                taken[port] = os.getpid()
                ours.append(port)
        f.truncate(0)
        f.writelines(f"{port} {pid}\n" for port, pid in taken.items())
    return ours
