/* SPDX-License-Identifier: MIT */
#ifndef ZN_BASE_PARSE_H
#define ZN_BASE_PARSE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Strict parsing of text: the whole string must match, without sign, spaces or overflow.
 * Each returns 0 and sets *out, or returns ZMQNET_EINVAL and leaves it. */

/* Decimal digits, min..max. */
int zn_parse_u64(const char *text, uint64_t min, uint64_t max, uint64_t *out);
/* "250us" "2s" "400ms" "1m30s" "1h": one or more number+unit, units h m s ms us, falling; "0" alone
 * is allowed. Result in microseconds. */
int zn_parse_duration_us(const char *text, uint64_t *out);
/* "32" "64K" "1M" "1G", powers of 1024. Result in bytes. */
int zn_parse_size(const char *text, uint64_t *out);

/* How many bytes from the start are whole, valid UTF-8 characters: n if all are. */
size_t zn_utf8_prefix(const void *bytes, size_t n);
/* True if the bytes are valid UTF-8 (no overlong forms, no surrogates, at most U+10FFFF). */
bool zn_utf8_valid(const void *bytes, size_t n);

#endif
