/* SPDX-License-Identifier: MIT */
#ifndef ZN_CLI_MATRIX_SHOW_H
#define ZN_CLI_MATRIX_SHOW_H

#include "cli/json.h"
#include "cli/matrix.h"
#include "cli/text.h"

/* The table of links, the cuts by name, the largest connected set, the majority, and what to mend
 * first: a line or a few for each. */
void zn_matrix_text(const struct zn_matrix *m, const zmqnet_peers *peers, struct zn_text *out);
/* The same as members of an object that the caller opened: "matrix", "cuts", "connected", "majority"
 * and, if something is to be mended, "mend". */
void zn_matrix_json(const struct zn_matrix *m, struct zn_json *j);

#endif
