// SPDX-License-Identifier: BSD-2-Clause
/* What a closing device left mapped: found in the table by its owner number, and taken back. */
#include "domain/domain.h"
#include "base/rcu.h"

#include <inttypes.h>

/* How long the live range is that a mapping begins; 0: none. Some have a guard behind them. */
static size_t live_len(const struct dray_domain *dom, const struct dr_pt_mapping *m)
{
	size_t guard = dom->io.guard;

	if (guard && dr_iova_is_live(dom->io.space, m->iova, m->len + guard, NULL))
		return m->len + guard;
	return dr_iova_is_live(dom->io.space, m->iova, m->len, NULL) ? m->len : 0;
}

static void say(void *ctx, dray_iova_t iova, size_t len)
{
	struct dray_domain *dom = ctx;

	dr_log(&dom->io.log, LOG_WARNING, "device closed with 0x%" PRIx64 "+0x%zx mapped; unmapped",
	       iova, len);
}

void dr_domain_unmap_owner(struct dray_domain *dom, unsigned owner)
{
	struct dr_pt_mapping m;
	dray_iova_t from = dom->io.first;
	unsigned slots = dr_bounce_unmap_owner(dom->bounce, dr_pte_owner_bits(owner), say, dom);
	size_t len;

	dr_count(&dom->io.counters, DR_LEAKS, slots);
	for (; slots; slots--)
		dr_domain_leave(dom);

	while (from <= dom->io.last && dr_pgtable_next(dom->io.pt, from, dom->io.last, &m)) {
		/* The table cannot hold 2^64, so this does not wrap. */
		from = m.iova + m.len;
		/* What was refused before is quarantined: its receipt has ended, nobody owns it. */
		len = dr_pte_owner(m.bits) == owner ? live_len(dom, &m) : 0;
		if (!len)
			continue;
		dr_act_release(&dom->io, m.iova, len, dr_act_unmap(&dom->io, m.iova, m.len) != 0);
		dr_count(&dom->io.counters, DR_LEAKS, 1);
		say(dom, m.iova, m.len);
		dr_domain_leave(dom);
	}
}

/*
 * Receipts inside regions are of no device: their memory stays mapped. They are settled when nobody
 * is left that could use it. A device that joins meanwhile waits for attach_lock before it maps.
 */
void dr_domain_settle_regions_locked(struct dray_domain *dom)
{
	uint64_t out;
	bool last;

	pthread_mutex_lock(&dr_life_lock);
	last = dom->devices == 1;
	pthread_mutex_unlock(&dr_life_lock);
	if (!last)
		return;
	out = dr_regions_clear_leaks(dom->regions);
	if (!out)
		return;
	atomic_fetch_add_explicit(&dom->region_era, 1, memory_order_relaxed);
	/* They held no domain: the regions do. */
	dr_count(&dom->io.counters, DR_LEAKS, out);
	dr_log(&dom->io.log, LOG_WARNING, "last device closed with %" PRIu64 " mappings out in "
	       "regions; settled", out);
}
