// SPDX-License-Identifier: BSD-2-Clause
/* Lists that fail, leak, or meet a backend that keeps what it has: what is left of them. */
#include "lists.h"

#include <sys/mman.h>

#define PAGE(i) (rig_memory + (size_t)(i) * KB4)

static struct dray_domain *dom;
static struct dray_device *dev;

static void open_with(const struct dray_device_opts *limits)
{
	dom = rig_open();
	lists_watch(dom);
	dev = lists_plug(dom, "sim1", limits);
	lists_fill(rig_memory, sizeof(rig_memory), 1);
	lists_maps = lists_unmaps = 0;
}

/* Everything that was counted has settled: nothing holds the domain any more. */
static void close_all(void)
{
	lists_unwatch(dom);
	dray_device_close(dev);
	dray_domain_close(dom);
	assert_true(rig_is_gone(dom));
}

static int map(struct dray_sg *sg, unsigned n)
{
	return dray_map_sg(dev, sg, n, DRAY_BIDIRECTIONAL, 0);
}

/* A list that failed: nothing mapped, nothing written but cookies, which say "not mapped". */
static void assert_fails(struct dray_sg *sg, unsigned n, int err)
{
	uint64_t fails = rig_stats(dom).map_failures, live = lists_live(dom);
	unsigned table = lists_in_table(dom);
	void *va[16];
	size_t len[16];

	for (unsigned i = 0; i < n; i++) {
		sg[i].iova = 0x111 + i;
		sg[i].dma_len = 0x222 + i;
		va[i] = sg[i].va;
		len[i] = sg[i].len;
	}
	assert_int_equal(map(sg, n), err);
	for (unsigned i = 0; i < n; i++) {
		assert_int_equal(sg[i].iova, 0x111 + i);
		assert_int_equal(sg[i].dma_len, 0x222 + i);
		assert_ptr_equal(sg[i].va, va[i]);
		assert_int_equal(sg[i].len, len[i]);
		assert_true(!sg[i].cookie[0] && !sg[i].cookie[1]);
	}
	assert_int_equal(lists_live(dom), live);
	assert_int_equal(lists_in_table(dom), table);
	assert_int_equal(rig_stats(dom).map_failures, fails + 1);
	assert_int_equal(rig_stats(dom).bounce_used_bytes, 0);
	/* A list that is not mapped may be unmapped. */
	dray_unmap_sg(dev, sg, n);
	assert_int_equal(rig_stats(dom).bad_unmaps, 0);
}

/* A pool stays: have it before anything is compared. */
static void warm_pool(void)
{
	struct dray_mapping m = rig_map(dev, PAGE(0) + 1, 8);

	dray_unmap(dev, &m);
	assert_true(dray_bounce_present(dom));
}

static void test_fails_at_each_element(void **state)
{
	struct dray_device_opts limits = { .size = sizeof(limits), .min_align = 32 };
	char *hole = mmap(NULL, 2 * KB4, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct dray_region *region;

	(void)state;
	assert_true(hole != MAP_FAILED);
	open_with(&limits);
	warm_pool();
	assert_int_equal(dray_region_register(dom, PAGE(0), 4 * KB4, 0, &region), 0);
	for (unsigned bad = 0; bad < 6; bad++) {
		struct dray_sg sg[] = {
			lists_element(PAGE(1), KB4), lists_element(PAGE(30), 3 * KB4),
			lists_element(PAGE(20) + 1, 500), lists_element(PAGE(40), KB4),
			lists_element(PAGE(50), KB4), lists_element(PAGE(2), 64),
		};

		sg[bad] = lists_element(hole, KB4);
		assert_fails(sg, 6, -EFAULT);
		assert_int_equal(dray_region_unregister(region), 0);
		assert_int_equal(dray_region_register(dom, PAGE(0), 4 * KB4, 0, &region), 0);
	}
	assert_int_equal(dray_region_unregister(region), 0);
	munmap(hole, 2 * KB4);
	close_all();
}

static void test_too_many_segments(void **state)
{
	struct dray_device_opts limits = { .size = sizeof(limits), .max_segment = KB4,
					   .min_align = 2 };
	struct dray_sg sg[] = {
		lists_element(PAGE(0), 2 * KB4), lists_element(PAGE(9) + 1, 10),
		lists_element(PAGE(20), KB4),
	};

	(void)state;
	open_with(&limits);
	warm_pool();
	assert_fails(sg, 3, -EMSGSIZE);
	/* One less is just right. */
	sg[0].len = KB4;
	assert_int_equal(map(sg, 3), 3);
	lists_assert_reads(dev, sg, 3, 3);
	dray_unmap_sg(dev, sg, 3);
	close_all();
}

/* A part of a granule is counted as long as the list is mapped, and not longer. */
static void test_partial_counts_settle(void **state)
{
	struct dray_device_opts untrusted = { .size = sizeof(untrusted),
					      .flags = DRAY_DEVICE_UNTRUSTED };
	char *hole = mmap(NULL, KB4, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct dray_sg sg[] = {
		lists_element(PAGE(0), KB4), lists_element(PAGE(10), 100),
		lists_element(PAGE(20), KB4),
	};
	struct dray_device *other = NULL;

	(void)state;
	open_with(NULL);
	assert_int_equal(map(sg, 3), 2);
	assert_int_equal(dray_device_open(dom, "sim2", &untrusted, &other), -EBUSY);
	assert_null(other);
	dray_unmap_sg(dev, sg, 3);
	/* One that failed counts nothing either. */
	sg[2].va = hole;
	assert_int_equal(map(sg, 3), -EFAULT);
	/* Nor one that was copied in the end. */
	sg[2].va = PAGE(20);
	lists_no_pin = PAGE(10);
	lists_no_pin_len = 1;
	assert_true(map(sg, 3) > 0);
	dray_unmap_sg(dev, sg, 3);
	lists_no_pin = NULL;
	assert_int_equal(dray_device_open(dom, "sim2", &untrusted, &other), 0);
	/* From now on it is copied instead. */
	assert_true(map(sg, 3) > 0);
	assert_int_equal(rig_stats(dom).bounce_edge, 1);
	dray_unmap_sg(dev, sg, 3);
	dray_device_close(other);
	munmap(hole, KB4);
	close_all();
}

/* A device closes with a list out: each of its receipts is a leak, and none holds the domain. */
static void test_leaked_list(void **state)
{
	struct dray_device_opts limits = { .size = sizeof(limits), .min_align = 64,
					   .segment_boundary_mask = 0x3fff };
	struct dray_sg sg[] = {
		lists_element(PAGE(40), 4 * KB4), lists_element(PAGE(44), 4 * KB4),
		lists_element(PAGE(50) + 3, 3000), lists_element(PAGE(30), KB4),
	}, copy[4];
	struct dray_device *other;
	uint64_t live;

	(void)state;
	open_with(&limits);
	warm_pool();
	other = rig_plug(dom, "sim2");
	live = lists_live(dom);
	assert_true(map(sg, 4) > 0);
	memcpy(copy, sg, sizeof(sg));
	dray_device_close(dev);
	assert_int_equal(rig_stats(dom).leaks, 4);
	assert_int_equal(lists_live(dom), live);
	assert_int_equal(rig_stats(dom).bounce_used_bytes, 0);
	/* Late: refused, counted, cleared. */
	dray_unmap_sg(NULL, copy, 4);
	assert_int_equal(rig_stats(dom).bad_unmaps, 1);
	assert_true(!copy[0].cookie[0] && !copy[3].cookie[1]);
	dev = other;
	close_all();
}

static void test_unmapped_twice(void **state)
{
	struct dray_sg sg[] = { lists_element(PAGE(0), KB4), lists_element(PAGE(9), 10) }, copy[2];

	(void)state;
	open_with(NULL);
	assert_int_equal(map(sg, 2), 1);
	memcpy(copy, sg, sizeof(sg));
	dray_unmap_sg(dev, sg, 2);
	dray_unmap_sg(dev, sg, 2);
	assert_int_equal(rig_stats(dom).bad_unmaps, 0);
	dray_unmap_sg(dev, copy, 2);
	assert_int_equal(rig_stats(dom).bad_unmaps, 1);
	assert_int_equal(rig_stats(dom).unmaps, 1);
	dray_unmap_sg(dev, NULL, 2);
	dray_unmap_sg(dev, sg, 0);
	/* What is never a list. */
	assert_int_equal(map(NULL, 1), -EINVAL);
	assert_int_equal(map(sg, 0), -EINVAL);
	sg[1].len = 0;
	assert_int_equal(map(sg, 2), -EINVAL);
	assert_int_equal(dray_map_sg(dev, sg, 1, (enum dray_dir)3, 0), -EINVAL);
	assert_int_equal(dray_map_sg(dev, sg, 1, DRAY_TO_DEVICE, 8), -EINVAL);
	assert_int_equal(dray_map_sg(NULL, copy, 2, DRAY_TO_DEVICE, 0), -EINVAL);
	close_all();
}

/* The backend keeps one block: it is quarantined, the others go, the domain can be closed. */
static void test_refused_unmap(void **state)
{
	struct dray_device_opts bound = { .size = sizeof(bound), .segment_boundary_mask = 0x3fff };
	struct dray_sg sg[] = {
		lists_element(PAGE(0), 3 * KB4), lists_element(PAGE(10), 3 * KB4),
		lists_element(PAGE(20), 3 * KB4),
	};

	(void)state;
	open_with(&bound);
	assert_int_equal(map(sg, 3), 3);
	lists_fail_unmap = 2;
	dray_unmap_sg(dev, sg, 3);
	assert_int_equal(rig_info(dom).quarantined_bytes, 3 * KB4);
	assert_int_equal(rig_info(dom).damaged, 1);
	assert_int_equal(lists_in_table(dom), 1);
	assert_int_equal(rig_stats(dom).unmaps, 1);
	/* While a list is undone too. */
	lists_no_pin = PAGE(20);
	lists_no_pin_len = 1;
	sg[2].va = PAGE(20);
	lists_fail_unmap = 1;
	assert_int_equal(dray_map_sg(dev, sg, 3, DRAY_TO_DEVICE, DRAY_MAP_NO_BOUNCE), -EFAULT);
	assert_int_equal(rig_info(dom).quarantined_bytes, 6 * KB4);
	lists_no_pin = NULL;
	assert_int_equal(map(sg, 3), 3);
	lists_assert_reads(dev, sg, 3, 3);
	dray_unmap_sg(dev, sg, 3);
	close_all();
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, lists_setup, lists_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_fails_at_each_element),
		TEST(test_too_many_segments),
		TEST(test_partial_counts_settle),
		TEST(test_leaked_list),
		TEST(test_unmapped_twice),
		TEST(test_refused_unmap),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
