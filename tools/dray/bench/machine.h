/* SPDX-License-Identifier: BSD-2-Clause */
/* The machine that a figure was measured on; without it a figure says nothing. */
#ifndef BENCH_MACHINE_H
#define BENCH_MACHINE_H

#include <stdbool.h>

struct json_object;

struct bench_machine {
	char cpu[128];    /* model, as the kernel names it */
	long cores;       /* this process may use */
	bool virtual;     /* a hypervisor is under it */
	char kernel[128]; /* release */
	char arch[65];
	const char *compiler;
	const char *dray; /* version */
};

void bench_machine_read(struct bench_machine *ret_machine);

/* A new object; the caller's. NULL without memory. */
struct json_object *bench_machine_json(const struct bench_machine *m);

/* "machine: …" in one line on stdout. */
void bench_machine_print(const struct bench_machine *m);

#endif
