// SPDX-License-Identifier: BSD-2-Clause
/*
 * Bounce pools of a device's own, as it comes, moves and goes: whatever fails on the way leaves
 * everything as it was; and copies made by two threads while it moves are right.
 */
#include "rig.h"

#include "bounce/pool.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>

#define OWN   (16 * KB4)
#define ALIGN 512u

static struct dray_device_opts own_opts(void)
{
	return (struct dray_device_opts){
		.size = sizeof(struct dray_device_opts), .bounce_bytes = OWN, .min_align = ALIGN,
	};
}

static struct dray_device *plug_own(struct dray_domain *dom, const char *name)
{
	struct dray_device_opts o = own_opts();
	struct dray_device *dev = NULL;

	assert_int_equal(dray_device_open(dom, name, &o, &dev), 0);
	return dev;
}

/* One that has to be copied. */
static struct dray_mapping copied(struct dray_device *dev, unsigned page)
{
	return rig_map(dev, rig_memory + page * KB4 + 1, 1000);
}

static void test_open_fails(void **state)
{
	struct dray_domain *dom = rig_open();
	struct dray_device_opts o = own_opts();
	struct dray_device *dev = NULL, *first = plug_own(dom, "sim0");
	unsigned failed = 0;
	long was;

	(void)state;
	/* A pool's records are kept for the next device. */
	dray_device_close(plug_own(dom, "sim1"));
	was = rig_blocks;
	for (unsigned nth = 1;; nth++) {
		rig_fail_alloc = nth;
		if (!dray_device_open(dom, "sim1", &o, &dev))
			break;
		assert_null(dev);
		assert_int_equal(rig_blocks, was);
		assert_int_equal(rig_info(dom).devices, 1);
		assert_true(dr_bounce_is_valid(dom->bounce));
		failed++;
	}
	rig_fail_alloc = 0;
	/* The record, the set and the backend's device at least. */
	assert_true(failed >= 3);
	dray_device_close(dev);
	dray_device_close(first);
	dray_domain_close(dom);
	assert_true(rig_is_gone(dom));
}

static struct dray_domain *closed_on_failure;

/* The owner closes the domain at the worst moment: while a device that will fail is on its way. */
static void *close_and_fail(size_t len, size_t align)
{
	if (rig_fail_alloc && !--rig_fail_alloc) {
		dray_domain_close(closed_on_failure);
		return NULL;
	}
	rig_allocs++;
	return dr_hooks_system.alloc(len, align);
}

static void test_closed_while_open_fails(void **state)
{
	const struct dr_hooks *counting = dr_hooks;
	struct dr_hooks closing = dr_hooks_system;
	struct dray_device_opts o = own_opts();
	bool opened = false;

	(void)state;
	closing.alloc = close_and_fail;
	for (unsigned nth = 1; !opened; nth++) {
		struct dray_device *dev = NULL;

		dr_hooks = &closing;
		closed_on_failure = rig_open();
		rig_fail_alloc = nth;
		opened = !dray_device_open(closed_on_failure, "sim1", &o, &dev);
		rig_fail_alloc = 0;
		if (opened) {
			dray_device_close(dev);
			if (atomic_load(&closed_on_failure->state) == DR_OPEN)
				dray_domain_close(closed_on_failure);
		}
		assert_true(rig_is_gone(closed_on_failure));
		dr_hooks = counting;
	}
}

static void test_move_fails(void **state)
{
	struct dray_domain *from = rig_open(), *to = rig_open();
	struct dray_device *dev = plug_own(from, "sim1");
	struct dray_mapping m = copied(dev, 0);
	unsigned nth;
	long was;

	(void)state;
	/* What ties them stays as long as both, once it is there. */
	rig_fail_alloc = 2;
	assert_int_equal(dray_device_set_domain(dev, to), -ENOMEM);
	was = rig_blocks;
	for (nth = 1;; nth++) {
		rig_fail_alloc = nth;
		if (!dray_device_set_domain(dev, to))
			break;
		rig_fail_alloc = 0;
		assert_int_equal(rig_blocks, was);
		assert_ptr_equal(dray_device_get_domain(dev), from);
		assert_int_equal(rig_info(to).devices, 0);
		assert_true(dr_bounce_is_valid(to->bounce));
		/* It still has its own where it is. */
		dray_unmap(dev, &m);
		m = copied(dev, nth % 60);
		assert_int_equal(rig_stats(from).bounce_mapped_bytes, OWN);
	}
	rig_fail_alloc = 0;
	assert_true(nth > 4);
	dray_unmap(dev, &m);
	dray_device_close(dev);
	dray_domain_close(from);
	dray_domain_close(to);
	assert_true(rig_is_gone(from) && rig_is_gone(to));
}

/* An untrusted device that may not join leaves no set behind, and finds its own when it may. */
static void test_move_is_refused(void **state)
{
	struct dray_domain *from = rig_open(), *to = rig_open();
	struct dray_device_opts o = own_opts();
	struct dray_device *there = rig_plug(to, "sim2"), *dev;
	struct dray_mapping m = rig_map(there, rig_memory + 100, 100);
	long was;

	(void)state;
	o.flags = DRAY_DEVICE_UNTRUSTED;
	assert_int_equal(dray_device_open(from, "sim1", &o, &dev), 0);
	assert_int_equal(dray_device_set_domain(dev, to), -EBUSY);
	assert_null(to->bounce->sets->next);
	was = rig_blocks;
	for (unsigned i = 0; i < 300; i++)
		assert_int_equal(dray_device_set_domain(dev, to), -EBUSY);
	assert_int_equal(rig_blocks, was);
	dray_unmap(there, &m);
	assert_int_equal(dray_device_set_domain(dev, to), 0);
	m = copied(dev, 0);
	assert_int_equal(rig_stats(to).bounce_mapped_bytes, 0);
	assert_int_equal(rig_stats(to).bounce_used_bytes, KB4);
	dray_unmap(dev, &m);
	dray_device_close(dev);
	dray_device_close(there);
	dray_domain_close(from);
	dray_domain_close(to);
}

/* Every round trip finds the set of before: nothing grows. */
static void test_there_and_back(void **state)
{
	struct dray_domain *a = rig_open(), *b = rig_open();
	struct dray_device *dev = plug_own(a, "sim1");
	struct dray_mapping m;
	long was = 0;

	(void)state;
	for (unsigned i = 0; i < 300; i++) {
		struct dray_domain *here = i % 2 ? b : a, *other = i % 2 ? a : b;

		assert_int_equal(dray_device_set_domain(dev, here), 0);
		m = copied(dev, i % 60);
		dray_unmap(dev, &m);
		assert_int_equal(rig_stats(here).bounce_mapped_bytes, OWN);
		assert_int_equal(rig_stats(other).bounce_mapped_bytes, 0);
		if (i == 3)
			was = rig_blocks;
		assert_true(i < 3 || rig_blocks == was);
	}
	dray_device_close(dev);
	dray_domain_close(a);
	dray_domain_close(b);
}

/* --- two threads map and one looks on while the device moves --- */

#define MOVES   150u
#define MAPPERS 2u
#define HELD    5u /* and so many of the other's: what OWN has room for */

static struct dray_device *moving;
static atomic_bool stop;
static atomic_uint wrong, made, looked;
static atomic_ullong shown; /* an IOVA that was a copy's a moment ago, in one of the two */

static void check(bool right)
{
	if (!right)
		atomic_fetch_add(&wrong, 1);
}

static void *mapper(void *arg)
{
	unsigned self = (unsigned)(uintptr_t)arg;
	char *mem = calloc(HELD, 3000);
	struct dray_mapping m[HELD] = { { 0 } };

	for (unsigned i = 0; !atomic_load(&stop) || i % HELD; i++) {
		unsigned k = i % HELD;
		char *va = mem + k * 3000 + 1, c = (char)(1 + self * 100 + i % 50);

		if (m[k].len) {
			memset(va, 0, 2500);
			/* What was copied in, copied out, wherever the device is by now. */
			dray_unmap(moving, &m[k]);
			check(va[0] == va[2499] && va[0]);
		}
		memset(va, c, 2500);
		check(!dray_map(moving, va, 2500, DRAY_BIDIRECTIONAL, 0, &m[k]));
		check(m[k].iova % ALIGN == 0);
		atomic_store(&shown, m[k].iova);
		atomic_fetch_add(&made, 1);
	}
	for (unsigned k = 0; k < HELD; k++)
		dray_unmap(moving, &m[k]);
	free(mem);
	return NULL;
}

/* Numbers and reasons, asked all the while, are those of one place or the other. */
static void *watcher(void *arg)
{
	struct dray_domain *const *dom = arg;
	struct dray_device_info info = { .size = sizeof(info) };

	while (!atomic_load(&stop)) {
		enum dray_bounce_reason reason =
			dray_bounce_reason_at(dom[atomic_load(&looked) % 2], atomic_load(&shown));

		check(reason == DRAY_BOUNCE_NO || reason == DRAY_BOUNCE_ALIGN);
		check(!dray_device_info(moving, &info));
		check(info.bounce_bytes == OWN && info.bounce_held_bytes <= OWN &&
		      info.bounce_used_bytes <= OWN && info.min_align == ALIGN &&
		      info.coherent && info.enforces_coherency && info.trusted);
		atomic_fetch_add(&looked, 1);
	}
	return NULL;
}

static void test_moves_under_load(void **state)
{
	struct dray_domain *dom[2] = { rig_open(), rig_open() };
	pthread_t thread[MAPPERS], watching;

	(void)state;
	moving = plug_own(dom[0], "sim1");
	atomic_store(&stop, false);
	assert_int_equal(pthread_create(&watching, NULL, watcher, dom), 0);
	for (uintptr_t i = 0; i < MAPPERS; i++)
		assert_int_equal(pthread_create(&thread[i], NULL, mapper, (void *)i), 0);
	for (unsigned i = 1; i <= MOVES; i++) {
		unsigned before = atomic_load(&made);

		assert_int_equal(dray_device_set_domain(moving, dom[i % 2]), 0);
		dray_poll(dom[0]);
		dray_poll(dom[1]);
		/* Both domains see maps. */
		while (atomic_load(&made) < before + 2 * HELD || atomic_load(&looked) < i)
			sched_yield();
	}
	atomic_store(&stop, true);
	for (unsigned i = 0; i < MAPPERS; i++)
		pthread_join(thread[i], NULL);
	pthread_join(watching, NULL);
	assert_int_equal(atomic_load(&wrong), 0);
	for (unsigned i = 0; i < 2; i++) {
		struct dray_stats s = rig_stats(dom[i]);

		assert_int_equal(s.bounce_used_bytes, 0);
		assert_int_equal(s.bounce_failures, 0);
		assert_true(s.bounce_align > MOVES / 2);
		assert_true(s.bounce_high_water_bytes <= OWN);
		assert_true(dr_bounce_is_valid(dom[i]->bounce));
	}
	dray_device_close(moving);
	dray_domain_close(dom[0]);
	dray_domain_close(dom[1]);
	assert_true(rig_is_gone(dom[0]) && rig_is_gone(dom[1]));
}

/* Without a count of memory: that one is not for threads. */
static int threads_setup(void **state)
{
	(void)state;
	dr_hooks = &dr_hooks_system;
	return 0;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, rig_setup, rig_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_open_fails),
		TEST(test_closed_while_open_fails),
		TEST(test_move_fails),
		TEST(test_move_is_refused),
		TEST(test_there_and_back),
		cmocka_unit_test_setup(test_moves_under_load, threads_setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
