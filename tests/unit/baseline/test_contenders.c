// SPDX-License-Identifier: BSD-2-Clause
/*
 * What every contender owes, whatever it is made of: ranges that do not overlap, sizes, alignment
 * and limits kept, reuse, an honest answer when there is no room, any number of threads, and frees
 * on other threads. A contender that failed here would make every figure about it worthless.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "baseline/contender.h"
#include "workload/workload.h"

#define PAGE ((uint64_t)4096)

/* Who has a page; the window of the tests is small enough to have a byte for each. */
#define WINDOW_PAGES (UINT64_C(1) << 21)
static _Atomic uint8_t owned[WINDOW_PAGES];

static const struct contender *under_test;

struct held {
	uint64_t iova;
	size_t pages;
};

/* On any thread, where cmocka's jump out of a test would go wrong. */
static void broken(const char *what, uint64_t at)
{
	fprintf(stderr, "%s: %s at 0x%llx\n", under_test->name, what, (unsigned long long)at);
	abort();
}

static void own(uint64_t iova, size_t pages)
{
	for (uint64_t p = iova / PAGE; p < iova / PAGE + pages; p++)
		if (atomic_exchange_explicit(&owned[p], 1, memory_order_relaxed))
			broken("a page was handed out twice", p * PAGE);
}

/* Before it is given back: afterwards it is another's. */
static void disown(uint64_t iova, size_t pages)
{
	for (uint64_t p = iova / PAGE; p < iova / PAGE + pages; p++)
		if (!atomic_exchange_explicit(&owned[p], 0, memory_order_relaxed))
			broken("a page was lost", p * PAGE);
}

static void disown_all(void)
{
	for (uint64_t p = 0; p < WINDOW_PAGES; p++)
		atomic_store_explicit(&owned[p], 0, memory_order_relaxed);
}

static void check(uint64_t iova, size_t pages, uint64_t last)
{
	assert_true(iova >= PAGE);
	assert_int_equal(iova % PAGE, 0);
	if (!(pages & (pages - 1)))
		assert_int_equal(iova % (pages * PAGE), 0);
	assert_true(iova + pages * PAGE - 1 <= last);
}

static void *opened(uint64_t pages)
{
	void *ctx;

	assert_int_equal(under_test->open(PAGE, (1 + pages) * PAGE - 1, &ctx), 0);
	return ctx;
}

static bool is_floor(void)
{
	return !strncmp(under_test->name, "floor", 5);
}

static void keeps_ranges_apart(void **state)
{
	enum { MOST = 512 };
	const uint64_t last = WINDOW_PAGES * PAGE - 1;
	struct held held[MOST];
	uint64_t random = 0xba5e;
	unsigned n = 0;
	void *ctx = opened(WINDOW_PAGES - 1);

	(void)state;
	print_message("%s: seed 0x%llx\n", under_test->name, (unsigned long long)random);
	for (unsigned step = 0; step < 100000; step++) {
		uint64_t r = workload_next(&random);

		if (n && (r & 1 || n == MOST)) {
			unsigned i = (unsigned)(r >> 32) % n;

			disown(held[i].iova, held[i].pages);
			under_test->free(ctx, held[i].iova, held[i].pages * PAGE);
			held[i] = held[--n];
		} else {
			size_t pages = r & 2 ? 1 + (r >> 8) % 80 : (size_t)1 << (r >> 8) % 7;
			uint64_t limit = r & 4 ? WINDOW_PAGES / 2 * PAGE - 1 : 0;
			uint64_t iova = under_test->alloc(ctx, pages * PAGE, limit);

			assert_int_not_equal(iova, CONTENDER_NONE);
			check(iova, pages, limit ? limit : last);
			own(iova, pages);
			held[n++] = (struct held){ iova, pages };
		}
	}
	under_test->close(ctx);
	disown_all();
}

/* The warm pair takes nothing from the space, but for what waits. */
static void reuses(void **state)
{
	struct contender_population before, after;
	void *ctx = opened(WINDOW_PAGES - 1);
	cpu_set_t all, here;

	(void)state;
	/* Another CPU may have a cache of its own. */
	assert_int_equal(sched_getaffinity(0, sizeof(all), &all), 0);
	CPU_ZERO(&here);
	CPU_SET(sched_getcpu(), &here);
	assert_int_equal(sched_setaffinity(0, sizeof(here), &here), 0);
	under_test->free(ctx, under_test->alloc(ctx, PAGE, 0), PAGE);
	under_test->population(ctx, &before);
	for (unsigned i = 0; i < 100000; i++) {
		uint64_t iova = under_test->alloc(ctx, PAGE, 0);

		assert_int_not_equal(iova, CONTENDER_NONE);
		under_test->free(ctx, iova, PAGE);
	}
	under_test->population(ctx, &after);
	assert_in_range(after.ranges, before.ranges, before.ranges + under_test->waits);
	assert_in_range(after.pages, before.pages, before.pages + under_test->waits);
	assert_int_equal(sched_setaffinity(0, sizeof(all), &all), 0);
	under_test->close(ctx);
}

/* Every page of a window of one size, then none; what is given back is there again. */
static void says_when_there_is_no_room(void **state)
{
	enum { WINDOW = 4095 };
	static struct held held[WINDOW];
	void *ctx = opened(WINDOW);
	uint64_t extra;

	(void)state;
	for (unsigned i = 0; i < WINDOW; i++) {
		held[i] = (struct held){ under_test->alloc(ctx, PAGE, 0), 1 };
		assert_int_not_equal(held[i].iova, CONTENDER_NONE);
		check(held[i].iova, 1, (WINDOW + 1) * PAGE - 1);
		own(held[i].iova, 1);
	}
	extra = under_test->alloc(ctx, PAGE, 0);
	assert_int_equal(extra, CONTENDER_NONE);
	for (unsigned i = 0; i < WINDOW; i++) {
		disown(held[i].iova, 1);
		under_test->free(ctx, held[i].iova, PAGE);
	}
	for (unsigned i = 0; i < WINDOW; i++) {
		uint64_t iova = under_test->alloc(ctx, PAGE, 0);

		assert_int_not_equal(iova, CONTENDER_NONE);
		own(iova, 1);
		held[i].iova = iova;
	}
	for (unsigned i = 0; i < WINDOW; i++)
		under_test->free(ctx, held[i].iova, PAGE);
	/* Cached as single pages or not, the space is there for one that needs much of it. */
	if (!is_floor())
		assert_int_not_equal(under_test->alloc(ctx, 1024 * PAGE, 0), CONTENDER_NONE);
	under_test->close(ctx);
	disown_all();
}

/* Threads that take, give back, and leave ranges for each other in a few shared places. */
enum { PLACES = 64, STEPS = 40000 };
struct crowd {
	void *ctx;
	_Atomic(struct held *) places[PLACES];
};
struct member {
	struct crowd *crowd;
	uint64_t random;
};

static void *work(void *arg)
{
	struct member *m = arg;
	struct crowd *c = m->crowd;

	for (unsigned step = 0; step < STEPS; step++) {
		uint64_t r = workload_next(&m->random);
		struct held *h = malloc(sizeof(*h));

		if (!h)
			broken("no memory", 0);
		h->pages = r & 1 ? 1 : (size_t)1 << (r >> 8) % 6;
		h->iova = under_test->alloc(c->ctx, h->pages * PAGE, 0);
		if (h->iova == CONTENDER_NONE)
			broken("no room", 0);
		own(h->iova, h->pages);
		/* Releases what this thread wrote, acquires what the other one did. */
		h = atomic_exchange_explicit(&c->places[(r >> 32) % PLACES], h,
					     memory_order_acq_rel);
		if (h) {
			disown(h->iova, h->pages);
			under_test->free(c->ctx, h->iova, h->pages * PAGE);
			free(h);
		}
	}
	return NULL;
}

static void works_for_many_threads(void **state)
{
	enum { THREADS = 4 };
	struct member members[THREADS];
	pthread_t threads[THREADS];
	struct contender_population p;
	struct crowd crowd = { .ctx = opened(WINDOW_PAGES - 1) };
	unsigned live = 0;

	(void)state;
	for (unsigned i = 0; i < THREADS; i++) {
		members[i] = (struct member){ &crowd, 0xc0de + i };
		assert_int_equal(pthread_create(&threads[i], NULL, work, &members[i]), 0);
	}
	for (unsigned i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	for (unsigned i = 0; i < PLACES; i++) {
		struct held *h = atomic_load_explicit(&crowd.places[i], memory_order_relaxed);

		if (!h)
			continue;
		live++;
		disown(h->iova, h->pages);
		under_test->free(crowd.ctx, h->iova, h->pages * PAGE);
		free(h);
	}
	assert_int_equal(live, PLACES);
	/* Without a cache nothing is left in the space. */
	under_test->population(crowd.ctx, &p);
	if (under_test == &contender_rbtree)
		assert_int_equal(p.ranges, 0);
	for (uint64_t i = 0; i < WINDOW_PAGES; i++)
		assert_int_equal(atomic_load_explicit(&owned[i], memory_order_relaxed), 0);
	under_test->close(crowd.ctx);
}

static unsigned leaf_tables_of(const struct held *held, unsigned n)
{
	static bool seen[WINDOW_PAGES * PAGE >> CONTENDER_LEAF_SHIFT];
	unsigned tables = 0;

	memset(seen, 0, sizeof(seen));
	for (unsigned i = 0; i < n; i++) {
		uint64_t last = held[i].iova + held[i].pages * PAGE - 1;

		for (uint64_t t = held[i].iova >> CONTENDER_LEAF_SHIFT;
		     t <= last >> CONTENDER_LEAF_SHIFT; t++) {
			tables += !seen[t];
			seen[t] = true;
		}
	}
	return tables;
}

/* What is out is in it, exactly that where there is no cache; what is back may be cached. */
static void counts_its_population(void **state)
{
	enum { MOST = 700 };
	const bool plain = under_test == &contender_rbtree || under_test == &contender_dray_tree;
	struct contender_population p;
	struct held held[MOST];
	uint64_t pages = 0;
	void *ctx = opened(WINDOW_PAGES - 1);

	(void)state;
	under_test->population(ctx, &p);
	assert_int_equal(p.ranges, 0);
	assert_int_equal(p.leaf_tables, 0);
	for (unsigned i = 0; i < MOST; i++) {
		held[i].pages = i % 3 ? 1 + i % 2 : 4 + i % 9;
		held[i].iova = under_test->alloc(ctx, held[i].pages * PAGE, 0);
		assert_int_not_equal(held[i].iova, CONTENDER_NONE);
		pages += held[i].pages;
	}
	under_test->population(ctx, &p);
	assert_true(p.ranges >= MOST);
	assert_true(p.pages >= pages);
	assert_true(p.leaf_tables >= leaf_tables_of(held, MOST));
	assert_true(p.leaf_tables <= WINDOW_PAGES * PAGE >> CONTENDER_LEAF_SHIFT);
	if (plain) {
		assert_int_equal(p.ranges, MOST);
		assert_int_equal(p.leaf_tables, leaf_tables_of(held, MOST));
	}
	for (unsigned i = 0; i < MOST; i++)
		under_test->free(ctx, held[i].iova, held[i].pages * PAGE);
	under_test->population(ctx, &p);
	if (plain) {
		assert_int_equal(p.ranges, 0);
		assert_int_equal(p.pages, 0);
		assert_int_equal(p.leaf_tables, 0);
	}
	under_test->close(ctx);
}

/* Spaces do not mix: the same address may be out in each. */
static void spaces_are_apart(void **state)
{
	void *a = opened(1023), *b = opened(1023);

	(void)state;
	for (unsigned i = 0; i < 1023; i++) {
		assert_int_not_equal(under_test->alloc(a, PAGE, 0), CONTENDER_NONE);
		assert_int_not_equal(under_test->alloc(b, PAGE, 0), CONTENDER_NONE);
	}
	assert_int_equal(under_test->alloc(a, PAGE, 0), CONTENDER_NONE);
	under_test->close(a);
	assert_int_equal(under_test->alloc(b, PAGE, 0), CONTENDER_NONE);
	a = opened(1023);
	assert_int_not_equal(under_test->alloc(a, PAGE, 0), CONTENDER_NONE);
	under_test->close(b);
	under_test->close(a);
}

static void sized_floor_refuses_a_second_free(void **state)
{
	void *ctx;
	uint64_t a;

	(void)state;
	under_test = &contender_floor_sized;
	ctx = opened(1023);
	a = under_test->alloc(ctx, PAGE, 0);
	under_test->free(ctx, a, 2 * PAGE);
	under_test->free(ctx, a, PAGE);
	under_test->free(ctx, a, PAGE);
	assert_int_equal(under_test->alloc(ctx, PAGE, 0), a);
	assert_int_not_equal(under_test->alloc(ctx, PAGE, 0), a);
	under_test->close(ctx);
}

static void has_names(void **state)
{
	(void)state;
	assert_ptr_equal(contender_find("rcache"), &contender_rcache_unbounded);
	assert_null(contender_find("nobody"));
	for (unsigned i = 0; contenders[i]; i++)
		assert_ptr_equal(contender_find(contenders[i]->name), contenders[i]);
}

int main(void)
{
	const struct CMUnitTest each[] = {
		cmocka_unit_test(reuses),
		cmocka_unit_test(keeps_ranges_apart),
		cmocka_unit_test(says_when_there_is_no_room),
		cmocka_unit_test(works_for_many_threads),
		cmocka_unit_test(counts_its_population),
		cmocka_unit_test(spaces_are_apart),
	};
	const struct CMUnitTest once[] = {
		cmocka_unit_test(sized_floor_refuses_a_second_free),
		cmocka_unit_test(has_names),
	};
	int failed = 0;

	for (unsigned i = 0; contenders[i]; i++) {
		under_test = contenders[i];
		/* Addresses of the contender's own have nothing to be held against. */
		failed += _cmocka_run_group_tests(under_test->name, each,
						  under_test->foreign ?
							  1 : sizeof(each) / sizeof(each[0]),
						  NULL, NULL);
	}
	return failed + cmocka_run_group_tests(once, NULL, NULL);
}
