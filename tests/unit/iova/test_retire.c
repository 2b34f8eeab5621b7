// SPDX-License-Identifier: BSD-2-Clause
/*
 * Retired ranges, which wait for a flush, and gaps that a flusher holds: the same answers from the
 * tree alone, from the caches, and from these in debug mode.
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

static const unsigned kinds[] = {DR_IOVA_TREE, 0, DR_IOVA_DEBUG};

#define for_every_kind \
	for (unsigned kind_ = 0; kind_ < 3 && (flags = kinds[kind_], true); kind_++)

static struct dray_iova_space *open_low(uint64_t bytes)
{
	return open_space(PAGE, GIB(1), GIB(1) + bytes - 1);
}

static void close_valid(struct dray_iova_space *s)
{
	assert_true(dr_iova_space_is_valid(s));
	dray_iova_space_close(s);
}

/* One page, an order, an odd size, more than a chunk. */
static const uint64_t sizes[] = {PAGE, 16 * PAGE, 33 * PAGE, 513 * PAGE};

#define SIZES (sizeof(sizes) / sizeof(sizes[0]))

static void retired_is_neither_live_nor_free(void **state)
{
	(void)state;
	for_every_kind for (unsigned i = 0; i < SIZES; i++) {
		struct dray_iova_space *s = open_low(MIB(32));
		const uint64_t len = sizes[i];
		dray_iova_t iova = take(s, len, 0), last = iova + len - 1, other;

		assert_true(dr_iova_retire(s, iova, len));
		assert_false(dr_iova_is_live(s, iova, len, NULL));
		assert_int_equal(counts_of(s).live_ranges, 0);
		assert_int_equal(counts_of(s).live_bytes, 0);
		assert_int_equal(counts_of(s).retired_bytes, len);
		assert_true(dr_iova_any_live(s, last, last));
		assert_int_equal(dr_iova_take_fixed(s, iova, iova + PAGE - 1), -EEXIST);
		assert_int_equal(dr_iova_resv(s, iova, last, DR_RESV_HOLE), -EEXIST);
		assert_int_equal(dr_iova_set_usable(s, NULL, 0), -EEXIST);
		assert_true(dr_iova_space_is_valid(s));
		while ((other = take(s, len, 0)) != DRAY_IOVA_NONE)
			assert_true(other > last || other + len - 1 < iova);
		assert_int_equal(counts_of(s).bad_frees, 0);
		close_valid(s);
	}
}

static void each_way_refuses_what_is_not_its(void **state)
{
	(void)state;
	for_every_kind for (unsigned i = 0; i < SIZES; i++) {
		struct dray_iova_space *s = open_low(MIB(32));
		const uint64_t len = sizes[i];
		dray_iova_t iova = take(s, len, 0);

		/* Live. */
		assert_false(dr_iova_give_retired(s, iova, len));
		assert_false(dr_iova_give_retired_home(s, iova, len));
		assert_false(dr_iova_quarantine_retired(s, iova, len));
		assert_false(dr_iova_retire(s, iova, len + PAGE));
		assert_false(dr_iova_retire(s, iova + PAGE, len));
		assert_int_equal(counts_of(s).bad_frees, 5);
		assert_int_equal(counts_of(s).live_bytes, len);
		/* Retired. */
		assert_true(dr_iova_retire(s, iova, len));
		assert_false(dr_iova_retire(s, iova, len));
		assert_false(dr_iova_give(s, iova, len));
		assert_false(dr_iova_quarantine(s, iova, len));
		assert_false(dr_iova_give_retired(s, iova, len + PAGE));
		assert_false(dr_iova_give_retired_home(s, iova + PAGE, len));
		assert_false(dr_iova_quarantine_retired(s, iova, len + PAGE));
		assert_int_equal(counts_of(s).bad_frees, 11);
		assert_int_equal(counts_of(s).retired_bytes, len);
		/* Free, by the one way and by the other. */
		assert_true(dr_iova_give_retired(s, iova, len));
		assert_false(dr_iova_give_retired(s, iova, len));
		assert_false(dr_iova_give_retired_home(s, iova, len));
		assert_false(dr_iova_give(s, iova, len));
		assert_false(dr_iova_retire(s, iova, len));
		iova = take(s, len, 0);
		assert_true(dr_iova_retire(s, iova, len));
		assert_true(dr_iova_give_retired_home(s, iova, len));
		assert_false(dr_iova_give_retired_home(s, iova, len));
		assert_int_equal(counts_of(s).bad_frees, 16);
		assert_int_equal(counts_of(s).retired_bytes, 0);
		assert_int_equal(counts_of(s).live_bytes, 0);
		/* Quarantined. */
		iova = take(s, len, 0);
		assert_true(dr_iova_retire(s, iova, len));
		assert_true(dr_iova_quarantine_retired(s, iova, len));
		assert_false(dr_iova_give_retired(s, iova, len));
		assert_int_equal(counts_of(s).quarantined_bytes, len);
		assert_int_equal(counts_of(s).retired_bytes, 0);
		assert_int_equal(counts_of(s).bad_frees, 17);
		close_valid(s);
	}
}

/* Who flushes its own finds them again first; who flushes for others puts them where all do. */
static void a_retired_one_comes_home(void **state)
{
	struct dray_iova_stats st = {.size = sizeof(st)};
	struct dray_iova_space *s;
	dray_iova_t iova;

	(void)state;
	flags = 0;
	s = open_low(MIB(32));
	iova = take(s, PAGE, 0);
	assert_true(dr_iova_retire(s, iova, PAGE));
	assert_int_not_equal(take(s, PAGE, 0), iova);
	assert_true(dr_iova_give_retired(s, iova, PAGE));
	assert_int_equal(take(s, PAGE, 0), iova);
	assert_int_equal(dray_iova_space_stats(s, &st), 0);
	assert_int_equal(st.cached_bytes, 62 * PAGE);
	assert_int_equal(st.chunk_free_bytes, MIB(2) - 64 * PAGE);
	assert_true(dr_iova_retire(s, iova, PAGE));
	assert_true(dr_iova_give_retired_home(s, iova, PAGE));
	assert_int_equal(dray_iova_space_stats(s, &st), 0);
	assert_int_equal(st.cached_bytes, 62 * PAGE);
	assert_int_equal(st.chunk_free_bytes, MIB(2) - 63 * PAGE);
	close_valid(s);
}

/* A fixed range across a window's edge: its pieces stay, its window cannot go. */
static void retired_fixed_ranges_keep_their_windows(void **state)
{
	static struct picture before, after;

	(void)state;
	for_every_kind {
		struct dray_iova_space *s = open_space(PAGE, PAGE, 256 * PAGE - 1);

		assert_int_equal(dr_iova_resv(s, 10 * PAGE, 20 * PAGE - 1, DR_RESV_FIXED), 0);
		draw(s, &before);
		assert_int_equal(dr_iova_take_fixed(s, 15 * PAGE, 30 * PAGE - 1), 0);
		assert_int_equal(dr_iova_take_fixed(s, 30 * PAGE, 31 * PAGE - 1), 0);
		assert_true(dr_iova_retire(s, 15 * PAGE, 15 * PAGE));
		assert_true(dr_iova_retire(s, 30 * PAGE, PAGE));
		assert_true(dr_iova_space_is_valid(s));
		assert_int_equal(dr_iova_unresv(s, 10 * PAGE, 20 * PAGE - 1), -EBUSY);
		assert_false(dr_iova_give_retired(s, 15 * PAGE, 16 * PAGE));
		assert_false(dr_iova_give_retired(s, 15 * PAGE, 5 * PAGE));
		assert_true(dr_iova_give_retired(s, 15 * PAGE, 15 * PAGE));
		assert_true(dr_iova_give_retired_home(s, 30 * PAGE, PAGE));
		before.counts.bad_frees += 2;
		draw(s, &after);
		assert_same_picture(&before, &after);
		assert_int_equal(dr_iova_unresv(s, 10 * PAGE, 20 * PAGE - 1), 0);
		close_valid(s);
	}
}

/* What is retired stays so when its chunk is taken apart around it. */
static void a_split_keeps_them_apart(void **state)
{
	struct dray_iova_stats st = {.size = sizeof(st)};
	struct dray_iova_space *s;
	dray_iova_t iova[8];

	(void)state;
	flags = 0;
	s = open_low(MIB(2));
	for (unsigned i = 0; i < 8; i++)
		iova[i] = take(s, 4 * PAGE, 0);
	for (unsigned i = 0; i < 8; i += 2)
		assert_true(dr_iova_retire(s, iova[i], 4 * PAGE));
	assert_true(dr_iova_hold_gap(s, GIB(1), GIB(1) + 32 * PAGE - 1));
	assert_true(take(s, 300 * PAGE, PAGE) != DRAY_IOVA_NONE);
	assert_int_equal(dray_iova_space_stats(s, &st), 0);
	assert_int_equal(st.splits, 1);
	assert_int_equal(counts_of(s).live_bytes, (300 + 4 * 4 + 32) * PAGE);
	assert_int_equal(counts_of(s).live_ranges, 6);
	assert_int_equal(counts_of(s).retired_bytes, 4 * 4 * PAGE);
	assert_true(dr_iova_space_is_valid(s));
	assert_true(dr_iova_give(s, GIB(1), 32 * PAGE));
	for (unsigned i = 0; i < 8; i++) {
		assert_int_equal(dr_iova_is_live(s, iova[i], 4 * PAGE, NULL), i % 2);
		assert_int_equal(dr_iova_give_retired(s, iova[i], 4 * PAGE), !(i % 2));
		assert_int_equal(dr_iova_give(s, iova[i], 4 * PAGE), i % 2);
	}
	assert_int_equal(counts_of(s).live_bytes, 300 * PAGE);
	assert_int_equal(counts_of(s).retired_bytes, 0);
	close_valid(s);
}

/* Retired counts as used: a deep queue is no reason to keep more in magazines. */
static void the_population_rule_counts_them(void **state)
{
	enum { QUEUE = 4096 };
	static dray_iova_t queue[QUEUE];
	struct dray_iova_stats st = {.size = sizeof(st)};
	struct dray_iova_space *s;

	(void)state;
	flags = 0;
	s = open_low(GIB(1));
	for (unsigned i = 0; i < 20 * QUEUE; i++) {
		dray_iova_t *q = &queue[i % QUEUE];

		if (i >= QUEUE)
			assert_true(i % 3 ? dr_iova_give_retired(s, *q, PAGE << i % QUEUE % 4)
					  : dr_iova_give_retired_home(s, *q,
								      PAGE << i % QUEUE % 4));
		*q = take(s, PAGE << i % QUEUE % 4, 0);
		assert_true(dr_iova_retire(s, *q, PAGE << i % QUEUE % 4));
	}
	assert_int_equal(dray_iova_space_stats(s, &st), 0);
	assert_int_equal(st.live_bytes, 0);
	assert_int_equal(st.retired_bytes, QUEUE / 4 * 15 * PAGE);
	assert_true(st.peak_population_bytes <=
		    (QUEUE / 4 * 15 * PAGE + 8 * PAGE + st.quota_bytes) / 4 * 5);
	close_valid(s);
}

static void a_gap_between_retired_ones_is_held(void **state)
{
	(void)state;
	for_every_kind {
		struct dray_iova_space *s = open_low(MIB(64));
		dray_iova_t top = take(s, MIB(8), 0), gap = take(s, MIB(4), 0);
		dray_iova_t low = take(s, MIB(8), 0);

		assert_int_equal(gap + MIB(4), top);
		assert_int_equal(low + MIB(8), gap);
		assert_true(dr_iova_retire(s, top, MIB(8)));
		assert_false(dr_iova_hold_gap(s, gap, top - 1)); /* live */
		assert_true(dr_iova_retire(s, gap, MIB(4)));
		assert_false(dr_iova_hold_gap(s, gap, top - 1)); /* retired */
		assert_true(dr_iova_retire(s, low, MIB(8)));
		assert_true(dr_iova_give_retired(s, gap, MIB(4)));
		assert_false(dr_iova_hold_gap(s, gap, top)); /* beyond */
		assert_false(dr_iova_hold_gap(s, gap - PAGE, top - 1));
		assert_true(dr_iova_hold_gap(s, gap, top - 1));
		assert_true(dr_iova_is_live(s, gap, MIB(4), NULL));
		assert_false(dr_iova_hold_gap(s, gap, gap + PAGE - 1)); /* held */
		assert_int_equal(counts_of(s).live_bytes, MIB(4));
		assert_true(dr_iova_space_is_valid(s));
		assert_true(dr_iova_give(s, gap, MIB(4)));
		assert_false(dr_iova_give(s, gap, MIB(4)));
		assert_int_equal(counts_of(s).live_bytes, 0);
		close_valid(s);
	}
}

static void a_gap_inside_a_chunk_is_held(void **state)
{
	struct dray_iova_space *s;
	dray_iova_t top, free_top, first;

	(void)state;
	flags = 0;
	s = open_low(MIB(64));
	/* One chunk of slots of 4 pages: 64 in a magazine, the other half still in the chunk. */
	top = take(s, 4 * PAGE, 0);
	assert_false(dr_iova_hold_gap(s, top - 4 * PAGE, top - 1)); /* in the magazine */
	free_top = top + 4 * PAGE - 64 * 4 * PAGE;
	first = free_top - 8 * 4 * PAGE;
	assert_false(dr_iova_hold_gap(s, first, free_top + 4 * PAGE - 1)); /* in part */
	assert_false(dr_iova_hold_gap(s, first + PAGE, free_top - 1)); /* cuts a slot */
	assert_true(dr_iova_hold_gap(s, first, free_top - 1));
	assert_true(dr_iova_is_live(s, first, 32 * PAGE, NULL));
	assert_false(dr_iova_is_live(s, first, 4 * PAGE, NULL));
	assert_false(dr_iova_hold_gap(s, first, free_top - 1));
	assert_int_equal(counts_of(s).live_ranges, 2);
	assert_int_equal(counts_of(s).live_bytes, 36 * PAGE);
	assert_true(dr_iova_space_is_valid(s));
	/* Two that adjoin stay two. */
	assert_true(dr_iova_hold_gap(s, first - 4 * PAGE, first - 1));
	assert_false(dr_iova_give(s, first - 4 * PAGE, 36 * PAGE));
	assert_false(dr_iova_give(s, first, 4 * PAGE));
	assert_false(dr_iova_give(s, first, 28 * PAGE));
	assert_true(dr_iova_give(s, first, 32 * PAGE));
	assert_true(dr_iova_give(s, first - 4 * PAGE, 4 * PAGE));
	assert_false(dr_iova_give(s, first, 32 * PAGE));
	assert_int_equal(counts_of(s).live_bytes, 4 * PAGE);
	/* All of it comes back. */
	assert_true(dr_iova_give(s, top, 4 * PAGE));
	assert_int_equal(take(s, MIB(64), PAGE), GIB(1));
	close_valid(s);
}

/* The last free slots of a chunk that waits for a thread, and their way back. */
static void a_listed_chunk_may_be_held_empty(void **state)
{
	struct dray_iova_space *s;
	dray_iova_t iova[32], rest;

	(void)state;
	flags = 0;
	s = open_low(MIB(64));
	/* 8 slots of 64 pages fill a chunk; the thread owns the next one then. */
	for (unsigned i = 0; i < 32; i++)
		iova[i] = take(s, 64 * PAGE, 0);
	for (unsigned i = 0; i < 8; i++)
		assert_true(dr_iova_retire(s, iova[i], 64 * PAGE));
	for (unsigned i = 0; i < 4; i++)
		assert_true(dr_iova_give_retired_home(s, iova[i], 64 * PAGE));
	assert_true(dr_iova_hold_gap(s, iova[3], iova[0] + 64 * PAGE - 1));
	/* Growth looks at the chunk while it has nothing. */
	rest = take(s, MIB(1), 0);
	for (unsigned i = 8; i < 32; i++)
		assert_true(dr_iova_retire(s, iova[i], 64 * PAGE));
	for (unsigned i = 0; i < 24; i++)
		assert_true(take(s, 64 * PAGE, 0) != DRAY_IOVA_NONE);
	assert_true(dr_iova_space_is_valid(s));
	assert_true(dr_iova_give(s, iova[3], 4 * 64 * PAGE));
	for (unsigned i = 4; i < 8; i++)
		assert_true(dr_iova_give_retired_home(s, iova[i], 64 * PAGE));
	assert_true(dr_iova_give(s, rest, MIB(1)));
	assert_true(dr_iova_space_is_valid(s));
	close_valid(s);
}

static void bad_gaps_are_refused(void **state)
{
	(void)state;
	for_every_kind {
		struct dray_iova_space *s = open_space(PAGE, 0, MIB(64) - 1);

		/* Something spare, and something in the way. */
		assert_true(dr_iova_give(s, take(s, MIB(8), 0), MIB(8)));
		assert_int_equal(dr_iova_resv(s, MIB(1), MIB(2) - 1, DR_RESV_HOLE), 0);
		assert_int_equal(dr_iova_resv(s, MIB(3), MIB(4) - 1, DR_RESV_FIXED), 0);
		assert_false(dr_iova_hold_gap(s, 0, PAGE - 1)); /* nobody's */
		assert_false(dr_iova_hold_gap(s, 2 * PAGE, PAGE - 1));
		assert_false(dr_iova_hold_gap(s, PAGE + 1, 3 * PAGE - 1));
		assert_false(dr_iova_hold_gap(s, PAGE, 3 * PAGE));
		assert_false(dr_iova_hold_gap(s, MIB(64) - PAGE, MIB(64) + PAGE - 1));
		assert_false(dr_iova_hold_gap(s, MIB(1), MIB(2) - 1));
		assert_false(dr_iova_hold_gap(s, MIB(3), MIB(3) + PAGE - 1));
		assert_false(dr_iova_hold_gap(s, 0, UINT64_MAX));
		assert_int_equal(counts_of(s).live_bytes, 0);
		assert_int_equal(counts_of(s).bad_frees, 0);
		close_valid(s);
	}
}

/* Without memory: none of these calls asks for any. */
static void nothing_is_allocated(void **state)
{
	(void)state;
	use_test_memory();
	for_every_kind for (unsigned i = 0; i < SIZES; i++) {
		struct dray_iova_space *s = open_low(MIB(32));
		const uint64_t len = sizes[i];
		dray_iova_t iova[6];
		long calls;

		for (unsigned k = 0; k < 6; k++)
			iova[k] = take(s, len, 0);
		assert_true(dr_iova_give(s, iova[5], len));
		use_up_spares(s);
		memory.until_failure = 0;
		calls = memory.calls;
		for (unsigned k = 0; k < 4; k++)
			assert_true(dr_iova_retire(s, iova[k], len));
		use_up_spares(s);
		dr_iova_hold_gap(s, iova[5], iova[5] + len - 1);
		assert_true(dr_iova_give_retired(s, iova[0], len));
		assert_true(dr_iova_give_retired_home(s, iova[1], len));
		assert_true(dr_iova_quarantine_retired(s, iova[2], len));
		assert_false(dr_iova_retire(s, iova[3], len));
		assert_false(dr_iova_give_retired(s, iova[4], len));
		assert_int_equal(memory.calls, calls);
		memory.until_failure = -1;
		close_valid(s);
		assert_int_equal(memory.outstanding, 0);
	}
	dr_hooks = &dr_hooks_system;
}

static struct dray_iova_space *shared;
static dray_iova_t passed[300];

static void *flush_for_others(void *arg)
{
	(void)arg;
	for (unsigned i = 0; i < 300; i++)
		assert_true(dr_iova_give_retired_home(shared, passed[i], PAGE << i % 3));
	return NULL;
}

/* A thread of its own flushes what another retired: nothing stays with it. */
static void a_helper_keeps_nothing(void **state)
{
	struct dray_iova_stats st = {.size = sizeof(st)};
	pthread_t thread;
	uint64_t quota;

	(void)state;
	flags = 0;
	shared = open_low(MIB(32));
	for (unsigned round = 0; round < 3; round++) {
		for (unsigned i = 0; i < 300; i++) {
			passed[i] = take(shared, PAGE << i % 3, 0);
			assert_true(dr_iova_retire(shared, passed[i], PAGE << i % 3));
		}
		assert_int_equal(dray_iova_space_stats(shared, &st), 0);
		quota = st.quota_bytes;
		assert_int_equal(st.retired_bytes, 700 * PAGE);
		pthread_create(&thread, NULL, flush_for_others, NULL);
		pthread_join(thread, NULL);
		assert_int_equal(dray_iova_space_stats(shared, &st), 0);
		assert_int_equal(st.retired_bytes, 0);
		assert_int_equal(st.quota_bytes, quota);
		assert_true(st.cached_bytes <= quota);
		assert_true(dr_iova_space_is_valid(shared));
	}
	close_valid(shared);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(retired_is_neither_live_nor_free),
		cmocka_unit_test(each_way_refuses_what_is_not_its),
		cmocka_unit_test(a_retired_one_comes_home),
		cmocka_unit_test(retired_fixed_ranges_keep_their_windows),
		cmocka_unit_test(a_split_keeps_them_apart),
		cmocka_unit_test(the_population_rule_counts_them),
		cmocka_unit_test(a_gap_between_retired_ones_is_held),
		cmocka_unit_test(a_gap_inside_a_chunk_is_held),
		cmocka_unit_test(a_listed_chunk_may_be_held_empty),
		cmocka_unit_test(bad_gaps_are_refused),
		cmocka_unit_test(nothing_is_allocated),
		cmocka_unit_test(a_helper_keeps_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
