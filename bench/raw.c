/* SPDX-License-Identifier: MIT */
/*
 * What a replica of a baseline does, whatever carries its frames: it counts the votes of the
 * broadcasts that it coordinates.
 *
 * One thread. An open broadcast holds a slot of a table until it has its votes; the sequence number
 * beside the slot tells an ack for it from a late one for the broadcast that had the slot before.
 * There is no deadline, no retry and no memory of what was done: a broadcast whose ack is lost
 * stays open for ever, and one asked twice is done twice.
 *
 * Good path: begin, an ack from each other replica, an answer. Failures, at once, as an answer with
 * no votes: the table is full, or too few replicas are reachable for what is wanted.
 */
#include "raw.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "base/parse.h"

#define NO_SLOT UINT32_MAX

/* ---- open broadcasts ---------------------------------------------------------------------- */

static uint16_t wanted_votes(const struct raw_replica *r, uint8_t votes)
{
    if (votes == RAW_ALL)
        return (uint16_t)r->count;
    return votes == RAW_MAJORITY ? (uint16_t)(r->count / 2 + 1) : votes;
}

static struct raw_answer answer(struct raw_replica *r, uint64_t client, uint64_t seq,
                                uint16_t votes)
{
    if (votes > 0)
        r->answered++;
    else
        r->failed++;
    return (struct raw_answer){
        .client = client,
        .head = {.kind = RAW_ANSWER, .votes = (uint8_t)votes, .seq = seq},
    };
}

static struct raw_answer complete(struct raw_replica *r, uint32_t slot)
{
    struct raw_open *o = &r->open[slot];
    o->seq = 0;
    o->next_free = r->first_free;
    r->first_free = slot;
    return answer(r, o->client, o->client_seq, o->votes);
}

struct raw_begun raw_begin(struct raw_replica *r, const struct raw_head *ask, uint64_t client,
                           unsigned reachable)
{
    struct raw_begun begun = {.bounce.kind = RAW_NONE};
    uint16_t wanted = wanted_votes(r, ask->votes);
    uint32_t slot = r->first_free;
    r->asked++;
    if (slot == NO_SLOT || wanted > reachable + 1) {
        begun.answer = answer(r, client, ask->seq, 0);
        return begun;
    }
    struct raw_open *o = &r->open[slot];
    r->first_free = o->next_free;
    o->client = client;
    o->client_seq = ask->seq;
    o->seq = ++r->seq;
    o->votes = 1;
    o->wanted = wanted;
    begun.bounce = (struct raw_head){.kind = RAW_BOUNCE, .slot = slot, .seq = o->seq};
    if (o->votes >= o->wanted)
        begun.answer = complete(r, slot);
    return begun;
}

struct raw_answer raw_ack(struct raw_replica *r, const struct raw_head *ack)
{
    r->acked++;
    if (ack->slot >= RAW_OPEN_MAX || ack->seq == 0 || r->open[ack->slot].seq != ack->seq)
        return (struct raw_answer){.head.kind = RAW_NONE};
    struct raw_open *o = &r->open[ack->slot];
    if (++o->votes < o->wanted)
        return (struct raw_answer){.head.kind = RAW_NONE};
    return complete(r, ack->slot);
}

struct raw_head raw_serve(struct raw_replica *r, const struct raw_head *bounce, size_t bytes)
{
    r->served++;
    r->served_bytes += bytes;
    return (struct raw_head){.kind = RAW_ACK, .slot = bounce->slot, .seq = bounce->seq};
}

/* ---- a replica's life --------------------------------------------------------------------- */

bool raw_address(const char *text, char host[256], char port[8])
{
    const char *colon = strrchr(text, ':');
    uint64_t number;
    if (colon == NULL || colon == text || colon - text > 255 ||
        zn_parse_u64(colon + 1, 1, 65535, &number) != 0)
        return false;
    memcpy(host, text, (size_t)(colon - text));
    host[colon - text] = '\0';
    snprintf(port, 8, "%" PRIu64, number);
    return true;
}

static bool wrong(const char *text, const char *what)
{
    fprintf(stderr, "serve: %s %s\n", text, what);
    return false;
}

static bool read_arguments(struct raw_replica *r, int argc, char **argv)
{
    char host[256], port[8];
    uint64_t self;
    if (argc < 2)
        return wrong("INDEX HOST:PORT...", "is missing");
    if (argc - 1 > RAW_REPLICAS_MAX)
        return wrong(argv[RAW_REPLICAS_MAX + 1], "is one replica too many");
    for (int i = 1; i < argc; i++)
        if (!raw_address(argv[i], host, port))
            return wrong(argv[i], "is not HOST:PORT");
    if (zn_parse_u64(argv[0], 0, (uint64_t)argc - 2, &self) != 0)
        return wrong(argv[0], "is not the index of one of the addresses, from 0");
    r->self = (unsigned)self;
    r->count = (unsigned)(argc - 1);
    r->addresses = argv + 1;
    return true;
}

bool raw_replica_open(struct raw_replica *r, int argc, char **argv)
{
    sigset_t ending;
    *r = (struct raw_replica){.signal_fd = -1};
    if (!read_arguments(r, argc, argv))
        return false;
    sigemptyset(&ending);
    sigaddset(&ending, SIGTERM);
    sigaddset(&ending, SIGINT);
    sigprocmask(SIG_BLOCK, &ending, NULL);
    r->signal_fd = signalfd(-1, &ending, SFD_CLOEXEC | SFD_NONBLOCK);
    r->open = calloc(RAW_OPEN_MAX, sizeof *r->open);
    if (r->signal_fd < 0 || r->open == NULL)
        return wrong("no descriptor", "or memory left");
    for (uint32_t i = 0; i < RAW_OPEN_MAX; i++)
        r->open[i].next_free = i + 1 < RAW_OPEN_MAX ? i + 1 : NO_SLOT;
    return true;
}

void raw_replica_ready(const struct raw_replica *r)
{
    printf("ready %u %s %u peers\n", r->self, r->addresses[r->self], r->count - 1);
    fflush(stdout);
}

void raw_replica_close(struct raw_replica *r)
{
    printf("{\"index\":%u,\"asked\":%" PRIu64 ",\"answered\":%" PRIu64 ",\"failed\":%" PRIu64
           ",\"sent\":%" PRIu64 ",\"acked\":%" PRIu64 ",\"served\":%" PRIu64
           ",\"served_bytes\":%" PRIu64 ",\"dropped\":%" PRIu64 "}\n",
           r->self, r->asked, r->answered, r->failed, r->sent, r->acked, r->served, r->served_bytes,
           r->dropped);
    fflush(stdout);
    free(r->open);
    close(r->signal_fd);
}
