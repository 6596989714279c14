/* SPDX-License-Identifier: MIT */
#ifndef ZN_MODEL_PORTS_H
#define ZN_MODEL_PORTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "zmqnet.h"

/* The ports of one replica. */
enum zn_port { ZN_PORT_CLIENTS, ZN_PORT_PUB, ZN_PORT_ACK, ZN_PORTS };

struct zn_port_at {
    size_t replica; /* its index */
    enum zn_port which;
};

/* 0: not there; only while the file is being read. */
uint16_t zn_ports_get(const zmqnet_peers *peers, struct zn_port_at at);
/* Gives what is not there its default, after noting in peers->given what is there. */
void zn_ports_complete(zmqnet_peers *peers, size_t replica);
/* The pub and the ack port, both. */
bool zn_ports_are_default(const struct zmqnet_replica *replica);
bool zn_ports_given(const zmqnet_peers *peers, struct zn_port_at at);

/* Finds the first port with the number of `at` on the same host, among those of the replicas before
 * and those that stand before it in its own. False: there is none, or `at` is not there. */
bool zn_ports_same(const zmqnet_peers *peers, struct zn_port_at at, struct zn_port_at *same);

#endif
