/* SPDX-License-Identifier: BSD-2-Clause */
/* IOVA allocators that are compared: each is one of these. */
#ifndef BENCH_BASELINE_CONTENDER_H
#define BENCH_BASELINE_CONTENDER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

struct dray_iova_cell; /* <dray/iova.h> */
struct workload_thread;

/*
 * What a contender has taken from its space: live and cached, as large as it took them, and the
 * leaf tables (2 MiB of IOVA) that these lie in.
 */
struct contender_population {
	uint64_t ranges, pages, leaf_tables;
};

/* Addresses of one leaf table, log2. */
#define CONTENDER_LEAF_SHIFT 21

#define CONTENDER_NONE UINT64_MAX

/* The window that benches use: what four-level tables reach, without the page at 0. */
#define CONTENDER_FIRST UINT64_C(0x1000)
#define CONTENDER_LAST  ((UINT64_C(1) << 48) - 1)

struct contender {
	const char *name, *what;
	bool foreign; /* addresses are its own: no window, no limits, one heap for all spaces */
	/*
	 * Ranges of 4 KiB pages from @first to @last, both inclusive and whole pages; page 0 is
	 * never in it. 0 or -errno.
	 */
	int (*open)(uint64_t first, uint64_t last, void **ret_ctx);
	void (*close)(void *ctx);
	/*
	 * Any thread. @len bytes, whole pages, aligned to their size if that is a power of two, no
	 * byte above @last (0: no limit). CONTENDER_NONE: no room.
	 */
	uint64_t (*alloc)(void *ctx, size_t len, uint64_t last);
	/* Any thread, not only the one that took it. */
	void (*free)(void *ctx, uint64_t iova, size_t len);
	/* While no other call is under way. */
	void (*population)(void *ctx, struct contender_population *ret_population);
	/* Runs @t's workload by workload_run() with the two above compiled in. */
	int (*run)(void *ctx, struct workload_thread *t, uint64_t n);
	unsigned waits; /* most ranges of one thread that wait for a flush after they were freed */
	/* Optional, as population: what @n cells over [first, last] are full of, in pages. */
	void (*heat)(void *ctx, uint64_t first, uint64_t last, size_t n,
		     struct dray_iova_cell *ret_cells);
};

extern const struct contender contender_dray, contender_dray_tree, contender_dray_lazy,
	contender_rcache_unbounded, contender_rcache_fixed_depot, contender_rcache_256,
	contender_rcache_fixed_depot_256, contender_rbtree, contender_floor,
	contender_floor_called, contender_floor_sized;
#ifdef WITH_DPDK
extern const struct contender contender_dpdk;
#endif

/* In the order in which they are shown; ends with NULL. */
extern const struct contender *const contenders[];

/* By name; "rcache" is rcache-unbounded. NULL: there is none. */
const struct contender *contender_find(const char *name);

#ifdef __cplusplus
}
#endif
#endif
