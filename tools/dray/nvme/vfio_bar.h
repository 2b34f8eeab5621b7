/* SPDX-License-Identifier: BSD-2-Clause */
/* A real controller's registers, through its VFIO device descriptor. */
#ifndef NVME_VFIO_BAR_H
#define NVME_VFIO_BAR_H

#include <stddef.h>

struct nvme_vfio_bar {
	void *bar;
	size_t len;
};

/*
 * Check that the device behind @fd, called @name in messages, is an NVMe controller; let it decode
 * its registers and master the bus; map BAR 0. -ENODEV it is something else; -ENOTSUP its registers
 * cannot be mapped; -EIO configuration space fails. On failure nothing is mapped.
 */
int nvme_vfio_bar_open(int fd, const char *name, struct nvme_vfio_bar *ret_bar);
/* Unmap; a zeroed one is a no-op. Bus mastering stays: closing the dray device ends it. */
void nvme_vfio_bar_close(struct nvme_vfio_bar *bar);

#endif
