# SPDX-License-Identifier: MIT
"""`send`: the receipt as people and as programs read it, and what a message may be."""

import base64
import json
import re
import signal

import pytest

from support import build, env
from support.mesh import Mesh
from support.proc import run
from support.wait import holds_for, wait_until

ID = r"[0-9a-f]{16}-[1-9][0-9]*"


def outcomes(receipt):
    return {row["name"]: row["outcome"] for row in receipt["peers"]}


def test_json_shape():
    """Names, order and types of the fields are a contract."""
    with Mesh() as mesh:
        sent = mesh.send("this is a test message")
        assert sent.code == 0 and sent.err == "", sent
        assert re.fullmatch(
            r'\{"v":1,"ok":true,"id":"' + ID + r'","via":"bravo",'
            r'"quorum":\{"need":3,"have":3,"of":3\},"elapsed_us":\d+,"attempts":1,"peers":\['
            r'\{"name":"alpha","outcome":"acked","rtt_us":\d+\},'
            r'\{"name":"bravo","outcome":"self"(,"rtt_us":\d+)?\},'
            r'\{"name":"charlie","outcome":"acked","rtt_us":\d+\}\]\}\n', sent.out), sent


def test_charlie_killed():
    with Mesh() as mesh:
        mesh.lose("charlie")
        sent = mesh.send("hello")
        assert sent.code == 4, sent
        assert list(sent.json) == ["v", "ok", "id", "via", "quorum", "elapsed_us", "attempts",
                                   "peers", "error"]
        assert sent.json["ok"] is False
        assert sent.json["quorum"]["need"] == sent.json["quorum"]["of"] == 3
        # Alpha is not waited for: all three had become impossible.
        assert outcomes(sent.json)["alpha"] in ("acked", "unknown")
        assert outcomes(sent.json)["bravo"] == "self"
        assert sent.json["peers"][2] == {"name": "charlie", "outcome": "never_sent",
                                         "why": "connection refused"}
        assert list(sent.json["error"]) == ["code", "exit", "message", "hint"]
        assert sent.json["error"]["code"] == "no_quorum" and sent.json["error"]["exit"] == 4
        assert len(sent.err.splitlines()) == 1, sent

        human = mesh.zmqnet("send", "-n", "bravo", "hello")
        assert human.code == 4, human
        assert re.search(r"^bravo  " + ID + r"  quorum [12]/3 in ", human.out), human
        assert re.search(r"^  charlie +never sent +connection refused", human.out, re.M), human
        assert len(human.err.splitlines()) == 1, human

        sent = mesh.send("hello", "--quorum", "majority")
        assert sent.code == 0, sent
        assert sent.json["ok"] and sent.json["quorum"] == {"need": 2, "have": 2, "of": 3}
        assert outcomes(sent.json)["charlie"] == "never_sent"
        assert mesh.send("hello", "-q", "2").code == 0
        assert mesh.send("hello", "-q", "3").code == 4


def test_to_one_replica():
    """Each outcome of --to, with its exit code. The others never see the message."""
    with Mesh(run=0) as mesh:
        mesh.start("alpha", "bravo")
        mesh.start("charlie", argv=[build.program("replica.c"), mesh.path, "charlie"])
        mesh.linked()
        acked = mesh.send("only alpha", "--to", "alpha")
        assert acked.code == 0 and outcomes(acked.json) == {"alpha": "acked"}, acked
        self = mesh.send("only bravo", "--to", "bravo")
        assert self.code == 0 and outcomes(self.json) == {"bravo": "self"}, self
        refused = mesh.send("refuse 42 not today", "--to", "charlie")
        assert refused.code == 8 and outcomes(refused.json) == {"charlie": "refused"}, refused
        mesh.pause("charlie")
        unknown = mesh.send("are you there", "--to", "charlie", "-t", "200ms", "-r", "1")
        assert unknown.code == 5 and outcomes(unknown.json) == {"charlie": "unknown"}, unknown
        mesh.lose("charlie")
        never = mesh.send("are you there", "--to", "charlie")
        assert never.code == 6 and outcomes(never.json) == {"charlie": "never_sent"}, never
        mesh.finish()
        assert [d.text for d in mesh.deliveries("alpha")] == ["only alpha"]
        assert [d.text for d in mesh.deliveries("bravo")] == ["only bravo"]


def test_a_handler_that_refuses():
    """At the coordinator: nothing is bounced. Elsewhere: one row, and the quorum decides."""
    with Mesh(run=0) as mesh:
        mesh.start("alpha", "bravo")
        mesh.start("charlie", argv=[build.program("replica.c"), mesh.path, "charlie"])
        mesh.linked()
        text = "refuse 42 not today"
        sent = mesh.send(text, via="charlie")
        assert sent.code == 8, sent
        assert outcomes(sent.json) == {"alpha": "never_sent", "bravo": "never_sent",
                                       "charlie": "refused"}
        assert sent.json["peers"][2]["code"] == 42
        assert "not today" in sent.err and sent.json["error"]["code"] == "refused"

        sent = mesh.send(text, via="alpha")
        assert sent.code == 4, sent
        assert outcomes(sent.json) == {"alpha": "self", "bravo": "acked", "charlie": "refused"}
        sent = mesh.send(text, "-q", "majority", via="alpha")
        assert sent.code == 0, sent
        mesh.finish()
        assert [d.origin for d in mesh.deliveries("bravo")] == ["alpha", "alpha"]


def test_several_messages():
    """One object each, in order; the worst exit code wins."""
    with Mesh(run=0) as mesh:
        mesh.start("alpha", "bravo")
        mesh.start("charlie", argv=[build.program("replica.c"), mesh.path, "charlie"])
        mesh.linked()
        sent = mesh.send("one", "refuse 1 no", "three", via="charlie")
        assert sent.code == 8, sent
        assert [receipt["ok"] for receipt in sent.jsons] == [True, False, True]
        assert len({receipt["id"] for receipt in sent.jsons}) == 3
        mesh.finish()
        assert [d.text for d in mesh.deliveries("charlie")] == ["one", "refuse 1 no", "three"]


def test_interrupted_send_prints_what_is_known():
    with Mesh(run=0) as mesh:
        mesh.start("alpha", "bravo")
        mesh.start("charlie", argv=[build.program("replica.c"), mesh.path, "charlie"])
        mesh.linked()
        send = mesh.spawn_zmqnet("send", "-n", "alpha", "--json", "hold", "not any more")
        mesh.wait_delivered("charlie", "hold")
        send.signal(signal.SIGINT)
        assert send.wait(2) == 130
        receipt, unsent = [json.loads(line) for line in send.out.all()]
        assert receipt["ok"] is False and receipt["via"] == "alpha"
        assert "interrupted" in receipt["error"]["message"]
        assert (receipt["error"]["code"], receipt["error"]["exit"]) == ("unknown", 130)
        assert (unsent["error"]["code"], unsent["error"]["exit"]) == ("never_sent", 130)
        assert "not sent: interrupted" in unsent["error"]["message"]
        assert [row["outcome"] for row in receipt["peers"]] == ["unknown"] * 3
        mesh.finish()
        assert not mesh.deliveries("alpha", "not any more")


@pytest.mark.parametrize("args", [["-"], []], ids=["dash", "no argument"])
def test_message_from_stdin(args):
    with Mesh(2) as mesh:
        assert mesh.send(*args, stdin=b"from a pipe").code == 0
        assert mesh.wait_delivered("alpha", "from a pipe")


def test_message_that_looks_like_an_option():
    with Mesh(2) as mesh:
        assert mesh.send("--", "--json").code == 0
        assert mesh.wait_delivered("alpha", "--json")


def test_bodies_of_all_kinds_arrive_whole():
    """Empty, not UTF-8, with control bytes, and large."""
    with Mesh(run=0) as mesh:
        mesh.start("alpha", "bravo", "charlie", args=["--json"])
        mesh.linked()
        bodies = [b"", b"\xff\x00\xfe", 'say "hi"\n\tand \\ \x1b[31m'.encode(), b"x" * 1_000_000]
        for body in bodies:
            sent = mesh.send("-", stdin=body)
            assert sent.code == 0, sent.err
        lines = mesh.procs["charlie"].out
        wait_until(lambda: len(lines.all()) == 1 + len(bodies), 5, "all are delivered")
        got = [json.loads(line) for line in lines.all()[1:]]
        assert [len(b) for b in bodies] == [d["bytes"] for d in got]
        assert got[0]["message"] == ""
        assert base64.b64decode(got[1]["message_base64"]) == bodies[1]
        assert got[2]["message"].encode() == bodies[2]
        assert got[3]["message"].encode() == bodies[3]


def test_terminals_are_not_steered():
    """A deliver line is one line, whatever the message holds."""
    with Mesh(2) as mesh:
        assert mesh.send("-", stdin=b"two\nlines \x1b[2J").code == 0
        line = mesh.wait_delivered("alpha", r"two\nlines \x1b[2J")
        assert len(line) == 1


# ---- what is told when something is missing ----

@pytest.mark.parametrize("reader", ["| head -1", ">/dev/full"])
def test_every_message_is_sent_whoever_reads(reader):
    """Sending is the effect; the receipt only reports it."""
    with Mesh() as mesh:
        done = run("bash", "-c", f'"$0" -p "$1" send -n bravo $(seq 40) {reader}; '
                   'echo "codes ${PIPESTATUS[0]}"', env.ZMQNET, mesh.path)
        assert done.out.splitlines()[-1] == ("codes 0" if "head" in reader else "codes 1"), done
        mesh.finish()
        assert [d.text for d in mesh.deliveries("alpha")] == [str(i) for i in range(1, 41)]


def test_to_a_dead_replica_names_it():
    with Mesh() as mesh:
        mesh.lose("charlie")
        sent = mesh.send("hello", "--to", "charlie")
        assert sent.code == 6, sent
        for text in (sent.json["error"]["message"] + sent.json["error"]["hint"], sent.err):
            assert "charlie never sent (connection refused" in text, sent
            assert "zmqnet serve -n charlie" in text and "serve -n bravo" not in text, sent


def test_hint_for_a_stopped_coordinator():
    """Starting it again is no remedy: something holds the port."""
    with Mesh() as mesh:
        mesh.pause("bravo")
        sent = mesh.send("hello", "-t", "200ms", "-r", "1")
        mesh.resume("bravo")
        assert sent.code == 6, sent
        assert "kill -CONT" in sent.json["error"]["hint"], sent
        assert f"127.0.0.1:{mesh.port['bravo']}" in sent.json["error"]["hint"], sent
        assert "zmqnet serve" not in sent.err, sent


def test_hint_for_a_name_that_does_not_resolve():
    with Mesh(run=0, host="nowhere.invalid") as mesh:
        sent = mesh.send("hello", "-t", "300ms", "-r", "1")
        assert sent.code == 6, sent
        assert "check the address in the peers file" in sent.err, sent


@pytest.mark.parametrize("number, code", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_interrupted_before_anything_was_sent(number, code):
    with Mesh(run=0) as mesh:
        send = mesh.spawn_zmqnet("send", "-n", "alpha", "--json", "-t", "20s", "one", "two", "three")
        holds_for(lambda: send.code is None, 0.3, "send tries")
        send.signal(number)
        assert send.wait(2) == code
        objects = [json.loads(line) for line in send.out.all()]
        assert [o["ok"] for o in objects] == [False] * 3
        assert [o["error"]["code"] for o in objects] == ["never_sent"] * 3
        assert [o["error"]["exit"] for o in objects] == [code] * 3
        assert [o["error"]["hint"] for o in objects] == [""] * 3
        assert "interrupted" in objects[0]["error"]["message"]
        assert "connection refused" in objects[0]["error"]["message"]
        assert objects[0]["peers"][0]["why"] == "connection refused"
        assert all("not sent: interrupted" in o["error"]["message"] for o in objects[1:])


def test_quorum_does_not_go_with_to():
    with Mesh(run=0) as mesh:
        sent = mesh.send("hello", "--to", "alpha", "--quorum", "2")
        assert sent.code == 2, sent
        assert "--quorum" in sent.err and "--to" in sent.err, sent
