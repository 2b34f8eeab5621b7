// SPDX-License-Identifier: BSD-2-Clause
/*
 * The automatic way: which buffers are copied because that is cheaper than to map them.
 *
 * 1. Of the ways a map may go (map/map.c, 2) only one is chosen by cost, and only where more than
 *    one is legal: registered memory is looked up, which nothing beats; what must be copied is.
 *    What is left is copied up to a size and mapped above it. So the choice is a comparison with
 *    one number, and there are four of them: a lazy map is cheaper than a strict one, and a buffer
 *    that only the device reads is copied once, others twice. The mode in effect says which one
 *    holds, at each map. A fifth is the greater one of the mode in effect: what is longer is mapped
 *    without another question.
 *
 * 2. The numbers follow from costs (bounce/measure.c), which the domain's opener gives or which are
 *    measured: when the first device has joined, because without one nothing is pinned, nothing has
 *    to be invalidated, and nobody can map; and when the software IOMMU is told other costs. A
 *    device that joins later finds what is known already.
 *
 * 3. Nothing promised is weakened: a copy for a trusted device is as strict as the mode is, since
 *    nothing of the buffer itself was ever reachable; while an untrusted device is in the domain
 *    nothing is copied but what must be; NO_BOUNCE holds (map/ways.c looks at all three first).
 *
 * 4. Threads. Costs are guarded by attach_lock. Maps read the numbers alone, each true for itself;
 *    a map beside a measurement goes by the old or the new one, and both are legal.
 *
 * 5. What can fail: measuring, which is no reason not to open a domain or a device. Then nothing is
 *    copied that need not be, until the next device joins and it is tried again.
 */
#include "domain/domain.h"
#include "base/log.h"

#include <dray/stats.h>

void dr_domain_publish_choice_locked(struct dray_domain *dom)
{
	size_t asked = atomic_load_explicit(&dom->bounce_threshold, memory_order_relaxed);
	/* What no slot holds would be tried in vain. */
	size_t most = dr_bounce_max_len(dom->bounce, 0, true), longest = 0;

	for (unsigned lazy = 0; lazy < 2; lazy++)
		for (unsigned once = 0; once < 2; once++) {
			size_t up_to = asked;

			if (asked == DRAY_BOUNCE_AUTO)
				up_to = dom->costs_known ?
					dr_costs_threshold(&dom->costs, lazy, once) : 0;
			if (up_to > most)
				up_to = most;
			atomic_store_explicit(&dom->copy_up_to[lazy][once], up_to,
					      memory_order_relaxed);
			if (lazy == dr_flush_is_lazy(dom->flush) && up_to > longest)
				longest = up_to;
		}
	atomic_store_explicit(&dom->copy_most, longest, memory_order_relaxed);
}

static bool any(const uint32_t ns[DRAY_COST_SIZES])
{
	for (unsigned i = 0; i < DRAY_COST_SIZES; i++)
		if (ns[i])
			return true;
	return false;
}

bool dr_costs_are_given(const struct dray_domain_opts *o)
{
	return o->cost_slot_ns || any(o->cost_copy_ns) || any(o->cost_map_ns) ||
	       any(o->cost_lazy_map_ns);
}

void dr_domain_init_costs(struct dray_domain *dom, const struct dray_domain_opts *o)
{
	_Static_assert(DRAY_COST_SIZES == DR_COST_SIZES, "costs are given as they are measured");

	dom->costs = (struct dr_costs){ .slot_ns = o->cost_slot_ns };
	for (unsigned i = 0; i < DR_COST_SIZES; i++) {
		dom->costs.copy_ns[i] = o->cost_copy_ns[i];
		dom->costs.map_ns[i] = o->cost_map_ns[i];
		dom->costs.lazy_ns[i] = o->cost_lazy_map_ns[i];
	}
	dom->costs_given = dom->costs_known = dr_costs_are_given(o);
	dr_domain_choose_locked(dom, o->bounce_threshold);
}

static bool is_automatic(const struct dray_domain *dom)
{
	return !dom->costs_given && dom->type == DRAY_DOMAIN_PAGING &&
	       atomic_load_explicit(&dom->bounce_threshold, memory_order_relaxed) ==
		       DRAY_BOUNCE_AUTO;
}

void dr_domain_measure_locked(struct dray_domain *dom)
{
	/* No pool is mapped beside an untrusted device, not even for a moment. */
	if (!is_automatic(dom) || dom->costs_known || !dr_domain_is_trusted(dom))
		return;
	if (dr_bounce_measure(&dom->io, dom->flush, &dom->costs)) {
		dr_log(&dom->io.log, LOG_NOTICE, "what copying and mapping cost cannot be measured "
		       "(%s); nothing is copied that need not be", dray_errmsg());
		return;
	}
	dom->costs_known = true;
	dr_domain_publish_choice_locked(dom);
}

static bool is_inhabited(struct dray_domain *dom)
{
	bool any_here = false;

	pthread_mutex_lock(&dr_life_lock);
	for (struct dr_attachment *att = dom->attachments; att; att = att->next_of_domain)
		any_here |= atomic_load_explicit(&att->dev->here, memory_order_relaxed) == att;
	pthread_mutex_unlock(&dr_life_lock);
	return any_here;
}

void dr_domain_costs_changed_locked(struct dray_domain *dom)
{
	if (!is_automatic(dom))
		return;
	dom->costs = (struct dr_costs){ 0 };
	dom->costs_known = false;
	dr_domain_publish_choice_locked(dom);
	if (is_inhabited(dom))
		dr_domain_measure_locked(dom);
}

void dr_domain_choose_locked(struct dray_domain *dom, size_t bounce_threshold)
{
	atomic_store_explicit(&dom->bounce_threshold, bounce_threshold, memory_order_relaxed);
	dr_domain_publish_choice_locked(dom);
}
