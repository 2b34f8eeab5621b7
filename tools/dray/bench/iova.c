// SPDX-License-Identifier: BSD-2-Clause
/*
 * `dray bench iova`: what the command line says, and which cases are measured together.
 *
 * For each workload in turn, every contender with every number of threads is opened in a space of
 * its own, and all of them are measured interleaved (harness.c, or iova_age.c where --ops fixes how
 * much is done). Some twenty times, after a round, while nothing runs, the world is looked at:
 * ranges that are out, ranges that the contender has taken from its space, leaf tables. Rounds are
 * short, so that most of them end before the scheduler gives the processor to somebody else, and
 * many, for what is compared within a round (iova_pair.c).
 */
#include "bench/iova.h"

#include <argp.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <dray/stats.h>

#include "bench/bench.h"
#include "bench/iova_age.h"
#include "bench/iova_heat.h"
#include "bench/machine.h"
#include "bench/parse.h"
#include "cmd.h"

static const char me[] = "dray bench iova";

/* A processor is lent for about three milliseconds; starting threads takes a tenth of one. */
#define ROUND_SECONDS 0.004
#define MOST_ROUNDS   2000u
#define FEWEST_ROUNDS 20u

/* More would not fit the smallest machine, whichever contender keeps the records. */
#define MAX_LIVE 16000000

struct options {
	const struct contender *contenders[BENCH_LIST];
	const struct workload *workloads[BENCH_LIST];
	uint64_t threads[BENCH_LIST];
	unsigned n_contenders, n_workloads, n_threads;
	uint64_t live, ops;
	double seconds;
	bool heat, json;
};

static const struct argp_option option_list[] = {
	{ "contender", 'c', "LIST", 0, "dray, dray-tree, dray-lazy (frees through the "
	  "flush queue), rcache (rcache-unbounded), rcache-fixed-depot, both with -256 (rcache-256, "
	  "magazines for the 256 CPUs that W7 plays), rbtree, floor, "
	  "floor-called, floor-sized, and dpdk where it was built with that (default: dray,rcache,"
	  "rbtree,floor)", 0 },
	{ "workload", 'w', "LIST", 0, "W0 to W12, or all (default W0)", 0 },
	{ "threads", 't', "LIST", 0, "how many threads at once (default 1)", 0 },
	{ "live", 'l', "N", 0, "long-lived ranges held meanwhile (default 0; of W11 40000)", 0 },
	{ "ops", 'o', "N", 0, "do so many operations with each contender, in 100 windows, and show "
	  "how it ages", 0 },
	{ "heat", 'h', NULL, 0, "show in the end where the ranges lie, of contenders that can tell",
	  0 },
	{ "seconds", 'S', "S", 0, "how long to measure each case (default 1)", 0 },
	{ "json", 'j', NULL, 0, "print JSON", 0 },
	{ 0 },
};

static void take_contender(void *ctx, const char *name)
{
	struct options *o = ctx;
	const struct contender *c = contender_find(name);

	if (!c)
		bench_refuse(me, "there is no contender '%s'; see dray bench iova --help", name);
	for (unsigned i = 0; i < o->n_contenders; i++)
		if (o->contenders[i] == c)
			return;
	o->contenders[o->n_contenders++] = c;
}

static void take_workload(void *ctx, const char *name)
{
	struct options *o = ctx;
	const struct workload *w = workload_find(name);

	if (!strcmp(name, "all")) {
		for (o->n_workloads = 0; workloads[o->n_workloads].name; o->n_workloads++)
			o->workloads[o->n_workloads] = &workloads[o->n_workloads];
		return;
	}
	if (!w)
		bench_refuse(me, "there is no workload '%s'; there is W0 to W12, or all", name);
	o->workloads[o->n_workloads++] = w;
}

static void take_threads(void *ctx, const char *word)
{
	struct options *o = ctx;

	bench_take_threads(me, word, o->threads, &o->n_threads);
}

static error_t take_option(int key, char *arg, struct argp_state *state)
{
	struct options *o = state->input;

	switch (key) {
	case 'c':
		bench_take_list(me, arg, take_contender, o, &o->n_contenders);
		return 0;
	case 'w':
		bench_take_list(me, arg, take_workload, o, &o->n_workloads);
		return 0;
	case 't':
		bench_take_list(me, arg, take_threads, o, &o->n_threads);
		return 0;
	case 'l':
		if (!bench_parse_count(arg, 0, MAX_LIVE, &o->live))
			bench_refuse(me, "'%s' is not a number of ranges from 0 to %d", arg,
				     MAX_LIVE);
		return 0;
	case 'o':
		if (!bench_parse_count(arg, IOVA_AGE_MIN_OPS, UINT64_MAX / 2, &o->ops))
			bench_refuse(me, "'%s' is not a number of operations of at least %d", arg,
			       IOVA_AGE_MIN_OPS);
		return 0;
	case 'S':
		o->seconds = bench_take_seconds(me, arg);
		return 0;
	case 'h':
		o->heat = true;
		return 0;
	case 'j':
		o->json = true;
		return 0;
	case ARGP_KEY_ARG:
		bench_refuse(me, "'%s' is not an option; see dray bench iova --help", arg);
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static int run_case(void *ctx, unsigned thread, uint64_t n)
{
	struct iova_case *c = ctx;

	return workload_world_run(c->world, thread, n);
}

/* Called around each round of the first pass; a look on either side would only see the same. */
static void look_after_round(void *ctx, uint64_t ret_totals[BENCH_COUNTS])
{
	struct iova_case *c = ctx;

	(void)ret_totals;
	c->in_round = !c->in_round;
	if (!c->in_round && ++c->rounds % c->look_every == 0)
		workload_world_look(c->world, NULL);
}

/* Where one round is not like the next, only a long one is like all: a tick, a whole burst. */
static unsigned rounds_of(const struct options *o, const struct workload *w)
{
	double rounds = o->seconds / ROUND_SECONDS;

	if (w->shape == WORKLOAD_HELD || w->shape == WORKLOAD_BURST || rounds < FEWEST_ROUNDS)
		return FEWEST_ROUNDS;
	return rounds < MOST_ROUNDS ? (unsigned)rounds : MOST_ROUNDS;
}

static int measure_rounds(const struct options *o, struct iova_case *cases, unsigned n)
{
	unsigned rounds = rounds_of(o, cases[0].workload);
	struct bench_plan plan = {
		.seconds = o->seconds,
		.rounds = rounds,
		.by_clock = calloc((size_t)n * rounds, sizeof(*plan.by_clock)),
		.by_cpu = calloc((size_t)n * rounds, sizeof(*plan.by_cpu)),
	};
	struct bench_result *results = calloc(n, sizeof(*results));
	struct bench_case *list = calloc(n, sizeof(*list));
	char error[512];
	int code = CMD_GOOD;

	if (!results || !list || !plan.by_clock || !plan.by_cpu) {
		code = cmd_fail(me, "no memory for so many cases; ask for fewer");
		goto out;
	}
	for (unsigned i = 0; i < n; i++) {
		cases[i].look_every = rounds / FEWEST_ROUNDS;
		list[i] = (struct bench_case){
			.ctx = &cases[i],
			.threads = cases[i].threads,
			.run = run_case,
			.count = look_after_round,
		};
	}
	if (bench_measure(&plan, list, n, results, error, sizeof(error))) {
		code = cmd_fail(me, error);
		goto out;
	}
	for (unsigned i = 0; i < n; i++) {
		cases[i].result = results[i];
		workload_world_seen(cases[i].world, &cases[i].sight);
	}
	if (iova_pair(cases, n, rounds, plan.by_clock, plan.by_cpu))
		code = cmd_fail(me, "no memory to compare so many rounds; ask for fewer seconds");
out:
	free(plan.by_clock);
	free(plan.by_cpu);
	free(list);
	free(results);
	return code;
}

static void free_case(struct iova_case *c)
{
	free(c->series);
	free(c->heat);
}

static void close_worlds(struct iova_case *cases, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		workload_world_close(cases[i].world);
		cases[i].world = NULL;
	}
}

/* All contenders and thread counts under one workload. */
static int measure_workload(const struct options *o, const struct workload *w,
			    struct iova_case *cases)
{
	unsigned n = 0;
	int code;

	for (unsigned t = 0; t < o->n_threads; t++) {
		for (unsigned c = 0; c < o->n_contenders; c++) {
			struct iova_case *now = &cases[n];

			*now = (struct iova_case){ .contender = o->contenders[c], .workload = w,
						   .threads = (unsigned)o->threads[t],
						   .held = o->live };
			if (workload_world_open(now->contender, w, now->threads, o->live,
						&now->world)) {
				close_worlds(cases, n);
				return cmd_fail(me, dray_errmsg());
			}
			n++;
		}
	}
	if (o->ops)
		code = iova_age(cases, n, o->ops);
	else
		code = measure_rounds(o, cases, n);
	for (unsigned i = 0; !code && o->heat && i < n; i++)
		if (iova_heat_look(cases[i].world, &cases[i].heat))
			code = cmd_fail(me, "no memory for a map of ranges; ask for fewer cases");
	close_worlds(cases, n);
	return code;
}

int bench_iova(int argc, char **argv)
{
	static const struct argp argp = { option_list, take_option, NULL,
		"Measures IOVA allocators alone. LIST is comma-separated; every combination is "
		"measured, the contenders and thread counts of a workload interleaved."
		"\vAn operation is a pair: one range taken, one given back. ops/s is the median of "
		"many short rounds (20 long ones of W7 and W8); spread is the width of their middle "
		"half as a share of it. Percentiles come from a pass of their own. `x dray` is how "
		"many times as fast as dray; below the table the same for each round, and how "
		"contenders scale: there the machine's moods cancel out. "
		"Population is what a contender has taken from its space, live or cached.",
		NULL, NULL, NULL };
	struct options o = {
		.contenders = { &contender_dray, &contender_rcache_unbounded, &contender_rbtree,
				&contender_floor },
		.n_contenders = 4,
		.workloads = { &workloads[0] }, .n_workloads = 1,
		.threads = { 1 }, .n_threads = 1,
		.seconds = 1,
	};
	struct bench_machine machine;
	struct iova_case *cases;
	unsigned each, n = 0;
	int code = CMD_GOOD;

	if (argp_parse(&argp, argc, argv, 0, NULL, &o))
		return CMD_USAGE;
	each = o.n_contenders * o.n_threads;
	cases = calloc((size_t)each * o.n_workloads, sizeof(*cases));
	if (!cases)
		return cmd_fail(me, "no memory for so many cases; ask for fewer");
	for (unsigned w = 0; !code && w < o.n_workloads; w++, n += each) {
		if (isatty(STDERR_FILENO))
			fprintf(stderr, "dray bench iova: %s, %s\n", o.workloads[w]->name,
				o.workloads[w]->what);
		code = measure_workload(&o, o.workloads[w], &cases[n]);
	}
	bench_machine_read(&machine);
	if (!code && !o.json)
		iova_print_table(cases, n, &machine);
	else if (!code && iova_print_json(cases, n, &machine))
		code = CMD_FAILED;
	for (unsigned i = 0; i < n; i++)
		free_case(&cases[i]);
	free(cases);
	return code;
}
