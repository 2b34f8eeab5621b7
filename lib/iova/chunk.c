// SPDX-License-Identifier: BSD-2-Clause
/*
 * Chunks: where cached addresses come from. What they are for is in cache.c.
 *
 * 1. A chunk is one piece of the tree (DR_PIECE_CHUNK), as long as one leaf page table reaches
 *    and aligned to that, cut into slots of n granules. Its record lies in a radix of two levels
 *    under the chunk's number, and says for each slot: in the chunk (its bit in avail is set), or
 *    out: live, retired, held, quarantined, or in somebody's magazine. The state byte of a slot's
 *    first granule tells which, and live from free; all other bytes are 0, or the length of a
 *    range that is shorter than its slot, in bits that no live slot's byte consists of: so no
 *    address inside a slot is ever valid.
 *
 * 2. Where a chunk is:
 *
 *      GONE -- new --> OWNED -- no slot left --> FULL -- one comes back --> LISTED
 *       ^                 ^  \____ owner leaves _______________________________^ |
 *       |                 |________________ a thread wants slots ________________|
 *       |____ all slots back: from LISTED, from FULL, or when the owner leaves ___|
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
 *    records are published whole and stay until close. An entry names the chunk and n, 0 while it
 *    is gone; the word changes at once, so a reader never sees one chunk with another's n. It
 *    changes only while no slot is out, or in a split with every thread stopped; so for the holder
 *    of a slot it stands still. The radix spans the low 2^48 bytes of the window, less in a process
 *    that may not reserve as much for the state bytes; what lies above is not cached.
 *
 *    State bytes lie apart from all of this, in one array over the whole span, so that the short
 *    way finds a byte by a shift and an addition, and those of a million addresses lie as close
 *    together as they can. The array is reserved at open without access rights, so it costs neither
 *    memory nor, where a process has locked all it maps, anything to populate; a leaf comes with
 *    its part. What is not there may not be read: the short way keeps to one stretch that is
 *    (publish_states), everybody else asks the radix first.
 *
 * 5. Splitting. Where a chunk is in the way of something that fits beside its used slots, it is
 *    replaced by what it stands for: one piece for each range in a used slot, gaps for the rest.
 *    Then the tree's answers are exact. The records come first; without memory the chunk stays
 *    whole.
 *
 * 6. Failures: no memory for a record or a leaf means no chunk, and the tree serves instead.
 */
#include <errno.h>
#include <sys/mman.h>

#include "base/bits.h"
#include "base/hooks.h"
#include "iova/cache.h"
#include "iova/pieces.h"
#include "iova/state.h"

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

void dr_chunk_return(struct dr_cache *c, uint64_t iova)
{
	struct dr_chunk *chunk = dr_chunk_at(c, iova);
	/* Before the bit is set: afterwards the chunk may be somebody else's. */
	unsigned slots = chunk->slots;
	unsigned slot = (unsigned)((iova - chunk->base) >> c->granule_shift) / chunk->n;
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

/* One chunk more or less in the zone. */
static void count_chunk(struct dr_cache *c, unsigned zone, int by)
{
	unsigned rounding = atomic_load_explicit(&c->rounding, memory_order_relaxed);
	unsigned bit = 1u << zone, now = rounding & ~bit;

	c->chunks += (uint64_t)(int64_t)by;
	c->zone_chunks[zone] += (uint64_t)(int64_t)by;
	if (c->round_max[zone] && c->zone_chunks[zone] <= c->round_max[zone])
		now |= bit;
	if (now != rounding)
		atomic_store_explicit(&c->rounding, now, memory_order_relaxed);
}

/* The chunk's addresses are the tree's again; its piece is the caller's to replace or drop. */
static void forget(struct dr_cache *c, struct dr_chunk *chunk)
{
	if (chunk->where == DR_CHUNK_LISTED)
		unlist(c, chunk);
	/* Release: nobody finds the chunk cut this way after it may be cut another way. */
	atomic_store_explicit(chunk->entry, (uintptr_t)chunk, memory_order_release);
	for (unsigned i = 0; i < chunk->slots; i++) {
		dr_chunk_set_state(c, chunk, i, DR_SLOT_NONE);
		if (dr_slot_has(c, chunk, i) != chunk->n)
			dr_short_set(dr_state(c, dr_chunk_iova(c, chunk, i)), 0);
	}
	for (unsigned w = 0; w < DR_CHUNK_WORDS; w++)
		atomic_store_explicit(&chunk->avail[w], 0, memory_order_relaxed);
	chunk->where = DR_CHUNK_GONE;
	count_chunk(c, chunk->zone, -1);
}

static void dissolve(struct dray_iova_space *s, struct dr_chunk *chunk)
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

	if (free_slots == chunk->slots) {
		dissolve(s, chunk);
	} else if (free_slots) {
		if (chunk->where != DR_CHUNK_LISTED)
			list(s->cache, chunk);
	} else {
		/* A flusher may have held the last ones of a listed chunk. */
		if (chunk->where == DR_CHUNK_LISTED)
			unlist(s->cache, chunk);
		chunk->where = DR_CHUNK_FULL;
	}
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

/*
 * The short way may read bytes from the leaf on: if it adjoins what it may read so far. Where a
 * hole of whole leaves lies between, the longer way serves what is below.
 */
static void publish_states(struct dray_iova_space *s, uint64_t first, uint64_t last)
{
	const struct dray_range *top = &s->cache->zone[0];

	if (first < top->first)
		first = top->first;
	if (last > top->last)
		last = top->last;
	if (first > last)
		return;
	first >>= DR_STATE_SHIFT;
	last >>= DR_STATE_SHIFT;
	if (s->states_first == UINT64_MAX)
		s->states_last = last;
	else if (last + 1 != s->states_first)
		return;
	/* Release: last, and that the bytes may be read. */
	atomic_store_explicit(&s->states_first, first, memory_order_release);
}

/* A leaf and its part of the state bytes, which are only reserved until then. NULL: no memory. */
static struct dr_gig *new_gig(struct dray_iova_space *s, uint64_t index)
{
	struct dr_cache *c = s->cache;
	uint64_t first = c->base + (index * 512 << c->chunk_shift);
	uint64_t last = c->base + (c->n_chunks << c->chunk_shift) - 1, len;
	void *bytes = (void *)(c->states + (uintptr_t)(first >> DR_STATE_SHIFT));
	struct dr_gig *gig;

	if (last - first >= UINT64_C(512) << c->chunk_shift)
		last = first + (UINT64_C(512) << c->chunk_shift) - 1;
	len = (last - first + 1) >> DR_STATE_SHIFT;
	gig = dr_alloc(sizeof(*gig));
	if (!gig)
		return NULL;
	if (dr_hooks->mmap(bytes, len, PROT_READ | PROT_WRITE,
			   MAP_FIXED | MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED) {
		dr_free(gig);
		return NULL;
	}
	publish_states(s, first, last);
	/* Release: the leaf is zeroed, its bytes may be read. */
	atomic_store_explicit(&c->root[index], gig, memory_order_release);
	return gig;
}

/* The record for the chunk at @base, made if need be. NULL: no memory. */
static struct dr_chunk *record_at(struct dray_iova_space *s, uint64_t base, unsigned zone)
{
	struct dr_cache *c = s->cache;
	uint64_t index = (base - c->base) >> c->chunk_shift;
	struct dr_gig *gig = atomic_load_explicit(&c->root[index / 512], memory_order_relaxed);
	struct dr_chunk *chunk;

	if (!gig)
		gig = new_gig(s, index / 512);
	if (!gig)
		return NULL;
	chunk = dr_entry_chunk(atomic_load_explicit(&gig->entry[index % 512],
						    memory_order_relaxed));
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
	chunk->where = DR_CHUNK_GONE;
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
	const struct dr_fit fit = {
		.len = bytes,
		.align = bytes,
		.sure = 2 * bytes - s->granule,
	};
	uint64_t first = c->zone[zone].first, last = c->zone[zone].last, base;
	size_t near_misfits = NEAR_MISFITS, sure_misfits = NEAR_MISFITS;
	struct dr_chunk *chunk;

	if (!dr_tree_find_gap(&s->tree, &fit, fit.len, &near_misfits, first, last, &base) &&
	    !dr_tree_find_gap(&s->tree, &fit, fit.sure, &sure_misfits, first, last, &base))
		return NULL;
	chunk = record_at(s, base, zone);
	if (!chunk || dr_pieces_reserve_locked(s, 1))
		return NULL;
	dr_pieces_add_locked(s, base, base + (bytes - 1), DR_PIECE_CHUNK | DR_PIECE_HEAD);
	chunk->n = (uint16_t)n;
	chunk->slots = (uint16_t)(DR_CHUNK_GRANULES / n);
	for (unsigned i = 0; i < chunk->slots; i++)
		dr_chunk_set_state(c, chunk, i, DR_SLOT_FREE);
	for (unsigned w = 0; w < DR_CHUNK_WORDS; w++)
		atomic_store_explicit(&chunk->avail[w], word_mask(chunk->slots, w),
				      memory_order_relaxed);
	/* Release: n, slots and bytes before anybody finds it. */
	atomic_store_explicit(chunk->entry, (uint64_t)n << DR_ENTRY_SHIFT | (uintptr_t)chunk,
			      memory_order_release);
	count_chunk(c, zone, 1);
	return chunk;
}

/*
 * Move free slots into the magazine, as many as go in: the highest ones, and the highest of these
 * on top, so that a space fills from above as its tree does.
 */
static void draw(const struct dr_cache *c, struct dr_chunk *chunk, struct dr_mag *mag)
{
	unsigned n = 0, room = mag->cap - mag->count;
	uint64_t got[DR_MAG_ENTRIES];

	for (unsigned w = DR_CHUNK_WORDS; w-- > 0 && n < room;) {
		uint64_t bits = avail(chunk, w), drawn = 0;

		while (bits && n < room) {
			unsigned bit = 63u - (unsigned)__builtin_clzll(bits);

			got[n++] = dr_chunk_iova(c, chunk, 64 * w + bit);
			drawn |= UINT64_C(1) << bit;
			bits &= ~(UINT64_C(1) << bit);
		}
		/* Acquire: what the slots' last holders did. Only the lock's holder clears bits. */
		if (drawn)
			atomic_fetch_and_explicit(&chunk->avail[w], ~drawn, memory_order_acquire);
	}
	while (n)
		mag->iova[mag->count++] = got[--n];
}

unsigned dr_chunks_fill_locked(struct dray_iova_space *s, unsigned zone, struct dr_slot *slot)
{
	struct dr_cache *c = s->cache;
	struct dr_mag *mag = dr_slot_mag(slot);

	mag->count = 0;
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
	dr_slot_load(slot, mag);
	c->out_granules += (uint64_t)mag->count * slot->n;
	c->refills += mag->count > 0;
	return mag->count;
}

/* What a chunk's slots are when it is split: what they stand for in the tree. */
struct census {
	uint8_t was[DR_CHUNK_GRANULES];
	uint16_t has[DR_CHUNK_GRANULES];     /* granules of its range */
	unsigned live, held, retired, quar;  /* slots; of held ones runs */
	unsigned used_slots; /* live, retired, and all slots of runs */
	unsigned live_granules, retired_granules;
};

static void take_census(const struct dr_cache *c, const struct dr_chunk *chunk,
			struct census *ret)
{
	*ret = (struct census){.live = 0};
	for (unsigned i = 0; i < chunk->slots; i++) {
		uint8_t was = dr_chunk_state(c, chunk, i);

		bool retired = was >= DR_SLOT_RETIRED && was < DR_SLOT_LIVE;

		ret->was[i] = was;
		ret->has[i] = (uint16_t)dr_slot_has(c, chunk, i);
		ret->live += was >= DR_SLOT_LIVE;
		ret->held += was == DR_SLOT_HELD;
		ret->retired += retired;
		ret->quar += was == DR_SLOT_QUAR;
		if (retired)
			ret->retired_granules += ret->has[i];
		else if (dr_slot_is_used(was))
			ret->live_granules += ret->has[i];
		ret->used_slots += dr_slot_is_used(was);
	}
}

/* The piece for the slot, or the run of held slots, that begins with slot @i. */
static void piece_for(struct dray_iova_space *s, const struct dr_chunk *chunk,
		      const struct census *was, unsigned i)
{
	uint64_t slot_bytes = (uint64_t)chunk->n << s->cache->granule_shift;
	uint64_t first = chunk->base + i * slot_bytes;
	uint64_t last = first + (((uint64_t)was->has[i] << s->cache->granule_shift) - 1);
	uint8_t state = was->was[i];

	while (state == DR_SLOT_HELD && ++i < chunk->slots && was->was[i] == DR_SLOT_HELD_ON)
		last += slot_bytes;
	if (state >= DR_SLOT_LIVE || state == DR_SLOT_HELD)
		dr_pieces_add_locked(s, first, last, DR_PIECE_AUTO | DR_PIECE_HEAD);
	else if (state >= DR_SLOT_RETIRED)
		dr_pieces_add_locked(s, first, last, DR_PIECE_RETIRED | DR_PIECE_HEAD);
	else if (state == DR_SLOT_QUAR)
		dr_pieces_mark_locked(s, first, last, 0, DR_PIECE_QUAR);
}

int dr_chunk_split_locked(struct dray_iova_space *s, struct dr_chunk *chunk)
{
	struct dr_cache *c = s->cache;
	struct census was;
	unsigned slots = chunk->slots, n = chunk->n, ranges, used;
	int err;

	take_census(c, chunk, &was);
	ranges = was.live + was.held + was.retired;
	used = was.used_slots * n;
	/* A quarantined slot cuts nothing and fills one gap: three at most. */
	err = dr_pieces_reserve_locked(s, ranges + 3 * (size_t)was.quar);
	if (err)
		return err;
	forget(c, chunk);
	dr_pieces_clear_locked(s, chunk->base, chunk->base + (chunk_bytes(c) - 1),
			       DR_PIECE_CHUNK | DR_PIECE_HEAD);
	for (unsigned i = 0; i < slots; i++)
		piece_for(s, chunk, &was, i);
	dr_pieces_unreserve_locked(s);
	c->out_granules -= used + was.quar * n;
	c->lost_granules -= was.quar * n;
	c->used_ranges -= ranges;
	c->used_granules -= used;
	c->slack_granules -= used - was.live_granules - was.retired_granules;
	c->retired_ranges -= was.retired;
	c->retired_granules -= was.retired_granules;
	s->counts.live_ranges += was.live + was.held;
	s->counts.live_bytes += (uint64_t)was.live_granules << c->granule_shift;
	s->counts.retired_bytes += (uint64_t)was.retired_granules << c->granule_shift;
	c->splits++;
	return 0;
}
