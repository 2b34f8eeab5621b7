// SPDX-License-Identifier: BSD-2-Clause
/*
 * Chunks: where cached addresses come from. What they are for is in cache.c.
 *
 * 1. A chunk is one piece of the tree (DR_PIECE_CHUNK), as long as one leaf page table reaches
 *    and aligned to that, cut into slots of n granules. Its record lies in a radix of two levels
 *    under the chunk's number, and says for each slot: in the chunk (its bit in avail is set), or
 *    out: live, quarantined, or in somebody's magazine. The state byte of a slot's first granule
 *    tells live from free; all other bytes are 0, so that no address inside a slot is ever valid.
 *
 * 2. Where a chunk is:
 *
 *      RETIRED -- new --> OWNED -- no slot left --> FULL -- one comes back --> LISTED
 *         ^                 ^  \____ owner leaves _______________________________^ |
 *         |                 |________________ a thread wants slots ________________|
 *         |____ all slots back: from LISTED, from FULL, or when the owner leaves ___|
 *
 *    A thread fills its magazines from one chunk per size and zone, so what it maps lies together;
 *    when that is used up it takes a listed one before it takes a new one, so tables stay dense.
 *    All of this happens with the space's lock, once for a magazine.
 *
 * 3. Coming back needs no lock: one fetch_or sets the bit. Whoever turns a word of avail from 0
 *    to something, or brings the last slot back, also tells the lock's next holder, by pushing the
 *    chunk on the returned stack unless it is there. That stack is only ever taken whole, so it has
 *    no ABA; `returned` keeps a chunk from being pushed twice.
 *
 *      returner   fetch_or avail      ; if due: exchange returned, push if it was false
 *      settle     returned = false    ; read avail
 *
 *    Sequentially consistent, all four: of the two either the returner sees false and pushes again,
 *    or settle sees the bit. The fetch_or also releases the slot's byte, and all its last holder
 *    did, to who acquires the bit when filling.
 *
 * 4. The radix: root[chunk / 512] is a leaf of 512 entries (1 GiB with 4 KiB pages). Leaves and
 *    records are published whole and stay until close. An entry's low ten bits are n, 0 while
 *    retired; the word changes at once, so a reader never sees one chunk with another's n. It
 *    changes only while no slot is out, or in a split with every thread stopped; so for the holder
 *    of a slot it stands still. The radix spans the low 2^48 bytes of the window; what lies above
 *    is not cached.
 *
 * 5. Splitting. Where a chunk is in the way of something that fits beside its live slots, it is
 *    replaced by what it stands for: one piece for each live slot, gaps for the free ones. Then the
 *    tree's answers are exact. The records come first; without memory the chunk stays whole.
 *
 * 6. Failures: no memory for a record or a leaf means no chunk, and the tree serves instead.
 */
#include <errno.h>

#include "base/bits.h"
#include "base/hooks.h"
#include "iova/cache.h"
#include "iova/pieces.h"

/* As in space.c: gaps that are long enough and misplaced, before only sure ones are looked at. */
#define NEAR_MISFITS 8

static uint64_t chunk_bytes(const struct dr_cache *c)
{
	return UINT64_C(1) << c->chunk_shift;
}

static uint64_t word_mask(unsigned slots, unsigned word)
{
	if (slots >= 64 * (word + 1))
		return UINT64_MAX;
	return slots > 64 * word ? (UINT64_C(1) << (slots - 64 * word)) - 1 : 0;
}

/* Sequentially consistent: paragraph 3. */
static uint64_t avail(const struct dr_chunk *chunk, unsigned word)
{
	return atomic_load_explicit(&chunk->avail[word], memory_order_seq_cst);
}

unsigned dr_chunk_free_slots(const struct dr_chunk *chunk)
{
	unsigned n = 0;

	for (unsigned w = 0; w < DR_CHUNK_WORDS; w++)
		n += (unsigned)__builtin_popcountll(avail(chunk, w));
	return n;
}

static bool all_back(const struct dr_chunk *chunk, unsigned slots)
{
	for (unsigned w = 0; w < DR_CHUNK_WORDS; w++)
		if (avail(chunk, w) != word_mask(slots, w))
			return false;
	return true;
}

void dr_chunk_return(struct dr_cache *c, struct dr_entry e)
{
	struct dr_chunk *chunk = dr_chunk_of(e.state);
	/* Before the bit is set: afterwards the chunk may be somebody else's. */
	unsigned slots = chunk->slots;
	unsigned slot = (unsigned)(e.state - chunk->state) / chunk->n;
	uint64_t bit = UINT64_C(1) << slot % 64;
	struct dr_chunk *top;
	uint64_t old;

	old = atomic_fetch_or_explicit(&chunk->avail[slot / 64], bit, memory_order_seq_cst);
	if (old && ((old | bit) != word_mask(slots, slot / 64) || !all_back(chunk, slots)))
		return;
	if (atomic_exchange_explicit(&chunk->returned, true, memory_order_seq_cst))
		return;
	top = atomic_load_explicit(&c->returned, memory_order_relaxed);
	do {
		atomic_store_explicit(&chunk->next_returned, top, memory_order_relaxed);
		/* Release: next_returned, to who takes the stack. */
	} while (!atomic_compare_exchange_weak_explicit(&c->returned, &top, chunk,
							memory_order_release,
							memory_order_relaxed));
}

static void list(struct dr_cache *c, struct dr_chunk *chunk)
{
	struct dr_chunk **head = &c->lists[chunk->zone][chunk->n];

	chunk->where = DR_CHUNK_LISTED;
	chunk->prev = NULL;
	chunk->next = *head;
	if (*head)
		(*head)->prev = chunk;
	*head = chunk;
}

/* Inverse of list(). */
static void unlist(struct dr_cache *c, struct dr_chunk *chunk)
{
	if (chunk->prev)
		chunk->prev->next = chunk->next;
	else
		c->lists[chunk->zone][chunk->n] = chunk->next;
	if (chunk->next)
		chunk->next->prev = chunk->prev;
}

/* The chunk's addresses are the tree's again; its piece is the caller's to replace or drop. */
static void forget(struct dr_cache *c, struct dr_chunk *chunk)
{
	if (chunk->where == DR_CHUNK_LISTED)
		unlist(c, chunk);
	/* Release: nobody finds the chunk cut this way after it may be cut another way. */
	atomic_store_explicit(chunk->entry, (uintptr_t)chunk, memory_order_release);
	for (unsigned i = 0; i < chunk->slots; i++)
		atomic_store_explicit(&chunk->state[i * chunk->n], DR_SLOT_NONE,
				      memory_order_relaxed);
	for (unsigned w = 0; w < DR_CHUNK_WORDS; w++)
		atomic_store_explicit(&chunk->avail[w], 0, memory_order_relaxed);
	chunk->where = DR_CHUNK_RETIRED;
	c->chunks--;
}

static void retire(struct dray_iova_space *s, struct dr_chunk *chunk)
{
	forget(s->cache, chunk);
	dr_pieces_clear_locked(s, chunk->base, chunk->base + (chunk_bytes(s->cache) - 1),
			       DR_PIECE_CHUNK | DR_PIECE_HEAD);
	dr_pieces_unreserve_locked(s);
}

/* A chunk that nobody owns goes where its free slots say. */
static void place(struct dray_iova_space *s, struct dr_chunk *chunk)
{
	unsigned free_slots = dr_chunk_free_slots(chunk);

	if (free_slots == chunk->slots)
		retire(s, chunk);
	else if (free_slots && chunk->where != DR_CHUNK_LISTED)
		list(s->cache, chunk);
	else if (!free_slots)
		chunk->where = DR_CHUNK_FULL;
}

void dr_chunk_disown_locked(struct dray_iova_space *s, struct dr_chunk *chunk)
{
	place(s, chunk);
}

void dr_chunks_settle_locked(struct dray_iova_space *s)
{
	struct dr_cache *c = s->cache;
	struct dr_chunk *chunk, *next;

	if (!atomic_load_explicit(&c->returned, memory_order_relaxed))
		return;
	/* Acquire: next_returned of each. */
	chunk = atomic_exchange_explicit(&c->returned, NULL, memory_order_acquire);
	for (; chunk; chunk = next) {
		next = atomic_load_explicit(&chunk->next_returned, memory_order_relaxed);
		atomic_store_explicit(&chunk->returned, false, memory_order_seq_cst);
		if (chunk->where == DR_CHUNK_FULL || chunk->where == DR_CHUNK_LISTED)
			place(s, chunk);
	}
}

/* The record for the chunk at @base, made if need be. NULL: no memory. */
static struct dr_chunk *record_at(struct dr_cache *c, uint64_t base, unsigned zone)
{
	uint64_t index = (base - c->base) >> c->chunk_shift;
	struct dr_gig *gig = atomic_load_explicit(&c->root[index / 512], memory_order_relaxed);
	struct dr_chunk *chunk;

	if (!gig) {
		gig = dr_alloc(sizeof(*gig));
		if (!gig)
			return NULL;
		/* Release: the leaf is zeroed. */
		atomic_store_explicit(&c->root[index / 512], gig, memory_order_release);
	}
	/* Nobody is cut here, so the low bits are 0. */
	chunk = (struct dr_chunk *)atomic_load_explicit(&gig->entry[index % 512],
							memory_order_relaxed);
	if (chunk)
		return chunk;
	if (!c->slab_left) {
		c->slab = dr_hooks->alloc(DR_CHUNK_SLAB * sizeof(*chunk),
					  _Alignof(struct dr_chunk));
		if (!c->slab)
			return NULL;
		c->slab_left = DR_CHUNK_SLAB;
		c->slab->begins_slab = true;
	}
	chunk = c->slab++;
	c->slab_left--;
	chunk->base = base;
	chunk->zone = (uint8_t)zone;
	chunk->entry = &gig->entry[index % 512];
	chunk->where = DR_CHUNK_RETIRED;
	chunk->next_record = c->records;
	c->records = chunk;
	c->n_records++;
	/* Release: the record is complete. */
	atomic_store_explicit(chunk->entry, (uintptr_t)chunk, memory_order_release);
	return chunk;
}

/* A whole chunk out of the tree. NULL: no room in the zone, or no memory. */
static struct dr_chunk *new_chunk(struct dray_iova_space *s, unsigned zone, unsigned n)
{
	struct dr_cache *c = s->cache;
	const uint64_t bytes = chunk_bytes(c);
	const uint64_t reach = c->base + (c->n_chunks << c->chunk_shift) - 1;
	const struct dr_fit fit = {
		.len = bytes,
		.align = bytes,
		.sure = 2 * bytes - s->granule,
	};
	uint64_t first = c->zone[zone].first, last = c->zone[zone].last, base;
	size_t near_misfits = NEAR_MISFITS, sure_misfits = NEAR_MISFITS;
	struct dr_chunk *chunk;

	if (last > reach)
		last = reach;
	if (!dr_tree_find_gap(&s->tree, &fit, fit.len, &near_misfits, first, last, &base) &&
	    !dr_tree_find_gap(&s->tree, &fit, fit.sure, &sure_misfits, first, last, &base))
		return NULL;
	chunk = record_at(c, base, zone);
	if (!chunk || dr_pieces_reserve_locked(s, 1))
		return NULL;
	dr_pieces_add_locked(s, base, base + (bytes - 1), DR_PIECE_CHUNK | DR_PIECE_HEAD);
	chunk->n = (uint16_t)n;
	chunk->slots = (uint16_t)(DR_CHUNK_GRANULES / n);
	for (unsigned i = 0; i < chunk->slots; i++)
		atomic_store_explicit(&chunk->state[i * n], DR_SLOT_FREE, memory_order_relaxed);
	for (unsigned w = 0; w < DR_CHUNK_WORDS; w++)
		atomic_store_explicit(&chunk->avail[w], word_mask(chunk->slots, w),
				      memory_order_relaxed);
	/* Release: n, slots and bytes before anybody finds it. */
	atomic_store_explicit(chunk->entry, (uintptr_t)chunk | n, memory_order_release);
	c->chunks++;
	return chunk;
}

/*
 * Move free slots into the magazine, as many as go in: the highest ones, and the highest of these
 * on top, so that a space fills from above as its tree does.
 */
static void draw(const struct dr_cache *c, struct dr_chunk *chunk, struct dr_mag *mag)
{
	uint64_t slot_bytes = (uint64_t)chunk->n << c->granule_shift;
	unsigned n = 0, room = mag->cap - mag->count;
	struct dr_entry got[DR_MAG_ENTRIES];

	for (unsigned w = DR_CHUNK_WORDS; w-- > 0 && n < room;) {
		uint64_t bits = avail(chunk, w), drawn = 0;

		while (bits && n < room) {
			unsigned bit = 63u - (unsigned)__builtin_clzll(bits);

			got[n].iova = chunk->base + (64 * w + bit) * slot_bytes;
			got[n++].state = &chunk->state[(64 * w + bit) * chunk->n];
			drawn |= UINT64_C(1) << bit;
			bits &= ~(UINT64_C(1) << bit);
		}
		/* Acquire: what the slots' last holders did. Only the lock's holder clears bits. */
		if (drawn)
			atomic_fetch_and_explicit(&chunk->avail[w], ~drawn, memory_order_acquire);
	}
	while (n)
		mag->entry[mag->count++] = got[--n];
}

unsigned dr_chunks_fill_locked(struct dray_iova_space *s, unsigned zone, struct dr_slot *slot)
{
	struct dr_cache *c = s->cache;
	struct dr_mag *mag = slot->loaded;

	for (;;) {
		struct dr_chunk *chunk = slot->cur;

		if (chunk)
			draw(c, chunk, mag);
		if (mag->count == mag->cap)
			break;
		if (chunk) {
			slot->cur = NULL;
			dr_chunk_disown_locked(s, chunk);
		}
		dr_chunks_settle_locked(s);
		chunk = c->lists[zone][slot->n];
		if (chunk)
			unlist(c, chunk);
		else if (!mag->count)
			chunk = new_chunk(s, zone, slot->n);
		/* A part of a magazine is enough; what comes back meanwhile may fill the next. */
		if (!chunk)
			break;
		chunk->where = DR_CHUNK_OWNED;
		slot->cur = chunk;
	}
	c->out_granules += (uint64_t)mag->count * slot->n;
	c->refills += mag->count > 0;
	return mag->count;
}

int dr_chunk_split_locked(struct dray_iova_space *s, struct dr_chunk *chunk)
{
	struct dr_cache *c = s->cache;
	uint64_t slot_bytes = (uint64_t)chunk->n << c->granule_shift;
	uint8_t was[DR_CHUNK_GRANULES];
	unsigned slots = chunk->slots, n = chunk->n, live = 0, quar = 0;
	int err;

	for (unsigned i = 0; i < slots; i++) {
		was[i] = atomic_load_explicit(&chunk->state[i * n], memory_order_relaxed);
		live += was[i] >= DR_SLOT_LIVE;
		quar += was[i] == DR_SLOT_QUAR;
	}
	/* A quarantined slot cuts nothing and fills one gap: three at most. */
	err = dr_pieces_reserve_locked(s, live + 3 * (size_t)quar);
	if (err)
		return err;
	forget(c, chunk);
	dr_pieces_clear_locked(s, chunk->base, chunk->base + (chunk_bytes(c) - 1),
			       DR_PIECE_CHUNK | DR_PIECE_HEAD);
	for (unsigned i = 0; i < slots; i++) {
		uint64_t first = chunk->base + i * slot_bytes, last = first + (slot_bytes - 1);

		if (was[i] >= DR_SLOT_LIVE)
			dr_pieces_add_locked(s, first, last, DR_PIECE_AUTO | DR_PIECE_HEAD);
		else if (was[i] == DR_SLOT_QUAR)
			dr_pieces_mark_locked(s, first, last, 0, DR_PIECE_QUAR);
	}
	dr_pieces_unreserve_locked(s);
	c->out_granules -= (uint64_t)(live + quar) * n;
	c->live_ranges -= live;
	c->live_granules -= (int64_t)live * n;
	s->counts.live_ranges += live;
	s->counts.live_bytes += live * slot_bytes;
	c->splits++;
	return 0;
}
