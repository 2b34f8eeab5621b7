// SPDX-License-Identifier: BSD-2-Clause
/* The IOTLB alone: what it serves, what it forgets, and that no fill overtakes an invalidation. */
#include "rig.h"

#include "backend/sim/iotlb.h"

#define SPACE UINT64_C(1000001)
#define OTHER UINT64_C(1000002)
#define SLOTS 256u /* 64 sets of 4 ways */

static int setup(void **state)
{
	(void)state;
	dr_iotlb_reset();
	return 0;
}

static bool fill(uint64_t space, dray_iova_t iova, uint64_t pte, unsigned shift)
{
	return dr_iotlb_fill(space, iova, pte, shift, dr_iotlb_generation());
}

static uint64_t cached(uint64_t space, dray_iova_t iova)
{
	uint64_t pte;
	unsigned shift;

	return dr_iotlb_lookup(space, iova, &pte, &shift) ? pte : 0;
}

static void serves_pages_of_every_size(void **state)
{
	const unsigned shifts[] = { 12, 21, 30 };
	uint64_t pte;
	unsigned shift;

	(void)state;
	for (unsigned i = 0; i < 3; i++) {
		dray_iova_t iova = (i + 1) * 8 * GB1;

		assert_false(dr_iotlb_lookup(SPACE, iova, &pte, &shift));
		assert_true(fill(SPACE, iova + 0x123, 0x5003 + i, shifts[i]));
		assert_true(dr_iotlb_lookup(SPACE, iova, &pte, &shift));
		assert_int_equal(pte, 0x5003 + i);
		assert_int_equal(shift, shifts[i]);
		assert_true(cached(SPACE, iova + ((size_t)1 << shifts[i]) - 1));
		assert_false(cached(SPACE, iova + ((size_t)1 << shifts[i])));
		assert_false(cached(SPACE, iova - 1));
		assert_false(cached(OTHER, iova));
	}
}

static void a_page_is_cached_once(void **state)
{
	(void)state;
	assert_true(fill(SPACE, KB4, 0x1003, 12));
	assert_true(fill(SPACE, KB4, 0x2003, 12));
	assert_int_equal(cached(SPACE, KB4), 0x2003);
	dr_iotlb_invalidate(SPACE, KB4, KB4);
	assert_int_equal(cached(SPACE, KB4), 0);
}

static void is_full_at_its_size(void **state)
{
	unsigned found = 0;

	(void)state;
	/* A run of pages is spread over all sets evenly. */
	for (uint64_t i = 0; i < SLOTS; i++)
		assert_true(fill(SPACE, i * KB4, i * KB4 | 3, 12));
	for (uint64_t i = 0; i < SLOTS; i++)
		assert_int_equal(cached(SPACE, i * KB4), i * KB4 | 3);
	/* As many again push the first out, each of them. */
	for (uint64_t i = SLOTS; i < 2 * SLOTS; i++)
		assert_true(fill(SPACE, i * KB4, i * KB4 | 3, 12));
	for (uint64_t i = 0; i < SLOTS; i++) {
		found += cached(SPACE, i * KB4) != 0;
		assert_int_equal(cached(SPACE, (i + SLOTS) * KB4), (i + SLOTS) * KB4 | 3);
	}
	assert_int_equal(found, 0);
}

static void forgets_the_range_and_no_more(void **state)
{
	(void)state;
	for (uint64_t i = 0; i < 100; i++) {
		fill(SPACE, i * KB4, 0x1003, 12);
		fill(OTHER, i * KB4, 0x1003, 12);
	}
	dr_iotlb_invalidate(SPACE, 10 * KB4, 12 * KB4 - 1); /* by the sets of its pages */
	dr_iotlb_invalidate(SPACE, 40 * KB4, 70 * KB4 - 1); /* by all sets */
	for (uint64_t i = 0; i < 100; i++) {
		bool gone = (i >= 10 && i < 12) || (i >= 40 && i < 70);

		assert_int_equal(cached(SPACE, i * KB4) == 0, gone);
		assert_int_equal(cached(OTHER, i * KB4), 0x1003);
	}
	/* Larger pages go when the range touches them anywhere. */
	fill(SPACE, 5 * MB2, 0x5003, 21);
	fill(SPACE, 6 * MB2, 0x5003, 21);
	fill(SPACE, 3 * GB1, 0x5003, 30);
	dr_iotlb_invalidate(SPACE, 5 * MB2 + 77 * KB4, 5 * MB2 + 78 * KB4 - 1);
	assert_false(cached(SPACE, 5 * MB2));
	assert_true(cached(SPACE, 6 * MB2));
	dr_iotlb_invalidate(SPACE, 4 * GB1 - KB4, 4 * GB1 - 1);
	assert_false(cached(SPACE, 3 * GB1));
	/* One byte short on either side. */
	dr_iotlb_invalidate(SPACE, 5 * MB2, 6 * MB2 - 1);
	dr_iotlb_invalidate(SPACE, 7 * MB2, 8 * MB2 - 1);
	assert_true(cached(SPACE, 6 * MB2));
	/* A whole space; everything. */
	dr_iotlb_invalidate(SPACE, 0, UINT64_MAX);
	assert_false(cached(SPACE, 6 * MB2));
	assert_true(cached(OTHER, 0));
	dr_iotlb_invalidate(DR_IOTLB_ALL, 0, UINT64_MAX);
	assert_false(cached(OTHER, 0));
}

/* A walk that began before an invalidation must not be cached after it. */
static void a_late_fill_is_dropped(void **state)
{
	uint64_t generation = dr_iotlb_generation();

	(void)state;
	dr_iotlb_invalidate(SPACE, KB4, 2 * KB4 - 1);
	assert_false(dr_iotlb_fill(SPACE, KB4, 0x1003, 12, generation));
	assert_false(cached(SPACE, KB4));
	/* One that began afterwards is. */
	assert_true(fill(SPACE, KB4, 0x1003, 12));
	assert_true(cached(SPACE, KB4));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(serves_pages_of_every_size, setup),
		cmocka_unit_test_setup(a_page_is_cached_once, setup),
		cmocka_unit_test_setup(is_full_at_its_size, setup),
		cmocka_unit_test_setup(forgets_the_range_and_no_more, setup),
		cmocka_unit_test_setup(a_late_fill_is_dropped, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
