/* SPDX-License-Identifier: BSD-2-Clause */
/* What a domain did, in numbers; and why the last call failed, in words. */
#ifndef DRAY_STATS_H
#define DRAY_STATS_H

#include <dray/types.h>

#ifdef __cplusplus
extern "C" {
#endif

/**
 * struct dray_stats - counters of a domain since it was opened
 * @size: sizeof(struct dray_stats), set by the caller
 * @maps: mappings made, explicit and coherent ones included
 * @unmaps: mappings taken back
 * @backend_maps: map calls to the backend that succeeded
 * @backend_unmaps: unmap calls to the backend, whatever came of them
 * @invalidations: IOTLB invalidations dray issued itself; a VFIO kernel's own are not seen
 * @map_bytes: bytes the backend was asked to map
 * @unmap_bytes: bytes it reported gone
 * @map_failures: maps that failed
 * @unmap_errors: unmaps that a backend refused, or that came back short
 * @bad_unmaps: receipts and ranges refused because they are not live here
 * @leaks: mappings that closing a device had to take back
 * @replays: mappings made again for a device attached later
 */
struct dray_stats {
	size_t size;
	uint64_t maps, unmaps, backend_maps, backend_unmaps, invalidations;
	uint64_t map_bytes, unmap_bytes;
	uint64_t map_failures, unmap_errors, bad_unmaps;
	uint64_t leaks, replays;
};

/**
 * dray_stats_get() - read a domain's counters
 * @dom: the domain
 * @inout: size set by the caller; filled up to that size
 *
 * Counters are sums over threads: each is exact once the threads that count are done.
 * Return: 0; -EINVAL no size or no struct.
 */
DRAY_API int dray_stats_get(const struct dray_domain *dom, struct dray_stats *inout);

/**
 * dray_errmsg() - this thread's last failure: cause and fix, in one line
 * Return: a string that stays valid until the thread's next failing call; never NULL.
 */
DRAY_API const char *dray_errmsg(void);

/** dray_version() - "major.minor.patch" */
DRAY_API const char *dray_version(void);

#ifdef __cplusplus
}
#endif
#endif
