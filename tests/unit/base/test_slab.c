// SPDX-License-Identifier: BSD-2-Clause
#include "base_test.h"

#include "base/hooks.h"
#include "base/slab.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

struct object {
	struct dr_slab_link slab;
	_Atomic uint32_t state;
	_Atomic unsigned holders;
	char rest[200];
};

static struct dr_hooks counting;
static unsigned allocs, frees;
static bool no_memory;

static void *count_alloc(size_t len, size_t align)
{
	allocs++;
	return no_memory ? NULL : dr_hooks_system.alloc(len, align);
}

static void count_free(void *p)
{
	frees++;
	dr_hooks_system.free(p);
}

static int setup(void **state)
{
	(void)state;
	counting = dr_hooks_system;
	counting.alloc = count_alloc;
	counting.free = count_free;
	dr_hooks = &counting;
	allocs = frees = 0;
	no_memory = false;
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	dr_hooks = &dr_hooks_system;
	return 0;
}

/* Zeroed at first, on lines of its own; reused as it was left but for the link, never given back. */
static void test_reuse(void **state)
{
	static struct dr_slab slab = DR_SLAB_INIT(struct object);
	struct object *a = dr_slab_take(&slab), *b = dr_slab_take(&slab), zero = { 0 };

	(void)state;
	assert_true(a && b && a != b);
	assert_int_equal(allocs, 2);
	assert_int_equal((uintptr_t)a % 64, 0);
	assert_true((uintptr_t)b - (uintptr_t)a >= sizeof(*a) || a > b);
	assert_memory_equal(a, &zero, sizeof(zero));
	atomic_store(&a->state, 7);
	memset(a->rest, 'r', sizeof(a->rest));
	dr_slab_give(&slab, a);
	/* Freed: still an object of its kind, readable. */
	assert_int_equal(atomic_load(&a->state), 7);
	assert_ptr_equal(dr_slab_take(&slab), a);
	assert_int_equal(atomic_load(&a->state), 7);
	assert_int_equal(a->rest[100], 'r');
	assert_int_equal(allocs, 2);
	dr_slab_give(&slab, a);
	dr_slab_give(&slab, b);
	/* As many as were ever out at once. */
	for (int round = 0; round < 10; round++) {
		a = dr_slab_take(&slab);
		b = dr_slab_take(&slab);
		assert_true(a && b && a != b);
		dr_slab_give(&slab, a);
		dr_slab_give(&slab, b);
	}
	assert_int_equal(allocs, 2);
	assert_int_equal(frees, 0);
}

static void test_no_memory(void **state)
{
	static struct dr_slab slab = DR_SLAB_INIT(struct object);
	struct object *a = dr_slab_take(&slab);

	(void)state;
	no_memory = true;
	assert_null(dr_slab_take(&slab));
	/* What is free needs no memory. */
	dr_slab_give(&slab, a);
	assert_ptr_equal(dr_slab_take(&slab), a);
	assert_null(dr_slab_take(&slab));
	no_memory = false;
	dr_slab_give(&slab, a);
}

static struct dr_slab shared = DR_SLAB_INIT(struct object);

static void *take_and_give(void *arg)
{
	(void)arg;
	for (int i = 0; i < 20000; i++) {
		struct object *o = dr_slab_take(&shared);

		/* Nobody else has it. */
		if (!o || atomic_fetch_add(&o->holders, 1))
			abort();
		atomic_fetch_sub(&o->holders, 1);
		dr_slab_give(&shared, o);
	}
	return NULL;
}

static void test_threads(void **state)
{
	pthread_t threads[4];

	(void)state;
	dr_hooks = &dr_hooks_system;
	for (int i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, take_and_give, NULL), 0);
	for (int i = 0; i < 4; i++)
		assert_int_equal(pthread_join(threads[i], NULL), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_reuse, setup, teardown),
		cmocka_unit_test_setup_teardown(test_no_memory, setup, teardown),
		cmocka_unit_test_setup_teardown(test_threads, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
