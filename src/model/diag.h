/* SPDX-License-Identifier: MIT */
#ifndef ZN_MODEL_DIAG_H
#define ZN_MODEL_DIAG_H

#include <stddef.h>

#include "zmqnet.h"

/* Collects everything that is wrong with an input, in the caller's array as far as it reaches. */
struct zn_diags {
    struct zmqnet_diag *out; /* may be NULL if max is 0 */
    size_t max;
    size_t n;        /* found in all */
    size_t errors_n; /* of them not just warnings */
};

/* code 0: a warning. line, column: from 1; 0: not known. The text is cut, behind a whole character,
 * to what fits. */
void zn_diags_add(struct zn_diags *d, int code, int line, int column, const char *format, ...)
    __attribute__((format(printf, 5, 6)));

/* A value as it stands in a sentence: cut if long, on one line, between `quote` if it is not 0. */
struct zn_cite {
    char text[64];
};
const char *zn_cite(struct zn_cite *c, char quote, const char *bytes, size_t n);

#endif
