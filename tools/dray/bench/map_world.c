// SPDX-License-Identifier: BSD-2-Clause
/*
 * 1. One operation is a pair: map a buffer, unmap it, always the same one, so what is measured is
 *    the work of the call and not of the processor's caches (workload W0). Threads share the device
 *    and nothing else; each has a buffer of its own.
 * 2. Buffers are there before anything is measured (MAP_POPULATE), and start at a multiple of their
 *    size up to 2 MiB, so that a backend may use as large pages as the size allows.
 * 3. All settings of a run share one domain, because a real device can be in one only; so they may
 *    be interleaved. A mode is entered before a stretch of a case and not in its loop.
 */
#include "bench/map_world.h"

#include <dray/sim.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define MAX_ALIGN ((size_t)2 << 20)

const struct map_backend map_backends[] = {
	{"sim", DRAY_BACKEND_SIM, "sim0", true, true},
	{"type1", DRAY_BACKEND_TYPE1, NULL, false, false},
	{0},
};

const struct map_mode map_modes[] = {
	{"strict", DRAY_STRICT},
	{0},
};

static size_t alignment(size_t size)
{
	size_t align = 4096;

	while (align < size && align < MAX_ALIGN)
		align *= 2;
	return align;
}

/* Populated memory that starts at a multiple of alignment(size). */
static void *buffer_new(size_t size)
{
	size_t align = alignment(size);
	size_t whole = (size + 4095) & ~(size_t)4095;
	char *p = mmap(NULL, whole + align, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
		       -1, 0);
	char *start;

	if (p == MAP_FAILED)
		return NULL;
	start = (char *)(((uintptr_t)p + align - 1) & ~(uintptr_t)(align - 1));
	if (start > p)
		munmap(p, (size_t)(start - p));
	munmap(start + whole, align - (size_t)(start - p));
	if (mmap(start, whole, PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_POPULATE, -1, 0) != MAP_FAILED)
		return start;
	munmap(start, whole);
	return NULL;
}

static void buffer_free(void *p, size_t size)
{
	if (p)
		munmap(p, (size + 4095) & ~(size_t)4095);
}

static int open_buffers(struct map_world *w, unsigned threads, size_t size)
{
	w->buffers = calloc(threads, sizeof(*w->buffers));
	if (!w->buffers)
		return -ENOMEM;
	w->threads = threads;
	w->size = size;
	for (unsigned i = 0; i < threads; i++) {
		w->buffers[i] = buffer_new(size);
		if (!w->buffers[i])
			return -ENOMEM;
	}
	return 0;
}

int map_world_open(struct map_world *w, const struct map_backend *backend, const char *device,
		   const struct map_cost *cost, unsigned threads, size_t size,
		   const char **ret_error)
{
	struct dray_domain_opts opts = {.size = sizeof(opts), .backend = backend->kind};
	int err;

	*w = (struct map_world){.backend = backend};
	err = open_buffers(w, threads, size);
	if (err) {
		*ret_error =
		    "no memory for the buffers; ask for a smaller --size or fewer --threads";
		goto fail;
	}
	err = dray_domain_open(&opts, &w->dom);
	if (!err)
		err = dray_device_open(w->dom, device, NULL, &w->dev);
	if (!err && backend->has_cost_model)
		err = dray_sim_set_cost(w->dom, cost->invalidate_ns, cost->pin_ns,
					cost->check ? 0 : DRAY_SIM_NOCHECK);
	if (!err)
		return 0;
	*ret_error = dray_errmsg();
fail:
	map_world_close(w);
	return err;
}

void map_world_close(struct map_world *w)
{
	dray_device_close(w->dev);
	dray_domain_close(w->dom);
	for (unsigned i = 0; i < w->threads; i++)
		buffer_free(w->buffers[i], w->size);
	free(w->buffers);
	*w = (struct map_world){0};
}

static int run_pairs(void *ctx, unsigned thread, uint64_t n)
{
	const struct map_setting *s = ctx;
	struct dray_device *dev = s->world->dev;
	void *buf = s->world->buffers[thread];
	struct dray_mapping m;
	int err;

	while (n--) {
		err = dray_map(dev, buf, s->size, DRAY_BIDIRECTIONAL, 0, &m);
		if (err)
			return err;
		dray_unmap(dev, &m);
	}
	return 0;
}

static void count(void *ctx, uint64_t ret_totals[BENCH_COUNTS])
{
	const struct map_setting *s = ctx;
	struct dray_stats stats = {.size = sizeof(stats)};

	dray_stats_get(s->world->dom, &stats);
	ret_totals[MAP_BACKEND_CALLS] = stats.backend_maps + stats.backend_unmaps;
	ret_totals[MAP_INVALIDATIONS] = stats.invalidations;
}

struct bench_case map_case(struct map_setting *s)
{
	return (struct bench_case){
	    .ctx = s,
	    .threads = s->threads,
	    .run = run_pairs,
	    .count = count,
	};
}
