// SPDX-License-Identifier: BSD-2-Clause
/*
 * What only works with every cache at rest: draining them, and taking chunks apart that stand in
 * the way. The order of flags and barriers is argued in cache.c, 4.
 *
 * 1. When. The tree has no room for a request; or a reservation, a fixed address or the hardware's
 *    holes want a range where a chunk lies. First all that caches hold goes back to the chunks, and
 *    chunks with nothing out go back to the tree. This alone makes room for most. What is left
 *    are chunks with something used (live, retired, held) or quarantined in them.
 *
 * 2. Room between live slots. The tree's gaps, the free slots of chunks, and what ranges leave of
 *    theirs, together are what would be free if there were no chunks. Going up through the chunks,
 *    each run of free granules is tried: it begins after something used and ends before something
 *    used, across chunks' edges and the gaps between them. Runs that touch no chunk the tree has
 *    looked at itself. The place found lies in at most two chunks that are not empty; only those
 *    are split (chunk.c, 5), so one large request that fails takes nothing apart, and one that
 *    succeeds little. Cost: a look at every slot of every chunk; no more than that, however often
 *    it is asked.
 *
 * 3. A range to clear. Something used in it is -EEXIST, seen without stopping anybody. Else drain,
 *    look again, and split whatever chunk reaches in.
 *
 * 4. The kernel may refuse membarrier after it had agreed (a filter installed later). Then other
 *    threads' magazines and the chunks cannot be had; the call fails as if they were in use, and
 *    says so.
 */
#include <errno.h>
#include <inttypes.h>
#include <linux/membarrier.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/err.h"
#include "base/hooks.h"
#include "iova/cache.h"
#include "iova/pieces.h"
#include "iova/state.h"

bool dr_stop_is_remote(void)
{
	return !dr_hooks->membarrier(MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED);
}

/* Every thread's cache but the caller's own, which the lock keeps still. */
static struct dr_tcache *other(const struct dr_cache *c, unsigned i)
{
	if (i == dr_thread_peek())
		return NULL;
	return dr_tcache_at(c, i);
}

void dr_go_locked(struct dr_cache *c)
{
	for (unsigned i = 0; i < c->threads; i++) {
		struct dr_tcache *t = other(c, i);

		if (t)
			/* Release: what was done to the cache, to its thread. */
			atomic_fetch_and_explicit(&t->flags, ~(unsigned)DR_STOPPED,
						  memory_order_release);
	}
}

bool dr_stop_locked(struct dr_cache *c)
{
	bool any = false;

	for (unsigned i = 0; i < c->threads; i++) {
		struct dr_tcache *t = other(c, i);

		if (!t)
			continue;
		any = true;
		/* Sequentially consistent: barrier B where threads fence themselves. */
		atomic_fetch_or_explicit(&t->flags, DR_STOPPED, memory_order_seq_cst);
	}
	if (any && !(c->flags & DR_FENCED) &&
	    dr_hooks->membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED)) {
		dr_go_locked(c);
		return false;
	}
	for (unsigned i = 0; i < c->threads; i++) {
		struct dr_tcache *t = other(c, i);

		/* Acquire (and B's other half): what the thread did inside. */
		while (t && atomic_load_explicit(&t->busy, memory_order_seq_cst))
			sched_yield();
	}
	return true;
}

/* Everything cached back into chunks, empty chunks back to the tree. Stopped. */
static void drain(struct dray_iova_space *s)
{
	struct dr_cache *c = s->cache;

	for (unsigned i = 0; i < c->threads; i++) {
		struct dr_tcache *t = dr_tcache_at(c, i);

		if (t)
			dr_tcache_empty_locked(s, t);
	}
	for (unsigned i = 0; i < c->zones * DR_ORDERS; i++) {
		struct dr_stack *full = &c->full[i / DR_ORDERS][i % DR_ORDERS];
		struct dr_mag *mag;

		while ((mag = dr_stack_pop(c, full))) {
			c->out_granules -= dr_mag_pour(c, mag);
			dr_stack_push(c, &c->empty, mag);
		}
	}
	dr_chunks_settle_locked(s);
	c->drains++;
}

static bool is_used(uint8_t state)
{
	return dr_slot_is_used(state) || state == DR_SLOT_QUAR;
}

/* The last address of what a used slot has. */
static uint64_t last_used(const struct dr_cache *c, const struct dr_chunk *chunk, unsigned slot)
{
	return dr_chunk_iova(c, chunk, slot) +
	       (((uint64_t)dr_slot_has(c, chunk, slot) << c->granule_shift) - 1);
}

/* The chunk of the lowest chunk piece that ends at or above @at, or NULL. */
static struct dr_chunk *chunk_from(struct dray_iova_space *s, uint64_t at)
{
	const struct dr_piece *p = dr_tree_next(&s->tree, at, DR_PIECE_CHUNK);

	return p ? dr_chunk_at(s->cache, p->first) : NULL;
}

static uint64_t last_of(const struct dr_cache *c, const struct dr_chunk *chunk)
{
	return chunk->base + ((UINT64_C(1) << c->chunk_shift) - 1);
}

/*
 * The same, for sure also while threads are at it: where the slot's byte says @state, that it has
 * less than all, those that follow may not say yet, or no more, how much. It is more than half, or
 * the slot would be another one.
 */
static uint64_t last_surely_used(const struct dr_cache *c, const struct dr_chunk *chunk,
				 unsigned slot, uint8_t state)
{
	uint64_t n = chunk->n;

	if (state == DR_SLOT_QUAR)
		return last_used(c, chunk, slot);
	if (state == (DR_SLOT_RETIRED | DR_SLOT_SHORT) || state == (DR_SLOT_LIVE | DR_SLOT_SHORT))
		n = n / 2 + 1;
	return dr_chunk_iova(c, chunk, slot) + ((n << c->granule_shift) - 1);
}

/*
 * The lowest slot in [first, last] that is used, or quarantined where that counts. With nobody
 * stopped it tells what is in the way for sure, and may miss the ends of ranges.
 */
static bool first_used(struct dray_iova_space *s, uint64_t first, uint64_t last, bool quarantined,
		       bool stopped, uint64_t *ret_iova)
{
	const struct dr_cache *c = s->cache;
	struct dr_chunk *chunk = chunk_from(s, first);

	while (chunk && chunk->base <= last) {
		uint64_t slot_bytes = (uint64_t)chunk->n << c->granule_shift;

		for (unsigned i = 0; i < chunk->slots; i++) {
			uint64_t at = chunk->base + i * slot_bytes;
			uint8_t state = dr_chunk_state(c, chunk, i);

			if (at > last)
				return false;
			if (!is_used(state) || (!quarantined && state == DR_SLOT_QUAR))
				continue;
			if ((stopped ? last_used(c, chunk, i) :
				       last_surely_used(c, chunk, i, state)) < first)
				continue;
			*ret_iova = at;
			return true;
		}
		if (last_of(c, chunk) >= last)
			return false;
		chunk = chunk_from(s, last_of(c, chunk) + 1);
	}
	return false;
}

bool dr_cache_any_used_locked(struct dray_iova_space *s, uint64_t first, uint64_t last)
{
	uint64_t iova;

	/* Of what is taken or given meanwhile, either answer is right. */
	return first_used(s, first, last, true, true, &iova);
}

/* Split every chunk that reaches into [first, last]. Stopped and drained. */
static int split_all(struct dray_iova_space *s, uint64_t first, uint64_t last)
{
	struct dr_chunk *chunk = chunk_from(s, first);

	while (chunk && chunk->base <= last) {
		int err = dr_chunk_split_locked(s, chunk);

		if (err)
			return err;
		chunk = chunk_from(s, first);
	}
	return 0;
}

static int exist(uint64_t first, uint64_t last, uint64_t at)
{
	return dr_fail(EEXIST,
		       "IOVAs 0x%" PRIx64 "-0x%" PRIx64 " overlap a range that is live, retired or "
		       "quarantined at 0x%" PRIx64 "; unmap it first or choose others",
		       first, last, at);
}

int dr_cache_clear_locked(struct dray_iova_space *s, uint64_t first, uint64_t last,
			  bool quarantined_too)
{
	const struct dr_chunk *chunk;
	uint64_t at;
	int err = 0;

	if (!s->cache)
		return 0;
	chunk = chunk_from(s, first);
	if (!chunk || chunk->base > last)
		return 0;
	if (first_used(s, first, last, quarantined_too, false, &at))
		return exist(first, last, at);
	if (!dr_stop_locked(s->cache))
		return dr_fail(EEXIST,
			       "IOVAs 0x%" PRIx64 "-0x%" PRIx64 " are in threads' caches and the "
			       "kernel refuses membarrier(); allow it",
			       first, last);
	drain(s);
	if (first_used(s, first, last, quarantined_too, true, &at))
		err = exist(first, last, at);
	else
		err = split_all(s, first, last);
	dr_go_locked(s->cache);
	return err;
}

/* A search for room between live slots, going up. */
struct hunt {
	const struct dr_fit *fit;
	uint64_t lowest, highest; /* where the range may lie */
	uint64_t first;           /* where the current run of free granules begins */
	uint64_t found;           /* the highest place so far */
	bool any;
};

/* The current run ends at @last. */
static void try_run(struct hunt *h, uint64_t last)
{
	uint64_t first = h->first > h->lowest ? h->first : h->lowest;

	if (last > h->highest)
		last = h->highest;
	/* Runs ascend, so the last one that takes it is the highest. */
	if (first <= last && dr_fit_place(h->fit, first, last, &h->found))
		h->any = true;
}

static void hunt_in(const struct dr_cache *c, const struct dr_chunk *chunk, struct hunt *h)
{
	uint64_t slot_bytes = (uint64_t)chunk->n << c->granule_shift;

	for (unsigned i = 0; i < chunk->slots; i++) {
		uint64_t at = chunk->base + i * slot_bytes;

		if (!is_used(dr_chunk_state(c, chunk, i)))
			continue;
		if (at > h->first)
			try_run(h, at - 1);
		/* Nothing begins above the last address; one byte there is too short. */
		h->first = last_used(c, chunk, i);
		if (h->first < UINT64_MAX)
			h->first++;
	}
}

/* Where the gap begins that ends below @at: @at itself if a piece ends there. */
static uint64_t gap_below(struct dray_iova_space *s, uint64_t at)
{
	const struct dr_piece *p = dr_tree_prev(&s->tree, at - 1);

	return p ? p->last + 1 : s->window.first;
}

static bool find_between(struct dray_iova_space *s, const struct dr_fit *fit, uint64_t last,
			 uint64_t *ret_iova)
{
	struct hunt h = {
		.fit = fit,
		.lowest = s->window.first > s->granule ? s->window.first : s->granule,
		.highest = last < s->window.last ? last : s->window.last,
	};
	const struct dr_chunk *chunk = chunk_from(s, 0);
	bool open = false; /* the run reaches into the chunk from below */

	while (chunk && chunk->base <= h.highest) {
		uint64_t end = last_of(s->cache, chunk);
		const struct dr_piece *next = NULL;

		if (!open)
			h.first = gap_below(s, chunk->base);
		hunt_in(s->cache, chunk, &h);
		if (end < s->window.last)
			next = dr_tree_next(&s->tree, end + 1, DR_TREE_ANY);
		open = next && next->bits & DR_PIECE_CHUNK;
		if (!open && h.first <= s->window.last)
			try_run(&h, next ? next->first - 1 : s->window.last);
		chunk = next ? chunk_from(s, end + 1) : NULL;
	}
	if (open)
		try_run(&h, h.highest);
	*ret_iova = h.found;
	return h.any;
}

int dr_cache_make_room_locked(struct dray_iova_space *s, const struct dr_fit *fit, uint64_t last)
{
	uint64_t iova;
	int err = 0;

	if (!s->cache || !s->cache->chunks || !dr_stop_locked(s->cache))
		return -ENOSPC;
	drain(s);
	if (!dr_iova_find_room_locked(s, fit, last, &iova))
		err = find_between(s, fit, last, &iova) ?
			      split_all(s, iova, iova + (fit->len - 1)) : -ENOSPC;
	dr_go_locked(s->cache);
	return err;
}
