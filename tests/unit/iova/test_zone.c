// SPDX-License-Identifier: BSD-2-Clause
/* Limits: what comes from a lower zone goes back there, by the short way as by the long one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#define SPACE_FLAGS 0
#include "iova_test.h"

#include <dray/iova.h>

#define BELOW_4G   (GIB(4) - 1)
#define BELOW_512G (GIB(512) - 1)

static const uint64_t limits[] = {BELOW_4G, BELOW_512G, 0};

#define LIMITS (sizeof(limits) / sizeof(limits[0]))

static dray_iova_t alloc_below(struct dray_iova_space *s, size_t len, uint64_t last)
{
	dray_iova_t iova = dray_iova_alloc(s, len, 0, last);

	assert_true(iova != DRAY_IOVA_NONE && iova % len == 0);
	assert_true(!last || iova + (len - 1) <= last);
	return iova;
}

/* The last one given back in a zone is the first taken there, whatever other zones do meanwhile. */
static void every_zone_is_a_stack_of_its_own(void **state)
{
	struct dray_iova_space *s = open_space(PAGE, 0, (UINT64_C(1) << 48) - 1);
	dray_iova_t at[LIMITS], other[LIMITS];

	(void)state;
	for (size_t len = PAGE; len <= MIB(2); len *= 2) {
		for (unsigned i = 0; i < LIMITS; i++) {
			at[i] = alloc_below(s, len, limits[i]);
			other[i] = alloc_below(s, len, limits[i]);
		}
		/* A wide request leaves low addresses alone. */
		assert_true(at[0] <= BELOW_4G && at[1] > BELOW_4G && at[1] <= BELOW_512G &&
			    at[2] > BELOW_512G);
		for (unsigned i = 0; i < LIMITS; i++)
			dray_iova_free(s, at[i], len);
		for (unsigned i = 0; i < LIMITS; i++)
			assert_int_equal(alloc_below(s, len, limits[i]), at[i]);
		for (unsigned i = 0; i < LIMITS; i++) {
			dray_iova_free(s, at[i], len);
			dray_iova_free(s, other[i], len);
		}
	}
	assert_int_equal(counts_of(s).bad_frees, 0);
	assert_int_equal(counts_of(s).live_ranges, 0);
	assert_true(dr_iova_space_is_valid(s));
	dray_iova_space_close(s);
}

/* Limits between the zones' bounds are kept too: by the zone below, or by the tree. */
static void limits_inside_a_zone_are_kept(void **state)
{
	static const uint64_t odd[] = {MIB(1) - 1, MIB(300), GIB(4), GIB(511) + 5, GIB(512),
				       (UINT64_C(1) << 47) - 1, (UINT64_C(1) << 48) - 2};
	struct dray_iova_space *s = open_space(PAGE, 0, (UINT64_C(1) << 48) - 1);

	(void)state;
	for (unsigned k = 0; k < 3; k++)
		for (unsigned i = 0; i < sizeof(odd) / sizeof(odd[0]); i++)
			for (size_t len = PAGE; len <= KIB(64); len *= 2)
				dray_iova_free(s, alloc_below(s, len, odd[i]), len);
	assert_int_equal(counts_of(s).bad_frees, 0);
	assert_true(dr_iova_space_is_valid(s));
	dray_iova_space_close(s);
}

/* Wrong ones of every kind, in every zone, with and without anything of theirs in the caches. */
static void wrong_frees_are_refused_in_every_zone(void **state)
{
	struct dray_iova_space *s = open_space(PAGE, 0, (UINT64_C(1) << 48) - 1);
	uint64_t bad = 0;

	(void)state;
	for (unsigned i = 0; i < LIMITS; i++) {
		dray_iova_t a = alloc_below(s, KIB(16), limits[i]);
		const struct { dray_iova_t iova; size_t len; } wrong[] = {
			{a, KIB(8)}, {a, KIB(32)}, {a, PAGE}, {a, KIB(12)}, {a, 0}, {a, 1},
			{a + PAGE, KIB(16)}, {a + 1, KIB(16)}, {a + KIB(16), KIB(16)},
			{a - KIB(16), KIB(16)}, {0, KIB(16)}, {DRAY_IOVA_NONE, KIB(16)},
			{a ^ UINT64_C(1) << 38, KIB(16)}, {a, SIZE_MAX}, {a, (size_t)1 << 63},
		};

		for (unsigned k = 0; k < sizeof(wrong) / sizeof(wrong[0]); k++) {
			dray_iova_free(s, wrong[k].iova, wrong[k].len);
			assert_int_equal(counts_of(s).bad_frees, ++bad);
		}
		assert_false(dr_iova_give_retired(s, a, KIB(16)));
		dray_iova_free(s, a, KIB(16));
		assert_int_equal(counts_of(s).bad_frees, ++bad);
		dray_iova_free(s, a, KIB(16));
		assert_false(dr_iova_retire(s, a, KIB(16)));
		bad += 2;
		assert_int_equal(counts_of(s).bad_frees, bad);
		assert_int_equal(counts_of(s).live_ranges, 0);
	}
	assert_true(dr_iova_space_is_valid(s));
	dray_iova_space_close(s);
}

/* Live, waiting for a flush, back: counted alike in every zone. */
static void retired_ones_wait_in_every_zone(void **state)
{
	struct dray_iova_space *s = open_space(PAGE, 0, (UINT64_C(1) << 48) - 1);

	(void)state;
	for (unsigned i = 0; i < LIMITS; i++) {
		dray_iova_t a = alloc_below(s, KIB(8), limits[i]), b;

		assert_true(dr_iova_retire(s, a, KIB(8)));
		assert_int_equal(counts_of(s).retired_bytes, KIB(8));
		assert_false(dr_iova_is_live(s, a, KIB(8), NULL));
		b = alloc_below(s, KIB(8), limits[i]);
		assert_true(b != a);
		assert_false(dr_iova_give(s, a, KIB(8)));
		assert_true(dr_iova_give_retired(s, a, KIB(8)));
		assert_int_equal(counts_of(s).retired_bytes, 0);
		assert_int_equal(alloc_below(s, KIB(8), limits[i]), a);
		dray_iova_free(s, a, KIB(8));
		dray_iova_free(s, b, KIB(8));
	}
	assert_true(dr_iova_space_is_valid(s));
	dray_iova_space_close(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_zone_is_a_stack_of_its_own),
		cmocka_unit_test(limits_inside_a_zone_are_kept),
		cmocka_unit_test(wrong_frees_are_refused_in_every_zone),
		cmocka_unit_test(retired_ones_wait_in_every_zone),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
