// SPDX-License-Identifier: BSD-2-Clause
/*
 * VFIO type1: a domain on a real IOMMU through a container of VFIO.
 *
 * 1. Container, group, device. A container is one I/O address space of the kernel. It cannot
 *    translate before a group is in it: the set of devices that the IOMMU cannot tell apart. So a
 *    backend without a device is only a table, the domain's. The first device brings its group,
 *    with the group the IOMMU, and the table is replayed; from there on the kernel has what the
 *    table has, and the backend is "live". When the last group leaves, the kernel forgets and
 *    unpins everything, and the table is all there is again. What cannot be pinned shows when it is
 *    pinned: at the attach, for what was mapped before.
 *
 * 2. Map. Have tables, then act, then publish: everything that can fail comes before the entries
 *    are set, and setting them cannot fail. EEXIST from the kernel means that somebody else mapped
 *    there (dray owns the IOVA, and its own mapping would be in the table), so it is refused, never
 *    taken for success.
 *
 * 3. Unmap. First the kernel, then the table. The other way round an entry would have to be put
 *    back when the kernel refuses; and a replay could not see what is still mapped. Between the two
 *    steps iova_to_va may still answer for an IOVA whose owner is unmapping it, which says nothing
 *    to anyone else. The kernel invalidates before it returns, so no invalidate step follows. A
 *    success that reports another size is an error: nothing is mapped there any more, but something
 *    was not what it was thought to be.
 *
 *    A lazy unmap goes the other way: the table first (retire), the kernel later, many mappings by
 *    one call (unmap_range). In between the kernel holds what the table does not show. A replay
 *    leaves that out, as it should; a group that joins meanwhile reaches it, as the others do; when
 *    the last group leaves it goes with all else. So what was retired before then must not be
 *    looked for afterwards: each time the backend becomes live a new lease begins, retire tells it,
 *    and unmap_range asks the kernel only under the lease that still holds. What is retired while
 *    the backend is not live is complete at once.
 *
 * 4. Pieces. A mapping may be longer than max_op; the domain maps and unmaps it in pieces cut from
 *    its start. Replay maps the pieces that the table has, so a later unmap never bisects what the
 *    kernel has. Pieces of one mapping may lie anywhere in memory: a list of buffers is one.
 *    The kernel itself takes any length; max_op is there because tests cut smaller.
 *
 * 5. Attach: find the device in sysfs, enter its group (open it, join it to the container), start
 *    the device, read what the hardware takes. Detach: stop it (bus mastering off, descriptor
 *    closed), leave the group. Each step has its inverse; a step that fails runs those before it.
 *    A second group joins a live container with everything mapped in it: the kernel replays to it
 *    by itself. It still reaches nothing, because its bus mastering is off until its driver,
 *    which does not have it yet, turns it on.
 *
 * 6. A BLOCKED domain is the same with an empty table: maps are refused, so every access faults.
 *
 * 7. Locks, outermost first: the domain's attach lock (attach, enable, detach, limits), the
 *    registry's (type1_group.c), t->lock. Map and unmap hold t->lock shared over the ioctl and the
 *    table's update, so that whoever flips live, with the lock held exclusively, knows each mapping
 *    either whole in both or in the table alone. The lock is one shared line, beside a system call
 *    and the kernel's mutex over pin, map and unmap; ways without a call do not come here.
 *
 *              | map, unmap        attach, detach     enable            last detach
 *    ----------+---------------------------------------------------------------------
 *    map,unmap | own their IOVAs   kernel's mutex     t->lock           t->lock
 *    attach    |                   attach lock        attach lock       attach lock
 *    enable    |                                      attach lock       attach lock
 *    other     |                   registry lock      nothing shared    registry lock
 *    backend's |
 *
 *    entries_left takes t->lock shared, as map. The registry's lock orders two address spaces that
 *    want one group; nothing else is shared between them.
 *
 * 8. Forks. A child closes the descriptors that it inherited, and nothing else: no ioctl, no write
 *    to the device, no lock. Its inherited device descriptor keeps the group in the parent's
 *    container, though, until the child closes it, ends or executes another program
 *    (type1_container.c, 2).
 *
 * 9. Nothing is seen of faults: VFIO reports none. They are in the kernel's log (DMAR, AMD-Vi).
 */
#define _GNU_SOURCE
#include "backend/type1.h"
#include "base/err.h"
#include "base/hooks.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* Above any address a table can hold, and whole granules of any size. */
#define NO_MAX_OP (UINT64_C(1) << 62)

#define TABLE_LAST ((UINT64_C(1) << DR_PT_ADDR_BITS) - 1)

static struct dr_type1_device *device_of(struct dr_backend_device *bd)
{
	return (struct dr_type1_device *)bd;
}

/* Linux 6.2 made read-only pins reliable, 5.14 brought the advice; see type1_dma.c. */
static enum dr_type1_cow choose_cow(unsigned release)
{
	if (release >= (6u << 16 | 2))
		return DR_COW_KERNEL;
	/* A release that cannot be read is 0: what asks the least of the kernel is asked. */
	return !release || release >= (5u << 16 | 14) ? DR_COW_POPULATE : DR_COW_WRITABLE;
}

/* No group at all: the IOMMU is off, and nothing can ever be attached. */
static bool has_no_iommu(void)
{
	const struct dirent *e;
	char path[256];
	bool none = true;
	DIR *dir;

	snprintf(path, sizeof(path), "%s/kernel/iommu_groups", dr_hooks->sysfs);
	dir = opendir(path);
	if (!dir)
		return false; /* no sysfs to ask; attaching will tell */
	while (none && (e = readdir(dir)))
		none = e->d_name[0] == '.';
	closedir(dir);
	return none;
}

static int type1_open(const struct dr_backend_args *args, struct dr_backend **ret_be)
{
	pthread_rwlockattr_t attr;
	struct dr_type1 *t;
	int err;

	if (args->type == DRAY_DOMAIN_IDENTITY)
		return dr_fail(ENOTSUP, "type1 has no IDENTITY domain: VFIO always translates; use "
			       "DRAY_DOMAIN_PAGING");
	t = dr_alloc(sizeof(*t));
	if (!t)
		return dr_fail(ENOMEM, "no memory for a type1 backend");
	err = dr_type1_container_open(&t->container);
	if (err)
		goto no_container;
	if (has_no_iommu()) {
		err = dr_fail(ENODEV, "this machine has no IOMMU in use; enable VT-d or AMD-Vi in "
			      "the firmware and boot with intel_iommu=on (Intel) or amd_iommu=on "
			      "(AMD), or use DRAY_BACKEND_SIM");
		goto no_limits;
	}
	err = dr_type1_limits_at_open(args->first, args->last, &t->at_open);
	if (err)
		goto no_limits;
	t->base.ops = &dr_type1_ops;
	t->base.type = args->type == DRAY_DOMAIN_DEFAULT ? DRAY_DOMAIN_PAGING : args->type;
	t->base.pt = args->pt;
	t->base.log = args->log;
	t->base.defers = DR_DEFER_UNMAP;
	t->base.translates = true;
	t->base.isolates = true;
	t->base.max_op = NO_MAX_OP;
	t->base.limits = t->at_open;
	t->cow = choose_cow(dr_hooks->kernel_release());
	pthread_rwlockattr_init(&attr);
	pthread_rwlockattr_setkind_np(&attr, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
	pthread_rwlock_init(&t->lock, &attr);
	pthread_rwlockattr_destroy(&attr);
	*ret_be = &t->base;
	return 0;

no_limits:
	dr_hooks->close(t->container);
no_container:
	dr_free(t);
	return err;
}

static void type1_close(struct dr_backend *be)
{
	struct dr_type1 *t = dr_type1_of(be);

	if (t->container >= 0)
		dr_hooks->close(t->container);
	pthread_rwlock_destroy(&t->lock);
	dr_free(t);
}

static void type1_close_forked(struct dr_backend *be)
{
	struct dr_type1 *t = dr_type1_of(be);

	if (t->container >= 0)
		dr_hooks->close(t->container);
	t->container = -1;
}

void dr_type1_set_max_op(struct dr_backend *be, uint64_t bytes)
{
	be->max_op = bytes;
}

static void link_device(struct dr_type1 *t, struct dr_type1_device *d)
{
	d->next = t->devices;
	t->devices = d;
}

static void unlink_device(struct dr_type1 *t, struct dr_type1_device *d)
{
	struct dr_type1_device **p = &t->devices;

	while (*p != d)
		p = &(*p)->next;
	*p = d->next;
}

/* Undo enter and link; limits become those of the devices that are left. */
static void leave(struct dr_type1 *t, struct dr_type1_device *d)
{
	struct dr_type1_parted parted = { 0 };
	struct dr_backend_limits was;

	unlink_device(t, d);
	dr_type1_group_leave(d, &parted);
	if (!t->groups) {
		t->base.limits = t->at_open;
	} else {
		was = t->base.limits;
		/* What more devices took, fewer take. */
		if (dr_type1_limits_read(t))
			t->base.limits = was;
	}
	if (parted.unset_err)
		dr_log(t->base.log, LOG_WARNING, "group %u of %s stays in its container (%s): a "
		       "mapped BAR, a duplicate or a forked child keeps a descriptor of it; its "
		       "memory is %s", d->group_id, d->name, strerror(parted.unset_err),
		       t->groups ? "still mapped for the other groups" : "unmapped by hand");
	if (parted.unmap_err)
		dr_log(t->base.log, LOG_CRIT, "memory stays pinned until group %u of %s is closed: "
		       "unmap fails: %s", d->group_id, d->name, strerror(parted.unmap_err));
}

static int type1_attach(struct dr_backend *be, const char *name,
			const struct dray_device_opts *opts, struct dr_backend_device **ret_bd)
{
	const uint32_t lacking = DRAY_DEVICE_OPT_OUT | DRAY_DEVICE_NOFD | DRAY_DEVICE_ADOPT;
	struct dr_type1 *t = dr_type1_of(be);
	struct dr_type1_device *d;
	int err;

	if (opts && opts->flags & lacking)
		return dr_fail(ENOTSUP, "type1 opens the device itself; clear device flags 0x%x",
			       opts->flags & lacking);
	d = dr_alloc(sizeof(*d));
	if (!d)
		return dr_fail(ENOMEM, "no memory for device %.40s", name);
	d->base.be = be;
	d->fd = -1;
	err = dr_type1_device_find(name, d);
	if (err)
		goto no_enter;
	err = dr_type1_group_enter(t, d);
	if (err)
		goto no_enter;
	link_device(t, d);
	err = dr_type1_device_start(d, dr_type1_group_fd(d->group));
	if (err)
		goto no_start;
	err = dr_type1_limits_read(t);
	if (err) {
		dr_fail(-err, "the IOMMU of %s offers no usable IOVA range (%s); see "
			"/sys/kernel/iommu_groups/%u/reserved_regions and dmesg", d->name,
			strerror(-err), d->group_id);
		goto no_limits;
	}
	err = dr_type1_coherency(t, d, opts ? opts->flags : 0);
	if (err)
		goto no_limits;
	*ret_bd = &d->base;
	return 0;

no_limits:
	dr_type1_device_stop(d);
no_start:
	leave(t, d);
no_enter:
	dr_free(d);
	return err;
}

/* Undo replay() of everything below @end. */
static void unreplay(struct dr_type1 *t, dray_iova_t end)
{
	struct dr_pt_mapping m;
	uint64_t size;

	for (dray_iova_t from = 0; from < end && dr_pgtable_next_piece(t->base.pt, from, end - 1, &m);
	     from = m.iova + m.len)
		dr_type1_dma_unmap(t, m.iova, m.len, &size);
}

/* Nobody changes the table: t->lock is held exclusively. */
static int replay_locked(struct dr_type1 *t, uint64_t *ret_calls)
{
	struct dr_pt_mapping m;
	uint64_t calls = 0;
	int err;

	for (dray_iova_t from = 0;
	     from <= TABLE_LAST && dr_pgtable_next_piece(t->base.pt, from, TABLE_LAST, &m);
	     from = m.iova + m.len) {
		err = dr_type1_dma_map(t, m.iova, m.va, m.len, m.bits);
		if (!err) {
			calls++;
			continue;
		}
		unreplay(t, m.iova);
		if (err == -EINVAL)
			err = dr_fail(ERANGE, "0x%" PRIx64 "+0x%zx is mapped where the device's "
				      "IOMMU has no range, or in smaller pages than it has; map "
				      "elsewhere, or open the device first", m.iova, m.len);
		return err;
	}
	*ret_calls = calls;
	return 0;
}

static int type1_enable(struct dr_backend *be, struct dr_backend_device *bd, uint64_t *ret_replayed)
{
	struct dr_type1 *t = dr_type1_of(be);
	uint64_t calls = 0;
	int err = 0;

	(void)bd;
	pthread_rwlock_wrlock(&t->lock);
	/* A second group had its replay from the kernel when it joined. */
	if (!t->live)
		err = replay_locked(t, &calls);
	if (!err && !t->live) {
		t->live = true;
		/* 0 and the highest number mean something else. */
		t->lease = t->lease >= UINT32_MAX - 1 ? 1 : t->lease + 1;
	}
	pthread_rwlock_unlock(&t->lock);
	if (!err)
		*ret_replayed = calls;
	return err;
}

static void detach_forked(struct dr_type1_device *d)
{
	dr_hooks->close(d->fd);
	d->fd = -1;
	dr_type1_group_drop(d);
}

static void type1_detach(struct dr_backend *be, struct dr_backend_device *bd, bool forked)
{
	struct dr_type1_device *d = device_of(bd);
	struct dr_type1 *t = dr_type1_of(be);
	int err;

	if (forked) {
		detach_forked(d);
		return;
	}
	err = dr_type1_device_stop(d);
	if (err)
		dr_log(t->base.log, LOG_ERR, "bus mastering of %s cannot be turned off: %s",
		       d->name, strerror(err));
	leave(t, d);
	dr_free(d);
}

static int type1_map(struct dr_backend *be, dray_iova_t iova, void *va, size_t len, uint64_t bits)
{
	struct dr_type1 *t = dr_type1_of(be);
	int err;

	if (be->type == DRAY_DOMAIN_BLOCKED)
		return dr_fail(EPERM, "a BLOCKED domain maps nothing; open a PAGING one");
	err = dr_pgtable_prepare(be->pt, iova, va, len);
	if (err)
		return err;
	pthread_rwlock_rdlock(&t->lock);
	if (t->live)
		err = dr_type1_dma_map(t, iova, va, len, bits);
	if (!err)
		dr_pgtable_set(be->pt, iova, va, len, bits);
	pthread_rwlock_unlock(&t->lock);
	return err;
}

static int type1_unmap(struct dr_backend *be, dray_iova_t iova, size_t len, size_t *ret_gone)
{
	struct dr_type1 *t = dr_type1_of(be);
	uint64_t size = 0;
	size_t present = 0;
	int err = 0;

	pthread_rwlock_rdlock(&t->lock);
	if (t->live)
		err = dr_type1_dma_unmap(t, iova, len, &size);
	if (!err)
		present = dr_pgtable_clear(be->pt, iova, len);
	if (!t->live)
		size = present;
	pthread_rwlock_unlock(&t->lock);

	*ret_gone = err ? 0 : len;
	if (err)
		return dr_fail(-err, "VFIO_IOMMU_UNMAP_DMA of 0x%" PRIx64 "+0x%zx fails: %s; close "
			       "the domain to be rid of it", iova, len, strerror(-err));
	if (size == len)
		return 0;
	dr_log(be->log, LOG_ERR, "unmap of 0x%" PRIx64 "+0x%zx found 0x%" PRIx64 " bytes mapped",
	       iova, len, size);
	return dr_fail(EIO, "unmap of 0x%" PRIx64 "+0x%zx found 0x%" PRIx64 " bytes mapped; "
		       "somebody else unmaps in this container", iova, len, size);
}

static uint32_t type1_retire(struct dr_backend *be, dray_iova_t iova, size_t len)
{
	struct dr_type1 *t = dr_type1_of(be);
	uint32_t lease;

	pthread_rwlock_rdlock(&t->lock);
	dr_pgtable_clear(be->pt, iova, len);
	lease = t->live ? t->lease : 0;
	pthread_rwlock_unlock(&t->lock);
	return lease;
}

static int type1_unmap_range(struct dr_backend *be, dray_iova_t first, dray_iova_t last,
			     uint32_t lease, uint64_t *ret_gone)
{
	struct dr_type1 *t = dr_type1_of(be);
	int err = -ESTALE;

	pthread_rwlock_rdlock(&t->lock);
	if (t->live && t->lease == lease)
		err = dr_type1_dma_unmap(t, first, last - first + 1, ret_gone);
	pthread_rwlock_unlock(&t->lock);
	return err;
}

/* How many entries the table would take. */
static uint64_t count_pieces(const struct dr_type1 *t)
{
	struct dr_pt_mapping m;
	uint64_t n = 0;

	for (dray_iova_t from = 0;
	     from <= TABLE_LAST && dr_pgtable_next_piece(t->base.pt, from, TABLE_LAST, &m);
	     from = m.iova + m.len)
		n++;
	return n;
}

static uint64_t type1_entries_left(struct dr_backend *be)
{
	struct dr_type1 *t = dr_type1_of(be);
	uint64_t limit = t->at_open.entries_limit, used;
	struct dr_type1_info info = { 0 };
	bool told;

	pthread_rwlock_rdlock(&t->lock);
	told = t->live && !dr_type1_info_read(t->container, &info) && info.has_avail;
	pthread_rwlock_unlock(&t->lock);
	if (told)
		return info.avail;
	used = count_pieces(t);
	return used < limit ? limit - used : 0;
}

static int type1_device_fd(const struct dr_backend_device *bd)
{
	return ((const struct dr_type1_device *)bd)->fd;
}

const struct dr_backend_ops dr_type1_ops = {
	.kind = DRAY_BACKEND_TYPE1,
	.name = "type1",
	.can_switch = false,
	.pins = true,
	.open = type1_open,
	.close = type1_close,
	.close_forked = type1_close_forked,
	.attach = type1_attach,
	.enable = type1_enable,
	.detach = type1_detach,
	.switch_to = NULL,
	.map = type1_map,
	.unmap = type1_unmap,
	.invalidate = NULL,
	.retire = type1_retire,
	.unmap_range = type1_unmap_range,
	.entries_left = type1_entries_left,
	.device_fd = type1_device_fd,
};
