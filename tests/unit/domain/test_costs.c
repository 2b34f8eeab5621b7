// SPDX-License-Identifier: BSD-2-Clause
/*
 * The automatic way. Which way a buffer went is read from counters: mapped bytes are maps,
 * "cheaper" copies are copies, a region's lookup is neither. Costs are given.
 */
#include "rig.h"

#include <dray/region.h>
#include <dray/sg.h>

#define KB   ((size_t)1 << 10)
#define MB1  ((size_t)1 << 20)

static _Alignas(2 << 20) char memory[2 * MB1];

enum way { LOOKUP, COPY, MAP };

static enum way way_of(struct dray_device *dev, size_t len, enum dray_dir dir, uint32_t flags)
{
	struct dray_domain *dom = dray_device_get_domain(dev);
	struct dray_stats was = rig_stats(dom), is;
	struct dray_mapping m;

	assert_int_equal(dray_map(dev, memory, len, dir, flags, &m), 0);
	is = rig_stats(dom);
	dray_unmap(dev, &m);
	assert_int_equal(rig_stats(dom).unmaps, was.unmaps + 1);
	if (is.bounce_cheaper > was.bounce_cheaper)
		return COPY;
	return is.map_bytes > was.map_bytes ? MAP : LOOKUP;
}

/* The largest size, in steps of 512 bytes, that is copied; every smaller one is too. */
static size_t copied_up_to(struct dray_device *dev, enum dray_dir dir)
{
	size_t len = 512;

	while (len <= 64 * KB && way_of(dev, len, dir, 0) == COPY)
		len += 512;
	for (size_t more = len; more <= 64 * KB; more += 512)
		assert_int_equal(way_of(dev, more, dir, 0), MAP);
	return len - 512;
}

static struct dray_domain_opts auto_opts(void)
{
	struct dray_domain_opts o = rig_opts();

	o.bounce_threshold = DRAY_BOUNCE_AUTO;
	o.flags = DRAY_DOMAIN_POLLED;
	return o;
}

/* 40 ns a slot, 100 ns a kilobyte there and back, 1000 ns a strict map, 250 a lazy one. */
static struct dray_domain_opts given(void)
{
	struct dray_domain_opts o = auto_opts();

	o.cost_slot_ns = 40;
	for (unsigned i = 0; i < DRAY_COST_SIZES; i++) {
		o.cost_copy_ns[i] = 40 + (400u << 2 * i);
		o.cost_map_ns[i] = 1000;
		o.cost_lazy_map_ns[i] = 250;
	}
	return o;
}

static struct dray_domain *open_with(const struct dray_domain_opts *o)
{
	struct dray_domain *dom = NULL;

	assert_int_equal(dray_domain_open(o, &dom), 0);
	return dom;
}

static void assert_thresholds(const struct dray_domain *dom, size_t strict, size_t strict_once,
			      size_t lazy, size_t lazy_once)
{
	struct dray_domain_info info = rig_info(dom);

	assert_int_equal(info.copy_up_to, strict);
	assert_int_equal(info.copy_up_to_once, strict_once);
	assert_int_equal(info.lazy_copy_up_to, lazy);
	assert_int_equal(info.lazy_copy_up_to_once, lazy_once);
}

/* Costs that are given hold on every backend, at every moment, and are told back. */
static void test_given(void **state)
{
	struct dray_domain_opts o = given();
	struct dray_domain *dom = open_with(&o);
	struct dray_device *dev = rig_plug(dom, "sim1");
	struct dray_domain_info info = rig_info(dom);

	(void)state;
	assert_int_equal(info.cost_slot_ns, 40);
	for (unsigned i = 0; i < DRAY_COST_SIZES; i++) {
		assert_int_equal(info.cost_copy_ns[i], o.cost_copy_ns[i]);
		assert_int_equal(info.cost_map_ns[i], 1000);
		assert_int_equal(info.cost_lazy_map_ns[i], 250);
	}
	assert_thresholds(dom, 9 * KB + 512, 19 * KB, 2 * KB, 4 * KB);
	/* What the software IOMMU costs is not asked any more. */
	assert_int_equal(dray_sim_set_cost(dom, 5, 1, 0), 0);
	assert_thresholds(dom, 9 * KB + 512, 19 * KB, 2 * KB, 4 * KB);
	assert_int_equal(copied_up_to(dev, DRAY_BIDIRECTIONAL), 9 * KB + 512);
	assert_int_equal(copied_up_to(dev, DRAY_FROM_DEVICE), 9 * KB + 512);
	assert_int_equal(copied_up_to(dev, DRAY_TO_DEVICE), 19 * KB);
	dray_device_close(dev);
	dray_domain_close(dom);
}

/* Lines that cross twice: small ones and large ones are copied, those between are mapped. */
static void test_crossing_twice(void **state)
{
	static const uint32_t copy[DRAY_COST_SIZES] = { 1510, 33500, 132000, 526000, 202000 };
	static const uint32_t map[DRAY_COST_SIZES] = { 13100, 24400, 41300, 99300, 320000 };
	static const struct {
		size_t len;
		enum way strict, lazy, once;
	} rows[] = {
		{ 1, COPY, MAP, COPY }, { KB4, COPY, MAP, COPY },
		{ 10 * KB + 512, COPY, MAP, COPY }, { 10 * KB + 513, MAP, MAP, COPY },
		{ 26 * KB, MAP, MAP, COPY }, { 26 * KB + 1, MAP, MAP, MAP },
		{ 64 * KB, MAP, MAP, MAP }, { 256 * KB, MAP, MAP, MAP },
		{ 584 * KB, MAP, MAP, MAP }, { 584 * KB + 1, MAP, MAP, COPY },
		{ 856 * KB, MAP, MAP, COPY }, { 856 * KB + 1, COPY, MAP, COPY },
		{ MB1, COPY, MAP, COPY }, { 2 * MB1 - KB4, COPY, MAP, COPY },
		/* No slot holds it. */
		{ 2 * MB1 - KB4 + 1, MAP, MAP, MAP }, { 2 * MB1, MAP, MAP, MAP },
	};
	struct dray_domain_opts o = auto_opts();
	struct dray_domain *dom;
	struct dray_device *dev;

	(void)state;
	o.cost_slot_ns = 1500;
	memcpy(o.cost_copy_ns, copy, sizeof(copy));
	memcpy(o.cost_map_ns, map, sizeof(map));
	for (unsigned i = 0; i < DRAY_COST_SIZES; i++)
		o.cost_lazy_map_ns[i] = 1000;
	dom = open_with(&o);
	dev = rig_plug(dom, "sim1");
	assert_thresholds(dom, 2 * MB1 - KB4, 2 * MB1 - KB4, 0, 0);
	for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		for (unsigned lazy = 0; lazy < 2; lazy++) {
			enum way both = lazy ? rows[i].lazy : rows[i].strict;

			assert_int_equal(dray_domain_set_invalidation(dom, lazy ? DRAY_LAZY :
								      DRAY_STRICT), 0);
			if (way_of(dev, rows[i].len, DRAY_BIDIRECTIONAL, 0) != both ||
			    way_of(dev, rows[i].len, DRAY_FROM_DEVICE, 0) != both ||
			    way_of(dev, rows[i].len, DRAY_TO_DEVICE, 0) !=
				    (lazy ? MAP : rows[i].once))
				fail_msg("%zu bytes, %s", rows[i].len, lazy ? "lazy" : "strict");
		}
	dray_device_close(dev);
	dray_domain_close(dom);
}

/* The mode in effect says which threshold holds, from the next map on. */
static void test_mode_switches(void **state)
{
	struct dray_domain_opts o = given();
	struct dray_domain *dom;
	struct dray_device *dev;

	(void)state;
	o.invalidation = DRAY_LAZY;
	dom = open_with(&o);
	dev = rig_plug(dom, "sim1");
	for (int round = 0; round < 3; round++) {
		assert_int_equal(dray_domain_set_invalidation(dom, DRAY_LAZY), 0);
		assert_int_equal(way_of(dev, 2 * KB, DRAY_BIDIRECTIONAL, 0), COPY);
		assert_int_equal(way_of(dev, 2 * KB + 1, DRAY_BIDIRECTIONAL, 0), MAP);
		assert_int_equal(way_of(dev, 4 * KB, DRAY_TO_DEVICE, 0), COPY);
		assert_int_equal(way_of(dev, 4 * KB + 1, DRAY_TO_DEVICE, 0), MAP);
		assert_int_equal(dray_domain_set_invalidation(dom, DRAY_STRICT), 0);
		assert_int_equal(way_of(dev, 2 * KB + 1, DRAY_BIDIRECTIONAL, 0), COPY);
		assert_int_equal(way_of(dev, 9 * KB + 512, DRAY_FROM_DEVICE, 0), COPY);
		assert_int_equal(way_of(dev, 9 * KB + 513, DRAY_FROM_DEVICE, 0), MAP);
	}
	dray_device_close(dev);
	dray_domain_close(dom);
}

/* Cheaper is no reason where copying is forbidden, where it is not needed, or beside others. */
static void test_promises_outrank_costs(void **state)
{
	struct dray_domain_opts o = given();
	struct dray_device_opts untrusted = {
		.size = sizeof(untrusted), .flags = DRAY_DEVICE_UNTRUSTED,
	};
	struct dray_sg list[2] = {
		{ .va = memory, .len = KB4 }, { .va = memory + 2 * KB4, .len = KB4 },
	};
	struct dray_domain *dom = open_with(&o);
	struct dray_device *dev = rig_plug(dom, "sim1"), *other = NULL;
	struct dray_region *region;
	struct dray_stats was;

	(void)state;
	assert_int_equal(way_of(dev, KB4, DRAY_TO_DEVICE, 0), COPY);
	assert_int_equal(way_of(dev, KB4, DRAY_TO_DEVICE, DRAY_MAP_NO_BOUNCE), MAP);
	was = rig_stats(dom);
	assert_true(dray_map_sg(dev, list, 2, DRAY_TO_DEVICE, 0) > 0);
	dray_unmap_sg(dev, list, 2);
	assert_int_equal(rig_stats(dom).bounce_cheaper, was.bounce_cheaper);

	assert_int_equal(dray_device_open(dom, "sim2", &untrusted, &other), 0);
	assert_int_equal(way_of(dev, KB4, DRAY_TO_DEVICE, 0), MAP);
	dray_device_close(other);
	assert_int_equal(way_of(dev, KB4, DRAY_TO_DEVICE, 0), COPY);

	assert_int_equal(dray_region_register(dom, memory, sizeof(memory), 0, &region), 0);
	assert_int_equal(way_of(dev, KB4, DRAY_TO_DEVICE, 0), LOOKUP);
	assert_int_equal(dray_region_unregister(region), 0);
	dray_device_close(dev);
	dray_domain_close(dom);
}

/* A slot that does not exist is not tried for. */
static void test_small_pool(void **state)
{
	struct dray_domain_opts o = given();
	struct dray_domain *dom;
	struct dray_device *dev;

	(void)state;
	o.bounce_bytes = 3 * KB4;
	dom = open_with(&o);
	dev = rig_plug(dom, "sim1");
	assert_thresholds(dom, 2 * KB4, 2 * KB4, 2 * KB, KB4);
	assert_int_equal(copied_up_to(dev, DRAY_TO_DEVICE), 2 * KB4);
	assert_int_equal(rig_stats(dom).bounce_failures, 0);
	dray_device_close(dev);
	dray_domain_close(dom);
}

/* Bytes instead of costs are bytes, in every mode and direction; and none is none. */
static void test_bytes(void **state)
{
	struct dray_domain_opts o = rig_opts();
	struct dray_domain *dom;
	struct dray_device *dev;

	(void)state;
	o.bounce_threshold = 5000;
	dom = open_with(&o);
	assert_thresholds(dom, 5000, 5000, 5000, 5000);
	assert_int_equal(rig_info(dom).cost_map_ns[0], 0);
	dev = rig_plug(dom, "sim1");
	assert_int_equal(way_of(dev, 5000, DRAY_TO_DEVICE, 0), COPY);
	assert_int_equal(way_of(dev, 5001, DRAY_TO_DEVICE, 0), MAP);
	dray_device_close(dev);
	dray_domain_close(dom);
	o.bounce_threshold = 0;
	dom = open_with(&o);
	assert_thresholds(dom, 0, 0, 0, 0);
	dray_domain_close(dom);
}

/* Costs that decide nothing are a mistake. */
static void test_refused(void **state)
{
	struct dray_domain_opts o = given();
	struct dray_domain *dom = NULL;

	(void)state;
	o.bounce_threshold = 4096;
	assert_int_equal(dray_domain_open(&o, &dom), -EINVAL);
	o.bounce_threshold = 0;
	assert_int_equal(dray_domain_open(&o, &dom), -EINVAL);
	o = rig_opts();
	o.cost_lazy_map_ns[2] = 1;
	assert_int_equal(dray_domain_open(&o, &dom), -EINVAL);
	assert_non_null(strstr(dray_errmsg(), "DRAY_BOUNCE_AUTO"));
	o.bounce_threshold = DRAY_BOUNCE_AUTO;
	o.flags = DRAY_DOMAIN_NO_BOUNCE;
	assert_int_equal(dray_domain_open(&o, &dom), -EINVAL);
	assert_null(dom);
}

/* --- Within one size class of the best fixed choice ------------------------------------------- */

/* What hardware and program would cost, nanoseconds; a copy is 30 ns a slot, 25 ns a kilobyte. */
struct machine {
	const char *name;
	uint64_t call, invalidate, pin; /* of a map and unmap, of one invalidation, of a page */
};

static const struct machine machines[] = {
	{ "cheap", 150, 0, 0 },
	{ "hardware-like", 150, 1060, 70 },
	{ "expensive", 6000, 2000, 250 },
};

/* Of a buffer of @len bytes. A flush is shared by 256. */
static uint64_t map_cost(const struct machine *hw, size_t len, bool lazy)
{
	return hw->call + hw->invalidate / (lazy ? 256 : 1) + hw->pin * ((len + 4095) / 4096);
}

static uint64_t copy_cost(size_t len, bool once)
{
	return 30 + 25 * len * (once ? 1 : 2) / 1024;
}

static enum way best_of(const struct machine *hw, size_t len, bool lazy, bool once)
{
	return copy_cost(len, once) < map_cost(hw, len, lazy) ? COPY : MAP;
}

static void check_machine(const struct machine *hw, bool lazy)
{
	static const size_t known[DRAY_COST_SIZES] = { 4 * KB, 16 * KB, 64 * KB, 256 * KB, MB1 };
	struct dray_domain_opts o = auto_opts();
	struct dray_domain *dom;
	struct dray_device *dev;

	o.cost_slot_ns = 30;
	for (unsigned i = 0; i < DRAY_COST_SIZES; i++) {
		o.cost_copy_ns[i] = (uint32_t)copy_cost(known[i], false);
		o.cost_map_ns[i] = (uint32_t)map_cost(hw, known[i], false);
		o.cost_lazy_map_ns[i] = (uint32_t)map_cost(hw, known[i], true);
	}
	o.invalidation = lazy ? DRAY_LAZY : DRAY_STRICT;
	dom = open_with(&o);
	dev = rig_plug(dom, "sim1");
	for (size_t len = 512; len <= MB1; len *= 2)
		for (unsigned once = 0; once < 2; once++) {
			enum way way = way_of(dev, len, once ? DRAY_TO_DEVICE : DRAY_BIDIRECTIONAL,
					      0);

			if (way != best_of(hw, len, lazy, once) &&
			    way != best_of(hw, len / 2, lazy, once) &&
			    way != best_of(hw, len * 2, lazy, once))
				fail_msg("%s, %s, %zu bytes %s: %s, which is the best neither "
					 "here nor one size away", hw->name,
					 lazy ? "lazy" : "strict", len, once ? "once" : "both ways",
					 way == COPY ? "copied" : "mapped");
		}
	dray_device_close(dev);
	dray_domain_close(dom);
}

static void test_near_the_best(void **state)
{
	(void)state;
	for (unsigned i = 0; i < sizeof(machines) / sizeof(machines[0]); i++) {
		check_machine(&machines[i], false);
		check_machine(&machines[i], true);
	}
	/* The test would not notice if all of them were one and the same way. */
	assert_int_equal(best_of(&machines[0], KB4, true, false), MAP);
	assert_int_equal(best_of(&machines[1], KB4, false, false), COPY);
	assert_int_equal(best_of(&machines[1], MB1, false, false), MAP);
	assert_int_equal(best_of(&machines[2], 128 * KB, true, false), COPY);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, rig_setup, rig_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_given),
		TEST(test_crossing_twice),
		TEST(test_mode_switches),
		TEST(test_promises_outrank_costs),
		TEST(test_small_pool),
		TEST(test_bytes),
		TEST(test_refused),
		TEST(test_near_the_best),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
