// SPDX-License-Identifier: BSD-2-Clause
/*
 * The measuring loop of every `dray bench`.
 *
 * 1. What is compared runs side by side. The machine's speed drifts with its temperature and its
 *    neighbours, so the time of each case is cut into rounds and the rounds are dealt in turn: case
 *    0, 1, 2 …, and in the next round beginning with case 1. A drift meets all alike. Ratios of
 *    one run mean something; figures of two runs do not compare.
 *
 * 2. First pass: how many operations a second. A round of a case is a number of operations, found
 *    beforehand by doubling until it lasts as long as a round shall, which also warms caches. The
 *    loop over them holds no clock. The clock is read by every thread at the start and the end of
 *    its own share; the round lasts from the first start to the last end. Reported: the median of
 *    the rounds and their spread (stats.h). Threads wait for one another before they begin: woken
 *    one after the other they would run alone for a part of a short round.
 *
 *    Each thread also reads how long it had a processor. Operations by that time are what the
 *    threads do while nobody takes theirs away; they say nothing of a thread that sleeps. Where
 *    asked for, both rates of every round go to the caller, who compares cases within a round: what
 *    the machine does to one it does to its neighbour, and the spread of such a ratio is smaller
 *    than those of its two parts.
 *
 * 3. Second pass: percentiles, over batches of 64 operations with a look at the clock on either
 *    side, about 30 ns for each batch. A slow operation among 64 fast ones shows in the tail with
 *    1/64 of its length. Where the median operation takes over 1 µs a third pass times each alone,
 *    which adds those 30 ns, below 3 %, to each. These passes are dealt in rounds too and last half
 *    and a quarter as long as the first.
 *
 * 4. Threads. The caller is thread 0; the others are started once for the largest case and wait on
 *    a condition between stretches. A stretch (one case, one pass, one round) is published under
 *    the lock; the last thread to finish it wakes the caller. What a thread measures is its own
 *    and is read by the caller after the lock has handed it over. Threads are not bound to CPUs:
 *    the scheduler of the machine is part of what a user gets.
 *
 * 5. What can fail: memory, starting a thread, and the cases. A thread whose operation fails keeps
 *    the code and the message and stops; the caller sees it when the stretch is over, and ends.
 *
 *	             | a worker waits   | a worker runs     | a worker has finished
 *	publish      | wakes it         | never: the caller waits for all first
 *	collect      | never: see above | never             | the lock orders its results before
 *	stop         | wakes it, joins  | never             | it waits again, then as on the left
 */
#include "bench/harness.h"

#include <dray/stats.h>

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* Of a case, shared by its threads. 0.1 % of them decide p99.9; 2^16 leaves 65 there. */
#define SAMPLES (1u << 16)

/* An operation above this is timed alone as well, ns. */
#define SINGLE_ABOVE 1000.0

enum pass { FIRST, BATCHES, SINGLES };

/* What a thread has seen; its own while a stretch runs. */
struct samples {
	uint64_t *ns;
	size_t n;
};

/* What a stretch is; written by the caller under the lock, constant while it runs. */
struct stretch {
	const struct bench_case *c;
	enum pass pass;
	uint64_t ops;    /* FIRST: of each thread */
	uint64_t length; /* the others: nanoseconds, or until there is no room for samples */
	struct samples *samples; /* of each thread */
};

struct worker {
	struct pool *pool;
	pthread_t thread;
	unsigned index;
	/* Of the last stretch; this thread's until it has finished. */
	uint64_t start, end;
	uint64_t cpu; /* ns that it had a processor */
	int err;
	char error[256];
};

struct pool {
	uint64_t (*now_ns)(void), (*cpu_ns)(void);
	unsigned size; /* workers, the caller included */
	struct worker *workers;
	pthread_mutex_t lock;
	pthread_cond_t published, finished;
	struct stretch stretch; /* guarded by lock, see there */
	uint64_t generation;    /* guarded by lock: stretches published */
	unsigned running;       /* guarded by lock: workers that have not finished */
	bool stop;              /* guarded by lock */
	atomic_uint met;        /* threads that are about to begin; 0 when a stretch is published */
};

/* A case while it is measured. */
struct state {
	uint64_t ops;  /* of each thread in a round */
	double *rates; /* operations a second, by round */
	double by_cpu; /* the same in the last round, by the threads' own time */
	uint64_t counts[BENCH_COUNTS];
	struct samples *samples; /* by thread, room(c) each */
};

static size_t room(const struct bench_case *c)
{
	return c->threads < SAMPLES ? SAMPLES / c->threads : 1;
}

static uint64_t clock_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static uint64_t thread_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* Looks after which a thread that waits for others lets them have its processor. */
#define PATIENCE 2000u

/* Until all threads of the stretch are here. It orders nothing: the lock has, what they share. */
static void meet(struct pool *pool, unsigned threads)
{
	unsigned looks = 0;

	atomic_fetch_add_explicit(&pool->met, 1, memory_order_relaxed);
	while (atomic_load_explicit(&pool->met, memory_order_relaxed) < threads)
		if (++looks % PATIENCE == 0)
			sched_yield();
}

/* Batches, or single operations, until the time or the room for samples is used up. */
static int take_samples(struct worker *w, const struct stretch *s)
{
	uint64_t n = s->pass == BATCHES ? BENCH_BATCH : 1;
	struct samples *samples = &s->samples[w->index];
	uint64_t from, to;
	int err;

	do {
		if (samples->n == room(s->c))
			break;
		from = w->pool->now_ns();
		err = s->c->run(s->c->ctx, w->index, n);
		to = w->pool->now_ns();
		if (err)
			return err;
		samples->ns[samples->n++] = to - from;
	} while (to - w->start < s->length);
	return 0;
}

static void work(struct worker *w, const struct stretch *s)
{
	if (s->c->threads > 1)
		meet(w->pool, s->c->threads);
	w->cpu = w->pool->cpu_ns();
	w->start = w->pool->now_ns();
	if (s->pass == FIRST)
		w->err = s->c->run(s->c->ctx, w->index, s->ops);
	else
		w->err = take_samples(w, s);
	w->end = w->pool->now_ns();
	w->cpu = w->pool->cpu_ns() - w->cpu;
	if (w->err)
		snprintf(w->error, sizeof(w->error), "%s", dray_errmsg());
}

static void *worker_main(void *arg)
{
	struct worker *w = arg;
	struct pool *pool = w->pool;
	struct stretch s;
	uint64_t seen = 0;

	pthread_mutex_lock(&pool->lock);
	for (;;) {
		while (pool->generation == seen && !pool->stop)
			pthread_cond_wait(&pool->published, &pool->lock);
		if (pool->stop)
			break;
		seen = pool->generation;
		s = pool->stretch;
		if (w->index >= s.c->threads)
			continue;
		pthread_mutex_unlock(&pool->lock);
		work(w, &s);
		pthread_mutex_lock(&pool->lock);
		if (!--pool->running)
			pthread_cond_signal(&pool->finished);
	}
	pthread_mutex_unlock(&pool->lock);
	return NULL;
}

static void pool_stop(struct pool *pool)
{
	pthread_mutex_lock(&pool->lock);
	pool->stop = true;
	pthread_cond_broadcast(&pool->published);
	pthread_mutex_unlock(&pool->lock);
	for (unsigned i = 1; i < pool->size; i++)
		pthread_join(pool->workers[i].thread, NULL);
	pthread_cond_destroy(&pool->finished);
	pthread_cond_destroy(&pool->published);
	pthread_mutex_destroy(&pool->lock);
	free(pool->workers);
}

static int pool_start(struct pool *pool, unsigned size, const struct bench_plan *plan)
{
	int err;

	*pool = (struct pool){.now_ns = plan->now_ns, .cpu_ns = plan->cpu_ns};
	pool->workers = calloc(size, sizeof(*pool->workers));
	if (!pool->workers)
		return -ENOMEM;
	pthread_mutex_init(&pool->lock, NULL);
	pthread_cond_init(&pool->published, NULL);
	pthread_cond_init(&pool->finished, NULL);
	for (unsigned i = 0; i < size; i++) {
		struct worker *w = &pool->workers[i];

		w->pool = pool;
		w->index = i;
		err = i ? pthread_create(&w->thread, NULL, worker_main, w) : 0;
		if (err) {
			pool_stop(pool);
			return -err;
		}
		pool->size = i + 1;
	}
	return 0;
}

/* Run one stretch on all its threads. *ret_ns: from the first start to the last end. */
static int run_stretch(struct pool *pool, const struct stretch *s, uint64_t *ret_ns)
{
	const struct bench_case *c = s->c;
	uint64_t start = UINT64_MAX, end = 0;
	int err = c->enter ? c->enter(c->ctx) : 0;

	if (err) {
		snprintf(pool->workers[0].error, sizeof(pool->workers[0].error), "%s",
			 dray_errmsg());
		pool->workers[0].err = err;
		return err;
	}
	if (c->threads > 1) {
		pthread_mutex_lock(&pool->lock);
		pool->stretch = *s;
		pool->running = c->threads - 1;
		atomic_store_explicit(&pool->met, 0, memory_order_relaxed);
		pool->generation++;
		pthread_cond_broadcast(&pool->published);
		pthread_mutex_unlock(&pool->lock);
	}
	work(&pool->workers[0], s);
	if (c->threads > 1) {
		pthread_mutex_lock(&pool->lock);
		while (pool->running)
			pthread_cond_wait(&pool->finished, &pool->lock);
		pthread_mutex_unlock(&pool->lock);
	}
	if (c->leave)
		c->leave(c->ctx);
	for (unsigned i = 0; i < c->threads; i++) {
		const struct worker *w = &pool->workers[i];

		if (w->err)
			err = err ? err : w->err;
		if (w->start < start)
			start = w->start;
		if (w->end > end)
			end = w->end;
	}
	*ret_ns = end > start ? end - start : 1;
	return err;
}

/*
 * The shortest of some stretches of @s. The first operations fill caches and fault pages in, and
 * any may lose its processor: one stretch alone would make the rounds many times too short.
 */
static int shortest(struct pool *pool, const struct stretch *s, uint64_t *ret_ns)
{
	uint64_t ns, least = UINT64_MAX;
	int err = 0;

	for (unsigned i = 0; !err && i < 3; i++) {
		err = run_stretch(pool, s, &ns);
		if (!err && ns < least)
			least = ns;
	}
	*ret_ns = least;
	return err;
}

/* How many operations of each thread fill a round. */
static int calibrate(struct pool *pool, const struct bench_case *c, uint64_t round_ns,
		     uint64_t *ret_ops)
{
	struct stretch s = {.c = c, .pass = FIRST, .ops = 1};
	uint64_t ns;
	int err;

	/* Up to an eighth of a round by doubling; the rest is proportion. */
	for (;;) {
		err = shortest(pool, &s, &ns);
		if (err)
			return err;
		if (ns >= round_ns / 8 || s.ops > UINT64_MAX / 16)
			break;
		s.ops *= 2;
	}
	*ret_ops = (uint64_t)((double)s.ops * (double)round_ns / (double)ns);
	if (!*ret_ops)
		*ret_ops = 1;
	return 0;
}

/* Operations a second, had every thread had a processor to itself. */
static double rate_by_cpu(const struct pool *pool, const struct bench_case *c, uint64_t ops)
{
	double rate = 0;

	for (unsigned i = 0; i < c->threads; i++)
		rate += (double)ops * 1e9 / (double)(pool->workers[i].cpu ? pool->workers[i].cpu
									  : 1);
	return rate;
}

static int first_pass(struct pool *pool, const struct bench_case *c, struct state *st,
		      unsigned round)
{
	struct stretch s = {.c = c, .pass = FIRST, .ops = st->ops};
	uint64_t before[BENCH_COUNTS] = {0}, after[BENCH_COUNTS] = {0};
	uint64_t ns;
	int err;

	if (c->count)
		c->count(c->ctx, before);
	err = run_stretch(pool, &s, &ns);
	if (err)
		return err;
	if (c->count)
		c->count(c->ctx, after);
	for (unsigned i = 0; i < BENCH_COUNTS; i++)
		st->counts[i] += after[i] - before[i];
	st->rates[round] = (double)st->ops * c->threads * 1e9 / (double)ns;
	st->by_cpu = rate_by_cpu(pool, c, st->ops);
	return 0;
}

/* All threads' samples into one row, sorted and judged; the rows are empty again. */
static int judge(const struct bench_case *c, struct state *st, double divisor,
		 struct bench_percentiles *ret)
{
	uint64_t *all = malloc(c->threads * room(c) * sizeof(*all));
	size_t n = 0;

	if (!all)
		return -ENOMEM;
	for (unsigned i = 0; i < c->threads; i++) {
		struct samples *from = &st->samples[i];

		memcpy(all + n, from->ns, from->n * sizeof(*all));
		n += from->n;
		from->n = 0;
	}
	*ret = bench_percentiles_of(all, n, divisor);
	free(all);
	return 0;
}

static int sample_pass(struct pool *pool, const struct bench_case *cases, unsigned n,
		       struct state *states, enum pass pass, uint64_t length, unsigned rounds,
		       const struct bench_result *results)
{
	uint64_t ns;
	int err = 0;

	for (unsigned round = 0; !err && round < rounds; round++) {
		for (unsigned i = 0; !err && i < n; i++) {
			unsigned which = (round + i) % n;
			struct stretch s = {.c = &cases[which],
					    .pass = pass,
					    .length = length,
					    .samples = states[which].samples};

			if (pass == BATCHES || results[which].has_single)
				err = run_stretch(pool, &s, &ns);
		}
	}
	return err;
}

static int measure(struct pool *pool, const struct bench_plan *plan, const struct bench_case *cases,
		   unsigned n, struct state *states, struct bench_result *ret)
{
	uint64_t round_ns = (uint64_t)(plan->seconds * 1e9 / plan->rounds);
	int err = 0;

	for (unsigned i = 0; !err && i < n; i++)
		err = calibrate(pool, &cases[i], round_ns, &states[i].ops);
	for (unsigned round = 0; !err && round < plan->rounds; round++) {
		for (unsigned i = 0; !err && i < n; i++) {
			unsigned which = (round + i) % n;

			err = first_pass(pool, &cases[which], &states[which], round);
			if (plan->by_clock)
				plan->by_clock[which * plan->rounds + round] =
					states[which].rates[round];
			if (plan->by_cpu)
				plan->by_cpu[which * plan->rounds + round] = states[which].by_cpu;
		}
		if (!err && plan->progress)
			plan->progress(round + 1, plan->rounds);
	}
	for (unsigned i = 0; !err && i < n; i++) {
		struct state *st = &states[i];

		ret[i] = (struct bench_result){0};
		ret[i].ops = st->ops * cases[i].threads * plan->rounds;
		ret[i].ops_per_s = bench_value_of(st->rates, plan->rounds);
		for (unsigned k = 0; k < BENCH_COUNTS; k++)
			ret[i].per_1000[k] = (double)st->counts[k] * 1000 / (double)ret[i].ops;
	}
	if (!err)
		err = sample_pass(pool, cases, n, states, BATCHES, round_ns / 2, plan->rounds, ret);
	for (unsigned i = 0; !err && i < n; i++) {
		err = judge(&cases[i], &states[i], BENCH_BATCH, &ret[i].batch);
		ret[i].has_single = ret[i].batch.p50 > SINGLE_ABOVE;
	}
	if (!err)
		err = sample_pass(pool, cases, n, states, SINGLES, round_ns / 4, plan->rounds, ret);
	for (unsigned i = 0; !err && i < n; i++)
		if (ret[i].has_single)
			err = judge(&cases[i], &states[i], 1, &ret[i].single);
	return err;
}

static void free_states(const struct bench_case *cases, unsigned n, struct state *states)
{
	for (unsigned i = 0; states && i < n; i++) {
		for (unsigned t = 0; states[i].samples && t < cases[i].threads; t++)
			free(states[i].samples[t].ns);
		free(states[i].samples);
		free(states[i].rates);
	}
	free(states);
}

static struct state *alloc_states(const struct bench_case *cases, unsigned n, unsigned rounds)
{
	struct state *states = calloc(n, sizeof(*states));
	bool whole = states;

	for (unsigned i = 0; whole && i < n; i++) {
		struct state *st = &states[i];

		st->rates = calloc(rounds, sizeof(*st->rates));
		st->samples = calloc(cases[i].threads, sizeof(*st->samples));
		whole = st->rates && st->samples;
		for (unsigned t = 0; whole && t < cases[i].threads; t++) {
			st->samples[t].ns = calloc(room(&cases[i]), sizeof(*st->samples[t].ns));
			whole = st->samples[t].ns;
		}
	}
	if (!whole) {
		free_states(cases, n, states);
		return NULL;
	}
	return states;
}

int bench_measure(const struct bench_plan *plan, const struct bench_case *cases, unsigned n,
		  struct bench_result *ret_results, char *ret_error, unsigned error_size)
{
	struct bench_plan p = *plan;
	struct state *states;
	struct pool pool;
	unsigned threads = 1;
	int err;

	p.seconds = p.seconds > 0 ? p.seconds : 1;
	p.rounds = p.rounds ? p.rounds : 20;
	p.now_ns = p.now_ns ? p.now_ns : clock_ns;
	p.cpu_ns = p.cpu_ns ? p.cpu_ns : thread_ns;
	for (unsigned i = 0; i < n; i++)
		if (cases[i].threads > threads)
			threads = cases[i].threads;

	snprintf(ret_error, error_size, "not enough memory for the samples");
	states = alloc_states(cases, n, p.rounds);
	if (!states)
		return -ENOMEM;
	err = pool_start(&pool, threads, &p);
	if (err) {
		snprintf(ret_error, error_size, "cannot start %u threads: %s; ask for fewer",
			 threads, strerror(-err));
		goto out_states;
	}
	err = measure(&pool, &p, cases, n, states, ret_results);
	for (unsigned i = 0; err && i < threads; i++) {
		if (pool.workers[i].err == err) {
			snprintf(ret_error, error_size, "%s", pool.workers[i].error);
			break;
		}
	}
	pool_stop(&pool);
out_states:
	free_states(cases, n, states);
	return err;
}
