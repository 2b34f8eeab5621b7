// SPDX-License-Identifier: BSD-2-Clause
/*
 * Fail the nth allocation, and refuse the nth backend call: every error path leaves pools, IOVAs
 * and live slots as they were.
 */
#include "rig.h"

#include <stdlib.h>
#include <string.h>

static char *buf; /* 2 MiB */

#define MB2 (2 * MB1)

/* A backend between the pools and the software IOMMU that fails the nth call of a kind. */
static struct dr_backend_ops ops;
static int fail_map, fail_unmap;
static int map_error;

static int failing_map(struct dr_backend *be, dray_iova_t iova, void *va, size_t len, uint64_t bits)
{
	if (fails(&fail_map))
		return map_error;
	return dr_sim_ops.map(be, iova, va, len, bits);
}

static int failing_unmap(struct dr_backend *be, dray_iova_t iova, size_t len, size_t *ret_gone)
{
	if (fails(&fail_unmap)) {
		*ret_gone = 0;
		return -EIO;
	}
	return dr_sim_ops.unmap(be, iova, len, ret_gone);
}

static struct rig *open_failing(size_t bytes, uint64_t max_op)
{
	struct rig *r = rig_open(NULL, DRAY_DOMAIN_PAGING, bytes);

	if (max_op)
		dr_sim_set_max_op(r->io.be, max_op);
	ops = dr_sim_ops;
	ops.map = failing_map;
	ops.unmap = failing_unmap;
	r->io.ops = &ops;
	fail_map = fail_unmap = 0;
	map_error = -ENOMEM;
	return r;
}

struct view {
	struct dr_bounce_stats st;
	struct dr_iova_counts iovas;
	long mapped, blocks;
};

static struct view view_of(struct rig *r)
{
	struct view v = { .st = stats_of(r), .mapped = mapped_now, .blocks = blocks_now };

	dr_iova_counts(r->io.space, &v.iovas);
	v.st.failures = 0;
	return v;
}

static void assert_same(struct rig *r, const struct view *was)
{
	struct view now = view_of(r);

	assert_true(dr_bounce_is_valid(r->b));
	assert_int_equal(now.st.slots_out, was->st.slots_out);
	assert_int_equal(now.st.used_bytes, was->st.used_bytes);
	assert_int_equal(now.st.lost_bytes, was->st.lost_bytes);
	assert_int_equal(now.iovas.quarantined_bytes, was->iovas.quarantined_bytes);
	assert_int_equal(now.iovas.bad_frees, was->iovas.bad_frees);
	/* A pool that was made before a later step failed may stay. */
	if (now.st.pools == was->st.pools) {
		assert_int_equal(now.iovas.live_bytes, was->iovas.live_bytes);
		assert_int_equal(now.mapped, was->mapped);
	}
}

/* Fail one thing after another until a map meets none; *ret_h is the map's that succeeded. */
static unsigned fail_each(struct rig *r, const struct dr_bounce_request *q, int *counter,
			  uint64_t *ret_h)
{
	unsigned failures = 0;

	for (int nth = 1;; nth++) {
		struct view was = view_of(r);
		dray_iova_t iova = 77;
		int err;

		*ret_h = 88;
		*counter = nth;
		failed = 0;
		err = dr_bounce_map(r->b, q, &iova, ret_h);
		*counter = 0;
		if (!err) {
			if (!failed)
				return failures;
			/* It did without, or with a smaller pool; from the beginning again. */
			assert_true(dr_bounce_unmap(r->b, *ret_h, true));
			if (q->trusted) {
				assert_int_equal(dr_bounce_retire_idle(r->b), 0);
				dr_bounce_allow_pools(r->b);
			}
			continue;
		}
		assert_true(err == -ENOMEM || err == -ENOSPC || err == map_error);
		assert_true(iova == 77 && *ret_h == 88);
		assert_same(r, &was);
		failures++;
	}
}

static void test_alloc(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 4; i++)
		for (size_t len = 100; len <= MB1; len *= 100) {
			struct rig *r = open_failing(0, 0);
			struct dr_bounce_request q = request(buf + 9, len, DRAY_BIDIRECTIONAL,
							     i % 2);
			unsigned n;
			uint64_t h;

			/* One failure is survived by a smaller pool; what lasts is not. */
			fail_stays = i / 2;
			n = fail_each(r, &q, &fail_nth, &h);
			assert_true(fail_stays ? n >= 6 : n == 0);
			fail_stays = false;
			assert_true(dr_bounce_unmap(r->b, h, true));
			rig_close(r);
		}
}

static void test_backend_map(void **state)
{
	static const int errors[] = { -ENOMEM, -ENOSPC, -EFAULT, -EEXIST };

	(void)state;
	for (unsigned i = 0; i < sizeof(errors) / sizeof(errors[0]); i++)
		for (int trusted = 0; trusted < 2; trusted++) {
			/* In pieces, so that there is something to undo. */
			struct rig *r = open_failing(0, 65536);
			struct dr_bounce_request q = request(buf, 300 * KB, DRAY_BIDIRECTIONAL,
							     trusted);
			uint64_t h;
			unsigned n;

			map_error = errors[i];
			fail_stays = true;
			n = fail_each(r, &q, &fail_map, &h);
			assert_true(n >= 5);
			fail_stays = false;
			assert_true(dr_bounce_unmap(r->b, h, true));
			rig_close(r);
		}
}

/* Short of pinned memory: the pool is as small as it can be made, and the map succeeds. */
static void test_smaller_pool(void **state)
{
	struct rig *r = open_failing(0, 0);
	struct dr_bounce_request q = request(buf, 5000, DRAY_BIDIRECTIONAL, true);
	dray_iova_t iova;
	uint64_t h;

	(void)state;
	fail_map = 1;
	h = map_at(r, &q, &iova);
	assert_int_equal(stats_of(r).mapped_bytes, MB1);
	assert_true(dr_bounce_unmap(r->b, h, true));
	rig_close(r);
}

/* Undoing a map is refused as well: the pieces are quarantined, memory included. */
static void test_undo_refused(void **state)
{
	(void)state;
	for (int trusted = 0; trusted < 2; trusted++) {
		struct rig *r = open_failing(0, 65536);
		struct dr_bounce_request q = request(buf, 300 * KB, DRAY_BIDIRECTIONAL, trusted);
		struct dr_iova_counts c;
		dray_iova_t iova;
		uint64_t h;

		map_error = -EFAULT;
		fail_map = 3;
		fail_unmap = 1;
		assert_int_equal(dr_bounce_map(r->b, &q, &iova, &h), -EFAULT);
		dr_iova_counts(r->io.space, &c);
		assert_int_equal(c.quarantined_bytes, stats_of(r).lost_bytes);
		assert_true(c.quarantined_bytes >= 300 * KB);
		assert_int_equal(stats_of(r).slots_out, 0);
		assert_true(dr_bounce_is_valid(r->b));
		h = map_at(r, &q, &iova);
		assert_true(dr_bounce_unmap(r->b, h, true));
		rig_close(r);
	}
}

static void test_no_iova(void **state)
{
	(void)state;
	for (int trusted = 0; trusted < 2; trusted++) {
		struct rig *r = open_failing(0, 0);
		struct dr_bounce_request q = request(buf, 5000, DRAY_BIDIRECTIONAL, trusted);
		struct view was = view_of(r);
		dray_iova_t iova;
		uint64_t h;

		q.mask = 8191; /* one granule: the one at 0 is nobody's */
		assert_int_equal(dr_bounce_map(r->b, &q, &iova, &h), -ENOSPC);
		assert_same(r, &was);
		/* Four granules: a pool of that size, or two granules of its own. */
		q.mask = 5 * 4096 - 1;
		q.trusted = trusted;
		h = map_at(r, &q, &iova);
		assert_true(dr_bounce_unmap(r->b, h, true));
		rig_close(r);
	}
}

static void test_own(void **state)
{
	struct rig *r = open_failing(0, 0);
	struct dr_bounce_pool_set *own = NULL;
	unsigned failures = 0;

	(void)state;
	fail_stays = true;
	for (int nth = 1;; nth++) {
		int err;

		fail_nth = nth;
		failed = 0;
		err = dr_bounce_own_open(r->b, MB2, &own);
		fail_nth = 0;
		if (!err) {
			dr_bounce_own_close(r->b, own);
			if (!failed)
				break;
			own = NULL;
			continue;
		}
		assert_int_equal(err, -ENOMEM);
		assert_null(own);
		assert_true(dr_bounce_is_valid(r->b));
		assert_int_equal(stats_of(r).pools, 0);
		failures++;
	}
	fail_stays = false;
	assert_true(failures > 3);
	rig_close(r);
}

static void test_open(void **state)
{
	struct rig *r = rig_open(NULL, DRAY_DOMAIN_PAGING, 0);
	struct dr_bounce *b = NULL;

	(void)state;
	fail_nth = 1;
	assert_int_equal(dr_bounce_open(&r->io, NULL, &b), -ENOMEM);
	assert_null(b);
	rig_close(r);
}

/* Nothing of unmap, sync, retire and close allocates. */
static void test_never_allocates(void **state)
{
	struct rig *r = open_failing(0, 0);
	uint64_t h[64];
	dray_iova_t iova;

	(void)state;
	for (unsigned i = 0; i < 64; i++) {
		struct dr_bounce_request q = request(buf, 60000, DRAY_BIDIRECTIONAL, i % 2);

		h[i] = map_at(r, &q, &iova);
	}
	for (unsigned i = 0; i < 64; i++) {
		fail_nth = 1;
		assert_int_equal(dr_bounce_sync_for_cpu(r->b, h[i], 3, 500), 0);
		assert_int_equal(dr_bounce_sync_for_device(r->b, h[i], 3, 500), 0);
		assert_true(dr_bounce_unmap(r->b, h[i], true));
	}
	assert_int_equal(dr_bounce_retire_idle(r->b), 0);
	world_ns += UINT64_C(5000000000);
	dr_bounce_trim(r->b);
	world_ns += UINT64_C(5000000000);
	dr_bounce_trim(r->b);
	assert_int_equal(stats_of(r).pools, 0);
	dr_bounce_close(r->b);
	assert_int_equal(fail_nth, 1);
	fail_nth = 0;
	rig_close_without_bounce(r);
}

static int setup(void **state)
{
	(void)state;
	world_begin();
	buf = dr_hooks_system.alloc(MB2, 4096);
	return buf ? 0 : -1;
}

static int teardown(void **state)
{
	(void)state;
	world_end();
	free(buf);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_alloc),        cmocka_unit_test(test_backend_map),
		cmocka_unit_test(test_smaller_pool), cmocka_unit_test(test_undo_refused),
		cmocka_unit_test(test_no_iova),      cmocka_unit_test(test_own),
		cmocka_unit_test(test_open),         cmocka_unit_test(test_never_allocates),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
