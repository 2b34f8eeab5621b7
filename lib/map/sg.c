// SPDX-License-Identifier: BSD-2-Clause
/*
 * Map a list of buffers, and take it back.
 *
 * 1. Elements, runs, blocks, segments. Each element of the list goes its own way (map.c, 2).
 *    Consecutive elements that are mapped and adjoin in memory are one run: one backend mapping of
 *    the granules around them. Consecutive runs are laid one after the other, at granule boundaries,
 *    in one block: one IOVA allocation and, at unmap, one unmap. Segments are what the device is
 *    told: elements whose bytes follow each other in IOVA, put together as far as the device's
 *    longest segment and boundary allow.
 *
 * 2. A list is one block as a rule. Another begins where an element is not mapped (it is registered,
 *    or copied), where the device's boundary would cut an element that a block of its own keeps
 *    whole, and where the backend's longest call would be passed. Nothing but the elements' granules
 *    is ever mapped: there is no padding.
 *
 * 3. Two passes. Plan: each element gets its way; registered elements are counted, in the call's
 *    read section. Act: block by block, measured, placed and mapped; slots are filled. Then the
 *    segments are counted, before one is written: more than there are elements is -EMSGSIZE. A
 *    failure at any point takes back what was done, in reverse.
 *
 * 4. The receipt is in the elements' cookies: element 0 names the domain, every other where it
 *    begins itself; the second cookie is as in receipt.h, with a handle that holds the length of the
 *    block that begins in this element's granule, or none. Element 0 begins with segment 0. So
 *    nothing is allocated, and unmap needs the original count but looks at no segment but the first.
 *
 * 5. A list of one element is a map call of its own, whose receipt is what follows va and len in the
 *    element: both are laid out alike, so nothing is copied. It takes 25 instructions and about a
 *    nanosecond more than dray_map() and dray_unmap(); copying the receipt to and fro, 76 and ten.
 */
#include "map/map.h"
#include "map/segments.h"
#include "base/err.h"
#include "base/rcu.h"

#include <dray/sg.h>

#include <errno.h>
#include <inttypes.h>

unsigned dray_sg_from_iov(const struct iovec *iov, unsigned n, struct dray_sg *ret_sg)
{
	unsigned filled = 0;

	for (unsigned i = 0; iov && ret_sg && i < n; i++)
		if (iov[i].iov_len)
			ret_sg[filled++] = (struct dray_sg){
				.va = iov[i].iov_base, .len = iov[i].iov_len,
			};
	return filled;
}

static int check_call(const struct dray_sg *sg, unsigned n, enum dray_dir dir, uint32_t flags)
{
	if (!sg || !n)
		return dr_fail(EINVAL, "the list is %s; map at least one element",
			       sg ? "empty" : "NULL");
	if (n > INT32_MAX)
		return dr_fail(EINVAL, "a list of %u elements; map at most %d", n, INT32_MAX);
	return dr_map_check(sg[0].va, sg[0].len, dir, flags);
}

static int check_elements(const struct dray_sg *sg, unsigned n, enum dray_dir dir, uint32_t flags)
{
	for (unsigned i = 0; i < n; i++) {
		int err = dr_map_check(sg[i].va, sg[i].len, dir, flags);

		if (err)
			return err;
	}
	return 0;
}

/* Most bytes of a block of several elements: what one backend call and one boundary hold. */
static uint64_t block_limit(const struct dr_call *call)
{
	uint64_t limit = call->dom->io.be->max_op;

	if (call->dev->boundary_mask && call->dev->boundary_mask < limit - 1)
		limit = call->dev->boundary_mask + 1;
	return limit;
}

/* Can the device use a registered element where it is? Segments are cut later. */
static bool suits(const struct dr_call *call, dray_iova_t iova, size_t len)
{
	const struct dray_device *dev = call->dev;

	return iova + len - 1 <= dr_device_mask(dev) &&
	       !(dev->min_align && (iova & (dev->min_align - 1))) && !call->uncached;
}

static uint64_t cookie_of(const struct dr_call *call, enum dr_way way, uint64_t handle)
{
	struct dr_receipt r = {
		.owner = call->owner, .dir = call->dir, .way = way, .handle = handle,
		.no_sync = call->flags & DRAY_MAP_NO_SYNC, .uncached = call->uncached,
	};

	return dr_receipt_pack(&r);
}

static void set_way(struct dray_sg *e, const struct dr_call *call, enum dr_way way,
		    uint64_t handle)
{
	e->cookie[1] = cookie_of(call, way, handle);
}

static enum dr_way way_of(const struct dray_sg *e, uint64_t *ret_handle)
{
	struct dr_receipt r;

	dr_receipt_unpack(e->cookie[1], &r);
	*ret_handle = r.handle;
	return r.way;
}

/*
 * Inside the read section: the way of each element. The handle of one to be copied is the reason
 * until it has a slot, of one to be mapped 0. Returns whether any exposes more of a granule than
 * itself.
 */
static bool plan(const struct dr_call *call, struct dray_sg *sg, unsigned n)
{
	/*
	 * Asked once for all elements, which spares 40 instructions for each; of no length, since
	 * none is copied because that is cheaper.
	 */
	bool plain = dr_way_is_plain(call->dom, call->dev, call->trusted, SIZE_MAX);
	uint64_t mapped = cookie_of(call, DR_WAY_MAP, 0);
	struct dray_domain *dom = call->dom;
	bool partial = false;

	for (unsigned i = 0; i < n; i++) {
		struct dray_sg *e = &sg[i];
		enum dr_bounce_why why = DR_BOUNCE_NO;
		uint32_t index;

		if (dr_region_enter(dom->regions, e->va, e->len, call->dir, &e->cookie[0],
				    &index)) {
			if (suits(call, e->cookie[0], e->len)) {
				set_way(e, call, DR_WAY_REGION,
					dr_region_handle(dom, index));
				continue;
			}
			dr_region_leave(dom->regions, index);
		}
		if (!plain)
			why = dr_way_why(call, e->va, e->len);
		/* What is only cheaper to copy is cheaper still to map beside others. */
		if (why && why != DR_BOUNCE_CHEAPER) {
			set_way(e, call, DR_WAY_BOUNCE, why);
			continue;
		}
		e->cookie[1] = mapped;
		partial |= dr_is_partial(dom, e->va, e->len);
	}
	if (partial)
		dr_partial_begin(dom);
	return partial;
}

/* Where the elements of one block end, and how long it is. */
struct block {
	unsigned end;
	size_t len;
};

static bool adjoins(const struct dray_sg *e, const struct dray_sg *next)
{
	return (char *)e->va + e->len == next->va;
}

/*
 * The block that begins with element @i, which is mapped; cookie[0] of each of its elements becomes
 * where it begins in the block.
 */
static struct block measure(const struct dr_call *call, struct dray_sg *sg, unsigned n, unsigned i)
{
	uint64_t limit = block_limit(call), mapped = sg[i].cookie[1];
	uint64_t mask = call->dom->io.granule_mask;
	uintptr_t va = (uintptr_t)sg[i].va, end = va + sg[i].len; /* of the run's bytes */
	uintptr_t run = va & ~mask; /* where its granules begin */
	size_t before = 0;          /* of the block, ahead of the run */
	struct block b = { .end = i + 1, .len = (end - run + mask) & ~mask };

	sg[i].cookie[0] = va - run;
	for (; b.end < n; b.end++) {
		struct dray_sg *e = &sg[b.end];
		size_t len;

		/* As planned, all that are mapped have one cookie. */
		if (e->cookie[1] != mapped)
			break;
		va = (uintptr_t)e->va;
		if (va != end) {
			before = b.len;
			run = va & ~mask;
		}
		end = va + e->len;
		len = before + ((end - run + mask) & ~mask);
		/* Wrapping ends up below what there is already. */
		if (len > limit || len < b.len)
			break;
		b.len = len;
		e->cookie[0] = before + (va - run);
	}
	return b;
}

/* Map the runs of a block, elements [i, end), from @iova on; cookie[0] of each as measured. */
static int map_runs(const struct dr_call *call, struct dray_sg *sg, unsigned i, unsigned end,
		    dray_iova_t iova, bool *ret_refused)
{
	struct dray_domain *dom = call->dom;
	uint64_t bits = dr_dir_bits(call->dir) | dr_pte_owner_bits(call->owner);
	size_t done = 0;
	unsigned k;
	int err;

	*ret_refused = false;
	for (; i < end; i = k) {
		struct dr_span run;

		sg[i].cookie[0] += iova;
		for (k = i + 1; k < end && adjoins(&sg[k - 1], &sg[k]); k++)
			sg[k].cookie[0] += iova;
		run = dr_span_of(dom, sg[i].va, (size_t)((char *)sg[k - 1].va - (char *)sg[i].va) +
						 sg[k - 1].len);
		err = dr_act_map(&dom->io, iova + done, run.va, run.len,
				 done ? bits | DR_PTE_CONTINUE : bits, ret_refused);
		if (err) {
			if (done && dr_act_unmap(&dom->io, iova, done))
				*ret_refused = true;
			return err;
		}
		done += run.len;
	}
	return 0;
}

static int map_block(const struct dr_call *call, struct dray_sg *sg, unsigned i,
		     const struct block *b)
{
	struct dray_domain *dom = call->dom;
	struct dr_span s = {
		.off = (uintptr_t)sg[i].va & dom->io.granule_mask, .len = b->len,
	};
	size_t guard = dr_guard_len(dom);
	dray_iova_t iova;
	bool refused;
	int err;

	s.va = (char *)sg[i].va - s.off;
	err = dr_place_block(dom, call->dev, &s, &iova);
	if (err)
		return err;
	err = map_runs(call, sg, i, b->end, iova, &refused);
	if (err) {
		dr_act_release(&dom->io, iova, s.len + guard, refused);
		return err;
	}
	set_way(&sg[i], call, DR_WAY_MAP,
		(uint64_t)(s.len >> __builtin_ctzll(dom->io.granule_mask + 1)) << 1 | (guard != 0));
	return 0;
}

/* The backend cannot pin the block: may all of its elements be copied instead? */
static bool copy_block(const struct dr_call *call, struct dray_sg *sg, unsigned i, unsigned end)
{
	for (unsigned m = i; m < end; m++)
		if (!dr_way_can_copy(call, sg[m].va, sg[m].len))
			return false;
	for (unsigned m = i; m < end; m++)
		set_way(&sg[m], call, DR_WAY_BOUNCE, DR_BOUNCE_PIN);
	return true;
}

/*
 * Act: from element 0 on. *ret_end: how many elements have what they were planned; *ret_receipts:
 * how many receipts those are, blocks and slots; registered elements hold no domain.
 */
static int act(const struct dr_call *call, struct dray_sg *sg, unsigned n, unsigned *ret_end,
	       unsigned *ret_receipts)
{
	unsigned i = 0, tries = 0;

	*ret_receipts = 0;
	while (i < n) {
		struct block b = { .end = i + 1 };
		uint64_t handle;
		int err = 0;

		switch (way_of(&sg[i], &handle)) {
		case DR_WAY_BOUNCE:
			err = dr_way_bounce(call, sg[i].va, sg[i].len, (enum dr_bounce_why)handle,
					    &sg[i].cookie[0], &handle);
			if (!err)
				set_way(&sg[i], call, DR_WAY_BOUNCE, handle);
			break;
		case DR_WAY_MAP:
			b = measure(call, sg, n, i);
			err = map_block(call, sg, i, &b);
			if (err && dr_way_retry(call, err, false, &tries))
				continue;
			if (err == -EFAULT && copy_block(call, sg, i, b.end))
				continue;
			break;
		default:
			break;
		}
		*ret_end = i;
		if (err)
			return err;
		*ret_receipts += way_of(&sg[i], &handle) != DR_WAY_REGION;
		i = b.end;
	}
	*ret_end = n;
	return 0;
}

/* Forget the elements from @i on that have this cookie. Returns where they end. */
static inline unsigned skip(struct dray_sg *sg, unsigned n, unsigned i, uint64_t cookie)
{
	for (; i < n && sg[i].cookie[1] == cookie; i++)
		sg[i].cookie[0] = sg[i].cookie[1] = 0;
	return i;
}

/*
 * Take back elements [0, end), which were acted on, and the counts of those planned behind them;
 * forget all of them. Returns how many of the list's receipts have ended; *ret_registered: elements
 * counted back.
 */
static unsigned take_back(struct dray_domain *dom, struct dray_sg *sg, unsigned n, unsigned end,
			  dray_iova_t first, unsigned *ret_registered)
{
	uint64_t granule = dom->io.granule_mask + 1;
	unsigned ended = 0, next;

	*ret_registered = 0;
	for (unsigned i = 0; i < n; i = next) {
		dray_iova_t iova = i ? sg[i].cookie[0] : first;
		uint64_t cookie = sg[i].cookie[1];
		struct dr_receipt r;
		bool live = false;

		next = i + 1;
		sg[i].cookie[0] = sg[i].cookie[1] = 0;
		if (dr_receipt_is_region(cookie)) {
			/* Those in one region at once: see registered.c, 5. */
			next = skip(sg, n, next, cookie);
			if (dr_region_handle_leave(dom, dr_receipt_handle(cookie), next - i))
				*ret_registered += next - i;
			continue;
		}
		dr_receipt_unpack(cookie, &r);
		if (i < end && r.way == DR_WAY_BOUNCE) {
			dr_way_unbounce(dom, &r, &live);
		} else if (r.way == DR_WAY_MAP) {
			if (i < end && r.handle)
				dr_way_unmap(dom, iova & ~dom->io.granule_mask,
					     (size_t)(r.handle >> 1) * granule,
					     r.handle & 1 ? dr_guard_len(dom) : 0, &live);
			next = skip(sg, n, next, dr_receipt_inside(cookie));
		}
		ended += live;
	}
	return ended;
}

static void forget(struct dray_sg *sg, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		sg[i].cookie[0] = sg[i].cookie[1] = 0;
}

/* Nothing translates: each element is where it is. */
static int map_direct(const struct dr_call *call, struct dray_sg *sg, unsigned n)
{
	unsigned out, slots = 0, end = 0, registered;
	int err = 0;

	if (call->dom->type == DRAY_DOMAIN_BLOCKED)
		return dr_fail(EPERM, "the domain is BLOCKED; map in a PAGING domain");
	for (unsigned i = 0; i < n && !err; i++) {
		enum dr_bounce_why why = call->dom->io.be->translates ? DR_BOUNCE_NO :
					 dr_way_why(call, sg[i].va, sg[i].len);
		uint64_t handle;

		if (why) {
			err = dr_way_bounce(call, sg[i].va, sg[i].len, why, &sg[i].cookie[0],
					    &handle);
			if (err)
				break;
			set_way(&sg[i], call, DR_WAY_BOUNCE, handle);
			slots++;
			end = i + 1;
			continue;
		}
		/* A segment may be cut, so the boundary is no reason to refuse. */
		if ((uintptr_t)sg[i].va + sg[i].len - 1 > dr_device_mask(call->dev))
			err = dr_fail(ERANGE, "element %u at %p+0x%zx is above the device's mask 0x%"
				      PRIx64 " and an IDENTITY domain cannot move it", i, sg[i].va,
				      sg[i].len, dr_device_mask(call->dev));
		sg[i].cookie[0] = (uintptr_t)sg[i].va;
		set_way(&sg[i], call, DR_WAY_DIRECT, 0);
		end = i + 1;
	}
	out = err ? 0 : dr_segments(call->dev, sg, n, sg[0].cookie[0], NULL);
	if (out > n)
		err = dr_fail(EMSGSIZE, "the device's limits make %u segments of %u elements; split "
			      "the list or its elements", out, n);
	if (err) {
		take_back(call->dom, sg, end, end, sg[0].cookie[0], &registered);
		return err;
	}
	dr_segments(call->dev, sg, n, sg[0].cookie[0], sg);
	sg[0].cookie[0] = (uintptr_t)call->dom;
	dr_count(&call->dom->io.counters, DR_MAPS, 1);
	dr_count(&call->dom->io.counters, DR_BEGUN, slots);
	return (int)out;
}

static int map_list(struct dr_call *call, struct dray_sg *sg, unsigned n)
{
	struct dray_domain *dom = call->dom;
	unsigned end = 0, receipts, registered, out = n;
	bool partial = plan(call, sg, n), limited;
	int err;

	dr_rcu_read_unlock();
	if (dr_flush_is_lazy(dom->flush))
		dr_flush_ready(dom->flush);
	err = act(call, sg, n, &end, &receipts);
	limited = call->dev->max_segment || call->dev->boundary_mask;
	if (!err && limited) {
		out = dr_segments(call->dev, sg, n, sg[0].cookie[0], NULL);
		if (out > n)
			err = dr_fail(EMSGSIZE, "the device's limits make %u segments of %u "
				      "elements; split the list or its elements", out, n);
	}
	if (err) {
		take_back(dom, sg, n, end, sg[0].cookie[0], &registered);
		if (partial)
			dr_partial_end(dom);
		return err;
	}
	for (unsigned i = 0; i < n && call->uncached; i++) {
		struct dr_receipt r;

		dr_receipt_unpack(sg[i].cookie[1], &r);
		dr_sync_map(dom, &r, sg[i].cookie[0], sg[i].va, sg[i].len);
	}
	out = dr_segments(call->dev, sg, n, sg[0].cookie[0], sg);
	if (partial)
		sg[0].cookie[1] |= DR_RECEIPT_PARTIAL;
	sg[0].cookie[0] = (uintptr_t)dom;
	dr_count(&dom->io.counters, DR_MAPS, 1);
	/* Each thing that a closing device may find left counts; the call counted one. */
	if (receipts)
		dr_count(&dom->io.counters, DR_BEGUN, receipts - 1);
	else
		dr_domain_leave(dom); /* its regions hold it: see registered.c */
	return (int)out;
}

static __attribute__((noinline)) int map_many(struct dray_device *dev, struct dray_sg *sg,
					      unsigned n, enum dray_dir dir, uint32_t flags)
{
	struct dr_call call;
	int ret = check_call(sg, n, dir, flags);

	if (ret)
		return ret;
	ret = (int)dr_map_registered_list(dev, sg, n, dir, flags);
	if (ret)
		return ret;
	ret = check_elements(sg, n, dir, flags);
	if (!ret)
		ret = dr_call_begin(dev, dir, flags, &call);
	if (ret)
		return ret;
	if (call.dom->type == DRAY_DOMAIN_PAGING) {
		ret = map_list(&call, sg, n);
	} else {
		dr_rcu_read_unlock();
		ret = map_direct(&call, sg, n);
	}
	if (ret < 0)
		dr_call_fail(&call);
	return ret;
}

/* The receipt of a list of one: see 5. */
static inline struct dray_mapping *receipt_of(struct dray_sg *sg)
{
	_Static_assert(offsetof(struct dray_sg, dma_len) - offsetof(struct dray_sg, iova) ==
		       offsetof(struct dray_mapping, len) &&
		       offsetof(struct dray_sg, cookie) - offsetof(struct dray_sg, iova) ==
		       offsetof(struct dray_mapping, cookie) &&
		       sizeof(*sg) - offsetof(struct dray_sg, iova) == sizeof(struct dray_mapping),
		       "the rest of an element is laid out as a receipt");
	return (struct dray_mapping *)&sg->iova;
}

/*
 * Element and receipt are the same memory of two types, which a compiler may take for different
 * memory where it sees through the call between them, as when it optimizes at link time. No
 * instruction.
 */
static inline void same_memory(struct dray_sg *sg)
{
	__asm__ volatile("" : : "r"(sg) : "memory");
}

int dray_map_sg(struct dray_device *dev, struct dray_sg *sg, unsigned n, enum dray_dir dir,
		uint32_t flags)
{
	int err;

	if (!sg || n != 1)
		return map_many(dev, sg, n, dir, flags);
	err = dray_map(dev, sg->va, sg->len, dir, flags, receipt_of(sg));
	same_memory(sg);
	return err ? err : 1;
}

/* What the device wrote goes to the CPU, before a slot is read or anything is unmapped. */
static void fetch(struct dray_domain *dom, const struct dray_sg *sg, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		struct dr_receipt r;
		bool in_slot;

		if (!dr_receipt_unpack(sg[i].cookie[1], &r))
			continue;
		in_slot = r.way == DR_WAY_BOUNCE;
		if (r.uncached && (!in_slot || dr_bounce_is_live(dom->bounce, r.handle)))
			dr_sync_unmap(dom, &r, i ? sg[i].cookie[0] : sg[0].iova,
				      in_slot ? NULL : sg[i].va, sg[i].len);
	}
}

static __attribute__((noinline)) void unmap_many(struct dray_sg *sg, unsigned n)
{
	struct dray_domain *dom;
	struct dr_receipt r;
	unsigned ended, registered = 0;

	dom = dr_receipt_open(sg[0].cookie[0], sg[0].cookie[1], &r);
	if (!dom || dr_domain_is_forked(dom)) {
		forget(sg, n);
		return;
	}
	/* The last of its regions may be let go of below: the call itself holds the domain. */
	dr_count(&dom->io.counters, DR_BEGUN, 1);
	if (r.uncached)
		fetch(dom, sg, n);
	ended = take_back(dom, sg, n, n, sg[0].iova, &registered);
	/* What stays where it is holds the domain once. */
	ended += dom->type == DRAY_DOMAIN_IDENTITY;
	if (!ended && !registered) {
		dr_count(&dom->io.counters, DR_BAD_UNMAPS, 1);
		dr_log(&dom->io.log, LOG_ERR, "unmap of a list of %u elements that is not mapped; "
		       "it is good for one unmap", n);
		dr_domain_leave(dom);
		return;
	}
	if (r.partial)
		dr_partial_end(dom);
	dr_count(&dom->io.counters, DR_UNMAPS, 1);
	dr_count(&dom->io.counters, DR_ENDED, ended);
	dr_domain_leave(dom);
}

void dray_unmap_sg(struct dray_device *dev, struct dray_sg *sg, unsigned n)
{
	(void)dev; /* the receipt knows its domain, which the device may have left since */
	if (!sg || !n)
		return;
	if (n > 1) {
		unmap_many(sg, n);
		return;
	}
	same_memory(sg);
	dr_unmap_one(receipt_of(sg), false);
	same_memory(sg);
}
