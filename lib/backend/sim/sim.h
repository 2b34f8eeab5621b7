/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The software IOMMU for the layer above: being a device, setting costs, looking inside. The
 * backend's ordinary calls are in dr_sim_ops (backend/backend.h); the theory is in sim.c.
 */
#ifndef DR_SIM_H
#define DR_SIM_H

#include <stdbool.h>
#include <stdint.h>

#include <dray/sim.h>

#include "backend/backend.h"

/*
 * DMA by a device of this backend. Bytes before a fault have moved. 0; -EFAULT with a fault record;
 * -EINVAL a length that overflows; -EPERM in a forked child. Any thread.
 */
int dr_sim_dma_read(struct dr_backend_device *bd, dray_iova_t iova, void *buf, size_t len);
int dr_sim_dma_write(struct dr_backend_device *bd, dray_iova_t iova, const void *buf, size_t len);

/* Take up to @n fault records, oldest first; how many there were. Any thread. */
unsigned dr_sim_take_faults(struct dr_backend_device *bd, struct dray_sim_fault *out, unsigned n);

/* How many records were lost because there was no room. */
uint64_t dr_sim_fault_overflow(struct dr_backend_device *bd);

/* @flags: DRAY_SIM_NOCHECK. May change at any time; calls under way may use the old cost. */
void dr_sim_set_cost(struct dr_backend *be, uint32_t invalidate_ns, uint32_t pin_ns_per_page,
		     uint32_t flags);

/* How the tables translate @iova now, whatever the IOTLB holds. Opens its own read section. */
void dr_sim_walk(struct dr_backend *be, dray_iova_t iova, struct dr_pt_walk *ret_walk);

/* 0..63 for sim0..sim63, 64..70 for sim0.1..sim0.7. */
unsigned dr_sim_device_index(const struct dr_backend_device *bd);

/* What the hardware did for one address space; sums that only grow. */
struct dr_sim_counts {
	uint64_t hits, misses;  /* IOTLB lookups of its devices */
	uint64_t dropped_fills; /* overtaken by an invalidation, or the set was busy */
	uint64_t invalidations; /* range and domain, queued on its behalf while it had devices */
	/*
	 * Accesses that the IOTLB served from an entry in whose place the table had another live
	 * one: the IOVA was given out again before the flush of its unmap had ended.
	 */
	uint64_t stale_reuses;
	uint64_t splits; /* of a hypervisor's superpages, asked for by unmaps */
	/* Where devices do not look into the CPU's caches: see image.c, 3, for the last three. */
	uint64_t cleaned_lines, dropped_lines;
	uint64_t stale_reads, wrong_drops, lost_writes;
};

void dr_sim_counts(struct dr_backend *be, struct dr_sim_counts *ret_counts);

/* Invalidate everything the IOTLB holds, for every address space; the cost is this one's. */
void dr_sim_invalidate_all(struct dr_backend *be);

/* --- For tests ------------------------------------------------------------------------------- */

/* Say that @driver holds a function of a group, NULL: nobody does. -EINVAL no such function. */
int dr_sim_set_foreign(unsigned group, unsigned function, const char *driver);

/* Most bytes of one map or unmap from now on; whole granules. While nothing is mapped. */
void dr_sim_set_max_op(struct dr_backend *be, uint64_t max_op);

/*
 * Let the next unmap that is longer than @pages granules clear no more than those, down to a whole
 * leaf, and fail with -EIO. Once.
 */
void dr_sim_fail_unmap_at(struct dr_backend *be, uint64_t pages);

/* Let the @nth split of a superpage from now on fail, 1 is the next; 0: none. */
void dr_sim_fail_split(struct dr_backend *be, uint64_t nth);

/* The ith profile's name, NULL past the last. */
const char *dr_sim_profile_name(unsigned i);

/* Is the queue's lock held by anybody, this thread included? */
bool dr_sim_queue_is_held(void);

/* Called at the moments that races are made of; with no lock held but where said. NULL: not. */
struct dr_sim_seam {
	void (*walked)(void *ctx);   /* by a device, between its walk and the IOTLB fill */
	void (*copying)(void *ctx);  /* by a device, with half of a granule's bytes moved */
	void (*draining)(void *ctx); /* by an invalidation, queue's lock held, before it waits */
	void *ctx;
};

/* @seam stays valid until it is replaced; NULL: none. While no device is at work. */
void dr_sim_set_seam(const struct dr_sim_seam *seam);

#endif
