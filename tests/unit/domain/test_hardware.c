// SPDX-License-Identifier: BSD-2-Clause
/*
 * What a real device's hardware says when it comes: holes, page sizes, regions the firmware keeps.
 * A domain takes it only if everything live fits, else nothing changes. By the scripted kernel.
 */
#include "rig.h"

#include "vfio_fake.h"

#define NVME "0000:01:00.0"
#define NIC  "0000:02:00.0"

static struct rig_before {
	struct dray_domain_info info;
	int fds;
	size_t mappings;
	uint64_t live;
} before;

static int setup(void **state)
{
	(void)state;
	vfio_fake_start();
	vfio_fake_add_device(NVME, 5, "vfio-pci");
	vfio_fake_add_device(NIC, 6, "vfio-pci");
	rig_log[0] = '\0';
	return 0;
}

static int teardown(void **state)
{
	int fds = vfio_fake_fds_open();
	size_t mappings = vfio_fake_mappings();

	(void)state;
	vfio_fake_stop();
	return fds || mappings ? -1 : 0;
}

static struct dray_domain *open_real(dray_iova_t first, dray_iova_t last)
{
	struct dray_domain_opts opts = rig_opts();
	struct dray_domain *dom = NULL;

	opts.backend = DRAY_BACKEND_TYPE1;
	opts.first = first;
	opts.last = last;
	assert_int_equal(dray_domain_open(&opts, &dom), 0);
	return dom;
}

static uint64_t live_ranges(const struct dray_domain *dom)
{
	struct dr_iova_counts counts;

	dr_iova_counts(dom->io.space, &counts);
	return counts.live_ranges;
}

static void remember(const struct dray_domain *dom)
{
	before = (struct rig_before){ rig_info(dom), vfio_fake_fds_open(), vfio_fake_mappings(),
				      live_ranges(dom) };
}

static void assert_as_before(const struct dray_domain *dom)
{
	struct dray_domain_info info = rig_info(dom);

	assert_int_equal(info.granule, before.info.granule);
	assert_int_equal(info.devices, before.info.devices);
	assert_int_equal(info.mapped_bytes, before.info.mapped_bytes);
	assert_int_equal(info.n_holes, before.info.n_holes);
	assert_memory_equal(info.holes, before.info.holes, sizeof(info.holes));
	assert_memory_equal(info.windows, before.info.windows, sizeof(info.windows));
	assert_int_equal(vfio_fake_fds_open(), before.fds);
	assert_int_equal(vfio_fake_mappings(), before.mappings);
	assert_int_equal(live_ranges(dom), before.live);
	assert_true(dr_iova_space_is_valid(dom->io.space));
}

/* 1 MiB to 2^39, less the window of x86 interrupts, until somebody knows better. */
static void test_default_window(void **state)
{
	struct dray_domain *dom = open_real(0, 0);
	struct dray_domain_info info = rig_info(dom);

	(void)state;
	assert_int_equal(info.first, 0x100000);
	assert_int_equal(info.last, (UINT64_C(1) << 39) - 1);
	assert_int_equal(info.n_holes, 1);
	assert_int_equal(info.holes[0].first, 0xfee00000);
	assert_int_equal(info.holes[0].last, 0xfeefffff);
	dray_domain_close(dom);
}

/* The device's hardware has a hole: nothing there beforehand and it is one from now on. */
static void test_hole_is_taken_over(void **state)
{
	const struct dray_range ranges[] = {
		{ 0, 0x3fffff }, { 0x800000, 0xfedfffff }, { 0xfef00000, (UINT64_C(1) << 39) - 1 },
	};
	struct dray_domain *dom = open_real(0x200000, 0xffffff);
	struct dray_device *dev;
	struct dray_mapping m;

	(void)state;
	vfio_fake_set_ranges(ranges, 3);
	assert_int_equal(rig_info(dom).n_holes, 0);
	dev = rig_plug(dom, NVME);
	assert_int_equal(rig_info(dom).n_holes, 1);
	assert_int_equal(rig_info(dom).holes[0].first, 0x400000);
	assert_int_equal(rig_info(dom).holes[0].last, 0x7fffff);
	assert_int_equal(rig_info(dom).n_windows, 2);
	assert_int_equal(dray_map_fixed(dev, 0x400000, rig_memory, KB4, DRAY_TO_DEVICE, 0, &m),
			 -EEXIST);
	assert_int_equal(dray_domain_map(dom, 0x7ff000, rig_memory, KB4, DRAY_PROT_READ, 0),
			 -EEXIST);
	dray_device_close(dev);
	dray_domain_close(dom);
}

/* Something is mapped in what turns out to be a hole: the device is not attached. */
static void test_mapped_in_a_hole(void **state)
{
	const struct dray_range ranges[] = {
		{ 0, 0x3fffff }, { 0x800000, (UINT64_C(1) << 39) - 1 },
	};
	struct dray_domain *dom = open_real(0x200000, 0xffffff);
	struct dray_device *dev = NULL;

	(void)state;
	assert_int_equal(dray_domain_map(dom, 0x300000, rig_memory, KB4, DRAY_PROT_READ, 0), 0);
	assert_int_equal(dray_domain_map(dom, 0x600000, rig_memory, KB4, DRAY_PROT_READ, 0), 0);
	vfio_fake_set_ranges(ranges, 2);
	remember(dom);
	assert_int_equal(dray_device_open(dom, NVME, NULL, &dev), -ERANGE);
	assert_non_null(strstr(dray_errmsg(), "hole"));
	assert_null(dev);
	assert_as_before(dom);
	/* What the hardware refused was the place, not the device. */
	assert_int_equal(dray_domain_unmap(dom, 0x600000, KB4), 0);
	dev = rig_plug(dom, NVME);
	assert_true(vfio_fake_is_mapped(NVME, 0x300000, KB4, rig_memory));
	assert_int_equal(rig_stats(dom).replays, 1);
	dray_device_close(dev);
	dray_domain_close(dom);
}

/* A region that firmware keeps for the device is a hole, the MSI window and relaxable ones apart. */
static void test_reserved_regions(void **state)
{
	struct dray_domain *dom = open_real(0x200000, 0xffffff);
	struct dray_device *dev;

	(void)state;
	vfio_fake_reserve(5, 0x300000, 0x30ffff, "direct", true);
	vfio_fake_reserve(5, 0x500000, 0x50ffff, "direct-relaxable", false);
	dev = rig_plug(dom, NVME);
	assert_int_equal(rig_info(dom).n_holes, 1);
	assert_int_equal(rig_info(dom).holes[0].first, 0x300000);
	assert_int_equal(dray_domain_map(dom, 0x300000, rig_memory, KB4, DRAY_PROT_READ, 0),
			 -EEXIST);
	assert_int_equal(dray_domain_map(dom, 0x500000, rig_memory, KB4, DRAY_PROT_READ, 0), 0);
	dray_device_close(dev);
	dray_domain_close(dom);
}

/* Only larger pages than the granule that was promised: refused, whatever is mapped. */
static void test_larger_pages(void **state)
{
	struct dray_domain *dom = open_real(0, 0);
	struct dray_device *dev = NULL;

	(void)state;
	vfio_fake_set_page_sizes(0x40200000);
	remember(dom);
	assert_int_equal(dray_device_open(dom, NVME, NULL, &dev), -ERANGE);
	assert_non_null(strstr(dray_errmsg(), "2097152"));
	assert_as_before(dom);
	vfio_fake_set_page_sizes(0x40201000);
	dray_device_close(rig_plug(dom, NVME));
	dray_domain_close(dom);
}

/* A second device with a hole where the first one's mapping lives: the first does not notice. */
static void test_second_device_does_not_fit(void **state)
{
	struct dray_domain *dom = open_real(0x200000, 0xffffff);
	struct dray_device *dev = rig_plug(dom, NVME), *dev2 = NULL;
	struct dray_mapping m;

	(void)state;
	assert_int_equal(dray_map_fixed(dev, 0x640000, rig_memory, KB4, DRAY_TO_DEVICE, 0, &m), 0);
	vfio_fake_reserve(6, 0x600000, 0x6fffff, "reserved", true);
	remember(dom);
	assert_int_equal(dray_device_open(dom, NIC, NULL, &dev2), -ERANGE);
	assert_null(dev2);
	assert_as_before(dom);
	assert_true(vfio_fake_is_mapped(NVME, 0x640000, KB4, rig_memory));
	dray_unmap(dev, &m);
	dev2 = rig_plug(dom, NIC);
	assert_int_equal(rig_info(dom).n_holes, 1);
	assert_int_equal(dray_map_fixed(dev, 0x640000, rig_memory, KB4, DRAY_TO_DEVICE, 0, &m),
			 -EEXIST);
	dray_device_close(dev2);
	dray_device_close(dev);
	dray_domain_close(dom);
}

/* A device opened next takes the domain with its own holes, not with those of one that is gone. */
static void test_holes_go_with_the_next_device(void **state)
{
	struct dray_domain *dom = open_real(0x200000, 0xffffff);
	struct dray_device *dev;

	(void)state;
	vfio_fake_reserve(5, 0x300000, 0x30ffff, "reserved", true);
	vfio_fake_reserve(6, 0x800000, 0x80ffff, "reserved", true);
	dray_device_close(rig_plug(dom, NVME));
	dev = rig_plug(dom, NIC);
	assert_int_equal(rig_info(dom).n_holes, 1);
	assert_int_equal(rig_info(dom).holes[0].first, 0x800000);
	assert_int_equal(dray_domain_map(dom, 0x300000, rig_memory, KB4, DRAY_PROT_READ, 0), 0);
	dray_device_close(dev);
	dray_domain_close(dom);
}

/* Callers' reservations and the hardware's holes are two things: neither undoes the other. */
static void test_holes_and_reservations(void **state)
{
	struct dray_domain *dom = open_real(0x200000, 0xffffff);
	struct dray_device *dev;
	struct dray_mapping m;

	(void)state;
	assert_int_equal(dray_domain_reserve(dom, 0x300000, 0x4fffff, DRAY_RESERVE_FIXED), 0);
	vfio_fake_reserve(5, 0x400000, 0x5fffff, "reserved", true);
	dev = rig_plug(dom, NVME);
	assert_int_equal(dray_map_fixed(dev, 0x3ff000, rig_memory, KB4, DRAY_TO_DEVICE, 0, &m), 0);
	dray_unmap(dev, &m);
	assert_int_equal(dray_map_fixed(dev, 0x400000, rig_memory, KB4, DRAY_TO_DEVICE, 0, &m),
			 -EEXIST);
	assert_int_equal(dray_domain_unreserve(dom, 0x300000, 0x4fffff), 0);
	assert_int_equal(dray_map_fixed(dev, 0x400000, rig_memory, KB4, DRAY_TO_DEVICE, 0, &m),
			 -EEXIST);
	assert_int_equal(rig_info(dom).n_holes, 1);
	dray_device_close(dev);
	dray_domain_close(dom);
}

/* Bus mastering goes off before anything is unmapped; what was left is unmapped by the last detach. */
static void test_close_stops_the_device_first(void **state)
{
	struct dray_domain *dom = open_real(0, 0);
	struct dray_device *dev = rig_plug(dom, NVME);
	size_t from = vfio_fake_log_lines();
	ssize_t off, part;

	(void)state;
	vfio_fake_set_bus_master(NVME, true);
	rig_map(dev, rig_memory, KB4);
	assert_int_equal(dray_domain_map(dom, 0x200000, rig_memory, KB4, DRAY_PROT_READ, 0), 0);
	dray_device_close(dev);
	off = vfio_fake_log_find("bus master off " NVME, from);
	part = vfio_fake_log_find("part group 5", from);
	assert_true(off >= 0 && part > off);
	assert_int_equal(vfio_fake_log_find("unmap", from), -1);
	assert_false(vfio_fake_bus_master(NVME));
	assert_int_equal(vfio_fake_mappings(), 0);
	assert_int_equal(rig_stats(dom).leaks, 1);
	/* The domain keeps what is its own. */
	assert_ptr_equal(dray_iova_to_va(dom, 0x200000), rig_memory);
	dray_domain_close(dom);
}

/* Coherent, and not held to it: No Snoop was taken from it. Noncoherent where that cannot be. */
static void test_coherent_but_not_held(void **state)
{
	struct dray_domain *dom = open_real(0, 0);
	struct dray_device_info info = { .size = sizeof(info) };
	struct dray_device *dev;

	(void)state;
	for (unsigned enforced = 2; enforced--;) {
		if (!enforced)
			vfio_fake_set_no_enforce();
		dev = rig_plug(dom, NVME);
		assert_int_equal(dray_device_info(dev, &info), 0);
		assert_string_equal(info.name, NVME);
		assert_int_equal(info.coherent, 1);
		assert_int_equal(info.enforces_coherency, enforced);
		dray_device_close(dev);
	}
	/* It will not show its config space, which comes after files that it cannot do without. */
	for (unsigned n = 1; info.coherent; n++) {
		vfio_fake_fail_nth(VFIO_FAKE_PREAD, n, EIO);
		if (dray_device_open(dom, NVME, NULL, &dev))
			continue;
		assert_true(vfio_fake_fired());
		assert_int_equal(dray_device_info(dev, &info), 0);
		assert_int_equal(info.enforces_coherency, 0);
		dray_device_close(dev);
	}
	vfio_fake_fail_nth(VFIO_FAKE_PREAD, 0, 0);
	dray_domain_close(dom);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_default_window),
		TEST(test_hole_is_taken_over),
		TEST(test_mapped_in_a_hole),
		TEST(test_reserved_regions),
		TEST(test_larger_pages),
		TEST(test_second_device_does_not_fit),
		TEST(test_holes_go_with_the_next_device),
		TEST(test_holes_and_reservations),
		TEST(test_close_stops_the_device_first),
		TEST(test_coherent_but_not_held),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
