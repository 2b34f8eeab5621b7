// SPDX-License-Identifier: BSD-2-Clause
/*
 * Coherent memory: whole granules from the kernel, zeroed, mapped both ways at an address with the
 * memory's own alignment. Freed memory goes back to the kernel only when no device reaches it;
 * where the backend refused the unmap the memory stays, with its quarantined IOVA. For a device that
 * does not see the CPU's caches they are kept away from the memory for its whole life; where that
 * cannot be had there is no coherent memory.
 */
#define _GNU_SOURCE
#include "map/map.h"
#include "base/bits.h"
#include "base/err.h"
#include "base/hooks.h"

#include <dray/coherent.h>

#include <errno.h>
#include <stdint.h>
#include <sys/mman.h>

#define MAX_ALIGN (UINT64_C(1) << 21)

static size_t align_for(size_t len)
{
	return len >= MAX_ALIGN ? MAX_ALIGN : (size_t)dr_pow2_up(len);
}

/* @len bytes at a multiple of @align: ask for more, give back what is around it. */
static void *take_pages(size_t len, size_t align)
{
	size_t span = len + align;
	char *p, *start;

	if (span < len)
		return NULL;
	p = dr_hooks->mmap(NULL, span, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (p == MAP_FAILED)
		return NULL;
	start = (char *)dr_align_up((uintptr_t)p, align);
	if (start > p)
		dr_hooks->munmap(p, (size_t)(start - p));
	if (p + span > start + len)
		dr_hooks->munmap(start + len, (size_t)(p + span - (start + len)));
	return start;
}

static size_t whole_granules(const struct dray_domain *dom, size_t len)
{
	return (len + dom->io.granule_mask) & ~dom->io.granule_mask;
}

int dray_coherent_alloc(struct dray_device *dev, size_t len, uint32_t flags, void **ret_va,
			struct dray_mapping *ret_map)
{
	struct dr_map_args a = { .dir = DRAY_BIDIRECTIONAL, .iova = DRAY_IOVA_NONE,
				 .whole = true };
	struct dray_domain *dom;
	struct dray_mapping m;
	int err = dr_device_domain(dev, &dom);

	if (err)
		return err;
	if (!ret_va || !ret_map)
		return dr_fail(EINVAL, "%s is NULL; pass one", ret_va ? "ret_map" : "ret_va");
	if (flags)
		return dr_fail(EINVAL, "coherent flags 0x%x are unknown; pass 0", flags);
	if (!len || len > SIZE_MAX / 2)
		return dr_fail(EINVAL, "length %zu; ask for at least one byte and less than half "
			       "the address space", len);
	a.len = whole_granules(dom, len);
	a.align = align_for(a.len);
	if (a.align < dev->min_align)
		a.align = dev->min_align;
	a.va = take_pages(a.len, a.align);
	if (!a.va)
		return dr_fail(ENOMEM, "no memory for %zu coherent bytes", a.len);
	if (!atomic_load_explicit(&dev->bd->coherent, memory_order_relaxed)) {
		err = dr_backend_uncache(dom->io.be, a.va, a.len);
		if (err)
			goto no_uncache;
		/* There is nothing to write back, now or later. */
		a.flags = DRAY_MAP_NO_SYNC;
	}
	err = dr_map_one(dev, &a, &m);
	if (err)
		goto no_map;
	m.len = len;
	*ret_va = a.va;
	*ret_map = m;
	return 0;

no_map:
	if (a.flags)
		dr_backend_recache(dom->io.be, a.va, a.len);
no_uncache:
	dr_hooks->munmap(a.va, a.len);
	return err;
}

void dray_coherent_free(struct dray_device *dev, void *va, struct dray_mapping *m)
{
	struct dray_domain *dom;
	size_t len;

	(void)dev;
	if (!va || !m)
		return;
	dom = dr_receipt_open(m->cookie[0], m->cookie[1], NULL);
	if (!dom) {
		dr_fail(EINVAL, "receipt is not live; free coherent memory once");
		return;
	}
	len = whole_granules(dom, m->len);
	if (dr_unmap_one(m, true))
		dr_hooks->munmap(va, len);
}
