// SPDX-License-Identifier: BSD-2-Clause
/*
 * Act: the backend calls between reserving an IOVA and publishing a receipt.
 *
 * The caller owns the IOVAs alone, so nothing here takes a lock. A request larger than one backend
 * call may be is cut at multiples of max_op from its start; unmap cuts at the same places, so a
 * backend never sees a range that bisects one of its mappings. A map that fails in a later piece
 * unmaps the earlier ones; an unmap that fails goes on with the pieces behind it, because what can
 * be taken back must be.
 */
#include "domain/domain.h"
#include "base/bits.h"
#include "base/err.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

static void damage(struct dray_domain *dom, dray_iova_t iova, size_t len, size_t gone, int err)
{
	atomic_store_explicit(&dom->damaged, true, memory_order_relaxed);
	dr_count(&dom->counters, DR_UNMAP_ERRORS, 1);
	dr_log(&dom->log, LOG_ERR, "%s: unmap of 0x%" PRIx64 "+0x%zx: %s, 0x%zx bytes gone; the "
	       "range is quarantined", dom->ops->name, iova, len, strerror(-err), gone);
}

/* Unmap [0, len) of a mapping in pieces; the first error is returned, the rest still tried. */
static int unmap_pieces(struct dray_domain *dom, dray_iova_t iova, size_t len)
{
	uint64_t max_op = dom->be->max_op;
	int first_err = 0;

	for (size_t off = 0; off < len;) {
		size_t piece = len - off < max_op ? len - off : (size_t)max_op;
		size_t gone = 0;
		int err = dom->ops->unmap(dom->be, iova + off, piece, &gone);

		dr_count(&dom->counters, DR_BACKEND_UNMAPS, 1);
		dr_count(&dom->counters, DR_UNMAP_BYTES, gone);
		if (err) {
			damage(dom, iova + off, piece, gone, err);
			if (!first_err)
				first_err = err;
		}
		off += piece;
	}
	if (dom->ops->invalidate) {
		dom->ops->invalidate(dom->be, iova, iova + len - 1);
		dr_count(&dom->counters, DR_INVALIDATIONS, 1);
	}
	return first_err;
}

int dr_act_unmap(struct dray_domain *dom, dray_iova_t iova, size_t len)
{
	int err = unmap_pieces(dom, iova, len);

	if (err)
		dr_fail(-err, "%s refused to unmap 0x%" PRIx64 "+0x%zx (%s); the range is "
			"quarantined, close the domain to be rid of it", dom->ops->name, iova, len,
			strerror(-err));
	return err;
}

int dr_act_map(struct dray_domain *dom, dray_iova_t iova, void *va, size_t len, uint64_t bits,
	       bool *ret_refused)
{
	uint64_t max_op = dom->be->max_op;
	size_t off = 0;
	int err = 0;

	*ret_refused = false;
	/* What unmaps before have unlinked is freed here: unmap itself may not wait. */
	if (dr_pgtable_wants_reclaim(dom->pt))
		dr_pgtable_reclaim(dom->pt);
	while (off < len) {
		size_t piece = len - off < max_op ? len - off : (size_t)max_op;

		err = dom->ops->map(dom->be, iova + off, (char *)va + off, piece,
				    off ? bits | DR_PTE_CONTINUE : bits);
		if (err)
			break;
		dr_count(&dom->counters, DR_BACKEND_MAPS, 1);
		dr_count(&dom->counters, DR_MAP_BYTES, piece);
		off += piece;
	}
	if (err && off)
		*ret_refused = unmap_pieces(dom, iova, off) != 0;
	return err;
}

void dr_act_release(struct dray_domain *dom, dray_iova_t iova, size_t len, bool refused)
{
	bool ok = refused ? dr_iova_quarantine(dom->space, iova, len) :
			    dr_iova_give(dom->space, iova, len);

	if (!ok)
		dr_log(&dom->log, LOG_CRIT, "IOVA 0x%" PRIx64 "+0x%zx was not live when it came "
		       "back", iova, len);
}

void dr_act_unmap_owner(struct dray_domain *dom, unsigned owner)
{
	struct dr_pt_mapping m;
	dray_iova_t from = dom->first;

	while (from <= dom->last && dr_pgtable_next(dom->pt, from, dom->last, &m)) {
		/* The table cannot hold 2^64, so this does not wrap. */
		from = m.iova + m.len;
		/* What was refused before is quarantined: its receipt has ended, nobody owns it. */
		if (dr_pte_owner(m.bits) != owner ||
		    !dr_iova_is_live(dom->space, m.iova, m.len, NULL))
			continue;
		dr_act_release(dom, m.iova, m.len, dr_act_unmap(dom, m.iova, m.len) != 0);
		dr_count(&dom->counters, DR_LEAKS, 1);
		dr_log(&dom->log, LOG_WARNING, "device closed with 0x%" PRIx64 "+0x%zx mapped; "
		       "unmapped", m.iova, m.len);
		dr_domain_leave(dom);
	}
}
