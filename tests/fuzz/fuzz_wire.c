/* SPDX-License-Identifier: MIT */
/*
 * The decoder, fed with a frame: whatever it takes must be encoded and decoded to the same message,
 * and the messages of a frame, put together to a batch, must come out of it one by one. A message that
 * it takes must be one for protobuf-c too, which must write the same bytes for what it has read.
 *
 * The first byte of the input chooses the largest body, so that both sides of the limit are near; the
 * rest is the frame.
 */
#include "fuzz.h"
#include "messages.h"

#include "base/limits.h"
#include "zmqnet.pb-c.h"

#define BATCH_TAG 0x7a

struct batch {
    uint8_t *bytes;
    size_t n, members;
};

static void batch_add(struct batch *b, const uint8_t *bytes, size_t n)
{
    uint8_t head[ZN_WIRE_ITEM_HEAD_MAX];
    size_t head_bytes = zn_wire_item_head(n, head);
    b->bytes = realloc(b->bytes, b->n + head_bytes + n);
    assert(b->bytes);
    memcpy(b->bytes + b->n, head, head_bytes);
    memcpy(b->bytes + b->n + head_bytes, bytes, n);
    b->n += head_bytes + n;
    b->members++;
}

static void batch_check(const struct batch *b, struct zn_decoder *d)
{
    struct zn_msg msg;
    enum zn_wire_error error;
    size_t members = 0;
    zn_decoder_begin(d, b->bytes, b->n);
    for (; zn_decoder_next(d, &msg, &error); members++) {
        assert(error == ZN_WIRE_OK);
        zn_msg_drop(&msg);
    }
    assert(members == b->members);
}

/* What a decoder promises about a message that it lets pass. */
static void limits_check(const struct zn_msg *msg, size_t most)
{
    assert(msg->type <= ZN_ERROR && msg->kind < ZN_KINDS);
    assert(strlen(msg->sender) <= ZN_NAME_MAX && strlen(msg->target) <= ZN_NAME_MAX);
    assert(strlen(msg->pattern) <= ZN_PATTERN_NAME_MAX);
    assert(msg->lives_n <= ZN_REPLICAS_MAX && msg->rows_n <= ZN_REPLICAS_MAX);
    assert(zn_blob_bytes(msg->body) <= most);
    for (size_t i = 0; i < msg->rows_n; i++) {
        const struct zn_row *r = &msg->rows[i];
        assert(zn_blob_bytes(r->reply) <= most);
        assert(r->outcome >= ZMQNET_SELF && r->outcome <= ZMQNET_NEVER_SENT);
        assert(zn_utf8_valid(r->why, strlen(r->why)) && strlen(r->why) <= ZN_WHY_MAX);
    }
}

/* ---- beside protobuf-c ---- */

/* We skip the fields of a later version; it would keep them. */
static void forget_unknown(ProtobufCMessage *m)
{
    for (unsigned i = 0; i < m->n_unknown_fields; i++)
        free(m->unknown_fields[i].data);
    free(m->unknown_fields);
    m->unknown_fields = NULL;
    m->n_unknown_fields = 0;
}

/* Its bools are numbers here (tests/meson.build), and any that is not 0 is a 1. */
static void make_plain(Zmqnet__Wire__Body *b)
{
    Zmqnet__Wire__StatusView *v = b->status;
    forget_unknown(&b->base);
    b->idempotent = b->idempotent != 0;
    for (size_t i = 0; i < b->n_rows; i++)
        forget_unknown(&b->rows[i]->base);
    if (!v)
        return;
    forget_unknown(&v->base);
    for (size_t i = 0; i < v->n_counters; i++)
        forget_unknown(&v->counters[i]->base);
    for (size_t i = 0; i < v->n_rows; i++)
        forget_unknown(&v->rows[i]->base);
    for (size_t i = 0; i < v->n_peers; i++) {
        forget_unknown(&v->peers[i]->base);
        v->peers[i]->config_differs = v->peers[i]->config_differs != 0;
    }
}

/* Of two statuses in one message it forgets the numbers of the first; we add them up. */
static bool may_have_two_statuses(const uint8_t *frame, size_t n)
{
    int found = 0;
    for (size_t i = 0; i + 1 < n; i++)
        found += (frame[i] & 0x7f) == 0x3a && (frame[i + 1] & 0x7f) == 0x01;
    return found > 1;
}

/* The frame was taken as one message, which we write as these bytes. */
static void protobuf_c_agrees(const uint8_t *frame, size_t n, const uint8_t *ours, size_t ours_n)
{
    Zmqnet__Wire__Body *b = zmqnet__wire__body__unpack(NULL, n, frame);
    assert(b);
    make_plain(b);
    size_t theirs_n = zmqnet__wire__body__get_packed_size(b);
    uint8_t *theirs = malloc(theirs_n ? theirs_n : 1);
    assert(theirs);
    zmqnet__wire__body__pack(b, theirs);
    if (!may_have_two_statuses(frame, n))
        assert(theirs_n == ours_n && (!ours_n || memcmp(theirs, ours, ours_n) == 0));
    free(theirs);
    zmqnet__wire__body__free_unpacked(b, NULL);
}

/* ---- the target ---- */

/* Decoders are large, so they are kept: one for each limit, and one for the way back. */
static const size_t body_max[] = {0, 40, 1000, 4096};
#define LIMITS (sizeof body_max / sizeof body_max[0])
static struct zn_decoder *there[LIMITS], *back;

static void decoders_open(void)
{
    int rc = zn_decoder_new(body_max[LIMITS - 1], &back);
    for (size_t i = 0; i < LIMITS; i++)
        rc |= zn_decoder_new(body_max[i], &there[i]);
    assert(rc == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct fuzz_in in = {data, data + n};
    size_t which = fuzz_u8(&in) % LIMITS;
    struct batch batch = {0};
    struct zn_msg msg;
    enum zn_wire_error error;
    if (!back)
        decoders_open();
    bool is_batch = fuzz_left(&in) > 0 && in.at[0] == BATCH_TAG;
    zn_decoder_begin(there[which], in.at, fuzz_left(&in));
    while (zn_decoder_next(there[which], &msg, &error)) {
        size_t bytes_n;
        if (error != ZN_WIRE_OK)
            continue;
        limits_check(&msg, body_max[which]);
        uint8_t *bytes = there_and_back(&msg, back, &bytes_n);
        if (!is_batch)
            protobuf_c_agrees(in.at, fuzz_left(&in), bytes, bytes_n);
        if (bytes)
            batch_add(&batch, bytes, bytes_n);
        free(bytes);
        zn_msg_drop(&msg);
    }
    if (batch.members > 0)
        batch_check(&batch, back);
    free(batch.bytes);
    return 0;
}
