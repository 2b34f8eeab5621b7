// SPDX-License-Identifier: BSD-2-Clause
#include "bench/stats.h"

#include <stdlib.h>

static int by_double(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static int by_u64(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

/* Between two neighbours a quantile is interpolated. */
static double quantile(const double *sorted, size_t n, double share)
{
	double at = share * (double)(n - 1);
	size_t below = (size_t)at;

	if (below + 1 >= n)
		return sorted[n - 1];
	return sorted[below] + (at - (double)below) * (sorted[below + 1] - sorted[below]);
}

struct bench_quartiles bench_quartiles_of(double *figures, size_t n)
{
	qsort(figures, n, sizeof(*figures), by_double);
	return (struct bench_quartiles){
	    .low = quantile(figures, n, 0.25),
	    .median = quantile(figures, n, 0.5),
	    .high = quantile(figures, n, 0.75),
	};
}

struct bench_value bench_value_of(double *rounds, size_t n)
{
	struct bench_quartiles q = bench_quartiles_of(rounds, n);

	return (struct bench_value){
	    .median = q.median,
	    .spread = q.median > 0 ? (q.high - q.low) / q.median : 0,
	};
}

static double percentile(const uint64_t *sorted, size_t n, size_t permille, double divisor)
{
	size_t rank = (n * permille + 999) / 1000;

	return (double)sorted[rank ? rank - 1 : 0] / divisor;
}

struct bench_percentiles bench_percentiles_of(uint64_t *samples, size_t n, double divisor)
{
	qsort(samples, n, sizeof(*samples), by_u64);
	return (struct bench_percentiles){
	    .p50 = percentile(samples, n, 500, divisor),
	    .p99 = percentile(samples, n, 990, divisor),
	    .p999 = percentile(samples, n, 999, divisor),
	};
}
