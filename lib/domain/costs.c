// SPDX-License-Identifier: BSD-2-Clause
/*
 * The automatic way: which buffers are copied because that is cheaper than to map them.
 *
 * 1. Of the ways a map may go (map/map.c, 2) only one is chosen by cost, and only where more than
 *    one is legal: registered memory is looked up, which nothing beats; what must be copied is.
 *    What is left is copied if its length is in one of a few runs, most often one from nothing up
 *    to a size. There are four such lists: a lazy map is cheaper than a strict one, and a buffer
 *    that only the device reads is copied once, others twice. The mode in effect says which one
 *    holds, at each map. One number beside them is the greatest length of the mode in effect: what
 *    is longer is mapped without another question.
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
 * 4. Threads. Costs are guarded by attach_lock. Maps read the runs alone, number by number; a map
 *    beside a measurement goes by old or new ones, or by both, and either way is legal.
 *
 * 5. What can fail: measuring, which is no reason not to open a domain or a device. Then nothing is
 *    copied that need not be, until the next device joins and it is tried again.
 */
#include "domain/domain.h"
#include "base/log.h"

#include <dray/stats.h>

/* The runs of sizes that are copied, none of them longer than @most. Returns the greatest. */
static size_t publish(struct dr_copied *copied, const struct dr_copy_run runs[DR_COPY_RUNS],
		      size_t most)
{
	size_t longest = 0;

	for (unsigned i = 0; i < DR_COPY_RUNS; i++) {
		size_t up_to = runs[i].up_to < most ? runs[i].up_to : most;
		size_t above = runs[i].above < up_to ? runs[i].above : up_to;

		if (above < up_to)
			longest = up_to;
		atomic_store_explicit(&copied->run[i].above, above, memory_order_relaxed);
		atomic_store_explicit(&copied->run[i].up_to, up_to, memory_order_relaxed);
	}
	return longest;
}

void dr_domain_publish_choice_locked(struct dray_domain *dom)
{
	size_t asked = atomic_load_explicit(&dom->bounce_threshold, memory_order_relaxed);
	/* What no slot holds would be tried in vain. */
	size_t most = dr_bounce_max_len(dom->bounce, NULL, true), longest = 0;

	for (unsigned lazy = 0; lazy < 2; lazy++)
		for (unsigned once = 0; once < 2; once++) {
			struct dr_copy_run runs[DR_COPY_RUNS] = { { 0 } };
			size_t up_to;

			if (asked != DRAY_BOUNCE_AUTO)
				runs[0].up_to = asked;
			else if (dom->costs_known)
				dr_costs_choose(&dom->costs, lazy, once, runs);
			up_to = publish(&dom->copied[lazy][once], runs, most);
			if (lazy == dr_flush_is_lazy(dom->flush) && up_to > longest)
				longest = up_to;
		}
	atomic_store_explicit(&dom->copy_most, longest, memory_order_relaxed);
}

size_t dr_domain_copy_up_to(const struct dray_domain *dom, bool lazy, bool once)
{
	const struct dr_copied *copied = &dom->copied[lazy][once];
	size_t longest = 0;

	for (unsigned i = 0; i < DR_COPY_RUNS; i++) {
		size_t up_to = atomic_load_explicit(&copied->run[i].up_to, memory_order_relaxed);

		if (up_to > atomic_load_explicit(&copied->run[i].above, memory_order_relaxed))
			longest = up_to;
	}
	return longest;
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
