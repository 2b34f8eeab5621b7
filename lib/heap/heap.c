// SPDX-License-Identifier: BSD-2-Clause
/*
 * A heap: malloc for memory that devices reach.
 *
 * 1. Concepts. A heap is an arena of a private jemalloc over memory of its own. The memory comes in
 *    steps (step.c): 32 MiB by default, in the largest pages to be had (pages.c), each registered
 *    as one region of the domain, in one piece of IOVAs. A step is carved into extents, jemalloc's
 *    runs of pages, and these into blocks. Step ⊇ extent ⊇ block always holds, so a block's IOVAs
 *    adjoin as its addresses do, and mapping it is a lookup.
 *
 * 2. Growing: reserve address space → get pages → register → publish the step → give the memory to
 *    jemalloc. Each has its inverse, taken in reverse when one fails. jemalloc never sees an
 *    address that devices do not reach yet. A heap never shrinks before it closes: memory that is
 *    pinned and registered is worth keeping, and giving back a part of a region is not possible.
 *
 * 3. What jemalloc's hooks may do (extent.c). Pinned pages must not be exchanged under the device:
 *    after MADV_DONTNEED, MADV_FREE or a fresh mmap in the same place the CPU would find new pages
 *    and the device go on using the old ones, and nothing would fail. So:
 *
 *	alloc		hands out registered memory, each byte once; grows the heap if there is none
 *	dalloc		refuses: jemalloc keeps the extent, mapped, and uses it again
 *	decommit	refuses		purge_lazy	refuses		purge_forced	refuses
 *	commit, destroy	are not there: nothing is decommitted; steps go as a whole, in paragraph 5
 *	split		always: no page changes
 *	merge		inside a step only: the next step adjoins in VA, not in IOVA
 *
 *    Refusals are counted. Decay is turned off besides, which saves the attempts. Against a fork,
 *    which makes pages copy-on-write and would move the parent away from the device's page, steps
 *    are MADV_DONTFORK: the child has none of the memory. Swapping, migration and merging of equal
 *    pages leave pinned pages alone. jemalloc's bookkeeping is outside the steps: no device
 *    reaches it, and a freed block holds no pointers.
 *
 * 4. A private jemalloc (private.sh, conf.c). Of its symbols only four are visible, under names of
 *    ours, and none from outside this library: malloc stays the host's, for the host and for our
 *    own code here. What the host sets for its allocator does not reach it. It starts no thread.
 *
 * 5. Closing: the heap leaves the list → thread caches go back → blocks still out are counted and
 *    logged → the arena goes → each step is unregistered and unmapped. A step in which a mapping is
 *    out cannot be unregistered (-EBUSY); then it stays registered and mapped, because the device
 *    may still be at it. It is kept as an orphan and tried again whenever a heap is opened or
 *    closed. Each step's region holds the domain, and the first step is made at open: so a domain
 *    outlives its heaps.
 *
 * 6. Locks, in order: dr_heaps_lock (the list of heaps, caches of who exits, orphans) < jemalloc's
 *    < a heap's lock (steps, pieces) < those of the domain. The hooks are called with jemalloc's
 *    locks or without, and take the heap's lock alone. No domain calls into a heap.
 *
 *	          | alloc, free        | stats     | thread exits       | close
 *	alloc,    | own caches, then   | counts may| another thread's   | forbidden
 *	 free     | jemalloc's locks   | differ by | cache, nobody else |
 *	 grow     | one grows, others  | what is   | is at it           |
 *	          | wait in the hook   | under way |                    |
 *	thread    |                    |           | dr_heaps_lock      | dr_heaps_lock: one of
 *	 exits    |                    |           |                    |  the two returns a cache
 *	open      |                    |           | dr_heaps_lock      | dr_heaps_lock
 *	fork      | the child has jemalloc in a good state (its own fork handlers) and none of the
 *	          | heaps: process numbers differ, so it takes none of their locks
 *
 * 7. What can fail: open and alloc, for want of address space, pages, locked memory, entries, at
 *    the ceiling, or because of who is attached. A step that cannot be had whole is tried again as
 *    small as the request allows; before a request fails, this thread's cache is emptied and freed
 *    extents are joined. Free and close never fail and never grow the heap.
 */
#include "heap/heap.h"
#include "base/err.h"
#include "base/hooks.h"
#include "base/process.h"
#include "base/structs.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <syslog.h>

#include <dray/domain.h>
#include <dray/stats.h>

/*
 * Each step is one backend call, one region and one of type1's 65,535 entries, so steps are large:
 * the ceiling below is 512 of them. A heap that is hardly used pins one step: half a millisecond
 * of pinning, and little enough to be forgotten about.
 */
#define GROW_DEFAULT (UINT64_C(32) << 20)

/*
 * More than drivers have in flight; most leaks run into it before the machine is out of memory. What
 * is reserved for it still fits where address space is dear, as under valgrind.
 */
#define MAX_DEFAULT (UINT64_C(16) << 30)

/* Twice as much address space is reserved, which is half of what 47 bits hold. */
#define MAX_LIMIT (UINT64_C(1) << 45)

pthread_mutex_t dr_heaps_lock = PTHREAD_MUTEX_INITIALIZER;
struct dray_heap *dr_heaps;

static int read_opts(const struct dray_heap_opts *opts, struct dray_heap *heap)
{
	struct dray_heap_opts o = { 0 };
	int err;

	if (opts) {
		err = dr_struct_in(&o, sizeof(o), opts);
		if (err)
			return err;
	}
	if (o.flags & ~(DRAY_HEAP_NO_HUGE | DRAY_HEAP_NUMA | DRAY_HEAP_SHARE_UNTRUSTED))
		return dr_fail(EINVAL, "heap flags 0x%x are not known; see DRAY_HEAP_* in heap.h",
			       o.flags);
	if (!(o.flags & DRAY_HEAP_NUMA) && o.numa_node != 0 && o.numa_node != -1)
		return dr_fail(EINVAL, "numa_node is %d and DRAY_HEAP_NUMA is not set; set it, or "
			       "leave numa_node 0", o.numa_node);
	if (o.flags & DRAY_HEAP_NUMA) {
		if (o.numa_node < 0)
			return dr_fail(EINVAL, "NUMA node %d cannot exist; see lscpu for those "
				       "that do", o.numa_node);
		err = dr_heap_node_check((unsigned)o.numa_node);
		if (err)
			return err;
	}
	if (!o.max_bytes)
		o.max_bytes = MAX_DEFAULT;
	if (o.max_bytes < DR_HEAP_SLOT || o.max_bytes > MAX_LIMIT)
		return dr_fail(EINVAL, "max_bytes is %zu; a heap has between 2 MiB and 32 TiB",
			       o.max_bytes);
	o.max_bytes &= ~(DR_HEAP_SLOT - 1);
	if (!o.grow_bytes)
		o.grow_bytes = GROW_DEFAULT;
	if (o.grow_bytes > o.max_bytes)
		o.grow_bytes = o.max_bytes;
	heap->flags = o.flags;
	heap->node = (unsigned)o.numa_node;
	heap->max_bytes = o.max_bytes;
	heap->grow_bytes = (o.grow_bytes + DR_HEAP_SLOT - 1) & ~(DR_HEAP_SLOT - 1);
	return 0;
}

int dray_heap_open(struct dray_domain *dom, const struct dray_heap_opts *opts,
		   struct dray_heap **ret_heap)
{
	struct dray_heap *heap;
	int err;

	if (!dom || !ret_heap)
		return dr_fail(EINVAL, "%s is NULL; pass an open domain and where to put the heap",
			       dom ? "ret_heap" : "domain");
	err = dr_heap_caches_start();
	if (err)
		return err;
	heap = dr_alloc(sizeof(*heap));
	if (!heap)
		return dr_fail(ENOMEM, "no memory for a heap's description");
	heap->dom = dom;
	pthread_mutex_init(&heap->lock, NULL);
	err = read_opts(opts, heap);
	if (err)
		goto free_heap;
	heap->process = dr_process_id();
	if (!heap->process) {
		err = dr_fail(ENOMEM, "no page to tell this process from its children by");
		goto free_heap;
	}
	err = dr_heap_window_open(heap);
	if (err)
		goto free_heap;
	err = dr_heap_arena_open(heap);
	if (err)
		goto window_close;

	pthread_mutex_lock(&heap->lock);
	err = dr_heap_grow_locked(heap, DR_HEAP_SLOT, DR_HEAP_SLOT);
	pthread_mutex_unlock(&heap->lock);
	if (err)
		goto arena_close;

	pthread_mutex_lock(&dr_heaps_lock);
	dr_heap_orphans_retry_locked();
	heap->next = dr_heaps;
	dr_heaps = heap;
	pthread_mutex_unlock(&dr_heaps_lock);
	*ret_heap = heap;
	return 0;

arena_close:
	dr_heap_arena_close(heap);
window_close:
	dr_heap_window_close(heap);
free_heap:
	pthread_mutex_destroy(&heap->lock);
	dr_free(heap);
	return err;
}

static void unlist_locked(struct dray_heap *heap)
{
	struct dray_heap **at = &dr_heaps;

	while (*at && *at != heap)
		at = &(*at)->next;
	if (*at)
		*at = heap->next;
}

static void log_line(struct dray_heap *heap, int level)
{
	dray_domain_log(heap->dom, level, dray_errmsg());
}

void dray_heap_close(struct dray_heap *heap)
{
	uint64_t blocks, bytes;
	size_t busy_bytes;
	unsigned busy;

	if (!heap || heap->process != dr_process_id())
		return;
	pthread_mutex_lock(&dr_heaps_lock);
	unlist_locked(heap);
	dr_heap_caches_drop_locked(heap);
	pthread_mutex_unlock(&dr_heaps_lock);

	dr_heap_arena_count(heap, &blocks, &bytes);
	if (blocks) {
		dr_fail(EBUSY, "heap closed with %" PRIu64 " blocks of %" PRIu64 " bytes out; free "
			"them before dray_heap_close()", blocks, bytes);
		log_line(heap, LOG_WARNING);
	}
	dr_heap_arena_close(heap);

	pthread_mutex_lock(&dr_heaps_lock);
	busy = dr_heap_steps_close_locked(heap, &busy_bytes);
	if (busy) {
		/* Their regions still hold the domain, under this lock for sure. */
		dr_fail(EBUSY, "heap closed with mappings out in %u of its pieces: %zu bytes stay "
			"registered and mapped; unmap before dray_heap_close()", busy, busy_bytes);
		log_line(heap, LOG_ERR);
	}
	dr_heap_orphans_retry_locked();
	pthread_mutex_unlock(&dr_heaps_lock);
	dr_heap_pieces_free(heap);
	dr_heap_window_close(heap);
	pthread_mutex_destroy(&heap->lock);
	dr_free(heap);
}

int dray_heap_stats(struct dray_heap *heap, struct dray_heap_stats *inout)
{
	struct dray_heap_stats s = { 0 };

	if (!heap)
		return dr_fail(EINVAL, "heap is NULL; open one first");
	if (heap->process != dr_process_id())
		return dr_fail(EPERM, "the heap belongs to the parent process; open one here");
	dr_heap_arena_count(heap, &s.allocations, &s.allocated_bytes);
	pthread_mutex_lock(&heap->lock);
	s.hugetlb_bytes = heap->mapped[DR_HEAP_HUGETLB];
	s.thp_bytes = heap->mapped[DR_HEAP_THP];
	s.small_bytes = heap->mapped[DR_HEAP_SMALL];
	s.mapped_bytes = s.hugetlb_bytes + s.thp_bytes + s.small_bytes;
	s.used_bytes = heap->used;
	s.steps = heap->n_steps;
	pthread_mutex_unlock(&heap->lock);
	s.purges_refused = atomic_load_explicit(&heap->purges_refused, memory_order_relaxed);
	s.bad_frees = atomic_load_explicit(&heap->bad_frees, memory_order_relaxed);
	return dr_struct_out(inout, &s, sizeof(s));
}
