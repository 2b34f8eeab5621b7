// SPDX-License-Identifier: BSD-2-Clause
/*
 * The ageing run: does an allocator after a billion operations do what it did at first?
 *
 * 1. The operations of a case are cut into 100 windows, dealt in turn like the rounds of harness.c:
 *    window 0 of each case, window 1 of each …, so drift of the machine meets all alike, and a
 *    control (the floor contender, which cannot age) shows how much of it there was.
 *
 * 2. A window begins with an untimed loop, of which operations a second are made. Its rest, at most
 *    an eighth, is done in batches of 64 with a look at the clock on either side. Then, while
 *    nothing runs, the world is looked at.
 *
 * 3. Drift is the median of the last ten windows over the median of ten at the beginning, less 1.
 *    The first window does not count: caches fill in it.
 *
 * 4. Threads live as long as the run, since what a thread leaves in an allocator's caches when it
 *    exits is not what ages. The caller is thread 0. Two barriers fence a window; they order what
 *    is written on either side, so a window's inputs and outputs need no lock.
 */
#include "bench/iova_age.h"

#include <dray/stats.h>

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "cmd.h"

/* Batches of a window, over all threads: 16 of them decide p99.9. */
#define BATCHES 16384u

struct worker {
	struct run *run;
	unsigned index;
	pthread_t thread;
	/* Of the last window; the worker's between the barriers. */
	uint64_t start, plain_end;
	uint64_t *ns;
	size_t n_ns;
	int err;
	char error[256];
};

struct run {
	pthread_barrier_t before, after;
	unsigned n_workers;
	struct worker *workers;
	/* Written by the caller, constant between the barriers. */
	const struct iova_case *now; /* NULL: stop */
	uint64_t ops, batches;       /* of each thread */
};

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void work(struct worker *w)
{
	const struct run *run = w->run;
	struct workload_world *world = run->now->world;
	uint64_t from, to;

	w->start = now_ns();
	w->err = workload_world_run(world, w->index, run->ops - run->batches * BENCH_BATCH);
	w->plain_end = now_ns();
	w->n_ns = 0;
	for (uint64_t i = 0; !w->err && i < run->batches; i++) {
		from = now_ns();
		w->err = workload_world_run(world, w->index, BENCH_BATCH);
		to = now_ns();
		w->ns[w->n_ns++] = to - from;
	}
	if (w->err)
		snprintf(w->error, sizeof(w->error), "%s", dray_errmsg());
}

static void *worker_main(void *arg)
{
	struct worker *w = arg;
	struct run *run = w->run;

	for (;;) {
		pthread_barrier_wait(&run->before);
		if (!run->now)
			return NULL;
		if (w->index < run->now->threads)
			work(w);
		pthread_barrier_wait(&run->after);
	}
}

/* One window of one case. 0, or the -errno of a worker with its message in @ret_error. */
static int window(struct run *run, struct iova_case *c, uint64_t ops, unsigned index,
		  uint64_t *samples, const char **ret_error)
{
	struct iova_window *ret = &c->series[index];
	uint64_t start = UINT64_MAX, end = 0, plain;
	size_t n = 0;

	run->now = c;
	run->ops = ops / c->threads;
	run->batches = run->ops / BENCH_BATCH / 8;
	if (run->batches > BATCHES / c->threads)
		run->batches = BATCHES / c->threads;
	if (!run->batches)
		run->batches = 1;
	pthread_barrier_wait(&run->before);
	work(&run->workers[0]);
	pthread_barrier_wait(&run->after);
	for (unsigned i = 0; i < c->threads; i++) {
		const struct worker *w = &run->workers[i];

		if (w->err) {
			*ret_error = w->error;
			return w->err;
		}
		start = w->start < start ? w->start : start;
		end = w->plain_end > end ? w->plain_end : end;
		memcpy(samples + n, w->ns, w->n_ns * sizeof(*samples));
		n += w->n_ns;
	}
	plain = (run->ops - run->batches * BENCH_BATCH) * c->threads;
	ret->ops_per_s = (double)plain * 1e9 / (double)(end > start ? end - start : 1);
	ret->batch = bench_percentiles_of(samples, n, BENCH_BATCH);
	c->result.ops += run->ops * c->threads;
	/* What counts for locality after ageing is what the last tenth of the windows touches. */
	if (index == IOVA_WINDOWS - IOVA_WINDOWS / 10) {
		workload_world_seen(c->world, &c->sight);
		workload_world_forget(c->world);
	}
	workload_world_look(c->world, &ret->sight);
	return 0;
}

static double median_p50(const struct iova_window *w)
{
	double values[IOVA_WINDOWS / 10];

	for (unsigned i = 0; i < IOVA_WINDOWS / 10; i++)
		values[i] = w[i].batch.p50;
	return bench_value_of(values, IOVA_WINDOWS / 10).median;
}

static double median_p999(const struct iova_window *w)
{
	double values[IOVA_WINDOWS / 10];

	for (unsigned i = 0; i < IOVA_WINDOWS / 10; i++)
		values[i] = w[i].batch.p999;
	return bench_value_of(values, IOVA_WINDOWS / 10).median;
}

static uint64_t max_u64(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

static void conclude(struct iova_case *c)
{
	const struct iova_window *last = &c->series[IOVA_WINDOWS - IOVA_WINDOWS / 10];
	double values[IOVA_WINDOWS], p50[IOVA_WINDOWS], p99[IOVA_WINDOWS], p999[IOVA_WINDOWS];
	struct workload_sight seen;

	for (unsigned i = 0; i < IOVA_WINDOWS; i++) {
		values[i] = c->series[i].ops_per_s;
		p50[i] = c->series[i].batch.p50;
		p99[i] = c->series[i].batch.p99;
		p999[i] = c->series[i].batch.p999;
	}
	c->result.ops_per_s = bench_value_of(values, IOVA_WINDOWS);
	c->result.batch = (struct bench_percentiles){
		.p50 = bench_value_of(p50, IOVA_WINDOWS).median,
		.p99 = bench_value_of(p99, IOVA_WINDOWS).median,
		.p999 = bench_value_of(p999, IOVA_WINDOWS).median,
	};
	c->drift_p50 = median_p50(last) / median_p50(&c->series[1]) - 1;
	c->drift_p999 = median_p999(last) / median_p999(&c->series[1]) - 1;
	/* The greatest of the whole run; leaf tables of its last tenth. */
	workload_world_seen(c->world, &seen);
	c->sight.live = max_u64(c->sight.live, seen.live);
	c->sight.live_pgs = max_u64(c->sight.live_pgs, seen.live_pgs);
	c->sight.population = max_u64(c->sight.population, seen.population);
	c->sight.population_pgs = max_u64(c->sight.population_pgs, seen.population_pgs);
	c->sight.population_leaf_tables = max_u64(c->sight.population_leaf_tables,
						  seen.population_leaf_tables);
	c->sight.leaf_tables = seen.leaf_tables;
}

static void stop(struct run *run)
{
	run->now = NULL;
	pthread_barrier_wait(&run->before);
	for (unsigned i = 1; i < run->n_workers; i++)
		pthread_join(run->workers[i].thread, NULL);
}

static void free_run(struct run *run)
{
	for (unsigned i = 0; run->workers && i < run->n_workers; i++)
		free(run->workers[i].ns);
	free(run->workers);
}

/* Workers that wait at the first barrier. False: nothing was started. */
static bool start(struct run *run, unsigned n)
{
	*run = (struct run){ .n_workers = n };
	run->workers = calloc(n, sizeof(*run->workers));
	if (!run->workers)
		return false;
	for (unsigned i = 0; i < n; i++) {
		run->workers[i].ns = calloc(BATCHES, sizeof(uint64_t));
		if (!run->workers[i].ns)
			goto fail;
	}
	pthread_barrier_init(&run->before, NULL, n);
	pthread_barrier_init(&run->after, NULL, n);
	for (unsigned i = 0; i < n; i++) {
		struct worker *w = &run->workers[i];

		w->run = run;
		w->index = i;
		if (i && pthread_create(&w->thread, NULL, worker_main, w)) {
			/* Those at a barrier that the rest never reaches cannot be called back. */
			fprintf(stderr, "dray bench iova: cannot start %u threads; ask for fewer\n",
				n);
			exit(CMD_FAILED);
		}
	}
	return true;
fail:
	free_run(run);
	return false;
}

int iova_age(struct iova_case *cases, unsigned n, uint64_t ops)
{
	uint64_t *samples = calloc(BATCHES, sizeof(*samples));
	const char *error = NULL;
	unsigned threads = 1;
	bool memory = samples;
	struct run run;
	int code = CMD_GOOD;

	for (unsigned i = 0; i < n; i++) {
		threads = cases[i].threads > threads ? cases[i].threads : threads;
		cases[i].series = calloc(IOVA_WINDOWS, sizeof(*cases[i].series));
		memory = memory && cases[i].series;
	}
	if (!memory || !start(&run, threads)) {
		free(samples);
		return cmd_fail("dray bench iova", "no memory for the windows; ask for less");
	}
	for (unsigned w = 0; !error && w < IOVA_WINDOWS; w++) {
		for (unsigned i = 0; !error && i < n; i++)
			window(&run, &cases[(w + i) % n], ops / IOVA_WINDOWS, w, samples, &error);
		/* A run may take an hour. */
		if (isatty(STDERR_FILENO))
			fprintf(stderr, "\rdray bench iova: window %u of %u%s", w + 1, IOVA_WINDOWS,
				w + 1 < IOVA_WINDOWS ? "" : "\n");
	}
	if (error)
		code = cmd_fail("dray bench iova", error);
	stop(&run);
	for (unsigned i = 0; !error && i < n; i++)
		conclude(&cases[i]);
	free_run(&run);
	free(samples);
	return code;
}
