/* SPDX-License-Identifier: BSD-2-Clause */
/* What copying and mapping cost here, and up to which size copying is cheaper. */
#ifndef DR_BOUNCE_MEASURE_H
#define DR_BOUNCE_MEASURE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "flush/flush.h"
#include "iospace/iospace.h"

/* Sizes that are measured; between them, and beyond, a cost is taken to be a straight line. */
#define DR_COST_SIZES 5
extern const size_t dr_cost_size[DR_COST_SIZES];

/* Nanoseconds, measured, or given by who knows better. */
struct dr_costs {
	uint64_t slot_ns;                /* to copy next to nothing */
	uint64_t copy_ns[DR_COST_SIZES]; /* through a slot, there and back, slot included */
	uint64_t map_ns[DR_COST_SIZES];  /* a strict map and unmap, IOVA included */
	uint64_t lazy_ns[DR_COST_SIZES]; /* a lazy one, with its share of a flush */
};

/*
 * Measure on this address space, with memory of our own, which is gone again on return. Some
 * milliseconds; nothing of it is in the address space's counters. Where memory is pinned it means
 * something only once a device is attached. @flush: the queue whose bounds decide how many unmaps
 * share a flush. Any thread, beside others; may wait for a grace period. 0; -ENOMEM, -ENOSPC, or
 * the backend's error.
 */
int dr_bounce_measure(struct dr_iospace *io, const struct dr_flush *flush,
		      struct dr_costs *ret_costs);

/*
 * The largest size up to which copying is cheaper than a map, @lazy or strict; 0: for none. @once:
 * the bytes are copied in one direction only. A pure function.
 */
size_t dr_costs_threshold(const struct dr_costs *c, bool lazy, bool once);

#endif
