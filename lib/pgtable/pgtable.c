// SPDX-License-Identifier: BSD-2-Clause
/*
 * The mapping table: which host address is behind an IOVA, who mapped it, and what a device may do.
 *
 * 1. Shape. A radix tree in the second-level format of VT-d: four levels of 512 entries, 48 bits of
 *    IOVA. Level 4 is the root. A leaf is at level 1 (4 KiB), 2 (2 MiB) or 3 (1 GiB). An entry is
 *    present when it may be read or written. "Physical" addresses are addresses of this process.
 *
 * 2. Mappings. Bits that hardware ignores say where a mapping begins (START), where each of the
 *    pieces it was set in begins (START or CONTINUE) and ends (LAST), and who owns it. A mapping is
 *    found again by walking from its START to the next START or gap.
 *
 * 3. Ownership. Whoever took a range of IOVAs from the allocator owns its entries, alone: it writes
 *    them without a lock and without a read-modify-write. A table is shared by the owners of
 *    everything it translates; two of them may need it at the same time, so it is hung in by a
 *    compare-and-swap, and the loser frees its own. A table is taken out only by someone who owns
 *    all that it translates, so nobody else can be about to write in it.
 *
 * 4. Map: prepare (all that can fail), then set (stores). set picks the largest leaf that
 *    alignment, length and page_sizes allow, place by place; prepare goes the same way and makes
 *    the tables. A large leaf that replaces an empty table retires it.
 *
 * 5. Unmap: clear. Tables the range covers whole are unlinked first, then emptied, then retired;
 *    see table.c for what happens to them. No counts of present entries are kept: they would be a
 *    locked instruction for each entry. An empty table whose span was never cleared at once stays
 *    until the domain closes, 4 KiB for each 2 MiB of IOVA ever used.
 *
 * 6. Who meets whom.
 *
 *               | set            clear           prepare          walk
 *    -----------+--------------------------------------------------------------------------
 *    set        | own entries    own entries     tables by CAS    sees nothing or all of an entry
 *    clear      |                own entries     own tables only  RCU keeps tables; may see either
 *    prepare    |                                one CAS wins     acquire: a table found is zeroed
 *    reclaim    | frees only what is unlinked; waits for walkers, and for the invalidation
 *
 * 7. Ordering. Entries are stored with release, one by one: a walker may see any of them first, and
 *    must then see the buffer as its owner wrote it. On x86 that is a plain store; a fence with
 *    relaxed stores would cost the same there and is not understood by ThreadSanitizer. Entries are
 *    cleared relaxed: what orders a clear before later accesses is the invalidation that follows,
 *    and what orders unlinking before freeing is the grace period.
 *
 * 8. Tables apart. A walker that does not look into the CPU's caches sees what has been cleaned.
 *    Then each table is two pages, one as the CPU has it and one as it is in memory, and whoever
 *    stores entries takes them there before its call returns (dr_pt_written()): what it stored and
 *    nothing beside, so that owners whose entries share a line do not meet. A link that somebody
 *    else has just hung in is taken along by who needs it. What is unlinked is gone from memory
 *    before the table below it is touched.
 *
 * 9. What can fail: prepare, for memory. Tables made before the failure stay for the next.
 */
#include "pgtable/table.h"
#include "base/err.h"
#include "base/hooks.h"

#include <assert.h>
#include <errno.h>

int dr_pgtable_open(uint64_t page_sizes, struct dr_pgtable **ret_pt)
{
	struct dr_pgtable *pt = dr_alloc(sizeof(*pt));

	assert(page_sizes & DR_PT_PAGE && !(page_sizes & ~DR_PT_PAGE_SIZES));
	if (!pt)
		return dr_fail(ENOMEM, "no memory for a mapping table");
	pt->page_sizes = page_sizes;
	pthread_mutex_init(&pt->retire_lock, NULL);
	pt->root = dr_pt_table_new(pt);
	if (!pt->root) {
		pthread_mutex_destroy(&pt->retire_lock);
		dr_free(pt);
		return dr_fail(ENOMEM, "no memory for the root of a mapping table");
	}
	*ret_pt = pt;
	return 0;
}

void dr_pgtable_clean(const _Atomic uint64_t *cached, _Atomic uint64_t *memory, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		/* Release: see 7; acquire, because the entry may be another owner's link. */
		atomic_store_explicit(&memory[i], atomic_load_explicit(&cached[i],
				      memory_order_acquire), memory_order_release);
}

int dr_pgtable_set_apart(struct dr_pgtable *pt, dr_pt_clean_fn *clean)
{
	struct dr_pt_table *small = pt->root, *root;

	pt->clean = clean ? clean : dr_pgtable_clean;
	root = dr_pt_table_new(pt);
	if (!root) {
		pt->clean = NULL;
		return dr_fail(ENOMEM, "no memory for the root of a mapping table");
	}
	pt->root = root;
	dr_pt_table_free(pt, small);
	return 0;
}

void dr_pgtable_limit_sizes(struct dr_pgtable *pt, uint64_t page_sizes)
{
	assert(page_sizes & DR_PT_PAGE);
	pt->page_sizes &= page_sizes;
}

static void free_tree(struct dr_pgtable *pt, struct dr_pt_table *table, unsigned level)
{
	for (unsigned i = 0; level > 1 && i < DR_PT_ENTRIES; i++) {
		uint64_t e = dr_pt_load(table, i);

		if (dr_pt_is_present(e) && !dr_pt_is_leaf(e, level))
			free_tree(pt, dr_pt_child(e), level - 1);
	}
	dr_pt_table_free(pt, table);
}

void dr_pgtable_close(struct dr_pgtable *pt)
{
	free_tree(pt, pt->root, DR_PT_LEVELS);
	dr_pt_lists_close(pt);
	pthread_mutex_destroy(&pt->retire_lock);
	dr_free(pt);
}

uint64_t dr_pgtable_bytes(const struct dr_pgtable *pt)
{
	return atomic_load_explicit(&pt->tables, memory_order_relaxed) * DR_PT_PAGE;
}

/* The level of the largest leaf that may begin at @iova. */
static unsigned leaf_level(const struct dr_pgtable *pt, dray_iova_t iova, uintptr_t va, size_t len)
{
	for (unsigned level = 3; level > 1; level--) {
		uint64_t size = UINT64_C(1) << dr_pt_shift(level);

		if ((pt->page_sizes & size) && !((iova | va) & (size - 1)) && len >= size)
			return level;
	}
	return 1;
}

static void check_range(dray_iova_t iova, uintptr_t va, size_t len)
{
	assert(len && !((iova | va | len) & (DR_PT_PAGE - 1)));
	assert(iova + len - 1 >= iova && !((iova + len - 1) >> DR_PT_ADDR_BITS));
	assert(va + len - 1 >= va && !((va + len - 1) & ~(DR_PTE_ADDR | (DR_PT_PAGE - 1))));
	(void)iova;
	(void)va;
	(void)len;
}

/* Hang a new table into @slot, or take the one another owner hung in first. NULL: no memory. */
static struct dr_pt_table *hang(struct dr_pgtable *pt, _Atomic uint64_t *slot)
{
	struct dr_pt_table *fresh = dr_pt_table_new(pt);
	uint64_t seen = 0;

	if (!fresh)
		return NULL;
	/* Release: who finds it finds it zeroed. Acquire: so do we with another's. */
	if (atomic_compare_exchange_strong_explicit(slot, &seen, dr_pt_link(fresh),
						    memory_order_acq_rel, memory_order_acquire))
		return fresh;
	dr_pt_table_free(pt, fresh);
	return dr_pt_child(seen);
}

/* The table of @level that translates @iova, made where it is missing. NULL: no memory. */
static struct dr_pt_table *reach(struct dr_pgtable *pt, dray_iova_t iova, unsigned level)
{
	struct dr_pt_table *table = pt->root;

	for (unsigned at = DR_PT_LEVELS; at > level && table; at--) {
		unsigned i = dr_pt_index(iova, at);
		uint64_t e = dr_pt_load(table, i);
		struct dr_pt_table *child;

		assert(!dr_pt_is_present(e) || !dr_pt_is_leaf(e, at)); /* the range is empty */
		child = dr_pt_is_present(e) ? dr_pt_child(e) : hang(pt, &table->entry[i]);
		/* Also another's: it is needed here before its owner may have come to it. */
		if (child)
			dr_pt_written(pt, table, i, 1);
		table = child;
	}
	return table;
}

/* The same for tables that are there, for the owner of @iova. */
static struct dr_pt_table *find(const struct dr_pgtable *pt, dray_iova_t iova, unsigned level)
{
	struct dr_pt_table *table = pt->root;

	for (unsigned at = DR_PT_LEVELS; at > level; at--) {
		uint64_t e = dr_pt_load(table, dr_pt_index(iova, at));

		assert(dr_pt_is_present(e) && !dr_pt_is_leaf(e, at)); /* prepared */
		table = dr_pt_child(e);
	}
	return table;
}

/* How many leaves of one level, in one table, the rest of a range begins with. */
static unsigned run_length(dray_iova_t iova, size_t len, unsigned level)
{
	size_t fit = len >> dr_pt_shift(level);
	unsigned room = DR_PT_ENTRIES - dr_pt_index(iova, level);

	return fit < room ? (unsigned)fit : room;
}

int dr_pgtable_prepare(struct dr_pgtable *pt, dray_iova_t iova, const void *va, size_t len)
{
	uintptr_t at = (uintptr_t)va;

	check_range(iova, at, len);
	while (len) {
		unsigned level = leaf_level(pt, iova, at, len);
		size_t step = (size_t)run_length(iova, len, level) << dr_pt_shift(level);

		if (!reach(pt, iova, level))
			return dr_fail(ENOMEM, "no memory for a mapping table page");
		iova += step;
		at += step;
		len -= step;
	}
	return 0;
}

/* Empty and retire an unlinked table and all below it. Returns how many bytes it had mapped. */
static uint64_t drop(struct dr_pgtable *pt, struct dr_pt_table *table, unsigned level,
		     dray_iova_t first)
{
	uint64_t gone = 0, span = UINT64_C(1) << dr_pt_shift(level);

	for (unsigned i = 0; i < DR_PT_ENTRIES; i++) {
		uint64_t e = dr_pt_load(table, i);

		if (!dr_pt_is_present(e))
			continue;
		atomic_store_explicit(&table->entry[i], 0, memory_order_relaxed);
		gone += dr_pt_is_leaf(e, level) ? span :
			drop(pt, dr_pt_child(e), level - 1, first + i * span);
	}
	dr_pt_written(pt, table, 0, DR_PT_ENTRIES);
	dr_pt_retire(pt, table, level, first);
	return gone;
}

/* Store one large leaf; an empty table in its place goes. */
static void set_large(struct dr_pgtable *pt, struct dr_pt_table *table, unsigned level,
		      dray_iova_t iova, uint64_t entry)
{
	unsigned i = dr_pt_index(iova, level);
	_Atomic uint64_t *slot = &table->entry[i];
	uint64_t was = atomic_load_explicit(slot, memory_order_acquire);

	assert(!dr_pt_is_present(was) || !dr_pt_is_leaf(was, level)); /* the range is empty */
	/* Release: see 7. */
	atomic_store_explicit(slot, entry | DR_PTE_LARGE, memory_order_release);
	dr_pt_written(pt, table, i, 1);
	if (dr_pt_is_present(was)) {
		uint64_t lost = drop(pt, dr_pt_child(was), level - 1, iova);

		assert(!lost);
		(void)lost;
	}
}

void dr_pgtable_set(struct dr_pgtable *pt, dray_iova_t iova, void *va, size_t len, uint64_t bits)
{
	uint64_t mark = bits & DR_PTE_CONTINUE ? DR_PTE_CONTINUE : DR_PTE_START;
	uint64_t entry = (uintptr_t)va | (bits & ~DR_PTE_CONTINUE);

	check_range(iova, (uintptr_t)va, len);
	assert(dr_pt_is_present(bits));
	assert(!(bits & ~(DR_PTE_READ | DR_PTE_WRITE | DR_PTE_OWNER | DR_PTE_CONTINUE)));
	while (len) {
		unsigned level = leaf_level(pt, iova, (uintptr_t)(entry & DR_PTE_ADDR), len);
		unsigned run = run_length(iova, len, level), shift = dr_pt_shift(level);
		struct dr_pt_table *table = find(pt, iova, level);
		unsigned i = dr_pt_index(iova, level);
		_Atomic uint64_t *slot = &table->entry[i];
		size_t step = (size_t)run << shift;
		uint64_t last = step == len ? DR_PTE_LAST : 0;

		if (level == 1) {
			/* Release, each: see 7. */
			for (unsigned n = run; n > 1; n--, slot++, entry += DR_PT_PAGE, mark = 0)
				atomic_store_explicit(slot, entry | mark, memory_order_release);
			atomic_store_explicit(slot, entry | mark | last, memory_order_release);
			dr_pt_written(pt, table, i, run);
			entry += DR_PT_PAGE;
		} else {
			for (size_t off = 0; off < step; off += (size_t)1 << shift, mark = 0)
				set_large(pt, table, level, iova + off, (entry + off) | mark |
					  (off + ((size_t)1 << shift) == step ? last : 0));
			entry += step;
		}
		mark = 0;
		iova += step;
		len -= step;
	}
}

/* A link has both permissions and is not large: one comparison tells it from all else. */
static inline bool is_link(uint64_t entry)
{
	return (entry & (DR_PTE_READ | DR_PTE_WRITE | DR_PTE_LARGE)) ==
	       (DR_PTE_READ | DR_PTE_WRITE);
}

/*
 * The small leaf of @iova in its table, if that is there; for its owner. Most mappings are one leaf
 * in a table that exists: a walk of 30 instructions serves them, once for a map and once for an
 * unmap, where the general ways walk twice, plan for any length and take 300.
 */
static inline struct dr_pt_table *small_table(const struct dr_pgtable *pt, dray_iova_t iova)
{
	struct dr_pt_table *table = pt->root;

	for (unsigned at = DR_PT_LEVELS; at > 1; at--) {
		uint64_t e = dr_pt_load(table, dr_pt_index(iova, at));

		if (__builtin_expect(!is_link(e), 0))
			return NULL;
		table = dr_pt_child(e);
	}
	return table;
}

/* What has no short way; apart, so that the short one keeps to few registers. */
static __attribute__((noinline)) int map_any(struct dr_pgtable *pt, dray_iova_t iova, void *va,
					     size_t len, uint64_t bits)
{
	int err = dr_pgtable_prepare(pt, iova, va, len);

	if (!err)
		dr_pgtable_set(pt, iova, va, len, bits);
	return err;
}

int dr_pgtable_map(struct dr_pgtable *pt, dray_iova_t iova, void *va, size_t len, uint64_t bits)
{
	uint64_t mark = bits & DR_PTE_CONTINUE ? 0 : DR_PTE_START;
	struct dr_pt_table *table;

	/* Where tables are apart, an owner has to see to the links above as well: reach(). */
	if (__builtin_expect(len != DR_PT_PAGE || pt->clean, 0))
		return map_any(pt, iova, va, len, bits);
	table = small_table(pt, iova);
	if (__builtin_expect(!table, 0))
		return map_any(pt, iova, va, len, bits);
	/* Release: see 7. */
	atomic_store_explicit(&table->entry[dr_pt_index(iova, 1)],
			      (uintptr_t)va | bits | mark | DR_PTE_LAST, memory_order_release);
	return 0;
}

bool dr_pgtable_clear_one(struct dr_pgtable *pt, dray_iova_t iova)
{
	struct dr_pt_table *table = small_table(pt, iova);
	unsigned i = dr_pt_index(iova, 1);
	uint64_t entry;

	if (!table)
		return false;
	entry = atomic_load_explicit(&table->entry[i], memory_order_relaxed);
	if (!(entry & DR_PTE_LAST) || !(entry & (DR_PTE_START | DR_PTE_CONTINUE)))
		return false;
	atomic_store_explicit(&table->entry[i], 0, memory_order_relaxed);
	dr_pt_written(pt, table, i, 1);
	return true;
}

/* Clear @n own leaves of 4 KiB from @iova on, all in @table. Returns how many were present. */
static unsigned clear_small(const struct dr_pgtable *pt, struct dr_pt_table *table,
			    dray_iova_t iova, unsigned n)
{
	unsigned present = 0, first = dr_pt_index(iova, 1);
	_Atomic uint64_t *slot = &table->entry[first];

	for (unsigned left = n; left; left--, slot++) {
		/* Gaps are not written: they may share a line with somebody who is busy. */
		if (!dr_pt_is_present(atomic_load_explicit(slot, memory_order_relaxed)))
			continue;
		atomic_store_explicit(slot, 0, memory_order_relaxed);
		present++;
	}
	if (present)
		dr_pt_written(pt, table, first, n);
	return present;
}

/* Clear [first, last], which @table of @level translates. Returns the bytes that were present. */
static uint64_t clear(struct dr_pgtable *pt, struct dr_pt_table *table, unsigned level,
		      dray_iova_t first, dray_iova_t last)
{
	uint64_t gone = 0, span = UINT64_C(1) << dr_pt_shift(level);
	dray_iova_t low, high;

	if (level == 1)
		return clear_small(pt, table, first, (unsigned)((last - first) / span) + 1) * span;
	for (low = first & ~(span - 1); low <= last; low += span) {
		unsigned i = dr_pt_index(low, level);
		_Atomic uint64_t *slot = &table->entry[i];
		uint64_t e = atomic_load_explicit(slot, memory_order_acquire);

		high = low + span - 1;
		if (!dr_pt_is_present(e))
			continue;
		if (low >= first && high <= last) {
			atomic_store_explicit(slot, 0, memory_order_relaxed);
			dr_pt_written(pt, table, i, 1);
			gone += dr_pt_is_leaf(e, level) ? span :
				drop(pt, dr_pt_child(e), level - 1, low);
		} else {
			assert(!dr_pt_is_leaf(e, level)); /* whole mappings only */
			gone += clear(pt, dr_pt_child(e), level - 1, low < first ? first : low,
				      high > last ? last : high);
		}
	}
	return gone;
}

size_t dr_pgtable_clear(struct dr_pgtable *pt, dray_iova_t iova, size_t len)
{
	check_range(iova, 0, len);
	return (size_t)clear(pt, pt->root, DR_PT_LEVELS, iova, iova + len - 1);
}
