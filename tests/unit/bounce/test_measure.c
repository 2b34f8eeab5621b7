// SPDX-License-Identifier: BSD-2-Clause
/* Up to which size copying is cheaper, from given costs; and what measuring them leaves behind. */
#include "rig.h"

#include "bounce/measure.h"
#include "flush/flush.h"

#include <string.h>

#define ALL(ns) { ns, ns, ns, ns, ns }
/* 40 ns a slot and 100 a kilobyte there and back. */
#define COPIES { 440, 1640, 6440, 25640, 102440 }

struct row {
	struct dr_costs costs;
	size_t strict, strict_once, lazy, lazy_once;
};

static const struct row rows[] = {
	/* Nothing is known, or everything is free: nothing is cheaper. */
	{ { 0 }, 0, 0, 0, 0 },
	/* Only copying costs. */
	{ { 10, ALL(1000), ALL(0), ALL(0) }, 0, 0, 0, 0 },
	/* A slot alone costs what a map costs. */
	{ { 500, { 900, 2000, 7000, 27000, 99000 }, ALL(500), ALL(400) }, 0, 0, 0, 0 },
	/* 9.5 KiB cost 990 against 1000, 10 KiB 1040; once is half. 2 KiB cost 240 against 250. */
	{ { 40, COPIES, ALL(1000), ALL(250) }, 9 * KB + 512, 19 * KB, 2 * KB, 4 * KB },
	/* Along the line of the pinned pages, and where it turns: 64 KiB cost 6440 of 7000. */
	{ { 40, COPIES, { 1000, 2200, 7000, 7000, 7000 }, COPIES },
	  68 * KB, 136 * KB, 3 * KB + 512, 2 * MB1 },
	/* Pinning alone is dearer than copying: all the way. */
	{ { 40, COPIES, { 1060, 4060, 16060, 64060, 256060 },
	    { 1000, 4000, 16000, 64000, 256000 } }, 2 * MB1, 2 * MB1, 2 * MB1, 2 * MB1 },
	/* Noise that would have more bytes cost less, of either. */
	{ { 40, COPIES, { 1000, 500, 400, 300, 200 }, { 250, 200, 100, 50, 25 } },
	  9 * KB + 512, 19 * KB, 2 * KB, 4 * KB },
	{ { 600, { 440, 300, 200, 100, 50 }, ALL(601), ALL(600) }, 2 * MB1, 2 * MB1, 0, 0 },
};

static void test_threshold(void **state)
{
	(void)state;
	for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		const struct row *r = &rows[i];
		size_t found[] = {
			dr_costs_threshold(&r->costs, false, false),
			dr_costs_threshold(&r->costs, false, true),
			dr_costs_threshold(&r->costs, true, false),
			dr_costs_threshold(&r->costs, true, true),
		};
		size_t right[] = { r->strict, r->strict_once, r->lazy, r->lazy_once };

		for (unsigned k = 0; k < 4; k++)
			if (found[k] != right[k])
				fail_msg("row %u, threshold %u: %zu, not %zu", i, k, found[k],
					 right[k]);
	}
}

/* Dearer maps never make fewer buffers worth a copy, dearer copies never more. */
static void test_threshold_moves_one_way(void **state)
{
	struct dr_costs c = { 40, COPIES, ALL(0), ALL(0) };
	size_t last = 0;

	(void)state;
	for (uint64_t ns = 0; ns < 100000; ns += 97) {
		size_t now;

		for (unsigned i = 0; i < DR_COST_SIZES; i++)
			c.map_ns[i] = ns;
		now = dr_costs_threshold(&c, false, false);
		assert_true(now >= last);
		assert_true(dr_costs_threshold(&c, false, true) >= now);
		last = now;
	}
	assert_true(last > 0);
	last = SIZE_MAX;
	for (uint64_t times = 1; times < 3000; times++) {
		struct dr_costs dear = c;
		size_t now;

		dear.slot_ns *= times;
		for (unsigned i = 0; i < DR_COST_SIZES; i++)
			dear.copy_ns[i] *= times;
		now = dr_costs_threshold(&dear, false, false);
		assert_true(now <= last);
		last = now;
	}
	assert_int_equal(last, 0);
}

static uint64_t ticks;

static uint64_t ticking(void)
{
	return ticks += 8192;
}

/*
 * With a clock that only asking moves a figure is what its questions take, over so many operations:
 * nothing else makes it.
 */
static void test_measure(void **state)
{
	static const char *const profiles[] = { NULL, "xen-pv", "noncoherent" };
	const struct dr_hooks *was = dr_hooks;
	struct dr_hooks hooks = *was;

	(void)state;
	hooks.clock_ns = ticking;
	for (unsigned i = 0; i < sizeof(profiles) / sizeof(profiles[0]); i++) {
		struct rig *r = rig_open(profiles[i], DRAY_DOMAIN_PAGING, 0);
		struct dr_flush_opts opts = { .polled = true };
		struct dr_flush *flush;
		struct dr_costs c = { 0 };
		long mapped, blocks;

		assert_int_equal(dr_flush_open(&r->io, &opts, &flush), 0);
		/* The space's own caches and tables come to be once. */
		assert_int_equal(dr_bounce_measure(&r->io, flush, &c), 0);
		mapped = mapped_now;
		blocks = blocks_now;
		dr_hooks = &hooks;
		assert_int_equal(dr_bounce_measure(&r->io, flush, &c), 0);
		dr_hooks = was;
		assert_int_equal(c.slot_ns, 8192 / 16);
		for (unsigned k = 0; k < DR_COST_SIZES; k++) {
			assert_int_equal(c.copy_ns[k], k ? 8192 : 8192 / 16);
			assert_int_equal(c.map_ns[k], k ? 8192 : 8192 / 16);
			assert_true(c.lazy_ns[k] >= 8192 / 16);
		}
		/* Memory, records, counters, IOVAs: as before. */
		assert_int_equal(mapped_now, mapped);
		assert_int_equal(blocks_now, blocks);
		for (unsigned k = 0; k < DR_COUNTERS; k++)
			assert_int_equal(dr_counters_sum(&r->io.counters, (enum dr_counter)k), 0);
		assert_false(atomic_load(&r->io.damaged));
		dr_flush_close(flush);
		rig_close(r);
	}
}

/* The flush is shared by as many as the domain's queue holds, by entries and by bytes. */
static void test_depth(void **state)
{
	struct rig *r = rig_open(NULL, DRAY_DOMAIN_PAGING, 0);
	struct dr_flush_opts opts = { .polled = true, .entries = 100, .bytes = MB1 };
	struct dr_flush *flush;

	(void)state;
	assert_int_equal(dr_flush_open(&r->io, &opts, &flush), 0);
	assert_int_equal(dr_flush_depth(flush, KB4), 100);
	assert_int_equal(dr_flush_depth(flush, 16 * KB4), 16);
	assert_int_equal(dr_flush_depth(flush, 256 * KB4), 1);
	assert_int_equal(dr_flush_depth(flush, 257 * KB4), 1);
	dr_flush_close(flush);
	rig_close(r);
}

/* Whatever memory is missing: an error and what was there before, or figures. */
static void test_measure_fails(void **state)
{
	struct rig *r = rig_open(NULL, DRAY_DOMAIN_PAGING, 0);
	struct dr_flush_opts opts = { .polled = true };
	struct dr_flush *flush;
	unsigned failures = 0;
	long mapped, blocks;

	(void)state;
	assert_int_equal(dr_flush_open(&r->io, &opts, &flush), 0);
	mapped = mapped_now;
	blocks = blocks_now;
	for (int nth = 1;; nth++) {
		struct dr_costs c = { .slot_ns = 77 };
		int err;

		fail_nth = nth;
		err = dr_bounce_measure(&r->io, flush, &c);
		assert_int_equal(mapped_now, mapped);
		if (fail_nth) {
			fail_nth = 0;
			assert_int_equal(err, 0);
			break;
		}
		/* What the space has come to need stays; rig_close() sees to the rest. */
		assert_true(blocks_now >= blocks);
		blocks = blocks_now;
		if (!err)
			continue;
		assert_int_equal(err, -ENOMEM);
		assert_int_equal(c.slot_ns, 77);
		failures++;
	}
	assert_true(failures >= 3);
	dr_flush_close(flush);
	rig_close(r);
}

static int refuse_pages(struct dr_backend *be, dray_iova_t iova, size_t len, size_t *ret_gone)
{
	if (len != KB4)
		return dr_sim_ops.unmap(be, iova, len, ret_gone);
	*ret_gone = 0;
	return -EIO;
}

/* A backend that does not let go: that is told, and what devices may reach stays memory. */
static void test_page_is_refused(void **state)
{
	struct rig *r = rig_open(NULL, DRAY_DOMAIN_PAGING, 0);
	struct dr_backend_ops refusing = dr_sim_ops;
	struct dr_costs c = { .slot_ns = 77 };
	long mapped = mapped_now;

	(void)state;
	refusing.unmap = refuse_pages;
	r->io.ops = &refusing;
	assert_int_equal(dr_bounce_measure(&r->io, NULL, &c), -EIO);
	r->io.ops = &dr_sim_ops;
	assert_int_equal(c.slot_ns, 77);
	assert_true(atomic_load(&r->io.damaged));
	assert_int_equal(dr_counters_sum(&r->io.counters, DR_UNMAP_ERRORS), 1);
	assert_in_range(mapped_now, mapped + (long)MB1, mapped + (long)(2 * MB1));
	mapped_now = mapped; /* for good */
	rig_close(r);
}

/* The same of a pool: what was measured is true all the same. */
static void test_pool_is_refused(void **state)
{
	struct rig *r = rig_open(NULL, DRAY_DOMAIN_PAGING, 0);
	struct dr_costs c = { .slot_ns = 77 };
	long mapped = mapped_now;

	(void)state;
	dr_sim_fail_unmap_at(r->io.be, 0);
	assert_int_equal(dr_bounce_measure(&r->io, NULL, &c), 0);
	assert_int_not_equal(c.slot_ns, 77);
	assert_true(atomic_load(&r->io.damaged));
	assert_int_equal(dr_counters_sum(&r->io.counters, DR_UNMAP_ERRORS), 1);
	assert_true(mapped_now >= mapped + (long)(3 * MB1));
	mapped_now = mapped;
	rig_close(r);
}

static int setup(void **state)
{
	(void)state;
	world_begin();
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	world_end();
	return 0;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_threshold),
		cmocka_unit_test(test_threshold_moves_one_way),
		TEST(test_measure),
		TEST(test_depth),
		TEST(test_measure_fails),
		TEST(test_page_is_refused),
		TEST(test_pool_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
