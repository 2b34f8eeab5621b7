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
	DR_COUNTERS
};

struct dr_counter_block {
	_Atomic uint64_t n[DR_COUNTERS];
} __attribute__((aligned(128))); /* two lines: the adjacent-line prefetcher pairs them */

struct dr_counters {
	/* Installed by the thread that holds the number; read by all. */
	_Atomic(struct dr_counter_block *) by_thread[DR_THREADS];
	struct dr_counter_block shared;
};

/* Give this thread a block of its own if memory allows. Only where allocating is allowed. */
void dr_counters_ready(struct dr_counters *c);

/* Free the blocks and zero everything. */
void dr_counters_close(struct dr_counters *c);

uint64_t dr_counters_sum(const struct dr_counters *c, enum dr_counter which);

static inline void dr_count_order(struct dr_counters *c, enum dr_counter which, uint64_t n,
				  memory_order order)
{
	unsigned self = dr_thread_peek();
	struct dr_counter_block *b = NULL;

	if (self < DR_THREADS)
		b = atomic_load_explicit(&c->by_thread[self], memory_order_relaxed);
	if (b)
		atomic_store_explicit(&b->n[which],
				      atomic_load_explicit(&b->n[which], memory_order_relaxed) + n,
				      order);
	else
		atomic_fetch_add_explicit(&c->shared.n[which], n, order);
}

static inline void dr_count(struct dr_counters *c, enum dr_counter which, uint64_t n)
{
	dr_count_order(c, which, n, memory_order_relaxed);
}

#endif
