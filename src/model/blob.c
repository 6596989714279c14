/* SPDX-License-Identifier: MIT */
/*
 * Reference-counted immutable bytes. Any thread may hold, add and drop references: the count is
 * atomic, and whoever drops the last one frees.
 *
 * Bytes are written only between zn_blob_make() and the first sharing. A drop releases and the last
 * one acquires, so that every use in another thread is over before the memory goes. A count
 * that is found at 0, or would wrap, is a bug and asserted. Only memory can run out.
 */
#include "model/blob.h"

#include "zmqnet.h"

#include <assert.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

int zn_blob_copy(const void *data, size_t bytes, struct zn_blob **out)
{
    *out = NULL;
    if (bytes == 0)
        return 0;
    int rc = zn_blob_make(bytes, out);
    if (rc == 0)
        memcpy((*out)->data, data, bytes);
    return rc;
}

int zn_blob_make(size_t bytes, struct zn_blob **out)
{
    assert(bytes > 0);
    struct zn_blob *b = bytes > SIZE_MAX - sizeof *b ? NULL : malloc(sizeof *b + bytes);
    *out = b;
    if (!b)
        return ZMQNET_ENOMEM;
    atomic_init(&b->refs, 1);
    b->bytes = bytes;
    b->data = (uint8_t *)(b + 1);
    return 0;
}

struct zn_blob *zn_blob_ref(struct zn_blob *b)
{
    if (b) {
        unsigned before = atomic_fetch_add_explicit(&b->refs, 1, memory_order_relaxed);
        assert(before > 0 && before < UINT_MAX);
    }
    return b;
}

void zn_blob_drop(struct zn_blob **b)
{
    struct zn_blob *blob = *b;
    *b = NULL;
    if (!blob)
        return;
    unsigned before = atomic_fetch_sub_explicit(&blob->refs, 1, memory_order_acq_rel);
    assert(before > 0);
    if (before == 1)
        free(blob);
}
