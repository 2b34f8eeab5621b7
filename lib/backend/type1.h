/* SPDX-License-Identifier: BSD-2-Clause */
/* What the files of the VFIO type1 backend share. The theory is at the top of type1.c. */
#ifndef DR_BACKEND_TYPE1_H
#define DR_BACKEND_TYPE1_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "backend/backend.h"

/* "0000:01:00.0"; a domain number of up to eight digits, as PCI controllers behind VMD have. */
#define DR_TYPE1_NAME 20

/* How a pin without device write is kept from going stale; see type1_dma.c. */
enum dr_type1_cow {
	DR_COW_KERNEL,   /* the kernel does it */
	DR_COW_POPULATE, /* MADV_POPULATE_WRITE first */
	DR_COW_WRITABLE, /* no such advice in this kernel: pin writable */
};

struct dr_type1_group;

struct dr_type1_device {
	struct dr_backend_device base;
	char name[DR_TYPE1_NAME];            /* set before the device is shown to anyone */
	unsigned group_id;                   /* likewise */
	struct dr_type1_group *group;        /* set by enter, cleared by leave; attach lock */
	struct dr_type1_device *next_member; /* guarded by the registry lock */
	struct dr_type1_device *next;        /* in dr_type1.devices; attach lock */
	int fd;                              /* -1 none; attach lock */
	uint64_t config_offset;              /* of config space in fd; set when fd is */
};

struct dr_type1 {
	struct dr_backend base;
	/*
	 * Shared: map and unmap, over the ioctl and the table's update. Exclusive: whoever flips
	 * live. Prefers writers, so that mapping threads cannot keep a device out for ever.
	 */
	pthread_rwlock_t lock;
	bool live;     /* guarded by lock: the kernel has what the table has, now and from now on */
	uint32_t lease; /* guarded by lock: counts the times that live became true */
	int container; /* -1 none; written under the attach lock while not live */
	/* The rest is guarded by the attach lock, except where it is set at open. */
	unsigned groups; /* in the container, as far as we are concerned */
	bool stuck;      /* the kernel kept a group in the container after we left it */
	struct dr_type1_device *devices;
	struct dr_backend_limits at_open; /* set at open: limits while no device is attached */
	enum dr_type1_cow cow;            /* set at open */
};

static inline struct dr_type1 *dr_type1_of(struct dr_backend *be)
{
	return (struct dr_type1 *)be;
}

/* For tests: cut maps and unmaps smaller than the kernel asks. Only before the first map. */
void dr_type1_set_max_op(struct dr_backend *be, uint64_t bytes);

/* --- type1_container.c: the container and which groups are in it --- */

/* Open /dev/vfio/vfio and see that it can do type1v2. 0, -ENODEV, -EPERM, -ENOMEM. */
int dr_type1_container_open(int *ret_fd);

/*
 * Put a group in the container; the first one makes the container an IOMMU. Inverse:
 * dr_type1_part(). -EBUSY, -EPERM, -ERANGE, …
 */
int dr_type1_join(struct dr_type1 *t, int group_fd, const struct dr_type1_device *d);

/* What leaving did beside leaving, for the log that must wait until locks are dropped. */
struct dr_type1_parted {
	int unset_err; /* the kernel kept the group: errno */
	int unmap_err; /* and mappings in the container: errno */
};

/* Take a group out. The last one out leaves nothing mapped and the backend not live. */
void dr_type1_part(struct dr_type1 *t, int group_fd, struct dr_type1_parted *ret_parted);

/* --- type1_group.c: the process's groups --- */

/* Make @d a member of its group, in the address space @t. 0, -EBUSY, -ENODEV, -EPERM, -ENOMEM. */
int dr_type1_group_enter(struct dr_type1 *t, struct dr_type1_device *d);
void dr_type1_group_leave(struct dr_type1_device *d, struct dr_type1_parted *ret_parted);
/* Leave, in a forked child: close the group's descriptor with its last member, nothing else. */
void dr_type1_group_drop(struct dr_type1_device *d);
/* The group's descriptor, while @d is a member. */
int dr_type1_group_fd(const struct dr_type1_group *group);
/*
 * The first member of a group that holds it back, as "0000:01:00.1 (driver ahci)"; false where
 * there is none.
 */
bool dr_type1_group_foreigner(unsigned group_id, char *ret_text, size_t size);

/* --- type1_device.c: one device --- */

/* Fill @d's name and group from sysfs. 0, -ENODEV. */
int dr_type1_device_find(const char *name, struct dr_type1_device *d);
int dr_type1_device_start(struct dr_type1_device *d, int group_fd);
/* Bus mastering off, then the descriptor closed. An errno when the device did not obey, else 0. */
int dr_type1_device_stop(struct dr_type1_device *d);
/* The last part of where a link under sysfs points; false where there is no such link. */
bool dr_type1_link_name(const char *path, char *ret_name, size_t size);

/* --- type1_coherency.c: devices and the CPU's caches --- */

/*
 * Set the device's two properties; @flags: DRAY_DEVICE_*. The container is an IOMMU, the device is
 * started. 0; -ENOTSUP it counts as noncoherent and this CPU's caches cannot be cleaned.
 */
int dr_type1_coherency(struct dr_type1 *t, struct dr_type1_device *d, uint32_t flags);

/* --- type1_ranges.c: what the hardware takes --- */

struct dr_type1_info {
	uint64_t page_sizes; /* 0 not told */
	bool has_ranges, has_avail;
	uint64_t avail;      /* mapping entries left */
	uint32_t n_ranges;
	struct dray_range ranges[DR_BACKEND_RANGES];
};

/* Read what VFIO_IOMMU_GET_INFO wrote into @buf of @len bytes. False: not well-formed. */
bool dr_type1_info_parse(const void *buf, size_t len, struct dr_type1_info *ret_info);
/* 0, or -errno without words; -EIO: not well-formed. */
int dr_type1_info_read(int container, struct dr_type1_info *ret_info);
/*
 * Limits of a container without devices; @first, @last as in struct dr_backend_args. 0, -EINVAL no
 * granule in the window, -ERANGE none that an IOMMU takes.
 */
int dr_type1_limits_at_open(dray_iova_t first, dray_iova_t last, struct dr_backend_limits *ret_lim);
/*
 * t->base.limits, from the kernel's list and every device's reserved regions. 0, or -errno without
 * words; -ERANGE: nothing is left.
 */
int dr_type1_limits_read(struct dr_type1 *t);
/* Take [first, last] out of the usable ranges. */
void dr_type1_limits_exclude(struct dr_backend_limits *lim, dray_iova_t first, dray_iova_t last);
/* Exclude what the text of a reserved_regions file names. */
void dr_type1_limits_exclude_text(struct dr_backend_limits *lim, const char *text);
/* A small text file, cut at @size - 1; its length, or -1 and errno. */
long dr_type1_read_text(const char *path, char *ret_text, size_t size);

/* --- type1_dma.c: the two calls --- */

/* 0; -EFAULT, -ENOMEM, -ENOSPC, -EEXIST, -EINVAL, … in words. */
int dr_type1_dma_map(struct dr_type1 *t, dray_iova_t iova, void *va, size_t len, uint64_t bits);
/*
 * *ret_size: bytes that the kernel says it unmapped. 0, or -errno without words (it also unwinds,
 * and must leave the words of what failed first) and nothing is unmapped.
 */
int dr_type1_dma_unmap(struct dr_type1 *t, dray_iova_t iova, uint64_t len, uint64_t *ret_size);

#endif
