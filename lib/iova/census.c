// SPDX-License-Identifier: BSD-2-Clause
/*
 * Counting what the caches hold: statistics, and every invariant.
 *
 * 1. What is used is the sum of what thread numbers took less what they gave, what is retired the
 *    sum of what they retired less what they gave of that; what is live is the difference. Each
 *    term is one thread's plain counter; a term alone may be negative, because addresses change
 *    hands. The sum is exact whenever nobody is inside a cache, and else off by what is under way.
 *
 *    Used ones are counted as slots, retired ones as ranges; slack, which only ranges that are no
 *    powers of two have, is the difference between the used slots and the ranges in them.
 *
 * 2. The invariant: a slot of a chunk is in exactly one place. Its byte says FREE and it is in its
 *    chunk (bit set) or in exactly one magazine or ring; or its byte says LIVE, RETIRED, HELD or
 *    QUAR and it is in none of these. With all caches stopped and the lock held all of these can be
 *    counted. Entries of magazines are marked in passing (SEEN), so that one that is in two places
 *    shows.
 */
#include <errno.h>
#include <string.h>

#include <dray/iova.h>

#include "base/bits.h"
#include "base/err.h"
#include "base/structs.h"
#include "iova/cache.h"
#include "iova/pieces.h"
#include "iova/state.h"

/* Only while the lock is held and every cache stopped. */
#define SEEN 0x10u

bool dr_cache_is_live(const struct dray_iova_space *s, dray_iova_t iova, size_t len)
{
	const struct dr_cache *c = s->cache;
	unsigned cut = c ? dr_chunk_cut(c, iova, len) : 0;
	uint64_t n;

	if (!cut)
		return false;
	n = len >> c->granule_shift;
	return dr_slot_says(dr_state(c, iova), dr_slot_byte(c, DR_SLOT_LIVE, n, cut), n, cut);
}

bool dr_cache_quarantine_locked(struct dray_iova_space *s, dray_iova_t iova, size_t len,
				uint16_t from)
{
	struct dr_cache *c = s->cache;
	unsigned cut = c ? dr_chunk_cut(c, iova, len) : 0;
	_Atomic uint8_t *state;
	uint64_t n;
	uint8_t was;

	if (!cut)
		return false;
	state = dr_state(c, iova);
	n = len >> c->granule_shift;
	was = dr_slot_byte(c, from == DR_PIECE_RETIRED ? DR_SLOT_RETIRED : DR_SLOT_LIVE, n, cut);
	/* How long it is stays where it is. */
	if (!dr_slot_says(state, was, n, cut) ||
	    !atomic_compare_exchange_strong_explicit(state, &was, DR_SLOT_QUAR,
						     memory_order_relaxed, memory_order_relaxed))
		return false;
	c->used_ranges--;
	c->used_granules -= cut;
	c->slack_granules -= cut - (int64_t)n;
	c->lost_granules += cut;
	if (from == DR_PIECE_RETIRED) {
		c->retired_ranges--;
		c->retired_granules -= (int64_t)n;
	}
	return true;
}

void dr_cache_add_counts_locked(const struct dray_iova_space *s, struct dr_iova_counts *inout)
{
	const struct dr_cache *c = s->cache;
	struct dr_cache_sums sums;

	if (!c)
		return;
	dr_cache_sum_locked(c, &sums);
	inout->live_ranges += (uint64_t)(sums.used_ranges - sums.retired_ranges);
	inout->live_bytes += (uint64_t)(sums.used_granules - sums.slack_granules -
					sums.retired_granules)
			     << c->granule_shift;
	inout->retired_bytes += (uint64_t)sums.retired_granules << c->granule_shift;
}

unsigned dr_cache_blocks(const struct dray_iova_space *s)
{
	const struct dr_cache *c = s->cache;
	unsigned n = 2; /* the cache and its radix's root */

	if (!c)
		return 0;
	for (uint64_t i = 0; i < c->n_roots; i++)
		n += atomic_load_explicit(&c->root[i], memory_order_relaxed) != NULL;
	for (const struct dr_chunk *chunk = c->records; chunk; chunk = chunk->next_record)
		n += chunk->begins_slab;
	for (unsigned i = 0; i < DR_MAG_SEGMENTS; i++)
		n += atomic_load_explicit(&c->seg[i], memory_order_relaxed) != NULL;
	for (unsigned i = 0; i < DR_THREADS; i++) {
		const struct dr_tcache *t = dr_tcache_at(c, i);

		n += t ? 1u + (t->ring != NULL) : 0;
	}
	/* And the records of chunks' pieces. */
	return n + (unsigned)c->chunks + (c->spare ? 1u + (c->spare->ring != NULL) : 0);
}

uint64_t dr_cache_quarantined_locked(const struct dray_iova_space *s)
{
	const struct dr_cache *c = s->cache;
	uint64_t granules = 0;

	if (!c)
		return 0;
	for (const struct dr_chunk *chunk = c->records; chunk; chunk = chunk->next_record)
		for (unsigned i = 0; chunk->where != DR_CHUNK_GONE && i < chunk->slots; i++)
			if (dr_chunk_state(c, chunk, i) == DR_SLOT_QUAR)
				granules += dr_slot_has(c, chunk, i);
	return granules << c->granule_shift;
}

/* Every gap of the tree, by log2 of its bytes; the granule at 0 is nobody's. */
static void count_gaps_locked(struct dray_iova_space *s, struct dray_iova_stats *inout)
{
	uint64_t at = s->window.first > s->granule ? s->window.first : s->granule;
	const struct dr_piece *p;

	while (at <= s->window.last) {
		uint64_t last = s->window.last;

		p = dr_tree_next(&s->tree, at, DR_TREE_ANY);
		if (p)
			last = p->first - 1;
		if (!p || p->first > at)
			inout->free_ranges[dr_log2(last - at + 1)]++;
		if (!p || p->last >= s->window.last)
			return;
		at = p->last + 1;
	}
}

int dray_iova_space_stats(const struct dray_iova_space *s, struct dray_iova_stats *inout)
{
	/* Reading needs the lock, and the lock is no part of what const promises. */
	struct dray_iova_space *mutable = (struct dray_iova_space *)s;
	struct dray_iova_stats st = {.size = sizeof(st)};
	struct dr_iova_counts counts;
	const struct dr_cache *c;

	if (!s || !inout)
		return dr_fail(EINVAL, "%s is NULL; pass one", s ? "inout" : "space");
	dr_iova_counts(s, &counts);
	st.live_ranges = counts.live_ranges;
	st.live_bytes = counts.live_bytes;
	st.retired_bytes = counts.retired_bytes;
	st.bad_frees = counts.bad_frees;
	st.quarantined_bytes = counts.quarantined_bytes;
	c = s->cache;
	pthread_mutex_lock(&mutable->lock);
	count_gaps_locked(mutable, &st);
	st.largest_free = dr_tree_max_gap(&s->tree, s->window.first, s->window.last);
	if (c) {
		uint64_t out = dr_cache_out_locked(c), free_granules = 0;
		struct dr_cache_sums sums;

		dr_cache_sum_locked(c, &sums);
		for (const struct dr_chunk *p = c->records; p; p = p->next_record)
			if (p->where != DR_CHUNK_GONE)
				free_granules += (uint64_t)dr_chunk_free_slots(p) * p->n;
		for (unsigned i = 0; i < c->zones * DR_ORDERS; i++)
			st.depot_full += atomic_load_explicit(
				&c->full[i / DR_ORDERS][i % DR_ORDERS].count,
				memory_order_relaxed);
		st.depot_empty = atomic_load_explicit(&c->empty.count, memory_order_relaxed);
		if ((int64_t)(out - c->lost_granules) > sums.used_granules)
			st.cached_bytes = out - c->lost_granules - (uint64_t)sums.used_granules;
		st.cached_bytes <<= c->granule_shift;
		st.quota_bytes = atomic_load_explicit(&c->quota_granules, memory_order_relaxed)
				 << c->granule_shift;
		st.population_bytes = out << c->granule_shift;
		st.peak_population_bytes = c->population_peak << c->granule_shift;
		st.peak_live_bytes = c->peak_granules << c->granule_shift;
		st.refills = c->refills;
		st.trims = c->trims;
		st.drains = c->drains;
		st.splits = c->splits;
		st.chunks = c->chunks;
		st.chunks_ever = c->n_records;
		st.chunk_free_bytes = free_granules << c->granule_shift;
	}
	pthread_mutex_unlock(&mutable->lock);
	return dr_struct_out(inout, &st, sizeof(st));
}

/* A free slot outside its chunk: once only, of the right size, in the right zone. */
static bool see(const struct dr_cache *c, uint64_t iova, unsigned zone, unsigned n)
{
	uint64_t entry = dr_chunk_entry(c, iova);
	const struct dr_chunk *chunk = dr_entry_chunk(entry);
	_Atomic uint8_t *state;
	unsigned at;

	if (!dr_entry_n(entry) || chunk->where == DR_CHUNK_GONE || iova & c->granule_mask)
		return false;
	at = (unsigned)((iova - chunk->base) >> c->granule_shift);
	state = dr_state(c, iova);
	if (at % chunk->n || atomic_load_explicit(state, memory_order_relaxed) != DR_SLOT_FREE)
		return false;
	if (n && (chunk->n != n || chunk->zone != zone || zone >= c->zones))
		return false;
	at /= chunk->n;
	if (atomic_load_explicit(&chunk->avail[at / 64], memory_order_relaxed) >> at % 64 & 1)
		return false;
	atomic_store_explicit(state, SEEN | DR_SLOT_FREE, memory_order_relaxed);
	return true;
}

static bool see_entries(const struct dr_cache *c, const struct dr_mag *mag, unsigned count,
			unsigned zone, unsigned n)
{
	if (count > mag->cap || mag->cap > DR_MAG_ENTRIES)
		return false;
	for (unsigned i = 0; i < count; i++)
		if (!see(c, mag->iova[i], zone, n))
			return false;
	return true;
}

static bool see_mag(const struct dr_cache *c, const struct dr_mag *mag, unsigned zone, unsigned n)
{
	return see_entries(c, mag, mag->count, zone, n);
}

static bool see_slot(const struct dr_cache *c, const struct dr_slot *slot, unsigned zone,
		     unsigned class)
{
	unsigned n = slot->n;
	uint64_t len = class < DR_ORDERS && n ? (uint64_t)n << c->granule_shift : 0;

	if (!see_entries(c, dr_slot_mag(slot), dr_slot_count(slot), zone, n) ||
	    !see_mag(c, slot->prev, zone, n) || slot->len != len ||
	    slot->high != slot->low + dr_slot_mag(slot)->cap || slot->seq & 1)
		return false;
	return !slot->cur || (slot->cur->where == DR_CHUNK_OWNED && slot->cur->n == n &&
			      slot->cur->zone == zone);
}

static bool see_thread(const struct dr_cache *c, struct dr_tcache *t, uint64_t *inout_quota)
{
	for (unsigned z = 0; z < c->zones; z++)
		for (unsigned k = 0; k < DR_CLASSES; k++) {
			const struct dr_slot *slot = dr_slot_of(c, t, z, k);

			if (!see_slot(c, slot, z, k))
				return false;
			*inout_quota += 2u * slot->cap * slot->n;
		}
	for (unsigned i = 0; t->ring && i < DR_RING_ENTRIES; i++)
		if (t->ring->iova[i] && !see(c, t->ring->iova[i], 0, 0))
			return false;
	return true;
}

static bool see_stack(const struct dr_cache *c, const struct dr_stack *stack, unsigned zone,
		      unsigned n)
{
	uint32_t at = (uint32_t)atomic_load_explicit(&stack->head, memory_order_acquire) &
		      0xffffffu;
	uint32_t seen = 0;

	for (; at; seen++) {
		const struct dr_mag *mag = dr_mag_at(c, at - 1);

		if (seen > c->mags || mag->number != at - 1 || !see_mag(c, mag, zone, n) ||
		    (n ? mag->count != dr_mag_cap(n) : mag->count))
			return false;
		at = atomic_load_explicit(&mag->next, memory_order_relaxed);
	}
	return seen == atomic_load_explicit(&stack->count, memory_order_relaxed);
}

static bool see_all(const struct dr_cache *c)
{
	uint64_t quota = 0;

	for (unsigned i = 0; i < DR_THREADS; i++) {
		struct dr_tcache *t = dr_tcache_at(c, i);

		if (t && (i >= c->threads || !see_thread(c, t, &quota)))
			return false;
	}
	if (quota != atomic_load_explicit(&c->quota_granules, memory_order_relaxed))
		return false;
	for (unsigned i = 0; i < c->zones * DR_ORDERS; i++)
		if (!see_stack(c, &c->full[i / DR_ORDERS][i % DR_ORDERS], i / DR_ORDERS,
			       1u << i % DR_ORDERS))
			return false;
	return see_stack(c, &c->empty, 0, 0);
}

/* What the bytes behind a slot's first one say, while that says @state. */
static bool short_is_valid(const struct dr_cache *c, const struct dr_chunk *chunk, unsigned slot,
			   uint8_t state)
{
	unsigned n = dr_slot_has(c, chunk, slot);

	if (n == chunk->n)
		return state != (DR_SLOT_RETIRED | DR_SLOT_SHORT) &&
		       state != (DR_SLOT_LIVE | DR_SLOT_SHORT);
	return c->round_max[chunk->zone] && dr_round_up(n) == chunk->n &&
	       (state == DR_SLOT_QUAR || state == (DR_SLOT_RETIRED | DR_SLOT_SHORT) ||
		state == (DR_SLOT_LIVE | DR_SLOT_SHORT));
}

/* Put the marks back, and look whether every slot was somewhere. */
static bool chunk_is_valid(struct dray_iova_space *s, struct dr_chunk *chunk,
			   struct dr_cache_sums *inout_sums, uint64_t *inout_out,
			   uint64_t *inout_lost)
{
	const struct dr_cache *c = s->cache;
	const struct dr_piece *p = dr_tree_at(&s->tree, chunk->base);
	uint64_t entry = dr_chunk_entry(c, chunk->base);
	bool gone = chunk->where == DR_CHUNK_GONE, valid = true;

	for (unsigned i = 0; i < DR_CHUNK_GRANULES; i++) {
		_Atomic uint8_t *byte =
			dr_state(c, chunk->base + ((uint64_t)i << c->granule_shift));
		uint8_t state = *byte;
		unsigned slot = gone ? i : i / chunk->n;
		bool in_chunk = chunk->avail[slot / 64] >> slot % 64 & 1;

		if (gone || slot >= chunk->slots || i % chunk->n) {
			/* Where granules are larger, the two bytes lie inside the first one. */
			bool is_short = !gone && slot < chunk->slots && i % chunk->n <= 2 &&
					dr_slot_has(c, chunk, slot) != chunk->n;

			valid = valid && (state == DR_SLOT_NONE || is_short) &&
				(!gone || !in_chunk);
			continue;
		}
		valid = valid && (state == DR_SLOT_FREE) == in_chunk &&
			short_is_valid(c, chunk, slot, state);
		if (state == (SEEN | DR_SLOT_FREE))
			*byte = state = DR_SLOT_FREE;
		if (dr_slot_is_used(state)) {
			inout_sums->used_granules += chunk->n;
			inout_sums->slack_granules += chunk->n - dr_slot_has(c, chunk, slot);
		}
		inout_sums->used_ranges += dr_slot_is_used(state) && state != DR_SLOT_HELD_ON;
		if (state >= DR_SLOT_RETIRED && state < DR_SLOT_LIVE) {
			inout_sums->retired_granules += dr_slot_has(c, chunk, slot);
			inout_sums->retired_ranges++;
		}
		*inout_out += in_chunk ? 0u : chunk->n;
		*inout_lost += state == DR_SLOT_QUAR ? chunk->n : 0u;
	}
	if (gone)
		return valid && entry == (uintptr_t)chunk;
	return valid && dr_entry_chunk(entry) == chunk && dr_entry_n(entry) == chunk->n && p &&
	       p->first == chunk->base &&
	       p->last == chunk->base + ((UINT64_C(1) << c->chunk_shift) - 1) &&
	       p->bits == (DR_PIECE_CHUNK | DR_PIECE_HEAD) &&
	       chunk->zone == dr_zone_of(c, chunk->base);
}

bool dr_cache_is_valid_locked(struct dray_iova_space *s)
{
	struct dr_cache *c = s->cache;
	struct dr_cache_sums seen = {0}, sums;
	uint64_t out = 0, lost = 0, chunks = 0;
	bool valid;

	if (!c)
		return true;
	if (!dr_stop_locked(c))
		return true;
	valid = see_all(c);
	for (struct dr_chunk *chunk = c->records; chunk; chunk = chunk->next_record) {
		/* All of them, whatever came out before: marks must go. */
		valid = chunk_is_valid(s, chunk, &seen, &out, &lost) && valid;
		chunks += chunk->where != DR_CHUNK_GONE;
	}
	dr_cache_sum_locked(c, &sums);
	valid = valid && chunks == c->chunks && !memcmp(&seen, &sums, sizeof(sums)) &&
		out == dr_cache_out_locked(c) && lost == c->lost_granules;
	dr_go_locked(c);
	return valid;
}
