/* SPDX-License-Identifier: MIT */
/*
 * Bytes put together field by field, since the encoder asserts its limits and makes nothing bad; and
 * messages to make others from: the golden ones, and one with all that a message can hold.
 *
 * The golden bytes were made by another implementation (protoc --encode) from the text beside them;
 * docs/wire.md shows the same ones.
 */
#include "wire_driver.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- bytes put together by hand ---- */

void put(struct buf *b, const void *bytes, size_t n)
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

void put_varint(struct buf *b, uint64_t v)
{
    uint8_t byte;
    for (; v >= 0x80; v >>= 7) {
        byte = (uint8_t)(v | 0x80);
        put(b, &byte, 1);
    }
    byte = (uint8_t)v;
    put(b, &byte, 1);
}

void put_number(struct buf *b, unsigned field, uint64_t v)
{
    put_varint(b, field << 3);
    put_varint(b, v);
}

void put_bytes(struct buf *b, unsigned field, const void *bytes, size_t n)
{
    put_varint(b, field << 3 | 2);
    put_varint(b, n);
    put(b, bytes, n);
}

void put_letters(struct buf *b, unsigned field, size_t n)
{
    uint8_t *letters = malloc(n + 1);
    assert_non_null(letters);
    memset(letters, 'x', n);
    put_bytes(b, field, letters, n);
    free(letters);
}

void put_buf(struct buf *b, unsigned field, struct buf *inner)
{
    put_bytes(b, field, inner->at, inner->n);
    free(inner->at);
    *inner = (struct buf){0};
}

void put_hex(struct buf *b, const char *hex)
{
    unsigned byte;
    for (; *hex; hex += 2) {
        assert_int_equal(sscanf(hex, "%2x", &byte), 1);
        uint8_t one = (uint8_t)byte;
        put(b, &one, 1);
    }
}

void pack(struct buf *b, const struct zn_msg *msg)
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

void put_item(struct buf *batch, const void *bytes, size_t n)
{
    uint8_t head[ZN_WIRE_ITEM_HEAD_MAX];
    put(batch, head, zn_wire_item_head(n, head));
    put(batch, bytes, n);
}

struct zn_decoder *decoder(void)
{
    struct zn_decoder *d;
    assert_int_equal(zn_decoder_new(BODY_MAX, &d), 0);
    return d;
}

enum zn_wire_error decode_all(struct zn_decoder *d, const void *bytes, size_t n)
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

void expect(struct buf *b, enum zn_wire_error wanted)
{
    struct zn_decoder *d = decoder();
    assert_int_equal(decode_all(d, b->at, b->n), wanted);
    zn_decoder_free(&d);
    free(b->at);
    *b = (struct buf){0};
}

/* ---- samples ---- */

struct zn_blob *blob(const char *text)
{
    struct zn_blob *b;
    assert_int_equal(zn_blob_copy(text, strlen(text), &b), 0);
    return b;
}

const uint64_t life_a[1] = {LIFE_A}, life_b[1] = {LIFE_B}, life_c[1] = {LIFE_C};

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

const struct golden goldens[GOLDENS] = {
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

/* A batch of GOLDEN_PING and GOLDEN_REQUEST. */
const char golden_batch[] =
    "7a1508011205616c7068612002890171e6b49ad0213c8f"
    "7a3208011205616c7068611a0568656c6c6f20042971e6b49ad0213c8f30ac023a08a6d2ae2816157e2b40d00f"
    "480258ab026001";

struct zn_msg golden_msg(size_t i)
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

void widest(struct zn_msg *msg, enum zn_type type, enum zn_kind kind, struct zn_blob *body)
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

int begin_goldens(void **state)
{
    (void)state;
    golden_rows[1].reply = blob("ok");
    return 0;
}

int end_goldens(void **state)
{
    (void)state;
    zn_blob_drop(&golden_rows[1].reply);
    return 0;
}
