// SPDX-License-Identifier: BSD-2-Clause
/*
 * Owners of disjoint ranges at work in the same tables, walkers among them, tables reclaimed under
 * them. What a walker finds must be what that range's owner maps there, or nothing; and because the
 * buffer is written before it is mapped and never freed, reading it is part of the check.
 */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/rcu.h"
#include "pgtable/pgtable.h"

#define KB4    UINT64_C(4096)
#define MB2    (UINT64_C(1) << 21)
#define OWNERS 3u
#define ROUNDS 3000u
#define SPAN   (3 * MB2)        /* of each owner; not a power of two, so that owners share tables */
#define BASE   ((UINT64_C(1) << 30) - MB2 + 64 * KB4)
#define CELLS  1024u

static struct dr_pgtable *pt;
static _Atomic uint64_t *cells; /* one page: cell i holds ~i when it is mapped anywhere */
static _Atomic bool stop;
static _Atomic uint64_t wrong, seen;

static uint64_t step(uint64_t *rng)
{
	*rng ^= *rng << 13;
	*rng ^= *rng >> 7;
	*rng ^= *rng << 17;
	return *rng;
}

/* The buffers of an owner are made-up addresses that tell the owner and the granule. */
static uint64_t fake_va(unsigned owner, uint64_t off)
{
	return (UINT64_C(0x1000) + owner) * (UINT64_C(1) << 32) + off;
}

static void *own(void *arg)
{
	unsigned self = (unsigned)(uintptr_t)arg;
	dray_iova_t base = BASE + self * SPAN;
	uint64_t rng = self + 1;

	for (unsigned i = 0; i < ROUNDS; i++) {
		uint64_t off = step(&rng) % (SPAN / KB4) * KB4;
		uint64_t len = (1 + step(&rng) % (i % 8 ? 16 : 1024)) * KB4;
		uint64_t cell = i % CELLS;

		if (off + len > SPAN)
			len = SPAN - off;
		/* What the owner wrote before the map is what a walker must see. */
		atomic_store_explicit(&cells[self * CELLS + cell], ~cell, memory_order_relaxed);
		if (dr_pgtable_prepare(pt, base + off, (void *)(uintptr_t)fake_va(self, off), len))
			abort();
		dr_pgtable_set(pt, base + off, (void *)(uintptr_t)fake_va(self, off), len,
			       DR_PTE_READ | dr_pte_owner_bits((unsigned)cell));
		if (step(&rng) % 4 == 0) { /* all of it, so that whole tables go */
			if (dr_pgtable_clear(pt, base, SPAN) != len)
				atomic_fetch_add(&wrong, 1);
			dr_pgtable_flush_end(pt, base, base + SPAN - 1,
					     dr_pgtable_flush_begin(pt));
		} else if (dr_pgtable_clear(pt, base + off, len) != len) {
			atomic_fetch_add(&wrong, 1);
		}
		if (dr_pgtable_wants_reclaim(pt))
			dr_pgtable_reclaim(pt);
	}
	return NULL;
}

static void *walk(void *arg)
{
	uint64_t rng = 77;

	(void)arg;
	while (!atomic_load_explicit(&stop, memory_order_relaxed)) {
		uint64_t at = step(&rng) % (OWNERS * SPAN / KB4) * KB4;
		unsigned self = (unsigned)(at / SPAN), shift;
		struct dr_pt_mapping m;
		uint64_t pte, cell;

		dr_rcu_read_lock();
		pte = dr_pgtable_lookup(pt, BASE + at, &shift);
		dr_rcu_read_unlock();
		if (pte) {
			cell = dr_pte_owner(pte);
			if ((pte & DR_PTE_ADDR) != fake_va(self, at % SPAN) ||
			    atomic_load_explicit(&cells[self * CELLS + cell],
						 memory_order_relaxed) != ~cell)
				atomic_fetch_add(&wrong, 1);
			atomic_fetch_add_explicit(&seen, 1, memory_order_relaxed);
		}
		if (rng % 64 == 0 && dr_pgtable_next(pt, BASE + at, UINT64_MAX, &m) &&
		    (uintptr_t)m.va != fake_va((unsigned)((m.iova - BASE) / SPAN),
					       (m.iova - BASE) % SPAN))
			atomic_fetch_add(&wrong, 1);
	}
	return NULL;
}

static void run(bool cached)
{
	pthread_t owners[OWNERS], walker;

	atomic_store(&stop, false);
	atomic_store(&wrong, 0);
	cells = calloc((size_t)OWNERS * CELLS, sizeof(*cells));
	assert_non_null(cells);
	assert_int_equal(dr_pgtable_open(DR_PT_PAGE_SIZES, &pt), 0);
	if (cached)
		dr_pgtable_set_cached(pt);
	assert_int_equal(pthread_create(&walker, NULL, walk, NULL), 0);
	for (unsigned i = 0; i < OWNERS; i++)
		assert_int_equal(pthread_create(&owners[i], NULL, own, (void *)(uintptr_t)i), 0);
	for (unsigned i = 0; i < OWNERS; i++)
		pthread_join(owners[i], NULL);
	atomic_store(&stop, true);
	pthread_join(walker, NULL);
	assert_int_equal(atomic_load(&wrong), 0);
	assert_int_equal(dr_pgtable_clear(pt, BASE, OWNERS * SPAN), 0);
	assert_true(dr_pgtable_is_valid(pt));
	dr_pgtable_close(pt);
	free((void *)cells);
}

#define FRESH 4000u

static pthread_barrier_t start;

/* Both owners need the same new table at the same moment. */
static void *meet(void *arg)
{
	unsigned self = (unsigned)(uintptr_t)arg;

	for (unsigned i = 0; i < FRESH; i++) {
		dray_iova_t iova = BASE + i * MB2 + self * KB4;
		void *va = (void *)(uintptr_t)fake_va(self, i * KB4);

		pthread_barrier_wait(&start);
		if (dr_pgtable_prepare(pt, iova, va, KB4))
			abort();
		dr_pgtable_set(pt, iova, va, KB4, DR_PTE_READ);
	}
	return NULL;
}

static void one_table_wins(void **state)
{
	pthread_t owners[2];

	(void)state;
	assert_int_equal(dr_pgtable_open(DR_PT_PAGE_SIZES, &pt), 0);
	pthread_barrier_init(&start, NULL, 2);
	for (unsigned i = 0; i < 2; i++)
		assert_int_equal(pthread_create(&owners[i], NULL, meet, (void *)(uintptr_t)i), 0);
	for (unsigned i = 0; i < 2; i++)
		pthread_join(owners[i], NULL);
	for (unsigned i = 0; i < FRESH; i++)
		for (unsigned self = 0; self < 2; self++)
			assert_int_equal((uintptr_t)dr_pgtable_va(pt, BASE + i * MB2 + self * KB4),
					 fake_va(self, i * KB4));
	assert_true(dr_pgtable_is_valid(pt));
	pthread_barrier_destroy(&start);
	dr_pgtable_close(pt);
}

static void owners_do_not_meet(void **state)
{
	(void)state;
	run(false);
}

static void owners_do_not_meet_while_cached(void **state)
{
	(void)state;
	run(true);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_table_wins),
		cmocka_unit_test(owners_do_not_meet),
		cmocka_unit_test(owners_do_not_meet_while_cached),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
