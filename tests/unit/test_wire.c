/* SPDX-License-Identifier: MIT */
/*
 * Message <-> bytes: golden bytes, round trips of every kind with every field, and batches. Limits and
 * what decoding costs are test_wire_limits.c, bytes that are broken test_wire_bad.c.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "wire_driver.h"

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

int main(void)
{
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
    };
    return cmocka_run_group_tests(tests, begin_goldens, end_goldens);
}
