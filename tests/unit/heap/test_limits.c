// SPDX-License-Identifier: BSD-2-Clause
/*
 * A heap where the kernel's limits are reached, on a scripted VFIO: who asked is told which limit,
 * what was allocated stays the device's, what is freed is there for others.
 */
#include "base/hooks.h"
#include "vfio_fake.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <dray/dray.h>
#include <dray/heap.h>

#define NVME   "0000:01:00.0"
#define MIB    ((size_t)1 << 20)
#define BLOCKS 64u

static struct dray_domain *dom;
static struct dray_device *dev;
static char *block[BLOCKS];
static unsigned blocks;

static int start(void **state)
{
	(void)state;
	vfio_fake_start();
	vfio_fake_add_device(NVME, 5, "vfio-pci");
	blocks = 0;
	return 0;
}

static int stop(void **state)
{
	(void)state;
	dray_device_close(dev);
	dray_domain_close(dom);
	assert_int_equal(vfio_fake_fds_open(), 0);
	vfio_fake_stop();
	return 0;
}

/* Only what a test asks for flushes. */
static void open_domain(enum dray_invalidation mode)
{
	struct dray_domain_opts opts = {
		.size = sizeof(opts), .backend = DRAY_BACKEND_TYPE1, .invalidation = mode,
		.flags = DRAY_DOMAIN_POLLED, .flush_timeout_us = 10000000,
	};

	assert_int_equal(dray_domain_open(&opts, &dom), 0);
	assert_int_equal(dray_device_open(dom, NVME, NULL, &dev), 0);
	vfio_fake_set_bus_master(NVME, true);
}

static int open_heap(size_t grow_bytes, struct dray_heap **ret_heap)
{
	struct dray_heap_opts opts = {
		.size = sizeof(opts), .flags = DRAY_HEAP_NO_HUGE, .grow_bytes = grow_bytes,
		.max_bytes = 256 * MIB,
	};

	return dray_heap_open(dom, &opts, ret_heap);
}

/* Until there is no more, for a reason that is told in this word. */
static void fill(struct dray_heap *heap, size_t len, const char *word)
{
	while ((block[blocks] = dray_heap_alloc(heap, len, 4096))) {
		memset(block[blocks], (int)blocks + 1, len);
		assert_true(++blocks < BLOCKS);
	}
	assert_non_null(strstr(dray_errmsg(), word));
}

static void free_from(struct dray_heap *heap, unsigned first)
{
	while (blocks > first)
		dray_heap_free(heap, block[--blocks]);
}

/* The device finds all blocks, and writes them. */
static void check_blocks(size_t len)
{
	for (unsigned i = 0; i < blocks; i++) {
		char *at[2] = { block[i], block[i] + len - 1 };

		for (unsigned k = 0; k < 2; k++) {
			dray_iova_t iova = dray_translate(dom, at[k], NULL);
			char c = 0;

			assert_int_equal(vfio_fake_dma(NVME, iova, &c, 1, false), 0);
			assert_int_equal(c, (char)(i + 1));
			c = 'w';
			assert_int_equal(vfio_fake_dma(NVME, iova, &c, 1, true), 0);
			assert_int_equal(*at[k], 'w');
			*at[k] = (char)(i + 1);
		}
	}
}

/* A heap at a limit: goes on with what it has, and has as much after it was all freed. */
static void check_goes_on(struct dray_heap *heap, size_t len, const char *word)
{
	size_t mappings = vfio_fake_mappings();
	unsigned calls = vfio_fake_calls(VFIO_IOMMU_MAP_DMA), all = blocks;
	struct dray_mapping m;

	check_blocks(len);
	assert_int_equal(dray_map(dev, block[0] + 5, len - 5, DRAY_BIDIRECTIONAL, 0, &m), 0);
	assert_int_equal(m.iova, dray_translate(dom, block[0] + 5, NULL));
	dray_unmap(dev, &m);
	assert_int_equal(vfio_fake_calls(VFIO_IOMMU_MAP_DMA), calls);
	free_from(heap, all / 2);
	fill(heap, len, word);
	assert_int_equal(blocks, all);
	check_blocks(len);
	free_from(heap, 0);
	fill(heap, len, word);
	assert_int_equal(blocks, all);
	check_blocks(len);
	assert_int_equal(vfio_fake_mappings(), mappings);
}

static void locked_memory_runs_out(void **state)
{
	struct dray_heap *heap;

	(void)state;
	vfio_fake_set_memlock(15 * MIB);
	open_domain(DRAY_STRICT);
	assert_int_equal(open_heap(4 * MIB, &heap), 0);
	fill(heap, MIB, "RLIMIT_MEMLOCK");
	/* Three steps of 4 MiB, and one as small as could be had. */
	assert_int_equal(vfio_fake_mappings(), 4);
	assert_int_equal(blocks, 14);
	check_goes_on(heap, MIB, "RLIMIT_MEMLOCK");
	/* More is given: the heap grows again. */
	vfio_fake_set_memlock(19 * MIB);
	fill(heap, MIB, "RLIMIT_MEMLOCK");
	assert_int_equal(blocks, 18);
	check_blocks(MIB);
	free_from(heap, 0);
	dray_heap_close(heap);
	assert_int_equal(vfio_fake_mappings(), 0);
}

static void entries_run_out(void **state)
{
	struct dray_heap *heap;

	(void)state;
	vfio_fake_set_entry_limit(3);
	open_domain(DRAY_STRICT);
	assert_int_equal(open_heap(2 * MIB, &heap), 0);
	fill(heap, MIB / 2, "dma_entry_limit");
	assert_int_equal(vfio_fake_mappings(), 3);
	assert_int_equal(blocks, 12);
	check_goes_on(heap, MIB / 2, "dma_entry_limit");
	free_from(heap, 0);
	dray_heap_close(heap);
	assert_int_equal(vfio_fake_mappings(), 0);
}

/* What was unmapped and waits for its flush gives way. */
static void waiting_unmaps_give_way(void **state)
{
	char *mem = aligned_alloc(4096, 6 * MIB);
	struct dray_heap *heap;
	struct dray_mapping m;

	(void)state;
	assert_non_null(mem);
	vfio_fake_set_memlock(9 * MIB);
	open_domain(DRAY_LAZY);
	assert_int_equal(open_heap(2 * MIB, &heap), 0);
	assert_int_equal(dray_map(dev, mem, 6 * MIB, DRAY_TO_DEVICE, 0, &m), 0);
	dray_unmap(dev, &m);
	assert_int_equal(vfio_fake_mappings(), 2);
	fill(heap, MIB, "RLIMIT_MEMLOCK");
	assert_int_equal(blocks, 8);
	check_blocks(MIB);
	free_from(heap, 0);
	dray_heap_close(heap);
	assert_int_equal(vfio_fake_mappings(), 0);
	free(mem);
}

static void no_heap_at_all(void **state)
{
	struct dray_heap *heap = NULL;

	(void)state;
	vfio_fake_set_memlock(MIB);
	open_domain(DRAY_STRICT);
	assert_int_equal(open_heap(4 * MIB, &heap), -ENOMEM);
	assert_non_null(strstr(dray_errmsg(), "RLIMIT_MEMLOCK"));
	assert_null(heap);
	assert_int_equal(vfio_fake_mappings(), 0);
	vfio_fake_set_memlock(2 * MIB);
	assert_int_equal(open_heap(4 * MIB, &heap), 0);
	fill(heap, MIB, "RLIMIT_MEMLOCK");
	assert_int_equal(blocks, 2);
	free_from(heap, 0);
	dray_heap_close(heap);
	assert_int_equal(vfio_fake_mappings(), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(locked_memory_runs_out, start, stop),
		cmocka_unit_test_setup_teardown(entries_run_out, start, stop),
		cmocka_unit_test_setup_teardown(waiting_unmaps_give_way, start, stop),
		cmocka_unit_test_setup_teardown(no_heap_at_all, start, stop),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
