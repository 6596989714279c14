# SPDX-License-Identifier: MIT
"""C programs of the tests, compiled against the library of the build directory."""

import functools
import pathlib
import subprocess
import tempfile

from support import env

_scratch = tempfile.TemporaryDirectory(prefix="zmqnet-test-bin-")


@functools.cache
def program(source):
    """Compile tests/support/SOURCE once per session; returns the path of the program."""
    source = pathlib.Path(__file__).parent / source
    out = pathlib.Path(_scratch.name) / source.stem
    flags = [f"-fsanitize={env.sanitizers()}"] if env.sanitizers() else []
    subprocess.run(["cc", "-std=gnu11", "-Wall", "-Wextra", "-Werror", "-g", *flags,
                    f"-I{env.ROOT / 'include'}", source, "-o", out, f"-L{env.BUILD}",
                    f"-L{env.BUILD / 'src'}", f"-Wl,-rpath,{env.BUILD}:{env.BUILD / 'src'}",
                    "-lzmqnet"], check=True)
    return out
