// SPDX-License-Identifier: BSD-2-Clause
/* Every call that registering makes fails once; nothing is left of it, and the next one works. */
#include "rig.h"

static uint64_t live_bytes(void)
{
	struct dr_iova_counts counts;

	dr_iova_counts(rig.io.space, &counts);
	return counts.live_bytes;
}

/* As before: nothing found, nothing mapped, no IOVA gone, the fork advice taken back. */
static void assert_untouched(const void *va, size_t len, uint64_t live)
{
	assert_int_equal(translate(va, NULL), DRAY_IOVA_NONE);
	assert_int_equal(translate((const char *)va + len - 1, NULL), DRAY_IOVA_NONE);
	assert_int_equal(rig.mapped, 0);
	assert_int_equal(live_bytes(), live);
	assert_int_equal(rig.dontforks, rig.doforks);
	assert_false(dr_regions_any(rig.r, 0));
	assert_true(dr_regions_is_valid(rig.r));
}

/* Fail the first, second ... allocation, in a new world each; how many there are. */
static unsigned fail_each(dray_iova_t at, uint32_t flags)
{
	size_t len = 2 * MB2 + 2 * KB4;
	void *va = AT(GB1 - MB2 - KB4);
	struct dray_region *g;
	unsigned n = 0;
	int err;

	do {
		uint64_t live;

		assert_int_equal(rig_teardown(NULL), 0);
		rig_setup(NULL);
		live = live_bytes();
		rig.fail_alloc = ++n;
		err = add_at(at, va, len, flags, &g);
		if (err) {
			assert_int_equal(err, -ENOMEM);
			assert_int_equal(rig.fail_alloc, 0);
			assert_untouched(va, len, live);
			assert_int_equal(add_at(at, va, len, flags, &g), 0);
			assert_int_equal(drop(g), 0);
			assert_untouched(va, len, live);
		}
	} while (err);
	rig.fail_alloc = 0;
	assert_int_equal(drop(g), 0);
	return n - 1;
}

static void test_every_allocation(void **state)
{
	(void)state;
	/* At least: descriptors, nodes, an IOVA, page tables. */
	assert_true(fail_each(DRAY_IOVA_NONE, DRAY_REGION_DONTFORK) > 4);
	assert_true(fail_each(33 * GB1, DRAY_REGION_DONTFORK) > 4);
	/* No page tables, but the table for the way back, its root and nodes. */
	assert_true(fail_each(33 * GB1 - KB4, DRAY_REGION_PREMAPPED) > 4);
}

static void test_every_backend_call(void **state)
{
	static const int errs[] = { -EFAULT, -ENOMEM, -ENOSPC, -EEXIST };
	uint64_t live = live_bytes();
	struct dray_region *g;

	(void)state;
	rig.be.max_op = MB2;
	for (size_t e = 0; e < sizeof(errs) / sizeof(errs[0]); e++)
		for (unsigned n = 1; n <= 4; n++) {
			rig.fail_map = n;
			rig.map_err = errs[e];
			assert_int_equal(add_flags(AT(0), 4 * MB2, DRAY_REGION_DONTFORK, &g),
					 errs[e]);
			assert_untouched(AT(0), 4 * MB2, live);
		}
	assert_int_equal(add_flags(AT(0), 4 * MB2, DRAY_REGION_DONTFORK, &g), 0);
	rig.be.max_op = UINT64_MAX;
}

/* A failed piece, and a backend that will not take back an earlier one: quarantined. */
static void test_undo_is_refused(void **state)
{
	struct dr_iova_counts counts;
	struct dray_region *g;

	(void)state;
	rig.be.max_op = MB2;
	rig.fail_map = 3;
	rig.map_err = -ENOMEM;
	rig.fail_unmap = 1;
	rig.unmap_err = -EIO;
	assert_int_equal(add_flags(AT(0), 4 * MB2, 0, &g), -ENOMEM);
	dr_iova_counts(rig.io.space, &counts);
	assert_int_equal(counts.quarantined_bytes, 4 * MB2);
	assert_true(rig.io.damaged);
	assert_int_equal(translate(AT(0), NULL), DRAY_IOVA_NONE);
	assert_int_equal(add_flags(AT(0), 4 * MB2, 0, &g), 0);
	rig.be.max_op = UINT64_MAX;
	atomic_fetch_sub(&rig.mapped, MB2); /* what stays for good */
	assert_int_equal(drop(g), 0);
}

static void test_open(void **state)
{
	struct dr_regions *r = NULL;
	long blocks = rig.blocks, area = rig.area_bytes;

	(void)state;
	for (unsigned n = 1; n <= 2; n++) {
		rig.fail_alloc = n;
		assert_int_equal(dr_regions_open(&rig.io, &r), -ENOMEM);
		assert_null(r);
		assert_int_equal(rig.blocks, blocks);
		assert_int_equal(rig.area_bytes, area);
	}
	assert_int_equal(dr_regions_open(&rig.io, &r), 0);
	dr_regions_close(r);
	assert_int_equal(rig.blocks, blocks);
}

/* A map without memory for slots is counted all the same. */
static void test_enter_without_memory(void **state)
{
	struct dray_region *g = add(AT(0), KB4);
	dray_iova_t iova;
	uint32_t i, k;

	(void)state;
	rig.fail_alloc = 1;
	assert_true(enter(AT(0), 1, DRAY_TO_DEVICE, &iova, &i));
	assert_int_equal(rig.fail_alloc, 0);
	assert_int_equal(g->shared_out, 1);
	assert_int_equal(drop(g), -EBUSY);
	assert_true(enter(AT(0), 1, DRAY_TO_DEVICE, &iova, &k));
	assert_int_equal(g->shared_out, 1);
	leave(i);
	assert_int_equal(drop(g), -EBUSY);
	leave(k);
	assert_int_equal(drop(g), 0);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, rig_setup, rig_teardown)
	const struct CMUnitTest tests[] = {
		T(test_every_allocation),
		T(test_every_backend_call),
		T(test_undo_is_refused),
		T(test_open),
		T(test_enter_without_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
