// SPDX-License-Identifier: BSD-2-Clause
/*
 * Under the table of all results, what the automatic modes are for: how near each came to the best
 * of the fixed ones that promise as much, size by size, and which way it took.
 */
#include "bench/map_choice.h"

#include <stdio.h>

#include "bench/map.h"
#include "bench/report.h"

static bool is_auto(const struct map_mode *m)
{
	return m->threshold == DRAY_BOUNCE_AUTO;
}

static bool is_ours(const struct map_mode *m)
{
	return m->run == map_modes[0].run;
}

/* Is it what the automatic mode chooses from: no weaker, and no memory of its own? */
static bool may_choose(const struct map_mode *automatic, const struct map_mode *m)
{
	return is_ours(m) && !is_auto(m) && !m->is_registered &&
	       (m->invalidation == DRAY_STRICT || automatic->invalidation == DRAY_LAZY);
}

static bool same_setting(const struct map_setting *a, const struct map_setting *b)
{
	return a->workload == b->workload && a->size == b->size && a->threads == b->threads;
}

int map_choice_best(const struct map_run *run, unsigned of)
{
	const struct map_setting *s = run->settings;
	int best = -1;

	if (!is_auto(s[of].mode))
		return -1;
	for (unsigned i = 0; i < run->n; i++)
		if (same_setting(&s[of], &s[i]) && may_choose(s[of].mode, s[i].mode) &&
		    (best < 0 || run->results[i].ops_per_s.median >
					 run->results[best].ops_per_s.median))
			best = (int)i;
	return best;
}

/* Nanoseconds of an operation of one thread, as they go by. */
static double ns_of(const struct map_run *run, unsigned i)
{
	return 1e9 * run->settings[i].threads / run->results[i].ops_per_s.median;
}

void map_choice_print(const struct map_run *run)
{
	bool any = false;

	for (unsigned i = 0; i < run->n; i++) {
		const struct map_setting *s = &run->settings[i];
		int best = map_choice_best(run, i);
		char ns[32], best_ns[32];

		if (best < 0)
			continue;
		if (!any)
			printf("\n%-11s %9s %3s %-3s %8s %7s   %-9s %8s %8s\n", "automatic",
			       "bytes", "thr", "", "ns", "copied", "best", "ns", "auto/best");
		any = true;
		bench_format_ns(ns_of(run, i), ns, sizeof(ns));
		bench_format_ns(ns_of(run, (unsigned)best), best_ns, sizeof(best_ns));
		printf("%-11s %9zu %3u %-3s %8s %6.0f%%   %-9s %8s %8.2f\n", s->mode->name, s->size,
		       s->threads, s->workload->name, ns, run->results[i].per_1000[MAP_COPIES] / 10,
		       run->settings[best].mode->name, best_ns,
		       ns_of(run, i) / ns_of(run, (unsigned)best));
	}
}
