/* SPDX-License-Identifier: BSD-2-Clause */
/* `dray bench iova --heat`: where a contender's ranges lie. */
#ifndef BENCH_IOVA_HEAT_H
#define BENCH_IOVA_HEAT_H

#include <stdint.h>

#include <dray/iova.h>

struct iova_case;
struct json_object;
struct workload_world;

/* Cells of a map: four lines of text, a figure as wide as the page. */
#define IOVA_HEAT_CELLS 256u

/* A stretch of addresses, as narrow as holds all that is used there. */
struct iova_heat_map {
	uint64_t first, last;
	unsigned n; /* cells; fewer than IOVA_HEAT_CELLS where there are not as many pages */
	struct dray_iova_cell cells[IOVA_HEAT_CELLS];
};

/* From the top down: above what 39 bits reach, what 32 bits do not, and that. */
#define IOVA_HEAT_MAPS 3u

struct iova_heat {
	unsigned n; /* maps of stretches that anything is used of */
	struct iova_heat_map maps[IOVA_HEAT_MAPS];
};

/* *ret: to be freed; NULL where the contender cannot tell. 0; -ENOMEM. No thread runs. */
int iova_heat_look(struct workload_world *world, struct iova_heat **ret);

/* For people, of all cases that have one; for programs, of one: @h may be NULL. */
void iova_heat_print(const struct iova_case *cases, unsigned n);
void iova_heat_json(const struct iova_heat *h, struct json_object *o);

#endif
