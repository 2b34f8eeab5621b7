// SPDX-License-Identifier: BSD-2-Clause
/* Fixed addresses: in free space, in windows, across edges; and what they become afterwards. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "iova_test.h"

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

static int fixed(unsigned first, unsigned last)
{
	return dr_iova_take_fixed(pages, first * PAGE, last * PAGE + PAGE - 1);
}

static bool give(unsigned first, unsigned last)
{
	return dr_iova_give(pages, first * PAGE, (last - first + 1) * PAGE);
}

static int resv(unsigned first, unsigned last, enum dr_iova_resv kind)
{
	return dr_iova_resv(pages, first * PAGE, last * PAGE + PAGE - 1, kind);
}

static int unresv(unsigned first, unsigned last)
{
	return dr_iova_unresv(pages, first * PAGE, last * PAGE + PAGE - 1);
}

static void in_free_space(void **state)
{
	bool is_fixed = false;

	(void)state;
	assert_int_equal(fixed(60, 63), 0);
	assert_true(dr_iova_is_live(pages, 60 * PAGE, 4 * PAGE, &is_fixed));
	assert_true(is_fixed);
	assert_int_equal(fixed(60, 63), -EEXIST);
	assert_int_equal(fixed(63, 63), -EEXIST);
	assert_int_equal(fixed(50, 60), -EEXIST);
	assert_int_equal(take(pages, PAGE, 0), 59 * PAGE); /* automatic goes round it */
	assert_int_equal(fixed(59, 59), -EEXIST);          /* and it round automatic */
	assert_true(give(60, 63));
	assert_int_equal(take(pages, 4 * PAGE, 0), 60 * PAGE); /* managed stays managed */
}

static void arguments_are_checked(void **state)
{
	static struct picture before, after;

	(void)state;
	draw(pages, &before);
	assert_int_equal(dr_iova_take_fixed(pages, PAGE + 1, 2 * PAGE - 1), -EINVAL);
	assert_int_equal(dr_iova_take_fixed(pages, PAGE, 2 * PAGE), -EINVAL);
	assert_int_equal(dr_iova_take_fixed(pages, 3 * PAGE, 2 * PAGE - 1), -EINVAL);
	assert_int_equal(dr_iova_take_fixed(pages, 0, PAGE - 1), -ERANGE);
	assert_int_equal(dr_iova_take_fixed(pages, 63 * PAGE, 65 * PAGE - 1), -ERANGE);
	assert_int_equal(dr_iova_take_fixed(pages, UINT64_MAX - PAGE + 1, UINT64_MAX), -ERANGE);
	draw(pages, &after);
	assert_same_picture(&before, &after);
}

/* The fixed address that re-entered the pool after a free, and was handed to somebody else. */
static void reserved_stays_reserved(void **state)
{
	(void)state;
	assert_int_equal(resv(56, 63, DR_RESV_FIXED), 0);
	assert_int_equal(fixed(58, 60), 0);
	assert_int_equal(fixed(56, 57), 0);
	assert_int_equal(fixed(60, 61), -EEXIST);
	assert_true(give(58, 60));
	assert_int_equal(take(pages, PAGE, 0), 55 * PAGE);
	assert_int_equal(fixed(58, 59), 0); /* again, in another size */
	assert_true(give(56, 57));
	assert_true(give(58, 59));
	assert_int_equal(pages->tree.pieces, 2); /* the window in one piece, and page 55 */
	assert_int_equal(take(pages, PAGE, 0), 54 * PAGE);
}

static void holes_are_for_nobody(void **state)
{
	const struct dray_range usable = {PAGE, 32 * PAGE - 1};

	(void)state;
	assert_int_equal(resv(30, 31, DR_RESV_HOLE), 0);
	assert_int_equal(dr_iova_set_usable(pages, &usable, 1), 0);
	assert_int_equal(fixed(31, 31), -EEXIST);
	assert_int_equal(fixed(29, 30), -EEXIST);
	assert_int_equal(fixed(32, 32), -EEXIST);
	assert_int_equal(fixed(63, 63), -EEXIST);
	/* A window under the hardware's hole does not help while the hole is there. */
	assert_int_equal(resv(40, 45, DR_RESV_FIXED), 0);
	assert_int_equal(fixed(41, 41), -EEXIST);
	assert_int_equal(fixed(28, 29), 0);
}

/* One range over free space, two windows and the free page between them; every part returns. */
static void across_windows(void **state)
{
	static struct picture before, after;

	(void)state;
	assert_int_equal(resv(10, 19, DR_RESV_FIXED), 0);
	assert_int_equal(resv(21, 29, DR_RESV_FIXED), 0);
	draw(pages, &before);
	assert_int_equal(fixed(5, 25), 0);
	assert_true(dr_iova_space_is_valid(pages));
	assert_int_equal(counts_of(pages).live_ranges, 1);
	assert_int_equal(counts_of(pages).live_bytes, 21 * PAGE);
	assert_true(dr_iova_is_live(pages, 5 * PAGE, 21 * PAGE, NULL));
	assert_int_equal(fixed(26, 27), 0); /* adjoins, in the same window: another range */
	assert_int_equal(fixed(4, 4), 0);   /* adjoins in free space */

	/* Its parts are not ranges, whatever their edges. */
	assert_false(give(5, 9));
	assert_false(give(10, 19));
	assert_false(give(20, 20));
	assert_false(give(21, 25));
	assert_false(give(5, 19));
	assert_false(give(5, 27));
	assert_false(give(4, 25));
	assert_int_equal(counts_of(pages).bad_frees, 7);

	/* No reservation changes under it. */
	assert_int_equal(unresv(10, 10), -EBUSY);
	assert_int_equal(unresv(25, 63), -EBUSY);
	assert_int_equal(unresv(28, 29), 0); /* beside it: free to go */
	assert_int_equal(resv(28, 29, DR_RESV_FIXED), 0);
	assert_int_equal(unresv(5, 9), 0); /* nobody reserved that part: nothing to undo */
	assert_int_equal(resv(20, 20, DR_RESV_HOLE), -EEXIST);
	assert_int_equal(resv(1, 63, DR_RESV_FIXED), -EEXIST);

	assert_true(give(4, 4));
	assert_true(give(5, 25));
	assert_true(dr_iova_space_is_valid(pages));
	assert_true(give(26, 27));
	draw(pages, &after);
	before.counts.bad_frees = after.counts.bad_frees;
	assert_same_picture(&before, &after);

	/* Page 20 and what is outside came back to the pool, the windows did not. */
	assert_int_equal(take(pages, 34 * PAGE, 0), 30 * PAGE);
	assert_int_equal(take(pages, PAGE, 0), 20 * PAGE);
	assert_int_equal(take(pages, PAGE, 0), 9 * PAGE);
}

static void many_windows_one_range(void **state)
{
	static struct picture before, after;

	(void)state;
	for (unsigned at = 2; at < 62; at += 3)
		assert_int_equal(resv(at, at, DR_RESV_FIXED), 0);
	draw(pages, &before);
	assert_int_equal(fixed(1, 63), 0);
	assert_true(dr_iova_space_is_valid(pages));
	assert_int_equal(take(pages, PAGE, 0), DRAY_IOVA_NONE);
	assert_true(give(1, 63));
	draw(pages, &after);
	assert_same_picture(&before, &after);
}

static void quarantined_across_windows(void **state)
{
	(void)state;
	assert_int_equal(resv(10, 19, DR_RESV_FIXED), 0);
	assert_int_equal(fixed(8, 12), 0);
	assert_true(dr_iova_quarantine(pages, 8 * PAGE, 5 * PAGE));
	assert_true(dr_iova_space_is_valid(pages));
	assert_int_equal(counts_of(pages).quarantined_bytes, 5 * PAGE);
	assert_int_equal(fixed(12, 13), -EEXIST);
	assert_int_equal(fixed(13, 13), 0);
	assert_true(give(13, 13));
	/* The window may go, what is quarantined stays. */
	assert_int_equal(unresv(10, 19), 0);
	assert_int_equal(pages->tree.pieces, 1);
	assert_int_equal(fixed(12, 12), -EEXIST);
	assert_int_equal(take_below(pages, PAGE, 0, 14 * PAGE - 1), 13 * PAGE);
	assert_int_equal(take_below(pages, PAGE, 0, 13 * PAGE - 1), 7 * PAGE);
}

/* Neighbours in the same state are two ranges: neither merges into the other. */
static void neighbours_keep_their_edges(void **state)
{
	(void)state;
	assert_int_equal(fixed(10, 11), 0);
	assert_int_equal(fixed(12, 13), 0);
	assert_int_equal(fixed(8, 9), 0);
	assert_false(give(10, 13));
	assert_false(give(8, 13));
	assert_true(give(10, 11));
	assert_true(dr_iova_is_live(pages, 12 * PAGE, 2 * PAGE, NULL));
	assert_true(dr_iova_is_live(pages, 8 * PAGE, 2 * PAGE, NULL));
	assert_true(give(12, 13));
	assert_true(give(8, 9));
	assert_int_equal(pages->tree.pieces, 0);
}

static void no_longer_than_a_length_can_say(void **state)
{
	struct dray_iova_space *s = open_space(PAGE, 0, UINT64_MAX);

	(void)state;
	assert_int_equal(dr_iova_take_fixed(s, 0, UINT64_MAX), -EINVAL);
	assert_int_equal(dr_iova_take_fixed(s, PAGE, UINT64_MAX), 0);
	assert_int_equal(dr_iova_take_fixed(s, 0, PAGE - 1), 0);
	assert_true(dr_iova_space_is_valid(s));
	assert_true(dr_iova_give(s, PAGE, (size_t)-PAGE));
	assert_true(dr_iova_give(s, 0, PAGE));
	assert_int_equal(s->tree.pieces, 0);
	dray_iova_space_close(s);
}

#define with_pages(f) cmocka_unit_test_setup_teardown(f, open_pages, close_pages)

int main(void)
{
	const struct CMUnitTest tests[] = {
		with_pages(in_free_space),
		with_pages(arguments_are_checked),
		with_pages(reserved_stays_reserved),
		with_pages(holes_are_for_nobody),
		with_pages(across_windows),
		with_pages(many_windows_one_range),
		with_pages(quarantined_across_windows),
		with_pages(neighbours_keep_their_edges),
		cmocka_unit_test(no_longer_than_a_length_can_say),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
