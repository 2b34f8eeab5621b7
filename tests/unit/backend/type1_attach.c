// SPDX-License-Identifier: BSD-2-Clause
/* Attaching: which device, which group, whose, and what the hardware takes then. */
#include "rig.h"

#include <errno.h>
#include <linux/pci_regs.h>

#include "base/hooks.h"

static void assert_refused(struct rig *rig, const char *name, int err)
{
	struct dr_backend_limits was = rig->be->limits;
	struct dr_backend_device *bd = NULL;
	int fds = vfio_fake_fds_open();
	long allocs = vfio_fake_allocs();

	assert_int_equal(rig->be->ops->attach(rig->be, name, NULL, &bd), err);
	assert_null(bd);
	assert_int_equal(vfio_fake_fds_open(), fds);
	assert_in_range(vfio_fake_allocs() - allocs, 0, 1); /* the list of groups, once */
	assert_memory_equal(&was, &rig->be->limits, sizeof(was));
}

static void test_attach(void **state)
{
	struct dr_backend_device *bd;
	struct rig rig;
	uint8_t command[2];
	int fd;

	(void)state;
	rig_open(&rig);
	bd = rig_attach(&rig, NVME);
	assert_ptr_equal(bd->be, rig.be);
	assert_int_equal(vfio_fake_fds_open(), 3); /* container, group, device */
	fd = rig.be->ops->device_fd(bd);
	assert_true(fd >= 0);
	assert_int_equal(dr_hooks->pread(fd, command, 2, (off_t)(7LL << 40) + PCI_COMMAND), 2);
	assert_false(vfio_fake_bus_master(NVME));
	/* what the hardware takes, not what was guessed */
	assert_int_equal(rig.be->limits.n_usable, 2);
	assert_int_equal(rig.be->limits.usable[0].first, 0);
	assert_int_equal(rig.be->limits.usable[0].last, 0xfedfffff);
	assert_int_equal(rig.be->limits.usable[1].first, 0xfef00000);
	assert_int_equal(rig.be->limits.usable[1].last, (UINT64_C(1) << 48) - 1);
	assert_int_equal(rig.be->limits.page_sizes, 0x40201000);
	rig_detach(&rig, bd);
	/* and as at open again */
	assert_int_equal(rig.be->limits.usable[0].first, 0x100000);
	assert_int_equal(rig.be->limits.usable[1].last, (UINT64_C(1) << 39) - 1);
	assert_int_equal(vfio_fake_fds_open(), 1);
	assert_string_equal(rig.logged, "");

	/* and once more on the same container */
	bd = rig_attach(&rig, "0000:01:00.0");
	rig_detach(&rig, bd);
	rig_close(&rig);
}

static void test_names(void **state)
{
	static const char *const bad[] = {
		"", "0000:01:00", "01:00.0", "0000:01:00.8", "0000:01:20.0", "0000:01:00.0 ",
		"000:01:00.0", "123456789:01:00.0", "0000-01-00.0", "0000:01:00.0/../x", "sim0",
		"../../../etc", "0000:0g:00.0", "0000:01:00.00", "0000:01.00:0",
	};
	struct dr_backend_device *bd;
	struct rig rig;

	(void)state;
	vfio_fake_add_device("10000:0a:1f.7", 9, "vfio-pci");
	rig_open(&rig);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		assert_refused(&rig, bad[i], -ENODEV);
		assert_words("0000:01:00.0", NULL);
	}
	/* long domains, capital digits */
	bd = rig_attach(&rig, "10000:0A:1F.7");
	assert_true(vfio_fake_log_find("open device 10000:0a:1f.7", 0) >= 0);
	rig_detach(&rig, bd);
	rig_close(&rig);
}

static void test_no_such_device(void **state)
{
	struct rig rig;

	(void)state;
	rig_open(&rig);
	assert_refused(&rig, "0000:77:00.0", -ENODEV);
	assert_words("0000:77:00.0", "lspci", NULL);
	rig_close(&rig);
}

static void test_other_driver(void **state)
{
	struct dr_backend_device *bd;
	struct rig rig;

	(void)state;
	vfio_fake_set_driver(NVME, "nvme");
	rig_open(&rig);
	assert_refused(&rig, NVME, -ENODEV);
	assert_words("bound to nvme", "modprobe vfio-pci",
		     "echo vfio-pci > /sys/bus/pci/devices/" NVME "/driver_override",
		     "echo " NVME " > /sys/bus/pci/devices/" NVME "/driver/unbind",
		     "echo " NVME " > /sys/bus/pci/drivers_probe", NULL);
	vfio_fake_set_driver(NVME, NULL);
	assert_refused(&rig, NVME, -ENODEV);
	assert_words("no driver", "drivers_probe", NULL);
	/* a vendor's variant is as good */
	vfio_fake_set_driver(NVME, "mlx5_vfio_pci");
	bd = rig_attach(&rig, NVME);
	rig_detach(&rig, bd);
	rig_close(&rig);
}

static void test_no_group(void **state)
{
	struct rig rig;

	(void)state;
	rig_open(&rig);
	vfio_fake_set_no_iommu();
	assert_refused(&rig, NVME, -ENODEV);
	assert_words("no IOMMU group", "intel_iommu=on", NULL);
	rig_close(&rig);
}

static void test_group_node(void **state)
{
	struct rig rig;

	(void)state;
	rig_open(&rig);
	vfio_fake_fail_path("/vfio/5", EACCES);
	assert_refused(&rig, NVME, -EPERM);
	assert_words("/dev/vfio/5", "chown", NULL);
	vfio_fake_fail_path("/vfio/5", ENOENT);
	assert_refused(&rig, NVME, -ENODEV);
	assert_words("/dev/vfio/5", NULL);
	vfio_fake_fail_path("/vfio/5", EMFILE);
	assert_refused(&rig, NVME, -ENOMEM);
	assert_words("ulimit -n", NULL);
	vfio_fake_fail_path(NULL, 0);
	vfio_fake_hold_group(5, true);
	assert_refused(&rig, NVME, -EBUSY);
	assert_words("group 5", "another process", "fuser", NULL);
	vfio_fake_hold_group(5, false);
	rig_detach(&rig, rig_attach(&rig, NVME));
	rig_close(&rig);
}

static void test_not_viable(void **state)
{
	struct dr_backend_device *bd;
	struct rig rig;

	(void)state;
	vfio_fake_set_driver(NIC1, "e1000e");
	rig_open(&rig);
	assert_refused(&rig, NIC, -EBUSY);
	assert_words("group 6", NIC1, "e1000e", "vfio-pci", NULL);
	assert_int_equal(vfio_fake_calls(VFIO_GROUP_SET_CONTAINER), 0);
	/* members without driver, or with one that does no DMA, do no harm */
	vfio_fake_set_driver(NIC1, NULL);
	bd = rig_attach(&rig, NIC);
	rig_detach(&rig, bd);
	vfio_fake_set_driver(NIC1, "pci-stub");
	bd = rig_attach(&rig, NIC);
	rig_detach(&rig, bd);
	/* no interrupt remapping: the kernel says the same, but no foreigner is to blame */
	vfio_fake_fail_nth(VFIO_GROUP_SET_CONTAINER, 1, EPERM);
	assert_refused(&rig, NIC, -EPERM);
	assert_words("interrupt remapping", "allow_unsafe_interrupts", NULL);
	rig_close(&rig);
}

static const struct dr_hooks *fake_hooks;

/* A driver of the kernel's binds to a member between the question and the join. */
static int late_ioctl(int fd, unsigned long request, void *arg)
{
	int ret = fake_hooks->ioctl(fd, request, arg);

	if (request == VFIO_GROUP_GET_STATUS)
		vfio_fake_set_driver(NIC1, "e1000e");
	return ret;
}

static void test_not_viable_any_more(void **state)
{
	struct dr_hooks late = *dr_hooks;
	struct rig rig;

	(void)state;
	rig_open(&rig);
	fake_hooks = dr_hooks;
	late.ioctl = late_ioctl;
	dr_hooks = &late;
	assert_refused(&rig, NIC, -EBUSY);
	dr_hooks = fake_hooks;
	assert_int_equal(vfio_fake_calls(VFIO_GROUP_SET_CONTAINER), 1);
	assert_words("group 6", NIC1, "e1000e", NULL);
	rig_close(&rig);
}

static void test_members_share_their_group(void **state)
{
	struct dr_backend_device *a, *b;
	struct rig rig;

	(void)state;
	rig_open(&rig);
	a = rig_plug(&rig, NIC);
	b = rig_plug(&rig, NIC1);
	assert_int_equal(vfio_fake_fds_open(), 4);
	assert_int_equal(vfio_fake_calls(VFIO_GROUP_SET_CONTAINER), 1);
	assert_int_equal(vfio_fake_calls(VFIO_SET_IOMMU), 1);
	/* in either order */
	rig_detach(&rig, a);
	assert_int_equal(vfio_fake_calls(VFIO_GROUP_UNSET_CONTAINER), 0);
	a = rig_plug(&rig, NIC);
	rig_detach(&rig, b);
	assert_int_equal(vfio_fake_calls(VFIO_GROUP_UNSET_CONTAINER), 0);
	rig_detach(&rig, a);
	assert_int_equal(vfio_fake_calls(VFIO_GROUP_UNSET_CONTAINER), 1);
	rig_close(&rig);
}

static void test_member_in_another_domain(void **state)
{
	struct dr_backend_device *a, *b;
	struct rig one, two;

	(void)state;
	rig_open(&one);
	rig_open(&two);
	a = rig_plug(&one, NIC);
	assert_refused(&two, NIC1, -EBUSY);
	assert_words("group 6", NIC1, "another domain", NULL);
	assert_refused(&two, NIC, -EBUSY);
	/* another group is free to go elsewhere */
	b = rig_plug(&two, NVME);
	rig_detach(&one, a);
	a = rig_plug(&two, NIC1);
	assert_refused(&one, NIC, -EBUSY);
	rig_detach(&two, a);
	rig_detach(&two, b);
	rig_close(&one);
	rig_close(&two);
}

static void test_device_twice(void **state)
{
	struct dr_backend_device *bd;
	struct rig rig;

	(void)state;
	rig_open(&rig);
	bd = rig_plug(&rig, NVME);
	assert_refused(&rig, NVME, -EBUSY);
	assert_words(NVME, "open in this process already", NULL);
	assert_int_equal(vfio_fake_calls(VFIO_GROUP_GET_DEVICE_FD), 1);
	rig_detach(&rig, bd);
	rig_close(&rig);
}

static void test_options(void **state)
{
	static const uint32_t lacking[] = {
		DRAY_DEVICE_OPT_OUT, DRAY_DEVICE_NOFD, DRAY_DEVICE_ADOPT,
	};
	struct dray_device_opts opts = { .size = sizeof(opts), .flags = DRAY_DEVICE_UNTRUSTED };
	struct dr_backend_device *bd;
	struct rig rig;

	(void)state;
	rig_open(&rig);
	for (int i = 0; i < 3; i++) {
		struct dray_device_opts o = { .size = sizeof(o), .flags = lacking[i] };

		assert_int_equal(rig.be->ops->attach(rig.be, NVME, &o, &bd), -ENOTSUP);
		assert_words("flags", NULL);
	}
	assert_int_equal(rig.be->ops->attach(rig.be, NVME, &opts, &bd), 0);
	rig_detach(&rig, bd);
	rig_close(&rig);
}

static void test_device_refused(void **state)
{
	struct rig rig;

	(void)state;
	rig_open(&rig);
	vfio_fake_fail_nth(VFIO_GROUP_GET_DEVICE_FD, 1, ENODEV);
	assert_refused(&rig, NVME, -ENODEV);
	assert_words(NVME, "vfio-pci", NULL);
	vfio_fake_fail_nth(VFIO_GROUP_GET_DEVICE_FD, 1, EACCES);
	assert_refused(&rig, NVME, -EPERM);
	assert_words("VF token", NULL);
	vfio_fake_fail_nth(VFIO_GROUP_GET_DEVICE_FD, 1, EBUSY);
	assert_refused(&rig, NVME, -EBUSY);
	vfio_fake_fail_nth(VFIO_GROUP_GET_DEVICE_FD, 1, EMFILE);
	assert_refused(&rig, NVME, -ENOMEM);
	vfio_fake_fail_nth(VFIO_DEVICE_GET_REGION_INFO, 1, EIO);
	assert_refused(&rig, NVME, -EIO);
	assert_words("config space", NULL);
	vfio_fake_fail_nth(VFIO_SET_IOMMU, 1, EPERM);
	assert_refused(&rig, NVME, -EPERM);
	assert_words("allow_unsafe_interrupts", NULL);
	vfio_fake_fail_nth(VFIO_SET_IOMMU, 1, EBUSY);
	assert_refused(&rig, NVME, -EBUSY);
	vfio_fake_fail_nth(VFIO_GROUP_GET_STATUS, 1, EIO);
	assert_refused(&rig, NVME, -EIO);
	vfio_fake_fail_nth(VFIO_IOMMU_GET_INFO, 1, EIO);
	assert_refused(&rig, NVME, -EIO);
	assert_words("IOVA range", NULL);
	rig_detach(&rig, rig_attach(&rig, NVME));
	rig_close(&rig);
}

static void test_ranges_of_two_groups(void **state)
{
	struct dr_backend_device *a, *b;
	struct rig rig;

	(void)state;
	/* one that only sysfs tells, one that the kernel's list has too, one that may be used */
	vfio_fake_reserve(5, 0x10000, 0x1ffff, "reserved", false);
	vfio_fake_reserve(6, 0x7b000000, 0x7bffffff, "direct", true);
	vfio_fake_reserve(6, 0x20000000, 0x2fffffff, "direct-relaxable", false);
	rig_open(&rig);
	a = rig_plug(&rig, NVME);
	assert_int_equal(rig.be->limits.n_usable, 3);
	assert_int_equal(rig.be->limits.usable[0].last, 0xffff);
	assert_int_equal(rig.be->limits.usable[1].first, 0x20000);
	b = rig_plug(&rig, NIC);
	assert_int_equal(rig.be->limits.n_usable, 4);
	assert_int_equal(rig.be->limits.usable[1].last, 0x7affffff);
	assert_int_equal(rig.be->limits.usable[2].first, 0x7c000000);
	/* read again when a group leaves */
	rig_detach(&rig, a);
	assert_int_equal(rig.be->limits.n_usable, 3);
	assert_int_equal(rig.be->limits.usable[0].first, 0);
	assert_int_equal(rig.be->limits.usable[0].last, 0x7affffff);
	rig_detach(&rig, b);
	assert_int_equal(rig.be->limits.n_usable, 2);
	rig_close(&rig);
}

static void test_kernel_without_ranges(void **state)
{
	struct dr_backend_device *bd;
	struct rig rig;

	(void)state;
	vfio_fake_set_ranges(NULL, 0);
	vfio_fake_set_no_avail();
	vfio_fake_reserve(5, 0x200000, 0x2fffff, "reserved", false);
	rig_open(&rig);
	bd = rig_plug(&rig, NVME);
	assert_int_equal(rig.be->limits.n_usable, 3);
	assert_int_equal(rig.be->limits.usable[0].first, 0x100000);
	assert_int_equal(rig.be->limits.usable[0].last, 0x1fffff);
	assert_int_equal(rig.be->limits.usable[1].first, 0x300000);
	assert_int_equal(rig.be->limits.usable[2].last, (UINT64_C(1) << 39) - 1);
	assert_int_equal(rig.be->ops->entries_left(rig.be), 65535);
	rig_detach(&rig, bd);
	rig_close(&rig);
}

static void test_large_pages_only(void **state)
{
	static const struct dray_range odd[] = { { 0x1000, 0x2ffff }, { 0x31000, 0x3ffff } };
	struct dr_backend_device *bd;
	struct rig rig;

	(void)state;
	vfio_fake_set_page_sizes(0x20010000);
	vfio_fake_set_ranges(odd, 2);
	rig_open(&rig);
	bd = rig_plug(&rig, NVME);
	assert_int_equal(rig.be->limits.granule, 0x10000);
	assert_int_equal(rig.be->limits.page_sizes, 0x20010000);
	assert_int_equal(rig.be->limits.n_usable, 1);
	assert_int_equal(rig.be->limits.usable[0].first, 0x10000);
	assert_int_equal(rig.be->limits.usable[0].last, 0x2ffff);
	rig_detach(&rig, bd);
	rig_close(&rig);
}

static void test_nothing_usable(void **state)
{
	struct rig rig;

	(void)state;
	vfio_fake_reserve(5, 0, UINT64_MAX, "reserved", false);
	rig_open(&rig);
	assert_refused(&rig, NVME, -ERANGE);
	assert_words("IOVA range", "reserved_regions", NULL);
	rig_close(&rig);
}

static void test_second_group_in_conflict(void **state)
{
	struct dr_backend_device *bd;
	struct rig rig;
	size_t gone;
	void *va;

	(void)state;
	vfio_fake_reserve(6, 0x40000000, 0x4fffffff, "reserved", true);
	rig_open(&rig);
	bd = rig_plug(&rig, NVME);
	va = pages(4096);
	assert_int_equal(rig.be->ops->map(rig.be, 0x40000000, va, 4096, RW), 0);
	assert_refused(&rig, NIC, -ERANGE);
	assert_words("live mapping", NIC, NULL);
	vfio_fake_fail_nth(VFIO_GROUP_SET_CONTAINER, 1, EFAULT);
	assert_refused(&rig, NIC, -EFAULT);
	vfio_fake_fail_nth(VFIO_GROUP_SET_CONTAINER, 1, ENOMEM);
	assert_refused(&rig, NIC, -ENOMEM);
	assert_words("RLIMIT_MEMLOCK", NULL);
	assert_int_equal(rig.be->ops->unmap(rig.be, 0x40000000, 4096, &gone), 0);
	rig_detach(&rig, rig_plug(&rig, NIC));
	rig_detach(&rig, bd);
	rig_close(&rig);
	free_pages(va, 4096);
}

static void test_device_goes_and_comes_back(void **state)
{
	struct dr_backend_device *bd;
	struct rig rig;

	(void)state;
	rig_open(&rig);
	bd = rig_plug(&rig, NVME);
	rig_detach(&rig, bd);
	vfio_fake_remove_device(NVME);
	assert_refused(&rig, NVME, -ENODEV);
	vfio_fake_add_device(NVME, 7, "vfio-pci");
	bd = rig_plug(&rig, NVME);
	assert_true(vfio_fake_log_find("join group 7", 0) >= 0);
	rig_detach(&rig, bd);
	rig_close(&rig);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, machine_up, machine_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_attach),
		TEST(test_names),
		TEST(test_no_such_device),
		TEST(test_other_driver),
		TEST(test_no_group),
		TEST(test_group_node),
		TEST(test_not_viable),
		TEST(test_not_viable_any_more),
		TEST(test_members_share_their_group),
		TEST(test_member_in_another_domain),
		TEST(test_device_twice),
		TEST(test_options),
		TEST(test_device_refused),
		TEST(test_ranges_of_two_groups),
		TEST(test_kernel_without_ranges),
		TEST(test_large_pages_only),
		TEST(test_nothing_usable),
		TEST(test_second_group_in_conflict),
		TEST(test_device_goes_and_comes_back),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
