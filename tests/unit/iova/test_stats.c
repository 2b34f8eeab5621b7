// SPDX-License-Identifier: BSD-2-Clause
/* What a space with caches tells of itself, and what one does that may not reserve much. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <sys/mman.h>

#define SPACE_FLAGS 0
#include "iova_test.h"

#include <dray/iova.h>

static struct dray_iova_stats stats_of(struct dray_iova_space *s)
{
	struct dray_iova_stats st = {.size = sizeof(st)};

	assert_int_equal(dray_iova_space_stats(s, &st), 0);
	return st;
}

static struct dray_iova_space *open_low(uint64_t bytes)
{
	return open_space(PAGE, GIB(1), GIB(1) + bytes - 1);
}

/* Free space by the size of its pieces, and the largest of them. */
static void fragmentation_is_reported(void **state)
{
	struct dray_iova_space *s = open_low(MIB(64));
	struct dray_iova_stats st;
	dray_iova_t page;

	(void)state;
	st = stats_of(s);
	assert_int_equal(st.free_ranges[26], 1);
	assert_int_equal(st.largest_free, MIB(64));
	/* From below: 4 MiB, a hole, 11 MiB, a page, less than 48 MiB. */
	assert_int_equal(dr_iova_resv(s, GIB(1) + MIB(4), GIB(1) + MIB(5) - 1, DR_RESV_HOLE), 0);
	assert_int_equal(dr_iova_take_fixed(s, GIB(1) + MIB(16), GIB(1) + MIB(16) + PAGE - 1), 0);
	st = stats_of(s);
	assert_int_equal(st.free_ranges[22], 1);
	assert_int_equal(st.free_ranges[23], 1);
	assert_int_equal(st.free_ranges[25], 1);
	assert_int_equal(st.free_ranges[26], 0);
	assert_int_equal(st.largest_free, MIB(48) - PAGE);
	/* A chunk at the top takes its 2 MiB out of the largest. */
	page = take(s, PAGE, 0);
	st = stats_of(s);
	assert_int_equal(page, GIB(1) + MIB(64) - PAGE);
	assert_int_equal(st.largest_free, MIB(46) - PAGE);
	dray_iova_space_close(s);
}

static bool reserves_little;
static unsigned mmaps_refused;

static void *mmap_little(void *addr, size_t len, int prot, int how, int fd, off_t off)
{
	if (len > KIB(64) || !reserves_little) {
		mmaps_refused++;
		errno = ENOMEM;
		return MAP_FAILED;
	}
	return dr_hooks_system.mmap(addr, len, prot, how, fd, off);
}

/* A process that may not reserve much caches less; one that may reserve nothing is told so. */
static void little_address_space_is_enough(void **state)
{
	const struct dray_iova_opts opts = {.size = sizeof(opts)};
	struct dray_iova_space *s = NULL;
	dray_iova_t iova;

	(void)state;
	test_hooks = dr_hooks_system;
	test_hooks.mmap = mmap_little;
	dr_hooks = &test_hooks;
	reserves_little = false;
	assert_int_equal(dray_iova_space_open(&opts, &s), -ENOMEM);
	assert_null(s);
	reserves_little = true;
	mmaps_refused = 0;
	assert_int_equal(dray_iova_space_open(&opts, &s), 0);
	assert_true(mmaps_refused > 0);
	for (unsigned i = 0; i < 100; i++) {
		iova = dray_iova_alloc(s, PAGE, 0, 0);
		assert_true(iova != DRAY_IOVA_NONE);
		dray_iova_free(s, iova, PAGE);
	}
	assert_int_equal(stats_of(s).refills, 1);
	assert_true(dr_iova_space_is_valid(s));
	dray_iova_space_close(s);
	dr_hooks = &dr_hooks_system;
}

static void statistics_check_their_arguments(void **state)
{
	struct dray_iova_stats st = {.size = sizeof(st)};
	struct dray_iova_space *s = open_low(MIB(16));

	(void)state;
	assert_int_equal(dray_iova_space_stats(NULL, &st), -EINVAL);
	assert_int_equal(dray_iova_space_stats(s, NULL), -EINVAL);
	st.size = 0;
	assert_int_equal(dray_iova_space_stats(s, &st), -EINVAL);
	st.size = offsetof(struct dray_iova_stats, live_bytes);
	st.live_bytes = 77;
	take(s, PAGE, 0);
	assert_int_equal(dray_iova_space_stats(s, &st), 0);
	assert_int_equal(st.live_ranges, 1);
	assert_int_equal(st.live_bytes, 77);
	dray_iova_space_close(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(fragmentation_is_reported),
		cmocka_unit_test(little_address_space_is_enough),
		cmocka_unit_test(statistics_check_their_arguments),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
