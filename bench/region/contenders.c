// SPDX-License-Identifier: BSD-2-Clause
/*
 * Ways to find what is registered at an address.
 *
 *   dray        this library, lookup inline as in its own map
 *   radix       the yardstick: two levels over 2 MiB pages, two loads, nothing else; it cannot
 *               unregister under readers, and knows no smaller page
 *   radix-4k    the same over 4 KiB pages: the second level is 2 MiB for each GiB
 *   mutex-tree  disjoint intervals in a balanced tree, under a mutex
 *   rwlock-skip the same in a skip list, under a read-write lock
 *
 * The loops are the same for all. Each lookup waits for the one before: its address depends on what
 * that one found, so figures are how long a lookup takes, not how many overlap.
 */
#define _GNU_SOURCE
#include "contenders.h"

#include <pthread.h>
#include <search.h>
#include <stdlib.h>
#include <sys/mman.h>

#include <dray/stats.h>

#include "region/region.h"

#define KB4 UINT64_C(4096)
#define MB2 (UINT64_C(1) << 21)
#define FIRST_IOVA (UINT64_C(1) << 32)

static void *reserve(size_t len)
{
	void *p = mmap(NULL, len, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (p == MAP_FAILED)
		abort();
	return p;
}

static void *must(void *p)
{
	if (!p)
		abort();
	return p;
}

/* --- the loops --- */

typedef uint64_t (*find_fn)(void *ctx, uint64_t va);

static inline uint64_t next_random(uint64_t *s)
{
	uint64_t z = *s += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	return z ^ z >> 31;
}

static inline __attribute__((always_inline)) uint64_t loop_hot(void *ctx, const struct world *w,
								uint64_t n, find_fn find)
{
	uint64_t va = w->base + w->len / 2 + 64, sum = 0, none = 0;

	for (; n; n--) {
		__asm__ volatile("" : "+r"(none));
		sum = find(ctx, va + (sum & none));
	}
	return sum;
}

static inline __attribute__((always_inline)) uint64_t loop_random(void *ctx, const struct world *w,
								   uint64_t n, uint64_t *random,
								   find_fn find)
{
	uint64_t s = *random, sum = 0, none = 0;

	for (; n; n--) {
		uint64_t r = next_random(&s);
		uint64_t va = w->base + ((r >> 32) * w->n >> 32) * w->stride;

		va += (uint64_t)((unsigned __int128)(r << 32) * w->len >> 64);
		__asm__ volatile("" : "+r"(none));
		sum = find(ctx, va + (sum & none));
		if (__builtin_expect(sum == UINT64_MAX, 0))
			abort(); /* everything asked for is registered */
	}
	*random = s;
	return sum;
}

#define CONTENDER(id, shown)                                                                     \
	static uint64_t id##_hot(void *ctx, const struct world *w, uint64_t n)                   \
	{                                                                                        \
		return loop_hot(ctx, w, n, id##_find);                                           \
	}                                                                                        \
	static uint64_t id##_random(void *ctx, const struct world *w, uint64_t n, uint64_t *r)   \
	{                                                                                        \
		return loop_random(ctx, w, n, r, id##_find);                                     \
	}                                                                                        \
	static const struct contender id = { shown, id##_open, id##_close, id##_hot, id##_random }

/* --- dray --- */

/* Nothing is pinned or mapped: what is measured is finding. */
static int no_map(struct dr_backend *be, dray_iova_t iova, void *va, size_t len, uint64_t bits)
{
	(void)be, (void)iova, (void)va, (void)len, (void)bits;
	return 0;
}

static int no_unmap(struct dr_backend *be, dray_iova_t iova, size_t len, size_t *ret_gone)
{
	(void)be, (void)iova;
	*ret_gone = len;
	return 0;
}

static const struct dr_backend_ops no_ops = { .name = "none", .map = no_map, .unmap = no_unmap };

struct house {
	struct dr_iospace io;
	struct dr_backend be;
	struct dr_regions *r;
};

static void dray_add(struct house *h, uint64_t va, uint64_t len, struct dray_region **ret_g)
{
	const struct dr_region_args a = {
		.iova = DRAY_IOVA_NONE, .va = (void *)(uintptr_t)va, .len = len,
	};

	if (dr_region_add(h->r, &a, ret_g))
		abort();
}

static void *dray_open(const struct world *w)
{
	const struct dray_iova_opts space = { .size = sizeof(space) };
	struct house *h = must(calloc(1, sizeof(*h)));
	struct dray_region *g;

	h->be = (struct dr_backend){ .ops = &no_ops, .max_op = UINT64_MAX };
	h->io.ops = &no_ops;
	h->io.be = &h->be;
	h->io.granule_mask = KB4 - 1;
	h->io.last = (UINT64_C(1) << 48) - 1;
	if (dr_pgtable_open(1u << 12, &h->io.pt) || dray_iova_space_open(&space, &h->io.space) ||
	    dr_regions_open(&h->io, &h->r))
		abort();
	for (uint64_t i = 0; i < w->n; i++)
		dray_add(h, w->base + i * w->stride, w->len, &g);
	return h;
}

static void dray_close(void *ctx)
{
	struct house *h = ctx;

	dr_regions_close(h->r);
	dray_iova_space_close(h->io.space);
	dr_pgtable_close(h->io.pt);
	dr_counters_close(&h->io.counters);
	free(h);
}

static inline uint64_t dray_find(void *ctx, uint64_t va)
{
	return dr_region_translate(((struct house *)ctx)->r, (void *)(uintptr_t)va, NULL);
}
CONTENDER(dray, "dray");

void churn(void *ctx, const struct world *w, uint64_t n)
{
	uint64_t va = w->base + w->n * w->stride + KB4;
	struct dray_region *g;
	bool gone;

	for (; n; n--) {
		dray_add(ctx, va, KB4, &g);
		if (dr_region_remove(g, &gone))
			abort();
	}
}

/* --- the bare radix --- */

/* 1,024 nodes: what 1 TiB takes. */
#define RADIX_ARENA(low_shift) (UINT64_C(1024) * sizeof(uint64_t) << (30 - (low_shift)))

static void *radix_build(const struct world *w, unsigned low_shift)
{
	uint64_t slots = UINT64_C(1) << (30 - low_shift), iova = FIRST_IOVA;
	uint64_t **root = reserve(sizeof(*root) << 18), *arena = NULL, *end = NULL;

	for (uint64_t i = 0; i < w->n; i++)
		for (uint64_t off = 0; off < w->len; off += UINT64_C(1) << low_shift) {
			uint64_t va = w->base + i * w->stride + off, **node = &root[va >> 30];

			/* Side by side, as dray's. */
			if (!*node && arena == end) {
				arena = reserve(RADIX_ARENA(low_shift));
				end = arena + RADIX_ARENA(low_shift) / sizeof(*arena);
			}
			if (!*node) {
				*node = arena;
				arena += slots;
			}
			(*node)[(va >> low_shift) & (slots - 1)] = iova;
			iova += UINT64_C(1) << low_shift;
		}
	return root;
}

/* Arenas are never given back: the bare radix knows nothing but its root. */
static void radix_unbuild(uint64_t **root)
{
	munmap(root, sizeof(*root) << 18);
}

static inline uint64_t radix_at(void *ctx, uint64_t va, unsigned low_shift)
{
	uint64_t **root = ctx, *node = root[va >> 30], iova;

	if (!node)
		return UINT64_MAX;
	iova = node[(va >> low_shift) & ((UINT64_C(1) << (30 - low_shift)) - 1)];
	return iova ? iova + (va & ((UINT64_C(1) << low_shift) - 1)) : UINT64_MAX;
}

static void *radix_open(const struct world *w)
{
	return radix_build(w, 21);
}

static void radix_close(void *ctx)
{
	radix_unbuild(ctx);
}

static inline uint64_t radix_find(void *ctx, uint64_t va)
{
	return radix_at(ctx, va, 21);
}
CONTENDER(radix, "radix");

static void *radix4k_open(const struct world *w)
{
	return radix_build(w, 12);
}

static void radix4k_close(void *ctx)
{
	radix_unbuild(ctx);
}

static inline uint64_t radix4k_find(void *ctx, uint64_t va)
{
	return radix_at(ctx, va, 12);
}
CONTENDER(radix4k, "radix-4k");

/* --- a balanced tree under a mutex --- */

struct interval {
	uint64_t first, len, iova;
};

struct tree {
	pthread_mutex_t lock;
	void *root;
	struct interval *all;
};

/* Intervals that overlap are equal: then a lookup is a search for one byte. */
static int compare(const void *a, const void *b)
{
	const struct interval *x = a, *y = b;

	return x->first + x->len <= y->first ? -1 : x->first >= y->first + y->len;
}

static struct interval *all_of(const struct world *w)
{
	struct interval *all = must(calloc(w->n, sizeof(*all)));

	for (uint64_t i = 0; i < w->n; i++)
		all[i] = (struct interval){ w->base + i * w->stride, w->len,
					    FIRST_IOVA + i * w->len };
	return all;
}

static void *tree_open(const struct world *w)
{
	struct tree *t = must(calloc(1, sizeof(*t)));

	pthread_mutex_init(&t->lock, NULL);
	t->all = all_of(w);
	for (uint64_t i = 0; i < w->n; i++)
		must(tsearch(&t->all[i], &t->root, compare));
	return t;
}

static void leave_it(void *node)
{
	(void)node;
}

static void tree_close(void *ctx)
{
	struct tree *t = ctx;

	tdestroy(t->root, leave_it);
	free(t->all);
	free(t);
}

static inline uint64_t tree_find(void *ctx, uint64_t va)
{
	const struct interval key = { va, 1, 0 };
	const struct interval *const *found;
	struct tree *t = ctx;
	uint64_t iova = UINT64_MAX;

	pthread_mutex_lock(&t->lock);
	found = tfind(&key, &t->root, compare);
	if (found)
		iova = (*found)->iova + (va - (*found)->first);
	pthread_mutex_unlock(&t->lock);
	return iova;
}
CONTENDER(tree, "mutex-tree");

/* --- a skip list under a read-write lock --- */

#define SKIP_LEVELS 10 /* of 4: enough for 4^9 */

struct skip_node {
	uint64_t first, len, iova;
	struct skip_node *next[SKIP_LEVELS];
};

struct skip {
	pthread_rwlock_t lock;
	struct skip_node head, *all;
};

static void *skip_open(const struct world *w)
{
	struct skip *s = must(calloc(1, sizeof(*s)));
	struct skip_node *last[SKIP_LEVELS];
	uint64_t random = 1;

	pthread_rwlock_init(&s->lock, NULL);
	s->all = must(calloc(w->n, sizeof(*s->all)));
	for (unsigned l = 0; l < SKIP_LEVELS; l++)
		last[l] = &s->head;
	for (uint64_t i = 0; i < w->n; i++) {
		struct skip_node *node = &s->all[i];
		uint64_t dice = next_random(&random);

		node->first = w->base + i * w->stride;
		node->len = w->len;
		node->iova = FIRST_IOVA + i * w->len;
		for (unsigned l = 0; l < SKIP_LEVELS; l++, dice >>= 2) {
			last[l]->next[l] = node;
			last[l] = node;
			if (dice & 3)
				break;
		}
	}
	return s;
}

static void skip_close(void *ctx)
{
	struct skip *s = ctx;

	free(s->all);
	free(s);
}

static inline uint64_t skip_find(void *ctx, uint64_t va)
{
	struct skip *s = ctx;
	const struct skip_node *at = &s->head;
	uint64_t iova = UINT64_MAX;

	pthread_rwlock_rdlock(&s->lock);
	for (unsigned l = SKIP_LEVELS; l--;)
		while (at->next[l] && at->next[l]->first <= va)
			at = at->next[l];
	if (at != &s->head && va - at->first < at->len)
		iova = at->iova + (va - at->first);
	pthread_rwlock_unlock(&s->lock);
	return iova;
}
CONTENDER(skip, "rwlock-skip");

const struct contender *const contenders[] = { &dray, &radix, &radix4k, &tree, &skip, NULL };

/* --- pairs --- */

#include "base/rcu.h"

#include <dray/dray.h>
#include <dray/sim.h>

struct pairs {
	struct dray_domain *dom;
	struct dray_device *dev;
	struct dray_region *g;
	struct house *h;
	struct world w;
	char *page;
};

struct pairs *pairs_open(void)
{
	const struct dray_domain_opts o = { .size = sizeof(o), .backend = DRAY_BACKEND_SIM };
	struct pairs *p = must(calloc(1, sizeof(*p)));

	p->page = reserve(MB2);
	p->w = (struct world){ (uintptr_t)p->page, MB2, MB2, 1 };
	p->h = dray_open(&p->w);
	if (dray_domain_open(&o, &p->dom) || dray_device_open(p->dom, "sim0", NULL, &p->dev) ||
	    dray_region_register(p->dom, p->page, MB2, 0, &p->g))
		abort();
	return p;
}

void pairs_close(struct pairs *p)
{
	if (dray_region_unregister(p->g))
		abort();
	dray_device_close(p->dev);
	dray_domain_close(p->dom);
	dray_close(p->h);
	munmap(p->page, MB2);
	free(p);
}

void pairs_counted(struct pairs *p, uint64_t n)
{
	dray_iova_t iova;
	uint32_t index;

	for (; n; n--) {
		dr_rcu_read_lock();
		if (!dr_region_enter(p->h->r, p->page + 64, 4096, DRAY_FROM_DEVICE, &iova, &index))
			abort();
		dr_rcu_read_unlock();
		__asm__ volatile("" : "+r"(iova), "+r"(index) : : "memory");
		dr_region_leave(p->h->r, index);
	}
}

void pairs_public(struct pairs *p, uint64_t n)
{
	struct dray_mapping m;

	for (; n; n--) {
		if (dray_map(p->dev, p->page + 64, 4096, DRAY_FROM_DEVICE, 0, &m))
			abort();
		dray_unmap(p->dev, &m);
	}
}
