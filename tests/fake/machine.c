// SPDX-License-Identifier: BSD-2-Clause
/* The fake's machine as a test shapes it and looks at it: devices, groups, limits, memory. */
#define _GNU_SOURCE
#include "internal.h"

#include <errno.h>
#include <linux/pci_regs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void name_driver(struct fake_device *d, const char *driver)
{
	snprintf(d->driver, sizeof(d->driver), "%s", driver ? driver : "");
}

void vfio_fake_add_device(const char *name, unsigned group, const char *driver)
{
	struct fake_device *d = calloc(1, sizeof(*d));

	if (!d)
		fake_die("out of memory");
	fake_lock();
	if (fake_find(name))
		fake_die("device %s is there already", name);
	snprintf(d->name, sizeof(d->name), "%s", name);
	name_driver(d, driver);
	d->group = fake_group(group);
	d->next = fake.devices;
	fake.devices = d;
	fake_tree_add(d);
	fake_unlock();
}

void vfio_fake_remove_device(const char *name)
{
	struct fake_device *d, **p = &fake.devices;

	fake_lock();
	d = fake_device(name);
	if (d->opens)
		fake_die("device %s is open", name);
	while (*p != d)
		p = &(*p)->next;
	*p = d->next;
	fake_tree_drop(d);
	fake_unlock();
	free(d);
}

void vfio_fake_set_driver(const char *name, const char *driver)
{
	struct fake_device *d;

	fake_lock();
	d = fake_device(name);
	name_driver(d, driver);
	fake_tree_bind(d);
	fake_unlock();
}

void vfio_fake_set_no_iommu(void)
{
	fake_lock();
	fake.no_iommu = true;
	fake_tree_no_iommu();
	fake_unlock();
}

void vfio_fake_reserve(unsigned group, dray_iova_t first, dray_iova_t last, const char *type,
		       bool kernel)
{
	struct fake_reserved *r = calloc(1, sizeof(*r));
	struct fake_group *g;

	if (!r)
		fake_die("out of memory");
	fake_lock();
	g = fake_group(group);
	*r = (struct fake_reserved){ { first, last }, type, kernel, g->reserved };
	g->reserved = r;
	fake_tree_reserved(g);
	fake_unlock();
}

void vfio_fake_set_ranges(const struct dray_range *ranges, unsigned n)
{
	if (n > FAKE_RANGES)
		fake_die("%u ranges, at most %d", n, FAKE_RANGES);
	fake_lock();
	if (n)
		memcpy(fake.ranges, ranges, n * sizeof(*ranges));
	fake.n_ranges = n;
	fake_unlock();
}

void vfio_fake_set_page_sizes(uint64_t page_sizes)
{
	fake_lock();
	fake.page_sizes = page_sizes;
	fake_unlock();
}

void vfio_fake_set_entry_limit(unsigned entries)
{
	fake_lock();
	fake.entry_limit = entries;
	fake_tree_entry_limit();
	fake_unlock();
}

void vfio_fake_set_no_enforce(void)
{
	fake_lock();
	fake.no_enforce = true;
	fake_unlock();
}

uint8_t *vfio_fake_config(const char *name)
{
	uint8_t *config;

	fake_lock();
	config = fake_device(name)->config;
	fake_unlock();
	return config;
}

void vfio_fake_set_no_avail(void)
{
	fake_lock();
	fake.no_avail = true;
	fake_unlock();
}

void vfio_fake_set_memlock(uint64_t bytes)
{
	fake_lock();
	fake.memlock = bytes;
	fake_unlock();
}

void vfio_fake_set_release(unsigned major, unsigned minor)
{
	fake_lock();
	fake.release = major << 16 | minor;
	fake_unlock();
}

void vfio_fake_hold_device(const char *name, bool hold)
{
	struct fake_device *d;

	fake_lock();
	d = fake_device(name);
	if (d->held == hold || (hold && !d->opens))
		fake_die("device %s cannot be held or let go now", name);
	d->held = hold;
	if (hold)
		fake_open_device(d);
	else
		fake_close_device(d);
	fake_unlock();
}

void vfio_fake_hold_group(unsigned group, bool hold)
{
	fake_lock();
	fake_group(group)->held_elsewhere = hold;
	fake_unlock();
}

size_t vfio_fake_mappings(void)
{
	size_t n = 0;

	fake_lock();
	for (const struct fake_container *c = fake.containers; c; c = c->next)
		n += c->n;
	fake_unlock();
	return n;
}

bool vfio_fake_is_mapped(const char *name, dray_iova_t iova, size_t len, const void *va)
{
	const struct fake_mapping *m = NULL;
	bool is;

	fake_lock();
	if (fake_device(name)->group->in)
		m = fake_type1_find(fake_device(name)->group->in, iova);
	is = m && m->iova == iova && m->size == len && m->va == (uintptr_t)va;
	fake_unlock();
	return is;
}

bool vfio_fake_bus_master(const char *name)
{
	bool on;

	fake_lock();
	on = fake_device(name)->config[PCI_COMMAND] & PCI_COMMAND_MASTER;
	fake_unlock();
	return on;
}

void vfio_fake_set_bus_master(const char *name, bool on)
{
	uint8_t *command;

	fake_lock();
	command = &fake_device(name)->config[PCI_COMMAND];
	*command = (uint8_t)(on ? *command | PCI_COMMAND_MASTER : *command & ~PCI_COMMAND_MASTER);
	fake_unlock();
}

static int dma_locked(struct fake_device *d, uint64_t iova, char *buf, size_t len, bool write)
{
	const uint32_t need = write ? VFIO_DMA_MAP_FLAG_WRITE : VFIO_DMA_MAP_FLAG_READ;

	if (!d->group->in || !d->group->in->iommu ||
	    !(d->config[PCI_COMMAND] & PCI_COMMAND_MASTER))
		return -ENXIO;
	while (len) {
		const struct fake_mapping *m = fake_type1_find(d->group->in, iova);
		size_t piece;
		char *at;

		if (!m || !(m->flags & need))
			return -EFAULT;
		piece = m->iova + m->size - iova;
		if (piece > len)
			piece = len;
		at = (char *)(uintptr_t)(m->va + (iova - m->iova));
		memcpy(write ? at : buf, write ? buf : at, piece);
		iova += piece;
		buf += piece;
		len -= piece;
	}
	return 0;
}

int vfio_fake_dma(const char *name, dray_iova_t iova, void *buf, size_t len, bool write)
{
	int err;

	fake_lock();
	err = dma_locked(fake_device(name), iova, buf, len, write);
	fake_unlock();
	return err;
}
