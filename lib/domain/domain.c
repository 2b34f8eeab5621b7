// SPDX-License-Identifier: BSD-2-Clause
/*
 * Domains: one I/O address space each, and how long they live.
 *
 * 1. What a domain owns. A backend (who translates), a page table (what is translated; the
 *    backend keeps the hardware true to it), an IOVA space (which addresses are whose), and
 *    counters. The table belongs to the domain, not to an attachment: it is there before the first
 *    device and after the last, and is replayed where hardware has lost it.
 *
 * 2. Who holds a domain. Its owner, until dray_domain_close(); every device in it; every receipt
 *    made in it. It is torn down when all three are gone, by whoever lets go last. Mappings of
 *    dray_domain_map() do not hold it: they go with it.
 *
 * 3. How receipts hold it without a shared counter. A map counts "begun" in its own thread's
 *    block, inside the read section in which it read the device's domain; an unmap counts "ended"
 *    as its last act. A device counts as gone from a domain only a grace period after it was
 *    unpublished there, so a domain without devices can get no new receipt. Then the sums are
 *    compared, ended first: both only grow and ended never passes begun, so equal sums read in that
 *    order mean that no receipt was out at the moment between the two.
 *
 * 4. The last touch. After counting "ended" an unmap reads one more word, the state, to see
 *    whether it has to tear the domain down. By then another thread may have done so; but domains
 *    keep their type for ever (base/slab.h), so the word is a state, of this domain or of its
 *    successor, and dr_reap() looks again under the lock. dray_domain_close() runs a
 *    process-wide barrier between publishing CLOSING and summing, so one of the two sees the other:
 *    either the sum has the last "ended", or that thread's read has CLOSING. Where the kernel
 *    refuses the barrier, the teardown may wait for the next open or close instead.
 *
 * 5. Locks, in order: attach_lock (held over ioctls; two domains by address), explicit_lock,
 *    dr_life_lock (short; states, lists, owner numbers, never held over a backend call). A
 *    backend's own locks and the IOVA space's come after all of these. Map and unmap take none of
 *    the three.
 *
 *                 | map/unmap          open device        close device     close domain
 *    -------------+-----------------------------------------------------------------------
 *    map/unmap    | own their IOVAs    backend orders     caller's error   receipts hold it
 *    open device  |                    attach_lock        attach_lock      state under life
 *    close device |                                       one wins: state  devices under life
 *    close domain |                                                        one wins: state
 *
 * 6. What can fail. Open and attach, with everything undone in reverse. Closing cannot: what a
 *    backend refuses is quarantined and goes when the kernel closes the container.
 *
 * 7. Forks. A child's process id differs (base/process.h). It gets -EPERM, or for closing calls
 *    closes its copies of the descriptors and touches nothing else: no ioctl, no lock that another
 *    thread of the parent may have held.
 */
#define _GNU_SOURCE
#include "domain/domain.h"
#include "base/bits.h"
#include "base/err.h"
#include "base/hooks.h"
#include "base/rcu.h"
#include "base/structs.h"

#include <errno.h>
#include <inttypes.h>
#include <linux/membarrier.h>
#include <string.h>

pthread_mutex_t dr_life_lock = PTHREAD_MUTEX_INITIALIZER;

static struct dr_slab domains = DR_SLAB_INIT(struct dray_domain);
static struct dray_domain *closing; /* guarded by dr_life_lock */

#define KNOWN_FLAGS                                                                              \
	(DRAY_DOMAIN_DEBUG | DRAY_DOMAIN_GUARD | DRAY_DOMAIN_NO_BOUNCE | DRAY_DOMAIN_NO_REUSE | \
	 DRAY_DOMAIN_POLLED | DRAY_DOMAIN_ADOPT)

static int check_opts(const struct dray_domain_opts *o)
{
	if (o->backend > DRAY_BACKEND_SIM)
		return dr_fail(EINVAL, "backend %u is unknown; use enum dray_backend_kind",
			       o->backend);
	if (o->type > DRAY_DOMAIN_BLOCKED)
		return dr_fail(EINVAL, "domain type %u is unknown; use enum dray_domain_type",
			       o->type);
	if (o->invalidation > DRAY_LAZY)
		return dr_fail(EINVAL, "invalidation %u is unknown; use DRAY_STRICT or DRAY_LAZY",
			       o->invalidation);
	if (o->flags & ~KNOWN_FLAGS)
		return dr_fail(EINVAL, "domain flags 0x%x are unknown; clear them",
			       o->flags & ~KNOWN_FLAGS);
	if (o->first > o->last)
		return dr_fail(EINVAL, "window first 0x%" PRIx64 " is above last 0x%" PRIx64
			       "; swap them", o->first, o->last);
	if (o->flags & DRAY_DOMAIN_ADOPT)
		return dr_fail(ENOTSUP, "this version cannot adopt containers; clear "
			       "DRAY_DOMAIN_ADOPT");
	if ((o->flags & DRAY_DOMAIN_NO_BOUNCE) && (o->bounce_threshold || o->bounce_bytes))
		return dr_fail(EINVAL, "DRAY_DOMAIN_NO_BOUNCE forbids the pool that bounce_bytes or "
			       "bounce_threshold ask for; clear one");
	if (o->bounce_threshold != DRAY_BOUNCE_AUTO && dr_costs_are_given(o))
		return dr_fail(EINVAL, "costs are given but nothing is decided by them; set "
			       "bounce_threshold to DRAY_BOUNCE_AUTO or clear them");
	return 0;
}

static int choose_backend(uint32_t kind, const struct dr_backend_ops **ret_ops)
{
	switch (kind) {
	case DRAY_BACKEND_AUTO:
	case DRAY_BACKEND_TYPE1:
		*ret_ops = &dr_type1_ops;
		return 0;
	case DRAY_BACKEND_SIM:
		*ret_ops = &dr_sim_ops;
		return 0;
	default:
		return dr_fail(ENOTSUP, "this version has no %s backend; use DRAY_BACKEND_TYPE1 or "
			       "DRAY_BACKEND_SIM",
			       kind == DRAY_BACKEND_IOMMUFD ? "iommufd" : "noiommu");
	}
}

/* The window: what the caller named, or everything the backend can use; whole granules. */
static int choose_window(const struct dray_domain_opts *o, const struct dr_backend_limits *lim,
			 dray_iova_t *ret_first, dray_iova_t *ret_last)
{
	dray_iova_t low = lim->usable[0].first;
	dray_iova_t high = lim->usable[lim->n_usable - 1].last;
	uint64_t mask = lim->granule - 1;
	dray_iova_t first = o->first, last = o->last;

	if (!first && !last) {
		*ret_first = low;
		*ret_last = high;
		return 0;
	}
	if (first & mask)
		first = (first | mask) + 1; /* wraps to 0 in the last granule: caught below */
	if ((last & mask) != mask)
		last = (last & ~mask) - 1; /* wraps when nothing is left: caught below */
	if (first > last || first < o->first || last > o->last)
		return dr_fail(EINVAL, "window 0x%" PRIx64 "..0x%" PRIx64 " holds no whole granule "
			       "of %zu bytes; widen it", o->first, o->last, lim->granule);
	if (last > high)
		return dr_fail(ERANGE, "window ends at 0x%" PRIx64 ", the aperture at 0x%" PRIx64
			       "; lower last", last, high);
	*ret_first = first;
	*ret_last = last;
	return 0;
}

/* Everything but the slab, in the order in which it is taken down again by undo_open(). */
static void undo_open(struct dray_domain *dom)
{
	/* What waits for a flush goes before what it is mapped by and its IOVA. */
	if (dom->flush)
		dr_flush_close(dom->flush);
	if (dom->regions)
		dr_regions_close(dom->regions);
	if (dom->bounce)
		dr_bounce_close(dom->bounce);
	dom->flush = NULL;
	dom->regions = NULL;
	dom->bounce = NULL;
	if (dom->io.space)
		dray_iova_space_close(dom->io.space);
	if (dom->io.be)
		dom->io.ops->close(dom->io.be);
	if (dom->io.pt)
		dr_pgtable_close(dom->io.pt);
	dom->io.space = NULL;
	dom->io.be = NULL;
	dom->io.pt = NULL;
}

/* The flush queue, and what spares a backend call. */
static int open_ways(struct dray_domain *dom, const struct dray_domain_opts *o)
{
	struct dr_flush_opts flush = {
		.bytes = o->flush_bytes, .entries = o->flush_entries,
		.timeout_us = o->flush_timeout_us, .polled = o->flags & DRAY_DOMAIN_POLLED,
	};
	struct dr_bounce_opts bounce = { .bytes = o->bounce_bytes };
	int err = dr_flush_open(&dom->io, &flush, &dom->flush);

	if (!err)
		err = dr_bounce_open(&dom->io, &bounce, &dom->bounce);
	if (!err)
		err = dr_regions_open(&dom->io, &dom->regions);
	if (err)
		return err;
	/* Nobody else knows the domain yet, so nobody else has the lock. */
	dr_domain_init_costs(dom, o);
	dom->wants_lazy = o->invalidation == DRAY_LAZY;
	return dr_domain_apply_invalidation_locked(dom);
}

static int open_parts(struct dray_domain *dom, const struct dray_domain_opts *o)
{
	struct dr_backend_args args = {
		.type = o->type, .profile = o->sim_profile, .log = &dom->io.log,
		.first = o->first, .last = o->last,
	};
	struct dray_iova_opts space = { .size = sizeof(space) };
	int err = choose_backend(o->backend, &dom->io.ops);

	if (err)
		return err;
	if (o->sim_profile && dom->io.ops->kind != DRAY_BACKEND_SIM)
		return dr_fail(EINVAL, "sim_profile is for DRAY_BACKEND_SIM; leave it NULL");
	err = dr_pgtable_open(DR_PT_PAGE_SIZES, &dom->io.pt);
	if (err)
		return err;
	args.pt = dom->io.pt;
	err = dom->io.ops->open(&args, &dom->io.be);
	if (err)
		return err;
	err = choose_window(o, &dom->io.be->limits, &dom->io.first, &dom->io.last);
	if (err)
		return err;
	space.granule = dom->io.be->limits.granule;
	space.first = dom->io.first;
	space.last = dom->io.last;
	err = dray_iova_space_open(&space, &dom->io.space);
	if (err)
		return err;
	err = dr_iova_set_usable(dom->io.space, dom->io.be->limits.usable,
				 dom->io.be->limits.n_usable);
	if (err)
		return err;
	dom->io.granule_mask = dom->io.be->limits.granule - 1;
	dom->io.guard = o->flags & DRAY_DOMAIN_GUARD ? dom->io.be->limits.granule : 0;
	dom->type = dom->io.be->type;
	return open_ways(dom, o);
}

int dray_domain_open(const struct dray_domain_opts *opts, struct dray_domain **ret_dom)
{
	struct dray_domain_opts o = { 0 };
	struct dray_domain *dom;
	int err;

	if (!ret_dom)
		return dr_fail(EINVAL, "ret_dom is NULL; pass where the domain goes");
	if (opts) {
		err = dr_struct_in(&o, sizeof(o), opts);
		if (err)
			return err;
	}
	err = check_opts(&o);
	if (err)
		return err;
	dr_reap(); /* see 4 */
	dom = dr_slab_take(&domains);
	if (!dom)
		return dr_fail(ENOMEM, "no memory for a domain");

	dom->process = dr_process_id();
	if (!dom->process) {
		dr_slab_give(&domains, dom);
		return dr_fail(ENOMEM, "no page to tell a forked child by (MADV_WIPEONFORK)");
	}
	dom->flags = o.flags;
	dom->io.log.fn = o.log;
	dom->io.log.ctx = o.log_ctx;
	dom->devices = 0;
	dom->attachments = NULL;
	memset(dom->owners, 0, sizeof(dom->owners));
	dom->owners[0] = 1u << DR_OWNER_DOMAIN | 1u << DR_OWNER_REGION;
	dom->owners[DR_OWNER_MAX / 64] = UINT64_C(1) << (DR_OWNER_MAX % 64); /* dray's own pools */
	atomic_store_explicit(&dom->io.damaged, false, memory_order_relaxed);
	atomic_store_explicit(&dom->untrusted, 0, memory_order_relaxed);
	atomic_store_explicit(&dom->region_era, 0, memory_order_relaxed);
	atomic_store_explicit(&dom->shared_mask, UINT64_MAX, memory_order_relaxed);
	pthread_mutex_init(&dom->attach_lock, NULL);
	pthread_mutex_init(&dom->explicit_lock, NULL);
	pthread_mutex_init(&dom->link_lock, NULL);
	dom->links = NULL;

	err = open_parts(dom, &o);
	if (err) {
		undo_open(dom);
		dr_slab_give(&domains, dom);
		return err;
	}
	/* Release: who finds the state OPEN finds the domain whole. */
	atomic_store_explicit(&dom->state, DR_OPEN, memory_order_release);
	*ret_dom = dom;
	return 0;
}

static bool is_unused_locked(const struct dray_domain *dom)
{
	uint64_t ended;

	if (dom->devices)
		return false;
	ended = dr_counters_sum(&dom->io.counters, DR_ENDED);
	return dr_counters_sum(&dom->io.counters, DR_BEGUN) == ended;
}

/* Nobody holds the domain any more. */
static void destroy(struct dray_domain *dom)
{
	struct dr_attachment *att, *next;

	for (att = dom->attachments; att; att = next) {
		next = att->next_of_domain;
		dr_free(att);
	}
	undo_open(dom);
	pthread_mutex_destroy(&dom->attach_lock);
	pthread_mutex_destroy(&dom->explicit_lock);
	pthread_mutex_destroy(&dom->link_lock);
	dr_counters_close(&dom->io.counters);
	dr_slab_give(&domains, dom);
}

/* An attachment of a dead domain is nothing to its device any more. */
static void forget_attachments_locked(struct dray_domain *dom)
{
	for (struct dr_attachment *att = dom->attachments; att; att = att->next_of_domain) {
		struct dr_attachment **p = &att->dev->attachments;

		while (*p != att)
			p = &(*p)->next_of_device;
		*p = att->next_of_device;
	}
}

void dr_reap(void)
{
	struct dray_domain *dead = NULL, **p, *dom;

	pthread_mutex_lock(&dr_life_lock);
	for (p = &closing; (dom = *p);) {
		if (!is_unused_locked(dom)) {
			p = &dom->next_closing;
			continue;
		}
		*p = dom->next_closing;
		forget_attachments_locked(dom);
		atomic_store_explicit(&dom->state, DR_FREE, memory_order_relaxed);
		dom->next_closing = dead;
		dead = dom;
	}
	pthread_mutex_unlock(&dr_life_lock);

	while ((dom = dead)) {
		dead = dom->next_closing;
		destroy(dom);
	}
}

/* Make every running thread of the process pass a full barrier. */
static void barrier_everywhere(void)
{
	static _Atomic bool registered;

	if (!atomic_load_explicit(&registered, memory_order_relaxed) &&
	    !dr_hooks->membarrier(MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED))
		atomic_store_explicit(&registered, true, memory_order_relaxed);
	dr_hooks->membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED);
}

void dray_domain_close(struct dray_domain *dom)
{
	uint32_t open = DR_OPEN;

	if (!dom)
		return;
	if (dr_domain_is_forked(dom)) {
		/* The parent's: its tables and locks are not ours to touch. */
		if (atomic_exchange_explicit(&dom->state, DR_FREE, memory_order_relaxed) == DR_OPEN)
			dom->io.ops->close_forked(dom->io.be);
		return;
	}
	if (!atomic_compare_exchange_strong(&dom->state, &open, DR_CLOSING)) {
		dr_fail(EINVAL, "domain %p is closed already; close it once", (void *)dom);
		if (open == DR_CLOSING)
			dr_log(&dom->io.log, LOG_ERR, "domain %p closed twice", (void *)dom);
		return;
	}
	barrier_everywhere(); /* orders CLOSING before the sums: see 4 */

	pthread_mutex_lock(&dr_life_lock);
	dom->next_closing = closing;
	closing = dom;
	pthread_mutex_unlock(&dr_life_lock);
	dr_reap();
}

int dr_domain_check(const struct dray_domain *dom)
{
	if (!dom)
		return dr_fail(EINVAL, "domain is NULL; open one first");
	if (dr_domain_is_forked(dom))
		return dr_fail(EPERM, "this process was forked after the domain was opened; open "
			       "a domain of its own");
	if (atomic_load_explicit(&dom->state, memory_order_acquire) != DR_OPEN)
		return dr_fail(EINVAL, "domain %p is closed; open another", (const void *)dom);
	return 0;
}

int dr_device_check(const struct dray_device *dev)
{
	if (!dev)
		return dr_fail(EINVAL, "device is NULL; open one first");
	if (dr_device_is_forked(dev))
		return dr_fail(EPERM, "this process was forked after the device was opened; open "
			       "a domain of its own");
	return 0;
}

int dr_device_domain(const struct dray_device *dev, struct dray_domain **ret_dom)
{
	int err = dr_device_check(dev);

	if (err)
		return err;
	*ret_dom = dray_device_get_domain(dev);
	return *ret_dom ? 0 : dr_fail(EINVAL, "device %p is closed; open it again",
				      (const void *)dev);
}

int dr_domain_enter(struct dray_device *dev, struct dr_attachment **ret_att)
{
	struct dr_attachment *att;

	if (!dev || dr_device_is_forked(dev))
		return dr_device_check(dev);
	dr_rcu_read_lock();
	att = atomic_load_explicit(&dev->here, memory_order_acquire);
	if (!att) {
		dr_rcu_read_unlock();
		return dr_fail(EINVAL, "device %p is closed; open it again", (void *)dev);
	}
	/* Before the count: it decides which block is counted in. */
	dr_counters_ready(&att->dom->io.counters);
	dr_count(&att->dom->io.counters, DR_BEGUN, 1);
	*ret_att = att;
	return 0;
}
