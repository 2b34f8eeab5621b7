// SPDX-License-Identifier: BSD-2-Clause
/* The shortest way: who may take it, what it counts, and receipts that outlived their era. */
#include "lists.h"

#include "backend/sim/sim.h"
#include "map/receipt.h"

#include <pthread.h>

#define PAGE(i) (rig_memory + (size_t)(i) * KB4)

static struct dray_domain *dom;
static struct dray_device *dev;
static struct dray_region *region; /* pages 0 to 31 */

static void open_in(const struct dray_domain_opts *opts, const struct dray_device_opts *limits)
{
	struct dray_domain_opts o = opts ? *opts : rig_opts();

	assert_int_equal(dray_domain_open(&o, &dom), 0);
	lists_watch(dom);
	dev = lists_plug(dom, "sim1", limits);
	lists_fill(rig_memory, sizeof(rig_memory), 1);
	assert_int_equal(dray_region_register(dom, PAGE(0), 32 * KB4, 0, &region), 0);
	lists_maps = lists_unmaps = 0;
}

static void close_all(void)
{
	assert_int_equal(dray_region_unregister(region), 0);
	lists_unwatch(dom);
	dray_device_close(dev);
	dray_domain_close(dom);
	assert_true(rig_is_gone(dom));
}

static enum dr_way way_of(const struct dray_mapping *m)
{
	struct dr_receipt r;

	assert_true(dr_receipt_unpack(m->cookie[1], &r));
	return r.way;
}

/* A map of [va, va + len) goes this way, and the device reads the buffer. */
static void assert_way(void *va, size_t len, enum dr_way way)
{
	static unsigned char seen[32 * KB4];
	struct dray_mapping m;

	assert_int_equal(dray_map(dev, va, len, DRAY_TO_DEVICE, 0, &m), 0);
	assert_int_equal(way_of(&m), way);
	if (way == DR_WAY_REGION)
		assert_int_equal(m.iova, dray_translate(dom, va, NULL));
	else
		assert_int_not_equal(m.iova, dray_translate(dom, va, NULL));
	assert_int_equal(dr_sim_dma_read(dev->bd, m.iova, seen, len), 0);
	assert_memory_equal(seen, va, len);
	assert_int_equal(dray_region_unregister(region), way == DR_WAY_REGION ? -EBUSY : 0);
	if (way != DR_WAY_REGION)
		assert_int_equal(dray_region_register(dom, PAGE(0), 32 * KB4, 0, &region), 0);
	dray_unmap(dev, &m);
	assert_true(!m.iova && !m.len && !m.cookie[0] && !m.cookie[1]);
}

static void test_plain(void **state)
{
	struct dray_mapping m;

	(void)state;
	open_in(NULL, NULL);
	for (unsigned i = 0; i < 100; i++) {
		assert_int_equal(dray_map(dev, PAGE(i % 31) + i, 100 + i, DRAY_BIDIRECTIONAL, 0,
					  &m), 0);
		dray_unmap(dev, &m);
	}
	assert_int_equal(lists_maps + lists_unmaps, 0);
	assert_int_equal(rig_stats(dom).maps, 100);
	assert_int_equal(rig_stats(dom).unmaps, 100);
	assert_way(PAGE(0), 32 * KB4, DR_WAY_REGION);
	assert_way(PAGE(31) + KB4 - 1, 1, DR_WAY_REGION);
	assert_way(PAGE(31) + KB4 - 1, 2, DR_WAY_MAP);
	assert_way(PAGE(32), 1, DR_WAY_MAP);
	/* A fixed address is its own mapping. */
	assert_int_equal(dray_map_fixed(dev, 0x100000, PAGE(0), KB4, DRAY_TO_DEVICE, 0, &m), 0);
	assert_int_equal(way_of(&m), DR_WAY_MAP);
	assert_int_equal(dray_sync_for_cpu(dev, &m, 0, KB4), 0);
	dray_unmap(dev, &m);
	close_all();
}

static void test_read_only(void **state)
{
	struct dray_region *ro;
	struct dray_mapping m;

	(void)state;
	open_in(NULL, NULL);
	assert_int_equal(dray_region_register(dom, PAGE(40), KB4, DRAY_REGION_READ_ONLY, &ro), 0);
	assert_int_equal(dray_map(dev, PAGE(40), 10, DRAY_TO_DEVICE, 0, &m), 0);
	assert_int_equal(way_of(&m), DR_WAY_REGION);
	dray_unmap(dev, &m);
	assert_int_equal(dray_map(dev, PAGE(40), 10, DRAY_FROM_DEVICE, 0, &m), 0);
	assert_int_equal(way_of(&m), DR_WAY_MAP);
	assert_int_equal(dr_sim_dma_write(dev->bd, m.iova, "x", 1), 0);
	dray_unmap(dev, &m);
	assert_int_equal(dray_region_unregister(ro), 0);
	close_all();
}

/* A device that asks more than a mask takes it where the region's address will do. */
static void test_not_plain(void **state)
{
	struct dray_device_opts seg = { .size = sizeof(seg), .max_segment = KB4 };
	struct dray_device_opts align = { .size = sizeof(align), .min_align = 128 };
	struct dray_device_opts bound = { .size = sizeof(bound), .segment_boundary_mask = 0x1fff };
	struct dray_domain_opts cold = rig_opts();
	struct dray_mapping m;

	(void)state;
	open_in(NULL, &seg);
	assert_way(PAGE(3) + 5, KB4, DR_WAY_REGION);
	assert_int_equal(dray_map(dev, PAGE(3), KB4 + 1, DRAY_TO_DEVICE, 0, &m), -EMSGSIZE);
	close_all();

	open_in(NULL, &align);
	assert_way(PAGE(3) + 128, KB4, DR_WAY_REGION);
	assert_way(PAGE(3) + 64, KB4, DR_WAY_BOUNCE);
	close_all();

	open_in(NULL, &bound);
	{
		/* Two granules between boundaries: one pair of pages lies so, the next does not. */
		unsigned even = dray_translate(dom, PAGE(0), NULL) & 0x1000 ? 1 : 0;

		assert_way(PAGE(even), 2 * KB4, DR_WAY_REGION);
		assert_way(PAGE(even + 1), 2 * KB4, DR_WAY_MAP);
		assert_way(PAGE(even + 1), KB4, DR_WAY_REGION);
	}
	close_all();

	/* What does not see the caches is mapped and synced by itself. */
	cold.sim_profile = "noncoherent";
	open_in(&cold, NULL);
	assert_way(PAGE(3), KB4, DR_WAY_MAP);
	close_all();
}

static void test_mask(void **state)
{
	dray_iova_t at;

	(void)state;
	open_in(NULL, NULL);
	at = dray_translate(dom, PAGE(0), NULL);
	assert_way(PAGE(1), KB4, DR_WAY_REGION);
	assert_int_equal(dray_device_set_mask(dev, 0xffffffff), 0);
	assert_true(at > 0xffffffff);
	assert_way(PAGE(1), KB4, DR_WAY_BOUNCE);
	assert_int_equal(dray_device_set_mask(dev, UINT64_MAX), 0);
	assert_way(PAGE(1), KB4, DR_WAY_REGION);
	assert_int_equal(dray_region_unregister(region), 0);
	/* Below the mask. */
	assert_int_equal(dray_region_register_at(dom, 0xc0000000, PAGE(0), 32 * KB4, 0,
						 &region), 0);
	assert_int_equal(dray_device_set_mask(dev, 0xffffffff), 0);
	{
		struct dray_mapping m;

		assert_int_equal(dray_map(dev, PAGE(31), KB4, DRAY_TO_DEVICE, 0, &m), 0);
		assert_int_equal(way_of(&m), DR_WAY_REGION);
		dray_unmap(dev, &m);
		assert_int_equal(dray_map(dev, PAGE(31), KB4, DRAY_TO_DEVICE, 0, &m), 0);
		dray_unmap(dev, &m);
	}
	close_all();
}

/* The last device closes with receipts out: they are settled, and of no use any more. */
static void test_eras(void **state)
{
	struct dray_sg sg[2] = { { .va = PAGE(1), .len = 10 }, { .va = PAGE(2), .len = 10 } };
	struct dray_device *other;
	struct dray_mapping old[5], m;

	(void)state;
	open_in(NULL, NULL);
	other = rig_plug(dom, "sim2");
	for (unsigned i = 0; i < 5; i++)
		old[i] = rig_map(dev, PAGE(i), 100);
	assert_true(dray_map_sg(dev, sg, 2, DRAY_TO_DEVICE, 0) > 0);
	/* Not the last one: they may be unmapped through anybody. */
	dray_device_close(dev);
	assert_int_equal(rig_stats(dom).leaks, 0);
	assert_int_equal(dray_region_unregister(region), -EBUSY);
	dray_unmap(other, &old[0]);
	assert_int_equal(rig_stats(dom).bad_unmaps, 0);
	dray_device_close(other);
	assert_int_equal(rig_stats(dom).leaks, 4 + 2);
	assert_non_null(strstr(rig_log, "settled"));
	assert_int_equal(dray_region_unregister(region), 0);
	assert_int_equal(dray_region_register(dom, PAGE(0), 32 * KB4, 0, &region), 0);

	/* A new era: old receipts are refused, before and after there are new ones. */
	dev = rig_plug(dom, "sim1");
	dray_unmap(dev, &old[1]);
	assert_int_equal(rig_stats(dom).bad_unmaps, 1);
	m = rig_map(dev, PAGE(2), 100);
	dray_unmap(dev, &old[2]);
	dray_unmap_sg(dev, sg, 2);
	assert_int_equal(rig_stats(dom).bad_unmaps, 3);
	assert_true(!old[2].cookie[0] && !sg[0].cookie[0]);
	assert_int_equal(dray_region_unregister(region), -EBUSY);
	dray_unmap(dev, &m);
	dray_unmap(dev, &old[3]);
	assert_int_equal(rig_stats(dom).bad_unmaps, 4);
	/* A device that leaves nothing begins none. */
	m = rig_map(dev, PAGE(2), 100);
	dray_unmap(dev, &m);
	dray_device_close(dev);
	assert_int_equal(rig_stats(dom).leaks, 6);
	dev = rig_plug(dom, "sim1");
	close_all();
}

/* Of an old era, and one of its elements is mapped for itself: that one is taken back once. */
static void test_mixed_list_of_an_old_era(void **state)
{
	struct dray_sg sg[2] = { { .va = PAGE(1), .len = 10 }, { .va = PAGE(40), .len = KB4 } };

	(void)state;
	open_in(NULL, NULL);
	assert_true(dray_map_sg(dev, sg, 2, DRAY_TO_DEVICE, 0) > 0);
	dray_device_close(dev);
	assert_int_equal(rig_stats(dom).leaks, 2);
	dev = rig_plug(dom, "sim1");
	dray_unmap_sg(dev, sg, 2);
	assert_int_equal(rig_stats(dom).bad_unmaps, 1);
	assert_int_equal(rig_stats(dom).unmaps, 0);
	close_all();
}

/* Receipts hold the domain through their region, and only through it. */
static void test_region_holds(void **state)
{
	struct dray_domain *other = rig_open();
	struct dray_mapping m;

	(void)state;
	open_in(NULL, NULL);
	lists_unwatch(dom);
	m = rig_map(dev, PAGE(0), 100);
	assert_int_equal(dray_device_set_domain(dev, other), 0);
	dray_domain_close(dom);
	assert_false(rig_is_gone(dom));
	dray_unmap(dev, &m);
	assert_false(rig_is_gone(dom));
	assert_int_equal(dray_region_unregister(region), 0);
	assert_true(rig_is_gone(dom));
	dray_device_close(dev);
	dray_domain_close(other);
}

static void *unmap_elsewhere(void *arg)
{
	dray_unmap(NULL, arg);
	return NULL;
}

static void test_unmapped_by_another_thread(void **state)
{
	struct dray_mapping m[3];

	(void)state;
	open_in(NULL, NULL);
	for (unsigned i = 0; i < 3; i++) {
		pthread_t thread;

		m[i] = rig_map(dev, PAGE(i), 100);
		assert_int_equal(pthread_create(&thread, NULL, unmap_elsewhere, &m[i]), 0);
		pthread_join(thread, NULL);
	}
	assert_int_equal(rig_stats(dom).unmaps, 3);
	close_all();
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, lists_setup, lists_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_plain),
		TEST(test_read_only),
		TEST(test_not_plain),
		TEST(test_mask),
		TEST(test_eras),
		TEST(test_mixed_list_of_an_old_era),
		TEST(test_region_holds),
		TEST(test_unmapped_by_another_thread),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
