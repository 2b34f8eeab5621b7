/* SPDX-License-Identifier: BSD-2-Clause */
/* One type1 backend on the fake kernel, with a table and a log of its own. */
#ifndef TEST_BACKEND_RIG_H
#define TEST_BACKEND_RIG_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include <dray/stats.h>

#include "backend/backend.h"
#include "backend/type1.h"
#include "vfio_fake.h"

#define NVME  "0000:01:00.0" /* group 5, alone */
#define NIC   "0000:02:00.0" /* group 6, with NIC1 */
#define NIC1  "0000:02:00.1"
#define NODE  "/vfio/vfio"

#define R  DR_PTE_READ
#define RW (DR_PTE_READ | DR_PTE_WRITE)

struct rig {
	struct dr_pgtable *pt;
	struct dr_log log;
	struct dr_backend *be;
	char logged[1024]; /* every line, one after the other */
};

/* cmocka setup and teardown: the fake's machine with the devices above. */
int machine_up(void **state);
/* Fails the test when a descriptor, a mapping or a block of memory is left. */
int machine_down(void **state);

void rig_open_as(struct rig *rig, enum dray_domain_type type);
void rig_open(struct rig *rig);
void rig_close(struct rig *rig);

struct dr_backend_device *rig_attach(struct rig *rig, const char *name);
/* attach and enable */
struct dr_backend_device *rig_plug(struct rig *rig, const char *name);
void rig_detach(struct rig *rig, struct dr_backend_device *bd);

int rig_map(struct rig *rig, dray_iova_t iova, void *va, size_t len, uint64_t bits);
/* Unmaps all of it and sees that it is gone. */
void rig_unmap(struct rig *rig, dray_iova_t iova, size_t len);

/* Page-aligned private memory. */
void *pages(size_t len);
void free_pages(void *va, size_t len);

/* The last failure's words hold every one of these; NULL ends. */
void assert_words(const char *word, ...);

#endif
