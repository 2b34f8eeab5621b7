/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Devices in domains: what opening, moving and closing a device share. The theory is at the top of
 * attachment.c.
 */
#ifndef DR_ATTACHMENT_H
#define DR_ATTACHMENT_H

#include <stdbool.h>
#include <stdint.h>

#include "domain/domain.h"

/* 0 and masks of ones from bit 0 are limits; anything else has holes. */
static inline bool dr_is_ones(uint64_t mask)
{
	return !(mask & (mask + 1));
}

/* --- attachment.c --- */

/*
 * One device more in the domain, and the device's record there: that of an earlier stay, or a new
 * one. The device is not there yet. 0; -ENOMEM; -EINVAL closed; -ENOSPC no owner number left.
 */
int dr_device_join(struct dray_device *dev, struct dray_domain *dom,
		   struct dr_attachment **ret_att);
/* The device is not in the domain any more; its record stays for what it left mapped there. */
void dr_device_part(struct dray_domain *dom);

/* Where the device is, its domain held by one more device until dr_device_part(); NULL: closed. */
struct dr_attachment *dr_device_hold_here(struct dray_device *dev);

/*
 * The same with that domain's attach_lock: the device is there until dr_device_unlock_here(), which
 * lets go of both.
 */
struct dr_attachment *dr_device_lock_here(struct dray_device *dev);
void dr_device_unlock_here(struct dr_attachment *att);

/* Drop one of the device's records; nothing of its own is mapped there any more. dom is held. */
void dr_device_forget(struct dr_attachment *att);

/* A mask has changed, or a device come or gone: what every device in the domain reaches now. */
void dr_domain_share_mask(struct dray_domain *dom);

/* --- own.c --- */

/*
 * The device is about to be in the record's domain: pools of its own there, if it wants any. 0;
 * -EINVAL less than the domain can use; -ENOTSUP the domain forbids copies; -ENOMEM; -ENOSPC no pool
 * numbers left. attach_lock is held.
 */
int dr_device_own_enter_locked(struct dr_attachment *att);
/*
 * The inverse, also for when the device has left for elsewhere: what is out stays. Pools of a record
 * that was never published (@fresh) end here. attach_lock is held.
 */
void dr_device_own_leave_locked(struct dr_attachment *att, bool fresh);
/* Nothing of them is out any more: with the record. */
void dr_device_own_close(struct dr_attachment *att);

/* --- device.c --- */

/* From before an untrusted device joins: see trust.c. And the inverse, also after it has left. */
int dr_device_enter_trust_locked(struct dray_device *dev, struct dray_domain *dom);
void dr_device_leave_trust_locked(struct dray_device *dev, struct dray_domain *dom);

/* Is the mask all that a device which has just joined asks of an IOVA? */
void dr_device_set_plain(struct dray_device *dev);

/*
 * The device was unpublished in the domain: wait for its maps, settle, part. A domain that was
 * closed while devices were in it goes with the last of them, at the next dr_reap().
 */
void dr_device_leave_domain(struct dray_domain *dom);

#endif
