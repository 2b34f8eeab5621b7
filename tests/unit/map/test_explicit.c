// SPDX-License-Identifier: BSD-2-Clause
/* Explicit mappings: tiling, whose entries are whose, and what a refusal leaves. */
#include "../domain/rig.h"

#include "backend/sim/sim.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#define AT UINT64_C(0x40000000)

/* Unmap any run of whole ones at once; by size, large leaves among them. */
static void test_tiles(void **state)
{
	struct dray_domain *dom = rig_open();
	char *arena = aligned_alloc(MB2, 4 * MB2);

	(void)state;
	assert_non_null(arena);
	memset(arena, 1, 4 * MB2);
	for (int round = 0; round < 3; round++) {
		/* 2 MiB that is one leaf, 8 KiB, 2 MiB that is not. */
		assert_int_equal(dray_domain_map(dom, AT, arena, MB2, DRAY_PROT_READ, 0), 0);
		assert_int_equal(dray_domain_map(dom, AT + MB2, arena + KB4, 2 * KB4,
						 DRAY_PROT_WRITE, 0), 0);
		assert_int_equal(dray_domain_map(dom, AT + MB2 + 2 * KB4, arena + KB4, MB2,
						 DRAY_PROT_READ | DRAY_PROT_WRITE, 0), 0);
		assert_int_equal(dray_domain_unmap(dom, AT, MB2 + KB4), -EINVAL);
		assert_int_equal(dray_domain_unmap(dom, AT + KB4, MB2 - KB4), -EINVAL);
		assert_int_equal(dray_domain_unmap(dom, AT - KB4, MB2 + KB4), -EINVAL);
		assert_int_equal(dray_domain_unmap(dom, AT, 2 * MB2 + 3 * KB4), -EINVAL);
		assert_int_equal(rig_info(dom).mapped_bytes, 2 * MB2 + 2 * KB4);
		if (round == 0) {
			assert_int_equal(dray_domain_unmap(dom, AT, 2 * MB2 + 2 * KB4), 0);
		} else if (round == 1) {
			assert_int_equal(dray_domain_unmap(dom, AT, MB2 + 2 * KB4), 0);
			assert_int_equal(dray_domain_unmap(dom, AT + MB2 + 2 * KB4, MB2), 0);
		} else {
			assert_int_equal(dray_domain_unmap(dom, AT + MB2, MB2 + 2 * KB4), 0);
			assert_int_equal(dray_domain_unmap(dom, AT, MB2), 0);
		}
		assert_int_equal(rig_info(dom).mapped_bytes, 0);
	}
	assert_int_equal(rig_stats(dom).bad_unmaps, 12);
	assert_int_equal(rig_stats(dom).unmaps, 9);
	dray_domain_close(dom);
	free(arena);
}

/* Of three, the middle one is refused: the others are gone, it is nobody's from then on. */
static void test_refused_in_the_middle(void **state)
{
	struct dray_domain *dom = rig_open();

	(void)state;
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(dray_domain_map(dom, AT + i * 4 * KB4, rig_memory, 4 * KB4,
						 DRAY_PROT_READ, 0), 0);
	assert_int_equal(dray_domain_unmap(dom, AT, 4 * KB4), 0);
	assert_int_equal(dray_domain_map(dom, AT, rig_memory, KB4, DRAY_PROT_READ, 0), 0);
	assert_int_equal(dray_domain_map(dom, AT + KB4, rig_memory, 3 * KB4, DRAY_PROT_READ, 0), 0);
	/* The next unmap longer than two granules stops there. */
	dr_sim_fail_unmap_at(dom->io.be, 2);
	assert_int_equal(dray_domain_unmap(dom, AT, 12 * KB4), -EIO);
	assert_int_equal(rig_info(dom).quarantined_bytes, 3 * KB4);
	assert_int_equal(rig_stats(dom).unmaps, 1 + 3);
	assert_int_equal(rig_stats(dom).unmap_errors, 1);
	assert_null(dray_iova_to_va(dom, AT + 4 * KB4));
	assert_int_equal(dray_domain_unmap(dom, AT + KB4, 3 * KB4), -EINVAL);
	assert_int_equal(dray_domain_map(dom, AT + 3 * KB4, rig_memory, KB4, DRAY_PROT_READ, 0),
			 -EEXIST);
	assert_int_equal(dray_domain_map(dom, AT + 4 * KB4, rig_memory, KB4, DRAY_PROT_READ, 0), 0);
	dray_domain_close(dom);
	assert_true(rig_is_gone(dom));
}

static void test_blocked_and_identity(void **state)
{
	struct dray_domain_opts opts = rig_opts();
	struct dray_domain *dom;

	(void)state;
	opts.type = DRAY_DOMAIN_BLOCKED;
	assert_int_equal(dray_domain_open(&opts, &dom), 0);
	assert_int_equal(dray_domain_map(dom, AT, rig_memory, KB4, DRAY_PROT_READ, 0), -EPERM);
	assert_int_equal(dray_domain_unmap(dom, AT, KB4), -EPERM);
	dray_domain_close(dom);
	opts.type = DRAY_DOMAIN_IDENTITY;
	assert_int_equal(dray_domain_open(&opts, &dom), 0);
	assert_int_equal(dray_domain_map(dom, AT, rig_memory, KB4, DRAY_PROT_READ, 0), -ENOTSUP);
	dray_domain_close(dom);
}

struct racer {
	struct dray_domain *dom;
	struct dray_device *dev;
	_Atomic int owner; /* of the contested address: who has it mapped */
	_Atomic unsigned won;
};

static void *contest(void *arg)
{
	struct racer *r = arg;

	for (int i = 0; i < 3000; i++) {
		int err;

		/* By the domain's way, and by a device's: one address, one owner. */
		if (i % 2) {
			struct dray_mapping m;

			err = dray_map_fixed(r->dev, AT, rig_memory, KB4, DRAY_TO_DEVICE, 0, &m);
			if (!err) {
				if (atomic_fetch_add(&r->owner, 1))
					abort();
				atomic_fetch_sub(&r->owner, 1);
				dray_unmap(r->dev, &m);
			}
		} else {
			err = dray_domain_map(r->dom, AT, rig_memory, KB4, DRAY_PROT_READ, 0);
			if (!err) {
				if (atomic_fetch_add(&r->owner, 1))
					abort();
				atomic_fetch_sub(&r->owner, 1);
				if (dray_domain_unmap(r->dom, AT, KB4))
					abort();
			}
		}
		if (!err)
			atomic_fetch_add(&r->won, 1);
		else if (err != -EEXIST)
			abort();
	}
	return NULL;
}

static void test_one_address_many_threads(void **state)
{
	struct racer r = { .dom = rig_open() };
	pthread_t threads[3];

	(void)state;
	r.dev = rig_plug(r.dom, "sim1");
	for (int i = 0; i < 3; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, contest, &r), 0);
	for (int i = 0; i < 3; i++)
		assert_int_equal(pthread_join(threads[i], NULL), 0);
	assert_true(r.won > 0);
	assert_int_equal(rig_stats(r.dom).maps, r.won);
	assert_int_equal(rig_stats(r.dom).unmaps, r.won);
	assert_int_equal(rig_info(r.dom).mapped_bytes, 0);
	dray_device_close(r.dev);
	dray_domain_close(r.dom);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, rig_setup, rig_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_tiles),
		TEST(test_refused_in_the_middle),
		TEST(test_blocked_and_identity),
		/* Threads allocate there, and the counts of the rig are plain. */
		cmocka_unit_test(test_one_address_many_threads),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
