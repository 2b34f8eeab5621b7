/* SPDX-License-Identifier: BSD-2-Clause */
/* One I/O address space: open it, shape it, map into it at addresses of your own. */
#ifndef DRAY_DOMAIN_H
#define DRAY_DOMAIN_H

#include <dray/types.h>

#ifdef __cplusplus
extern "C" {
#endif

/* struct dray_domain_opts, flags */
#define DRAY_DOMAIN_DEBUG     (1u << 0) /* check every receipt against the mapping table */
#define DRAY_DOMAIN_GUARD     (1u << 1) /* unmapped granules around what dray places */
#define DRAY_DOMAIN_NO_BOUNCE (1u << 2) /* never copy through a pool */
#define DRAY_DOMAIN_NO_REUSE  (1u << 3) /* never keep a mapping for later */
#define DRAY_DOMAIN_POLLED    (1u << 4) /* no helper thread, ever; the caller drives time */
#define DRAY_DOMAIN_ADOPT     (1u << 5) /* use @adopt_fd instead of opening a container */

/* struct dray_domain_opts, bounce_threshold: where copying is cheaper than mapping */
#define DRAY_BOUNCE_AUTO ((size_t)-1)

/*
 * Costs are known at 4, 16, 64, 256 and 1024 KiB, and taken to be straight lines between; beyond,
 * the last one goes on where it does not fall, level where it does.
 */
#define DRAY_COST_SIZES 5

/**
 * struct dray_domain_opts - how to open a domain; zero means default in every field but @size
 * @size: sizeof(struct dray_domain_opts)
 * @backend: enum dray_backend_kind
 * @type: enum dray_domain_type
 * @invalidation: enum dray_invalidation wanted; dray_domain_invalidation() tells the effective one
 * @flags: DRAY_DOMAIN_*
 * @first: lowest usable IOVA wanted, rounded up to a granule
 * @last: highest usable IOVA wanted, rounded down to a granule's end; 0,0 is the whole aperture
 * @sim_profile: which IOMMU the software one stands for; NULL is "vtd"
 * @bounce_bytes: most bytes of bounce pool
 * @bounce_threshold: copy buffers up to this many bytes instead of mapping them; 0 is never, and
 *                    DRAY_BOUNCE_AUTO is what the costs below say, size by size
 * @flush_bytes: most bytes that wait unmapped by their caller but still mapped
 * @flush_entries: flush queue depth per thread
 * @flush_timeout_us: longest stale window, microseconds
 * @adopt_fd: with DRAY_DOMAIN_ADOPT, a container or iommufd that someone else made
 * @adopt_ioas: with DRAY_DOMAIN_ADOPT, the address space in it
 * @log: called with a syslog level and one line, from any thread; it must not call dray, which may
 *       hold locks meanwhile. NULL is silent.
 * @log_ctx: passed to @log
 * @cost_slot_ns: with DRAY_BOUNCE_AUTO, nanoseconds to copy next to nothing: a pool's slot taken
 *                and given back
 * @cost_copy_ns: to copy a buffer of each of the DRAY_COST_SIZES sizes there and back, slot
 *                included
 * @cost_map_ns: to map and unmap one strictly
 * @cost_lazy_map_ns: to map and unmap one lazily, its share of a flush included
 *
 * Which way a buffer goes is decided by these alone, in this order: registered memory is looked
 * up; what must be copied is; with DRAY_BOUNCE_AUTO what is cheaper to copy is; everything else is
 * mapped, strictly or lazily as dray_domain_invalidation() says. Never copied because it is
 * cheaper: with DRAY_MAP_NO_BOUNCE, while an untrusted device is in the domain, in a list of
 * several elements. If any cost is given, all count as given, 0 as free, and the same requests go
 * the same ways on every run. If all are 0 they are measured when the first device comes, because
 * without one nothing is pinned or invalidated, and again after dray_sim_set_cost(). That takes
 * some milliseconds and, while it lasts, 4 MiB of pinned memory; where it fails, the log says so
 * and nothing is copied that need not be.
 */
struct dray_domain_opts {
	size_t size;
	uint32_t backend, type, invalidation;
	uint32_t flags;
	dray_iova_t first, last;
	const char *sim_profile;
	size_t bounce_bytes;
	size_t bounce_threshold;
	size_t flush_bytes;
	uint32_t flush_entries, flush_timeout_us;
	int adopt_fd;
	uint32_t adopt_ioas;
	void (*log)(void *ctx, int level, const char *msg);
	void *log_ctx;
	uint32_t cost_slot_ns;
	uint32_t cost_copy_ns[DRAY_COST_SIZES], cost_map_ns[DRAY_COST_SIZES];
	uint32_t cost_lazy_map_ns[DRAY_COST_SIZES];
};

/* dray_domain_reserve, flags */
#define DRAY_RESERVE_HOLE  0u        /* nobody uses the range */
#define DRAY_RESERVE_FIXED (1u << 0) /* only dray_map_fixed() and dray_domain_map() use it */

/* dray_domain_map, prot: what the device may do */
#define DRAY_PROT_READ  (1u << 0)
#define DRAY_PROT_WRITE (1u << 1)

/* How many ranges struct dray_domain_info has room for. */
#define DRAY_INFO_RANGES 16

/**
 * struct dray_domain_info - what a domain is and what it has left
 * @size: sizeof(struct dray_domain_info), set by the caller
 * @backend: enum dray_backend_kind, resolved
 * @type: enum dray_domain_type, resolved
 * @invalidation: enum dray_invalidation in effect
 * @damaged: 1 once an unmap was refused or came back short; a damaged domain keeps working, the
 *           range is quarantined
 * @granule: smallest IOMMU page, bytes
 * @page_sizes: bit n set: pages of 2^n bytes
 * @first: lowest IOVA this domain may use
 * @last: highest IOVA this domain may use
 * @max_op: most bytes of one backend call; larger requests are split
 * @entries_limit: most backend mappings at once; 0 is no limit
 * @entries_left: how many of them are left
 * @memlock_limit: RLIMIT_MEMLOCK in bytes where the backend pins memory under it; UINT64_MAX is
 *                 none
 * @mapped_bytes: bytes reachable by devices through live mappings
 * @quarantined_bytes: bytes of IOVA lost to refused unmaps
 * @pgtable_bytes: bytes of mapping table
 * @devices: devices attached
 * @n_windows: how many usable ranges there are; the first DRAY_INFO_RANGES are in @windows
 * @n_holes: how many holes there are between @first and @last, likewise
 * @windows: the usable ranges, ascending
 * @holes: the holes, ascending
 * @cost_slot_ns: with DRAY_BOUNCE_AUTO, the costs as in struct dray_domain_opts, given or measured;
 *                all 0 as long as nothing is known
 * @cost_copy_ns: likewise
 * @cost_map_ns: likewise
 * @cost_lazy_map_ns: likewise
 * @copy_up_to: the largest buffer that is copied because it is cheaper, while the domain is strict;
 *              where the costs' lines cross more than once, some smaller ones are mapped
 * @copy_up_to_once: the same for DRAY_TO_DEVICE, where bytes are copied one way only
 * @lazy_copy_up_to: the same as @copy_up_to while the domain is lazy
 * @lazy_copy_up_to_once: the same as @copy_up_to_once while the domain is lazy
 */
struct dray_domain_info {
	size_t size;
	uint32_t backend, type, invalidation, damaged;
	size_t granule;
	uint64_t page_sizes;
	dray_iova_t first, last;
	uint64_t max_op;
	uint64_t entries_limit, entries_left;
	uint64_t memlock_limit;
	uint64_t mapped_bytes, quarantined_bytes, pgtable_bytes;
	uint32_t devices;
	uint32_t n_windows, n_holes;
	struct dray_range windows[DRAY_INFO_RANGES], holes[DRAY_INFO_RANGES];
	uint32_t cost_slot_ns;
	uint32_t cost_copy_ns[DRAY_COST_SIZES], cost_map_ns[DRAY_COST_SIZES];
	uint32_t cost_lazy_map_ns[DRAY_COST_SIZES];
	size_t copy_up_to, copy_up_to_once, lazy_copy_up_to, lazy_copy_up_to_once;
};

/**
 * dray_domain_open() - open an I/O address space
 * @opts: what to open; NULL is every default
 * @ret_dom: the domain
 *
 * Context: any thread; opens files and may issue ioctls.
 * Return: 0; -EINVAL unknown bits or values, or an empty window; -E2BIG; -ENOTSUP a kind, flag or
 * profile the backend lacks; -ENODEV no usable IOMMU backend (the message names the cause);
 * -EPERM no right to open it; -ERANGE a window outside the aperture; -ENOMEM.
 */
DRAY_API int dray_domain_open(const struct dray_domain_opts *opts, struct dray_domain **ret_dom);

/**
 * dray_domain_close() - close a domain
 * @dom: the domain, or NULL
 *
 * The domain lives on until its last device is closed and its last receipt unmapped; then
 * everything in it is unmapped and freed. Closing it twice is refused and logged.
 * Context: any thread. Never fails. In a forked child only descriptors are closed.
 */
DRAY_API void dray_domain_close(struct dray_domain *dom);

/**
 * dray_domain_reserve() - keep a range away from automatic allocation
 * @dom: the domain
 * @first: lowest IOVA; granule-aligned
 * @last: highest IOVA, inclusive; the end of a granule
 * @flags: DRAY_RESERVE_HOLE or DRAY_RESERVE_FIXED
 *
 * What is reserved already may be reserved again; the newest kind holds. Holes of the hardware
 * stay holes.
 * Context: any thread; no ioctl in a domain without waiting unmaps.
 * Return: 0; -EINVAL misaligned, reversed, unknown flags; -ERANGE outside the domain's window;
 * -EEXIST something live overlaps; -ENOMEM; -EPERM in a forked child.
 */
DRAY_API int dray_domain_reserve(struct dray_domain *dom, dray_iova_t first, dray_iova_t last,
				 uint32_t flags);

/**
 * dray_domain_unreserve() - give a reserved range back to automatic allocation
 * @dom: the domain
 * @first: lowest IOVA; granule-aligned
 * @last: highest IOVA, inclusive
 *
 * Parts of the range that are not reserved are left as they are; holes of the hardware stay.
 * Return: 0; -EINVAL misaligned or reversed; -ERANGE outside the domain's window; -EBUSY a fixed
 * mapping lives in a reserved part; -ENOMEM; -EPERM in a forked child.
 */
DRAY_API int dray_domain_unreserve(struct dray_domain *dom, dray_iova_t first, dray_iova_t last);

/**
 * dray_domain_map() - map memory at an address of the caller's choice, for every device
 * @dom: the domain
 * @iova: granule-aligned; anywhere not live and not a hole
 * @va: granule-aligned
 * @len: bytes; a multiple of the granule
 * @prot: DRAY_PROT_READ, DRAY_PROT_WRITE or both: what a device may do
 * @flags: 0
 *
 * No device needs to be attached; devices attached later see the mapping.
 * Context: any thread; pins memory, may issue ioctls.
 * Return: 0; -EINVAL misaligned, empty or overflowing, unknown bits; -ERANGE outside the window;
 * -EEXIST overlaps something live or a hole (the old translation is unchanged); -EFAULT cannot be
 * pinned; -ENOMEM; -ENOSPC no mapping entries left; -EPERM forked child or a BLOCKED domain.
 */
DRAY_API int dray_domain_map(struct dray_domain *dom, dray_iova_t iova, void *va, size_t len,
			     uint32_t prot, uint32_t flags);

/**
 * dray_domain_unmap() - undo dray_domain_map()
 * @dom: the domain
 * @iova: where a mapping of dray_domain_map() begins
 * @len: its length in bytes, or the length of several that adjoin
 *
 * On return no device reaches the memory through these mappings.
 * Return: 0; -EINVAL not exactly one or more adjoining mappings of dray_domain_map() (nothing is
 * changed); another errno from the backend: what it refused is quarantined and the domain damaged;
 * -EPERM in a forked child.
 */
DRAY_API int dray_domain_unmap(struct dray_domain *dom, dray_iova_t iova, size_t len);

/**
 * dray_domain_invalidation() - the invalidation mode in effect
 * @dom: the domain
 * Return: the mode; DRAY_STRICT wherever lazy is not to be had.
 */
DRAY_API enum dray_invalidation dray_domain_invalidation(const struct dray_domain *dom);

/**
 * dray_domain_get_type() - the resolved type, never DRAY_DOMAIN_DEFAULT
 * @dom: the domain
 */
DRAY_API enum dray_domain_type dray_domain_get_type(const struct dray_domain *dom);

/**
 * dray_domain_info() - what a domain is and what it has left
 * @dom: the domain
 * @inout: size set by the caller; filled up to that size
 *
 * Context: any thread; may issue an ioctl.
 * Return: 0; -EINVAL no size or no struct.
 */
DRAY_API int dray_domain_info(const struct dray_domain *dom, struct dray_domain_info *inout);

struct dray_iova_cell; /* <dray/iova.h> */

/**
 * dray_domain_heat() - what a domain's IOVAs are used for, and where
 * @dom: the domain
 * @first: lowest IOVA; granule-aligned
 * @last: highest IOVA, inclusive; the end of a granule, as DRAY_IOVA_NONE is
 * @n: how many cells
 * @ret_cells: as many cells, as dray_iova_space_heat() fills them
 *
 * Live is what is mapped, and what the domain keeps mapped for itself; retired is what waits for a
 * flush; reserved are the holes, and windows for addresses of the caller's choice.
 * Context: any thread; no ioctl; never allocates.
 * Return: 0; -EINVAL misaligned, reversed, no cells, NULL; -EPERM in a forked child.
 */
DRAY_API int dray_domain_heat(const struct dray_domain *dom, dray_iova_t first, dray_iova_t last,
			      size_t n, struct dray_iova_cell *ret_cells);

/**
 * dray_domain_log() - write a line to a domain's log
 * @dom: the domain
 * @level: a syslog level
 * @msg: the line
 *
 * For libraries that stand on dray, as libdray-heap does.
 * Context: any thread.
 */
DRAY_API void dray_domain_log(const struct dray_domain *dom, int level, const char *msg);

/**
 * dray_domain_set_invalidation() - strict or lazy from now on
 * @dom: the domain
 * @mode: DRAY_STRICT or DRAY_LAZY
 *
 * What is asked for is remembered; dray_domain_invalidation() tells what is in effect, which is
 * strict where the backend can put nothing off or an untrusted device is in the domain. When strict
 * is in effect on return, no device reaches anything that was unmapped before the call.
 * Context: any thread; may issue ioctls, may start the helper thread.
 * Return: 0; -EINVAL; -EPERM forked child, or the kernel lacks what laziness needs; -ENOMEM,
 * -EAGAIN no helper thread: the mode is as before.
 */
DRAY_API int dray_domain_set_invalidation(struct dray_domain *dom, enum dray_invalidation mode);

/**
 * dray_flush() - have done with what was unmapped
 * @dom: the domain
 *
 * On return no device reaches anything through a mapping unmapped before the call.
 * Context: any thread; may issue ioctls; never allocates.
 * Return: 0; -EINVAL; -EPERM forked child.
 */
DRAY_API int dray_flush(struct dray_domain *dom);

/**
 * dray_poll() - what the helper thread would do now
 * @dom: the domain
 *
 * Flushes what has waited long enough and gives unused memory back. In a domain opened with
 * DRAY_DOMAIN_POLLED nothing else knows of time: call it more often than the flush timeout.
 * Context: any thread; may issue ioctls.
 * Return: 0; -EINVAL; -EPERM forked child.
 */
DRAY_API int dray_poll(struct dray_domain *dom);

#ifdef __cplusplus
}
#endif
#endif
