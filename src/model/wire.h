/* SPDX-License-Identifier: MIT */
/*
 * Message <-> bytes, by protobuf. docs/wire.md is the specification.
 * A frame is one encoded Body, or a batch: a Body that holds only encoded Bodies.
 */
#ifndef ZN_MODEL_WIRE_H
#define ZN_MODEL_WIRE_H

#include <stddef.h>
#include <stdint.h>

#include "model/msg.h"

/* Why bytes were not understood; each is a counter (core/counters.h). */
enum zn_wire_error {
    ZN_WIRE_OK = 0,
    ZN_WIRE_EMPTY,     /* no bytes at all */
    ZN_WIRE_MALFORMED, /* not protobuf, or a text that is not UTF-8 or holds NUL, or nested batches */
    ZN_WIRE_TYPE,      /* an unknown type */
    ZN_WIRE_KIND,      /* an unknown kind */
    ZN_WIRE_LIMIT,     /* well-formed, but a field is outside its limits */
    ZN_WIRE_OVERSIZE, /* the same for a body or a reply above body_max */
    ZN_WIRE_MEMORY,   /* out of memory */
};

/* ---- bytes -> messages ---- */

/* Scratch memory of one decoder; one per loop. Opaque to its users. */
struct zn_decoder;

/* body_max: largest body taken. Returns 0, ZMQNET_ENOMEM. */
int zn_decoder_new(size_t body_max, struct zn_decoder **out);
void zn_decoder_free(struct zn_decoder **d);

/* Begin a frame. The bytes must stay until the last zn_decoder_next() of it. */
void zn_decoder_begin(struct zn_decoder *d, const void *bytes, size_t n);

/* The next message of the frame: 1 and *msg is set, or 1 and *error != ZN_WIRE_OK (this message is
 * bad, go on with the next), or 0: no more. What *msg points to is valid until the next call on this
 * decoder; msg->body is a reference that the caller drops, and so is each rows[i].reply. */
int zn_decoder_next(struct zn_decoder *d, struct zn_msg *msg, enum zn_wire_error *error);

/* Drop the references that a decoded message holds (body, replies). */
void zn_msg_drop(struct zn_msg *msg);

/* ---- messages -> bytes ---- */

/* How many bytes it takes; pack them into room for that many. No allocation. Bodies and replies are
 * copied in. */
size_t zn_wire_size(const struct zn_msg *msg);
void zn_wire_pack(const struct zn_msg *msg, uint8_t *out);

/* The head of one member of a batch that is `bytes` long: its tag and length. Returns how many bytes
 * were written, at most ZN_WIRE_ITEM_HEAD_MAX. A frame of such members, one behind the other, is a
 * batch. */
#define ZN_WIRE_ITEM_HEAD_MAX 8
size_t zn_wire_item_head(size_t bytes, uint8_t *out);

#endif
