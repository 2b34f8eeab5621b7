// SPDX-License-Identifier: BSD-2-Clause
/* A VFIO device's registers, with a kernel that the test scripts. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include <cmocka.h>

#include <linux/vfio.h>

#include <dray/stats.h>

#include "base/hooks.h"
#include "nvme/vfio_bar.h"

#define FD         42
#define CONFIG_OFF 0x70000000000
#define BAR_OFF    0x10000000000
#define BAR_LEN    16384

/* What the fake kernel does. */
static struct {
	unsigned char config[64];
	unsigned fail_region; /* index, plus one */
	int fail_errno;
	uint32_t bar_flags;
	uint64_t bar_len;
	bool short_read, fail_write, fail_mmap;
	unsigned mmaps, munmaps, writes;
	unsigned char bar[BAR_LEN];
} k;

static int fake_ioctl(int fd, unsigned long request, void *arg)
{
	struct vfio_region_info *info = arg;

	assert_int_equal(fd, FD);
	assert_int_equal(request, VFIO_DEVICE_GET_REGION_INFO);
	assert_int_equal(info->argsz, sizeof(*info));
	if (k.fail_region == info->index + 1) {
		errno = k.fail_errno;
		return -1;
	}
	if (info->index == VFIO_PCI_CONFIG_REGION_INDEX) {
		info->offset = CONFIG_OFF;
		info->size = sizeof(k.config);
	} else {
		assert_int_equal(info->index, VFIO_PCI_BAR0_REGION_INDEX);
		info->offset = BAR_OFF;
		info->size = k.bar_len;
		info->flags = k.bar_flags;
	}
	return 0;
}

static ssize_t fake_pread(int fd, void *buf, size_t len, off_t off)
{
	assert_int_equal(fd, FD);
	assert_true(off >= CONFIG_OFF && off + (off_t)len <= CONFIG_OFF + (off_t)sizeof(k.config));
	if (k.short_read)
		return 1;
	memcpy(buf, k.config + (off - CONFIG_OFF), len);
	return (ssize_t)len;
}

static ssize_t fake_pwrite(int fd, const void *buf, size_t len, off_t off)
{
	assert_int_equal(fd, FD);
	k.writes++;
	if (k.fail_write) {
		errno = EPERM;
		return -1;
	}
	memcpy(k.config + (off - CONFIG_OFF), buf, len);
	return (ssize_t)len;
}

static void *fake_mmap(void *addr, size_t len, int prot, int flags, int fd, off_t off)
{
	assert_null(addr);
	assert_int_equal(len, k.bar_len);
	assert_int_equal(prot, PROT_READ | PROT_WRITE);
	assert_int_equal(flags, MAP_SHARED);
	assert_int_equal(fd, FD);
	assert_int_equal(off, BAR_OFF);
	if (k.fail_mmap) {
		errno = EINVAL;
		return MAP_FAILED;
	}
	k.mmaps++;
	return k.bar;
}

static int fake_munmap(void *addr, size_t len)
{
	assert_ptr_equal(addr, k.bar);
	assert_int_equal(len, k.bar_len);
	k.munmaps++;
	return 0;
}

static struct dr_hooks hooks;

static int setup(void **state)
{
	(void)state;
	memset(&k, 0, sizeof(k));
	/* Class 01 08 02 above the revision, as on the bus; memory and master off. */
	k.config[8] = 0x03;
	k.config[9] = 0x02;
	k.config[10] = 0x08;
	k.config[11] = 0x01;
	k.config[5] = 0x05; /* something in the command register that must stay */
	k.bar_flags = VFIO_REGION_INFO_FLAG_MMAP;
	k.bar_len = BAR_LEN;
	hooks = dr_hooks_system;
	hooks.ioctl = fake_ioctl;
	hooks.pread = fake_pread;
	hooks.pwrite = fake_pwrite;
	hooks.mmap = fake_mmap;
	hooks.munmap = fake_munmap;
	dr_hooks = &hooks;
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	dr_hooks = &dr_hooks_system;
	return 0;
}

/* It fails with @err, says @word, and leaves nothing mapped. */
static void refuses(int err, const char *word)
{
	struct nvme_vfio_bar bar = {0};

	assert_int_equal(nvme_vfio_bar_open(FD, "0000:01:00.0", &bar), -err);
	assert_non_null(strstr(dray_errmsg(), "0000:01:00.0"));
	assert_non_null(strstr(dray_errmsg(), word));
	assert_null(strchr(dray_errmsg(), '\n'));
	assert_null(bar.bar);
	assert_int_equal(k.mmaps, 0);
}

static void maps_and_lets_it_master_the_bus(void **state)
{
	struct nvme_vfio_bar bar = {0};

	(void)state;
	assert_int_equal(nvme_vfio_bar_open(FD, "0000:01:00.0", &bar), 0);
	assert_ptr_equal(bar.bar, k.bar);
	assert_int_equal(bar.len, BAR_LEN);
	/* Memory decoding and bus mastering on, the rest as it was. */
	assert_int_equal(k.config[4], 0x06);
	assert_int_equal(k.config[5], 0x05);
	nvme_vfio_bar_close(&bar);
	nvme_vfio_bar_close(&bar);
	assert_int_equal(k.munmaps, 1);
}

static void refuses_another_class(void **state)
{
	(void)state;
	k.config[9] = 0x00;
	refuses(ENODEV, "010800");
	/* It is somebody else's device: nothing was written to it. */
	assert_int_equal(k.writes, 0);
}

static void refuses_registers_that_cannot_be_mapped(void **state)
{
	(void)state;
	k.bar_flags = 0;
	refuses(ENOTSUP, "cannot be mapped");
	k.bar_flags = VFIO_REGION_INFO_FLAG_MMAP;
	k.bar_len = 0;
	refuses(ENOTSUP, "0 bytes");
	assert_int_equal(k.writes, 0);
}

static void kernel_failures_are_told(void **state)
{
	(void)state;
	k.fail_errno = ENOTTY;
	k.fail_region = VFIO_PCI_CONFIG_REGION_INDEX + 1;
	refuses(ENOTTY, "vfio-pci");
	k.fail_region = VFIO_PCI_BAR0_REGION_INDEX + 1;
	refuses(ENOTTY, "vfio-pci");
	k.fail_region = 0;
	k.short_read = true;
	refuses(EIO, "cut short");
	k.short_read = false;
	k.fail_write = true;
	refuses(EIO, "written");
	k.fail_write = false;
	k.fail_mmap = true;
	refuses(EINVAL, "mapping its registers failed");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(maps_and_lets_it_master_the_bus, setup, teardown),
		cmocka_unit_test_setup_teardown(refuses_another_class, setup, teardown),
		cmocka_unit_test_setup_teardown(refuses_registers_that_cannot_be_mapped, setup,
						teardown),
		cmocka_unit_test_setup_teardown(kernel_failures_are_told, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
