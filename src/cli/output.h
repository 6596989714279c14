/* SPDX-License-Identifier: MIT */
#ifndef ZN_CLI_OUTPUT_H
#define ZN_CLI_OUTPUT_H

#include <signal.h>
#include <stdbool.h>

#include "cli/text.h"

/* Descriptors 0, 1 and 2 are open afterwards, so that no socket can take their numbers; one that
 * was closed can still not be read, or written, and gives EBADF. Ignores SIGPIPE. */
void zn_output_init(void);
/* Write the text to standard output now, and empty it. After a failure nothing is written. */
void zn_output_text(struct zn_text *t);
/* Write one page of text, with `json` as the member "text" of an object, and empty it. */
void zn_output_page(struct zn_text *t, bool json);
/* Nobody can read what is written any more: a command that only shows something should end. */
bool zn_output_gone(void);
/* For output that another module writes: what became of it, an errno. */
void zn_output_failed(int error);
/* The exit code of the process: `code`, or ZN_EXIT_FAILED after a line on stderr if the output
 * could not be written. A reader that went away (EPIPE) is no failure. */
int zn_output_end(int code);
/* Append one line of talk: "zmqnet: " in front, and nothing in it that steers a terminal. */
void zn_output_line(struct zn_text *out, const char *format, va_list args);
/* Write such a line to stderr. */
void zn_output_complain(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* Colour is wanted on this descriptor: a terminal, and neither NO_COLOR nor --no-color. */
bool zn_output_colour(int fd, bool no_color);
/* SIGINT and SIGTERM, which end every command. */
sigset_t zn_output_ending_signals(void);

#endif
