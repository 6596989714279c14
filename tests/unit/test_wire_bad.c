/* SPDX-License-Identifier: MIT */
/*
 * Bytes that are no messages: by hand, and golden ones that were cut, flipped, mutated or made up. Random
 * input comes from one fixed seed.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "base/rand.h"
#include "wire_driver.h"

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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bad_texts_are_malformed), cmocka_unit_test(bad_protobuf_is_malformed),
        cmocka_unit_test(cut_messages_do_no_harm), cmocka_unit_test(flipped_bits_do_no_harm),
        cmocka_unit_test(random_bytes_do_no_harm), cmocka_unit_test(mutated_messages_do_no_harm),
    };
    return cmocka_run_group_tests(tests, begin_goldens, end_goldens);
}
