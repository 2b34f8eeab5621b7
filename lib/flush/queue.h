/* SPDX-License-Identifier: BSD-2-Clause */
/* What the files of lib/flush share. The theory is at the top of flush.c. */
#ifndef DR_FLUSH_QUEUE_H
#define DR_FLUSH_QUEUE_H

#include <pthread.h>

#include "base/thread.h"
#include "flush/flush.h"

/* In place of a lease: the backend kept the mapping, its IOVA is quarantined. */
#define DR_LEASE_REFUSED UINT32_MAX

/*
 * One unmap that waits, or whose flush is over but whose IOVA is not back yet. Written by the
 * queue's owner before it moves head; the lease by the flusher before it moves done.
 */
struct dr_flush_entry {
	dray_iova_t iova;
	uint32_t len_pgs;
	uint32_t mapped_pgs; /* less than len_pgs where a guard lies behind */
	uint32_t lease;      /* DR_DEFER_UNMAP only: see backend.h */
};

/* One thread's. Tickets are places in it, counted without end; a slot is a ticket modulo slots. */
struct dr_flush_queue {
	/* The owner's, who holds the thread number. */
	_Atomic uint32_t head; /* the next ticket; read by all */
	uint64_t credit;       /* bytes it may queue before it has to draw more */
	uint64_t batch;        /* set when it is published: what it draws at once */

	/* Guarded by the flush lock; done is read by all. On a line of their own. */
	_Alignas(64) _Atomic uint32_t done; /* tickets below it are flushed */
	uint32_t target;                    /* head, when the flush under way began */

	/* Held by who gives IOVAs back; tail is read by all. Below the flush lock, or alone. */
	_Alignas(64) pthread_mutex_t harvest;
	_Atomic uint32_t tail; /* IOVAs of tickets below it are back */
	/* Where head and tail were at the last look; guarded by look_lock. */
	uint32_t seen_head, seen_tail;

	struct dr_flush_entry slot[];
};

/* For the flusher of DR_DEFER_UNMAP: what waits, in one array to be sorted. */
struct dr_flush_item {
	dray_iova_t iova;
	uint64_t len, mapped; /* bytes of IOVA; from its start, of mapping */
	struct dr_flush_entry *entry;
};

struct dr_flush {
	struct dr_flush_face face;

	/* Constant after open. */
	struct dr_iospace *io;
	enum dr_defers defers;
	unsigned granule_shift;
	uint32_t entries, mask; /* of a queue; its slots - 1 */
	uint64_t bytes;
	uint64_t timeout_ns;
	bool polled;
	bool fenced;            /* no membarrier: whoever puts fences itself */

	/*
	 * By number + 1, which is what a thread has at hand; the first is none. Elements: set once
	 * each, with the lock; read by all. Spare: from a map, for an unmap.
	 */
	_Atomic(struct dr_flush_queue *) by_thread[DR_THREADS + 1];
	_Atomic(struct dr_flush_queue *) spare;
	_Atomic uint32_t threads; /* numbers with a queue are below it; written with the lock */

	/* Bytes that no queue has drawn. */
	_Alignas(64) _Atomic uint64_t pool;

	/* The flush lock: one flusher at a time. Held over backend calls. */
	_Alignas(64) pthread_mutex_t lock;
	_Atomic uint32_t begun;      /* flushes; written with the lock, read by who joins */
	uint32_t ended;              /* guarded by lock */
	struct dr_flush_item *items; /* guarded by lock; room for every slot there is */
	uint32_t n_items_max;        /* guarded by lock */
	struct dr_flush_stats stats; /* guarded by lock */
	/*
	 * What waits now was put after this moment. Stores race; each value is true when it is
	 * stored and stays so.
	 */
	_Atomic uint64_t since_ns;

	/* One look at a time. Taken before the flush lock. */
	pthread_mutex_t look_lock;
	_Atomic uint64_t looked_ns; /* written with look_lock */

	/* Guards the change of DR_FLUSH_IDLE and the rest. Nothing is taken below it. */
	pthread_mutex_t wake_lock;
	pthread_cond_t wake;
	bool stop;

	/* One switch at a time. Taken first. */
	pthread_mutex_t mode_lock;
	bool has_helper; /* guarded by mode_lock */
	pthread_t helper;
};

/* --- flush.c --- */

/* Everything put before is flushed when it returns. */
void dr_flush_locked(struct dr_flush *f, enum dr_flush_reason why);

/* --- queue.c --- */

/* Give back the IOVAs of every finished ticket, wherever they are. */
void dr_flush_harvest_all(struct dr_flush *f);
/* The same for one queue, that of number @i. */
void dr_flush_harvest_home(struct dr_flush *f, unsigned i);
void dr_flush_free_queues(struct dr_flush *f);

static inline struct dr_flush_queue *dr_flush_queue_of(const struct dr_flush *f, unsigned i)
{
	/* Acquire: the queue is complete. */
	return atomic_load_explicit(&f->by_thread[i + 1], memory_order_acquire);
}

/* --- merge.c --- */

/* DR_DEFER_UNMAP: unmap what the targets cover. */
void dr_flush_merge_locked(struct dr_flush *f);

/* --- watch.c --- */

/* Make every other thread's put come before what follows, or see the signals set before. */
bool dr_flush_barrier(const struct dr_flush *f);
/* Something is about to wait: note the time, wake the helper. */
void dr_flush_wake(struct dr_flush *f);
/* Have a helper thread, unless polled. 0, -ENOMEM, -EAGAIN. Holds mode_lock. */
int dr_flush_start_helper_locked(struct dr_flush *f);
void dr_flush_stop_helper(struct dr_flush *f);

#endif
