/* SPDX-License-Identifier: BSD-2-Clause */
/* A mutex over a red-black tree of the ranges that are out: see range_tree.c. Units are pages. */
#ifndef BENCH_BASELINE_RANGE_TREE_H
#define BENCH_BASELINE_RANGE_TREE_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include <bsd/sys/tree.h>

#include "baseline/contender.h"

/* Constant while it is in the tree; guarded by the tree's lock. */
struct range {
	RB_ENTRY(range) link;
	uint64_t first, last;
};

RB_HEAD(range_head, range);

struct range_slab;

struct range_tree {
	pthread_mutex_t lock; /* guards everything below but what is constant */
	struct range_head head;
	struct range top;     /* always there, just above the window: where a walk starts */
	uint64_t lowest;      /* constant: no range begins below it */
	/* Where the next walk begins: the last range placed, or the one above the last one freed.
	 * One for walks under 4 GiB, one for all others. */
	struct range *cached, *cached_low;
	/* A walk under 4 GiB for so many pages has failed and nothing there was freed since. */
	uint64_t misfit_low;
	struct range *spare;  /* nodes not in use, linked by their left child */
	struct range_slab *slabs;
	uint64_t n_ranges, n_pages;
};

#define RANGE_NONE UINT64_MAX

/* Pages from @first to @last. 0 or -errno. */
int range_tree_open(struct range_tree *t, uint64_t first, uint64_t last);
void range_tree_close(struct range_tree *t);

/*
 * Place @pages, aligned to the power of two at or above them, none above page @limit. The first
 * page; RANGE_NONE where there is no room or no memory.
 */
uint64_t range_tree_alloc(struct range_tree *t, uint64_t pages, uint64_t limit);

/* Give back the range that begins at @first; what is not there is ignored. */
void range_tree_free(struct range_tree *t, uint64_t first);

/* The same for many, under one lock. */
void range_tree_free_all(struct range_tree *t, const uint64_t *firsts, unsigned n);

void range_tree_population(struct range_tree *t, struct contender_population *ret_population);

/* The tree is a red-black tree in order, without overlap, and its counts are right. For tests. */
bool range_tree_is_valid(struct range_tree *t);

#endif
