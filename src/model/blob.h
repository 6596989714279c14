/* SPDX-License-Identifier: MIT */
/*
 * A blob: immutable bytes with a reference count, so that one body, or one encoding, can stand in
 * many queues without a copy. The count is atomic: the last reference may be dropped by a thread of
 * the messaging library. A NULL blob is an empty one everywhere.
 */
#ifndef ZN_MODEL_BLOB_H
#define ZN_MODEL_BLOB_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

struct zn_blob {
    atomic_uint refs;
    size_t bytes;
    uint8_t *data; /* of a blob on the heap directly behind this struct; the blob owns it */
};

/* A copy of `bytes` bytes, with one reference. *out is NULL if bytes is 0. Returns 0, ZMQNET_ENOMEM. */
int zn_blob_copy(const void *data, size_t bytes, struct zn_blob **out);
/* Room for `bytes` > 0 bytes, to be filled before it is shared. Returns 0, ZMQNET_ENOMEM. */
int zn_blob_make(size_t bytes, struct zn_blob **out);

/* One more reference; returns its argument. NULL is allowed. */
struct zn_blob *zn_blob_ref(struct zn_blob *b);
/* Drop the reference in *b and leave NULL. *b may be NULL. */
void zn_blob_drop(struct zn_blob **b);

static inline size_t zn_blob_bytes(const struct zn_blob *b) { return b ? b->bytes : 0; }
static inline const uint8_t *zn_blob_data(const struct zn_blob *b) { return b ? b->data : NULL; }

#endif
