/* SPDX-License-Identifier: MIT */
/*
 * Receipts and status views, there and back: made up from the input within what a program may put into
 * them, encoded, decoded and compared. The receipt is then shown as `send` shows it: the lines for
 * people must be UTF-8 without a control byte, the one for programs JSON that holds what was shown.
 */
#include "fuzz.h"
#include "messages.h"

#include <jansson.h>

#include "base/limits.h"
#include "cli/receipt.h"

#define REPLY_MAX 300u
#define COUNTERS 4
#define ROWS 6

/* A message and what it points to. */
struct made {
    struct zn_msg msg;
    struct zn_row rows[ROWS];
    zmqnet_status status;
    struct zmqnet_peer_status peers[ROWS];
    struct zmqnet_counter counters[COUNTERS];
    uint64_t lives[ROWS];
};

static struct zn_blob *make_blob(struct fuzz_in *in)
{
    struct zn_blob *blob;
    uint8_t *bytes;
    size_t n = fuzz_bytes(in, REPLY_MAX, &bytes);
    int rc = zn_blob_copy(bytes, n, &blob);
    assert(rc == 0);
    free(bytes);
    return blob;
}

static void make_row(struct fuzz_in *in, struct zn_row *row)
{
    *row = (struct zn_row){
        .name = fuzz_text(in, ZN_NAME_MAX),
        .outcome = ZMQNET_SELF + fuzz_u8(in) % ZMQNET_NEVER_SENT,
        .rtt_us = (uint32_t)fuzz_number(in),
        .code = (int32_t)fuzz_number(in),
        .why = fuzz_text(in, ZN_WHY_MAX),
        .reply = make_blob(in),
    };
}

static void make_peer(struct fuzz_in *in, struct zmqnet_peer_status *p)
{
    *p = (struct zmqnet_peer_status){
        .name = fuzz_text(in, ZN_NAME_MAX),
        .endpoint = fuzz_text(in, ZN_HOST_MAX),
        .cause = fuzz_text(in, ZN_WHY_MAX),
        .state = ZMQNET_CONNECTING + fuzz_u8(in) % ZMQNET_SUSPECT,
        .since_us = fuzz_number(in),
        .rtt_us = (uint32_t)fuzz_number(in),
        .queue_messages = fuzz_number(in),
        .queue_bytes = fuzz_number(in),
        .inflight = fuzz_number(in),
        .sent = fuzz_number(in),
        .acked = fuzz_number(in),
        .refused = fuzz_number(in),
        .unknown = fuzz_number(in),
        .never_sent = fuzz_number(in),
        .retries = fuzz_number(in),
        .late = fuzz_number(in),
        .config_differs = fuzz_u8(in) & 1,
    };
}

static void make_status(struct fuzz_in *in, struct made *m)
{
    m->status = (zmqnet_status){
        .name = fuzz_text(in, ZN_NAME_MAX),
        .pattern = fuzz_text(in, ZN_PATTERN_NAME_MAX),
        .life = fuzz_number(in),
        .uptime_us = fuzz_number(in),
        .peers_n = fuzz_u8(in) % (ROWS + 1),
        .peers = m->peers,
        .counters_n = fuzz_u8(in) % (COUNTERS + 1),
        .counters = m->counters,
    };
    for (size_t i = 0; i < m->status.peers_n; i++)
        make_peer(in, &m->peers[i]);
    for (size_t i = 0; i < m->status.counters_n; i++)
        m->counters[i] = (struct zmqnet_counter){fuzz_text(in, ZN_NAME_MAX), fuzz_number(in)};
    m->msg.status = &m->status;
}

static void make(struct fuzz_in *in, struct made *m)
{
    uint8_t flags = fuzz_u8(in);
    m->msg = (struct zn_msg){
        .type = fuzz_u8(in) % (ZN_ERROR + 1),
        .kind = fuzz_u8(in) % ZN_KINDS,
        .sender = fuzz_text(in, ZN_NAME_MAX),
        .target = fuzz_text(in, ZN_NAME_MAX),
        .pattern = fuzz_text(in, ZN_PATTERN_NAME_MAX),
        .id = {fuzz_number(in), fuzz_number(in)},
        .body = make_blob(in),
        .to_life = m->lives,
        .lives_n = fuzz_u8(in) % (ROWS + 1),
        .budget_ms = (uint32_t)fuzz_number(in),
        .attempt = (uint32_t)fuzz_number(in),
        .quorum = (int32_t)fuzz_number(in),
        .floor = fuzz_number(in),
        .idempotent = flags & 1,
        .code = -(int32_t)fuzz_u8(in),
        .rows = m->rows,
        .rows_n = fuzz_u8(in) % (ROWS + 1),
        .need = (uint32_t)fuzz_number(in),
        .have = (uint32_t)fuzz_number(in),
        .life = fuzz_number(in),
        .version = (uint32_t)fuzz_number(in),
        .peers_hash = fuzz_number(in),
    };
    for (size_t i = 0; i < m->msg.lives_n; i++)
        m->lives[i] = fuzz_number(in);
    for (size_t i = 0; i < m->msg.rows_n; i++)
        make_row(in, &m->rows[i]);
    if (flags & 2)
        make_status(in, m);
}

static void unmake(struct made *m)
{
    for (size_t i = 0; i < m->msg.rows_n; i++) {
        free((char *)m->rows[i].name);
        free((char *)m->rows[i].why);
    }
    for (size_t i = 0; m->msg.status && i < m->status.peers_n; i++) {
        free((char *)m->peers[i].name);
        free((char *)m->peers[i].endpoint);
        free((char *)m->peers[i].cause);
    }
    for (size_t i = 0; m->msg.status && i < m->status.counters_n; i++)
        free((char *)m->counters[i].name);
    if (m->msg.status) {
        free((char *)m->status.name);
        free((char *)m->status.pattern);
    }
    free((char *)m->msg.sender);
    free((char *)m->msg.target);
    free((char *)m->msg.pattern);
    zn_msg_drop(&m->msg);
}

/* ---- showing ---- */

/* One line each, that steers no terminal. */
static void lines_check(const struct zn_text *t)
{
    assert(!t->failed && t->n > 0 && zn_utf8_valid(t->bytes, t->n));
    for (size_t i = 0; i < t->n; i++) {
        unsigned char c = (unsigned char)t->bytes[i];
        assert(c == '\n' || (c >= 0x20 && c != 0x7f));
    }
}

static void object_check(const struct zn_text *t, const zmqnet_receipt *r)
{
    assert(!t->failed && t->n > 0 && memchr(t->bytes, '\n', t->n) == t->bytes + t->n - 1);
    json_t *object = json_loadb(
        t->bytes, t->n, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL | JSON_DECODE_INT_AS_REAL, NULL);
    assert(object);
    assert(json_array_size(json_object_get(object, "peers")) == r->rows_n);
    assert(json_is_true(json_object_get(object, "ok")) == (r->status == 0));
    json_decref(object);
}

static void show(const zmqnet_receipt *r, const zmqnet_peers *peers)
{
    struct zn_problem problem = {.message = ""};
    struct zn_text lines = {0}, object = {0};
    int code = zn_receipt_problem(r, "alpha", peers, &problem);
    assert((code == 0) == (r->status == 0) && (code == 0 || problem.message[0]));
    zn_receipt_text(r, "alpha", peers, &lines);
    lines_check(&lines);
    zn_receipt_json(r, "alpha", &problem, &object);
    object_check(&object, r);
    zn_text_free(&lines);
    zn_text_free(&object);
}

/* Names come from a peers file, where they are plain: what is shown here has such ones. */
static void receipt_check(const struct zn_msg *msg)
{
    static const char text[] = "{\"replicas\":[{\"name\":\"alpha\",\"address\":\"[::1]:3264\"},"
                               "{\"name\":\"bravo\",\"address\":\"localhost:3265\"}]}";
    struct zmqnet_row rows[ROWS];
    zmqnet_peers *peers;
    int rc = zmqnet_peers_parse(text, strlen(text), &peers, NULL, 0, NULL);
    assert(rc == 0);
    for (size_t i = 0; i < msg->rows_n; i++)
        rows[i] = (struct zmqnet_row){
            .name = i % 2 ? "alpha" : "bravo",
            .outcome = msg->rows[i].outcome,
            .rtt_us = msg->rows[i].rtt_us,
            .code = msg->rows[i].code,
            .why = msg->rows[i].why,
            .reply = zn_blob_data(msg->rows[i].reply),
            .reply_bytes = zn_blob_bytes(msg->rows[i].reply),
        };
    const zmqnet_receipt receipt = {
        .status = msg->code,
        .id = msg->id,
        .via = msg->idempotent ? "alpha" : "",
        .need = msg->need,
        .have = msg->have,
        .of = (uint32_t)msg->rows_n,
        .elapsed_us = msg->life,
        .attempts = msg->attempt,
        .rows_n = msg->rows_n,
        .rows = rows,
        .why = msg->code ? msg->target : "",
    };
    show(&receipt, peers);
    zmqnet_peers_free(&peers);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct fuzz_in in = {data, data + n};
    static struct zn_decoder *d;
    struct made made;
    size_t bytes_n;
    int rc = d ? 0 : zn_decoder_new(REPLY_MAX, &d);
    assert(rc == 0);
    make(&in, &made);
    free(there_and_back(&made.msg, d, &bytes_n));
    receipt_check(&made.msg);
    unmake(&made);
    return 0;
}
