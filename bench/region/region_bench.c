// SPDX-License-Identifier: BSD-2-Clause
/*
 * bench-region [ROUNDS [WORLD]]: finding registered memory, dray and others, hot and at random over
 * 1 TiB of addresses, with 1, 1,000 and 60,000 regions, on one thread and beside a second one that
 * does the same; then pairs of a map and an unmap inside a region, and a region that comes and goes.
 * Only lookups in worlds that have WORLD in their names, such as "64 KiB x 60000", if it is given.
 *
 * A round is one batch of each contender, one after the other, each timed alone and short against a
 * time slice, so that a batch is either undisturbed or an outlier; medians and quartiles are of
 * rounds. Nothing is said of the few batches that another process interrupted.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "contenders.h"

#define MOST 8
#define HOT 2048u
#define RANDOM 1024u
#define WARM 65536u /* random lookups that bring all of a table back into the caches */

static const uint64_t base = UINT64_C(0x7e0000000000), tib = UINT64_C(1) << 40;
static const uint64_t mb2 = UINT64_C(1) << 21;
static unsigned rounds = 400;
static const char *only; /* worlds with this in their name; NULL: all, and the rest */

/* One contender in one setting. */
struct runner {
	const char *name;
	void (*run)(struct runner *r, uint64_t n);
	const struct contender *c;
	struct world w;
	void *ctx;
	uint64_t random;
	double *ns; /* of each round */
};

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

static void run_hot(struct runner *r, uint64_t n)
{
	r->c->hot(r->ctx, &r->w, n);
}

static void run_random(struct runner *r, uint64_t n)
{
	r->c->random(r->ctx, &r->w, n, &r->random);
}

static atomic_bool stop;

static void *run_beside(void *arg)
{
	struct runner r = *(struct runner *)arg;

	r.random ^= 0x5555;
	while (!atomic_load_explicit(&stop, memory_order_relaxed))
		r.run(&r, 64);
	return NULL;
}

/* Rounds of @n runners, @ops each; the first one is what the others are held against. */
static void measure(const char *what, struct runner *r, unsigned n, uint64_t ops, bool two)
{
	pthread_t beside;

	for (unsigned i = 0; i < n; i++)
		r[i].ns = calloc(rounds, sizeof(double));
	for (unsigned k = 0; k < rounds; k++)
		for (unsigned i = 0; i < n; i++) {
			uint64_t start;

			if (two) {
				atomic_store(&stop, false);
				if (pthread_create(&beside, NULL, run_beside, &r[i]))
					abort();
			}
			/* What the one before has pushed out. */
			r[i].run(&r[i], ops == RANDOM ? WARM : ops);
			start = now_ns();
			r[i].run(&r[i], ops);
			r[i].ns[k] = (double)(now_ns() - start) / (double)ops;
			if (two) {
				atomic_store(&stop, true);
				pthread_join(beside, NULL);
			}
		}
	for (unsigned i = 0; i < n; i++)
		qsort(r[i].ns, rounds, sizeof(double), compare);
	for (unsigned i = 0; i < n; i++) {
		double *v = r[i].ns, median = v[rounds / 2], yard = r[0].ns[rounds / 2];

		printf("%-28s %-12s %9.2f ns  (%.2f .. %.2f)  %+8.2f ns  x %.2f\n", what, r[i].name,
		       median, v[rounds / 4], v[3 * rounds / 4], median - yard, median / yard);
	}
	for (unsigned i = 0; i < n; i++)
		free(r[i].ns);
	fflush(stdout);
}

/* Lookups of every contender of @names in one world. */
static void lookups(const char *where, struct world w, const char *const *names)
{
	struct runner r[MOST] = { { 0 } };
	char what[64];
	unsigned n = 0;

	snprintf(what, sizeof(what), "%s x %u", where, w.n);
	if (only && !strstr(what, only))
		return;
	for (; names[n]; n++) {
		for (const struct contender *const *c = contenders; *c; c++)
			if (!strcmp((*c)->name, names[n]))
				r[n].c = *c;
		r[n].name = names[n];
		r[n].w = w;
		r[n].ctx = r[n].c->open(&w);
		r[n].random = 1;
	}
	for (unsigned two = 0; two < 2; two++) {
		for (unsigned i = 0; i < n; i++)
			r[i].run = run_hot;
		snprintf(what, sizeof(what), "hot    %s x %u%s", where, w.n, two ? ", two" : "");
		measure(what, r, n, HOT, two);
		for (unsigned i = 0; i < n; i++)
			r[i].run = run_random;
		snprintf(what, sizeof(what), "random %s x %u%s", where, w.n, two ? ", two" : "");
		measure(what, r, n, RANDOM, two);
	}
	for (unsigned i = 0; i < n; i++)
		r[i].c->close(r[i].ctx);
}

static void run_pairs(struct runner *r, uint64_t n)
{
	pairs_counted(r->ctx, n);
}

static void run_public(struct runner *r, uint64_t n)
{
	pairs_public(r->ctx, n);
}

static void pairs(void)
{
	struct pairs *p = pairs_open();
	struct runner r[] = {
		{ .name = "region", .run = run_pairs, .ctx = p },
		{ .name = "public", .run = run_public, .ctx = p },
	};

	measure("pair", r, 2, HOT, false);
	measure("pair, two", r, 2, HOT, true);
	pairs_close(p);
}

static void run_churn(struct runner *r, uint64_t n)
{
	churn(r->ctx, &r->w, n);
}

/* Regions that fill 1 TiB, but for 2 MiB after each. */
static struct world spread(uint32_t n)
{
	uint64_t stride = tib / n / mb2 * mb2;

	return (struct world){ base, stride, n == 1 ? stride : stride - mb2, n };
}

/* Regions of 64 KiB all over 1 TiB: no 2 MiB page in them. */
static struct world scattered(uint32_t n)
{
	return (struct world){ base, tib / n / mb2 * mb2, 65536, n };
}

/* The same close together: two in every 2 MiB, as few of them as make a leaf node necessary. */
static struct world close_by(uint32_t n)
{
	return (struct world){ base, mb2 / 2, 65536, n };
}

static void churns(void)
{
	static const uint32_t sizes[] = { 1, 1000, 60000 };
	static const char *const names[] = { "among 1", "among 1000", "among 60000" };
	struct runner r[3] = { { 0 } };

	for (unsigned i = 0; i < 3; i++) {
		r[i].name = names[i];
		r[i].run = run_churn;
		r[i].w = spread(sizes[i]);
		r[i].ctx = contenders[0]->open(&r[i].w);
	}
	measure("come and go", r, 3, 8, false);
	for (unsigned i = 0; i < 3; i++)
		contenders[0]->close(r[i].ctx);
}

int main(int argc, char **argv)
{
	static const char *const large[] = { "radix", "dray", "mutex-tree", "rwlock-skip", NULL };
	static const char *const small[] = { "radix-4k", "dray", "mutex-tree", "rwlock-skip", NULL };
	static const uint32_t sizes[] = { 1, 1000, 60000 };

	if (argc > 1)
		rounds = (unsigned)atoi(argv[1]);
	if (rounds < 4)
		rounds = 4;
	if (argc > 2)
		only = argv[2];
	printf("%-28s %-12s %12s  %s\n", "", "", "median", "(quartiles), less the first's, ratio");
	if (!only) {
		pairs();
		churns();
	}
	for (unsigned i = 0; i < 3; i++)
		lookups("1 TiB", spread(sizes[i]), large);
	for (unsigned i = 1; i < 3; i++)
		lookups("64 KiB", scattered(sizes[i]), small);
	lookups("64 KiB close", close_by(60000), small);
	return 0;
}
