// SPDX-License-Identifier: BSD-2-Clause
/* Address spaces: opening, limits, mapping, unmapping, what is stale and when that ends. */
#include "rig.h"

#include <string.h>
#include <sys/mman.h>

#define IOVA (UINT64_C(5) << 30)

static void opens_with_the_limits_of_vtd(void **state)
{
	struct space s = space_open(DRAY_DOMAIN_DEFAULT);
	const struct dr_backend_limits *lim = &s.be->limits;
	struct space other = space_open(DRAY_DOMAIN_BLOCKED);

	(void)state;
	assert_int_equal(s.be->type, DRAY_DOMAIN_PAGING);
	assert_int_equal(other.be->type, DRAY_DOMAIN_BLOCKED);
	assert_int_equal(lim->page_sizes, KB4 | MB2 | GB1);
	assert_int_equal(lim->granule, KB4);
	assert_int_equal(lim->entries_limit, 0);
	assert_int_equal(s.be->ops->entries_left(s.be), UINT64_MAX);
	assert_int_equal(lim->n_usable, 2);
	assert_int_equal(lim->usable[0].first, 0);
	assert_int_equal(lim->usable[0].last, 0xfedfffff);
	assert_int_equal(lim->usable[1].first, 0xfef00000);
	assert_int_equal(lim->usable[1].last, (UINT64_C(1) << 48) - 1);
	assert_true(s.be->max_op >= UINT64_C(1) << 40);
	space_close(&s);
	space_close(&other);
}

static void profiles_are_known_by_name(void **state)
{
	static const struct dr_log silent;
	struct dr_backend_args args = { .profile = "vtd", .log = &silent };
	struct dr_backend *be;

	(void)state;
	assert_int_equal(dr_pgtable_open(DR_PT_PAGE_SIZES, &args.pt), 0);
	assert_int_equal(dr_sim_ops.open(&args, &be), 0);
	be->ops->close(be);
	args.profile = "abacus";
	assert_int_equal(dr_sim_ops.open(&args, &be), -ENOTSUP);
	assert_non_null(strstr(dray_errmsg(), "abacus"));
	assert_non_null(strstr(dray_errmsg(), "vtd"));
	dr_pgtable_close(args.pt);
}

static void stale_entries_are_served_until_invalidated(void **state)
{
	struct space s = space_open(DRAY_DOMAIN_PAGING);
	struct dr_backend_device *dev = device_open(&s, "sim0");
	char *mem = memory(2 * KB4, KB4), got[8];
	struct dr_sim_counts before, after;
	struct dr_pt_walk walk;
	size_t gone;

	(void)state;
	space_map(&s, IOVA, mem, 2 * KB4, RW);
	strcpy(mem, "before");
	assert_int_equal(dr_sim_dma_read(dev, IOVA, got, 7), 0);
	assert_string_equal(got, "before");

	assert_int_equal(s.be->ops->unmap(s.be, IOVA, 2 * KB4, &gone), 0);
	assert_int_equal(gone, 2 * KB4);
	dr_sim_walk(s.be, IOVA, &walk);
	assert_int_equal(walk.pte, 0);
	assert_null(dr_pgtable_va(s.pt, IOVA));
	/* The table has nothing; the device still reaches the granule it has used, no other. */
	strcpy(mem, "stale!");
	dr_sim_counts(s.be, &before);
	assert_int_equal(dr_sim_dma_read(dev, IOVA, got, 7), 0);
	assert_string_equal(got, "stale!");
	dr_sim_counts(s.be, &after);
	assert_int_equal(after.hits, before.hits + 1);
	assert_int_equal(dr_sim_dma_read(dev, IOVA + KB4, got, 7), -EFAULT);
	assert_int_equal(only_fault(dev).level, 1);

	s.be->ops->invalidate(s.be, IOVA, IOVA + 2 * KB4 - 1);
	assert_int_equal(dr_sim_dma_read(dev, IOVA, got, 7), -EFAULT);
	assert_int_equal(only_fault(dev).reason, DRAY_SIM_FAULT_NOT_PRESENT);
	dr_sim_counts(s.be, &after);
	assert_int_equal(after.invalidations, before.invalidations + 1);
	device_close(dev);
	space_close(&s);
	memory_free(mem, 2 * KB4);
}

static void large_leaves_are_walked_and_cached(void **state)
{
	struct space s = space_open(DRAY_DOMAIN_PAGING);
	struct dr_backend_device *dev = device_open(&s, "sim0");
	char *mem = memory(2 * GB1, GB1), byte = 'x';
	struct dr_sim_counts c;
	struct dr_pt_walk walk;

	(void)state;
	dr_sim_set_cost(s.be, 0, 0, DRAY_SIM_NOCHECK);
	space_map(&s, IOVA, mem, GB1, RW);
	space_map(&s, IOVA + GB1, mem + GB1, MB2, RW);
	dr_sim_walk(s.be, IOVA + 12345, &walk);
	assert_int_equal(walk.page_shift, 30);
	dr_sim_walk(s.be, IOVA + GB1, &walk);
	assert_int_equal(walk.page_shift, 21);
	/* One walk each, however far apart the accesses are. */
	assert_int_equal(dr_sim_dma_write(dev, IOVA + 7, &byte, 1), 0);
	assert_int_equal(dr_sim_dma_write(dev, IOVA + GB1 - 1, &byte, 1), 0);
	assert_int_equal(dr_sim_dma_write(dev, IOVA + GB1, &byte, 1), 0);
	assert_int_equal(dr_sim_dma_write(dev, IOVA + GB1 + MB2 - 1, &byte, 1), 0);
	assert_true(mem[7] == 'x' && mem[GB1 - 1] == 'x' && mem[GB1] == 'x' &&
		    mem[GB1 + MB2 - 1] == 'x');
	dr_sim_counts(s.be, &c);
	assert_int_equal(c.misses, 2);
	assert_int_equal(c.hits, 2);
	space_unmap(&s, IOVA, GB1);
	space_unmap(&s, IOVA + GB1, MB2);
	assert_int_equal(dr_sim_dma_write(dev, IOVA + 7, &byte, 1), -EFAULT);
	assert_int_equal(only_fault(dev).level, 3);
	assert_int_equal(dr_sim_dma_write(dev, IOVA + GB1, &byte, 1), -EFAULT);
	assert_int_equal(only_fault(dev).level, 2);
	device_close(dev);
	space_close(&s);
	memory_free(mem, 2 * GB1);
}

static void unlinked_tables_wait_for_the_invalidation(void **state)
{
	struct space s = space_open(DRAY_DOMAIN_PAGING);
	char *mem = memory(MB2, KB4);
	uint64_t bytes;
	size_t gone;

	(void)state;
	space_map(&s, IOVA, mem, MB2, RW);
	bytes = dr_pgtable_bytes(s.pt);
	assert_int_equal(s.be->ops->unmap(s.be, IOVA, MB2, &gone), 0);
	dr_pgtable_reclaim(s.pt);
	assert_int_equal(dr_pgtable_bytes(s.pt), bytes);
	s.be->ops->invalidate(s.be, IOVA, IOVA + MB2 - 1);
	assert_int_equal(dr_pgtable_bytes(s.pt), bytes);
	dr_pgtable_reclaim(s.pt);
	assert_true(dr_pgtable_bytes(s.pt) < bytes);
	space_close(&s);
	memory_free(mem, MB2);
}

static void unmap_takes_whole_mappings(void **state)
{
	struct space s = space_open(DRAY_DOMAIN_PAGING);
	char *mem = memory(8 * KB4, KB4);
	size_t gone = 99;

	(void)state;
	assert_int_equal(s.be->ops->unmap(s.be, IOVA, KB4, &gone), -EINVAL);
	assert_int_equal(gone, 0);
	space_map(&s, IOVA, mem, 4 * KB4, RW);
	space_map(&s, IOVA + 4 * KB4, mem + 4 * KB4, 2 * KB4, RW | DR_PTE_CONTINUE);
	assert_int_equal(s.be->ops->unmap(s.be, IOVA, 3 * KB4, &gone), -EINVAL);
	assert_int_equal(gone, 0);
	assert_int_equal(s.be->ops->unmap(s.be, IOVA + KB4, 3 * KB4, &gone), -EINVAL);
	assert_int_equal(s.be->ops->unmap(s.be, IOVA + 5 * KB4, 3 * KB4, &gone), -EINVAL);
	assert_ptr_equal(dr_pgtable_va(s.pt, IOVA + 5 * KB4), mem + 5 * KB4);
	/* Misuse of other kinds. */
	assert_int_equal(s.be->ops->unmap(s.be, IOVA + 1, KB4, &gone), -EINVAL);
	assert_int_equal(s.be->ops->unmap(s.be, IOVA, 0, &gone), -EINVAL);
	assert_int_equal(s.be->ops->unmap(s.be, UINT64_C(1) << 48, KB4, &gone), -EINVAL);
	/* Piece by piece, and with gaps around. */
	space_unmap(&s, IOVA, 4 * KB4);
	space_unmap(&s, IOVA + 2 * KB4, 8 * KB4);
	assert_int_equal(s.be->ops->unmap(s.be, IOVA, 8 * KB4, &gone), -EINVAL);
	space_close(&s);
	memory_free(mem, 8 * KB4);
}

static void unmap_can_be_made_to_fail_at_a_page(void **state)
{
	struct space s = space_open(DRAY_DOMAIN_PAGING);
	struct dr_backend_device *dev = device_open(&s, "sim0");
	char *mem = memory(4 * MB2, MB2), byte;
	size_t gone = 99;

	(void)state;
	space_map(&s, IOVA, mem, 8 * KB4, RW);
	dr_sim_fail_unmap_at(s.be, 3);
	assert_int_equal(s.be->ops->unmap(s.be, IOVA, 8 * KB4, &gone), -EIO);
	assert_int_equal(gone, 3 * KB4);
	s.be->ops->invalidate(s.be, IOVA, IOVA + 8 * KB4 - 1);
	for (size_t i = 0; i < 8; i++) {
		assert_ptr_equal(dr_pgtable_va(s.pt, IOVA + i * KB4), i < 3 ? NULL : mem + i * KB4);
		assert_int_equal(dr_sim_dma_read(dev, IOVA + i * KB4, &byte, 1),
				 i < 3 ? -EFAULT : 0);
	}
	/* Inside a large leaf it stops before the leaf; at 0 nothing goes; then it is over. */
	space_map(&s, IOVA + GB1, mem, 2 * MB2, RW);
	dr_sim_fail_unmap_at(s.be, 512 + 7);
	assert_int_equal(s.be->ops->unmap(s.be, IOVA + GB1, 2 * MB2, &gone), -EIO);
	assert_int_equal(gone, MB2);
	space_map(&s, IOVA + 2 * GB1, mem, 2 * KB4, RW);
	dr_sim_fail_unmap_at(s.be, 0);
	assert_int_equal(s.be->ops->unmap(s.be, IOVA + 2 * GB1, 2 * KB4, &gone), -EIO);
	assert_int_equal(gone, 0);
	space_unmap(&s, IOVA + 2 * GB1, 2 * KB4);
	device_close(dev);
	space_close(&s);
	memory_free(mem, 4 * MB2);
}

static void max_op_is_a_limit(void **state)
{
	struct space s = space_open(DRAY_DOMAIN_PAGING);
	char *mem = memory(8 * KB4, KB4);

	(void)state;
	dr_sim_set_max_op(s.be, 2 * KB4);
	assert_int_equal(s.be->max_op, 2 * KB4);
	assert_int_equal(s.be->ops->map(s.be, IOVA, mem, 3 * KB4, RW), -EINVAL);
	space_map(&s, IOVA, mem, 2 * KB4, RW);
	space_close(&s);
	memory_free(mem, 8 * KB4);
}

static void map_refuses_misuse(void **state)
{
	struct space s = space_open(DRAY_DOMAIN_PAGING);
	char *mem = memory(2 * KB4, KB4);

	(void)state;
	assert_int_equal(s.be->ops->map(s.be, IOVA, mem, 0, RW), -EINVAL);
	assert_int_equal(s.be->ops->map(s.be, IOVA + 1, mem, KB4, RW), -EINVAL);
	assert_int_equal(s.be->ops->map(s.be, IOVA, mem + 1, KB4, RW), -EINVAL);
	assert_int_equal(s.be->ops->map(s.be, IOVA, mem, KB4 + 1, RW), -EINVAL);
	assert_int_equal(s.be->ops->map(s.be, IOVA, mem, KB4, 0), -EINVAL);
	assert_int_equal(s.be->ops->map(s.be, (UINT64_C(1) << 48) - KB4, mem, 2 * KB4, RW),
			 -EINVAL);
	assert_int_equal(s.be->ops->map(s.be, UINT64_MAX - KB4 + 1, mem, 2 * KB4, RW), -EINVAL);
	assert_int_equal(dr_pgtable_bytes(s.pt), KB4);
	space_close(&s);
	memory_free(mem, 2 * KB4);
}

static void identity_translates_nothing(void **state)
{
	struct space s = space_open(DRAY_DOMAIN_IDENTITY);
	struct dr_backend_device *dev = device_open(&s, "sim0");
	char mem[100] = "identity", got[9];
	size_t gone = 0;

	(void)state;
	assert_int_equal(dr_sim_dma_read(dev, (uintptr_t)mem, got, 9), 0);
	assert_string_equal(got, "identity");
	assert_int_equal(dr_sim_dma_write(dev, (uintptr_t)mem + 50, got, 9), 0);
	assert_string_equal(mem + 50, "identity");
	assert_int_equal(dr_sim_dma_read(dev, UINT64_MAX - 3, got, 9), -EINVAL);
	/* Mapping is nothing, wherever. */
	assert_int_equal(s.be->ops->map(s.be, IOVA, (void *)KB4, KB4, RW), 0);
	assert_int_equal(dr_pgtable_bytes(s.pt), KB4);
	assert_int_equal(s.be->ops->unmap(s.be, IOVA, KB4, &gone), 0);
	assert_int_equal(gone, KB4);
	s.be->ops->invalidate(s.be, 0, UINT64_MAX);
	device_close(dev);
	space_close(&s);
}

static void blocked_blocks(void **state)
{
	struct space s = space_open(DRAY_DOMAIN_BLOCKED);
	struct dr_backend_device *dev = device_open(&s, "sim0");
	static char page[4096] __attribute__((aligned(4096)));
	struct dray_sim_fault f;
	char mem[8] = "";

	(void)state;
	assert_int_equal(s.be->ops->map(s.be, IOVA, page, KB4, RW), -EPERM);
	assert_int_equal(dr_sim_dma_write(dev, IOVA + 5, mem, 8), -EFAULT);
	f = only_fault(dev);
	assert_int_equal(f.iova, IOVA + 5);
	assert_int_equal(f.access, DRAY_SIM_WRITE);
	assert_int_equal(f.reason, DRAY_SIM_FAULT_BLOCKED);
	assert_int_equal(f.level, 0);
	device_close(dev);
	space_close(&s);
}

/* An invalidation without devices has nothing to do; a global one reaches every space. */
static void invalidations_are_counted(void **state)
{
	struct space a = space_open(DRAY_DOMAIN_PAGING), b = space_open(DRAY_DOMAIN_PAGING);
	struct dr_backend_device *dev;
	char *mem = memory(KB4, KB4), byte;
	struct dr_sim_counts c;
	size_t gone;

	(void)state;
	a.be->ops->invalidate(a.be, 0, KB4 - 1);
	dr_sim_counts(a.be, &c);
	assert_int_equal(c.invalidations, 0);

	dev = device_open(&a, "sim0");
	a.be->ops->invalidate(a.be, 0, KB4 - 1);
	dr_sim_counts(a.be, &c);
	assert_int_equal(c.invalidations, 1);
	space_map(&a, IOVA, mem, KB4, RW);
	assert_int_equal(dr_sim_dma_read(dev, IOVA, &byte, 1), 0);
	assert_int_equal(a.be->ops->unmap(a.be, IOVA, KB4, &gone), 0);
	assert_int_equal(dr_sim_dma_read(dev, IOVA, &byte, 1), 0);
	dr_sim_invalidate_all(b.be);
	assert_int_equal(dr_sim_dma_read(dev, IOVA, &byte, 1), -EFAULT);
	dr_sim_counts(b.be, &c);
	assert_int_equal(c.invalidations, 1);
	device_close(dev);
	space_close(&a);
	space_close(&b);
	memory_free(mem, KB4);
}

static void there_is_no_descriptor(void **state)
{
	struct space s = space_open(DRAY_DOMAIN_PAGING);
	struct dr_backend_device *dev = device_open(&s, "sim7");

	(void)state;
	assert_int_equal(s.be->ops->device_fd(dev), -ENOTSUP);
	device_close(dev);
	s.be->ops->close_forked(s.be); /* closes nothing, frees nothing */
	space_close(&s);
}

#define T(name) cmocka_unit_test_setup_teardown(name, rig_setup, rig_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(opens_with_the_limits_of_vtd),
		T(profiles_are_known_by_name),
		T(stale_entries_are_served_until_invalidated),
		T(large_leaves_are_walked_and_cached),
		T(unlinked_tables_wait_for_the_invalidation),
		T(unmap_takes_whole_mappings),
		T(unmap_can_be_made_to_fail_at_a_page),
		T(max_op_is_a_limit),
		T(map_refuses_misuse),
		T(identity_translates_nothing),
		T(blocked_blocks),
		T(invalidations_are_counted),
		T(there_is_no_descriptor),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
