// SPDX-License-Identifier: BSD-2-Clause
/*
 * When a buffer is copied, and how a mapping ends.
 *
 * 1. A buffer is copied through a slot when it must be: the device's alignment is not the buffer's;
 *    the domain is not trusted and the buffer shares a granule with other memory; the device does
 *    not snoop and the buffer shares a cache line; it is registered, but above what the device
 *    reaches; the backend cannot pin it although the CPU reaches it (a shared file that tracks dirty
 *    pages). Or when that is cheaper, by its size (a domain's bounce_threshold). bounce/why.h has
 *    the predicate; what it asks is gathered here.
 *
 * 2. "Must" that is forbidden, by the call or the domain, is -ENOTSUP and names the reason; "cheaper"
 *    that is forbidden, or finds no slot, is mapped.
 *
 * 3. A copy reads the buffer as memcpy() does: an address that is not there ends the program, as it
 *    would there. Only for the last reason is the memory probed first, because there the backend has
 *    just said that something is wrong with it.
 */
#define _GNU_SOURCE
#include "map/map.h"
#include "base/bits.h"
#include "base/err.h"
#include "base/hooks.h"
#include "memory/class.h"

#include <errno.h>
#include <inttypes.h>
#include <sched.h>
#include <sys/mman.h>

_Static_assert((int)DR_BOUNCE_WHYS - 1 <= DR_BOUNCE_WHY_LAST - DR_BOUNCE_WHY,
	       "a counter for each reason");

#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ  22
#define MADV_POPULATE_WRITE 23
#endif

/*
 * How often a map that found nothing tries again although nothing waited: what is missing may be on
 * its way between a queue and a cache, in the hands of a thread that lost its processor. Four threads
 * with eight pages, 8,000 maps in a sanitizer's build on a loaded machine: with 2, one of them found
 * none in 2 runs of 60, with 16 in none of 150.
 */
#define FREE_TRIES 16u
/*
 * How often it flushes and tries again. Other threads may have taken what a flush gave back, and let
 * it wait anew; that all of them do so as often as this is no accident.
 */
#define TRIES (FREE_TRIES + 16u)

/* Registered whole, or untranslated, but not where the device reaches it. */
static bool is_out_of_reach(const struct dr_call *call, const void *va, size_t len)
{
	uint64_t mask = dr_device_mask(call->dev);
	size_t known = len;
	dray_iova_t iova;

	if (mask >= call->dom->io.last)
		return false;
	if (!call->dom->io.be->translates)
		return (uintptr_t)va + len - 1 > mask;
	iova = dr_region_translate(call->dom->regions, va, &known);
	return iova != DRAY_IOVA_NONE && known == len && iova + len - 1 > mask;
}

static __attribute__((noinline)) enum dr_bounce_why ask(const struct dr_call *call, const void *va,
							size_t len)
{
	const struct dray_domain *dom = call->dom;
	bool forbidden = (call->flags & DRAY_MAP_NO_BOUNCE) || (dom->flags & DRAY_DOMAIN_NO_BOUNCE);
	struct dr_bounce_facts facts = {
		.min_align = call->dev->min_align,
		.granule = (size_t)dom->io.granule_mask + 1,
		.trusted = call->trusted,
		.line = call->uncached ? dr_cpu_line_size() : 0,
		/* Where nothing translates, nothing is cheaper than using the buffer. */
		.threshold = !forbidden && call->trusted && dom->io.be->translates &&
			     dr_domain_copies(dom, call->dir, len) ? len : 0,
		.unreachable = is_out_of_reach(call, va, len),
	};

	/* What does not fit into its own pools; the domain's were thought of when it was decided. */
	if (call->own && len > dr_bounce_max_len(dom->bounce, call->own, true))
		facts.threshold = 0;
	return dr_bounce_why(&facts, va, len, call->dir);
}

enum dr_bounce_why dr_way_why(const struct dr_call *call, const void *va, size_t len)
{
	if (__builtin_expect(dr_way_is_plain(call->dom, call->dev, call->trusted, len), 1))
		return DR_BOUNCE_NO;
	return ask(call, va, len);
}

int dr_way_bounce(const struct dr_call *call, void *va, size_t len, enum dr_bounce_why why,
		  dray_iova_t *ret_iova, uint64_t *ret_handle)
{
	const struct dray_device *dev = call->dev;
	struct dray_domain *dom = call->dom;
	struct dr_bounce_request req = {
		.va = va, .len = len, .dir = call->dir,
		.mask = dr_device_mask(dev),
		.shared_mask = call->own ? 0 :
			       atomic_load_explicit(&dom->shared_mask, memory_order_relaxed),
		.min_align = dev->min_align, .boundary_mask = dev->boundary_mask,
		.owner_bits = dr_pte_owner_bits(call->owner),
		.trusted = call->trusted, .uncached = call->uncached, .keep_offset = true,
		.own = call->own, .why = why,
	};
	int err;

	if ((call->flags & DRAY_MAP_NO_BOUNCE) || (dom->flags & DRAY_DOMAIN_NO_BOUNCE))
		return dr_fail(ENOTSUP, "buffer %p+0x%zx would have to be copied (%s), which is "
			       "forbidden; mend the buffer or clear NO_BOUNCE", va, len,
			       dr_bounce_why_name(why));
	err = dr_memory_check_cpu(va, len);
	if (err)
		return err;
	err = dr_bounce_map(dom->bounce, &req, ret_iova, ret_handle);
	/* A ceiling does not rise because others flush. */
	for (unsigned tries = FREE_TRIES; err && dr_way_retry(call, err, false, &tries);)
		err = dr_bounce_map(dom->bounce, &req, ret_iova, ret_handle);
	if (!err)
		dr_count(&dom->io.counters, (enum dr_counter)(DR_BOUNCE_WHY + (int)why), 1);
	return err;
}

bool dr_way_can_copy(const struct dr_call *call, void *va, size_t len)
{
	int advice = call->dir == DRAY_TO_DEVICE ? MADV_POPULATE_READ : MADV_POPULATE_WRITE;
	uintptr_t first = dr_align_down((uintptr_t)va, 4096);
	uintptr_t end = dr_align_up((uintptr_t)va + len, 4096);

	if ((call->flags & DRAY_MAP_NO_BOUNCE) || (call->dom->flags & DRAY_DOMAIN_NO_BOUNCE))
		return false;
	if (len > dr_bounce_max_len(call->dom->bounce, call->own, call->trusted))
		return false;
	return !dr_hooks->madvise((void *)first, end - first, advice);
}

bool dr_way_retry(const struct dr_call *call, int err, bool fixed, unsigned *inout_tries)
{
	unsigned tries = (*inout_tries)++;

	/* Without addresses, entries or pinned memory; or in the way of a fixed address. */
	if (err != -ENOSPC && err != -ENOMEM && !(fixed && err == -EEXIST))
		return false;
	if (dr_domain_relieve(call->dom))
		return tries < TRIES;
	if (tries >= FREE_TRIES || !dr_flush_is_lazy(call->dom->flush))
		return false;
	sched_yield();
	return true;
}

bool dr_way_unbounce(struct dray_domain *dom, const struct dr_receipt *r, bool *ret_live)
{
	size_t len;
	void *va = dr_bounce_buffer(dom->bounce, r->handle, &len);
	bool copy = !r->no_sync;

	*ret_live = va != NULL;
	if (va && copy && r->dir != DRAY_TO_DEVICE && !dr_memory_is_ram_now(va, len)) {
		dr_log(&dom->io.log, LOG_ERR, "%p+0x%zx is not the CPU's to touch now; what the "
		       "device wrote to its copy is lost", va, len);
		copy = false;
	}
	return dr_bounce_unmap(dom->bounce, r->handle, copy);
}

static bool unmap_live(struct dray_domain *dom, dray_iova_t first, size_t len, size_t guard)
{
	bool ok = !dr_act_unmap(&dom->io, first, len);

	dr_act_release(&dom->io, first, len + guard, !ok);
	return ok;
}

bool dr_way_unmap_strictly(struct dray_domain *dom, dray_iova_t first, size_t len, size_t guard,
			   bool *ret_live)
{
	*ret_live = dr_iova_is_live(dom->io.space, first, len + guard, NULL);
	return *ret_live && unmap_live(dom, first, len, guard);
}

bool dr_way_unmap(struct dray_domain *dom, dray_iova_t first, size_t len, size_t guard,
		  bool *ret_live)
{
	if (!dr_flush_is_lazy(dom->flush))
		return dr_way_unmap_strictly(dom, first, len, guard, ret_live);
	if (dr_flush_put_guarded(dom->flush, first, len, guard, ret_live))
		return true;
	return *ret_live && unmap_live(dom, first, len, guard);
}
