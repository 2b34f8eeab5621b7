/* SPDX-License-Identifier: BSD-2-Clause */
/* Domains and devices of the software IOMMU, in a world that counts what they hold. */
#ifndef TEST_DOMAIN_RIG_H
#define TEST_DOMAIN_RIG_H

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include <dray/dray.h>
#include <dray/sim.h>

#include "base/hooks.h"
#include "domain/domain.h"

#define KB4 ((size_t)4096)
#define MB2 ((size_t)2 << 20)

/* setup and teardown of a test: the latter fails it when a block of memory is left. */
int rig_setup(void **state);
int rig_teardown(void **state);

/* Blocks allocated and not freed since setup, without objects of slabs, which stay. */
extern long rig_blocks;
/* Fail the nth allocation from now on, 1 is the next; 0 none. 0 again when it has. */
extern unsigned rig_fail_alloc;
/* Allocations since setup. */
extern unsigned rig_allocs;
/* Every line that domains of the rig logged, and the last one's level. */
extern char rig_log[4096];
extern int rig_level;

struct dray_domain_opts rig_opts(void);
struct dray_domain *rig_open(void);
struct dray_device *rig_plug(struct dray_domain *dom, const char *name);
struct dray_mapping rig_map(struct dray_device *dev, void *va, size_t len);

struct dray_stats rig_stats(const struct dray_domain *dom);
struct dray_domain_info rig_info(const struct dray_domain *dom);

/* Is the object in the slab, or about to be: closed and held by nobody? */
bool rig_is_gone(const struct dray_domain *dom);

/* Page-aligned memory of the test program, the same at each call. */
extern char rig_memory[64 * 4096];

#endif
