/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Addresses to addresses, at 4 KiB exactness: which page is behind a page, and whose it is. Regions
 * keep two: VA to IOVA, and, for what somebody else mapped, IOVA to VA. The theory is at the top of
 * table.c.
 */
#ifndef DR_REGION_TABLE_H
#define DR_REGION_TABLE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Keys and values below 2^48: what four-level tables reach, on either side. */
#define DR_KEY_BITS 48

#define DR_GIB_SHIFT   30 /* of keys behind a root slot */
#define DR_LARGE_SHIFT 21 /* behind a slot of a gib node */
#define DR_SMALL_SHIFT 12 /* behind a slot of a leaf node */
#define DR_ROOT_SLOTS  (1u << (DR_KEY_BITS - DR_GIB_SHIFT))
#define DR_NODE_SLOTS  512u

/*
 * A slot's word. Bits 12..47 are an address: what is behind an entry, or the leaf node a link leads
 * to. Bits 48..63 and 4..11 are a number of 24 bits: the index of an entry or a claim, or the
 * link's own. 0: nothing.
 *
 * An entry or a claim that is a link as well leads nowhere: it is of a part of the slot's keys. Of
 * the word for the part's first page as many pages are taken, as numbers are, as lie before it. So
 * the word for any page of the part is this one and the page's place in the slot, added.
 */
#define DR_SLOT_ENTRY     UINT64_C(1)
#define DR_SLOT_LINK      UINT64_C(2)
#define DR_SLOT_CLAIM     UINT64_C(4)
#define DR_SLOT_READ_ONLY UINT64_C(8) /* of an entry: the caller's own mark */
#define DR_SLOT_ADDR      UINT64_C(0x0000fffffffff000)
#define DR_INDEX_MAX      ((UINT32_C(1) << 24) - 1)

struct dr_leaf_node {
	_Atomic uint64_t slot[DR_NODE_SLOTS]; /* written under the owner's lock */
};

/*
 * Which part of its slot's keys a word is of: bits 0..15 are the part's first page, 16..31 how many
 * follow it, 32..63 a number. No two parts of a table have the same, until 2^32 more were made.
 */
#define DR_PART_MORE_SHIFT   16
#define DR_PART_NUMBER_SHIFT 32

struct dr_gib_node {
	/* Slots, then, where a slot's word is of a part, which. Written under the owner's lock. */
	_Atomic uint64_t slot[2 * DR_NODE_SLOTS];
};

/* Nodes are carved from arenas, each twice as long as the one before: see table.c. */
#define DR_FIRST_ARENA_PAGES 16u
#define DR_ARENAS            24

struct dr_table {
	_Atomic(struct dr_gib_node *) *root; /* set at open; slots written under the owner's lock */
	/* Guarded by the owner's lock, all of them. */
	void *arena[DR_ARENAS];
	unsigned arenas;            /* how many there are */
	size_t carved;              /* pages of the last one that are in nodes */
	struct dr_leaf_node *spare; /* chained through slot 0 */
	uint64_t links, parts;      /* ever made */
	size_t nodes;               /* nodes of both kinds, spare ones too */
};

/* 0, -ENOMEM. Costs address space; memory only where it is written. */
int dr_table_open(struct dr_table *t);
void dr_table_close(struct dr_table *t);

/* --- one writer at a time; keys and lengths are multiples of 4 KiB, below 2^48 --- */

/*
 * Reserve: take [key, key + len) for @index, so that publishing it cannot fail. Readers see nothing
 * of it. 0; -EEXIST some of it is taken; -ENOMEM; both leave everything as it was.
 */
int dr_table_claim(struct dr_table *t, uint64_t key, uint64_t len, uint32_t index);
/* Publish all of a claim: @value behind @key, and so on; @mark 0 or DR_SLOT_READ_ONLY. */
void dr_table_publish(struct dr_table *t, uint64_t key, uint64_t len, uint64_t value,
		      uint32_t index, uint64_t mark);
/* Take back a claim, published or not, whole. Never allocates. */
void dr_table_clear(struct dr_table *t, uint64_t key, uint64_t len);

/* Every invariant of the structure; *ret_pages: pages behind entries and claims. */
bool dr_table_is_valid(const struct dr_table *t, uint64_t *ret_pages);

/* --- any number of readers, no read section --- */

static inline uint64_t dr_slot_number(uint32_t number)
{
	return (uint64_t)(number >> 8) << 48 | (uint64_t)(number & 0xff) << 4;
}

static inline uint32_t dr_slot_index(uint64_t word)
{
	return (uint32_t)(word >> 48) << 8 | ((uint32_t)word >> 4 & 0xff);
}

static inline uint64_t dr_slot_value(uint64_t word)
{
	return word & DR_SLOT_ADDR;
}

static inline bool dr_slot_is_entry(uint64_t word)
{
	return word & DR_SLOT_ENTRY;
}

/* Of a part of a slot's keys? */
static inline bool dr_slot_is_part(uint64_t word)
{
	return (word & DR_SLOT_LINK) && (word & (DR_SLOT_ENTRY | DR_SLOT_CLAIM));
}

static inline struct dr_leaf_node *dr_slot_leaf(uint64_t word)
{
	return (struct dr_leaf_node *)(uintptr_t)(word & DR_SLOT_ADDR);
}

/* Of a slot of a gib node: where it is told which part. */
static inline _Atomic uint64_t *dr_slot_bounds(_Atomic uint64_t *slot)
{
	return slot + DR_NODE_SLOTS;
}

static inline uint64_t dr_part_first(uint64_t part)
{
	return (uint16_t)part;
}

/* One less than how many pages it has. */
static inline uint64_t dr_part_more(uint64_t part)
{
	return (uint16_t)(part >> DR_PART_MORE_SHIFT);
}

/*
 * A word of a part was met at @slot: is it still there, and are these its bounds? See table.c, 4.
 * *ret_inside: the page of @key is within them.
 */
static inline bool dr_table_look_again(_Atomic uint64_t *slot, uint64_t word, uint64_t key,
				       bool *ret_inside)
{
	const _Atomic uint64_t *bounds = dr_slot_bounds(slot);
	/* Acquire, both: what is read after them is no older. */
	uint64_t part = atomic_load_explicit(bounds, memory_order_acquire);
	uint64_t again = atomic_load_explicit(slot, memory_order_acquire);

	/* What lies before the first page is far behind the last. */
	*ret_inside = (key >> DR_SMALL_SHIFT) % DR_NODE_SLOTS - dr_part_first(part) <=
		      dr_part_more(part);
	return !((again ^ word) |
		 (atomic_load_explicit(bounds, memory_order_relaxed) ^ part));
}

/*
 * The word @key is in, an entry or something else; *ret_mask: how many bytes of keys such an entry
 * is for, less one. Acquire, each load: what is found is whole, and see table.c for the second
 * look.
 */
static inline uint64_t dr_table_find(const struct dr_table *t, uint64_t key, uint64_t *ret_mask)
{
	struct dr_gib_node *gib;
	_Atomic uint64_t *slot;
	uint64_t word, entry;
	bool inside;

	*ret_mask = 0;
	if (__builtin_expect(key >> DR_KEY_BITS, 0))
		return 0;
	gib = atomic_load_explicit(&t->root[key >> DR_GIB_SHIFT], memory_order_acquire);
	if (__builtin_expect(!gib, 0))
		return 0;
	slot = &gib->slot[(key >> DR_LARGE_SHIFT) % DR_NODE_SLOTS];
	for (;;) {
		word = atomic_load_explicit(slot, memory_order_acquire);
		if (!(word & DR_SLOT_LINK)) {
			*ret_mask = (UINT64_C(1) << DR_LARGE_SHIFT) - 1;
			return word;
		}
		if (__builtin_expect(dr_slot_is_part(word), 0)) {
			if (__builtin_expect(!dr_table_look_again(slot, word, key, &inside), 0))
				continue;
			if (__builtin_expect(!inside, 0))
				return 0;
			entry = word + (key & ((UINT64_C(1) << DR_LARGE_SHIFT) -
					       (UINT64_C(1) << DR_SMALL_SHIFT)));
			break;
		}
		entry = atomic_load_explicit(
			&dr_slot_leaf(word)->slot[(key >> DR_SMALL_SHIFT) % DR_NODE_SLOTS],
			memory_order_acquire);
		if (__builtin_expect(atomic_load_explicit(slot, memory_order_relaxed) == word, 1))
			break;
	}
	*ret_mask = (UINT64_C(1) << DR_SMALL_SHIFT) - 1;
	return entry;
}

#endif
