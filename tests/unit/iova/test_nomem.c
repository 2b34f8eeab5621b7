// SPDX-License-Identifier: BSD-2-Clause
/*
 * Memory that fails at every nth allocation: a call that fails changed nothing, one that must not
 * fail asks for none, and nothing is lost.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "iova_test.h"

static struct dray_iova_space *pages;

/*
 * Pages 1–255 with something of everything: windows of page 10–19 and 30–39, holes of the hardware
 * from 200 on, single pages taken at every fourth place from 100 to 140.
 */
static int open_pages(void **state)
{
	const struct dray_range usable = {PAGE, 200 * PAGE - 1};

	(void)state;
	memory.until_failure = -1;
	pages = open_space(PAGE, PAGE, 256 * PAGE - 1);
	assert_int_equal(dr_iova_resv(pages, 10 * PAGE, 20 * PAGE - 1, DR_RESV_FIXED), 0);
	assert_int_equal(dr_iova_resv(pages, 30 * PAGE, 40 * PAGE - 1, DR_RESV_FIXED), 0);
	assert_int_equal(dr_iova_set_usable(pages, &usable, 1), 0);
	for (unsigned at = 100; at < 140; at += 4)
		assert_int_equal(dr_iova_take_fixed(pages, at * PAGE, at * PAGE + PAGE - 1), 0);
	return 0;
}

static int close_pages(void **state)
{
	(void)state;
	memory.until_failure = -1;
	assert_true(dr_iova_space_is_valid(pages));
	dray_iova_space_close(pages);
	assert_int_equal(memory.outstanding, 0);
	return 0;
}

/* Let @call meet a failure at every allocation it makes, in turn, until it succeeds. */
static void fail_every_nth(int (*call)(void), long least_failures)
{
	static struct picture before, after;
	long nth;
	int err;

	draw(pages, &before);
	for (nth = 0;; nth++) {
		use_up_spares(pages);
		memory.until_failure = nth;
		memory.failures = 0;
		err = call();
		if (!memory.failures)
			break;
		assert_int_equal(err, -ENOMEM);
		assert_true(dr_iova_space_is_valid(pages));
		draw(pages, &after);
		assert_same_picture(&before, &after);
	}
	assert_int_equal(err, 0);
	assert_true(nth >= least_failures);
	assert_true(dr_iova_space_is_valid(pages));
	memory.until_failure = -1;
}

static int call_take(void)
{
	const struct dr_iova_request req = {.len = PAGE, .align = PAGE, .last = DRAY_IOVA_NONE};
	dray_iova_t iova = 5;
	int err = dr_iova_take(pages, &req, &iova);

	assert_true(!err == (iova != 5));
	return err;
}

static int call_take_fixed(void)
{
	return dr_iova_take_fixed(pages, 5 * PAGE, 35 * PAGE - 1);
}

static int call_resv(void)
{
	return dr_iova_resv(pages, 15 * PAGE, 35 * PAGE - 1, DR_RESV_HOLE);
}

static int call_unresv(void)
{
	return dr_iova_unresv(pages, 15 * PAGE, 18 * PAGE - 1);
}

/* From the top of the window downwards, over every single page's neighbourhood. */
static int call_set_usable(void)
{
	struct dray_range usable[11] = {{PAGE, 90 * PAGE - 1}};

	for (unsigned i = 0; i < 10; i++)
		usable[i + 1] = (struct dray_range){(100 + 4 * i) * PAGE, (101 + 4 * i) * PAGE - 1};
	return dr_iova_set_usable(pages, usable, 11);
}

static void take_fails_whole(void **state)
{
	(void)state;
	fail_every_nth(call_take, 1);
}

static void take_fixed_fails_whole(void **state)
{
	(void)state;
	fail_every_nth(call_take_fixed, 4); /* two pieces of free space and a cut at the least */
}

static void resv_fails_whole(void **state)
{
	(void)state;
	fail_every_nth(call_resv, 3);
}

static void unresv_fails_whole(void **state)
{
	(void)state;
	fail_every_nth(call_unresv, 2);
}

static void set_usable_fails_whole(void **state)
{
	(void)state;
	fail_every_nth(call_set_usable, 12); /* the list of holes, and each hole */
}

static void open_fails_whole(void **state)
{
	struct dray_iova_space *s = NULL;

	(void)state;
	memory.until_failure = 0;
	assert_int_equal(dray_iova_space_open(NULL, &s), -ENOMEM);
	assert_null(s);
	assert_int_equal(dray_iova_alloc(pages, PAGE, 0, 0) == DRAY_IOVA_NONE, !pages->spares);
}

/* Giving back, quarantining and looking, with no memory at all and no spare record. */
static void giving_back_asks_for_nothing(void **state)
{
	struct dray_range hole;
	dray_iova_t iova = take(pages, 7 * PAGE, 0);
	long calls;

	(void)state;
	assert_int_equal(dr_iova_take_fixed(pages, 5 * PAGE, 35 * PAGE - 1), 0);
	use_up_spares(pages);
	memory.until_failure = 0;
	calls = memory.calls;
	assert_true(dr_iova_is_live(pages, iova, 7 * PAGE, NULL));
	assert_true(dr_iova_any_live(pages, 0, UINT64_MAX));
	assert_true(dr_iova_nth_hole(pages, 0, &hole));
	assert_false(dr_iova_give(pages, iova, 6 * PAGE));
	assert_true(dr_iova_give(pages, iova, 7 * PAGE));
	use_up_spares(pages);
	assert_true(dr_iova_give(pages, 5 * PAGE, 30 * PAGE));
	use_up_spares(pages);
	assert_true(dr_iova_quarantine(pages, 104 * PAGE, PAGE));
	use_up_spares(pages);
	assert_true(dr_iova_give(pages, 108 * PAGE, PAGE));
	assert_int_equal(memory.calls, calls);
}

/* A burst of frees leaves a bounded number of records behind. */
static void spares_are_bounded(void **state)
{
	struct dray_iova_space *s = open_space(PAGE, 0, GIB(4) - 1);
	dray_iova_t iova[1000];
	long before;

	(void)state;
	before = memory.outstanding;
	for (unsigned i = 0; i < 1000; i++)
		iova[i] = take(s, PAGE, 0);
	assert_int_equal(memory.outstanding - before, 1000);
	for (unsigned i = 0; i < 1000; i++)
		assert_true(dr_iova_give(s, iova[i], PAGE));
	assert_int_equal(memory.outstanding - before, DR_SPARE_PIECES);
	assert_true(dr_iova_space_is_valid(s));
	/* A steady load then asks for no memory. */
	before = memory.calls;
	for (unsigned i = 0; i < 1000; i++)
		assert_true(dr_iova_give(s, take(s, PAGE, 0), PAGE));
	assert_int_equal(memory.calls, before);
	dray_iova_space_close(s);
}

#define with_pages(f) cmocka_unit_test_setup_teardown(f, open_pages, close_pages)

int main(void)
{
	const struct CMUnitTest tests[] = {
		with_pages(take_fails_whole),
		with_pages(take_fixed_fails_whole),
		with_pages(resv_fails_whole),
		with_pages(unresv_fails_whole),
		with_pages(set_usable_fails_whole),
		with_pages(open_fails_whole),
		with_pages(giving_back_asks_for_nothing),
		with_pages(spares_are_bounded),
	};

	use_test_memory();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
