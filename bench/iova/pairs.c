// SPDX-License-Identifier: BSD-2-Clause
/*
 * iova-pairs CONTENDER WORKLOAD THREADS LIVE N: opens, warms up, does N operations on each thread,
 * closes. No clock and no report, so that whoever watches it sees the allocator.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include <dray/stats.h>

#include "workload/world.h"

/* Fills every queue and cache; what a count without it would blame on the loop. */
#define WARM 4096

static struct workload_world *world;
static uint64_t operations;

static void *work(void *arg)
{
	if (workload_world_run(world, (unsigned)(size_t)arg, operations)) {
		fprintf(stderr, "iova-pairs: %s\n", dray_errmsg());
		exit(1);
	}
	return NULL;
}

int main(int argc, char **argv)
{
	const struct contender *c = argc == 6 ? contender_find(argv[1]) : NULL;
	const struct workload *w = argc == 6 ? workload_find(argv[2]) : NULL;
	unsigned n_threads = argc == 6 ? (unsigned)atoi(argv[3]) : 0;
	pthread_t *threads;

	if (!c || !w || !n_threads) {
		fprintf(stderr, "usage: iova-pairs CONTENDER WORKLOAD THREADS LIVE N\n");
		return 2;
	}
	if (workload_world_open(c, w, n_threads, strtoull(argv[4], NULL, 10), &world)) {
		fprintf(stderr, "iova-pairs: %s\n", dray_errmsg());
		return 1;
	}
	operations = WARM + strtoull(argv[5], NULL, 10);
	threads = calloc(n_threads, sizeof(*threads));
	if (!threads)
		return 1;
	for (unsigned i = 1; i < n_threads; i++)
		if (pthread_create(&threads[i], NULL, work, (void *)(size_t)i))
			return 1;
	work(NULL);
	for (unsigned i = 1; i < n_threads; i++)
		pthread_join(threads[i], NULL);
	free(threads);
	workload_world_close(world);
	return 0;
}
