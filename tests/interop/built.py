# SPDX-License-Identifier: MIT
"""The clients of examples/clients, built as their README.md says, once per session.

The Node.js client is installed from its lock file, which takes seconds and the npm registry, and so
is kept in a folder outside the tree that is named after what it was made from.
"""

import fcntl
import functools
import hashlib
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

import pytest

from support.env import ROOT, clean

CLIENTS = ROOT / "examples/clients"
_scratch = tempfile.TemporaryDirectory(prefix="zmqnet-test-clients-")


def _compile(*argv):
    subprocess.run([str(arg) for arg in argv], check=True)


@functools.cache
def python_path():
    """A folder with zmqnet_pb2.py."""
    out = pathlib.Path(_scratch.name) / "python"
    out.mkdir()
    _compile("protoc", "-I", ROOT / "proto", f"--python_out={out}", "zmqnet.proto")
    return out


def python(program, *args):
    """The command line of a program that imports zmqnet_pb2."""
    return ["env", f"PYTHONPATH={python_path()}", sys.executable, "-B", program, *args]


@functools.cache
def client_c():
    out = pathlib.Path(_scratch.name) / "c"
    out.mkdir()
    _compile("protoc-c", "-I", ROOT / "proto", f"--c_out={out}", "zmqnet.proto")
    _compile("cc", "-Wall", "-Wextra", "-Werror", f"-I{out}", CLIENTS / "client.c",
             out / "zmqnet.pb-c.c", "-lzmq", "-lprotobuf-c", "-o", out / "client")
    return out / "client"


@functools.cache
def client_node():
    """client.mjs in a copy of the two folders that it takes, with its modules beside it."""
    for tool in ("node", "npm"):
        if not shutil.which(tool):
            pytest.fail(f"{tool} is not there: run scripts/bootstrap")
    sources = [CLIENTS / name for name in ("client.mjs", "package.json", "package-lock.json")]
    sources.append(ROOT / "proto/zmqnet.proto")
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()[:16]
    copy = pathlib.Path(tempfile.gettempdir()) / f"zmqnet-test-node.{os.getuid()}.{digest}"
    with open(f"{copy}.lock", "a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (copy / "complete").exists():
            shutil.rmtree(copy, ignore_errors=True)
            _install(sources, copy)
            (copy / "complete").touch()
    return copy / "examples/clients/client.mjs"


def _install(sources, copy):
    for source in sources:
        target = copy / source.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, target)
    # npm alone would go on trying for minutes.
    npm = subprocess.run(["timeout", "100", "npm", "ci", "--ignore-scripts", "--no-audit",
                          "--no-fund", "--prefer-offline", "--fetch-retries=1",
                          "--fetch-retry-mintimeout=1000", "--fetch-timeout=30000"],
                         cwd=copy / "examples/clients", env=clean(), stdin=subprocess.DEVNULL,
                         stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    if npm.returncode != 0:
        pytest.fail("npm ci could not install the modules of examples/clients: the Node.js client "
                    f"was not tested; is the npm registry reachable?\n{npm.stdout.decode()}")


def command(language, *args):
    """The command line of a client."""
    if language == "python":
        return python(CLIENTS / "client.py", *args)
    if language == "node":
        return ["node", client_node(), *args]
    return [client_c(), *args]
