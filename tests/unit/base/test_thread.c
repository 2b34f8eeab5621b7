// SPDX-License-Identifier: BSD-2-Clause
/* Thread numbers, and the counters that stand on them. */
#include "base_test.h"

#include "base/hooks.h"
#include "base/thread.h"
#include "stats/counters.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

static void *take_number(void *arg)
{
	unsigned *ret = arg;

	ret[0] = dr_thread_peek();
	ret[1] = dr_thread_number();
	ret[2] = dr_thread_peek();
	return NULL;
}

/* None at first; taken once; given back at exit, so threads in a row get the same one. */
static void test_number_comes_back(void **state)
{
	unsigned first[3] = { 0 }, next[3];
	pthread_t thread;

	(void)state;
	for (int i = 0; i < 3000; i++) {
		memset(next, 0, sizeof(next));
		assert_int_equal(pthread_create(&thread, NULL, take_number, next), 0);
		assert_int_equal(pthread_join(thread, NULL), 0);
		assert_int_equal(next[0], DR_THREAD_NONE);
		assert_true(next[1] < DR_THREADS);
		assert_int_equal(next[2], next[1]);
		if (!i)
			memcpy(first, next, sizeof(first));
		assert_int_equal(next[1], first[1]);
	}
}

struct crowd {
	pthread_barrier_t in, out;
	struct dr_counters *counters;
	_Atomic unsigned taken[DR_THREADS];
	_Atomic unsigned without;
};

static void *stay(void *arg)
{
	struct crowd *c = arg;
	unsigned n = dr_thread_number();

	if (n == DR_THREAD_NONE)
		atomic_fetch_add(&c->without, 1);
	else
		atomic_fetch_add(&c->taken[n], 1);
	dr_counters_ready(c->counters);
	dr_count(c->counters, DR_MAPS, 3);
	dr_count_order(c->counters, DR_ENDED, 1, memory_order_release);
	pthread_barrier_wait(&c->in);
	/* All are here at once, and keep what they have. */
	if (n != dr_thread_number())
		abort();
	dr_count(c->counters, DR_MAPS, 1);
	pthread_barrier_wait(&c->out);
	return NULL;
}

/* More threads at once than numbers: each number is held once, the rest do without, none is lost. */
static void test_more_threads_than_numbers(void **state)
{
	enum { EXTRA = 40 };
	const unsigned n = DR_THREADS + EXTRA;
	struct crowd *c = calloc(1, sizeof(*c));
	struct dr_counters *counters = dr_hooks->alloc(sizeof(*counters), 128);
	pthread_t *threads = calloc(n, sizeof(*threads));
	pthread_attr_t attr;
	unsigned held = 0;

	(void)state;
	assert_true(c && counters && threads);
	c->counters = counters;
	pthread_barrier_init(&c->in, NULL, n + 1);
	pthread_barrier_init(&c->out, NULL, n + 1);
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, 256 * 1024);
	for (unsigned i = 0; i < n; i++)
		assert_int_equal(pthread_create(&threads[i], &attr, stay, c), 0);
	pthread_barrier_wait(&c->in);
	for (unsigned i = 0; i < DR_THREADS; i++) {
		assert_true(c->taken[i] <= 1);
		held += c->taken[i];
	}
	assert_int_equal(held + c->without, n);
	assert_in_range(c->without, EXTRA, EXTRA + 1); /* this thread may hold one */
	assert_int_equal(dr_counters_sum(counters, DR_ENDED), n);
	pthread_barrier_wait(&c->out);
	for (unsigned i = 0; i < n; i++)
		assert_int_equal(pthread_join(threads[i], NULL), 0);
	assert_int_equal(dr_counters_sum(counters, DR_MAPS), 4 * n);
	assert_int_equal(dr_counters_sum(counters, DR_UNMAPS), 0);
	/* All came back. */
	take_number((unsigned[3]){ 0 });
	dr_counters_close(counters);
	assert_int_equal(dr_counters_sum(counters, DR_MAPS), 0);
	dr_free(counters);
	free(threads);
	free(c);
}

static struct dr_hooks failing;
static unsigned allocs, frees;
static bool no_memory;

static void *count_alloc(size_t len, size_t align)
{
	allocs++;
	return no_memory ? NULL : dr_hooks_system.alloc(len, align);
}

static void count_free(void *p)
{
	frees += p != NULL;
	dr_hooks_system.free(p);
}

static void *count_once(void *arg)
{
	dr_counters_ready(arg);
	dr_count(arg, DR_LEAKS, 1);
	return NULL;
}

/* One block for a number, handed on with it; without memory the shared block counts as well. */
static void test_blocks(void **state)
{
	struct dr_counters *counters = dr_hooks->alloc(sizeof(*counters), 128);
	pthread_t thread;

	(void)state;
	failing = dr_hooks_system;
	failing.alloc = count_alloc;
	failing.free = count_free;
	dr_hooks = &failing;
	no_memory = true;
	for (int i = 0; i < 2000; i++) {
		no_memory = i < 10;
		assert_int_equal(pthread_create(&thread, NULL, count_once, counters), 0);
		assert_int_equal(pthread_join(thread, NULL), 0);
	}
	assert_int_equal(allocs, 11);
	assert_int_equal(dr_counters_sum(counters, DR_LEAKS), 2000);
	dr_counters_close(counters);
	assert_int_equal(frees, 1);
	assert_int_equal(dr_counters_sum(counters, DR_LEAKS), 0);
	dr_hooks = &dr_hooks_system;
	dr_free(counters);
}

/* Counting alone, as unmap does on a thread dray never met: no number, no block, not lost. */
static void *count_without_ready(void *arg)
{
	dr_count(arg, DR_UNMAPS, 5);
	return dr_thread_peek() == DR_THREAD_NONE ? arg : NULL;
}

static void test_counting_never_allocates(void **state)
{
	struct dr_counters *counters = dr_hooks->alloc(sizeof(*counters), 128);
	pthread_t thread;
	void *ret;

	(void)state;
	allocs = 0;
	dr_hooks = &failing;
	assert_int_equal(pthread_create(&thread, NULL, count_without_ready, counters), 0);
	assert_int_equal(pthread_join(thread, &ret), 0);
	assert_ptr_equal(ret, counters);
	assert_int_equal(allocs, 0);
	assert_int_equal(dr_counters_sum(counters, DR_UNMAPS), 5);
	dr_hooks = &dr_hooks_system;
	dr_counters_close(counters);
	dr_free(counters);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_number_comes_back),
		cmocka_unit_test(test_more_threads_than_numbers),
		cmocka_unit_test(test_blocks),
		cmocka_unit_test(test_counting_never_allocates),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
