/* SPDX-License-Identifier: MIT */
/*
 * What a foe says is put together here, frame by frame; what it hears is checked for its form. It waits
 * for nothing: a test drives the replica meanwhile and asks again.
 */
#include "pubsub_foe.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>
#include <zmq.h>

#include "pattern/socket.h"

static void *foe_socket(struct foe *f, int type)
{
    void *s = zmq_socket(f->context, type);
    assert_non_null(s);
    zn_socket_set_int(s, ZMQ_LINGER, 0);
    return s;
}

void foe_connect(struct foe *f, void **s, int type, uint16_t port)
{
    char endpoint[32];
    tcp_endpoint(endpoint, port);
    *s = foe_socket(f, type);
    assert_int_equal(zmq_connect(*s, endpoint), 0);
}

void foe_bind(struct foe *f, void **s, int type, uint16_t port)
{
    char endpoint[32];
    tcp_endpoint(endpoint, port);
    *s = foe_socket(f, type);
    assert_int_equal(zmq_bind(*s, endpoint), 0);
}

void open_foe(struct foe *f, const zmqnet_peers *peers, int i)
{
    memset(f, 0, sizeof *f);
    f->context = zmq_ctx_new();
    snprintf(f->name, sizeof f->name, "%s", peers->replicas[i].name);
    foe_bind(f, &f->pub, ZMQ_XPUB, peers->replicas[i].pub_port);
    zn_socket_set_int(f->pub, ZMQ_XPUB_VERBOSE, 1);
    foe_bind(f, &f->pull, ZMQ_PULL, peers->replicas[i].ack_port);
    foe_connect(f, &f->push, ZMQ_PUSH, peers->replicas[0].ack_port);
}

void close_foe(struct foe *f)
{
    void *all[] = {f->pub, f->pull, f->sub, f->push};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        if (all[i])
            zmq_close(all[i]);
    zmq_ctx_term(f->context);
}

void foe_subscribe(struct foe *f, const zmqnet_peers *peers, uint64_t nonce)
{
    uint8_t topic[ZN_TOPIC_MAX];
    size_t n = zn_topic_write(topic, f->name, nonce);
    if (!f->sub)
        foe_connect(f, &f->sub, ZMQ_SUB, peers->replicas[0].pub_port);
    assert_int_equal(zmq_setsockopt(f->sub, ZMQ_SUBSCRIBE, "A", 1), 0);
    assert_int_equal(zmq_setsockopt(f->sub, ZMQ_SUBSCRIBE, topic, n), 0);
}

bool foe_heard_subscription(struct foe *f)
{
    uint8_t frame[256];
    char name[ZN_NAME_MAX + 1];
    int n;
    while ((n = zmq_recv(f->pub, frame, sizeof frame, ZMQ_DONTWAIT)) > 0) {
        if (frame[0] != 1 || !zn_topic_read(frame + 1, (size_t)n - 1, name, &f->nonce))
            continue;
        assert_string_equal(name, "peer0");
        f->subscribed++;
        return true;
    }
    return false;
}

void foe_publish(struct foe *f, bool to_all, uint64_t all, uint64_t own, const char *body)
{
    uint8_t head[ZN_HEAD_MAX] = "A";
    size_t n = to_all ? 1 : zn_topic_write(head, "peer0", f->nonce);
    zn_sequence_write(head + n, (struct zn_sequence){all, own});
    n += ZN_SEQUENCE_BYTES;
    assert_int_equal(zmq_send(f->pub, head, n, ZMQ_SNDMORE), (int)n);
    assert_int_equal(zmq_send(f->pub, body, strlen(body), 0), (int)strlen(body));
}

bool foe_heard(struct foe *f)
{
    uint8_t head[64], body[64];
    struct zn_ack_head ack;
    int n = zmq_recv(f->pull, head, sizeof head, ZMQ_DONTWAIT);
    if (n < 0)
        return false;
    assert_true(zn_ack_head_read(head, (size_t)n, &ack));
    assert_true(ack.nonce == f->nonce);
    int more = 0;
    size_t more_bytes = sizeof more;
    zmq_getsockopt(f->pull, ZMQ_RCVMORE, &more, &more_bytes);
    assert_int_equal(more, ack.kind == ZN_ACK_BODY);
    if (ack.kind == ZN_ACK_GAP) {
        f->reports++;
        return true;
    }
    n = zmq_recv(f->pull, body, sizeof body, ZMQ_DONTWAIT);
    assert_true(n >= 0);
    keep_text(f->answer, body, (size_t)n);
    f->answers++;
    return true;
}

void foe_acks(struct foe *f, enum zn_ack_kind kind, uint64_t nonce, const char *body)
{
    uint8_t head[ZN_ACK_HEAD_BYTES];
    zn_ack_head_write(head, (struct zn_ack_head){kind, nonce});
    assert_int_equal(zmq_send(f->push, head, sizeof head, body ? ZMQ_SNDMORE : 0), sizeof head);
    if (body)
        assert_int_equal(zmq_send(f->push, body, strlen(body), 0), (int)strlen(body));
}

void *foe_subscribe_again(struct foe *f, struct side *a, const zmqnet_peers *peers, uint64_t nonce)
{
    void *before = f->sub;
    unsigned bad = a->counts[ZN_COUNT_bad_topic];
    f->sub = NULL;
    foe_subscribe(f, peers, nonce);
    zmq_setsockopt(f->sub, ZMQ_SUBSCRIBE, "no topic", 8);
    UNTIL(a->counts[ZN_COUNT_bad_topic] == bad + 1);
    void *second = f->sub;
    f->sub = before;
    return second;
}

zmqnet_peers *open_pair(struct side *a, struct foe *f, uint64_t nonce)
{
    zmqnet_peers *peers = new_peers(2);
    open_foe(f, peers, 1);
    open_linked_side(a, peers, 0);
    foe_subscribe(f, peers, nonce);
    UNTIL(a->up == 1);
    UNTIL(foe_heard_subscription(f));
    return peers;
}

void close_pair(struct side *a, struct foe *f)
{
    close_side(a);
    close_foe(f);
}

bool observed(void *sub, char topic, uint64_t all, uint64_t own, const char *body)
{
    uint8_t head[ZN_HEAD_MAX];
    char text[64];
    int n = zmq_recv(sub, head, sizeof head, ZMQ_DONTWAIT);
    if (n < 0)
        return false;
    assert_int_equal(head[0], topic);
    assert_int_equal(n, topic == 'A' ? 17 : 1 + 5 + 1 + 8 + 16);
    struct zn_sequence sequence = zn_sequence_read(head + n - ZN_SEQUENCE_BYTES);
    n = zmq_recv(sub, text, sizeof text, ZMQ_DONTWAIT);
    keep_text(text, text, (size_t)n);
    assert_string_equal(text, body);
    assert_true(sequence.all == all && sequence.own == own);
    return true;
}
