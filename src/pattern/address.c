/* SPDX-License-Identifier: MIT */
/*
 * Host and port to a socket address, by getaddrinfo(). No state: any thread. A host of both families
 * yields its first IPv4 address. Every failure of the resolver is one error: the host cannot be
 * resolved; which of its reasons it was changes nothing for us.
 */
#include "pattern/address.h"

#include <assert.h>
#include <netdb.h>
#include <stdio.h>
#include <string.h>

#include "base/limits.h"
#include "zmqnet.h"

static const struct addrinfo *choose(const struct addrinfo *list)
{
    for (const struct addrinfo *a = list; a; a = a->ai_next)
        if (a->ai_family == AF_INET)
            return a;
    for (const struct addrinfo *a = list; a; a = a->ai_next)
        if (a->ai_family == AF_INET6)
            return a;
    return NULL;
}

static int look_up(const char *host, uint16_t port, int flags, struct zn_address *out)
{
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
    hints.ai_flags = flags | AI_NUMERICSERV;
    char service[8];
    snprintf(service, sizeof service, "%u", (unsigned)port);
    struct addrinfo *list = NULL;
    if (getaddrinfo(host, service, &hints, &list) != 0)
        return ZMQNET_EADDR;
    const struct addrinfo *chosen = choose(list);
    int rc = ZMQNET_EADDR;
    if (chosen && chosen->ai_addrlen <= sizeof out->at) {
        memset(out, 0, sizeof *out);
        memcpy(&out->at, chosen->ai_addr, chosen->ai_addrlen);
        out->bytes = chosen->ai_addrlen;
        rc = 0;
    }
    freeaddrinfo(list);
    return rc;
}

int zn_address_numeric(const char *host, uint16_t port, struct zn_address *out)
{
    return look_up(host, port, AI_NUMERICHOST, out);
}

int zn_address_resolve(const char *host, uint16_t port, struct zn_address *out)
{
    return look_up(host, port, 0, out);
}

struct zn_address zn_address_at_port(const struct zn_address *a, uint16_t port)
{
    struct zn_address at = *a;
    if (zn_address_is_ipv6(a))
        ((struct sockaddr_in6 *)&at.at)->sin6_port = htons(port);
    else
        ((struct sockaddr_in *)&at.at)->sin_port = htons(port);
    return at;
}

bool zn_address_is_ipv6(const struct zn_address *a) { return a->at.ss_family == AF_INET6; }

void zn_address_endpoint(const struct zn_address *a, char *text)
{
    char host[64], service[8];
    int rc = getnameinfo((const struct sockaddr *)&a->at, a->bytes, host, sizeof host, service,
                         sizeof service, NI_NUMERICHOST | NI_NUMERICSERV);
    assert(rc == 0);
    (void)rc;
    const char *format = zn_address_is_ipv6(a) ? "tcp://[%s]:%s" : "tcp://%s:%s";
    snprintf(text, ZN_ADDRESS_TEXT_MAX, format, host, service);
}
