// SPDX-License-Identifier: BSD-2-Clause
/*
 * Theory
 *
 * 1. A position is an address c with c % align == phase from which `len` bytes cross no multiple
 *    of the boundary. align and boundary are powers of two, so one divides the other:
 *
 *    - align >= boundary, or no boundary: every position has the same offset from the boundary
 *      below it, phase % boundary. Either all of them cross or none does.
 *    - align < boundary: every stretch of `boundary` bytes holds the same offsets: phase,
 *      phase + align, … up to top_off, the last one from which the range still ends inside.
 *
 *    So whether any position exists at all is decided once, without looking at the space, and a
 *    request for which none exists is malformed rather than out of room.
 *
 * 2. The highest position in a gap is the highest aligned address from which the range ends inside
 *    the gap; if it crosses a boundary, then top_off in that same stretch, which is below it and
 *    crosses nothing. No loop.
 *
 * 3. `sure` is the smallest size at which a gap holds a position wherever it lies. Let D be the
 *    longest distance between neighbouring positions: align, or with a smaller align than boundary
 *    from top_off to the next stretch's phase. Gaps begin and end at granules and positions are
 *    whole granules, so the first position of a gap lies at most D - granule above its beginning.
 *
 * 4. Nothing here can overflow: addresses are compared by differences, the one sum that can pass
 *    2^64 (`sure`) saturates, and no gap is as large as the saturated value because the granule at
 *    address 0 is never part of one.
 */
#include "iova/fit.h"

#include <errno.h>
#include <inttypes.h>

#include "base/bits.h"
#include "base/err.h"

static int check(const struct dr_iova_request *req, uint64_t granule)
{
	if (!req->len || req->len & (granule - 1))
		return dr_fail(EINVAL,
			       "IOVA length %zu is not a positive number of granules of %" PRIu64
			       " bytes; round it up",
			       req->len, granule);
	if (!dr_is_pow2(req->align) || req->align < granule)
		return dr_fail(EINVAL,
			       "IOVA alignment 0x%zx is not a power of two of at least the "
			       "granule, 0x%" PRIx64 "; ask for one",
			       req->align, granule);
	if (req->phase >= req->align || req->phase & (granule - 1))
		return dr_fail(EINVAL,
			       "IOVA phase 0x%" PRIx64 " is not a whole granule below the "
			       "alignment 0x%zx; take it modulo the alignment",
			       req->phase, req->align);
	return 0;
}

int dr_fit_init(struct dr_fit *ret_fit, const struct dr_iova_request *req, uint64_t granule)
{
	struct dr_fit fit = {
		.len = req->len,
		.align = req->align,
		.phase = req->phase,
		/* A mask of all ones wraps to 0: nothing lies at 2^64 to be crossed. */
		.boundary = req->boundary_mask + 1,
	};
	uint64_t distance = fit.align;
	uint64_t lowest;
	int err = check(req, granule);

	if (err)
		return err;
	if (!req->boundary_mask)
		fit.boundary = 0;
	if (fit.boundary) {
		if (!dr_is_pow2(fit.boundary))
			return dr_fail(EINVAL,
				       "segment boundary mask 0x%" PRIx64 " is not a power of two "
				       "less one; correct it",
				       req->boundary_mask);
		lowest = fit.phase & (fit.boundary - 1);
		if (fit.len > fit.boundary - lowest)
			return dr_fail(EINVAL,
				       "0x%" PRIx64 " bytes at offset 0x%" PRIx64 " cross a "
				       "segment boundary every 0x%" PRIx64 " bytes wherever they "
				       "go; map them in pieces",
				       fit.len, lowest, fit.boundary);
		fit.top_off = lowest;
		if (fit.align < fit.boundary) {
			fit.top_off += dr_align_down(fit.boundary - fit.len - lowest, fit.align);
			distance = fit.boundary - (fit.top_off - lowest);
		}
	}
	distance -= granule;
	fit.sure = fit.len > UINT64_MAX - distance ? UINT64_MAX : fit.len + distance;
	*ret_fit = fit;
	return 0;
}

bool dr_fit_place(const struct dr_fit *fit, uint64_t first, uint64_t last, uint64_t *ret_iova)
{
	uint64_t iova, off;

	if (last < first || last - first < fit->len - 1)
		return false;
	iova = last - (fit->len - 1);
	if (iova < fit->phase)
		return false;
	iova -= (iova - fit->phase) & (fit->align - 1);
	if (fit->boundary) {
		off = iova & (fit->boundary - 1);
		if (off > fit->top_off)
			iova -= off - fit->top_off;
	}
	if (iova < first)
		return false;
	*ret_iova = iova;
	return true;
}
