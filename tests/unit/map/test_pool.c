// SPDX-License-Identifier: BSD-2-Clause
/* Pools: where blocks lie, that none is two people's, and that nothing is lost. */
#include "lists.h"

#include "backend/sim/sim.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

static struct dray_domain *dom;
static struct dray_device *dev;

static void open_all(void)
{
	dom = rig_open();
	dev = rig_plug(dom, "sim1");
}

static void close_all(void)
{
	dray_device_close(dev);
	dray_domain_close(dom);
	assert_true(rig_is_gone(dom));
}

struct block {
	unsigned char *va;
	dray_iova_t iova;
	unsigned char mark;
};

static void take(struct dray_pool *pool, struct block *b, size_t len)
{
	b->va = dray_pool_alloc(pool, &b->iova);
	if (!b->va)
		print_error("%s\n", dray_errmsg());
	assert_non_null(b->va);
	for (size_t i = 0; i < len; i++)
		assert_int_equal(b->va[i], 0);
}

/* One block, by both of its addresses. */
static void assert_placed(const struct block *b, size_t len, size_t align, size_t boundary)
{
	assert_int_equal((uintptr_t)b->va % align, 0);
	assert_int_equal(b->iova % align, 0);
	if (boundary)
		assert_int_equal(b->iova / boundary, (b->iova + len - 1) / boundary);
	assert_ptr_equal(dray_iova_to_va(dom, b->iova), b->va);
	assert_ptr_equal(dray_iova_to_va(dom, b->iova + len - 1), b->va + len - 1);
}

static const struct {
	size_t block, align, boundary;
	int err;
} places[] = {
	{ 1, 0, 0, 0 },              { 1, 1, 0, 0 },          { 16, 0, 0, 0 },
	{ 64, 64, 4096, 0 },         { 100, 0, 0, 0 },        { 100, 4, 256, 0 },
	{ 100, 128, 256, 0 },        { 100, 0, 100, -EINVAL }, { 96, 0, 128, 0 },
	{ 33, 32, 64, 0 },           { 65, 0, 64, -EINVAL },  { 64, 0, 64, 0 },
	{ 40, 64, 32, -EINVAL },     { 20, 64, 32, 0 },       { 4096, 4096, 0, 0 },
	{ 4096, 0, 4096, 0 },        { 4096, 8192, 4096, 0 }, { 3000, 0, 4096, 0 },
	{ 3000, 8, 8192, 0 },        { 5000, 0, 8192, 0 },    { 4097, 0, 4096, -EINVAL },
	{ 65536, 65536, 65536, 0 },  { 70000, 0, 0, 0 },      { 70000, 0, 131072, 0 },
	{ 200000, 0, 262144, 0 },    { 700000, 0, 1 << 20, 0 },
	{ 1 << 20, 0, 1 << 20, 0 },  { 2 << 20, 0, 2 << 20, 0 },
	{ (2 << 20) + 1, 0, 0, 0 },  { 3 << 20, 4096, 0, 0 }, { 8, 2 << 20, 0, 0 },
	{ 8, 4 << 20, 0, -EINVAL },  { 0, 0, 0, -EINVAL },    { 8, 3, 0, -EINVAL },
	{ 8, 0, 24, -EINVAL },       { SIZE_MAX, 0, 0, -EINVAL },
};

static void test_places(void **state)
{
	static struct block blocks[200];

	(void)state;
	open_all();
	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
		size_t len = places[i].block, align = places[i].align ? places[i].align : 8;
		unsigned n = len > 65536 ? 5 : len > 4096 ? 40 : 200;
		struct dray_pool *pool = NULL;
		int err = dray_pool_open(dev, len, places[i].align, places[i].boundary, &pool);

		if (err != places[i].err)
			print_error("block %zu, alignment %zu, boundary %zu: %d\n", len,
				    places[i].align, places[i].boundary, err);
		assert_int_equal(err, places[i].err);
		if (err) {
			assert_null(pool);
			continue;
		}
		for (unsigned k = 0; k < n; k++) {
			take(pool, &blocks[k], len);
			assert_placed(&blocks[k], len, align, places[i].boundary);
			memset(blocks[k].va, 1 + (int)k, len);
		}
		/* No byte is in two blocks. */
		for (unsigned k = 0; k < n; k++)
			for (size_t b = 0; b < len; b += len > 4096 ? 97 : 1)
				assert_int_equal(blocks[k].va[b], (unsigned char)(1 + k));
		for (unsigned k = n; k--;)
			dray_pool_free(pool, blocks[k].va, blocks[k].iova);
		dray_pool_close(pool);
		assert_int_equal(rig_stats(dom).bad_unmaps, 0);
		assert_int_equal(rig_stats(dom).leaks, 0);
		assert_int_equal(lists_live(dom), 0);
	}
	close_all();
}

/* Longer than what memory of dray's own is aligned to: without a boundary, or not at all. */
static void test_large_blocks(void **state)
{
	struct dray_pool *pool = NULL;
	struct block b[4];

	(void)state;
	open_all();
	assert_int_equal(dray_pool_open(dev, 3 << 20, 4096, 4 << 20, &pool), -EINVAL);
	assert_int_equal(dray_pool_open(dev, (2 << 20) + 1, 0, SIZE_MAX / 2 + 1, &pool), -EINVAL);
	assert_null(pool);
	assert_int_equal(dray_pool_open(dev, 3 << 20, 4096, 0, &pool), 0);
	for (unsigned i = 0; i < 4; i++) {
		take(pool, &b[i], 3 << 20);
		assert_placed(&b[i], 3 << 20, 4096, 0);
	}
	for (unsigned i = 0; i < 4; i++)
		dray_pool_free(pool, b[i].va, b[i].iova);
	dray_pool_close(pool);
	close_all();
}

#define OUT 700u

static uint64_t seed;

static uint64_t below(uint64_t n)
{
	/* xorshift64* */
	seed ^= seed >> 12;
	seed ^= seed << 25;
	seed ^= seed >> 27;
	return (seed * UINT64_C(2685821657736338717) >> 11) % n;
}

/* Is every byte of it what its owner wrote, through both addresses? */
static void assert_owned(const struct block *b, size_t len)
{
	unsigned char seen[256];

	assert_int_equal(dray_sim_read(dev, b->iova, seen, len), 0);
	for (size_t i = 0; i < len; i++) {
		assert_int_equal(b->va[i], b->mark);
		assert_int_equal(seen[i], b->mark);
	}
}

static void random_pool(size_t len, size_t align, size_t boundary)
{
	static struct block out[OUT];
	struct dray_pool *pool;
	unsigned n = 0;
	uint64_t maps;

	assert_int_equal(dray_pool_open(dev, len, align, boundary, &pool), 0);
	maps = rig_stats(dom).backend_maps;
	for (int i = 0; i < 10000; i++) {
		/* Grows, shrinks, grows: by turns more of one than of the other. */
		bool more = below(16) < ((i >> 11) & 1 ? 5u : 11u);

		if (n < OUT && (!n || more)) {
			struct block *b = &out[n++];

			take(pool, b, len);
			assert_placed(b, len, align ? align : 8, boundary);
			b->mark = (unsigned char)(1 + below(255));
			memset(b->va, b->mark, len);
		} else {
			unsigned k = (unsigned)below(n);

			assert_owned(&out[k], len);
			dray_pool_free(pool, out[k].va, out[k].iova);
			out[k] = out[--n];
		}
	}
	for (unsigned k = 0; k < n; k++) {
		assert_owned(&out[k], len);
		dray_pool_free(pool, out[k].va, out[k].iova);
	}
	/* Few calls: memory is kept, and as much as was out at once at most. */
	assert_true(rig_stats(dom).backend_maps - maps <= OUT / 16 + 1);
	dray_pool_close(pool);
	assert_int_equal(rig_stats(dom).bad_unmaps, 0);
	assert_int_equal(rig_stats(dom).leaks, 0);
}

static void test_random(void **state)
{
	const char *given = getenv("DRAY_SEED");

	(void)state;
	seed = given ? strtoull(given, NULL, 0) : 0x9001;
	print_message("DRAY_SEED=0x%llx\n", (unsigned long long)seed);
	open_all();
	random_pool(64, 64, 4096);
	random_pool(100, 0, 256);
	random_pool(1, 1, 0);
	random_pool(200, 8, 0);
	close_all();
}

static void test_wrong_frees(void **state)
{
	struct dray_pool *pool, *other;
	struct block b[3], in_other;

	(void)state;
	open_all();
	assert_int_equal(dray_pool_open(dev, 100, 0, 256, &pool), 0);
	assert_int_equal(dray_pool_open(dev, 100, 0, 256, &other), 0);
	for (unsigned i = 0; i < 3; i++)
		take(pool, &b[i], 100);
	take(other, &in_other, 100);
	dray_pool_free(pool, b[0].va + 1, b[0].iova + 1);
	dray_pool_free(pool, b[0].va, b[0].iova + 8);
	dray_pool_free(pool, b[0].va, b[1].iova);
	dray_pool_free(pool, in_other.va, in_other.iova);
	dray_pool_free(pool, rig_memory, b[0].iova);
	assert_int_equal(rig_stats(dom).bad_unmaps, 5);
	/* Between the last block and the boundary, and blocks nobody has. */
	dray_pool_free(pool, b[0].va + 208, b[0].iova + 208);
	dray_pool_free(pool, b[0].va + 4096 - 256, b[0].iova + 4096 - 256);
	assert_int_equal(rig_stats(dom).bad_unmaps, 7);
	assert_non_null(strstr(dray_errmsg(), "not a block"));
	/* Every one is still out. */
	for (unsigned i = 0; i < 3; i++)
		dray_pool_free(pool, b[i].va, b[i].iova);
	assert_int_equal(rig_stats(dom).bad_unmaps, 7);
	dray_pool_free(pool, b[1].va, b[1].iova);
	assert_int_equal(rig_stats(dom).bad_unmaps, 8);
	dray_pool_free(pool, NULL, 0);
	dray_pool_free(NULL, b[1].va, b[1].iova);
	assert_null(dray_pool_alloc(NULL, &b[0].iova));
	assert_null(dray_pool_alloc(pool, NULL));
	assert_int_equal(rig_stats(dom).bad_unmaps, 8);
	dray_pool_free(other, in_other.va, in_other.iova);
	dray_pool_close(pool);
	dray_pool_close(other);
	dray_pool_close(NULL);
	close_all();
}

/* Blocks that are out when it closes are counted and spoken of; the memory is unmapped too. */
static void test_leaks(void **state)
{
	struct dray_pool *pool;
	struct block b[40];

	(void)state;
	open_all();
	assert_int_equal(dray_pool_open(dev, 512, 0, 0, &pool), 0);
	for (unsigned i = 0; i < 40; i++)
		take(pool, &b[i], 512);
	dray_pool_free(pool, b[7].va, b[7].iova);
	dray_pool_close(pool);
	assert_int_equal(rig_stats(dom).leaks, 39);
	assert_non_null(strstr(rig_log, "39 blocks"));
	assert_int_equal(lists_live(dom), 0);
	close_all();
}

/* A pool keeps its device, and that its domain. */
static void test_holds(void **state)
{
	struct dray_pool *pool;
	struct block b;

	(void)state;
	open_all();
	assert_int_equal(dray_pool_open(dev, 64, 0, 0, &pool), 0);
	take(pool, &b, 64);
	dray_device_close(dev);
	dray_domain_close(dom);
	assert_false(rig_is_gone(dom));
	assert_ptr_equal(dray_iova_to_va(dom, b.iova), b.va);
	memset(b.va, 1, 64);
	dray_pool_free(pool, b.va, b.iova);
	dray_pool_close(pool);
	assert_true(rig_is_gone(dom));
}

/* What it leaks is told to the domain it leaks in, which only its blocks may still hold. */
static void test_leaks_where_it_was(void **state)
{
	struct dray_domain *next = rig_open();
	struct dray_pool *pool;
	struct block b;

	(void)state;
	open_all();
	assert_int_equal(dray_pool_open(dev, 512, 0, 0, &pool), 0);
	take(pool, &b, 512);
	assert_int_equal(dray_device_set_domain(dev, next), 0);
	dray_domain_close(dom);
	assert_false(rig_is_gone(dom));
	dray_pool_close(pool);
	assert_non_null(strstr(rig_log, "1 blocks"));
	assert_true(rig_is_gone(dom));
	assert_int_equal(rig_stats(next).leaks, 0);
	dray_device_close(dev);
	dray_domain_close(next);
	assert_true(rig_is_gone(next));
}

/* A device with short segments or close boundaries can have small blocks. */
static void test_device_limits(void **state)
{
	static const struct dray_device_opts limits[] = {
		{ .size = sizeof(limits[0]), .dma_mask = 0xffffff },
		{ .size = sizeof(limits[0]), .min_align = 8192 },
		{ .size = sizeof(limits[0]), .segment_boundary_mask = 0xfff },
		{ .size = sizeof(limits[0]), .segment_boundary_mask = 0xffff },
		{ .size = sizeof(limits[0]), .max_segment = 4096 },
		{ .size = sizeof(limits[0]), .flags = DRAY_DEVICE_UNTRUSTED },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(limits) / sizeof(limits[0]); i++) {
		struct dray_pool *pool;
		struct block b[30];

		dom = rig_open();
		dev = lists_plug(dom, "sim1", &limits[i]);
		assert_int_equal(dray_pool_open(dev, 512, 512, 0, &pool), 0);
		for (unsigned k = 0; k < 30; k++) {
			take(pool, &b[k], 512);
			assert_placed(&b[k], 512, 512,
				      (size_t)limits[i].segment_boundary_mask + 1 > 1 ?
				      (size_t)limits[i].segment_boundary_mask + 1 : 0);
			if (limits[i].dma_mask)
				assert_true(b[k].iova + 511 <= limits[i].dma_mask);
		}
		for (unsigned k = 0; k < 30; k++)
			dray_pool_free(pool, b[k].va, b[k].iova);
		dray_pool_close(pool);
		close_all();
	}
}

static void test_no_memory(void **state)
{
	struct dray_device_opts narrow = { .size = sizeof(narrow), .dma_mask = 0x3fff };
	struct dray_pool *pool = NULL, *full;
	struct block b;
	unsigned n = 0;

	(void)state;
	dom = rig_open();
	dev = lists_plug(dom, "sim1", &narrow);
	rig_fail_alloc = 1;
	assert_int_equal(dray_pool_open(dev, 64, 0, 0, &pool), -ENOMEM);
	assert_null(pool);
	/* Three granules below the mask, and no more. */
	assert_int_equal(dray_pool_open(dev, 64, 0, 0, &full), 0);
	while ((b.va = dray_pool_alloc(full, &b.iova)))
		n++;
	assert_int_equal(n, 3 * 64);
	assert_true(strlen(dray_errmsg()) > 10);
	dray_pool_close(full);
	assert_int_equal(rig_stats(dom).leaks, n);
	close_all();
}

struct user {
	struct dray_pool *pool;
	unsigned char mark;
};

static void *use(void *arg)
{
	struct user *u = arg;
	struct block out[40] = { 0 };

	for (unsigned i = 0; i < 4000; i++) {
		struct block *b = &out[(i * 7) % 40];

		if (b->va) {
			for (unsigned k = 0; k < 48; k++)
				if (b->va[k] != u->mark)
					abort();
			dray_pool_free(u->pool, b->va, b->iova);
			b->va = NULL;
			continue;
		}
		b->va = dray_pool_alloc(u->pool, &b->iova);
		if (!b->va)
			abort();
		for (unsigned k = 0; k < 48; k++)
			if (b->va[k])
				abort();
		memset(b->va, u->mark, 48);
	}
	for (unsigned i = 0; i < 40; i++)
		dray_pool_free(u->pool, out[i].va, out[i].iova);
	return NULL;
}

static void test_threads(void **state)
{
	struct user users[3];
	pthread_t threads[3];
	struct dray_pool *pool;

	(void)state;
	open_all();
	assert_int_equal(dray_pool_open(dev, 48, 16, 128, &pool), 0);
	for (unsigned i = 0; i < 3; i++) {
		users[i] = (struct user){ pool, (unsigned char)(0x11 * (i + 1)) };
		assert_int_equal(pthread_create(&threads[i], NULL, use, &users[i]), 0);
	}
	for (unsigned i = 0; i < 3; i++)
		pthread_join(threads[i], NULL);
	dray_pool_close(pool);
	assert_int_equal(rig_stats(dom).bad_unmaps, 0);
	assert_int_equal(rig_stats(dom).leaks, 0);
	close_all();
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, lists_setup, lists_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_places),
		TEST(test_large_blocks),
		TEST(test_random),
		TEST(test_wrong_frees),
		TEST(test_leaks),
		TEST(test_holds),
		TEST(test_leaks_where_it_was),
		TEST(test_device_limits),
		TEST(test_no_memory),
		/* Threads allocate and free in these, and the counts above are plain. */
		cmocka_unit_test(test_threads),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
