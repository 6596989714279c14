/* SPDX-License-Identifier: MIT */
#ifndef ZN_CLI_BENCH_RANK_H
#define ZN_CLI_BENCH_RANK_H

#include <stddef.h>

#define ZN_RANK_EXACT_MAX 40 /* values of both samples; above, the normal approximation */

/* The rank test of Mann and Whitney: how likely are two samples of one distribution to be ranked as
 * far apart as these, or further, in either direction? Ties are allowed, and counted exactly up to
 * ZN_RANK_EXACT_MAX values. Values may be infinite. Returns 1 if a sample is empty or memory runs
 * out. */
double zn_rank_test(const double *a, size_t a_n, const double *b, size_t b_n);
/* The smallest value that it can have for samples of these sizes, without ties. */
double zn_rank_smallest(size_t a_n, size_t b_n);
/* The middle value, or the mean of the two. Sorts the values. 0 if there are none. */
double zn_rank_median(double *values, size_t n);

#endif
