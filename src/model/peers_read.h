/* SPDX-License-Identifier: MIT */
#ifndef ZN_MODEL_PEERS_READ_H
#define ZN_MODEL_PEERS_READ_H

#include <stddef.h>

#include "model/diag.h"
#include "zmqnet.h"

/* The values of a peers file into `peers`, which is all zero: n, names, hosts, and of the replicas
 * port, pid, and pub_port and ack_port if they are given (else 0). What is wrong goes to `diags`.
 * Returns 0, ZMQNET_ECONFIG (`peers` is of no use then), ZMQNET_ENOMEM. */
int zn_peers_read(const char *text, size_t text_bytes, zmqnet_peers *peers, struct zn_diags *diags);

#endif
