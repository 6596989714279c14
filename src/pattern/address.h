/* SPDX-License-Identifier: MIT */
/* A numeric address, as the system and as libzmq want it. libzmq never sees a name: it would resolve
 * it in its I/O thread and hold up every link for as long as that takes. */
#ifndef ZN_PATTERN_ADDRESS_H
#define ZN_PATTERN_ADDRESS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

#define ZN_ADDRESS_TEXT_MAX 80 /* "tcp://[v6%scope]:65535" */

struct zn_address {
    struct sockaddr_storage at;
    socklen_t bytes;
};

/* Both prefer IPv4 where a host has both families, so that the one who binds and the one who connects
 * choose alike. Return 0 or ZMQNET_EADDR. The first takes numeric addresses only and does not block;
 * the second takes names too and blocks for as long as the system's resolver does. */
int zn_address_numeric(const char *host, uint16_t port, struct zn_address *out);
int zn_address_resolve(const char *host, uint16_t port, struct zn_address *out);

/* The same host at another port. */
struct zn_address zn_address_at_port(const struct zn_address *a, uint16_t port);
bool zn_address_is_ipv6(const struct zn_address *a);
/* The endpoint for libzmq; `text` has room for ZN_ADDRESS_TEXT_MAX. */
void zn_address_endpoint(const struct zn_address *a, char *text);

#endif
