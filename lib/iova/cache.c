// SPDX-License-Identifier: BSD-2-Clause
/*
 * IOVA caches: theory
 *
 * 1. Concepts. In front of a space's tree (space.c), which knows every address and takes one lock
 *    for every call, stand caches that know a few and take none.
 *
 *      magazine   a stack of free addresses of one size (Bonwick). A thread has two per size and
 *                 zone, loaded and previous; it exchanges only after both are empty or both full,
 *                 so a load that swings around one edge exchanges nothing.
 *      depot      magazines that no thread holds, full or empty (depot.c).
 *      chunk      one leaf page table's worth of addresses, cut into slots of one size; a piece of
 *                 the tree. Magazines are filled from a chunk that the thread owns (chunk.c).
 *      zone       addresses by what devices reach: 32 bits, 39 bits, more. A chunk lies in one,
 *                 a magazine holds one's addresses. A request is served from the highest zone
 *                 all of which it may have, so wide requests leave low addresses alone until
 *                 theirs are used up; a give goes by the address, so low ones come home. A limit
 *                 inside the lowest zone is the tree's to serve.
 *      size       powers of two from a granule to a chunk, aligned to themselves; other sizes up
 *                 to a chunk that cut it well sit in a few seats per thread (seat.c). What is left
 *                 (larger, phased, oddly aligned, bounded) is the tree's: O(log n), exact size.
 *
 *      take   loaded > previous > depot > own chunk > listed chunk > new chunk > lower zone > tree
 *             > everything drained back to the tree (drain.c) > -ENOSPC
 *      give   loaded > previous > depot > the chunk itself
 *
 * 2. What is recorded. One byte for each granule says whether an address begins there and is live,
 *    and the chunk says how long it is, in the same word that leads to it. A give checks both
 *    before anything else, so a wrong base, a wrong length and a second give change nothing: they
 *    end in the tree, which has no such range, and are counted there. The byte is written plainly,
 *    by who owns the address. So two racing gives of one address may both pass; in debug mode the
 *    byte changes by compare-and-swap and one of them fails, and an address rests in a ring per
 *    thread before it is handed out again, so that use after free meets nobody.
 *
 * 3. Memory. All of it comes in take. For every magazine of slots that leaves a chunk an empty one
 *    is laid ready in the depot; where they run out all the same, and in threads without a cache, a
 *    give goes to the chunk, which is one fetch_or and needs nothing. Records, leaves and magazines
 *    stay until close, so no reader ever meets freed memory, and no grace period is needed.
 *
 * 4. Who may touch a thread's cache. Its thread is inside between enter() and leave():
 *
 *      thread     busy = 1;  barrier A;  if (!stopped) { take or give }  busy = 0 (release)
 *      stopper    stopped = 1;  barrier B;  wait until !busy (acquire); …; stopped = 0 (release)
 *
 *    A orders the store to busy before the load of stopped, B the store to stopped before the load
 *    of busy: at least one of them sees the other. B is membarrier(PRIVATE_EXPEDITED), which puts a
 *    full barrier into every running thread of the process, so A need only hold the compiler. Where
 *    the kernel has no membarrier A is an exchange and B the store's own order (chosen at open).
 *    Busy's release and the stopper's acquire hand the cache over; stopped's release and the
 *    thread's acquire hand it back. Inside, a thread takes no lock, so a stopper, who has the
 *    space's lock, waits for a few instructions or for the scheduler. A thread that holds the
 *    space's lock may use its own cache without entering: stoppers hold it too. That is the slow
 *    path, and what a thread that finds itself stopped does.
 *
 * 5. Who guards what: the headers say it field by field. In short:
 *
 *      thread's cache          the thread inside it, or the lock (4)
 *      magazine                who popped it; in a depot stack nobody but `next` (depot.c)
 *      state byte of a slot    who took it, until given; while free who holds the magazine; in the
 *                              chunk nobody
 *      avail of a chunk        fetch_or by all, bits cleared with the lock
 *      the rest of a chunk     the lock; n and slots stand still while a slot is out
 *      radix                   written with the lock, read by all
 *
 * 6. Two threads, what each does:
 *
 *      take × take          different slots: a slot is in one magazine, or in its chunk, and
 *                           chunks are drawn from with the lock
 *      take × give          the address goes from one to the other through one magazine (release
 *                           and acquire of a depot head) or one chunk (fetch_or, fetch_and), so all
 *                           that its last holder did is seen by its next
 *      give × give          different slots; the same one: 2.
 *      take, give × growth  growth has the lock, touches its own thread's cache, depot, chunks
 *      take, give × stop    4.
 *      give × split         with every cache stopped: the give finds the chunk before or the tree
 *                           after
 *      give × quarantine    of one address: the caller's error, one of them wins or both are the
 *                           same as one
 *      give × retire        never of one chunk: a slot is out
 *      is_live × any        reads one byte; the tree decides where it says no
 *      reserve, fixed, usable × take   the lock, and a chunk in the way is drained and split first
 *                           (drain.c), so what they see is what the tree alone would say
 *      exit × any           the exiting thread's own lock-holding call
 *      adopt × stop         adopting takes the lock
 *      close × any          never: the owner's duty; close × exit: the list of spaces has a lock
 *
 * 7. Population (depot.c, 4) is at most 1.25 times peak and quota, whatever the load; the quota is
 *    two magazines for each size and zone that a thread uses, 512 granules each up to that size.
 *
 * 8. Failures. No memory for a cache, a magazine, a record: the tree serves. No room in the tree:
 *    drain once, then look between the live slots of chunks, then -ENOSPC; so it is returned only
 *    where the tree alone would return it too.
 */
#include "iova/cache.h"

#include <errno.h>

#include "base/bits.h"
#include "base/err.h"
#include "base/hooks.h"
#include "iova/fast.h"
#include "iova/pieces.h"

/* What the radix spans: all that four-level page tables translate. */
#define REACH ((uint64_t)1 << 48)

/* Into this thread's cache. False: somebody has stopped it; take the lock instead. */
static bool enter(struct dr_tcache *t)
{
	if (atomic_load_explicit(&t->flags, memory_order_relaxed) & DR_FENCED)
		/* Sequentially consistent: barrier A where B is an ordinary one. */
		atomic_exchange_explicit(&t->busy, 1, memory_order_seq_cst);
	else
		dr_enter_mark(t);
	/* As in dr_enter(); sequentially consistent for the exchange above. */
	if (!(atomic_load_explicit(&t->flags, memory_order_seq_cst) & DR_STOPPED))
		return true;
	dr_leave(t);
	return false;
}

/* The byte of a slot that is the caller's, from one value to another; false: it was not @from. */
static bool turn(const struct dr_cache *c, _Atomic uint8_t *state, uint8_t from, uint8_t to)
{
	if (c->flags & DR_DEBUG)
		return atomic_compare_exchange_strong_explicit(state, &from, to,
							       memory_order_relaxed,
							       memory_order_relaxed);
	if (atomic_load_explicit(state, memory_order_relaxed) != from)
		return false;
	atomic_store_explicit(state, to, memory_order_relaxed);
	return true;
}

static uint8_t live_byte(uint64_t n)
{
	return (uint8_t)(DR_SLOT_LIVE | (n & (n - 1) ? DR_SLOT_ODD : dr_class_of(n)));
}

static uint16_t slot_n(const struct dr_slot *slot)
{
	return atomic_load_explicit(&slot->n, memory_order_relaxed);
}

/* Inside: a free address of n granules, which is live now. 0: no magazine has one. */
static uint64_t pop(struct dr_cache *c, struct dr_tcache *t, unsigned zone, unsigned n)
{
	unsigned class = dr_class_of(n);
	struct dr_slot *slot = &t->slot[zone][class];
	struct dr_mag *mag;
	struct dr_entry e;

	if (slot_n(slot) != n)
		return 0;
	if (!slot->loaded->count) {
		mag = slot->prev;
		if (!mag->count) {
			mag = class < DR_ORDERS ? dr_stack_pop(c, &c->full[zone][class]) : NULL;
			if (!mag)
				return 0;
			if (slot->prev != &dr_mag_none)
				dr_stack_push(c, &c->empty, slot->prev);
		}
		slot->prev = slot->loaded;
		slot->loaded = mag;
	}
	mag = slot->loaded;
	e = mag->entry[--mag->count];
	turn(c, e.state, DR_SLOT_FREE, live_byte(n));
	dr_tally(&slot->live, 1);
	return e.iova;
}

/*
 * The highest zone all of which lies at or below @last, from the top; the top one also for limits
 * above the window. c->zones: none.
 */
static unsigned zone_below(const struct dr_cache *c, uint64_t last)
{
	unsigned z = 0;

	while (z < c->zones && c->zone[z].last > last)
		z++;
	return z;
}

/* May any slot of n granules serve it? What is malformed is for the tree to say. */
static bool is_cacheable(const struct dr_cache *c, const struct dr_iova_request *req, uint64_t n)
{
	uint64_t natural = n & (n - 1) ? c->granule_mask + 1 : req->len;

	if (!dr_cache_has_size(n) || req->phase || req->len & c->granule_mask)
		return false;
	if (req->align & (req->align - 1) || req->align > natural ||
	    req->align <= c->granule_mask)
		return false;
	/* A power of two aligned to itself crosses no multiple of a larger one. */
	return !req->boundary_mask || (natural == req->len && req->boundary_mask >= req->len - 1 &&
				       !(req->boundary_mask & (req->boundary_mask + 1)));
}

/* With the lock: grow. 0: no cache has one, and none can. */
static uint64_t take_slow(struct dray_iova_space *s, unsigned n, unsigned zone)
{
	struct dr_cache *c = s->cache;
	unsigned number = dr_thread_number();
	struct dr_tcache *t;
	uint64_t iova = 0;

	pthread_mutex_lock(&s->lock);
	t = dr_tcache_get_locked(c, number);
	for (; t && zone < c->zones && !iova; zone++) {
		struct dr_slot *slot = dr_slot_get_locked(s, t, zone, n);

		if (!slot)
			break;
		iova = pop(c, t, zone, n);
		if (!iova && dr_slot_grow_locked(s, zone, slot))
			iova = pop(c, t, zone, n);
	}
	pthread_mutex_unlock(&s->lock);
	return iova;
}

/* What the short way did not serve. */
static __attribute__((noinline)) int take_on(struct dray_iova_space *s,
					     const struct dr_iova_request *req,
					     dray_iova_t *ret_iova)
{
	struct dr_cache *c = s->cache;
	uint64_t n = req->len >> c->granule_shift, iova = 0;
	unsigned zone = zone_below(c, req->last);
	struct dr_tcache *t = dr_this_cache(c);

	if (zone == c->zones || !is_cacheable(c, req, n))
		return dr_iova_take_plain(s, req, ret_iova);
	if (t && enter(t)) {
		iova = pop(c, t, zone, (unsigned)n);
		dr_leave(t);
	}
	if (!iova)
		iova = take_slow(s, (unsigned)n, zone);
	if (!iova)
		return dr_iova_take_plain(s, req, ret_iova);
	*ret_iova = iova;
	return 0;
}

int dr_iova_take(struct dray_iova_space *s, const struct dr_iova_request *req,
		 dray_iova_t *ret_iova)
{
	const struct dr_cache *c = s->cache;
	const uint64_t len = req->len, align = req->align;
	uint64_t iova;

	if (!c)
		return dr_iova_take_plain(s, req, ret_iova);
	/* A power of two at no more than its natural alignment, without a limit that matters. */
	if (__builtin_expect(!((len & (len - 1)) | (align & (align - 1)) | req->phase |
			       req->boundary_mask) &&
			     align <= len && align > c->granule_mask &&
			     req->last >= c->zone[0].last, 1)) {
		iova = dr_take_fast(c, len);
		if (__builtin_expect(iova, 1)) {
			*ret_iova = iova;
			return 0;
		}
	}
	return take_on(s, req, ret_iova);
}

/* Inside: a free address into this thread's magazines, or the depot's, or back to its chunk. */
static void push(struct dr_cache *c, struct dr_tcache *t, unsigned n, struct dr_entry e)
{
	unsigned zone = dr_zone_of(c, e.iova), class = dr_class_of(n);
	struct dr_slot *slot = &t->slot[zone][class];
	struct dr_mag *mag;

	if (!slot_n(slot))
		dr_slot_attach(c, slot, n);
	if (slot_n(slot) == n && slot->loaded->count == slot->loaded->cap) {
		mag = slot->prev;
		if (mag->count == mag->cap) {
			mag = NULL;
			if (class < DR_ORDERS || slot->prev == &dr_mag_none)
				mag = dr_stack_pop(c, &c->empty);
			if (mag && slot->prev != &dr_mag_none)
				dr_stack_push(c, &c->full[zone][class], slot->prev);
			if (mag)
				mag->cap = slot->cap;
		}
		if (mag) {
			slot->prev = slot->loaded;
			slot->loaded = mag;
		}
	}
	mag = slot->loaded;
	if (slot_n(slot) == n && mag->count < mag->cap) {
		mag->entry[mag->count++] = e;
	} else {
		dr_tally((_Atomic int64_t *)&t->back_granules, n);
		dr_chunk_return(c, e);
	}
}

/* Debug mode: the address rests, an older one goes on. */
static struct dr_entry rest(struct dr_ring *ring, struct dr_entry e)
{
	struct dr_entry old = ring->entry[ring->at];

	ring->entry[ring->at] = e;
	ring->at = (ring->at + 1) % DR_RING_ENTRIES;
	return old;
}

/* Inside: take the address back. False: it is not live. */
static bool give_inside(struct dr_cache *c, struct dr_tcache *t, unsigned n, struct dr_entry e)
{
	struct dr_slot *slot = &t->slot[dr_zone_of(c, e.iova)][dr_class_of(n)];

	if (!turn(c, e.state, live_byte(n), DR_SLOT_FREE))
		return false;
	if (slot_n(slot) == n) {
		dr_tally(&slot->live, -1);
	} else {
		dr_tally(&t->live_ranges, -1);
		dr_tally(&t->live_granules, -(int64_t)n);
	}
	if (t->ring)
		e = rest(t->ring, e);
	if (e.state)
		push(c, t, dr_chunk_of(e.state)->n, e);
	return true;
}

/* With the lock: a thread that has no cache yet, that cannot have one, or that is stopped. */
static bool give_slow(struct dray_iova_space *s, dray_iova_t iova, size_t len)
{
	struct dr_cache *c = s->cache;
	unsigned number = dr_thread_number(), n = (unsigned)(len >> c->granule_shift);
	struct dr_entry e = {.iova = iova};
	struct dr_tcache *t;
	bool live = false;

	pthread_mutex_lock(&s->lock);
	t = dr_tcache_adopt_locked(c, number);
	/* Again: it may have been split. */
	e.state = dr_chunk_slot(c, iova, len);
	if (e.state && t) {
		live = give_inside(c, t, n, e);
	} else if (e.state && turn(c, e.state, live_byte(n), DR_SLOT_FREE)) {
		live = true;
		c->live_ranges--;
		c->live_granules -= n;
		c->out_granules -= n;
		dr_chunk_return(c, e);
	}
	pthread_mutex_unlock(&s->lock);
	return live;
}

/* What the short way did not serve. */
static __attribute__((noinline)) bool give_on(struct dray_iova_space *s, dray_iova_t iova,
					      size_t len)
{
	struct dr_cache *c = s->cache;
	struct dr_tcache *t = dr_this_cache(c);
	struct dr_entry e = {iova, dr_chunk_slot(c, iova, len)};
	bool live;

	if (!e.state)
		return dr_iova_give_plain(s, iova, len);
	if (t && enter(t)) {
		/*
		 * The way to the byte was read before entering. For the holder of a live address
		 * it leads there still, or, if the chunk was split meanwhile, to a byte that says
		 * no.
		 */
		live = give_inside(c, t, (unsigned)(len >> c->granule_shift), e);
		dr_leave(t);
	} else {
		live = give_slow(s, iova, len);
	}
	return live || dr_iova_give_plain(s, iova, len);
}

bool dr_iova_give(struct dray_iova_space *s, dray_iova_t iova, size_t len)
{
	if (!s->cache)
		return dr_iova_give_plain(s, iova, len);
	if (__builtin_expect(dr_give_fast(s->cache, iova, len), 1))
		return true;
	return give_on(s, iova, len);
}

static int open_radix(struct dr_cache *c, const struct dray_iova_space *s)
{
	uint64_t chunk = UINT64_C(1) << c->chunk_shift;
	uint64_t reach = s->window.last - dr_align_down(s->window.first, chunk);

	c->base = dr_align_down(s->window.first, chunk);
	if (reach > REACH - 1)
		reach = REACH - 1;
	c->n_chunks = (reach >> c->chunk_shift) + 1;
	c->n_roots = (c->n_chunks + 511) / 512;
	c->root = dr_alloc(c->n_roots * sizeof(*c->root));
	return c->root ? 0 : -ENOMEM;
}

static void open_zones(struct dr_cache *c, const struct dray_iova_space *s)
{
	static const uint64_t bounds[DR_ZONES] = {
		((uint64_t)1 << 32) - 1, ((uint64_t)1 << 39) - 1, UINT64_MAX,
	};
	uint64_t first = s->window.first > s->granule ? s->window.first : s->granule;

	/* A window that has nothing but the granule at 0 has no zone. */
	for (unsigned i = DR_ZONES; i-- > 0 && first <= s->window.last;) {
		uint64_t last = bounds[i] < s->window.last ? bounds[i] : s->window.last;
		uint64_t lowest = i ? bounds[i - 1] + 1 : 0;

		if (lowest > last || last < first)
			continue;
		c->zone[c->zones++] =
			(struct dray_range){lowest > first ? lowest : first, last};
	}
}

int dr_cache_open(struct dray_iova_space *s, bool debug)
{
	struct dr_cache *c = dr_hooks->alloc(sizeof(*c), _Alignof(struct dr_cache));

	if (!c)
		return dr_fail(ENOMEM, "no memory for an IOVA space's caches; free some memory");
	c->flags = (dr_stop_is_remote() ? 0 : DR_FENCED) | (debug ? DR_DEBUG : 0);
	c->granule_mask = s->granule - 1;
	c->granule_shift = dr_log2(s->granule);
	c->chunk_shift = c->granule_shift + dr_log2(DR_CHUNK_GRANULES);
	open_zones(c, s);
	if (c->chunk_shift > 47 || open_radix(c, s)) {
		dr_free(c);
		return dr_fail(ENOMEM, "no memory for an IOVA space's caches; free some memory");
	}
	s->cache = c;
	dr_spaces_add(s);
	return 0;
}

void dr_cache_close(struct dray_iova_space *s)
{
	struct dr_cache *c = s->cache;
	struct dr_chunk *chunk;

	if (!c)
		return;
	dr_spaces_remove(s);
	/* From the newest to the oldest: the first of a slab is its last to be seen. */
	while ((chunk = c->records)) {
		c->records = chunk->next_record;
		if (chunk->begins_slab)
			dr_free(chunk);
	}
	for (uint64_t i = 0; i < c->n_roots; i++)
		dr_free(atomic_load_explicit(&c->root[i], memory_order_relaxed));
	dr_free(c->root);
	for (unsigned i = 0; i < DR_MAG_SEGMENTS; i++)
		dr_free(atomic_load_explicit(&c->seg[i], memory_order_relaxed));
	for (unsigned i = 0; i < DR_THREADS; i++) {
		struct dr_tcache *t = atomic_load_explicit(&c->by_thread[i], memory_order_relaxed);

		if (t)
			dr_free(t->ring);
		dr_free(t);
	}
	if (c->spare)
		dr_free(c->spare->ring);
	dr_free(c->spare);
	dr_free(c);
	s->cache = NULL;
}
