// SPDX-License-Identifier: BSD-2-Clause
/*
 * The caches of an IOVA space under threads: random takes, gives and retirements of all sizes,
 * gives by others than the taker, threads that come and go, limits, reservations, held gaps,
 * exhaustion.
 * Usage: prop-iova-cache [OPS [SEED]], or DRAY_OPS and DRAY_SEED; all threads' operations together.
 * The seed is printed; the interleaving is the machine's.
 *
 * The judge is a bitmap with one bit for each granule. A thread sets the bits of what it got, which
 * must all have been 0, and clears them before it gives, so a granule that is handed out twice
 * shows. In the end nothing may be live, every invariant hold, and the space be one gap again.
 *
 * One more thread looks at the heat map all the time: each cell must add up to its granules then,
 * and be what the bitmap says as soon as the others are done.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <unistd.h>
#include <cmocka.h>

#define SPACE_FLAGS 0
#include "../../unit/iova/iova_test.h"
#include "heat.h"

#define BASE     (GIB(4) - MIB(256)) /* below 4 GiB a quarter, above it the rest */
#define GRANULES (MIB(1024) / PAGE)
#define HELD     256u
#define MAILBOX  512u
#define MAX_THREADS 8u

static uint64_t seed = 0x5eed, ops = 12000000;
static struct dray_iova_space *s;
static _Atomic uint64_t bitmap[GRANULES / 64];
static atomic_ulong doubled, refused, no_room, remote, held_gaps;

struct range {
	uint64_t iova, len;
	bool retired;
};

/* Ranges on their way from one thread to another: a slot is taken and filled by exchange. */
static _Atomic uint64_t mailbox[MAILBOX];

/* Set or clear the bits of a range; each must change. */
static void mark(struct range r, bool live)
{
	uint64_t i = (r.iova - BASE) / PAGE;

	for (uint64_t n = r.len / PAGE; n; n--, i++) {
		uint64_t bit = UINT64_C(1) << i % 64;
		/* Relaxed: the space orders marks against one another, that is what is tested. */
		uint64_t was = live ? atomic_fetch_or_explicit(&bitmap[i / 64], bit,
							       memory_order_relaxed) :
				      atomic_fetch_and_explicit(&bitmap[i / 64], ~bit,
								memory_order_relaxed);

		if (!(was & bit) != live)
			atomic_fetch_add(&doubled, 1);
	}
}

static void check(bool right)
{
	if (!right)
		atomic_fetch_add(&refused, 1);
}

/* By one of the ways there are; @dice says which. */
static void give(struct range r, uint64_t dice)
{
	if (!r.retired && dice % 4 == 0) {
		check(dr_iova_retire(s, r.iova, r.len));
		check(!dr_iova_is_live(s, r.iova, r.len, NULL));
		r.retired = true;
	}
	mark(r, false);
	if (!r.retired)
		check(dr_iova_give(s, r.iova, r.len));
	else if (dice % 8 < 4)
		check(dr_iova_give_retired(s, r.iova, r.len));
	else
		check(dr_iova_give_retired_home(s, r.iova, r.len));
}

/* Mostly small powers of two, some odd ones, few that are large. */
static uint64_t some_pages(uint64_t dice)
{
	switch (dice % 16) {
	case 0:
		return 1 + dice / 16 % 700;
	case 1:
		return 33;
	case 2:
	case 3:
		return 1 + dice / 16 % 20;
	case 4:
	case 5:
		return UINT64_C(1) << dice / 16 % 10;
	default:
		return UINT64_C(1) << dice / 16 % 3;
	}
}

static struct range take_some(uint64_t dice)
{
	struct range r = {0, some_pages(dice) * PAGE, false};
	struct dr_iova_request req = {
		.len = r.len,
		.align = PAGE,
		.last = DRAY_IOVA_NONE,
	};

	dice >>= 20;
	if (dice % 4 == 0)
		req.last = GIB(4) - 1;
	if (dice % 16 == 1)
		req.last = BASE + dice / 16 % MIB(512);
	if (dice % 8 == 2)
		req.align = PAGE << dice / 16 % 10;
	if (dr_iova_take(s, &req, &r.iova)) {
		atomic_fetch_add(&no_room, 1);
		return (struct range){0, 0, false};
	}
	if (r.iova % req.align || r.iova < BASE || r.iova + (r.len - 1) > req.last)
		atomic_fetch_add(&doubled, 1);
	mark(r, true);
	return r;
}

/* A range in one word: granules in the low 12 bits, and whether it is retired in the top one. */
#define RETIRED (UINT64_C(1) << 63)

static uint64_t pack(struct range r)
{
	return r.iova | r.len / PAGE | (r.retired ? RETIRED : 0);
}

static struct range unpack(uint64_t word)
{
	return (struct range){word & ~(PAGE - 1) & ~RETIRED, (word & (PAGE - 1)) * PAGE,
			      word & RETIRED};
}

struct worker {
	pthread_t thread;
	uint64_t seed, ops;
	unsigned kind;
};

static void give_remote(uint64_t dice, struct range r)
{
	uint64_t old;

	if (dice % 8 < 4) {
		check(dr_iova_retire(s, r.iova, r.len));
		r.retired = true;
	}
	old = atomic_exchange(&mailbox[dice / 64 % MAILBOX], pack(r));
	if (old) {
		atomic_fetch_add(&remote, 1);
		give(unpack(old), dice / 16);
	}
}

static void *work(void *arg)
{
	struct worker *w = arg;
	struct range held[HELD] = {{0, 0, false}};

	for (uint64_t i = 0; i < w->ops; i++) {
		uint64_t dice = next_random(&w->seed);
		struct range *h = &held[dice % HELD];

		dice >>= 8;
		if (!h->len) {
			*h = take_some(dice);
		} else {
			if (dice % 4)
				give(*h, dice / 16);
			else
				give_remote(dice, *h);
			h->len = 0;
		}
	}
	for (unsigned i = 0; i < HELD; i++)
		if (held[i].len)
			give(held[i], 1);
	return NULL;
}

/* Only empties the mailbox: a thread that has never taken anything. */
static void *sweep(void *arg)
{
	struct worker *w = arg;

	for (uint64_t i = 0; i < w->ops; i++) {
		uint64_t dice = next_random(&w->seed);
		uint64_t word = atomic_exchange(&mailbox[dice % MAILBOX], 0);

		if (word)
			give(unpack(word), dice / MAILBOX);
	}
	return NULL;
}

/* Reservations come and go; the range must be free of marks while it is held. */
static void *reserve(void *arg)
{
	struct worker *w = arg;

	for (uint64_t i = 0; i < w->ops / 500; i++) {
		uint64_t dice = next_random(&w->seed);
		struct range r = {BASE + dice % (GRANULES - 16) * PAGE,
				  (1 + dice / 4096 % 16) * PAGE, false};

		/* As a flusher does, far more often, for it is cheap. */
		for (unsigned k = 0; k < 200; k++) {
			struct range gap = {BASE + next_random(&w->seed) % (GRANULES - 16) * PAGE,
					    PAGE << k % 4, false};

			gap.iova &= ~(gap.len - 1);
			if (gap.iova < BASE ||
			    !dr_iova_hold_gap(s, gap.iova, gap.iova + gap.len - 1))
				continue;
			mark(gap, true);
			atomic_fetch_add(&held_gaps, 1);
			mark(gap, false);
			check(dr_iova_give(s, gap.iova, gap.len));
		}
		if (dice >> 63) {
			if (dr_iova_resv(s, r.iova, r.iova + r.len - 1, DR_RESV_HOLE))
				continue;
			mark(r, true);
			mark(r, false);
			if (dr_iova_unresv(s, r.iova, r.iova + r.len - 1))
				atomic_fetch_add(&refused, 1);
		} else {
			if (dr_iova_take_fixed(s, r.iova, r.iova + r.len - 1))
				continue;
			mark(r, true);
			give(r, dice / 65536);
		}
	}
	return NULL;
}

#define CELLS 61u

static atomic_bool others_are_done;
static atomic_ulong looks;

/* Granules of the space in cell @k. */
static uint64_t size_of(unsigned k, uint64_t granules)
{
	return granules / CELLS + (k < granules % CELLS);
}

static void *look(void *arg)
{
	const uint64_t granules = *(const uint64_t *)arg;
	struct dray_iova_cell cells[CELLS];

	while (!atomic_load(&others_are_done)) {
		check(!dray_iova_space_heat(s, BASE, BASE + granules * PAGE - 1, CELLS, cells));
		for (unsigned k = 0; k < CELLS; k++)
			check(heat_granules(&cells[k]) == size_of(k, granules));
		atomic_fetch_add(&looks, 1);
		usleep(300);
	}
	return NULL;
}

/* Everything that is marked is live or retired, and where it is marked. */
static void heat_is_the_bitmap(uint64_t granules)
{
	struct dray_iova_cell cells[CELLS];
	uint64_t at = 0;

	assert_int_equal(dray_iova_space_heat(s, BASE, BASE + granules * PAGE - 1, CELLS, cells),
			 0);
	for (unsigned k = 0; k < CELLS; k++) {
		uint64_t used = 0, end = at + size_of(k, granules);

		assert_int_equal(cells[k].first, BASE + at * PAGE);
		for (; at < end; at++)
			used += bitmap[at / 64] >> at % 64 & 1;
		assert_int_equal(cells[k].live + cells[k].retired, used);
	}
	heat_is_the_statistics(s, PAGE);
}

static void run_threads(unsigned n, uint64_t each)
{
	uint64_t granules = (dr_iova_window(s).last - BASE) / PAGE + 1;
	pthread_t looker;

	static void *(*const kinds[MAX_THREADS])(void *) = {
		work, work, reserve, work, sweep, work, work, work,
	};
	struct worker w[MAX_THREADS];

	for (unsigned i = 0; i < n; i++) {
		w[i] = (struct worker){.seed = next_random(&seed) | 1, .ops = each};
		assert_int_equal(pthread_create(&w[i].thread, NULL, kinds[i], &w[i]), 0);
	}
	atomic_store(&others_are_done, false);
	assert_int_equal(pthread_create(&looker, NULL, look, &granules), 0);
	for (unsigned i = 0; i < n; i++)
		pthread_join(w[i].thread, NULL);
	atomic_store(&others_are_done, true);
	pthread_join(looker, NULL);
	assert_int_equal(doubled, 0);
	assert_int_equal(refused, 0);
	heat_is_the_bitmap(granules);
	assert_true(dr_iova_space_is_valid(s));
}

/* Everything given back, and the space as if it had never been used. */
static void close_empty(void)
{
	const struct dray_range all = {0, UINT64_MAX};
	struct dr_iova_counts counts;

	for (unsigned i = 0; i < MAILBOX; i++) {
		uint64_t word = atomic_exchange(&mailbox[i], 0);

		if (word)
			give(unpack(word), 1);
	}
	for (unsigned i = 0; i < GRANULES / 64; i++)
		assert_int_equal(bitmap[i], 0);
	counts = counts_of(s);
	assert_int_equal(counts.live_ranges, 0);
	assert_int_equal(counts.live_bytes, 0);
	assert_int_equal(counts.bad_frees, 0);
	assert_int_equal(dr_iova_set_usable(s, &all, 1), 0);
	/* The largest request there can be: only if every cache lets go. */
	assert_true(take(s, GRANULES * PAGE, PAGE) == BASE);
	assert_true(dr_iova_space_is_valid(s));
	dray_iova_space_close(s);
}

static void nothing_is_handed_out_twice(void **state)
{
	struct dray_iova_stats st = {.size = sizeof(st)};

	(void)state;
	s = open_space(PAGE, BASE, BASE + GRANULES * PAGE - 1);
	/* Each round starts new threads: they find what those before them left. */
	for (unsigned n = 1; n <= MAX_THREADS; n++)
		for (unsigned round = 0; round < 4; round++)
			run_threads(n, ops / (4 * MAX_THREADS * n));
	assert_int_equal(dray_iova_space_stats(s, &st), 0);
	printf("refills %llu trims %llu drains %llu splits %llu, no room %lu, remote %lu, "
	       "held %lu, looks %lu\n",
	       (unsigned long long)st.refills, (unsigned long long)st.trims,
	       (unsigned long long)st.drains, (unsigned long long)st.splits, no_room, remote,
	       held_gaps, looks);
	assert_true(ops < 100000 || (held_gaps && looks));
	/* All threads are gone, so is their quota. */
	assert_int_equal(st.quota_bytes, 0);
	close_empty();
}

/* The same where there is hardly any room: drains all the time. */
static void nothing_is_lost_when_full(void **state)
{
	(void)state;
	s = open_space(PAGE, BASE, BASE + MIB(16) - 1);
	no_room = 0;
	for (unsigned round = 0; round < 3; round++)
		run_threads(4, ops / 400);
	assert_true(ops < 100000 || no_room > 0);
	for (unsigned i = 0; i < MAILBOX; i++) {
		uint64_t word = atomic_exchange(&mailbox[i], 0);

		if (word)
			give(unpack(word), 1);
	}
	assert_true(dr_iova_space_is_valid(s));
	assert_true(take(s, MIB(16), PAGE) == BASE);
	dray_iova_space_close(s);
}

static uint64_t setting(const char *arg, const char *name, uint64_t otherwise)
{
	const char *text = arg ? arg : getenv(name);
	uint64_t value = text ? strtoull(text, NULL, 0) : 0;

	return value ? value : otherwise;
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nothing_is_handed_out_twice),
		cmocka_unit_test(nothing_is_lost_when_full),
	};

	ops = setting(argc > 1 ? argv[1] : NULL, "DRAY_OPS", ops);
	seed = setting(argc > 2 ? argv[2] : NULL, "DRAY_SEED", seed);
	printf("prop-iova-cache: %llu operations, seed 0x%llx\n", (unsigned long long)ops,
	       (unsigned long long)seed);
	fflush(stdout);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
