/* SPDX-License-Identifier: BSD-2-Clause */
/* Cases of `dray bench iova` compared round by round. */
#ifndef BENCH_IOVA_PAIR_H
#define BENCH_IOVA_PAIR_H

#include <stdbool.h>

#include "bench/stats.h"

struct iova_case;
struct json_object;

/* A ratio that every round has one of: its quartiles, by the clock and by the threads' own time. */
struct iova_ratio {
	bool known;
	struct bench_quartiles by_clock, by_cpu;
};

struct iova_pairs {
	unsigned rounds; /* 0: nothing was measured in rounds */
	struct iova_ratio to_dray;          /* of throughputs, with as many threads */
	struct iova_ratio scaling;          /* over its own with the fewest threads */
	struct iova_ratio scaling_to_floor; /* over what `floor` scales in the same round */
};

/*
 * Compare @n cases of one workload. @by_clock, @by_cpu: as struct bench_plan has them. 0; -ENOMEM.
 */
int iova_pair(struct iova_case *cases, unsigned n, unsigned rounds, const double *by_clock,
	      const double *by_cpu);

/* Lines for people, nothing where no case has a ratio; and members for programs. */
void iova_pair_print(const struct iova_case *cases, unsigned n);
void iova_pair_json(const struct iova_pairs *pairs, struct json_object *o);

#endif
