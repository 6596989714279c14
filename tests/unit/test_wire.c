/* SPDX-License-Identifier: MIT */
/*
 * Message <-> bytes: golden bytes, round trips, every limit at its edge and one above, bytes that
 * were cut, flipped or made up, and what decoding costs. Random input comes from one fixed seed.
 *
 * The golden bytes were made by another implementation (protoc --encode) from the text beside them;
 * docs/wire.md shows the same ones. The encoder asserts its limits, so what is above a limit is put
 * together here, field by field.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "allocs.h"
#include "base/rand.h"
#include "model/wire.h"

#define BODY_MAX 100000u
#define SEED 20240229u
#define LIFE_A 0x8f3c21d09ab4e671u /* alpha's */
#define LIFE_B 0x2b7e151628aed2a6u /* bravo's */
#define LIFE_C 0x00c0ffee00c0ffeeu /* a client's */
#define PEERS_HASH 0x609d819aef0a8f4au

/* ---- bytes put together by hand ---- */

struct buf {
    uint8_t *at;
    size_t n, room;
};

static void put(struct buf *b, const void *bytes, size_t n)
{
    if (b->n + n > b->room) {
        b->room = 2 * (b->n + n) + 64;
        b->at = realloc(b->at, b->room);
        assert_non_null(b->at);
    }
    if (n > 0)
        memcpy(b->at + b->n, bytes, n);
    b->n += n;
}

static void put_varint(struct buf *b, uint64_t v)
{
    uint8_t byte;
    for (; v >= 0x80; v >>= 7) {
        byte = (uint8_t)(v | 0x80);
        put(b, &byte, 1);
    }
    byte = (uint8_t)v;
    put(b, &byte, 1);
}

static void put_number(struct buf *b, unsigned field, uint64_t v)
{
    put_varint(b, field << 3);
    put_varint(b, v);
}

static void put_bytes(struct buf *b, unsigned field, const void *bytes, size_t n)
{
    put_varint(b, field << 3 | 2);
    put_varint(b, n);
    put(b, bytes, n);
}

/* A field of n letters. */
static void put_letters(struct buf *b, unsigned field, size_t n)
{
    uint8_t *letters = malloc(n + 1);
    assert_non_null(letters);
    memset(letters, 'x', n);
    put_bytes(b, field, letters, n);
    free(letters);
}

static void put_buf(struct buf *b, unsigned field, struct buf *inner)
{
    put_bytes(b, field, inner->at, inner->n);
    free(inner->at);
    *inner = (struct buf){0};
}

static void put_hex(struct buf *b, const char *hex)
{
    unsigned byte;
    for (; *hex; hex += 2) {
        assert_int_equal(sscanf(hex, "%2x", &byte), 1);
        uint8_t one = (uint8_t)byte;
        put(b, &one, 1);
    }
}

static void pack(struct buf *b, const struct zn_msg *msg)
{
    size_t n = zn_wire_size(msg);
    uint8_t *bytes = malloc(n + 1);
    assert_non_null(bytes);
    bytes[n] = 0xa5;
    zn_wire_pack(msg, bytes);
    assert_int_equal(bytes[n], 0xa5); /* not a byte more than was announced */
    put(b, bytes, n);
    free(bytes);
}

static void put_item(struct buf *batch, const void *bytes, size_t n)
{
    uint8_t head[ZN_WIRE_ITEM_HEAD_MAX];
    put(batch, head, zn_wire_item_head(n, head));
    put(batch, bytes, n);
}

static struct zn_decoder *decoder(void)
{
    struct zn_decoder *d;
    assert_int_equal(zn_decoder_new(BODY_MAX, &d), 0);
    return d;
}

/* Decode a frame from memory of exactly its length, so that a sanitizer sees a read behind it. All
 * of it is dropped again. Returns the error of the only message, or of the last one. */
static enum zn_wire_error decode_all(struct zn_decoder *d, const void *bytes, size_t n)
{
    enum zn_wire_error error = ZN_WIRE_OK;
    struct zn_msg msg;
    uint8_t *copy = malloc(n ? n : 1);
    assert_non_null(copy);
    if (n > 0)
        memcpy(copy, bytes, n);
    zn_decoder_begin(d, copy, n);
    while (zn_decoder_next(d, &msg, &error))
        zn_msg_drop(&msg);
    free(copy);
    return error;
}

/* Decode what was put together, and free it. */
static void expect(struct buf *b, enum zn_wire_error wanted)
{
    struct zn_decoder *d = decoder();
    assert_int_equal(decode_all(d, b->at, b->n), wanted);
    zn_decoder_free(&d);
    free(b->at);
    *b = (struct buf){0};
}

/* ---- comparing ---- */

static const char *str(const char *s) { return s ? s : ""; }

static void same_blob(const struct zn_blob *a, const struct zn_blob *b)
{
    assert_int_equal(zn_blob_bytes(a), zn_blob_bytes(b));
    if (a)
        assert_memory_equal(zn_blob_data(a), zn_blob_data(b), a->bytes);
}

static void same_row(const struct zn_row *a, const struct zn_row *b)
{
    assert_string_equal(str(a->name), str(b->name));
    assert_int_equal(a->outcome, b->outcome);
    assert_int_equal(a->rtt_us, b->rtt_us);
    assert_int_equal(a->code, b->code);
    assert_string_equal(str(a->why), str(b->why));
    same_blob(a->reply, b->reply);
}

static void same_peer(const struct zmqnet_peer_status *a, const struct zmqnet_peer_status *b)
{
    assert_string_equal(str(a->name), str(b->name));
    assert_string_equal(str(a->endpoint), str(b->endpoint));
    assert_string_equal(str(a->cause), str(b->cause));
    assert_int_equal(a->state, b->state);
    assert_int_equal(a->since_us, b->since_us);
    assert_int_equal(a->rtt_us, b->rtt_us);
    assert_int_equal(a->queue_messages, b->queue_messages);
    assert_int_equal(a->queue_bytes, b->queue_bytes);
    assert_int_equal(a->inflight, b->inflight);
    assert_int_equal(a->sent, b->sent);
    assert_int_equal(a->acked, b->acked);
    assert_int_equal(a->refused, b->refused);
    assert_int_equal(a->unknown, b->unknown);
    assert_int_equal(a->never_sent, b->never_sent);
    assert_int_equal(a->retries, b->retries);
    assert_int_equal(a->late, b->late);
    assert_int_equal(a->config_differs, b->config_differs);
}

static void same_links(const struct zmqnet_link *a, const struct zmqnet_link *b, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        assert_int_equal(a[i].state, b[i].state);
        assert_int_equal(a[i].cause, b[i].cause);
    }
}

static void same_status(const zmqnet_status *a, const zmqnet_status *b)
{
    assert_int_equal(!a, !b);
    if (!a)
        return;
    assert_string_equal(str(a->name), str(b->name));
    assert_string_equal(str(a->pattern), str(b->pattern));
    assert_int_equal(a->life, b->life);
    assert_int_equal(a->uptime_us, b->uptime_us);
    assert_int_equal(a->peers_n, b->peers_n);
    for (size_t i = 0; i < a->peers_n; i++)
        same_peer(&a->peers[i], &b->peers[i]);
    assert_int_equal(a->counters_n, b->counters_n);
    for (size_t i = 0; i < a->counters_n; i++) {
        assert_string_equal(str(a->counters[i].name), str(b->counters[i].name));
        assert_int_equal(a->counters[i].value, b->counters[i].value);
    }
    assert_int_equal(a->rows_n, b->rows_n);
    for (size_t i = 0; i < a->rows_n; i++) {
        assert_string_equal(str(a->rows[i].name), str(b->rows[i].name));
        assert_int_equal(a->rows[i].age_us, b->rows[i].age_us);
        same_links(a->rows[i].links, b->rows[i].links, a->peers_n);
    }
}

static void same_msg(const struct zn_msg *a, const struct zn_msg *b)
{
    assert_int_equal(a->type, b->type);
    assert_int_equal(a->kind, b->kind);
    assert_string_equal(str(a->sender), str(b->sender));
    assert_int_equal(a->id.origin, b->id.origin);
    assert_int_equal(a->id.seq, b->id.seq);
    same_blob(a->body, b->body);
    assert_int_equal(a->lives_n, b->lives_n);
    for (size_t i = 0; i < a->lives_n; i++)
        assert_int_equal(a->to_life[i], b->to_life[i]);
    assert_int_equal(a->budget_ms, b->budget_ms);
    assert_int_equal(a->attempt, b->attempt);
    assert_int_equal(a->quorum, b->quorum);
    assert_int_equal(a->floor, b->floor);
    assert_int_equal(a->idempotent, b->idempotent);
    assert_int_equal(a->code, b->code);
    assert_int_equal(a->rows_n, b->rows_n);
    for (size_t i = 0; i < a->rows_n; i++)
        same_row(&a->rows[i], &b->rows[i]);
    assert_int_equal(a->need, b->need);
    assert_int_equal(a->have, b->have);
    assert_string_equal(str(a->target), str(b->target));
    assert_int_equal(a->life, b->life);
    assert_int_equal(a->version, b->version);
    assert_int_equal(a->peers_hash, b->peers_hash);
    assert_string_equal(str(a->pattern), str(b->pattern));
    same_status(a->status, b->status);
    assert_int_equal(a->links_n, b->links_n);
    same_links(a->links, b->links, a->links_n);
    assert_int_equal(a->names_hash, b->names_hash);
}

/* The frame holds exactly this message. */
static void expect_msg(const struct buf *frame, const struct zn_msg *wanted)
{
    struct zn_decoder *d = decoder();
    struct zn_msg msg;
    enum zn_wire_error error;
    zn_decoder_begin(d, frame->at, frame->n);
    assert_int_equal(zn_decoder_next(d, &msg, &error), 1);
    assert_int_equal(error, ZN_WIRE_OK);
    same_msg(wanted, &msg);
    zn_msg_drop(&msg);
    assert_int_equal(zn_decoder_next(d, &msg, &error), 0);
    zn_decoder_free(&d);
}

/* ---- samples ---- */

static struct zn_blob *blob(const char *text)
{
    struct zn_blob *b;
    assert_int_equal(zn_blob_copy(text, strlen(text), &b), 0);
    return b;
}

static const uint64_t life_a[] = {LIFE_A}, life_b[] = {LIFE_B}, life_c[] = {LIFE_C};

/* clang-format off */
static const struct zmqnet_peer_status golden_peers[] = {
    {.name = "alpha", .endpoint = "tcp://localhost:3264", .state = ZMQNET_UP, .since_us = 1400000,
     .rtt_us = 180, .sent = 5, .acked = 4, .unknown = 1},
    {.name = "bravo", .endpoint = "tcp://localhost:3265", .state = ZMQNET_LOCAL,
     .since_us = 1500000},
    {.name = "charlie", .endpoint = "tcp://localhost:3266", .state = ZMQNET_DOWN,
     .since_us = 900000, .cause = "connection refused", .never_sent = 1},
};
static const struct zmqnet_counter golden_counters[] = {{"frames_in", 1000}, {"oversize", 0}};
static const zmqnet_status golden_status = {
    .name = "bravo", .pattern = "router", .life = LIFE_B, .uptime_us = 1500000,
    .peers_n = 3, .peers = golden_peers, .counters_n = 2, .counters = golden_counters,
};

/* alpha's row: itself, bravo is up, charlie down for cause 2. */
static const struct zmqnet_link golden_links[] = {
    {ZMQNET_LOCAL, 0}, {ZMQNET_UP, 0}, {ZMQNET_DOWN, 2},
};
static const struct zmqnet_heard golden_heard[] = {{"alpha", 250000, golden_links}};
static const struct zmqnet_peer_status golden_short_peers[] = {
    {.name = "alpha", .state = ZMQNET_UP},
    {.name = "bravo", .state = ZMQNET_LOCAL},
    {.name = "charlie", .state = ZMQNET_DOWN},
};
static const zmqnet_status golden_rows_status = {
    .name = "bravo", .pattern = "router", .life = LIFE_B, .uptime_us = 1500000,
    .peers_n = 3, .peers = golden_short_peers, .rows_n = 1, .rows = golden_heard,
};

/* `body` is the text of the body; row 1 of the receipt answers "ok". */
static struct zn_row golden_rows[] = {
    {.name = "alpha", .outcome = ZMQNET_ACKED, .rtt_us = 812},
    {.name = "bravo", .outcome = ZMQNET_SELF, .rtt_us = 9},
    {.name = "charlie", .outcome = ZMQNET_NEVER_SENT, .why = "connection refused"},
};

static const struct golden {
    const char *body;
    struct zn_msg msg;
    const char *hex;
} goldens[] = {
    /* sender:"bravo" message:"this is a test message" */
    {"this is a test message",
     {.sender = "bravo"},
     "1205627261766f1a167468697320697320612074657374206d657373616765"},
    /* type:BOUNCE sender:"charlie" message:"this is a test message" */
    {"this is a test message",
     {.type = ZN_BOUNCE, .sender = "charlie"},
     "08011207636861726c69651a167468697320697320612074657374206d657373616765"},
    /* sender:"charlie" message:"ACK" */
    {"ACK", {.sender = "charlie"}, "1207636861726c69651a0341434b"},
    /* type:BOUNCE sender:"alpha" kind:HELLO target:"bravo" life:0x8f3c21d09ab4e671 version:1
     * peers_hash:0x609d819aef0a8f4a pattern:"router" */
    {"",
     {.type = ZN_BOUNCE, .sender = "alpha", .kind = ZN_HELLO, .target = "bravo", .life = LIFE_A,
      .version = 1, .peers_hash = PEERS_HASH, .pattern = "router"},
     "08011205616c7068612001820105627261766f890171e6b49ad0213c8f90010199014a8f0aef9a819d60"
     "a20106726f75746572"},
    /* type:ERROR sender:"bravo" message:"this is bravo, not charlie" kind:HELLO code:-23
     * target:"alpha" life:0x2b7e151628aed2a6 version:1 peers_hash:0x609d819aef0a8f4a
     * pattern:"router" */
    {"this is bravo, not charlie",
     {.type = ZN_ERROR, .sender = "bravo", .kind = ZN_HELLO, .code = ZMQNET_ENAME,
      .target = "alpha", .life = LIFE_B, .version = 1, .peers_hash = PEERS_HASH,
      .pattern = "router"},
     "08021205627261766f1a1a7468697320697320627261766f2c206e6f7420636861726c69652001682d820105"
     "616c7068618901a6d2ae2816157e2b90010199014a8f0aef9a819d60a20106726f75746572"},
    /* type:BOUNCE kind:HELLO target:"bravo" life:0xc0ffee00c0ffee version:1
     * peers_hash:0x609d819aef0a8f4a pattern:"router" */
    {"",
     {.type = ZN_BOUNCE, .kind = ZN_HELLO, .target = "bravo", .life = LIFE_C, .version = 1,
      .peers_hash = PEERS_HASH, .pattern = "router"},
     "08012001820105627261766f8901eeffc000eeffc00090010199014a8f0aef9a819d60a20106726f75746572"},
    /* type:BOUNCE sender:"alpha" kind:PING life:0x8f3c21d09ab4e671 */
    {"",
     {.type = ZN_BOUNCE, .sender = "alpha", .kind = ZN_PING, .life = LIFE_A},
     "08011205616c7068612002890171e6b49ad0213c8f"},
    /* type:BOUNCE sender:"alpha" message:"hello" kind:REQUEST origin:0x8f3c21d09ab4e671 seq:300
     * to_life:0x2b7e151628aed2a6 budget_ms:2000 attempt:2 floor:299 idempotent:true */
    {"hello",
     {.type = ZN_BOUNCE, .sender = "alpha", .kind = ZN_REQUEST, .id = {LIFE_A, 300},
      .to_life = life_b, .lives_n = 1, .budget_ms = 2000, .attempt = 2, .floor = 299,
      .idempotent = true},
     "08011205616c7068611a0568656c6c6f20042971e6b49ad0213c8f30ac023a08a6d2ae2816157e2b40d00f4802"
     "58ab026001"},
    /* message:"this is a test message" kind:SUBMIT origin:0xc0ffee00c0ffee seq:1
     * to_life:0x2b7e151628aed2a6 budget_ms:6000 attempt:1 quorum:-1 */
    {"this is a test message",
     {.kind = ZN_SUBMIT, .id = {LIFE_C, 1}, .to_life = life_b, .lives_n = 1, .budget_ms = 6000,
      .attempt = 1, .quorum = -1},
     "1a167468697320697320612074657374206d657373616765200529eeffc000eeffc00030013a08a6d2ae281615"
     "7e2b40f02e48015001"},
    /* type:BOUNCE sender:"bravo" message:"done" kind:REPLY origin:0x8f3c21d09ab4e671 seq:300
     * to_life:0x8f3c21d09ab4e671 */
    {"done",
     {.type = ZN_BOUNCE, .sender = "bravo", .kind = ZN_REPLY, .id = {LIFE_A, 300},
      .to_life = life_a, .lives_n = 1},
     "08011205627261766f1a04646f6e6520062971e6b49ad0213c8f30ac023a0871e6b49ad0213c8f"},
    /* sender:"bravo" kind:REPLY origin:0xc0ffee00c0ffee seq:1 to_life:0xc0ffee00c0ffee
     * rows{name:"alpha" outcome:ACKED rtt_us:812} rows{name:"bravo" outcome:SELF rtt_us:9 reply:"ok"}
     * rows{name:"charlie" outcome:NEVER_SENT why:"connection refused"} need:2 have:2 */
    {"",
     {.sender = "bravo", .kind = ZN_REPLY, .id = {LIFE_C, 1}, .to_life = life_c, .lives_n = 1,
      .rows = golden_rows, .rows_n = 3, .need = 2, .have = 2},
     "1205627261766f200629eeffc000eeffc00030013a08eeffc000eeffc000720c0a05616c706861100218ac06"
     "720f0a05627261766f1001180932026f6b721f0a07636861726c696510052a12636f6e6e656374696f6e207265"
     "6675736564a80102b00102"},
    /* type:ERROR sender:"bravo" message:"meant for another life of this replica" kind:REPLY
     * origin:0x8f3c21d09ab4e671 seq:300 to_life:0x8f3c21d09ab4e671 code:-18 */
    {"meant for another life of this replica",
     {.type = ZN_ERROR, .sender = "bravo", .kind = ZN_REPLY, .id = {LIFE_A, 300},
      .to_life = life_a, .lives_n = 1, .code = ZMQNET_ELIFE},
     "08021205627261766f1a266d65616e7420666f7220616e6f74686572206c696665206f662074686973207265"
     "706c69636120062971e6b49ad0213c8f30ac023a0871e6b49ad0213c8f6823"},
    /* type:BOUNCE kind:STATUS origin:0xc0ffee00c0ffee seq:2 budget_ms:1000 attempt:1 */
    {"",
     {.type = ZN_BOUNCE, .kind = ZN_STATUS, .id = {LIFE_C, 2}, .budget_ms = 1000, .attempt = 1},
     "0801200729eeffc000eeffc000300240e8074801"},
    /* sender:"bravo" kind:REPLY origin:0xc0ffee00c0ffee seq:2 to_life:0xc0ffee00c0ffee
     * status{name:"bravo" pattern:"router" life:0x2b7e151628aed2a6 uptime_us:1500000
     *   peers{name:"alpha" endpoint:"tcp://localhost:3264" state:2 since_us:1400000 rtt_us:180
     *     sent:5 acked:4 unknown:1}
     *   peers{name:"bravo" endpoint:"tcp://localhost:3265" state:4 since_us:1500000}
     *   peers{name:"charlie" endpoint:"tcp://localhost:3266" state:3 since_us:900000
     *     cause:"connection refused" never_sent:1}
     *   counters{name:"frames_in" value:1000} counters{name:"oversize"}} */
    {"",
     {.sender = "bravo", .kind = ZN_REPLY, .id = {LIFE_C, 2}, .to_life = life_c, .lives_n = 1,
      .status = &golden_status},
     "1205627261766f200629eeffc000eeffc00030023a08eeffc000eeffc000ba01c8010a05627261766f120672"
     "6f7574657219a6d2ae2816157e2b20e0c65b2a2c0a05616c70686112147463703a2f2f6c6f63616c686f73743a"
     "33323634180220c0b95530b4015005580468012a230a05627261766f12147463703a2f2f6c6f63616c686f7374"
     "3a33323635180420e0c65b2a3b0a07636861726c696512147463703a2f2f6c6f63616c686f73743a3332363618"
     "0320a0f7362a12636f6e6e656374696f6e20726566757365647001320e0a096672616d65735f696e10e807320a"
     "0a086f76657273697a65"},
    /* type:BOUNCE sender:"alpha" kind:BYE life:0x8f3c21d09ab4e671 */
    {"",
     {.type = ZN_BOUNCE, .sender = "alpha", .kind = ZN_BYE, .life = LIFE_A},
     "08011205616c7068612008890171e6b49ad0213c8f"},
    /* type:BOUNCE sender:"alpha" kind:PING seq:7 life:0x8f3c21d09ab4e671 links:"\4\0\2\0\3\2"
     * names_hash:0x78f3b2a2c05924d1 */
    {"",
     {.type = ZN_BOUNCE, .sender = "alpha", .kind = ZN_PING, .id = {0, 7}, .life = LIFE_A,
      .links = golden_links, .links_n = 3, .names_hash = 0x78f3b2a2c05924d1},
     "08011205616c70686120023007890171e6b49ad0213c8fc20106040002000302c901d12459c0a2b2f378"},
    /* sender:"bravo" kind:REPLY origin:0xc0ffee00c0ffee seq:3
     * status{name:"bravo" pattern:"router" life:0x2b7e151628aed2a6 uptime_us:1500000
     *   peers{name:"alpha" state:2} peers{name:"bravo" state:4} peers{name:"charlie" state:3}
     *   rows{name:"alpha" age_us:250000 links:"\4\0\2\0\3\2"}} */
    {"",
     {.sender = "bravo", .kind = ZN_REPLY, .id = {LIFE_C, 3}, .status = &golden_rows_status},
     "1205627261766f200629eeffc000eeffc0003003ba01540a05627261766f1206726f7574657219a6d2ae281615"
     "7e2b20e0c65b2a090a05616c70686118022a090a05627261766f18042a0b0a07636861726c696518033a130a05"
     "616c7068611090a10f1a06040002000302"},
};
/* clang-format on */
#define GOLDENS (sizeof goldens / sizeof goldens[0])

/* A batch of the PING and the REQUEST from above. */
static const char golden_batch[] =
    "7a1508011205616c7068612002890171e6b49ad0213c8f"
    "7a3208011205616c7068611a0568656c6c6f20042971e6b49ad0213c8f30ac023a08a6d2ae2816157e2b40d00f"
    "480258ab026001";
enum { GOLDEN_PING = 6, GOLDEN_REQUEST = 7, GOLDEN_RECEIPT = 10, GOLDEN_STATUS = 13 };

static struct zn_msg golden_msg(size_t i)
{
    struct zn_msg msg = goldens[i].msg;
    msg.body = blob(goldens[i].body);
    return msg;
}

static char long_name[ZN_NAME_MAX + 1], long_why[ZN_WHY_MAX + 1],
    long_pattern[ZN_PATTERN_NAME_MAX + 1];
static char long_endpoint[ZN_HOST_MAX + 16];
static uint64_t lives[ZN_REPLICAS_MAX];
static struct zn_row rows[ZN_REPLICAS_MAX];
static struct zmqnet_peer_status peers[ZN_REPLICAS_MAX];
static struct zmqnet_counter counters[256];
static struct zmqnet_link links[ZN_REPLICAS_MAX];
static struct zmqnet_heard heard[ZN_REPLICAS_MAX];
static zmqnet_status status;

/* Everything that a message can hold, all of it at its limit, and the extremes of every number. */
static void widest(struct zn_msg *msg, enum zn_type type, enum zn_kind kind, struct zn_blob *body)
{
    memset(long_name, 'n', ZN_NAME_MAX);
    memset(long_why, 'w', ZN_WHY_MAX);
    memset(long_pattern, 'p', ZN_PATTERN_NAME_MAX);
    memset(long_endpoint, 'e', sizeof long_endpoint - 1);
    for (size_t i = 0; i < ZN_REPLICAS_MAX; i++) {
        lives[i] = UINT64_MAX - i;
        rows[i] = (struct zn_row){long_name,  (enum zmqnet_outcome)(1 + i % 5),
                                  UINT32_MAX, i % 2 ? INT32_MAX : INT32_MIN,
                                  long_why,   body};
        peers[i] = (struct zmqnet_peer_status){
            .name = long_name,
            .endpoint = long_endpoint,
            .state = (enum zmqnet_state)(1 + i % 6),
            .since_us = UINT64_MAX,
            .cause = long_why,
            .rtt_us = UINT32_MAX,
            .queue_messages = 1,
            .queue_bytes = 2,
            .inflight = 3,
            .sent = 4,
            .acked = 5,
            .refused = 6,
            .unknown = 7,
            .never_sent = 8,
            .retries = 9,
            .late = UINT64_MAX,
            .config_differs = i % 2,
        };
        links[i] = (struct zmqnet_link){(uint8_t)(255 - i), (uint8_t)(i % 2 * 255)};
        heard[i] = (struct zmqnet_heard){long_name, UINT64_MAX - i, links};
    }
    for (size_t i = 0; i < 256; i++)
        counters[i] = (struct zmqnet_counter){long_name, UINT64_MAX - i};
    status = (zmqnet_status){long_name, long_pattern, UINT64_MAX, UINT64_MAX,      ZN_REPLICAS_MAX,
                             peers,     256,          counters,   ZN_REPLICAS_MAX, heard};
    *msg = (struct zn_msg){
        .type = type,
        .kind = kind,
        .sender = long_name,
        .id = {UINT64_MAX, UINT64_MAX},
        .body = body,
        .to_life = lives,
        .lives_n = ZN_REPLICAS_MAX,
        .budget_ms = UINT32_MAX,
        .attempt = UINT32_MAX,
        .quorum = INT32_MIN,
        .floor = UINT64_MAX,
        .idempotent = true,
        .code = INT32_MIN,
        .rows = rows,
        .rows_n = ZN_REPLICAS_MAX,
        .need = UINT32_MAX,
        .have = UINT32_MAX,
        .target = long_name,
        .life = UINT64_MAX,
        .version = UINT32_MAX,
        .peers_hash = UINT64_MAX,
        .pattern = long_pattern,
        .status = &status,
        .links = links,
        .links_n = ZN_REPLICAS_MAX,
        .names_hash = UINT64_MAX,
    };
}

/* ---- good messages ---- */

static void golden_bytes_are_made_and_read(void **state)
{
    (void)state;
    for (size_t i = 0; i < GOLDENS; i++) {
        struct buf wanted = {0}, made = {0};
        struct zn_msg msg = golden_msg(i);
        put_hex(&wanted, goldens[i].hex);
        pack(&made, &msg);
        assert_int_equal(made.n, wanted.n);
        assert_memory_equal(made.at, wanted.at, made.n);
        expect_msg(&wanted, &msg);
        zn_blob_drop(&msg.body);
        free(wanted.at);
        free(made.at);
    }
}

static void every_kind_survives_with_every_field(void **state)
{
    (void)state;
    struct zn_blob *body = blob("\xff\xfe a body is any bytes");
    for (int kind = 0; kind < ZN_KINDS; kind++) {
        struct buf b = {0};
        struct zn_msg msg;
        widest(&msg, (enum zn_type)(kind % 3), (enum zn_kind)kind, body);
        pack(&b, &msg);
        expect_msg(&b, &msg);
        free(b.at);
    }
    zn_blob_drop(&body);
}

/* Lengths of one byte, of two and of three, up to the largest body, in body and rows. */
static void bodies_of_all_sizes_survive(void **state)
{
    (void)state;
    static const size_t sizes[] = {0, 1, 127, 128, 16383, 16384, BODY_MAX};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        struct zn_blob *body = NULL;
        if (sizes[i] > 0) {
            assert_int_equal(zn_blob_make(sizes[i], &body), 0);
            memset(body->data, (int)i + 1, sizes[i]);
        }
        struct buf b = {0};
        struct zn_msg msg;
        widest(&msg, ZN_BOUNCE, ZN_REPLY, body);
        msg.status = NULL; /* a receipt and a status never travel together */
        pack(&b, &msg);
        expect_msg(&b, &msg);
        free(b.at);
        zn_blob_drop(&body);
    }
}

/* The bytes of one message and further fields behind it are one message: what a broadcast encodes
 * once can be completed for each peer. */
static void appended_fields_count(void **state)
{
    (void)state;
    struct buf b = {0};
    struct zn_msg msg = golden_msg(GOLDEN_REQUEST);
    pack(&b, &msg);
    pack(&b, &(struct zn_msg){.type = ZN_BOUNCE, .to_life = life_c, .lives_n = 1, .budget_ms = 7});
    uint64_t both[] = {LIFE_B, LIFE_C};
    msg.to_life = both;
    msg.lives_n = 2;
    msg.budget_ms = 7;
    expect_msg(&b, &msg);
    zn_blob_drop(&msg.body);
    free(b.at);
}

/* The last of two bodies counts; two statuses are one. */
static void repeated_single_fields_are_merged(void **state)
{
    (void)state;
    struct buf b = {0}, view = {0};
    put_letters(&b, 3, 5000);
    put_letters(&b, 2, 3);
    put_letters(&b, 3, 6000);
    put_letters(&b, 3, 10);
    put_letters(&b, 2, 4);
    put_letters(&view, 1, 2);
    put_number(&view, 4, 70);
    put_hex(&view, "32020a0032021005");
    put_buf(&b, 23, &view);
    put_letters(&view, 2, 3);
    put_hex(&view, "32021006");
    put_buf(&b, 23, &view);
    struct zn_blob *ten = blob("xxxxxxxxxx");
    struct zmqnet_counter all[] = {{"", 0}, {"", 5}, {"", 6}};
    zmqnet_status merged = {
        .name = "xx", .pattern = "xxx", .uptime_us = 70, .counters_n = 3, .counters = all};
    expect_msg(&b, &(struct zn_msg){.sender = "xxxx", .body = ten, .status = &merged});
    zn_blob_drop(&ten);
    free(b.at);
}

static void unknown_fields_are_ignored(void **state)
{
    (void)state;
    struct buf b = {0};
    struct zn_msg msg = golden_msg(GOLDEN_RECEIPT);
    pack(&b, &msg);
    put_number(&b, 26, 1);
    put_letters(&b, 99, 3000);
    put_hex(&b, "cd06"
                "01020304"
                "d106"
                "0102030405060708"); /* fields 105 and 106, fixed */
    for (unsigned field = 1000; field < 1200; field++)
        put_number(&b, field, field);
    expect_msg(&b, &msg);
    zn_blob_drop(&msg.body);
    free(b.at);
}

static void texts_are_utf8(void **state)
{
    (void)state;
    struct buf b = {0};
    put_bytes(&b, 2, "z\xc3\xbcrich \xf0\x9f\xa6\x94", 12);
    expect_msg(&b, &(struct zn_msg){.sender = "z\xc3\xbcrich \xf0\x9f\xa6\x94"});
    free(b.at);
}

/* ---- batches ---- */

static void golden_batch_is_made_and_read(void **state)
{
    (void)state;
    struct buf wanted = {0}, made = {0}, one = {0};
    struct zn_msg want[2] = {golden_msg(GOLDEN_PING), golden_msg(GOLDEN_REQUEST)}, got;
    enum zn_wire_error error;
    for (size_t i = 0; i < 2; i++) {
        one.n = 0;
        pack(&one, &want[i]);
        put_item(&made, one.at, one.n);
    }
    put_hex(&wanted, golden_batch);
    assert_int_equal(made.n, wanted.n);
    assert_memory_equal(made.at, wanted.at, made.n);
    struct zn_decoder *d = decoder();
    zn_decoder_begin(d, made.at, made.n);
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(zn_decoder_next(d, &got, &error), 1);
        assert_int_equal(error, ZN_WIRE_OK);
        same_msg(&want[i], &got);
        zn_msg_drop(&got);
        zn_blob_drop(&want[i].body);
    }
    assert_int_equal(zn_decoder_next(d, &got, &error), 0);
    assert_int_equal(zn_decoder_next(d, &got, &error), 0);
    zn_decoder_free(&d);
    free(wanted.at);
    free(made.at);
    free(one.at);
}

static void a_bad_member_harms_no_other(void **state)
{
    (void)state;
    static const enum zn_wire_error wanted[] = {
        ZN_WIRE_OK,   ZN_WIRE_MALFORMED, ZN_WIRE_EMPTY,    ZN_WIRE_TYPE,
        ZN_WIRE_KIND, ZN_WIRE_MALFORMED, ZN_WIRE_OVERSIZE, ZN_WIRE_OK};
    struct buf b = {0}, big = {0};
    put_letters(&big, 3, BODY_MAX + 1);
    put_item(&b, "\x20\x02", 2);
    put_item(&b, "\x20", 1);
    put_item(&b, "", 0);
    put_item(&b, "\x08\x03", 2);
    put_item(&b, "\x20\x09", 2);
    put_item(&b, "\x7a\x02\x20\x02", 4); /* a batch inside a batch */
    put_item(&b, big.at, big.n);
    put_item(&b, "\x20\x03", 2);
    struct zn_decoder *d = decoder();
    struct zn_msg msg;
    enum zn_wire_error error;
    zn_decoder_begin(d, b.at, b.n);
    for (size_t i = 0; i < sizeof wanted / sizeof wanted[0]; i++) {
        assert_int_equal(zn_decoder_next(d, &msg, &error), 1);
        assert_int_equal(error, wanted[i]);
        zn_msg_drop(&msg);
    }
    assert_int_equal(zn_decoder_next(d, &msg, &error), 0);
    zn_decoder_free(&d);
    free(b.at);
    free(big.at);
}

static size_t count_messages(const struct buf *b)
{
    struct zn_decoder *d = decoder();
    struct zn_msg msg;
    enum zn_wire_error error;
    size_t n = 0;
    zn_decoder_begin(d, b->at, b->n);
    for (; zn_decoder_next(d, &msg, &error); n++)
        zn_msg_drop(&msg);
    zn_decoder_free(&d);
    return n;
}

static void a_batch_has_at_most_256_members(void **state)
{
    (void)state;
    struct buf b = {0};
    for (size_t i = 0; i < 256; i++)
        put_item(&b, "\x20\x02", 2);
    assert_int_equal(count_messages(&b), 256);
    put_item(&b, "\x20\x02", 2);
    assert_int_equal(count_messages(&b), 1); /* one error for all of it */
    put_hex(&b, "00");                       /* what is behind them is not read */
    expect(&b, ZN_WIRE_LIMIT);
}

static void a_broken_batch_is_refused_as_a_whole(void **state)
{
    (void)state;
    static const char *const broken[] = {
        "7a02"
        "2002"
        "7a", /* cut behind a tag */
        "7a02"
        "2002"
        "7a02"
        "20", /* cut inside a member */
        "7a02"
        "2002"
        "7a80808080808000",
        "7a02"
        "2002"
        "7affffffffff", /* a length without an end */
        "7a02"
        "2002"
        "7affffffff7f",
        "7a02"
        "2002"
        "0801", /* another field behind it */
        "7a02"
        "2002"
        "fa0700", /* an unknown field behind it */
        "0801"
        "7a02"
        "2002",       /* another field in front */
        "fa00022002", /* its tag in a longer form */
    };
    for (size_t i = 0; i < sizeof broken / sizeof broken[0]; i++) {
        struct buf b = {0};
        put_hex(&b, broken[i]);
        assert_int_equal(count_messages(&b), 1);
        expect(&b, ZN_WIRE_MALFORMED);
    }
}

static void the_head_of_a_member_fits_its_length(void **state)
{
    (void)state;
    static const struct {
        size_t bytes, head;
    } t[] = {
        {0, 2},     {127, 2},      {128, 3},      {16383, 3},
        {16384, 4}, {1u << 21, 5}, {1u << 28, 6}, {UINT32_MAX, 6},
    };
    for (size_t i = 0; i < sizeof t / sizeof t[0]; i++) {
        uint8_t head[ZN_WIRE_ITEM_HEAD_MAX];
        assert_int_equal(zn_wire_item_head(t[i].bytes, head), t[i].head);
        size_t value = 0;
        for (size_t k = 1; k < t[i].head; k++)
            value |= (size_t)(head[k] & 0x7f) << (7 * (k - 1));
        assert_int_equal(head[0], 0x7a);
        assert_int_equal(value, t[i].bytes);
    }
}

/* ---- limits ---- */

static void texts_have_limits(void **state)
{
    (void)state;
    static const struct {
        unsigned field;
        size_t max;
    } t[] = {
        {2, ZN_NAME_MAX},
        {16, ZN_NAME_MAX},
        {20, ZN_PATTERN_NAME_MAX},
    };
    for (size_t i = 0; i < sizeof t / sizeof t[0]; i++) {
        struct buf b = {0};
        put_letters(&b, t[i].field, t[i].max);
        expect(&b, ZN_WIRE_OK);
        put_letters(&b, t[i].field, t[i].max + 1);
        expect(&b, ZN_WIRE_LIMIT);
        put_letters(&b, t[i].field, 1u << 20);
        expect(&b, ZN_WIRE_LIMIT);
    }
}

/* One text of one member of a repeated message: field `outer` of a Body, or of its status. */
static void nested_texts_have_limits(void **state)
{
    (void)state;
    static const struct {
        unsigned in_status, outer, field;
        size_t max;
    } t[] = {
        {0, 14, 1, ZN_NAME_MAX},     {0, 14, 5, ZN_WHY_MAX}, {1, 5, 1, ZN_NAME_MAX},
        {1, 5, 2, ZN_HOST_MAX + 15}, {1, 5, 5, ZN_WHY_MAX},  {1, 6, 1, ZN_NAME_MAX},
    };
    for (size_t i = 0; i < sizeof t / sizeof t[0]; i++) {
        for (unsigned above = 0; above < 2; above++) {
            struct buf inner = {0}, view = {0}, b = {0};
            put_letters(&inner, t[i].field, t[i].max + above);
            put_number(&inner, t[i].in_status ? 3 : 2,
                       1); /* a state, an outcome; unknown: ignored */
            if (t[i].in_status) {
                put_buf(&view, t[i].outer, &inner);
                put_buf(&b, 23, &view);
            } else {
                put_buf(&b, t[i].outer, &inner);
            }
            expect(&b, above ? ZN_WIRE_LIMIT : ZN_WIRE_OK);
        }
    }
    for (unsigned field = 1; field <= 2; field++) {
        for (unsigned above = 0; above < 2; above++) {
            struct buf view = {0}, b = {0};
            put_letters(&view, field, (field == 1 ? ZN_NAME_MAX : ZN_PATTERN_NAME_MAX) + above);
            put_buf(&b, 23, &view);
            expect(&b, above ? ZN_WIRE_LIMIT : ZN_WIRE_OK);
        }
    }
}

static void lists_have_limits(void **state)
{
    (void)state;
    static const struct {
        unsigned in_status, field;
        size_t max;
        const char *item;
    } t[] = {
        {0, 7, ZN_REPLICAS_MAX, "01020304050607ff"}, /* packed, one value each */
        {0, 14, ZN_REPLICAS_MAX, "1001"},
        {1, 5, ZN_REPLICAS_MAX, "1801"},
        {1, 6, 256, "1001"},
        {1, 7, ZN_REPLICAS_MAX, "1001"},
    };
    for (size_t i = 0; i < sizeof t / sizeof t[0]; i++) {
        for (unsigned above = 0; above < 2; above++) {
            struct buf item = {0}, list = {0}, b = {0};
            put_hex(&item, t[i].item);
            for (size_t k = 0; k < t[i].max + above; k++)
                put_bytes(&list, t[i].field, item.at, item.n);
            if (t[i].in_status)
                put_bytes(&b, 23, list.at, list.n);
            else
                put(&b, list.at, list.n);
            free(list.at);
            free(item.at);
            expect(&b, above ? ZN_WIRE_LIMIT : ZN_WIRE_OK);
        }
    }
}

/* Two bytes for each replica; in a status for each of its peers. What a link's numbers mean is not
 * looked at: a later version may know more of them. */
static void links_are_pairs_of_bytes(void **state)
{
    (void)state;
    static const struct {
        const char *hex;
        enum zn_wire_error wanted;
    } t[] = {
        {"c20100", ZN_WIRE_OK},
        {"c20102ffff", ZN_WIRE_OK},
        {"c2010102", ZN_WIRE_LIMIT},
        {"c20103020002", ZN_WIRE_LIMIT},
        {"ba01082a0218013a021a00", ZN_WIRE_LIMIT}, /* one peer, no link */
        {"ba010a2a0218013a041a020200", ZN_WIRE_OK},
        {"ba010a3a041a0202002a021801", ZN_WIRE_OK}, /* the row first, then the peer */
        {"ba01063a041a020200", ZN_WIRE_LIMIT},      /* no peer, one link */
        {"ba010c2a0218013a061a0402000200", ZN_WIRE_LIMIT},
    };
    struct buf longest = {0};
    for (size_t i = 0; i < sizeof t / sizeof t[0]; i++) {
        struct buf b = {0};
        put_hex(&b, t[i].hex);
        expect(&b, t[i].wanted);
    }
    for (unsigned above = 0; above < 2; above++) {
        struct buf row = {0}, view = {0}, b = {0};
        put_letters(&row, 1, ZN_NAME_MAX + above);
        put_buf(&view, 7, &row);
        put_buf(&b, 23, &view);
        expect(&b, above ? ZN_WIRE_LIMIT : ZN_WIRE_OK);
    }
    put_letters(&longest, 24, 2 * ZN_REPLICAS_MAX);
    expect(&longest, ZN_WIRE_OK);
    put_letters(&longest, 24, 2 * ZN_REPLICAS_MAX + 2);
    expect(&longest, ZN_WIRE_LIMIT);
    put_letters(&longest, 24, 1u << 20);
    expect(&longest, ZN_WIRE_LIMIT);
}

static void enums_have_ranges(void **state)
{
    (void)state;
    static const struct {
        const char *hex;
        enum zn_wire_error wanted;
    } t[] = {
        {"0802", ZN_WIRE_OK},
        {"0803", ZN_WIRE_TYPE},
        {"08ffffffffffffffffff01", ZN_WIRE_TYPE}, /* -1 */
        {"2008", ZN_WIRE_OK},
        {"2009", ZN_WIRE_KIND},
        {"20ffffffffffffffffff01", ZN_WIRE_KIND},
        {"08032009", ZN_WIRE_TYPE},
        {"72021001", ZN_WIRE_OK}, /* the outcome of a row */
        {"72021005", ZN_WIRE_OK},
        {"7200", ZN_WIRE_LIMIT},
        {"72021006", ZN_WIRE_LIMIT},
        {"720b10ffffffffffffffffff01", ZN_WIRE_LIMIT},
        {"ba01042a021801", ZN_WIRE_OK}, /* the state of a peer */
        {"ba01042a021806", ZN_WIRE_OK},
        {"ba01022a00", ZN_WIRE_LIMIT},
        {"ba01042a021807", ZN_WIRE_LIMIT},
    };
    for (size_t i = 0; i < sizeof t / sizeof t[0]; i++) {
        struct buf b = {0};
        put_hex(&b, t[i].hex);
        expect(&b, t[i].wanted);
    }
}

static void put_times(struct buf *b, const char *hex, size_t times)
{
    for (; times > 0; times--)
        put_hex(b, hex);
}

/* Those inside of others count. What is behind them is not read: that it is broken is not seen. */
static void messages_have_a_limit_of_fields(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        size_t fields;
        enum zn_wire_error many;
    } t[] = {{"7200", 1, ZN_WIRE_LIMIT},
             {"72021001", 2, ZN_WIRE_LIMIT},
             {"ba010432021001", 3, ZN_WIRE_LIMIT}, /* a counter in a status */
             {"2002", 1, ZN_WIRE_OK},
             {"a00601", 1, ZN_WIRE_OK}}; /* a field of a later version */
    for (size_t i = 0; i < sizeof t / sizeof t[0]; i++) {
        const char *const tails[] = {"", "a00601", "ff"};
        size_t times = ZN_MESSAGE_FIELDS_MAX / t[i].fields;
        size_t rest = ZN_MESSAGE_FIELDS_MAX % t[i].fields;
        struct buf b = {0};
        for (size_t k = 0; k < 3; k++) {
            put_times(&b, t[i].bytes, times);
            put_times(&b, "a00601", rest);
            put_hex(&b, tails[k]);
            expect(&b, k == 0 ? t[i].many : ZN_WIRE_LIMIT);
        }
        put_times(&b, t[i].bytes, times - 1);
        put_hex(&b, "ff");
        expect(&b, ZN_WIRE_MALFORMED);
    }
}

static void bodies_and_replies_have_a_limit(void **state)
{
    (void)state;
    struct buf b = {0}, row = {0};
    for (unsigned above = 0; above < 2; above++) {
        put_letters(&b, 3, BODY_MAX + above);
        expect(&b, above ? ZN_WIRE_OVERSIZE : ZN_WIRE_OK);
        put_number(&row, 2, 1);
        put_letters(&row, 6, BODY_MAX + above);
        put_buf(&b, 14, &row);
        expect(&b, above ? ZN_WIRE_OVERSIZE : ZN_WIRE_OK);
    }
}

/* ---- bad bytes ---- */

static void bad_texts_are_malformed(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        size_t n;
    } bad[] = {
        {"", 1},       {"a\0b", 3},     {"ab\0", 3},         {"\0b", 2},
        {"\xff", 1},   {"\xc0\x80", 2}, {"\xed\xa0\x80", 3}, {"\xf4\x90\x80\x80", 4},
        {"ab\xc3", 3},
    };
    static const unsigned fields[] = {2, 16, 20};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct buf b = {0}, row = {0}, view = {0};
        for (size_t k = 0; k < 3; k++) {
            put_bytes(&b, fields[k], bad[i].bytes, bad[i].n);
            expect(&b, ZN_WIRE_MALFORMED);
        }
        put_bytes(&row, 5, bad[i].bytes, bad[i].n);
        put_buf(&b, 14, &row);
        expect(&b, ZN_WIRE_MALFORMED);
        put_bytes(&row, 1, bad[i].bytes, bad[i].n);
        put_buf(&view, 6, &row);
        put_buf(&b, 23, &view);
        expect(&b, ZN_WIRE_MALFORMED);
    }
    struct buf b = {0};
    expect(&b, ZN_WIRE_EMPTY);
    uint8_t *zeros = calloc(1, 5000); /* a text that begins like an empty one, and is too long */
    assert_non_null(zeros);
    put_bytes(&b, 2, zeros, 5000);
    expect(&b, ZN_WIRE_LIMIT);
    free(zeros);
}

static void bad_protobuf_is_malformed(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "00",                     /* field 0 */
        "808000",                 /* the same in a longer form */
        "0f",                     /* wire type 7 */
        "0b0c",                   /* a group */
        "08",                     /* no value */
        "08ffffffffffffffffffff", /* a varint without an end */
        "12ff",                   /* no length */
        "12ffffffff0f",           /* 4 GiB of text */
        "1affffffff07",           /* 2 GiB of body */
        "1affffffffffffffffff01", /* 2^64-1 bytes of body */
        "72ffffffff07",           /* a row of 2 GiB */
        "72021aff",               /* a row that ends in a field */
        "ba01ffffffff07",
        "0a0161",             /* the type as a text */
        "1001",               /* the sender as a number */
        "2901",               /* half an origin */
        "3a0701020304050607", /* packed lives of 7 bytes */
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct buf b = {0};
        put_hex(&b, bad[i]);
        expect(&b, ZN_WIRE_MALFORMED);
    }
}

/* A cut message is bad unless the cut falls between two fields; in no case is there a wrong read,
 * which is the sanitizers' to see. */
static void cut_messages_do_no_harm(void **state)
{
    (void)state;
    struct zn_decoder *d = decoder();
    for (size_t i = 0; i <= GOLDENS; i++) {
        struct buf b = {0};
        size_t good = 0;
        put_hex(&b, i < GOLDENS ? goldens[i].hex : golden_batch);
        for (size_t n = 0; n < b.n; n++)
            good += decode_all(d, b.at, n) == ZN_WIRE_OK;
        assert_true(good < 12);
        free(b.at);
    }
    zn_decoder_free(&d);
}

static void flipped_bits_do_no_harm(void **state)
{
    (void)state;
    struct zn_decoder *d = decoder();
    for (size_t i = 0; i <= GOLDENS; i++) {
        struct buf b = {0};
        put_hex(&b, i < GOLDENS ? goldens[i].hex : golden_batch);
        for (size_t bit = 0; bit < 8 * b.n; bit++) {
            b.at[bit / 8] ^= (uint8_t)(1u << bit % 8);
            decode_all(d, b.at, b.n);
            b.at[bit / 8] ^= (uint8_t)(1u << bit % 8);
        }
        assert_int_equal(decode_all(d, b.at, b.n), ZN_WIRE_OK); /* and nothing stays behind */
        free(b.at);
    }
    zn_decoder_free(&d);
}

static void random_bytes_do_no_harm(void **state)
{
    (void)state;
    struct zn_decoder *d = decoder();
    struct zn_rand r;
    uint8_t bytes[512];
    zn_rand_seed(&r, SEED);
    for (int round = 0; round < 20000; round++) {
        size_t n = (size_t)zn_rand_below(&r, sizeof bytes);
        for (size_t i = 0; i < n; i++)
            bytes[i] = (uint8_t)zn_rand_u64(&r);
        decode_all(d, bytes, n);
    }
    zn_decoder_free(&d);
}

/* Somewhere in b: overwrite a byte, take some out, or append a field. */
static void mutate(struct buf *b, struct zn_rand *r)
{
    size_t at = (size_t)zn_rand_below(r, b->n);
    size_t n = (size_t)zn_rand_below(r, b->n - at);
    switch (zn_rand_below(r, 4)) {
    case 0: put_letters(b, (unsigned)(1 + zn_rand_below(r, 24)), n); break;
    case 1:
        memmove(b->at + at, b->at + at + n, b->n - at - n);
        b->n -= n;
        break;
    default: b->at[at] = (uint8_t)zn_rand_u64(r);
    }
}

/* What was a good message gets further than noise does. */
static void mutated_messages_do_no_harm(void **state)
{
    (void)state;
    struct zn_decoder *d = decoder();
    struct zn_rand r;
    zn_rand_seed(&r, SEED + 1);
    for (int round = 0; round < 20000; round++) {
        struct buf b = {0};
        size_t which = (size_t)zn_rand_below(&r, GOLDENS + 1);
        put_hex(&b, which < GOLDENS ? goldens[which].hex : golden_batch);
        for (uint64_t edits = 1 + zn_rand_below(&r, 4); edits > 0; edits--)
            mutate(&b, &r);
        decode_all(d, b.at, b.n);
        free(b.at);
    }
    zn_decoder_free(&d);
}

/* ---- what it costs ---- */

static size_t mallocs_of(struct zn_decoder *d, const struct buf *b)
{
    struct zn_msg msg;
    enum zn_wire_error error;
    size_t before = allocs_calls();
    zn_decoder_begin(d, b->at, b->n);
    assert_int_equal(zn_decoder_next(d, &msg, &error), 1);
    assert_int_equal(error, ZN_WIRE_OK);
    size_t calls = allocs_calls() - before;
    zn_msg_drop(&msg);
    return calls;
}

static void small_messages_cost_one_malloc_for_each_blob(void **state)
{
    (void)state;
    struct zn_decoder *d = decoder();
    for (size_t i = 0; i < GOLDENS; i++) {
        struct buf b = {0};
        put_hex(&b, goldens[i].hex);
        size_t blobs = (goldens[i].body[0] ? 1u : 0u) + (i == GOLDEN_RECEIPT ? 1u : 0u);
        assert_int_equal(mallocs_of(d, &b), blobs);
        free(b.at);
    }
    zn_decoder_free(&d);
}

static void a_large_body_is_copied_once(void **state)
{
    (void)state;
    struct zn_decoder *d = decoder();
    struct buf b = {0};
    put_letters(&b, 3, BODY_MAX);
    size_t before = allocs_bytes();
    assert_int_equal(mallocs_of(d, &b), 1);
    assert_true(allocs_bytes() - before < BODY_MAX + 256);
    free(b.at);
    zn_decoder_free(&d);
}

static void packing_costs_no_malloc(void **state)
{
    (void)state;
    static uint8_t out[1u << 20];
    struct zn_blob *body = blob("body");
    struct zn_msg msg;
    widest(&msg, ZN_SINGLE, ZN_REPLY, body);
    size_t before = allocs_calls();
    assert_true(zn_wire_size(&msg) <= sizeof out);
    zn_wire_pack(&msg, out);
    assert_int_equal(allocs_calls(), before);
    zn_blob_drop(&body);
}

/* A megabyte of the shortest items of each kind: in memory each would be many times larger. */
static void hostile_frames_cost_no_more_than_their_size(void **state)
{
    (void)state;
    static const char *const items[] = {"7200", "ba0100", "a00601",     "12016e",
                                        "1a00", "3a00",   "3d01020304", "390102030405060708",
                                        "0801"};
    struct zn_decoder *d = decoder();
    for (size_t i = 0; i < sizeof items / sizeof items[0]; i++) {
        struct buf item = {0}, b = {0}, view = {0};
        put_hex(&item, items[i]);
        while (b.n < 1u << 20)
            put(&b, item.at, item.n);
        put_bytes(&view, 23, b.at, b.n); /* the same inside of a status */
        size_t before = allocs_bytes();
        decode_all(d, b.at, b.n); /* makes one copy of the frame */
        decode_all(d, view.at, view.n);
        assert_true(allocs_bytes() - before <= 4 * b.n + (256u << 10));
        free(item.at);
        free(b.at);
        free(view.at);
    }
    zn_decoder_free(&d);
}

/* Whichever malloc fails: the error is said, nothing leaks, and the decoder goes on. */
static void no_memory_is_an_error_of_one_message(void **state)
{
    (void)state;
    struct zn_decoder *d = decoder();
    struct zn_msg msg;
    enum zn_wire_error error;
    struct buf b = {0}, row = {0};
    put_letters(&b, 3, 5000);
    for (int i = 0; i < 3; i++) {
        put_number(&row, 2, 1);
        put_letters(&row, 6, i == 1 ? 20 : 5000);
        put_buf(&b, 14, &row);
    }
    size_t calls = mallocs_of(d, &b);
    assert_int_equal(calls, 4);
    for (size_t i = 0; i < calls; i++) {
        allocs_fail(i, ALLOCS_OF_THIS_THREAD);
        zn_decoder_begin(d, b.at, b.n);
        assert_int_equal(zn_decoder_next(d, &msg, &error), 1);
        assert_true(allocs_end());
        assert_int_equal(error, ZN_WIRE_MEMORY);
        assert_null(msg.body);
        zn_msg_drop(&msg);
        assert_int_equal(mallocs_of(d, &b), calls);
    }
    allocs_fail(0, ALLOCS_OF_THIS_THREAD);
    struct zn_decoder *none;
    int rc = zn_decoder_new(1, &none);
    assert_true(allocs_end());
    assert_int_equal(rc, ZMQNET_ENOMEM);
    free(b.at);
    zn_decoder_free(&d);
}

int main(void)
{
    golden_rows[1].reply = blob("ok");
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(golden_bytes_are_made_and_read),
        cmocka_unit_test(every_kind_survives_with_every_field),
        cmocka_unit_test(bodies_of_all_sizes_survive),
        cmocka_unit_test(appended_fields_count),
        cmocka_unit_test(repeated_single_fields_are_merged),
        cmocka_unit_test(unknown_fields_are_ignored),
        cmocka_unit_test(texts_are_utf8),
        cmocka_unit_test(golden_batch_is_made_and_read),
        cmocka_unit_test(a_bad_member_harms_no_other),
        cmocka_unit_test(a_batch_has_at_most_256_members),
        cmocka_unit_test(a_broken_batch_is_refused_as_a_whole),
        cmocka_unit_test(the_head_of_a_member_fits_its_length),
        cmocka_unit_test(texts_have_limits),
        cmocka_unit_test(nested_texts_have_limits),
        cmocka_unit_test(lists_have_limits),
        cmocka_unit_test(links_are_pairs_of_bytes),
        cmocka_unit_test(enums_have_ranges),
        cmocka_unit_test(messages_have_a_limit_of_fields),
        cmocka_unit_test(bodies_and_replies_have_a_limit),
        cmocka_unit_test(bad_texts_are_malformed),
        cmocka_unit_test(bad_protobuf_is_malformed),
        cmocka_unit_test(cut_messages_do_no_harm),
        cmocka_unit_test(flipped_bits_do_no_harm),
        cmocka_unit_test(random_bytes_do_no_harm),
        cmocka_unit_test(mutated_messages_do_no_harm),
        cmocka_unit_test(small_messages_cost_one_malloc_for_each_blob),
        cmocka_unit_test(a_large_body_is_copied_once),
        cmocka_unit_test(packing_costs_no_malloc),
        cmocka_unit_test(hostile_frames_cost_no_more_than_their_size),
        cmocka_unit_test(no_memory_is_an_error_of_one_message),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    zn_blob_drop(&golden_rows[1].reply);
    return failed;
}
