/* SPDX-License-Identifier: MIT */
/*
 * The rank test behind `bench --compare`. Pure; no state.
 *
 * Ranks are kept doubled, so that the mean rank of a tie is a whole number. Small samples: of all
 * ways to choose a_n of the ranks, count those whose sum is at least as far from the middle as the
 * one that was seen; that is exact, with ties too. Large ones: that sum is nearly normal, with a
 * variance that ties make smaller, and the step of a sum is corrected for.
 */
#include "cli/bench_rank.h"

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

struct ranked {
    double value;
    uint64_t rank; /* doubled */
    int of_a;
};

static int ascending(const void *x, const void *y)
{
    const double a = ((const struct ranked *)x)->value, b = ((const struct ranked *)y)->value;
    return (a > b) - (a < b);
}

/* Rank all values; ties share their mean rank. Returns the sum of t^3 - t over the ties. */
static double rank_all(struct ranked *all, size_t n)
{
    double ties = 0;
    qsort(all, n, sizeof *all, ascending);
    for (size_t i = 0, end; i < n; i = end) {
        for (end = i + 1; end < n && !(all[i].value < all[end].value);)
            end++;
        for (size_t k = i; k < end; k++)
            all[k].rank = i + end + 1;
        double t = (double)(end - i);
        ties += t * t * t - t;
    }
    return ties;
}

/* ways[k * (sum_max + 1) + s]: in how many ways k of the ranks so far have the sum s. */
static void count_ways(const struct ranked *all, size_t n, size_t a_n, uint64_t sum_max,
                       double *ways)
{
    ways[0] = 1;
    for (size_t i = 0; i < n; i++)
        for (size_t k = i + 1 < a_n ? i + 1 : a_n; k > 0; k--)
            for (uint64_t s = sum_max; s >= all[i].rank; s--)
                ways[k * (sum_max + 1) + s] += ways[(k - 1) * (sum_max + 1) + s - all[i].rank];
}

static double exact(const struct ranked *all, size_t n, size_t a_n, uint64_t seen)
{
    uint64_t sum_max = (uint64_t)n * (n + 1), middle = (uint64_t)a_n * (n + 1);
    uint64_t away = seen > middle ? seen - middle : middle - seen;
    double *ways = calloc((a_n + 1) * (sum_max + 1), sizeof *ways), far = 0, total = 0;
    if (ways == NULL)
        return 1;
    count_ways(all, n, a_n, sum_max, ways);
    for (uint64_t s = 0; s <= sum_max; s++) {
        double count = ways[a_n * (sum_max + 1) + s];
        total += count;
        far += (s > middle ? s - middle : middle - s) >= away ? count : 0;
    }
    free(ways);
    return far / total;
}

static double normal(double n, double a_n, double ties, uint64_t seen)
{
    double away = fabs((double)seen / 2 - a_n * (n + 1) / 2) - 0.5;
    double variance = a_n * (n - a_n) / 12 * (n + 1 - ties / (n * (n - 1)));
    if (away <= 0 || variance <= 0)
        return 1;
    return erfc(away / sqrt(2 * variance));
}

double zn_rank_test(const double *a, size_t a_n, const double *b, size_t b_n)
{
    size_t n = a_n + b_n;
    struct ranked *all = a_n > 0 && b_n > 0 ? calloc(n, sizeof *all) : NULL;
    uint64_t seen = 0;
    if (all == NULL)
        return 1;
    for (size_t i = 0; i < n; i++)
        all[i] = (struct ranked){i < a_n ? a[i] : b[i - a_n], 0, i < a_n};
    double ties = rank_all(all, n);
    for (size_t i = 0; i < n; i++)
        seen += all[i].of_a ? all[i].rank : 0;
    double p = n <= ZN_RANK_EXACT_MAX ? exact(all, n, a_n, seen)
                                      : normal((double)n, (double)a_n, ties, seen);
    free(all);
    return p;
}

double zn_rank_smallest(size_t a_n, size_t b_n)
{
    double p = 2;
    for (size_t i = 1; i <= a_n; i++)
        p *= (double)i / (double)(b_n + i);
    return p < 1 ? p : 1;
}

static int rising(const void *x, const void *y)
{
    const double a = *(const double *)x, b = *(const double *)y;
    return (a > b) - (a < b);
}

double zn_rank_median(double *values, size_t n)
{
    if (n == 0)
        return 0;
    qsort(values, n, sizeof *values, rising);
    double low = values[(n - 1) / 2], high = values[n / 2];
    return low < high ? (low + high) / 2 : low;
}
