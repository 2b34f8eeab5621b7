// SPDX-License-Identifier: BSD-2-Clause
/*
 * The allocator under both baselines, as the Linux kernel's IOVA space is described.
 *
 * 1. What is kept: the ranges that are out, in a red-black tree by address. Free space is not kept;
 *    it is what a walk finds between two neighbours.
 *
 * 2. Allocation walks down from a cached node, range by range, until the gap below one holds the
 *    request, aligned to the power of two at or above its size. Highest addresses go first. The
 *    cached node is the last range placed, so in a space that only grows the first gap fits. It is
 *    moved up when something at or above it is given back. The cost is linear in the ranges passed.
 *
 * 3. Requests below 4 GiB have a cached node of their own, and the smallest size that failed there
 *    is remembered, so a full window is not walked again before something in it is given back. A
 *    walk that began in the middle and found nothing begins once more at the limit and ends where
 *    the first one began.
 *
 * 4. Freeing finds the range by its first page from the root, O(log n).
 *
 * 5. Nodes come from slabs of 512 through a list under the lock, so the heap is not part of what is
 *    measured. Insertion starts at the neighbour that the walk ended at, not at the root: the new
 *    range is the right child of the one below the gap, or if that has one, the left child of the
 *    one above it, which then has none.
 *
 * 6. One mutex guards it all; a pair takes it twice. Failure: no room, no memory for a slab.
 *
 *	      | alloc           | free
 *	alloc | the lock orders | the lock orders
 *	free  | the lock orders | the lock orders
 */
#include "baseline/range_tree.h"

#include <errno.h>
#include <stdlib.h>

/* Pages below 4 GiB. */
#define LOW_END (UINT64_C(1) << (32 - 12))

/* Pages of a leaf table, log2. */
#define LEAF_PAGES_SHIFT (CONTENDER_LEAF_SHIFT - 12)

#define SLAB 512

struct range_slab {
	struct range_slab *next;
	struct range ranges[SLAB];
};

static int compare(const struct range *a, const struct range *b)
{
	return a->first < b->first ? -1 : a->first > b->first;
}

/* What it generates and nobody needs shall not warn. */
RB_GENERATE_INTERNAL(range_head, range, link, compare, static __attribute__((unused)))

int range_tree_open(struct range_tree *t, uint64_t first, uint64_t last)
{
	*t = (struct range_tree){ .lowest = first, .misfit_low = UINT64_MAX };
	RB_INIT(&t->head);
	t->top.first = t->top.last = last + 1;
	RB_INSERT(range_head, &t->head, &t->top);
	t->cached = t->cached_low = &t->top;
	return -pthread_mutex_init(&t->lock, NULL);
}

void range_tree_close(struct range_tree *t)
{
	struct range_slab *slab;

	while ((slab = t->slabs)) {
		t->slabs = slab->next;
		free(slab);
	}
	pthread_mutex_destroy(&t->lock);
}

static struct range *take_node_locked(struct range_tree *t)
{
	struct range *r = t->spare;

	if (!r) {
		struct range_slab *slab = malloc(sizeof(*slab));

		if (!slab)
			return NULL;
		slab->next = t->slabs;
		t->slabs = slab;
		for (unsigned i = 0; i < SLAB; i++) {
			RB_LEFT(&slab->ranges[i], link) = t->spare;
			t->spare = &slab->ranges[i];
		}
		r = t->spare;
	}
	t->spare = RB_LEFT(r, link);
	return r;
}

static void put_node_locked(struct range_tree *t, struct range *r)
{
	RB_LEFT(r, link) = t->spare;
	t->spare = r;
}

/* The lowest range that begins above @limit; the top one always does. */
static struct range *above_locked(struct range_tree *t, uint64_t limit)
{
	struct range *r = RB_ROOT(&t->head), *found = &t->top;

	while (r) {
		if (r->first > limit) {
			found = r;
			r = RB_LEFT(r, link);
		} else {
			r = RB_RIGHT(r, link);
		}
	}
	return found;
}

/*
 * Down from the gap below @from: the highest aligned place for @pages that ends below @end and
 * begins at @lowest or above it. The range above the place and the one below it (NULL: none).
 */
static bool walk_locked(struct range *from, uint64_t pages, uint64_t align, uint64_t end,
			uint64_t lowest, uint64_t *ret_first, struct range **ret_above,
			struct range **ret_below)
{
	for (struct range *above = from, *below;; above = below) {
		uint64_t first;

		if (above->first < end)
			end = above->first;
		if (end < pages || end - pages < lowest)
			return false;
		first = (end - pages) & ~(align - 1);
		below = RB_PREV(range_head, NULL, above);
		if (first < lowest)
			return false;
		if (!below || first > below->last) {
			*ret_first = first;
			*ret_above = above;
			*ret_below = below;
			return true;
		}
	}
}

static void insert_locked(struct range_tree *t, struct range *r, struct range *above,
			  struct range *below)
{
	if (below && !RB_RIGHT(below, link)) {
		RB_SET(r, below, link);
		RB_RIGHT(below, link) = r;
	} else {
		RB_SET(r, above, link);
		RB_LEFT(above, link) = r;
	}
	range_head_RB_INSERT_COLOR(&t->head, r);
}

uint64_t range_tree_alloc(struct range_tree *t, uint64_t pages, uint64_t limit)
{
	const bool low = limit < LOW_END;
	uint64_t first = RANGE_NONE, align = 1;
	struct range *from, *above, *below, *r;
	bool found;

	while (align < pages)
		align *= 2;
	pthread_mutex_lock(&t->lock);
	if (limit >= t->top.first)
		limit = t->top.first - 1;
	if (low && pages >= t->misfit_low)
		goto out;
	from = low ? t->cached_low : t->cached;
	found = walk_locked(from, pages, align, limit + 1, t->lowest, &first, &above, &below);
	if (!found && from->first <= limit)
		found = walk_locked(above_locked(t, limit), pages, align, limit + 1,
				    from->last + 1, &first, &above, &below);
	if (!found) {
		first = RANGE_NONE;
		if (limit == LOW_END - 1)
			t->misfit_low = pages;
		goto out;
	}
	r = take_node_locked(t);
	if (!r) {
		first = RANGE_NONE;
		goto out;
	}
	r->first = first;
	r->last = first + pages - 1;
	insert_locked(t, r, above, below);
	if (r->last < LOW_END)
		t->cached_low = r;
	else
		t->cached = r;
	t->n_ranges++;
	t->n_pages += pages;
out:
	pthread_mutex_unlock(&t->lock);
	return first;
}

static void free_locked(struct range_tree *t, uint64_t first)
{
	struct range key = { .first = first };
	struct range *r = RB_FIND(range_head, &t->head, &key);
	struct range *next;

	if (!r || r == &t->top)
		return;
	next = RB_NEXT(range_head, &t->head, r);
	if (r == t->cached_low || (r->last < LOW_END && r->first >= t->cached_low->first))
		t->cached_low = next;
	if (r->first < LOW_END)
		t->misfit_low = UINT64_MAX;
	if (r->first >= t->cached->first)
		t->cached = next;
	RB_REMOVE(range_head, &t->head, r);
	t->n_ranges--;
	t->n_pages -= r->last - r->first + 1;
	put_node_locked(t, r);
}

void range_tree_free(struct range_tree *t, uint64_t first)
{
	pthread_mutex_lock(&t->lock);
	free_locked(t, first);
	pthread_mutex_unlock(&t->lock);
}

void range_tree_free_all(struct range_tree *t, const uint64_t *firsts, unsigned n)
{
	pthread_mutex_lock(&t->lock);
	for (unsigned i = 0; i < n; i++)
		free_locked(t, firsts[i]);
	pthread_mutex_unlock(&t->lock);
}

void range_tree_population(struct range_tree *t, struct contender_population *ret_population)
{
	uint64_t end = 0; /* leaf tables below it are counted */
	struct range *r;

	pthread_mutex_lock(&t->lock);
	*ret_population = (struct contender_population){ t->n_ranges, t->n_pages, 0 };
	RB_FOREACH(r, range_head, &t->head) {
		uint64_t first = r->first >> LEAF_PAGES_SHIFT, last = r->last >> LEAF_PAGES_SHIFT;

		if (r == &t->top)
			break;
		if (last + 1 > end)
			ret_population->leaf_tables += last + 1 - (first > end ? first : end);
		end = last + 1;
	}
	pthread_mutex_unlock(&t->lock);
}

/* The black height of @r's subtree, or -1 where the rules of colour are broken. */
static int black_height(const struct range *r)
{
	int left, right;

	if (!r)
		return 0;
	if (RB_COLOR(r, link) == RB_RED &&
	    ((RB_LEFT(r, link) && RB_COLOR(RB_LEFT(r, link), link) == RB_RED) ||
	     (RB_RIGHT(r, link) && RB_COLOR(RB_RIGHT(r, link), link) == RB_RED)))
		return -1;
	left = black_height(RB_LEFT(r, link));
	right = black_height(RB_RIGHT(r, link));
	if (left < 0 || left != right)
		return -1;
	return left + (RB_COLOR(r, link) == RB_BLACK);
}

bool range_tree_is_valid(struct range_tree *t)
{
	uint64_t ranges = 0, pages = 0, end = t->lowest;
	bool cached = false, cached_low = false, valid;
	struct range *r;

	pthread_mutex_lock(&t->lock);
	valid = black_height(RB_ROOT(&t->head)) >= 0;
	RB_FOREACH(r, range_head, &t->head) {
		valid = valid && r->first >= end && r->last >= r->first;
		end = r->last + 1;
		cached = cached || r == t->cached;
		cached_low = cached_low || r == t->cached_low;
		ranges++;
		pages += r->last - r->first + 1;
	}
	/* The top one is in the tree and in no count. */
	valid = valid && cached && cached_low && ranges == t->n_ranges + 1 &&
		pages == t->n_pages + 1;
	pthread_mutex_unlock(&t->lock);
	return valid;
}
