/* SPDX-License-Identifier: MIT */
/*
 * Bytes -> messages. Belongs to the loop; a decoder is used by one thread.
 *
 * A message is read in two steps. First its fields, without a copy: numbers go to where they belong,
 * texts and bytes stay spans of the frame, and the last of each counts. Then, when all of it turned
 * out to be protobuf, the checks: each text is copied into the decoder as it passes, so that none
 * is too long for the room that is there. Bodies and replies become blobs at the very end, and are
 * all that is allocated.
 *
 * What stands above the limit of a list is read, counted and forgotten, and after so many fields in all
 * nothing is read any more: so no message, however many empty rows or unknown fields it has, costs more
 * memory than its own length and a decoder, or much time. The first finding of the checks stays. Of a
 * refused message nothing is handed out.
 *
 * A batch is walked in place; its members are read one by one, and a bad one harms no other.
 */
#include <assert.h>
#include <stdlib.h>

#include "base/parse.h"
#include "model/proto.h"
#include "model/wire.h"

#define BATCH_TAG ZN_PROTO_TAG(15, ZN_PROTO_BYTES)
#define BATCH_MEMBERS_MAX ZN_BATCH_MESSAGES_MAX

/* The cases of a switch over tags. */
#define NUMBER(field) ZN_PROTO_TAG(field, ZN_PROTO_VARINT)
#define FIXED64(field) ZN_PROTO_TAG(field, ZN_PROTO_FIXED64)
#define BYTES(field) ZN_PROTO_TAG(field, ZN_PROTO_BYTES)

static_assert(BATCH_TAG == 0x7a, "one byte");

/* Room for every text of the widest message, each with its NUL. */
#define TEXT_ROOM(max) ((max) + 1)
#define ROW_TEXTS (TEXT_ROOM(ZN_NAME_MAX) + TEXT_ROOM(ZN_WHY_MAX))
#define PEER_TEXTS (ROW_TEXTS + TEXT_ROOM(ZN_ENDPOINT_MAX))
#define BODY_TEXTS (2 * TEXT_ROOM(ZN_NAME_MAX) + TEXT_ROOM(ZN_PATTERN_NAME_MAX))
#define TEXTS_MAX                                                                                  \
    (2 * BODY_TEXTS + ZN_REPLICAS_MAX * (ROW_TEXTS + PEER_TEXTS) +                                 \
     (ZN_REPLICAS_MAX + ZN_STATUS_COUNTERS_MAX) * TEXT_ROOM(ZN_NAME_MAX))

static_assert(sizeof(struct zmqnet_link) == 2, "a link is two bytes, as on the wire");

enum frame_state { FRAME_DONE, FRAME_BAD, FRAME_SINGLE, FRAME_BATCH, FRAME_STATES };

#define TO(state) (1u << FRAME_##state)
static const unsigned moves[FRAME_STATES] = {
    [FRAME_DONE] = TO(BAD) | TO(SINGLE) | TO(BATCH),
    [FRAME_BAD] = TO(DONE),
    [FRAME_SINGLE] = TO(DONE),
    [FRAME_BATCH] = TO(DONE),
};

/* What of a message is still in the frame. */
struct body_spans {
    struct zn_span sender, message, target, pattern, links;
};
struct row_spans {
    struct zn_span name, why, reply;
};
struct peer_spans {
    struct zn_span name, endpoint, cause;
};
struct heard_spans {
    struct zn_span name, links;
};

/* Lists have one place more than their limit, which takes whatever is above it. What a message does
 * not use of the arrays is never touched. */
struct zn_decoder {
    size_t body_max;

    enum frame_state state;
    enum zn_wire_error frame_error; /* FRAME_BAD: what is wrong with it as a whole */
    struct zn_span left;            /* what was not handed out yet */

    /* Of the current message: */
    enum zn_wire_error error; /* the first one */
    bool has_batch, has_status;
    size_t fields_n, lives_n, rows_n, texts_n;
    struct body_spans body_spans;
    uint64_t lives[ZN_REPLICAS_MAX + 1];
    struct zn_row rows[ZN_REPLICAS_MAX + 1];
    struct row_spans row_spans[ZN_REPLICAS_MAX + 1];
    struct zmqnet_link links[ZN_REPLICAS_MAX];

    zmqnet_status status;
    struct zn_span status_name, status_pattern;
    struct zmqnet_peer_status peers[ZN_REPLICAS_MAX + 1];
    struct peer_spans peer_spans[ZN_REPLICAS_MAX + 1];
    struct zmqnet_counter counters[ZN_STATUS_COUNTERS_MAX + 1];
    struct zn_span counter_names[ZN_STATUS_COUNTERS_MAX + 1];
    struct zmqnet_heard heard[ZN_REPLICAS_MAX + 1];
    struct heard_spans heard_spans[ZN_REPLICAS_MAX + 1];
    struct zmqnet_link heard_links[ZN_REPLICAS_MAX][ZN_REPLICAS_MAX];

    char texts[TEXTS_MAX];
};

static const struct zn_msg nothing = {.sender = "", .target = "", .pattern = ""};

/* ---- the fields ---- */

/* Fields cost time, whether they are kept or not: nobody has so many of them but to waste it. */
static bool has_too_many(const struct zn_decoder *d) { return d->fields_n > ZN_MESSAGE_FIELDS_MAX; }

ZN_PROTO_INLINE bool next_field(struct zn_decoder *d, struct zn_span *in, struct zn_field *f)
{
    d->fields_n++;
    return !has_too_many(d) && zn_proto_field(in, f);
}

/* A field that is not in the list of its message: one of a later version, which is skipped, or one of
 * ours (they are numbered from 1 without a gap) in the wire type of another. */
static bool is_unknown(const struct zn_field *f, unsigned last) { return f->tag >> 3 > last; }

/* Where the next member of a list goes. */
static size_t next_place(size_t *n, size_t max)
{
    size_t place = *n < max ? *n : max;
    ++*n;
    return place;
}

static void read_life(struct zn_decoder *d, uint64_t life)
{
    d->lives[next_place(&d->lives_n, ZN_REPLICAS_MAX)] = life;
}

static bool read_packed_lives(struct zn_decoder *d, struct zn_span in)
{
    if (zn_span_bytes(in) % 8 != 0)
        return false;
    for (; in.at < in.end && d->lives_n <= ZN_REPLICAS_MAX; in.at += 8)
        read_life(d, zn_proto_get64(in.at));
    return true;
}

static bool read_row(struct zn_decoder *d, struct zn_span in)
{
    size_t place = next_place(&d->rows_n, ZN_REPLICAS_MAX);
    struct zn_row *row = &d->rows[place];
    struct row_spans *spans = &d->row_spans[place];
    struct zn_field f;
    *row = (struct zn_row){0};
    *spans = (struct row_spans){0};
    while (in.at < in.end) {
        if (!next_field(d, &in, &f))
            return false;
        switch (f.tag) {
        case BYTES(1): spans->name = f.bytes; break;
        case NUMBER(2): row->outcome = (enum zmqnet_outcome)(uint32_t)f.number; break;
        case NUMBER(3): row->rtt_us = (uint32_t)f.number; break;
        case NUMBER(4): row->code = zn_proto_sint32(f.number); break;
        case BYTES(5): spans->why = f.bytes; break;
        case BYTES(6): spans->reply = f.bytes; break;
        default:
            if (!is_unknown(&f, 6))
                return false;
        }
    }
    return true;
}

static bool read_peer(struct zn_decoder *d, struct zn_span in)
{
    size_t place = next_place(&d->status.peers_n, ZN_REPLICAS_MAX);
    struct zmqnet_peer_status *peer = &d->peers[place];
    struct peer_spans *spans = &d->peer_spans[place];
    struct zn_field f;
    *peer = (struct zmqnet_peer_status){0};
    *spans = (struct peer_spans){0};
    while (in.at < in.end) {
        if (!next_field(d, &in, &f))
            return false;
        switch (f.tag) {
        case BYTES(1): spans->name = f.bytes; break;
        case BYTES(2): spans->endpoint = f.bytes; break;
        case NUMBER(3): peer->state = (enum zmqnet_state)(uint32_t)f.number; break;
        case NUMBER(4): peer->since_us = f.number; break;
        case BYTES(5): spans->cause = f.bytes; break;
        case NUMBER(6): peer->rtt_us = (uint32_t)f.number; break;
        case NUMBER(7): peer->queue_messages = f.number; break;
        case NUMBER(8): peer->queue_bytes = f.number; break;
        case NUMBER(9): peer->inflight = f.number; break;
        case NUMBER(10): peer->sent = f.number; break;
        case NUMBER(11): peer->acked = f.number; break;
        case NUMBER(12): peer->refused = f.number; break;
        case NUMBER(13): peer->unknown = f.number; break;
        case NUMBER(14): peer->never_sent = f.number; break;
        case NUMBER(15): peer->retries = f.number; break;
        case NUMBER(16): peer->late = f.number; break;
        case NUMBER(17): peer->config_differs = f.number != 0; break;
        default:
            if (!is_unknown(&f, 17))
                return false;
        }
    }
    return true;
}

static bool read_counter(struct zn_decoder *d, struct zn_span in)
{
    size_t place = next_place(&d->status.counters_n, ZN_STATUS_COUNTERS_MAX);
    struct zmqnet_counter *counter = &d->counters[place];
    struct zn_span *name = &d->counter_names[place];
    struct zn_field f;
    *counter = (struct zmqnet_counter){0};
    *name = (struct zn_span){0};
    while (in.at < in.end) {
        if (!next_field(d, &in, &f))
            return false;
        switch (f.tag) {
        case BYTES(1): *name = f.bytes; break;
        case NUMBER(2): counter->value = f.number; break;
        default:
            if (!is_unknown(&f, 2))
                return false;
        }
    }
    return true;
}

static bool read_heard(struct zn_decoder *d, struct zn_span in)
{
    size_t place = next_place(&d->status.rows_n, ZN_REPLICAS_MAX);
    struct zmqnet_heard *heard = &d->heard[place];
    struct heard_spans *spans = &d->heard_spans[place];
    struct zn_field f;
    *heard = (struct zmqnet_heard){0};
    *spans = (struct heard_spans){0};
    while (in.at < in.end) {
        if (!next_field(d, &in, &f))
            return false;
        switch (f.tag) {
        case BYTES(1): spans->name = f.bytes; break;
        case NUMBER(2): heard->age_us = f.number; break;
        case BYTES(3): spans->links = f.bytes; break;
        default:
            if (!is_unknown(&f, 3))
                return false;
        }
    }
    return true;
}

/* A status that comes in two parts is one: its lists add up, of the rest the last counts. */
static bool read_status(struct zn_decoder *d, struct zn_span in)
{
    struct zn_field f;
    if (!d->has_status) {
        d->status = (zmqnet_status){.peers = d->peers, .counters = d->counters, .rows = d->heard};
        d->status_name = d->status_pattern = (struct zn_span){0};
    }
    d->has_status = true;
    while (in.at < in.end) {
        if (!next_field(d, &in, &f))
            return false;
        bool ok = true;
        switch (f.tag) {
        case BYTES(1): d->status_name = f.bytes; break;
        case BYTES(2): d->status_pattern = f.bytes; break;
        case FIXED64(3): d->status.life = f.number; break;
        case NUMBER(4): d->status.uptime_us = f.number; break;
        case BYTES(5): ok = read_peer(d, f.bytes); break;
        case BYTES(6): ok = read_counter(d, f.bytes); break;
        case BYTES(7): ok = read_heard(d, f.bytes); break;
        default: ok = is_unknown(&f, 7);
        }
        if (!ok)
            return false;
    }
    return true;
}

static bool read_body(struct zn_decoder *d, struct zn_span in, struct zn_msg *msg)
{
    struct zn_field f;
    while (in.at < in.end) {
        if (!next_field(d, &in, &f))
            return false;
        bool ok = true;
        switch (f.tag) {
        case NUMBER(1): msg->type = (enum zn_type)(uint32_t)f.number; break;
        case BYTES(2): d->body_spans.sender = f.bytes; break;
        case BYTES(3): d->body_spans.message = f.bytes; break;
        case NUMBER(4): msg->kind = (enum zn_kind)(uint32_t)f.number; break;
        case FIXED64(5): msg->id.origin = f.number; break;
        case NUMBER(6): msg->id.seq = f.number; break;
        case FIXED64(7): read_life(d, f.number); break;
        case BYTES(7): ok = read_packed_lives(d, f.bytes); break;
        case NUMBER(8): msg->budget_ms = (uint32_t)f.number; break;
        case NUMBER(9): msg->attempt = (uint32_t)f.number; break;
        case NUMBER(10): msg->quorum = zn_proto_sint32(f.number); break;
        case NUMBER(11): msg->floor = f.number; break;
        case NUMBER(12): msg->idempotent = f.number != 0; break;
        case NUMBER(13): msg->code = zn_proto_sint32(f.number); break;
        case BYTES(14): ok = read_row(d, f.bytes); break;
        case BYTES(15): d->has_batch = true; break;
        case BYTES(16): d->body_spans.target = f.bytes; break;
        case FIXED64(17): msg->life = f.number; break;
        case NUMBER(18): msg->version = (uint32_t)f.number; break;
        case FIXED64(19): msg->peers_hash = f.number; break;
        case BYTES(20): d->body_spans.pattern = f.bytes; break;
        case NUMBER(21): msg->need = (uint32_t)f.number; break;
        case NUMBER(22): msg->have = (uint32_t)f.number; break;
        case BYTES(23): ok = read_status(d, f.bytes); break;
        case BYTES(24): d->body_spans.links = f.bytes; break;
        case FIXED64(25): msg->names_hash = f.number; break;
        default: ok = is_unknown(&f, 25);
        }
        if (!ok)
            return false;
    }
    return true;
}

/* ---- the checks ---- */

static void fail(struct zn_decoder *d, enum zn_wire_error error)
{
    if (d->error == ZN_WIRE_OK)
        d->error = error;
}

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

static void check_body_size(struct zn_decoder *d, struct zn_span bytes)
{
    if (zn_span_bytes(bytes) > d->body_max)
        fail(d, ZN_WIRE_OVERSIZE);
}

/* No byte is NUL or above 0x7f: then neither it nor it less one has the highest bit. Eight bytes go at
 * once; what one of them borrows from the next does not matter, for then it is NUL itself. */
static bool is_plain_ascii(const uint8_t *s, size_t n)
{
    uint64_t word, bits = 0;
    for (; n >= 8; s += 8, n -= 8) {
        memcpy(&word, s, 8);
        bits |= word | (word - 0x0101010101010101u);
    }
    for (; n > 0; s++, n--)
        bits |= (uint64_t)(*s | (*s - 1u));
    return !(bits & 0x8080808080808080u);
}

/* The text as a string; "" if it is refused. */
static const char *take_text(struct zn_decoder *d, struct zn_span text, size_t max)
{
    size_t n = zn_span_bytes(text);
    if (n == 0)
        return "";
    if (n > max) {
        fail(d, ZN_WIRE_LIMIT);
        return "";
    }
    if (!is_plain_ascii(text.at, n) && (memchr(text.at, 0, n) || !zn_utf8_valid(text.at, n))) {
        fail(d, ZN_WIRE_MALFORMED);
        return "";
    }
    char *s = d->texts + d->texts_n;
    d->texts_n += n + 1;
    memcpy(s, text.at, n);
    s[n] = '\0';
    return s;
}

/* Two bytes for each of n replicas. */
static const struct zmqnet_link *take_links(struct zn_decoder *d, struct zn_span in, size_t n,
                                            struct zmqnet_link out[ZN_REPLICAS_MAX])
{
    if (zn_span_bytes(in) != n * sizeof *out || n > ZN_REPLICAS_MAX) {
        fail(d, ZN_WIRE_LIMIT);
        return NULL;
    }
    for (size_t i = 0; i < n; i++)
        out[i] = (struct zmqnet_link){in.at[2 * i], in.at[2 * i + 1]};
    return out;
}

static void check_rows(struct zn_decoder *d)
{
    check_max(d, d->rows_n, ZN_REPLICAS_MAX);
    for (size_t i = 0; i < d->rows_n && !d->error; i++) {
        struct zn_row *row = &d->rows[i];
        const struct row_spans *spans = &d->row_spans[i];
        row->name = take_text(d, spans->name, ZN_NAME_MAX);
        row->why = take_text(d, spans->why, ZN_WHY_MAX);
        check_range(d, row->outcome, ZMQNET_SELF, ZMQNET_NEVER_SENT);
        check_body_size(d, spans->reply);
    }
}

static void check_status(struct zn_decoder *d)
{
    zmqnet_status *view = &d->status;
    view->name = take_text(d, d->status_name, ZN_NAME_MAX);
    view->pattern = take_text(d, d->status_pattern, ZN_PATTERN_NAME_MAX);
    check_max(d, view->peers_n, ZN_REPLICAS_MAX);
    check_max(d, view->counters_n, ZN_STATUS_COUNTERS_MAX);
    check_max(d, view->rows_n, ZN_REPLICAS_MAX);
    for (size_t i = 0; i < view->peers_n && !d->error; i++) {
        struct zmqnet_peer_status *peer = &d->peers[i];
        peer->name = take_text(d, d->peer_spans[i].name, ZN_NAME_MAX);
        peer->endpoint = take_text(d, d->peer_spans[i].endpoint, ZN_ENDPOINT_MAX);
        peer->cause = take_text(d, d->peer_spans[i].cause, ZN_WHY_MAX);
        check_range(d, peer->state, ZMQNET_CONNECTING, ZMQNET_SUSPECT);
    }
    for (size_t i = 0; i < view->counters_n && !d->error; i++)
        d->counters[i].name = take_text(d, d->counter_names[i], ZN_NAME_MAX);
    for (size_t i = 0; i < view->rows_n && !d->error; i++) {
        d->heard[i].name = take_text(d, d->heard_spans[i].name, ZN_NAME_MAX);
        d->heard[i].links =
            take_links(d, d->heard_spans[i].links, view->peers_n, d->heard_links[i]);
    }
}

static void check_body(struct zn_decoder *d, struct zn_msg *msg)
{
    if ((uint32_t)msg->type > ZN_ERROR)
        fail(d, ZN_WIRE_TYPE);
    if ((uint32_t)msg->kind >= ZN_KINDS)
        fail(d, ZN_WIRE_KIND);
    if (d->has_batch) /* inside a batch, or beside other fields */
        fail(d, ZN_WIRE_MALFORMED);
    msg->sender = take_text(d, d->body_spans.sender, ZN_NAME_MAX);
    msg->target = take_text(d, d->body_spans.target, ZN_NAME_MAX);
    msg->pattern = take_text(d, d->body_spans.pattern, ZN_PATTERN_NAME_MAX);
    check_body_size(d, d->body_spans.message);
    check_max(d, d->lives_n, ZN_REPLICAS_MAX);
    msg->links_n = zn_span_bytes(d->body_spans.links) / sizeof *msg->links;
    msg->links = take_links(d, d->body_spans.links, msg->links_n, d->links);
    check_rows(d);
    if (d->has_status && !d->error)
        check_status(d);
}

/* ---- a message ---- */

static int take_blobs(struct zn_decoder *d, struct zn_msg *msg)
{
    struct zn_span body = d->body_spans.message;
    int rc = zn_blob_copy(body.at, zn_span_bytes(body), &msg->body);
    for (size_t i = 0; i < msg->rows_n && rc == 0; i++) {
        struct zn_span reply = d->row_spans[i].reply;
        rc = zn_blob_copy(reply.at, zn_span_bytes(reply), &msg->rows[i].reply);
    }
    if (rc != 0)
        zn_msg_drop(msg);
    return rc;
}

static enum zn_wire_error decode_into(struct zn_decoder *d, struct zn_span in, struct zn_msg *msg)
{
    if (in.at == in.end)
        return ZN_WIRE_EMPTY;
    if (!read_body(d, in, msg))
        return has_too_many(d) ? ZN_WIRE_LIMIT : ZN_WIRE_MALFORMED;
    check_body(d, msg);
    if (d->error)
        return d->error;
    msg->to_life = d->lives;
    msg->lives_n = d->lives_n;
    msg->rows = d->rows;
    msg->rows_n = d->rows_n;
    msg->status = d->has_status ? &d->status : NULL;
    return take_blobs(d, msg) == 0 ? ZN_WIRE_OK : ZN_WIRE_MEMORY;
}

static enum zn_wire_error decode(struct zn_decoder *d, struct zn_span in, struct zn_msg *msg)
{
    d->error = ZN_WIRE_OK;
    d->has_batch = d->has_status = false;
    d->fields_n = d->lives_n = d->rows_n = d->texts_n = 0;
    d->body_spans = (struct body_spans){0};
    *msg = nothing;
    enum zn_wire_error error = decode_into(d, in, msg);
    if (error)
        *msg = nothing;
    return error;
}

/* ---- frames ---- */

static void frame_move(struct zn_decoder *d, enum frame_state to)
{
    assert(moves[d->state] & (1u << to));
    d->state = to;
}

/* Only the shortest form of the tag begins a member. */
static bool take_member(struct zn_span *in, struct zn_span *member)
{
    return in->at < in->end && *in->at++ == BATCH_TAG && zn_proto_bytes(in, member);
}

/* All of it before the first member is handed out: a batch is good or bad as a whole, its members
 * each for itself. */
static enum zn_wire_error check_batch(struct zn_span in)
{
    struct zn_span member;
    for (size_t members = 0; in.at < in.end; members++) {
        if (members == BATCH_MEMBERS_MAX)
            return ZN_WIRE_LIMIT;
        if (!take_member(&in, &member))
            return ZN_WIRE_MALFORMED;
    }
    return ZN_WIRE_OK;
}

int zn_decoder_new(size_t body_max, struct zn_decoder **out)
{
    struct zn_decoder *d = malloc(sizeof *d);
    if (!d)
        return ZMQNET_ENOMEM;
    d->body_max = body_max;
    d->state = FRAME_DONE;
    *out = d;
    return 0;
}

void zn_decoder_free(struct zn_decoder **d)
{
    free(*d);
    *d = NULL;
}

void zn_decoder_begin(struct zn_decoder *d, const void *bytes, size_t n)
{
    const uint8_t *at = bytes;
    bool batch = n > 0 && at[0] == BATCH_TAG;
    if (d->state != FRAME_DONE) /* what was left of the one before is forgotten */
        frame_move(d, FRAME_DONE);
    d->left = (struct zn_span){at, n ? at + n : at};
    d->frame_error = batch ? check_batch(d->left) : ZN_WIRE_OK;
    frame_move(d, !batch ? FRAME_SINGLE : d->frame_error ? FRAME_BAD : FRAME_BATCH);
}

int zn_decoder_next(struct zn_decoder *d, struct zn_msg *msg, enum zn_wire_error *error)
{
    struct zn_span one = d->left;
    switch (d->state) {
    case FRAME_DONE: return 0;
    case FRAME_BAD:
        frame_move(d, FRAME_DONE);
        *msg = nothing;
        *error = d->frame_error;
        return 1;
    case FRAME_SINGLE: frame_move(d, FRAME_DONE); break;
    case FRAME_BATCH: {
        bool ok = take_member(&d->left, &one);
        assert(ok); /* zn_decoder_begin() walked it; `assert` is never compiled out */
        if (d->left.at == d->left.end)
            frame_move(d, FRAME_DONE);
        break;
    }
    case FRAME_STATES: assert(false);
    }
    *error = decode(d, one, msg);
    return 1;
}

void zn_msg_drop(struct zn_msg *msg)
{
    zn_blob_drop(&msg->body);
    for (size_t i = 0; i < msg->rows_n; i++)
        zn_blob_drop(&msg->rows[i].reply);
}
