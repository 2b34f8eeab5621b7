// SPDX-License-Identifier: BSD-2-Clause
/*
 * The two calls that map and unmap, and their refusals in words.
 *
 * 1. A read-only pin can go stale. Before 6.2 the kernel pinned for reading whatever page was
 *    there: the shared zero page, a page of the file behind a private mapping, or a page shared
 *    with a forked child. The process's next write then goes to a fresh copy, and the device goes
 *    on reading the old one. So copy-on-write is broken first: MADV_POPULATE_WRITE makes every page
 *    one that a write goes to, without changing a byte. (A file mapped shared is marked dirty by
 *    it; the kernel says nothing about a mapping's kind, so that is the price.)
 *
 * 2. Memory that the process may not write refuses the advice with EINVAL. Nothing will be written
 *    through that mapping either, so it is pinned as it is. The advice stops at the first page of
 *    that kind, so a range that has one is gone through page by page.
 *
 * 3. Before 5.14 there is no such advice. There the pin asks for device write, which breaks
 *    copy-on-write the same way, and is repeated without it where the memory is not writable. The
 *    device is trusted with more than was asked for; stale data would be worse.
 *
 * 4. The size that an unmap reports is the only word about what it did: unmapping nothing succeeds.
 *    The caller compares.
 *
 * Locking: the caller holds t->lock, so the container stays. The kernel serialises the calls of a
 * container by a mutex of its own; that one, not the lock here, is what threads wait for.
 */
#define _GNU_SOURCE
#include "backend/type1.h"
#include "base/err.h"
#include "base/hooks.h"

#include <errno.h>
#include <inttypes.h>
#include <linux/vfio.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

/* Bytes that the kernel counts against RLIMIT_MEMLOCK; 0 where it does not tell. */
static uint64_t locked_bytes(void)
{
	char text[4096];
	const char *at;

	if (dr_type1_read_text("/proc/self/status", text, sizeof(text)) <= 0)
		return 0;
	at = strstr(text, "VmLck:");
	return at ? strtoull(at + strlen("VmLck:"), NULL, 10) * 1024 : 0;
}

static int no_memory(size_t len)
{
	uint64_t limit = dr_hooks->memlock_limit(), locked = locked_bytes();

	if (limit == UINT64_MAX)
		return dr_fail(ENOMEM, "the kernel has no memory to pin 0x%zx bytes; free some, or "
			       "map less at once", len);
	/* The limit may have been the cause: other threads may have unmapped since. */
	if (locked + len <= limit)
		return dr_fail(ENOMEM, "the kernel has no memory to pin 0x%zx bytes, or "
			       "RLIMIT_MEMLOCK of %" PRIu64 " bytes, %" PRIu64 " of them locked "
			       "by now, was reached; map less at once, or raise it: ulimit -l "
			       "unlimited", len, limit, locked);
	return dr_fail(ENOMEM, "RLIMIT_MEMLOCK is %" PRIu64 " bytes, %" PRIu64 " are locked and "
		       "%zu more are wanted; raise it: ulimit -l unlimited, or memlock in "
		       "/etc/security/limits.conf, or LimitMEMLOCK=infinity in the unit", limit,
		       locked, len);
}

static int map_failed(const struct dr_type1 *t, const struct vfio_iommu_type1_dma_map *m, int err)
{
	const uint64_t iova = m->iova, va = m->vaddr, len = m->size;

	switch (err) {
	case EEXIST:
		return dr_fail(EEXIST, "something that is not this domain's is mapped in 0x%" PRIx64
			       "+0x%" PRIx64 " already; map elsewhere", iova, len);
	case ENOMEM:
		return no_memory((size_t)len);
	case ENOSPC:
		return dr_fail(ENOSPC, "all %" PRIu64 " mapping entries of the container are in "
			       "use; unmap, map fewer and larger buffers, or raise "
			       "vfio_iommu_type1.dma_entry_limit", t->at_open.entries_limit);
	case EFAULT:
		return dr_fail(EFAULT, "memory at 0x%" PRIx64 "+0x%" PRIx64 " cannot be pinned%s; "
			       "pass mapped memory that may be %s", va, len,
			       m->flags & VFIO_DMA_MAP_FLAG_WRITE ? " for device writes" : "",
			       m->flags & VFIO_DMA_MAP_FLAG_WRITE ? "written" : "read");
	case EINVAL:
		return dr_fail(EINVAL, "the IOMMU refuses 0x%" PRIx64 "+0x%" PRIx64 " for memory "
			       "at 0x%" PRIx64 ": outside its IOVA ranges, or not whole pages "
			       "of it; see dray_domain_info()", iova, len, va);
	case EPERM:
		return dr_fail(EPERM, "the kernel forbids mapping 0x%" PRIx64 "+0x%" PRIx64 "; see "
			       "dmesg", iova, len);
	default:
		return dr_fail(err, "VFIO_IOMMU_MAP_DMA of 0x%" PRIx64 "+0x%" PRIx64 " fails: %s; "
			       "see dmesg", iova, len, strerror(err));
	}
}

/* 0, or -EFAULT where the memory can never be pinned. */
static int break_cow(char *va, size_t len)
{
	const size_t page = (size_t)sysconf(_SC_PAGESIZE);

	if (!dr_hooks->madvise(va, len, MADV_POPULATE_WRITE))
		return 0;
	for (size_t off = 0; errno == EINVAL && off < len; off += page) {
		errno = EINVAL;
		dr_hooks->madvise(va + off, page, MADV_POPULATE_WRITE);
	}
	if (errno == EINVAL)
		return 0;
	return dr_fail(EFAULT, "memory at %p+0x%zx cannot be pinned (%s); pass memory that is "
		       "mapped as a whole", (void *)va, len, strerror(errno));
}

int dr_type1_dma_map(struct dr_type1 *t, dray_iova_t iova, void *va, size_t len, uint64_t bits)
{
	struct vfio_iommu_type1_dma_map m = {
		.argsz = sizeof(m),
		.flags = (bits & DR_PTE_READ ? VFIO_DMA_MAP_FLAG_READ : 0) |
			 (bits & DR_PTE_WRITE ? VFIO_DMA_MAP_FLAG_WRITE : 0),
		.vaddr = (uintptr_t)va,
		.iova = iova,
		.size = len,
	};
	bool widened = false;
	int err;

	if (!(bits & DR_PTE_WRITE) && t->cow == DR_COW_POPULATE) {
		err = break_cow(va, len);
		if (err)
			return err;
	}
	if (!(bits & DR_PTE_WRITE) && t->cow == DR_COW_WRITABLE) {
		m.flags |= VFIO_DMA_MAP_FLAG_WRITE;
		widened = true;
	}
	err = dr_hooks->ioctl(t->container, VFIO_IOMMU_MAP_DMA, &m) ? errno : 0;
	if (err == EFAULT && widened) {
		m.flags &= ~(uint32_t)VFIO_DMA_MAP_FLAG_WRITE;
		err = dr_hooks->ioctl(t->container, VFIO_IOMMU_MAP_DMA, &m) ? errno : 0;
	}
	return err ? map_failed(t, &m, err) : 0;
}

int dr_type1_dma_unmap(struct dr_type1 *t, dray_iova_t iova, uint64_t len, uint64_t *ret_size)
{
	struct vfio_iommu_type1_dma_unmap u = {
		.argsz = sizeof(u),
		.iova = iova,
		.size = len,
	};

	if (dr_hooks->ioctl(t->container, VFIO_IOMMU_UNMAP_DMA, &u))
		return -errno;
	*ret_size = u.size;
	return 0;
}
