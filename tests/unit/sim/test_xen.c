// SPDX-License-Identifier: BSD-2-Clause
/*
 * The profile of a hypervisor's IOMMU: small pages, a little at a time, flushed at once, superpages
 * that may not come apart, nothing mapped over.
 */
#include "rig.h"

#include <string.h>

#define AT (16 * (dray_iova_t)MB2)

static struct space open_xen(void)
{
	return space_open_as("xen-pv", DRAY_DOMAIN_PAGING);
}

static struct dr_sim_counts counts(const struct space *s)
{
	struct dr_sim_counts c;

	dr_sim_counts(s->be, &c);
	return c;
}

/* Unmap as the domain does, without asking for an invalidation. */
static int unmap(const struct space *s, dray_iova_t iova, size_t len, size_t *ret_gone)
{
	return s->be->ops->unmap(s->be, iova, len, ret_gone);
}

static void says_what_it_is(void **state)
{
	struct space s = open_xen();

	(void)state;
	assert_int_equal(s.be->limits.page_sizes, KB4);
	assert_int_equal(s.be->limits.granule, KB4);
	assert_int_equal(s.be->max_op, MB2 / 2);
	assert_int_equal(s.be->defers, DR_DEFER_NOTHING);
	assert_true(s.be->translates);
	assert_true(s.be->isolates);
	space_close(&s);
}

static void maps_small_pages_only(void **state)
{
	struct space s = open_xen();
	char *mem = memory(MB2, MB2);
	struct dr_pt_walk walk;

	(void)state;
	/* Twice as much as a call takes; the halves are congruent to a large page. */
	assert_int_equal(s.be->ops->map(s.be, AT, mem, MB2, RW), -EINVAL);
	space_map(&s, AT, mem, MB2 / 2, RW);
	space_map(&s, AT + MB2 / 2, mem + MB2 / 2, MB2 / 2, RW | DR_PTE_CONTINUE);
	dr_sim_walk(s.be, AT + 77 * KB4, &walk);
	assert_int_equal(walk.page_shift, 12);
	assert_int_equal(walk.levels, 4);
	space_unmap(&s, AT, MB2 / 2);
	space_unmap(&s, AT + MB2 / 2, MB2 / 2);
	memory_free(mem, MB2);
	space_close(&s);
}

static void unmap_flushes_before_it_returns(void **state)
{
	struct space s = open_xen();
	struct dr_backend_device *dev = device_open(&s, "sim1");
	char *mem = memory(KB4, KB4), c;
	uint64_t before;
	size_t gone = 0;

	(void)state;
	space_map(&s, AT, mem, KB4, RW);
	assert_int_equal(dr_sim_dma_read(dev, AT, &c, 1), 0);
	before = counts(&s).invalidations;
	assert_int_equal(unmap(&s, AT, KB4, &gone), 0);
	assert_int_equal(gone, KB4);
	assert_int_equal(counts(&s).invalidations, before + 1);
	/* The entry was in the IOTLB; it is not any more. */
	assert_int_equal(dr_sim_dma_read(dev, AT, &c, 1), -EFAULT);
	assert_int_equal(only_fault(dev).reason, DRAY_SIM_FAULT_NOT_PRESENT);
	/* There is nothing left to invalidate. */
	s.be->ops->invalidate(s.be, AT, AT + KB4 - 1);
	assert_int_equal(counts(&s).invalidations, before + 1);
	device_close(dev);
	memory_free(mem, KB4);
	space_close(&s);
}

static void vtd_does_not(void **state)
{
	struct space s = space_open(DRAY_DOMAIN_PAGING);
	struct dr_backend_device *dev = device_open(&s, "sim1");
	char *mem = memory(KB4, KB4), c;
	size_t gone = 0;

	(void)state;
	assert_int_equal(s.be->defers, DR_DEFER_INVALIDATION);
	space_map(&s, AT, mem, KB4, RW);
	assert_int_equal(dr_sim_dma_read(dev, AT, &c, 1), 0);
	assert_int_equal(unmap(&s, AT, KB4, &gone), 0);
	assert_int_equal(dr_sim_dma_read(dev, AT, &c, 1), 0);
	s.be->ops->invalidate(s.be, AT, AT + KB4 - 1);
	assert_int_equal(dr_sim_dma_read(dev, AT, &c, 1), -EFAULT);
	device_close(dev);
	memory_free(mem, KB4);
	space_close(&s);
}

static void override_is_refused(void **state)
{
	struct space s = open_xen();
	char *mem = memory(4 * KB4, KB4), *other = memory(4 * KB4, KB4);
	struct dr_pt_walk walk;

	(void)state;
	space_map(&s, AT + 2 * KB4, mem, KB4, RW);
	assert_int_equal(s.be->ops->map(s.be, AT, other, 4 * KB4, RW), -EEXIST);
	assert_int_equal(s.be->ops->map(s.be, AT + 2 * KB4, other, KB4, RW), -EEXIST);
	/* What was there is there, and beside it is nothing. */
	dr_sim_walk(s.be, AT + 2 * KB4, &walk);
	assert_int_equal(walk.pte & DR_PTE_ADDR, (uintptr_t)mem);
	dr_sim_walk(s.be, AT + KB4, &walk);
	assert_int_equal(walk.pte, 0);
	space_map(&s, AT, other, 2 * KB4, RW);
	space_unmap(&s, AT, 2 * KB4);
	space_unmap(&s, AT + 2 * KB4, KB4);
	memory_free(mem, 4 * KB4);
	memory_free(other, 4 * KB4);
	space_close(&s);
}

/* A block of 2 MiB in two calls; @off moves memory against IOVA, so that it is no superpage. */
static char *map_block(const struct space *s, dray_iova_t iova, size_t off)
{
	char *mem = memory(2 * MB2, MB2);

	space_map(s, iova, mem + off, MB2 / 2, RW);
	space_map(s, iova + MB2 / 2, mem + off + MB2 / 2, MB2 / 2, RW | DR_PTE_CONTINUE);
	return mem;
}

static void a_part_of_a_superpage_is_split_off_once(void **state)
{
	struct space s = open_xen();
	char *mem = map_block(&s, AT, 0), *odd = map_block(&s, AT + MB2, KB4);

	(void)state;
	space_unmap(&s, AT, MB2 / 2);
	assert_int_equal(counts(&s).splits, 1);
	space_unmap(&s, AT + MB2 / 2, MB2 / 2);
	assert_int_equal(counts(&s).splits, 1);
	/* Pages that do not lie as in a superpage are none. */
	space_unmap(&s, AT + MB2, MB2 / 2);
	space_unmap(&s, AT + MB2 + MB2 / 2, MB2 / 2);
	assert_int_equal(counts(&s).splits, 1);
	memory_free(mem, 2 * MB2);
	memory_free(odd, 2 * MB2);
	space_close(&s);
}

static void a_failed_split_at_the_head_leaves_all(void **state)
{
	struct space s = open_xen();
	struct dr_backend_device *dev = device_open(&s, "sim1");
	char *mem = map_block(&s, AT, 0), c;
	size_t gone = 1;

	(void)state;
	dr_sim_fail_split(s.be, 1);
	assert_int_equal(unmap(&s, AT, MB2 / 2, &gone), -ENOMEM);
	assert_int_equal(gone, 0);
	assert_int_equal(dr_sim_dma_read(dev, AT, &c, 1), 0);
	/* It failed once; the next has memory. */
	assert_int_equal(unmap(&s, AT, MB2 / 2, &gone), 0);
	assert_int_equal(unmap(&s, AT + MB2 / 2, MB2 / 2, &gone), 0);
	assert_int_equal(dr_sim_dma_read(dev, AT, &c, 1), -EFAULT);
	device_close(dev);
	memory_free(mem, 2 * MB2);
	space_close(&s);
}

/* Part way: what came before the split is gone, and flushed; the rest is as it was. */
static void a_failed_split_at_the_tail_stops_there(void **state)
{
	struct space s = open_xen();
	struct dr_backend_device *dev = device_open(&s, "sim1");
	char *mem = memory(3 * MB2, MB2), c;
	size_t gone = 0;

	(void)state;
	/* From half a MiB before a block, call by call; the third call begins in the block. */
	space_map(&s, AT - MB2 / 4, mem + MB2 - MB2 / 4, MB2 / 2, RW);
	space_map(&s, AT + MB2 / 4, mem + MB2 + MB2 / 4, MB2 / 2, RW | DR_PTE_CONTINUE);
	space_map(&s, AT + MB2 / 4 * 3, mem + MB2 + MB2 / 4 * 3, MB2 / 4, RW | DR_PTE_CONTINUE);
	for (dray_iova_t at = AT - MB2 / 4; at < AT + MB2; at += MB2 / 4)
		assert_int_equal(dr_sim_dma_read(dev, at, &c, 1), 0);
	dr_sim_fail_split(s.be, 1);
	assert_int_equal(unmap(&s, AT - MB2 / 4, MB2 / 2, &gone), -ENOMEM);
	assert_int_equal(gone, MB2 / 4);
	assert_int_equal(dr_sim_dma_read(dev, AT - MB2 / 4, &c, 1), -EFAULT);
	assert_int_equal(dr_sim_dma_read(dev, AT - 1, &c, 1), -EFAULT);
	assert_int_equal(dr_sim_dma_read(dev, AT, &c, 1), 0);
	device_close(dev);
	memory_free(mem, 3 * MB2);
	space_close(&s);
}

static void every_profile_opens_and_others_do_not(void **state)
{
	struct dr_backend_args args = { .type = DRAY_DOMAIN_DEFAULT, .profile = "xen-p" };
	struct dr_pgtable *pt;
	struct dr_backend *be = NULL;
	const char *name;
	unsigned n = 0;

	(void)state;
	assert_int_equal(dr_pgtable_open(DR_PT_PAGE_SIZES, &pt), 0);
	args.pt = pt;
	assert_int_equal(dr_sim_ops.open(&args, &be), -ENOTSUP);
	assert_null(be);
	dr_pgtable_close(pt);
	for (; (name = dr_sim_profile_name(n)); n++) {
		struct space s = space_open_as(name, DRAY_DOMAIN_DEFAULT);

		assert_int_not_equal(s.be->type, DRAY_DOMAIN_DEFAULT);
		space_close(&s);
	}
	assert_true(n > 1);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, rig_setup, rig_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(says_what_it_is),
		TEST(maps_small_pages_only),
		TEST(unmap_flushes_before_it_returns),
		TEST(vtd_does_not),
		TEST(override_is_refused),
		TEST(a_part_of_a_superpage_is_split_off_once),
		TEST(a_failed_split_at_the_head_leaves_all),
		TEST(a_failed_split_at_the_tail_stops_there),
		TEST(every_profile_opens_and_others_do_not),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
