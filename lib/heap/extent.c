// SPDX-License-Identifier: BSD-2-Clause
/*
 * jemalloc's extent hooks. Which may do what is paragraph 3 of heap.c. Memory that jemalloc has not
 * got yet lies in a short list of pieces: the rest of each step, and what alignment left between.
 * What jemalloc has got never comes back to the list.
 */
#include "heap/heap.h"
#include "base/err.h"
#include "base/hooks.h"

#include <errno.h>

_Thread_local bool dr_heap_told __attribute__((tls_model(DR_TLS_MODEL)));

static struct dray_heap *heap_of(extent_hooks_t *hooks)
{
	/* The first field. */
	return (struct dray_heap *)hooks;
}

int dr_heap_piece_add_locked(struct dray_heap *heap, char *va, size_t len)
{
	struct dr_heap_piece *piece = dr_alloc(sizeof(*piece)), **at = &heap->pieces;

	if (!piece)
		return dr_fail(ENOMEM, "no memory to describe %zu bytes of heap", len);
	while (*at && (*at)->va < va)
		at = &(*at)->next;
	*piece = (struct dr_heap_piece){ .next = *at, .va = va, .len = len };
	*at = piece;
	return 0;
}

void dr_heap_pieces_free(struct dray_heap *heap)
{
	while (heap->pieces) {
		struct dr_heap_piece *piece = heap->pieces;

		heap->pieces = piece->next;
		dr_free(piece);
	}
}

/*
 * The piece that loses least by giving @len bytes at a multiple of @align, or at @want if that is
 * not NULL. Steps are large and few, and so are pieces.
 */
static struct dr_heap_piece **find_piece_locked(struct dray_heap *heap, char *want, size_t len,
						size_t align)
{
	struct dr_heap_piece **best = NULL;

	for (struct dr_heap_piece **at = &heap->pieces; *at; at = &(*at)->next) {
		struct dr_heap_piece *piece = *at;
		size_t gap = -(uintptr_t)piece->va & (align - 1);

		if (want && piece->va != want)
			continue;
		if (gap > piece->len || len > piece->len - gap)
			continue;
		if (!best || piece->len < (*best)->len)
			best = at;
	}
	return best;
}

static char *carve_locked(struct dray_heap *heap, struct dr_heap_piece **at, size_t len,
			  size_t align)
{
	struct dr_heap_piece *piece = *at;
	size_t gap = -(uintptr_t)piece->va & (align - 1);
	char *va = piece->va + gap;
	size_t rest = piece->len - gap - len;

	if (gap && rest) {
		if (dr_heap_piece_add_locked(heap, va + len, rest))
			return NULL;
		piece->len = gap;
	} else if (gap) {
		piece->len = gap;
	} else if (rest) {
		piece->va += len;
		piece->len = rest;
	} else {
		*at = piece->next;
		dr_free(piece);
	}
	heap->used += len;
	return va;
}

static void *hook_alloc(extent_hooks_t *hooks, void *want, size_t len, size_t align, bool *zero,
			bool *commit, unsigned arena)
{
	struct dray_heap *heap = heap_of(hooks);
	struct dr_heap_piece **at;
	char *va = NULL;

	(void)arena;
	pthread_mutex_lock(&heap->lock);
	at = find_piece_locked(heap, want, len, align);
	if (!at && !want && !dr_heap_grow_locked(heap, len, align))
		at = find_piece_locked(heap, NULL, len, align);
	if (at)
		va = carve_locked(heap, at, len, align);
	pthread_mutex_unlock(&heap->lock);
	if (!va) {
		dr_heap_told = !want;
		return NULL;
	}
	/* Fresh from the kernel: each byte is given to jemalloc once. */
	*zero = true;
	*commit = true;
	return va;
}

static bool refuse(extent_hooks_t *hooks)
{
	struct dray_heap *heap = heap_of(hooks);

	atomic_fetch_add_explicit(&heap->purges_refused, 1, memory_order_relaxed);
	return true;
}

static bool hook_dalloc(extent_hooks_t *hooks, void *va, size_t len, bool committed,
			unsigned arena)
{
	(void)va;
	(void)len;
	(void)committed;
	(void)arena;
	return refuse(hooks);
}

static bool hook_decommit(extent_hooks_t *hooks, void *va, size_t len, size_t off, size_t part,
			  unsigned arena)
{
	(void)va;
	(void)len;
	(void)off;
	(void)part;
	(void)arena;
	return refuse(hooks);
}

static bool hook_split(extent_hooks_t *hooks, void *va, size_t len, size_t len_a, size_t len_b,
		       bool committed, unsigned arena)
{
	(void)hooks;
	(void)va;
	(void)len;
	(void)len_a;
	(void)len_b;
	(void)committed;
	(void)arena;
	return false;
}

static bool hook_merge(extent_hooks_t *hooks, void *va_a, size_t len_a, void *va_b, size_t len_b,
		       bool committed, unsigned arena)
{
	struct dray_heap *heap = heap_of(hooks);

	(void)len_a;
	(void)len_b;
	(void)committed;
	(void)arena;
	return dr_heap_step_of(heap, va_a) != dr_heap_step_of(heap, va_b);
}

/*
 * No commit: nothing is ever decommitted. No destroy: when jemalloc gives up an arena the steps are
 * unregistered and unmapped by heap.c, whole.
 */
const extent_hooks_t dr_heap_hooks = {
	.alloc = hook_alloc,
	.dalloc = hook_dalloc,
	.decommit = hook_decommit,
	.purge_lazy = hook_decommit,
	.purge_forced = hook_decommit,
	.split = hook_split,
	.merge = hook_merge,
};
