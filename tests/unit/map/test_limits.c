// SPDX-License-Identifier: BSD-2-Clause
/* What is said of limits, held against what maps do. */
#include "lists.h"

#include <stdlib.h>

#define PAGE(i) (rig_memory + (size_t)(i) * KB4)

static struct dray_domain *dom;
static struct dray_device *dev;

static void open_with(const struct dray_domain_opts *opts, const struct dray_device_opts *limits)
{
	struct dray_domain_opts o = opts ? *opts : rig_opts();

	assert_int_equal(dray_domain_open(&o, &dom), 0);
	dev = lists_plug(dom, "sim1", limits);
}

static void close_all(void)
{
	dray_device_close(dev);
	dray_domain_close(dom);
	assert_true(rig_is_gone(dom));
}

/* The lowest address there is; the granule at 0 is nobody's. */
static dray_iova_t lowest(void)
{
	dray_iova_t first = rig_info(dom).first;

	return first ? first : KB4;
}

static void test_max_of_a_window(void **state)
{
	struct dray_domain_opts opts = rig_opts();
	struct dray_device_opts narrow = { .size = sizeof(narrow), .dma_mask = 0xffff };
	struct dray_mapping m;

	(void)state;
	open_with(NULL, NULL);
	assert_int_equal(dray_max_mapping_size(dev), rig_info(dom).last - lowest() + 1);
	assert_int_equal(dray_opt_mapping_size(dev), MB2);
	close_all();

	opts.first = 0x100000;
	opts.last = 0x10ffff;
	open_with(&opts, NULL);
	assert_int_equal(dray_max_mapping_size(dev), 0x10000);
	assert_int_equal(dray_opt_mapping_size(dev), 0x10000);
	/* So much can be mapped, and no more. */
	assert_int_equal(dray_map(dev, PAGE(0), 0x10000 + 1, DRAY_TO_DEVICE, 0, &m), -ENOSPC);
	m = rig_map(dev, PAGE(0), 0x10000);
	dray_unmap(dev, &m);
	assert_int_equal(dray_device_set_mask(dev, 0x1fffff), 0);
	assert_int_equal(dray_max_mapping_size(dev), 0x10000);
	close_all();

	open_with(NULL, &narrow);
	assert_int_equal(dray_max_mapping_size(dev), 0x10000 - lowest());
	m = rig_map(dev, PAGE(0), dray_max_mapping_size(dev));
	dray_unmap(dev, &m);
	close_all();
}

static void test_max_of_a_segment(void **state)
{
	struct dray_device_opts o = { .size = sizeof(o), .max_segment = 10000 };
	struct dray_mapping m;

	(void)state;
	open_with(NULL, &o);
	assert_int_equal(dray_max_mapping_size(dev), 10000);
	assert_int_equal(dray_opt_mapping_size(dev), 10000);
	m = rig_map(dev, PAGE(0), 10000);
	dray_unmap(dev, &m);
	assert_int_equal(dray_map(dev, PAGE(0), 10001, DRAY_TO_DEVICE, 0, &m), -EMSGSIZE);
	close_all();

	o.max_segment = 0;
	o.segment_boundary_mask = 0x7fff;
	open_with(NULL, &o);
	assert_int_equal(dray_max_mapping_size(dev), 0x8000);
	m = rig_map(dev, PAGE(0), 0x8000);
	dray_unmap(dev, &m);
	assert_int_equal(dray_map(dev, PAGE(0), 0x8001, DRAY_TO_DEVICE, 0, &m), -EMSGSIZE);
	close_all();

	o.segment_boundary_mask = UINT64_MAX;
	open_with(NULL, &o);
	assert_int_equal(dray_max_mapping_size(dev), rig_info(dom).last - lowest() + 1);
	close_all();
}

/* Where any buffer may have to be copied, what is said is what a slot takes, wherever it begins. */
static void max_of_a_slot(const struct dray_device_opts *o)
{
	size_t max;
	char *mem;

	open_with(NULL, o);
	max = dray_max_mapping_size(dev);
	assert_true(max >= 64 * 1024 && max < 64 * MB2);
	assert_true(dray_opt_mapping_size(dev) <= max);
	mem = aligned_alloc(KB4, (max + 4 * KB4) & ~(KB4 - 1));
	assert_non_null(mem);
	memset(mem, 1, max + 2 * KB4);
	for (size_t off = 1; off < KB4; off = off * 3 + 5) {
		struct dray_mapping m = { 0 };

		assert_int_equal(dray_map(dev, mem + off, max, DRAY_TO_DEVICE, 0, &m), 0);
		assert_ptr_not_equal(dray_iova_to_va(dom, m.iova), mem + off);
		dray_unmap(dev, &m);
	}
	free(mem);
	close_all();
}

static void test_max_of_a_slot(void **state)
{
	struct dray_device_opts align = { .size = sizeof(align), .min_align = 4096 };
	struct dray_device_opts both = { .size = sizeof(both), .min_align = 512,
					 .flags = DRAY_DEVICE_UNTRUSTED };
	struct dray_device_opts untrusted = { .size = sizeof(untrusted),
					      .flags = DRAY_DEVICE_UNTRUSTED };

	(void)state;
	max_of_a_slot(&align);
	max_of_a_slot(&untrusted);
	max_of_a_slot(&both);
	align.min_align = 64;
	max_of_a_slot(&align);
}

static void test_of_nothing(void **state)
{
	struct dray_domain_opts opts = rig_opts();

	(void)state;
	assert_int_equal(dray_max_mapping_size(NULL), 0);
	assert_int_equal(dray_opt_mapping_size(NULL), 0);
	assert_int_equal(dray_merge_boundary(NULL), 0);
	assert_false(dray_bounce_present(NULL));
	assert_false(dray_device_uses_bounce(NULL));

	opts.type = DRAY_DOMAIN_BLOCKED;
	open_with(&opts, NULL);
	assert_int_equal(dray_max_mapping_size(dev), 0);
	assert_int_equal(dray_opt_mapping_size(dev), 0);
	assert_int_equal(dray_merge_boundary(dev), 0);
	assert_false(dray_device_uses_bounce(dev));
	close_all();

	opts.type = DRAY_DOMAIN_IDENTITY;
	open_with(&opts, NULL);
	assert_true(dray_max_mapping_size(dev) > UINT32_MAX);
	assert_int_equal(dray_merge_boundary(dev), 0);
	assert_false(dray_device_uses_bounce(dev));
	dray_device_close(dev);
	assert_int_equal(dray_max_mapping_size(dev), 0);
	assert_false(dray_device_uses_bounce(dev));
	dray_domain_close(dom);
}

/* Buffers that meet at it become one segment, and those that meet a byte before do not. */
static void test_merge_boundary(void **state)
{
	size_t b;

	(void)state;
	open_with(NULL, NULL);
	b = dray_merge_boundary(dev);
	assert_int_equal(b, rig_info(dom).granule);
	for (unsigned i = 0; i < 4; i++) {
		struct dray_sg sg[] = {
			lists_element(PAGE(9) + (i & 1 ? 8 : 0), b - (i & 1 ? 8 : 0)),
			lists_element(PAGE(3), b), lists_element(PAGE(20), 1 + i * 100),
		};

		assert_int_equal(dray_map_sg(dev, sg, 3, DRAY_TO_DEVICE, 0), 1);
		dray_unmap_sg(dev, sg, 3);
		sg[1].len--;
		assert_int_equal(dray_map_sg(dev, sg, 3, DRAY_TO_DEVICE, 0), 2);
		dray_unmap_sg(dev, sg, 3);
	}
	close_all();
}

static void test_bounce_present(void **state)
{
	struct dray_device_opts align = { .size = sizeof(align), .min_align = 64 };
	struct dray_device_opts untrusted = { .size = sizeof(untrusted),
					      .flags = DRAY_DEVICE_UNTRUSTED };
	struct dray_device *other;
	struct dray_mapping m;

	(void)state;
	open_with(NULL, &align);
	assert_false(dray_bounce_present(dom));
	m = rig_map(dev, PAGE(0), 64);
	assert_false(dray_bounce_present(dom));
	dray_unmap(dev, &m);
	m = rig_map(dev, PAGE(0) + 1, 64);
	assert_true(dray_bounce_present(dom));
	dray_unmap(dev, &m);
	assert_true(dray_bounce_present(dom));
	other = lists_plug(dom, "sim2", &untrusted);
	assert_false(dray_bounce_present(dom));
	m = rig_map(dev, PAGE(0) + 1, 64);
	assert_false(dray_bounce_present(dom));
	dray_unmap(dev, &m);
	dray_device_close(other);
	close_all();
}

static void uses(const struct dray_domain_opts *opts, const struct dray_device_opts *limits,
		 bool wanted)
{
	open_with(opts, limits);
	assert_int_equal(dray_device_uses_bounce(dev), wanted);
	close_all();
}

static void test_uses_bounce(void **state)
{
	struct dray_device_opts o = { .size = sizeof(o) };
	struct dray_domain_opts none = rig_opts(), cheap = rig_opts(), cold = rig_opts();
	struct dray_device *other;

	(void)state;
	none.flags = DRAY_DOMAIN_NO_BOUNCE;
	cheap.bounce_threshold = 1;
	cold.sim_profile = "noncoherent";
	uses(NULL, NULL, false);
	uses(&cheap, NULL, true);
	uses(&cold, NULL, true);
	uses(&none, NULL, false);
	o.min_align = 1;
	uses(NULL, &o, false);
	o.min_align = 2;
	uses(NULL, &o, true);
	uses(&none, &o, false);
	o.min_align = 0;
	o.dma_mask = UINT64_MAX;
	uses(NULL, &o, false);
	o.dma_mask = UINT32_MAX;
	uses(NULL, &o, true);
	o.dma_mask = 0;
	o.flags = DRAY_DEVICE_UNTRUSTED;
	uses(NULL, &o, true);
	/* Trust is the domain's. */
	open_with(NULL, NULL);
	other = lists_plug(dom, "sim2", &o);
	assert_true(dray_device_uses_bounce(dev));
	dray_device_close(other);
	assert_false(dray_device_uses_bounce(dev));
	close_all();
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, lists_setup, lists_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_max_of_a_window),
		TEST(test_max_of_a_segment),
		TEST(test_max_of_a_slot),
		TEST(test_of_nothing),
		TEST(test_merge_boundary),
		TEST(test_bounce_present),
		TEST(test_uses_bounce),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
