# SPDX-License-Identifier: MIT
"""The clients of examples/clients, each with each kind of socket, against each pattern."""

import re

import built
import pytest

from support import ports
from support.env import ROOT
from support.mesh import Mesh
from support.patterns import each_pattern
from support.proc import Proc, run

LANGUAGES = ("python", "node", "c")
SORTS = ("req", "dealer")
LINES_MAX = 20


# Built in fixtures, since the time that npm takes to install is not that of the test.

@pytest.fixture(name="language", params=LANGUAGES)
def _language(request):
    built.command(request.param)
    return request.param


@pytest.fixture(name="languages")
def _languages():
    for language in LANGUAGES:
        built.command(language)
    return LANGUAGES


@each_pattern
def test_receipt(pattern, language):
    """Healthy, through a REQ and through a DEALER; then with one replica killed."""
    with Mesh(pattern=pattern) as mesh:
        for sort in SORTS:
            done = ask(mesh, language, sort, f"grüße from {sort}")
            assert (done.code, rows(done)) == (0, {"alpha": "ACKED", "bravo": "SELF",
                                                   "charlie": "ACKED"}), done
            for name in mesh.names:
                mesh.wait_delivered(name, f"grüße from {sort}")
        mesh.lose("charlie")
        for sort in SORTS:
            done = ask(mesh, language, sort, "one is missing")
            assert (done.code, rows(done)) == (4, {"alpha": "ACKED", "bravo": "SELF",
                                                   "charlie": "NEVER_SENT"}), done
            assert re.search(r"^charlie +NEVER_SENT +\w", done.out, re.M), f"no cause in {done}"
        mesh.finish()
        assert len({d.id for d in mesh.deliveries("bravo")}) == 4, "a new id each time"


def ask(mesh, language, sort, text):
    return run(*built.command(language, sort, mesh.endpoint("bravo"), text))


def rows(done):
    """{replica: outcome} of what a client has printed."""
    return dict(re.findall(r"^(\w+) +([A-Z_]+)", done.out, re.M))


def test_no_answer_is_unknown(languages):
    """A message that nobody answers may have happened: said on stderr, with a code of its own."""
    nobody, = ports.take(1)
    procs = [Proc(built.command(language, sort, f"tcp://127.0.0.1:{nobody}", "hello"))
             for language in languages for sort in SORTS]
    try:
        for proc in procs:
            assert proc.wait() == 5, proc
            assert "unknown" in proc.err.text() and not proc.out.text(), proc.err.text()
    finally:
        for proc in procs:
            proc.kill()


@pytest.mark.parametrize("name", ["client.py", "client.mjs", "client.c"])
def test_clients_are_short(name):
    """Without what is imported, comments and braces that stand alone."""
    text = (ROOT / "examples/clients" / name).read_text()
    text = re.sub(r'/\*.*?\*/|""".*?"""', "", text, flags=re.S)
    lines = [line for line in text.splitlines()
             if not re.match(r"\s*($|[{}]*$|//|#|import |from )", line)]
    assert len(lines) <= LINES_MAX, "\n".join(lines)
