/* SPDX-License-Identifier: MIT */
/*
 * Back-off: none, 50 ms, and then doubling up to 2 s. Belongs to the thread of its owner, which sets
 * it back to zero when a try was good. With jitter, so that replicas that lost each other at the same
 * moment do not try at the same moment for ever.
 */
#include "pattern/backoff.h"

uint64_t zn_backoff_next_us(struct zn_backoff *b, struct zn_rand *rand)
{
    uint64_t us = b->us;
    uint64_t longer_us = us == 0 ? ZN_BACKOFF_MIN_US : 2 * us;
    b->us = longer_us < ZN_BACKOFF_MAX_US ? longer_us : ZN_BACKOFF_MAX_US;
    return us == 0 ? 0 : us - us / 4 + zn_rand_below(rand, us / 2);
}

void zn_backoff_not_at_once(struct zn_backoff *b)
{
    if (b->us == 0)
        b->us = ZN_BACKOFF_MIN_US;
}
