// SPDX-License-Identifier: BSD-2-Clause
/*
 * The table of registered memory.
 *
 * 1. Shape. A key's top 18 bits choose a slot of the root, which leads to a gib node; the next 9 a
 *    slot there. A slot holds an entry for its 2 MiB; or one for a part of them, whose bounds are in
 *    a second word beside it; or, where two ranges meet in these 2 MiB, it leads to a leaf node with
 *    a slot for each 4 KiB. A range is stored in the largest entries its own alignment allows; its
 *    value needs none, because an entry holds the first page of what is behind it and the rest is
 *    added. So memory in 2 MiB pages is found with two loads that wait for each other, and so is
 *    what lies alone, since both words of a part are asked for at once; what lies close, with three.
 *
 *    Parts, measured: 60,000 ranges of 64 KiB all over 1 TiB, looked up at random, are found in 120
 *    ns, where a leaf node for each took 520 and a bare radix of 4 KiB pages takes 490; what takes
 *    the time is a page of a table for each, whoever's. And they need 8 MiB of nodes instead of 240.
 *
 * 2. Price. The root is 2 MiB of address space in which only written pages exist, in small pages:
 *    the hardware's own page table is the level that is saved. Whoever registers in one place pays
 *    for a page of the root, one of a gib node, and one more where a range has an edge off 2 MiB; in
 *    all, a gib node of two pages for each GiB of keys ever used, and a leaf node of a page for each
 *    2 MiB in which ranges have met, until the last of them has gone. A process under
 *    mlockall(MCL_FUTURE) pays for the whole root. Nodes lie side by side in arenas of address
 *    space, the first of 64 KiB, each twice the one before: pages that are not written do not
 *    exist, all nodes take few lines of the hardware's page table, and large arenas may get huge
 *    pages.
 *
 * 3. Writers come one at a time, under their owner's lock: claim, act, publish. A claim fills the
 *    slots with something that readers take for nothing, so it finds every overlap by itself,
 *    whether the other is claimed or published, and publishing only stores.
 *
 * 4. Readers take no lock, write nothing and need no read section, so a node that a reader may
 *    stand in keeps its type: gib nodes stay where they are, leaf nodes become spare when their
 *    last slot is cleared and serve another place later; memory goes back at close. What tells a
 *    reader that the leaf node it stands in was moved is the second look at the link:
 *
 *      - A link's word carries a number; no two links of a table have the same, until 2^24 more
 *        were made. Each of them took an unregistration, which waits for two grace periods: a
 *        reader would have to stand still between its two looks for minutes, while the counter
 *        comes round to the same number for the same node and the same slot.
 *      - A node is unlinked before anything else is stored in it, and everything stored in it
 *        after that is a release. A reader that loads (acquire) something from the node's next
 *        life therefore sees at its second look that the word has changed, and begins again.
 *      - If the word is the same, the entry was in this link's node at some moment between the two
 *        looks, which is all that a reader without a lock can be told of a slot.
 *
 *    A part's two words are read in the order bounds, word, bounds. Bounds have a number of 32 bits,
 *    which comes round after an hour or more of nothing but registering, and are stored (release)
 *    before the word that they belong to, when the slot's word says nothing. So if a reader sees the
 *    same bounds twice, the word between is no later part's, whose bounds it would have seen behind
 *    it, and no earlier one's, which was taken away before these bounds were stored. When a second
 *    range comes into the 2 MiB, a leaf node is filled with what the part has, and takes its place
 *    with one store: a reader finds the first range all the time.
 *
 *              | claim, publish, clear    find
 *      --------+-------------------------------------------------------------------------
 *      writers | owner's lock             sees each slot before or after; whole either way
 *      find    |                          nothing shared is written
 *
 * 5. What can fail: open and claim, for memory. Undone in reverse; nodes made stay.
 */
#define _GNU_SOURCE
#include "region/table.h"
#include "base/hooks.h"

#include <assert.h>
#include <errno.h>
#include <sys/mman.h>

#define SMALL ((uint64_t)1 << DR_SMALL_SHIFT)
#define LARGE ((uint64_t)1 << DR_LARGE_SHIFT)

#define ROOT_BYTES (DR_ROOT_SLOTS * sizeof(struct dr_gib_node *))

int dr_table_open(struct dr_table *t)
{
	void *root = dr_hooks->mmap(NULL, ROOT_BYTES, PROT_READ | PROT_WRITE,
				    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (root == MAP_FAILED)
		return -ENOMEM;
	/* Refused where there are no huge pages, which is as good. */
	dr_hooks->madvise(root, ROOT_BYTES, MADV_NOHUGEPAGE);
	*t = (struct dr_table){ .root = root };
	return 0;
}

static size_t arena_bytes(unsigned k)
{
	return ((size_t)DR_FIRST_ARENA_PAGES << k) * SMALL;
}

void dr_table_close(struct dr_table *t)
{
	for (unsigned k = 0; k < t->arenas; k++)
		dr_hooks->munmap(t->arena[k], arena_bytes(k));
	if (t->root)
		dr_hooks->munmap((void *)t->root, ROOT_BYTES);
	*t = (struct dr_table){ 0 };
}

/* A node of @pages, zeroed; NULL: no memory. A page that is too few at an arena's end stays so. */
static void *carve(struct dr_table *t, size_t pages)
{
	unsigned k = t->arenas;
	void *p;

	if (k && t->carved + pages <= (size_t)DR_FIRST_ARENA_PAGES << (k - 1)) {
		p = (char *)t->arena[k - 1] + t->carved * SMALL;
	} else {
		if (k == DR_ARENAS)
			return NULL;
		p = dr_hooks->mmap(NULL, arena_bytes(k), PROT_READ | PROT_WRITE,
				   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
		if (p == MAP_FAILED)
			return NULL;
		t->arena[t->arenas++] = p;
		t->carved = 0;
	}
	t->carved += pages;
	t->nodes++;
	return p;
}

static struct dr_gib_node *gib_of(const struct dr_table *t, uint64_t key)
{
	return atomic_load_explicit(&t->root[key >> DR_GIB_SHIFT], memory_order_relaxed);
}

static unsigned large_index(uint64_t key)
{
	return (unsigned)(key >> DR_LARGE_SHIFT) % DR_NODE_SLOTS;
}

static unsigned small_index(uint64_t key)
{
	return (unsigned)(key >> DR_SMALL_SHIFT) % DR_NODE_SLOTS;
}

static uint64_t slot_of(const struct dr_gib_node *gib, uint64_t key)
{
	return atomic_load_explicit(&gib->slot[large_index(key)], memory_order_relaxed);
}

/* The bounds beside it. */
static uint64_t part_of(struct dr_gib_node *gib, uint64_t key)
{
	return atomic_load_explicit(dr_slot_bounds(&gib->slot[large_index(key)]),
				    memory_order_relaxed);
}

/* The keys of the next slot, or slots of one leaf node, of a range: its part of a 2 MiB block. */
static uint64_t step_of(uint64_t key, uint64_t len)
{
	uint64_t room = LARGE - (key & (LARGE - 1));

	return len < room ? len : room;
}

/* Is anything of a part of one 2 MiB block taken? */
static bool is_taken(const struct dr_table *t, uint64_t key, uint64_t step)
{
	struct dr_gib_node *gib = gib_of(t, key);
	const struct dr_leaf_node *leaf;
	uint64_t word;

	if (!gib)
		return false;
	word = slot_of(gib, key);
	if (!(word & DR_SLOT_LINK))
		return word != 0;
	if (dr_slot_is_part(word)) {
		uint64_t part = part_of(gib, key);
		uint64_t first = small_index(key);

		return first <= dr_part_first(part) + dr_part_more(part) &&
		       first + step / SMALL > dr_part_first(part);
	}
	leaf = dr_slot_leaf(word);
	for (uint64_t off = 0; off < step; off += SMALL)
		if (atomic_load_explicit(&leaf->slot[small_index(key + off)],
					 memory_order_relaxed))
			return true;
	return false;
}

static struct dr_gib_node *reach_gib(struct dr_table *t, uint64_t key)
{
	struct dr_gib_node *gib = gib_of(t, key);

	if (gib)
		return gib;
	gib = carve(t, sizeof(*gib) / SMALL);
	if (!gib)
		return NULL;
	/* Release: who finds it finds it zeroed. */
	atomic_store_explicit(&t->root[key >> DR_GIB_SHIFT], gib, memory_order_release);
	return gib;
}

static struct dr_leaf_node *take_leaf(struct dr_table *t)
{
	struct dr_leaf_node *leaf = t->spare;

	if (leaf) {
		t->spare = (struct dr_leaf_node *)(uintptr_t)atomic_load_explicit(
			&leaf->slot[0], memory_order_relaxed);
		/* Release: see 4. */
		atomic_store_explicit(&leaf->slot[0], 0, memory_order_release);
		return leaf;
	}
	return carve(t, 1);
}

/* Store a word in slots of a leaf node; @word is for the first page. */
static void fill_leaf(struct dr_leaf_node *leaf, uint64_t first, uint64_t pages, uint64_t word,
		      uint64_t per_page)
{
	/* Release: see 4, and what is behind an entry was made before it. */
	for (uint64_t i = 0; i < pages; i++, word += per_page)
		atomic_store_explicit(&leaf->slot[first + i], word, memory_order_release);
}

/* A leaf node for slot @i, which has none, with what the slot has in it. */
static struct dr_leaf_node *add_leaf(struct dr_table *t, struct dr_gib_node *gib, unsigned i)
{
	uint64_t word = atomic_load_explicit(&gib->slot[i], memory_order_relaxed);
	uint64_t part = atomic_load_explicit(dr_slot_bounds(&gib->slot[i]), memory_order_relaxed);
	struct dr_leaf_node *leaf = take_leaf(t);

	if (!leaf)
		return NULL;
	assert(!((uint64_t)(uintptr_t)leaf & ~DR_SLOT_ADDR));
	if (dr_slot_is_part(word))
		fill_leaf(leaf, dr_part_first(part), dr_part_more(part) + 1,
			  (word & ~DR_SLOT_LINK) + dr_part_first(part) * SMALL,
			  word & DR_SLOT_ENTRY ? SMALL : 0);
	word = (uintptr_t)leaf | DR_SLOT_LINK | dr_slot_number(++t->links & DR_INDEX_MAX);
	/* Release: who finds it finds in it what was here. */
	atomic_store_explicit(&gib->slot[i], word, memory_order_release);
	return leaf;
}

/*
 * Store a claim or an entry in part of one 2 MiB block, which has room for it. @word is for the
 * first page, or 2 MiB.
 */
static void fill(struct dr_gib_node *gib, uint64_t key, uint64_t step, uint64_t word,
		 uint64_t per_page)
{
	uint64_t was = slot_of(gib, key);

	if (step < LARGE && (was & DR_SLOT_LINK) && !dr_slot_is_part(was)) {
		fill_leaf(dr_slot_leaf(was), small_index(key), step / SMALL, word, per_page);
		return;
	}
	/* A part's word: see table.h. */
	if (step < LARGE)
		word = (word | DR_SLOT_LINK) - small_index(key) * SMALL;
	/* Release: as in a leaf node. */
	atomic_store_explicit(&gib->slot[large_index(key)], word, memory_order_release);
}

static int claim_step(struct dr_table *t, uint64_t key, uint64_t step, uint32_t index)
{
	struct dr_gib_node *gib = reach_gib(t, key);
	unsigned i = large_index(key);

	if (!gib)
		return -ENOMEM;
	if (step < LARGE && !slot_of(gib, key))
		/* Release: see 4. */
		atomic_store_explicit(dr_slot_bounds(&gib->slot[i]), small_index(key) |
				      (step / SMALL - 1) << DR_PART_MORE_SHIFT |
				      ++t->parts << DR_PART_NUMBER_SHIFT, memory_order_release);
	else if (step < LARGE && dr_slot_is_part(slot_of(gib, key)) && !add_leaf(t, gib, i))
		return -ENOMEM;
	fill(gib, key, step, dr_slot_number(index) | DR_SLOT_CLAIM, 0);
	return 0;
}

int dr_table_claim(struct dr_table *t, uint64_t key, uint64_t len, uint32_t index)
{
	uint64_t done, step;

	assert(len && !((key | len) & (SMALL - 1)) && !((key + len - 1) >> DR_KEY_BITS));
	assert(index <= DR_INDEX_MAX);
	for (done = 0; done < len; done += step) {
		step = step_of(key + done, len - done);
		if (is_taken(t, key + done, step))
			return -EEXIST;
	}
	for (done = 0; done < len; done += step) {
		step = step_of(key + done, len - done);
		if (claim_step(t, key + done, step, index)) {
			if (done)
				dr_table_clear(t, key, done);
			return -ENOMEM;
		}
	}
	return 0;
}

void dr_table_publish(struct dr_table *t, uint64_t key, uint64_t len, uint64_t value,
		      uint32_t index, uint64_t mark)
{
	uint64_t word = value | dr_slot_number(index) | DR_SLOT_ENTRY | mark;
	uint64_t done, step;

	assert(!(value & (SMALL - 1)) && !((value + len - 1) >> DR_KEY_BITS));
	for (done = 0; done < len; done += step) {
		step = step_of(key + done, len - done);
		fill(gib_of(t, key + done), key + done, step, word + done, SMALL);
	}
}

/*
 * Is nothing left in a leaf node? Looked at rather than counted: a count would be written beside
 * what readers read, and a node is looked at only when a part of it has been cleared.
 */
static bool is_empty(const struct dr_leaf_node *leaf)
{
	for (unsigned i = 0; i < DR_NODE_SLOTS; i++)
		if (atomic_load_explicit(&leaf->slot[i], memory_order_relaxed))
			return false;
	return true;
}

/* A leaf node in which nothing is left goes to the spare ones. */
static void unlink_leaf(struct dr_table *t, struct dr_gib_node *gib, unsigned i,
			struct dr_leaf_node *leaf)
{
	/* Before the chain word, whose release is what 4 builds on. */
	atomic_store_explicit(&gib->slot[i], 0, memory_order_relaxed);
	atomic_store_explicit(&leaf->slot[0], (uintptr_t)t->spare, memory_order_release);
	t->spare = leaf;
}

void dr_table_clear(struct dr_table *t, uint64_t key, uint64_t len)
{
	uint64_t done, step;

	for (done = 0; done < len; done += step) {
		uint64_t at = key + done;
		struct dr_gib_node *gib = gib_of(t, at);
		unsigned i = large_index(at);
		struct dr_leaf_node *leaf;

		step = step_of(at, len - done);
		if (step == LARGE || dr_slot_is_part(slot_of(gib, at))) {
			atomic_store_explicit(&gib->slot[i], 0, memory_order_relaxed);
			continue;
		}
		leaf = dr_slot_leaf(slot_of(gib, at));
		for (uint64_t off = 0; off < step; off += SMALL)
			atomic_store_explicit(&leaf->slot[small_index(at + off)], 0,
					      memory_order_relaxed);
		if (is_empty(leaf))
			unlink_leaf(t, gib, i, leaf);
	}
}

static bool leaf_is_valid(const struct dr_leaf_node *leaf, uint64_t *inout_pages)
{
	unsigned n = 0;

	for (unsigned i = 0; i < DR_NODE_SLOTS; i++) {
		uint64_t word = atomic_load_explicit(&leaf->slot[i], memory_order_relaxed);

		if (word & DR_SLOT_LINK || (word && !(word & (DR_SLOT_ENTRY | DR_SLOT_CLAIM))))
			return false;
		n += word != 0;
	}
	*inout_pages += n;
	return n != 0;
}

static bool part_is_valid(const struct dr_table *t, uint64_t word, uint64_t part,
			  uint64_t *inout_pages)
{
	uint64_t pages = dr_part_more(part) + 1;

	*inout_pages += pages;
	return !(word & DR_SLOT_ENTRY && word & DR_SLOT_CLAIM) && pages < DR_NODE_SLOTS &&
	       dr_part_first(part) + pages <= DR_NODE_SLOTS &&
	       part >> DR_PART_NUMBER_SHIFT <= t->parts;
}

bool dr_table_is_valid(const struct dr_table *t, uint64_t *ret_pages)
{
	size_t nodes = 0;

	*ret_pages = 0;
	for (uint64_t g = 0; g < DR_ROOT_SLOTS; g++) {
		struct dr_gib_node *gib = gib_of(t, g << DR_GIB_SHIFT);

		nodes += gib != NULL;
		for (unsigned i = 0; gib && i < DR_NODE_SLOTS; i++) {
			uint64_t word = atomic_load_explicit(&gib->slot[i], memory_order_relaxed);

			if (!(word & DR_SLOT_LINK)) {
				*ret_pages += word ? LARGE / SMALL : 0;
				continue;
			}
			if (dr_slot_is_part(word)) {
				uint64_t part = part_of(gib, (uint64_t)i << DR_LARGE_SHIFT);

				if (!part_is_valid(t, word, part, ret_pages))
					return false;
				continue;
			}
			nodes++;
			if (!leaf_is_valid(dr_slot_leaf(word), ret_pages))
				return false;
		}
	}
	for (const struct dr_leaf_node *leaf = t->spare; leaf; nodes++) {
		for (unsigned i = 1; i < DR_NODE_SLOTS; i++)
			if (atomic_load_explicit(&leaf->slot[i], memory_order_relaxed))
				return false;
		leaf = (const struct dr_leaf_node *)(uintptr_t)atomic_load_explicit(
			&leaf->slot[0], memory_order_relaxed);
	}
	return nodes == t->nodes;
}
