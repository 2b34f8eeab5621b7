// SPDX-License-Identifier: BSD-2-Clause
/*
 * Reservations of a space: what callers keep for themselves, and what the hardware cannot
 * translate. The layers and the locking are explained in space.c; this file only says who may
 * write which layer, and when.
 *
 * 1. Callers' layer. A reservation is refused over anything in use and otherwise always holds,
 *    also over older ones and under a hardware hole. Undoing it needs no ownership: the range
 *    counts. A live or retired fixed range keeps its window; a quarantined one needs none any more.
 *
 * 2. The hardware's layer is replaced as a whole, when devices come and go. New holes are entered
 *    before old ones are taken back, so that the records needed are known before anything changes.
 */
#include <errno.h>
#include <inttypes.h>

#include "base/bits.h"
#include "base/err.h"
#include "base/hooks.h"
#include "iova/cache.h"
#include "iova/pieces.h"
#include "iova/space.h"

int dr_iova_resv(struct dray_iova_space *s, dray_iova_t first, dray_iova_t last,
		 enum dr_iova_resv kind)
{
	const uint16_t bit = kind == DR_RESV_HOLE ? DR_PIECE_HOLE : DR_PIECE_WINDOW;
	const struct dr_piece *p;
	int err = dr_iova_check_range(s, first, last);

	if (err)
		return err;
	pthread_mutex_lock(&s->lock);
	p = dr_tree_next(&s->tree, first, DR_PIECE_USED);
	if (!p || p->first > last)
		err = dr_cache_clear_locked(s, first, last, true);
	if (p && p->first <= last)
		err = dr_fail(EEXIST,
			      "cannot reserve IOVAs 0x%" PRIx64 "-0x%" PRIx64
			      ": %s overlaps at 0x%" PRIx64 "; reserve before mapping",
			      first, last, dr_piece_name(p), p->first);
	else if (!err)
		err = dr_pieces_reserve_locked(s, dr_pieces_needed_locked(s, first, last));
	if (!err)
		dr_pieces_mark_locked(s, first, last, DR_PIECE_RESV, bit);
	dr_pieces_unreserve_locked(s);
	pthread_mutex_unlock(&s->lock);
	return err;
}

/* The lowest piece of a live or retired range that lies on a window in [first, last], or NULL. */
static struct dr_piece *fixed_on_window_locked(struct dray_iova_space *s, uint64_t first,
					       uint64_t last)
{
	for (;;) {
		struct dr_piece *p = dr_tree_next(&s->tree, first, DR_PIECE_WINDOW);

		if (!p || p->first > last)
			return NULL;
		if (p->bits & DR_PIECE_OWNED)
			return p;
		if (p->last >= last)
			return NULL;
		first = p->last + 1;
	}
}

int dr_iova_unresv(struct dray_iova_space *s, dray_iova_t first, dray_iova_t last)
{
	const struct dr_piece *p;
	int err = dr_iova_check_range(s, first, last);

	if (err)
		return err;
	pthread_mutex_lock(&s->lock);
	p = fixed_on_window_locked(s, first, last);
	if (p)
		err = dr_fail(EBUSY,
			      "cannot give up the fixed window in IOVAs 0x%" PRIx64 "-0x%" PRIx64
			      ": %s is at 0x%" PRIx64 "; unmap it, or flush, first",
			      first, last, dr_piece_name(p), p->first);
	else
		err = dr_pieces_reserve_locked(s, 2);
	if (!err)
		dr_pieces_clear_locked(s, first, last, DR_PIECE_RESV);
	dr_pieces_unreserve_locked(s);
	pthread_mutex_unlock(&s->lock);
	return err;
}

/*
 * What @usable leaves of the window, into @ret_holes with room for @n + 1. Usable ranges shrink to
 * whole granules, because a granule is translated whole or not at all. -EINVAL not ascending.
 */
static int complement(const struct dray_iova_space *s, const struct dray_range *usable, unsigned n,
		      struct dray_range *ret_holes, unsigned *ret_n)
{
	const uint64_t mask = s->granule - 1;
	uint64_t at = s->window.first;
	bool open = true; /* something above the last usable range may still be a hole */
	unsigned holes = 0;

	for (unsigned i = 0; i < n; i++) {
		uint64_t first = usable[i].first, last = usable[i].last;

		if (first > last || (i && first <= usable[i - 1].last))
			return dr_fail(EINVAL,
				       "usable IOVA ranges do not ascend at number %u "
				       "(0x%" PRIx64 "-0x%" PRIx64 "); sort and merge them",
				       i, first, last);
		if (first < s->window.first)
			first = s->window.first;
		if (last > s->window.last)
			last = s->window.last;
		if (first > last || last - first < mask || first > UINT64_MAX - mask)
			continue;
		first = dr_align_up(first, s->granule);
		if (last < UINT64_MAX)
			last = dr_align_down(last + 1, s->granule) - 1;
		if (first > last)
			continue;
		if (first > at)
			ret_holes[holes++] = (struct dray_range){at, first - 1};
		open = last < s->window.last;
		if (open)
			at = last + 1;
	}
	if (open)
		ret_holes[holes++] = (struct dray_range){at, s->window.last};
	*ret_n = holes;
	return 0;
}

/* Nothing live or retired in any hole, and records for all of them. */
static int prepare_holes_locked(struct dray_iova_space *s, const struct dray_range *holes,
				unsigned n)
{
	size_t needed = 0;

	for (unsigned i = 0; i < n; i++) {
		const struct dr_piece *p = dr_tree_next(&s->tree, holes[i].first, DR_PIECE_OWNED);
		int err;

		if (p && p->first <= holes[i].last)
			return dr_fail(EEXIST,
				       "the hardware cannot translate IOVAs 0x%" PRIx64
				       "-0x%" PRIx64 " but %s is at 0x%" PRIx64
				       "; unmap it first",
				       holes[i].first, holes[i].last, dr_piece_name(p), p->first);
		err = dr_cache_clear_locked(s, holes[i].first, holes[i].last, false);
		if (err)
			return err;
		needed += dr_pieces_needed_locked(s, holes[i].first, holes[i].last);
	}
	/* Between the holes old ones are taken back: two cuts at most for each stretch. */
	return dr_pieces_reserve_locked(s, needed + 2 * ((size_t)n + 1));
}

static void replace_holes_locked(struct dray_iova_space *s, const struct dray_range *holes,
				 unsigned n)
{
	uint64_t at = s->window.first;

	for (unsigned i = 0; i < n; i++)
		dr_pieces_mark_locked(s, holes[i].first, holes[i].last, 0, DR_PIECE_HW);
	for (unsigned i = 0; i < n; i++) {
		if (holes[i].first > at)
			dr_pieces_clear_locked(s, at, holes[i].first - 1, DR_PIECE_HW);
		if (holes[i].last == s->window.last)
			return;
		at = holes[i].last + 1;
	}
	dr_pieces_clear_locked(s, at, s->window.last, DR_PIECE_HW);
}

int dr_iova_set_usable(struct dray_iova_space *s, const struct dray_range *usable, unsigned n)
{
	struct dray_range *holes = dr_alloc(((size_t)n + 1) * sizeof(*holes));
	unsigned n_holes = 0;
	int err;

	if (!holes)
		return dr_fail(ENOMEM, "no memory for %u usable IOVA ranges; free some memory", n);
	err = complement(s, usable, n, holes, &n_holes);
	if (!err) {
		pthread_mutex_lock(&s->lock);
		err = prepare_holes_locked(s, holes, n_holes);
		if (!err)
			replace_holes_locked(s, holes, n_holes);
		dr_pieces_unreserve_locked(s);
		pthread_mutex_unlock(&s->lock);
	}
	dr_free(holes);
	return err;
}

bool dr_iova_nth_hole(struct dray_iova_space *s, unsigned n, struct dray_range *ret_hole)
{
	struct dray_range hole = {0};
	const struct dr_piece *p;
	uint64_t from = 0;
	bool found = false;

	pthread_mutex_lock(&s->lock);
	for (;; n--) {
		p = dr_tree_next(&s->tree, from, DR_PIECE_NOBODY);
		if (!p)
			break;
		/* Pieces differ in state, holes do not: join those that adjoin. */
		hole.first = p->first;
		do {
			hole.last = p->last;
			p = hole.last < UINT64_MAX ? dr_tree_at(&s->tree, hole.last + 1) : NULL;
		} while (p && p->bits & DR_PIECE_NOBODY);
		found = !n;
		if (found || hole.last == UINT64_MAX)
			break;
		from = hole.last + 1;
	}
	pthread_mutex_unlock(&s->lock);
	if (found)
		*ret_hole = hole;
	return found;
}
