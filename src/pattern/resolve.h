/* SPDX-License-Identifier: MIT */
/*
 * Names to addresses off the loop. One job per peer; a few threads, started when there are jobs, do
 * them. Its descriptor is readable when answers are ready.
 */
#ifndef ZN_PATTERN_RESOLVE_H
#define ZN_PATTERN_RESOLVE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/limits.h"
#include "pattern/address.h"

struct zn_resolver;

struct zn_resolved {
    int peer;
    bool found;
    struct zn_address address; /* if found */
};

/* Returns 0, ZMQNET_ENOMEM, ZMQNET_ENOFILE. */
int zn_resolver_open(struct zn_resolver **out);
/* Does not wait for a look-up that is going on: that thread cleans up after itself. *r may be NULL. */
void zn_resolver_close(struct zn_resolver **r);

int zn_resolver_fd(const struct zn_resolver *r);
/* Ask for the address of `host`, a name of at most ZN_HOST_MAX bytes. No effect while an earlier
 * question for this peer is not answered: its answer serves both. */
void zn_resolver_ask(struct zn_resolver *r, int peer, const char *host, uint16_t port);
/* The next answer; false: there is none. Clears the descriptor when there is none. */
bool zn_resolver_take(struct zn_resolver *r, struct zn_resolved *out);

#endif
