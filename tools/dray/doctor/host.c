// SPDX-License-Identifier: BSD-2-Clause
/*
 * The machine itself: kernel, IOMMU, VFIO's modules and container, and the limits of each. What it
 * finds is said in the order in which one thing needs another, so the first cross is the one to
 * mend first.
 */
#define _GNU_SOURCE
#include "doctor/report.h"
#include "doctor/world.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A driver's queues and a few large transfers; below it the first real workload runs into it. */
#define MEMLOCK_ENOUGH ((uint64_t)64 << 20)

/* The kernel's own default; less was set by someone. */
#define ENTRIES_DEFAULT 65535

#define CAP_IPC_LOCK_BIT 14

#define GRUB_ADD(word)                                                                             \
	"sed -i 's/^GRUB_CMDLINE_LINUX=\"/&" word " /' /etc/default/grub && update-grub && reboot"
#define GRUB_REMOVE(word) "sed -i 's/ *" word "//' /etc/default/grub && update-grub && reboot"
#define FIRMWARE          "systemctl reboot --firmware-setup"

struct cpu {
	bool intel, amd, vmx, svm, hypervisor;
};

/* The rest of the "@name: rest" line of a file below /proc; false: no such line. */
static bool proc_value(const struct doctor_world *w, const char *file, const char *name,
		       char *value, size_t size)
{
	size_t len = strlen(name);
	char *line = NULL, *path;
	size_t room = 0;
	bool found = false;
	FILE *f;

	if (asprintf(&path, "%s/%s", w->proc, file) < 0)
		return false;
	f = fopen(path, "re");
	free(path);
	if (!f)
		return false;
	while (!found && getline(&line, &room, f) > 0) {
		const char *rest = line + len;

		if (strncmp(line, name, len) || !strchr("\t :", *rest))
			continue;
		rest += strspn(rest, "\t :");
		snprintf(value, size, "%.*s", (int)strcspn(rest, "\n"), rest);
		found = true;
	}
	free(line);
	fclose(f);
	return found;
}

/* Is @word one of the blank-separated words of @text? */
static bool has_word(const char *text, const char *word)
{
	size_t len = strlen(word);

	for (const char *at = text; (at = strstr(at, word)); at += len)
		if ((at == text || at[-1] == ' ') && (!at[len] || at[len] == ' '))
			return true;
	return false;
}

static struct cpu read_cpu(const struct doctor_world *w)
{
	char vendor[64] = "", flags[8192] = "";

	proc_value(w, "cpuinfo", "vendor_id", vendor, sizeof(vendor));
	proc_value(w, "cpuinfo", "flags", flags, sizeof(flags));
	return (struct cpu){
	    .intel = !strcmp(vendor, "GenuineIntel"),
	    .amd = !strcmp(vendor, "AuthenticAMD") || !strcmp(vendor, "HygonGenuine"),
	    .vmx = has_word(flags, "vmx"),
	    .svm = has_word(flags, "svm"),
	    .hypervisor = has_word(flags, "hypervisor"),
	};
}

static void kernel(const struct doctor_world *w, struct doctor_report *r)
{
	char release[128] = "";
	unsigned major = 0, minor = 0;

	doctor_read(release, sizeof(release), w->proc, "sys/kernel/osrelease");
	sscanf(release, "%u.%u", &major, &minor);
	if (major > 6 || (major == 6 && minor >= 2))
		doctor_add(r, "kernel", DOCTOR_GOOD, NULL,
			   "Linux %s: pins for reading follow later writes (6.2 or newer)",
			   release);
	else
		doctor_add(
		    r, "kernel", DOCTOR_INFO, NULL,
		    "Linux %s: before 6.2 a pin for reading may keep a page the program no longer "
		    "writes to; dray writes to the page first",
		    *release ? release : "unknown");
}

static void cpu(const struct cpu *c, struct doctor_report *r)
{
	doctor_add(r, "cpu", DOCTOR_INFO, NULL, "CPU virtualisation: %s%s",
		   c->vmx   ? "VT-x"
		   : c->svm ? "AMD-V"
			    : "none seen (VFIO needs the IOMMU only)",
		   c->hypervisor ? "; this is a virtual machine" : "");
}

/* Why is there no IOMMU? The likeliest cause and its fix. */
static void no_iommu(const struct doctor_world *w, const struct cpu *c, struct doctor_report *r)
{
	char cmdline[4096] = "";

	doctor_read(cmdline, sizeof(cmdline), w->proc, "cmdline");
	if (has_word(cmdline, "intel_iommu=off"))
		doctor_add(r, "iommu", DOCTOR_BAD,
			   "sed -i 's/intel_iommu=off/intel_iommu=on/' "
			   "/etc/default/grub && update-grub && reboot",
			   "no IOMMU: the kernel command line says intel_iommu=off");
	else if (has_word(cmdline, "amd_iommu=off"))
		doctor_add(r, "iommu", DOCTOR_BAD, GRUB_REMOVE("amd_iommu=off"),
			   "no IOMMU: the kernel command line says amd_iommu=off");
	else if (has_word(cmdline, "iommu=off"))
		doctor_add(r, "iommu", DOCTOR_BAD, GRUB_REMOVE("\\biommu=off"),
			   "no IOMMU: the kernel command line says iommu=off");
	else if (c->hypervisor)
		doctor_add(
		    r, "iommu", DOCTOR_BAD,
		    "on the host: qemu-system-x86_64 -machine q35,kernel-irqchip=split -device "
		    "intel-iommu,intremap=on,caching-mode=on …, and here intel_iommu=on on the "
		    "kernel command line",
		    "no IOMMU: this virtual machine was given none");
	else if (c->intel && !has_word(cmdline, "intel_iommu=on"))
		doctor_add(r, "iommu", DOCTOR_BAD, GRUB_ADD("intel_iommu=on"),
			   "no IOMMU: the kernel command line lacks intel_iommu=on");
	else
		doctor_add(r, "iommu", DOCTOR_BAD, FIRMWARE,
			   "no IOMMU: switch %s on in the firmware's set-up",
			   c->intel ? "VT-d"
			   : c->amd ? "IOMMU (AMD-Vi)"
				    : "the IOMMU");
}

static void iommu(const struct doctor_world *w, const struct cpu *c, struct doctor_report *r)
{
	char **units, **groups, text[128] = "";
	size_t n = doctor_list(&units, w->sys, "class/iommu");
	size_t n_groups = doctor_list(&groups, w->sys, "kernel/iommu_groups");

	for (size_t i = 0; i < n && i < 3; i++) {
		size_t used = strlen(text);

		snprintf(text + used, sizeof(text) - used, "%s%s", i ? ", " : "", units[i]);
	}
	if (n_groups)
		doctor_add(r, "iommu", DOCTOR_GOOD, NULL, "IOMMU: %s%s, %zu group%s",
			   n ? text : "present", n > 3 ? ", …" : "", n_groups,
			   n_groups == 1 ? "" : "s");
	else
		no_iommu(w, c, r);
	doctor_free_names(units, n);
	doctor_free_names(groups, n_groups);
}

static bool modules(const struct doctor_world *w, struct doctor_report *r)
{
	bool core = doctor_exists(w->sys, "module/vfio") || doctor_exists(w->dev, "vfio/vfio");
	bool type1 = doctor_exists(w->sys, "module/vfio_iommu_type1");
	bool pci = doctor_exists(w->sys, "bus/pci/drivers/vfio-pci");

	if (core && type1 && pci) {
		doctor_add(r, "modules", DOCTOR_GOOD, NULL,
			   "modules: vfio, vfio_iommu_type1 and vfio-pci are loaded");
		return true;
	}
	doctor_add(r, "modules", DOCTOR_BAD, "modprobe -a vfio vfio_iommu_type1 vfio-pci",
		   "modules: not loaded:%s%s%s", core ? "" : " vfio",
		   type1 ? "" : " vfio_iommu_type1", pci ? "" : " vfio-pci");
	return false;
}

static void container(const struct doctor_world *w, struct doctor_report *r)
{
	char *path, fix[128];
	int err;

	if (!doctor_exists(w->dev, "vfio/vfio")) {
		doctor_add(r, "container", DOCTOR_BAD, "modprobe vfio",
			   "container: %s/vfio/vfio is not there", w->dev);
		return;
	}
	if (asprintf(&path, "%s/vfio/vfio", w->dev) < 0) {
		r->out_of_memory = true;
		return;
	}
	err = w->probe_container(path);
	if (!err) {
		doctor_add(r, "container", DOCTOR_GOOD, NULL,
			   "container: %s opens and offers type1", path);
	} else if (err == -ENOTSUP) {
		doctor_add(r, "container", DOCTOR_BAD, "modprobe vfio_iommu_type1",
			   "container: %s does not offer type1", path);
	} else {
		snprintf(fix, sizeof(fix), "chmod 0666 %s", path);
		doctor_add(r, "container", DOCTOR_BAD, fix, "container: %s cannot be opened: %s",
			   path, strerror(-err));
	}
	free(path);
}

static void entries(const struct doctor_world *w, struct doctor_report *r)
{
	uint64_t limit =
	    doctor_number(0, w->sys, "module/vfio_iommu_type1/parameters/dma_entry_limit");

	if (limit >= ENTRIES_DEFAULT)
		doctor_add(r, "entries", DOCTOR_GOOD, NULL,
			   "mappings of a container: %llu (dma_entry_limit)",
			   (unsigned long long)limit);
	else if (limit)
		doctor_add(r, "entries", DOCTOR_BAD,
			   "echo 65535 > /sys/module/vfio_iommu_type1/parameters/dma_entry_limit",
			   "mappings of a container: %llu only (dma_entry_limit)",
			   (unsigned long long)limit);
}

static void memlock(const struct doctor_world *w, struct doctor_report *r)
{
	char text[128] = "", caps[64] = "";
	bool exempt = proc_value(w, "self/status", "CapEff", caps, sizeof(caps)) &&
		      strtoull(caps, NULL, 16) >> CAP_IPC_LOCK_BIT & 1;
	bool known = proc_value(w, "self/limits", "Max locked memory", text, sizeof(text));
	uint64_t limit = strtoull(text, NULL, 10);

	if (!known)
		doctor_add(r, "memlock", DOCTOR_INFO, NULL, "locked memory: limit unknown");
	else if (!strncmp(text, "unlimited", 9))
		doctor_add(r, "memlock", DOCTOR_GOOD, NULL, "locked memory: no limit");
	else if (exempt)
		doctor_add(r, "memlock", DOCTOR_GOOD, NULL,
			   "locked memory: %llu kB, which does not hold for you (CAP_IPC_LOCK)",
			   (unsigned long long)limit >> 10);
	else if (limit >= MEMLOCK_ENOUGH)
		doctor_add(r, "memlock", DOCTOR_GOOD, NULL,
			   "locked memory: %llu MB may be mapped at once (RLIMIT_MEMLOCK)",
			   (unsigned long long)limit >> 20);
	else
		doctor_add(
		    r, "memlock", DOCTOR_BAD,
		    "sudo prlimit --pid $$ --memlock=unlimited:unlimited   (this shell; for good: "
		    "echo '* - memlock unlimited' > /etc/security/limits.d/dray.conf)",
		    "locked memory: only %llu kB may be mapped at once (RLIMIT_MEMLOCK)",
		    (unsigned long long)limit >> 10);
}

static void pages(const struct doctor_world *w, struct doctor_report *r)
{
	char total[64] = "0", unused[64] = "0", size[64] = "?", thp[128] = "absent";

	proc_value(w, "meminfo", "HugePages_Total", total, sizeof(total));
	proc_value(w, "meminfo", "HugePages_Free", unused, sizeof(unused));
	proc_value(w, "meminfo", "Hugepagesize", size, sizeof(size));
	doctor_add(r, "hugepages", DOCTOR_INFO, NULL,
		   "hugepages: %s of %s, %s free (dray needs none; they make larger IOMMU pages)",
		   total, size, unused);
	doctor_read(thp, sizeof(thp), w->sys, "kernel/mm/transparent_hugepage/enabled");
	doctor_add(r, "thp", DOCTOR_INFO, NULL, "transparent hugepages: %s", thp);
}

static void modes(const struct doctor_world *w, struct doctor_report *r)
{
	char flag[16];

	doctor_add(r, "iommufd", DOCTOR_INFO, NULL, "iommufd: %s (dray uses type1)",
		   doctor_exists(w->dev, "iommu") ? "present" : "absent");
	if (doctor_read(flag, sizeof(flag), w->sys,
			"module/vfio_iommu_type1/parameters/allow_unsafe_interrupts"))
		doctor_add(r, "unsafe_interrupts", DOCTOR_INFO, NULL, "unsafe interrupts: %s",
			   *flag == 'Y'
			       ? "allowed; a device may forge interrupts"
			       : "refused; groups without interrupt remapping cannot be used");
	if (doctor_read(flag, sizeof(flag), w->sys,
			"module/vfio/parameters/enable_unsafe_noiommu_mode"))
		doctor_add(r, "noiommu", DOCTOR_INFO, NULL, "no-IOMMU mode: %s",
			   *flag == 'Y' ? "on; devices bound without an IOMMU reach all memory"
					: "off");
}

void doctor_host(const struct doctor_world *w, struct doctor_report *r)
{
	struct cpu c = read_cpu(w);

	kernel(w, r);
	cpu(&c, r);
	iommu(w, &c, r);
	if (modules(w, r))
		container(w, r);
	entries(w, r);
	memlock(w, r);
	pages(w, r);
	modes(w, r);
}
