# SPDX-License-Identifier: MIT
"""The examples, built with the installed library as their first comment says, do what it says."""

import subprocess

import pytest
from test_install import Installed, pytestmark  # noqa: F401 - the skip is ours too

from support import env
from support.mesh import Mesh
from support.wait import wait_until


@pytest.fixture(name="example", scope="module")
def _example(tmp_path_factory):
    """Compiles an example; returns what has to stand in front of its arguments."""
    installed = Installed(tmp_path_factory.mktemp("destdir"))
    out = tmp_path_factory.mktemp("bin")

    def compile_(name):
        flags = installed.pkg_config("--cflags", "--libs")
        subprocess.run(["cc", "-std=gnu11", "-Wall", "-Wextra", "-Werror",
                        env.ROOT / "examples" / f"{name}.c", "-o", out / name, *flags], check=True)
        return ["env", f"LD_LIBRARY_PATH={installed.lib}", out / name]
    return compile_


def _ask_value(proc):
    """The counter's value now: an empty line shows it."""
    seen = len(proc.out.all())
    proc.write("\n")
    wait_until(lambda: len(proc.out.all()) > seen, 5, "a value")
    return int(proc.out.all()[seen])


def test_counter_is_equal_everywhere(example):
    counter = example("counter")
    with Mesh(run=0) as mesh:
        procs = [mesh.spawn(*counter, mesh.path, name) for name in mesh.names]
        for name in mesh.names:
            mesh.wait_up(name, mesh.names)
        for number in range(1, 11):
            for proc in procs:
                proc.write(f"{number}\n")
        for proc in procs:
            wait_until(lambda: len(proc.out.all()) == 10, 10, "ten broadcasts are complete")
        assert [_ask_value(proc) for proc in procs] == [3 * sum(range(1, 11))] * 3
        procs[1].write("-65\n")
        wait_until(lambda: len(procs[1].out.all()) == 12, 5, "one more")
        assert [_ask_value(proc) for proc in procs] == [100] * 3
        procs[2].write("a lot\n")
        wait_until(lambda: procs[2].err.matching("^a lot: "), 5, "what is no number is refused")
        for proc in procs:
            proc.close_stdin()
        assert [proc.wait() for proc in procs] == [0, 0, 0]


def test_counter_tells_what_is_missing(example):
    counter = example("counter")
    with Mesh(run=0) as mesh:
        proc = mesh.spawn(*counter, mesh.path, "alpha")
        proc.write("5\n")
        missing = "^  (bravo|charlie): never_sent connection refused"
        wait_until(lambda: proc.err.matching(missing), 10, "one is missing")
        assert _ask_value(proc) == 5
        proc.close_stdin()
        assert proc.wait() == 0


def test_embedded_node(example):
    embed = example("embed")
    with Mesh(run=2) as mesh:
        proc = mesh.spawn(*embed, mesh.path, "charlie")
        for name in mesh.names:
            mesh.wait_up(name, mesh.names)
        assert mesh.send("to all").code == 0
        wait_until(lambda: proc.out.matching("^deliver bravo to all$"), 5, "charlie delivers")
        proc.write("from charlie\n")
        wait_until(lambda: proc.out.matching("^receipt 3/3 "), 5, "the receipt")
        assert mesh.wait_delivered("alpha", "from charlie")[0].origin == "charlie"
        proc.close_stdin()
        assert proc.wait() == 0
