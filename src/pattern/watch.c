/* SPDX-License-Identifier: MIT */
/*
 * The monitor of the bound socket. The loop's thread reads it.
 *
 * A monitor that is not read stops libzmq's I/O thread when it is full, so only the events that are
 * needed are asked for, the receiving end has room for 65536 of them, and the loop reads it whenever
 * there is something. It is stopped before its end is closed, for the same reason.
 *
 * What libzmq tells: ACCEPTED(fd); then SUCCEEDED, which names no connection; at the end of a
 * connection that did not get as far, mostly FAILED directly before DISCONNECTED(fd), but for some
 * protocol errors DISCONNECTED(fd) alone. Counted are each FAILED, and a DISCONNECTED without one if
 * no handshake at all succeeded since that connection was accepted. That misses some and invents
 * none: the count is "at least".
 *
 * What comes and goes is told to the gate, too.
 */
#include "pattern/watch.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zmq.h>

#include "base/limits.h"
#include "pattern/gate.h"
#include "pattern/socket.h"
#include "zmqnet.h"

#define FAILED                                                                                     \
    (ZMQ_EVENT_HANDSHAKE_FAILED_NO_DETAIL | ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL |                  \
     ZMQ_EVENT_HANDSHAKE_FAILED_AUTH)

struct zn_watch {
    void *bound, *end;
    uint32_t succeeded; /* handshakes so far */
    bool counted;       /* the connection whose end comes next */
    struct zn_gate gate;
    uint32_t *known_from; /* by descriptor: `succeeded` + 1 when it was accepted; 0: not open */
};

/* An event is a frame of 16-bit number and 32-bit value, and a frame with the address. */
static bool next(struct zn_watch *w, uint16_t *event, uint32_t *value)
{
    uint8_t head[6], address[256];
    int n = zmq_recv(w->end, head, sizeof head, ZMQ_DONTWAIT);
    if (n < 0)
        return false;
    zmq_recv(w->end, address, sizeof address, ZMQ_DONTWAIT);
    assert(n == sizeof head);
    memcpy(event, head, sizeof *event);
    memcpy(value, head + sizeof *event, sizeof *value);
    return true;
}

static void on_begin(struct zn_watch *w, uint32_t fd)
{
    if (fd >= ZN_FILES_MAX)
        return;
    zn_gate_enter(&w->gate, fd);
    w->known_from[fd] = w->succeeded + 1;
}

static unsigned on_end(struct zn_watch *w, uint32_t fd)
{
    bool counted = w->counted;
    w->counted = false;
    if (fd >= ZN_FILES_MAX)
        return 0;
    uint32_t known_from = w->known_from[fd];
    w->known_from[fd] = 0;
    zn_gate_leave(&w->gate, fd);
    return !counted && known_from == w->succeeded + 1;
}

static unsigned take(struct zn_watch *w, uint16_t event, uint32_t value)
{
    if (event == ZMQ_EVENT_LISTENING)
        zn_gate_watch(&w->gate, (int)value);
    if (event == ZMQ_EVENT_ACCEPTED)
        on_begin(w, value);
    if (event == ZMQ_EVENT_HANDSHAKE_SUCCEEDED)
        w->succeeded++;
    if (event == ZMQ_EVENT_DISCONNECTED)
        return on_end(w, value);
    if (!(event & FAILED) || w->counted)
        return 0;
    w->counted = true;
    return 1;
}

static int attach(struct zn_watch *w, void *context, const char *address)
{
    int events = ZMQ_EVENT_LISTENING | ZMQ_EVENT_ACCEPTED | ZMQ_EVENT_HANDSHAKE_SUCCEEDED |
                 ZMQ_EVENT_DISCONNECTED | FAILED;
    if (zmq_socket_monitor(w->bound, address, events) != 0)
        return ZMQNET_ENOFILE;
    w->end = zmq_socket(context, ZMQ_PAIR);
    if (!w->end)
        goto stop;
    zn_socket_set_int(w->end, ZMQ_LINGER, 0);
    zn_socket_set_int(w->end, ZMQ_RCVHWM, ZN_WATCH_EVENTS_MAX);
    if (zmq_connect(w->end, address) != 0)
        goto close;
    return 0;

close:
    zn_socket_close(&w->end, 0);
stop:
    zmq_socket_monitor(w->bound, NULL, 0);
    return ZMQNET_ENOFILE;
}

int zn_watch_open(void *context, void *bound, uint32_t open_max, struct zn_watch **out)
{
    int rc = ZMQNET_ENOMEM;
    struct zn_watch *w = calloc(1, sizeof *w);
    if (!w)
        return rc;
    w->known_from = calloc(ZN_FILES_MAX, sizeof *w->known_from);
    if (!w->known_from)
        goto free_watch;
    w->bound = bound;
    char address[64];
    snprintf(address, sizeof address, "inproc://zmqnet-watch-%p", (void *)w);
    rc = attach(w, context, address);
    if (rc != 0)
        goto free_known;
    zn_gate_init(&w->gate, open_max);
    *out = w;
    return 0;

free_known:
    free(w->known_from);
free_watch:
    free(w);
    return rc;
}

void zn_watch_close(struct zn_watch **w)
{
    if (!*w)
        return;
    zmq_socket_monitor((*w)->bound, NULL, 0);
    uint16_t event;
    uint32_t value;
    while (next(*w, &event, &value))
        continue;
    zn_socket_close(&(*w)->end, 0);
    zn_gate_end(&(*w)->gate);
    free((*w)->known_from);
    free(*w);
    *w = NULL;
}

int zn_watch_fd(const struct zn_watch *w) { return zn_socket_fd(w->end); }

struct zn_watched zn_watch_read(struct zn_watch *w, uint64_t now_us)
{
    struct zn_watched seen = {0};
    uint16_t event;
    uint32_t value;
    for (int i = 0; i < ZN_TURN_FRAMES_MAX && next(w, &event, &value); i++)
        seen.bad += take(w, event, value);
    seen.more = (zn_socket_events(w->end) & ZMQ_POLLIN) != 0;
    seen.shut = zn_gate_update(&w->gate, now_us);
    seen.next_us = zn_gate_next_us(&w->gate);
    return seen;
}
