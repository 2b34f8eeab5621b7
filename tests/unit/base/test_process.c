// SPDX-License-Identifier: BSD-2-Clause
#define _GNU_SOURCE
#include "base_test.h"

#include "base/hooks.h"
#include "base/process.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static struct dr_hooks failing;
static int mmaps, advises;

static void *no_mmap(void *addr, size_t len, int prot, int flags, int fd, off_t off)
{
	(void)addr;
	(void)len;
	(void)prot;
	(void)flags;
	(void)fd;
	(void)off;
	mmaps++;
	errno = ENOMEM;
	return MAP_FAILED;
}

static int no_madvise(void *addr, size_t len, int advice)
{
	(void)addr;
	(void)len;
	(void)advice;
	advises++;
	errno = EINVAL;
	return -1;
}

static int unmapped;

static int count_munmap(void *addr, size_t len)
{
	unmapped++;
	return munmap(addr, len);
}

/* First of all tests: afterwards the page is there. */
static void test_no_page(void **state)
{
	(void)state;
	failing = dr_hooks_system;
	failing.mmap = no_mmap;
	dr_hooks = &failing;
	assert_int_equal(dr_process_id(), 0);
	assert_int_equal(mmaps, 1);
	/* A kernel without the advice: the page is of no use, and goes. */
	failing = dr_hooks_system;
	failing.madvise = no_madvise;
	failing.munmap = count_munmap;
	assert_int_equal(dr_process_id(), 0);
	assert_int_equal(advises, 1);
	assert_int_equal(unmapped, 1);
	dr_hooks = &dr_hooks_system;
	assert_int_not_equal(dr_process_id(), 0);
}

static void *own_id(void *arg)
{
	*(uint64_t *)arg = dr_process_id();
	return NULL;
}

static void test_same_for_all_threads(void **state)
{
	uint64_t id = dr_process_id(), other = 0;
	pthread_t thread;

	(void)state;
	assert_int_not_equal(id, 0);
	assert_int_equal(dr_process_id(), id);
	assert_int_equal(pthread_create(&thread, NULL, own_id, &other), 0);
	assert_int_equal(pthread_join(thread, NULL), 0);
	assert_int_equal(other, id);
}

static int wait_for(pid_t pid)
{
	int status = -1;

	assert_true(pid > 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return status;
}

/* A child differs from its parent, and a grandchild from both. */
static void test_differs_in_a_child(void **state)
{
	uint64_t id = dr_process_id();
	pid_t pid = fork();

	(void)state;
	if (!pid) {
		uint64_t mine = dr_process_id();
		int status = -1;

		if (!mine || mine == id || dr_process_id() != mine)
			_exit(1);
		pid = fork();
		if (!pid)
			_exit(dr_process_id() == mine || dr_process_id() == id);
		waitpid(pid, &status, 0);
		_exit(status ? 2 : 0);
	}
	assert_int_equal(wait_for(pid), 0);
	assert_int_equal(dr_process_id(), id);
}

/* No fork handler runs here. */
static void test_differs_after_bare_clone(void **state)
{
	uint64_t id = dr_process_id();
	pid_t pid = (pid_t)syscall(SYS_clone, (unsigned long)SIGCHLD, NULL, NULL, NULL, 0ul);

	(void)state;
	if (!pid)
		_exit(!dr_process_id() || dr_process_id() == id);
	assert_int_equal(wait_for(pid), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_no_page),
		cmocka_unit_test(test_same_for_all_threads),
		cmocka_unit_test(test_differs_in_a_child),
		cmocka_unit_test(test_differs_after_bare_clone),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
