/* SPDX-License-Identifier: MIT */
#ifndef BENCH_RAW_H
#define BENCH_RAW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define RAW_REPLICAS_MAX 64
#define RAW_OPEN_MAX 16384 /* broadcasts that one replica coordinates at once */
#define RAW_WORK_MAX (64u << 20)

enum raw_kind {
    RAW_NONE,
    RAW_ASK,    /* client to replica: a payload to broadcast */
    RAW_BOUNCE, /* replica to replica: the payload */
    RAW_ACK,    /* and back, without it */
    RAW_ANSWER, /* replica to client, without it */
};

/* What an ASK wants, or a number of replicas. */
#define RAW_ALL 0
#define RAW_MAJORITY 255

/* In front of each payload, in host order: both ends are the same program on the same machine. */
struct raw_head {
    uint8_t kind;
    uint8_t votes; /* ASK: how many it wants; ANSWER: how many there are, 0: it failed */
    uint16_t unused;
    uint32_t slot; /* BOUNCE, ACK: the place in the coordinator's table */
    uint64_t seq;  /* ASK, ANSWER: the client's; BOUNCE, ACK: the broadcast that the slot is for */
};

/* One broadcast that has not got its votes yet. */
struct raw_open {
    uint64_t client; /* where the answer goes: the transport's business */
    uint64_t client_seq;
    uint64_t seq;
    uint32_t next_free;
    uint16_t votes, wanted;
};

/* What a replica is told, its table, and what it has counted. */
struct raw_replica {
    unsigned self, count;
    char **addresses; /* HOST:PORT of each */
    int signal_fd;    /* readable when it is to end */

    struct raw_open *open; /* of RAW_OPEN_MAX */
    uint32_t first_free;
    uint64_t seq;

    uint64_t asked, answered, failed;
    uint64_t sent, acked;          /* bounces, to all others together, and their acks */
    uint64_t served, served_bytes; /* bounces of others */
    uint64_t dropped;              /* bounces for a replica that takes none any more */
};

struct raw_answer {
    uint64_t client;
    struct raw_head head; /* kind RAW_NONE: nothing to answer yet */
};

/* Two messages of a broadcast at once: what goes to each other replica, and to the client. */
struct raw_begun {
    struct raw_head bounce; /* kind RAW_NONE: nothing goes out */
    struct raw_answer answer;
};

/* `serve INDEX HOST:PORT...`: false after saying what is wrong. Blocks SIGTERM and SIGINT, which
 * are read from signal_fd, so call it before any thread starts. */
bool raw_replica_open(struct raw_replica *r, int argc, char **argv);
/* Prints the line that says that it can be used. */
void raw_replica_ready(const struct raw_replica *r);
/* Prints the counters as a line of JSON and frees. */
void raw_replica_close(struct raw_replica *r);

/* A client asks. reachable: how many replicas there are to bounce to. */
struct raw_begun raw_begin(struct raw_replica *r, const struct raw_head *ask, uint64_t client,
                           unsigned reachable);
/* Another replica has acked. The last vote that was wanted brings the answer, later ones nothing. */
struct raw_answer raw_ack(struct raw_replica *r, const struct raw_head *ack);
/* Another replica has bounced. The ack for it. */
struct raw_head raw_serve(struct raw_replica *r, const struct raw_head *bounce, size_t bytes);

/* The host and the port of HOST:PORT; false if it is none. */
bool raw_address(const char *text, char host[256], char port[8]);

#endif
