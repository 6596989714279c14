/* SPDX-License-Identifier: MIT */
#ifndef ZN_CLI_VIEWS_H
#define ZN_CLI_VIEWS_H

#include <pthread.h>

#include "cli/session.h"

/* What one replica sees of the mesh. */
struct zn_view {
    const struct zmqnet_replica *replica;
    zmqnet_node *node;     /* that asks, of struct zn_views */
    zmqnet_status *status; /* the last answer; NULL: none */
    int code;              /* 0: status is set; else the error of the last question */
    const char *why;       /* code != 0: the cause in words */
    char cause[128];       /* what `why` points to, if it came from the client's own view */
    bool differs;          /* its peers file is not the same as ours */
    uint32_t timeout_ms;
    bool asked;    /* in this round: answered, being asked, or known to be down */
    bool late;     /* not linked in time, and not known to be down */
    bool threaded; /* a thread is asking */
    pthread_t thread;
};

struct zn_views {
    const struct zn_options *o;
    zmqnet_peers *peers;
    zmqnet_node *node; /* a client, linked to every replica */
    int signal;        /* that came while they were asked; 0: none */
    struct zn_view *views;
    size_t n;
};

/* Load the peers file and open the client. There is a view for each replica, or for
 * options->name only. Blocks the ending signals. Returns 0, or an exit code after a report. End with
 * zn_views_close() either way. */
int zn_views_open(struct zn_views *v, const struct zn_options *o);
/* Ask each at once; returns when each has answered or is known to be down, or after timeout_ms. A
 * signal ends it early. */
void zn_views_ask(struct zn_views *v, uint32_t timeout_ms);
/* Ask those again that answered. Who does not answer now stays as it was. */
void zn_views_refresh(struct zn_views *v, uint32_t timeout_ms);
void zn_views_close(struct zn_views *v);

/* How many replicas this one sees up, itself counted; 0 if it did not answer. One that is slow counts,
 * a suspect one does not: whether it is reached is not known. */
size_t zn_view_up(const struct zn_view *view);
/* Does it see every replica of its own peers file up, and these are not fewer than ours? */
bool zn_view_is_whole(const struct zn_views *v, const struct zn_view *view);
/* Does it see a majority of its own peers file up? */
bool zn_view_has_majority(const struct zn_view *view);
/* The state in a word for a replica that did, or did not, answer: "up", "down", "unknown". */
const char *zn_view_state(const struct zn_view *view);

#endif
