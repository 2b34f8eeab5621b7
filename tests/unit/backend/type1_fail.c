// SPDX-License-Identifier: BSD-2-Clause
/*
 * Fail the nth call into the world, for every n until the operation runs through: whatever fails,
 * nothing is left behind, and the same operation works right after.
 */
#include "rig.h"

#include <errno.h>

#define IOVA UINT64_C(0x10000000)
#define PAGE 4096ul

/* More calls than any one of these operations makes. */
#define MANY 1000

static const int errors[] = { EIO, ENOMEM, EBUSY, EINVAL, EPERM };
#define N_ERRORS (sizeof(errors) / sizeof(errors[0]))

static void table_of_five(struct rig *rig, char *va)
{
	dr_type1_set_max_op(rig->be, 2 * PAGE);
	assert_int_equal(rig->be->ops->map(rig->be, IOVA, va, 2 * PAGE, RW), 0);
	assert_int_equal(rig->be->ops->map(rig->be, IOVA + 2 * PAGE, va + 2 * PAGE, PAGE,
					   RW | DR_PTE_CONTINUE), 0);
	assert_int_equal(rig->be->ops->map(rig->be, IOVA + 8 * PAGE, va, PAGE, R), 0);
	assert_int_equal(rig->be->ops->map(rig->be, IOVA + 9 * PAGE, va, PAGE, RW), 0);
	assert_int_equal(rig->be->ops->map(rig->be, UINT64_C(0x100000000), va, PAGE, RW), 0);
}

static void test_open(void **state)
{
	static const struct dr_log silent;
	const struct dr_backend_args args = { .log = &silent };
	struct dr_backend *be;
	unsigned n, failures = 0;

	(void)state;
	for (n = 1; n < MANY; n++) {
		long allocs = vfio_fake_allocs();

		vfio_fake_fail_nth(VFIO_FAKE_ANY, n, errors[n % N_ERRORS]);
		be = NULL;
		if (!dr_type1_ops.open(&args, &be)) {
			bool fired = vfio_fake_fired();

			vfio_fake_fail_nth(0, 0, 0);
			be->ops->close(be);
			if (!fired)
				break;
			continue;
		}
		failures++;
		assert_true(vfio_fake_fired());
		assert_null(be);
		assert_int_equal(vfio_fake_fds_open(), 0);
		assert_int_equal(vfio_fake_allocs(), allocs);
	}
	assert_in_range(n, 5, MANY - 1);
	assert_true(failures >= 4); /* memory, node, version, extension */
}

/* attach and enable with a table to replay, on a kernel that needs copy-on-write broken */
static void test_attach_and_enable(void **state)
{
	char *va = pages(4 * PAGE);
	unsigned n, failures = 0;
	struct rig rig;

	(void)state;
	vfio_fake_set_release(6, 1);
	vfio_fake_reserve(5, 0x1000, 0x1fff, "reserved", true);
	rig_open(&rig);
	table_of_five(&rig, va);
	rig_detach(&rig, rig_plug(&rig, NVME)); /* what is made once is made */
	for (n = 1; n < MANY; n++) {
		struct dr_backend_limits was = rig.be->limits;
		struct dr_backend_device *bd = NULL;
		long allocs = vfio_fake_allocs();
		uint64_t replayed = 0;
		int err;

		vfio_fake_fail_nth(VFIO_FAKE_ANY, n, errors[n % N_ERRORS]);
		err = rig.be->ops->attach(rig.be, NVME, NULL, &bd);
		if (err) {
			assert_null(bd);
		} else {
			err = rig.be->ops->enable(rig.be, bd, &replayed);
			if (!err) {
				assert_int_equal(replayed, 5);
				assert_int_equal(vfio_fake_mappings(), 5);
			} else {
				assert_int_equal(vfio_fake_mappings(), 0);
			}
			bool fired = vfio_fake_fired();

			vfio_fake_fail_nth(0, 0, 0);
			rig_detach(&rig, bd);
			if (!fired)
				break;
		}
		failures += err != 0;
		assert_int_equal(vfio_fake_mappings(), 0);
		assert_int_equal(vfio_fake_fds_open(), 1);
		assert_int_equal(vfio_fake_allocs(), allocs);
		assert_memory_equal(&was, &rig.be->limits, sizeof(was));
		vfio_fake_fail_nth(0, 0, 0);
		rig_detach(&rig, rig_plug(&rig, NVME));
	}
	assert_in_range(n, 10, MANY - 1);
	/* two blocks, group node, status, join, iommu, device, region, info, five maps */
	assert_true(failures >= 13);
	rig_close(&rig);
	free_pages(va, 4 * PAGE);
}

/* A second member and a second group, while the first are live and stay so. */
static void second_of(const char *name)
{
	struct dr_backend_device *first;
	char *va = pages(PAGE);
	struct rig rig;
	unsigned n;

	rig_open(&rig);
	first = rig_plug(&rig, NIC);
	assert_int_equal(rig.be->ops->map(rig.be, IOVA, va, PAGE, RW), 0);
	for (n = 1; n < MANY; n++) {
		struct dr_backend_limits was = rig.be->limits;
		struct dr_backend_device *bd = NULL;
		int err, fds = vfio_fake_fds_open();
		uint64_t replayed;

		vfio_fake_fail_nth(VFIO_FAKE_ANY, n, errors[n % N_ERRORS]);
		err = rig.be->ops->attach(rig.be, name, NULL, &bd);
		if (!err)
			assert_int_equal(rig.be->ops->enable(rig.be, bd, &replayed), 0);
		bool fired = vfio_fake_fired();

		vfio_fake_fail_nth(0, 0, 0);
		if (!err)
			rig_detach(&rig, bd);
		assert_int_equal(vfio_fake_fds_open(), fds);
		assert_true(vfio_fake_is_mapped(NIC, IOVA, PAGE, va));
		assert_memory_equal(&was, &rig.be->limits, sizeof(was));
		if (!fired)
			break;
	}
	assert_in_range(n, 4, MANY - 1);
	rig_detach(&rig, first);
	rig_close(&rig);
	free_pages(va, PAGE);
}

static void test_second_member(void **state)
{
	(void)state;
	second_of(NIC1);
}

static void test_second_group(void **state)
{
	(void)state;
	second_of(NVME);
}

static void test_map(void **state)
{
	struct dr_backend_device *bd;
	char *va = pages(PAGE);
	struct rig rig;
	size_t gone;
	unsigned n;

	(void)state;
	vfio_fake_set_release(6, 1);
	rig_open(&rig);
	bd = rig_plug(&rig, NVME);
	for (n = 1; n < MANY; n++) {
		/* far apart, so that each needs tables of its own */
		dray_iova_t iova = IOVA + (uint64_t)n * (UINT64_C(1) << 40);
		int err;

		vfio_fake_fail_nth(VFIO_FAKE_ANY, n, errors[n % N_ERRORS]);
		err = rig.be->ops->map(rig.be, iova, va, PAGE, R);
		bool fired = vfio_fake_fired();

		vfio_fake_fail_nth(0, 0, 0);
		if (err) {
			assert_true(fired);
			assert_null(dr_pgtable_va(rig.pt, iova));
			assert_int_equal(vfio_fake_mappings(), 0);
			assert_int_equal(rig.be->ops->map(rig.be, iova, va, PAGE, R), 0);
		}
		assert_true(vfio_fake_is_mapped(NVME, iova, PAGE, va));
		assert_int_equal(rig.be->ops->unmap(rig.be, iova, PAGE, &gone), 0);
		if (!fired)
			break;
	}
	assert_in_range(n, 4, MANY - 1); /* tables, advice, map */
	rig_detach(&rig, bd);
	rig_close(&rig);
	free_pages(va, PAGE);
}

static void test_unmap(void **state)
{
	struct dr_backend_device *bd;
	char *va = pages(PAGE);
	struct rig rig;
	size_t gone;
	unsigned n;

	(void)state;
	rig_open(&rig);
	bd = rig_plug(&rig, NVME);
	for (n = 1; n < MANY; n++) {
		int err;

		assert_int_equal(rig.be->ops->map(rig.be, IOVA, va, PAGE, RW), 0);
		vfio_fake_fail_nth(VFIO_FAKE_ANY, n, errors[n % N_ERRORS]);
		err = rig.be->ops->unmap(rig.be, IOVA, PAGE, &gone);
		bool fired = vfio_fake_fired();

		vfio_fake_fail_nth(0, 0, 0);
		if (!fired) {
			assert_int_equal(err, 0);
			break;
		}
		assert_int_equal(err, -errors[n % N_ERRORS]);
		assert_int_equal(gone, 0);
		assert_ptr_equal(dr_pgtable_va(rig.pt, IOVA), va);
		assert_int_equal(rig.be->ops->unmap(rig.be, IOVA, PAGE, &gone), 0);
	}
	/* one call, and no memory asked for */
	assert_int_equal(n, 2);
	rig_detach(&rig, bd);
	rig_close(&rig);
	free_pages(va, PAGE);
}

/* Detach cannot fail, whatever does. */
static void test_detach(void **state)
{
	char *va = pages(4 * PAGE);
	struct rig rig;
	unsigned n;

	(void)state;
	rig_open(&rig);
	table_of_five(&rig, va);
	rig_detach(&rig, rig_plug(&rig, NVME));
	for (n = 1; n < MANY; n++) {
		struct dr_backend_device *bd;
		long allocs = vfio_fake_allocs();

		bd = rig_plug(&rig, NVME);
		vfio_fake_set_bus_master(NVME, true);
		vfio_fake_fail_nth(VFIO_FAKE_ANY, n, errors[n % N_ERRORS]);
		unsigned asked = vfio_fake_calls(VFIO_FAKE_ALLOC);

		rig_detach(&rig, bd);
		assert_int_equal(vfio_fake_calls(VFIO_FAKE_ALLOC), asked);
		assert_int_equal(vfio_fake_mappings(), 0);
		assert_in_range(vfio_fake_fds_open(), 0, 1);
		assert_int_equal(vfio_fake_allocs(), allocs);
		if (!vfio_fake_fired())
			break;
	}
	vfio_fake_fail_nth(0, 0, 0);
	assert_in_range(n, 4, MANY - 1); /* read, write, part */
	rig_close(&rig);
	free_pages(va, 4 * PAGE);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, machine_up, machine_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_open),
		TEST(test_attach_and_enable),
		TEST(test_second_member),
		TEST(test_second_group),
		TEST(test_map),
		TEST(test_unmap),
		TEST(test_detach),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
