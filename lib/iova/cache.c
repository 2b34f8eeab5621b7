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
 *      zone       addresses by what devices reach: 32 bits, 39 bits, more (as far as the radix
 *                 goes). A chunk lies in one, a magazine holds one's addresses. A request is
 *                 served from the highest zone all of which it may have, so wide requests leave
 *                 low addresses alone until theirs are used up; a give goes by the address, so low
 *                 ones come home. A limit inside the lowest zone is the tree's to serve.
 *      size       powers of two from a granule to a chunk, aligned to themselves. Other sizes up
 *                 to a chunk: paragraph 9. What is left (larger, phased, oddly aligned, bounded)
 *                 is the tree's: O(log n), exact size.
 *
 *      take   loaded > previous > depot > own chunk > listed chunk > new chunk > lower zone > tree
 *             > everything drained back to the tree (drain.c) > -ENOSPC; sizes that are no powers
 *             of two pass by the lower zones
 *      give   loaded > previous > depot > the chunk itself (give.c; so too what was retired)
 *
 * 2. What is recorded. One byte for each granule says whether an address begins there, is live or
 *    retired, and log2 of its size, or that the size is an odd one. Then either it fills its slot,
 *    and the chunk says how long that is, in the same word that leads to it; or it is shorter, and
 *    the two bytes behind say how long it is: a slot that rounds a size up has four granules or
 *    more, and so bytes that nothing else uses. They are 0 but while the slot has such a range.
 *    Where the bytes lie is in chunk.c, 4. A give checks them before anything else, so a wrong base,
 *    a wrong length and a second give change nothing: they end in the tree, which has no such
 *    range, and are counted there. The bytes are written plainly, by who owns the address. So two
 *    racing gives of one address may both pass; in debug mode the first byte changes by
 *    compare-and-swap and one of them fails, and an address rests in a ring per thread before it is
 *    handed out again, so that use after free meets nobody.
 *
 * 3. Memory. All of it comes in take. For every magazine of slots that leaves a chunk an empty one
 *    is laid ready in the depot; where they run out all the same, and in threads without a cache, a
 *    give goes to the chunk, which is one fetch_or and needs nothing. Records, leaves and magazines
 *    stay until close, so no reader ever meets freed memory, and no grace period is needed.
 *
 * 4. Who may touch a thread's cache. Its thread is inside between enter and leave:
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
 *      state byte of a slot,   who took it, until given, also while it is retired; while free who
 *      and two behind it       holds the magazine; in the chunk nobody; while held (hold.c) or
 *                              quarantined the lock
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
 *      give × dissolve      never of one chunk: a slot is out
 *      retire × any         as give, from inside the cache; give_retired likewise
 *      hold × take, give    the lock, and bits cleared as in growth: of a free slot either a
 *                           magazine or the flusher has it
 *      is_live × any        reads the bytes; the tree decides where they say no
 *      reserve, fixed, usable × take   the lock, and a chunk in the way is drained and split first
 *                           (drain.c), so what they see is what the tree alone would say
 *      exit × any           the exiting thread's own lock-holding call
 *      adopt × stop         adopting takes the lock
 *      close × any          never: the owner's duty; close × exit: the list of spaces has a lock
 *
 * 7. Population (depot.c, 4) is at most 1.25 times peak and quota, whatever the load; the quota is
 *    two magazines for each size and zone that a thread uses, 512 granules each up to that size.
 *    What is live counts there as the slots that it has, which is less than twice its length.
 *
 * 8. Failures. No memory for a cache, a magazine, a record: the tree serves. No room in the tree:
 *    drain once, then look between the live slots of chunks, then -ENOSPC; so it is returned only
 *    where the tree alone would return it too.
 *
 * 9. Sizes that are no powers of two. Addresses above 4 GiB are plentiful, those below are all that
 *    some devices have. So above, n granules get a slot of the next power of two: they share its
 *    magazines and its quota, cost no memory and less than twice the addresses, hence up to twice
 *    the leaf tables of these ranges, and may be aligned up to that power. Below, a slot is cut
 *    exactly where a chunk has room for little else than these slots, and sits in one of a few
 *    seats per thread (seat.c); the tree serves the rest.
 *
 *    A zone above rounds only while chunks have no more than a part of it (DR_ROUND_PART), else it
 *    does as the lowest. When the last range was rounded up, all that ranges leave of their slots
 *    lay in those chunks, less than half of each, and only rounding adds to it: so never more than
 *    a 32nd of a zone is lost, whatever came before. Nor is that lost to who asks for it: a
 *    reservation, a fixed address, or a request for which nothing else is left takes the chunk
 *    apart (drain.c), and the range's piece in the tree has the range's length.
 *
 *    A flusher cannot hold what a range leaves of its slot (hold.c), so neighbours of such sizes
 *    are unmapped one by one.
 */
#include "iova/cache.h"

#include <errno.h>
#include <sys/mman.h>

#include "base/bits.h"
#include "base/err.h"
#include "base/hooks.h"
#include "iova/pieces.h"
#include "iova/zone.h"

struct dr_tcache dr_tcache_none = {.flags = DR_STOPPED};

/* What the radix spans: all that four-level page tables translate. */
#define REACH ((uint64_t)1 << 48)

/* Inside: an address for n granules in a slot of @cut. 0: no magazine has one. */
static uint64_t pop(struct dr_cache *c, struct dr_tcache *t, unsigned zone, unsigned n,
		    unsigned cut)
{
	unsigned class = dr_class_of(cut);
	struct dr_slot *slot = dr_slot_of(c, t, zone, class);
	_Atomic uint8_t *state;
	struct dr_mag *mag;
	uint64_t iova, *top;

	if (dr_slot_n(slot) != cut)
		return 0;
	if (!dr_slot_count(slot)) {
		struct dr_mag *empty = dr_slot_mag(slot);

		mag = slot->prev;
		if (!mag->count) {
			mag = class < DR_ORDERS ? dr_stack_pop(c, &c->full[zone][class]) : NULL;
			if (!mag)
				return 0;
			if (slot->prev != &dr_mag_none)
				dr_stack_push(c, &c->empty, slot->prev);
		}
		dr_slot_load(slot, mag);
		slot->prev = empty;
	}
	top = dr_slot_top(slot) - 1;
	iova = *top;
	dr_slot_set_top(slot, top);
	state = dr_state(c, iova);
	if (n != cut) {
		dr_short_set(state, n);
		dr_tally(&t->slack_granules, cut - n);
	}
	dr_slot_turn(c, state, DR_SLOT_FREE, dr_slot_byte(c, DR_SLOT_LIVE, n, cut));
	return iova;
}

/* May any slot of @cut granules serve it? What is malformed is for the tree to say. */
static bool is_cacheable(const struct dr_cache *c, const struct dr_iova_request *req, unsigned cut)
{
	bool aligned = !(cut & (cut - 1));
	uint64_t natural = (uint64_t)(aligned ? cut : 1) << c->granule_shift;

	if (!cut || req->phase || req->len & c->granule_mask)
		return false;
	if (req->align & (req->align - 1) || req->align > natural ||
	    req->align <= c->granule_mask)
		return false;
	/* A power of two aligned to itself crosses no multiple of a larger one. */
	return !req->boundary_mask || (aligned && req->boundary_mask >= natural - 1 &&
				       !(req->boundary_mask & (req->boundary_mask + 1)));
}

/* With the lock: grow. @zone: the highest. 0: no cache has one, and none can. */
static uint64_t take_slow(struct dray_iova_space *s, const struct dr_iova_request *req,
			  unsigned zone)
{
	struct dr_cache *c = s->cache;
	unsigned number = dr_thread_number(), first = zone;
	unsigned n = (unsigned)(req->len >> c->granule_shift);
	struct dr_tcache *t;
	uint64_t iova = 0;

	pthread_mutex_lock(&s->lock);
	t = dr_tcache_get_locked(c, number);
	for (; t && zone < c->zones && !iova; zone++) {
		unsigned cut = dr_slot_size(c, zone, n);
		struct dr_slot *slot;

		/* Other zones than the highest are left to chunks of aligned slots: the tree. */
		if (!is_cacheable(c, req, cut) || (zone > first && cut & (cut - 1)))
			break;
		slot = dr_slot_get_locked(s, t, zone, cut);
		if (!slot)
			break;
		iova = pop(c, t, zone, n, cut);
		if (!iova && dr_slot_grow_locked(s, zone, slot))
			iova = pop(c, t, zone, n, cut);
	}
	pthread_mutex_unlock(&s->lock);
	return iova;
}

/* Any address of the top zone that is aligned to its own length will do. */
static inline bool is_plain(const struct dray_iova_space *s, const struct dr_iova_request *req)
{
	const uint64_t len = req->len, align = req->align;

	return !((align & (align - 1)) | req->phase | req->boundary_mask) &&
	       align - s->granule <= len - s->granule && req->last >= s->top_last;
}

/* What the short way did not serve. */
static __attribute__((noinline)) int take_on(struct dray_iova_space *s,
					     const struct dr_iova_request *req,
					     dray_iova_t *ret_iova)
{
	struct dr_cache *c = s->cache;
	uint64_t n = req->len >> c->granule_shift, iova = 0;
	unsigned zone = dr_zone_below(c, req->last);
	unsigned cut = zone < c->zones ? dr_slot_size(c, zone, n) : 0;
	struct dr_tcache *t = dr_this_cache(s);

	if (req->len & (req->len - 1) && is_plain(s, req) && dr_take_short(s, req->len, ret_iova))
		return 0;
	if (!is_cacheable(c, req, cut))
		return dr_iova_take_plain(s, req, ret_iova);
	if (n == cut && dr_take_zone(s, zone, req->len, ret_iova))
		return 0;
	if (dr_enter_any(t)) {
		iova = pop(c, t, zone, (unsigned)n, cut);
		dr_leave(t);
	}
	if (!iova)
		iova = take_slow(s, req, zone);
	if (!iova)
		return dr_iova_take_plain(s, req, ret_iova);
	*ret_iova = iova;
	return 0;
}

int dr_iova_take(struct dray_iova_space *s, const struct dr_iova_request *req,
		 dray_iova_t *ret_iova)
{
	if (__builtin_expect(is_plain(s, req), 1)) {
		if (__builtin_expect(dr_take_fast(s, req->len, ret_iova), 1))
			return 0;
	}
	return s->cache ? take_on(s, req, ret_iova) : dr_iova_take_plain(s, req, ret_iova);
}

/* Room for state bytes: half, or half of that, where the process may not reserve as much. */
static int open_states(struct dray_iova_space *s, uint64_t reach)
{
	struct dr_cache *c = s->cache;
	void *block;

	for (;; reach /= 2) {
		c->n_chunks = (reach >> c->chunk_shift) + 1;
		c->states_len = (size_t)(c->n_chunks << c->chunk_shift >> DR_STATE_SHIFT);
		block = dr_hooks->mmap(NULL, c->states_len, PROT_NONE,
				       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
		if (block != MAP_FAILED)
			break;
		if (c->n_chunks == 1)
			return -ENOMEM;
	}
	c->states_block = block;
	c->states = (uintptr_t)block - (uintptr_t)(c->base >> DR_STATE_SHIFT);
	return 0;
}

static int open_radix(struct dray_iova_space *s)
{
	struct dr_cache *c = s->cache;
	uint64_t chunk = UINT64_C(1) << c->chunk_shift;
	uint64_t reach = s->window.last - dr_align_down(s->window.first, chunk);

	c->base = dr_align_down(s->window.first, chunk);
	if (reach > REACH - 1)
		reach = REACH - 1;
	if (open_states(s, reach))
		return -ENOMEM;
	c->n_roots = (c->n_chunks + 511) / 512;
	c->root = dr_alloc(c->n_roots * sizeof(*c->root));
	if (c->root)
		return 0;
	dr_hooks->munmap(c->states_block, c->states_len);
	return -ENOMEM;
}

static void open_zones(struct dr_cache *c, const struct dray_iova_space *s)
{
	static const uint64_t bounds[DR_ZONES] = {
		((uint64_t)1 << 32) - 1, ((uint64_t)1 << 39) - 1, UINT64_MAX,
	};
	uint64_t first = s->window.first > s->granule ? s->window.first : s->granule;
	uint64_t reach = c->base + (c->n_chunks << c->chunk_shift) - 1;

	/* A window that has nothing but the granule at 0 has no zone. */
	for (unsigned i = DR_ZONES; i-- > 0 && first <= s->window.last;) {
		uint64_t last = bounds[i] < reach ? bounds[i] : reach;
		uint64_t lowest = i ? bounds[i - 1] + 1 : 0;

		if (last > s->window.last)
			last = s->window.last;
		if (lowest > last || last < first)
			continue;
		if (lowest < first)
			lowest = first;
		if (i)
			c->round_max[c->zones] = ((last - lowest) >> c->chunk_shift) /
						 DR_ROUND_PART;
		if (c->round_max[c->zones])
			c->rounding |= 1u << c->zones;
		c->zone[c->zones++] = (struct dray_range){lowest, last};
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
	s->cache = c;
	if (c->chunk_shift > 47 || open_radix(s)) {
		s->cache = NULL;
		dr_free(c);
		return dr_fail(ENOMEM, "no memory for an IOVA space's caches; free some memory, or "
				       "allow the process more address space");
	}
	open_zones(c, s);
	for (unsigned i = 0; i <= DR_THREADS; i++)
		atomic_store_explicit(&c->by_thread[i], &dr_tcache_none, memory_order_relaxed);
	s->by_thread = c->by_thread;
	s->states = c->states;
	s->top_last = c->zone[0].last;
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
	dr_hooks->munmap(c->states_block, c->states_len);
	for (unsigned i = 0; i < DR_MAG_SEGMENTS; i++)
		dr_free(atomic_load_explicit(&c->seg[i], memory_order_relaxed));
	for (unsigned i = 0; i < DR_THREADS; i++) {
		struct dr_tcache *t = dr_tcache_at(c, i);

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
