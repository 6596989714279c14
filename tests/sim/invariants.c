/* SPDX-License-Identifier: MIT */
/*
 * What must hold whatever happens (docs/promises.md), checked against a ghost that knows what really
 * ran where.
 *
 *     a call completes exactly once, and in time if its process runs
 *     a handler runs at most once for an id in one life, and in all lives unless the call is idempotent
 *     a receipt has a row for each replica in order, and no row says what did not happen:
 *     "acked" and "refused" are what the handler returned, "never_sent" never ran and never will
 *     the numbers of a receipt are those of its rows
 *     nothing is lost in silence: what was sent is acked, refused, unknown or still open
 *     queues and windows keep their limits
 *     while a majority is well, a broadcast to a majority is quick, whatever the others do
 *     nobody who runs and answers is called silent, however long its handler takes
 *     what a handler has acked long before the end is acked in the receipt
 *
 * They hold in every pattern. What differs by design:
 *
 *     reqrep   one message is under way on a link, not a window of them. An answer that comes when the
 *              lock step has moved on is dropped (pattern.c) and asked for again: so the last of these
 *              rules allows for a ping that came in between, and no rule looks at the counter `late`
 *     pubsub   what is lost alone may be a ping or its answer: while such losses are to be expected,
 *              the last three rules are not held
 *     the original program has no dedup, so "once in one life" is for it "once, unless the call is
 *              idempotent". It answers one message at a time, pings never: so it may be called silent
 *              while its handler takes long, and is no part of a majority that is well
 *
 * The first breach is kept, ends the run, and makes it fail. Two processes under one name make what
 * ran "at a replica" meaningless, so with impostors only the rules without a ghost are held.
 */
#include "sim.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#define LATE_US 1000 /* a turn of the loop, at most, after the deadline */
#define CALM_LINK_US (100 * ZN_MS)
#define CALM_SERVED_MIN 1024
#define QUIET_US (4 * ZN_SECOND) /* after a fault, until everybody has found out */
#define ACK_WAITS_US (1500 * ZN_MS)
#define ROOMY_FRAMES_MIN 100

void sim_fail(struct sim *s, const char *format, ...)
{
    if (s->failed)
        return;
    s->failed = true;
    va_list args;
    va_start(args, format);
    vsnprintf(s->failure, sizeof s->failure, format, args);
    va_end(args);
    sim_say(s, "BROKEN: %s", s->failure);
}

/* ---- the ghost ---- */

static struct sim_ghost *ghost_of(struct sim *s, struct zmqnet_id id)
{
    size_t bucket = (size_t)((id.origin ^ id.seq * 0x9e3779b97f4a7c15ull) % SIM_GHOST_BUCKETS);
    for (struct sim_ghost *g = s->ghosts[bucket]; g; g = g->next)
        if (g->id.origin == id.origin && g->id.seq == id.seq)
            return g;
    struct sim_ghost *g = calloc(1, sizeof *g);
    if (!g)
        abort();
    g->id = id;
    g->next = s->ghosts[bucket];
    s->ghosts[bucket] = g;
    return g;
}

void sim_ghost_free(struct sim *s)
{
    for (size_t b = 0; b < SIM_GHOST_BUCKETS; b++)
        for (struct sim_ghost *g; (g = s->ghosts[b]); free(g))
            s->ghosts[b] = g->next;
}

static bool has_ghost(const struct sim *s, struct zmqnet_id id)
{
    return !s->impostors && id.origin != 0;
}

void sim_ghost_sent(struct sim *s, const struct zn_msg *msg)
{
    if (has_ghost(s, msg->id) && (msg->kind == ZN_REQUEST || msg->kind == ZN_SUBMIT))
        ghost_of(s, msg->id)->idempotent |= msg->idempotent;
}

void sim_ghost_ran(struct sim *s, int node, struct zmqnet_id id)
{
    if (!has_ghost(s, id))
        return;
    const struct sim_node *n = &s->nodes[node];
    struct sim_ghost *g = ghost_of(s, id);
    struct sim_truth *t = &g->at[n->self];
    char text[128];
    sim_id_text(s, id, text, sizeof text);
    if (t->life_n != n->life_n)
        t->runs_in_life = 0;
    t->life_n = n->life_n;
    t->runs++;
    t->runs_in_life++;
    if (t->runs_in_life > 1 && (n->mesh || !g->idempotent))
        sim_fail(s, "%s ran %s twice in one life", n->name, text);
    else if (t->runs > 1 && !g->idempotent)
        sim_fail(s, "%s ran %s in two lives", n->name, text);
    else if (t->never)
        sim_fail(s, "%s ran %s, which a receipt had called never_sent", n->name, text);
}

void sim_ghost_answered(struct sim *s, int node, struct zmqnet_id id, int code)
{
    if (!has_ghost(s, id))
        return;
    struct sim_truth *t = &ghost_of(s, id)->at[s->nodes[node].self];
    if (code == 0 && !t->acked)
        t->acked_us = s->now_us;
    t->acked |= code == 0;
    t->refused |= code != 0;
    if (code != 0)
        t->code = code;
}

/* ---- two that are well ---- */

static bool is_whole(const struct sim *s)
{
    return !s->impostors && !s->loss_ppm && !s->dup_ppm && !s->reorder && !s->unread_ppm;
}

/* Nothing has come between the two since then, and each of them has run all the time. */
static bool is_quiet(const struct sim *s, int node, int peer, uint64_t since_us)
{
    const struct sim_node *n = &s->nodes[node], *p = &s->nodes[peer];
    const struct sim_link *l = &n->links[peer];
    return is_whole(s) && s->network_us <= since_us && n->changed_us <= since_us &&
           p->changed_us <= since_us && s->cut_us[node][peer] <= since_us &&
           s->cut_us[peer][node] <= since_us && !s->cut[node][peer] && !s->cut[peer][node] &&
           p->alive && !p->stopped && !p->ending && l->to == peer && l->to_life == p->life_n &&
           l->up_us <= since_us && !l->lose;
}

void sim_ghost_down(struct sim *s, int node, int peer, enum zn_why why)
{
    if (why == ZN_WHY_SILENT && s->now_us > QUIET_US && sim_has_mesh(s, peer) &&
        is_quiet(s, node, peer, s->now_us - QUIET_US))
        sim_fail(s, "%s calls %s down (%s), which is well", s->nodes[node].name,
                 s->nodes[peer].name, zn_why_text(why));
}

/* ---- completions ---- */

static struct sim_call *call_of(struct sim *s, int node, uint64_t tag, const char *what)
{
    if (tag == 0 || tag > s->calls_n || s->calls[tag].node != node ||
        s->calls[tag].life_n != s->nodes[node].life_n || !s->calls[tag].begun) {
        sim_fail(s, "%s: %s for a call that it does not have", s->nodes[node].name, what);
        return NULL;
    }
    return &s->calls[tag];
}

static int replica_of(const struct sim *s, const char *name)
{
    for (int i = 0; i < s->replicas_n; i++)
        if (strcmp(s->nodes[i].name, name) == 0)
            return i;
    return -1;
}

static bool row_is_true(const struct sim_truth *t, const struct zn_row *r)
{
    switch (r->outcome) {
    case ZMQNET_SELF:
    case ZMQNET_ACKED: return t->acked;
    case ZMQNET_REFUSED: return t->refused && t->code == r->code;
    case ZMQNET_UNACKED: return true;
    case ZMQNET_NEVER_SENT: return t->runs == 0;
    }
    return false;
}

static void check_row(struct sim *s, uint64_t tag, struct zmqnet_id id, const struct zn_row *r)
{
    int replica = replica_of(s, r->name);
    char text[128];
    if (replica < 0) {
        sim_fail(s, "call %" PRIu64 ": a row for %s", tag, r->name);
        return;
    }
    if (!has_ghost(s, id))
        return;
    struct sim_truth *t = &ghost_of(s, id)->at[replica];
    if (!row_is_true(t, r))
        sim_fail(s, "call %" PRIu64 " %s: the row of %s says %s, but it ran %" PRIu32 " times%s%s",
                 tag, sim_id_text(s, id, text, sizeof text), r->name,
                 zmqnet_outcome_name(r->outcome), t->runs, t->acked ? ", acked" : "",
                 t->refused ? ", refused" : "");
    if (r->outcome == ZMQNET_NEVER_SENT)
        t->never = true;
}

/* Our own call, and no table was so small that the answer may have been forgotten. */
static void check_acks(struct sim *s, int node, const struct zn_action *a)
{
    const struct sim_node *n = &s->nodes[node];
    char text[128];
    for (size_t i = 0; i < a->done.rows_n; i++) {
        const struct zn_row *r = &a->done.rows[i];
        int peer = replica_of(s, r->name);
        if (peer < 0 || peer == node || r->outcome != ZMQNET_UNACKED || !has_ghost(s, a->done.id))
            continue;
        const struct sim_truth *t = &ghost_of(s, a->done.id)->at[peer];
        if (t->acked && s->now_us - t->acked_us > ACK_WAITS_US &&
            is_quiet(s, node, peer, t->acked_us))
            sim_fail(s, "%s %s: %s acked it %" PRIu64 "us ago, but the row says %s (%s)", n->name,
                     sim_id_text(s, a->done.id, text, sizeof text), r->name,
                     s->now_us - t->acked_us, zmqnet_outcome_name(r->outcome), r->why);
    }
}

static bool has_roomy_tables(const struct sim_node *n)
{
    return n->tables.served == 0 || n->tables.served >= CALM_SERVED_MIN;
}

static bool is_roomy(const struct sim *s, const struct sim_node *n)
{
    return has_roomy_tables(n) && s->options.pipe_frames_max >= ROOMY_FRAMES_MIN;
}

void sim_ghost_progress(struct sim *s, int node, const struct zn_action *a)
{
    struct sim_call *c = call_of(s, node, a->tag, "progress");
    if (!c)
        return;
    int replica = replica_of(s, a->row->name);
    sim_say(s, "%s progress call=%" PRIu64 " %s %s", s->nodes[node].name, a->tag, a->row->name,
            zmqnet_outcome_name(a->row->outcome));
    check_row(s, a->tag, a->id, a->row);
    if (replica < 0)
        return;
    if (c->progressed >> replica & 1)
        sim_fail(s, "call %" PRIu64 ": progress for %s twice", a->tag, a->row->name);
    c->progressed |= 1ull << replica;
    c->progress[replica] = a->row->outcome;
}

static uint32_t need_of(const struct sim *s, int32_t quorum)
{
    uint32_t n = (uint32_t)s->replicas_n;
    if (quorum == ZMQNET_QUORUM_ALL)
        return n;
    return quorum < 0 ? n / 2 + 1 : (uint32_t)quorum;
}

static void check_broadcast(struct sim *s, const struct sim_call *c, const struct zn_action *a)
{
    const struct zn_done *d = &a->done;
    uint32_t have = 0;
    if (d->rows_n != (size_t)s->replicas_n) {
        sim_fail(s, "call %" PRIu64 ": %zu rows", a->tag, d->rows_n);
        return;
    }
    for (int i = 0; i < s->replicas_n; i++) {
        const struct zn_row *r = &d->rows[i];
        if (strcmp(r->name, s->nodes[i].name) != 0)
            sim_fail(s, "call %" PRIu64 ": row %d is that of %s", a->tag, i, r->name);
        if (r->outcome == ZMQNET_SELF && i != d->via)
            sim_fail(s, "call %" PRIu64 ": %s is `self` but not the coordinator", a->tag, r->name);
        if ((c->progressed >> i & 1) && c->progress[i] != r->outcome)
            sim_fail(s, "call %" PRIu64 ": progress and receipt differ for %s", a->tag, r->name);
        have += r->outcome == ZMQNET_SELF || r->outcome == ZMQNET_ACKED;
    }
    if (d->have != have)
        sim_fail(s, "call %" PRIu64 ": have=%" PRIu32 ", rows say %" PRIu32, a->tag, d->have, have);
    if (d->need != need_of(s, c->spec.quorum))
        sim_fail(s, "call %" PRIu64 ": need=%" PRIu32, a->tag, d->need);
    if ((d->status == 0) != (have >= d->need))
        sim_fail(s, "call %" PRIu64 ": %s with %" PRIu32 " of %" PRIu32, a->tag,
                 zmqnet_error_name(d->status), have, d->need);
}

static int status_of(enum zmqnet_outcome outcome)
{
    switch (outcome) {
    case ZMQNET_SELF:
    case ZMQNET_ACKED: return 0;
    case ZMQNET_REFUSED: return ZMQNET_EREFUSED;
    case ZMQNET_UNACKED: return ZMQNET_EUNKNOWN;
    case ZMQNET_NEVER_SENT: return ZMQNET_ENEVERSENT;
    }
    return ZMQNET_EINVAL;
}

static void check_request(struct sim *s, const struct sim_call *c, const struct zn_action *a)
{
    const struct zn_done *d = &a->done;
    int target = c->spec.target >= 0 ? c->spec.target : d->via;
    if (target < 0 && d->rows_n == 0 && d->status == ZMQNET_ENEVERSENT)
        return;
    if (d->rows_n != 1 || target < 0 || strcmp(d->rows[0].name, s->nodes[target].name) != 0)
        sim_fail(s, "call %" PRIu64 ": a request has one row, that of whom it asked", a->tag);
    else if (d->status != status_of(d->rows[0].outcome))
        sim_fail(s, "call %" PRIu64 ": %s, but the row says %s", a->tag,
                 zmqnet_error_name(d->status), zmqnet_outcome_name(d->rows[0].outcome));
}

static uint64_t calm_us(const struct sim *s) { return 8 * s->delay_max_us + 2 * ZN_MS; }

static void check_time(struct sim *s, int node, const struct sim_call *c, uint64_t tag)
{
    uint64_t deadline_us = c->begun_us + c->spec.timeout_us;
    if (deadline_us < s->nodes[node].resumed_us)
        deadline_us = s->nodes[node].resumed_us;
    if (s->now_us > deadline_us + LATE_US)
        sim_fail(s, "call %" PRIu64 " completed %" PRIu64 "us after its deadline", tag,
                 s->now_us - deadline_us);
    bool slow = s->now_us - c->begun_us > calm_us(s) || c->status != 0;
    if (c->calm && c->faults == s->faults && slow)
        sim_fail(s, "call %" PRIu64 ": a majority was well, but it took %" PRIu64 "us and ended %s",
                 tag, s->now_us - c->begun_us, zmqnet_error_name(c->status));
}

/* Refused before it began: there is nothing that could have become of it. */
static bool is_turned_away(const struct zn_done *d)
{
    return d->rows_n == 0 && d->id.origin == 0 &&
           (d->status == ZMQNET_EFULL || d->status == ZMQNET_ECLOSED);
}

void sim_ghost_done(struct sim *s, int node, const struct zn_action *a)
{
    struct sim_call *c = call_of(s, node, a->tag, "completion");
    if (!c)
        return;
    c->status = a->done.status;
    c->done_us = s->now_us;
    if (++c->done_n > 1)
        sim_fail(s, "call %" PRIu64 " completed %" PRIu32 " times", a->tag, c->done_n);
    check_time(s, node, c, a->tag);
    if (is_turned_away(&a->done) || c->spec.ask == ZN_ASK_STATUS)
        return;
    if (c->spec.ask == ZN_ASK_ALL)
        check_broadcast(s, c, a);
    else
        check_request(s, c, a);
    for (size_t i = 0; i < a->done.rows_n; i++)
        check_row(s, a->tag, a->done.id, &a->done.rows[i]);
    if (s->nodes[node].self == node && is_roomy(s, &s->nodes[node]))
        check_acks(s, node, a);
}

/* ---- a majority that is well ---- */

static uint64_t window_max(const struct sim_node *n)
{
    if (sim_patterns[n->pattern].lock_step)
        return 1;
    return n->tables.window ? n->tables.window : ZN_WINDOW_MESSAGES_MAX;
}

static bool peer_is_well(const struct sim *s, int node, int peer,
                         const struct zmqnet_peer_status *view)
{
    const struct sim_node *n = &s->nodes[node], *p = &s->nodes[peer];
    const struct sim_link *l = &n->links[peer];
    return p->mesh && !p->stopped && !p->ending && p->handler.kind == SIM_HANDLER_ACK &&
           !s->cut[node][peer] && !s->cut[peer][node] && l->state == SIM_LINK_UP && l->to == peer &&
           l->to_life == p->life_n && s->now_us - l->up_us > CALM_LINK_US && !l->lose &&
           view->state == ZMQNET_UP && view->queue_messages == 0 &&
           2 * view->inflight < window_max(n);
}

/* Nothing but a new fault may make this call slow. */
bool sim_calm(struct sim *s, int node, const struct zn_call_spec *spec)
{
    const struct sim_node *n = &s->nodes[node];
    bool roomy = has_roomy_tables(n);
    if (n->self < 0 || n->ending || spec->ask != ZN_ASK_ALL || n->self != node || !roomy ||
        spec->quorum != ZMQNET_QUORUM_MAJORITY || n->handler.kind != SIM_HANDLER_ACK ||
        s->now_us < s->calm_from_us || spec->timeout_us <= calm_us(s))
        return false;
    /* One that was stopped has not heard yet which of its links are others by now. */
    if (n->resumed_us != 0 && s->now_us - n->resumed_us <= CALM_LINK_US)
        return false;
    const zmqnet_status *view = zn_mesh_status(n->mesh, s->now_us);
    int well = 1;
    for (int p = 0; p < s->replicas_n; p++)
        well += p != node && peer_is_well(s, node, p, &view->peers[p]);
    return well >= s->replicas_n / 2 + 1;
}

/* ---- after each turn, and at the end ---- */

static uint64_t limit_or(uint32_t limit, uint64_t most) { return limit ? limit : most; }

static void check_peer_view(struct sim *s, int node, const struct zmqnet_peer_status *p)
{
    const struct sim_node *n = &s->nodes[node];
    uint64_t settled = p->acked + p->refused + p->unknown;
    uint64_t window = window_max(n);
    uint64_t queue = limit_or(n->tables.queue, ZN_QUEUE_MESSAGES_MAX);
    /* Rows that are sent again wait in the queue too, beyond its limit, but never more than the
     * window held. A row whose every sending was turned away is sent and yet never_sent. */
    if (p->inflight > window || p->queue_messages > queue + window)
        sim_fail(s, "%s: %" PRIu64 " queued and %" PRIu64 " in flight for %s", n->name,
                 p->queue_messages, p->inflight, p->name);
    if (n->tables.queue_bytes && p->queue_messages <= queue &&
        p->queue_bytes > n->tables.queue_bytes + window * s->options.message_max)
        sim_fail(s, "%s: %" PRIu64 " bytes queued for %s", n->name, p->queue_bytes, p->name);
    if (p->sent < settled || p->sent < settled + p->inflight ||
        p->sent > settled + p->never_sent + p->inflight + p->queue_messages)
        sim_fail(s,
                 "%s: of %" PRIu64 " rows sent to %s %" PRIu64 " are settled, %" PRIu64
                 " in flight, %" PRIu64 " queued, %" PRIu64 " never sent",
                 n->name, p->sent, p->name, settled, p->inflight, p->queue_messages, p->never_sent);
}

void sim_check_node(struct sim *s, int node)
{
    const zmqnet_status *view = zn_mesh_status(s->nodes[node].mesh, s->now_us);
    for (size_t p = 0; p < view->peers_n; p++)
        check_peer_view(s, node, &view->peers[p]);
}

/* Everything has had time to come to rest: nothing may be open any more. */
void sim_check_end(struct sim *s)
{
    for (uint64_t t = 1; t <= s->calls_n && !s->failed; t++) {
        const struct sim_call *c = &s->calls[t];
        if (c->begun && !c->forgotten && c->done_n != 1)
            sim_fail(s, "call %" PRIu64 " completed %" PRIu32 " times", t, c->done_n);
    }
    for (int i = 0; i < s->nodes_n && !s->failed; i++) {
        const struct sim_node *n = &s->nodes[i];
        if (!n->mesh)
            continue;
        size_t unanswered = 0;
        for (const struct sim_pending *p = n->pending; p; p = p->next)
            unanswered++;
        if (zn_mesh_open_count(n->mesh) > unanswered)
            sim_fail(s, "%s still has %zu things open", n->name, zn_mesh_open_count(n->mesh));
        const zmqnet_status *view = zn_mesh_status(n->mesh, s->now_us);
        for (size_t p = 0; p < view->peers_n && !s->failed; p++)
            if (view->peers[p].queue_messages || view->peers[p].inflight)
                sim_fail(s, "%s still holds rows for %s", n->name, view->peers[p].name);
    }
}
