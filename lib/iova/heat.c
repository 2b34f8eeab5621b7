// SPDX-License-Identifier: BSD-2-Clause
/*
 * What a space is full of, and where.
 *
 * 1. A cell is a stretch of addresses and how many of its granules are in each state. The pieces of
 *    the tree say it of all but chunks, and what lies between pieces is free. Of a chunk each slot
 *    says it: its byte tells what is used from what is free, and where it is free its bit in avail
 *    tells whether it is in the chunk or in some magazine. A used slot may have a range shorter
 *    than itself; what that leaves over, and what slots leave over of their chunk, is slack.
 *
 * 2. One moment for each cell: the space's lock is held while a cell is counted and no longer, so
 *    that a million cells do not keep a take waiting. Under the lock pieces and chunks stand still;
 *    bytes and bits of slots change all the time, by threads that take and give without it.
 *
 *      take, give × a slot that is counted   its byte is read once, so it is in one state, the
 *                                            one before or the one after
 *      give to a chunk × the same            the byte says free before the bit is set: until then
 *                                            it counts as in a magazine
 *      length of a short range × the same    the two bytes may be of two ranges; a length beyond
 *                                            the slot's is cut to it
 *      refill, split, reserve × a cell       the lock
 *
 *    So a cell's granules always add up to all of them, and nobody is stopped for it. When nobody
 *    is inside a cache, every count is exact.
 *
 * 3. Nothing is allocated; what can fail is the caller's arguments. Cost: O(log n) for each cell and
 *    for each piece in it, and a look at every slot of every chunk.
 */
#include <errno.h>
#include <inttypes.h>

#include <dray/iova.h>

#include "base/err.h"
#include "iova/cache.h"
#include "iova/pieces.h"
#include "iova/state.h"

/* A cell while it is counted. */
struct count {
	uint64_t first, last; /* of it, as far as the window has it */
	uint64_t granule;
	struct dray_iova_cell *cell;
};

/* Granules of [first, last] that the cell has. */
static uint64_t common(const struct count *k, uint64_t first, uint64_t last)
{
	if (first < k->first)
		first = k->first;
	if (last > k->last)
		last = k->last;
	return first <= last ? (last - first) / k->granule + 1 : 0;
}

static void count_gap(const struct count *k, uint64_t first, uint64_t last)
{
	uint64_t n = common(k, first, last);

	/* The granule at 0 is nobody's. */
	if (!first && n) {
		k->cell->reserved++;
		n--;
	}
	k->cell->free += n;
}

/* What a slot's byte stands for. */
static uint64_t *place_of(struct dray_iova_cell *cell, uint8_t state, bool in_chunk)
{
	if (state == DR_SLOT_FREE)
		return in_chunk ? &cell->chunk_free : &cell->cached;
	if (state == DR_SLOT_QUAR)
		return &cell->quarantined;
	return state >= DR_SLOT_RETIRED && state < DR_SLOT_LIVE ? &cell->retired : &cell->live;
}

static void count_slot(const struct count *k, const struct dr_cache *c,
		       const struct dr_chunk *chunk, unsigned slot)
{
	uint64_t first = dr_chunk_iova(c, chunk, slot);
	uint64_t end = first + ((uint64_t)chunk->n << c->granule_shift);
	uint64_t word = atomic_load_explicit(&chunk->avail[slot / 64], memory_order_relaxed);
	uint8_t state = dr_chunk_state(c, chunk, slot);
	unsigned has = chunk->n;
	uint64_t used, all;

	if (state != DR_SLOT_FREE)
		has = dr_slot_has(c, chunk, slot);
	if (has > chunk->n)
		has = chunk->n;
	used = common(k, first, first + (((uint64_t)has << c->granule_shift) - 1));
	all = common(k, first, end - 1);
	*place_of(k->cell, state, word >> slot % 64 & 1) += used;
	k->cell->slack += all - used;
}

static void count_chunk(const struct count *k, const struct dr_cache *c,
			const struct dr_chunk *chunk)
{
	uint64_t slot_bytes = (uint64_t)chunk->n << c->granule_shift;
	uint64_t end = chunk->base + chunk->slots * slot_bytes;
	uint64_t from = k->first > chunk->base ? k->first - chunk->base : 0;

	for (uint64_t i = from / slot_bytes; i < chunk->slots; i++) {
		if (chunk->base + i * slot_bytes > k->last)
			return;
		count_slot(k, c, chunk, (unsigned)i);
	}
	/* A chunk whose slots fill it may end with the last address there is. */
	if (chunk->slots * chunk->n < DR_CHUNK_GRANULES)
		k->cell->slack += common(k, end,
					 chunk->base + ((UINT64_C(1) << c->chunk_shift) - 1));
}

static void count_piece(const struct count *k, const struct dray_iova_space *s,
			const struct dr_piece *p)
{
	uint64_t n = common(k, p->first, p->last);

	if (p->bits & DR_PIECE_CHUNK)
		count_chunk(k, s->cache, dr_chunk_at(s->cache, p->first));
	else if (p->bits & DR_PIECE_LIVE)
		k->cell->live += n;
	else if (p->bits & DR_PIECE_RETIRED)
		k->cell->retired += n;
	else if (p->bits & DR_PIECE_QUAR)
		k->cell->quarantined += n;
	else
		k->cell->reserved += n;
}

static void count_locked(const struct count *k, struct dray_iova_space *s)
{
	uint64_t at = k->first;

	for (;;) {
		const struct dr_piece *p = dr_tree_next(&s->tree, at, DR_TREE_ANY);

		if (!p || p->first > k->last) {
			count_gap(k, at, k->last);
			return;
		}
		if (p->first > at)
			count_gap(k, at, p->first - 1);
		count_piece(k, s, p);
		if (p->last >= k->last)
			return;
		at = p->last + 1;
	}
}

/* Granules of [first, last], which has all of 2^64 bytes at most. */
static uint64_t granules_of(uint64_t first, uint64_t last, uint64_t granule)
{
	return (last - first) / granule + 1;
}

int dray_iova_space_heat(const struct dray_iova_space *s, dray_iova_t first, dray_iova_t last,
			 size_t n, struct dray_iova_cell *ret_cells)
{
	/* Reading needs the lock, and the lock is no part of what const promises. */
	struct dray_iova_space *mutable = (struct dray_iova_space *)s;
	uint64_t each, more, at = first;

	if (!s || !ret_cells || !n)
		return dr_fail(EINVAL, "%s; pass a space, and room for a cell or more",
			       s ? "no cells to fill" : "space is NULL");
	if (first > last || first & (s->granule - 1) || ~last & (s->granule - 1))
		return dr_fail(EINVAL,
			       "0x%" PRIx64 "-0x%" PRIx64 " is not whole granules of 0x%" PRIx64
			       " bytes; the last address is inclusive",
			       first, last, s->granule);
	each = granules_of(first, last, s->granule) / n;
	more = granules_of(first, last, s->granule) % n;
	for (size_t i = 0; i < n; i++) {
		struct count k = {.granule = s->granule, .cell = &ret_cells[i]};
		uint64_t granules = each + (i < more);

		ret_cells[i] = (struct dray_iova_cell){.first = granules ? at : DRAY_IOVA_NONE};
		if (!granules)
			continue;
		k.first = at > s->window.first ? at : s->window.first;
		k.last = at + (granules * s->granule - 1);
		if (k.last > s->window.last)
			k.last = s->window.last;
		at += granules * s->granule;
		if (k.first > k.last)
			continue;
		pthread_mutex_lock(&mutable->lock);
		count_locked(&k, mutable);
		pthread_mutex_unlock(&mutable->lock);
	}
	return 0;
}
