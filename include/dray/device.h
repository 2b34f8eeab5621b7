/* SPDX-License-Identifier: BSD-2-Clause */
/* What does DMA: open it in a domain, tell its limits, move it between domains. */
#ifndef DRAY_DEVICE_H
#define DRAY_DEVICE_H

#include <stdbool.h>

#include <dray/types.h>

#ifdef __cplusplus
extern "C" {
#endif

/* struct dray_device_opts, flags */
#define DRAY_DEVICE_UNTRUSTED   (1u << 0) /* may attack: strict, whole granules only */
#define DRAY_DEVICE_NONCOHERENT (1u << 1) /* does not snoop CPU caches */
#define DRAY_DEVICE_OPT_OUT     (1u << 2) /* install nothing on this device */
#define DRAY_DEVICE_NOFD        (1u << 3) /* limits only; dray_device_fd() is -ENOTSUP */
#define DRAY_DEVICE_ADOPT       (1u << 4) /* use @adopt_fd instead of opening the device */

/**
 * struct dray_device_opts - a device's limits; zero means none in every field but @size
 * @size: sizeof(struct dray_device_opts)
 * @flags: DRAY_DEVICE_*
 * @adopt_fd: with DRAY_DEVICE_ADOPT, an open VFIO device fd
 * @dma_mask: highest IOVA the device can send, as a mask of ones; 0 is no limit
 * @segment_boundary_mask: no segment crosses a multiple of this plus one; 0 is no limit
 * @max_segment: longest segment, bytes; 0 is no limit
 * @min_align: alignment of every segment's start, bytes, a power of two; 0 is none
 * @bounce_bytes: bounce pools of the device's own, at most so many bytes of them, whole granules; 0
 *                shares the domain's. All of the device's copies are in there, and nobody else's: a
 *                device that uses up the domain's pools takes nothing from this one, and this one
 *                nothing from the others. (A link's ends that are copied are in no pool.) When they
 *                are full a map that needs a copy is -ENOSPC, and one that a copy would only make
 *                cheaper is mapped. Nothing is mapped or pinned before its first use; then, as of
 *                the domain's pools, one stays. The device takes its wish along when it moves to
 *                another domain.
 */
struct dray_device_opts {
	size_t size;
	uint32_t flags;
	int adopt_fd;
	uint64_t dma_mask, segment_boundary_mask;
	size_t max_segment, min_align;
	size_t bounce_bytes;
};

/**
 * dray_device_open() - open a device in a domain
 * @dom: the domain
 * @name: "0000:01:00.0" on VFIO; "sim0", "sim1" … on the software IOMMU
 * @opts: its limits; NULL is none
 * @ret_dev: the device
 *
 * What was mapped in the domain before is replayed to the device. All or nothing: on failure
 * nothing is attached and the domain is as before.
 * Context: any thread; opens files, issues ioctls, pins what is mapped.
 * Return: 0; -EINVAL, bounce_bytes below two granules included; -E2BIG; -ENODEV no such device, or
 * not bound to vfio-pci (the message says which command binds it); -EBUSY it or its group is in use
 * or owned by another domain, or the group is not viable (the message names the foreign member);
 * -EPERM no right, untrusted on a backend that cannot isolate, forked child; -ERANGE, -EFAULT,
 * -ENOMEM, -ENOSPC a live mapping does not fit the real device; -ENOSPC no number left for its
 * bounce pools; -ENOTSUP a flag the backend lacks, or bounce_bytes where the domain forbids copies.
 */
DRAY_API int dray_device_open(struct dray_domain *dom, const char *name,
			      const struct dray_device_opts *opts, struct dray_device **ret_dev);

/**
 * dray_device_close() - close a device
 * @dev: the device, or NULL
 *
 * Bus mastering goes off first; then what the device left mapped is unmapped, and each such mapping
 * counted as a leak. Closing it twice is refused and logged.
 * Context: any thread; no other call on the device may run.
 */
DRAY_API void dray_device_close(struct dray_device *dev);

/**
 * dray_device_set_domain() - move a device to another domain
 * @dev: the device
 * @dom: where to
 *
 * Receipts stay in the domain they were made in, copies in the slots they have there. On failure the
 * device is where it was.
 * Return: 0, also where it is there already; -ENOTSUP the backend cannot replace atomically, or the
 * device has bounce_bytes and the domain forbids copies; -EINVAL domains of two backends, or
 * bounce_bytes below two granules of the other domain; -EBUSY the device shares its group with
 * another open device; -ENOMEM, -ENOSPC; -EPERM in a forked child.
 */
DRAY_API int dray_device_set_domain(struct dray_device *dev, struct dray_domain *dom);

/** dray_device_get_domain() - the domain a device is in; NULL for NULL */
DRAY_API struct dray_domain *dray_device_get_domain(const struct dray_device *dev);

/**
 * dray_device_set_mask() - say which IOVAs the device can send
 * @dev: the device
 * @mask: ones up to the highest address; 0 is no limit
 *
 * Return: 0; -EINVAL not a mask of ones; -EBUSY the device has a live mapping above it;
 * -ERANGE nothing in the domain lies below it.
 */
DRAY_API int dray_device_set_mask(struct dray_device *dev, uint64_t mask);

/**
 * dray_device_fd() - the VFIO device descriptor, for config space, BARs and interrupts
 * @dev: the device
 * Return: a descriptor that stays dray's; -ENOTSUP where there is none.
 */
DRAY_API int dray_device_fd(const struct dray_device *dev);

/* Bytes of struct dray_device_info's name, the 0 at its end included. */
#define DRAY_DEVICE_NAME 64

/**
 * struct dray_device_info - what a device is to the domain it is in
 * @size: sizeof(struct dray_device_info), set by the caller
 * @flags: DRAY_DEVICE_*, as it was opened
 * @trusted: 1: maps expose granules and pools to it; 0: it may attack, or another device of its
 *           domain may
 * @coherent: 1: it sees what the CPU's caches hold by default, so sync moves no cache lines; 0: it
 *            does not, or counts so
 * @enforces_coherency: 1: the IOMMU holds it to that even if it asks for accesses that do not snoop
 *                      (PCI Express: No Snoop); 0: nothing does, so the right to ask has been taken
 *                      from it, or @coherent is 0
 * @name: as it was opened
 * @dma_mask: highest IOVA it can send; all ones is no limit
 * @segment_boundary_mask: no segment crosses a multiple of this plus one; 0 is no limit
 * @max_segment: longest segment, bytes; 0 is no limit
 * @min_align: alignment of every segment's start, bytes; 0 is none
 * @bounce_bytes: most bytes of its own bounce pools in this domain; 0: it has none
 * @bounce_held_bytes: bytes those have now
 * @bounce_used_bytes: bytes of their slots that are out now, or that a backend would not let go of
 * @bounce_high_water_bytes: at least the most that was ever out at once
 */
struct dray_device_info {
	size_t size;
	uint32_t flags, trusted, coherent, enforces_coherency;
	char name[DRAY_DEVICE_NAME];
	uint64_t dma_mask, segment_boundary_mask;
	size_t max_segment, min_align;
	uint64_t bounce_bytes, bounce_held_bytes, bounce_used_bytes, bounce_high_water_bytes;
};

/**
 * dray_device_info() - what a device is to the domain it is in
 * @dev: the device
 * @inout: size set by the caller; filled up to that size
 *
 * Context: any thread; no ioctl. Waits for a device that is being attached to the domain, or a
 * bounce pool that is being made there.
 * Return: 0; -EINVAL no device, a closed one, no size or no struct; -EPERM in a forked child.
 */
DRAY_API int dray_device_info(const struct dray_device *dev, struct dray_device_info *inout);

/**
 * dray_max_mapping_size() - the longest buffer that one map call takes for a device
 * @dev: the device
 *
 * The device's segment limits and the domain's window; where every buffer has to be copied, what a
 * slot holds. A buffer that shares granules may need one granule more than its bytes.
 * Return: bytes; 0 for NULL, a closed device or a BLOCKED domain.
 */
DRAY_API size_t dray_max_mapping_size(const struct dray_device *dev);

/**
 * dray_opt_mapping_size() - up to which length mapping is cheapest per byte
 * @dev: the device
 * Return: bytes, at most dray_max_mapping_size(): what IOVA caches hold, 2 MiB with 4 KiB granules.
 */
DRAY_API size_t dray_opt_mapping_size(const struct dray_device *dev);

/**
 * dray_merge_boundary() - where buffers have to meet to become one segment of a list
 * @dev: the device
 *
 * A buffer that ends at a multiple of it and one that begins at a multiple of it become one segment,
 * wherever they are.
 * Return: bytes, a power of two: the granule; 0 never, because nothing translates.
 */
DRAY_API size_t dray_merge_boundary(const struct dray_device *dev);

/**
 * dray_bounce_present() - is a bounce pool mapped?
 * @dom: the domain; NULL is false
 *
 * None is before its first use, so this may become true later. One of a device's own counts too.
 */
DRAY_API bool dray_bounce_present(const struct dray_domain *dom);

/**
 * dray_device_uses_bounce() - may a buffer of this device have to be copied?
 * @dev: the device; NULL is false
 *
 * Because of its alignment, its mask, its or the domain's trust, its coherency, or because the
 * domain prefers copies up to some size.
 */
DRAY_API bool dray_device_uses_bounce(const struct dray_device *dev);

#ifdef __cplusplus
}
#endif
#endif
