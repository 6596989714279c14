/* SPDX-License-Identifier: MIT */
/*
 * The command `zmqnet`: parse, dispatch, end. What a verb does is in cmd_VERB.c.
 */
#include <stdlib.h>
#include <unistd.h>

#include "cli/commands.h"
#include "cli/output.h"

static int (*const commands[ZN_VERBS_N])(const struct zn_options *) = {
#define ZN_COMMAND_ROW(name, args, min, max, help) zn_cmd_##name,
    ZN_VERBS(ZN_COMMAND_ROW)
#undef ZN_COMMAND_ROW
};

static int help_on_stderr(void)
{
    struct zn_text page = {0};
    zn_help_summary(&page);
    if (page.n > 0)
        (void)!write(STDERR_FILENO, page.bytes, page.n);
    zn_text_free(&page);
    return ZN_EXIT_USAGE;
}

int main(int argc, char **argv)
{
    struct zn_options options;
    struct zn_problem problem;
    zn_output_init();
    if (argc < 2)
        return help_on_stderr();
    int code = zn_options_parse(argc, argv, getenv, &options, &problem);
    if (code != 0)
        zn_problem_report(&problem, options.json);
    else
        code = commands[options.verb](&options);
    return zn_output_end(code);
}
