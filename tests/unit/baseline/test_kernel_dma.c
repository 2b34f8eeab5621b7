// SPDX-License-Identifier: BSD-2-Clause
/* The kernel's lazy unmap: rings, what an invalidation covers, and the timer. */
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "baseline/kernel_dma.h"

#define PAGE   ((size_t)4096)
#define PLACES (KERNEL_FQ_ENTRIES - 1)

static _Alignas(4096) char memory[16 * 4096];

static struct kernel_dma *opened(unsigned threads, unsigned timer_ms)
{
	struct kernel_dma_opts opts = {
		.device = "sim1", .threads = threads, .timer_ms = timer_ms,
	};
	struct kernel_dma *dma;

	assert_int_equal(kernel_dma_open(&opts, &dma), 0);
	return dma;
}

static struct kernel_dma_counts counts(struct kernel_dma *dma)
{
	struct kernel_dma_counts c;

	kernel_dma_counts(dma, &c);
	return c;
}

static uint64_t mapped(struct kernel_dma *dma)
{
	uint64_t iova;

	assert_int_equal(kernel_dma_map(dma, memory, PAGE, &iova), 0);
	assert_ptr_equal(kernel_dma_va(dma, iova), memory);
	return iova;
}

static void entries_go_at_once(void **state)
{
	struct kernel_dma *dma = opened(1, 0);
	uint64_t iova;

	(void)state;
	assert_int_equal(kernel_dma_map(dma, memory, 3 * PAGE, &iova), 0);
	assert_ptr_equal(kernel_dma_va(dma, iova + 2 * PAGE), memory + 2 * PAGE);
	kernel_dma_unmap(dma, 0, iova, 3 * PAGE);
	assert_null(kernel_dma_va(dma, iova));
	assert_null(kernel_dma_va(dma, iova + 2 * PAGE));
	assert_int_equal(counts(dma).invalidations, 0);
	kernel_dma_close(dma);
}

/* One invalidation for a ring; until then no address comes twice. */
static void a_full_ring_is_flushed_whole(void **state)
{
	struct kernel_dma *dma = opened(1, 0);
	uint64_t seen[PLACES];

	(void)state;
	for (unsigned round = 1; round <= 4; round++) {
		for (unsigned i = 0; i < PLACES; i++) {
			seen[i] = mapped(dma);
			for (unsigned k = 0; k < i; k++)
				assert_int_not_equal(seen[i], seen[k]);
			kernel_dma_unmap(dma, 0, seen[i], PAGE);
		}
		/* The first of each later round found the ring full. */
		assert_int_equal(counts(dma).invalidations, round - 1);
		assert_int_equal(counts(dma).by_full, round - 1);
		assert_int_equal(counts(dma).waiting, PLACES);
	}
	assert_int_equal(counts(dma).unmaps, 4 * PLACES);
	kernel_dma_close(dma);
}

/* What came in after an invalidation had begun is not covered by it. */
static void covers_only_what_came_before(void **state)
{
	struct kernel_dma *dma = opened(2, 0);
	uint64_t early = mapped(dma), late, next;

	(void)state;
	kernel_dma_unmap(dma, 0, early, PAGE);
	/* The other ring flushes for all; this one's entry is covered, and still there. */
	for (unsigned i = 0; i <= PLACES; i++)
		kernel_dma_unmap(dma, 1, mapped(dma), PAGE);
	assert_int_equal(counts(dma).invalidations, 1);
	assert_int_equal(counts(dma).waiting, 2);
	/* It goes when its ring is used next; the entry that used it waits. */
	late = mapped(dma);
	kernel_dma_unmap(dma, 0, late, PAGE);
	assert_int_equal(counts(dma).invalidations, 1);
	assert_int_equal(counts(dma).waiting, 2);
	next = mapped(dma);
	assert_int_equal(next, early);
	assert_int_not_equal(mapped(dma), late);
	kernel_dma_close(dma);
}

static void a_timeout_empties_all_rings(void **state)
{
	struct kernel_dma *dma = opened(3, 0);

	(void)state;
	for (unsigned i = 0; i < 30; i++)
		kernel_dma_unmap(dma, i % 3, mapped(dma), PAGE);
	assert_int_equal(counts(dma).waiting, 30);
	kernel_dma_timeout(dma);
	assert_int_equal(counts(dma).waiting, 0);
	assert_int_equal(counts(dma).invalidations, 1);
	assert_int_equal(counts(dma).by_timer, 1);
	kernel_dma_close(dma);
}

/* The timer comes after an unmap, and no more without one; how soon is its own affair. */
static void the_timer_comes(void **state)
{
	struct kernel_dma *dma = opened(1, 1);

	(void)state;
	for (unsigned round = 1; round <= 3; round++) {
		kernel_dma_unmap(dma, 0, mapped(dma), PAGE);
		while (counts(dma).waiting)
			sched_yield();
		assert_int_equal(counts(dma).by_timer, round);
	}
	kernel_dma_close(dma);
}

/* Threads, the timer among them: nobody has an address that another one has. */
enum { THREADS = 3, STEPS = 20000, OUT = 8 };

struct member {
	struct kernel_dma *dma;
	unsigned thread;
	char *mine;
	int err;
};

static void *work(void *arg)
{
	struct member *m = arg;
	uint64_t out[OUT];
	unsigned n = 0;

	for (unsigned step = 0; step < STEPS && !m->err; step++) {
		if (n == OUT) {
			unsigned victim = step * 2654435761u % OUT;

			/* Somebody else's entry at our address would lead to his memory. */
			if (kernel_dma_va(m->dma, out[victim]) != m->mine)
				m->err = 1;
			kernel_dma_unmap(m->dma, m->thread, out[victim], PAGE);
			out[victim] = out[--n];
		}
		if (kernel_dma_map(m->dma, m->mine, PAGE, &out[n]))
			m->err = 2;
		else
			n++;
	}
	while (n)
		kernel_dma_unmap(m->dma, m->thread, out[--n], PAGE);
	return NULL;
}

static void works_for_many_threads(void **state)
{
	struct kernel_dma *dma = opened(THREADS, 1);
	struct member members[THREADS];
	pthread_t threads[THREADS];

	(void)state;
	for (unsigned i = 0; i < THREADS; i++) {
		members[i] = (struct member){ dma, i, memory + i * PAGE, 0 };
		assert_int_equal(pthread_create(&threads[i], NULL, work, &members[i]), 0);
	}
	for (unsigned i = 0; i < THREADS; i++) {
		pthread_join(threads[i], NULL);
		assert_int_equal(members[i].err, 0);
	}
	assert_int_equal(counts(dma).unmaps, THREADS * STEPS);
	kernel_dma_close(dma);
}

static void open_says_what_is_wrong(void **state)
{
	struct kernel_dma_opts opts = { .device = "nonsense", .threads = 1 };
	struct kernel_dma *dma, *second;

	(void)state;
	assert_true(kernel_dma_open(&opts, &dma) < 0);
	dma = opened(1, 0);
	opts.device = "sim1";
	assert_true(kernel_dma_open(&opts, &second) < 0);
	kernel_dma_close(dma);
	kernel_dma_close(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(entries_go_at_once),
		cmocka_unit_test(a_full_ring_is_flushed_whole),
		cmocka_unit_test(covers_only_what_came_before),
		cmocka_unit_test(a_timeout_empties_all_rings),
		cmocka_unit_test(the_timer_comes),
		cmocka_unit_test(works_for_many_threads),
		cmocka_unit_test(open_says_what_is_wrong),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
