// SPDX-License-Identifier: BSD-2-Clause
/*
 * A buffer mapped for the device to read before the process first wrote it: what is written later
 * reaches the device. Kernels before 6.2 pin the shared zero page, or the file's page, unless
 * copy-on-write was broken first.
 */
#define _GNU_SOURCE
#include "actor.h"
#include "world.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

#define LEN (3 * PAGE)

static void *untouched(int fd)
{
	void *va = mmap(NULL, LEN, PROT_READ | PROT_WRITE,
			MAP_PRIVATE | (fd < 0 ? MAP_ANONYMOUS : 0), fd, 0);

	CHECK(va != MAP_FAILED);
	return va;
}

/* Map, then write, then let the device look: at the first page and the last. */
static void check_late_writes(struct dray_device *dev, struct actor *a, char *va)
{
	struct dray_mapping m;

	CHECK_OK(dray_map(dev, va, LEN, DRAY_TO_DEVICE, 0, &m));
	rig_fill(va, LEN, 6);
	CHECK_READS(a, m.iova, va, 64);
	CHECK_READS(a, m.iova + LEN - 64, va + LEN - 64, 64);
	CHECK_NO_WRITE(a, m.iova, va, 64);
	dray_unmap(dev, &m);
}

static void never_written_memory(struct rig *rig)
{
	struct dray_domain *dom = rig_domain(rig);
	struct dray_device *dev = rig_device(rig, dom, NULL);
	struct actor *a = actor_open(rig, dev);
	volatile char *read_only_so_far = untouched(-1);

	check_late_writes(dev, a, untouched(-1));
	/* Read first: then the zero page itself is there. */
	CHECK(!read_only_so_far[0] && !read_only_so_far[LEN - 1]);
	check_late_writes(dev, a, (char *)read_only_so_far);
	actor_close(a);
	dray_device_close(dev);
	dray_domain_close(dom);
}

static void private_file_memory(struct rig *rig)
{
	char page[PAGE];
	struct dray_domain *dom = rig_domain(rig);
	struct dray_device *dev = rig_device(rig, dom, NULL);
	struct actor *a = actor_open(rig, dev);
	int fd = memfd_create("contract", 0);
	volatile char *va;

	CHECK(fd >= 0);
	rig_fill(page, PAGE, 8);
	for (int i = 0; i < 3; i++)
		CHECK(write(fd, page, PAGE) == (ssize_t)PAGE);
	va = untouched(fd);
	CHECK(va[0] == page[0] && va[LEN - 1] == page[PAGE - 1]);
	check_late_writes(dev, a, (char *)va);
	/* Breaking it changed no byte of the file. */
	CHECK(pread(fd, page, PAGE, 0) == (ssize_t)PAGE && rig_is_filled(page, PAGE, 8));
	close(fd);
	actor_close(a);
	dray_device_close(dev);
	dray_domain_close(dom);
}

/* Pages shared with a child that was forked before the map. */
static void memory_shared_by_fork(struct rig *rig)
{
	struct dray_domain *dom = rig_domain(rig);
	struct dray_device *dev = rig_device(rig, dom, NULL);
	struct actor *a = actor_open(rig, dev);
	char *va = rig_pages(LEN);
	int status, end[2];
	char c;
	pid_t pid;

	CHECK(!pipe(end));
	pid = fork();
	CHECK(pid >= 0);
	if (!pid) {
		/* Hold the pages until the parent is done. */
		close(end[1]);
		_exit(read(end[0], &c, 1) == 0 && rig_is_filled(va, LEN, 1) ? 0 : 1);
	}
	close(end[0]);
	check_late_writes(dev, a, va);
	close(end[1]);
	CHECK(waitpid(pid, &status, 0) == pid && !status);
	actor_close(a);
	dray_device_close(dev);
	dray_domain_close(dom);
}

/* Mapped before the device came: the replay pins, and has the same care to take. */
static void never_written_and_replayed(struct rig *rig)
{
	const dray_iova_t at = 0x1c00000;
	struct dray_domain *dom = rig_domain(rig);
	struct dray_device *dev;
	struct actor *a;
	char *va = untouched(-1);

	CHECK_OK(dray_domain_map(dom, at, va, LEN, DRAY_PROT_READ, 0));
	dev = rig_device(rig, dom, NULL);
	rig_fill(va, LEN, 7);
	a = actor_open(rig, dev);
	CHECK_READS(a, at, va, 64);
	CHECK_READS(a, at + LEN - 64, va + LEN - 64, 64);
	CHECK_OK(dray_domain_unmap(dom, at, LEN));
	actor_close(a);
	dray_device_close(dev);
	dray_domain_close(dom);
}

/* What a process may only read can be mapped for reading, and is not written to find out. */
static void read_only_memory(struct rig *rig)
{
	struct dray_domain *dom = rig_domain(rig);
	struct dray_device *dev = rig_device(rig, dom, NULL);
	struct actor *a = actor_open(rig, dev);
	char *va = rig_pages(LEN);
	struct dray_mapping m;

	CHECK(!mprotect(va, LEN, PROT_READ));
	CHECK_OK(dray_map(dev, va, LEN, DRAY_TO_DEVICE, 0, &m));
	CHECK_READS(a, m.iova + PAGE, va + PAGE, 64);
	dray_unmap(dev, &m);
	actor_close(a);
	dray_device_close(dev);
	dray_domain_close(dom);
}

static unsigned this_kernel(void)
{
	struct utsname u;
	unsigned major, minor;

	CHECK(!uname(&u) && sscanf(u.release, "%u.%u", &major, &minor) == 2);
	return major << 16 | minor;
}

/*
 * Which kernels are helped. Told that it runs on 6.1, type1 asks for MADV_POPULATE_WRITE before each
 * read-only pin, on 6.2 it leaves it to the kernel. The software IOMMU reads the process's own
 * addresses, so there is nothing to break on any kernel.
 */
static void old_kernels_are_helped(struct rig *rig)
{
	static const struct { unsigned major, minor; bool helped; } kernels[] = {
		{ 6, 1, true }, { 5, 15, true }, { 6, 2, false }, { 7, 0, false }, { 0, 0, false },
	};

	for (size_t i = 0; i < sizeof(kernels) / sizeof(kernels[0]); i++) {
		bool helped = kernels[i].major ? kernels[i].helped : this_kernel() < (6u << 16 | 2);
		struct dray_domain *dom;
		struct dray_device *dev;
		struct dray_mapping m;
		unsigned before;

		world_set_release(kernels[i].major, kernels[i].minor);
		dom = rig_domain(rig);
		dev = rig_device(rig, dom, NULL);
		before = world_advised(MADV_POPULATE_WRITE);
		CHECK_OK(dray_map(dev, untouched(-1), LEN, DRAY_TO_DEVICE, 0, &m));
		CHECK_INT(world_advised(MADV_POPULATE_WRITE) - before,
			  !rig_is_sim(rig) && helped);
		dray_unmap(dev, &m);
		dray_device_close(dev);
		dray_domain_close(dom);
	}
}

const struct contract_case cow_cases[] = {
	{ "never_written_memory", "B16", never_written_memory },
	{ "private_file_memory", "B16", private_file_memory },
	{ "memory_shared_by_fork", "B16 D14", memory_shared_by_fork },
	{ "never_written_and_replayed", "B16 B05", never_written_and_replayed },
	{ "read_only_memory", "B16", read_only_memory },
	{ "old_kernels_are_helped", "B16", old_kernels_are_helped },
	{ NULL },
};
