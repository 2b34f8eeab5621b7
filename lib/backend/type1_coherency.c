// SPDX-License-Identifier: BSD-2-Clause
/*
 * Does a device see the CPU's caches, and is it held to that?
 *
 * 1. VFIO maps memory so that accesses snoop, and refuses devices on machines where they would not.
 *    A PCI Express device may still ask, access by access, that they do not: No Snoop. An IOMMU
 *    that can overrule it enforces coherency, and the container says whether all of its do. It is
 *    a property of its own: devices are coherent by default with or without it.
 *
 * 2. Where nothing overrules the device, it loses the right to ask: a bit in its config space, which
 *    its driver could set again, but has no reason to. A device that keeps the bit, or will not show
 *    it, counts as noncoherent, and costs what that costs. Conventional PCI has no such attribute.
 *
 * 3. What can fail: only a device that counts as noncoherent, on a CPU whose caches a program cannot
 *    clean. Called while the device is attached, by the thread that does that.
 */
#include "backend/type1.h"
#include "base/err.h"
#include "base/hooks.h"

#include <linux/pci_regs.h>
#include <linux/vfio.h>
#include <syslog.h>

/* Capabilities in 192 bytes, 4 each at least: who follows more links goes round. */
#define MAX_CAPS 48

static bool read_config(const struct dr_type1_device *d, unsigned at, uint8_t *ret_bytes, size_t n)
{
	return dr_hooks->pread(d->fd, ret_bytes, n, (off_t)(d->config_offset + at)) == (ssize_t)n;
}

/* Where the PCI Express capability is, 0: there is none. False: config space does not answer. */
static bool find_express(const struct dr_type1_device *d, unsigned *ret_at)
{
	uint8_t status, cap[2];
	uint8_t next;

	*ret_at = 0;
	if (!read_config(d, PCI_STATUS, &status, 1))
		return false;
	if (!(status & PCI_STATUS_CAP_LIST))
		return true;
	if (!read_config(d, PCI_CAPABILITY_LIST, &next, 1))
		return false;
	for (unsigned i = 0; i < MAX_CAPS && next >= PCI_STD_HEADER_SIZEOF; i++, next = cap[1]) {
		next &= 0xfc;
		if (!read_config(d, next, cap, sizeof(cap)))
			return false;
		if (cap[0] == PCI_CAP_ID_EXP) {
			*ret_at = next;
			return true;
		}
	}
	return true;
}

/* Take the right to ask for No Snoop from a device. False: it may still have it. */
static bool forbid_no_snoop(const struct dr_type1_device *d)
{
	const uint8_t no_snoop = PCI_EXP_DEVCTL_NOSNOOP_EN >> 8;
	unsigned at;
	uint8_t high; /* of the control register: little-endian, as config space is */

	if (!find_express(d, &at))
		return false;
	if (!at)
		return true;
	at += PCI_EXP_DEVCTL + 1;
	if (!read_config(d, at, &high, 1))
		return false;
	if (!(high & no_snoop))
		return true;
	high &= (uint8_t)~no_snoop;
	dr_hooks->pwrite(d->fd, &high, 1, (off_t)(d->config_offset + at));
	/* Asked, not assumed: what the kernel passes on of a write is its own affair. */
	return read_config(d, at, &high, 1) && !(high & no_snoop);
}

int dr_type1_coherency(struct dr_type1 *t, struct dr_type1_device *d, uint32_t flags)
{
	bool coherent = !(flags & DRAY_DEVICE_NONCOHERENT);

	d->base.enforces_coherency = dr_hooks->ioctl(t->container, VFIO_CHECK_EXTENSION,
						     (void *)(uintptr_t)VFIO_DMA_CC_IOMMU) == 1;
	if (coherent && !d->base.enforces_coherency && !forbid_no_snoop(d)) {
		dr_log(t->base.log, LOG_WARNING, "%s may ask for accesses that do not snoop, and "
		       "nothing overrules it: its mappings are cleaned and dropped from caches",
		       d->name);
		coherent = false;
	}
	atomic_store_explicit(&d->base.coherent, coherent, memory_order_relaxed);
	return coherent ? 0 : dr_cpu_check();
}
