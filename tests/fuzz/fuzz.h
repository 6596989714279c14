/* SPDX-License-Identifier: MIT */
/*
 * What the fuzz targets share: each is one file fuzz_NAME.c with one function, which libFuzzer (make
 * fuzz) or replay.c (make test) calls with an input. A broken property is a failed assert, which no
 * build compiles out.
 */
#ifndef ZN_TESTS_FUZZ_H
#define ZN_TESTS_FUZZ_H

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/parse.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

/* An input that is read as a list of values. Behind its end everything is 0. */
struct fuzz_in {
    const uint8_t *at, *end;
};

static inline size_t fuzz_left(const struct fuzz_in *in) { return (size_t)(in->end - in->at); }

static inline uint8_t fuzz_u8(struct fuzz_in *in) { return in->at < in->end ? *in->at++ : 0; }

/* A number in the eight steps of its size: small ones, which are the interesting ones, are short. */
static inline uint64_t fuzz_number(struct fuzz_in *in)
{
    uint64_t value = 0;
    unsigned bytes = fuzz_u8(in);
    if (bytes < 0xf8)
        return bytes;
    for (bytes -= 0xf7; bytes > 0; bytes--)
        value = value << 8 | fuzz_u8(in);
    return value;
}

/* Up to `max` bytes, in a place of their own so that a sanitizer sees a read behind them; *bytes is
 * to be freed and never NULL. */
static inline size_t fuzz_bytes(struct fuzz_in *in, size_t max, uint8_t **bytes)
{
    size_t n = (size_t)fuzz_number(in);
    if (n > max)
        n = max;
    if (n > fuzz_left(in))
        n = fuzz_left(in);
    *bytes = malloc(n + 1);
    assert(*bytes);
    if (n > 0)
        memcpy(*bytes, in->at, n);
    (*bytes)[n] = '\0';
    in->at += n;
    return n;
}

/* A text as the library takes them: UTF-8 of at most `max` bytes without a NUL. To be freed. */
static inline char *fuzz_text(struct fuzz_in *in, size_t max)
{
    uint8_t *bytes;
    size_t n = fuzz_bytes(in, max, &bytes);
    bytes[zn_utf8_prefix(bytes, n)] = '\0';
    return (char *)bytes;
}

#endif
