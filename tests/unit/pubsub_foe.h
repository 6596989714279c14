/* SPDX-License-Identifier: MIT */
/*
 * A peer of a pubsub replica, by four plain sockets of libzmq that share no code with the pattern, for
 * tests where every frame of the peer matters.
 */
#ifndef ZN_TESTS_PUBSUB_FOE_H
#define ZN_TESTS_PUBSUB_FOE_H

#include "carrier_driver.h"
#include "pattern/frames.h"

struct foe {
    void *context;
    void *pub, *pull; /* what it listens with */
    void *sub, *push; /* what it says to us */
    char name[16];    /* whom it plays */
    uint64_t nonce;   /* of our subscription there */
    uint64_t to_all;  /* publications to all, of who counts them */
    unsigned subscribed, reports, answers;
    char answer[64];
};

void foe_connect(struct foe *f, void **s, int type, uint16_t port);
void foe_bind(struct foe *f, void **s, int type, uint16_t port);
/* Plays peer `i` towards peer 0. */
void open_foe(struct foe *f, const zmqnet_peers *peers, int i);
void close_foe(struct foe *f);
void foe_subscribe(struct foe *f, const zmqnet_peers *peers, uint64_t nonce);
bool foe_heard_subscription(struct foe *f);
void foe_publish(struct foe *f, bool to_all, uint64_t all, uint64_t own, const char *body);
/* Takes one thing that we have said to its ack port. */
bool foe_heard(struct foe *f);
void foe_acks(struct foe *f, enum zn_ack_kind kind, uint64_t nonce, const char *body);
/* A socket that subscribes to the foe's own topic beside f->sub. When this returns it was read. */
void *foe_subscribe_again(struct foe *f, struct side *a, const zmqnet_peers *peers, uint64_t nonce);
/* One replica, peer 0, and one foe, peer 1; they are subscribed to each other. */
zmqnet_peers *open_pair(struct side *a, struct foe *f, uint64_t nonce);
void close_pair(struct side *a, struct foe *f);
bool observed(void *sub, char topic, uint64_t all, uint64_t own, const char *body);

#endif
