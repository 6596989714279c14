/* SPDX-License-Identifier: MIT */
/* Keeps new connections away from a listening socket while as many are open as may be. */
#ifndef ZN_PATTERN_GATE_H
#define ZN_PATTERN_GATE_H

#include <stdbool.h>
#include <stdint.h>

struct zn_gate {
    uint32_t max;
    int listener; /* libzmq's; -1: not known yet */
    int spare_fd; /* lets go of one descriptor where none is left */
    bool shut;
};

void zn_gate_init(struct zn_gate *g, uint32_t max);
void zn_gate_end(struct zn_gate *g);
/* The socket that listens, as libzmq reports it. */
void zn_gate_watch(struct zn_gate *g, int listener);
/* So many connections are open now. Returns true if the gate was shut by this call. */
bool zn_gate_update(struct zn_gate *g, uint32_t open);

#endif
