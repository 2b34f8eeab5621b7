// SPDX-License-Identifier: BSD-2-Clause
/*
 * Strict or lazy, trusted or not: what holds for a domain as a whole.
 *
 * 1. Invalidation. Wanted is what the caller asked for; in effect is lazy only if it is wanted, the
 *    backend can put something off, the domain translates at all, and no device in it is untrusted.
 *    Whatever changes one of these, under attach_lock, has the queue follow before it returns:
 *    strict is published, then what waits is flushed (flush/queue.c tells why an unmap that had
 *    read "lazy" cannot slip through).
 *
 * 2. Trust is the domain's, not the device's: a device that may attack reaches every mapping of the
 *    domain it is in, whoever made it. So from before it joins until after it left, each map of any
 *    device is strict, exposes whole granules only, and no pool stays mapped. The order:
 *
 *      untrusted + 1    maps that come now expose nothing but their buffers
 *      grace period     maps that had read the old count have counted what they expose
 *      look             a partial granule or a pool slot out: -EBUSY; a region that is not shared
 *                       with such devices: -EPERM
 *      strict, flush    nothing unmapped before is reachable
 *      attach
 *
 *    A map reads the count and counts a partial granule in one read section, so the look misses
 *    none. The inverse only counts down: what was strict may become lazy.
 */
#include "domain/domain.h"
#include "base/err.h"
#include "base/rcu.h"

#include <dray/region.h>
#include <dray/stats.h>

#include <errno.h>

static bool may_be_lazy(const struct dray_domain *dom)
{
	return dom->wants_lazy && dom->type == DRAY_DOMAIN_PAGING &&
	       dom->io.be->defers != DR_DEFER_NOTHING && dr_domain_is_trusted(dom);
}

int dr_domain_apply_invalidation_locked(struct dray_domain *dom)
{
	bool lazy = may_be_lazy(dom);
	int err = lazy == dr_flush_is_lazy(dom->flush) ? 0 : dr_flush_set_lazy(dom->flush, lazy);

	dr_domain_publish_choice_locked(dom);
	return err;
}

int dray_domain_set_invalidation(struct dray_domain *dom, enum dray_invalidation mode)
{
	int err = dr_domain_check(dom);
	bool was;

	if (err)
		return err;
	if ((unsigned)mode > DRAY_LAZY)
		return dr_fail(EINVAL, "invalidation %u is unknown; use DRAY_STRICT or DRAY_LAZY",
			       (unsigned)mode);
	pthread_mutex_lock(&dom->attach_lock);
	was = dom->wants_lazy;
	dom->wants_lazy = mode == DRAY_LAZY;
	err = dr_domain_apply_invalidation_locked(dom);
	if (err)
		dom->wants_lazy = was;
	pthread_mutex_unlock(&dom->attach_lock);
	return err;
}

enum dray_invalidation dray_domain_invalidation(const struct dray_domain *dom)
{
	return dom && dom->flush && dr_flush_is_lazy(dom->flush) ? DRAY_LAZY : DRAY_STRICT;
}

/*
 * Granules that hold more than a buffer, mapped by trusted maps. Ended first: it never passes. What a
 * closing device left mapped was taken back without its count; once no receipt is out, nothing of
 * what was counted is mapped any more.
 */
static bool any_partial(const struct dray_domain *dom)
{
	uint64_t ended = dr_counters_sum(&dom->io.counters, DR_PARTIAL_ENDED);

	if (dr_counters_sum(&dom->io.counters, DR_PARTIAL_BEGUN) == ended)
		return false;
	ended = dr_counters_sum(&dom->io.counters, DR_ENDED);
	return dr_counters_sum(&dom->io.counters, DR_BEGUN) != ended;
}

static int check_exposed_locked(struct dray_domain *dom)
{
	if (dr_regions_any(dom->regions, DRAY_REGION_SHARE_UNTRUSTED))
		return dr_fail(EPERM, "a region is registered without DRAY_REGION_SHARE_UNTRUSTED; "
			       "unregister it, or use another domain for the untrusted device");
	if (any_partial(dom))
		return dr_fail(EBUSY, "a buffer is mapped that shares its granule with other "
			       "memory; unmap it before an untrusted device joins");
	if (dr_bounce_retire_idle(dom->bounce))
		return dr_fail(EBUSY, "a bounce slot is mapped; unmap its buffer before an "
			       "untrusted device joins");
	return 0;
}

int dr_domain_distrust_locked(struct dray_domain *dom)
{
	int err;

	if (atomic_fetch_add_explicit(&dom->untrusted, 1, memory_order_seq_cst))
		return 0;
	dr_rcu_synchronize(); /* see 2 */
	err = check_exposed_locked(dom);
	if (!err)
		err = dr_domain_apply_invalidation_locked(dom);
	if (err)
		dr_domain_distrust_undo_locked(dom);
	return err;
}

void dr_domain_distrust_undo_locked(struct dray_domain *dom)
{
	if (atomic_fetch_sub_explicit(&dom->untrusted, 1, memory_order_release) == 1)
		dr_bounce_allow_pools(dom->bounce);
	/* To lazy again may fail for want of a thread; strict is always right. */
	if (dr_domain_apply_invalidation_locked(dom))
		dr_log(&dom->io.log, LOG_NOTICE, "domain stays strict: %s", dray_errmsg());
}

bool dr_domain_relieve(struct dray_domain *dom)
{
	struct dr_iova_counts counts;

	/* Retired is what waits for a flush, and what waits to be given back after one. */
	dr_iova_counts(dom->io.space, &counts);
	if (!counts.retired_bytes)
		return false;
	dr_flush_now(dom->flush, DR_FLUSH_PRESSURE);
	return true;
}

int dray_flush(struct dray_domain *dom)
{
	int err = dr_domain_check(dom);

	return err ? err : dr_flush_now(dom->flush, DR_FLUSH_EXPLICIT);
}

int dray_poll(struct dray_domain *dom)
{
	int err = dr_domain_check(dom);

	if (err)
		return err;
	err = dr_flush_poll(dom->flush);
	dr_bounce_trim(dom->bounce);
	if (dr_pgtable_wants_reclaim(dom->io.pt))
		dr_pgtable_reclaim(dom->io.pt);
	return err;
}
