/* SPDX-License-Identifier: MIT */
/* Counts the connections to a bound socket that closed before they spoke ZMTP, by its monitor. */
#ifndef ZN_PATTERN_WATCH_H
#define ZN_PATTERN_WATCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct zn_watch;

/* Before `bound` binds. Returns 0, ZMQNET_ENOMEM, ZMQNET_ENOFILE. */
int zn_watch_open(void *context, void *bound, struct zn_watch **out);
/* Before `bound` is closed. */
void zn_watch_close(struct zn_watch **w);

int zn_watch_fd(const struct zn_watch *w);
/* Take what has come, at most ZN_TURN_FRAMES_MAX events. Returns how many bad handshakes were among
 * them; *more: call again without waiting for the descriptor. */
unsigned zn_watch_read(struct zn_watch *w, bool *more);

#endif
