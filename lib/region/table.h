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

struct dr_gib_node {
	_Atomic uint64_t slot[DR_NODE_SLOTS]; /* written under the owner's lock */
};

/* Nodes are carved from arenas, each twice as long as the one before: see table.c. */
#define DR_FIRST_ARENA_NODES 16u
#define DR_ARENAS            24

struct dr_table {
	_Atomic(struct dr_gib_node *) *root; /* set at open; slots written under the owner's lock */
	/* Guarded by the owner's lock, all of them. */
	void *arena[DR_ARENAS];
	unsigned arenas;            /* how many there are */
	size_t carved;              /* nodes of the last one that are in use or spare */
	struct dr_leaf_node *spare; /* chained through slot 0 */
	uint64_t links;             /* links ever made */
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

static inline struct dr_leaf_node *dr_slot_leaf(uint64_t word)
{
	return (struct dr_leaf_node *)(uintptr_t)(word & DR_SLOT_ADDR);
}

/*
 * The word @key is in, an entry or something else; *ret_mask: how many bytes of keys such an entry
 * is for, less one. Acquire, each load: what is found is whole, and see table.c for the second
 * look.
 */
static inline uint64_t dr_table_find(const struct dr_table *t, uint64_t key, uint64_t *ret_mask)
{
	const struct dr_gib_node *gib;
	const _Atomic uint64_t *slot;
	uint64_t word, entry;

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
