// SPDX-License-Identifier: BSD-2-Clause
/*
 * Why a buffer is copied.
 *
 * Mapping keeps a buffer's offset in its granule and exposes whole granules. So it cannot serve
 *
 *   a device that cannot address where the buffer already is: without an IOMMU that is its own
 *   address, for registered memory the one it was given;
 *   a device that needs an alignment the buffer does not have;
 *   an untrusted device, when the first or last granule holds anything else;
 *   a device that does not snoop and writes, when the first or last cache line holds anything else:
 *   to invalidate that line loses what the CPU wrote beside the buffer, to write it back loses what
 *   the device wrote. A device that only reads needs lines written back, which harms nobody;
 *   memory the backend cannot pin.
 *
 * And it need not, where copying is cheaper than two backend calls. What must be comes before what
 * may be, so that a report names the reason that no option can remove.
 */
#include "bounce/why.h"

static bool is_cut(uintptr_t first, uintptr_t end, size_t unit)
{
	return unit && ((first | end) & (unit - 1));
}

enum dr_bounce_why dr_bounce_why(const struct dr_bounce_facts *f, const void *va, size_t len,
				 enum dray_dir dir)
{
	uintptr_t first = (uintptr_t)va, end = first + len;

	if (f->unreachable)
		return DR_BOUNCE_MASK;
	if (f->min_align && (first & (f->min_align - 1)))
		return DR_BOUNCE_ALIGN;
	if (!f->trusted && is_cut(first, end, f->granule))
		return DR_BOUNCE_EDGE;
	if (dir != DRAY_TO_DEVICE && is_cut(first, end, f->line))
		return DR_BOUNCE_LINE;
	if (f->unpinnable)
		return DR_BOUNCE_PIN;
	return len <= f->threshold ? DR_BOUNCE_CHEAPER : DR_BOUNCE_NO;
}

const char *dr_bounce_why_name(enum dr_bounce_why why)
{
	static const char *const names[DR_BOUNCE_WHYS] = {
		[DR_BOUNCE_NO] = "none",
		[DR_BOUNCE_MASK] = "out of the device's reach",
		[DR_BOUNCE_ALIGN] = "device alignment",
		[DR_BOUNCE_EDGE] = "partial granule on an untrusted device",
		[DR_BOUNCE_LINE] = "partial cache line on a noncoherent device",
		[DR_BOUNCE_PIN] = "memory that cannot be pinned",
		[DR_BOUNCE_CHEAPER] = "cheaper than mapping",
	};

	return (unsigned)why < DR_BOUNCE_WHYS ? names[why] : "unknown";
}
