/* SPDX-License-Identifier: BSD-2-Clause */
/* dray_iova_space_heat() against what the oracle, and the statistics, say. cmocka's assertions. */
#ifndef PROP_IOVA_HEAT_H
#define PROP_IOVA_HEAT_H

#include <stdint.h>

#include "oracle.h"

/* Some cells over some stretch around the window, drawn from @seed. */
void heat_matches(const struct dray_iova_space *s, const struct oracle *o, uint64_t *seed);

/* Everything that a cell counts. */
uint64_t heat_granules(const struct dray_iova_cell *cell);

/* One cell over all addresses, while nobody takes or gives: what the statistics say. */
void heat_is_the_statistics(const struct dray_iova_space *s, uint64_t granule);

#endif
