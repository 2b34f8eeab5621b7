/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The short way through a thread's cache: a power of two from the loaded magazine of the top zone
 * and back, and nothing else. No lock, no atomic read-modify-write, no line that another thread
 * writes. Whatever it does not serve it leaves untouched. Why it is sound is in cache.c.
 */
#ifndef DR_IOVA_FAST_H
#define DR_IOVA_FAST_H

#include "iova/cache.h"

static inline struct dr_tcache *dr_this_cache(const struct dr_cache *c)
{
	unsigned number = dr_thread_peek();

	if (__builtin_expect(number >= DR_THREADS, 0))
		return NULL;
	/* Acquire only for the checker: a number's holder follows its creator through a lock. */
	return atomic_load_explicit(&c->by_thread[number], memory_order_acquire);
}

/* One writer: no read-modify-write. */
static inline void dr_tally(_Atomic int64_t *counter, int64_t by)
{
	int64_t n = atomic_load_explicit(counter, memory_order_relaxed);

	atomic_store_explicit(counter, n + by, memory_order_relaxed);
}

static inline void dr_leave(struct dr_tcache *t)
{
	/* Release: what was done inside, to a stopper. */
	atomic_store_explicit(&t->busy, 0, memory_order_release);
}

static inline void dr_enter_mark(struct dr_tcache *t)
{
	atomic_store_explicit(&t->busy, 1, memory_order_relaxed);
	/* Barrier A: B makes it a real one when it matters. */
	atomic_signal_fence(memory_order_seq_cst);
}

/* False, and not inside: stopped, or a mode that has a longer way. */
static inline bool dr_enter(struct dr_tcache *t)
{
	dr_enter_mark(t);
	/* Acquire: what the last stopper did. */
	if (__builtin_expect(!atomic_load_explicit(&t->flags, memory_order_acquire), 1))
		return true;
	dr_leave(t);
	return false;
}

/* The order of a power of two; DR_ORDERS or more for what is below a granule or above a chunk. */
static inline unsigned dr_order_of(const struct dr_cache *c, uint64_t len)
{
	return (unsigned)__builtin_ctzll(len | UINT64_C(1) << 63) - c->granule_shift;
}

/* An address for @len bytes, a power of two, from the top zone. 0: not this way. */
static inline uint64_t dr_take_fast(const struct dr_cache *c, uint64_t len)
{
	struct dr_tcache *t = dr_this_cache(c);
	unsigned order = dr_order_of(c, len), left;
	struct dr_slot *slot;
	struct dr_entry *e;
	uint64_t iova = 0;

	if (__builtin_expect(order >= DR_ORDERS || !t || !dr_enter(t), 0))
		return 0;
	slot = &t->slot[0][order];
	left = slot->loaded->count;
	if (__builtin_expect(left, 1)) {
		e = &slot->loaded->entry[--left];
		slot->loaded->count = (uint16_t)left;
		iova = e->iova;
		atomic_store_explicit(e->state, (uint8_t)(DR_SLOT_LIVE | order),
				      memory_order_relaxed);
		dr_tally(&slot->live, 1);
	}
	dr_leave(t);
	return iova;
}

/* False: not this way. */
static inline bool dr_give_fast(const struct dr_cache *c, uint64_t iova, uint64_t len)
{
	uint64_t at = (iova - c->base) >> c->granule_shift;
	uint64_t root = at / DR_CHUNK_GRANULES / 512;
	unsigned order = dr_order_of(c, len), count;
	_Atomic uint8_t *state;
	struct dr_tcache *t;
	struct dr_slot *slot;
	struct dr_mag *mag;
	struct dr_gig *gig;
	uintptr_t chunk;
	bool live;

	if (__builtin_expect((len & (len - 1)) || order >= DR_ORDERS || iova & (len - 1) ||
			     iova < c->zone[0].first || root >= c->n_roots, 0))
		return false;
	/* Acquire: the leaf and the chunk it names are complete. */
	gig = atomic_load_explicit(&c->root[root], memory_order_acquire);
	if (__builtin_expect(!gig, 0))
		return false;
	chunk = atomic_load_explicit(&gig->entry[at / DR_CHUNK_GRANULES % 512],
				     memory_order_acquire);
	t = dr_this_cache(c);
	if (__builtin_expect(!chunk || !t || !dr_enter(t), 0))
		return false;
	chunk &= ~(uintptr_t)(sizeof(struct dr_chunk) - 1);
	state = &((struct dr_chunk *)chunk)->state[at % DR_CHUNK_GRANULES];
	slot = &t->slot[0][order];
	mag = slot->loaded;
	count = mag->count;
	/* The byte knows the order, and that an address begins here. */
	live = atomic_load_explicit(state, memory_order_relaxed) == (DR_SLOT_LIVE | order) &&
	       count < mag->cap;
	if (__builtin_expect(live, 1)) {
		atomic_store_explicit(state, DR_SLOT_FREE, memory_order_relaxed);
		mag->entry[count].iova = iova;
		mag->entry[count].state = state;
		mag->count = (uint16_t)(count + 1);
		dr_tally(&slot->live, -1);
	}
	dr_leave(t);
	return live;
}

#endif
