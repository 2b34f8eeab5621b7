// SPDX-License-Identifier: BSD-2-Clause
/*
 * 1. A world belongs to its caller, who opens, fills, looks and closes while no thread runs. What
 *    hands a thread's work over to the caller (a join, a condition) orders what it left behind.
 *
 * 2. Each thread's state is an allocation of its own, aligned to two cache lines, so that threads
 *    share nothing but the allocator that is measured. Sizes are drawn from tables they all read.
 *
 * 3. Queues fill in the first round through them, on the thread that will empty them. What is up to
 *    --live is taken at open by the caller, since a bench could not wait for it in a warm loop.
 *
 * 4. Leaf tables are counted in a bitmap over the window, one bit for 2 MiB of IOVA, 16 MiB of
 *    untouched zero memory: one for all looks, one that is cleared before each.
 */
#include "workload/world.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/err.h"
#include "workload/thread.h"
#include "workload/timer.h"

#define LEAF_SHIFT CONTENDER_LEAF_SHIFT
#define LEAF_BYTES ((CONTENDER_LAST >> LEAF_SHIFT) / 8 + 1)

/* Guarded by nothing: the caller's; run() only reads. */
struct workload_world {
	const struct contender *contender;
	void *ctx;
	const struct workload *workload;
	unsigned n_threads;
	struct workload_thread **threads;
	struct workload_ring **rings; /* of thread 2i and 2i + 1 */
	uint32_t pages[WORKLOAD_DRAWS], other_pages[WORKLOAD_DRAWS];
	struct workload_slot *long_lived;
	size_t n_long_lived;
	struct workload_timer timer; /* guards itself */
	bool has_timer;
	uint64_t *leaves;            /* of all looks */
	struct workload_sight seen;
};

static uint64_t *leaves_new(void)
{
	void *p = mmap(NULL, LEAF_BYTES, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	return p == MAP_FAILED ? NULL : p;
}

static void leaves_free(uint64_t *leaves)
{
	if (leaves)
		munmap(leaves, LEAF_BYTES);
}

/* How many bits were not set before. */
static uint64_t mark(uint64_t *leaves, uint64_t iova, uint64_t len)
{
	uint64_t last = (iova + len - 1) >> LEAF_SHIFT, fresh = 0;

	for (uint64_t i = iova >> LEAF_SHIFT; i <= last; i++) {
		uint64_t bit = UINT64_C(1) << (i % 64);

		fresh += !(leaves[i / 64] & bit);
		leaves[i / 64] |= bit;
	}
	return fresh;
}

struct workload_timer *workload_world_timer(struct workload_world *world)
{
	return &world->timer;
}

void workload_world_give(struct workload_world *world, struct workload_slot *slot)
{
	if (slot->pages)
		world->contender->free(world->ctx, slot->iova,
				       (size_t)slot->pages << WORKLOAD_PAGE_SHIFT);
	slot->pages = 0;
}

int workload_no_room(const struct workload_thread *t, uint32_t pages)
{
	return dr_fail(ENOSPC,
		       "%s has no IOVA for %u pages under %s; ask for less --live or fewer threads",
		       t->world->contender->name, pages, t->workload->name);
}

/* Take ranges of drawn sizes into @slots. */
static int fill(struct workload_world *world, struct workload_slot *slots, size_t n,
		const uint32_t pages[WORKLOAD_DRAWS], uint64_t *random)
{
	for (size_t i = 0; i < n; i++) {
		uint32_t want = pages[workload_next(random) % WORKLOAD_DRAWS];

		slots[i].iova = world->contender->alloc(world->ctx,
							(size_t)want << WORKLOAD_PAGE_SHIFT, 0);
		if (slots[i].iova == CONTENDER_NONE)
			return dr_fail(ENOSPC, "%s has no IOVA for %zu live ranges; ask for fewer",
				       world->contender->name, n);
		slots[i].pages = want;
	}
	return 0;
}

static int no_memory(void)
{
	return dr_fail(ENOMEM, "no memory for what a workload holds; ask for less --live");
}

static int thread_open(struct workload_world *world, unsigned index, size_t live)
{
	const struct workload *w = world->workload;
	size_t depth = w->depth ? w->depth : live / world->n_threads;
	struct workload_thread *t;
	int err = 0;

	t = aligned_alloc(128, (sizeof(*t) + 127) & ~(size_t)127);
	if (!t)
		return no_memory();
	*t = (struct workload_thread){
		.workload = w,
		.world = world,
		.index = index,
		.random = w->seed + ((uint64_t)index << 32),
		.pages = world->pages,
		.other_pages = world->other_pages,
	};
	world->threads[index] = t;
	t->queue_depth = (uint32_t)(depth ? depth : 1);
	t->n_slots = t->queue_depth * w->queues;
	t->slots = calloc(t->n_slots, sizeof(*t->slots));
	if (w->shape == WORKLOAD_RINGS)
		t->n_others = WORKLOAD_SENT_DEPTH;
	else if (w->shape == WORKLOAD_AGED)
		t->n_others = WORKLOAD_AGED_LIVE;
	t->others = calloc(t->n_others ? t->n_others : 1, sizeof(*t->others));
	if (w->shape == WORKLOAD_HELD) {
		t->n_queues = world->n_threads < WORKLOAD_CPUS ? WORKLOAD_CPUS / world->n_threads
							       : 1;
		t->tick = WORKLOAD_TICK / world->n_threads / WORKLOAD_TURN * WORKLOAD_TURN;
	}
	t->held = calloc((size_t)t->n_queues * WORKLOAD_HELD_BACK + 1, sizeof(*t->held));
	t->n_held = calloc(t->n_queues + 1, sizeof(*t->n_held));
	if (!t->slots || !t->others || !t->held || !t->n_held)
		return no_memory();
	if (w->shape == WORKLOAD_REMOTE) {
		t->ring = world->rings[index / 2];
		t->has_partner = (index | 1) < world->n_threads;
	}
	if (!w->depth)
		err = fill(world, t->slots, t->n_slots, world->pages, &t->random);
	return err;
}

/* Leaves the caches of the caller's CPU or thread full of what the bursts do not ask for. */
static int skew(struct workload_world *world)
{
	uint32_t pages[WORKLOAD_DRAWS];
	uint64_t random = world->workload->seed;
	struct workload_slot *slots = calloc(WORKLOAD_SKEW, sizeof(*slots));
	int err;

	if (!slots)
		return no_memory();
	workload_draws(workload_skew, pages);
	err = fill(world, slots, WORKLOAD_SKEW, pages, &random);
	for (size_t i = 0; i < WORKLOAD_SKEW; i++)
		workload_world_give(world, &slots[i]);
	free(slots);
	return err;
}

static int rings_open(struct workload_world *world)
{
	world->rings = calloc((world->n_threads + 1) / 2, sizeof(*world->rings));
	if (!world->rings)
		return no_memory();
	for (unsigned i = 0; i < (world->n_threads + 1) / 2; i++) {
		world->rings[i] = aligned_alloc(128, sizeof(*world->rings[i]));
		if (!world->rings[i])
			return no_memory();
		memset(world->rings[i], 0, sizeof(*world->rings[i]));
	}
	return 0;
}

static int populate(struct workload_world *world, size_t live)
{
	const struct workload *w = world->workload;
	uint64_t random = workload_long_lived_seed;
	int err = 0;

	world->threads = calloc(world->n_threads, sizeof(*world->threads));
	world->leaves = leaves_new();
	if (!world->threads || !world->leaves)
		return no_memory();
	if (w->depth && live) {
		uint32_t pages[WORKLOAD_DRAWS];

		world->long_lived = calloc(live, sizeof(*world->long_lived));
		if (!world->long_lived)
			return no_memory();
		world->n_long_lived = live;
		workload_draws(workload_long_lived, pages);
		err = fill(world, world->long_lived, live, pages, &random);
	}
	if (!err && w->shape == WORKLOAD_REMOTE)
		err = rings_open(world);
	if (!err && w->shape == WORKLOAD_BURST)
		err = skew(world);
	if (!err && w->shape == WORKLOAD_HELD) {
		err = workload_timer_start(&world->timer);
		world->has_timer = !err;
		if (err)
			dr_fail(-err, "cannot start the thread that flushes; allow more threads");
	}
	for (unsigned i = 0; !err && i < world->n_threads; i++)
		err = thread_open(world, i, live ? live : WORKLOAD_LIVE_DEFAULT);
	return err;
}

int workload_world_open(const struct contender *c, const struct workload *w, unsigned threads,
			size_t live, struct workload_world **ret_world)
{
	struct workload_world *world = calloc(1, sizeof(*world));
	int err;

	if (!world)
		return no_memory();
	world->contender = c;
	world->workload = w;
	world->n_threads = threads;
	workload_draws(w->sizes, world->pages);
	workload_draws(w->shape == WORKLOAD_RINGS ? workload_sent : workload_long_lived,
		       world->other_pages);
	err = c->open(CONTENDER_FIRST, CONTENDER_LAST, &world->ctx);
	if (err) {
		free(world);
		return dr_fail(-err, "%s cannot open a space", c->name);
	}
	err = populate(world, live);
	if (err) {
		workload_world_close(world);
		return err;
	}
	*ret_world = world;
	return 0;
}

static void thread_close(struct workload_world *world, struct workload_thread *t)
{
	for (uint32_t i = 0; t->slots && i < t->n_slots; i++)
		workload_world_give(world, &t->slots[i]);
	for (uint32_t i = 0; t->others && i < t->n_others; i++)
		workload_world_give(world, &t->others[i]);
	/* Places beyond what is in a queue are empty. */
	for (uint32_t i = 0; t->held && i < t->n_queues * WORKLOAD_HELD_BACK; i++)
		workload_world_give(world, &t->held[i]);
	free(t->n_held);
	free(t->held);
	free(t->others);
	free(t->slots);
	free(t);
}

static void ring_close(struct workload_world *world, struct workload_ring *ring)
{
	uint64_t posted = atomic_load_explicit(&ring->posted, memory_order_relaxed);
	uint64_t taken = atomic_load_explicit(&ring->taken, memory_order_relaxed);

	for (; taken != posted; taken++)
		world->contender->free(world->ctx, ring->iova[taken % WORKLOAD_RING],
				       (size_t)1 << WORKLOAD_PAGE_SHIFT);
	free(ring);
}

void workload_world_close(struct workload_world *world)
{
	if (!world)
		return;
	if (world->has_timer)
		workload_timer_stop(&world->timer);
	for (unsigned i = 0; world->threads && i < world->n_threads; i++)
		if (world->threads[i])
			thread_close(world, world->threads[i]);
	for (unsigned i = 0; world->rings && i < (world->n_threads + 1) / 2; i++)
		if (world->rings[i])
			ring_close(world, world->rings[i]);
	for (size_t i = 0; i < world->n_long_lived; i++)
		workload_world_give(world, &world->long_lived[i]);
	world->contender->close(world->ctx);
	leaves_free(world->leaves);
	free(world->long_lived);
	free(world->rings);
	free(world->threads);
	free(world);
}

int workload_world_run(struct workload_world *world, unsigned thread, uint64_t n)
{
	return world->contender->run(world->ctx, world->threads[thread], n);
}

/* Where a look is written down. */
struct look {
	struct workload_world *world;
	struct workload_sight now;
	uint64_t *leaves; /* of this look alone, or NULL */
};

static void see(struct look *l, uint64_t iova, uint64_t pages)
{
	uint64_t len = pages << WORKLOAD_PAGE_SHIFT;

	if (!pages)
		return;
	l->now.live++;
	l->now.live_pgs += pages;
	l->world->seen.leaf_tables += mark(l->world->leaves, iova, len);
	if (l->leaves)
		l->now.leaf_tables += mark(l->leaves, iova, len);
}

static void see_slots(struct look *l, const struct workload_slot *slots, size_t n)
{
	for (size_t i = 0; i < n; i++)
		see(l, slots[i].iova, slots[i].pages);
}

static void see_thread(struct look *l, const struct workload_thread *t)
{
	enum workload_shape shape = t->workload->shape;

	/*
	 * What is out only inside the loop counts as it was there: the pair, and the burst once it
	 * was whole, when its last range had an address.
	 */
	if (shape == WORKLOAD_PAIR && t->slots[0].iova)
		see(l, t->slots[0].iova, 1);
	else if (shape == WORKLOAD_BURST && t->slots[t->n_slots - 1].iova)
		for (uint32_t i = 0; i < t->n_slots; i++)
			see(l, t->slots[i].iova, 1);
	else
		see_slots(l, t->slots, t->n_slots);
	see_slots(l, t->others, t->n_others);
	see_slots(l, t->held, (size_t)t->n_queues * WORKLOAD_HELD_BACK);
}

static void see_ring(struct look *l, const struct workload_ring *ring)
{
	uint64_t posted = atomic_load_explicit(&ring->posted, memory_order_relaxed);
	uint64_t taken = atomic_load_explicit(&ring->taken, memory_order_relaxed);

	/* Between two stretches the ring is all but empty; within them it was not. */
	if (ring->most_waiting > posted - taken)
		taken = posted - ring->most_waiting;
	for (uint64_t i = taken; i != posted; i++)
		see(l, ring->iova[i % WORKLOAD_RING], 1);
}

static uint64_t max_u64(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

void workload_world_look(struct workload_world *world, struct workload_sight *ret_now)
{
	struct look l = { .world = world, .leaves = ret_now ? leaves_new() : NULL };
	struct workload_sight *seen = &world->seen;
	struct contender_population p = { 0 };
	uint64_t more = 0; /* was out before a flush, and no look saw it */

	for (unsigned i = 0; i < world->n_threads; i++) {
		const struct workload_thread *t = world->threads[i];

		see_thread(&l, t);
		if (t->most_held > t->all_held)
			more += t->most_held - t->all_held;
	}
	for (unsigned i = 0; world->rings && i < (world->n_threads + 1) / 2; i++)
		see_ring(&l, world->rings[i]);
	see_slots(&l, world->long_lived, world->n_long_lived);
	leaves_free(l.leaves);
	world->contender->population(world->ctx, &p);
	l.now.population = p.ranges;
	l.now.population_pgs = p.pages;
	l.now.population_leaf_tables = p.leaf_tables;
	seen->live = max_u64(seen->live, l.now.live + more);
	seen->live_pgs = max_u64(seen->live_pgs, l.now.live_pgs);
	seen->population = max_u64(seen->population, p.ranges);
	seen->population_pgs = max_u64(seen->population_pgs, p.pages);
	seen->population_leaf_tables = max_u64(seen->population_leaf_tables, p.leaf_tables);
	if (ret_now)
		*ret_now = l.now;
}

void workload_world_seen(const struct workload_world *world, struct workload_sight *ret_seen)
{
	*ret_seen = world->seen;
}

void workload_world_forget(struct workload_world *world)
{
	/* Pages that the kernel takes back read as zero again. */
	madvise(world->leaves, LEAF_BYTES, MADV_DONTNEED);
	world->seen = (struct workload_sight){ 0 };
}

bool workload_world_heat(struct workload_world *world, uint64_t first, uint64_t last, size_t n,
			 struct dray_iova_cell *ret_cells)
{
	if (!world->contender->heat)
		return false;
	world->contender->heat(world->ctx, first, last, n, ret_cells);
	return true;
}
