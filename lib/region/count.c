// SPDX-License-Identifier: BSD-2-Clause
#include "region/count.h"
#include "base/bits.h"
#include "base/hooks.h"

/* Two lines, which the adjacent-line prefetcher pairs: no thread writes beside another's array. */
#define APART 128

/* Slots of a first array: with its head, four such pairs of lines. */
#define LEAST_SLOTS 127u

void dr_counts_open(struct dr_counts *c)
{
	pthread_mutex_init(&c->lock, NULL);
	c->threads = 0;
	for (unsigned i = 0; i <= DR_THREADS; i++)
		atomic_store_explicit(&c->by_thread[i], NULL, memory_order_relaxed);
}

void dr_counts_close(struct dr_counts *c)
{
	for (unsigned i = 0; i <= DR_THREADS; i++) {
		dr_free(atomic_load_explicit(&c->by_thread[i], memory_order_relaxed));
		atomic_store_explicit(&c->by_thread[i], NULL, memory_order_relaxed);
	}
	pthread_mutex_destroy(&c->lock);
}

/* Longer than asked for by up to two times, so that growing costs little per region. */
static struct dr_count_array *new_array(uint32_t n)
{
	uint64_t slots = n <= LEAST_SLOTS ? LEAST_SLOTS : dr_pow2_up((uint64_t)n + 1) - 1;
	struct dr_count_array *a = dr_hooks->alloc((slots + 1) * sizeof(a->slot[0]), APART);

	if (a)
		a->n = (uint32_t)slots;
	return a;
}

void dr_counts_ready(struct dr_counts *c, uint32_t n)
{
	unsigned self = dr_thread_number();
	struct dr_count_array *old, *a;

	if (self >= DR_THREADS)
		return;
	old = atomic_load_explicit(&c->by_thread[self + 1], memory_order_relaxed);
	if (old && old->n >= n)
		return;
	a = new_array(n);
	if (!a)
		return;
	pthread_mutex_lock(&c->lock);
	for (uint32_t i = 0; old && i < old->n; i++)
		atomic_store_explicit(&a->slot[i],
				      atomic_load_explicit(&old->slot[i], memory_order_relaxed),
				      memory_order_relaxed);
	atomic_store_explicit(&c->by_thread[self + 1], a, memory_order_relaxed);
	if (self >= c->threads)
		c->threads = self + 1;
	pthread_mutex_unlock(&c->lock);
	dr_free(old);
}

uint32_t dr_counts_sum(struct dr_counts *c, uint32_t index)
{
	uint32_t sum = 0;

	pthread_mutex_lock(&c->lock);
	for (unsigned i = 0; i < c->threads; i++) {
		const struct dr_count_array *a =
			atomic_load_explicit(&c->by_thread[i + 1], memory_order_relaxed);

		if (a && index < a->n)
			sum += atomic_load_explicit(&a->slot[index], memory_order_acquire);
	}
	pthread_mutex_unlock(&c->lock);
	return sum;
}
