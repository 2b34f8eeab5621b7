// SPDX-License-Identifier: BSD-2-Clause
/* The range tree alone: what an IOVA costs without caches. */
#include <errno.h>
#include <stdlib.h>

#include "baseline/range_tree.h"
#include "workload/run.h"

static int rbtree_open(uint64_t first, uint64_t last, void **ret_ctx)
{
	struct range_tree *t = malloc(sizeof(*t));
	int err;

	if (!t)
		return -ENOMEM;
	err = range_tree_open(t, first >> WORKLOAD_PAGE_SHIFT, last >> WORKLOAD_PAGE_SHIFT);
	if (err) {
		free(t);
		return err;
	}
	*ret_ctx = t;
	return 0;
}

static void rbtree_close(void *ctx)
{
	range_tree_close(ctx);
	free(ctx);
}

static inline uint64_t rbtree_take(void *ctx, size_t len, uint64_t last)
{
	/* No range ends above the last page whose end the limit covers. */
	uint64_t limit = last ? ((last + 1) >> WORKLOAD_PAGE_SHIFT) - 1 : UINT64_MAX;
	uint64_t first = range_tree_alloc(ctx, len >> WORKLOAD_PAGE_SHIFT, limit);

	return first == RANGE_NONE ? CONTENDER_NONE : first << WORKLOAD_PAGE_SHIFT;
}

static inline void rbtree_give(void *ctx, uint64_t iova, size_t len)
{
	(void)len;
	range_tree_free(ctx, iova >> WORKLOAD_PAGE_SHIFT);
}

static void rbtree_population(void *ctx, struct contender_population *ret_population)
{
	range_tree_population(ctx, ret_population);
}

static int rbtree_run(void *ctx, struct workload_thread *t, uint64_t n)
{
	return workload_run(t, n, ctx, rbtree_take, rbtree_give);
}

const struct contender contender_rbtree = {
	.name = "rbtree",
	.what = "a mutex, a tree of the ranges that are out, a walk from a cached node",
	.open = rbtree_open,
	.close = rbtree_close,
	.alloc = rbtree_take,
	.free = rbtree_give,
	.population = rbtree_population,
	.run = rbtree_run,
};
