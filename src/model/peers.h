/* SPDX-License-Identifier: MIT */
/*
 * The peers file in memory: who there is and where. Immutable and reference-counted; made by
 * peers.c from JSON, and what zmqnet.h calls zmqnet_peers.
 */
#ifndef ZN_MODEL_PEERS_H
#define ZN_MODEL_PEERS_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include "base/limits.h"
#include "zmqnet.h"

struct zmqnet_peers {
    atomic_uint refs;
    size_t n;      /* 1..ZN_REPLICAS_MAX */
    uint64_t hash; /* over name, host and ports of each replica, sorted by name: FNV-1a 64 (wire.md) */
    uint64_t names_hash; /* over the sorted names alone: rows are read by it (wire.md) */
    uint8_t sorted[ZN_REPLICAS_MAX];                 /* indices, by name in byte order */
    struct zmqnet_replica replicas[ZN_REPLICAS_MAX]; /* in the file's order; strings owned here */
    char names[ZN_REPLICAS_MAX][ZN_NAME_MAX + 1];
    char hosts[ZN_REPLICAS_MAX][ZN_HOST_MAX + 1];
    char endpoints[ZN_REPLICAS_MAX][ZN_HOST_MAX + 16];
    uint8_t given[ZN_REPLICAS_MAX]; /* a bit for each enum zn_port that is no default (ports.h) */
};

/* One more reference to a constant thing. */
const zmqnet_peers *zn_peers_ref(const zmqnet_peers *peers);
void zn_peers_drop(const zmqnet_peers **peers);

#endif
