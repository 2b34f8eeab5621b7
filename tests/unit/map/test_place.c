// SPDX-License-Identifier: BSD-2-Clause
/* Where mappings go: random devices and buffers, each held against the device's limits. */
#include "../domain/rig.h"

#include "backend/sim/sim.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define LIVE 200
#define ROUNDS 20000

static uint64_t seed;

static uint64_t next_random(void)
{
	/* xorshift64* */
	seed ^= seed >> 12;
	seed ^= seed << 25;
	seed ^= seed >> 27;
	return seed * UINT64_C(2685821657736338717);
}

static uint64_t below(uint64_t n)
{
	return next_random() % n;
}

struct wanted {
	struct dray_device_opts limits;
	char *va;
	size_t len;
};

static struct dray_device_opts random_limits(void)
{
	struct dray_device_opts o = { .size = sizeof(o) };

	if (below(2))
		o.dma_mask = (UINT64_C(1) << (21 + below(43))) - 1;
	if (below(2))
		o.segment_boundary_mask = (UINT64_C(1) << (6 + below(26))) - 1;
	if (below(3) == 0)
		o.max_segment = 1 + below(4 * MB2);
	if (below(2))
		o.min_align = (size_t)1 << below(18);
	return o;
}

/* Does the buffer fit the device at all? As the header says, not as the library does. */
static int expected(const struct wanted *w)
{
	const struct dray_device_opts *o = &w->limits;
	uint64_t boundary = o->segment_boundary_mask;

	if (o->max_segment && w->len > o->max_segment)
		return -EMSGSIZE;
	if (boundary && w->len - 1 > boundary)
		return -EMSGSIZE;
	/* It would have to be copied, which the test forbids. */
	if (o->min_align && (uintptr_t)w->va % o->min_align)
		return -ENOTSUP;
	/* The offset in the granule is kept, so a small boundary cannot be dodged. */
	if (boundary && ((uintptr_t)w->va % KB4 & boundary) + w->len - 1 > boundary)
		return -EMSGSIZE;
	return 0;
}

static void assert_obeys(const struct dray_domain *dom, const struct wanted *w,
			 const struct dray_mapping *m)
{
	const struct dray_device_opts *o = &w->limits;
	uint64_t boundary = o->segment_boundary_mask, last = m->iova + w->len - 1;

	assert_int_equal(m->len, w->len);
	assert_true(m->iova >= KB4);
	assert_int_equal(m->iova % KB4, (uintptr_t)w->va % KB4);
	assert_true(last > m->iova || w->len == 1);
	assert_true(last < UINT64_C(1) << 48);
	assert_true(last < 0xfee00000 || m->iova > 0xfeefffff);
	if (o->dma_mask)
		assert_true(last <= o->dma_mask);
	if (boundary)
		assert_int_equal(m->iova & ~boundary, last & ~boundary);
	if (o->min_align)
		assert_int_equal(m->iova % o->min_align, 0);
	assert_ptr_equal(dray_iova_to_va(dom, m->iova), w->va);
	assert_ptr_equal(dray_iova_to_va(dom, last), w->va + w->len - 1);
}

static void test_random_devices_and_buffers(void **state)
{
	static struct { struct dray_mapping m; struct dray_device *dev; } live[LIVE];
	const size_t arena_len = 8 * MB2;
	char *arena = aligned_alloc(MB2, arena_len);
	struct dray_domain *dom = rig_open();
	struct dray_device *dev = NULL;
	struct wanted w = { 0 };
	unsigned done = 0, refused = 0, full = 0;

	(void)state;
	assert_non_null(arena);
	memset(arena, 1, arena_len);
	assert_int_equal(dray_sim_set_cost(dom, 0, 0, DRAY_SIM_NOCHECK), 0);
	for (int i = 0; i < ROUNDS; i++) {
		unsigned slot = (unsigned)below(LIVE);
		size_t off = below(arena_len);
		struct dray_mapping m;
		int err;

		/* Now and then another kind of device; what it left is the last one's leak. */
		if (i % 500 == 0) {
			if (dev) {
				for (unsigned s = 0; s < LIVE; s++)
					dray_unmap(dev, &live[s].m);
				dray_device_close(dev);
			}
			w.limits = random_limits();
			assert_int_equal(dray_device_open(dom, "sim1", &w.limits, &dev), 0);
		}
		if (w.limits.min_align && below(8))
			off &= ~(w.limits.min_align - 1);
		w.va = arena + off;
		w.len = 1 + below(below(4) ? 8 * KB4 : 3 * MB2);
		if (w.len > arena_len - off)
			w.len = arena_len - off;
		dray_unmap(dev, &live[slot].m);
		err = dray_map(dev, w.va, w.len, DRAY_TO_DEVICE, DRAY_MAP_NO_BOUNCE, &m);
		if (err == -ENOSPC && w.limits.dma_mask && w.limits.dma_mask < 64 * MB2) {
			full++;
			continue;
		}
		if (err != expected(&w)) {
			print_error("round %d: %s; va %% granule 0x%zx, len 0x%zx, boundary 0x%llx, "
				    "align %zu, expected %d, got %d\n", i, dray_errmsg(),
				    (size_t)((uintptr_t)w.va % KB4), w.len,
				    (unsigned long long)w.limits.segment_boundary_mask,
				    w.limits.min_align, expected(&w), err);
			fail();
		}
		if (err) {
			refused++;
			continue;
		}
		assert_obeys(dom, &w, &m);
		live[slot].m = m;
		done++;
	}
	for (unsigned s = 0; s < LIVE; s++)
		dray_unmap(dev, &live[s].m);
	assert_int_equal(rig_info(dom).mapped_bytes, 0);
	assert_int_equal(rig_stats(dom).bad_unmaps, 0);
	assert_true(dr_iova_space_is_valid(dom->io.space));
	print_message("%u mapped, %u refused, %u found no room\n", done, refused, full);
	assert_true(done > ROUNDS / 4 && refused > 0);
	dray_device_close(dev);
	dray_domain_close(dom);
	free(arena);
}

/* Large buffers are congruent where there is room for it, and come anyway where there is none. */
static void test_congruent_if_room(void **state)
{
	struct dray_domain_opts opts = rig_opts();
	char *arena = aligned_alloc(MB2, 4 * MB2);
	struct dray_domain *dom;
	struct dray_device *dev;
	struct dray_mapping m, blocker;

	(void)state;
	assert_non_null(arena);
	memset(arena, 1, 4 * MB2);
	opts.first = 4 * MB2;
	opts.last = 8 * MB2 - 1;
	assert_int_equal(dray_domain_open(&opts, &dom), 0);
	dev = rig_plug(dom, "sim1");
	m = rig_map(dev, arena + 5 * KB4, 2 * MB2);
	assert_int_equal(m.iova % MB2, 5 * KB4);
	dray_unmap(dev, &m);
	/* Room for three, but not at that offset. */
	assert_int_equal(dray_map_fixed(dev, 7 * MB2 + KB4, arena, KB4, DRAY_TO_DEVICE, 0,
					&blocker), 0);
	m = rig_map(dev, arena + 5 * KB4, 3 * MB2);
	assert_true(m.iova % MB2 != 5 * KB4);
	assert_ptr_equal(dray_iova_to_va(dom, m.iova + 2 * MB2), arena + 5 * KB4 + 2 * MB2);
	dray_unmap(dev, &m);
	dray_unmap(dev, &blocker);
	dray_device_close(dev);
	dray_domain_close(dom);
	free(arena);
}

static int print_seed(void **state)
{
	const char *given = getenv("DRAY_TEST_SEED");

	(void)state;
	seed = given ? strtoull(given, NULL, 0) : (uint64_t)time(NULL) * 2 + 1;
	print_message("DRAY_TEST_SEED=%llu\n", (unsigned long long)seed);
	return 0;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, rig_setup, rig_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_random_devices_and_buffers),
		TEST(test_congruent_if_room),
	};

	return cmocka_run_group_tests(tests, print_seed, NULL);
}
