// SPDX-License-Identifier: BSD-2-Clause
/* Pools of one device's own: what others cannot take from it, and what is left when it leaves. */
#include "rig.h"

#include <stdlib.h>
#include <string.h>

#include "bounce/pool.h"

#define SECOND UINT64_C(1000000000)

static _Alignas(4096) char buf[4096];

static struct dr_bounce_request small(struct dr_bounce_pool_set *own)
{
	struct dr_bounce_request q = request(buf, 2048, DRAY_BIDIRECTIONAL, true);

	q.own = own;
	q.keep_offset = false;
	return q;
}

static struct dr_bounce_stats own_stats(struct rig *r, struct dr_bounce_pool_set *own)
{
	struct dr_bounce_stats st;

	dr_bounce_stats(r->b, own, &st);
	return st;
}

static void idle(struct rig *r)
{
	for (unsigned i = 0; i < 3; i++) {
		world_ns += SECOND;
		dr_bounce_trim(r->b);
	}
}

/* However many pools there are, each set's first one has its number and its records. */
static void test_numbers(void **state)
{
	struct rig *r = rig_open(NULL, DRAY_DOMAIN_PAGING, 0);
	struct dr_bounce_pool_set *own[DR_POOL_IDS] = { NULL }, *none = NULL;
	struct dr_bounce_request q = small(NULL);
	uint64_t h[DR_POOL_IDS], shared;
	dray_iova_t iova;
	unsigned n = 0;

	(void)state;
	for (; n < DR_POOL_IDS - 1; n++)
		assert_int_equal(dr_bounce_own_open(r->b, 2 * KB4, &own[n]), 0);
	assert_int_equal(dr_bounce_own_open(r->b, 2 * KB4, &none), -ENOSPC);
	assert_null(none);
	assert_int_equal(stats_of(r).pools, 0);
	assert_int_equal(dr_bounce_map(r->b, &q, &iova, &shared), -ENOSPC);
	for (unsigned i = 0; i < n; i++) {
		q = small(own[i]);
		h[i] = map_at(r, &q, &iova);
	}
	assert_int_equal(stats_of(r).pools, n);
	for (unsigned i = 0; i < n; i++)
		assert_true(dr_bounce_unmap(r->b, h[i], true));
	/* One goes, and its number is anybody's. */
	dr_bounce_own_close(r->b, own[7]);
	q = small(NULL);
	assert_true(dr_bounce_unmap(r->b, map_at(r, &q, &iova), true));
	assert_int_equal(dr_bounce_own_open(r->b, 2 * KB4, &none), -ENOSPC);
	/* Idle, and used again: from its own. */
	dr_bounce_own_leave(r->b, own[9]);
	assert_int_equal(own_stats(r, own[9]).pools, 0);
	assert_int_equal(dr_bounce_own_open(r->b, 2 * KB4, &none), -ENOSPC);
	dr_bounce_own_return(r->b, own[9]);
	q = small(own[9]);
	assert_true(dr_bounce_unmap(r->b, map_at(r, &q, &iova), true));
	for (unsigned i = 0; i < n; i++)
		if (i != 7)
			dr_bounce_own_close(r->b, own[i]);
	assert_true(dr_bounce_is_valid(r->b));
	rig_close(r);
}

/* What is out stays as it is; everything else goes, now or when it is idle. */
static void test_leave(void **state)
{
	struct rig *r = rig_open(NULL, DRAY_DOMAIN_PAGING, 0);
	struct dr_bounce_pool_set *own;
	struct dr_bounce_request q;
	dray_iova_t iova, other;
	uint64_t a, b, found;
	size_t off;
	char got[2048];

	(void)state;
	assert_int_equal(dr_bounce_own_open(r->b, 64 * KB, &own), 0);
	q = small(own);
	assert_true(dr_bounce_unmap(r->b, map_at(r, &q, &iova), true));
	idle(r);
	assert_int_equal(own_stats(r, own).pools, 1);
	dr_bounce_own_leave(r->b, own);
	assert_int_equal(own_stats(r, own).pools, 0);
	assert_false(dr_bounce_is_present(r->b));
	device_read_faults(r, iova);

	dr_bounce_own_return(r->b, own);
	fill(buf, 2048, 3);
	a = map_at(r, &q, &iova);
	b = map_at(r, &q, &other);
	dr_bounce_own_leave(r->b, own);
	idle(r);
	assert_int_equal(own_stats(r, own).pools, 1);
	assert_true(dr_bounce_find(r->b, iova + 9, 1, &found, &off) && found == a && off == 9);
	device_reads(r, iova, got, 2048);
	assert_memory_equal(got, buf, 2048);
	device_writes(r, iova + 5, "written", 7);
	assert_true(dr_bounce_unmap(r->b, a, true));
	assert_memory_equal(buf + 5, "written", 7);
	idle(r);
	assert_int_equal(own_stats(r, own).pools, 1);
	assert_true(dr_bounce_unmap(r->b, b, true));
	/* Not before a second has passed without use. */
	dr_bounce_trim(r->b);
	assert_int_equal(own_stats(r, own).pools, 1);
	idle(r);
	assert_int_equal(own_stats(r, own).pools, 0);

	dr_bounce_own_return(r->b, own);
	assert_true(dr_bounce_unmap(r->b, map_at(r, &q, &iova), true));
	idle(r);
	assert_int_equal(own_stats(r, own).pools, 1);
	dr_bounce_own_close(r->b, own);
	dr_bounce_own_leave(r->b, NULL);
	dr_bounce_own_return(r->b, NULL);
	rig_close(r);
}

/* A pool above a mask that has come down makes room for one below it, unless it is in use. */
static void test_mask_comes_down(void **state)
{
	struct rig *r = rig_open(NULL, DRAY_DOMAIN_PAGING, 0);
	struct dr_bounce_pool_set *own;
	struct dr_bounce_request q;
	dray_iova_t high, low;
	uint64_t h;

	(void)state;
	assert_int_equal(dr_bounce_own_open(r->b, 2 * KB4, &own), 0);
	q = small(own);
	h = map_at(r, &q, &high);
	assert_true(high > MASK32);
	q.mask = MASK32;
	assert_int_equal(dr_bounce_map(r->b, &q, &low, &(uint64_t){ 0 }), -ENOSPC);
	assert_true(dr_bounce_unmap(r->b, h, true));
	h = map_at(r, &q, &low);
	assert_true(low + 2047 <= MASK32);
	device_read_faults(r, high);
	assert_int_equal(own_stats(r, own).mapped_bytes, 2 * KB4);
	assert_true(dr_bounce_unmap(r->b, h, true));
	dr_bounce_own_close(r->b, own);
	rig_close(r);
}

/* The most that was ever out is not forgotten with a set, nor counted twice when sets follow. */
static void test_high_water(void **state)
{
	struct rig *r = rig_open(NULL, DRAY_DOMAIN_PAGING, 0);
	struct dr_bounce_request q = small(NULL);
	struct dr_bounce_pool_set *own;
	uint64_t h[9], high;
	dray_iova_t iova;

	(void)state;
	for (unsigned i = 0; i < 4; i++)
		h[i] = map_at(r, &q, &iova);
	for (unsigned round = 0; round < 5; round++) {
		assert_int_equal(dr_bounce_own_open(r->b, 64 * KB, &own), 0);
		q = small(own);
		for (unsigned i = 4; i < 9; i++)
			h[i] = map_at(r, &q, &iova);
		assert_int_equal(own_stats(r, own).high_water_bytes, 5 * 2048);
		for (unsigned i = 4; i < 9; i++)
			assert_true(dr_bounce_unmap(r->b, h[i], true));
		dr_bounce_own_close(r->b, own);
		high = stats_of(r).high_water_bytes;
		assert_int_equal(high, 9 * 2048);
	}
	for (unsigned i = 0; i < 4; i++)
		assert_true(dr_bounce_unmap(r->b, h[i], true));
	rig_close(r);
}

/* Whole granules, and never more than was asked for. */
static void test_ceiling(void **state)
{
	struct rig *r = rig_open(NULL, DRAY_DOMAIN_PAGING, 0);
	struct dr_bounce_pool_set *own;
	struct dr_bounce_request q;
	dray_iova_t iova;
	uint64_t h[6];

	(void)state;
	for (unsigned trusted = 0; trusted < 2; trusted++) {
		unsigned n = trusted ? 4 : 2;

		assert_int_equal(dr_bounce_own_open(r->b, 3 * KB4 - 1, &own), 0);
		assert_int_equal(dr_bounce_max_len(r->b, own, true), KB4);
		q = small(own);
		q.trusted = trusted;
		for (unsigned i = 0; i < n; i++)
			h[i] = map_at(r, &q, &iova);
		assert_int_equal(dr_bounce_map(r->b, &q, &iova, &h[n]), -ENOSPC);
		assert_int_equal(own_stats(r, own).mapped_bytes + own_stats(r, own).private_bytes,
				 2 * KB4);
		for (unsigned i = 0; i < n; i++)
			assert_true(dr_bounce_unmap(r->b, h[i], true));
		dr_bounce_own_close(r->b, own);
	}
	rig_close(r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_numbers),
		cmocka_unit_test(test_leave),
		cmocka_unit_test(test_mask_comes_down),
		cmocka_unit_test(test_high_water),
		cmocka_unit_test(test_ceiling),
	};
	int err;

	world_begin();
	err = cmocka_run_group_tests(tests, NULL, NULL);
	world_end();
	return err;
}
