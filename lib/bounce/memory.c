// SPDX-License-Identifier: BSD-2-Clause
/*
 * What a pool is made of: memory of dray's own, and, if it is permanent, an IOVA under which the
 * whole of it is mapped.
 *
 *   memory   anonymous, of whole granules, aligned as its size suggests     undo: munmap
 *   IOVA     below the mask asked for, aligned likewise, and a guard        undo: release
 *   act      mapped readable and writable; pinned on real hardware          undo: unmap
 *
 * Children of fork get none of it: with copy-on-write a write of the parent's would go to a fresh
 * page while the device keeps the old one.
 *
 * Where devices address memory itself there is no IOVA to choose, so the memory has to lie below
 * the mask: addresses are tried from the mask downwards.
 *
 * A backend that refuses to unmap a pool leaves memory that a device may still write: its IOVA is
 * quarantined and the memory stays until the address space is closed.
 */
#define _GNU_SOURCE
#include "bounce/pool.h"
#include "base/err.h"
#include "base/hooks.h"

#include <errno.h>
#include <inttypes.h>
#include <sys/mman.h>

/* Pool entries belong to no device, and are no explicit mappings either. */
#define POOL_BITS (DR_PTE_READ | DR_PTE_WRITE | dr_pte_owner_bits(DR_OWNER_MAX))
/* Places tried below a mask. Low memory is sparsely used, so one of the first is free. */
#define PLACES 256u

static void *map_memory(void *at, size_t len, int flags)
{
	void *p = dr_hooks->mmap(at, len, PROT_READ | PROT_WRITE,
				 MAP_PRIVATE | MAP_ANONYMOUS | flags, -1, 0);

	return p == MAP_FAILED ? NULL : p;
}

/* @len bytes aligned to @align; NULL: no memory. */
static char *take_aligned(size_t len, size_t align)
{
	size_t more = len + align;
	char *p = more < len ? NULL : map_memory(NULL, more, MAP_NORESERVE);
	size_t before;

	if (!p)
		return NULL;
	before = (size_t)(dr_align_up((uintptr_t)p, align) - (uintptr_t)p);
	if (before)
		dr_hooks->munmap(p, before);
	dr_hooks->munmap(p + before + len, more - before - len);
	return p + before;
}

/* The same with no byte above @last. */
static char *take_below(size_t len, size_t align, uint64_t last)
{
	char *p = take_aligned(len, align);
	uint64_t step, at;

	if (!p || (uintptr_t)p + len - 1 <= last)
		return p;
	dr_hooks->munmap(p, len);
	if (last < len)
		return NULL;
	step = dr_align_up(last / PLACES > len ? last / PLACES : len, align);
	at = dr_align_down(last + 1 - len, align);
	for (unsigned i = 0; i < PLACES && at; i++, at -= step) {
		p = map_memory((void *)(uintptr_t)at, len, MAP_NORESERVE | MAP_FIXED_NOREPLACE);
		if ((uintptr_t)p == at)
			return p;
		/* Kernels before 4.17 take the address for a hint. */
		if (p)
			dr_hooks->munmap(p, len);
		if (at < step)
			break;
	}
	return NULL;
}

static int map_pool(struct dr_bounce *b, struct dr_pool *p, const struct dr_want *w, uint64_t align,
		    uint64_t last, bool *ret_refused)
{
	struct dr_iova_request req = { .len = p->bytes, .align = align, .last = last };
	bool refused;
	int err;

	*ret_refused = false;
	dr_iospace_add_guard(b->io, &req);
	if (b->direct) {
		p->iova = (uintptr_t)p->va;
		return 0;
	}
	err = dr_iova_take(b->io->space, &req, &p->iova);
	if (err == -ENOSPC && align > w->pool_align && w->pool_align >= b->granule) {
		/* Without room to spare there is still room for this request. */
		req.align = w->pool_align;
		err = dr_iova_take(b->io->space, &req, &p->iova);
	}
	if (err)
		return err == -ENOSPC ?
			dr_fail(ENOSPC, "no 0x%zx bytes of IOVA for a bounce pool at or below 0x%"
				PRIx64 "; unmap something or widen the window", p->bytes, last) :
			err;
	err = dr_act_map(b->io, p->iova, p->va, p->bytes, POOL_BITS, &refused);
	if (err)
		dr_act_release(b->io, p->iova, req.len, refused);
	*ret_refused = err && refused;
	return err;
}

int dr_pool_make(struct dr_bounce *b, struct dr_pool *p, size_t bytes, const struct dr_want *w,
		 uint64_t last)
{
	uint64_t align = dr_pow2_up(bytes);
	bool refused;
	int err;

	if (align < w->pool_align)
		align = w->pool_align;
	if (align < b->granule)
		align = b->granule;
	p->bytes = bytes;
	p->permanent = w->permanent;
	p->iova = DRAY_IOVA_NONE;
	if (b->direct)
		p->va = take_below(bytes, (size_t)align, last);
	else
		p->va = take_aligned(bytes, (size_t)dr_pow2_up(bytes) > b->granule ?
						    (size_t)dr_pow2_up(bytes) : b->granule);
	if (!p->va)
		return dr_fail(ENOMEM, "no 0x%zx bytes of memory for a bounce pool at an address "
			       "the device reaches; raise the limit of address space", bytes);
	dr_hooks->madvise(p->va, bytes, MADV_DONTFORK);
	if (p->permanent && bytes >= DR_POOL_BYTES)
		dr_hooks->madvise(p->va, bytes, MADV_HUGEPAGE);
	if (!p->permanent)
		return 0;
	err = map_pool(b, p, w, align, last, &refused);
	if (err && !refused) {
		dr_hooks->munmap(p->va, p->bytes);
		p->va = NULL;
	}
	return err;
}

bool dr_pool_unmake(struct dr_bounce *b, struct dr_pool *p)
{
	bool ok = true;

	if (p->permanent && !b->direct) {
		ok = !dr_act_unmap(b->io, p->iova, p->bytes);
		dr_act_release(b->io, p->iova, p->bytes + b->io->guard, !ok);
	}
	if (!ok)
		return false;
	dr_hooks->munmap(p->va, p->bytes);
	p->va = NULL;
	return true;
}
