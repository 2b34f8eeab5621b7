// SPDX-License-Identifier: BSD-2-Clause
/*
 * Threads that register, unregister, map, unmap each other's, ask, and come and go. Usage:
 * prop-region-threads [OPS [SEED]], or DRAY_OPS and DRAY_SEED; operations are per thread. The seed
 * is printed; the interleaving is the machine's.
 *
 * The judge is the domain's mapping table: as long as a mapping is out, the IOVA it was given leads
 * to the memory it was made for. A region that went too early, an entry of a region that is gone, a
 * count in the wrong place all show as an IOVA that leads elsewhere or nowhere. Every place has an
 * address of its own when it is registered at a fixed one, so that what a plain lookup tells can
 * be judged too.
 */
#include <pthread.h>
#include <sched.h>

#include "../../unit/region/rig.h"

#define PLACES  12u
#define BOXES   16u
#define WORKERS 4u
#define APART   (4 * MB2)
#define FIXED   (UINT64_C(1) << 45) /* the space hands out the highest ones first */

static uint64_t seed = 0x5eed, ops = 60000;
static _Atomic(struct dray_region *) place[PLACES]; /* NULL: not registered, or somebody is at it */
static _Atomic uint64_t box[BOXES]; /* mappings out: 1 + index, 0 none */
static atomic_ulong stale, wrong, maps, registers, busies;

struct worker {
	pthread_t thread;
	uint64_t seed;
	unsigned number;
};

static uint64_t next_random(uint64_t *s)
{
	*s ^= *s >> 12;
	*s ^= *s << 25;
	*s ^= *s >> 27;
	return *s * UINT64_C(2685821657736338717);
}

static size_t length_of(unsigned i)
{
	return i % 3 == 0 ? MB2 : i % 3 == 1 ? 3 * KB4 : MB2 + 5 * KB4;
}

static char *address_of(unsigned i)
{
	return (char *)AT(11 * GB1 - 5 * APART) + i * APART + (i % 3 ? KB4 * i : 0);
}

static dray_iova_t fixed_at(unsigned i)
{
	return FIXED + i * APART + KB4;
}

static void check(bool right)
{
	if (!right)
		atomic_fetch_add(&wrong, 1);
}

static void register_one(unsigned i, uint64_t dice)
{
	dray_iova_t at = dice % 2 ? DRAY_IOVA_NONE : fixed_at(i);
	struct dray_region *g, *none = NULL;
	int err = add_at(at, address_of(i), length_of(i), 0, &g);

	check(!err || err == -EEXIST);
	if (err)
		return;
	atomic_fetch_add(&registers, 1);
	check(atomic_compare_exchange_strong(&place[i], &none, g));
}

static void unregister_one(unsigned i, struct dray_region *g)
{
	bool gone;
	int err;

	/* Only who takes the handle out may use it: it may be another region's a moment later. */
	if (!atomic_compare_exchange_strong(&place[i], &g, NULL))
		return;
	/* Mappings that are out may come home meanwhile, or not. */
	for (unsigned tries = 0; (err = dr_region_remove(g, &gone)) == -EBUSY; tries++) {
		atomic_fetch_add(&busies, 1);
		check(!gone);
		if (tries == 3) {
			check(!atomic_exchange(&place[i], g));
			return;
		}
		sched_yield();
	}
	check(!err && gone);
}

/* Does the IOVA lead to the memory, from its first to its last byte? */
static bool leads_to(dray_iova_t iova, const char *va, size_t len)
{
	return dr_pgtable_va(rig.io.pt, iova) == va &&
	       dr_pgtable_va(rig.io.pt, iova + len - 1) == va + len - 1;
}

static void map_one(struct worker *w, unsigned i, uint64_t dice)
{
	size_t off = dice % length_of(i), len = 1 + (dice >> 32) % (length_of(i) - off);
	const char *va = address_of(i) + off;
	dray_iova_t iova;
	uint32_t index;
	uint64_t old;

	if (!enter(va, len, DRAY_BIDIRECTIONAL, &iova, &index))
		return;
	atomic_fetch_add(&maps, 1);
	for (unsigned n = 0; n < 3; n++)
		if (!leads_to(iova, va, len))
			atomic_fetch_add(&stale, 1);
	/* Into a box, out of which whoever comes by unmaps it. */
	old = atomic_exchange(&box[next_random(&w->seed) % BOXES], (uint64_t)index + 1);
	if (old)
		leave((uint32_t)(old - 1));
}

static void unmap_one(uint64_t dice)
{
	uint64_t old = atomic_exchange(&box[dice % BOXES], 0);

	if (old)
		leave((uint32_t)(old - 1));
}

/* A plain lookup, without anything that keeps the region: an address of this place, or none. */
static void ask_one(unsigned i, uint64_t dice)
{
	size_t off = dice % length_of(i), len = length_of(i) * 2;
	dray_iova_t iova = translate(address_of(i) + off, &len);

	if (iova == DRAY_IOVA_NONE)
		return;
	check(len && len <= length_of(i) - off);
	check(iova >= FIXED + PLACES * APART || iova == fixed_at(i) + off);
	check(iova % KB4 == off % KB4);
}

static void *work(void *arg)
{
	struct worker *w = arg;

	for (uint64_t n = 0; n < ops; n++) {
		uint64_t dice = next_random(&w->seed);
		unsigned i = (unsigned)(dice >> 8) % PLACES;
		struct dray_region *g = atomic_load(&place[i]);

		switch (dice >> 60) {
		case 0:
			g ? unregister_one(i, g) : register_one(i, dice >> 16);
			break;
		case 1:
		case 2:
		case 3:
		case 4:
		case 5:
			ask_one(i, dice >> 16);
			break;
		case 6:
		case 7:
		case 8:
		case 9:
			unmap_one(dice >> 16);
			break;
		default:
			map_one(w, i, dice >> 16);
		}
	}
	return NULL;
}

/* A number and its slots go from one short life to the next. */
static void *live_shortly(void *arg)
{
	struct worker *w = arg;

	for (unsigned i = 0; i < 20; i++) {
		map_one(w, (unsigned)next_random(&w->seed) % PLACES, next_random(&w->seed));
		unmap_one(next_random(&w->seed));
	}
	return NULL;
}

static void *come_and_go(void *arg)
{
	struct worker *w = arg;
	pthread_t t;

	for (uint64_t n = 0; n < ops / 500; n++) {
		if (pthread_create(&t, NULL, live_shortly, w))
			abort();
		pthread_join(t, NULL);
	}
	return NULL;
}

static void an_iova_that_is_out_leads_home(void **state)
{
	struct worker worker[WORKERS + 1];

	(void)state;
	for (unsigned i = 0; i <= WORKERS; i++) {
		worker[i].seed = next_random(&seed) | 1;
		worker[i].number = i;
		assert_int_equal(pthread_create(&worker[i].thread, NULL,
						i < WORKERS ? work : come_and_go, &worker[i]), 0);
	}
	for (unsigned i = 0; i <= WORKERS; i++)
		pthread_join(worker[i].thread, NULL);
	for (unsigned i = 0; i < BOXES; i++)
		unmap_one(i);
	/* Every count came home: nothing keeps any region. */
	assert_int_equal(dr_regions_clear_leaks(rig.r), 0);
	for (unsigned i = 0; i < PLACES; i++) {
		struct dray_region *g = atomic_exchange(&place[i], NULL);

		if (g)
			assert_int_equal(drop(g), 0);
	}
	print_message("%lu registered, %lu kept by mappings, %lu mapped\n",
		      (unsigned long)registers, (unsigned long)busies, (unsigned long)maps);
	assert_int_equal(stale, 0);
	assert_int_equal(wrong, 0);
	assert_true(registers > PLACES && maps > ops / 20 && busies > 0);
}

static _Atomic(struct dray_region *) contested;
static pthread_barrier_t barrier;
static atomic_uint won, lost;

#define ROUNDS 300u

static void *race(void *arg)
{
	struct worker *w = arg;

	for (unsigned n = 0; n < ROUNDS; n++) {
		bool gone;
		int err;

		if (!w->number)
			atomic_store(&contested, add(AT(0), KB4));
		pthread_barrier_wait(&barrier);
		err = dr_region_remove(atomic_load(&contested), &gone);
		if (!err && gone)
			atomic_fetch_add(&won, 1);
		else if ((err == -EBUSY || err == -EINVAL) && !gone)
			atomic_fetch_add(&lost, 1);
		pthread_barrier_wait(&barrier);
	}
	return NULL;
}

static void one_of_two_unregistrations_wins(void **state)
{
	struct worker worker[2];

	(void)state;
	won = lost = 0;
	pthread_barrier_init(&barrier, NULL, 2);
	for (unsigned i = 0; i < 2; i++) {
		worker[i].number = i;
		assert_int_equal(pthread_create(&worker[i].thread, NULL, race, &worker[i]), 0);
	}
	for (unsigned i = 0; i < 2; i++)
		pthread_join(worker[i].thread, NULL);
	pthread_barrier_destroy(&barrier);
	assert_int_equal(won, ROUNDS);
	assert_int_equal(lost, ROUNDS);
	assert_int_equal(rig.unmaps, ROUNDS);
}

static int late_err;

static void *remove_contested(void *arg)
{
	bool gone;

	(void)arg;
	late_err = dr_region_remove(atomic_load(&contested), &gone);
	return NULL;
}

/* A map that has read LIVE, and counts itself only when unregistering is under way. */
static void a_late_count_is_waited_for(void **state)
{
	pthread_t remover;

	(void)state;
	dr_counts_ready(&rig.r->counts, 1000);
	for (unsigned n = 0; n < 50; n++) {
		struct dray_region *g = add(AT(0), KB4);

		atomic_store(&contested, g);
		dr_rcu_read_lock();
		assert_int_equal(pthread_create(&remover, NULL, remove_contested, NULL), 0);
		while (atomic_load(dr_region_state(rig.r, g->index)) == DR_REGION_LIVE)
			sched_yield();
		for (unsigned i = 0; i < 20; i++)
			sched_yield();
		assert_true(dr_counts_add(&rig.r->counts, g->index, 1));
		dr_rcu_read_unlock();
		pthread_join(remover, NULL);
		assert_int_equal(late_err, -EBUSY);
		leave(g->index);
		assert_int_equal(drop(g), 0);
	}
}

static void *come_and_go_at_once(void *arg)
{
	(void)arg;
	while (!atomic_load(&won))
		if (drop(add(AT(0), KB4)))
			abort();
	return NULL;
}

/* As long as the read section lasts in which an entry was found, what it says is so. */
static void an_entry_in_hand_stays_true(void **state)
{
	uint64_t seen = 0, untrue = 0;
	pthread_t other;

	(void)state;
	won = 0;
	assert_int_equal(pthread_create(&other, NULL, come_and_go_at_once, NULL), 0);
	while (seen < 3000) {
		dray_iova_t iova;

		dr_rcu_read_lock();
		iova = translate(AT(0), NULL);
		for (unsigned i = 0; iova != DRAY_IOVA_NONE && i < 3; i++)
			sched_yield();
		if (iova != DRAY_IOVA_NONE) {
			seen++;
			untrue += dr_pgtable_va(rig.io.pt, iova) != AT(0);
		}
		dr_rcu_read_unlock();
	}
	won = 1;
	pthread_join(other, NULL);
	assert_int_equal(untrue, 0);
}

/* A number from the command line or the environment, in any base; 0 is the default. */
static uint64_t setting(const char *arg, const char *name, uint64_t otherwise)
{
	const char *text = arg ? arg : getenv(name);
	uint64_t value = text ? strtoull(text, NULL, 0) : 0;

	return value ? value : otherwise;
}

int main(int argc, char **argv)
{
#define T(f) cmocka_unit_test_setup_teardown(f, rig_setup, rig_teardown)
	const struct CMUnitTest tests[] = {
		T(an_iova_that_is_out_leads_home),
		T(one_of_two_unregistrations_wins),
		T(a_late_count_is_waited_for),
		T(an_entry_in_hand_stays_true),
	};

	ops = setting(argc > 1 ? argv[1] : NULL, "DRAY_OPS", ops);
	seed = setting(argc > 2 ? argv[2] : NULL, "DRAY_SEED", seed);
	printf("prop-region-threads: %llu operations a thread, seed 0x%llx\n",
	       (unsigned long long)ops, (unsigned long long)seed);
	fflush(stdout);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
