// SPDX-License-Identifier: BSD-2-Clause
/*
 * Bounce buffers.
 *
 * 1. Why. A buffer that a device cannot reach, or must not, or that is cheaper copied than mapped
 *    (why.c), is replaced by memory of dray's own: copied in when it is mapped, copied out when it
 *    is unmapped or handed to the CPU. What the device uses is a slot: contiguous pieces of 2 KiB
 *    of a pool (pool.c). Contents go in whatever the direction: a device that writes less than was
 *    mapped leaves the rest as its owner had it, not as the slot's last user did.
 *
 * 2. Trusted devices share permanent pools: mapped once, readable and writable, so that a map is a
 *    claim of slots and a copy. The offset inside a granule is kept, which costs at most the slots
 *    that begin at the right phase; a device's alignment outranks it.
 *
 * 3. An untrusted device gets granules of its own out of private pools, which are memory and no
 *    more: nothing of them is mapped but the granules of a request, for as long as it lives, with
 *    the rights its direction needs. Before that every byte is written: the buffer's, and zeroes
 *    around it; so a granule may come back from any other use. Unmap is strict and comes first,
 *    then the copy, so what is copied does not change any more; only then the slots go back.
 *
 * 4. Pools (set.c) are made when nothing else has room, below the ceiling of their set, inside the
 *    mask of who asks, and serve every wider mask. The domain has one set; a device may have its
 *    own, which nobody else uses: neither takes of the other's ceiling. A pool's number and records
 *    are kept for each such set from its beginning, so others' pools cannot use them up; memory and
 *    addresses are nobody's before they are needed. When its device goes to another address space
 *    a set stays for what is out of it. Pools go when nobody used them for a second (one permanent
 *    pool stays, because pinning it again is dear, and one of each device that is here), when
 *    another pool needs their room, and, the permanent ones, before an untrusted device joins: from
 *    then on ("sealed") none is made, and trusted requests are served as in 3.
 *
 * 5. Handles name a pool, a slot in it and the slot's life. Whoever holds a live one keeps the
 *    pool where it is, because its bits are set; so unmap and sync need no read section. A stale
 *    one leads to a descriptor that keeps its type until the end, whose slot says "not mine"
 *    (lives are told apart modulo 256, so a handle may be mistaken for live again after 256 lives
 *    of its very slot). Two threads that unmap one handle at the same moment are a caller's error.
 *
 * 6. Lookup by IOVA goes through the mapping table to pool memory, from there by binary search in
 *    an index to the pool, from there to the request's first slot: a number beside each slot says
 *    how far back that is. The index is replaced whole and freed after a grace period; a pool that
 *    goes is cleared out of it in place, so that going never allocates.
 *
 * 7. What can fail. Map: memory, IOVAs, the ceiling, the backend; each leaves what was there
 *    before. Unmap of a permanent slot cannot. If the backend refuses to unmap a private slot or a
 *    pool, its IOVA is quarantined, its memory wiped and taken until close, both counted.
 *    Retiring and closing allocate nothing.
 *
 * 8. Order. The lock guards growing and giving back and is held over backend calls and grace
 *    periods: nothing in a read section takes it, and neither unmap nor sync.
 *
 *               | map                unmap, sync      find           grow           retire, trim
 *    -----------+------------------------------------------------------------------------------
 *    map        | bits decide        own slots        sees it live   finds it after the pool's bits
 *               |                                     or not         publication    decide
 *    unmap,sync |                    own slots        live or not;   nothing        keeps its pool
 *               |                                     caller's own   shared
 *    find       |                                     reads only     old index or   until the grace
 *               |                                                    new            period ends
 *    grow       |                                                    lock           lock
 *    seal       | all of a pool's bits are set, or a map has some and sealing fails; grow reads
 *               | "sealed" under the lock
 */
#include "bounce/pool.h"
#include "base/err.h"
#include "base/hooks.h"
#include "base/rcu.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

/* --- Slots ------------------------------------------------------------------------------------ */

static char *slot_memory(const struct dr_pool *p, unsigned slot)
{
	return p->va + ((size_t)slot << DR_SLOT_SHIFT);
}

static uint64_t handle_of(const struct dr_pool *p, unsigned slot, uint32_t tag)
{
	return (uint64_t)((tag >> 1) & 0xff) << DR_HANDLE_LIFE_SHIFT |
	       (uint64_t)p->id << DR_HANDLE_SLOT_BITS | slot;
}

/* The live slot that a handle names; NULL: none. */
static struct dr_slot *slot_of(struct dr_bounce *b, uint64_t handle, struct dr_pool **ret_pool,
			       unsigned *ret_slot)
{
	unsigned slot = (unsigned)(handle & ((1u << DR_HANDLE_SLOT_BITS) - 1));
	unsigned id = (unsigned)(handle >> DR_HANDLE_SLOT_BITS) & 0xff;
	struct dr_pool *p;
	uint32_t tag;

	if (handle >> DR_BOUNCE_HANDLE_BITS)
		return NULL;
	/* Acquire: a stale handle's pool is seen whole. */
	p = atomic_load_explicit(&b->by_id[id], memory_order_acquire);
	if (!p || slot >= p->room)
		return NULL;
	tag = atomic_load_explicit(&p->slot[slot].tag, memory_order_relaxed);
	if (!(tag & 1) || ((tag >> 1) & 0xff) != handle >> DR_HANDLE_LIFE_SHIFT)
		return NULL;
	*ret_pool = p;
	*ret_slot = slot;
	return &p->slot[slot];
}

bool dr_bounce_is_live(struct dr_bounce *b, uint64_t handle)
{
	struct dr_pool *p;
	unsigned slot;

	return slot_of(b, handle, &p, &slot) != NULL;
}

void *dr_bounce_buffer(struct dr_bounce *b, uint64_t handle, size_t *ret_len)
{
	struct dr_pool *p;
	unsigned slot;
	const struct dr_slot *s = slot_of(b, handle, &p, &slot);

	if (!s)
		return NULL;
	*ret_len = atomic_load_explicit(&s->len, memory_order_relaxed);
	return s->va;
}

enum dr_bounce_why dr_bounce_reason(struct dr_bounce *b, uint64_t handle)
{
	struct dr_pool *p;
	unsigned slot;
	const struct dr_slot *s = slot_of(b, handle, &p, &slot);

	return s ? (enum dr_bounce_why)atomic_load_explicit(&s->why, memory_order_relaxed) :
		   DR_BOUNCE_NO;
}

static bool device_reads(unsigned dir)
{
	return dir != DRAY_FROM_DEVICE;
}

static bool device_writes(unsigned dir)
{
	return dir != DRAY_TO_DEVICE;
}

/* --- Map -------------------------------------------------------------------------------------- */

static int check_request(const struct dr_bounce_pool_set *set, const struct dr_bounce_request *r)
{
	if (!r->va || !r->len)
		return dr_fail(EINVAL, "nothing to copy: the buffer is NULL or of no bytes");
	if (r->min_align && !dr_is_pow2(r->min_align))
		return dr_fail(EINVAL, "device alignment of %zu is not a power of two",
			       r->min_align);
	if (r->len > set->max_len)
		return dr_fail(EMSGSIZE, "%zu bytes would have to be copied and a bounce slot "
			       "holds at most %zu; map pieces", r->len, set->max_len);
	if (r->boundary_mask && r->len - 1 > r->boundary_mask)
		return dr_fail(EMSGSIZE, "%zu bytes cannot avoid the device's segment boundary "
			       "every 0x%" PRIx64 " bytes; map pieces", r->len,
			       r->boundary_mask + 1);
	return 0;
}

/* What a request takes in permanent pools, or of private granules. */
static int work_out(const struct dr_bounce *b, const struct dr_bounce_request *r, bool permanent,
		    struct dr_want *ret_want)
{
	uint64_t align = DR_SLOT_SIZE, phase = 0;
	uint64_t inside = (uintptr_t)r->va & (b->granule - 1);
	uint64_t bytes;

	if (r->min_align && ((uintptr_t)r->va & (r->min_align - 1))) {
		if (r->min_align > align)
			align = r->min_align;
	} else if (r->keep_offset) {
		align = r->min_align > b->granule ? r->min_align : b->granule;
		phase = inside;
	} else if (r->min_align > align) {
		align = r->min_align;
	}
	if (r->boundary_mask && (phase & r->boundary_mask) + r->len - 1 > r->boundary_mask)
		return dr_fail(EMSGSIZE, "a buffer at 0x%" PRIx64 " of its granule crosses the "
			       "device's segment boundary every 0x%" PRIx64 " bytes wherever it is "
			       "put; move it", inside, r->boundary_mask + 1);
	*ret_want = (struct dr_want){
		.len = r->len, .mask = r->mask, .shared_mask = r->shared_mask,
		.permanent = permanent,
	};
	if (permanent) {
		bytes = (phase & (DR_SLOT_SIZE - 1)) + r->len;
		ret_want->off = phase & (DR_SLOT_SIZE - 1);
		ret_want->align = align >> DR_SLOT_SHIFT;
		ret_want->phase = phase >> DR_SLOT_SHIFT;
		ret_want->boundary_mask = r->boundary_mask;
		ret_want->pool_align = align;
	} else {
		bytes = dr_align_up(phase + r->len, b->granule);
		ret_want->off = phase;
		ret_want->align = b->granule >> DR_SLOT_SHIFT;
		ret_want->pool_align = b->granule;
	}
	ret_want->n = (bytes + DR_SLOT_SIZE - 1) >> DR_SLOT_SHIFT;
	return 0;
}

/* Fill the slot. A private one is written to its last byte. */
static void copy_in(const struct dr_pool *p, unsigned slot, const struct dr_want *w, const void *va)
{
	char *to = slot_memory(p, slot);
	size_t end = w->off + w->len;

	if (!p->permanent) {
		memset(to, 0, w->off);
		memset(to + end, 0, (w->n << DR_SLOT_SHIFT) - end);
	}
	memcpy(to + w->off, va, w->len);
}

static uint64_t dir_bits(enum dray_dir dir)
{
	return (device_reads(dir) ? DR_PTE_READ : 0) | (device_writes(dir) ? DR_PTE_WRITE : 0);
}

/* Map a private slot for this request. *ret_lost: its memory may stay reachable. */
static int map_private(struct dr_bounce *b, const struct dr_pool *p, unsigned slot,
		       const struct dr_bounce_request *r, const struct dr_want *w,
		       dray_iova_t *ret_iova, bool *ret_lost)
{
	size_t len = w->n << DR_SLOT_SHIFT;
	struct dr_iova_request req = { .len = len, .align = b->granule, .last = r->mask };
	dray_iova_t iova;
	int err;

	*ret_lost = false;
	if (r->min_align > req.align)
		req.align = r->min_align;
	/* A boundary inside a granule was dealt with when the request was worked out. */
	if (r->boundary_mask >= b->granule - 1)
		req.boundary_mask = r->boundary_mask;
	if (req.boundary_mask && len - 1 > req.boundary_mask)
		return dr_fail(EMSGSIZE, "the buffer's granules are more than the device's segment "
			       "boundary of 0x%" PRIx64 " bytes holds; map pieces",
			       r->boundary_mask + 1);
	dr_iospace_add_guard(b->io, &req);
	err = dr_iova_take(b->io->space, &req, &iova);
	if (err)
		return err == -ENOSPC ?
			dr_fail(ENOSPC, "no 0x%zx bytes of IOVA for a bounce slot at or below 0x%"
				PRIx64 "; unmap something or widen the window", req.len, r->mask) :
			err;
	/* The zeroes around the buffer too, before the device can look at what was there. */
	if (r->uncached)
		dr_backend_clean(b->io->be, slot_memory(p, slot), len);
	err = dr_act_map(b->io, iova, slot_memory(p, slot), len, dir_bits(r->dir) |
			 (r->owner_bits & DR_PTE_OWNER), ret_lost);
	if (err) {
		dr_act_release(b->io, iova, req.len, *ret_lost);
		return err;
	}
	/* The cache of the software IOMMU knows a page from its mapping on. */
	if (r->uncached)
		dr_backend_clean(b->io->be, slot_memory(p, slot), len);
	*ret_iova = iova + w->off;
	return 0;
}

static void lose_slots(struct dr_bounce *b, size_t n)
{
	atomic_fetch_add_explicit(&b->lost_bytes, (uint64_t)n << DR_SLOT_SHIFT,
				  memory_order_relaxed);
}

/* Write the receipt: from here on the slot is found. */
static uint64_t publish(struct dr_pool *p, unsigned slot, const struct dr_bounce_request *r,
			const struct dr_want *w, dray_iova_t iova)
{
	struct dr_slot *s = &p->slot[slot];
	uint32_t tag = atomic_load_explicit(&s->tag, memory_order_relaxed) + 2;

	s->va = r->va;
	s->off = (uint32_t)w->off;
	s->n = (uint16_t)w->n;
	atomic_store_explicit(&s->owner, (uint16_t)dr_pte_owner(r->owner_bits),
			      memory_order_relaxed);
	s->dir = (uint8_t)r->dir;
	atomic_store_explicit(&s->why, (uint8_t)r->why, memory_order_relaxed);
	atomic_store_explicit(&s->len, (uint32_t)w->len, memory_order_relaxed);
	atomic_store_explicit(&s->iova, iova, memory_order_relaxed);
	for (unsigned i = 0; i < w->n; i++)
		atomic_store_explicit(&p->back[slot + i], (uint16_t)i, memory_order_relaxed);
	tag |= 1;
	/* Release: who sees it live sees its fields. */
	atomic_store_explicit(&s->tag, tag, memory_order_release);
	return handle_of(p, slot, tag);
}

/* A slot, from what there is or a new pool; a private one when permanent ones are not allowed. */
static int take_slot(struct dr_bounce *b, struct dr_bounce_pool_set *set,
		     const struct dr_bounce_request *r, struct dr_want *ret_want,
		     struct dr_pool **ret_pool, unsigned *ret_slot)
{
	bool permanent = r->trusted && !atomic_load_explicit(&b->sealed, memory_order_relaxed);
	int err = work_out(b, r, permanent, ret_want);

	if (err || dr_set_claim(b, set, ret_want, ret_pool, ret_slot))
		return err;
	err = dr_set_grow(b, set, ret_want, ret_pool, ret_slot);
	if (err != -EAGAIN)
		return err;
	err = work_out(b, r, false, ret_want);
	return err ? err : dr_set_grow(b, set, ret_want, ret_pool, ret_slot);
}

static int map_request(struct dr_bounce *b, const struct dr_bounce_request *r,
		       dray_iova_t *ret_iova, uint64_t *ret_handle)
{
	struct dr_bounce_pool_set *set = r->own ? r->own : &b->shared;
	struct dr_want w;
	struct dr_pool *p;
	unsigned slot;
	dray_iova_t iova = DRAY_IOVA_NONE;
	int err = check_request(set, r);

	if (err)
		return err;
	if (!r->trusted && b->direct)
		return dr_fail(ENOTSUP, "nothing keeps an untrusted device from memory here; use a "
			       "PAGING domain on an IOMMU");
	err = take_slot(b, set, r, &w, &p, &slot);
	if (err)
		return err;
	copy_in(p, slot, &w, r->va);
	if (p->permanent) {
		iova = p->iova + ((uint64_t)slot << DR_SLOT_SHIFT) + w.off;
	} else {
		bool lost;

		err = map_private(b, p, slot, r, &w, &iova, &lost);
		if (err && lost)
			lose_slots(b, w.n);
		else if (err)
			dr_pool_free(p, slot, w.n);
		if (err)
			return err;
	}
	*ret_handle = publish(p, slot, r, &w, iova);
	*ret_iova = iova;
	return 0;
}

int dr_bounce_map(struct dr_bounce *b, const struct dr_bounce_request *r, dray_iova_t *ret_iova,
		  uint64_t *ret_handle)
{
	int err;

	if (dr_thread_peek() == DR_THREAD_NONE)
		dr_thread_number();
	err = map_request(b, r, ret_iova, ret_handle);
	if (err) {
		atomic_fetch_add_explicit(&b->failures, 1, memory_order_relaxed);
		return err;
	}
	dr_count(&b->io->counters, DR_BOUNCE_MAPS, 1);
	dr_count(&b->io->counters, DR_BOUNCE_IN_BYTES, r->len);
	return 0;
}

/* --- Unmap ------------------------------------------------------------------------------------ */

static void copy_out(struct dr_bounce *b, const struct dr_pool *p, unsigned slot, size_t off,
		     size_t len)
{
	const struct dr_slot *s = &p->slot[slot];

	memcpy(s->va + off, slot_memory(p, slot) + s->off + off, len);
	dr_count(&b->io->counters, DR_BOUNCE_OUT_BYTES, len);
}

bool dr_slot_unmap(struct dr_bounce *b, struct dr_pool *p, unsigned slot, bool copy)
{
	struct dr_slot *s = &p->slot[slot];
	size_t n = s->n;
	bool ok = true;

	if (!p->permanent) {
		dray_iova_t first = atomic_load_explicit(&s->iova, memory_order_relaxed) - s->off;

		ok = !dr_act_unmap(b->io, first, n << DR_SLOT_SHIFT);
		dr_act_release(b->io, first, (n << DR_SLOT_SHIFT) + b->io->guard, !ok);
	}
	if (copy && device_writes(s->dir))
		copy_out(b, p, slot, 0, atomic_load_explicit(&s->len, memory_order_relaxed));
	/* Relaxed: what the slot's next owner must see is ordered by its bits. */
	atomic_store_explicit(&s->tag,
			      atomic_load_explicit(&s->tag, memory_order_relaxed) & ~1u,
			      memory_order_relaxed);
	if (ok) {
		dr_pool_free(p, slot, n);
		return true;
	}
	/* Whoever still reaches them finds nothing of anybody's there. */
	memset(slot_memory(p, slot), 0, n << DR_SLOT_SHIFT);
	lose_slots(b, n);
	return false;
}

bool dr_bounce_unmap(struct dr_bounce *b, uint64_t handle, bool copy)
{
	struct dr_pool *p;
	unsigned slot;

	if (!slot_of(b, handle, &p, &slot)) {
		atomic_fetch_add_explicit(&b->bad_handles, 1, memory_order_relaxed);
		dr_log(&b->io->log, LOG_ERR, "bounce handle 0x%" PRIx64 " is not live; a receipt "
		       "is good for one unmap", handle);
		return false;
	}
	return dr_slot_unmap(b, p, slot, copy);
}

/* --- Sync ------------------------------------------------------------------------------------- */

static int check_sync(struct dr_bounce *b, uint64_t handle, size_t off, size_t len,
		      struct dr_pool **ret_pool, unsigned *ret_slot)
{
	const struct dr_slot *s = slot_of(b, handle, ret_pool, ret_slot);
	size_t all;

	if (!s) {
		atomic_fetch_add_explicit(&b->bad_handles, 1, memory_order_relaxed);
		return dr_fail(EINVAL, "bounce handle 0x%" PRIx64 " is not live; sync before unmap",
			       handle);
	}
	all = atomic_load_explicit(&s->len, memory_order_relaxed);
	if (off > all || len > all - off)
		return dr_fail(EINVAL, "sync of 0x%zx+0x%zx in a mapping of 0x%zx bytes", off, len,
			       all);
	return 0;
}

int dr_bounce_sync_for_device(struct dr_bounce *b, uint64_t handle, size_t off, size_t len)
{
	struct dr_pool *p = NULL;
	unsigned slot = 0;
	int err = check_sync(b, handle, off, len, &p, &slot);

	if (err)
		return err;
	/*
	 * FROM_DEVICE too: what the CPU wrote since stays what it is where the device writes
	 * nothing, as it would without a copy between them.
	 */
	memcpy(slot_memory(p, slot) + p->slot[slot].off + off, p->slot[slot].va + off, len);
	dr_count(&b->io->counters, DR_BOUNCE_IN_BYTES, len);
	return 0;
}

int dr_bounce_sync_for_cpu(struct dr_bounce *b, uint64_t handle, size_t off, size_t len)
{
	struct dr_pool *p = NULL;
	unsigned slot = 0;
	int err = check_sync(b, handle, off, len, &p, &slot);

	/* A device that only reads has changed nothing; the CPU may have since. */
	if (!err && device_writes(p->slot[slot].dir))
		copy_out(b, p, slot, off, len);
	return err;
}

/* --- Find ------------------------------------------------------------------------------------- */

/* The pool whose memory holds @at; NULL: none. Inside a read section. */
static struct dr_pool *pool_at(struct dr_bounce *b, uintptr_t at)
{
	/* Acquire: the index is seen whole. */
	const struct dr_bounce_index *x = atomic_load_explicit(&b->index, memory_order_acquire);
	unsigned low = 0, end = x ? x->n : 0;

	while (low < end) {
		unsigned mid = low + (end - low) / 2;

		if (at < x->place[mid].first)
			end = mid;
		else if (at > x->place[mid].last)
			low = mid + 1;
		else
			return atomic_load_explicit(&x->place[mid].pool, memory_order_acquire);
	}
	return NULL;
}

bool dr_bounce_find(struct dr_bounce *b, dray_iova_t iova, size_t len, uint64_t *ret_handle,
		    size_t *ret_off)
{
	struct dr_pool *p = NULL;
	struct dr_slot *s;
	unsigned slot;
	uint32_t tag;
	uint64_t first;
	size_t all;
	char *at;

	/* Without pools there is nothing to look for; a caller's own slot is seen by the caller. */
	if (!atomic_load_explicit(&b->index, memory_order_relaxed))
		return false;
	dr_rcu_read_lock();
	at = b->direct ? (char *)(uintptr_t)iova : dr_pgtable_va(b->io->pt, iova);
	if (at)
		p = pool_at(b, (uintptr_t)at);
	if (!p)
		goto none;
	slot = (unsigned)((size_t)(at - p->va) >> DR_SLOT_SHIFT);
	if (slot >= p->slots)
		goto none;
	slot -= atomic_load_explicit(&p->back[slot], memory_order_relaxed);
	s = &p->slot[slot];
	/* Acquire: pairs with publish(). */
	tag = atomic_load_explicit(&s->tag, memory_order_acquire);
	first = atomic_load_explicit(&s->iova, memory_order_relaxed);
	all = atomic_load_explicit(&s->len, memory_order_relaxed);
	if (!(tag & 1) || iova < first || iova - first > all || len > all - (iova - first))
		goto none;
	dr_rcu_read_unlock();
	*ret_handle = handle_of(p, slot, tag);
	*ret_off = (size_t)(iova - first);
	return true;

none:
	dr_rcu_read_unlock();
	return false;
}

bool dr_bounce_is_spare(struct dr_bounce *b, dray_iova_t iova)
{
	uint64_t handle;
	bool pool;
	size_t off;
	char *at;

	if (!atomic_load_explicit(&b->index, memory_order_relaxed))
		return false;
	dr_rcu_read_lock();
	at = b->direct ? (char *)(uintptr_t)iova : dr_pgtable_va(b->io->pt, iova);
	pool = at && pool_at(b, (uintptr_t)at);
	dr_rcu_read_unlock();
	return pool && !dr_bounce_find(b, iova, 1, &handle, &off);
}
