// SPDX-License-Identifier: BSD-2-Clause
/*
 * Ours behind the flush queue that a lazy domain has: a free puts the range into its thread's
 * queue, and it comes back to that thread's cache after a flush. The hardware below is none:
 * clearing and invalidating take no time, so what is seen is the queue and what it does to the
 * allocator. A workload that holds frees back itself holds them back twice here.
 */
#include <dray/iova.h>

#include "baseline/contender.h"
#include "baseline/dray.h"
#include "flush/flush.h"
#include "workload/run.h"

#include <errno.h>
#include <stdlib.h>

struct lazy {
	struct dr_backend be;
	struct dr_iospace io;
	struct dr_flush *flush;
};

static int clear_nothing(struct dr_backend *be, dray_iova_t iova, size_t len, size_t *ret_gone)
{
	(void)be;
	(void)iova;
	*ret_gone = len;
	return 0;
}

static void invalidate_nothing(struct dr_backend *be, dray_iova_t first, dray_iova_t last)
{
	(void)be;
	(void)first;
	(void)last;
}

static const struct dr_backend_ops no_hardware = {
	.name = "none", .unmap = clear_nothing, .invalidate = invalidate_nothing,
};

static void close_lazy(void *ctx)
{
	struct lazy *l = ctx;

	if (l->flush)
		dr_flush_close(l->flush);
	if (l->io.space)
		dray_iova_space_close(l->io.space);
	if (l->io.pt)
		dr_pgtable_close(l->io.pt);
	dr_counters_close(&l->io.counters);
	free(l);
}

static int open_lazy(uint64_t first, uint64_t last, void **ret_ctx)
{
	struct dray_iova_opts opts = { .size = sizeof(opts), .first = first, .last = last };
	struct dr_flush_opts lazy = { .lazy = true };
	size_t len = (sizeof(struct lazy) + 127) / 128 * 128;
	struct lazy *l = aligned_alloc(128, len);
	int err;

	if (!l)
		return -ENOMEM;
	*l = (struct lazy){
		.be = { .ops = &no_hardware, .defers = DR_DEFER_INVALIDATION, .max_op = UINT64_MAX },
		.io = { .ops = &no_hardware, .be = &l->be, .granule_mask = 4095, .first = first,
			.last = last },
	};
	err = dr_pgtable_open(DR_PT_PAGE_SIZES, &l->io.pt);
	if (!err)
		err = dray_iova_space_open(&opts, &l->io.space);
	if (!err)
		err = dr_flush_open(&l->io, &lazy, &l->flush);
	if (err) {
		close_lazy(l);
		return err;
	}
	*ret_ctx = l;
	return 0;
}

static inline uint64_t take(void *ctx, size_t len, uint64_t last)
{
	struct lazy *l = ctx;
	uint64_t iova;

	dr_flush_ready(l->flush);
	iova = dray_iova_alloc(l->io.space, len, 0, last);
	if (iova != DRAY_IOVA_NONE)
		return iova;
	/* As a map does. */
	dr_flush_now(l->flush, DR_FLUSH_PRESSURE);
	return dray_iova_alloc(l->io.space, len, 0, last);
}

static inline void give(void *ctx, uint64_t iova, size_t len)
{
	struct lazy *l = ctx;
	bool live;

	/* Where the queue cannot take it, nothing waits for anything. */
	if (!dr_flush_put(l->flush, iova, len, &live) && live)
		dray_iova_free(l->io.space, iova, len);
}

static void population(void *ctx, struct contender_population *ret_population)
{
	contender_dray_population(((struct lazy *)ctx)->io.space, ret_population);
}

static void heat(void *ctx, uint64_t first, uint64_t last, size_t n,
		 struct dray_iova_cell *ret_cells)
{
	contender_dray_heat(((struct lazy *)ctx)->io.space, first, last, n, ret_cells);
}

static int run(void *ctx, struct workload_thread *t, uint64_t n)
{
	return workload_run(t, n, ctx, take, give);
}

const struct contender contender_dray_lazy = {
	.name = "dray-lazy",
	.what = "this library, frees through the flush queue of a lazy domain",
	.waits = 256, /* dr_flush_opts.entries left at its default */
	.open = open_lazy,
	.close = close_lazy,
	.alloc = take,
	.free = give,
	.population = population,
	.heat = heat,
	.run = run,
};
