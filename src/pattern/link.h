/* SPDX-License-Identifier: MIT */
/*
 * The supervisor of one outgoing link: resolves, probes, connects, notices the loss, and begins anew
 * for as long as the link is wanted.
 */
#ifndef ZN_PATTERN_LINK_H
#define ZN_PATTERN_LINK_H

#include <stdbool.h>
#include <stdint.h>

#include "base/heap.h"
#include "base/rand.h"
#include "pattern/backoff.h"
#include "pattern/pattern.h"
#include "pattern/probe.h"
#include "pattern/resolve.h"

/* What the links of one carrier share. Bit i of a mask is the link to peer i. */
struct zn_links {
    void *context;   /* libzmq's */
    int socket_type; /* libzmq's: DEALER, REQ, PUSH */
    int epoll_fd;
    size_t message_max;
    const struct zn_sink *sink;
    struct zn_resolver *resolver;
    struct zn_heap timers; /* tag: the peer */
    struct zn_rand rand;
    uint64_t due;     /* zn_link_turn() has something to do */
    uint64_t touched; /* used since their events were read: zn_link_look() */
};

enum zn_link_state {
    ZN_LINK_IDLE,    /* not wanted yet */
    ZN_LINK_BACKOFF, /* the timer starts the next try */
    ZN_LINK_RESOLVE, /* the resolver has the name */
    ZN_LINK_PROBE,   /* asking the kernel whether anybody is there */
    ZN_LINK_CONNECT, /* libzmq connects */
    ZN_LINK_UP,
    ZN_LINK_FULL, /* up, but the pipe takes nothing: its peer has stopped reading, or is gone */
    ZN_LINK_STATES
};

struct zn_link {
    struct zn_links *links;
    const char *host; /* of the peer */
    uint16_t port;
    int peer;
    enum zn_link_state state;
    uint32_t generation; /* counts the sockets, to see that one was closed meanwhile */
    uint64_t tried_us;   /* when the last try began */
    struct zn_address address;
    struct zn_probe probe;
    void *socket;
    uint64_t sent;           /* frames, on this socket */
    uint64_t sent_since_out; /* frames since it last showed POLLOUT */
    uint32_t full_answers;   /* probes that were answered while FULL */
    uint32_t expected;       /* frames that are read at once: as many as came the last time, */
    bool filled;             /* and so many have come */
    bool changed;       /* looking at it has shown that it is not in the state that it was in */
    bool owes_writable; /* a send() was told that the link is full */
    unsigned frame_n;   /* frames of the message that is being read: so many have come */
    bool delimited;     /* the first of them was empty */
    struct zn_backoff backoff;
    uint64_t good_us;    /* since when this connection is good; 0: it is not */
    uint64_t at_once_us; /* when the back-off last began anew; 0: never */
    struct zn_timer timer;
};

/* epoll's token of a link's descriptors is the peer. A stale report does no harm: all that it makes
 * a link do is look. */
void zn_link_init(struct zn_link *l, struct zn_links *links, int peer, const char *host,
                  uint16_t port);
/* Ends it; what was sent just before still leaves, for at most linger_ms. */
void zn_link_end(struct zn_link *l, int linger_ms);

/* As in struct zn_pattern. */
void zn_link_want(struct zn_link *l);
void zn_link_reset(struct zn_link *l);
void zn_link_good(struct zn_link *l);
int zn_link_send(struct zn_link *l, struct zn_blob *frame);

/* The same for a message of two frames; `frame` NULL: of the head alone. */
int zn_link_send_headed(struct zn_link *l, const void *head, size_t head_bytes,
                        struct zn_blob *frame);
/* Something else says that the peer is there: a back-off that goes on is cut short. */
void zn_link_hurry(struct zn_link *l);
static inline bool zn_link_is_up(const struct zn_link *l)
{
    return l->state == ZN_LINK_UP || l->state == ZN_LINK_FULL;
}

/* These four may call the sink; the first does nothing for an answer that came too late. */
void zn_link_resolved(struct zn_link *l, const struct zn_resolved *answer);
void zn_link_timer(struct zn_link *l);
void zn_link_turn(struct zn_link *l);
/* Reads the events of a touched link without acting on them; true: zn_link_turn() has to. */
bool zn_link_look(struct zn_link *l);

#endif
