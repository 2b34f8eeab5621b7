// SPDX-License-Identifier: BSD-2-Clause
/*
 * A thread's queue: how it comes to be, what goes in, what comes back. What a queue is for is told
 * at the top of flush.c.
 *
 * 1. A queue belongs to a thread number (base/thread.h). A map makes it, and keeps one spare; a
 *    thread that only unmaps adopts that, because an unmap does not allocate. Without a queue a
 *    thread unmaps strictly. A queue stays until the end: a thread that exits leaves what waits in
 *    it to the flusher and what is finished to the helper; the number's next holder goes on.
 *
 * 2. Room. A ticket needs a free slot, and bytes. The slots are the queue's own. The bytes are
 *    drawn from one pool, so that the bound is exact: bound = pool + credit of all queues + what
 *    their slots hold. A queue draws some more than it needs, so that the shared line is touched
 *    now and then only: the 64th part of the bound in the first queue, half of it in the second, a
 *    third in the third. It keeps at most two of these, so in a thousand queues that have all gone
 *    quiet lies less than a quarter of the bound.
 *
 * 3. Where room is missing: first what is finished comes back; then there is a flush, unless
 *    another one has made room meanwhile; then, for bytes, others' finished slots are cleared
 *    too. If all that is not enough the unmap is strict. A mapping of more bytes than may wait
 *    always is.
 *
 * 4. Coming back (harvest). Whoever holds the queue's harvest lock gives back IOVAs from tail up to
 *    done. The owner does so a few at a time in each map and unmap, into its own cache; others,
 *    when the owner has gone quiet or somebody needs the IOVAs now, home to where all find them.
 *    Slots below tail are the owner's to write again: it reads tail with acquire, and tail is
 *    stored with release after the slot was read.
 *
 * 5. Nothing here fails. An IOVA that is not retired when it comes back means that two layers
 *    disagree about who owns it; that is logged, and the IOVA left alone.
 */
#include "base/hooks.h"
#include "flush/queue.h"

#include <errno.h>
#include <inttypes.h>

/*
 * IOVAs that one map or unmap gives back: enough that the lock is a nanosecond for each, few enough
 * that no call is hit by a whole queue at once.
 */
#define HARVEST_FEW 32u

static struct dr_flush_queue *mine(const struct dr_flush *f)
{
	/* Acquire: as dr_flush_queue_of(). */
	return atomic_load_explicit(&f->by_thread[dr_thread_mine], memory_order_acquire);
}

/* Tickets that are flushed and whose IOVAs are not back. */
static uint32_t finished(const struct dr_flush_queue *q)
{
	return atomic_load_explicit(&q->done, memory_order_acquire) -
	       atomic_load_explicit(&q->tail, memory_order_acquire);
}

static uint32_t used_slots(const struct dr_flush_queue *q)
{
	/* Acquire: whoever gave back the IOVA has read the slot. */
	return atomic_load_explicit(&q->head, memory_order_relaxed) -
	       atomic_load_explicit(&q->tail, memory_order_acquire);
}

/* One finished ticket. Returns its bytes. */
static uint64_t give_back(struct dr_flush *f, const struct dr_flush_entry *e, bool home)
{
	uint64_t len = (uint64_t)e->len_pgs << f->granule_shift;
	struct dray_iova_space *space = f->io->space;
	bool ok;

	if (e->lease == DR_LEASE_REFUSED)
		return len;
	ok = home ? dr_iova_give_retired_home(space, e->iova, len) :
		    dr_iova_give_retired(space, e->iova, len);
	if (!ok)
		dr_log(&f->io->log, LOG_CRIT, "IOVA 0x%" PRIx64 "+0x%" PRIx64 " was not retired "
		       "when its flush had ended", e->iova, len);
	return len;
}

/* At most @most finished tickets; holds the harvest lock. Returns their bytes. */
static uint64_t harvest_locked(struct dr_flush *f, struct dr_flush_queue *q, uint32_t most,
			       bool home)
{
	uint32_t tail = atomic_load_explicit(&q->tail, memory_order_relaxed);
	/* Acquire: the flush has ended, and what it wrote into slots is there. */
	uint32_t n = atomic_load_explicit(&q->done, memory_order_acquire) - tail;
	uint64_t bytes = 0;

	if (n > most)
		n = most;
	for (uint32_t i = 0; i < n; i++)
		bytes += give_back(f, &q->slot[(tail + i) & f->mask], home);
	/* Release: see 4. */
	atomic_store_explicit(&q->tail, tail + n, memory_order_release);
	return bytes;
}

static void put_in_pool(struct dr_flush *f, uint64_t bytes)
{
	if (bytes)
		atomic_fetch_add_explicit(&f->pool, bytes, memory_order_relaxed);
}

/* The owner: what comes back is credit; what is more than a batch goes on to the pool. */
static void harvest_own(struct dr_flush *f, struct dr_flush_queue *q, uint32_t most)
{
	pthread_mutex_lock(&q->harvest);
	q->credit += harvest_locked(f, q, most, false);
	pthread_mutex_unlock(&q->harvest);
	if (q->credit > q->batch) {
		put_in_pool(f, q->credit - q->batch);
		q->credit = q->batch;
	}
}

/* The same on the way: a lock that somebody has is not waited for. */
static __attribute__((noinline)) void harvest_few(struct dr_flush *f, struct dr_flush_queue *q)
{
	if (pthread_mutex_trylock(&q->harvest))
		return;
	q->credit += harvest_locked(f, q, HARVEST_FEW, false);
	pthread_mutex_unlock(&q->harvest);
	if (q->credit > 2 * q->batch) {
		put_in_pool(f, q->credit - q->batch);
		q->credit = q->batch;
	}
}

void dr_flush_harvest_home(struct dr_flush *f, unsigned i)
{
	struct dr_flush_queue *q = dr_flush_queue_of(f, i);
	uint64_t bytes;

	/* Whoever harvests moves tail last, so nobody is at it either where nothing is finished. */
	if (!q || !finished(q))
		return;
	pthread_mutex_lock(&q->harvest);
	bytes = harvest_locked(f, q, UINT32_MAX, true);
	pthread_mutex_unlock(&q->harvest);
	put_in_pool(f, bytes);
}

void dr_flush_harvest_all(struct dr_flush *f)
{
	unsigned threads = atomic_load_explicit(&f->threads, memory_order_acquire);
	struct dr_flush_queue *q = mine(f);

	if (q && finished(q))
		harvest_own(f, q, UINT32_MAX);
	for (unsigned i = 0; i < threads; i++)
		dr_flush_harvest_home(f, i);
}

static struct dr_flush_queue *new_queue(const struct dr_flush *f)
{
	size_t slots = (size_t)f->mask + 1;
	struct dr_flush_queue *q = dr_hooks->alloc(sizeof(*q) + slots * sizeof(q->slot[0]),
						   _Alignof(struct dr_flush_queue));

	if (q)
		pthread_mutex_init(&q->harvest, NULL);
	return q;
}

static void free_queue(struct dr_flush_queue *q)
{
	if (q)
		pthread_mutex_destroy(&q->harvest);
	dr_free(q);
}

void dr_flush_free_queues(struct dr_flush *f)
{
	unsigned threads = atomic_load_explicit(&f->threads, memory_order_relaxed);

	for (unsigned i = 0; i < threads; i++)
		free_queue(dr_flush_queue_of(f, i));
	free_queue(atomic_load_explicit(&f->spare, memory_order_relaxed));
	dr_free(f->items);
}

/* Have room to sort what @more further queues hold. False: no memory. */
static bool grow_items_locked(struct dr_flush *f, unsigned more)
{
	uint32_t n = f->n_items_max + more * (f->mask + 1);
	struct dr_flush_item *items;

	if (f->defers != DR_DEFER_UNMAP)
		return true;
	items = dr_alloc(n * sizeof(items[0]));
	if (!items)
		return false;
	dr_free(f->items);
	f->items = items;
	f->n_items_max = n;
	return true;
}

static void publish_locked(struct dr_flush *f, unsigned number, struct dr_flush_queue *q)
{
	q->batch = f->bytes / 64 / (number + 1);
	/* Release: whoever finds the queue finds it complete. */
	atomic_store_explicit(&f->by_thread[number + 1], q, memory_order_release);
	if (number >= atomic_load_explicit(&f->threads, memory_order_relaxed))
		atomic_store_explicit(&f->threads, number + 1, memory_order_release);
}

/* A map: a queue for this thread, one for a thread that will only unmap. */
static __attribute__((noinline)) void make_queues(struct dr_flush *f)
{
	unsigned number = dr_thread_number();
	struct dr_flush_queue *q;

	pthread_mutex_lock(&f->lock);
	if (number < DR_THREADS && !dr_flush_queue_of(f, number) && grow_items_locked(f, 1)) {
		q = new_queue(f);
		if (q)
			publish_locked(f, number, q);
	}
	if (!atomic_load_explicit(&f->spare, memory_order_relaxed) && grow_items_locked(f, 1))
		atomic_store_explicit(&f->spare, new_queue(f), memory_order_release);
	pthread_mutex_unlock(&f->lock);
}

void dr_flush_ready(struct dr_flush *f)
{
	struct dr_flush_queue *q = mine(f);

	if (__builtin_expect(!q || !atomic_load_explicit(&f->spare, memory_order_relaxed), 0))
		make_queues(f);
	else if (finished(q))
		harvest_few(f, q);
}

/* An unmap in a thread that has none: its number's, if it has just got one; else the spare one. */
static __attribute__((noinline)) struct dr_flush_queue *adopt(struct dr_flush *f)
{
	unsigned number = dr_thread_number();
	struct dr_flush_queue *q;

	if (number >= DR_THREADS)
		return NULL;
	q = dr_flush_queue_of(f, number);
	/* Without a spare one most come in vain, and come again. */
	if (q || !atomic_load_explicit(&f->spare, memory_order_relaxed))
		return q;
	pthread_mutex_lock(&f->lock);
	q = atomic_load_explicit(&f->spare, memory_order_relaxed);
	if (q) {
		atomic_store_explicit(&f->spare, NULL, memory_order_relaxed);
		publish_locked(f, number, q);
	}
	pthread_mutex_unlock(&f->lock);
	return q;
}

/* Have @len bytes of credit, from the pool. */
static bool draw(struct dr_flush *f, struct dr_flush_queue *q, uint64_t len)
{
	uint64_t pool = atomic_load_explicit(&f->pool, memory_order_relaxed);
	uint64_t need, take;

	if (q->credit >= len)
		return true;
	need = len - q->credit;
	do {
		if (pool < need)
			return false;
		take = need < q->batch ? q->batch : need;
		if (take > pool)
			take = need;
	} while (!atomic_compare_exchange_weak_explicit(&f->pool, &pool, pool - take,
							memory_order_relaxed,
							memory_order_relaxed));
	q->credit += take;
	return true;
}

/* A slot, by what is finished or by a flush. */
static void make_slot(struct dr_flush *f, struct dr_flush_queue *q)
{
	harvest_own(f, q, UINT32_MAX);
	if (used_slots(q) < f->entries)
		return;
	pthread_mutex_lock(&f->lock);
	/* Another thread's flush has covered this queue too while the lock was waited for? */
	if (!finished(q))
		dr_flush_locked(f, DR_FLUSH_FULL);
	pthread_mutex_unlock(&f->lock);
	harvest_own(f, q, UINT32_MAX);
}

/* Credit, likewise. False: other threads hold it. */
static bool make_credit(struct dr_flush *f, struct dr_flush_queue *q, uint64_t len)
{
	harvest_own(f, q, UINT32_MAX);
	/* The first flush may have been another thread's, and too early for what came in since. */
	for (unsigned tries = 0; tries < 2 && !draw(f, q, len); tries++) {
		pthread_mutex_lock(&f->lock);
		if (tries || !finished(q))
			dr_flush_locked(f, DR_FLUSH_BYTES);
		pthread_mutex_unlock(&f->lock);
		dr_flush_harvest_all(f);
	}
	return draw(f, q, len);
}

static __attribute__((noinline)) bool make_room(struct dr_flush *f, struct dr_flush_queue *q,
						uint64_t len)
{
	if (len > f->bytes)
		return false;
	if (used_slots(q) >= f->entries)
		make_slot(f, q);
	return draw(f, q, len) || make_credit(f, q, len);
}

/* Some of a retired mapping was refused. What did go must not stay reachable: nobody flushes it. */
static __attribute__((noinline)) void clear_failed(struct dr_flush *f, dray_iova_t iova, size_t len,
						   size_t guard)
{
	struct dr_iospace *io = f->io;

	io->ops->invalidate(io->be, iova, iova + len - 1);
	dr_count(&io->counters, DR_INVALIDATIONS, 1);
	dr_iova_quarantine_retired(io->space, iova, len + guard);
}

/* Phase 1 for a retired mapping. False: nothing is left that would wait. */
static inline bool let_go(struct dr_flush *f, dray_iova_t iova, size_t len, size_t guard,
			  uint32_t *ret_lease)
{
	struct dr_iospace *io = f->io;

	*ret_lease = 0;
	if (f->defers != DR_DEFER_UNMAP) {
		if (__builtin_expect(!dr_act_clear(io, iova, len), 1))
			return true;
		clear_failed(f, iova, len, guard);
		return false;
	}
	*ret_lease = io->ops->retire(io->be, iova, len);
	if (!*ret_lease)
		dr_iova_give_retired(io->space, iova, len + guard);
	return *ret_lease;
}

/* What the signals want of who has just put something. */
static __attribute__((noinline)) void obey(struct dr_flush *f, uint32_t signals)
{
	if (signals & DR_FLUSH_IDLE)
		dr_flush_wake(f);
	if (signals & DR_FLUSH_STRICT)
		dr_flush_now(f, DR_FLUSH_SWITCH);
}

bool dr_flush_put_guarded(struct dr_flush *f, dray_iova_t iova, size_t mapped, size_t guard,
			  bool *ret_live)
{
	struct dr_flush_queue *q = mine(f);
	size_t len = mapped + guard;
	struct dr_flush_entry *e;
	uint32_t head, tail, signals, lease;

	*ret_live = true;
	if (__builtin_expect(!q, 0)) {
		q = adopt(f);
		if (!q)
			return false;
	}
	head = atomic_load_explicit(&q->head, memory_order_relaxed);
	/* Acquire, both: the flush has ended; and whoever gave back an IOVA has read its slot. */
	tail = atomic_load_explicit(&q->tail, memory_order_acquire);
	if (atomic_load_explicit(&q->done, memory_order_acquire) != tail) {
		harvest_few(f, q);
		tail = atomic_load_explicit(&q->tail, memory_order_acquire);
	}
	if (__builtin_expect(head - tail >= f->entries || q->credit < len, 0) &&
	    !make_room(f, q, len))
		return false;
	/* Before the mapping goes, so that the time noted is not too late. */
	if (__builtin_expect(atomic_load_explicit(&f->face.signals, memory_order_relaxed) &
			     DR_FLUSH_IDLE, 0))
		dr_flush_wake(f);
	if (!dr_iova_retire(f->io->space, iova, len)) {
		*ret_live = false;
		return false;
	}
	if (!let_go(f, iova, mapped, guard, &lease))
		return true;
	q->credit -= len;
	e = &q->slot[head & f->mask];
	e->iova = iova;
	e->len_pgs = (uint32_t)(len >> f->granule_shift);
	e->mapped_pgs = (uint32_t)(mapped >> f->granule_shift);
	e->lease = lease;
	if (__builtin_expect(f->fenced, 0)) {
		/* Sequentially consistent, both: the head before the signals. Release: as below. */
		atomic_exchange_explicit(&q->head, head + 1, memory_order_seq_cst);
		signals = atomic_load_explicit(&f->face.signals, memory_order_seq_cst);
	} else {
		/* Release: the slot, and what phase 1 wrote, to the flusher. */
		atomic_store_explicit(&q->head, head + 1, memory_order_release);
		/* dr_flush_barrier() makes this a real one when it matters. */
		atomic_signal_fence(memory_order_seq_cst);
		signals = atomic_load_explicit(&f->face.signals, memory_order_relaxed);
	}
	if (__builtin_expect(signals, 0))
		obey(f, signals);
	return true;
}
