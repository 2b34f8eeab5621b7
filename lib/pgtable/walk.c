// SPDX-License-Identifier: BSD-2-Clause
/*
 * Reading the mapping table: the walk of a device, the same walk shown, and mappings found again.
 *
 * One step function serves them all, so what the debug walk shows is what a device meets. Walkers
 * stand in a read section, because the owner of what they look at may unlink the tables under them;
 * the owner itself needs none, because only it could (pgtable.c, 3).
 */
#include "pgtable/table.h"
#include "base/rcu.h"

struct leaf {
	uint64_t entry; /* 0: none */
	unsigned level; /* of the last entry read */
};

/*
 * Walk to the leaf, through the tables as the CPU has them or as they are in memory; every entry
 * read is handed to @trace when that is given, root first.
 */
static inline struct leaf descend_in(const struct dr_pgtable *pt, bool in_memory, dray_iova_t iova,
				     uint64_t *trace)
{
	const struct dr_pt_table *table = pt->root;

	for (unsigned level = DR_PT_LEVELS;; level--) {
		uint64_t e = dr_pt_load(in_memory ? dr_pt_memory(table) : table,
					dr_pt_index(iova, level));

		if (trace)
			*trace++ = e;
		if (!dr_pt_is_present(e))
			return (struct leaf){ 0, level };
		if (dr_pt_is_leaf(e, level))
			return (struct leaf){ e, level };
		table = dr_pt_child(e);
	}
}

static inline struct leaf descend(const struct dr_pgtable *pt, dray_iova_t iova, uint64_t *trace)
{
	return descend_in(pt, false, iova, trace);
}

static inline bool is_translatable(dray_iova_t iova)
{
	return !(iova >> DR_PT_ADDR_BITS);
}

uint64_t dr_pgtable_lookup(const struct dr_pgtable *pt, dray_iova_t iova, unsigned *ret_shift)
{
	struct leaf leaf = { 0, 1 };

	if (is_translatable(iova))
		leaf = descend(pt, iova, NULL);
	*ret_shift = leaf.entry ? dr_pt_shift(leaf.level) : 0;
	return leaf.entry;
}

static inline void show(const struct dr_pgtable *pt, bool in_memory, dray_iova_t iova,
			struct dr_pt_walk *ret_walk)
{
	struct dr_pt_walk walk = { 0 };
	struct leaf leaf;

	if (is_translatable(iova)) {
		leaf = descend_in(pt, in_memory, iova, walk.entry);
		walk.levels = DR_PT_LEVELS + 1 - leaf.level;
		walk.pte = leaf.entry;
		walk.page_shift = leaf.entry ? dr_pt_shift(leaf.level) : 0;
	}
	*ret_walk = walk;
}

void dr_pgtable_walk(const struct dr_pgtable *pt, dray_iova_t iova, struct dr_pt_walk *ret_walk)
{
	show(pt, false, iova, ret_walk);
}

void dr_pgtable_device_walk(const struct dr_pgtable *pt, dray_iova_t iova,
			    struct dr_pt_walk *ret_walk)
{
	show(pt, pt->clean != NULL, iova, ret_walk);
}

void *dr_pgtable_va(const struct dr_pgtable *pt, dray_iova_t iova)
{
	unsigned shift;
	uint64_t e;

	dr_rcu_read_lock();
	e = dr_pgtable_lookup(pt, iova, &shift);
	dr_rcu_read_unlock();
	if (!e)
		return NULL;
	return (void *)(uintptr_t)((e & DR_PTE_ADDR) | (iova & ((UINT64_C(1) << shift) - 1)));
}

bool dr_pgtable_own_leaf(const struct dr_pgtable *pt, dray_iova_t iova, dray_iova_t *ret_first,
			 size_t *ret_len)
{
	struct leaf leaf = descend(pt, iova, NULL);
	size_t size = (size_t)1 << dr_pt_shift(leaf.level);

	if (!leaf.entry)
		return false;
	*ret_first = iova & ~(dray_iova_t)(size - 1);
	*ret_len = size;
	return true;
}

void *dr_pgtable_own_va(const struct dr_pgtable *pt, dray_iova_t iova)
{
	struct leaf leaf = descend(pt, iova, NULL);
	uint64_t in_leaf;

	if (!leaf.entry)
		return NULL;
	in_leaf = iova & ((UINT64_C(1) << dr_pt_shift(leaf.level)) - 1);
	return (char *)(uintptr_t)(leaf.entry & DR_PTE_ADDR) + in_leaf;
}

bool dr_pgtable_is_cut(const struct dr_pgtable *pt, dray_iova_t iova, size_t len)
{
	dray_iova_t last = iova + len - 1, edge;
	struct leaf leaf = descend(pt, iova, NULL);

	edge = iova & ((UINT64_C(1) << dr_pt_shift(leaf.level)) - 1);
	if (leaf.entry && (edge || !(leaf.entry & (DR_PTE_START | DR_PTE_CONTINUE))))
		return true;
	leaf = descend(pt, last, NULL);
	edge = ~last & ((UINT64_C(1) << dr_pt_shift(leaf.level)) - 1);
	return leaf.entry && (edge || !(leaf.entry & DR_PTE_LAST));
}

/* A search for one mapping or piece: first for where it begins, then for where it ends. */
struct search {
	dray_iova_t from, last;   /* where it may begin */
	bool pieces;
	bool done;                /* the piece's last leaf has been seen */
	struct dr_pt_mapping map; /* len 0: not found yet */
};

/* One present leaf, in ascending order. True when the search is over. */
static bool visit(struct search *s, dray_iova_t iova, uint64_t entry, size_t size)
{
	char *va = (char *)(uintptr_t)(entry & DR_PTE_ADDR);
	uint64_t bits = entry & (DR_PTE_READ | DR_PTE_WRITE | DR_PTE_OWNER);

	uint64_t begins = s->pieces ? DR_PTE_START | DR_PTE_CONTINUE : DR_PTE_START;

	if (!s->map.len) {
		if (iova > s->last)
			return true;
		if (iova >= s->from && (entry & begins)) {
			s->map = (struct dr_pt_mapping){ iova, va, size, bits };
			s->done = s->pieces && (entry & DR_PTE_LAST);
		}
		return s->done;
	}
	/*
	 * All but where it begins only keeps a mapping that changes meanwhile from being
	 * lengthened. Pieces of one mapping may lie anywhere in memory, the leaves of a piece not.
	 */
	if ((entry & begins) || iova != s->map.iova + s->map.len || bits != s->map.bits ||
	    (s->pieces && va != (char *)s->map.va + s->map.len))
		return true;
	s->map.len += size;
	s->done = s->pieces && (entry & DR_PTE_LAST);
	return s->done;
}

/* Visit a table's leaves from s->from on; it begins at @base. True when the search is over. */
static bool scan(const struct dr_pt_table *table, unsigned level, dray_iova_t base,
		 struct search *s)
{
	size_t size = (size_t)1 << dr_pt_shift(level);
	unsigned i = s->from > base ? dr_pt_index(s->from, level) : 0;

	for (; i < DR_PT_ENTRIES; i++) {
		uint64_t e = dr_pt_load(table, i);
		dray_iova_t iova = base + i * (dray_iova_t)size;

		if (!dr_pt_is_present(e)) {
			/* A gap ends a mapping; past the last place it may begin, there is none. */
			if (s->map.len || iova > s->last)
				return true;
		} else if (dr_pt_is_leaf(e, level) ? visit(s, iova, e, size) :
						     scan(dr_pt_child(e), level - 1, iova, s)) {
			return true;
		}
	}
	return false;
}

static bool next(const struct dr_pgtable *pt, dray_iova_t from, dray_iova_t last, bool pieces,
		 struct dr_pt_mapping *ret_mapping)
{
	struct search s = { .from = from, .last = last, .pieces = pieces };

	if (from > last || !is_translatable(from))
		return false;
	dr_rcu_read_lock();
	scan(pt->root, DR_PT_LEVELS, 0, &s);
	dr_rcu_read_unlock();
	if (!s.map.len)
		return false;
	*ret_mapping = s.map;
	return true;
}

bool dr_pgtable_next(const struct dr_pgtable *pt, dray_iova_t from, dray_iova_t last,
		     struct dr_pt_mapping *ret_mapping)
{
	return next(pt, from, last, false, ret_mapping);
}

bool dr_pgtable_next_piece(const struct dr_pgtable *pt, dray_iova_t from, dray_iova_t last,
			   struct dr_pt_mapping *ret_piece)
{
	return next(pt, from, last, true, ret_piece);
}
