// SPDX-License-Identifier: BSD-2-Clause
/* Opening and closing an address space without a device. */
#include "rig.h"

#include <errno.h>

static int open_type(enum dray_domain_type type, struct dr_backend **ret_be)
{
	static const struct dr_log silent;
	struct dr_backend_args args = { .type = type, .log = &silent };

	return dr_type1_ops.open(&args, ret_be);
}

static void assert_open_fails(int err)
{
	struct dr_backend *be = NULL;
	int fds = vfio_fake_fds_open();

	assert_int_equal(open_type(DRAY_DOMAIN_PAGING, &be), err);
	assert_null(be);
	assert_int_equal(vfio_fake_fds_open(), fds);
}

static void test_types(void **state)
{
	struct dr_backend *be;

	(void)state;
	assert_int_equal(open_type(DRAY_DOMAIN_DEFAULT, &be), 0);
	assert_int_equal(be->type, DRAY_DOMAIN_PAGING);
	assert_int_equal(be->limits.n_usable, 2);
	assert_int_equal(be->defers, DR_DEFER_UNMAP);
	assert_true(be->translates);
	assert_true(be->isolates);
	be->ops->close(be);
	assert_int_equal(open_type(DRAY_DOMAIN_PAGING, &be), 0);
	assert_int_equal(be->type, DRAY_DOMAIN_PAGING);
	be->ops->close(be);
	assert_int_equal(open_type(DRAY_DOMAIN_BLOCKED, &be), 0);
	assert_int_equal(be->type, DRAY_DOMAIN_BLOCKED);
	be->ops->close(be);
	assert_int_equal(open_type(DRAY_DOMAIN_IDENTITY, &be), -ENOTSUP);
	assert_words("IDENTITY", "DRAY_DOMAIN_PAGING", NULL);
}

static void test_what_it_says_of_itself(void **state)
{
	(void)state;
	assert_int_equal(dr_type1_ops.kind, DRAY_BACKEND_TYPE1);
	assert_false(dr_type1_ops.can_switch);
	assert_true(dr_type1_ops.pins);
	assert_null(dr_type1_ops.switch_to);
	assert_null(dr_type1_ops.invalidate);
}

static void test_no_node(void **state)
{
	(void)state;
	vfio_fake_fail_path(NODE, ENOENT);
	assert_open_fails(-ENODEV);
	assert_words("/dev/vfio/vfio", "modprobe vfio-pci", NULL);
	/* the node is there, the module is not */
	vfio_fake_fail_path(NODE, ENODEV);
	assert_open_fails(-ENODEV);
	assert_words("modprobe vfio-pci", NULL);
}

static void test_no_right(void **state)
{
	(void)state;
	vfio_fake_fail_path(NODE, EACCES);
	assert_open_fails(-EPERM);
	assert_words("root", "chmod", NULL);
}

static void test_no_descriptor(void **state)
{
	(void)state;
	vfio_fake_fail_path(NODE, EMFILE);
	assert_open_fails(-ENOMEM);
	assert_words("ulimit -n", NULL);
	vfio_fake_fail_path(NODE, EIO);
	assert_open_fails(-EIO);
}

static void test_wrong_version(void **state)
{
	(void)state;
	vfio_fake_fail_nth(VFIO_GET_API_VERSION, 1, EINVAL);
	assert_open_fails(-ENODEV);
	assert_words("version", NULL);
}

static void test_no_type1(void **state)
{
	(void)state;
	vfio_fake_fail_nth(VFIO_CHECK_EXTENSION, 1, EINVAL);
	assert_open_fails(-ENODEV);
	assert_words("modprobe vfio_iommu_type1", NULL);
}

static void test_no_iommu(void **state)
{
	(void)state;
	vfio_fake_set_no_iommu();
	assert_open_fails(-ENODEV);
	assert_words("no IOMMU", "intel_iommu=on", "amd_iommu=on", NULL);
}

static void test_no_memory(void **state)
{
	(void)state;
	vfio_fake_fail_nth(VFIO_FAKE_ALLOC, 1, ENOMEM);
	assert_open_fails(-ENOMEM);
}

static void test_two_at_once(void **state)
{
	struct dr_backend *a, *b;

	(void)state;
	assert_int_equal(open_type(DRAY_DOMAIN_PAGING, &a), 0);
	assert_int_equal(open_type(DRAY_DOMAIN_PAGING, &b), 0);
	assert_int_equal(vfio_fake_fds_open(), 2);
	a->ops->close(a);
	b->ops->close(b);
	assert_int_equal(vfio_fake_fds_open(), 0);
}

static void test_limits_are_sane_to_split_by(void **state)
{
	struct dr_backend *be;

	(void)state;
	assert_int_equal(open_type(DRAY_DOMAIN_PAGING, &be), 0);
	assert_true(be->max_op >= UINT64_C(1) << DR_PT_ADDR_BITS);
	assert_int_equal(be->max_op % be->limits.granule, 0);
	dr_type1_set_max_op(be, 8192);
	assert_int_equal(be->max_op, 8192);
	be->ops->close(be);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, machine_up, machine_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_types),
		TEST(test_what_it_says_of_itself),
		TEST(test_no_node),
		TEST(test_no_right),
		TEST(test_no_descriptor),
		TEST(test_wrong_version),
		TEST(test_no_type1),
		TEST(test_no_iommu),
		TEST(test_no_memory),
		TEST(test_two_at_once),
		TEST(test_limits_are_sane_to_split_by),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
