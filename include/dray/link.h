/* SPDX-License-Identifier: BSD-2-Clause */
/* Two-step mapping: reserve a window of IOVAs once, fill it piece by piece over time. */
#ifndef DRAY_LINK_H
#define DRAY_LINK_H

#include <dray/types.h>

#ifdef __cplusplus
extern "C" {
#endif

struct dray_link;

/**
 * dray_link_open() - reserve a window of IOVAs
 * @dev: the device; it lives until its last link is closed
 * @len: bytes; rounded up to whole granules
 * @flags: DRAY_MAP_NO_SYNC, DRAY_MAP_NO_BOUNCE
 * @ret_link: the window
 *
 * The window obeys the device's mask and, as long as it is not longer, its segment boundary.
 * Context: any thread; may allocate, issues no ioctl.
 * Return: 0; -EINVAL; -ENOSPC no room for it; -ENOMEM; -EMSGSIZE longer than the device's segment
 * limits; -EPERM forked child or a BLOCKED domain; -ENOTSUP an IDENTITY domain, which has no
 * addresses to reserve.
 */
DRAY_API int dray_link_open(struct dray_device *dev, size_t len, uint32_t flags,
			    struct dray_link **ret_link);

/** dray_link_iova() - where the window begins, at a granule; DRAY_IOVA_NONE for NULL */
DRAY_API dray_iova_t dray_link_iova(const struct dray_link *link);

/**
 * dray_link_add() - put a buffer into the window
 * @link: the window
 * @off: where in it, bytes; same offset in its granule as @va
 * @va: the buffer
 * @len: its length in bytes
 * @dir: which way data moves
 *
 * Pieces share no granule of the window. Granules at the buffer's ends that hold other memory as
 * well are copied while an untrusted device is in the domain, as are lines that a device which does
 * not see the CPU's caches would share. All or nothing: on failure the window is as before. The
 * device may rely on the piece after dray_link_sync().
 * Context: any thread, one call on a link at a time runs, the others wait; pins memory, may issue
 * ioctls.
 * Return: 0; -EINVAL a null pointer, an empty piece, one outside the window or at another offset
 * than @va; -EEXIST a granule of it is in use; -EFAULT; -ENOSPC; -ENOMEM; -ENOTSUP it would need a
 * copy and may not have one; -EPERM forked child.
 */
DRAY_API int dray_link_add(struct dray_link *link, size_t off, void *va, size_t len,
			   enum dray_dir dir);

/**
 * dray_link_sync() - make pieces ready for the device
 * @link: the window
 * @off: first byte
 * @len: how many; 0 is none
 *
 * Return: 0, and the device reaches all of [@off, @off + @len) with the bytes that were there;
 * -EINVAL outside the window, or nothing was added somewhere in it; -EPERM forked child.
 */
DRAY_API int dray_link_sync(struct dray_link *link, size_t off, size_t len);

/**
 * dray_link_remove() - take pieces out of the window
 * @link: the window
 * @off: first byte
 * @len: how many
 *
 * Every piece that lies in [@off, @off + @len) is unmapped; on return no device reaches it, in a
 * lazy domain too, and what a device wrote to a copy is in the buffer. A piece that lies there only
 * in part stays whole, and is logged.
 * Context: any thread; may issue ioctls; never allocates, never fails.
 */
DRAY_API void dray_link_remove(struct dray_link *link, size_t off, size_t len);

/**
 * dray_link_close() - take everything out and give the window back
 * @link: the window, or NULL
 * Context: any thread; no other call on the link may run. Never allocates, never fails.
 */
DRAY_API void dray_link_close(struct dray_link *link);

#ifdef __cplusplus
}
#endif
#endif
