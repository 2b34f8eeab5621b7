/* SPDX-License-Identifier: BSD-2-Clause */
/* The IOTLB: translations that devices used, served until they are invalidated. See iotlb.c. */
#ifndef DR_SIM_IOTLB_H
#define DR_SIM_IOTLB_H

#include <stdbool.h>
#include <stdint.h>

#include <dray/types.h>

/* The leaf cached for @iova of a space, and its page shift; false: none. Any thread, no lock. */
bool dr_iotlb_lookup(uint64_t space, dray_iova_t iova, uint64_t *ret_pte, unsigned *ret_shift);

/* To be read before a walk whose result is to be filled in. */
uint64_t dr_iotlb_generation(void);

/*
 * Cache a leaf, unless an invalidation has begun since @generation was read or the set is being
 * written. False: not cached.
 */
bool dr_iotlb_fill(uint64_t space, dray_iova_t iova, uint64_t pte, unsigned shift,
		   uint64_t generation);

/* Every address space. */
#define DR_IOTLB_ALL UINT64_C(0)

/*
 * Forget what a space has cached of [@first, @last]; nothing that a walk found before this call is
 * filled in afterwards. Called under the queue's lock.
 */
void dr_iotlb_invalidate(uint64_t space, dray_iova_t first, dray_iova_t last);

/* Empty, whatever state it was in. Nobody else is there. */
void dr_iotlb_reset(void);

#endif
