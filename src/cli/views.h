/* SPDX-License-Identifier: MIT */
#ifndef ZN_CLI_VIEWS_H
#define ZN_CLI_VIEWS_H

#include <pthread.h>

#include "cli/session.h"

/* What one replica sees of the mesh, asked by a client of its own. */
struct zn_view {
    const struct zmqnet_replica *replica;
    zmqnet_node *node;
    zmqnet_status *status; /* the last answer; NULL: none */
    int code;              /* 0: status is set; else the error of the last question */
    const char *why;       /* code != 0: the cause in words */
    uint32_t timeout_ms;
    bool threaded; /* a thread is asking; if none could be made, the main thread does */
    pthread_t thread;
};

struct zn_views {
    const struct zn_options *o;
    zmqnet_peers *peers;
    struct zn_view *views;
    size_t n;
};

/* Load the peers file and open a client for each replica, or for options->name only. Blocks the
 * ending signals. Returns 0, or an exit code after a report. End with zn_views_close() either
 * way. */
int zn_views_open(struct zn_views *v, const struct zn_options *o);
/* Ask each at once; returns when all have answered or timeout_ms has passed. */
void zn_views_ask(struct zn_views *v, uint32_t timeout_ms);
void zn_views_close(struct zn_views *v);

/* How many replicas this one sees up, itself counted; 0 if it did not answer. */
size_t zn_view_up(const struct zn_view *view);
/* The state in a word for a replica that did, or did not, answer: "up", "down", "unknown". */
const char *zn_view_state(const struct zn_view *view);

#endif
