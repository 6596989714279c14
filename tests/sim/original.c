/* SPDX-License-Identifier: MIT */
/*
 * A process that is the original program, and only answers: it knows the first three fields of a
 * message, so a hello and a request look the same to it, and takes one message at a time, in the order
 * of arrival. Each is answered with "ACK", or, if its handler refuses, with an ERROR that has a text;
 * neither has a kind or an id.
 *
 * What would harm it in earnest breaks the run here: a message that it would bounce (SINGLE) or that
 * is none of its own (ping, bye, a frame of several), bytes that are not text, which end it, and the
 * same request twice, unless the caller said that this does no harm: it has no dedup.
 */
#include "sim.h"

#include <assert.h>
#include <inttypes.h>
#include <string.h>

#include "base/parse.h"

/* Whether it is one message that this program can take. */
static bool is_bearable(const struct zn_msg *msg, enum zn_wire_error error)
{
    return error == ZN_WIRE_OK && msg->type == ZN_BOUNCE &&
           (msg->kind == ZN_HELLO || msg->kind == ZN_REQUEST) &&
           zn_utf8_valid(zn_blob_data(msg->body), zn_blob_bytes(msg->body));
}

static void answer(struct sim *s, int node)
{
    struct sim_node *n = &s->nodes[node];
    const struct sim_handler *h = &n->handler;
    bool hello = n->work.id.origin == 0, refused = !hello && h->code != 0;
    const char *text = refused ? h->text : "ACK";
    struct zn_blob *body, *frame;
    int rc = zn_blob_copy(text, strlen(text), &body);
    assert(rc == 0);
    struct zn_msg msg = {.type = refused ? ZN_ERROR : ZN_SINGLE,
                         .kind = ZN_LEGACY,
                         .sender = n->name,
                         .body = body,
                         .target = "",
                         .pattern = ""};
    rc = zn_blob_make(zn_wire_size(&msg), &frame);
    assert(rc == 0);
    zn_wire_pack(&msg, frame->data);
    int to = sim_route_node(s, n->work.route);
    if (!hello || s->show_hellos)
        sim_say_msg(s, n->name, s->nodes[to].name, &msg, "");
    if (!hello)
        sim_ghost_answered(s, node, n->work.id, refused ? 1 : 0);
    n->work.busy = false;
    (void)sim_link_reply(s, node, n->work.route, frame, 0); /* whoever asked may be gone */
    zn_blob_drop(&body);
}

static void take(struct sim *s, int node, const struct zn_msg *msg, zn_route route)
{
    static const char *const does[] = {"acks", "refuses", "answers later", "never answers"};
    struct sim_node *n = &s->nodes[node];
    const char *from = s->nodes[sim_route_node(s, route)].name;
    char id[128];
    bool hello = msg->kind == ZN_HELLO;
    n->work = (struct sim_work){.busy = true, .n = n->work.n + 1, .route = route};
    if (!hello) {
        n->work.id = msg->id;
        sim_say(s, "%s runs %s from %s, %s", n->name, sim_id_text(s, msg->id, id, sizeof id), from,
                does[n->handler.kind]);
        sim_ghost_ran(s, node, msg->id);
    } else if (s->show_hellos) {
        sim_say(s, "%s runs the hello of %s, %s", n->name, from, does[n->handler.kind]);
    }
    if (n->handler.kind == SIM_HANDLER_LATER)
        sim_at(s, s->now_us + n->handler.delay_us,
               &(struct sim_due){
                   .what = SIM_ANSWER, .node = node, .mark = n->life_n, .token = n->work.n});
    else
        n->work.done = n->handler.kind != SIM_HANDLER_NEVER;
}

static void read_frame(struct sim *s, int node, struct sim_frame *f)
{
    struct zn_msg msg, second;
    enum zn_wire_error error;
    zn_decoder_begin(s->decoder, f->bytes->data, f->bytes->bytes);
    if (!zn_decoder_next(s->decoder, &msg, &error) || !is_bearable(&msg, error)) {
        sim_fail(s, "%s, the original program, cannot bear what %s sends", s->nodes[node].name,
                 s->nodes[f->from].name);
        return;
    }
    take(s, node, &msg, f->route);
    zn_msg_drop(&msg);
    if (zn_decoder_next(s->decoder, &second, &error))
        sim_fail(s, "%s, the original program, gets a batch", s->nodes[node].name);
}

void sim_original_turn(struct sim *s, int node)
{
    struct sim_node *n = &s->nodes[node];
    do {
        if (n->work.busy && n->work.done)
            answer(s, node);
        struct sim_frame *f = n->work.busy ? NULL : sim_inbox_frame(s, node);
        if (!f)
            return;
        read_frame(s, node, f);
        sim_frame_read(s, f);
    } while (!s->failed);
}

/* Its handler is ready; what it says leaves in its next turn, later if it is stopped. */
void sim_original_due(struct sim *s, const struct sim_due *due)
{
    struct sim_node *n = &s->nodes[due->node];
    if (n->life_n != due->mark || n->work.n != due->token)
        return;
    n->work.done = true;
    sim_turn_soon(s, due->node);
}
