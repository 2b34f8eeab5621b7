/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The short way through the other zones (cache.c, 1): what fast.h does for powers of two in the top
 * one, for who found that closed. It costs a comparison with each zone's bound, and for a give a
 * look into the radix's root, which says whether the address has a byte. The same holds in the top
 * zone, so that one is served here too where a hole splits its bytes (chunk.c, 4).
 */
#ifndef DR_IOVA_ZONE_H
#define DR_IOVA_ZONE_H

#include "iova/fast.h"

/*
 * The highest zone all of which lies at or below @last, from the top; the top one also for limits
 * above the window. c->zones: none.
 */
static inline unsigned dr_zone_below(const struct dr_cache *c, uint64_t last)
{
	unsigned z = 0;

	/* Zones descend, and those that are not there are 0. No branch: devices take turns. */
	for (unsigned i = 0; i < DR_ZONES; i++)
		z += c->zone[i].last > last;
	return z;
}

/* The zone's slot for a power of two, and log2 of that; NULL: no such size is cached. */
static inline struct dr_slot *dr_slot_zone(const struct dr_cache *c, struct dr_tcache *t,
					   unsigned zone, uint64_t len, unsigned *ret_log2)
{
	unsigned log2 = (unsigned)__builtin_ctzll(len | UINT64_C(1) << 63);

	*ret_log2 = log2;
	/* Below the granule this is beyond all orders. */
	return log2 - c->granule_shift < DR_ORDERS ?
		       dr_slot_of(c, t, zone, log2 - c->granule_shift) : NULL;
}

/* As dr_take_fast(), from a zone below c->zones, in a space that has caches. */
static inline bool dr_take_zone(const struct dray_iova_space *s, unsigned zone, uint64_t len,
				uint64_t *ret_iova)
{
	struct dr_tcache *t = dr_this_cache(s);
	struct dr_slot *slot;
	unsigned log2;

	slot = dr_slot_zone(s->cache, t, zone, len, &log2);
	return slot && dr_enter(t) && dr_take_from(s, t, slot, len, log2, ret_iova);
}

/* The byte of what may begin at @iova. False: it has none. */
static inline bool dr_find_zone(const struct dr_cache *c, uint64_t iova,
				_Atomic uint8_t **ret_state)
{
	uint64_t index = (iova - c->base) >> c->chunk_shift;

	/* Acquire: its bytes may be read. */
	if (iova & ((UINT64_C(1) << DR_STATE_SHIFT) - 1) || index >= c->n_chunks ||
	    !atomic_load_explicit(&c->root[index / 512], memory_order_acquire))
		return false;
	*ret_state = dr_state(c, iova);
	return true;
}

/* As dr_give_fast(). */
static inline bool dr_give_zone(const struct dray_iova_space *s, uint64_t iova, uint64_t len,
				const uint8_t from)
{
	struct dr_tcache *t = dr_this_cache(s);
	const struct dr_cache *c = s->cache;
	_Atomic uint8_t *state;
	struct dr_slot *slot;
	unsigned log2;

	if (!c || !dr_find_zone(c, iova, &state))
		return false;
	slot = dr_slot_zone(c, t, dr_zone_of(c, iova), len, &log2);
	return slot && dr_enter(t) && dr_give_to(t, slot, state, iova, len, log2, from);
}

/* As dr_retire_fast(). */
static inline bool dr_retire_zone(const struct dray_iova_space *s, uint64_t iova, uint64_t len)
{
	struct dr_tcache *t = dr_this_cache(s);
	const struct dr_cache *c = s->cache;
	_Atomic uint8_t *state;
	struct dr_slot *slot;
	unsigned log2;

	if (!c || !dr_find_zone(c, iova, &state))
		return false;
	slot = dr_slot_zone(c, t, dr_zone_of(c, iova), len, &log2);
	return slot && dr_enter(t) && dr_retire_in(t, slot, state, len, log2);
}

#endif
