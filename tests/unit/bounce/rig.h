/* SPDX-License-Identifier: BSD-2-Clause */
/* Bounce pools over a software IOMMU, without a domain; and a world that fails. */
#ifndef BOUNCE_RIG_H
#define BOUNCE_RIG_H

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "backend/sim/sim.h"
#include "base/hooks.h"
#include "bounce/bounce.h"

#define KB  ((size_t)1 << 10)
#define KB4 ((size_t)1 << 12)
#define MB1 ((size_t)1 << 20)
#define MASK32 UINT64_C(0xffffffff)
#define MASK64 UINT64_MAX

struct rig {
	struct dr_iospace io;
	struct dr_bounce *b;
	struct dr_backend_device *dev;
};

/* A world in which a test decides what fails; the second of two such calls undoes the first. */
void world_begin(void);
void world_end(void);

/* Fail the nth call from now on of those that may fail: 1 is the next, 0 none. Counts down. */
extern int fail_nth;
/* And every one after it, until fail_nth is 0 again. */
extern bool fail_stays;
/* How many have failed. */
extern unsigned failed;
/* Does this call fail? For counters of a test's own. */
bool fails(int *nth);
/* The clock of the world. */
extern uint64_t world_ns;
/* mmap less munmap, bytes. */
extern long mapped_now;
/* alloc less free, calls. */
extern long blocks_now;

/* An address space of a profile and type with sim0 in it, and pools of @bytes at most. */
struct rig *rig_open(const char *profile, enum dray_domain_type type, size_t bytes);
/* Fails the test when something is left: memory, blocks, IOVAs, a broken structure. */
void rig_close(struct rig *r);
/* The same, closing nothing of the bounce: it has been closed, or was never opened. */
void rig_close_without_bounce(struct rig *r);

/* A request with the usual limits. */
struct dr_bounce_request request(void *va, size_t len, enum dray_dir dir, bool trusted);

/* Map; fails the test when that fails. */
uint64_t map_at(struct rig *r, const struct dr_bounce_request *q, dray_iova_t *ret_iova);

void device_reads(struct rig *r, dray_iova_t iova, void *buf, size_t len);
void device_writes(struct rig *r, dray_iova_t iova, const void *buf, size_t len);
/* The device's access faults; the record is taken. */
void device_read_faults(struct rig *r, dray_iova_t iova);

struct dr_bounce_stats stats_of(struct rig *r);

/* @len bytes of a pattern that @seed decides. */
void fill(void *p, size_t len, unsigned seed);

#endif
