// SPDX-License-Identifier: BSD-2-Clause
/*
 * Where a buffer may appear: what the device's limits say, and an IOVA that respects them.
 *
 * Any address below the device's mask; a buffer of 2 MiB or more gets one congruent to its own
 * address modulo 2 MiB, so that large pages can be used, if there is room for that. A device's
 * segment boundary is a request to the allocator. A domain with guards asks for one granule more
 * than it maps: whatever lies above a mapping is then never somebody else's, so an overrun faults,
 * and an underrun meets the guard of the mapping below. Regions, bounce pools and an untrusted
 * device's slots do the same at their places. A fixed address is checked against the same limits
 * and has no guard: its neighbours are the caller's business.
 */
#include "map/map.h"
#include "base/bits.h"
#include "base/err.h"

#include <errno.h>
#include <inttypes.h>

#define LARGE_PAGE (UINT64_C(1) << 21)

int dr_check_segment(const struct dray_device *dev, size_t len)
{
	if (dev->max_segment && len > dev->max_segment)
		return dr_fail(EMSGSIZE, "%zu bytes are more than the device's longest segment of "
			       "%zu; map pieces", len, dev->max_segment);
	if (dev->boundary_mask && len - 1 > dev->boundary_mask)
		return dr_fail(EMSGSIZE, "%zu bytes cannot avoid the device's segment boundary every "
			       "0x%" PRIx64 " bytes; map pieces", len, dev->boundary_mask + 1);
	return 0;
}

/* The request for a span, but for the boundary and the guard. */
static int make_request(const struct dray_domain *dom, const struct dray_device *dev,
			const struct dr_span *s, size_t align, struct dr_iova_request *ret_req)
{
	uint64_t granule = dom->io.granule_mask + 1;
	/* A buffer aligned beyond a granule because the device wants it keeps that. */
	uint64_t least = dev->min_align > granule ? dev->min_align : granule;

	*ret_req = (struct dr_iova_request){
		.len = s->len, .align = align > least ? align : least,
		.last = dr_device_mask(dev),
	};
	if (s->len + dom->io.guard < s->len)
		return dr_fail(ENOSPC, "0x%zx bytes and a guard are more than there are addresses",
			       s->len);
	return 0;
}

/* One segment, [s->off, s->off + len) of the span, may not cross the boundary. */
static int bind_segment(const struct dray_domain *dom, const struct dray_device *dev,
			const struct dr_span *s, size_t len, struct dr_iova_request *req)
{
	if (!dev->boundary_mask)
		return 0;
	if (dev->boundary_mask < dom->io.granule_mask) {
		if (dr_crosses(dev, s->off, len))
			return dr_fail(EMSGSIZE, "buffer crosses the device's segment boundary "
				       "inside a granule; move it");
		return 0;
	}
	if (s->len - 1 > dev->boundary_mask)
		return dr_fail(EMSGSIZE, "the buffer's granules are more than the device's segment "
			       "boundary of 0x%" PRIx64 " bytes holds; map pieces",
			       dev->boundary_mask + 1);
	/* No byte of the span's granules across it. */
	req->boundary_mask = dev->boundary_mask;
	return 0;
}

/* Take it, congruent modulo a large page where that helps and can be had. */
static int take(const struct dray_domain *dom, const struct dr_span *s, size_t align,
		struct dr_iova_request *req, dray_iova_t *ret_iova)
{
	size_t least;
	int err;

	dr_iospace_add_guard(&dom->io, req);
	least = req->align;
	if (!align && s->len >= LARGE_PAGE && least < LARGE_PAGE) {
		req->align = LARGE_PAGE;
		req->phase = (uintptr_t)s->va & (LARGE_PAGE - 1);
		err = dr_iova_take(dom->io.space, req, ret_iova);
		/* -EINVAL: at this offset it would cross the boundary wherever it went. */
		if (err != -ENOSPC && err != -EINVAL)
			return err;
		req->align = least;
		req->phase = 0;
	}
	err = dr_iova_take(dom->io.space, req, ret_iova);
	if (err == -ENOSPC)
		return dr_fail(ENOSPC, "no 0x%zx bytes of IOVA left at or below 0x%" PRIx64
			       "; unmap something or widen the window", s->len,
			       req->last < dom->io.last ? req->last : dom->io.last);
	return err;
}

int dr_place(const struct dray_domain *dom, const struct dray_device *dev, const struct dr_span *s,
	     size_t len, size_t align, dray_iova_t *ret_iova)
{
	struct dr_iova_request req;
	int err = make_request(dom, dev, s, align, &req);

	if (!err)
		err = bind_segment(dom, dev, s, len, &req);
	return err ? err : take(dom, s, align, &req, ret_iova);
}

int dr_place_block(const struct dray_domain *dom, const struct dray_device *dev,
		   const struct dr_span *s, dray_iova_t *ret_iova)
{
	struct dr_iova_request req;
	uint64_t bound = dev->boundary_mask + 1; /* 0: none, or all of it */
	int err = make_request(dom, dev, s, 0, &req);

	if (err)
		return err;
	if (bound > dom->io.granule_mask && s->len <= bound) {
		req.boundary_mask = dev->boundary_mask;
		return take(dom, s, 0, &req, ret_iova);
	}
	if (bound <= req.align)
		return take(dom, s, 0, &req, ret_iova);
	/* It will be cut at each boundary: as few as possible when it begins behind one. */
	req.align = (size_t)bound;
	return take(dom, s, req.align, &req, ret_iova);
}

int dr_place_fixed(const struct dray_domain *dom, const struct dray_device *dev,
		   const struct dr_span *s, size_t len, dray_iova_t iova)
{
	uint64_t mask = dr_device_mask(dev);
	dray_iova_t first = iova - s->off, last = first + s->len - 1;

	if (last < first || iova + len - 1 > mask || first < dom->io.first || last > dom->io.last)
		return dr_fail(ERANGE, "0x%" PRIx64 "+0x%zx is outside the device's mask 0x%" PRIx64
			       " or the domain's window 0x%" PRIx64 "..0x%" PRIx64, iova, len, mask,
			       dom->io.first, dom->io.last);
	if (dev->min_align && (iova & (dev->min_align - 1)))
		return dr_fail(EINVAL, "IOVA 0x%" PRIx64 " is not aligned to the device's %zu bytes; "
			       "choose one that is", iova, dev->min_align);
	if (dr_crosses(dev, iova, len))
		return dr_fail(EMSGSIZE, "0x%" PRIx64 "+0x%zx crosses the device's segment boundary "
			       "of 0x%" PRIx64 " bytes", iova, len, dev->boundary_mask + 1);
	return dr_iova_take_fixed(dom->io.space, first, last);
}

int dr_place_direct(const struct dray_device *dev, const void *va, size_t len, dray_iova_t wanted)
{
	uint64_t mask = dr_device_mask(dev);
	dray_iova_t iova = (uintptr_t)va;

	if (wanted != DRAY_IOVA_NONE && wanted != iova)
		return dr_fail(ERANGE, "an IDENTITY domain maps %p at 0x%" PRIx64 " only", va, iova);
	if (iova + len - 1 > mask)
		return dr_fail(ERANGE, "%p+0x%zx is above the device's mask 0x%" PRIx64 " and an "
			       "IDENTITY domain cannot move it", va, len, mask);
	if (dr_crosses(dev, iova, len))
		return dr_fail(EMSGSIZE, "%p+0x%zx crosses the device's segment boundary", va, len);
	return 0;
}
