// SPDX-License-Identifier: BSD-2-Clause
/* Reading the files of a kernel, and asking VFIO itself. */
#include "doctor/world.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/vfio.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

/* @root and what follows it; false: longer than any path. */
static bool path_of(char *path, const char *root, const char *fmt, va_list ap)
{
	int n = snprintf(path, PATH_MAX, "%s/", root);

	if (n < 0 || n >= PATH_MAX)
		return false;
	n += vsnprintf(path + n, (size_t)(PATH_MAX - n), fmt, ap);
	return n < PATH_MAX;
}

#define PATH_FROM_ARGS(path, ok)                                                                   \
	do {                                                                                       \
		va_list ap;                                                                        \
		va_start(ap, fmt);                                                                 \
		ok = path_of(path, root, fmt, ap);                                                 \
		va_end(ap);                                                                        \
	} while (0)

bool doctor_read(char *text, size_t size, const char *root, const char *fmt, ...)
{
	char path[PATH_MAX];
	bool ok;
	FILE *f;

	PATH_FROM_ARGS(path, ok);
	f = ok ? fopen(path, "re") : NULL;
	if (!f)
		return false;
	ok = fgets(text, (int)size, f);
	fclose(f);
	if (ok)
		text[strcspn(text, "\n")] = '\0';
	return ok && *text;
}

bool doctor_exists(const char *root, const char *fmt, ...)
{
	char path[PATH_MAX];
	bool ok;

	PATH_FROM_ARGS(path, ok);
	return ok && !access(path, F_OK);
}

bool doctor_link(char *text, size_t size, const char *root, const char *fmt, ...)
{
	char path[PATH_MAX], target[PATH_MAX];
	ssize_t n = -1;
	bool ok;

	PATH_FROM_ARGS(path, ok);
	if (ok)
		n = readlink(path, target, sizeof(target) - 1);
	if (n <= 0)
		return false;
	target[n] = '\0';
	snprintf(text, size, "%s", strrchr(target, '/') ? strrchr(target, '/') + 1 : target);
	return true;
}

uint64_t doctor_number(uint64_t otherwise, const char *root, const char *fmt, ...)
{
	char path[PATH_MAX], text[64], *end;
	uint64_t value;
	bool ok;

	PATH_FROM_ARGS(path, ok);
	/* The path is whole: no root before it. */
	if (!ok || !doctor_read(text, sizeof(text), "", "%s", path))
		return otherwise;
	errno = 0;
	value = strtoull(text, &end, 0);
	return errno || end == text ? otherwise : value;
}

static int visible(const struct dirent *entry)
{
	return entry->d_name[0] != '.';
}

size_t doctor_list(char ***ret_names, const char *root, const char *fmt, ...)
{
	struct dirent **entries = NULL;
	char path[PATH_MAX], **names;
	size_t kept = 0;
	bool ok;
	int n;

	*ret_names = NULL;
	PATH_FROM_ARGS(path, ok);
	n = ok ? scandir(path, &entries, visible, alphasort) : -1;
	if (n < 0)
		return 0;
	names = calloc((size_t)n + 1, sizeof(*names));
	for (int i = 0; i < n; i++) {
		if (names)
			names[kept] = strdup(entries[i]->d_name);
		if (names && names[kept])
			kept++;
		free(entries[i]);
	}
	free(entries);
	*ret_names = names;
	return kept;
}

void doctor_free_names(char **names, size_t n)
{
	for (size_t i = 0; i < n; i++)
		free(names[i]);
	free(names);
}

static int probe_container(const char *path)
{
	int fd = open(path, O_RDWR | O_CLOEXEC);
	int err = 0;

	if (fd < 0)
		return -errno;
	if (ioctl(fd, VFIO_GET_API_VERSION) != VFIO_API_VERSION ||
	    ioctl(fd, VFIO_CHECK_EXTENSION, VFIO_TYPE1v2_IOMMU) <= 0)
		err = -ENOTSUP;
	close(fd);
	return err;
}

static int join(int container, int group)
{
	struct vfio_group_status status = {.argsz = sizeof(status)};

	if (ioctl(group, VFIO_GROUP_GET_STATUS, &status))
		return -errno;
	if (!(status.flags & VFIO_GROUP_FLAGS_VIABLE))
		return -EXDEV;
	if (ioctl(group, VFIO_GROUP_SET_CONTAINER, &container))
		return -errno;
	/* Closing the group takes it out of the container again. */
	return ioctl(container, VFIO_SET_IOMMU, VFIO_TYPE1v2_IOMMU) ? -errno : 0;
}

static int probe_group(const char *container, const char *group)
{
	int c = open(container, O_RDWR | O_CLOEXEC);
	int g = c < 0 ? -1 : open(group, O_RDWR | O_CLOEXEC);
	/* EPERM means something else from open() than from the ioctl. */
	int err = g < 0 ? (errno == EPERM ? -EACCES : -errno) : join(c, g);

	if (g >= 0)
		close(g);
	if (c >= 0)
		close(c);
	return err;
}

const struct doctor_world doctor_this_machine = {
	.sys = "/sys",
	.proc = "/proc",
	.dev = "/dev",
	.probe_container = probe_container,
	.probe_group = probe_group,
};
