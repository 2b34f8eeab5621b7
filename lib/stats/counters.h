/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Counters that cost a plain load and store on a line that only this thread writes.
 *
 * Each domain has one block per thread number (base/thread.h) and one shared block for threads
 * without. A block is written by the thread that holds its number and read by whoever sums. A
 * number that changes hands brings its block along; since every counter only grows, nothing has to
 * be moved when a thread exits.
 *
 *   count × count    different blocks; the shared one with an atomic add
 *   count × sum      the sum sees each block at some moment during the call
 *   ready × ready    each thread installs its own block only
 *   close × any      the owner's business: no thread may count any more
 */
#ifndef DR_STATS_COUNTERS_H
#define DR_STATS_COUNTERS_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include "base/thread.h"

enum dr_counter {
	DR_BEGUN,  /* receipts given out, counted before anything else is done for them */
	DR_ENDED,  /* receipts gone: unmapped, or their map failed */
	DR_MAPS,
	DR_UNMAPS,
	DR_BACKEND_MAPS,
	DR_BACKEND_UNMAPS,
	DR_INVALIDATIONS,
	DR_MAP_BYTES,
	DR_UNMAP_BYTES,
	DR_MAP_FAILURES,
	DR_UNMAP_ERRORS,
	DR_BAD_UNMAPS,
	DR_LEAKS,
	DR_REPLAYS,
	DR_PARTIAL_BEGUN, /* mappings that expose more of a granule than their buffer */
	DR_PARTIAL_ENDED,
	DR_BOUNCE_WHY, /* one for each reason, see bounce/why.h */
	DR_BOUNCE_WHY_LAST = DR_BOUNCE_WHY + 7, /* ways.c checks that they have room */
	DR_BOUNCE_MAPS,
	DR_BOUNCE_IN_BYTES,  /* copied at map and by sync for device */
	DR_BOUNCE_OUT_BYTES, /* copied at unmap and by sync for cpu */
	DR_COUNTERS
};

struct dr_counter_block {
	_Atomic uint64_t n[DR_COUNTERS];
} __attribute__((aligned(128))); /* two lines: the adjacent-line prefetcher pairs them */

struct dr_counters {
	/*
	 * By number + 1, which is what a thread has at hand; the first is none. Installed by the
	 * thread that holds the number; read by all.
	 */
	_Atomic(struct dr_counter_block *) by_thread[DR_THREADS + 1];
	struct dr_counter_block shared;
};

/* The slow half of dr_counters_ready(). */
void dr_counters_make(struct dr_counters *c);

/* Free the blocks and zero everything. */
void dr_counters_close(struct dr_counters *c);

uint64_t dr_counters_sum(const struct dr_counters *c, enum dr_counter which);

/* This thread's block, or NULL. Good until the owner of the counters closes them. */
static inline struct dr_counter_block *dr_counters_mine(const struct dr_counters *c)
{
	return atomic_load_explicit(&c->by_thread[dr_thread_mine], memory_order_relaxed);
}

/* Give this thread a block of its own if memory allows. Only where allocating is allowed. */
static inline void dr_counters_ready(struct dr_counters *c)
{
	if (__builtin_expect(!dr_counters_mine(c), 0))
		dr_counters_make(c);
}

/* In this thread's block: who counts several things looks for it once. */
static inline void dr_count_in(struct dr_counter_block *b, enum dr_counter which, uint64_t n,
			       memory_order order)
{
	atomic_store_explicit(&b->n[which],
			      atomic_load_explicit(&b->n[which], memory_order_relaxed) + n, order);
}

static inline void dr_count_order(struct dr_counters *c, enum dr_counter which, uint64_t n,
				  memory_order order)
{
	struct dr_counter_block *b = dr_counters_mine(c);

	if (__builtin_expect(b != NULL, 1))
		dr_count_in(b, which, n, order);
	else
		atomic_fetch_add_explicit(&c->shared.n[which], n, order);
}

static inline void dr_count(struct dr_counters *c, enum dr_counter which, uint64_t n)
{
	dr_count_order(c, which, n, memory_order_relaxed);
}

/* Two at once, of which the second by @n: one look for the thread's block. */
static inline void dr_count_two(struct dr_counters *c, enum dr_counter one, enum dr_counter many,
				uint64_t n)
{
	struct dr_counter_block *b = dr_counters_mine(c);

	if (__builtin_expect(!b, 0)) {
		dr_count(c, one, 1);
		dr_count(c, many, n);
		return;
	}
	dr_count_in(b, one, 1, memory_order_relaxed);
	dr_count_in(b, many, n, memory_order_relaxed);
}

#endif
