// SPDX-License-Identifier: BSD-2-Clause
/*
 * Many unmaps in few calls, where it is the unmap itself that waits (DR_DEFER_UNMAP).
 *
 * 1. What a call may cover. The kernel unmaps whatever lies in the range it is given, so a call
 *    covers only IOVAs that are ours: retired ones that this flush is for, and gaps between them
 *    that were taken from the allocator for the call (dr_iova_hold_gap). Nobody maps into
 *    either meanwhile. A gap that cannot be had, or is longer than what one leaf table translates,
 *    ends the range: holding much would starve who maps.
 *
 * 2. What waits is sorted by IOVA, in place and without memory of its own. Ranges grow over
 *    neighbours and gaps as long as they are one call's worth. A mapping that is longer than that
 *    was mapped in pieces, and goes in the same pieces.
 *
 * 3. Leases. The kernel forgets everything when its last group leaves; what it holds was retired
 *    under a lease that tells before from after. The youngest lease in the flush is the only one
 *    that can still be held; a mapping of an older one is ours, gone already, and counts nothing.
 *
 * 4. What the kernel answers.
 *
 *      as many bytes as the range's mappings have   they are gone
 *      another number                               nothing is mapped there any more, but somebody
 *                                                   else has been there: counted, no second pass
 *      the lease is over                            gone, all of it, and rightly so
 *      an error                                     the mappings one by one; one that is reported
 *                                                   absent is gone and counted, one that is refused
 *                                                   is quarantined and marks the domain damaged
 *
 *    No range ends inside a mapping, so nothing is ever cut.
 */
#include "flush/queue.h"

#include <errno.h>
#include <inttypes.h>

/* Longest gap that is held, in granules: what a leaf table translates. */
#define GAP_PGS 512u

static dray_iova_t end_of(const struct dr_flush_item *it)
{
	return it->iova + it->len;
}

/* Let items[at] sink to where the heap of @n is one again. */
static void sink(struct dr_flush_item *items, uint32_t at, uint32_t n)
{
	struct dr_flush_item it = items[at];

	for (;;) {
		uint32_t child = 2 * at + 1;

		if (child >= n)
			break;
		if (child + 1 < n && items[child + 1].iova > items[child].iova)
			child++;
		if (items[child].iova <= it.iova)
			break;
		items[at] = items[child];
		at = child;
	}
	items[at] = it;
}

/* By IOVA. The C library's sort may allocate. */
static void sort(struct dr_flush_item *items, uint32_t n)
{
	for (uint32_t i = n / 2; i-- > 0;)
		sink(items, i, n);
	while (n-- > 1) {
		struct dr_flush_item top = items[0];

		items[0] = items[n];
		items[n] = top;
		sink(items, 0, n);
	}
}

/* Everything below the targets, and the youngest lease in it. */
static uint32_t gather_locked(struct dr_flush *f, uint32_t *ret_lease)
{
	unsigned threads = atomic_load_explicit(&f->threads, memory_order_relaxed);
	uint32_t n = 0;

	for (unsigned i = 0; i < threads; i++) {
		struct dr_flush_queue *q = dr_flush_queue_of(f, i);

		if (!q)
			continue;
		for (uint32_t at = atomic_load_explicit(&q->done, memory_order_relaxed);
		     at != q->target; at++) {
			struct dr_flush_entry *e = &q->slot[at & f->mask];

			/* Leases are counted without end, and compared as such. */
			if (!n || (int32_t)(e->lease - *ret_lease) > 0)
				*ret_lease = e->lease;
			f->items[n++] = (struct dr_flush_item){
				.iova = e->iova, .entry = e,
				.len = (uint64_t)e->len_pgs << f->granule_shift,
				.mapped = (uint64_t)e->mapped_pgs << f->granule_shift,
			};
		}
	}
	return n;
}

static int call(struct dr_flush *f, dray_iova_t first, uint64_t len, uint32_t lease,
		uint64_t *ret_gone)
{
	struct dr_iospace *io = f->io;
	int err;

	*ret_gone = 0;
	err = io->ops->unmap_range(io->be, first, first + len - 1, lease, ret_gone);
	dr_count(&io->counters, DR_BACKEND_UNMAPS, 1);
	dr_count(&io->counters, DR_UNMAP_BYTES, *ret_gone);
	return err;
}

static void check_size(struct dr_flush *f, dray_iova_t first, uint64_t len, uint64_t want,
		       uint64_t gone)
{
	if (gone == want)
		return;
	dr_count(&f->io->counters, DR_UNMAP_ERRORS, 1);
	dr_log(&f->io->log, LOG_ERR, "%s: unmap of 0x%" PRIx64 "+0x%" PRIx64 " found 0x%" PRIx64
	       " bytes mapped, not 0x%" PRIx64 "; somebody else maps or unmaps there",
	       f->io->ops->name, first, len, gone, want);
}

/* One mapping, in the pieces it was mapped in. */
static void unmap_one(struct dr_flush *f, const struct dr_flush_item *it)
{
	uint64_t max_op = f->io->be->max_op, gone;
	bool refused = false;

	for (uint64_t off = 0; off < it->mapped; off += max_op) {
		uint64_t piece = it->mapped - off < max_op ? it->mapped - off : max_op;
		int err = call(f, it->iova + off, piece, it->entry->lease, &gone);

		if (err == -ESTALE)
			break;
		if (err) {
			dr_act_damage(f->io, it->iova + off, (size_t)piece, (size_t)gone, err);
			refused = true;
		} else {
			check_size(f, it->iova + off, piece, piece, gone);
			f->stats.ranges++;
			f->stats.ranged += !off;
		}
	}
	if (!refused)
		return;
	dr_iova_quarantine_retired(f->io->space, it->iova, (size_t)it->len);
	it->entry->lease = DR_LEASE_REFUSED;
}

/* The gap before an item that a range goes on over. */
static bool hold_gap(struct dr_flush *f, const struct dr_flush_item *it)
{
	dray_iova_t first = end_of(it - 1);
	uint64_t len = it->iova - first;

	if (!len)
		return true;
	if (len >> f->granule_shift > GAP_PGS ||
	    !dr_iova_hold_gap(f->io->space, first, it->iova - 1))
		return false;
	f->stats.gaps++;
	return true;
}

/* Inverse, for a whole range. */
static void give_gaps(struct dr_flush *f, const struct dr_flush_item *it, uint32_t n)
{
	for (uint32_t i = 1; i < n; i++)
		if (it[i].iova != end_of(&it[i - 1]))
			dr_iova_give(f->io->space, end_of(&it[i - 1]),
				     (size_t)(it[i].iova - end_of(&it[i - 1])));
}

/* Several mappings by one call. */
static void unmap_run(struct dr_flush *f, const struct dr_flush_item *it, uint32_t n,
		      uint32_t lease)
{
	uint64_t len = end_of(&it[n - 1]) - it->iova, want = 0, gone;
	int err;

	for (uint32_t i = 0; i < n; i++)
		want += it[i].entry->lease == lease ? it[i].mapped : 0;
	err = call(f, it->iova, len, lease, &gone);
	give_gaps(f, it, n);
	if (err && err != -ESTALE) {
		for (uint32_t i = 0; i < n; i++)
			unmap_one(f, &it[i]);
		return;
	}
	if (!err) {
		check_size(f, it->iova, len, want, gone);
		f->stats.ranges++;
		f->stats.ranged += n;
	}
}

void dr_flush_merge_locked(struct dr_flush *f)
{
	uint64_t max_op = f->io->be->max_op;
	uint32_t lease = 0, i, end;
	uint32_t n = gather_locked(f, &lease);

	sort(f->items, n);
	for (i = 0; i < n; i = end) {
		const struct dr_flush_item *it = f->items;

		for (end = i + 1; end < n && end_of(&it[end]) - it[i].iova <= max_op &&
				  hold_gap(f, &it[end]); end++)
			;
		if (end == i + 1)
			unmap_one(f, &it[i]);
		else
			unmap_run(f, &it[i], end - i, lease);
	}
}
