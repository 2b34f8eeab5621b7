// SPDX-License-Identifier: BSD-2-Clause
/*
 * `dray doctor` on machines that are not this one: each test builds a tree of the files it looks at
 * and answers for VFIO.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <ftw.h>
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "doctor/report.h"
#include "doctor/world.h"

#define DISK    "0000:01:00.0"
#define PARTNER "0000:01:00.1"
#define NIC     "0000:02:00.0"
#define BRIDGE  "0000:00:1c.0"

static char root[64], sys[80], proc[80], dev[80];
static int container_answer, group_answer;
static char group_asked[PATH_MAX];

static int fake_container(const char *path)
{
	assert_int_equal(access(path, F_OK), 0);
	return container_answer;
}

static int fake_group(const char *container, const char *group)
{
	assert_int_equal(access(container, F_OK), 0);
	snprintf(group_asked, sizeof(group_asked), "%s", group);
	return group_answer;
}

static const struct doctor_world world = {
	.sys = sys,
	.proc = proc,
	.dev = dev,
	.probe_container = fake_container,
	.probe_group = fake_group,
};

static void parents(char *path)
{
	for (char *p = path + 1; (p = strchr(p, '/')); p++) {
		*p = '\0';
		mkdir(path, 0755);
		*p = '/';
	}
}

/* A file below the root with this text; a directory where the name ends in a slash. */
static void put(const char *text, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void put(const char *text, const char *fmt, ...)
{
	char path[PATH_MAX];
	size_t n = (size_t)snprintf(path, sizeof(path), "%s/", root);
	va_list ap;
	FILE *f;

	va_start(ap, fmt);
	vsnprintf(path + n, sizeof(path) - n, fmt, ap);
	va_end(ap);
	parents(path);
	if (path[strlen(path) - 1] == '/')
		return;
	f = fopen(path, "w");
	assert_non_null(f);
	fputs(text, f);
	fclose(f);
}

static void put_link(const char *target, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));
static void put_link(const char *target, const char *fmt, ...)
{
	char path[PATH_MAX];
	size_t n = (size_t)snprintf(path, sizeof(path), "%s/", root);
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(path + n, sizeof(path) - n, fmt, ap);
	va_end(ap);
	parents(path);
	unlink(path);
	assert_int_equal(symlink(target, path), 0);
}

static void put_driver(const char *address, const char *driver)
{
	char target[128];

	snprintf(target, sizeof(target), "../../../bus/pci/drivers/%s", driver);
	put_link(target, "sys/bus/pci/devices/%s/driver", address);
}

/* @group < 0: no IOMMU in front of it. */
static void put_device(const char *address, const char *class, const char *driver, int group)
{
	char target[128];

	put("0x8086\n", "sys/bus/pci/devices/%s/vendor", address);
	put("0x0a54\n", "sys/bus/pci/devices/%s/device", address);
	put(class, "sys/bus/pci/devices/%s/class", address);
	if (driver)
		put_driver(address, driver);
	if (group < 0)
		return;
	snprintf(target, sizeof(target), "../../../kernel/iommu_groups/%d", group);
	put_link(target, "sys/bus/pci/devices/%s/iommu_group", address);
	put("", "sys/kernel/iommu_groups/%d/devices/%s", group, address);
}

#define NVME_CLASS     "0x010802\n"
#define ETHERNET_CLASS "0x020000\n"
#define BRIDGE_CLASS   "0x060400\n"

/* A machine where all is well: a disk bound to vfio-pci behind its port, a free network adapter. */
static int good_machine(void **state)
{
	const char *tmp = getenv("TMPDIR");

	(void)state;
	snprintf(root, sizeof(root), "%.30s/doctor-XXXXXX", tmp ? tmp : "/tmp");
	assert_non_null(mkdtemp(root));
	snprintf(sys, sizeof(sys), "%s/sys", root);
	snprintf(proc, sizeof(proc), "%s/proc", root);
	snprintf(dev, sizeof(dev), "%s/dev", root);
	container_answer = group_answer = 0;
	group_asked[0] = '\0';

	put("6.12.3-amd64\n", "proc/sys/kernel/osrelease");
	put("BOOT_IMAGE=/vmlinuz quiet\n", "proc/cmdline");
	put("processor\t: 0\nvendor_id\t: GenuineIntel\nflags\t\t: fpu vmx sse2\n\n",
	    "proc/cpuinfo");
	put("MemTotal: 1 kB\nHugePages_Total:       8\nHugePages_Free:        5\n"
	    "Hugepagesize:       2048 kB\n",
	    "proc/meminfo");
	put("Name:\tdray\nCapEff:\t0000000000000000\n", "proc/self/status");
	put("Limit                     Soft Limit           Hard Limit           Units     \n"
	    "Max locked memory         unlimited            unlimited            bytes     \n",
	    "proc/self/limits");
	put("/dev/sda1 / ext4 rw 0 0\n", "proc/self/mounts");
	put("Filename\tType\n", "proc/swaps");
	put("", "dev/vfio/vfio");
	put("", "dev/vfio/7");
	put("", "sys/module/vfio/");
	put("65535\n", "sys/module/vfio_iommu_type1/parameters/dma_entry_limit");
	put("N\n", "sys/module/vfio_iommu_type1/parameters/allow_unsafe_interrupts");
	put("always [madvise] never\n", "sys/kernel/mm/transparent_hugepage/enabled");
	put("", "sys/bus/pci/drivers/vfio-pci/");
	put("", "sys/class/iommu/dmar0/");
	put_device(BRIDGE, BRIDGE_CLASS, "pcieport", 7);
	put_device(DISK, NVME_CLASS, "vfio-pci", 7);
	put_device(NIC, ETHERNET_CLASS, "e1000e", 9);
	return 0;
}

static int remove_one(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
	(void)st;
	(void)flag;
	(void)ftw;
	return remove(path);
}

static int remove_machine(void **state)
{
	(void)state;
	return nftw(root, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static struct doctor_report examine(void)
{
	struct doctor_report r = {0};

	doctor_host(&world, &r);
	doctor_devices(&world, &r);
	assert_false(r.out_of_memory);
	return r;
}

static const struct doctor_line *line(const struct doctor_report *r, const char *id)
{
	for (size_t i = 0; i < r->n_lines; i++)
		if (!strcmp(r->lines[i].id, id))
			return &r->lines[i];
	fail_msg("the report has no line '%s'", id);
	return NULL;
}

static const struct doctor_device *device(const struct doctor_report *r, const char *address)
{
	for (size_t i = 0; i < r->n_devices; i++)
		if (!strcmp(r->devices[i].address, address))
			return &r->devices[i];
	fail_msg("the report has no device %s", address);
	return NULL;
}

static void assert_line(const struct doctor_report *r, const char *id, enum doctor_state state,
			const char *fact, const char *fix)
{
	const struct doctor_line *l = line(r, id);

	if (l->state != state || !strstr(l->fact, fact) ||
	    (fix ? !l->fix || !strstr(l->fix, fix) : l->fix != NULL))
		fail_msg("line '%s' is %s, '%s', fix '%s'; wanted %s, '%s', fix '%s'", id,
			 doctor_state_name(l->state), l->fact, l->fix ? l->fix : "(none)",
			 doctor_state_name(state), fact, fix ? fix : "(none)");
}

static void all_good(void **state)
{
	struct doctor_report r = examine();

	(void)state;
	assert_true(r.ready);
	for (size_t i = 0; i < r.n_lines; i++)
		if (r.lines[i].state == DOCTOR_BAD)
			fail_msg("a good machine is told: %s", r.lines[i].fact);
	assert_line(&r, "iommu", DOCTOR_GOOD, "dmar0, 2 groups", NULL);
	assert_line(&r, "kernel", DOCTOR_GOOD, "6.12.3", NULL);
	assert_line(&r, "entries", DOCTOR_GOOD, "65535", NULL);
	assert_line(&r, "hugepages", DOCTOR_INFO, "8 of 2048 kB, 5 free", NULL);
	assert_line(&r, "devices", DOCTOR_GOOD, "1 usable", NULL);
	/* The one that works comes first; a bridge is no device. */
	assert_int_equal(r.n_devices, 2);
	assert_string_equal(r.devices[0].address, DISK);
	assert_int_equal(r.devices[0].use, DOCTOR_WORKS);
	assert_int_equal(r.devices[0].vendor, 0x8086);
	assert_int_equal(r.devices[0].class, 0x010802);
	assert_non_null(strstr(group_asked, "/dev/vfio/7"));
	assert_int_equal(device(&r, NIC)->use, DOCTOR_UNBOUND);
	doctor_report_free(&r);
}

static void no_iommu(void **state)
{
	struct doctor_report r;

	(void)state;
	assert_int_equal(remove_machine(NULL), 0);
	put("vendor_id\t: GenuineIntel\nflags\t\t: vmx\n", "proc/cpuinfo");
	put("quiet\n", "proc/cmdline");
	put_device(DISK, NVME_CLASS, "nvme", -1);

	r = examine();
	assert_false(r.ready);
	assert_line(&r, "iommu", DOCTOR_BAD, "lacks intel_iommu=on", "update-grub");
	assert_line(&r, "modules", DOCTOR_BAD, "vfio vfio_iommu_type1 vfio-pci", "modprobe");
	assert_int_equal(device(&r, DISK)->use, DOCTOR_NO_GROUP);
	assert_null(device(&r, DISK)->line.fix);
	doctor_report_free(&r);

	/* With the word on the command line, what is left is the firmware. */
	put("quiet intel_iommu=on\n", "proc/cmdline");
	r = examine();
	assert_line(&r, "iommu", DOCTOR_BAD, "VT-d", "--firmware-setup");
	doctor_report_free(&r);

	put("amd_iommu=off\n", "proc/cmdline");
	put("vendor_id\t: AuthenticAMD\nflags\t\t: svm\n", "proc/cpuinfo");
	r = examine();
	assert_line(&r, "iommu", DOCTOR_BAD, "amd_iommu=off", "amd_iommu=off");
	doctor_report_free(&r);

	put("quiet\n", "proc/cmdline");
	put("vendor_id\t: AuthenticAMD\nflags\t\t: svm hypervisor\n", "proc/cpuinfo");
	r = examine();
	assert_line(&r, "iommu", DOCTOR_BAD, "virtual machine", "-device intel-iommu");
	doctor_report_free(&r);
}

static void not_bound(void **state)
{
	const struct doctor_device *d;
	struct doctor_report r;

	(void)state;
	put_driver(DISK, "nvme");
	r = examine();
	d = device(&r, DISK);
	assert_false(r.ready);
	assert_int_equal(d->use, DOCTOR_UNBOUND);
	assert_int_equal(d->line.state, DOCTOR_INFO);
	/* The command names the device, takes it from its driver, and leaves the bridge alone. */
	assert_line(&r, "devices", DOCTOR_BAD, DISK, "for d in " DISK ";");
	assert_non_null(strstr(d->line.fix, "driver/unbind"));
	assert_null(strstr(d->line.fix, BRIDGE));
	assert_string_equal(group_asked, "");
	doctor_report_free(&r);
}

static void in_use(void **state)
{
	struct doctor_report r;

	(void)state;
	put_driver(DISK, "nvme");
	put("", "sys/bus/pci/devices/" DISK "/nvme/nvme0/");
	put("/dev/nvme0n1p2 / ext4 rw 0 0\n", "proc/self/mounts");
	put_link("../../../devices/" NIC, "sys/class/net/eth0/device");
	put("up\n", "sys/class/net/eth0/operstate");
	r = examine();
	assert_false(r.ready);
	assert_int_equal(device(&r, DISK)->use, DOCTOR_IN_USE);
	assert_int_equal(device(&r, NIC)->use, DOCTOR_IN_USE);
	assert_line(&r, "devices", DOCTOR_BAD, "none can be bound", NULL);
	assert_null(device(&r, DISK)->line.fix);
	doctor_report_free(&r);

	/* Not mounted itself, but a logical volume stands on it. */
	put("/dev/mapper/root / ext4 rw 0 0\n", "proc/self/mounts");
	put("", "sys/class/block/nvme0n1p2/holders/dm-0");
	put("down\n", "sys/class/net/eth0/operstate");
	r = examine();
	assert_int_equal(device(&r, DISK)->use, DOCTOR_IN_USE);
	assert_int_equal(device(&r, NIC)->use, DOCTOR_UNBOUND);
	doctor_report_free(&r);

	/* Another controller's disk says nothing about this one. */
	assert_int_equal(
	    unlink(strcat(strcpy(group_asked, sys), "/class/block/nvme0n1p2/holders/dm-0")), 0);
	put("/dev/nvme01n1p2 / ext4 rw 0 0\n", "proc/self/mounts");
	r = examine();
	assert_int_equal(device(&r, DISK)->use, DOCTOR_UNBOUND);
	doctor_report_free(&r);
}

static void group_not_viable(void **state)
{
	const struct doctor_device *d;
	struct doctor_report r;

	(void)state;
	put_device(PARTNER, "0x0c0330\n", "xhci_hcd", 7);
	r = examine();
	d = device(&r, DISK);
	assert_false(r.ready);
	assert_int_equal(d->use, DOCTOR_NOT_VIABLE);
	assert_int_equal(d->line.state, DOCTOR_BAD);
	assert_int_equal(d->n_foreign, 1);
	assert_string_equal(d->foreign[0], PARTNER " (xhci_hcd)");
	assert_non_null(strstr(d->line.fact, PARTNER));
	assert_non_null(strstr(d->line.fix, "for d in " PARTNER ";"));
	doctor_report_free(&r);

	/* No driver at all leaves the group viable. */
	assert_int_equal(
	    unlink(strcat(strcpy(group_asked, sys), "/bus/pci/devices/" PARTNER "/driver")), 0);
	r = examine();
	assert_true(r.ready);
	doctor_report_free(&r);

	/* VFIO sees a member that sysfs does not explain. */
	group_answer = -EXDEV;
	r = examine();
	assert_int_equal(device(&r, DISK)->use, DOCTOR_NOT_VIABLE);
	assert_false(r.ready);
	doctor_report_free(&r);
}

static void low_memlock(void **state)
{
	struct doctor_report r;

	(void)state;
	put("Max locked memory         8388608              8388608              bytes     \n",
	    "proc/self/limits");
	r = examine();
	assert_line(&r, "memlock", DOCTOR_BAD, "8192 kB", "--memlock=unlimited");
	/* It limits, and forbids nothing. */
	assert_true(r.ready);
	doctor_report_free(&r);

	put("CapEff:\t0000000000004000\n", "proc/self/status");
	r = examine();
	assert_line(&r, "memlock", DOCTOR_GOOD, "does not hold for you", NULL);
	doctor_report_free(&r);
}

static void group_refused(void **state)
{
	static const struct {
		int answer;
		enum doctor_use use;
		const char *fix;
		bool ready;
	} cases[] = {
		{-EBUSY, DOCTOR_TAKEN, NULL, true},
		{-EACCES, DOCTOR_REFUSED, "chown", false},
		{-EPERM, DOCTOR_REFUSED, "allow_unsafe_interrupts", false},
		{-ENODEV, DOCTOR_REFUSED, "modprobe", false},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct doctor_report r;
		const struct doctor_device *d;

		group_answer = cases[i].answer;
		r = examine();
		d = device(&r, DISK);
		assert_int_equal(r.ready, cases[i].ready);
		assert_int_equal(d->use, cases[i].use);
		if (cases[i].fix)
			assert_non_null(strstr(d->line.fix, cases[i].fix));
		else
			assert_null(d->line.fix);
		doctor_report_free(&r);
	}
}

static void container_refused(void **state)
{
	struct doctor_report r;

	(void)state;
	container_answer = -EACCES;
	r = examine();
	assert_line(&r, "container", DOCTOR_BAD, "Permission denied", "chmod 0666");
	doctor_report_free(&r);

	container_answer = -ENOTSUP;
	r = examine();
	assert_line(&r, "container", DOCTOR_BAD, "does not offer type1", "modprobe");
	doctor_report_free(&r);
}

static void old_kernel_and_few_entries(void **state)
{
	struct doctor_report r;

	(void)state;
	put("6.1.0-28-amd64\n", "proc/sys/kernel/osrelease");
	put("1000\n", "sys/module/vfio_iommu_type1/parameters/dma_entry_limit");
	r = examine();
	assert_line(&r, "kernel", DOCTOR_INFO, "before 6.2", NULL);
	assert_line(&r, "entries", DOCTOR_BAD, "1000 only", "echo 65535");
	doctor_report_free(&r);
}

static int costs_answer[2];
static char costs_asked[64];

static int fake_costs(const char *device, struct doctor_costs *ret_costs)
{
	if (device)
		snprintf(costs_asked, sizeof(costs_asked), "%s", device);
	if (costs_answer[device != NULL])
		return costs_answer[device != NULL];
	*ret_costs = (struct doctor_costs){
		.backend = device ? "type1" : "sim", .model = "real", .slot_ns = 60,
		.copy_ns = { 110, 999, 1000, 12345, 7654321 },
		.map_ns = { 1300, 1600, 2400, 5900, 19700 },
		.lazy_map_ns = { 160, 400, 1300, 5400, 19400 },
		.copy_up_to = 49 << 10, .copy_up_to_once = 2 << 20, .lazy_copy_up_to = 9728,
	};
	return 0;
}

static struct doctor_report examine_costs(void)
{
	struct doctor_world asking = world;
	struct doctor_report r = examine();

	asking.probe_costs = fake_costs;
	costs_asked[0] = '\0';
	doctor_costs(&asking, &r);
	assert_false(r.out_of_memory);
	return r;
}

/* The software IOMMU is always asked; type1 through a device that works, or it is said why not. */
static void costs(void **state)
{
	struct doctor_report r;

	(void)state;
	costs_answer[0] = costs_answer[1] = 0;
	r = examine_costs();
	assert_int_equal(r.n_costs, 2);
	assert_string_equal(r.costs[0].backend, "sim");
	assert_string_equal(r.costs[1].backend, "type1");
	assert_string_equal(costs_asked, DISK);
	assert_line(&r, "costs_sim", DOCTOR_INFO, "110 ns, 999 ns, 1 us, 12.3 us, 7.65 ms", NULL);
	assert_line(&r, "costs_type1", DOCTOR_INFO, "lazily 160 ns, 400 ns, 1.3 us", NULL);
	assert_line(&r, "ways_type1", DOCTOR_INFO, "up to 49K instead of a strict map (to the "
		    "device only: 2048K with gaps), up to 9.5K instead of a lazy one (no size)",
		    NULL);
	doctor_report_free(&r);

	costs_answer[1] = -EBUSY;
	r = examine_costs();
	assert_int_equal(r.n_costs, 1);
	assert_line(&r, "costs_type1", DOCTOR_INFO, "not measured, device " DISK, NULL);
	doctor_report_free(&r);

	costs_answer[0] = -ENOMEM;
	group_answer = -EBUSY; /* somebody else works with it */
	r = examine_costs();
	assert_int_equal(r.n_costs, 0);
	assert_string_equal(costs_asked, "");
	assert_line(&r, "costs_sim", DOCTOR_INFO, "not measured", NULL);
	assert_line(&r, "costs_type1", DOCTOR_INFO, "no device works", NULL);
	doctor_report_free(&r);
}

int main(void)
{
#define ON_GOOD_MACHINE(test) cmocka_unit_test_setup_teardown(test, good_machine, remove_machine)
	static const struct CMUnitTest tests[] = {
	    ON_GOOD_MACHINE(all_good),
	    ON_GOOD_MACHINE(no_iommu),
	    ON_GOOD_MACHINE(not_bound),
	    ON_GOOD_MACHINE(in_use),
	    ON_GOOD_MACHINE(group_not_viable),
	    ON_GOOD_MACHINE(low_memlock),
	    ON_GOOD_MACHINE(group_refused),
	    ON_GOOD_MACHINE(container_refused),
	    ON_GOOD_MACHINE(old_kernel_and_few_entries),
	    ON_GOOD_MACHINE(costs),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
