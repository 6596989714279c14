/* SPDX-License-Identifier: MIT */
/* libzmq's context: each replica has one, and all clients of the process share one. */
#ifndef ZN_PATTERN_CONTEXT_H
#define ZN_PATTERN_CONTEXT_H

#include <stdbool.h>
#include <stddef.h>

/* sockets_max  of a replica's own.   Returns 0, ZMQNET_ENOFILE, ZMQNET_ENOMEM. Any thread. */
int zn_context_open(bool shared, size_t sockets_max, void **out);
/* All sockets that were opened in it are closed. Blocks for as long as they linger, if nobody else
 * has it. */
void zn_context_close(bool shared, void **context);

#endif
