// SPDX-License-Identifier: BSD-2-Clause
/*
 * Devices: opened in a domain, held, closed. How they are known there is told at the top of
 * attachment.c, how they move at the top of move.c.
 *
 * 1. Opening joins a device to the domain's address space in four steps, each with an inverse:
 *    attach (the hardware tells its real limits), fit (the IOVA space takes the hardware's holes;
 *    refused if something live lies in one), enable (the mapping table is made true for the
 *    device), publish.
 *
 * 2. Closing takes the device off the bus first (the backend clears bus mastering before it
 *    unmaps), then unmaps what was left.
 */
#include "domain/attachment.h"
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

static int check_opts(const struct dray_device_opts *o)
{
	if (o->flags & ~KNOWN_FLAGS)
		return dr_fail(EINVAL, "device flags 0x%x are unknown; clear them",
			       o->flags & ~KNOWN_FLAGS);
	if (!dr_is_ones(o->dma_mask))
		return dr_fail(EINVAL, "dma_mask 0x%" PRIx64 " is not a mask of ones; use 2^n - 1",
			       o->dma_mask);
	if (!dr_is_ones(o->segment_boundary_mask))
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

void dr_device_set_plain(struct dray_device *dev)
{
	bool plain = !dev->boundary_mask && !dev->max_segment && dev->min_align <= 1 &&
		     atomic_load_explicit(&dev->bd->coherent, memory_order_relaxed);

	atomic_store_explicit(&dev->plain, plain, memory_order_relaxed);
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

int dr_device_enter_trust_locked(struct dray_device *dev, struct dray_domain *dom)
{
	if (!(dev->flags & DRAY_DEVICE_UNTRUSTED))
		return 0;
	if (!dom->io.be->isolates)
		return dr_fail(EPERM, "nothing holds a device back on this %s; an untrusted one "
			       "needs a backend that isolates it", dom->io.ops->name);
	return dr_domain_distrust_locked(dom);
}

void dr_device_leave_trust_locked(struct dray_device *dev, struct dray_domain *dom)
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
	int err = dr_device_enter_trust_locked(dev, dom);

	if (err)
		return err;
	err = attach_trusted(dev, dom, o, name);
	if (err) {
		dr_device_leave_trust_locked(dev, dom);
		return err;
	}
	dr_device_set_plain(dev);
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
	dev->bounce_bytes = o->bounce_bytes;
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
	err = dr_device_join(dev, dom, &att);
	if (err)
		goto no_join;
	pthread_mutex_lock(&dom->attach_lock);
	err = dr_device_own_enter_locked(att);
	if (!err)
		err = attach(dev, dom, &o, name);
	pthread_mutex_unlock(&dom->attach_lock);
	if (err)
		goto no_attach;
	/* Release: a map that finds the attachment finds the device whole. */
	atomic_store_explicit(&dev->here, att, memory_order_release);
	atomic_store_explicit(&dev->state, DR_OPEN, memory_order_release);
	dr_domain_share_mask(dom);
	*ret_dev = dev;
	return 0;

no_attach:
	/* The record first: from then on the domain may go, if it was closed meanwhile. */
	dr_device_forget(att);
	dr_device_part(dom);
	dr_reap();
no_join:
	dr_slab_give(&devices, dev);
	return err;
}

void dr_device_leave_domain(struct dray_domain *dom)
{
	/* No map on the device's behalf reads this domain any more, save those with a receipt. */
	dr_rcu_synchronize();
	pthread_mutex_lock(&dom->attach_lock);
	dr_domain_settle_regions_locked(dom);
	pthread_mutex_unlock(&dom->attach_lock);
	dr_device_part(dom);
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
	dr_device_leave_trust_locked(dev, dom);
	dr_domain_share_mask(dom);
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
		dr_device_forget(att);
		dr_device_part(of);
	}
	dr_device_leave_domain(dom);
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

int dray_device_fd(const struct dray_device *dev)
{
	struct dray_domain *dom = dray_device_get_domain(dev);

	if (!dom)
		return dr_fail(EINVAL, "device is NULL or closed; open one first");
	return dom->io.ops->device_fd(dev->bd);
}
