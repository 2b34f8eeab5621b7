// SPDX-License-Identifier: BSD-2-Clause
/* What lookups seldom need: buffers across pages, threads without slots, and the way back. */
#include "region/descriptor.h"

/*
 * A region is one range, so a buffer whose first and last bytes are in it is whole inside it. In
 * one read section an index belongs to one region.
 */
bool dr_region_ends_in(const struct dr_regions *r, uint64_t word, uint64_t last)
{
	uint64_t mask, other = dr_table_find(&r->table, last, &mask);

	return dr_slot_is_entry(other) && dr_slot_index(other) == dr_slot_index(word);
}

/* Without the lock: descriptors and their chunks stay, and who has the index had it published. */
static _Atomic uint32_t *shared_out(const struct dr_regions *r, uint32_t index)
{
	uint32_t off;
	unsigned k = dr_region_chunk(index, &off);

	return &r->chunk[k][off].shared_out;
}

void dr_region_enter_slow(struct dr_regions *r, uint32_t index, uint32_t more)
{
	uint32_t n = atomic_load_explicit(&r->n, memory_order_relaxed);

	dr_counts_ready(&r->counts, n > index ? n : index + 1);
	if (!dr_counts_add(&r->counts, index, more))
		atomic_fetch_add_explicit(shared_out(r, index), more, memory_order_release);
}

void dr_region_leave_shared(struct dr_regions *r, uint32_t index, uint32_t n)
{
	/* Release: see dr_counts_sum(). */
	atomic_fetch_sub_explicit(shared_out(r, index), n, memory_order_release);
}

size_t dr_region_run_on(const struct dr_regions *r, uint64_t key, dray_iova_t iova, size_t have,
			size_t want)
{
	while (have < want) {
		uint64_t mask, word = dr_table_find(&r->table, key + have, &mask);

		/* What follows begins an entry: its value is what must adjoin. */
		if (!dr_slot_is_entry(word) || dr_slot_value(word) != iova + have)
			return have;
		have += (size_t)mask + 1;
	}
	return want;
}

void *dr_regions_va(const struct dr_regions *r, dray_iova_t iova)
{
	const struct dr_table *t = atomic_load_explicit(&r->reverse, memory_order_acquire);
	uint64_t mask = 0, word = t ? dr_table_find(t, iova, &mask) : 0;

	if (!dr_slot_is_entry(word))
		return NULL;
	return (void *)(uintptr_t)(dr_slot_value(word) + (iova & mask));
}
