/* SPDX-License-Identifier: MIT */
/* Messages that leave together: a frame that is put together from several encodings. */
#ifndef ZN_NODE_BATCH_H
#define ZN_NODE_BATCH_H

#include <stdint.h>

#include "base/limits.h"
#include "model/blob.h"

struct zn_batch {
    struct zn_blob *member[ZN_BATCH_MESSAGES_MAX];
    uint32_t n;
    struct zn_blob *frame; /* of these members, once it was made; NULL: not yet */
};

/* Takes over the reference. */
void zn_batch_add(struct zn_batch *b, struct zn_blob *member);
/* A reference to the frame of the members, NULL: out of memory. If `before` has the same members, its
 * frame is taken: a broadcast that leaves for several peers is put together once. */
struct zn_blob *zn_batch_frame(struct zn_batch *b, const struct zn_batch *before);
/* Drops everything that it holds. */
void zn_batch_clear(struct zn_batch *b);

#endif
