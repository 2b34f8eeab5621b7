/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a test has mapped, and the oracle of its bytes: what the memory must hold, and what a device
 * must read, byte by byte. One thread uses one struct held.
 */
#ifndef PROP_MAP_HELD_H
#define PROP_MAP_HELD_H

#include "../../unit/map/lists.h"

#define ROOM_PAGES 20u /* of memory for each held list */
#define ROOM       (ROOM_PAGES * KB4)
#define MOST       12u /* elements */

struct source {
	uint64_t state;
	uint64_t seed; /* to be told */
};

uint64_t below(struct source *r, uint64_t n);
/* Or the program ends, with what was wrong and the seed. */
void need(const struct source *r, bool right, const char *what);

struct held {
	bool mapped, single, no_sync;
	struct dray_device *dev;
	const struct dray_device_opts *limits;
	enum dray_dir dir;
	unsigned n;
	int segments;
	struct dray_sg sg[MOST];
	struct dray_mapping m;
	bool copied[MOST];
	unsigned char *room;          /* the memory the elements are in */
	unsigned char want[ROOM];     /* what it must hold */
	unsigned char seen[ROOM * 2]; /* what the device must read, element after element */
	size_t at[MOST + 1];          /* where in it each begins */
};

/* Choose elements, direction and flags, map, check where it went. 0, or the error. */
int held_map(struct held *h, struct source *r, struct dray_domain *dom, struct dray_device *dev,
	     const struct dray_device_opts *limits, uint32_t flags);
void held_unmap(struct held *h, struct source *r, struct dray_domain *dom);

/* Each moves some bytes and checks them. */
void held_cpu_writes(struct held *h, struct source *r);
void held_device_reads(struct held *h, struct source *r);
void held_device_writes(struct held *h, struct source *r);
void held_sync(struct held *h, struct source *r);

/* Is the memory as it must be, what lies between elements included? */
void held_check(const struct held *h, const struct source *r);

/* Do the granules above its blocks fault? In a domain with guards, without other threads. */
void held_check_guards(const struct held *h, const struct source *r, struct dray_domain *dom);

#endif
