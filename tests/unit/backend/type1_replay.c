// SPDX-License-Identifier: BSD-2-Clause
/* A device that comes after the maps: it gets all of them, or the attach fails. */
#include "rig.h"

#include <errno.h>

#define IOVA UINT64_C(0x10000000)
#define PAGE 4096ul

static void test_replay(void **state)
{
	struct dr_backend_device *bd;
	char *va = pages(16 * PAGE);
	uint64_t replayed = 99;
	struct rig rig;

	(void)state;
	rig_open(&rig);
	dr_type1_set_max_op(rig.be, 2 * PAGE);
	/* one mapping of five pages in three pieces, two beside it that adjoin */
	assert_int_equal(rig_map(&rig, IOVA, va, 2 * PAGE, RW), 0);
	assert_int_equal(rig_map(&rig, IOVA + 2 * PAGE, va + 2 * PAGE, 2 * PAGE,
				 RW | DR_PTE_CONTINUE), 0);
	assert_int_equal(rig_map(&rig, IOVA + 4 * PAGE, va + 4 * PAGE, PAGE,
				 RW | DR_PTE_CONTINUE), 0);
	assert_int_equal(rig_map(&rig, IOVA + 5 * PAGE, va + 5 * PAGE, PAGE, R), 0);
	assert_int_equal(rig_map(&rig, IOVA + 6 * PAGE, va + 6 * PAGE, 2 * PAGE, RW), 0);
	assert_int_equal(rig.be->ops->entries_left(rig.be), 65530);
	bd = rig_attach(&rig, NVME);
	assert_int_equal(vfio_fake_mappings(), 0); /* joined, nothing reachable */
	/* and what is mapped between attach and enable is there after it */
	assert_int_equal(rig_map(&rig, IOVA + 9 * PAGE, va + 9 * PAGE, PAGE, RW), 0);
	assert_int_equal(vfio_fake_mappings(), 0);
	assert_int_equal(rig.be->ops->enable(rig.be, bd, &replayed), 0);
	assert_int_equal(replayed, 6);
	assert_int_equal(vfio_fake_mappings(), 6);
	assert_true(vfio_fake_is_mapped(NVME, IOVA, 2 * PAGE, va));
	assert_true(vfio_fake_is_mapped(NVME, IOVA + 2 * PAGE, 2 * PAGE, va + 2 * PAGE));
	assert_true(vfio_fake_is_mapped(NVME, IOVA + 4 * PAGE, PAGE, va + 4 * PAGE));
	assert_true(vfio_fake_is_mapped(NVME, IOVA + 5 * PAGE, PAGE, va + 5 * PAGE));
	assert_true(vfio_fake_is_mapped(NVME, IOVA + 6 * PAGE, 2 * PAGE, va + 6 * PAGE));
	assert_int_equal(rig.be->ops->entries_left(rig.be), 65529);
	/* pieces are unmapped as they were mapped */
	rig_unmap(&rig, IOVA, 2 * PAGE);
	rig_unmap(&rig, IOVA + 2 * PAGE, 2 * PAGE);
	rig_unmap(&rig, IOVA + 4 * PAGE, PAGE);
	assert_int_equal(vfio_fake_mappings(), 3);
	/* the table is the domain's: detached and attached again */
	rig_detach(&rig, bd);
	assert_int_equal(vfio_fake_mappings(), 0);
	rig_unmap(&rig, IOVA + 5 * PAGE, PAGE);
	bd = rig_plug(&rig, NIC);
	assert_int_equal(vfio_fake_mappings(), 2);
	assert_true(vfio_fake_is_mapped(NIC, IOVA + 6 * PAGE, 2 * PAGE, va + 6 * PAGE));
	rig_detach(&rig, bd);
	rig_close(&rig);
	free_pages(va, 16 * PAGE);
}

static void test_second_device_needs_no_replay(void **state)
{
	struct dr_backend_device *a, *b;
	uint64_t replayed = 99;
	char *va = pages(PAGE), buf[4];
	struct rig rig;

	(void)state;
	rig_open(&rig);
	a = rig_plug(&rig, NVME);
	assert_int_equal(rig_map(&rig, IOVA, va, PAGE, RW), 0);
	b = rig_attach(&rig, NIC);
	assert_int_equal(rig.be->ops->enable(rig.be, b, &replayed), 0);
	assert_int_equal(replayed, 0);
	assert_int_equal(vfio_fake_mappings(), 1);
	vfio_fake_set_bus_master(NIC, true);
	assert_int_equal(vfio_fake_dma(NIC, IOVA, buf, 4, true), 0);
	rig_detach(&rig, a);
	/* one that goes leaves the other working */
	assert_int_equal(vfio_fake_dma(NIC, IOVA, buf, 4, true), 0);
	rig_unmap(&rig, IOVA, PAGE);
	assert_int_equal(vfio_fake_dma(NIC, IOVA, buf, 4, true), -EFAULT);
	rig_detach(&rig, b);
	rig_close(&rig);
	free_pages(va, PAGE);
}

/* Attach works, enable fails with @err and leaves nothing; without the cause it works. */
static void assert_enable_fails(struct rig *rig, int err)
{
	struct dr_backend_device *bd = rig_attach(rig, NVME);
	uint64_t replayed = 99;

	assert_int_equal(rig->be->ops->enable(rig->be, bd, &replayed), err);
	assert_int_equal(replayed, 99);
	assert_int_equal(vfio_fake_mappings(), 0);
	rig_detach(rig, bd);
	assert_int_equal(vfio_fake_fds_open(), 1);
}

static void test_replay_refused(void **state)
{
	static const struct dray_range low[] = { { 0, IOVA + 2 * PAGE - 1 } };
	struct dr_backend_device *bd;
	char *va = pages(4 * PAGE), *lost = pages(PAGE);
	struct rig rig;

	(void)state;
	rig_open(&rig);
	dr_type1_set_max_op(rig.be, PAGE);
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(rig_map(&rig, IOVA + i * PAGE, va + i * PAGE, PAGE,
				     i ? RW | DR_PTE_CONTINUE : RW), 0);
	assert_int_equal(rig_map(&rig, IOVA + 8 * PAGE, va, PAGE, RW), 0);

	vfio_fake_set_ranges(low, 1);
	assert_enable_fails(&rig, -ERANGE);
	assert_words("0x10002000", "range", "open the device first", NULL);
	vfio_fake_set_ranges(NULL, 0);

	for (unsigned n = 1; n <= 4; n++) {
		vfio_fake_fail_nth(VFIO_IOMMU_MAP_DMA, n, ENOSPC);
		assert_enable_fails(&rig, -ENOSPC);
		assert_words("65535", "entries", NULL);
		vfio_fake_fail_nth(VFIO_IOMMU_MAP_DMA, n, EINVAL);
		assert_enable_fails(&rig, -ERANGE);
	}
	vfio_fake_set_memlock(3 * PAGE);
	assert_enable_fails(&rig, -ENOMEM);
	assert_words("RLIMIT_MEMLOCK is 12288 bytes", "12288 are locked", "4096",
		     "ulimit -l", NULL);
	vfio_fake_set_memlock(UINT64_MAX);

	assert_int_equal(rig_map(&rig, IOVA + 9 * PAGE, lost, PAGE, RW), 0);
	free_pages(lost, PAGE);
	assert_enable_fails(&rig, -EFAULT);
	assert_words("cannot be pinned", NULL);
	rig_unmap(&rig, IOVA + 9 * PAGE, PAGE);

	bd = rig_plug(&rig, NVME);
	assert_int_equal(vfio_fake_mappings(), 4);
	rig_detach(&rig, bd);
	rig_close(&rig);
	free_pages(va, 4 * PAGE);
}

static void test_all_65535_entries(void **state)
{
	struct dr_backend_device *bd;
	char *va = pages(PAGE);
	struct rig rig;

	(void)state;
	rig_open(&rig);
	bd = rig_plug(&rig, NVME);
	for (unsigned i = 0; i < 65535; i++)
		if (rig_map(&rig, IOVA + i * PAGE, va, PAGE, RW))
			fail_msg("map %u: %s", i, dray_errmsg());
	assert_int_equal(rig_map(&rig, IOVA + 65535 * PAGE, va, PAGE, RW), -ENOSPC);
	assert_words("65535", NULL);
	rig_detach(&rig, bd);
	assert_int_equal(vfio_fake_mappings(), 0);
	/* replayed whole, and one more is one too many */
	bd = rig_plug(&rig, NVME);
	assert_int_equal(vfio_fake_mappings(), 65535);
	rig_detach(&rig, bd);
	assert_int_equal(rig_map(&rig, IOVA + 65535 * PAGE, va, PAGE, RW), 0);
	assert_int_equal(rig.be->ops->entries_left(rig.be), 0);
	assert_enable_fails(&rig, -ENOSPC);
	rig_close(&rig);
	free_pages(va, PAGE);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, machine_up, machine_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_replay),
		TEST(test_second_device_needs_no_replay),
		TEST(test_replay_refused),
		TEST(test_all_65535_entries),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
