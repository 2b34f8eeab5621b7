// SPDX-License-Identifier: BSD-2-Clause
/* The mapping table, case by case. Host addresses are never touched and may be made up. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/hooks.h"
#include "base/rcu.h"
#include "pgtable/pgtable.h"

#define KB4  ((size_t)1 << 12)
#define MB2  ((size_t)1 << 21)
#define GB1  ((size_t)1 << 30)
#define RW   (DR_PTE_READ | DR_PTE_WRITE)
#define VA(x) ((void *)(uintptr_t)(x))

static struct dr_pgtable *open_table(void)
{
	struct dr_pgtable *pt;

	assert_int_equal(dr_pgtable_open(DR_PT_PAGE_SIZES, &pt), 0);
	return pt;
}

static void put(struct dr_pgtable *pt, dray_iova_t iova, uintptr_t va, size_t len, uint64_t bits)
{
	assert_int_equal(dr_pgtable_prepare(pt, iova, VA(va), len), 0);
	dr_pgtable_set(pt, iova, VA(va), len, bits);
	assert_true(dr_pgtable_is_valid(pt));
}

static unsigned shift_at(const struct dr_pgtable *pt, dray_iova_t iova)
{
	unsigned shift;

	dr_rcu_read_lock();
	dr_pgtable_lookup(pt, iova, &shift);
	dr_rcu_read_unlock();
	return shift;
}

static uint64_t pte_at(const struct dr_pgtable *pt, dray_iova_t iova)
{
	uint64_t pte;
	unsigned shift;

	dr_rcu_read_lock();
	pte = dr_pgtable_lookup(pt, iova, &shift);
	dr_rcu_read_unlock();
	return pte;
}

static uint64_t pages(const struct dr_pgtable *pt)
{
	return dr_pgtable_bytes(pt) / KB4;
}

static void flush(struct dr_pgtable *pt, dray_iova_t first, dray_iova_t last)
{
	dr_pgtable_flush_end(pt, first, last, dr_pgtable_flush_begin(pt));
}

static void shows_every_level(void **state)
{
	struct dr_pgtable *pt = open_table();
	dray_iova_t iova = UINT64_C(0x123456789000);
	struct dr_pt_walk w;

	(void)state;
	dr_pgtable_walk(pt, iova, &w);
	assert_int_equal(w.levels, 1);
	assert_int_equal(w.entry[0], 0);
	assert_int_equal(w.page_shift, 0);

	put(pt, iova, 0x7000aaaa1000, KB4, DR_PTE_READ | dr_pte_owner_bits(1023));
	dr_pgtable_walk(pt, iova + 5, &w);
	assert_int_equal(w.levels, 4);
	assert_int_equal(w.page_shift, 12);
	assert_int_equal(w.pte, w.entry[3]);
	assert_int_equal(w.pte & DR_PTE_ADDR, 0x7000aaaa1000);
	assert_int_equal(dr_pte_owner(w.pte), 1023);
	assert_int_equal(w.pte & (RW | DR_PTE_START | DR_PTE_LAST | DR_PTE_LARGE),
			 DR_PTE_READ | DR_PTE_START | DR_PTE_LAST);
	for (int i = 0; i < 3; i++)
		assert_int_equal(w.entry[i] & ~DR_PTE_ADDR, RW);

	/* The neighbour shares all tables and has no leaf; the next 2 MiB have no table. */
	dr_pgtable_walk(pt, iova + KB4, &w);
	assert_int_equal(w.levels, 4);
	assert_int_equal(w.pte, 0);
	dr_pgtable_walk(pt, iova + MB2, &w);
	assert_int_equal(w.levels, 3);
	/* Above 48 bits nothing is read. */
	dr_pgtable_walk(pt, UINT64_C(1) << 48, &w);
	assert_int_equal(w.levels, 0);
	assert_null(dr_pgtable_va(pt, UINT64_MAX));

	assert_ptr_equal(dr_pgtable_va(pt, iova + 0xabc), VA(0x7000aaaa1abc));
	assert_null(dr_pgtable_va(pt, iova + KB4));
	dr_pgtable_close(pt);
}

static void picks_leaf_sizes_by_congruence(void **state)
{
	struct dr_pgtable *pt = open_table();
	struct dr_pt_mapping m;
	dray_iova_t iova = 5 * GB1 - MB2 - KB4;
	size_t len = KB4 + MB2 + GB1 + MB2 + KB4;

	(void)state;
	put(pt, iova, 0x700000000000 + iova, len, RW);
	assert_int_equal(shift_at(pt, iova), 12);
	assert_int_equal(shift_at(pt, iova + KB4), 21);
	assert_int_equal(shift_at(pt, 5 * GB1 + 12345), 30);
	assert_int_equal(shift_at(pt, 6 * GB1), 21);
	assert_int_equal(shift_at(pt, 6 * GB1 + MB2), 12);
	assert_int_equal(shift_at(pt, 6 * GB1 + MB2 + KB4), 0);
	/* One mapping, whatever it is made of. */
	assert_true(dr_pgtable_next(pt, 0, UINT64_MAX, &m));
	assert_int_equal(m.iova, iova);
	assert_int_equal(m.len, len);
	assert_ptr_equal(m.va, VA(0x700000000000 + iova));
	assert_int_equal(m.bits, RW);
	assert_false(dr_pgtable_next(pt, iova + 1, UINT64_MAX, &m));
	for (size_t off = 0; off < len; off += len / 7)
		assert_ptr_equal(dr_pgtable_va(pt, iova + off), VA(0x700000000000 + iova + off));
	assert_int_equal(dr_pgtable_clear(pt, iova, len), len);
	assert_false(dr_pgtable_next(pt, 0, UINT64_MAX, &m));
	assert_true(dr_pgtable_is_valid(pt));

	/* Congruent modulo 2 MiB only: no 1 GiB leaf. Not at all: 4 KiB leaves. */
	put(pt, 8 * GB1, 0x700000000000 + MB2, GB1, RW);
	assert_int_equal(shift_at(pt, 8 * GB1), 21);
	put(pt, 10 * GB1, 0x700000000000 + KB4, MB2, RW);
	assert_int_equal(shift_at(pt, 10 * GB1), 12);
	dr_pgtable_close(pt);
}

static void honours_page_sizes(void **state)
{
	struct dr_pgtable *pt;

	(void)state;
	assert_int_equal(dr_pgtable_open(KB4, &pt), 0);
	put(pt, GB1, 0x700000000000, 2 * MB2, RW);
	assert_int_equal(shift_at(pt, GB1), 12);
	dr_pgtable_close(pt);
	assert_int_equal(dr_pgtable_open(KB4 | GB1, &pt), 0);
	put(pt, GB1, 0x700040000000, GB1 + MB2, RW);
	assert_int_equal(shift_at(pt, GB1), 30);
	assert_int_equal(shift_at(pt, 2 * GB1), 12);
	dr_pgtable_close(pt);
}

static void pieces_are_one_mapping(void **state)
{
	struct dr_pgtable *pt = open_table();
	struct dr_pt_mapping m;
	dray_iova_t iova = 3 * MB2 - 2 * KB4;
	uint64_t bits = DR_PTE_WRITE | dr_pte_owner_bits(7);

	(void)state;
	put(pt, iova, 0x10000000, 3 * KB4, bits);
	put(pt, iova + 3 * KB4, 0x10003000, 2 * KB4, bits | DR_PTE_CONTINUE);
	/* Another mapping adjoins, in VA as well. */
	put(pt, iova + 5 * KB4, 0x10005000, KB4, bits);
	assert_true(dr_pgtable_next(pt, 0, UINT64_MAX, &m));
	assert_int_equal(m.iova, iova);
	assert_int_equal(m.len, 5 * KB4);
	assert_int_equal(m.bits, bits);
	assert_true(dr_pgtable_next(pt, m.iova + 1, UINT64_MAX, &m));
	assert_int_equal(m.iova, iova + 5 * KB4);
	assert_int_equal(m.len, KB4);
	/* Where it may begin is bounded, not where it ends. */
	assert_true(dr_pgtable_next(pt, 0, iova, &m));
	assert_int_equal(m.len, 5 * KB4);
	assert_false(dr_pgtable_next(pt, 0, iova - 1, &m));
	assert_false(dr_pgtable_next(pt, iova + KB4, iova + 4 * KB4, &m));

	/* Pieces may be taken back one by one, but not cut. */
	assert_false(dr_pgtable_is_cut(pt, iova, 6 * KB4));
	assert_false(dr_pgtable_is_cut(pt, iova, 3 * KB4));
	assert_false(dr_pgtable_is_cut(pt, iova + 3 * KB4, 2 * KB4));
	assert_false(dr_pgtable_is_cut(pt, iova - KB4, 4 * KB4));
	assert_true(dr_pgtable_is_cut(pt, iova, 2 * KB4));
	assert_true(dr_pgtable_is_cut(pt, iova + KB4, 2 * KB4));
	assert_true(dr_pgtable_is_cut(pt, iova + 4 * KB4, KB4));
	assert_int_equal(dr_pgtable_clear(pt, iova, 3 * KB4), 3 * KB4);
	assert_int_equal(dr_pgtable_clear(pt, iova, 6 * KB4), 3 * KB4);
	dr_pgtable_close(pt);
}

static void large_leaves_are_not_cut(void **state)
{
	struct dr_pgtable *pt = open_table();
	dray_iova_t first;
	size_t len;

	(void)state;
	put(pt, GB1, GB1, 2 * MB2, RW);
	assert_true(dr_pgtable_is_cut(pt, GB1, MB2));
	assert_true(dr_pgtable_is_cut(pt, GB1, KB4));
	assert_true(dr_pgtable_is_cut(pt, GB1 + KB4, 2 * MB2 - KB4));
	assert_false(dr_pgtable_is_cut(pt, GB1, 2 * MB2));
	assert_false(dr_pgtable_is_cut(pt, GB1 - KB4, 3 * MB2));
	assert_true(dr_pgtable_own_leaf(pt, GB1 + MB2 + 5 * KB4, &first, &len));
	assert_int_equal(first, GB1 + MB2);
	assert_int_equal(len, MB2);
	assert_false(dr_pgtable_own_leaf(pt, GB1 - KB4, &first, &len));
	dr_pgtable_close(pt);
}

static void works_at_both_ends(void **state)
{
	struct dr_pgtable *pt = open_table();
	dray_iova_t top = (UINT64_C(1) << 48) - KB4;
	struct dr_pt_mapping m;

	(void)state;
	put(pt, top, 0x5000, KB4, RW);
	put(pt, 0, 0x9000, KB4, RW);
	assert_true(dr_pgtable_next(pt, 0, UINT64_MAX, &m));
	assert_int_equal(m.iova, 0);
	assert_true(dr_pgtable_next(pt, KB4, UINT64_MAX, &m));
	assert_int_equal(m.iova, top);
	assert_int_equal(m.len, KB4);
	assert_false(dr_pgtable_next(pt, top + KB4, UINT64_MAX, &m));
	assert_false(dr_pgtable_next(pt, 2, 1, &m));
	/* The highest host address an entry holds. */
	put(pt, GB1, (UINT64_C(1) << 52) - KB4, KB4, RW);
	assert_int_equal(pte_at(pt, GB1) & DR_PTE_ADDR, (UINT64_C(1) << 52) - KB4);
	dr_pgtable_close(pt);
}

static void clear_counts_what_was_there(void **state)
{
	struct dr_pgtable *pt = open_table();

	(void)state;
	assert_int_equal(dr_pgtable_clear(pt, GB1, GB1), 0);
	put(pt, GB1 + KB4, 0x1000, KB4, RW);
	put(pt, GB1 + 9 * KB4, 0x2000, 2 * KB4, RW);
	put(pt, GB1 + 2 * MB2, 0x40000000, MB2, RW);
	assert_int_equal(dr_pgtable_clear(pt, GB1, 9 * KB4), KB4);
	assert_int_equal(dr_pgtable_clear(pt, GB1, GB1 / 2), 2 * KB4 + MB2);
	assert_true(dr_pgtable_is_valid(pt));
	dr_pgtable_close(pt);
}

static void whole_tables_are_unlinked_then_freed(void **state)
{
	struct dr_pgtable *pt = open_table();
	struct dr_pt_walk w;

	(void)state;
	assert_int_equal(pages(pt), 1);
	put(pt, GB1, KB4, 2 * MB2, RW);
	assert_int_equal(pages(pt), 1 + 2 + 2);
	/* Not covered whole: the tables stay, and are used again. */
	assert_int_equal(dr_pgtable_clear(pt, GB1 + KB4, 2 * (MB2 - KB4)), 2 * (MB2 - KB4));
	dr_pgtable_walk(pt, GB1, &w);
	assert_int_equal(w.levels, 4);
	assert_int_equal(dr_pgtable_clear(pt, GB1, 2 * MB2), 2 * KB4);
	dr_pgtable_walk(pt, GB1, &w);
	assert_int_equal(w.levels, 3);
	assert_int_equal(pages(pt), 5);
	assert_true(dr_pgtable_is_valid(pt));
	dr_pgtable_reclaim(pt);
	assert_int_equal(pages(pt), 3);
	dr_pgtable_reclaim(pt);
	assert_int_equal(pages(pt), 3);

	/* A whole subtree goes with the table above it. */
	put(pt, GB1, KB4, 2 * MB2, RW);
	put(pt, 2 * GB1 - KB4, KB4, KB4, RW);
	assert_int_equal(dr_pgtable_clear(pt, GB1, GB1), 2 * MB2 + KB4);
	dr_pgtable_walk(pt, GB1, &w);
	assert_int_equal(w.levels, 2);
	assert_int_equal(pages(pt), 6);
	dr_pgtable_reclaim(pt);
	assert_int_equal(pages(pt), 2);
	assert_true(dr_pgtable_is_valid(pt));
	dr_pgtable_close(pt);
}

static void large_leaf_replaces_empty_tables(void **state)
{
	struct dr_pgtable *pt = open_table();

	(void)state;
	put(pt, GB1, KB4, KB4, RW);
	put(pt, GB1 + 7 * MB2, KB4, KB4, RW);
	assert_int_equal(dr_pgtable_clear(pt, GB1, KB4), KB4);
	assert_int_equal(dr_pgtable_clear(pt, GB1 + 7 * MB2, KB4), KB4);
	assert_int_equal(pages(pt), 5);
	put(pt, GB1, GB1, MB2, RW);
	assert_int_equal(shift_at(pt, GB1), 21);
	assert_int_equal(pages(pt), 5);
	dr_pgtable_reclaim(pt);
	assert_int_equal(pages(pt), 4);
	assert_int_equal(dr_pgtable_clear(pt, GB1, MB2), MB2);
	put(pt, GB1, GB1, GB1, RW);
	assert_int_equal(shift_at(pt, GB1), 30);
	dr_pgtable_reclaim(pt);
	assert_int_equal(pages(pt), 2);
	dr_pgtable_close(pt);
}

/* While something caches walks, a table outlives every reclaim until its range is flushed. */
static void cached_tables_wait_for_the_flush(void **state)
{
	struct dr_pgtable *pt = open_table();

	(void)state;
	dr_pgtable_set_cached(pt);
	put(pt, GB1, KB4, MB2, RW);
	put(pt, GB1 + MB2, KB4, MB2, RW);
	dr_pgtable_clear(pt, GB1, MB2);
	dr_pgtable_clear(pt, GB1 + MB2, MB2);
	dr_pgtable_reclaim(pt);
	assert_int_equal(pages(pt), 5);
	flush(pt, GB1 + KB4, GB1 + MB2 - 1);
	flush(pt, GB1 + MB2, GB1 + 2 * MB2 - 2);
	dr_pgtable_reclaim(pt);
	assert_int_equal(pages(pt), 5);
	flush(pt, GB1, GB1 + MB2 - 1);
	assert_true(dr_pgtable_is_valid(pt));
	assert_int_equal(pages(pt), 5);
	dr_pgtable_reclaim(pt);
	assert_int_equal(pages(pt), 4);
	flush(pt, 0, UINT64_MAX);
	dr_pgtable_reclaim(pt);
	assert_int_equal(pages(pt), 3);
	/* Closing frees what waits on either list. */
	put(pt, GB1, KB4, 2 * MB2, RW);
	dr_pgtable_clear(pt, GB1, 2 * MB2);
	flush(pt, GB1, GB1 + MB2 - 1);
	dr_pgtable_close(pt);
}

/* What another thread unlinks while a flush is under way is not covered by it. */
static void a_flush_covers_what_came_before(void **state)
{
	struct dr_pgtable *pt = open_table();
	uint64_t early, late;

	(void)state;
	dr_pgtable_set_cached(pt);
	put(pt, GB1, KB4, 2 * MB2, RW);
	assert_int_equal(dr_pgtable_flush_begin(pt), 0); /* nothing held, nothing to do */
	dr_pgtable_clear(pt, GB1, MB2);
	early = dr_pgtable_flush_begin(pt);
	dr_pgtable_clear(pt, GB1 + MB2, MB2);
	late = dr_pgtable_flush_begin(pt);
	dr_pgtable_flush_end(pt, 0, UINT64_MAX, early);
	dr_pgtable_reclaim(pt);
	assert_int_equal(pages(pt), 4);
	dr_pgtable_flush_end(pt, 0, UINT64_MAX, late);
	dr_pgtable_reclaim(pt);
	assert_int_equal(pages(pt), 3);
	dr_pgtable_close(pt);
}

static void reclaim_is_asked_for_in_the_end(void **state)
{
	struct dr_pgtable *pt = open_table();
	unsigned rounds = 0;

	(void)state;
	while (!dr_pgtable_wants_reclaim(pt)) {
		put(pt, GB1, KB4, MB2, RW);
		dr_pgtable_clear(pt, GB1, MB2);
		assert_true(++rounds < 10000);
	}
	assert_true(rounds > 1);
	dr_pgtable_reclaim(pt);
	assert_false(dr_pgtable_wants_reclaim(pt));
	assert_int_equal(pages(pt), 3);
	dr_pgtable_close(pt);
}

static struct dr_hooks failing;
static int allocs_left;

static void *alloc_until(size_t len, size_t align)
{
	return allocs_left-- > 0 ? dr_hooks_system.alloc(len, align) : NULL;
}

static void every_allocation_may_fail(void **state)
{
	struct dr_pgtable *pt;
	int n, err = -1;

	(void)state;
	failing = dr_hooks_system;
	failing.alloc = alloc_until;
	dr_hooks = &failing;
	for (n = 0; err; n++) {
		allocs_left = n;
		err = dr_pgtable_open(DR_PT_PAGE_SIZES, &pt);
		if (err) {
			assert_int_equal(err, -ENOMEM);
			continue;
		}
		err = dr_pgtable_prepare(pt, GB1 - KB4, VA(KB4), MB2 + 2 * KB4);
		if (err) {
			struct dr_pt_mapping m;

			assert_int_equal(err, -ENOMEM);
			assert_true(dr_pgtable_is_valid(pt));
			assert_false(dr_pgtable_next(pt, 0, UINT64_MAX, &m));
			/* What was made is used by the next try. */
			allocs_left = 1000;
			put(pt, GB1 - KB4, KB4, MB2 + 2 * KB4, RW);
			assert_int_equal(pages(pt), 7);
		} else {
			/* From here on nothing may need memory. */
			allocs_left = 0;
			dr_pgtable_set(pt, GB1 - KB4, VA(KB4), MB2 + 2 * KB4, RW);
			assert_int_equal(dr_pgtable_clear(pt, 0, 4 * GB1), MB2 + 2 * KB4);
			flush(pt, 0, 4 * GB1);
			dr_pgtable_reclaim(pt);
		}
		dr_pgtable_close(pt);
	}
	dr_hooks = &dr_hooks_system;
	assert_int_equal(n, 2 + 6 + 1); /* the object, seven tables, and the round that worked */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(shows_every_level),
		cmocka_unit_test(picks_leaf_sizes_by_congruence),
		cmocka_unit_test(honours_page_sizes),
		cmocka_unit_test(pieces_are_one_mapping),
		cmocka_unit_test(large_leaves_are_not_cut),
		cmocka_unit_test(works_at_both_ends),
		cmocka_unit_test(clear_counts_what_was_there),
		cmocka_unit_test(whole_tables_are_unlinked_then_freed),
		cmocka_unit_test(large_leaf_replaces_empty_tables),
		cmocka_unit_test(cached_tables_wait_for_the_flush),
		cmocka_unit_test(a_flush_covers_what_came_before),
		cmocka_unit_test(reclaim_is_asked_for_in_the_end),
		cmocka_unit_test(every_allocation_may_fail),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
