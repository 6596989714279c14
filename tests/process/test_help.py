# SPDX-License-Identifier: MIT
"""Help, completion, version, and what is said about a wrong command line."""

import re
import subprocess

import pytest

from support import env
from support.proc import run, zmqnet

VERBS = ["serve", "up", "send", "wait", "status", "bench", "check", "completion", "version", "help"]


def header_version():
    return re.search(r'ZMQNET_VERSION "([^"]+)"',
                     (env.ROOT / "include/zmqnet.h").read_text())[1]


def test_help_fits_a_screen():
    done = zmqnet("help")
    assert done.code == 0 and done.err == "", done
    lines = done.out.splitlines()
    assert len(lines) <= 40 and max(map(len, lines)) <= 100
    for verb in VERBS:
        assert re.search(rf"\b{verb}\b", done.out), verb


def test_help_begins_with_three_examples():
    examples = [line for line in zmqnet("help").out.splitlines()
                if re.match(r"\s*(\$ )?zmqnet ", line)][:3]
    assert len(examples) == 3
    for example in examples:
        verb = next(word for word in example.split() if word in VERBS)
        assert verb


@pytest.mark.parametrize("verb", VERBS)
def test_help_of_a_verb(verb):
    done = zmqnet("help", verb)
    assert done.code == 0 and done.err == "" and verb in done.out, done
    for flag in ("--help", "-h"):
        assert verb == "help" or zmqnet(verb, flag).out == done.out


def test_help_of_what_is_none():
    done = zmqnet("help", "serv")
    assert done.code == 2 and "serve" in done.err, done


@pytest.mark.parametrize("args", [["version"], ["version", "--json"]], ids=" ".join)
def test_version(args):
    done = zmqnet(*args)
    assert done.code == 0 and header_version() in done.out, done
    if "--json" in args:
        assert done.json["v"] == 1


@pytest.mark.parametrize("flag", ["--version", "-V"])
def test_version_as_an_option(flag):
    assert zmqnet(flag).out == zmqnet("version").out


@pytest.mark.parametrize("args", [["help"], ["help", "send"], ["completion", "bash"]], ids=" ".join)
def test_pages_as_json(args):
    assert zmqnet(*args, "--json").json == {"v": 1, "text": zmqnet(*args).out}


@pytest.mark.parametrize("variable, value, hint", [
    ("ZMQNET_VERBOSE", "loud", "a number"), ("ZMQNET_JSON", "maybe", "1 or 0"),
])
def test_bad_variable(variable, value, hint):
    done = zmqnet("version", extra_env={variable: value})
    assert done.code == 2 and variable in done.err and hint in done.err, done


def test_option_beats_a_bad_variable():
    done = zmqnet("version", "--json=0", "--verbosity", "1",
                  extra_env={"ZMQNET_JSON": "maybe", "ZMQNET_VERBOSITY": "loud"})
    assert done.code == 0 and done.out.startswith("zmqnet "), done


NEAREST = {
    "serv": "serve", "sned": "send", "stat": "status", "chekc": "check", "verson": "version",
}


@pytest.mark.parametrize("wrong, right", NEAREST.items())
def test_nearest_verb(wrong, right):
    done = zmqnet(wrong)
    assert done.code == 2 and done.out == "", done
    assert re.search(rf"\b{wrong}\b.*\b{right}\b", done.err), done


@pytest.mark.parametrize("args, texts", [
    (["send", "--timeot", "2s"], ["--timeot", "--timeout"]),
    (["send", "-n"], ["-n"]),
    (["send", "-n", "alpha", "-t", "2x", "hi"], ["2x", "--timeout"]),
    (["send", "-n", "alpha", "-r", "0", "hi"], ["--retries", "0"]),
    (["send", "-n", "alpha", "-q", "none", "hi"], ["none"]),
    (["status", "extra"], ["extra"]),
    (["serve", "--pattern", "pigeon", "-n", "alpha"], ["pigeon", "router"]),
    (["serve", "--to", "bravo"], ["--to", "serve"]),
    (["completion", "csh"], ["csh", "bash"]),
    (["--verbosity", "9", "help"], ["9"]),
], ids=lambda value: " ".join(value))
def test_usage_error_names_the_thing(args, texts):
    done = zmqnet(*args)
    assert done.code == 2 and done.out == "", done
    lines = done.err.splitlines()
    assert len(lines) == 1, done
    for text in texts:
        assert text in lines[0], done


def test_usage_error_as_json():
    done = zmqnet("send", "--json", "-n", "alpha", "-t", "2x", "hi")
    assert done.code == 2, done
    assert done.json["ok"] is False
    assert (done.json["error"]["code"], done.json["error"]["exit"]) == ("usage", 2)
    assert list(done.json["error"]) == ["code", "exit", "message", "hint"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion(shell, tmp_path):
    done = zmqnet("completion", shell)
    assert done.code == 0 and "zmqnet" in done.out, done
    for verb in VERBS:
        assert verb in done.out
    if shell == "bash":
        script = tmp_path / "zmqnet.bash"
        script.write_text(done.out)
        assert run("bash", "-n", script).code == 0


def completed(tmp_path, *words):
    """What bash would offer for these words of a command line."""
    script = tmp_path / "zmqnet.bash"
    script.write_text(zmqnet("completion", "bash").out)
    quoted = " ".join(f"'{word}'" for word in ("zmqnet",) + words)
    program = f"""
        source {script}
        function_=$(complete -p zmqnet | sed 's/.*-F \\([^ ]*\\).*/\\1/')
        COMP_WORDS=({quoted}); COMP_CWORD={len(words)}
        COMP_LINE="${{COMP_WORDS[*]}}"; COMP_POINT=${{#COMP_LINE}}
        $function_ zmqnet "{words[-1]}" "{words[-2] if len(words) > 1 else 'zmqnet'}"
        printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    done = subprocess.run(["bash", "--norc", "-c", program], env=env.clean(),
                          stdout=subprocess.PIPE, check=True, timeout=20)
    return [word.strip() for word in done.stdout.decode().split()]


def test_bash_completes_verbs_and_options(tmp_path):
    assert completed(tmp_path, "ser") == ["serve"]
    assert "--quorum" in completed(tmp_path, "send", "--q")
    assert "--quorum" not in completed(tmp_path, "serve", "--")


def test_bash_completes_values_and_files(tmp_path):
    assert completed(tmp_path, "send", "--quorum", "=", "maj") == ["majority"]
    assert completed(tmp_path, "send", "--quorum", "=") == ["all", "majority"]
    assert completed(tmp_path, "send", "--quorum=maj") == ["--quorum=majority"]
    script = zmqnet("completion", "bash").out
    assert "complete -F _zmqnet zmqnet" in script and "compopt -o filenames" in script


def test_zsh_keeps_its_words():
    """In zsh `words` is the command line: no variable of ours may hide it."""
    script = zmqnet("completion", "zsh").out
    assert not re.search(r"^ *local .*\bwords\b(?!\[)", script, re.M), script


def test_man_page():
    done = zmqnet("help", "--man")
    assert done.code == 0 and done.out.startswith(".TH"), done
    for verb in VERBS:
        assert verb in done.out


def test_no_colour_in_a_pipe():
    for args in (["help"], ["status", "-p", env.ROOT / "peers.json"], ["wrong"]):
        done = zmqnet(*args)
        assert "\033" not in done.out + done.err, done
