# SPDX-License-Identifier: MIT
"""What `make install` leaves: files, exported names, a header that stands alone, pkg-config."""

import json
import os
import re
import subprocess

import pytest

from support import env

EXAMPLES = sorted(p.name for p in (env.ROOT / "examples").glob("*.c"))


def _is_instrumented():
    options = subprocess.run(["meson", "introspect", env.BUILD, "--buildoptions"],
                             stdout=subprocess.PIPE, check=True).stdout
    value = {o["name"]: o["value"] for o in json.loads(options)}
    return value["b_coverage"] or env.sanitizers() != ""


pytestmark = pytest.mark.skipif(_is_instrumented(), reason="this build is not for installing")


class Installed:
    """A copy of the built tree below a DESTDIR."""

    def __init__(self, destdir):
        subprocess.run(["meson", "install", "-C", env.BUILD, "--no-rebuild", "--quiet"], check=True,
                       env={**os.environ, "DESTDIR": str(destdir)})
        self.files = [p for p in destdir.rglob("*") if not p.is_dir()]
        self.pc = self.only("zmqnet.pc")
        self.lib = self.only("libzmqnet.so.0").parent
        self.prefix = self.only("zmqnet.h").parents[1]

    def only(self, name):
        found = [p for p in self.files if p.name == name]
        assert len(found) == 1, f"{name}: {found}"
        return found[0]

    def pkg_config(self, *args):
        done = subprocess.run(
            ["pkg-config", f"--define-variable=prefix={self.prefix}", *args, "zmqnet"], check=True,
            stdout=subprocess.PIPE, text=True,
            env={**os.environ, "PKG_CONFIG_PATH": str(self.pc.parent)})
        return done.stdout.split()


@pytest.fixture(name="installed", scope="session")
def _installed(tmp_path_factory):
    return Installed(tmp_path_factory.mktemp("destdir"))


def header():
    text = (env.ROOT / "include" / "zmqnet.h").read_text()
    return re.sub(r"/\*.*?\*/", "", text, flags=re.S)


def run(*argv, **kwargs):
    done = subprocess.run([str(a) for a in argv], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          text=True, check=False, **kwargs)
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.mark.parametrize("path", [
    "bin/zmqnet", "include/zmqnet.h", "share/man/man1/zmqnet.1",
    "share/bash-completion/completions/zmqnet", "share/zsh/site-functions/_zmqnet",
    "share/fish/vendor_completions.d/zmqnet.fish"])
def test_file_is_installed(installed, path):
    assert (installed.prefix / path).stat().st_size > 0


def test_libraries_are_installed(installed):
    assert installed.only("libzmqnet.a").stat().st_size > 0
    assert os.readlink(installed.lib / "libzmqnet.so") == "libzmqnet.so.0"


def test_exports_are_those_of_the_header(installed):
    declared = re.findall(r"^ZMQNET_API\b[^;]*?\b(zmqnet_\w+)\(", header(), re.M)
    listed = run("nm", "-D", "--defined-only", installed.lib / "libzmqnet.so.0")
    exported = [line.split()[2].split("@")[0] for line in listed.splitlines()]
    assert len(declared) > 20
    assert sorted(exported) == sorted(declared)


@pytest.mark.parametrize("compiler", [["cc", "-std=c11", "-xc"], ["c++", "-std=c++17", "-xc++"]],
                         ids=["c11", "c++17"])
def test_header_stands_alone(installed, compiler):
    run(*compiler, "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-fsyntax-only",
        installed.prefix / "include" / "zmqnet.h")


def test_versions_agree(installed):
    of_header = re.search(r'#define ZMQNET_VERSION "([^"]+)"', header()).group(1)
    assert installed.pkg_config("--modversion") == [of_header]
    assert (installed.lib / "libzmqnet.so.0").resolve().name == f"libzmqnet.so.{of_header}"
    assert of_header in run(installed.prefix / "bin" / "zmqnet", "version")


@pytest.mark.parametrize("example", EXAMPLES)
@pytest.mark.parametrize("static", [False, True], ids=["shared", "static"])
def test_example_builds_with_the_installed_library(installed, tmp_path, example, static):
    flags = installed.pkg_config("--cflags", *([] if static else ["--libs"]))
    if static:  # libzmq itself cannot be linked statically as Debian builds it
        flags += [installed.only("libzmqnet.a"), "-pthread",
                  *run("pkg-config", "--libs", "libzmq", "jansson").split()]
    run("cc", "-std=gnu11", "-Wall", "-Wextra", "-Werror", env.ROOT / "examples" / example,
        "-o", tmp_path / "example", *flags)
    needed = run("objdump", "-p", tmp_path / "example")
    assert ("libzmqnet.so.0" in needed) == (not static)
