// SPDX-License-Identifier: BSD-2-Clause
/* What is asked of jemalloc by name: an arena, its end, its numbers. */
#include "heap/heap.h"
#include "base/err.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/types.h>

/* A name of jemalloc's with this heap's arena in it. */
__attribute__((format(printf, 3, 4)))
static int arena_ctl(void *new, size_t new_len, const char *fmt, ...)
{
	char name[64];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(name, sizeof(name), fmt, ap);
	va_end(ap);
	return dr_je_mallctl(name, NULL, NULL, new, new_len);
}

int dr_heap_arena_open(struct dray_heap *heap)
{
	/*
	 * Bookkeeping stays out of the steps: jemalloc gets it from the kernel by itself, and no
	 * device reaches it.
	 */
	struct dr_je_arena_config config = { .hooks = &heap->hooks, .metadata_use_hooks = false };
	size_t len = sizeof(heap->arena), bool_len = sizeof(bool);
	bool stats = false;
	ssize_t never = -1;
	int err;

	if (dr_je_mallctl("config.stats", &stats, &bool_len, NULL, 0) || !stats)
		return dr_fail(ENOTSUP, "the jemalloc in libdray-heap counts nothing; build it "
			       "with one configured with --enable-stats");
	heap->hooks = dr_heap_hooks;
	err = dr_je_mallctl("experimental.arenas_create_ext", &heap->arena, &len, &config,
			    sizeof(config));
	if (err)
		return dr_fail(err == EAGAIN || err == ENOMEM ? ENOMEM : ENOTSUP, "jemalloc makes "
			       "no arena: %s; close other heaps, or build libdray-heap with "
			       "jemalloc 5.3", strerror(err));
	heap->arena_flags = MALLOCX_ARENA(heap->arena);
	/* Nothing is to be had by decay; without it jemalloc does not even look. */
	if (arena_ctl(&never, sizeof(never), "arena.%u.dirty_decay_ms", heap->arena) ||
	    arena_ctl(&never, sizeof(never), "arena.%u.muzzy_decay_ms", heap->arena)) {
		dr_heap_arena_close(heap);
		return dr_fail(ENOTSUP, "jemalloc does not let decay be turned off; build "
			       "libdray-heap with jemalloc 5.3");
	}
	return 0;
}

void dr_heap_arena_close(struct dray_heap *heap)
{
	arena_ctl(NULL, 0, "arena.%u.destroy", heap->arena);
}

void dr_heap_arena_gather(struct dray_heap *heap)
{
	unsigned n = dr_thread_peek();

	if (n < DR_THREADS && heap->caches[n]) {
		unsigned cache = heap->caches[n] - 1;

		dr_je_mallctl("tcache.flush", NULL, NULL, &cache, sizeof(cache));
	}
	/*
	 * jemalloc puts off joining small neighbours until it purges. The hooks refuse the purge
	 * itself, and the joined rest is what is wanted.
	 */
	arena_ctl(NULL, 0, "arena.%u.purge", heap->arena);
}

static uint64_t number(const struct dray_heap *heap, const char *what)
{
	uint64_t n = 0;
	size_t len = sizeof(n);
	char name[64];

	snprintf(name, sizeof(name), "stats.arenas.%u.%s", heap->arena, what);
	/* Counts are 64 bits, bytes a size_t: the same on every machine with an IOMMU. */
	dr_je_mallctl(name, &n, &len, NULL, 0);
	return n;
}

void dr_heap_arena_count(const struct dray_heap *heap, uint64_t *ret_blocks, uint64_t *ret_bytes)
{
	uint64_t epoch = 1;

	dr_je_mallctl("epoch", NULL, NULL, &epoch, sizeof(epoch));
	*ret_blocks = number(heap, "small.nmalloc") - number(heap, "small.ndalloc") +
		      number(heap, "large.nmalloc") - number(heap, "large.ndalloc");
	*ret_bytes = number(heap, "small.allocated") + number(heap, "large.allocated");
}
