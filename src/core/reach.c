/* SPDX-License-Identifier: MIT */
/*
 * Who reaches whom: each replica tells the state of its own links, its row, to every peer, and keeps
 * the rows that it was told.
 *
 * A row travels in messages that leave anyway (hello, ping, pong) and never wakes anybody. It is taken
 * only from the replica that it is about, on a connection of its hello, and is never told on: whoever
 * wants more asks several replicas for their status. Links stand in the order of the names, so that
 * peers files with other addresses or another order can be read; one with other names can not, and
 * its rows are left out.
 *
 * A row changes nothing here: no state, no quorum, no outcome looks at it. It is forgotten when it
 * should have been heard again, twice.
 */
#include "core/core.h"

#include <assert.h>

/* Numbers of the wire: docs/wire.md, section 8. 0 is none. */
static const enum zn_why causes[] = {
    ZN_WHY_NONE,       ZN_WHY_CONNECTING, ZN_WHY_REFUSED,   ZN_WHY_UNREACHABLE, ZN_WHY_TIMEOUT,
    ZN_WHY_UNRESOLVED, ZN_WHY_RESET,      ZN_WHY_HANDSHAKE, ZN_WHY_NO_HELLO,    ZN_WHY_SILENT,
    ZN_WHY_RESTARTED,  ZN_WHY_LEFT,       ZN_WHY_NAME,      ZN_WHY_OURSELVES,   ZN_WHY_STRANGER,
    ZN_WHY_VERSION,    ZN_WHY_PATTERN,    ZN_WHY_ORIGINAL,  ZN_WHY_CLASH,       ZN_WHY_REJECTED,
    ZN_WHY_LATE,
};
#define CAUSES_N (sizeof causes / sizeof causes[0])
#define CAUSE_OTHER 255

static uint8_t cause_of(enum zn_why why)
{
    for (size_t i = 0; i < CAUSES_N; i++)
        if (causes[i] == why)
            return (uint8_t)i;
    return CAUSE_OTHER;
}

const char *zn_reach_cause_text(unsigned cause)
{
    return cause < CAUSES_N ? zn_why_text(causes[cause]) : "another cause";
}

static struct zmqnet_link link_of(const struct zn_mesh *m, int peer)
{
    const struct zn_peer *p = &m->peers[peer];
    return (struct zmqnet_link){
        .state = (uint8_t)p->state,
        .cause = peer == m->self ? 0 : cause_of(p->why),
    };
}

/* Between replicas; what is told a client or refused has another type. */
void zn_reach_tell(struct zn_mesh *m, struct zn_msg *msg)
{
    bool carries = msg->kind == ZN_HELLO || msg->kind == ZN_PING || msg->kind == ZN_PONG;
    if (zn_is_client(m) || !carries || msg->type != ZN_BOUNCE)
        return;
    for (uint32_t i = 0; i < m->n; i++)
        m->links[i] = link_of(m, m->peer_file->sorted[i]);
    msg->links = m->links;
    msg->links_n = m->n;
    msg->names_hash = m->peer_file->names_hash;
}

void zn_reach_hear(struct zn_mesh *m, int peer, const struct zn_msg *msg)
{
    struct zn_heard *h = &m->heard[peer];
    assert(peer != m->self);
    if (msg->links_n != m->n || msg->names_hash != m->peer_file->names_hash)
        return;
    h->at_us = m->now_us > 0 ? m->now_us : 1;
    for (uint32_t i = 0; i < m->n; i++)
        h->links[m->peer_file->sorted[i]] = msg->links[i];
}

size_t zn_reach_view(struct zn_mesh *m, uint64_t now_us)
{
    uint64_t keep_us = 2 * zn_peer_idle_us(m) + ZN_REACH_US;
    size_t n = 0;
    for (int p = 0; p < (int)m->n; p++) {
        const struct zn_heard *h = &m->heard[p];
        uint64_t age_us = now_us - h->at_us;
        if (h->at_us == 0 || age_us > keep_us)
            continue;
        m->view_rows[n++] = (struct zmqnet_heard){m->peers[p].name, age_us, h->links};
    }
    return n;
}
