/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * How many mappings are out in each region, without a line that two threads write.
 *
 * Each thread number (base/thread.h) has an array of 4-byte slots, one for each region index. A map
 * adds one to its own thread's slot, an unmap takes one from its own thread's, so single slots may
 * be anything, modulo 2^32; their sum over all threads, and over the region's shared count, is what
 * is out. Where a thread has no array, or a short one, the region's shared count is used, so that
 * an unmap never allocates.
 *
 *   add × add    different slots; a shared count with an atomic add
 *   add × sum    the sum sees each slot at some moment; who sums has kept new maps out by a grace
 *                period before, so what it finds out can only become less
 *   grow × sum   the lock: a sum finds an array's counts in the old one or in the new one
 *   exit         nothing moves: the array stays with the number, for the next thread that has it
 *   close × any  the owner's business: no thread may count any more
 */
#ifndef DR_REGION_COUNT_H
#define DR_REGION_COUNT_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/thread.h"

struct dr_count_array {
	uint32_t n;              /* constant */
	_Atomic uint32_t slot[]; /* written by the thread that has the number */
};

struct dr_counts {
	pthread_mutex_t lock;
	unsigned threads; /* guarded by lock: numbers from here on have no array */
	/*
	 * By number + 1, which is what a thread has at hand; the first is none. Written under lock
	 * by the thread that has the number, which alone follows its pointer without it.
	 */
	_Atomic(struct dr_count_array *) by_thread[DR_THREADS + 1];
};

void dr_counts_open(struct dr_counts *c);
void dr_counts_close(struct dr_counts *c);

/* Give this thread a slot for every index below @n, if memory allows. May allocate. */
void dr_counts_ready(struct dr_counts *c, uint32_t n);

/* The sum of all threads' slots. Acquire: what a thread did before it counted was done. */
uint32_t dr_counts_sum(struct dr_counts *c, uint32_t index);

/* False: this thread has no slot for it. Release: see dr_counts_sum(). */
static inline bool dr_counts_add(struct dr_counts *c, uint32_t index, uint32_t n)
{
	struct dr_count_array *a =
		atomic_load_explicit(&c->by_thread[dr_thread_mine], memory_order_relaxed);

	if (__builtin_expect(!a || index >= a->n, 0))
		return false;
	atomic_store_explicit(&a->slot[index],
			      atomic_load_explicit(&a->slot[index], memory_order_relaxed) + n,
			      memory_order_release);
	return true;
}

#endif
