// SPDX-License-Identifier: BSD-2-Clause
/*
 * One device reads another's registers: an NVMe controller's BAR is mapped for QEMU's edu device in
 * the same domain, which copies the version register through the IOMMU into memory. The CPU reads the
 * register too, and both must see the same. What dray itself would do with such memory, copy it or
 * sync it, must be refused once it has been told what it is.
 *
 * usage: vm-peer NVME-ADDRESS EDU-ADDRESS
 */
#define _GNU_SOURCE
#include <dray/dray.h>

#include <endian.h>
#include <errno.h>
#include <inttypes.h>
#include <linux/pci_regs.h>
#include <linux/vfio.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "nvme/vfio_bar.h"

#define PAGE       4096
#define NVME_VS    8
#define EDU_SRC    0x80
#define EDU_DST    0x88
#define EDU_COUNT  0x90
#define EDU_CMD    0x98
#define EDU_BUFFER UINT64_C(0x40000)

static int fail(const char *what)
{
	fprintf(stderr, "vm-peer: %s: %s\n", what, dray_errmsg());
	return 1;
}

static int say(const char *what)
{
	fprintf(stderr, "vm-peer: %s\n", what);
	return 1;
}

static volatile unsigned char *edu_open(int fd)
{
	struct vfio_region_info info = { .argsz = sizeof(info), .index = VFIO_PCI_CONFIG_REGION_INDEX };
	unsigned char command[2];
	void *bar;

	if (ioctl(fd, VFIO_DEVICE_GET_REGION_INFO, &info) ||
	    pread(fd, command, 2, (off_t)info.offset + PCI_COMMAND) != 2)
		return NULL;
	command[0] |= PCI_COMMAND_MASTER | PCI_COMMAND_MEMORY;
	if (pwrite(fd, command, 2, (off_t)info.offset + PCI_COMMAND) != 2)
		return NULL;
	info = (struct vfio_region_info){ .argsz = sizeof(info), .index = VFIO_PCI_BAR0_REGION_INDEX };
	if (ioctl(fd, VFIO_DEVICE_GET_REGION_INFO, &info))
		return NULL;
	bar = mmap(NULL, info.size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, (off_t)info.offset);
	return bar == MAP_FAILED ? NULL : bar;
}

/* False: the device never came to its end. */
static bool edu_copy(volatile unsigned char *edu, uint64_t src, uint64_t dst, uint64_t len,
		     uint64_t command)
{
	const struct timespec ms = { .tv_nsec = 1000000 };

	__sync_synchronize();
	*(volatile uint64_t *)(edu + EDU_SRC) = htole64(src);
	*(volatile uint64_t *)(edu + EDU_DST) = htole64(dst);
	*(volatile uint64_t *)(edu + EDU_COUNT) = htole64(len);
	*(volatile uint64_t *)(edu + EDU_CMD) = htole64(command);
	for (int i = 0; i < 10000; i++, nanosleep(&ms, NULL))
		if (!(le64toh(*(volatile uint64_t *)(edu + EDU_CMD)) & 1))
			return true;
	return false;
}

static int run(struct dray_device *edu_dev, const struct nvme_vfio_bar *bar)
{
	volatile unsigned char *edu = edu_open(dray_device_fd(edu_dev));
	uint32_t want = *(volatile uint32_t *)((volatile char *)bar->bar + NVME_VS), got;
	struct dray_mapping peer, page, none;
	unsigned char *buf;
	void *va;

	if (!edu)
		return say("the edu device has no registers");
	if (dray_memory_set_class((void *)(uintptr_t)bar->bar, bar->len, DRAY_MEMORY_P2P))
		return fail("telling what the BAR is");
	if (dray_map(edu_dev, (void *)(uintptr_t)bar->bar, PAGE, DRAY_TO_DEVICE, 0, &peer))
		return fail("mapping the controller's BAR");
	if (dray_coherent_alloc(edu_dev, PAGE, 0, &va, &page))
		return fail("allocating a page");
	buf = va;
	memset(buf, 0xff, PAGE);
	if (!edu_copy(edu, peer.iova + NVME_VS, EDU_BUFFER, 4, 1) ||
	    !edu_copy(edu, EDU_BUFFER, page.iova, 4, 1 | 2))
		return say("the edu device does not come to its end");
	__sync_synchronize();
	memcpy(&got, buf, sizeof(got));
	printf("the CPU reads 0x%08" PRIx32 ", the edu device 0x%08" PRIx32 "\n", want, got);
	if (got != want)
		return say("they differ");
	if (dray_sync_for_cpu(edu_dev, &peer, 0, 4) != -ENOTSUP ||
	    dray_sync_for_device(edu_dev, &peer, 0, 4) != -ENOTSUP)
		return say("a sync of another device's memory was not refused");
	dray_unmap(edu_dev, &peer);
	if (!dray_map(edu_dev, (char *)(uintptr_t)bar->bar + 1, 9, DRAY_TO_DEVICE, 0, &none))
		dray_unmap(edu_dev, &none);
	else if (!strstr(dray_errmsg(), "device's memory"))
		return fail("a part of a granule of it");
	dray_coherent_free(edu_dev, va, &page);
	return 0;
}

int main(int argc, char **argv)
{
	struct dray_device_opts narrow = { .size = sizeof(narrow), .dma_mask = 0xfffffff };
	struct dray_domain_opts opts = { .size = sizeof(opts) };
	struct dray_device *nvme = NULL, *edu = NULL;
	struct nvme_vfio_bar bar = { 0 };
	struct dray_domain *dom = NULL;
	int ret;

	if (argc != 3) {
		fprintf(stderr, "usage: vm-peer NVME-ADDRESS EDU-ADDRESS\n");
		return 2;
	}
	if (dray_domain_open(&opts, &dom) || dray_device_open(dom, argv[1], NULL, &nvme) ||
	    dray_device_open(dom, argv[2], &narrow, &edu))
		ret = fail("opening the devices");
	else if (nvme_vfio_bar_open(dray_device_fd(nvme), argv[1], &bar))
		ret = fail("opening the controller's BAR");
	else
		ret = run(edu, &bar);
	nvme_vfio_bar_close(&bar);
	dray_device_close(edu);
	dray_device_close(nvme);
	dray_domain_close(dom);
	return ret;
}
