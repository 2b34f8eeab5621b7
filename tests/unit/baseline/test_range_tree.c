// SPDX-License-Identifier: BSD-2-Clause
/* The walk, its cached nodes, and the tree under random operations against a map of pages. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "baseline/range_tree.h"
#include "workload/workload.h"

#define ANYWHERE UINT64_MAX
#define PAGES_4G (UINT64_C(1) << 20)

static uint64_t population(struct range_tree *t)
{
	struct contender_population p;

	range_tree_population(t, &p);
	return p.ranges;
}

static void places_from_the_top(void **state)
{
	struct range_tree t;

	(void)state;
	assert_int_equal(range_tree_open(&t, 1, 1023), 0);
	assert_int_equal(range_tree_alloc(&t, 1, ANYWHERE), 1023);
	assert_int_equal(range_tree_alloc(&t, 1, ANYWHERE), 1022);
	assert_int_equal(range_tree_alloc(&t, 4, ANYWHERE), 1016);
	assert_int_equal(range_tree_alloc(&t, 3, ANYWHERE), 1012);
	assert_true(range_tree_is_valid(&t));
	range_tree_close(&t);
}

/* Placed below the cached node; what is freed above it is found because the node moves up. */
static void reuses_what_is_freed(void **state)
{
	struct range_tree t;
	uint64_t a, b;

	(void)state;
	assert_int_equal(range_tree_open(&t, 1, 1023), 0);
	a = range_tree_alloc(&t, 8, ANYWHERE);
	b = range_tree_alloc(&t, 8, ANYWHERE);
	range_tree_free(&t, a);
	assert_int_equal(range_tree_alloc(&t, 8, ANYWHERE), a);
	range_tree_free(&t, b);
	assert_int_equal(range_tree_alloc(&t, 4, ANYWHERE), b + 4);
	assert_int_equal(population(&t), 2);
	assert_true(range_tree_is_valid(&t));
	range_tree_close(&t);
}

/* The whole window, and not a page more; then all of it again. */
static void fills_the_window(void **state)
{
	struct range_tree t;

	(void)state;
	assert_int_equal(range_tree_open(&t, 1, 1023), 0);
	for (int round = 0; round < 2; round++) {
		for (unsigned i = 0; i < 1023; i++)
			assert_int_not_equal(range_tree_alloc(&t, 1, ANYWHERE), RANGE_NONE);
		assert_int_equal(range_tree_alloc(&t, 1, ANYWHERE), RANGE_NONE);
		assert_true(range_tree_is_valid(&t));
		for (unsigned i = 1; i <= 1023; i++)
			range_tree_free(&t, i);
		assert_int_equal(population(&t), 0);
	}
	range_tree_close(&t);
}

/* A hole above the cached node is found by the second walk, which begins at the limit. */
static void finds_holes_above_the_cached_node(void **state)
{
	uint64_t at[200], n = 0, again;
	struct range_tree t;

	(void)state;
	assert_int_equal(range_tree_open(&t, 1, 255), 0);
	while (n < 200)
		at[n++] = range_tree_alloc(&t, 1, ANYWHERE);
	range_tree_free(&t, at[10]);
	range_tree_free(&t, at[199]);
	while ((again = range_tree_alloc(&t, 1, ANYWHERE)) != RANGE_NONE)
		n++;
	/* 200 less the two freed, and every page of the window in the end. */
	assert_int_equal(n - 2, 255);
	assert_int_equal(population(&t), 255);
	assert_true(range_tree_is_valid(&t));
	range_tree_close(&t);
}

static void keeps_limits(void **state)
{
	struct range_tree t;

	(void)state;
	assert_int_equal(range_tree_open(&t, 1, 4 * PAGES_4G - 1), 0);
	assert_int_equal(range_tree_alloc(&t, 1, ANYWHERE), 4 * PAGES_4G - 1);
	assert_int_equal(range_tree_alloc(&t, 1, PAGES_4G - 1), PAGES_4G - 1);
	assert_int_equal(range_tree_alloc(&t, 1, ANYWHERE), 4 * PAGES_4G - 2);
	assert_int_equal(range_tree_alloc(&t, 2, PAGES_4G - 1), PAGES_4G - 4);
	assert_int_equal(range_tree_alloc(&t, 1, 2 * PAGES_4G), 2 * PAGES_4G);
	assert_int_equal(range_tree_alloc(&t, 1, 100), 100);
	assert_int_equal(range_tree_alloc(&t, 4, 2), RANGE_NONE);
	assert_true(range_tree_is_valid(&t));
	range_tree_close(&t);
}

/* Failing below 4 GiB is remembered, for that window and that size alone, until a free there. */
static void remembers_what_does_not_fit_below_4g(void **state)
{
	struct range_tree t;
	uint64_t low;

	(void)state;
	assert_int_equal(range_tree_open(&t, PAGES_4G - 16, 2 * PAGES_4G - 1), 0);
	low = range_tree_alloc(&t, 8, PAGES_4G - 1);
	assert_int_not_equal(low, RANGE_NONE);
	assert_int_equal(range_tree_alloc(&t, 16, PAGES_4G - 1), RANGE_NONE);
	assert_int_equal(t.misfit_low, 16);
	assert_int_not_equal(range_tree_alloc(&t, 16, ANYWHERE), RANGE_NONE);
	assert_int_not_equal(range_tree_alloc(&t, 8, PAGES_4G - 1), RANGE_NONE);
	range_tree_free(&t, low);
	assert_int_not_equal(range_tree_alloc(&t, 8, PAGES_4G - 1), RANGE_NONE);
	/* A narrower limit that fails says nothing about 4 GiB. */
	range_tree_free(&t, low);
	assert_int_equal(range_tree_alloc(&t, 1, 3), RANGE_NONE);
	assert_int_not_equal(range_tree_alloc(&t, 1, PAGES_4G - 1), RANGE_NONE);
	assert_true(range_tree_is_valid(&t));
	range_tree_close(&t);
}

static void ignores_what_is_not_there(void **state)
{
	struct range_tree t;
	uint64_t a;

	(void)state;
	assert_int_equal(range_tree_open(&t, 1, 1023), 0);
	a = range_tree_alloc(&t, 4, ANYWHERE);
	range_tree_free(&t, a + 1);
	range_tree_free(&t, 1024);
	assert_int_equal(population(&t), 1);
	range_tree_free(&t, a);
	range_tree_free(&t, a);
	assert_int_equal(population(&t), 0);
	assert_true(range_tree_is_valid(&t));
	range_tree_close(&t);
}

/* Frees and allocations of random sizes; a page of the map belongs to one range at most. */
static void random_against_a_map(void **state)
{
	enum { WINDOW = 4096, MOST = 600 };
	static uint8_t taken[WINDOW + 1];
	static uint64_t first[MOST], size[MOST];
	uint64_t random = 0x5eed;
	struct range_tree t;
	unsigned n = 0;

	(void)state;
	print_message("seed 0x%llx\n", (unsigned long long)random);
	memset(taken, 0, sizeof(taken));
	assert_int_equal(range_tree_open(&t, 1, WINDOW), 0);
	for (unsigned step = 0; step < 200000; step++) {
		uint64_t r = workload_next(&random);

		if (n && (r % 2 || n == MOST)) {
			unsigned i = (unsigned)(r >> 32) % n;

			range_tree_free(&t, first[i]);
			memset(taken + first[i], 0, size[i]);
			first[i] = first[--n];
			size[i] = size[n];
		} else {
			uint64_t pages = 1 + (r >> 8) % 12, align = 1, limit = ANYWHERE, at;

			if (r & 4)
				limit = 64 + (r >> 40) % WINDOW;
			while (align < pages)
				align *= 2;
			at = range_tree_alloc(&t, pages, limit);
			if (at == RANGE_NONE)
				continue;
			assert_int_equal(at % align, 0);
			assert_true(at >= 1 && at + pages - 1 <= WINDOW && at + pages - 1 <= limit);
			for (uint64_t k = at; k < at + pages; k++)
				assert_int_equal(taken[k]++, 0);
			first[n] = at;
			size[n++] = pages;
		}
		if (step % 512 == 0)
			assert_true(range_tree_is_valid(&t));
	}
	assert_int_equal(population(&t), n);
	range_tree_close(&t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(places_from_the_top),
		cmocka_unit_test(reuses_what_is_freed),
		cmocka_unit_test(fills_the_window),
		cmocka_unit_test(finds_holes_above_the_cached_node),
		cmocka_unit_test(keeps_limits),
		cmocka_unit_test(remembers_what_does_not_fit_below_4g),
		cmocka_unit_test(ignores_what_is_not_there),
		cmocka_unit_test(random_against_a_map),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
