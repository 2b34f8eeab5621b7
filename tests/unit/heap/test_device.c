// SPDX-License-Identifier: BSD-2-Clause
/* Heap memory as a device sees it, on the software IOMMU, with libdray's own regions. */
#define _GNU_SOURCE
#include "base/hooks.h"
#include "heap/heap.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <syslog.h>
#include <unistd.h>

#include <cmocka.h>

#include <dray/dray.h>
#include <dray/heap.h>
#include <dray/region.h>
#include <dray/sim.h>

#define MIB ((size_t)1 << 20)

static struct dray_domain *dom;
static struct dray_device *dev;
static unsigned warnings;
static char line[512];

static void log_line(void *ctx, int level, const char *msg)
{
	(void)ctx;
	if (level > LOG_WARNING)
		return;
	warnings++;
	snprintf(line, sizeof(line), "%s", msg);
}

static int start(void **state)
{
	struct dray_domain_opts opts = { .size = sizeof(opts), .backend = DRAY_BACKEND_SIM,
					 .log = log_line };

	(void)state;
	warnings = 0;
	assert_int_equal(dray_domain_open(&opts, &dom), 0);
	assert_int_equal(dray_device_open(dom, "sim0", NULL, &dev), 0);
	return 0;
}

static int stop(void **state)
{
	(void)state;
	dray_device_close(dev);
	dray_domain_close(dom);
	return 0;
}

static struct dray_heap *heap_of(uint32_t flags, size_t grow_bytes)
{
	struct dray_heap_opts opts = { .size = sizeof(opts), .flags = flags,
				       .grow_bytes = grow_bytes };
	struct dray_heap *heap = NULL;

	if (dray_heap_open(dom, &opts, &heap))
		fail_msg("no heap: %s", dray_errmsg());
	return heap;
}

static struct dray_stats counters(void)
{
	struct dray_stats s = { .size = sizeof(s) };

	assert_int_equal(dray_stats_get(dom, &s), 0);
	return s;
}

static uint64_t mapped_bytes(void)
{
	struct dray_domain_info info = { .size = sizeof(info) };

	assert_int_equal(dray_domain_info(dom, &info), 0);
	return info.mapped_bytes;
}

/* What the device finds at all of a block's bytes is what the CPU finds. */
static void assert_device_sees(const void *p, size_t len)
{
	size_t got = len;
	dray_iova_t iova = dray_translate(dom, p, &got);
	char *copy = malloc(len);

	assert_non_null(copy);
	assert_true(iova != DRAY_IOVA_NONE);
	assert_int_equal(got, len);
	memset(copy, 0x55, len);
	assert_int_equal(dray_sim_read(dev, iova, copy, len), 0);
	assert_memory_equal(copy, p, len);
	free(copy);
}

static void fill(void *p, size_t len, unsigned seed)
{
	unsigned char *bytes = p;

	for (size_t i = 0; i < len; i++)
		bytes[i] = (unsigned char)(seed + i * 7 + (i >> 8));
}

static void blocks_are_reached(void **state)
{
	static const size_t lens[] = { 1, 16, 100, 4096, 5000, 16384, 65536, 200000, MIB,
				       3 * MIB, 40 * MIB };
	enum { N = sizeof(lens) / sizeof(*lens) };
	struct dray_heap *heap = heap_of(0, 0);
	void *p[N];

	(void)state;
	for (int i = 0; i < N; i++) {
		p[i] = dray_heap_alloc(heap, lens[i], 0);
		assert_non_null(p[i]);
		fill(p[i], lens[i], (unsigned)i);
	}
	for (int i = 0; i < N; i++) {
		size_t len = lens[i];
		dray_iova_t iova = dray_translate(dom, p[i], &len);

		assert_device_sees(p[i], lens[i]);
		/* Huge pages of the IOMMU are possible. */
		assert_int_equal((iova ^ (uintptr_t)p[i]) & (2 * MIB - 1), 0);
		assert_int_equal(dray_sim_write(dev, iova, "here", 1), 0);
		assert_int_equal(*(char *)p[i], 'h');
		dray_heap_free(heap, p[i]);
	}
	dray_heap_close(heap);
	assert_int_equal(warnings, 0);
	assert_int_equal(mapped_bytes(), 0);
}

static void mapping_is_a_lookup(void **state)
{
	struct dray_heap *heap = heap_of(0, 0);
	struct dray_stats before = counters(), after;
	char *p;

	(void)state;
	for (int i = 0; i < 1000; i++) {
		size_t len = 1 + (size_t)i * 97;
		struct dray_mapping m;

		p = dray_heap_alloc(heap, len, 0);
		assert_non_null(p);
		fill(p, len, (unsigned)i);
		assert_int_equal(dray_map(dev, p, len, DRAY_TO_DEVICE, 0, &m), 0);
		assert_int_equal(m.iova, dray_translate(dom, p, NULL));
		assert_device_sees(p, len);
		dray_unmap(dev, &m);
		dray_heap_free(heap, p);
	}
	after = counters();
	assert_int_equal(after.maps - before.maps, 1000);
	assert_int_equal(after.backend_maps, before.backend_maps);
	assert_int_equal(after.backend_unmaps, before.backend_unmaps);
	dray_heap_close(heap);
	assert_int_equal(warnings, 0);
}

static void devices_come_later(void **state)
{
	struct dray_heap *heap = heap_of(0, 0);
	char *p = dray_heap_alloc(heap, 5000, 0);
	struct dray_device *late, *first = dev;

	(void)state;
	fill(p, 5000, 3);
	assert_int_equal(dray_device_open(dom, "sim1", NULL, &late), 0);
	dev = late;
	assert_device_sees(p, 5000);
	dev = first;
	dray_device_close(late);
	dray_heap_free(heap, p);
	dray_heap_close(heap);
}

enum { BLOCKS = 2000, BLOCK = 6000 };

/* As jemalloc does when it gets tired of freed memory: everything it can be told to do, now. */
static void purge(struct dray_heap *heap)
{
	static const char *const orders[] = { "decay", "purge" };
	ssize_t now = 0;
	char name[64];

	for (unsigned n = 0; n < DR_THREADS; n++) {
		unsigned cache = heap->caches[n] - 1;

		if (heap->caches[n])
			assert_int_equal(dr_je_mallctl("tcache.flush", NULL, NULL, &cache,
						       sizeof(cache)), 0);
	}
	snprintf(name, sizeof(name), "arena.%u.dirty_decay_ms", heap->arena);
	assert_int_equal(dr_je_mallctl(name, NULL, NULL, &now, sizeof(now)), 0);
	snprintf(name, sizeof(name), "arena.%u.muzzy_decay_ms", heap->arena);
	assert_int_equal(dr_je_mallctl(name, NULL, NULL, &now, sizeof(now)), 0);
	for (int i = 0; i < 2; i++) {
		snprintf(name, sizeof(name), "arena.%u.%s", heap->arena, orders[i]);
		assert_int_equal(dr_je_mallctl(name, NULL, NULL, NULL, 0), 0);
	}
}

/*
 * Fill many blocks, free them, purge, and let the device read where they were: how many it finds
 * as they were written.
 */
static unsigned survivors_of_purge(struct dray_heap *heap)
{
	static char *p[BLOCKS];
	static char want[BLOCK], got[BLOCK];
	unsigned good = 0;

	for (int i = 0; i < BLOCKS; i++) {
		p[i] = dray_heap_alloc(heap, BLOCK, 0);
		assert_non_null(p[i]);
		fill(p[i], BLOCK, (unsigned)i);
	}
	for (int i = 0; i < BLOCKS; i++)
		dray_heap_free(heap, p[i]);
	purge(heap);
	for (int i = 0; i < BLOCKS; i++) {
		dray_iova_t iova = dray_translate(dom, p[i], NULL);

		fill(want, BLOCK, (unsigned)i);
		assert_true(iova != DRAY_IOVA_NONE);
		good += !dray_sim_read(dev, iova, got, BLOCK) && !memcmp(got, want, BLOCK);
	}
	return good;
}

static bool purge_for_real(extent_hooks_t *hooks, void *va, size_t len, size_t off, size_t part,
			   unsigned arena)
{
	(void)hooks;
	(void)len;
	(void)arena;
	return madvise((char *)va + off, part, MADV_DONTNEED);
}

static void purging_keeps_pages(void **state)
{
	struct dray_heap *heap = heap_of(0, 4 * MIB);
	struct dray_heap_stats s = { .size = sizeof(s) };
	uint64_t mapped;
	char *p;

	(void)state;
	assert_int_equal(survivors_of_purge(heap), BLOCKS);
	assert_int_equal(dray_heap_stats(heap, &s), 0);
	/* It did ask. */
	assert_true(s.purges_refused > 0);
	assert_int_equal(s.allocations, 0);
	mapped = s.mapped_bytes;
	assert_int_equal(mapped_bytes(), mapped);
	/* And the memory serves again, without growth, at both ends the same. */
	for (int round = 0; round < 20; round++) {
		for (int i = 0; i < 10; i++) {
			p = dray_heap_alloc(heap, MIB, 0);
			assert_non_null(p);
			fill(p, MIB, (unsigned)i);
			assert_device_sees(p, MIB);
			dray_heap_free(heap, p);
			purge(heap);
		}
	}
	assert_int_equal(dray_heap_stats(heap, &s), 0);
	assert_int_equal(s.mapped_bytes, mapped);
	dray_heap_close(heap);

	/* The test sees a hook that gives pages back. */
	heap = heap_of(0, 4 * MIB);
	heap->hooks.purge_lazy = purge_for_real;
	heap->hooks.purge_forced = purge_for_real;
	assert_true(survivors_of_purge(heap) < BLOCKS);
	dray_heap_close(heap);
	assert_int_equal(warnings, 0);
}

static void outlives_the_domain(void **state)
{
	struct dray_heap *heap = heap_of(0, 2 * MIB);
	char *p;

	(void)state;
	dray_domain_close(dom);
	p = dray_heap_alloc(heap, 10000, 0);
	assert_non_null(p);
	fill(p, 10000, 1);
	assert_device_sees(p, 10000);
	dray_device_close(dev);
	dev = NULL;
	memset(p, 0, 10000);
	dray_heap_free(heap, p);
	assert_int_equal(warnings, 0);
	/* The domain goes with it, and what is in there: checked by the sanitizers. */
	dray_heap_close(heap);
	dom = NULL;
}

static void leaks_are_logged(void **state)
{
	struct dray_heap *heap = heap_of(0, 2 * MIB);

	(void)state;
	assert_non_null(dray_heap_alloc(heap, 4096, 0));
	assert_non_null(dray_heap_alloc(heap, 4096, 0));
	dray_heap_close(heap);
	assert_int_equal(warnings, 1);
	assert_non_null(strstr(line, "2 blocks of 8192 bytes"));
	assert_int_equal(mapped_bytes(), 0);
}

static void bad_frees_are_logged(void **state)
{
	struct dray_heap *heap = heap_of(0, 2 * MIB);
	char *host = malloc(10);

	(void)state;
	dray_heap_free(heap, host);
	assert_int_equal(warnings, 1);
	assert_non_null(strstr(line, "no block of this heap"));
	free(host);
	dray_heap_close(heap);
}

/* A mapping is out in the heap when it closes: the device still reaches what it was told of. */
static void closed_while_mapped(void **state)
{
	struct dray_heap *heap = heap_of(0, 2 * MIB);
	char *p = dray_heap_alloc(heap, 5000, 0), *q = dray_heap_alloc(heap, 8 * MIB, 0);
	struct dray_mapping m;
	char got[4];

	(void)state;
	memcpy(p, "held", 4);
	assert_int_equal(dray_map(dev, p, 5000, DRAY_BIDIRECTIONAL, 0, &m), 0);
	dray_heap_free(heap, p);
	dray_heap_free(heap, q);
	dray_heap_close(heap);
	assert_int_equal(warnings, 1);
	assert_non_null(strstr(line, "1 of its pieces"));
	assert_int_equal(mapped_bytes(), 2 * MIB);
	assert_int_equal(dray_sim_read(dev, m.iova, got, 4), 0);
	assert_memory_equal(got, "held", 4);
	assert_memory_equal(p, "held", 4);
	dray_unmap(dev, &m);
	/* The next heap clears up. */
	dray_heap_close(heap_of(0, 2 * MIB));
	assert_int_equal(mapped_bytes(), 0);
	assert_null(dray_iova_to_va(dom, dray_translate(dom, p, NULL)));
}

static void untrusted_devices(void **state)
{
	struct dray_device_opts bad = { .size = sizeof(bad), .flags = DRAY_DEVICE_UNTRUSTED };
	struct dray_device *untrusted;
	struct dray_heap *heap = heap_of(0, 2 * MIB);
	char *p;

	(void)state;
	assert_int_equal(dray_device_open(dom, "sim1", &bad, &untrusted), -EPERM);
	dray_heap_close(heap);
	heap = heap_of(DRAY_HEAP_SHARE_UNTRUSTED, 2 * MIB);
	assert_int_equal(dray_device_open(dom, "sim1", &bad, &untrusted), 0);
	p = dray_heap_alloc(heap, 8 * MIB, 0);
	assert_non_null(p);
	dray_heap_free(heap, p);
	dray_heap_close(heap);
	heap = NULL;
	assert_int_equal(dray_heap_open(dom, NULL, &heap), -EPERM);
	assert_null(heap);
	assert_true(*dray_errmsg());
	dray_device_close(untrusted);
	assert_int_equal(warnings, 0);
}

/* linux/mempolicy.h */
#define POLICY_OF_ADDRESS 2
#define BIND 2

static void memory_is_bound(void **state)
{
	struct dray_heap_opts opts = { .size = sizeof(opts), .flags = DRAY_HEAP_NUMA,
				       .numa_node = 0, .grow_bytes = 2 * MIB };
	struct dray_heap *heap;
	unsigned long nodes[16] = { 0 };
	int policy = -1;
	char *p;

	(void)state;
	if (dray_heap_open(dom, &opts, &heap)) {
		/* A kernel without NUMA says so. */
		assert_non_null(strstr(dray_errmsg(), "NUMA node 0"));
		skip();
	}
	p = dray_heap_alloc(heap, 100, 0);
	assert_non_null(p);
	assert_int_equal(syscall(SYS_get_mempolicy, &policy, nodes, 1024ul, p, POLICY_OF_ADDRESS),
			 0);
	assert_int_equal(policy, BIND);
	assert_int_equal(nodes[0], 1);
	dray_heap_free(heap, p);
	dray_heap_close(heap);
}

/* What lets a device change jemalloc's mind is not where devices reach. */
static void bookkeeping_is_out_of_reach(void **state)
{
	struct dray_heap_opts opts = { .size = sizeof(opts), .max_bytes = 2 * MIB };
	struct dray_heap *heap = NULL;
	char *p[513];
	int n = 0;

	(void)state;
	assert_int_equal(dray_heap_open(dom, &opts, &heap), 0);
	while (n < 513 && (p[n] = dray_heap_alloc(heap, 4096, 0)))
		memset(p[n++], 0xff, 4096);
	/* Every byte that devices reach is in a block, and each has been overwritten. */
	assert_int_equal(n, 512);
	assert_int_equal(mapped_bytes(), 2 * MIB);
	while (n--)
		dray_heap_free(heap, p[n]);
	dray_heap_close(heap);
	assert_int_equal(warnings, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(blocks_are_reached, start, stop),
		cmocka_unit_test_setup_teardown(mapping_is_a_lookup, start, stop),
		cmocka_unit_test_setup_teardown(devices_come_later, start, stop),
		cmocka_unit_test_setup_teardown(purging_keeps_pages, start, stop),
		cmocka_unit_test_setup_teardown(outlives_the_domain, start, stop),
		cmocka_unit_test_setup_teardown(leaks_are_logged, start, stop),
		cmocka_unit_test_setup_teardown(bad_frees_are_logged, start, stop),
		cmocka_unit_test_setup_teardown(closed_while_mapped, start, stop),
		cmocka_unit_test_setup_teardown(untrusted_devices, start, stop),
		cmocka_unit_test_setup_teardown(memory_is_bound, start, stop),
		cmocka_unit_test_setup_teardown(bookkeeping_is_out_of_reach, start, stop),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
