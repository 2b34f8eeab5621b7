// SPDX-License-Identifier: BSD-2-Clause
/* What a space is full of and where, worked out by hand. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#define SPACE_FLAGS 0
#include "iova_test.h"

#include <dray/iova.h>

#define BASE GIB(8)

static void heat(const struct dray_iova_space *s, uint64_t first, uint64_t len, size_t n,
		 struct dray_iova_cell *ret_cells)
{
	assert_int_equal(dray_iova_space_heat(s, first, first + len - 1, n, ret_cells), 0);
}

static void assert_cell(const struct dray_iova_cell *got, const struct dray_iova_cell *want)
{
	assert_int_equal(got->first, want->first);
	assert_int_equal(got->live, want->live);
	assert_int_equal(got->retired, want->retired);
	assert_int_equal(got->cached, want->cached);
	assert_int_equal(got->chunk_free, want->chunk_free);
	assert_int_equal(got->slack, want->slack);
	assert_int_equal(got->reserved, want->reserved);
	assert_int_equal(got->quarantined, want->quarantined);
	assert_int_equal(got->free, want->free);
}

#define assert_is(cell, ...) \
	assert_cell(&(cell), &(struct dray_iova_cell){__VA_ARGS__})

static void reservations_and_fixed_ranges_are_told(void **state)
{
	struct dray_iova_space *s = open_space(PAGE, 0, MIB(64) - 1);
	struct dray_range usable = {0, MIB(60) - 1};
	struct dray_iova_cell cells[16];

	(void)state;
	assert_int_equal(dr_iova_set_usable(s, &usable, 1), 0);
	assert_int_equal(dr_iova_resv(s, MIB(4), MIB(8) - 1, DR_RESV_HOLE), 0);
	assert_int_equal(dr_iova_resv(s, MIB(8), MIB(12) - 1, DR_RESV_FIXED), 0);
	assert_int_equal(dr_iova_take_fixed(s, MIB(9), MIB(10) - 1), 0);
	assert_int_equal(dr_iova_take_fixed(s, MIB(14), MIB(17) - 1), 0);
	assert_true(dr_iova_quarantine(s, MIB(14), MIB(3)));
	heat(s, 0, MIB(64), 16, cells);
	/* The granule at 0 is nobody's. */
	assert_is(cells[0], .first = 0, .reserved = 1, .free = 1023);
	assert_is(cells[1], .first = MIB(4), .reserved = 1024);
	assert_is(cells[2], .first = MIB(8), .live = 256, .reserved = 768);
	assert_is(cells[3], .first = MIB(12), .quarantined = 512, .free = 512);
	assert_is(cells[4], .first = MIB(16), .quarantined = 256, .free = 768);
	assert_is(cells[14], .first = MIB(56), .free = 1024);
	assert_is(cells[15], .first = MIB(60), .reserved = 1024);
	dray_iova_space_close(s);
}

/* One thread, one size: a magazine of 64 leaves the chunk at once, from its top. */
static void what_caches_hold_is_told_from_what_is_live(void **state)
{
	struct dray_iova_space *s = open_space(PAGE, BASE, BASE + MIB(4) - 1);
	struct dray_iova_cell cells[8];
	dray_iova_t a, b, c;

	(void)state;
	a = take(s, PAGE, 0);
	b = take(s, PAGE, 0);
	c = take(s, PAGE, 0);
	assert_int_equal(a, BASE + MIB(4) - PAGE);
	heat(s, BASE, MIB(4), 8, cells);
	assert_is(cells[7], .first = BASE + 7 * KIB(512), .live = 3, .cached = 61,
		  .chunk_free = 64);
	assert_is(cells[6], .first = BASE + 6 * KIB(512), .chunk_free = 128);
	assert_is(cells[3], .first = BASE + 3 * KIB(512), .free = 128);
	assert_true(dr_iova_retire(s, b, PAGE));
	assert_true(dr_iova_give(s, a, PAGE));
	assert_true(dr_iova_quarantine(s, c, PAGE));
	heat(s, BASE, MIB(4), 8, cells);
	assert_is(cells[7], .first = BASE + 7 * KIB(512), .retired = 1, .cached = 62,
		  .quarantined = 1, .chunk_free = 64);
	/* Into the chunk, not into the cache. */
	assert_true(dr_iova_give_retired_home(s, b, PAGE));
	/* A flusher's gap of eight pages. */
	assert_true(dr_iova_hold_gap(s, BASE + 6 * KIB(512), BASE + 6 * KIB(512) + KIB(32) - 1));
	heat(s, BASE, MIB(4), 8, cells);
	assert_is(cells[7], .first = BASE + 7 * KIB(512), .cached = 62, .quarantined = 1,
		  .chunk_free = 65);
	assert_is(cells[6], .first = BASE + 6 * KIB(512), .live = 8, .chunk_free = 120);
	dray_iova_space_close(s);
}

/* 33 pages in a slot of 64; and below 4 GiB in slots of 33, 17 pages less than a chunk. */
static void what_ranges_and_slots_leave_over_is_slack(void **state)
{
	struct dray_iova_space *s = open_space(PAGE, BASE, BASE + MIB(4) - 1);
	struct dray_iova_cell cells[4];
	dray_iova_t iova;

	(void)state;
	always_round(s);
	iova = take(s, 33 * PAGE, PAGE);
	assert_int_equal(iova, BASE + MIB(4) - 64 * PAGE);
	/* Every slot of the chunk is in the thread's magazine: eight of 64 pages. */
	heat(s, BASE + MIB(2), MIB(2), 4, cells);
	assert_is(cells[3], .first = BASE + MIB(4) - KIB(512), .live = 33, .slack = 31,
		  .cached = 64);
	assert_is(cells[2], .first = BASE + MIB(4) - MIB(1), .cached = 128);
	/* A cell may begin and end inside a range, and inside what it leaves over. */
	heat(s, iova + 30 * PAGE, 6 * PAGE, 3, cells);
	assert_is(cells[0], .first = iova + 30 * PAGE, .live = 2);
	assert_is(cells[1], .first = iova + 32 * PAGE, .live = 1, .slack = 1);
	assert_is(cells[2], .first = iova + 34 * PAGE, .slack = 2);
	assert_true(dr_iova_give(s, iova, 33 * PAGE));
	heat(s, BASE + MIB(2), MIB(2), 1, cells);
	assert_is(cells[0], .first = BASE + MIB(2), .cached = 512);
	dray_iova_space_close(s);

	s = open_space(PAGE, MIB(2), MIB(4) - 1);
	iova = take(s, 33 * PAGE, PAGE);
	assert_int_equal(iova, MIB(2) + 14 * 33 * PAGE);
	heat(s, MIB(2), MIB(2), 1, cells);
	assert_is(cells[0], .first = MIB(2), .live = 33, .cached = 14 * 33, .slack = 17);
	dray_iova_space_close(s);
}

/* Both ends of all addresses, cells that no granule is left for, parts outside the window. */
static void edges_are_counted_once(void **state)
{
	struct dray_iova_space *s = open_space(PAGE, UINT64_MAX - 3 * PAGE + 1, UINT64_MAX);
	struct dray_iova_cell cells[5];
	const uint64_t top = 0 - 3 * PAGE;

	(void)state;
	assert_int_equal(dr_iova_take_fixed(s, UINT64_MAX - PAGE + 1, UINT64_MAX), 0);
	assert_int_equal(dray_iova_space_heat(s, 0, DRAY_IOVA_NONE, 1, cells), 0);
	assert_is(cells[0], .first = 0, .live = 1, .free = 2);
	heat(s, top, 3 * PAGE, 5, cells);
	assert_is(cells[0], .first = top, .free = 1);
	assert_is(cells[1], .first = top + PAGE, .free = 1);
	assert_is(cells[2], .first = top + 2 * PAGE, .live = 1);
	assert_is(cells[3], .first = DRAY_IOVA_NONE);
	assert_is(cells[4], .first = DRAY_IOVA_NONE);
	/* Five granules in two cells: the first has the one more. */
	heat(s, top - 2 * PAGE, 5 * PAGE, 2, cells);
	assert_is(cells[0], .first = top - 2 * PAGE, .free = 1);
	assert_is(cells[1], .first = top + PAGE, .free = 1, .live = 1);
	assert_int_equal(dray_iova_space_heat(s, 0, PAGE - 1, 1, cells), 0);
	assert_is(cells[0], .first = 0);
	dray_iova_space_close(s);
}

/* A quarantined slot is out of its chunk, and nobody's: not cached. */
static void quarantined_slots_are_not_cached(void **state)
{
	struct dray_iova_space *s = open_space(PAGE, BASE, BASE + MIB(4) - 1);
	struct dray_iova_stats st = {.size = sizeof(st)};
	dray_iova_t a = take(s, KIB(16), 0);

	(void)state;
	assert_true(dr_iova_quarantine(s, a, KIB(16)));
	assert_int_equal(dray_iova_space_stats(s, &st), 0);
	assert_int_equal(st.cached_bytes, 63 * KIB(16));
	assert_int_equal(st.quarantined_bytes, KIB(16));
	assert_true(dr_iova_space_is_valid(s));
	/* The chunk is taken apart for a fixed address; what it counted goes with it. */
	assert_int_equal(dr_iova_take_fixed(s, BASE + MIB(2), BASE + MIB(2) + PAGE - 1), 0);
	assert_true(dr_iova_space_is_valid(s));
	assert_int_equal(dray_iova_space_stats(s, &st), 0);
	assert_int_equal(st.cached_bytes, 0);
	assert_int_equal(st.quarantined_bytes, KIB(16));
	dray_iova_space_close(s);
}

static void heat_checks_its_arguments(void **state)
{
	struct dray_iova_space *s = open_space(KIB(16), BASE, BASE + MIB(4) - 1);
	struct dray_iova_cell cell;

	(void)state;
	assert_int_equal(dray_iova_space_heat(NULL, 0, DRAY_IOVA_NONE, 1, &cell), -EINVAL);
	assert_int_equal(dray_iova_space_heat(s, 0, DRAY_IOVA_NONE, 1, NULL), -EINVAL);
	assert_int_equal(dray_iova_space_heat(s, 0, DRAY_IOVA_NONE, 0, &cell), -EINVAL);
	assert_int_equal(dray_iova_space_heat(s, KIB(4), DRAY_IOVA_NONE, 1, &cell), -EINVAL);
	assert_int_equal(dray_iova_space_heat(s, 0, KIB(20) - 1, 1, &cell), -EINVAL);
	assert_int_equal(dray_iova_space_heat(s, KIB(16), KIB(16) - 1, 1, &cell), -EINVAL);
	assert_int_equal(dray_iova_space_heat(s, 0, DRAY_IOVA_NONE, 1, &cell), 0);
	assert_is(cell, .first = 0, .free = 256);
	dray_iova_space_close(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(reservations_and_fixed_ranges_are_told),
		cmocka_unit_test(what_caches_hold_is_told_from_what_is_live),
		cmocka_unit_test(what_ranges_and_slots_leave_over_is_slack),
		cmocka_unit_test(edges_are_counted_once),
		cmocka_unit_test(quarantined_slots_are_not_cached),
		cmocka_unit_test(heat_checks_its_arguments),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
