// SPDX-License-Identifier: BSD-2-Clause
/* An IOVA given out again before its flush is seen by the device that still uses the old entry. */
#include "rig.h"

#define AT (16 * (dray_iova_t)MB2)

static uint64_t reuses(const struct space *s)
{
	struct dr_sim_counts c;

	dr_sim_counts(s->be, &c);
	return c.stale_reuses;
}

/* Clear the entry, as an unmap whose flush comes later does. */
static void unmap_only(const struct space *s, size_t len)
{
	size_t gone;

	assert_int_equal(s->be->ops->unmap(s->be, AT, len, &gone), 0);
}

static void reuse_before_the_flush_is_counted(void **state)
{
	struct space s = space_open(DRAY_DOMAIN_PAGING);
	struct dr_backend_device *dev = device_open(&s, "sim1");
	char *a = memory(KB4, KB4), *b = memory(KB4, KB4), c;

	(void)state;
	a[0] = 'a';
	b[0] = 'b';
	space_map(&s, AT, a, KB4, RW);
	assert_int_equal(dr_sim_dma_read(dev, AT, &c, 1), 0);
	assert_int_equal(dr_sim_dma_read(dev, AT, &c, 1), 0);
	assert_int_equal(reuses(&s), 0);
	unmap_only(&s, KB4);
	/* The stale window itself is no reuse: nothing else is there. */
	assert_int_equal(dr_sim_dma_read(dev, AT, &c, 1), 0);
	assert_int_equal(reuses(&s), 0);
	space_map(&s, AT, b, KB4, RW);
	assert_int_equal(dr_sim_dma_read(dev, AT, &c, 1), 0);
	assert_int_equal(c, 'a');
	assert_int_equal(reuses(&s), 1);
	s.be->ops->invalidate(s.be, AT, AT + KB4 - 1);
	assert_int_equal(dr_sim_dma_read(dev, AT, &c, 1), 0);
	assert_int_equal(c, 'b');
	assert_int_equal(dr_sim_dma_read(dev, AT, &c, 1), 0);
	assert_int_equal(reuses(&s), 1);
	space_unmap(&s, AT, KB4);
	device_close(dev);
	memory_free(a, KB4);
	memory_free(b, KB4);
	space_close(&s);
}

/* Another direction, another page size: also other entries. */
static void reuse_is_told_by_the_whole_entry(void **state)
{
	struct space s = space_open(DRAY_DOMAIN_PAGING);
	struct dr_backend_device *dev = device_open(&s, "sim1");
	char *a = memory(MB2, MB2), c;

	(void)state;
	space_map(&s, AT, a, MB2, RW);
	assert_int_equal(dr_sim_dma_read(dev, AT, &c, 1), 0);
	unmap_only(&s, MB2);
	space_map(&s, AT, a, KB4, RW);
	assert_int_equal(dr_sim_dma_read(dev, AT, &c, 1), 0);
	assert_int_equal(reuses(&s), 1);
	space_unmap(&s, AT, KB4);
	space_map(&s, AT, a, KB4, RW);
	assert_int_equal(dr_sim_dma_read(dev, AT, &c, 1), 0);
	unmap_only(&s, KB4);
	space_map(&s, AT, a, KB4, DR_PTE_READ);
	assert_int_equal(dr_sim_dma_read(dev, AT, &c, 1), 0);
	assert_int_equal(reuses(&s), 2);
	/* Who asked for no checks gets none. */
	dr_sim_set_cost(s.be, 0, 0, DRAY_SIM_NOCHECK);
	assert_int_equal(dr_sim_dma_read(dev, AT, &c, 1), 0);
	assert_int_equal(reuses(&s), 2);
	space_unmap(&s, AT, KB4);
	device_close(dev);
	memory_free(a, MB2);
	space_close(&s);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, rig_setup, rig_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(reuse_before_the_flush_is_counted),
		TEST(reuse_is_told_by_the_whole_entry),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
