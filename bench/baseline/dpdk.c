// SPDX-License-Identifier: BSD-2-Clause
/*
 * DPDK's heap, asked for page-aligned pages: what a driver built on DPDK uses where it needs memory
 * that a device may reach. Compiled where pkg-config finds DPDK.
 *
 * 1. What it does. rte_malloc() hands out memory of the process, and the IOVA of that memory is its
 *    virtual address. Each block has a header before it; a page-aligned one therefore takes a page
 *    more of the heap than was asked for. One lock for each socket's heap guards free lists by
 *    size; freeing merges with the neighbours at once. There is no cache of each thread's.
 *
 * 2. What it does not. It knows no address limits and no window: a request with a limit has no room
 *    here (W12). Alignment is a page, not the size. Its addresses are memory as well, which an IOVA
 *    is not: 4 GiB of heap are there for all spaces, and hold only so much. There is one heap, so
 *    the population told is that of all spaces and of DPDK itself, and it is not known which leaf
 *    tables it lies in.
 *
 * 3. DPDK is started once, by the first space, without huge pages, devices, files and telemetry;
 *    it binds the thread that starts it to a CPU, which is undone. It never ends before the
 *    process does.
 *
 *	      | take, give            | open               | close
 *	take  | the heap's lock       | another space's    | the caller excludes it
 *	open  |                       | start_lock         | nothing shared
 */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <sched.h>

#include <rte_eal.h>
#include <rte_malloc.h>

#include "baseline/contender.h"
#include "workload/run.h"

#define PAGE (1u << WORKLOAD_PAGE_SHIFT)

static pthread_mutex_t start_lock = PTHREAD_MUTEX_INITIALIZER;
static int started; /* guarded by start_lock: 0 not yet, 1, or -errno */

static int start(void)
{
	/* DPDK keeps the words. */
	static char words[][24] = {
		"dray", "--no-huge", "--no-shconf", "--no-pci", "--no-telemetry", "-m", "4096",
		"--iova-mode=va", "--log-level=error", "--lcores=0",
	};
	enum { N = sizeof(words) / sizeof(words[0]) };
	char *argv[N + 1] = { NULL };
	cpu_set_t before;
	int err;

	pthread_mutex_lock(&start_lock);
	if (!started) {
		for (unsigned i = 0; i < N; i++)
			argv[i] = words[i];
		err = sched_getaffinity(0, sizeof(before), &before);
		started = rte_eal_init(N, argv) < 0 ? -EIO : 1;
		if (!err)
			sched_setaffinity(0, sizeof(before), &before);
	}
	err = started < 0 ? started : 0;
	pthread_mutex_unlock(&start_lock);
	return err;
}

static int dpdk_open(uint64_t first, uint64_t last, void **ret_ctx)
{
	int err = start();

	(void)first;
	(void)last;
	if (!err)
		*ret_ctx = &started; /* one heap: nothing of a space's own */
	return err;
}

static void dpdk_close(void *ctx)
{
	(void)ctx;
}

static inline uint64_t dpdk_take(void *ctx, size_t len, uint64_t last)
{
	void *p = last ? NULL : rte_malloc(NULL, len, PAGE);

	(void)ctx;
	return p ? (uintptr_t)p : CONTENDER_NONE;
}

static inline void dpdk_give(void *ctx, uint64_t iova, size_t len)
{
	(void)ctx;
	(void)len;
	rte_free((void *)(uintptr_t)iova);
}

static void dpdk_population(void *ctx, struct contender_population *ret_population)
{
	struct rte_malloc_socket_stats stats;

	(void)ctx;
	*ret_population = (struct contender_population){ 0 };
	if (rte_malloc_get_socket_stats(0, &stats))
		return;
	ret_population->ranges = stats.alloc_count;
	ret_population->pages = stats.heap_allocsz_bytes >> WORKLOAD_PAGE_SHIFT;
}

static int dpdk_run(void *ctx, struct workload_thread *t, uint64_t n)
{
	return workload_run(t, n, ctx, dpdk_take, dpdk_give);
}

const struct contender contender_dpdk = {
	.name = "dpdk",
	.what = "rte_malloc() of page-aligned pages: one lock, one heap, no limits",
	.foreign = true,
	.open = dpdk_open,
	.close = dpdk_close,
	.alloc = dpdk_take,
	.free = dpdk_give,
	.population = dpdk_population,
	.run = dpdk_run,
};
