/* SPDX-License-Identifier: BSD-2-Clause */
/* The cases of `dray bench iova`, and how they are shown. */
#ifndef BENCH_IOVA_H
#define BENCH_IOVA_H

#include "baseline/contender.h"
#include "bench/harness.h"
#include "bench/iova_pair.h"
#include "workload/world.h"

struct bench_machine;
struct iova_heat;

/* What was seen in one window of an ageing run. */
struct iova_window {
	double ops_per_s;
	struct bench_percentiles batch; /* ns an operation, as struct bench_result has them */
	struct workload_sight sight;    /* at its end */
};

/* How many windows an ageing run has. */
#define IOVA_WINDOWS 100u

struct iova_case {
	const struct contender *contender;
	const struct workload *workload;
	unsigned threads;
	uint64_t held; /* beside it, as --live says */
	struct workload_world *world;
	bool in_round;
	unsigned rounds, look_every; /* rounds done; a look after each so-manieth */
	struct bench_result result;
	struct iova_pairs pairs;
	struct workload_sight sight; /* the greatest of each, and the leaf tables of every look */
	struct iova_window *series;  /* of an ageing run, IOVA_WINDOWS of them; else NULL */
	struct iova_heat *heat;      /* where asked for, and where the contender can tell; else NULL */
	/* Of an ageing run: its last tenth over its first, less 1; see iova_age.c. */
	double drift_p50, drift_p999;
};

/* Leaf tables for 1,000 ranges that are out. */
double iova_leaf_tables_per_1000(const struct iova_case *c);

void iova_print_table(const struct iova_case *cases, unsigned n, const struct bench_machine *m);
/* 0 or -errno. */
int iova_print_json(const struct iova_case *cases, unsigned n, const struct bench_machine *m);

#endif
