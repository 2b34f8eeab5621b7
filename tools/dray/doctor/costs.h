/* SPDX-License-Identifier: BSD-2-Clause */
/* What copying and mapping cost on a backend, and what a domain makes of it. */
#ifndef DOCTOR_COSTS_H
#define DOCTOR_COSTS_H

#include <stdint.h>

/* 4, 16, 64, 256 and 1024 KiB, as DRAY_COST_SIZES. */
#define DOCTOR_COST_SIZES 5
extern const uint64_t doctor_cost_size[DOCTOR_COST_SIZES];

/* Nanoseconds, and the largest buffers that are copied because that is cheaper. */
struct doctor_costs {
	const char *backend;
	char device[32], model[96];
	uint32_t slot_ns;
	uint32_t copy_ns[DOCTOR_COST_SIZES]; /* there and back */
	uint32_t map_ns[DOCTOR_COST_SIZES], lazy_map_ns[DOCTOR_COST_SIZES];
	uint64_t copy_up_to, copy_up_to_once, lazy_copy_up_to, lazy_copy_up_to_once;
};

/*
 * Measure on the software IOMMU (@device NULL) or on a device of type1. 0, or -errno with
 * dray_errmsg() set.
 */
int doctor_measure(const char *device, struct doctor_costs *ret_costs);

#endif
