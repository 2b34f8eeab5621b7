// SPDX-License-Identifier: BSD-2-Clause
/*
 * Why a mapping is a copy, asked while it lives.
 *
 * The reason is found when the buffer is mapped (ways.c) and kept where the copy is: in its slot's
 * record, in the piece of a link. So it is found as the copy is, by IOVA, and mapping pays a store
 * for it. A receipt has no bit left to hold it, and a list's segments have no receipts.
 */
#include "map/link.h"
#include "map/map.h"

#define SAME(name) _Static_assert((int)DRAY_BOUNCE_##name == (int)DR_BOUNCE_##name, "one predicate")
SAME(NO);
SAME(MASK);
SAME(ALIGN);
SAME(EDGE);
SAME(LINE);
SAME(PIN);
SAME(CHEAPER);
_Static_assert((int)DRAY_BOUNCE_CHEAPER + 1 == (int)DR_BOUNCE_WHYS, "each reason is public");

enum dray_bounce_reason dray_bounce_reason_at(const struct dray_domain *dom, dray_iova_t iova)
{
	uint64_t handle;
	size_t off;

	if (!dom || dr_domain_is_forked(dom))
		return DRAY_BOUNCE_NO;
	if (dr_bounce_find(dom->bounce, iova, 1, &handle, &off))
		return (enum dray_bounce_reason)dr_bounce_reason(dom->bounce, handle);
	return (enum dray_bounce_reason)dr_link_reason((struct dray_domain *)(uintptr_t)dom, iova);
}

const char *dray_bounce_reason_name(enum dray_bounce_reason reason)
{
	return dr_bounce_why_name((enum dr_bounce_why)reason);
}
