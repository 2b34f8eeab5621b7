// SPDX-License-Identifier: BSD-2-Clause
/* What a domain is, what it has left, and what it did. */
#include "domain/domain.h"
#include "base/err.h"
#include "base/hooks.h"
#include "base/rcu.h"
#include "base/structs.h"

#include <dray/map.h>
#include <dray/stats.h>

#include <errno.h>

enum dray_invalidation dray_domain_invalidation(const struct dray_domain *dom)
{
	(void)dom; /* no backend defers yet, whatever was asked for */
	return DRAY_STRICT;
}

enum dray_domain_type dray_domain_get_type(const struct dray_domain *dom)
{
	return dom->type;
}

static void add_range(struct dray_range *list, uint32_t *n, dray_iova_t first, dray_iova_t last)
{
	if (*n < DRAY_INFO_RANGES)
		list[*n] = (struct dray_range){ first, last };
	++*n;
}

/* Holes as the IOVA space has them, and the windows between them. */
static void list_ranges(const struct dray_domain *dom, struct dray_domain_info *info)
{
	dray_iova_t next = dom->io.first;
	struct dray_range hole;

	for (unsigned i = 0; dr_iova_nth_hole(dom->io.space, i, &hole); i++) {
		add_range(info->holes, &info->n_holes, hole.first, hole.last);
		if (hole.first > next)
			add_range(info->windows, &info->n_windows, next, hole.first - 1);
		if (hole.last >= dom->io.last)
			return;
		next = hole.last + 1;
	}
	add_range(info->windows, &info->n_windows, next, dom->io.last);
}

int dray_domain_info(const struct dray_domain *dom, struct dray_domain_info *inout)
{
	struct dray_domain *d = (struct dray_domain *)(uintptr_t)dom; /* its locks are not const */
	struct dray_domain_info info = { 0 };
	struct dr_iova_counts counts;
	uint64_t gone;
	int err = dr_domain_check(dom);

	if (err)
		return err;
	info.backend = dom->io.ops->kind;
	info.type = dom->type;
	info.invalidation = dray_domain_invalidation(dom);
	info.damaged = atomic_load_explicit(&dom->io.damaged, memory_order_relaxed);
	info.first = dom->io.first;
	info.last = dom->io.last;
	info.memlock_limit = dom->io.ops->pins ? dr_hooks->memlock_limit() : UINT64_MAX;
	info.pgtable_bytes = dr_pgtable_bytes(dom->io.pt);
	gone = dr_counters_sum(&dom->io.counters, DR_UNMAP_BYTES);
	info.mapped_bytes = dr_counters_sum(&dom->io.counters, DR_MAP_BYTES) - gone;
	dr_iova_counts(dom->io.space, &counts);
	info.quarantined_bytes = counts.quarantined_bytes;
	list_ranges(dom, &info);

	pthread_mutex_lock(&d->attach_lock);
	info.granule = dom->io.be->limits.granule;
	info.page_sizes = dom->io.be->limits.page_sizes;
	info.max_op = dom->io.be->max_op;
	info.entries_limit = dom->io.be->limits.entries_limit;
	info.entries_left = dom->io.ops->entries_left(dom->io.be);
	pthread_mutex_unlock(&d->attach_lock);

	pthread_mutex_lock(&dr_life_lock);
	info.devices = dom->devices;
	pthread_mutex_unlock(&dr_life_lock);
	return dr_struct_out(inout, &info, sizeof(info));
}

int dray_stats_get(const struct dray_domain *dom, struct dray_stats *inout)
{
	const struct dr_counters *c;
	struct dray_stats s;

	if (!dom)
		return dr_fail(EINVAL, "domain is NULL; open one first");
	c = &dom->io.counters;
	s = (struct dray_stats){
		.maps = dr_counters_sum(c, DR_MAPS),
		.unmaps = dr_counters_sum(c, DR_UNMAPS),
		.backend_maps = dr_counters_sum(c, DR_BACKEND_MAPS),
		.backend_unmaps = dr_counters_sum(c, DR_BACKEND_UNMAPS),
		.invalidations = dr_counters_sum(c, DR_INVALIDATIONS),
		.map_bytes = dr_counters_sum(c, DR_MAP_BYTES),
		.unmap_bytes = dr_counters_sum(c, DR_UNMAP_BYTES),
		.map_failures = dr_counters_sum(c, DR_MAP_FAILURES),
		.unmap_errors = dr_counters_sum(c, DR_UNMAP_ERRORS),
		.bad_unmaps = dr_counters_sum(c, DR_BAD_UNMAPS),
		.leaks = dr_counters_sum(c, DR_LEAKS),
		.replays = dr_counters_sum(c, DR_REPLAYS),
	};
	return dr_struct_out(inout, &s, sizeof(s));
}

void *dray_iova_to_va(const struct dray_domain *dom, dray_iova_t iova)
{
	if (!dom)
		return NULL;
	if (dom->type == DRAY_DOMAIN_IDENTITY)
		return (void *)(uintptr_t)iova;
	return dr_pgtable_va(dom->io.pt, iova);
}
