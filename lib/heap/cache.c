// SPDX-License-Identifier: BSD-2-Clause
/*
 * Thread caches. jemalloc's automatic ones hold blocks of all arenas together, and would hand a
 * block of one heap to who asks another; so each thread has a cache of its own in each heap it
 * uses, made when it first allocates or frees there. It goes back to the arena when the thread
 * exits or the heap closes, whichever is first: both hold dr_heaps_lock. A thread without a number,
 * or beyond jemalloc's 4,094 caches, works without one.
 */
#include "heap/heap.h"
#include "base/err.h"

#include <errno.h>

static bool started; /* guarded by dr_heaps_lock */

static void drop(uint32_t *cache)
{
	unsigned number = *cache - 1;

	dr_je_mallctl("tcache.destroy", NULL, NULL, &number, sizeof(number));
	*cache = 0;
}

static void thread_exits(unsigned n)
{
	pthread_mutex_lock(&dr_heaps_lock);
	for (struct dray_heap *heap = dr_heaps; heap; heap = heap->next)
		if (heap->caches[n])
			drop(&heap->caches[n]);
	pthread_mutex_unlock(&dr_heaps_lock);
}

/* The child has one thread and no heaps; whoever held the lock is not there to release it. */
static void forked(void)
{
	pthread_mutex_init(&dr_heaps_lock, NULL);
	dr_heaps = NULL;
	dr_heap_orphans_forget();
}

int dr_heap_caches_start(void)
{
	int err = 0;

	pthread_mutex_lock(&dr_heaps_lock);
	if (!started) {
		err = pthread_atfork(NULL, NULL, forked);
		if (!err) {
			dr_thread_on_exit(thread_exits);
			started = true;
		}
	}
	pthread_mutex_unlock(&dr_heaps_lock);
	return err ? dr_fail(ENOMEM, "no memory to hear of forks and of threads that exit") : 0;
}

int dr_heap_cache_make(struct dray_heap *heap)
{
	unsigned n = dr_thread_number(), cache;
	size_t len = sizeof(cache);

	if (n == DR_THREAD_NONE)
		return MALLOCX_TCACHE_NONE;
	if (!heap->caches[n]) {
		if (dr_je_mallctl("tcache.create", &cache, &len, NULL, 0))
			return MALLOCX_TCACHE_NONE;
		heap->caches[n] = cache + 1;
	}
	return MALLOCX_TCACHE(heap->caches[n] - 1);
}

void dr_heap_caches_drop_locked(struct dray_heap *heap)
{
	for (unsigned n = 0; n < DR_THREADS; n++)
		if (heap->caches[n])
			drop(&heap->caches[n]);
}
