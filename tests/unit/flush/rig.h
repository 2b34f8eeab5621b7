/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A flush queue over an I/O address space of its own, on the software IOMMU or on the fake kernel's
 * type1, with a clock that a test sets and a memory that can fail.
 */
#ifndef TEST_FLUSH_RIG_H
#define TEST_FLUSH_RIG_H

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "backend/sim/sim.h"
#include "backend/type1.h"
#include "base/hooks.h"
#include "flush/flush.h"
#include "vfio_fake.h"

#define PAGE ((size_t)4096)
#define NVME "0000:01:00.0"
#define RW   (DR_PTE_READ | DR_PTE_WRITE)
#define US   UINT64_C(1000)
/* Pages of memory that a rig maps from. */
#define RIG_PAGES 2048u
/* As dr_iova_space_open(): every call to the tree, so that counts are exact. */
#define RIG_TREE DR_IOVA_TREE

struct rig {
	struct dr_iospace io;
	struct dr_flush *f;
	struct dr_backend_device *bd; /* NULL: none is attached */
	char *mem;
	char logged[4096];
};

/* Setup and teardown of a test. Without a fake kernel, and with one. */
int world_up(void **state);
int world_down(void **state);
int kernel_up(void **state);
int kernel_down(void **state);

/* The time, ns; it stands still. Atomic: helper threads read it. */
extern _Atomic uint64_t rig_now;
/* The real clock instead. */
extern bool rig_real_time;
/* The kernel has no membarrier. */
extern bool rig_no_membarrier;
/* Every membarrier but the registration fails. */
extern bool rig_no_barrier;
/* The nth allocation from now fails, 1 is the next; 0: none. */
extern int rig_fail_alloc;
/* Allocations since the test began. */
extern _Atomic unsigned rig_allocs;

/* @how: of the IOVA space. One device is attached. */
void rig_open(struct rig *rig, const struct dr_backend_ops *ops, unsigned how,
	      const struct dr_flush_opts *o);
/* All but the queue. */
void rig_open_bare(struct rig *rig, const struct dr_backend_ops *ops, unsigned how);
/* Checks that nothing is live or retired, whatever is quarantined. */
void rig_close(struct rig *rig);
void rig_close_bare(struct rig *rig);
/* The device leaves, or comes back. */
void rig_unplug(struct rig *rig);
void rig_plug(struct rig *rig);

/* Map @pages at any address, as a map call would in a lazy domain. */
dray_iova_t rig_map(struct rig *rig, size_t pages);
/* Map at an address. */
void rig_map_at(struct rig *rig, dray_iova_t iova, size_t pages);
/* Put a mapping that is live, in a queue that takes it. */
void rig_put(struct rig *rig, dray_iova_t iova, size_t pages);
/* Strictly. */
void rig_unmap(struct rig *rig, dray_iova_t iova, size_t pages);

struct dr_flush_stats rig_stats(const struct rig *rig);
uint64_t rig_count(const struct rig *rig, enum dr_counter which);
uint64_t rig_retired(const struct rig *rig);
uint64_t rig_live(const struct rig *rig);
uint64_t rig_quarantined(const struct rig *rig);
/* Does a device of the software IOMMU reach it? Leaves no fault record. */
bool rig_reaches(struct rig *rig, dray_iova_t iova);

#endif
