// SPDX-License-Identifier: BSD-2-Clause
/*
 * Registered memory, as callers see it: the domain's part. It is held like by a receipt, from
 * before a region is there until after it has gone, so that closing the domain does not take memory
 * away under a driver; and its trust is asked when the region can already be seen by a device that
 * is about to join (dr_domain_distrust_locked() counts first, then looks), so one of the two sees
 * the other.
 */
#include "map/map.h"
#include "base/bits.h"
#include "base/err.h"

#include <dray/region.h>

#include <errno.h>

static int may_add(void *ctx, uint32_t flags)
{
	const struct dray_domain *dom = ctx;

	if ((flags & DRAY_REGION_SHARE_UNTRUSTED) || dr_domain_is_trusted(dom))
		return 0;
	return dr_fail(EPERM, "an untrusted device is in the domain and would reach all of the "
		       "region; pass DRAY_REGION_SHARE_UNTRUSTED if it may");
}

static int add(struct dray_domain *dom, struct dr_region_args *a, struct dray_region **ret_region)
{
	int err;

	if (dom->type == DRAY_DOMAIN_BLOCKED)
		return dr_fail(EPERM, "the domain is BLOCKED; register in a PAGING domain");
	if (dom->type == DRAY_DOMAIN_IDENTITY) {
		if (a->iova != DRAY_IOVA_NONE && a->iova != (uintptr_t)a->va)
			return dr_fail(ERANGE, "an IDENTITY domain has %p at its own address only",
				       a->va);
		a->iova = (uintptr_t)a->va;
		a->flags = (a->flags & ~DRAY_REGION_PREMAPPED) | DR_REGION_IDENTITY;
	}
	err = dr_region_add(dom->regions, a, ret_region);
	/* What waits for a flush holds IOVAs, entries and locked memory. */
	if ((err == -ENOSPC || err == -ENOMEM ||
	     (err == -EEXIST && a->iova != DRAY_IOVA_NONE)) && dr_domain_relieve(dom))
		err = dr_region_add(dom->regions, a, ret_region);
	return err;
}

static int add_in(struct dray_domain *dom, dray_iova_t iova, void *va, size_t len, uint32_t flags,
		  struct dray_region **ret_region)
{
	struct dr_region_args a = {
		.iova = iova, .va = va, .len = len, .flags = flags, .may_add = may_add, .ctx = dom,
	};
	int err = dr_domain_check(dom);

	if (err)
		return err;
	if (!ret_region)
		return dr_fail(EINVAL, "ret_region is NULL; it is needed to unregister");
	if (flags & DR_REGION_IDENTITY)
		return dr_fail(EINVAL, "region flags 0x%x are unknown; use DRAY_REGION_*", flags);
	dr_counters_ready(&dom->io.counters);
	dr_count(&dom->io.counters, DR_BEGUN, 1);
	err = add(dom, &a, ret_region);
	if (err)
		dr_domain_leave(dom);
	return err;
}

int dray_region_register(struct dray_domain *dom, void *va, size_t len, uint32_t flags,
			 struct dray_region **ret_region)
{
	if (flags & DRAY_REGION_PREMAPPED)
		return dr_fail(EINVAL, "DRAY_REGION_PREMAPPED needs the IOVA at which the memory is "
			       "mapped; use dray_region_register_at()");
	return add_in(dom, DRAY_IOVA_NONE, va, len, flags, ret_region);
}

int dray_region_register_at(struct dray_domain *dom, dray_iova_t iova, void *va, size_t len,
			    uint32_t flags, struct dray_region **ret_region)
{
	/* It means "anywhere" from here on. */
	if (iova == DRAY_IOVA_NONE)
		return dr_fail(EINVAL, "DRAY_IOVA_NONE is no address; use dray_region_register()");
	return add_in(dom, iova, va, len, flags, ret_region);
}

int dray_region_unregister(struct dray_region *region)
{
	struct dray_domain *dom;
	bool gone;
	int err;

	if (!region)
		return dr_fail(EINVAL, "region is NULL");
	dom = dr_container_of(dr_region_iospace(region), struct dray_domain, io);
	if (dr_domain_is_forked(dom))
		return dr_fail(EPERM, "this process was forked after the region was registered; it "
			       "is its parent's");
	err = dr_region_remove(region, &gone);
	if (gone)
		dr_domain_leave(dom);
	return err;
}

dray_iova_t dray_translate(const struct dray_domain *dom, const void *va, size_t *inout_len)
{
	if (!dom || (inout_len && !*inout_len))
		return DRAY_IOVA_NONE;
	return dr_region_translate(dom->regions, va, inout_len);
}
