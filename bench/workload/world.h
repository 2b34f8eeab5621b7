/* SPDX-License-Identifier: BSD-2-Clause */
/* One contender under one workload: opened, filled, run by any number of threads, looked at. */
#ifndef BENCH_WORKLOAD_WORLD_H
#define BENCH_WORKLOAD_WORLD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "baseline/contender.h"
#include "workload/workload.h"

#ifdef __cplusplus
extern "C" {
#endif

struct workload_world;
struct workload_slot;
struct workload_timer;

/*
 * Ranges and pages that are out, that the contender has taken from its space for them, out or
 * cached, and the leaf tables (2 MiB of IOVA) that each lies in.
 */
struct workload_sight {
	uint64_t live, live_pgs, leaf_tables;
	uint64_t population, population_pgs, population_leaf_tables;
};

/*
 * Open @c for @threads threads of @w. @live ranges are held beside it as long as the world is open;
 * they are the victims where the workload's depth is up to --live (0: WORKLOAD_LIVE_DEFAULT there,
 * none elsewhere). 0, or -errno with dray_errmsg() set.
 */
int workload_world_open(const struct contender *c, const struct workload *w, unsigned threads,
			size_t live, struct workload_world **ret_world);

/* Gives everything back to the contender, then closes that. NULL is fine. */
void workload_world_close(struct workload_world *world);

/* Do @n operations as thread @thread: each number on one thread at a time. 0, or -errno. */
int workload_world_run(struct workload_world *world, unsigned thread, uint64_t n);

/*
 * Look, while no thread runs, and remember: @ret_now, unless NULL, is what there is now, leaf
 * tables of what is out now alone.
 */
void workload_world_look(struct workload_world *world, struct workload_sight *ret_now);

/*
 * What was seen since open or workload_world_forget(): the greatest live and population, and every
 * leaf table of any look.
 */
void workload_world_seen(const struct workload_world *world, struct workload_sight *ret_seen);
void workload_world_forget(struct workload_world *world);

/*
 * What @n cells over [first, last] are full of, while no thread runs. False: the contender cannot
 * tell, and nothing was filled.
 */
bool workload_world_heat(struct workload_world *world, uint64_t first, uint64_t last, size_t n,
			 struct dray_iova_cell *ret_cells);

/* For the timer. */
struct workload_timer *workload_world_timer(struct workload_world *world);
void workload_world_give(struct workload_world *world, struct workload_slot *slot);

#ifdef __cplusplus
}
#endif
#endif
