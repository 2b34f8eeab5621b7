// SPDX-License-Identifier: BSD-2-Clause
/*
 * Map a buffer, and take it back.
 *
 * 1. What a mapping is. The buffer's granules appear at as many granules of IOVA, at the same
 *    offset inside the first one. The receipt the caller holds is all that dray needs to take it
 *    back; nothing is looked up. Its cookie names the domain (the receipt holds it: see
 *    domain/domain.c) and how the mapping was made.
 *
 * 2. Map: reserve, act, publish.
 *
 *      enter    hold the domain the device is in                       undo: leave
 *      place    take an IOVA that the device's limits allow            undo: release (give)
 *      act      backend: prepare tables, pin, program, publish entries  undo: unmap the pieces done
 *      receipt  written last; nothing can fail any more
 *
 *    A backend that refuses to undo its part leaves an IOVA that a device may still reach: it is
 *    quarantined instead of given back, and never handed out again.
 *
 * 3. Unmap, in a strict domain: the backend unmaps and invalidates, so that no device reaches the
 *    buffer; then the IOVA goes back; then the domain is let go. Each step is over before the next
 *    begins, so an IOVA is reused only after nothing translates it any more. No step allocates and
 *    none can fail in a way that loses something: what is refused is quarantined.
 *
 * 4. Where addresses come from. Any address below the device's mask; a buffer of 2 MiB or more gets
 *    one congruent to its own address modulo 2 MiB, so that large pages can be used, if there is
 *    room for that; a device's segment boundary is a request to the allocator. A fixed address is
 *    checked against the same limits.
 *
 * 5. Threads. A call owns its IOVAs from place to release and shares nothing else with other calls:
 *    no lock, no count and no line of the domain or the device is written here. A receipt that is
 *    unmapped twice in a row finds its IOVA not live and is refused; two threads unmapping copies
 *    of one receipt at the same moment are a caller's error.
 */
#include "map/map.h"
#include "base/bits.h"
#include "base/err.h"

#include <errno.h>
#include <inttypes.h>

#define LARGE_PAGE (UINT64_C(1) << 21)

int dr_map_check(const void *va, size_t len, enum dray_dir dir, uint32_t flags)
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
	/* What no table entry can hold, no process can have. */
	if (((uintptr_t)va + len - 1) & ~(DR_PTE_ADDR | 0xfff))
		return dr_fail(EFAULT, "buffer %p+0x%zx is not memory of any process; map what is "
			       "there", va, len);
	return 0;
}

static uint64_t dir_bits(enum dray_dir dir)
{
	switch (dir) {
	case DRAY_TO_DEVICE:
		return DR_PTE_READ;
	case DRAY_FROM_DEVICE:
		return DR_PTE_WRITE;
	default:
		return DR_PTE_READ | DR_PTE_WRITE;
	}
}

/* What the device's limits say about a single segment, whatever its address. */
static int check_segment(const struct dray_device *dev, uintptr_t va, size_t len)
{
	if (dev->min_align && (va & (dev->min_align - 1)))
		return dr_fail(ENOTSUP, "buffer 0x%" PRIxPTR " is not aligned to the device's %zu "
			       "bytes and would have to be copied; align it", va, dev->min_align);
	if (dev->max_segment && len > dev->max_segment)
		return dr_fail(EMSGSIZE, "%zu bytes are more than the device's longest segment of "
			       "%zu; map pieces", len, dev->max_segment);
	if (dev->boundary_mask && len - 1 > dev->boundary_mask)
		return dr_fail(EMSGSIZE, "%zu bytes cannot avoid the device's segment boundary every "
			       "0x%" PRIx64 " bytes; map pieces", len, dev->boundary_mask + 1);
	return 0;
}

/* Does [iova, iova + len) cross a multiple of the boundary? */
static bool crosses(const struct dray_device *dev, dray_iova_t iova, size_t len)
{
	return dev->boundary_mask &&
	       (iova & dev->boundary_mask) + len - 1 > dev->boundary_mask;
}

/* The whole granules around a buffer. */
static struct dr_span span_of(const struct dray_domain *dom, const void *va, size_t len)
{
	uint64_t mask = dom->io.granule_mask;
	struct dr_span s;

	s.off = (uintptr_t)va & mask;
	s.va = (char *)va - s.off;
	s.len = (s.off + len + mask) & ~mask;
	return s;
}

/* Take an IOVA for @s that suits the device. */
static int place(const struct dray_domain *dom, const struct dray_device *dev,
		 const struct dr_span *s, size_t len, size_t align, dray_iova_t *ret_iova)
{
	uint64_t granule = dom->io.granule_mask + 1;
	uint64_t mask = atomic_load_explicit(&dev->dma_mask, memory_order_relaxed);
	/* A buffer aligned beyond a granule because the device wants it keeps that. */
	uint64_t least = dev->min_align > granule ? dev->min_align : granule;
	struct dr_iova_request req = {
		.len = s->len, .align = align > least ? align : least, .last = mask,
	};
	int err;

	if (dev->boundary_mask >= granule - 1 && dev->boundary_mask)
		req.boundary_mask = dev->boundary_mask;
	else if (crosses(dev, s->off, len))
		return dr_fail(EMSGSIZE, "buffer crosses the device's segment boundary inside a "
			       "granule; move it");
	if (req.boundary_mask && s->len - 1 > req.boundary_mask)
		return dr_fail(EMSGSIZE, "the buffer's granules are more than the device's segment "
			       "boundary of 0x%" PRIx64 " bytes holds; map pieces",
			       dev->boundary_mask + 1);
	if (!align && s->len >= LARGE_PAGE && least < LARGE_PAGE) {
		req.align = LARGE_PAGE;
		req.phase = (uintptr_t)s->va & (LARGE_PAGE - 1);
		err = dr_iova_take(dom->io.space, &req, ret_iova);
		/* -EINVAL: at this offset it would cross the boundary wherever it went. */
		if (err != -ENOSPC && err != -EINVAL)
			return err;
		req.align = least;
		req.phase = 0;
	}
	err = dr_iova_take(dom->io.space, &req, ret_iova);
	if (err == -ENOSPC)
		return dr_fail(ENOSPC, "no 0x%zx bytes of IOVA left at or below 0x%" PRIx64
			       "; unmap something or widen the window", s->len,
			       mask < dom->io.last ? mask : dom->io.last);
	return err;
}

/* The same for an address the caller chose. */
static int place_fixed(const struct dray_domain *dom, const struct dray_device *dev,
		       const struct dr_span *s, size_t len, dray_iova_t iova)
{
	uint64_t mask = atomic_load_explicit(&dev->dma_mask, memory_order_relaxed);
	dray_iova_t first = iova - s->off, last = first + s->len - 1;

	if (last < first || iova + len - 1 > mask || first < dom->io.first || last > dom->io.last)
		return dr_fail(ERANGE, "0x%" PRIx64 "+0x%zx is outside the device's mask 0x%" PRIx64
			       " or the domain's window 0x%" PRIx64 "..0x%" PRIx64, iova, len, mask,
			       dom->io.first, dom->io.last);
	if (dev->min_align && (iova & (dev->min_align - 1)))
		return dr_fail(EINVAL, "IOVA 0x%" PRIx64 " is not aligned to the device's %zu bytes; "
			       "choose one that is", iova, dev->min_align);
	if (crosses(dev, iova, len))
		return dr_fail(EMSGSIZE, "0x%" PRIx64 "+0x%zx crosses the device's segment boundary "
			       "of 0x%" PRIx64 " bytes", iova, len, dev->boundary_mask + 1);
	return dr_iova_take_fixed(dom->io.space, first, last);
}

/* IDENTITY: the buffer is where it is; the device must be able to say so. */
static int map_identity(const struct dray_device *dev, const void *va, size_t len,
			dray_iova_t wanted)
{
	uint64_t mask = atomic_load_explicit(&dev->dma_mask, memory_order_relaxed);
	dray_iova_t iova = (uintptr_t)va;

	if (wanted != DRAY_IOVA_NONE && wanted != iova)
		return dr_fail(ERANGE, "an IDENTITY domain maps %p at 0x%" PRIx64 " only", va, iova);
	if (iova + len - 1 > mask)
		return dr_fail(ERANGE, "%p+0x%zx is above the device's mask 0x%" PRIx64 " and an "
			       "IDENTITY domain cannot move it", va, len, mask);
	if (crosses(dev, iova, len))
		return dr_fail(EMSGSIZE, "%p+0x%zx crosses the device's segment boundary", va, len);
	return 0;
}

static int place_and_act(struct dray_domain *dom, struct dray_device *dev, const struct dr_span *s,
			 const struct dr_map_args *a, unsigned owner, dray_iova_t *ret_iova)
{
	uint64_t bits = dir_bits(a->dir) | dr_pte_owner_bits(owner);
	bool refused;
	int err;

	if (a->iova == DRAY_IOVA_NONE) {
		err = place(dom, dev, s, a->len, a->align, ret_iova);
	} else {
		*ret_iova = a->iova - s->off;
		err = place_fixed(dom, dev, s, a->len, a->iova);
	}
	if (err)
		return err;
	err = dr_act_map(&dom->io, *ret_iova, s->va, s->len, bits, &refused);
	if (err)
		dr_act_release(&dom->io, *ret_iova, s->len, refused);
	return err;
}

int dr_map_one(struct dray_device *dev, const struct dr_map_args *a, struct dray_mapping *ret_map)
{
	struct dray_domain *dom;
	struct dr_span s = { 0 };
	dray_iova_t iova = 0;
	unsigned owner;
	int err = dr_domain_enter(dev, &dom, &owner);

	if (err)
		return err;
	err = check_segment(dev, (uintptr_t)a->va, a->len);
	if (err)
		goto fail;
	switch (dom->type) {
	case DRAY_DOMAIN_BLOCKED:
		err = dr_fail(EPERM, "the domain is BLOCKED; map in a PAGING domain");
		break;
	case DRAY_DOMAIN_IDENTITY:
		err = map_identity(dev, a->va, a->len, a->iova);
		iova = (uintptr_t)a->va;
		break;
	default:
		s = span_of(dom, a->va, a->len);
		if (!s.len)
			err = dr_fail(EINVAL, "buffer %p+0x%zx passes the end of memory", a->va,
				      a->len);
		else if (a->iova != DRAY_IOVA_NONE && (a->iova & dom->io.granule_mask) != s.off)
			err = dr_fail(EINVAL, "IOVA 0x%" PRIx64 " and buffer %p differ inside a "
				      "granule; keep the offset", a->iova, a->va);
		else
			err = place_and_act(dom, dev, &s, a, owner, &iova);
		iova += s.off;
	}
	if (err)
		goto fail;
	dr_count(&dom->io.counters, DR_MAPS, 1);
	*ret_map = (struct dray_mapping){
		.iova = iova, .len = a->len,
		.cookie = { (uintptr_t)dom, DR_RECEIPT_MAGIC | (uint64_t)owner },
	};
	return 0;

fail:
	dr_count(&dom->io.counters, DR_MAP_FAILURES, 1);
	dr_domain_leave(dom);
	return err;
}

int dray_map(struct dray_device *dev, void *va, size_t len, enum dray_dir dir, uint32_t flags,
	     struct dray_mapping *ret_map)
{
	struct dr_map_args a = { .va = va, .len = len, .dir = dir, .iova = DRAY_IOVA_NONE };
	int err = dr_map_check(va, len, dir, flags);

	if (!err && !ret_map)
		err = dr_fail(EINVAL, "ret_map is NULL; the receipt is needed to unmap");
	return err ? err : dr_map_one(dev, &a, ret_map);
}

int dray_map_fixed(struct dray_device *dev, dray_iova_t iova, void *va, size_t len,
		   enum dray_dir dir, uint32_t flags, struct dray_mapping *ret_map)
{
	struct dr_map_args a = { .va = va, .len = len, .dir = dir, .iova = iova };
	int err = dr_map_check(va, len, dir, flags);

	if (!err && !ret_map)
		err = dr_fail(EINVAL, "ret_map is NULL; the receipt is needed to unmap");
	/* DRAY_IOVA_NONE is no address, and means "anywhere" from here on. */
	if (!err && (iova + len - 1 < iova || iova == DRAY_IOVA_NONE))
		err = dr_fail(ERANGE, "0x%" PRIx64 "+0x%zx passes the last address", iova, len);
	return err ? err : dr_map_one(dev, &a, ret_map);
}

struct dray_domain *dr_receipt_domain(const struct dray_mapping *m)
{
	struct dray_domain *dom = (struct dray_domain *)(uintptr_t)m->cookie[0];

	if (!dom || (m->cookie[1] & ~(uint64_t)DR_RECEIPT_OWNER) != DR_RECEIPT_MAGIC)
		return NULL;
	/* Domains keep their type: this reads a state even when the receipt outlived its domain. */
	if (atomic_load_explicit(&dom->state, memory_order_acquire) == DR_FREE)
		return NULL;
	return dom;
}

/* Take back a PAGING mapping. False when it is not live, or a device may still reach it. */
static bool unmap_paging(struct dray_domain *dom, const struct dray_mapping *m, bool *ret_live)
{
	dray_iova_t first = m->iova & ~dom->io.granule_mask;
	size_t len = (m->iova - first + m->len + dom->io.granule_mask) & ~dom->io.granule_mask;
	bool fixed, ok;

	*ret_live = dr_iova_is_live(dom->io.space, first, len, &fixed);
	if (!*ret_live) {
		dr_count(&dom->io.counters, DR_BAD_UNMAPS, 1);
		dr_log(&dom->io.log, LOG_ERR, "unmap of 0x%" PRIx64 "+0x%zx, which is not mapped; a "
		       "receipt is good for one unmap", m->iova, m->len);
		return false;
	}
	ok = !dr_act_unmap(&dom->io, first, len);
	dr_act_release(&dom->io, first, len, !ok);
	return ok;
}

bool dr_unmap_one(struct dray_mapping *m)
{
	struct dray_domain *dom = dr_receipt_domain(m);
	bool live = true, ok = true;

	if (!dom) {
		*m = (struct dray_mapping){ 0 };
		return false;
	}
	if (!dr_domain_is_forked(dom)) {
		if (dom->type != DRAY_DOMAIN_IDENTITY)
			ok = unmap_paging(dom, m, &live);
		if (live) {
			dr_count(&dom->io.counters, DR_UNMAPS, 1);
			dr_domain_leave(dom);
		}
	}
	*m = (struct dray_mapping){ 0 };
	return ok;
}

void dray_unmap(struct dray_device *dev, struct dray_mapping *m)
{
	(void)dev; /* the receipt knows its domain, which the device may have left since */
	if (m)
		dr_unmap_one(m);
}
