/* SPDX-License-Identifier: MIT */
/* Counts the connections to a bound socket, by its monitor: those that closed before they spoke ZMTP,
 * and those that are open, of which there may be so many. */
#ifndef ZN_PATTERN_WATCH_H
#define ZN_PATTERN_WATCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct zn_watch;

struct zn_watched {
    unsigned bad;     /* handshakes */
    bool shut;        /* as many are open as may be: from now on new ones wait */
    bool more;        /* read again without waiting for the descriptor */
    uint64_t next_us; /* and at this time in any case; UINT64_MAX: never */
};

/* Before `bound` binds. Returns 0, ZMQNET_ENOMEM, ZMQNET_ENOFILE. */
int zn_watch_open(void *context, void *bound, uint32_t open_max, struct zn_watch **out);
/* Before `bound` is closed. */
void zn_watch_close(struct zn_watch **w);

int zn_watch_fd(const struct zn_watch *w);
/* Take what has come, at most ZN_TURN_FRAMES_MAX events. */
struct zn_watched zn_watch_read(struct zn_watch *w, uint64_t now_us);

#endif
