// SPDX-License-Identifier: BSD-2-Clause
/* The fake's VFIO: who has which group open, in which container, with which devices. */
#define _GNU_SOURCE
#include "internal.h"

#include <errno.h>
#include <linux/pci_regs.h>
#include <stdlib.h>
#include <string.h>

int fake_open_container(struct fake_file *ret_file)
{
	struct fake_container *c = calloc(1, sizeof(*c));

	if (!c)
		fake_die("out of memory");
	c->refs = 1;
	c->limit = fake.entry_limit ? fake.entry_limit : 65535;
	c->avail = c->limit;
	c->next = fake.containers;
	fake.containers = c;
	fake_log(0, "open container");
	*ret_file = (struct fake_file){ .kind = FAKE_CONTAINER, .container = c };
	return 0;
}

static void put_container(struct fake_container *c)
{
	struct fake_container **p = &fake.containers;

	if (--c->refs)
		return;
	while (*p != c)
		p = &(*p)->next;
	*p = c->next;
	fake_type1_unmap_all(c);
	free(c);
}

int fake_open_group(unsigned id, struct fake_file *ret_file)
{
	struct fake_group *g = fake.groups;
	bool bound = false;

	while (g && g->id != id)
		g = g->next;
	for (const struct fake_device *d = fake.devices; g && d; d = d->next)
		bound |= d->group == g && strstr(d->driver, "vfio");
	if (!bound || fake.no_iommu)
		return -ENOENT;
	if (g->refs || g->held_elsewhere)
		return -EBUSY;
	g->refs = 1;
	fake_log(0, "open group %u", id);
	*ret_file = (struct fake_file){ .kind = FAKE_GROUP, .group = g };
	return 0;
}

static void part(struct fake_group *g)
{
	struct fake_container *c = g->in;

	g->in = NULL;
	if (!--c->groups) {
		fake_type1_unmap_all(c);
		c->iommu = false;
	}
	put_container(c);
}

static void put_group(struct fake_group *g)
{
	if (--g->refs)
		return;
	if (g->in)
		part(g);
	fake_log(0, "released group %u", g->id);
}

void fake_open_device(struct fake_device *d)
{
	if (!d->opens++)
		d->config[PCI_COMMAND] &= (uint8_t)~PCI_COMMAND_MASTER;
	d->group->users++;
	d->group->refs++;
}

void fake_close_device(struct fake_device *d)
{
	d->opens--;
	d->group->users--;
	put_group(d->group);
}

void fake_close_file(struct fake_file file)
{
	switch (file.kind) {
	case FAKE_CONTAINER:
		fake_log(0, "close container");
		put_container(file.container);
		break;
	case FAKE_GROUP:
		fake_log(0, "close group %u", file.group->id);
		put_group(file.group);
		break;
	case FAKE_DEVICE:
		fake_log(0, "close device %s", file.device->name);
		fake_close_device(file.device);
		break;
	default:
		break;
	}
}

/* A driver of the kernel's that does DMA owns the whole group. */
static bool is_viable(const struct fake_group *g)
{
	for (const struct fake_device *d = fake.devices; d; d = d->next)
		if (d->group == g && d->driver[0] && !strstr(d->driver, "vfio") &&
		    strcmp(d->driver, "pci-stub") && strcmp(d->driver, "pcieport"))
			return false;
	return true;
}

static long join(struct fake_group *g, const int *container_fd)
{
	struct fake_file file = fake_file(*container_fd);
	int err;

	if (g->in)
		return -EINVAL;
	if (file.kind != FAKE_CONTAINER)
		return -EBADFD;
	if (!is_viable(g))
		return -EPERM;
	if (file.container->iommu) {
		err = fake_type1_check_group(file.container, g);
		if (err)
			return err;
	}
	g->in = file.container;
	g->in->groups++;
	g->in->refs++;
	fake_log(0, "join group %u", g->id);
	return 0;
}

static long group_ioctl(struct fake_group *g, unsigned long request, void *arg)
{
	struct fake_device *d;
	int fd;

	switch (request) {
	case VFIO_GROUP_GET_STATUS: {
		struct vfio_group_status *s = arg;

		s->flags = g->in ? VFIO_GROUP_FLAGS_CONTAINER_SET | VFIO_GROUP_FLAGS_VIABLE :
			   is_viable(g) ? VFIO_GROUP_FLAGS_VIABLE : 0;
		return 0;
	}
	case VFIO_GROUP_SET_CONTAINER:
		return join(g, arg);
	case VFIO_GROUP_UNSET_CONTAINER:
		if (!g->in)
			return -EINVAL;
		if (g->users)
			return -EBUSY;
		fake_log(0, "part group %u", g->id);
		part(g);
		return 0;
	case VFIO_GROUP_GET_DEVICE_FD:
		d = fake_find(arg);
		if (!d || d->group != g || !strstr(d->driver, "vfio"))
			return -ENODEV;
		if (!g->in || !g->in->iommu)
			return -EINVAL;
		fd = fake_new_fd((struct fake_file){ .kind = FAKE_DEVICE, .device = d });
		if (fd < 0)
			return -errno;
		fake_open_device(d);
		fake_log(0, "open device %s", d->name);
		return fd;
	default:
		return -ENOTTY;
	}
}

static long device_ioctl(unsigned long request, void *arg)
{
	struct vfio_region_info *info = arg;

	if (request != VFIO_DEVICE_GET_REGION_INFO)
		return -ENOTTY;
	if (info->argsz < sizeof(*info) || info->index >= VFIO_PCI_NUM_REGIONS)
		return -EINVAL;
	info->flags = VFIO_REGION_INFO_FLAG_READ | VFIO_REGION_INFO_FLAG_WRITE;
	info->offset = (uint64_t)info->index << 40;
	info->size = info->index == VFIO_PCI_CONFIG_REGION_INDEX ? 256 : 0;
	return 0;
}

static long container_ioctl(struct fake_container *c, unsigned long request, void *arg)
{
	switch (request) {
	case VFIO_GET_API_VERSION:
		return VFIO_API_VERSION;
	case VFIO_CHECK_EXTENSION:
		if ((uintptr_t)arg == VFIO_DMA_CC_IOMMU)
			return c->iommu && !fake.no_enforce;
		return (uintptr_t)arg == VFIO_TYPE1_IOMMU || (uintptr_t)arg == VFIO_TYPE1v2_IOMMU;
	case VFIO_SET_IOMMU:
		if (!c->groups || c->iommu)
			return -EINVAL;
		if ((uintptr_t)arg != VFIO_TYPE1v2_IOMMU)
			return -ENODEV;
		c->iommu = true;
		fake_log(0, "set iommu");
		return 0;
	default:
		return c->iommu ? fake_type1_ioctl(c, request, arg) : -EINVAL;
	}
}

long fake_kernel_ioctl(struct fake_file file, unsigned long request, void *arg)
{
	switch (file.kind) {
	case FAKE_CONTAINER:
		return container_ioctl(file.container, request, arg);
	case FAKE_GROUP:
		return group_ioctl(file.group, request, arg);
	case FAKE_DEVICE:
		return device_ioctl(request, arg);
	default:
		return -ENOTTY;
	}
}

void fake_free_kernel(void)
{
	struct fake_reserved *r;
	struct fake_device *d;
	struct fake_group *g;

	if (fake.containers)
		fake_die("a container is still open at stop");
	while ((d = fake.devices)) {
		fake.devices = d->next;
		free(d);
	}
	while ((g = fake.groups)) {
		fake.groups = g->next;
		while ((r = g->reserved)) {
			g->reserved = r->next;
			free(r);
		}
		free(g);
	}
}
