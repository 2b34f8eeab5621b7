// SPDX-License-Identifier: BSD-2-Clause
/* The real world behind the seam of hooks.h. */
#define _GNU_SOURCE
#include "base/hooks.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

static int sys_open(const char *path, int flags)
{
	return open(path, flags | O_CLOEXEC);
}

static int sys_ioctl(int fd, unsigned long request, void *arg)
{
	return ioctl(fd, request, arg);
}

static int sys_mbind(void *addr, size_t len, int mode, const unsigned long *mask,
		     unsigned long bits)
{
	return (int)syscall(SYS_mbind, addr, len, mode, mask, bits, 0);
}

static uint64_t sys_clock_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static unsigned sys_cpu(void)
{
	int cpu = sched_getcpu();

	return cpu < 0 ? 0 : (unsigned)cpu;
}

static int sys_membarrier(int command)
{
	return (int)syscall(SYS_membarrier, command, 0, 0);
}

static unsigned sys_kernel_release(void)
{
	struct utsname u;
	unsigned major, minor;

	if (uname(&u) || sscanf(u.release, "%u.%u", &major, &minor) != 2)
		return 0;
	return major << 16 | minor;
}

static uint64_t sys_memlock_limit(void)
{
	struct rlimit lim;

	if (getrlimit(RLIMIT_MEMLOCK, &lim) || lim.rlim_cur == RLIM_INFINITY)
		return UINT64_MAX;
	return lim.rlim_cur;
}

static void *sys_alloc(size_t len, size_t align)
{
	void *p;

	if (align <= _Alignof(max_align_t))
		return calloc(1, len);
	if (posix_memalign(&p, align, len))
		return NULL;
	return memset(p, 0, len);
}

const struct dr_hooks dr_hooks_system = {
	.sysfs = "/sys",
	.devfs = "/dev",
	.open = sys_open,
	.close = close,
	.ioctl = sys_ioctl,
	.pread = pread,
	.pwrite = pwrite,
	.mmap = mmap,
	.munmap = munmap,
	.madvise = madvise,
	.mbind = sys_mbind,
	.clock_ns = sys_clock_ns,
	.cpu = sys_cpu,
	.membarrier = sys_membarrier,
	.kernel_release = sys_kernel_release,
	.memlock_limit = sys_memlock_limit,
	.alloc = sys_alloc,
	.free = free,
};

const struct dr_hooks *dr_hooks = &dr_hooks_system;
