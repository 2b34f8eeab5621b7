// SPDX-License-Identifier: BSD-2-Clause
/*
 * The flush queue: many unmaps, one flush.
 *
 * 1. Two phases. A lazy unmap first takes the mapping out of the table and retires its IOVA: it is
 *    not live any more, and nobody gets it. Devices may go on reaching the buffer until a flush
 *    that began later has ended: the stale window. Then the IOVA goes back. What a flush is, the
 *    backend says:
 *
 *      DR_DEFER_INVALIDATION  unmap has cleared the entries; one invalidation of everything ends
 *                             what hardware cached of any of them
 *      DR_DEFER_UNMAP         retire has cleared the domain's own table; the hardware's mappings
 *                             go now, in few ranged calls (merge.c)
 *
 * 2. Tickets. Each thread has a queue (queue.c), a ring of what it unmapped. A ticket is a place in
 *    it, counted without end:
 *
 *        tail      done            head
 *      ---|---------|---------------|---
 *         | flushed,| waits, devices| free
 *         | IOVA not| may reach it  |
 *         | back    |               |
 *
 *    A flush begins by reading every queue's head into its target, does what the backend needs, and
 *    ends by storing the targets as done. So a ticket below done was out before a flush began that
 *    has ended, and that is all that is ever given back: no reuse before the flush.
 *
 * 3. Who flushes: whoever needs it, under the flush lock, for everybody. A thread whose queue is
 *    full; one that finds the bytes used up; a look at the clock (watch.c); dr_flush_now() for who
 *    must be sure. Whoever waited for the lock first sees whether the flush before has done its
 *    work: room in the queue, or a number that says that it began after the wish.
 *
 * 4. Who gives back: the thread that unmapped, into its own cache, in its next maps and unmaps. The
 *    flusher does not: all addresses of all threads would end in one cache. When a thread has gone
 *    quiet a look returns its addresses home, so that the population does not stay out.
 *
 * 5. Bounds. Entries: a queue takes no more. Bytes: queue.c, 2. Age: watch.c, 1. All three
 *    hold at any moment, not only at the end of something, and count what is flushed and not yet
 *    back as waiting.
 *
 * 6. Strict and lazy. The mode is a bit in the word that each unmap reads first. To make it strict:
 *    publish, put a barrier into every thread (watch.c, 3), flush. An unmap that had read "lazy"
 *    reads the word again after its head is out. Either it sees strict there and flushes before
 *    it returns, or its head was out before the barrier and the switch's flush covers it.
 *
 * 7. Order, from a put to the reuse of its IOVA:
 *
 *      put      clear entries; write slot; head (release)
 *      flusher  head (acquire); invalidate or unmap; done (release)
 *      harvest  done (acquire); IOVA to a cache; tail (release)
 *      put      tail (acquire); write the same slot again
 *
 *    And from a put to a flush somebody joins: both he and the flusher change `begun` by an acquire
 *    and release read-modify-write. If he reads the number of an earlier flush, the next one reads
 *    his, and with it everything that happened before.
 *
 * 8. Who meets whom.
 *
 *               | put              harvest           flush             look           switch
 *      ---------+------------------------------------------------------------------------------
 *      put      | own queues       owner is one      head: 7           idle: barrier  6
 *               |                  thread; a look's
 *               |                  frees slots: tail
 *      harvest  |                  harvest lock      done: 7           harvest lock   nothing
 *      flush    |                                    flush lock        flush lock     flush lock
 *      look     |                                                      look_lock      nothing
 *      switch   |                                                                     mode_lock
 *      make, adopt a queue: the flush lock; others find it by an acquire
 *      close    × any: never, the owner's duty; the helper is joined first
 *
 *    Locks, outermost first: mode_lock, look_lock, the flush lock, a queue's harvest lock, then
 *    the backend's and the IOVA space's own. wake_lock is taken alone. All of them are below the
 *    domain's. Backend calls and the domain's log are called with the flush lock held.
 *
 * 9. Threads. Exit needs nothing done: a queue is found by its number, so what waits in it is
 *    flushed and what is finished goes home; the number's next holder goes on with it. A thread
 *    without a number, or without memory for a queue, unmaps strictly.
 *
 * 10. What can fail: open, and the start of the helper thread. Put, flush, close cannot, and
 *    allocate nothing. What the backend refuses is counted, logged and quarantined, in put or in
 *    the flush. In a forked child none of this is called: locks may be held by threads that are not
 *    there, and the hardware is the parent's.
 */
#include "base/bits.h"
#include "base/err.h"
#include "base/hooks.h"
#include "flush/queue.h"

#include <errno.h>
#include <linux/membarrier.h>

#define DEFAULT_BYTES      ((uint64_t)64 << 20)
#define DEFAULT_ENTRIES    256u
#define DEFAULT_TIMEOUT_US 10000u

/* What a queue may have at the utmost: 16 MiB of slots. Places are compared as 32-bit numbers. */
#define MOST_ENTRIES (1u << 20)

static void init_locks(struct dr_flush *f)
{
	pthread_condattr_t attr;

	pthread_mutex_init(&f->lock, NULL);
	pthread_mutex_init(&f->look_lock, NULL);
	pthread_mutex_init(&f->wake_lock, NULL);
	pthread_mutex_init(&f->mode_lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&f->wake, &attr);
	pthread_condattr_destroy(&attr);
}

static void free_all(struct dr_flush *f)
{
	dr_flush_free_queues(f);
	pthread_cond_destroy(&f->wake);
	pthread_mutex_destroy(&f->mode_lock);
	pthread_mutex_destroy(&f->wake_lock);
	pthread_mutex_destroy(&f->look_lock);
	pthread_mutex_destroy(&f->lock);
	dr_free(f);
}

int dr_flush_open(struct dr_iospace *io, const struct dr_flush_opts *o,
		  struct dr_flush **ret_flush)
{
	struct dr_flush *f = dr_hooks->alloc(sizeof(*f), _Alignof(struct dr_flush));
	uint64_t now = dr_hooks->clock_ns();
	int err;

	if (!f)
		return dr_fail(ENOMEM, "no memory for a flush queue");
	init_locks(f);
	f->io = io;
	f->defers = io->be->defers;
	f->granule_shift = dr_log2(io->granule_mask + 1);
	f->entries = o->entries ? o->entries : DEFAULT_ENTRIES;
	if (f->entries > MOST_ENTRIES)
		f->entries = MOST_ENTRIES;
	f->mask = (uint32_t)dr_pow2_up(f->entries) - 1;
	f->bytes = o->bytes ? o->bytes : DEFAULT_BYTES;
	/* What a slot can say; so nothing that finds credit is longer. */
	if (f->bytes >> f->granule_shift > UINT32_MAX)
		f->bytes = (uint64_t)UINT32_MAX << f->granule_shift;
	f->timeout_ns = (o->timeout_us ? o->timeout_us : DEFAULT_TIMEOUT_US) * UINT64_C(1000);
	f->polled = o->polled;
	f->fenced = dr_hooks->membarrier(MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED);
	atomic_init(&f->pool, f->bytes);
	atomic_init(&f->since_ns, now);
	atomic_init(&f->looked_ns, now);
	atomic_init(&f->face.signals, DR_FLUSH_STRICT | DR_FLUSH_IDLE);
	if (o->lazy) {
		err = dr_flush_set_lazy(f, true);
		if (err) {
			free_all(f);
			return err;
		}
	}
	*ret_flush = f;
	return 0;
}

void dr_flush_close(struct dr_flush *f)
{
	dr_flush_stop_helper(f);
	dr_flush_now(f, DR_FLUSH_CLOSE);
	free_all(f);
}

/* Read every head. Returns how many tickets are to be flushed. */
static uint64_t aim_locked(struct dr_flush *f)
{
	unsigned threads = atomic_load_explicit(&f->threads, memory_order_relaxed);
	uint64_t n = 0;

	for (unsigned i = 0; i < threads; i++) {
		struct dr_flush_queue *q = dr_flush_queue_of(f, i);

		if (!q)
			continue;
		/* Sequentially consistent: B's other half where threads fence themselves; and 7. */
		q->target = atomic_load_explicit(&q->head, memory_order_seq_cst);
		n += q->target - atomic_load_explicit(&q->done, memory_order_relaxed);
	}
	return n;
}

static void finish_locked(struct dr_flush *f)
{
	unsigned threads = atomic_load_explicit(&f->threads, memory_order_relaxed);

	for (unsigned i = 0; i < threads; i++) {
		struct dr_flush_queue *q = dr_flush_queue_of(f, i);

		/* Release: who gives back does so after the flush. Idle queues' lines rest. */
		if (q && q->target != atomic_load_explicit(&q->done, memory_order_relaxed))
			atomic_store_explicit(&q->done, q->target, memory_order_release);
	}
}

void dr_flush_locked(struct dr_flush *f, enum dr_flush_reason why)
{
	/* Acquire and release: see 7. */
	uint32_t number = atomic_fetch_add_explicit(&f->begun, 1, memory_order_acq_rel) + 1;
	uint64_t since = atomic_load_explicit(&f->since_ns, memory_order_relaxed);
	uint64_t begin = dr_hooks->clock_ns(), n = aim_locked(f), end;
	struct dr_iospace *io = f->io;

	if (n && f->defers == DR_DEFER_UNMAP) {
		dr_flush_merge_locked(f);
	} else if (n) {
		io->ops->invalidate(io->be, 0, UINT64_MAX);
		dr_count(&io->counters, DR_INVALIDATIONS, 1);
	}
	if (n) {
		finish_locked(f);
		end = dr_hooks->clock_ns();
		f->stats.flushes[why]++;
		f->stats.flushed += n;
		if (end > since && end - since > f->stats.longest_ns)
			f->stats.longest_ns = end - since;
	}
	atomic_store_explicit(&f->since_ns, begin, memory_order_relaxed);
	f->ended = number;
}

int dr_flush_now(struct dr_flush *f, enum dr_flush_reason why)
{
	/* Acquire and release: see 7. */
	uint32_t wished = atomic_fetch_add_explicit(&f->begun, 0, memory_order_acq_rel);

	pthread_mutex_lock(&f->lock);
	/* Has one that began later ended while the lock was waited for? */
	if ((int32_t)(f->ended - wished) <= 0)
		dr_flush_locked(f, why);
	pthread_mutex_unlock(&f->lock);
	dr_flush_harvest_all(f);
	return 0;
}

/* Bytes that wait in one queue. Its slots stand still between done and head. */
static uint64_t waiting_bytes_locked(const struct dr_flush *f, const struct dr_flush_queue *q,
				     uint32_t head)
{
	uint64_t pgs = 0;

	for (uint32_t at = atomic_load_explicit(&q->done, memory_order_relaxed); at != head; at++)
		pgs += q->slot[at & f->mask].len_pgs;
	return pgs << f->granule_shift;
}

void dr_flush_stats(const struct dr_flush *f, struct dr_flush_stats *ret_stats)
{
	/* Reading needs the lock, and the lock is no part of what const promises. */
	struct dr_flush *mutable = (struct dr_flush *)f;
	unsigned threads;

	pthread_mutex_lock(&mutable->lock);
	*ret_stats = f->stats;
	threads = atomic_load_explicit(&f->threads, memory_order_relaxed);
	for (unsigned i = 0; i < threads; i++) {
		const struct dr_flush_queue *q = dr_flush_queue_of(f, i);
		uint32_t head;

		if (!q)
			continue;
		/* Acquire: the slots below it. */
		head = atomic_load_explicit(&q->head, memory_order_acquire);
		ret_stats->waiting_entries +=
			head - atomic_load_explicit(&q->done, memory_order_relaxed);
		ret_stats->waiting_bytes += waiting_bytes_locked(f, q, head);
	}
	pthread_mutex_unlock(&mutable->lock);
}

uint64_t dr_flush_depth(const struct dr_flush *f, size_t len)
{
	uint64_t n = f->bytes / len;

	return !n ? 1 : n < f->entries ? n : f->entries;
}
