/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * From an address to the chunk that it lies in, and what the bytes of the chunk's slots say. For
 * the files of this directory only. What is recorded, and who may write it, is in cache.c.
 */
#ifndef DR_IOVA_STATE_H
#define DR_IOVA_STATE_H

#include "iova/cache.h"

/* State bytes lie one for each 4 KiB of IOVA, whatever the granule: a constant shift is cheap. */
#define DR_STATE_SHIFT 12u

/* What the state byte at the first granule of a slot says; 0 everywhere else. */
enum {
	DR_SLOT_NONE,
	DR_SLOT_FREE,
	DR_SLOT_QUAR,
	DR_SLOT_HELD,    /* hold.c: a run of slots begins here */
	DR_SLOT_HELD_ON, /* and goes on */
	/*
	 * Retired or live, and in the low bits log2 of its bytes, or why that would not do: ODD,
	 * the chunk knows more; SHORT, the bytes that follow do. Nothing is as long as 2 to the
	 * power of these; 63 is free, for the short way takes it for length 0. Ordered: above QUAR
	 * is in use, from LIVE on is live.
	 */
	DR_SLOT_RETIRED = 0x40,
	DR_SLOT_LIVE = 0x80,
	DR_SLOT_ODD = 0x3d,
	DR_SLOT_SHORT = 0x3e,
};

/*
 * Bits of a range's granules that each of the two bytes behind a SHORT one has: so few that the
 * byte looks like nobody's, whoever takes it for the first of a slot.
 */
#define DR_SHORT_BITS 6u

/* The chunk and n that hold @iova now, as struct dr_gig has them; 0 where there never was one. */
static inline uint64_t dr_chunk_entry(const struct dr_cache *c, uint64_t iova)
{
	uint64_t index = (iova - c->base) >> c->chunk_shift;
	struct dr_gig *gig;

	if (index >= c->n_chunks)
		return 0;
	/* Acquire: the leaf, its bytes and the chunk it names are complete. */
	gig = atomic_load_explicit(&c->root[index / 512], memory_order_acquire);
	return gig ? atomic_load_explicit(&gig->entry[index % 512], memory_order_acquire) : 0;
}

static inline struct dr_chunk *dr_entry_chunk(uint64_t entry)
{
	return (struct dr_chunk *)(uintptr_t)(entry & ((UINT64_C(1) << DR_ENTRY_SHIFT) - 1));
}

static inline unsigned dr_entry_n(uint64_t entry)
{
	return (unsigned)(entry >> DR_ENTRY_SHIFT);
}

/* The chunk that a cached address lies in. */
static inline struct dr_chunk *dr_chunk_at(const struct dr_cache *c, uint64_t iova)
{
	return dr_entry_chunk(dr_chunk_entry(c, iova));
}

/* The state byte of an address in a chunk. */
static inline _Atomic uint8_t *dr_state(const struct dr_cache *c, uint64_t iova)
{
	return (_Atomic uint8_t *)(c->states + (uintptr_t)(iova >> DR_STATE_SHIFT));
}

static inline uint64_t dr_chunk_iova(const struct dr_cache *c, const struct dr_chunk *chunk,
				     unsigned slot)
{
	return chunk->base + ((uint64_t)slot * chunk->n << c->granule_shift);
}

static inline uint8_t dr_chunk_state(const struct dr_cache *c, const struct dr_chunk *chunk,
				     unsigned slot)
{
	return atomic_load_explicit(dr_state(c, dr_chunk_iova(c, chunk, slot)),
				    memory_order_relaxed);
}

static inline void dr_chunk_set_state(const struct dr_cache *c, const struct dr_chunk *chunk,
				      unsigned slot, uint8_t state)
{
	atomic_store_explicit(dr_state(c, dr_chunk_iova(c, chunk, slot)), state,
			      memory_order_relaxed);
}

/*
 * Granules of the slots where [iova, iova + len) is, if such a slot may have that range, else 0.
 * Whether it has is for its bytes to say.
 */
static inline unsigned dr_chunk_cut(const struct dr_cache *c, uint64_t iova, uint64_t len)
{
	unsigned cut = dr_entry_n(dr_chunk_entry(c, iova));
	uint64_t n = len >> c->granule_shift;

	if (!cut || (iova | len) & c->granule_mask || n - 1 >= DR_CHUNK_GRANULES)
		return 0;
	return n == cut || dr_round_up(n) == cut ? cut : 0;
}

/* The byte of an address of n granules that is live or retired, in a slot of @cut. */
static inline uint8_t dr_slot_byte(const struct dr_cache *c, uint8_t state, uint64_t n,
				   unsigned cut)
{
	if (n != cut)
		return state | DR_SLOT_SHORT;
	return (uint8_t)(state |
			 (n & (n - 1) ? DR_SLOT_ODD : dr_class_of(n) + c->granule_shift));
}

/*
 * Granules of the range that a slot of three granules or more has, where they are less than the
 * slot's; else 0. Written by who owns the address.
 */
static inline unsigned dr_short_n(const _Atomic uint8_t *state)
{
	return atomic_load_explicit(&state[1], memory_order_relaxed) |
	       (unsigned)atomic_load_explicit(&state[2], memory_order_relaxed) << DR_SHORT_BITS;
}

static inline void dr_short_set(_Atomic uint8_t *state, unsigned n)
{
	atomic_store_explicit(&state[1], (uint8_t)(n & ((1u << DR_SHORT_BITS) - 1)),
			      memory_order_relaxed);
	atomic_store_explicit(&state[2], (uint8_t)(n >> DR_SHORT_BITS), memory_order_relaxed);
}

/* Has the slot a range of n granules in state @byte, which is dr_slot_byte()? */
static inline bool dr_slot_says(const _Atomic uint8_t *state, uint8_t byte, uint64_t n,
				unsigned cut)
{
	/* The other bytes only after the first one said that there are any. */
	return atomic_load_explicit(state, memory_order_relaxed) == byte &&
	       (n == cut || dr_short_n(state) == n);
}

/* Granules of the range that a used or quarantined slot has: all of it, or less. */
static inline unsigned dr_slot_has(const struct dr_cache *c, const struct dr_chunk *chunk,
				   unsigned slot)
{
	unsigned n = 0;

	if (chunk->n >= 3)
		n = dr_short_n(dr_state(c, dr_chunk_iova(c, chunk, slot)));
	return n ? n : chunk->n;
}

/* Somebody will give it back. */
static inline bool dr_slot_is_used(uint8_t state)
{
	return state >= DR_SLOT_HELD;
}

/* The byte of a slot that is the caller's, from one value to another; false: it was not @from. */
static inline bool dr_slot_turn(const struct dr_cache *c, _Atomic uint8_t *state, uint8_t from,
				uint8_t to)
{
	if (c->flags & DR_DEBUG)
		return atomic_compare_exchange_strong_explicit(state, &from, to,
							       memory_order_relaxed,
							       memory_order_relaxed);
	if (atomic_load_explicit(state, memory_order_relaxed) != from)
		return false;
	atomic_store_explicit(state, to, memory_order_relaxed);
	return true;
}

#endif
