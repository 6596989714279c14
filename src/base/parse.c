/* SPDX-License-Identifier: MIT */
/*
 * Strict parsing of numbers, durations and sizes, and the UTF-8 check. No state; any thread; the
 * locale does not matter.
 *
 * The whole text must match: strtoull() and its family take spaces, signs, and a number with
 * anything behind it, which turns a typing error into a setting. A text that does not match, or a
 * value out of range, is ZMQNET_EINVAL and leaves *out as it was.
 */
#include "base/parse.h"

#include "zmqnet.h"

/* One or more digits at *text, which is moved behind them. False: no digit, or above 64 bits. */
static bool take_number(const char **text, uint64_t *out)
{
    const char *p = *text;
    uint64_t n = 0;
    for (; *p >= '0' && *p <= '9'; p++) {
        uint64_t digit = (uint64_t)(*p - '0');
        if (n > (UINT64_MAX - digit) / 10)
            return false;
        n = n * 10 + digit;
    }
    if (p == *text)
        return false;
    *text = p;
    *out = n;
    return true;
}

static bool multiply_add(uint64_t *sum, uint64_t n, uint64_t factor)
{
    return !__builtin_mul_overflow(n, factor, &n) && !__builtin_add_overflow(*sum, n, sum);
}

/* The unit at *text, which is moved behind it, in microseconds; 0: none. */
static uint64_t take_unit_us(const char **text)
{
    const char *p = *text;
    uint64_t us = 0;
    size_t n = 1;
    if (p[0] == 'u' && p[1] == 's')
        us = 1, n = 2;
    else if (p[0] == 'm' && p[1] == 's')
        us = 1000, n = 2;
    else if (p[0] == 's')
        us = 1000000;
    else if (p[0] == 'm')
        us = 60ull * 1000000;
    else if (p[0] == 'h')
        us = 3600ull * 1000000;
    if (us)
        *text = p + n;
    return us;
}

int zn_parse_u64(const char *text, uint64_t min, uint64_t max, uint64_t *out)
{
    uint64_t n;
    if (!take_number(&text, &n) || *text != '\0' || n < min || n > max)
        return ZMQNET_EINVAL;
    *out = n;
    return 0;
}

int zn_parse_duration_us(const char *text, uint64_t *out)
{
    uint64_t sum = 0;
    uint64_t previous_us = UINT64_MAX;
    if (text[0] == '0' && text[1] == '\0') {
        *out = 0;
        return 0;
    }
    do {
        uint64_t n;
        if (!take_number(&text, &n))
            return ZMQNET_EINVAL;
        uint64_t unit_us = take_unit_us(&text);
        if (unit_us == 0 || unit_us >= previous_us || !multiply_add(&sum, n, unit_us))
            return ZMQNET_EINVAL;
        previous_us = unit_us;
    } while (*text != '\0');
    *out = sum;
    return 0;
}

int zn_parse_size(const char *text, uint64_t *out)
{
    uint64_t n;
    uint64_t bytes = 0;
    uint64_t unit = 1;
    if (!take_number(&text, &n))
        return ZMQNET_EINVAL;
    switch (*text) {
    case 'K': unit = 1u << 10; break;
    case 'M': unit = 1u << 20; break;
    case 'G': unit = 1u << 30; break;
    default: break;
    }
    if (unit > 1)
        text++;
    if (*text != '\0' || !multiply_add(&bytes, n, unit))
        return ZMQNET_EINVAL;
    *out = bytes;
    return 0;
}

/* How long the character is that this byte begins; 0: none begins so. */
static size_t utf8_length(uint8_t first)
{
    if (first < 0x80)
        return 1;
    if (first >= 0xc2 && first <= 0xdf)
        return 2;
    if (first >= 0xe0 && first <= 0xef)
        return 3;
    return first >= 0xf0 && first <= 0xf4 ? 4 : 0;
}

/* The second byte carries the rules on overlong forms, surrogates and the end of Unicode. */
static bool utf8_second_valid(uint8_t first, uint8_t second)
{
    switch (first) {
    case 0xe0: return second >= 0xa0 && second <= 0xbf;
    case 0xed: return second >= 0x80 && second <= 0x9f;
    case 0xf0: return second >= 0x90 && second <= 0xbf;
    case 0xf4: return second >= 0x80 && second <= 0x8f;
    default: return second >= 0x80 && second <= 0xbf;
    }
}

size_t zn_utf8_prefix(const void *bytes, size_t n)
{
    const uint8_t *p = bytes;
    size_t i = 0;
    while (i < n) {
        size_t length = utf8_length(p[i]);
        if (length == 0 || length > n - i || (length > 1 && !utf8_second_valid(p[i], p[i + 1])))
            return i;
        for (size_t k = 2; k < length; k++)
            if ((p[i + k] & 0xc0) != 0x80)
                return i;
        i += length;
    }
    return n;
}

bool zn_utf8_valid(const void *bytes, size_t n) { return zn_utf8_prefix(bytes, n) == n; }
