/* SPDX-License-Identifier: BSD-2-Clause */
/* Map a list of buffers at once: one IOVA allocation, few segments, one unmap. */
#ifndef DRAY_SG_H
#define DRAY_SG_H

#include <sys/uio.h>

#include <dray/types.h>

#ifdef __cplusplus
extern "C" {
#endif

/**
 * struct dray_sg - one element of a list, and one segment of its result
 * @va: the element's buffer; any alignment. Set by the caller, never changed.
 * @len: its length in bytes, more than 0. Set by the caller, never changed.
 * @iova: where segment i begins, in element i of the list
 * @dma_len: the segment's length in bytes
 * @cookie: dray's own
 *
 * Elements and segments share an array and are not the same thing: buffers that meet at a boundary
 * become one segment, so there are at most as many segments as elements. Segments follow the order
 * of the elements, and their lengths add up to the same. The array is the caller's: dray allocates
 * nothing for it, and it has to stay until dray_unmap_sg().
 */
struct dray_sg {
	void *va;
	size_t len;
	dray_iova_t iova;
	size_t dma_len;
	uint64_t cookie[2];
};

/**
 * dray_sg_from_iov() - turn an I/O vector into a list
 * @iov: the vector
 * @n: how many elements it has
 * @ret_sg: room for @n elements, each filled with an address, a length and zeros
 *
 * Elements of length 0, which a vector may have and a list may not, are left out.
 * Context: any thread; never fails, never allocates.
 * Return: how many elements were filled, to be passed on as the list's length.
 */
DRAY_API unsigned dray_sg_from_iov(const struct iovec *iov, unsigned n, struct dray_sg *ret_sg);

/**
 * dray_map_sg() - make a list of buffers reachable for a device
 * @dev: the device
 * @sg: the list: @va and @len of each element are set; the rest is filled here
 * @n: how many elements it has, more than 0
 * @dir: which way data moves, the same for all
 * @flags: DRAY_MAP_*
 *
 * All or nothing: on any failure nothing is mapped and no element is written. No segment is longer
 * than the device's max_segment or crosses its segment_boundary_mask. Elements may overlap.
 * Context: any thread; pins memory, may issue ioctls.
 * Return: how many segments there are, in sg[0] to sg[result - 1], more than 0 and at most @n;
 * -EINVAL a null pointer, @n of 0, an empty or overflowing element, unknown bits; -EMSGSIZE the
 * device's limits would make more than @n segments; otherwise as dray_map().
 */
DRAY_API int dray_map_sg(struct dray_device *dev, struct dray_sg *sg, unsigned n,
			 enum dray_dir dir, uint32_t flags);

/**
 * dray_unmap_sg() - take a list back
 * @dev: the device it was mapped on
 * @sg: the list as dray_map_sg() left it. A list that is not mapped is a no-op.
 * @n: how many elements were passed to dray_map_sg(), not how many segments it returned
 *
 * In a strict domain no device reaches a buffer through this mapping when the call returns. @va and
 * @len stay, so that the list can be mapped again.
 * Context: any thread; may issue ioctls; never allocates, never fails.
 */
DRAY_API void dray_unmap_sg(struct dray_device *dev, struct dray_sg *sg, unsigned n);

/**
 * dray_sync_sg_for_device() - make what the CPU wrote to a list visible to the device
 * @dev: the device
 * @sg: the list, mapped
 * @n: how many elements were passed to dray_map_sg()
 *
 * Context: any thread; no ioctl.
 * Return: 0; -EINVAL a list that is not mapped, or not with @n elements.
 */
DRAY_API int dray_sync_sg_for_device(struct dray_device *dev, struct dray_sg *sg, unsigned n);

/**
 * dray_sync_sg_for_cpu() - make what the device wrote to a list visible to the CPU
 * @dev: the device
 * @sg: the list, mapped
 * @n: how many elements were passed to dray_map_sg()
 *
 * Context: any thread; no ioctl.
 * Return: 0; -EINVAL a list that is not mapped, or not with @n elements.
 */
DRAY_API int dray_sync_sg_for_cpu(struct dray_device *dev, struct dray_sg *sg, unsigned n);

#ifdef __cplusplus
}
#endif
#endif
