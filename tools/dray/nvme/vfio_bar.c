// SPDX-License-Identifier: BSD-2-Clause
/*
 * Registers of a VFIO device
 *
 * 1. Each region of a VFIO device (six BARs, ROM, configuration space) is a range of offsets of the
 *    device descriptor; an ioctl tells where it is and whether it may be mapped.
 * 2. Configuration space is read and written with pread and pwrite. The class code tells an NVMe
 *    controller from anything else, before anything is written to it: 01h mass storage, 08h
 *    non-volatile memory, 02h NVM Express.
 * 3. The command register lets the device decode memory accesses to its BARs, and send its own:
 *    bus mastering is what DMA needs. It is on only between this call and the closing of the dray
 *    device, which turns it off before anything is unmapped.
 * 4. Every access to the kernel goes through dr_hooks, as the library's do, so the failures below
 *    can be shown without hardware.
 */
#include "nvme/vfio_bar.h"

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>

#include <linux/pci_regs.h>
#include <linux/vfio.h>

#include "base/err.h"
#include "base/hooks.h"
#include "nvme/le.h"
#include "nvme/regs.h"

#define CLASS_NVME 0x010802u

static int region(int fd, const char *name, uint32_t index, struct vfio_region_info *ret_info)
{
	*ret_info = (struct vfio_region_info){.argsz = sizeof(*ret_info), .index = index};
	if (dr_hooks->ioctl(fd, VFIO_DEVICE_GET_REGION_INFO, ret_info)) {
		int err = errno;

		return dr_fail(err, "%s: VFIO does not tell where region %u is: %s; check that the "
				    "device is bound to vfio-pci",
			       name, index, strerror(err));
	}
	return 0;
}

static int config(int fd, const char *name, uint64_t base, unsigned off, void *buf, size_t len,
		  bool write)
{
	off_t at = (off_t)(base + off);
	ssize_t n = write ? dr_hooks->pwrite(fd, buf, len, at) : dr_hooks->pread(fd, buf, len, at);

	if (n == (ssize_t)len)
		return 0;
	return dr_fail(EIO, "%s: configuration space at %#x cannot be %s: %s; check the device "
			    "with lspci -vv",
		       name, off, write ? "written" : "read",
		       n < 0 ? strerror(errno) : "cut short");
}

static int check_class(int fd, const char *name, uint64_t base)
{
	nvme_le32 word; /* revision, then three bytes of class */
	uint32_t class;
	int rc = config(fd, name, base, PCI_CLASS_REVISION, &word, sizeof(word), false);

	if (rc)
		return rc;
	class = nvme_from_le32(word) >> 8;
	if (class != CLASS_NVME)
		return dr_fail(ENODEV, "%s is no NVMe controller: its class is %06x, not %06x; "
				       "find one with `lspci -d ::0108`",
			       name, class, CLASS_NVME);
	return 0;
}

static int let_it_work(int fd, const char *name, uint64_t base)
{
	nvme_le16 command;
	int rc = config(fd, name, base, PCI_COMMAND, &command, sizeof(command), false);

	if (rc)
		return rc;
	command = nvme_to_le16(nvme_from_le16(command) | PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
	return config(fd, name, base, PCI_COMMAND, &command, sizeof(command), true);
}

int nvme_vfio_bar_open(int fd, const char *name, struct nvme_vfio_bar *ret_bar)
{
	struct vfio_region_info cfg, bar0;
	void *p;
	int rc;

	rc = region(fd, name, VFIO_PCI_CONFIG_REGION_INDEX, &cfg);
	if (!rc)
		rc = check_class(fd, name, cfg.offset);
	if (!rc)
		rc = region(fd, name, VFIO_PCI_BAR0_REGION_INDEX, &bar0);
	if (rc)
		return rc;
	if (!(bar0.flags & VFIO_REGION_INFO_FLAG_MMAP) || bar0.size <= NVME_REG_DBS)
		return dr_fail(ENOTSUP, "%s: its registers (BAR 0, %llu bytes) cannot be mapped; "
					"check that the machine gave it memory: lspci -vv",
			       name, (unsigned long long)bar0.size);
	rc = let_it_work(fd, name, cfg.offset);
	if (rc)
		return rc;
	p = dr_hooks->mmap(NULL, bar0.size, PROT_READ | PROT_WRITE, MAP_SHARED, fd,
			   (off_t)bar0.offset);
	if (p == MAP_FAILED) {
		int err = errno;

		return dr_fail(err, "%s: mapping its registers failed: %s; check the kernel log",
			       name, strerror(err));
	}
	ret_bar->bar = p;
	ret_bar->len = bar0.size;
	return 0;
}

void nvme_vfio_bar_close(struct nvme_vfio_bar *bar)
{
	if (bar->bar)
		dr_hooks->munmap(bar->bar, bar->len);
	bar->bar = NULL;
	bar->len = 0;
}
