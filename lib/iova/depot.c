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
 * 4. Population. `out` is what has left the chunks: live, or in some magazine. It grows only when
 *    a thread found its magazines and the depot's stack for the size empty. With P the peak of
 *    live and Q the quota (both magazines of every attached slot, full; the batch that is about to
 *    leave belongs to it), the rule is
 *
 *        out <= 1.25 * (P + Q)
 *
 *    One size alone keeps it by itself: the depot is empty at growth, so out <= live + Q. With
 *    many sizes the depots of others may be full: growth then pours their magazines back into the
 *    chunks until the rule holds or the depots are empty, in which case out <= live + Q again.
 *    That is the depot's whole ageing: paid for by growth, with no clock and no thread. P as we
 *    know it is what growth saw, which is never above the true one, so the rule held is never
 *    weaker. Magazines of a size come from the top of its stack; sizes take turns.
 *
 * 5. Failures: no memory for a magazine means that its user does without, never that it fails.
 */
#include "iova/cache.h"

#include "base/hooks.h"
#include "iova/pieces.h"

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
		struct dr_entry e = mag->entry[--mag->count];

		granules += dr_chunk_of(e.state)->n;
		dr_chunk_return(c, e);
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

void dr_cache_live_locked(const struct dr_cache *c, int64_t *ret_ranges, int64_t *ret_granules)
{

	*ret_ranges = c->live_ranges;
	*ret_granules = c->live_granules;
	for (unsigned i = 0; i < c->threads; i++) {
		const struct dr_tcache *t =
			atomic_load_explicit(&c->by_thread[i], memory_order_acquire);

		if (!t)
			continue;
		*ret_ranges += atomic_load_explicit(&t->live_ranges, memory_order_relaxed);
		*ret_granules += atomic_load_explicit(&t->live_granules, memory_order_relaxed);
		for (unsigned k = 0; k < c->zones * DR_CLASSES; k++) {
			const struct dr_slot *slot = &t->slot[k / DR_CLASSES][k % DR_CLASSES];
			int64_t live = atomic_load_explicit(&slot->live, memory_order_relaxed);

			*ret_ranges += live;
			*ret_granules += live * atomic_load_explicit(&slot->n,
								     memory_order_relaxed);
		}
	}
}

uint64_t dr_cache_out_locked(const struct dr_cache *c)
{
	uint64_t out = c->out_granules;

	for (unsigned i = 0; i < c->threads; i++) {
		const struct dr_tcache *t =
			atomic_load_explicit(&c->by_thread[i], memory_order_acquire);

		if (t)
			out -= atomic_load_explicit(&t->back_granules, memory_order_relaxed);
	}
	return out;
}

void dr_depot_trim_locked(struct dray_iova_space *s, uint64_t more)
{
	struct dr_cache *c = s->cache;
	uint64_t quota = atomic_load_explicit(&c->quota_granules, memory_order_relaxed);
	uint64_t out = dr_cache_out_locked(c), live, limit, sure;
	int64_t ranges, granules;
	bool any = true;

	/* Live by counting where the depot has some, by paragraph 4's argument if it is not. */
	sure = out > quota ? out - quota : 0;
	live = sure;
	if (dr_depot_granules(c)) {
		dr_cache_live_locked(c, &ranges, &granules);
		live = granules > 0 ? (uint64_t)granules : 0;
	}
	if (live > c->peak_granules)
		c->peak_granules = live;
	limit = c->peak_granules + quota;
	limit += limit / 4;
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
