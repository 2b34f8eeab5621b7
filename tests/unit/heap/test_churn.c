// SPDX-License-Identifier: BSD-2-Clause
/*
 * Threads allocate and free one another's blocks in two heaps at once, come and go, and let the
 * device read; each block's bytes are checked before it is freed. CHURN_SECONDS makes it longer,
 * CHURN_SEED repeats a run's choices.
 */
#include "heap/heap.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <syslog.h>
#include <time.h>

#include <cmocka.h>

#include <dray/dray.h>
#include <dray/heap.h>
#include <dray/region.h>
#include <dray/sim.h>

#define MIB ((size_t)1 << 20)
enum { THREADS = 4, HEAPS = 2, SLOTS = 600, OPS = 4000, GENERATIONS = 5 };

struct block {
	unsigned char *p;
	size_t len;
	unsigned seed;
};

static struct dray_domain *dom;
static struct dray_device *dev;
static struct dray_heap *heaps[HEAPS];
static _Atomic(struct block *) slots[HEAPS][SLOTS];
static _Atomic unsigned problems, full, grown;
static uint64_t seed0;

static void log_line(void *ctx, int level, const char *msg)
{
	(void)ctx;
	if (level <= LOG_WARNING) {
		atomic_fetch_add(&problems, 1);
		fprintf(stderr, "log: %s\n", msg);
	}
}

static uint64_t next(uint64_t *state)
{
	uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	return z ^ (z >> 31);
}

static unsigned char byte_of(const struct block *b, size_t i)
{
	return (unsigned char)(b->seed + i * 13 + (i >> 12));
}

static void problem(const struct block *b, const char *what)
{
	if (atomic_fetch_add(&problems, 1) < 20)
		fprintf(stderr, "seed %llu: block %p+%zu: %s\n", (unsigned long long)seed0,
			(void *)b->p, b->len, what);
}

/* Blocks beyond a page are written and checked at every 61st byte, and at their ends. */
static size_t stride(size_t len)
{
	return len > 4096 ? 61 : 1;
}

static void write_block(struct block *b)
{
	for (size_t i = 0; i < b->len; i += stride(b->len))
		b->p[i] = byte_of(b, i);
	b->p[b->len - 1] = byte_of(b, b->len - 1);
}

static void check_bytes(const struct block *b, const unsigned char *bytes, const char *what)
{
	size_t last = b->len - 1;

	for (size_t i = 0; i < last; i += stride(b->len))
		if (bytes[i] != byte_of(b, i)) {
			problem(b, what);
			return;
		}
	if (bytes[last] != byte_of(b, last))
		problem(b, what);
}

static void check_device(const struct block *b)
{
	size_t len = b->len;
	dray_iova_t iova = dray_translate(dom, b->p, &len);
	unsigned char *copy = malloc(b->len);

	if (iova == DRAY_IOVA_NONE || len != b->len)
		problem(b, "is not one piece to the device");
	else if (!copy || dray_sim_read(dev, iova, copy, b->len))
		problem(b, "cannot be read by the device");
	else
		check_bytes(b, copy, "is something else to the device");
	free(copy);
}

static struct block *make(unsigned h, uint64_t *rand)
{
	uint64_t r = next(rand);
	size_t len = 1 + next(rand) % ((size_t)16 << (r % 11)), align = 0;
	struct block *b = malloc(sizeof(*b));

	if (!(r >> 20 & 255))
		len = 1 + next(rand) % (3 * MIB);
	if (!(r >> 28 & 15))
		align = (size_t)1 << (r >> 40) % 17;
	if (!b)
		return NULL;
	*b = (struct block){ dray_heap_alloc(heaps[h], len, align), len, (unsigned)next(rand) };
	if (!b->p) {
		atomic_fetch_add(&full, 1);
		free(b);
		return NULL;
	}
	if (align && (uintptr_t)b->p & (align - 1))
		problem(b, "is misaligned");
	if (!dr_heap_step_of(heaps[h], b->p))
		problem(b, "is another heap's");
	write_block(b);
	return b;
}

static void end(unsigned h, struct block *b, uint64_t *rand)
{
	check_bytes(b, b->p, "was overwritten");
	if (!(next(rand) & 7))
		check_device(b);
	dray_heap_free(heaps[h], b->p);
	free(b);
}

static void *churn(void *arg)
{
	uint64_t rand = (uint64_t)(uintptr_t)arg;

	for (unsigned i = 0; i < OPS; i++) {
		uint64_t r = next(&rand);
		unsigned h = r & 1;
		struct block *b = r & 6 ? make(h, &rand) : NULL;

		b = atomic_exchange(&slots[h][(r >> 8) % SLOTS], b);
		if (b)
			end(h, b, &rand);
	}
	return NULL;
}

static void *watch(void *arg)
{
	_Atomic bool *done = arg;
	struct dray_heap_stats s = { .size = sizeof(s) };

	while (!atomic_load(done)) {
		for (int h = 0; h < HEAPS; h++) {
			if (dray_heap_stats(heaps[h], &s) || s.used_bytes > s.mapped_bytes ||
			    s.mapped_bytes > 256 * MIB)
				atomic_fetch_add(&problems, 1);
			atomic_store(&grown, (unsigned)s.steps);
		}
		nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL);
	}
	return NULL;
}

static void threads_share_heaps(void **state)
{
	struct dray_domain_opts opts = { .size = sizeof(opts), .backend = DRAY_BACKEND_SIM,
					 .log = log_line };
	struct dray_heap_opts heap_opts = { .size = sizeof(heap_opts), .grow_bytes = 4 * MIB,
					    .max_bytes = 256 * MIB };
	const char *seconds = getenv("CHURN_SECONDS"), *seed = getenv("CHURN_SEED");
	time_t until = time(NULL) + (seconds ? atoi(seconds) : 0);
	pthread_t watcher, threads[THREADS];
	_Atomic bool done = false;
	unsigned generation = 0;

	(void)state;
	seed0 = seed ? strtoull(seed, NULL, 0) : (uint64_t)time(NULL);
	printf("seed %llu\n", (unsigned long long)seed0);
	assert_int_equal(dray_domain_open(&opts, &dom), 0);
	assert_int_equal(dray_device_open(dom, "sim0", NULL, &dev), 0);
	for (int h = 0; h < HEAPS; h++)
		assert_int_equal(dray_heap_open(dom, &heap_opts, &heaps[h]), 0);
	assert_int_equal(pthread_create(&watcher, NULL, watch, &done), 0);

	/* Each generation of threads is new to the heaps, and inherits the blocks of the last. */
	do {
		for (int t = 0; t < THREADS; t++)
			assert_int_equal(pthread_create(&threads[t], NULL, churn,
				(void *)(uintptr_t)(seed0 * 1000003 + generation * THREADS +
						    (unsigned)t)), 0);
		for (int t = 0; t < THREADS; t++)
			pthread_join(threads[t], NULL);
		generation++;
	} while (generation < GENERATIONS || time(NULL) < until);
	atomic_store(&done, true);
	pthread_join(watcher, NULL);

	for (unsigned h = 0; h < HEAPS; h++) {
		struct dray_heap_stats s = { .size = sizeof(s) };
		unsigned live = 0;

		for (int i = 0; i < SLOTS; i++)
			live += atomic_load(&slots[h][i]) != NULL;
		assert_int_equal(dray_heap_stats(heaps[h], &s), 0);
		/* All caches went with their threads: what is out is what is in the slots. */
		assert_int_equal(s.allocations, live);
		assert_int_equal(s.bad_frees, 0);
		assert_true(s.steps > 1);
		for (int i = 0; i < SLOTS; i++) {
			struct block *b = atomic_exchange(&slots[h][i], NULL);

			if (b)
				end(h, b, &seed0);
		}
		dray_heap_close(heaps[h]);
	}
	dray_device_close(dev);
	dray_domain_close(dom);
	printf("%u generations, %u requests at the ceiling, %u steps\n", generation, full, grown);
	assert_int_equal(problems, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(threads_share_heaps) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
