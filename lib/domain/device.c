// SPDX-License-Identifier: BSD-2-Clause
/*
 * Devices: opened in a domain, limited, moved, closed.
 *
 * 1. Opening joins a device to the domain's address space in four steps, each with an inverse:
 *    attach (the hardware tells its real limits), fit (the IOVA space takes the hardware's holes;
 *    refused if something live lies in one), enable (the mapping table is made true for the
 *    device), publish.
 *
 * 2. Attachments. A device has a number, its owner number, in each domain where it mapped
 *    something; table entries carry it, so what a device left behind is found by walking the table.
 *    The attachment record outlasts the device's stay in a domain and goes with the device or the
 *    domain, whichever ends first.
 *
 * 3. dev->here is read by maps in read sections. It is replaced before a grace period, after which
 *    no map works for the old domain on this device's behalf except those that counted a receipt.
 *
 * 4. Closing takes the device off the bus first (the backend clears bus mastering before it
 *    unmaps), then unmaps what was left.
 */
#include "domain/domain.h"
#include "base/bits.h"
#include "base/err.h"
#include "base/hooks.h"
#include "base/rcu.h"
#include "base/structs.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static struct dr_slab devices = DR_SLAB_INIT(struct dray_device);

#define KNOWN_FLAGS                                                                        \
	(DRAY_DEVICE_UNTRUSTED | DRAY_DEVICE_NONCOHERENT | DRAY_DEVICE_OPT_OUT |           \
	 DRAY_DEVICE_NOFD | DRAY_DEVICE_ADOPT)

/* 0 and masks of ones from bit 0 are limits; anything else has holes. */
static bool is_ones(uint64_t mask)
{
	return !(mask & (mask + 1));
}

static int check_opts(const struct dray_device_opts *o)
{
	if (o->flags & ~KNOWN_FLAGS)
		return dr_fail(EINVAL, "device flags 0x%x are unknown; clear them",
			       o->flags & ~KNOWN_FLAGS);
	if (!is_ones(o->dma_mask))
		return dr_fail(EINVAL, "dma_mask 0x%" PRIx64 " is not a mask of ones; use 2^n - 1",
			       o->dma_mask);
	if (!is_ones(o->segment_boundary_mask))
		return dr_fail(EINVAL, "segment_boundary_mask 0x%" PRIx64 " is not a mask of ones; "
			       "use 2^n - 1", o->segment_boundary_mask);
	if (o->min_align && !dr_is_pow2(o->min_align))
		return dr_fail(EINVAL, "min_align %zu is not a power of two", o->min_align);
	if (o->flags & ~(DRAY_DEVICE_UNTRUSTED | DRAY_DEVICE_NONCOHERENT))
		return dr_fail(ENOTSUP, "this version cannot adopt devices or leave them out; clear "
			       "device flags 0x%x",
			       o->flags & ~(DRAY_DEVICE_UNTRUSTED | DRAY_DEVICE_NONCOHERENT));
	return 0;
}

/* A free owner number, or -ENOSPC. */
static int take_owner_locked(struct dray_domain *dom, unsigned *ret_owner)
{
	for (unsigned i = 0; i < sizeof(dom->owners) / sizeof(dom->owners[0]); i++) {
		if (!~dom->owners[i])
			continue;
		*ret_owner = i * 64 + (unsigned)__builtin_ctzll(~dom->owners[i]);
		dom->owners[i] |= UINT64_C(1) << (*ret_owner % 64);
		return 0;
	}
	return dr_fail(ENOSPC, "domain has %u devices; open another domain", DR_OWNER_MAX);
}

static void give_owner_locked(struct dray_domain *dom, unsigned owner)
{
	dom->owners[owner / 64] &= ~(UINT64_C(1) << (owner % 64));
}

static struct dr_attachment *find_locked(struct dray_device *dev, struct dray_domain *dom)
{
	struct dr_attachment *att = dev->attachments;

	while (att && att->dom != dom)
		att = att->next_of_device;
	return att;
}

/* The device's record in a domain: the one of an earlier stay, or a new one. The domain is entered. */
static int join(struct dray_device *dev, struct dray_domain *dom, struct dr_attachment **ret_att)
{
	struct dr_attachment *fresh = dr_alloc(sizeof(*fresh)), *att;
	int err = 0;

	if (!fresh)
		return dr_fail(ENOMEM, "no memory for an attachment");
	pthread_mutex_lock(&dr_life_lock);
	att = find_locked(dev, dom);
	/* Looked at again: under the lock a domain that is open stays, once it has one device more. */
	if (atomic_load_explicit(&dom->state, memory_order_relaxed) != DR_OPEN)
		err = dr_fail(EINVAL, "domain %p is closed; open another", (void *)dom);
	if (!err && !att) {
		err = take_owner_locked(dom, &fresh->owner);
		if (!err) {
			fresh->dom = dom;
			fresh->dev = dev;
			fresh->next_of_domain = dom->attachments;
			dom->attachments = fresh;
			fresh->next_of_device = dev->attachments;
			dev->attachments = fresh;
			att = fresh;
			fresh = NULL;
		}
	}
	if (!err)
		dom->devices++;
	pthread_mutex_unlock(&dr_life_lock);
	dr_free(fresh);
	*ret_att = att;
	return err;
}

/* The device is not in the domain any more; its record stays for what it left mapped there. */
static void part(struct dray_domain *dom)
{
	pthread_mutex_lock(&dr_life_lock);
	dom->devices--;
	pthread_mutex_unlock(&dr_life_lock);
}

/* Where the device is, its domain held by one more device until part(); NULL: closed. */
static struct dr_attachment *hold_here(struct dray_device *dev)
{
	struct dr_attachment *att;

	/*
	 * A domain that the device is leaving loses it under this lock, after it was unpublished:
	 * what is still published here still counts.
	 */
	pthread_mutex_lock(&dr_life_lock);
	att = atomic_load_explicit(&dev->here, memory_order_acquire);
	if (att)
		att->dom->devices++;
	pthread_mutex_unlock(&dr_life_lock);
	if (!att)
		dr_fail(EINVAL, "device %p is closed; open it again", (void *)dev);
	return att;
}

/* Drop one of the device's records; nothing of its own is mapped there any more. */
static void forget(struct dr_attachment *att)
{
	struct dr_attachment **p;

	pthread_mutex_lock(&dr_life_lock);
	for (p = &att->dev->attachments; *p != att; p = &(*p)->next_of_device)
		;
	*p = att->next_of_device;
	for (p = &att->dom->attachments; *p != att; p = &(*p)->next_of_domain)
		;
	*p = att->next_of_domain;
	give_owner_locked(att->dom, att->owner);
	pthread_mutex_unlock(&dr_life_lock);
	dr_free(att);
}

/* Is the mask all that a device which has just joined asks of an IOVA? */
static void set_plain(struct dray_device *dev)
{
	bool plain = !dev->boundary_mask && !dev->max_segment && dev->min_align <= 1 &&
		     atomic_load_explicit(&dev->bd->coherent, memory_order_relaxed);

	atomic_store_explicit(&dev->plain, plain, memory_order_relaxed);
}

/* What every device in the domain reaches now. */
static void share_mask(struct dray_domain *dom)
{
	uint64_t mask = UINT64_MAX;

	pthread_mutex_lock(&dr_life_lock);
	for (struct dr_attachment *att = dom->attachments; att; att = att->next_of_domain)
		if (atomic_load_explicit(&att->dev->here, memory_order_relaxed) == att)
			mask &= atomic_load_explicit(&att->dev->dma_mask, memory_order_relaxed);
	atomic_store_explicit(&dom->shared_mask, mask, memory_order_relaxed);
	pthread_mutex_unlock(&dr_life_lock);
}

/* The IOVA space takes the hardware's holes as the backend knows them now. */
static int fit(struct dray_domain *dom)
{
	const struct dr_backend_limits *lim = &dom->io.be->limits;
	int err;

	if (lim->granule > dom->io.granule_mask + 1)
		return dr_fail(ERANGE, "the device's IOMMU pages are %zu bytes, the domain's "
			       "granule is %" PRIu64 "; open a domain of its own for it",
			       lim->granule, dom->io.granule_mask + 1);
	err = dr_iova_set_usable(dom->io.space, lim->usable, lim->n_usable);
	if (err == -EEXIST)
		return dr_fail(ERANGE, "something is mapped where the device's IOMMU has a hole; "
			       "map elsewhere or attach the device first");
	return err;
}

/* After a failed attach: what became usable again. Keeping a hole too many harms nobody. */
static void refit(struct dray_domain *dom)
{
	if (dr_iova_set_usable(dom->io.space, dom->io.be->limits.usable, dom->io.be->limits.n_usable))
		dr_log(&dom->io.log, LOG_NOTICE, "usable ranges stay as the last device had them");
}

/* From before an untrusted device joins: see trust.c. */
static int enter_trust_locked(struct dray_device *dev, struct dray_domain *dom)
{
	if (!(dev->flags & DRAY_DEVICE_UNTRUSTED))
		return 0;
	if (!dom->io.be->isolates)
		return dr_fail(EPERM, "nothing holds a device back on this %s; an untrusted one "
			       "needs a backend that isolates it", dom->io.ops->name);
	return dr_domain_distrust_locked(dom);
}

static void leave_trust_locked(struct dray_device *dev, struct dray_domain *dom)
{
	if (dev->flags & DRAY_DEVICE_UNTRUSTED)
		dr_domain_distrust_undo_locked(dom);
}

static int attach_trusted(struct dray_device *dev, struct dray_domain *dom,
			  const struct dray_device_opts *o, const char *name)
{
	uint64_t replayed = 0;
	int err;

	err = dom->io.ops->attach(dom->io.be, name, o, &dev->bd);
	if (err)
		return err;
	/* What waits for a flush is nobody's, but would be in the way of a hole. */
	dr_domain_relieve(dom);
	err = fit(dom);
	if (!err)
		err = dom->io.ops->enable(dom->io.be, dev->bd, &replayed);
	if (err) {
		dom->io.ops->detach(dom->io.be, dev->bd, false);
		refit(dom);
		return err;
	}
	dr_count(&dom->io.counters, DR_REPLAYS, replayed);
	return 0;
}

static int attach(struct dray_device *dev, struct dray_domain *dom,
		  const struct dray_device_opts *o, const char *name)
{
	int err = enter_trust_locked(dev, dom);

	if (err)
		return err;
	err = attach_trusted(dev, dom, o, name);
	if (err) {
		leave_trust_locked(dev, dom);
		return err;
	}
	set_plain(dev);
	dr_domain_measure_locked(dom);
	return 0;
}

static void init_device(struct dray_device *dev, const char *name, const struct dray_device_opts *o)
{
	dev->process = dr_process_id();
	dev->attachments = NULL;
	dev->bd = NULL;
	atomic_store_explicit(&dev->dma_mask, o->dma_mask ? o->dma_mask : UINT64_MAX,
			      memory_order_relaxed);
	dev->boundary_mask = o->segment_boundary_mask;
	dev->max_segment = o->max_segment;
	dev->min_align = o->min_align;
	dev->flags = o->flags;
	dev->holds = 0;
	snprintf(dev->name, sizeof(dev->name), "%s", name);
}

int dray_device_open(struct dray_domain *dom, const char *name, const struct dray_device_opts *opts,
		     struct dray_device **ret_dev)
{
	struct dray_device_opts o = { 0 };
	struct dr_attachment *att;
	struct dray_device *dev;
	int err = dr_domain_check(dom);

	if (err)
		return err;
	if (!name || !ret_dev)
		return dr_fail(EINVAL, "%s is NULL; pass one", name ? "ret_dev" : "device name");
	if (opts) {
		err = dr_struct_in(&o, sizeof(o), opts);
		if (err)
			return err;
	}
	err = check_opts(&o);
	if (err)
		return err;
	if (strlen(name) >= sizeof(dev->name))
		return dr_fail(ENODEV, "device name of %zu characters; use 0000:01:00.0 or sim0",
			       strlen(name));
	dev = dr_slab_take(&devices);
	if (!dev)
		return dr_fail(ENOMEM, "no memory for a device");
	init_device(dev, name, &o);
	err = join(dev, dom, &att);
	if (err)
		goto no_join;
	pthread_mutex_lock(&dom->attach_lock);
	err = attach(dev, dom, &o, name);
	pthread_mutex_unlock(&dom->attach_lock);
	if (err)
		goto no_attach;
	/* Release: a map that finds the attachment finds the device whole. */
	atomic_store_explicit(&dev->here, att, memory_order_release);
	atomic_store_explicit(&dev->state, DR_OPEN, memory_order_release);
	share_mask(dom);
	*ret_dev = dev;
	return 0;

no_attach:
	part(dom);
	forget(att);
no_join:
	dr_slab_give(&devices, dev);
	return err;
}

/* A domain closed while devices were in it goes with the last of them. */
static void leave_domain(struct dray_domain *dom)
{
	/* No map on the device's behalf reads this domain any more, save those with a receipt. */
	dr_rcu_synchronize();
	pthread_mutex_lock(&dom->attach_lock);
	dr_domain_settle_regions_locked(dom);
	pthread_mutex_unlock(&dom->attach_lock);
	part(dom);
}

/* The owner has closed it, and no link or pool holds it any more. */
static void close_for_good(struct dray_device *dev)
{
	struct dr_attachment *att = atomic_load_explicit(&dev->here, memory_order_acquire);
	struct dray_domain *dom = att->dom;

	atomic_store_explicit(&dev->here, NULL, memory_order_release);

	pthread_mutex_lock(&dom->attach_lock);
	dom->io.ops->detach(dom->io.be, dev->bd, false);
	/* A kernel that has forgotten all with its last group is asked for nothing later. */
	dr_flush_now(dom->flush, DR_FLUSH_CLOSE);
	leave_trust_locked(dev, dom);
	share_mask(dom);
	/* The space keeps the device's holes until the next attach: to take them back takes memory. */
	pthread_mutex_unlock(&dom->attach_lock);

	/*
	 * The domains of the records cannot go meanwhile: one where something is left is held by
	 * those receipts, one where nothing is left is skipped under the life lock.
	 */
	for (;;) {
		pthread_mutex_lock(&dr_life_lock);
		att = dev->attachments;
		if (att)
			att->dom->devices++;
		pthread_mutex_unlock(&dr_life_lock);
		if (!att)
			break;
		struct dray_domain *of = att->dom;

		dr_domain_unmap_owner(of, att->owner);
		forget(att);
		part(of);
	}
	leave_domain(dom);
	atomic_store_explicit(&dev->state, DR_FREE, memory_order_relaxed);
	dr_slab_give(&devices, dev);
	dr_reap();
}

/* No lock: another thread of the parent may have held it. */
static void close_forked(struct dray_device *dev)
{
	uint32_t open = DR_OPEN;
	struct dr_attachment *att;

	if (!atomic_compare_exchange_strong(&dev->state, &open, DR_CLOSING)) {
		dr_fail(EINVAL, "device %p is closed already; close it once", (void *)dev);
		return;
	}
	att = atomic_load_explicit(&dev->here, memory_order_acquire);
	att->dom->io.ops->detach(att->dom->io.be, dev->bd, true);
}

void dray_device_close(struct dray_device *dev)
{
	bool open, held;

	if (!dev)
		return;
	if (dr_device_is_forked(dev)) {
		close_forked(dev);
		return;
	}
	/* One step with dr_device_unhold(): one of the two finds the other, and closes. */
	pthread_mutex_lock(&dr_life_lock);
	open = atomic_load_explicit(&dev->state, memory_order_relaxed) == DR_OPEN;
	if (open)
		atomic_store_explicit(&dev->state, DR_CLOSING, memory_order_relaxed);
	held = dev->holds;
	pthread_mutex_unlock(&dr_life_lock);
	if (!open)
		dr_fail(EINVAL, "device %p is closed already; close it once", (void *)dev);
	else if (!held)
		close_for_good(dev);
}

void dr_device_hold(struct dray_device *dev)
{
	pthread_mutex_lock(&dr_life_lock);
	dev->holds++;
	pthread_mutex_unlock(&dr_life_lock);
}

void dr_device_unhold(struct dray_device *dev)
{
	bool last;

	pthread_mutex_lock(&dr_life_lock);
	last = !--dev->holds &&
	       atomic_load_explicit(&dev->state, memory_order_relaxed) == DR_CLOSING;
	pthread_mutex_unlock(&dr_life_lock);
	if (last)
		close_for_good(dev);
}

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

static int move(struct dray_device *dev, struct dr_attachment *was, struct dray_domain *dom)
{
	struct dr_attachment *att;
	int err;

	if (was->dom->io.ops != dom->io.ops)
		return dr_fail(EINVAL, "device %s is on %s, the domain on %s; open the device in it",
			       dev->name, was->dom->io.ops->name, dom->io.ops->name);
	if (!dom->io.ops->can_switch)
		return dr_fail(ENOTSUP, "%s cannot move a device between domains; close it and "
			       "open it in the other", dom->io.ops->name);
	err = join(dev, dom, &att);
	if (err)
		return err;
	lock_two(was->dom, dom);
	if (atomic_load_explicit(&dev->here, memory_order_relaxed) != was)
		err = dr_fail(EBUSY, "another thread moves device %s; try again", dev->name);
	else
		err = enter_trust_locked(dev, dom);
	if (!err) {
		err = dom->io.ops->switch_to(dev->bd, dom->io.be);
		leave_trust_locked(dev, err ? dom : was->dom);
	}
	if (!err) {
		set_plain(dev);
		dr_domain_measure_locked(dom);
		atomic_store_explicit(&dev->here, att, memory_order_release);
	}
	unlock_two(was->dom, dom);
	if (!err) {
		share_mask(was->dom);
		share_mask(dom);
	}
	if (err)
		part(dom);
	else
		leave_domain(was->dom);
	return err;
}

int dray_device_set_domain(struct dray_device *dev, struct dray_domain *dom)
{
	struct dr_attachment *was;
	int err = dr_device_check(dev);

	if (!err)
		err = dr_domain_check(dom);
	if (err)
		return err;
	was = hold_here(dev);
	if (!was)
		return -EINVAL;
	struct dray_domain *from = was->dom;

	err = from == dom ? 0 : move(dev, was, dom);
	part(from);
	dr_reap();
	return err;
}

struct dray_domain *dray_device_get_domain(const struct dray_device *dev)
{
	struct dr_attachment *att;
	struct dray_domain *dom;

	if (!dev)
		return NULL;
	dr_rcu_read_lock();
	att = atomic_load_explicit(&((struct dray_device *)(uintptr_t)dev)->here,
				   memory_order_acquire);
	dom = att ? att->dom : NULL;
	dr_rcu_read_unlock();
	return dom;
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
	if (!is_ones(mask))
		return dr_fail(EINVAL, "mask 0x%" PRIx64 " is not a mask of ones; use 2^n - 1",
			       mask);
	if (!mask)
		mask = UINT64_MAX;
	att = hold_here(dev);
	if (!att)
		return -EINVAL;
	dom = att->dom;
	pthread_mutex_lock(&dom->attach_lock);
	if (mask < dom->io.first)
		err = dr_fail(ERANGE, "nothing in the domain lies below 0x%" PRIx64 "; its window "
			      "begins at 0x%" PRIx64, mask, dom->io.first);
	else
		err = check_mapped_below(att, mask);
	if (!err)
		atomic_store_explicit(&dev->dma_mask, mask, memory_order_relaxed);
	pthread_mutex_unlock(&dom->attach_lock);
	if (!err)
		share_mask(dom);
	part(dom);
	return err;
}

int dray_device_fd(const struct dray_device *dev)
{
	struct dray_domain *dom = dray_device_get_domain(dev);

	if (!dom)
		return dr_fail(EINVAL, "device is NULL or closed; open one first");
	return dom->io.ops->device_fd(dev->bd);
}
