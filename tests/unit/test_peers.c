/* SPDX-License-Identifier: MIT */
/*
 * Holds the reading of peers files. One table says, for each text, everything that is reported
 * about it, in order: "LINE:COLUMN: " stands before what has a place, "warning: " before what is no
 * error. Each truncation and many mutations of a good file are read as well: they must end in a
 * sentence, never in a crash. Files that cannot be read are tried on a real file system.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/parse.h"
#include "base/rand.h"
#include "model/peers.h"

#define DIAGS_MAX 16
#define R(text) "{\"replicas\": [" text "]}"
/* A good replica, and one with a pid and a name of its own that is not complete. */
#define ALPHA "{\"pid\": 1, \"name\": \"alpha\", \"address\": \"localhost:3264\"}"
#define BRAVO(more) "{\"pid\": 2, \"name\": \"bravo\", " more "}"
#define TEN "0123456789"
#define SIXTY TEN TEN TEN TEN TEN TEN

static const char seed_file[] =
    "{\n"
    "  \"info\": {\n"
    "    \"num_replicas\": 3,\n"
    "    \"updated\": \"2017-07-13T13:36:53.158Z\"\n"
    "  },\n"
    "  \"replicas\": [\n"
    "    {\"pid\": 1000, \"name\": \"alpha\", \"address\": \"localhost:3264\",\n"
    "     \"host\": \"apollo\", \"ipaddr\": \"127.0.0.1\", \"port\": 3264},\n"
    "    {\"pid\": 1001, \"name\": \"bravo\", \"address\": \"localhost:3265\",\n"
    "     \"host\": \"apollo\", \"ipaddr\": \"127.0.0.1\", \"port\": 3265},\n"
    "    {\"pid\": 1002, \"name\": \"charlie\", \"address\": \"localhost:3266\",\n"
    "     \"host\": \"apollo\", \"ipaddr\": \"127.0.0.1\", \"port\": 3266}\n"
    "  ]\n"
    "}\n";

struct row {
    const char *json;
    const char *expected[6];
};

static const struct row rows[] = {
    {seed_file, {0}},
    {R(ALPHA), {0}},
    {"{\"x\": {}, \"replicas\": [{\"y\": [1], \"pid\": 0, \"name\": \"A.b_c-9\", \"address\": "
     "\"h:1\"}], \"info\": {\"z\": null}}",
     {0}},
    {R(ALPHA ", " BRAVO("\"ipaddr\": \"::1\", \"port\": 3264")), {0}},

    /* the shape */
    {"", {"1:1: the file is empty; write {\"replicas\": [...]}"}},
    {" \n ", {"1:1: the file is empty; write {\"replicas\": [...]}"}},
    {"[]", {"a list is not a peers file; write {\"replicas\": [...]}"}},
    {"3", {"3 is not a peers file; write {\"replicas\": [...]}"}},
    {"null", {"null is not a peers file; write {\"replicas\": [...]}"}},
    {"{}", {"replicas: missing; list the replicas in it"}},
    {"{\"replicas\": {}}", {"replicas: an object is not a list; write [...] with a replica in it"}},
    {"{\"replicas\": []}", {"replicas: empty; add at least one replica"}},
    {R("7"),
     {"replicas[0]: 7 is not a replica; write {\"pid\": 1, \"name\": \"alpha\", \"address\": "
      "\"host:port\"}"}},
    {"{\"info\": 1, \"replicas\": []}",
     {"info: 1 is not an object; write {...} or remove it",
      "replicas: empty; add at least one replica"}},
    {"{\"info\": {\"num_replicas\": 2}, \"replicas\": [" ALPHA "]}",
     {"warning: info.num_replicas: 2, but the list has 1; the list is used, correct the number"}},
    {"{\"info\": {\"num_replicas\": \"1\", \"updated\": 5}, \"replicas\": [" ALPHA "]}",
     {"info.num_replicas: \"1\" is not a count; write a whole number or remove it",
      "info.updated: 5 is not a time; write text in double quotes or remove it"}},

    /* name */
    {R("{\"pid\": 1, \"address\": \"h:1\"}"),
     {"replicas[0].name: missing; give the replica a name of its own"}},
    {R("{\"pid\": 1, \"name\": 5, \"address\": \"h:1\"}"),
     {"replicas[0].name: 5 is not a name; write text in double quotes"}},
    {R("{\"pid\": 1, \"name\": \"\", \"address\": \"h:1\"}"),
     {"replicas[0].name: empty; write 1 to 64 of A-Z a-z 0-9 . _ -"}},
    {R("{\"pid\": 1, \"name\": \"" SIXTY "1234\", \"address\": \"h:1\"}"), {0}},
    {R("{\"pid\": 1, \"name\": \"" SIXTY "12345\", \"address\": \"h:1\"}"),
     {"replicas[0].name: \"" TEN TEN TEN TEN "...\" has 65 characters; use at most 64"}},
    {R("{\"pid\": 1, \"name\": \"al pha\", \"address\": \"h:1\"}"),
     {"replicas[0].name: \"al pha\" is not a name; use only A-Z a-z 0-9 . _ -"}},
    {R("{\"pid\": 1, \"name\": \"a\\nb\", \"address\": \"h:1\"}"),
     {"replicas[0].name: \"a?b\" is not a name; use only A-Z a-z 0-9 . _ -"}},
    {R("{\"pid\": 1, \"name\": \"" TEN TEN TEN "012345678\xc3\xa9z\", \"address\": \"h:1\"}"),
     {"replicas[0].name: \"" TEN TEN TEN "012345678...\" is not a name; use only A-Z a-z 0-9 . _ "
      "-"}},
    {R(ALPHA ", {\"pid\": 2, \"name\": \"alpha\", \"address\": \"h:1\"}"),
     {"replicas[1].name: \"alpha\" is the name of replicas[0] too; give each its own"}},

    /* pid */
    {R("{\"name\": \"a\", \"address\": \"h:1\"}"),
     {"warning: replicas[0].pid: missing; give each replica a number of its own"}},
    {R("{\"pid\": \"1\", \"name\": \"a\", \"address\": \"h:1\"}"),
     {"replicas[0].pid: \"1\" is not a pid; write a whole number from 0, without quotes"}},
    {R("{\"pid\": -1, \"name\": \"a\", \"address\": \"h:1\"}"),
     {"replicas[0].pid: -1 is not a pid; write a whole number from 0, without quotes"}},
    {R("{\"pid\": 1.5, \"name\": \"a\", \"address\": \"h:1\"}"),
     {"replicas[0].pid: 1.5 is not a pid; write a whole number from 0, without quotes"}},
    {R(ALPHA ", {\"pid\": 1, \"name\": \"b\", \"address\": \"h:1\"}"),
     {"replicas[1].pid: 1 is the pid of replicas[0] too; give each its own"}},

    /* address, ipaddr, port, host */
    {R(ALPHA ", " BRAVO("\"host\": \"apollo\"")),
     {"replicas[1].address: missing; write \"host:port\", or ipaddr and port"}},
    {R(BRAVO("\"ipaddr\": \"10.0.0.1\"")),
     {"replicas[0].port: missing; write a port (1..65535), or \"address\""}},
    {R(BRAVO("\"port\": 70000")),
     {"replicas[0].port: 70000 is not a port (1..65535)",
      "replicas[0].address: missing; write \"host:port\", or ipaddr and port"}},
    {R(ALPHA ", " BRAVO("\"address\": \"h:1\", \"port\": 70000")),
     {"replicas[1].port: 70000 is not a port (1..65535)"}},
    {R(BRAVO("\"address\": \"h:1\", \"port\": 0")),
     {"replicas[0].port: 0 is not a port (1..65535)"}},
    {R(BRAVO("\"address\": \"h:1\", \"port\": \"1\"")),
     {"replicas[0].port: \"1\" is not a port; write a number (1..65535) without quotes"}},
    {R(BRAVO("\"address\": \"h:1\", \"port\": 2")),
     {"warning: replicas[0].port: 2 differs from the port in \"address\"; 1 is used"}},
    {R(BRAVO("\"address\": 1, \"ipaddr\": true, \"host\": {}")),
     {"replicas[0].host: an object is not the name of a machine; write text in double quotes",
      "replicas[0].address: 1 is not an address; write text in double quotes",
      "replicas[0].ipaddr: true is not an address; write text in double quotes"}},
    {R(BRAVO("\"address\": \"h\"")),
     {"replicas[0].address: \"h\" has no port; write \"host:port\""}},
    {R(BRAVO("\"address\": \"\"")), {"replicas[0].address: \"\" has no port; write \"host:port\""}},
    {R(BRAVO("\"address\": \"h:\"")),
     {"replicas[0].address: \"h:\" has no port; write \"host:port\""}},
    {R(BRAVO("\"address\": \":1\"")),
     {"replicas[0].address: \":1\" has no host; write \"host:port\""}},
    {R(BRAVO("\"address\": \"h:65536\"")),
     {"replicas[0].address: \"h:65536\" has a bad port; write 1..65535 behind the colon"}},
    {R(BRAVO("\"address\": \"h:+1\"")),
     {"replicas[0].address: \"h:+1\" has a bad port; write 1..65535 behind the colon"}},
    {R(BRAVO("\"address\": \"h h:1\"")),
     {"replicas[0].address: \"h h:1\" has a host that is neither a name nor a numeric address; "
      "correct it"}},
    {R(BRAVO("\"address\": \"tcp://h:1\"")),
     {"replicas[0].address: \"tcp://h:1\" is not an address; write \"host:port\" without "
      "\"tcp://\""}},
    {R(BRAVO("\"address\": \"::1:1\"")),
     {"replicas[0].address: \"::1:1\" has more than one colon; write an IPv6 address as "
      "\"[::1]:3264\""}},
    {R(BRAVO("\"address\": \"[::1]\"")),
     {"replicas[0].address: \"[::1]\" has no port; write \"[host]:port\""}},
    {R(BRAVO("\"address\": \"[::1:1\"")),
     {"replicas[0].address: \"[::1:1\" has no closing bracket; write \"[host]:port\""}},
    {R(BRAVO("\"address\": \"[]:1\"")),
     {"replicas[0].address: \"[]:1\" has no host; write \"host:port\""}},
    {R(BRAVO("\"address\": \"" SIXTY SIXTY SIXTY SIXTY TEN "abcd:1\"")),
     {"replicas[0].address: \"" TEN TEN TEN TEN
      "...\" has a host of more than 253 bytes; shorten it"}},
    {R(ALPHA ", " BRAVO("\"address\": \"LocalHost:3264\"")),
     {"replicas[1].address: \"LocalHost\" and port 3264 are those of replicas[0] too; give each "
      "its "
      "own"}},
    {R(ALPHA ", " BRAVO("\"ipaddr\": \"localhost\", \"port\": 3264")),
     {"replicas[1].ipaddr: \"localhost\" and port 3264 are those of replicas[0] too; give each its "
      "own"}},

    /* ports */
    {R(BRAVO("\"address\": \"h:1\", \"ports\": {}")), {0}},
    {R(BRAVO("\"address\": \"h:1\", \"ports\": {\"pub\": 65535, \"x\": \"y\"}")), {0}},
    {R(BRAVO("\"address\": \"h:1\", \"ports\": 4264")),
     {"replicas[0].ports: 4264 is not an object; write {\"pub\": 4264, \"ack\": 5264} or remove "
      "it"}},
    {R(BRAVO("\"address\": \"h:1\", \"ports\": null")),
     {"replicas[0].ports: null is not an object; write {\"pub\": 4264, \"ack\": 5264} or remove "
      "it"}},
    {R(ALPHA ", " BRAVO("\"address\": \"h:1\", \"ports\": {\"ack\": 0, \"pub\": 70000}")),
     {"replicas[1].ports.pub: 70000 is not a port (1..65535)",
      "replicas[1].ports.ack: 0 is not a port (1..65535)"}},
    {R(BRAVO("\"address\": \"h:1\", \"ports\": {\"pub\": \"4264\", \"ack\": null}")),
     {"replicas[0].ports.pub: \"4264\" is not a port; write a number (1..65535) without quotes",
      "replicas[0].ports.ack: null is not a port; write a number (1..65535) without quotes"}},
    {R(BRAVO("\"address\": \"h:1\", \"ports\": {\"pub\": 2, \"pub\": 3}")),
     {"1:81: \"pub\" stands twice in one object; keep one of them"}},

    /* ports that the file gives twice */
    {R(ALPHA ", " BRAVO("\"address\": \"h:1\", \"ports\": {\"pub\": 3264, \"ack\": 3264}")),
     {"replicas[1].ports.ack: port 3264 is ports.pub of replicas[1] too, on the same host; give "
      "each its own"}},
    {R(BRAVO("\"address\": \"h:1\", \"ports\": {\"pub\": 1}")),
     {"replicas[0].ports.pub: port 1 is the port of replicas[0] too, on the same host; give each "
      "its own"}},
    {R(BRAVO("\"address\": 1, \"ports\": {\"pub\": 2, \"ack\": 2}")),
     {"replicas[0].address: 1 is not an address; write text in double quotes",
      "replicas[0].ports.ack: port 2 is ports.pub of replicas[0] too, on the same host; give each "
      "its own"}},
    {R(ALPHA ", " BRAVO("\"address\": \"LOCALHOST:1\", \"ports\": {\"ack\": 3264}")),
     {"replicas[1].ports.ack: port 3264 is the port of replicas[0] too, on the same host; give "
      "each its own"}},
    {R(BRAVO("\"address\": \"localhost:1\", \"ports\": {\"ack\": 3264}") ", " ALPHA),
     {"replicas[1].address: port 3264 is ports.ack of replicas[0] too, on the same host; give each "
      "its own"}},
    {R(BRAVO(
         "\"address\": \"h:1\", \"ports\": {\"pub\": 2, \"ack\": 3}") ", {\"pid\": 3, "
                                                                      "\"name\": \"c\", "
                                                                      "\"ipaddr\": \"h\", "
                                                                      "\"port\": 2, \"ports\": "
                                                                      "{\"pub\": 3, \"ack\": 1}}"),
     {"replicas[1].ipaddr: port 2 is ports.pub of replicas[0] too, on the same host; give each its "
      "own",
      "replicas[1].ports.pub: port 3 is ports.ack of replicas[0] too, on the same host; give each "
      "its own",
      "replicas[1].ports.ack: port 1 is the port of replicas[0] too, on the same host; give each "
      "its own"}},

    /* a default that meets another port is found by zmqnet_peers_check_ports() */
    {R(ALPHA ", " BRAVO("\"address\": \"localhost:4264\"")), {0}},
    {R(ALPHA ", " BRAVO("\"address\": \"localhost:1\", \"ports\": {\"pub\": 4264}")), {0}},

    /* all at once */
    {"{\"info\": {\"num_replicas\": 9},\n \"replicas\": [{\"name\": \"\", \"name\": \"a b\"}]}",
     {"2:28: \"name\" stands twice in one object; keep one of them",
      "warning: info.num_replicas: 9, but the list has 1; the list is used, correct the number",
      "warning: replicas[0].pid: missing; give each replica a number of its own",
      "replicas[0].name: \"a b\" is not a name; use only A-Z a-z 0-9 . _ -",
      "replicas[0].address: missing; write \"host:port\", or ipaddr and port"}},

    /* keys that stand twice */
    {"{\"replicas\": [" ALPHA "],\n\"x\": 1, \"x\": 2,\n\"y\": [{\"x\": 1}, {\"x\": 1, \"x\": 2}]}",
     {"2:9: \"x\" stands twice in one object; keep one of them",
      "3:26: \"x\" stands twice in one object; keep one of them"}},
    {"{\"replicas\": [" ALPHA "], \"x\": 1, \"\\u0078\": 2}",
     {"1:82: \"\\u0078\" stands twice in one object; keep one of them"}},

    /* the syntax */
    {"{\n  \"replicas\": [\n    {\"name\": \"alpha\" \"pid\": 1}\n  ]\n}",
     {"3:22: \"pid\" cannot stand here; write ',' or '}' before it"}},
    {"{\"a\": \"\xc3\xa9\" 1}", {"1:11: '1' cannot stand here; write ',' or '}' before it"}},
    {"{\"a\": 1,\n}",
     {"2:1: '}' cannot stand here; write a key in double quotes, or '}' without a comma before "
      "it"}},
    {"{\"a\" 1}", {"1:6: '1' cannot stand here; write ':' between key and value"}},
    {"[1 2]", {"1:4: '2' cannot stand here; write ',' or ']' before it"}},
    {"[1, ]", {"1:5: ']' cannot stand here; write a value, or ']' without a comma before it"}},
    {"{} x", {"1:4: 'x' follows the end of the JSON; remove it"}},
    {"{'a': 1}", {"1:2: 'a' is no JSON value; write text in double quotes"}},
    {"[\n  alpha\n]", {"2:3: 'alpha' is no JSON value; write text in double quotes"}},
    {"[12ab]", {"1:2: '12ab' is no JSON value; write text in double quotes"}},
    {"// peers\n{}", {"1:1: '//' cannot stand here; JSON has no comments, remove it"}},
    {"[\"a\n\"]", {"1:2: \"a has no closing quote; add it on the same line"}},
    {"[\"a\tb\"]", {"1:2: \"a?b\" holds a control character; write it as \\n, \\t or \\u00XX"}},
    {"[\"\\q\"]", {"1:2: \"\\q\" holds an unknown escape; write a backslash as \\\\"}},
    {"[\"\\ud800\"]", {"1:2: \"\\ud800\" holds a \\u escape that is no character; correct it"}},
    {"[\"\\u0000\"]", {"1:2: \"\\u0000\" holds \\u0000; remove it"}},
    {"{\"\\u0000\": 1}", {"1:2: \"\\u0000\" holds \\u0000; remove it"}},
    {"[99999999999999999999]",
     {"1:2: '99999999999999999999' is out of range; write a number that fits 64 bits"}},
    {"[1e999]", {"1:2: '1e999' is out of range; write a smaller number"}},
    {"{\"replicas\": [\n",
     {"1:15: the JSON ends here, before it is complete; the file may be truncated, restore the "
      "rest"}},
    {"{\"replicas\": [\"alp", {"1:15: \"alp has no closing quote; the file may be truncated"}},
    {"{\"a\":\n\"\xff\"}",
     {"2:2: byte 0xff at offset 7 is not UTF-8; save the file as UTF-8, or restore it if it is "
      "truncated"}},
    {"[\"\xc3",
     {"1:3: byte 0xc3 at offset 2 is not UTF-8; save the file as UTF-8, or restore it if it "
      "is truncated"}},
};

static void describe(const struct zmqnet_diag *diag, char *out, size_t room)
{
    char place[32] = "";
    if (diag->line)
        snprintf(place, sizeof place, "%d:%d: ", diag->line, diag->column);
    snprintf(out, room, "%s%s%s", diag->code ? "" : "warning: ", place, diag->text);
}

static void check_row(const struct row *row)
{
    zmqnet_peers *peers;
    struct zmqnet_diag diags[DIAGS_MAX];
    size_t n;
    size_t expected_n = 0;
    bool bad = false;
    int rc = zmqnet_peers_parse(row->json, strlen(row->json), &peers, diags, DIAGS_MAX, &n);
    assert_in_range(n, 0, DIAGS_MAX);
    while (expected_n < 6 && row->expected[expected_n])
        expected_n++;
    for (size_t i = 0; i < n; i++) {
        char got[320];
        describe(&diags[i], got, sizeof got);
        if (i >= expected_n || strcmp(got, row->expected[i]) != 0)
            fail_msg("%s\n  said:     %s\n  expected: %s", row->json, got,
                     i < expected_n ? row->expected[i] : "nothing");
        bad = bad || diags[i].code != 0;
    }
    if (n != expected_n)
        fail_msg("%s\n  did not say: %s", row->json, row->expected[n]);
    assert_int_equal(rc, bad ? ZMQNET_ECONFIG : 0);
    assert_int_equal(peers != NULL, rc == 0);
    zmqnet_peers_free(&peers);
}

static void texts_give_their_sentences(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        check_row(&rows[i]);
}

static zmqnet_peers *good(const char *json)
{
    zmqnet_peers *peers;
    assert_int_equal(zmqnet_peers_parse(json, strlen(json), &peers, NULL, 0, NULL), 0);
    return peers;
}

static void seed_file_gives_its_replicas(void **state)
{
    (void)state;
    static const char *const names[] = {"alpha", "bravo", "charlie"};
    zmqnet_peers *peers = good(seed_file);
    assert_int_equal(zmqnet_peers_count(peers), 3);
    for (size_t i = 0; i < 3; i++) {
        const struct zmqnet_replica *r = zmqnet_peers_get(peers, i);
        char endpoint[64];
        snprintf(endpoint, sizeof endpoint, "tcp://localhost:%zu", 3264 + i);
        assert_string_equal(r->name, names[i]);
        assert_string_equal(r->endpoint, endpoint);
        assert_string_equal(r->host, "localhost");
        assert_int_equal(r->port, 3264 + i);
        assert_int_equal(r->pid, 1000 + i);
        assert_int_equal(zmqnet_peers_find(peers, names[i]), i);
    }
    assert_null(zmqnet_peers_get(peers, 3));
    assert_int_equal(zmqnet_peers_find(peers, "delta"), -1);
    assert_int_equal(zmqnet_peers_find(peers, ""), -1);
    zmqnet_peers_free(&peers);
    assert_null(peers);
    zmqnet_peers_free(&peers);
}

static void ipv6_stands_in_brackets_in_the_endpoint_only(void **state)
{
    (void)state;
    zmqnet_peers *peers = good(R("{\"name\": \"a\", \"address\": \"[fe80::1%eth0]:1\"}, "
                                 "{\"name\": \"b\", \"ipaddr\": \"::1\", \"port\": 2}, "
                                 "{\"name\": \"c\", \"address\": \"[c.example]:3\"}"));
    assert_string_equal(zmqnet_peers_get(peers, 0)->host, "fe80::1%eth0");
    assert_string_equal(zmqnet_peers_get(peers, 0)->endpoint, "tcp://[fe80::1%eth0]:1");
    assert_string_equal(zmqnet_peers_get(peers, 1)->endpoint, "tcp://[::1]:2");
    assert_string_equal(zmqnet_peers_get(peers, 2)->endpoint, "tcp://c.example:3");
    assert_int_equal(zmqnet_peers_get(peers, 0)->pid, -1);
    zmqnet_peers_free(&peers);
}

/* FNV-1a of "alpha\0localhost\0" "3264\n" "bravo\0localhost\0" "3265\n" ..., computed elsewhere. */
static void hash_is_that_of_the_specification(void **state)
{
    (void)state;
    zmqnet_peers *peers = good(seed_file);
    assert_true(peers->hash == 0x609d819aef0a8f4au);
    zmqnet_peers_free(&peers);
}

static void hash_ignores_order_and_what_is_not_an_address(void **state)
{
    (void)state;
    zmqnet_peers *a = good(R(ALPHA ", " BRAVO("\"address\": \"h:1\"")));
    zmqnet_peers *b = good(R(BRAVO("\"ipaddr\": \"h\", \"port\": 1, \"x\": 1") ", " ALPHA));
    zmqnet_peers *c = good(R(ALPHA ", " BRAVO("\"address\": \"h:2\"")));
    assert_true(a->hash == b->hash);
    assert_true(a->hash != c->hash);
    zmqnet_peers_free(&a);
    zmqnet_peers_free(&b);
    zmqnet_peers_free(&c);
}

/* As above, with "\0" "4300\0" "5265" behind "3265", computed elsewhere. */
static void hash_holds_the_ports_that_are_no_default(void **state)
{
    (void)state;
    static const char format[] =
        R("{\"name\": \"alpha\", \"address\": \"localhost:3264\"}, "
          "{\"name\": \"bravo\", \"address\": \"localhost:3265\", \"ports\": {%s}}, "
          "{\"name\": \"charlie\", \"address\": \"localhost:3266\", \"ports\": {%s}}");
    static const struct {
        const char *bravo, *charlie;
        uint64_t hash;
    } golden[] = {
        {"", "\"x\": 1", 0x609d819aef0a8f4au},
        {"\"pub\": 4265", "\"pub\": 4266, \"ack\": 5266", 0x609d819aef0a8f4au},
        {"\"pub\": 4300", "", 0x26fc0b845872b20fu},
        {"\"pub\": 4300, \"ack\": 5265", "", 0x26fc0b845872b20fu},
        {"\"ack\": 5300", "\"pub\": 7000, \"ack\": 7001", 0x1314dfaaa14664f8u},
    };
    for (size_t i = 0; i < sizeof golden / sizeof *golden; i++) {
        char json[512];
        snprintf(json, sizeof json, format, golden[i].bravo, golden[i].charlie);
        zmqnet_peers *peers = good(json);
        assert_true(peers->hash == golden[i].hash);
        zmqnet_peers_free(&peers);
    }
}

static void ports_that_are_not_given_are_thousands_away(void **state)
{
    (void)state;
    static const struct {
        const char *address, *ports;
        int pub, ack;
    } replicas[] = {
        {"h:3264", "{}", 4264, 5264},          {"h:1", "{\"pub\": 9}", 9, 2001},
        {"h:1", "{\"ack\": 9}", 1001, 9},      {"h:1", "{\"ack\": 9, \"pub\": 8}", 8, 9},
        {"h:63535", "{}", 64535, 65535},       {"h:63536", "{}", 64536, 61536},
        {"h:64535", "{}", 65535, 62535},       {"h:64536", "{}", 63536, 62536},
        {"h:65535", "{\"pub\": 1}", 1, 63535},
    };
    for (size_t i = 0; i < sizeof replicas / sizeof *replicas; i++) {
        char json[256];
        snprintf(json, sizeof json, R("{\"name\": \"a\", \"address\": \"%s\", \"ports\": %s}"),
                 replicas[i].address, replicas[i].ports);
        zmqnet_peers *peers = good(json);
        assert_int_equal(zmqnet_peers_get(peers, 0)->pub_port, replicas[i].pub);
        assert_int_equal(zmqnet_peers_get(peers, 0)->ack_port, replicas[i].ack);
        assert_int_equal(zmqnet_peers_check_ports(peers, NULL), 0);
        zmqnet_peers_free(&peers);
    }
}

/* expected: NULL if all is well. */
static void check_ports(const char *json, const char *expected)
{
    struct zmqnet_diag diag = {.code = 7, .line = 7, .text = "untouched"};
    zmqnet_peers *peers = good(json);
    int rc = zmqnet_peers_check_ports(peers, &diag);
    assert_int_equal(zmqnet_peers_check_ports(peers, NULL), rc);
    assert_int_equal(rc, expected ? ZMQNET_ECONFIG : 0);
    assert_int_equal(diag.code, expected ? ZMQNET_ECONFIG : 7);
    assert_int_equal(diag.line, expected ? 0 : 7);
    assert_string_equal(diag.text, expected ? expected : "untouched");
    zmqnet_peers_free(&peers);
}

static void defaults_that_meet_another_port_are_named(void **state)
{
    (void)state;
    static const char long_name[] = SIXTY "1234";
    char json[512], text[256];
    check_ports(seed_file, NULL);
    check_ports(R(ALPHA ", " BRAVO("\"address\": \"other:4264\"")), NULL);
    check_ports(R(ALPHA ", " BRAVO("\"address\": \"localhost:4264\", \"ports\": {\"pub\": 1}")),
                "the pub port of alpha (default) and the port of bravo are both 4264; give "
                "\"ports\" in the peers file");
    check_ports(R(BRAVO("\"address\": \"LOCALHOST:4264\"") ", " ALPHA),
                "the port of bravo and the pub port of alpha (default) are both 4264; give "
                "\"ports\" in the peers file");
    check_ports(R(ALPHA ", " BRAVO("\"address\": \"localhost:1\", \"ports\": {\"ack\": 5264}")),
                "the ack port of alpha (default) and the ack port of bravo are both 5264; give "
                "\"ports\" in the peers file");
    check_ports(R(BRAVO("\"address\": \"h:1\", \"ports\": {\"ack\": 1001}")),
                "the pub port of bravo (default) and the ack port of bravo are both 1001; give "
                "\"ports\" in the peers file");
    snprintf(json, sizeof json,
             R("{\"name\": \"a%s\", \"address\": \"h:64000\"}, "
               "{\"name\": \"b%s\", \"address\": \"h:61000\"}"),
             long_name + 1, long_name + 1);
    snprintf(text, sizeof text,
             "the ack port of a%s (default) and the pub port of b%s (default) are both 62000; give "
             "\"ports\" in the peers file",
             long_name + 1, long_name + 1);
    check_ports(json, text);
}

static void references_keep_it(void **state)
{
    (void)state;
    zmqnet_peers *peers = good(R(ALPHA));
    const zmqnet_peers *kept = zn_peers_ref(peers);
    zmqnet_peers_free(&peers);
    assert_string_equal(zmqnet_peers_get(kept, 0)->name, "alpha");
    zn_peers_drop(&kept);
    assert_null(kept);
    zn_peers_drop(&kept);
}

static char *many(size_t n)
{
    char *json;
    size_t bytes;
    FILE *f = open_memstream(&json, &bytes);
    assert_non_null(f);
    fprintf(f, "{\"replicas\": [");
    for (size_t i = 0; i < n; i++)
        fprintf(f, "%s{\"pid\": %zu, \"name\": \"r%zu\", \"address\": \"h:%zu\"}", i ? ", " : "", i,
                i, i + 1);
    fprintf(f, "]}");
    assert_int_equal(fclose(f), 0);
    return json;
}

static void sixty_four_replicas_are_enough(void **state)
{
    (void)state;
    zmqnet_peers *peers;
    struct zmqnet_diag diag;
    size_t n;
    char *json = many(ZN_REPLICAS_MAX);
    peers = good(json);
    assert_int_equal(zmqnet_peers_count(peers), ZN_REPLICAS_MAX);
    zmqnet_peers_free(&peers);
    free(json);
    json = many(ZN_REPLICAS_MAX + 1);
    assert_int_equal(zmqnet_peers_parse(json, strlen(json), &peers, &diag, 1, &n), ZMQNET_ECONFIG);
    assert_int_equal(n, 1);
    assert_string_equal(diag.text, "replicas: the list has 65; remove all above 64");
    free(json);
}

static void what_has_no_room_is_counted(void **state)
{
    (void)state;
    static const char json[] = R("1, 2, 3");
    zmqnet_peers *peers;
    struct zmqnet_diag diags[2];
    size_t n = 0;
    memset(diags, 0xee, sizeof diags);
    assert_int_equal(zmqnet_peers_parse(json, strlen(json), &peers, diags, 1, &n), ZMQNET_ECONFIG);
    assert_int_equal(n, 3);
    assert_int_equal(diags[0].code, ZMQNET_ECONFIG);
    assert_int_equal((unsigned char)diags[1].text[0], 0xee);
    assert_int_equal(zmqnet_peers_parse(json, strlen(json), &peers, NULL, 0, NULL), ZMQNET_ECONFIG);
}

static void arguments_are_checked(void **state)
{
    (void)state;
    zmqnet_peers *peers;
    size_t n = 7;
    assert_int_equal(zmqnet_peers_parse(NULL, 0, &peers, NULL, 0, &n), ZMQNET_EINVAL);
    assert_int_equal(n, 0);
    assert_int_equal(zmqnet_peers_parse("{}", 2, NULL, NULL, 0, NULL), ZMQNET_EINVAL);
    assert_int_equal(zmqnet_peers_parse("{}", 2, &peers, NULL, 1, NULL), ZMQNET_EINVAL);
    assert_int_equal(zmqnet_peers_load(NULL, &peers, NULL, 0, NULL), ZMQNET_EINVAL);
    assert_int_equal(zmqnet_peers_load("x", NULL, NULL, 0, NULL), ZMQNET_EINVAL);
    assert_int_equal(zmqnet_peers_check_ports(NULL, NULL), ZMQNET_EINVAL);
}

static void nul_byte_is_named(void **state)
{
    (void)state;
    zmqnet_peers *peers;
    struct zmqnet_diag diag;
    assert_int_equal(zmqnet_peers_parse("{\n\0}", 4, &peers, &diag, 1, NULL), ZMQNET_ECONFIG);
    assert_string_equal(diag.text,
                        "byte 0x00 at offset 2 is NUL; a peers file is text, restore or retype it");
    assert_int_equal(diag.line, 2);
    assert_int_equal(diag.column, 1);
}

/* The text goes to the heap without a terminator, so that a sanitizer sees reads behind it. */
static void read_piece(const char *text, size_t text_bytes, bool may_be_good)
{
    zmqnet_peers *peers;
    struct zmqnet_diag diags[DIAGS_MAX];
    size_t n;
    char *piece = malloc(text_bytes + !text_bytes);
    assert_non_null(piece);
    memcpy(piece, text, text_bytes);
    int rc = zmqnet_peers_parse(piece, text_bytes, &peers, diags, DIAGS_MAX, &n);
    free(piece);
    assert_true(rc == ZMQNET_ECONFIG ? n > 0 : may_be_good && rc == 0);
    for (size_t i = 0; i < n && i < DIAGS_MAX; i++) {
        assert_true(zn_utf8_valid(diags[i].text, strlen(diags[i].text)));
        assert_int_equal(diags[i].line > 0, diags[i].column > 0);
    }
    zmqnet_peers_free(&peers);
}

static void every_truncation_is_an_error(void **state)
{
    (void)state;
    for (size_t n = 0; n < sizeof seed_file - 2; n++)
        read_piece(seed_file, n, false);
}

static void mutations_never_crash(void **state)
{
    (void)state;
    static const char likely[] = "{}[]:,\"\\/'#\n\t 0-e.tn";
    struct zn_rand r;
    zn_rand_seed(&r, 11);
    for (int i = 0; i < 20000; i++) {
        char text[sizeof seed_file];
        memcpy(text, seed_file, sizeof text);
        for (uint64_t k = zn_rand_below(&r, 4) + 1; k > 0; k--) {
            size_t at = zn_rand_below(&r, sizeof text - 1);
            text[at] = zn_rand_below(&r, 4) ? likely[zn_rand_below(&r, sizeof likely - 1)]
                                            : (char)zn_rand_below(&r, 256);
        }
        read_piece(text, sizeof text - 1, true);
    }
}

static void deep_nesting_is_an_error(void **state)
{
    (void)state;
    enum { DEPTH = 100000 };
    char *json = malloc(DEPTH);
    zmqnet_peers *peers;
    struct zmqnet_diag diag;
    assert_non_null(json);
    memset(json, '[', DEPTH);
    assert_int_equal(zmqnet_peers_parse(json, DEPTH, &peers, &diag, 1, NULL), ZMQNET_ECONFIG);
    assert_string_equal(diag.text, "'[' is nested too deeply; remove some levels");
    free(json);
}

/* ---- files ---- */

static char folder[] = "/tmp/zmqnet-test-peers-XXXXXX";

static int make_folder(void **state)
{
    (void)state;
    return mkdtemp(folder) ? 0 : -1;
}

static int remove_folder(void **state)
{
    (void)state;
    return rmdir(folder);
}

static const char *path_of(const char *name)
{
    static char path[128];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return path;
}

static void check_load(const char *path, const char *expected)
{
    zmqnet_peers *peers;
    struct zmqnet_diag diag = {0};
    size_t n;
    int rc = zmqnet_peers_load(path, &peers, &diag, 1, &n);
    assert_int_equal(rc, expected ? ZMQNET_ECONFIG : 0);
    assert_int_equal(n, expected ? 1 : 0);
    assert_string_equal(diag.text, expected ? expected : "");
    zmqnet_peers_free(&peers);
}

static void write_file(const char *path, const char *bytes, size_t n)
{
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    assert_int_equal(fwrite(bytes, 1, n, f), n);
    assert_int_equal(fclose(f), 0);
}

static void files_load_or_say_why_not(void **state)
{
    (void)state;
    const char *path = path_of("peers.json");
    check_load(path, "No such file or directory; create it, or give the path of a peers file");
    check_load(folder, "Is a directory; give the path of a file in it");
    write_file(path, seed_file, sizeof seed_file - 1);
    check_load(path, NULL);
    assert_int_equal(truncate(path, 0), 0);
    check_load(path, "the file is empty; write {\"replicas\": [...]}");
    assert_int_equal(unlink(path), 0);
}

/* Root may read everything: there is nothing to see then. */
static void unreadable_file_says_so(void **state)
{
    (void)state;
    if (geteuid() == 0)
        skip();
    const char *path = path_of("secret.json");
    write_file(path, "{}", 2);
    assert_int_equal(chmod(path, 0), 0);
    check_load(path, "Permission denied; make it readable for this user");
    assert_int_equal(unlink(path), 0);
}

static void large_file_is_refused(void **state)
{
    (void)state;
    const char *path = path_of("large.json");
    char *spaces = malloc(ZN_PEERS_FILE_MAX + 1);
    assert_non_null(spaces);
    memset(spaces, ' ', ZN_PEERS_FILE_MAX + 1);
    memcpy(spaces, seed_file, sizeof seed_file - 1);
    write_file(path, spaces, ZN_PEERS_FILE_MAX);
    check_load(path, NULL);
    write_file(path, spaces, ZN_PEERS_FILE_MAX + 1);
    check_load(path, "the file is larger than 1048576 bytes; give the path of a peers file");
    free(spaces);
    assert_int_equal(unlink(path), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(texts_give_their_sentences),
        cmocka_unit_test(seed_file_gives_its_replicas),
        cmocka_unit_test(ipv6_stands_in_brackets_in_the_endpoint_only),
        cmocka_unit_test(hash_is_that_of_the_specification),
        cmocka_unit_test(hash_ignores_order_and_what_is_not_an_address),
        cmocka_unit_test(hash_holds_the_ports_that_are_no_default),
        cmocka_unit_test(ports_that_are_not_given_are_thousands_away),
        cmocka_unit_test(defaults_that_meet_another_port_are_named),
        cmocka_unit_test(references_keep_it),
        cmocka_unit_test(sixty_four_replicas_are_enough),
        cmocka_unit_test(what_has_no_room_is_counted),
        cmocka_unit_test(arguments_are_checked),
        cmocka_unit_test(nul_byte_is_named),
        cmocka_unit_test(every_truncation_is_an_error),
        cmocka_unit_test(mutations_never_crash),
        cmocka_unit_test(deep_nesting_is_an_error),
        cmocka_unit_test(files_load_or_say_why_not),
        cmocka_unit_test(unreadable_file_says_so),
        cmocka_unit_test(large_file_is_refused),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
