/* SPDX-License-Identifier: BSD-2-Clause */
/* What the files of the mapping table share: its geometry, its pages, and how pages come and go. */
#ifndef DR_PGTABLE_TABLE_H
#define DR_PGTABLE_TABLE_H

#include <pthread.h>
#include <stdatomic.h>

#include "pgtable/pgtable.h"

#define DR_PT_ENTRIES 512u
#define DR_PT_PAGE    4096u

/* One table page. Entries are written by the owner of their IOVAs, tables hung in by CAS. */
struct dr_pt_table {
	_Atomic uint64_t entry[DR_PT_ENTRIES];
};

/* Unlinked tables, chained through themselves. */
struct dr_pt_list {
	struct dr_pt_table *first; /* guarded by retire_lock */
	_Atomic size_t count;      /* written under retire_lock; read anywhere as a hint */
};

struct dr_pgtable {
	struct dr_pt_table *root;    /* set at open */
	uint64_t page_sizes;         /* set at open */
	_Atomic uint64_t tables;     /* pages that exist, unlinked ones included */
	bool is_cached;              /* set before the first mapping */
	dr_pt_clean_fn *clean;       /* likewise; NULL: walks see what the CPU's caches hold */
	pthread_mutex_t retire_lock; /* innermost; held for list operations only */
	uint64_t flushes;            /* begun so far; guarded by retire_lock */
	struct dr_pt_list held;      /* wait for an invalidation */
	struct dr_pt_list loose;     /* wait for a grace period */
};

/* Log2 of the bytes that one entry of a table of @level translates: 12, 21, 30, 39. */
static inline unsigned dr_pt_shift(unsigned level)
{
	return 12 + 9 * (level - 1);
}

static inline unsigned dr_pt_index(dray_iova_t iova, unsigned level)
{
	return (unsigned)(iova >> dr_pt_shift(level)) & (DR_PT_ENTRIES - 1);
}

static inline bool dr_pt_is_present(uint64_t entry)
{
	return entry & (DR_PTE_READ | DR_PTE_WRITE);
}

static inline bool dr_pt_is_leaf(uint64_t entry, unsigned level)
{
	return level == 1 || (entry & DR_PTE_LARGE);
}

static inline struct dr_pt_table *dr_pt_child(uint64_t entry)
{
	return (struct dr_pt_table *)(uintptr_t)(entry & DR_PTE_ADDR);
}

static inline uint64_t dr_pt_link(const struct dr_pt_table *table)
{
	return (uint64_t)(uintptr_t)table | DR_PTE_READ | DR_PTE_WRITE;
}

/* Acquire: who finds a table finds it zeroed, who finds a leaf what its owner wrote before. */
static inline uint64_t dr_pt_load(const struct dr_pt_table *table, unsigned index)
{
	return atomic_load_explicit(&table->entry[index], memory_order_acquire);
}

/* Where tables are apart: the same table as it is in memory, behind the one in the cache. */
static inline struct dr_pt_table *dr_pt_memory(const struct dr_pt_table *table)
{
	return (struct dr_pt_table *)(uintptr_t)(table + 1);
}

/* To be said of all entries that were stored, by who stored them. */
static inline void dr_pt_written(const struct dr_pgtable *pt, const struct dr_pt_table *table,
				 unsigned first, unsigned n)
{
	if (pt->clean)
		pt->clean(&table->entry[first], &dr_pt_memory(table)->entry[first], n);
}

/* A zeroed table, or NULL. */
struct dr_pt_table *dr_pt_table_new(struct dr_pgtable *pt);

/* Free a table nobody else ever saw, or nobody sees any more. */
void dr_pt_table_free(struct dr_pgtable *pt, struct dr_pt_table *table);

/*
 * Take an unlinked, empty table of @level that translated from @first on out of use: held for the
 * invalidation where something caches, loose else. Never fails, never allocates.
 */
void dr_pt_retire(struct dr_pgtable *pt, struct dr_pt_table *table, unsigned level,
		  dray_iova_t first);

/* How many unlinked tables hang on the lists, each checked to be empty; -1 when one is not. */
int64_t dr_pt_count_retired(const struct dr_pgtable *pt);

/* Free everything that waits. */
void dr_pt_lists_close(struct dr_pgtable *pt);

#endif
