// SPDX-License-Identifier: BSD-2-Clause
/* The fake's sysfs and devfs: a tree in a temporary directory, shaped as Linux shapes it. */
#define _GNU_SOURCE
#include "internal.h"

#include <errno.h>
#include <ftw.h>
#include <inttypes.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static void at(char *ret_path, const char *fmt, va_list ap)
{
	int n = snprintf(ret_path, PATH_MAX, "%s/", fake.root);

	vsnprintf(ret_path + n, PATH_MAX - (size_t)n, fmt, ap);
}

__attribute__((format(printf, 1, 2))) static void make_dir(const char *fmt, ...)
{
	char path[PATH_MAX];
	va_list ap;

	va_start(ap, fmt);
	at(path, fmt, ap);
	va_end(ap);
	for (char *p = path + strlen(fake.root) + 1; (p = strchr(p, '/')); p++) {
		*p = '\0';
		mkdir(path, 0755);
		*p = '/';
	}
	if (mkdir(path, 0755) && errno != EEXIST)
		fake_die("mkdir %s: %s", path, strerror(errno));
}

__attribute__((format(printf, 1, 2))) static FILE *make_file(const char *fmt, ...)
{
	char path[PATH_MAX];
	va_list ap;
	FILE *f;

	va_start(ap, fmt);
	at(path, fmt, ap);
	va_end(ap);
	f = fopen(path, "w");
	if (!f)
		fake_die("create %s: %s", path, strerror(errno));
	return f;
}

__attribute__((format(printf, 2, 3)))
static void make_link(const char *target, const char *fmt, ...)
{
	char path[PATH_MAX];
	va_list ap;

	va_start(ap, fmt);
	at(path, fmt, ap);
	va_end(ap);
	if (symlink(target, path))
		fake_die("link %s: %s", path, strerror(errno));
}

__attribute__((format(printf, 1, 2))) static void drop(const char *fmt, ...)
{
	char path[PATH_MAX];
	va_list ap;

	va_start(ap, fmt);
	at(path, fmt, ap);
	va_end(ap);
	if (remove(path) && errno != ENOENT)
		fake_die("remove %s: %s", path, strerror(errno));
}

void fake_tree_make(void)
{
	const char *tmp = getenv("TMPDIR");

	snprintf(fake.root, sizeof(fake.root), "%.40s/vfio-fake-XXXXXX", tmp ? tmp : "/tmp");
	if (!mkdtemp(fake.root))
		fake_die("mkdtemp %s: %s", fake.root, strerror(errno));
	snprintf(fake.sysfs, sizeof(fake.sysfs), "%s/sys", fake.root);
	snprintf(fake.devfs, sizeof(fake.devfs), "%s/dev", fake.root);
	make_dir("dev/vfio");
	make_dir("proc/self");
	make_dir("sys/kernel/iommu_groups");
	make_dir("sys/bus/pci/devices");
	make_dir("sys/bus/pci/drivers");
	make_dir("sys/devices");
	make_dir("sys/module/vfio_iommu_type1/parameters");
	fclose(make_file("dev/vfio/vfio"));
}

static int remove_one(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
	(void)st;
	(void)flag;
	(void)ftw;
	return remove(path);
}

void fake_tree_remove(void)
{
	nftw(fake.root, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

/* A group's node is there while a member is bound to vfio-pci, as the kernel's is. */
static void refresh_node(const struct fake_group *g)
{
	bool bound = false;

	for (const struct fake_device *d = fake.devices; d; d = d->next)
		bound |= d->group == g && strstr(d->driver, "vfio");
	if (bound && !fake.no_iommu)
		fclose(make_file("dev/vfio/%u", g->id));
	else
		drop("dev/vfio/%u", g->id);
}

void fake_tree_bind(const struct fake_device *d)
{
	char target[PATH_MAX];

	drop("sys/devices/%s/driver", d->name);
	if (d->driver[0]) {
		make_dir("sys/bus/pci/drivers/%s", d->driver);
		snprintf(target, sizeof(target), "../../bus/pci/drivers/%s", d->driver);
		make_link(target, "sys/devices/%s/driver", d->name);
	}
	refresh_node(d->group);
}

void fake_tree_add(const struct fake_device *d)
{
	char target[PATH_MAX];

	make_dir("sys/devices/%s", d->name);
	snprintf(target, sizeof(target), "../../../devices/%s", d->name);
	make_link(target, "sys/bus/pci/devices/%s", d->name);
	if (!fake.no_iommu) {
		make_dir("sys/kernel/iommu_groups/%u/devices", d->group->id);
		fake_tree_reserved(d->group);
		snprintf(target, sizeof(target), "../../../../devices/%s", d->name);
		make_link(target, "sys/kernel/iommu_groups/%u/devices/%s", d->group->id, d->name);
		snprintf(target, sizeof(target), "../../kernel/iommu_groups/%u", d->group->id);
		make_link(target, "sys/devices/%s/iommu_group", d->name);
	}
	fake_tree_bind(d);
}

void fake_tree_drop(const struct fake_device *d)
{
	drop("sys/bus/pci/devices/%s", d->name);
	drop("sys/kernel/iommu_groups/%u/devices/%s", d->group->id, d->name);
	drop("sys/devices/%s/iommu_group", d->name);
	drop("sys/devices/%s/driver", d->name);
	drop("sys/devices/%s", d->name);
	refresh_node(d->group);
}

void fake_tree_reserved(const struct fake_group *g)
{
	FILE *f = make_file("sys/kernel/iommu_groups/%u/reserved_regions", g->id);

	for (const struct fake_reserved *r = g->reserved; r; r = r->next)
		fprintf(f, "0x%016" PRIx64 " 0x%016" PRIx64 " %s\n", r->range.first, r->range.last,
			r->type);
	fclose(f);
}

void fake_tree_entry_limit(void)
{
	static const char path[] = "sys/module/vfio_iommu_type1/parameters/dma_entry_limit";
	FILE *f;

	drop(path);
	if (!fake.entry_limit)
		return;
	f = make_file(path);
	fprintf(f, "%u\n", fake.entry_limit);
	fclose(f);
}

void fake_tree_no_iommu(void)
{
	for (const struct fake_group *g = fake.groups; g; g = g->next)
		refresh_node(g);
	for (const struct fake_device *d = fake.devices; d; d = d->next) {
		drop("sys/devices/%s/iommu_group", d->name);
		drop("sys/kernel/iommu_groups/%u/devices/%s", d->group->id, d->name);
	}
	for (const struct fake_group *g = fake.groups; g; g = g->next) {
		drop("sys/kernel/iommu_groups/%u/reserved_regions", g->id);
		drop("sys/kernel/iommu_groups/%u/devices", g->id);
		drop("sys/kernel/iommu_groups/%u", g->id);
	}
}

void fake_tree_status(void)
{
	FILE *f = make_file("proc/self/status");

	fprintf(f, "Name:\ttest\nVmPeak:\t  999999 kB\nVmLck:\t%8" PRIu64 " kB\nVmPin:\t 0 kB\n",
		fake.locked / 1024);
	fclose(f);
}
