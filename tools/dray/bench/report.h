/* SPDX-License-Identifier: BSD-2-Clause */
/* How every `dray bench` shows its results: one JSON schema, one number format. */
#ifndef BENCH_REPORT_H
#define BENCH_REPORT_H

#include "bench/harness.h"

struct json_object;

/* What a result is of. */
struct bench_label {
	const char *bench, *contender, *workload;
	unsigned threads;
};

/*
 * The members that every result has: bench, contender, workload, threads, ops, ops_per_s, spread,
 * ns_batch64_p50, _p99, _p999, and where it was measured ns_p50, _p99, _p999. A new object, the
 * caller's to add to. NULL without memory.
 */
struct json_object *bench_result_json(const struct bench_label *label,
				      const struct bench_result *r);

/*
 * {"machine": …, "results": […]} on stdout. Takes over both; NULL stands for one that could not
 * be made. 0, or -errno when memory or stdout failed.
 */
int bench_print_json(struct json_object *machine, struct json_object *results);

/* 1234567 → "1.235 M": four digits and a unit into @text. */
void bench_format_rate(double per_s, char *text, unsigned size);

/* Nanoseconds, as exact as they are: "37.2", "2371". */
void bench_format_ns(double ns, char *text, unsigned size);

#endif
