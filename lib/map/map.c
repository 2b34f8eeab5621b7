// SPDX-License-Identifier: BSD-2-Clause
/*
 * Map a buffer, and take it back.
 *
 * 1. What a mapping is. The device finds the buffer's bytes at an IOVA, at the same offset inside a
 *    granule. The receipt the caller holds is all that dray needs to take it back; nothing is looked
 *    up. Its cookies name the domain (the receipt holds it: see domain/domain.c) and the way it was
 *    made (receipt.h).
 *
 * 2. The ways, the cheapest first:
 *
 *      region   the memory is registered: it has been mapped all along, and only counted now
 *      bounce   the device cannot reach the buffer, or must not see what lies beside it, or copying
 *               is cheaper: a slot of a pool stands in (ways.c says when, bounce/bounce.c how)
 *      map      the buffer's granules are mapped for this call
 *      direct   nothing translates: the IOVA is the address
 *
 * 3. Map: reserve, act, publish.
 *
 *      enter    hold the domain the device is in                       undo: leave
 *      decide   the way; in the same read section the domain is found in, because a region that is
 *               being unregistered and an untrusted device that joins wait for such sections
 *      place    take an IOVA that the device's limits allow            undo: release (give)
 *      act      backend: prepare tables, pin, program, publish entries  undo: unmap the pieces done
 *      receipt  written last; nothing can fail any more
 *
 *    A backend that refuses to undo its part leaves an IOVA that a device may still reach: it is
 *    quarantined instead of given back, and never handed out again. Where addresses, entries or
 *    pinned memory run out, what waits for a flush is flushed and the map tried once more.
 *
 * 4. Unmap. Strict: the backend unmaps and invalidates, so that no device reaches the buffer; then
 *    the IOVA goes back; then the domain is let go. Each step is over before the next begins, so an
 *    IOVA is reused only after nothing translates it any more. Lazy: the flush queue takes the IOVA
 *    and gives it back after a flush (flush/queue.c). No step allocates and none can fail in a way
 *    that loses something: what is refused is quarantined.
 *
 * 5. Threads. A call owns its IOVAs from place to release and shares nothing else with other calls:
 *    no lock, no count and no line of the domain or the device is written here. A receipt that is
 *    unmapped twice in a row finds its IOVA, its slot or its region's count not live and is refused
 *    where that can be known; two threads unmapping copies of one receipt at the same moment are a
 *    caller's error.
 */
#include "map/map.h"
#include "base/err.h"
#include "base/rcu.h"

#include <errno.h>
#include <inttypes.h>

/* With a granule on either side it is no large page yet, whose place is chosen with more care. */
#define SHORT_OF_LARGE ((size_t)1 << 20)

int dr_map_refuse(const void *va, size_t len, enum dray_dir dir, uint32_t flags)
{
	if (!va)
		return dr_fail(EINVAL, "buffer is NULL");
	if (!len)
		return dr_fail(EINVAL, "length is 0; map at least one byte");
	if ((uintptr_t)va + len - 1 < (uintptr_t)va)
		return dr_fail(EINVAL, "buffer %p+0x%zx passes the end of memory", va, len);
	if ((unsigned)dir > DRAY_FROM_DEVICE)
		return dr_fail(EINVAL, "direction %u is unknown; use enum dray_dir", (unsigned)dir);
	if (flags & ~(DRAY_MAP_NO_SYNC | DRAY_MAP_NO_BOUNCE))
		return dr_fail(EINVAL, "map flags 0x%x are unknown; use DRAY_MAP_*", flags);
	return dr_fail(EFAULT, "buffer %p+0x%zx is not memory of any process; map what is there",
		       va, len);
}

int dr_call_begin(struct dray_device *dev, enum dray_dir dir, uint32_t flags,
		  struct dr_call *ret_call)
{
	struct dr_call call = { .dev = dev, .dir = dir, .flags = flags };
	struct dr_attachment *att;
	int err = dr_domain_enter(dev, &att);

	if (err)
		return err;
	call.dom = att->dom;
	call.owner = att->owner;
	call.own = att->own;
	call.trusted = dr_domain_is_trusted(call.dom);
	call.uncached = !atomic_load_explicit(&dev->bd->coherent, memory_order_relaxed);
	*ret_call = call;
	return 0;
}

void dr_call_fail(struct dr_call *call)
{
	dr_count(&call->dom->io.counters, DR_MAP_FAILURES, 1);
	dr_domain_leave(call->dom);
}

/* Place and act, for a buffer that is mapped in its own granules. */
static int map_granules(const struct dr_call *call, const struct dr_map_args *a,
			dray_iova_t *ret_iova, uint64_t *ret_handle)
{
	struct dray_domain *dom = call->dom;
	struct dr_span s = dr_span_of(dom, a->va, a->len);
	uint64_t bits = dr_dir_bits(a->dir) | dr_pte_owner_bits(call->owner);
	bool fixed = a->iova != DRAY_IOVA_NONE, refused;
	size_t guard = fixed ? 0 : dr_guard_len(dom);
	dray_iova_t first = a->iova - s.off;
	int err;

	if (!s.len)
		return dr_fail(EINVAL, "buffer %p+0x%zx passes the end of memory", a->va, a->len);
	if (fixed && (a->iova & dom->io.granule_mask) != s.off)
		return dr_fail(EINVAL, "IOVA 0x%" PRIx64 " and buffer %p differ inside a granule; "
			       "keep the offset", a->iova, a->va);
	err = fixed ? dr_place_fixed(dom, call->dev, &s, a->len, a->iova) :
		      dr_place(dom, call->dev, &s, a->len, a->align, &first);
	if (err)
		return err;
	err = dr_act_map(&dom->io, first, s.va, s.len, bits, &refused);
	if (err) {
		dr_act_release(&dom->io, first, s.len + guard, refused);
		return err;
	}
	*ret_iova = first + s.off;
	*ret_handle = (uint64_t)(s.len >> __builtin_ctzll(dom->io.granule_mask + 1)) << 1 |
		      (guard != 0);
	return 0;
}

/* The first try failed: flush and try once more, or copy, where that helps. */
static int map_again(const struct dr_call *call, const struct dr_map_args *a, int err,
		     struct dr_receipt *r, dray_iova_t *ret_iova)
{
	for (unsigned tries = 0; err && dr_way_retry(call, err, a->iova != DRAY_IOVA_NONE, &tries);)
		err = map_granules(call, a, ret_iova, &r->handle);
	if (err == -EFAULT && a->iova == DRAY_IOVA_NONE && !a->whole &&
	    dr_way_can_copy(call, a->va, a->len)) {
		r->way = DR_WAY_BOUNCE;
		err = dr_way_bounce(call, a->va, a->len, DR_BOUNCE_PIN, ret_iova, &r->handle);
	}
	return err;
}

/* Outside the read section, the way is known. */
static int map_paging(const struct dr_call *call, const struct dr_map_args *a,
		      enum dr_bounce_why why, struct dr_receipt *r, dray_iova_t *ret_iova)
{
	int err = dr_check_segment(call->dev, a->len);

	if (err)
		return err;
	if (dr_flush_is_lazy(call->dom->flush))
		dr_flush_ready(call->dom->flush);
	if (why) {
		r->way = DR_WAY_BOUNCE;
		err = dr_way_bounce(call, a->va, a->len, why, ret_iova, &r->handle);
		/* Where copying is only cheaper, mapping is as good. */
		if (!err || why != DR_BOUNCE_CHEAPER)
			return err;
	}
	r->way = DR_WAY_MAP;
	err = map_granules(call, a, ret_iova, &r->handle);
	return err ? map_again(call, a, err, r, ret_iova) : 0;
}

/* It is not mapped in its granules after all. */
static void unexpose(struct dray_domain *dom, struct dr_receipt *r)
{
	if (r->partial)
		dr_partial_end(dom);
	r->partial = false;
}

/* Decide in the read section, act outside of it. */
static int map_in(struct dr_call *call, const struct dr_map_args *a, struct dr_receipt *r,
		  dray_iova_t *ret_iova)
{
	struct dray_domain *dom = call->dom;
	bool own = a->whole || a->iova != DRAY_IOVA_NONE;
	enum dr_bounce_why why = DR_BOUNCE_NO;
	int err;

	if (dom->type == DRAY_DOMAIN_PAGING) {
		if (!own)
			why = dr_way_why(call, a->va, a->len);
		/* A fixed address maps whole granules or none: it says where the bytes must be. */
		else if (!a->whole && !call->trusted && dr_is_partial(dom, a->va, a->len))
			why = DR_BOUNCE_EDGE;
		r->partial = !why && !a->whole && dr_is_partial(dom, a->va, a->len);
		if (why == DR_BOUNCE_CHEAPER)
			r->partial = dr_is_partial(dom, a->va, a->len);
		if (r->partial)
			dr_partial_begin(dom);
		dr_rcu_read_unlock();
		if (why && a->iova != DRAY_IOVA_NONE)
			err = dr_fail(ENOTSUP, "a fixed address cannot be bounced, and the buffer "
				      "shares its granules while an untrusted device is in the "
				      "domain; map whole granules");
		else
			err = map_paging(call, a, why, r, ret_iova);
		if (err || r->way == DR_WAY_BOUNCE)
			unexpose(dom, r);
		return err;
	}
	dr_rcu_read_unlock();
	if (dom->type == DRAY_DOMAIN_BLOCKED)
		return dr_fail(EPERM, "the domain is BLOCKED; map in a PAGING domain");
	err = dr_check_segment(call->dev, a->len);
	if (!err && !own && !dom->io.be->translates)
		why = dr_way_why(call, a->va, a->len);
	r->way = why ? DR_WAY_BOUNCE : DR_WAY_DIRECT;
	if (why)
		return dr_way_bounce(call, a->va, a->len, why, ret_iova, &r->handle);
	if (!err)
		err = dr_place_direct(call->dev, a->va, a->len, a->iova);
	*ret_iova = (uintptr_t)a->va;
	return err;
}

static void publish(const struct dr_call *call, const struct dr_map_args *a,
		    const struct dr_receipt *r, dray_iova_t iova, struct dray_mapping *ret_map)
{
	dr_sync_map(call->dom, r, iova, a->va, a->len);
	dr_count(&call->dom->io.counters, DR_MAPS, 1);
	*ret_map = (struct dray_mapping){
		.iova = iova, .len = a->len,
		.cookie = { (uintptr_t)call->dom, dr_receipt_pack(r) },
	};
}

int dr_map_one(struct dray_device *dev, const struct dr_map_args *a, struct dray_mapping *ret_map)
{
	struct dr_receipt r = { .dir = a->dir, .no_sync = a->flags & DRAY_MAP_NO_SYNC };
	struct dr_call call;
	dray_iova_t iova = 0;
	int err = dr_call_begin(dev, a->dir, a->flags, &call);

	if (err)
		return err;
	r.owner = call.owner;
	r.uncached = call.uncached;
	err = map_in(&call, a, &r, &iova);
	if (err) {
		dr_call_fail(&call);
		return err;
	}
	publish(&call, a, &r, iova, ret_map);
	return 0;
}

static __attribute__((noinline)) int map_long(struct dray_device *dev, void *va, size_t len,
					      enum dray_dir dir, uint32_t flags,
					      struct dray_mapping *ret_map)
{
	struct dr_map_args a = {
		.va = va, .len = len, .dir = dir, .flags = flags, .iova = DRAY_IOVA_NONE,
	};

	return dr_map_one(dev, &a, ret_map);
}

/* Does the domain map a buffer of @len bytes in its granules, with nothing beside it? */
static inline bool is_plain(const struct dray_domain *dom, const struct dray_device *dev,
			    size_t len)
{
	return dom->type == DRAY_DOMAIN_PAGING && !(dom->flags & DRAY_DOMAIN_GUARD) &&
	       dr_way_is_plain(dom, dev, dr_domain_is_trusted(dom), len);
}

/*
 * map_short() failed, with @err, or without an address and 0; the domain is held and the granule
 * counted in @r. The rest of the long way.
 */
static __attribute__((noinline)) int map_mended(const struct dr_attachment *att,
						const struct dr_map_args *a, int err,
						struct dr_receipt *r, struct dray_mapping *ret_map)
{
	struct dr_call call = {
		.dev = att->dev, .dom = att->dom, .owner = att->owner, .own = att->own, .dir = a->dir,
		.flags = a->flags, .trusted = true,
	};
	dray_iova_t iova = 0;

	if (!err)
		err = map_granules(&call, a, &iova, &r->handle);
	if (err)
		err = map_again(&call, a, err, r, &iova);
	if (err || r->way == DR_WAY_BOUNCE)
		unexpose(call.dom, r);
	if (err)
		dr_call_fail(&call);
	else
		publish(&call, a, r, iova, ret_map);
	return err;
}

/*
 * What dr_map_one() does, where is_plain() says so, the buffer is short of a large page, and the
 * thread counts in a block of its own: in half of the instructions. What goes wrong is mended, or
 * refused with a reason, as there. Inside the read section in which @att was found, which it ends.
 */
static __attribute__((noinline)) int map_short(const struct dr_attachment *att, void *va,
					       size_t len, enum dray_dir dir, uint32_t flags,
					       struct dray_mapping *ret_map)
{
	struct dray_domain *dom = att->dom;
	struct dr_iospace *io = &dom->io;
	size_t off = (uintptr_t)va & io->granule_mask;
	struct dr_receipt r = {
		.owner = att->owner, .dir = dir, .way = DR_WAY_MAP,
		.no_sync = flags & DRAY_MAP_NO_SYNC, .partial = dr_is_partial(dom, va, len),
	};
	size_t span = (off + len + io->granule_mask) & ~io->granule_mask;
	struct dr_counter_block *b = dr_counters_mine(&io->counters);
	bool refused = false;
	dray_iova_t first;
	int err = 0;

	dr_count_in(b, DR_BEGUN, 1, memory_order_relaxed);
	if (r.partial)
		dr_count_in(b, DR_PARTIAL_BEGUN, 1, memory_order_relaxed);
	dr_rcu_read_unlock();
	if (dr_flush_is_lazy(dom->flush))
		dr_flush_ready(dom->flush);
	first = dray_iova_alloc(io->space, span, 0, 0);
	if (__builtin_expect(first == DRAY_IOVA_NONE, 0))
		goto mend;
	err = dr_act_map(io, first, (char *)va - off, span, dr_dir_bits(dir) |
			 dr_pte_owner_bits(r.owner), &refused);
	if (__builtin_expect(err, 0)) {
		dr_act_release(io, first, span, refused);
		goto mend;
	}
	dr_count_in(b, DR_MAPS, 1, memory_order_relaxed);
	r.handle = (uint64_t)(span >> __builtin_ctzll(io->granule_mask + 1)) << 1;
	*ret_map = (struct dray_mapping){
		.iova = first + off, .len = len,
		.cookie = { (uintptr_t)dom, dr_receipt_pack(&r) },
	};
	return 0;

mend:
	return map_mended(att, &(struct dr_map_args){
		.va = va, .len = len, .dir = dir, .flags = flags, .iova = DRAY_IOVA_NONE,
	}, err, &(struct dr_receipt){
		.owner = r.owner, .dir = dir, .way = DR_WAY_MAP, .no_sync = r.no_sync,
		.partial = r.partial,
	}, ret_map);
}

int dray_map(struct dray_device *dev, void *va, size_t len, enum dray_dir dir, uint32_t flags,
	     struct dray_mapping *ret_map)
{
	struct dr_attachment *att;
	int err = dr_map_check(va, len, dir, flags);

	if (__builtin_expect(err || !ret_map, 0))
		return err ? err : dr_fail(EINVAL, "ret_map is NULL; the receipt is needed to "
					   "unmap");
	if (__builtin_expect(!dev || dr_device_is_forked(dev), 0))
		return map_long(dev, va, len, dir, flags, ret_map);
	dr_rcu_read_lock();
	att = atomic_load_explicit(&dev->here, memory_order_acquire);
	if (__builtin_expect(att != NULL, 1)) {
		if (dr_map_registered(att, va, len, dir, flags, ret_map)) {
			dr_rcu_read_unlock();
			return 0;
		}
		if (is_plain(att->dom, dev, len) && len <= SHORT_OF_LARGE &&
		    dr_counters_mine(&att->dom->io.counters))
			return map_short(att, va, len, dir, flags, ret_map);
	}
	dr_rcu_read_unlock();
	return map_long(dev, va, len, dir, flags, ret_map);
}

int dray_map_fixed(struct dray_device *dev, dray_iova_t iova, void *va, size_t len,
		   enum dray_dir dir, uint32_t flags, struct dray_mapping *ret_map)
{
	struct dr_map_args a = {
		.va = va, .len = len, .dir = dir, .flags = flags, .iova = iova,
	};
	int err = dr_map_check(va, len, dir, flags);

	if (!err && !ret_map)
		err = dr_fail(EINVAL, "ret_map is NULL; the receipt is needed to unmap");
	/* DRAY_IOVA_NONE is no address, and means "anywhere" from here on. */
	if (!err && (iova + len - 1 < iova || iova == DRAY_IOVA_NONE))
		err = dr_fail(ERANGE, "0x%" PRIx64 "+0x%zx passes the last address", iova, len);
	return err ? err : dr_map_one(dev, &a, ret_map);
}

struct dray_domain *dr_receipt_open(uint64_t cookie0, uint64_t cookie1, struct dr_receipt *ret_r)
{
	struct dray_domain *dom = (struct dray_domain *)(uintptr_t)cookie0;
	struct dr_receipt r;

	if (!dom || !dr_receipt_unpack(cookie1, &r))
		return NULL;
	/* Domains keep their type: this reads a state even when the receipt outlived its domain. */
	if (atomic_load_explicit(&dom->state, memory_order_acquire) == DR_FREE)
		return NULL;
	if (ret_r)
		*ret_r = r;
	return dom;
}

static __attribute__((noinline)) void count_bad(struct dray_domain *dom,
						const struct dray_mapping *m)
{
	dr_count(&dom->io.counters, DR_BAD_UNMAPS, 1);
	dr_log(&dom->io.log, LOG_ERR, "unmap of 0x%" PRIx64 "+0x%zx, which is not mapped; a "
	       "receipt is good for one unmap", m->iova, m->len);
}

/* Coherent memory: strictly, because it goes next; cached again once no device reaches it. */
static bool unmap_coherent(struct dray_domain *dom, const struct dr_receipt *r, dray_iova_t first,
			   size_t len, size_t guard, bool *ret_live)
{
	void *va = r->uncached ? dr_pgtable_own_va(dom->io.pt, first) : NULL;
	bool ok = dr_way_unmap_strictly(dom, first, len, guard, ret_live);

	if (ok && va)
		dr_backend_recache(dom->io.be, va, len);
	return ok;
}

/* Take back one mapping by its way. False as dr_unmap_one(); *ret_live as dr_way_unmap(). */
static bool unmap_in(struct dray_domain *dom, const struct dray_mapping *m,
		     const struct dr_receipt *r, bool strictly, bool *ret_live)
{
	dray_iova_t first = m->iova & ~dom->io.granule_mask;
	size_t len = (m->iova - first + m->len + dom->io.granule_mask) & ~dom->io.granule_mask;

	size_t guard = r->handle & 1 ? dr_guard_len(dom) : 0;

	*ret_live = true;
	switch (r->way) {
	case DR_WAY_BOUNCE:
		/* The slot's lines before the slot is read. */
		if (dr_bounce_is_live(dom->bounce, r->handle))
			dr_sync_unmap(dom, r, m->iova, NULL, m->len);
		return dr_way_unbounce(dom, r, ret_live);
	case DR_WAY_MAP:
		if (strictly)
			return unmap_coherent(dom, r, first, len, guard, ret_live);
		dr_sync_unmap(dom, r, m->iova, NULL, m->len);
		return dr_way_unmap(dom, first, len, guard, ret_live);
	default:
		dr_sync_unmap(dom, r, m->iova, (void *)(uintptr_t)m->iova, m->len);
		return true;
	}
}

static __attribute__((noinline)) bool unmap_long(struct dray_mapping *m, bool strictly)
{
	struct dr_receipt r;
	struct dray_domain *dom = dr_receipt_open(m->cookie[0], m->cookie[1], &r);
	bool live, ok = true;

	if (dom && !dr_domain_is_forked(dom)) {
		ok = unmap_in(dom, m, &r, strictly, &live);
		if (live) {
			if (r.partial)
				dr_partial_end(dom);
			dr_count(&dom->io.counters, DR_UNMAPS, 1);
			dr_domain_leave(dom);
		} else {
			count_bad(dom, m);
		}
	}
	*m = (struct dray_mapping){ 0 };
	return dom && ok;
}

bool dr_unmap_one(struct dray_mapping *m, bool strictly)
{
	struct dray_domain *dom = (struct dray_domain *)(uintptr_t)m->cookie[0];
	uint64_t cookie = m->cookie[1];
	dray_iova_t first;
	bool live, ok;
	size_t len;

	/* Read as dr_receipt_open() does. */
	if (__builtin_expect(!dom || atomic_load_explicit(&dom->state, memory_order_acquire) ==
			     DR_FREE, 0))
		return unmap_long(m, strictly);
	if (dr_receipt_is_region(cookie))
		return dr_unmap_registered(dom, m);
	/* What unmap_long() does, in a third of its instructions, for what is plain. */
	if (__builtin_expect(!dr_receipt_is_plain(cookie) || dr_domain_is_forked(dom), 0))
		return unmap_long(m, strictly);
	first = m->iova & ~dom->io.granule_mask;
	len = (m->iova - first + m->len + dom->io.granule_mask) & ~dom->io.granule_mask;
	ok = strictly ? dr_way_unmap_strictly(dom, first, len, 0, &live) :
			dr_way_unmap(dom, first, len, 0, &live);
	if (__builtin_expect(live, 1)) {
		if (cookie & DR_RECEIPT_PARTIAL)
			dr_partial_end(dom);
		dr_count(&dom->io.counters, DR_UNMAPS, 1);
		dr_domain_leave(dom);
	} else {
		count_bad(dom, m);
	}
	*m = (struct dray_mapping){ 0 };
	return ok;
}

void dray_unmap(struct dray_device *dev, struct dray_mapping *m)
{
	(void)dev; /* the receipt knows its domain, which the device may have left since */
	if (m)
		dr_unmap_one(m, false);
}
