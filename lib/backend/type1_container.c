// SPDX-License-Identifier: BSD-2-Clause
/*
 * The container: one I/O address space of the kernel, and the groups in it.
 *
 * 1. A fresh container can do nothing. The first group that joins makes it an IOMMU
 *    (VFIO_SET_IOMMU); when the last one leaves, the kernel unmaps and unpins everything and the
 *    container is fresh again.
 *
 * 2. A group that does not leave. VFIO_GROUP_UNSET_CONTAINER is refused while a descriptor of one
 *    of the group's devices lives on: duplicated, inherited by a child, or held by a mapped BAR.
 *    The group then stays where it is until that descriptor goes, and so do the container's
 *    mappings. The last group out therefore unmaps by hand whenever a group was kept, and drops the
 *    container: the next attach opens a fresh one.
 *
 * 3. Order. The last group leaves with t->lock held exclusively, so that every map and unmap either
 *    reached the kernel before the mappings went or finds the backend not live.
 */
#define _GNU_SOURCE
#include "backend/type1.h"
#include "base/err.h"
#include "base/hooks.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/vfio.h>
#include <stdio.h>
#include <string.h>

static int open_failed(int err)
{
	switch (err) {
	case ENOENT:
	case ENODEV:
	case ENXIO:
		return dr_fail(ENODEV, "/dev/vfio/vfio cannot be opened (%s): VFIO is not loaded; "
			       "run: modprobe vfio-pci", strerror(err));
	case EACCES:
	case EPERM:
		return dr_fail(EPERM, "no right to open /dev/vfio/vfio; run as root, or: "
			       "chmod 0666 /dev/vfio/vfio");
	case EMFILE:
	case ENFILE:
		return dr_fail(ENOMEM, "no file descriptor left for /dev/vfio/vfio (%s); raise "
			       "ulimit -n", strerror(err));
	default:
		return dr_fail(err, "/dev/vfio/vfio cannot be opened: %s", strerror(err));
	}
}

static int check_container(int fd)
{
	int version = dr_hooks->ioctl(fd, VFIO_GET_API_VERSION, NULL);

	if (version != VFIO_API_VERSION)
		return dr_fail(ENODEV, "/dev/vfio/vfio speaks version %d of the VFIO interface, "
			       "not %d; load the kernel's own vfio module", version,
			       VFIO_API_VERSION);
	if (dr_hooks->ioctl(fd, VFIO_CHECK_EXTENSION, (void *)(uintptr_t)VFIO_TYPE1v2_IOMMU) <= 0)
		return dr_fail(ENODEV, "VFIO has no type1v2 IOMMU; run: modprobe "
			       "vfio_iommu_type1");
	return 0;
}

int dr_type1_container_open(int *ret_fd)
{
	char path[256];
	int fd, err;

	snprintf(path, sizeof(path), "%s/vfio/vfio", dr_hooks->devfs);
	fd = dr_hooks->open(path, O_RDWR | O_CLOEXEC);
	if (fd < 0)
		return open_failed(errno);
	err = check_container(fd);
	if (err) {
		dr_hooks->close(fd);
		return err;
	}
	*ret_fd = fd;
	return 0;
}

/* Why a group was not let in, in words. */
static int join_failed(const struct dr_type1 *t, const struct dr_type1_device *d, int err)
{
	char who[96];

	switch (err) {
	case EPERM:
	case EBUSY:
		if (dr_type1_group_foreigner(d->group_id, who, sizeof(who)))
			return dr_fail(EBUSY, "group %u of %s is not viable: %s is driven by the "
				       "kernel; bind it to vfio-pci too, or unbind it",
				       d->group_id, d->name, who);
		if (err == EBUSY)
			return dr_fail(EBUSY, "group %u of %s is in use elsewhere; close it there",
				       d->group_id, d->name);
		return dr_fail(EPERM, "the kernel does not give %s to userspace: no interrupt "
			       "remapping, or no right; with trusted devices: echo 1 > "
			       "/sys/module/vfio_iommu_type1/parameters/allow_unsafe_interrupts",
			       d->name);
	case EINVAL:
		if (t->groups)
			return dr_fail(ERANGE, "a live mapping lies where the IOMMU of %s has a "
				       "hole; map elsewhere, or open the device first", d->name);
		break;
	case EFAULT:
		return dr_fail(EFAULT, "a live mapping cannot be pinned for %s; unmap memory "
			       "before you give it back", d->name);
	case ENOMEM:
		return dr_fail(ENOMEM, "no memory for the IOMMU tables of %s, or RLIMIT_MEMLOCK "
			       "reached; see ulimit -l", d->name);
	}
	return dr_fail(err, "the kernel refuses group %u of %s (%s); see dmesg", d->group_id,
		       d->name, strerror(err));
}

int dr_type1_join(struct dr_type1 *t, int group_fd, const struct dr_type1_device *d)
{
	int err;

	if (t->container < 0) {
		err = dr_type1_container_open(&t->container);
		if (err)
			return err;
	}
	if (dr_hooks->ioctl(group_fd, VFIO_GROUP_SET_CONTAINER, &t->container))
		return join_failed(t, d, errno);
	if (!t->groups && dr_hooks->ioctl(t->container, VFIO_SET_IOMMU,
					  (void *)(uintptr_t)VFIO_TYPE1v2_IOMMU)) {
		err = errno;
		/* Without a device open nothing can keep the group in. */
		dr_hooks->ioctl(group_fd, VFIO_GROUP_UNSET_CONTAINER, NULL);
		return join_failed(t, d, err);
	}
	t->groups++;
	return 0;
}

/* Is a group still in? A container without one answers EINVAL to whatever concerns an IOMMU. */
static bool has_iommu(int container)
{
	struct dr_type1_info info;

	return dr_type1_info_read(container, &info) != -EINVAL;
}

/* Everything that may be mapped, without asking the table: closing walks and allocates nothing. */
static int unmap_all(struct dr_type1 *t)
{
	int first_err = 0;

	for (uint32_t i = 0; i < t->base.limits.n_usable; i++) {
		const struct dray_range *r = &t->base.limits.usable[i];
		uint64_t gone;
		int err = dr_type1_dma_unmap(t, r->first, r->last - r->first + 1, &gone);

		if (err && !first_err)
			first_err = err;
	}
	return -first_err;
}

void dr_type1_part(struct dr_type1 *t, int group_fd, struct dr_type1_parted *ret_parted)
{
	bool last = --t->groups == 0;

	if (last)
		pthread_rwlock_wrlock(&t->lock);
	if (dr_hooks->ioctl(group_fd, VFIO_GROUP_UNSET_CONTAINER, NULL)) {
		ret_parted->unset_err = errno;
		t->stuck = true;
	}
	if (!last)
		return;
	if (t->stuck && has_iommu(t->container)) {
		ret_parted->unmap_err = unmap_all(t);
		dr_hooks->close(t->container);
		t->container = -1;
	}
	t->stuck = false;
	t->live = false;
	pthread_rwlock_unlock(&t->lock);
}
