/* SPDX-License-Identifier: MIT */
/*
 * What each process says of the others, against what the simulation knows of them: the rules of the
 * failure detector (docs/failure-detector.md) and of the rows that replicas tell each other.
 *
 *     nobody who runs and answers is down or suspect for who can reach it, however long its handler
 *     takes, and whoever has just gone on after a stop of its own
 *     who was stopped, cut off or ended for DEAD_US is not up for anybody who runs
 *     a row is no older than it may be, and not of a time when its replica could not have told it
 *     when all is well again everybody is up for everybody, and each row says what its replica says
 *     looking changes nothing
 *
 * What is excused: for SIM_QUIET_US after a fault between the two nothing is held against who accuses;
 * a fault of the accused or of the network is one, a frame that was lost alone, and a change of the
 * accuser, but for a stop: then all must have been quiet before it. Who is far away, or whose link may
 * be full, may be suspect. Two processes under one name excuse everything.
 */
#include "sim.h"

#include <inttypes.h>
#include <string.h>

#include "core/core.h"

/* In lock step the last ping that the fault has lost is waited for to the end. */
#define QUIET_LOCK_STEP_US (ZN_DOWN_PATIENCES * ZN_PATIENCE_MAX_US + ZN_SECOND)
/* What is on the way comes within this, and is read. */
#define ON_THE_WAY_US ZN_SECOND
/* "Times until down", the worst case by default: I + 3 P with each at its bound. Up to 14 replicas I is
 * the ping interval; no schedule has so many bodies on their way that a transfer takes a second. */
#define DEAD_US (ZN_PING_US + ZN_DOWN_PATIENCES * ZN_PATIENCE_MAX_US)
/* A row is forgotten when it should have been heard again, twice. */
#define ROW_KEPT_US (2 * ZN_PING_US + ZN_REACH_US)
/* It is told with each ping and pong: after so long everybody has heard of a move. */
#define ROW_TOLD_US (2 * ZN_PING_US + ON_THE_WAY_US)

/* ---- looking ---- */

const zmqnet_status *sim_look(struct sim *s, int node)
{
    struct zn_mesh *m = s->nodes[node].mesh;
    uint64_t now_us = m->now_us, next_us = zn_mesh_next_us(m);
    const zmqnet_status *view = zn_mesh_status(m, sim_clock(s, node));
    if (m->now_us != now_us || zn_mesh_next_us(m) != next_us)
        sim_fail(s, "%s is another one after it was looked at", s->nodes[node].name);
    return view;
}

/* ---- nobody who is well is accused ---- */

bool sim_is_quiet(const struct sim *s, int node, int peer, uint64_t since_us)
{
    const struct sim_node *p = &s->nodes[peer];
    const struct sim_link *l = &s->nodes[node].links[peer];
    return sim_is_whole(s) && s->network_us <= since_us && p->changed_us <= since_us &&
           s->cut_us[node][peer] <= since_us && s->cut_us[peer][node] <= since_us &&
           s->lagged_us[node][peer] <= since_us && s->lagged_us[peer][node] <= since_us &&
           !s->cut[node][peer] && !s->cut[peer][node] && p->alive && !p->stopped && !p->ending &&
           l->to == peer && l->to_life == p->life_n && l->up_us <= since_us && !l->lose;
}

/* Since when nothing may have happened, if it is to accuse nobody; 0: it is excused. A stop of its own
 * is no excuse: what was quiet before it is quiet after it. */
static uint64_t quiet_since_us(const struct sim *s, int node)
{
    const struct sim_node *n = &s->nodes[node];
    bool lock_step = sim_patterns[n->pattern].lock_step;
    uint64_t quiet_us = lock_step ? QUIET_LOCK_STEP_US : SIM_QUIET_US;
    bool woke = n->woke_us == n->changed_us && s->now_us - n->woke_us < quiet_us;
    uint64_t changed_us = woke ? n->before_us : n->changed_us;
    uint64_t until_us = woke ? n->asleep_us : s->now_us;
    return until_us > quiet_us && changed_us <= until_us - quiet_us ? until_us - quiet_us : 0;
}

/* Its answer is not overdue even once, in a network as slow as any schedule has. */
static bool is_near(const struct sim *s, int node, int peer)
{
    return !s->lag_us[node][peer] && !s->lag_us[peer][node] &&
           s->options.pipe_frames_max >= SIM_ROOMY_FRAMES_MIN;
}

/* A hello is answered at once, so a link need not be quiet for longer than it is up. */
static bool is_accused_falsely(const struct sim *s, int node, int peer, enum zn_why why)
{
    uint64_t since_us =
        why == ZN_WHY_NO_HELLO ? s->nodes[node].links[peer].up_us : quiet_since_us(s, node);
    return since_us != 0 && sim_has_mesh(s, peer) && s->lost_us[node][peer] < since_us &&
           s->lost_us[peer][node] < since_us && sim_is_quiet(s, node, peer, since_us);
}

void sim_ghost_note(struct sim *s, int node, const struct zn_note *note)
{
    struct sim_node *n = &s->nodes[node];
    if (note->peer < 0)
        return;
    bool accuses = note->id == ZN_NOTE_PEER_DOWN ||
                   (note->id == ZN_NOTE_PEER_SUSPECT && is_near(s, node, note->peer));
    if (accuses && is_accused_falsely(s, node, note->peer, note->why))
        sim_fail(s, "%s calls %s %s (%s), which is well", n->name, s->nodes[note->peer].name,
                 note->id == ZN_NOTE_PEER_DOWN ? "down" : "suspect", zn_why_text(note->why));
}

/* ---- who is dead is seen ---- */

static uint64_t earlier(uint64_t a_us, uint64_t b_us) { return a_us < b_us ? a_us : b_us; }
static uint64_t later(uint64_t a_us, uint64_t b_us) { return a_us > b_us ? a_us : b_us; }

/* Since when nothing can come from it; UINT64_MAX: something can. An original program that is stopped
 * is not seen until it is asked. */
static uint64_t mute_since_us(const struct sim *s, int node, int peer)
{
    const struct sim_node *p = &s->nodes[peer];
    uint64_t us = UINT64_MAX;
    if (!p->alive || (p->stopped && p->mesh))
        us = p->changed_us;
    return s->cut[peer][node] ? earlier(us, s->cut_us[peer][node]) : us;
}

/* Since when it cannot answer. */
static uint64_t dead_since_us(const struct sim *s, int node, int peer)
{
    uint64_t us = mute_since_us(s, node, peer);
    return s->cut[node][peer] ? earlier(us, s->cut_us[node][peer]) : us;
}

/* When the last of what it has said can have been read. What a cut holds comes when that is healed. */
static uint64_t last_come_us(const struct sim *s, int node, int peer, uint64_t since_us)
{
    const struct sim_node *n = &s->nodes[node];
    uint64_t us =
        later(later(since_us, n->resumed_us), later(s->cut_us[peer][node], s->network_us));
    return us + ON_THE_WAY_US + n->gap_us;
}

static void check_dead(struct sim *s, int node, int peer, const struct zmqnet_peer_status *p)
{
    const struct sim_node *n = &s->nodes[node];
    uint64_t dead_us = dead_since_us(s, node, peer);
    bool up = p->state == ZMQNET_UP || p->state == ZMQNET_SLOW || p->state == ZMQNET_SUSPECT;
    if (up && n->where[peer] == peer && dead_us != UINT64_MAX &&
        s->now_us > last_come_us(s, node, peer, dead_us) + DEAD_US)
        sim_fail(s, "%s has %s as %s, which cannot answer since %" PRIu64 "us", n->name, p->name,
                 zmqnet_state_name(p->state), s->now_us - dead_us);
}

/* ---- rows ---- */

static void check_row_age(struct sim *s, int node, const struct zmqnet_heard *row)
{
    int peer = sim_find(s, row->name);
    const struct sim_node *n = &s->nodes[node];
    uint64_t mute_us = mute_since_us(s, node, peer), heard_us = s->now_us - row->age_us;
    if (row->age_us > ROW_KEPT_US)
        sim_fail(s, "%s tells what %s said %" PRIu64 "us ago", s->nodes[node].name, row->name,
                 row->age_us);
    if (mute_us != UINT64_MAX && sim_is_whole(s) && !s->lost_us[peer][node] &&
        heard_us > last_come_us(s, node, peer, mute_us))
        sim_fail(s, "%s has heard %s %" PRIu64 "us ago, which could tell nothing", n->name,
                 row->name, row->age_us);
}

void sim_check_views(struct sim *s, int node, const zmqnet_status *view)
{
    if (s->impostors)
        return;
    for (size_t p = 0; p < view->peers_n; p++)
        if ((int)p != node)
            check_dead(s, node, (int)p, &view->peers[p]);
    for (size_t r = 0; r < view->rows_n; r++)
        check_row_age(s, node, &view->rows[r]);
}

/* ---- all is well again ---- */

static const struct zmqnet_heard *row_of(const zmqnet_status *view, const char *name)
{
    for (size_t r = 0; r < view->rows_n; r++)
        if (strcmp(view->rows[r].name, name) == 0)
            return &view->rows[r];
    return NULL;
}

/* What it has heard of the owner's links, against what the owner says. */
static void check_row_is_true(struct sim *s, int node, int owner)
{
    const char *name = s->nodes[owner].name;
    const struct zmqnet_heard *row = row_of(sim_look(s, node), name);
    const zmqnet_status *own = sim_look(s, owner);
    if (!row) {
        sim_fail(s, "all is well again, but %s has not heard of %s", s->nodes[node].name, name);
        return;
    }
    for (size_t p = 0; p < own->peers_n; p++) {
        const struct zmqnet_peer_status *is = &own->peers[p];
        const struct zmqnet_link *said = &row->links[p];
        const char *cause = zn_reach_cause_text(said->cause);
        if (is->since_us > ROW_TOLD_US &&
            (said->state != is->state || strcmp(cause, is->cause) != 0))
            sim_fail(s, "%s has heard that %s is %s (%s) for %s, for which it is %s (%s)",
                     s->nodes[node].name, is->name, zmqnet_state_name(said->state), cause, name,
                     zmqnet_state_name(is->state), is->cause);
    }
}

static void check_all_up(struct sim *s, int node)
{
    const struct sim_node *n = &s->nodes[node];
    const zmqnet_status *view = sim_look(s, node);
    for (int p = 0; p < s->replicas_n; p++) {
        bool wanted = p != node && sim_has_mesh(s, p) && (n->via < 0 || n->via == p);
        enum zmqnet_state state = view->peers[p].state;
        if (wanted && state != ZMQNET_UP && state != ZMQNET_SLOW)
            sim_fail(s, "all is well again, but %s is %s for %s", s->nodes[p].name,
                     zmqnet_state_name(state), n->name);
    }
}

void sim_check_rest(struct sim *s)
{
    for (int i = 0; i < s->nodes_n && !s->failed; i++) {
        if (s->impostors || !sim_has_mesh(s, i))
            continue;
        check_all_up(s, i);
        for (int p = 0; p < s->replicas_n && i < s->replicas_n; p++)
            if (p != i && sim_has_mesh(s, p))
                check_row_is_true(s, i, p);
    }
}
