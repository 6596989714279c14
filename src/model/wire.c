/* SPDX-License-Identifier: MIT */
/*
 * Message <-> bytes. Belongs to the loop; a decoder is used by one thread.
 *
 * Decoding. protobuf-c parses into a bump arena inside the decoder, which is emptied for each
 * message, so a small message costs no malloc but that of its body's blob. What is LARGE comes from
 * malloc, and a large body or reply becomes a blob without a second copy. The allocator refuses
 * whatever one message may not cost (the arena, and its own length plus HEAP_EXTRA), so that a frame
 * of a million empty rows or unknown fields ends in ZN_WIRE_LIMIT instead of in a gigabyte.
 * A batch is walked in place; its members are parsed one by one, and a bad one harms no other.
 *
 * Nothing that was parsed is used before check_body() accepted all of it. Its findings, and the
 * allocator's, go into d->error: the first one stays. References are taken only after that.
 *
 * Encoding packs from structs on the stack: no allocation, no failure.
 */
#include "model/wire.h"

#include <assert.h>
#include <stdalign.h>
#include <stdlib.h>
#include <string.h>

#include "base/parse.h"
#include "zmqnet.pb-c.h"

#define ARENA_BYTES (256u << 10) /* only what is used is ever touched */
#define LARGE 2048u              /* from here on malloc: a copy costs more than the call */
#define HEAP_EXTRA (64u << 10)   /* protobuf-c's own tables for the widest good message */
#define HEAP_BLOCKS_MAX (2 * ZN_REPLICAS_MAX)
#define ENDPOINT_MAX (ZN_HOST_MAX + 15) /* "tcp://[" host "]:65535" */
#define COUNTERS_MAX 256
#define BATCH_MEMBERS_MAX ZN_BATCH_MESSAGES_MAX
#define BATCH_TAG 0x7a /* field 15, length-delimited */

static_assert(ARENA_BYTES > ZN_REPLICAS_MAX * (LARGE + 1024), "a receipt's small replies fit");
static_assert(ARENA_BYTES > ZN_REPLICAS_MAX * 1024 + COUNTERS_MAX * 256, "the widest status fits");
static_assert((int)ZN_ERROR == ZMQNET__WIRE__TYPE__ERROR, "values of the proto file");
static_assert((int)ZN_BYE == ZMQNET__WIRE__KIND__BYE, "values of the proto file");
static_assert((int)ZMQNET_SELF == ZMQNET__WIRE__OUTCOME__SELF, "values of the proto file");
static_assert((int)ZMQNET_NEVER_SENT == ZMQNET__WIRE__OUTCOME__NEVER_SENT,
              "values of the proto file");

/* A piece of the arena. The length stands in front because protobuf-c keeps none for a string, and
 * without it a NUL inside could not be seen. */
struct block {
    alignas(max_align_t) size_t bytes;
    alignas(max_align_t) uint8_t data[];
};

enum frame_state { FRAME_DONE, FRAME_BAD, FRAME_SINGLE, FRAME_BATCH };

struct zn_decoder {
    ProtobufCAllocator allocator;
    size_t body_max;

    enum frame_state state;
    enum zn_wire_error frame_error; /* FRAME_BAD: what is wrong with it as a whole */
    const uint8_t *at, *end;        /* what was not handed out yet */

    enum zn_wire_error error; /* the first one of this message */
    size_t arena_used;
    size_t heap_left; /* bytes that this message may still take from malloc */
    size_t heap_n;
    void *heap[HEAP_BLOCKS_MAX];

    struct zn_row rows[ZN_REPLICAS_MAX];
    zmqnet_status status;
    struct zmqnet_peer_status peers[ZN_REPLICAS_MAX];
    struct zmqnet_counter counters[COUNTERS_MAX];
    alignas(struct block) uint8_t arena[ARENA_BYTES];
};

static void fail(struct zn_decoder *d, enum zn_wire_error error)
{
    if (d->error == ZN_WIRE_OK)
        d->error = error;
}

/* ---- memory of one message ---- */

static void *arena_alloc(struct zn_decoder *d, size_t bytes)
{
    size_t unit = alignof(struct block);
    size_t need = (sizeof(struct block) + bytes + unit - 1) / unit * unit;
    if (need > ARENA_BYTES - d->arena_used) {
        fail(d, ZN_WIRE_LIMIT);
        return NULL;
    }
    struct block *b = (struct block *)(void *)(d->arena + d->arena_used);
    d->arena_used += need;
    b->bytes = bytes;
    return b->data;
}

static void *heap_alloc(struct zn_decoder *d, size_t bytes)
{
    if (d->heap_n == HEAP_BLOCKS_MAX || bytes > d->heap_left) {
        fail(d, ZN_WIRE_LIMIT);
        return NULL;
    }
    void *p = malloc(bytes);
    if (!p) {
        fail(d, ZN_WIRE_MEMORY);
        return NULL;
    }
    d->heap_left -= bytes; /* not given back by a free: it bounds the work as well */
    d->heap[d->heap_n++] = p;
    return p;
}

static void *decoder_alloc(void *arg, size_t bytes)
{
    return bytes < LARGE ? arena_alloc(arg, bytes) : heap_alloc(arg, bytes);
}

/* Take p off the list of what the decoder frees. False: it is the arena's. */
static bool heap_forget(struct zn_decoder *d, const void *p)
{
    for (size_t i = d->heap_n; i-- > 0;) {
        if (d->heap[i] == p) {
            d->heap[i] = d->heap[--d->heap_n];
            return true;
        }
    }
    return false;
}

static void decoder_free(void *arg, void *p)
{
    if (heap_forget(arg, p))
        free(p);
}

static void memory_reset(struct zn_decoder *d, size_t message_bytes)
{
    while (d->heap_n > 0)
        free(d->heap[--d->heap_n]);
    d->arena_used = 0;
    d->heap_left = message_bytes + HEAP_EXTRA;
    d->error = ZN_WIRE_OK;
}

/* ---- checks ---- */

static void check_max(struct zn_decoder *d, size_t n, size_t max)
{
    if (n > max)
        fail(d, ZN_WIRE_LIMIT);
}

static void check_range(struct zn_decoder *d, uint32_t value, uint32_t min, uint32_t max)
{
    if (value < min || value > max)
        fail(d, ZN_WIRE_LIMIT);
}

/* A string that is not in the arena was LARGE, which is above every limit. */
static void check_text(struct zn_decoder *d, const char *s, size_t max)
{
    static_assert(ENDPOINT_MAX < LARGE - 1, "every allowed text lies in the arena");
    const uint8_t *at = (const uint8_t *)s;
    if (s == protobuf_c_empty_string)
        return;
    if ((uintptr_t)at < (uintptr_t)d->arena ||
        (uintptr_t)at >= (uintptr_t)(d->arena + ARENA_BYTES)) {
        fail(d, ZN_WIRE_LIMIT);
        return;
    }
    size_t n = ((const struct block *)(const void *)(at - offsetof(struct block, data)))->bytes - 1;
    check_max(d, n, max);
    if (memchr(s, 0, n) || !zn_utf8_valid(s, n))
        fail(d, ZN_WIRE_MALFORMED);
}

static void check_body_size(struct zn_decoder *d, size_t bytes)
{
    if (bytes > d->body_max)
        fail(d, ZN_WIRE_OVERSIZE);
}

static void check_row(struct zn_decoder *d, const Zmqnet__Wire__Row *row)
{
    check_text(d, row->name, ZN_NAME_MAX);
    check_text(d, row->why, ZN_WHY_MAX);
    check_range(d, (uint32_t)row->outcome, ZMQNET_SELF, ZMQNET_NEVER_SENT);
    check_body_size(d, row->reply.len);
}

static void check_status(struct zn_decoder *d, const Zmqnet__Wire__StatusView *v)
{
    check_text(d, v->name, ZN_NAME_MAX);
    check_text(d, v->pattern, ZN_PATTERN_NAME_MAX);
    check_max(d, v->n_peers, ZN_REPLICAS_MAX);
    check_max(d, v->n_counters, COUNTERS_MAX);
    for (size_t i = 0; i < v->n_peers && !d->error; i++) {
        const Zmqnet__Wire__StatusPeer *p = v->peers[i];
        check_text(d, p->name, ZN_NAME_MAX);
        check_text(d, p->endpoint, ENDPOINT_MAX);
        check_text(d, p->cause, ZN_WHY_MAX);
        check_range(d, p->state, ZMQNET_CONNECTING, ZMQNET_LOCAL);
    }
    for (size_t i = 0; i < v->n_counters && !d->error; i++)
        check_text(d, v->counters[i]->name, ZN_NAME_MAX);
}

static void check_body(struct zn_decoder *d, const Zmqnet__Wire__Body *b)
{
    if ((uint32_t)b->type > ZN_ERROR)
        fail(d, ZN_WIRE_TYPE);
    if ((uint32_t)b->kind >= ZN_KINDS)
        fail(d, ZN_WIRE_KIND);
    if (b->n_batch > 0) /* inside a batch, or beside other fields */
        fail(d, ZN_WIRE_MALFORMED);
    check_text(d, b->sender, ZN_NAME_MAX);
    check_text(d, b->target, ZN_NAME_MAX);
    check_text(d, b->pattern, ZN_PATTERN_NAME_MAX);
    check_body_size(d, b->message.len);
    check_max(d, b->n_to_life, ZN_REPLICAS_MAX);
    check_max(d, b->n_rows, ZN_REPLICAS_MAX);
    for (size_t i = 0; i < b->n_rows && !d->error; i++)
        check_row(d, b->rows[i]);
    if (b->status && !d->error)
        check_status(d, b->status);
}

/* ---- what protobuf-c parsed -> what core reads ---- */

static const zmqnet_status *read_status(struct zn_decoder *d, const Zmqnet__Wire__StatusView *v)
{
    for (size_t i = 0; i < v->n_peers; i++) {
        const Zmqnet__Wire__StatusPeer *p = v->peers[i];
        d->peers[i] = (struct zmqnet_peer_status){
            .name = p->name,
            .endpoint = p->endpoint,
            .state = (enum zmqnet_state)p->state,
            .since_us = p->since_us,
            .cause = p->cause,
            .rtt_us = p->rtt_us,
            .queue_messages = p->queue_messages,
            .queue_bytes = p->queue_bytes,
            .inflight = p->inflight,
            .sent = p->sent,
            .acked = p->acked,
            .refused = p->refused,
            .unknown = p->unknown,
            .never_sent = p->never_sent,
            .retries = p->retries,
            .late = p->late,
            .config_differs = p->config_differs,
        };
    }
    for (size_t i = 0; i < v->n_counters; i++)
        d->counters[i] = (struct zmqnet_counter){v->counters[i]->name, v->counters[i]->value};
    d->status = (zmqnet_status){
        .name = v->name,
        .pattern = v->pattern,
        .life = v->life,
        .uptime_us = v->uptime_us,
        .peers_n = v->n_peers,
        .peers = d->peers,
        .counters_n = v->n_counters,
        .counters = d->counters,
    };
    return &d->status;
}

static void read_fields(struct zn_decoder *d, const Zmqnet__Wire__Body *b, struct zn_msg *msg)
{
    *msg = (struct zn_msg){
        .type = (enum zn_type)b->type,
        .kind = (enum zn_kind)b->kind,
        .sender = b->sender,
        .id = {b->origin, b->seq},
        .to_life = b->to_life,
        .lives_n = b->n_to_life,
        .budget_ms = b->budget_ms,
        .attempt = b->attempt,
        .quorum = b->quorum,
        .floor = b->floor,
        .idempotent = b->idempotent,
        .code = b->code,
        .rows = d->rows,
        .rows_n = b->n_rows,
        .need = b->need,
        .have = b->have,
        .target = b->target,
        .life = b->life,
        .version = b->version,
        .peers_hash = b->peers_hash,
        .pattern = b->pattern,
        .status = b->status ? read_status(d, b->status) : NULL,
    };
    for (size_t i = 0; i < b->n_rows; i++) {
        const Zmqnet__Wire__Row *r = b->rows[i];
        d->rows[i] = (struct zn_row){
            .name = r->name,
            .outcome = (enum zmqnet_outcome)r->outcome,
            .rtt_us = r->rtt_us,
            .code = r->code,
            .why = r->why,
        };
    }
}

/* The bytes as a blob: taken over if they came from malloc, else copied. */
static int take_bytes(struct zn_decoder *d, const ProtobufCBinaryData *bytes, struct zn_blob **out)
{
    if (bytes->len == 0 || !heap_forget(d, bytes->data))
        return zn_blob_copy(bytes->data, bytes->len, out);
    int rc = zn_blob_adopt(bytes->data, bytes->len, out);
    if (rc != 0)
        free(bytes->data);
    return rc;
}

static int take_blobs(struct zn_decoder *d, const Zmqnet__Wire__Body *b, struct zn_msg *msg)
{
    int rc = take_bytes(d, &b->message, &msg->body);
    for (size_t i = 0; i < b->n_rows && rc == 0; i++)
        rc = take_bytes(d, &b->rows[i]->reply, &d->rows[i].reply);
    return rc;
}

static enum zn_wire_error decode(struct zn_decoder *d, const uint8_t *bytes, size_t n,
                                 struct zn_msg *msg)
{
    memory_reset(d, n);
    *msg = (struct zn_msg){.sender = "", .target = "", .pattern = ""};
    if (n == 0)
        return ZN_WIRE_EMPTY;
    Zmqnet__Wire__Body *b = zmqnet__wire__body__unpack(&d->allocator, n, bytes);
    if (!b) {
        fail(d, ZN_WIRE_MALFORMED);
        return d->error;
    }
    check_body(d, b);
    if (d->error)
        return d->error;
    read_fields(d, b, msg);
    if (take_blobs(d, b, msg) != 0) {
        zn_msg_drop(msg);
        return ZN_WIRE_MEMORY;
    }
    return ZN_WIRE_OK;
}

/* ---- frames ---- */

/* The length in front of a batch's member, at most five bytes long. */
static bool take_length(const uint8_t **at, const uint8_t *end, size_t *out)
{
    size_t value = 0;
    for (unsigned shift = 0; shift < 35 && *at < end; shift += 7) {
        uint8_t byte = *(*at)++;
        value |= (size_t)(byte & 0x7f) << shift;
        if (byte < 0x80) {
            *out = value;
            return true;
        }
    }
    return false;
}

static bool take_member(const uint8_t **at, const uint8_t *end, const uint8_t **member, size_t *n)
{
    if (*at == end || *(*at)++ != BATCH_TAG)
        return false;
    if (!take_length(at, end, n) || *n > (size_t)(end - *at))
        return false;
    *member = *at;
    *at += *n;
    return true;
}

/* All of it before the first member is handed out: a batch is good or bad as a whole, its members
 * each for itself. */
static enum zn_wire_error check_batch(const uint8_t *at, const uint8_t *end)
{
    const uint8_t *member;
    size_t n, members = 0;
    while (at < end) {
        if (!take_member(&at, end, &member, &n))
            return ZN_WIRE_MALFORMED;
        members++;
    }
    return members > BATCH_MEMBERS_MAX ? ZN_WIRE_LIMIT : ZN_WIRE_OK;
}

int zn_decoder_new(size_t body_max, struct zn_decoder **out)
{
    struct zn_decoder *d = malloc(sizeof *d);
    if (!d)
        return ZMQNET_ENOMEM;
    d->allocator = (ProtobufCAllocator){decoder_alloc, decoder_free, d};
    d->body_max = body_max;
    d->state = FRAME_DONE;
    d->heap_n = 0;
    memory_reset(d, 0);
    *out = d;
    return 0;
}

void zn_decoder_free(struct zn_decoder **d)
{
    if (!*d)
        return;
    memory_reset(*d, 0);
    free(*d);
    *d = NULL;
}

void zn_decoder_begin(struct zn_decoder *d, const void *bytes, size_t n)
{
    d->at = bytes;
    d->end = d->at + n;
    d->state = FRAME_SINGLE;
    if (n == 0 || d->at[0] != BATCH_TAG)
        return;
    d->frame_error = check_batch(d->at, d->end);
    d->state = d->frame_error ? FRAME_BAD : FRAME_BATCH;
}

int zn_decoder_next(struct zn_decoder *d, struct zn_msg *msg, enum zn_wire_error *error)
{
    const uint8_t *bytes = d->at;
    size_t n = 0;
    switch (d->state) {
    case FRAME_DONE: return 0;
    case FRAME_BAD:
        d->state = FRAME_DONE;
        *msg = (struct zn_msg){.sender = "", .target = "", .pattern = ""};
        *error = d->frame_error;
        return 1;
    case FRAME_SINGLE:
        d->state = FRAME_DONE;
        n = (size_t)(d->end - d->at);
        break;
    case FRAME_BATCH: {
        bool ok = take_member(&d->at, d->end, &bytes, &n);
        assert(ok); /* zn_decoder_begin() walked it; `assert` is never compiled out */
        if (d->at == d->end)
            d->state = FRAME_DONE;
        break;
    }
    }
    *error = decode(d, bytes, n, msg);
    return 1;
}

void zn_msg_drop(struct zn_msg *msg)
{
    zn_blob_drop(&msg->body);
    for (size_t i = 0; i < msg->rows_n; i++)
        zn_blob_drop((struct zn_blob **)&msg->rows[i].reply);
}

/* ---- messages -> bytes ---- */

/* What a message is packed from. Members of the arrays are set as far as they are used. */
struct packed {
    Zmqnet__Wire__Body body;
    Zmqnet__Wire__Row *rows_at[ZN_REPLICAS_MAX];
    Zmqnet__Wire__Row rows[ZN_REPLICAS_MAX];
    Zmqnet__Wire__StatusView status;
    Zmqnet__Wire__StatusPeer *peers_at[ZN_REPLICAS_MAX];
    Zmqnet__Wire__StatusPeer peers[ZN_REPLICAS_MAX];
    Zmqnet__Wire__Counter *counters_at[COUNTERS_MAX];
    Zmqnet__Wire__Counter counters[COUNTERS_MAX];
};

/* A NULL text is an empty one, which is not sent. A longer one than a reader takes is our bug. */
static char *text(const char *s, size_t max)
{
    if (!s)
        return NULL;
    assert(strnlen(s, max + 1) <= max);
    return (char *)s; /* protobuf-c has no const; packing does not write */
}

static ProtobufCBinaryData bytes_of(const struct zn_blob *b)
{
    return (ProtobufCBinaryData){zn_blob_bytes(b), (uint8_t *)zn_blob_data(b)};
}

static void write_rows(struct packed *p, const struct zn_row *rows, size_t n)
{
    assert(n <= ZN_REPLICAS_MAX);
    for (size_t i = 0; i < n; i++) {
        Zmqnet__Wire__Row *w = p->rows_at[i] = &p->rows[i];
        zmqnet__wire__row__init(w);
        w->name = text(rows[i].name, ZN_NAME_MAX);
        w->outcome = (Zmqnet__Wire__Outcome)rows[i].outcome;
        w->rtt_us = rows[i].rtt_us;
        w->code = rows[i].code;
        w->why = text(rows[i].why, ZN_WHY_MAX);
        w->reply = bytes_of(rows[i].reply);
    }
    p->body.n_rows = n;
    p->body.rows = p->rows_at;
}

static void write_peer(Zmqnet__Wire__StatusPeer *w, const struct zmqnet_peer_status *s)
{
    zmqnet__wire__status_peer__init(w);
    w->name = text(s->name, ZN_NAME_MAX);
    w->endpoint = text(s->endpoint, ENDPOINT_MAX);
    w->state = s->state;
    w->since_us = s->since_us;
    w->cause = text(s->cause, ZN_WHY_MAX);
    w->rtt_us = s->rtt_us;
    w->queue_messages = s->queue_messages;
    w->queue_bytes = s->queue_bytes;
    w->inflight = s->inflight;
    w->sent = s->sent;
    w->acked = s->acked;
    w->refused = s->refused;
    w->unknown = s->unknown;
    w->never_sent = s->never_sent;
    w->retries = s->retries;
    w->late = s->late;
    w->config_differs = s->config_differs;
}

static void write_status(struct packed *p, const zmqnet_status *s)
{
    assert(s->peers_n <= ZN_REPLICAS_MAX && s->counters_n <= COUNTERS_MAX);
    Zmqnet__Wire__StatusView *w = p->body.status = &p->status;
    zmqnet__wire__status_view__init(w);
    w->name = text(s->name, ZN_NAME_MAX);
    w->pattern = text(s->pattern, ZN_PATTERN_NAME_MAX);
    w->life = s->life;
    w->uptime_us = s->uptime_us;
    for (size_t i = 0; i < s->peers_n; i++)
        write_peer(p->peers_at[i] = &p->peers[i], &s->peers[i]);
    w->n_peers = s->peers_n;
    w->peers = p->peers_at;
    for (size_t i = 0; i < s->counters_n; i++) {
        Zmqnet__Wire__Counter *c = p->counters_at[i] = &p->counters[i];
        zmqnet__wire__counter__init(c);
        c->name = text(s->counters[i].name, ZN_NAME_MAX);
        c->value = s->counters[i].value;
    }
    w->n_counters = s->counters_n;
    w->counters = p->counters_at;
}

static void write_body(struct packed *p, const struct zn_msg *msg)
{
    assert((unsigned)msg->type <= ZN_ERROR && msg->kind < ZN_KINDS);
    assert(msg->lives_n <= ZN_REPLICAS_MAX);
    Zmqnet__Wire__Body *b = &p->body;
    zmqnet__wire__body__init(b);
    b->type = (Zmqnet__Wire__Type)msg->type;
    b->sender = text(msg->sender, ZN_NAME_MAX);
    b->message = bytes_of(msg->body);
    b->kind = (Zmqnet__Wire__Kind)msg->kind;
    b->origin = msg->id.origin;
    b->seq = msg->id.seq;
    b->n_to_life = msg->lives_n;
    b->to_life = (uint64_t *)msg->to_life;
    b->budget_ms = msg->budget_ms;
    b->attempt = msg->attempt;
    b->quorum = msg->quorum;
    b->floor = msg->floor;
    b->idempotent = msg->idempotent;
    b->code = msg->code;
    b->target = text(msg->target, ZN_NAME_MAX);
    b->life = msg->life;
    b->version = msg->version;
    b->peers_hash = msg->peers_hash;
    b->pattern = text(msg->pattern, ZN_PATTERN_NAME_MAX);
    b->need = msg->need;
    b->have = msg->have;
    write_rows(p, msg->rows, msg->rows_n);
    if (msg->status)
        write_status(p, msg->status);
}

size_t zn_wire_size(const struct zn_msg *msg)
{
    struct packed p;
    write_body(&p, msg);
    return zmqnet__wire__body__get_packed_size(&p.body);
}

void zn_wire_pack(const struct zn_msg *msg, uint8_t *out)
{
    struct packed p;
    write_body(&p, msg);
    zmqnet__wire__body__pack(&p.body, out);
}

size_t zn_wire_item_head(size_t bytes, uint8_t *out)
{
    static_assert(ZN_WIRE_ITEM_HEAD_MAX >= 6, "a tag and 35 bits");
    assert(bytes <= UINT32_MAX);
    size_t n = 0;
    out[n++] = BATCH_TAG;
    for (; bytes >= 0x80; bytes >>= 7)
        out[n++] = (uint8_t)(bytes | 0x80);
    out[n++] = (uint8_t)bytes;
    return n;
}
