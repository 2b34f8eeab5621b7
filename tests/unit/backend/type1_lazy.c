// SPDX-License-Identifier: BSD-2-Clause
/* The two halves of a lazy unmap: the table first, the kernel later, if it still has something. */
#include "rig.h"

#include <errno.h>

#define IOVA UINT64_C(0x10000000)
#define PAGE 4096ul

static int unmap_range(struct rig *rig, dray_iova_t first, size_t pages, uint32_t lease,
		       uint64_t *ret_gone)
{
	return rig->be->ops->unmap_range(rig->be, first, first + pages * PAGE - 1, lease, ret_gone);
}

static void test_retire_and_unmap(void **state)
{
	struct dr_backend_device *bd;
	char *va = pages(4 * PAGE);
	uint64_t gone = 0;
	uint32_t lease;
	struct rig rig;

	(void)state;
	rig_open(&rig);
	assert_int_equal(rig.be->defers, DR_DEFER_UNMAP);
	bd = rig_plug(&rig, NVME);
	assert_int_equal(rig_map(&rig, IOVA, va, PAGE, RW), 0);
	assert_int_equal(rig_map(&rig, IOVA + 2 * PAGE, va, 2 * PAGE, RW), 0);
	lease = rig.be->ops->retire(rig.be, IOVA, PAGE);
	assert_true(lease && lease != UINT32_MAX);
	assert_int_equal(rig.be->ops->retire(rig.be, IOVA + 2 * PAGE, 2 * PAGE), lease);
	assert_null(dr_pgtable_va(rig.pt, IOVA));
	assert_null(dr_pgtable_va(rig.pt, IOVA + 2 * PAGE));
	assert_int_equal(vfio_fake_calls(VFIO_IOMMU_UNMAP_DMA), 0);
	assert_true(vfio_fake_is_mapped(NVME, IOVA, PAGE, va));
	/* One call for both, and the gap. */
	assert_int_equal(unmap_range(&rig, IOVA, 4, lease, &gone), 0);
	assert_int_equal(gone, 3 * PAGE);
	assert_int_equal(vfio_fake_calls(VFIO_IOMMU_UNMAP_DMA), 1);
	assert_int_equal(vfio_fake_mappings(), 0);
	/* Nothing is there: success, and no bytes. */
	assert_int_equal(unmap_range(&rig, IOVA, 4, lease, &gone), 0);
	assert_int_equal(gone, 0);
	rig_detach(&rig, bd);
	rig_close(&rig);
	free_pages(va, 4 * PAGE);
}

static void test_refused(void **state)
{
	struct dr_backend_device *bd;
	char *va = pages(PAGE);
	uint64_t gone = 7;
	uint32_t lease;
	struct rig rig;

	(void)state;
	rig_open(&rig);
	bd = rig_plug(&rig, NVME);
	assert_int_equal(rig_map(&rig, IOVA, va, PAGE, RW), 0);
	lease = rig.be->ops->retire(rig.be, IOVA, PAGE);
	vfio_fake_fail_nth(VFIO_IOMMU_UNMAP_DMA, 1, EIO);
	assert_int_equal(unmap_range(&rig, IOVA, 1, lease, &gone), -EIO);
	assert_true(vfio_fake_is_mapped(NVME, IOVA, PAGE, va));
	assert_int_equal(unmap_range(&rig, IOVA, 1, lease, &gone), 0);
	rig_detach(&rig, bd);
	rig_close(&rig);
	free_pages(va, PAGE);
}

/* Without a group nothing is held; with the last one everything is forgotten. */
static void test_leases(void **state)
{
	struct dr_backend_device *bd;
	char *va = pages(PAGE);
	uint64_t gone = 7;
	uint32_t first, second;
	struct rig rig;

	(void)state;
	rig_open(&rig);
	assert_int_equal(rig_map(&rig, IOVA, va, PAGE, RW), 0);
	assert_int_equal(rig.be->ops->retire(rig.be, IOVA, PAGE), 0);

	bd = rig_plug(&rig, NVME);
	assert_int_equal(rig_map(&rig, IOVA, va, PAGE, RW), 0);
	first = rig.be->ops->retire(rig.be, IOVA, PAGE);
	assert_true(first);
	rig_detach(&rig, bd);
	assert_int_equal(unmap_range(&rig, IOVA, 1, first, &gone), -ESTALE);

	bd = rig_plug(&rig, NVME);
	/* Retired before: not replayed. Mapped anew: not touched by what the old lease is about. */
	assert_int_equal(vfio_fake_mappings(), 0);
	assert_int_equal(rig_map(&rig, IOVA, va, PAGE, RW), 0);
	assert_int_equal(unmap_range(&rig, IOVA, 1, first, &gone), -ESTALE);
	assert_true(vfio_fake_is_mapped(NVME, IOVA, PAGE, va));
	second = rig.be->ops->retire(rig.be, IOVA, PAGE);
	assert_int_not_equal(second, first);
	assert_int_equal(vfio_fake_calls(VFIO_IOMMU_UNMAP_DMA), 0);
	assert_int_equal(unmap_range(&rig, IOVA, 1, second, &gone), 0);
	assert_int_equal(gone, PAGE);
	rig_detach(&rig, bd);
	rig_close(&rig);
	free_pages(va, PAGE);
}

/* A second group changes nothing: the kernel holds what it held. */
static void test_second_group(void **state)
{
	struct dr_backend_device *bd, *second;
	char *va = pages(PAGE);
	uint64_t gone = 0;
	uint32_t lease;
	struct rig rig;

	(void)state;
	rig_open(&rig);
	bd = rig_plug(&rig, NVME);
	assert_int_equal(rig_map(&rig, IOVA, va, PAGE, RW), 0);
	lease = rig.be->ops->retire(rig.be, IOVA, PAGE);
	second = rig_plug(&rig, NIC);
	rig_detach(&rig, bd);
	assert_int_equal(unmap_range(&rig, IOVA, 1, lease, &gone), 0);
	assert_int_equal(gone, PAGE);
	rig_detach(&rig, second);
	rig_close(&rig);
	free_pages(va, PAGE);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, machine_up, machine_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_retire_and_unmap),
		TEST(test_refused),
		TEST(test_leases),
		TEST(test_second_group),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
