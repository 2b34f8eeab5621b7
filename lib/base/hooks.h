/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The one seam to the world. Everything in lib/ that asks the kernel, the clock or the allocator
 * for something asks through dr_hooks, so that a test can fake a kernel, hold the clock, or fail
 * the nth call. Tests swap the pointer only while no domain is open; nothing else ever writes it.
 */
#ifndef DR_BASE_HOOKS_H
#define DR_BASE_HOOKS_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct dr_hooks {
	/* Roots under which paths are looked up; "/sys" and "/dev" outside tests. */
	const char *sysfs, *devfs;

	/* As the calls of the same names; -1 and errno on failure. */
	int (*open)(const char *path, int flags);
	int (*close)(int fd);
	int (*ioctl)(int fd, unsigned long request, void *arg);
	ssize_t (*pread)(int fd, void *buf, size_t len, off_t off);
	ssize_t (*pwrite)(int fd, const void *buf, size_t len, off_t off);
	void *(*mmap)(void *addr, size_t len, int prot, int flags, int fd, off_t off);
	int (*munmap)(void *addr, size_t len);
	int (*madvise)(void *addr, size_t len, int advice);
	/* mbind(2), without flags. */
	int (*mbind)(void *addr, size_t len, int mode, const unsigned long *mask,
		     unsigned long bits);

	/* CLOCK_MONOTONIC in nanoseconds. */
	uint64_t (*clock_ns)(void);
	/* The CPU this thread runs on, now. */
	unsigned (*cpu)(void);
	/* A barrier in every thread of the process: 0, or -1 and errno. */
	int (*membarrier)(int command);
	/* The kernel's release, major << 16 | minor. */
	unsigned (*kernel_release)(void);
	/* RLIMIT_MEMLOCK, bytes; UINT64_MAX for none. */
	uint64_t (*memlock_limit)(void);

	/* Zeroed memory, @align a power of two; NULL when there is none. free(NULL) is fine. */
	void *(*alloc)(size_t len, size_t align);
	void (*free)(void *p);
};

/* The real world. */
extern const struct dr_hooks dr_hooks_system;

/* What lib/ uses. */
extern const struct dr_hooks *dr_hooks;

/* Zeroed objects with malloc's alignment. */
static inline void *dr_alloc(size_t len)
{
	return dr_hooks->alloc(len, _Alignof(max_align_t));
}

static inline void dr_free(void *p)
{
	dr_hooks->free(p);
}

#endif
