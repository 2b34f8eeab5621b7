// SPDX-License-Identifier: BSD-2-Clause
/* Receipts: whose they are, what is made of forged and foreign ones, and sync. */
#include "../domain/rig.h"

#include "map/map.h"

static struct dray_domain *domain_of(const struct dray_mapping *m)
{
	return dr_receipt_open(m->cookie[0], m->cookie[1], NULL);
}

static void test_fields(void **state)
{
	struct dray_domain *dom = rig_open();
	struct dray_device *dev = rig_plug(dom, "sim1");
	struct dray_mapping m = rig_map(dev, rig_memory + 17, 100), copy = m;

	(void)state;
	assert_int_equal(m.len, 100);
	assert_int_equal(m.iova % KB4, ((uintptr_t)rig_memory + 17) % KB4);
	assert_ptr_equal(domain_of(&m), dom);
	/* A copy is as good as the first, and only one of them. */
	memset(&m, 0, sizeof(m));
	dray_unmap(dev, &copy);
	assert_int_equal(rig_info(dom).mapped_bytes, 0);
	assert_null(domain_of(&copy));
	dray_device_close(dev);
	dray_domain_close(dom);
}

/* What is no receipt is no mapping: zeroed, and nothing else. */
static void test_forged(void **state)
{
	struct dray_domain *dom = rig_open();
	struct dray_device *dev = rig_plug(dom, "sim1");
	struct dray_mapping real = rig_map(dev, rig_memory, KB4), m;
	struct dray_mapping bad[] = {
		{ 0, 0, { 0, 0 } },
		{ real.iova, real.len, { 0, real.cookie[1] } },
		{ real.iova, real.len, { real.cookie[0], 0 } },
		{ real.iova, real.len, { real.cookie[0], ~UINT64_C(0) } },
		{ real.iova, real.len, { real.cookie[0], real.cookie[1] ^ UINT64_C(1) << 63 } },
	};
	uint64_t bytes = rig_info(dom).mapped_bytes;

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		m = bad[i];
		assert_null(domain_of(&m));
		assert_int_equal(dray_sync_for_cpu(dev, &m, 0, 1), -EINVAL);
		dray_unmap(dev, &m);
		assert_true(!m.iova && !m.len && !m.cookie[0] && !m.cookie[1]);
	}
	assert_int_equal(rig_stats(dom).unmaps, 0);
	assert_int_equal(rig_stats(dom).bad_unmaps, 0);
	/* Of this domain, but not of this range. */
	m = real;
	m.iova += KB4;
	dray_unmap(dev, &m);
	m = real;
	m.len += KB4;
	dray_unmap(dev, &m);
	m = real;
	m.len = 0;
	dray_unmap(dev, &m);
	m = real;
	m.len = SIZE_MAX;
	dray_unmap(dev, &m);
	assert_int_equal(rig_stats(dom).bad_unmaps, 4);
	assert_int_equal(rig_info(dom).mapped_bytes, bytes);
	assert_ptr_equal(dray_iova_to_va(dom, real.iova), rig_memory);
	dray_unmap(dev, &real);
	assert_int_equal(rig_stats(dom).unmaps, 1);
	dray_device_close(dev);
	dray_domain_close(dom);
}

/* The same address in two domains: each receipt finds its own. */
static void test_two_domains(void **state)
{
	struct dray_domain *a = rig_open(), *b = rig_open();
	struct dray_device *dev_a = rig_plug(a, "sim1"), *dev_b = rig_plug(b, "sim2");
	struct dray_mapping in_a = rig_map(dev_a, rig_memory, KB4);
	struct dray_mapping in_b = rig_map(dev_b, rig_memory + KB4, KB4);

	(void)state;
	assert_int_equal(in_a.iova, in_b.iova);
	/* Through the other's device, or none: the receipt decides. */
	dray_unmap(dev_b, &in_a);
	assert_null(dray_iova_to_va(a, in_b.iova));
	assert_ptr_equal(dray_iova_to_va(b, in_b.iova), rig_memory + KB4);
	dray_unmap(NULL, &in_b);
	assert_null(dray_iova_to_va(b, 0xffffffffe000));
	assert_int_equal(rig_stats(a).unmaps, 1);
	assert_int_equal(rig_stats(b).unmaps, 1);
	dray_device_close(dev_a);
	dray_device_close(dev_b);
	dray_domain_close(a);
	dray_domain_close(b);
}

/* Mapped here, synced and unmapped while the device is elsewhere. */
static void test_across_a_move(void **state)
{
	struct dray_domain *a = rig_open(), *b = rig_open();
	struct dray_device *dev = rig_plug(a, "sim1");
	struct dray_mapping m = rig_map(dev, rig_memory, 2 * KB4), m2;

	(void)state;
	assert_int_equal(dray_device_set_domain(dev, b), 0);
	m2 = rig_map(dev, rig_memory, KB4);
	assert_ptr_equal(domain_of(&m), a);
	assert_ptr_equal(domain_of(&m2), b);
	assert_int_equal(dray_sync_for_cpu(dev, &m, 0, 2 * KB4), 0);
	assert_int_equal(dray_sync_for_device(dev, &m2, KB4 - 1, 1), 0);
	dray_unmap(dev, &m);
	dray_unmap(dev, &m2);
	assert_int_equal(rig_info(a).mapped_bytes + rig_info(b).mapped_bytes, 0);
	assert_int_equal(rig_stats(a).bad_unmaps + rig_stats(b).bad_unmaps, 0);
	dray_device_close(dev);
	dray_domain_close(b);
	dray_domain_close(a);
}

/* Failed maps are counted as such, and never as maps, leaks or receipts. */
static void test_failures_are_counted(void **state)
{
	struct dray_domain *dom = rig_open();
	struct dray_device_opts opts = { .size = sizeof(opts), .max_segment = KB4 };
	struct dray_device *dev;
	struct dray_mapping m;
	unsigned failed = 0;

	(void)state;
	assert_int_equal(dray_device_open(dom, "sim1", &opts, &dev), 0);
	failed += dray_map(dev, rig_memory, 2 * KB4, DRAY_TO_DEVICE, 0, &m) == -EMSGSIZE;
	failed += dray_map(dev, (void *)8, 8, DRAY_TO_DEVICE, 0, &m) == -EFAULT;
	failed += dray_map_fixed(dev, 1, rig_memory, 8, DRAY_TO_DEVICE, 0, &m) == -EINVAL;
	failed += dray_map_fixed(dev, 0xfee00000, rig_memory, 8, DRAY_TO_DEVICE, 0, &m) == -EEXIST;
	failed += dray_domain_map(dom, 0xfee00000, rig_memory, KB4, DRAY_PROT_READ, 0) == -EEXIST;
	assert_int_equal(failed, 5);
	assert_int_equal(rig_stats(dom).map_failures, 5);
	assert_int_equal(rig_stats(dom).maps, 0);
	dray_device_close(dev);
	assert_int_equal(rig_stats(dom).leaks, 0);
	/* And none of them holds the domain. */
	dray_domain_close(dom);
	assert_true(rig_is_gone(dom));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, rig_setup, rig_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_fields),        TEST(test_forged),
		TEST(test_two_domains),   TEST(test_across_a_move),
		TEST(test_failures_are_counted),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
