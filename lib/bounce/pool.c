// SPDX-License-Identifier: BSD-2-Clause
/*
 * Slots of one pool.
 *
 * 1. A pool is a run of slots of 2 KiB, cut into areas. A request takes contiguous slots inside one
 *    area. Each thread looks first in the area that its number says, then in the others of the
 *    pool: so threads meet in one bitmap only when their own areas are full, or when there are more
 *    of them than areas. The lowest place that fits is taken, which is the one whose memory was
 *    used last.
 *
 * 2. A bit of the bitmap says whose its slot is: set by a compare-and-swap, the slot belongs to the
 *    thread that set it, until whoever holds the handle clears it. There is no lock. A request over
 *    several words takes them in ascending order and gives back what it has when one of them is
 *    taken: of two that want overlapping runs, the one that wins the lowest word they share has
 *    both, so one of them always gets on. A bit is set once and by one thread, so no slot is ever
 *    in two requests, whatever their alignment.
 *
 * 3. Bits past the end of an area are set for ever. A pool that is to go has all its bits claimed
 *    the same way: from then on every claim fails, without anybody having been told.
 *
 *               | claim                      free                    claim_all
 *    -----------+--------------------------------------------------------------------------
 *    claim      | compare-and-swap decides   sees the bit or not     either has the word
 *    free       |                            different bits          it fails, or comes after
 *    claim_all  |                                                    the bounce's lock
 */
#include "bounce/pool.h"

#include <string.h>

#define WORD_BITS 64u
/* Two lines: the adjacent-line prefetcher pairs them. */
#define AREA_ALIGN 128u

static unsigned words_of(unsigned slots)
{
	return (slots + WORD_BITS - 1) / WORD_BITS;
}

static unsigned stride_of(unsigned slots)
{
	return (unsigned)dr_align_up(sizeof(struct dr_area) + words_of(slots) * sizeof(uint64_t),
				     AREA_ALIGN);
}

size_t dr_areas_bytes(size_t slots)
{
	size_t ordinary = (slots / DR_AREA_SLOTS + 1) * stride_of(DR_AREA_SLOTS);
	size_t large = (slots / DR_LARGE_SLOTS + 1) * stride_of(DR_LARGE_SLOTS);

	return ordinary > large ? ordinary : large;
}

/* The bits of word @w that are slots of an area of @slots. */
static uint64_t slots_in_word(unsigned slots, unsigned w)
{
	unsigned n = slots - w * WORD_BITS;

	return n >= WORD_BITS ? UINT64_MAX : (UINT64_C(1) << n) - 1;
}

void dr_pool_cut(struct dr_pool *p, size_t bytes, bool large)
{
	unsigned slots = (unsigned)(bytes >> DR_SLOT_SHIFT);
	unsigned each = large ? DR_LARGE_SLOTS : DR_AREA_SLOTS;

	if (each > slots)
		each = slots;
	p->large = large;
	p->area_slots = each;
	p->n_areas = slots / each;
	p->slots = p->n_areas * each;
	p->area_stride = stride_of(each);
	p->home_mask = (unsigned)dr_pow2_up(p->n_areas + 1u) / 2 - 1;
	for (unsigned i = 0; i < p->n_areas; i++) {
		struct dr_area *a = dr_area_at(p, i);

		atomic_store_explicit(&a->high, 0, memory_order_relaxed);
		atomic_store_explicit(&a->epoch, 0, memory_order_relaxed);
		for (unsigned w = 0; w < words_of(each); w++)
			atomic_store_explicit(&a->used[w], ~slots_in_word(each, w),
					      memory_order_relaxed);
	}
}

/* Bits [from, end) of one word. */
static uint64_t bits(unsigned from, unsigned end)
{
	return (end - from == WORD_BITS ? UINT64_MAX : (UINT64_C(1) << (end - from)) - 1) << from;
}

/* The part of [s, s + n) that is in word @w. */
static uint64_t bits_in_word(unsigned s, unsigned n, unsigned w)
{
	unsigned low = w * WORD_BITS;
	unsigned from = s > low ? s - low : 0;
	unsigned end = s + n - low < WORD_BITS ? s + n - low : WORD_BITS;

	return bits(from, end);
}

/* One past the highest used slot in [s, s + n); 0 where there is none. */
static unsigned last_used_end(const struct dr_area *a, unsigned s, unsigned n)
{
	for (unsigned w = (s + n - 1) / WORD_BITS + 1; w-- > s / WORD_BITS;) {
		uint64_t used = atomic_load_explicit(&a->used[w], memory_order_relaxed) &
				bits_in_word(s, n, w);

		if (used)
			return w * WORD_BITS + WORD_BITS - (unsigned)__builtin_clzll(used);
	}
	return 0;
}

/* The first unused slot from @s on, or @slots. */
static unsigned next_free(const struct dr_area *a, unsigned s, unsigned slots)
{
	for (unsigned w = s / WORD_BITS; w < words_of(slots); w++) {
		uint64_t unused = ~atomic_load_explicit(&a->used[w], memory_order_relaxed);

		if (w == s / WORD_BITS)
			unused &= UINT64_MAX << s % WORD_BITS;
		if (unused)
			return w * WORD_BITS + (unsigned)__builtin_ctzll(unused);
	}
	return slots;
}

static void clear(struct dr_area *a, unsigned s, unsigned n)
{
	/* Release: what the owner read and wrote in the slots comes before the next one's. */
	for (unsigned w = s / WORD_BITS; w <= (s + n - 1) / WORD_BITS; w++)
		atomic_fetch_and_explicit(&a->used[w], ~bits_in_word(s, n, w),
					  memory_order_release);
}

static bool set_word(struct dr_area *a, unsigned w, uint64_t mask)
{
	uint64_t old = atomic_load_explicit(&a->used[w], memory_order_relaxed);

	do {
		if (old & mask)
			return false;
		/* Acquire: pairs with clear(). */
	} while (!atomic_compare_exchange_weak_explicit(&a->used[w], &old, old | mask,
							 memory_order_acquire,
							 memory_order_relaxed));
	return true;
}

static bool set(struct dr_area *a, unsigned s, unsigned n)
{
	for (unsigned w = s / WORD_BITS; w <= (s + n - 1) / WORD_BITS; w++) {
		if (set_word(a, w, bits_in_word(s, n, w)))
			continue;
		if (w > s / WORD_BITS)
			clear(a, s, w * WORD_BITS - s);
		return false;
	}
	return true;
}

/* @base: number of the area's first slot, counted in slots from address 0. */
static bool claim_in_area(struct dr_area *a, unsigned slots, uint64_t base, const struct dr_want *w,
			  unsigned *ret_slot)
{
	uint64_t low = w->align - 1;
	unsigned n = (unsigned)w->n;
	/* Wide: the next place of a large alignment may be far outside the area. */
	uint64_t s = (w->phase - base) & low;

	while (s + n <= slots) {
		unsigned end = last_used_end(a, (unsigned)s, n);

		if (end) {
			s = next_free(a, end, slots);
			s += (w->phase - base - s) & low;
			continue;
		}
		if (w->boundary_mask) {
			uint64_t at = ((base + s) << DR_SLOT_SHIFT) + w->off;

			if ((at & w->boundary_mask) + w->len - 1 > w->boundary_mask) {
				s += w->align;
				continue;
			}
		}
		/* Lost to another thread: its bits are there to be seen now. */
		if (set(a, (unsigned)s, n)) {
			*ret_slot = (unsigned)s;
			return true;
		}
	}
	return false;
}

/* Written only when they change, so that a busy area keeps its line to itself. */
static void note_claim(struct dr_area *a, uint32_t end, uint32_t epoch)
{
	uint32_t high = atomic_load_explicit(&a->high, memory_order_relaxed);

	while (high < end &&
	       !atomic_compare_exchange_weak_explicit(&a->high, &high, end, memory_order_relaxed,
						      memory_order_relaxed))
		;
	if (atomic_load_explicit(&a->epoch, memory_order_relaxed) != epoch)
		atomic_store_explicit(&a->epoch, epoch, memory_order_relaxed);
}

bool dr_pool_claim(struct dr_pool *p, const struct dr_want *w, uint32_t epoch, unsigned *ret_slot)
{
	uint64_t base = (p->permanent ? p->iova : (uintptr_t)p->va) >> DR_SLOT_SHIFT;
	unsigned home = dr_thread_peek() & p->home_mask;

	if (w->n > p->area_slots)
		return false;
	for (unsigned k = 0; k < p->n_areas; k++) {
		unsigned i = home + k < p->n_areas ? home + k : home + k - p->n_areas;
		struct dr_area *a = dr_area_at(p, i);

		if (claim_in_area(a, p->area_slots, base + (uint64_t)i * p->area_slots, w,
				  ret_slot)) {
			note_claim(a, *ret_slot + (uint32_t)w->n, epoch);
			*ret_slot += i * p->area_slots;
			return true;
		}
	}
	return false;
}

void dr_pool_free(struct dr_pool *p, unsigned slot, size_t n)
{
	clear(dr_area_at(p, slot / p->area_slots), slot % p->area_slots, (unsigned)n);
}

void dr_pool_free_all(struct dr_pool *p)
{
	for (unsigned i = 0; i < p->n_areas; i++)
		clear(dr_area_at(p, i), 0, p->area_slots);
}

bool dr_pool_claim_all(struct dr_pool *p)
{
	for (unsigned i = 0; i < p->n_areas; i++) {
		if (set(dr_area_at(p, i), 0, p->area_slots))
			continue;
		while (i-- > 0)
			clear(dr_area_at(p, i), 0, p->area_slots);
		return false;
	}
	return true;
}

size_t dr_pool_used(const struct dr_pool *p)
{
	size_t n = 0;

	for (unsigned i = 0; i < p->n_areas; i++)
		for (unsigned w = 0; w < words_of(p->area_slots); w++)
			n += (size_t)__builtin_popcountll(
				atomic_load_explicit(&dr_area_at(p, i)->used[w],
						     memory_order_relaxed) &
				slots_in_word(p->area_slots, w));
	return n;
}

uint64_t dr_pool_high_bytes(const struct dr_pool *p)
{
	uint64_t n = 0;

	for (unsigned i = 0; i < p->n_areas; i++)
		n += atomic_load_explicit(&dr_area_at(p, i)->high, memory_order_relaxed);
	return n << DR_SLOT_SHIFT;
}

bool dr_pool_was_used_since(const struct dr_pool *p, uint32_t epoch)
{
	for (unsigned i = 0; i < p->n_areas; i++)
		/* As a difference, so that it may wrap. */
		if ((int32_t)(atomic_load_explicit(&dr_area_at(p, i)->epoch, memory_order_relaxed) -
			      epoch) >= 0)
			return true;
	return false;
}
