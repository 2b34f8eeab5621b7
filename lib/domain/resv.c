// SPDX-License-Identifier: BSD-2-Clause
/* Ranges that the caller keeps away from automatic allocation: holes and fixed windows. */
#include "domain/domain.h"
#include "base/err.h"

#include <errno.h>
#include <inttypes.h>

static int check_range(const struct dray_domain *dom, dray_iova_t first, dray_iova_t last)
{
	if (first > last || (first & dom->io.granule_mask) ||
	    (last & dom->io.granule_mask) != dom->io.granule_mask)
		return dr_fail(EINVAL, "0x%" PRIx64 "..0x%" PRIx64 " is not whole granules of %"
			       PRIu64 " bytes; align first down and last up", first, last,
			       dom->io.granule_mask + 1);
	if (first < dom->io.first || last > dom->io.last)
		return dr_fail(ERANGE, "0x%" PRIx64 "..0x%" PRIx64 " is outside the domain's "
			       "window 0x%" PRIx64 "..0x%" PRIx64, first, last, dom->io.first,
			       dom->io.last);
	return 0;
}

int dray_domain_reserve(struct dray_domain *dom, dray_iova_t first, dray_iova_t last,
			uint32_t flags)
{
	int err = dr_domain_check(dom);

	if (!err && (flags & ~DRAY_RESERVE_FIXED))
		err = dr_fail(EINVAL, "reserve flags 0x%x are unknown; use DRAY_RESERVE_*", flags);
	if (!err)
		err = check_range(dom, first, last);
	if (err)
		return err;
	/* What waits for a flush is nobody's any more; it must not be in the way. */
	dr_domain_relieve(dom);
	return dr_iova_resv(dom->io.space, first, last,
			    flags & DRAY_RESERVE_FIXED ? DR_RESV_FIXED : DR_RESV_HOLE);
}

int dray_domain_unreserve(struct dray_domain *dom, dray_iova_t first, dray_iova_t last)
{
	int err = dr_domain_check(dom);

	if (!err)
		err = check_range(dom, first, last);
	if (err)
		return err;
	return dr_iova_unresv(dom->io.space, first, last);
}
