// SPDX-License-Identifier: BSD-2-Clause
/*
 * The IOTLB: 64 sets of 4 ways, shared by all address spaces, as in hardware.
 *
 * 1. An entry is a leaf of some space: keyed by the space's number, the page's first IOVA and its
 *    size. It is served to every later access of that page until it is replaced or invalidated,
 *    whatever has become of the page table: stale entries are real here. A page's set is a hash of
 *    its key; a lookup tries 4 KiB, 2 MiB and 1 GiB in turn. Replacement goes round.
 *
 * 2. A set is a sequence lock: odd while it is written. A lookup that meets a writer, or is overrun
 *    by one, takes it for a miss and walks; a fill that meets a writer gives up. Only invalidations
 *    insist: writers never block, so they spin, yielding.
 *
 * 3. An invalidation must not be overtaken by the fill of a walk that began before it. So a fill
 *    brings the generation it read before its walk, and checks it after taking the set; an
 *    invalidation raises the generation before it looks at any set. Either the fill took the set
 *    first, then the invalidation waits for it and finds the entry; or the invalidation raised the
 *    generation first, then the fill sees that and gives up. That is a store and a load on either
 *    side, so all four are sequentially consistent.
 *
 *               | lookup        fill                 invalidate
 *    -----------+------------------------------------------------------------------
 *    lookup     | free          miss when overrun    hit only if it began before
 *    fill       |               one of them gives up  3.
 *    invalidate |                                    the queue's lock
 *
 * 4. Ordering of a set. Writer: odd sequence, then words with release (so that whoever sees a new
 *    word sees the odd sequence), then the even sequence with release. Reader: sequence and words
 *    with acquire, then the sequence again.
 */
#include "backend/sim/iotlb.h"
#include "pgtable/pgtable.h"

#include <sched.h>
#include <stdatomic.h>

#define SETS 64u
#define WAYS 4u

/* Guarded by their set's sequence. */
struct way {
	_Atomic uint64_t space; /* 0: empty */
	_Atomic uint64_t key;   /* first IOVA of the page | its shift */
	_Atomic uint64_t pte;
};

struct set {
	_Alignas(128) _Atomic uint64_t sequence; /* odd: being written */
	struct way ways[WAYS];
	_Atomic unsigned victim; /* guarded by sequence */
};

static struct set sets[SETS];
static _Atomic uint64_t generation;

static const unsigned shifts[] = { 12, 21, 30 };

static uint64_t key_of(dray_iova_t iova, unsigned shift)
{
	return (iova >> shift << shift) | shift;
}

/* Fold the page number over six bits; spaces are spread by an odd factor. */
static struct set *set_of(uint64_t space, dray_iova_t iova, unsigned shift)
{
	uint64_t page = iova >> shift;

	return &sets[(page ^ page >> 6 ^ page >> 12 ^ space * 29) % SETS];
}

static uint64_t get(const _Atomic uint64_t *word)
{
	return atomic_load_explicit(word, memory_order_acquire); /* see 4 */
}

static void put(_Atomic uint64_t *word, uint64_t value)
{
	atomic_store_explicit(word, value, memory_order_release); /* see 4 */
}

static bool find(const struct set *set, uint64_t space, uint64_t key, uint64_t *ret_pte)
{
	uint64_t before = get(&set->sequence), pte = 0;

	if (before & 1)
		return false;
	for (unsigned i = 0; i < WAYS; i++)
		if (get(&set->ways[i].key) == key && get(&set->ways[i].space) == space)
			pte = get(&set->ways[i].pte);
	if (!pte || atomic_load_explicit(&set->sequence, memory_order_relaxed) != before)
		return false;
	*ret_pte = pte;
	return true;
}

bool dr_iotlb_lookup(uint64_t space, dray_iova_t iova, uint64_t *ret_pte, unsigned *ret_shift)
{
	for (unsigned i = 0; i < sizeof(shifts) / sizeof(shifts[0]); i++) {
		unsigned shift = shifts[i];

		if (find(set_of(space, iova, shift), space, key_of(iova, shift), ret_pte)) {
			*ret_shift = shift;
			return true;
		}
	}
	return false;
}

uint64_t dr_iotlb_generation(void)
{
	/* Acquire: the walk that follows sees what was cleared before this generation began. */
	return get(&generation);
}

/* Take a set for writing; false when somebody else has it. */
static bool begin(struct set *set)
{
	uint64_t seen = atomic_load_explicit(&set->sequence, memory_order_relaxed);

	/* Sequentially consistent: see 3. */
	return !(seen & 1) && atomic_compare_exchange_strong(&set->sequence, &seen, seen + 1);
}

static void end(struct set *set)
{
	put(&set->sequence, get(&set->sequence) + 1);
}

/* Which way to write: the page's own if another access was faster, an empty one, or the next. */
static struct way *choose_way(struct set *set, uint64_t space, uint64_t key)
{
	struct way *empty = NULL;
	unsigned next;

	for (unsigned i = 0; i < WAYS; i++) {
		struct way *way = &set->ways[i];

		if (get(&way->space) == space && get(&way->key) == key)
			return way;
		if (!get(&way->space))
			empty = way;
	}
	if (empty)
		return empty;
	next = atomic_load_explicit(&set->victim, memory_order_relaxed);
	atomic_store_explicit(&set->victim, (next + 1) % WAYS, memory_order_relaxed);
	return &set->ways[next];
}

bool dr_iotlb_fill(uint64_t space, dray_iova_t iova, uint64_t pte, unsigned shift,
		   uint64_t at_generation)
{
	struct set *set = set_of(space, iova, shift);
	uint64_t key = key_of(iova, shift);
	bool current;

	if (!begin(set))
		return false;
	current = atomic_load(&generation) == at_generation; /* see 3 */
	if (current) {
		struct way *way = choose_way(set, space, key);

		put(&way->space, space);
		put(&way->key, key);
		put(&way->pte, pte);
	}
	end(set);
	return current;
}

static bool overlaps(const struct way *way, uint64_t space, dray_iova_t first, dray_iova_t last)
{
	uint64_t owner = get(&way->space), key = get(&way->key);
	dray_iova_t low = key & ~UINT64_C(0xfff);

	return owner && (space == DR_IOTLB_ALL || owner == space) && low <= last &&
	       low + (UINT64_C(1) << (key & 0xfff)) - 1 >= first;
}

static bool has_any(const struct set *set, uint64_t space, dray_iova_t first, dray_iova_t last)
{
	for (unsigned i = 0; i < WAYS; i++)
		if (overlaps(&set->ways[i], space, first, last))
			return true;
	return false;
}

static void clean(struct set *set, uint64_t space, dray_iova_t first, dray_iova_t last)
{
	for (;;) {
		uint64_t seen = atomic_load(&set->sequence); /* see 3 */

		/* Most sets have nothing of it: reading is enough if nobody wrote meanwhile. */
		if (!(seen & 1) && !has_any(set, space, first, last) &&
		    atomic_load_explicit(&set->sequence, memory_order_relaxed) == seen)
			return;
		if (begin(set))
			break;
		sched_yield();
	}
	for (unsigned i = 0; i < WAYS; i++)
		if (overlaps(&set->ways[i], space, first, last))
			put(&set->ways[i].space, 0);
	end(set);
}

void dr_iotlb_invalidate(uint64_t space, dray_iova_t first, dray_iova_t last)
{
	uint64_t pages = (last >> 12) - (first >> 12) + 1;

	atomic_fetch_add(&generation, 1); /* before any set is looked at: see 3 */
	/*
	 * A short range is in few sets: those of its pages, and of the larger pages around them.
	 * From a quarter of the sets on, reading them all in order is no slower.
	 */
	if (space == DR_IOTLB_ALL || pages > SETS / 4) {
		for (unsigned i = 0; i < SETS; i++)
			clean(&sets[i], space, first, last);
		return;
	}
	for (unsigned i = 0; i < sizeof(shifts) / sizeof(shifts[0]); i++) {
		unsigned shift = shifts[i];

		for (uint64_t page = first >> shift; page <= last >> shift; page++)
			clean(set_of(space, page << shift, shift), space, first, last);
	}
}

void dr_iotlb_reset(void)
{
	for (unsigned i = 0; i < SETS; i++) {
		for (unsigned w = 0; w < WAYS; w++)
			put(&sets[i].ways[w].space, 0);
		put(&sets[i].sequence, 0);
	}
}
