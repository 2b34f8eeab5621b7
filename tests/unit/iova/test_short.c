// SPDX-License-Identifier: BSD-2-Clause
/*
 * Ranges that are no powers of two, in spaces that reach above 4 GiB: there they lie in slots of
 * the next power of two. They are cached, they are what they were asked for and nothing else, and
 * what they leave of their slots is lost to nobody. Below 4 GiB nothing is rounded.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#define SPACE_FLAGS flags
static unsigned flags;
#include "iova_test.h"

#include <dray/iova.h>

/* The reach of 39 bits, where the second zone ends. */
#define REACH_39 (UINT64_C(1) << 39)

static struct dray_iova_stats stats_of(struct dray_iova_space *s)
{
	struct dray_iova_stats st = {.size = sizeof(st)};

	assert_int_equal(dray_iova_space_stats(s, &st), 0);
	return st;
}

static struct dray_iova_space *open_high(size_t granule, uint64_t bytes)
{
	return open_space(granule, GIB(8), GIB(8) + bytes - 1);
}

static void close_valid(struct dray_iova_space *s)
{
	assert_true(dr_iova_space_is_valid(s));
	dray_iova_space_close(s);
}

static bool is_odd(uint64_t n)
{
	return n & (n - 1);
}

/* One call to the tree for many, whatever the size, whichever the zone, and aligned besides. */
static void every_size_is_cached(void **state)
{
	static const uint64_t last[] = {DRAY_IOVA_NONE, REACH_39 - 1};

	(void)state;
	for (unsigned z = 0; z < 2; z++)
		for (uint64_t n = 3; n < 512; n += 1 + n / 16) {
			struct dray_iova_space *s =
				open_space(PAGE, GIB(8), 2 * REACH_39 - 1);
			dray_iova_t iova = take_below(s, n * PAGE, 0, last[z]);
			uint64_t visits = dr_iova_visits(s);

			for (unsigned k = 0; k < 50; k++) {
				assert_true(dr_iova_is_live(s, iova, n * PAGE, NULL));
				assert_true(dr_iova_retire(s, iova, n * PAGE));
				assert_true(dr_iova_give_retired(s, iova, n * PAGE));
				iova = take_below(s, n * PAGE, PAGE, last[z]);
				assert_true(dr_iova_give(s, iova, n * PAGE));
				iova = take_below(s, n * PAGE, 0, last[z]);
			}
			assert_true((iova >= REACH_39) == !z);
			assert_true(!is_odd(n) || !(iova / PAGE % n) || iova / PAGE % 4 == 0);
			assert_int_equal(dr_iova_visits(s), visits);
			assert_int_equal(counts_of(s).live_bytes, n * PAGE);
			close_valid(s);
		}
}

/* A slot of a power of two has what was asked of its alignment, and crosses no multiple of it. */
static void slots_serve_alignments_and_boundaries(void **state)
{
	struct dray_iova_space *s = open_high(PAGE, GIB(1));
	const struct dr_iova_request req = {
		.len = 11 * PAGE,
		.align = 8 * PAGE,
		.last = DRAY_IOVA_NONE,
		.boundary_mask = 16 * PAGE - 1,
	};
	dray_iova_t iova;
	uint64_t visits;

	(void)state;
	assert_int_equal(dr_iova_take(s, &req, &iova), 0);
	visits = dr_iova_visits(s);
	for (unsigned i = 0; i < 20; i++) {
		assert_int_equal(dr_iova_take(s, &req, &iova), 0);
		assert_int_equal(iova % req.align, 0);
		assert_true(iova / (16 * PAGE) == (iova + req.len - 1) / (16 * PAGE));
	}
	assert_int_equal(dr_iova_visits(s), visits);
	close_valid(s);
}

/* Every call that takes a length, with each of the lengths that are near enough to be mistaken. */
static unsigned try_wrong(struct dray_iova_space *s, dray_iova_t iova, uint64_t n, uint64_t granule)
{
	uint64_t slot = 4;
	unsigned tries = 0;

	while (slot < n)
		slot *= 2;
	const struct {
		uint64_t iova, len;
	} wrong[] = {
		{iova, (n - 1) * granule}, {iova, (n + 1) * granule}, {iova, slot * granule},
		{iova, 2 * slot * granule}, {iova, slot / 2 * granule}, {iova, granule},
		{iova, 0}, {iova, n * granule + 1}, {iova + 1, n * granule},
		{iova + granule, granule}, {iova + granule, (n - 1) * granule},
		{iova + 2 * granule, granule}, {iova + n * granule, (slot - n) * granule},
		{iova, UINT64_MAX}, {iova, UINT64_C(1) << 63}, {iova, UINT64_C(1) << 61},
		{iova, UINT64_C(1) << 62}, {iova + 4096, n * granule},
	};

	for (unsigned i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		if (wrong[i].iova == iova && wrong[i].len == n * granule)
			continue;
		assert_false(dr_iova_is_live(s, wrong[i].iova, wrong[i].len, NULL));
		assert_false(dr_iova_give(s, wrong[i].iova, wrong[i].len));
		assert_false(dr_iova_retire(s, wrong[i].iova, wrong[i].len));
		assert_false(dr_iova_give_retired(s, wrong[i].iova, wrong[i].len));
		assert_false(dr_iova_give_retired_home(s, wrong[i].iova, wrong[i].len));
		assert_false(dr_iova_quarantine(s, wrong[i].iova, wrong[i].len));
		assert_false(dr_iova_quarantine_retired(s, wrong[i].iova, wrong[i].len));
		tries += 6;
	}
	return tries;
}

static void refuse_wrong_lengths(size_t granule, uint64_t n, uint64_t last)
{
	struct dray_iova_space *s = open_space(granule, GIB(2), 2 * REACH_39 - 1);
	const uint64_t len = n * granule;
	dray_iova_t iova = take_below(s, len, 0, last);
	/* So that the slot that wrong calls might change is this thread's. */
	dray_iova_t whole = take_below(s, 4 * granule, 0, last);
	unsigned bad = try_wrong(s, iova, n, granule);

	assert_false(dr_iova_give_retired(s, iova, len));
	assert_true(dr_iova_retire(s, iova, len));
	assert_int_equal(counts_of(s).retired_bytes, len);
	assert_int_equal(counts_of(s).live_bytes, 4 * granule);
	assert_false(dr_iova_is_live(s, iova, len, NULL));
	bad += 1 + try_wrong(s, iova, n, granule);
	assert_false(dr_iova_give(s, iova, len));
	assert_false(dr_iova_retire(s, iova, len));
	assert_true(dr_iova_give_retired(s, iova, len));
	assert_false(dr_iova_give_retired(s, iova, len));
	assert_false(dr_iova_give(s, iova, len));
	iova = take_below(s, len, 0, last);
	assert_true(dr_iova_give(s, iova, len));
	assert_false(dr_iova_give(s, iova, len));
	iova = take_below(s, len, 0, last);
	assert_true(dr_iova_retire(s, iova, len));
	assert_true(dr_iova_give_retired_home(s, iova, len));
	assert_false(dr_iova_give_retired_home(s, iova, len));
	iova = take_below(s, len, 0, last);
	assert_true(dr_iova_quarantine(s, iova, len));
	bad += 6 + try_wrong(s, iova, n, granule);
	assert_false(dr_iova_give(s, iova, len));
	assert_int_equal(counts_of(s).bad_frees, bad + 1);
	assert_int_equal(counts_of(s).quarantined_bytes, len);
	assert_int_equal(counts_of(s).retired_bytes, 0);
	assert_true(dr_iova_give(s, whole, 4 * granule));
	assert_int_equal(counts_of(s).live_bytes, 0);
	assert_int_equal(counts_of(s).live_ranges, 0);
	close_valid(s);
}

static void wrong_lengths_are_refused(void **state)
{
	static const uint64_t sizes[] = {3, 5, 7, 12, 33, 63, 65, 100, 129, 255, 257, 384, 511};

	(void)state;
	for (flags = 0; flags <= DR_IOVA_DEBUG; flags += DR_IOVA_DEBUG)
		for (unsigned i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
			refuse_wrong_lengths(PAGE, sizes[i], DRAY_IOVA_NONE);
			refuse_wrong_lengths(PAGE, sizes[i], REACH_39 - 1);
			refuse_wrong_lengths(PAGE, sizes[i], GIB(4) - 1);
			refuse_wrong_lengths(KIB(64), sizes[i], DRAY_IOVA_NONE);
		}
	flags = 0;
}

/* A thread that has never taken gives and retires; @arg says whether it may find a spare cache. */
static struct {
	struct dray_iova_space *s;
	dray_iova_t iova[4];
	uint64_t len;
} remote;

static void *give_remote(void *arg)
{
	(void)arg;
	assert_false(dr_iova_give(remote.s, remote.iova[0], remote.len + PAGE));
	assert_true(dr_iova_give(remote.s, remote.iova[0], remote.len));
	assert_true(dr_iova_retire(remote.s, remote.iova[1], remote.len));
	assert_true(dr_iova_give_retired(remote.s, remote.iova[1], remote.len));
	assert_true(dr_iova_retire(remote.s, remote.iova[2], remote.len));
	assert_true(dr_iova_give_retired_home(remote.s, remote.iova[2], remote.len));
	assert_true(dr_iova_retire(remote.s, remote.iova[3], remote.len));
	return NULL;
}

static void another_thread_gives_them(void **state)
{
	(void)state;
	for (unsigned has_spare = 0; has_spare < 2; has_spare++) {
		pthread_t thread;

		use_test_memory();
		remote.s = open_high(PAGE, GIB(1));
		remote.len = 45 * PAGE;
		for (unsigned i = 0; i < 4; i++)
			remote.iova[i] = take(remote.s, remote.len, 0);
		if (!has_spare) {
			struct dr_cache *c = remote.s->cache;

			dr_free(c->spare);
			c->spare = NULL;
		}
		assert_int_equal(pthread_create(&thread, NULL, give_remote, NULL), 0);
		pthread_join(thread, NULL);
		assert_int_equal(counts_of(remote.s).live_bytes, 0);
		assert_int_equal(counts_of(remote.s).retired_bytes, remote.len);
		assert_int_equal(counts_of(remote.s).bad_frees, 1);
		close_valid(remote.s);
		assert_int_equal(memory.outstanding, 0);
		dr_hooks = &dr_hooks_system;
	}
}

/* What a range leaves of its slot is free for who names it; the range itself is not. */
static void the_slack_is_free(void **state)
{
	const uint64_t len = 37 * PAGE;

	(void)state;
	for (flags = 0; flags <= DR_IOVA_DEBUG; flags += DR_IOVA_DEBUG)
		for (unsigned how = 0; how < 3; how++) {
			struct dray_iova_space *s = open_high(PAGE, MIB(64));
			dray_iova_t live = take(s, len, 0), retired = take(s, len, 0);
			dray_iova_t quarantined = take(s, len, 0), at[3];
			struct dr_iova_counts counts;

			assert_true(dr_iova_retire(s, retired, len));
			assert_true(dr_iova_quarantine(s, quarantined, len));
			at[0] = live;
			at[1] = retired;
			at[2] = quarantined;
			for (unsigned i = 0; i < 3; i++) {
				uint64_t end = at[i] + len;

				assert_true(dr_iova_any_live(s, at[i], end + PAGE));
				assert_true(dr_iova_any_live(s, end - PAGE, end - 1));
				assert_false(dr_iova_any_live(s, end, end + 27 * PAGE - 1));
				assert_int_equal(dr_iova_resv(s, end - PAGE, end - 1,
							      DR_RESV_HOLE), -EEXIST);
				assert_int_equal(dr_iova_take_fixed(s, at[i], at[i] + PAGE - 1),
						 -EEXIST);
				assert_int_equal(dr_iova_take_fixed(s, end - PAGE, end + PAGE - 1),
						 -EEXIST);
			}
			assert_int_equal(stats_of(s).splits, 0);
			counts = counts_of(s);
			assert_int_equal(counts.live_bytes, len);
			assert_int_equal(counts.retired_bytes, len);
			assert_int_equal(counts.quarantined_bytes, len);
			/* The chunk of all three is taken apart. */
			at[0] += len;
			if (how == 0)
				assert_int_equal(dr_iova_take_fixed(s, at[0],
								    at[0] + 27 * PAGE - 1), 0);
			else
				assert_int_equal(dr_iova_resv(s, at[0], at[0] + 27 * PAGE - 1,
							      how == 1 ? DR_RESV_HOLE :
									 DR_RESV_FIXED), 0);
			assert_int_equal(stats_of(s).splits, 1);
			counts = counts_of(s);
			assert_int_equal(counts.live_bytes, len + (how ? 0 : 27 * PAGE));
			assert_int_equal(counts.retired_bytes, len);
			assert_int_equal(counts.quarantined_bytes, len);
			assert_int_equal(counts.live_ranges, how ? 1 : 2);
			assert_true(dr_iova_space_is_valid(s));
			assert_true(dr_iova_is_live(s, live, len, NULL));
			assert_false(dr_iova_give(s, live, 64 * PAGE));
			assert_false(dr_iova_give(s, live, len - PAGE));
			assert_false(dr_iova_give_retired(s, retired, 64 * PAGE));
			assert_true(dr_iova_give(s, live, len));
			assert_false(dr_iova_give(s, live, len));
			assert_true(dr_iova_give_retired(s, retired, len));
			assert_false(dr_iova_give(s, quarantined, len));
			assert_int_equal(counts_of(s).retired_bytes, 0);
			close_valid(s);
		}
	flags = 0;
}

/* Hardware's holes are narrower than slots. */
static void holes_lie_in_the_slack(void **state)
{
	struct dray_iova_space *s = open_high(PAGE, MIB(64));
	dray_iova_t iova = take(s, 5 * PAGE, 0);
	const struct dray_range in_slack[] = {
		{0, iova + 5 * PAGE - 1}, {iova + 6 * PAGE, UINT64_MAX},
	};
	const struct dray_range in_range[] = {
		{0, iova + 4 * PAGE - 1}, {iova + 5 * PAGE, UINT64_MAX},
	};

	(void)state;
	assert_int_equal(dr_iova_set_usable(s, in_range, 2), -EEXIST);
	assert_int_equal(dr_iova_set_usable(s, in_slack, 2), 0);
	assert_true(dr_iova_is_live(s, iova, 5 * PAGE, NULL));
	assert_true(dr_iova_give(s, iova, 5 * PAGE));
	close_valid(s);
}

/* Odd ranges until nothing fits, then pages until nothing does: every byte is used, none twice. */
static void a_full_space_has_no_slack(void **state)
{
	const uint64_t bytes = MIB(256);
	uint64_t seed = 11;

	(void)state;
	for (flags = 0; flags <= DR_IOVA_DEBUG; flags += DR_IOVA_DEBUG) {
		struct dray_iova_space *s = open_high(PAGE, bytes);
		struct dray_iova_space *low;
		uint64_t n;

		for (n = 511; n; n -= n > 64 ? 1 + next_random(&seed) % 64 : 1)
			while (take(s, n * PAGE, 0) != DRAY_IOVA_NONE)
				if (next_random(&seed) % 8 == 0 && n > 1)
					break;
		assert_int_equal(counts_of(s).live_bytes, bytes);
		close_valid(s);
		/* One size alone: nearly as many as where nothing is rounded. */
		for (n = 3; n < 512; n += 1 + n / 2) {
			uint64_t served = 0, expected = 0;

			s = open_high(PAGE, bytes);
			low = open_space(PAGE, GIB(2), GIB(2) + bytes - 1);
			while (take(s, n * PAGE, 0) != DRAY_IOVA_NONE)
				served += n * PAGE;
			while (take(low, n * PAGE, 0) != DRAY_IOVA_NONE)
				expected += n * PAGE;
			/* A 32nd is what they may leave; live ones do not move. */
			assert_true(served + n * PAGE >= expected - bytes / 32);
			assert_true(stats_of(s).largest_free < n * PAGE);
			close_valid(s);
			close_valid(low);
		}
	}
	flags = 0;
}

/* Below 4 GiB they are as long as they are: where 32 bits are all there is, and beside more. */
static void a_narrow_window_is_not_wasted(void **state)
{
	(void)state;
	for (unsigned wide = 0; wide < 2; wide++) {
		struct dray_iova_space *s =
			open_space(PAGE, GIB(4) - MIB(64), wide ? GIB(16) : GIB(4) - 1);
		uint64_t served = 0, n = 0;

		for (; take_below(s, 5 * PAGE, 0, GIB(4) - 1) != DRAY_IOVA_NONE; n++)
			served += 5 * PAGE;
		/* A chunk of 512 holds 102 of five; the rest of it is found in the end. */
		assert_true(served >= MIB(64) / 100 * 99);
		for (; take_below(s, 9 * PAGE, 0, GIB(4) - 1) != DRAY_IOVA_NONE; n++)
			;
		while (take_below(s, PAGE, 0, GIB(4) - 1) != DRAY_IOVA_NONE)
			served += PAGE;
		assert_int_equal(counts_of(s).live_bytes, MIB(64));
		close_valid(s);
	}
}

/* With the high addresses used up the low ones are taken exactly, not as chunks of odd slots. */
static void what_is_rounded_passes_by_the_low_zone(void **state)
{
	struct dray_iova_space *s = open_space(PAGE, GIB(3), GIB(4) + MIB(8) - 1);
	dray_iova_t iova;

	(void)state;
	do {
		iova = take(s, 5 * PAGE, 0);
		assert_true(iova != DRAY_IOVA_NONE);
	} while (iova >= GIB(4));
	/* Every gap above is too short for five, and the chunks are all there. */
	assert_true(stats_of(s).live_bytes >= MIB(8) / 8 * 5);
	assert_int_equal(iova, GIB(4) - 5 * PAGE);
	close_valid(s);
}

/* The same load, the nth allocation failing, until none does. */
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
				.first = GIB(8),
				.last = GIB(8) + MIB(16) - 1,
			};
			dray_iova_t held[200];
			struct dray_iova_space *s;
			uint64_t live = 0;

			memory.failures = 0;
			memory.until_failure = n;
			if (dr_iova_space_open(&opts, flags, &s)) {
				assert_int_equal(memory.outstanding, 0);
				continue;
			}
			for (unsigned i = 0; i < 200; i++) {
				held[i] = take(s, (3 + i % 11) * PAGE, 0);
				live += held[i] != DRAY_IOVA_NONE ? (3 + i % 11) * PAGE : 0;
			}
			assert_int_equal(counts_of(s).live_bytes, live);
			/* Something that wants a drain and a split. */
			if (held[0] != DRAY_IOVA_NONE)
				dr_iova_take_fixed(s, held[0] + 3 * PAGE, held[0] + 4 * PAGE - 1);
			take(s, MIB(8), MIB(1));
			assert_true(dr_iova_space_is_valid(s));
			for (unsigned i = 0; i < 200; i++)
				if (held[i] != DRAY_IOVA_NONE)
					assert_true(dr_iova_give(s, held[i], (3 + i % 11) * PAGE));
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

/* The rule counts slots: what is out is at most that of them, and the quota, and a quarter. */
static void the_population_rule_counts_slots(void **state)
{
	enum { N = 2000 };
	static dray_iova_t held[N];
	struct dray_iova_space *s = open_high(PAGE, GIB(64));
	struct dray_iova_stats st;

	(void)state;
	for (unsigned round = 0; round < 3; round++)
		for (uint64_t n = 3; n < 64; n += 6) {
			for (unsigned i = 0; i < N; i++)
				held[i] = take(s, n * PAGE, 0);
			assert_int_equal(stats_of(s).live_bytes, N * n * PAGE);
			for (unsigned i = 0; i < N; i++)
				assert_true(dr_iova_give(s, held[i], n * PAGE));
			st = stats_of(s);
			assert_int_equal(st.live_bytes, 0);
			assert_true(st.peak_live_bytes <= N * 64 * PAGE);
			assert_true(st.peak_population_bytes <=
				    (N * 64 * PAGE + st.quota_bytes) / 4 * 5);
			assert_true(dr_iova_space_is_valid(s));
		}
	dray_iova_space_close(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_size_is_cached),
		cmocka_unit_test(slots_serve_alignments_and_boundaries),
		cmocka_unit_test(wrong_lengths_are_refused),
		cmocka_unit_test(another_thread_gives_them),
		cmocka_unit_test(the_slack_is_free),
		cmocka_unit_test(holes_lie_in_the_slack),
		cmocka_unit_test(a_full_space_has_no_slack),
		cmocka_unit_test(a_narrow_window_is_not_wasted),
		cmocka_unit_test(what_is_rounded_passes_by_the_low_zone),
		cmocka_unit_test(any_allocation_may_fail),
		cmocka_unit_test(the_population_rule_counts_slots),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
