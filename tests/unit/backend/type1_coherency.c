// SPDX-License-Identifier: BSD-2-Clause
/* Coherent by default, held to it by the IOMMU: two properties, and what one costs without the other. */
#include "rig.h"

#include <errno.h>
#include <linux/pci_regs.h>
#include <linux/vfio.h>

#include "cpu/cpu.h"

#define CAP       0x40
#define EXPRESS   0x60
#define CONTROL   (EXPRESS + PCI_EXP_DEVCTL + 1) /* its high byte */
#define NO_SNOOP  (PCI_EXP_DEVCTL_NOSNOOP_EN >> 8)
#define OTHER_BIT 0x10

/* Power management, then PCI Express with No Snoop enabled, as devices come out of reset. */
static uint8_t *express(const char *name)
{
	uint8_t *config = vfio_fake_config(name);

	config[PCI_STATUS] |= PCI_STATUS_CAP_LIST;
	config[PCI_CAPABILITY_LIST] = CAP;
	config[CAP] = PCI_CAP_ID_PM;
	config[CAP + 1] = EXPRESS;
	config[EXPRESS] = PCI_CAP_ID_EXP;
	config[CONTROL] = NO_SNOOP | OTHER_BIT;
	return config;
}

static struct dr_backend_device *attach(struct rig *rig, uint32_t flags)
{
	const struct dray_device_opts opts = { .size = sizeof(opts), .flags = flags };
	struct dr_backend_device *bd = NULL;

	assert_int_equal(rig->be->ops->attach(rig->be, NVME, &opts, &bd), 0);
	return bd;
}

static void test_enforced(void **state)
{
	uint8_t *config = express(NVME);
	struct dr_backend_device *bd;
	struct rig rig;

	(void)state;
	rig_open(&rig);
	bd = attach(&rig, 0);
	assert_true(bd->coherent);
	assert_true(bd->enforces_coherency);
	/* nothing was taken from it: it may ask and is overruled */
	assert_int_equal(config[CONTROL], NO_SNOOP | OTHER_BIT);
	rig_detach(&rig, bd);
	assert_string_equal(rig.logged, "");
	rig_close(&rig);
}

static void test_not_enforced_no_snoop_goes(void **state)
{
	uint8_t *config = express(NVME);
	struct dr_backend_device *bd;
	struct rig rig;

	(void)state;
	vfio_fake_set_no_enforce();
	rig_open(&rig);
	bd = attach(&rig, 0);
	assert_true(bd->coherent);
	assert_false(bd->enforces_coherency);
	assert_int_equal(config[CONTROL], OTHER_BIT);
	rig_detach(&rig, bd);
	/* off already: nothing is written */
	vfio_fake_fail_nth(VFIO_FAKE_PWRITE, 1, EIO);
	bd = attach(&rig, 0);
	assert_true(bd->coherent);
	vfio_fake_fail_nth(VFIO_FAKE_PWRITE, 0, 0);
	rig_detach(&rig, bd);
	assert_string_equal(rig.logged, "");
	rig_close(&rig);
}

static void test_conventional(void **state)
{
	struct dr_backend_device *bd;
	struct rig rig;

	(void)state;
	vfio_fake_set_no_enforce();
	rig_open(&rig);
	bd = attach(&rig, 0);
	assert_true(bd->coherent);
	assert_false(bd->enforces_coherency);
	rig_detach(&rig, bd);
	rig_close(&rig);
}

/* A list of capabilities that goes round, and one that leads below the header. */
static void test_broken_lists(void **state)
{
	uint8_t *config = express(NVME);
	struct dr_backend_device *bd;
	struct rig rig;

	(void)state;
	vfio_fake_set_no_enforce();
	rig_open(&rig);
	config[CAP + 1] = CAP;
	bd = attach(&rig, 0);
	assert_true(bd->coherent);
	rig_detach(&rig, bd);
	config[CAP + 1] = 0x10;
	bd = attach(&rig, 0);
	assert_true(bd->coherent);
	rig_detach(&rig, bd);
	rig_close(&rig);
}

/* Each access to config space fails in turn: then the device counts as noncoherent, and works. */
static void test_it_will_not_say(void **state)
{
	struct dr_backend_device *bd;
	struct rig rig;
	unsigned n, unsaid = 0;

	(void)state;
	vfio_fake_set_no_enforce();
	rig_open(&rig);
	for (n = 1;; n++) {
		express(NVME);
		rig.logged[0] = 0;
		vfio_fake_fail_nth(VFIO_FAKE_PREAD, n, EIO);
		if (rig.be->ops->attach(rig.be, NVME, NULL, &bd))
			continue; /* one of sysfs's */
		if (!vfio_fake_fired())
			break;
		if (!bd->coherent) {
			assert_non_null(strstr(rig.logged, "do not snoop"));
			unsaid++;
		}
		rig_detach(&rig, bd);
		assert_true(n < 50);
	}
	assert_true(bd->coherent);
	/* status, list, two capabilities, control, control again */
	assert_int_equal(unsaid, 6);
	rig_detach(&rig, bd);
	express(NVME);
	rig.logged[0] = 0;
	vfio_fake_fail_nth(VFIO_FAKE_PWRITE, 1, EIO);
	bd = attach(&rig, 0);
	assert_false(bd->coherent);
	assert_false(bd->enforces_coherency);
	assert_non_null(strstr(rig.logged, "do not snoop"));
	rig_detach(&rig, bd);
	rig_close(&rig);
}

static void test_the_opener_knows_better(void **state)
{
	struct dr_backend_device *bd;
	struct rig rig;

	(void)state;
	rig_open(&rig);
	bd = attach(&rig, DRAY_DEVICE_NONCOHERENT);
	assert_false(bd->coherent);
	assert_true(bd->enforces_coherency);
	rig_detach(&rig, bd);
	rig_close(&rig);
}

static void test_a_cpu_that_cannot(void **state)
{
	static const struct dr_cpu_ops unable = { .name = "unable", .stride = 64, .line = 64 };
	const struct dray_device_opts opts = {
		.size = sizeof(opts), .flags = DRAY_DEVICE_NONCOHERENT,
	};
	struct dr_backend_device *bd = NULL;
	struct rig rig;
	int fds;

	(void)state;
	rig_open(&rig);
	fds = vfio_fake_fds_open();
	dr_cpu_set_ops(&unable);
	assert_int_equal(rig.be->ops->attach(rig.be, NVME, &opts, &bd), -ENOTSUP);
	assert_words("unable", "caches", NULL);
	assert_null(bd);
	assert_int_equal(vfio_fake_fds_open(), fds);
	/* a coherent device needs none of that */
	bd = attach(&rig, 0);
	assert_true(bd->coherent);
	rig_detach(&rig, bd);
	dr_cpu_set_ops(NULL);
	rig_close(&rig);
}

#define T(name) cmocka_unit_test_setup_teardown(name, machine_up, machine_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_enforced),
		T(test_not_enforced_no_snoop_goes),
		T(test_conventional),
		T(test_broken_lists),
		T(test_it_will_not_say),
		T(test_the_opener_knows_better),
		T(test_a_cpu_that_cannot),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
