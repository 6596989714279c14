/* SPDX-License-Identifier: MIT */
/*
 * The encoding of protobuf, as far as proto/zmqnet.proto needs it: fields, one behind the other,
 * each a tag (number << 3 | wire type) and a value. Reading never leaves the span that it is given;
 * whatever is no field is refused. Writing goes into room that was counted before.
 *
 * Everything is inline: with a constant field number most of a call is gone after compilation.
 */
#ifndef ZN_MODEL_PROTO_H
#define ZN_MODEL_PROTO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define ZN_PROTO_INLINE static inline __attribute__((always_inline))

enum zn_proto_type {
    ZN_PROTO_VARINT = 0,
    ZN_PROTO_FIXED64 = 1,
    ZN_PROTO_BYTES = 2,
    ZN_PROTO_FIXED32 = 5,
};

#define ZN_PROTO_TAG(number, type) ((unsigned)(number) << 3 | (unsigned)(type))

#define ZN_VARINT_BYTES_MAX 10 /* 64 bits */
#define ZN_TAG_BYTES_MAX 5     /* and a length: what needs more is no message of this world */

/* ---- reading ---- */

struct zn_span {
    const uint8_t *at, *end;
};

struct zn_field {
    uint64_t tag;
    uint64_t number;      /* VARINT, FIXED64 */
    struct zn_span bytes; /* BYTES; they lie in what was read from */
};

static inline size_t zn_span_bytes(struct zn_span s) { return (size_t)(s.end - s.at); }

/* A number of at most bytes_max bytes at `at`. Bits above the 64th are lost, as everywhere in
 * protobuf. Returns where it ends; NULL: it is none. */
static inline const uint8_t *zn_proto_long_varint(const uint8_t *at, const uint8_t *end,
                                                  unsigned bytes_max, uint64_t *out)
{
    uint64_t value = 0;
    for (unsigned shift = 0; at < end && shift < 7 * bytes_max; shift += 7) {
        uint8_t byte = *at++;
        value |= (uint64_t)(byte & 0x7f) << shift;
        if (byte < 0x80) {
            *out = value;
            return at;
        }
    }
    return NULL;
}

/* Nearly all are one byte long, and those cost no call. */
ZN_PROTO_INLINE bool zn_proto_varint(struct zn_span *in, unsigned bytes_max, uint64_t *out)
{
    if (in->at < in->end && *in->at < 0x80) {
        *out = *in->at++;
        return true;
    }
    uint64_t value;
    const uint8_t *after = zn_proto_long_varint(in->at, in->end, bytes_max, &value);
    if (!after)
        return false;
    in->at = after;
    *out = value;
    return true;
}

/* Eight bytes, little-endian. */
static inline uint64_t zn_proto_get64(const uint8_t *p)
{
    return (uint64_t)p[0] | (uint64_t)p[1] << 8 | (uint64_t)p[2] << 16 | (uint64_t)p[3] << 24 |
           (uint64_t)p[4] << 32 | (uint64_t)p[5] << 40 | (uint64_t)p[6] << 48 |
           (uint64_t)p[7] << 56;
}

ZN_PROTO_INLINE bool zn_proto_skip(struct zn_span *in, uint64_t bytes)
{
    if (bytes > zn_span_bytes(*in))
        return false;
    in->at += bytes;
    return true;
}

/* The length in front of some bytes, and the bytes. */
ZN_PROTO_INLINE bool zn_proto_bytes(struct zn_span *in, struct zn_span *out)
{
    uint64_t n;
    if (!zn_proto_varint(in, ZN_TAG_BYTES_MAX, &n))
        return false;
    out->at = in->at;
    if (!zn_proto_skip(in, n))
        return false;
    out->end = in->at;
    return true;
}

/* The next field of what is not empty. False: it is none. Groups, which proto3 does not have, are
 * none either. */
ZN_PROTO_INLINE bool zn_proto_field(struct zn_span *in, struct zn_field *out)
{
    *out = (struct zn_field){0};
    if (!zn_proto_varint(in, ZN_TAG_BYTES_MAX, &out->tag))
        return false;
    switch (out->tag & 7) {
    case ZN_PROTO_VARINT: return zn_proto_varint(in, ZN_VARINT_BYTES_MAX, &out->number);
    case ZN_PROTO_BYTES: return zn_proto_bytes(in, &out->bytes);
    case ZN_PROTO_FIXED64:
        if (!zn_proto_skip(in, 8))
            return false;
        out->number = zn_proto_get64(in->at - 8);
        return true;
    case ZN_PROTO_FIXED32: return zn_proto_skip(in, 4); /* no field of ours */
    default: return false;
    }
}

static inline int32_t zn_proto_sint32(uint64_t number)
{
    uint32_t n = (uint32_t)number;
    return (int32_t)(n >> 1 ^ (0 - (n & 1)));
}

/* ---- writing ---- */

/* Where fields go. Their lists are written once and compiled twice, with `counting` constant: so what
 * is counted and what is written cannot differ. A field that has its default is left out. */
struct zn_out {
    bool counting;
    uint8_t *at; /* NULL while counting */
    size_t n;    /* bytes so far */
};

ZN_PROTO_INLINE void zn_put_varint(struct zn_out *o, uint64_t v)
{
    if (o->counting) {
        for (o->n++; v >= 0x80; v >>= 7)
            o->n++;
        return;
    }
    for (; v >= 0x80; v >>= 7)
        o->at[o->n++] = (uint8_t)(v | 0x80);
    o->at[o->n++] = (uint8_t)v;
}

/* Eight bytes, little-endian. */
ZN_PROTO_INLINE void zn_put_raw64(struct zn_out *o, uint64_t v)
{
    if (!o->counting) {
        uint8_t *p = o->at + o->n;
        p[0] = (uint8_t)v;
        p[1] = (uint8_t)(v >> 8);
        p[2] = (uint8_t)(v >> 16);
        p[3] = (uint8_t)(v >> 24);
        p[4] = (uint8_t)(v >> 32);
        p[5] = (uint8_t)(v >> 40);
        p[6] = (uint8_t)(v >> 48);
        p[7] = (uint8_t)(v >> 56);
    }
    o->n += 8;
}

ZN_PROTO_INLINE void zn_put_tag(struct zn_out *o, unsigned field, enum zn_proto_type type)
{
    zn_put_varint(o, ZN_PROTO_TAG(field, type));
}

ZN_PROTO_INLINE void zn_put_number(struct zn_out *o, unsigned field, uint64_t v)
{
    if (v == 0)
        return;
    zn_put_tag(o, field, ZN_PROTO_VARINT);
    zn_put_varint(o, v);
}

ZN_PROTO_INLINE void zn_put_sint32(struct zn_out *o, unsigned field, int32_t v)
{
    zn_put_number(o, field, (uint32_t)v << 1 ^ (v < 0 ? UINT32_MAX : 0));
}

ZN_PROTO_INLINE void zn_put_fixed64(struct zn_out *o, unsigned field, uint64_t v)
{
    if (v == 0)
        return;
    zn_put_tag(o, field, ZN_PROTO_FIXED64);
    zn_put_raw64(o, v);
}

/* What stands in front of `bytes` bytes; they may be none. */
ZN_PROTO_INLINE void zn_put_head(struct zn_out *o, unsigned field, size_t bytes)
{
    zn_put_tag(o, field, ZN_PROTO_BYTES);
    zn_put_varint(o, bytes);
}

ZN_PROTO_INLINE void zn_put_bytes(struct zn_out *o, unsigned field, const void *bytes, size_t n)
{
    if (n == 0)
        return;
    zn_put_head(o, field, n);
    if (!o->counting)
        memcpy(o->at + o->n, bytes, n);
    o->n += n;
}

/* The head of a message of `bytes` bytes. True: its fields come next. False: they were counted. */
ZN_PROTO_INLINE bool zn_put_message(struct zn_out *o, unsigned field, size_t bytes)
{
    zn_put_head(o, field, bytes);
    if (o->counting)
        o->n += bytes;
    return !o->counting;
}

#endif
