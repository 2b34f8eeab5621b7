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
 * @flushes_full: flushes because a thread's queue was full
 * @flushes_bytes: because as many bytes waited as may
 * @flushes_timer: because something had waited long enough
 * @flushes_explicit: because of dray_flush()
 * @flushes_pressure: because a map found no entries, memory or IOVAs
 * @flushes_switch: because the domain became strict
 * @flushes_close: because a device or the domain closed
 * @flushed: mappings that flushes covered; over @invalidations or @ranged_unmaps: how well they merge
 * @ranged_unmaps: backend calls that unmapped several mappings, or were to
 * @ranged_mappings: how many mappings those unmapped
 * @ranged_gaps: unused ranges that they covered as well, held meanwhile
 * @waiting_entries: mappings that wait for a flush now
 * @waiting_bytes: their bytes
 * @longest_stale_ns: no mapping waited longer for the end of its flush, nanoseconds
 * @bounce_mask: buffers copied because they lie above what the device reaches
 * @bounce_align: because of the device's alignment
 * @bounce_edge: because an untrusted device would see other memory in their granules
 * @bounce_line: because cache maintenance would hit other memory in their cache lines
 * @bounce_pin: because the backend cannot pin them
 * @bounce_cheaper: because copying costs less than mapping
 * @bounce_in_bytes: bytes copied for devices
 * @bounce_out_bytes: bytes copied back
 * @bounce_mapped_bytes: bytes of pools that are mapped now
 * @bounce_used_bytes: bytes of slots that are out now, or that a backend would not let go of
 * @bounce_high_water_bytes: at least the most that was ever out at once
 * @bounce_grows: times a pool was added
 * @bounce_shrinks: times an idle one was given back
 * @bounce_failures: buffers that found no slot
 */
struct dray_stats {
	size_t size;
	uint64_t maps, unmaps, backend_maps, backend_unmaps, invalidations;
	uint64_t map_bytes, unmap_bytes;
	uint64_t map_failures, unmap_errors, bad_unmaps;
	uint64_t leaks, replays;
	uint64_t flushes_full, flushes_bytes, flushes_timer, flushes_explicit, flushes_pressure;
	uint64_t flushes_switch, flushes_close, flushed;
	uint64_t ranged_unmaps, ranged_mappings, ranged_gaps;
	uint64_t waiting_entries, waiting_bytes, longest_stale_ns;
	uint64_t bounce_mask, bounce_align, bounce_edge, bounce_line, bounce_pin, bounce_cheaper;
	uint64_t bounce_in_bytes, bounce_out_bytes, bounce_mapped_bytes, bounce_used_bytes;
	uint64_t bounce_high_water_bytes, bounce_grows, bounce_shrinks, bounce_failures;
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

/**
 * dray_errmsg_set() - make a text this thread's last failure
 * @text: cause and fix, in one line; cut at what dray keeps
 *
 * For libraries that stand on dray, as libdray-heap does, so that their callers find every cause in
 * one place.
 * Context: any thread; never allocates.
 */
DRAY_API void dray_errmsg_set(const char *text);

/** dray_version() - "major.minor.patch" */
DRAY_API const char *dray_version(void);

#ifdef __cplusplus
}
#endif
#endif
