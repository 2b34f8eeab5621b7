// SPDX-License-Identifier: BSD-2-Clause
/*
 * An IOMMU that reads its tables past the CPU's caches: it finds what was cleaned, and each clean
 * that is left out shows.
 */
#include "rig.h"

#include <stdlib.h>
#include <string.h>

#define AT (16 * (dray_iova_t)GB1)

/* Cleans since it was set to 0, and the one to be left out; 0: none. */
static unsigned cleans, left_out;

static void forgetful(const _Atomic uint64_t *cached, _Atomic uint64_t *memory, unsigned n)
{
	if (++cleans != left_out)
		dr_pgtable_clean(cached, memory, n);
}

static struct space open_apart(void)
{
	struct space s = space_open_as("noncoherent-walker", DRAY_DOMAIN_PAGING);

	assert_int_equal(dr_pgtable_set_apart(s.pt, forgetful), 0);
	cleans = 0;
	left_out = 0;
	return s;
}

/* Granules of [iova, iova + len), a step apart, that the device reaches. */
static unsigned reachable(struct dr_backend_device *dev, dray_iova_t iova, size_t len, size_t step)
{
	struct dray_sim_fault faults[64];
	unsigned n = 0;
	char c;

	for (size_t off = 0; off < len; off += step)
		n += !dr_sim_dma_read(dev, iova + off, &c, 1);
	dr_sim_take_faults(dev, faults, 64);
	return n;
}

static void pages_of_every_size_come_and_go(void **state)
{
	struct space s = open_apart();
	struct dr_backend_device *dev = device_open(&s, "sim1");
	char *mem = memory(2 * MB2, MB2);
	const struct {
		dray_iova_t iova;
		size_t off, len;
	} cases[] = {
		{ AT, 0, KB4 },
		{ AT + KB4, 0, 3 * KB4 },
		{ AT + MB2 - KB4, KB4, 2 * KB4 },      /* across tables */
		{ AT + 4 * MB2, 0, 2 * MB2 },          /* large leaves */
		{ AT + 8 * MB2 + KB4, 0, 2 * MB2 },    /* the same memory in small ones */
		{ AT + 4 * MB2, 0, 2 * KB4 },          /* where large ones were */
		{ AT + 8 * MB2, 0, 2 * MB2 },          /* where small ones were */
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		dray_iova_t iova = cases[i].iova;
		size_t len = cases[i].len;

		assert_int_equal(reachable(dev, iova, len, KB4), 0);
		space_map(&s, iova, mem + cases[i].off, len, RW);
		assert_int_equal(reachable(dev, iova, len, KB4), len / KB4);
		assert_int_equal(reachable(dev, iova + len, KB4, KB4), 0);
		space_unmap(&s, iova, len);
		assert_int_equal(reachable(dev, iova, len, KB4), 0);
		dr_pgtable_reclaim(s.pt);
	}
	device_close(dev);
	memory_free(mem, 2 * MB2);
	space_close(&s);
}

/* Leave out each clean of a map in turn; all of them are needed. */
static void every_clean_of_a_map_is_needed(void **state)
{
	const size_t len = 3 * KB4;
	unsigned all;

	(void)state;
	for (unsigned n = 0; n <= 4; n++) {
		struct space s = open_apart();
		struct dr_backend_device *dev = device_open(&s, "sim1");
		char *mem = memory(len, KB4);

		left_out = n;
		space_map(&s, AT, mem, len, RW);
		all = cleans;
		left_out = 0;
		if (n)
			assert_int_equal(reachable(dev, AT, len, KB4), 0);
		else
			assert_int_equal(reachable(dev, AT, len, KB4), 3);
		/* Three links and a run of leaves. */
		assert_int_equal(all, 4);
		device_close(dev);
		space_close(&s);
		memory_free(mem, len);
	}
}

static void the_clean_of_an_unmap_is_needed(void **state)
{
	struct space s = open_apart();
	struct dr_backend_device *dev = device_open(&s, "sim1");
	char *mem = memory(2 * KB4, KB4);

	(void)state;
	space_map(&s, AT, mem, 2 * KB4, RW);
	cleans = 0;
	left_out = 1;
	space_unmap(&s, AT, 2 * KB4);
	assert_int_equal(cleans, 1);
	/* Invalidated, and yet there: the walk finds the old entries. */
	assert_int_equal(reachable(dev, AT, 2 * KB4, KB4), 2);
	left_out = 0;
	space_map(&s, AT, mem, 2 * KB4, RW);
	space_unmap(&s, AT, 2 * KB4);
	assert_int_equal(reachable(dev, AT, 2 * KB4, KB4), 0);
	device_close(dev);
	memory_free(mem, 2 * KB4);
	space_close(&s);
}

/* What the program asks is what was stored, whatever the hardware has seen of it. */
static void lookups_of_the_cpu_need_no_clean(void **state)
{
	struct space s = open_apart();
	char *mem = memory(KB4, KB4);
	struct dr_pt_walk seen, device;

	(void)state;
	left_out = 4;
	space_map(&s, AT, mem, KB4, RW);
	assert_ptr_equal(dr_pgtable_va(s.pt, AT + 5), mem + 5);
	dr_sim_walk(s.be, AT, &seen);
	dr_pgtable_device_walk(s.pt, AT, &device);
	assert_int_equal(seen.levels, 4);
	assert_int_equal(device.levels, 4);
	assert_int_not_equal(seen.pte, 0);
	assert_int_equal(device.pte, 0);
	left_out = 0;
	space_unmap(&s, AT, KB4);
	memory_free(mem, KB4);
	space_close(&s);
}

static void where_walks_snoop_nothing_is_cleaned(void **state)
{
	struct space s = space_open(DRAY_DOMAIN_PAGING);
	char *mem = memory(KB4, KB4);
	struct dr_pt_walk seen, device;

	(void)state;
	space_map(&s, AT, mem, KB4, RW);
	dr_pgtable_walk(s.pt, AT, &seen);
	dr_pgtable_device_walk(s.pt, AT, &device);
	assert_memory_equal(&seen, &device, sizeof(seen));
	space_unmap(&s, AT, KB4);
	memory_free(mem, KB4);
	space_close(&s);
}

static void no_memory_for_a_second_root(void **state)
{
	struct dr_backend_args args = {
		.type = DRAY_DOMAIN_PAGING, .profile = "noncoherent-walker",
	};
	struct dr_backend *be = NULL;
	int err;

	(void)state;
	assert_int_equal(dr_pgtable_open(DR_PT_PAGE_SIZES, &args.pt), 0);
	for (int nth = 1;; nth++) {
		rig_fail_alloc = nth;
		err = dr_sim_ops.open(&args, &be);
		if (!err)
			break;
		assert_int_equal(err, -ENOMEM);
		assert_null(be);
		assert_true(nth < 5);
	}
	assert_int_equal(rig_fail_alloc, 1); /* two were needed */
	rig_fail_alloc = 0;
	be->ops->close(be);
	dr_pgtable_close(args.pt);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, rig_setup, rig_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(pages_of_every_size_come_and_go),
		TEST(every_clean_of_a_map_is_needed),
		TEST(the_clean_of_an_unmap_is_needed),
		TEST(lookups_of_the_cpu_need_no_clean),
		TEST(where_walks_snoop_nothing_is_cleaned),
		TEST(no_memory_for_a_second_root),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
