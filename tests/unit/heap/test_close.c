// SPDX-License-Identifier: BSD-2-Clause
/* How a heap ends: leaks, mappings that are out, forks; and every call it makes refused once. */
#define _GNU_SOURCE
#include "fake_region.h"
#include "base/hooks.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <syslog.h>
#include <unistd.h>

#include <cmocka.h>

#include <dray/stats.h>

static void leaks_are_reported(void **state)
{
	struct dray_heap *heap = fake_heap(0, 2 * MIB, 0);
	void *freed = dray_heap_alloc(heap, 1000, 0);

	(void)state;
	for (int i = 0; i < 5; i++)
		assert_non_null(dray_heap_alloc(heap, 1024, 0));
	assert_non_null(dray_heap_alloc(heap, MIB, 0));
	dray_heap_free(heap, freed);
	dray_heap_close(heap);
	assert_int_equal(fake.logged, 1);
	assert_int_equal(fake.level, LOG_WARNING);
	assert_non_null(strstr(fake.line, "6 blocks"));
	assert_non_null(strstr(fake.line, "1053696 bytes"));
	assert_string_equal(fake.line, dray_errmsg());
	assert_all_given_back();
}

/* What a device may still be at is not unmapped, now or ever by itself; later it goes. */
static void busy_steps(void **state)
{
	struct dray_heap *heap = fake_heap(0, 2 * MIB, 0);
	char *p = dray_heap_alloc(heap, 5 * MIB, 0);

	(void)state;
	assert_non_null(p);
	memset(p, 9, 100);
	dray_heap_free(heap, p);
	fake.unregister_error = -EBUSY;
	dray_heap_close(heap);
	assert_int_equal(fake.logged, 1);
	assert_int_equal(fake.level, LOG_ERR);
	assert_non_null(strstr(fake.line, "2 of its pieces"));
	assert_int_equal(fake.registered, 2);
	assert_int_equal(fake.mapped, fake.bytes);
	assert_int_equal(p[99], 9);
	/* Not yet. */
	dray_heap_close(fake_heap(0, 2 * MIB, 0));
	assert_int_equal(fake.registered, 3);
	assert_int_equal(p[99], 9);
	fake.unregister_error = 0;
	heap = fake_heap(0, 2 * MIB, 0);
	assert_int_equal(fake.registered, 1);
	dray_heap_close(heap);
	assert_all_given_back();
}

/* A backend that refuses to unmap: devices may reach the memory for ever, so it stays. */
static void refused_steps(void **state)
{
	struct dray_heap *heap = fake_heap(0, 2 * MIB, 0);
	char *p = dray_heap_alloc(heap, 100, 0);

	(void)state;
	assert_non_null(p);
	memset(p, 9, 100);
	dray_heap_free(heap, p);
	fake.unregister_error = -EIO;
	dray_heap_close(heap);
	assert_int_equal(fake.registered, 0);
	assert_int_equal(fake.mapped, 2 * MIB);
	assert_int_equal(fake.allocs, 0);
	assert_int_equal(p[99], 9);
	munmap((void *)((uintptr_t)p & ~(2 * MIB - 1)), 2 * MIB);
}

static void forked_child(void **state)
{
	struct dray_heap *heap = fake_heap(0, 2 * MIB, 0), *own;
	char *p = dray_heap_alloc(heap, 100, 0);
	int status;
	pid_t pid;

	(void)state;
	assert_true(fake.dontfork_asked > 0);
	memset(p, 5, 100);
	pid = fork();
	assert_true(pid >= 0);
	if (!pid) {
		struct dray_heap_stats s = { .size = sizeof(s) };
		unsigned char there;

		if (dray_heap_alloc(heap, 100, 0) || !strstr(dray_errmsg(), "parent"))
			_exit(1);
		if (dray_heap_stats(heap, &s) != -EPERM)
			_exit(2);
		/* None of the memory is here. */
		if (!mincore((void *)((uintptr_t)p & ~(uintptr_t)4095), 4096, &there) ||
		    errno != ENOMEM)
			_exit(3);
		dray_heap_free(heap, p);
		dray_heap_close(heap);
		if (fake.registered != 1)
			_exit(4);
		/* Heaps of its own it may have. */
		own = fake_heap(0, 2 * MIB, 0);
		p = dray_heap_alloc(own, 100, 0);
		if (!p)
			_exit(5);
		dray_heap_free(own, p);
		dray_heap_close(own);
		_exit(fake.registered == 1 ? 0 : 6);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	assert_int_equal(p[99], 5);
	dray_heap_free(heap, p);
	dray_heap_close(heap);
	assert_int_equal(fake.logged, 0);
	assert_all_given_back();
}

/* Every call that open and growth make fails once: nothing is left behind. */
static void each_call_refused(void **state)
{
	struct dray_heap_opts opts = { .size = sizeof(opts), .flags = DRAY_HEAP_NUMA,
				       .grow_bytes = 4 * MIB };
	unsigned opened = 0, failed = 0;

	(void)state;
	for (unsigned n = 1;; n++) {
		struct dray_heap *heap = NULL;
		unsigned calls;
		int err;

		dray_errmsg_set("");
		fake.calls = 0;
		fake.fail_at = n;
		err = dray_heap_open(fake_domain, &opts, &heap);
		calls = fake.calls;
		fake.fail_at = 0;
		if (err) {
			assert_true(*dray_errmsg());
			assert_null(heap);
			failed++;
		} else {
			dray_heap_close(heap);
			opened++;
		}
		assert_all_given_back();
		if (calls < n)
			break;
	}
	/* Some failures are got over, by other pages or a smaller step. */
	assert_true(opened > 1 && failed > 1);

	for (unsigned n = 1;; n++) {
		struct dray_heap *heap = fake_heap(0, 4 * MIB, 0);
		unsigned calls;
		void *p, *q;

		/* Two pieces, so that alignment splits one. */
		q = dray_heap_alloc(heap, 4096, 0);
		assert_non_null(q);
		dray_errmsg_set("");
		fake.calls = 0;
		fake.fail_at = n;
		p = dray_heap_alloc(heap, 8192, MIB);
		if (!p)
			assert_true(*dray_errmsg());
		dray_heap_free(heap, p);
		dray_errmsg_set("");
		p = dray_heap_alloc(heap, 5 * MIB, 4 * MIB);
		if (!p)
			assert_true(*dray_errmsg());
		calls = fake.calls;
		fake.fail_at = 0;
		dray_heap_free(heap, p);
		p = dray_heap_alloc(heap, 5 * MIB, 4 * MIB);
		assert_non_null(p);
		dray_heap_free(heap, p);
		dray_heap_free(heap, q);
		dray_heap_close(heap);
		assert_all_given_back();
		if (calls < n)
			break;
	}
	assert_int_equal(fake.logged, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(leaks_are_reported, fake_start, fake_stop),
		cmocka_unit_test_setup_teardown(busy_steps, fake_start, fake_stop),
		cmocka_unit_test_setup_teardown(refused_steps, fake_start, fake_stop),
		cmocka_unit_test_setup_teardown(forked_child, fake_start, fake_stop),
		cmocka_unit_test_setup_teardown(each_call_refused, fake_start, fake_stop),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
