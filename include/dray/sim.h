/* SPDX-License-Identifier: BSD-2-Clause */
/* The software IOMMU from the other side: be the device, and set what the hardware costs. */
#ifndef DRAY_SIM_H
#define DRAY_SIM_H

#include <dray/types.h>

#ifdef __cplusplus
extern "C" {
#endif

#define DRAY_SIM_READ  (1u << 0)
#define DRAY_SIM_WRITE (1u << 1)

/* Why an access faulted. */
#define DRAY_SIM_FAULT_NOT_PRESENT 1u /* no entry at @level */
#define DRAY_SIM_FAULT_PERMISSION  2u /* the entry does not allow the access */
#define DRAY_SIM_FAULT_APERTURE    3u /* above what the tables can translate */
#define DRAY_SIM_FAULT_BLOCKED     4u /* the device is in no domain, or in a BLOCKED one */

/* dray_sim_set_cost, flags */
#define DRAY_SIM_NOCHECK (1u << 0) /* do not ask the kernel whether memory can be pinned */

/**
 * struct dray_sim_fault - one refused access
 * @iova: the address
 * @access: DRAY_SIM_READ or DRAY_SIM_WRITE
 * @reason: DRAY_SIM_FAULT_*
 * @level: table level at which the walk ended, 4 (root) to 1 (leaf); 0 where none was read
 * @pad: zero
 */
struct dray_sim_fault {
	dray_iova_t iova;
	uint32_t access;
	uint32_t reason, level, pad;
};

/**
 * dray_sim_read() - DMA: the device reads host memory
 * @dev: a device of the software IOMMU
 * @iova: where from
 * @buf: where to
 * @len: bytes
 *
 * Goes through the IOTLB and the page tables as a device does; bytes before a fault have moved.
 * Context: any thread, also while others map and unmap.
 * Return: 0; -EFAULT with a fault record; -EINVAL; -ENOTSUP another backend's device.
 */
DRAY_API int dray_sim_read(struct dray_device *dev, dray_iova_t iova, void *buf, size_t len);

/** dray_sim_write() - DMA: the device writes host memory; see dray_sim_read() */
DRAY_API int dray_sim_write(struct dray_device *dev, dray_iova_t iova, const void *buf, size_t len);

/**
 * dray_sim_faults() - take fault records, oldest first
 * @dev: the device
 * @out: room for @n records
 * @n: how many at most
 *
 * The record is bounded; dray_sim_fault_overflow() counts what did not fit.
 * Return: how many were taken; -EINVAL; -ENOTSUP.
 */
DRAY_API int dray_sim_faults(struct dray_device *dev, struct dray_sim_fault *out, unsigned n);

/** dray_sim_fault_overflow() - how many fault records were lost because the record was full */
DRAY_API uint64_t dray_sim_fault_overflow(struct dray_device *dev);

/**
 * dray_sim_set_cost() - what the modelled hardware costs
 * @dom: a domain on the software IOMMU
 * @invalidate_ns: nanoseconds spun for each invalidation, under the one queue lock
 * @pin_ns_per_page: nanoseconds spun for each granule mapped, outside every lock
 * @flags: DRAY_SIM_NOCHECK
 *
 * A domain that measures what mapping costs (DRAY_BOUNCE_AUTO) does so again.
 * Return: 0; -EINVAL; -ENOTSUP another backend's domain.
 */
DRAY_API int dray_sim_set_cost(struct dray_domain *dom, uint32_t invalidate_ns,
			       uint32_t pin_ns_per_page, uint32_t flags);

/**
 * struct dray_sim_walk - one page-table walk, level by level
 * @size: sizeof(struct dray_sim_walk), set by the caller
 * @levels: how many entries were read
 * @page_shift: log2 of the page that maps the address; 0 where none does
 * @entry: the raw entries, root first
 */
struct dray_sim_walk {
	size_t size;
	uint32_t levels, page_shift;
	uint64_t entry[4];
};

/**
 * dray_sim_walk() - show how the tables translate an address
 * @dom: a domain on the software IOMMU
 * @iova: the address
 * @inout: size set by the caller
 * Return: 0, also where nothing is mapped; -EINVAL; -ERANGE above the tables; -ENOTSUP.
 */
DRAY_API int dray_sim_walk(struct dray_domain *dom, dray_iova_t iova, struct dray_sim_walk *inout);

#ifdef __cplusplus
}
#endif
#endif
