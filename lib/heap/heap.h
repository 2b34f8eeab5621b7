/* SPDX-License-Identifier: BSD-2-Clause */
/* A heap from inside; the theory is at the top of heap.c. */
#ifndef DR_HEAP_H
#define DR_HEAP_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include <dray/heap.h>
#include <dray/region.h>

#include "base/thread.h"
#include "heap/jemalloc.h"

/* What address space is set aside and steps are made in: the larger page of every IOMMU and MMU. */
#define DR_HEAP_SLOT_SHIFT 21
#define DR_HEAP_SLOT       (UINT64_C(1) << DR_HEAP_SLOT_SHIFT)

/* The smallest page there is. */
#define DR_HEAP_PAGE 4096u

/* The largest alignment of a block. */
#define DR_HEAP_ALIGN_MAX (UINT64_C(1) << 30)

enum dr_heap_pages { DR_HEAP_HUGETLB, DR_HEAP_THP, DR_HEAP_SMALL, DR_HEAP_PAGES };

/* Memory got and registered in one go. Constant once it is in a slot, but for @next. */
struct dr_heap_step {
	struct dr_heap_step *next;  /* guarded by the heap's lock; of orphans, by the heaps' */
	char *va;                   /* a multiple of DR_HEAP_SLOT */
	size_t len;                 /* likewise */
	enum dr_heap_pages pages;
	struct dray_region *region;
};

/* Memory of a step that jemalloc has not got yet. Guarded by the heap's lock. */
struct dr_heap_piece {
	struct dr_heap_piece *next;
	char *va;
	size_t len;
};

struct dray_heap {
	/* How jemalloc knows the heap; constant. */
	extent_hooks_t hooks;

	/* Constant while the heap is open. */
	struct dray_domain *dom;
	uint64_t process;                /* dr_process_id() of the opener */
	unsigned arena;                  /* jemalloc's number */
	int arena_flags;                 /* the same, as its calls want it */
	uint32_t flags;                  /* DRAY_HEAP_* */
	unsigned node;                   /* with DRAY_HEAP_NUMA */
	size_t grow_bytes, max_bytes;

	/*
	 * The address space set aside: constant while open. Behind @cursor, which the lock guards,
	 * only steps are ours; from there on all of it is reserved.
	 */
	char *window;
	size_t window_len;
	size_t cursor;

	/* Growing and carving, one at a time. Held over mmap and over dray_region_register(). */
	pthread_mutex_t lock;
	struct dr_heap_step *steps;      /* guarded by lock; newest first */
	struct dr_heap_piece *pieces;    /* guarded by lock; by address */
	size_t mapped[DR_HEAP_PAGES];    /* guarded by lock; bytes by kind of page */
	uint64_t n_steps;                /* guarded by lock */
	size_t used;                     /* guarded by lock; bytes carved */

	_Atomic uint64_t purges_refused; /* statistics */
	_Atomic uint64_t bad_frees;      /* statistics */

	struct dray_heap *next;          /* guarded by the heaps' lock */

	/* jemalloc's number of a thread's cache + 1; 0 none yet. Written by the thread alone. */
	uint32_t caches[DR_THREADS];

	/*
	 * The step of each slot of the window. Written under lock before an address in it is out;
	 * read without it, relaxed: who has an address has it from after that.
	 */
	_Atomic(struct dr_heap_step *) *slots;
};

/* heap.c */

/* All open heaps, caches of exiting threads and orphaned steps. Taken before a heap's lock. */
extern pthread_mutex_t dr_heaps_lock;
extern struct dray_heap *dr_heaps;       /* guarded by dr_heaps_lock */

/* step.c */

/* Reserve the window. 0; -ENOMEM. */
int dr_heap_window_open(struct dray_heap *heap);
/* Give back what of it is not a step. */
void dr_heap_window_close(struct dray_heap *heap);

/*
 * One more step, of at least @len bytes, one piece of it starting at a multiple of @align, and its
 * memory among the pieces. 0; -errno, nothing changed.
 */
int dr_heap_grow_locked(struct dray_heap *heap, size_t len, size_t align);

/*
 * Unregister and unmap all steps. One whose region is still in use stays as it is and becomes an
 * orphan. *ret_bytes: the bytes of those. Returns how many. dr_heaps_lock is held.
 */
unsigned dr_heap_steps_close_locked(struct dray_heap *heap, size_t *ret_bytes);

/* Try again what was still in use. dr_heaps_lock is held. */
void dr_heap_orphans_retry_locked(void);
/* In a forked child they are the parent's. */
void dr_heap_orphans_forget(void);

/* The step that an address lies in, or NULL. */
static inline struct dr_heap_step *dr_heap_step_of(const struct dray_heap *heap, const void *p)
{
	uintptr_t off = (uintptr_t)p - (uintptr_t)heap->window;

	if (off >= heap->window_len)
		return NULL;
	return atomic_load_explicit(&heap->slots[off >> DR_HEAP_SLOT_SHIFT], memory_order_relaxed);
}

/* pages.c */

/*
 * Fill [va, va + len), which nothing is mapped in, with memory of the largest pages to be had.
 * 0; -EEXIST somebody else mapped something there; another -errno, nothing is mapped there.
 */
int dr_heap_pages_get(const struct dray_heap *heap, void *va, size_t len,
		      enum dr_heap_pages *ret_pages);
/* Can memory be had from @node? 0; -errno. */
int dr_heap_node_check(unsigned node);

/* extent.c */

/* What jemalloc calls for a heap's arena. */
extern const extent_hooks_t dr_heap_hooks;
void dr_heap_pieces_free(struct dray_heap *heap);
/* Add memory to the pieces. 0; -ENOMEM. */
int dr_heap_piece_add_locked(struct dray_heap *heap, char *va, size_t len);

/* arena.c */

/* jemalloc's arena of a heap. 0; -ENOTSUP; -ENOMEM. */
int dr_heap_arena_open(struct dray_heap *heap);
/* Give up the arena with all that is still out of it. */
void dr_heap_arena_close(struct dray_heap *heap);
/* Blocks out and their bytes; what waits in caches counts as out. */
void dr_heap_arena_count(const struct dray_heap *heap, uint64_t *ret_blocks, uint64_t *ret_bytes);
/* Bring freed memory together, as far as this thread reaches it. */
void dr_heap_arena_gather(struct dray_heap *heap);

/* cache.c */

/* Hear of threads that exit. 0; -ENOMEM. */
int dr_heap_caches_start(void);
/* jemalloc's flags for this thread's cache of a heap. */
int dr_heap_cache_make(struct dray_heap *heap);
/* Return all caches of a heap to its arena. dr_heaps_lock is held. */
void dr_heap_caches_drop_locked(struct dray_heap *heap);

/* Why the last growth on this thread failed has been told through dr_fail(). */
extern _Thread_local bool dr_heap_told __attribute__((tls_model(DR_TLS_MODEL)));

static inline int dr_heap_cache_flags(struct dray_heap *heap)
{
	unsigned n = dr_thread_peek();
	uint32_t cache = n < DR_THREADS ? heap->caches[n] : 0;

	return cache ? MALLOCX_TCACHE(cache - 1) : dr_heap_cache_make(heap);
}

#endif
