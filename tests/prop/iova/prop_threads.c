// SPDX-License-Identifier: BSD-2-Clause
/*
 * Threads in one IOVA space: what any two hold at a time is disjoint, and of racing gives of one
 * range exactly one is accepted. Usage: prop-iova-threads [OPS [SEED]], or DRAY_OPS and DRAY_SEED;
 * operations are per thread. The seed is printed; the interleaving is the machine's.
 *
 * A board with one word for each granule is the judge. A thread marks what a call gave it after
 * the call, and wipes its marks before it gives anything back, so two marks that exclude each
 * other can meet only if the space handed out something twice.
 */
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <cmocka.h>

#include "../../unit/iova/iova_test.h"

#define GRANULES 2048u
#define BASE     (GIB(4) - 1024 * PAGE) /* half of it below 4 GiB */
#define WORKERS  3u
#define HELD     64u

/* Marks. Live ones are counted, so that two of them show; of the others one thread has all. */
#define AUTO      0x1u
#define ANY_AUTO  0xffu
#define FIXED     0x100u
#define ANY_FIXED 0xff00u
#define HOLE      0x10000u
#define WINDOW    0x20000u
#define HW        0x40000u

static uint64_t seed = 0x5eed, ops = 300000;
static struct dray_iova_space *s;
static _Atomic unsigned board[GRANULES];
static atomic_ulong collisions, wrong_answers, successes;

struct worker {
	pthread_t thread;
	uint64_t seed;
	unsigned number;
};

static unsigned index_of(uint64_t iova)
{
	return (unsigned)((iova - BASE) / PAGE);
}

/* Relaxed throughout: the space's lock orders marks against one another, that is what is tested. */
static void mark(uint64_t iova, uint64_t len, unsigned what, unsigned excludes)
{
	for (unsigned i = index_of(iova); i < index_of(iova) + len / PAGE; i++)
		if (atomic_fetch_add_explicit(&board[i], what, memory_order_relaxed) & excludes)
			atomic_fetch_add(&collisions, 1);
}

static void wipe(uint64_t iova, uint64_t len, unsigned what)
{
	for (unsigned i = index_of(iova); i < index_of(iova) + len / PAGE; i++)
		atomic_fetch_sub_explicit(&board[i], what, memory_order_relaxed);
}

static void check(bool right)
{
	if (!right)
		atomic_fetch_add(&wrong_answers, 1);
}

struct held {
	uint64_t iova, len;
	unsigned mark;
};

static void take_one(struct worker *w, struct held *ret_held)
{
	uint64_t dice = next_random(&w->seed);
	uint64_t len = (1 + dice / 16 % 16) * PAGE;
	dray_iova_t iova;

	if (dice % 4) {
		const struct dr_iova_request req = {
			.len = len,
			.align = PAGE << dice / 256 % 4,
			.last = dice & 0x10000 ? GIB(4) - 1 : DRAY_IOVA_NONE,
		};

		if (dr_iova_take(s, &req, &iova))
			return;
		mark(iova, len, AUTO, ~0u);
		*ret_held = (struct held){iova, len, AUTO};
	} else {
		iova = BASE + dice / 256 % (GRANULES - 16) * PAGE;
		if (dr_iova_take_fixed(s, iova, iova + len - 1))
			return;
		mark(iova, len, FIXED, ~WINDOW);
		*ret_held = (struct held){iova, len, FIXED};
	}
	atomic_fetch_add(&successes, 1);
}

static void give_one(struct held *h)
{
	bool fixed = false;

	check(dr_iova_is_live(s, h->iova, h->len, &fixed));
	check(fixed == (h->mark == FIXED));
	check(!dr_iova_give(s, h->iova, h->len + PAGE));
	wipe(h->iova, h->len, h->mark);
	check(dr_iova_give(s, h->iova, h->len));
	h->len = 0;
}

static void *work(void *arg)
{
	struct worker *w = arg;
	struct held held[HELD] = {{0}};

	for (uint64_t i = 0; i < ops; i++) {
		struct held *h = &held[next_random(&w->seed) % HELD];

		if (h->len)
			give_one(h);
		else
			take_one(w, h);
	}
	for (unsigned i = 0; i < HELD; i++)
		if (held[i].len)
			give_one(&held[i]);
	return NULL;
}

/* Reserve a range for a while. Fixed ranges in a window keep it until they are given back. */
static void reserve_one(struct worker *w, uint64_t first, uint64_t len)
{
	bool window = next_random(&w->seed) % 2;
	int err = dr_iova_resv(s, first, first + len - 1, window ? DR_RESV_FIXED : DR_RESV_HOLE);

	check(!err || err == -EEXIST);
	if (err)
		return;
	mark(first, len, window ? WINDOW : HOLE, window ? ANY_AUTO : ANY_AUTO | ANY_FIXED);
	atomic_fetch_add(&successes, 1);
	sched_yield();
	wipe(first, len, window ? WINDOW : HOLE);
	while ((err = dr_iova_unresv(s, first, first + len - 1)) == -EBUSY)
		sched_yield();
	check(!err);
}

/* Move the hardware's one hole to @first, unless something live is there. */
static void move_hole(struct held *hole, uint64_t first, uint64_t len)
{
	const struct dray_range usable[2] = {
		{BASE, first - 1},
		{first + len, BASE + GRANULES * PAGE - 1},
	};
	int err;

	wipe(hole->iova, hole->len, HW);
	err = dr_iova_set_usable(s, usable, 2);
	check(!err || err == -EEXIST);
	if (!err) {
		*hole = (struct held){first, len, HW};
		atomic_fetch_add(&successes, 1);
	}
	mark(hole->iova, hole->len, HW, ANY_AUTO | ANY_FIXED);
}

static void *reserve(void *arg)
{
	struct worker *w = arg;
	struct held hole = {BASE, 0, HW};

	for (uint64_t i = 0; i < ops / 2; i++) {
		uint64_t dice = next_random(&w->seed);
		uint64_t len = (1 + dice % 8) * PAGE;
		uint64_t first = BASE + (1 + dice / 16 % (GRANULES - 16)) * PAGE;

		if (dice >> 60)
			reserve_one(w, first, len);
		else
			move_hole(&hole, first, len);
	}
	return NULL;
}

static void what_threads_hold_is_disjoint(void **state)
{
	const struct dray_range all = {0, UINT64_MAX};
	struct worker worker[WORKERS];
	struct dr_iova_counts counts;

	(void)state;
	s = open_space(PAGE, BASE, BASE + GRANULES * PAGE - 1);
	for (unsigned i = 0; i < WORKERS; i++) {
		worker[i].seed = next_random(&seed) | 1;
		assert_int_equal(
			pthread_create(&worker[i].thread, NULL, i ? work : reserve, &worker[i]), 0);
	}
	for (unsigned i = 0; i < WORKERS; i++)
		pthread_join(worker[i].thread, NULL);
	assert_int_equal(collisions, 0);
	assert_int_equal(wrong_answers, 0);
	assert_true(successes > ops / 8); /* the space was not merely full or reserved */
	counts = counts_of(s);
	assert_int_equal(counts.live_ranges, 0);
	assert_int_equal(counts.live_bytes, 0);
	assert_true(dr_iova_space_is_valid(s));
	assert_int_equal(dr_iova_set_usable(s, &all, 1), 0);
	assert_int_equal(s->tree.pieces, 0);
	dray_iova_space_close(s);
}

#define SHARED 2000u

static uint64_t shared[SHARED];
static atomic_ulong accepted;
static pthread_barrier_t barrier;

/* Every thread gives back, or quarantines, all of the ranges, each in its own direction. */
static void *give_all(void *arg)
{
	struct worker *w = arg;

	pthread_barrier_wait(&barrier);
	for (unsigned i = 0; i < SHARED; i++) {
		uint64_t iova = shared[w->number % 2 ? SHARED - 1 - i : i];

		if (w->number == 2 ? dr_iova_quarantine(s, iova, PAGE)
				   : dr_iova_give(s, iova, PAGE))
			atomic_fetch_add(&accepted, 1);
	}
	return NULL;
}

static void one_of_racing_gives_wins(void **state)
{
	struct worker worker[WORKERS];
	struct dr_iova_counts counts;

	(void)state;
	if (!(SPACE_FLAGS))
		skip(); /* caches tell racing gives apart in debug mode only */
	for (unsigned round = 0; round < 10; round++) {
		s = open_space(PAGE, BASE, BASE + GRANULES * PAGE - 1);
		for (unsigned i = 0; i < SHARED; i++)
			shared[i] = take(s, PAGE, 0);
		accepted = 0;
		pthread_barrier_init(&barrier, NULL, WORKERS);
		for (unsigned i = 0; i < WORKERS; i++) {
			worker[i].number = i;
			assert_int_equal(
				pthread_create(&worker[i].thread, NULL, give_all, &worker[i]), 0);
		}
		for (unsigned i = 0; i < WORKERS; i++)
			pthread_join(worker[i].thread, NULL);
		pthread_barrier_destroy(&barrier);
		counts = counts_of(s);
		assert_int_equal(accepted, SHARED);
		assert_int_equal(counts.bad_frees, (WORKERS - 1) * SHARED);
		assert_int_equal(counts.live_ranges, 0);
		assert_true(dr_iova_space_is_valid(s));
		dray_iova_space_close(s);
	}
}

/* A number from the command line or the environment, in any base; 0 is the default. */
static uint64_t setting(const char *arg, const char *name, uint64_t otherwise)
{
	const char *text = arg ? arg : getenv(name);
	uint64_t value = text ? strtoull(text, NULL, 0) : 0;

	return value ? value : otherwise;
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_threads_hold_is_disjoint),
		cmocka_unit_test(one_of_racing_gives_wins),
	};

	ops = setting(argc > 1 ? argv[1] : NULL, "DRAY_OPS", ops);
	seed = setting(argc > 2 ? argv[2] : NULL, "DRAY_SEED", seed);
	printf("prop-iova-threads: %llu operations a thread, seed 0x%llx\n",
	       (unsigned long long)ops, (unsigned long long)seed);
	fflush(stdout);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
