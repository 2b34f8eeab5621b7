// SPDX-License-Identifier: BSD-2-Clause
/*
 * The mapping table against an array with one element for each granule of a window. Random
 * mappings of mixed sizes, in pieces too, cleared alone or many at once. The window lies across a
 * 512 GiB boundary, so that every level is crossed. argv[1] is the seed; it is printed.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "base/rcu.h"
#include "pgtable/pgtable.h"

#define KB4    UINT64_C(4096)
#define BASE   ((UINT64_C(1) << 39) - (UINT64_C(1) << 30))
#define PAGES  (3u << 18) /* 3 GiB */
#define ROUNDS 40000u

struct granule {
	uint64_t va;       /* with permissions in the low bits and the owner on top; 0: absent */
	uint32_t map;      /* which mapping */
	uint32_t piece;    /* which piece of one */
};

static struct granule *oracle;
static uint64_t seed, rng;
static uint32_t maps, pieces;

static uint64_t draw(uint64_t below)
{
	rng ^= rng << 13;
	rng ^= rng >> 7;
	rng ^= rng << 17;
	return rng % below;
}

static uint32_t draw_pages(void)
{
	switch (draw(8)) {
	case 0:
		return 512;
	case 1:
		return 512 * (1 + (uint32_t)draw(5));
	case 2:
		return draw(4) ? 700 + (uint32_t)draw(3000) : 1u << 18;
	case 3:
		return 1;
	default:
		return 1 + (uint32_t)draw(40);
	}
}

static bool is_free(uint32_t at, uint32_t n)
{
	for (uint32_t i = at; i < at + n; i++)
		if (oracle[i].va)
			return false;
	return true;
}

static void try_map(struct dr_pgtable *pt)
{
	uint32_t n = draw_pages(), at = (uint32_t)draw(PAGES), done = 0, step;
	uint64_t va = (UINT64_C(0x5000) << 32) + draw(1u << 24) * KB4;
	uint64_t bits = 1 + draw(3);

	if (draw(2))
		at &= ~511u;
	if (n == 1u << 18)
		at = (uint32_t)draw(3) << 18;
	if (at + n > PAGES || !is_free(at, n))
		return;
	if (draw(2)) /* congruent, as far as it goes */
		va = (UINT64_C(0x5000) << 32) + (uint64_t)at * KB4 + BASE;
	bits |= dr_pte_owner_bits((unsigned)draw(DR_OWNER_MAX + 1));
	maps++;
	for (; done < n; done += step) {
		step = draw(3) ? n - done : 1 + (uint32_t)draw(n - done);
		dray_iova_t iova = BASE + (uint64_t)(at + done) * KB4;
		void *p = (void *)(uintptr_t)(va + done * KB4);

		assert_int_equal(dr_pgtable_prepare(pt, iova, p, step * KB4), 0);
		dr_pgtable_set(pt, iova, p, step * KB4, done ? bits | DR_PTE_CONTINUE : bits);
		pieces++;
		for (uint32_t i = 0; i < step; i++)
			oracle[at + done + i] = (struct granule){
				(va + (done + i) * KB4) | bits, maps, pieces,
			};
	}
}

static bool same(uint32_t a, uint32_t b, bool piece)
{
	return oracle[a].va && oracle[b].va &&
	       (piece ? oracle[a].piece == oracle[b].piece : oracle[a].map == oracle[b].map);
}

static void check_cut(const struct dr_pgtable *pt, uint32_t at, uint32_t end)
{
	bool cut = (at && same(at - 1, at, true)) || (end < PAGES && same(end - 1, end, true));

	assert_int_equal(dr_pgtable_is_cut(pt, BASE + at * KB4, (end - at) * KB4), cut);
}

static void clear_some(struct dr_pgtable *pt)
{
	uint32_t at = (uint32_t)draw(PAGES);
	uint32_t n = draw(6) ? 1 + (uint32_t)draw(200) : draw_pages();
	uint32_t end = at + n > PAGES ? PAGES : at + n;
	uint64_t present = 0;

	check_cut(pt, at, end);
	/* Widen to whole mappings. */
	while (at && same(at - 1, at, false))
		at--;
	while (end < PAGES && same(end - 1, end, false))
		end++;
	if (draw(4) == 0 && is_free(at & ~511u, at & 511))
		at &= ~511u;
	check_cut(pt, at, end);
	for (uint32_t i = at; i < end; i++) {
		present += oracle[i].va ? KB4 : 0;
		oracle[i].va = 0;
	}
	assert_int_equal(dr_pgtable_clear(pt, BASE + at * KB4, (end - at) * KB4), present);
	if (draw(2))
		dr_pgtable_flush_end(pt, BASE + at * KB4, BASE + end * KB4 - 1,
				     dr_pgtable_flush_begin(pt));
}

static void check_granule(const struct dr_pgtable *pt, uint32_t at)
{
	uint64_t mask = DR_PTE_READ | DR_PTE_WRITE | DR_PTE_OWNER, off = draw(KB4), pte;
	dray_iova_t iova = BASE + at * KB4 + off;
	const struct granule *g = &oracle[at];
	struct dr_pt_walk w;
	unsigned shift;

	dr_rcu_read_lock();
	pte = dr_pgtable_lookup(pt, iova, &shift);
	dr_pgtable_walk(pt, iova, &w);
	dr_rcu_read_unlock();
	assert_int_equal(w.pte, pte);
	assert_int_equal(w.page_shift, shift);
	if (!g->va) {
		assert_int_equal(pte, 0);
		assert_null(dr_pgtable_va(pt, iova));
		return;
	}
	assert_int_equal(pte & mask, g->va & mask);
	assert_ptr_equal(dr_pgtable_va(pt, iova), (void *)(uintptr_t)((g->va & DR_PTE_ADDR) | off));
}

static void check_next(const struct dr_pgtable *pt)
{
	uint32_t from = (uint32_t)draw(PAGES), last = from + (uint32_t)draw(PAGES - from), n = 0;
	struct dr_pt_mapping m;
	bool found;

	for (; from <= last; from++)
		if (oracle[from].va && !(from && same(from - 1, from, false)))
			break;
	found = dr_pgtable_next(pt, BASE + from * KB4, BASE + last * KB4, &m);
	assert_int_equal(found, from <= last);
	if (!found)
		return;
	while (from + n < PAGES && same(from, from + n, false))
		n++;
	assert_int_equal(m.iova, BASE + from * KB4);
	assert_int_equal(m.len, n * KB4);
	assert_ptr_equal(m.va, (void *)(uintptr_t)(oracle[from].va & DR_PTE_ADDR));
	assert_int_equal(m.bits, oracle[from].va & ~DR_PTE_ADDR);
}

/* All mappings, found one after the other, are exactly those of the oracle. */
static void check_all(const struct dr_pgtable *pt)
{
	dray_iova_t from = 0;
	struct dr_pt_mapping m;
	uint64_t found = 0, expected = 0;

	for (uint32_t i = 0; i < PAGES; i++)
		expected += oracle[i].va && !(i && same(i - 1, i, false));
	while (dr_pgtable_next(pt, from, UINT64_MAX, &m)) {
		found++;
		from = m.iova + m.len;
	}
	assert_int_equal(found, expected);
	assert_true(dr_pgtable_is_valid(pt));
}

static void agrees_with_an_array(void **state)
{
	struct dr_pgtable *pt;
	uint64_t left = 0;

	(void)state;
	oracle = calloc(PAGES, sizeof(*oracle));
	assert_non_null(oracle);
	assert_int_equal(dr_pgtable_open(DR_PT_PAGE_SIZES, &pt), 0);
	if (draw(2))
		dr_pgtable_set_cached(pt);
	for (unsigned round = 0; round < ROUNDS; round++) {
		if (draw(5) < 3)
			try_map(pt);
		else
			clear_some(pt);
		for (int i = 0; i < 20; i++)
			check_granule(pt, (uint32_t)draw(PAGES));
		if (round % 8 == 0)
			check_next(pt);
		if (round % 128 == 0)
			dr_pgtable_reclaim(pt);
		if (round % 2048 == 0)
			check_all(pt);
	}
	check_all(pt);
	fprintf(stderr, "%u mappings in %u pieces\n", maps, pieces);
	assert_true(maps > ROUNDS / 20);
	for (uint32_t i = 0; i < PAGES; i++)
		left += oracle[i].va ? KB4 : 0;
	assert_true(left);
	assert_int_equal(dr_pgtable_clear(pt, BASE, PAGES * KB4), left);
	dr_pgtable_flush_end(pt, 0, UINT64_MAX, dr_pgtable_flush_begin(pt));
	dr_pgtable_reclaim(pt);
	/* 3 GiB across a 512 GiB boundary, covered whole at level 3: root and two tables stay. */
	assert_int_equal(dr_pgtable_bytes(pt), 3 * KB4);
	dr_pgtable_close(pt);
	free(oracle);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(agrees_with_an_array),
	};

	seed = argc > 1 ? strtoull(argv[1], NULL, 0) : (uint64_t)time(NULL);
	rng = seed * UINT64_C(0x9e3779b97f4a7c15) | 1;
	fprintf(stderr, "seed %llu\n", (unsigned long long)seed);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
