/* SPDX-License-Identifier: MIT */
#ifndef ZN_CLI_TEXT_H
#define ZN_CLI_TEXT_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "zmqnet.h"

/* A growing byte buffer; all zero is empty. When memory runs out it sets `failed` and takes nothing
 * more, so that only the place that writes it out has to look. */
struct zn_text {
    char *bytes;
    size_t n, max;
    bool failed;
};

#define ZN_ID_TEXT_MAX 38 /* 16 hex digits, '-', 20 digits, NUL */

void zn_text_free(struct zn_text *t);
void zn_text_bytes(struct zn_text *t, const void *bytes, size_t n);
void zn_text_add(struct zn_text *t, const char *s);
void zn_text_printf(struct zn_text *t, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
void zn_text_vprintf(struct zn_text *t, const char *format, va_list args);
/* Append bytes so that they stay on one line and cannot steer a terminal: printable UTF-8 as it is,
 * "\n" "\r" "\t" for these, "\xNN" for every other control byte and, if the whole is not UTF-8, for
 * every byte above 0x7e. */
void zn_text_escaped(struct zn_text *t, const void *bytes, size_t n);

/* "1.9 ms", "12.3 s", "4 m 10 s", "3 h 20 m". */
void zn_text_duration(struct zn_text *t, uint64_t us);
/* "8f3c21d09ab4e671-1" */
void zn_id_format(struct zmqnet_id id, char out[ZN_ID_TEXT_MAX]);

/* Rows of cells, escaped as above, printed in columns two spaces apart. The last cell of a row pads
 * nothing and does not widen its column. */
#define ZN_TABLE_COLUMNS_MAX 16
struct zn_table {
    struct zn_text cells; /* each ends with '\t', each row with '\n' */
};

void zn_table_cell(struct zn_table *t, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
void zn_table_end_row(struct zn_table *t);
/* Append the rows, each after `indent`, and empty the table. */
void zn_table_print(struct zn_table *t, const char *indent, struct zn_text *out);

#endif
