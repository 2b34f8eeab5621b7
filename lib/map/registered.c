// SPDX-License-Identifier: BSD-2-Clause
/*
 * The shortest way: memory that is registered has been mapped all along.
 *
 * 1. A map finds the region in the domain's table and counts itself out of it, inside one read
 *    section with reading the device's domain; an unmap counts itself back. Nothing is taken, nothing
 *    is acted upon; the receipt is all that there is to write.
 *
 * 2. Such a receipt does not hold the domain: the region does, from its registration until it is
 *    unregistered, and it cannot be unregistered while anything is out. So counting back is the
 *    unmap's last touch; the domain may be gone right after it. That is why the statistics are
 *    counted before.
 *
 * 3. When the domain's last device closes, what is out is settled (domain/leaks.c) and a new era
 *    begins. A receipt of an earlier one is refused: it would be counted back twice.
 *
 * 4. A device that asks more of an IOVA than its mask (plain is false) has it checked; where the
 *    region's address does not do, the buffer goes another way: it is copied, or mapped for itself.
 *
 * 5. A list finds a region once for all elements that follow each other in it, and counts them at
 *    once: 43 instructions for an element and its unmap, where finding and counting each takes
 *    271.
 */
#include "map/map.h"
#include "map/segments.h"
#include "base/rcu.h"

bool dr_device_suits(const struct dray_device *dev, dray_iova_t iova, size_t len)
{
	return !(dev->max_segment && len > dev->max_segment) &&
	       !(dev->min_align && (iova & (dev->min_align - 1))) && !dr_crosses(dev, iova, len) &&
	       atomic_load_explicit(&dev->bd->coherent, memory_order_relaxed);
}

bool dr_unmap_registered(struct dray_domain *dom, struct dray_mapping *m)
{
	uint64_t handle = dr_receipt_handle(m->cookie[1]);

	*m = (struct dray_mapping){ 0 };
	if (__builtin_expect(dr_domain_is_forked(dom), 0))
		return true;
	if (__builtin_expect(dr_region_handle(dom, handle & 0xffffff) != handle, 0)) {
		dr_count(&dom->io.counters, DR_BAD_UNMAPS, 1);
		dr_log(&dom->io.log, LOG_ERR, "unmap of a receipt that was settled when the last "
		       "device closed");
		return false;
	}
	dr_count(&dom->io.counters, DR_UNMAPS, 1);
	dr_region_leave(dom->regions, handle & 0xffffff); /* the last touch: see 2 */
	return true;
}

/* The cookie of elements in a region; false: not all of it is where the device reaches it. */
static bool view_cookie(const struct dr_attachment *att, const struct dr_region_view *view,
			enum dray_dir dir, uint32_t flags, uint64_t *ret_cookie)
{
	struct dr_receipt r = {
		.owner = att->owner, .dir = dir, .way = DR_WAY_REGION,
		.no_sync = flags & DRAY_MAP_NO_SYNC,
		.handle = dr_region_handle(att->dom, view->index),
	};

	*ret_cookie = dr_receipt_pack(&r);
	return view->iova + view->len - 1 <= dr_device_mask(att->dev);
}

/* Take back the counts of elements [0, end). */
static void uncount(struct dray_domain *dom, struct dray_sg *sg, unsigned end)
{
	for (unsigned i = 0; i < end; i++) {
		dr_region_handle_leave(dom, dr_receipt_handle(sg[i].cookie[1]), 1);
		sg[i].cookie[0] = sg[i].cookie[1] = 0;
	}
}

/* Where each element is, in its cookies. False: not all are registered; nothing is counted. */
static bool find_all(const struct dr_attachment *att, struct dray_sg *sg, unsigned n,
		     enum dray_dir dir, uint32_t flags)
{
	struct dr_regions *regions = att->dom->regions;
	struct dr_region_view view;
	uint64_t cookie;
	unsigned i = 0, run;

	do {
		run = i;
		if (!dr_region_view(regions, sg[i].va, dir, &view) ||
		    !view_cookie(att, &view, dir, flags, &cookie))
			break;
		for (; i < n; i++) {
			uint64_t off = (uintptr_t)sg[i].va - view.va;

			/* An empty one, less one, is longer than any. */
			if (off >= view.len || sg[i].len - 1 >= view.len - off)
				break;
			sg[i].cookie[0] = view.iova + off;
			sg[i].cookie[1] = cookie;
		}
		dr_region_count_out(regions, view.index, i - run);
	} while (i != run && i < n);
	if (i == n)
		return true;
	uncount(att->dom, sg, i);
	return false;
}

unsigned dr_map_registered_list(struct dray_device *dev, struct dray_sg *sg, unsigned n,
				enum dray_dir dir, uint32_t flags)
{
	struct dr_attachment *att;
	unsigned out = 0;

	if (!dev || dr_device_is_forked(dev))
		return 0;
	dr_rcu_read_lock();
	att = atomic_load_explicit(&dev->here, memory_order_acquire);
	if (att && atomic_load_explicit(&dev->plain, memory_order_relaxed) &&
	    find_all(att, sg, n, dir, flags)) {
		out = dr_segments(dev, sg, n, sg[0].cookie[0], sg);
		sg[0].cookie[0] = (uintptr_t)att->dom;
		dr_counters_ready(&att->dom->io.counters);
		dr_count(&att->dom->io.counters, DR_MAPS, 1);
	}
	dr_rcu_read_unlock();
	return out;
}
