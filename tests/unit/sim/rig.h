/* SPDX-License-Identifier: BSD-2-Clause */
/* A software IOMMU to test: address spaces, devices, memory, and a world that fails. */
#ifndef SIM_RIG_H
#define SIM_RIG_H

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dray/stats.h>

#include "backend/sim/sim.h"
#include "base/hooks.h"

#define KB4 ((size_t)1 << 12)
#define MB2 ((size_t)1 << 21)
#define GB1 ((size_t)1 << 30)
#define RW  (DR_PTE_READ | DR_PTE_WRITE)

struct space {
	struct dr_pgtable *pt;
	struct dr_backend *be;
};

/* An address space; fails the test when it cannot be had. */
struct space space_open(enum dray_domain_type type);
struct space space_open_as(const char *profile, enum dray_domain_type type);
void space_close(struct space *s);

/* Attach and enable. 0 or the error of the first that failed, with nothing attached. */
int device_try_open(const struct space *s, const char *name, struct dr_backend_device **ret_dev);
struct dr_backend_device *device_open(const struct space *s, const char *name);
void device_close(struct dr_backend_device *dev);

/* Map, failing the test on error. Unmap and invalidate. */
void space_map(const struct space *s, dray_iova_t iova, void *va, size_t len, uint64_t bits);
void space_unmap(const struct space *s, dray_iova_t iova, size_t len);

/* The one fault record there is, taken; fails the test when there is none, or more than one. */
struct dray_sim_fault only_fault(struct dr_backend_device *dev);

/* Zeroed memory aligned to @align. */
void *memory(size_t len, size_t align);
void memory_free(void *p, size_t len);

/* A world that can be told to fail; use as setup and teardown of a test. */
int rig_setup(void **state);
int rig_teardown(void **state);

/* Fail the nth allocation from now on, 1 is the next; 0: none. Counts down to 0 when it has. */
extern int rig_fail_alloc;
/* Allocations since rig_setup(). */
extern unsigned rig_allocs;
/* Answer madvise with this errno where [va, va + len) meets [first, end); populate advice only. */
struct rig_madvise {
	char *first, *end;
	int err;
	unsigned calls;
};
extern struct rig_madvise rig_madvise;
/* Most bytes one pread brings; 0: no limit. */
extern size_t rig_pread_limit;
/* The clock stands still but for a step at each look. */
extern uint64_t rig_clock, rig_clock_step;
extern void (*rig_clock_look)(void);
extern unsigned rig_clock_looks;

#endif
