/* SPDX-License-Identifier: MIT */
/*
 * Holds strict parsing: what is taken, with its value, and what is refused and leaves the result as
 * it was. And the UTF-8 check, with every class of bad bytes.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "base/parse.h"
#include "zmqnet.h"

#define UNTOUCHED 0x5555u
#define BAD UINT64_MAX

struct row {
    const char *text;
    uint64_t value; /* BAD: refused */
};

static void check(const struct row *row, int rc, uint64_t out)
{
    if (rc != (row->value == BAD ? ZMQNET_EINVAL : 0) ||
        out != (row->value == BAD ? UNTOUCHED : row->value))
        fail_msg("\"%s\": rc %d, value %llu", row->text, rc, (unsigned long long)out);
}

static void numbers(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {"0", BAD},
        {"1", 1},
        {"65535", 65535},
        {"65536", BAD},
        {"007", 7},
        {"", BAD},
        {" 1", BAD},
        {"1 ", BAD},
        {"+1", BAD},
        {"-1", BAD},
        {"1x", BAD},
        {"0x10", BAD},
        {"1.0", BAD},
        {"1e3", BAD},
        {"18446744073709551616", BAD},
        {"99999999999999999999999", BAD},
        {"18446744073709551617", BAD},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        uint64_t out = UNTOUCHED;
        int rc = zn_parse_u64(rows[i].text, 1, 65535, &out);
        check(&rows[i], rc, out);
    }
}

static void largest_number_fits(void **state)
{
    (void)state;
    uint64_t out = 0;
    assert_int_equal(zn_parse_u64("18446744073709551615", 0, UINT64_MAX, &out), 0);
    assert_true(out == UINT64_MAX);
}

static void durations(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {"250us", 250},
        {"400ms", 400000},
        {"2s", 2000000},
        {"1m30s", 90000000},
        {"1h", 3600000000},
        {"0", 0},
        {"0s", 0},
        {"1h2m3s4ms5us", 3723004005},
        {"90s", 90000000},
        {"", BAD},
        {"2", BAD},
        {"s", BAD},
        {"2 s", BAD},
        {"-2s", BAD},
        {"2s ", BAD},
        {"1.5s", BAD},
        {"30s1m", BAD},
        {"1s1s", BAD},
        {"1us1ms", BAD},
        {"1s2", BAD},
        {"2S", BAD},
        {"2sec", BAD},
        {"1d", BAD},
        {"00", BAD},
        {"2u", BAD},
        {"18446744073709551615s", BAD},
        {"1s18446744073709551615us", BAD},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        uint64_t out = UNTOUCHED;
        int rc = zn_parse_duration_us(rows[i].text, &out);
        check(&rows[i], rc, out);
    }
}

static void sizes(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {"32", 32},
        {"64K", 65536},
        {"1M", 1048576},
        {"1G", 1073741824},
        {"0", 0},
        {"", BAD},
        {"K", BAD},
        {"1k", BAD},
        {"1KB", BAD},
        {"1.5K", BAD},
        {" 1", BAD},
        {"1 K", BAD},
        {"-1", BAD},
        {"18446744073709551615K", BAD},
        {"17179869184G", BAD},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        uint64_t out = UNTOUCHED;
        int rc = zn_parse_size(rows[i].text, &out);
        check(&rows[i], rc, out);
    }
}

/* The good prefix of each text is what stands before its '|', which is left out. */
static void utf8(void **state)
{
    (void)state;
    static const char *const rows[] = {
        "|",
        "plain|",
        "\xc2\x80\xdf\xbf|",
        "\xe0\xa0\x80\xed\x9f\xbf\xee\x80\x80\xef\xbf\xbf|",
        "\xf0\x90\x80\x80\xf4\x8f\xbf\xbf|",
        "a|\x80",             /* continuation alone */
        "a|\xc0\x80",         /* overlong NUL */
        "a|\xc1\xbf",         /* overlong */
        "a|\xe0\x9f\xbf",     /* overlong */
        "a|\xf0\x8f\xbf\xbf", /* overlong */
        "a|\xed\xa0\x80",     /* surrogate */
        "a|\xf4\x90\x80\x80", /* above U+10FFFF */
        "a|\xf5\x80\x80\x80",
        "a|\xff",
        "a|\xc3", /* cut off */
        "a|\xe2\x82",
        "a|\xf0\x9f\x98",
        "a|\xe2\x28\xa1", /* a continuation is missing */
        "a|\xe2\x82\x28",
        "a|\xf0\x9f\x98\x28",
        "\xc3\xa9|\xc3",
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char text[32];
        size_t good = (size_t)(strchr(rows[i], '|') - rows[i]);
        int n = snprintf(text, sizeof text, "%.*s%s", (int)good, rows[i], rows[i] + good + 1);
        if (zn_utf8_prefix(text, (size_t)n) != good)
            fail_msg("row %zu: prefix %zu, not %zu", i, zn_utf8_prefix(text, (size_t)n), good);
        assert_int_equal(zn_utf8_valid(text, (size_t)n), good == (size_t)n);
    }
    assert_true(zn_utf8_valid("a\0b", 3));
    assert_true(zn_utf8_valid(NULL, 0));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers),   cmocka_unit_test(largest_number_fits),
        cmocka_unit_test(durations), cmocka_unit_test(sizes),
        cmocka_unit_test(utf8),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
