// SPDX-License-Identifier: BSD-2-Clause
/* What a domain is, what it has left, and what it did. */
#include "domain/domain.h"
#include "bounce/why.h"
#include "base/err.h"
#include "base/hooks.h"
#include "base/rcu.h"
#include "base/structs.h"

#include <dray/map.h>
#include <dray/stats.h>

#include <errno.h>

enum dray_domain_type dray_domain_get_type(const struct dray_domain *dom)
{
	/* NULL is no domain: DEFAULT, which no domain reports. */
	return dom ? dom->type : DRAY_DOMAIN_DEFAULT;
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

static uint32_t clamp(uint64_t ns)
{
	return ns < UINT32_MAX ? (uint32_t)ns : UINT32_MAX;
}

static void tell_costs_locked(const struct dray_domain *dom, struct dray_domain_info *info)
{
	const struct dr_costs *c = &dom->costs;

	info->cost_slot_ns = clamp(c->slot_ns);
	for (unsigned i = 0; i < DRAY_COST_SIZES; i++) {
		info->cost_copy_ns[i] = clamp(c->copy_ns[i]);
		info->cost_map_ns[i] = clamp(c->map_ns[i]);
		info->cost_lazy_map_ns[i] = clamp(c->lazy_ns[i]);
	}
	info->copy_up_to = dr_domain_copy_up_to(dom, false, false);
	info->copy_up_to_once = dr_domain_copy_up_to(dom, false, true);
	info->lazy_copy_up_to = dr_domain_copy_up_to(dom, true, false);
	info->lazy_copy_up_to_once = dr_domain_copy_up_to(dom, true, true);
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
	tell_costs_locked(dom, &info);
	pthread_mutex_unlock(&d->attach_lock);

	pthread_mutex_lock(&dr_life_lock);
	info.devices = dom->devices;
	pthread_mutex_unlock(&dr_life_lock);
	return dr_struct_out(inout, &info, sizeof(info));
}

void dray_domain_log(const struct dray_domain *dom, int level, const char *msg)
{
	if (dom && msg)
		dr_log(&dom->io.log, level, "%s", msg);
}

static void add_flushes(const struct dray_domain *dom, struct dray_stats *s)
{
	struct dr_flush_stats f;

	dr_flush_stats(dom->flush, &f);
	s->flushes_full = f.flushes[DR_FLUSH_FULL];
	s->flushes_bytes = f.flushes[DR_FLUSH_BYTES];
	s->flushes_timer = f.flushes[DR_FLUSH_TIMER];
	s->flushes_explicit = f.flushes[DR_FLUSH_EXPLICIT];
	s->flushes_pressure = f.flushes[DR_FLUSH_PRESSURE];
	s->flushes_switch = f.flushes[DR_FLUSH_SWITCH];
	s->flushes_close = f.flushes[DR_FLUSH_CLOSE];
	s->flushed = f.flushed;
	s->ranged_unmaps = f.ranges;
	s->ranged_mappings = f.ranged;
	s->ranged_gaps = f.gaps;
	s->waiting_entries = f.waiting_entries;
	s->waiting_bytes = f.waiting_bytes;
	s->longest_stale_ns = f.longest_ns;
}

static uint64_t bounced(const struct dray_domain *dom, enum dr_bounce_why why)
{
	return dr_counters_sum(&dom->io.counters, (enum dr_counter)(DR_BOUNCE_WHY + (int)why));
}

static void add_bounces(const struct dray_domain *dom, struct dray_stats *s)
{
	struct dr_bounce_stats b;

	dr_bounce_stats(dom->bounce, NULL, &b);
	s->bounce_mask = bounced(dom, DR_BOUNCE_MASK);
	s->bounce_align = bounced(dom, DR_BOUNCE_ALIGN);
	s->bounce_edge = bounced(dom, DR_BOUNCE_EDGE);
	s->bounce_line = bounced(dom, DR_BOUNCE_LINE);
	s->bounce_pin = bounced(dom, DR_BOUNCE_PIN);
	s->bounce_cheaper = bounced(dom, DR_BOUNCE_CHEAPER);
	s->bounce_in_bytes = b.copied_in_bytes;
	s->bounce_out_bytes = b.copied_out_bytes;
	s->bounce_mapped_bytes = b.mapped_bytes;
	s->bounce_used_bytes = b.used_bytes;
	s->bounce_high_water_bytes = b.high_water_bytes;
	s->bounce_grows = b.grows;
	s->bounce_shrinks = b.shrinks;
	s->bounce_failures = b.failures;
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
	/* A child sees what was counted before the fork; these take locks that nobody gives back. */
	if (!dr_domain_is_forked(dom)) {
		add_flushes(dom, &s);
		add_bounces(dom, &s);
	}
	return dr_struct_out(inout, &s, sizeof(s));
}

void *dray_iova_to_va(const struct dray_domain *dom, dray_iova_t iova)
{
	void *va;

	if (!dom)
		return NULL;
	if (dom->type == DRAY_DOMAIN_IDENTITY)
		return (void *)(uintptr_t)iova;
	va = dr_pgtable_va(dom->io.pt, iova);
	/* Pools stay mapped between their slots' lives. */
	if (va && dr_bounce_is_spare(dom->bounce, iova))
		return NULL;
	/* What others mapped is in no table of ours. */
	return va ? va : dr_regions_va(dom->regions, iova);
}
