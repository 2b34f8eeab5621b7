/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A heap of memory that every device of a domain reaches: malloc for DMA. In a library of its own,
 * libdray-heap (pkg-config dray-heap), which has a jemalloc inside that nobody else sees: malloc()
 * stays what it is. Blocks of up to 256 KiB come from caches that each thread has in each heap.
 *
 * Link libdray and libdray-heap both shared or both static. A program that loads the shared one
 * late, with dlopen(), must be started with GLIBC_TUNABLES=glibc.rtld.optional_static_tls=8192,
 * because Debian's jemalloc takes its thread-local storage from what is set aside at the start. A
 * libdray-heap built with -Dheap_jemalloc=ARCHIVE, of a jemalloc configured with
 * --disable-initial-exec-tls, does not need it.
 */
#ifndef DRAY_HEAP_H
#define DRAY_HEAP_H

#include <dray/types.h>

#ifdef __cplusplus
extern "C" {
#endif

struct dray_heap;

/* struct dray_heap_opts, flags */
#define DRAY_HEAP_NO_HUGE         (1u << 0) /* 4 KiB pages only */
#define DRAY_HEAP_NUMA            (1u << 1) /* all memory from node @numa_node */
#define DRAY_HEAP_SHARE_UNTRUSTED (1u << 2) /* untrusted devices may reach the heap too */

/**
 * struct dray_heap_opts - how a heap gets its memory; zero means default in every field but @size
 * @size: sizeof(struct dray_heap_opts)
 * @flags: DRAY_HEAP_*
 * @numa_node: with DRAY_HEAP_NUMA, the node; without it 0, or -1 for any
 * @grow_bytes: the heap grows by this much at a time, rounded up to 2 MiB; 0 is 32 MiB. Where so
 *              much cannot be had it grows by what the request needs.
 * @max_bytes: most bytes of memory that the heap maps, rounded down to 2 MiB; 0 is 16 GiB. Twice as
 *             much address space is set aside when the heap is opened.
 */
struct dray_heap_opts {
	size_t size;
	uint32_t flags;
	int numa_node;
	size_t grow_bytes, max_bytes;
};

/**
 * struct dray_heap_stats - a heap at one moment
 * @size: sizeof(struct dray_heap_stats), set by the caller
 * @allocations: blocks out; those that wait freed in a thread's cache count too
 * @allocated_bytes: their bytes, each rounded up to its size class
 * @mapped_bytes: memory that devices reach
 * @used_bytes: what of it has ever been handed to the allocator; the rest is untouched
 * @steps: how many pieces it was got in; each is one registered region
 * @hugetlb_bytes: got as 2 MiB pages from the pool of huge pages
 * @thp_bytes: got as memory for which the kernel was asked for transparent huge pages
 * @small_bytes: got as 4 KiB pages
 * @purges_refused: how often the allocator wanted to give memory back under the device
 * @bad_frees: frees refused because the heap did not hand the pointer out
 */
struct dray_heap_stats {
	size_t size;
	uint64_t allocations, allocated_bytes;
	uint64_t mapped_bytes, used_bytes;
	uint64_t steps;
	uint64_t hugetlb_bytes, thp_bytes, small_bytes;
	uint64_t purges_refused, bad_frees;
};

/**
 * dray_heap_open() - open a heap in a domain
 * @dom: the domain; it lives until the heap is closed, whoever closes it before
 * @opts: how; NULL is every default
 * @ret_heap: the heap
 *
 * The first piece of memory is got and registered at once, so that what stands in the way is told
 * here.
 * Context: any thread; maps and pins memory, may issue ioctls.
 * Return: 0; -EINVAL unknown flags, a @max_bytes below 2 MiB, a node that does not exist; -E2BIG;
 * -ENOMEM no memory, address space or locked memory; -ENOTSUP the allocator inside cannot do it, or
 * no NUMA on this kernel; and whatever dray_region_register() returns, -EPERM in a domain with an
 * untrusted device among it.
 */
DRAY_API int dray_heap_open(struct dray_domain *dom, const struct dray_heap_opts *opts,
			    struct dray_heap **ret_heap);

/**
 * dray_heap_alloc() - get a block that devices reach
 * @heap: the heap
 * @len: bytes, at least 1
 * @align: bytes, a power of two of at most 1 GiB; 0 is malloc's, 16
 *
 * A block lies in one piece at adjoining IOVAs. It is not zeroed. dray_translate() tells its IOVA;
 * dray_map() of it, or of a part of it, makes no system call. Small blocks share cache lines: for a
 * device that does not snoop, align to 64 and round @len up. From a block of 4 KiB on, @align 4096
 * costs nothing.
 * Context: any thread; no system call unless the heap grows.
 * Return: the block; NULL with the cause in dray_errmsg(): no memory, the heap is at its ceiling, a
 * length or alignment that cannot be, a forked child.
 */
DRAY_API void *dray_heap_alloc(struct dray_heap *heap, size_t len, size_t align);

/**
 * dray_heap_free() - give a block back
 * @heap: the heap it came from
 * @p: the block, or NULL
 *
 * The memory stays registered, and pinned, for the next block. A pointer that is not this heap's is
 * refused, counted and logged; a block freed twice is not noticed.
 * Context: any thread, not only the one that allocated it. Never fails. In a forked child it does
 * nothing.
 */
DRAY_API void dray_heap_free(struct dray_heap *heap, void *p);

/**
 * dray_heap_stats() - look at a heap
 * @heap: the heap
 * @inout: size set by the caller; filled up to that size
 *
 * Return: 0; -EINVAL no size or no struct; -EPERM in a forked child.
 */
DRAY_API int dray_heap_stats(struct dray_heap *heap, struct dray_heap_stats *inout);

/**
 * dray_heap_close() - close a heap
 * @heap: the heap, or NULL
 *
 * Unregisters and unmaps all of its memory. Blocks still out are logged as leaks, with their number
 * and bytes, and are gone. Memory in which a mapping is still out stays registered and mapped, is
 * logged, and goes when a heap is opened or closed after that mapping has been unmapped.
 * Context: any thread; no other call on the heap may run. Never fails. In a forked child it does
 * nothing: the child has no part of the heap's memory.
 */
DRAY_API void dray_heap_close(struct dray_heap *heap);

#ifdef __cplusplus
}
#endif
#endif
