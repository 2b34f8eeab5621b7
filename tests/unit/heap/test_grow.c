// SPDX-License-Identifier: BSD-2-Clause
/* How a heap gets its memory: steps, ceiling, pages, nodes. */
#define _GNU_SOURCE
#include "fake_region.h"
#include "base/hooks.h"
#include "heap/heap.h"

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

#include <dray/region.h>
#include <dray/stats.h>

static void open_and_close(void **state)
{
	struct dray_heap *heap = NULL;
	struct dray_heap_stats s;

	(void)state;
	assert_int_equal(dray_heap_open(fake_domain, NULL, &heap), 0);
	assert_int_equal(fake.registrations, 1);
	assert_int_equal(fake.flags, 0);
	s = fake_stats(heap);
	assert_int_equal(s.mapped_bytes, 32 * MIB);
	assert_int_equal(s.steps, 1);
	assert_int_equal(s.used_bytes, 0);
	assert_int_equal(s.allocations, 0);
	dray_heap_close(heap);
	assert_all_given_back();
	assert_int_equal(fake.logged, 0);
	dray_heap_close(NULL);

	heap = fake_heap(DRAY_HEAP_SHARE_UNTRUSTED, 2 * MIB, 0);
	assert_int_equal(fake.flags, DRAY_REGION_SHARE_UNTRUSTED);
	dray_heap_close(heap);
	assert_all_given_back();
}

static void bad_options(void **state)
{
	struct {
		struct dray_heap_opts opts;
		int err;
		const char *word;
	} cases[] = {
		{ { .size = 0 }, -EINVAL, "size" },
		{ { .flags = 1u << 30 }, -EINVAL, "flags" },
		{ { .max_bytes = 2 * MIB - 1 }, -EINVAL, "max_bytes" },
		{ { .max_bytes = SIZE_MAX }, -EINVAL, "max_bytes" },
		{ { .flags = DRAY_HEAP_NUMA, .numa_node = -1 }, -EINVAL, "NUMA node -1" },
		{ { .flags = DRAY_HEAP_NUMA, .numa_node = 777 }, -EINVAL, "NUMA node 777" },
		{ { .flags = DRAY_HEAP_NUMA, .numa_node = 100000 }, -EINVAL, "100000" },
		{ { .numa_node = 1 }, -EINVAL, "DRAY_HEAP_NUMA" },
	};
	struct { struct dray_heap_opts opts; uint64_t newer; } larger = { .newer = 1 };
	struct dray_heap *heap = (void *)&larger;

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		cases[i].opts.size = i ? sizeof(cases[i].opts) : 0;
		assert_int_equal(dray_heap_open(fake_domain, &cases[i].opts, &heap),
				 cases[i].err);
		assert_said(cases[i].word);
	}
	larger.opts.size = sizeof(larger);
	assert_int_equal(dray_heap_open(fake_domain, &larger.opts, &heap), -E2BIG);
	assert_int_equal(dray_heap_open(NULL, NULL, &heap), -EINVAL);
	assert_int_equal(dray_heap_open(fake_domain, NULL, NULL), -EINVAL);
	/* A failed call writes no output. */
	assert_ptr_equal(heap, &larger);
	assert_int_equal(fake.registrations, 0);
	assert_all_given_back();
}

static void bad_requests(void **state)
{
	struct dray_heap *heap = fake_heap(0, 2 * MIB, 8 * MIB);
	struct dray_heap_stats small = { .size = 0 };

	(void)state;
	assert_null(dray_heap_alloc(NULL, 1, 0));
	assert_said("heap is NULL");
	assert_null(dray_heap_alloc(heap, 0, 0));
	assert_said("0 bytes");
	assert_null(dray_heap_alloc(heap, 1, 3));
	assert_said("alignment 3");
	assert_null(dray_heap_alloc(heap, 1, 2 * GIB));
	assert_said("alignment");
	assert_null(dray_heap_alloc(heap, SIZE_MAX, 0));
	assert_said("max_bytes");
	assert_null(dray_heap_alloc(heap, 8 * MIB + 1, 0));
	assert_said("max_bytes");
	assert_int_equal(dray_heap_stats(heap, &small), -EINVAL);
	assert_int_equal(dray_heap_stats(NULL, &small), -EINVAL);
	dray_heap_free(heap, NULL);
	dray_heap_free(NULL, NULL);
	assert_int_equal(fake_stats(heap).bad_frees, 0);
	dray_heap_close(heap);
	assert_all_given_back();
}

/* Frees of what is not the heap's: refused, counted, logged, and nothing happens to it. */
static void foreign_free(void **state)
{
	struct dray_heap *heap = fake_heap(0, 2 * MIB, 0), *other = fake_heap(0, 2 * MIB, 0);
	char *p = dray_heap_alloc(heap, 100, 0), *q = dray_heap_alloc(other, 100, 0);
	char *host = malloc(100);

	(void)state;
	assert_true(p && q && host);
	dray_heap_free(heap, host);
	assert_said("no block of this heap");
	assert_int_equal(fake.logged, 1);
	assert_int_equal(fake.level, LOG_ERR);
	dray_heap_free(heap, q);
	dray_heap_free(heap, &heap);
	dray_heap_free(heap, p + 1);
	/* In the window, where no step is. */
	dray_heap_free(heap, p + 64 * MIB);
	assert_int_equal(fake_stats(heap).bad_frees, 5);
	assert_int_equal(fake_stats(other).bad_frees, 0);
	free(host);
	dray_heap_free(heap, p);
	dray_heap_free(other, q);
	dray_heap_close(heap);
	dray_heap_close(other);
	assert_int_equal(fake.logged, 5);
	assert_all_given_back();
}

static void grows_in_steps(void **state)
{
	struct dray_heap *heap = fake_heap(0, 5 * MIB, 64 * MIB);
	void *p[40];
	struct dray_heap_stats s;

	(void)state;
	/* 5 MiB are three slots of 2 MiB. */
	assert_int_equal(fake_stats(heap).mapped_bytes, 6 * MIB);
	for (int i = 0; i < 40; i++) {
		p[i] = dray_heap_alloc(heap, MIB, 0);
		assert_non_null(p[i]);
		memset(p[i], i, MIB);
	}
	s = fake_stats(heap);
	assert_int_equal(s.steps, 7);
	assert_int_equal(s.mapped_bytes, 42 * MIB);
	assert_int_equal(s.used_bytes, 40 * MIB);
	assert_int_equal(s.allocations, 40);
	assert_int_equal(s.allocated_bytes, 40 * MIB);
	assert_int_equal(fake.bytes, 42 * MIB);
	for (int i = 0; i < 40; i++) {
		for (size_t k = 0; k < MIB; k += 4096)
			assert_int_equal(((char *)p[i])[k], i);
		dray_heap_free(heap, p[i]);
	}
	/* Kept, and used again. */
	assert_int_equal(fake.bytes, 42 * MIB);
	for (int i = 0; i < 40; i++) {
		p[i] = dray_heap_alloc(heap, MIB, 0);
		assert_non_null(p[i]);
	}
	assert_int_equal(fake_stats(heap).steps, 7);
	for (int i = 0; i < 40; i++)
		dray_heap_free(heap, p[i]);
	dray_heap_close(heap);
	assert_int_equal(fake.logged, 0);
	assert_all_given_back();
}

/* No block crosses from one step into the next, though their addresses adjoin. */
static void blocks_stay_inside_a_step(void **state)
{
	struct dray_heap *heap = fake_heap(0, 2 * MIB, 256 * MIB);
	void *p[64];

	(void)state;
	for (int i = 0; i < 64; i++) {
		p[i] = dray_heap_alloc(heap, MIB, 0);
		assert_non_null(p[i]);
	}
	for (int i = 0; i < 64; i++)
		dray_heap_free(heap, p[i]);
	/* 64 MiB of free neighbours, and no 3 MiB of it in one step. */
	for (int i = 0; i < 10; i++) {
		char *q = dray_heap_alloc(heap, 3 * MIB, 0);

		assert_non_null(q);
		assert_ptr_equal(dr_heap_step_of(heap, q), dr_heap_step_of(heap, q + 3 * MIB - 1));
		p[i] = q;
	}
	assert_int_equal(fake_stats(heap).steps, 32 + 10);
	for (int i = 0; i < 10; i++)
		dray_heap_free(heap, p[i]);
	dray_heap_close(heap);
	assert_all_given_back();
}

static void ceiling(void **state)
{
	struct dray_heap *heap = fake_heap(0, 4 * MIB, 10 * MIB + 1000);
	void *p[160];
	int n = 0;
	char *whole;

	(void)state;
	while (n < 160 && (p[n] = dray_heap_alloc(heap, 64 << 10, 0)))
		n++;
	assert_int_equal(n, 160);
	assert_null(dray_heap_alloc(heap, 64 << 10, 0));
	assert_said("max_bytes");
	assert_int_equal(fake_stats(heap).mapped_bytes, 10 * MIB);
	/* Two steps of 4, and what was left. */
	assert_int_equal(fake_stats(heap).steps, 3);
	for (int i = 0; i < n; i++)
		dray_heap_free(heap, p[i]);
	/* What lay in small pieces comes together before a request fails. */
	whole = dray_heap_alloc(heap, 4 * MIB, 0);
	assert_non_null(whole);
	dray_heap_free(heap, whole);
	dray_heap_close(heap);
	assert_all_given_back();
}

/* Small blocks that wait in this thread's cache do not stand in the way of a large one. */
static void ceiling_and_cache(void **state)
{
	struct dray_heap *heap = fake_heap(0, 2 * MIB, 2 * MIB);
	enum { N = 20000 };
	void **p = malloc(N * sizeof(*p)), *whole;
	int n = 0;

	(void)state;
	assert_non_null(p);
	while (n < N && (p[n] = dray_heap_alloc(heap, 512, 0)))
		n++;
	assert_int_equal(n, 2 * MIB / 512);
	while (n--)
		dray_heap_free(heap, p[n]);
	whole = dray_heap_alloc(heap, 2 * MIB, 0);
	assert_non_null(whole);
	dray_heap_free(heap, whole);
	dray_heap_close(heap);
	free(p);
	assert_all_given_back();
}

/* Where a whole step cannot be had, the heap takes what the request needs. */
static void small_steps(void **state)
{
	struct dray_heap *heap;
	void *p;

	(void)state;
	fake.register_most = 4 * MIB;
	heap = fake_heap(0, 32 * MIB, 0);
	assert_int_equal(fake.bytes, 2 * MIB);
	p = dray_heap_alloc(heap, 3 * MIB, 0);
	assert_non_null(p);
	assert_int_equal(fake.bytes, 6 * MIB);
	assert_null(dray_heap_alloc(heap, 5 * MIB, 0));
	assert_said("fake: more than");
	dray_heap_free(heap, p);
	dray_heap_close(heap);
	assert_all_given_back();
}

static void alignments(void **state)
{
	struct dray_heap *heap = fake_heap(0, 4 * MIB, 64 * GIB);
	size_t used = 0;

	(void)state;
	for (size_t align = 1; align <= GIB; align <<= 1) {
		for (size_t len = 1; len <= 4 * MIB; len *= 7) {
			char *p = dray_heap_alloc(heap, len, align), *q;

			assert_non_null(p);
			q = dray_heap_alloc(heap, len, align);
			assert_non_null(q);
			assert_int_equal((uintptr_t)p % align, 0);
			assert_int_equal((uintptr_t)q % align, 0);
			assert_int_equal((uintptr_t)p % 16, 0);
			memset(p, 1, len);
			memset(q, 2, len);
			assert_int_equal(p[len - 1], 1);
			dray_heap_free(heap, p);
			dray_heap_free(heap, q);
		}
	}
	/* Alignment costs address space, not memory. */
	used = fake.bytes;
	assert_true(used < GIB);
	dray_heap_close(heap);
	assert_int_equal(fake.logged, 0);
	assert_all_given_back();
}

static void one_gib(void **state)
{
	struct dray_heap *heap = fake_heap(0, 0, 0);
	char *p = dray_heap_alloc(heap, GIB, 0), *q;

	(void)state;
	assert_non_null(p);
	p[0] = 1;
	p[GIB - 1] = 2;
	/* The first step and one of exactly 1 GiB. */
	assert_int_equal(fake.bytes, GIB + 32 * MIB);
	dray_heap_free(heap, p);
	q = dray_heap_alloc(heap, GIB, 2 * MIB);
	assert_ptr_equal(p, q);
	dray_heap_free(heap, q);
	dray_heap_close(heap);
	assert_all_given_back();
}

static void pages(void **state)
{
	struct dray_heap *heap;
	struct dray_heap_stats s;

	(void)state;
	fake.hugetlb = true;
	heap = fake_heap(0, 4 * MIB, 0);
	s = fake_stats(heap);
	assert_int_equal(s.hugetlb_bytes, 4 * MIB);
	assert_int_equal(s.thp_bytes + s.small_bytes, 0);
	dray_heap_close(heap);

	/* Promised by the pool, and not there. */
	fake.populate_error = EFAULT;
	heap = fake_heap(0, 4 * MIB, 0);
	s = fake_stats(heap);
	assert_int_equal(s.thp_bytes, 4 * MIB);
	assert_int_equal(s.hugetlb_bytes + s.small_bytes, 0);
	dray_heap_close(heap);

	/* A kernel that cannot tell beforehand. */
	fake.populate_error = EINVAL;
	heap = fake_heap(0, 4 * MIB, 0);
	assert_int_equal(fake_stats(heap).hugetlb_bytes, 4 * MIB);
	dray_heap_close(heap);

	fake.hugetlb = false;
	fake.thp_asked = 0;
	heap = fake_heap(0, 4 * MIB, 0);
	assert_int_equal(fake_stats(heap).thp_bytes, 4 * MIB);
	assert_int_equal(fake.thp_asked, 1);
	dray_heap_close(heap);

	fake.hugetlb = true;
	fake.hugetlb_asked = fake.thp_asked = fake.no_huge_asked = 0;
	heap = fake_heap(DRAY_HEAP_NO_HUGE, 4 * MIB, 0);
	s = fake_stats(heap);
	assert_int_equal(s.small_bytes, 4 * MIB);
	assert_int_equal(s.hugetlb_bytes + s.thp_bytes, 0);
	assert_int_equal(fake.hugetlb_asked + fake.thp_asked, 0);
	assert_int_equal(fake.no_huge_asked, 1);
	dray_heap_close(heap);
	assert_all_given_back();
}

static void numa(void **state)
{
	struct dray_heap_opts opts = { .size = sizeof(opts), .flags = DRAY_HEAP_NUMA,
				       .numa_node = 0, .grow_bytes = 4 * MIB };
	struct dray_heap *heap = NULL;

	(void)state;
	assert_int_equal(dray_heap_open(fake_domain, &opts, &heap), 0);
	assert_true(fake.mbinds >= 1);
	assert_int_equal(fake.mask, 1);
	dray_heap_close(heap);
	fake.mbind_error = EINVAL;
	assert_int_equal(dray_heap_open(fake_domain, &opts, &heap), -EINVAL);
	assert_said("NUMA node 0");
	fake.mbind_error = ENOSYS;
	assert_int_equal(dray_heap_open(fake_domain, &opts, &heap), -ENOTSUP);
	assert_all_given_back();
}

/* Another thread's mmap falls where a step is about to go: it is left alone. */
static void snatched_spots(void **state)
{
	struct dray_heap *heap;
	char *p, *spot;

	(void)state;
	fake.snatch = 3;
	heap = fake_heap(0, 4 * MIB, 0);
	p = dray_heap_alloc(heap, 100, 0);
	assert_non_null(p);
	memset(p, 7, 100);
	assert_int_equal(fake.registered, 1);
	for (int i = 0; i < 3; i++) {
		spot = heap->window + (size_t)i * 4 * MIB;
		assert_null(dr_heap_step_of(heap, spot));
		assert_string_equal(spot, "another thread's");
	}
	fake.snatch = 100;
	assert_null(dray_heap_alloc(heap, 10 * MIB, 0));
	assert_said("other threads");
	fake.snatch = 0;
	spot = heap->window;
	dray_heap_free(heap, p);
	dray_heap_close(heap);
	assert_string_equal(spot, "another thread's");
	assert_all_given_back();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(open_and_close, fake_start, fake_stop),
		cmocka_unit_test_setup_teardown(bad_options, fake_start, fake_stop),
		cmocka_unit_test_setup_teardown(bad_requests, fake_start, fake_stop),
		cmocka_unit_test_setup_teardown(foreign_free, fake_start, fake_stop),
		cmocka_unit_test_setup_teardown(grows_in_steps, fake_start, fake_stop),
		cmocka_unit_test_setup_teardown(blocks_stay_inside_a_step, fake_start, fake_stop),
		cmocka_unit_test_setup_teardown(ceiling, fake_start, fake_stop),
		cmocka_unit_test_setup_teardown(ceiling_and_cache, fake_start, fake_stop),
		cmocka_unit_test_setup_teardown(small_steps, fake_start, fake_stop),
		cmocka_unit_test_setup_teardown(alignments, fake_start, fake_stop),
		cmocka_unit_test_setup_teardown(one_gib, fake_start, fake_stop),
		cmocka_unit_test_setup_teardown(pages, fake_start, fake_stop),
		cmocka_unit_test_setup_teardown(numa, fake_start, fake_stop),
		cmocka_unit_test_setup_teardown(snatched_spots, fake_start, fake_stop),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
