/* SPDX-License-Identifier: MIT */
/*
 * Routes: where answers may go. A route is a handle to a kept envelope; the same envelope has the
 * same route for as long as it is remembered.
 */
#ifndef ZN_PATTERN_ROUTES_H
#define ZN_PATTERN_ROUTES_H

#include <stddef.h>
#include <stdint.h>

#include "core/mesh.h"

struct zn_routes;

/* routes_max 1..ZN_ROUTES_MAX; seed: secret from whoever chooses envelopes. Returns 0 or
 * ZMQNET_ENOMEM. */
int zn_routes_open(uint32_t routes_max, uint64_t seed, struct zn_routes **out);
void zn_routes_close(struct zn_routes **r);

/* The route of this envelope, made if it has none. If there are too many, the least recently used one
 * is forgotten: of the same connection, which is known by the first frame, if that has
 * ZN_ROUTES_SHARE; else of all. 0: out of memory. */
zn_route zn_routes_put(struct zn_routes *r, const uint8_t *envelope, size_t bytes);
/* Of the connection that an envelope came on, by its first frame; the same for all of it, never 0. */
uint64_t zn_routes_connection(const struct zn_routes *r, const uint8_t *envelope, size_t bytes);
/* The envelope of a route, NULL if it is forgotten. Valid until the next put. */
const uint8_t *zn_routes_get(struct zn_routes *r, zn_route route, size_t *bytes);

#endif
