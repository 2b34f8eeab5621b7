// SPDX-License-Identifier: BSD-2-Clause
/* Cells are told apart by asking of every granule in turn which one it is in. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "heat.h"

#define CELLS 97u

static uint64_t next(uint64_t *state)
{
	*state = *state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return *state >> 33;
}

uint64_t heat_granules(const struct dray_iova_cell *cell)
{
	return cell->live + cell->retired + cell->cached + cell->chunk_free + cell->slack +
	       cell->reserved + cell->quarantined + cell->free;
}

/* Where cell @k of @n begins, counted in granules from the first: the first ones are longer. */
static uint64_t begin_of(uint64_t granules, uint64_t n, uint64_t k)
{
	uint64_t longer = granules % n;

	return k * (granules / n) + (k < longer ? k : longer);
}

/* What the oracle says of the granule, into the cell; what is free may be in any cache. */
static void add(const struct oracle *o, uint64_t iova, struct dray_iova_cell *want)
{
	const struct cell *c;

	if (iova < o->base || (iova - o->base) / o->granule >= o->n)
		return;
	c = &o->cell[(iova - o->base) / o->granule];
	if (c->use == AUTO || c->use == FIXED)
		want->live++;
	else if (c->use == RETIRED)
		want->retired++;
	else if (c->use == QUARANTINED)
		want->quarantined++;
	else if (c->resv || c->hw || !iova)
		want->reserved++;
	else
		want->free++;
}

static void compare(const struct dray_iova_cell *got, const struct dray_iova_cell *want)
{
	assert_int_equal(got->first, want->first);
	assert_int_equal(got->live, want->live);
	assert_int_equal(got->retired, want->retired);
	assert_int_equal(got->quarantined, want->quarantined);
	assert_int_equal(got->reserved, want->reserved);
	assert_int_equal(got->free + got->cached + got->chunk_free + got->slack, want->free);
}

void heat_matches(const struct dray_iova_space *s, const struct oracle *o, uint64_t *seed)
{
	uint64_t n = 1 + next(seed) % CELLS, below = o->base / o->granule;
	uint64_t above = (UINT64_MAX - o->base) / o->granule - (o->n - 1);
	uint64_t first = next(seed) % o->n, granules = 1 + next(seed) % (o->n - first);
	struct dray_iova_cell got[CELLS + 1];

	/* Now and then a little beyond the window, as far as there are addresses. */
	if (next(seed) % 4 == 0) {
		uint64_t more = next(seed) % 50;

		below = more < below ? more : below;
		above = more < above ? more : above;
		first = 0 - below;
		granules = below + o->n + above;
	}
	memset(got, 0xa5, sizeof(got));
	assert_int_equal(dray_iova_space_heat(s, o->base + first * o->granule,
					      o->base + (first + granules) * o->granule - 1, n,
					      got), 0);
	for (uint64_t k = 0; k < n; k++) {
		uint64_t at = begin_of(granules, n, k), end = begin_of(granules, n, k + 1);
		struct dray_iova_cell want = {.first = DRAY_IOVA_NONE};

		if (at < end)
			want.first = o->base + (first + at) * o->granule;
		for (; at < end; at++)
			add(o, o->base + (first + at) * o->granule, &want);
		compare(&got[k], &want);
	}
	/* Nothing behind the last one is written. */
	assert_int_equal(got[n].live, UINT64_C(0xa5a5a5a5a5a5a5a5));
}

void heat_is_the_statistics(const struct dray_iova_space *s, uint64_t granule)
{
	struct dray_iova_stats st = {.size = sizeof(st)};
	struct dray_iova_cell all;

	assert_int_equal(dray_iova_space_stats(s, &st), 0);
	assert_int_equal(dray_iova_space_heat(s, 0, DRAY_IOVA_NONE, 1, &all), 0);
	assert_int_equal(all.live * granule, st.live_bytes);
	assert_int_equal(all.retired * granule, st.retired_bytes);
	assert_int_equal(all.cached * granule, st.cached_bytes);
	assert_int_equal(all.chunk_free * granule, st.chunk_free_bytes);
	assert_int_equal(all.quarantined * granule, st.quarantined_bytes);
}
