/* SPDX-License-Identifier: BSD-2-Clause */
/* What `dray bench map` measures on: one domain, one device, buffers for every thread. */
#ifndef BENCH_MAP_WORLD_H
#define BENCH_MAP_WORLD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <dray/dray.h>

#include "bench/harness.h"
#include "workload/workload.h"

struct kernel_dma;

/* What a user may ask for by name, and what it means. Lists end with a NULL name. */
struct map_backend {
	const char *name;
	enum dray_backend_kind kind;
	const char *default_device; /* NULL: the user names one */
	bool counts_invalidations;  /* dray issues them itself, so it can count them */
	bool has_cost_model;
};
extern const struct map_backend map_backends[];

/* What buffers are in: see map_memory.c. The first is the default. */
struct map_memory {
	const char *name;
	size_t page; /* it comes in these */
	int flags;   /* of mmap(), beside the usual */
	int advice;  /* of madvise(); 0: none */
};
extern const struct map_memory map_memories[];

struct map_world;
struct map_setting;

/* One way to map and unmap. A new one is one entry of the table in map_world.c. */
struct map_mode {
	const char *name, *contender;
	bool is_modelled;   /* it works on a backend with a cost model only */
	bool has_queue;     /* the queue's bounds say what it does */
	bool is_registered; /* its buffers are in regions, and its own */
	/* What a buffer is copied for: the domain's bounce_threshold while the mode is entered. */
	size_t threshold;
	enum dray_invalidation invalidation;
	/* Once in a world where it is asked for, and its inverse; NULL: nothing to do. */
	int (*open)(struct map_world *w);
	void (*close)(struct map_world *w);
	/* Around every stretch of a setting; as struct bench_case has them. */
	int (*enter)(void *setting);
	void (*leave)(void *setting);
	int (*run)(void *setting, unsigned thread, uint64_t n);
	void (*count)(void *setting, uint64_t ret_totals[BENCH_COUNTS]);
	/* One mapping back, for what a workload left out. */
	void (*unmap)(const struct map_setting *s, unsigned thread, struct dray_mapping *m);
};
extern const struct map_mode map_modes[];

/* Of the software IOMMU; see dray_sim_set_cost(). */
struct map_cost {
	uint32_t invalidate_ns, pin_ns;
	bool check; /* memory is asked for before each map, as a real pin would notice */
};

/* What a world is opened with. 0 in a queue's bound is the library's default. */
struct map_config {
	const struct map_backend *backend;
	const char *device;
	const struct map_memory *memory;
	struct map_cost cost;
	uint32_t queue_entries, flush_timeout_us;
	uint64_t flush_bytes;
	unsigned threads;
	size_t size;     /* the largest buffer */
	unsigned places; /* buffers of a thread */
	bool measures;   /* a mode is automatic, so the domain has to know what things cost */
	unsigned sg;     /* elements of a list; 0: single buffers */
	size_t sg_stride; /* from one's beginning to the next one's; 0: they adjoin */
};

struct map_world {
	struct map_config config;
	struct dray_domain *dom;
	struct dray_device *dev;
	struct kernel_dma *kernel; /* where kernel-fq takes part */
	bool opened[8];            /* modes, by their place in the table */
	unsigned n_arenas;
	void **arenas;             /* of each thread */
	void **registered;         /* the same in regions, where a mode wants them; else NULL */
	struct dray_region **regions;
};

/* Totals that a case counts, by their place in struct bench_result, per_1000. */
enum { MAP_BACKEND_CALLS, MAP_BACKEND_UNMAPS, MAP_INVALIDATIONS, MAP_COPIES };

/* What one thread has mapped under a workload with queues. Its own while it runs. */
struct map_thread;

/* A mode, a workload and a size in a world; the context of a struct bench_case. */
struct map_setting {
	struct map_world *world;
	const struct map_mode *mode;
	const struct workload *workload;
	size_t size;
	unsigned threads;
	struct map_thread *each; /* of a workload with queues, else NULL */
	struct dray_sg *lists;   /* of each thread one after the other, else NULL */
};

/* The workloads that map: W0, one warm pair, and W1, queues with random victims. */
bool map_has_workload(const struct workload *w);
/* How many buffers a thread needs for it. */
unsigned map_places(const struct workload *w);

/* --- map_memory.c --- */

/* Bytes of a thread's buffers. */
size_t map_arena_bytes(const struct map_config *c);
/* Populated memory for a thread's buffers, and its inverse. NULL: no memory of that kind. */
void *map_arena_new(const struct map_config *c);
void map_arena_free(const struct map_config *c, void *arena);

/* Where a thread's buffers are for this setting. */
static inline char *map_arena_of(const struct map_setting *s, unsigned thread)
{
	return s->mode->is_registered ? s->world->registered[thread] : s->world->arenas[thread];
}

/* 0, or -errno with *ret_error a string that stays valid until the thread's next dray call. */
int map_world_open(struct map_world *w, const struct map_config *config, const char **ret_error);
/* Every setting is closed. */
void map_world_close(struct map_world *w);

/* The setting's mode gets what it needs in its world. 0, or -errno with dray_errmsg() set. */
int map_setting_open(struct map_setting *s);
/* Unmaps what the workload left mapped. */
void map_setting_close(struct map_setting *s);

/* --- map_ways.c: modes that choose among dray's ways, and lists --- */

/* Around a stretch: the domain's mode and what it copies for are those of the setting's mode. */
int map_way_enter(void *setting);
/* What waits is flushed, so that its cost is counted where it belongs. */
void map_way_leave(void *setting);
/* Regions around buffers of their own. */
int map_regions_open(struct map_world *w);
void map_regions_close(struct map_world *w);
/* A list for each thread, and the loop that maps it as a whole. */
int map_lists_open(struct map_setting *s);
int map_lists_run(void *setting, unsigned thread, uint64_t n);

/* The case that measures a setting. The setting outlives it. */
struct bench_case map_case(struct map_setting *s);

#endif
