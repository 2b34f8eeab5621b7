/* SPDX-License-Identifier: BSD-2-Clause */
/* Register memory once; from then on mapping inside it is a lookup. */
#ifndef DRAY_REGION_H
#define DRAY_REGION_H

#include <dray/types.h>

#ifdef __cplusplus
extern "C" {
#endif

struct dray_region;

/* dray_region_register and dray_region_register_at, flags */
#define DRAY_REGION_READ_ONLY       (1u << 0) /* devices read it; only TO_DEVICE maps are lookups */
#define DRAY_REGION_DONTFORK        (1u << 1) /* forked children do not get the memory */
#define DRAY_REGION_SHARE_UNTRUSTED (1u << 2) /* untrusted devices may reach all of it */
#define DRAY_REGION_PREMAPPED       (1u << 3) /* _at only: someone else maps it, not dray */

/**
 * dray_region_register() - make memory reachable for every device, until it is unregistered
 * @dom: the domain
 * @va: granule-aligned
 * @len: bytes; a multiple of the granule
 * @flags: DRAY_REGION_*
 * @ret_region: what dray_region_unregister() takes
 *
 * All of it is pinned and mapped now, by one backend call where the backend's limits allow, at an
 * IOVA congruent to @va modulo 2 MiB if it is that long and there is room. dray_map() of a buffer
 * that is whole inside it makes no system call and exposes nothing new; a buffer that straddles its
 * edge is mapped as if the region were absent. Devices attached later reach it as well. The memory
 * must stay mapped in the process. Shared, file-backed and huge-page memory can be registered; what
 * the kernel cannot pin is -EFAULT.
 *
 * A region keeps its domain alive.
 * Context: any thread; pins memory, may issue ioctls.
 * Return: 0; -EINVAL not whole granules, empty or overflowing, unknown flags; -EEXIST overlaps a
 * region; -EFAULT cannot be pinned, or is read-only and DRAY_REGION_READ_ONLY is missing; -ENOSPC
 * no IOVA or no mapping entries left; -ENOMEM no memory, or the locked-memory limit (named in the
 * message); -EPERM forked child, a BLOCKED domain, or an untrusted device is attached and
 * DRAY_REGION_SHARE_UNTRUSTED is missing.
 */
DRAY_API int dray_region_register(struct dray_domain *dom, void *va, size_t len, uint32_t flags,
				  struct dray_region **ret_region);

/**
 * dray_region_register_at() - the same at an address of the caller's choice
 * @dom: the domain
 * @iova: granule-aligned
 * @va: granule-aligned
 * @len: bytes; a multiple of the granule
 * @flags: DRAY_REGION_*, DRAY_REGION_PREMAPPED too
 * @ret_region: what dray_region_unregister() takes
 *
 * With DRAY_REGION_PREMAPPED the caller says that someone else has made [@iova, @iova + @len) lead
 * to the memory, for every device that will use it, and keeps it so until the region is
 * unregistered: dray maps, pins and unmaps nothing. The range may lie outside the domain's window,
 * or inside it where nothing is live: there it is kept from other use, unless it is reserved
 * already.
 *
 * After unregistering the address is again what it was: managed, or reserved.
 * Return: as dray_region_register(), and -EEXIST overlaps something live or a hole; -ERANGE outside
 * the domain's window (PREMAPPED: partly outside it), or an IDENTITY domain and @iova is not @va.
 */
DRAY_API int dray_region_register_at(struct dray_domain *dom, dray_iova_t iova, void *va,
				     size_t len, uint32_t flags, struct dray_region **ret_region);

/**
 * dray_region_unregister() - undo either
 * @region: the region
 *
 * On return no device reaches the memory through it. Of two threads that unregister one region at
 * the same time one wins.
 * Context: any thread; waits for a grace period; may issue ioctls.
 * Return: 0; -EBUSY mappings inside it are out, or another thread is at it; -EINVAL NULL, or it is
 * not registered any more; -EPERM forked child; another errno from the backend, which refused to
 * unmap: the region is gone, its IOVAs are quarantined, the domain is damaged, and the memory must
 * stay because devices may still reach it.
 */
DRAY_API int dray_region_unregister(struct dray_region *region);

/**
 * dray_translate() - where registered memory is
 * @dom: the domain
 * @va: any address
 * @inout_len: how much of it is wanted; becomes how much of that goes on from there without a gap.
 *             NULL: one byte
 *
 * Nothing is counted: the answer holds as long as the region is registered, which is the caller's
 * to see to.
 * Context: any thread; takes no lock, writes no shared line, makes no system call.
 * Return: the IOVA; DRAY_IOVA_NONE where nothing is registered, or for a length of 0 (*inout_len
 * is unchanged).
 */
DRAY_API dray_iova_t dray_translate(const struct dray_domain *dom, const void *va,
				    size_t *inout_len);

#ifdef __cplusplus
}
#endif
#endif
