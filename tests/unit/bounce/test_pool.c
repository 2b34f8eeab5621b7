// SPDX-License-Identifier: BSD-2-Clause
/* Pools come when they are needed, stay below their ceiling, and go again. */
#include "rig.h"

#include <dray/dray.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define SECOND UINT64_C(1000000000)
#define MB2 (2 * MB1)
#define N 4096

static char *buf; /* 2 MiB */
static uint64_t handle[N];

/* Map @len until it fails; how many there are. */
static unsigned map_all(struct rig *r, struct dr_bounce_request *q)
{
	dray_iova_t iova;
	unsigned n = 0;

	while (n < N && !dr_bounce_map(r->b, q, &iova, &handle[n]))
		n++;
	return n;
}

static void unmap_all(struct rig *r, unsigned n)
{
	while (n-- > 0)
		assert_true(dr_bounce_unmap(r->b, handle[n], true));
}

static void test_nothing_before_use(void **state)
{
	struct rig *r = rig_open(NULL, DRAY_DOMAIN_PAGING, 0);
	struct dr_bounce_request q = request(buf, 100, DRAY_TO_DEVICE, true);
	struct dr_bounce_stats st = stats_of(r);
	long mapped = mapped_now;

	(void)state;
	assert_false(dr_bounce_is_present(r->b));
	assert_int_equal(st.pools + st.mapped_bytes + st.private_bytes + st.high_water_bytes, 0);
	assert_int_equal(dr_counters_sum(&r->io.counters, DR_BACKEND_MAPS), 0);
	dr_bounce_trim(r->b);
	assert_int_equal(dr_bounce_retire_idle(r->b), 0);
	/* Sealed: what comes is memory, mapped for the call, and no pool. */
	handle[0] = map_at(r, &q, &(dray_iova_t){ 0 });
	assert_false(dr_bounce_is_present(r->b));
	unmap_all(r, 1);
	dr_bounce_allow_pools(r->b);
	handle[0] = map_at(r, &q, &(dray_iova_t){ 0 });
	assert_true(dr_bounce_is_present(r->b));
	assert_true(mapped_now > mapped);
	unmap_all(r, 1);
	rig_close(r);
}

/* No backend call for a map from a pool that is there. */
static void test_no_call(void **state)
{
	struct rig *r = rig_open(NULL, DRAY_DOMAIN_PAGING, 0);
	struct dr_bounce_request q = request(buf, 4096, DRAY_BIDIRECTIONAL, true);

	(void)state;
	for (unsigned i = 0; i < 100; i++) {
		handle[0] = map_at(r, &q, &(dray_iova_t){ 0 });
		unmap_all(r, 1);
	}
	assert_int_equal(dr_counters_sum(&r->io.counters, DR_BACKEND_MAPS), 1);
	assert_int_equal(dr_counters_sum(&r->io.counters, DR_BACKEND_UNMAPS), 0);
	assert_int_equal(stats_of(r).maps, 100);
	rig_close(r);
}

/* Every byte below the ceiling can be used, none above it, and the error says so. */
static void test_ceiling(void **state)
{
	static const size_t ceilings[] = { 8 * KB, 12 * KB, 100 * KB, MB1, 3 * MB1, 5 * MB2 };

	(void)state;
	for (unsigned i = 0; i < sizeof(ceilings) / sizeof(ceilings[0]); i++)
		for (int trusted = 0; trusted < 2; trusted++) {
			struct rig *r = rig_open(NULL, DRAY_DOMAIN_PAGING, ceilings[i]);
			struct dr_bounce_request q = request(buf, 4096, DRAY_TO_DEVICE, trusted);
			size_t most = ceilings[i] / 4096;
			unsigned n = map_all(r, &q);
			struct dr_bounce_stats st = stats_of(r);

			/* Pools are cut into whole areas: a few granules may be left over. */
			assert_true(n <= most && n >= most - most / 32);
			assert_non_null(strstr(dray_errmsg(), "raise bounce_bytes"));
			assert_true(st.mapped_bytes + st.private_bytes <= ceilings[i]);
			assert_int_equal(st.failures, 1);
			assert_int_equal(st.slots_out, n);
			assert_int_equal(st.used_bytes, (uint64_t)n * 4096);
			assert_true(st.high_water_bytes >= st.used_bytes &&
				    st.high_water_bytes <= ceilings[i]);
			unmap_all(r, n);
			assert_int_equal(map_all(r, &q), n);
			unmap_all(r, n);
			rig_close(r);
		}
}

/* Memory that one kind does not use is there for the other, and for large requests. */
static void test_room_is_shared(void **state)
{
	struct rig *r = rig_open(NULL, DRAY_DOMAIN_PAGING, MB2);
	struct dr_bounce_request q = request(buf, 4096, DRAY_TO_DEVICE, true);
	unsigned n;

	(void)state;
	for (unsigned round = 0; round < 3; round++) {
		q.trusted = true;
		q.len = 4096;
		n = map_all(r, &q);
		assert_int_equal(n, 512);
		unmap_all(r, n);
		q.trusted = false;
		n = map_all(r, &q);
		assert_int_equal(n, 512);
		unmap_all(r, n);
		q.trusted = true;
		q.len = MB1;
		n = map_all(r, &q);
		assert_int_equal(n, 2);
		unmap_all(r, 1);
		/* Large areas take small requests when there is nothing else. */
		q.len = 4096;
		handle[0] = handle[1];
		handle[1] = map_at(r, &q, &(dray_iova_t){ 0 });
		unmap_all(r, 2);
	}
	assert_int_equal(stats_of(r).pools, 1);
	rig_close(r);
}

static void test_grows_and_shrinks(void **state)
{
	struct rig *r = rig_open(NULL, DRAY_DOMAIN_PAGING, 16 * MB1);
	struct dr_bounce_request q = request(buf, 8192, DRAY_TO_DEVICE, true);
	struct dr_bounce_stats st;
	uint64_t high;
	unsigned n;

	(void)state;
	n = map_all(r, &q);
	assert_int_equal(n, 16 * MB1 / 8192);
	st = stats_of(r);
	assert_int_equal(st.pools, 8);
	assert_int_equal(st.mapped_bytes, 16 * MB1);
	high = st.high_water_bytes;
	assert_int_equal(high, 16 * MB1);
	/* In use: nothing goes, however long it takes. */
	for (unsigned i = 0; i < 5; i++) {
		world_ns += SECOND;
		dr_bounce_trim(r->b);
	}
	assert_int_equal(stats_of(r).pools, 8);
	unmap_all(r, n - 1); /* the one that is left is in the last pool, handle[n - 1] */
	handle[0] = handle[n - 1];
	world_ns += SECOND / 2;
	dr_bounce_trim(r->b); /* too soon */
	assert_int_equal(stats_of(r).pools, 8);
	world_ns += SECOND;
	dr_bounce_trim(r->b);
	st = stats_of(r);
	assert_true(st.pools <= 2 && st.pools >= 1);
	assert_int_equal(st.shrinks, 8 - st.pools);
	assert_int_equal(st.slots_out, 1);
	/* What was is remembered; growing again does not add to it. */
	assert_int_equal(st.high_water_bytes, high);
	unmap_all(r, 1);
	n = map_all(r, &q);
	assert_int_equal(n, 16 * MB1 / 8192);
	assert_int_equal(stats_of(r).high_water_bytes, high);
	unmap_all(r, n);
	for (unsigned i = 0; i < 3; i++) {
		world_ns += SECOND;
		dr_bounce_trim(r->b);
	}
	assert_int_equal(stats_of(r).pools, 1);
	/* A pool that is in use now and then is not idle. */
	for (unsigned i = 0; i < 5; i++) {
		q.trusted = false;
		handle[0] = map_at(r, &q, &(dray_iova_t){ 0 });
		unmap_all(r, 1);
		world_ns += SECOND;
		dr_bounce_trim(r->b);
		assert_int_equal(stats_of(r).pools, 2);
	}
	world_ns += SECOND;
	dr_bounce_trim(r->b);
	assert_int_equal(stats_of(r).pools, 1);
	rig_close(r);
}

static void test_own(void **state)
{
	struct rig *r = rig_open(NULL, DRAY_DOMAIN_PAGING, MB2);
	struct dr_bounce_request q = request(buf, 4096, DRAY_TO_DEVICE, true);
	struct dr_bounce_pool_set *own = NULL;
	struct dr_bounce_stats st;
	dray_iova_t iova;
	uint64_t kept, none;
	unsigned n;

	(void)state;
	assert_int_equal(dr_bounce_own_open(r->b, 64 * KB, &own), 0);
	/* Nothing is mapped before its first use. */
	assert_false(dr_bounce_is_present(r->b));
	dr_bounce_stats(r->b, own, &st);
	assert_int_equal(st.mapped_bytes + st.private_bytes, 0);
	assert_int_equal(dr_bounce_max_len(r->b, own, true), 60 * KB);

	/* The others have everything that is theirs, and not a byte of it. */
	n = map_all(r, &q);
	assert_int_equal(n, 512);
	dr_bounce_stats(r->b, own, &st);
	assert_int_equal(st.slots_out, 0);
	q.own = own;
	q.mask = MASK32;
	kept = map_at(r, &q, &iova);
	unmap_all(r, n);

	/* And it has no more than its own, however much there is elsewhere. */
	n = map_all(r, &q);
	assert_int_equal(n, 15);
	dr_bounce_stats(r->b, own, &st);
	assert_int_equal(st.mapped_bytes, 64 * KB);
	assert_int_equal(st.slots_out, 16);
	assert_int_equal(st.high_water_bytes, 64 * KB);
	q.len = 61 * KB;
	assert_int_equal(dr_bounce_map(r->b, &q, &iova, &none), -EMSGSIZE);
	unmap_all(r, n);
	assert_true(dr_bounce_unmap(r->b, kept, true));

	/* It keeps its pool, idle or not. */
	for (unsigned i = 0; i < 4; i++) {
		world_ns += SECOND;
		dr_bounce_trim(r->b);
	}
	dr_bounce_stats(r->b, own, &st);
	assert_int_equal(st.pools, 1);
	dr_bounce_own_close(r->b, own);
	dr_bounce_own_close(r->b, NULL);
	assert_true(dr_bounce_is_valid(r->b));

	/* Sealed, it is memory of its own all the same. */
	assert_int_equal(dr_bounce_retire_idle(r->b), 0);
	assert_int_equal(dr_bounce_own_open(r->b, 64 * KB, &own), 0);
	assert_false(dr_bounce_is_present(r->b));
	q.own = own;
	q.len = 4096;
	n = map_all(r, &q);
	assert_int_equal(n, 16);
	unmap_all(r, n);
	dr_bounce_own_close(r->b, own);
	rig_close(r);
}

/* Sets come and go without using numbers up. */
static void test_own_again_and_again(void **state)
{
	struct rig *r = rig_open(NULL, DRAY_DOMAIN_PAGING, 0);
	struct dr_bounce_request q = request(buf, 100, DRAY_TO_DEVICE, true);
	struct dr_bounce_pool_set *own;
	dray_iova_t iova;

	(void)state;
	for (unsigned i = 0; i < 600; i++) {
		assert_int_equal(dr_bounce_own_open(r->b, (i % 40 + 1) * 8 * KB, &own), 0);
		q.own = own;
		assert_true(dr_bounce_unmap(r->b, map_at(r, &q, &iova), true));
		dr_bounce_own_close(r->b, own);
	}
	assert_int_equal(stats_of(r).pools, 0);
	rig_close(r);
}

/* --- Areas ------------------------------------------------------------------------------------ */

struct mapper {
	struct rig *r;
	pthread_barrier_t *all_out;
	char buf[4096];
	dray_iova_t iova;
};

static void *map_and_wait(void *arg)
{
	struct mapper *m = arg;
	struct dr_bounce_request q = request(m->buf, sizeof(m->buf), DRAY_TO_DEVICE, true);
	uint64_t h;

	q.keep_offset = false;
	if (dr_bounce_map(m->r->b, &q, &m->iova, &h))
		abort();
	pthread_barrier_wait(m->all_out);
	dr_bounce_unmap(m->r->b, h, true);
	return NULL;
}

/* Threads that are there at the same time begin in different areas. */
static void test_areas(void **state)
{
	struct rig *r = rig_open(NULL, DRAY_DOMAIN_PAGING, 0);
	static struct mapper m[8];
	pthread_t thread[8];
	pthread_barrier_t barrier;

	(void)state;
	pthread_barrier_init(&barrier, NULL, 8);
	for (unsigned i = 0; i < 8; i++) {
		m[i].r = r;
		m[i].all_out = &barrier;
		assert_int_equal(pthread_create(&thread[i], NULL, map_and_wait, &m[i]), 0);
	}
	for (unsigned i = 0; i < 8; i++)
		pthread_join(thread[i], NULL);
	for (unsigned i = 0; i < 8; i++)
		for (unsigned k = 0; k < i; k++)
			assert_true(m[i].iova / (256 * KB) != m[k].iova / (256 * KB));
	assert_int_equal(stats_of(r).pools, 1);
	pthread_barrier_destroy(&barrier);
	rig_close(r);
}

static int setup(void **state)
{
	(void)state;
	world_begin();
	buf = dr_hooks_system.alloc(MB2, 4096);
	return buf ? 0 : -1;
}

static int teardown(void **state)
{
	(void)state;
	world_end();
	free(buf);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_nothing_before_use), cmocka_unit_test(test_no_call),
		cmocka_unit_test(test_ceiling),            cmocka_unit_test(test_room_is_shared),
		cmocka_unit_test(test_grows_and_shrinks),  cmocka_unit_test(test_own),
		cmocka_unit_test(test_own_again_and_again), cmocka_unit_test(test_areas),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
