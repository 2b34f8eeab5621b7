// SPDX-License-Identifier: BSD-2-Clause
/*
 * Mappers, finders and whoever grows, trims, seals and allows pools, all at once. Each thread's
 * slots hold its own pattern all the time; ThreadSanitizer looks on.
 */
#include "rig.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#define MAPPERS 3u
#define ROUNDS  1500u
#define TURNS   400u
#define HELD    24u

static struct rig *r;
static atomic_bool stop;
static atomic_uint wrong, turns;
static atomic_ullong shown; /* an IOVA that was live a moment ago */

static uint64_t next(uint64_t *seed)
{
	*seed = *seed * UINT64_C(6364136223846793005) + 1442695040888963407u;
	return *seed >> 33;
}

static void check(bool right)
{
	if (!right)
		atomic_fetch_add(&wrong, 1);
}

struct held {
	char *va;
	size_t len;
	dray_iova_t iova;
	uint64_t handle;
	unsigned char pattern;
};

static bool is_all(const char *p, size_t len, unsigned char c)
{
	for (size_t i = 0; i < len; i++)
		if ((unsigned char)p[i] != c)
			return false;
	return true;
}

/* What a device would read: straight from the pool, as the table says. */
static void check_slot(const struct held *h)
{
	const char *at = dr_pgtable_va(r->io.pt, h->iova);
	uint64_t found;
	size_t off;

	check(at && is_all(at, h->len, h->pattern));
	check(dr_bounce_find(r->b, h->iova + h->len / 2, 1, &found, &off) && found == h->handle &&
	      off == h->len / 2);
}

static void *mapper(void *arg)
{
	uint64_t seed = (uintptr_t)arg + 1;
	struct held held[HELD] = { { 0 } };

	/* Until everything else has had its turns as well. */
	for (unsigned i = 0; i < ROUNDS || atomic_load(&turns) < TURNS; i++) {
		struct held *h = &held[next(&seed) % HELD];

		if (h->va) {
			check_slot(h);
			memset(h->va, 0, h->len);
			check(dr_bounce_unmap(r->b, h->handle, true));
			check(is_all(h->va, h->len, h->pattern));
			free(h->va);
			h->va = NULL;
		} else {
			size_t most = next(&seed) % 16 ? 9000 : 300000;
			struct dr_bounce_request q;

			h->len = 1 + next(&seed) % most;
			h->va = malloc(h->len);
			h->pattern = (unsigned char)(1 + next(&seed) % 255);
			memset(h->va, h->pattern, h->len);
			q = request(h->va, h->len, DRAY_BIDIRECTIONAL, next(&seed) % 4);
			if (!(next(&seed) % 8))
				q.min_align = (size_t)1 << next(&seed) % 17;
			if (!(next(&seed) % 8))
				q.mask = MASK32;
			if (dr_bounce_map(r->b, &q, &h->iova, &h->handle)) {
				free(h->va);
				h->va = NULL;
				continue;
			}
			check_slot(h);
			atomic_store(&shown, h->iova);
		}
	}
	for (unsigned i = 0; i < HELD; i++)
		if (held[i].va) {
			check(dr_bounce_unmap(r->b, held[i].handle, true));
			check(is_all(held[i].va, held[i].len, held[i].pattern));
			free(held[i].va);
		}
	return NULL;
}

/* Looks for what may be gone: any answer is right, none may touch what is not there. */
static void *finder(void *arg)
{
	uint64_t seed = 99;

	(void)arg;
	while (!atomic_load(&stop)) {
		uint64_t handle;
		size_t off;

		dr_bounce_find(r->b, atomic_load(&shown) + next(&seed) % 4096, 1, &handle, &off);
	}
	return NULL;
}

static void *shaker(void *arg)
{
	uint64_t seed = 7;

	(void)arg;
	while (!atomic_load(&stop)) {
		__atomic_add_fetch(&world_ns, UINT64_C(1100000000), __ATOMIC_RELAXED);
		switch (next(&seed) % 4) {
		case 0:
			if (dr_bounce_retire_idle(r->b))
				break;
			/* Nobody else allows them again. */
			for (unsigned i = 0; i < 20; i++) {
				check(!dr_bounce_is_present(r->b) && !stats_of(r).mapped_bytes);
				sched_yield();
			}
			break;
		case 1:
			dr_bounce_allow_pools(r->b);
			break;
		case 2:
			stats_of(r);
			break;
		default:
			dr_bounce_trim(r->b);
		}
		atomic_fetch_add(&turns, 1);
		sched_yield();
	}
	return NULL;
}

static void test_all_at_once(void **state)
{
	pthread_t mappers[MAPPERS], others[2];

	(void)state;
	/* A ceiling that is met now and then. */
	r = rig_open(NULL, DRAY_DOMAIN_PAGING, 6 * MB1);
	assert_int_equal(pthread_create(&others[0], NULL, finder, NULL), 0);
	assert_int_equal(pthread_create(&others[1], NULL, shaker, NULL), 0);
	for (uintptr_t i = 0; i < MAPPERS; i++)
		assert_int_equal(pthread_create(&mappers[i], NULL, mapper, (void *)i), 0);
	for (unsigned i = 0; i < MAPPERS; i++)
		pthread_join(mappers[i], NULL);
	atomic_store(&stop, true);
	pthread_join(others[0], NULL);
	pthread_join(others[1], NULL);
	assert_int_equal(wrong, 0);
	assert_true(dr_bounce_is_valid(r->b));
	assert_int_equal(stats_of(r).slots_out, 0);
	assert_int_equal(stats_of(r).used_bytes, 0);
	assert_true(stats_of(r).grows > 0);
	rig_close(r);
}

static int setup(void **state)
{
	(void)state;
	world_begin();
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	world_end();
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_all_at_once),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
