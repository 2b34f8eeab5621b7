/* SPDX-License-Identifier: BSD-2-Clause */
/* Accesses counted in and out, and the queue of invalidations that wait for them. See invq.c. */
#ifndef DR_SIM_INVQ_H
#define DR_SIM_INVQ_H

#include "backend/sim/machine.h"

/* Count an access in under the epoch it has read; false, and not counted, if that has moved on. */
static inline bool dr_access_enter(struct dr_sim_device *dev, uint64_t epoch)
{
	/* Sequentially consistent, all three: see invq.c, 3. */
	atomic_fetch_add(&dev->active[epoch & 1], 1);
	if (atomic_load(&dev->epoch) == epoch)
		return true;
	atomic_fetch_sub(&dev->active[epoch & 1], 1);
	return false;
}

/*
 * Begin an access: from here to dr_access_end() every invalidation of the device's space waits for
 * it. Returns what dr_access_end() needs. Any thread; never blocks.
 */
static inline unsigned dr_access_begin(struct dr_sim_device *dev)
{
	uint64_t epoch;

	do {
		/* Acquire: what was cleared before this epoch began is seen as cleared. */
		epoch = atomic_load_explicit(&dev->epoch, memory_order_acquire);
	} while (!dr_access_enter(dev, epoch));
	return (unsigned)epoch & 1;
}

static inline void dr_access_end(struct dr_sim_device *dev, unsigned parity)
{
	/* Release: what the access did comes before the end of the drain that waits for it. */
	atomic_fetch_sub_explicit(&dev->active[parity], 1, memory_order_release);
}

/* Put the device into an address space, NULL: none. On return it reaches nothing of the old. */
void dr_invq_move(struct dr_sim_device *dev, struct dr_sim *to);

/* On return no device reaches [first, last] of the space through entries cleared before. */
void dr_invq_range(struct dr_sim *space, dray_iova_t first, dray_iova_t last);

/* The same for all of the space, and for all spaces at the cost of one. */
void dr_invq_domain(struct dr_sim *space);
void dr_invq_global(struct dr_sim *space);

/* --- spin.c --- */

/* Learn what spending needs to know of the clock. */
void dr_sim_spin_ready(void);
/* Spend so many nanoseconds; and so many since @start, by the clock, if they are not over. */
void dr_sim_spin(uint64_t ns);
void dr_sim_spin_since(uint64_t start, uint64_t ns);

/* Empty, whatever state it was in. Nobody else is there. */
void dr_invq_reset(void);

#endif
