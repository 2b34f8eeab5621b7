/* SPDX-License-Identifier: BSD-2-Clause */
/* Buffers for a load, from one place or another: what they come from decides what mapping costs. */
#ifndef NVME_MEMORY_H
#define NVME_MEMORY_H

#include <stddef.h>

#include <dray/types.h>

struct dray_heap;

enum nvme_memory_kind {
	NVME_MEMORY_MMAP,   /* pages of its own for each buffer */
	NVME_MEMORY_MALLOC, /* as a program gets them: pages are shared with neighbours */
	NVME_MEMORY_HEAP,   /* of a heap in the domain: registered once, mapped by a lookup */
};

struct nvme_memory {
	enum nvme_memory_kind kind;
	struct dray_heap *heap; /* NULL for the other kinds */
	unsigned n;
	size_t bytes;
	void **bufs;
};

/* The kind of this name, or -1; and its name. */
int nvme_memory_find(const char *name);
const char *nvme_memory_name(enum nvme_memory_kind kind);

/*
 * @n buffers of @bytes; of a heap in @dom if it is that kind. 0; -ENOMEM; -ENOTSUP a heap, and the
 * program has none in it; or why a heap cannot be opened. On failure nothing is open.
 */
int nvme_memory_open(struct nvme_memory *m, enum nvme_memory_kind kind, struct dray_domain *dom,
		     unsigned n, size_t bytes);
/* Closing what is zero is fine. */
void nvme_memory_close(struct nvme_memory *m);

#endif
