/* SPDX-License-Identifier: MIT */
/*
 * What the user gets: core's results copied out of its tables. A receipt or a status is one block of
 * memory with its strings behind it, so that one free() ends it.
 *
 * A call that is complete is always reported: if there is no memory for its receipt, the block that
 * stood for it since it was accepted becomes one that says so.
 */
#include "node/node.h"

#include <assert.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

/* Room that is filled from the front. */
struct room {
    char *at;
};

static const void *put(struct room *room, const void *data, size_t bytes)
{
    char *start = room->at;
    if (bytes == 0)
        return NULL;
    memcpy(start, data, bytes);
    room->at += bytes;
    return start;
}

static const char *put_text(struct room *room, const char *text)
{
    return put(room, text, strlen(text) + 1);
}

/* ---- receipts ---- */

static zmqnet_receipt *receipt_of_no_memory(struct zn_pending *p)
{
    static_assert(offsetof(struct zn_pending, spare) == 0, "free() of the one frees the other");
    p->spare = (zmqnet_receipt){
        .status = ZMQNET_ENOMEM,
        .via = "",
        .why = zmqnet_error_text(ZMQNET_ENOMEM),
    };
    return &p->spare;
}

static struct zmqnet_row row_of(const struct zn_row *r, struct room *room)
{
    return (struct zmqnet_row){
        .name = room ? put_text(room, r->name) : r->name,
        .outcome = r->outcome,
        .rtt_us = r->rtt_us,
        .code = r->code,
        .why = room ? put_text(room, r->why) : r->why,
        .reply = room ? put(room, zn_blob_data(r->reply), zn_blob_bytes(r->reply))
                      : zn_blob_data(r->reply),
        .reply_bytes = zn_blob_bytes(r->reply),
    };
}

static size_t texts_bytes(const struct zn_done *d)
{
    size_t bytes = strlen(d->why) + 1 + ZN_NAME_MAX + 1;
    for (size_t i = 0; i < d->rows_n; i++)
        bytes +=
            strlen(d->rows[i].name) + strlen(d->rows[i].why) + 2 + zn_blob_bytes(d->rows[i].reply);
    return bytes;
}

static zmqnet_receipt *receipt_of(const zmqnet_node *node, const struct zn_done *d)
{
    zmqnet_receipt *r = malloc(sizeof *r + d->rows_n * sizeof(struct zmqnet_row) + texts_bytes(d));
    if (!r)
        return NULL;
    struct zmqnet_row *rows = (struct zmqnet_row *)(r + 1);
    struct room room = {(char *)(rows + d->rows_n)};
    *r = (zmqnet_receipt){
        .status = d->status,
        .id = d->id,
        .via = put_text(&room, d->via >= 0 ? node->peers->replicas[d->via].name : ""),
        .need = d->need,
        .have = d->have,
        .of = d->of,
        .elapsed_us = d->elapsed_us,
        .attempts = d->attempts,
        .rows_n = d->rows_n,
        .rows = rows,
        .why = put_text(&room, d->why),
    };
    for (size_t i = 0; i < d->rows_n; i++)
        rows[i] = row_of(&d->rows[i], &room);
    return r;
}

static void done_receipt(zmqnet_node *node, struct zn_pending *p, const struct zn_done *d)
{
    zmqnet_done done = p->done;
    void *arg = p->arg;
    zmqnet_receipt *r = receipt_of(node, d);
    if (r)
        free(p);
    else
        r = receipt_of_no_memory(p);
    done(node, r, arg);
}

static void done_status(struct zn_pending *p, const struct zn_done *d)
{
    zmqnet_status *copy = d->status_view ? zn_status_copy(d->status_view) : NULL;
    int rc = d->status;
    if (rc == 0 && !d->status_view)
        rc = ZMQNET_EPROTO;
    if (rc == 0 && !copy)
        rc = ZMQNET_ENOMEM;
    p->got_status(p, rc, copy, d->why);
}

void zn_node_done(zmqnet_node *node, struct zn_pending *p, const struct zn_done *d)
{
    if (p->got_status)
        done_status(p, d);
    else
        done_receipt(node, p, d);
}

void zn_node_progress(zmqnet_node *node, const struct zn_pending *p, struct zmqnet_id id,
                      const struct zn_row *row)
{
    const struct zmqnet_row public_row = row_of(row, NULL);
    p->progress(node, id, &public_row, p->progress_arg);
}

/* ---- status ---- */

static size_t status_bytes(const zmqnet_status *s)
{
    size_t bytes = sizeof *s + strlen(s->name) + strlen(s->pattern) + 2;
    for (size_t i = 0; i < s->peers_n; i++)
        bytes += sizeof s->peers[i] + strlen(s->peers[i].name) + strlen(s->peers[i].endpoint) +
                 strlen(s->peers[i].cause) + 3;
    for (size_t i = 0; i < s->counters_n; i++)
        bytes += sizeof s->counters[i] + strlen(s->counters[i].name) + 1;
    for (size_t i = 0; i < s->rows_n; i++)
        bytes +=
            sizeof s->rows[i] + strlen(s->rows[i].name) + 1 + s->peers_n * sizeof *s->rows[i].links;
    return bytes;
}

zmqnet_status *zn_status_copy(const zmqnet_status *from)
{
    zmqnet_status *s = malloc(status_bytes(from));
    if (!s)
        return NULL;
    struct zmqnet_peer_status *peers = (struct zmqnet_peer_status *)(s + 1);
    struct zmqnet_counter *counters = (struct zmqnet_counter *)(peers + from->peers_n);
    struct zmqnet_heard *rows = (struct zmqnet_heard *)(counters + from->counters_n);
    struct room room = {(char *)(rows + from->rows_n)};
    *s = *from;
    s->name = put_text(&room, from->name);
    s->pattern = put_text(&room, from->pattern);
    s->peers = peers;
    s->counters = counters;
    s->rows = rows;
    for (size_t i = 0; i < from->peers_n; i++) {
        peers[i] = from->peers[i];
        peers[i].name = put_text(&room, from->peers[i].name);
        peers[i].endpoint = put_text(&room, from->peers[i].endpoint);
        peers[i].cause = put_text(&room, from->peers[i].cause);
    }
    for (size_t i = 0; i < from->counters_n; i++) {
        counters[i] = from->counters[i];
        counters[i].name = put_text(&room, from->counters[i].name);
    }
    for (size_t i = 0; i < from->rows_n; i++) {
        rows[i] = from->rows[i];
        rows[i].name = put_text(&room, from->rows[i].name);
        rows[i].links = put(&room, from->rows[i].links, from->peers_n * sizeof *rows[i].links);
    }
    return s;
}

/* ---- freeing: public ---- */

void zmqnet_receipt_free(zmqnet_receipt **receipt)
{
    free(*receipt);
    *receipt = NULL;
}

void zmqnet_status_free(zmqnet_status **status)
{
    free(*status);
    *status = NULL;
}
