// SPDX-License-Identifier: BSD-2-Clause
/*
 * The measuring loop under a clock that only the measured operations move, so that every figure is
 * known beforehand. With several threads only counts are checked: the clock is one, they are many.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include <dray/dray.h>

#include "bench/harness.h"

static _Atomic uint64_t clock_now;

static uint64_t fake_now(void)
{
	return atomic_load_explicit(&clock_now, memory_order_relaxed);
}

/* What a test's operations cost and did. Where several threads run, only the atomics are used. */
struct subject {
	uint64_t cost_ns;
	uint64_t first_ns;            /* the first takes this instead, unless 0 */
	uint64_t slow_every, slow_ns; /* every so-manieth operation takes this instead */
	_Atomic uint64_t ops;
	_Atomic unsigned inside; /* stretches that are under way */
	_Atomic unsigned threads_seen;
	unsigned entered, left, fail_after;
	int name;
};

/* The order in which subjects ran with more than a batch, by name. */
static int order[4096];
static unsigned n_order;

static int run(void *ctx, unsigned thread, uint64_t n)
{
	struct subject *s = ctx;

	atomic_fetch_or(&s->threads_seen, 1u << thread);
	for (uint64_t i = 0; i < n; i++) {
		uint64_t op = atomic_fetch_add(&s->ops, 1) + 1;
		uint64_t ns = s->slow_every && op % s->slow_every == 0 ? s->slow_ns : s->cost_ns;

		if (op == 1 && s->first_ns)
			ns = s->first_ns;
		atomic_fetch_add(&clock_now, ns);
		if (s->fail_after && op >= s->fail_after)
			return dray_domain_open(&(struct dray_domain_opts){0},
						&(struct dray_domain *){NULL});
	}
	return 0;
}

static int enter(void *ctx)
{
	struct subject *s = ctx;

	assert_int_equal(atomic_fetch_add(&s->inside, 1), 0);
	s->entered++;
	if (n_order < sizeof(order) / sizeof(order[0]))
		order[n_order++] = s->name;
	return 0;
}

static void leave(void *ctx)
{
	struct subject *s = ctx;

	assert_int_equal(atomic_fetch_sub(&s->inside, 1), 1);
	s->left++;
}

/* Three backend calls for an operation, and a total that does not move. */
static void count(void *ctx, uint64_t ret_totals[BENCH_COUNTS])
{
	struct subject *s = ctx;

	assert_int_equal(atomic_load(&s->inside), 0);
	ret_totals[0] = 1000 + 3 * atomic_load(&s->ops);
	ret_totals[1] = 77;
}

static struct bench_case case_of(struct subject *s, unsigned threads)
{
	return (struct bench_case){.ctx = s,
				   .threads = threads,
				   .run = run,
				   .enter = enter,
				   .leave = leave,
				   .count = count};
}

static const struct bench_plan plan = {.seconds = 0.01, .rounds = 5, .now_ns = fake_now};

static void figures(void **state)
{
	struct subject fast = {.cost_ns = 20}, slow = {.cost_ns = 2000};
	struct bench_case cases[] = {case_of(&fast, 1), case_of(&slow, 1)};
	struct bench_result r[2];
	char error[128];

	(void)state;
	assert_int_equal(bench_measure(&plan, cases, 2, r, error, sizeof(error)), 0);
	assert_float_equal(r[0].ops_per_s.median, 5e7, 1);
	assert_float_equal(r[0].ops_per_s.spread, 0, 1e-9);
	assert_float_equal(r[1].ops_per_s.median, 5e5, 1);
	/* 10 ms of each, dealt in 5 rounds. */
	assert_int_equal(r[0].ops, 500000);
	assert_int_equal(r[1].ops, 5000);
	assert_float_equal(r[0].per_1000[0], 3000, 1e-6);
	assert_float_equal(r[0].per_1000[1], 0, 1e-9);
	assert_float_equal(r[0].batch.p50, 20, 1e-9);
	assert_float_equal(r[1].batch.p999, 2000, 1e-9);
	/* Only what takes over a microsecond is timed alone. */
	assert_false(r[0].has_single);
	assert_true(r[1].has_single);
	assert_float_equal(r[1].single.p50, 2000, 1e-9);
	assert_int_equal(fast.entered, fast.left);
}

static void tail(void **state)
{
	/* One in 500 is slow: seen alone it is p99.9 and not p99; in a batch it is diluted. */
	struct subject s = {.cost_ns = 1500, .slow_every = 500, .slow_ns = 65500};
	struct bench_case c = case_of(&s, 1);
	struct bench_plan longer = plan;
	struct bench_result r;
	char error[128];

	(void)state;
	longer.seconds = 1;
	assert_int_equal(bench_measure(&longer, &c, 1, &r, error, sizeof(error)), 0);
	assert_float_equal(r.single.p50, 1500, 1e-9);
	assert_float_equal(r.single.p99, 1500, 1e-9);
	assert_float_equal(r.single.p999, 65500, 1e-9);
	assert_float_equal(r.batch.p99, 1500 + 64000.0 / BENCH_BATCH, 1e-9);
}

/* A processor that was there for half of the time. */
static uint64_t fake_cpu(void)
{
	return fake_now() / 2;
}

/* Both rates of every round are handed out, those of a case together. */
static void rounds_can_be_compared(void **state)
{
	struct subject fast = {.cost_ns = 20}, slow = {.cost_ns = 2000};
	struct bench_case cases[] = {case_of(&fast, 1), case_of(&slow, 1)};
	double by_clock[10], by_cpu[10];
	struct bench_plan rounds = plan;
	struct bench_result r[2];
	char error[128];

	(void)state;
	rounds.cpu_ns = fake_cpu;
	rounds.by_clock = by_clock;
	rounds.by_cpu = by_cpu;
	assert_int_equal(bench_measure(&rounds, cases, 2, r, error, sizeof(error)), 0);
	for (unsigned i = 0; i < 10; i++) {
		assert_float_equal(by_clock[i], i < 5 ? 5e7 : 5e5, 1);
		assert_float_equal(by_cpu[i], i < 5 ? 1e8 : 1e6, 2);
	}
}

static void slow_start(void **state)
{
	/* A first operation that takes a whole round must not make the rounds short. */
	struct subject s = {.cost_ns = 100, .first_ns = 2000000};
	struct bench_case c = case_of(&s, 1);
	struct bench_result r;
	char error[128];

	(void)state;
	assert_int_equal(bench_measure(&plan, &c, 1, &r, error, sizeof(error)), 0);
	assert_int_equal(r.ops, 100000);
	assert_float_equal(r.ops_per_s.median, 1e7, 1);
}

static void interleaved(void **state)
{
	struct subject s[3] = {
		{.cost_ns = 100, .name = 0}, {.cost_ns = 100, .name = 1}, {.cost_ns = 100, .name = 2}};
	struct bench_case cases[] = {case_of(&s[0], 1), case_of(&s[1], 1), case_of(&s[2], 1)};
	struct bench_result r[3];
	unsigned at = 0, rounds;
	char error[128];

	(void)state;
	n_order = 0;
	assert_int_equal(bench_measure(&plan, cases, 3, r, error, sizeof(error)), 0);
	/* After the search for a round's length, which ends with case 2: 5 rounds of each pass. */
	rounds = 2 * plan.rounds * 3;
	assert_in_range(n_order, rounds, sizeof(order) / sizeof(order[0]) - 1);
	at = n_order - rounds;
	for (unsigned pass = 0; pass < 2; pass++)
		for (unsigned round = 0; round < plan.rounds; round++)
			for (unsigned i = 0; i < 3; i++)
				assert_int_equal(order[at++], (round + i) % 3);
}

static void threads(void **state)
{
	struct subject one = {.cost_ns = 100}, three = {.cost_ns = 100};
	struct bench_case cases[] = {case_of(&one, 1), case_of(&three, 3)};
	struct bench_result r[2];
	char error[128];

	(void)state;
	assert_int_equal(bench_measure(&plan, cases, 2, r, error, sizeof(error)), 0);
	assert_int_equal(atomic_load(&one.threads_seen), 1);
	assert_int_equal(atomic_load(&three.threads_seen), 7);
	assert_int_equal(r[1].ops % 3, 0);
	assert_float_equal(r[1].per_1000[0], 3000, 1e-6);
	assert_true(r[1].ops_per_s.median > 0);
}

static void failure_is_told(void **state)
{
	struct subject good = {.cost_ns = 100}, bad = {.cost_ns = 100, .fail_after = 1000};
	struct bench_case cases[] = {case_of(&good, 1), case_of(&bad, 2)};
	struct bench_result r[2];
	char error[128] = "";

	(void)state;
	/* A size of 0 is misuse, with words, on whatever thread it happens. */
	assert_int_equal(bench_measure(&plan, cases, 2, r, error, sizeof(error)), -EINVAL);
	assert_non_null(strstr(error, "size"));
	assert_int_equal(atomic_load(&bad.inside), 0);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
	    cmocka_unit_test(figures),    cmocka_unit_test(tail),
	    cmocka_unit_test(slow_start), cmocka_unit_test(interleaved),
	    cmocka_unit_test(threads),    cmocka_unit_test(failure_is_told),
	    cmocka_unit_test(rounds_can_be_compared),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
