// SPDX-License-Identifier: BSD-2-Clause
/* Blocks out of a heap and back into it: the paths that are short. */
#include "heap/heap.h"
#include "base/err.h"
#include "base/process.h"

#include <errno.h>
#include <syslog.h>

#include <dray/domain.h>
#include <dray/stats.h>

/* malloc's alignment, and our smallest size class. */
#define BLOCK_ALIGN _Alignof(max_align_t)

__attribute__((cold, noinline))
static void *refused(struct dray_heap *heap, size_t len, size_t align)
{
	if (!heap)
		dr_fail(EINVAL, "heap is NULL; open one first");
	else if (heap->process != dr_process_id())
		dr_fail(EPERM, "the heap belongs to the parent process; open one here");
	else if (!len)
		dr_fail(EINVAL, "a block of 0 bytes is nothing a device could use; ask for 1 or "
			"more");
	else if (len > heap->max_bytes)
		dr_fail(ENOMEM, "a block of %zu bytes is more than the heap may ever have, %zu; "
			"open it with a larger max_bytes", len, heap->max_bytes);
	else
		dr_fail(EINVAL, "alignment %zu is not a power of two of at most 1 GiB", align);
	return NULL;
}

__attribute__((cold, noinline))
static void *try_harder(struct dray_heap *heap, size_t len, int flags)
{
	void *p;

	dr_heap_arena_gather(heap);
	dr_heap_told = false;
	p = dr_je_mallocx(len, flags);
	if (!p && !dr_heap_told)
		dr_fail(ENOMEM, "jemalloc has no memory for its own bookkeeping; free memory or "
			"raise the process's limits");
	return p;
}

void *dray_heap_alloc(struct dray_heap *heap, size_t len, size_t align)
{
	int flags;
	void *p;

	if (!heap || !len || len > heap->max_bytes || align & (align - 1) ||
	    align > DR_HEAP_ALIGN_MAX || heap->process != dr_process_id())
		return refused(heap, len, align);
	flags = heap->arena_flags | dr_heap_cache_flags(heap);
	/* Size classes from BLOCK_ALIGN on are multiples of it, and aligned so without asking. */
	if (len < BLOCK_ALIGN)
		len = BLOCK_ALIGN;
	if (align > BLOCK_ALIGN)
		flags |= MALLOCX_LG_ALIGN(__builtin_ctzl(align));
	p = dr_je_mallocx(len, flags);
	return p ? p : try_harder(heap, len, flags);
}

__attribute__((cold, noinline))
static void bad_free(struct dray_heap *heap, void *p)
{
	atomic_fetch_add_explicit(&heap->bad_frees, 1, memory_order_relaxed);
	dr_fail(EINVAL, "free of %p, which is no block of this heap; give it back to where it came "
		"from", p);
	dray_domain_log(heap->dom, LOG_ERR, dray_errmsg());
}

void dray_heap_free(struct dray_heap *heap, void *p)
{
	if (!p || !heap || heap->process != dr_process_id())
		return;
	if (!dr_heap_step_of(heap, p) || (uintptr_t)p & (BLOCK_ALIGN - 1)) {
		bad_free(heap, p);
		return;
	}
	dr_je_dallocx(p, dr_heap_cache_flags(heap));
}
