/* SPDX-License-Identifier: MIT */
/*
 * The PULL of a replica: its subscribers' answers, and their reports of gaps. The loop's thread.
 *
 * Anybody may push anything here. What counts is the nonce of a subscription that stands, which tells
 * the peers apart and keeps answers of an earlier connection out. It is no secret: whoever subscribes
 * to everything reads it, and could answer in a peer's name. Everything else is counted and dropped,
 * except what a subscriber says while core has given up its link for a moment: that is of no use, but
 * nothing is wrong with it.
 */
#include "pattern/ack.h"

#include <assert.h>
#include <stdlib.h>

#include "pattern/bind.h"
#include "pattern/socket.h"

struct zn_ack {
    struct zn_carrier *carrier;
    struct zn_publish *publish;
    void *socket;
    size_t frame_max;
    bool due; /* there is something to read */
    struct zn_pair pair;
};

int zn_ack_send(struct zn_link *l, struct zn_ack_head head, struct zn_blob *frame)
{
    uint8_t bytes[ZN_ACK_HEAD_BYTES];
    assert((head.kind == ZN_ACK_BODY) == (frame != NULL));
    zn_ack_head_write(bytes, head);
    return zn_link_send_headed(l, bytes, sizeof bytes, frame);
}

static void count(const struct zn_ack *a, enum zn_counter counter)
{
    a->carrier->sink.count(a->carrier->sink.arg, counter);
}

static void on_body(struct zn_ack *a, int peer, zmq_msg_t *body)
{
    size_t n = zmq_msg_size(body);
    if (n == 0)
        count(a, ZN_COUNT_empty_message);
    else if (n > a->frame_max)
        count(a, ZN_COUNT_oversize);
    else
        a->carrier->sink.link_bytes(a->carrier->sink.arg, peer, zmq_msg_data(body), n);
}

static void on_answer(struct zn_ack *a, int peer, enum zn_ack_kind kind, zmq_msg_t *frame)
{
    zn_publish_answered(a->publish, peer);
    if (kind == ZN_ACK_BODY)
        on_body(a, peer, frame);
    else
        a->carrier->sink.link_gap(a->carrier->sink.arg, peer);
}

static void take_frame(void *arg, zmq_msg_t *frame)
{
    struct zn_ack *a = arg;
    struct zn_ack_head head;
    enum zn_pair_verdict verdict = zn_pair_frame(&a->pair, frame);
    if (verdict == ZN_PAIR_MORE)
        return;
    bool well_formed = zn_ack_head_read(a->pair.head, a->pair.head_bytes, &head) &&
                       verdict == (head.kind == ZN_ACK_BODY ? ZN_PAIR_BODY : ZN_PAIR_HEAD);
    int peer = well_formed ? zn_publish_peer_of(a->publish, head.nonce) : -1;
    if (peer < 0)
        count(a, ZN_COUNT_bad_ack);
    else if (zn_publish_is_up(a->publish, peer))
        on_answer(a, peer, head.kind, frame);
}

static int open_socket(struct zn_ack *a, const struct zn_pattern_config *config, uint32_t token,
                       struct zmqnet_diag *diag)
{
    const struct zmqnet_replica *self = &config->peers->replicas[config->self];
    const struct zn_bind at = {.self = self, .port = self->ack_port, .what = "ack port"};
    struct zn_address address;
    int rc = zn_bind_resolve(&at, &address, diag);
    if (rc != 0)
        return rc;
    rc = zn_socket_make(a->carrier->context, ZMQ_PULL, config->message_max,
                        zn_address_is_ipv6(&address), &a->socket);
    if (rc != 0)
        return zn_bind_explain(&at, diag, rc, "no socket: ", zmqnet_error_text(rc));
    return zn_bind_listen(&at, &address, a->socket, config->epoll_fd, token, diag);
}

int zn_ack_open(struct zn_carrier *carrier, struct zn_publish *publish,
                const struct zn_pattern_config *config, uint32_t token, struct zn_ack **out,
                struct zmqnet_diag *diag)
{
    struct zn_ack *a = calloc(1, sizeof *a);
    if (!a)
        return ZMQNET_ENOMEM;
    a->carrier = carrier;
    a->publish = publish;
    a->frame_max = zn_frame_max(config->message_max);
    a->due = true; /* what came since it was bound gave no edge */
    int rc = open_socket(a, config, token, diag);
    if (rc != 0)
        zn_ack_close(&a);
    *out = a;
    return rc;
}

void zn_ack_close(struct zn_ack **a)
{
    if (!*a)
        return;
    zn_bind_close(&(*a)->socket, (*a)->carrier->links.epoll_fd, 0);
    free(*a);
    *a = NULL;
}

void zn_ack_ready(struct zn_ack *a) { a->due = true; }

void zn_ack_turn(struct zn_ack *a)
{
    if (a->due)
        a->due = zn_socket_read(a->socket, take_frame, a);
}

bool zn_ack_pending(const struct zn_ack *a) { return a->due; }
