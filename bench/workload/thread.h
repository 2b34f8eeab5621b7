/* SPDX-License-Identifier: BSD-2-Clause */
/* What one thread of a workload holds. For run.h, world.c and timer.c; contenders only pass it. */
#ifndef BENCH_WORKLOAD_THREAD_H
#define BENCH_WORKLOAD_THREAD_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "workload/workload.h"

struct workload_world;

/* A range that is out, or nothing where pages is 0. */
struct workload_slot {
	uint64_t iova;
	uint32_t pages;
};

#define WORKLOAD_RING 1024u

/*
 * One producer, one consumer. The release of @posted orders the entry before its consumer's
 * acquire; the release of @taken orders the consumer's read before the entry is used again. Each
 * side keeps the other's index as it last saw it, so a full and an empty ring alone share lines.
 */
struct workload_ring {
	_Alignas(128) _Atomic uint64_t posted; /* written by the producer */
	uint64_t taken_seen;                   /* the producer's own */
	uint64_t most_waiting;                 /* likewise: entries out, whenever it looked */
	_Alignas(128) _Atomic uint64_t taken;  /* written by the consumer */
	uint64_t posted_seen;                  /* the consumer's own */
	_Alignas(128) uint64_t iova[WORKLOAD_RING];
};

/* Guarded by nothing: the thread's own while it runs, the caller's in between. */
struct workload_thread {
	const struct workload *workload;
	struct workload_world *world;
	unsigned index;
	uint64_t random;
	const uint32_t *pages; /* WORKLOAD_DRAWS sizes, shared, constant */

	struct workload_slot *slots;
	uint32_t queue_depth, n_slots;
	uint32_t oldest; /* FIFO: where the next victim is */

	/* WORKLOAD_RINGS: the ring that sends. WORKLOAD_AGED: what is long-lived. */
	struct workload_slot *others;
	const uint32_t *other_pages;
	uint32_t n_others, oldest_other;

	/* WORKLOAD_HELD: n_queues queues of WORKLOAD_HELD_BACK, and what is in each. */
	struct workload_slot *held;
	uint32_t *n_held;
	uint32_t n_queues;
	uint32_t queue;        /* of the CPU whose turn it is */
	uint32_t tick;         /* constant; own operations from tick to tick */
	uint32_t all_held;     /* in all queues */
	uint32_t most_held;    /* the most that was */
	uint64_t ops; /* WORKLOAD_HELD, _RINGS, _AGED, _BURST: done so far; says what comes next */

	struct workload_ring *ring; /* WORKLOAD_REMOTE */
	bool has_partner;
	bool alone; /* the partner has ended its stretch: until its index moves */
};

/*
 * WORKLOAD_HELD: the CPU, from 1, that the calling thread plays just now, of WORKLOAD_CPUS; 0
 * elsewhere. For contenders that keep something for each CPU.
 */
extern _Thread_local unsigned workload_cpu;

/* The thread goes on on another CPU, if it may use more than one. */
void workload_move(struct workload_thread *t);

/* The timer gives back, from a CPU of its own, all that @t holds back. */
void workload_tick(struct workload_thread *t);

/* Longer than the timer takes, nothing happens. */
void workload_pause(void);

/* The partner has not moved for long; see run.h. */
struct workload_patience {
	uint64_t since;
	unsigned looks;
};
bool workload_lost_patience(struct workload_patience *p);

/* -ENOSPC, and a message that names the workload and the contender. */
int workload_no_room(const struct workload_thread *t, uint32_t pages);

#endif
