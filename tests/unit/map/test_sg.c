// SPDX-License-Identifier: BSD-2-Clause
/* Lists: runs and blocks by counting backend calls; ways in one list; bytes; other domains. */
#include "lists.h"

#include "backend/sim/sim.h"
#include "iova/space.h"

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

static void assert_nothing_mapped(void)
{
	assert_int_equal(lists_live(dom), 0);
	assert_int_equal(lists_in_table(dom), 0);
	assert_int_equal(rig_info(dom).mapped_bytes, 0);
	assert_true(dr_iova_space_is_valid(dom->io.space));
	assert_true(dr_pgtable_is_valid(dom->io.pt));
}

/* Shape: how many backend calls, IOVA ranges and segments a list costs. */
static void assert_shape(struct dray_sg *sg, unsigned n, unsigned runs, unsigned blocks,
			 int segments)
{
	lists_maps = lists_unmaps = 0;
	assert_int_equal(map(sg, n), segments);
	assert_int_equal(lists_maps, runs);
	assert_int_equal(lists_live(dom), blocks);
	assert_int_equal(lists_in_table(dom), blocks);
	lists_assert_reads(dev, sg, n, segments);
	dray_unmap_sg(dev, sg, n);
	assert_int_equal(lists_unmaps, blocks);
	for (unsigned i = 0; i < n; i++)
		assert_true(!sg[i].cookie[0] && !sg[i].cookie[1]);
	assert_nothing_mapped();
}

static void test_runs_are_fused(void **state)
{
	struct dray_sg whole[] = {
		lists_element(PAGE(0), KB4), lists_element(PAGE(1), KB4),
		lists_element(PAGE(2), 3 * KB4), lists_element(PAGE(5), KB4),
	};
	struct dray_sg odd[] = {
		lists_element(PAGE(0) + 100, 50), lists_element(PAGE(0) + 150, 5000),
		lists_element(PAGE(0) + 5150, 1), lists_element(PAGE(0) + 5151, 2 * KB4),
	};
	struct dray_sg apart[] = {
		lists_element(PAGE(9), KB4), lists_element(PAGE(3), 2 * KB4),
		lists_element(PAGE(20), KB4),
	};
	struct dray_sg ends[] = {
		lists_element(PAGE(9) + 10, KB4 - 10), lists_element(PAGE(3), 2 * KB4),
		lists_element(PAGE(20), 7),
	};
	struct dray_sg gaps[] = {
		lists_element(PAGE(9), 100), lists_element(PAGE(3), 100),
		lists_element(PAGE(20) + 1, 100),
	};
	struct dray_sg two_runs[] = {
		lists_element(PAGE(9), KB4), lists_element(PAGE(10), KB4),
		lists_element(PAGE(30), KB4), lists_element(PAGE(31), 10),
		lists_element(PAGE(31) + 10, 10),
	};
	struct dray_sg same[] = {
		lists_element(PAGE(2) + 8, 100), lists_element(PAGE(2) + 8, 100),
		lists_element(PAGE(2), KB4), lists_element(PAGE(2) + 50, 3 * KB4),
	};

	(void)state;
	open_with(NULL);
	assert_shape(whole, 4, 1, 1, 1);
	assert_shape(odd, 4, 1, 1, 1);
	assert_shape(apart, 3, 3, 1, 1);
	assert_shape(ends, 3, 3, 1, 1);
	assert_shape(gaps, 3, 3, 1, 3);
	assert_shape(two_runs, 5, 2, 1, 1);
	/* Overlapping elements are mapped once each. */
	assert_shape(same, 4, 4, 1, 4);
	assert_shape(whole, 1, 1, 1, 1);
	close_all();
}

/* Blocks end where the device's boundary or the backend's longest call would be passed. */
static void test_blocks(void **state)
{
	struct dray_device_opts bound = { .size = sizeof(bound), .segment_boundary_mask = 0x3fff };
	struct dray_device_opts tiny = { .size = sizeof(tiny), .segment_boundary_mask = 0xff };
	struct dray_sg three_and_three[] = {
		lists_element(PAGE(0), 3 * KB4), lists_element(PAGE(10), 3 * KB4),
	};
	struct dray_sg adjoin[] = {
		lists_element(PAGE(0), 3 * KB4), lists_element(PAGE(3), 3 * KB4),
	};
	struct dray_sg two_and_two[] = {
		lists_element(PAGE(0), 2 * KB4), lists_element(PAGE(10), 2 * KB4),
		lists_element(PAGE(20), KB4),
	};
	/* One that is longer than a boundary: cut there, and room for the cut is in the list. */
	struct dray_sg long_one[] = {
		lists_element(PAGE(0), 5 * KB4), lists_element(PAGE(30), 100),
		lists_element(PAGE(30) + 100, 100),
	};
	struct dray_sg in_one_page[] = {
		lists_element(PAGE(0), 256), lists_element(PAGE(0) + 256, 256),
		lists_element(PAGE(0) + 512, 200),
	};

	(void)state;
	open_with(&bound);
	assert_shape(three_and_three, 2, 2, 2, 2);
	assert_shape(adjoin, 2, 2, 2, 2);
	assert_shape(two_and_two, 3, 3, 2, 2);
	assert_shape(long_one, 3, 2, 2, 3);
	close_all();

	open_with(&tiny);
	assert_shape(in_one_page, 3, 3, 3, 3);
	close_all();

	open_with(NULL);
	dr_sim_set_max_op(dom->io.be, 4 * KB4);
	assert_shape(three_and_three, 2, 2, 2, 2);
	close_all();
}

/* A block longer than one call is mapped in pieces, and is one mapping all the same. */
static void test_pieces(void **state)
{
	struct dray_sg sg[] = {
		lists_element(PAGE(40), KB4), lists_element(PAGE(0), 11 * KB4),
		lists_element(PAGE(20) + 3, 6),
	};
	struct dr_pt_mapping m;
	int n;

	(void)state;
	open_with(NULL);
	dr_sim_set_max_op(dom->io.be, 4 * KB4);
	n = map(sg, 3);
	assert_true(n > 0);
	assert_int_equal(lists_maps, 1 + 3 + 1);
	assert_int_equal(lists_live(dom), 3);
	lists_assert_reads(dev, sg, 3, n);
	assert_int_equal(lists_in_table(dom), 3);
	assert_true(dr_pgtable_next(dom->io.pt, sg[1].cookie[0], dom->io.last, &m));
	assert_int_equal(m.len, 11 * KB4);
	assert_ptr_equal(m.va, PAGE(0));
	dray_unmap_sg(dev, sg, 3);
	assert_int_equal(lists_unmaps, 1 + 3 + 1);
	assert_nothing_mapped();
	close_all();
}

/* Several runs in a block are one mapping of the table: begun once, then continued. */
static void test_runs_continue(void **state)
{
	struct dray_sg sg[] = {
		lists_element(PAGE(8), KB4), lists_element(PAGE(4), KB4),
		lists_element(PAGE(0), 2 * KB4),
	};
	struct dr_pt_mapping m;

	(void)state;
	open_with(NULL);
	assert_int_equal(map(sg, 3), 1);
	assert_true(dr_pgtable_next(dom->io.pt, dom->io.first, dom->io.last, &m));
	assert_int_equal(m.iova, sg[0].iova);
	assert_int_equal(m.len, 4 * KB4);
	assert_ptr_equal(dray_iova_to_va(dom, m.iova + KB4), PAGE(4));
	assert_ptr_equal(dray_iova_to_va(dom, m.iova + 3 * KB4), PAGE(1));
	dray_unmap_sg(dev, sg, 3);
	close_all();
}

/* Registered, copied and mapped elements in one list: each its way, one order of bytes. */
static void test_ways_in_one_list(void **state)
{
	struct dray_device_opts limits = { .size = sizeof(limits), .min_align = 64 };
	struct dray_sg sg[] = {
		lists_element(PAGE(40), KB4),          /* mapped */
		lists_element(PAGE(1), 2 * KB4),       /* registered */
		lists_element(PAGE(50) + 3, 3000),     /* copied */
		lists_element(PAGE(44), KB4),          /* mapped */
		lists_element(PAGE(45), KB4),          /* mapped, adjoins */
		lists_element(PAGE(2) + 64, 100),      /* registered */
		lists_element(PAGE(2) + 65, 100),      /* registered, but not aligned: copied */
		lists_element(PAGE(3), 3 * KB4),       /* straddles the region: mapped */
	};
	struct dray_region *region;
	struct dray_stats was;
	int n;

	(void)state;
	open_with(&limits);
	assert_int_equal(dray_region_register(dom, PAGE(0), 4 * KB4, 0, &region), 0);
	was = rig_stats(dom);
	lists_maps = lists_unmaps = 0;
	n = map(sg, 8);
	assert_true(n > 4);
	lists_assert_reads(dev, sg, 8, n);
	assert_int_equal(rig_stats(dom).bounce_align - was.bounce_align, 2);
	assert_int_equal(rig_stats(dom).maps - was.maps, 1);
	assert_int_equal(dray_region_unregister(region), -EBUSY);
	/* The pool's own map, and three blocks. */
	assert_int_equal(lists_maps, 1 + 3);
	assert_int_equal(lists_unmaps, 0);
	dray_unmap_sg(dev, sg, 8);
	assert_int_equal(lists_unmaps, 3);
	assert_int_equal(rig_stats(dom).unmaps - was.unmaps, 1);
	assert_int_equal(rig_stats(dom).bounce_used_bytes, 0);
	assert_int_equal(dray_region_unregister(region), 0);
	close_all();
}

/* What the device writes arrives, by all ways, and nothing beside it is touched. */
static void test_bytes_come_back(void **state)
{
	static char before[sizeof(rig_memory)];
	struct dray_device_opts limits = { .size = sizeof(limits), .min_align = 16 };
	struct dray_sg sg[] = {
		lists_element(PAGE(40) + 16, 700), lists_element(PAGE(1), 2 * KB4),
		lists_element(PAGE(50) + 3, 3000), lists_element(PAGE(52) + 1, 1),
	};
	struct dray_region *region;
	int n;

	(void)state;
	open_with(&limits);
	assert_int_equal(dray_region_register(dom, PAGE(0), 4 * KB4, 0, &region), 0);
	memcpy(before, rig_memory, sizeof(before));
	n = dray_map_sg(dev, sg, 4, DRAY_FROM_DEVICE, 0);
	assert_true(n > 0);
	lists_write(dev, sg, n, 11);
	dray_unmap_sg(dev, sg, 4);
	lists_assert_written(sg, 4, 11);
	for (unsigned i = 0; i < 4; i++)
		memcpy(before + ((char *)sg[i].va - rig_memory), sg[i].va, sg[i].len);
	assert_memory_equal(before, rig_memory, sizeof(before));
	assert_int_equal(dray_region_unregister(region), 0);
	close_all();
}

/* What the backend cannot pin is copied, the whole block of it, and the rest mapped. */
static void test_unpinnable_block_is_copied(void **state)
{
	struct dray_device_opts bound = { .size = sizeof(bound), .segment_boundary_mask = 0x3fff };
	struct dray_sg sg[] = {
		lists_element(PAGE(0), 3 * KB4), lists_element(PAGE(10), 2 * KB4),
		lists_element(PAGE(20), KB4), lists_element(PAGE(30), 4 * KB4),
	};
	int n;

	(void)state;
	open_with(&bound);
	lists_no_pin = PAGE(20) + 5;
	lists_no_pin_len = 1;
	n = map(sg, 4);
	assert_true(n > 0);
	assert_int_equal(rig_stats(dom).bounce_pin, 2);
	lists_assert_reads(dev, sg, 4, n);
	lists_write(dev, sg, n, 5);
	dray_unmap_sg(dev, sg, 4);
	lists_assert_written(sg, 4, 5);
	assert_int_equal(rig_stats(dom).bounce_used_bytes, 0);
	/* Forbidden: as the backend said. */
	assert_int_equal(dray_map_sg(dev, sg, 4, DRAY_TO_DEVICE, DRAY_MAP_NO_BOUNCE), -EFAULT);
	lists_no_pin = NULL;
	close_all();
}

static void test_sync(void **state)
{
	struct dray_device_opts limits = { .size = sizeof(limits), .min_align = 64 };
	struct dray_sg sg[] = {
		lists_element(PAGE(0) + 1, 100), lists_element(PAGE(10), KB4),
		lists_element(PAGE(20) + 1, 3000),
	}, more[4];
	int n;

	(void)state;
	open_with(&limits);
	assert_int_equal(dray_sync_sg_for_cpu(dev, sg, 3), -EINVAL);
	n = dray_map_sg(dev, sg, 3, DRAY_BIDIRECTIONAL, DRAY_MAP_NO_SYNC);
	assert_true(n > 0);
	lists_assert_reads(dev, sg, 3, n);
	lists_fill(PAGE(0), 30 * KB4, 99);
	assert_int_equal(dray_sync_sg_for_device(dev, sg, 3), 0);
	lists_assert_reads(dev, sg, 3, n);
	lists_write(dev, sg, n, 3);
	assert_int_equal(dray_sync_sg_for_cpu(dev, sg, 3), 0);
	lists_assert_written(sg, 3, 3);
	lists_fill(PAGE(0), 30 * KB4, 98);
	memcpy(more, sg, sizeof(sg));
	more[3] = lists_element(PAGE(40), 1);
	assert_int_equal(dray_sync_sg_for_device(dev, more, 4), -EINVAL);
	assert_int_equal(dray_sync_sg_for_device(NULL, sg, 3), -EINVAL);
	assert_int_equal(dray_sync_sg_for_device(dev, sg, 0), -EINVAL);
	/* Not asked to sync: unmap brings nothing back. */
	dray_unmap_sg(dev, sg, 3);
	lists_fill(PAGE(30), KB4, 98);
	assert_int_not_equal(((unsigned char *)PAGE(0))[1], 3);
	assert_int_equal(dray_sync_sg_for_cpu(dev, sg, 3), -EINVAL);
	close_all();
}

static void test_no_translation(void **state)
{
	struct dray_device_opts limits = { .size = sizeof(limits), .max_segment = KB4 };
	struct dray_domain_opts opts = rig_opts();
	struct dray_sg sg[] = {
		lists_element(PAGE(0), 100), lists_element(PAGE(0) + 100, 100),
		lists_element(PAGE(9), KB4),
	};

	(void)state;
	opts.type = DRAY_DOMAIN_IDENTITY;
	assert_int_equal(dray_domain_open(&opts, &dom), 0);
	dev = lists_plug(dom, "sim1", &limits);
	assert_int_equal(map(sg, 3), 2);
	assert_int_equal(sg[0].iova, (uintptr_t)PAGE(0));
	assert_int_equal(sg[0].dma_len, 200);
	lists_assert_reads(dev, sg, 3, 2);
	dray_unmap_sg(dev, sg, 3);
	sg[2].len = 3 * KB4;
	assert_int_equal(map(sg, 3), -EMSGSIZE);
	assert_true(!sg[0].cookie[0] && !sg[1].cookie[1]);
	assert_int_equal(dray_device_set_mask(dev, 0xffff), 0);
	assert_int_equal(map(sg, 2), -ERANGE);
	dray_device_close(dev);
	dray_domain_close(dom);
	assert_true(rig_is_gone(dom));

	opts.type = DRAY_DOMAIN_BLOCKED;
	assert_int_equal(dray_domain_open(&opts, &dom), 0);
	dev = rig_plug(dom, "sim1");
	assert_int_equal(map(sg, 2), -EPERM);
	assert_int_equal(map(sg, 1), -EPERM);
	dray_device_close(dev);
	dray_domain_close(dom);
	assert_true(rig_is_gone(dom));
}

/* Lazy: the list goes by the queue; a flush, and its IOVAs are back. */
static void test_lazy(void **state)
{
	struct dray_domain_opts opts = rig_opts();
	struct dray_sg sg[] = { lists_element(PAGE(0), KB4), lists_element(PAGE(9), 2 * KB4) };
	dray_iova_t was;

	(void)state;
	opts.invalidation = DRAY_LAZY;
	opts.flags = DRAY_DOMAIN_POLLED;
	assert_int_equal(dray_domain_open(&opts, &dom), 0);
	dev = rig_plug(dom, "sim1");
	lists_fill(rig_memory, sizeof(rig_memory), 1);
	assert_int_equal(map(sg, 2), 1);
	lists_assert_reads(dev, sg, 2, 1);
	was = sg[0].iova;
	dray_unmap_sg(dev, sg, 2);
	assert_int_equal(rig_stats(dom).waiting_entries, 1);
	assert_int_equal(rig_stats(dom).waiting_bytes, 3 * KB4);
	assert_int_equal(map(sg, 2), 1);
	assert_true(sg[0].iova + 3 * KB4 <= was || was + 3 * KB4 <= sg[0].iova);
	dray_unmap_sg(dev, sg, 2);
	assert_int_equal(dray_flush(dom), 0);
	lists_assert_faults(dev, was, false);
	assert_nothing_mapped();
	dray_device_close(dev);
	dray_domain_close(dom);
	assert_true(rig_is_gone(dom));
}

/* Its device is elsewhere by then, and the domain closed: the list is all that holds it. */
static void test_list_holds_its_domain(void **state)
{
	struct dray_domain *other = rig_open();
	struct dray_sg sg[] = { lists_element(PAGE(0), KB4), lists_element(PAGE(9), 10),
				lists_element(PAGE(12), 10) };

	(void)state;
	dom = rig_open();
	dev = rig_plug(dom, "sim1");
	assert_int_equal(map(sg, 3), 2);
	assert_int_equal(dray_device_set_domain(dev, other), 0);
	dray_domain_close(dom);
	assert_false(rig_is_gone(dom));
	assert_ptr_equal(dray_iova_to_va(dom, sg[0].iova), PAGE(0));
	dray_unmap_sg(dev, sg, 3);
	assert_true(rig_is_gone(dom));
	dray_device_close(dev);
	dray_domain_close(other);
}

static void test_from_iov(void **state)
{
	struct iovec iov[] = { { PAGE(0), 10 }, { PAGE(1), 0 }, { PAGE(2), 30 }, { NULL, 0 } };
	struct dray_sg sg[4];

	(void)state;
	memset(sg, 0xff, sizeof(sg));
	assert_int_equal(dray_sg_from_iov(iov, 4, sg), 2);
	assert_ptr_equal(sg[1].va, PAGE(2));
	assert_int_equal(sg[1].len, 30);
	assert_true(!sg[0].iova && !sg[0].dma_len && !sg[0].cookie[0] && !sg[1].cookie[1]);
	assert_int_equal(sg[2].len, SIZE_MAX);
	assert_int_equal(dray_sg_from_iov(NULL, 4, sg), 0);
	assert_int_equal(dray_sg_from_iov(iov, 0, sg), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, lists_setup, lists_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_runs_are_fused),
		TEST(test_blocks),
		TEST(test_pieces),
		TEST(test_runs_continue),
		TEST(test_ways_in_one_list),
		TEST(test_bytes_come_back),
		TEST(test_unpinnable_block_is_copied),
		TEST(test_sync),
		TEST(test_no_translation),
		TEST(test_lazy),
		TEST(test_list_holds_its_domain),
		TEST(test_from_iov),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
