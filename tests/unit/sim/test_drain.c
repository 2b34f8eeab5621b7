// SPDX-License-Identifier: BSD-2-Clause
/*
 * Invalidations and accesses that meet, held still at the worst moments. A device's thread stops in
 * a seam until it is let go; an invalidator's thread tells when it begins to wait.
 */
#include "rig.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <string.h>

#include "backend/sim/invq.h"

#define IOVA (UINT64_C(5) << 30)
#define MEM  (4 * KB4)
/* How long a broken drain would have to return in: it needs microseconds. */
#define YIELDS 2000

static struct space s;
static struct dr_backend_device *dev;
static unsigned char *mem;

static _Atomic bool stopped, go, draining;

static void until(_Atomic bool *flag)
{
	while (!atomic_load(flag))
		sched_yield();
}

static void give_time(void)
{
	for (int i = 0; i < YIELDS; i++)
		sched_yield();
}

/* Stops the first access that comes by. */
static void stop_once(void *ctx)
{
	(void)ctx;
	if (!atomic_exchange(&stopped, true))
		until(&go);
}

static void tell_draining(void *ctx)
{
	(void)ctx;
	atomic_store(&draining, true);
}

static const struct dr_sim_seam stop_in_copy = { .copying = stop_once, .draining = tell_draining };
static const struct dr_sim_seam stop_after_walk = {
	.walked = stop_once, .draining = tell_draining,
};

struct access {
	pthread_t thread;
	struct dr_backend_device *dev;
	size_t len;
	int err;
	unsigned char data[MEM];
};

static void *write_main(void *arg)
{
	struct access *a = arg;

	a->err = dr_sim_dma_write(a->dev, IOVA, a->data, a->len);
	return NULL;
}

/* A device writes @len bytes of 0xd0 and stops in the seam. */
static void begin_write(struct access *a, struct dr_backend_device *by, size_t len)
{
	a->dev = by;
	a->len = len;
	memset(a->data, 0xd0, sizeof(a->data));
	assert_int_equal(pthread_create(&a->thread, NULL, write_main, a), 0);
	until(&stopped);
}

struct waiter {
	pthread_t thread;
	void (*act)(void);
	bool early;   /* it returned while the access was still held */
	_Atomic bool done;
};

static void *wait_main(void *arg)
{
	struct waiter *w = arg;

	w->act();
	w->early = !atomic_load(&go);
	atomic_store(&w->done, true);
	return NULL;
}

/* Run @act beside the stopped access: it must wait for it, and take its lock meanwhile. */
static void check_waits(void (*act)(void), struct access *a)
{
	struct waiter w = { .act = act };

	assert_int_equal(pthread_create(&w.thread, NULL, wait_main, &w), 0);
	until(&draining);
	give_time();
	assert_false(atomic_load(&w.done));
	assert_true(dr_sim_queue_is_held());
	atomic_store(&go, true);
	pthread_join(w.thread, NULL);
	assert_false(w.early);
	pthread_join(a->thread, NULL);
}

static int setup(void **state)
{
	rig_setup(state);
	s = space_open(DRAY_DOMAIN_PAGING);
	dev = device_open(&s, "sim0");
	mem = memory(MEM, KB4);
	space_map(&s, IOVA, mem, MEM, RW);
	atomic_store(&stopped, false);
	atomic_store(&go, false);
	atomic_store(&draining, false);
	return 0;
}

static int teardown(void **state)
{
	dr_sim_set_seam(NULL);
	device_close(dev);
	space_close(&s);
	memory_free(mem, MEM);
	return rig_teardown(state);
}

static void unmap_all(void)
{
	size_t gone;

	s.be->ops->unmap(s.be, IOVA, MEM, &gone);
	s.be->ops->invalidate(s.be, IOVA, IOVA + MEM - 1);
	/* From here on the buffer is its owner's. */
	memset(mem, 0x0f, MEM);
}

static void check_untouched(void)
{
	for (size_t i = 0; i < MEM; i++)
		assert_int_equal(mem[i], 0x0f);
}

static void an_invalidation_waits_for_a_copy(void **state)
{
	static struct access a;

	(void)state;
	dr_sim_set_seam(&stop_in_copy);
	begin_write(&a, dev, 1000);
	assert_int_equal(mem[499], 0xd0);
	assert_int_equal(mem[500], 0);
	check_waits(unmap_all, &a);
	assert_int_equal(a.err, 0);
	check_untouched();
}

/* With the translation out of the IOTLB, too: it has been looked up, cleaning comes too late. */
static void also_for_one_that_hit_the_iotlb(void **state)
{
	static struct access a;
	struct dr_sim_counts c;
	char byte;

	(void)state;
	assert_int_equal(dr_sim_dma_read(dev, IOVA, &byte, 1), 0);
	dr_sim_set_seam(&stop_in_copy);
	begin_write(&a, dev, 1000);
	dr_sim_counts(s.be, &c);
	assert_int_equal(c.hits, 1);
	check_waits(unmap_all, &a);
	check_untouched();
}

/* It waits for a granule, not for a transfer: what follows is translated anew, and faults. */
static void a_long_transfer_ends_at_the_next_granule(void **state)
{
	static struct access a;

	(void)state;
	dr_sim_set_seam(&stop_in_copy);
	begin_write(&a, dev, MEM);
	check_waits(unmap_all, &a);
	assert_int_equal(a.err, -EFAULT);
	assert_int_equal(only_fault(dev).iova, IOVA + KB4);
	check_untouched();
}

/* A walk that found the entry before it was cleared must not leave it in the IOTLB. */
static void a_fill_does_not_overtake_an_invalidation(void **state)
{
	static struct access a;
	struct dr_sim_counts c;
	char byte;

	(void)state;
	dr_sim_set_seam(&stop_after_walk);
	begin_write(&a, dev, 100);
	check_waits(unmap_all, &a);
	assert_int_equal(a.err, 0);
	check_untouched();
	dr_sim_counts(s.be, &c);
	assert_int_equal(c.dropped_fills, 1);
	assert_int_equal(dr_sim_dma_read(dev, IOVA, &byte, 1), -EFAULT);
}

static struct space elsewhere;
static int switch_err;

static void switch_away(void)
{
	switch_err = s.be->ops->switch_to(dev, elsewhere.be);
	memset(mem, 0x0f, MEM);
}

static void a_switch_waits_for_a_copy(void **state)
{
	static struct access a;

	(void)state;
	elsewhere = space_open(DRAY_DOMAIN_BLOCKED);
	dr_sim_set_seam(&stop_in_copy);
	begin_write(&a, dev, 2 * KB4);
	check_waits(switch_away, &a);
	assert_int_equal(switch_err, 0);
	assert_int_equal(a.err, -EFAULT);
	assert_int_equal(only_fault(dev).reason, DRAY_SIM_FAULT_BLOCKED);
	check_untouched();
	assert_int_equal(s.be->ops->switch_to(dev, s.be), 0);
	space_close(&elsewhere);
}

static struct dr_backend_device *leaving;

static void close_leaving(void)
{
	device_close(leaving);
	memset(mem, 0x0f, MEM);
}

static void a_detach_waits_for_a_copy(void **state)
{
	static struct access a;

	(void)state;
	leaving = device_open(&s, "sim1");
	dr_sim_set_seam(&stop_in_copy);
	begin_write(&a, leaving, 100);
	check_waits(close_leaving, &a);
	assert_int_equal(a.err, 0);
	check_untouched();
}

/* A device that hangs in one space holds up nobody in another. Would not return if it did. */
static void other_spaces_are_not_waited_for(void **state)
{
	struct space b = space_open(DRAY_DOMAIN_PAGING);
	struct dr_backend_device *other = device_open(&b, "sim1");
	static struct access a;

	(void)state;
	dr_sim_set_seam(&stop_in_copy);
	begin_write(&a, dev, 100);
	b.be->ops->invalidate(b.be, 0, UINT64_MAX);
	assert_true(atomic_load(&draining));
	atomic_store(&go, true);
	pthread_join(a.thread, NULL);
	dr_sim_set_seam(NULL);
	device_close(other);
	space_close(&b);
}

/* Accesses that begin while an invalidation drains are not waited for: they see the new state. */
static void later_accesses_are_not_waited_for(void **state)
{
	static struct access a;
	struct waiter w = { .act = unmap_all };
	char byte;

	(void)state;
	dr_sim_set_seam(&stop_in_copy);
	begin_write(&a, dev, 100);
	assert_int_equal(pthread_create(&w.thread, NULL, wait_main, &w), 0);
	until(&draining);
	for (int i = 0; i < 100; i++) {
		assert_int_equal(dr_sim_dma_read(dev, IOVA, &byte, 1), -EFAULT);
		assert_int_equal(only_fault(dev).reason, DRAY_SIM_FAULT_NOT_PRESENT);
	}
	atomic_store(&go, true);
	pthread_join(w.thread, NULL);
	pthread_join(a.thread, NULL);
	assert_false(w.early);
}

/*
 * An access that was held up between reading the epoch and counting itself in. The drain of that
 * epoch is over, and the next one would look at the other count.
 */
static void an_access_that_enters_late_starts_over(void **state)
{
	struct dr_sim_device *d = dr_sim_device_of(dev);
	uint64_t epoch = atomic_load(&d->epoch);

	(void)state;
	s.be->ops->invalidate(s.be, 0, UINT64_MAX);
	assert_false(dr_access_enter(d, epoch));
	assert_int_equal(atomic_load(&d->active[0]) + atomic_load(&d->active[1]), 0);
	epoch = atomic_load(&d->epoch);
	assert_true(dr_access_enter(d, epoch));
	assert_int_equal(atomic_load(&d->active[epoch & 1]), 1);
	dr_access_end(d, (unsigned)epoch & 1);
	s.be->ops->invalidate(s.be, 0, UINT64_MAX);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(an_invalidation_waits_for_a_copy),
		T(also_for_one_that_hit_the_iotlb),
		T(a_long_transfer_ends_at_the_next_granule),
		T(a_fill_does_not_overtake_an_invalidation),
		T(a_switch_waits_for_a_copy),
		T(a_detach_waits_for_a_copy),
		T(other_spaces_are_not_waited_for),
		T(later_accesses_are_not_waited_for),
		T(an_access_that_enters_late_starts_over),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
