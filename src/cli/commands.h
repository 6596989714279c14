/* SPDX-License-Identifier: MIT */
#ifndef ZN_CLI_COMMANDS_H
#define ZN_CLI_COMMANDS_H

#include "cli/options.h"
#include "cli/text.h"

/* One function for each verb. It reports its own problems and returns the exit code. */
#define ZN_COMMAND(name, args, min, max, help) int zn_cmd_##name(const struct zn_options *o);
ZN_VERBS(ZN_COMMAND)
#undef ZN_COMMAND

/* The page that `zmqnet help` prints. */
void zn_help_summary(struct zn_text *out);

#endif
