/* SPDX-License-Identifier: BSD-2-Clause */
/* What `dray bench map` measures on: one domain, one device, a buffer for every thread. */
#ifndef BENCH_MAP_WORLD_H
#define BENCH_MAP_WORLD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <dray/dray.h>

#include "bench/harness.h"

/* What a user may ask for by name, and what it means. Lists end with a NULL name. */
struct map_backend {
	const char *name;
	enum dray_backend_kind kind;
	const char *default_device; /* NULL: the user names one */
	bool counts_invalidations;  /* dray issues them itself, so it can count them */
	bool has_cost_model;
};
extern const struct map_backend map_backends[];

struct map_mode {
	const char *name;
	enum dray_invalidation invalidation;
};
extern const struct map_mode map_modes[];

/* Of the software IOMMU; see dray_sim_set_cost(). */
struct map_cost {
	uint32_t invalidate_ns, pin_ns;
	bool check; /* memory is asked for before each map, as a real pin would notice */
};

struct map_world {
	const struct map_backend *backend;
	struct dray_domain *dom;
	struct dray_device *dev;
	unsigned threads;
	size_t size; /* of each buffer */
	void **buffers;
};

/* Totals that a case counts, by their place in struct bench_result, per_1000. */
enum { MAP_BACKEND_CALLS, MAP_INVALIDATIONS };

/* A mode and a size in a world; the context of a struct bench_case. */
struct map_setting {
	struct map_world *world;
	const struct map_mode *mode;
	size_t size;
	unsigned threads;
};

/* 0, or -errno with *ret_error a string that stays valid until the thread's next dray call. */
int map_world_open(struct map_world *w, const struct map_backend *backend, const char *device,
		   const struct map_cost *cost, unsigned threads, size_t size,
		   const char **ret_error);
void map_world_close(struct map_world *w);

/* The case that measures a setting. The setting outlives it. */
struct bench_case map_case(struct map_setting *s);

#endif
