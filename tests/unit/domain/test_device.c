// SPDX-License-Identifier: BSD-2-Clause
/* Devices: owner numbers, leaks, moves, masks, and opens that fail. */
#include "rig.h"

#include <stdio.h>

static unsigned owners_in_use(const struct dray_domain *dom)
{
	unsigned n = 0;

	for (size_t i = 0; i < sizeof(dom->owners) / sizeof(dom->owners[0]); i++)
		n += (unsigned)__builtin_popcountll(dom->owners[i]);
	return n;
}

/* Every device of the machine in one domain; each has its number, and gives it back. */
static void test_owner_numbers(void **state)
{
	struct dray_domain *dom = rig_open();
	struct dray_device *dev[63];
	struct dray_mapping m[63];
	char name[16];

	(void)state;
	assert_int_equal(owners_in_use(dom), 3); /* the domain itself, its regions, its pools */
	for (int round = 0; round < 3; round++) {
		for (int i = 0; i < 63; i++) {
			snprintf(name, sizeof(name), "sim%d", i + 1);
			dev[i] = rig_plug(dom, name);
			m[i] = rig_map(dev[i], rig_memory, KB4);
		}
		assert_int_equal(owners_in_use(dom), 66);
		assert_int_equal(rig_info(dom).devices, 63);
		/* Closing one takes what is its own, and nothing else's. */
		for (int i = 0; i < 63; i++) {
			dray_device_close(dev[i * 5 % 63]);
			assert_int_equal(rig_stats(dom).leaks, round * 63 + i + 1);
			assert_null(dray_iova_to_va(dom, m[i * 5 % 63].iova));
			if (i < 62)
				assert_non_null(dray_iova_to_va(dom, m[(i + 1) * 5 % 63].iova));
		}
		assert_int_equal(owners_in_use(dom), 3);
	}
	dray_domain_close(dom);
}

/* More devices than numbers cannot be had from the machine; so all numbers are taken here. */
static void test_owner_numbers_run_out(void **state)
{
	struct dray_domain *dom = rig_open(), *other = rig_open();
	struct dray_device *dev = NULL, *moved = rig_plug(other, "sim2");
	uint64_t was[sizeof(dom->owners) / sizeof(dom->owners[0])];

	(void)state;
	memcpy(was, dom->owners, sizeof(was));
	memset(dom->owners, 0xff, sizeof(was));
	assert_int_equal(dray_device_open(dom, "sim1", NULL, &dev), -ENOSPC);
	assert_null(dev);
	assert_non_null(strstr(dray_errmsg(), "1023"));
	assert_int_equal(dray_device_set_domain(moved, dom), -ENOSPC);
	assert_ptr_equal(dray_device_get_domain(moved), other);
	assert_int_equal(rig_info(dom).devices, 0);
	memcpy(dom->owners, was, sizeof(was));
	/* The last number serves as well as the first. */
	memset(dom->owners, 0xff, sizeof(was));
	dom->owners[15] &= ~(UINT64_C(1) << 63);
	dev = rig_plug(dom, "sim1");
	rig_map(dev, rig_memory, KB4);
	dray_device_close(dev);
	assert_int_equal(rig_stats(dom).leaks, 1);
	memcpy(dom->owners, was, sizeof(was));
	dray_device_close(moved);
	dray_domain_close(other);
	dray_domain_close(dom);
}

/* Back and forth: one record for a device and a domain, whatever the number of stays. */
static void test_moves_keep_records(void **state)
{
	struct dray_domain *a = rig_open(), *b = rig_open();
	struct dray_device *dev = rig_plug(a, "sim1");
	struct dray_mapping in_a = rig_map(dev, rig_memory, KB4), in_b;
	long blocks;

	(void)state;
	assert_int_equal(dray_device_set_domain(dev, b), 0);
	in_b = rig_map(dev, rig_memory + KB4, KB4);
	blocks = rig_blocks;
	for (int i = 0; i < 100; i++) {
		assert_int_equal(dray_device_set_domain(dev, a), 0);
		assert_int_equal(rig_info(a).devices, 1);
		assert_int_equal(rig_info(b).devices, 0);
		assert_int_equal(dray_device_set_domain(dev, b), 0);
	}
	assert_int_equal(rig_blocks, blocks);
	assert_int_equal(owners_in_use(a), 4);
	assert_int_equal(owners_in_use(b), 4);
	/* Each receipt is unmapped in its own domain, wherever the device is. */
	dray_unmap(dev, &in_a);
	assert_int_equal(rig_stats(a).unmaps, 1);
	assert_int_equal(rig_stats(b).unmaps, 0);
	assert_int_equal(dray_device_set_domain(dev, a), 0);
	dray_unmap(dev, &in_b);
	assert_int_equal(rig_stats(b).unmaps, 1);
	assert_int_equal(rig_stats(a).bad_unmaps + rig_stats(b).bad_unmaps, 0);
	/* A domain that goes takes its record of the device along. */
	dray_domain_close(b);
	assert_true(rig_is_gone(b));
	dray_device_close(dev);
	assert_int_equal(owners_in_use(a), 3);
	dray_domain_close(a);
}

/* What the device left in domains that it was moved out of goes with it too. */
static void test_leaks_in_several_domains(void **state)
{
	struct dray_domain *a = rig_open(), *b = rig_open();
	struct dray_device *dev = rig_plug(a, "sim1"), *stays = rig_plug(a, "sim2");
	struct dray_mapping left, kept = rig_map(stays, rig_memory, 2 * KB4);

	(void)state;
	left = rig_map(dev, rig_memory, KB4);
	rig_map(dev, rig_memory, 5 * KB4);
	assert_int_equal(dray_device_set_domain(dev, b), 0);
	rig_map(dev, rig_memory, KB4);
	dray_device_close(dev);
	assert_int_equal(rig_stats(a).leaks, 2);
	assert_int_equal(rig_stats(b).leaks, 1);
	assert_int_equal(rig_info(a).mapped_bytes, 2 * KB4);
	assert_int_equal(rig_level, LOG_WARNING);
	assert_null(dray_iova_to_va(a, left.iova));
	dray_unmap(stays, &kept);
	dray_device_close(stays);
	dray_domain_close(b);
	dray_domain_close(a);
}

static void test_set_mask(void **state)
{
	struct dray_domain_opts opts = rig_opts();
	struct dray_domain *dom;
	struct dray_device *dev, *dev2;
	struct dray_mapping m, low, other;

	(void)state;
	opts.first = 0x10000;
	opts.last = UINT32_MAX;
	assert_int_equal(dray_domain_open(&opts, &dom), 0);
	dev = rig_plug(dom, "sim1");
	dev2 = rig_plug(dom, "sim2");
	assert_int_equal(dray_device_set_mask(dev, 0xffff), -ERANGE);
	assert_int_equal(dray_device_set_mask(dev, 0x1ffff), 0);
	low = rig_map(dev, rig_memory, KB4);
	assert_true(low.iova + KB4 - 1 <= 0x1ffff);
	/* Another device's mappings above do not matter. */
	other = rig_map(dev2, rig_memory, KB4);
	assert_true(other.iova > 0x1ffff);
	assert_int_equal(dray_device_set_mask(dev, 0xfffff), 0);
	assert_int_equal(dray_map_fixed(dev, 0xff000, rig_memory, KB4, DRAY_TO_DEVICE, 0, &m), 0);
	assert_int_equal(dray_device_set_mask(dev, 0x7ffff), -EBUSY);
	assert_non_null(strstr(dray_errmsg(), "0xff000"));
	assert_int_equal(dray_device_set_mask(dev, 0xfffff), 0);
	dray_unmap(dev, &m);
	assert_int_equal(dray_device_set_mask(dev, 0x7ffff), 0);
	assert_int_equal(dray_device_set_mask(dev, 0), 0);
	m = rig_map(dev, rig_memory, KB4);
	assert_true(m.iova > 0x7ffff);
	assert_int_equal(dray_device_set_mask(dev, 5), -EINVAL);
	assert_int_equal(dray_device_set_mask(NULL, 0), -EINVAL);
	dray_unmap(dev, &m);
	dray_unmap(dev, &low);
	dray_unmap(dev2, &other);
	dray_device_close(dev2);
	dray_device_close(dev);
	assert_int_equal(dray_device_set_mask(dev, 0), -EINVAL);
	dray_domain_close(dom);
}

/* Whatever allocation an open or a move lacks, everything is as it was. */
static void test_open_and_move_without_memory(void **state)
{
	struct dray_domain *a = rig_open(), *b = rig_open();
	struct dray_device *dev = NULL, *mover = rig_plug(a, "sim2");
	long blocks = rig_blocks;
	int err, failures = 0;

	(void)state;
	for (unsigned n = 1;; n++) {
		rig_fail_alloc = n;
		err = dray_device_open(a, "sim1", NULL, &dev);
		if (rig_fail_alloc) {
			rig_fail_alloc = 0;
			assert_int_equal(err, 0);
			break;
		}
		assert_int_equal(err, -ENOMEM);
		assert_null(dev);
		assert_int_equal(rig_blocks, blocks);
		assert_int_equal(rig_info(a).devices, 1);
		assert_int_equal(owners_in_use(a), 4);
		failures++;
	}
	assert_true(failures >= 3);
	dray_device_close(dev);
	assert_int_equal(rig_blocks, blocks);
	rig_fail_alloc = 1;
	assert_int_equal(dray_device_set_domain(mover, b), -ENOMEM);
	assert_int_equal(rig_fail_alloc, 0);
	assert_ptr_equal(dray_device_get_domain(mover), a);
	assert_int_equal(rig_info(b).devices, 0);
	dray_device_close(mover);
	dray_domain_close(b);
	dray_domain_close(a);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, rig_setup, rig_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_owner_numbers),
		TEST(test_owner_numbers_run_out),
		TEST(test_moves_keep_records),
		TEST(test_leaks_in_several_domains),
		TEST(test_set_mask),
		TEST(test_open_and_move_without_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
