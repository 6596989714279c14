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
 */
#include "pattern/gate.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <sys/socket.h>
#include <unistd.h>

#define WAITING_MAX 4096 /* a backlog is never longer */

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

/* libzmq's thread takes from the same queue meanwhile, also the descriptor that was spared. */
static void turn_away(struct zn_gate *g)
{
    for (int i = 0; i < WAITING_MAX; i++) {
        int fd = accept4(g->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (fd >= 0) {
            close(fd);
            continue;
        }
        if (errno != EMFILE || g->spare_fd < 0)
            break;
        give_spare(g);
    }
    take_spare(g);
}

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

bool zn_gate_update(struct zn_gate *g, uint32_t open)
{
    bool shut = open >= (g->shut ? g->max - g->max / 8 : g->max);
    if (shut && g->shut)
        turn_away(g); /* who was left over for want of a descriptor */
    if (g->listener < 0 || shut == g->shut || !filter(g, shut))
        return false;
    g->shut = shut;
    if (shut)
        turn_away(g);
    return shut;
}
