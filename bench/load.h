/* SPDX-License-Identifier: MIT */
#ifndef BENCH_LOAD_H
#define BENCH_LOAD_H

#include <stdbool.h>
#include <stddef.h>

#include "raw.h"

/* How a client of a baseline reaches a replica. */
struct load_transport {
    const char *name; /* what the results call it */
    /* A connection; *fd becomes readable when recv() may have something. NULL after saying why. */
    void *(*open)(const char *address, int *fd);
    /* May gather until flush(). Both may block: a replica always reads. */
    void (*send)(void *link, const struct raw_head *head, const void *payload, size_t bytes);
    void (*flush)(void *link);
    /* 1: *head is the next answer, 0: none yet, -1: the replica is gone. */
    int (*recv)(void *link, struct raw_head *head);
    void (*close)(void *link);
};

/* `bench [options] HOST:PORT...`: runs the load, prints a line of JSON; returns the exit code. */
int load_main(const struct load_transport *transport, int argc, char **argv);

#endif
