// SPDX-License-Identifier: BSD-2-Clause
/*
 * What comes back to the caches: giving, retiring, and giving back what was retired. What the
 * caches are is in cache.c; this file says where an address goes.
 *
 * 1. The four ways of an address that somebody owns:
 *
 *      give                live -> free       into the caller's magazines
 *      retire              live -> retired    stays where it is: no magazine, no chunk has it
 *      give_retired        retired -> free    into the caller's magazines: who unmapped it flushes
 *      give_retired_home   retired -> free    to its chunk: who flushes for others takes nothing
 *                                             away from the threads that will want it
 *
 *    Each checks the state's byte first, so a second one of any of them is refused. In the tree,
 *    where the address is large or odd, the same four change a piece.
 *
 * 2. Retired addresses are used: the counter of a slot goes down when an address becomes free, not
 *    when it is retired. So the population rule counts what waits for a flush as it counts what is
 *    live, and a queue that is deep does not let magazines grow. How many of the used ones are
 *    retired is a second sum over threads.
 *
 * 3. A thread enters its cache for all four, also for retiring, which touches no magazine: a
 *    chunk may only be split while nobody changes a byte of it.
 *
 * 4. In debug mode an address that becomes free rests in the thread's ring, on the way home too.
 *
 * 5. Nothing here allocates or fails. A thread without a cache adopts one that takes laid ready;
 *    without that it does the same with the space's lock, and the address goes home.
 */
#include "base/bits.h"
#include "base/thread.h"
#include "iova/cache.h"
#include "iova/pieces.h"
#include "iova/zone.h"

enum way { GIVE, RETIRE, GIVE_RETIRED, GIVE_RETIRED_HOME };

static uint8_t state_before(enum way way)
{
	return way == GIVE || way == RETIRE ? DR_SLOT_LIVE : DR_SLOT_RETIRED;
}

/* The byte, if the address is in the state that the way begins with. */
static inline bool turn(const struct dr_cache *c, uint64_t iova, unsigned n, unsigned cut,
			enum way way)
{
	_Atomic uint8_t *state = dr_state(c, iova);
	uint8_t from = dr_slot_byte(c, state_before(way), n, cut);

	if (!dr_slot_says(state, from, n, cut))
		return false;
	if (way == RETIRE)
		return dr_slot_turn(c, state, from, dr_slot_byte(c, DR_SLOT_RETIRED, n, cut));
	if (!dr_slot_turn(c, state, from, DR_SLOT_FREE))
		return false;
	/* Still ours until it is in a magazine or its chunk. */
	if (n != cut)
		dr_short_set(state, 0);
	return true;
}

static void go_home(struct dr_cache *c, struct dr_tcache *t, uint64_t iova)
{
	dr_tally((_Atomic int64_t *)&t->back_granules, dr_chunk_at(c, iova)->n);
	dr_chunk_return(c, iova);
}

/* The loaded magazine is full: the previous one, or an empty one of the depot, if there is one. */
static void make_room(struct dr_cache *c, struct dr_slot *slot, unsigned zone, unsigned class)
{
	struct dr_mag *full = dr_slot_mag(slot), *mag = slot->prev;

	if (mag->count == mag->cap) {
		mag = NULL;
		if (class < DR_ORDERS || slot->prev == &dr_mag_none)
			mag = dr_stack_pop(c, &c->empty);
		if (!mag)
			return;
		if (slot->prev != &dr_mag_none)
			dr_stack_push(c, &c->full[zone][class], slot->prev);
		mag->cap = slot->cap;
	}
	dr_slot_load(slot, mag);
	slot->prev = full;
}

/* Inside: a free address into this thread's magazines, or the depot's, or back to its chunk. */
static void push(struct dr_cache *c, struct dr_tcache *t, uint64_t iova)
{
	unsigned n = dr_chunk_at(c, iova)->n;
	unsigned zone = dr_zone_of(c, iova), class = dr_class_of(n);
	struct dr_slot *slot = dr_slot_of(c, t, zone, class);
	uint64_t *top;

	if (!dr_slot_n(slot))
		dr_slot_attach(c, slot, n);
	if (dr_slot_n(slot) == n && dr_slot_top(slot) == slot->high)
		make_room(c, slot, zone, class);
	top = dr_slot_top(slot);
	if (dr_slot_n(slot) != n || top == slot->high) {
		go_home(c, t, iova);
		return;
	}
	*top = iova;
	/* It was counted as given before. */
	dr_tally(&slot->sum, 1);
	dr_slot_set_top(slot, top + 1);
}

/* Debug mode: the address rests, an older one goes on, 0 if there is none. */
static uint64_t rest(struct dr_ring *ring, uint64_t iova)
{
	uint64_t old = ring->iova[ring->at];

	ring->iova[ring->at] = iova;
	ring->at = (ring->at + 1) % DR_RING_ENTRIES;
	return old;
}

/* Inside. False: the address is not in the state that the way begins with. */
static bool go_inside(struct dr_cache *c, struct dr_tcache *t, unsigned n, unsigned cut,
		      uint64_t iova, enum way way)
{
	struct dr_slot *slot = dr_slot_of(c, t, dr_zone_of(c, iova), dr_class_of(cut));

	if (!turn(c, iova, n, cut, way))
		return false;
	if (way != GIVE) {
		dr_tally(&t->retired_ranges, way == RETIRE ? 1 : -1);
		dr_tally(&t->retired_granules, way == RETIRE ? (int64_t)n : -(int64_t)n);
	}
	if (way == RETIRE)
		return true;
	if (n != cut)
		dr_tally(&t->slack_granules, (int64_t)n - cut);
	if (dr_slot_n(slot) == cut) {
		dr_tally(&slot->sum, -1);
	} else {
		dr_tally(&t->used_ranges, -1);
		dr_tally(&t->used_granules, -(int64_t)cut);
	}
	if (t->ring)
		iova = rest(t->ring, iova);
	if (iova && way == GIVE_RETIRED_HOME)
		go_home(c, t, iova);
	else if (iova)
		push(c, t, iova);
	return true;
}

/* With the lock, and without a cache. */
static void count_locked(struct dr_cache *c, unsigned n, unsigned cut, enum way way)
{
	if (way != GIVE) {
		c->retired_ranges += way == RETIRE ? 1 : -1;
		c->retired_granules += way == RETIRE ? (int64_t)n : -(int64_t)n;
	}
	if (way != RETIRE) {
		c->used_ranges--;
		c->used_granules -= cut;
		c->out_granules -= cut;
		c->slack_granules -= cut - n;
	}
}

/* With the lock: a thread that has no cache yet, that cannot have one, or that is stopped. */
static bool go_slow(struct dray_iova_space *s, dray_iova_t iova, size_t len, enum way way)
{
	struct dr_cache *c = s->cache;
	unsigned number = dr_thread_number(), n = (unsigned)(len >> c->granule_shift), cut;
	struct dr_tcache *t;
	bool done = false;

	pthread_mutex_lock(&s->lock);
	t = dr_tcache_adopt_locked(c, number);
	/* Again: it may have been split. */
	cut = dr_chunk_cut(c, iova, len);
	if (!cut) {
		done = false;
	} else if (t) {
		done = go_inside(c, t, n, cut, iova, way);
	} else if (turn(c, iova, n, cut, way)) {
		done = true;
		count_locked(c, n, cut, way);
		if (way != RETIRE)
			dr_chunk_return(c, iova);
	}
	pthread_mutex_unlock(&s->lock);
	return done;
}

/* The short ways but the shortest, which the caller has tried. */
static inline bool short_way(const struct dray_iova_space *s, dray_iova_t iova, size_t len,
			     enum way way)
{
	bool odd = len & (len - 1);

	if (way == GIVE_RETIRED_HOME)
		return false;
	if (way == RETIRE)
		return odd ? dr_retire_short(s, iova, len) : dr_retire_zone(s, iova, len);
	return odd ? dr_give_short(s, iova, len, state_before(way)) :
		     dr_give_zone(s, iova, len, state_before(way));
}

/* What the short way did not serve. */
static __attribute__((noinline)) bool go_on(struct dray_iova_space *s, dray_iova_t iova,
					    size_t len, enum way way)
{
	struct dr_cache *c = s->cache;
	struct dr_tcache *t = dr_this_cache(s);
	unsigned cut;
	bool done = false;

	if (short_way(s, iova, len, way))
		return true;
	cut = c ? dr_chunk_cut(c, iova, len) : 0;
	if (!cut) {
		/* The tree's. */
	} else if (dr_enter_any(t)) {
		/*
		 * Whether it is in a chunk was read before entering. For the owner of the address
		 * it is still, or, if the chunk was split meanwhile, its byte says no.
		 */
		done = go_inside(c, t, (unsigned)(len >> c->granule_shift), cut, iova, way);
		dr_leave(t);
	} else {
		done = go_slow(s, iova, len, way);
	}
	return done || dr_iova_turn_plain(s, iova, len,
					  state_before(way) == DR_SLOT_LIVE ? DR_PIECE_LIVE :
									      DR_PIECE_RETIRED,
					  way == RETIRE ? DR_PIECE_RETIRED : 0);
}

bool dr_iova_give(struct dray_iova_space *s, dray_iova_t iova, size_t len)
{
	if (__builtin_expect(dr_give_fast(s, iova, len, DR_SLOT_LIVE), 1))
		return true;
	return go_on(s, iova, len, GIVE);
}

bool dr_iova_retire(struct dray_iova_space *s, dray_iova_t iova, size_t len)
{
	if (__builtin_expect(dr_retire_fast(s, iova, len), 1))
		return true;
	return go_on(s, iova, len, RETIRE);
}

bool dr_iova_give_retired(struct dray_iova_space *s, dray_iova_t iova, size_t len)
{
	if (__builtin_expect(dr_give_fast(s, iova, len, DR_SLOT_RETIRED), 1))
		return true;
	return go_on(s, iova, len, GIVE_RETIRED);
}

bool dr_iova_give_retired_home(struct dray_iova_space *s, dray_iova_t iova, size_t len)
{
	return go_on(s, iova, len, GIVE_RETIRED_HOME);
}
