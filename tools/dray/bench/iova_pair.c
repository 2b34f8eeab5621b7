// SPDX-License-Identifier: BSD-2-Clause
/*
 * Ratios of a round.
 *
 * 1. A machine that others use is slow for some milliseconds and fast for some. A round deals such
 *    a stretch to every case in turn, so what it does to one it does to the next: the quotient of
 *    two rates of one round spreads less than either. What is told of it are its quartiles over the
 *    rounds. Where a bar lies outside of them it is met, or not; where it lies inside, the run does
 *    not tell.
 *
 * 2. Scaling is how many times as much a contender does with more threads, in one round. `floor`
 *    shares nothing between threads, so what it does not scale is the machine's: two virtual
 *    processors may be one core. A contender's scaling over floor's is its own.
 *
 * 3. By the threads' own time the same is told as if no processor had been taken away meanwhile. A
 *    thread that sleeps for a lock costs none of it, so contenders that let threads sleep look
 *    better there than they are.
 */
#include "bench/iova_pair.h"

#include <errno.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>

#include "bench/iova.h"

/* Rates of one case, by round. */
struct rates {
	const double *by_clock, *by_cpu;
};

/* All that one ratio is made of: a / b, or (a / b) / (c / d). */
struct terms {
	struct rates a, b, c, d; /* c: NULL where there is no second quotient */
};

static double quotient(const double *a, const double *b, const double *c, const double *d,
		       unsigned round)
{
	double q = a[round] / b[round];

	return c ? q / (c[round] / d[round]) : q;
}

static void fill(struct iova_ratio *ret, const struct terms *t, unsigned rounds, double *scratch)
{
	ret->known = true;
	for (unsigned i = 0; i < rounds; i++)
		scratch[i] = quotient(t->a.by_clock, t->b.by_clock, t->c.by_clock, t->d.by_clock,
				      i);
	ret->by_clock = bench_quartiles_of(scratch, rounds);
	for (unsigned i = 0; i < rounds; i++)
		scratch[i] = quotient(t->a.by_cpu, t->b.by_cpu, t->c.by_cpu, t->d.by_cpu, i);
	ret->by_cpu = bench_quartiles_of(scratch, rounds);
}

/* That contender's case with @threads, or with the fewest where 0. NULL: it takes no part. */
static const struct iova_case *find(const struct iova_case *cases, unsigned n,
				    const struct contender *contender, unsigned threads)
{
	const struct iova_case *found = NULL;

	for (unsigned i = 0; i < n; i++) {
		if (cases[i].contender != contender || (threads && cases[i].threads != threads))
			continue;
		if (!found || cases[i].threads < found->threads)
			found = &cases[i];
	}
	return found;
}

int iova_pair(struct iova_case *cases, unsigned n, unsigned rounds, const double *by_clock,
	      const double *by_cpu)
{
	double *scratch = calloc(rounds, sizeof(*scratch));

	if (!scratch)
		return -ENOMEM;
#define RATES(c) ((struct rates){ by_clock + (size_t)((c) - cases) * rounds, \
				  by_cpu + (size_t)((c) - cases) * rounds })
	for (unsigned i = 0; i < n; i++) {
		struct iova_case *c = &cases[i];
		const struct iova_case *ours = find(cases, n, &contender_dray, c->threads);
		const struct iova_case *few = find(cases, n, c->contender, 0);
		const struct iova_case *bare = find(cases, n, &contender_floor, c->threads);
		const struct iova_case *bare_few = NULL;
		struct terms t = { .a = RATES(c) };

		c->pairs.rounds = rounds;
		if (ours && ours != c) {
			t.b = RATES(ours);
			fill(&c->pairs.to_dray, &t, rounds, scratch);
		}
		if (few->threads == c->threads)
			continue;
		t.b = RATES(few);
		fill(&c->pairs.scaling, &t, rounds, scratch);
		bare_few = find(cases, n, &contender_floor, few->threads);
		if (!bare || !bare_few || bare == c)
			continue;
		t.c = RATES(bare);
		t.d = RATES(bare_few);
		fill(&c->pairs.scaling_to_floor, &t, rounds, scratch);
	}
#undef RATES
	free(scratch);
	return 0;
}

static void print_ratio(const struct iova_ratio *r, bool by_cpu)
{
	const struct bench_quartiles *q = by_cpu ? &r->by_cpu : &r->by_clock;

	if (r->known)
		printf(" |%8.3g %8.3g %8.3g", q->low, q->median, q->high);
	else
		printf(" |%8s %8s %8s", "-", "-", "-");
}

void iova_pair_print(const struct iova_case *cases, unsigned n)
{
	static const char *const ways[] = { "the clock", "the threads' own time" };
	const struct iova_pairs *p;
	bool any = false;

	for (unsigned i = 0; i < n; i++)
		any = any || cases[i].pairs.to_dray.known || cases[i].pairs.scaling.known;
	for (unsigned way = 0; any && way < 2; way++) {
		printf("\nratios within a round, by %s: lower quartile, median, upper quartile\n"
		       "%-27s |%26s |%26s |%26s\n", ways[way], "", "x dray", "x fewest threads",
		       "of what floor scales");
		for (unsigned i = 0; i < n; i++) {
			p = &cases[i].pairs;
			if (!p->to_dray.known && !p->scaling.known)
				continue;
			printf("%-4s %-18s %3u", cases[i].workload->name,
			       cases[i].contender->name, cases[i].threads);
			print_ratio(&p->to_dray, way);
			print_ratio(&p->scaling, way);
			print_ratio(&p->scaling_to_floor, way);
			printf("\n");
		}
	}
}

static struct json_object *quartiles_json(const struct bench_quartiles *q)
{
	const double figures[] = { q->low, q->median, q->high };
	struct json_object *list = json_object_new_array_ext(3);

	for (unsigned i = 0; i < 3; i++) {
		char text[64];

		snprintf(text, sizeof(text), "%.5g", figures[i]);
		json_object_array_add(list, json_object_new_double_s(figures[i], text));
	}
	return list;
}

static void add_ratio(struct json_object *o, const char *name, const struct iova_ratio *r)
{
	struct json_object *both;

	if (!r->known)
		return;
	both = json_object_new_object();
	json_object_object_add(both, "by_clock", quartiles_json(&r->by_clock));
	json_object_object_add(both, "by_cpu", quartiles_json(&r->by_cpu));
	json_object_object_add(o, name, both);
}

void iova_pair_json(const struct iova_pairs *pairs, struct json_object *o)
{
	if (!pairs->rounds)
		return;
	json_object_object_add(o, "rounds", json_object_new_int64(pairs->rounds));
	add_ratio(o, "paired_to_dray", &pairs->to_dray);
	add_ratio(o, "scaling", &pairs->scaling);
	add_ratio(o, "scaling_to_floor", &pairs->scaling_to_floor);
}
