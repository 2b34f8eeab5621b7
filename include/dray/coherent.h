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

struct dray_pool;

/**
 * dray_pool_open() - a pool of small coherent blocks: queue entries, PRP lists, descriptors
 * @dev: the device; it lives until its last pool is closed
 * @block: bytes of a block, at least 1
 * @align: alignment of a block's address and IOVA, a power of two; 0 is 8
 * @boundary: no block crosses a multiple of it, a power of two; 0 is none
 * @ret_pool: the pool
 *
 * Memory is mapped as blocks are asked for, a granule or more at a time, and stays mapped until the
 * pool is closed, so blocks come and go without a backend call.
 * Context: any thread; allocates, issues no ioctl.
 * Return: 0; -EINVAL a block of no bytes, an alignment or boundary that is no power of two, or a
 * boundary that no block can keep; -ENOMEM; -EPERM forked child.
 */
DRAY_API int dray_pool_open(struct dray_device *dev, size_t block, size_t align, size_t boundary,
			    struct dray_pool **ret_pool);

/**
 * dray_pool_alloc() - take a block
 * @pool: the pool
 * @ret_iova: where the device finds it
 *
 * Context: any thread; may pin memory and issue ioctls.
 * Return: the block, zeroed; NULL: no memory or no IOVA, and dray_errmsg() says which.
 */
DRAY_API void *dray_pool_alloc(struct dray_pool *pool, dray_iova_t *ret_iova);

/**
 * dray_pool_free() - give a block back
 * @pool: the pool
 * @va: the block, or NULL
 * @iova: where the device found it
 *
 * A block that is not out, or not at @iova, is refused: dray_errmsg() says so and the domain counts
 * it among its bad unmaps.
 * Context: any thread; never allocates, never fails.
 */
DRAY_API void dray_pool_free(struct dray_pool *pool, void *va, dray_iova_t iova);

/**
 * dray_pool_close() - give all of its memory back
 * @pool: the pool, or NULL
 *
 * Blocks that are still out are counted as leaks and end with it.
 * Context: any thread; no other call on the pool may run.
 */
DRAY_API void dray_pool_close(struct dray_pool *pool);

#ifdef __cplusplus
}
#endif
#endif
