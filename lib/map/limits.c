// SPDX-License-Identifier: BSD-2-Clause
/* What a driver asks before it cuts its requests: how long, where they meet, what is copied. */
#include "map/map.h"
#include "base/rcu.h"

/* What IOVA caches hold at most: one leaf table's worth of granules. */
#define CACHED_GRANULES 512u

/* The domain a device is in, held by a receipt that leave() ends; NULL: closed, or forked. */
static struct dray_domain *enter(const struct dray_device *dev)
{
	struct dray_domain *dom;
	unsigned owner;

	if (!dev || dr_domain_enter((struct dray_device *)(uintptr_t)dev, &dom, &owner))
		return NULL;
	dr_rcu_read_unlock();
	return dom;
}

static bool can_bounce(const struct dray_domain *dom)
{
	return (dom->type == DRAY_DOMAIN_PAGING || !dom->io.be->translates) &&
	       !(dom->flags & DRAY_DOMAIN_NO_BOUNCE);
}

size_t dray_max_mapping_size(const struct dray_device *dev)
{
	struct dray_domain *dom = enter(dev);
	uint64_t first, max;

	if (!dom)
		return 0;
	/* The granule at 0 is nobody's. */
	first = dom->io.first ? dom->io.first : dom->io.granule_mask + 1;
	max = dom->io.last - first + 1;
	if (dr_device_mask(dev) < dom->io.last)
		max = dr_device_mask(dev) < first ? 0 : dr_device_mask(dev) - first + 1;
	if (dom->type == DRAY_DOMAIN_BLOCKED)
		max = 0;
	if (dev->max_segment && dev->max_segment < max)
		max = dev->max_segment;
	if (dev->boundary_mask && dev->boundary_mask < max)
		max = dev->boundary_mask + 1;
	/* Any buffer at all may be one that has to be copied: not aligned enough, or not whole. */
	if (can_bounce(dom) && (dev->min_align > 1 || !dr_domain_is_trusted(dom) ||
				(!dom->io.be->translates && dr_device_mask(dev) < dom->io.last))) {
		size_t slot = dr_bounce_max_len(dom->bounce, dev->min_align,
						dr_domain_is_trusted(dom));

		if (slot < max)
			max = slot;
	}
	dr_domain_leave(dom);
	return (size_t)max;
}

size_t dray_opt_mapping_size(const struct dray_device *dev)
{
	size_t max = dray_max_mapping_size(dev), opt;
	struct dray_domain *dom = enter(dev);

	if (!dom)
		return 0;
	opt = CACHED_GRANULES * ((size_t)dom->io.granule_mask + 1);
	dr_domain_leave(dom);
	return opt < max ? opt : max;
}

size_t dray_merge_boundary(const struct dray_device *dev)
{
	struct dray_domain *dom = enter(dev);
	size_t granule = 0;

	if (!dom)
		return 0;
	if (dom->type == DRAY_DOMAIN_PAGING)
		granule = (size_t)dom->io.granule_mask + 1;
	dr_domain_leave(dom);
	return granule;
}

bool dray_bounce_present(const struct dray_domain *dom)
{
	return dom && !dr_domain_is_forked(dom) && dr_bounce_is_present(dom->bounce);
}

bool dray_device_uses_bounce(const struct dray_device *dev)
{
	struct dray_domain *dom = enter(dev);
	bool uses;

	if (!dom)
		return false;
	uses = can_bounce(dom) &&
	       (dev->min_align > 1 || dr_device_mask(dev) < dom->io.last ||
		!dr_domain_is_trusted(dom) ||
		atomic_load_explicit(&dom->bounce_threshold, memory_order_relaxed) ||
		!atomic_load_explicit(&dev->bd->coherent, memory_order_relaxed));
	dr_domain_leave(dom);
	return uses;
}
