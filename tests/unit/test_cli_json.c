/* SPDX-License-Identifier: MIT */
/*
 * Holds the JSON writer: order, commas, escaping, and bytes that are not UTF-8.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "cli/json.h"

static void nested(void **state)
{
    struct zn_text text = {0};
    struct zn_json j = {.out = &text};
    (void)state;
    zn_json_open(&j, NULL, '{');
    zn_json_u64(&j, "max", UINT64_MAX);
    zn_json_i64(&j, "min", INT64_MIN);
    zn_json_bool(&j, "ok", true);
    zn_json_open(&j, "none", '[');
    zn_json_close(&j, ']');
    zn_json_open(&j, "rows", '[');
    for (uint64_t i = 1; i <= 2; i++) {
        zn_json_open(&j, NULL, '{');
        zn_json_u64(&j, "i", i);
        zn_json_close(&j, '}');
    }
    zn_json_close(&j, ']');
    zn_json_hex(&j, "life", 0xabc);
    zn_json_close(&j, '}');
    assert_string_equal(text.bytes, "{\"max\":18446744073709551615,\"min\":-9223372036854775808,"
                                    "\"ok\":true,\"none\":[],\"rows\":[{\"i\":1},{\"i\":2}],"
                                    "\"life\":\"0000000000000abc\"}");
    zn_text_free(&text);
}

static void string_gives(const char *value, const char *want)
{
    struct zn_text text = {0};
    struct zn_json j = {.out = &text};
    zn_json_string(&j, NULL, value);
    assert_string_equal(text.bytes, want);
    zn_text_free(&text);
}

static void strings(void **state)
{
    (void)state;
    string_gives("", "\"\"");
    string_gives("a/b", "\"a/b\"");
    string_gives("say \"hi\" \\", "\"say \\\"hi\\\" \\\\\"");
    string_gives("\n\r\t\x1b\x01", "\"\\n\\r\\t\\u001b\\u0001\"");
    string_gives("\x7f", "\"\x7f\"");
    string_gives("gr\xc3\xbc\xc3\x9f", "\"gr\xc3\xbc\xc3\x9f\"");
    string_gives("al\xffpha", "\"al\\ufffdpha\"");
}

static void body_gives(const void *bytes, size_t n, const char *want)
{
    struct zn_text text = {0};
    struct zn_json j = {.out = &text};
    zn_json_body(&j, "message", bytes, n);
    assert_string_equal(text.bytes, want);
    zn_text_free(&text);
}

static void bodies(void **state)
{
    (void)state;
    body_gives("hello", 5, "\"message\":\"hello\"");
    body_gives(NULL, 0, "\"message\":\"\"");
    body_gives("a\0b", 3, "\"message\":\"a\\u0000b\"");
    body_gives("\xff", 1, "\"message_base64\":\"/w==\"");
    body_gives("\xff\x00", 2, "\"message_base64\":\"/wA=\"");
    body_gives("\xff\x00\xfe", 3, "\"message_base64\":\"/wD+\"");
    body_gives("\xff\x00\xfe\x01", 4, "\"message_base64\":\"/wD+AQ==\"");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nested),
        cmocka_unit_test(strings),
        cmocka_unit_test(bodies),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
