/* SPDX-License-Identifier: MIT */
/*
 * Carriers of one pattern over real sockets on loopback, each with an epoll of its own as in the node.
 * Up to three run in the test program, and one poll() over their epolls drives them all. A peer that
 * has to be killed or stopped is the same program again, started as `PROGRAM child PORTS`.
 */
#ifndef ZN_TESTS_CARRIER_DRIVER_H
#define ZN_TESTS_CARRIER_DRIVER_H

#include <netinet/in.h>
#include <stdbool.h>
#include <sys/types.h>

#include "base/clock.h"
#include "own_clock.h"
#include "pattern/pattern.h"

#define SIDES_MAX 3
#define DEADLINE_US (10 * ZN_SECOND)
#define PASS_STEP_US (20 * ZN_MS)
#define MESSAGE_MAX 1000

/* The pattern of all sides. Each test program defines it. */
extern const struct zn_pattern *const pattern;

struct side {
    struct zn_carrier *c;
    int epoll_fd;
    bool echo;        /* answer what comes on a route with the same bytes, at once */
    bool reset_in;    /* reset the link from within link_bytes */
    uint64_t busy_us; /* how long each link_bytes takes */
    unsigned up, lost, failed, writable, gap; /* calls of the sink */
    enum zn_why why;
    unsigned link_n, route_n; /* messages that came, and the last one */
    char link_text[64], route_text[64];
    zn_route route;
    uint64_t connection;
    unsigned counts[ZN_COUNTERS_N];
};

int try_open(struct side *s, const zmqnet_peers *peers, int self, struct zmqnet_diag *diag);
void open_side(struct side *s, const zmqnet_peers *peers, int self);
/* A side that wants a link to each peer. */
void open_linked_side(struct side *s, const zmqnet_peers *peers, int self);
void close_side(struct side *s);
/* A teardown: what a test that failed has left open is not driven by the next one. */
int forget_sides(void **state);
unsigned counts_of(const struct side *s);

/* One turn of this side with all that is ready, but for what has this token. */
void turn_without(struct side *s, uint64_t token);
/* Waits for a moment until a side has something to do; then a turn of each. */
void drive(void);

/* Drives while the clock is put ahead by this much, 20 ms in each real one. */
void pass_time(uint64_t us);

/* Drives until the condition holds; fails after the deadline. PASS_UNTIL() puts the clock ahead
 * meanwhile: for what waits for our own timers, and for nothing that takes anybody else real time. */
#define UNTIL(condition) UNTIL_BY(drive(), condition)
#define PASS_UNTIL(condition) UNTIL_BY(pass_time(PASS_STEP_US), condition)
#define UNTIL_BY(step, condition)                                                                  \
    for (uint64_t until_us = own_clock_real_us() + DEADLINE_US; !(condition); step)                \
        if (own_clock_real_us() > until_us)                                                        \
    fail_msg("line %d: not in time: %s", __LINE__, #condition)

int send_text(struct side *s, int peer, const char *text);
/* The same bytes to each of this set, until one says no. */
int send_to(struct side *s, uint64_t peers, const char *text);
int reply(struct side *s, zn_route route, const void *bytes, size_t n);
/* Copies as much as fits, and ends it. */
void keep_text(char text[64], const void *bytes, size_t n);

/* ---- peers and ports ---- */

uint16_t free_port(void);
/* peerN, with no other port than this one. */
struct zmqnet_replica *add_peer(zmqnet_peers *p, const char *host, uint16_t port);
/* n peers on this host with three free ports each. The next call takes their place. */
zmqnet_peers *new_peers(unsigned n);

/* ---- other processes, and what is not of ZeroMQ ---- */

/* The last one of these peers. It echoes, and says hello each time that a link of it comes up. */
pid_t spawn_child(const zmqnet_peers *peers);
void end_child(pid_t pid);
bool is_child(int argc, char **argv);
/* Ends with its parent. */
int child_main(int argc, char **argv);

struct sockaddr_in loopback(uint16_t port);
int plain_socket(void);
int connect_plain(uint16_t port);
void tcp_endpoint(char endpoint[32], uint16_t port);
/* Of this process, now. */
unsigned count_files(void);

#endif
