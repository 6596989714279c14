/* SPDX-License-Identifier: MIT */
/*
 * Frames over TCP, and the client that raw_tcp's load uses.
 *
 * A frame is its length in 4 bytes, a head, and the payload. Frames are taken out of the buffer
 * that a read filled, without a copy. A client gathers what it asks and writes it at the end of
 * its turn; that may block, and ends, because a replica always reads. A client reads once per
 * wake-up: what comes later wakes it again.
 *
 * Failures: no memory ends the process. A length that is none, or the end of the connection, is
 * -1 to whoever reads.
 */
#include "tcp_link.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define READ_BYTES (256u << 10)

/* ---- bytes -------------------------------------------------------------------------------- */

/* Room for n more bytes behind those that are there. */
static char *reserve(struct tcp_buffer *b, size_t n)
{
    if (b->begin == b->end)
        b->begin = b->end = 0;
    if (b->room - b->end < n && b->begin > 0) {
        memmove(b->bytes, b->bytes + b->begin, b->end - b->begin);
        b->end -= b->begin;
        b->begin = 0;
    }
    if (b->room - b->end < n) {
        b->room = 2 * (b->end + n);
        b->bytes = realloc(b->bytes, b->room);
        if (b->bytes == NULL)
            exit(EXIT_FAILURE);
    }
    return b->bytes + b->end;
}

void tcp_append(struct tcp_buffer *b, const void *bytes, size_t n)
{
    if (n > 0)
        memcpy(reserve(b, n), bytes, n);
    b->end += n;
}

int tcp_fill(int fd, struct tcp_buffer *b)
{
    ssize_t n = recv(fd, reserve(b, READ_BYTES), READ_BYTES, MSG_DONTWAIT);
    if (n > 0)
        b->end += (size_t)n;
    return n > 0 ? 1 : n < 0 && (errno == EAGAIN || errno == EINTR) ? 0 : -1;
}

int tcp_take(struct tcp_buffer *b, struct raw_head *head, const char **payload, size_t *bytes)
{
    uint32_t n;
    if (b->end - b->begin < sizeof n)
        return 0;
    memcpy(&n, b->bytes + b->begin, sizeof n);
    if (n < sizeof *head || n > sizeof *head + RAW_WORK_MAX)
        return -1;
    if (b->end - b->begin < sizeof n + n)
        return 0;
    memcpy(head, b->bytes + b->begin + sizeof n, sizeof *head);
    *payload = b->bytes + b->begin + TCP_PREFIX_BYTES;
    *bytes = n - sizeof *head;
    b->begin += sizeof n + n;
    return 1;
}

void tcp_put_prefix(char prefix[TCP_PREFIX_BYTES], const struct raw_head *head, size_t bytes)
{
    uint32_t n = (uint32_t)(sizeof *head + bytes);
    memcpy(prefix, &n, sizeof n);
    memcpy(prefix + sizeof n, head, sizeof *head);
}

int tcp_open_socket(const char *address, bool listens)
{
    struct addrinfo hints = {.ai_family = AF_INET, .ai_socktype = SOCK_STREAM}, *found;
    char host[256], port[8];
    int on = 1, fd;
    raw_address(address, host, port);
    if (getaddrinfo(host, port, &hints, &found) != 0) {
        errno = EADDRNOTAVAIL;
        return -1;
    }
    fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (listens ? bind(fd, found->ai_addr, found->ai_addrlen) != 0 || listen(fd, 1024) != 0
                : connect(fd, found->ai_addr, found->ai_addrlen) != 0) {
        close(fd);
        fd = -1;
    }
    freeaddrinfo(found);
    return fd;
}

/* ---- a client ----------------------------------------------------------------------------- */

struct link {
    int fd;
    bool read_once; /* since the last time that there was nothing left */
    struct tcp_buffer in, out;
};

static void *link_open(const char *address, int *fd)
{
    struct link *l = calloc(1, sizeof *l);
    int on = 1;
    *fd = tcp_open_socket(address, false);
    if (*fd < 0 || l == NULL) {
        fprintf(stderr, "bench: %s: %s\n", address, strerror(errno));
        free(l);
        return NULL;
    }
    setsockopt(*fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    l->fd = *fd;
    return l;
}

static void link_flush(void *link)
{
    struct link *l = link;
    while (l->out.begin < l->out.end) {
        ssize_t n =
            send(l->fd, l->out.bytes + l->out.begin, l->out.end - l->out.begin, MSG_NOSIGNAL);
        l->out.begin = n > 0 ? l->out.begin + (size_t)n : l->out.end;
    }
}

static void link_send(void *link, const struct raw_head *head, const void *payload, size_t bytes)
{
    struct link *l = link;
    char prefix[TCP_PREFIX_BYTES];
    tcp_put_prefix(prefix, head, bytes);
    tcp_append(&l->out, prefix, TCP_PREFIX_BYTES);
    tcp_append(&l->out, payload, bytes);
    if (l->out.end - l->out.begin >= READ_BYTES)
        link_flush(l);
}

static int link_recv(void *link, struct raw_head *head)
{
    struct link *l = link;
    const char *payload;
    size_t bytes;
    int got = tcp_take(&l->in, head, &payload, &bytes);
    if (got == 0 && !l->read_once) {
        l->read_once = true;
        got = tcp_fill(l->fd, &l->in);
        if (got > 0)
            got = tcp_take(&l->in, head, &payload, &bytes);
    }
    if (got == 0)
        l->read_once = false;
    return got;
}

static void link_close(void *link)
{
    struct link *l = link;
    close(l->fd);
    free(l->in.bytes);
    free(l->out.bytes);
    free(l);
}

const struct load_transport tcp_transport = {
    "raw_tcp", link_open, link_send, link_flush, link_recv, link_close,
};
