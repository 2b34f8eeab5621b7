// SPDX-License-Identifier: BSD-2-Clause
/*
 * QEMU's edu device, by VFIO.
 *
 * It copies between memory and a buffer of its own, on command, in either direction; the buffer can
 * be reached by DMA alone. So reading memory as the device is two copies: from the address in
 * question into the buffer, and from there into a page that is certainly mapped. Before it, the
 * buffer is loaded with zeros, which no test pattern has; what QEMU delivers for a refused access is
 * no test pattern either. The upper half of the buffer is left alone: a transfer that ends at its
 * very end is taken for an overrun.
 *
 * Bus mastering is turned on here: VFIO hands devices over without it.
 */
#define _GNU_SOURCE
#include "actor.h"

#include <endian.h>
#include <linux/pci_regs.h>
#include <linux/vfio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define EDU_ID      0x00
#define EDU_SRC     0x80
#define EDU_DST     0x88
#define EDU_COUNT   0x90
#define EDU_CMD     0x98
#define EDU_RUN     1u
#define EDU_TO_RAM  2u
#define EDU_BUFFER  UINT64_C(0x40000)

/* A transfer takes 100 ms of the guest's time; this says that the device is dead. */
#define POLLS_OF_1MS 10000

struct edu_actor {
	struct actor base;
	volatile unsigned char *bar;
	size_t bar_len;
	unsigned char *page;      /* half zeros, half scratch */
	struct dray_mapping map;  /* of the page; zero where the domain maps nothing */
};

static struct edu_actor *edu_of(struct actor *a)
{
	return (struct edu_actor *)a;
}

static void put64(struct edu_actor *e, unsigned reg, uint64_t value)
{
	*(volatile uint64_t *)(e->bar + reg) = htole64(value);
}

static uint64_t get64(struct edu_actor *e, unsigned reg)
{
	return le64toh(*(volatile uint64_t *)(e->bar + reg));
}

static void copy(struct edu_actor *e, dray_iova_t iova, size_t len, bool to_ram)
{
	const struct timespec ms = { .tv_nsec = 1000000 };

	/* What the program wrote before it starts the device. */
	__sync_synchronize();
	put64(e, EDU_SRC, to_ram ? EDU_BUFFER : iova);
	put64(e, EDU_DST, to_ram ? iova : EDU_BUFFER);
	put64(e, EDU_COUNT, len);
	put64(e, EDU_CMD, EDU_RUN | (to_ram ? EDU_TO_RAM : 0));
	for (int i = 0; get64(e, EDU_CMD) & EDU_RUN; i++) {
		CHECK(i < POLLS_OF_1MS);
		nanosleep(&ms, NULL);
	}
	__sync_synchronize();
}

static void edu_read(struct actor *a, dray_iova_t iova, void *buf, size_t len)
{
	struct edu_actor *e = edu_of(a);

	CHECK(e->map.len && len <= ACTOR_MAX);
	memset(e->page, 0, PAGE);
	copy(e, e->map.iova, len, false);
	copy(e, iova, len, false);
	/* Told apart from "nothing came": this must be overwritten. */
	memset(e->page + ACTOR_MAX, 0xff, ACTOR_MAX);
	copy(e, e->map.iova + ACTOR_MAX, len, true);
	memcpy(buf, e->page + ACTOR_MAX, len);
}

static void edu_write(struct actor *a, dray_iova_t iova, const void *buf, size_t len)
{
	struct edu_actor *e = edu_of(a);

	CHECK(len <= ACTOR_MAX);
	if (e->map.len) {
		memcpy(e->page, buf, len);
		copy(e, e->map.iova, len, false);
	}
	copy(e, iova, len, true);
}

static void edu_check_refused(struct actor *a, dray_iova_t iova, uint32_t access)
{
	struct dray_sim_fault f;

	(void)iova;
	(void)access;
	/* VFIO sees no faults, and dray says so. */
	CHECK(dray_sim_faults(a->dev, &f, 1) < 0);
}

static void edu_close(struct actor *a)
{
	struct edu_actor *e = edu_of(a);

	dray_unmap(a->dev, &e->map);
	munmap((void *)e->bar, e->bar_len);
	free(e);
}

static const struct actor_ops ops = {
	.read = edu_read,
	.write = edu_write,
	.check_refused = edu_check_refused,
	.close = edu_close,
};

static void set_bus_master(int fd)
{
	struct vfio_region_info info = {
		.argsz = sizeof(info), .index = VFIO_PCI_CONFIG_REGION_INDEX,
	};
	unsigned char command[2];
	off_t at;

	CHECK(!ioctl(fd, VFIO_DEVICE_GET_REGION_INFO, &info));
	at = (off_t)info.offset + PCI_COMMAND;
	CHECK(pread(fd, command, 2, at) == 2);
	command[0] |= PCI_COMMAND_MASTER | PCI_COMMAND_MEMORY;
	CHECK(pwrite(fd, command, 2, at) == 2);
}

struct actor *actor_open_edu(struct dray_device *dev)
{
	struct vfio_region_info info = {
		.argsz = sizeof(info), .index = VFIO_PCI_BAR0_REGION_INDEX,
	};
	struct edu_actor *e = calloc(1, sizeof(*e));
	int fd = dray_device_fd(dev);
	void *bar;

	CHECK(e && fd >= 0);
	set_bus_master(fd);
	CHECK(!ioctl(fd, VFIO_DEVICE_GET_REGION_INFO, &info));
	bar = mmap(NULL, info.size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, (off_t)info.offset);
	CHECK(bar != MAP_FAILED);
	e->base.ops = &ops;
	e->base.dev = dev;
	e->bar = bar;
	e->bar_len = info.size;
	CHECK((*(volatile uint32_t *)(e->bar + EDU_ID) & 0xff) == 0xed);
	e->page = rig_pages(PAGE);
	if (dray_domain_get_type(dray_device_get_domain(dev)) == DRAY_DOMAIN_PAGING)
		CHECK_OK(dray_map(dev, e->page, PAGE, DRAY_BIDIRECTIONAL, 0, &e->map));
	return &e->base;
}
