/* SPDX-License-Identifier: MIT */
/*
 * Puts frames together from encodings. The loop's.
 *
 * Members are held until the batch is cleared, so that two batches of one step are told to be alike by
 * their addresses. The frame is written once, into memory of its own that the pattern may keep.
 */
#include "node/batch.h"

#include <assert.h>
#include <string.h>

#include "model/wire.h"

void zn_batch_add(struct zn_batch *b, struct zn_blob *member)
{
    assert(b->n < ZN_BATCH_MESSAGES_MAX);
    b->member[b->n++] = member;
}

static struct zn_blob *put_together(const struct zn_batch *b)
{
    size_t room = 0, at = 0;
    for (uint32_t i = 0; i < b->n; i++)
        room += ZN_WIRE_ITEM_HEAD_MAX + b->member[i]->bytes;
    struct zn_blob *frame;
    if (zn_blob_make(room, &frame) != 0)
        return NULL;
    for (uint32_t i = 0; i < b->n; i++) {
        at += zn_wire_item_head(b->member[i]->bytes, frame->data + at);
        memcpy(frame->data + at, b->member[i]->data, b->member[i]->bytes);
        at += b->member[i]->bytes;
    }
    frame->bytes = at;
    return frame;
}

struct zn_blob *zn_batch_frame(struct zn_batch *b, const struct zn_batch *before)
{
    bool alike = before->frame && before->n == b->n &&
                 memcmp(before->member, b->member, b->n * sizeof b->member[0]) == 0;
    b->frame = alike ? zn_blob_ref(before->frame) : put_together(b);
    return zn_blob_ref(b->frame);
}

void zn_batch_clear(struct zn_batch *b)
{
    while (b->n > 0)
        zn_blob_drop(&b->member[--b->n]);
    zn_blob_drop(&b->frame);
}
