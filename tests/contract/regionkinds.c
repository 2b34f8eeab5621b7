// SPDX-License-Identifier: BSD-2-Clause
/*
 * Registered memory of every kind: huge pages, files, shared and read-only memory work, and what
 * cannot work says why. Huge pages must be set aside by the administrator; in the virtual machine
 * the cases do so themselves.
 */
#define _GNU_SOURCE
#include "actor.h"

#include <errno.h>
#include <linux/perf_event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <unistd.h>

#define AT   UINT64_C(0x2000000)
#define HUGE 4 /* pages of 2 MiB that cases use at a time */

#define RW (PROT_READ | PROT_WRITE)

static struct dray_domain *open_low(struct rig *rig)
{
	struct dray_domain_opts opts = rig_domain_opts(rig);
	struct dray_domain *dom;

	opts.first = AT;
	opts.last = RIG_MASK;
	CHECK_OK(dray_domain_open(&opts, &dom));
	return dom;
}

static char *map_memory(size_t len, int prot, int flags, int fd)
{
	char *va = mmap(NULL, len, prot, flags, fd, 0);

	CHECK(va != MAP_FAILED);
	return va;
}

static int new_file(size_t len, unsigned flags)
{
	int fd = memfd_create("region", MFD_CLOEXEC | flags);

	CHECK(fd >= 0 && !ftruncate(fd, (off_t)len));
	return fd;
}

static struct dray_region *add(struct dray_domain *dom, char *va, size_t len, uint32_t flags)
{
	struct dray_region *region = NULL;
	struct dray_stats was = rig_stats(dom);

	CHECK_OK(dray_region_register(dom, va, len, flags, &region));
	CHECK_INT(rig_stats(dom).backend_maps, was.backend_maps + 1);
	return region;
}

/* The device reaches both ends of it, both ways, at one stretch, through maps that are lookups. */
static void check_reached(struct dray_domain *dom, struct dray_device *dev, struct actor *a,
			  char *va, size_t len, bool writable)
{
	struct dray_mapping m;
	size_t run = len;
	dray_iova_t at = dray_translate(dom, va, &run);

	CHECK_INT(run, len);
	CHECK_OK(dray_map(dev, va + 24, len - 24, writable ? DRAY_BIDIRECTIONAL : DRAY_TO_DEVICE, 0,
			  &m));
	CHECK_INT(m.iova, at + 24);
	CHECK_READS(a, m.iova, va + 24, 64);
	CHECK_READS(a, at + len - 64, va + len - 64, 64);
	if (writable) {
		CHECK_WRITES(a, m.iova, va + 24, 64);
		CHECK_WRITES(a, at + len - 64, va + len - 64, 64);
	}
	dray_unmap(dev, &m);
}

static void check_gone(struct dray_domain *dom, struct actor *a, struct dray_region *region,
		       char *va, size_t len)
{
	dray_iova_t at = dray_translate(dom, va, NULL);

	CHECK_OK(dray_region_unregister(region));
	CHECK_NO_READ(a, at + len - 64, va + len - 64, 64);
}

/* Register it, use it, take it back. */
static void check_kind(struct dray_domain *dom, struct dray_device *dev, struct actor *a, char *va,
		       size_t len)
{
	struct dray_region *region = add(dom, va, len, 0);

	rig_fill(va, len, 3);
	check_reached(dom, dev, a, va, len, true);
	check_gone(dom, a, region, va, len);
}

/* Are there huge pages? Only on a machine of its own does this case change how many. */
static bool have_huge_pages(void)
{
	FILE *f;
	char *va;
	bool have;

	if (getenv("DRAY_VM")) {
		f = fopen("/proc/sys/vm/nr_hugepages", "w");
		CHECK(f && fprintf(f, "%d\n", HUGE) > 0 && !fclose(f));
	}
	va = mmap(NULL, HUGE * LARGE, RW, MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB, -1, 0);
	have = va != MAP_FAILED;
	if (have)
		munmap(va, HUGE * LARGE);
	CHECK(have || !getenv("DRAY_VM"));
	return have;
}

/* One backend call, at an address that large IOMMU pages need. */
static void region_of_huge_pages(struct rig *rig)
{
	const size_t len = 2 * LARGE;
	struct dray_domain *dom = open_low(rig);
	struct dray_device *dev = rig_device(rig, dom, NULL);
	struct actor *a = actor_open(rig, dev);
	struct dray_region *region;
	char *va;
	int fd;

	if (have_huge_pages()) {
		va = map_memory(len, RW, MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB, -1);
		region = add(dom, va, len, 0);
		CHECK_INT(dray_translate(dom, va, NULL) % LARGE, 0);
		rig_fill(va, len, 3);
		check_reached(dom, dev, a, va, len, true);
		/* A part of a huge page is memory like any other. */
		CHECK_OK(dray_region_unregister(region));
		check_kind(dom, dev, a, va + 3 * PAGE, LARGE);
		munmap(va, len);
		va = map_memory(len, RW, MAP_SHARED | MAP_ANONYMOUS | MAP_HUGETLB, -1);
		check_kind(dom, dev, a, va, len);
		munmap(va, len);
		fd = new_file(len, MFD_HUGETLB);
		va = map_memory(len, RW, MAP_SHARED, fd);
		check_kind(dom, dev, a, va, len);
		CHECK(*(char *)map_memory(len, PROT_READ, MAP_SHARED, fd) == va[0]);
		close(fd);
	}
	actor_close(a);
	dray_device_close(dev);
	dray_domain_close(dom);
}

static void region_of_transparent_huge_pages(struct rig *rig)
{
	struct dray_domain *dom = open_low(rig);
	struct dray_device *dev = rig_device(rig, dom, NULL);
	struct actor *a = actor_open(rig, dev);
	char *va = rig_pages_aligned(3 * LARGE, LARGE);
	struct dray_region *region;

	CHECK(!madvise(va, 3 * LARGE, MADV_DONTNEED));
	/* Refused by kernels without them, where they are as good as small ones. */
	madvise(va, 3 * LARGE, MADV_HUGEPAGE);
	region = add(dom, va, 2 * LARGE + 5 * PAGE, 0);
	CHECK_INT(dray_translate(dom, va, NULL) % LARGE, 0);
	rig_fill(va, 3 * LARGE, 3);
	check_reached(dom, dev, a, va, 2 * LARGE + 5 * PAGE, true);
	/* Pinned pages stay what they are, whatever becomes of the huge ones around them. */
	madvise(va, 3 * LARGE, MADV_NOHUGEPAGE);
	CHECK(!munmap(va + 2 * LARGE + 5 * PAGE, LARGE - 5 * PAGE));
	check_reached(dom, dev, a, va, 2 * LARGE + 5 * PAGE, true);
	check_gone(dom, a, region, va, 2 * LARGE + 5 * PAGE);
	actor_close(a);
	dray_device_close(dev);
	dray_domain_close(dom);
}

/* Shared memory is one memory: the device and every process that maps it see the same bytes. */
static void region_of_shared_memory(struct rig *rig)
{
	const size_t len = 40 * PAGE;
	struct dray_domain *dom = open_low(rig);
	struct dray_device *dev = rig_device(rig, dom, NULL);
	struct actor *a = actor_open(rig, dev);
	int fd = new_file(len, 0);
	char *va = map_memory(len, RW, MAP_SHARED, fd);
	char *other = map_memory(len, RW, MAP_SHARED, fd);
	char *nameless = map_memory(len, RW, MAP_SHARED | MAP_ANONYMOUS, -1), text[64];
	struct dray_region *region;

	check_kind(dom, dev, a, nameless, len);
	region = add(dom, va, len, 0);
	rig_fill(other, len, 9);
	CHECK_READS(a, dray_translate(dom, va + 30 * PAGE, NULL), other + 30 * PAGE, 64);
	CHECK_WRITES(a, dray_translate(dom, va + 31 * PAGE, NULL), other + 31 * PAGE, 64);
	check_reached(dom, dev, a, va, len, true);
	CHECK(pread(fd, text, sizeof(text), 31 * (off_t)PAGE) == (ssize_t)sizeof(text));
	CHECK(!memcmp(text, va + 31 * PAGE, sizeof(text)));
	check_gone(dom, a, region, va, len);
	/* The same memory elsewhere is another region. */
	region = add(dom, va, len, 0);
	check_kind(dom, dev, a, other, len);
	check_gone(dom, a, region, va, len);
	close(fd);
	actor_close(a);
	dray_device_close(dev);
	dray_domain_close(dom);
}

/* A private mapping of a file has pages of its own from its registration on; the file does not
 * change. */
static void region_of_private_file_memory(struct rig *rig)
{
	const size_t len = 8 * PAGE;
	struct dray_domain *dom = open_low(rig);
	struct dray_device *dev = rig_device(rig, dom, NULL);
	struct actor *a = actor_open(rig, dev);
	int fd = new_file(len, 0);
	char *va = map_memory(len, RW, MAP_PRIVATE, fd);
	char *file = map_memory(len, RW, MAP_SHARED, fd);
	struct dray_region *region;

	rig_fill(file, len, 7);
	region = add(dom, va, len, 0);
	CHECK(rig_is_filled(va, len, 7));
	check_reached(dom, dev, a, va, len, true);
	CHECK(rig_is_filled(file, len, 7));
	check_gone(dom, a, region, va, len);
	close(fd);
	actor_close(a);
	dray_device_close(dev);
	dray_domain_close(dom);
}

/* Memory that may not be written is -EFAULT with what to do about it, and then works. */
static void region_of_read_only_memory(struct rig *rig)
{
	static const int kinds[] = { MAP_SHARED, MAP_PRIVATE };
	const size_t len = 8 * PAGE;
	struct dray_domain *dom = open_low(rig);
	struct dray_device *dev = rig_device(rig, dom, NULL);
	struct actor *a = actor_open(rig, dev);
	struct dray_region *region, *none = NULL;
	int fd = new_file(len, 0);
	char *file = map_memory(len, RW, MAP_SHARED, fd);
	struct dray_mapping m;
	struct rig_state was;

	/* The first region of all makes what those that follow find. */
	check_kind(dom, dev, a, file, len);
	rig_fill(file, len, 7);
	for (unsigned i = 0; i < 2; i++) {
		char *va = map_memory(len, PROT_READ, kinds[i], fd);

		was = rig_state(dom);
		CHECK_ERR(dray_region_register(dom, va, len, 0, &none), EFAULT);
		CHECK_WORDS("DRAY_REGION_READ_ONLY");
		CHECK_SAME(dom, &was);
		region = add(dom, va, len, DRAY_REGION_READ_ONLY);
		check_reached(dom, dev, a, va, len, false);
		CHECK_NO_WRITE(a, dray_translate(dom, va, NULL), file, 64);
		/* For writing it is no region; and copied, or refused, as other such memory is. */
		CHECK_ERR(dray_map(dev, va, 64, DRAY_FROM_DEVICE, DRAY_MAP_NO_BOUNCE, &m), EFAULT);
		check_gone(dom, a, region, va, len);
	}
	close(fd);
	actor_close(a);
	dray_device_close(dev);
	dray_domain_close(dom);
}

static bool kernel_keeps_track(void)
{
	struct utsname u;
	unsigned major, minor;

	CHECK(!uname(&u) && sscanf(u.release, "%u.%u", &major, &minor) == 2);
	return major > 6 || (major == 6 && minor >= 5);
}

/*
 * Shared memory of which the kernel must know who writes it, as that of a file on a disk: not for
 * devices to write. A page of perf's is such, and needs no disk. To the software IOMMU, which pins
 * nothing, it is like any other.
 */
static void region_of_tracked_memory(struct rig *rig)
{
	struct perf_event_attr attr = {
		.type = PERF_TYPE_SOFTWARE, .size = sizeof(attr), .config = PERF_COUNT_SW_CPU_CLOCK,
	};
	struct dray_region *region = NULL;
	struct dray_domain *dom;
	struct dray_device *dev;
	char *va;
	int fd;

	if (rig_is_sim(rig))
		return;
	dom = open_low(rig);
	dev = rig_device(rig, dom, NULL);
	fd = (int)syscall(SYS_perf_event_open, &attr, 0, -1, -1, 0);
	CHECK(fd >= 0);
	va = map_memory(PAGE, RW, MAP_SHARED, fd);
	if (kernel_keeps_track()) {
		CHECK_ERR(dray_region_register(dom, va, PAGE, 0, &region), EFAULT);
		CHECK_WORDS("DRAY_REGION_READ_ONLY", "memfd");
		CHECK(!region && !rig_info(dom).mapped_bytes);
	} else {
		CHECK_OK(dray_region_unregister(add(dom, va, PAGE, 0)));
	}
	CHECK_OK(dray_region_unregister(add(dom, va, PAGE, DRAY_REGION_READ_ONLY)));
	munmap(va, PAGE);
	close(fd);
	dray_device_close(dev);
	dray_domain_close(dom);
}

/* What has no pages, or only some: refused whole. */
static void region_of_no_memory(struct rig *rig)
{
	const size_t len = 16 * PAGE;
	struct dray_domain *dom = open_low(rig);
	struct dray_device *dev = rig_device(rig, dom, NULL);
	struct actor *a = actor_open(rig, dev);
	int fd = new_file(len - PAGE, 0);
	char *va[4] = {
		map_memory(len, RW, MAP_SHARED, fd), /* one page longer than its file */
		rig_pages(len), rig_pages(len), map_memory(len, PROT_NONE, MAP_PRIVATE |
							   MAP_ANONYMOUS, -1),
	};
	struct dray_region *region = NULL;
	struct rig_state was;

	/* The first region of all makes what those that follow find. */
	check_kind(dom, dev, a, va[1], len);
	was = rig_state(dom);
	CHECK(!munmap(va[1] + 5 * PAGE, PAGE));
	CHECK(!mprotect(va[2] + 5 * PAGE, PAGE, PROT_NONE));
	for (unsigned i = 0; i < 4; i++) {
		CHECK_ERR(dray_region_register(dom, va[i], len, 0, &region), EFAULT);
		CHECK_WORDS("pin");
		CHECK_ERR(dray_region_register(dom, va[i], len, DRAY_REGION_READ_ONLY, &region),
			  EFAULT);
		CHECK_SAME(dom, &was);
	}
	/* As far as there is memory. */
	check_kind(dom, dev, a, va[0], len - PAGE);
	check_kind(dom, dev, a, va[1], 5 * PAGE);
	CHECK(!mprotect(va[2] + 5 * PAGE, PAGE, RW));
	check_kind(dom, dev, a, va[2], len);
	close(fd);
	actor_close(a);
	dray_device_close(dev);
	dray_domain_close(dom);
}

const struct contract_case regionkind_cases[] = {
	{ "region_of_huge_pages", "F01", region_of_huge_pages },
	{ "region_of_transparent_huge_pages", "F01", region_of_transparent_huge_pages },
	{ "region_of_shared_memory", "F01", region_of_shared_memory },
	{ "region_of_private_file_memory", "F01 B16", region_of_private_file_memory },
	{ "region_of_read_only_memory", "F01", region_of_read_only_memory },
	{ "region_of_tracked_memory", "F01", region_of_tracked_memory },
	{ "region_of_no_memory", "F01", region_of_no_memory },
	{ NULL },
};
