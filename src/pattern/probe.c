/* SPDX-License-Identifier: MIT */
/*
 * The probe. libzmq keeps the errno of a failed connect to itself, so a link asks the kernel first:
 * connect, say what libzmq's socket would say, wait for the same from the other side, close.
 *
 * It speaks ZMTP 3.0 rather than just connecting, for two reasons: a port where something else listens
 * is found out here, and the peer sees a good handshake. A connection that closes without a word
 * would look to it like a stranger's, and each start of a link would be counted as a bad handshake.
 *
 * One thread, the loop's. Nothing blocks. The owner sets the time limit. Failures are what connect()
 * says, and HANDSHAKE for a peer that closes or says something else.
 */
#include "pattern/probe.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "base/limits.h"

#define GREETING_BYTES 64
#define SOCKET_TYPE_MAX 6

/* Signature, version 3.0, mechanism NULL, as a client. */
static const uint8_t greeting[] = "\xff\0\0\0\0\0\0\0\0\x7f\x03\x00"
                                  "NULL\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"
                                  "\0"
                                  "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
_Static_assert(sizeof greeting - 1 == GREETING_BYTES, "a greeting");
/* The command READY: this, then the length of the socket type in its last byte, and the socket type. */
static const uint8_t ready_head[] = "\x05READY\x0bSocket-Type\0\0\0";
#define READY_HEAD_BYTES (sizeof ready_head - 1)

static enum zn_why why_of(int error)
{
    switch (error) {
    case ECONNREFUSED: return ZN_WHY_REFUSED;
    case EHOSTUNREACH:
    case ENETUNREACH:
    case EHOSTDOWN:
    case ENETDOWN: return ZN_WHY_UNREACHABLE;
    case ETIMEDOUT: return ZN_WHY_TIMEOUT;
    default: return ZN_WHY_RESET;
    }
}

static bool same_address(const struct sockaddr_storage *a, const struct sockaddr_storage *b,
                         socklen_t bytes)
{
    return memcmp(a, b, bytes) == 0;
}

/* A connect to a local port in the ephemeral range where nobody listens can meet itself. */
static bool met_itself(int fd)
{
    struct sockaddr_storage here = {0}, there = {0};
    socklen_t here_bytes = sizeof here, there_bytes = sizeof there;
    if (getsockname(fd, (struct sockaddr *)&here, &here_bytes) != 0 ||
        getpeername(fd, (struct sockaddr *)&there, &there_bytes) != 0)
        return false;
    return here_bytes == there_bytes && same_address(&here, &there, here_bytes);
}

static enum zn_probe_result fail(struct zn_probe *p, int epoll_fd, enum zn_why because,
                                 enum zn_why *why)
{
    zn_probe_end(p, epoll_fd);
    *why = because;
    return ZN_PROBE_FAILED;
}

void zn_probe_init(struct zn_probe *p, const char *socket_type)
{
    *p = (struct zn_probe){.socket_type = socket_type, .fd = -1};
}

enum zn_probe_result zn_probe_begin(struct zn_probe *p, const struct zn_address *to, int epoll_fd,
                                    uint32_t token, enum zn_why *why)
{
    assert(p->fd < 0);
    *p = (struct zn_probe){.socket_type = p->socket_type, .token = token};
    p->fd = socket(to->at.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (p->fd < 0)
        return fail(p, epoll_fd, ZN_WHY_RESET, why);
    struct epoll_event event = {.events = EPOLLOUT, .data.u64 = token};
    if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, p->fd, &event) != 0)
        return fail(p, epoll_fd, ZN_WHY_RESET, why);
    int rc = connect(p->fd, (const struct sockaddr *)&to->at, to->bytes);
    if (rc != 0 && errno != EINPROGRESS)
        return fail(p, epoll_fd, why_of(errno), why);
    return ZN_PROBE_PENDING;
}

static bool speak(const struct zn_probe *p)
{
    uint8_t words[GREETING_BYTES + 2 + READY_HEAD_BYTES + 1 + SOCKET_TYPE_MAX];
    size_t type_bytes = strlen(p->socket_type), n = GREETING_BYTES;
    assert(type_bytes <= SOCKET_TYPE_MAX);
    memcpy(words, greeting, GREETING_BYTES);
    words[n++] = 0x04; /* a command */
    words[n++] = (uint8_t)(READY_HEAD_BYTES + 1 + type_bytes);
    memcpy(words + n, ready_head, READY_HEAD_BYTES);
    n += READY_HEAD_BYTES;
    words[n++] = (uint8_t)type_bytes;
    memcpy(words + n, p->socket_type, type_bytes);
    n += type_bytes;
    return send(p->fd, words, n, MSG_NOSIGNAL) == (ssize_t)n;
}

/* ENOTCONN from getpeername() while SO_ERROR is clear: still connecting. */
static enum zn_probe_result connecting(struct zn_probe *p, int epoll_fd, enum zn_why *why)
{
    int error = 0;
    socklen_t bytes = sizeof error;
    struct sockaddr_storage peer;
    socklen_t peer_bytes = sizeof peer;
    getsockopt(p->fd, SOL_SOCKET, SO_ERROR, &error, &bytes);
    if (error != 0)
        return fail(p, epoll_fd, why_of(error), why);
    if (getpeername(p->fd, (struct sockaddr *)&peer, &peer_bytes) != 0)
        return ZN_PROBE_PENDING;
    if (met_itself(p->fd))
        return fail(p, epoll_fd, ZN_WHY_REFUSED, why);
    if (!speak(p))
        return fail(p, epoll_fd, ZN_WHY_HANDSHAKE, why);
    struct epoll_event event = {.events = EPOLLIN, .data.u64 = p->token};
    epoll_ctl(epoll_fd, EPOLL_CTL_MOD, p->fd, &event);
    p->connected = true;
    return ZN_PROBE_CONNECTED;
}

/* The peer's READY is awaited, not only its greeting: only then has it ended the handshake too. */
static enum zn_probe_result listening(struct zn_probe *p, int epoll_fd, enum zn_why *why)
{
    static const uint8_t ready[] = "\x05READY";
    ssize_t n = recv(p->fd, p->heard + p->heard_bytes, sizeof p->heard - p->heard_bytes, 0);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return ZN_PROBE_PENDING;
    if (n <= 0)
        return fail(p, epoll_fd, ZN_WHY_HANDSHAKE, why);
    p->heard_bytes += (uint32_t)n;
    size_t ready_at = GREETING_BYTES + 2;
    if (p->heard[0] != 0xff)
        return fail(p, epoll_fd, ZN_WHY_HANDSHAKE, why);
    if (p->heard_bytes < ready_at + sizeof ready - 1)
        return ZN_PROBE_PENDING;
    if (memcmp(p->heard + ready_at, ready, sizeof ready - 1) != 0)
        return fail(p, epoll_fd, ZN_WHY_HANDSHAKE, why);
    zn_probe_end(p, epoll_fd);
    return ZN_PROBE_OK;
}

enum zn_probe_result zn_probe_step(struct zn_probe *p, int epoll_fd, enum zn_why *why)
{
    assert(p->fd >= 0);
    return p->connected ? listening(p, epoll_fd, why) : connecting(p, epoll_fd, why);
}

void zn_probe_end(struct zn_probe *p, int epoll_fd)
{
    if (p->fd < 0)
        return;
    epoll_ctl(epoll_fd, EPOLL_CTL_DEL, p->fd, NULL);
    close(p->fd);
    p->fd = -1;
}
