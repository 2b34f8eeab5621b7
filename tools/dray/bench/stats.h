/* SPDX-License-Identifier: BSD-2-Clause */
/* What is made of repeated measurements: median, spread, percentiles. */
#ifndef BENCH_STATS_H
#define BENCH_STATS_H

#include <stddef.h>
#include <stdint.h>

/* One measured quantity: @median, and @spread, the middle half's width as a share of the median. */
struct bench_value {
	double median, spread;
};

/*
 * Of @n > 0 measurements, which it sorts. Quartiles and not extremes: on a shared machine a single
 * round may lose its processor, and says nothing about what is measured.
 */
struct bench_value bench_value_of(double *rounds, size_t n);

/* The middle half of some figures, and its middle. */
struct bench_quartiles {
	double low, median, high;
};

/* Of @n > 0 figures, which it sorts. */
struct bench_quartiles bench_quartiles_of(double *figures, size_t n);

struct bench_percentiles {
	double p50, p99, p999;
};

/*
 * Of @n > 0 samples, which it sorts, each divided by @divisor. A percentile is the least sample
 * that the share does not exceed, so it was really seen.
 */
struct bench_percentiles bench_percentiles_of(uint64_t *samples, size_t n, double divisor);

#endif
