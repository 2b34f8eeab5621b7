// SPDX-License-Identifier: BSD-2-Clause
/* An untrusted device comes and goes: what holds meanwhile, what keeps it out, what is undone. */
#include "rig.h"

#include "backend/sim/sim.h"
#include "iova/space.h"

#define PAGE(i) (rig_memory + (size_t)(i) * KB4)

static const struct dray_device_opts untrusted = {
	.size = sizeof(untrusted), .flags = DRAY_DEVICE_UNTRUSTED,
};

/* Lazy, and nothing but the test drives time. */
static struct dray_domain *open_lazy(size_t bounce_threshold)
{
	struct dray_domain_opts opts = rig_opts();
	struct dray_domain *dom = NULL;

	opts.invalidation = DRAY_LAZY;
	opts.flags = DRAY_DOMAIN_POLLED;
	opts.bounce_threshold = bounce_threshold;
	assert_int_equal(dray_domain_open(&opts, &dom), 0);
	assert_int_equal(dray_domain_invalidation(dom), DRAY_LAZY);
	return dom;
}

static struct dray_device *plug_untrusted(struct dray_domain *dom, const char *name)
{
	struct dray_device *dev = NULL;

	assert_int_equal(dray_device_open(dom, name, &untrusted, &dev), 0);
	return dev;
}

static uint64_t live(const struct dray_domain *dom)
{
	struct dr_iova_counts counts;

	dr_iova_counts(dom->io.space, &counts);
	return counts.live_ranges;
}

static void assert_faults(struct dray_device *dev, dray_iova_t iova)
{
	struct dray_sim_fault f;
	char c;

	assert_int_equal(dray_sim_read(dev, iova, &c, 1), -EFAULT);
	assert_int_equal(dray_sim_faults(dev, &f, 1), 1);
}

static void test_invalidation_in_effect(void **state)
{
	struct dray_domain *dom = open_lazy(0);
	struct dray_device *dev = rig_plug(dom, "sim1"), *a, *b;

	(void)state;
	a = plug_untrusted(dom, "sim2");
	assert_int_equal(dray_domain_invalidation(dom), DRAY_STRICT);
	/* A wish is remembered, and is not what holds. */
	assert_int_equal(dray_domain_set_invalidation(dom, DRAY_LAZY), 0);
	assert_int_equal(dray_domain_invalidation(dom), DRAY_STRICT);
	b = plug_untrusted(dom, "sim3");
	dray_device_close(a);
	assert_int_equal(dray_domain_invalidation(dom), DRAY_STRICT);
	dray_device_close(b);
	assert_int_equal(dray_domain_invalidation(dom), DRAY_LAZY);
	/* The wish changes while it cannot be. */
	a = plug_untrusted(dom, "sim2");
	assert_int_equal(dray_domain_set_invalidation(dom, DRAY_STRICT), 0);
	dray_device_close(a);
	assert_int_equal(dray_domain_invalidation(dom), DRAY_STRICT);
	assert_int_equal(dray_domain_set_invalidation(dom, (enum dray_invalidation)2), -EINVAL);
	assert_int_equal(dray_domain_set_invalidation(NULL, DRAY_LAZY), -EINVAL);
	dray_device_close(dev);
	dray_domain_close(dom);
	assert_true(rig_is_gone(dom));
}

/* What was unmapped lazily before is out of reach before the device is in. */
static void test_what_waits_is_flushed(void **state)
{
	struct dray_domain *dom = open_lazy(0);
	struct dray_device *dev = rig_plug(dom, "sim1"), *bad;
	struct dray_mapping m = rig_map(dev, PAGE(0), KB4);
	dray_iova_t was = m.iova;
	char c;

	(void)state;
	assert_int_equal(dray_sim_read(dev, was, &c, 1), 0);
	dray_unmap(dev, &m);
	assert_int_equal(rig_stats(dom).waiting_entries, 1);
	bad = plug_untrusted(dom, "sim2");
	assert_int_equal(rig_stats(dom).waiting_entries, 0);
	assert_faults(dev, was);
	assert_faults(bad, was);
	/* From here on every unmap is strict, whoever mapped. */
	m = rig_map(dev, PAGE(0), KB4);
	was = m.iova;
	assert_int_equal(dray_sim_read(bad, was, &c, 1), 0);
	dray_unmap(dev, &m);
	assert_int_equal(rig_stats(dom).waiting_entries, 0);
	assert_faults(bad, was);
	dray_device_close(bad);
	dray_device_close(dev);
	dray_domain_close(dom);
}

/* Refused, and the domain is as before: lazy, with pools, and one device. */
static void assert_kept_out(struct dray_domain *dom, int err, const char *why)
{
	struct dray_device *bad = NULL;

	assert_int_equal(dray_device_open(dom, "sim2", &untrusted, &bad), err);
	assert_null(bad);
	assert_non_null(strstr(dray_errmsg(), why));
	assert_int_equal(dray_domain_invalidation(dom), DRAY_LAZY);
	assert_int_equal(rig_info(dom).devices, 1);
	assert_true(dr_domain_is_trusted(dom));
}

static void assert_let_in(struct dray_domain *dom)
{
	dray_device_close(plug_untrusted(dom, "sim2"));
	assert_int_equal(dray_domain_invalidation(dom), DRAY_LAZY);
}

static void test_kept_out(void **state)
{
	struct dray_domain *dom = open_lazy(200);
	struct dray_device *dev = rig_plug(dom, "sim1");
	struct dray_region *region;
	struct dray_mapping m;
	struct dray_link *link;
	struct dray_sg sg[2] = { { .va = PAGE(0), .len = KB4 }, { .va = PAGE(9), .len = 5000 } };

	(void)state;
	assert_let_in(dom);
	m = rig_map(dev, PAGE(0) + 5, KB4);
	assert_kept_out(dom, -EBUSY, "shares its granule");
	dray_unmap(dev, &m);
	assert_let_in(dom);
	/* At an address of the caller's choice too. */
	assert_int_equal(dray_map_fixed(dev, 0x100005, PAGE(0) + 5, 8, DRAY_TO_DEVICE, 0, &m), 0);
	assert_kept_out(dom, -EBUSY, "shares its granule");
	dray_unmap(dev, &m);
	assert_let_in(dom);
	assert_true(dray_map_sg(dev, sg, 2, DRAY_TO_DEVICE, 0) > 0);
	assert_kept_out(dom, -EBUSY, "shares its granule");
	dray_unmap_sg(dev, sg, 2);
	assert_let_in(dom);
	assert_int_equal(dray_link_open(dev, KB4, 0, &link), 0);
	assert_let_in(dom);
	assert_int_equal(dray_link_add(link, 1, PAGE(0) + 1, 100, DRAY_TO_DEVICE), 0);
	assert_kept_out(dom, -EBUSY, "shares its granule");
	dray_link_close(link);
	assert_let_in(dom);

	/* A slot, and then the idle pool, which is nobody's business. */
	m = rig_map(dev, PAGE(0) + 5, 100);
	assert_int_equal(rig_stats(dom).bounce_cheaper, 1);
	assert_kept_out(dom, -EBUSY, "slot");
	assert_true(dray_bounce_present(dom));
	dray_unmap(dev, &m);
	assert_true(dray_bounce_present(dom));
	assert_let_in(dom);
	/* It may be had again. */
	m = rig_map(dev, PAGE(0) + 5, 100);
	assert_int_equal(rig_stats(dom).bounce_cheaper, 2);
	assert_true(dray_bounce_present(dom));
	dray_unmap(dev, &m);

	assert_int_equal(dray_region_register(dom, PAGE(20), KB4, 0, &region), 0);
	assert_kept_out(dom, -EPERM, "SHARE_UNTRUSTED");
	assert_int_equal(dray_region_unregister(region), 0);
	assert_int_equal(dray_region_register(dom, PAGE(20), KB4, DRAY_REGION_SHARE_UNTRUSTED,
					      &region), 0);
	assert_let_in(dom);
	assert_int_equal(dray_region_unregister(region), 0);

	/* Whole granules expose nothing: mapped by a trusted device, reached by the other. */
	m = rig_map(dev, PAGE(0), 2 * KB4);
	assert_let_in(dom);
	dray_unmap(dev, &m);
	assert_int_equal(rig_stats(dom).bad_unmaps, 0);
	dray_device_close(dev);
	dray_domain_close(dom);
	assert_true(rig_is_gone(dom));
}

/* A failed attach, for whatever reason, takes its distrust back. */
static void test_attach_fails(void **state)
{
	struct dray_domain *dom = open_lazy(200), *other = open_lazy(0);
	struct dray_device *dev = rig_plug(dom, "sim1"), *no = NULL;
	struct dray_mapping m;

	(void)state;
	assert_int_equal(dray_device_open(dom, "sim99", &untrusted, &no), -ENODEV);
	assert_int_equal(dray_device_open(dom, "sim1", &untrusted, &no), -EBUSY);
	for (unsigned n = 1; n < 20; n++) {
		rig_fail_alloc = n;
		if (!dray_device_open(dom, "sim5", &untrusted, &no))
			break;
		assert_null(no);
		assert_true(dr_domain_is_trusted(dom));
		assert_int_equal(dray_domain_invalidation(dom), DRAY_LAZY);
	}
	rig_fail_alloc = 0;
	assert_non_null(no);
	assert_false(dr_domain_is_trusted(dom));

	/* Moved: the one it leaves is trusted again, the one it joins is not, or it stays. */
	m = rig_map(dev, PAGE(0), KB4);
	assert_int_equal(dray_device_set_domain(dev, other), 0);
	dray_unmap(dev, &m);
	m = rig_map(dev, PAGE(0) + 1, 10);
	assert_int_equal(dray_device_set_domain(no, other), -EBUSY);
	assert_true(dr_domain_is_trusted(other));
	assert_false(dr_domain_is_trusted(dom));
	assert_int_equal(dray_domain_invalidation(other), DRAY_LAZY);
	assert_ptr_equal(dray_device_get_domain(no), dom);
	dray_unmap(dev, &m);
	assert_int_equal(dray_device_set_domain(no, other), 0);
	assert_true(dr_domain_is_trusted(dom));
	assert_false(dr_domain_is_trusted(other));
	assert_int_equal(dray_domain_invalidation(dom), DRAY_LAZY);
	assert_int_equal(dray_domain_invalidation(other), DRAY_STRICT);
	dray_device_close(no);
	assert_true(dr_domain_is_trusted(other));
	dray_device_close(dev);
	dray_domain_close(dom);
	dray_domain_close(other);
	assert_true(rig_is_gone(dom) && rig_is_gone(other));
}

static void test_regions_while_untrusted(void **state)
{
	struct dray_domain *dom = rig_open();
	struct dray_device *dev = rig_plug(dom, "sim1"), *bad = plug_untrusted(dom, "sim2");
	struct dray_region *region = NULL;
	struct dray_mapping m;
	char c;

	(void)state;
	assert_int_equal(dray_region_register(dom, PAGE(0), KB4, 0, &region), -EPERM);
	assert_null(region);
	assert_int_equal(live(dom), 0);
	assert_int_equal(dray_region_register(dom, PAGE(0), KB4, DRAY_REGION_SHARE_UNTRUSTED,
					      &region), 0);
	/* Shared by its owner: a part of it is mapped as it is. */
	assert_int_equal(dray_map(dev, PAGE(0) + 5, 10, DRAY_TO_DEVICE, 0, &m), 0);
	assert_ptr_equal(dray_iova_to_va(dom, m.iova), PAGE(0) + 5);
	assert_int_equal(dray_sim_read(bad, m.iova - 5, &c, 1), 0);
	dray_unmap(dev, &m);
	dray_device_close(bad);
	assert_int_equal(dray_region_unregister(region), 0);
	assert_int_equal(dray_region_register(dom, PAGE(0), KB4, 0, &region), 0);
	assert_int_equal(dray_region_unregister(region), 0);
	dray_device_close(dev);
	dray_domain_close(dom);
}

/*
 * What the untrusted device can read around a buffer: in the buffer's granules nothing but its
 * bytes and zeros, in others bytes of the two buffers that are mapped, 0x11 and 0x22, and zeros.
 */
static void scan_around(struct dray_device *bad, dray_iova_t iova, const char *va, size_t len)
{
	dray_iova_t first = iova & ~(KB4 - 1), end = (iova + len + KB4 - 1) & ~(KB4 - 1);
	struct dray_sim_fault f[8];

	for (dray_iova_t page = first - 4 * KB4; page < end + 4 * KB4; page += KB4) {
		unsigned char seen[KB4];

		if (dray_sim_read(bad, page, seen, KB4)) {
			assert_true(page < first || page >= end);
			continue;
		}
		for (size_t i = 0; i < KB4; i++) {
			dray_iova_t at = page + i;

			if (at >= iova && at < iova + len)
				assert_int_equal(seen[i], (unsigned char)va[at - iova]);
			else if (page >= first && page < end)
				assert_int_equal(seen[i], 0);
			else
				assert_true(!seen[i] || seen[i] == 0x11 || seen[i] == 0x22);
		}
	}
	while (dray_sim_faults(bad, f, 8) > 0)
		;
}

/*
 * The memory beside buffers is full of 0xee, which no device may see; a slot of another device is
 * live beside each.
 */
static void test_neighbours_are_not_seen(void **state)
{
	static const size_t offs[] = { 0, 1, 63, 100, KB4 - 1, KB4 - 100 };
	static const size_t lens[] = { 1, 64, 1000, KB4 - 1, KB4 + 1, 3 * KB4 };
	struct dray_domain *dom = rig_open();
	struct dray_device *dev = rig_plug(dom, "sim1"), *bad = plug_untrusted(dom, "sim2");
	char *theirs = PAGE(40) + 8;
	char data[3 * KB4];

	(void)state;
	for (size_t o = 0; o < 6; o++)
		for (size_t l = 0; l < 6; l++) {
			struct dray_mapping before, m, after;
			char *va = PAGE(20) + offs[o];

			memset(rig_memory, 0xee, sizeof(rig_memory));
			memset(va, 0x11, lens[l]);
			memset(theirs, 0x22, 16);
			before = rig_map(dev, theirs, 16);
			m = rig_map(bad, va, lens[l]);
			after = rig_map(dev, theirs, 16);
			scan_around(bad, m.iova, va, lens[l]);
			scan_around(bad, after.iova, theirs, 16);
			/* What it writes comes back, and what it writes beside it does not. */
			memset(data, 0x33, sizeof(data));
			assert_int_equal(dray_sim_write(bad, m.iova, data, lens[l]), 0);
			for (dray_iova_t at = m.iova & ~(KB4 - 1); at < m.iova; at++)
				dray_sim_write(bad, at, data, 1);
			dray_unmap(dev, &after);
			dray_unmap(bad, &m);
			dray_unmap(dev, &before);
			for (char *p = rig_memory; p < rig_memory + sizeof(rig_memory); p++)
				assert_int_equal((unsigned char)*p,
						 p >= va && p < va + lens[l] ? 0x33 :
						 p >= theirs && p < theirs + 16 ? 0x22 : 0xee);
		}
	assert_int_equal(rig_stats(dom).bounce_used_bytes, 0);
	assert_false(dray_bounce_present(dom));
	dray_device_close(bad);
	dray_device_close(dev);
	dray_domain_close(dom);
	assert_true(rig_is_gone(dom));
}

/* Nothing holds it back there. */
static void test_refused_where_nothing_isolates(void **state)
{
	struct dray_domain_opts opts = rig_opts();
	struct dray_device *no = NULL;
	struct dray_domain *dom;

	(void)state;
	opts.sim_profile = "direct";
	assert_int_equal(dray_domain_open(&opts, &dom), 0);
	assert_int_equal(dray_device_open(dom, "sim1", &untrusted, &no), -EPERM);
	dray_domain_close(dom);
	opts.sim_profile = NULL;
	opts.type = DRAY_DOMAIN_IDENTITY;
	assert_int_equal(dray_domain_open(&opts, &dom), 0);
	assert_int_equal(dray_device_open(dom, "sim1", &untrusted, &no), -EPERM);
	assert_null(no);
	dray_domain_close(dom);
}

/* A device that closed with a partial granule mapped: that is unmapped, and exposes nothing. */
static void test_after_a_leak(void **state)
{
	struct dray_domain *dom = open_lazy(0);
	struct dray_device *dev = rig_plug(dom, "sim1"), *other = rig_plug(dom, "sim3");
	struct dray_sg sg[2] = { { .va = PAGE(0), .len = KB4 }, { .va = PAGE(9), .len = 5000 } };
	struct dray_mapping m;

	(void)state;
	rig_map(dev, PAGE(3) + 7, 10);
	assert_true(dray_map_sg(dev, sg, 2, DRAY_TO_DEVICE, 0) > 0);
	dray_device_close(dev);
	assert_int_equal(rig_stats(dom).leaks, 2);
	assert_let_in(dom);
	/* A granule that is exposed keeps it out all the same, until it is not. */
	m = rig_map(other, PAGE(30) + 1, KB4);
	assert_kept_out(dom, -EBUSY, "shares its granule");
	dray_unmap(other, &m);
	assert_let_in(dom);
	dray_device_close(other);
	dray_domain_close(dom);
	assert_true(rig_is_gone(dom));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, rig_setup, rig_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_invalidation_in_effect),
		TEST(test_what_waits_is_flushed),
		TEST(test_kept_out),
		TEST(test_attach_fails),
		TEST(test_regions_while_untrusted),
		TEST(test_neighbours_are_not_seen),
		TEST(test_refused_where_nothing_isolates),
		TEST(test_after_a_leak),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
