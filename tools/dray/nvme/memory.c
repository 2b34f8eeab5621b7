// SPDX-License-Identifier: BSD-2-Clause
/*
 * Buffers of a load
 *
 * Each is allocated by itself, as a program would that has one for each command. Those of mmap()
 * begin a page and share none. Those of malloc() begin where the allocator likes, 16-byte aligned,
 * so two of them may lie in one page, which is then mapped for both. Those of a heap are registered
 * with the domain by it; whether there is one depends on how the program was built.
 */
#include "nvme/memory.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#ifdef NVME_HAVE_HEAP
#include <dray/heap.h>
#endif

#include "base/err.h"
#include "base/hooks.h"

static const char *const names[] = {
	[NVME_MEMORY_MMAP] = "mmap",
	[NVME_MEMORY_MALLOC] = "malloc",
	[NVME_MEMORY_HEAP] = "heap",
};

int nvme_memory_find(const char *name)
{
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (strcmp(name, names[i]) == 0)
			return (int)i;
	return -1;
}

const char *nvme_memory_name(enum nvme_memory_kind kind)
{
	return names[kind];
}

#ifdef NVME_HAVE_HEAP
static int open_heap(struct nvme_memory *m, struct dray_domain *dom)
{
	return dray_heap_open(dom, NULL, &m->heap);
}

static void close_heap(struct nvme_memory *m)
{
	dray_heap_close(m->heap);
	m->heap = NULL;
}

static void *take_block(const struct nvme_memory *m)
{
	return dray_heap_alloc(m->heap, m->bytes, 0);
}

static void give_block(const struct nvme_memory *m, void *p)
{
	dray_heap_free(m->heap, p);
}
#else
static int open_heap(struct nvme_memory *m, struct dray_domain *dom)
{
	(void)m;
	(void)dom;
	return dr_fail(ENOTSUP, "this program was built without libdray-heap; build it with "
				"`meson setup -Dheap=enabled`, or use other memory");
}

static void close_heap(struct nvme_memory *m)
{
	(void)m;
}

static void *take_block(const struct nvme_memory *m)
{
	(void)m;
	return NULL;
}

static void give_block(const struct nvme_memory *m, void *p)
{
	(void)m;
	(void)p;
}
#endif

static void *take(const struct nvme_memory *m)
{
	void *p;

	switch (m->kind) {
	case NVME_MEMORY_HEAP:
		return take_block(m);
	case NVME_MEMORY_MALLOC:
		return dr_alloc(m->bytes);
	default:
		p = dr_hooks->mmap(NULL, m->bytes, PROT_READ | PROT_WRITE,
				   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		return p == MAP_FAILED ? NULL : p;
	}
}

static void give(const struct nvme_memory *m, void *p)
{
	if (!p)
		return;
	switch (m->kind) {
	case NVME_MEMORY_HEAP:
		give_block(m, p);
		break;
	case NVME_MEMORY_MALLOC:
		dr_free(p);
		break;
	default:
		dr_hooks->munmap(p, m->bytes);
	}
}

int nvme_memory_open(struct nvme_memory *m, enum nvme_memory_kind kind, struct dray_domain *dom,
		     unsigned n, size_t bytes)
{
	int rc;

	*m = (struct nvme_memory){.kind = kind, .n = n, .bytes = bytes};
	if (kind == NVME_MEMORY_HEAP) {
		rc = open_heap(m, dom);
		if (rc)
			return rc;
	}
	m->bufs = dr_alloc(n * sizeof(*m->bufs));
	for (unsigned i = 0; m->bufs && i < n; i++) {
		m->bufs[i] = take(m);
		if (!m->bufs[i])
			nvme_memory_close(m);
	}
	if (m->bufs)
		return 0;
	nvme_memory_close(m);
	return dr_fail(ENOMEM, "no memory for %u buffers of %zu bytes; ask for less depth", n,
		       bytes);
}

void nvme_memory_close(struct nvme_memory *m)
{
	for (unsigned i = 0; m->bufs && i < m->n; i++)
		give(m, m->bufs[i]);
	dr_free(m->bufs);
	m->bufs = NULL;
	if (m->heap)
		close_heap(m);
}
