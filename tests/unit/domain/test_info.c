// SPDX-License-Identifier: BSD-2-Clause
/* What a domain tells of itself, and whom it tells when something goes wrong. */
#include "rig.h"

#include "backend/sim/sim.h"

#define BASE UINT64_C(0x1000000)

static void test_fresh(void **state)
{
	struct dray_domain *dom = rig_open();
	struct dray_domain_info info = rig_info(dom);

	(void)state;
	assert_int_equal(info.backend, DRAY_BACKEND_SIM);
	assert_int_equal(info.type, DRAY_DOMAIN_PAGING);
	assert_int_equal(info.invalidation, DRAY_STRICT);
	assert_int_equal(info.damaged, 0);
	assert_int_equal(info.granule, KB4);
	assert_int_equal(info.first, 0);
	assert_int_equal(info.last, (UINT64_C(1) << 48) - 1);
	assert_int_equal(info.entries_limit, 0);
	assert_int_equal(info.entries_left, UINT64_MAX);
	assert_int_equal(info.memlock_limit, UINT64_MAX);
	assert_int_equal(info.mapped_bytes, 0);
	assert_true(info.pgtable_bytes > 0);
	assert_int_equal(info.n_windows, 2);
	assert_int_equal(info.n_holes, 1);
	assert_int_equal(info.windows[0].first, 0);
	assert_int_equal(info.windows[0].last, info.holes[0].first - 1);
	assert_int_equal(info.windows[1].first, info.holes[0].last + 1);
	assert_int_equal(info.windows[1].last, info.last);
	dray_domain_close(dom);
}

/* More holes than there is room for: the first ones, and how many there are. */
static void test_many_holes(void **state)
{
	enum { HOLES = DRAY_INFO_RANGES + 5 };
	struct dray_domain_opts opts = rig_opts();
	struct dray_domain_info info;
	struct dray_domain *dom;

	(void)state;
	opts.first = BASE;
	opts.last = BASE + 2 * HOLES * KB4 - 1;
	assert_int_equal(dray_domain_open(&opts, &dom), 0);
	for (unsigned i = 0; i < HOLES; i++) {
		dray_iova_t first = BASE + 2 * i * KB4;

		assert_int_equal(dray_domain_reserve(dom, first, first + KB4 - 1, 0), 0);
	}
	info = rig_info(dom);
	assert_int_equal(info.n_holes, HOLES);
	assert_int_equal(info.n_windows, HOLES);
	for (unsigned i = 0; i < DRAY_INFO_RANGES; i++) {
		assert_int_equal(info.holes[i].first, BASE + 2 * i * KB4);
		assert_int_equal(info.holes[i].last, BASE + (2 * i + 1) * KB4 - 1);
		assert_int_equal(info.windows[i].first, info.holes[i].last + 1);
		assert_int_equal(info.windows[i].last, info.holes[i].last + KB4);
	}
	/* Fixed windows are no holes. */
	assert_int_equal(dray_domain_reserve(dom, BASE, opts.last, DRAY_RESERVE_FIXED), 0);
	assert_int_equal(rig_info(dom).n_holes, 0);
	assert_int_equal(rig_info(dom).n_windows, 1);
	/* One hole that is everything: no window at all. */
	assert_int_equal(dray_domain_reserve(dom, BASE, opts.last, DRAY_RESERVE_HOLE), 0);
	assert_int_equal(rig_info(dom).n_holes, 1);
	assert_int_equal(rig_info(dom).n_windows, 0);
	dray_domain_close(dom);
}

static void test_bytes(void **state)
{
	struct dray_domain *dom = rig_open();
	struct dray_device *dev = rig_plug(dom, "sim1");
	struct dray_mapping m = rig_map(dev, rig_memory + 100, KB4);

	(void)state;
	/* Whole granules are reachable: two for a page that is not aligned. */
	assert_int_equal(rig_info(dom).mapped_bytes, 2 * KB4);
	assert_int_equal(dray_domain_map(dom, BASE, rig_memory, 3 * KB4, DRAY_PROT_READ, 0), 0);
	assert_int_equal(rig_info(dom).mapped_bytes, 5 * KB4);
	assert_int_equal(rig_stats(dom).map_bytes, 5 * KB4);
	dray_unmap(dev, &m);
	assert_int_equal(rig_info(dom).mapped_bytes, 3 * KB4);
	dr_sim_fail_unmap_at(dom->io.be, 1);
	assert_int_equal(dray_domain_unmap(dom, BASE, 3 * KB4), -EIO);
	/* One of the three is gone, the range is lost as a whole. */
	assert_int_equal(rig_info(dom).mapped_bytes, 2 * KB4);
	assert_int_equal(rig_info(dom).quarantined_bytes, 3 * KB4);
	assert_int_equal(rig_info(dom).damaged, 1);
	dray_device_close(dev);
	dray_domain_close(dom);
}

/* A log callback may ask the domain for its counters, whichever call it is told from. */
static struct dray_domain *logged_domain;
static unsigned asked;

static void ask_back(void *ctx, int level, const char *msg)
{
	struct dray_stats s = { .size = sizeof(s) };

	(void)ctx;
	(void)level;
	assert_int_equal(dray_stats_get(logged_domain, &s), 0);
	assert_true(strlen(msg) > 10 && !strchr(msg, '\n'));
	asked++;
}

static void test_log_may_ask_back(void **state)
{
	struct dray_domain_opts opts = rig_opts();
	struct dray_device *dev;
	struct dray_mapping m;

	(void)state;
	opts.log = ask_back;
	assert_int_equal(dray_domain_open(&opts, &logged_domain), 0);
	dev = rig_plug(logged_domain, "sim1");
	m = rig_map(dev, rig_memory, KB4);
	dr_sim_fail_unmap_at(logged_domain->io.be, 0);
	dray_unmap(dev, &m);
	assert_int_equal(asked, 1);
	assert_int_equal(dray_domain_map(logged_domain, BASE, rig_memory, KB4, DRAY_PROT_READ, 0),
			 0);
	dr_sim_fail_unmap_at(logged_domain->io.be, 0);
	assert_int_equal(dray_domain_unmap(logged_domain, BASE, KB4), -EIO);
	assert_int_equal(asked, 2);
	rig_map(dev, rig_memory, KB4);
	dray_device_close(dev);
	assert_int_equal(asked, 3);
	dray_domain_close(logged_domain);
}

/* A domain without a callback is silent, and as sound. */
static void test_silent(void **state)
{
	struct dray_domain_opts opts = rig_opts();
	struct dray_domain *dom;
	struct dray_device *dev;
	struct dray_mapping m;

	(void)state;
	opts.log = NULL;
	assert_int_equal(dray_domain_open(&opts, &dom), 0);
	dev = rig_plug(dom, "sim1");
	m = rig_map(dev, rig_memory, KB4);
	dr_sim_fail_unmap_at(dom->io.be, 0);
	dray_unmap(dev, &m);
	assert_int_equal(rig_info(dom).damaged, 1);
	dray_device_close(dev);
	dray_domain_close(dom);
}

/* Open fails at each allocation and leaves nothing. */
static void test_open_without_memory(void **state)
{
	struct dray_domain_opts opts = rig_opts();
	struct dray_domain *dom = NULL;
	int err, failures = 0;

	(void)state;
	for (unsigned n = 1;; n++) {
		rig_fail_alloc = n;
		err = dray_domain_open(&opts, &dom);
		if (rig_fail_alloc)
			break;
		assert_int_equal(err, -ENOMEM);
		assert_null(dom);
		assert_int_equal(rig_blocks, 0);
		failures++;
	}
	rig_fail_alloc = 0;
	assert_int_equal(err, 0);
	assert_true(failures >= 4);
	dray_domain_close(dom);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, rig_setup, rig_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_fresh),
		TEST(test_many_holes),
		TEST(test_bytes),
		TEST(test_log_may_ask_back),
		TEST(test_silent),
		TEST(test_open_without_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
