/* SPDX-License-Identifier: MIT */
/*
 * Our codec beside another one: protobuf-c, with code generated from proto/zmqnet.proto. Messages
 * at random: both write the same bytes. Bytes at random, from good ones to noise: both take them or
 * both refuse them, for the reason that is worked out here from what protobuf-c read, and every field
 * has the same value.
 *
 * All comes from one fixed seed, and what came of it is counted, so that no error and no list goes
 * unseen.
 */
#include <setjmp.h>
#include <stdalign.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/parse.h"
#include "base/rand.h"
#include "model/wire.h"
#include "zmqnet.pb-c.h"

#define SEED 20240301u
#define BODY_MAX 5000u
#define ROUNDS 6000
#define FRAME_MAX (1u << 20)

typedef Zmqnet__Wire__Body Body;

static struct zn_rand rnd;

static size_t below(size_t n) { return (size_t)zn_rand_below(&rnd, n); }
static bool one_in(size_t n) { return below(n) == 0; }

/* ---- protobuf-c's memory ---- */

/* It keeps no length of a string, and without one a NUL inside could not be seen. */
struct piece {
    alignas(max_align_t) size_t bytes;
    alignas(max_align_t) uint8_t data[];
};

static void *piece_alloc(void *arg, size_t bytes)
{
    (void)arg;
    struct piece *p = malloc(sizeof *p + bytes);
    assert_non_null(p);
    p->bytes = bytes;
    return p->data;
}

static void piece_free(void *arg, void *data)
{
    (void)arg;
    if (data)
        free((uint8_t *)data - offsetof(struct piece, data));
}

static ProtobufCAllocator pieces = {piece_alloc, piece_free, NULL};

static size_t text_bytes(const char *s)
{
    if (s == protobuf_c_empty_string)
        return 0;
    return ((const struct piece *)(const void *)(s - offsetof(struct piece, data)))->bytes - 1;
}

/* ---- what is wrong with a message that protobuf-c could read ---- */

/* It takes a field 0 if the tag is in a longer form. There is no such field. */
static bool has_field_0(const ProtobufCMessage *m)
{
    for (unsigned i = 0; i < m->n_unknown_fields; i++)
        if (m->unknown_fields[i].tag == 0)
            return true;
    for (unsigned i = 0; i < m->descriptor->n_fields; i++) {
        const ProtobufCFieldDescriptor *f = &m->descriptor->fields[i];
        if (f->type != PROTOBUF_C_TYPE_MESSAGE)
            continue;
        const void *at = (const char *)m + f->offset;
        size_t n = *(ProtobufCMessage *const *)at != NULL;
        if (f->label == PROTOBUF_C_LABEL_REPEATED) {
            n = *(const size_t *)(const void *)((const char *)m + f->quantifier_offset);
            at = *(const void *const *)at;
        }
        for (size_t k = 0; k < n; k++)
            if (has_field_0(((ProtobufCMessage *const *)at)[k]))
                return true;
    }
    return false;
}

static enum zn_wire_error first_error;

static void want(bool ok, enum zn_wire_error error)
{
    if (!ok && !first_error)
        first_error = error;
}

static void want_text(const char *s, size_t max)
{
    size_t n = text_bytes(s);
    want(n <= max, ZN_WIRE_LIMIT);
    want(!memchr(s, 0, n) && zn_utf8_valid(s, n), ZN_WIRE_MALFORMED);
}

static void want_status(const Zmqnet__Wire__StatusView *v)
{
    want_text(v->name, ZN_NAME_MAX);
    want_text(v->pattern, ZN_PATTERN_NAME_MAX);
    want(v->n_peers <= ZN_REPLICAS_MAX && v->n_counters <= 256, ZN_WIRE_LIMIT);
    want(v->n_rows <= ZN_REPLICAS_MAX, ZN_WIRE_LIMIT);
    for (size_t i = 0; i < v->n_peers; i++) {
        want_text(v->peers[i]->name, ZN_NAME_MAX);
        want_text(v->peers[i]->endpoint, ZN_HOST_MAX + 15);
        want_text(v->peers[i]->cause, ZN_WHY_MAX);
        want(v->peers[i]->state >= 1 && v->peers[i]->state <= 6, ZN_WIRE_LIMIT);
    }
    for (size_t i = 0; i < v->n_counters; i++)
        want_text(v->counters[i]->name, ZN_NAME_MAX);
    for (size_t i = 0; i < v->n_rows; i++) {
        want_text(v->rows[i]->name, ZN_NAME_MAX);
        want(v->rows[i]->links.len == 2 * v->n_peers, ZN_WIRE_LIMIT);
    }
}

static enum zn_wire_error error_of(const Body *b)
{
    first_error = ZN_WIRE_OK;
    want(!has_field_0(&b->base), ZN_WIRE_MALFORMED);
    want(b->type >= 0 && b->type <= 2, ZN_WIRE_TYPE);
    want(b->kind >= 0 && b->kind <= 8, ZN_WIRE_KIND);
    want(b->n_batch == 0, ZN_WIRE_MALFORMED);
    want_text(b->sender, ZN_NAME_MAX);
    want_text(b->target, ZN_NAME_MAX);
    want_text(b->pattern, ZN_PATTERN_NAME_MAX);
    want(b->message.len <= BODY_MAX, ZN_WIRE_OVERSIZE);
    want(b->n_to_life <= ZN_REPLICAS_MAX && b->n_rows <= ZN_REPLICAS_MAX, ZN_WIRE_LIMIT);
    want(b->links.len <= 2 * ZN_REPLICAS_MAX && b->links.len % 2 == 0, ZN_WIRE_LIMIT);
    for (size_t i = 0; i < b->n_rows; i++) {
        want_text(b->rows[i]->name, ZN_NAME_MAX);
        want_text(b->rows[i]->why, ZN_WHY_MAX);
        want(b->rows[i]->outcome >= 1 && b->rows[i]->outcome <= 5, ZN_WIRE_LIMIT);
        want(b->rows[i]->reply.len <= BODY_MAX, ZN_WIRE_OVERSIZE);
    }
    if (b->status)
        want_status(b->status);
    return first_error;
}

/* ---- our message as one of protobuf-c's ---- */

static struct {
    Body body;
    Zmqnet__Wire__Row rows[ZN_REPLICAS_MAX], *rows_at[ZN_REPLICAS_MAX];
    Zmqnet__Wire__StatusView status;
    Zmqnet__Wire__StatusPeer peers[ZN_REPLICAS_MAX], *peers_at[ZN_REPLICAS_MAX];
    Zmqnet__Wire__Counter counters[256], *counters_at[256];
    Zmqnet__Wire__HeardRow heard[ZN_REPLICAS_MAX], *heard_at[ZN_REPLICAS_MAX];
} theirs;

static char *text(const char *s) { return (char *)s; }

static ProtobufCBinaryData data(const struct zn_blob *b)
{
    return (ProtobufCBinaryData){zn_blob_bytes(b), (uint8_t *)zn_blob_data(b)};
}

static ProtobufCBinaryData pairs(const struct zmqnet_link *links, size_t n)
{
    return (ProtobufCBinaryData){2 * n, (uint8_t *)(uintptr_t)links};
}

static void fill_row(Zmqnet__Wire__Row *to, const struct zn_row *r)
{
    zmqnet__wire__row__init(to);
    to->name = text(r->name);
    to->outcome = (Zmqnet__Wire__Outcome)r->outcome;
    to->rtt_us = r->rtt_us;
    to->code = r->code;
    to->why = text(r->why);
    to->reply = data(r->reply);
}

static void fill_peer(Zmqnet__Wire__StatusPeer *to, const struct zmqnet_peer_status *s)
{
    zmqnet__wire__status_peer__init(to);
    to->name = text(s->name);
    to->endpoint = text(s->endpoint);
    to->state = s->state;
    to->since_us = s->since_us;
    to->cause = text(s->cause);
    to->rtt_us = s->rtt_us;
    to->queue_messages = s->queue_messages;
    to->queue_bytes = s->queue_bytes;
    to->inflight = s->inflight;
    to->sent = s->sent;
    to->acked = s->acked;
    to->refused = s->refused;
    to->unknown = s->unknown;
    to->never_sent = s->never_sent;
    to->retries = s->retries;
    to->late = s->late;
    to->config_differs = s->config_differs;
}

static Zmqnet__Wire__StatusView *fill_status(const zmqnet_status *s)
{
    Zmqnet__Wire__StatusView *to = &theirs.status;
    zmqnet__wire__status_view__init(to);
    to->name = text(s->name);
    to->pattern = text(s->pattern);
    to->life = s->life;
    to->uptime_us = s->uptime_us;
    to->n_peers = s->peers_n;
    to->peers = theirs.peers_at;
    for (size_t i = 0; i < s->peers_n; i++)
        fill_peer(to->peers[i] = &theirs.peers[i], &s->peers[i]);
    to->n_counters = s->counters_n;
    to->counters = theirs.counters_at;
    for (size_t i = 0; i < s->counters_n; i++) {
        Zmqnet__Wire__Counter *c = to->counters[i] = &theirs.counters[i];
        zmqnet__wire__counter__init(c);
        c->name = text(s->counters[i].name);
        c->value = s->counters[i].value;
    }
    to->n_rows = s->rows_n;
    to->rows = theirs.heard_at;
    for (size_t i = 0; i < s->rows_n; i++) {
        Zmqnet__Wire__HeardRow *h = to->rows[i] = &theirs.heard[i];
        zmqnet__wire__heard_row__init(h);
        h->name = text(s->rows[i].name);
        h->age_us = s->rows[i].age_us;
        h->links = pairs(s->rows[i].links, s->peers_n);
    }
    return to;
}

static const Body *fill_body(const struct zn_msg *msg)
{
    Body *to = &theirs.body;
    zmqnet__wire__body__init(to);
    to->type = (Zmqnet__Wire__Type)msg->type;
    to->sender = text(msg->sender);
    to->message = data(msg->body);
    to->kind = (Zmqnet__Wire__Kind)msg->kind;
    to->origin = msg->id.origin;
    to->seq = msg->id.seq;
    to->n_to_life = msg->lives_n;
    to->to_life = (uint64_t *)msg->to_life;
    to->budget_ms = msg->budget_ms;
    to->attempt = msg->attempt;
    to->quorum = msg->quorum;
    to->floor = msg->floor;
    to->idempotent = msg->idempotent;
    to->code = msg->code;
    to->n_rows = msg->rows_n;
    to->rows = theirs.rows_at;
    for (size_t i = 0; i < msg->rows_n; i++)
        fill_row(to->rows[i] = &theirs.rows[i], &msg->rows[i]);
    to->target = text(msg->target);
    to->life = msg->life;
    to->version = msg->version;
    to->peers_hash = msg->peers_hash;
    to->pattern = text(msg->pattern);
    to->need = msg->need;
    to->have = msg->have;
    to->status = msg->status ? fill_status(msg->status) : NULL;
    to->links = pairs(msg->links, msg->links_n);
    to->names_hash = msg->names_hash;
    return to;
}

/* ---- comparing two of protobuf-c's, by their descriptor; unknown fields are not looked at ---- */

static void same_message(const ProtobufCMessage *a, const ProtobufCMessage *b);

static size_t same_value(ProtobufCType type, const void *a, const void *b)
{
    switch (type) {
    case PROTOBUF_C_TYPE_STRING:
        assert_string_equal(*(char *const *)a, *(char *const *)b);
        return sizeof(char *);
    case PROTOBUF_C_TYPE_BYTES: {
        const ProtobufCBinaryData *x = a, *y = b;
        assert_int_equal(x->len, y->len);
        if (x->len > 0)
            assert_memory_equal(x->data, y->data, x->len);
        return sizeof *x;
    }
    case PROTOBUF_C_TYPE_MESSAGE: {
        const ProtobufCMessage *x = *(ProtobufCMessage *const *)a;
        const ProtobufCMessage *y = *(ProtobufCMessage *const *)b;
        assert_int_equal(!x, !y);
        if (x)
            same_message(x, y);
        return sizeof x;
    }
    case PROTOBUF_C_TYPE_UINT64:
    case PROTOBUF_C_TYPE_FIXED64:
        assert_int_equal(*(const uint64_t *)a, *(const uint64_t *)b);
        return sizeof(uint64_t);
    default: /* 32 bits, enums and bool */
        assert_int_equal(*(const uint32_t *)a, *(const uint32_t *)b);
        return sizeof(uint32_t);
    }
}

static void same_message(const ProtobufCMessage *a, const ProtobufCMessage *b)
{
    for (unsigned i = 0; i < a->descriptor->n_fields; i++) {
        const ProtobufCFieldDescriptor *f = &a->descriptor->fields[i];
        const char *x = (const char *)a + f->offset, *y = (const char *)b + f->offset;
        if (f->label != PROTOBUF_C_LABEL_REPEATED) {
            same_value(f->type, x, y);
            continue;
        }
        size_t n = *(const size_t *)(const void *)((const char *)a + f->quantifier_offset);
        assert_int_equal(n,
                         *(const size_t *)(const void *)((const char *)b + f->quantifier_offset));
        x = *(const char *const *)(const void *)x;
        y = *(const char *const *)(const void *)y;
        for (size_t at = 0; n > 0; n--)
            at += same_value(f->type, x + at, y + at);
    }
}

/* ---- both read the same ---- */

/* Its bools are numbers (tests/meson.build). */
static void make_bools(Body *b)
{
    b->idempotent = b->idempotent != 0;
    for (size_t i = 0; b->status && i < b->status->n_peers; i++)
        b->status->peers[i]->config_differs = b->status->peers[i]->config_differs != 0;
}

static size_t seen[ZN_WIRE_MEMORY + 1]; /* how often, by error */

static void both_read_alike(struct zn_decoder *d, const uint8_t *bytes, size_t n)
{
    struct zn_msg msg;
    enum zn_wire_error error, wanted = ZN_WIRE_EMPTY;
    if (n > 0 && bytes[0] == 0x7a) /* a batch; test_wire.c */
        return;
    uint8_t *exact = malloc(n ? n : 1); /* so that a sanitizer sees a read behind it */
    assert_non_null(exact);
    if (n > 0)
        memcpy(exact, bytes, n);
    Body *b = zmqnet__wire__body__unpack(&pieces, n, exact);
    if (n > 0)
        wanted = b ? error_of(b) : ZN_WIRE_MALFORMED;
    zn_decoder_begin(d, exact, n);
    assert_int_equal(zn_decoder_next(d, &msg, &error), 1);
    assert_int_equal(error, wanted);
    free(exact); /* what was decoded does not need it */
    if (error == ZN_WIRE_OK) {
        make_bools(b);
        same_message(&b->base, &fill_body(&msg)->base);
    }
    zn_msg_drop(&msg);
    seen[error]++;
    if (b)
        zmqnet__wire__body__free_unpacked(b, &pieces);
}

/* ---- messages at random ---- */

static uint64_t number(void)
{
    switch (below(5)) {
    case 0: return 0;
    case 1: return below(300);
    case 2: return (uint64_t)1 << below(64);
    case 3: return UINT64_MAX - below(3);
    default: return zn_rand_u64(&rnd);
    }
}

static struct {
    uint64_t lives[ZN_REPLICAS_MAX];
    struct zn_row rows[ZN_REPLICAS_MAX];
    struct zmqnet_peer_status peers[ZN_REPLICAS_MAX];
    struct zmqnet_counter counters[256];
    struct zmqnet_link links[ZN_REPLICAS_MAX];
    struct zmqnet_heard heard[ZN_REPLICAS_MAX];
    zmqnet_status status;
    char texts[1024][ZN_HOST_MAX + 16];
    size_t texts_n;
} ours;

/* Now and then at its limit, or not ASCII. */
static const char *some_text(size_t max)
{
    char *s = ours.texts[ours.texts_n++];
    size_t n = one_in(3) ? 0 : one_in(8) ? max : below(max < 30 ? max : 30);
    for (size_t i = 0; i < n; i++)
        s[i] = (char)(1 + below(0x7f));
    if (n >= 4 && one_in(4))
        memcpy(s + below(n - 3), one_in(2) ? "\xc3\xbc\xc3\xbc" : "\xf0\x9f\xa6\x94", 4);
    s[n] = '\0';
    return s;
}

static struct zn_blob *some_blob(void)
{
    struct zn_blob *b = NULL;
    if (one_in(2))
        return NULL;
    assert_int_equal(zn_blob_make(1 + (one_in(9) ? below(BODY_MAX) : below(200)), &b), 0);
    for (size_t i = 0; i < b->bytes; i++)
        b->data[i] = (uint8_t)zn_rand_u64(&rnd);
    return b;
}

static size_t some_length(size_t max)
{
    if (one_in(40))
        return max;
    return one_in(3) ? 0 : below(4);
}

static struct zn_row some_row(void)
{
    return (struct zn_row){some_text(ZN_NAME_MAX), (enum zmqnet_outcome)(1 + below(5)),
                           (uint32_t)number(),     (int32_t)number(),
                           some_text(ZN_WHY_MAX),  some_blob()};
}

static struct zmqnet_peer_status some_peer(void)
{
    return (struct zmqnet_peer_status){
        .name = some_text(ZN_NAME_MAX),
        .endpoint = some_text(ZN_HOST_MAX + 15),
        .state = (enum zmqnet_state)(1 + below(6)),
        .since_us = number(),
        .cause = some_text(ZN_WHY_MAX),
        .rtt_us = (uint32_t)number(),
        .queue_messages = number(),
        .queue_bytes = number(),
        .inflight = number(),
        .sent = number(),
        .acked = number(),
        .refused = number(),
        .unknown = number(),
        .never_sent = number(),
        .retries = number(),
        .late = number(),
        .config_differs = one_in(2),
    };
}

static const zmqnet_status *some_status(void)
{
    zmqnet_status *s = &ours.status;
    *s = (zmqnet_status){some_text(ZN_NAME_MAX),
                         some_text(ZN_PATTERN_NAME_MAX),
                         number(),
                         number(),
                         some_length(ZN_REPLICAS_MAX),
                         ours.peers,
                         some_length(256),
                         ours.counters,
                         some_length(ZN_REPLICAS_MAX),
                         ours.heard};
    for (size_t i = 0; i < s->peers_n; i++)
        ours.peers[i] = some_peer();
    for (size_t i = 0; i < s->counters_n; i++)
        ours.counters[i] = (struct zmqnet_counter){some_text(ZN_NAME_MAX), number()};
    for (size_t i = 0; i < s->rows_n; i++)
        ours.heard[i] = (struct zmqnet_heard){some_text(ZN_NAME_MAX), number(), ours.links};
    return s;
}

static void some_msg(struct zn_msg *msg)
{
    ours.texts_n = 0;
    *msg = (struct zn_msg){
        .type = (enum zn_type)below(3),
        .kind = (enum zn_kind)below(ZN_KINDS),
        .sender = some_text(ZN_NAME_MAX),
        .id = {number(), number()},
        .body = some_blob(),
        .to_life = ours.lives,
        .lives_n = some_length(ZN_REPLICAS_MAX),
        .budget_ms = (uint32_t)number(),
        .attempt = (uint32_t)number(),
        .quorum = (int32_t)number(),
        .floor = number(),
        .idempotent = one_in(2),
        .code = (int32_t)number(),
        .rows = ours.rows,
        .rows_n = some_length(ZN_REPLICAS_MAX),
        .need = (uint32_t)number(),
        .have = (uint32_t)number(),
        .target = some_text(ZN_NAME_MAX),
        .life = number(),
        .version = (uint32_t)number(),
        .peers_hash = number(),
        .pattern = some_text(ZN_PATTERN_NAME_MAX),
        .status = one_in(4) ? some_status() : NULL,
        .links = ours.links,
        .links_n = some_length(ZN_REPLICAS_MAX),
        .names_hash = number(),
    };
    for (size_t i = 0; i < ZN_REPLICAS_MAX; i++)
        ours.links[i] = (struct zmqnet_link){(uint8_t)number(), (uint8_t)number()};
    for (size_t i = 0; i < msg->lives_n; i++)
        ours.lives[i] = number();
    for (size_t i = 0; i < msg->rows_n; i++)
        ours.rows[i] = some_row();
}

/* ---- bytes at random ---- */

static uint8_t frame[FRAME_MAX];
static size_t frame_n;

static void put(const void *bytes, size_t n)
{
    assert_true(n <= FRAME_MAX - frame_n);
    if (n > 0)
        memcpy(frame + frame_n, bytes, n);
    frame_n += n;
}

/* In the shortest form, or in a longer one of at most `room` bytes. */
static void put_varint(uint64_t v, size_t room)
{
    size_t pad = one_in(30) ? below(room + 1) : 0, n = 1;
    for (; v >= 0x80 || n < pad; v >>= 7, n++)
        put(&(uint8_t){(uint8_t)(v | 0x80)}, 1);
    put(&(uint8_t){(uint8_t)v}, 1);
}

/* The wire types of each message's fields, from 1 on, and the messages inside: "R" is a
 * Row. Of the lives, "L", there are two forms; "K" are links. */
static const struct grammar {
    const char *types;
} body = {"022010L000000R22101200VK1"}, row = {"200022"}, view = {"2210PCH"},
  peer = {"22002000000000000"}, counter = {"20"}, heard = {"20K"};

static const struct grammar *inside(char type)
{
    switch (type) {
    case 'R': return &row;
    case 'V': return &view;
    case 'P': return &peer;
    case 'C': return &counter;
    case 'H': return &heard;
    default: return NULL;
    }
}

static void put_some_fields(const struct grammar *of);

/* A text, a bad one, one too long, zeros. */
static void put_some_text(void)
{
    static const char *const bad[] = {"\xff", "\xc0\x80", "ab\xc3", "\xed\xa0\x80"};
    size_t n = below(16);
    switch (below(7)) {
    case 0:
        if (one_in(9))
            put(bad[n % 4], strlen(bad[n % 4]));
        break;
    case 1: n = one_in(9) ? 10 + below(300) : n; /* fall through */
    case 2:
    case 3:
        for (; n > 0; n--)
            put("x", 1);
        break;
    case 4: put("\0\0\0", one_in(20) ? below(4) : 0); break;
    case 5:
        if (one_in(9))
            for (n = BODY_MAX - 8 + below(16); n > 0; n--)
                put("y", 1);
        break;
    default: put("\303\274\303\237", 2 * below(3));
    }
}

/* The length goes in front of what stands in the frame already, which is moved. */
static void put_some_bytes(const struct grammar *of)
{
    static uint8_t moved[FRAME_MAX];
    size_t from = frame_n;
    if (of)
        put_some_fields(of);
    else
        put_some_text();
    size_t bytes = frame_n - from;
    memcpy(moved, frame + from, bytes);
    frame_n = from;
    put_varint(bytes, 5);
    put(moved, bytes);
}

static void put_some_lives(void)
{
    size_t n = one_in(40) ? 65 : below(3), odd = one_in(40) ? below(8) : 0;
    put_varint(8 * n + odd, 5);
    for (; n > 0; n--)
        put("\1\2\3\4\5\6\7\10", 8);
    put("\1\2\3\4\5\6\7", odd);
}

/* Often as many as there are peers, which is none. */
static void put_some_links(void)
{
    size_t n = one_in(40) ? 2 * ZN_REPLICAS_MAX - 2 + below(5) : 2 * below(3) + one_in(30);
    put_varint(n, 5);
    for (; n > 0; n--)
        put("\2", 1);
}

/* A type, a kind, a state or an outcome that exists, most times; any other number. */
static uint64_t some_number(const struct grammar *of, unsigned field)
{
    if (one_in(40))
        return number();
    if (of == &body && field == 1)
        return below(3);
    if ((of == &row && field == 2) || (of == &peer && field == 3))
        return 1 + below(4);
    return of == &body && field == 4 ? below(9) : number();
}

/* One field; seldom one that nobody knows, and more seldom one of another wire type. */
static void put_some_field(const struct grammar *of, unsigned field)
{
    char kind = field <= strlen(of->types) ? of->types[field - 1] : '0';
    unsigned type = kind >= '0' && kind <= '9' ? (unsigned)(kind - '0') : 2;
    if (kind == 'L' && one_in(2))
        type = 1;
    if (one_in(400))
        type = (unsigned)below(8);
    if (one_in(400))
        field = (unsigned)zn_rand_u64(&rnd) >> below(32);
    put_varint((uint64_t)field << 3 | type, 5);
    switch (type) {
    case 0: put_varint(some_number(of, field), 10); break;
    case 1: put("\10\7\6\5\4\3\2\1", 8); break;
    case 2:
        kind == 'L'   ? put_some_lives()
        : kind == 'K' ? put_some_links()
                      : put_some_bytes(inside(kind));
        break;
    case 5: put("\4\3\2\1", 4); break;
    default: break;
    }
}

/* At most one status: of two, protobuf-c forgets the numbers of the first (test_wire.c has such). Of
 * lists sometimes more than there may be. What must not be 0 comes first. */
static void put_some_fields(const struct grammar *of)
{
    bool has_status = false;
    if ((of == &row || of == &peer) && !one_in(40))
        put_some_field(of, of == &row ? 2 : 3);
    if ((of == &body || of == &view) && one_in(100)) {
        unsigned list = of == &body ? 14 : 5 + (unsigned)below(3);
        for (size_t n = list == 6 ? 258 : 60 + below(9); n > 0; n--)
            put_some_field(of, list);
    }
    for (size_t left = below(7); left > 0; left--) {
        unsigned known = (unsigned)strlen(of->types), field = 1 + (unsigned)below(known + 1);
        if (of->types[field - 1] == 'V' && has_status)
            continue;
        if (of == &body && field == 15 && !one_in(9))
            continue;
        has_status |= of->types[field - 1] == 'V';
        put_some_field(of, field);
    }
}

static void mutate_frame(void)
{
    size_t at = below(frame_n), n = below(frame_n - at);
    switch (below(4)) {
    case 0: frame_n -= n; break;
    case 1:
        memmove(frame + at, frame + at + n, frame_n - at - n);
        frame_n -= n;
        break;
    default: frame[at] = (uint8_t)zn_rand_u64(&rnd);
    }
}

/* ---- the tests ---- */

static void start(uint64_t part)
{
    zn_rand_seed(&rnd, SEED + part);
    memset(seen, 0, sizeof seen);
}

static struct zn_decoder *decoder(void)
{
    struct zn_decoder *d;
    assert_int_equal(zn_decoder_new(BODY_MAX, &d), 0);
    return d;
}

/* A random message, written by both into `frame`. */
static void write_some_msg(void)
{
    static uint8_t other[FRAME_MAX];
    struct zn_msg msg;
    some_msg(&msg);
    const Body *b = fill_body(&msg);
    frame_n = zn_wire_size(&msg);
    assert_true(frame_n <= FRAME_MAX);
    assert_int_equal(frame_n, zmqnet__wire__body__get_packed_size(b));
    zn_wire_pack(&msg, frame);
    zmqnet__wire__body__pack(b, other);
    assert_memory_equal(frame, other, frame_n);
    zn_msg_drop(&msg);
}

static void both_write_the_same_bytes_and_read_them(void **state)
{
    (void)state;
    struct zn_decoder *d = decoder();
    start(0);
    for (size_t i = 0; i < ROUNDS; i++) {
        write_some_msg();
        both_read_alike(d, frame, frame_n);
    }
    assert_int_equal(seen[ZN_WIRE_OK] + seen[ZN_WIRE_EMPTY], ROUNDS);
    zn_decoder_free(&d);
}

static void both_judge_broken_messages_alike(void **state)
{
    (void)state;
    struct zn_decoder *d = decoder();
    start(1);
    for (size_t i = 0; i < 3 * ROUNDS; i++) {
        write_some_msg();
        for (size_t edits = 1 + below(3); edits > 0 && frame_n > 0; edits--)
            mutate_frame();
        both_read_alike(d, frame, frame_n);
    }
    assert_true(seen[ZN_WIRE_OK] > ROUNDS / 10 && seen[ZN_WIRE_MALFORMED] > ROUNDS / 10);
    zn_decoder_free(&d);
}

/* In any order, again and again, of every wire type, inside of each other. */
static void both_judge_fields_at_random_alike(void **state)
{
    (void)state;
    struct zn_decoder *d = decoder();
    start(2);
    for (size_t i = 0; i < 10 * ROUNDS; i++) {
        frame_n = 0;
        put_some_fields(&body);
        both_read_alike(d, frame, frame_n);
    }
    for (size_t error = 0; error < ZN_WIRE_MEMORY; error++)
        assert_true(seen[error] > 20);
    zn_decoder_free(&d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(both_write_the_same_bytes_and_read_them),
        cmocka_unit_test(both_judge_broken_messages_alike),
        cmocka_unit_test(both_judge_fields_at_random_alike),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
