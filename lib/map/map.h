/* SPDX-License-Identifier: BSD-2-Clause */
/* What the files of the map layer share: places, ways, one map, one unmap, one receipt. */
#ifndef DR_MAP_H
#define DR_MAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <dray/map.h>
#include <dray/sg.h>

#include "bounce/why.h"
#include "cpu/cpu.h"
#include "domain/domain.h"
#include "map/receipt.h"

/* The whole granules around a buffer. */
struct dr_span {
	char *va;
	size_t len;
	size_t off; /* of the buffer in the first granule */
};

struct dr_map_args {
	void *va;
	size_t len;
	enum dray_dir dir;
	uint32_t flags;   /* DRAY_MAP_* */
	dray_iova_t iova; /* DRAY_IOVA_NONE: anywhere */
	size_t align;     /* of the IOVA; 0: as the buffer's size suggests */
	bool whole;       /* memory of dray's own, whole granules: always mapped for itself */
};

/* One call on its way: who asks, in which domain. Lives as long as the call. */
struct dr_call {
	struct dray_device *dev;
	struct dray_domain *dom;
	unsigned owner;   /* the device's number in the domain */
	struct dr_bounce_pool_set *own; /* the device's bounce pools in the domain; NULL: all devices' */
	enum dray_dir dir;
	uint32_t flags;   /* DRAY_MAP_* */
	bool trusted;     /* as read in the section in which the domain was entered */
	bool uncached;    /* the device does not see the CPU's caches */
};

/* What is wrong with them, as dr_map_check(). */
int dr_map_refuse(const void *va, size_t len, enum dray_dir dir, uint32_t flags);

/* What any map call refuses before it looks at the device. 0, -EINVAL, -EFAULT. */
static inline int dr_map_check(const void *va, size_t len, enum dray_dir dir, uint32_t flags)
{
	uintptr_t last = (uintptr_t)va + len - 1;

	/* What is empty ends before it begins. What no table entry can hold, no process can have. */
	if (__builtin_expect(!va || last < (uintptr_t)va || last & ~(DR_PTE_ADDR | 0xfff) ||
			     (unsigned)dir > DRAY_FROM_DEVICE ||
			     flags & ~(DRAY_MAP_NO_SYNC | DRAY_MAP_NO_BOUNCE), 0))
		return dr_map_refuse(va, len, dir, flags);
	return 0;
}

/*
 * Begin a call: hold the device's domain and make this thread's queue and counters ready. On
 * success a read section is open, as dr_domain_enter() says. On failure nothing is held.
 */
int dr_call_begin(struct dray_device *dev, enum dray_dir dir, uint32_t flags,
		  struct dr_call *ret_call);
/* The call failed and made no receipt; outside the read section. */
void dr_call_fail(struct dr_call *call);

int dr_map_one(struct dray_device *dev, const struct dr_map_args *a, struct dray_mapping *ret_map);

/*
 * Zeroes *m. @strictly: no device reaches it on return, whatever the domain's mode.
 * False when the buffer is not the caller's to reuse: the backend refused to let go of
 * it, or the receipt was not live.
 */
bool dr_unmap_one(struct dray_mapping *m, bool strictly);

/*
 * The domain a receipt was made in, and what the receipt says; NULL when it is no receipt, or its
 * domain is gone. @ret_r may be NULL.
 */
struct dray_domain *dr_receipt_open(uint64_t cookie0, uint64_t cookie1, struct dr_receipt *ret_r);

static inline uint64_t dr_device_mask(const struct dray_device *dev)
{
	return atomic_load_explicit(&dev->dma_mask, memory_order_relaxed);
}

/* --- registered.c --- */

/*
 * A region's index, and since when it may be counted: the handle of its receipts. Leaving with one
 * of before the domain's last device closed is refused, because those were settled then.
 */
static inline uint64_t dr_region_handle(const struct dray_domain *dom, uint32_t index)
{
	return index | (uint64_t)(atomic_load_explicit(&dom->region_era, memory_order_relaxed) &
				  0xfff) << 24;
}

/* @n receipts of that handle are gone. */
static inline bool dr_region_handle_leave(struct dray_domain *dom, uint64_t handle, uint32_t n)
{
	uint32_t index = handle & 0xffffff;

	if (dr_region_handle(dom, index) != handle)
		return false;
	dr_region_count_in(dom->regions, index, n);
	return true;
}

/* Is that what a device with more wishes than its mask can use? */
bool dr_device_suits(const struct dray_device *dev, dray_iova_t iova, size_t len);

/*
 * Is the buffer inside a region where the device can use it as it is? Then it is mapped. False says
 * nothing but that another way is needed. Inside the read section in which @att was found.
 */
static inline bool dr_map_registered(const struct dr_attachment *att, const void *va, size_t len,
				     enum dray_dir dir, uint32_t flags,
				     struct dray_mapping *ret_map)
{
	struct dr_receipt r = {
		.owner = att->owner, .dir = dir, .way = DR_WAY_REGION,
		.no_sync = flags & DRAY_MAP_NO_SYNC,
	};
	const struct dray_device *dev = att->dev;
	struct dray_domain *dom = att->dom;
	dray_iova_t iova;
	uint32_t index;

	if (!dr_region_enter(dom->regions, va, len, dir, &iova, &index))
		return false;
	if (__builtin_expect(iova + len - 1 > dr_device_mask(dev) ||
			     (!atomic_load_explicit(&dev->plain, memory_order_relaxed) &&
			      !dr_device_suits(dev, iova, len)), 0)) {
		dr_region_leave(dom->regions, index);
		return false;
	}
	dr_counters_ready(&dom->io.counters);
	dr_count(&dom->io.counters, DR_MAPS, 1);
	r.handle = dr_region_handle(dom, index);
	*ret_map = (struct dray_mapping){
		.iova = iova, .len = len, .cookie = { (uintptr_t)dom, dr_receipt_pack(&r) },
	};
	return true;
}

/* The inverse, as dr_unmap_one(). */
bool dr_unmap_registered(struct dray_domain *dom, struct dray_mapping *m);

/*
 * The same for a list of which all elements are in regions, on a device that wants no more than its
 * mask. The first is known to be good. Returns how many segments it has; 0: another way is needed,
 * no segment is written.
 */
unsigned dr_map_registered_list(struct dray_device *dev, struct dray_sg *sg, unsigned n,
				enum dray_dir dir, uint32_t flags);

/* --- place.c --- */

/* What the device's limits say about one segment, wherever it lies. 0, -EMSGSIZE. */
int dr_check_segment(const struct dray_device *dev, size_t len);
static inline struct dr_span dr_span_of(const struct dray_domain *dom, const void *va, size_t len)
{
	uint64_t mask = dom->io.granule_mask, off = (uintptr_t)va & mask;

	return (struct dr_span){
		.va = (char *)va - off, .len = (off + len + mask) & ~mask, .off = off,
	};
}

/* Bytes of IOVA behind every automatic mapping that stay unmapped; 0 unless asked for. */
static inline size_t dr_guard_len(const struct dray_domain *dom)
{
	return dom->io.guard;
}

/* Take an IOVA for @s, in which the segment is [s->off, s->off + len), and a guard behind it. */
int dr_place(const struct dray_domain *dom, const struct dray_device *dev, const struct dr_span *s,
	     size_t len, size_t align, dray_iova_t *ret_iova);
/* The same for a block of a list, which is cut where the device's boundary passes through it. */
int dr_place_block(const struct dray_domain *dom, const struct dray_device *dev,
		   const struct dr_span *s, dray_iova_t *ret_iova);
/* The same at an address the caller chose, without a guard. */
int dr_place_fixed(const struct dray_domain *dom, const struct dray_device *dev,
		   const struct dr_span *s, size_t len, dray_iova_t iova);
/* IDENTITY: the buffer is where it is; the device must be able to say so. */
int dr_place_direct(const struct dray_device *dev, const void *va, size_t len, dray_iova_t wanted);

/* Does [iova, iova + len) cross a multiple of the device's boundary? */
static inline bool dr_crosses(const struct dray_device *dev, dray_iova_t iova, size_t len)
{
	return dev->boundary_mask &&
	       (iova & dev->boundary_mask) + len - 1 > dev->boundary_mask;
}

/* --- ways.c: one buffer, one way; each with its inverse --- */

/* Of a buffer that is mapped in its own granules: does it share them? */
static inline bool dr_is_partial(const struct dray_domain *dom, const void *va, size_t len)
{
	return ((uintptr_t)va | len) & dom->io.granule_mask;
}

static inline uint64_t dr_dir_bits(enum dray_dir dir)
{
	return dir == DRAY_TO_DEVICE ? DR_PTE_READ :
	       dir == DRAY_FROM_DEVICE ? DR_PTE_WRITE : DR_PTE_READ | DR_PTE_WRITE;
}

/* Does no buffer of @len bytes give a reason to be copied? The first question: most do not. */
static inline bool dr_way_is_plain(const struct dray_domain *dom, const struct dray_device *dev,
				   bool trusted, size_t len)
{
	return atomic_load_explicit(&dev->plain, memory_order_relaxed) && trusted &&
	       len > atomic_load_explicit(&dom->copy_most, memory_order_relaxed) &&
	       dr_device_mask(dev) >= dom->io.last;
}

/* Must the buffer be copied, and why? Inside the call's read section, or trusted is known. */
enum dr_bounce_why dr_way_why(const struct dr_call *call, const void *va, size_t len);

/* Through a slot. *ret_handle for the receipt. */
int dr_way_bounce(const struct dr_call *call, void *va, size_t len, enum dr_bounce_why why,
		  dray_iova_t *ret_iova, uint64_t *ret_handle);

/* The backend could not pin it: can the CPU reach it, so that a copy would do? */
bool dr_way_can_copy(const struct dr_call *call, void *va, size_t len);

/* The inverse. @r: the receipt. False: not live, or refused by the backend (*ret_live). */
bool dr_way_unbounce(struct dray_domain *dom, const struct dr_receipt *r, bool *ret_live);

/*
 * Is it worth another try after this error, now that waiting unmaps have been flushed? *inout_tries
 * begins at 0.
 */
bool dr_way_retry(const struct dr_call *call, int err, bool fixed, unsigned *inout_tries);

/*
 * Take back [first, first + len) of granules, mapped at once with @guard bytes behind. False when
 * that is not live (*ret_live), or the backend refused.
 */
bool dr_way_unmap(struct dray_domain *dom, dray_iova_t first, size_t len, size_t guard,
		  bool *ret_live);

/* The same in a domain that may be lazy, but not for this: the memory behind it goes next. */
bool dr_way_unmap_strictly(struct dray_domain *dom, dray_iova_t first, size_t len, size_t guard,
			   bool *ret_live);

/* --- sync.c --- */

/*
 * Hand over [off, off + len) of a mapping at @iova, to the device or to the CPU. @va: its buffer,
 * NULL where only the table knows. Inside the mapping, which is the caller's to see to. 0; -EINVAL
 * the receipt's slot is not live.
 */
int dr_sync_bytes(struct dray_domain *dom, const struct dr_receipt *r, dray_iova_t iova, void *va,
		  size_t off, size_t len, bool to_device);

/* At map and unmap: the same for all of it, unless the caller syncs. */
void dr_sync_map(struct dray_domain *dom, const struct dr_receipt *r, dray_iova_t iova, void *va,
		 size_t len);
void dr_sync_unmap(struct dray_domain *dom, const struct dr_receipt *r, dray_iova_t iova, void *va,
		   size_t len);

/* Count a partial granule of a trusted map; in the read section of its call. And its end. */
static inline void dr_partial_begin(struct dray_domain *dom)
{
	dr_count(&dom->io.counters, DR_PARTIAL_BEGUN, 1);
}

static inline void dr_partial_end(struct dray_domain *dom)
{
	dr_count(&dom->io.counters, DR_PARTIAL_ENDED, 1);
}

#endif
