/* SPDX-License-Identifier: MIT */
/*
 * Holds text for people: escaping for terminals, durations, ids, columns; and the prefixer, which
 * puts a name before each line of a stream however it is cut.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "cli/prefix.h"
#include "cli/text.h"

static void gives(struct zn_text *text, const char *want)
{
    assert_false(text->failed);
    assert_string_equal(text->n > 0 ? text->bytes : "", want);
    zn_text_free(text);
}

static void escaping(void **state)
{
    struct zn_text t = {0};
    (void)state;
    zn_text_escaped(&t, "plain \\ gr\xc3\xbc\xc3\x9f", 14);
    gives(&t, "plain \\ gr\xc3\xbc\xc3\x9f");
    zn_text_escaped(&t, "a\nb\rc\td", 7);
    gives(&t, "a\\nb\\rc\\td");
    zn_text_escaped(&t, "\x1b[31m\x7f\0", 7);
    gives(&t, "\\x1b[31m\\x7f\\x00");
    zn_text_escaped(&t,
                    "\xc2\x9b"
                    "31m\xc2\xa0",
                    7);
    gives(&t, "\\xc2\\x9b31m\xc2\xa0");
    zn_text_escaped(&t, "\xc3\xbc\xff", 3);
    gives(&t, "\\xc3\\xbc\\xff");
    zn_text_escaped(&t, NULL, 0);
    gives(&t, "");
}

static void durations(void **state)
{
    static const struct {
        uint64_t us;
        const char *text;
    } rows[] = {
        {0, "0.0 ms"},           {812, "0.8 ms"},           {1904, "1.9 ms"},
        {999940, "999.9 ms"},    {1000000, "1.0 s"},        {12345678, "12.3 s"},
        {250000000, "4 m 10 s"}, {12000000000, "3 h 20 m"},
    };
    struct zn_text t = {0};
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        zn_text_duration(&t, rows[i].us);
        gives(&t, rows[i].text);
    }
}

static void ids(void **state)
{
    char id[ZN_ID_TEXT_MAX];
    (void)state;
    zn_id_format((struct zmqnet_id){0x8f3c21d09ab4e671, 1}, id);
    assert_string_equal(id, "8f3c21d09ab4e671-1");
    zn_id_format((struct zmqnet_id){1, UINT64_MAX}, id);
    assert_string_equal(id, "0000000000000001-18446744073709551615");
}

static void columns(void **state)
{
    struct zn_table table = {0};
    struct zn_text t = {0};
    (void)state;
    zn_table_cell(&table, "alpha");
    zn_table_cell(&table, "acked");
    zn_table_cell(&table, "0.8 ms");
    zn_table_end_row(&table);
    zn_table_cell(&table, "charlie");
    zn_table_cell(&table, "never sent");
    zn_table_cell(&table, "a long cause that widens nothing");
    zn_table_end_row(&table);
    zn_table_cell(&table, "bo");
    zn_table_cell(&table, "self");
    zn_table_end_row(&table);
    zn_table_print(&table, "  ", &t);
    gives(&t, "  alpha    acked       0.8 ms\n"
              "  charlie  never sent  a long cause that widens nothing\n"
              "  bo       self\n");
    zn_table_print(&table, "  ", &t);
    gives(&t, "");
}

/* What a replica says of itself and of others stands in cells. */
static void cells_steer_nothing(void **state)
{
    struct zn_table table = {0};
    struct zn_text t = {0};
    (void)state;
    zn_table_cell(&table, "%s", "a\tb\nc");
    zn_table_cell(&table, "%s", "\x1b[31m");
    zn_table_end_row(&table);
    zn_table_print(&table, "", &t);
    gives(&t, "a\\tb\\nc  \\x1b[31m\n");
}

static void lines_in_any_pieces(void **state)
{
    const char *stream = "one\n\ntwo three\nrest";
    size_t n = strlen(stream);
    (void)state;
    for (size_t piece = 1; piece <= n; piece++) {
        struct zn_prefix p = {.prefix = "bo | "};
        struct zn_text t = {0};
        for (size_t i = 0; i < n; i += piece)
            zn_prefix_feed(&p, stream + i, n - i < piece ? n - i : piece, &t);
        assert_int_equal(p.lines, 3);
        gives(&t, "bo | one\nbo | \nbo | two three\n");
        zn_prefix_end(&p, &t);
        gives(&t, "bo | rest\n");
        zn_prefix_end(&p, &t);
        gives(&t, "");
    }
}

static void endless_line(void **state)
{
    static char chunk[1 << 20];
    struct zn_prefix p = {.prefix = ""};
    struct zn_text t = {0};
    (void)state;
    memset(chunk, 'x', sizeof chunk);
    for (size_t fed = 0; fed <= ZN_PREFIX_LINE_MAX; fed += sizeof chunk)
        zn_prefix_feed(&p, chunk, sizeof chunk, &t);
    assert_int_equal(p.lines, 1);
    assert_int_equal(t.n, (size_t)ZN_PREFIX_LINE_MAX + 1);
    assert_true(p.part.n < sizeof chunk);
    zn_text_free(&t);
    zn_text_free(&p.part);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(escaping),
        cmocka_unit_test(durations),
        cmocka_unit_test(ids),
        cmocka_unit_test(columns),
        cmocka_unit_test(cells_steer_nothing),
        cmocka_unit_test(lines_in_any_pieces),
        cmocka_unit_test(endless_line),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
