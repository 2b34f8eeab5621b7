/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the files of the software IOMMU share: address spaces, devices, and who may claim which.
 * Locks, in order: the machine's (machine.c), then the queue's (invq.c), then a device's fault
 * lock.
 */
#ifndef DR_SIM_MACHINE_H
#define DR_SIM_MACHINE_H

#include <pthread.h>
#include <stdatomic.h>

#include "backend/sim/sim.h"

/* What a profile's hardware can do. */
struct dr_sim_profile {
	const char *name;
	uint64_t page_sizes;
	size_t granule;
	uint64_t max_op;
	uint64_t entries_limit; /* 0: none */
	enum dr_defers defers;  /* NOTHING: each unmap invalidates before it returns */
	bool translates;        /* false: there is no IOMMU, and no table */
	bool refuses_override;  /* mapping over a mapping is -EEXIST */
	bool splits;            /* keeps superpages of its own: see split.c */
	bool snoops;            /* devices see what the CPU's caches hold */
	bool walker_snoops;     /* so do page walks */
	uint32_t n_usable;
	struct dray_range usable[4];
};

/* The profile of that name, NULL: the first. 0; -ENOTSUP, naming those there are. */
int dr_sim_find_profile(const char *name, const struct dr_sim_profile **ret_profile);

/* One address space. */
struct dr_sim {
	struct dr_backend base;
	const struct dr_sim_profile *profile; /* set at open */
	uint64_t id;                          /* set at open; never used twice */
	uint64_t granule_mask;                /* set at open; of the profile */
	dray_iova_t last;                     /* set at open; of the aperture */
	/* Set at open: PAGING, everybody snoops, nothing is refused or split. */
	bool simple;
	uint32_t devices;                     /* guarded by the queue's lock */

	/* Costs and switches: relaxed, read once for each operation. */
	_Atomic uint32_t invalidate_ns, pin_ns_per_page, flags;
	_Atomic uint64_t fail_unmap_at; /* granules + 1; 0: not armed */
	_Atomic uint64_t fail_split_in; /* splits until one fails, that one included; 0: none */

	/* Counters, relaxed; on lines of their own, because devices write them. */
	_Alignas(64) _Atomic uint64_t hits;
	_Atomic uint64_t misses, dropped_fills, invalidations, stale_reuses, splits;
	_Atomic uint64_t cleaned_lines, dropped_lines, stale_reads, wrong_drops, lost_writes;
};

/*
 * Fault records kept for each device. As many as VT-d's largest register file holds: enough to see
 * how a fault storm began, 6 KiB a device.
 */
#define DR_SIM_FAULTS 256u

/* One claimed device. */
struct dr_sim_device {
	struct dr_backend_device base;
	uint64_t process;                  /* set at attach: who may use it */
	unsigned index;                    /* set at attach */
	uint32_t flags;                    /* set at attach; DRAY_DEVICE_* */
	struct dr_sim_device *next;        /* guarded by the queue's lock */

	/* The context entry: where its addresses are looked up. Written under the queue's lock. */
	_Atomic(struct dr_sim *) space;

	/*
	 * Accesses under way, counted by the parity of the epoch they began in: see invq.h. On
	 * lines of their own, because every access writes them.
	 */
	_Alignas(64) _Atomic uint64_t epoch; /* written under the queue's lock */
	_Atomic uint32_t active[2];

	pthread_mutex_t fault_lock;
	struct dray_sim_fault faults[DR_SIM_FAULTS]; /* a ring; guarded by fault_lock */
	unsigned fault_first, fault_count;           /* guarded by fault_lock */
	uint64_t fault_overflow;                     /* guarded by fault_lock */
};

static inline struct dr_sim *dr_sim_of(struct dr_backend *be)
{
	return (struct dr_sim *)be;
}

static inline struct dr_sim_device *dr_sim_device_of(struct dr_backend_device *bd)
{
	return (struct dr_sim_device *)bd;
}

/* Start the machine over in a child that inherited a running one. Before any other call of it. */
void dr_machine_enter(void);

/* A number for an address space; never given twice. */
uint64_t dr_machine_new_space(void);

/*
 * Claim the device called @name for an address space; sets dev->index. -ENODEV no such device, or
 * another driver has it; -EBUSY open already, its group is another space's, or is not viable.
 */
int dr_machine_claim(const char *name, struct dr_sim *space, struct dr_sim_device *dev);

/* Inverse of claim; the device is in no address space any more. */
void dr_machine_release(struct dr_sim_device *dev);

/* Write down that the device's group goes to another space. -EBUSY: it has other open members. */
int dr_machine_move(struct dr_sim_device *dev, struct dr_sim *to);

/*
 * How much of [iova, iova + len), from its start, can be unmapped as far as superpages go: all, or
 * up to the block whose split failed. The caller owns the range.
 */
size_t dr_sim_splittable(struct dr_sim *s, dray_iova_t iova, size_t len);

/* Keep one fault. */
void dr_fault_record(struct dr_sim_device *dev, dray_iova_t iova, uint32_t access, uint32_t reason,
		     unsigned level);

/* What dr_sim_set_seam() set, or NULL. */
const struct dr_sim_seam *dr_sim_seam(void);

/*
 * Would pinning [va, va + len) succeed? Faults the pages in, writable if a device may write them.
 * 0; -EFAULT naming the first bad address. Any thread; takes no lock.
 */
int dr_pin_check(const void *va, size_t len, bool writable);

#endif
