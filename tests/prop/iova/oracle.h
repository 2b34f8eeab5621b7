/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * An IOVA space that nobody can doubt: an array with three fields for each granule, and a list of
 * what is live or retired. Slow, small, and written without a look at the real one. Granules are
 * counted from the window's first.
 */
#ifndef PROP_IOVA_ORACLE_H
#define PROP_IOVA_ORACLE_H

#include <stdbool.h>
#include <stdint.h>

#include "iova/space.h"

#define ORACLE_CELLS 4096u

enum oracle_use { NOBODY, AUTO, FIXED, RETIRED, QUARANTINED };

struct oracle {
	uint64_t base, granule;
	unsigned n; /* granules in the window */
	struct cell {
		uint8_t use;  /* enum oracle_use */
		uint8_t resv; /* 0, or 1 + enum dr_iova_resv */
		bool hw;      /* a hole of the hardware */
	} cell[ORACLE_CELLS];
	struct live {
		unsigned first, n;
		bool fixed, retired, held;
	} live[ORACLE_CELLS]; /* and retired */
	unsigned n_live;
	struct dr_iova_counts counts;
};

void oracle_open(struct oracle *o, uint64_t granule, struct dray_range window);

uint64_t oracle_addr(const struct oracle *o, unsigned i);

/* May this request be answered with @iova? */
bool oracle_allows(const struct oracle *o, const struct dr_iova_request *req, uint64_t iova);

/* The highest answer to a request; false where there is none. */
bool oracle_highest(const struct oracle *o, const struct dr_iova_request *req, uint64_t *ret_iova);

/* Enter what the real one answered, which oracle_allows(). */
void oracle_take(struct oracle *o, uint64_t iova, uint64_t len);

/* What the real calls of these names are to answer; done as well where that is success. */
int oracle_take_fixed(struct oracle *o, unsigned first, unsigned last);
bool oracle_give(struct oracle *o, uint64_t iova, uint64_t len);
bool oracle_quarantine(struct oracle *o, uint64_t iova, uint64_t len);
bool oracle_retire(struct oracle *o, uint64_t iova, uint64_t len);
bool oracle_give_retired(struct oracle *o, uint64_t iova, uint64_t len);
bool oracle_quarantine_retired(struct oracle *o, uint64_t iova, uint64_t len);

/* Free and nobody's, all of it? */
bool oracle_is_gap(const struct oracle *o, unsigned first, unsigned last);
/* Enter that the real one holds such a gap. */
void oracle_hold(struct oracle *o, unsigned first, unsigned last);
/* Is exactly that held? */
bool oracle_is_held(const struct oracle *o, uint64_t iova, uint64_t len);
int oracle_resv(struct oracle *o, unsigned first, unsigned last, enum dr_iova_resv kind);
int oracle_unresv(struct oracle *o, unsigned first, unsigned last);
int oracle_set_usable(struct oracle *o, const struct dray_range *usable, unsigned n);
bool oracle_is_live(const struct oracle *o, uint64_t iova, uint64_t len, bool *ret_fixed);
bool oracle_any_live(const struct oracle *o, unsigned first, unsigned last);
bool oracle_nth_hole(const struct oracle *o, unsigned n, struct dray_range *ret_hole);

#endif
