// SPDX-License-Identifier: BSD-2-Clause
/*
 * The IOVA cache that the Linux kernel's documentation and papers describe, for userspace.
 *
 * 1. Six orders, 1 to 32 pages; sizes between are rounded up to the next. Larger requests go to the
 *    range tree. For each order and CPU two magazines of 127 addresses, `loaded` and `previous`;
 *    for each order a depot of full magazines.
 *
 * 2. Take: from loaded; is it empty, the two change places; are both, a full one comes from the
 *    depot for the empty one, which goes to the heap; has the depot none, the tree is asked. With
 *    an address limit the loaded magazine is searched from its top for an address below it.
 *
 * 3. Give: into loaded; is it full, the two change places; are both, loaded goes to the depot and a
 *    fresh one from the heap takes its place. A depot of fixed size that is full does not take it:
 *    its addresses go back to the tree, all under one lock.
 *
 * 4. The depot without a bound is trimmed: while it holds more magazines than there are CPUs, one
 *    goes back to the tree every 100 ms, by a thread that otherwise sleeps.
 *
 * 5. This file is compiled a second time by rcache_256.c, for the CPUs that WORKLOAD_HELD plays,
 *    256 as a server has (run.h, 5): there each CPU's queue gives back into that CPU's magazines,
 *    and the timer into those of the CPU it runs on. With the machine's few CPUs one tick fills all
 *    magazines and the depot at once; with 256 they fill little by little, as reported.
 *
 * 6. When the tree has no room, all that is cached goes back to it, and it is asked once more.
 *
 * 7. Locks. The pair of magazines of a CPU has a spinlock, since a thread may be moved to another
 *    CPU at any time, and since draining visits all of them. A depot has its own, taken inside a
 *    CPU's. The tree's mutex is taken with neither held. What can fail: no memory for a magazine
 *    (the address goes back to the tree), no room.
 *
 *	      | take, give                     | trim             | drain
 *	take  | the CPU's lock, or two CPUs    | the depot's lock | the CPU's lock
 *	give  | likewise                       | the depot's lock | the CPU's lock
 *	trim  | the depot's lock               | one thread       | the depot's lock
 *	drain | the CPU's lock, then a depot's | the depot's lock | likewise
 */
#define _GNU_SOURCE
#include "baseline/rcache.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/sysinfo.h>
#include <time.h>

#include "workload/run.h"

#ifndef RCACHE_PLAYS
#define RCACHE_PLAYS 0
#endif

/* What the kernel waits between two magazines that it trims. */
#define TRIM_MS 100

static struct rcache_magazine *magazine_new(void)
{
	struct rcache_magazine *m = malloc(sizeof(*m));

	if (m)
		m->size = 0;
	return m;
}

/* The addresses of @m go back to the tree, @m to the heap. */
static void magazine_return(struct rcache *c, struct rcache_magazine *m, unsigned n)
{
	range_tree_free_all(&c->tree, m->pages, n);
	free(m);
}

/* A full magazine, or NULL. The caller knows that its size is RCACHE_MAGAZINE. */
static struct rcache_magazine *depot_pop(struct rcache_depot *d)
{
	struct rcache_magazine *m;

	spin_lock(&d->lock);
	m = d->full;
	if (m) {
		d->full = m->next;
		d->n--;
	}
	spin_unlock(&d->lock);
	return m;
}

static bool depot_push(struct rcache *c, struct rcache_depot *d, struct rcache_magazine *m)
{
	bool room;

	spin_lock(&d->lock);
	room = d->n < c->depot_max;
	if (room) {
		m->next = d->full;
		d->full = m;
		d->n++;
	}
	spin_unlock(&d->lock);
	return room;
}

static inline struct rcache_cpu *this_cpu(struct rcache *c, unsigned order)
{
	unsigned cpu = RCACHE_PLAYS && workload_cpu ? workload_cpu - 1 :
						      (unsigned)sched_getcpu();

	if (__builtin_expect(cpu >= c->n_cpus, 0))
		cpu %= c->n_cpus;
	return &c->cpus[order][cpu];
}

static inline unsigned order_of(uint64_t pages)
{
	return pages > 1 ? 64 - (unsigned)__builtin_clzll(pages - 1) : 0;
}

/* The topmost address of @m that is at most @highest; RANGE_NONE: all are above. */
static inline uint64_t magazine_pop(struct rcache_magazine *m, uint64_t highest)
{
	unsigned i = m->size;
	uint64_t page;

	do {
		if (!i)
			return RANGE_NONE;
		page = m->pages[--i];
	} while (page > highest);
	m->pages[i] = m->pages[--m->size];
	return page;
}

static inline void swap_magazines(struct rcache_cpu *cpu)
{
	struct rcache_magazine *m = cpu->loaded;

	cpu->loaded = cpu->previous;
	cpu->previous = m;
}

static uint64_t cached_take(struct rcache *c, unsigned order, uint64_t highest)
{
	struct rcache_cpu *cpu = this_cpu(c, order);
	uint64_t page = RANGE_NONE;

	spin_lock(&cpu->lock);
	if (__builtin_expect(!cpu->loaded->size, 0)) {
		if (cpu->previous->size) {
			swap_magazines(cpu);
		} else {
			struct rcache_magazine *m = depot_pop(&c->depots[order]);

			if (m) {
				free(cpu->loaded);
				m->size = RCACHE_MAGAZINE;
				cpu->loaded = m;
			}
		}
	}
	page = magazine_pop(cpu->loaded, highest);
	spin_unlock(&cpu->lock);
	return page;
}

/* False: it is not cached. */
static bool cached_give(struct rcache *c, unsigned order, uint64_t page)
{
	struct rcache_cpu *cpu = this_cpu(c, order);
	struct rcache_magazine *surplus = NULL;
	bool cached = true;

	spin_lock(&cpu->lock);
	if (__builtin_expect(cpu->loaded->size == RCACHE_MAGAZINE, 0)) {
		if (cpu->previous->size < RCACHE_MAGAZINE) {
			swap_magazines(cpu);
		} else {
			struct rcache_magazine *fresh = magazine_new();

			cached = fresh;
			if (fresh) {
				if (!depot_push(c, &c->depots[order], cpu->loaded))
					surplus = cpu->loaded;
				cpu->loaded = fresh;
			}
		}
	}
	if (cached)
		cpu->loaded->pages[cpu->loaded->size++] = page;
	spin_unlock(&cpu->lock);
	if (surplus)
		magazine_return(c, surplus, RCACHE_MAGAZINE);
	return cached;
}

void rcache_drain(struct rcache *c)
{
	for (unsigned order = 0; order < RCACHE_ORDERS; order++) {
		struct rcache_magazine *m;

		for (unsigned i = 0; i < c->n_cpus; i++) {
			struct rcache_cpu *cpu = &c->cpus[order][i];

			spin_lock(&cpu->lock);
			range_tree_free_all(&c->tree, cpu->loaded->pages, cpu->loaded->size);
			range_tree_free_all(&c->tree, cpu->previous->pages, cpu->previous->size);
			cpu->loaded->size = cpu->previous->size = 0;
			spin_unlock(&cpu->lock);
		}
		while ((m = depot_pop(&c->depots[order])))
			magazine_return(c, m, RCACHE_MAGAZINE);
	}
}

uint64_t rcache_alloc(struct rcache *c, size_t len, uint64_t last)
{
	/* No range ends above the last page whose end the limit covers. */
	uint64_t limit = last ? ((last + 1) >> WORKLOAD_PAGE_SHIFT) - 1 : RANGE_NONE - 1;
	uint64_t pages = len >> WORKLOAD_PAGE_SHIFT, page;
	unsigned order = order_of(pages);

	if (order < RCACHE_ORDERS) {
		pages = UINT64_C(1) << order;
		if (limit < pages - 1)
			return CONTENDER_NONE;
		page = cached_take(c, order, limit - (pages - 1));
		if (page != RANGE_NONE)
			return page << WORKLOAD_PAGE_SHIFT;
	}
	page = range_tree_alloc(&c->tree, pages, limit);
	if (page == RANGE_NONE) {
		rcache_drain(c);
		page = range_tree_alloc(&c->tree, pages, limit);
	}
	return page == RANGE_NONE ? CONTENDER_NONE : page << WORKLOAD_PAGE_SHIFT;
}

void rcache_free(struct rcache *c, uint64_t iova, size_t len)
{
	unsigned order = order_of(len >> WORKLOAD_PAGE_SHIFT);
	uint64_t page = iova >> WORKLOAD_PAGE_SHIFT;

	if (order >= RCACHE_ORDERS || !cached_give(c, order, page))
		range_tree_free(&c->tree, page);
}

void rcache_trim(struct rcache *c)
{
	for (unsigned order = 0; order < RCACHE_ORDERS; order++) {
		struct rcache_depot *d = &c->depots[order];
		struct rcache_magazine *m = NULL;

		spin_lock(&d->lock);
		if (d->n > c->n_cpus) {
			m = d->full;
			d->full = m->next;
			d->n--;
		}
		spin_unlock(&d->lock);
		if (m)
			magazine_return(c, m, RCACHE_MAGAZINE);
	}
}

static void *trim_main(void *arg)
{
	struct rcache *c = arg;
	struct timespec at;

	pthread_mutex_lock(&c->trim_lock);
	while (!c->trim_stop) {
		clock_gettime(CLOCK_REALTIME, &at);
		at.tv_nsec += c->trim_ms * 1000000l;
		at.tv_sec += at.tv_nsec / 1000000000;
		at.tv_nsec %= 1000000000;
		if (!pthread_cond_timedwait(&c->trim_wake, &c->trim_lock, &at))
			continue;
		pthread_mutex_unlock(&c->trim_lock);
		rcache_trim(c);
		pthread_mutex_lock(&c->trim_lock);
	}
	pthread_mutex_unlock(&c->trim_lock);
	return NULL;
}

static int trimmer_start(struct rcache *c)
{
	int err;

	pthread_mutex_init(&c->trim_lock, NULL);
	pthread_cond_init(&c->trim_wake, NULL);
	err = pthread_create(&c->trimmer, NULL, trim_main, c);
	if (err) {
		pthread_cond_destroy(&c->trim_wake);
		pthread_mutex_destroy(&c->trim_lock);
	}
	return -err;
}

static void trimmer_stop(struct rcache *c)
{
	pthread_mutex_lock(&c->trim_lock);
	c->trim_stop = true;
	pthread_cond_signal(&c->trim_wake);
	pthread_mutex_unlock(&c->trim_lock);
	pthread_join(c->trimmer, NULL);
	pthread_cond_destroy(&c->trim_wake);
	pthread_mutex_destroy(&c->trim_lock);
}

static void free_magazines(struct rcache *c)
{
	struct rcache_magazine *m;

	for (unsigned order = 0; order < RCACHE_ORDERS; order++) {
		for (unsigned i = 0; c->cpus[order] && i < c->n_cpus; i++) {
			free(c->cpus[order][i].loaded);
			free(c->cpus[order][i].previous);
		}
		free(c->cpus[order]);
		while ((m = depot_pop(&c->depots[order])))
			free(m);
	}
}

static int alloc_magazines(struct rcache *c)
{
	for (unsigned order = 0; order < RCACHE_ORDERS; order++) {
		c->cpus[order] = aligned_alloc(128, c->n_cpus * sizeof(struct rcache_cpu));
		if (!c->cpus[order])
			return -ENOMEM;
		for (unsigned i = 0; i < c->n_cpus; i++)
			c->cpus[order][i] = (struct rcache_cpu){ 0 };
		for (unsigned i = 0; i < c->n_cpus; i++) {
			c->cpus[order][i].loaded = magazine_new();
			c->cpus[order][i].previous = magazine_new();
			if (!c->cpus[order][i].loaded || !c->cpus[order][i].previous)
				return -ENOMEM;
		}
	}
	return 0;
}

int rcache_open(uint64_t first, uint64_t last, unsigned depot_max, unsigned trim_ms,
		struct rcache **ret_cache)
{
	struct rcache *c = aligned_alloc(128, sizeof(*c));
	int err;

	if (!c)
		return -ENOMEM;
	*c = (struct rcache){ .depot_max = depot_max, .trim_ms = trim_ms };
	c->n_cpus = RCACHE_PLAYS ? WORKLOAD_CPUS : (unsigned)get_nprocs_conf();
	err = alloc_magazines(c);
	if (!err)
		err = range_tree_open(&c->tree, first >> WORKLOAD_PAGE_SHIFT,
				      last >> WORKLOAD_PAGE_SHIFT);
	if (err)
		goto fail;
	if (trim_ms) {
		err = trimmer_start(c);
		if (err) {
			range_tree_close(&c->tree);
			goto fail;
		}
	}
	*ret_cache = c;
	return 0;
fail:
	free_magazines(c);
	free(c);
	return err;
}

void rcache_close(struct rcache *c)
{
	if (c->trim_ms)
		trimmer_stop(c);
	free_magazines(c);
	range_tree_close(&c->tree);
	free(c);
}

static int open_unbounded(uint64_t first, uint64_t last, void **ret_ctx)
{
	return rcache_open(first, last, RCACHE_UNBOUNDED, TRIM_MS, (struct rcache **)ret_ctx);
}

static int open_fixed_depot(uint64_t first, uint64_t last, void **ret_ctx)
{
	return rcache_open(first, last, RCACHE_FIXED_DEPOT, 0, (struct rcache **)ret_ctx);
}

static void close_either(void *ctx)
{
	rcache_close(ctx);
}

static inline uint64_t take(void *ctx, size_t len, uint64_t last)
{
	return rcache_alloc(ctx, len, last);
}

static inline void give(void *ctx, uint64_t iova, size_t len)
{
	rcache_free(ctx, iova, len);
}

static void population(void *ctx, struct contender_population *ret_population)
{
	struct rcache *c = ctx;

	range_tree_population(&c->tree, ret_population);
}

static int run(void *ctx, struct workload_thread *t, uint64_t n)
{
	return workload_run(t, n, ctx, take, give);
}

#if RCACHE_PLAYS
const struct contender contender_rcache_256 = {
	.name = "rcache-256",
	.what = "rcache-unbounded with magazines for each of the 256 CPUs that W7 plays",
#else
const struct contender contender_rcache_unbounded = {
	.name = "rcache-unbounded",
	.what = "the kernel's cache: magazines per CPU, a depot that is trimmed by time",
#endif
	.open = open_unbounded,
	.close = close_either,
	.alloc = take,
	.free = give,
	.population = population,
	.run = run,
};

#if RCACHE_PLAYS
const struct contender contender_rcache_fixed_depot_256 = {
	.name = "rcache-fixed-depot-256",
	.what = "rcache-fixed-depot with magazines for each of the 256 CPUs that W7 plays",
#else
const struct contender contender_rcache_fixed_depot = {
	.name = "rcache-fixed-depot",
	.what = "the kernel's cache until 6.6: a depot of 32 magazines for each order",
#endif
	.open = open_fixed_depot,
	.close = close_either,
	.alloc = take,
	.free = give,
	.population = population,
	.run = run,
};
