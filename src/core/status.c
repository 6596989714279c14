/* SPDX-License-Identifier: MIT */
/*
 * Counters and snapshots: core only counts, whoever looks formats.
 *
 * A snapshot is written into the mesh itself and lives until the next step, so that taking one
 * allocates nothing and an answer to STATUS can point to it.
 */
#include "core/core.h"

#include <assert.h>

const char *zn_counter_name(enum zn_counter counter)
{
    static const char *const names[ZN_COUNTERS_N] = {
#define ZN_COUNTER_NAME(name, unit, help) [ZN_COUNT_##name] = #name,
        ZN_COUNTERS(ZN_COUNTER_NAME)
#undef ZN_COUNTER_NAME
    };
    assert(counter < ZN_COUNTERS_N);
    return names[counter];
}

void zn_count(struct zn_mesh *m, enum zn_counter c) { m->counters[c]++; }

void zn_mesh_count(struct zn_mesh *m, enum zn_counter counter) { zn_count(m, counter); }

void zn_count_bad(struct zn_mesh *m, enum zn_counter c, int peer)
{
    m->counters[c]++;
    if (m->noted[c] != 0 && m->now_us - m->noted_us[c] < ZN_SECOND)
        return;
    struct zn_action *a = zn_emit(m, ZN_ACT_NOTE);
    a->peer = peer;
    a->note = (struct zn_note){
        .id = ZN_NOTE_BAD_INPUT,
        .peer = peer,
        .cause = "",
        .counter = c,
        .count = m->counters[c] - m->noted[c],
    };
    m->noted[c] = m->counters[c];
    m->noted_us[c] = m->now_us;
}

static struct zmqnet_peer_status peer_view(const struct zn_mesh *m, int peer, uint64_t now_us)
{
    const struct zn_peer *p = &m->peers[peer];
    return (struct zmqnet_peer_status){
        .name = p->name,
        .endpoint = m->peer_file->replicas[peer].endpoint,
        .state = p->state,
        .since_us = now_us - p->since_us,
        .cause = zn_peer_cause(m, peer, p->why),
        .rtt_us = p->rtt.smooth_us,
        .queue_messages = p->queue.n,
        .queue_bytes = p->queue.bytes,
        .inflight = p->flight.n,
        .sent = p->sent,
        .acked = p->acked,
        .refused = p->refused,
        .unknown = p->unknown,
        .never_sent = p->never_sent,
        .retries = p->retries,
        .late = p->late,
        .config_differs = p->config_differs,
    };
}

/* Looking is no step: the clock of the mesh stays, since the next step tells by it how late our own
 * loop was. */
const zmqnet_status *zn_mesh_status(struct zn_mesh *m, uint64_t now_us)
{
    if (now_us < m->now_us)
        now_us = m->now_us;
    for (int p = 0; p < (int)m->n; p++)
        m->view_peers[p] = peer_view(m, p, now_us);
    for (enum zn_counter c = 0; c < ZN_COUNTERS_N; c++)
        m->view_counters[c] = (struct zmqnet_counter){zn_counter_name(c), m->counters[c]};
    m->view = (zmqnet_status){
        .name = m->self_name,
        .pattern = m->pattern,
        .life = m->life,
        .uptime_us = now_us - m->opened_us,
        .peers_n = m->n,
        .peers = m->view_peers,
        .counters_n = ZN_COUNTERS_N,
        .counters = m->view_counters,
        .rows_n = zn_reach_view(m, now_us),
        .rows = m->view_rows,
    };
    return &m->view;
}
