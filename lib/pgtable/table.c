// SPDX-License-Identifier: BSD-2-Clause
/*
 * Table pages: made, unlinked, held, freed.
 *
 * An unlinked table cannot be freed at once: a walker may stand in it, and an IOMMU may have cached
 * what it read there. It goes through two lists. *Held*: until the invalidation that covers what it
 * translated has ended; skipped where nothing caches. *Loose*: until a grace period has passed.
 *
 * The lists are chained through the tables themselves, so that unlinking never allocates. A walker
 * that is still inside must read nothing but "not present": the chain word is an address aligned to
 * 4 KiB, and the words beside it have the read and write bits clear. All others are zero.
 *
 *   word 0   the next table on the list, or 0
 *   word 1   first IOVA | level << 2
 *   word 2   flushes begun before it was unlinked << 2
 *
 * A flush lets go only what was unlinked before it began, or it would free what another thread has
 * unlinked since and not invalidated yet. One lock guards lists and numbers. It is taken when a
 * whole table goes, which is once in 2 MiB of IOVA at most, and by a flush only while something is
 * held.
 */
#include "pgtable/table.h"
#include "base/hooks.h"
#include "base/rcu.h"

/*
 * How many loose tables make a reclaim worth while. A grace period costs microseconds and, with
 * readers at work, up to milliseconds; 64 tables are 256 KiB, what 128 MiB of IOVA leave behind, so
 * its cost is spread over 32,768 granules and the memory that waits stays below that of a thread's
 * stack.
 */
#define WORTH_A_GRACE_PERIOD 64

struct dr_pt_table *dr_pt_table_new(struct dr_pgtable *pt)
{
	size_t len = sizeof(struct dr_pt_table) * (pt->clean ? 2 : 1);
	struct dr_pt_table *table = dr_hooks->alloc(len, DR_PT_PAGE);

	if (table)
		atomic_fetch_add_explicit(&pt->tables, 1, memory_order_relaxed);
	return table;
}

void dr_pt_table_free(struct dr_pgtable *pt, struct dr_pt_table *table)
{
	atomic_fetch_sub_explicit(&pt->tables, 1, memory_order_relaxed);
	dr_free(table);
}

/* The two words of a retired table. Relaxed: walkers take any value for "not present". */
static struct dr_pt_table *next_of(const struct dr_pt_table *table)
{
	return (struct dr_pt_table *)(uintptr_t)atomic_load_explicit(&table->entry[0],
								     memory_order_relaxed);
}

static void set_next(struct dr_pt_table *table, struct dr_pt_table *next)
{
	atomic_store_explicit(&table->entry[0], (uint64_t)(uintptr_t)next, memory_order_relaxed);
}

static void count_locked(struct dr_pt_list *list, size_t count)
{
	atomic_store_explicit(&list->count, count, memory_order_relaxed);
}

static size_t count_of(const struct dr_pt_list *list)
{
	return atomic_load_explicit(&list->count, memory_order_relaxed);
}

static void push_locked(struct dr_pt_list *list, struct dr_pt_table *table)
{
	set_next(table, list->first);
	list->first = table;
	count_locked(list, count_of(list) + 1);
}

void dr_pt_retire(struct dr_pgtable *pt, struct dr_pt_table *table, unsigned level,
		  dray_iova_t first)
{
	atomic_store_explicit(&table->entry[1], first | (uint64_t)level << 2, memory_order_relaxed);
	pthread_mutex_lock(&pt->retire_lock);
	atomic_store_explicit(&table->entry[2], pt->flushes << 2, memory_order_relaxed);
	push_locked(pt->is_cached ? &pt->held : &pt->loose, table);
	pthread_mutex_unlock(&pt->retire_lock);
}

/* Does a flush of [first, last] cover all that the table translated, and began after it went? */
static bool is_covered(const struct dr_pt_table *table, dray_iova_t first, dray_iova_t last,
		       uint64_t flush)
{
	uint64_t before = atomic_load_explicit(&table->entry[2], memory_order_relaxed) >> 2;
	uint64_t word = atomic_load_explicit(&table->entry[1], memory_order_relaxed);
	dray_iova_t begin = word & ~(uint64_t)(DR_PT_PAGE - 1);
	unsigned level = (unsigned)(word >> 2) & 7;
	dray_iova_t own_last = begin + (UINT64_C(1) << dr_pt_shift(level + 1)) - 1;

	return before < flush && begin >= first && own_last <= last;
}

void dr_pgtable_set_cached(struct dr_pgtable *pt)
{
	pt->is_cached = true;
}

uint64_t dr_pgtable_flush_begin(struct dr_pgtable *pt)
{
	uint64_t flush;

	/* Tables this thread unlinked are counted; others' are their own flush's business. */
	if (!count_of(&pt->held))
		return 0;
	pthread_mutex_lock(&pt->retire_lock);
	flush = ++pt->flushes;
	pthread_mutex_unlock(&pt->retire_lock);
	return flush;
}

void dr_pgtable_flush_end(struct dr_pgtable *pt, dray_iova_t first, dray_iova_t last,
			  uint64_t flush)
{
	struct dr_pt_table *table, *next, *rest = NULL;
	size_t kept = 0;

	if (!flush)
		return;
	pthread_mutex_lock(&pt->retire_lock);
	for (table = pt->held.first; table; table = next) {
		next = next_of(table);
		if (is_covered(table, first, last, flush)) {
			push_locked(&pt->loose, table);
		} else {
			set_next(table, rest);
			rest = table;
			kept++;
		}
	}
	pt->held.first = rest;
	count_locked(&pt->held, kept);
	pthread_mutex_unlock(&pt->retire_lock);
}

/* Free a private chain. */
static void free_chain(struct dr_pgtable *pt, struct dr_pt_table *table)
{
	while (table) {
		struct dr_pt_table *next = next_of(table);

		dr_pt_table_free(pt, table);
		table = next;
	}
}

void dr_pgtable_reclaim(struct dr_pgtable *pt)
{
	struct dr_pt_table *chain;

	pthread_mutex_lock(&pt->retire_lock);
	chain = pt->loose.first;
	pt->loose.first = NULL;
	count_locked(&pt->loose, 0);
	pthread_mutex_unlock(&pt->retire_lock);
	if (!chain)
		return;
	dr_rcu_synchronize();
	free_chain(pt, chain);
}

bool dr_pgtable_wants_reclaim(const struct dr_pgtable *pt)
{
	return count_of(&pt->loose) >= WORTH_A_GRACE_PERIOD;
}

void dr_pt_lists_close(struct dr_pgtable *pt)
{
	free_chain(pt, pt->held.first);
	free_chain(pt, pt->loose.first);
}

static int64_t count_list(const struct dr_pt_list *list)
{
	int64_t n = 0;

	for (const struct dr_pt_table *t = list->first; t; t = next_of(t), n++)
		for (unsigned i = 0; i < DR_PT_ENTRIES; i++)
			if (i > 2 ? dr_pt_load(t, i) != 0 : dr_pt_is_present(dr_pt_load(t, i)))
				return -1;
	return (size_t)n == count_of(list) ? n : -1;
}

int64_t dr_pt_count_retired(const struct dr_pgtable *pt)
{
	int64_t held = count_list(&pt->held), loose = count_list(&pt->loose);

	return held < 0 || loose < 0 ? -1 : held + loose;
}
