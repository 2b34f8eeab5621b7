/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The loops of the workloads, compiled into each contender.
 *
 * 1. One operation is a pair: one range is taken, one is given back. A range that is not there yet
 *    (the first round through a queue) makes a pair without its second half; a warm loop has none.
 *
 * 2. workload_run() is inlined into its caller with the contender's two functions as constants, so
 *    they are called directly, or inlined where the contender allows it. All contenders pay the
 *    same for the loop, and `floor`, whose functions are a few instructions, shows what that is.
 *    Library calls stay calls: nobody can inline those.
 *
 * 3. No clock, no lock, no allocation in the loops. Sizes and victims are drawn by splitmix64,
 *    about 1 ns, independent of what the allocator answers.
 *
 * 4. WORKLOAD_REMOTE is the only shape where threads wait for each other. In a stretch of the same
 *    number of operations for both, every range that is waited for comes. A short stretch
 *    (WORKLOAD_SHORT or fewer operations) may belong to a run that ends by the clock, where the
 *    partner may be gone for good: after 20 ms without a sign of it the thread makes pairs alone.
 *
 *	     | post                                    | take
 *	post | one producer                            | release of posted, acquire by the consumer
 *	take | release of taken, acquire by the        | one consumer
 *	     | producer before it reuses the entry     |
 *
 * 5. WORKLOAD_HELD does to an allocator what lazy invalidation in the kernel does to it, on a
 *    server that is busy with storage. There each CPU has a queue of 256 entries; who finds its own
 *    full gives back all of it. A timer, every 10 ms, gives back what all queues hold, whoever
 *    filled them, on the CPU where it happens to run. Today's server with two sockets has 256 CPUs
 *    or more, and this machine has not; so the threads of a world share 256 queues out, and each
 *    uses its own in turn, 64 operations (a burst of completions) for a CPU drawn at random.
 *    A tick comes every 2^18 operations of all threads: 26 million a second, 100,000 for each CPU,
 *    two dozen fast drives. Between two ticks a queue is filled about four times and emptied by its
 *    own CPU; at a tick it is half full on average, so one CPU, drawn at random, receives some
 *    32,000 ranges at once, one in eight of all. Which CPU a thread plays is in workload_cpu. Every 2^15 operations the scheduler moves the thread, every millisecond
 *    or two; every 2^23 the load pauses for longer than the timer, so that whatever ages by time
 *    does. The worker waits while the timer gives back: what that costs is part of what is
 *    measured, 1 batch of 64 in 4,096.
 */
#ifndef BENCH_WORKLOAD_RUN_H
#define BENCH_WORKLOAD_RUN_H

#include "workload/thread.h"

#if defined(__x86_64__) || defined(__i386__)
#define workload_relax() __builtin_ia32_pause()
#else
#define workload_relax() __asm__ volatile("" ::: "memory")
#endif

#define WORKLOAD_SHORT 64u

#define WORKLOAD_INLINE static inline __attribute__((always_inline))

/* As struct contender has them; @last 0 is no limit, the answer UINT64_MAX no room. */
typedef uint64_t (*workload_alloc)(void *ctx, size_t len, uint64_t last);
typedef void (*workload_free)(void *ctx, uint64_t iova, size_t len);

/* The compiler shall not see that what was just given back is what is taken next. */
#define workload_keep(iova) __asm__ volatile("" : "+r"(iova) : : "memory")

WORKLOAD_INLINE size_t workload_bytes(uint32_t pages)
{
	return (size_t)pages << WORKLOAD_PAGE_SHIFT;
}

WORKLOAD_INLINE void workload_give(struct workload_slot *s, void *ctx, workload_free give)
{
	if (s->pages)
		give(ctx, s->iova, workload_bytes(s->pages));
	s->pages = 0;
}

WORKLOAD_INLINE bool workload_take(struct workload_slot *s, uint32_t pages, uint64_t last,
				   void *ctx, workload_alloc take)
{
	s->iova = take(ctx, workload_bytes(pages), last);
	if (__builtin_expect(s->iova == UINT64_MAX, 0))
		return false;
	s->pages = pages;
	return true;
}

WORKLOAD_INLINE int workload_run_pair(struct workload_thread *t, uint64_t n, void *ctx,
				      workload_alloc take, workload_free give)
{
	size_t len = workload_bytes(1);
	uint64_t iova = 0;

	__asm__("" : "+r"(len));
	for (; n; n--) {
		iova = take(ctx, len, 0);
		if (__builtin_expect(iova == UINT64_MAX, 0))
			return workload_no_room(t, 1);
		workload_keep(iova);
		give(ctx, iova, len);
		workload_keep(iova);
	}
	/* Where the pair was, for who counts leaf tables. It is not out: world.c knows. */
	t->slots[0].iova = iova;
	return 0;
}

/* WORKLOAD_RANDOM and _FIFO: a few neighbours are given back, as many are taken. */
WORKLOAD_INLINE int workload_run_slots(struct workload_thread *t, uint64_t n, void *ctx, bool fifo,
				       workload_alloc take, workload_free give)
{
	const struct workload *w = t->workload;
	const uint32_t depth = t->queue_depth, queues = w->queues, most = w->batch;
	const bool limited = w->lasts[0] != 0;
	uint64_t random = t->random, r;
	uint32_t at, base, batch, pages;

	while (n) {
		r = workload_next(&random);
		batch = most > 1 ? 1 + (uint32_t)(r >> 10) % most : 1;
		if (batch > n)
			batch = (uint32_t)n;
		base = ((uint32_t)(r >> 20) & (queues - 1)) * depth;
		at = fifo ? t->oldest : (uint32_t)(((r >> 32) * depth) >> 32);
		for (uint32_t i = 0, k = at; i < batch; i++, k = k + 1 == depth ? 0 : k + 1)
			workload_give(&t->slots[base + k], ctx, give);
		for (uint32_t i = 0; i < batch; i++) {
			pages = t->pages[r % WORKLOAD_DRAWS];
			if (!workload_take(&t->slots[base + at], pages,
					   limited ? w->lasts[(r >> 12) & 1] : 0, ctx, take)) {
				t->random = random;
				return workload_no_room(t, pages);
			}
			at = at + 1 == depth ? 0 : at + 1;
			if (i + 1 < batch)
				r = workload_next(&random);
		}
		if (fifo)
			t->oldest = at;
		n -= batch;
	}
	t->random = random;
	return 0;
}

/* WORKLOAD_RINGS: as many of the one ring, then as many of the other. */
WORKLOAD_INLINE int workload_run_rings(struct workload_thread *t, uint64_t n, void *ctx,
				       workload_alloc take, workload_free give)
{
	const uint32_t most = t->workload->batch;

	for (; n; n--, t->ops++) {
		bool sends = (t->ops / most) & 1;
		struct workload_slot *slots = sends ? t->others : t->slots;
		uint32_t depth = sends ? t->n_others : t->n_slots;
		uint32_t *oldest = sends ? &t->oldest_other : &t->oldest;
		uint32_t pages = 1;

		if (sends)
			pages = t->other_pages[workload_next(&t->random) % WORKLOAD_DRAWS];
		workload_give(&slots[*oldest], ctx, give);
		if (!workload_take(&slots[*oldest], pages, 0, ctx, take))
			return workload_no_room(t, pages);
		*oldest = *oldest + 1 == depth ? 0 : *oldest + 1;
	}
	return 0;
}

/* WORKLOAD_AGED. */
WORKLOAD_INLINE int workload_run_aged(struct workload_thread *t, uint64_t n, void *ctx,
				      workload_alloc take, workload_free give)
{
	for (; n; n--, t->ops++) {
		uint64_t r = workload_next(&t->random);
		uint32_t pages = t->pages[r % WORKLOAD_DRAWS];
		struct workload_slot *s = &t->slots[t->oldest];

		if (t->ops % WORKLOAD_AGED_EVERY == 0) {
			s = &t->others[((r >> 32) * t->n_others) >> 32];
			pages = t->other_pages[r % WORKLOAD_DRAWS];
		} else {
			t->oldest = t->oldest + 1 == t->n_slots ? 0 : t->oldest + 1;
		}
		workload_give(s, ctx, give);
		if (!workload_take(s, pages, 0, ctx, take))
			return workload_no_room(t, pages);
	}
	return 0;
}

/* Into the queue of the CPU whose turn it is; the one place that decides when a range goes back. */
WORKLOAD_INLINE void workload_hold(struct workload_thread *t, struct workload_slot *s, void *ctx,
				   workload_free give)
{
	struct workload_slot *queue = t->held + (size_t)t->queue * WORKLOAD_HELD_BACK;
	uint32_t *n = &t->n_held[t->queue];

	if (*n == WORKLOAD_HELD_BACK) {
		for (uint32_t i = 0; i < WORKLOAD_HELD_BACK; i++)
			workload_give(&queue[i], ctx, give);
		if (t->most_held < t->all_held)
			t->most_held = t->all_held;
		t->all_held -= WORKLOAD_HELD_BACK;
		*n = 0;
	}
	queue[(*n)++] = *s;
	t->all_held++;
	s->pages = 0;
}

WORKLOAD_INLINE void workload_play(const struct workload_thread *t)
{
	workload_cpu = 1 + t->index * t->n_queues + t->queue;
}

/* Between two turns. */
WORKLOAD_INLINE void workload_next_turn(struct workload_thread *t, uint64_t *random)
{
	if (t->ops % WORKLOAD_MOVE == 0)
		workload_move(t);
	if (t->ops % t->tick == 0)
		workload_tick(t);
	if (t->ops % WORKLOAD_PAUSE == 0)
		workload_pause();
	t->queue = (uint32_t)((workload_next(random) >> 32) * t->n_queues >> 32);
	workload_play(t);
}

/* WORKLOAD_HELD. */
WORKLOAD_INLINE int workload_run_held(struct workload_thread *t, uint64_t n, void *ctx,
				      workload_alloc take, workload_free give)
{
	uint64_t random = t->random, r;
	struct workload_slot *s;
	uint32_t pages;

	workload_play(t);
	for (; n; n--) {
		r = workload_next(&random);
		pages = t->pages[r % WORKLOAD_DRAWS];
		s = &t->slots[((r >> 32) * t->n_slots) >> 32];
		if (s->pages)
			workload_hold(t, s, ctx, give);
		if (!workload_take(s, pages, 0, ctx, take)) {
			workload_cpu = 0;
			t->random = random;
			return workload_no_room(t, pages);
		}
		if (__builtin_expect(++t->ops % WORKLOAD_TURN == 0, 0))
			workload_next_turn(t, &random);
	}
	workload_cpu = 0;
	t->random = random;
	return 0;
}

/* WORKLOAD_BURST: 2n halves of pairs, taken up to the depth, then given back in order. */
WORKLOAD_INLINE int workload_run_burst(struct workload_thread *t, uint64_t n, void *ctx,
				       workload_alloc take, workload_free give)
{
	for (n *= 2; n; n--) {
		if (t->ops < t->n_slots) {
			if (!workload_take(&t->slots[t->ops], 1, 0, ctx, take))
				return workload_no_room(t, 1);
		} else {
			workload_give(&t->slots[t->ops - t->n_slots], ctx, give);
		}
		t->ops = t->ops + 1 == 2 * (uint64_t)t->n_slots ? 0 : t->ops + 1;
	}
	return 0;
}

/* Is there room in the ring? The producer's. */
WORKLOAD_INLINE bool workload_ring_has_room(struct workload_ring *ring, uint64_t posted)
{
	if (posted - ring->taken_seen < WORKLOAD_RING)
		return true;
	ring->taken_seen = atomic_load_explicit(&ring->taken, memory_order_acquire);
	if (posted - ring->taken_seen > ring->most_waiting)
		ring->most_waiting = posted - ring->taken_seen;
	return posted - ring->taken_seen < WORKLOAD_RING;
}

/* Is there something in the ring? The consumer's. */
WORKLOAD_INLINE bool workload_ring_has_more(struct workload_ring *ring, uint64_t taken)
{
	if (taken != ring->posted_seen)
		return true;
	ring->posted_seen = atomic_load_explicit(&ring->posted, memory_order_acquire);
	return taken != ring->posted_seen;
}

/* False: make pairs alone. */
WORKLOAD_INLINE bool workload_await(struct workload_thread *t, bool producer, bool may_give_up)
{
	struct workload_ring *ring = t->ring;
	struct workload_patience p = { 0 };
	uint64_t at = atomic_load_explicit(producer ? &ring->posted : &ring->taken,
					   memory_order_relaxed);

	for (;;) {
		if (producer ? workload_ring_has_room(ring, at)
			     : workload_ring_has_more(ring, at)) {
			t->alone = false;
			return true;
		}
		if (t->alone && may_give_up)
			return false;
		workload_relax();
		if (workload_lost_patience(&p) && may_give_up) {
			t->alone = true;
			return false;
		}
	}
}

/*
 * WORKLOAD_REMOTE. Even threads take, odd ones give back: 2n each, which makes n pairs a thread. A
 * thread without a partner passes its ranges through a ring to itself.
 */
WORKLOAD_INLINE int workload_run_remote(struct workload_thread *t, uint64_t n, void *ctx,
					workload_alloc take, workload_free give)
{
	const size_t len = workload_bytes(1);
	const bool may_give_up = n <= WORKLOAD_SHORT;
	struct workload_ring *ring = t->ring;
	uint64_t posted = atomic_load_explicit(&ring->posted, memory_order_relaxed);
	uint64_t taken = atomic_load_explicit(&ring->taken, memory_order_relaxed);
	uint64_t iova;

	if (!t->has_partner) {
		for (; n; n--) {
			uint64_t *entry = &ring->iova[posted % WORKLOAD_RING];

			if (posted - taken == WORKLOAD_RING) {
				give(ctx, *entry, len);
				taken++;
			}
			*entry = take(ctx, len, 0);
			if (__builtin_expect(*entry == UINT64_MAX, 0))
				break;
			posted++;
		}
		atomic_store_explicit(&ring->posted, posted, memory_order_relaxed);
		atomic_store_explicit(&ring->taken, taken, memory_order_relaxed);
		return n ? workload_no_room(t, 1) : 0;
	}
	for (n *= 2; n && !(t->index & 1); n--) {
		bool together = workload_ring_has_room(ring, posted) ||
				workload_await(t, true, may_give_up);

		iova = take(ctx, len, 0);
		if (__builtin_expect(iova == UINT64_MAX, 0))
			return workload_no_room(t, 1);
		if (__builtin_expect(!together, 0)) {
			give(ctx, iova, len);
			continue;
		}
		ring->iova[posted % WORKLOAD_RING] = iova;
		atomic_store_explicit(&ring->posted, ++posted, memory_order_release);
	}
	for (; n; n--) {
		bool together = workload_ring_has_more(ring, taken) ||
				workload_await(t, false, may_give_up);

		if (__builtin_expect(!together, 0)) {
			iova = take(ctx, len, 0);
			if (iova == UINT64_MAX)
				return workload_no_room(t, 1);
			give(ctx, iova, len);
			continue;
		}
		give(ctx, ring->iova[taken % WORKLOAD_RING], len);
		atomic_store_explicit(&ring->taken, ++taken, memory_order_release);
	}
	return 0;
}

/* Do @n operations of @t's workload. 0, or -errno with dray_errmsg() set. */
WORKLOAD_INLINE int workload_run(struct workload_thread *t, uint64_t n, void *ctx,
				 workload_alloc take, workload_free give)
{
	switch (t->workload->shape) {
	case WORKLOAD_PAIR:
		return workload_run_pair(t, n, ctx, take, give);
	case WORKLOAD_RANDOM:
		return workload_run_slots(t, n, ctx, false, take, give);
	case WORKLOAD_FIFO:
		return workload_run_slots(t, n, ctx, true, take, give);
	case WORKLOAD_RINGS:
		return workload_run_rings(t, n, ctx, take, give);
	case WORKLOAD_AGED:
		return workload_run_aged(t, n, ctx, take, give);
	case WORKLOAD_HELD:
		return workload_run_held(t, n, ctx, take, give);
	case WORKLOAD_BURST:
		return workload_run_burst(t, n, ctx, take, give);
	case WORKLOAD_REMOTE:
		return workload_run_remote(t, n, ctx, take, give);
	}
	return 0;
}

#endif
