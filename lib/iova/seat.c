// SPDX-License-Identifier: BSD-2-Clause
/*
 * A thread's cache: how it comes to be, gets magazines, and is handed back when the thread exits.
 * What is in it is explained in cache.c.
 *
 * 1. A cache belongs to a thread's number (base/thread.h) and is made by the number's first take;
 *    the next thread with the number finds it empty and uses it on. A thread that only gives
 *    must not allocate: it adopts one spare cache that takes keep ready, and where there is none it
 *    gives with the lock, straight to the chunk. Making and adopting hold the lock, so nobody who
 *    has stopped all caches meets a new one.
 *
 * 2. Sizes that are no powers of two share a few seats where they are not rounded up (cache.c, 9).
 *    A seat is keyed by size; a size that finds it taken goes to the tree, and takes the seat over
 *    once its holder has had more misses than refills. So one odd size is cached as any other, and
 *    a mix of all of them is O(log n).
 *
 * 3. Growth (dr_slot_grow_locked) needs: magazines, from the depot or new; one more empty magazine
 *    in the depot where there are not enough for all that is out to come back at this size, so
 *    their number is bounded by the population; the population rule (depot.c); then slots
 *    (chunk.c).
 *
 * 4. Thread exit. The number's exit hook visits every open space: full magazines go to the depot,
 *    others are poured into their chunks, owned chunks are left to others, and the quota ends. The
 *    list of open spaces has its own lock, taken before a space's.
 */
#include <pthread.h>
#include <sched.h>

#include "base/hooks.h"
#include "iova/cache.h"
#include "iova/pieces.h"
#include "iova/state.h"

/* Misses more than refills after which another size gets a seat: a burst of strangers is none. */
#define SEAT_CREDIT 16u

static pthread_mutex_t spaces_lock = PTHREAD_MUTEX_INITIALIZER;
static struct dray_iova_space *spaces; /* spaces_lock; chained by cache->next_space */
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void visit_exit(unsigned number)
{
	pthread_mutex_lock(&spaces_lock);
	for (struct dray_iova_space *s = spaces; s; s = s->cache->next_space) {
		struct dr_tcache *t;

		pthread_mutex_lock(&s->lock);
		t = dr_tcache_at(s->cache, number);
		if (t) {
			dr_tcache_empty_locked(s, t);
			dr_chunks_settle_locked(s);
		}
		pthread_mutex_unlock(&s->lock);
	}
	pthread_mutex_unlock(&spaces_lock);
}

static void hook_exit(void)
{
	dr_thread_on_exit(visit_exit);
}

void dr_spaces_add(struct dray_iova_space *s)
{
	pthread_once(&once, hook_exit);
	pthread_mutex_lock(&spaces_lock);
	s->cache->next_space = spaces;
	spaces = s;
	pthread_mutex_unlock(&spaces_lock);
}

void dr_spaces_remove(struct dray_iova_space *s)
{
	struct dray_iova_space **at;

	pthread_mutex_lock(&spaces_lock);
	for (at = &spaces; *at != s; at = &(*at)->cache->next_space)
		;
	*at = s->cache->next_space;
	pthread_mutex_unlock(&spaces_lock);
}

static void init_slot(struct dr_slot *slot)
{
	slot->low = dr_mag_none.iova;
	slot->top = dr_mag_none.iova;
	slot->high = dr_mag_none.iova;
	slot->prev = &dr_mag_none;
}

static struct dr_tcache *new_tcache(const struct dr_cache *c)
{
	struct dr_tcache *t = dr_hooks->alloc(sizeof(*t), _Alignof(struct dr_tcache));

	if (!t)
		return NULL;
	t->flags = c->flags;
	if (c->flags & DR_DEBUG) {
		t->ring = dr_alloc(sizeof(*t->ring));
		if (!t->ring) {
			dr_free(t);
			return NULL;
		}
	}
	for (unsigned k = 0; k < sizeof(t->hot) / sizeof(t->hot[0]); k++)
		init_slot(&t->hot[k]);
	for (unsigned k = 0; k < DR_ZONES * DR_CLASSES; k++)
		init_slot(&t->slot[k / DR_CLASSES][k % DR_CLASSES]);
	return t;
}

static void publish(struct dr_cache *c, unsigned number, struct dr_tcache *t)
{
	/* Release: the cache is complete for who counts, and for who stops it. */
	atomic_store_explicit(&c->by_thread[number + 1], t, memory_order_release);
	if (number >= c->threads)
		c->threads = number + 1;
}

struct dr_tcache *dr_tcache_get_locked(struct dr_cache *c, unsigned number)
{
	struct dr_tcache *t;

	if (number >= DR_THREADS)
		return NULL;
	t = dr_tcache_at(c, number);
	if (!t) {
		t = new_tcache(c);
		if (t)
			publish(c, number, t);
	}
	if (!c->spare)
		c->spare = new_tcache(c);
	return t;
}

struct dr_tcache *dr_tcache_adopt_locked(struct dr_cache *c, unsigned number)
{
	struct dr_tcache *t;

	if (number >= DR_THREADS)
		return NULL;
	t = dr_tcache_at(c, number);
	if (!t && c->spare) {
		t = c->spare;
		c->spare = NULL;
		publish(c, number, t);
	}
	return t;
}

void dr_slot_attach(struct dr_cache *c, struct dr_slot *slot, unsigned n)
{
	slot->cap = dr_mag_cap(n);
	slot->credit = SEAT_CREDIT;
	slot->len = n & (n - 1) ? 0 : (uint64_t)n << c->granule_shift;
	atomic_store_explicit(&slot->n, (uint16_t)n, memory_order_relaxed);
	atomic_fetch_add_explicit(&c->quota_granules, 2u * slot->cap * n, memory_order_relaxed);
}

void dr_slot_load(struct dr_slot *slot, struct dr_mag *mag)
{
	uint16_t seq = atomic_load_explicit(&slot->seq, memory_order_relaxed);
	unsigned count = dr_slot_count(slot);
	struct dr_mag *old = dr_slot_mag(slot);
	int64_t sum = atomic_load_explicit(&slot->sum, memory_order_relaxed);

	atomic_store_explicit(&slot->seq, (uint16_t)(seq + 1), memory_order_relaxed);
	/* Release: who sees what follows sees that seq is odd. */
	atomic_thread_fence(memory_order_release);
	if (old != &dr_mag_none && old != mag)
		old->count = (uint16_t)count;
	atomic_store_explicit(&slot->low, mag->iova, memory_order_relaxed);
	dr_slot_set_top(slot, mag->iova + mag->count);
	slot->high = mag->iova + mag->cap;
	atomic_store_explicit(&slot->sum, sum - count + mag->count, memory_order_relaxed);
	/* Release: who sees that seq is even sees what went before. */
	atomic_store_explicit(&slot->seq, (uint16_t)(seq + 2), memory_order_release);
}

int64_t dr_slot_used(const struct dr_slot *slot)
{
	for (;;) {
		/* Acquire: pairs with the release store. */
		uint16_t seq = atomic_load_explicit(&slot->seq, memory_order_acquire);
		int64_t used = atomic_load_explicit(&slot->sum, memory_order_relaxed) -
			       (dr_slot_top(slot) - dr_slot_low(slot));

		/* Acquire: pairs with the release fence. */
		atomic_thread_fence(memory_order_acquire);
		if (!(seq & 1) && atomic_load_explicit(&slot->seq, memory_order_relaxed) == seq)
			return used;
		/* A few instructions, unless the scheduler has other plans. */
		sched_yield();
	}
}

/* A magazine out of a slot: full ones keep, others are poured. */
static void put_mag(struct dr_cache *c, unsigned zone, unsigned class, struct dr_mag *mag)
{
	if (mag == &dr_mag_none)
		return;
	if (class < DR_ORDERS && mag->count && mag->count == mag->cap) {
		dr_stack_push(c, &c->full[zone][class], mag);
		return;
	}
	c->out_granules -= dr_mag_pour(c, mag);
	dr_stack_push(c, &c->empty, mag);
}

void dr_slot_detach_locked(struct dray_iova_space *s, struct dr_tcache *t, unsigned zone,
			   unsigned class)
{
	struct dr_cache *c = s->cache;
	struct dr_slot *slot = dr_slot_of(c, t, zone, class);
	struct dr_mag *loaded = dr_slot_mag(slot);
	int64_t used;

	if (!slot->n)
		return;
	dr_slot_load(slot, &dr_mag_none);
	put_mag(c, zone, class, loaded);
	put_mag(c, zone, class, slot->prev);
	slot->prev = &dr_mag_none;
	if (slot->cur)
		dr_chunk_disown_locked(s, slot->cur);
	slot->cur = NULL;
	atomic_fetch_sub_explicit(&c->quota_granules, 2u * slot->cap * slot->n,
				  memory_order_relaxed);
	used = dr_slot_used(slot);
	t->used_ranges += used;
	t->used_granules += used * slot->n;
	slot->sum = 0;
	slot->n = 0;
	slot->len = 0;
	slot->cap = 0;
}

void dr_tcache_empty_locked(struct dray_iova_space *s, struct dr_tcache *t)
{
	struct dr_cache *c = s->cache;

	for (unsigned i = 0; t->ring && i < DR_RING_ENTRIES; i++) {
		uint64_t iova = t->ring->iova[i];

		if (!iova)
			continue;
		t->ring->iova[i] = 0;
		c->out_granules -= dr_chunk_at(c, iova)->n;
		dr_chunk_return(c, iova);
	}
	for (unsigned z = 0; z < c->zones; z++)
		for (unsigned k = 0; k < DR_CLASSES; k++)
			dr_slot_detach_locked(s, t, z, k);
}

struct dr_slot *dr_slot_get_locked(struct dray_iova_space *s, struct dr_tcache *t, unsigned zone,
				   unsigned n)
{
	unsigned class = dr_class_of(n);
	struct dr_slot *slot = dr_slot_of(s->cache, t, zone, class);

	if (slot->n == n)
		return slot;
	if (slot->n) {
		if (slot->credit) {
			slot->credit--;
			return NULL;
		}
		dr_slot_detach_locked(s, t, zone, class);
	}
	dr_slot_attach(s->cache, slot, n);
	return slot;
}

/* An empty magazine where the slot has none. */
static struct dr_mag *mag_for(struct dr_cache *c, const struct dr_slot *slot, struct dr_mag *mag)
{
	struct dr_mag *got = mag == &dr_mag_none ? dr_mag_get_locked(c) : NULL;

	if (!got)
		return mag;
	got->count = 0;
	got->cap = slot->cap;
	return got;
}

bool dr_slot_grow_locked(struct dray_iova_space *s, unsigned zone, struct dr_slot *slot)
{
	struct dr_cache *c = s->cache;
	struct dr_mag *loaded = mag_for(c, slot, dr_slot_mag(slot));

	if (loaded != dr_slot_mag(slot))
		dr_slot_load(slot, loaded);
	slot->prev = mag_for(c, slot, slot->prev);
	if (loaded == &dr_mag_none)
		return false;
	dr_mag_stock_locked(c, (uint64_t)slot->cap * slot->n);
	dr_depot_trim_locked(s, (uint64_t)slot->cap * slot->n);
	if (!dr_chunks_fill_locked(s, zone, slot))
		return false;
	if (slot->credit < SEAT_CREDIT)
		slot->credit++;
	return true;
}
