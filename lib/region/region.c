// SPDX-License-Identifier: BSD-2-Clause
/*
 * Regions: memory that is registered once, so that mapping inside it is a lookup.
 *
 * 1. What a region is. A range of memory, a range of IOVAs of the same length, and a descriptor
 *    with an index. The memory is mapped for every device of the domain, by the domain's table, for
 *    as long as the region lives; devices that come later get it by the same replay as everything
 *    else. table.c finds IOVA and index by address; count.h counts, by index, the mappings that
 *    dray_map() gave out inside.
 *
 * 2. Register: reserve, act, publish.
 *
 *      descriptor  an index; ADDING                                undo: FREE
 *      claim       the range in the table: any overlap shows now   undo: clear
 *      ask         may it be here? (trust)
 *      place       IOVAs, congruent modulo 2 MiB where it pays,    undo: give
 *                  and a guard behind them unless they were given
 *      fork        MADV_DONTFORK, if wanted                        undo: MADV_DOFORK
 *      act         the backend call                                undone by dr_act_map() itself
 *      publish     entries in the table, then LIVE; cannot fail
 *
 *    The lock is held over descriptor and claim, and over publish, not over what may take long, so
 *    two registrations pin at the same time; of two that overlap the second to claim fails.
 *
 * 3. PREMAPPED. Someone else keeps the mapping, so there is no act, and nothing of it enters the
 *    domain's mapping table: a backend would replay it to devices, or a software device walk it,
 *    and neither is dray's to do. A second table, IOVA to VA, made at the first such region,
 *    answers dray_iova_to_va(); claims in it refuse overlapping IOVAs where no allocator does.
 *    Inside the domain's window the IOVAs are taken from the space, or they must lie in a hole.
 *
 * 4. Unregister. LIVE becomes DYING by compare-and-swap: one thread wins. A map reads the state and
 *    counts itself in one read section, so after a grace period everyone who read LIVE is counted
 *    and everyone who comes later reads DYING. The sum is then what is out and can only fall. Not
 *    zero: LIVE again. Zero: the entries are cleared; after another grace period no reader has an
 *    entry of this index in its hands, and only then may the index be given to another region, or
 *    a map that had read the old entry could find the new region's state and count. Then the
 *    backend unmaps, the IOVAs go back, and the descriptor goes to the end of the free ones: the
 *    end, so that a handle that is used once too often finds it free for as long as possible.
 *    Nothing depends on how many regions there are.
 *
 * 5. Who meets whom.
 *
 *                | register            unregister           map, unmap inside    translate
 *    ------------+-------------------------------------------------------------------------------
 *    register    | lock; claims        lock; a dying one    absent until LIVE    absent or there
 *                | exclude overlap     still excludes
 *    unregister  |                     one wins by CAS      grace periods; a     there until it is
 *                |                                          map then sees it as  cleared: to keep
 *                |                                          absent               it is the caller's
 *    map, unmap  |                                          own slots            nothing is written
 *    close       | caller's error      caller's error       receipts hold the domain
 *
 * 6. Locks. The lock guards descriptors and the writing of tables; the lock of the counts comes
 *    after it. Neither is held over a backend call or a grace period, so a map may take the
 *    latter, to get its slots, inside a read section.
 *
 * 7. What can fail: registering, anywhere up to publish, with everything undone in reverse.
 *    Unregistering only by being refused before anything has changed; what a backend refuses to
 *    unmap is quarantined, and the region is gone.
 */
#define _GNU_SOURCE
#include "region/region.h"
#include "base/err.h"
#include "base/hooks.h"
#include "base/rcu.h"
#include "region/descriptor.h"

#include <dray/stats.h>

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#define LARGE_PAGE (UINT64_C(1) << DR_LARGE_SHIFT)

#define KNOWN_FLAGS                                                                                \
	(DRAY_REGION_READ_ONLY | DRAY_REGION_DONTFORK | DRAY_REGION_SHARE_UNTRUSTED |              \
	 DRAY_REGION_PREMAPPED | DR_REGION_IDENTITY)

/* Nobody maps it: dray has nothing to do at the backend. */
static bool is_others(uint32_t flags)
{
	return flags & (DRAY_REGION_PREMAPPED | DR_REGION_IDENTITY);
}

static int check_args(const struct dr_iospace *io, const struct dr_region_args *a)
{
	uint64_t mask = io->granule_mask, va = (uintptr_t)a->va;

	if (a->flags & ~KNOWN_FLAGS)
		return dr_fail(EINVAL, "region flags 0x%x are unknown; use DRAY_REGION_*",
			       a->flags & ~KNOWN_FLAGS);
	if (!a->va || !a->len || ((va | a->len) & mask))
		return dr_fail(EINVAL, "memory %p+0x%zx is not whole granules of %" PRIu64 " bytes; "
			       "align it", a->va, a->len, mask + 1);
	if (va + a->len - 1 < va)
		return dr_fail(EINVAL, "memory %p+0x%zx passes the end of memory", a->va, a->len);
	if ((va + a->len - 1) >> DR_KEY_BITS)
		return dr_fail(EFAULT, "memory %p+0x%zx is above 2^%d, where no region can be",
			       a->va, a->len, DR_KEY_BITS);
	if (a->iova == DRAY_IOVA_NONE)
		return 0;
	if (a->iova & mask)
		return dr_fail(EINVAL, "IOVA 0x%" PRIx64 " is not aligned to the granule of %" PRIu64
			       " bytes", a->iova, mask + 1);
	if (a->iova + a->len - 1 < a->iova || (a->iova + a->len - 1) >> DR_KEY_BITS)
		return dr_fail(ERANGE, "0x%" PRIx64 "+0x%zx passes the last address of 2^%d",
			       a->iova, a->len, DR_KEY_BITS);
	return 0;
}

/* An IOVA of the space's choice. */
static int place_anywhere(struct dr_iospace *io, struct dray_region *g)
{
	struct dr_iova_request req = {
		.len = g->len, .align = io->granule_mask + 1, .last = DRAY_IOVA_NONE,
	};
	int err;

	dr_iospace_add_guard(io, &req);
	g->guard = io->guard;
	/* Large IOMMU pages need it. */
	if (g->len >= LARGE_PAGE && req.align < LARGE_PAGE) {
		req.align = LARGE_PAGE;
		req.phase = (uintptr_t)g->va & (LARGE_PAGE - 1);
		err = dr_iova_take(io->space, &req, &g->iova);
		/* -EINVAL: no address could ever do, at this offset. */
		if (err != -ENOSPC && err != -EINVAL)
			return err;
		req.align = io->granule_mask + 1;
		req.phase = 0;
	}
	err = dr_iova_take(io->space, &req, &g->iova);
	if (err == -ENOSPC || err == -EINVAL)
		return dr_fail(ENOSPC, "no 0x%zx bytes of IOVA left in the window 0x%" PRIx64
			       "..0x%" PRIx64 "; unregister something or widen it", g->len,
			       io->first, io->last);
	return err;
}

/* Is [first, last] inside one hole? */
static bool is_hole(struct dr_iospace *io, dray_iova_t first, dray_iova_t last)
{
	struct dray_range hole;

	for (unsigned i = 0; dr_iova_nth_hole(io->space, i, &hole); i++)
		if (hole.first <= first && hole.last >= last)
			return true;
	return false;
}

/* IOVAs that somebody else uses for this memory: the space shall not give them to anyone. */
static int place_premapped(struct dr_iospace *io, struct dray_region *g)
{
	dray_iova_t first = g->iova, last = first + g->len - 1;

	if (last < io->first || first > io->last)
		return 0;
	if (first < io->first || last > io->last)
		return dr_fail(ERANGE, "0x%" PRIx64 "+0x%zx is partly outside the domain's window "
			       "0x%" PRIx64 "..0x%" PRIx64 "; register the parts", first, g->len,
			       io->first, io->last);
	if (is_hole(io, first, last))
		return 0;
	g->takes_iova = true;
	return dr_iova_take_fixed(io->space, first, last);
}

static int place_at(struct dr_iospace *io, struct dray_region *g)
{
	if (g->iova < io->first || g->iova + g->len - 1 > io->last)
		return dr_fail(ERANGE, "0x%" PRIx64 "+0x%zx is outside the domain's window 0x%" PRIx64
			       "..0x%" PRIx64, g->iova, g->len, io->first, io->last);
	return dr_iova_take_fixed(io->space, g->iova, g->iova + g->len - 1);
}

/* 0, or nothing is taken. */
static int place(struct dr_iospace *io, struct dray_region *g)
{
	int err;

	g->takes_iova = !is_others(g->flags);
	g->guard = 0;
	if (g->flags & DR_REGION_IDENTITY)
		err = 0;
	else if (g->flags & DRAY_REGION_PREMAPPED)
		err = place_premapped(io, g);
	else if (g->iova == DRAY_IOVA_NONE)
		err = place_anywhere(io, g);
	else
		err = place_at(io, g);
	if (err)
		g->takes_iova = false;
	return err;
}

static void unplace(struct dr_iospace *io, struct dray_region *g, bool refused)
{
	if (g->takes_iova)
		dr_act_release(io, g->iova, g->len + g->guard, refused);
}

static int keep_from_children(const struct dray_region *g)
{
	int err;

	if (!(g->flags & DRAY_REGION_DONTFORK) || !dr_hooks->madvise(g->va, g->len, MADV_DONTFORK))
		return 0;
	err = errno;
	if (err == ENOMEM)
		return dr_fail(ENOMEM, "MADV_DONTFORK of %p+0x%zx: the memory has holes, or the "
			       "process has vm.max_map_count areas; fill them, or raise it", g->va,
			       g->len);
	return dr_fail(err == EINVAL ? EINVAL : ENOMEM, "MADV_DONTFORK of %p+0x%zx: %s; register it "
		       "without DRAY_REGION_DONTFORK", g->va, g->len, strerror(err));
}

void dr_region_let_children(const struct dray_region *g)
{
	if (g->flags & DRAY_REGION_DONTFORK)
		dr_hooks->madvise(g->va, g->len, MADV_DOFORK);
}

static int act(struct dr_iospace *io, const struct dray_region *g, bool *ret_refused)
{
	uint64_t bits = DR_PTE_READ | dr_pte_owner_bits(DR_OWNER_REGION);
	char why[200];
	int err;

	*ret_refused = false;
	if (is_others(g->flags))
		return 0;
	if (!(g->flags & DRAY_REGION_READ_ONLY))
		bits |= DR_PTE_WRITE;
	err = dr_act_map(io, g->iova, g->va, g->len, bits, ret_refused);
	if (err != -EFAULT || (g->flags & DRAY_REGION_READ_ONLY))
		return err;
	snprintf(why, sizeof(why), "%s", dray_errmsg());
	return dr_fail(EFAULT, "region %p+0x%zx: %s; if the memory is read-only, register it "
		       "DRAY_REGION_READ_ONLY; if it is a shared file, use a memfd, tmpfs or "
		       "hugetlbfs, as Linux since 6.5 pins no other for writing", g->va, g->len,
		       why);
}

/* Everything between claim and publish. All or nothing. */
static int prepare(struct dr_iospace *io, struct dray_region *g)
{
	bool refused;
	int err = place(io, g);

	if (err)
		return err;
	err = keep_from_children(g);
	if (err) {
		unplace(io, g, false);
		return err;
	}
	err = act(io, g, &refused);
	if (err) {
		dr_region_let_children(g);
		unplace(io, g, refused);
	}
	return err;
}

/* A descriptor and its claims. */
static int claim(struct dr_regions *r, const struct dr_region_args *a, struct dray_region **ret_g)
{
	struct dray_region *g;
	int err;

	pthread_mutex_lock(&r->lock);
	g = dr_region_take_locked(r);
	if (!g) {
		pthread_mutex_unlock(&r->lock);
		return dr_fail(ENOMEM, "no memory for a region");
	}
	g->flags = a->flags;
	g->va = a->va;
	g->len = a->len;
	g->iova = a->iova;
	err = dr_region_claim_locked(r, g);
	if (err)
		dr_region_give_locked(r, g);
	else
		atomic_store_explicit(dr_region_state(r, g->index), DR_REGION_ADDING,
				      memory_order_relaxed);
	pthread_mutex_unlock(&r->lock);
	*ret_g = g;
	return err;
}

static void unclaim(struct dr_regions *r, struct dray_region *g)
{
	pthread_mutex_lock(&r->lock);
	dr_region_clear_locked(r, g);
	dr_region_give_locked(r, g);
	pthread_mutex_unlock(&r->lock);
}

static void publish(struct dr_regions *r, struct dray_region *g)
{
	struct dr_table *reverse = atomic_load_explicit(&r->reverse, memory_order_relaxed);

	pthread_mutex_lock(&r->lock);
	/* Before the entries: a map that finds one finds what it needs. */
	atomic_store_explicit(dr_region_state(r, g->index), DR_REGION_LIVE, memory_order_release);
	if (g->flags & DRAY_REGION_PREMAPPED)
		dr_table_publish(reverse, g->iova, g->len, (uintptr_t)g->va, g->index, 0);
	dr_table_publish(&r->table, (uintptr_t)g->va, g->len, g->iova, g->index,
			 g->flags & DRAY_REGION_READ_ONLY ? DR_SLOT_READ_ONLY : 0);
	pthread_mutex_unlock(&r->lock);
}

int dr_region_add(struct dr_regions *r, const struct dr_region_args *a,
		  struct dray_region **ret_region)
{
	struct dray_region *g = NULL;
	int err = check_args(r->io, a);

	if (err)
		return err;
	err = claim(r, a, &g);
	if (err)
		return err;
	err = a->may_add ? a->may_add(a->ctx, a->flags) : 0;
	if (!err)
		err = prepare(r->io, g);
	if (err) {
		unclaim(r, g);
		return err;
	}
	publish(r, g);
	*ret_region = g;
	return 0;
}

int dr_region_unmap(struct dr_regions *r, struct dray_region *g)
{
	int err = is_others(g->flags) ? 0 : dr_act_unmap(r->io, g->iova, g->len);

	if (!err)
		dr_region_let_children(g);
	unplace(r->io, g, err != 0);
	return err;
}

int dr_region_remove(struct dray_region *g, bool *ret_gone)
{
	struct dr_regions *r = g->regions;
	_Atomic uint8_t *state = dr_region_state(r, g->index);
	uint8_t live = DR_REGION_LIVE;
	uint32_t out;
	int err;

	*ret_gone = false;
	/* Acquire: what the descriptor says. */
	if (!atomic_compare_exchange_strong_explicit(state, &live, DR_REGION_DYING,
						     memory_order_acq_rel, memory_order_acquire)) {
		if (live == DR_REGION_DYING)
			return dr_fail(EBUSY, "another thread is unregistering region %p",
				       (void *)g);
		return dr_fail(EINVAL, "region %p is not registered any more; unregister it once",
			       (void *)g);
	}
	dr_rcu_synchronize(); /* who read LIVE has counted itself: see 4 */
	out = dr_region_out(r, g);
	if (out) {
		atomic_store_explicit(state, DR_REGION_LIVE, memory_order_release);
		return dr_fail(EBUSY, "%" PRIu32 " mappings inside region %p+0x%zx are out; unmap "
			       "them first", out, g->va, g->len);
	}
	pthread_mutex_lock(&r->lock);
	dr_region_clear_locked(r, g);
	pthread_mutex_unlock(&r->lock);
	dr_rcu_synchronize(); /* nobody holds an entry with this index: see 4 */

	err = dr_region_unmap(r, g);
	pthread_mutex_lock(&r->lock);
	dr_region_give_locked(r, g);
	pthread_mutex_unlock(&r->lock);
	*ret_gone = true;
	return err;
}
