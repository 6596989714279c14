/* SPDX-License-Identifier: MIT */
/*
 * zmqnet-sim: plays transcripts and random schedules against core.
 *
 * Exit codes: 0 all passed, 1 something failed, 2 usage. The last line is always
 * "N passed, N failed".
 */
#include <string.h>

#include "sim.h"

static int usage(void)
{
    fputs("zmqnet-sim run FILE...                                compare transcripts\n"
          "zmqnet-sim regen FILE...                              write their traces anew\n"
          "zmqnet-sim random --seeds N [--start S] [OPTIONS]     random schedules\n"
          "zmqnet-sim random --seed S [OPTIONS] --trace [--pings] one of them\n"
          "zmqnet-sim hours N [--start S] [OPTIONS]              each an hour of virtual time\n"
          "OPTIONS: --nodes N, --pattern router|reqrep|pubsub, --jobs N side by side,\n"
          "         --out DIR for the transcripts of what fails, --first: end there\n",
          stderr);
    return 2;
}

int main(int argc, char **argv)
{
    if (argc >= 3 && strcmp(argv[1], "run") == 0)
        return sim_script_main(argv + 2, argc - 2, false);
    if (argc >= 3 && strcmp(argv[1], "regen") == 0)
        return sim_script_main(argv + 2, argc - 2, true);
    bool hours = argc >= 2 && strcmp(argv[1], "hours") == 0;
    if (hours || (argc >= 2 && strcmp(argv[1], "random") == 0)) {
        int rc = sim_random_main(argc - 2, argv + 2, hours);
        return rc == 2 ? usage() : rc;
    }
    return usage();
}
