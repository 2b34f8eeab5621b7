/* SPDX-License-Identifier: BSD-2-Clause */
/* Where the doctor looks. A test gives it a tree of files and its own answers instead. */
#ifndef DOCTOR_WORLD_H
#define DOCTOR_WORLD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct doctor_costs;

struct doctor_world {
	const char *sys, *proc, *dev; /* "/sys", "/proc", "/dev" */
	/*
	 * Does the VFIO container at @path offer type1? 0; -ENOTSUP it does not; -errno it cannot
	 * be opened.
	 */
	int (*probe_container)(const char *path);
	/*
	 * Join the group at @group to a fresh container and set its IOMMU, as dray does, then let
	 * go of both. 0; -EBUSY open elsewhere; -EXDEV not viable; -EPERM the kernel refuses it for
	 * want of interrupt remapping; -errno.
	 */
	int (*probe_group)(const char *container, const char *group);
	/* doctor_measure() */
	int (*probe_costs)(const char *device, struct doctor_costs *ret_costs);
};

extern const struct doctor_world doctor_this_machine;

struct doctor_report;

/* The parts of a report. world_host.c and world_pci.c tell what each looks at. */
void doctor_host(const struct doctor_world *w, struct doctor_report *r);
void doctor_devices(const struct doctor_world *w, struct doctor_report *r);
/* After the devices: what copying and mapping cost here. */
void doctor_costs(const struct doctor_world *w, struct doctor_report *r);

/* The first line of a file below @root, without its newline; false: not there or empty. */
bool doctor_read(char *text, size_t size, const char *root, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));
/* Is there a file or directory? */
bool doctor_exists(const char *root, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Last part of where a symbolic link leads; false: there is none. */
bool doctor_link(char *text, size_t size, const char *root, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));
/* A whole number in C notation, decimal or hexadecimal; @otherwise when there is none. */
uint64_t doctor_number(uint64_t otherwise, const char *root, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
/*
 * Names in a directory, sorted, without those that begin with a dot. *ret_names from malloc(),
 * each name too; doctor_free_names() takes both. How many; 0 when there is no directory.
 */
size_t doctor_list(char ***ret_names, const char *root, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
void doctor_free_names(char **names, size_t n);

#endif
