// SPDX-License-Identifier: BSD-2-Clause
/*
 * Random operations on an IOVA space, each answer checked against the oracle, each state too.
 * Usage: prop-iova-space [OPS [SEED]], or DRAY_OPS and DRAY_SEED. The seed is printed.
 *
 * The operations come in episodes, each on a fresh space: windows at 0, below 4 GiB, across it,
 * at 2^48 and up to 2^64 - 1, with granules of 4K, 16K, 64K and 2M. Memory fails now and then.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <cmocka.h>

#include "../../unit/iova/iova_test.h"
#include "heat.h"
#include "oracle.h"

#define EPISODE 3000u /* operations: enough to fill a space, fragment it, and see it change */
#define COMPARE 64u   /* operations between two looks at the whole state */

static uint64_t seed = 0x5eed, ops = 2000000;

static const struct {
	size_t granule;
	uint64_t first, last;
} windows[] = {
	{KIB(4), 0, 1000 * KIB(4) - 1},
	{KIB(4), 1, 40 * KIB(4)},
	{KIB(4), GIB(4) - 700 * KIB(4) - 77, GIB(4) - 1},
	{KIB(4), GIB(4) - 300 * KIB(4), GIB(4) + 300 * KIB(4) - 1},
	{KIB(4), UINT64_MAX - 900 * KIB(4), UINT64_MAX},
	{KIB(16), ((uint64_t)1 << 48) - 500 * KIB(16), ((uint64_t)1 << 48) + 99},
	{KIB(64), 0, GIB(4) / 64 - 1},
	{KIB(64), UINT64_MAX - 333 * KIB(64), UINT64_MAX - 1},
	{MIB(2), MIB(2), GIB(2) - 1},
	{MIB(2), UINT64_MAX - GIB(1) + 1, UINT64_MAX},
#if !(SPACE_FLAGS & DR_IOVA_TREE)
	/* Room for some chunks, in one zone and in two. */
	{KIB(4), 0, 4000 * KIB(4) - 1},
	{KIB(4), GIB(4) - 1500 * KIB(4), GIB(4) + 2500 * KIB(4) - 1},
	{KIB(64), GIB(8) - KIB(64), GIB(8) + 3000 * KIB(64) - 1},
	{KIB(4), ((uint64_t)1 << 39) - 2500 * KIB(4), ((uint64_t)1 << 39) + 1111 * KIB(4) - 1},
	{KIB(16), 3 * KIB(16), 4000 * KIB(16) - 1},
	{KIB(64), UINT64_MAX - 4000 * KIB(64) + 1, UINT64_MAX},
#endif
};

/* The tree alone: it finds the highest place, and whatever fails for want of memory says so. */
static const bool exact = SPACE_FLAGS & DR_IOVA_TREE;

static struct dray_iova_space *s;
static struct oracle o;

enum outcome { DONE, REFUSED, NO_MEMORY, OUTCOMES };

static unsigned rnd(unsigned n)
{
	return (unsigned)(next_random(&seed) % n);
}

static bool one_in(unsigned n)
{
	return !rnd(n);
}

/* Mostly few, now and then many; 1 up to what the window holds. */
static unsigned some_granules(void)
{
	unsigned n;

	switch (rnd(8)) {
	case 0:
		n = 1 + rnd(o.n);
		break;
	case 1:
		n = 1 + rnd(64);
		break;
	case 2:
	case 3:
		n = 1u << rnd(6);
		break;
	default:
		n = 1 + rnd(6);
	}
	return n < o.n ? n : o.n;
}

static void some_range(unsigned *ret_first, unsigned *ret_last)
{
	unsigned n = some_granules();

	*ret_first = rnd(o.n - n + 1);
	*ret_last = *ret_first + n - 1;
}

static uint64_t end_of(unsigned i)
{
	return oracle_addr(&o, i) + (o.granule - 1);
}

/* Did the fake memory refuse something during the call? Then the answer must say so. */
static bool memory_failed(int err)
{
	bool failed = memory.failures;

	/* Caches do without what they cannot have, so the call may succeed all the same. */
	if (!exact && err != -ENOMEM)
		return false;
	if (failed)
		assert_int_equal(err, -ENOMEM);
	return failed;
}

static enum outcome do_take(void)
{
	struct dr_iova_request req = {
		.len = some_granules() * o.granule,
		.align = o.granule,
		.last = DRAY_IOVA_NONE,
	};
	uint64_t highest = 0, lowest_off;
	dray_iova_t iova = 0;
	bool exists;
	int err;

	if (one_in(2))
		req.align = o.granule << rnd(8);
	if (one_in(3))
		req.phase = o.granule * rnd((unsigned)(req.align / o.granule));
	if (one_in(4))
		req.boundary_mask = one_in(8) ? UINT64_MAX : (o.granule << rnd(9)) - 1;
	if (one_in(3))
		req.last = oracle_addr(&o, rnd(o.n)) + rnd(2) * (o.granule - 1) - rnd(2);

	err = dr_iova_take(s, &req, &iova);
	lowest_off = req.phase & req.boundary_mask;
	if (req.boundary_mask && req.boundary_mask != UINT64_MAX &&
	    lowest_off + req.len > req.boundary_mask + 1) {
		assert_int_equal(err, -EINVAL);
		return REFUSED;
	}
	if (memory_failed(err))
		return NO_MEMORY;
	exists = oracle_highest(&o, &req, &highest);
	assert_int_equal(err, exists ? 0 : -ENOSPC);
	if (err)
		return REFUSED;
	assert_true(oracle_allows(&o, &req, iova));
	if (exact && req.align == o.granule && !req.boundary_mask)
		assert_int_equal(iova, highest);
	oracle_take(&o, iova, req.len);
	return DONE;
}

static enum outcome do_take_fixed(void)
{
	unsigned first, last;
	int err;

	some_range(&first, &last);
	err = dr_iova_take_fixed(s, oracle_addr(&o, first), end_of(last));
	if (memory_failed(err))
		return NO_MEMORY;
	assert_int_equal(err, oracle_take_fixed(&o, first, last));
	return err ? REFUSED : DONE;
}

/* Every call that ends or changes a range, and what the oracle says to it. */
static const struct {
	bool (*real)(struct dray_iova_space *s, dray_iova_t iova, size_t len);
	bool (*oracle)(struct oracle *o, uint64_t iova, uint64_t len);
} turns[] = {
	{dr_iova_give, oracle_give},
	{dr_iova_retire, oracle_retire},
	{dr_iova_quarantine, oracle_quarantine},
	{dr_iova_give_retired, oracle_give_retired},
	{dr_iova_give_retired_home, oracle_give_retired},
	{dr_iova_quarantine_retired, oracle_quarantine_retired},
};

#define TURNS (sizeof(turns) / sizeof(turns[0]))
enum { GIVE, RETIRE, QUARANTINE, GIVE_RETIRED, GIVE_HOME, QUARANTINE_RETIRED };

static enum outcome do_give(void)
{
	unsigned turn = GIVE;
	uint64_t iova, len;
	struct live l;

	if (!o.n_live)
		return REFUSED;
	l = o.live[rnd(o.n_live)];
	iova = oracle_addr(&o, l.first);
	len = l.n * o.granule;
	if (l.retired)
		turn = one_in(100) ? QUARANTINE_RETIRED : one_in(2) ? GIVE_RETIRED : GIVE_HOME;
	else if (!l.held)
		turn = one_in(100) ? QUARANTINE : one_in(3) ? RETIRE : GIVE;
	assert_true(turns[turn].real(s, iova, len));
	assert_true(turns[turn].oracle(&o, iova, len));
	return DONE;
}

/* A little beside what is live or retired, most of the time wrong. */
static enum outcome do_wrong_give(void)
{
	unsigned turn = rnd(TURNS);
	uint64_t iova, len;
	bool right;

	if (o.n_live && !one_in(4)) {
		const struct live *l = &o.live[rnd(o.n_live)];

		iova = oracle_addr(&o, l->first) + rnd(3) * o.granule - rnd(3) * o.granule;
		len = l->n * o.granule + rnd(3) * o.granule - rnd(3) * o.granule;
		iova += one_in(8);
		len += one_in(8);
	} else {
		iova = oracle_addr(&o, rnd(o.n));
		len = some_granules() * o.granule;
	}
	/* Whole chunks, whose pieces are nobody's to give. */
	if (one_in(8)) {
		iova &= ~(512 * o.granule - 1);
		len = 512 * o.granule;
	}
	/* What is held is only ever given. */
	if (oracle_is_held(&o, iova, len))
		turn = GIVE;
	right = turns[turn].oracle(&o, iova, len);
	assert_int_equal(turns[turn].real(s, iova, len), right);
	return right ? DONE : REFUSED;
}

/* A run of free granules, or a part of it, or something that is none. */
static enum outcome do_hold(void)
{
	unsigned first = rnd(o.n), last = first;
	bool held;

	if (one_in(8)) {
		some_range(&first, &last);
	} else {
		while (first && oracle_is_gap(&o, first - 1, first - 1))
			first--;
		while (last < o.n - 1 && oracle_is_gap(&o, last + 1, last + 1))
			last++;
		if (one_in(3))
			first += rnd(last - first + 1);
	}
	held = dr_iova_hold_gap(s, oracle_addr(&o, first), end_of(last));
	if (!held) {
		/* The tree knows all of it, and needs a record only. */
		if (exact && s->spares && oracle_addr(&o, first))
			assert_false(oracle_is_gap(&o, first, last));
		return REFUSED;
	}
	assert_true(oracle_is_gap(&o, first, last));
	oracle_hold(&o, first, last);
	assert_int_equal(memory.failures, 0);
	return DONE;
}

static enum outcome do_resv(void)
{
	enum dr_iova_resv kind = one_in(2) ? DR_RESV_HOLE : DR_RESV_FIXED;
	unsigned first, last;
	int err;

	some_range(&first, &last);
	err = dr_iova_resv(s, oracle_addr(&o, first), end_of(last), kind);
	if (memory_failed(err))
		return NO_MEMORY;
	assert_int_equal(err, oracle_resv(&o, first, last, kind));
	return err ? REFUSED : DONE;
}

static enum outcome do_unresv(void)
{
	unsigned first, last;
	int err;

	some_range(&first, &last);
	err = dr_iova_unresv(s, oracle_addr(&o, first), end_of(last));
	if (memory_failed(err))
		return NO_MEMORY;
	assert_int_equal(err, oracle_unresv(&o, first, last));
	return err ? REFUSED : DONE;
}

/* Up to eight usable ranges with odd edges; holes are kept small so that some of it succeeds. */
static enum outcome do_set_usable(void)
{
	struct dray_range usable[8];
	uint64_t at = o.base;
	unsigned n = 0;
	int err;

	while (n < 8) {
		uint64_t left = end_of(o.n - 1) - at;
		uint64_t skip = one_in(3) ? 0 : rnd(4) * o.granule + rnd(2) * rnd(2000);
		uint64_t len = (1 + rnd(o.n / 2 + 1)) * o.granule + rnd(2) * rnd(2000);

		if (skip >= left)
			break;
		left -= skip;
		usable[n].first = at + skip;
		usable[n].last = len > left || n == 7 ? end_of(o.n - 1) : at + skip + len - 1;
		at = usable[n].last + 1;
		n++;
		if (at > end_of(o.n - 1) || !at)
			break;
	}
	err = dr_iova_set_usable(s, usable, n);
	if (memory_failed(err))
		return NO_MEMORY;
	assert_int_equal(err, oracle_set_usable(&o, usable, n));
	return err ? REFUSED : DONE;
}

static enum outcome do_look(void)
{
	struct dray_range want = {0, 0}, got = {0, 0};
	bool want_fixed = false, got_fixed = false;
	unsigned first, last, nth = rnd(6);

	some_range(&first, &last);
	assert_int_equal(dr_iova_any_live(s, oracle_addr(&o, first), end_of(last)),
			 oracle_any_live(&o, first, last));
	assert_int_equal(dr_iova_nth_hole(s, nth, &got), oracle_nth_hole(&o, nth, &want));
	assert_int_equal(got.first, want.first);
	assert_int_equal(got.last, want.last);
	if (o.n_live && one_in(2)) {
		first = o.live[rnd(o.n_live)].first;
		last = first + some_granules() - 1;
	}
	assert_int_equal(dr_iova_is_live(s, oracle_addr(&o, first), (last - first + 1) * o.granule,
					 &got_fixed),
			 oracle_is_live(&o, oracle_addr(&o, first), (last - first + 1) * o.granule,
					&want_fixed));
	assert_int_equal(got_fixed, want_fixed);
	return DONE;
}

/* What the state bits of a piece are to be for a granule in this state. */
static unsigned bits_of(const struct cell *c)
{
	static const uint16_t use[] = {0, DR_PIECE_AUTO, DR_PIECE_FIXED, DR_PIECE_RETIRED,
				       DR_PIECE_QUAR};
	static const uint8_t resv[] = {0, DR_PIECE_HOLE, DR_PIECE_WINDOW};

	return use[c->use] | resv[c->resv] | (c->hw ? DR_PIECE_HW : 0u);
}

static void compare_all(void)
{
	struct dr_iova_counts counts = counts_of(s);

	assert_true(dr_iova_space_is_valid(s));
	for (unsigned i = 0; i < o.n; i++) {
		const struct dr_piece *p = dr_tree_at(&s->tree, oracle_addr(&o, i));

		if (p && p->bits & DR_PIECE_CHUNK) {
			/* What lies inside is for the counts and the list of live ranges to say. */
			assert_true(o.cell[i].use != FIXED && !o.cell[i].resv && !o.cell[i].hw);
			continue;
		}
		assert_int_equal(p ? p->bits & ~DR_PIECE_HEAD : 0, bits_of(&o.cell[i]));
	}
	for (unsigned i = 0; i < o.n_live; i++)
		assert_int_equal(dr_iova_is_live(s, oracle_addr(&o, o.live[i].first),
						 o.live[i].n * o.granule, NULL),
				 !o.live[i].retired);
	assert_memory_equal(&counts, &o.counts, sizeof(counts));
	heat_matches(s, &o, &seed);
	heat_is_the_statistics(s, o.granule);
}

/* Every kind of operation, how often, and which outcomes it is to show sooner or later. */
static struct {
	const char *name;
	enum outcome (*run)(void);
	unsigned percent;
	bool shows[OUTCOMES];
	uint64_t seen[OUTCOMES];
} kinds[] = {
	{"take", do_take, 35, {true, true, true}, {0}},
	{"take_fixed", do_take_fixed, 9, {true, true, true}, {0}},
	{"give, retire", do_give, 32, {true, false, false}, {0}},
	{"hold", do_hold, 2, {true, true, false}, {0}},
	{"wrong give", do_wrong_give, 4, {true, true, false}, {0}},
	{"resv", do_resv, 5, {true, true, true}, {0}},
	{"unresv", do_unresv, 6, {true, true, true}, {0}},
	{"set_usable", do_set_usable, 3, {true, true, true}, {0}},
	{"look", do_look, 4, {true, false, false}, {0}},
};

#define KINDS (sizeof(kinds) / sizeof(kinds[0]))

static void step(void)
{
	unsigned dice = rnd(100), k = 0;

	while (dice >= kinds[k].percent)
		dice -= kinds[k++].percent;
	memory.failures = 0;
	if (one_in(16)) {
		use_up_spares(s);
		memory.until_failure = (long)rnd(4);
	}
	kinds[k].seen[kinds[k].run()]++;
	memory.until_failure = -1;
}

/* A run that never saw an operation succeed or fail has shown nothing about it. */
static void every_outcome_was_seen(void **state)
{
	(void)state;
	printf("%-12s %10s %10s %10s\n", "", "done", "refused", "no memory");
	for (unsigned k = 0; k < KINDS; k++)
		printf("%-12s %10llu %10llu %10llu\n", kinds[k].name,
		       (unsigned long long)kinds[k].seen[DONE],
		       (unsigned long long)kinds[k].seen[REFUSED],
		       (unsigned long long)kinds[k].seen[NO_MEMORY]);
	fflush(stdout);
	for (unsigned k = 0; k < KINDS && ops >= 100000; k++)
		for (unsigned i = 0; i < OUTCOMES; i++)
			assert_true(!kinds[k].shows[i] || kinds[k].seen[i]);
}

static void random_operations(void **state)
{
	uint64_t done = 0;

	(void)state;
	for (unsigned episode = 0; done < ops; episode++) {
		unsigned w = episode % (sizeof(windows) / sizeof(windows[0]));

		s = open_space(windows[w].granule, windows[w].first, windows[w].last);
		/* In every other round, for no oracle judges a space that is large enough. */
		if (episode / (sizeof(windows) / sizeof(windows[0])) % 2)
			always_round(s);
		oracle_open(&o, windows[w].granule, dr_iova_window(s));
		for (unsigned i = 0; i < EPISODE && done < ops; i++, done++) {
			step();
			if (!(i % COMPARE))
				compare_all();
		}
		compare_all();
		dray_iova_space_close(s);
		assert_int_equal(memory.outstanding, 0);
	}
}

/* A number from the command line or the environment, in any base; 0 is the default. */
static uint64_t setting(const char *arg, const char *name, uint64_t otherwise)
{
	const char *text = arg ? arg : getenv(name);
	uint64_t value = text ? strtoull(text, NULL, 0) : 0;

	return value ? value : otherwise;
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(random_operations),
		cmocka_unit_test(every_outcome_was_seen),
	};

	ops = setting(argc > 1 ? argv[1] : NULL, "DRAY_OPS", ops);
	seed = setting(argc > 2 ? argv[2] : NULL, "DRAY_SEED", seed);
	printf("prop-iova-space: %llu operations, seed 0x%llx\n", (unsigned long long)ops,
	       (unsigned long long)seed);
	fflush(stdout);
	use_test_memory();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
