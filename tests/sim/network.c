/* SPDX-License-Identifier: MIT */
/*
 * The virtual network: one link from each process to each replica that it wants, as a pattern makes
 * them (pattern.h). A link is a series of connections with numbers; a route names one of them.
 *
 * A connection keeps order, as TCP does, unless the simulation asks for worse. A frame that was sent
 * before its sender died still arrives; a frame to a process that died, or back to a link that was
 * made anew, is lost. A cut holds frames back, as retransmission does; if it lasts CUT_US the
 * connection is lost and what was held with it. A stopped process accepts connections but no
 * handshake. Nothing here knows what a frame holds; what a pattern adds is in pattern.c.
 *
 * A request may also come a second time much later, on whatever connection its link has then, and so
 * in another life of either end: as if something in between had kept it.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "sim.h"

#define BACKOFF_MIN_US (50 * ZN_MS)
#define BACKOFF_MAX_US (2 * ZN_SECOND)
#define CONNECT_US (1 * ZN_SECOND)
#define HANDSHAKE_US (2 * ZN_SECOND)
#define CUT_US (1500 * ZN_MS)
#define STRANGER 0xE0
#define KEPT_US (300 * ZN_SECOND) /* no copy comes later than the longest request lives */

/* What the owner of a link is told. */
static void tell(struct sim *s, int node, int peer, enum zn_event_type type, enum zn_why why)
{
    struct sim_item *item = sim_inbox_add(s, node, type);
    item->peer = peer;
    item->why = why;
    item->epoch = s->nodes[node].links[peer].epoch;
}

/* ---- frames ---- */

void sim_frame_free(struct sim_frame *f)
{
    zn_blob_drop(&f->bytes);
    free(f);
}

struct sim_link *sim_frame_link(struct sim *s, const struct sim_frame *f)
{
    return &s->nodes[f->owner].links[f->peer];
}

static struct sim_pipe *pipe_of(struct sim *s, const struct sim_frame *f)
{
    struct sim_link *l = sim_frame_link(s, f);
    return f->back ? &l->back : &l->there;
}

bool sim_frame_is_current(struct sim *s, const struct sim_frame *f)
{
    const struct sim_link *l = sim_frame_link(s, f);
    return l->state == SIM_LINK_UP && l->connection == f->connection;
}

static void say_writable(struct sim *s, const struct sim_frame *f)
{
    struct sim_link *l = sim_frame_link(s, f);
    if (f->back || !l->blocked)
        return;
    l->blocked = false;
    tell(s, f->owner, f->peer, ZN_EV_LINK_WRITABLE, ZN_WHY_NONE);
}

/* One frame less in its pipe, read or lost. */
static void leave(struct sim *s, const struct sim_frame *f)
{
    if (!sim_frame_is_current(s, f))
        return;
    struct sim_pipe *p = pipe_of(s, f);
    if (p->frames)
        p->frames--;
    say_writable(s, f);
}

void sim_frame_read(struct sim *s, struct sim_frame *f)
{
    leave(s, f);
    sim_frame_free(f);
}

static void lose(struct sim *s, struct sim_frame *f)
{
    leave(s, f);
    sim_frame_free(f);
}

static void pipe_clear(struct sim_pipe *p)
{
    while (p->held) {
        struct sim_frame *f = p->held;
        p->held = f->next;
        sim_frame_free(f);
    }
    *p = (struct sim_pipe){0};
    p->held_end = &p->held;
}

static uint64_t delay_us(struct sim *s)
{
    uint64_t span = s->delay_max_us - s->delay_min_us;
    return s->delay_min_us + (span ? zn_rand_below(&s->rand, span + 1) : 0);
}

static bool by_chance(struct sim *s, uint32_t ppm)
{
    return ppm && zn_rand_below(&s->rand, 1000000) < ppm;
}

static void put_on_the_way(struct sim *s, struct sim_frame *f, uint64_t extra_us)
{
    struct sim_pipe *p = pipe_of(s, f);
    uint64_t at_us = s->now_us + delay_us(s) + s->lag_us[f->from][f->to];
    if (!s->reorder && !extra_us) {
        if (at_us < p->last_us)
            at_us = p->last_us;
        p->last_us = at_us;
    }
    sim_at(s, at_us + extra_us, &(struct sim_due){.what = SIM_ARRIVE, .frame = f});
}

static struct sim_frame *copy_of(const struct sim_frame *f)
{
    struct sim_frame *copy = malloc(sizeof *copy);
    assert(copy);
    *copy = *f;
    copy->next = NULL;
    zn_blob_ref(copy->bytes);
    return copy;
}

static int launch(struct sim *s, struct sim_frame model, uint64_t extra_us)
{
    struct sim_pipe *p = pipe_of(s, &model);
    bool unread = !model.back && sim_pattern_sends(s, &model);
    if (p->frames >= s->options.pipe_frames_max) {
        if (!model.back)
            sim_frame_link(s, &model)->blocked = true;
        zn_blob_drop(&model.bytes);
        return ZMQNET_EFULL;
    }
    bool hostile = sim_pattern_may_lose(s, &model);
    struct sim_frame *f = copy_of(&model);
    zn_blob_drop(&model.bytes);
    p->frames++;
    if (hostile && by_chance(s, s->dup_ppm)) {
        p->frames++;
        put_on_the_way(s, copy_of(f), delay_us(s));
    }
    if ((hostile && by_chance(s, s->loss_ppm)) || unread)
        lose(s, f);
    else
        put_on_the_way(s, f, extra_us);
    return 0;
}

void sim_network_report_gap(struct sim *s, const struct sim_frame *missing)
{
    struct sim_frame f = {.from = missing->to,
                          .to = missing->owner,
                          .owner = missing->owner,
                          .peer = missing->peer,
                          .back = true,
                          .connection = missing->connection,
                          .to_life = s->nodes[missing->owner].life_n,
                          .gap = true};
    pipe_of(s, &f)->frames++;
    put_on_the_way(s, copy_of(&f), 0);
}

static void arrive(struct sim *s, struct sim_frame *f)
{
    if (s->cut[f->from][f->to]) {
        struct sim_pipe *p = pipe_of(s, f);
        if (!sim_frame_is_current(s, f)) {
            lose(s, f);
            return;
        }
        f->next = NULL;
        *p->held_end = f;
        p->held_end = &f->next;
        return;
    }
    struct sim_node *to = &s->nodes[f->to];
    if (!to->alive || to->life_n != f->to_life || (f->back && !sim_frame_is_current(s, f))) {
        lose(s, f);
        return;
    }
    struct sim_item *item = sim_inbox_add(s, f->to,
                                          f->gap    ? ZN_EV_LINK_GAP
                                          : f->back ? ZN_EV_LINK_MSG
                                                    : ZN_EV_ROUTE_MSG);
    item->peer = f->peer;
    item->route = f->route;
    item->epoch = sim_frame_link(s, f)->epoch;
    item->frame = f;
}

/* ---- routes ---- */

/* From the top: question, connection, owner, peer. */
static zn_route route_make(uint32_t connection, int owner, int peer)
{
    return (zn_route)connection << 16 | (zn_route)owner << 8 | (zn_route)peer;
}

bool sim_route_is_question(zn_route route) { return route >> 48 != 0; }

uint64_t sim_route_connection(zn_route route) { return route & 0xffffffffffffull; }

zn_route sim_link_route(const struct sim *s, int node, int peer)
{
    const struct sim_link *l = &s->nodes[node].links[peer];
    return route_make(l->connection, node, peer) | (zn_route)l->asked << 48;
}

zn_route sim_stranger_route(int stranger) { return route_make(1, STRANGER + stranger, 0); }

int sim_route_stranger(zn_route route)
{
    int owner = (int)(route >> 8 & 0xff);
    return owner >= STRANGER ? owner - STRANGER : -1;
}

int sim_route_node(const struct sim *s, zn_route route)
{
    int owner = (int)(route >> 8 & 0xff);
    return owner < s->nodes_n ? owner : -1;
}

int sim_link_reply(struct sim *s, int node, zn_route route, struct zn_blob *frame,
                   uint64_t extra_us)
{
    int owner = sim_route_node(s, route);
    struct sim_frame f = {.bytes = frame, .from = node, .to = owner, .owner = owner, .back = true};
    f.peer = (int)(route & 0xff);
    f.connection = (uint32_t)(route >> 16);
    f.question = (uint16_t)(route >> 48);
    if (owner < 0 || !sim_frame_is_current(s, &f) || sim_frame_link(s, &f)->to != node ||
        sim_frame_link(s, &f)->to_life != s->nodes[node].life_n) {
        zn_blob_drop(&frame);
        return sim_route_stranger(route) >= 0 ? 0 : ZMQNET_ENEVERSENT;
    }
    f.to_life = s->nodes[owner].life_n;
    return launch(s, f, extra_us);
}

/* ---- requests that come again ---- */

void sim_network_keep(struct sim *s, int node, int peer, struct zn_blob *bytes)
{
    if (!by_chance(s, s->replay_ppm))
        return;
    struct sim_frame **at = &s->kept[s->kept_n++ % SIM_KEPT_MAX];
    struct sim_frame f = {.bytes = bytes, .owner = node, .peer = peer, .number = s->now_us};
    if (*at)
        sim_frame_free(*at);
    *at = copy_of(&f);
}

/* Any that left on this link before; NULL: none is kept. */
static const struct sim_frame *kept_for(struct sim *s, const struct sim_frame *like)
{
    size_t first = zn_rand_below(&s->rand, SIM_KEPT_MAX);
    for (size_t i = 0; i < SIM_KEPT_MAX; i++) {
        const struct sim_frame *kept = s->kept[(first + i) % SIM_KEPT_MAX];
        if (kept && kept->owner == like->owner && kept->peer == like->peer &&
            s->now_us - kept->number <= KEPT_US)
            return kept;
    }
    return NULL;
}

/* Perhaps one of them comes again, behind the frame that has just left. */
static void replay(struct sim *s, struct sim_frame like)
{
    if (!by_chance(s, s->replay_ppm) || !sim_pattern_may_lose(s, &like))
        return;
    const struct sim_frame *kept = kept_for(s, &like);
    if (!kept)
        return;
    s->replayed = true;
    like.bytes = kept->bytes;
    pipe_of(s, &like)->frames++;
    put_on_the_way(s, copy_of(&like), delay_us(s));
}

/* ---- links ---- */

int sim_link_send(struct sim *s, int node, int peer, struct zn_blob *frame, uint64_t extra_us)
{
    struct sim_link *l = &s->nodes[node].links[peer];
    if (l->state != SIM_LINK_UP) {
        zn_blob_drop(&frame);
        return ZMQNET_ENEVERSENT;
    }
    struct sim_frame f = {.from = node,
                          .to = l->to,
                          .owner = node,
                          .peer = peer,
                          .connection = l->connection,
                          .to_life = l->to_life,
                          .route = route_make(l->connection, node, peer)};
    replay(s, f);
    f.bytes = frame;
    return launch(s, f, extra_us);
}

static void link_at(struct sim *s, int node, int peer, uint64_t at_us, enum sim_what what,
                    enum zn_why why)
{
    sim_at(s, at_us,
           &(struct sim_due){.what = what,
                             .node = node,
                             .peer = peer,
                             .why = why,
                             .mark = s->nodes[node].links[peer].connection});
}

static void begin_try(struct sim *s, int node, int peer)
{
    struct sim_link *l = &s->nodes[node].links[peer];
    l->connection++;
    l->state = SIM_LINK_TRYING;
    l->to = s->nodes[node].where[peer];
    link_at(s, node, peer, s->now_us + 2 * delay_us(s), SIM_CONNECT, ZN_WHY_NONE);
}

void sim_link_want(struct sim *s, int node, int peer)
{
    if (s->nodes[node].links[peer].state == SIM_LINK_IDLE)
        begin_try(s, node, peer);
}

static void wait_and_retry(struct sim *s, int node, int peer)
{
    struct sim_link *l = &s->nodes[node].links[peer];
    pipe_clear(&l->there);
    pipe_clear(&l->back);
    l->blocked = false;
    l->state = SIM_LINK_WAITING;
    if (l->backoff_us < BACKOFF_MIN_US)
        l->backoff_us = BACKOFF_MIN_US;
    link_at(s, node, peer, s->now_us + l->backoff_us, SIM_RETRY, ZN_WHY_NONE);
    l->backoff_us = l->backoff_us * 2 > BACKOFF_MAX_US ? BACKOFF_MAX_US : l->backoff_us * 2;
}

void sim_link_reset(struct sim *s, int node, int peer)
{
    struct sim_link *l = &s->nodes[node].links[peer];
    if (l->state == SIM_LINK_IDLE)
        return;
    l->connection++;
    l->epoch++;
    wait_and_retry(s, node, peer);
}

void sim_link_good(struct sim *s, int node, int peer) { s->nodes[node].links[peer].backoff_us = 0; }

static void try_failed(struct sim *s, int node, int peer, enum zn_why why)
{
    tell(s, node, peer, ZN_EV_LINK_FAILED, why);
    wait_and_retry(s, node, peer);
}

static bool is_cut(const struct sim *s, int node, int peer)
{
    int to = s->nodes[node].links[peer].to;
    return s->cut[node][to] || s->cut[to][node];
}

static void connected(struct sim *s, int node, int peer)
{
    struct sim_link *l = &s->nodes[node].links[peer];
    const struct sim_node *to = &s->nodes[l->to];
    if (is_cut(s, node, peer)) {
        link_at(s, node, peer, s->now_us + CONNECT_US, SIM_GIVE_UP, ZN_WHY_TIMEOUT);
    } else if (!to->alive) {
        try_failed(s, node, peer, ZN_WHY_REFUSED);
    } else if (to->stopped) {
        l->state = SIM_LINK_SHAKING;
        link_at(s, node, peer, s->now_us + HANDSHAKE_US, SIM_GIVE_UP, ZN_WHY_HANDSHAKE);
    } else {
        pipe_clear(&l->there);
        pipe_clear(&l->back);
        l->state = SIM_LINK_UP;
        l->to_life = to->life_n;
        l->up_us = s->now_us;
        l->asked = 0;
        l->published = l->seen = 0;
        tell(s, node, peer, ZN_EV_LINK_UP, ZN_WHY_NONE);
    }
}

static void lost(struct sim *s, int node, int peer, enum zn_why why)
{
    struct sim_link *l = &s->nodes[node].links[peer];
    if (l->state != SIM_LINK_UP || (why == ZN_WHY_SILENT && !is_cut(s, node, peer)))
        return;
    tell(s, node, peer, ZN_EV_LINK_LOST, ZN_WHY_RESET);
    wait_and_retry(s, node, peer);
}

void sim_network_due(struct sim *s, const struct sim_due *due)
{
    if (due->what == SIM_ARRIVE) {
        arrive(s, due->frame);
        return;
    }
    struct sim_node *n = &s->nodes[due->node];
    struct sim_link *l = &n->links[due->peer];
    if (!n->alive || l->state == SIM_LINK_IDLE || l->connection != due->mark)
        return;
    if (due->what == SIM_CONNECT && (l->state == SIM_LINK_TRYING || l->state == SIM_LINK_SHAKING))
        connected(s, due->node, due->peer);
    else if (due->what == SIM_GIVE_UP && l->state != SIM_LINK_UP && l->state != SIM_LINK_WAITING)
        try_failed(s, due->node, due->peer, due->why);
    else if (due->what == SIM_RETRY && l->state == SIM_LINK_WAITING)
        begin_try(s, due->node, due->peer);
    else if (due->what == SIM_LOST)
        lost(s, due->node, due->peer, due->why);
}

/* ---- faults ---- */

/* The far end of this link is gone: its owner learns of it behind everything that was sent before. */
static void far_end_gone(struct sim *s, int node, int peer)
{
    struct sim_link *l = &s->nodes[node].links[peer];
    if (l->state != SIM_LINK_UP || is_cut(s, node, peer))
        return;
    uint64_t at_us = s->now_us + s->delay_min_us;
    if (at_us < l->back.last_us)
        at_us = l->back.last_us;
    link_at(s, node, peer, at_us, SIM_LOST, ZN_WHY_RESET);
}

void sim_network_died(struct sim *s, int node)
{
    for (int peer = 0; peer < s->replicas_n; peer++) {
        struct sim_link *l = &s->nodes[node].links[peer];
        uint32_t connection = l->connection + 1, epoch = l->epoch + 1;
        pipe_clear(&l->there);
        pipe_clear(&l->back);
        *l = (struct sim_link){.connection = connection, .epoch = epoch};
        l->there.held_end = &l->there.held;
        l->back.held_end = &l->back.held;
    }
    for (int i = 0; i < s->nodes_n; i++)
        for (int peer = 0; peer < s->replicas_n; peer++)
            if (s->nodes[i].alive && s->nodes[i].links[peer].to == node)
                far_end_gone(s, i, peer);
}

/* The kernel had taken the connections already; now the handshakes go on. */
void sim_network_continued(struct sim *s, int node)
{
    for (int i = 0; i < s->nodes_n; i++)
        for (int peer = 0; peer < s->replicas_n; peer++) {
            struct sim_link *l = &s->nodes[i].links[peer];
            if (l->state == SIM_LINK_SHAKING && l->to == node)
                link_at(s, i, peer, s->now_us + delay_us(s), SIM_CONNECT, ZN_WHY_NONE);
        }
}

void sim_network_cut(struct sim *s, int from, int to)
{
    s->cut[from][to] = true;
    s->cut_us[from][to] = s->now_us;
    for (int i = 0; i < s->nodes_n; i++)
        for (int peer = 0; peer < s->replicas_n; peer++)
            if (s->nodes[i].links[peer].state == SIM_LINK_UP && is_cut(s, i, peer))
                link_at(s, i, peer, s->now_us + CUT_US, SIM_LOST, ZN_WHY_SILENT);
}

void sim_network_break(struct sim *s, int node, int peer)
{
    if (s->nodes[node].links[peer].state == SIM_LINK_UP)
        link_at(s, node, peer, s->now_us, SIM_LOST, ZN_WHY_RESET);
}

/* At once, so that nothing that was sent later overtakes it. */
static void release(struct sim *s, struct sim_pipe *p)
{
    struct sim_frame *f = p->held;
    p->held = NULL;
    p->held_end = &p->held;
    for (struct sim_frame *next; f; f = next) {
        next = f->next;
        sim_at(s, s->now_us, &(struct sim_due){.what = SIM_ARRIVE, .frame = f});
    }
}

void sim_network_heal(struct sim *s)
{
    for (int a = 0; a < s->nodes_n; a++)
        for (int b = 0; b < s->nodes_n; b++)
            s->cut_us[a][b] = s->cut[a][b] ? s->now_us : s->cut_us[a][b];
    memset(s->cut, 0, sizeof s->cut);
    for (int i = 0; i < s->nodes_n; i++)
        for (int peer = 0; peer < s->replicas_n; peer++) {
            struct sim_link *l = &s->nodes[i].links[peer];
            if (l->state != SIM_LINK_UP)
                continue;
            release(s, &l->there);
            release(s, &l->back);
            if (!s->nodes[l->to].alive || s->nodes[l->to].life_n != l->to_life)
                far_end_gone(s, i, peer);
        }
}
