// SPDX-License-Identifier: BSD-2-Clause
/* Counts: whose slot is used, growth, numbers that change hands, threads without slots. */
#include <pthread.h>

#include "rig.h"

static struct dr_counts c;

static int count_setup(void **state)
{
	rig_setup(state);
	dr_counts_open(&c);
	return 0;
}

static int count_teardown(void **state)
{
	dr_counts_close(&c);
	return rig_teardown(state);
}

static void in_thread(void *(*fn)(void *), void *arg)
{
	pthread_t t;

	assert_int_equal(pthread_create(&t, NULL, fn, arg), 0);
	pthread_join(t, NULL);
}

static void test_a_thread_without_slots_is_told(void **state)
{
	(void)state;
	assert_false(dr_counts_add(&c, 0, 1));
	assert_int_equal(dr_counts_sum(&c, 0), 0);
	rig.fail_alloc = 1;
	dr_counts_ready(&c, 10);
	assert_false(dr_counts_add(&c, 0, 1));
	dr_counts_ready(&c, 10);
	assert_true(dr_counts_add(&c, 9, 1));
	assert_int_equal(dr_counts_sum(&c, 9), 1);
	assert_int_equal(dr_counts_sum(&c, 8), 0);
}

static void test_growth_keeps_counts(void **state)
{
	uint32_t n = 1;

	(void)state;
	for (unsigned round = 1; round < 14; round++, n *= 3) {
		dr_counts_ready(&c, n);
		assert_true(dr_counts_add(&c, n - 1, round));
		for (uint32_t k = 1, r = 1; r <= round; k *= 3, r++)
			assert_int_equal(dr_counts_sum(&c, k - 1), r);
	}
	/* Where growing fails, the old array goes on. */
	n = 2 * n;
	rig.fail_alloc = 1;
	dr_counts_ready(&c, n * 4);
	assert_int_equal(rig.fail_alloc, 0);
	assert_false(dr_counts_add(&c, n * 4 - 1, 1));
	assert_true(dr_counts_add(&c, 0, 1));
	assert_int_equal(dr_counts_sum(&c, 0), 2);
	/* An index past every array is in none. */
	assert_int_equal(dr_counts_sum(&c, UINT32_MAX), 0);
}

static void *take_three(void *arg)
{
	(void)arg;
	dr_counts_ready(&c, 5);
	if (!dr_counts_add(&c, 4, (uint32_t)-3))
		abort();
	return NULL;
}

/* Mapped here, unmapped there: single slots wrap, the sum does not. */
static void test_slots_wrap_around(void **state)
{
	(void)state;
	dr_counts_ready(&c, 5);
	for (unsigned i = 0; i < 3; i++)
		assert_true(dr_counts_add(&c, 4, 1));
	in_thread(take_three, NULL);
	assert_int_equal(dr_counts_sum(&c, 4), 0);
	assert_true(dr_counts_add(&c, 4, 1));
	assert_int_equal(dr_counts_sum(&c, 4), 1);
}

static void *add_one(void *arg)
{
	dr_counts_ready(&c, 3);
	*(long *)arg = rig.blocks;
	if (!dr_counts_add(&c, 2, 1))
		abort();
	return NULL;
}

/* One thread after the other with one number: one array, and nothing is lost when one exits. */
static void test_numbers_change_hands(void **state)
{
	long first, blocks;

	(void)state;
	in_thread(add_one, &first);
	for (unsigned i = 1; i < 50; i++) {
		in_thread(add_one, &blocks);
		assert_int_equal(blocks, first);
	}
	assert_int_equal(dr_counts_sum(&c, 2), 50);
}

/* Sums while threads grow and count: each sees at least what was counted before it was asked. */
#define ROUNDS 300u
static _Atomic uint32_t counted;

static void *grow_and_count(void *arg)
{
	(void)arg;
	for (uint32_t i = 1; i <= ROUNDS; i++) {
		dr_counts_ready(&c, i * 100);
		if (!dr_counts_add(&c, 7, 1))
			abort();
		atomic_fetch_add_explicit(&counted, 1, memory_order_release);
	}
	return NULL;
}

static void test_sum_while_growing(void **state)
{
	pthread_t t[3];
	uint32_t before, sum;

	(void)state;
	counted = 0;
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(pthread_create(&t[i], NULL, grow_and_count, NULL), 0);
	do {
		before = atomic_load_explicit(&counted, memory_order_acquire);
		sum = dr_counts_sum(&c, 7);
		assert_true(sum >= before && sum <= 3 * ROUNDS);
	} while (before < 3 * ROUNDS);
	for (unsigned i = 0; i < 3; i++)
		pthread_join(t[i], NULL);
	assert_int_equal(dr_counts_sum(&c, 7), 3 * ROUNDS);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, count_setup, count_teardown)
	const struct CMUnitTest tests[] = {
		T(test_a_thread_without_slots_is_told),
		T(test_growth_keeps_counts),
		T(test_slots_wrap_around),
		T(test_numbers_change_hands),
		T(test_sum_while_growing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
