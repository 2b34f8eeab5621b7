// SPDX-License-Identifier: BSD-2-Clause
/* What waits, how much of it, what a flush does to it, and where IOVAs go. One thread mostly. */
#include "rig.h"

#include <pthread.h>

#define EXPLICIT DR_FLUSH_EXPLICIT

static const struct dr_flush_opts polled = { .polled = true, .lazy = true };

/* Entries go at once, IOVAs and what devices cached of them with the flush, one for many. */
static void test_two_phases(void **state)
{
	dray_iova_t iova[16];
	struct rig rig;

	(void)state;
	rig_open(&rig, &dr_sim_ops, RIG_TREE, &polled);
	for (unsigned i = 0; i < 16; i++) {
		iova[i] = rig_map(&rig, 1 + i % 3);
		assert_true(rig_reaches(&rig, iova[i]));
	}
	for (unsigned i = 0; i < 16; i++) {
		rig_put(&rig, iova[i], 1 + i % 3);
		assert_null(dr_pgtable_va(rig.io.pt, iova[i]));
	}
	assert_int_equal(rig_count(&rig, DR_BACKEND_UNMAPS), 16);
	assert_int_equal(rig_count(&rig, DR_INVALIDATIONS), 0);
	assert_int_equal(rig_stats(&rig).waiting_entries, 16);
	assert_int_equal(rig_stats(&rig).waiting_bytes, 31 * PAGE);
	assert_int_equal(rig_retired(&rig), 31 * PAGE);
	assert_int_equal(rig_live(&rig), 0);
	/* The IOTLB has some of them still: that is what the flush is for. */
	assert_true(rig_reaches(&rig, iova[15]));

	assert_int_equal(dr_flush_now(rig.f, EXPLICIT), 0);
	assert_int_equal(rig_count(&rig, DR_INVALIDATIONS), 1);
	assert_int_equal(rig_stats(&rig).flushes[EXPLICIT], 1);
	assert_int_equal(rig_stats(&rig).flushed, 16);
	assert_int_equal(rig_stats(&rig).waiting_entries, 0);
	assert_int_equal(rig_stats(&rig).waiting_bytes, 0);
	assert_int_equal(rig_retired(&rig), 0);
	for (unsigned i = 0; i < 16; i++)
		assert_false(rig_reaches(&rig, iova[i]));
	/* Nothing to do is no flush. */
	assert_int_equal(dr_flush_now(rig.f, EXPLICIT), 0);
	assert_int_equal(rig_count(&rig, DR_INVALIDATIONS), 1);
	assert_int_equal(rig_stats(&rig).flushes[EXPLICIT], 1);
	rig_close(&rig);
	assert_string_equal(rig.logged, "");
}

/* Nobody gets an address before its flush has ended, in a window that has no other. */
static void test_no_reuse_before_the_flush(void **state)
{
	const struct dr_iova_request req = {
		.len = PAGE, .align = PAGE, .last = UINT64_C(0x10000fff),
	};
	dray_iova_t iova = 0;
	struct rig rig;

	(void)state;
	rig_open(&rig, &dr_sim_ops, RIG_TREE, &polled);
	rig_map_at(&rig, UINT64_C(0x10000000), 1);
	rig_put(&rig, UINT64_C(0x10000000), 1);
	assert_int_equal(dr_iova_take(rig.io.space, &req, &iova), -ENOSPC);
	dr_flush_ready(rig.f);
	assert_int_equal(dr_iova_take(rig.io.space, &req, &iova), -ENOSPC);
	dr_flush_now(rig.f, DR_FLUSH_PRESSURE);
	assert_int_equal(dr_iova_take(rig.io.space, &req, &iova), 0);
	assert_int_equal(iova, 0x10000000);
	assert_true(dr_iova_give(rig.io.space, iova, PAGE));
	assert_int_equal(rig_stats(&rig).flushes[DR_FLUSH_PRESSURE], 1);
	rig_close(&rig);
}

/* The queue takes as many as it was told, whatever that rounds to. */
static void entries_bound(uint32_t entries)
{
	const struct dr_flush_opts o = { .polled = true, .lazy = true, .entries = entries };
	struct rig rig;

	rig_open(&rig, &dr_sim_ops, 0, &o);
	for (unsigned i = 0; i < 10 * entries; i++) {
		dray_iova_t iova = rig_map(&rig, 1);

		rig_put(&rig, iova, 1);
		assert_int_equal(rig_stats(&rig).waiting_entries, i % entries + 1);
		assert_int_equal(rig_stats(&rig).flushes[DR_FLUSH_FULL], i / entries);
		assert_in_range(rig_retired(&rig), PAGE, entries * PAGE);
	}
	assert_int_equal(rig_count(&rig, DR_INVALIDATIONS), 9);
	assert_int_equal(rig_stats(&rig).flushes[DR_FLUSH_FULL], 9);
	rig_close(&rig);
}

static void test_entries_bound(void **state)
{
	(void)state;
	entries_bound(1);
	entries_bound(2);
	entries_bound(7);
	entries_bound(64);
	entries_bound(100);
}

static void test_defaults(void **state)
{
	struct rig rig;

	(void)state;
	rig_open(&rig, &dr_sim_ops, 0, &polled);
	for (unsigned i = 0; i < 256; i++)
		rig_put(&rig, rig_map(&rig, 1), 1);
	assert_int_equal(rig_stats(&rig).flushes[DR_FLUSH_FULL], 0);
	rig_put(&rig, rig_map(&rig, 1), 1);
	assert_int_equal(rig_stats(&rig).flushes[DR_FLUSH_FULL], 1);
	rig_close(&rig);
}

/* No byte more than was allowed ever waits, and what alone is more than that never does. */
static void bytes_bound(size_t pages)
{
	const struct dr_flush_opts o = { .polled = true, .lazy = true, .bytes = pages * PAGE };
	uint64_t seed = pages * 77 + 1, flushes = 0, most = 0;
	struct rig rig;

	rig_open(&rig, &dr_sim_ops, 0, &o);
	for (unsigned i = 0; i < 500; i++) {
		size_t n = 1 + (seed = seed * 6364136223846793005u + 1) / 7 % 5;
		dray_iova_t iova = rig_map(&rig, n);
		bool live = false;

		if (n > pages) {
			assert_false(dr_flush_put(rig.f, iova, n * PAGE, &live));
			assert_true(live);
			assert_true(dr_iova_is_live(rig.io.space, iova, n * PAGE, NULL));
			rig_unmap(&rig, iova, n);
			continue;
		}
		rig_put(&rig, iova, n);
		assert_in_range(rig_stats(&rig).waiting_bytes, PAGE, pages * PAGE);
		assert_in_range(rig_retired(&rig), PAGE, pages * PAGE);
		if (rig_retired(&rig) > most)
			most = rig_retired(&rig);
	}
	flushes = rig_stats(&rig).flushes[DR_FLUSH_BYTES];
	assert_true(flushes > 0);
	/* The bound is used, not only kept. */
	assert_true(most + 5 * PAGE > pages * PAGE);
	rig_close(&rig);
}

static void test_bytes_bound(void **state)
{
	(void)state;
	bytes_bound(1);
	bytes_bound(3);
	bytes_bound(5);
	bytes_bound(16);
	bytes_bound(100);
}

/* A wrong base, a wrong length, a second unmap: refused, and nothing changes. */
static void test_bad_unmaps(void **state)
{
	struct rig rig;
	dray_iova_t iova;
	bool live;

	(void)state;
	rig_open(&rig, &dr_sim_ops, 0, &polled);
	iova = rig_map(&rig, 4);
	live = true;
	assert_false(dr_flush_put(rig.f, iova + PAGE, 3 * PAGE, &live));
	assert_false(live);
	live = true;
	assert_false(dr_flush_put(rig.f, iova, 3 * PAGE, &live));
	assert_false(live);
	assert_true(rig_reaches(&rig, iova));
	assert_int_equal(rig_stats(&rig).waiting_entries, 0);
	rig_put(&rig, iova, 4);
	live = true;
	assert_false(dr_flush_put(rig.f, iova, 4 * PAGE, &live));
	assert_false(live);
	assert_int_equal(rig_stats(&rig).waiting_entries, 1);
	dr_flush_now(rig.f, EXPLICIT);
	live = true;
	assert_false(dr_flush_put(rig.f, iova, 4 * PAGE, &live));
	assert_false(live);
	rig_close(&rig);
	assert_string_equal(rig.logged, "");
}

/* A thread that never mapped: strict until a map has laid a queue ready, and no allocation. */
static void *put_one(void *arg)
{
	struct rig *rig = ((void **)arg)[0];
	dray_iova_t *iova = ((void **)arg)[1];
	unsigned before = rig_allocs;
	bool live = false, queued = dr_flush_put(rig->f, *iova, PAGE, &live);

	assert_int_equal(rig_allocs, before);
	assert_true(live);
	return queued ? rig : NULL;
}

static bool puts_elsewhere(struct rig *rig, dray_iova_t iova)
{
	void *args[] = { rig, &iova }, *queued;
	pthread_t thread;

	assert_int_equal(pthread_create(&thread, NULL, put_one, args), 0);
	pthread_join(thread, &queued);
	return queued;
}

static void test_threads_without_a_queue(void **state)
{
	const struct dr_iova_request req = { .len = PAGE, .align = PAGE, .last = DRAY_IOVA_NONE };
	dray_iova_t iova, more;
	struct rig rig;
	bool refused, live;

	(void)state;
	rig_open(&rig, &dr_sim_ops, 0, &polled);
	/* Mapped before lazy began: there is no queue. */
	assert_int_equal(dr_iova_take(rig.io.space, &req, &iova), 0);
	assert_int_equal(dr_act_map(&rig.io, iova, rig.mem, PAGE, RW, &refused), 0);
	assert_false(dr_flush_put(rig.f, iova, PAGE, &live));
	assert_true(live);
	assert_false(puts_elsewhere(&rig, iova));
	dr_flush_ready(rig.f);
	assert_true(puts_elsewhere(&rig, iova));
	assert_int_equal(rig_stats(&rig).waiting_entries, 1);
	/* The thread is gone; what it left is flushed, and comes back. */
	more = rig_map(&rig, 1);
	rig_put(&rig, more, 1);
	dr_flush_now(rig.f, EXPLICIT);
	assert_int_equal(rig_retired(&rig), 0);
	assert_int_equal(rig_stats(&rig).flushed, 2);
	rig_close(&rig);
}

/* One after the other, more threads than there are queues made: the number's queue goes on. */
static void test_exited_threads(void **state)
{
	struct rig rig;

	(void)state;
	rig_open(&rig, &dr_sim_ops, 0, &polled);
	for (unsigned i = 0; i < 50; i++) {
		dray_iova_t iova = rig_map(&rig, 1);

		assert_true(puts_elsewhere(&rig, iova));
		assert_int_equal(rig_stats(&rig).waiting_entries, i + 1);
	}
	dr_flush_now(rig.f, EXPLICIT);
	assert_int_equal(rig_retired(&rig), 0);
	rig_close(&rig);
}

/* An unmap that read "lazy" before strict was published, and one that is told apart only later. */
static void test_switch_to_strict(void **state)
{
	struct rig rig;
	dray_iova_t iova, late;

	(void)state;
	rig_open(&rig, &dr_sim_ops, 0, &polled);
	assert_true(dr_flush_is_lazy(rig.f));
	iova = rig_map(&rig, 1);
	late = rig_map(&rig, 1);
	assert_true(rig_reaches(&rig, iova) && rig_reaches(&rig, late));
	rig_put(&rig, iova, 1);
	assert_int_equal(dr_flush_set_lazy(rig.f, false), 0);
	assert_false(dr_flush_is_lazy(rig.f));
	assert_false(rig_reaches(&rig, iova));
	assert_int_equal(rig_retired(&rig), 0);
	assert_int_equal(rig_stats(&rig).flushes[DR_FLUSH_SWITCH], 1);
	/* What a thread does that had asked before the switch. */
	rig_put(&rig, late, 1);
	assert_false(rig_reaches(&rig, late));
	assert_int_equal(rig_retired(&rig), 0);
	assert_int_equal(rig_stats(&rig).flushes[DR_FLUSH_SWITCH], 2);
	assert_int_equal(dr_flush_set_lazy(rig.f, true), 0);
	assert_true(dr_flush_is_lazy(rig.f));
	rig_put(&rig, rig_map(&rig, 1), 1);
	assert_int_equal(rig_stats(&rig).waiting_entries, 1);
	rig_close(&rig);
}

/* The same by the order of the atomics alone. */
static void test_without_membarrier(void **state)
{
	rig_no_membarrier = true;
	test_switch_to_strict(state);
	rig_no_membarrier = false;
}

/* A kernel that agreed and then refuses: said, and strict all the same. */
static void test_barrier_refused(void **state)
{
	struct rig rig;
	dray_iova_t iova;

	(void)state;
	rig_open(&rig, &dr_sim_ops, 0, &polled);
	iova = rig_map(&rig, 1);
	rig_put(&rig, iova, 1);
	rig_no_barrier = true;
	assert_int_equal(dr_flush_set_lazy(rig.f, false), -EPERM);
	rig_no_barrier = false;
	assert_false(dr_flush_is_lazy(rig.f));
	assert_int_equal(rig_stats(&rig).waiting_entries, 0);
	rig_close(&rig);
}

/* Refused in phase 1: quarantined, and what did go is invalidated at once. */
static void test_refused_unmap(void **state)
{
	struct rig rig;
	dray_iova_t iova;

	(void)state;
	rig_open(&rig, &dr_sim_ops, 0, &polled);
	iova = rig_map(&rig, 8);
	assert_true(rig_reaches(&rig, iova));
	assert_true(rig_reaches(&rig, iova + 7 * PAGE));
	dr_sim_fail_unmap_at(rig.io.be, 3);
	rig_put(&rig, iova, 8);
	assert_false(rig_reaches(&rig, iova));
	assert_true(rig_reaches(&rig, iova + 7 * PAGE));
	assert_int_equal(rig_quarantined(&rig), 8 * PAGE);
	assert_int_equal(rig_retired(&rig), 0);
	assert_int_equal(rig_count(&rig, DR_UNMAP_ERRORS), 1);
	assert_true(rig.io.damaged);
	assert_int_equal(rig_stats(&rig).waiting_entries, 0);
	dr_flush_now(rig.f, EXPLICIT);
	assert_int_equal(rig_quarantined(&rig), 8 * PAGE);
	rig_close(&rig);
	assert_non_null(strstr(rig.logged, "quarantined"));
}

/* A mapping in pieces is one entry. */
static void test_pieces(void **state)
{
	struct rig rig;
	dray_iova_t iova;

	(void)state;
	rig_open(&rig, &dr_sim_ops, 0, &polled);
	dr_sim_set_max_op(rig.io.be, 3 * PAGE);
	iova = rig_map(&rig, 8);
	rig_put(&rig, iova, 8);
	assert_int_equal(rig_count(&rig, DR_BACKEND_UNMAPS), 3);
	assert_int_equal(rig_stats(&rig).waiting_entries, 1);
	dr_flush_now(rig.f, EXPLICIT);
	assert_int_equal(rig_count(&rig, DR_INVALIDATIONS), 1);
	for (unsigned i = 0; i < 8; i++)
		assert_false(rig_reaches(&rig, iova + i * PAGE));
	rig_close(&rig);
	assert_string_equal(rig.logged, "");
}

/* Closing flushes. */
static void test_close(void **state)
{
	struct rig rig;
	dray_iova_t iova;

	(void)state;
	rig_open(&rig, &dr_sim_ops, 0, &polled);
	iova = rig_map(&rig, 1);
	assert_true(rig_reaches(&rig, iova));
	rig_put(&rig, iova, 1);
	dr_flush_close(rig.f);
	assert_false(rig_reaches(&rig, iova));
	assert_int_equal(rig_count(&rig, DR_INVALIDATIONS), 1);
	rig_close_bare(&rig);
}

/* Without memory a queue is missing, and unmaps are strict; a later map makes up for it. */
static void test_no_memory(void **state)
{
	struct rig rig;
	unsigned n;

	(void)state;
	rig_open_bare(&rig, &dr_sim_ops, 0);
	for (n = 1; n < 100; n++) {
		dray_iova_t iova;
		bool live = false;

		rig_fail_alloc = (int)n;
		if (dr_flush_open(&rig.io, &polled, &rig.f)) {
			assert_int_equal(n, 1);
			continue;
		}
		dr_flush_ready(rig.f);
		bool fired = !rig_fail_alloc;

		rig_fail_alloc = 0;
		iova = rig_map(&rig, 1);
		assert_true(dr_flush_put(rig.f, iova, PAGE, &live));
		dr_flush_close(rig.f);
		if (!fired)
			break;
	}
	/* The object, a queue, a spare. */
	assert_int_equal(n, 4);
	rig_close_bare(&rig);
}

/* Unmap and flush ask for no memory, whatever they meet. */
static void test_no_allocation(void **state)
{
	const struct dr_flush_opts o = {
		.polled = true, .lazy = true, .entries = 8, .bytes = 20 * PAGE,
	};
	dray_iova_t iova[64];
	unsigned before;
	struct rig rig;

	(void)state;
	rig_open(&rig, &dr_sim_ops, 0, &o);
	for (unsigned i = 0; i < 64; i++)
		iova[i] = rig_map(&rig, 1 + i % 4);
	before = rig_allocs;
	for (unsigned i = 0; i < 64; i++)
		rig_put(&rig, iova[i], 1 + i % 4);
	dr_flush_now(rig.f, EXPLICIT);
	dr_flush_set_lazy(rig.f, false);
	dr_flush_poll(rig.f);
	assert_int_equal(rig_allocs, before);
	rig_close(&rig);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, world_up, world_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_two_phases),
		TEST(test_no_reuse_before_the_flush),
		TEST(test_entries_bound),
		TEST(test_defaults),
		TEST(test_bytes_bound),
		TEST(test_bad_unmaps),
		TEST(test_threads_without_a_queue),
		TEST(test_exited_threads),
		TEST(test_switch_to_strict),
		TEST(test_without_membarrier),
		TEST(test_barrier_refused),
		TEST(test_refused_unmap),
		TEST(test_pieces),
		TEST(test_close),
		TEST(test_no_memory),
		TEST(test_no_allocation),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
