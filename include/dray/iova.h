/* SPDX-License-Identifier: BSD-2-Clause */
/* The IOVA allocator alone, for other mapping layers and for benchmarks. */
#ifndef DRAY_IOVA_H
#define DRAY_IOVA_H

#include <dray/types.h>

#ifdef __cplusplus
extern "C" {
#endif

struct dray_iova_space;

/**
 * struct dray_iova_opts - what a space hands out
 * @size: sizeof(struct dray_iova_opts)
 * @granule: smallest unit, bytes, a power of two of at least 4096; 0 is 4096
 * @first: lowest IOVA, rounded up to a granule; the granule at 0 is never handed out
 * @last: highest IOVA, rounded down to a granule's end; 0,0 is everything below 2^48
 */
struct dray_iova_opts {
	size_t size;
	size_t granule;
	dray_iova_t first, last;
};

/**
 * struct dray_iova_stats - a space at one moment; counters that other threads change meanwhile
 * may differ from one another by what is under way. What is told of caches is 0 in a space that has
 * none.
 * @size: sizeof(struct dray_iova_stats)
 * @live_ranges: handed out and not given back
 * @live_bytes: their bytes
 * @cached_bytes: free, in magazines of threads and of the depot
 * @quota_bytes: what threads' magazines may hold at the utmost, now
 * @population_bytes: what caches have out, live or free; at most 1.25 * (peak_live + quota)
 * @peak_population_bytes: the most it has been
 * @peak_live_bytes: most live ones that came from caches, as whole slots, as far as their growth has
 *                   seen
 * @depot_full: full magazines that no thread holds
 * @depot_empty: empty magazines that no thread holds
 * @refills: times a magazine was filled from a chunk
 * @trims: magazines emptied to keep the population down
 * @drains: times all caches were emptied for want of room, or for a reservation
 * @splits: chunks taken apart for these
 * @bad_frees: refused
 * @quarantined_bytes: never handed out again
 * @chunks: stretches of 512 granules (one leaf page table) that caches use now
 * @chunks_ever: different ones they have ever used
 * @chunk_free_bytes: free inside them, in no magazine
 * @largest_free: bytes of the longest free range outside chunks
 * @retired_bytes: given up by their owner, not handed out before a flush has ended
 * @free_ranges: element k: free ranges outside chunks, of 2^k bytes or more, less than 2^(k+1)
 */
struct dray_iova_stats {
	size_t size;
	uint64_t live_ranges, live_bytes;
	uint64_t cached_bytes, quota_bytes;
	uint64_t population_bytes, peak_population_bytes, peak_live_bytes;
	uint64_t depot_full, depot_empty;
	uint64_t refills, trims, drains, splits;
	uint64_t bad_frees, quarantined_bytes;
	uint64_t chunks, chunks_ever, chunk_free_bytes;
	uint64_t largest_free;
	uint64_t retired_bytes;
	uint64_t free_ranges[64];
};

/**
 * dray_iova_space_open() - open an IOVA space
 * @opts: what it hands out; NULL is every default
 * @ret_space: the space
 * Return: 0; -EINVAL; -E2BIG; -ENOMEM.
 */
DRAY_API int dray_iova_space_open(const struct dray_iova_opts *opts,
				  struct dray_iova_space **ret_space);

/**
 * dray_iova_alloc() - take a range
 * @s: the space
 * @len: bytes, rounded up to granules
 * @align: bytes, a power of two; 0 is natural: @len for a power of two, else the granule
 * @last: no byte above this address; 0 is no limit
 *
 * Context: any thread; may allocate memory, makes no other system call.
 * Return: the first address; DRAY_IOVA_NONE where there is no room, no memory, or the request is
 * malformed (dray_errmsg() tells which).
 */
DRAY_API dray_iova_t dray_iova_alloc(struct dray_iova_space *s, size_t len, size_t align,
				     dray_iova_t last);

/**
 * dray_iova_free() - give a range back
 * @s: the space
 * @iova: what dray_iova_alloc() returned
 * @len: the length asked for then
 *
 * A range that was not handed out, or with another length, is refused and counted.
 * Context: any thread; never allocates, never fails.
 */
DRAY_API void dray_iova_free(struct dray_iova_space *s, dray_iova_t iova, size_t len);

/**
 * dray_iova_reserve() - never hand out a range
 * @s: the space
 * @first: lowest IOVA; granule-aligned
 * @last: highest IOVA, inclusive
 * Return: 0; -EINVAL; -ERANGE outside the space; -EEXIST something live overlaps; -ENOMEM.
 */
DRAY_API int dray_iova_reserve(struct dray_iova_space *s, dray_iova_t first, dray_iova_t last);

/**
 * dray_iova_space_stats() - look at a space
 * @s: the space
 * @inout: size set by the caller; the rest filled in
 * Return: 0; -EINVAL.
 */
DRAY_API int dray_iova_space_stats(const struct dray_iova_space *s, struct dray_iova_stats *inout);

/**
 * struct dray_iova_cell - one stretch of a space, in granules
 * @first: where it begins; DRAY_IOVA_NONE: it has no granules
 * @live: handed out and not given back
 * @retired: given up by their owner, not handed out before a flush has ended
 * @cached: free, in magazines of threads and of the depot
 * @chunk_free: free inside chunks, in no magazine
 * @slack: what ranges leave over of slots that were rounded up for them, and slots of their chunk;
 *         had only by who asks for the very address, or for more than is left elsewhere
 * @reserved: never handed out automatically and not in use: holes, windows for fixed addresses, the
 *            granule at 0
 * @quarantined: never handed out again
 * @free: outside chunks
 *
 * A granule counts once. What lies outside the space counts nowhere.
 */
struct dray_iova_cell {
	dray_iova_t first;
	uint64_t live, retired;
	uint64_t cached, chunk_free, slack;
	uint64_t reserved, quarantined;
	uint64_t free;
};

/**
 * dray_iova_space_heat() - what a space is full of, and where
 * @s: the space
 * @first: lowest IOVA; granule-aligned
 * @last: highest IOVA, inclusive; the end of a granule, as DRAY_IOVA_NONE is
 * @n: how many cells
 * @ret_cells: as many cells, ascending, which share [first, last] out evenly: granules that are too
 *             few for one more each go to the first cells
 *
 * While other threads take and give, each cell is of a moment of its own, and a range that changes
 * hands in that moment may be told as it was before or after; the sum of a cell is the number of
 * its granules all the same. While none do, the sums over the whole space are those of
 * dray_iova_space_stats(): live_bytes, retired_bytes, cached_bytes, chunk_free_bytes and
 * quarantined_bytes. It costs a look at every range and every chunk in [first, last].
 * Context: any thread; never allocates. Takes without a cache wait for one cell at most.
 * Return: 0; -EINVAL misaligned, reversed, no cells, NULL.
 */
DRAY_API int dray_iova_space_heat(const struct dray_iova_space *s, dray_iova_t first,
				  dray_iova_t last, size_t n, struct dray_iova_cell *ret_cells);

/** dray_iova_space_close() - close it; what is still out is forgotten. NULL is fine. */
DRAY_API void dray_iova_space_close(struct dray_iova_space *s);

#ifdef __cplusplus
}
#endif
#endif
