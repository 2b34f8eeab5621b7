// SPDX-License-Identifier: BSD-2-Clause
/*
 * Gaps that a flusher holds.
 *
 * 1. One ranged unmap covers everything between its ends, so who makes it must own what lies
 *    between the retired ranges for as long as the call takes. What is free there and still in its
 *    chunk is had for a few bits: they are cleared, as a refill does, and the slots' bytes say
 *    HELD, the first one of the run, and HELD_ON. So the run's length is recorded, no give of a
 *    slot in it passes, and a chunk that must be split has a live piece for it. Giving it back sets
 *    the bits.
 *
 * 2. What lies in a magazine, in another chunk, or across two of them, is not had: it would take a
 *    drain, which costs more than the call that it might save.
 *
 * 3. Everything here holds the space's lock, so bits and bytes of held slots change with it only.
 *    Held slots are used ones for the population rule; where they would break it, the answer is no.
 */
#include "iova/cache.h"
#include "iova/pieces.h"
#include "iova/state.h"

/* A run of whole slots of one chunk. */
struct run {
	struct dr_chunk *chunk;
	unsigned first, end; /* slots */
};

static bool find_run(const struct dr_cache *c, uint64_t first, uint64_t len, struct run *ret_run)
{
	uint64_t entry = dr_chunk_entry(c, first);
	unsigned n = dr_entry_n(entry);
	struct dr_chunk *chunk = dr_entry_chunk(entry);
	uint64_t slot_bytes = (uint64_t)n << c->granule_shift;

	if (!n || !len || (first - chunk->base) % slot_bytes || len % slot_bytes)
		return false;
	ret_run->chunk = chunk;
	ret_run->first = (unsigned)((first - chunk->base) / slot_bytes);
	if (ret_run->first >= chunk->slots || len / slot_bytes > chunk->slots - ret_run->first)
		return false;
	ret_run->end = ret_run->first + (unsigned)(len / slot_bytes);
	return true;
}

/* The bits of @run that word @w has. */
static uint64_t bits_of(const struct run *run, unsigned w)
{
	uint64_t below_end = UINT64_MAX, from_first = UINT64_MAX;

	if (run->end <= 64 * w || run->first >= 64 * (w + 1))
		return 0;
	if (run->end < 64 * (w + 1))
		below_end = (UINT64_C(1) << run->end % 64) - 1;
	if (run->first > 64 * w)
		from_first <<= run->first % 64;
	return below_end & from_first;
}

/* May so many more be out? A peak of what is used that this makes counts. */
static bool keeps_rule(struct dr_cache *c, unsigned granules)
{
	uint64_t out = dr_cache_out_locked(c) + granules, peak = c->peak_granules;
	struct dr_cache_sums sums;

	if (out <= dr_depot_limit_locked(c, peak))
		return true;
	dr_cache_sum_locked(c, &sums);
	if (sums.used_granules + granules > (int64_t)peak)
		peak = (uint64_t)sums.used_granules + granules;
	if (out > dr_depot_limit_locked(c, peak))
		return false;
	c->peak_granules = peak;
	return true;
}

bool dr_cache_hold_locked(struct dray_iova_space *s, uint64_t first, uint64_t last)
{
	struct dr_cache *c = s->cache;
	unsigned granules;
	struct run run;

	if (!find_run(c, first, last - first + 1, &run))
		return false;
	granules = (run.end - run.first) * run.chunk->n;
	for (unsigned w = 0; w < DR_CHUNK_WORDS; w++)
		if (bits_of(&run, w) & ~atomic_load_explicit(&run.chunk->avail[w],
							     memory_order_relaxed))
			return false;
	if (!keeps_rule(c, granules))
		return false;
	/* Acquire: what the slots' last holders did. Only the lock's holder clears bits. */
	for (unsigned w = 0; w < DR_CHUNK_WORDS; w++)
		if (bits_of(&run, w))
			atomic_fetch_and_explicit(&run.chunk->avail[w], ~bits_of(&run, w),
						  memory_order_acquire);
	for (unsigned i = run.first; i < run.end; i++)
		dr_chunk_set_state(c, run.chunk, i,
				   i == run.first ? DR_SLOT_HELD : DR_SLOT_HELD_ON);
	c->out_granules += granules;
	c->used_ranges++;
	c->used_granules += granules;
	return true;
}

/* Is exactly that held? */
static bool is_held(const struct dr_cache *c, uint64_t first, uint64_t len, struct run *ret_run)
{
	unsigned i;

	if (!find_run(c, first, len, ret_run) ||
	    dr_chunk_state(c, ret_run->chunk, ret_run->first) != DR_SLOT_HELD)
		return false;
	for (i = ret_run->first + 1; i < ret_run->chunk->slots; i++)
		if (dr_chunk_state(c, ret_run->chunk, i) != DR_SLOT_HELD_ON)
			break;
	return i == ret_run->end;
}

bool dr_cache_is_held_locked(const struct dray_iova_space *s, uint64_t first, uint64_t len)
{
	struct run run;

	return s->cache && is_held(s->cache, first, len, &run);
}

bool dr_cache_unhold_locked(struct dray_iova_space *s, uint64_t first, uint64_t len)
{
	struct dr_cache *c = s->cache;
	unsigned granules;
	struct run run;

	if (!c || !is_held(c, first, len, &run))
		return false;
	granules = (run.end - run.first) * run.chunk->n;
	for (unsigned i = run.first; i < run.end; i++) {
		dr_chunk_set_state(c, run.chunk, i, DR_SLOT_FREE);
		dr_chunk_return(c, dr_chunk_iova(c, run.chunk, i));
	}
	c->out_granules -= granules;
	c->used_ranges--;
	c->used_granules -= granules;
	return true;
}
