// SPDX-License-Identifier: BSD-2-Clause
/* Every allocation fails once; and what must not allocate does not. */
#include "rig.h"

#define IOVA (UINT64_C(5) << 30)

static void open_and_attach_fail_whole(void **state)
{
	static const struct dr_log silent;
	struct dr_backend_args args = { .log = &silent };
	struct dr_backend_device *dev;
	struct dr_backend *be;

	(void)state;
	assert_int_equal(dr_pgtable_open(DR_PT_PAGE_SIZES, &args.pt), 0);
	rig_fail_alloc = 1;
	assert_int_equal(dr_sim_ops.open(&args, &be), -ENOMEM);
	assert_int_equal(dr_sim_ops.open(&args, &be), 0);
	rig_fail_alloc = 1;
	assert_int_equal(be->ops->attach(be, "sim0", NULL, &dev), -ENOMEM);
	/* Nothing was claimed. */
	assert_int_equal(be->ops->attach(be, "sim0", NULL, &dev), 0);
	be->ops->detach(be, dev, false);
	be->ops->close(be);
	dr_pgtable_close(args.pt);
}

static void map_fails_whole_and_then_works(void **state)
{
	char *mem = memory(MB2 + 2 * KB4, KB4), byte;
	int err = -1, n;

	(void)state;
	for (n = 1; err; n++) {
		struct space s = space_open(DRAY_DOMAIN_PAGING);
		struct dr_backend_device *dev = device_open(&s, "sim0");
		struct dr_pt_mapping m;
		unsigned before;
		size_t gone;

		rig_fail_alloc = n;
		err = s.be->ops->map(s.be, IOVA - KB4, mem, MB2 + 2 * KB4, RW);
		rig_fail_alloc = 0;
		if (err) {
			assert_int_equal(err, -ENOMEM);
			assert_false(dr_pgtable_next(s.pt, 0, UINT64_MAX, &m));
			assert_int_equal(dr_sim_dma_read(dev, IOVA, &byte, 1), -EFAULT);
			only_fault(dev);
			space_map(&s, IOVA - KB4, mem, MB2 + 2 * KB4, RW);
		}
		assert_int_equal(dr_sim_dma_read(dev, IOVA, &byte, 1), 0);
		/* The way back needs no memory. */
		before = rig_allocs;
		assert_int_equal(s.be->ops->unmap(s.be, IOVA - KB4, MB2 + 2 * KB4, &gone), 0);
		s.be->ops->invalidate(s.be, IOVA - KB4, IOVA + MB2 + KB4 - 1);
		assert_int_equal(dr_sim_dma_read(dev, IOVA, &byte, 1), -EFAULT);
		dr_pgtable_reclaim(s.pt);
		device_close(dev);
		assert_int_equal(rig_allocs, before);
		space_close(&s);
	}
	assert_int_equal(n, 6 + 1 + 1); /* six tables, the round that worked, and one further */
	memory_free(mem, MB2 + 2 * KB4);
}

#define T(name) cmocka_unit_test_setup_teardown(name, rig_setup, rig_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(open_and_attach_fail_whole),
		T(map_fails_whole_and_then_works),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
