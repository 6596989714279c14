/* SPDX-License-Identifier: MIT */
#ifndef ZN_CLI_OUTPUT_H
#define ZN_CLI_OUTPUT_H

#include <stdbool.h>

#include "cli/text.h"

/* Descriptors 0, 1 and 2 are open afterwards, so that no socket can take their numbers; one that
 * was closed fails when it is used. Ignores SIGPIPE. */
void zn_output_init(void);
/* Write the text to standard output now, and empty it. After a failure nothing is written. */
void zn_output_text(struct zn_text *t);
/* Nobody can read what is written any more: a command that has more to do should end. */
bool zn_output_gone(void);
/* For output that another module writes: what became of it, an errno. */
void zn_output_failed(int error);
/* The exit code of the process: `code`, or ZN_EXIT_FAILED after a line on stderr if the output
 * could not be written. A reader that went away (EPIPE) is no failure. */
int zn_output_end(int code);
/* One line on stderr, "zmqnet: " in front. */
void zn_output_complain(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* Colour is wanted on this descriptor: a terminal, and neither NO_COLOR nor --no-color. */
bool zn_output_colour(int fd, bool no_color);

#endif
