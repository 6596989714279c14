/* SPDX-License-Identifier: MIT */
/*
 * `zmqnet version`: of this command, and of the library that it runs with if that is another.
 */
#include <string.h>

#include "cli/commands.h"
#include "cli/output.h"

int zn_cmd_version(const struct zn_options *o)
{
    struct zn_text out = {0};
    struct zn_json j = {.out = &out};
    const char *library = zmqnet_version();
    if (o->json) {
        zn_json_open(&j, NULL, '{');
        zn_json_u64(&j, "v", 1);
        zn_json_string(&j, "version", ZMQNET_VERSION);
        zn_json_string(&j, "library", library);
        zn_json_close(&j, '}');
    } else {
        zn_text_add(&out, "zmqnet " ZMQNET_VERSION);
        if (strcmp(library, ZMQNET_VERSION) != 0)
            zn_text_printf(&out, " (library %s)", library);
    }
    zn_text_add(&out, "\n");
    zn_output_text(&out);
    return 0;
}
