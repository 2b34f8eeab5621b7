// SPDX-License-Identifier: BSD-2-Clause
/* An untrusted device joins while others map: never is it in together with what is exposed. */
#include "rig.h"

#include "base/rcu.h"

#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>

#define PAGE(i) (rig_memory + (size_t)(i) * KB4)

static const struct dray_device_opts untrusted = {
	.size = sizeof(untrusted), .flags = DRAY_DEVICE_UNTRUSTED,
};

static struct dray_domain *open_lazy(size_t bounce_threshold)
{
	struct dray_domain_opts opts = rig_opts();
	struct dray_domain *dom = NULL;

	opts.invalidation = DRAY_LAZY;
	opts.flags = DRAY_DOMAIN_POLLED;
	opts.bounce_threshold = bounce_threshold;
	assert_int_equal(dray_domain_open(&opts, &dom), 0);
	return dom;
}

/* A world in which one allocation of the mapping thread takes a while. */
static struct dr_hooks stalling;
static sem_t inside;
static _Thread_local int stall_at; /* the nth from now, 1 is the next; 0 none */
static atomic_bool has_stalled, has_joined, joined_meanwhile;

static void *stall_alloc(size_t len, size_t align)
{
	const struct timespec ms = { .tv_nsec = 1000000 };

	if (stall_at && !--stall_at) {
		atomic_store(&has_stalled, true);
		sem_post(&inside);
		for (int i = 0; i < 20; i++)
			nanosleep(&ms, NULL);
		atomic_store(&joined_meanwhile, atomic_load(&has_joined));
	}
	return dr_hooks_system.alloc(len, align);
}

/* A list with a registered element, whose thread has to be given a count, and one odd one. */
struct slow {
	struct dray_device *dev;
	struct dray_sg sg[2];
	struct dray_mapping m;
	bool list;
	int err, stall_at;
};

static void *map_slowly(void *arg)
{
	struct slow *s = arg;

	stall_at = s->stall_at;
	if (s->list)
		s->err = dray_map_sg(s->dev, s->sg, 2, DRAY_BIDIRECTIONAL, 0);
	else
		s->err = dray_map(s->dev, s->sg[1].va, s->sg[1].len, DRAY_BIDIRECTIONAL, 0, &s->m);
	if (stall_at)
		sem_post(&inside);
	return NULL;
}

/* What came of a device that joins while a map is in its nth allocation. */
struct outcome {
	bool stalled, let_in, waited, exposed;
};

static struct outcome join_during_map(bool list, int nth)
{
	struct dray_domain *dom = open_lazy(0);
	struct slow s = {
		.dev = rig_plug(dom, "sim1"), .list = list, .stall_at = nth,
		.sg = { { .va = PAGE(20), .len = 100 }, { .va = PAGE(0) + 1, .len = 100 } },
	};
	struct dray_device *bad = NULL;
	struct dray_region *region;
	struct outcome o = { 0 };
	pthread_t thread;
	int err;

	assert_int_equal(dray_region_register(dom, PAGE(20), KB4, DRAY_REGION_SHARE_UNTRUSTED,
					      &region), 0);
	atomic_store(&has_stalled, false);
	atomic_store(&has_joined, false);
	assert_int_equal(sem_init(&inside, 0, 0), 0);
	assert_int_equal(pthread_create(&thread, NULL, map_slowly, &s), 0);
	while (sem_wait(&inside))
		;
	err = dray_device_open(dom, "sim2", &untrusted, &bad);
	atomic_store(&has_joined, true);
	pthread_join(thread, NULL);
	sem_destroy(&inside);
	assert_true(err == 0 || err == -EBUSY);
	assert_int_equal(s.err, list ? 2 : 0);
	o.stalled = atomic_load(&has_stalled);
	o.let_in = !err;
	o.waited = o.stalled && !atomic_load(&joined_meanwhile);
	o.exposed = dray_iova_to_va(dom, list ? s.sg[1].iova : s.m.iova) == s.sg[1].va;
	if (list)
		dray_unmap_sg(s.dev, s.sg, 2);
	else
		dray_unmap(s.dev, &s.m);
	dray_device_close(bad);
	dray_device_close(s.dev);
	assert_int_equal(dray_region_unregister(region), 0);
	dray_domain_close(dom);
	assert_true(rig_is_gone(dom));
	return o;
}

static void test_join_waits_for_maps(void **state)
{
	unsigned waited = 0;

	(void)state;
	stalling = dr_hooks_system;
	stalling.alloc = stall_alloc;
	dr_hooks = &stalling;
	for (int list = 0; list < 2; list++)
		for (int nth = 1;; nth++) {
			struct outcome o = join_during_map(list, nth);

			/* Whatever it met: it is not in together with what is exposed. */
			assert_false(o.let_in && o.exposed);
			waited += o.waited;
			if (!o.stalled)
				break;
		}
	/* A map inside its read section has been met, and waited for. */
	assert_true(waited >= 2);
	dr_hooks = &dr_hooks_system;
}

static void *join(void *arg)
{
	struct dray_device *bad = NULL;
	int err = dray_device_open(arg, "sim2", &untrusted, &bad);

	dray_device_close(bad);
	atomic_store(&has_joined, true);
	return (void *)(intptr_t)err;
}

/* A map that has looked and not counted yet: what it counts then is seen. */
static void test_look_comes_after_counts(void **state)
{
	const struct timespec ms = { .tv_nsec = 1000000 };
	struct dray_domain *dom = open_lazy(0), *entered;
	struct dr_attachment *att;
	struct dray_device *dev = rig_plug(dom, "sim1");
	pthread_t thread;
	void *err;

	(void)state;
	atomic_store(&has_joined, false);
	assert_int_equal(dr_domain_enter(dev, &att), 0);
	entered = att->dom;
	assert_true(dr_domain_is_trusted(entered));
	assert_int_equal(pthread_create(&thread, NULL, join, dom), 0);
	while (dr_domain_is_trusted(entered))
		nanosleep(&ms, NULL);
	for (int i = 0; i < 10; i++)
		nanosleep(&ms, NULL);
	assert_false(atomic_load(&has_joined));
	dr_count(&entered->io.counters, DR_PARTIAL_BEGUN, 1);
	dr_rcu_read_unlock();
	pthread_join(thread, &err);
	assert_int_equal((intptr_t)err, -EBUSY);
	assert_true(dr_domain_is_trusted(dom));
	dr_count(&entered->io.counters, DR_PARTIAL_ENDED, 1);
	dr_domain_leave(entered);
	assert_int_equal((intptr_t)join(dom), 0);
	dray_device_close(dev);
	dray_domain_close(dom);
	assert_true(rig_is_gone(dom));
}

struct racer {
	struct dray_device *dev;
	atomic_bool stop;
	unsigned id;
	_Atomic uint64_t maps;
};

/* Odd buffers of its own, by every call there is; then for a while whole granules only. */
static void *map_odd(void *arg)
{
	struct racer *r = arg;
	char *mem = PAGE(r->id * 8);

	while (!atomic_load(&r->stop)) {
		unsigned odd = r->maps & 256 ? 0 : 1;
		struct dray_sg sg[2] = {
			{ .va = mem, .len = KB4 },
			{ .va = mem + 3 * KB4 + odd, .len = 2 * KB4 - odd },
		};
		size_t len = odd ? 300 : KB4;
		struct dray_mapping m;

		memset(mem + 2 * KB4 + odd, (int)(0x10 + r->id), len);
		if (dray_map(r->dev, mem + 2 * KB4 + odd, len, DRAY_BIDIRECTIONAL, 0, &m))
			abort();
		if (dray_map_sg(r->dev, sg, 2, DRAY_BIDIRECTIONAL, 0) < 1)
			abort();
		dray_unmap(r->dev, &m);
		dray_unmap_sg(r->dev, sg, 2);
		for (unsigned i = 0; i < len; i++)
			if (mem[2 * KB4 + odd + i] != (char)(0x10 + r->id))
				abort();
		r->maps++;
	}
	return NULL;
}

/*
 * Untrusted devices come, look at what they can reach, and go, while others map: whenever one is
 * in, no granule is exposed that holds more than a buffer.
 */
static void test_join_races_with_maps(void **state)
{
	struct dray_domain *dom = open_lazy(64);
	struct racer r[2] = { { .id = 0 }, { .id = 1 } };
	pthread_t threads[2];
	unsigned in = 0, out = 0;

	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		r[i].dev = rig_plug(dom, i ? "sim3" : "sim1");
		assert_int_equal(pthread_create(&threads[i], NULL, map_odd, &r[i]), 0);
	}
	while (!atomic_load(&r[0].maps) || !atomic_load(&r[1].maps))
		sched_yield();
	while (in < 40 && in + out < 4000) {
		struct dray_device *bad = NULL;
		int err = dray_device_open(dom, "sim2", &untrusted, &bad);

		if (err) {
			assert_int_equal(err, -EBUSY);
			assert_null(bad);
			out++;
			continue;
		}
		in++;
		assert_int_equal(dray_domain_invalidation(dom), DRAY_STRICT);
		assert_false(dray_bounce_present(dom));
		assert_int_equal(dr_counters_sum(&dom->io.counters, DR_PARTIAL_BEGUN),
				 dr_counters_sum(&dom->io.counters, DR_PARTIAL_ENDED));
		assert_int_equal(rig_stats(dom).waiting_entries, 0);
		dray_device_close(bad);
	}
	for (unsigned i = 0; i < 2; i++)
		atomic_store(&r[i].stop, true);
	for (unsigned i = 0; i < 2; i++) {
		pthread_join(threads[i], NULL);
		dray_device_close(r[i].dev);
	}
	print_message("%u let in, %u kept out\n", in, out);
	assert_true(in > 0);
	assert_int_equal(rig_stats(dom).bad_unmaps, 0);
	assert_int_equal(rig_stats(dom).leaks, 0);
	dray_domain_close(dom);
	assert_true(rig_is_gone(dom));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_join_waits_for_maps),
		cmocka_unit_test(test_look_comes_after_counts),
		cmocka_unit_test(test_join_races_with_maps),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
