/* SPDX-License-Identifier: BSD-2-Clause */
/* Memory that device and CPU share for its whole life: queues, rings, descriptors. */
#ifndef DRAY_COHERENT_H
#define DRAY_COHERENT_H

#include <dray/map.h>

#ifdef __cplusplus
extern "C" {
#endif

/**
 * dray_coherent_alloc() - allocate zeroed memory, mapped both ways for a device
 * @dev: the device
 * @len: bytes; rounded up to whole granules. The memory is aligned to its own size rounded up to a
 *       power of two, at most 2 MiB, and so is its IOVA.
 * @flags: 0
 * @ret_va: the memory
 * @ret_map: its receipt; @ret_map->len is @len
 *
 * Context: any thread; pins memory, may issue ioctls.
 * Return: 0; otherwise as dray_map().
 */
DRAY_API int dray_coherent_alloc(struct dray_device *dev, size_t len, uint32_t flags, void **ret_va,
				 struct dray_mapping *ret_map);

/**
 * dray_coherent_free() - unmap and free it
 * @dev: the device
 * @va: the memory, or NULL
 * @m: its receipt; zeroed on return
 *
 * If the device may still reach the memory, because the backend refused the unmap, the memory is
 * kept and counted with the quarantined bytes.
 * Context: any thread; never fails.
 */
DRAY_API void dray_coherent_free(struct dray_device *dev, void *va, struct dray_mapping *m);

#ifdef __cplusplus
}
#endif
#endif
