/* SPDX-License-Identifier: MIT */
/*
 * `zmqnet completion bash|zsh|fish`: a script for the shell, written from the tables of options.h.
 *
 * Each script finds the verb on the command line and offers its options; without one, the verbs.
 * The values of choices, quorums and file names are offered where an option takes one.
 */
#include <string.h>

#include "cli/commands.h"
#include "cli/output.h"

static bool offered(const struct zn_option *row, enum zn_verb verb)
{
    return row->help != NULL && (row->verbs & 1u << verb);
}

/* The fixed values of a row, separated by blanks; nothing if it takes any text. */
static void put_values(struct zn_text *out, const struct zn_option *row)
{
    if (row->kind == ZN_OPTION_QUORUM)
        zn_text_add(out, "all majority");
    for (const char *p = row->values; row->kind == ZN_OPTION_CHOICE && *p != '\0'; p++)
        zn_text_bytes(out, *p == '|' ? " " : p, 1);
}

static void put_verbs(struct zn_text *out)
{
    for (size_t v = 0; v < ZN_VERBS_N; v++)
        zn_text_printf(out, "%s%s", v > 0 ? " " : "", zn_verbs[v].name);
}

static void put_options_of(struct zn_text *out, enum zn_verb verb)
{
    for (size_t i = 0; i < zn_option_rows_n; i++)
        if (offered(&zn_option_rows[i], verb))
            zn_text_printf(out, " --%s", zn_option_rows[i].name);
}

/* The words that may follow a verb: "bash|zsh|fish", or the verbs. */
static void put_words_of(struct zn_text *out, enum zn_verb verb)
{
    if (verb == ZN_VERB_help)
        put_verbs(out);
    for (const char *p = zn_verbs[verb].args; verb == ZN_VERB_completion && *p != '\0'; p++)
        zn_text_bytes(out, *p == '|' ? " " : p, 1);
}

/* ---- bash, and zsh through its own compadd ------------------------------------------------ */

/* "    --quorum|-q) values='all majority' ;;" for every option that takes a value. */
static void put_value_cases(struct zn_text *out)
{
    for (size_t i = 0; i < zn_option_rows_n; i++) {
        const struct zn_option *row = &zn_option_rows[i];
        bool again = i > 0 && strcmp(row->name, zn_option_rows[i - 1].name) == 0;
        if (row->help == NULL || !zn_option_takes_value(row) || again)
            continue;
        zn_text_printf(out, "        --%s", row->name);
        if (row->letter != 0)
            zn_text_printf(out, "|-%c", row->letter);
        zn_text_printf(out, ") kind='%s'; values='",
                       strcmp(row->values, "FILE") == 0 ? "file" : "value");
        put_values(out, row);
        zn_text_add(out, "' ;;\n");
    }
}

static void put_verb_cases(struct zn_text *out)
{
    for (enum zn_verb v = 0; v < ZN_VERBS_N; v++) {
        zn_text_printf(out, "        %s) offer='", zn_verbs[v].name);
        put_words_of(out, v);
        zn_text_add(out, "'; options='");
        put_options_of(out, v);
        zn_text_add(out, "' ;;\n");
    }
}

/* Sets kind, values, offer and options from the words up to the cursor; both shells read it. */
static void put_finder(struct zn_text *out, const char *function)
{
    zn_text_printf(out,
                   "%s() {\n    local previous=$1 word verb=''\n    shift\n"
                   "    kind='' values='' offer='' options=''\n    case $previous in\n",
                   function);
    put_value_cases(out);
    zn_text_add(out, "    esac\n    for word in \"$@\"; do\n        case $word in\n        ");
    for (size_t v = 0; v < ZN_VERBS_N; v++)
        zn_text_printf(out, "%s%s", v > 0 ? "|" : "", zn_verbs[v].name);
    zn_text_add(out, ") verb=$word; break ;;\n        esac\n    done\n    case $verb in\n");
    put_verb_cases(out);
    zn_text_add(out, "        *) offer='");
    put_verbs(out);
    zn_text_add(out, "'; options='");
    for (size_t i = 0; i < zn_option_rows_n; i++)
        if (zn_option_rows[i].help != NULL && zn_option_rows[i].verbs == ZN_EVERY_VERB)
            zn_text_printf(out, " --%s", zn_option_rows[i].name);
    zn_text_add(out, "' ;;\n    esac\n}\n");
}

static void put_bash(struct zn_text *out)
{
    zn_text_add(out, "# bash completion for zmqnet\n");
    put_finder(out, "_zmqnet_find");
    zn_text_add(
        out,
        "_zmqnet() {\n"
        "    local kind values offer options joined=''\n"
        "    local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD-1]}\n"
        "    if [[ $current == = ]]; then\n"
        "        current=''\n"
        "    elif [[ $previous == = ]]; then\n"
        "        previous=${COMP_WORDS[COMP_CWORD-2]}\n"
        "    elif [[ $current == --*=* ]]; then\n"
        "        previous=${current%%=*} joined=${current%%=*}= current=${current#*=}\n"
        "    fi\n"
        "    _zmqnet_find \"$previous\" \"${COMP_WORDS[@]:1:COMP_CWORD-1}\"\n"
        "    if [[ $kind == file ]]; then\n"
        "        compopt -o filenames 2>/dev/null\n"
        "        mapfile -t COMPREPLY < <(compgen -P \"$joined\" -f -- \"$current\")\n"
        "    elif [[ $kind == value ]]; then\n"
        "        mapfile -t COMPREPLY < <(compgen -P \"$joined\" -W \"$values\" -- \"$current\")\n"
        "    elif [[ $current == -* ]]; then\n"
        "        mapfile -t COMPREPLY < <(compgen -W \"$options\" -- \"$current\")\n"
        "    else\n"
        "        mapfile -t COMPREPLY < <(compgen -W \"$offer\" -- \"$current\")\n"
        "    fi\n"
        "}\n"
        "complete -F _zmqnet zmqnet\n");
}

static void put_zsh(struct zn_text *out)
{
    zn_text_add(out, "#compdef zmqnet\n");
    put_finder(out, "_zmqnet_find");
    /* `words` is the command line in zsh, and what compadd compares with: nothing may hide it. */
    zn_text_add(
        out,
        "_zmqnet() {\n"
        "    local -a line=(\"${(@)words[2,CURRENT-1]}\")\n"
        "    local previous=${words[CURRENT-1]} current=${words[CURRENT]}\n"
        "    local kind values offer options\n"
        "    _zmqnet_find \"$previous\" \"${line[@]}\"\n"
        "    if [[ $kind == file ]]; then\n"
        "        _files\n"
        "    elif [[ $kind == value ]]; then\n"
        "        compadd -- ${=values}\n"
        "    elif [[ $current == -* ]]; then\n"
        "        compadd -- ${=options}\n"
        "    else\n"
        "        compadd -- ${=offer}\n"
        "    fi\n"
        "}\n"
        "if [[ ${funcstack[1]} == _zmqnet ]]; then _zmqnet; else compdef _zmqnet zmqnet; fi\n");
}

/* ---- fish --------------------------------------------------------------------------------- */

/* In single quotes. */
static void put_quoted(struct zn_text *out, const char *s)
{
    zn_text_add(out, "'");
    for (; *s != '\0'; s++) {
        if (*s == '\'' || *s == '\\')
            zn_text_add(out, "\\");
        zn_text_bytes(out, s, 1);
    }
    zn_text_add(out, "'");
}

static void put_fish_option(struct zn_text *out, const struct zn_option *row)
{
    zn_text_add(out, "complete -c zmqnet");
    if (row->verbs != ZN_EVERY_VERB) {
        zn_text_add(out, " -n '__fish_seen_subcommand_from");
        for (size_t v = 0; v < ZN_VERBS_N; v++)
            if (row->verbs & 1u << v)
                zn_text_printf(out, " %s", zn_verbs[v].name);
        zn_text_add(out, "'");
    }
    zn_text_printf(out, " -l %s", row->name);
    if (row->letter != 0)
        zn_text_printf(out, " -s %c", row->letter);
    if (zn_option_takes_value(row))
        zn_text_add(out, strcmp(row->values, "FILE") == 0 ? " -r -F" : " -x -a '");
    if (zn_option_takes_value(row) && strcmp(row->values, "FILE") != 0) {
        put_values(out, row);
        zn_text_add(out, "'");
    }
    zn_text_add(out, " -d ");
    put_quoted(out, row->help);
    zn_text_add(out, "\n");
}

static void put_fish_words(struct zn_text *out, enum zn_verb verb)
{
    struct zn_text words = {0};
    put_words_of(&words, verb);
    if (words.n > 0 && !words.failed)
        zn_text_printf(out, "complete -c zmqnet -n '__fish_seen_subcommand_from %s' -a '%s'\n",
                       zn_verbs[verb].name, words.bytes);
    zn_text_free(&words);
}

static void put_fish(struct zn_text *out)
{
    zn_text_add(out, "# fish completion for zmqnet\ncomplete -c zmqnet -f\n");
    for (enum zn_verb v = 0; v < ZN_VERBS_N; v++) {
        zn_text_printf(out, "complete -c zmqnet -n __fish_use_subcommand -a %s -d ",
                       zn_verbs[v].name);
        put_quoted(out, zn_verbs[v].help);
        zn_text_add(out, "\n");
        put_fish_words(out, v);
    }
    for (size_t i = 0; i < zn_option_rows_n; i++)
        if (zn_option_rows[i].help != NULL)
            put_fish_option(out, &zn_option_rows[i]);
}

/* ---- the command -------------------------------------------------------------------------- */

int zn_cmd_completion(const struct zn_options *o)
{
    static const struct {
        const char *shell;
        void (*put)(struct zn_text *out);
    } shells[] = {{"bash", put_bash}, {"zsh", put_zsh}, {"fish", put_fish}};
    struct zn_problem problem;
    struct zn_text out = {0};
    for (size_t i = 0; i < sizeof shells / sizeof shells[0]; i++) {
        if (strcmp(o->args[0], shells[i].shell) != 0)
            continue;
        shells[i].put(&out);
        zn_output_page(&out, o->json);
        return 0;
    }
    zn_problem_set(&problem, ZN_PROBLEM_USAGE, "", "no completion for %s; there is %s", o->args[0],
                   zn_verbs[ZN_VERB_completion].args);
    return zn_problem_report(&problem, o->json);
}
