// SPDX-License-Identifier: BSD-2-Clause
/*
 * A heap grows by steps: reserve address space in the window, get pages there, register them;
 * then, and only then, jemalloc learns of the memory.
 *
 * The window. It is reserved whole at open, so that "is this address the heap's?" is one
 * subtraction and the step of an address one load. Steps are put into it from below, never moved
 * and never taken out before the heap closes. Where a step goes the reservation is given up first,
 * and the address is a hint to mmap, which the kernel follows wherever nothing is mapped. MAP_FIXED
 * would not do: a mapping of huge pages that fails may leave a gap that another thread's mmap falls
 * into, and the next MAP_FIXED would destroy what that thread mapped. If somebody gets in between,
 * the spot is theirs, and the step goes to the next one.
 */
#define _GNU_SOURCE
#include "heap/heap.h"
#include "base/err.h"
#include "base/hooks.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

/* How many spots others may snatch from one growth; each takes an mmap within microseconds. */
#define SPOT_TRIES 8

static struct dr_heap_step *orphans; /* guarded by dr_heaps_lock */

static size_t align_up(size_t n, size_t align)
{
	return (n + align - 1) & ~(align - 1);
}

int dr_heap_window_open(struct dray_heap *heap)
{
	/* Twice the ceiling: alignment and spots lost to others may leave gaps. */
	size_t len = 2 * heap->max_bytes, pad;
	char *p;

	p = dr_hooks->mmap(NULL, len + DR_HEAP_SLOT, PROT_NONE,
			   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (p == MAP_FAILED)
		return dr_fail(ENOMEM, "%zu bytes of address space for the heap cannot be "
			       "reserved: %s; lower max_bytes (now %zu) or raise ulimit -v",
			       len, strerror(errno), heap->max_bytes);
	heap->slots = dr_alloc(len / DR_HEAP_SLOT * sizeof(*heap->slots));
	if (!heap->slots) {
		dr_hooks->munmap(p, len + DR_HEAP_SLOT);
		return dr_fail(ENOMEM, "no memory for a heap of up to %zu bytes; lower max_bytes",
			       heap->max_bytes);
	}
	pad = -(uintptr_t)p & (DR_HEAP_SLOT - 1);
	if (pad)
		dr_hooks->munmap(p, pad);
	dr_hooks->munmap(p + pad + len, DR_HEAP_SLOT - pad);
	heap->window = p + pad;
	heap->window_len = len;
	heap->cursor = 0;
	return 0;
}

void dr_heap_window_close(struct dray_heap *heap)
{
	if (heap->cursor < heap->window_len)
		dr_hooks->munmap(heap->window + heap->cursor, heap->window_len - heap->cursor);
	dr_free(heap->slots);
	heap->slots = NULL;
}

/* Reserve what is not mapped any more. False when somebody else was faster. */
static bool reserve_again(char *va, size_t len)
{
	char *p = dr_hooks->mmap(va, len, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
				 -1, 0);

	if (p != MAP_FAILED && p != va)
		dr_hooks->munmap(p, len);
	return p == va;
}

/*
 * Get pages at the cursor, or further up where that spot is taken. On success the cursor is past
 * them. 0; -ENOMEM; what dr_heap_pages_get() says.
 */
static int place_locked(struct dray_heap *heap, size_t len, size_t align, char **ret_va,
			enum dr_heap_pages *ret_pages)
{
	for (unsigned i = 0; i < SPOT_TRIES; i++) {
		char *at = heap->window + heap->cursor;
		char *va = (char *)align_up((uintptr_t)at, align);
		size_t gap = (size_t)(va - at);
		int err;

		if (gap > heap->window_len - heap->cursor ||
		    len > heap->window_len - heap->cursor - gap)
			return dr_fail(ENOMEM, "the heap's address space of %zu bytes is used up; "
				       "open it with a larger max_bytes", heap->window_len);
		dr_hooks->munmap(at, gap + len);
		err = dr_heap_pages_get(heap, va, len, ret_pages);
		if (err && err != -EEXIST && reserve_again(at, gap + len))
			return err;
		heap->cursor += gap + len;
		if (err != -EEXIST) {
			*ret_va = va;
			return err;
		}
	}
	return dr_fail(ENOMEM, "other threads map memory where the heap grows, %u times over; try "
		       "again", SPOT_TRIES);
}

static int step_open_locked(struct dray_heap *heap, size_t len, size_t align)
{
	uint32_t flags = heap->flags & DRAY_HEAP_SHARE_UNTRUSTED ? DRAY_REGION_SHARE_UNTRUSTED : 0;
	struct dr_heap_step *step = dr_alloc(sizeof(*step));
	size_t slot;
	int err;

	if (!step)
		return dr_fail(ENOMEM, "no memory to describe %zu bytes of heap", len);
	err = place_locked(heap, len, align, &step->va, &step->pages);
	if (err)
		goto free_step;
	step->len = len;
	err = dray_region_register(heap->dom, step->va, len, flags, &step->region);
	if (err)
		goto unmap;
	slot = (size_t)(step->va - heap->window) >> DR_HEAP_SLOT_SHIFT;
	for (size_t i = 0; i < len >> DR_HEAP_SLOT_SHIFT; i++)
		atomic_store_explicit(&heap->slots[slot + i], step, memory_order_relaxed);
	err = dr_heap_piece_add_locked(heap, step->va, len);
	if (err)
		goto unpublish;
	step->next = heap->steps;
	heap->steps = step;
	heap->n_steps++;
	heap->mapped[step->pages] += len;
	return 0;

unpublish:
	for (size_t i = 0; i < len >> DR_HEAP_SLOT_SHIFT; i++)
		atomic_store_explicit(&heap->slots[slot + i], NULL, memory_order_relaxed);
	/* Nobody has an address in it, so nothing keeps it busy; but a backend may refuse. */
	if (dray_region_unregister(step->region))
		goto free_step;
unmap:
	dr_hooks->munmap(step->va, len);
	if (reserve_again(step->va, len))
		heap->cursor -= len;
free_step:
	dr_free(step);
	return err;
}

int dr_heap_grow_locked(struct dray_heap *heap, size_t len, size_t align)
{
	size_t mapped = 0, room, need, want;
	int err;

	for (int i = 0; i < DR_HEAP_PAGES; i++)
		mapped += heap->mapped[i];
	room = heap->max_bytes - mapped;
	if (len > room)
		return dr_fail(ENOMEM, "the heap has %zu of at most %zu bytes and no %zu adjoining "
			       "ones free; free blocks or open it with a larger max_bytes", mapped,
			       heap->max_bytes, len);
	need = align_up(len, DR_HEAP_SLOT);
	if (align < DR_HEAP_SLOT)
		align = DR_HEAP_SLOT;
	want = need > heap->grow_bytes ? need : heap->grow_bytes;
	if (want > room)
		want = need;
	err = step_open_locked(heap, want, align);
	/* Memory may run out, or the limit of locked memory be reached, before a whole step is. */
	if (err && want > need)
		err = step_open_locked(heap, need, align);
	return err;
}

/*
 * True when the step is gone, false when mappings are out in it. Where a backend refused to unmap,
 * devices may reach the memory for ever: the region is gone, and the memory stays.
 */
static bool step_close(struct dr_heap_step *step)
{
	int err = dray_region_unregister(step->region);

	if (err == -EBUSY)
		return false;
	if (!err)
		dr_hooks->munmap(step->va, step->len);
	dr_free(step);
	return true;
}

unsigned dr_heap_steps_close_locked(struct dray_heap *heap, size_t *ret_bytes)
{
	struct dr_heap_step *step, *next;
	unsigned busy = 0;

	*ret_bytes = 0;
	for (step = heap->steps; step; step = next) {
		size_t len = step->len;

		next = step->next;
		if (step_close(step))
			continue;
		step->next = orphans;
		orphans = step;
		busy++;
		*ret_bytes += len;
	}
	heap->steps = NULL;
	return busy;
}

void dr_heap_orphans_retry_locked(void)
{
	struct dr_heap_step **at = &orphans;

	while (*at) {
		struct dr_heap_step *step = *at, *next = step->next;

		if (step_close(step))
			*at = next;
		else
			at = &step->next;
	}
}

void dr_heap_orphans_forget(void)
{
	orphans = NULL;
}
