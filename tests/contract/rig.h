/* SPDX-License-Identifier: BSD-2-Clause */
/* What a case runs on, and the few steps that most cases begin and end with. */
#ifndef CONTRACT_RIG_H
#define CONTRACT_RIG_H

#include <dray/dray.h>
#include <dray/sim.h>

#include "contract.h"

#define PAGE    ((size_t)4096)
#define LARGE   ((size_t)2 << 20)
#define MSI_IOVA UINT64_C(0xfee00000)
#define MSI_LAST UINT64_C(0xfeefffff)

/* What QEMU's edu can send: 28 bits. Cases give every device this mask, on sim too. */
#define RIG_MASK UINT64_C(0x0fffffff)

struct rig {
	enum dray_backend_kind backend;
	const char *profile;           /* of the software IOMMU; NULL: the default one */
	const char *device;            /* alone in its group */
	const char *device2;           /* of another group */
	const char *group_a, *group_b; /* of one group, which is not @device's */
};

static inline bool rig_is_sim(const struct rig *rig)
{
	return rig->backend == DRAY_BACKEND_SIM;
}

/*
 * Can a mapping be for device writes alone? Linux sets the read bit in every entry of an Intel IOMMU
 * (the same bit says "present" in its newer format), so there such a mapping can be read too.
 */
bool rig_is_write_only_possible(const struct rig *rig);

/* What a domain of the rig is opened with; the log goes to rig_logged(). */
struct dray_domain_opts rig_domain_opts(const struct rig *rig);
struct dray_device_opts rig_device_opts(void);

struct dray_domain *rig_domain(const struct rig *rig);
struct dray_domain *rig_domain_as(const struct rig *rig, enum dray_domain_type type);
/* @name NULL: rig->device */
struct dray_device *rig_device(const struct rig *rig, struct dray_domain *dom, const char *name);

/*
 * What the first device of a process makes for all that follow (a list of groups) is there from now
 * on. For cases that compare states around their first attach.
 */
void rig_warm(const struct rig *rig);

/* Every line that domains of the rig logged so far, one after the other. */
const char *rig_logged(void);

/* The domain's next unmap is refused as a whole by whoever translates. */
void rig_refuse_unmap(const struct rig *rig, struct dray_domain *dom);
/* It stops after so many bytes; on type1 between two calls, so they are whole pieces (max_op). */
void rig_refuse_unmap_after(const struct rig *rig, struct dray_domain *dom, size_t bytes);
/* Map and unmap in pieces of at most so many bytes. Before the first map. */
void rig_set_max_op(struct dray_domain *dom, size_t bytes);

struct dray_stats rig_stats(const struct dray_domain *dom);
struct dray_domain_info rig_info(const struct dray_domain *dom);

/*
 * The outside of a domain at one moment: a call that failed leaves it as it was. Compares what is
 * live, mapped, quarantined, attached, held in memory and open; not counters.
 */
struct rig_state {
	struct dray_domain_info info;
	uint64_t live_ranges, live_bytes, table_mappings;
	uint64_t maps, unmaps, leaks;
	long blocks; /* of memory, without what is kept: spare records, tables, counters */
	int fds;
};
struct rig_state rig_state(const struct dray_domain *dom);
void rig_check_same(const char *file, int line, const struct dray_domain *dom,
		    const struct rig_state *was);
#define CHECK_SAME(dom, was) rig_check_same(__FILE__, __LINE__, dom, was)

/* Page-aligned private memory, filled; released with the process. */
void *rig_pages(size_t len);
/* The same at a multiple of @align. */
void *rig_pages_aligned(size_t len, size_t align);
/* Bytes that depend on their place and on @seed, never 0. */
void rig_fill(void *va, size_t len, unsigned seed);
bool rig_is_filled(const void *va, size_t len, unsigned seed);

#endif
