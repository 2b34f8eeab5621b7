// SPDX-License-Identifier: BSD-2-Clause
/* The tree alone: balance, what it keeps per subtree, and its three ways of finding. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "iova_test.h"

#include "iova/tree.h"

#define SLOTS 200u

/* Pieces at slots of 10 addresses each; a picture by slot is the oracle. */
struct world {
	struct dr_tree tree;
	struct dr_piece node[SLOTS];
	bool in[SLOTS];
};

static void put(struct world *w, unsigned slot, unsigned len, uint8_t bits)
{
	struct dr_piece *p = &w->node[slot];

	p->first = slot * 10;
	p->last = slot * 10 + len - 1;
	p->bits = bits;
	dr_tree_insert(&w->tree, p);
	w->in[slot] = true;
}

static void pull(struct world *w, unsigned slot)
{
	dr_tree_erase(&w->tree, &w->node[slot]);
	w->in[slot] = false;
}

static struct dr_piece *slow_next(struct world *w, uint64_t addr, uint8_t bits)
{
	for (unsigned i = 0; i < SLOTS; i++)
		if (w->in[i] && w->node[i].last >= addr && w->node[i].bits & bits)
			return &w->node[i];
	return NULL;
}

static bool slow_is_free(const struct world *w, uint64_t addr)
{
	if (addr / 10 >= SLOTS || !w->in[addr / 10])
		return true;
	return addr < w->node[addr / 10].first || addr > w->node[addr / 10].last;
}

/* The highest run of at least @len free addresses in [first, last]; where a request of len goes. */
static bool slow_gap(const struct world *w, uint64_t len, uint64_t first, uint64_t last,
		     uint64_t *ret_iova)
{
	uint64_t run = 0;

	for (uint64_t addr = last + 1; addr-- > first;) {
		run = slow_is_free(w, addr) ? run + 1 : 0;
		if (run == len) {
			*ret_iova = addr;
			return true;
		}
	}
	return false;
}

static void finds_what_a_list_finds(void **state)
{
	static struct world w;
	uint64_t seed = 0x1234567;

	(void)state;
	for (unsigned step = 0; step < 20000; step++) {
		unsigned slot = (unsigned)(next_random(&seed) % SLOTS);
		uint8_t bits = (uint8_t)(1u << next_random(&seed) % 7);
		uint64_t addr = next_random(&seed) % (SLOTS * 10 + 50);
		uint64_t last = addr + next_random(&seed) % (SLOTS * 10);
		size_t misfits = SIZE_MAX;
		uint64_t want = 0, got = 0;
		struct dr_iova_request req = {.align = 1};
		struct dr_fit fit;

		if (!w.in[slot])
			put(&w, slot, 1 + (unsigned)(next_random(&seed) % 10), bits);
		else if (next_random(&seed) % 4)
			pull(&w, slot);
		else
			dr_tree_change(&w.tree, &w.node[slot], slot * 10 + next_random(&seed) % 10,
				       bits);
		assert_true(dr_tree_is_valid(&w.tree));

		bits = (uint8_t)next_random(&seed);
		assert_ptr_equal(dr_tree_next(&w.tree, addr, bits), slow_next(&w, addr, bits));
		assert_int_equal(!dr_tree_at(&w.tree, addr), slow_is_free(&w, addr));

		req.len = 1 + next_random(&seed) % 60;
		assert_int_equal(dr_fit_init(&fit, &req, 1), 0);
		assert_int_equal(
			dr_tree_find_gap(&w.tree, &fit, req.len, &misfits, addr, last, &got),
			slow_gap(&w, req.len, addr, last, &want));
		assert_int_equal(got, want);
		assert_true(misfits == SIZE_MAX); /* an alignment of 1 fits everywhere */
	}
}

/* AVL's bound for n = 2^16 - 1 pieces, whichever order they come and go in. */
static void stays_low(void **state)
{
	const unsigned n = (1u << 16) - 1;
	struct dr_piece *node = calloc(n, sizeof(*node));
	struct dr_tree t = {0};

	(void)state;
	assert_non_null(node);
	for (unsigned i = 0; i < n; i++) {
		node[i] = (struct dr_piece){.first = i * 2, .last = i * 2, .bits = 1};
		dr_tree_insert(&t, &node[i]);
	}
	assert_true(dr_tree_is_valid(&t));
	assert_true(t.root->height <= 24); /* 1.45 * 16 */
	for (unsigned i = 0; i < n; i += 2)
		dr_tree_erase(&t, &node[i]);
	for (unsigned i = n / 2; i < n; i += 2) /* n / 2 is odd */
		dr_tree_erase(&t, &node[i]);
	assert_true(dr_tree_is_valid(&t));
	assert_int_equal(t.pieces, (1u << 14) - 1);
	assert_true(t.root->height <= 21); /* 1.45 * 14 */
	for (unsigned i = 1; i < n / 2; i += 2)
		dr_tree_erase(&t, &node[i]);
	assert_null(t.root);
	assert_int_equal(t.pieces, 0);
	free(node);
}

/* The search gives up after as many misfits as it was allowed, and says so. */
static void counts_misfits(void **state)
{
	static struct world w;
	const struct dr_iova_request req = {.len = 8, .align = 16};
	struct dr_fit fit;
	size_t misfits;
	uint64_t iova = 0;

	(void)state;
	assert_int_equal(dr_fit_init(&fit, &req, 1), 0);
	/* Gaps of 9 addresses, 1..9, 11..19, …: 8 of them aligned to 16 fit in few. */
	for (unsigned slot = 0; slot < SLOTS; slot++)
		put(&w, slot, 1, 1);

	misfits = SIZE_MAX;
	assert_true(dr_tree_find_gap(&w.tree, &fit, 8, &misfits, 0, SLOTS * 10 - 1, &iova));
	assert_int_equal(iova, 1952);
	assert_int_equal(SIZE_MAX - misfits, 4); /* 1991, 1981, 1971, 1961 */
	misfits = 5;
	assert_true(dr_tree_find_gap(&w.tree, &fit, 8, &misfits, 0, SLOTS * 10 - 1, &iova));
	misfits = 4;
	assert_false(dr_tree_find_gap(&w.tree, &fit, 8, &misfits, 0, SLOTS * 10 - 1, &iova));
	assert_int_equal(misfits, 0);
	assert_false(dr_tree_find_gap(&w.tree, &fit, 8, &misfits, 0, SLOTS * 10 - 1, &iova));
	/* Too large a gap: none, and nothing was a misfit. */
	misfits = 4;
	assert_false(dr_tree_find_gap(&w.tree, &fit, 10, &misfits, 0, SLOTS * 10 - 1, &iova));
	assert_int_equal(misfits, 4);
}

static void covers_all_64_bits(void **state)
{
	struct dr_piece bottom = {.first = 0, .last = 4095, .bits = 1};
	struct dr_piece top = {.first = UINT64_MAX - 4095, .last = UINT64_MAX, .bits = 2};
	const struct dr_iova_request req = {.len = 4096, .align = 4096};
	struct dr_tree t = {0};
	struct dr_fit fit;
	size_t misfits = 9;
	uint64_t iova;

	(void)state;
	assert_int_equal(dr_fit_init(&fit, &req, 4096), 0);
	assert_true(dr_tree_find_gap(&t, &fit, 4096, &misfits, 4096, UINT64_MAX, &iova));
	assert_int_equal(iova, UINT64_MAX - 4095);
	dr_tree_insert(&t, &top);
	dr_tree_insert(&t, &bottom);
	assert_true(dr_tree_is_valid(&t));
	assert_int_equal(t.root->max_gap, UINT64_MAX - 8191);
	assert_true(dr_tree_find_gap(&t, &fit, 4096, &misfits, 4096, UINT64_MAX, &iova));
	assert_int_equal(iova, UINT64_MAX - 8191);
	assert_ptr_equal(dr_tree_next(&t, UINT64_MAX, 2), &top);
	assert_null(dr_tree_next(&t, UINT64_MAX, 1));
	dr_tree_change(&t, &bottom, UINT64_MAX - 4096, 4);
	assert_true(dr_tree_is_valid(&t));
	assert_false(dr_tree_find_gap(&t, &fit, 4096, &misfits, 4096, UINT64_MAX, &iova));
	assert_ptr_equal(dr_tree_at(&t, UINT64_MAX - 4096), &bottom);
}

/* The checker itself must see a broken tree, or it proves nothing. */
static void validity_is_not_assumed(void **state)
{
	static struct world w;
	struct dr_piece keep;
	struct dr_piece *n;

	(void)state;
	for (unsigned slot = 0; slot < 20; slot++)
		put(&w, slot, 5, 1);
	assert_true(dr_tree_is_valid(&w.tree));
	n = w.tree.root->left;
	keep = *n;
#define broken(statement)                                                                          \
	do {                                                                                       \
		statement;                                                                         \
		assert_false(dr_tree_is_valid(&w.tree));                                           \
		*n = keep;                                                                         \
		assert_true(dr_tree_is_valid(&w.tree));                                            \
	} while (0)
	broken(n->max_gap++);
	broken(n->max_last++);
	broken(n->min_first++);
	broken(n->height++);
	broken(n->all_bits = 3);
	broken(n->bits = 0);
	broken(n->last += 6); /* overlaps */
	broken(n->first -= 6);
	broken(n->first = n->last + 1);
	broken(n->right = NULL);
#undef broken
	w.tree.pieces++;
	assert_false(dr_tree_is_valid(&w.tree));
	w.tree.pieces--;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(finds_what_a_list_finds), cmocka_unit_test(stays_low),
		cmocka_unit_test(counts_misfits),          cmocka_unit_test(covers_all_64_bits),
		cmocka_unit_test(validity_is_not_assumed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
