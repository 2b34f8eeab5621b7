// SPDX-License-Identifier: BSD-2-Clause
/* What a driver asks before it cuts its requests: how long, where they meet, what is copied. */
#include "map/map.h"
#include "base/rcu.h"

/* What IOVA caches hold at most: one leaf table's worth of granules. */
#define CACHED_GRANULES 512u

/* Where a device is, its domain held until dr_domain_leave(); NULL: closed, or forked. */
static const struct dr_attachment *enter(const struct dray_device *dev)
{
	struct dr_attachment *att;

	if (!dev || dr_domain_enter((struct dray_device *)(uintptr_t)dev, &att))
		return NULL;
	dr_rcu_read_unlock();
	return att;
}

size_t dray_max_mapping_size(const struct dray_device *dev)
{
	const struct dr_attachment *att = enter(dev);
	struct dray_domain *dom;
	uint64_t first, max;

	if (!att)
		return 0;
	dom = att->dom;
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
	if (dr_domain_can_bounce(dom) && (dev->min_align > 1 || !dr_domain_is_trusted(dom) ||
				(!dom->io.be->translates && dr_device_mask(dev) < dom->io.last))) {
		size_t slot = dr_bounce_max_len(dom->bounce, att->own,
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
	const struct dr_attachment *att = enter(dev);

	if (!att)
		return 0;
	opt = CACHED_GRANULES * ((size_t)att->dom->io.granule_mask + 1);
	dr_domain_leave(att->dom);
	return opt < max ? opt : max;
}

size_t dray_merge_boundary(const struct dray_device *dev)
{
	const struct dr_attachment *att = enter(dev);
	size_t granule = 0;

	if (!att)
		return 0;
	if (att->dom->type == DRAY_DOMAIN_PAGING)
		granule = (size_t)att->dom->io.granule_mask + 1;
	dr_domain_leave(att->dom);
	return granule;
}

bool dray_bounce_present(const struct dray_domain *dom)
{
	return dom && !dr_domain_is_forked(dom) && dr_bounce_is_present(dom->bounce);
}

bool dray_device_uses_bounce(const struct dray_device *dev)
{
	const struct dr_attachment *att = enter(dev);
	struct dray_domain *dom;
	bool uses;

	if (!att)
		return false;
	dom = att->dom;
	uses = dr_domain_can_bounce(dom) &&
	       (dev->min_align > 1 || dr_device_mask(dev) < dom->io.last ||
		!dr_domain_is_trusted(dom) ||
		atomic_load_explicit(&dom->bounce_threshold, memory_order_relaxed) ||
		!atomic_load_explicit(&dev->bd->coherent, memory_order_relaxed));
	dr_domain_leave(dom);
	return uses;
}
