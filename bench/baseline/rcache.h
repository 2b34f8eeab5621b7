/* SPDX-License-Identifier: BSD-2-Clause */
/* Magazines per CPU over a range tree: see rcache.c. */
#ifndef BENCH_BASELINE_RCACHE_H
#define BENCH_BASELINE_RCACHE_H

#include <pthread.h>

#include "baseline/range_tree.h"
#include "baseline/spin.h"

/* 1, 2, 4, 8, 16 and 32 pages. */
#define RCACHE_ORDERS 6u

/* With the word before them, a magazine is 1 KiB. */
#define RCACHE_MAGAZINE 127u

/* A magazine in a depot is full, so its count gives way to the link. */
struct rcache_magazine {
	union {
		unsigned size;
		struct rcache_magazine *next;
	};
	uint64_t pages[RCACHE_MAGAZINE];
};

/* Of one order on one CPU. A line pair of its own: the neighbour line is fetched with it. */
struct rcache_cpu {
	_Alignas(128) spinlock lock; /* guards both; whoever drains takes it too */
	struct rcache_magazine *loaded, *previous;
};

struct rcache_depot {
	_Alignas(128) spinlock lock; /* guards the rest */
	unsigned n;
	struct rcache_magazine *full;
};

struct rcache {
	struct range_tree tree;     /* guards itself */
	unsigned n_cpus, depot_max; /* constant */
	struct rcache_depot depots[RCACHE_ORDERS];
	struct rcache_cpu *cpus[RCACHE_ORDERS]; /* n_cpus each */
	/* Where the depot has no bound, a thread trims it. */
	unsigned trim_ms;           /* constant; 0: there is none */
	pthread_t trimmer;
	pthread_mutex_t trim_lock;
	pthread_cond_t trim_wake;
	bool trim_stop;             /* guarded by trim_lock */
};

#define RCACHE_UNBOUNDED    (~0u)
#define RCACHE_FIXED_DEPOT  32u

/* @trim_ms: how often a depot without a bound gives a magazine back; 0 never. 0 or -errno. */
int rcache_open(uint64_t first, uint64_t last, unsigned depot_max, unsigned trim_ms,
		struct rcache **ret_cache);
void rcache_close(struct rcache *c);
uint64_t rcache_alloc(struct rcache *c, size_t len, uint64_t last);
void rcache_free(struct rcache *c, uint64_t iova, size_t len);

/* Everything that is cached goes back to the tree. */
void rcache_drain(struct rcache *c);

/* So does one magazine of each order whose depot holds more of them than there are CPUs. */
void rcache_trim(struct rcache *c);

#endif
