// SPDX-License-Identifier: BSD-2-Clause
/*
 * One VFIO device: found in sysfs, opened through its group, stopped and closed.
 *
 * 1. Whether a device can be had is read from sysfs before anything is opened, because the kernel's
 *    answers name no cause: no such device, bound to which other driver, in no IOMMU group.
 *
 * 2. vfio-pci opens a device with bus mastering off. The driver that uses it turns it on through
 *    the descriptor. Stopping turns it off again by a write to config space, before anything is
 *    unmapped and before the descriptor is closed, since the descriptor may live on elsewhere.
 *
 * Locking: a device is touched by the thread that attaches or detaches it, alone.
 */
#define _GNU_SOURCE
#include "backend/type1.h"
#include "base/err.h"
#include "base/hooks.h"

#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <linux/pci_regs.h>
#include <linux/vfio.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

bool dr_type1_link_name(const char *path, char *ret_name, size_t size)
{
	char target[PATH_MAX];
	ssize_t len = readlink(path, target, sizeof(target) - 1);
	const char *name;

	if (len < 0)
		return false;
	target[len] = '\0';
	name = strrchr(target, '/');
	name = name ? name + 1 : target;
	len = (ssize_t)strnlen(name, size - 1);
	memcpy(ret_name, name, (size_t)len);
	ret_name[len] = '\0';
	return true;
}

/* "dddd:bb:dd.f" in lower case, as sysfs spells it. */
static bool spell_name(const char *name, char *ret_name)
{
	static const char shape[] = ":xx:xx.x"; /* after the domain number */
	size_t digits = strcspn(name, ":"), len = strlen(name);

	if (digits < 4 || digits > 8 || len != digits + sizeof(shape) - 1)
		return false;
	for (size_t i = 0; i < len; i++) {
		char want = i < digits ? 'x' : shape[i - digits];

		if (want == 'x' ? !isxdigit((unsigned char)name[i]) : name[i] != want)
			return false;
		ret_name[i] = (char)tolower((unsigned char)name[i]);
	}
	ret_name[len] = '\0';
	/* 32 devices of 8 functions on a bus. */
	return ret_name[digits + 4] < '2' && ret_name[len - 1] < '8';
}

/* vfio-pci itself, or a vendor's variant of it (mlx5_vfio_pci …). */
static int check_driver(const char *name)
{
	char path[512], driver[64];

	snprintf(path, sizeof(path), "%s/bus/pci/devices/%s/driver", dr_hooks->sysfs, name);
	if (!dr_type1_link_name(path, driver, sizeof(driver)))
		return dr_fail(ENODEV, "%s is bound to no driver; run: modprobe vfio-pci; echo "
			       "vfio-pci > /sys/bus/pci/devices/%s/driver_override; echo %s > "
			       "/sys/bus/pci/drivers_probe", name, name, name);
	if (!strstr(driver, "vfio"))
		return dr_fail(ENODEV, "%s is bound to %s, not vfio-pci; run: modprobe vfio-pci; "
			       "echo vfio-pci > /sys/bus/pci/devices/%s/driver_override; echo %s > "
			       "/sys/bus/pci/devices/%s/driver/unbind; echo %s > "
			       "/sys/bus/pci/drivers_probe", name, driver, name, name, name, name);
	return 0;
}

int dr_type1_device_find(const char *name, struct dr_type1_device *d)
{
	char path[512], group[32];
	struct stat st;

	if (!spell_name(name, d->name))
		return dr_fail(ENODEV, "device name \"%.40s\" is not a PCI address such as "
			       "0000:01:00.0; see lspci -D", name);
	snprintf(path, sizeof(path), "%s/bus/pci/devices/%s", dr_hooks->sysfs, d->name);
	if (stat(path, &st))
		return dr_fail(ENODEV, "there is no device %s; see lspci -D", d->name);
	/* The IOMMU first: without one no driver helps, and vfio-pci refuses to bind. */
	snprintf(path, sizeof(path), "%s/bus/pci/devices/%s/iommu_group", dr_hooks->sysfs, d->name);
	if (!dr_type1_link_name(path, group, sizeof(group)) ||
	    sscanf(group, "%u", &d->group_id) != 1)
		return dr_fail(ENODEV, "%s is in no IOMMU group: the IOMMU is off; enable VT-d or "
			       "AMD-Vi in the firmware and boot with intel_iommu=on (Intel) or "
			       "amd_iommu=on (AMD)", d->name);
	return check_driver(d->name);
}

static int fd_failed(const struct dr_type1_device *d, int err)
{
	switch (err) {
	case ENODEV:
	case EINVAL:
		return dr_fail(ENODEV, "%s went away while it was opened (%s); check that it is "
			       "still bound to vfio-pci", d->name, strerror(err));
	case EBUSY:
		return dr_fail(EBUSY, "%s is in use elsewhere; close it there", d->name);
	case EACCES:
	case EPERM:
		return dr_fail(EPERM, "%s wants a VF token, which dray does not pass; open a "
			       "device that is no SR-IOV parent", d->name);
	case EMFILE:
	case ENFILE:
		return dr_fail(ENOMEM, "no file descriptor left for %s (%s); raise ulimit -n",
			       d->name, strerror(err));
	default:
		return dr_fail(err, "%s cannot be opened (%s); see dmesg", d->name, strerror(err));
	}
}

int dr_type1_device_start(struct dr_type1_device *d, int group_fd)
{
	struct vfio_region_info config = {
		.argsz = sizeof(config),
		.index = VFIO_PCI_CONFIG_REGION_INDEX,
	};
	int fd = dr_hooks->ioctl(group_fd, VFIO_GROUP_GET_DEVICE_FD, d->name), err = 0;

	if (fd < 0)
		return fd_failed(d, errno);
	/* Asked now, so that stopping needs nothing that may fail but the write itself. */
	if (dr_hooks->ioctl(fd, VFIO_DEVICE_GET_REGION_INFO, &config))
		err = errno;
	else if (config.size < PCI_STD_HEADER_SIZEOF)
		err = ENODEV;
	if (err) {
		dr_hooks->close(fd);
		return dr_fail(err, "%s shows no config space (%s); see dmesg", d->name,
			       strerror(err));
	}
	d->fd = fd;
	d->config_offset = config.offset;
	return 0;
}

/* An errno, or 0. */
static int stop_bus_mastering(const struct dr_type1_device *d)
{
	off_t at = (off_t)(d->config_offset + PCI_COMMAND);
	uint8_t command[2]; /* little-endian, as config space is */
	ssize_t n = dr_hooks->pread(d->fd, command, sizeof(command), at);

	if (n != sizeof(command))
		return n < 0 ? errno : EIO;
	if (!(command[0] & PCI_COMMAND_MASTER))
		return 0;
	command[0] &= (uint8_t)~PCI_COMMAND_MASTER;
	n = dr_hooks->pwrite(d->fd, command, sizeof(command), at);
	if (n != sizeof(command))
		return n < 0 ? errno : EIO;
	return 0;
}

int dr_type1_device_stop(struct dr_type1_device *d)
{
	int err = stop_bus_mastering(d);

	dr_hooks->close(d->fd);
	d->fd = -1;
	return err;
}
