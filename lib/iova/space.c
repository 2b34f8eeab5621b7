// SPDX-License-Identifier: BSD-2-Clause
/*
 * IOVA space: theory
 *
 * 0. What follows is the bottom layer, complete by itself: every address, one lock, no caches. The
 *    caches (cache.c) take whole chunks from it, each one piece, and serve small ranges out of
 *    them; it asks them only where they might know better: when there is no room, and when a chunk
 *    is in the way of a fixed address or a reservation (drain.c).
 *
 * 1. Concepts. A space owns the granules of one window and knows the state of each in three
 *    layers that do not know one another:
 *
 *      who uses it        nobody | live, automatic | live, fixed | retired | quarantined
 *      callers' reserve   none | hole | fixed window
 *      hardware           usable | hole
 *
 *    Automatic addresses come from granules that are nothing in all three. Fixed ones may also
 *    lie in fixed windows, or reach across their edges. Layers never mix: giving a range back
 *    empties the first layer alone, so every part becomes again what its reservation says; a
 *    caller's reservation under a hardware hole waits there until the hole goes away.
 *    Retired ranges were live: their owner has let go, but until a flush has ended a device may
 *    still reach them, so nobody gets them; what waits goes back (or is quarantined) by calls of
 *    its own, which a range that is live refuses and the other way round. A flusher may also hold
 *    a free gap between retired ranges for as long as its call takes: it is live then.
 *    Always true: live and retired are never in a hole of either kind; automatic never in any
 *    reservation.
 *    Quarantined addresses may come to lie in a hardware hole, for nobody gets them any more.
 *
 * 2. Pieces. Neighbouring granules of one state form a piece, a record in a balanced tree
 *    (tree.c); granules that are nothing at all have no record, they are the gaps between pieces.
 *    A live range taken automatically is one piece. A fixed one is a run of them, cut where a
 *    window's edge lies below it; the first of the run carries a mark (HEAD), so the recorded base
 *    and length are where a run begins and where it ends, and neighbouring ranges never merge.
 *    Retiring one keeps its pieces and its mark. How states change is in pieces.c, reservations
 *    are in resv.c.
 *
 * 3. Choosing an address, highest first, so that low addresses stay for narrow devices. The
 *    granule at 0 is never chosen. Three searches, each only where the one before found nothing:
 *
 *    a. gaps of at least `len`, highest first, until one takes the range or NEAR_MISFITS of them
 *       were large enough and still did not have it at the wanted alignment. This is what finds an
 *       aligned hole that a range of the same size left behind.
 *    b. the highest gap so large that alignment and boundary cannot matter (fit.c).
 *    c. every gap of at least `len`.
 *
 *    Costs for n pieces: a. and b. are O(log n). Without alignment beyond the granule and without
 *    a boundary only the gap that the limit cuts can be a misfit, so a. is the whole search. c. is
 *    O(m log n), where m gaps are large enough, misplaced, and no gap is large enough for b.: only
 *    a badly fragmented space, and only for aligned requests. Limits cost nothing: what lies above
 *    a request's limit is never looked at. Nothing is remembered from one search to the next, so a
 *    failed one spoils none.
 *
 * 4. Everything else: taking, giving back, retiring and quarantining one piece is O(log n), a fixed
 *    range over k pieces and gaps O(k log n), a reservation O(log n) for every piece or gap it
 *    meets.
 *
 * 5. Memory. Whatever may need records reserves as many as it can need, then acts, then gives back
 *    what is too much. Giving back, retiring, quarantining and looking reserve nothing: they only
 *    change or remove pieces; holding a gap takes a spare record or does without. A few spare
 *    records are kept (DR_SPARE_PIECES).
 *
 * 6. Locking. One mutex for all of a space, taken by every call for its whole duration, except for
 *    checks of arguments against what is set at open. It is a leaf: nothing is called under it but
 *    the memory hooks. So every pair of operations happens one after the other, and what remains is
 *    what the pairs mean:
 *
 *      take × take              disjoint
 *      take × take_fixed        disjoint; the later one goes elsewhere, or is refused (-EEXIST)
 *      take_fixed × take_fixed  where they overlap one wins, the other is -EEXIST
 *      take × give              the room is found or not; take_fixed likewise (-EEXIST)
 *      take × resv, set_usable  never in what was reserved first; or the reservation is -EEXIST
 *      take × unresv            the room is found or not
 *      take_fixed × unresv      in a window: the unresv is -EBUSY; or the range was free space
 *      give × give, retire,     one wins, the other is refused and counted; give_retired and
 *        quarantine             quarantine_retired likewise
 *      give × resv, set_usable  -EEXIST, or the range is reserved after it was given back
 *      give × unresv            -EBUSY, or both
 *      retire × resv, unresv    retired is in the way as live is
 *      hold_gap × take, …       as a take_fixed that is refused quietly
 *      resv × resv, unresv      the later one holds; set_usable is in a layer of its own
 *      quarantine               towards the others as a take that is never given back
 *      close × anything         never: the owner's duty
 *
 * 7. Failures. Malformed requests, also those which no address could ever satisfy, are -EINVAL,
 *    out of the window -ERANGE, in the way -EEXIST, no room -ENOSPC, no record -ENOMEM. A call that
 *    fails changed nothing. A wrong or second give is refused and counted, never an error code:
 *    its caller is an unmap, which has no use for one.
 */
#include <errno.h>
#include <inttypes.h>

#include "base/err.h"
#include "iova/cache.h"
#include "iova/fit.h"
#include "iova/pieces.h"
#include "iova/space.h"

/*
 * Misfits that search a. tolerates. Each costs one walk down the tree, so this is the constant in
 * its O(log n); more would find an aligned hole among more odd ones.
 */
#define NEAR_MISFITS 8

bool dr_iova_find_room_locked(struct dray_iova_space *s, const struct dr_fit *fit, dray_iova_t last,
			      dray_iova_t *ret_iova)
{
	uint64_t first = s->window.first > s->granule ? s->window.first : s->granule;
	size_t near_misfits = NEAR_MISFITS, any = SIZE_MAX;

	if (last > s->window.last)
		last = s->window.last;
	if (dr_tree_find_gap(&s->tree, fit, fit->len, &near_misfits, first, last, ret_iova))
		return true;
	if (near_misfits)
		return false;
	return dr_tree_find_gap(&s->tree, fit, fit->sure, &any, first, last, ret_iova) ||
	       dr_tree_find_gap(&s->tree, fit, fit->len, &any, first, last, ret_iova);
}

int dr_iova_take_plain(struct dray_iova_space *s, const struct dr_iova_request *req,
		       dray_iova_t *ret_iova)
{
	struct dr_fit fit;
	dray_iova_t iova;
	int err = dr_fit_init(&fit, req, s->granule);

	if (err)
		return err;
	pthread_mutex_lock(&s->lock);
	if (!dr_iova_find_room_locked(s, &fit, req->last, &iova)) {
		err = dr_cache_make_room_locked(s, &fit, req->last);
		if (!err && !dr_iova_find_room_locked(s, &fit, req->last, &iova))
			err = -ENOSPC;
	}
	if (err == -ENOSPC)
		dr_fail(ENOSPC,
			      "no %zu free IOVA bytes aligned to 0x%zx at or below 0x%" PRIx64
			      "; unmap something, or widen the window or the device's mask",
			      req->len, req->align,
			      req->last < s->window.last ? req->last : s->window.last);
	else if (!err)
		err = dr_pieces_reserve_locked(s, 1);
	if (!err) {
		dr_pieces_add_locked(s, iova, iova + (req->len - 1), DR_PIECE_AUTO | DR_PIECE_HEAD);
		s->counts.live_ranges++;
		s->counts.live_bytes += req->len;
		*ret_iova = iova;
	}
	pthread_mutex_unlock(&s->lock);
	return err;
}

/* The lowest piece in [first, last] that a fixed range cannot share, or NULL. */
static struct dr_piece *in_the_way_locked(struct dray_iova_space *s, uint64_t first, uint64_t last)
{
	struct dr_piece *p = dr_tree_next(&s->tree, first, DR_PIECE_USED | DR_PIECE_NOBODY);

	return p && p->first <= last ? p : NULL;
}

int dr_iova_take_fixed(struct dray_iova_space *s, dray_iova_t first, dray_iova_t last)
{
	const struct dr_piece *p;
	int err = dr_iova_check_range(s, first, last);

	if (err)
		return err;
	if (last - first >= SIZE_MAX)
		return dr_fail(EINVAL,
			       "IOVAs 0x%" PRIx64 "-0x%" PRIx64 " are more than one length "
			       "can say; take them in pieces",
			       first, last);
	pthread_mutex_lock(&s->lock);
	p = in_the_way_locked(s, first, last);
	if (!p)
		err = dr_cache_clear_locked(s, first, last, true);
	if (p)
		err = dr_fail(EEXIST,
			      "IOVAs 0x%" PRIx64 "-0x%" PRIx64 " overlap %s at 0x%" PRIx64
			      "; choose others",
			      first, last, dr_piece_name(p), p->first);
	else if (!err)
		err = dr_pieces_reserve_locked(s, dr_pieces_needed_locked(s, first, last));
	if (!err) {
		dr_pieces_mark_locked(s, first, last, 0, DR_PIECE_FIXED | DR_PIECE_HEAD);
		s->counts.live_ranges++;
		s->counts.live_bytes += last - first + 1;
	}
	dr_pieces_unreserve_locked(s);
	pthread_mutex_unlock(&s->lock);
	return err;
}

/* The first piece of the range in a state of @bits that is exactly [iova, iova + len), or NULL. */
static struct dr_piece *range_locked(struct dray_iova_space *s, dray_iova_t iova, size_t len,
				     uint16_t bits)
{
	struct dr_piece *head = dr_tree_at(&s->tree, iova);
	const struct dr_piece *p = head, *next;

	if (!head || head->first != iova || !(head->bits & DR_PIECE_HEAD) || !(head->bits & bits))
		return NULL;
	for (;;) {
		next = p->last < UINT64_MAX ? dr_tree_at(&s->tree, p->last + 1) : NULL;
		if (!next || !(next->bits & DR_PIECE_OWNED) || next->bits & DR_PIECE_HEAD)
			break;
		p = next;
	}
	return len && p->last - iova == len - 1 ? head : NULL;
}

/* The tree's range, if it has that one, into its new state; all but the counts of that. */
static bool turn_locked(struct dray_iova_space *s, dray_iova_t iova, size_t len, uint16_t from,
			uint16_t to)
{
	uint64_t last = iova + (len - 1);

	if (!range_locked(s, iova, len, from))
		return false;
	if (!to)
		dr_pieces_clear_locked(s, iova, last, DR_PIECE_OWNED | DR_PIECE_HEAD);
	else if (to == DR_PIECE_QUAR)
		dr_pieces_mark_locked(s, iova, last, DR_PIECE_OWNED | DR_PIECE_HEAD, to);
	else
		dr_pieces_mark_locked(s, iova, last, DR_PIECE_LIVE, to);
	dr_pieces_unreserve_locked(s);
	if (from == DR_PIECE_RETIRED) {
		s->counts.retired_bytes -= len;
	} else {
		s->counts.live_ranges--;
		s->counts.live_bytes -= len;
	}
	return true;
}

bool dr_iova_turn_plain(struct dray_iova_space *s, dray_iova_t iova, size_t len, uint16_t from,
			uint16_t to)
{
	bool found;

	pthread_mutex_lock(&s->lock);
	found = turn_locked(s, iova, len, from, to);
	if (!found && to == DR_PIECE_QUAR)
		found = dr_cache_quarantine_locked(s, iova, len, from);
	else if (!found && !to && from == DR_PIECE_LIVE)
		found = dr_cache_unhold_locked(s, iova, len);
	if (!found)
		s->counts.bad_frees++;
	else if (to == DR_PIECE_QUAR)
		s->counts.quarantined_bytes += len;
	else if (to == DR_PIECE_RETIRED)
		s->counts.retired_bytes += len;
	pthread_mutex_unlock(&s->lock);
	return found;
}

bool dr_iova_quarantine(struct dray_iova_space *s, dray_iova_t iova, size_t len)
{
	return dr_iova_turn_plain(s, iova, len, DR_PIECE_LIVE, DR_PIECE_QUAR);
}

bool dr_iova_quarantine_retired(struct dray_iova_space *s, dray_iova_t iova, size_t len)
{
	return dr_iova_turn_plain(s, iova, len, DR_PIECE_RETIRED, DR_PIECE_QUAR);
}

bool dr_iova_hold_gap(struct dray_iova_space *s, dray_iova_t first, dray_iova_t last)
{
	const uint64_t mask = s->granule - 1;
	const struct dr_piece *p;
	bool held = false;

	/* The granule at 0 is nobody's; and a length must be able to say it for the give. */
	if (!first || first > last || first & mask || (last & mask) != mask ||
	    first < s->window.first || last > s->window.last || last - first >= SIZE_MAX)
		return false;
	pthread_mutex_lock(&s->lock);
	p = dr_tree_next(&s->tree, first, DR_TREE_ANY);
	if (p && p->bits & DR_PIECE_CHUNK && p->first <= first && p->last >= last) {
		held = dr_cache_hold_locked(s, first, last);
	} else if ((!p || p->first > last) && s->spares) {
		dr_pieces_add_locked(s, first, last, DR_PIECE_AUTO | DR_PIECE_HEAD);
		s->counts.live_ranges++;
		s->counts.live_bytes += last - first + 1;
		held = true;
	}
	pthread_mutex_unlock(&s->lock);
	return held;
}

bool dr_iova_is_live(struct dray_iova_space *s, dray_iova_t iova, size_t len, bool *ret_fixed)
{
	bool live = dr_cache_is_live(s, iova, len), fixed = false;
	const struct dr_piece *head;

	if (!live) {
		pthread_mutex_lock(&s->lock);
		head = range_locked(s, iova, len, DR_PIECE_LIVE);
		fixed = head && head->bits & DR_PIECE_FIXED;
		live = head || dr_cache_is_held_locked(s, iova, len);
		pthread_mutex_unlock(&s->lock);
	}
	if (live && ret_fixed)
		*ret_fixed = fixed;
	return live;
}

bool dr_iova_any_live(struct dray_iova_space *s, dray_iova_t first, dray_iova_t last)
{
	const struct dr_piece *p;
	bool any;

	pthread_mutex_lock(&s->lock);
	p = dr_tree_next(&s->tree, first, DR_PIECE_USED);
	any = (p && p->first <= last) ||
	      (s->cache && dr_cache_any_used_locked(s, first, last));
	pthread_mutex_unlock(&s->lock);
	return any;
}

struct dray_range dr_iova_window(const struct dray_iova_space *s)
{
	return s->window;
}

void dr_iova_counts(const struct dray_iova_space *s, struct dr_iova_counts *ret_counts)
{
	/* Reading needs the lock, and the lock is no part of what const promises. */
	struct dray_iova_space *mutable = (struct dray_iova_space *)s;

	pthread_mutex_lock(&mutable->lock);
	*ret_counts = s->counts;
	dr_cache_add_counts_locked(s, ret_counts);
	pthread_mutex_unlock(&mutable->lock);
}

uint64_t dr_iova_visits(struct dray_iova_space *s)
{
	uint64_t visits;

	pthread_mutex_lock(&s->lock);
	visits = s->tree.visits;
	pthread_mutex_unlock(&s->lock);
	return visits;
}

static bool at_most_one(unsigned bits)
{
	return !(bits & (bits - 1));
}

/* The layers of one piece, and its place in the window. */
static bool piece_is_valid(const struct dray_iova_space *s, const struct dr_piece *p)
{
	if (p->first < s->window.first || p->last > s->window.last || p->first % s->granule ||
	    (p->last & (s->granule - 1)) != s->granule - 1)
		return false;
	if (!at_most_one(p->bits & DR_PIECE_USED) || !at_most_one(p->bits & DR_PIECE_RESV))
		return false;
	if (p->bits & DR_PIECE_OWNED && p->bits & DR_PIECE_NOBODY)
		return false;
	if (p->bits & DR_PIECE_AUTO && (p->bits & DR_PIECE_RESV || !p->first))
		return false;
	if (p->bits & DR_PIECE_QUAR && p->bits & DR_PIECE_HOLE)
		return false;
	if (p->bits & DR_PIECE_CHUNK)
		return p->bits == (DR_PIECE_CHUNK | DR_PIECE_HEAD);
	return !(p->bits & DR_PIECE_HEAD) || p->bits & DR_PIECE_OWNED;
}

static bool pieces_are_valid_locked(struct dray_iova_space *s)
{
	struct dr_iova_counts seen = {.bad_frees = s->counts.bad_frees};
	const struct dr_piece *prev = NULL;
	struct dr_piece *p = dr_tree_next(&s->tree, 0, DR_TREE_ANY);
	size_t spares = 0;

	while (p) {
		uint64_t bytes = p->last - p->first + 1;

		if (!piece_is_valid(s, p) || (prev && dr_pieces_are_one(prev, p)))
			return false;
		/* A piece that begins no range continues one of the same kind. */
		if (p->bits & DR_PIECE_OWNED && !(p->bits & DR_PIECE_HEAD) &&
		    (!prev || prev->last + 1 != p->first ||
		     (prev->bits & DR_PIECE_OWNED) != (p->bits & DR_PIECE_OWNED)))
			return false;
		if (p->bits & DR_PIECE_HEAD && p->bits & DR_PIECE_LIVE)
			seen.live_ranges++;
		if (p->bits & DR_PIECE_LIVE)
			seen.live_bytes += bytes;
		if (p->bits & DR_PIECE_RETIRED)
			seen.retired_bytes += bytes;
		if (p->bits & DR_PIECE_QUAR)
			seen.quarantined_bytes += bytes;
		prev = p;
		p = p->last < UINT64_MAX ? dr_tree_next(&s->tree, p->last + 1, DR_TREE_ANY) : NULL;
	}
	for (p = s->spare; p && spares <= DR_SPARE_PIECES; p = p->right)
		spares++;
	seen.quarantined_bytes += dr_cache_quarantined_locked(s);
	return !p && spares == s->spares && seen.live_ranges == s->counts.live_ranges &&
	       seen.live_bytes == s->counts.live_bytes &&
	       seen.retired_bytes == s->counts.retired_bytes &&
	       seen.quarantined_bytes == s->counts.quarantined_bytes;
}

bool dr_iova_space_is_valid(struct dray_iova_space *s)
{
	bool valid;

	pthread_mutex_lock(&s->lock);
	/* The tree first: walking a broken one might not end. */
	valid = dr_tree_is_valid(&s->tree) && pieces_are_valid_locked(s) &&
		dr_cache_is_valid_locked(s);
	pthread_mutex_unlock(&s->lock);
	return valid;
}
