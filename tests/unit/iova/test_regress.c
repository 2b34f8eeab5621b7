// SPDX-License-Identifier: BSD-2-Clause
/* Cases that other allocators got wrong. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "iova_test.h"

/*
 * A search that starts where the last one ended misses room above it: in 1 GiB, take 500, 12 and
 * 499 MiB, give the 12 back, take 13 (below all), and 2 MiB must still be found in the 12.
 */
static void room_above_the_last_search(void **state)
{
	struct dray_iova_space *s = open_space(PAGE, GIB(1), GIB(2) - 1);
	dray_iova_t a, b, c;

	(void)state;
	a = take(s, MIB(500), 0);
	b = take(s, MIB(12), 0);
	c = take(s, MIB(499), 0);
	assert_int_equal(a, GIB(2) - MIB(500));
	assert_int_equal(b, a - MIB(12));
	assert_int_equal(c, b - MIB(499));
	assert_true(dr_iova_give(s, b, MIB(12)));
	assert_int_equal(take(s, MIB(13), 0), GIB(1));
	assert_int_equal(dray_iova_alloc(s, MIB(2), 0, 0), b + MIB(10));
	assert_int_equal(take(s, MIB(10), 0), b);
	assert_int_equal(take(s, PAGE, 0), DRAY_IOVA_NONE);
	assert_true(dr_iova_space_is_valid(s));
	dray_iova_space_close(s);
}

/* A remembered "largest size that failed" must not be applied to other limits. */
static void a_failed_large_request_spoils_no_narrow_one(void **state)
{
	struct dray_iova_space *s = open_space(PAGE, 0, GIB(64) - 1);
	uint64_t before;

	(void)state;
	assert_int_equal(take(s, GIB(60), 0), GIB(4));
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(take(s, GIB(60), 0), DRAY_IOVA_NONE);
		assert_int_equal(take(s, GIB(4), GIB(4)), DRAY_IOVA_NONE);
		assert_int_equal(take_below(s, GIB(4), 0, GIB(4) - 1), DRAY_IOVA_NONE);
	}
	before = dr_iova_visits(s);
	assert_int_equal(take_below(s, MIB(1), MIB(1), GIB(4) - 1), GIB(4) - MIB(1));
	assert_true(dr_iova_visits(s) - before < 10);
	assert_int_equal(take_below(s, GIB(1), 0, GIB(2) - 1), GIB(1));
	assert_int_equal(take(s, GIB(2) - MIB(1), 0), GIB(2));
	assert_true(dr_iova_space_is_valid(s));
	dray_iova_space_close(s);
}

/* And the other way round: a failed narrow request, then a wide one. */
static void a_failed_narrow_request_spoils_no_wide_one(void **state)
{
	struct dray_iova_space *s = open_space(PAGE, 0, GIB(8) - 1);

	(void)state;
	assert_int_equal(take_below(s, GIB(4) - PAGE, 0, GIB(4) - 1), PAGE);
	assert_int_equal(take_below(s, PAGE, 0, GIB(4) - 1), DRAY_IOVA_NONE);
	assert_int_equal(take_below(s, PAGE, 0, GIB(4) + PAGE - 1), GIB(4));
	assert_int_equal(take(s, PAGE, 0), GIB(8) - PAGE);
	dray_iova_space_close(s);
}

/* Neighbours given back in every order make one gap again, to the granule. */
static void neighbours_become_one_gap(void **state)
{
	static const unsigned order[6][3] = {{0, 1, 2}, {0, 2, 1}, {1, 0, 2},
					     {1, 2, 0}, {2, 0, 1}, {2, 1, 0}};

	(void)state;
	for (unsigned i = 0; i < 6; i++) {
		struct dray_iova_space *s = open_space(PAGE, PAGE, 13 * PAGE - 1);
		dray_iova_t part[3];

		for (unsigned k = 0; k < 3; k++)
			part[k] = take(s, 4 * PAGE, 0);
		assert_int_equal(take(s, PAGE, 0), DRAY_IOVA_NONE);
		for (unsigned k = 0; k < 3; k++)
			assert_true(dr_iova_give(s, part[order[i][k]], 4 * PAGE));
		assert_int_equal(take(s, 12 * PAGE, 0), PAGE);
		dray_iova_space_close(s);
	}
}

/* A failed take leaves nothing behind: fill, fail many times, empty, and all of it is there. */
static void failing_loses_no_addresses(void **state)
{
	struct dray_iova_space *s = open_space(PAGE, 0, MIB(1) - 1);
	dray_iova_t iova[256];

	(void)state;
	for (unsigned round = 0; round < 10; round++) {
		unsigned n = 0;

		while ((iova[n] = take(s, PAGE, 0)) != DRAY_IOVA_NONE)
			n++;
		assert_int_equal(n, 255);
		for (unsigned i = 0; i < 100; i++) {
			assert_int_equal(take(s, PAGE << i % 8, 0), DRAY_IOVA_NONE);
			assert_int_equal(dr_iova_take_fixed(s, iova[i], iova[i] + PAGE - 1),
					 -EEXIST);
		}
		while (n--)
			assert_true(dr_iova_give(s, iova[n], PAGE));
	}
	assert_int_equal(s->tree.pieces, 0);
	assert_int_equal(take(s, MIB(1) - PAGE, 0), PAGE);
	dray_iova_space_close(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(room_above_the_last_search),
		cmocka_unit_test(a_failed_large_request_spoils_no_narrow_one),
		cmocka_unit_test(a_failed_narrow_request_spoils_no_wide_one),
		cmocka_unit_test(neighbours_become_one_gap),
		cmocka_unit_test(failing_loses_no_addresses),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
