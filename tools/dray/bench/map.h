/* SPDX-License-Identifier: BSD-2-Clause */
/* The results of `dray bench map`, and how they are shown. */
#ifndef BENCH_MAP_H
#define BENCH_MAP_H

#include "bench/map_world.h"

struct bench_machine;

/* One run: settings and results in the same order. */
struct map_run {
	const struct map_config *config;
	const struct map_setting *settings;
	const struct bench_result *results;
	unsigned n;
};

void map_print_table(const struct map_run *run, const struct bench_machine *m);
/* 0 or -errno. */
int map_print_json(const struct map_run *run, const struct bench_machine *m);

#endif
