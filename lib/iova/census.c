// SPDX-License-Identifier: BSD-2-Clause
/*
 * Counting what the caches hold: statistics, and every invariant.
 *
 * 1. What is live is the sum of what thread numbers took less what they gave. Each term is one
 *    thread's plain counter; a term alone may be negative, because addresses change hands. The sum
 *    is exact whenever nobody is inside a cache, and else off by what is under way.
 *
 * 2. The invariant: a slot of a chunk is in exactly one place. Its byte says FREE and it is in its
 *    chunk (bit set) or in exactly one magazine or ring; or its byte says LIVE or QUAR and it is in
 *    none of these. With all caches stopped and the lock held all of these can be counted. Entries
 *    of magazines are marked in passing (SEEN), so that one that is in two places shows.
 */
#include <errno.h>

#include <dray/iova.h>

#include "base/err.h"
#include "base/structs.h"
#include "iova/cache.h"
#include "iova/pieces.h"

/* Only while the lock is held and every cache stopped. */
#define SEEN 0x40u

bool dr_cache_is_live(const struct dray_iova_space *s, dray_iova_t iova, size_t len)
{
	const _Atomic uint8_t *state = s->cache ? dr_chunk_slot(s->cache, iova, len) : NULL;

	return state && atomic_load_explicit(state, memory_order_relaxed) >= DR_SLOT_LIVE;
}

bool dr_cache_quarantine_locked(struct dray_iova_space *s, dray_iova_t iova, size_t len)
{
	struct dr_cache *c = s->cache;
	_Atomic uint8_t *state = c ? dr_chunk_slot(c, iova, len) : NULL;
	uint8_t live;

	if (!state)
		return false;
	live = atomic_load_explicit(state, memory_order_relaxed);
	if (live < DR_SLOT_LIVE ||
	    !atomic_compare_exchange_strong_explicit(state, &live, DR_SLOT_QUAR,
						     memory_order_relaxed, memory_order_relaxed))
		return false;
	c->live_ranges--;
	c->live_granules -= (int64_t)(len >> c->granule_shift);
	return true;
}

void dr_cache_add_counts_locked(const struct dray_iova_space *s, struct dr_iova_counts *inout)
{
	int64_t ranges, granules;

	if (!s->cache)
		return;
	dr_cache_live_locked(s->cache, &ranges, &granules);
	inout->live_ranges += (uint64_t)ranges;
	inout->live_bytes += (uint64_t)granules << s->cache->granule_shift;
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
		const struct dr_tcache *t =
			atomic_load_explicit(&c->by_thread[i], memory_order_relaxed);

		n += t ? 1u + (t->ring != NULL) : 0;
	}
	return n + (c->spare ? 1u + (c->spare->ring != NULL) : 0);
}

static unsigned slots_in_state(const struct dr_chunk *chunk, uint8_t state)
{
	unsigned n = 0;

	for (unsigned i = 0; i < chunk->slots; i++)
		n += atomic_load_explicit(&chunk->state[i * chunk->n], memory_order_relaxed) ==
		     state;
	return n;
}

uint64_t dr_cache_quarantined_locked(const struct dray_iova_space *s)
{
	const struct dr_cache *c = s->cache;
	uint64_t granules = 0;

	if (!c)
		return 0;
	for (const struct dr_chunk *chunk = c->records; chunk; chunk = chunk->next_record)
		if (chunk->where != DR_CHUNK_RETIRED)
			granules += (uint64_t)slots_in_state(chunk, DR_SLOT_QUAR) * chunk->n;
	return granules << c->granule_shift;
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
	st.bad_frees = counts.bad_frees;
	st.quarantined_bytes = counts.quarantined_bytes;
	c = s->cache;
	pthread_mutex_lock(&mutable->lock);
	st.largest_free = dr_tree_max_gap(&s->tree, s->window.first, s->window.last);
	if (c) {
		uint64_t out = dr_cache_out_locked(c), free_granules = 0;
		int64_t ranges, live;

		dr_cache_live_locked(c, &ranges, &live);
		for (const struct dr_chunk *p = c->records; p; p = p->next_record)
			if (p->where != DR_CHUNK_RETIRED)
				free_granules += (uint64_t)dr_chunk_free_slots(p) * p->n;
		for (unsigned i = 0; i < c->zones * DR_ORDERS; i++)
			st.depot_full += atomic_load_explicit(
				&c->full[i / DR_ORDERS][i % DR_ORDERS].count,
				memory_order_relaxed);
		st.depot_empty = atomic_load_explicit(&c->empty.count, memory_order_relaxed);
		st.cached_bytes = (int64_t)out > live ? out - (uint64_t)live : 0;
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
static bool see(const struct dr_cache *c, struct dr_entry e, unsigned zone, unsigned n)
{
	const struct dr_chunk *chunk = dr_chunk_of(e.state);
	unsigned at = (unsigned)(e.state - chunk->state);
	_Atomic uint8_t *state = e.state;

	if (chunk->where == DR_CHUNK_RETIRED ||
	    e.iova != chunk->base + ((uint64_t)at << c->granule_shift) || at % chunk->n ||
	    atomic_load_explicit(state, memory_order_relaxed) != DR_SLOT_FREE)
		return false;
	if (n && (chunk->n != n || chunk->zone != zone || zone >= c->zones))
		return false;
	at /= chunk->n;
	if (atomic_load_explicit(&chunk->avail[at / 64], memory_order_relaxed) >> at % 64 & 1)
		return false;
	atomic_store_explicit(state, SEEN | DR_SLOT_FREE, memory_order_relaxed);
	return true;
}

static bool see_mag(const struct dr_cache *c, const struct dr_mag *mag, unsigned zone, unsigned n)
{
	if (mag->count > mag->cap || mag->cap > DR_MAG_ENTRIES)
		return false;
	for (unsigned i = 0; i < mag->count; i++)
		if (!see(c, mag->entry[i], zone, n))
			return false;
	return true;
}

static bool see_thread(const struct dr_cache *c, const struct dr_tcache *t, uint64_t *inout_quota)
{
	for (unsigned z = 0; z < c->zones; z++)
		for (unsigned k = 0; k < DR_CLASSES; k++) {
			const struct dr_slot *slot = &t->slot[z][k];

			if (!see_mag(c, slot->loaded, z, slot->n) ||
			    !see_mag(c, slot->prev, z, slot->n))
				return false;
			if (slot->cur && (slot->cur->where != DR_CHUNK_OWNED ||
					  slot->cur->n != slot->n || slot->cur->zone != z))
				return false;
			*inout_quota += 2u * slot->cap * slot->n;
		}
	for (unsigned i = 0; t->ring && i < DR_RING_ENTRIES; i++)
		if (t->ring->entry[i].state && !see(c, t->ring->entry[i], 0, 0))
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
		const struct dr_tcache *t =
			atomic_load_explicit(&c->by_thread[i], memory_order_acquire);

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

/* Put the marks back, and look whether every slot was somewhere. */
static bool chunk_is_valid(struct dray_iova_space *s, struct dr_chunk *chunk, uint64_t *inout_live,
			   uint64_t *inout_out)
{
	const struct dr_cache *c = s->cache;
	const struct dr_piece *p = dr_tree_at(&s->tree, chunk->base);
	uintptr_t entry = dr_chunk_entry(c, chunk->base);
	bool valid = true;

	if (chunk->where == DR_CHUNK_RETIRED) {
		for (unsigned i = 0; i < DR_CHUNK_GRANULES; i++)
			valid = valid && chunk->state[i] == DR_SLOT_NONE;
		return valid && dr_chunk_free_slots(chunk) == 0 && entry == (uintptr_t)chunk;
	}
	for (unsigned i = 0; i < DR_CHUNK_GRANULES; i++) {
		uint8_t state = chunk->state[i];
		unsigned slot = i / chunk->n;
		bool in_chunk = chunk->avail[slot / 64] >> slot % 64 & 1;

		if (i % chunk->n || slot >= chunk->slots) {
			valid = valid && state == DR_SLOT_NONE;
			continue;
		}
		if (state == (SEEN | DR_SLOT_FREE))
			chunk->state[i] = DR_SLOT_FREE;
		valid = valid && (state == DR_SLOT_FREE) == in_chunk;
		*inout_live += state >= DR_SLOT_LIVE ? chunk->n : 0;
		*inout_out += state != DR_SLOT_FREE ? chunk->n : 0;
	}
	return valid && entry == ((uintptr_t)chunk | chunk->n) && p && p->first == chunk->base &&
	       p->last == chunk->base + ((UINT64_C(1) << c->chunk_shift) - 1) &&
	       p->bits == (DR_PIECE_CHUNK | DR_PIECE_HEAD) &&
	       chunk->zone == dr_zone_of(c, chunk->base);
}

bool dr_cache_is_valid_locked(struct dray_iova_space *s)
{
	struct dr_cache *c = s->cache;
	uint64_t live = 0, out = 0, chunks = 0;
	int64_t ranges, granules;
	bool valid;

	if (!c)
		return true;
	if (!dr_stop_locked(c))
		return true;
	valid = see_all(c);
	for (struct dr_chunk *chunk = c->records; chunk; chunk = chunk->next_record) {
		/* All of them, whatever came out before: marks must go. */
		valid = chunk_is_valid(s, chunk, &live, &out) && valid;
		chunks += chunk->where != DR_CHUNK_RETIRED;
	}
	dr_cache_live_locked(c, &ranges, &granules);
	valid = valid && chunks == c->chunks && live == (uint64_t)granules &&
		out == dr_cache_out_locked(c);
	dr_go_locked(c);
	return valid;
}
