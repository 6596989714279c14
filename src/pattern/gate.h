/* SPDX-License-Identifier: MIT */
/* Keeps new connections away from a listening socket while as many are open as may be. */
#ifndef ZN_PATTERN_GATE_H
#define ZN_PATTERN_GATE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/limits.h"

struct zn_gate {
    uint32_t max, inside_n;
    uint8_t inside[ZN_FILES_MAX / 8]; /* a bit for each descriptor of a connection; none above */
    uint64_t counted_us;              /* when those inside were last looked for */
    int listener;                     /* libzmq's; -1: not known yet */
    int spare_fd;                     /* lets go of one descriptor where none is left */
    bool shut;
};

void zn_gate_init(struct zn_gate *g, uint32_t max);
void zn_gate_end(struct zn_gate *g);
/* The socket that listens, as libzmq reports it. */
void zn_gate_watch(struct zn_gate *g, int listener);
/* A connection has come or gone, as libzmq reports it. */
void zn_gate_enter(struct zn_gate *g, uint32_t fd);
void zn_gate_leave(struct zn_gate *g, uint32_t fd);
/* After these, and at zn_gate_next_us(). Returns true if the gate was shut by this call. */
bool zn_gate_update(struct zn_gate *g, uint64_t now_us);
/* UINT64_MAX: never. */
uint64_t zn_gate_next_us(const struct zn_gate *g);

#endif
