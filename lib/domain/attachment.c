// SPDX-License-Identifier: BSD-2-Clause
/*
 * Attachments: that a device is, or was, in a domain.
 *
 * 1. A device has a number, its owner number, in each domain where it mapped something; table
 *    entries carry it, so what a device left behind is found by walking the table. The record
 *    outlasts the device's stay in a domain and goes with the device or the domain, whichever ends
 *    first.
 *
 * 2. dev->here is the record of the domain that the device is in. Maps read it in read sections. It
 *    is replaced before a grace period, after which no map works for the old domain on the device's
 *    behalf except those that counted a receipt.
 *
 * 3. A domain counts the devices in it: joined before anything else is done there, parted from when
 *    the last thing is done. Whoever acts on a domain for a device counts as one more meanwhile.
 *    All of that is under dr_life_lock, which is never held over a backend call.
 */
#include "domain/attachment.h"
#include "base/err.h"
#include "base/hooks.h"

#include <errno.h>

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

int dr_device_join(struct dray_device *dev, struct dray_domain *dom,
		   struct dr_attachment **ret_att)
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

void dr_device_part(struct dray_domain *dom)
{
	pthread_mutex_lock(&dr_life_lock);
	dom->devices--;
	pthread_mutex_unlock(&dr_life_lock);
}

struct dr_attachment *dr_device_hold_here(struct dray_device *dev)
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

struct dr_attachment *dr_device_lock_here(struct dray_device *dev)
{
	for (;;) {
		struct dr_attachment *att = dr_device_hold_here(dev);

		if (!att)
			return NULL;
		pthread_mutex_lock(&att->dom->attach_lock);
		/* It leaves under this lock, so now it stays, or has left in between. */
		if (atomic_load_explicit(&dev->here, memory_order_relaxed) == att)
			return att;
		dr_device_unlock_here(att);
	}
}

void dr_device_unlock_here(struct dr_attachment *att)
{
	struct dray_domain *dom = att->dom;

	pthread_mutex_unlock(&dom->attach_lock);
	dr_device_part(dom);
	dr_reap();
}

void dr_device_forget(struct dr_attachment *att)
{
	struct dr_attachment **p;

	dr_device_own_close(att);
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

void dr_domain_share_mask(struct dray_domain *dom)
{
	uint64_t mask = UINT64_MAX;

	pthread_mutex_lock(&dr_life_lock);
	for (struct dr_attachment *att = dom->attachments; att; att = att->next_of_domain)
		if (atomic_load_explicit(&att->dev->here, memory_order_relaxed) == att)
			mask &= atomic_load_explicit(&att->dev->dma_mask, memory_order_relaxed);
	atomic_store_explicit(&dom->shared_mask, mask, memory_order_relaxed);
	pthread_mutex_unlock(&dr_life_lock);
}
