// SPDX-License-Identifier: BSD-2-Clause
/*
 * Magazines and depots, seen through what the tree under them holds. The tests bind themselves to
 * one CPU, so that one pair of magazines is meant.
 */
#define _GNU_SOURCE
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "baseline/rcache.h"
#include "workload/thread.h"

#define PAGE  ((size_t)4096)
#define FIRST CONTENDER_FIRST
#define LAST  CONTENDER_LAST
#define MAG   RCACHE_MAGAZINE

static uint64_t population(struct rcache *c)
{
	struct contender_population p;

	range_tree_population(&c->tree, &p);
	return p.ranges;
}

static struct rcache *opened(unsigned depot_max)
{
	struct rcache *c;

	assert_int_equal(rcache_open(FIRST, LAST, depot_max, 0, &c), 0);
	return c;
}

/* Take @n of @len and give them all back. */
static void cycle(struct rcache *c, unsigned n, size_t len)
{
	uint64_t *at = calloc(n, sizeof(*at));

	assert_non_null(at);
	for (unsigned i = 0; i < n; i++) {
		at[i] = rcache_alloc(c, len, 0);
		assert_int_not_equal(at[i], CONTENDER_NONE);
	}
	for (unsigned i = 0; i < n; i++)
		rcache_free(c, at[i], len);
	free(at);
}

static void gives_back_the_last_first(void **state)
{
	struct rcache *c = opened(RCACHE_UNBOUNDED);
	uint64_t a = rcache_alloc(c, PAGE, 0), b = rcache_alloc(c, PAGE, 0);

	(void)state;
	rcache_free(c, a, PAGE);
	rcache_free(c, b, PAGE);
	assert_int_equal(rcache_alloc(c, PAGE, 0), b);
	assert_int_equal(rcache_alloc(c, PAGE, 0), a);
	assert_int_equal(population(c), 2);
	rcache_close(c);
}

/* Sizes between two orders share the magazines of the larger; more than 32 pages have none. */
static void rounds_up_to_orders(void **state)
{
	struct rcache *c = opened(RCACHE_UNBOUNDED);
	uint64_t a = rcache_alloc(c, 3 * PAGE, 0);

	(void)state;
	assert_int_equal(a % (4 * PAGE), 0);
	rcache_free(c, a, 3 * PAGE);
	assert_int_equal(rcache_alloc(c, 4 * PAGE, 0), a);
	a = rcache_alloc(c, 17 * PAGE, 0);
	rcache_free(c, a, 17 * PAGE);
	assert_int_equal(rcache_alloc(c, 32 * PAGE, 0), a);
	assert_int_equal(population(c), 2);
	a = rcache_alloc(c, 33 * PAGE, 0);
	rcache_free(c, a, 33 * PAGE);
	assert_int_equal(population(c), 2);
	rcache_close(c);
}

/* Two magazines on the CPU; the third of that many goes to the depot and comes back from it. */
static void exchanges_whole_magazines(void **state)
{
	struct rcache *c = opened(RCACHE_UNBOUNDED);

	(void)state;
	cycle(c, 2 * MAG, PAGE);
	assert_int_equal(c->depots[0].n, 0);
	cycle(c, 3 * MAG, PAGE);
	assert_int_equal(c->depots[0].n, 1);
	assert_int_equal(population(c), 3 * MAG);
	cycle(c, 10 * MAG, PAGE);
	assert_int_equal(population(c), 10 * MAG);
	cycle(c, 10 * MAG, PAGE);
	assert_int_equal(population(c), 10 * MAG);
	/* Another order's magazines are its own. */
	cycle(c, MAG, 2 * PAGE);
	assert_int_equal(population(c), 11 * MAG);
	rcache_close(c);
}

static void a_fixed_depot_overflows_into_the_tree(void **state)
{
	const unsigned most = (RCACHE_FIXED_DEPOT + 2) * MAG;
	struct rcache *c = opened(RCACHE_FIXED_DEPOT);

	(void)state;
	cycle(c, most, PAGE);
	assert_int_equal(population(c), most);
	cycle(c, most + 5 * MAG, PAGE);
	assert_int_equal(population(c), most);
	assert_int_equal(c->depots[0].n, RCACHE_FIXED_DEPOT);
	assert_true(range_tree_is_valid(&c->tree));
	rcache_close(c);
}

static void a_depot_without_a_bound_keeps_all(void **state)
{
	const unsigned n = (RCACHE_FIXED_DEPOT + 40) * MAG;
	struct rcache *c = opened(RCACHE_UNBOUNDED);

	(void)state;
	cycle(c, n, PAGE);
	assert_int_equal(population(c), n);
	rcache_close(c);
}

/* One magazine each time, down to one for each CPU. */
static void trims_the_depot(void **state)
{
	struct rcache *c = opened(RCACHE_UNBOUNDED);
	uint64_t depot = c->n_cpus + 3;

	(void)state;
	cycle(c, (unsigned)(depot + 2) * MAG, PAGE);
	assert_int_equal(c->depots[0].n, depot);
	rcache_trim(c);
	assert_int_equal(c->depots[0].n, depot - 1);
	assert_int_equal(population(c), (depot + 1) * MAG);
	for (int i = 0; i < 10; i++)
		rcache_trim(c);
	assert_int_equal(c->depots[0].n, c->n_cpus);
	assert_true(range_tree_is_valid(&c->tree));
	rcache_close(c);
}

/* The thread that trims does come; how soon is its own affair. */
static void the_trimmer_trims(void **state)
{
	struct rcache *c;

	(void)state;
	assert_int_equal(rcache_open(FIRST, LAST, RCACHE_UNBOUNDED, 1, &c), 0);
	cycle(c, (c->n_cpus + 8) * MAG, PAGE);
	while (population(c) > (c->n_cpus + 2) * MAG)
		sched_yield();
	rcache_close(c);
}

/* An address below the limit is taken from the middle of the magazine. */
static void searches_the_magazine_for_a_limit(void **state)
{
	struct rcache *c = opened(RCACHE_UNBOUNDED);
	const uint64_t below = UINT32_MAX;
	uint64_t low = rcache_alloc(c, PAGE, below), high = rcache_alloc(c, PAGE, 0);

	(void)state;
	assert_true(low <= below && high > below);
	rcache_free(c, low, PAGE);
	rcache_free(c, high, PAGE);
	assert_int_equal(rcache_alloc(c, PAGE, below), low);
	assert_int_equal(population(c), 2);
	/* None cached is low enough: the tree has one. */
	assert_true(rcache_alloc(c, PAGE, below) < low);
	assert_int_equal(population(c), 3);
	assert_int_equal(rcache_alloc(c, PAGE, 0), high);
	rcache_close(c);
}

/* What another order holds comes back when the window is full. */
static void drains_before_it_gives_up(void **state)
{
	struct rcache *c;
	uint64_t at;

	(void)state;
	assert_int_equal(rcache_open(PAGE, 1024 * PAGE - 1, RCACHE_UNBOUNDED, 0, &c), 0);
	cycle(c, 1023, PAGE);
	assert_int_equal(population(c), 1023);
	at = rcache_alloc(c, 32 * PAGE, 0);
	assert_int_not_equal(at, CONTENDER_NONE);
	assert_int_equal(population(c), 1);
	for (unsigned i = 0; i < 30; i++)
		assert_int_not_equal(rcache_alloc(c, 32 * PAGE, 0), CONTENDER_NONE);
	assert_int_equal(rcache_alloc(c, 32 * PAGE, 0), CONTENDER_NONE);
	rcache_free(c, at, 32 * PAGE);
	assert_int_equal(rcache_alloc(c, 32 * PAGE, 0), at);
	rcache_close(c);
}

static int stay_on_one_cpu(void **state)
{
	cpu_set_t one;

	(void)state;
	CPU_ZERO(&one);
	CPU_SET(sched_getcpu(), &one);
	return sched_setaffinity(0, sizeof(one), &one);
}

/* What a CPU that is played gives back is there for itself alone, until a magazine is full. */
static void played_cpus_have_their_own(void **state)
{
	const struct contender *r = &contender_rcache_fixed_depot_256;
	uint64_t a, b;
	void *ctx;

	(void)state;
	assert_int_equal(r->open(FIRST, LAST, &ctx), 0);
	workload_cpu = 1;
	a = r->alloc(ctx, PAGE, 0);
	r->free(ctx, a, PAGE);
	workload_cpu = 256;
	b = r->alloc(ctx, PAGE, 0);
	assert_true(b != CONTENDER_NONE && b != a);
	workload_cpu = 1;
	assert_int_equal(r->alloc(ctx, PAGE, 0), a);
	workload_cpu = 0;
	r->free(ctx, a, PAGE);
	r->free(ctx, b, PAGE);
	r->close(ctx);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(gives_back_the_last_first),
		cmocka_unit_test(rounds_up_to_orders),
		cmocka_unit_test(exchanges_whole_magazines),
		cmocka_unit_test(a_fixed_depot_overflows_into_the_tree),
		cmocka_unit_test(a_depot_without_a_bound_keeps_all),
		cmocka_unit_test(trims_the_depot),
		cmocka_unit_test(the_trimmer_trims),
		cmocka_unit_test(searches_the_magazine_for_a_limit),
		cmocka_unit_test(drains_before_it_gives_up),
		cmocka_unit_test(played_cpus_have_their_own),
	};

	return cmocka_run_group_tests(tests, stay_on_one_cpu, NULL);
}
