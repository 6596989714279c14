/* SPDX-License-Identifier: MIT */
/*
 * libzmq sockets as we use them: never blocking, with bounded pipes, and with a TCP that notices a
 * dead host. Each socket belongs to the loop's thread.
 *
 * No ZMTP heartbeats: they would cut the connection of a stopped process, and what it answers when
 * it goes on would be lost. Liveness is core's ping. On a link it is also what TCP_MAXRT needs to
 * find a dead host: something unacknowledged. A bound socket says nothing by itself, so there TCP's
 * keepalive asks. Linux counts TCP_MAXRT from the last segment heard, so it must be longer than the
 * keepalive's idle time and some probes: or else the first probe that is lost, as happens when
 * thousands are due at once, ends a healthy connection.
 *
 * MAXMSGSIZE is far above what is allowed, because a frame above it costs the connection without a
 * trace that could be counted; what is between the two is counted and dropped by the reader.
 */
#include "pattern/socket.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "base/clock.h"
#include "base/limits.h"
#include "zmqnet.h"

/* Below this a copy is cheaper than a message that refers to foreign memory. */
#define ZERO_COPY_BYTES (16u << 10)

struct option {
    int name, value;
};

static const struct option common_options[] = {
    {ZMQ_LINGER, 0},
    {ZMQ_SNDHWM, ZN_SOCKET_SEND_FRAMES},
    {ZMQ_RCVHWM, ZN_SOCKET_RECEIVE_FRAMES},
    {ZMQ_HANDSHAKE_IVL, 2000},
    {ZMQ_CONNECT_TIMEOUT, 1000},
    {ZMQ_BACKLOG, 512},
};

static const struct option link_options[] = {
    {ZMQ_TCP_MAXRT, 3000},
};

#define IDLE_S 30
#define PROBE_EVERY_S 10
#define PROBES 3
#define BOUND_MAXRT_MS 60000

static_assert(BOUND_MAXRT_MS >= 1000 * (IDLE_S + PROBES * PROBE_EVERY_S), "a lost probe is no end");

static const struct option bound_options[] = {
    {ZMQ_TCP_MAXRT, BOUND_MAXRT_MS},  {ZMQ_TCP_KEEPALIVE, 1},
    {ZMQ_TCP_KEEPALIVE_IDLE, IDLE_S}, {ZMQ_TCP_KEEPALIVE_INTVL, PROBE_EVERY_S},
    {ZMQ_TCP_KEEPALIVE_CNT, PROBES},
};

size_t zn_frame_max(size_t message_max)
{
    size_t body = message_max < ZN_BATCH_BYTES_MAX ? ZN_BATCH_BYTES_MAX : message_max;
    return body + ZN_BODY_OVERHEAD;
}

void zn_socket_set_int(void *s, int option, int value)
{
    int rc = zmq_setsockopt(s, option, &value, sizeof value);
    assert(rc == 0);
    (void)rc;
}

static bool is_bound(int type)
{
    return type == ZMQ_ROUTER || type == ZMQ_XPUB || type == ZMQ_PULL;
}

static void set_options(void *s, const struct option *options, size_t n)
{
    for (size_t i = 0; i < n; i++)
        zn_socket_set_int(s, options[i].name, options[i].value);
}

#define SET_OPTIONS(s, table) set_options(s, table, sizeof(table) / sizeof(table)[0])

int zn_socket_make(void *context, int type, size_t message_max, bool ipv6, void **out)
{
    void *s = zmq_socket(context, type);
    if (!s)
        return errno == EMFILE ? ZMQNET_ENOFILE : ZMQNET_ENOMEM;
    SET_OPTIONS(s, common_options);
    if (is_bound(type))
        SET_OPTIONS(s, bound_options);
    else
        SET_OPTIONS(s, link_options);
    zn_socket_set_int(s, ZMQ_IPV6, ipv6);
    int64_t cut_bytes = (int64_t)(2 * (message_max + ZN_BODY_OVERHEAD) + ZN_BATCH_BYTES_MAX);
    int rc = zmq_setsockopt(s, ZMQ_MAXMSGSIZE, &cut_bytes, sizeof cut_bytes);
    assert(rc == 0);
    *out = s;
    return 0;
}

int zn_socket_events(void *s)
{
    int events = 0;
    size_t n = sizeof events;
    int rc;
    do {
        rc = zmq_getsockopt(s, ZMQ_EVENTS, &events, &n);
    } while (rc != 0 && errno == EINTR);
    assert(rc == 0);
    return events;
}

int zn_socket_fd(void *s)
{
    int fd = -1;
    size_t n = sizeof fd;
    int rc = zmq_getsockopt(s, ZMQ_FD, &fd, &n);
    assert(rc == 0 && fd >= 0);
    (void)rc;
    return fd;
}

/* Returns 0 or an errno value; EAGAIN: there is nothing. */
static int read_frame(void *s, void (*take)(void *arg, zmq_msg_t *frame), void *arg)
{
    zmq_msg_t msg;
    zmq_msg_init(&msg);
    int error = zmq_msg_recv(&msg, s, ZMQ_DONTWAIT) >= 0 ? 0 : errno;
    if (error == 0)
        take(arg, &msg);
    zmq_msg_close(&msg);
    return error;
}

bool zn_socket_read(void *s, void (*take)(void *arg, zmq_msg_t *frame), void *arg)
{
    uint64_t until_us = zn_clock_us() + ZN_TURN_READ_US;
    for (int left = ZN_TURN_FRAMES_MAX; left > 0; left--) {
        int error = read_frame(s, take, arg);
        if (error == EAGAIN)
            return false; /* libzmq has looked at everything: what comes now gives an edge */
        if (error != 0)
            break; /* a signal: it may have taken the edge and not looked */
        if (zn_clock_us() >= until_us)
            break;
    }
    return (zn_socket_events(s) & ZMQ_POLLIN) != 0;
}

static void drop_reference(void *data, void *hint)
{
    (void)data;
    struct zn_blob *frame = hint;
    zn_blob_drop(&frame);
}

int zn_socket_wrap(struct zn_blob *frame, zmq_msg_t *msg)
{
    size_t n = zn_blob_bytes(frame);
    if (n < ZERO_COPY_BYTES) {
        if (zmq_msg_init_size(msg, n) != 0)
            return ZMQNET_ENOMEM;
        if (n > 0)
            memcpy(zmq_msg_data(msg), zn_blob_data(frame), n);
        return 0;
    }
    struct zn_blob *held = zn_blob_ref(frame);
    if (zmq_msg_init_data(msg, held->data, n, drop_reference, held) == 0)
        return 0;
    zn_blob_drop(&held);
    return ZMQNET_ENOMEM;
}

int zn_socket_send(void *s, zmq_msg_t *msg, int flags)
{
    int rc;
    do {
        rc = zmq_msg_send(msg, s, flags | ZMQ_DONTWAIT);
    } while (rc < 0 && errno == EINTR);
    if (rc >= 0)
        return 0;
    int error = errno;
    zmq_msg_close(msg);
    return error;
}

int zn_socket_send_bytes(void *s, const void *data, size_t n, int flags)
{
    int rc;
    do {
        rc = zmq_send(s, data, n, flags | ZMQ_DONTWAIT);
    } while (rc < 0 && errno == EINTR);
    return rc < 0 ? errno : 0;
}

void zn_socket_close(void **s, int linger_ms)
{
    if (!*s)
        return;
    zn_socket_set_int(*s, ZMQ_LINGER, linger_ms);
    int rc = zmq_close(*s);
    assert(rc == 0);
    (void)rc;
    *s = NULL;
}
