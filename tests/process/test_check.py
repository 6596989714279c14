# SPDX-License-Identifier: MIT
"""`check`: what is wrong with a peers file, all of it at once, each with its place."""

import copy
import json
import os
import re

import pytest

from support.env import ROOT
from support.mesh import peers_text
from support.proc import zmqnet

GOOD = json.loads(peers_text({"alpha": 3264, "bravo": 3265, "charlie": 3266}))


def changed(path, value=None):
    """The good file with one value replaced, or removed if None."""
    file = copy.deepcopy(GOOD)
    *way, last = path
    at = file
    for step in way:
        at = at[step]
    if value is None:
        del at[last]
    else:
        at[last] = value
    return json.dumps(file, indent=2)


def without_address(i, **values):
    file = copy.deepcopy(GOOD)
    replica = file["replicas"][i]
    for key in ("address", "ipaddr", "port"):
        del replica[key]
    replica.update(values)
    return json.dumps(file, indent=2)


R1 = ("replicas", 1)

# name: what stands in the file, and what stands in the complaint, in this order
BAD = {
    "missing name": (changed(R1 + ("name",)), ["replicas[1].name", "missing"]),
    "duplicate name": (changed(R1 + ("name",), "alpha"),
                       ["replicas[1].name", "alpha", "replicas[0]"]),
    "empty name": (changed(R1 + ("name",), ""), ["replicas[1].name", "empty"]),
    "long name": (changed(R1 + ("name",), "x" * 65), ["replicas[1].name", "64"]),
    "name with a space": (changed(R1 + ("name",), "b ravo"), ["replicas[1].name", "b ravo"]),
    "name that is a number": (changed(R1 + ("name",), 7), ["replicas[1].name", "7"]),
    "missing address": (without_address(1), ["replicas[1].address", "missing"]),
    "duplicate address": (changed(R1 + ("address",), "127.0.0.1:3264"),
                          ["replicas[1].address", "replicas[0]"]),
    "address without port": (changed(R1 + ("address",), "localhost"),
                             ["replicas[1].address", "port"]),
    "address with a bad port": (changed(R1 + ("address",), "localhost:70000"),
                                ["replicas[1].address", "1..65535"]),
    "address with a scheme": (changed(R1 + ("address",), "tcp://localhost:3265"),
                              ["replicas[1].address", "tcp://"]),
    "port above the range": (without_address(1, ipaddr="127.0.0.1", port=70000),
                             ["replicas[1].port: 70000 is not a port (1..65535)"]),
    "port 0": (without_address(1, ipaddr="127.0.0.1", port=0),
               ["replicas[1].port: 0 is not a port (1..65535)"]),
    "port that is text": (without_address(1, ipaddr="127.0.0.1", port="3265"),
                          ["replicas[1].port", "3265"]),
    "ipaddr without port": (without_address(1, ipaddr="127.0.0.1"),
                            ["replicas[1].port", "missing"]),
    "ports that are no object": (changed(R1 + ("ports",), 4265), ["replicas[1].ports", "4265"]),
    "pub port above the range": (changed(R1 + ("ports",), {"pub": 70000}),
                                 ["replicas[1].ports.pub: 70000 is not a port (1..65535)"]),
    "ack port that is text": (changed(R1 + ("ports",), {"ack": "5265"}),
                              ["replicas[1].ports.ack", "5265"]),
    "ports that clash": (changed(R1 + ("ports",), {"ack": 3264}),
                         ["replicas[1].ports.ack", "3264", "the port of replicas[0]"]),
    "duplicate pid": (changed(R1 + ("pid",), 1000), ["replicas[1].pid", "1000", "replicas[0]"]),
    "bad pid": (changed(R1 + ("pid",), "1001"), ["replicas[1].pid", "1001"]),
    "replica that is no object": (changed(R1, "bravo"), ["replicas[1]", "bravo"]),
    "no replicas": (changed(("replicas",)), ["replicas", "missing"]),
    "empty list": (changed(("replicas",), []), ["replicas", "empty"]),
    "too many": (peers_text({f"r{i}": 3000 + i for i in range(65)}), ["replicas", "65", "64"]),
    "not a list": (changed(("replicas",), {"a": 1}), ["replicas", "list"]),
    "not an object": ("[]", ["list"]),
    "empty file": ("", ["1"]),
    "truncated": (json.dumps(GOOD, indent=2)[:200], [":11:15:", "truncated"]),
    "not JSON": ("alpha: localhost:3264\n", [":1:1"]),
    "not UTF-8": (b'{"replicas": [{"name": "al\xffpha"}]}', ["UTF-8"]),
}


def warnings(path):
    """What check says about a file that has no errors."""
    done = zmqnet("check", "-p", path)
    assert done.code == 0, done
    return [line for line in (done.out + done.err).splitlines() if ": warning: " in line]


@pytest.mark.parametrize("content, texts", BAD.values(), ids=BAD)
def test_bad_file(tmp_path, content, texts):
    path = tmp_path / "peers.json"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    done = zmqnet("check", "-p", path)
    assert done.code == 2, done
    said = done.out + done.err
    in_order = ".*".join(re.escape(text) for text in ["peers.json"] + texts)
    assert re.search(in_order, said), (in_order, said)


def test_all_errors_at_once(tmp_path):
    file = copy.deepcopy(GOOD)
    file["replicas"][0]["name"] = ""
    file["replicas"][1]["port"] = 70000
    file["replicas"][2]["pid"] = 1000
    path = tmp_path / "peers.json"
    path.write_text(json.dumps(file))
    done = zmqnet("check", "-p", path)
    assert done.code == 2, done
    for text in ("replicas[0].name", "replicas[1].port", "replicas[2].pid"):
        assert len([line for line in (done.out + done.err).splitlines() if text in line]) == 1, done


def test_every_command_shows_all_errors(tmp_path):
    path = tmp_path / "peers.json"
    path.write_text(json.dumps({"replicas": [{"name": "alpha"}, {"name": "alpha"}]}))
    done = zmqnet("serve", "-n", "alpha", "-p", path)
    assert done.code == 2, done
    assert "replicas[0].address" in done.err and "replicas[1].name" in done.err


def test_a_count_that_disagrees_is_a_warning(tmp_path):
    path = tmp_path / "peers.json"
    path.write_text(changed(("info", "num_replicas"), 4))
    done = zmqnet("check", "-p", path)
    assert done.code == 0, done
    assert "num_replicas" in done.out + done.err


@pytest.mark.parametrize("kind", ["missing", "directory", "unreadable", "huge"])
def test_a_file_that_cannot_be_read(tmp_path, kind):
    path = tmp_path / "peers.json"
    if kind == "directory":
        path.mkdir()
    elif kind == "unreadable":
        if os.getuid() == 0:
            pytest.skip("root reads every file")
        path.write_text(json.dumps(GOOD))
        path.chmod(0)
    elif kind == "huge":
        path.write_bytes(b" " * (2 << 20))
    done = zmqnet("check", "-p", path)
    assert done.code == 2, done
    assert "peers.json: " in done.out + done.err, done


def test_errors_as_json(tmp_path):
    path = tmp_path / "peers.json"
    path.write_text("{}")
    done = zmqnet("check", "--json", "-p", path)
    assert done.code == 2, done
    assert done.json["ok"] is False and "replicas" in done.out


def test_every_command_shows_all_errors_as_json(tmp_path):
    path = tmp_path / "peers.json"
    path.write_text(json.dumps({"replicas": [{"name": "é" * 60} for _ in range(60)]}))
    done = zmqnet("status", "--json", "-p", path)
    assert done.code == 2, done
    assert list(done.json) == ["v", "ok", "findings", "error"]
    assert done.json["findings"] == zmqnet("check", "--json", "-p", path).json["findings"]
    assert len(done.json["findings"]) >= 120
    assert "\ufffd" not in done.json["error"]["message"]


def test_path_that_would_steer_the_terminal(tmp_path):
    path = tmp_path / "peers\x1b[31m.json"
    for command in (["check"], ["status", "-t", "50ms"], ["send", "-n", "alpha", "-t", "50ms", "hi"]):
        for content in (None, "{}", json.dumps(GOOD)):
            if content is not None:
                path.write_text(content)
            done = zmqnet(*command, "-p", path)
            assert "\x1b" not in done.out + done.err, done
            path.unlink(missing_ok=True)


@pytest.mark.parametrize("content", [
    json.dumps(GOOD),
    changed(("info",)),
    changed(("replicas", 0, "rack"), "b12"),
    changed(R1 + ("ports",), {"pub": 4300, "rack": "b12"}),
    without_address(1, ipaddr="127.0.0.1", port=3265),
    without_address(1, address="[::1]:3265"),
], ids=["seed", "without info", "unknown key", "ports", "ipaddr and port", "IPv6"])
def test_good_file(tmp_path, content):
    path = tmp_path / "peers.json"
    path.write_text(content)
    done = zmqnet("check", "-p", path)
    assert done.code == 0, done


def test_shipped_file():
    done = zmqnet("check", "-p", ROOT / "peers.json")
    assert done.code == 0 and "warning" not in done.out + done.err, done


def test_port_in_the_ephemeral_range_is_warned_of(tmp_path):
    """There a socket that reconnects on loopback can connect to itself."""
    path = tmp_path / "peers.json"
    path.write_text(peers_text({"alpha": 40000, "bravo": 3265}))
    warned = warnings(path)
    assert len(warned) == 1 and "alpha: port 40000 is" in warned[0], warned


def test_given_port_in_the_ephemeral_range_is_warned_of(tmp_path):
    path = tmp_path / "peers.json"
    path.write_text(changed(R1 + ("ports",), {"pub": 40000, "ack": 40001}))
    warned = warnings(path)
    assert len(warned) == 2, warned
    assert "bravo: pub port 40000 is" in warned[0] and "bravo: ack port 40001 is" in warned[1]


def test_default_port_in_the_ephemeral_range_is_warned_of_once(tmp_path):
    path = tmp_path / "peers.json"
    path.write_text(peers_text({"alpha": 32000, "bravo": 32001, "charlie": 32002}))
    warned = warnings(path)
    assert len(warned) == 1, warned
    assert "alpha: with --pattern pubsub its pub port 33000 (default)" in warned[0], warned


def test_default_port_that_meets_another_is_a_warning(tmp_path):
    path = tmp_path / "peers.json"
    names = ["a" * 64, "b" * 64]
    path.write_text(peers_text({names[0]: 3264, names[1]: 4264}))
    warned = warnings(path)
    assert len(warned) == 1, warned
    for text in ("with --pattern pubsub the pub port of " + names[0], "the port of " + names[1],
                 "4264", 'give "ports" in the peers file'):
        assert text in warned[0], (text, warned)
    found = zmqnet("check", "--json", "-p", path).json["findings"]
    assert [f["level"] for f in found] == ["warning"] and found[0]["text"] in warned[0], found
