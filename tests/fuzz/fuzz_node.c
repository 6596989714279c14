/* SPDX-License-Identifier: MIT */
/*
 * The whole node without its sockets: core, fed with what the decoder makes of frames, on the links to
 * its peers and on its own port, by a driver that knows as little as the network does. The first bytes
 * of the input choose the mesh and its tables, the rest is a list of things that happen.
 *
 * A message of the input is a good one of its kind, except for the fields that the input changes: so
 * few bytes go deep, and each refusal is one change away. Frames of plain bytes are there too. Time is
 * virtual, and moves only where the input says so.
 *
 * After each step: what core asserts of its tables; each call completes once, and not after its
 * deadline; a handler runs once for an id; nothing is sent on a link that is down, or answered on a
 * route that was never there; whatever leaves can be decoded; a frame ends within its step; and of all
 * that was sent to a peer it is known what became of it.
 */
#include "fuzz.h"
#include "messages.h"

#include <stdio.h>

#include "core/mesh.h"

#define REPLICAS_MAX 4
#define CALLS_MAX 256
#define RAN_MAX 512
#define TOKENS 8
#define ROUTES 8
#define BODY_MAX 4096
#define TURNS_MAX 10000
#define CLIENT_LIFE 0x77u
#define CHANGES_MAX 6

struct call {
    uint64_t deadline_us;
    enum zn_ask ask;
    bool done;
};

struct ran {
    struct zmqnet_id id;
    uint64_t at_us;
};

struct world {
    struct zn_mesh *m;
    zmqnet_peers *peers;
    int n, self;
    uint64_t queue_max, window_max; /* messages */
    uint64_t now_us;
    struct zn_actions out;
    struct zn_decoder *in, *back; /* kept from one input to the next: they are large */

    uint64_t lives[REPLICAS_MAX]; /* of the peers, now */
    struct zmqnet_id asked[REPLICAS_MAX], pinged[REPLICAS_MAX];
    uint32_t up;      /* links, a bit each */
    uint32_t sent_on; /* by the last step */
    uint32_t routes;  /* that something came on */

    struct call calls[CALLS_MAX];
    size_t calls_n;
    struct ran ran[RAN_MAX];
    size_t ran_n;
    uint64_t tokens[TOKENS];
    size_t tokens_n;
};

static const char *const names[] = {"r0", "r1", "r2", "r3", "", "stranger"};
static const char *const patterns[] = {"router", "reqrep", "pubsub", "", "mesh"};

/* ---- opening ---- */

static zmqnet_peers *peers_make(int n)
{
    static zmqnet_peers *made[REPLICAS_MAX + 1];
    char text[400];
    size_t at = (size_t)snprintf(text, sizeof text, "{\"replicas\":[");
    for (int i = 0; i < n; i++)
        at += (size_t)snprintf(text + at, sizeof text - at,
                               "%s{\"name\":\"%s\",\"address\":\"127.0.0.1:%d\"}", i ? "," : "",
                               names[i], 9000 + i);
    at += (size_t)snprintf(text + at, sizeof text - at, "]}");
    int rc = made[n] ? 0 : zmqnet_peers_parse(text, at, &made[n], NULL, 0, NULL);
    assert(rc == 0);
    return made[n];
}

static void world_open(struct world *w, struct fuzz_in *in)
{
    uint8_t shape = fuzz_u8(in), tables = fuzz_u8(in);
    w->n = 1 + shape % REPLICAS_MAX;
    w->self = shape & 4 ? -1 : 0;
    w->now_us = ZN_SECOND;
    w->peers = peers_make(w->n);
    struct zn_mesh_config config = {
        .peers = w->peers,
        .self = w->self,
        .via = w->self < 0 && shape & 8 ? 0 : -1,
        .life = w->self < 0 ? CLIENT_LIFE : 0x1000,
        .seed = 1,
        .pattern = shape & 16 ? "reqrep" : "router",
        .pattern_too = shape & 32 ? "router" : NULL,
        .lock_step = shape & 16,
        .message_max = BODY_MAX,
        .calls_max = 2u + tables % 8,
        .served_max = 2 * (2u + tables % 8) + (tables >> 3) % 4,
        .origins_max = 32,
        .queue_messages_max = 1u + (tables >> 5) % 4,
        .window_messages_max = 1u + (tables >> 6),
        .queue_bytes_max = shape & 64 ? BODY_MAX : 0,
        .served_bytes_max = shape & 128 ? BODY_MAX : 0,
    };
    w->queue_max = config.queue_messages_max;
    w->window_max = config.lock_step ? 1 : config.window_messages_max;
    for (int p = 0; p < REPLICAS_MAX; p++)
        w->lives[p] = 0x1000 + (uint64_t)p;
    int rc = zn_mesh_open(&config, w->now_us, &w->m);
    assert(rc == 0);
    w->out.at = calloc(zn_mesh_actions_max(w->m), sizeof *w->out.at);
    assert(w->out.at);
    rc = w->in ? 0 : zn_decoder_new(BODY_MAX, &w->in) | zn_decoder_new(BODY_MAX, &w->back);
    assert(rc == 0);
}

static void world_close(struct world *w)
{
    zn_mesh_close(&w->m);
    free(w->out.at);
}

/* ---- what comes out ---- */

static bool is_up(const struct world *w, int peer) { return w->up >> peer & 1; }

/* As the node does it: the first encoding of a broadcast is left for the other peers. */
static void encode(struct world *w, const struct zn_action *a)
{
    size_t n;
    if (a->wire && *a->wire)
        return;
    uint8_t *bytes = there_and_back(&a->msg, w->back, &n);
    assert(bytes); /* there is always a sender or a kind */
    if (a->wire) {
        int rc = zn_blob_copy(bytes, n, a->wire);
        assert(rc == 0);
    }
    free(bytes);
}

static void sent(struct world *w, const struct zn_action *a)
{
    assert(a->peer >= 0 && a->peer < w->n && a->peer != w->self && is_up(w, a->peer));
    w->sent_on |= 1u << a->peer;
    if (a->msg.kind == ZN_PING)
        w->pinged[a->peer] = a->msg.id;
    else if (a->msg.kind != ZN_HELLO)
        w->asked[a->peer] = a->msg.id;
    encode(w, a);
}

static void delivered(struct world *w, const struct zn_action *a)
{
    assert(w->self >= 0 && a->from[0]);
    for (size_t i = 0; i < w->ran_n && a->id.origin != 0; i++) {
        const struct ran *r = &w->ran[i];
        bool same = r->id.origin == a->id.origin && r->id.seq == a->id.seq;
        assert(!same || w->now_us - r->at_us >= ZN_ORIGIN_KEEP_US);
    }
    if (w->ran_n < RAN_MAX)
        w->ran[w->ran_n++] = (struct ran){a->id, w->now_us};
    w->tokens[w->tokens_n++ % TOKENS] = a->token;
}

/* What a client shows, its coordinator has said, whose peers file may be another one. */
static void rows_check(const struct world *w, const struct zn_done *d)
{
    uint32_t have = 0;
    if (w->self < 0 || d->rows_n == 0) {
        assert(d->rows_n <= ZN_REPLICAS_MAX);
        return;
    }
    assert(d->rows_n == (size_t)w->n);
    for (size_t i = 0; i < d->rows_n; i++) {
        const struct zn_row *r = &d->rows[i];
        assert(strcmp(r->name, names[i]) == 0);
        assert(r->outcome >= ZMQNET_SELF && r->outcome <= ZMQNET_NEVER_SENT);
        assert(r->outcome != ZMQNET_SELF || (int)i == w->self);
        have += r->outcome == ZMQNET_SELF || r->outcome == ZMQNET_ACKED;
    }
    assert(d->have == have && (d->status == 0) == (have >= d->need));
}

static void done(struct world *w, const struct zn_action *a)
{
    assert(a->tag > 0 && a->tag <= w->calls_n);
    struct call *c = &w->calls[a->tag - 1];
    assert(!c->done && a->done.why && (a->done.status == 0) == (a->done.why[0] == '\0'));
    c->done = true;
    if (c->ask == ZN_ASK_ALL)
        rows_check(w, &a->done);
    assert(c->ask != ZN_ASK_ONE || a->done.rows_n <= 1);
}

static void carry(struct world *w, const struct zn_action *a)
{
    switch (a->type) {
    case ZN_ACT_SEND: sent(w, a); return;
    case ZN_ACT_REPLY:
        assert(a->route < 32 && w->routes >> a->route & 1);
        encode(w, a);
        return;
    case ZN_ACT_DELIVER: delivered(w, a); return;
    case ZN_ACT_PROGRESS:
        assert(a->tag > 0 && a->tag <= w->calls_n && !w->calls[a->tag - 1].done);
        assert(a->row->name && a->row->outcome);
        return;
    case ZN_ACT_DONE: done(w, a); return;
    case ZN_ACT_WANT: assert(a->peer != w->self); return;
    case ZN_ACT_RESET: w->up &= ~(1u << a->peer); return;
    case ZN_ACT_NOTE: assert(a->note.id < ZN_NOTES_N && a->note.peer < w->n); return;
    }
    assert(false);
}

/* A frame ends within its step, and holds messages for one link only. */
static void frames_check(const struct zn_actions *out)
{
    uint32_t members = 0;
    for (size_t i = 0; i < out->n; i++) {
        const struct zn_action *a = &out->at[i], *next = &out->at[i + 1];
        if (a->type != ZN_ACT_SEND && a->type != ZN_ACT_REPLY)
            continue;
        members = a->more ? members + 1 : 0;
        assert(members < ZN_BATCH_MESSAGES_MAX);
        assert(!a->more ||
               (i + 1 < out->n && next->type == a->type &&
                (a->type == ZN_ACT_SEND ? next->peer == a->peer : next->route == a->route)));
    }
}

/* A row whose every sending was turned away was sent, and yet is never_sent. One that is sent again
 * waits in the queue too, above its limit. */
static void counts_check(struct world *w)
{
    const zmqnet_status *view = zn_mesh_status(w->m, w->now_us);
    for (int p = 0; p < w->n; p++) {
        const struct zmqnet_peer_status *v = &view->peers[p];
        uint64_t known = v->acked + v->refused + v->unknown + v->inflight;
        assert(p == w->self || v->sent >= known);
        assert(p == w->self || v->sent <= known + v->never_sent + v->queue_messages);
        assert(v->inflight <= w->window_max && v->queue_messages <= w->queue_max + w->window_max);
    }
}

static int step(struct world *w, struct zn_event e)
{
    int more = zn_mesh_step(w->m, w->now_us, &e, &w->out);
    assert(w->out.n <= zn_mesh_actions_max(w->m));
    frames_check(&w->out);
    w->sent_on = 0;
    for (size_t i = 0; i < w->out.n; i++)
        carry(w, &w->out.at[i]);
    zn_mesh_check(w->m);
    counts_check(w);
    return more;
}

static void flush(struct world *w)
{
    for (int i = 0; step(w, (struct zn_event){.type = ZN_EV_FLUSH, .peer = -1}) == 1; i++)
        assert(i < TURNS_MAX);
}

/* Every timer that is due, then what is ready to leave; no call may outlive its deadline. */
static void turn(struct world *w)
{
    int turns = 0;
    do {
        step(w, (struct zn_event){.type = ZN_EV_TICK, .peer = -1});
        assert(turns++ < TURNS_MAX);
    } while (zn_mesh_next_us(w->m) <= w->now_us);
    flush(w);
    for (size_t i = 0; i < w->calls_n; i++)
        assert(w->calls[i].done || w->calls[i].deadline_us > w->now_us);
}

/* ---- messages ---- */

/* Of somebody there is, or of nobody. */
static uint64_t a_life(const struct world *w, uint64_t choice)
{
    if (choice < REPLICAS_MAX)
        return w->lives[choice];
    return choice == 4 ? CLIENT_LIFE : choice == 5 ? 0 : choice;
}

static void change(struct world *w, struct fuzz_in *in, struct zn_msg *msg, uint64_t *to_life)
{
    uint8_t field = fuzz_u8(in);
    uint64_t value = fuzz_number(in);
    switch (field % 20) {
    case 0: msg->type = value % (ZN_ERROR + 1); return;
    case 1: msg->sender = names[value % 6]; return;
    case 2: msg->id.origin = a_life(w, value); return;
    case 3: msg->id.seq = value; return;
    case 4: msg->budget_ms = (uint32_t)value; return;
    case 5: msg->attempt = (uint32_t)value; return;
    case 6: msg->quorum = (int32_t)(value - 2); return;
    case 7: msg->floor = value; return;
    case 8: msg->idempotent = value & 1; return;
    case 9: msg->code = value < 128 ? -(int32_t)value : (int32_t)value; return;
    case 10: msg->need = (uint32_t)value; return;
    case 11: msg->have = (uint32_t)value; return;
    case 12: msg->target = names[value % 6]; return;
    case 13: msg->life = a_life(w, value); return;
    case 14: msg->version = (uint32_t)value; return;
    case 15: msg->peers_hash = value; return;
    case 16: msg->pattern = patterns[value % 5]; return;
    case 17: msg->lives_n = value % 3; return;
    case 18: to_life[0] = a_life(w, value); return;
    case 19: msg->kind = value % ZN_KINDS; return;
    }
}

static size_t rows_make(struct fuzz_in *in, struct zn_row *rows)
{
    size_t n = fuzz_u8(in) % (REPLICAS_MAX + 2);
    for (size_t i = 0; i < n; i++) {
        uint8_t how = fuzz_u8(in);
        rows[i] = (struct zn_row){
            .name = names[how & 64 ? how % 6 : i],
            .outcome = ZMQNET_SELF + how % ZMQNET_NEVER_SENT,
            .rtt_us = how,
            .code = how & 32 ? 7 : 0,
            .why = how & 16 ? "because" : "",
        };
    }
    return n;
}

/* A good message of its kind from `peer`, which answers what it was asked last, or from a client; then
 * the changes. Its frame is to be freed. */
static uint8_t *message_make(struct world *w, struct fuzz_in *in, bool answer, size_t *n)
{
    uint8_t what = fuzz_u8(in), changes = fuzz_u8(in);
    int peer = fuzz_u8(in) % w->n;
    enum zn_kind kind = what % ZN_KINDS;
    bool client = !answer && (kind == ZN_SUBMIT || kind == ZN_STATUS || changes & 128);
    uint64_t to_life[2] = {a_life(w, w->self < 0 ? 4 : 0), 0};
    struct zn_row rows[REPLICAS_MAX + 2];
    zmqnet_status status = {.name = "r0", .pattern = "router"};
    struct zn_msg msg = {
        .type = client ? ZN_SINGLE : ZN_BOUNCE,
        .kind = kind,
        .sender = client ? "" : names[peer],
        .id = {client ? CLIENT_LIFE : w->lives[peer], 1},
        .to_life = to_life,
        .rows = rows,
        .life = client ? CLIENT_LIFE : w->lives[peer],
        .version = ZN_PROTOCOL_VERSION,
        .peers_hash = w->peers->hash,
        .pattern = patterns[0],
    };
    if (answer)
        msg.id = kind == ZN_PONG ? w->pinged[peer] : w->asked[peer];
    if (what & 64)
        msg.status = &status;
    if (kind == ZN_REPLY && what & 128)
        msg.rows_n = rows_make(in, rows);
    for (uint8_t i = changes % CHANGES_MAX; i > 0; i--)
        change(w, in, &msg, to_life);
    uint8_t *body;
    size_t body_n = changes & 64 ? fuzz_bytes(in, BODY_MAX, &body) : 0;
    int rc = zn_blob_copy(body_n ? body : NULL, body_n, &msg.body);
    assert(rc == 0);
    if (changes & 64)
        free(body);
    *n = zn_wire_size(&msg);
    uint8_t *frame = malloc(*n + 1);
    assert(frame);
    zn_wire_pack(&msg, frame);
    zn_blob_drop(&msg.body);
    return frame;
}

/* A frame arrives, as node/inbound.c has it. */
static void frame_came(struct world *w, int peer, zn_route route, const uint8_t *bytes, size_t n)
{
    struct zn_msg msg;
    enum zn_wire_error error;
    struct zn_event e = {.peer = peer, .route = route, .connection = 1 + route / 2, .msg = &msg};
    w->routes |= 1u << route;
    zn_decoder_begin(w->in, bytes, n);
    while (zn_decoder_next(w->in, &msg, &error)) {
        e.type = route ? ZN_EV_ROUTE_MSG : ZN_EV_LINK_MSG;
        if (error != ZN_WIRE_OK) {
            e.type = ZN_EV_BAD;
            e.counter = ZN_COUNT_bad_protobuf;
            e.code = ZMQNET_EPROTO;
        }
        step(w, e);
        if (error == ZN_WIRE_OK)
            zn_msg_drop(&msg);
    }
}

/* ---- what can happen ---- */

static int a_peer(struct world *w, struct fuzz_in *in) { return fuzz_u8(in) % w->n; }

static void message_on_link(struct world *w, struct fuzz_in *in)
{
    size_t n;
    int peer = a_peer(w, in);
    uint8_t *frame = message_make(w, in, true, &n);
    if (is_up(w, peer))
        frame_came(w, peer, 0, frame, n);
    free(frame);
}

static void message_on_route(struct world *w, struct fuzz_in *in)
{
    size_t n;
    zn_route route = 1 + fuzz_u8(in) % ROUTES;
    uint8_t *frame = message_make(w, in, false, &n);
    if (w->self >= 0)
        frame_came(w, -1, route, frame, n);
    free(frame);
}

static void bytes_came(struct world *w, struct fuzz_in *in)
{
    uint8_t *frame, where = fuzz_u8(in);
    int peer = where % w->n;
    size_t n = fuzz_bytes(in, BODY_MAX, &frame);
    if (where & 128 && w->self >= 0)
        frame_came(w, -1, 1 + where % ROUTES, frame, n);
    else if (is_up(w, peer))
        frame_came(w, peer, 0, frame, n);
    free(frame);
}

static void link_moves(struct world *w, struct fuzz_in *in)
{
    uint8_t how = fuzz_u8(in);
    struct zn_event e = {.peer = a_peer(w, in), .why = ZN_WHY_REFUSED + how / 8 % 6};
    uint32_t bit = 1u << e.peer;
    if (e.peer == w->self)
        return;
    switch (how % 5) {
    case 0: e.type = is_up(w, e.peer) ? ZN_EV_LINK_LOST : ZN_EV_LINK_UP; break;
    case 1: e.type = is_up(w, e.peer) ? ZN_EV_LINK_WRITABLE : ZN_EV_LINK_FAILED; break;
    case 2: e.type = is_up(w, e.peer) ? ZN_EV_LINK_GAP : ZN_EV_LINK_UP; break;
    case 3: e.type = w->sent_on & bit ? ZN_EV_SEND_FAILED : ZN_EV_TICK; break;
    default: e.type = ZN_EV_TICK; w->lives[e.peer] += 0x100; /* it restarts */
    }
    if (e.type == ZN_EV_LINK_UP)
        w->up |= bit;
    if (e.type == ZN_EV_LINK_LOST)
        w->up &= ~bit;
    step(w, e);
}

/* The link to a peer, from nothing to greeted. */
static void greet(struct world *w, struct fuzz_in *in)
{
    static const uint8_t hello[] = {ZN_HELLO, 0};
    int peer = a_peer(w, in);
    const uint8_t what[] = {hello[0], hello[1], (uint8_t)peer};
    struct fuzz_in made = {what, what + sizeof what};
    size_t n;
    if (peer == w->self || is_up(w, peer))
        return;
    w->up |= 1u << peer;
    step(w, (struct zn_event){.type = ZN_EV_LINK_UP, .peer = peer});
    uint8_t *frame = message_make(w, &made, true, &n);
    if (is_up(w, peer))
        frame_came(w, peer, 0, frame, n);
    free(frame);
}

static void call(struct world *w, struct fuzz_in *in)
{
    uint8_t how = fuzz_u8(in), *body;
    struct zn_call_spec spec = {
        .ask = how % 3,
        .target = (how >> 2) % w->n,
        .timeout_us = (1 + fuzz_number(in) % ZMQNET_TIMEOUT_MAX_MS) * ZN_MS,
        .attempts = 1 + fuzz_u8(in) % 4,
        .quorum = (how >> 4) % (w->n + 2) - 1,
        .idempotent = how & 128,
        .progress = w->self >= 0,
    };
    size_t n = fuzz_bytes(in, BODY_MAX, &body);
    if (spec.ask == ZN_ASK_STATUS && w->self >= 0)
        spec.ask = ZN_ASK_ALL;
    if (spec.ask == ZN_ASK_ALL)
        spec.target = -1;
    int rc = zn_blob_copy(body, n, &spec.body);
    assert(rc == 0);
    free(body);
    if (w->calls_n < CALLS_MAX) {
        w->calls[w->calls_n++] = (struct call){w->now_us + spec.timeout_us, spec.ask, false};
        spec.tag = w->calls_n;
        step(w, (struct zn_event){.type = ZN_EV_CALL, .peer = -1, .call = &spec});
    }
    zn_blob_drop(&spec.body);
}

static void answer(struct world *w, struct fuzz_in *in)
{
    uint8_t which = fuzz_u8(in), *body;
    struct zn_event e = {.type = ZN_EV_ANSWER, .peer = -1, .code = fuzz_u8(in)};
    size_t n = fuzz_bytes(in, BODY_MAX, &body);
    e.token = which & 128 ? which * 0x0101010101010101u : w->tokens[which % TOKENS];
    int rc = zn_blob_copy(body, n, &e.body);
    assert(rc == 0);
    free(body);
    step(w, e);
    zn_blob_drop(&e.body);
}

static void time_passes(struct world *w, struct fuzz_in *in)
{
    uint8_t how = fuzz_u8(in);
    uint64_t next_us = zn_mesh_next_us(w->m);
    if (how & 128 && next_us != UINT64_MAX)
        w->now_us = next_us > w->now_us ? next_us : w->now_us;
    else
        w->now_us += 1ull << how % 30; /* up to nine minutes */
    turn(w);
}

static void happen(struct world *w, struct fuzz_in *in)
{
    switch (fuzz_u8(in) % 12) {
    case 0:
    case 1: message_on_link(w, in); return;
    case 2:
    case 3: message_on_route(w, in); return;
    case 4: link_moves(w, in); return;
    case 5: greet(w, in); return;
    case 6: call(w, in); return;
    case 7: answer(w, in); return;
    case 8: time_passes(w, in); return;
    case 9: flush(w); return;
    case 10: bytes_came(w, in); return;
    case 11:
        if (fuzz_u8(in) == 1)
            step(w, (struct zn_event){.type = ZN_EV_DRAIN, .peer = -1});
        return;
    }
}

/* Whatever is open when a node ends, is settled, and said. */
static void end(struct world *w)
{
    step(w, (struct zn_event){.type = ZN_EV_CLOSE, .peer = -1});
    flush(w);
    for (size_t i = 0; i < w->calls_n; i++)
        assert(w->calls[i].done);
    step(w, (struct zn_event){.type = ZN_EV_BYE, .peer = -1});
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    static struct world w;
    struct fuzz_in in = {data, data + n};
    w = (struct world){.in = w.in, .back = w.back};
    world_open(&w, &in);
    while (fuzz_left(&in) > 0)
        happen(&w, &in);
    end(&w);
    world_close(&w);
    return 0;
}
