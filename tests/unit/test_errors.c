/* SPDX-License-Identifier: MIT */
/*
 * Holds the names and texts of the public numbers: every listed error has its own name and value,
 * and a number that is in no list has the promised text. The values are part of the wire format, so
 * some are written out here.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"

struct number {
    int value;
    const char *name;
};

static const struct number errors[] = {
#define NUMBER(name, value, text) {value, #name},
    ZMQNET_ERRORS(NUMBER)
#undef NUMBER
};
#define ERRORS_N (sizeof errors / sizeof *errors)

static void errors_have_names_and_texts(void **state)
{
    (void)state;
    for (size_t i = 0; i < ERRORS_N; i++) {
        assert_string_equal(zmqnet_error_name(errors[i].value), errors[i].name);
        assert_true(strlen(zmqnet_error_text(errors[i].value)) > 3);
        assert_int_equal(errors[i].value, -(int)i - 1);
    }
    assert_string_equal(zmqnet_error_name(-1), "EINVAL");
    assert_string_equal(zmqnet_error_name(-16), "ENEVERSENT");
    assert_string_equal(zmqnet_error_text(-16), "never sent");
    assert_string_equal(zmqnet_error_name(0), "OK");
    assert_string_equal(zmqnet_error_text(0), "success");
}

static void unlisted_errors_say_so(void **state)
{
    (void)state;
    const int unlisted[] = {1, -(int)ERRORS_N - 1, INT_MAX, INT_MIN};
    for (size_t i = 0; i < sizeof unlisted / sizeof *unlisted; i++) {
        assert_string_equal(zmqnet_error_name(unlisted[i]), "EUNLISTED");
        assert_string_equal(zmqnet_error_text(unlisted[i]), "not a zmqnet error");
    }
}

static void outcomes_and_states_have_names(void **state)
{
    (void)state;
    static const char *const outcomes[] = {"?",       "self",       "acked", "refused",
                                           "unknown", "never_sent", "?"};
    static const char *const states[] = {"?",    "connecting", "up",      "down",
                                         "self", "slow",       "suspect", "?"};
    for (int i = 0; i < (int)(sizeof outcomes / sizeof *outcomes); i++)
        assert_string_equal(zmqnet_outcome_name((enum zmqnet_outcome)i), outcomes[i]);
    for (int i = 0; i < (int)(sizeof states / sizeof *states); i++)
        assert_string_equal(zmqnet_state_name((enum zmqnet_state)i), states[i]);
}

static void version_is_that_of_the_header(void **state)
{
    (void)state;
    assert_string_equal(zmqnet_version(), ZMQNET_VERSION);
}

struct record {
    int n;
    enum zmqnet_level level;
    char id[32];
    char text[600];
};

static void keep(enum zmqnet_level level, const char *id, const char *text, void *arg)
{
    struct record *r = arg;
    r->n++;
    r->level = level;
    snprintf(r->id, sizeof r->id, "%s", id);
    snprintf(r->text, sizeof r->text, "%s", text);
}

static void log_makes_records_from_its_level_on(void **state)
{
    (void)state;
    struct record r = {0};
    struct zn_log log = {.write = keep, .arg = &r, .level = ZMQNET_WARN};
    zn_log_write(&log, ZMQNET_INFO, "peer.up", "name=%s", "bravo");
    assert_int_equal(r.n, 0);
    zn_log_write(&log, ZMQNET_WARN, "peer.down", "name=%s silent_ms=%d", "bravo", 750);
    assert_int_equal(r.n, 1);
    assert_int_equal(r.level, ZMQNET_WARN);
    assert_string_equal(r.id, "peer.down");
    assert_string_equal(r.text, "name=bravo silent_ms=750");
    zn_log_write(&(struct zn_log){0}, ZMQNET_ERROR, "nobody.listens", "x=1");
    assert_int_equal(r.n, 1);
}

/* Of 511 bytes the last three are dots; a two-byte character that would be halved goes whole. */
static void log_cuts_behind_a_whole_character(void **state)
{
    (void)state;
    struct record r = {0};
    struct zn_log log = {.write = keep, .arg = &r};
    char value[1001];
    for (size_t i = 0; i < 1000; i += 2)
        memcpy(value + i, "\xc3\xa9", 2);
    value[1000] = '\0';
    zn_log_write(&log, ZMQNET_INFO, "x", "%s", value);
    assert_int_equal(strlen(r.text), 511);
    assert_string_equal(r.text + 506, "\xc3\xa9...");
    zn_log_write(&log, ZMQNET_INFO, "x", "v%s", value);
    assert_int_equal(strlen(r.text), 510);
    assert_string_equal(r.text + 505, "\xc3\xa9...");
    value[511] = '\0';
    zn_log_write(&log, ZMQNET_INFO, "x", "%s", value);
    assert_string_equal(r.text, value);
}

static void log_record_is_one_line(void **state)
{
    (void)state;
    struct record r = {0};
    struct zn_log log = {.write = keep, .arg = &r};
    zn_log_write(&log, ZMQNET_INFO, "x", "name=%s", "a\nb\033[1m\x7f");
    assert_string_equal(r.text, "name=a?b?[1m?");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(errors_have_names_and_texts),
        cmocka_unit_test(unlisted_errors_say_so),
        cmocka_unit_test(outcomes_and_states_have_names),
        cmocka_unit_test(version_is_that_of_the_header),
        cmocka_unit_test(log_makes_records_from_its_level_on),
        cmocka_unit_test(log_cuts_behind_a_whole_character),
        cmocka_unit_test(log_record_is_one_line),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
