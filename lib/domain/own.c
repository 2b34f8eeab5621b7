// SPDX-License-Identifier: BSD-2-Clause
/*
 * A device's own bounce pools.
 *
 * 1. Two devices of a domain share its pools, so the one may use up what the other needs. A device
 *    that was opened with bounce_bytes has all of its copies in pools of its own, and never one
 *    elsewhere: its load costs nobody else a slot, and nobody else's costs it one. What bounds it
 *    is its own ceiling; bounce_bytes of the domain bounds the others together.
 *
 * 2. Pools belong to an address space, so a device has such a set in each domain that it is or was
 *    in: with the attachment record, which lasts as long as anything can be out of it. When the
 *    device moves on, receipts of before keep their slots, idle pools go at once and the others
 *    when they are idle; when it comes back it finds its set as it was. While receipts of before are
 *    out, a device may so hold memory in more than one domain, up to its ceiling in each.
 *
 * 3. Where nothing is ever copied (a BLOCKED domain, an IDENTITY one) there is no set; the device
 *    gets one where it moves to. A domain that forbids copies refuses the device: whoever asks for
 *    pools relies on copies.
 *
 * 4. What can fail: entering, before the backend is asked for anything. Mapping a pool is put off
 *    until it is needed, so that may fail in the map that needs it.
 */
#include "domain/attachment.h"
#include "base/err.h"

#include <errno.h>

int dr_device_own_enter_locked(struct dr_attachment *att)
{
	struct dray_domain *dom = att->dom;

	if (!att->dev->bounce_bytes)
		return 0;
	if (dom->flags & DRAY_DOMAIN_NO_BOUNCE)
		return dr_fail(ENOTSUP, "device %s wants bounce pools of its own and the domain is "
			       "DRAY_DOMAIN_NO_BOUNCE; clear one", att->dev->name);
	if (!dr_domain_can_bounce(dom))
		return 0;
	if (att->own) {
		dr_bounce_own_return(dom->bounce, att->own);
		return 0;
	}
	return dr_bounce_own_open(dom->bounce, att->dev->bounce_bytes, &att->own);
}

void dr_device_own_leave_locked(struct dr_attachment *att, bool fresh)
{
	/* It may be back already: another thread's move. */
	if (atomic_load_explicit(&att->dev->here, memory_order_relaxed) == att)
		return;
	if (fresh)
		dr_device_own_close(att);
	else
		dr_bounce_own_leave(att->dom->bounce, att->own);
}

void dr_device_own_close(struct dr_attachment *att)
{
	dr_bounce_own_close(att->dom->bounce, att->own);
	att->own = NULL;
}
