// SPDX-License-Identifier: BSD-2-Clause
#include "stress.h"

#include "domain/domain.h"

#include <argp.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define MAX_THREADS 32

static uint64_t printed_seed;

struct dice dice_of(const struct stress *s, unsigned thread)
{
	return dice_start(s->seed, thread);
}

void stress_fail(const char *file, int line, const char *what)
{
	fprintf(stderr, "%s:%d: %s; errmsg: %s; --seed %llu\n", file, line, what, dray_errmsg(),
		(unsigned long long)printed_seed);
	/* Other threads are anywhere: no exit handlers. */
	_Exit(1);
}

static struct dray_domain *open_domain(void)
{
	struct dray_domain_opts opts = { .size = sizeof(opts), .backend = DRAY_BACKEND_SIM };
	struct dray_domain *dom;

	MUST(!dray_domain_open(&opts, &dom));
	return dom;
}

static struct dray_stats stats_of(const struct dray_domain *dom)
{
	struct dray_stats st = { .size = sizeof(st) };

	MUST(!dray_stats_get(dom, &st));
	return st;
}

static void check_adds_up(const struct stress *s, const struct dray_domain *dom)
{
	struct dray_domain_info info = { .size = sizeof(info) };
	struct dray_stats st = stats_of(dom);

	MUST(!dray_domain_info(dom, &info));
	MUST(st.maps == st.unmaps + st.leaks);
	MUST(st.map_bytes == st.unmap_bytes);
	MUST(st.leaks == (dom == s->dom ? atomic_load(&s->device_leaks) : 0));
	MUST(!st.unmap_errors && !st.bad_unmaps);
	MUST(!info.mapped_bytes && !info.damaged && !info.quarantined_bytes && !info.devices);
	MUST(dr_iova_space_is_valid(dom->io.space));
	MUST(dr_pgtable_is_valid(dom->io.pt));
}

static void start(struct worker *w, pthread_t *thread, unsigned *inout_n, unsigned count,
		  void *(*run)(void *), struct stress *s)
{
	for (unsigned i = 0; i < count; i++, ++*inout_n) {
		w[*inout_n] = (struct worker){ s, *inout_n, i };
		MUST(!pthread_create(&thread[*inout_n], NULL, run, &w[*inout_n]));
	}
}

static void run_all(struct stress *s)
{
	struct worker w[MAX_THREADS];
	pthread_t thread[MAX_THREADS];
	unsigned n = 0, endless;

	s->dom = open_domain();
	s->other = open_domain();
	MUST(!dray_domain_reserve(s->dom, WINDOW_BASE,
				  WINDOW_BASE + s->windows * WINDOW_SIZE - 1, DRAY_RESERVE_FIXED));
	mappers_open(s);
	rogues_open(s);
	modes_open(s);
	start(w, thread, &n, 2, rogue_run, s);
	endless = n;
	start(w, thread, &n, s->mappers, mapper_run, s);
	start(w, thread, &n, s->windows, window_run, s);
	start(w, thread, &n, 1, mover_run, s);
	start(w, thread, &n, 2, opener_run, s);
	start(w, thread, &n, 1, closer_run, s);
	start(w, thread, &n, 3, packer_run, s);
	start(w, thread, &n, 1, switcher_run, s);
	start(w, thread, &n, 1, visitor_run, s);
	for (unsigned i = endless; i < n; i++)
		MUST(!pthread_join(thread[i], NULL));
	atomic_store(&s->stop, true);
	for (unsigned i = 0; i < endless; i++)
		MUST(!pthread_join(thread[i], NULL));
	modes_close(s);
	rogues_close(s);
	mappers_close(s);
	check_adds_up(s, s->dom);
	check_adds_up(s, s->other);
	printf("%llu maps, %llu leaked to devices, rogue accesses: %lu refused, %lu not\n",
	       (unsigned long long)stats_of(s->dom).maps,
	       (unsigned long long)stats_of(s->dom).leaks, atomic_load(&s->refused),
	       atomic_load(&s->reached));
	/* Both happened, or the test has tested nothing. */
	MUST(atomic_load(&s->refused) && atomic_load(&s->reached) && atomic_load(&s->opened));
	dray_domain_close(s->dom);
	dray_domain_close(s->other);
}

static const struct argp_option options[] = {
	{ "seed", 's', "N", 0, "of the random numbers (default: the time)", 0 },
	{ "ops", 'n', "N", 0, "operations of each thread (default 10000)", 0 },
	{ 0 },
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct stress *s = state->input;

	switch (key) {
	case 's':
		s->seed = strtoull(arg, NULL, 0);
		return 0;
	case 'n':
		s->ops = (unsigned)strtoul(arg, NULL, 0);
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

int main(int argc, char **argv)
{
	static const struct argp argp = {
		.options = options, .parser = parse,
		.doc = "Maps, unmaps, opens, moves and closes on many threads at once.",
	};
	static struct stress s = { .ops = 10000, .mappers = 4, .windows = 2 };

	s.seed = (uint64_t)time(NULL);
	argp_err_exit_status = 2;
	argp_parse(&argp, argc, argv, 0, NULL, &s);
	printed_seed = s.seed;
	printf("--seed %llu --ops %u\n", (unsigned long long)s.seed, s.ops);
	fflush(stdout);
	run_all(&s);
	return 0;
}
