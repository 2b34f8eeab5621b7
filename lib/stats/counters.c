// SPDX-License-Identifier: BSD-2-Clause
#include "stats/counters.h"
#include "base/hooks.h"

void dr_counters_make(struct dr_counters *c)
{
	unsigned self = dr_thread_number();
	struct dr_counter_block *b;

	if (self >= DR_THREADS || dr_counters_mine(c))
		return;
	b = dr_hooks->alloc(sizeof(*b), _Alignof(struct dr_counter_block));
	/* Release: a summing thread that finds the block finds it zeroed. */
	if (b)
		atomic_store_explicit(&c->by_thread[self + 1], b, memory_order_release);
}

void dr_counters_close(struct dr_counters *c)
{
	for (unsigned i = 1; i <= DR_THREADS; i++) {
		dr_free(atomic_load_explicit(&c->by_thread[i], memory_order_relaxed));
		atomic_store_explicit(&c->by_thread[i], NULL, memory_order_relaxed);
	}
	for (unsigned i = 0; i < DR_COUNTERS; i++)
		atomic_store_explicit(&c->shared.n[i], 0, memory_order_relaxed);
}

uint64_t dr_counters_sum(const struct dr_counters *c, enum dr_counter which)
{
	/*
	 * Acquire: whoever finds every receipt ended also finds everything done that its thread did
	 * before it counted the end.
	 */
	uint64_t sum = atomic_load_explicit(&c->shared.n[which], memory_order_acquire);

	for (unsigned i = 1; i <= DR_THREADS; i++) {
		const struct dr_counter_block *b =
			atomic_load_explicit(&c->by_thread[i], memory_order_acquire);

		if (b)
			sum += atomic_load_explicit(&b->n[which], memory_order_acquire);
	}
	return sum;
}
