// SPDX-License-Identifier: BSD-2-Clause
/* The real world: what its hooks promise beyond the calls of the same names. */
#define _GNU_SOURCE
#include "base_test.h"

#include "base/hooks.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/utsname.h>
#include <unistd.h>

static void test_alloc(void **state)
{
	static const size_t aligns[] = { 1, 8, 16, 64, 128, 4096, 65536 };

	(void)state;
	for (size_t i = 0; i < sizeof(aligns) / sizeof(aligns[0]); i++) {
		/* Dirty the heap first: zeroed must not be luck. */
		for (int round = 0; round < 4; round++) {
			unsigned char *p = dr_hooks_system.alloc(5000, aligns[i]);

			assert_non_null(p);
			assert_int_equal((uintptr_t)p % aligns[i], 0);
			for (size_t b = 0; b < 5000; b++) {
				assert_int_equal(p[b], 0);
				p[b] = 0xff;
			}
			dr_hooks_system.free(p);
		}
	}
	dr_hooks_system.free(NULL);
}

/* Descriptors never leak into a program that is executed. */
static void test_open_is_cloexec(void **state)
{
	int fd = dr_hooks_system.open("/dev/null", O_RDWR);

	(void)state;
	assert_true(fd >= 0);
	assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
	assert_int_equal(dr_hooks_system.close(fd), 0);
}

static void test_kernel_release(void **state)
{
	unsigned major = 0, minor = 0;
	struct utsname u;

	(void)state;
	assert_int_equal(uname(&u), 0);
	assert_int_equal(sscanf(u.release, "%u.%u", &major, &minor), 2);
	assert_int_equal(dr_hooks_system.kernel_release(), major << 16 | minor);
}

static void test_memlock_limit(void **state)
{
	struct rlimit was, lim;

	(void)state;
	assert_int_equal(getrlimit(RLIMIT_MEMLOCK, &was), 0);
	assert_int_equal(dr_hooks_system.memlock_limit(),
			 was.rlim_cur == RLIM_INFINITY ? UINT64_MAX : was.rlim_cur);
	lim = was;
	lim.rlim_cur = 65536;
	assert_int_equal(setrlimit(RLIMIT_MEMLOCK, &lim), 0);
	assert_int_equal(dr_hooks_system.memlock_limit(), 65536);
	assert_int_equal(setrlimit(RLIMIT_MEMLOCK, &was), 0);
}

static void test_clock_and_cpu(void **state)
{
	uint64_t t = dr_hooks_system.clock_ns();

	(void)state;
	assert_true(t > 0);
	assert_true(dr_hooks_system.clock_ns() >= t);
	assert_true(dr_hooks_system.cpu() < (unsigned)sysconf(_SC_NPROCESSORS_CONF));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_alloc),          cmocka_unit_test(test_open_is_cloexec),
		cmocka_unit_test(test_kernel_release), cmocka_unit_test(test_memlock_limit),
		cmocka_unit_test(test_clock_and_cpu),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
