/* SPDX-License-Identifier: MIT */
/*
 * The list of patterns, by the name that hello says and that an option gives. Constant: any thread.
 * The first one is the default. An unknown name is the caller's to report.
 */
#include "pattern/pattern.h"

#include <string.h>

static const struct zn_pattern *const patterns[] = {
    &zn_pattern_router,
    &zn_pattern_reqrep,
    &zn_pattern_pubsub,
};

const struct zn_pattern *zn_pattern_find(const char *name)
{
    if (!name)
        return patterns[0];
    for (size_t i = 0; i < sizeof patterns / sizeof patterns[0]; i++)
        if (strcmp(patterns[i]->name, name) == 0)
            return patterns[i];
    return NULL;
}
