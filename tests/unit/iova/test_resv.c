// SPDX-License-Identifier: BSD-2-Clause
/* Reservations of callers and holes of the hardware: two layers that do not know one another. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <dray/stats.h>

#include "iova_test.h"

#include "base/err.h"

/* Pages 1–63; addresses below are page numbers. */
static struct dray_iova_space *pages;

static int open_pages(void **state)
{
	(void)state;
	pages = open_space(PAGE, PAGE, 64 * PAGE - 1);
	return 0;
}

static int close_pages(void **state)
{
	(void)state;
	assert_true(dr_iova_space_is_valid(pages));
	dray_iova_space_close(pages);
	return 0;
}

static int resv(unsigned first, unsigned last, enum dr_iova_resv kind)
{
	return dr_iova_resv(pages, first * PAGE, last * PAGE + PAGE - 1, kind);
}

static int unresv(unsigned first, unsigned last)
{
	return dr_iova_unresv(pages, first * PAGE, last * PAGE + PAGE - 1);
}

static int fixed(unsigned first, unsigned last)
{
	return dr_iova_take_fixed(pages, first * PAGE, last * PAGE + PAGE - 1);
}

/* Usable are pages @first to @last, and from @first2 to @last2 unless that is 0. */
static int usable(unsigned first, unsigned last, unsigned first2, unsigned last2)
{
	const struct dray_range range[] = {
		{first * PAGE, last * PAGE + PAGE - 1},
		{first2 * PAGE, last2 * PAGE + PAGE - 1},
	};

	return dr_iova_set_usable(pages, range, first2 ? 2 : 1);
}

/* The nth hole is pages @first to @last; 0, 0: there is no nth. */
static void assert_hole(unsigned n, unsigned first, unsigned last)
{
	struct dray_range hole = {0, 0};

	assert_int_equal(dr_iova_nth_hole(pages, n, &hole), first != 0);
	assert_int_equal(hole.first, first * PAGE);
	assert_int_equal(hole.last, first ? last * PAGE + PAGE - 1 : 0);
}

static void reserved_is_never_handed_out(void **state)
{
	unsigned taken = 0;
	dray_iova_t iova;

	(void)state;
	assert_int_equal(resv(10, 19, DR_RESV_HOLE), 0);
	assert_int_equal(resv(30, 39, DR_RESV_FIXED), 0);
	while ((iova = take(pages, PAGE, 0)) != DRAY_IOVA_NONE) {
		assert_false(iova / PAGE >= 10 && iova / PAGE <= 19);
		assert_false(iova / PAGE >= 30 && iova / PAGE <= 39);
		taken++;
	}
	assert_int_equal(taken, 63 - 20);
}

static void reserving_needs_whole_granules_inside(void **state)
{
	static struct picture before, after;

	(void)state;
	draw(pages, &before);
	assert_int_equal(dr_iova_resv(pages, PAGE + 1, 2 * PAGE - 1, DR_RESV_HOLE), -EINVAL);
	assert_int_equal(dr_iova_resv(pages, PAGE, 2 * PAGE - 2, DR_RESV_FIXED), -EINVAL);
	assert_int_equal(dr_iova_resv(pages, 2 * PAGE, PAGE - 1, DR_RESV_HOLE), -EINVAL);
	assert_int_equal(dr_iova_resv(pages, 0, PAGE - 1, DR_RESV_HOLE), -ERANGE);
	assert_int_equal(dr_iova_resv(pages, 0, UINT64_MAX, DR_RESV_HOLE), -ERANGE);
	assert_int_equal(resv(60, 64, DR_RESV_HOLE), -ERANGE);
	assert_int_equal(dr_iova_unresv(pages, 1, PAGE), -EINVAL);
	assert_int_equal(unresv(60, 64), -ERANGE);
	draw(pages, &after);
	assert_same_picture(&before, &after);
}

static void only_what_is_live_stands_in_the_way(void **state)
{
	static struct picture before, after;
	dray_iova_t iova = take_below(pages, 2 * PAGE, 0, 22 * PAGE - 1);

	(void)state;
	assert_int_equal(iova, 20 * PAGE);
	assert_int_equal(resv(1, 10, DR_RESV_HOLE), 0);
	draw(pages, &before);
	assert_int_equal(resv(5, 20, DR_RESV_HOLE), -EEXIST);
	assert_non_null(strstr(dray_errmsg(), "live range"));
	assert_non_null(strstr(dray_errmsg(), "0x14000"));
	assert_int_equal(resv(21, 63, DR_RESV_FIXED), -EEXIST);
	assert_int_equal(resv(1, 63, DR_RESV_FIXED), -EEXIST);
	draw(pages, &after);
	assert_same_picture(&before, &after);
	assert_int_equal(resv(5, 19, DR_RESV_HOLE), 0); /* over a reservation: fine */
	assert_int_equal(resv(22, 63, DR_RESV_HOLE), 0);
	assert_true(dr_iova_give(pages, iova, 2 * PAGE));
	assert_int_equal(resv(1, 63, DR_RESV_HOLE), 0);
	assert_int_equal(take(pages, PAGE, 0), DRAY_IOVA_NONE);
	assert_int_equal(pages->tree.pieces, 1);
}

static void the_newest_kind_holds(void **state)
{
	(void)state;
	assert_int_equal(resv(10, 29, DR_RESV_HOLE), 0);
	assert_int_equal(resv(15, 34, DR_RESV_FIXED), 0);
	assert_hole(0, 10, 14);
	assert_hole(1, 0, 0);
	assert_int_equal(fixed(14, 15), -EEXIST);
	assert_int_equal(fixed(15, 34), 0);
	assert_int_equal(resv(15, 34, DR_RESV_HOLE), -EEXIST);
	assert_true(dr_iova_give(pages, 15 * PAGE, 20 * PAGE));
	assert_int_equal(resv(20, 24, DR_RESV_HOLE), 0);
	assert_hole(1, 20, 24);
	assert_int_equal(fixed(19, 20), -EEXIST);
	/* All of it can go at once, whatever it is made of. */
	assert_int_equal(unresv(1, 63), 0);
	assert_int_equal(pages->tree.pieces, 0);
}

/* Pieces of one kind that adjoin are one piece, also where the last byte meets the first. */
static void adjoining_reservations_become_one(void **state)
{
	(void)state;
	assert_int_equal(resv(10, 10, DR_RESV_HOLE), 0);
	assert_int_equal(resv(12, 12, DR_RESV_HOLE), 0);
	assert_int_equal(pages->tree.pieces, 2);
	assert_int_equal(resv(11, 11, DR_RESV_HOLE), 0);
	assert_int_equal(pages->tree.pieces, 1);
	assert_hole(0, 10, 12);
	assert_int_equal(unresv(11, 11), 0);
	assert_int_equal(pages->tree.pieces, 2);
	assert_hole(0, 10, 10);
	assert_hole(1, 12, 12);
	assert_hole(2, 0, 0);
	assert_int_equal(unresv(9, 12), 0);
	assert_int_equal(pages->tree.pieces, 0);

	/* Overlapping at either side, inside, and around. */
	assert_int_equal(resv(20, 25, DR_RESV_HOLE), 0);
	assert_int_equal(resv(18, 22, DR_RESV_HOLE), 0);
	assert_int_equal(pages->tree.pieces, 1);
	assert_int_equal(resv(23, 27, DR_RESV_HOLE), 0);
	assert_int_equal(pages->tree.pieces, 1);
	assert_int_equal(resv(19, 24, DR_RESV_HOLE), 0);
	assert_int_equal(pages->tree.pieces, 1);
	assert_hole(0, 18, 27);
	assert_int_equal(resv(15, 30, DR_RESV_HOLE), 0);
	assert_int_equal(pages->tree.pieces, 1);
	assert_hole(0, 15, 30);
}

static void unresv_gives_back_to_the_pool(void **state)
{
	(void)state;
	assert_int_equal(resv(1, 63, DR_RESV_FIXED), 0);
	assert_int_equal(take(pages, PAGE, 0), DRAY_IOVA_NONE);
	assert_int_equal(unresv(20, 29), 0);
	assert_int_equal(take(pages, 10 * PAGE, 0), 20 * PAGE);
	assert_int_equal(unresv(15, 35), 0); /* over something automatic: that has no reservation */
	assert_true(dr_iova_is_live(pages, 20 * PAGE, 10 * PAGE, NULL));
	assert_int_equal(take(pages, 6 * PAGE, 0), 30 * PAGE);
	assert_int_equal(take(pages, 5 * PAGE, 0), 15 * PAGE);
}

static void a_live_fixed_range_keeps_its_window(void **state)
{
	static struct picture before, after;

	(void)state;
	assert_int_equal(resv(10, 19, DR_RESV_FIXED), 0);
	assert_int_equal(fixed(12, 13), 0);
	draw(pages, &before);
	assert_int_equal(unresv(10, 19), -EBUSY);
	assert_int_equal(unresv(13, 13), -EBUSY);
	assert_int_equal(unresv(1, 63), -EBUSY);
	draw(pages, &after);
	assert_same_picture(&before, &after);
	assert_int_equal(unresv(10, 11), 0);
	assert_int_equal(unresv(14, 19), 0);
	assert_true(dr_iova_give(pages, 12 * PAGE, 2 * PAGE));
	assert_int_equal(unresv(10, 19), 0);
	assert_int_equal(pages->tree.pieces, 0);
}

static void hardware_holes_are_replaced_as_a_whole(void **state)
{
	(void)state;
	assert_hole(0, 0, 0);
	assert_int_equal(usable(10, 19, 30, 39), 0);
	assert_hole(0, 1, 9);
	assert_hole(1, 20, 29);
	assert_hole(2, 40, 63);
	assert_hole(3, 0, 0);
	assert_int_equal(take(pages, 10 * PAGE, 0), 30 * PAGE);
	assert_int_equal(take(pages, 11 * PAGE, 0), DRAY_IOVA_NONE);
	assert_int_equal(usable(25, 63, 0, 0), 0);
	assert_hole(0, 1, 24);
	assert_hole(1, 0, 0);
	assert_int_equal(take(pages, 5 * PAGE, 0), 59 * PAGE);
	/* Wider than the window, or nothing left out: no hole at all. */
	assert_int_equal(usable(0, 100, 0, 0), 0);
	assert_hole(0, 0, 0);
	assert_int_equal(pages->tree.pieces, 2);
}

static void a_hole_never_swallows_what_is_live(void **state)
{
	static struct picture before, after;
	dray_iova_t iova = take_below(pages, 2 * PAGE, 0, 22 * PAGE - 1);

	(void)state;
	assert_int_equal(resv(40, 49, DR_RESV_FIXED), 0);
	assert_int_equal(fixed(44, 45), 0);
	assert_int_equal(usable(10, 50, 0, 0), 0);
	draw(pages, &before);
	assert_int_equal(usable(1, 20, 30, 63), -EEXIST); /* cuts the automatic one */
	assert_int_equal(usable(1, 44, 0, 0), -EEXIST);   /* cuts the fixed one */
	assert_int_equal(usable(46, 60, 0, 0), -EEXIST);
	assert_int_equal(dr_iova_set_usable(pages, NULL, 0), -EEXIST);
	draw(pages, &after);
	assert_same_picture(&before, &after); /* the old holes, all of them */
	assert_int_equal(usable(20, 21, 44, 45), 0);
	assert_hole(0, 1, 19);
	assert_hole(1, 22, 43);
	assert_hole(2, 46, 63);
	assert_true(dr_iova_give(pages, iova, 2 * PAGE));
	assert_true(dr_iova_give(pages, 44 * PAGE, 2 * PAGE));
	assert_int_equal(fixed(44, 45), 0); /* its window was not forgotten */
	assert_int_equal(fixed(43, 43), -EEXIST);
	assert_true(dr_iova_give(pages, 44 * PAGE, 2 * PAGE));
	assert_int_equal(dr_iova_set_usable(pages, NULL, 0), 0);
	assert_hole(0, 1, 63);
	assert_hole(1, 0, 0);
	assert_int_equal(take(pages, PAGE, 0), DRAY_IOVA_NONE);
}

static void layers_do_not_mix(void **state)
{
	(void)state;
	assert_int_equal(usable(1, 39, 0, 0), 0);
	/* Reserved over, beside and inside the hardware's hole. */
	assert_int_equal(resv(38, 45, DR_RESV_HOLE), 0);
	assert_int_equal(resv(50, 55, DR_RESV_FIXED), 0);
	assert_hole(0, 38, 63);
	assert_hole(1, 0, 0);
	/* Undoing a reservation opens no hole of the hardware. */
	assert_int_equal(unresv(44, 45), 0);
	assert_hole(0, 38, 63);
	assert_int_equal(take_below(pages, PAGE, 0, 46 * PAGE - 1), 37 * PAGE);
	assert_int_equal(fixed(44, 44), -EEXIST);
	/* When the hardware's hole goes away, what was reserved meanwhile shows. */
	assert_int_equal(usable(1, 63, 0, 0), 0);
	assert_hole(0, 38, 43);
	assert_hole(1, 0, 0);
	assert_int_equal(fixed(43, 43), -EEXIST);
	assert_int_equal(fixed(50, 55), 0);
	assert_int_equal(take(pages, 8 * PAGE, 0), 56 * PAGE);
	assert_int_equal(take(pages, 6 * PAGE, 0), 44 * PAGE);
	assert_int_equal(take(pages, PAGE, 0), 36 * PAGE);
}

static void quarantine_under_a_hole_survives_it(void **state)
{
	dray_iova_t iova = take(pages, 4 * PAGE, 0);

	(void)state;
	assert_int_equal(iova, 60 * PAGE);
	assert_true(dr_iova_quarantine(pages, iova, 4 * PAGE));
	assert_int_equal(usable(1, 61, 0, 0), 0);
	assert_hole(0, 62, 63);
	assert_int_equal(counts_of(pages).quarantined_bytes, 4 * PAGE);
	assert_int_equal(usable(1, 63, 0, 0), 0);
	assert_hole(0, 0, 0);
	assert_int_equal(pages->tree.pieces, 1);
	assert_int_equal(take(pages, PAGE, 0), 59 * PAGE);
}

static void usable_ranges_shrink_to_granules(void **state)
{
	const struct dray_range odd[] = {
		{3 * PAGE + 1, 8 * PAGE - 2},        /* pages 4–6 */
		{9 * PAGE, 9 * PAGE + 5},            /* no whole page */
		{20 * PAGE, 21 * PAGE - 1},          /* page 20 */
		{21 * PAGE, 22 * PAGE - 1},          /* page 21, adjoins */
		{60 * PAGE - 1, 70 * PAGE},          /* pages 60–63 */
		{UINT64_MAX - PAGE / 2, UINT64_MAX}, /* far outside */
	};
	struct dray_range wrong[2] = {odd[2], odd[0]};

	(void)state;
	assert_int_equal(dr_iova_set_usable(pages, odd, 6), 0);
	assert_hole(0, 1, 3);
	assert_hole(1, 7, 19);
	assert_hole(2, 22, 59);
	assert_hole(3, 0, 0);
	assert_int_equal(dr_iova_set_usable(pages, wrong, 2), -EINVAL);
	wrong[1] = odd[2];
	assert_int_equal(dr_iova_set_usable(pages, wrong, 2), -EINVAL); /* the same one twice */
	wrong[0] = (struct dray_range){2 * PAGE, PAGE - 1};
	assert_int_equal(dr_iova_set_usable(pages, wrong, 2), -EINVAL);
	assert_hole(2, 22, 59);
}

/* The interrupt window of x86 machines, which somebody once handed out. */
static void the_msi_window_is_never_handed_out(void **state)
{
	const struct dray_range vtd[] = {
		{0, 0xfedfffff},
		{0xfef00000, ((uint64_t)1 << 48) - 1},
	};
	struct dray_iova_space *s = open_space(PAGE, 0, ((uint64_t)1 << 48) - 1);
	struct dray_range hole;
	dray_iova_t iova;

	(void)state;
	assert_int_equal(dr_iova_set_usable(s, vtd, 2), 0);
	assert_true(dr_iova_nth_hole(s, 0, &hole));
	assert_int_equal(hole.first, 0xfee00000);
	assert_int_equal(hole.last, 0xfeefffff);
	assert_false(dr_iova_nth_hole(s, 1, &hole));
	while ((iova = take_below(s, KIB(64), KIB(64), 0xfeffffff)) != DRAY_IOVA_NONE) {
		assert_true(iova + KIB(64) <= 0xfee00000 || iova > 0xfeefffff);
		if (iova < 0xfe000000)
			break;
	}
	assert_true(iova < 0xfe000000);
	for (uint64_t at = 0xfee00000; at <= 0xfeefffff; at += PAGE)
		assert_int_equal(dr_iova_take_fixed(s, at, at + PAGE - 1), -EEXIST);
	/* Neither a caller's hole over it nor the undoing of one opens it. */
	assert_int_equal(dr_iova_unresv(s, 0xfee00000, 0xfeefffff), 0);
	assert_int_equal(dr_iova_resv(s, 0xfee00000, 0xfeefffff, DR_RESV_FIXED), 0);
	assert_int_equal(dr_iova_take_fixed(s, 0xfee00000, 0xfee00fff), -EEXIST);
	assert_int_equal(dr_iova_unresv(s, 0xfee00000, 0xfeefffff), 0);
	assert_int_equal(dr_iova_take_fixed(s, 0xfee00000, 0xfee00fff), -EEXIST);
	assert_true(dr_iova_space_is_valid(s));
	dray_iova_space_close(s);
}

static void holes_reach_both_ends_of_64_bits(void **state)
{
	const struct dray_range middle = {GIB(1), GIB(2) - 1};
	const struct dray_range all = {0, UINT64_MAX};
	struct dray_iova_space *s = open_space(PAGE, 0, UINT64_MAX);
	struct dray_range hole;

	(void)state;
	assert_int_equal(dr_iova_set_usable(s, &middle, 1), 0);
	assert_true(dr_iova_nth_hole(s, 0, &hole));
	assert_int_equal(hole.first, 0);
	assert_int_equal(hole.last, GIB(1) - 1);
	assert_true(dr_iova_nth_hole(s, 1, &hole));
	assert_int_equal(hole.first, GIB(2));
	assert_int_equal(hole.last, UINT64_MAX);
	assert_false(dr_iova_nth_hole(s, 2, &hole));
	assert_int_equal(take(s, GIB(1), GIB(1)), GIB(1));
	assert_int_equal(take(s, PAGE, 0), DRAY_IOVA_NONE);
	assert_int_equal(dr_iova_set_usable(s, &all, 1), 0);
	assert_false(dr_iova_nth_hole(s, 0, &hole));
	assert_int_equal(dr_iova_resv(s, GIB(2), UINT64_MAX, DR_RESV_HOLE), 0);
	assert_int_equal(dr_iova_resv(s, 0, GIB(1) - 1, DR_RESV_HOLE), 0);
	assert_true(dr_iova_give(s, GIB(1), GIB(1)));
	assert_int_equal(dr_iova_resv(s, 0, UINT64_MAX, DR_RESV_HOLE), 0);
	assert_int_equal(s->tree.pieces, 1);
	assert_true(dr_iova_nth_hole(s, 0, &hole));
	assert_int_equal(hole.last, UINT64_MAX);
	assert_false(dr_iova_nth_hole(s, 1, &hole));
	assert_true(dr_iova_space_is_valid(s));
	assert_int_equal(dr_iova_unresv(s, 0, UINT64_MAX), 0);
	assert_int_equal(s->tree.pieces, 0);
	dray_iova_space_close(s);
}

/* Attaching a device and asking for holes look at holes, not at everything that is mapped. */
static void holes_cost_nothing_for_what_is_live(void **state)
{
	const struct dray_range one[] = {{0, 0xfedfffff}, {0xfef00000, ((uint64_t)1 << 48) - 1}};
	const struct dray_range two[] = {{0, 0xfebfffff}, {0xfef00000, ((uint64_t)1 << 47) - 1}};
	struct dray_iova_space *s = open_space(PAGE, 0, ((uint64_t)1 << 48) - 1);
	struct dray_range hole;
	uint64_t before;

	(void)state;
	for (unsigned i = 0; i < 50000; i++)
		assert_true(take_below(s, PAGE, 0, (i % 2 ? GIB(2) : GIB(64)) - 1) !=
			    DRAY_IOVA_NONE);
	before = dr_iova_visits(s);
	assert_int_equal(dr_iova_set_usable(s, one, 2), 0);
	assert_int_equal(dr_iova_set_usable(s, two, 2), 0);
	assert_true(dr_iova_nth_hole(s, 1, &hole));
	assert_int_equal(hole.first, (uint64_t)1 << 47);
	/* Some twenty walks, each along a path of less than 24 nodes and back down its side. */
	assert_true(dr_iova_visits(s) - before < 40 * 2 * 24);
	assert_true(dr_iova_space_is_valid(s));
	dray_iova_space_close(s);
}

#define with_pages(f) cmocka_unit_test_setup_teardown(f, open_pages, close_pages)

int main(void)
{
	const struct CMUnitTest tests[] = {
		with_pages(reserved_is_never_handed_out),
		with_pages(reserving_needs_whole_granules_inside),
		with_pages(only_what_is_live_stands_in_the_way),
		with_pages(the_newest_kind_holds),
		with_pages(adjoining_reservations_become_one),
		with_pages(unresv_gives_back_to_the_pool),
		with_pages(a_live_fixed_range_keeps_its_window),
		with_pages(hardware_holes_are_replaced_as_a_whole),
		with_pages(a_hole_never_swallows_what_is_live),
		with_pages(layers_do_not_mix),
		with_pages(quarantine_under_a_hole_survives_it),
		with_pages(usable_ranges_shrink_to_granules),
		cmocka_unit_test(the_msi_window_is_never_handed_out),
		cmocka_unit_test(holes_reach_both_ends_of_64_bits),
		cmocka_unit_test(holes_cost_nothing_for_what_is_live),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
