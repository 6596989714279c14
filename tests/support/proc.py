# SPDX-License-Identifier: MIT
"""One process that runs beside the test (Proc), or one command that ran to its end (run)."""

import ctypes
import dataclasses
import json
import os
import re
import resource
import signal
import subprocess
import threading
import time

from support import env
from support.wait import wait_until

_libc = ctypes.CDLL(None)
_PR_SET_PDEATHSIG = 1
SHOWN_LINES = 100  # of what a process has written, the last ones
_TROUBLE = re.compile(r"(Address|Leak|Thread)Sanitizer|runtime error:|Assertion .* failed")


class Lines:
    """The lines that a process has written to one pipe so far; a thread of its own reads them."""

    def __init__(self, pipe):
        self._lines = []
        self._thread = threading.Thread(target=self._read, args=(pipe,), daemon=True)
        self._thread.start()

    def _read(self, pipe):
        with pipe:
            for line in pipe:
                self._lines.append(line.decode(errors="replace").rstrip("\n"))

    def finish(self):
        """Wait for the end of the pipe."""
        self._thread.join(5)

    def all(self):
        return list(self._lines)

    def matching(self, pattern):
        return [line for line in self._lines if re.search(pattern, line)]

    def text(self):
        return "\n".join(self._lines)


def _child(limits):
    """What runs in the child before exec: it dies with us, however we end."""
    def prepare():
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        for what, value in limits:
            resource.setrlimit(what, (value, value))
    return prepare


class Proc:
    """A process in a session of its own. It dies with the thread that started it: the main one."""

    def __init__(self, argv, cwd=None, extra_env=None, limits=(), stdout=subprocess.PIPE):
        self.argv = [str(arg) for arg in argv]
        self.started = time.monotonic()
        self._popen = subprocess.Popen(
            self.argv, cwd=cwd, env=env.clean(extra_env), stdin=subprocess.PIPE, stdout=stdout,
            stderr=subprocess.PIPE, start_new_session=True, preexec_fn=_child(limits))
        self.pid = self._popen.pid
        self.out = Lines(self._popen.stdout) if self._popen.stdout else None
        self.err = Lines(self._popen.stderr)

    @property
    def code(self):
        """Its exit code; None while it runs."""
        return self._popen.poll()

    def write(self, text):
        self._popen.stdin.write(text.encode())
        self._popen.stdin.flush()

    def close_stdin(self):
        self._popen.stdin.close()

    def signal(self, number):
        self._popen.send_signal(number)

    def wait(self, seconds=10):
        """Its exit code, once it has ended and everything that it wrote has been read."""
        wait_until(lambda: self.code is not None, seconds, f"the end of {self}")
        self._finish_reading()
        return self.code

    def _finish_reading(self):
        for lines in (self.out, self.err):
            if lines:
                lines.finish()

    def kill(self):
        """Kill it and whatever it started; no harm if it has ended."""
        if self.code is None:
            for pid in descendants(self.pid):
                _kill_quietly(pid)
            self._popen.kill()
        self._popen.wait()
        self._finish_reading()
        if not self._popen.stdin.closed:
            try:
                self._popen.stdin.close()
            except BrokenPipeError:
                pass

    def trouble(self):
        """Lines in which a sanitizer or an assertion speaks."""
        return self.err.matching(_TROUBLE)

    def show(self):
        print(f"---- {self} (exit code {self.code})")
        for name, lines in (("stdout", self.out), ("stderr", self.err)):
            if lines and lines.all():
                shown = [line[:300] for line in lines.all()[-SHOWN_LINES:]]
                print(f"  {name}, {len(lines.all())} lines:\n    " + "\n    ".join(shown))

    def __str__(self):
        return " ".join(self.argv)

    def __enter__(self):
        return self

    def __exit__(self, kind, _value, _trace):
        self.kill()
        if kind:
            self.show()


def _kill_quietly(pid):
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass


def children(pid):
    """Process ids of the direct children."""
    try:
        with open(f"/proc/{pid}/task/{pid}/children") as f:
            return [int(p) for p in f.read().split()]
    except FileNotFoundError:
        return []


def descendants(pid):
    below = children(pid)
    return [p for child in below for p in descendants(child)] + below


@dataclasses.dataclass(repr=False)
class Result:
    """A command that has ended."""

    argv: list
    code: int
    out: str
    err: str
    seconds: float

    @property
    def json(self):
        """Its only line of output."""
        lines = self.out.splitlines()
        assert len(lines) == 1, self
        return json.loads(lines[0])

    @property
    def jsons(self):
        return [json.loads(line) for line in self.out.splitlines()]

    def __str__(self):
        return (f"{' '.join(self.argv)}\n  exit code {self.code} after {self.seconds:.3f} s"
                f"\n  stdout: {self.out[:4000]}\n  stderr: {self.err[:4000]}")

    __repr__ = __str__


def run(*argv, cwd=None, extra_env=None, stdin=b"", seconds=20):
    """Run a command to its end; `seconds` is when it is killed and the test fails."""
    argv = [str(a) for a in argv]
    start = time.monotonic()
    done = subprocess.run(argv, cwd=cwd, env=env.clean(extra_env), input=stdin,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          timeout=seconds * env.SCALE, start_new_session=True, check=False)
    result = Result(argv, done.returncode, done.stdout.decode(), done.stderr.decode(),
                    time.monotonic() - start)
    assert not _TROUBLE.search(result.err), result
    assert result.code >= -2 or result.code == -15, result
    return result


def zmqnet(*args, **kwargs):
    """Run the built command to its end."""
    return run(env.ZMQNET, *args, **kwargs)
