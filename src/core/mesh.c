/* SPDX-License-Identifier: MIT */
/*
 * Opens and closes the mesh and hands each event to the file that knows it.
 *
 * All memory is allocated in zn_mesh_open(). A step sets the time, runs exactly one event, and leaves
 * what is to be done in `out`; only FLUSH may leave work behind, and says so. The time of a step
 * never runs backwards. Owned by the one thread that steps it.
 */
#include "core/core.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

/* ---- what the other files of core emit ---- */

struct zn_action *zn_emit(struct zn_mesh *m, enum zn_action_type type)
{
    assert(m->out->n < m->out_max);
    struct zn_action *a = &m->out->at[m->out->n++];
    memset(a, 0, sizeof *a);
    a->type = type;
    a->peer = -1;
    return a;
}

void zn_note_hello(struct zn_mesh *m, enum zn_note_id id, int peer, enum zn_why why)
{
    uint64_t *last_us = peer < 0 ? &m->stranger_noted_us : &m->peers[peer].noted_us;
    if (*last_us != 0 && m->now_us - *last_us < ZN_SECOND)
        return;
    *last_us = m->now_us;
    zn_note_peer(m, id, peer, why);
}

void zn_note_peer(struct zn_mesh *m, enum zn_note_id id, int peer, enum zn_why why)
{
    struct zn_action *a = zn_emit(m, ZN_ACT_NOTE);
    a->peer = peer;
    a->note =
        (struct zn_note){.id = id, .peer = peer, .why = why, .cause = zn_peer_cause(m, peer, why)};
}

struct zn_msg zn_message(const struct zn_mesh *m, enum zn_type type, enum zn_kind kind)
{
    return (struct zn_msg){
        .type = type,
        .kind = kind,
        .sender = m->self_name,
        .target = "",
        .pattern = "",
    };
}

void zn_send_now(struct zn_mesh *m, int peer, const struct zn_msg *msg)
{
    struct zn_action *a = zn_emit(m, ZN_ACT_SEND);
    a->peer = peer;
    a->msg = *msg;
    zn_reach_tell(m, &a->msg);
    m->peers[peer].frame_n = 0; /* if this one is not taken, the frame before it was */
    zn_count(m, ZN_COUNT_messages_out);
}

void zn_reply_now(struct zn_mesh *m, zn_route route, const struct zn_msg *msg)
{
    struct zn_action *a = zn_emit(m, ZN_ACT_REPLY);
    a->route = route;
    a->msg = *msg;
    zn_reach_tell(m, &a->msg);
    zn_count(m, ZN_COUNT_messages_out);
}

const char *zn_why_text(enum zn_why why)
{
    static const char *const texts[ZN_WHYS_N] = {
#define ZN_WHY_TEXT(name, text) [ZN_WHY_##name] = text,
        ZN_WHYS(ZN_WHY_TEXT)
#undef ZN_WHY_TEXT
    };
    assert(why < ZN_WHYS_N);
    return texts[why];
}

/* ---- opening ---- */

static void limits_fill(struct zn_mesh_config *c)
{
    if (c->calls_max == 0)
        c->calls_max = ZN_CALLS_MAX;
    if (c->served_max == 0)
        c->served_max = ZN_SERVED_MAX;
    if (c->origins_max == 0)
        c->origins_max = ZN_ORIGINS_MAX;
    if (c->queue_messages_max == 0)
        c->queue_messages_max = ZN_QUEUE_MESSAGES_MAX;
    if (c->window_messages_max == 0)
        c->window_messages_max = ZN_WINDOW_MESSAGES_MAX;
    if (c->lock_step)
        c->window_messages_max = 1;
    if (c->call_bytes_max == 0)
        c->call_bytes_max = ZN_CALL_BYTES_MAX;
    if (c->served_bytes_max == 0)
        c->served_bytes_max = ZN_SERVED_BYTES_MAX;
    if (c->queue_bytes_max == 0)
        c->queue_bytes_max = ZN_QUEUE_BYTES_MAX;
}

static int tables_open(struct zn_mesh *m, uint64_t seed)
{
    const struct zn_mesh_config *c = &m->limits;
    size_t rows = (size_t)c->calls_max * m->n;
    m->calls = calloc(c->calls_max, sizeof *m->calls);
    m->rows = calloc(rows, sizeof *m->rows);
    m->tracks = calloc(rows, sizeof *m->tracks);
    m->lives = calloc(rows, sizeof *m->lives);
    m->served = calloc(c->served_max, sizeof *m->served);
    m->origins = calloc(c->origins_max, sizeof *m->origins);
    if (!m->calls || !m->rows || !m->tracks || !m->lives || !m->served || !m->origins)
        return ZMQNET_ENOMEM;
    int rc = zn_index_init(&m->calls_by_id, c->calls_max, seed);
    if (rc == 0)
        rc = zn_index_init(&m->served_by_id, c->served_max, seed + 1);
    if (rc == 0)
        rc = zn_index_init(&m->origins_by_id, c->origins_max, seed + 2);
    if (rc == 0)
        rc = zn_heap_init(&m->heap, c->calls_max + m->n);
    return rc;
}

int zn_mesh_open(const struct zn_mesh_config *config, uint64_t now_us, struct zn_mesh **out)
{
    assert(config->life != 0 && config->self < (int)config->peers->n);
    struct zn_mesh *m = calloc(1, sizeof *m);
    if (!m)
        return ZMQNET_ENOMEM;
    m->limits = *config;
    limits_fill(&m->limits);
    m->peer_file = zn_peers_ref(config->peers);
    m->n = (uint32_t)config->peers->n;
    m->self = config->self;
    m->via_only = config->via;
    m->self_name = m->self < 0 ? "" : config->peers->replicas[m->self].name;
    m->pattern = config->pattern;
    m->pattern_too = config->pattern_too;
    m->life = config->life;
    m->opened_us = m->now_us = now_us;
    m->calls_free = ZN_NONE;
    struct zn_list *lists[] = {&m->own,   &m->lingering, &m->kept,
                               &m->ended, &m->window,    &m->origins_lru};
    for (size_t i = 0; i < sizeof lists / sizeof lists[0]; i++)
        zn_list_init(lists[i]);
    m->answered = m->served_free = ZN_NONE;
    m->client_answers = (struct zn_answers){ZN_NONE, ZN_NONE};
    zn_rand_seed(&m->rand, config->seed);
    int rc = tables_open(m, zn_rand_u64(&m->rand));
    if (rc != 0) {
        zn_mesh_close(&m);
        return rc;
    }
    for (int p = 0; p < (int)m->n; p++)
        zn_peer_open(m, p);
    *out = m;
    return 0;
}

static void references_drop(struct zn_mesh *m)
{
    for (uint32_t i = 0; m->calls && i < m->calls_fresh; i++)
        if (m->calls[i].state != ZN_CALL_FREE)
            zn_call_free(m, &m->calls[i]);
    for (uint32_t i = 0; m->served && i < m->served_fresh; i++)
        zn_blob_drop(&m->served[i].reply);
}

void zn_mesh_close(struct zn_mesh **mesh)
{
    struct zn_mesh *m = *mesh;
    if (!m)
        return;
    references_drop(m);
    zn_heap_free(&m->heap);
    zn_index_free(&m->origins_by_id);
    zn_index_free(&m->served_by_id);
    zn_index_free(&m->calls_by_id);
    free(m->origins);
    free(m->served);
    free(m->lives);
    free(m->tracks);
    free(m->rows);
    free(m->calls);
    zn_peers_drop(&m->peer_file);
    free(m);
    *mesh = NULL;
}

/* ---- stepping ---- */

void zn_mesh_enter(struct zn_mesh *m, enum zn_phase phase)
{
    if (m->phase < phase)
        m->phase = phase;
}

/* Links are wanted in the first step, since actions can only be emitted there. */
static void begin(struct zn_mesh *m)
{
    zn_mesh_enter(m, ZN_PHASE_RUNNING);
    for (int p = 0; p < (int)m->n; p++)
        if (p != m->self && (m->via_only < 0 || m->via_only == p))
            zn_peer_want(m, p);
}

static void tick(struct zn_mesh *m)
{
    /* The worst timer is that of a peer that goes down under every open call. What there is no room
     * for stays due. */
    size_t room = 2 * (size_t)m->limits.calls_max + m->n;
    struct zn_timer *t;
    while (m->out->n + room < m->out_max && (t = zn_heap_pop_due(&m->heap, m->now_us)) != NULL) {
        if (t->tag & ZN_TAG_PEER)
            zn_peer_tick(m, (int)(t->tag & ~ZN_TAG_PEER));
        else
            zn_call_tick(m, &m->calls[t->tag]);
    }
}

/* What came on our own link to a peer: answers to what we asked there. */
static void link_message(struct zn_mesh *m, int peer, struct zn_msg *msg)
{
    zn_count(m, ZN_COUNT_messages_in);
    zn_peer_heard(m, peer);
    switch (msg->kind) {
    case ZN_HELLO: zn_peer_hello_answer(m, peer, msg); break;
    case ZN_PONG: zn_peer_pong(m, peer, msg); break;
    case ZN_REPLY: zn_call_reply(m, peer, msg); return;
    case ZN_LEGACY: zn_original_answer(m, peer, msg); return;
    default: zn_count_bad(m, ZN_COUNT_unknown_kind, peer); return;
    }
    if (m->peers[peer].greeting == ZN_GREET_DONE)
        zn_reach_hear(m, peer, msg);
}

static void bad_input(struct zn_mesh *m, const struct zn_event *in)
{
    const struct zn_msg unread = {.kind = ZN_REPLY};
    zn_count_bad(m, in->counter, in->peer);
    if (in->type == ZN_EV_BAD && in->route)
        zn_serve_refuse(m, in->route, &unread, in->code);
}

static void dispatch(struct zn_mesh *m, const struct zn_event *in)
{
    switch (in->type) {
    case ZN_EV_TICK: tick(m); return;
    case ZN_EV_FLUSH: assert(false); return;
    case ZN_EV_LINK_UP: zn_peer_link_up(m, in->peer); return;
    case ZN_EV_LINK_LOST: zn_peer_link_lost(m, in->peer); return;
    case ZN_EV_LINK_FAILED: zn_peer_link_failed(m, in->peer, in->why); return;
    case ZN_EV_LINK_WRITABLE: zn_peer_writable(m, in->peer); return;
    case ZN_EV_LINK_GAP: zn_peer_link_gap(m, in->peer); return;
    case ZN_EV_SEND_FAILED: zn_flush_failed(m, in->peer); return;
    case ZN_EV_LINK_MSG: link_message(m, in->peer, in->msg); return;
    case ZN_EV_ROUTE_MSG:
        zn_serve(m, &(struct zn_from){in->route, in->connection}, in->msg);
        return;
    case ZN_EV_CALL: zn_call_begin(m, in->call); return;
    case ZN_EV_ANSWER: zn_serve_answer(m, in->token, in->code, in->body); return;
    case ZN_EV_COUNT:
    case ZN_EV_BAD: bad_input(m, in); return;
    case ZN_EV_DRAIN: zn_mesh_enter(m, ZN_PHASE_DRAINING); return;
    case ZN_EV_CLOSE: zn_calls_close(m); return;
    case ZN_EV_BYE: zn_peers_say_bye(m); return;
    }
    assert(false);
}

int zn_mesh_step(struct zn_mesh *m, uint64_t now_us, const struct zn_event *in,
                 struct zn_actions *out)
{
    out->n = 0;
    m->out = out;
    m->out_max = zn_mesh_actions_max(m);
    uint64_t before_us = m->now_us;
    if (now_us > m->now_us)
        m->now_us = now_us;
    zn_peers_forgive(m, before_us);
    zn_flush_free_answered(m);
    zn_calls_free_ended(m);
    if (m->phase == ZN_PHASE_OPENED)
        begin(m);
    if (in->type == ZN_EV_FLUSH)
        return zn_flush(m);
    dispatch(m, in);
    return 0;
}

uint64_t zn_mesh_next_us(const struct zn_mesh *m)
{
    return m->phase == ZN_PHASE_OPENED ? 0 : zn_heap_next_us(&m->heap);
}

/* Each open call can complete and report progress in one step, and a tick wants room for that twice,
 * so that one such timer does not end it. */
size_t zn_mesh_actions_max(const struct zn_mesh *m)
{
    return 4 * (size_t)m->limits.calls_max + 4 * (size_t)m->n + ZN_BATCH_MESSAGES_MAX;
}
