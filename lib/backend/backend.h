/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a backend is: one I/O address space somewhere (a VFIO container, the software IOMMU) that
 * keeps the domain's mapping table true for the devices attached to it.
 *
 * 1. A backend never chooses an IOVA and never decides whether a range may be used: its caller
 *    owns every IOVA it passes, alone, until the call returns.
 * 2. map and unmap keep the domain's page table and the hardware in step: entries are published
 *    by map after everything that can fail, and are gone when unmap returns.
 * 3. map is all or nothing. unmap reports how many bytes, from the start, are gone for certain.
 * 4. map and unmap may run on any number of threads; attach, enable, detach and switch_to are
 *    serialised by the domain against each other, not against map and unmap.
 * 5. unmap, detach and close never allocate and never fail in a way that leaks: what a kernel
 *    refuses is reported, and the domain quarantines it.
 */
#ifndef DR_BACKEND_H
#define DR_BACKEND_H

#include <errno.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <dray/device.h>
#include <dray/types.h>

#include "base/err.h"
#include "base/log.h"
#include "cpu/cpu.h"
#include "pgtable/pgtable.h"

/* Most usable ranges a backend reports. Real IOMMUs report two to four. */
#define DR_BACKEND_RANGES 32

/* What is known at open, and may change at the first attach and last detach. */
struct dr_backend_limits {
	uint64_t page_sizes;     /* bit n: 2^n bytes */
	size_t granule;
	uint64_t entries_limit;  /* 0 none */
	uint32_t n_usable;
	struct dray_range usable[DR_BACKEND_RANGES]; /* ascending, disjoint, granule-aligned */
};

/*
 * What of an unmap may wait, so that many are paid for at once. A property of the open address
 * space, not of the kind: hardware whose unmap flushes by itself can put off nothing.
 */
enum dr_defers {
	DR_DEFER_NOTHING,      /* strict only: nothing is reachable when unmap returns */
	DR_DEFER_INVALIDATION, /* unmap clears entries at once, one invalidate serves many */
	DR_DEFER_UNMAP,        /* the unmap call itself; a later one covers many mappings */
};

struct dr_backend;
struct dr_backend_device;

struct dr_backend_args {
	enum dray_domain_type type; /* PAGING, IDENTITY, BLOCKED or DEFAULT */
	const char *profile;        /* sim only; NULL is "vtd" */
	dray_iova_t first, last;    /* window the caller named; 0,0 none. Usable until a device tells */
	struct dr_pgtable *pt;      /* the domain's table; outlives the backend */
	const struct dr_log *log;   /* outlives the backend */
};

struct dr_backend_ops {
	enum dray_backend_kind kind;
	const char *name;
	bool can_switch;     /* switch_to replaces atomically */
	bool pins;           /* memory is pinned under RLIMIT_MEMLOCK */

	/*
	 * Open an address space. Resolves DEFAULT. 0; -ENODEV this machine has none (message says
	 * why); -EPERM; -ENOTSUP a type or profile it lacks; -ENOMEM.
	 */
	int (*open)(const struct dr_backend_args *args, struct dr_backend **ret_be);
	/* Every device is detached. Every mapping may still be there: it goes too. */
	void (*close)(struct dr_backend *be);
	/* In a forked child: close descriptors, touch nothing else. */
	void (*close_forked)(struct dr_backend *be);

	/*
	 * Claim a device and join it to the address space, without making anything reachable yet:
	 * afterwards be->limits tells what the real hardware takes. -ENODEV, -EBUSY, -EPERM, …
	 */
	int (*attach)(struct dr_backend *be, const char *name, const struct dray_device_opts *opts,
		      struct dr_backend_device **ret_bd);
	/*
	 * Make the mapping table true for the device: replay where the hardware has none of it yet,
	 * *ret_replayed mappings. From here on map and unmap reach it. All or nothing; on failure
	 * the caller detaches.
	 */
	int (*enable)(struct dr_backend *be, struct dr_backend_device *bd, uint64_t *ret_replayed);
	/*
	 * Stop the device's DMA (bus mastering off), then leave. The last one out unpins all;
	 * be->limits is as at open again. In a forked child only descriptors are closed.
	 */
	void (*detach)(struct dr_backend *be, struct dr_backend_device *bd, bool forked);
	/* Move a device to another address space of the same kind in one step; can_switch only. */
	int (*switch_to)(struct dr_backend_device *bd, struct dr_backend *to);

	/*
	 * Map one range of at most max_op bytes, granule-aligned. @bits: DR_PTE_READ, DR_PTE_WRITE,
	 * owner, DR_PTE_CONTINUE where it goes on from the piece before; passed on to the table.
	 * 0; -EFAULT cannot be pinned; -ENOMEM; -ENOSPC no entries; -EEXIST something is there that
	 * is not dray's; -EINVAL.
	 */
	int (*map)(struct dr_backend *be, dray_iova_t iova, void *va, size_t len, uint64_t bits);
	/*
	 * Unmap one range of whole mappings or pieces of one, as they were mapped. *ret_gone: bytes
	 * from the start that are certainly gone; equal to @len on success. A success of the
	 * kernel's that reports another size is -EIO with *ret_gone = @len: nothing is mapped there
	 * any more.
	 */
	int (*unmap)(struct dr_backend *be, dray_iova_t iova, size_t len, size_t *ret_gone);
	/*
	 * Wait until no device reaches [first, last] through entries cleared before. Called only
	 * where be->defers is DR_DEFER_INVALIDATION; elsewhere unmap has done so when it returns.
	 */
	void (*invalidate)(struct dr_backend *be, dray_iova_t first, dray_iova_t last);

	/*
	 * The two halves of an unmap where be->defers is DR_DEFER_UNMAP, else NULL. Retire takes a
	 * whole mapping out of the table and leaves it with the hardware, where devices go on
	 * reaching it. Returns the lease under which the hardware holds it, never UINT32_MAX; 0: it
	 * holds nothing of it, and the unmap is complete. Never fails, never allocates.
	 */
	uint32_t (*retire)(struct dr_backend *be, dray_iova_t iova, size_t len);
	/*
	 * Make the hardware let go of every retired mapping in [first, last], at most max_op bytes,
	 * by one call; on return no device reaches them. The caller owns all of the range, gaps
	 * included, and it cuts no piece of a mapping. *ret_gone: bytes that were mapped, as the
	 * hardware tells. 0; -ESTALE the lease is over, the hardware has forgotten all that it held
	 * under it; another -errno, without words: something is left.
	 */
	int (*unmap_range)(struct dr_backend *be, dray_iova_t first, dray_iova_t last,
			   uint32_t lease, uint64_t *ret_gone);

	/*
	 * Write back, or drop, what caches hold of memory that a device reaches without looking
	 * into them; lines are whole as in cpu/cpu.h, which these are where they are NULL. Called
	 * for devices with @coherent false: clean before the device reads or writes, drop before
	 * the CPU reads what it wrote. Any thread; never fail, never allocate.
	 */
	void (*clean)(struct dr_backend *be, const void *va, size_t len);
	void (*drop)(struct dr_backend *be, const void *va, size_t len);

	/*
	 * Keep whole pages of memory out of the caches, so that a device with @coherent false and
	 * the CPU see the same of them without clean and drop. Before they are mapped; recache
	 * after they are unmapped. 0; -ENOTSUP caches cannot be kept away, or need not be; -ENOMEM.
	 * NULL: never, as no program can. recache never fails.
	 */
	int (*uncache)(struct dr_backend *be, void *va, size_t len);
	void (*recache)(struct dr_backend *be, void *va, size_t len);

	/* Mapping entries left, UINT64_MAX where there is no limit. May ask the kernel. */
	uint64_t (*entries_left)(struct dr_backend *be);
	/* The VFIO device descriptor, or -ENOTSUP. */
	int (*device_fd)(const struct dr_backend_device *bd);
};

/* First member of every backend's own struct. */
struct dr_backend {
	const struct dr_backend_ops *ops;  /* set at open */
	enum dray_domain_type type;        /* set at open, resolved */
	struct dr_pgtable *pt;             /* set at open */
	const struct dr_log *log;          /* set at open */
	enum dr_defers defers;             /* set at open */
	bool translates; /* set at open; false: devices address memory itself, nothing to map */
	bool isolates;   /* set at open; an untrusted device is held to its mappings */
	/* Most bytes of one map or unmap, whole granules; the domain splits. Set at open. */
	uint64_t max_op;
	struct dr_backend_limits limits;   /* guarded by the domain's attach lock */
};

/* First member of every backend's own device. */
struct dr_backend_device {
	struct dr_backend *be; /* guarded by the domain's attach lock */
	/*
	 * Do its accesses see the CPU's caches? What the hardware does by default, less what its
	 * opener knows better (DRAY_DEVICE_NONCOHERENT). Written at attach and by switch_to, read
	 * by any thread, relaxed: a mapping keeps to what it found when it was made.
	 */
	_Atomic bool coherent;
	/*
	 * Is it held to that, even if it asks for uncached accesses (PCI Express: No Snoop)? Where
	 * it is not, the backend has taken the right to ask from it, or @coherent is false. Set at
	 * attach.
	 */
	bool enforces_coherency;
};

static inline int dr_backend_uncache(struct dr_backend *be, void *va, size_t len)
{
	return be->ops->uncache ? be->ops->uncache(be, va, len) :
	       dr_fail(ENOTSUP, "no program can have memory that is not cached; map ordinary memory "
		       "and sync it");
}

static inline void dr_backend_recache(struct dr_backend *be, void *va, size_t len)
{
	if (be->ops->recache)
		be->ops->recache(be, va, len);
}

/* Bytes of memory that were written by the CPU, or will be by the device, go to the device. */
static inline void dr_backend_clean(struct dr_backend *be, const void *va, size_t len)
{
	if (be->ops->clean)
		be->ops->clean(be, va, len);
	else
		dr_cpu_clean(va, len);
}

/* Bytes that the device wrote go to the CPU. */
static inline void dr_backend_drop(struct dr_backend *be, const void *va, size_t len)
{
	if (be->ops->drop)
		be->ops->drop(be, va, len);
	else
		dr_cpu_invalidate(va, len);
}

extern const struct dr_backend_ops dr_type1_ops;
extern const struct dr_backend_ops dr_sim_ops;

#endif
