/* SPDX-License-Identifier: BSD-2-Clause */
/* Map a buffer for a device, and unmap it. */
#ifndef DRAY_MAP_H
#define DRAY_MAP_H

#include <dray/types.h>

#ifdef __cplusplus
extern "C" {
#endif

/* dray_map and dray_map_fixed, flags */
#define DRAY_MAP_NO_SYNC   (1u << 0) /* the caller syncs */
#define DRAY_MAP_NO_BOUNCE (1u << 1) /* -ENOTSUP instead of a copy */

/**
 * struct dray_mapping - the receipt of one map call
 * @iova: where the device finds the buffer
 * @len: its length in bytes
 * @cookie: dray's own
 *
 * Owned by the caller and needed to unmap: there is no lookup. All zero is "nothing mapped".
 */
struct dray_mapping {
	dray_iova_t iova;
	size_t len;
	uint64_t cookie[2];
};

/**
 * dray_map() - make a buffer reachable for a device
 * @dev: the device
 * @va: the buffer; any alignment
 * @len: its length in bytes
 * @dir: which way data moves
 * @flags: DRAY_MAP_*
 * @ret_map: the receipt
 *
 * Context: any thread; pins memory, may issue ioctls.
 * Return: 0; -EINVAL a null pointer, an empty or overflowing range, unknown bits; -EFAULT memory
 * that is not there or not writable for a device that writes; -ENOSPC no IOVA below the device's
 * mask or no mapping entries left; -ENOMEM no memory, or the locked-memory limit (named in the
 * message); -EMSGSIZE the device's segment limits would cut it; -ENOTSUP it would need a copy;
 * -EPERM forked child or a BLOCKED domain; -ERANGE outside the mask in an IDENTITY domain;
 * without any IOMMU the buffer is copied instead.
 */
DRAY_API int dray_map(struct dray_device *dev, void *va, size_t len, enum dray_dir dir,
		      uint32_t flags, struct dray_mapping *ret_map);

/**
 * dray_unmap() - take it back
 * @dev: the device it was mapped on
 * @m: the receipt; zeroed on return. A zeroed one is a no-op.
 *
 * In a strict domain no device reaches the buffer through this mapping when the call returns. What
 * the backend refuses to unmap is quarantined, logged, and marks the domain damaged.
 * Context: any thread; may issue ioctls; never allocates, never fails.
 */
DRAY_API void dray_unmap(struct dray_device *dev, struct dray_mapping *m);

/**
 * dray_map_fixed() - dray_map() at an address of the caller's choice
 * @dev: the device
 * @iova: anywhere not live and not a hole; same offset in its granule as @va
 * @va: the buffer
 * @len: its length in bytes
 * @dir: which way data moves
 * @flags: DRAY_MAP_*
 * @ret_map: the receipt
 *
 * After unmap the address is again what it was: managed, or reserved.
 * Return: as dray_map(), and -EEXIST overlaps something live or a hole; -ERANGE outside the
 * domain's window or the device's mask; -EINVAL another offset than @va.
 */
DRAY_API int dray_map_fixed(struct dray_device *dev, dray_iova_t iova, void *va, size_t len,
			    enum dray_dir dir, uint32_t flags, struct dray_mapping *ret_map);

/* What memory is, where it is not ordinary. */
enum dray_memory_class {
	DRAY_MEMORY_RAM,    /* ordinary: what all memory is until somebody tells */
	DRAY_MEMORY_P2P,    /* another device's, such as a BAR: devices reach it, the CPU copies none */
	DRAY_MEMORY_NO_CPU, /* lent away: devices reach it, the CPU must not */
};

/**
 * dray_memory_set_class() - tell what memory is
 * @va: where it begins
 * @len: how many bytes; more than 0
 * @class_: what it is from now on, for the whole process
 *
 * Mappings stay as they are and may be made as ever; whether a device reaches such memory is for the
 * backend to say. What dray would have to do itself is refused with -ENOTSUP as long as the class
 * lasts: copy it through a bounce pool, or sync it. A copy that is taken back meanwhile stays where it
 * is, is not brought to the buffer, and is logged. Tell again, RAM, before the memory is anything else.
 * Context: any thread; allocates, waits for a grace period.
 * Return: 0; -EINVAL no range, or an unknown class; -ENOMEM, and nothing changed.
 */
DRAY_API int dray_memory_set_class(void *va, size_t len, enum dray_memory_class class_);

/* Why a buffer is copied; the first of these that holds. */
enum dray_bounce_reason {
	DRAY_BOUNCE_NO,      /* it is not: the device reaches the buffer itself */
	DRAY_BOUNCE_MASK,    /* it lies above what the device reaches */
	DRAY_BOUNCE_ALIGN,   /* the device needs another alignment */
	DRAY_BOUNCE_EDGE,    /* an untrusted device would see other memory in its granules */
	DRAY_BOUNCE_LINE,    /* cache maintenance would hit other memory in its cache lines */
	DRAY_BOUNCE_PIN,     /* the backend cannot pin it */
	DRAY_BOUNCE_CHEAPER, /* copying costs less than mapping */
};

/**
 * dray_bounce_reason_at() - is what a device finds at an IOVA a copy, and why?
 * @dom: the domain it was mapped in; NULL is no copy
 * @iova: any byte of a mapping: of a receipt, of a segment of a list, of a link's window
 *
 * By IOVA, as dray_iova_to_va(), because that is what all three have: in a list each element goes
 * its own way, in a link each end of a piece. struct dray_stats counts the same reasons.
 * Context: any thread, also beside maps and unmaps of other IOVAs; takes a lock where it finds no
 * slot, because a link may have one's end there.
 * Return: the reason; DRAY_BOUNCE_NO where nothing is mapped.
 */
DRAY_API enum dray_bounce_reason dray_bounce_reason_at(const struct dray_domain *dom,
						       dray_iova_t iova);

/** dray_bounce_reason_name() - a reason in words, such as "device alignment"; never NULL */
DRAY_API const char *dray_bounce_reason_name(enum dray_bounce_reason reason);

/**
 * dray_sync_for_device() - make what the CPU wrote visible to the device
 * @dev: the device
 * @m: the receipt
 * @off: first byte, from the start of the mapping
 * @len: how many bytes
 * Context: any thread; no ioctl.
 * Return: 0; -EINVAL outside the mapping, or a receipt that is not live.
 */
DRAY_API int dray_sync_for_device(struct dray_device *dev, const struct dray_mapping *m, size_t off,
				  size_t len);

/** dray_sync_for_cpu() - make what the device wrote visible to the CPU; see dray_sync_for_device() */
DRAY_API int dray_sync_for_cpu(struct dray_device *dev, const struct dray_mapping *m, size_t off,
			       size_t len);

/**
 * dray_sync_iova_for_device() - dray_sync_for_device() where there is no receipt
 * @dev: the device
 * @iova: the first byte's address, in explicit or linked mappings of the device's domain
 * @len: how many bytes
 * @dir: which way data moves
 *
 * Context: any thread; no ioctl.
 * Return: 0; -EINVAL not all of it is mapped, and then nothing was moved; -EPERM forked child;
 * -ERANGE it passes the last address.
 */
DRAY_API int dray_sync_iova_for_device(struct dray_device *dev, dray_iova_t iova, size_t len,
				       enum dray_dir dir);

/** dray_sync_iova_for_cpu() - dray_sync_for_cpu() likewise; see dray_sync_iova_for_device() */
DRAY_API int dray_sync_iova_for_cpu(struct dray_device *dev, dray_iova_t iova, size_t len,
				    enum dray_dir dir);

/**
 * dray_iova_to_va() - where an IOVA leads
 * @dom: the domain
 * @iova: any address
 *
 * Context: any thread; takes no lock, writes no shared line.
 * Return: the address behind any live mapping; NULL otherwise.
 */
DRAY_API void *dray_iova_to_va(const struct dray_domain *dom, dray_iova_t iova);

#ifdef __cplusplus
}
#endif
#endif
