// SPDX-License-Identifier: BSD-2-Clause
/*
 * The invariants of the mapping table, checked one and all; nobody may write meanwhile.
 *
 *   - an absent entry is zero
 *   - an entry for a table holds nothing but its address and both permissions
 *   - a large leaf is of a size that may be used, aligned to it, and never in the root
 *   - a leaf that begins nothing follows a leaf that ends nothing, in VA too; only behind a gap may
 *     it stand alone, as what a failed unmap left
 *   - a piece that continues a mapping has its rights and owner, but may lie anywhere in memory
 *   - every page counted is in the tree or on a list, and those on a list are empty
 */
#include "pgtable/table.h"

struct check {
	const struct dr_pgtable *pt;
	dray_iova_t end; /* of the leaf before, exclusive; 0: a gap */
	uint64_t before; /* that leaf, address advanced to its end */
	uint64_t tables;
};

static bool is_leaf_valid(struct check *c, uint64_t e, unsigned level, dray_iova_t iova)
{
	uint64_t size = UINT64_C(1) << dr_pt_shift(level);
	uint64_t same = DR_PTE_READ | DR_PTE_WRITE | DR_PTE_OWNER |
			(e & DR_PTE_CONTINUE ? 0 : DR_PTE_ADDR);
	bool begins = e & (DR_PTE_START | DR_PTE_CONTINUE), follows = c->end == iova && iova;

	if (level > 1 ? !(c->pt->page_sizes & size) || level > 3 : (e & DR_PTE_LARGE) != 0)
		return false;
	if (((e & DR_PTE_ADDR) | iova) & (size - 1) & ~(uint64_t)(DR_PT_PAGE - 1))
		return false;
	if (follows && begins == !(c->before & DR_PTE_LAST))
		return false;
	if (follows && !(e & DR_PTE_START) && ((e ^ c->before) & same))
		return false;
	c->end = iova + size;
	c->before = (e & ~DR_PTE_ADDR) | ((e & DR_PTE_ADDR) + size);
	return true;
}

static bool is_table_valid(struct check *c, const struct dr_pt_table *table, unsigned level,
			   dray_iova_t base)
{
	c->tables++;
	if ((uintptr_t)table & (DR_PT_PAGE - 1))
		return false;
	for (unsigned i = 0; i < DR_PT_ENTRIES; i++) {
		uint64_t e = dr_pt_load(table, i);
		dray_iova_t iova = base + ((dray_iova_t)i << dr_pt_shift(level));

		if (!dr_pt_is_present(e)) {
			if (e)
				return false;
			c->end = 0;
		} else if (dr_pt_is_leaf(e, level)) {
			if (!is_leaf_valid(c, e, level, iova))
				return false;
		} else if (e != dr_pt_link(dr_pt_child(e)) ||
			   !is_table_valid(c, dr_pt_child(e), level - 1, iova)) {
			return false;
		}
	}
	return true;
}

bool dr_pgtable_is_valid(const struct dr_pgtable *pt)
{
	struct check c = { .pt = pt };
	int64_t retired = dr_pt_count_retired(pt);

	return retired >= 0 && is_table_valid(&c, pt->root, DR_PT_LEVELS, 0) &&
	       c.tables + (uint64_t)retired == atomic_load_explicit(&pt->tables,
								    memory_order_relaxed);
}
