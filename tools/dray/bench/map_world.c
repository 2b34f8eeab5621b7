// SPDX-License-Identifier: BSD-2-Clause
/*
 * 1. One operation is a pair: a buffer is mapped, one is unmapped. Under W0 it is always the same
 *    one, so what is measured is the work of the call and not of the processor's caches. Under W1 a
 *    thread has as many mappings out as the workload's queues hold and gives them back in the order
 *    that table.c says, each buffer at a place of its own. Threads share the device and nothing
 *    else.
 * 2. Buffers are there before anything is measured, and the first of a thread starts at a multiple
 *    of its size up to 2 MiB, so that a backend may use as large pages as the size allows
 *    (map_memory.c).
 * 3. All settings of a run share one domain, because a real device can be in one only; so they may
 *    be interleaved. A mode is entered before a stretch of a case and not in its loop. What waits
 *    when a lazy stretch is over is flushed at its end, so that its cost is counted where it
 *    belongs.
 * 4. Modes of dray's own differ in what the domain promises and what it copies for (map_ways.c). A
 *    list is an operation like a buffer.
 * 5. The kernel's queue (baseline/kernel_dma.c) has a device and a page table of its own on the
 *    same software IOMMU, and the same cost.
 */
#include "bench/map_world.h"

#include <dray/sim.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "baseline/kernel_dma.h"

#define INLINE static inline __attribute__((always_inline))

const struct map_backend map_backends[] = {
	{"sim", DRAY_BACKEND_SIM, "sim0", true, true},
	{"type1", DRAY_BACKEND_TYPE1, NULL, false, false},
	{0},
};

/* Where kernel-fq is: another group than any device a user would name. */
#define KERNEL_DEVICE "sim63"

/* A line pair of its own each. A mapping with length 0 is not out. */
struct map_thread {
	_Alignas(128) uint64_t random;
	struct dray_mapping *out;
};

static size_t page_up(size_t size)
{
	return (size + 4095) & ~(size_t)4095;
}

static int open_arenas(struct map_world *w)
{
	w->arenas = calloc(w->config.threads, sizeof(*w->arenas));
	if (!w->arenas)
		return -ENOMEM;
	w->n_arenas = w->config.threads;
	for (unsigned i = 0; i < w->n_arenas; i++) {
		w->arenas[i] = map_arena_new(&w->config);
		if (!w->arenas[i])
			return -ENOMEM;
	}
	return 0;
}

int map_world_open(struct map_world *w, const struct map_config *config, const char **ret_error)
{
	const struct map_backend *backend = config->backend;
	struct dray_domain_opts opts = {
		.size = sizeof(opts),
		.backend = backend->kind,
		.flush_entries = config->queue_entries,
		.flush_bytes = (size_t)config->flush_bytes,
		.flush_timeout_us = config->flush_timeout_us,
		.bounce_threshold = config->measures ? DRAY_BOUNCE_AUTO : 0,
	};
	int err;

	*w = (struct map_world){.config = *config};
	err = open_arenas(w);
	if (err) {
		*ret_error = config->memory->page == map_memories[0].page ?
			"no memory for the buffers; ask for a smaller --size or fewer --threads" :
			"not enough huge pages for the buffers; reserve some "
			"(/proc/sys/vm/nr_hugepages), allow them (/sys/kernel/mm/"
			"transparent_hugepage/enabled), or leave --memory out";
		goto fail;
	}
	err = dray_domain_open(&opts, &w->dom);
	if (!err && backend->has_cost_model)
		err = dray_sim_set_cost(w->dom, config->cost.invalidate_ns, config->cost.pin_ns,
					config->cost.check ? 0 : DRAY_SIM_NOCHECK);
	if (!err)
		err = dray_device_open(w->dom, config->device, NULL, &w->dev);
	if (!err)
		return 0;
	*ret_error = dray_errmsg();
fail:
	map_world_close(w);
	return err;
}

void map_world_close(struct map_world *w)
{
	for (const struct map_mode *m = map_modes; m->name; m++)
		if (w->opened[m - map_modes] && m->close)
			m->close(w);
	dray_device_close(w->dev);
	dray_domain_close(w->dom);
	for (unsigned i = 0; i < w->n_arenas; i++)
		map_arena_free(&w->config, w->arenas[i]);
	free(w->arenas);
	*w = (struct map_world){0};
}

/* --- the loops --- */

/* 0 or -errno; and its inverse. Both inlined into the loop of their mode. */
typedef int (*map_fn)(const struct map_setting *s, void *va, struct dray_mapping *ret_map);
typedef void (*unmap_fn)(const struct map_setting *s, unsigned thread, struct dray_mapping *m);

INLINE int run_pairs(const struct map_setting *s, unsigned thread, uint64_t n, map_fn map,
		     unmap_fn unmap)
{
	void *buf = map_arena_of(s, thread);
	struct dray_mapping m;
	int err;

	while (n--) {
		err = map(s, buf, &m);
		if (err)
			return err;
		unmap(s, thread, &m);
	}
	return 0;
}

/* As workload_run_slots() does it: a few neighbours are unmapped, as many are mapped. */
INLINE int run_queues(const struct map_setting *s, unsigned thread, uint64_t n, map_fn map,
		      unmap_fn unmap)
{
	const struct workload *w = s->workload;
	struct map_thread *t = &s->each[thread];
	char *arena = map_arena_of(s, thread);
	size_t stride = page_up(s->size);
	unsigned at, base, batch;
	int err;

	while (n) {
		uint64_t r = workload_next(&t->random);

		batch = 1 + (unsigned)(r >> 10) % w->batch;
		if (batch > n)
			batch = (unsigned)n;
		base = ((unsigned)(r >> 20) & (w->queues - 1)) * w->depth;
		at = (unsigned)(((r >> 32) * w->depth) >> 32);
		for (unsigned i = 0; i < batch; i++)
			if (t->out[base + (at + i) % w->depth].len)
				unmap(s, thread, &t->out[base + (at + i) % w->depth]);
		for (unsigned i = 0; i < batch; i++) {
			unsigned k = base + (at + i) % w->depth;

			err = map(s, arena + k * stride, &t->out[k]);
			if (err)
				return err;
		}
		n -= batch;
	}
	return 0;
}

INLINE int run(const struct map_setting *s, unsigned thread, uint64_t n, map_fn map, unmap_fn unmap)
{
	return s->each ? run_queues(s, thread, n, map, unmap)
		       : run_pairs(s, thread, n, map, unmap);
}

/* --- dray, through its public calls --- */

INLINE int dray_one(const struct map_setting *s, void *va, struct dray_mapping *ret_map)
{
	return dray_map(s->world->dev, va, s->size, DRAY_BIDIRECTIONAL, 0, ret_map);
}

INLINE void dray_one_back(const struct map_setting *s, unsigned thread, struct dray_mapping *m)
{
	(void)thread;
	dray_unmap(s->world->dev, m);
}

static int dray_run(void *ctx, unsigned thread, uint64_t n)
{
	return run(ctx, thread, n, dray_one, dray_one_back);
}

static void dray_back(const struct map_setting *s, unsigned thread, struct dray_mapping *m)
{
	dray_one_back(s, thread, m);
}

static void dray_count(void *ctx, uint64_t ret_totals[BENCH_COUNTS])
{
	const struct map_setting *s = ctx;
	struct dray_stats stats = {.size = sizeof(stats)};

	dray_stats_get(s->world->dom, &stats);
	ret_totals[MAP_BACKEND_CALLS] = stats.backend_maps + stats.backend_unmaps;
	ret_totals[MAP_BACKEND_UNMAPS] = stats.backend_unmaps;
	ret_totals[MAP_INVALIDATIONS] = stats.invalidations;
	ret_totals[MAP_COPIES] = stats.bounce_cheaper;
}

/* --- the kernel's --- */

static int kernel_open(struct map_world *w)
{
	const struct map_config *c = &w->config;
	struct kernel_dma_opts opts = {
		.device = KERNEL_DEVICE,
		.threads = c->threads,
		.timer_ms = KERNEL_FQ_MS,
		.invalidate_ns = c->cost.invalidate_ns,
		.pin_ns_per_page = c->cost.pin_ns,
		.cost_flags = c->cost.check ? 0 : DRAY_SIM_NOCHECK,
	};

	return kernel_dma_open(&opts, &w->kernel);
}

static void kernel_close(struct map_world *w)
{
	kernel_dma_close(w->kernel);
	w->kernel = NULL;
}

/* The receipt keeps the address of whole granules; the caller knows the length. */
INLINE int kernel_one(const struct map_setting *s, void *va, struct dray_mapping *ret_map)
{
	ret_map->len = page_up(s->size);
	return kernel_dma_map(s->world->kernel, va, ret_map->len, &ret_map->iova);
}

INLINE void kernel_one_back(const struct map_setting *s, unsigned thread, struct dray_mapping *m)
{
	kernel_dma_unmap(s->world->kernel, thread, m->iova, m->len);
	m->len = 0;
}

static int kernel_run(void *ctx, unsigned thread, uint64_t n)
{
	return run(ctx, thread, n, kernel_one, kernel_one_back);
}

static void kernel_back(const struct map_setting *s, unsigned thread, struct dray_mapping *m)
{
	kernel_one_back(s, thread, m);
}

static void kernel_leave(void *ctx)
{
	const struct map_setting *s = ctx;

	kernel_dma_timeout(s->world->kernel);
}

static void kernel_count(void *ctx, uint64_t ret_totals[BENCH_COUNTS])
{
	const struct map_setting *s = ctx;
	struct kernel_dma_counts c;

	kernel_dma_counts(s->world->kernel, &c);
	ret_totals[MAP_BACKEND_CALLS] = c.maps + c.unmaps;
	ret_totals[MAP_BACKEND_UNMAPS] = c.unmaps;
	ret_totals[MAP_INVALIDATIONS] = c.invalidations;
}

#define DRAY_WAY                                                                          \
	.enter = map_way_enter, .leave = map_way_leave, .run = dray_run, .count = dray_count, \
	.unmap = dray_back

const struct map_mode map_modes[] = {
	{ .name = "strict", .contender = "dray", DRAY_WAY },
	{ .name = "lazy", .contender = "dray", .has_queue = true, .invalidation = DRAY_LAZY,
	  DRAY_WAY },
	{ .name = "lazy", .contender = "kernel-fq", .is_modelled = true, .open = kernel_open,
	  .close = kernel_close, .leave = kernel_leave, .run = kernel_run, .count = kernel_count,
	  .unmap = kernel_back },
	{ .name = "region", .contender = "dray", .is_registered = true, .open = map_regions_open,
	  .close = map_regions_close, DRAY_WAY },
	/* Whatever a slot holds. */
	{ .name = "bounce", .contender = "dray", .threshold = DRAY_BOUNCE_AUTO - 1, DRAY_WAY },
	{ .name = "auto", .contender = "dray", .has_queue = true, .invalidation = DRAY_LAZY,
	  .threshold = DRAY_BOUNCE_AUTO, DRAY_WAY },
	{ .name = "auto-strict", .contender = "dray", .threshold = DRAY_BOUNCE_AUTO, DRAY_WAY },
	{0},
};

_Static_assert(sizeof(map_modes) / sizeof(map_modes[0]) <=
		       sizeof(((struct map_world *)NULL)->opened) / sizeof(bool),
	       "a world has a place for each mode");

/* --- settings --- */

bool map_has_workload(const struct workload *w)
{
	return w->shape == WORKLOAD_PAIR ||
	       (w->shape == WORKLOAD_RANDOM && w->depth && w->sizes->max == 1 &&
		w->sizes->share == WORKLOAD_DRAWS && !w->lasts[0]);
}

unsigned map_places(const struct workload *w)
{
	return w->shape == WORKLOAD_PAIR ? 1 : w->queues * w->depth;
}

int map_setting_open(struct map_setting *s)
{
	struct map_world *w = s->world;
	bool *opened = &w->opened[s->mode - map_modes];
	int err = !*opened && s->mode->open ? s->mode->open(w) : 0;

	if (err)
		return err;
	*opened = true;
	if (w->config.sg)
		return map_lists_open(s);
	if (map_places(s->workload) == 1)
		return 0;
	s->each = aligned_alloc(128, s->threads * sizeof(*s->each));
	if (!s->each)
		return dr_fail(ENOMEM, "no memory for receipts; ask for fewer combinations");
	for (unsigned i = 0; i < s->threads; i++)
		s->each[i] = (struct map_thread){
			.random = s->workload->seed + ((uint64_t)i << 32),
			.out = calloc(map_places(s->workload), sizeof(*s->each[i].out)),
		};
	for (unsigned i = 0; i < s->threads; i++)
		if (!s->each[i].out)
			return dr_fail(ENOMEM, "no memory for receipts; ask for fewer "
				       "combinations");
	return 0;
}

void map_setting_close(struct map_setting *s)
{
	for (unsigned i = 0; s->each && i < s->threads; i++) {
		for (unsigned k = 0; s->each[i].out && k < map_places(s->workload); k++)
			if (s->each[i].out[k].len)
				s->mode->unmap(s, i, &s->each[i].out[k]);
		free(s->each[i].out);
	}
	free(s->each);
	free(s->lists);
	s->each = NULL;
	s->lists = NULL;
}

struct bench_case map_case(struct map_setting *s)
{
	return (struct bench_case){
	    .ctx = s,
	    .threads = s->threads,
	    .run = s->lists ? map_lists_run : s->mode->run,
	    .enter = s->mode->enter,
	    .leave = s->mode->leave,
	    .count = s->mode->count,
	};
}
