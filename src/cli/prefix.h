/* SPDX-License-Identifier: MIT */
#ifndef ZN_CLI_PREFIX_H
#define ZN_CLI_PREFIX_H

#include "cli/text.h"

/* The longest line that a replica writes: a message of the largest size, each byte as "\xNN". */
#define ZN_PREFIX_LINE_MAX (4 * ZMQNET_MESSAGE_MAX + 4096)

/* Cuts a stream of bytes into lines and puts a name before each. All zero, but `prefix`, is
 * fresh. */
struct zn_prefix {
    const char *prefix;  /* "alpha    | "; "": lines are passed on as they are */
    struct zn_text part; /* the line that is not complete yet */
    uint64_t lines;      /* complete ones so far */
};

/* Take what was read; append the lines that are complete to `out`. A line above
 * ZN_PREFIX_LINE_MAX is ended there. */
void zn_prefix_feed(struct zn_prefix *p, const char *bytes, size_t n, struct zn_text *out);
/* The stream has ended: append what is left as a line. The prefixer is fresh again. */
void zn_prefix_end(struct zn_prefix *p, struct zn_text *out);

#endif
