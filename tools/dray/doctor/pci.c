// SPDX-License-Identifier: BSD-2-Clause
/*
 * The PCI devices a userspace driver may want: NVMe controllers, network adapters, and whatever is
 * bound to VFIO already.
 *
 * 1. A device can be used when it is bound to vfio-pci, when its whole IOMMU group is viable, and
 *    when its group can be opened and given an IOMMU. The last is not guessed: the group is really
 *    joined to a container and let go again, which disturbs nobody, since a group that is open
 *    elsewhere cannot be opened.
 * 2. A group is viable while no member belongs to a driver other than VFIO's. Bridges do not count:
 *    their driver does no DMA of its own; neither does pci-stub.
 * 3. A device that this system lives on — a disk with a mounted file system, swap or something
 * built on it, a network link that is up — is never offered for binding, because binding takes it
 * away.
 */
#define _GNU_SOURCE
#include "doctor/report.h"
#include "doctor/world.h"

#include <errno.h>
#include <pci/pci.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CLASS_NVME    0x0108u
#define CLASS_NETWORK 0x02u

/* Does the driver serve VFIO? Vendors' variants have it in their name, as mlx5_vfio_pci. */
static bool is_vfio(const char *driver)
{
	return strstr(driver, "vfio");
}

/* A member with this driver leaves its group viable. */
static bool is_harmless(const char *driver)
{
	return !*driver || is_vfio(driver) || !strcmp(driver, "pcieport") ||
	       !strcmp(driver, "pci-stub");
}

static bool is_wanted(unsigned class, const char *driver)
{
	return class >> 8 == CLASS_NVME || class >> 16 == CLASS_NETWORK || is_vfio(driver);
}

/* Does @file below /proc have a line that begins with @start? */
static bool has_line(const struct doctor_world *w, const char *file, const char *start)
{
	char *path, *line = NULL;
	size_t room = 0;
	bool found = false;
	FILE *f;

	if (asprintf(&path, "%s/%s", w->proc, file) < 0)
		return false;
	f = fopen(path, "re");
	free(path);
	while (f && !found && getline(&line, &room, f) > 0)
		found = !strncmp(line, start, strlen(start));
	free(line);
	if (f)
		fclose(f);
	return found;
}

/* Something is mounted from, swaps to, or is built on a block device of this controller. */
static bool disk_in_use(const struct doctor_world *w, const char *address)
{
	char **ctrls, **blocks, **holders, start[280];
	size_t n_ctrls = doctor_list(&ctrls, w->sys, "bus/pci/devices/%s/nvme", address);
	size_t n_blocks = doctor_list(&blocks, w->sys, "class/block");
	bool used = false;

	for (size_t i = 0; i < n_ctrls; i++) {
		/* nvme0n1 and its partitions; /dev/nvme0 itself is only the controller. */
		snprintf(start, sizeof(start), "/dev/%sn", ctrls[i]);
		used = used || has_line(w, "self/mounts", start) || has_line(w, "swaps", start);
		for (size_t k = 0; !used && k < n_blocks; k++) {
			if (strncmp(blocks[k], start + 5, strlen(start + 5)))
				continue;
			size_t n =
			    doctor_list(&holders, w->sys, "class/block/%s/holders", blocks[k]);

			used = n > 0;
			doctor_free_names(holders, n);
		}
	}
	doctor_free_names(ctrls, n_ctrls);
	doctor_free_names(blocks, n_blocks);
	return used;
}

/* Where a network interface of this function, or of the virtio device below it, is up. */
static bool link_in_use(const struct doctor_world *w, const char *address)
{
	char **links, device[64], state[32];
	size_t n = doctor_list(&links, w->sys, "class/net");
	bool used = false;

	for (size_t i = 0; i < n && !used; i++) {
		if (!doctor_link(device, sizeof(device), w->sys, "class/net/%s/device", links[i]))
			continue;
		used =
		    (!strcmp(device, address) ||
		     doctor_exists(w->sys, "bus/pci/devices/%s/%s", address, device)) &&
		    doctor_read(state, sizeof(state), w->sys, "class/net/%s/operstate", links[i]) &&
		    !strcmp(state, "up");
	}
	doctor_free_names(links, n);
	return used;
}

static void driver_of(const struct doctor_world *w, const char *address, char *driver, size_t size)
{
	if (!doctor_link(driver, size, w->sys, "bus/pci/devices/%s/driver", address))
		*driver = '\0';
}

static bool is_bridge(const struct doctor_world *w, const char *address)
{
	return doctor_number(0, w->sys, "bus/pci/devices/%s/class", address) >> 16 == 0x06;
}

/* "0000:01:00.1 (nvme)" for every member that keeps the group from being viable. */
static void find_foreign(const struct doctor_world *w, struct doctor_report *r,
			 struct doctor_device *d)
{
	char **members, driver[64];
	size_t n = doctor_list(&members, w->sys, "kernel/iommu_groups/%d/devices", d->group);

	d->foreign = calloc(n + 1, sizeof(*d->foreign));
	for (size_t i = 0; d->foreign && i < n; i++) {
		char *text;

		driver_of(w, members[i], driver, sizeof(driver));
		if (!strcmp(members[i], d->address) || is_harmless(driver))
			continue;
		if (asprintf(&text, "%s (%s)", members[i], driver) < 0)
			break;
		d->foreign[d->n_foreign++] = text;
	}
	if (!d->foreign)
		r->out_of_memory = true;
	doctor_free_names(members, n);
}

/*
 * The command that binds the device and every other member of its group to vfio-pci; with
 * @others_only, just the foreign ones. NULL without memory.
 */
static char *bind_command(const struct doctor_world *w, const struct doctor_device *d,
			  bool others_only)
{
	char **members = NULL, driver[64], *list = NULL, *command = NULL;
	size_t n = doctor_list(&members, w->sys, "kernel/iommu_groups/%d/devices", d->group);
	bool unbind = false;

	for (size_t i = 0; i < n; i++) {
		char *more;

		driver_of(w, members[i], driver, sizeof(driver));
		if (is_vfio(driver) || is_bridge(w, members[i]) ||
		    (others_only && is_harmless(driver)))
			continue;
		unbind = unbind || *driver;
		if (asprintf(&more, "%s%s%s", list ? list : "", list ? " " : "", members[i]) < 0)
			more = NULL;
		free(list);
		list = more;
	}
	if (list &&
	    asprintf(&command,
		     "for d in %s; do p=/sys/bus/pci/devices/$d; "
		     "echo vfio-pci > $p/driver_override; %s"
		     "echo $d > /sys/bus/pci/drivers_probe; done",
		     list, unbind ? "[ ! -e $p/driver ] || echo $d > $p/driver/unbind; " : "") < 0)
		command = NULL;
	free(list);
	doctor_free_names(members, n);
	return command;
}

/* Is some member of the group one that the system lives on? */
static bool group_in_use(const struct doctor_world *w, const struct doctor_device *d)
{
	char **members;
	size_t n = doctor_list(&members, w->sys, "kernel/iommu_groups/%d/devices", d->group);
	bool used = disk_in_use(w, d->address) || link_in_use(w, d->address);

	for (size_t i = 0; i < n && !used; i++)
		used = disk_in_use(w, members[i]) || link_in_use(w, members[i]);
	doctor_free_names(members, n);
	return used;
}

/* Everything is bound as it should be: does VFIO agree? */
static enum doctor_use probe(const struct doctor_world *w, const struct doctor_device *d,
			     int *ret_err)
{
	char *container, *group;
	int err = -ENOMEM;

	if (asprintf(&container, "%s/vfio/vfio", w->dev) < 0)
		container = NULL;
	if (asprintf(&group, "%s/vfio/%d", w->dev, d->group) < 0)
		group = NULL;
	if (container && group)
		err = w->probe_group(container, group);
	free(container);
	free(group);
	*ret_err = err;
	return !err            ? DOCTOR_WORKS
	       : err == -EBUSY ? DOCTOR_TAKEN
	       : err == -EXDEV ? DOCTOR_NOT_VIABLE
			       : DOCTOR_REFUSED;
}

static void judge(const struct doctor_world *w, struct doctor_device *d, int *ret_err)
{
	*ret_err = 0;
	if (d->group < 0)
		d->use = DOCTOR_NO_GROUP;
	else if (!is_vfio(d->driver))
		d->use = group_in_use(w, d) ? DOCTOR_IN_USE : DOCTOR_UNBOUND;
	else if (d->n_foreign)
		d->use = DOCTOR_NOT_VIABLE;
	else
		d->use = probe(w, d, ret_err);
}

/* "a (x), b (y)", at most three. */
static void foreign_text(const struct doctor_device *d, char *text, size_t size)
{
	size_t used = 0;

	snprintf(text, size, "a member that sysfs does not show");
	for (size_t i = 0; i < d->n_foreign && i < 3 && used < size; i++)
		used += (size_t)snprintf(text + used, size - used, "%s%s%s", i ? ", " : "",
					 d->foreign[i], i == 2 && d->n_foreign > 3 ? ", …" : "");
}

/* What the device's line says, from what was found. */
static void tell(const struct doctor_world *w, struct doctor_report *r, struct doctor_device *d,
		 int err)
{
	char foreign[192], what[512], fix[128] = "";
	enum doctor_state state = DOCTOR_BAD;
	char *command = NULL;

	switch (d->use) {
	case DOCTOR_WORKS:
		state = DOCTOR_GOOD;
		snprintf(what, sizeof(what), "%s, group %d: works", d->driver, d->group);
		break;
	case DOCTOR_TAKEN:
		state = DOCTOR_GOOD;
		snprintf(what, sizeof(what), "%s, group %d: works; another program has it open",
			 d->driver, d->group);
		break;
	case DOCTOR_UNBOUND:
		state = DOCTOR_INFO;
		snprintf(what, sizeof(what), "%s, group %d: can be bound to vfio-pci",
			 *d->driver ? d->driver : "no driver", d->group);
		command = bind_command(w, d, false);
		break;
	case DOCTOR_IN_USE:
		state = DOCTOR_INFO;
		snprintf(what, sizeof(what), "%s, group %d: this system is using it",
			 *d->driver ? d->driver : "no driver", d->group);
		break;
	case DOCTOR_NO_GROUP:
		state = DOCTOR_INFO;
		snprintf(what, sizeof(what), "%s: no IOMMU is in front of it",
			 *d->driver ? d->driver : "no driver");
		break;
	case DOCTOR_NOT_VIABLE:
		foreign_text(d, foreign, sizeof(foreign));
		snprintf(what, sizeof(what), "%s, but group %d also has %s", d->driver, d->group,
			 foreign);
		command = group_in_use(w, d) ? NULL : bind_command(w, d, true);
		break;
	case DOCTOR_REFUSED:
		if (err == -EPERM) {
			snprintf(what, sizeof(what), "%s, but group %d has no interrupt remapping",
				 d->driver, d->group);
			snprintf(fix, sizeof(fix),
				 "echo 1 > /sys/module/vfio_iommu_type1/parameters/"
				 "allow_unsafe_interrupts");
		} else {
			snprintf(what, sizeof(what), "%s, but %s/vfio/%d cannot be used: %s",
				 d->driver, w->dev, d->group, strerror(-err));
			if (err == -EACCES)
				snprintf(fix, sizeof(fix), "chown \"$USER\" %s/vfio/%d", w->dev,
					 d->group);
			else
				snprintf(fix, sizeof(fix),
					 "modprobe -a vfio vfio_iommu_type1 vfio-pci");
		}
		break;
	}
	d->line.id = "device";
	d->line.state = state;
	d->line.fix = command ? command : *fix ? strdup(fix) : NULL;
	if (asprintf(&d->line.fact, "%s %s: %s", d->address, d->name, what) < 0) {
		d->line.fact = NULL;
		r->out_of_memory = true;
	}
}

static void examine(const struct doctor_world *w, struct doctor_report *r, struct pci_access *names,
		    const char *address)
{
	unsigned class = (unsigned)doctor_number(0, w->sys, "bus/pci/devices/%s/class", address);
	struct doctor_device *d;
	char driver[64], group[32];
	int err;

	driver_of(w, address, driver, sizeof(driver));
	if (!is_wanted(class, driver))
		return;
	d = doctor_add_device(r);
	if (!d)
		return;
	snprintf(d->address, sizeof(d->address), "%s", address);
	snprintf(d->driver, sizeof(d->driver), "%s", driver);
	d->class = class;
	d->vendor = (unsigned)doctor_number(0, w->sys, "bus/pci/devices/%s/vendor", address);
	d->device = (unsigned)doctor_number(0, w->sys, "bus/pci/devices/%s/device", address);
	if (!pci_lookup_name(names, d->name, sizeof(d->name), PCI_LOOKUP_VENDOR | PCI_LOOKUP_DEVICE,
			     d->vendor, d->device))
		snprintf(d->name, sizeof(d->name), "%04x:%04x", d->vendor, d->device);
	if (doctor_link(group, sizeof(group), w->sys, "bus/pci/devices/%s/iommu_group", address)) {
		d->group = atoi(group);
		find_foreign(w, r, d);
	}
	judge(w, d, &err);
	tell(w, r, d, err);
}

/* Usable ones first, then by address. */
static int by_use(const void *a, const void *b)
{
	const struct doctor_device *x = a, *y = b;
	int order = (x->line.state != DOCTOR_GOOD) - (y->line.state != DOCTOR_GOOD);

	return order ? order : strcmp(x->address, y->address);
}

/* The verdict on all of them, and the one command that brings the first device. */
static void sum_up(struct doctor_report *r)
{
	const struct doctor_device *candidate = NULL;
	size_t good = 0, bound = 0;

	for (size_t i = 0; i < r->n_devices; i++) {
		const struct doctor_device *d = &r->devices[i];

		good += d->line.state == DOCTOR_GOOD;
		bound += is_vfio(d->driver);
		/* A disk before a network adapter: losing it by mistake does less harm. */
		if (d->use == DOCTOR_UNBOUND &&
		    (!candidate ||
		     (candidate->class >> 8 != CLASS_NVME && d->class >> 8 == CLASS_NVME)))
			candidate = d;
	}
	r->ready = good;
	if (good)
		doctor_add(r, "devices", DOCTOR_GOOD, NULL, "devices: %zu usable by dray", good);
	else if (!r->n_devices)
		doctor_add(r, "devices", DOCTOR_BAD, "dray nvme copy --sim disk.img FILE",
			   "devices: no NVMe controller and no network adapter on the PCI bus; the "
			   "software IOMMU needs none");
	else if (bound)
		doctor_add(r, "devices", DOCTOR_BAD, NULL,
			   "devices: what is bound to vfio-pci cannot be used, see below");
	else if (candidate)
		doctor_add(r, "devices", DOCTOR_BAD, candidate->line.fix,
			   "devices: none is bound to vfio-pci; %s can be", candidate->address);
	else
		doctor_add(r, "devices", DOCTOR_BAD, NULL,
			   "devices: none can be bound to vfio-pci, see below");
}

/*
 * libpci calls these without asking whether they are there. pci_init() would set its own, but wants
 * a bus to read and dies where it finds none.
 */
static void quiet(char *msg, ...)
{
	(void)msg;
}

static void __attribute__((noreturn)) give_up(char *msg, ...)
{
	va_list ap;

	va_start(ap, msg);
	vfprintf(stderr, msg, ap);
	va_end(ap);
	exit(1);
}

/* Names alone: the bus is read elsewhere, so that a test can bring its own. */
static struct pci_access *open_names(void)
{
	struct pci_access *names = pci_alloc();

	names->error = give_up;
	names->warning = quiet;
	names->debug = quiet;
	return names;
}

void doctor_devices(const struct doctor_world *w, struct doctor_report *r)
{
	char **addresses;
	size_t n = doctor_list(&addresses, w->sys, "bus/pci/devices");
	struct pci_access *names = open_names();

	for (size_t i = 0; i < n; i++)
		examine(w, r, names, addresses[i]);
	pci_cleanup(names);
	doctor_free_names(addresses, n);
	if (r->n_devices)
		qsort(r->devices, r->n_devices, sizeof(*r->devices), by_use);
	sum_up(r);
}
