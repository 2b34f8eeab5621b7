// SPDX-License-Identifier: BSD-2-Clause
/*
 * The depot: magazines that no thread holds. What magazines are for is in cache.c.
 *
 * 1. For each power of two and zone a stack of full magazines; one stack of empty ones for all.
 *    A thread exchanges a full one for an empty one or the other way round, one compare-and-swap
 *    each, from inside its cache (cache.c, 4) or with the space's lock.
 *
 * 2. A stack's head is a number of 24 bits, the top magazine's + 1, below a tag of 40 bits that
 *    every push and pop counts up. Magazines are named by number and live until the space closes,
 *    so reading `next` of one that somebody else has popped meanwhile is harmless, and its value is
 *    used only if the head is still the same word. The same top with another one below it (ABA)
 *    would need exactly 2^40 exchanges between one thread's load and its compare-and-swap: at
 *    10 ns each three hours inside a window of ten instructions. A grace period would need a read
 *    section in every give, which may allocate; taking the whole list would hide it from others.
 *
 * 3. Ordering. A push releases: what the pusher wrote into the magazine, and `next`, is seen by
 *    whoever acquires the head. A pop acquires for that, and keeps the release sequence of the
 *    magazines below alive, because every change of the head is a read-modify-write.
 *
 * 4. Population. `out` is what has left the chunks: used (live, or retired until a flush), or in
 *    some magazine. All of it is whole slots, also where a range leaves part of its own. It grows
 *    only when a thread found its magazines and the depot's stack for the size empty, or a flusher
 *    holds a gap (hold.c, within the rule). With P the peak of used and Q the quota (both magazines
 *    of every attached slot, full; the batch that is about to leave belongs to it), the rule is
 *
 *        out <= 1.25 * (P + Q)
 *
 *    One size alone keeps it by itself: the depot is empty at growth, so out <= used + Q. With
 *    many sizes the depots of others may be full: growth then pours their magazines back into the
 *    chunks until the rule holds or the depots are empty, in which case out <= used + Q again.
 *    That is the depot's whole ageing: paid for by growth, with no clock and no thread. P as we
 *    know it is what growth saw, which is never above the true one, so the rule held is never
 *    weaker. Magazines of a size come from the top of its stack; sizes take turns.
 *
 * 5. Failures: no memory for a magazine means that its user does without, never that it fails.
 */
#include "iova/cache.h"

#include "base/hooks.h"
#include "iova/pieces.h"
#include "iova/state.h"

#define NUMBER_BITS 24
#define NUMBER_MASK ((UINT64_C(1) << NUMBER_BITS) - 1)

/* Always empty and always full: takes and gives need no other test for "no magazine". */
struct dr_mag dr_mag_none;

/* Segment k holds 32 << k magazines and those before it 32 * (2^k - 1). */
static unsigned segment_of(uint32_t number)
{
	return 31u - (unsigned)__builtin_clz(number / DR_MAG_FIRST + 1);
}

struct dr_mag *dr_mag_at(const struct dr_cache *c, uint32_t number)
{
	unsigned k = segment_of(number);
	/* Acquire: pairs with the segment's publication. */
	struct dr_mag *seg = atomic_load_explicit(&c->seg[k], memory_order_acquire);

	return &seg[number - DR_MAG_FIRST * ((1u << k) - 1)];
}

void dr_stack_push(const struct dr_cache *c, struct dr_stack *stack, struct dr_mag *mag)
{
	uint64_t head = atomic_load_explicit(&stack->head, memory_order_relaxed);
	uint64_t wanted;

	(void)c;
	do {
		atomic_store_explicit(&mag->next, (uint32_t)(head & NUMBER_MASK),
				      memory_order_relaxed);
		wanted = (((head >> NUMBER_BITS) + 1) << NUMBER_BITS) | (mag->number + 1);
		/* Release: paragraph 3. */
	} while (!atomic_compare_exchange_weak_explicit(&stack->head, &head, wanted,
							memory_order_release,
							memory_order_relaxed));
	atomic_fetch_add_explicit(&stack->count, 1, memory_order_relaxed);
}

struct dr_mag *dr_stack_pop(const struct dr_cache *c, struct dr_stack *stack)
{
	/* Acquire: paragraph 3. */
	uint64_t head = atomic_load_explicit(&stack->head, memory_order_acquire);
	struct dr_mag *mag;
	uint64_t wanted;

	do {
		if (!(head & NUMBER_MASK))
			return NULL;
		mag = dr_mag_at(c, (uint32_t)(head & NUMBER_MASK) - 1);
		wanted = (((head >> NUMBER_BITS) + 1) << NUMBER_BITS) |
			 atomic_load_explicit(&mag->next, memory_order_relaxed);
	} while (!atomic_compare_exchange_weak_explicit(&stack->head, &head, wanted,
							memory_order_acquire,
							memory_order_acquire));
	atomic_fetch_sub_explicit(&stack->count, 1, memory_order_relaxed);
	return mag;
}

/* One more magazine. NULL: no memory, or the table is full. */
static struct dr_mag *new_mag(struct dr_cache *c)
{
	unsigned k = segment_of(c->mags);
	struct dr_mag *mag, *seg;

	if (k >= DR_MAG_SEGMENTS)
		return NULL;
	seg = atomic_load_explicit(&c->seg[k], memory_order_relaxed);
	if (!seg) {
		seg = dr_hooks->alloc((DR_MAG_FIRST << k) * sizeof(*seg), _Alignof(struct dr_mag));
		if (!seg)
			return NULL;
		/* Release: the magazines are zeroed before anybody finds them by number. */
		atomic_store_explicit(&c->seg[k], seg, memory_order_release);
	}
	mag = dr_mag_at(c, c->mags);
	mag->number = c->mags++;
	return mag;
}

struct dr_mag *dr_mag_get_locked(struct dr_cache *c)
{
	struct dr_mag *mag = dr_stack_pop(c, &c->empty);

	return mag ? mag : new_mag(c);
}

void dr_mag_stock_locked(struct dr_cache *c, uint64_t more)
{
	uint64_t quota = atomic_load_explicit(&c->quota_granules, memory_order_relaxed);
	struct dr_mag *mag = NULL;

	if (c->mags * more < dr_cache_out_locked(c) + quota + more)
		mag = new_mag(c);
	if (mag)
		dr_stack_push(c, &c->empty, mag);
}

uint64_t dr_mag_pour(struct dr_cache *c, struct dr_mag *mag)
{
	uint64_t granules = 0;

	while (mag->count) {
		uint64_t iova = mag->iova[--mag->count];

		granules += dr_chunk_at(c, iova)->n;
		dr_chunk_return(c, iova);
	}
	return granules;
}

uint64_t dr_depot_granules(const struct dr_cache *c)
{
	uint64_t granules = 0;

	for (unsigned z = 0; z < c->zones; z++)
		for (unsigned k = 0; k < DR_ORDERS; k++) {
			/* May be behind by the exchanges under way, also below 0. */
			int32_t count = (int32_t)atomic_load_explicit(&c->full[z][k].count,
								      memory_order_relaxed);

			if (count > 0)
				granules += ((uint64_t)count * dr_mag_cap(1u << k)) << k;
		}
	return granules;
}

void dr_cache_sum_locked(const struct dr_cache *c, struct dr_cache_sums *ret_sums)
{
	struct dr_cache_sums sums = {
		c->used_ranges, c->used_granules, c->retired_ranges, c->retired_granules,
		c->slack_granules,
	};

	for (unsigned i = 0; i < c->threads; i++) {
		struct dr_tcache *t = dr_tcache_at(c, i);

		if (!t)
			continue;
		sums.used_ranges += atomic_load_explicit(&t->used_ranges, memory_order_relaxed);
		sums.used_granules += atomic_load_explicit(&t->used_granules,
							   memory_order_relaxed);
		sums.retired_ranges += atomic_load_explicit(&t->retired_ranges,
							    memory_order_relaxed);
		sums.retired_granules += atomic_load_explicit(&t->retired_granules,
							      memory_order_relaxed);
		sums.slack_granules += atomic_load_explicit(&t->slack_granules,
							    memory_order_relaxed);
		for (unsigned k = 0; k < c->zones * DR_CLASSES; k++) {
			const struct dr_slot *slot =
				dr_slot_of(c, t, k / DR_CLASSES, k % DR_CLASSES);
			int64_t used = dr_slot_used(slot);

			sums.used_ranges += used;
			sums.used_granules += used * dr_slot_n(slot);
		}
	}
	*ret_sums = sums;
}

uint64_t dr_cache_out_locked(const struct dr_cache *c)
{
	uint64_t out = c->out_granules;

	for (unsigned i = 0; i < c->threads; i++) {
		const struct dr_tcache *t = dr_tcache_at(c, i);

		if (t)
			out -= atomic_load_explicit(&t->back_granules, memory_order_relaxed);
	}
	return out;
}

uint64_t dr_depot_limit_locked(const struct dr_cache *c, uint64_t peak)
{
	uint64_t limit = peak + atomic_load_explicit(&c->quota_granules, memory_order_relaxed);

	return limit + limit / 4;
}

void dr_depot_trim_locked(struct dray_iova_space *s, uint64_t more)
{
	struct dr_cache *c = s->cache;
	uint64_t quota = atomic_load_explicit(&c->quota_granules, memory_order_relaxed);
	uint64_t out = dr_cache_out_locked(c), used, limit;
	struct dr_cache_sums sums;
	bool any = true;

	/* Used by counting where the depot has some, by paragraph 4's argument if it is not. */
	used = out > quota ? out - quota : 0;
	if (dr_depot_granules(c)) {
		dr_cache_sum_locked(c, &sums);
		used = sums.used_granules > 0 ? (uint64_t)sums.used_granules : 0;
	}
	if (used > c->peak_granules)
		c->peak_granules = used;
	limit = dr_depot_limit_locked(c, c->peak_granules);
	while (any && out + more > limit) {
		any = false;
		for (unsigned i = 0; i < c->zones * DR_ORDERS && out + more > limit; i++) {
			struct dr_mag *mag =
				dr_stack_pop(c, &c->full[i / DR_ORDERS][i % DR_ORDERS]);
			uint64_t back;

			if (!mag)
				continue;
			any = true;
			back = dr_mag_pour(c, mag);
			dr_stack_push(c, &c->empty, mag);
			c->out_granules -= back;
			out -= back;
			c->trims++;
		}
	}
	if (out + more > c->population_peak)
		c->population_peak = out + more;
}
