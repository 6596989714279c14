/* SPDX-License-Identifier: MIT */
/*
 * Messages -> bytes. Any thread: there is no state.
 *
 * Each message of proto/zmqnet.proto has one list of its fields here, in ascending order, and each
 * list is compiled twice: to count and to write (model/proto.h). A message inside another is counted
 * once more for the length in front of it. Nothing is allocated, and nothing can fail: what a reader
 * would refuse as too long is our own bug, and asserted.
 */
#include <assert.h>

#include "model/proto.h"
#include "model/wire.h"

#define COUNT_ONLY ((struct zn_out){.counting = true})

/* A NULL text is an empty one. */
ZN_PROTO_INLINE void put_text(struct zn_out *o, unsigned field, const char *s, size_t max)
{
    if (!s || !*s)
        return;
    size_t n = strlen(s);
    assert(n <= max);
    zn_put_bytes(o, field, s, n);
}

ZN_PROTO_INLINE void put_blob(struct zn_out *o, unsigned field, const struct zn_blob *b)
{
    zn_put_bytes(o, field, zn_blob_data(b), zn_blob_bytes(b));
}

ZN_PROTO_INLINE void put_lives(struct zn_out *o, unsigned field, const uint64_t *lives, size_t n)
{
    assert(n <= ZN_REPLICAS_MAX);
    if (n == 0)
        return;
    zn_put_head(o, field, 8 * n);
    for (size_t i = 0; i < n; i++)
        zn_put_raw64(o, lives[i]);
}

/* Two bytes each, as they stand in memory. */
ZN_PROTO_INLINE void put_links(struct zn_out *o, unsigned field, const struct zmqnet_link *links,
                               size_t n)
{
    assert(n <= ZN_REPLICAS_MAX);
    zn_put_bytes(o, field, links, n * sizeof *links);
}

/* ---- Row ---- */

ZN_PROTO_INLINE void put_row(struct zn_out *o, const struct zn_row *r)
{
    put_text(o, 1, r->name, ZN_NAME_MAX);
    zn_put_number(o, 2, r->outcome);
    zn_put_number(o, 3, r->rtt_us);
    zn_put_sint32(o, 4, r->code);
    put_text(o, 5, r->why, ZN_WHY_MAX);
    put_blob(o, 6, r->reply);
}

static size_t row_size(const struct zn_row *r)
{
    struct zn_out o = COUNT_ONLY;
    put_row(&o, r);
    return o.n;
}

/* ---- StatusPeer, Counter, HeardRow, StatusView ---- */

ZN_PROTO_INLINE void put_peer(struct zn_out *o, const struct zmqnet_peer_status *s)
{
    put_text(o, 1, s->name, ZN_NAME_MAX);
    put_text(o, 2, s->endpoint, ZN_ENDPOINT_MAX);
    zn_put_number(o, 3, s->state);
    zn_put_number(o, 4, s->since_us);
    put_text(o, 5, s->cause, ZN_WHY_MAX);
    zn_put_number(o, 6, s->rtt_us);
    zn_put_number(o, 7, s->queue_messages);
    zn_put_number(o, 8, s->queue_bytes);
    zn_put_number(o, 9, s->inflight);
    zn_put_number(o, 10, s->sent);
    zn_put_number(o, 11, s->acked);
    zn_put_number(o, 12, s->refused);
    zn_put_number(o, 13, s->unknown);
    zn_put_number(o, 14, s->never_sent);
    zn_put_number(o, 15, s->retries);
    zn_put_number(o, 16, s->late);
    zn_put_number(o, 17, s->config_differs);
}

static size_t peer_size(const struct zmqnet_peer_status *s)
{
    struct zn_out o = COUNT_ONLY;
    put_peer(&o, s);
    return o.n;
}

ZN_PROTO_INLINE void put_counter(struct zn_out *o, const struct zmqnet_counter *c)
{
    put_text(o, 1, c->name, ZN_NAME_MAX);
    zn_put_number(o, 2, c->value);
}

static size_t counter_size(const struct zmqnet_counter *c)
{
    struct zn_out o = COUNT_ONLY;
    put_counter(&o, c);
    return o.n;
}

ZN_PROTO_INLINE void put_heard(struct zn_out *o, const struct zmqnet_heard *h, size_t peers_n)
{
    put_text(o, 1, h->name, ZN_NAME_MAX);
    zn_put_number(o, 2, h->age_us);
    put_links(o, 3, h->links, peers_n);
}

static size_t heard_size(const struct zmqnet_heard *h, size_t peers_n)
{
    struct zn_out o = COUNT_ONLY;
    put_heard(&o, h, peers_n);
    return o.n;
}

ZN_PROTO_INLINE void put_view(struct zn_out *o, const zmqnet_status *s)
{
    assert(s->peers_n <= ZN_REPLICAS_MAX && s->counters_n <= ZN_STATUS_COUNTERS_MAX);
    assert(s->rows_n <= ZN_REPLICAS_MAX);
    put_text(o, 1, s->name, ZN_NAME_MAX);
    put_text(o, 2, s->pattern, ZN_PATTERN_NAME_MAX);
    zn_put_fixed64(o, 3, s->life);
    zn_put_number(o, 4, s->uptime_us);
    for (size_t i = 0; i < s->peers_n; i++)
        if (zn_put_message(o, 5, peer_size(&s->peers[i])))
            put_peer(o, &s->peers[i]);
    for (size_t i = 0; i < s->counters_n; i++)
        if (zn_put_message(o, 6, counter_size(&s->counters[i])))
            put_counter(o, &s->counters[i]);
    for (size_t i = 0; i < s->rows_n; i++)
        if (zn_put_message(o, 7, heard_size(&s->rows[i], s->peers_n)))
            put_heard(o, &s->rows[i], s->peers_n);
}

static size_t view_size(const zmqnet_status *s)
{
    struct zn_out o = COUNT_ONLY;
    put_view(&o, s);
    return o.n;
}

/* ---- Body ---- */

ZN_PROTO_INLINE void put_status(struct zn_out *o, const zmqnet_status *s)
{
    if (s && zn_put_message(o, 23, view_size(s)))
        put_view(o, s);
}

ZN_PROTO_INLINE void put_rows(struct zn_out *o, const struct zn_row *rows, size_t n)
{
    assert(n <= ZN_REPLICAS_MAX);
    for (size_t i = 0; i < n; i++)
        if (zn_put_message(o, 14, row_size(&rows[i])))
            put_row(o, &rows[i]);
}

ZN_PROTO_INLINE void put_body(struct zn_out *o, const struct zn_msg *msg)
{
    assert((unsigned)msg->type <= ZN_ERROR && msg->kind < ZN_KINDS);
    zn_put_number(o, 1, msg->type);
    put_text(o, 2, msg->sender, ZN_NAME_MAX);
    put_blob(o, 3, msg->body);
    zn_put_number(o, 4, msg->kind);
    zn_put_fixed64(o, 5, msg->id.origin);
    zn_put_number(o, 6, msg->id.seq);
    put_lives(o, 7, msg->to_life, msg->lives_n);
    zn_put_number(o, 8, msg->budget_ms);
    zn_put_number(o, 9, msg->attempt);
    zn_put_sint32(o, 10, msg->quorum);
    zn_put_number(o, 11, msg->floor);
    zn_put_number(o, 12, msg->idempotent);
    zn_put_sint32(o, 13, msg->code);
    put_rows(o, msg->rows, msg->rows_n);
    put_text(o, 16, msg->target, ZN_NAME_MAX);
    zn_put_fixed64(o, 17, msg->life);
    zn_put_number(o, 18, msg->version);
    zn_put_fixed64(o, 19, msg->peers_hash);
    put_text(o, 20, msg->pattern, ZN_PATTERN_NAME_MAX);
    zn_put_number(o, 21, msg->need);
    zn_put_number(o, 22, msg->have);
    put_status(o, msg->status);
    put_links(o, 24, msg->links, msg->links_n);
    zn_put_fixed64(o, 25, msg->names_hash);
}

size_t zn_wire_size(const struct zn_msg *msg)
{
    struct zn_out o = COUNT_ONLY;
    put_body(&o, msg);
    return o.n;
}

void zn_wire_pack(const struct zn_msg *msg, uint8_t *out)
{
    struct zn_out o = {.at = out};
    put_body(&o, msg);
}

size_t zn_wire_item_head(size_t bytes, uint8_t *out)
{
    static_assert(ZN_WIRE_ITEM_HEAD_MAX >= 1 + ZN_TAG_BYTES_MAX, "a tag of one byte, and a length");
    assert(bytes <= UINT32_MAX);
    struct zn_out o = {.at = out};
    zn_put_head(&o, 15, bytes);
    return o.n;
}
