/* SPDX-License-Identifier: MIT */
/*
 * The frames below the messages: pubsub's topics, heads and pairs, and the envelope of the clients'
 * port. All is read from a stranger's bytes.
 *
 * The first byte chooses what is read. A topic or a head that is taken must be written as the same
 * bytes; a pair and an envelope must judge a message of any number of frames as docs/wire.md says,
 * which is said here once more, with all frames at hand.
 */
#include "fuzz.h"

#include "pattern/envelope.h"
#include "pattern/frames.h"

#define FRAMES_MAX 14
#define FRAME_MAX 600

struct frames {
    size_t n;
    size_t bytes[FRAMES_MAX];
    uint8_t *at[FRAMES_MAX];
};

static void frames_take(struct fuzz_in *in, struct frames *f)
{
    f->n = 1 + fuzz_u8(in) % FRAMES_MAX;
    for (size_t i = 0; i < f->n; i++)
        f->bytes[i] = fuzz_bytes(in, FRAME_MAX, &f->at[i]);
}

static void frames_free(struct frames *f)
{
    while (f->n > 0)
        free(f->at[--f->n]);
}

/* ---- pubsub ---- */

static void topic(struct fuzz_in *in)
{
    uint8_t *bytes, same[ZN_TOPIC_MAX];
    char name[ZN_NAME_MAX + 1];
    uint64_t nonce;
    size_t n = fuzz_bytes(in, FRAME_MAX, &bytes);
    if (zn_topic_read(bytes, n, name, &nonce)) {
        assert(name[0] && strlen(name) <= ZN_NAME_MAX && nonce != 0);
        size_t same_n = zn_topic_write(same, name, nonce);
        assert(same_n == n && memcmp(same, bytes, n) == 0);
    }
    free(bytes);
}

static void heads(struct fuzz_in *in)
{
    uint8_t *bytes, same[ZN_SEQUENCE_BYTES];
    struct zn_ack_head head;
    size_t n = fuzz_bytes(in, FRAME_MAX, &bytes);
    if (zn_ack_head_read(bytes, n, &head)) {
        assert(n == ZN_ACK_HEAD_BYTES && (head.kind == ZN_ACK_BODY || head.kind == ZN_ACK_GAP));
        zn_ack_head_write(same, head);
        assert(memcmp(same, bytes, n) == 0);
    }
    if (n >= ZN_SEQUENCE_BYTES) {
        zn_sequence_write(same, zn_sequence_read(bytes));
        assert(memcmp(same, bytes, ZN_SEQUENCE_BYTES) == 0);
    }
    free(bytes);
}

/* Only libzmq can say that more frames follow, so they go through a pair of its sockets. */
static void *sockets[2];

static void sockets_open(void)
{
    void *context = zmq_ctx_new();
    int rc = 0;
    for (int i = 0; i < 2; i++) {
        sockets[i] = zmq_socket(context, ZMQ_PAIR);
        assert(sockets[i]);
        rc |= (i ? zmq_connect : zmq_bind)(sockets[i], "inproc://frames");
    }
    assert(rc == 0);
}

static enum zn_pair_verdict pair_frame(struct zn_pair *p)
{
    zmq_msg_t frame;
    zmq_msg_init(&frame);
    int n = zmq_msg_recv(&frame, sockets[1], ZMQ_DONTWAIT);
    assert(n >= 0);
    enum zn_pair_verdict verdict = zn_pair_frame(p, &frame);
    zmq_msg_close(&frame);
    return verdict;
}

static void pair(struct fuzz_in *in)
{
    struct zn_pair p = {0};
    if (!sockets[0])
        sockets_open();
    for (int messages = 0; messages < 3; messages++) {
        struct frames f;
        frames_take(in, &f);
        for (size_t i = 0; i < f.n; i++) {
            int sent = zmq_send(sockets[0], f.at[i], f.bytes[i], i + 1 < f.n ? ZMQ_SNDMORE : 0);
            assert(sent == (int)f.bytes[i]);
        }
        for (size_t i = 0; i + 1 < f.n; i++) {
            enum zn_pair_verdict more = pair_frame(&p);
            assert(more == ZN_PAIR_MORE);
        }
        enum zn_pair_verdict verdict = pair_frame(&p);
        assert(verdict == (f.n == 1 ? ZN_PAIR_HEAD : f.n == 2 ? ZN_PAIR_BODY : ZN_PAIR_BAD));
        size_t kept = f.bytes[0] < ZN_HEAD_MAX ? f.bytes[0] : ZN_HEAD_MAX;
        assert(p.head_bytes == f.bytes[0] && memcmp(p.head, f.at[0], kept) == 0);
        frames_free(&f);
    }
}

/* ---- the envelope ---- */

/* How many frames the envelope has: up to and with the first empty one behind the routing id. 0: there
 * is no such frame. */
static size_t delimiter_of(const struct frames *f)
{
    for (size_t i = 1; i < f->n; i++)
        if (f->bytes[i] == 0)
            return i + 1;
    return 0;
}

/* 0: a body; else as what the message is counted. An empty frame alone may be a delimiter without a
 * body. */
static int verdict_of(const struct frames *f, size_t *kept)
{
    size_t head = delimiter_of(f), bytes = 0;
    *kept = head ? head : 1;
    for (size_t i = 0; i < *kept; i++)
        bytes += f->bytes[i];
    bool over = *kept > ZN_ENVELOPE_FRAMES_MAX || bytes > ZN_ENVELOPE_BYTES_MAX;
    if (!head && f->n == 2)
        return 0;
    if (!head || f->n > head + 1)
        return ZN_COUNT_extra_frames;
    if (over)
        return ZN_COUNT_bad_envelope;
    return f->n == head + 1 && f->bytes[head] > 0 ? 0 : ZN_COUNT_empty_message;
}

static void kept_check(const struct zn_envelope *e, const struct frames *f, size_t kept)
{
    const uint8_t *frame;
    size_t at = 0, n, i = 0;
    for (; zn_envelope_next(e->data, e->bytes, &at, &frame, &n); i++)
        assert(i < kept && n == f->bytes[i] && memcmp(frame, f->at[i], n) == 0);
    assert(i == kept && e->frames == kept);
}

static void envelope(struct fuzz_in *in)
{
    static struct zn_envelope e;
    enum zn_envelope_verdict verdict = ZN_ENVELOPE_MORE;
    enum zn_counter bad = ZN_COUNTERS_N;
    struct frames f;
    size_t kept;
    frames_take(in, &f);
    zn_envelope_begin(&e);
    for (size_t i = 0; i < f.n; i++) {
        verdict = zn_envelope_frame(&e, f.at[i], f.bytes[i], i + 1 < f.n, &bad);
        assert((verdict == ZN_ENVELOPE_MORE) == (i + 1 < f.n));
    }
    assert(e.bytes <= sizeof e.data && e.kept_bytes <= ZN_ENVELOPE_BYTES_MAX);
    int wanted = verdict_of(&f, &kept);
    /* libzmq's routing ids are five bytes: one that does not fit is not looked at further. */
    if (f.bytes[0] <= ZN_ENVELOPE_BYTES_MAX / 2) {
        assert((verdict == ZN_ENVELOPE_BODY) == (wanted == 0));
        assert(wanted == 0 || bad == (enum zn_counter)wanted);
        if (wanted == 0)
            kept_check(&e, &f, kept);
    }
    frames_free(&f);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    static void (*const readers[])(struct fuzz_in *) = {topic, heads, pair, envelope};
    struct fuzz_in in = {data, data + n};
    readers[fuzz_u8(&in) % (sizeof readers / sizeof readers[0])](&in);
    return 0;
}
