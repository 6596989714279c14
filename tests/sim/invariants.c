/* SPDX-License-Identifier: MIT */
/*
 * What must hold whatever happens (docs/promises.md), checked against a ghost that knows what really
 * ran where.
 *
 *     a call completes exactly once, and in time if its process runs; then nothing of it is open
 *     a handler runs at most once for an id in one life, and in all lives unless the call is idempotent
 *     a receipt has a row for each replica in order, and no row says what did not happen:
 *     "acked" and "refused" are what the handler returned, "never_sent" never ran and never will
 *     an ack is that of the life which the request first left for, and all copies of a request say
 *     the same; what is not idempotent leaves for one life of a replica, and a client's request for
 *     one coordinator
 *     the numbers of a receipt are those of its rows
 *     nothing is lost in silence: what left was sent, and is acked, refused, unknown or still open;
 *     no more is acked than acks have come
 *     an answer that comes in time counts; what a coordinator refuses goes to nobody
 *     nothing that is under way is told that it is too old, if no table is short of room
 *     queues and windows keep their limits, and no step asks for memory
 *     while those that it needs are well, a call is quick, whatever the others do; and it fails at
 *     once if too many are known to be down
 *     what a broadcast sends to a replica that is well runs there, even if the quorum is reached before
 *     what a handler has acked long before the end is acked in the receipt
 *     nothing is never_sent because of a peer that is only slow or suspect
 *
 * What each process may say of the others (who is down, and who is not) stands in liveness.c.
 *
 * They hold in every pattern. What differs by design:
 *
 *     reqrep   one message is under way on a link, not a window of them. An answer that comes when the
 *              lock step has moved on is dropped (pattern.c) and asked for again: so the last of these
 *              rules allows for a ping that came in between, and no rule looks at the counter `late`
 *     pubsub   what is lost alone may be a ping or its answer: while such losses are to be expected,
 *              the last four rules are not held
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

#include "base/hash.h"

#define LATE_US 1000 /* a turn of the loop, at most, after the deadline */
#define CALM_AFTER_US (6 * ZN_SECOND)
#define LATE_FRAMES_US (500 * ZN_MS)
#define CALM_LINK_US (100 * ZN_MS)
#define CALM_SERVED_MIN 1024
#define ACK_WAITS_US (1500 * ZN_MS)
#define ROOMY_CALLS_MIN 256

void sim_fail(struct sim *s, const char *format, ...)
{
    if (s->failed)
        return;
    s->failed = true;
    s->rule = format;
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
        for (struct sim_ghost *g; (g = s->ghosts[b]); free(g)) {
            s->ghosts[b] = g->next;
            for (struct sim_asker *k; (k = g->askers); free(k))
                g->askers = k->next;
        }
}

/* What this life of a process knows of an id; NULL if it has not sent it. */
static struct sim_asker *asker_find(const struct sim *s, const struct sim_ghost *g, int node)
{
    for (struct sim_asker *k = g->askers; k; k = k->next)
        if (k->node == node && k->life_n == s->nodes[node].life_n)
            return k;
    return NULL;
}

static struct sim_asker *asker_of(struct sim *s, struct sim_ghost *g, int node)
{
    struct sim_asker *k = asker_find(s, g, node);
    if (k)
        return k;
    k = calloc(1, sizeof *k);
    if (!k)
        abort();
    k->node = node;
    k->life_n = s->nodes[node].life_n;
    k->next = g->askers;
    g->askers = k;
    return k;
}

static bool has_ghost(const struct sim *s, struct zmqnet_id id)
{
    return !s->impostors && id.origin != 0;
}

static uint64_t what_it_says(const struct zn_msg *msg)
{
    static const uint64_t key[2] = {1, 2};
    uint64_t says = zn_hash_bytes(key, zn_blob_data(msg->body), zn_blob_bytes(msg->body));
    if (msg->kind == ZN_SUBMIT)
        says ^= zn_hash_bytes(key, msg->target, strlen(msg->target)) + (uint64_t)msg->quorum;
    return says | 1;
}

void sim_ghost_sent(struct sim *s, const struct zn_msg *msg)
{
    char text[128];
    if (!has_ghost(s, msg->id) || (msg->kind != ZN_REQUEST && msg->kind != ZN_SUBMIT))
        return;
    struct sim_ghost *g = ghost_of(s, msg->id);
    uint64_t says = what_it_says(msg);
    int kind = msg->kind == ZN_SUBMIT; /* its REQUESTs say less */
    bool known = g->says[0] || g->says[1];
    if ((g->says[kind] && says != g->says[kind]) || (known && msg->idempotent != g->idempotent))
        sim_fail(s, "a copy of %s does not say the same as the one before",
                 sim_id_text(s, msg->id, text, sizeof text));
    g->says[kind] = says;
    g->idempotent = msg->idempotent;
}

/* A client asks any coordinator, but after the first that it was sent to no other one. */
static void check_one_coordinator(struct sim *s, const struct sim_asker *k, int peer,
                                  const struct zn_msg *msg)
{
    char text[128];
    for (int p = 0; p < s->replicas_n && msg->kind == ZN_SUBMIT; p++)
        if (p != peer && k->to_life_n[p] != 0)
            sim_fail(s, "%s leaves for %s, but has left for %s before",
                     sim_id_text(s, msg->id, text, sizeof text), s->nodes[peer].name,
                     s->nodes[p].name);
}

/* It says so itself: whoever has not read yet that its link is another one sends it to a life that
 * will not take it. */
static bool is_for(const struct sim *s, const struct zn_msg *msg, int peer, uint32_t life_n)
{
    for (size_t i = 0; i < msg->lives_n; i++)
        if (msg->to_life[i] == sim_life_of(s, peer, life_n))
            return true;
    return false;
}

void sim_ghost_left(struct sim *s, int node, int peer, const struct zn_msg *msg)
{
    char text[128];
    const struct sim_link *l = &s->nodes[node].links[peer];
    if (!has_ghost(s, msg->id) ||
        (msg->kind != ZN_REQUEST && msg->kind != ZN_SUBMIT && msg->kind != ZN_STATUS))
        return;
    struct sim_ghost *g = ghost_of(s, msg->id);
    struct sim_asker *k = asker_of(s, g, node);
    check_one_coordinator(s, k, peer, msg);
    int self = s->nodes[node].self;
    if (self >= 0 && g->at[self].refused && !g->at[self].acked)
        sim_fail(s, "%s leaves for %s, but its coordinator has refused it",
                 sim_id_text(s, msg->id, text, sizeof text), s->nodes[peer].name);
    if (k->to_life_n[peer] == 0) {
        if (k->until_us == 0) /* the last millisecond may be no whole one */
            k->until_us = sim_clock(s, node) + (msg->budget_ms - 1) * ZN_MS;
        k->to_life_n[peer] = l->to_life;
        s->nodes[node].left_n[peer]++;
    } else if (k->to_life_n[peer] != l->to_life && !msg->idempotent && l->to == peer &&
               msg->kind != ZN_STATUS && !is_for(s, msg, peer, k->to_life_n[peer])) {
        sim_fail(s, "%s leaves for a second life of %s", sim_id_text(s, msg->id, text, sizeof text),
                 s->nodes[peer].name);
    }
}

static uint64_t limit_or(uint32_t limit, uint64_t most) { return limit ? limit : most; }

bool sim_ghost_heard(struct sim *s, int node, int peer, const struct zn_msg *msg)
{
    struct sim_node *n = &s->nodes[node];
    bool answers = msg->code >= 0 || (n->self < 0 && msg->rows_n > 0);
    if (!has_ghost(s, msg->id) || msg->kind != ZN_REPLY || !answers)
        return false;
    struct sim_asker *k = asker_find(s, ghost_of(s, msg->id), node);
    if (!k)
        return false;
    bool acks = msg->code == 0 || n->self < 0; /* a receipt is all that a client wants */
    bool first = !((k->acked | k->refused) >> peer & 1);
    (acks ? n->acked_n : n->refused_n)[peer] += first;
    *(acks ? &k->acked : &k->refused) |= 1ull << peer;
    return first && sim_clock(s, node) < k->until_us;
}

/* Its window has never been full. */
static bool forgets_nothing(const struct sim_node *n)
{
    return !n->tables.served_bytes && n->asked_n < limit_or(n->tables.served, ZN_SERVED_MAX);
}

/* Unless its call was given up for want of room, which a table that was never full cannot do, or a
 * copy for an earlier life, which came again, was refused before. */
void sim_ghost_late(struct sim *s, int node, int peer, const struct zn_msg *msg)
{
    const struct sim_node *n = &s->nodes[node], *p = &s->nodes[peer];
    char text[128];
    if (s->kept_n == 0 && n->begun_n < limit_or(n->tables.calls, ZN_CALLS_MAX) && !n->ending &&
        forgets_nothing(p))
        sim_fail(s, "%s: the answer of %s comes in time, but %s counts it late",
                 sim_id_text(s, msg->id, text, sizeof text), p->name, n->name);
}

void sim_ghost_asked(struct sim *s, int node, const struct zn_msg *msg)
{
    struct sim_node *n = &s->nodes[node];
    uint64_t ms = msg->budget_ms ? msg->budget_ms : ZMQNET_TIMEOUT_MS;
    uint64_t until_us = sim_clock(s, node) + ms * ZN_MS;
    n->asked_n += msg->kind == ZN_REQUEST || msg->kind == ZN_SUBMIT || msg->kind == ZN_LEGACY;
    n->begun_n += msg->kind == ZN_SUBMIT || msg->kind == ZN_LEGACY;
    if ((msg->kind == ZN_SUBMIT || msg->kind == ZN_LEGACY) && n->open_until_us < until_us)
        n->open_until_us = until_us;
}

/* A floor covers what is finished. */
void sim_ghost_too_old(struct sim *s, int node, int peer, const struct zn_msg *msg)
{
    const struct sim_node *p = &s->nodes[peer];
    char text[128];
    if (has_ghost(s, msg->id) && forgets_nothing(p))
        sim_fail(s, "%s is under way at %s, but %s calls it too old",
                 sim_id_text(s, msg->id, text, sizeof text), s->nodes[node].name, p->name);
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
    if (code == 0)
        t->acked_life_n = s->nodes[node].life_n;
    t->acked |= code == 0;
    t->refused |= code != 0;
    if (code != 0)
        t->code = code;
}

/* ---- two that are well ---- */

bool sim_is_whole(const struct sim *s)
{
    bool ruled = false;
    for (size_t i = 0; i < SIM_RULES_MAX; i++)
        ruled |= s->rules[i].left != 0;
    return !s->impostors && !ruled && !s->loss_ppm && !s->dup_ppm && !s->reorder &&
           !s->unread_ppm && !s->replay_ppm;
}

/* Nothing has come between the two since then, and each of them has run all the time. */
static bool is_quiet(const struct sim *s, int node, int peer, uint64_t since_us)
{
    return s->nodes[node].changed_us <= since_us && sim_is_quiet(s, node, peer, since_us);
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

static bool is_lagged(const struct sim *s, int from, int to)
{
    uint64_t since_us = s->lagged_us[from][to];
    return s->lag_us[from][to] || (since_us && s->now_us - since_us < CALM_AFTER_US);
}

/* In lock step a try, or a ping, gives up the answer to the one before: one that takes longer than
 * that is never seen (docs/patterns.md). */
static bool takes_too_long_for_lock_step(const struct sim *s, int node, int peer)
{
    return sim_patterns[s->nodes[node].pattern].lock_step &&
           (is_lagged(s, node, peer) || is_lagged(s, peer, node));
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
        uint64_t up_us = n->links[peer].up_us;
        uint64_t since_us = t->acked_us > up_us ? t->acked_us : up_us;
        if (t->acked && t->acked_life_n == s->nodes[peer].life_n &&
            s->now_us - since_us > ACK_WAITS_US && is_quiet(s, node, peer, since_us) &&
            !takes_too_long_for_lock_step(s, node, peer))
            sim_fail(s, "%s %s: %s acked it %" PRIu64 "us ago, but the row says %s (%s)", n->name,
                     sim_id_text(s, a->done.id, text, sizeof text), r->name,
                     s->now_us - t->acked_us, zmqnet_outcome_name(r->outcome), r->why);
    }
}

/* By the replica itself: not one copy has run. */
static bool is_rejected(const struct zn_row *r)
{
    return strcmp(r->why, zn_why_text(ZN_WHY_REJECTED)) == 0;
}

/* What is said of other replicas by the coordinator itself, which knows what has left. */
static void check_own_rows(struct sim *s, int node, const struct zn_action *a)
{
    char text[128];
    if (!has_ghost(s, a->done.id))
        return;
    struct sim_ghost *g = ghost_of(s, a->done.id);
    const struct sim_asker *k = asker_find(s, g, node);
    for (size_t i = 0; i < a->done.rows_n; i++) {
        const struct zn_row *r = &a->done.rows[i];
        int peer = replica_of(s, r->name);
        if (peer < 0 || peer == node || s->nodes[peer].next_original)
            continue;
        uint32_t life_n = k ? k->to_life_n[peer] : 0, acked_life_n = g->at[peer].acked_life_n;
        const char *wrong = NULL;
        if (r->outcome == ZMQNET_NEVER_SENT && life_n != 0 && !is_rejected(r))
            wrong = "it has left for it";
        if (r->outcome == ZMQNET_ACKED &&
            (g->idempotent ? acked_life_n < life_n : acked_life_n != life_n))
            wrong = "another life of it did";
        if (r->outcome == ZMQNET_NEVER_SENT && strcmp(r->why, zn_why_text(ZN_WHY_LATE)) == 0)
            wrong = "who is slow is sent to";
        if (wrong)
            sim_fail(s, "%s says of %s: %s, but %s", sim_id_text(s, a->done.id, text, sizeof text),
                     r->name, zmqnet_outcome_name(r->outcome), wrong);
    }
}

static bool has_roomy_tables(const struct sim_node *n)
{
    return (n->tables.served == 0 || n->tables.served >= CALM_SERVED_MIN) &&
           (n->tables.calls == 0 || n->tables.calls >= ROOMY_CALLS_MIN);
}

static bool is_roomy(const struct sim *s, const struct sim_node *n)
{
    return has_roomy_tables(n) && s->options.pipe_frames_max >= SIM_ROOMY_FRAMES_MIN;
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

/* By the clock of a process: when it has had its turn after a deadline. What many calls that end at
 * once have to say may take a second one. */
static uint64_t late_from_us(const struct sim *s, int node, uint64_t deadline_us)
{
    const struct sim_node *n = &s->nodes[node];
    uint64_t resumed_us = n->resumed_us - n->lost_us;
    return (deadline_us < resumed_us ? resumed_us : deadline_us) + 2 * n->gap_us + LATE_US;
}

static void check_time(struct sim *s, int node, const struct sim_call *c, uint64_t tag)
{
    uint64_t late_us = late_from_us(s, node, c->deadline_us), clock_us = sim_clock(s, node);
    if (clock_us > late_us)
        sim_fail(s, "call %" PRIu64 " completed %" PRIu64 "us after its deadline", tag,
                 clock_us - c->deadline_us);
    if (c->soon_us && c->faults == s->faults && (s->now_us > c->soon_us || (c->calm && c->status)))
        sim_fail(s, "call %" PRIu64 ": %s, but it took %" PRIu64 "us and ended %s", tag,
                 c->calm ? "those that it needs are well" : "its quorum was impossible",
                 s->now_us - c->begun_us, zmqnet_error_name(c->status));
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
    c->id = a->done.id;
    if (++c->done_n > 1)
        sim_fail(s, "call %" PRIu64 " completed %" PRIu32 " times", a->tag, c->done_n);
    check_time(s, node, c, a->tag);
    if (a->done.attempts > c->spec.attempts)
        sim_fail(s, "call %" PRIu64 " made %" PRIu32 " attempts", a->tag, a->done.attempts);
    if (is_turned_away(&a->done) || c->spec.ask == ZN_ASK_STATUS)
        return;
    if (c->spec.ask == ZN_ASK_ALL)
        check_broadcast(s, c, a);
    else
        check_request(s, c, a);
    for (size_t i = 0; i < a->done.rows_n; i++) {
        check_row(s, a->tag, a->done.id, &a->done.rows[i]);
        if (strcmp(a->done.rows[i].why, zn_why_text(ZN_WHY_QUEUE_FULL)) == 0)
            c->well = 0;
    }
    if (s->nodes[node].self == node)
        check_own_rows(s, node, a);
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
           !p->gap_us && !is_lagged(s, node, peer) && !is_lagged(s, peer, node) &&
           !s->cut[node][peer] && !s->cut[peer][node] && l->state == SIM_LINK_UP && l->to == peer &&
           l->to_life == p->life_n && s->now_us - l->up_us > CALM_LINK_US && !l->lose &&
           view->state == ZMQNET_UP && view->queue_messages == 0 &&
           2 * view->inflight < window_max(n);
}

/* Replicas that are well, as far as this one is concerned. */
static uint64_t peers_well(struct sim *s, int node)
{
    const zmqnet_status *view = sim_look(s, node);
    uint64_t well = 0;
    for (int p = 0; p < s->replicas_n; p++)
        if (p != node && peer_is_well(s, node, p, &view->peers[p]))
            well |= 1ull << p;
    return well;
}

void sim_not_calm(struct sim *s, bool was_whole)
{
    uint64_t from_us = s->now_us + (was_whole ? LATE_FRAMES_US : CALM_AFTER_US);
    if (s->calm_from_us < from_us)
        s->calm_from_us = from_us;
}

/* Nothing but a new fault may make this call slow. */
bool sim_calm(struct sim *s, int node, const struct zn_call_spec *spec)
{
    const struct sim_node *n = &s->nodes[node];
    if (n->self != node || n->ending || n->gap_us || !has_roomy_tables(n) ||
        n->handler.kind != SIM_HANDLER_ACK || s->now_us < s->calm_from_us || !sim_is_whole(s) ||
        spec->timeout_us <= calm_us(s))
        return false;
    /* One that was stopped has not heard yet which of its links are others by now. */
    if (n->resumed_us != 0 && s->now_us - n->resumed_us <= CALM_LINK_US)
        return false;
    uint64_t well = peers_well(s, node) | 1ull << node;
    if (spec->ask == ZN_ASK_ONE)
        return well >> spec->target & 1;
    return (uint32_t)__builtin_popcountll(well) >= need_of(s, spec->quorum);
}

/* ---- what goes on when the quorum is reached ---- */

/* So many of those that it needs are down that it must fail at once. */
static bool is_hopeless(struct sim *s, const struct sim_call *c)
{
    const struct sim_node *n = &s->nodes[c->node];
    uint32_t left = 0;
    if (n->self != c->node || c->spec.ask != ZN_ASK_ALL || n->handler.kind != SIM_HANDLER_ACK)
        return false;
    const zmqnet_status *view = sim_look(s, c->node);
    for (int p = 0; p < s->replicas_n; p++)
        left += view->peers[p].state != ZMQNET_DOWN;
    return left < need_of(s, c->spec.quorum);
}

/* Looked at by then, since a fault that comes later excuses it. */
static void expect_soon(struct sim *s, struct sim_call *c, uint64_t tag)
{
    uint64_t us = c->calm ? calm_us(s) : ZN_LAST_LOOK_US + s->nodes[c->node].gap_us + LATE_US;
    if (!c->calm && !c->hopeless)
        return;
    c->soon_us = s->now_us + us;
    sim_at(s, c->soon_us + 1, &(struct sim_due){.what = SIM_SOON, .token = tag});
}

void sim_ghost_soon(struct sim *s, uint64_t tag)
{
    const struct sim_call *c = &s->calls[tag];
    if (!c->done_n && !c->forgotten && c->faults == s->faults)
        sim_fail(s, "call %" PRIu64 ": %s, but it is still open after %" PRIu64 "us", tag,
                 c->calm ? "those that it needs are well" : "its quorum was impossible",
                 s->now_us - c->begun_us);
}

void sim_ghost_begins(struct sim *s, struct sim_call *c)
{
    struct sim_node *n = &s->nodes[c->node];
    uint64_t tag = (uint64_t)(c - s->calls);
    c->calm = sim_calm(s, c->node, &c->spec);
    c->hopeless = !c->calm && is_hopeless(s, c);
    n->begun_n++;
    expect_soon(s, c, tag);
    c->deadline_us = sim_clock(s, c->node) + c->spec.timeout_us;
    if (n->open_until_us < c->deadline_us)
        n->open_until_us = c->deadline_us;
    c->well = n->self == c->node && has_roomy_tables(n) ? peers_well(s, c->node) : 0;
    sim_at(s, s->now_us + c->spec.timeout_us + n->gap_us + LATE_US + 1,
           &(struct sim_due){.what = SIM_DEADLINE, .node = c->node, .token = tag});
}

/* Those that were well all the time until the deadline have run it, needed or not. In lock step one
 * slow handler may have kept it waiting. */
static void check_stragglers(struct sim *s, uint64_t tag)
{
    const struct sim_call *c = &s->calls[tag];
    struct sim_node *n = &s->nodes[c->node];
    char text[128];
    uint64_t since_us = c->begun_us - SIM_QUIET_US;
    const struct sim_ghost *g;
    if (!c->well || c->spec.ask != ZN_ASK_ALL || c->begun_us < SIM_QUIET_US ||
        !has_ghost(s, c->id) || n->ending || c->status == ZMQNET_EREFUSED ||
        c->spec.timeout_us <= calm_us(s) || s->options.pipe_frames_max < SIM_ROOMY_FRAMES_MIN ||
        sim_patterns[n->pattern].lock_step)
        return;
    g = ghost_of(s, c->id);
    uint64_t bounced_us = g->at[c->node].acked_us + n->gap_us; /* its own handler comes first */
    if (!g->at[c->node].acked || bounced_us + calm_us(s) > c->begun_us + c->spec.timeout_us)
        return;
    for (int p = 0; p < s->replicas_n; p++)
        if ((c->well >> p & 1) && is_quiet(s, c->node, p, since_us) &&
            has_roomy_tables(&s->nodes[p]) && g->at[p].runs == 0)
            sim_fail(s, "call %" PRIu64 " %s never came to %s, which was well", tag,
                     sim_id_text(s, c->id, text, sizeof text), s->nodes[p].name);
}

void sim_ghost_deadline(struct sim *s, uint64_t tag)
{
    const struct sim_call *c = &s->calls[tag];
    const struct sim_node *n = &s->nodes[c->node];
    if (c->forgotten)
        return;
    if (c->done_n) {
        check_stragglers(s, tag);
        return;
    }
    uint64_t clock_us = sim_clock(s, c->node), late_us = late_from_us(s, c->node, c->deadline_us);
    uint64_t again_us = clock_us <= late_us ? late_us - clock_us + 1 : ZN_SECOND;
    if (n->stopped || clock_us <= late_us)
        sim_at(s, s->now_us + again_us,
               &(struct sim_due){.what = SIM_DEADLINE, .node = c->node, .token = tag});
    else
        sim_fail(s, "call %" PRIu64 " is still open %" PRIu64 "us after its deadline", tag,
                 clock_us - c->deadline_us);
}

/* ---- after each turn, and at the end ---- */

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

/* What it says that it has done against what has left and what has come. */
static void check_account(struct sim *s, int node, int peer, const struct zmqnet_peer_status *p)
{
    const struct sim_node *n = &s->nodes[node];
    if (s->impostors)
        return;
    if (p->sent != n->left_n[peer])
        sim_fail(s, "%s says that %" PRIu64 " rows were sent to %s, but %" PRIu64 " have left",
                 n->name, p->sent, p->name, n->left_n[peer]);
    if (!s->originals && (p->acked > n->acked_n[peer] || p->refused > n->refused_n[peer]))
        sim_fail(s,
                 "%s counts %" PRIu64 " rows acked and %" PRIu64 " refused by %s, but got %" PRIu64
                 " and %" PRIu64,
                 n->name, p->acked, p->refused, p->name, n->acked_n[peer], n->refused_n[peer]);
    bool over = sim_clock(s, node) > late_from_us(s, node, n->open_until_us);
    if (over && p->queue_messages + p->inflight > 0)
        sim_fail(s, "%s still holds rows for %s, though all that it does is over", n->name,
                 p->name);
}

void sim_check_node(struct sim *s, int node)
{
    const zmqnet_status *view = sim_look(s, node);
    for (size_t p = 0; p < view->peers_n; p++) {
        check_peer_view(s, node, &view->peers[p]);
        check_account(s, node, (int)p, &view->peers[p]);
    }
    sim_check_views(s, node, view);
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
        const zmqnet_status *view = sim_look(s, i);
        for (size_t p = 0; p < view->peers_n && !s->failed; p++)
            if (view->peers[p].queue_messages || view->peers[p].inflight)
                sim_fail(s, "%s still holds rows for %s", n->name, view->peers[p].name);
    }
}
