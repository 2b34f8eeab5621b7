/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef BENCH_BASELINE_DRAY_H
#define BENCH_BASELINE_DRAY_H

#include "baseline/contender.h"

/* What a space of this library has taken; see dray.c. */
void contender_dray_population(void *space, struct contender_population *ret_population);
/* Where it is full of what. */
void contender_dray_heat(void *space, uint64_t first, uint64_t last, size_t n,
			 struct dray_iova_cell *ret_cells);

#endif
