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
#include "iospace/iospace.h"
#include "base/bits.h"
#include "base/err.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

void dr_act_damage(struct dr_iospace *io, dray_iova_t iova, size_t len, size_t gone, int err)
{
	atomic_store_explicit(&io->damaged, true, memory_order_relaxed);
	dr_count(&io->counters, DR_UNMAP_ERRORS, 1);
	dr_log(&io->log, LOG_ERR, "%s: unmap of 0x%" PRIx64 "+0x%zx: %s, 0x%zx bytes gone; the "
	       "range is quarantined", io->ops->name, iova, len, strerror(-err), gone);
}

static int unmap_piece(struct dr_iospace *io, dray_iova_t iova, size_t len)
{
	size_t gone = 0;
	int err = io->ops->unmap(io->be, iova, len, &gone);

	dr_count_two(&io->counters, DR_BACKEND_UNMAPS, DR_UNMAP_BYTES, gone);
	if (__builtin_expect(err, 0))
		dr_act_damage(io, iova, len, gone, err);
	return err;
}

/* Unmap [0, len) of a mapping in pieces; the first error is returned, the rest still tried. */
static inline int unmap_pieces(struct dr_iospace *io, dray_iova_t iova, size_t len)
{
	uint64_t max_op = io->be->max_op;
	int first_err = unmap_piece(io, iova, len < max_op ? len : (size_t)max_op);

	for (size_t off = (size_t)max_op; off < len; off += (size_t)max_op) {
		int err = unmap_piece(io, iova + off, len - off < max_op ? len - off :
									   (size_t)max_op);

		if (!first_err)
			first_err = err;
	}
	return first_err;
}

int dr_act_clear(struct dr_iospace *io, dray_iova_t iova, size_t len)
{
	return unmap_pieces(io, iova, len);
}

/* The same, and nothing is reached through it any more. */
static int unmap_all(struct dr_iospace *io, dray_iova_t iova, size_t len)
{
	int err = unmap_pieces(io, iova, len);

	if (io->be->defers == DR_DEFER_INVALIDATION) {
		io->ops->invalidate(io->be, iova, iova + len - 1);
		dr_count(&io->counters, DR_INVALIDATIONS, 1);
	}
	return err;
}

int dr_act_unmap(struct dr_iospace *io, dray_iova_t iova, size_t len)
{
	int err = unmap_all(io, iova, len);

	if (__builtin_expect(err, 0))
		dr_fail(-err, "%s refused to unmap 0x%" PRIx64 "+0x%zx (%s); the range is "
			"quarantined, close the domain to be rid of it", io->ops->name, iova, len,
			strerror(-err));
	return err;
}

static __attribute__((noinline)) int map_pieces(struct dr_iospace *io, dray_iova_t iova, void *va,
						size_t len, uint64_t bits, bool *ret_refused)
{
	uint64_t max_op = io->be->max_op;
	size_t off = 0;
	int err = 0;

	while (off < len) {
		size_t piece = len - off < max_op ? len - off : (size_t)max_op;

		err = io->ops->map(io->be, iova + off, (char *)va + off, piece,
				    off ? bits | DR_PTE_CONTINUE : bits);
		if (err)
			break;
		dr_count_two(&io->counters, DR_BACKEND_MAPS, DR_MAP_BYTES, piece);
		off += piece;
	}
	if (err && off)
		*ret_refused = unmap_all(io, iova, off) != 0;
	return err;
}

int dr_act_map(struct dr_iospace *io, dray_iova_t iova, void *va, size_t len, uint64_t bits,
	       bool *ret_refused)
{
	int err;

	*ret_refused = false;
	/* What unmaps before have unlinked is freed here: unmap itself may not wait. */
	if (__builtin_expect(dr_pgtable_wants_reclaim(io->pt), 0))
		dr_pgtable_reclaim(io->pt);
	if (__builtin_expect(len > io->be->max_op, 0))
		return map_pieces(io, iova, va, len, bits, ret_refused);
	err = io->ops->map(io->be, iova, va, len, bits);
	if (__builtin_expect(!err, 1))
		dr_count_two(&io->counters, DR_BACKEND_MAPS, DR_MAP_BYTES, len);
	return err;
}

void dr_act_release(struct dr_iospace *io, dray_iova_t iova, size_t len, bool refused)
{
	bool ok = refused ? dr_iova_quarantine(io->space, iova, len) :
			    dr_iova_give(io->space, iova, len);

	if (!ok)
		dr_log(&io->log, LOG_CRIT, "IOVA 0x%" PRIx64 "+0x%zx was not live when it came "
		       "back", iova, len);
}
