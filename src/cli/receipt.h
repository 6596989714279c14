/* SPDX-License-Identifier: MIT */
#ifndef ZN_CLI_RECEIPT_H
#define ZN_CLI_RECEIPT_H

#include "cli/problem.h"
#include "zmqnet.h"

/* What a failed receipt means for the user. Returns the exit code; 0, with *problem left, if the
 * receipt is one of success. */
int zn_receipt_problem(const zmqnet_receipt *receipt, const char *via, const zmqnet_peers *peers,
                       struct zn_problem *problem);
/* The receipt as lines for people. `via` is the name that was asked. */
void zn_receipt_text(const zmqnet_receipt *receipt, const char *via, const zmqnet_peers *peers,
                     struct zn_text *out);
/* The receipt as one line of JSON, with the problem if there is one. */
void zn_receipt_json(const zmqnet_receipt *receipt, const char *via,
                     const struct zn_problem *problem, struct zn_text *out);

#endif
