/* SPDX-License-Identifier: BSD-2-Clause */
/* What was found out: facts about the machine, facts about devices, and the verdict. */
#ifndef DOCTOR_REPORT_H
#define DOCTOR_REPORT_H

#include <stdbool.h>
#include <stddef.h>

#include "doctor/costs.h"

enum doctor_state {
	DOCTOR_GOOD,
	DOCTOR_BAD,  /* something does not work, or soon will not; there is a fix */
	DOCTOR_INFO, /* good to know */
};

/* One line. Strings are the report's; @fix is NULL, or a command that root runs. */
struct doctor_line {
	const char *id;
	enum doctor_state state;
	char *fact, *fix;
};

/* What stands between a device and dray; each but the first two is a reason why it cannot be used.
 */
enum doctor_use {
	DOCTOR_WORKS,    /* bound to vfio-pci, and an IOMMU was set for its group */
	DOCTOR_TAKEN,    /* the same, but another program has it open */
	DOCTOR_UNBOUND,  /* another driver has it, or none */
	DOCTOR_IN_USE,   /* unbound, and this system lives on it: a mounted disk, a live network */
	DOCTOR_NO_GROUP, /* no IOMMU is in front of it */
	DOCTOR_NOT_VIABLE, /* bound, but a member of its group belongs to another driver */
	DOCTOR_REFUSED,    /* bound, but its group cannot be opened or set */
};

struct doctor_device {
	char address[32];
	unsigned vendor, device, class;
	char name[160];
	char driver[64]; /* empty: none */
	int group;       /* -1: none */
	char **foreign; /* members of the group that keep it from being viable, with their driver */
	size_t n_foreign;
	enum doctor_use use;
	struct doctor_line line;
};

struct doctor_report {
	struct doctor_line *lines;
	size_t n_lines;
	struct doctor_device *devices; /* those that work first */
	size_t n_devices;
	struct doctor_costs costs[2]; /* of the backends that could be asked */
	size_t n_costs;
	bool ready; /* at least one device works */
	bool out_of_memory;
};

/* Appends a line. @fix may be NULL; @fact is formatted and copied, @fix copied. */
void doctor_add(struct doctor_report *r, const char *id, enum doctor_state state, const char *fix,
		const char *fmt, ...) __attribute__((format(printf, 5, 6)));

/* Room for one more device, zeroed; NULL without memory. */
struct doctor_device *doctor_add_device(struct doctor_report *r);

void doctor_report_free(struct doctor_report *r);

const char *doctor_state_name(enum doctor_state state);
const char *doctor_use_name(enum doctor_use use);

/* The report on stdout. Text is one screen; JSON has everything. 0, or -errno. */
void doctor_print_text(const struct doctor_report *r);
int doctor_print_json(const struct doctor_report *r);

#endif
