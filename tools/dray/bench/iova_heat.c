// SPDX-License-Identifier: BSD-2-Clause
/*
 * Maps of where ranges lie.
 *
 * 1. A window has 2^36 pages and a workload uses some thousand, most of them close together at the
 *    top of what its limits allow. So there are up to three maps, one for each stretch that limits
 *    tell apart, and each is narrowed until its first and its last cell hold something: all cells
 *    are counted, the stretch shrinks to those in use, and again, until it shrinks no more. With
 *    256 cells that is four times at the most.
 *
 * 2. A cell in use has something live, cached, free in a chunk, or lost; reservations alone are not
 *    use, or the page at 0 would stretch the map of every window.
 */
#include "bench/iova_heat.h"

#include <errno.h>
#include <inttypes.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>

#include "bench/iova.h"

#define PAGE ((uint64_t)1 << WORKLOAD_PAGE_SHIFT)

/* Characters of a line. */
#define LINE 64u

/* What a cell counts, in the order of the members in JSON. */
static const char *const kinds[] = {
	"live", "retired", "cached", "chunk_free", "slack", "reserved", "quarantined", "free",
};

#define KINDS (sizeof(kinds) / sizeof(kinds[0]))

static void figures(const struct dray_iova_cell *c, uint64_t ret[KINDS])
{
	const uint64_t all[KINDS] = { c->live, c->retired, c->cached, c->chunk_free, c->slack,
				      c->reserved, c->quarantined, c->free };

	for (unsigned i = 0; i < KINDS; i++)
		ret[i] = all[i];
}

static uint64_t held(const struct dray_iova_cell *c)
{
	return c->cached + c->chunk_free + c->slack;
}

static bool is_used(const struct dray_iova_cell *c)
{
	return c->live || c->retired || c->quarantined || held(c);
}

static bool look(struct workload_world *world, struct iova_heat_map *m)
{
	uint64_t pages = (m->last - m->first) / PAGE + 1;

	m->n = pages < IOVA_HEAT_CELLS ? (unsigned)pages : IOVA_HEAT_CELLS;
	return workload_world_heat(world, m->first, m->last, m->n, m->cells);
}

/* To the cells that are used. False: as narrow as before, or nothing is. */
static bool narrow(struct iova_heat_map *m)
{
	const uint64_t first = m->first, last = m->last;
	unsigned low = 0, high = m->n;

	while (low < m->n && !is_used(&m->cells[low]))
		low++;
	if (low == m->n) {
		m->n = 0;
		return false;
	}
	while (!is_used(&m->cells[high - 1]))
		high--;
	m->first = m->cells[low].first;
	if (high < m->n)
		m->last = m->cells[high].first - 1;
	return m->first != first || m->last != last;
}

int iova_heat_look(struct workload_world *world, struct iova_heat **ret)
{
	static const struct dray_range stretches[IOVA_HEAT_MAPS] = {
		{ UINT64_C(1) << 39, CONTENDER_LAST },
		{ UINT64_C(1) << 32, (UINT64_C(1) << 39) - 1 },
		{ CONTENDER_FIRST, (UINT64_C(1) << 32) - 1 },
	};
	struct iova_heat *h = calloc(1, sizeof(*h));
	bool tells = true;

	if (!h)
		return -ENOMEM;
	for (unsigned i = 0; tells && i < IOVA_HEAT_MAPS; i++) {
		struct iova_heat_map *m = &h->maps[h->n];

		m->first = stretches[i].first;
		m->last = stretches[i].last;
		do
			tells = look(world, m);
		while (tells && narrow(m));
		h->n += tells && m->n;
	}
	if (!tells) {
		free(h);
		h = NULL;
	}
	*ret = h;
	return 0;
}

static char letter(const struct dray_iova_cell *c)
{
	uint64_t used = c->live + c->retired;
	uint64_t all = used + c->quarantined + held(c) + c->reserved + c->free;

	if (c->quarantined)
		return '!';
	if (used == all)
		return '#';
	/* Tenths, rounded up: what is next to nothing is not nothing. */
	if (used)
		return (char)('0' + (used * 10 + all - 1) / all - (used * 10 > all * 9));
	if (held(c))
		return '.';
	return c->reserved * 2 > all ? 'x' : ' ';
}

static void print_map(const struct iova_heat_map *m)
{
	printf("0x%012" PRIx64 "-0x%012" PRIx64 ", %" PRIu64 " pages, %.4g to a cell\n", m->first,
	       m->last, (m->last - m->first) / PAGE + 1,
	       (double)((m->last - m->first) / PAGE + 1) / m->n);
	for (unsigned i = 0; i < m->n; i++) {
		if (i % LINE == 0)
			printf("  |");
		putchar(letter(&m->cells[i]));
		if (i % LINE == LINE - 1 || i + 1 == m->n)
			printf("|\n");
	}
}

void iova_heat_print(const struct iova_case *cases, unsigned n)
{
	bool any = false;

	for (unsigned i = 0; i < n; i++) {
		if (!cases[i].heat)
			continue;
		if (!any)
			printf("\nwhere ranges lie: 1 to 9 tenths of a cell are live or wait for a "
			       "flush, # all of it; . held by\ncaches, x reserved, ! lost, blank "
			       "free\n");
		any = true;
		printf("\n%-4s %-18s %3u\n", cases[i].workload->name, cases[i].contender->name,
		       cases[i].threads);
		for (unsigned k = 0; k < cases[i].heat->n; k++)
			print_map(&cases[i].heat->maps[k]);
	}
}

static struct json_object *map_json(const struct iova_heat_map *m)
{
	struct json_object *o = json_object_new_object();
	struct json_object *cells = json_object_new_array_ext((int)m->n);
	struct json_object *names = json_object_new_array_ext(KINDS);

	json_object_object_add(o, "first", json_object_new_uint64(m->first));
	json_object_object_add(o, "last", json_object_new_uint64(m->last));
	for (unsigned i = 0; i < KINDS; i++)
		json_object_array_add(names, json_object_new_string(kinds[i]));
	json_object_object_add(o, "kinds", names);
	for (unsigned i = 0; i < m->n; i++) {
		struct json_object *cell = json_object_new_array_ext(KINDS);
		uint64_t all[KINDS];

		figures(&m->cells[i], all);
		for (unsigned k = 0; k < KINDS; k++)
			json_object_array_add(cell, json_object_new_uint64(all[k]));
		json_object_array_add(cells, cell);
	}
	json_object_object_add(o, "cells", cells);
	return o;
}

void iova_heat_json(const struct iova_heat *h, struct json_object *o)
{
	struct json_object *maps;

	if (!h)
		return;
	maps = json_object_new_array_ext((int)h->n);
	for (unsigned i = 0; i < h->n; i++)
		json_object_array_add(maps, map_json(&h->maps[i]));
	json_object_object_add(o, "heat", maps);
}
