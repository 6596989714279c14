/* SPDX-License-Identifier: MIT */
/*
 * What a pattern adds to the connections of network.c. Clients speak router, as in earnest.
 *
 *     router   nothing
 *     reqrep   a link is a relaxed and correlated REQ: each frame that leaves, taken or not, is a new
 *              question with a route of its own, and of the answers that are read only the first one
 *              to the last question counts; the others vanish. So a late answer is mostly not seen,
 *              and core's counter `late` says nothing; and a frame holds one message
 *     pubsub   what leaves on a link is numbered and can be lost alone, without a word to its sender.
 *              The next one that is read shows the gap, and a report of it travels back like an answer,
 *              but is never lost alone. A number that jumps back is counted, and followed
 *
 * To the original program nothing is lost or doubled within a connection, whatever the network is told
 * to do: TCP keeps this promise, and that program, which knows no ids, has nothing else.
 */
#include <string.h>

#include "sim.h"

const struct sim_pattern sim_patterns[SIM_PATTERNS_N] = {
    [SIM_ROUTER] = {.name = "router", .too = "reqrep"},
    [SIM_REQREP] = {.name = "reqrep", .too = "router", .lock_step = true},
    [SIM_PUBSUB] = {.name = "pubsub", .numbered = true},
};

enum sim_pattern_id sim_pattern_find(const char *name)
{
    for (int p = 0; p < SIM_PATTERNS_N; p++)
        if (strcmp(sim_patterns[p].name, name) == 0)
            return (enum sim_pattern_id)p;
    return SIM_PATTERNS_N;
}

static const struct sim_pattern *pattern_of(const struct sim *s, int owner)
{
    return &sim_patterns[s->nodes[owner].pattern];
}

bool sim_pattern_may_lose(const struct sim *s, const struct sim_frame *f)
{
    int far = f->back ? f->from : f->to;
    return !s->nodes[far].alive || sim_has_mesh(s, far);
}

static bool is_unread(struct sim *s, struct sim_link *l)
{
    if (l->lose) {
        l->lose--;
        return true;
    }
    return s->unread_ppm && zn_rand_below(&s->rand, 1000000) < s->unread_ppm;
}

bool sim_pattern_sends(struct sim *s, struct sim_frame *f)
{
    struct sim_link *l = sim_frame_link(s, f);
    if (pattern_of(s, f->owner)->lock_step) {
        f->question = ++l->asked;
        f->route |= (zn_route)f->question << 48;
        l->answered = false;
    }
    if (!pattern_of(s, f->owner)->numbered)
        return false;
    f->number = ++l->published;
    bool unread = is_unread(s, l);
    if (!unread)
        return false;
    s->lost_us[f->from][f->to] = s->now_us;
    sim_say(s, "%s -> %s  (lost)", s->nodes[f->owner].name, s->nodes[f->to].name);
    return true;
}

static bool counts(struct sim *s, const struct sim_frame *f)
{
    struct sim_link *l = sim_frame_link(s, f);
    if (!pattern_of(s, f->owner)->lock_step)
        return true;
    if (!sim_frame_is_current(s, f) || f->question != l->asked || l->answered)
        return false;
    l->answered = true;
    return true;
}

static void follow(struct sim *s, const struct sim_frame *f)
{
    struct sim_link *l = sim_frame_link(s, f);
    if (!f->number || !sim_frame_is_current(s, f))
        return;
    uint64_t next = l->seen + 1;
    l->seen = f->number;
    if (f->number < next) {
        sim_count(s, f->to, ZN_COUNT_sequence_back);
    } else if (f->number > next) {
        sim_count(s, f->to, ZN_COUNT_gap);
        sim_network_report_gap(s, f);
    }
}

bool sim_pattern_reads(struct sim *s, const struct sim_frame *f)
{
    if (f->gap)
        return true;
    if (f->back)
        return counts(s, f);
    follow(s, f);
    return true;
}
