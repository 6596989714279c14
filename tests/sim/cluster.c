/* SPDX-License-Identifier: MIT */
/*
 * The processes of a simulation: each has a mesh, an inbox and a model handler.
 *
 * A turn is what mesh.h asks of a driver: each thing that waits in the inbox is stepped and its
 * actions carried out, what comes of them (a handler's answer, a send that failed) is stepped before
 * anything else, then TICK, then FLUSH until nothing is left. A process that is stopped gets no turns
 * while its inbox fills; if it was stopped midway its turn ends as if it had not been: its timers run
 * before it reads what has come. One that is killed loses everything at once. After every step the
 * ghost (invariants.c) has its say.
 *
 * Every message goes through the codec: bytes travel, never pointers.
 */
#include "sim.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "unit/allocs.h"

#define PIPE_FRAMES_MAX 1000
#define MESSAGE_MAX (1u << 20)
#define SETTLE_US (10 * ZN_SECOND)
#define CONFIG_TEXT_MAX 4096

static const char *const replica_names[SIM_REPLICAS_MAX] = {
    "alpha", "bravo", "charlie", "delta", "echo", "foxtrot", "golf", "hotel", "india",
};

void sim_at(struct sim *s, uint64_t at_us, const struct sim_due *due)
{
    struct sim_due d = *due;
    d.at_us = at_us < s->now_us ? s->now_us : at_us;
    sim_queue_put(&s->queue, &d);
}

int sim_find(const struct sim *s, const char *name)
{
    for (int i = 0; i < s->nodes_n; i++)
        if (strcmp(s->nodes[i].name, name) == 0)
            return i;
    return -1;
}

/* ---- the inbox ---- */

static void inbox_init(struct sim_inbox *inbox)
{
    inbox->first = NULL;
    inbox->end = &inbox->first;
}

static struct sim_item *inbox_append(struct sim_inbox *inbox, enum zn_event_type type)
{
    struct sim_item *item = calloc(1, sizeof *item);
    assert(item);
    item->type = type;
    item->peer = -1;
    *inbox->end = item;
    inbox->end = &item->next;
    return item;
}

static struct sim_item *inbox_take(struct sim_inbox *inbox)
{
    struct sim_item *item = inbox->first;
    if (!item)
        return NULL;
    inbox->first = item->next;
    if (!inbox->first)
        inbox->end = &inbox->first;
    return item;
}

static void item_free(struct sim *s, struct sim_item *item)
{
    if (item->frame)
        sim_frame_read(s, item->frame);
    zn_blob_drop(&item->body);
    zn_blob_drop(&item->call.body);
    free(item);
}

void sim_inbox_clear(struct sim *s, struct sim_inbox *inbox)
{
    for (struct sim_item *item; (item = inbox_take(inbox));)
        item_free(s, item);
}

void sim_turn_soon(struct sim *s, int node)
{
    struct sim_node *n = &s->nodes[node];
    if (n->turn_due || !n->alive || n->stopped)
        return;
    n->turn_due = true;
    sim_at(s, n->gap_us ? n->turn_us + n->gap_us : s->now_us,
           &(struct sim_due){.what = SIM_TURN, .node = node, .mark = n->life_n});
}

struct sim_item *sim_inbox_add(struct sim *s, int node, enum zn_event_type type)
{
    sim_turn_soon(s, node);
    return inbox_append(&s->nodes[node].inbox, type);
}

uint64_t sim_clock(const struct sim *s, int node)
{
    const struct sim_node *n = &s->nodes[node];
    return (n->frozen ? n->frozen_us : s->now_us) - n->lost_us;
}

bool sim_has_mesh(const struct sim *s, int node) { return s->nodes[node].mesh != NULL; }

/* The next frame that waits there; NULL: none. */
struct sim_frame *sim_inbox_frame(struct sim *s, int node)
{
    struct sim_item *item = inbox_take(&s->nodes[node].inbox);
    struct sim_frame *f = item ? item->frame : NULL;
    free(item);
    return f;
}

void sim_count(struct sim *s, int node, enum zn_counter counter)
{
    if (sim_has_mesh(s, node))
        inbox_append(&s->nodes[node].soon, ZN_EV_COUNT)->counter = counter;
}

/* ---- messages that leave ---- */

/* The messages of one frame, encoded. */
struct parts {
    struct zn_blob *at[2 * ZN_BATCH_MESSAGES_MAX];
    size_t n;
};

static struct zn_blob *pack(const struct zn_msg *msg)
{
    struct zn_blob *b;
    int rc = zn_blob_make(zn_wire_size(msg), &b);
    assert(rc == 0);
    zn_wire_pack(msg, b->data);
    return b;
}

/* What is kept for the other peers of a broadcast may say an older budget and floor, which are never
 * less careful, and must otherwise be this very message. msg becomes what really leaves. */
static void check_kept(struct sim *s, const struct zn_blob *kept, struct zn_msg *msg)
{
    struct zn_msg old;
    enum zn_wire_error error;
    zn_decoder_begin(s->checker, kept->data, kept->bytes);
    if (!zn_decoder_next(s->checker, &old, &error) || error != ZN_WIRE_OK) {
        sim_fail(s, "the encoding kept for a broadcast does not decode");
        return;
    }
    bool older = old.budget_ms >= msg->budget_ms && old.floor <= msg->floor;
    msg->budget_ms = old.budget_ms;
    msg->floor = old.floor;
    struct zn_blob *fresh = pack(msg);
    if (!older || fresh->bytes != kept->bytes || memcmp(fresh->data, kept->data, kept->bytes) != 0)
        sim_fail(s, "the encoding kept for a broadcast is not that of its message");
    zn_blob_drop(&fresh);
    zn_msg_drop(&old);
}

static struct zn_blob *encode(struct sim *s, struct zn_action *a)
{
    if (a->wire && *a->wire) {
        check_kept(s, *a->wire, &a->msg);
        return zn_blob_ref(*a->wire);
    }
    struct zn_blob *b = pack(&a->msg);
    if (a->wire)
        *a->wire = zn_blob_ref(b);
    return b;
}

static struct zn_blob *frame_of(struct parts *p)
{
    if (p->n == 1)
        return zn_blob_ref(p->at[0]);
    size_t bytes = 0;
    for (size_t i = 0; i < p->n; i++)
        bytes += ZN_WIRE_ITEM_HEAD_MAX + p->at[i]->bytes;
    struct zn_blob *frame;
    int rc = zn_blob_make(bytes, &frame);
    assert(rc == 0);
    uint8_t *end = frame->data;
    for (size_t i = 0; i < p->n; i++) {
        end += zn_wire_item_head(p->at[i]->bytes, end);
        memcpy(end, p->at[i]->data, p->at[i]->bytes);
        end += p->at[i]->bytes;
    }
    frame->bytes = (size_t)(end - frame->data);
    return frame;
}

static int hand_over(struct sim *s, int node, const struct zn_action *a, struct zn_blob *frame,
                     uint64_t extra_us)
{
    return a->type == ZN_ACT_SEND ? sim_link_send(s, node, a->peer, frame, extra_us)
                                  : sim_link_reply(s, node, a->route, frame, extra_us);
}

static struct sim_rule *rule_for(struct sim *s, int from, int to, enum zn_kind kind)
{
    for (size_t i = 0; i < SIM_RULES_MAX; i++) {
        struct sim_rule *r = &s->rules[i];
        if (r->left && r->from == from && r->to == to && r->kind == kind)
            return r;
    }
    return NULL;
}

/* True: a rule has taken the message away from its frame. */
static bool follow_rule(struct sim *s, int node, int to, const struct zn_action *a,
                        struct zn_blob *bytes, const char **fate)
{
    struct sim_rule *r = rule_for(s, node, to, a->msg.kind);
    if (!r)
        return false;
    r->left--;
    s->lost_us[node][to] = s->now_us;
    if (r->what == SIM_RULE_DROP) {
        *fate = "(dropped)";
        return true;
    }
    *fate = r->what == SIM_RULE_DUP ? "(twice)" : "(held back)";
    int rc = hand_over(s, node, a, zn_blob_ref(bytes), r->delay_us);
    if (rc != 0)
        *fate = "(not taken)";
    return r->what == SIM_RULE_HOLD;
}

static void add_part(struct sim *s, int node, struct zn_action *a, struct parts *p)
{
    int to =
        a->type == ZN_ACT_SEND ? s->nodes[node].links[a->peer].to : sim_route_node(s, a->route);
    int stranger = a->type == ZN_ACT_REPLY ? sim_route_stranger(a->route) : -1;
    const char *name = stranger >= 0 ? s->strangers[stranger] : to >= 0 ? s->nodes[to].name : "?";
    const char *fate = "";
    struct zn_blob *bytes = encode(s, a);
    assert(p->n < sizeof p->at / sizeof *p->at);
    if (follow_rule(s, node, to, a, bytes, &fate))
        zn_blob_drop(&bytes);
    else
        p->at[p->n++] = bytes;
    sim_say_msg(s, s->nodes[node].name, name, &a->msg, fate);
    if (a->type == ZN_ACT_SEND)
        sim_ghost_sent(s, &a->msg);
}

static void not_taken(struct sim *s, int node, const struct zn_action *a)
{
    struct sim_inbox *soon = &s->nodes[node].soon;
    if (a->type == ZN_ACT_SEND) {
        sim_say(s, "%s link to %s takes no more", s->nodes[node].name, s->nodes[a->peer].name);
        inbox_append(soon, ZN_EV_SEND_FAILED)->peer = a->peer;
    } else {
        inbox_append(soon, ZN_EV_COUNT)->counter = ZN_COUNT_answers_lost;
    }
}

static void check_lock_step(struct sim *s, int node, const struct zn_action *a, size_t messages)
{
    bool is_send = a->type == ZN_ACT_SEND;
    bool lock_step =
        is_send ? sim_patterns[s->nodes[node].pattern].lock_step : sim_route_is_question(a->route);
    if (messages > 1 && lock_step)
        sim_fail(s, "%s: a frame of %zu messages on a lock-step link", s->nodes[node].name,
                 messages);
}

/* What a rule took away has left as well, for all that core knows. */
static void has_left(struct sim *s, int node, const struct zn_action *a, size_t n,
                     const struct parts *p)
{
    for (size_t i = 0; i < n && a->type == ZN_ACT_SEND; i++) {
        sim_ghost_left(s, node, a[i].peer, &a[i].msg);
        if (n == p->n)
            sim_network_keep(s, node, a[i].peer, p->at[i]);
    }
}

/* One frame: the action at *i and those that go with it. */
static void carry_frame(struct sim *s, int node, size_t *i)
{
    const struct zn_actions *out = &s->nodes[node].out;
    struct parts p = {.n = 0};
    size_t first = *i;
    for (add_part(s, node, &out->at[*i], &p); out->at[*i].more;
         add_part(s, node, &out->at[*i], &p)) {
        const struct zn_action *a = &out->at[(*i)++];
        if (*i == out->n || out->at[*i].type != a->type || out->at[*i].peer != a->peer ||
            out->at[*i].route != a->route) {
            sim_fail(s, "%s: `more` is set, but the next action is for elsewhere",
                     s->nodes[node].name);
            (*i)--;
            break;
        }
    }
    check_lock_step(s, node, &out->at[*i], p.n);
    if (p.n && hand_over(s, node, &out->at[*i], frame_of(&p), 0) != 0)
        not_taken(s, node, &out->at[*i]);
    else
        has_left(s, node, &out->at[first], *i - first + 1, &p);
    for (size_t k = 0; k < p.n; k++)
        zn_blob_drop(&p.at[k]);
}

/* ---- the model handler ---- */

static void answer_soon(struct sim_node *n, uint64_t token, int code, const char *text)
{
    struct sim_item *item = inbox_append(&n->soon, ZN_EV_ANSWER);
    item->token = token;
    item->code = code;
    int rc = zn_blob_copy(text, strlen(text), &item->body);
    assert(rc == 0);
}

static void pend(struct sim_node *n, const struct zn_action *a)
{
    struct sim_pending *p = calloc(1, sizeof *p);
    assert(p);
    p->token = a->token;
    p->id = a->id;
    p->code = n->handler.code;
    memcpy(p->text, n->handler.text, sizeof p->text);
    p->next = n->pending;
    n->pending = p;
}

static void carry_deliver(struct sim *s, int node, const struct zn_action *a)
{
    static const char *const does[] = {"acks", "refuses", "answers later", "never answers"};
    struct sim_node *n = &s->nodes[node];
    const struct sim_handler *h = &n->handler;
    char id[128];
    sim_say(s, "%s runs %s from %s, %s", n->name, sim_id_text(s, a->id, id, sizeof id), a->from,
            does[h->kind]);
    sim_ghost_ran(s, node, a->id);
    if (h->kind == SIM_HANDLER_ACK || h->kind == SIM_HANDLER_REFUSE) {
        sim_ghost_answered(s, node, a->id, h->code);
        answer_soon(n, a->token, h->code, h->text);
        return;
    }
    pend(n, a);
    if (h->kind == SIM_HANDLER_LATER)
        sim_at(s, s->now_us + h->delay_us,
               &(struct sim_due){
                   .what = SIM_ANSWER, .node = node, .mark = n->life_n, .token = a->token});
}

static void late_answer(struct sim *s, const struct sim_due *due)
{
    struct sim_node *n = &s->nodes[due->node];
    struct sim_pending **at = &n->pending;
    if (n->alive && !n->mesh) {
        sim_original_due(s, due);
        return;
    }
    while (*at && (*at)->token != due->token)
        at = &(*at)->next;
    struct sim_pending *p = *at;
    if (!p || !n->alive || n->life_n != due->mark)
        return;
    *at = p->next;
    char id[128];
    sim_say(s, "%s handler answers %s", n->name, sim_id_text(s, p->id, id, sizeof id));
    sim_ghost_answered(s, due->node, p->id, p->code);
    struct sim_item *item = sim_inbox_add(s, due->node, ZN_EV_ANSWER);
    item->token = p->token;
    item->code = p->code;
    int rc = zn_blob_copy(p->text, strlen(p->text), &item->body);
    assert(rc == 0);
    free(p);
}

/* ---- actions ---- */

static void carry_note(struct sim *s, int node, const struct zn_note *note)
{
    static const char *const ids[ZN_NOTES_N] = {
#define NOTE_ID(name, id, level) [ZN_NOTE_##name] = id,
        ZN_NOTES(NOTE_ID)
#undef NOTE_ID
    };
    static const char *const counters[ZN_COUNTERS_N] = {
#define COUNTER_NAME(name, unit, help) [ZN_COUNT_##name] = #name,
        ZN_COUNTERS(COUNTER_NAME)
#undef COUNTER_NAME
    };
    const char *peer = note->peer >= 0 ? s->nodes[note->peer].name : "-";
    if (note->id == ZN_NOTE_PEER_UP && note->peer >= 0)
        sim_link_good(s, node, note->peer);
    sim_ghost_note(s, node, note);
    if (note->id == ZN_NOTE_NAME_CLASH && !s->impostors && s->strangers_n == 0 && !s->replayed)
        sim_fail(s, "%s is told of a second replica of its name, and there is none",
                 s->nodes[node].name);
    if (note->id == ZN_NOTE_BAD_INPUT)
        sim_say(s, "%s note %s %s %s count=%" PRIu64, s->nodes[node].name, ids[note->id], peer,
                counters[note->counter], note->count);
    else
        sim_say(s, "%s note %s %s%s%s%s", s->nodes[node].name, ids[note->id], peer,
                note->why ? " (" : "", note->cause, note->why ? ")" : "");
}

static void carry_out(struct sim *s, int node)
{
    const struct zn_actions *out = &s->nodes[node].out;
    for (size_t i = 0; i < out->n; i++) {
        const struct zn_action *a = &out->at[i];
        switch (a->type) {
        case ZN_ACT_SEND:
        case ZN_ACT_REPLY: carry_frame(s, node, &i); break;
        case ZN_ACT_DELIVER: carry_deliver(s, node, a); break;
        case ZN_ACT_PROGRESS: sim_ghost_progress(s, node, a); break;
        case ZN_ACT_DONE:
            sim_say_done(s, node, a);
            sim_ghost_done(s, node, a);
            break;
        case ZN_ACT_WANT: sim_link_want(s, node, a->peer); break;
        case ZN_ACT_RESET: sim_link_reset(s, node, a->peer); break;
        case ZN_ACT_NOTE: carry_note(s, node, &a->note); break;
        default: sim_fail(s, "%s emitted action %d", s->nodes[node].name, (int)a->type);
        }
    }
}

/* ---- steps and turns ---- */

/* Looking at every table costs more than all the rest. */
static bool check_is_due(struct sim *s)
{
    return s->options.check_every == 0 || ++s->steps % s->options.check_every == 0;
}

static int step(struct sim *s, int node, const struct zn_event *event)
{
    struct sim_node *n = &s->nodes[node];
    size_t calls = allocs_calls();
    int rc = zn_mesh_step(n->mesh, sim_clock(s, node), event, &n->out);
    if (allocs_calls() != calls)
        sim_fail(s, "%s allocates in a step", n->name);
    if (n->out.n > zn_mesh_actions_max(n->mesh))
        sim_fail(s, "%s emitted %zu actions", n->name, n->out.n);
    bool idle = n->out.n == 0 && (event->type == ZN_EV_TICK || event->type == ZN_EV_FLUSH);
    carry_out(s, node);
    if (!idle && check_is_due(s))
        zn_mesh_check(n->mesh);
    return rc;
}

static void consequences(struct sim *s, int node);

static const struct zmqnet_peer_status *view_of(struct sim *s, int node, int peer)
{
    return &sim_look(s, node)->peers[peer];
}

/* As step(), and looks at what the answer did to its row. */
static void step_answer(struct sim *s, int node, const struct zn_event *event)
{
    int peer = event->peer;
    bool in_time = sim_ghost_heard(s, node, peer, event->msg);
    uint64_t unknown = view_of(s, node, peer)->unknown, late = view_of(s, node, peer)->late;
    step(s, node, event);
    if (event->msg->code == ZMQNET_ETOOOLD && view_of(s, node, peer)->unknown != unknown)
        sim_ghost_too_old(s, node, peer, event->msg);
    if (in_time && view_of(s, node, peer)->late != late)
        sim_ghost_late(s, node, peer, event->msg);
}

static void step_message(struct sim *s, int node, const struct zn_event *event)
{
    if (event->type == ZN_EV_ROUTE_MSG)
        sim_ghost_asked(s, node, event->msg);
    if (event->type == ZN_EV_LINK_MSG && event->msg->kind == ZN_REPLY)
        step_answer(s, node, event);
    else
        step(s, node, event);
}

static void step_frame(struct sim *s, int node, struct sim_item *item)
{
    const struct zn_blob *bytes = item->frame->bytes;
    struct zn_msg msg;
    enum zn_wire_error error;
    if (!sim_pattern_reads(s, item->frame))
        return;
    consequences(s, node);
    zn_decoder_begin(s->decoder, bytes->data, bytes->bytes);
    while (zn_decoder_next(s->decoder, &msg, &error)) {
        if (error != ZN_WIRE_OK) {
            sim_fail(s, "%s got bytes that do not decode (%d)", s->nodes[node].name, (int)error);
            return;
        }
        step_message(s, node,
                     &(struct zn_event){.type = item->type,
                                        .peer = item->peer,
                                        .route = item->route,
                                        .connection = sim_route_connection(item->route),
                                        .msg = &msg});
        zn_msg_drop(&msg);
        consequences(s, node);
    }
}

/* A RESET was asked for after this was put into the inbox. */
static bool is_void(const struct sim_node *n, const struct sim_item *item)
{
    switch (item->type) {
    case ZN_EV_LINK_UP:
    case ZN_EV_LINK_LOST:
    case ZN_EV_LINK_FAILED:
    case ZN_EV_LINK_WRITABLE:
    case ZN_EV_LINK_GAP:
    case ZN_EV_LINK_MSG: return n->links[item->peer].epoch != item->epoch;
    default: return false;
    }
}

static void call_begins(struct sim *s, const struct sim_item *item)
{
    struct sim_call *c = &s->calls[item->call.tag];
    c->begun = true;
    c->begun_us = s->now_us;
    c->faults = s->faults;
    sim_ghost_begins(s, c);
}

static void say_link(struct sim *s, int node, const struct sim_item *item)
{
    const char *name = s->nodes[node].name,
               *peer = item->peer >= 0 ? s->nodes[item->peer].name : "";
    if (item->type == ZN_EV_LINK_UP && s->show_hellos)
        sim_say(s, "%s link to %s is up", name, peer);
    else if (item->type == ZN_EV_LINK_LOST)
        sim_say(s, "%s link to %s is lost", name, peer);
    else if (item->type == ZN_EV_LINK_FAILED && s->show_hellos)
        sim_say(s, "%s link to %s failed (%s)", name, peer, zn_why_text(item->why));
    else if (item->type == ZN_EV_LINK_GAP)
        sim_say(s, "%s hears that %s misses something", name, peer);
}

static void step_item(struct sim *s, int node, struct sim_item *item)
{
    if (!is_void(&s->nodes[node], item)) {
        say_link(s, node, item);
        if (item->type == ZN_EV_CALL)
            call_begins(s, item);
        if (item->frame && item->frame->bytes)
            step_frame(s, node, item);
        else
            step(s, node,
                 &(struct zn_event){.type = item->type,
                                    .peer = item->peer,
                                    .why = item->why,
                                    .call = item->type == ZN_EV_CALL ? &item->call : NULL,
                                    .token = item->token,
                                    .code = item->code,
                                    .body = item->body,
                                    .counter = item->counter});
    }
    item_free(s, item);
}

static void consequences(struct sim *s, int node)
{
    for (struct sim_item *item; (item = inbox_take(&s->nodes[node].soon));)
        step_item(s, node, item);
}

static void flush(struct sim *s, int node)
{
    int more;
    unsigned times = 0;
    do {
        more = step(s, node, &(struct zn_event){.type = ZN_EV_FLUSH, .peer = -1});
        consequences(s, node);
        if (++times > 100000) {
            sim_fail(s, "%s flushes without end", s->nodes[node].name);
            return;
        }
    } while (more);
}

static void arm(struct sim *s, int node)
{
    struct sim_node *n = &s->nodes[node];
    uint64_t next_us = zn_mesh_next_us(n->mesh);
    if (next_us == n->timer_us && next_us > sim_clock(s, node))
        return;
    n->timer_us = next_us;
    n->timer_mark++;
    if (next_us != UINT64_MAX)
        sim_at(s, next_us > sim_clock(s, node) ? next_us + n->lost_us : s->now_us + 1,
               &(struct sim_due){.what = SIM_TIMER, .node = node, .mark = n->timer_mark});
}

static void die(struct sim *s, int node)
{
    struct sim_node *n = &s->nodes[node];
    n->alive = n->stopped = n->frozen = n->ending = false;
    n->changed_us = s->now_us;
    n->midway = false;
    n->work.busy = n->work.done = false;
    n->timer_mark++;
    for (uint64_t t = 1; t <= s->calls_n; t++)
        if (s->calls[t].node == node && !s->calls[t].done_n)
            s->calls[t].forgotten = true;
    zn_mesh_close(&n->mesh);
    free(n->out.at);
    n->out = (struct zn_actions){0};
    sim_inbox_clear(s, &n->inbox);
    sim_inbox_clear(s, &n->soon);
    for (struct sim_pending *p; (p = n->pending); free(p))
        n->pending = p->next;
    sim_network_died(s, node);
}

static void finish(struct sim *s, int node)
{
    struct sim_node *n = &s->nodes[node];
    step(s, node, &(struct zn_event){.type = ZN_EV_CLOSE, .peer = -1});
    consequences(s, node);
    flush(s, node);
    step(s, node, &(struct zn_event){.type = ZN_EV_BYE, .peer = -1});
    consequences(s, node);
    for (uint64_t t = 1; t <= s->calls_n; t++)
        if (s->calls[t].node == node && s->calls[t].begun && !s->calls[t].forgotten &&
            s->calls[t].done_n != 1)
            sim_fail(s, "%s closed with call %" PRIu64 " open", n->name, t);
    sim_say(s, "%s has ended", n->name);
    die(s, node);
}

/* Whoever was stopped in the middle of a turn goes on there: what came since then waits for the next. */
static void read_all(struct sim *s, int node)
{
    struct sim_node *n = &s->nodes[node];
    if (n->midway) {
        n->midway = false;
        sim_turn_soon(s, node);
        return;
    }
    for (struct sim_item *item; (item = inbox_take(&n->inbox));) {
        step_item(s, node, item);
        consequences(s, node);
    }
}

static void turn(struct sim *s, int node)
{
    struct sim_node *n = &s->nodes[node];
    n->turn_due = false;
    n->turn_us = s->now_us;
    if (!n->mesh) {
        sim_original_turn(s, node);
        return;
    }
    read_all(s, node);
    step(s, node, &(struct zn_event){.type = ZN_EV_TICK, .peer = -1});
    consequences(s, node);
    flush(s, node);
    if (check_is_due(s))
        sim_check_node(s, node);
    arm(s, node);
    if (n->ending && (zn_mesh_open_count(n->mesh) == 0 || s->now_us >= n->exit_us))
        finish(s, node);
}

void sim_feed(struct sim *s, int node, const struct zn_event *event)
{
    if (!sim_has_mesh(s, node) || s->nodes[node].stopped)
        return;
    step(s, node, event);
    consequences(s, node);
    sim_turn_soon(s, node);
}

/* ---- processes ---- */

static struct sim_node *add_node(struct sim *s, const char *name, int self)
{
    assert(s->nodes_n < SIM_NODES_MAX);
    struct sim_node *n = &s->nodes[s->nodes_n++];
    snprintf(n->name, sizeof n->name, "%s", name);
    n->self = self;
    n->via = -1;
    n->pattern = n->next_pattern = SIM_ROUTER;
    n->tables = s->options.tables;
    inbox_init(&n->inbox);
    inbox_init(&n->soon);
    for (int p = 0; p < s->replicas_n; p++) {
        n->where[p] = p;
        n->links[p].there.held_end = &n->links[p].there.held;
        n->links[p].back.held_end = &n->links[p].back.held;
    }
    return n;
}

int sim_add_client(struct sim *s, const char *name, int via)
{
    struct sim_node *n = add_node(s, name, -1);
    n->via = via;
    return s->nodes_n - 1;
}

int sim_add_impostor(struct sim *s, const char *name, int self)
{
    s->impostors = true;
    add_node(s, name, self);
    return s->nodes_n - 1;
}

static struct zn_mesh_config config_of(struct sim *s, const struct sim_node *n)
{
    const struct sim_tables *t = &n->tables;
    return (struct zn_mesh_config){
        .peers = n->other_file ? s->peers_other : s->peers,
        .self = n->self,
        .via = n->via,
        .life = n->life,
        .seed = n->life + 1,
        .pattern = sim_patterns[n->pattern].name,
        .pattern_too = sim_patterns[n->pattern].too,
        .lock_step = sim_patterns[n->pattern].lock_step,
        .message_max = s->options.message_max,
        .calls_max = t->calls,
        .served_max = t->served,
        .origins_max = t->origins,
        .queue_messages_max = t->queue,
        .window_messages_max = t->window,
        .call_bytes_max = t->call_bytes,
        .served_bytes_max = t->served_bytes,
        .queue_bytes_max = t->queue_bytes,
    };
}

static void open_mesh(struct sim *s, struct sim_node *n)
{
    struct zn_mesh_config config = config_of(s, n);
    int rc = zn_mesh_open(&config, sim_clock(s, (int)(n - s->nodes)), &n->mesh);
    assert(rc == 0);
    n->out.at = calloc(zn_mesh_actions_max(n->mesh), sizeof *n->out.at);
    assert(n->out.at);
}

void sim_start(struct sim *s, int node)
{
    struct sim_node *n = &s->nodes[node];
    if (n->alive)
        return;
    s->faults++;
    n->alive = true;
    n->turn_due = false;
    n->life_n++;
    n->life = zn_rand_u64(&s->rand) | 1;
    n->resumed_us = n->changed_us = s->now_us;
    n->timer_us = UINT64_MAX;
    n->lost_us = n->open_until_us = n->asked_n = n->begun_n = 0;
    memset(n->left_n, 0, sizeof n->left_n);
    memset(n->acked_n, 0, sizeof n->acked_n);
    memset(n->refused_n, 0, sizeof n->refused_n);
    n->pattern = n->next_pattern;
    sim_life_add(s, n->life, node, n->life_n);
    if (!n->next_original)
        open_mesh(s, n);
    s->originals |= n->next_original;
    sim_turn_soon(s, node);
}

void sim_kill(struct sim *s, int node)
{
    s->faults++;
    if (s->nodes[node].alive)
        die(s, node);
}

void sim_end(struct sim *s, int node, uint64_t grace_us)
{
    struct sim_node *n = &s->nodes[node];
    s->faults++;
    if (!n->alive || n->ending)
        return;
    if (!n->mesh) {
        die(s, node);
        return;
    }
    n->ending = true;
    n->exit_us = s->now_us + grace_us;
    sim_inbox_add(s, node, ZN_EV_DRAIN);
    sim_at(s, n->exit_us, &(struct sim_due){.what = SIM_EXIT, .node = node, .mark = n->life_n});
}

void sim_stop(struct sim *s, int node, bool midway)
{
    struct sim_node *n = &s->nodes[node];
    s->faults++;
    if (n->alive && !n->stopped) {
        n->before_us = n->changed_us;
        n->asleep_us = s->now_us;
    }
    n->changed_us = s->now_us;
    n->stopped = n->alive;
    n->midway = n->stopped && n->mesh && midway;
}

void sim_pause(struct sim *s, int node, bool midway)
{
    struct sim_node *n = &s->nodes[node];
    if (n->stopped)
        return;
    sim_stop(s, node, midway);
    n->frozen = n->stopped;
    n->frozen_us = s->now_us;
}

void sim_slow(struct sim *s, int node, uint64_t gap_us)
{
    struct sim_node *n = &s->nodes[node];
    if (n->gap_us == gap_us)
        return;
    s->faults++;
    n->gap_us = gap_us;
    n->before_us = n->changed_us = n->resumed_us = s->now_us;
    n->turn_due = false; /* it comes at another time now */
    sim_turn_soon(s, node);
}

void sim_continue(struct sim *s, int node)
{
    struct sim_node *n = &s->nodes[node];
    s->faults++;
    if (!n->stopped)
        return;
    if (n->frozen)
        n->lost_us += s->now_us - n->frozen_us;
    n->timer_us = UINT64_MAX; /* what was armed was for another time */
    n->stopped = n->frozen = n->turn_due = false;
    n->resumed_us = n->changed_us = n->woke_us = s->now_us;
    sim_turn_soon(s, node);
    sim_network_continued(s, node);
}

uint64_t sim_ask(struct sim *s, int node, struct zn_call_spec spec, const char *body, size_t n)
{
    struct sim_item *item;
    if (!sim_has_mesh(s, node))
        return 0;
    if (s->calls_n + 1 >= s->calls_max) {
        s->calls_max = s->calls_max ? 2 * s->calls_max : 256;
        s->calls = realloc(s->calls, s->calls_max * sizeof *s->calls);
        assert(s->calls);
    }
    spec.tag = ++s->calls_n;
    struct sim_call *c = &s->calls[spec.tag];
    *c = (struct sim_call){.spec = spec, .node = node, .life_n = s->nodes[node].life_n};
    item = sim_inbox_add(s, node, ZN_EV_CALL);
    item->call = spec;
    int rc = zn_blob_copy(body, n, &item->call.body);
    assert(rc == 0);
    return spec.tag;
}

/* ---- time ---- */

/* A slow process has its turn later, and does not look at the timer again before. */
static void timer_is_due(struct sim *s, int node)
{
    struct sim_node *n = &s->nodes[node];
    if (n->gap_us && s->now_us < n->turn_us + n->gap_us)
        sim_turn_soon(s, node);
    else
        turn(s, node);
}

static void due_now(struct sim *s, const struct sim_due *due)
{
    struct sim_node *n = &s->nodes[due->node];
    bool runs = n->alive && !n->stopped;
    switch (due->what) {
    case SIM_TURN:
        if (runs && due->mark == n->life_n && n->turn_due)
            turn(s, due->node);
        return;
    case SIM_TIMER:
        if (runs && due->mark == n->timer_mark)
            timer_is_due(s, due->node);
        return;
    case SIM_SOON: sim_ghost_soon(s, due->token); return;
    case SIM_DEADLINE: sim_ghost_deadline(s, due->token); return;
    case SIM_EXIT:
        if (n->alive && due->mark == n->life_n)
            sim_turn_soon(s, due->node);
        return;
    case SIM_ANSWER: late_answer(s, due); return;
    default: sim_network_due(s, due);
    }
}

static bool advance(struct sim *s, uint64_t until_us)
{
    struct sim_due due;
    if (s->failed || !sim_queue_take(&s->queue, until_us, &due))
        return false;
    assert(due.at_us >= s->now_us);
    s->now_us = due.at_us;
    due_now(s, &due);
    return true;
}

void sim_run(struct sim *s, uint64_t until_us)
{
    while (advance(s, until_us)) {
    }
    if (s->now_us < until_us)
        s->now_us = until_us;
}

bool sim_idle(const struct sim *s)
{
    for (uint64_t t = 1; t <= s->calls_n; t++)
        if (!s->calls[t].done_n && !s->calls[t].forgotten)
            return false;
    return true;
}

bool sim_run_idle(struct sim *s, uint64_t until_us)
{
    while (!sim_idle(s))
        if (!advance(s, until_us))
            return false;
    return true;
}

static bool settled(struct sim *s)
{
    for (int i = 0; i < s->nodes_n; i++) {
        if (!sim_has_mesh(s, i))
            continue;
        const zmqnet_status *view = sim_look(s, i);
        for (size_t p = 0; p < view->peers_n; p++)
            if (view->peers[p].state == ZMQNET_CONNECTING)
                return false;
    }
    return true;
}

/* Without a trace: what happens until every link has its state is told in a transcript of its own. */
void sim_settle(struct sim *s)
{
    FILE *out = s->out;
    s->out = NULL;
    uint64_t until_us = s->now_us + SETTLE_US;
    do {
        if (!advance(s, until_us))
            break;
    } while (!settled(s));
    s->out = out;
    s->start_us = s->now_us;
}

/* ---- the whole ---- */

static const zmqnet_peers *make_peers(int n, int first_port)
{
    char text[CONFIG_TEXT_MAX];
    size_t end = (size_t)snprintf(text, sizeof text, "{\"replicas\":[");
    for (int i = 0; i < n; i++)
        end += (size_t)snprintf(text + end, sizeof text - end,
                                "%s{\"pid\":%d,\"name\":\"%s\",\"address\":\"10.0.0.%d:%d\","
                                "\"ipaddr\":\"10.0.0.%d\",\"port\":%d}",
                                i ? "," : "", i + 1, replica_names[i], i + 1, first_port + i, i + 1,
                                first_port + i);
    end += (size_t)snprintf(text + end, sizeof text - end, "]}");
    zmqnet_peers *peers = NULL;
    int rc = zmqnet_peers_parse(text, end, &peers, NULL, 0, NULL);
    assert(rc == 0);
    return peers;
}

void sim_open(struct sim *s, const struct sim_options *options, FILE *out)
{
    memset(s, 0, sizeof *s);
    s->options = *options;
    s->out = out;
    s->replicas_n = options->replicas_n;
    s->now_us = ZN_SECOND;
    s->delay_min_us = s->delay_max_us = 500;
    if (!s->options.pipe_frames_max)
        s->options.pipe_frames_max = PIPE_FRAMES_MAX;
    if (!s->options.message_max)
        s->options.message_max = MESSAGE_MAX;
    zn_rand_seed(&s->rand, options->seed);
    s->peers = make_peers(s->replicas_n, 3264);
    s->peers_other = make_peers(s->replicas_n, 4264);
    int rc = zn_decoder_new(s->options.message_max, &s->decoder);
    assert(rc == 0);
    rc = zn_decoder_new(s->options.message_max, &s->checker);
    assert(rc == 0);
    for (int i = 0; i < s->replicas_n; i++) {
        struct sim_node *n = add_node(s, replica_names[i], i);
        n->other_file = options->other_file >> i & 1;
        n->next_original = options->original >> i & 1;
        n->next_pattern = options->pattern;
        for (int p = 0; p < SIM_PATTERNS_N; p++)
            if (options->speaks[p] >> i & 1)
                n->next_pattern = (enum sim_pattern_id)p;
    }
    for (int i = 0; i < s->replicas_n; i++)
        if (!(options->down >> i & 1))
            sim_start(s, i);
}

void sim_close(struct sim *s)
{
    s->out = NULL;
    for (int i = 0; i < s->nodes_n; i++)
        if (s->nodes[i].alive)
            die(s, i);
    for (int i = 0; i < s->nodes_n; i++)
        sim_network_died(s, i);
    sim_queue_free(&s->queue);
    sim_ghost_free(s);
    free(s->calls);
    s->calls = NULL;
    for (size_t i = 0; i < SIM_KEPT_MAX; i++)
        if (s->kept[i])
            sim_frame_free(s->kept[i]);
    zn_decoder_free(&s->decoder);
    zn_decoder_free(&s->checker);
    zn_peers_drop(&s->peers);
    zn_peers_drop(&s->peers_other);
}
