// SPDX-License-Identifier: BSD-2-Clause
/*
 * What nothing can beat: a bare stack of addresses that belongs to one thread.
 *
 * 1. Each thread has a stack for each power of two of pages. Take pops, give pushes; both are a few
 *    instructions and are inlined into the loop of the workload. An empty stack is filled from the
 *    bottom of the window, one atomic addition for many addresses; nothing ever goes back there.
 *    What a full stack (a million entries) cannot hold is forgotten.
 *
 * 2. So it is an allocator only as far as a lower bound has to be: no reuse across threads, no
 *    coalescing, no defence against a wrong free. Addresses never overlap and keep their limits.
 *
 * 3. `floor-sized` writes one byte at the first page of a range when it is taken, and reads and
 *    clears it when it is given back: the least that an allocator must touch which checks sizes.
 *    The bytes cover the lowest 16 TiB of IOVA; it hands out nothing above.
 *
 * 4. `floor-called` is the same behind function calls, which no library can do without: what lies
 *    between it and `floor` is the price of a call, not of an allocator.
 *
 * 5. A thread finds its stacks through a thread-local word for each open space. The word names the
 *    space by a number that is never used again, so what an earlier space left there is not
 *    mistaken for this one's. Stacks stay in a list under a lock until the space is closed; those
 *    of a thread that has exited wait there as well.
 *
 *	     | take, give            | fill                | close
 *	take | of one thread each    | atomic addition     | the caller excludes it
 */
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "baseline/contender.h"
#include "workload/run.h"

/* Spaces open at once. */
#define SPACES 256u

/* Powers of two from one page up: 2^26 pages are 256 GiB. */
#define CLASSES 27u

/* Entries of a stack at first, and at most. */
#define ROOM_FIRST 256u
#define ROOM_MOST  (1u << 20)

/* Pages taken from the window at once; a larger range comes alone. */
#define FILL_PAGES 2048u

/* Pages that floor-sized has bytes for. */
#define SIZED_PAGES (UINT64_C(1) << 32)

struct stack {
	uint64_t *at;
	unsigned n, room;
};

/* One thread's; guarded by nothing. */
struct stacks {
	struct stacks *next; /* guarded by the space's lock */
	struct stack classes[CLASSES];
};

struct floor_space {
	unsigned slot;  /* of the thread-local words */
	uint64_t id;
	uint64_t first, last; /* constant */
	_Atomic uint64_t bottom;            /* lowest address never taken from the window */
	_Atomic uint64_t n_ranges, n_pages; /* taken from the window; relaxed, only counts */
	uint8_t *sizes; /* floor-sized: class + 1 of the range that begins at a page; its owner's */
	pthread_mutex_t lock;
	struct stacks *all; /* guarded by lock */
};

struct mine {
	uint64_t id;
	struct stacks *stacks;
};

static _Thread_local struct mine mine[SPACES];

/* Guarded by slots_lock. */
static pthread_mutex_t slots_lock = PTHREAD_MUTEX_INITIALIZER;
static bool slots[SPACES];
static uint64_t last_id;

/* This thread's in @f, made if there are none. NULL: no memory. */
static struct stacks *stacks_of(struct floor_space *f)
{
	struct stacks *s;

	if (mine[f->slot].id == f->id)
		return mine[f->slot].stacks;
	s = calloc(1, sizeof(*s));
	if (!s)
		return NULL;
	pthread_mutex_lock(&f->lock);
	s->next = f->all;
	f->all = s;
	pthread_mutex_unlock(&f->lock);
	mine[f->slot] = (struct mine){ f->id, s };
	return s;
}

static bool grow(struct stack *s)
{
	unsigned room = s->room ? s->room * 2 : ROOM_FIRST;
	uint64_t *at = room <= ROOM_MOST ? realloc(s->at, room * sizeof(*at)) : NULL;

	if (!at)
		return false;
	s->at = at;
	s->room = room;
	return true;
}

/* Addresses from the window: one to return, the others onto the stack. */
static uint64_t fill(struct floor_space *f, struct stack *s, unsigned class, uint64_t last)
{
	const uint64_t size = UINT64_C(1) << (class + WORKLOAD_PAGE_SHIFT);
	const uint64_t pages = UINT64_C(1) << class;
	unsigned n = pages < FILL_PAGES ? (unsigned)(FILL_PAGES / pages) : 1;
	uint64_t bottom = atomic_load_explicit(&f->bottom, memory_order_relaxed), first;

	if (!last || last > f->last)
		last = f->last;
	do {
		first = (bottom + size - 1) & ~(size - 1);
		if (first < bottom || first > last || last - first < size - 1)
			return CONTENDER_NONE;
		if ((last - first + 1) / size < n)
			n = (unsigned)((last - first + 1) / size);
	} while (!atomic_compare_exchange_weak_explicit(&f->bottom, &bottom, first + n * size,
							memory_order_relaxed,
							memory_order_relaxed));
	atomic_fetch_add_explicit(&f->n_ranges, n, memory_order_relaxed);
	atomic_fetch_add_explicit(&f->n_pages, n * pages, memory_order_relaxed);
	for (unsigned i = n - 1; i; i--)
		if (s->n < s->room || grow(s))
			s->at[s->n++] = first + i * size;
	return first;
}

/*
 * What is rare stays out of line and is called last, so that the rest needs no room on the C stack.
 */
static __attribute__((noinline, cold)) uint64_t pop_rarely(struct floor_space *f, unsigned class,
							   uint64_t last)
{
	struct stacks *s = class < CLASSES ? stacks_of(f) : NULL;

	return s ? fill(f, &s->classes[class], class, last) : CONTENDER_NONE;
}

static __attribute__((noinline, cold)) void push_rarely(struct floor_space *f, unsigned class,
							uint64_t iova)
{
	struct stacks *all = class < CLASSES ? stacks_of(f) : NULL;
	struct stack *s;

	if (!all)
		return;
	s = &all->classes[class];
	if (s->n < s->room || grow(s))
		s->at[s->n++] = iova;
}

/* This thread's stack, or NULL: the rare way then. */
static inline __attribute__((always_inline)) struct stack *stack_of(struct floor_space *f,
								    unsigned class)
{
	struct mine *m = &mine[f->slot];

	return __builtin_expect(m->id == f->id && class < CLASSES, 1) ? &m->stacks->classes[class]
								      : NULL;
}

static inline unsigned class_of(size_t len)
{
	uint64_t pages = len >> WORKLOAD_PAGE_SHIFT;

	return pages > 1 ? 64 - (unsigned)__builtin_clzll(pages - 1) : 0;
}

static inline __attribute__((always_inline)) uint64_t pop(struct floor_space *f, size_t len,
							  uint64_t last)
{
	unsigned class = class_of(len);
	struct stack *s = stack_of(f, class);

	if (__builtin_expect(s && s->n && (!last || s->at[s->n - 1] + (len - 1) <= last), 1))
		return s->at[--s->n];
	return pop_rarely(f, class, last);
}

static inline __attribute__((always_inline)) void push(struct floor_space *f, uint64_t iova,
						       size_t len)
{
	unsigned class = class_of(len);
	struct stack *s = stack_of(f, class);

	if (__builtin_expect(s && s->n < s->room, 1))
		s->at[s->n++] = iova;
	else
		push_rarely(f, class, iova);
}

static void close_space(void *ctx)
{
	struct floor_space *f = ctx;
	struct stacks *s;

	while ((s = f->all)) {
		f->all = s->next;
		for (unsigned i = 0; i < CLASSES; i++)
			free(s->classes[i].at);
		free(s);
	}
	if (f->sizes)
		munmap(f->sizes, SIZED_PAGES);
	pthread_mutex_destroy(&f->lock);
	pthread_mutex_lock(&slots_lock);
	slots[f->slot] = false;
	pthread_mutex_unlock(&slots_lock);
	free(f);
}

static int open_space(uint64_t first, uint64_t last, void **ret_ctx)
{
	struct floor_space *f = calloc(1, sizeof(*f));

	if (!f)
		return -ENOMEM;
	pthread_mutex_init(&f->lock, NULL);
	atomic_init(&f->bottom, first);
	f->first = first;
	f->last = last;
	pthread_mutex_lock(&slots_lock);
	while (f->slot < SPACES && slots[f->slot])
		f->slot++;
	if (f->slot < SPACES) {
		slots[f->slot] = true;
		f->id = ++last_id;
	}
	pthread_mutex_unlock(&slots_lock);
	if (f->slot == SPACES) {
		pthread_mutex_destroy(&f->lock);
		free(f);
		return -ENOSPC;
	}
	*ret_ctx = f;
	return 0;
}

static int open_sized(uint64_t first, uint64_t last, void **ret_ctx)
{
	const uint64_t covered = (SIZED_PAGES << WORKLOAD_PAGE_SHIFT) - 1;
	struct floor_space *f;
	void *sizes;
	int err = open_space(first, last < covered ? last : covered, ret_ctx);

	if (err)
		return err;
	f = *ret_ctx;
	sizes = mmap(NULL, SIZED_PAGES, PROT_READ | PROT_WRITE,
		     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (sizes == MAP_FAILED) {
		close_space(f);
		return -ENOMEM;
	}
	f->sizes = sizes;
	return 0;
}

static inline uint64_t floor_take(void *ctx, size_t len, uint64_t last)
{
	return pop(ctx, len, last);
}

static inline void floor_give(void *ctx, uint64_t iova, size_t len)
{
	push(ctx, iova, len);
}

static inline uint64_t sized_take(void *ctx, size_t len, uint64_t last)
{
	struct floor_space *f = ctx;
	uint64_t iova = pop(f, len, last);

	if (__builtin_expect(iova != CONTENDER_NONE, 1))
		f->sizes[iova >> WORKLOAD_PAGE_SHIFT] = (uint8_t)(class_of(len) + 1);
	return iova;
}

static inline void sized_give(void *ctx, uint64_t iova, size_t len)
{
	struct floor_space *f = ctx;
	uint8_t *size = &f->sizes[iova >> WORKLOAD_PAGE_SHIFT];

	if (__builtin_expect(*size != class_of(len) + 1, 0))
		return;
	*size = 0;
	push(f, iova, len);
}

static void population(void *ctx, struct contender_population *ret_population)
{
	struct floor_space *f = ctx;
	uint64_t bottom = atomic_load_explicit(&f->bottom, memory_order_relaxed);

	/* From the bottom up, but for gaps that alignment left. */
	ret_population->leaf_tables = bottom > f->first ?
		((bottom - 1) >> CONTENDER_LEAF_SHIFT) - (f->first >> CONTENDER_LEAF_SHIFT) + 1 : 0;
	ret_population->ranges = atomic_load_explicit(&f->n_ranges, memory_order_relaxed);
	ret_population->pages = atomic_load_explicit(&f->n_pages, memory_order_relaxed);
}

/* Out of line, as whoever calls a library calls. */
static __attribute__((noinline)) uint64_t called_take(void *ctx, size_t len, uint64_t last)
{
	return pop(ctx, len, last);
}

static __attribute__((noinline)) void called_give(void *ctx, uint64_t iova, size_t len)
{
	push(ctx, iova, len);
}

static int called_run(void *ctx, struct workload_thread *t, uint64_t n)
{
	return workload_run(t, n, ctx, called_take, called_give);
}

static int floor_run(void *ctx, struct workload_thread *t, uint64_t n)
{
	return workload_run(t, n, ctx, floor_take, floor_give);
}

static int sized_run(void *ctx, struct workload_thread *t, uint64_t n)
{
	return workload_run(t, n, ctx, sized_take, sized_give);
}

const struct contender contender_floor = {
	.name = "floor",
	.what = "a bare stack of the thread's own: what nothing can beat",
	.open = open_space,
	.close = close_space,
	.alloc = floor_take,
	.free = floor_give,
	.population = population,
	.run = floor_run,
};

const struct contender contender_floor_called = {
	.name = "floor-called",
	.what = "floor behind two function calls, as every library is",
	.open = open_space,
	.close = close_space,
	.alloc = called_take,
	.free = called_give,
	.population = population,
	.run = called_run,
};

const struct contender contender_floor_sized = {
	.name = "floor-sized",
	.what = "floor, and one byte touched that records the size",
	.open = open_sized,
	.close = close_space,
	.alloc = sized_take,
	.free = sized_give,
	.population = population,
	.run = sized_run,
};
