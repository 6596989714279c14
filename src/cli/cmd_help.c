/* SPDX-License-Identifier: MIT */
/*
 * `zmqnet help`: the summary, which fits a screen of 80 by 24; the page of one verb; and, for the
 * build, the man page. All come from the tables of options.h and exit.h.
 */
#include <stdio.h>
#include <string.h>

#include "cli/commands.h"
#include "cli/output.h"

#define COLUMNS 80
#define OPTION_COLUMNS 28 /* of an option, before what it does */

static const struct {
    const char *command, *what;
} examples[] = {
    {"zmqnet up", "run every replica of ./peers.json here"},
    {"zmqnet send -n bravo \"a test message\"", "bravo bounces it to all of them"},
    {"zmqnet status", "who reaches whom"},
};

/* "-n, --name NAME" */
static void spell_option(const struct zn_option *row, char out[64])
{
    int n = row->letter != 0 ? snprintf(out, 64, "-%c, ", row->letter) : snprintf(out, 64, "    ");
    snprintf(out + n, 64 - (size_t)n, "--%s%s%s", row->name, row->values != NULL ? " " : "",
             row->values != NULL ? row->values : "");
}

static bool is_shown(const struct zn_option *row, enum zn_verb verb, bool common)
{
    return row->help != NULL && (row->verbs & 1u << verb) &&
           (row->verbs == ZN_EVERY_VERB) == common;
}

/* ---- pages for the terminal --------------------------------------------------------------- */

static void put_common_line(struct zn_text *out)
{
    size_t column = (size_t)snprintf(NULL, 0, "Everywhere:");
    zn_text_add(out, "Everywhere:");
    for (size_t i = 0; i < zn_option_rows_n; i++) {
        const struct zn_option *row = &zn_option_rows[i];
        char word[64];
        if (!is_shown(row, ZN_VERB_help, true))
            continue;
        int n = snprintf(word, sizeof word, " %.*s%s--%s%s%s", row->letter != 0 ? 2 : 0,
                         (char[]){'-', row->letter}, row->letter != 0 ? "/" : "", row->name,
                         row->values != NULL ? " " : "", row->values != NULL ? row->values : "");
        if (column + (size_t)n >= COLUMNS) {
            zn_text_add(out, "\n           ");
            column = 11;
        }
        zn_text_add(out, word);
        column += (size_t)n;
    }
    zn_text_add(out, "\n");
}

void zn_help_summary(struct zn_text *out)
{
    for (size_t i = 0; i < sizeof examples / sizeof examples[0]; i++)
        zn_text_printf(out, "  %-38s %s\n", examples[i].command, examples[i].what);
    zn_text_add(out, "\nUse: zmqnet [-p peers.json] VERB [options] [arguments]\n\n");
    for (size_t v = 0; v < ZN_VERBS_N; v++)
        zn_text_printf(out, "  %-11s %s\n", zn_verbs[v].name, zn_verbs[v].help);
    zn_text_add(out, "\n");
    put_common_line(out);
    zn_text_add(out, "Every option may also come from the environment, as ZMQNET_SOME_FLAG.\n"
                     "zmqnet help VERB shows the options of a verb; man zmqnet has it all.\n");
}

static void put_options(struct zn_text *out, enum zn_verb verb, bool common)
{
    for (size_t i = 0; i < zn_option_rows_n; i++) {
        const struct zn_option *row = &zn_option_rows[i];
        char spelled[64];
        if (!is_shown(row, verb, common))
            continue;
        spell_option(row, spelled);
        bool fits = strlen(spelled) <= OPTION_COLUMNS;
        zn_text_printf(out, "  %-*s%s", OPTION_COLUMNS, spelled, fits ? " " : "\n");
        zn_text_printf(out, "%*s%s", fits ? 0 : OPTION_COLUMNS + 3, "", row->help);
        if (row->initial != NULL)
            zn_text_printf(out, " (%s)", row->initial);
        zn_text_add(out, "\n");
    }
}

static const char pattern_notes[] =
    "\nPatterns between replicas; clients are the same for all of them:\n"
    "  router  Any number of requests to a peer at once. Keeps every promise.\n"
    "  reqrep  One request to a peer at a time: behind a slow one the others wait. What\n"
    "          is answered after a newer question is lost, and not counted as late. Works\n"
    "          together with router, and with replicas of the original program.\n"
    "  pubsub  One publication reaches all peers; what a peer misses is sent again. Has\n"
    "          two more ports, \"ports\": {\"pub\": N, \"ack\": N} in the peers file. What a\n"
    "          stranger subscribes to is kept without a limit; it can read along, and\n"
    "          answer in the name of a peer.\n";

/* What stands below the options of a verb. */
static const char *const notes[ZN_VERBS_N] = {
    [ZN_VERB_serve] = pattern_notes,
    [ZN_VERB_up] = pattern_notes,
    [ZN_VERB_send] =
        "\nA MESSAGE of -, or none when standard input is no terminal, is all of standard\n"
        "input, byte for byte.\n",
    [ZN_VERB_bench] =
        "\nA closed loop sends the next message when one is answered. With --rate each is\n"
        "due by the clock, and its time counts from then. Times are of messages that got\n"
        "their quorum; all others are failed, and so is one that is due while its client\n"
        "has --inflight open. First ack, majority and all come from the rtt_us of the\n"
        "receipts: what the coordinator saw from its first sending, itself at 0; all only\n"
        "of receipts that have all. cpu_us_per_op is this command's, not the replicas'.\n"
        "Quantiles are right to 1 in 256.\n"
        "--compare matches runs of the same options, which should be made in turns, and\n"
        "judges throughput, p50 and p99 by a Mann-Whitney test at 5 %; that takes four\n"
        "runs of each. Exit code 9: B is worse by more than the tolerance.\n",
};

static void put_verb_page(struct zn_text *out, enum zn_verb verb)
{
    const struct zn_verb_row *row = &zn_verbs[verb];
    zn_text_printf(out, "zmqnet %s [options]%s%s\n%s\n\n", row->name, row->args[0] ? " " : "",
                   row->args, row->help);
    size_t before = out->n;
    put_options(out, verb, false);
    if (out->n > before)
        zn_text_add(out, "\n");
    put_options(out, verb, true);
    if (notes[verb])
        zn_text_add(out, notes[verb]);
}

/* ---- the man page ------------------------------------------------------------------------- */

/* Text as troff source: '-' stands for itself, and nothing is read as a request. */
static void man_text(struct zn_text *out, const char *s)
{
    if (*s == '.' || *s == '\'')
        zn_text_add(out, "\\&");
    for (; *s != '\0'; s++) {
        if (*s == '-')
            zn_text_add(out, "\\-");
        else if (*s == '\\')
            zn_text_add(out, "\\e");
        else
            zn_text_bytes(out, s, 1);
    }
}

static void man_tagged(struct zn_text *out, const char *tag, const char *text)
{
    zn_text_add(out, ".TP\n.B ");
    man_text(out, tag);
    zn_text_add(out, "\n");
    man_text(out, text);
    zn_text_add(out, "\n");
}

static void man_options(struct zn_text *out, enum zn_verb verb, bool common)
{
    for (size_t i = 0; i < zn_option_rows_n; i++) {
        const struct zn_option *row = &zn_option_rows[i];
        char spelled[64], text[256];
        if (!is_shown(row, verb, common))
            continue;
        spell_option(row, spelled);
        snprintf(text, sizeof text, "%s%s%s%s.", row->help,
                 row->initial != NULL ? " (default: " : "",
                 row->initial != NULL ? row->initial : "", row->initial != NULL ? ")" : "");
        man_tagged(out, spelled + strspn(spelled, " "), text);
    }
}

static void man_verbs(struct zn_text *out)
{
    zn_text_add(out, ".SH COMMANDS\n");
    for (enum zn_verb v = 0; v < ZN_VERBS_N; v++) {
        zn_text_add(out, ".SS ");
        man_text(out, zn_verbs[v].name);
        zn_text_printf(out, " %s\n", zn_verbs[v].args);
        man_text(out, zn_verbs[v].help);
        zn_text_add(out, ".\n");
        man_options(out, v, false);
        if (!notes[v])
            continue;
        zn_text_add(out, ".PP\n.nf\n");
        man_text(out, notes[v] + 1);
        zn_text_add(out, ".fi\n");
    }
}

static void man_environment(struct zn_text *out)
{
    zn_text_add(out, ".SH ENVIRONMENT\n"
                     "Every option may come from a variable; the command line wins.\n");
    for (size_t i = 0; i < zn_option_rows_n; i++) {
        const struct zn_option *row = &zn_option_rows[i];
        char name[ZN_OPTION_VARIABLE_MAX], text[64];
        bool again = i > 0 && strcmp(row->name, zn_option_rows[i - 1].name) == 0;
        if (!zn_option_has_variable(row) || again)
            continue;
        zn_option_variable(row, name);
        snprintf(text, sizeof text, "as --%s.", row->name);
        man_tagged(out, name, text);
    }
    man_tagged(out, "PEERS_PATH", "the peers file, if neither --peers nor ZMQNET_PEERS names one.");
    man_tagged(out, "NO_COLOR", "if not empty: no colour.");
    man_tagged(out, "NOTIFY_SOCKET",
               "serve and up tell it when they are ready, as sd_notify(3) says.");
}

static void man_exits(struct zn_text *out)
{
    static const struct {
        int value;
        const char *text;
    } exits[] = {
#define ZN_EXIT_ROW(name, value, text) {value, text},
        ZN_EXITS(ZN_EXIT_ROW)
#undef ZN_EXIT_ROW
    };
    zn_text_add(out, ".SH EXIT STATUS\n");
    for (size_t i = 0; i < sizeof exits / sizeof exits[0]; i++) {
        char value[16], text[128];
        snprintf(value, sizeof value, "%d", exits[i].value);
        snprintf(text, sizeof text, "%s.", exits[i].text);
        man_tagged(out, value, text);
    }
}

static void put_man_page(struct zn_text *out)
{
    zn_text_add(out, ".TH ZMQNET 1 \"\" \"zmqnet " ZMQNET_VERSION "\" \"User commands\"\n"
                     ".SH NAME\nzmqnet \\- every replica asks every other one, over ZeroMQ\n"
                     ".SH SYNOPSIS\n.B zmqnet\n[\\-p peers.json] VERB [options] [arguments]\n"
                     ".SH DESCRIPTION\n"
                     "Runs and asks a fully connected mesh of replicas, without a broker.\n"
                     "Results go to standard output, everything else to standard error.\n"
                     "Options may stand before or after the verb; \\-\\- ends them.\n"
                     "Durations are written like 250us, 400ms, 2s or 1m30s.\n");
    man_verbs(out);
    zn_text_add(out, ".SH COMMON OPTIONS\n");
    man_options(out, ZN_VERB_help, true);
    man_environment(out);
    zn_text_add(out, ".SH FILES\n");
    man_tagged(out, "peers.json",
               "who there is: a JSON object with a list \"replicas\", each with "
               "name, and address or ipaddr and port.");
    man_exits(out);
    zn_text_add(out, ".SH EXAMPLES\n");
    for (size_t i = 0; i < sizeof examples / sizeof examples[0]; i++)
        man_tagged(out, examples[i].command, examples[i].what);
}

int zn_cmd_help(const struct zn_options *o)
{
    struct zn_text out = {0};
    struct zn_problem problem;
    enum zn_verb verb = o->args_n > 0 ? zn_verb_find(o->args[0]) : ZN_VERBS_N;
    if (o->args_n > 0 && verb == ZN_VERBS_N) {
        zn_verb_unknown(o->args[0], &problem);
        return zn_problem_report(&problem, o->json);
    }
    if (o->man)
        put_man_page(&out);
    else if (verb < ZN_VERBS_N)
        put_verb_page(&out, verb);
    else
        zn_help_summary(&out);
    zn_output_page(&out, o->json);
    return 0;
}
