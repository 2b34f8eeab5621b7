// SPDX-License-Identifier: BSD-2-Clause
/* Automatic addresses: where they go, what they cost, and what giving them back accepts. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <dray/stats.h>

#include "iova_test.h"

#include "base/err.h"

static void goes_from_the_top(void **state)
{
	static const size_t granules[] = {KIB(4), KIB(16), KIB(64), MIB(2)};

	(void)state;
	for (unsigned i = 0; i < 4; i++) {
		size_t g = granules[i];
		struct dray_iova_space *s = open_space(g, g * 16, g * 32 - 1);

		assert_int_equal(take(s, g, g), g * 31);
		assert_int_equal(take(s, 3 * g, g), g * 28);
		assert_int_equal(take(s, 4 * g, 4 * g), g * 24);
		assert_int_equal(take(s, 2 * g, 2 * g), g * 22);
		assert_int_equal(take(s, g, 4 * g), g * 20);
		assert_int_equal(take(s, g, g), g * 21); /* the highest that is left */
		assert_int_equal(take(s, 4 * g, g), g * 16);
		assert_int_equal(take(s, g, g), DRAY_IOVA_NONE);
		assert_true(dr_iova_space_is_valid(s));
		dray_iova_space_close(s);
	}
}

static void the_window_is_used_to_its_edges(void **state)
{
	struct dray_iova_space *s = open_space(PAGE, 5 * PAGE + 1, 12 * PAGE + 7);
	struct dray_range w = dr_iova_window(s);

	(void)state;
	assert_int_equal(w.first, 6 * PAGE);
	assert_int_equal(w.last, 12 * PAGE - 1);
	assert_int_equal(take(s, 7 * PAGE, 0), DRAY_IOVA_NONE);
	assert_int_equal(take(s, 6 * PAGE, 0), 6 * PAGE);
	assert_int_equal(take(s, PAGE, 0), DRAY_IOVA_NONE);
	dray_iova_space_close(s);
}

static void address_zero_is_never_chosen(void **state)
{
	struct dray_iova_space *s = open_space(PAGE, 0, 4 * PAGE - 1);

	(void)state;
	assert_int_equal(take(s, 4 * PAGE, 0), DRAY_IOVA_NONE);
	assert_int_equal(take(s, 3 * PAGE, 0), PAGE);
	assert_int_equal(take(s, PAGE, 0), DRAY_IOVA_NONE);
	assert_true(dr_iova_give(s, PAGE, 3 * PAGE));
	/* Told to, one gets it; it does not become part of the pool by being given back. */
	assert_int_equal(dr_iova_take_fixed(s, 0, PAGE - 1), 0);
	assert_true(dr_iova_give(s, 0, PAGE));
	assert_int_equal(take_below(s, PAGE, 0, PAGE - 1), DRAY_IOVA_NONE);
	assert_int_equal(take(s, 4 * PAGE, 0), DRAY_IOVA_NONE);
	assert_int_equal(take(s, PAGE, 4 * PAGE), DRAY_IOVA_NONE); /* only 0 is so aligned */
	assert_true(dr_iova_space_is_valid(s));
	dray_iova_space_close(s);

	s = open_space(PAGE, 0, PAGE - 1);
	assert_int_equal(take(s, PAGE, 0), DRAY_IOVA_NONE);
	assert_int_equal(dr_iova_take_fixed(s, 0, PAGE - 1), 0);
	dray_iova_space_close(s);
}

static void limits_are_inclusive(void **state)
{
	struct dray_iova_space *s = open_space(PAGE, 16 * PAGE, GIB(64) - 1);

	(void)state;
	assert_int_equal(take_below(s, PAGE, 0, GIB(4) - 1), GIB(4) - PAGE);
	assert_int_equal(take_below(s, PAGE, 0, GIB(4) - 1), GIB(4) - 2 * PAGE);
	assert_int_equal(take_below(s, PAGE, 0, GIB(4)), GIB(4) - 3 * PAGE);
	assert_int_equal(take_below(s, PAGE, 0, GIB(4) + PAGE - 2), GIB(4) - 4 * PAGE);
	assert_int_equal(take_below(s, PAGE, 0, GIB(4) + PAGE - 1), GIB(4));
	assert_int_equal(take_below(s, PAGE, 0, 17 * PAGE - 1), 16 * PAGE);
	assert_int_equal(take_below(s, PAGE, 0, 17 * PAGE - 1), DRAY_IOVA_NONE);
	assert_int_equal(take_below(s, PAGE, 0, 16 * PAGE), DRAY_IOVA_NONE);
	assert_int_equal(take_below(s, PAGE, 0, 0), DRAY_IOVA_NONE);
	assert_true(dr_iova_space_is_valid(s));
	dray_iova_space_close(s);
}

static void the_last_granule_of_64_bits(void **state)
{
	struct dray_iova_space *s = open_space(PAGE, 0, UINT64_MAX);
	const uint64_t top = UINT64_MAX - PAGE + 1;

	(void)state;
	assert_int_equal(dr_iova_window(s).last, UINT64_MAX);
	assert_int_equal(take_below(s, PAGE, 0, 100), DRAY_IOVA_NONE);
	assert_int_equal(take_below(s, PAGE, 0, UINT64_MAX - 1), top - PAGE);
	assert_int_equal(take(s, PAGE, 0), top);
	assert_int_equal(take(s, PAGE, 0), top - 2 * PAGE);
	assert_true(dr_iova_is_live(s, top, PAGE, NULL));
	/* Lengths that wrap are no live range, and no crash. */
	assert_false(dr_iova_is_live(s, top, 2 * PAGE, NULL));
	assert_false(dr_iova_give(s, top, 2 * PAGE));
	assert_false(dr_iova_give(s, top, SIZE_MAX));
	assert_false(dr_iova_give(s, top, 0));
	assert_true(dr_iova_give(s, top - 2 * PAGE, PAGE));
	assert_true(dr_iova_give(s, top, PAGE));
	assert_true(dr_iova_give(s, top - PAGE, PAGE));
	assert_int_equal(take(s, (uint64_t)1 << 63, (uint64_t)1 << 63), (uint64_t)1 << 63);
	assert_int_equal(take(s, ((uint64_t)1 << 63) - PAGE, 0), PAGE);
	assert_int_equal(take(s, PAGE, 0), DRAY_IOVA_NONE);
	assert_true(dr_iova_space_is_valid(s));
	dray_iova_space_close(s);

	s = open_space(PAGE, 0, UINT64_MAX - 1); /* the last granule is not whole */
	assert_int_equal(take(s, PAGE, 0), top - PAGE);
	dray_iova_space_close(s);
}

static void phase_keeps_addresses_congruent(void **state)
{
	struct dray_iova_space *s = open_space(PAGE, 0, GIB(4) - 1);
	struct dr_iova_request req = {
		.len = MIB(4) + 3 * PAGE,
		.align = MIB(2),
		.last = DRAY_IOVA_NONE,
	};

	(void)state;
	for (uint64_t phase = 0; phase < MIB(2); phase += 37 * PAGE) {
		dray_iova_t a, b;

		req.phase = phase;
		assert_int_equal(dr_iova_take(s, &req, &a), 0);
		assert_int_equal(a % MIB(2), phase);
		assert_int_equal(dr_iova_take(s, &req, &b), 0);
		assert_int_equal(b % MIB(2), phase);
		assert_true(b + req.len <= a);
		assert_true(dr_iova_give(s, b, req.len));
		/* Given back, the very same place serves the same wish again. */
		dray_iova_t c;

		assert_int_equal(dr_iova_take(s, &req, &c), 0);
		assert_int_equal(c, b);
		assert_true(dr_iova_give(s, a, req.len));
		assert_true(dr_iova_give(s, c, req.len));
	}
	assert_true(dr_iova_space_is_valid(s));
	dray_iova_space_close(s);
}

static void boundaries_are_not_crossed(void **state)
{
	struct dray_iova_space *s = open_space(PAGE, PAGE, MIB(1) - 1);
	struct dr_iova_request req = {
		.len = KIB(48),
		.align = PAGE,
		.last = DRAY_IOVA_NONE,
		.boundary_mask = KIB(64) - 1,
	};
	dray_iova_t iova;
	unsigned n = 0;
	int err;

	(void)state;
	while (!(err = dr_iova_take(s, &req, &iova))) {
		assert_int_equal(iova / KIB(64), (iova + req.len - 1) / KIB(64));
		n++;
	}
	assert_int_equal(err, -ENOSPC);
	assert_int_equal(n, 16); /* one in each 64 KiB, the lowest beside the granule at 0 */

	/* Longer than the distance of boundaries: no room could help. */
	req.len = KIB(68);
	iova = 7;
	assert_int_equal(dr_iova_take(s, &req, &iova), -EINVAL);
	req.len = KIB(64);
	req.align = KIB(64);
	req.phase = PAGE;
	assert_int_equal(dr_iova_take(s, &req, &iova), -EINVAL);
	assert_int_equal(iova, 7); /* no output from a call that failed */
	req.phase = 0;
	assert_int_equal(dr_iova_take(s, &req, &iova), -ENOSPC);
	assert_non_null(strstr(dray_errmsg(), "0xfffff")); /* names the limit */
	assert_int_equal(iova, 7);
	dray_iova_space_close(s);
}

/* The recorded base and length decide; nothing else moves the space. */
static void wrong_gives_are_refused_and_counted(void **state)
{
	struct dray_iova_space *s = open_space(PAGE, 0, MIB(16) - 1);
	dray_iova_t big = take(s, KIB(256), 0), small = take(s, PAGE, 0);
	static struct picture before, after;
	uint64_t bad = 0;
	bool fixed = true;

	(void)state;
	assert_int_equal(small, big - PAGE); /* they adjoin */
#define refused(iova, len)                                                                         \
	do {                                                                                       \
		draw(s, &before);                                                                  \
		assert_false(dr_iova_give(s, iova, len));                                          \
		assert_int_equal(counts_of(s).bad_frees, ++bad);                                   \
		assert_false(dr_iova_quarantine(s, iova, len));                                    \
		before.counts.bad_frees = ++bad;                                                   \
		draw(s, &after);                                                                   \
		assert_same_picture(&before, &after);                                              \
	} while (0)
	refused(big, PAGE); /* a large range with a short size */
	refused(big, KIB(128));
	refused(big, KIB(256) + PAGE);
	refused(big, KIB(256) - 1);
	refused(big, 0);
	refused(big + PAGE, KIB(256) - PAGE);
	refused(big + 1, KIB(256));
	refused(small, PAGE + KIB(256)); /* both at once */
	refused(small, 2 * PAGE);
	refused(0, PAGE);
	refused(MIB(16), PAGE);
	refused(MIB(8), PAGE); /* never taken */
	refused(DRAY_IOVA_NONE, PAGE);

	assert_true(dr_iova_is_live(s, big, KIB(256), &fixed));
	assert_false(fixed);
	assert_true(dr_iova_give(s, big, KIB(256)));
	assert_false(dr_iova_is_live(s, big, KIB(256), NULL));
	refused(big, KIB(256)); /* twice */
	assert_true(dr_iova_give(s, small, PAGE));
	refused(small, PAGE);
#undef refused
	assert_int_equal(s->tree.pieces, 0);
	assert_int_equal(counts_of(s).live_ranges, 0);
	assert_int_equal(counts_of(s).live_bytes, 0);
	assert_true(dr_iova_space_is_valid(s));
	dray_iova_space_close(s);
}

static void quarantined_is_gone_for_good(void **state)
{
	struct dray_iova_space *s = open_space(PAGE, PAGE, 9 * PAGE - 1);
	dray_iova_t a = take(s, 2 * PAGE, 0), b = take(s, 2 * PAGE, 0), c = take(s, 2 * PAGE, 0);

	(void)state;
	assert_true(dr_iova_quarantine(s, b, 2 * PAGE));
	assert_true(dr_iova_quarantine(s, a, 2 * PAGE));
	assert_int_equal(counts_of(s).quarantined_bytes, 4 * PAGE);
	assert_int_equal(counts_of(s).live_bytes, 2 * PAGE);
	assert_int_equal(counts_of(s).live_ranges, 1);
	assert_int_equal(s->tree.pieces, 2); /* the two are one piece now */
	assert_false(dr_iova_give(s, a, 2 * PAGE));
	assert_false(dr_iova_give(s, b, 4 * PAGE));
	assert_false(dr_iova_quarantine(s, a, 2 * PAGE));
	assert_false(dr_iova_is_live(s, a, 2 * PAGE, NULL));
	assert_true(dr_iova_any_live(s, a, a + PAGE - 1));
	assert_true(dr_iova_give(s, c, 2 * PAGE));
	assert_int_equal(dr_iova_take_fixed(s, a, a + PAGE - 1), -EEXIST);
	assert_int_equal(dr_iova_resv(s, b, b + PAGE - 1, DR_RESV_HOLE), -EEXIST);
	assert_int_equal(dr_iova_resv(s, b, b + PAGE - 1, DR_RESV_FIXED), -EEXIST);
	assert_int_equal(take(s, 4 * PAGE, 0), PAGE);
	assert_int_equal(take(s, PAGE, 0), DRAY_IOVA_NONE);
	assert_true(dr_iova_space_is_valid(s));
	dray_iova_space_close(s);
}

static void any_live_sees_every_byte(void **state)
{
	struct dray_iova_space *s = open_space(PAGE, 0, MIB(1) - 1);
	dray_iova_t a = take(s, 3 * PAGE, 0);

	(void)state;
	assert_true(dr_iova_any_live(s, 0, UINT64_MAX));
	assert_true(dr_iova_any_live(s, a, a));
	assert_true(dr_iova_any_live(s, a + 3 * PAGE - 1, a + 3 * PAGE - 1));
	assert_false(dr_iova_any_live(s, a + 3 * PAGE, UINT64_MAX));
	assert_false(dr_iova_any_live(s, 0, a - 1));
	assert_int_equal(dr_iova_resv(s, 0, PAGE - 1, DR_RESV_HOLE), 0);
	assert_false(dr_iova_any_live(s, 0, a - 1)); /* reserved is not live */
	assert_true(dr_iova_give(s, a, 3 * PAGE));
	assert_false(dr_iova_any_live(s, 0, UINT64_MAX));
	dray_iova_space_close(s);
}

/*
 * One search enters at most two nodes on each level for the gap it ends at, and once more for each
 * of the two paths to its edges; insertion and the look-up before it one per level. Alignment may
 * repeat the search for a bounded number of misfits.
 */
static uint64_t most_visits(uint64_t pieces, unsigned searches)
{
	uint64_t height = 2;

	while (pieces >>= 1)
		height++;
	height += height / 2; /* AVL: 1.45 times the least possible */
	return height * (4 * searches + 2);
}

#define CROWD 100000u

static void below_4g_costs_the_same_under_anything(void **state)
{
	struct dray_iova_space *s = open_space(PAGE, 0, ((uint64_t)1 << 48) - 1);
	uint64_t before;
	dray_iova_t got;

	(void)state;
	/* A huge free gap above. */
	before = dr_iova_visits(s);
	assert_int_equal(take_below(s, PAGE, 0, GIB(4) - 1), GIB(4) - PAGE);
	assert_true(dr_iova_visits(s) - before <= most_visits(1, 1));

	/* Many ranges above, without a gap between them, then with one at every second place. */
	for (unsigned i = 0; i < CROWD; i++)
		assert_true(take(s, PAGE, 0) >= GIB(4));
	for (unsigned step = 0; step < 2; step++) {
		for (unsigned i = 0; i < 200; i++) {
			before = dr_iova_visits(s);
			got = take_below(s, PAGE, 0, GIB(4) - 1);
			assert_true(got < GIB(4));
			assert_true(dr_iova_visits(s) - before <= most_visits(CROWD, 1));

			before = dr_iova_visits(s);
			got = take_below(s, KIB(64), KIB(64), GIB(4) - 1);
			assert_true(got < GIB(4) && !(got % KIB(64)));
			assert_true(dr_iova_visits(s) - before <= most_visits(CROWD, 10));
		}
		for (unsigned i = 0; i < CROWD && !step; i += 2)
			assert_true(dr_iova_give(s, ((uint64_t)1 << 48) - (i + 1) * PAGE, PAGE));
	}
	assert_true(dr_iova_space_is_valid(s));
	dray_iova_space_close(s);
}

/* The same load below the limit: holes too small at every second place. */
static void a_crowd_below_the_limit_is_passed_over(void **state)
{
	struct dray_iova_space *s = open_space(PAGE, 0, GIB(4) - 1);
	uint64_t before;

	(void)state;
	for (unsigned i = 0; i < CROWD; i++)
		assert_true(take(s, PAGE, 0) != DRAY_IOVA_NONE);
	for (unsigned i = 0; i < CROWD; i += 2)
		assert_true(dr_iova_give(s, GIB(4) - (i + 1) * PAGE, PAGE));
	before = dr_iova_visits(s);
	assert_int_equal(take(s, 2 * PAGE, 0), GIB(4) - (CROWD + 2) * PAGE);
	assert_true(dr_iova_visits(s) - before <= most_visits(CROWD, 1));
	/* 50,000 holes are large enough, hardly one is aligned: (a) gives up, (b) finds. */
	before = dr_iova_visits(s);
	assert_int_equal(take(s, PAGE, MIB(256)) % MIB(256), 0);
	assert_true(dr_iova_visits(s) - before <= most_visits(CROWD, 10));
	/* Too large for any of them, which is known without a look at them. */
	before = dr_iova_visits(s);
	assert_int_equal(take(s, GIB(4) - CROWD * PAGE, 0), DRAY_IOVA_NONE);
	assert_true(dr_iova_visits(s) - before <= most_visits(CROWD, 1));
	assert_true(dr_iova_space_is_valid(s));
	dray_iova_space_close(s);
}

/* (c): nothing is sure to fit, one odd hole does, far below many misfits. */
static void the_only_aligned_hole_is_found(void **state)
{
	struct dray_iova_space *s = open_space(PAGE, PAGE, MIB(4) - 1);

	(void)state;
	/* Odd granules stay free: none of them is aligned to two. */
	for (uint64_t at = 2 * PAGE; at < MIB(4); at += 2 * PAGE)
		assert_int_equal(dr_iova_take_fixed(s, at, at + PAGE - 1), 0);
	assert_int_equal(take(s, PAGE, 2 * PAGE), DRAY_IOVA_NONE);
	assert_true(dr_iova_give(s, 4 * PAGE, PAGE));
	assert_int_equal(take(s, PAGE, 2 * PAGE), 4 * PAGE);
	assert_int_equal(take(s, PAGE, 2 * PAGE), DRAY_IOVA_NONE);
	assert_int_equal(take(s, PAGE, 0), MIB(4) - PAGE);
	assert_true(dr_iova_space_is_valid(s));
	dray_iova_space_close(s);
}

/* An aligned range given back among live neighbours is what the next such request gets. */
static void an_aligned_hole_is_used_again(void **state)
{
	struct dray_iova_space *s = open_space(PAGE, 0, ((uint64_t)1 << 48) - 1);
	dray_iova_t chunk[64];

	(void)state;
	for (unsigned i = 0; i < 64; i++)
		chunk[i] = take(s, MIB(2), MIB(2));
	for (unsigned i = 1; i < 64; i += 2) {
		assert_true(dr_iova_give(s, chunk[i], MIB(2)));
		assert_int_equal(take(s, MIB(2), MIB(2)), chunk[i]);
	}
	dray_iova_space_close(s);

	/*
	 * Also below holes of the same size that are not aligned, and before fresh space: pages
	 * from 990 on are taken but for the pairs at 1002 and, odd, at 1005, 1009, 1013, 1017 and
	 * 1021.
	 */
	s = open_space(PAGE, PAGE, 1024 * PAGE - 1);
	for (unsigned at = 990; at < 1024; at++)
		if ((at < 1004 || (at % 4 != 1 && at % 4 != 2)) && at / 2 != 501)
			assert_int_equal(dr_iova_take_fixed(s, at * PAGE, at * PAGE + PAGE - 1), 0);
	assert_int_equal(take(s, 2 * PAGE, 2 * PAGE), 1002 * PAGE);
	assert_int_equal(take(s, 2 * PAGE, 2 * PAGE), 988 * PAGE);
	assert_int_equal(take(s, 2 * PAGE, 0), 1021 * PAGE);
	dray_iova_space_close(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(goes_from_the_top),
		cmocka_unit_test(the_window_is_used_to_its_edges),
		cmocka_unit_test(address_zero_is_never_chosen),
		cmocka_unit_test(limits_are_inclusive),
		cmocka_unit_test(the_last_granule_of_64_bits),
		cmocka_unit_test(phase_keeps_addresses_congruent),
		cmocka_unit_test(boundaries_are_not_crossed),
		cmocka_unit_test(wrong_gives_are_refused_and_counted),
		cmocka_unit_test(quarantined_is_gone_for_good),
		cmocka_unit_test(any_live_sees_every_byte),
		cmocka_unit_test(below_4g_costs_the_same_under_anything),
		cmocka_unit_test(a_crowd_below_the_limit_is_passed_over),
		cmocka_unit_test(the_only_aligned_hole_is_found),
		cmocka_unit_test(an_aligned_hole_is_used_again),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
