// SPDX-License-Identifier: BSD-2-Clause
/*
 * Threads that meet: maps and unmaps while devices come and go, and several that want one device.
 * Run under ThreadSanitizer these also show that what they share is ordered.
 */
#define _GNU_SOURCE
#include "rig.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#define PAGE     4096ul
#define MAPPERS  2
#define WINDOW   64u /* pages a mapper uses */
#define TURNS    60u /* times the device comes and goes */
#define ATTEMPTS 150u

struct mapper {
	struct rig *rig;
	dray_iova_t base;
	char *va;
	unsigned seed;
	bool mapped[WINDOW];
	atomic_bool *stop;
	unsigned long done; /* operations */
};

static void *map_and_unmap(void *arg)
{
	struct mapper *m = arg;
	const struct dr_backend_ops *ops = m->rig->be->ops;
	unsigned seed = m->seed;

	while (!atomic_load(m->stop)) {
		unsigned i = (unsigned)rand_r(&seed) % WINDOW;
		dray_iova_t iova = m->base + i * PAGE;
		size_t gone;
		int err;

		if (m->mapped[i])
			err = ops->unmap(m->rig->be, iova, PAGE, &gone);
		else
			err = ops->map(m->rig->be, iova, m->va + i * PAGE, PAGE, RW);
		if (err) {
			print_error("page %u: %s\n", i, dray_errmsg());
			return m;
		}
		m->mapped[i] = !m->mapped[i];
		m->done++;
	}
	return NULL;
}

static void test_devices_come_and_go_under_maps(void **state)
{
	struct dr_backend_device *bd, *second;
	struct mapper mappers[MAPPERS];
	pthread_t threads[MAPPERS];
	atomic_bool stop = false;
	char *va = pages(MAPPERS * WINDOW * PAGE);
	unsigned long before;
	size_t live = 0;
	struct rig rig;
	void *failed;

	(void)state;
	rig_open(&rig);
	for (unsigned i = 0; i < MAPPERS; i++) {
		mappers[i] = (struct mapper){
			.rig = &rig, .base = UINT64_C(0x10000000) + i * UINT64_C(0x40000000),
			.va = va + i * WINDOW * PAGE, .seed = i + 1, .stop = &stop,
		};
		assert_int_equal(pthread_create(&threads[i], NULL, map_and_unmap, &mappers[i]), 0);
	}
	for (unsigned turn = 0; turn < TURNS; turn++) {
		bd = rig_plug(&rig, NVME);
		second = rig_plug(&rig, NIC);
		/* entries_left meets them too */
		assert_true(rig.be->ops->entries_left(rig.be) >= 65535 - MAPPERS * WINDOW);
		rig_detach(&rig, turn % 2 ? bd : second);
		before = vfio_fake_calls(VFIO_IOMMU_MAP_DMA);
		while (vfio_fake_calls(VFIO_IOMMU_MAP_DMA) < before + 3)
			sched_yield();
		rig_detach(&rig, turn % 2 ? second : bd);
		assert_int_equal(vfio_fake_mappings(), 0);
	}
	bd = rig_plug(&rig, NVME);
	atomic_store(&stop, true);
	for (unsigned i = 0; i < MAPPERS; i++) {
		pthread_join(threads[i], &failed);
		assert_null(failed);
		assert_true(mappers[i].done > 0);
	}
	/* the kernel has what the table has, and that is what the mappers think */
	for (unsigned i = 0; i < MAPPERS; i++) {
		for (unsigned p = 0; p < WINDOW; p++) {
			dray_iova_t iova = mappers[i].base + p * PAGE;
			char *at = mappers[i].va + p * PAGE;
			bool want = mappers[i].mapped[p];

			live += want;
			assert_ptr_equal(dr_pgtable_va(rig.pt, iova), want ? at : NULL);
			assert_int_equal(vfio_fake_is_mapped(NVME, iova, PAGE, at), want);
		}
	}
	assert_int_equal(vfio_fake_mappings(), live);
	rig_detach(&rig, bd);
	assert_string_equal(rig.logged, "");
	rig_close(&rig);
	free_pages(va, MAPPERS * WINDOW * PAGE);
}

struct rival {
	struct rig *rig;
	pthread_mutex_t *attach_lock; /* the domain's, when the rig is shared */
	const char *name;
	atomic_uint *holders;
	unsigned wins, losses, others;
};

static void *want_device(void *arg)
{
	struct rival *r = arg;
	const struct dr_backend_ops *ops = r->rig->be->ops;

	for (unsigned i = 0; i < ATTEMPTS; i++) {
		struct dr_backend_device *bd = NULL;
		uint64_t replayed;
		int err;

		pthread_mutex_lock(r->attach_lock);
		err = ops->attach(r->rig->be, r->name, NULL, &bd);
		if (!err) {
			if (atomic_fetch_add(r->holders, 1))
				r->others++; /* two have it */
			if (!ops->enable(r->rig->be, bd, &replayed))
				r->wins++;
			atomic_fetch_sub(r->holders, 1);
			ops->detach(r->rig->be, bd, false);
		} else if (err == -EBUSY || err == -EIO) {
			r->losses++;
		} else {
			print_error("%s\n", dray_errmsg());
			r->others++;
		}
		pthread_mutex_unlock(r->attach_lock);
	}
	return NULL;
}

static void run_rivals(struct rival *rivals, unsigned n)
{
	pthread_t threads[4];
	unsigned wins = 0;

	for (unsigned i = 0; i < n; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, want_device, &rivals[i]), 0);
	for (unsigned i = 0; i < n; i++)
		pthread_join(threads[i], NULL);
	for (unsigned i = 0; i < n; i++) {
		assert_int_equal(rivals[i].others, 0);
		assert_int_equal(rivals[i].wins + rivals[i].losses, ATTEMPTS);
		wins += rivals[i].wins;
	}
	assert_true(wins > 0);
	assert_int_equal(vfio_fake_calls(VFIO_GROUP_SET_CONTAINER) > 0, true);
}

/* Three address spaces want one device; some attempts fail half-way. One winner at a time. */
static void test_one_device_three_domains(void **state)
{
	pthread_mutex_t locks[3] = {
		PTHREAD_MUTEX_INITIALIZER, PTHREAD_MUTEX_INITIALIZER, PTHREAD_MUTEX_INITIALIZER,
	};
	atomic_uint holders = 0;
	struct rival rivals[3];
	struct rig rigs[3];

	(void)state;
	for (unsigned i = 0; i < 3; i++) {
		rig_open(&rigs[i]);
		rivals[i] = (struct rival){ &rigs[i], &locks[i], NVME, &holders, 0, 0, 0 };
	}
	vfio_fake_fail_nth(VFIO_GROUP_GET_DEVICE_FD, 7, EIO);
	run_rivals(rivals, 3);
	for (unsigned i = 0; i < 3; i++) {
		assert_string_equal(rigs[i].logged, "");
		rig_close(&rigs[i]);
	}
	assert_int_equal(vfio_fake_fds_open(), 0);
}

/* Two members of one group in one address space, and a third party that wants the group. */
static void test_two_members_and_a_stranger(void **state)
{
	pthread_mutex_t locks[2] = { PTHREAD_MUTEX_INITIALIZER, PTHREAD_MUTEX_INITIALIZER };
	atomic_uint holders[3] = { 0, 0, 0 };
	struct rival rivals[3];
	struct rig rigs[2];

	(void)state;
	for (unsigned i = 0; i < 2; i++)
		rig_open(&rigs[i]);
	rivals[0] = (struct rival){ &rigs[0], &locks[0], NIC, &holders[0], 0, 0, 0 };
	rivals[1] = (struct rival){ &rigs[0], &locks[0], NIC1, &holders[1], 0, 0, 0 };
	rivals[2] = (struct rival){ &rigs[1], &locks[1], NIC, &holders[2], 0, 0, 0 };
	vfio_fake_fail_nth(VFIO_DEVICE_GET_REGION_INFO, 11, EIO);
	run_rivals(rivals, 3);
	for (unsigned i = 0; i < 2; i++) {
		assert_string_equal(rigs[i].logged, "");
		rig_close(&rigs[i]);
	}
	assert_int_equal(vfio_fake_fds_open(), 0);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, machine_up, machine_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_devices_come_and_go_under_maps),
		TEST(test_one_device_three_domains),
		TEST(test_two_members_and_a_stranger),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
