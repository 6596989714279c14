/* SPDX-License-Identifier: MIT */
/*
 * The three ports of a replica: one that every pattern has, for clients, and two that only pubsub
 * opens. The file may give all of them; one of the latter that it does not give has a default,
 * which is a whole thousand away, so that replicas on consecutive ports of one host do not meet.
 *
 * Two replicas are on the same host if the file writes their hosts alike. Two names of one machine
 * are not noticed here, but by the replica that finds its port taken.
 *
 * Belongs to the thread that reads the file until the file is read, and is constant then.
 */
#include "model/ports.h"

#include "model/peers.h"

#include <string.h>
#include <strings.h>

#define PORT_MAX 65535
#define PUB_STEP 1000
#define ACK_STEP 2000

uint16_t zn_ports_get(const zmqnet_peers *peers, struct zn_port_at at)
{
    const struct zmqnet_replica *replica = &peers->replicas[at.replica];
    switch (at.which) {
    case ZN_PORT_CLIENTS: return replica->port;
    case ZN_PORT_PUB: return replica->pub_port;
    case ZN_PORT_ACK: return replica->ack_port;
    default: return 0;
    }
}

bool zn_ports_given(const zmqnet_peers *peers, struct zn_port_at at)
{
    return peers->given[at.replica] >> at.which & 1;
}

static uint16_t default_of(uint16_t port, uint16_t step)
{
    return (uint16_t)(port + step <= PORT_MAX ? port + step : port - step);
}

bool zn_ports_are_default(const struct zmqnet_replica *replica)
{
    return replica->pub_port == default_of(replica->port, PUB_STEP) &&
           replica->ack_port == default_of(replica->port, ACK_STEP);
}

void zn_ports_complete(zmqnet_peers *peers, size_t i)
{
    struct zmqnet_replica *replica = &peers->replicas[i];
    for (struct zn_port_at at = {i, 0}; at.which < ZN_PORTS; at.which++)
        if (zn_ports_get(peers, at) != 0)
            peers->given[i] |= (uint8_t)(1u << at.which);
    if (replica->pub_port == 0)
        replica->pub_port = default_of(replica->port, PUB_STEP);
    if (replica->ack_port == 0)
        replica->ack_port = default_of(replica->port, ACK_STEP);
}

static bool same_host(const zmqnet_peers *peers, size_t i, size_t k)
{
    return i == k || (*peers->hosts[i] && strcasecmp(peers->hosts[i], peers->hosts[k]) == 0);
}

bool zn_ports_same(const zmqnet_peers *peers, struct zn_port_at at, struct zn_port_at *same)
{
    uint16_t port = zn_ports_get(peers, at);
    struct zn_port_at other = {0};
    if (port == 0)
        return false;
    for (; other.replica <= at.replica; other.replica++) {
        enum zn_port end = other.replica < at.replica ? ZN_PORTS : at.which;
        for (other.which = 0; other.which < end; other.which++)
            if (zn_ports_get(peers, other) == port && same_host(peers, at.replica, other.replica)) {
                *same = other;
                return true;
            }
    }
    return false;
}
