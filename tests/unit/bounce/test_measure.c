// SPDX-License-Identifier: BSD-2-Clause
/* For which sizes copying is cheaper, from given costs; and what measuring them leaves behind. */
#include "rig.h"

#include "bounce/measure.h"
#include "flush/flush.h"

#include <inttypes.h>
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
	/* More bytes cost less, of either: 7.5 KiB cost 790 against 854, 12 KiB once 640 and 667. */
	{ { 40, COPIES, { 1000, 500, 400, 300, 200 }, { 250, 200, 100, 50, 25 } },
	  7 * KB + 512, 12 * KB, 2 * KB, 4 * KB },
	{ { 600, { 440, 300, 200, 100, 50 }, ALL(601), ALL(600) },
	  2 * MB1, 2 * MB1, 2 * MB1, 2 * MB1 },
	/* More than the arithmetic holds is as much as it holds. */
	{ { UINT64_MAX, ALL(UINT64_MAX), ALL(1000), ALL(UINT32_MAX) }, 0, 0, 0, 0 },
	{ { 40, COPIES, ALL(UINT64_MAX), ALL(UINT32_MAX) }, 2 * MB1, 2 * MB1, 2 * MB1, 2 * MB1 },
};

/* The end of the only run, which begins with nothing; 0: there is none. */
static size_t threshold(const struct dr_costs *c, bool lazy, bool once)
{
	struct dr_copy_run runs[DR_COPY_RUNS];

	dr_costs_choose(c, lazy, once, runs);
	assert_int_equal(runs[0].above, 0);
	for (unsigned i = 1; i < DR_COPY_RUNS; i++)
		assert_int_equal(runs[i].up_to, 0);
	return runs[0].up_to;
}

static void test_threshold(void **state)
{
	(void)state;
	for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		const struct row *r = &rows[i];
		size_t found[] = {
			threshold(&r->costs, false, false),
			threshold(&r->costs, false, true),
			threshold(&r->costs, true, false),
			threshold(&r->costs, true, true),
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
		now = threshold(&c, false, false);
		assert_true(now >= last);
		assert_true(threshold(&c, false, true) >= now);
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
		now = threshold(&dear, false, false);
		assert_true(now <= last);
		last = now;
	}
	assert_int_equal(last, 0);
}

static const struct {
	struct dr_costs costs;
	bool once;
	struct dr_copy_run runs[DR_COPY_RUNS];
} crossings[] = {
	/* Twice: a processor that copies 256 KiB byte by byte and a megabyte by lines. */
	{ { 1500, { 1510, 33500, 132000, 526000, 202000 }, { 13100, 24400, 41300, 99300, 320000 },
	    ALL(0) }, false, { { 0, 10 * KB + 512 }, { 856 * KB, 2 * MB1 } } },
	/* Twice: a slot that costs more than a map, and pages that are pinned. */
	{ { 900, { 1000, 1500, 3500, 11500, 43500 }, { 800, 2000, 6000, 20000, 30000 }, ALL(0) },
	  false, { { 7 * KB, 552 * KB } } },
	/* The same of copies that cost half: the second time is beyond what is known. */
	{ { 900, { 1000, 1500, 3500, 11500, 43500 }, { 800, 2000, 6000, 20000, 30000 }, ALL(0) },
	  true, { { 5 * KB + 512, 2020 * KB } } },
	/* As often as it can be, from either side. */
	{ { 100, ALL(1000), { 550, 1450, 550, 1450, 550 }, ALL(0) }, false,
	  { { 0, KB + 512 }, { 10 * KB, 39 * KB + 512 }, { 160 * KB, 636 * KB } } },
	{ { 900, ALL(100), { 500, 50, 150, 50, 150 }, ALL(0) }, false,
	  { { 2 * KB, 14 * KB + 512 }, { 40 * KB, 156 * KB }, { 640 * KB, 2 * MB1 } } },
	/* Beyond the last size maps go on rising, copies no more fall. */
	{ { 1, { 2, 3, 4, 7000, 6000 }, { 1, 2, 3, 2000, 5000 }, ALL(0) }, false,
	  { { MB1 + 256 * KB, 2 * MB1 } } },
};

static void test_crossings(void **state)
{
	(void)state;
	for (unsigned i = 0; i < sizeof(crossings) / sizeof(crossings[0]); i++) {
		struct dr_copy_run runs[DR_COPY_RUNS];

		dr_costs_choose(&crossings[i].costs, false, crossings[i].once, runs);
		for (unsigned k = 0; k < DR_COPY_RUNS; k++)
			if (runs[k].above != crossings[i].runs[k].above ||
			    runs[k].up_to != crossings[i].runs[k].up_to)
				fail_msg("row %u, run %u: %zu to %zu", i, k, runs[k].above,
					 runs[k].up_to);
	}
}

static uint64_t draws;

static uint64_t draw(void)
{
	draws ^= draws << 13;
	draws ^= draws >> 7;
	draws ^= draws << 17;
	return draws;
}

/* Twice the cost times the line's length, on the line from one known size to the next. */
static __int128 on_line(const uint64_t ns[DR_COST_SIZES], uint64_t none, size_t len,
			__int128 *ret_length)
{
	__int128 from = 0, low = none, high = ns[0];
	__int128 length = (__int128)dr_cost_size[0];

	for (unsigned i = 0; i + 1 < DR_COST_SIZES && len > dr_cost_size[i]; i++) {
		from = (__int128)dr_cost_size[i];
		length = (__int128)dr_cost_size[i + 1] - from;
		low = ns[i];
		high = ns[i + 1];
	}
	if (len > dr_cost_size[DR_COST_SIZES - 1] && high < low)
		low = high;
	*ret_length = length;
	return 2 * (low * length + (high - low) * ((__int128)len - from));
}

static bool is_cheaper(const struct dr_costs *c, bool lazy, bool once, size_t len)
{
	const uint64_t *map_ns = lazy ? c->lazy_ns : c->map_ns;
	__int128 length, copy = on_line(c->copy_ns, c->slot_ns, len, &length);

	if (once)
		copy = copy / 2 + (__int128)c->slot_ns * length;
	return copy < on_line(map_ns, map_ns[0], len, &length);
}

static bool is_in(const struct dr_copy_run runs[DR_COPY_RUNS], size_t len)
{
	for (unsigned i = 0; i < DR_COPY_RUNS; i++)
		if (len > runs[i].above && len <= runs[i].up_to)
			return true;
	return false;
}

/* Whatever the costs: each size goes the cheaper way, and runs are apart and in order. */
static void test_any_costs(void **state)
{
	uint64_t seed = 20261121;

	(void)state;
	draws = seed;
	for (unsigned n = 0; n < 3000; n++) {
		/* Steep ones and those that nearly agree. */
		uint64_t most = UINT64_C(1) << draw() % 32;
		bool lazy = draw() & 1, once = draw() & 1;
		struct dr_copy_run runs[DR_COPY_RUNS];
		struct dr_costs c = { .slot_ns = draw() % most };

		for (unsigned i = 0; i < DR_COST_SIZES; i++) {
			c.copy_ns[i] = draw() % most;
			c.map_ns[i] = draw() % most;
			c.lazy_ns[i] = draw() % most;
		}
		dr_costs_choose(&c, lazy, once, runs);
		for (unsigned i = 1; i < DR_COPY_RUNS && runs[i].up_to; i++)
			assert_true(runs[i].above > runs[i - 1].up_to);
		for (size_t len = 512; len <= 2 * MB1; len += len < 65536 ? 512 : 4096)
			if (is_in(runs, len) != is_cheaper(&c, lazy, once, len))
				fail_msg("seed %" PRIu64 ", costs %u: %zu bytes", seed, n, len);
	}
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

/* Now and then something else runs for longer than a figure may take. */
static uint64_t interrupted(void)
{
	static unsigned asked;

	return ticks += asked++ % 7 ? 8192 : 50000000;
}

/* A round in which something else ran is not the one that counts, not even where it is the first. */
static void test_measure_interrupted(void **state)
{
	const struct dr_hooks *was = dr_hooks;
	struct dr_hooks hooks = *was;
	struct rig *r = rig_open(NULL, DRAY_DOMAIN_PAGING, 0);

	(void)state;
	hooks.clock_ns = interrupted;
	/* The interruptions come everywhere in turn. */
	for (unsigned i = 0; i < 7; i++) {
		struct dr_costs c = { 0 };

		dr_hooks = &hooks;
		dr_hooks->clock_ns();
		assert_int_equal(dr_bounce_measure(&r->io, NULL, &c), 0);
		dr_hooks = was;
		assert_int_equal(c.slot_ns, 8192 / 16);
		for (unsigned k = 0; k < DR_COST_SIZES; k++) {
			assert_int_equal(c.copy_ns[k], k ? 8192 : 8192 / 16);
			assert_int_equal(c.map_ns[k], k ? 8192 : 8192 / 16);
		}
	}
	rig_close(r);
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
		cmocka_unit_test(test_crossings),
		cmocka_unit_test(test_any_costs),
		TEST(test_measure),
		TEST(test_measure_interrupted),
		TEST(test_depth),
		TEST(test_measure_fails),
		TEST(test_page_is_refused),
		TEST(test_pool_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
