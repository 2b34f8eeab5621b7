// SPDX-License-Identifier: BSD-2-Clause
/*
 * Sets of pools, growing and giving back. The theory is in bounce.c.
 */
#include "bounce/pool.h"
#include "base/err.h"
#include "base/hooks.h"
#include "base/rcu.h"

#include <errno.h>
#include <string.h>

void dr_set_init(struct dr_bounce *b, struct dr_bounce_pool_set *set, size_t ceiling)
{
	size_t large = (size_t)DR_LARGE_SLOTS << DR_SLOT_SHIFT, share;

	if (ceiling < 2 * b->granule)
		ceiling = 2 * b->granule;
	ceiling = (size_t)dr_align_up(ceiling, b->granule);
	share = (size_t)dr_pow2_up(ceiling / (DR_SET_POOLS / 2));
	set->ceiling = ceiling;
	set->max_len = (ceiling < large ? ceiling : large) - b->granule;
	set->pool_bytes = share > DR_POOL_BYTES ? share : DR_POOL_BYTES;
}

/* --- Finding ---------------------------------------------------------------------------------- */

static bool suits(const struct dr_pool *p, const struct dr_want *w, bool large)
{
	if (p->permanent != w->permanent || p->large != large)
		return false;
	return !p->permanent || p->iova + (p->bytes - 1) <= w->mask;
}

/* Inside a read section. */
static bool claim_sized(struct dr_bounce *b, struct dr_bounce_pool_set *set,
			const struct dr_want *w, bool large, struct dr_pool **ret_pool,
			unsigned *ret_slot)
{
	unsigned n = atomic_load_explicit(&set->n_pools, memory_order_acquire);
	uint32_t epoch = atomic_load_explicit(&b->epoch, memory_order_relaxed);

	for (unsigned i = 0; i < n; i++) {
		/* Acquire: a pool is seen whole. */
		struct dr_pool *p = atomic_load_explicit(&set->pool[i], memory_order_acquire);

		if (p && suits(p, w, large) && dr_pool_claim(p, w, epoch, ret_slot)) {
			*ret_pool = p;
			return true;
		}
	}
	return false;
}

bool dr_set_claim(struct dr_bounce *b, struct dr_bounce_pool_set *set, const struct dr_want *w,
		  struct dr_pool **ret_pool, unsigned *ret_slot)
{
	bool found = false;

	dr_rcu_read_lock();
	/* Sealed after this was read: the claim fails on set bits, or keeps its pool. */
	if (!w->permanent || !atomic_load_explicit(&b->sealed, memory_order_relaxed))
		found = claim_sized(b, set, w, dr_want_is_large(w), ret_pool, ret_slot);
	dr_rcu_read_unlock();
	return found;
}

/* Large areas are kept for large requests until nothing else is left. */
static bool claim_in_large(struct dr_bounce *b, struct dr_bounce_pool_set *set,
			   const struct dr_want *w, struct dr_pool **ret_pool, unsigned *ret_slot)
{
	bool found;

	dr_rcu_read_lock();
	found = claim_sized(b, set, w, true, ret_pool, ret_slot);
	dr_rcu_read_unlock();
	return found;
}

/* --- Descriptors and the index ---------------------------------------------------------------- */

static void free_descriptor(struct dr_pool *p)
{
	if (!p)
		return;
	dr_free(p->slot);
	dr_free(p->back);
	dr_free(p->areas);
	dr_free(p);
}

static struct dr_pool *new_descriptor_locked(struct dr_bounce *b, size_t room)
{
	struct dr_pool *p;

	if (b->n_ids + 1 >= DR_POOL_IDS)
		return NULL;
	p = dr_alloc(sizeof(*p));
	if (!p)
		return NULL;
	p->room = room;
	p->slot = dr_alloc(room * sizeof(*p->slot));
	p->back = dr_alloc(room * sizeof(*p->back));
	p->areas = dr_hooks->alloc(dr_areas_bytes(room), 128);
	if (!p->slot || !p->back || !p->areas) {
		free_descriptor(p);
		return NULL;
	}
	p->id = ++b->n_ids; /* 0 is no pool, so that no handle is 0 */
	/* Release: who shows a handle of it sees it whole. */
	atomic_store_explicit(&b->by_id[p->id], p, memory_order_release);
	return p;
}

/* A pool without memory, with room for @slots. NULL: no memory, or no number left. */
static struct dr_pool *take_descriptor_locked(struct dr_bounce *b, struct dr_bounce_pool_set *set,
					      size_t slots)
{
	/* One size for nearly all, so that what one set leaves another can use. */
	size_t room = slots > DR_LARGE_SLOTS ? slots : DR_LARGE_SLOTS;

	if (set->reserved && set->reserved->room >= slots) {
		struct dr_pool *p = set->reserved;

		set->reserved = NULL;
		return p;
	}
	for (struct dr_pool **at = &b->spare; *at; at = &(*at)->next) {
		struct dr_pool *p = *at;

		if (p->room >= slots) {
			*at = p->next;
			return p;
		}
	}
	return new_descriptor_locked(b, room);
}

static void spare_descriptor_locked(struct dr_bounce *b, struct dr_pool *p)
{
	p->next = b->spare;
	b->spare = p;
}

/* The inverse of taking it for that set. */
static void give_descriptor_locked(struct dr_bounce *b, struct dr_bounce_pool_set *set,
				   struct dr_pool *p)
{
	if (set != &b->shared && !set->reserved)
		set->reserved = p;
	else
		spare_descriptor_locked(b, p);
}

/* There was none to take. */
static int no_descriptor_locked(const struct dr_bounce *b)
{
	if (b->n_ids + 1 < DR_POOL_IDS)
		return dr_fail(ENOMEM, "no memory for a bounce pool's records");
	return dr_fail(ENOSPC, "an address space numbers %u bounce pools and all are taken; give "
		       "fewer devices pools of their own", DR_POOL_IDS - 1);
}

int dr_set_reserve_locked(struct dr_bounce *b, struct dr_bounce_pool_set *set)
{
	/* Without room for larger pools: where those find no records, smaller ones are made. */
	set->reserved = take_descriptor_locked(b, set, DR_LARGE_SLOTS);
	return set->reserved ? 0 : no_descriptor_locked(b);
}

void dr_set_unreserve_locked(struct dr_bounce *b, struct dr_bounce_pool_set *set)
{
	if (set->reserved)
		spare_descriptor_locked(b, set->reserved);
	set->reserved = NULL;
}

/* The backend refused to let go of its memory: it stays until close, with nothing in it. */
static void lose_locked(struct dr_bounce *b, struct dr_pool *p)
{
	memset(p->va, 0, p->bytes);
	atomic_fetch_add_explicit(&b->lost_bytes, p->bytes, memory_order_relaxed);
	p->next = b->lost;
	b->lost = p;
}

static void unmake_locked(struct dr_bounce *b, struct dr_bounce_pool_set *set, struct dr_pool *p)
{
	if (dr_pool_unmake(b, p))
		give_descriptor_locked(b, set, p);
	else
		lose_locked(b, p);
}

static struct dr_bounce_index *index_locked(struct dr_bounce *b)
{
	return atomic_load_explicit(&b->index, memory_order_relaxed);
}

/* Room for one place more than there is; filled by fill_index_locked(). */
static struct dr_bounce_index *new_index_locked(struct dr_bounce *b)
{
	const struct dr_bounce_index *old = index_locked(b);
	unsigned n = old ? old->n : 0;

	return dr_alloc(sizeof(*old) + (n + 1) * sizeof(old->place[0]));
}

static void fill_index_locked(struct dr_bounce *b, struct dr_bounce_index *new, struct dr_pool *p)
{
	const struct dr_bounce_index *old = index_locked(b);
	uintptr_t first = (uintptr_t)p->va, last = first + p->bytes - 1;
	bool placed = false;

	for (unsigned i = 0; i <= (old ? old->n : 0); i++) {
		bool more = old && i < old->n;
		struct dr_pool *q = more ? atomic_load_explicit(&old->place[i].pool,
								memory_order_relaxed) : NULL;

		if (!placed && (!more || (q && old->place[i].first > first))) {
			new->place[new->n].first = first;
			new->place[new->n].last = last;
			atomic_store_explicit(&new->place[new->n++].pool, p, memory_order_relaxed);
			placed = true;
		}
		if (!q)
			continue;
		new->place[new->n].first = old->place[i].first;
		new->place[new->n].last = old->place[i].last;
		atomic_store_explicit(&new->place[new->n++].pool, q, memory_order_relaxed);
	}
}

/* --- Growing ---------------------------------------------------------------------------------- */

static bool is_any(const struct dr_bounce *b, const struct dr_pool *p, const void *ctx)
{
	(void)b;
	(void)p;
	(void)ctx;
	return true;
}

static unsigned free_place_locked(const struct dr_bounce_pool_set *set)
{
	unsigned i = 0;

	while (i < DR_SET_POOLS && atomic_load_explicit(&set->pool[i], memory_order_relaxed))
		i++;
	return i;
}

/* Publish a made pool; nothing can fail any more. */
static void link_locked(struct dr_bounce *b, struct dr_bounce_pool_set *set, struct dr_pool *p,
			struct dr_bounce_index *new)
{
	struct dr_bounce_index *old = index_locked(b);
	unsigned at = free_place_locked(set);

	p->set = set;
	p->linked = true;
	set->bytes += p->bytes;
	if (p->permanent)
		atomic_fetch_add_explicit(&b->permanent, 1, memory_order_relaxed);
	atomic_fetch_add_explicit(&b->grows, 1, memory_order_relaxed);
	fill_index_locked(b, new, p);
	/* Release: whoever finds the pool finds it whole. */
	atomic_store_explicit(&b->index, new, memory_order_release);
	atomic_store_explicit(&set->pool[at], p, memory_order_release);
	if (at >= atomic_load_explicit(&set->n_pools, memory_order_relaxed))
		atomic_store_explicit(&set->n_pools, at + 1, memory_order_release);
	if (old) {
		dr_rcu_synchronize();
		dr_free(old);
	}
}

/* A pool of @bytes with a slot for @w already claimed. */
static int grow_by_locked(struct dr_bounce *b, struct dr_bounce_pool_set *set,
			  const struct dr_want *w, size_t bytes, uint64_t last,
			  struct dr_pool **ret_pool, unsigned *ret_slot)
{
	struct dr_pool *p = take_descriptor_locked(b, set, bytes >> DR_SLOT_SHIFT);
	struct dr_bounce_index *index;
	int err;

	if (!p)
		return no_descriptor_locked(b);
	index = new_index_locked(b);
	if (!index) {
		err = dr_fail(ENOMEM, "no memory for the list of bounce pools");
		goto no_index;
	}
	err = dr_pool_make(b, p, bytes, w, last);
	if (err)
		goto no_pool;
	dr_pool_cut(p, bytes, dr_want_is_large(w));
	if (!dr_pool_claim(p, w, atomic_load_explicit(&b->epoch, memory_order_relaxed), ret_slot)) {
		dr_free(index);
		unmake_locked(b, set, p);
		return dr_fail(ENOSPC, "a new bounce pool has no place for 0x%zx bytes at this "
			       "alignment; ask for less", w->len);
	}
	link_locked(b, set, p, index);
	*ret_pool = p;
	return 0;

no_pool:
	dr_free(index);
no_index:
	if (p->va)
		lose_locked(b, p);
	else
		give_descriptor_locked(b, set, p);
	return err;
}

/* Below the mask that serves every device if there is room, else below the asked one. */
static int grow_below_locked(struct dr_bounce *b, struct dr_bounce_pool_set *set,
			     const struct dr_want *w, size_t bytes, struct dr_pool **ret_pool,
			     unsigned *ret_slot)
{
	int err = -ENOSPC;

	if (w->permanent && w->shared_mask && w->shared_mask < w->mask)
		err = grow_by_locked(b, set, w, bytes, w->shared_mask, ret_pool, ret_slot);
	if (err == -ENOSPC || (err == -ENOMEM && b->direct))
		err = grow_by_locked(b, set, w, bytes, w->mask, ret_pool, ret_slot);
	return err;
}

static int grow_locked(struct dr_bounce *b, struct dr_bounce_pool_set *set, const struct dr_want *w,
		       struct dr_pool **ret_pool, unsigned *ret_slot)
{
	size_t need = (size_t)dr_align_up((w->phase + w->n) << DR_SLOT_SHIFT, b->granule);
	size_t room = set->ceiling - set->bytes, bytes = set->pool_bytes;
	int err;

	if (need > set->ceiling)
		return dr_fail(EMSGSIZE, "0x%zx bytes are more than the bounce ceiling of 0x%zx "
			       "holds; raise bounce_bytes or map pieces", w->len, set->ceiling);
	if (room < need || free_place_locked(set) == DR_SET_POOLS)
		dr_set_retire_locked(b, set, is_any, NULL);
	room = set->ceiling - set->bytes;
	if (room < need || free_place_locked(set) == DR_SET_POOLS) {
		if (claim_in_large(b, set, w, ret_pool, ret_slot))
			return 0;
		return dr_fail(ENOSPC, "bounce pools hold 0x%zx of at most 0x%zx bytes and have no "
			       "place for 0x%zx more; unmap something or raise bounce_bytes",
			       set->bytes, set->ceiling, w->len);
	}
	if (bytes > room)
		bytes = room;
	/* Where memory or IOVAs do not allow a pool, one of half the size may do. */
	for (;;) {
		err = grow_below_locked(b, set, w, bytes, ret_pool, ret_slot);
		if ((err != -ENOMEM && err != -ENOSPC) || bytes <= need)
			return err;
		bytes = (size_t)dr_align_up(bytes / 2, b->granule);
		if (bytes < need)
			bytes = need;
	}
}

int dr_set_grow(struct dr_bounce *b, struct dr_bounce_pool_set *set, const struct dr_want *w,
		struct dr_pool **ret_pool, unsigned *ret_slot)
{
	int err = 0;

	pthread_mutex_lock(&b->lock);
	if (w->permanent && atomic_load_explicit(&b->sealed, memory_order_relaxed))
		err = -EAGAIN;
	else if (!dr_set_claim(b, set, w, ret_pool, ret_slot))
		err = grow_locked(b, set, w, ret_pool, ret_slot);
	pthread_mutex_unlock(&b->lock);
	return err;
}

/* --- Giving back ------------------------------------------------------------------------------ */

uint64_t dr_set_high_bytes_locked(const struct dr_bounce_pool_set *set)
{
	uint64_t n = 0;

	for (unsigned i = 0; i < DR_SET_POOLS; i++) {
		const struct dr_pool *p =
			atomic_load_explicit(&set->pool[i], memory_order_relaxed);

		if (p)
			n += dr_pool_high_bytes(p);
	}
	return n;
}

/* Nobody finds the pool any more. All of it is claimed. */
static void unlink_locked(struct dr_bounce *b, struct dr_pool *p)
{
	struct dr_bounce_index *index = index_locked(b);
	struct dr_bounce_pool_set *set = p->set;
	uint64_t high = dr_set_high_bytes_locked(set);

	if (set->high_water < high)
		set->high_water = high;
	for (unsigned i = 0; i < DR_SET_POOLS; i++)
		if (atomic_load_explicit(&set->pool[i], memory_order_relaxed) == p)
			atomic_store_explicit(&set->pool[i], NULL, memory_order_relaxed);
	for (unsigned i = 0; i < index->n; i++)
		if (atomic_load_explicit(&index->place[i].pool, memory_order_relaxed) == p)
			atomic_store_explicit(&index->place[i].pool, NULL, memory_order_relaxed);
	set->bytes -= p->bytes;
	p->linked = false;
	if (p->permanent)
		atomic_fetch_sub_explicit(&b->permanent, 1, memory_order_relaxed);
	atomic_fetch_add_explicit(&b->shrinks, 1, memory_order_relaxed);
}

unsigned dr_set_retire_locked(struct dr_bounce *b, struct dr_bounce_pool_set *only,
			      bool (*pick)(const struct dr_bounce *b, const struct dr_pool *p,
					   const void *ctx),
			      const void *ctx)
{
	struct dr_pool *going = NULL;
	unsigned n = 0;

	for (unsigned id = 1; id <= b->n_ids; id++) {
		struct dr_pool *p = atomic_load_explicit(&b->by_id[id], memory_order_relaxed);

		if (!p->linked || (only && p->set != only) || !pick(b, p, ctx) ||
		    !dr_pool_claim_all(p))
			continue;
		unlink_locked(b, p);
		p->next = going;
		going = p;
		n++;
	}
	if (!n)
		return 0;
	/* Whoever had found one of them before has left it: its claim failed. */
	dr_rcu_synchronize();
	while (going) {
		struct dr_pool *p = going;

		going = p->next;
		unmake_locked(b, p->set, p);
	}
	return n;
}

void dr_set_abandon_locked(struct dr_bounce *b, struct dr_pool *p)
{
	unlink_locked(b, p);
	p->next = b->lost;
	b->lost = p;
}

void dr_bounce_free(struct dr_bounce *b)
{
	for (unsigned id = 1; id <= b->n_ids; id++)
		free_descriptor(atomic_load_explicit(&b->by_id[id], memory_order_relaxed));
	dr_free(index_locked(b));
	pthread_mutex_destroy(&b->lock);
	dr_free(b);
}
