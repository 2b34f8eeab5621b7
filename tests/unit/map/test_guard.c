// SPDX-License-Identifier: BSD-2-Clause
/* Guards: what lies beside a mapping is nobody's, so an overrun faults, on both sides. */
#include "lists.h"

#include "backend/sim/sim.h"
#include "iova/space.h"

#include <stdlib.h>

#define PAGE(i) (rig_memory + (size_t)(i) * KB4)

static struct dray_domain *dom;
static struct dray_device *dev;

static void open_with(const struct dray_device_opts *limits)
{
	struct dray_domain_opts opts = rig_opts();

	opts.flags = DRAY_DOMAIN_GUARD;
	assert_int_equal(dray_domain_open(&opts, &dom), 0);
	dev = lists_plug(dom, "sim1", limits);
}

static void close_all(void)
{
	dray_device_close(dev);
	dray_domain_close(dom);
	assert_true(rig_is_gone(dom));
}

/* No granule that is mapped has a mapped neighbour of another mapping. */
static void assert_all_guarded(void)
{
	struct dr_pt_mapping m;
	dray_iova_t end = 0;

	for (dray_iova_t from = dom->io.first;
	     from <= dom->io.last && dr_pgtable_next(dom->io.pt, from, dom->io.last, &m);
	     from = m.iova + m.len) {
		assert_true(m.iova >= end + KB4);
		end = m.iova + m.len;
		assert_null(dray_iova_to_va(dom, end));
		assert_null(dray_iova_to_va(dom, m.iova - 1));
	}
}

static void assert_overruns_fault(dray_iova_t iova, size_t len)
{
	dray_iova_t first = iova & ~(KB4 - 1), end = (iova + len + KB4 - 1) & ~(KB4 - 1);

	lists_assert_faults(dev, first - 1, false);
	lists_assert_faults(dev, first - 1, true);
	lists_assert_faults(dev, end, false);
	lists_assert_faults(dev, end, true);
}

static void guarded(uint32_t invalidation, const struct dray_device_opts *limits, size_t most)
{
	struct dray_domain_opts opts = rig_opts();
	struct dray_mapping m[40] = { 0 };
	unsigned kinds = 0;

	opts.flags = DRAY_DOMAIN_GUARD | DRAY_DOMAIN_POLLED;
	opts.invalidation = invalidation;
	assert_int_equal(dray_domain_open(&opts, &dom), 0);
	dev = lists_plug(dom, "sim1", limits);
	srand(7);
	for (unsigned i = 0; i < 600; i++) {
		unsigned k = (unsigned)rand() % 40;

		if (m[k].len) {
			assert_overruns_fault(m[k].iova, m[k].len);
			dray_unmap(dev, &m[k]);
			continue;
		}
		m[k] = rig_map(dev, PAGE(rand() % 8) + rand() % 100, 1 + (size_t)rand() % most);
		assert_overruns_fault(m[k].iova, m[k].len);
		if (limits && limits->dma_mask)
			assert_true(m[k].iova + m[k].len - 1 <= limits->dma_mask);
		if (limits && limits->segment_boundary_mask)
			assert_int_equal(m[k].iova / (limits->segment_boundary_mask + 1),
					 (m[k].iova + m[k].len - 1) /
					 (limits->segment_boundary_mask + 1));
		kinds++;
		if (i % 16 == 0)
			assert_all_guarded();
	}
	assert_true(kinds > 200);
	assert_all_guarded();
	for (unsigned k = 0; k < 40; k++)
		dray_unmap(dev, &m[k]);
	assert_int_equal(dray_flush(dom), 0);
	assert_int_equal(lists_live(dom), 0);
	assert_int_equal(rig_stats(dom).bad_unmaps, 0);
	assert_true(dr_iova_space_is_valid(dom->io.space));
	dray_device_close(dev);
	dray_domain_close(dom);
	assert_true(rig_is_gone(dom));
}

static void test_guards(void **state)
{
	struct dray_device_opts bound = { .size = sizeof(bound), .segment_boundary_mask = 0x7fff };
	struct dray_device_opts narrow = { .size = sizeof(narrow), .dma_mask = 0xffffff };
	struct dray_device_opts both = { .size = sizeof(both), .dma_mask = 0xffffff,
					 .segment_boundary_mask = 0xffff };

	(void)state;
	for (uint32_t mode = DRAY_STRICT; mode <= DRAY_LAZY; mode++) {
		guarded(mode, NULL, 20000);
		guarded(mode, &bound, 20000);
		guarded(mode, &narrow, 20000);
		guarded(mode, &both, 20000);
	}
}

/* Up to the last address of the mask: the guard may lie above what the device can send. */
static void test_guard_above_the_mask(void **state)
{
	struct dray_device_opts narrow = { .size = sizeof(narrow), .dma_mask = 0x3fff };
	struct dray_mapping a, b, c;

	(void)state;
	open_with(&narrow);
	/* 0x3000, and 0x1000 with 0x2000 for its guard. */
	a = rig_map(dev, PAGE(0), KB4);
	b = rig_map(dev, PAGE(2), KB4);
	assert_int_equal(a.iova, 0x3000);
	assert_int_equal(b.iova, 0x1000);
	assert_int_equal(dray_map(dev, PAGE(4), KB4, DRAY_TO_DEVICE, 0, &c), -ENOSPC);
	dray_unmap(dev, &a);
	dray_unmap(dev, &b);
	assert_int_equal(lists_live(dom), 0);
	close_all();
}

/* Lists, links, coherent memory and what a closing device leaves: each with its guard. */
static void test_guards_of_the_others(void **state)
{
	struct dray_sg sg[] = {
		lists_element(PAGE(0), KB4), lists_element(PAGE(9), 2 * KB4 - 1),
	};
	struct dray_link *link;
	struct dray_mapping block;
	struct dray_device *other;
	void *va;
	int n;

	(void)state;
	open_with(NULL);
	rig_map(dev, PAGE(20), KB4);
	n = dray_map_sg(dev, sg, 2, DRAY_BIDIRECTIONAL, 0);
	assert_int_equal(n, 1);
	rig_map(dev, PAGE(20), KB4);
	assert_int_equal(dray_link_open(dev, 2 * KB4, 0, &link), 0);
	assert_int_equal(dray_link_add(link, 0, PAGE(30), 2 * KB4, DRAY_BIDIRECTIONAL), 0);
	rig_map(dev, PAGE(20), KB4);
	assert_int_equal(dray_coherent_alloc(dev, 100, 0, &va, &block), 0);
	assert_all_guarded();
	assert_overruns_fault(sg[0].iova, 3 * KB4 - 1);
	assert_overruns_fault(dray_link_iova(link), 2 * KB4);
	assert_overruns_fault(block.iova, 100);
	dray_coherent_free(dev, va, &block);
	dray_link_close(link);
	other = rig_plug(dom, "sim2");
	/* The rest is left. */
	dray_device_close(dev);
	assert_int_equal(rig_stats(dom).leaks, 4);
	assert_int_equal(lists_live(dom), 0);
	assert_int_equal(rig_info(dom).quarantined_bytes, 0);
	dev = other;
	close_all();
}

/* An untrusted device's slots beside whole granules and regions: random, and nothing touches. */
static void slots(const struct dray_device_opts *limits)
{
	struct dray_device_opts o = limits ? *limits : (struct dray_device_opts){ 0 };
	struct dray_region *region[4] = { NULL };
	struct dray_mapping m[24] = { 0 };
	unsigned copies = 0;

	o.size = sizeof(o);
	o.flags = DRAY_DEVICE_UNTRUSTED;
	open_with(&o);
	srand(11);
	for (unsigned i = 0; i < 600; i++) {
		unsigned k = (unsigned)rand() % 24, g = (unsigned)rand() % 4;
		size_t len = 1 + (size_t)rand() % 12000;
		bool whole = rand() % 3 == 0;

		if (i % 5 == 0 && region[g]) {
			assert_int_equal(dray_region_unregister(region[g]), 0);
			region[g] = NULL;
		} else if (i % 5 == 0) {
			assert_int_equal(dray_region_register(dom, PAGE(40 + 4 * g), 3 * KB4,
							      DRAY_REGION_SHARE_UNTRUSTED,
							      &region[g]), 0);
		} else if (m[k].len) {
			assert_overruns_fault(m[k].iova, m[k].len);
			dray_unmap(dev, &m[k]);
		} else if (whole) {
			m[k] = rig_map(dev, PAGE(rand() % 8), KB4);
		} else {
			m[k] = rig_map(dev, PAGE(rand() % 8) + 1 + rand() % 100, len);
			copies++;
		}
		if (m[k].len && limits && limits->dma_mask)
			assert_true(m[k].iova + m[k].len - 1 <= limits->dma_mask);
		if (m[k].len && limits && limits->segment_boundary_mask)
			assert_int_equal(m[k].iova / (limits->segment_boundary_mask + 1),
					 (m[k].iova + m[k].len - 1) /
					 (limits->segment_boundary_mask + 1));
		if (i % 8 == 0)
			assert_all_guarded();
	}
	assert_true(copies > 60);
	assert_int_equal(rig_stats(dom).bounce_edge, copies);
	for (unsigned g = 0; g < 4; g++)
		if (region[g])
			assert_int_equal(dray_region_unregister(region[g]), 0);
	for (unsigned k = 0; k < 12; k++)
		dray_unmap(dev, &m[k]);
	/* What is left is taken back, slots with their guards. */
	dray_device_close(dev);
	assert_int_equal(lists_live(dom), 0);
	assert_int_equal(rig_info(dom).quarantined_bytes, 0);
	assert_true(dr_iova_space_is_valid(dom->io.space));
	dray_domain_close(dom);
	assert_true(rig_is_gone(dom));
}

static void test_guards_of_slots(void **state)
{
	struct dray_device_opts bound = { .segment_boundary_mask = 0x7fff };
	struct dray_device_opts narrow = { .dma_mask = 0xffffff };

	(void)state;
	slots(NULL);
	slots(&bound);
	slots(&narrow);
}

/* Regions that adjoin in memory do not in IOVA; large ones keep their place in a large page. */
static void test_guards_of_regions(void **state)
{
	char *large = aligned_alloc(MB2, 3 * MB2);
	struct dray_region *region[3];
	dray_iova_t at;
	size_t len;

	(void)state;
	open_with(NULL);
	assert_int_equal(dray_region_register(dom, large + KB4, MB2 - KB4, 0, &region[0]), 0);
	assert_int_equal(dray_region_register(dom, large + MB2, MB2, 0, &region[1]), 0);
	assert_int_equal(dray_region_register(dom, large + 2 * MB2, KB4, 0, &region[2]), 0);
	rig_map(dev, PAGE(20), KB4);
	assert_all_guarded();
	len = 3 * MB2;
	at = dray_translate(dom, large + MB2, &len);
	assert_int_equal(at % MB2, 0);
	assert_int_equal(len, MB2);
	assert_overruns_fault(at, MB2);
	len = MB2;
	at = dray_translate(dom, large + KB4, &len);
	assert_int_equal(len, MB2 - KB4);
	assert_overruns_fault(at, len);
	at = dray_translate(dom, large + 2 * MB2, NULL);
	assert_overruns_fault(at, KB4);
	/* Where its owner chose the address, the neighbours are the owner's business. */
	assert_int_equal(dray_region_unregister(region[2]), 0);
	assert_int_equal(dray_region_register_at(dom, 0x100000, large + 2 * MB2, KB4, 0,
						 &region[2]), 0);
	assert_int_equal(dray_domain_map(dom, 0x101000, PAGE(3), KB4, DRAY_PROT_READ, 0), 0);
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(dray_region_unregister(region[i]), 0);
	assert_int_equal(dray_domain_unmap(dom, 0x101000, KB4), 0);
	/* One that is refused is quarantined with what is behind it. */
	assert_int_equal(dray_region_register(dom, large, KB4, 0, &region[0]), 0);
	dr_sim_fail_unmap_at(dom->io.be, 0);
	assert_int_not_equal(dray_region_unregister(region[0]), 0);
	assert_int_equal(rig_info(dom).quarantined_bytes, 2 * KB4);
	close_all();
	free(large);
}

/* Pools as a whole: their slots adjoin. */
static void test_guards_of_pools(void **state)
{
	struct dray_device_opts o = { .size = sizeof(o), .min_align = 512 };
	struct dray_mapping m, a, b;
	dray_iova_t first;

	(void)state;
	for (unsigned own = 0; own < 2; own++) {
		o.bounce_bytes = own ? 4 * KB4 : 0;
		open_with(&o);
		b = rig_map(dev, PAGE(1), KB4);
		m = rig_map(dev, PAGE(0) + 1, 100);
		a = rig_map(dev, PAGE(2), KB4);
		assert_all_guarded();
		first = m.iova & ~(rig_stats(dom).bounce_mapped_bytes - 1);
		assert_overruns_fault(first, rig_stats(dom).bounce_mapped_bytes);
		assert_overruns_fault(a.iova, KB4);
		dray_unmap(dev, &m);
		dray_unmap(dev, &a);
		dray_unmap(dev, &b);
		assert_int_equal(dr_bounce_retire_idle(dom->bounce), 0);
		assert_int_equal(lists_live(dom), 0);
		assert_int_equal(rig_info(dom).quarantined_bytes, 0);
		close_all();
	}
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, lists_setup, lists_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_guards),
		TEST(test_guard_above_the_mask),
		TEST(test_guards_of_the_others),
		TEST(test_guards_of_slots),
		TEST(test_guards_of_regions),
		TEST(test_guards_of_pools),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
