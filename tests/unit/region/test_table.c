// SPDX-License-Identifier: BSD-2-Clause
/* The table alone: entries of every kind, overlaps, memory that runs out, nodes that move. */
#include <pthread.h>

#include "rig.h"

static struct dr_table t;

static int table_setup(void **state)
{
	rig_setup(state);
	assert_int_equal(dr_table_open(&t), 0);
	return 0;
}

static int table_teardown(void **state)
{
	uint64_t pages;
	bool ok = dr_table_is_valid(&t, &pages);

	dr_table_close(&t);
	return rig_teardown(state) || !ok;
}

static uint64_t pages_in(void)
{
	uint64_t pages;

	assert_true(dr_table_is_valid(&t, &pages));
	return pages;
}

/* Where @key leads, and to whom; UINT64_MAX for nowhere. */
static uint64_t look(uint64_t key, uint32_t *ret_index)
{
	uint64_t mask, word = dr_table_find(&t, key, &mask);

	if (!dr_slot_is_entry(word))
		return UINT64_MAX;
	*ret_index = dr_slot_index(word);
	return dr_slot_value(word) + (key & mask);
}

static void put(uint64_t key, uint64_t len, uint64_t value, uint32_t index)
{
	assert_int_equal(dr_table_claim(&t, key, len, index), 0);
	dr_table_publish(&t, key, len, value, index, 0);
}

static void assert_range(uint64_t key, uint64_t len, uint64_t value, uint32_t index)
{
	uint32_t i = ~0u;

	assert_int_equal(look(key - 1, &i), UINT64_MAX);
	assert_int_equal(look(key + len, &i), UINT64_MAX);
	for (uint64_t off = 0; off < len; off += KB4) {
		assert_int_equal(look(key + off, &i), value + off);
		assert_int_equal(i, index);
		assert_int_equal(look(key + off + KB4 - 1, &i), value + off + KB4 - 1);
	}
}

static void test_every_shape(void **state)
{
	/* Edges on and off 2 MiB and 1 GiB; values congruent and not. */
	static const uint64_t keys[] = {
		3 * GB1, 3 * GB1 + KB4, 3 * GB1 - KB4, 3 * GB1 + MB2, 3 * GB1 - MB2 + KB4,
	};
	static const uint64_t lens[] = {
		KB4, 2 * KB4, MB2 - KB4, MB2, MB2 + KB4, 2 * MB2, 3 * MB2 - KB4, 5 * MB2 + 3 * KB4,
	};
	static const uint64_t values[] = { 0, KB4, 7 * MB2, UINT64_C(1) << 46 };

	(void)state;
	for (size_t k = 0; k < sizeof(keys) / sizeof(keys[0]); k++)
		for (size_t l = 0; l < sizeof(lens) / sizeof(lens[0]); l++)
			for (size_t v = 0; v < sizeof(values) / sizeof(values[0]); v++) {
				uint32_t index = (uint32_t)(k << 20 | l << 8 | v);

				put(keys[k], lens[l], values[v], index);
				assert_range(keys[k], lens[l], values[v], index);
				assert_int_equal(pages_in(), lens[l] / KB4);
				dr_table_clear(&t, keys[k], lens[l]);
				assert_int_equal(pages_in(), 0);
				assert_int_equal(look(keys[k], &index), UINT64_MAX);
			}
}

/* 2 MiB that are aligned are one entry, whatever is behind them; nothing else is. */
static void test_large_entries(void **state)
{
	uint64_t mask;

	(void)state;
	put(GB1, 2 * MB2, 5 * KB4, 1);
	assert_true(dr_table_find(&t, GB1 + MB2 + 17, &mask) != 0);
	assert_int_equal(mask, MB2 - 1);
	put(GB1 + 3 * MB2 - KB4, MB2, 0, 2);
	assert_true(dr_table_find(&t, GB1 + 3 * MB2, &mask) != 0);
	assert_int_equal(mask, KB4 - 1);
	dr_table_clear(&t, GB1, 2 * MB2);
	dr_table_clear(&t, GB1 + 3 * MB2 - KB4, MB2);
}

static void test_highest_and_lowest(void **state)
{
	uint64_t top = UINT64_C(1) << DR_KEY_BITS;
	uint32_t i = 0;

	(void)state;
	put(0, KB4, KB4, DR_INDEX_MAX);
	put(top - MB2, MB2, top - MB2, 3);
	assert_int_equal(look(0, &i), KB4);
	assert_int_equal(i, DR_INDEX_MAX);
	assert_int_equal(look(top - 1, &i), top - 1);
	assert_int_equal(look(top, &i), UINT64_MAX);
	assert_int_equal(look(UINT64_MAX, &i), UINT64_MAX);
	assert_int_equal(look(UINT64_C(0xffff800000000000), &i), UINT64_MAX);
	dr_table_clear(&t, 0, KB4);
	dr_table_clear(&t, top - MB2, MB2);
}

static void test_claims_are_not_seen_but_exclude(void **state)
{
	uint32_t i;

	(void)state;
	assert_int_equal(dr_table_claim(&t, GB1 - KB4, MB2 + 2 * KB4, 9), 0);
	for (uint64_t off = 0; off < MB2 + 2 * KB4; off += KB4) {
		assert_int_equal(look(GB1 - KB4 + off, &i), UINT64_MAX);
		assert_int_equal(dr_table_claim(&t, GB1 - KB4 + off, KB4, 10), -EEXIST);
	}
	assert_int_equal(dr_table_claim(&t, GB1 - 2 * KB4, KB4, 10), 0);
	assert_int_equal(dr_table_claim(&t, GB1 + MB2 + KB4, KB4, 11), 0);
	dr_table_clear(&t, GB1 - KB4, MB2 + 2 * KB4);
	dr_table_clear(&t, GB1 - 2 * KB4, KB4);
	dr_table_clear(&t, GB1 + MB2 + KB4, KB4);
	assert_int_equal(pages_in(), 0);
}

/* Every way in which two ranges can overlap is refused, and leaves both as they were. */
static void test_overlaps(void **state)
{
	uint64_t key = 2 * GB1 - KB4, len = MB2 + 3 * KB4;

	(void)state;
	put(key, len, 0, 1);
	for (uint64_t first = key - 2 * MB2; first < key + len + MB2; first += 37 * KB4)
		for (uint64_t n = KB4; n < 4 * MB2; n += 91 * KB4) {
			int want = first < key + len && first + n > key ? -EEXIST : 0;

			assert_int_equal(dr_table_claim(&t, first, n, 2), want);
			if (!want)
				dr_table_clear(&t, first, n);
		}
	assert_range(key, len, 0, 1);
	dr_table_clear(&t, key, len);
}

static void test_no_memory(void **state)
{
	uint64_t key = 5 * GB1 - MB2 - KB4, len = 2 * MB2 + 2 * KB4; /* two gibs */
	unsigned failed = 0;
	uint64_t at = key;
	uint32_t i;
	int err;

	(void)state;
	/* Range after range, until arenas have run out some times; each failure is undone whole. */
	for (unsigned n = 0; n < 60; n++, at += 2 * GB1) {
		rig.fail_alloc = 1;
		err = dr_table_claim(&t, at, len, 1);
		if (err) {
			failed++;
			assert_int_equal(err, -ENOMEM);
			assert_int_equal(rig.fail_alloc, 0);
			assert_int_equal(pages_in(), n * len / KB4);
			assert_int_equal(look(at, &i), UINT64_MAX);
			assert_int_equal(dr_table_claim(&t, at, len, 1), 0);
		}
		rig.fail_alloc = 0;
	}
	/* 120 nodes of two pages and 16, 32, 64, 128 pages in an arena. */
	assert_int_equal(t.nodes, 120);
	assert_int_equal(failed, 4);
	while (at != key) {
		at -= 2 * GB1;
		dr_table_clear(&t, at, len);
	}
	dr_table_close(&t);
	rig.fail_alloc = 1;
	assert_int_equal(dr_table_open(&t), -ENOMEM);
	assert_int_equal(dr_table_open(&t), 0);
}

/* Leaf nodes serve again, wherever they are needed: churn over all of memory costs a few. */
static void test_nodes_serve_again(void **state)
{
	(void)state;
	for (uint64_t i = 0; i < 2000; i++) {
		uint64_t at = GB1 + i * 2 * MB2 % GB1;

		put(at + KB4, 3 * KB4, 0, 1);
		put(at + 9 * KB4, KB4, 0, 2);
		dr_table_clear(&t, at + (i % 2 ? 9 : 1) * KB4, (i % 2 ? 1 : 3) * KB4);
		dr_table_clear(&t, at + (i % 2 ? 1 : 9) * KB4, (i % 2 ? 3 : 1) * KB4);
	}
	assert_int_equal(t.nodes, 2);
	assert_int_equal(pages_in(), 0);
}

/* A range that is alone in 2 MiB needs no leaf node, wherever it begins and ends. */
static void test_alone(void **state)
{
	static const unsigned firsts[] = { 0, 1, 255, 510, 511 }, lens[] = { 1, 2, 16, 511 };

	(void)state;
	for (size_t f = 0; f < sizeof(firsts) / sizeof(firsts[0]); f++)
		for (size_t l = 0; l < sizeof(lens) / sizeof(lens[0]); l++) {
			unsigned n = firsts[f] + lens[l] > 512 ? 512 - firsts[f] : lens[l];
			uint64_t key = GB1 + 7 * MB2 + firsts[f] * KB4, mask;

			put(key, n * KB4, 3 * KB4, 7);
			assert_range(key, n * KB4, 3 * KB4, 7);
			assert_int_equal(dr_slot_value(dr_table_find(&t, key, &mask)), 3 * KB4);
			assert_int_equal(mask, KB4 - 1);
			assert_int_equal(dr_table_claim(&t, key + (n - 1) * KB4, KB4, 8), -EEXIST);
			assert_int_equal(dr_table_claim(&t, key, KB4, 8), -EEXIST);
			assert_int_equal(pages_in(), n);
			dr_table_clear(&t, key, n * KB4);
			assert_int_equal(pages_in(), 0);
		}
	assert_int_equal(t.nodes, 1);
}

/* Another comes: the first stays what it was, published, claimed, and published only then. */
static void test_company(void **state)
{
	uint64_t a = 3 * GB1 + 5 * KB4, b = 3 * GB1 + 400 * KB4, mask;
	uint32_t i;

	(void)state;
	put(a, 4 * KB4, GB1, 1);
	assert_int_equal(t.nodes, 1);
	assert_int_equal(dr_table_claim(&t, b, 9 * KB4, 2), 0);
	assert_int_equal(t.nodes, 2);
	assert_range(a, 4 * KB4, GB1, 1);
	dr_table_publish(&t, b, 9 * KB4, 2 * GB1, 2, DR_SLOT_READ_ONLY);
	assert_range(a, 4 * KB4, GB1, 1);
	assert_range(b, 9 * KB4, 2 * GB1, 2);
	assert_true(dr_table_find(&t, b, &mask) & DR_SLOT_READ_ONLY);
	assert_false(dr_table_find(&t, a, &mask) & DR_SLOT_READ_ONLY);
	dr_table_clear(&t, a, 4 * KB4);
	assert_int_equal(look(a, &i), UINT64_MAX);
	assert_range(b, 9 * KB4, 2 * GB1, 2);
	dr_table_clear(&t, b, 9 * KB4);
	assert_int_equal(pages_in(), 0);

	/* Read only, alone, until it has company. */
	assert_int_equal(dr_table_claim(&t, b, KB4, 2), 0);
	dr_table_publish(&t, b, KB4, GB1, 2, DR_SLOT_READ_ONLY);
	assert_true(dr_table_find(&t, b, &mask) & DR_SLOT_READ_ONLY);
	assert_int_equal(dr_table_claim(&t, a, KB4, 3), 0);
	assert_true(dr_table_find(&t, b, &mask) & DR_SLOT_READ_ONLY);
	dr_table_clear(&t, b, KB4);
	dr_table_clear(&t, a, KB4);

	/* Claimed before, published after. */
	assert_int_equal(dr_table_claim(&t, a, 4 * KB4, 1), 0);
	assert_int_equal(dr_table_claim(&t, b, KB4, 2), 0);
	assert_int_equal(look(a, &i), UINT64_MAX);
	dr_table_publish(&t, a, 4 * KB4, GB1, 1, 0);
	assert_range(a, 4 * KB4, GB1, 1);
	dr_table_clear(&t, b, KB4);
	assert_range(a, 4 * KB4, GB1, 1);
	dr_table_clear(&t, a, 4 * KB4);
	assert_int_equal(pages_in(), 0);
	assert_int_equal(t.nodes, 2);
}

/* No memory for the leaf node that company needs. */
static void test_company_without_memory(void **state)
{
	uint64_t at = GB1 + 3 * KB4;

	(void)state;
	/* What is left of the first arena, and a page more. */
	while (t.nodes < 15) {
		put(at, KB4, at, 1);
		if (t.nodes < 15)
			put(at + 9 * KB4, KB4, at, 2);
		at += MB2;
	}
	put(at, KB4, at, 1);
	rig.fail_alloc = 1;
	assert_int_equal(dr_table_claim(&t, at + MB2 - 4 * KB4, 2 * KB4, 2), -ENOMEM);
	assert_int_equal(rig.fail_alloc, 0);
	assert_range(at, KB4, at, 1);
	assert_int_equal(dr_table_claim(&t, at + KB4, KB4, 2), 0);
	assert_range(at, KB4, at, 1);
}

/*
 * Readers under one table. What is at each place says which place it is, so a reader that is told of
 * another place has been fooled by the next life of a part or of a leaf node.
 */
#define PLACES 8u
#define PLACE(i) (GB1 + (uint64_t)(i) * MB2)
static atomic_bool stop;
static atomic_ulong fooled, found, lost;
static unsigned asked; /* the page of a place that readers ask for */
/* Odd while it is there for sure; no other value comes twice. */
static _Atomic unsigned there[PLACES];
/* What is there is of place i + other, whose index and value it has. */
static unsigned other;

static void *read_places(void *arg)
{
	uint32_t index;

	(void)arg;
	while (!atomic_load_explicit(&stop, memory_order_relaxed))
		for (unsigned i = 0; i < PLACES; i++) {
			unsigned before = atomic_load_explicit(&there[i], memory_order_acquire);
			uint64_t v = look(PLACE(i) + asked * KB4, &index);
			bool sure = before & 1 && before == atomic_load(&there[i]);

			if (v == UINT64_MAX) {
				atomic_fetch_add_explicit(&lost, sure, memory_order_relaxed);
				continue;
			}
			atomic_fetch_add_explicit(&found, 1, memory_order_relaxed);
			if (index != i + other || v != (i + other + 1) * GB1 + asked * KB4)
				atomic_fetch_add_explicit(&fooled, 1, memory_order_relaxed);
		}
	return NULL;
}

/* What is at a place's pages [page, page + n). */
static void put_at(unsigned i, unsigned page, unsigned n)
{
	put(PLACE(i) + page * KB4, n * KB4, (i + 1) * GB1 + page * KB4, i);
}

static void take_from(unsigned i, unsigned page, unsigned n)
{
	dr_table_clear(&t, PLACE(i) + page * KB4, n * KB4);
}

/* @turn does one round's writing, at place @i. */
static void under_readers(unsigned page, void (*turn)(unsigned i, unsigned round))
{
	pthread_t reader[2];

	stop = false;
	fooled = found = lost = 0;
	asked = page;
	for (unsigned i = 0; i < PLACES; i++)
		there[i] = 0;
	for (unsigned i = 0; i < 2; i++)
		assert_int_equal(pthread_create(&reader[i], NULL, read_places, NULL), 0);
	for (unsigned round = 0; round < 200000 || !found; round++)
		turn(round * 5 % PLACES, round);
	stop = true;
	for (unsigned i = 0; i < 2; i++)
		pthread_join(reader[i], NULL);
	assert_int_equal(fooled, 0);
	assert_int_equal(lost, 0);
}

static void alone_turn(unsigned i, unsigned round)
{
	unsigned first = 1 + round % 4;

	put_at(i, first, 8);
	take_from(i, first, 8);
}

static void test_a_part_that_moves(void **state)
{
	(void)state;
	under_readers(5, alone_turn);
	assert_int_equal(t.nodes, 1);
}

/* Two parts in turn: the bounds of one tell nothing of the other, which comes again as it was. */
static void two_turn(unsigned i, unsigned round)
{
	(void)round;
	put_at(i, 1, 2);
	take_from(i, 1, 2);
	put(PLACE(i) + 20 * KB4, 2 * KB4, (i + other + 1) * GB1 + 20 * KB4, i + other);
	take_from(i, 20, 2);
}

static void test_two_parts_in_turn(void **state)
{
	(void)state;
	other = PLACES;
	under_readers(20, two_turn);
	other = 0;
	assert_int_equal(t.nodes, 1);
}

/* The one asked for gets company before it or behind it, and is there until it is taken away. */
static void pair_turn(unsigned i, unsigned round)
{
	unsigned company = round % 2 ? 1 : 100;

	put_at(i, 5, 2);
	atomic_fetch_add(&there[i], 1);
	put_at(i, company, 3);
	if (round % 3)
		take_from(i, company, 3);
	atomic_fetch_add(&there[i], 1);
	/* Release: who sees that it is gone sees the count. */
	atomic_thread_fence(memory_order_release);
	take_from(i, 5, 2);
	if (!(round % 3))
		take_from(i, company, 3);
}

static void test_a_node_that_moves(void **state)
{
	(void)state;
	under_readers(5, pair_turn);
	assert_int_equal(t.nodes, 2); /* it was one node, all the time */
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, table_setup, table_teardown)
	const struct CMUnitTest tests[] = {
		T(test_every_shape),
		T(test_large_entries),
		T(test_highest_and_lowest),
		T(test_claims_are_not_seen_but_exclude),
		T(test_overlaps),
		T(test_no_memory),
		T(test_nodes_serve_again),
		T(test_alone),
		T(test_company),
		T(test_company_without_memory),
		T(test_a_part_that_moves),
		T(test_two_parts_in_turn),
		T(test_a_node_that_moves),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
