// SPDX-License-Identifier: BSD-2-Clause
/*
 * Devices that change while they are open: another domain, another mask.
 *
 * 1. A move is one step at the backend: the device reaches all of the new domain and nothing of the
 *    old one, or nothing has changed. Around it, reserve, act, publish:
 *
 *      join     the record in the new domain, which counts one device more   undo: part
 *      own      bounce pools of the device's own there (own.c)               undo: leave
 *      trust    the new domain distrusts all, if this device may attack      undo: leave
 *      switch   the backend
 *      publish  dev->here; cannot fail
 *      leave    the old domain, a grace period later
 *
 *    Both attach locks are held from own to publish, so of two threads that move one device the
 *    second finds it elsewhere.
 *
 * 2. Receipts stay in the domain they were made in; so a mask is checked against what is mapped in
 *    the domain that the device is in now, and an old domain's mappings are reached by nobody.
 */
#include "domain/attachment.h"
#include "base/bits.h"
#include "base/err.h"

#include <errno.h>
#include <inttypes.h>

/* Both domains' attach locks, always in the same order. */
static void lock_two(struct dray_domain *a, struct dray_domain *b)
{
	pthread_mutex_lock(a < b ? &a->attach_lock : &b->attach_lock);
	pthread_mutex_lock(a < b ? &b->attach_lock : &a->attach_lock);
}

static void unlock_two(struct dray_domain *a, struct dray_domain *b)
{
	pthread_mutex_unlock(&a->attach_lock);
	pthread_mutex_unlock(&b->attach_lock);
}

/* Between the two domains' locks. All or nothing. */
static int move_locked(struct dray_device *dev, const struct dr_attachment *was,
		       struct dr_attachment *att)
{
	struct dray_domain *dom = att->dom;
	bool fresh;
	int err;

	if (atomic_load_explicit(&dev->here, memory_order_relaxed) != was)
		return dr_fail(EBUSY, "another thread moves device %s; try again", dev->name);
	fresh = !att->own;
	err = dr_device_own_enter_locked(att);
	if (err)
		return err;
	err = dr_device_enter_trust_locked(dev, dom);
	if (!err) {
		err = dom->io.ops->switch_to(dev->bd, dom->io.be);
		dr_device_leave_trust_locked(dev, err ? dom : was->dom);
	}
	if (err) {
		dr_device_own_leave_locked(att, fresh);
		return err;
	}
	dr_device_set_plain(dev);
	dr_domain_measure_locked(dom);
	atomic_store_explicit(&dev->here, att, memory_order_release);
	return 0;
}

static int move(struct dray_device *dev, struct dr_attachment *was, struct dray_domain *dom)
{
	struct dray_domain *from = was->dom;
	struct dr_attachment *att;
	int err;

	if (from->io.ops != dom->io.ops)
		return dr_fail(EINVAL, "device %s is on %s, the domain on %s; open the device in it",
			       dev->name, from->io.ops->name, dom->io.ops->name);
	if (!dom->io.ops->can_switch)
		return dr_fail(ENOTSUP, "%s cannot move a device between domains; close it and "
			       "open it in the other", dom->io.ops->name);
	err = dr_device_join(dev, dom, &att);
	if (err)
		return err;
	lock_two(from, dom);
	err = move_locked(dev, was, att);
	unlock_two(from, dom);
	if (err) {
		dr_device_part(dom);
		return err;
	}
	dr_domain_share_mask(from);
	dr_domain_share_mask(dom);
	/* It stays until the caller lets go of it as well. */
	dr_device_leave_domain(from);
	pthread_mutex_lock(&from->attach_lock);
	dr_device_own_leave_locked(was, false);
	pthread_mutex_unlock(&from->attach_lock);
	return 0;
}

int dray_device_set_domain(struct dray_device *dev, struct dray_domain *dom)
{
	struct dr_attachment *was;
	struct dray_domain *from;
	int err = dr_device_check(dev);

	if (!err)
		err = dr_domain_check(dom);
	if (err)
		return err;
	was = dr_device_hold_here(dev);
	if (!was)
		return -EINVAL;
	from = was->dom;
	err = from == dom ? 0 : move(dev, was, dom);
	dr_device_part(from);
	dr_reap();
	return err;
}

/* Has the device a mapping in the domain that ends above the mask? */
static int check_mapped_below(const struct dr_attachment *att, uint64_t mask)
{
	const struct dray_domain *dom = att->dom;
	struct dr_pt_mapping m;

	for (dray_iova_t from = dom->io.first;
	     from <= dom->io.last && dr_pgtable_next(dom->io.pt, from, dom->io.last, &m);
	     from = m.iova + m.len)
		if (dr_pte_owner(m.bits) == att->owner && m.iova + m.len - 1 > mask)
			return dr_fail(EBUSY, "0x%" PRIx64 "+0x%zx is mapped above mask 0x%" PRIx64
				       "; unmap it first", m.iova, m.len, mask);
	if (dr_bounce_out_above(dom->bounce, dr_pte_owner_bits(att->owner), mask) ||
	    dr_regions_out_above(dom->regions, mask))
		return dr_fail(EBUSY, "a copy, or a mapping in a region, is out above 0x%" PRIx64
			       "; unmap it first", mask);
	return 0;
}

int dray_device_set_mask(struct dray_device *dev, uint64_t mask)
{
	struct dr_attachment *att;
	struct dray_domain *dom;
	int err = dr_device_check(dev);

	if (err)
		return err;
	if (!dr_is_ones(mask))
		return dr_fail(EINVAL, "mask 0x%" PRIx64 " is not a mask of ones; use 2^n - 1",
			       mask);
	if (!mask)
		mask = UINT64_MAX;
	att = dr_device_lock_here(dev);
	if (!att)
		return -EINVAL;
	dom = att->dom;
	if (mask < dom->io.first)
		err = dr_fail(ERANGE, "nothing in the domain lies below 0x%" PRIx64 "; its window "
			      "begins at 0x%" PRIx64, mask, dom->io.first);
	else
		err = check_mapped_below(att, mask);
	if (!err) {
		atomic_store_explicit(&dev->dma_mask, mask, memory_order_relaxed);
		dr_domain_share_mask(dom);
	}
	dr_device_unlock_here(att);
	return err;
}
