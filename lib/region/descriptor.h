/* SPDX-License-Identifier: BSD-2-Clause */
/* What the files of this directory share: descriptors, and what is written under their lock. */
#ifndef DR_REGION_DESCRIPTOR_H
#define DR_REGION_DESCRIPTOR_H

#include "region/region.h"

/* The free descriptor that has been so for longest, or a new one; NULL: no memory, or too many. */
struct dray_region *dr_region_take_locked(struct dr_regions *r);
/* It is nobody's again. Never allocates. */
void dr_region_give_locked(struct dr_regions *r, struct dray_region *g);

/* By index, of those that there are. */
struct dray_region *dr_region_at_locked(const struct dr_regions *r, uint32_t index);

/* The region's claims in the tables. 0; -EEXIST; -ENOMEM. dr_region_clear_locked() undoes it. */
int dr_region_claim_locked(struct dr_regions *r, const struct dray_region *g);
void dr_region_clear_locked(struct dr_regions *r, const struct dray_region *g);

/* Mappings out, modulo 2^32. */
uint32_t dr_region_out(struct dr_regions *r, struct dray_region *g);

/* Take back what registering did at the backend, with the IOVAs. 0, or what was refused. */
int dr_region_unmap(struct dr_regions *r, struct dray_region *g);

/* Undo DRAY_REGION_DONTFORK. */
void dr_region_let_children(const struct dray_region *g);

#endif
