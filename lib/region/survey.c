// SPDX-License-Identifier: BSD-2-Clause
/* Questions about all regions of a domain. None of them is on a fast path. */
#include "region/descriptor.h"

static enum dr_region_state state_of(const struct dr_regions *r, uint32_t index)
{
	return atomic_load_explicit(dr_region_state(r, index), memory_order_acquire);
}

static uint32_t count_locked(const struct dr_regions *r)
{
	return atomic_load_explicit(&r->n, memory_order_relaxed);
}

bool dr_regions_any(struct dr_regions *r, uint32_t without_flag)
{
	bool any = false;

	pthread_mutex_lock(&r->lock);
	for (uint32_t i = 0; i < count_locked(r) && !any; i++)
		any = state_of(r, i) != DR_REGION_FREE &&
		      !(dr_region_at_locked(r, i)->flags & without_flag);
	pthread_mutex_unlock(&r->lock);
	return any;
}

/* May mappings be out in it? */
static bool is_entered(const struct dr_regions *r, uint32_t index)
{
	enum dr_region_state state = state_of(r, index);

	return state == DR_REGION_LIVE || state == DR_REGION_DYING;
}

bool dr_regions_out_above(struct dr_regions *r, uint64_t mask)
{
	bool any = false;

	pthread_mutex_lock(&r->lock);
	for (uint32_t i = 0; i < count_locked(r) && !any; i++) {
		struct dray_region *g = dr_region_at_locked(r, i);

		any = is_entered(r, i) && g->iova + g->len - 1 > mask && dr_region_out(r, g);
	}
	pthread_mutex_unlock(&r->lock);
	return any;
}

uint64_t dr_regions_clear_leaks(struct dr_regions *r)
{
	uint64_t leaks = 0;

	pthread_mutex_lock(&r->lock);
	for (uint32_t i = 0; i < count_locked(r); i++) {
		struct dray_region *g = dr_region_at_locked(r, i);
		uint32_t out = is_entered(r, i) ? dr_region_out(r, g) : 0;

		if (out)
			atomic_fetch_sub_explicit(&g->shared_out, out, memory_order_relaxed);
		leaks += out;
	}
	pthread_mutex_unlock(&r->lock);
	return leaks;
}

/* Does the table say of each page of a region what the region is? */
static bool is_told_right(const struct dr_table *t, uint64_t key, uint64_t value,
			  const struct dray_region *g, bool live)
{
	uint64_t mask;

	for (uint64_t off = 0; off < g->len; off += (uint64_t)1 << DR_SMALL_SHIFT) {
		uint64_t word = dr_table_find(t, key + off, &mask);

		if (!live && dr_slot_is_entry(word))
			return false;
		if (live && (!dr_slot_is_entry(word) || dr_slot_index(word) != g->index ||
			     dr_slot_value(word) + ((key + off) & mask) != value + off))
			return false;
	}
	return true;
}

bool dr_regions_is_valid(struct dr_regions *r)
{
	const struct dr_table *reverse = atomic_load_explicit(&r->reverse, memory_order_acquire);
	uint64_t pages = 0, others = 0, have, have_others = 0;
	uint32_t used = 0, unused = 0;
	bool ok;

	pthread_mutex_lock(&r->lock);
	ok = dr_table_is_valid(&r->table, &have);
	if (reverse)
		ok = ok && dr_table_is_valid(reverse, &have_others);
	for (uint32_t i = 0; i < count_locked(r) && ok; i++) {
		const struct dray_region *g = dr_region_at_locked(r, i);
		bool premapped = g->flags & DRAY_REGION_PREMAPPED;
		enum dr_region_state state = state_of(r, i);
		uint64_t va = (uintptr_t)g->va;

		ok = g->regions == r && g->index == i;
		if (state == DR_REGION_FREE)
			continue;
		used++;
		pages += g->len >> DR_SMALL_SHIFT;
		ok = ok && is_told_right(&r->table, va, g->iova, g, state == DR_REGION_LIVE);
		if (premapped) {
			others += g->len >> DR_SMALL_SHIFT;
			ok = ok && is_told_right(reverse, g->iova, va, g, state == DR_REGION_LIVE);
		}
	}
	for (const struct dray_region *g = r->free; g && ok; g = g->next_free) {
		unused++;
		ok = state_of(r, g->index) == DR_REGION_FREE;
	}
	ok = ok && pages == have && others == have_others && used + unused == count_locked(r);
	pthread_mutex_unlock(&r->lock);
	return ok;
}
