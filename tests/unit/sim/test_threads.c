// SPDX-License-Identifier: BSD-2-Clause
/*
 * Owners map and unmap, devices read and write, one device moves between spaces, somebody
 * invalidates everything, tables come and go. The rule that is checked: once an owner's invalidate
 * has returned, no device reads or writes its buffer. The owner poisons the buffer then; a device
 * that reads poison, or a buffer whose poison has changed, breaks the rule. On every kind of
 * hardware; where devices do not look into the CPU's caches owners clean and drop as well, and a
 * device may read what memory held before.
 */
#include "rig.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <string.h>

#define OWNERS  3u
#define DEVICES 2u
#define ROUNDS  1500u
#define SPAN    (2 * MB2)
#define BASE    ((UINT64_C(1) << 30) - MB2)
#define HOT     4u      /* granules of a buffer that devices touch, from its start */
#define LIVE    UINT64_C(0x11)
#define POISON  UINT64_C(0xbad)
#define BEFORE  UINT64_C(0xdbdbdbdbdbdbdbdb)

static struct space here, there;
static struct dr_backend_device *devs[DEVICES];
static _Atomic bool stop;
static _Atomic unsigned wrong;
static _Atomic uint64_t reached;

static uint64_t step(uint64_t *rng)
{
	*rng ^= *rng << 13;
	*rng ^= *rng >> 7;
	*rng ^= *rng << 17;
	return *rng;
}

/* Words that owner and device share; the device's side is not a thread's. */
static void fill_hot(_Atomic uint64_t *mem, size_t words, uint64_t value)
{
	for (size_t i = 0; i < words; i += 64)
		atomic_store_explicit(&mem[i], value, memory_order_relaxed);
}

static bool is_filled(const _Atomic uint64_t *mem, size_t words, uint64_t value)
{
	for (size_t i = 0; i < words; i += 64)
		if (atomic_load_explicit(&mem[i], memory_order_relaxed) != value)
			return false;
	return true;
}

/* In pieces of what the hardware takes at once. */
static int map(dray_iova_t iova, char *mem, size_t len)
{
	size_t most = here.be->max_op < len ? (size_t)here.be->max_op : len;
	int err = 0;

	for (size_t off = 0; off < len && !err; off += most)
		err = here.be->ops->map(here.be, iova + off, mem + off, most,
					off ? RW | DR_PTE_CONTINUE : RW);
	return err;
}

static int unmap(dray_iova_t iova, size_t len)
{
	size_t most = here.be->max_op < len ? (size_t)here.be->max_op : len, gone;
	int err = 0;

	for (size_t off = 0; off < len && !err; off += most)
		err = here.be->ops->unmap(here.be, iova + off, most, &gone) || gone != most;
	return err;
}

static void *own(void *arg)
{
	unsigned self = (unsigned)(uintptr_t)arg;
	dray_iova_t base = BASE + self * SPAN;
	char *mem = memory(MB2 + KB4, MB2);
	uint64_t rng = self + 11;

	mem += KB4; /* not congruent: 4 KiB leaves, tables that are retired */
	for (unsigned i = 0; i < ROUNDS; i++) {
		size_t pages = i % 16 ? HOT : 512;
		dray_iova_t iova = base + (pages == 512 ? MB2 : step(&rng) % 8 * HOT * KB4);
		_Atomic uint64_t *words = (_Atomic uint64_t *)mem;
		size_t n = HOT * KB4 / 8, len = pages * KB4;

		fill_hot(words, n, LIVE);
		if (map(iova, mem, len))
			atomic_fetch_add(&wrong, 1);
		here.be->ops->clean(here.be, mem, HOT * KB4);
		for (uint64_t yields = step(&rng) % 4; yields; yields--)
			sched_yield();
		here.be->ops->drop(here.be, mem, HOT * KB4);
		if (unmap(iova, len))
			atomic_fetch_add(&wrong, 1);
		here.be->ops->invalidate(here.be, iova, iova + len - 1);
		fill_hot(words, n, POISON);
		if (i % 4 == 0)
			sched_yield();
		if (!is_filled(words, n, POISON))
			atomic_fetch_add(&wrong, 1);
		if (dr_pgtable_wants_reclaim(here.pt) || i % 100 == 0)
			dr_pgtable_reclaim(here.pt);
	}
	memory_free(mem - KB4, MB2 + KB4);
	return NULL;
}

static void *be_device(void *arg)
{
	struct dr_backend_device *dev = devs[(uintptr_t)arg];
	uint64_t rng = (uintptr_t)arg + 101;
	struct dray_sim_fault faults[8];

	while (!atomic_load_explicit(&stop, memory_order_relaxed)) {
		dray_iova_t iova = BASE + step(&rng) % OWNERS * SPAN;
		uint64_t word = 0x22, lines = KB4 / 512;

		iova += step(&rng) % 2 ? MB2 + step(&rng) % HOT * KB4 : step(&rng) % 32 * KB4;
		iova += step(&rng) % lines * 512;
		if (rng % 2) {
			if (!dr_sim_dma_write(dev, iova, &word, 8))
				atomic_fetch_add_explicit(&reached, 1, memory_order_relaxed);
		} else if (!dr_sim_dma_read(dev, iova, &word, 8) && word != LIVE && word != 0x22 &&
			   word != BEFORE) {
			atomic_fetch_add(&wrong, 1);
		}
		dr_sim_take_faults(dev, faults, 8);
	}
	return NULL;
}

static void *disturb(void *arg)
{
	(void)arg;
	while (!atomic_load_explicit(&stop, memory_order_relaxed)) {
		here.be->ops->switch_to(devs[1], there.be);
		sched_yield();
		there.be->ops->switch_to(devs[1], here.be);
		dr_sim_invalidate_all(there.be);
		sched_yield();
	}
	return NULL;
}

static void nothing_is_reached_after_its_invalidation(void **state)
{
	pthread_t owners[OWNERS], devices[DEVICES], disturber;

	atomic_store(&stop, false);
	atomic_store(&reached, 0);
	here = space_open_as(*state, DRAY_DOMAIN_PAGING);
	there = space_open_as(*state, DRAY_DOMAIN_PAGING);
	dr_sim_set_cost(here.be, 0, 0, DRAY_SIM_NOCHECK);
	devs[0] = device_open(&here, "sim0");
	devs[1] = device_open(&here, "sim1");
	for (unsigned i = 0; i < DEVICES; i++)
		assert_int_equal(pthread_create(&devices[i], NULL, be_device, (void *)(uintptr_t)i),
				 0);
	assert_int_equal(pthread_create(&disturber, NULL, disturb, NULL), 0);
	for (unsigned i = 0; i < OWNERS; i++)
		assert_int_equal(pthread_create(&owners[i], NULL, own, (void *)(uintptr_t)i), 0);
	for (unsigned i = 0; i < OWNERS; i++)
		pthread_join(owners[i], NULL);
	atomic_store(&stop, true);
	pthread_join(disturber, NULL);
	for (unsigned i = 0; i < DEVICES; i++)
		pthread_join(devices[i], NULL);
	assert_int_equal(atomic_load(&wrong), 0);
	assert_true(atomic_load(&reached) > 0);
	device_close(devs[0]);
	device_close(devs[1]);
	space_close(&here);
	space_close(&there);
}

#define ON(profile)                                                       \
	{                                                                 \
		profile, nothing_is_reached_after_its_invalidation, NULL, \
		NULL, (void *)(uintptr_t)profile                          \
	}

int main(void)
{
	const struct CMUnitTest tests[] = {
		ON("vtd"),
		ON("xen-pv"),
		ON("noncoherent-walker"),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
