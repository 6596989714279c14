/* SPDX-License-Identifier: MIT */
/*
 * Compares messages, and sends them to bytes and back. No state.
 *
 * Bytes alone would not do: a field that neither the encoder nor the decoder knows would be missing in
 * both. So the messages are compared field by field, and the bytes as well.
 */
#include "messages.h"

#include "fuzz.h"

static void same_text(const char *a, const char *b) { assert(strcmp(a ? a : "", b ? b : "") == 0); }

static void same_blob(const struct zn_blob *a, const struct zn_blob *b)
{
    size_t n = zn_blob_bytes(a);
    assert(n == zn_blob_bytes(b));
    assert(n == 0 || memcmp(zn_blob_data(a), zn_blob_data(b), n) == 0);
}

static void same_row(const struct zn_row *a, const struct zn_row *b)
{
    same_text(a->name, b->name);
    same_text(a->why, b->why);
    same_blob(a->reply, b->reply);
    assert(a->outcome == b->outcome && a->rtt_us == b->rtt_us && a->code == b->code);
}

static void same_peer(const struct zmqnet_peer_status *a, const struct zmqnet_peer_status *b)
{
    same_text(a->name, b->name);
    same_text(a->endpoint, b->endpoint);
    same_text(a->cause, b->cause);
    assert(a->state == b->state && a->since_us == b->since_us && a->rtt_us == b->rtt_us);
    assert(a->queue_messages == b->queue_messages && a->queue_bytes == b->queue_bytes);
    assert(a->inflight == b->inflight && a->sent == b->sent && a->acked == b->acked);
    assert(a->refused == b->refused && a->unknown == b->unknown);
    assert(a->never_sent == b->never_sent && a->retries == b->retries && a->late == b->late);
    assert(a->config_differs == b->config_differs);
}

static void same_status(const zmqnet_status *a, const zmqnet_status *b)
{
    assert(!a == !b);
    if (!a)
        return;
    same_text(a->name, b->name);
    same_text(a->pattern, b->pattern);
    assert(a->life == b->life && a->uptime_us == b->uptime_us);
    assert(a->peers_n == b->peers_n && a->counters_n == b->counters_n);
    for (size_t i = 0; i < a->peers_n; i++)
        same_peer(&a->peers[i], &b->peers[i]);
    for (size_t i = 0; i < a->counters_n; i++) {
        same_text(a->counters[i].name, b->counters[i].name);
        assert(a->counters[i].value == b->counters[i].value);
    }
}

void same_msg(const struct zn_msg *a, const struct zn_msg *b)
{
    assert(a->type == b->type && a->kind == b->kind);
    same_text(a->sender, b->sender);
    same_text(a->target, b->target);
    same_text(a->pattern, b->pattern);
    same_blob(a->body, b->body);
    assert(a->id.origin == b->id.origin && a->id.seq == b->id.seq);
    assert(a->lives_n == b->lives_n);
    for (size_t i = 0; i < a->lives_n; i++)
        assert(a->to_life[i] == b->to_life[i]);
    assert(a->budget_ms == b->budget_ms && a->attempt == b->attempt && a->quorum == b->quorum);
    assert(a->floor == b->floor && a->idempotent == b->idempotent && a->code == b->code);
    assert(a->need == b->need && a->have == b->have && a->life == b->life);
    assert(a->version == b->version && a->peers_hash == b->peers_hash);
    assert(a->rows_n == b->rows_n);
    for (size_t i = 0; i < a->rows_n; i++)
        same_row(&a->rows[i], &b->rows[i]);
    same_status(a->status, b->status);
}

static uint8_t *encoded(const struct zn_msg *msg, size_t *n)
{
    *n = zn_wire_size(msg);
    uint8_t *bytes = malloc(*n ? *n : 1);
    assert(bytes);
    zn_wire_pack(msg, bytes);
    return bytes;
}

uint8_t *there_and_back(const struct zn_msg *msg, struct zn_decoder *d, size_t *n)
{
    struct zn_msg back, more;
    enum zn_wire_error error;
    size_t again_n;
    uint8_t *bytes = encoded(msg, n);
    zn_decoder_begin(d, bytes, *n);
    int got = zn_decoder_next(d, &back, &error);
    assert(got == 1);
    if (*n == 0) {
        assert(error == ZN_WIRE_EMPTY);
        free(bytes);
        return NULL;
    }
    assert(error == ZN_WIRE_OK);
    same_msg(msg, &back);
    uint8_t *again = encoded(&back, &again_n);
    assert(again_n == *n && memcmp(bytes, again, *n) == 0);
    free(again);
    zn_msg_drop(&back);
    got = zn_decoder_next(d, &more, &error);
    assert(got == 0);
    return bytes;
}
