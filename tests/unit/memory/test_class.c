// SPDX-License-Identifier: BSD-2-Clause
/*
 * Memory classes: told ranges against an array of one class a page, and what dray refuses to do with
 * memory that is not the CPU's: copy it and sync it, but not map it.
 */
#include "memory/class.h"
#include "base/hooks.h"

#include <dray/dray.h>
#include <dray/sim.h>

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include <cmocka.h>

#define PAGES 64
#define PAGE  4096

static char *memory;

static int setup(void **state)
{
	(void)state;
	memory = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	return memory == MAP_FAILED;
}

static int teardown(void **state)
{
	(void)state;
	if (dray_memory_set_class(memory, PAGES * PAGE, DRAY_MEMORY_RAM))
		return 1;
	/* Nothing told is nothing kept. */
	if (atomic_load(&dr_classes))
		return 1;
	return munmap(memory, PAGES * PAGE);
}

static void test_random(void **state)
{
	const char *given = getenv("SEED");
	unsigned seed = given ? (unsigned)strtoul(given, NULL, 0) : (unsigned)time(NULL);
	enum dray_memory_class oracle[PAGES] = { 0 };

	(void)state;
	print_message("SEED=%u\n", seed);
	srandom(seed);
	for (int round = 0; round < 2000; round++) {
		size_t first = (size_t)random() % PAGES;
		size_t n = 1 + (size_t)random() % (PAGES - first);
		enum dray_memory_class class = (enum dray_memory_class)(random() % 3);
		enum dray_memory_class want = DRAY_MEMORY_RAM;

		assert_int_equal(dray_memory_set_class(memory + first * PAGE, n * PAGE, class), 0);
		for (size_t i = first; i < first + n; i++)
			oracle[i] = class;
		for (size_t i = 0; i < PAGES; i++)
			assert_int_equal(dr_memory_class(memory + i * PAGE + 5, 7), oracle[i]);
		/* The first byte that is not RAM decides. */
		first = (size_t)random() % PAGES;
		n = 1 + (size_t)random() % (PAGES - first);
		for (size_t i = first; i < first + n && want == DRAY_MEMORY_RAM; i++)
			want = oracle[i];
		assert_int_equal(dr_memory_class(memory + first * PAGE, n * PAGE), want);
	}
}

static void test_refused(void **state)
{
	(void)state;
	assert_int_equal(dray_memory_set_class(NULL, PAGE, DRAY_MEMORY_P2P), -EINVAL);
	assert_int_equal(dray_memory_set_class(memory, 0, DRAY_MEMORY_P2P), -EINVAL);
	assert_int_equal(dray_memory_set_class(memory, SIZE_MAX, DRAY_MEMORY_P2P), -EINVAL);
	assert_int_equal(dray_memory_set_class(memory, PAGE, (enum dray_memory_class)3), -EINVAL);
	assert_int_equal(dr_memory_class(memory, PAGE), DRAY_MEMORY_RAM);
}

static void *no_memory(size_t len, size_t align)
{
	(void)len;
	(void)align;
	return NULL;
}

static void test_without_memory(void **state)
{
	const struct dr_hooks *was = dr_hooks;
	struct dr_hooks hooks = *dr_hooks;

	(void)state;
	assert_int_equal(dray_memory_set_class(memory, PAGE, DRAY_MEMORY_P2P), 0);
	hooks.alloc = no_memory;
	dr_hooks = &hooks;
	assert_int_equal(dray_memory_set_class(memory, PAGE, DRAY_MEMORY_NO_CPU), -ENOMEM);
	dr_hooks = was;
	assert_int_equal(dr_memory_class(memory, PAGE), DRAY_MEMORY_P2P);
}

/* What the device may do stays; what dray would do itself is refused, while it lasts. */
static void test_mappings(void **state)
{
	struct dray_domain_opts opts = { .size = sizeof(opts), .backend = DRAY_BACKEND_SIM };
	struct dray_device_opts picky = { .size = sizeof(picky), .min_align = 64 };
	struct dray_domain *dom;
	struct dray_device *dev, *aligned;
	struct dray_mapping m, b, none;
	struct dray_sg sg[2] = { { .va = memory, .len = PAGE }, { .va = memory + 3 * PAGE + 1, .len = 9 } };
	char c = 0;

	(void)state;
	assert_int_equal(dray_domain_open(&opts, &dom), 0);
	assert_int_equal(dray_device_open(dom, "sim0", NULL, &dev), 0);
	assert_int_equal(dray_device_open(dom, "sim1", &picky, &aligned), 0);
	memory[PAGE] = 7;
	for (int class = DRAY_MEMORY_P2P; class <= DRAY_MEMORY_NO_CPU; class++) {
		assert_int_equal(dray_map(aligned, memory + 1, 9, DRAY_BIDIRECTIONAL, 0, &b), 0);
		assert_int_equal(dray_memory_set_class(memory, 4 * PAGE,
						       (enum dray_memory_class)class), 0);
		assert_int_equal(dray_map(dev, memory + PAGE, PAGE, DRAY_BIDIRECTIONAL, 0, &m), 0);
		assert_int_equal(dray_sim_read(dev, m.iova, &c, 1), 0);
		assert_int_equal(c, 7);
		assert_int_equal(dray_sync_for_cpu(dev, &m, 0, 1), -ENOTSUP);
		assert_int_equal(dray_sync_for_device(dev, &m, 0, 1), -ENOTSUP);
		assert_non_null(strstr(dray_errmsg(), "CPU"));
		/* It would have to be copied, alone or in a list. */
		assert_int_equal(dray_map(aligned, memory + 1, 9, DRAY_TO_DEVICE, 0, &none), -ENOTSUP);
		assert_int_equal(dray_map_sg(aligned, sg, 2, DRAY_TO_DEVICE, 0), -ENOTSUP);
		/* What was copied before its memory was lent waits for it to come back. */
		assert_int_equal(dray_sync_for_cpu(aligned, &b, 0, 1), -ENOTSUP);
		assert_int_equal(dray_memory_set_class(memory, 4 * PAGE, DRAY_MEMORY_RAM), 0);
		assert_int_equal(dray_sync_for_cpu(dev, &m, 0, 1), 0);
		assert_int_equal(dray_sync_for_cpu(aligned, &b, 0, 1), 0);
		dray_unmap(dev, &m);
		dray_unmap(aligned, &b);
	}
	dray_device_close(aligned);
	dray_device_close(dev);
	dray_domain_close(dom);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_random),
		TEST(test_refused),
		TEST(test_without_memory),
		TEST(test_mappings),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
