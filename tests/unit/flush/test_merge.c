// SPDX-License-Identifier: BSD-2-Clause
/*
 * Where the unmap itself waits: what the fake kernel is asked for, and what becomes of what it
 * refuses or does not find. Nobody else's mapping is ever covered.
 */
#include "rig.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>

#define BASE     UINT64_C(0x20000000)
#define AT(page) (BASE + (uint64_t)(page) * PAGE)
#define EXPLICIT DR_FLUSH_EXPLICIT

static const struct dr_flush_opts polled = { .polled = true, .lazy = true };

static void open_rig(struct rig *rig)
{
	rig_open(rig, &dr_type1_ops, 0, &polled);
}

static void flush(struct rig *rig)
{
	assert_int_equal(dr_flush_now(rig->f, EXPLICIT), 0);
}

static unsigned unmap_calls(void)
{
	return vfio_fake_calls(VFIO_IOMMU_UNMAP_DMA);
}

/* Was this range asked for, and went well? */
static bool asked(dray_iova_t iova, size_t pages)
{
	char line[64];
	ssize_t at;

	snprintf(line, sizeof(line), "unmap 0x%llx 0x%zx", (unsigned long long)iova, pages * PAGE);
	at = vfio_fake_log_find(line, 0);
	return at >= 0 && !strcmp(vfio_fake_log_line((size_t)at), line);
}

/* The table forgets at once, the kernel later; the device reaches it until then. */
static void test_two_phases(void **state)
{
	struct rig rig;
	char byte;

	(void)state;
	open_rig(&rig);
	vfio_fake_set_bus_master(NVME, true);
	rig_map_at(&rig, AT(0), 1);
	rig_put(&rig, AT(0), 1);
	assert_null(dr_pgtable_va(rig.io.pt, AT(0)));
	assert_int_equal(unmap_calls(), 0);
	assert_int_equal(vfio_fake_dma(NVME, AT(0), &byte, 1, false), 0);
	assert_int_equal(rig_retired(&rig), PAGE);
	flush(&rig);
	assert_int_equal(vfio_fake_dma(NVME, AT(0), &byte, 1, false), -EFAULT);
	assert_int_equal(rig_retired(&rig), 0);
	assert_int_equal(rig_count(&rig, DR_BACKEND_UNMAPS), 1);
	assert_int_equal(rig_count(&rig, DR_UNMAP_BYTES), PAGE);
	assert_int_equal(rig_count(&rig, DR_INVALIDATIONS), 0);
	rig_close(&rig);
	assert_string_equal(rig.logged, "");
}

/* Neighbours in any order are one call. */
static void test_adjacent(void **state)
{
	static const unsigned order[] = { 5, 0, 3, 7, 1, 6, 2, 4 };
	struct rig rig;

	(void)state;
	open_rig(&rig);
	for (unsigned i = 0; i < 8; i++)
		rig_map_at(&rig, AT(2 * i), 2);
	for (unsigned i = 0; i < 8; i++)
		rig_put(&rig, AT(2 * order[i]), 2);
	flush(&rig);
	assert_int_equal(unmap_calls(), 1);
	assert_true(asked(AT(0), 16));
	assert_int_equal(vfio_fake_mappings(), 0);
	assert_int_equal(rig_stats(&rig).ranges, 1);
	assert_int_equal(rig_stats(&rig).ranged, 8);
	assert_int_equal(rig_count(&rig, DR_UNMAP_BYTES), 16 * PAGE);
	assert_int_equal(rig_retired(&rig), 0);
	rig_close(&rig);
	assert_string_equal(rig.logged, "");
}

/* Free gaps are held for the call and are free again; what is live is never covered. */
static void test_gaps(void **state)
{
	struct rig rig;

	(void)state;
	open_rig(&rig);
	rig_map_at(&rig, AT(0), 1);
	rig_map_at(&rig, AT(5), 2);
	rig_map_at(&rig, AT(8), 1); /* stays */
	rig_map_at(&rig, AT(10), 1);
	rig_map_at(&rig, AT(11 + 512), 1);     /* as far away as a gap may be long */
	rig_map_at(&rig, AT(12 + 2 * 512 + 1), 1); /* one page more */
	rig_put(&rig, AT(12 + 2 * 512 + 1), 1);
	rig_put(&rig, AT(11 + 512), 1);
	rig_put(&rig, AT(10), 1);
	rig_put(&rig, AT(5), 2);
	rig_put(&rig, AT(0), 1);
	flush(&rig);
	assert_int_equal(unmap_calls(), 3);
	assert_true(asked(AT(0), 7));
	assert_true(asked(AT(10), 514));
	assert_true(asked(AT(12 + 2 * 512 + 1), 1));
	assert_int_equal(rig_stats(&rig).gaps, 2);
	assert_int_equal(vfio_fake_mappings(), 1);
	assert_true(vfio_fake_is_mapped(NVME, AT(8), PAGE, rig.mem));
	/* The gaps are anybody's again. */
	assert_int_equal(rig_live(&rig), PAGE);
	rig_map_at(&rig, AT(1), 4);
	rig_unmap(&rig, AT(1), 4);
	rig_unmap(&rig, AT(8), 1);
	rig_close(&rig);
	assert_string_equal(rig.logged, "");
}

/* Holes, live and quarantined addresses end a range. */
static void test_gaps_that_cannot_be_had(void **state)
{
	struct rig rig;

	(void)state;
	open_rig(&rig);
	assert_int_equal(dr_iova_resv(rig.io.space, AT(1), AT(2) - 1, DR_RESV_HOLE), 0);
	assert_int_equal(dr_iova_resv(rig.io.space, AT(3), AT(4) - 1, DR_RESV_FIXED), 0);
	rig_map_at(&rig, AT(0), 1);
	rig_map_at(&rig, AT(2), 1);
	rig_map_at(&rig, AT(4), 1);
	for (unsigned i = 0; i < 6; i += 2)
		rig_put(&rig, AT(i), 1);
	flush(&rig);
	assert_int_equal(unmap_calls(), 3);
	assert_int_equal(rig_stats(&rig).gaps, 0);
	assert_int_equal(rig_stats(&rig).ranges, 3);
	assert_int_equal(rig_stats(&rig).ranged, 3);
	rig_close(&rig);
	assert_string_equal(rig.logged, "");
}

/* A guard behind a mapping waits with it, is covered with it, and counts nothing. */
static void test_guards(void **state)
{
	struct rig rig;
	bool live;

	(void)state;
	open_rig(&rig);
	for (unsigned i = 0; i < 3; i++) {
		bool refused;

		dr_flush_ready(rig.f);
		assert_int_equal(dr_iova_take_fixed(rig.io.space, AT(3 * i), AT(3 * i + 3) - 1), 0);
		assert_int_equal(dr_act_map(&rig.io, AT(3 * i), rig.mem, 2 * PAGE, RW,
					    &refused), 0);
	}
	for (unsigned i = 0; i < 3; i++)
		assert_true(dr_flush_put_guarded(rig.f, AT(3 * i), 2 * PAGE, PAGE, &live));
	assert_int_equal(rig_retired(&rig), 9 * PAGE);
	assert_int_equal(rig_stats(&rig).waiting_bytes, 9 * PAGE);
	flush(&rig);
	assert_int_equal(unmap_calls(), 1);
	assert_true(asked(AT(0), 9));
	assert_int_equal(rig_count(&rig, DR_UNMAP_ERRORS), 0);
	assert_int_equal(rig_count(&rig, DR_UNMAP_BYTES), 6 * PAGE);
	assert_int_equal(rig_retired(&rig), 0);
	rig_close(&rig);
	assert_string_equal(rig.logged, "");
}

/* No call is longer than one may be; what is longer itself goes as it came. */
static void test_most_of_one_call(void **state)
{
	struct rig rig;

	(void)state;
	open_rig(&rig);
	dr_type1_set_max_op(rig.io.be, 4 * PAGE);
	rig_map_at(&rig, AT(0), 2);
	rig_map_at(&rig, AT(2), 2);
	rig_map_at(&rig, AT(4), 1);
	rig_map_at(&rig, AT(5), 10); /* 4 + 4 + 2 */
	rig_map_at(&rig, AT(15), 3);
	rig_put(&rig, AT(15), 3);
	rig_put(&rig, AT(5), 10);
	rig_put(&rig, AT(4), 1);
	rig_put(&rig, AT(2), 2);
	rig_put(&rig, AT(0), 2);
	flush(&rig);
	assert_int_equal(unmap_calls(), 6);
	assert_true(asked(AT(0), 4));
	assert_true(asked(AT(4), 1));
	assert_true(asked(AT(5), 4) && asked(AT(9), 4) && asked(AT(13), 2));
	assert_true(asked(AT(15), 3));
	assert_int_equal(vfio_fake_mappings(), 0);
	assert_int_equal(rig_stats(&rig).ranged, 5);
	rig_close(&rig);
	assert_string_equal(rig.logged, "");
}

/* The range fails: one by one; whatever is refused then is quarantined, the rest is gone. */
static void test_range_refused(void **state)
{
	struct rig rig;

	(void)state;
	open_rig(&rig);
	for (unsigned i = 0; i < 4; i++)
		rig_map_at(&rig, AT(2 * i), 1);
	for (unsigned i = 0; i < 4; i++)
		rig_put(&rig, AT(2 * i), 1);
	vfio_fake_fail_nth(VFIO_IOMMU_UNMAP_DMA, 1, EINVAL);
	flush(&rig);
	assert_int_equal(unmap_calls(), 5);
	assert_int_equal(vfio_fake_mappings(), 0);
	assert_int_equal(rig_quarantined(&rig), 0);
	assert_int_equal(rig_count(&rig, DR_UNMAP_ERRORS), 0);
	assert_int_equal(rig_live(&rig), 0);
	assert_false(rig.io.damaged);
	rig_close(&rig);
	assert_string_equal(rig.logged, "");
}

static void test_piece_refused(void **state)
{
	struct rig rig;

	(void)state;
	open_rig(&rig);
	rig_map_at(&rig, AT(0), 2);
	rig_put(&rig, AT(0), 2);
	vfio_fake_fail_nth(VFIO_IOMMU_UNMAP_DMA, 1, EIO);
	flush(&rig);
	assert_int_equal(unmap_calls(), 1);
	assert_int_equal(rig_quarantined(&rig), 2 * PAGE);
	assert_int_equal(rig_count(&rig, DR_UNMAP_ERRORS), 1);
	assert_true(rig.io.damaged);
	assert_true(vfio_fake_is_mapped(NVME, AT(0), 2 * PAGE, rig.mem));
	assert_int_equal(rig_stats(&rig).waiting_entries, 0);
	/* Never handed out again, and never asked for again. */
	assert_int_equal(dr_iova_take_fixed(rig.io.space, AT(0), AT(1) - 1), -EEXIST);
	flush(&rig);
	assert_int_equal(unmap_calls(), 1);
	rig_close(&rig);
	assert_non_null(strstr(rig.logged, "quarantined"));
}

/* A piece of a long mapping refused: the rest goes, all of it is quarantined. */
static void test_piece_of_one_refused(void **state)
{
	struct rig rig;

	(void)state;
	open_rig(&rig);
	dr_type1_set_max_op(rig.io.be, 2 * PAGE);
	rig_map_at(&rig, AT(0), 6);
	rig_put(&rig, AT(0), 6);
	vfio_fake_fail_nth(VFIO_IOMMU_UNMAP_DMA, 2, EIO);
	flush(&rig);
	assert_int_equal(unmap_calls(), 3);
	assert_int_equal(vfio_fake_mappings(), 1);
	assert_int_equal(rig_quarantined(&rig), 6 * PAGE);
	assert_int_equal(rig_count(&rig, DR_UNMAP_ERRORS), 1);
	rig_close(&rig);
}

/* Fewer bytes than there should have been: nothing is there, which is counted, and no more. */
static void test_short(void **state)
{
	struct rig rig;

	(void)state;
	open_rig(&rig);
	for (unsigned i = 0; i < 4; i++)
		rig_map_at(&rig, AT(i), 1);
	for (unsigned i = 0; i < 4; i++)
		rig_put(&rig, AT(i), 1);
	vfio_fake_short_unmap(1, 2 * PAGE);
	flush(&rig);
	assert_int_equal(unmap_calls(), 1);
	assert_int_equal(rig_count(&rig, DR_UNMAP_ERRORS), 1);
	assert_int_equal(rig_quarantined(&rig), 0);
	assert_int_equal(rig_retired(&rig), 0);
	assert_false(rig.io.damaged);
	assert_non_null(strstr(rig.logged, "found 0x2000 bytes mapped, not 0x4000"));
	rig_close(&rig);
}

/* After a range that failed, one mapping that somebody else has unmapped. */
static void test_absent_piece(void **state)
{
	struct rig rig;
	uint64_t gone;

	(void)state;
	open_rig(&rig);
	for (unsigned i = 0; i < 3; i++)
		rig_map_at(&rig, AT(i), 1);
	for (unsigned i = 0; i < 3; i++)
		rig_put(&rig, AT(i), 1);
	assert_int_equal(dr_type1_dma_unmap(dr_type1_of(rig.io.be), AT(1), PAGE, &gone), 0);
	vfio_fake_fail_nth(VFIO_IOMMU_UNMAP_DMA, 1, EINVAL);
	flush(&rig);
	assert_int_equal(rig_count(&rig, DR_UNMAP_ERRORS), 1);
	assert_int_equal(rig_quarantined(&rig), 0);
	assert_int_equal(rig_retired(&rig), 0);
	assert_non_null(strstr(rig.logged, "found 0x0 bytes mapped, not 0x1000"));
	rig_close(&rig);
}

/* Without a group in the container there is nothing to wait for. */
static void test_not_live(void **state)
{
	struct rig rig;

	(void)state;
	open_rig(&rig);
	rig_unplug(&rig);
	rig_map_at(&rig, AT(0), 2);
	rig_put(&rig, AT(0), 2);
	assert_int_equal(rig_stats(&rig).waiting_entries, 0);
	assert_int_equal(rig_retired(&rig), 0);
	assert_null(dr_pgtable_va(rig.io.pt, AT(0)));
	flush(&rig);
	assert_int_equal(unmap_calls(), 0);
	rig_close(&rig);
	assert_string_equal(rig.logged, "");
}

/* What waited when the kernel forgot everything is gone, also when it holds other things now. */
static void test_lease(void **state)
{
	struct rig rig;

	(void)state;
	open_rig(&rig);
	for (unsigned i = 0; i < 4; i++)
		rig_map_at(&rig, AT(i), 1);
	rig_put(&rig, AT(0), 1);
	rig_put(&rig, AT(2), 1);
	rig_unplug(&rig);
	assert_int_equal(rig_stats(&rig).waiting_entries, 2);
	rig_plug(&rig);
	/* 1 and 3 were replayed; now all four lie side by side, two of each lease. */
	assert_int_equal(vfio_fake_mappings(), 2);
	rig_put(&rig, AT(1), 1);
	rig_put(&rig, AT(3), 1);
	flush(&rig);
	assert_int_equal(unmap_calls(), 1);
	assert_true(asked(AT(0), 4));
	assert_int_equal(vfio_fake_mappings(), 0);
	assert_int_equal(rig_count(&rig, DR_UNMAP_ERRORS), 0);

	/* Nothing of the lease that holds: no call at all. */
	rig_map_at(&rig, AT(0), 1);
	rig_map_at(&rig, AT(1), 1);
	rig_put(&rig, AT(0), 1);
	rig_put(&rig, AT(1), 1);
	rig_unplug(&rig);
	rig_plug(&rig);
	flush(&rig);
	assert_int_equal(unmap_calls(), 1);
	assert_int_equal(rig_retired(&rig), 0);
	assert_int_equal(rig_count(&rig, DR_UNMAP_ERRORS), 0);
	rig_close(&rig);
	assert_string_equal(rig.logged, "");
}

/* The nth kernel call of a flush fails, for every n: what is not gone is quarantined. */
static void test_every_failure(void **state)
{
	unsigned n;

	(void)state;
	for (n = 1; n < 100; n++) {
		struct rig rig;
		bool fired;

		open_rig(&rig);
		dr_type1_set_max_op(rig.io.be, 8 * PAGE);
		for (unsigned i = 0; i < 12; i++)
			rig_map_at(&rig, AT(20 * (i / 3) + 2 * (i % 3)), 1 + i % 2);
		for (unsigned i = 0; i < 12; i++)
			rig_put(&rig, AT(20 * (i / 3) + 2 * (i % 3)), 1 + i % 2);
		vfio_fake_fail_nth(VFIO_IOMMU_UNMAP_DMA, n, EIO);
		flush(&rig);
		fired = vfio_fake_fired();
		vfio_fake_fail_nth(0, 0, 0);
		assert_int_equal(vfio_fake_mappings() * PAGE <= rig_quarantined(&rig), true);
		assert_int_equal(rig_retired(&rig), 0);
		assert_int_equal(rig_live(&rig), 0);
		rig_close(&rig);
		if (!fired)
			break;
	}
	/* Four ranges. */
	assert_int_equal(n, 5);
}

/* Random mappings of random sizes, some put, flushed now and then: what is live stays mapped. */
static void test_random(void **state)
{
	enum { PLACES = 300 };
	static dray_iova_t iova[PLACES];
	static size_t pages[PLACES];
	uint64_t seed = 20240917, live = 0;
	struct rig rig;

	(void)state;
	print_message("seed %llu\n", (unsigned long long)seed);
	open_rig(&rig);
	memset(iova, 0, sizeof(iova));
	for (unsigned i = 0; i < 20000; i++) {
		unsigned at = (seed = seed * 6364136223846793005u + 1442695040888963407u) >> 33 &
			      0xffff;
		size_t n = 1 + (seed >> 50) % 6;

		at %= PLACES;
		if (iova[at]) {
			rig_put(&rig, iova[at], pages[at]);
			iova[at] = 0;
			live--;
		} else {
			iova[at] = rig_map(&rig, n);
			pages[at] = n;
			live++;
		}
		if (seed >> 56 == 0 || i == 19999) {
			flush(&rig);
			assert_int_equal(vfio_fake_mappings(), live);
		}
		if (i % 1000)
			continue;
		for (unsigned k = 0; k < PLACES; k++)
			if (iova[k])
				assert_true(vfio_fake_is_mapped(NVME, iova[k], pages[k] * PAGE,
								rig.mem));
	}
	assert_int_equal(rig_count(&rig, DR_UNMAP_ERRORS), 0);
	assert_int_equal(rig_retired(&rig), 0);
	/* It does merge. */
	assert_true(rig_stats(&rig).ranges < rig_stats(&rig).ranged);
	print_message("%llu mappings in %llu calls, %llu gaps\n",
		      (unsigned long long)rig_stats(&rig).ranged,
		      (unsigned long long)rig_stats(&rig).ranges,
		      (unsigned long long)rig_stats(&rig).gaps);
	for (unsigned k = 0; k < PLACES; k++)
		if (iova[k])
			rig_unmap(&rig, iova[k], pages[k]);
	rig_close(&rig);
	assert_string_equal(rig.logged, "");
}

/*
 * Threads that map and put while the device comes and goes. The kernel refuses to map where it has
 * something, so an address that comes back too early shows; and it tells the size it unmaps,
 * so a mapping that is covered by somebody else's range, or looked for after it was forgotten,
 * shows too.
 */
struct crowd {
	struct rig rig;
	_Atomic unsigned wrong, running;
};

static void *map_and_put(void *arg)
{
	struct crowd *c = arg;
	uint64_t seed = atomic_fetch_add(&c->running, 1) + 1;
	struct { dray_iova_t iova; size_t pages; } held[16] = { 0 };

	for (unsigned i = 0; i < 6000; i++) {
		struct dr_iova_request req = { .align = PAGE, .last = DRAY_IOVA_NONE };
		bool live = false, refused;
		unsigned at;

		seed = seed * 6364136223846793005u + 1442695040888963407u;
		at = seed >> 60;
		if (held[at].iova) {
			if (!dr_flush_put(c->rig.f, held[at].iova, held[at].pages * PAGE, &live))
				atomic_fetch_add(&c->wrong, 1);
			held[at].iova = 0;
			continue;
		}
		held[at].pages = 1 + (seed >> 40) % 3;
		req.len = held[at].pages * PAGE;
		dr_flush_ready(c->rig.f);
		if (dr_iova_take(c->rig.io.space, &req, &held[at].iova) ||
		    dr_act_map(&c->rig.io, held[at].iova, c->rig.mem, req.len, RW, &refused))
			atomic_fetch_add(&c->wrong, 1);
	}
	for (unsigned at = 0; at < 16; at++) {
		bool live;

		if (held[at].iova &&
		    !dr_flush_put(c->rig.f, held[at].iova, held[at].pages * PAGE, &live))
			atomic_fetch_add(&c->wrong, 1);
	}
	atomic_fetch_add(&c->running, 100);
	return NULL;
}

static void test_threads_while_the_device_comes_and_goes(void **state)
{
	static const struct dr_flush_opts o = { .lazy = true, .entries = 20, .timeout_us = 500 };
	static struct crowd c;
	pthread_t threads[3];

	(void)state;
	memset(&c, 0, sizeof(c));
	rig_real_time = true;
	/* The clock's hook was copied when the fake kernel began, and asks rig_real_time. */
	rig_open(&c.rig, &dr_type1_ops, 0, &o);
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, map_and_put, &c), 0);
	while (atomic_load(&c.running) < 300) {
		rig_unplug(&c.rig);
		sched_yield();
		rig_plug(&c.rig);
		for (unsigned i = 0; i < 30; i++)
			sched_yield();
	}
	for (unsigned i = 0; i < 3; i++)
		pthread_join(threads[i], NULL);
	flush(&c.rig);
	assert_int_equal(c.wrong, 0);
	assert_int_equal(vfio_fake_mappings(), 0);
	assert_int_equal(rig_count(&c.rig, DR_UNMAP_ERRORS), 0);
	assert_int_equal(rig_quarantined(&c.rig), 0);
	rig_close(&c.rig);
	assert_string_equal(c.rig.logged, "");
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, kernel_up, kernel_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_two_phases),
		TEST(test_adjacent),
		TEST(test_gaps),
		TEST(test_gaps_that_cannot_be_had),
		TEST(test_guards),
		TEST(test_most_of_one_call),
		TEST(test_range_refused),
		TEST(test_piece_refused),
		TEST(test_piece_of_one_refused),
		TEST(test_short),
		TEST(test_absent_piece),
		TEST(test_not_live),
		TEST(test_lease),
		TEST(test_every_failure),
		TEST(test_random),
		TEST(test_threads_while_the_device_comes_and_goes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
