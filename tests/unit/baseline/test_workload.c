// SPDX-License-Identifier: BSD-2-Clause
/* The workloads: the same sequence for everyone, and what a world counts. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "baseline/contender.h"
#include "workload/run.h"
#include "workload/world.h"

/* A contender that writes down what it is asked; it never reuses an address. */
static struct {
	uint64_t hash, takes, gives, next, out, peak;
} log_now;

static void remember(uint64_t what)
{
	log_now.hash = (log_now.hash ^ what) * UINT64_C(0x100000001b3);
}

static int log_open(uint64_t first, uint64_t last, void **ret_ctx)
{
	(void)last;
	memset(&log_now, 0, sizeof(log_now));
	log_now.next = first;
	*ret_ctx = &log_now;
	return 0;
}

static void log_close(void *ctx)
{
	(void)ctx;
}

static uint64_t log_take(void *ctx, size_t len, uint64_t last)
{
	uint64_t iova = log_now.next;

	(void)ctx;
	remember(len);
	remember(last);
	log_now.next += len;
	log_now.takes++;
	log_now.out++;
	if (log_now.peak < log_now.out)
		log_now.peak = log_now.out;
	return iova;
}

static void log_give(void *ctx, uint64_t iova, size_t len)
{
	(void)ctx;
	remember(iova);
	remember(len);
	log_now.gives++;
	log_now.out--;
}

static void log_population(void *ctx, struct contender_population *ret_population)
{
	(void)ctx;
	*ret_population = (struct contender_population){ log_now.out, 0, 0 };
}

static int log_run(void *ctx, struct workload_thread *t, uint64_t n)
{
	return workload_run(t, n, ctx, log_take, log_give);
}

static const struct contender contender_log = {
	"log", "writes down", false, log_open, log_close, log_take, log_give, log_population,
	log_run,
};

static struct workload_world *opened(const struct contender *c, const char *workload,
				     unsigned threads, size_t live)
{
	struct workload_world *world;

	assert_int_equal(workload_world_open(c, workload_find(workload), threads, live, &world), 0);
	return world;
}

static void is_deterministic(void **state)
{
	(void)state;
	for (const struct workload *w = workloads; w->name; w++) {
		uint64_t hashes[2], in_pieces;

		for (int round = 0; round < 2; round++) {
			struct workload_world *world = opened(&contender_log, w->name, 1, 0);

			assert_int_equal(workload_world_run(world, 0, 60000), 0);
			hashes[round] = log_now.hash;
			workload_world_close(world);
			assert_int_equal(log_now.out, 0);
		}
		assert_int_equal(hashes[0], hashes[1]);
		/* Where a run is cut changes batches only. */
		if (w->batch == 1) {
			struct workload_world *world = opened(&contender_log, w->name, 1, 0);

			for (unsigned i = 0; i < 600; i++)
				assert_int_equal(workload_world_run(world, 0, 100), 0);
			in_pieces = log_now.hash;
			workload_world_close(world);
			assert_int_equal(in_pieces, hashes[0]);
		}
	}
}

/* An operation is one taken and, once the queues are full, one given back. */
static void an_operation_is_a_pair(void **state)
{
	(void)state;
	for (const struct workload *w = workloads; w->name; w++) {
		struct workload_world *world = opened(&contender_log, w->name, 1, 0);
		uint64_t takes, gives;

		/* Whole bursts, and long enough for random victims to fill every place. */
		assert_int_equal(workload_world_run(world, 0, 2000000), 0);
		takes = log_now.takes;
		gives = log_now.gives;
		assert_int_equal(workload_world_run(world, 0, 100000), 0);
		assert_int_equal(log_now.takes - takes, 100000);
		if (w->shape == WORKLOAD_HELD) /* in flushes of all that is held back */
			assert_in_range(log_now.gives - gives,
					100000 - WORKLOAD_CPUS * WORKLOAD_HELD_BACK,
					100000 + WORKLOAD_CPUS * WORKLOAD_HELD_BACK);
		else
			assert_int_equal(log_now.gives - gives, 100000);
		workload_world_close(world);
	}
}

/* Sizes come in the shares that the table says. */
static void draws_keep_their_shares(void **state)
{
	static const struct workload_size sizes[] = {
		{ 512, 1, 1 }, { 256, 2, 5 }, { 128, 9, 9 }, { 0 },
	};
	uint32_t pages[WORKLOAD_DRAWS];
	unsigned count[10] = { 0 };

	(void)state;
	workload_draws(sizes, pages);
	for (unsigned i = 0; i < WORKLOAD_DRAWS; i++) {
		assert_true(pages[i] < 10);
		count[pages[i]]++;
	}
	/* 128 draws are left to the first size. */
	assert_int_equal(count[1], 640);
	for (unsigned size = 2; size <= 5; size++)
		assert_int_equal(count[size], 64);
	assert_int_equal(count[9], 128);
	for (const struct workload *w = workloads; w->name; w++) {
		unsigned share = 0;

		for (const struct workload_size *s = w->sizes; s->share; s++)
			share += s->share;
		assert_int_equal(share, WORKLOAD_DRAWS);
	}
}

static void counts_what_is_out(void **state)
{
	struct workload_world *world = opened(&contender_log, "W0", 1, 1000);
	struct workload_sight now, seen;

	(void)state;
	assert_int_equal(log_now.out, 1000);
	assert_int_equal(workload_world_run(world, 0, 10), 0);
	workload_world_look(world, &now);
	/* The pair counts as it was inside the loop. */
	assert_int_equal(now.live, 1001);
	assert_int_equal(now.population, 1000);
	workload_world_close(world);

	/* One-page ranges at ever new places: 512 of them in a leaf table. */
	world = opened(&contender_log, "W1", 1, 0);
	assert_int_equal(workload_world_run(world, 0, 100000), 0);
	workload_world_look(world, &now);
	assert_int_equal(now.live, 512);
	assert_int_equal(now.live_pgs, 512);
	assert_in_range(now.leaf_tables, 1, 512);
	workload_world_look(world, NULL);
	workload_world_seen(world, &seen);
	assert_int_equal(seen.leaf_tables, now.leaf_tables);
	assert_int_equal(workload_world_run(world, 0, 100000), 0);
	workload_world_look(world, &now);
	workload_world_seen(world, &seen);
	assert_true(seen.leaf_tables > now.leaf_tables);
	workload_world_forget(world);
	workload_world_look(world, &now);
	workload_world_seen(world, &seen);
	assert_int_equal(seen.leaf_tables, now.leaf_tables);
	workload_world_close(world);
	assert_int_equal(log_now.out, 0);
}

static void a_burst_counts_whole(void **state)
{
	struct workload_world *world = opened(&contender_log, "W8", 1, 0);
	struct workload_sight now;

	(void)state;
	assert_int_equal(workload_world_run(world, 0, 15000), 0);
	workload_world_look(world, &now);
	assert_int_equal(now.live, 20000);
	workload_world_close(world);
	assert_int_equal(log_now.out, 0);
}

static void random_victims_are_the_live_ones(void **state)
{
	struct workload_world *world = opened(&contender_log, "W11", 2, 3000);

	(void)state;
	assert_int_equal(log_now.out, 3000);
	assert_int_equal(workload_world_run(world, 0, 5000), 0);
	assert_int_equal(log_now.out, 3000);
	workload_world_close(world);
	assert_int_equal(log_now.out, 0);
	world = opened(&contender_log, "W11", 1, 0);
	assert_int_equal(log_now.out, WORKLOAD_LIVE_DEFAULT);
	workload_world_close(world);
}

/* Every contender, every workload, on three threads: one of them has no partner. */
struct runner {
	struct workload_world *world;
	unsigned thread;
	int err;
};

static void *run_thread(void *arg)
{
	struct runner *r = arg;

	r->err = workload_world_run(r->world, r->thread, 30000);
	return NULL;
}

static void runs_on_threads(void **state)
{
	enum { THREADS = 3 };

	(void)state;
	for (const struct workload *w = workloads; w->name; w++) {
		for (unsigned c = 0; contenders[c]; c++) {
			struct workload_world *world;
			struct runner runners[THREADS];
			pthread_t threads[THREADS];
			struct workload_sight now;

			/* What has no limits and little room has the small ones only. */
			if (contenders[c]->foreign && w->shape != WORKLOAD_PAIR &&
			    w->shape != WORKLOAD_REMOTE)
				continue;
			world = opened(contenders[c], w->name, THREADS, 1000);
			for (unsigned i = 0; i < THREADS; i++) {
				runners[i] = (struct runner){ world, i, 0 };
				assert_int_equal(pthread_create(&threads[i], NULL, run_thread,
								&runners[i]), 0);
			}
			for (unsigned i = 0; i < THREADS; i++) {
				pthread_join(threads[i], NULL);
				assert_int_equal(runners[i].err, 0);
			}
			workload_world_look(world, &now);
			/* What is out was taken; of these shapes it is back, and counts. */
			if (w->shape != WORKLOAD_PAIR && w->shape != WORKLOAD_BURST &&
			    w->shape != WORKLOAD_REMOTE)
				assert_true(now.population >= now.live);
			assert_true(now.live > 0);
			workload_world_close(world);
		}
	}
}

/*
 * What W7 holds back is out until its CPU's queue is full or the timer comes. Between two ticks
 * queues are filled more than once; at a tick half of their places are taken, give or take.
 */
static void the_timer_flushes(void **state)
{
	struct workload_world *world = opened(&contender_log, "W7", 1, 0);
	struct workload_sight now, seen;

	(void)state;
	assert_int_equal(workload_world_run(world, 0, WORKLOAD_TICK), 0);
	assert_int_equal(log_now.out, 256);
	assert_int_equal(workload_world_run(world, 0, WORKLOAD_TICK - 1), 0);
	assert_in_range(log_now.out, WORKLOAD_CPUS * WORKLOAD_HELD_BACK / 4,
			WORKLOAD_CPUS * WORKLOAD_HELD_BACK * 3 / 4);
	assert_true(log_now.gives > WORKLOAD_TICK);
	assert_int_equal(workload_world_run(world, 0, 1), 0);
	assert_int_equal(log_now.out, 256);
	workload_world_look(world, &now);
	assert_int_equal(now.live, 256);
	/* What was out before a tick was seen by no look, and counts. */
	workload_world_seen(world, &seen);
	assert_int_equal(seen.live, log_now.peak);
	workload_world_close(world);
	assert_int_equal(log_now.out, 0);
}

/* A consumer whose producer never comes makes pairs alone instead of waiting for ever. */
static void waits_for_a_partner_only_so_long(void **state)
{
	struct workload_world *world = opened(&contender_log, "W10", 2, 0);

	(void)state;
	assert_int_equal(workload_world_run(world, 1, WORKLOAD_SHORT), 0);
	assert_int_equal(log_now.out, 0);
	assert_int_equal(log_now.takes, 2 * WORKLOAD_SHORT);
	for (unsigned i = 0; i < 2 * WORKLOAD_RING / WORKLOAD_SHORT; i++)
		assert_int_equal(workload_world_run(world, 0, WORKLOAD_SHORT), 0);
	assert_int_equal(log_now.out, WORKLOAD_RING);
	workload_world_close(world);
	assert_int_equal(log_now.out, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(is_deterministic),
		cmocka_unit_test(an_operation_is_a_pair),
		cmocka_unit_test(draws_keep_their_shares),
		cmocka_unit_test(counts_what_is_out),
		cmocka_unit_test(a_burst_counts_whole),
		cmocka_unit_test(random_victims_are_the_live_ones),
		cmocka_unit_test(runs_on_threads),
		cmocka_unit_test(the_timer_flushes),
		cmocka_unit_test(waits_for_a_partner_only_so_long),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
