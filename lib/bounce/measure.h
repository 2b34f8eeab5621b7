/* SPDX-License-Identifier: BSD-2-Clause */
/* What copying and mapping cost here, and for which sizes copying is cheaper. */
#ifndef DR_BOUNCE_MEASURE_H
#define DR_BOUNCE_MEASURE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "flush/flush.h"
#include "iospace/iospace.h"

/*
 * Sizes that are measured. Between them a cost is taken to be a straight line, and so beyond, where
 * it does not fall.
 */
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
 * As many runs of sizes as two costs can make: each of the five lines from no bytes to the last
 * size is crossed once at most, and where the last of them is, nothing is beyond.
 */
#define DR_COPY_RUNS 3

/* Sizes of which copying is cheaper: more than @above, @up_to at most. Equal: none. */
struct dr_copy_run {
	size_t above, up_to;
};

/*
 * Where copying is cheaper than a map, @lazy or strict: ascending runs apart from each other, then
 * empty ones. @once: the bytes are copied in one direction only. Multiples of 512 bytes, from
 * 64 KiB on of 4 KiB; what is between two goes as the greater one does. A pure function.
 */
void dr_costs_choose(const struct dr_costs *c, bool lazy, bool once,
		     struct dr_copy_run ret_runs[DR_COPY_RUNS]);

#endif
