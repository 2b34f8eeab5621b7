// SPDX-License-Identifier: BSD-2-Clause
/*
 * Runs
 *
 * 1. A run is a stretch of IOVAs that a device may walk without looking at the list again: one
 *    segment, or several of which each begins where the one before ends. Limits of the device may
 *    have cut what is contiguous, and a caller may cut as it likes; neither matters to a
 *    controller, which sees addresses.
 * 2. Nothing wraps: a segment that ends at 2^64 is followed by another run even where the next
 *    segment begins at 0.
 * 3. What is wrong with a list is found before the walk, so that builders can count first, write
 *    afterwards, and never have to undo.
 */
#include "nvme/runs.h"

#include <errno.h>
#include <inttypes.h>

#include "base/err.h"

int dr_runs_start(struct dr_runs *r, const struct dray_sg *sg, unsigned nsegs, size_t off,
		  size_t len)
{
	size_t skip = off, want = len;

	if (!sg || !nsegs || !len)
		return dr_fail(EINVAL, "%s to describe for NVMe; pass mapped segments and a length",
			       len ? "no segments" : "no bytes");
	*r = (struct dr_runs){.left = len};
	for (unsigned i = 0; i < nsegs && want; i++) {
		size_t n = sg[i].dma_len;

		if (!n || n - 1 > UINT64_MAX - sg[i].iova)
			return dr_fail(EINVAL,
				       "segment %u (%zu bytes at IOVA %#" PRIx64 ") is empty or "
				       "passes 2^64; pass segments as dray_map_sg() returned them",
				       i, n, sg[i].iova);
		if (skip >= n) {
			skip -= n;
			continue;
		}
		if (!r->sg) {
			r->sg = &sg[i];
			r->off = skip;
		}
		n -= skip;
		skip = 0;
		want -= n < want ? n : want;
	}
	if (want)
		return dr_fail(EINVAL,
			       "%zu bytes from byte %zu on reach beyond the %u segments; pass a "
			       "part of what is mapped",
			       len, off, nsegs);
	return 0;
}

bool dr_runs_next(struct dr_runs *r, struct dr_run *ret_run)
{
	dray_iova_t end;
	size_t n;

	if (!r->left)
		return false;
	ret_run->iova = r->sg->iova + r->off;
	ret_run->len = 0;
	do {
		n = r->sg->dma_len - r->off;
		if (n > r->left)
			n = r->left;
		ret_run->len += n;
		r->left -= n;
		end = r->sg->iova + r->off + n;
		r->off = 0;
		r->sg++;
	} while (r->left && end && r->sg->iova == end);
	return true;
}

int dr_lists_check(const struct dray_nvme_list *lists, unsigned n, uint64_t need, size_t va_align,
		   size_t iova_align)
{
	if (need && !lists)
		return dr_fail(EINVAL, "no list pages were given, and %" PRIu64 " are needed; "
			       "pass them", need);
	if (need > n)
		return dr_fail(EMSGSIZE,
			       "%" PRIu64 " list pages are needed, %u were given; pass more or "
			       "describe a smaller part", need, n);
	for (uint64_t i = 0; i < need; i++)
		if (!lists[i].va || (uintptr_t)lists[i].va % va_align ||
		    lists[i].iova % iova_align)
			return dr_fail(EINVAL,
				       "list page %" PRIu64 " (%p, IOVA %#" PRIx64 ") is not aligned "
				       "to %zu bytes for the CPU and %zu for the controller; take "
				       "coherent memory",
				       i, lists[i].va, lists[i].iova, va_align, iova_align);
	return 0;
}
