// SPDX-License-Identifier: BSD-2-Clause
/*
 * The process's VFIO groups.
 *
 * 1. The kernel lets a group be opened once, and puts it as a whole into one container. So the
 *    process keeps one record per open group: its descriptor, the address space it is in, its
 *    member devices that are open. The first member opens the group and joins it to its address
 *    space; the last one takes it out and closes it. A member whose group is in another address
 *    space of ours is refused, whichever came first.
 *
 * 2. One winner. The kernel opens one device as often as it is asked; the member list does not.
 *    A device is on the list from before its descriptor is asked for until after it is closed, so
 *    whoever comes between is refused with -EBUSY and touches nothing. Opening and resetting a
 *    device takes long and happens outside the lock: its membership keeps the group.
 *
 * 3. Locks. The registry lock guards the list of groups, every record but its descriptor, and the
 *    members' links; it is held while a group is opened, joined, parted and closed. It is taken
 *    under a domain's attach lock; dr_type1.lock is taken under it. Map and unmap never take it.
 *
 * 4. Forks. A child starts without groups: the records it copied are its parent's, and the lock may
 *    have been copied while held. So a registry belongs to one process (dr_process_id() tells, also
 *    after a raw clone) and a child that attaches makes its own; the old one is left alone. Closing
 *    its parent's devices, a child takes no lock and only counts members down.
 */
#define _GNU_SOURCE
#include "backend/type1.h"
#include "base/err.h"
#include "base/hooks.h"
#include "base/process.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/vfio.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

struct registry;

struct dr_type1_group {
	struct registry *reg;            /* set at open */
	struct dr_type1_group *next;     /* registry lock */
	unsigned id;                     /* set at open */
	int fd;                          /* set at open */
	struct dr_type1 *in;             /* set at open */
	struct dr_type1_device *members; /* registry lock */
};

struct registry {
	uint64_t process;        /* set before it is published */
	struct registry *before; /* the parent's, left alone; here for leak checkers to find */
	pthread_mutex_t lock;
	struct dr_type1_group *groups; /* guarded by lock */
};

/* The newest process's; one is never freed, because another thread may be about to look into it. */
static _Atomic(struct registry *) current;

/* This process's registry, locked. NULL: no memory for one. */
static struct registry *lock_registry(void)
{
	uint64_t process = dr_process_id();
	/* Acquire: the registry is seen as it was published. */
	struct registry *reg = atomic_load_explicit(&current, memory_order_acquire);

	while (!reg || reg->process != process) {
		struct registry *fresh = dr_alloc(sizeof(*fresh));

		if (!fresh)
			return NULL;
		fresh->process = process;
		fresh->before = reg;
		pthread_mutex_init(&fresh->lock, NULL);
		/* Release pairs with the acquire above; the loser takes the winner's. */
		if (atomic_compare_exchange_strong_explicit(&current, &reg, fresh,
							    memory_order_acq_rel,
							    memory_order_acquire)) {
			reg = fresh;
			break;
		}
		pthread_mutex_destroy(&fresh->lock);
		dr_free(fresh);
	}
	pthread_mutex_lock(&reg->lock);
	return reg;
}

/* A driver that a group may have a member bound to and still be given to userspace. */
static bool is_harmless(const char *driver)
{
	return strstr(driver, "vfio") || !strcmp(driver, "pci-stub") || !strcmp(driver, "pcieport");
}

bool dr_type1_group_foreigner(unsigned group_id, char *ret_text, size_t size)
{
	char path[512], driver[64];
	struct dirent *e;
	bool found = false;
	DIR *dir;

	snprintf(path, sizeof(path), "%s/kernel/iommu_groups/%u/devices", dr_hooks->sysfs,
		 group_id);
	dir = opendir(path);
	if (!dir)
		return false;
	while (!found && (e = readdir(dir))) {
		if (e->d_name[0] == '.')
			continue;
		snprintf(path, sizeof(path), "%s/kernel/iommu_groups/%u/devices/%s/driver",
			 dr_hooks->sysfs, group_id, e->d_name);
		if (!dr_type1_link_name(path, driver, sizeof(driver)) || is_harmless(driver))
			continue;
		snprintf(ret_text, size, "%s (driver %s)", e->d_name, driver);
		found = true;
	}
	closedir(dir);
	return found;
}

static int open_failed(const struct dr_type1_device *d, int err)
{
	switch (err) {
	case EBUSY:
		return dr_fail(EBUSY, "group %u of %s is open in another process, or a descriptor "
			       "or mapped BAR of it lives on; close it there: fuser -v "
			       "/dev/vfio/%u", d->group_id, d->name, d->group_id);
	case EACCES:
	case EPERM:
		return dr_fail(EPERM, "no right to open /dev/vfio/%u for %s; run as root, or: "
			       "chown $USER /dev/vfio/%u", d->group_id, d->name, d->group_id);
	case ENOENT:
	case ENODEV:
	case ENXIO:
		return dr_fail(ENODEV, "/dev/vfio/%u of %s cannot be opened (%s): it left "
			       "vfio-pci, or VFIO runs without an IOMMU; check ls /dev/vfio",
			       d->group_id, d->name, strerror(err));
	case EMFILE:
	case ENFILE:
		return dr_fail(ENOMEM, "no file descriptor left for /dev/vfio/%u (%s); raise "
			       "ulimit -n", d->group_id, strerror(err));
	default:
		return dr_fail(err, "/dev/vfio/%u of %s cannot be opened: %s", d->group_id, d->name,
			       strerror(err));
	}
}

static int check_viable(int fd, const struct dr_type1_device *d)
{
	struct vfio_group_status status = { .argsz = sizeof(status) };
	char who[96];
	int err;

	if (dr_hooks->ioctl(fd, VFIO_GROUP_GET_STATUS, &status)) {
		err = errno;
		return dr_fail(err, "group %u of %s does not tell its status (%s); see dmesg",
			       d->group_id, d->name, strerror(err));
	}
	if (status.flags & VFIO_GROUP_FLAGS_VIABLE)
		return 0;
	if (!dr_type1_group_foreigner(d->group_id, who, sizeof(who)))
		return dr_fail(EBUSY, "group %u of %s is not viable; see ls -l "
			       "/sys/kernel/iommu_groups/%u/devices/*/driver", d->group_id, d->name,
			       d->group_id);
	return dr_fail(EBUSY, "group %u of %s is not viable: %s is driven by the kernel; bind it "
		       "to vfio-pci too, or unbind it", d->group_id, d->name, who);
}

/* Open a group and join it to @t. */
static int open_group(struct dr_type1 *t, const struct dr_type1_device *d,
		      struct dr_type1_group **ret_group)
{
	struct dr_type1_group *g = dr_alloc(sizeof(*g));
	char path[256];
	int err;

	if (!g)
		return dr_fail(ENOMEM, "no memory for group %u", d->group_id);
	g->id = d->group_id;
	g->in = t;
	snprintf(path, sizeof(path), "%s/vfio/%u", dr_hooks->devfs, g->id);
	g->fd = dr_hooks->open(path, O_RDWR | O_CLOEXEC);
	if (g->fd < 0) {
		err = open_failed(d, errno);
		goto no_open;
	}
	err = check_viable(g->fd, d);
	if (!err)
		err = dr_type1_join(t, g->fd, d);
	if (err)
		goto no_join;
	*ret_group = g;
	return 0;

no_join:
	dr_hooks->close(g->fd);
no_open:
	dr_free(g);
	return err;
}

static void close_group(struct dr_type1_group *g, struct dr_type1_parted *ret_parted)
{
	dr_type1_part(g->in, g->fd, ret_parted);
	dr_hooks->close(g->fd);
	dr_free(g);
}

static int enter_locked(struct registry *reg, struct dr_type1 *t, struct dr_type1_device *d)
{
	struct dr_type1_group *g = reg->groups;
	int err;

	while (g && g->id != d->group_id)
		g = g->next;
	if (g && g->in != t)
		return dr_fail(EBUSY, "group %u of %s is in another domain of this process; open "
			       "the device there, or close its group's devices first", g->id,
			       d->name);
	for (struct dr_type1_device *m = g ? g->members : NULL; m; m = m->next_member)
		if (!strcmp(m->name, d->name))
			return dr_fail(EBUSY, "device %s is open in this process already; close "
				       "it first", d->name);
	if (!g) {
		err = open_group(t, d, &g);
		if (err)
			return err;
		g->reg = reg;
		g->next = reg->groups;
		reg->groups = g;
	}
	d->next_member = g->members;
	g->members = d;
	d->group = g;
	return 0;
}

int dr_type1_group_enter(struct dr_type1 *t, struct dr_type1_device *d)
{
	struct registry *reg = lock_registry();
	int err;

	if (!reg)
		return dr_fail(ENOMEM, "no memory for the list of VFIO groups");
	err = enter_locked(reg, t, d);
	pthread_mutex_unlock(&reg->lock);
	return err;
}

static void remove_member(struct dr_type1_group *g, struct dr_type1_device *d)
{
	struct dr_type1_device **p = &g->members;

	while (*p != d)
		p = &(*p)->next_member;
	*p = d->next_member;
	d->group = NULL;
}

void dr_type1_group_leave(struct dr_type1_device *d, struct dr_type1_parted *ret_parted)
{
	struct dr_type1_group *g = d->group, **p;
	struct registry *reg = g->reg;

	pthread_mutex_lock(&reg->lock);
	remove_member(g, d);
	if (!g->members) {
		for (p = &reg->groups; *p != g; p = &(*p)->next)
			;
		*p = g->next;
		close_group(g, ret_parted);
	}
	pthread_mutex_unlock(&reg->lock);
}

void dr_type1_group_drop(struct dr_type1_device *d)
{
	struct dr_type1_group *g = d->group;
	struct dr_type1_device **p;

	/* Copied while another thread was leaving: then the group is gone, or not ours to count. */
	if (!g)
		return;
	for (p = &g->members; *p && *p != d; p = &(*p)->next_member)
		;
	if (!*p)
		return;
	remove_member(g, d);
	if (!g->members)
		dr_hooks->close(g->fd);
}

int dr_type1_group_fd(const struct dr_type1_group *group)
{
	return group->fd;
}
