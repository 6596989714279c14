/* SPDX-License-Identifier: MIT */
/*
 * One turn of the loop, in a fixed order: wait, commands, sockets, the commands that came of them, the
 * clock once more, timers, flush, stopping. Timers run every turn, busy or not. Nothing here blocks
 * but the wait itself.
 *
 * Invariant before sleeping: no command waits, the pattern has nothing pending, and timer_fd will be
 * readable when core or the pattern is due. Where that does not hold a thread of our own does not
 * sleep, and for a caller who drives the node by zmqnet_fd() the wake-up descriptor is made readable.
 */
#include "node/node.h"

#include <assert.h>
#include <errno.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "base/clock.h"

#define EVENTS_MAX 64

static const bool moves[ZN_NODE_STATES][ZN_NODE_STATES] = {
    [ZN_NODE_RUNNING] = {[ZN_NODE_DRAINING] = true},
    [ZN_NODE_DRAINING] = {[ZN_NODE_LEAVING] = true},
    [ZN_NODE_LEAVING] = {[ZN_NODE_ENDED] = true},
};

static void state_move(zmqnet_node *node, enum zn_node_state to)
{
    assert(moves[node->state][to]);
    node->state = to;
}

/* The node whose turn this thread is in, to know a call from within a callback. */
static _Thread_local const zmqnet_node *turning;

bool zn_node_in_callback(const zmqnet_node *node) { return turning == node; }

/* ---- stepping core ---- */

void zn_node_step(zmqnet_node *node, const struct zn_event *event)
{
    zn_mesh_step(node->mesh, node->now_us, event, &node->out);
    zn_node_carry_out(node);
    node->flush_due = true;
}

static void flush(zmqnet_node *node)
{
    const struct zn_event event = {.type = ZN_EV_FLUSH};
    int more = 1;
    while (node->flush_due && more) {
        more = zn_mesh_step(node->mesh, node->now_us, &event, &node->out);
        zn_node_carry_out(node);
    }
    node->flush_due = false;
}

/* ---- commands ---- */

static void snapshot(zmqnet_node *node, struct zn_pending *p)
{
    zmqnet_status *copy = zn_status_copy(zn_mesh_status(node->mesh, node->now_us));
    p->got_status(p, copy ? 0 : ZMQNET_ENOMEM, copy, "");
}

static void command_run(zmqnet_node *node, struct zn_command *c)
{
    struct zn_event event = {.peer = -1};
    switch (c->type) {
    case ZN_CMD_CALL:
        event.type = ZN_EV_CALL;
        c->call.tag = (uint64_t)(uintptr_t)c->pending;
        c->call.body = c->body;
        event.call = &c->call;
        zn_node_step(node, &event);
        break;
    case ZN_CMD_ANSWER:
        event.type = ZN_EV_ANSWER;
        event.token = c->token;
        event.code = c->code;
        event.body = c->body;
        zn_node_step(node, &event);
        break;
    case ZN_CMD_SNAPSHOT: snapshot(node, c->pending); break;
    }
    zn_blob_drop(&c->body);
}

/* At most what the ring holds: callbacks that call again do not keep the loop here. A callback may have
 * taken long, and the time of the next call counts from when it is begun. */
static void commands_run(zmqnet_node *node)
{
    struct zn_command c;
    for (int i = 0; i < ZN_COMMANDS_MAX && zn_commands_pop(&node->commands, &c); i++) {
        node->now_us = zn_clock_us();
        command_run(node, &c);
    }
}

/* Somebody has asked for the end. What was queued before is begun all the same. */
static void drain_if_asked(zmqnet_node *node)
{
    const struct zn_event drain = {.type = ZN_EV_DRAIN};
    uint32_t grace_ms;
    if (node->state != ZN_NODE_RUNNING || !zn_commands_stopping(&node->commands, &grace_ms))
        return;
    commands_run(node);
    state_move(node, ZN_NODE_DRAINING);
    node->until_us = node->now_us + grace_ms * ZN_MS;
    zn_node_step(node, &drain);
}

/* ---- time ---- */

static void timer_arm(zmqnet_node *node)
{
    uint64_t core_us = zn_mesh_next_us(node->mesh);
    uint64_t pattern_us = node->pattern->next_us(node->carrier);
    uint64_t next_us = core_us < pattern_us ? core_us : pattern_us;
    if (node->state != ZN_NODE_RUNNING && node->until_us < next_us)
        next_us = node->until_us;
    if (node->starved != 0 && node->starved_us < next_us)
        next_us = node->starved_us;
    /* A timer that fires early costs one idle turn; setting it anew each turn would cost more. */
    if (next_us >= node->armed_us)
        return;
    if (next_us == 0)
        next_us = 1; /* zero disarms */
    struct itimerspec at = {
        .it_value = {.tv_sec = (time_t)(next_us / ZN_SECOND),
                     .tv_nsec = (long)(next_us % ZN_SECOND * 1000)},
    };
    int rc = timerfd_settime(node->timer_fd, TFD_TIMER_ABSTIME, &at, NULL);
    assert(rc == 0);
    node->armed_us = next_us;
}

static void timer_fired(zmqnet_node *node)
{
    uint64_t times;
    ssize_t n = read(node->timer_fd, &times, sizeof times);
    assert(n == (ssize_t)sizeof times || errno == EAGAIN);
    node->armed_us = UINT64_MAX;
}

/* ---- the turn ---- */

static void wait_for_events(zmqnet_node *node, bool wait)
{
    struct epoll_event events[EVENTS_MAX];
    int n = epoll_wait(node->epoll_fd, events, EVENTS_MAX, wait ? -1 : 0);
    assert(n >= 0 || errno == EINTR);
    for (int i = 0; i < n; i++) {
        uint64_t token = events[i].data.u64;
        if (token < 1ull << 32)
            node->pattern->ready(node->carrier, (uint32_t)token);
        else if ((int)(uint32_t)token == node->timer_fd)
            timer_fired(node);
        else
            zn_commands_woken(&node->commands);
    }
}

/* Settle what is open, let the last receipts leave, and say bye. The connections stay a moment longer:
 * libzmq drops what a peer has received and not read yet when its connection ends. */
static void leave(zmqnet_node *node)
{
    const struct zn_event settle = {.type = ZN_EV_CLOSE}, bye = {.type = ZN_EV_BYE};
    zn_commands_shut(&node->commands);
    commands_run(node);
    zn_node_step(node, &settle);
    flush(node);
    zn_node_step(node, &bye);
    state_move(node, ZN_NODE_LEAVING);
    node->until_us = node->now_us + (node->self < 0 ? 0 : ZN_LEAVE_US);
}

static void end_if_due(zmqnet_node *node)
{
    bool due = node->now_us >= node->until_us;
    if (node->state == ZN_NODE_DRAINING && (due || zn_mesh_open_count(node->mesh) == 0))
        leave(node);
    if (node->state == ZN_NODE_LEAVING && node->now_us >= node->until_us)
        state_move(node, ZN_NODE_ENDED);
}

/* The transport owes no sign for frames that had no memory here. To try again at once would keep the
 * loop busy for as long as there is none. */
static void starved_again(zmqnet_node *node)
{
    uint64_t again = node->now_us >= node->starved_us ? node->starved : 0;
    node->starved &= ~again;
    for (; again != 0; again &= again - 1) {
        const struct zn_event event = {.type = ZN_EV_LINK_WRITABLE, .peer = __builtin_ctzll(again)};
        zn_node_step(node, &event);
    }
}

static void turn_once(zmqnet_node *node)
{
    const struct zn_event tick = {.type = ZN_EV_TICK};
    node->now_us = zn_clock_us();
    starved_again(node);
    commands_run(node);
    drain_if_asked(node);
    node->pattern->turn(node->carrier, node->now_us);
    commands_run(node); /* what callbacks asked for in answer to what has come */
    node->now_us = zn_clock_us();
    zn_node_step(node, &tick);
    flush(node);
    end_if_due(node);
}

/* What a turn leaves to do is mostly an answer that has arrived meanwhile: to take it at once costs
 * less than to wake ourselves for it. */
static void turn(zmqnet_node *node)
{
    for (int left = ZN_TURNS_MAX; left > 0; left--) {
        turn_once(node);
        node->busy = node->state != ZN_NODE_ENDED &&
                     (zn_commands_waiting(&node->commands) ||
                      node->pattern->pending(node->carrier)); /* the one that costs: last */
        if (!node->busy)
            return;
    }
}

/* Asserted: only one thread at a time, and no callback, drives a node. */
int zn_node_turn(zmqnet_node *node)
{
    const zmqnet_node *outer = turning;
    if (node->state == ZN_NODE_ENDED)
        return ZMQNET_ECLOSED;
    bool busy = atomic_exchange(&node->in_turn, true);
    assert(!busy);
    wait_for_events(node, atomic_load(&node->threaded) && !node->busy);
    turning = node;
    turn(node);
    turning = outer;
    atomic_store(&node->in_turn, false);
    if (node->state == ZN_NODE_ENDED)
        return ZMQNET_ECLOSED;
    timer_arm(node);
    if (node->busy && !atomic_load(&node->threaded))
        zn_commands_wake(&node->commands);
    return 0;
}

void zn_node_wait(const zmqnet_node *node)
{
    struct epoll_event unread;
    epoll_wait(node->epoll_fd, &unread, 1, -1);
}
