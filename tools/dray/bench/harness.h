/* SPDX-License-Identifier: BSD-2-Clause */
/* Measures any number of contenders and settings side by side; harness.c tells how. */
#ifndef BENCH_HARNESS_H
#define BENCH_HARNESS_H

#include <stdbool.h>
#include <stdint.h>

#include "bench/stats.h"

/* How many running totals a case may offer. */
#define BENCH_COUNTS 4

/* Operations between two looks at the clock in the second pass. */
#define BENCH_BATCH 64

/* One contender in one setting. Constant while it is measured. */
struct bench_case {
	void *ctx;
	unsigned threads;
	/*
	 * Do @n operations as thread @thread of @threads, without a look at the clock. 0, or -errno
	 * with dray_errmsg() set. Called on several threads at once.
	 */
	int (*run)(void *ctx, unsigned thread, uint64_t n);
	/* Optional, on one thread: around every stretch in which this case alone runs. */
	int (*enter)(void *ctx);
	void (*leave)(void *ctx);
	/*
	 * Optional: totals that only grow, such as backend calls. Called around every round of the
	 * first pass, while nothing runs.
	 */
	void (*count)(void *ctx, uint64_t ret_totals[BENCH_COUNTS]);
};

/* How long to measure; zero means default in every field. */
struct bench_plan {
	double seconds;           /* of the first pass, for each case; 1 */
	unsigned rounds;          /* in which they are spent; 20 */
	uint64_t (*now_ns)(void); /* CLOCK_MONOTONIC; tests bring their own */
	uint64_t (*cpu_ns)(void); /* the calling thread's; likewise */
	/*
	 * Optional: operations a second in each round of the first pass, by the clock and by the
	 * threads' own time; of case c in round r at [c * rounds + r]. With these cases are compared
	 * round by round.
	 */
	double *by_clock, *by_cpu;
	/* Told after each round of the first pass. */
	void (*progress)(unsigned round, unsigned rounds);
};

struct bench_result {
	uint64_t ops;                    /* operations of the first pass, all threads */
	struct bench_value ops_per_s;    /* all threads together */
	double per_1000[BENCH_COUNTS];   /* how far each total moved for 1,000 operations */
	struct bench_percentiles batch;  /* ns an operation, in batches of BENCH_BATCH */
	bool has_single;                 /* an operation takes over 1 µs by @batch.p50 */
	struct bench_percentiles single; /* ns of each operation */
};

/*
 * Measure all @n cases; results in the same order. 0, or the first -errno of a case, its message
 * in @ret_error (at least 1 byte, cut at @error_size).
 */
int bench_measure(const struct bench_plan *plan, const struct bench_case *cases, unsigned n,
		  struct bench_result *ret_results, char *ret_error, unsigned error_size);

#endif
