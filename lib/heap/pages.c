// SPDX-License-Identifier: BSD-2-Clause
/*
 * Pages for a step. In order: 2 MiB pages of the kernel's pool (no hugetlbfs mount is needed for
 * anonymous ones), memory in which the kernel is asked for transparent huge pages, 4 KiB pages.
 * What is mapped is never inherited by a forked child: on a copy-on-write page the parent's next
 * write could move to a fresh page, and the device would stay on the old one.
 */
#define _GNU_SOURCE
#include "heap/heap.h"
#include "base/err.h"
#include "base/hooks.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#ifndef MAP_HUGE_2MB
#define MAP_HUGE_2MB (21 << 26)
#endif
#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

/* linux/mempolicy.h, without what it takes from the kernel's side. */
#define BIND 2

/* As much of a node mask as nodes can be named in. */
#define NODES_MAX 1024u
#define WORD_BITS (8 * sizeof(unsigned long))

int dr_heap_node_check(unsigned node)
{
	char path[256];
	int fd;

	if (node >= NODES_MAX)
		return dr_fail(EINVAL, "NUMA node %u cannot exist; see lscpu for those that do",
			       node);
	snprintf(path, sizeof(path), "%s/devices/system/node/node%u", dr_hooks->sysfs, node);
	fd = dr_hooks->open(path, O_RDONLY);
	if (fd < 0)
		return dr_fail(EINVAL, "NUMA node %u does not exist (%s: %s); see lscpu for those "
			       "that do", node, path, strerror(errno));
	dr_hooks->close(fd);
	return 0;
}

static int bind_node(unsigned node, void *va, size_t len)
{
	unsigned long mask[NODES_MAX / WORD_BITS] = { 0 };

	mask[node / WORD_BITS] = 1UL << (node % WORD_BITS);
	/* The kernel wants one bit more than it looks at. */
	if (!dr_hooks->mbind(va, len, BIND, mask, NODES_MAX + 1))
		return 0;
	return errno == ENOSYS ? -ENOTSUP : -errno;
}

/* What the flags, the node and the kind of page ask of a fresh mapping. 0; -errno. */
static int dress(const struct dray_heap *heap, void *va, size_t len, enum dr_heap_pages pages)
{
	if (dr_hooks->madvise(va, len, MADV_DONTFORK))
		return -errno;
	if (heap->flags & DRAY_HEAP_NUMA) {
		int err = bind_node(heap->node, va, len);

		if (err)
			return err;
	}
	switch (pages) {
	case DR_HEAP_HUGETLB:
		/*
		 * What the pool promised may still not be there: not on this node, or beyond a
		 * control group's limit. That must come out here and not as a signal at the first
		 * touch. Kernels before 5.14 do not know the advice; pinning tells it on those.
		 */
		if (dr_hooks->madvise(va, len, MADV_POPULATE_WRITE) && errno != EINVAL)
			return -errno;
		break;
	case DR_HEAP_THP:
		if (dr_hooks->madvise(va, len, MADV_HUGEPAGE))
			return -errno;
		break;
	default:
		/* Where the kernel knows no transparent huge pages there is nothing to keep off. */
		if ((heap->flags & DRAY_HEAP_NO_HUGE) &&
		    dr_hooks->madvise(va, len, MADV_NOHUGEPAGE) && errno != EINVAL)
			return -errno;
		break;
	}
	return 0;
}

static int get_kind(const struct dray_heap *heap, void *va, size_t len, enum dr_heap_pages pages)
{
	int flags = MAP_PRIVATE | MAP_ANONYMOUS;
	void *p;
	int err;

	if (pages == DR_HEAP_HUGETLB)
		flags |= MAP_HUGETLB | MAP_HUGE_2MB;
	p = dr_hooks->mmap(va, len, PROT_READ | PROT_WRITE, flags, -1, 0);
	if (p == MAP_FAILED)
		return -errno;
	if (p != va) {
		dr_hooks->munmap(p, len);
		return -EEXIST;
	}
	err = dress(heap, va, len, pages);
	if (err)
		dr_hooks->munmap(va, len);
	return err;
}

int dr_heap_pages_get(const struct dray_heap *heap, void *va, size_t len,
		      enum dr_heap_pages *ret_pages)
{
	enum dr_heap_pages pages =
		heap->flags & DRAY_HEAP_NO_HUGE ? DR_HEAP_SMALL : DR_HEAP_HUGETLB;
	char node[32] = "";
	int err = 0;

	for (; pages < DR_HEAP_PAGES; pages++) {
		err = get_kind(heap, va, len, pages);
		if (!err) {
			*ret_pages = pages;
			return 0;
		}
		if (err == -EEXIST)
			return err;
	}
	if (heap->flags & DRAY_HEAP_NUMA)
		snprintf(node, sizeof(node), " of NUMA node %u", heap->node);
	return dr_fail(-err, "%zu bytes of memory%s for the heap cannot be had: %s; free memory or "
		       "raise the process's limits (ulimit -v)%s", len, node, strerror(-err),
		       *node ? ", or pick a node that has memory" : "");
}
