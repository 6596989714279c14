/* SPDX-License-Identifier: MIT */
/* What the tests of message <-> bytes share: bytes put together by hand, and messages to begin with. */
#ifndef ZN_TESTS_WIRE_DRIVER_H
#define ZN_TESTS_WIRE_DRIVER_H

#include <stddef.h>
#include <stdint.h>

#include "model/wire.h"

#define BODY_MAX 100000u
#define SEED 20240229u
#define LIFE_A 0x8f3c21d09ab4e671u /* alpha's */
#define LIFE_B 0x2b7e151628aed2a6u /* bravo's */
#define LIFE_C 0x00c0ffee00c0ffeeu /* a client's */
#define PEERS_HASH 0x609d819aef0a8f4au

/* ---- bytes ---- */

struct buf {
    uint8_t *at;
    size_t n, room;
};

void put(struct buf *b, const void *bytes, size_t n);
void put_varint(struct buf *b, uint64_t v);
void put_number(struct buf *b, unsigned field, uint64_t v);
void put_bytes(struct buf *b, unsigned field, const void *bytes, size_t n);
/* A field of n letters. */
void put_letters(struct buf *b, unsigned field, size_t n);
void put_buf(struct buf *b, unsigned field, struct buf *inner);
void put_hex(struct buf *b, const char *hex);
void pack(struct buf *b, const struct zn_msg *msg);
void put_item(struct buf *batch, const void *bytes, size_t n);
struct zn_decoder *decoder(void);
/* Decode a frame from memory of exactly its length, so that a sanitizer sees a read behind it. All
 * of it is dropped again. Returns the error of the only message, or of the last one. */
enum zn_wire_error decode_all(struct zn_decoder *d, const void *bytes, size_t n);
/* Decode what was put together, and free it. */
void expect(struct buf *b, enum zn_wire_error wanted);

/* ---- messages ---- */

struct golden {
    const char *body;
    struct zn_msg msg;
    const char *hex;
};

enum { GOLDEN_PING = 6, GOLDEN_REQUEST = 7, GOLDEN_RECEIPT = 10, GOLDEN_STATUS = 13, GOLDENS = 17 };

extern const struct golden goldens[GOLDENS];
/* A batch of GOLDEN_PING and GOLDEN_REQUEST. */
extern const char golden_batch[];
extern const uint64_t life_a[1], life_b[1], life_c[1];

/* A setup and a teardown of groups that use golden messages. */
int begin_goldens(void **state);
int end_goldens(void **state);

struct zn_blob *blob(const char *text);
struct zn_msg golden_msg(size_t i);
/* Everything that a message can hold, all of it at its limit, and the extremes of every number. */
void widest(struct zn_msg *msg, enum zn_type type, enum zn_kind kind, struct zn_blob *body);

#endif
