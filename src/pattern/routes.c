/* SPDX-License-Identifier: MIT */
/*
 * A fixed table of envelopes with an index by content and lists by last use. The loop's thread.
 *
 * Slots are taken in order until all have been used once, so memory that no client has asked for is
 * never touched; then the least recently used slot is taken again. Correlated REQ clients make a new
 * envelope with each request, and so pass through the table all the time. A route is slot and
 * generation: after reuse the old route finds nothing. Generations start at 1, so that no route is 0.
 *
 * A slot is in two lists: of all, and of its connection. A connection that has its share takes its
 * own slots again, so that one that floods cannot make the answers of others undeliverable. Who opens
 * many connections still can. A connection has a record while it has a slot: there are never more.
 *
 * Envelopes longer than SHORT_BYTES, which only proxies and long client ids make, are allocated.
 */
#include "pattern/routes.h"

#include <assert.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/index.h"
#include "base/limits.h"
#include "pattern/envelope.h"
#include "zmqnet.h"

#define SHORT_BYTES 24
#define NONE ZN_INDEX_NONE

enum { ALL, OWN, LISTS };

/* Slots by last use; NONE: it is empty. */
struct list {
    uint32_t newest, oldest;
};

struct slot {
    uint32_t generation;
    uint32_t connection;
    struct {
        uint32_t newer, older; /* NONE: the end */
    } link[LISTS];
    uint16_t bytes;
    union {
        uint8_t here[SHORT_BYTES];
        uint8_t *there; /* bytes > SHORT_BYTES */
    } envelope;
};

struct connection {
    struct list slots;
    uint32_t held;      /* slots in the list; 0: this record is free */
    uint32_t next_free; /* of a free one */
};

struct zn_routes {
    struct zn_index index; /* slots, by hash of the envelope and connection */
    struct zn_index connections_by_id;
    struct slot *slots;
    struct connection *connections;
    uint32_t max, used, connections_used;
    uint32_t free_connection; /* the first of the free ones; NONE: none is */
    struct list all;
    uint64_t key[2];
};

_Static_assert(ZN_ENVELOPE_ROOM <= UINT16_MAX, "lengths fit");

static const uint8_t *envelope_of(const struct slot *s)
{
    return s->bytes > SHORT_BYTES ? s->envelope.there : s->envelope.here;
}

/* ---- lists ---- */

static void list_remove(struct zn_routes *r, struct list *list, int which, uint32_t i)
{
    uint32_t newer = r->slots[i].link[which].newer, older = r->slots[i].link[which].older;
    *(newer == NONE ? &list->newest : &r->slots[newer].link[which].older) = older;
    *(older == NONE ? &list->oldest : &r->slots[older].link[which].newer) = newer;
}

static void list_add(struct zn_routes *r, struct list *list, int which, uint32_t i)
{
    r->slots[i].link[which].newer = NONE;
    r->slots[i].link[which].older = list->newest;
    *(list->newest == NONE ? &list->oldest : &r->slots[list->newest].link[which].newer) = i;
    list->newest = i;
}

static void unlink_slot(struct zn_routes *r, uint32_t i)
{
    list_remove(r, &r->all, ALL, i);
    list_remove(r, &r->connections[r->slots[i].connection].slots, OWN, i);
}

static void link_newest(struct zn_routes *r, uint32_t i)
{
    list_add(r, &r->all, ALL, i);
    list_add(r, &r->connections[r->slots[i].connection].slots, OWN, i);
}

static void touch(struct zn_routes *r, uint32_t i)
{
    if (r->all.newest == i)
        return;
    unlink_slot(r, i);
    link_newest(r, i);
}

/* ---- connections ---- */

/* Of the first frame with its length, as it stands in the envelope. Nobody outside knows the key, so
 * nobody can look for two connections that collide. */
uint64_t zn_routes_connection(const struct zn_routes *r, const uint8_t *envelope, size_t bytes)
{
    const uint8_t *frame;
    size_t at = 0, n;
    if (!zn_envelope_next(envelope, bytes, &at, &frame, &n) || at > bytes)
        at = bytes;
    uint64_t id = zn_hash_bytes(r->key, envelope, at);
    return id != 0 ? id : 1;
}

/* With no slot yet. There are as many records as slots. */
static uint32_t add_connection(struct zn_routes *r, uint64_t id)
{
    uint32_t c = r->free_connection;
    if (c != NONE)
        r->free_connection = r->connections[c].next_free;
    else
        c = r->connections_used++;
    assert(c < r->max);
    r->connections[c] = (struct connection){.slots = {NONE, NONE}};
    zn_index_put(&r->connections_by_id, c, id, 0);
    return c;
}

static void leave_connection(struct zn_routes *r, uint32_t c)
{
    if (--r->connections[c].held > 0)
        return;
    zn_index_del(&r->connections_by_id, c);
    r->connections[c].next_free = r->free_connection;
    r->free_connection = c;
}

/* ---- slots ---- */

static void empty(struct slot *s)
{
    if (s->bytes > SHORT_BYTES)
        free(s->envelope.there);
    s->bytes = 0;
}

static void forget(struct zn_routes *r, uint32_t i)
{
    unlink_slot(r, i);
    leave_connection(r, r->slots[i].connection);
    zn_index_del(&r->index, i);
    empty(&r->slots[i]);
}

/* A slot for this connection, NONE if it has no record yet, that is in no list and no index. */
static uint32_t take_slot(struct zn_routes *r, uint32_t connection)
{
    bool full = connection != NONE && r->connections[connection].held == ZN_ROUTES_SHARE;
    if (!full && r->used < r->max)
        return r->used++;
    uint32_t i = full ? r->connections[connection].slots.oldest : r->all.oldest;
    forget(r, i);
    return i;
}

/* A connection whose last slot is taken loses its record, so that it is looked up only then. */
static uint32_t add_slot(struct zn_routes *r, uint64_t id, uint32_t connection)
{
    uint32_t i = take_slot(r, connection);
    connection = zn_index_find(&r->connections_by_id, id, 0);
    if (connection == NONE)
        connection = add_connection(r, id);
    r->connections[connection].held++;
    struct slot *s = &r->slots[i];
    s->connection = connection;
    s->generation += s->generation == UINT32_MAX ? 2 : 1;
    link_newest(r, i);
    return i;
}

static zn_route route_of(const struct zn_routes *r, uint32_t i)
{
    return (uint64_t)r->slots[i].generation << 32 | i;
}

/* NONE if it has none. The bytes decide: of envelopes that collide, at most one is found. */
static uint32_t find_slot(const struct zn_routes *r, uint64_t hash, uint32_t connection,
                          const uint8_t *envelope, size_t bytes)
{
    uint32_t i = zn_index_find(&r->index, hash, connection);
    bool found = i != NONE && r->slots[i].bytes == bytes &&
                 memcmp(envelope_of(&r->slots[i]), envelope, bytes) == 0;
    return found ? i : NONE;
}

/* ---- the server's calls ---- */

int zn_routes_open(uint32_t routes_max, uint64_t seed, struct zn_routes **out)
{
    assert(routes_max >= 1 && routes_max <= ZN_ROUTES_MAX);
    struct zn_routes *r = calloc(1, sizeof *r);
    if (!r)
        return ZMQNET_ENOMEM;
    r->max = routes_max;
    r->all = (struct list){NONE, NONE};
    r->free_connection = NONE;
    r->key[0] = seed;
    r->key[1] = ~seed;
    r->slots = calloc(routes_max, sizeof *r->slots);
    r->connections = calloc(routes_max, sizeof *r->connections);
    if (!r->slots || !r->connections || zn_index_init(&r->index, routes_max, seed) != 0 ||
        zn_index_init(&r->connections_by_id, routes_max, seed + 1) != 0) {
        zn_routes_close(&r);
        return ZMQNET_ENOMEM;
    }
    *out = r;
    return 0;
}

/* Also of one that was opened in part. */
void zn_routes_close(struct zn_routes **r)
{
    if (!*r)
        return;
    for (uint32_t i = 0; i < (*r)->used; i++)
        empty(&(*r)->slots[i]);
    zn_index_free(&(*r)->connections_by_id);
    zn_index_free(&(*r)->index);
    free((*r)->connections);
    free((*r)->slots);
    free(*r);
    *r = NULL;
}

zn_route zn_routes_put(struct zn_routes *r, const uint8_t *envelope, size_t bytes)
{
    assert(bytes > 0 && bytes <= ZN_ENVELOPE_ROOM);
    uint64_t id = zn_routes_connection(r, envelope, bytes),
             hash = zn_hash_bytes(r->key, envelope, bytes);
    uint32_t connection = zn_index_find(&r->connections_by_id, id, 0);
    uint32_t i = find_slot(r, hash, connection, envelope, bytes);
    if (i != NONE) {
        touch(r, i);
        return route_of(r, i);
    }
    uint8_t *there = NULL;
    if (bytes > SHORT_BYTES && !(there = malloc(bytes)))
        return 0;
    i = add_slot(r, id, connection);
    struct slot *s = &r->slots[i];
    memcpy(there ? there : s->envelope.here, envelope, bytes);
    if (there)
        s->envelope.there = there;
    s->bytes = (uint16_t)bytes;
    zn_index_put(&r->index, i, hash, s->connection);
    return route_of(r, i);
}

const uint8_t *zn_routes_get(struct zn_routes *r, zn_route route, size_t *bytes)
{
    uint32_t i = (uint32_t)route, generation = (uint32_t)(route >> 32);
    if (i >= r->used || r->slots[i].generation != generation)
        return NULL;
    touch(r, i);
    *bytes = r->slots[i].bytes;
    return envelope_of(&r->slots[i]);
}
