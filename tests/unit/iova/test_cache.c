// SPDX-License-Identifier: BSD-2-Clause
/*
 * The caches in front of a space: what is cached and where it goes, limits, exhaustion, bad frees,
 * population, memory that fails, threads that leave, a kernel without membarrier.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <linux/membarrier.h>

#define SPACE_FLAGS flags
static unsigned flags;
#include "iova_test.h"

#include <dray/iova.h>

static struct dray_iova_stats stats_of(struct dray_iova_space *s)
{
	struct dray_iova_stats st = {.size = sizeof(st)};

	assert_int_equal(dray_iova_space_stats(s, &st), 0);
	return st;
}

static struct dray_iova_space *open_low(uint64_t bytes)
{
	return open_space(PAGE, GIB(1), GIB(1) + bytes - 1);
}

static void a_pair_touches_one_chunk(void **state)
{
	struct dray_iova_space *s = open_low(GIB(1));
	dray_iova_t first = take(s, PAGE, 0);
	struct dray_iova_stats st;

	(void)state;
	assert_int_equal(first, GIB(2) - PAGE); /* highest first */
	for (unsigned i = 0; i < 1000; i++) {
		assert_true(dr_iova_give(s, first, PAGE));
		assert_int_equal(take(s, PAGE, 0), first); /* last in, first out */
	}
	st = stats_of(s);
	assert_int_equal(st.refills, 1);
	assert_int_equal(st.chunks, 1);
	assert_int_equal(st.live_bytes, PAGE);
	assert_int_equal(st.live_ranges, 1);
	assert_int_equal(st.cached_bytes, 63 * PAGE);
	assert_int_equal(st.largest_free, GIB(1) - MIB(2));
	dray_iova_space_close(s);
}

/* Sizes up to a chunk are served from caches, with one call to the tree for many. */
static void every_order_and_33_pages_are_cached(void **state)
{
	static const unsigned pages[] = {1, 2, 4, 8, 16, 32, 33, 64, 128, 256, 512};

	(void)state;
	for (unsigned i = 0; i < sizeof(pages) / sizeof(pages[0]); i++) {
		struct dray_iova_space *s = open_low(GIB(1));
		uint64_t len = pages[i] * PAGE, visits;
		dray_iova_t iova = take(s, len, 0);

		visits = dr_iova_visits(s);
		for (unsigned k = 0; k < 100; k++) {
			assert_true(dr_iova_give(s, iova, len));
			iova = take(s, len, 0);
			assert_true(iova != DRAY_IOVA_NONE);
			if (pages[i] != 33)
				assert_int_equal(iova % len, 0);
		}
		assert_int_equal(dr_iova_visits(s), visits);
		assert_true(dr_iova_space_is_valid(s));
		dray_iova_space_close(s);
	}
}

static void wrong_and_second_frees_are_refused(void **state)
{
	(void)state;
	for (flags = 0; flags <= DR_IOVA_DEBUG; flags += DR_IOVA_DEBUG) {
		struct dray_iova_space *s = open_low(GIB(1));
		dray_iova_t one = take(s, PAGE, 0), four = take(s, 4 * PAGE, 0);
		dray_iova_t odd = take(s, 33 * PAGE, 0);

		assert_false(dr_iova_give(s, one, 2 * PAGE));
		assert_false(dr_iova_give(s, one + 1, PAGE));
		assert_false(dr_iova_give(s, one, PAGE + 1));
		assert_false(dr_iova_give(s, one, 0));
		assert_false(dr_iova_give(s, one - PAGE, PAGE)); /* cached, free */
		assert_false(dr_iova_give(s, four, PAGE));
		assert_false(dr_iova_give(s, four + PAGE, PAGE));
		assert_false(dr_iova_give(s, four + PAGE, 4 * PAGE));
		assert_false(dr_iova_give(s, odd, 34 * PAGE));
		assert_false(dr_iova_give(s, odd, 32 * PAGE));
		assert_false(dr_iova_give(s, odd + PAGE, 33 * PAGE));
		assert_false(dr_iova_give(s, 0, PAGE));
		assert_false(dr_iova_give(s, UINT64_MAX - PAGE + 1, PAGE));
		assert_false(dr_iova_give(s, GIB(2) - MIB(2), MIB(2))); /* a chunk's own piece */
		assert_true(dr_iova_is_live(s, one, PAGE, NULL));
		assert_true(dr_iova_give(s, one, PAGE));
		assert_false(dr_iova_give(s, one, PAGE));
		assert_true(dr_iova_give(s, four, 4 * PAGE));
		assert_false(dr_iova_give(s, four, 4 * PAGE));
		assert_true(dr_iova_give(s, odd, 33 * PAGE));
		assert_false(dr_iova_give(s, odd, 33 * PAGE));
		assert_int_equal(stats_of(s).bad_frees, 17);
		assert_int_equal(stats_of(s).live_bytes, 0);
		assert_true(dr_iova_space_is_valid(s));
		dray_iova_space_close(s);
	}
	flags = 0;
}

static void debug_mode_delays_reuse(void **state)
{
	struct dray_iova_space *s;
	dray_iova_t first;

	(void)state;
	flags = DR_IOVA_DEBUG;
	s = open_low(GIB(1));
	first = take(s, PAGE, 0);
	assert_true(dr_iova_give(s, first, PAGE));
	for (unsigned i = 0; i < 100; i++) {
		dray_iova_t other = take(s, PAGE, 0);

		assert_int_not_equal(other, first);
		assert_true(dr_iova_give(s, other, PAGE));
	}
	assert_true(dr_iova_space_is_valid(s));
	dray_iova_space_close(s);
	flags = 0;
}

static void quarantined_never_comes_back(void **state)
{
	struct dray_iova_space *s = open_low(MIB(4));
	dray_iova_t bad = take(s, PAGE, 0), iova;
	uint64_t n = 0;

	(void)state;
	assert_true(dr_iova_quarantine(s, bad, PAGE));
	assert_false(dr_iova_quarantine(s, bad, PAGE));
	assert_false(dr_iova_give(s, bad, PAGE));
	assert_int_equal(stats_of(s).quarantined_bytes, PAGE);
	assert_int_equal(stats_of(s).live_bytes, 0);
	while ((iova = take(s, PAGE, 0)) != DRAY_IOVA_NONE) {
		assert_int_not_equal(iova, bad);
		n++;
	}
	assert_int_equal(n, 1023);
	assert_true(dr_iova_space_is_valid(s));
	dray_iova_space_close(s);
}

/* 32-, 39-bit and free devices in one space: each gets what it can reach, none wastes the low. */
static void mixed_masks(void **state)
{
	struct dray_iova_space *s = open_space(PAGE, GIB(3), ((uint64_t)1 << 40) - 1);
	const uint64_t last[] = {GIB(4) - 1, ((uint64_t)1 << 39) - 1, DRAY_IOVA_NONE};
	static dray_iova_t held[3][300];

	(void)state;
	for (unsigned round = 0; round < 3; round++) {
		for (unsigned i = 0; i < 300; i++)
			for (unsigned k = 0; k < 3; k++) {
				held[k][i] = take_below(s, PAGE, 0, last[k]);
				assert_true(held[k][i] + (PAGE - 1) <= last[k]);
				/* None from a zone below its own. */
				assert_true(!k || held[k][i] > last[k - 1]);
			}
		for (unsigned i = 0; i < 300; i++)
			for (unsigned k = 0; k < 3; k++)
				assert_true(dr_iova_give(s, held[k][i], PAGE));
	}
	/* A limit that is nobody's zone. */
	for (unsigned i = 0; i < 300; i++) {
		held[0][i] = take_below(s, PAGE, 0, GIB(3) + MIB(300));
		assert_true(held[0][i] + (PAGE - 1) <= GIB(3) + MIB(300));
	}
	assert_true(dr_iova_space_is_valid(s));
	dray_iova_space_close(s);
}

/* A failed large request leaves the caches of narrow ones as good as they were. */
static void a_failed_request_poisons_nothing(void **state)
{
	struct dray_iova_space *s = open_low(GIB(1));
	dray_iova_t held[64];
	uint64_t visits;

	(void)state;
	for (unsigned i = 0; i < 64; i++)
		held[i] = take(s, PAGE << i % 4, 0);
	for (unsigned i = 0; i < 10; i++)
		assert_true(take(s, GIB(2), 0) == DRAY_IOVA_NONE);
	assert_int_equal(stats_of(s).splits, 0);
	assert_true(dr_iova_give(s, held[0], PAGE));
	held[0] = take(s, PAGE, 0);
	visits = dr_iova_visits(s);
	for (unsigned i = 0; i < 100; i++) {
		assert_true(dr_iova_give(s, held[0], PAGE));
		held[0] = take(s, PAGE, 0);
	}
	assert_int_equal(dr_iova_visits(s), visits);
	dray_iova_space_close(s);
}

/* 500, 12 and 499 pages of a full space; the 12 back, 13 do not fit; a 2 MiB one elsewhere does. */
static void cached_hint_does_not_mislead(void **state)
{
	struct dray_iova_space *s = open_low(GIB(1));
	dray_iova_t a, b, c, rest;

	(void)state;
	rest = take(s, GIB(1) - (1011 + 512) * PAGE, 0);
	assert_true(rest != DRAY_IOVA_NONE);
	a = take(s, 500 * PAGE, 0);
	b = take(s, 12 * PAGE, 0);
	c = take(s, 499 * PAGE, 0);
	assert_true(a != DRAY_IOVA_NONE && b != DRAY_IOVA_NONE && c != DRAY_IOVA_NONE);
	assert_true(dr_iova_give(s, b, 12 * PAGE));
	assert_true(take(s, 13 * PAGE, 0) != DRAY_IOVA_NONE);
	assert_true(take(s, 499 * PAGE, 0) != DRAY_IOVA_NONE);
	assert_true(take(s, 13 * PAGE, 0) == DRAY_IOVA_NONE);
	assert_true(take(s, 11 * PAGE, 0) != DRAY_IOVA_NONE ||
		    take(s, 5 * PAGE, 0) != DRAY_IOVA_NONE);
	assert_true(dr_iova_give(s, rest, GIB(1) - (1011 + 512) * PAGE));
	assert_true(take(s, MIB(2), MIB(2)) != DRAY_IOVA_NONE);
	assert_true(dr_iova_space_is_valid(s));
	dray_iova_space_close(s);
}

/* A mix of 4K to 1M, any page count, below 4 GiB: 95 % of 1 GiB is usable, also after churn. */
static void a_full_space_is_packed(void **state)
{
	static struct {
		dray_iova_t iova;
		uint64_t len;
	} held[20000];
	struct dray_iova_space *s = open_low(GIB(1));
	uint64_t seed = 42;
	unsigned n = 0;

	(void)state;
	for (unsigned round = 0; round < 4; round++) {
		for (;;) {
			uint64_t len = (1 + next_random(&seed) % 256) * PAGE;
			dray_iova_t iova = take_below(s, len, 0, GIB(4) - 1);

			if (iova == DRAY_IOVA_NONE)
				break;
			held[n].iova = iova;
			held[n++].len = len;
		}
		assert_true(stats_of(s).live_bytes >= GIB(1) / 100 * 95);
		assert_true(dr_iova_space_is_valid(s));
		for (unsigned k = n / 2; k; k--) {
			unsigned i = (unsigned)(next_random(&seed) % n);

			assert_true(dr_iova_give(s, held[i].iova, held[i].len));
			held[i] = held[--n];
		}
	}
	dray_iova_space_close(s);
}

/* More than natural alignment is had too, beside chunks and given back like anything else. */
static void alignment_above_natural(void **state)
{
	struct dray_iova_space *s = open_low(GIB(1));

	(void)state;
	for (uint64_t align = 2 * PAGE; align <= MIB(64); align *= 2) {
		dray_iova_t small = take(s, PAGE, 0), iova = take(s, PAGE, align);
		dray_iova_t odd = take(s, 33 * PAGE, align);

		assert_true(iova != DRAY_IOVA_NONE && odd != DRAY_IOVA_NONE);
		assert_int_equal(iova % align, 0);
		assert_int_equal(odd % align, 0);
		assert_false(dr_iova_give(s, odd, 32 * PAGE));
		assert_true(dr_iova_give(s, iova, PAGE));
		assert_true(dr_iova_give(s, odd, 33 * PAGE));
		assert_true(dr_iova_give(s, small, PAGE));
	}
	assert_int_equal(stats_of(s).live_bytes, 0);
	assert_true(dr_iova_space_is_valid(s));
	dray_iova_space_close(s);
}

/* Load moves from size to size: what one leaves behind is given up before the next one grows. */
static void population_follows_the_rule(void **state)
{
	const uint64_t load = MIB(256);
	struct dray_iova_space *s = open_low(GIB(16));
	struct dray_iova_stats st;
	dray_iova_t *held = malloc(load / PAGE * sizeof(*held));

	(void)state;
	assert_non_null(held);
	for (unsigned round = 0; round < 3; round++)
		for (unsigned order = 0; order < 10; order++) {
			uint64_t len = PAGE << order, n = load / len;

			for (uint64_t i = 0; i < n; i++)
				held[i] = take(s, len, 0);
			for (uint64_t i = 0; i < n; i++)
				assert_true(dr_iova_give(s, held[i], len));
			st = stats_of(s);
			assert_true(st.peak_population_bytes <=
				    (load + st.quota_bytes) / 4 * 5);
			assert_true(st.population_bytes <= st.peak_population_bytes);
			assert_true(dr_iova_space_is_valid(s));
		}
	assert_true(st.trims > 0);
	free(held);
	dray_iova_space_close(s);
}

/* 4 KiB addresses after a long random load lie in few leaf tables. */
static void tables_stay_dense(void **state)
{
	enum { LIVE = 20000 };
	static dray_iova_t held[LIVE];
	struct dray_iova_space *s = open_low(GIB(16));
	uint64_t seed = 7;

	(void)state;
	for (unsigned i = 0; i < LIVE; i++)
		held[i] = take(s, PAGE, 0);
	for (unsigned i = 0; i < 1000000; i++) {
		unsigned k = (unsigned)(next_random(&seed) % LIVE);

		/* In waves, so that the depot fills and empties. */
		if (held[k]) {
			assert_true(dr_iova_give(s, held[k], PAGE));
			held[k] = 0;
		} else if (i / 50000 % 2) {
			held[k] = take(s, PAGE, 0);
		}
	}
	assert_true(stats_of(s).chunks_ever <= 2 * ((LIVE + 511) / 512));
	assert_true(dr_iova_space_is_valid(s));
	dray_iova_space_close(s);
}

/* The same load, the nth allocation failing, until none does: every state on the way is whole. */
static void any_allocation_may_fail(void **state)
{
	long n = 0;
	bool failed = true;

	(void)state;
	use_test_memory();
	for (flags = 0; flags <= DR_IOVA_DEBUG; flags += DR_IOVA_DEBUG)
		for (n = 0, failed = true; failed; n++) {
			const struct dray_iova_opts opts = {
				.size = sizeof(opts),
				.first = GIB(1),
				.last = GIB(1) + MIB(16) - 1,
			};
			dray_iova_t held[600];
			struct dray_iova_space *s;
			uint64_t live = 0;

			memory.failures = 0;
			memory.until_failure = n;
			if (dr_iova_space_open(&opts, flags, &s)) {
				assert_int_equal(memory.outstanding, 0);
				continue;
			}
			for (unsigned i = 0; i < 600; i++) {
				uint64_t len = PAGE * (i % 7 == 3 ? 33 : 1u << i % 3);

				held[i] = take(s, len, 0);
				live += held[i] != DRAY_IOVA_NONE ? len : 0;
			}
			assert_int_equal(counts_of(s).live_bytes, live);
			/* Something that wants a drain and a split. */
			take(s, MIB(8), MIB(1));
			dr_iova_take_fixed(s, GIB(1) + MIB(15), GIB(1) + MIB(15) + PAGE - 1);
			dr_iova_resv(s, GIB(1) + PAGE, GIB(1) + 3 * PAGE - 1, DR_RESV_HOLE);
			assert_true(dr_iova_space_is_valid(s));
			for (unsigned i = 0; i < 600; i++)
				if (held[i] != DRAY_IOVA_NONE)
					assert_true(dr_iova_give(
						s, held[i],
						PAGE * (i % 7 == 3 ? 33 : 1u << i % 3)));
			assert_true(dr_iova_space_is_valid(s));
			failed = memory.failures;
			memory.until_failure = -1;
			dray_iova_space_close(s);
			assert_int_equal(memory.outstanding, 0);
		}
	flags = 0;
	dr_hooks = &dr_hooks_system;
	assert_true(n > 5);
}

static struct dray_iova_space *shared;
static pthread_barrier_t barrier;

static void *fill_and_leave(void *arg)
{
	dray_iova_t held[500];

	(void)arg;
	for (unsigned i = 0; i < 500; i++)
		held[i] = take(shared, PAGE, 0);
	for (unsigned i = 0; i < 500; i++)
		assert_true(dr_iova_give(shared, held[i], PAGE));
	return NULL;
}

static void a_thread_that_exits_keeps_nothing(void **state)
{
	pthread_t thread;

	(void)state;
	shared = open_low(MIB(16));
	for (unsigned i = 0; i < 20; i++) {
		pthread_create(&thread, NULL, fill_and_leave, NULL);
		pthread_join(thread, NULL);
		assert_int_equal(stats_of(shared).quota_bytes, 0);
		assert_true(dr_iova_space_is_valid(shared));
	}
	assert_true(stats_of(shared).chunks_ever <= 2);
	dray_iova_space_close(shared);
}

static void *fill_and_wait(void *arg)
{
	fill_and_leave(arg);
	pthread_barrier_wait(&barrier);
	pthread_barrier_wait(&barrier);
	return NULL;
}

/* What another, sleeping thread caches is had before anything is refused. */
static void drain_another_thread(void)
{
	pthread_t thread;

	shared = open_low(MIB(4));
	pthread_barrier_init(&barrier, NULL, 2);
	pthread_create(&thread, NULL, fill_and_wait, NULL);
	pthread_barrier_wait(&barrier);
	assert_true(stats_of(shared).cached_bytes > 0);
	/* A reservation over cached, free addresses is not refused. */
	assert_int_equal(dr_iova_resv(shared, GIB(1), GIB(1) + MIB(4) - 1, DR_RESV_HOLE), 0);
	assert_int_equal(dr_iova_unresv(shared, GIB(1), GIB(1) + MIB(4) - 1), 0);
	assert_int_equal(stats_of(shared).drains, 1);
	pthread_barrier_wait(&barrier);
	pthread_join(thread, NULL);
	pthread_create(&thread, NULL, fill_and_wait, NULL);
	pthread_barrier_wait(&barrier);
	assert_true(take(shared, MIB(4), 0) == GIB(1));
	assert_true(take(shared, PAGE, 0) == DRAY_IOVA_NONE);
	pthread_barrier_wait(&barrier);
	pthread_join(thread, NULL);
	pthread_barrier_destroy(&barrier);
	dray_iova_space_close(shared);
}

static void exhaustion_drains_other_threads(void **state)
{
	(void)state;
	drain_another_thread();
}

static int refuse(int command)
{
	(void)command;
	errno = ENOSYS;
	return -1;
}

static void works_without_membarrier(void **state)
{
	(void)state;
	test_hooks = dr_hooks_system;
	test_hooks.membarrier = refuse;
	dr_hooks = &test_hooks;
	drain_another_thread();
	dr_hooks = &dr_hooks_system;
}

static int refuse_later(int command)
{
	return command == MEMBARRIER_CMD_PRIVATE_EXPEDITED ? refuse(command) : 0;
}

/* Agreed at open and refused later: the call fails, the space is whole. */
static void survives_a_late_refusal(void **state)
{
	pthread_t thread;

	(void)state;
	test_hooks = dr_hooks_system;
	test_hooks.membarrier = refuse_later;
	dr_hooks = &test_hooks;
	shared = open_low(MIB(4));
	pthread_barrier_init(&barrier, NULL, 2);
	pthread_create(&thread, NULL, fill_and_wait, NULL);
	pthread_barrier_wait(&barrier);
	assert_true(take(shared, MIB(4), 0) == DRAY_IOVA_NONE);
	assert_int_equal(dr_iova_resv(shared, GIB(1), GIB(1) + MIB(4) - 1, DR_RESV_HOLE), -EEXIST);
	pthread_barrier_wait(&barrier);
	pthread_join(thread, NULL);
	dr_hooks = &dr_hooks_system;
	assert_true(dr_iova_space_is_valid(shared));
	assert_true(take(shared, MIB(4), 0) == GIB(1));
	pthread_barrier_destroy(&barrier);
	dray_iova_space_close(shared);
}

static void *give_one(void *arg)
{
	assert_true(dr_iova_give(shared, *(dray_iova_t *)arg, PAGE));
	return NULL;
}

static void *take_one(void *arg)
{
	*(dray_iova_t *)arg = take(shared, PAGE, 0);
	return NULL;
}

/* A thread that only gives allocates nothing. */
static void a_remote_give_allocates_nothing(void **state)
{
	dray_iova_t iova;
	pthread_t thread;
	long calls;

	(void)state;
	use_test_memory();
	shared = open_low(MIB(16));
	for (unsigned i = 0; i < 50; i++) {
		pthread_create(&thread, NULL, take_one, &iova);
		pthread_join(thread, NULL);
		calls = memory.calls;
		pthread_create(&thread, NULL, give_one, &iova);
		pthread_join(thread, NULL);
		assert_int_equal(memory.calls, calls);
	}
	assert_int_equal(counts_of(shared).live_bytes, 0);
	assert_true(dr_iova_space_is_valid(shared));
	dray_iova_space_close(shared);
	assert_int_equal(memory.outstanding, 0);
	dr_hooks = &dr_hooks_system;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_pair_touches_one_chunk),
		cmocka_unit_test(every_order_and_33_pages_are_cached),
		cmocka_unit_test(wrong_and_second_frees_are_refused),
		cmocka_unit_test(debug_mode_delays_reuse),
		cmocka_unit_test(quarantined_never_comes_back),
		cmocka_unit_test(mixed_masks),
		cmocka_unit_test(a_failed_request_poisons_nothing),
		cmocka_unit_test(cached_hint_does_not_mislead),
		cmocka_unit_test(a_full_space_is_packed),
		cmocka_unit_test(alignment_above_natural),
		cmocka_unit_test(population_follows_the_rule),
		cmocka_unit_test(tables_stay_dense),
		cmocka_unit_test(any_allocation_may_fail),
		cmocka_unit_test(a_thread_that_exits_keeps_nothing),
		cmocka_unit_test(exhaustion_drains_other_threads),
		cmocka_unit_test(works_without_membarrier),
		cmocka_unit_test(survives_a_late_refusal),
		cmocka_unit_test(a_remote_give_allocates_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
