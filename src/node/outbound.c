/* SPDX-License-Identifier: MIT */
/*
 * Carries out what core wants: frames for links and routes, handlers, completions, notes. The loop's.
 *
 * A message that leaves alone goes out as its own encoding, without a copy; a broadcast's encoding is
 * made once and kept by core for the other peers. Messages joined by `more` make one frame (batch.c),
 * and the same blob goes to each peer whose frame holds the same messages: pubsub publishes it once.
 *
 * What comes of an action is told to core only after the last action of its step: the handler's answer,
 * frames that the transport did not take. Out of memory while sending counts as not taken.
 */
#include "node/node.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What handlers answered in one step. A step delivers at most one message. */
struct ran {
    uint64_t token;
    int code;
    bool set;
};

/* ---- texts that a person reads; core has only codes ---- */

static void legacy_text(const struct zn_msg *msg, char *text, size_t max)
{
    size_t n = (size_t)snprintf(text, max, "%s: %u/%zu acked", msg->sender, msg->have, msg->rows_n);
    for (size_t i = 0; i < msg->rows_n && n < max; i++) {
        const struct zn_row *r = &msg->rows[i];
        if (r->outcome == ZMQNET_SELF || r->outcome == ZMQNET_ACKED)
            continue;
        n += (size_t)snprintf(text + n, max - n, "; %s %s%s%s", r->name,
                              zmqnet_outcome_name(r->outcome), r->why[0] ? ": " : "", r->why);
    }
}

/* Give an answer without a body one, where the other side may show it to somebody. */
static void text_fill(struct zn_msg *msg, struct zn_blob *blob, char *text, size_t max)
{
    text[0] = '\0';
    if (msg->body)
        return;
    if (msg->code == ZMQNET_EPATTERN)
        snprintf(text, max, "%s: patterns do not fit, this one speaks %s", msg->sender,
                 msg->pattern);
    else if (msg->code < 0 && msg->rows_n == 0)
        snprintf(text, max, "%s: %s", msg->sender, zmqnet_error_text(msg->code));
    else if (msg->kind == ZN_LEGACY && msg->rows_n > 0)
        legacy_text(msg, text, max);
    else if (msg->kind == ZN_LEGACY)
        snprintf(text, max, "%s", msg->code == 0 ? "ACK" : "REFUSED");
    if (text[0] == '\0')
        return;
    blob->data = (uint8_t *)text;
    blob->bytes = strlen(text);
    msg->body = blob;
}

/* The original program knows three fields only. */
static void legacy_strip(struct zn_msg *msg)
{
    if (msg->kind != ZN_LEGACY)
        return;
    *msg = (struct zn_msg){
        .type = msg->type,
        .sender = msg->sender,
        .body = msg->body,
        .target = "",
        .pattern = "",
    };
}

/* ---- encoding ---- */

static struct zn_blob *encode(const struct zn_msg *from)
{
    struct zn_msg msg = *from;
    struct zn_blob text_blob = {.refs = 1}, *out;
    char text[ZN_BODY_OVERHEAD / 2];
    text_fill(&msg, &text_blob, text, sizeof text);
    legacy_strip(&msg);
    size_t bytes = zn_wire_size(&msg);
    assert(bytes > 0); /* there is always a sender or a kind */
    if (zn_blob_make(bytes, &out) != 0)
        return NULL;
    zn_wire_pack(&msg, out->data);
    return out;
}

/* A reference to the message's encoding, NULL: out of memory. */
static struct zn_blob *encoding(struct zn_action *a)
{
    if (!a->wire)
        return encode(&a->msg);
    if (!*a->wire)
        *a->wire = encode(&a->msg);
    return zn_blob_ref(*a->wire);
}

/* ---- frames ---- */

/* The batch that is being put together; the other one holds the last that left for a peer. */
static struct zn_batch *batch(zmqnet_node *node) { return &node->batches[node->batch_at]; }

static void batch_done(zmqnet_node *node, const struct zn_action *a)
{
    if (a->type == ZN_ACT_SEND && batch(node)->n > 0)
        node->batch_at ^= 1;
    zn_batch_clear(batch(node));
}

/* One action's message: alone, or the next, or the last of a batch. *out is the frame when it is
 * whole, else NULL. False: out of memory. */
static bool frame_add(zmqnet_node *node, struct zn_action *a, struct zn_blob **out)
{
    struct zn_blob *one = encoding(a);
    *out = NULL;
    if (!one)
        return false;
    if (!a->more && batch(node)->n == 0) {
        *out = one;
        return true;
    }
    zn_batch_add(batch(node), one);
    if (a->more)
        return true;
    *out = zn_batch_frame(batch(node), &node->batches[node->batch_at ^ 1]);
    return *out != NULL;
}

/* Hand a whole frame to the pattern. */
static int frame_leave(zmqnet_node *node, const struct zn_action *a, struct zn_blob *frame)
{
    int rc = a->type == ZN_ACT_SEND ? node->pattern->send(node->carrier, a->peer, frame)
                                    : node->pattern->reply(node->carrier, a->route, frame);
    if (rc == 0)
        zn_mesh_count(node->mesh, ZN_COUNT_frames_out);
    zn_blob_drop(&frame);
    batch_done(node, a);
    return rc;
}

/* Returns 0, also while the frame is not whole, or why it was not taken. */
static int message_leave(zmqnet_node *node, struct zn_action *a)
{
    struct zn_blob *frame;
    if (frame_add(node, a, &frame))
        return frame ? frame_leave(node, a, frame) : 0;
    zn_batch_clear(batch(node));
    return ZMQNET_ENOMEM;
}

static void send_action(zmqnet_node *node, struct zn_action *a)
{
    uint64_t bit = 1ull << a->peer;
    /* What follows a failed member of the same frame fails with it. */
    if (node->failed_sends & bit)
        return;
    int rc = message_leave(node, a);
    if (rc != 0)
        node->failed_sends |= bit;
    if (rc != ZMQNET_ENOMEM)
        return;
    if (node->starved == 0)
        node->starved_us = node->now_us + ZN_STARVED_US;
    node->starved |= bit;
}

static void reply_action(zmqnet_node *node, struct zn_action *a)
{
    uint32_t answers = batch(node)->n + 1;
    if (message_leave(node, a) == 0)
        return;
    while (answers-- > 0)
        zn_mesh_count(node->mesh, ZN_COUNT_answers_lost);
}

/* ---- the handler ---- */

static void deliver(zmqnet_node *node, const struct zn_action *a, struct ran *ran)
{
    const struct zmqnet_message message = {
        .from = a->from,
        .id = a->id,
        .body = zn_blob_data(a->body),
        .body_bytes = zn_blob_bytes(a->body),
        .token = a->token,
    };
    int code = node->handler ? node->handler(node, &message, node->handler_arg) : 0;
    if (code == ZMQNET_LATER)
        return;
    if (code < 0 || code > ZMQNET_CODE_MAX)
        code = 1;
    assert(!ran->set);
    *ran = (struct ran){a->token, code, true};
}

static void act(zmqnet_node *node, struct zn_action *a, struct ran *ran)
{
    struct zn_pending *pending = (struct zn_pending *)(uintptr_t)a->tag;
    switch (a->type) {
    case ZN_ACT_SEND: send_action(node, a); return;
    case ZN_ACT_REPLY: reply_action(node, a); return;
    case ZN_ACT_DELIVER: deliver(node, a, ran); return;
    case ZN_ACT_PROGRESS: zn_node_progress(node, pending, a->id, a->row); return;
    case ZN_ACT_DONE: zn_node_done(node, pending, &a->done); return;
    case ZN_ACT_WANT: node->pattern->want(node->carrier, a->peer); return;
    case ZN_ACT_RESET: node->pattern->reset(node->carrier, a->peer); return;
    case ZN_ACT_NOTE: zn_node_note(node, &a->note); return;
    }
}

/* Tell core what came of it. Nothing of this emits a send or a delivery, so it does not recur. */
static void report_failures(zmqnet_node *node)
{
    while (node->failed_sends != 0) {
        int peer = __builtin_ctzll(node->failed_sends);
        const struct zn_event event = {.type = ZN_EV_SEND_FAILED, .peer = peer};
        node->failed_sends &= node->failed_sends - 1;
        zn_node_step(node, &event);
    }
}

void zn_node_carry_out(zmqnet_node *node)
{
    struct ran ran = {.set = false};
    size_t n = node->out.n;
    for (size_t i = 0; i < n; i++)
        act(node, &node->out.at[i], &ran);
    assert(batch(node)->n == 0);
    zn_batch_clear(&node->batches[node->batch_at ^ 1]);
    if (ran.set) {
        const struct zn_event event = {
            .type = ZN_EV_ANSWER, .peer = -1, .token = ran.token, .code = ran.code};
        zn_node_step(node, &event);
    }
    if (node->failed_sends != 0)
        report_failures(node);
}
