/* SPDX-License-Identifier: MIT */
/*
 * Every limit of a message at its edge and one above, and what messages cost in memory: those that are
 * small, those that are large, and those that somebody made to cost much.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "allocs.h"
#include "wire_driver.h"

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
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(texts_have_limits),
        cmocka_unit_test(nested_texts_have_limits),
        cmocka_unit_test(lists_have_limits),
        cmocka_unit_test(links_are_pairs_of_bytes),
        cmocka_unit_test(enums_have_ranges),
        cmocka_unit_test(messages_have_a_limit_of_fields),
        cmocka_unit_test(bodies_and_replies_have_a_limit),
        cmocka_unit_test(small_messages_cost_one_malloc_for_each_blob),
        cmocka_unit_test(a_large_body_is_copied_once),
        cmocka_unit_test(packing_costs_no_malloc),
        cmocka_unit_test(hostile_frames_cost_no_more_than_their_size),
        cmocka_unit_test(no_memory_is_an_error_of_one_message),
    };
    return cmocka_run_group_tests(tests, begin_goldens, end_goldens);
}
