/* SPDX-License-Identifier: MIT */
/*
 * A limit to the connections of a listening socket that libzmq owns. The loop's thread.
 *
 * libzmq takes whatever comes, and when descriptors run out its thread goes round and round without
 * being able to take or refuse. It has no call that stops listening and keeps the connections. So the
 * kernel is told to drop what arrives for the listening socket itself, by a filter that takes nothing:
 * who connects then waits, as if the network was slow, and gets in when there is room again. Open
 * connections have sockets of their own and notice nothing.
 *
 * Shut: filter on, and what the kernel had already set up and libzmq not yet taken is closed. If not
 * a single descriptor is left for that, the spare one is given up for the moment. Opened again when an
 * eighth is free. If the filter cannot be set (no such kernel), all is as without a gate.
 *
 * Who is inside is what libzmq tells. An end that it does not tell would keep the gate shut for ever,
 * so while it is shut it is looked every second whether each is still a connection to this port. If
 * somebody could not be turned away for want of a descriptor, that is tried again then, too.
 */
#include "pattern/gate.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/limits.h"

#define WAITING_MAX 4096 /* a backlog is never longer */
#define LOOK_US ZN_SECOND

/* ---- who waits ---- */

static void take_spare(struct zn_gate *g)
{
    if (g->spare_fd < 0)
        g->spare_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
}

static void give_spare(struct zn_gate *g)
{
    if (g->spare_fd >= 0)
        close(g->spare_fd);
    g->spare_fd = -1;
}

/* After a failed accept(): may another one succeed? Those of one connection alone are many (accept(2)),
 * and what is wrong with the listener itself is the same WAITING_MAX times. */
static bool may_go_on(struct zn_gate *g)
{
    bool full = errno == EMFILE || errno == ENFILE;
    if (errno == EAGAIN || (full && g->spare_fd < 0))
        return false;
    if (full)
        give_spare(g);
    return true;
}

/* libzmq's thread takes from the same queue meanwhile, also the descriptor that was spared. */
static void turn_away(struct zn_gate *g)
{
    for (int i = 0; i < WAITING_MAX; i++) {
        int fd = accept4(g->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (fd >= 0)
            close(fd);
        else if (!may_go_on(g))
            break;
    }
    take_spare(g);
}

/* ---- who is inside ---- */

static uint8_t bit(uint32_t fd) { return (uint8_t)(1u << fd % 8); }

static bool is_inside(const struct zn_gate *g, uint32_t fd)
{
    return (g->inside[fd / 8] & bit(fd)) != 0;
}

/* In network order; -1: it is no socket of the Internet. */
static int local_port(int fd)
{
    struct sockaddr_storage at = {.ss_family = AF_UNSPEC};
    socklen_t bytes = sizeof at;
    if (getsockname(fd, (struct sockaddr *)&at, &bytes) != 0)
        return -1;
    if (at.ss_family == AF_INET)
        return ((struct sockaddr_in *)&at)->sin_port;
    return at.ss_family == AF_INET6 ? ((struct sockaddr_in6 *)&at)->sin6_port : -1;
}

/* Only connections to the port have its number at our end. */
static void look(struct zn_gate *g)
{
    int port = local_port(g->listener);
    for (uint32_t fd = 0; fd < ZN_FILES_MAX; fd++)
        if (is_inside(g, fd) && local_port((int)fd) != port)
            zn_gate_leave(g, fd);
}

void zn_gate_enter(struct zn_gate *g, uint32_t fd)
{
    if (fd >= ZN_FILES_MAX || is_inside(g, fd))
        return;
    g->inside[fd / 8] |= bit(fd);
    g->inside_n++;
}

void zn_gate_leave(struct zn_gate *g, uint32_t fd)
{
    if (fd >= ZN_FILES_MAX || !is_inside(g, fd))
        return;
    g->inside[fd / 8] &= (uint8_t)~bit(fd);
    g->inside_n--;
}

/* ---- the gate ---- */

static bool filter(struct zn_gate *g, bool shut)
{
    struct sock_filter nothing = {.code = BPF_RET | BPF_K, .k = 0};
    struct sock_fprog program = {.len = 1, .filter = &nothing};
    return setsockopt(g->listener, SOL_SOCKET, shut ? SO_ATTACH_FILTER : SO_DETACH_FILTER, &program,
                      sizeof program) == 0;
}

void zn_gate_init(struct zn_gate *g, uint32_t max)
{
    *g = (struct zn_gate){.max = max, .listener = -1, .spare_fd = -1};
    take_spare(g);
}

/* libzmq's sockets that listen block, which it never finds out: it polls first, and is alone. */
void zn_gate_watch(struct zn_gate *g, int listener)
{
    int flags = fcntl(listener, F_GETFL);
    if (flags >= 0 && fcntl(listener, F_SETFL, flags | O_NONBLOCK) == 0)
        g->listener = listener;
}

void zn_gate_end(struct zn_gate *g) { give_spare(g); }

bool zn_gate_update(struct zn_gate *g, uint64_t now_us)
{
    if (now_us >= zn_gate_next_us(g)) {
        g->counted_us = now_us;
        look(g);
    }
    bool shut = g->inside_n >= (g->shut ? g->max - g->max / 8 : g->max);
    if (shut && g->shut)
        turn_away(g); /* who was left over for want of a descriptor */
    if (g->listener < 0 || shut == g->shut || !filter(g, shut))
        return false;
    g->shut = shut;
    g->counted_us = now_us;
    if (shut)
        turn_away(g);
    return shut;
}

uint64_t zn_gate_next_us(const struct zn_gate *g)
{
    return g->shut ? g->counted_us + LOOK_US : UINT64_MAX;
}
