// SPDX-License-Identifier: BSD-2-Clause
/* Leaving: in which order, what the kernel may keep, and what a forked child may do. */
#define _GNU_SOURCE
#include "rig.h"

#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/hooks.h"
#include "base/process.h"

#define IOVA UINT64_C(0x10000000)
#define PAGE 4096ul

static void test_order(void **state)
{
	ssize_t quiet, closed, parted, released;
	struct dr_backend_device *bd;
	char *va = pages(PAGE);
	size_t from;
	struct rig rig;

	(void)state;
	rig_open(&rig);
	bd = rig_plug(&rig, NVME);
	assert_int_equal(rig_map(&rig, IOVA, va, PAGE, RW), 0);
	vfio_fake_set_bus_master(NVME, true);
	from = vfio_fake_log_lines();
	rig_detach(&rig, bd);
	quiet = vfio_fake_log_find("bus master off " NVME, from);
	closed = vfio_fake_log_find("close device " NVME, from);
	parted = vfio_fake_log_find("part group 5", from);
	released = vfio_fake_log_find("close group 5", from);
	assert_true(quiet >= 0);
	assert_true(quiet < closed);
	assert_true(closed < parted);
	assert_true(parted < released);
	/* the kernel unpinned, so nothing was unmapped one by one */
	assert_int_equal(vfio_fake_log_find("unmap", from), -1);
	assert_int_equal(vfio_fake_mappings(), 0);
	assert_false(vfio_fake_bus_master(NVME));
	rig_close(&rig);
	free_pages(va, PAGE);
}

static void test_no_write_where_nothing_is_on(void **state)
{
	struct rig rig;

	(void)state;
	rig_open(&rig);
	rig_detach(&rig, rig_plug(&rig, NVME));
	assert_int_equal(vfio_fake_calls(VFIO_FAKE_PWRITE), 0);
	rig_close(&rig);
}

static void test_device_does_not_obey(void **state)
{
	static const unsigned long calls[] = { VFIO_FAKE_PREAD, VFIO_FAKE_PWRITE };
	struct dr_backend_device *bd;
	struct rig rig;

	(void)state;
	rig_open(&rig);
	for (int i = 0; i < 2; i++) {
		rig.logged[0] = '\0';
		bd = rig_plug(&rig, NVME);
		vfio_fake_set_bus_master(NVME, true);
		vfio_fake_fail_nth(calls[i], 1, EIO);
		rig_detach(&rig, bd);
		assert_non_null(strstr(rig.logged, "bus mastering of " NVME));
		assert_int_equal(vfio_fake_fds_open(), 1);
	}
	rig_close(&rig);
}

static void test_close_with_mappings(void **state)
{
	char *va = pages(PAGE);
	struct rig rig;

	(void)state;
	rig_open(&rig);
	rig_detach(&rig, rig_plug(&rig, NVME));
	assert_int_equal(rig_map(&rig, IOVA, va, PAGE, RW), 0);
	rig_close(&rig);
	assert_int_equal(vfio_fake_fds_open(), 0);
	free_pages(va, PAGE);
}

static void test_kernel_keeps_the_group(void **state)
{
	struct dr_backend_device *bd;
	char *va = pages(4 * PAGE);
	struct rig rig;

	(void)state;
	rig_open(&rig);
	bd = rig_plug(&rig, NVME);
	assert_int_equal(rig_map(&rig, IOVA, va, PAGE, RW), 0);
	assert_int_equal(rig_map(&rig, UINT64_C(0x7fffff0000), va + PAGE, PAGE, RW), 0);
	vfio_fake_hold_device(NVME, true);
	rig_detach(&rig, bd);
	/* unmapped by hand, said so, and off to a fresh container */
	assert_int_equal(vfio_fake_mappings(), 0);
	assert_non_null(strstr(rig.logged, "group 5 of " NVME " stays in its container"));
	assert_non_null(strstr(rig.logged, "unmapped by hand"));
	assert_int_equal(vfio_fake_fds_open(), 0);

	/* not live: the table alone */
	assert_int_equal(rig_map(&rig, IOVA + PAGE, va + PAGE, PAGE, RW), 0);
	assert_int_equal(vfio_fake_mappings(), 0);
	assert_int_equal(rig.be->ops->attach(rig.be, NVME, NULL, &bd), -EBUSY);
	assert_words("group 5", "lives on", NULL);
	/* the fresh container may not be had */
	vfio_fake_fail_path(NODE, EMFILE);
	assert_int_equal(rig.be->ops->attach(rig.be, NIC, NULL, &bd), -ENOMEM);
	vfio_fake_fail_path(NULL, 0);
	assert_int_equal(vfio_fake_fds_open(), 0);
	/* others work at once, it when the descriptor has gone */
	bd = rig_plug(&rig, NIC);
	assert_true(vfio_fake_is_mapped(NIC, IOVA + PAGE, PAGE, va + PAGE));
	assert_int_equal(vfio_fake_mappings(), 3);
	vfio_fake_hold_device(NVME, false);
	rig_detach(&rig, rig_plug(&rig, NVME));
	rig_detach(&rig, bd);
	rig_close(&rig);
	free_pages(va, 4 * PAGE);
}

static void test_kernel_keeps_one_group_of_two(void **state)
{
	struct dr_backend_device *a, *b;
	char *va = pages(PAGE);
	struct rig rig;

	(void)state;
	rig_open(&rig);
	a = rig_plug(&rig, NVME);
	b = rig_plug(&rig, NIC);
	assert_int_equal(rig_map(&rig, IOVA, va, PAGE, RW), 0);
	vfio_fake_hold_device(NVME, true);
	rig_detach(&rig, a);
	assert_non_null(strstr(rig.logged, "still mapped for the other groups"));
	assert_int_equal(vfio_fake_mappings(), 1);
	/* the last one to leave properly is not the last one in the kernel's eyes */
	rig_detach(&rig, b);
	assert_int_equal(vfio_fake_mappings(), 0);
	b = rig_plug(&rig, NIC);
	assert_int_equal(vfio_fake_mappings(), 1);
	rig_detach(&rig, b);
	vfio_fake_hold_device(NVME, false);
	rig_close(&rig);
	free_pages(va, PAGE);
}

/* What was kept has gone by the time the last one leaves: the container is fresh and stays. */
static void test_kept_group_goes_in_time(void **state)
{
	struct dr_backend_device *a, *b;
	char *va = pages(PAGE);
	struct rig rig;

	(void)state;
	rig_open(&rig);
	a = rig_plug(&rig, NVME);
	b = rig_plug(&rig, NIC);
	assert_int_equal(rig_map(&rig, IOVA, va, PAGE, RW), 0);
	vfio_fake_hold_device(NVME, true);
	rig_detach(&rig, a);
	vfio_fake_hold_device(NVME, false);
	a = rig_plug(&rig, NVME);
	rig.logged[0] = '\0';
	rig_detach(&rig, a);
	rig_detach(&rig, b);
	assert_string_equal(rig.logged, "");
	assert_int_equal(vfio_fake_calls(VFIO_IOMMU_UNMAP_DMA), 0);
	assert_int_equal(vfio_fake_mappings(), 0);
	b = rig_plug(&rig, NIC);
	assert_int_equal(vfio_fake_mappings(), 1);
	assert_true(vfio_fake_log_find("open container", 1) < 0);
	rig_detach(&rig, b);
	rig_close(&rig);
	free_pages(va, PAGE);
}

/* Where the kernel does not say what it takes now, what it took with more devices holds. */
static void test_limits_after_a_silent_kernel(void **state)
{
	struct dr_backend_device *a, *b;
	struct dr_backend_limits both;
	struct rig rig;

	(void)state;
	vfio_fake_reserve(5, 0x40000000, 0x4fffffff, "reserved", true);
	rig_open(&rig);
	a = rig_plug(&rig, NVME);
	b = rig_plug(&rig, NIC);
	both = rig.be->limits;
	vfio_fake_fail_nth(VFIO_IOMMU_GET_INFO, 1, EIO);
	rig_detach(&rig, a);
	assert_true(vfio_fake_fired());
	assert_memory_equal(&both, &rig.be->limits, sizeof(both));
	rig_detach(&rig, b);
	rig_close(&rig);
}

static void test_unmapping_by_hand_fails(void **state)
{
	struct dr_backend_device *bd;
	char *va = pages(PAGE);
	struct rig rig;

	(void)state;
	rig_open(&rig);
	bd = rig_plug(&rig, NVME);
	assert_int_equal(rig_map(&rig, IOVA, va, PAGE, RW), 0);
	vfio_fake_hold_device(NVME, true);
	vfio_fake_fail_nth(VFIO_IOMMU_UNMAP_DMA, 1, EIO);
	rig_detach(&rig, bd);
	assert_non_null(strstr(rig.logged, "memory stays pinned until group 5"));
	assert_int_equal(vfio_fake_mappings(), 1);
	vfio_fake_hold_device(NVME, false);
	assert_int_equal(vfio_fake_mappings(), 0);
	rig_close(&rig);
	free_pages(va, PAGE);
}

/* Run @fn in a forked child; true when it returned true there. A deadlock ends by a signal. */
static bool in_child(bool (*fn)(void *), void *arg)
{
	int status = -1;
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (!pid) {
		alarm(20);
		/*
		 * Not an exit of this image: what threads of the parent held is lost in the child,
		 * and no leak of the code under test.
		 */
		if (fn(arg))
			execl("/bin/true", "true", (char *)NULL);
		else
			execl("/bin/false", "false", (char *)NULL);
		_exit(2);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return WIFEXITED(status) && !WEXITSTATUS(status);
}

struct family {
	struct rig *rig;
	struct dr_backend_device *nvme, *nic, *nic1;
};

static bool child_closes(void *arg)
{
	struct family *f = arg;
	unsigned calls = vfio_fake_calls(VFIO_FAKE_ANY), closes = vfio_fake_calls(VFIO_FAKE_CLOSE);
	const struct dr_backend_ops *ops = f->rig->be->ops;

	ops->detach(f->rig->be, f->nic, true);
	ops->detach(f->rig->be, f->nvme, true);
	ops->close_forked(f->rig->be);
	ops->detach(f->rig->be, f->nic1, true);
	/* two groups, three devices, a container; and no other call into the world */
	return vfio_fake_calls(VFIO_FAKE_ANY) == calls &&
	       vfio_fake_calls(VFIO_FAKE_CLOSE) == closes + 6 && !vfio_fake_fds_open();
}

static bool child_opens_its_own(void *arg)
{
	struct family *f = arg;
	struct dr_backend_device *bd;
	struct rig mine;

	(void)f;
	rig_open(&mine);
	/* its parent's group is another process's, not another domain's of this one */
	if (mine.be->ops->attach(mine.be, NVME, NULL, &bd) != -EBUSY ||
	    !strstr(dray_errmsg(), "another process"))
		return false;
	bd = rig_plug(&mine, "0000:03:00.0");
	rig_detach(&mine, bd);
	rig_close(&mine);
	return true;
}

static void test_forked_child(void **state)
{
	struct family f;
	struct rig rig;
	char *va = pages(PAGE), buf[4];

	(void)state;
	vfio_fake_add_device("0000:03:00.0", 8, "vfio-pci");
	rig_open(&rig);
	f.rig = &rig;
	f.nvme = rig_plug(&rig, NVME);
	f.nic = rig_plug(&rig, NIC);
	f.nic1 = rig_plug(&rig, NIC1);
	assert_int_equal(rig_map(&rig, IOVA, va, PAGE, RW), 0);
	vfio_fake_set_bus_master(NVME, true);
	assert_true(in_child(child_closes, &f));
	assert_true(in_child(child_opens_its_own, &f));
	/* the parent's are as they were */
	assert_int_equal(vfio_fake_dma(NVME, IOVA, buf, 4, true), 0);
	assert_int_equal(vfio_fake_fds_open(), 6);
	rig_detach(&rig, f.nvme);
	rig_detach(&rig, f.nic);
	rig_detach(&rig, f.nic1);
	rig_close(&rig);
	free_pages(va, PAGE);
}

/* Holds the list of groups locked: a group is being joined. */
static struct dr_hooks slow;
static const struct dr_hooks *fast;
static sem_t reached, go_on;

static int slow_ioctl(int fd, unsigned long request, void *arg)
{
	if (request == VFIO_SET_IOMMU) {
		sem_post(&reached);
		sem_wait(&go_on);
	}
	return fast->ioctl(fd, request, arg);
}

static void *plug_and_leave(void *arg)
{
	struct rig *rig = arg;

	rig_detach(rig, rig_plug(rig, NVME));
	return NULL;
}

static bool child_attaches(void *arg)
{
	struct dr_backend_device *bd;
	struct rig mine;

	(void)arg;
	dr_hooks = fast;
	rig_open(&mine);
	bd = rig_plug(&mine, NIC);
	rig_detach(&mine, bd);
	rig_close(&mine);
	return true;
}

static void test_fork_amid_an_attach(void **state)
{
	struct rig rig;
	pthread_t thread;

	(void)state;
	assert_true(dr_process_id());
	rig_open(&rig);
	sem_init(&reached, 0, 0);
	sem_init(&go_on, 0, 0);
	fast = dr_hooks;
	slow = *dr_hooks;
	slow.ioctl = slow_ioctl;
	dr_hooks = &slow;
	assert_int_equal(pthread_create(&thread, NULL, plug_and_leave, &rig), 0);
	sem_wait(&reached);
	assert_true(in_child(child_attaches, NULL));
	sem_post(&go_on);
	pthread_join(thread, NULL);
	dr_hooks = fast;
	rig_close(&rig);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, machine_up, machine_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_order),
		TEST(test_no_write_where_nothing_is_on),
		TEST(test_device_does_not_obey),
		TEST(test_close_with_mappings),
		TEST(test_kernel_keeps_the_group),
		TEST(test_kernel_keeps_one_group_of_two),
		TEST(test_kept_group_goes_in_time),
		TEST(test_limits_after_a_silent_kernel),
		TEST(test_unmapping_by_hand_fails),
		TEST(test_forked_child),
		TEST(test_fork_amid_an_attach),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
