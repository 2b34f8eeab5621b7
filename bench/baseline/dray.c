// SPDX-License-Identifier: BSD-2-Clause
/*
 * Ours, through the calls that everybody has: `dray` as dray_iova_space_open() opens it, and
 * `dray-tree` without the caches, which says what these are worth.
 *
 * Population: what is live in the tree, and of every chunk the slots that are not free in it, which
 * are live or in some magazine. Free slots of a chunk do not count: they are one bit each, any
 * thread may have them, and the chunk goes back to the tree with the last of its others.
 */
#include <dray/iova.h>

#include "baseline/contender.h"
#include "baseline/dray.h"
#include "iova/cache.h"
#include "iova/pieces.h"
#include "iova/space.h"
#include "workload/run.h"

static int open_cached(uint64_t first, uint64_t last, void **ret_ctx)
{
	struct dray_iova_opts opts = { .size = sizeof(opts), .first = first, .last = last };

	return dray_iova_space_open(&opts, (struct dray_iova_space **)ret_ctx);
}

static int open_tree(uint64_t first, uint64_t last, void **ret_ctx)
{
	struct dray_iova_opts opts = { .size = sizeof(opts), .first = first, .last = last };

	return dr_iova_space_open(&opts, DR_IOVA_TREE, (struct dray_iova_space **)ret_ctx);
}

static void close_either(void *ctx)
{
	dray_iova_space_close(ctx);
}

static inline uint64_t take(void *ctx, size_t len, uint64_t last)
{
	return dray_iova_alloc(ctx, len, 0, last);
}

static inline void give(void *ctx, uint64_t iova, size_t len)
{
	dray_iova_free(ctx, iova, len);
}

static void add_tree_locked(struct dray_iova_space *s, struct contender_population *inout)
{
	uint64_t end = 0; /* leaf tables below it are counted */
	struct dr_piece *p = dr_tree_next(&s->tree, 0, DR_PIECE_LIVE);

	for (; p; p = p->last < UINT64_MAX ? dr_tree_next(&s->tree, p->last + 1, DR_PIECE_LIVE)
					   : NULL) {
		uint64_t leaf = p->first >> CONTENDER_LEAF_SHIFT;
		uint64_t leaf_end = (p->last >> CONTENDER_LEAF_SHIFT) + 1;

		inout->ranges += (p->bits & DR_PIECE_HEAD) != 0;
		inout->pages += (p->last - p->first + 1) >> WORKLOAD_PAGE_SHIFT;
		if (leaf_end > end)
			inout->leaf_tables += leaf_end - (leaf > end ? leaf : end);
		end = leaf_end;
	}
}

static void add_chunks_locked(const struct dr_cache *c, struct contender_population *inout)
{
	for (const struct dr_chunk *chunk = c->records; chunk; chunk = chunk->next_record) {
		unsigned out;

		if (chunk->where == DR_CHUNK_GONE)
			continue;
		out = chunk->slots - dr_chunk_free_slots(chunk);
		inout->ranges += out;
		inout->pages += (uint64_t)out * chunk->n;
		inout->leaf_tables += out > 0;
	}
}

void contender_dray_population(void *space, struct contender_population *ret_population)
{
	struct dray_iova_space *s = space;

	*ret_population = (struct contender_population){ 0 };
	pthread_mutex_lock(&s->lock);
	add_tree_locked(s, ret_population);
	if (s->cache)
		add_chunks_locked(s->cache, ret_population);
	pthread_mutex_unlock(&s->lock);
}

void contender_dray_heat(void *space, uint64_t first, uint64_t last, size_t n,
			 struct dray_iova_cell *ret_cells)
{
	dray_iova_space_heat(space, first, last, n, ret_cells);
}

static int run(void *ctx, struct workload_thread *t, uint64_t n)
{
	return workload_run(t, n, ctx, take, give);
}

const struct contender contender_dray = {
	.name = "dray",
	.what = "this library, through dray_iova_alloc() and dray_iova_free()",
	.open = open_cached,
	.close = close_either,
	.alloc = take,
	.free = give,
	.population = contender_dray_population,
	.heat = contender_dray_heat,
	.run = run,
};

const struct contender contender_dray_tree = {
	.name = "dray-tree",
	.what = "this library without caches: every call takes the tree's lock",
	.open = open_tree,
	.close = close_either,
	.alloc = take,
	.free = give,
	.population = contender_dray_population,
	.heat = contender_dray_heat,
	.run = run,
};
