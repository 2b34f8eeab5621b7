// SPDX-License-Identifier: BSD-2-Clause
/*
 * Threads that map, unmap what another one mapped, flush, switch the mode, and go, while devices
 * read and write. Two rules are checked at every step, by the owners of the memory: after a flush,
 * or an unmap in a strict space, no device reaches it; and no address is reused while a device may
 * still go through its old translation, which the software IOMMU itself looks for.
 */
#include "rig.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>

#define MAPPERS  3u
#define ROUNDS   4000u
#define EXPLICIT DR_FLUSH_EXPLICIT

struct scene {
	struct rig rig;
	/* What a mapper hands to the next one to unmap. */
	_Atomic uint64_t parcel[MAPPERS];
	_Atomic bool stop;
	_Atomic unsigned wrong, running, strict_puts;
	_Atomic uint64_t hot[8]; /* addresses that devices try */
};

struct mapper {
	struct scene *scene;
	unsigned self;
};

static uint64_t step(uint64_t *rng)
{
	*rng ^= *rng << 13;
	*rng ^= *rng >> 7;
	*rng ^= *rng << 17;
	return *rng;
}

/* As an unmap call would: lazily if it may, else strictly. */
static void unmap(struct scene *s, dray_iova_t iova, size_t pages)
{
	struct rig *rig = &s->rig;
	bool live = true;

	if (dr_flush_is_lazy(rig->f)) {
		if (dr_flush_put(rig->f, iova, pages * PAGE, &live))
			return;
		if (!live) {
			atomic_fetch_add(&s->wrong, 1);
			return;
		}
		atomic_fetch_add(&s->strict_puts, 1);
	}
	if (dr_act_unmap(&rig->io, iova, pages * PAGE))
		atomic_fetch_add(&s->wrong, 1);
	dr_act_release(&rig->io, iova, pages * PAGE, false);
}

static dray_iova_t map(struct scene *s, char *va, size_t pages)
{
	const struct dr_iova_request req = {
		.len = pages * PAGE, .align = PAGE, .last = DRAY_IOVA_NONE,
	};
	dray_iova_t iova = 0;
	bool refused;

	dr_flush_ready(s->rig.f);
	while (dr_iova_take(s->rig.io.space, &req, &iova))
		dr_flush_now(s->rig.f, DR_FLUSH_PRESSURE);
	if (dr_act_map(&s->rig.io, iova, va, pages * PAGE, RW, &refused))
		atomic_fetch_add(&s->wrong, 1);
	return iova;
}

#define WORDS (PAGE / 8)

static void fill(_Atomic uint64_t *mem, uint64_t value)
{
	for (size_t i = 0; i < WORDS; i += 16)
		atomic_store_explicit(&mem[i], value, memory_order_relaxed);
}

static bool is_filled(_Atomic uint64_t *mem, uint64_t value)
{
	for (size_t i = 0; i < WORDS; i += 16)
		if (atomic_load_explicit(&mem[i], memory_order_relaxed) != value)
			return false;
	return true;
}

static void *work(void *arg)
{
	const struct mapper *m = arg;
	struct scene *s = m->scene;
	uint64_t rng = m->self + 101;
	char *mine = s->rig.mem + m->self * 64 * PAGE;

	for (unsigned i = 0; i < ROUNDS; i++) {
		size_t pages = 1 + step(&rng) % 5;
		char *va = mine + step(&rng) % 32 * PAGE;
		dray_iova_t iova = map(s, va, pages);
		uint64_t other;

		atomic_store(&s->hot[step(&rng) % 8], iova);
		if (step(&rng) % 4 == 0)
			sched_yield();
		/* Unmapped here, or by a neighbour; length in the low bits. */
		other = atomic_exchange(&s->parcel[(m->self + step(&rng) % 2) % MAPPERS],
					iova | pages);
		if (other)
			unmap(s, other & ~(uint64_t)(PAGE - 1), other & (PAGE - 1));
		if (step(&rng) % 64)
			continue;
		/* A buffer of its own: after the flush nothing writes to it. */
		_Atomic uint64_t *words = (_Atomic uint64_t *)(mine + 60 * PAGE);

		fill(words, 1);
		iova = map(s, (char *)words, 1);
		atomic_store(&s->hot[0], iova);
		for (uint64_t yields = step(&rng) % 3; yields; yields--)
			sched_yield();
		unmap(s, iova, 1);
		dr_flush_now(s->rig.f, EXPLICIT);
		fill(words, 2);
		sched_yield();
		if (!is_filled(words, 2))
			atomic_fetch_add(&s->wrong, 1);
	}
	atomic_fetch_sub(&s->running, 1);
	return NULL;
}

static void *be_device(void *arg)
{
	struct scene *s = arg;
	uint64_t rng = 7, word = 99;
	struct dray_sim_fault faults[16];

	while (!atomic_load(&s->stop)) {
		dray_iova_t iova = atomic_load(&s->hot[step(&rng) % 8]);

		if (iova && step(&rng) % 2)
			dr_sim_dma_write(s->rig.bd, iova + step(&rng) % 32 * 128, &word, 8);
		else if (iova)
			dr_sim_dma_read(s->rig.bd, iova, &word, 8);
		word = 99;
		dr_sim_take_faults(s->rig.bd, faults, 16);
	}
	return NULL;
}

static void *look_on(void *arg)
{
	struct scene *s = arg;
	struct dr_flush_stats st;

	while (!atomic_load(&s->stop)) {
		dr_flush_stats(s->rig.f, &st);
		if (st.waiting_bytes > 300 * PAGE || st.waiting_entries > 16 * 8)
			atomic_fetch_add(&s->wrong, 1);
		dr_flush_poll(s->rig.f);
		sched_yield();
	}
	return NULL;
}

static void *switch_modes(void *arg)
{
	struct scene *s = arg;
	bool lazy = false;

	while (!atomic_load(&s->stop)) {
		if (dr_flush_set_lazy(s->rig.f, lazy))
			atomic_fetch_add(&s->wrong, 1);
		/* Nothing waits from here on until it is lazy again. */
		for (unsigned i = 0; i < 20 && !lazy; i++) {
			struct dr_flush_stats st;

			dr_flush_stats(s->rig.f, &st);
			sched_yield();
		}
		for (unsigned i = 0; i < 50; i++)
			sched_yield();
		lazy = !lazy;
	}
	return NULL;
}

static void play(const struct dr_flush_opts *o)
{
	static struct scene s;
	struct mapper mappers[MAPPERS];
	pthread_t workers[MAPPERS], device, looker, switcher;
	struct dr_sim_counts counts;

	memset(&s, 0, sizeof(s));
	rig_real_time = true;
	rig_open(&s.rig, &dr_sim_ops, 0, o);
	atomic_store(&s.running, MAPPERS);
	for (unsigned i = 0; i < MAPPERS; i++) {
		mappers[i] = (struct mapper){ &s, i };
		assert_int_equal(pthread_create(&workers[i], NULL, work, &mappers[i]), 0);
	}
	assert_int_equal(pthread_create(&device, NULL, be_device, &s), 0);
	assert_int_equal(pthread_create(&looker, NULL, look_on, &s), 0);
	assert_int_equal(pthread_create(&switcher, NULL, switch_modes, &s), 0);
	for (unsigned i = 0; i < MAPPERS; i++)
		pthread_join(workers[i], NULL);
	atomic_store(&s.stop, true);
	pthread_join(device, NULL);
	pthread_join(looker, NULL);
	pthread_join(switcher, NULL);
	for (unsigned i = 0; i < MAPPERS; i++)
		if (s.parcel[i])
			unmap(&s, s.parcel[i] & ~(uint64_t)(PAGE - 1), s.parcel[i] & (PAGE - 1));
	dr_flush_now(s.rig.f, EXPLICIT);
	dr_sim_counts(s.rig.io.be, &counts);
	assert_int_equal(counts.stale_reuses, 0);
	assert_int_equal(s.wrong, 0);
	assert_true(rig_stats(&s.rig).flushed > 0);
	rig_close(&s.rig);
	assert_string_equal(s.rig.logged, "");
}

static void test_with_a_helper(void **state)
{
	const struct dr_flush_opts o = {
		.lazy = true, .entries = 16, .bytes = 300 * PAGE, .timeout_us = 400,
	};

	(void)state;
	play(&o);
}

static void test_polled(void **state)
{
	const struct dr_flush_opts o = {
		.lazy = true, .polled = true, .entries = 16, .bytes = 300 * PAGE, .timeout_us = 400,
	};

	(void)state;
	play(&o);
}

/* Few bytes for many threads: most of what waits is somebody else's. */
static void test_few_bytes(void **state)
{
	const struct dr_flush_opts o = {
		.lazy = true, .entries = 16, .bytes = 6 * PAGE, .timeout_us = 400,
	};

	(void)state;
	play(&o);
}

static void test_without_membarrier(void **state)
{
	const struct dr_flush_opts o = {
		.lazy = true, .entries = 16, .bytes = 300 * PAGE, .timeout_us = 400,
	};

	(void)state;
	rig_no_membarrier = true;
	play(&o);
}

/*
 * A flush that began before the wish is not enough. While one is under way, with its aim taken,
 * another thread puts and wants to be sure.
 */
static struct {
	struct rig rig;
	dray_iova_t late;
	pthread_t thread;
	_Atomic unsigned drains;
	_Atomic bool ready, go, sure, was_early;
} join_scene;

static void *put_and_wish(void *arg)
{
	(void)arg;
	dr_flush_ready(join_scene.rig.f);
	atomic_store(&join_scene.ready, true);
	while (!atomic_load(&join_scene.go))
		sched_yield();
	rig_put(&join_scene.rig, join_scene.late, 1);
	dr_flush_now(join_scene.rig.f, EXPLICIT);
	atomic_store(&join_scene.sure, true);
	return NULL;
}

static void draining(void *ctx)
{
	struct dr_iova_counts c;

	(void)ctx;
	if (atomic_fetch_add(&join_scene.drains, 1))
		return;
	atomic_store(&join_scene.go, true);
	/* Until it has put, or nearly so; then it waits for the lock. */
	do {
		sched_yield();
		dr_iova_counts(join_scene.rig.io.space, &c);
	} while (c.retired_bytes < 2 * PAGE);
	for (unsigned i = 0; i < 100; i++)
		sched_yield();
	atomic_store(&join_scene.was_early, atomic_load(&join_scene.sure));
}

static void test_wish_during_a_flush(void **state)
{
	static const struct dr_flush_opts o = { .lazy = true, .polled = true };
	static const struct dr_sim_seam seam = { .draining = draining };
	struct rig *rig = &join_scene.rig;
	dray_iova_t iova;

	(void)state;
	memset(&join_scene, 0, sizeof(join_scene));
	rig_open(rig, &dr_sim_ops, 0, &o);
	iova = rig_map(rig, 1);
	join_scene.late = rig_map(rig, 1);
	assert_true(rig_reaches(rig, join_scene.late));
	rig_put(rig, iova, 1);
	assert_int_equal(pthread_create(&join_scene.thread, NULL, put_and_wish, NULL), 0);
	while (!atomic_load(&join_scene.ready))
		sched_yield();
	dr_sim_set_seam(&seam);
	dr_flush_now(rig->f, EXPLICIT);
	pthread_join(join_scene.thread, NULL);
	dr_sim_set_seam(NULL);
	assert_false(join_scene.was_early);
	assert_true(join_scene.sure);
	assert_int_equal(join_scene.drains, 2);
	assert_false(rig_reaches(rig, join_scene.late));
	assert_int_equal(rig_retired(rig), 0);
	rig_close(rig);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, world_up, world_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_with_a_helper),
		TEST(test_polled),
		TEST(test_few_bytes),
		TEST(test_without_membarrier),
		TEST(test_wish_during_a_flush),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
