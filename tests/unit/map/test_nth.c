// SPDX-License-Identifier: BSD-2-Clause
/*
 * Fail the nth allocation, mmap() or map of the backend, for every n until none is left to fail,
 * under each call that makes several things: it fails with a reason or does without, what it leaves
 * is what was there before, and then it works. And once more with a backend that will not take back
 * what was done so far: then that is quarantined, and nothing else.
 */
#include "lists.h"

#include "backend/sim/sim.h"
#include "iova/space.h"

#define PAGE(i) (rig_memory + (size_t)(i) * KB4)

/* What a call under test has to work with, and what it makes. */
struct scene {
	struct dray_domain *dom;
	struct dray_device *dev;
	struct dray_region *region; /* pages 0 to 3; NULL: an untrusted device is in */
	struct dray_link *link;
	struct dray_pool *pool;
	struct dray_sg sg[7];
	struct dray_mapping m;
	void *va;
	dray_iova_t iova;
	int segments;
};

struct call {
	const char *name;
	uint32_t invalidation;
	struct dray_device_opts limits;
	void (*prepare)(struct scene *s);
	int (*run)(struct scene *s);
	void (*check)(struct scene *s);
	void (*undo)(struct scene *s);
	void (*unprepare)(struct scene *s);
	unsigned least[3]; /* how many n must be fatal at least, or the test tests nothing */
};

enum kind { ALLOC, MMAP, BACKEND, KINDS };

/* --- the calls --- */

static void make_list(struct scene *s)
{
	s->sg[0] = lists_element(PAGE(40), KB4);
	s->sg[1] = lists_element(PAGE(1) + 16, 2 * KB4);
	s->sg[2] = lists_element(PAGE(50) + 3, 3000);
	s->sg[3] = lists_element(PAGE(44), KB4);
	s->sg[4] = lists_element(PAGE(8), 9 * KB4);
	s->sg[5] = lists_element(PAGE(2) + 64, 100);
	s->sg[6] = lists_element(PAGE(30), KB4 + 16);
}

static int run_sg(struct scene *s)
{
	make_list(s);
	s->segments = dray_map_sg(s->dev, s->sg, 7, DRAY_BIDIRECTIONAL, 0);
	return s->segments < 0 ? s->segments : 0;
}

static void check_sg(struct scene *s)
{
	lists_assert_reads(s->dev, s->sg, 7, s->segments);
}

static void undo_sg(struct scene *s)
{
	dray_unmap_sg(s->dev, s->sg, 7);
}

static void open_link(struct scene *s)
{
	assert_int_equal(dray_link_open(s->dev, 12 * KB4, 0, &s->link), 0);
	assert_int_equal(dray_link_add(s->link, 0, PAGE(20), KB4, DRAY_BIDIRECTIONAL), 0);
}

static int run_add(struct scene *s)
{
	return dray_link_add(s->link, 2 * KB4 + 7, PAGE(40) + 7, 6 * KB4, DRAY_BIDIRECTIONAL);
}

static void check_add(struct scene *s)
{
	static char seen[6 * KB4];
	dray_iova_t at = dray_link_iova(s->link) + 2 * KB4 + 7;

	assert_int_equal(dr_sim_dma_read(s->dev->bd, at, seen, sizeof(seen)), 0);
	assert_memory_equal(seen, PAGE(40) + 7, sizeof(seen));
}

static void undo_add(struct scene *s)
{
	dray_link_remove(s->link, 2 * KB4, 8 * KB4);
}

static void close_link(struct scene *s)
{
	dray_link_close(s->link);
	s->link = NULL;
}

static int run_link_open(struct scene *s)
{
	return dray_link_open(s->dev, 12 * KB4, 0, &s->link);
}

static void check_nothing(struct scene *s)
{
	(void)s;
}

static void open_pool(struct scene *s)
{
	assert_int_equal(dray_pool_open(s->dev, 256, 256, 4096, &s->pool), 0);
}

/* More than one slab, and more than the array of slabs holds at first. */
static void use_pool(struct scene *s)
{
	dray_iova_t iova;

	open_pool(s);
	for (unsigned i = 0; i < 4 * 16; i++)
		assert_non_null(dray_pool_alloc(s->pool, &iova));
}

static int run_pool_alloc(struct scene *s)
{
	s->va = dray_pool_alloc(s->pool, &s->iova);
	return s->va ? 0 : -ENOMEM;
}

static void check_block(struct scene *s)
{
	char seen[256];

	memset(s->va, 0x5a, 256);
	assert_int_equal(dr_sim_dma_read(s->dev->bd, s->iova, seen, 256), 0);
	assert_memory_equal(seen, s->va, 256);
}

static void undo_pool_alloc(struct scene *s)
{
	dray_pool_free(s->pool, s->va, s->iova);
	s->va = NULL;
}

static void close_pool(struct scene *s)
{
	dray_pool_close(s->pool);
	s->pool = NULL;
}

static int run_coherent(struct scene *s)
{
	return dray_coherent_alloc(s->dev, 5 * KB4, 0, &s->va, &s->m);
}

static void check_coherent(struct scene *s)
{
	char seen[16];

	memset(s->va, 0x5a, 16);
	assert_int_equal(dr_sim_dma_read(s->dev->bd, s->m.iova, seen, 16), 0);
	assert_memory_equal(seen, s->va, 16);
}

static void undo_coherent(struct scene *s)
{
	dray_coherent_free(s->dev, s->va, &s->m);
	s->va = NULL;
}

static int run_odd_map(struct scene *s)
{
	return dray_map(s->dev, PAGE(40) + 13, 3 * KB4, DRAY_BIDIRECTIONAL, 0, &s->m);
}

static void check_odd_map(struct scene *s)
{
	static char seen[3 * KB4];

	assert_int_equal(dr_sim_dma_read(s->dev->bd, s->m.iova, seen, sizeof(seen)), 0);
	assert_memory_equal(seen, PAGE(40) + 13, sizeof(seen));
}

static void undo_map(struct scene *s)
{
	dray_unmap(s->dev, &s->m);
}

#define LIMITS(...) { .size = sizeof(struct dray_device_opts), __VA_ARGS__ }

static const struct call calls[] = {
	{ "map_sg", DRAY_STRICT, LIMITS(.min_align = 16, .segment_boundary_mask = 0xffff),
	  .run = run_sg, .check = check_sg, .undo = undo_sg, .least = { 0, 0, 4 } },
	{ "map_sg, lazy", DRAY_LAZY, LIMITS(.min_align = 16), .run = run_sg, .check = check_sg,
	  .undo = undo_sg, .least = { 0, 0, 4 } },
	{ "map_sg, untrusted", DRAY_STRICT, LIMITS(.flags = DRAY_DEVICE_UNTRUSTED), .run = run_sg,
	  .check = check_sg, .undo = undo_sg, .least = { 0, 0, 4 } },
	{ "link_open", DRAY_STRICT, LIMITS(.flags = 0), .run = run_link_open,
	  .check = check_nothing, .undo = close_link, .least = { 1, 0, 0 } },
	{ "link_add", DRAY_STRICT, LIMITS(.flags = 0), .prepare = open_link, .run = run_add,
	  .check = check_add, .undo = undo_add, .unprepare = close_link, .least = { 1, 0, 1 } },
	{ "link_add, untrusted", DRAY_STRICT, LIMITS(.flags = DRAY_DEVICE_UNTRUSTED),
	  .prepare = open_link, .run = run_add, .check = check_add, .undo = undo_add,
	  .unprepare = close_link, .least = { 1, 2, 3 } },
	{ "pool_alloc", DRAY_STRICT, LIMITS(.flags = 0), .prepare = open_pool,
	  .run = run_pool_alloc, .check = check_block, .undo = undo_pool_alloc,
	  .unprepare = close_pool, .least = { 2, 1, 1 } },
	{ "pool_alloc, growing", DRAY_LAZY, LIMITS(.flags = 0), .prepare = use_pool,
	  .run = run_pool_alloc, .check = check_block, .undo = undo_pool_alloc,
	  .unprepare = close_pool, .least = { 2, 1, 1 } },
	{ "coherent_alloc", DRAY_STRICT, LIMITS(.flags = 0), .run = run_coherent,
	  .check = check_coherent, .undo = undo_coherent, .least = { 1, 1, 1 } },
	{ "map, copied", DRAY_STRICT, LIMITS(.min_align = 16), .run = run_odd_map,
	  .check = check_odd_map, .undo = undo_map, .least = { 0, 0, 0 } },
	{ "map, untrusted", DRAY_STRICT, LIMITS(.flags = DRAY_DEVICE_UNTRUSTED),
	  .run = run_odd_map, .check = check_odd_map, .undo = undo_map, .least = { 1, 0, 1 } },
};

/* --- before and after --- */

struct view {
	uint64_t live_bytes, mapped_bytes, in_use, maps, unmaps, partial, receipts, quarantined;
	uint64_t leaks, bad;
};

static struct view look(const struct scene *s)
{
	const struct dr_counters *c = &s->dom->io.counters;
	struct dray_stats stats = rig_stats(s->dom);
	struct dr_iova_counts counts;

	dr_iova_counts(s->dom->io.space, &counts);
	assert_true(dr_iova_space_is_valid(s->dom->io.space));
	assert_true(dr_pgtable_is_valid(s->dom->io.pt));
	return (struct view){
		/* A pool that was added may stay: it is no mapping of the caller's. */
		.live_bytes = counts.live_bytes - stats.bounce_mapped_bytes,
		.mapped_bytes = rig_info(s->dom).mapped_bytes - stats.bounce_mapped_bytes,
		.in_use = stats.bounce_used_bytes,
		.maps = stats.maps, .unmaps = stats.unmaps,
		.partial = dr_counters_sum(c, DR_PARTIAL_BEGUN) -
			   dr_counters_sum(c, DR_PARTIAL_ENDED),
		.receipts = dr_counters_sum(c, DR_BEGUN) - dr_counters_sum(c, DR_ENDED),
		.quarantined = counts.quarantined_bytes,
		.leaks = stats.leaks, .bad = stats.bad_unmaps,
	};
}

static void assert_same(const struct view *now, const struct view *was, const char *what,
			unsigned kind, unsigned n)
{
	const uint64_t *a = (const uint64_t *)now, *b = (const uint64_t *)was;

	for (size_t i = 0; i < sizeof(*now) / sizeof(*a); i++) {
		if (a[i] == b[i])
			continue;
		print_error("%s, kind %u, call %u: field %zu is %llu, was %llu\n", what, kind, n, i,
			    (unsigned long long)a[i], (unsigned long long)b[i]);
		fail();
	}
}

static void scene_open(struct scene *s, const struct call *c)
{
	struct dray_domain_opts opts = rig_opts();

	*s = (struct scene){ .segments = 0 };
	lists_fill(rig_memory, sizeof(rig_memory), 3);
	opts.invalidation = c->invalidation;
	opts.flags = DRAY_DOMAIN_POLLED;
	assert_int_equal(dray_domain_open(&opts, &s->dom), 0);
	lists_watch(s->dom);
	s->dev = lists_plug(s->dom, "sim1", &c->limits);
	if (!(c->limits.flags & DRAY_DEVICE_UNTRUSTED))
		assert_int_equal(dray_region_register(s->dom, PAGE(0), 4 * KB4, 0, &s->region), 0);
	if (c->prepare)
		c->prepare(s);
}

static void scene_close(struct scene *s, const struct call *c)
{
	if (c->unprepare)
		c->unprepare(s);
	if (s->region)
		assert_int_equal(dray_region_unregister(s->region), 0);
	lists_unwatch(s->dom);
	dray_device_close(s->dev);
	dray_domain_close(s->dom);
	assert_true(rig_is_gone(s->dom));
}

static unsigned *countdown(enum kind kind)
{
	return kind == ALLOC ? &rig_fail_alloc : kind == MMAP ? &lists_fail_mmap : &lists_fail_map;
}

/* A scene of its own for each n. True: there was no nth call. */
static bool fail_one(const struct call *c, enum kind kind, unsigned n, bool *ret_failed)
{
	long blocks = rig_blocks, held = lists_held;
	static char memory[sizeof(rig_memory)];
	struct view was, now;
	struct scene s;
	bool fired;
	int err;

	scene_open(&s, c);
	memcpy(memory, rig_memory, sizeof(memory));
	was = look(&s);
	/* No want of anything, which a lazy domain would look for a second time. */
	lists_map_error = -EIO;
	*countdown(kind) = n;
	err = c->run(&s);
	fired = !*countdown(kind);
	*countdown(kind) = 0;
	*ret_failed = err != 0;
	if (err) {
		assert_true(fired);
		assert_true(err < 0 && err > -133);
		assert_true(strlen(dray_errmsg()) > 10);
		now = look(&s);
		assert_same(&now, &was, c->name, kind, n);
		assert_memory_equal(memory, rig_memory, sizeof(memory));
		for (unsigned i = 0; i < 7; i++)
			assert_true(!s.sg[i].cookie[0] && !s.sg[i].cookie[1]);
		assert_int_equal(c->run(&s), 0);
	}
	c->check(&s);
	c->undo(&s);
	now = look(&s);
	was.maps = now.maps;
	was.unmaps = now.unmaps;
	/* A pool's slab stays until the pool is closed. */
	if (s.pool)
		was = now;
	if (c->invalidation == DRAY_STRICT && !s.pool)
		assert_same(&now, &was, c->name, kind, n);
	scene_close(&s, c);
	if (rig_blocks != blocks || lists_held != held)
		print_error("%s, kind %u, call %u: %ld blocks, %ld bytes more\n", c->name, kind, n,
			    rig_blocks - blocks, lists_held - held);
	assert_int_equal(rig_blocks, blocks);
	assert_int_equal(lists_held, held);
	return !fired;
}

static void test_nth(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++)
		for (enum kind kind = ALLOC; kind < KINDS; kind++) {
			unsigned n = 1, failed = 0;
			bool hurt;

			while (!fail_one(&calls[i], kind, n, &hurt)) {
				failed += hurt;
				n++;
			}
			print_message("%s: %u %s, %u of them fatal\n", calls[i].name, n - 1,
				      kind == ALLOC ? "allocations" : kind == MMAP ? "mmaps" :
				      "maps", failed);
			assert_true(failed >= calls[i].least[kind]);
		}
}

/* The nth map fails and the first unmap of what was done before as well. */
static void test_nth_and_stuck(void **state)
{
	unsigned stuck = 0;

	(void)state;
	for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++) {
		const struct call *c = &calls[i];
		bool fired = true;

		for (unsigned n = 1; fired; n++) {
			long blocks = rig_blocks;
			struct view was, now;
			struct scene s;
			int err;

			scene_open(&s, c);
			was = look(&s);
			lists_map_error = -EIO;
			lists_fail_map = n;
			lists_fail_unmap = 1;
			err = c->run(&s);
			fired = !lists_fail_map;
			lists_fail_map = lists_fail_unmap = 0;
			now = look(&s);
			if (err && rig_info(s.dom).damaged) {
				stuck++;
				assert_true(now.quarantined > was.quarantined || s.link);
				assert_int_equal(now.in_use, was.in_use);
				assert_int_equal(now.partial, was.partial);
				assert_int_equal(now.receipts, was.receipts);
			} else if (err) {
				assert_same(&now, &was, c->name, BACKEND, n);
			}
			/* The place in a window is gone; anything else works. */
			if (err && !s.link) {
				assert_int_equal(c->run(&s), 0);
				err = 0;
			}
			if (!err) {
				c->check(&s);
				c->undo(&s);
			}
			scene_close(&s, c);
			assert_int_equal(rig_blocks, blocks);
		}
	}
	print_message("%u times something was stuck\n", stuck);
	assert_true(stuck >= 6);
	/* Memory that a device may still write to stays. */
	lists_held = 0;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, lists_setup, lists_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_nth),
		TEST(test_nth_and_stuck),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
