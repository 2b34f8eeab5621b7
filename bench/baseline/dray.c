// SPDX-License-Identifier: BSD-2-Clause
/* Ours, through the calls that everybody has. */
#include <dray/iova.h>

#include "baseline/contender.h"
#include "iova/space.h"
#include "workload/run.h"

static int dray_open(uint64_t first, uint64_t last, void **ret_ctx)
{
	struct dray_iova_opts opts = { .size = sizeof(opts), .first = first, .last = last };

	return dray_iova_space_open(&opts, (struct dray_iova_space **)ret_ctx);
}

static void dray_close(void *ctx)
{
	dray_iova_space_close(ctx);
}

static inline uint64_t dray_take(void *ctx, size_t len, uint64_t last)
{
	return dray_iova_alloc(ctx, len, 0, last);
}

static inline void dray_give(void *ctx, uint64_t iova, size_t len)
{
	dray_iova_free(ctx, iova, len);
}

static void dray_population(void *ctx, struct contender_population *ret_population)
{
	struct dr_iova_counts counts;

	dr_iova_counts(ctx, &counts);
	ret_population->ranges = counts.live_ranges;
	ret_population->pages = counts.live_bytes >> WORKLOAD_PAGE_SHIFT;
}

static int dray_run(void *ctx, struct workload_thread *t, uint64_t n)
{
	return workload_run(t, n, ctx, dray_take, dray_give);
}

const struct contender contender_dray = {
	.name = "dray",
	.what = "this library, through dray_iova_alloc() and dray_iova_free()",
	.open = dray_open,
	.close = dray_close,
	.alloc = dray_take,
	.free = dray_give,
	.population = dray_population,
	.run = dray_run,
};
