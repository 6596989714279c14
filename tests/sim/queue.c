/* SPDX-License-Identifier: MIT */
/*
 * What happens next in the simulation: a binary heap of due things, earliest first. Things due at the
 * same time come in the order in which they were put, which makes a run reproducible. It grows as
 * needed; running out of memory ends the program, as it would end any test.
 */
#include <assert.h>
#include <stdlib.h>

#include "sim.h"

static bool before(const struct sim_due *a, const struct sim_due *b)
{
    return a->at_us != b->at_us ? a->at_us < b->at_us : a->order < b->order;
}

void sim_queue_put(struct sim_queue *q, const struct sim_due *due)
{
    if (q->n == q->max) {
        q->max = q->max ? 2 * q->max : 256;
        q->at = realloc(q->at, q->max * sizeof *q->at);
        assert(q->at);
    }
    struct sim_due d = *due;
    d.order = q->order++;
    size_t i = q->n++;
    for (; i && before(&d, &q->at[(i - 1) / 2]); i = (i - 1) / 2)
        q->at[i] = q->at[(i - 1) / 2];
    q->at[i] = d;
}

bool sim_queue_take(struct sim_queue *q, uint64_t until_us, struct sim_due *out)
{
    if (!q->n || q->at[0].at_us > until_us)
        return false;
    *out = q->at[0];
    struct sim_due last = q->at[--q->n];
    size_t i = 0;
    for (size_t child; (child = 2 * i + 1) < q->n; i = child) {
        if (child + 1 < q->n && before(&q->at[child + 1], &q->at[child]))
            child++;
        if (!before(&q->at[child], &last))
            break;
        q->at[i] = q->at[child];
    }
    q->at[i] = last;
    return true;
}

void sim_queue_free(struct sim_queue *q)
{
    for (size_t i = 0; i < q->n; i++)
        if (q->at[i].frame)
            sim_frame_free(q->at[i].frame);
    free(q->at);
    *q = (struct sim_queue){0};
}
