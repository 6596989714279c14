/* SPDX-License-Identifier: MIT */
/*
 * Drives one mesh for the tests of core, as node/ does in earnest: an event goes in, its actions
 * are carried out, by writing down what they were. The encoding of a message is just the lives that
 * it is meant for, and is shared as core says.
 *
 * Every step is checked for allocations and, by zn_mesh_check(), for what must hold in the tables.
 * That walks all slots ever used, so with large tables only every so many steps.
 */
#include "mesh_driver.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "allocs.h"

#define SLOTS_CHECKED_ALWAYS 512u
#define SLOTS_CHECKED_PER_STEP 16u
#define TURNS_MAX 100000

/* ---- opening ---- */

static zmqnet_peers *peers_make(int n)
{
    static char text[ZN_REPLICAS_MAX * 80 + 100];
    size_t at =
        (size_t)snprintf(text, sizeof text, "{\"info\":{\"num_replicas\":%d},\"replicas\":[", n);
    for (int p = 0; p < n; p++)
        at += (size_t)snprintf(text + at, sizeof text - at,
                               "%s{\"name\":\"r%d\",\"pid\":%d,\"address\":\"127.0.0.1:%d\"}",
                               p ? "," : "", p, p + 1, 9000 + p);
    at += (size_t)snprintf(text + at, sizeof text - at, "]}");
    zmqnet_peers *peers;
    struct zmqnet_diag diags[1];
    size_t diags_n;
    assert_int_equal(zmqnet_peers_parse(text, at, &peers, diags, 1, &diags_n), 0);
    return peers;
}

struct driver *drive_open(int n, int self, struct zn_mesh_config config)
{
    struct driver *d = calloc(1, sizeof *d);
    assert_non_null(d);
    d->peers = peers_make(n);
    d->now_us = ZN_SECOND;
    config.peers = d->peers;
    config.self = self;
    config.pattern = "router";
    if (self >= 0)
        config.via = -1;
    if (config.life == 0)
        config.life = self < 0 ? LIFE_OF_CLIENT : life_of(self);
    if (config.message_max == 0)
        config.message_max = ZMQNET_MESSAGE_MAX;
    assert_int_equal(zn_mesh_open(&config, d->now_us, &d->m), 0);
    d->out.at = calloc(zn_mesh_actions_max(d->m), sizeof *d->out.at);
    assert_non_null(d->out.at);
    return d;
}

void drive_close(struct driver **driver)
{
    struct driver *d = *driver;
    zn_mesh_close(&d->m);
    assert_null(d->m);
    zmqnet_peers_free(&d->peers);
    free(d->out.at);
    free(d);
    *driver = NULL;
}

struct zn_blob *drive_blob(size_t bytes)
{
    struct zn_blob *b;
    assert_int_equal(zn_blob_make(bytes, &b), 0);
    memset(b->data, 'x', bytes);
    return b;
}

/* ---- carrying out ---- */

/* A copy that does not name the life that it reaches is refused there. */
static bool is_meant_for(const struct driver_sent *s, uint64_t life)
{
    for (size_t i = 0; i < s->lives_n; i++)
        if (s->lives[i] == life)
            return true;
    return false;
}

static void carry_send(struct driver *d, const struct zn_action *a)
{
    d->sent[a->msg.kind]++;
    if (a->msg.kind == ZN_PING)
        d->unanswered_pings |= zn_bit(a->peer);
    if (!a->wire)
        return;
    if (!*a->wire) {
        d->encodings++;
        *a->wire = drive_blob(sizeof(uint64_t) * (a->msg.lives_n + 1));
        memcpy((*a->wire)->data, a->msg.to_life, sizeof(uint64_t) * a->msg.lives_n);
    }
    struct driver_sent *s = &d->to[a->peer];
    *s = (struct driver_sent){
        .kind = a->msg.kind,
        .id = a->msg.id,
        .floor = a->msg.floor,
        .at_us = d->now_us,
        .attempt = a->msg.attempt,
        .lives_n = (*a->wire)->bytes / sizeof(uint64_t) - 1,
    };
    memcpy(s->lives, (*a->wire)->data, sizeof(uint64_t) * s->lives_n);
    assert_true(is_meant_for(s, d->m->peers[a->peer].life));
    d->requests_to[a->peer]++;
}

static struct driver_result result_of(const struct driver *d, const struct zn_row *rows,
                                      size_t rows_n)
{
    struct driver_result r = {.rows_n = rows_n, .at_us = d->now_us};
    assert_true(rows_n <= ZN_REPLICAS_MAX);
    for (size_t i = 0; i < rows_n; i++) {
        r.rows[i] = rows[i];
        r.rows[i].reply = NULL;
        r.reply_bytes += zn_blob_bytes(rows[i].reply);
    }
    return r;
}

static void carry_done(struct driver *d, const struct zn_done *done)
{
    d->dones++;
    d->done = result_of(d, done->rows, done->rows_n);
    d->done.status = done->status;
    d->done.need = done->need;
    d->done.have = done->have;
    d->done.why = done->why;
}

static void carry_reply(struct driver *d, const struct zn_action *a)
{
    d->replies++;
    d->reply = result_of(d, a->msg.rows, a->msg.rows_n);
    d->reply.route = a->route;
    d->reply.status = a->msg.code;
    d->reply.need = a->msg.need;
    d->reply.have = a->msg.have;
    d->reply.reply_bytes += zn_blob_bytes(a->msg.body);
}

static void carry(struct driver *d, const struct zn_action *a)
{
    switch (a->type) {
    case ZN_ACT_SEND: carry_send(d, a); return;
    case ZN_ACT_REPLY: carry_reply(d, a); return;
    case ZN_ACT_DONE: carry_done(d, &a->done); return;
    case ZN_ACT_DELIVER:
        d->deliveries++;
        d->token = a->token;
        return;
    case ZN_ACT_PROGRESS: d->progresses++; return;
    case ZN_ACT_NOTE: d->notes++; return;
    case ZN_ACT_RESET: d->resets++; return;
    case ZN_ACT_WANT: return;
    }
    fail();
}

/* How large the frames are that join several answers. */
static void frames_measure(struct driver *d)
{
    size_t bytes = 0;
    uint32_t answers = 0;
    for (size_t i = 0; i < d->out.n; i++) {
        const struct zn_action *a = &d->out.at[i];
        if (a->type != ZN_ACT_REPLY)
            continue;
        bytes += zn_blob_bytes(a->msg.body);
        for (size_t r = 0; r < a->msg.rows_n; r++)
            bytes += zn_blob_bytes(a->msg.rows[r].reply);
        if (++answers > 1 && bytes > d->joined_bytes_max)
            d->joined_bytes_max = bytes;
        if (answers > d->joined_answers_max)
            d->joined_answers_max = answers;
        if (a->more)
            continue;
        bytes = 0;
        answers = 0;
    }
}

int drive(struct driver *d, struct zn_event e)
{
    size_t before = allocs_calls();
    int rc = zn_mesh_step(d->m, d->now_us, &e, &d->out);
    assert_int_equal(allocs_calls(), before);
    frames_measure(d);
    for (size_t i = 0; i < d->out.n; i++)
        carry(d, &d->out.at[i]);
    size_t slots = d->m->calls_fresh + d->m->served_fresh;
    d->steps_unchecked++;
    if (slots <= SLOTS_CHECKED_ALWAYS || d->steps_unchecked * SLOTS_CHECKED_PER_STEP > slots) {
        zn_mesh_check(d->m);
        d->steps_unchecked = 0;
    }
    return rc;
}

void drive_flush(struct driver *d)
{
    for (int i = 0; drive(d, (struct zn_event){.type = ZN_EV_FLUSH, .peer = -1}) == 1; i++)
        assert_true(i < TURNS_MAX);
}

void drive_tick(struct driver *d) { drive(d, (struct zn_event){.type = ZN_EV_TICK, .peer = -1}); }

void drive_for(struct driver *d, uint64_t us)
{
    uint64_t end_us = d->now_us + us;
    int turns = 0;
    for (bool over = false; !over;) {
        assert_true(turns++ < TURNS_MAX);
        uint64_t next_us = zn_mesh_next_us(d->m);
        over = next_us > end_us;
        if (over)
            d->now_us = end_us;
        else if (next_us > d->now_us)
            d->now_us = next_us;
        drive_tick(d);
        drive_flush(d);
        for (int p = 0; p < (int)d->m->n; p++)
            if (d->unanswered_pings & d->alive & zn_bit(p))
                drive_pong(d, p);
    }
}

/* ---- links ---- */

static const char *name_of(const struct driver *d, int peer)
{
    return zmqnet_peers_get(d->peers, (size_t)peer)->name;
}

void drive_link(struct driver *d, enum zn_event_type type, int peer)
{
    drive(d, (struct zn_event){.type = type, .peer = peer, .why = ZN_WHY_REFUSED});
}

void drive_link_msg(struct driver *d, int peer, struct zn_msg msg)
{
    drive(d, (struct zn_event){.type = ZN_EV_LINK_MSG, .peer = peer, .msg = &msg});
}

struct zn_msg drive_msg(enum zn_type type, enum zn_kind kind, const char *sender)
{
    return (struct zn_msg){
        .type = type, .kind = kind, .sender = sender, .target = "", .pattern = "router"};
}

static struct zn_msg hello(const struct driver *d, int peer, uint64_t life)
{
    struct zn_msg msg = drive_msg(ZN_BOUNCE, ZN_HELLO, name_of(d, peer));
    msg.life = life;
    msg.version = ZN_PROTOCOL_VERSION;
    msg.peers_hash = d->peers->hash;
    return msg;
}

void drive_hello_answer(struct driver *d, int peer, uint64_t life)
{
    drive_link_msg(d, peer, hello(d, peer, life));
}

void drive_greet(struct driver *d, int peer, uint64_t life)
{
    drive_link(d, ZN_EV_LINK_UP, peer);
    drive_hello_answer(d, peer, life);
    d->alive |= zn_bit(peer);
}

void drive_greet_all(struct driver *d)
{
    for (int p = 0; p < (int)d->m->n; p++)
        if (p != d->m->self)
            drive_greet(d, p, life_of(p));
}

void drive_pong(struct driver *d, int peer)
{
    struct zn_msg msg = drive_msg(ZN_BOUNCE, ZN_PONG, name_of(d, peer));
    msg.id.seq = d->m->peers[peer].ping_seq;
    msg.life = d->m->peers[peer].life;
    d->unanswered_pings &= ~zn_bit(peer);
    drive_link_msg(d, peer, msg);
}

void drive_reply_from(struct driver *d, int peer, struct zmqnet_id id, int code,
                      struct zn_blob *body)
{
    struct zn_msg msg = drive_msg(ZN_BOUNCE, ZN_REPLY, name_of(d, peer));
    msg.id = id;
    msg.code = code;
    msg.body = body;
    drive_link_msg(d, peer, msg);
}

void drive_answer_from(struct driver *d, int peer, int code, struct zn_blob *body)
{
    drive_reply_from(d, peer, d->to[peer].id, code, body);
}

void drive_original_answer(struct driver *d, int peer, enum zn_type type, struct zn_blob *body)
{
    struct zn_msg msg = drive_msg(type, ZN_LEGACY, name_of(d, peer));
    msg.body = body;
    drive_link_msg(d, peer, msg);
}

void drive_greet_original(struct driver *d, int peer)
{
    drive_link(d, ZN_EV_LINK_UP, peer);
    drive_original_answer(d, peer, ZN_SINGLE, NULL);
}

/* ---- our own port ---- */

void drive_route_msg(struct driver *d, zn_route route, struct zn_msg msg)
{
    drive(
        d,
        (struct zn_event){
            .type = ZN_EV_ROUTE_MSG, .peer = -1, .route = route, .connection = route, .msg = &msg});
}

void drive_hello_from(struct driver *d, zn_route route, int peer, uint64_t life)
{
    drive_route_msg(d, route, hello(d, peer, life));
}

void drive_bye_from(struct driver *d, zn_route route, const char *sender, uint64_t life)
{
    struct zn_msg msg = drive_msg(sender[0] ? ZN_BOUNCE : ZN_SINGLE, ZN_BYE, sender);
    msg.life = life;
    drive_route_msg(d, route, msg);
}

void drive_request(struct driver *d, zn_route route, int from, struct zmqnet_id id)
{
    struct zn_msg msg = drive_msg(ZN_BOUNCE, ZN_REQUEST, name_of(d, from));
    msg.id = id;
    msg.budget_ms = 5000;
    drive_route_msg(d, route, msg);
}

void drive_submit(struct driver *d, zn_route route, struct zmqnet_id id)
{
    struct zn_msg msg = drive_msg(ZN_SINGLE, ZN_SUBMIT, "");
    msg.id = id;
    msg.budget_ms = 5000;
    drive_route_msg(d, route, msg);
}

/* ---- our user and our handler ---- */

void drive_call(struct driver *d, struct zn_call_spec spec)
{
    if (spec.timeout_us == 0)
        spec.timeout_us = 5 * ZN_SECOND;
    if (spec.attempts == 0)
        spec.attempts = 1;
    if (spec.ask == ZN_ASK_ALL)
        spec.target = -1;
    drive(d, (struct zn_event){.type = ZN_EV_CALL, .peer = -1, .call = &spec});
}

void drive_ask(struct driver *d, int target)
{
    drive_call(d, (struct zn_call_spec){.ask = ZN_ASK_ONE, .target = target});
}

void drive_answer(struct driver *d, int code, struct zn_blob *body)
{
    drive(d, (struct zn_event){
                 .type = ZN_EV_ANSWER, .peer = -1, .token = d->token, .code = code, .body = body});
}
