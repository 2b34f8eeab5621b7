// SPDX-License-Identifier: BSD-2-Clause
/*
 * How the states of a stretch of addresses change. What the states mean is in space.c.
 *
 * 1. The tree is canonical between calls: no piece without bits, no two neighbours that
 *    dr_pieces_are_one() would join. Equal states therefore mean equal trees of pieces, which is
 *    what makes the undoing of any change exact.
 *
 * 2. To change the bits of [first, last] a piece that reaches over an edge is cut there: one
 *    record more, the same states. Then every piece inside gets its new bits, every gap inside that
 *    is to have bits becomes a piece, a piece that lost its last bit goes, and each is joined with
 *    neighbours that now look the same. So a change takes at most two records and one for every
 *    gap, and all of them are reserved before the first is used.
 *
 * 3. Clearing visits only pieces that have one of the bits; it costs O(log n) for each of these,
 *    however many others lie between them.
 */
#include "iova/pieces.h"

#include <errno.h>
#include <inttypes.h>

#include "base/err.h"
#include "base/hooks.h"

int dr_pieces_reserve_locked(struct dray_iova_space *s, size_t n)
{
	while (s->spares < n) {
		struct dr_piece *p = dr_alloc(sizeof(*p));

		if (!p)
			return dr_fail(ENOMEM, "no memory for a record of an IOVA range; free some "
					       "memory or raise the process's limit");
		p->right = s->spare;
		s->spare = p;
		s->spares++;
	}
	return 0;
}

void dr_pieces_unreserve_locked(struct dray_iova_space *s)
{
	while (s->spares > DR_SPARE_PIECES) {
		struct dr_piece *p = s->spare;

		s->spare = p->right;
		s->spares--;
		dr_free(p);
	}
}

struct dr_piece *dr_pieces_add_locked(struct dray_iova_space *s, uint64_t first, uint64_t last,
				      uint16_t bits)
{
	struct dr_piece *p = s->spare;

	s->spare = p->right;
	s->spares--;
	p->first = first;
	p->last = last;
	p->bits = bits;
	dr_tree_insert(&s->tree, p);
	return p;
}

/*
 * Inverse of dr_pieces_add_locked(). The record stays spare at least until the call ends, which may
 * need it again.
 */
static void drop(struct dray_iova_space *s, struct dr_piece *p)
{
	dr_tree_erase(&s->tree, p);
	p->right = s->spare;
	s->spare = p;
	s->spares++;
}

/*
 * Let a piece begin at @at if one reaches over it, and return that piece, else NULL. It is never a
 * live one: those change as a whole, and reservations only where nothing live has one.
 */
static struct dr_piece *cut(struct dray_iova_space *s, uint64_t at)
{
	struct dr_piece *p = dr_tree_at(&s->tree, at);
	uint64_t last;

	if (!p || p->first == at)
		return NULL;
	last = p->last;
	dr_tree_change(&s->tree, p, at - 1, p->bits);
	return dr_pieces_add_locked(s, at, last, p->bits);
}

bool dr_pieces_are_one(const struct dr_piece *left, const struct dr_piece *right)
{
	return left->last + 1 == right->first && left->last != UINT64_MAX &&
	       (left->bits & ~DR_PIECE_HEAD) == right->bits;
}

static struct dr_piece *prev_of(struct dray_iova_space *s, const struct dr_piece *p)
{
	return p->first ? dr_tree_at(&s->tree, p->first - 1) : NULL;
}

static struct dr_piece *next_of(struct dray_iova_space *s, const struct dr_piece *p)
{
	return p->last < UINT64_MAX ? dr_tree_at(&s->tree, p->last + 1) : NULL;
}

/*
 * Merge @p with its neighbours where they look the same. On the right that can be two: one that
 * looked so before, and the other half of it, which was cut off at the edge of a change.
 */
static struct dr_piece *join(struct dray_iova_space *s, struct dr_piece *p)
{
	struct dr_piece *prev = prev_of(s, p), *next;

	while ((next = next_of(s, p)) && dr_pieces_are_one(p, next)) {
		drop(s, next);
		dr_tree_change(&s->tree, p, next->last, p->bits);
	}
	if (prev && dr_pieces_are_one(prev, p)) {
		drop(s, p);
		dr_tree_change(&s->tree, prev, p->last, prev->bits);
		p = prev;
	}
	return p;
}

size_t dr_pieces_needed_locked(struct dray_iova_space *s, uint64_t first, uint64_t last)
{
	size_t needed = 2; /* the cuts */

	for (;;) {
		const struct dr_piece *p = dr_tree_next(&s->tree, first, DR_TREE_ANY);

		if (!p || p->first > first)
			needed++; /* the gap */
		if (!p || p->first > last || p->last >= last)
			return needed;
		first = p->last + 1;
	}
}

void dr_pieces_mark_locked(struct dray_iova_space *s, uint64_t first, uint64_t last, uint16_t clear,
			   uint16_t set)
{
	cut(s, first);
	if (last < UINT64_MAX)
		cut(s, last + 1);
	for (;;) {
		struct dr_piece *p = dr_tree_next(&s->tree, first, DR_TREE_ANY);

		if (!p || p->first > first)
			p = dr_pieces_add_locked(s, first,
						 p && p->first <= last ? p->first - 1 : last, set);
		else
			dr_tree_change(&s->tree, p, p->last, (uint16_t)((p->bits & ~clear) | set));
		set &= (uint16_t)~DR_PIECE_HEAD;
		p = join(s, p);
		/* Joined pieces were the same before and would be the same after. */
		if (p->last >= last)
			return;
		first = p->last + 1;
	}
}

void dr_pieces_clear_locked(struct dray_iova_space *s, uint64_t first, uint64_t last,
			    uint16_t clear)
{
	for (;;) {
		struct dr_piece *p = dr_tree_next(&s->tree, first, clear);
		uint64_t end_of_p;

		if (!p || p->first > last)
			return;
		if (p->first < first)
			p = cut(s, first);
		if (p->last > last)
			cut(s, last + 1);
		end_of_p = p->last;
		if (p->bits & (uint16_t)~clear) {
			dr_tree_change(&s->tree, p, p->last, p->bits & (uint16_t)~clear);
			join(s, p);
		} else {
			drop(s, p);
		}
		if (end_of_p >= last)
			return;
		first = end_of_p + 1;
	}
}

const char *dr_piece_name(const struct dr_piece *p)
{
	if (p->bits & DR_PIECE_LIVE)
		return "a live range";
	if (p->bits & DR_PIECE_RETIRED)
		return "an unmapped range that waits for a flush";
	if (p->bits & DR_PIECE_QUAR)
		return "a quarantined range";
	if (p->bits & DR_PIECE_HW)
		return "a hole of the hardware";
	return p->bits & DR_PIECE_HOLE ? "a reserved hole" : "a fixed window";
}

int dr_iova_check_range(const struct dray_iova_space *s, uint64_t first, uint64_t last)
{
	uint64_t mask = s->granule - 1;

	if (first > last || first & mask || (last & mask) != mask)
		return dr_fail(EINVAL,
			       "IOVAs 0x%" PRIx64 "-0x%" PRIx64 " are not whole granules of "
			       "0x%" PRIx64 " bytes; the last address is inclusive",
			       first, last, s->granule);
	if (first < s->window.first || last > s->window.last)
		return dr_fail(ERANGE,
			       "IOVAs 0x%" PRIx64 "-0x%" PRIx64 " are not inside the window "
			       "0x%" PRIx64 "-0x%" PRIx64 "; choose others or widen the window",
			       first, last, s->window.first, s->window.last);
	return 0;
}
