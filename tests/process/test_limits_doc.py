# SPDX-License-Identifier: MIT
"""The maxima that docs/promises.md tells are those of src/base/limits.h, and none is left out."""

import re

from support import env

LIMITS = (env.ROOT / "src" / "base" / "limits.h").read_text()
HEADER = (env.ROOT / "include" / "zmqnet.h").read_text()
SECTION = re.search(r"^## 5\. .*?(?=^## 6\. )", (env.ROOT / "docs" / "promises.md").read_text(),
                    re.M | re.S)[0]

# What each row of the table tells, by its first cell: the numbers of the others, in order.
ROWS = {
    "replicas in a peers file": "ZN_REPLICAS_MAX",
    "name of a replica; host; peers file": "ZN_NAME_MAX B, ZN_HOST_MAX B, ZN_PEERS_FILE_MAX B",
    "body of a message, sent or taken": "ZMQNET_MESSAGE_MAX B, ZN_MESSAGE_MAX_MAX B",
    "replies of one receipt, together": "",
    "text of a cause; pattern name": "ZN_WHY_MAX B, ZN_PATTERN_NAME_MAX B",
    "envelope, routing id and delimiter counted": "ZN_ENVELOPE_FRAMES_MAX, ZN_ENVELOPE_BYTES_MAX B",
    "messages of one batch that we send; bytes": "ZN_BATCH_MESSAGES_MAX, ZN_BATCH_BYTES_MAX B",
    "members of one batch that we take": "ZN_BATCH_MESSAGES_MAX",
    "fields of one message that we take": "ZN_MESSAGE_FIELDS_MAX",
    "request table: open calls, and receipts kept for repeats": "ZN_CALLS_MAX",
    "its bodies and replies": "ZN_CALL_BYTES_MAX B",
    "dedup window: requests served, and stored answers": "ZN_SERVED_MAX",
    "its answers": "ZN_SERVED_BYTES_MAX B",
    "callers remembered": "ZN_ORIGINS_MAX, ZN_ORIGIN_KEEP_US s",
    "queue of a peer: not sent": "ZN_QUEUE_MESSAGES_MAX, ZN_QUEUE_BYTES_MAX B",
    "window of a peer: sent, not answered; in `reqrep` one message":
        "ZN_WINDOW_MESSAGES_MAX, ZN_WINDOW_BYTES_MAX B",
    "calls and answers of other threads that the loop has not taken":
        "ZN_COMMANDS_MAX, ZN_COMMAND_BYTES_MAX B",
    "routes for answers; of one connection": "ZN_ROUTES_MAX, ZN_ROUTES_SHARE",
    "connections to the port of `router`, `reqrep` and clients": "ZN_CONNECTIONS_MAX",
    "frames read from one socket in one turn; time spent on them":
        "ZN_TURN_FRAMES_MAX, ZN_TURN_READ_US ms",
    "frames in libzmq for one connection": "ZN_SOCKET_SEND_FRAMES, ZN_SOCKET_RECEIVE_FRAMES",
    "look-ups of names at once, each in a thread": "ZN_RESOLVERS_MAX",
    "comings and goings of connections that the loop has not counted": "ZN_WATCH_EVENTS_MAX",
    "subscription, in `pubsub`": "ZN_SUBSCRIPTION_BYTES_MAX B",
    "output of `serve` that nobody reads": "ZN_SPOOL_MAX B",
}

# They follow from those, or bound no memory that others can make a replica take.
UNTOLD = {"ZN_ENDPOINT_MAX", "ZN_MESSAGE_HEAD_MAX", "ZN_ROW_HEAD_MAX", "ZN_STATUS_COUNTERS_MAX",
          "ZN_SEARCH_MAX", "ZN_TURNS_MAX", "ZN_FILES_MAX", "ZN_SHARED_SOCKETS_MAX"}


def defined():
    """The text of each number that the headers define, by its name."""
    text = re.sub(r"/\*.*?\*/", "", HEADER + LIMITS.replace("\\\n", ""), flags=re.S)
    return dict(re.findall(r"^[ ]*#define (ZN_\w+|ZMQNET_\w+)[ ]+(\S.*?)[ ]*$", text, re.M))


def number(name, texts=defined()):
    text = re.sub(r"\b(\d+)u?l?l?\b", r"\1", texts[name])
    return eval(re.sub(r"ZN_\w+", lambda match: str(number(match[0])), text))  # noqa: S307


def as_told(spec):
    """`NAME unit` as the page writes it."""
    name, _, unit = spec.partition(" ")
    value = number(name)
    if unit == "B" and value % (1 << 20) == 0:
        value, unit = value >> 20, "MiB"
    elif unit == "B" and value % (1 << 10) == 0:
        value, unit = value >> 10, "KiB"
    elif unit == "ms":
        value //= number("ZN_MS")
    elif unit == "s":
        value //= number("ZN_SECOND")
    return f"{value} {unit}".rstrip()


def test_the_table_tells_the_numbers_of_the_code():
    table = dict(re.findall(r"^\| (.+?) \| (.*) \|$", SECTION, re.M))
    told = {what: re.findall(r"\b\d+\b(?: (?:B|KiB|MiB|ms|s)\b)?", rest)
            for what, rest in table.items() if what != "maximum"}
    assert told == {what: [as_told(spec) for spec in specs.split(", ") if spec]
                    for what, specs in ROWS.items()}


def test_the_table_tells_every_maximum():
    """Of a replica: not those of the load of `bench`."""
    known = set(re.findall(r"ZN_\w+_MAX\b", " ".join(ROWS.values()))) | UNTOLD
    assert {name for name in re.findall(r"^#define (ZN_\w+_MAX)\b", LIMITS, re.M)
            if not name.startswith("ZN_BENCH_")} == known
