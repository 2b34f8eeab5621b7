// SPDX-License-Identifier: BSD-2-Clause
/* Which devices there are, who may claim them, what a group keeps together. */
#include "rig.h"

#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static struct space a, b;
static struct dr_backend_device *other;

static int setup(void **state)
{
	rig_setup(state);
	a = space_open(DRAY_DOMAIN_PAGING);
	b = space_open(DRAY_DOMAIN_PAGING);
	return 0;
}

static int teardown(void **state)
{
	space_close(&a);
	space_close(&b);
	return rig_teardown(state);
}

static void names_are_exact(void **state)
{
	const char *const bad[] = {
		"", "sim", "sim64", "sim100", "sim00", "sim01", "sim-1", "sim+1", "sim1x", "sim0.8",
		"sim0.", "sim0.1.2", "sim1.0", "sim5.1", "Sim0", "sim99999999999999999999",
		"0000:01:00.0", " sim0", "sim0 ",
	};
	char name[16];

	(void)state;
	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		assert_int_equal(device_try_open(&a, bad[i], &other), -ENODEV);
		assert_non_null(strstr(dray_errmsg(), "sim63"));
	}
	for (unsigned i = 0; i < 64; i++) {
		snprintf(name, sizeof(name), "sim%u", i);
		other = device_open(&a, name);
		assert_int_equal(dr_sim_device_index(other), i);
		device_close(other);
	}
}

static void a_device_is_open_once(void **state)
{
	struct dr_backend_device *dev = device_open(&a, "sim1");

	(void)state;
	assert_int_equal(device_try_open(&a, "sim1", &other), -EBUSY);
	assert_int_equal(device_try_open(&b, "sim1", &other), -EBUSY);
	assert_non_null(strstr(dray_errmsg(), "sim1"));
	device_close(dev);
	dev = device_open(&b, "sim1");
	device_close(dev);
	/* "sim0" and "sim0.0" are one. */
	dev = device_open(&a, "sim0");
	assert_int_equal(device_try_open(&a, "sim0.0", &other), -EBUSY);
	device_close(dev);
}

static void a_group_is_in_one_space(void **state)
{
	struct dr_backend_device *first = device_open(&a, "sim0.3"), *second;

	(void)state;
	assert_int_equal(device_try_open(&b, "sim0", &other), -EBUSY);
	assert_non_null(strstr(dray_errmsg(), "sim0.3"));
	second = device_open(&a, "sim0");
	/* Another group is nothing to it. */
	other = device_open(&b, "sim2");
	device_close(other);
	device_close(first);
	assert_int_equal(device_try_open(&b, "sim0.3", &other), -EBUSY);
	device_close(second);
	other = device_open(&b, "sim0.3");
	device_close(other);
}

static void a_foreign_member_spoils_the_group(void **state)
{
	(void)state;
	assert_int_equal(dr_sim_set_foreign(0, 5, "ahci"), 0);
	assert_int_equal(device_try_open(&a, "sim0", &other), -EBUSY);
	assert_non_null(strstr(dray_errmsg(), "sim0.5"));
	assert_non_null(strstr(dray_errmsg(), "ahci"));
	assert_int_equal(device_try_open(&a, "sim0.5", &other), -ENODEV);
	assert_non_null(strstr(dray_errmsg(), "ahci"));
	other = device_open(&a, "sim1");
	device_close(other);
	assert_int_equal(dr_sim_set_foreign(0, 5, NULL), 0);
	other = device_open(&a, "sim0");
	device_close(other);
	assert_int_equal(dr_sim_set_foreign(1, 1, "ahci"), -EINVAL);
	assert_int_equal(dr_sim_set_foreign(64, 0, "ahci"), -EINVAL);
	assert_int_equal(dr_sim_set_foreign(0, 8, "ahci"), -EINVAL);
}

static void a_device_moves_alone(void **state)
{
	struct dr_backend_device *dev = device_open(&a, "sim0"), *member;
	char *mem = memory(KB4, KB4), byte;

	(void)state;
	space_map(&a, GB1, mem, KB4, RW);
	assert_int_equal(dr_sim_dma_read(dev, GB1, &byte, 1), 0);
	member = device_open(&a, "sim0.1");
	assert_int_equal(a.be->ops->switch_to(dev, b.be), -EBUSY);
	assert_ptr_equal(dev->be, a.be);
	assert_int_equal(dr_sim_dma_read(dev, GB1, &byte, 1), 0);
	device_close(member);

	/* 1,000 round trips; nothing of one space is reached in the other, cached or not. */
	for (int i = 0; i < 1000; i++) {
		assert_int_equal(a.be->ops->switch_to(dev, b.be), 0);
		assert_ptr_equal(dev->be, b.be);
		assert_int_equal(dr_sim_dma_read(dev, GB1, &byte, 1), -EFAULT);
		assert_int_equal(only_fault(dev).reason, DRAY_SIM_FAULT_NOT_PRESENT);
		assert_int_equal(b.be->ops->switch_to(dev, a.be), 0);
		assert_int_equal(dr_sim_dma_read(dev, GB1, &byte, 1), 0);
	}
	/* The group goes along. */
	assert_int_equal(a.be->ops->switch_to(dev, b.be), 0);
	assert_int_equal(device_try_open(&a, "sim0.1", &other), -EBUSY);
	member = device_open(&b, "sim0.1");
	device_close(member);
	device_close(dev);
	memory_free(mem, KB4);
}

static void kinds_may_be_switched(void **state)
{
	struct space blocked = space_open(DRAY_DOMAIN_BLOCKED);
	struct space identity = space_open(DRAY_DOMAIN_IDENTITY);
	struct dr_backend_device *dev = device_open(&a, "sim9");
	char byte = 7, got = 0;

	(void)state;
	assert_int_equal(a.be->ops->switch_to(dev, blocked.be), 0);
	assert_int_equal(dr_sim_dma_read(dev, (uintptr_t)&byte, &got, 1), -EFAULT);
	assert_int_equal(only_fault(dev).reason, DRAY_SIM_FAULT_BLOCKED);
	assert_int_equal(a.be->ops->switch_to(dev, identity.be), 0);
	assert_int_equal(dr_sim_dma_read(dev, (uintptr_t)&byte, &got, 1), 0);
	assert_int_equal(got, 7);
	assert_int_equal(a.be->ops->switch_to(dev, a.be), 0);
	assert_int_equal(dr_sim_dma_read(dev, (uintptr_t)&byte, &got, 1), -EFAULT);
	device_close(dev);
	space_close(&blocked);
	space_close(&identity);
}

/* Attached but not enabled: claimed, and nothing within reach. */
static void a_claim_makes_nothing_reachable(void **state)
{
	char *mem = memory(KB4, KB4), byte;
	struct dr_backend_device *dev;

	(void)state;
	space_map(&a, GB1, mem, KB4, RW);
	assert_int_equal(a.be->ops->attach(a.be, "sim2", NULL, &dev), 0);
	assert_int_equal(dr_sim_dma_read(dev, GB1, &byte, 1), -EFAULT);
	assert_int_equal(only_fault(dev).reason, DRAY_SIM_FAULT_BLOCKED);
	assert_int_equal(device_try_open(&a, "sim2", &other), -EBUSY);
	device_close(dev);
	dev = device_open(&a, "sim2");
	assert_int_equal(dr_sim_dma_read(dev, GB1, &byte, 1), 0);
	device_close(dev);
	memory_free(mem, KB4);
}

/* A child has a machine of its own, whatever its parent was doing; the parent's is untouched. */
static void a_child_starts_over(void **state)
{
	struct dr_backend_device *dev = device_open(&a, "sim1");
	char *mem = memory(KB4, KB4), byte;
	int status;
	pid_t pid;

	(void)state;
	space_map(&a, GB1, mem, KB4, RW);
	assert_int_equal(dr_sim_dma_read(dev, GB1, &byte, 1), 0);
	assert_int_equal(dr_sim_set_foreign(0, 1, "ahci"), 0);
	pid = fork();
	if (!pid) {
		struct space own;
		int bad = dr_sim_dma_read(dev, GB1, &byte, 1) != -EPERM;

		a.be->ops->detach(a.be, dev, true);
		own = space_open(DRAY_DOMAIN_PAGING);
		bad |= device_try_open(&own, "sim1", &other) != 0;
		space_map(&own, GB1, mem, KB4, RW);
		bad |= dr_sim_dma_read(other, GB1, &byte, 1) != 0;
		a.be->ops->close_forked(a.be);
		device_close(other);
		bad |= device_try_open(&own, "sim0", &other) != 0;
		_exit(bad);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
	assert_int_equal(dr_sim_dma_read(dev, GB1, &byte, 1), 0);
	assert_int_equal(device_try_open(&b, "sim1", &other), -EBUSY);
	assert_int_equal(dr_sim_set_foreign(0, 1, NULL), 0);
	device_close(dev);
	memory_free(mem, KB4);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(names_are_exact),
		T(a_device_is_open_once),
		T(a_group_is_in_one_space),
		T(a_foreign_member_spoils_the_group),
		T(a_device_moves_alone),
		T(kinds_may_be_switched),
		T(a_claim_makes_nothing_reachable),
		T(a_child_starts_over),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
