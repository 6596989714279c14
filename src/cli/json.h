/* SPDX-License-Identifier: MIT */
#ifndef ZN_CLI_JSON_H
#define ZN_CLI_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cli/text.h"

/* A streaming writer: what is added appears in that order, without spaces. `key` is NULL inside an
 * array. Text that is not UTF-8 has each bad string's bytes above 0x7f replaced by U+FFFD; only
 * zn_json_body() keeps such bytes, as base64. All zero, but `out`, is a fresh writer. */
struct zn_json {
    struct zn_text *out;
    bool comma; /* the next value needs one in front */
};

void zn_json_open(struct zn_json *j, const char *key, char bracket); /* '{' or '[' */
void zn_json_close(struct zn_json *j, char bracket);                 /* '}' or ']' */
void zn_json_string(struct zn_json *j, const char *key, const char *value);
void zn_json_u64(struct zn_json *j, const char *key, uint64_t value);
void zn_json_i64(struct zn_json *j, const char *key, int64_t value);
/* With so many digits behind the point; one that is not finite is null. */
void zn_json_decimal(struct zn_json *j, const char *key, double value, int digits);
void zn_json_null(struct zn_json *j, const char *key);
void zn_json_bool(struct zn_json *j, const char *key, bool value);
/* A 64-bit number that is an identity: 16 hex digits in quotes. */
void zn_json_hex(struct zn_json *j, const char *key, uint64_t value);
/* Bytes under `key` if they are UTF-8, else as base64 under `key`_base64. */
void zn_json_body(struct zn_json *j, const char *key, const void *bytes, size_t n);

#endif
