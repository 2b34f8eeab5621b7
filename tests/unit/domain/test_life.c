// SPDX-License-Identifier: BSD-2-Clause
/* How long a domain lives: its owner, its devices, its receipts; in every order of going. */
#include "rig.h"

#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <time.h>

static void test_empty(void **state)
{
	struct dray_domain *dom = rig_open();

	(void)state;
	assert_false(rig_is_gone(dom));
	assert_true(rig_blocks > 0);
	dray_domain_close(dom);
	assert_true(rig_is_gone(dom));
	assert_int_equal(rig_blocks, 0);
}

static void test_device_holds(void **state)
{
	struct dray_domain *dom = rig_open();
	struct dray_device *a = rig_plug(dom, "sim1"), *b = rig_plug(dom, "sim2");

	(void)state;
	dray_domain_close(dom);
	assert_false(rig_is_gone(dom));
	dray_device_close(a);
	assert_false(rig_is_gone(dom));
	dray_device_close(b);
	assert_true(rig_is_gone(dom));
	assert_int_equal(rig_blocks, 0);
}

/* The device has left; receipts made through it are all that is left. */
static void test_receipt_holds(void **state)
{
	struct dray_domain *dom = rig_open(), *other = rig_open();
	struct dray_device *dev = rig_plug(dom, "sim1");
	struct dray_mapping m[3];
	long blocks;

	(void)state;
	for (int i = 0; i < 3; i++)
		m[i] = rig_map(dev, rig_memory + i * KB4, KB4);
	assert_int_equal(dray_device_set_domain(dev, other), 0);
	dray_domain_close(dom);
	blocks = rig_blocks;
	for (int i = 0; i < 3; i++) {
		assert_false(rig_is_gone(dom));
		assert_ptr_equal(dray_iova_to_va(dom, m[i].iova), rig_memory + i * KB4);
		dray_unmap(dev, &m[i]);
	}
	assert_true(rig_is_gone(dom));
	assert_true(rig_blocks < blocks);
	dray_device_close(dev);
	dray_domain_close(other);
}

/* The device that made them is closed: they are leaks, and hold nobody any more. */
static void test_leaked_receipts_do_not_hold(void **state)
{
	struct dray_domain *dom = rig_open(), *other = rig_open(), *third = rig_open();
	struct dray_device *dev = rig_plug(dom, "sim1");
	struct dray_mapping m = rig_map(dev, rig_memory, KB4), m2, m3;

	(void)state;
	assert_int_equal(dray_device_set_domain(dev, other), 0);
	m2 = rig_map(dev, rig_memory, 2 * KB4);
	assert_int_equal(dray_device_set_domain(dev, third), 0);
	m3 = rig_map(dev, rig_memory, 3 * KB4);
	dray_domain_close(dom);
	dray_domain_close(third);
	assert_false(rig_is_gone(dom));
	dray_device_close(dev);
	assert_true(rig_is_gone(dom));
	assert_true(rig_is_gone(third));
	assert_int_equal(rig_stats(other).leaks, 1);
	assert_int_equal(rig_info(other).mapped_bytes, 0);
	assert_int_equal(rig_info(other).devices, 0);
	/* Late unmaps: of a domain that is gone, and of one that is not. All are zeroed. */
	dray_unmap(dev, &m);
	dray_unmap(dev, &m2);
	dray_unmap(dev, &m3);
	assert_true(!m.cookie[0] && !m2.cookie[0] && !m3.cookie[0]);
	assert_int_equal(rig_stats(other).bad_unmaps, 1);
	dray_domain_close(other);
}

/* A receipt outlives its domain, and the object serves another one by then. */
static void test_receipt_of_an_object_reused(void **state)
{
	struct dray_domain *dom = rig_open(), *again;
	struct dray_device *dev = rig_plug(dom, "sim1");
	struct dray_mapping stale = rig_map(dev, rig_memory, KB4);

	(void)state;
	dray_device_close(dev);
	dray_domain_close(dom);
	again = rig_open();
	assert_ptr_equal(again, dom);
	dray_unmap(NULL, &stale);
	assert_int_equal(rig_stats(again).bad_unmaps, 1);
	assert_int_equal(rig_stats(again).unmaps, 0);
	assert_int_equal(stale.len, 0);
	dray_domain_close(again);
	assert_true(rig_is_gone(again));
}

static void test_explicit_does_not_hold(void **state)
{
	struct dray_domain *dom = rig_open();

	(void)state;
	assert_int_equal(dray_domain_map(dom, 0x100000, rig_memory, KB4, DRAY_PROT_READ, 0), 0);
	dray_domain_close(dom);
	assert_true(rig_is_gone(dom));
	assert_int_equal(rig_blocks, 0);
}

/* An IDENTITY domain has no table to find leaks in, but receipts hold it like any other. */
static void test_identity_receipt_holds(void **state)
{
	struct dray_domain_opts opts = rig_opts();
	struct dray_domain *dom, *other = rig_open();
	struct dray_device *dev;
	struct dray_mapping m;

	(void)state;
	opts.type = DRAY_DOMAIN_IDENTITY;
	assert_int_equal(dray_domain_open(&opts, &dom), 0);
	dev = rig_plug(dom, "sim1");
	m = rig_map(dev, rig_memory, KB4);
	assert_int_equal(dray_device_set_domain(dev, other), 0);
	dray_domain_close(dom);
	assert_false(rig_is_gone(dom));
	dray_unmap(dev, &m);
	assert_true(rig_is_gone(dom));
	dray_device_close(dev);
	dray_domain_close(other);
}

static void test_close_twice(void **state)
{
	struct dray_domain *dom = rig_open();
	struct dray_device *dev = rig_plug(dom, "sim1");

	(void)state;
	dray_domain_close(dom);
	/* Still there, and told so. */
	dray_domain_close(dom);
	assert_non_null(strstr(dray_errmsg(), "closed already"));
	assert_non_null(strstr(rig_log, "closed twice"));
	assert_false(rig_is_gone(dom));
	dray_device_close(dev);
	dray_device_close(dev);
	assert_non_null(strstr(dray_errmsg(), "closed already"));
	assert_true(rig_is_gone(dom));
	dray_domain_close(dom);
	assert_non_null(strstr(dray_errmsg(), "closed already"));
	dray_domain_close(NULL);
	dray_device_close(NULL);
}

/* A closed domain takes no new device, by open or by move, whoever still holds it. */
static void test_closed_domain_takes_nobody(void **state)
{
	struct dray_domain *dom = rig_open(), *other = rig_open();
	struct dray_device *dev = rig_plug(dom, "sim1"), *dev2 = rig_plug(other, "sim2"), *no = NULL;
	struct dray_mapping m;

	(void)state;
	dray_domain_close(dom);
	assert_int_equal(dray_device_open(dom, "sim3", NULL, &no), -EINVAL);
	assert_int_equal(dray_device_set_domain(dev2, dom), -EINVAL);
	assert_null(no);
	assert_ptr_equal(dray_device_get_domain(dev2), other);
	/* Who is in it goes on. */
	m = rig_map(dev, rig_memory, KB4);
	dray_unmap(dev, &m);
	assert_int_equal(dray_device_set_domain(dev, other), 0);
	assert_true(rig_is_gone(dom));
	assert_int_equal(dray_device_set_domain(dev, dom), -EINVAL);
	dray_device_close(dev);
	dray_device_close(dev2);
	dray_domain_close(other);
}

/* Objects are used again and again: as many as were ever open at once. */
static void test_objects_are_reused(void **state)
{
	struct dray_domain *seen = rig_open();

	(void)state;
	dray_domain_close(seen);
	for (int i = 0; i < 50; i++) {
		struct dray_domain *dom = rig_open();

		assert_ptr_equal(dom, seen);
		assert_int_equal(rig_stats(dom).maps, 0);
		dray_device_close(rig_plug(dom, "sim1"));
		assert_int_equal(rig_info(dom).damaged, 0);
		dray_domain_close(dom);
	}
}

/* A world in which the first map of a thread takes a while: it installs its counters. */
static struct dr_hooks stalling;
static sem_t inside;
static atomic_bool has_stalled, has_moved, moved_meanwhile;

static void *stall_alloc(size_t len, size_t align)
{
	const struct timespec ms = { .tv_nsec = 1000000 };

	if (len == sizeof(struct dr_counter_block) && !atomic_exchange(&has_stalled, true)) {
		sem_post(&inside);
		for (int i = 0; i < 50; i++)
			nanosleep(&ms, NULL);
		atomic_store(&moved_meanwhile, atomic_load(&has_moved));
	}
	return dr_hooks_system.alloc(len, align);
}

static struct dray_mapping slow_map;

static void *map_slowly(void *dev)
{
	return dray_map(dev, rig_memory, KB4, DRAY_BIDIRECTIONAL, 0, &slow_map) ? dev : NULL;
}

/*
 * A map has read where the device is and not counted itself yet; the device is moved away and the
 * domain closed. The move waits for it, so the domain still finds the receipt that comes.
 */
static void test_move_waits_for_maps(void **state)
{
	struct dray_domain *dom = rig_open(), *other = rig_open();
	struct dray_device *dev = rig_plug(dom, "sim1");
	pthread_t thread;
	void *failed;

	(void)state;
	stalling = dr_hooks_system;
	stalling.alloc = stall_alloc;
	dr_hooks = &stalling;
	assert_int_equal(sem_init(&inside, 0, 0), 0);
	assert_int_equal(pthread_create(&thread, NULL, map_slowly, dev), 0);
	while (sem_wait(&inside))
		;
	assert_int_equal(dray_device_set_domain(dev, other), 0);
	atomic_store(&has_moved, true);
	dray_domain_close(dom);
	assert_int_equal(pthread_join(thread, &failed), 0);
	assert_null(failed);
	assert_false(atomic_load(&moved_meanwhile));
	assert_false(rig_is_gone(dom));
	assert_ptr_equal(dray_iova_to_va(dom, slow_map.iova), rig_memory);
	dray_unmap(dev, &slow_map);
	assert_true(rig_is_gone(dom));
	dray_device_close(dev);
	dray_domain_close(other);
	sem_destroy(&inside);
	dr_hooks = &dr_hooks_system;
}

struct tail {
	struct dray_device *dev;
	struct dray_mapping m[200];
	pthread_barrier_t start;
};

static void *unmap_tail(void *arg)
{
	struct tail *t = arg;

	pthread_barrier_wait(&t->start);
	for (int i = 0; i < 100; i++)
		dray_unmap(t->dev, &t->m[i]);
	return NULL;
}

/* Owner and last receipts go at the same moment: it is torn down once, never too early, always. */
static void test_close_against_last_unmaps(void **state)
{
	struct dray_domain *home = rig_open();
	struct tail t;
	pthread_t thread;

	(void)state;
	assert_int_equal(pthread_barrier_init(&t.start, NULL, 2), 0);
	for (int round = 0; round < 300; round++) {
		struct dray_domain *dom = rig_open();

		t.dev = rig_plug(dom, "sim1");
		for (int i = 0; i < 200; i++)
			t.m[i] = rig_map(t.dev, rig_memory + i % 60 * KB4, KB4);
		assert_int_equal(dray_device_set_domain(t.dev, home), 0);
		assert_int_equal(pthread_create(&thread, NULL, unmap_tail, &t), 0);
		pthread_barrier_wait(&t.start);
		for (int i = 100; i < 200; i++)
			dray_unmap(t.dev, &t.m[i]);
		dray_domain_close(dom);
		assert_int_equal(pthread_join(thread, NULL), 0);
		assert_true(rig_is_gone(dom));
		dray_device_close(t.dev);
	}
	pthread_barrier_destroy(&t.start);
	dray_domain_close(home);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, rig_setup, rig_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_empty),
		TEST(test_device_holds),
		TEST(test_receipt_holds),
		TEST(test_leaked_receipts_do_not_hold),
		TEST(test_receipt_of_an_object_reused),
		TEST(test_explicit_does_not_hold),
		TEST(test_identity_receipt_holds),
		TEST(test_close_twice),
		TEST(test_closed_domain_takes_nobody),
		TEST(test_objects_are_reused),
		/* Threads allocate and free in these, and the counts above are plain. */
		cmocka_unit_test(test_move_waits_for_maps),
		cmocka_unit_test(test_close_against_last_unmaps),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
