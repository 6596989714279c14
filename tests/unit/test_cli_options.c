/* SPDX-License-Identifier: MIT */
/*
 * Holds the command line: where options may stand, where their values come from, what is said about
 * wrong ones, and what the parser relies on in the option table.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "cli/options.h"
#include "zmqnet.h"

#define WORDS_MAX 16

static const char *const *environment; /* name, value, ..., NULL */

static char *variable(const char *name)
{
    for (size_t i = 0; environment != NULL && environment[i] != NULL; i += 2)
        if (strcmp(environment[i], name) == 0)
            return (char *)environment[i + 1];
    return NULL;
}

/* Parse a line whose words are separated by one blank; they stay valid until the next call. */
static int parse(const char *line, struct zn_options *o, struct zn_problem *problem)
{
    static char text[256], *argv[WORDS_MAX + 1];
    int argc = 0;
    snprintf(text, sizeof text, "%s", line);
    argv[argc++] = (char *)"zmqnet";
    for (char *p = text; *p != '\0' && argc < WORDS_MAX;) {
        argv[argc++] = p;
        p += strcspn(p, " ");
        if (*p != '\0')
            *p++ = '\0';
    }
    argv[argc] = NULL;
    memset(problem, 0, sizeof *problem);
    return zn_options_parse(argc, argv, variable, o, problem);
}

static struct zn_options good(const char *line)
{
    struct zn_options o;
    struct zn_problem problem;
    if (parse(line, &o, &problem) != 0)
        fail_msg("%s: %s", line, problem.message);
    return o;
}

/* What is said about a line that is wrong; each of the texts stands in it. */
static void bad(const char *line, const char *first, const char *second)
{
    struct zn_options o;
    struct zn_problem problem;
    char said[sizeof problem.message + sizeof problem.hint];
    if (parse(line, &o, &problem) != ZN_EXIT_USAGE)
        fail_msg("%s: not refused", line);
    snprintf(said, sizeof said, "%s; %s", problem.message, problem.hint);
    if (strstr(said, first) == NULL || strstr(said, second) == NULL)
        fail_msg("%s: said \"%s\"", line, said);
}

static void options_stand_anywhere(void **state)
{
    static const char *const lines[] = {
        "-p f.json -n alpha serve",        "serve -n alpha -p f.json",
        "-p f.json serve -n alpha",        "--peers=f.json serve --name alpha",
        "serve -nalpha --peers f.json",    "-pf.json -n=alpha serve",
        "serve --name=alpha -p f.json --",
    };
    (void)state;
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        struct zn_options o = good(lines[i]);
        assert_int_equal(o.verb, ZN_VERB_serve);
        assert_string_equal(o.name, "alpha");
        assert_string_equal(o.peers, "f.json");
        assert_int_equal(o.args_n, 0);
    }
}

static void words_keep_their_order(void **state)
{
    (void)state;
    struct zn_options o = good("-v send one -n alpha two - -vv -- --json -n");
    assert_int_equal(o.verb, ZN_VERB_send);
    assert_int_equal(o.args_n, 5);
    assert_string_equal(o.args[0], "one");
    assert_string_equal(o.args[1], "two");
    assert_string_equal(o.args[2], "-");
    assert_string_equal(o.args[3], "--json");
    assert_string_equal(o.args[4], "-n");
    assert_int_equal(o.verbose, 3);
    assert_false(o.json);
}

static void defaults_belong_to_the_verb(void **state)
{
    (void)state;
    struct zn_options o = good("send");
    assert_int_equal(o.timeout_us, 2000000);
    assert_int_equal(o.retries, 3);
    assert_int_equal(o.delay_us, 0);
    assert_int_equal(o.quorum, ZMQNET_QUORUM_ALL);
    assert_int_equal(o.verbosity, 2);
    assert_string_equal(o.peers, "peers.json");
    assert_null(o.name);
    assert_int_equal(good("wait").timeout_us, 10000000);
    assert_string_equal(good("serve").pattern, "router");
}

static void values(void **state)
{
    (void)state;
    struct zn_options o = good("send -t 1m30s -r 5 -d 250us -q majority --to bravo --verbosity 0");
    assert_int_equal(o.timeout_us, 90000000);
    assert_int_equal(o.retries, 5);
    assert_int_equal(o.delay_us, 250);
    assert_int_equal(o.quorum, ZMQNET_QUORUM_MAJORITY);
    assert_string_equal(o.to, "bravo");
    assert_int_equal(o.verbosity, 0);
    assert_int_equal(good("send -q 2").quorum, 2);
    assert_int_equal(good("send -q 2 -q all").quorum, ZMQNET_QUORUM_ALL);
}

static void values_of_bench(void **state)
{
    (void)state;
    struct zn_options o = good("bench -n alpha --name=bravo -d 2s -c 27 -s 64K --tolerance 7%");
    assert_int_equal(o.names.n, 2);
    assert_string_equal(o.names.at[0], "alpha");
    assert_string_equal(o.names.at[1], "bravo");
    assert_int_equal(o.duration_us, 2000000);
    assert_int_equal(o.delay_us, 0);
    assert_int_equal(o.clients, 27);
    assert_int_equal(o.size, 65536);
    assert_int_equal(o.tolerance, 7);
    o = good("bench -s0 --tolerance 12 -Xo x.json --compare a b");
    assert_int_equal(o.names.n, 0);
    assert_int_equal(o.size, 0);
    assert_int_equal(o.tolerance, 12);
    assert_int_equal(o.inflight, 0);
    assert_int_equal(o.rate, 0);
    assert_true(o.disabled && o.compare);
    assert_string_equal(o.results, "x.json");
    assert_int_equal(o.args_n, 2);
    assert_string_equal(good("bench").results, "results.json");
}

static void environment_is_weaker(void **state)
{
    static const char *const set[] = {
        "ZMQNET_NAME",
        "bravo",
        "ZMQNET_TIMEOUT",
        "5s",
        "ZMQNET_NO_COLOR",
        "1",
        "ZMQNET_JSON",
        "false",
        "ZMQNET_RETRIES",
        "",
        "ZMQNET_UPTIME",
        "nonsense",
        "ZMQNET_VERBOSE",
        "2",
        "PEERS_PATH",
        "here.json",
        "ZMQNET_HELP",
        "1",
        NULL,
    };
    (void)state;
    environment = set;
    struct zn_options o = good("send");
    assert_string_equal(o.name, "bravo");
    assert_int_equal(o.timeout_us, 5000000);
    assert_true(o.no_color);
    assert_false(o.json);
    assert_int_equal(o.retries, 3);
    assert_int_equal(o.verbose, 2);
    assert_string_equal(o.peers, "here.json");
    o = good("send -n alpha -t 1s -p there.json");
    assert_string_equal(o.name, "alpha");
    assert_int_equal(o.timeout_us, 1000000);
    assert_string_equal(o.peers, "there.json");
    /* Of another verb, and wrong: only that verb minds, and only if the option is not given. */
    bad("serve", "ZMQNET_UPTIME", "nonsense");
    assert_int_equal(good("serve -u 1s").uptime_us, 1000000);
    assert_int_equal(good("send -v").verbose, 1);
    environment = NULL;
}

static void peers_variables(void **state)
{
    static const char *const set[] = {"PEERS_PATH", "a.json", "ZMQNET_PEERS", "b.json", NULL};
    (void)state;
    environment = set;
    assert_string_equal(good("check").peers, "b.json");
    environment = NULL;
}

static void help_is_a_command(void **state)
{
    (void)state;
    struct zn_options o = good("send --help");
    assert_int_equal(o.verb, ZN_VERB_help);
    assert_int_equal(o.args_n, 1);
    assert_string_equal(o.args[0], "send");
    assert_int_equal(good("-h").args_n, 0);
    assert_int_equal(good("--help").verb, ZN_VERB_help);
    assert_int_equal(good("completion -h").verb, ZN_VERB_help);
}

static void version_is_a_command(void **state)
{
    (void)state;
    assert_int_equal(good("--version").verb, ZN_VERB_version);
    assert_int_equal(good("-V").verb, ZN_VERB_version);
    struct zn_options o = good("send hello --version --json");
    assert_int_equal(o.verb, ZN_VERB_version);
    assert_int_equal(o.args_n, 0);
    assert_true(o.json);
}

static void flags_can_be_turned_off(void **state)
{
    static const char *const set[] = {"ZMQNET_JSON", "1", "ZMQNET_QUORUM", "2", NULL};
    (void)state;
    environment = set;
    assert_true(good("send").json);
    assert_false(good("send --json=0").json);
    assert_false(good("send --json --json=off").json);
    assert_int_equal(good("send --help=0 x").verb, ZN_VERB_send);
    assert_false(good("send").quorum_given);
    assert_true(good("send -q all").quorum_given);
    environment = NULL;
}

static void wrong_lines(void **state)
{
    (void)state;
    bad("sned", "unknown command sned", "send");
    bad("stat", "unknown command stat", "status");
    bad("pigeon", "unknown command pigeon", "zmqnet help");
    bad("-v", "command is missing", "zmqnet help");
    bad("send --timeot 2s", "--timeot", "--timeout");
    bad("send --zzzzzz", "--zzzzzz", "zmqnet help send");
    bad("send -x", "-x", "unknown");
    bad("send -vx", "-x", "unknown");
    bad("serve --to bravo", "--to does not belong to serve", "send");
    bad("check -r 3", "-r/--retries does not belong to check", "send");
    bad("send -n", "-n/--name needs a value", "NAME");
    bad("send --name", "--name needs a value", "NAME");
    bad("send --name=", "--name", "not allowed");
    bad("send --json=maybe", "--json: \"maybe\"", "1 or 0");
    bad("send --verbose=loud", "--verbose", "a number");
    bad("send -t 2x", "--timeout: \"2x\"", "400ms");
    bad("send -t 0", "--timeout", "above 0");
    bad("send -r 0", "--retries", "1 to 100");
    bad("send -r 101", "--retries", "1 to 100");
    bad("send -q most", "--quorum", "all, majority");
    bad("send -q 0", "--quorum", "a number from 1 to N");
    bad("serve --pattern pigeon", "pigeon", "router");
    bad("--verbosity 5 help", "--verbosity", "0 to 4");
    bad("bench -d 2x", "-d/--duration: \"2x\"", "400ms");
    bad("bench -d", "-d/--duration needs a value", "DUR");
    bad("bench -s 1k", "-s/--size: \"1k\"", "64K");
    bad("bench -s 17M", "-s/--size", "16777216");
    bad("bench --tolerance 5%%", "--tolerance", "100%");
    bad("bench --tolerance 123456789", "--tolerance", "100%");
    bad("bench a b c", "\"c\"", "one argument too many");
    bad("status extra", "\"extra\"", "one argument too many");
    bad("completion", "needs an argument", "bash|zsh|fish");
}

static void json_is_known_in_every_error(void **state)
{
    static const char *const lines[] = {"--json sned",       "sned --json", "send --bogus --json",
                                        "send --json -t 2x", "--json",      "send -t 2x --json"};
    static const char *const set[] = {"ZMQNET_JSON", "1", NULL};
    struct zn_options o;
    struct zn_problem problem;
    (void)state;
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        assert_int_equal(parse(lines[i], &o, &problem), ZN_EXIT_USAGE);
        assert_true(o.json);
    }
    assert_int_equal(parse("send -t 2x", &o, &problem), ZN_EXIT_USAGE);
    assert_false(o.json);
    assert_int_equal(parse("send -t 2x -- --json", &o, &problem), ZN_EXIT_USAGE);
    assert_false(o.json);
    environment = set;
    assert_int_equal(parse("sned", &o, &problem), ZN_EXIT_USAGE);
    assert_true(o.json);
    environment = NULL;
}

/* Two rows that one word of the command line may mean. */
static void check_pair(const struct zn_option *a, const struct zn_option *b)
{
    bool same_name = strcmp(a->name, b->name) == 0;
    bool same_letter = a->letter != 0 && a->letter == b->letter;
    if (!same_name && !same_letter)
        return;
    if (zn_option_takes_value(a) != zn_option_takes_value(b))
        fail_msg("--%s and --%s: one takes a value, one does not", a->name, b->name);
    if (a->verbs & b->verbs)
        fail_msg("--%s and --%s: a verb has both", a->name, b->name);
}

static void the_table_is_consistent(void **state)
{
    (void)state;
    for (size_t i = 0; i < zn_option_rows_n; i++) {
        const struct zn_option *row = &zn_option_rows[i];
        bool flag = row->kind == ZN_OPTION_FLAG || row->kind == ZN_OPTION_COUNT;
        assert_int_equal(zn_option_takes_value(row), !flag);
        assert_true(row->verbs != 0 && (row->verbs & ~ZN_EVERY_VERB) == 0);
        assert_true(strlen(row->name) + strlen("ZMQNET_") < ZN_OPTION_VARIABLE_MAX);
        for (size_t k = 0; k < i; k++)
            check_pair(&zn_option_rows[k], row);
    }
    for (size_t v = 0; v < ZN_VERBS_N; v++)
        assert_int_equal(zn_verb_find(zn_verbs[v].name), v);
}

static void variables(void **state)
{
    char name[ZN_OPTION_VARIABLE_MAX];
    (void)state;
    zn_option_variable(&(struct zn_option){.name = "no-color"}, name);
    assert_string_equal(name, "ZMQNET_NO_COLOR");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(options_stand_anywhere),
        cmocka_unit_test(words_keep_their_order),
        cmocka_unit_test(defaults_belong_to_the_verb),
        cmocka_unit_test(values),
        cmocka_unit_test(values_of_bench),
        cmocka_unit_test(environment_is_weaker),
        cmocka_unit_test(peers_variables),
        cmocka_unit_test(help_is_a_command),
        cmocka_unit_test(version_is_a_command),
        cmocka_unit_test(flags_can_be_turned_off),
        cmocka_unit_test(wrong_lines),
        cmocka_unit_test(json_is_known_in_every_error),
        cmocka_unit_test(the_table_is_consistent),
        cmocka_unit_test(variables),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
