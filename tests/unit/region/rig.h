/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Regions over an I/O space whose backend only writes the mapping table, in a world that counts
 * what they hold and fails what it is told to. Memory that is registered is never touched, so any
 * address will do.
 */
#ifndef TEST_REGION_RIG_H
#define TEST_REGION_RIG_H

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/hooks.h"
#include "base/rcu.h"
#include "region/descriptor.h"

#define KB4 ((size_t)4096)
#define MB2 ((size_t)2 << 20)
#define GB1 ((size_t)1 << 30)

/* An address that no test touches. */
#define AT(off) ((void *)(uintptr_t)(UINT64_C(0x7e0000000000) + (off)))

/* setup and teardown of a test; the latter fails it when anything is left. */
int rig_setup(void **state);
int rig_teardown(void **state);

struct rig {
	struct dr_iospace io;
	struct dr_backend be;
	struct dr_regions *r;
	atomic_uint maps, unmaps;       /* backend calls */
	atomic_ulong mapped;            /* bytes */
	unsigned fail_map, fail_unmap;  /* the nth from now, 1 is the next; 0 none */
	int map_err, unmap_err;         /* what these return */
	atomic_long blocks;             /* allocated and not freed */
	atomic_long area_bytes;         /* of memory mapped and not unmapped */
	unsigned fail_alloc;            /* likewise; mmap counts as one; 0 again when it has */
	unsigned fail_madvise;
	int madvise_err;
	unsigned dontforks, doforks;
};
extern struct rig rig;

/* Window: [1 MiB, 2^47). Rig setup opens one; others for those who need another window. */
void rig_open(dray_iova_t first, dray_iova_t last);
void rig_close(void);

int add_flags(void *va, size_t len, uint32_t flags, struct dray_region **ret);
int add_at(dray_iova_t iova, void *va, size_t len, uint32_t flags, struct dray_region **ret);
/* Must succeed. */
struct dray_region *add(void *va, size_t len);
int drop(struct dray_region *g);
/* Without and with a read section. */
dray_iova_t translate(const void *va, size_t *inout_len);
bool enter(const void *va, size_t len, enum dray_dir dir, dray_iova_t *ret_iova,
	   uint32_t *ret_index);
void leave(uint32_t index);

#endif
