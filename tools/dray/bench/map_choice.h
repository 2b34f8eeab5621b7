/* SPDX-License-Identifier: BSD-2-Clause */
/* How near the automatic modes of `dray bench map` came to the best fixed one. */
#ifndef BENCH_MAP_CHOICE_H
#define BENCH_MAP_CHOICE_H

struct map_run;

/*
 * The fastest fixed mode of the same setting that promises as much as the automatic mode of result
 * @of; -1: that one is not automatic, or nothing fixed was measured beside it.
 */
int map_choice_best(const struct map_run *run, unsigned of);

/* A line for each automatic result; nothing where there is none. */
void map_choice_print(const struct map_run *run);

#endif
