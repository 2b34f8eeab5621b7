// SPDX-License-Identifier: BSD-2-Clause
/* Which lines a range is widened to, on machines with lines of every size. */
#include "cpu_test.h"

static struct {
	unsigned cleans, drops, code;
	uintptr_t first, end;
} seen;

static void note(unsigned *calls, uintptr_t first, uintptr_t end)
{
	++*calls;
	seen.first = first;
	seen.end = end;
}

static void fake_clean(uintptr_t first, uintptr_t end)
{
	note(&seen.cleans, first, end);
}

static void fake_drop(uintptr_t first, uintptr_t end)
{
	note(&seen.drops, first, end);
}

static void fake_code(uintptr_t first, uintptr_t end)
{
	note(&seen.code, first, end);
}

static const struct dr_cpu_ops machines[] = {
	{ "lines of 16", 16, 16, fake_clean, fake_drop, fake_code },
	{ "lines of 64", 64, 64, fake_clean, fake_drop, fake_code },
	{ "lines of 128", 128, 128, fake_clean, fake_drop, fake_code },
	{ "lines of 256", 256, 256, fake_clean, fake_drop, fake_code },
	{ "two sizes", 64, 256, fake_clean, fake_drop, fake_code },
};

static const struct dr_cpu_ops bare = { .name = "bare", .stride = 64, .line = 64 };

static int setup(void **state)
{
	(void)state;
	memset(&seen, 0, sizeof(seen));
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	dr_cpu_set_ops(NULL);
	return 0;
}

/* Every range of up to three lines around an address, by the bytes that it must and may touch. */
static void covers_the_range_and_no_more(void **state)
{
	const uintptr_t base = 0x7f0000010000;

	(void)state;
	for (size_t m = 0; m < sizeof(machines) / sizeof(machines[0]); m++) {
		size_t stride = machines[m].stride;

		dr_cpu_set_ops(&machines[m]);
		for (size_t off = 0; off < 2 * stride; off++)
			for (size_t len = 1; len < 3 * stride; len += 1 + len / 7) {
				const void *va = (const void *)(base + off);
				bool cleans = (off + len) & 1;

				memset(&seen, 0, sizeof(seen));
				if (cleans)
					dr_cpu_clean(va, len);
				else
					dr_cpu_invalidate(va, len);
				assert_int_equal(seen.cleans, cleans);
				assert_int_equal(seen.drops, !cleans);
				/* All of it, in whole lines, and less than one beyond. */
				assert_true(seen.first <= base + off);
				assert_true(seen.end >= base + off + len);
				assert_int_equal((seen.first | seen.end) % stride, 0);
				assert_true(base + off - seen.first < stride);
				assert_true(seen.end - (base + off + len) < stride);
			}
	}
}

static void nothing_is_no_line(void **state)
{
	(void)state;
	dr_cpu_set_ops(&machines[1]);
	dr_cpu_clean((const void *)0x1000, 0);
	dr_cpu_invalidate((const void *)0x1010, 0);
	dr_cpu_sync_code((const void *)0x1010, 0);
	assert_int_equal(seen.cleans + seen.drops + seen.code, 0);
}

static void code_is_not_widened(void **state)
{
	(void)state;
	dr_cpu_set_ops(&machines[2]);
	dr_cpu_sync_code((const void *)0x1004, 8);
	assert_int_equal(seen.code, 1);
	assert_int_equal(seen.first, 0x1004);
	assert_int_equal(seen.end, 0x100c);
}

static void a_cpu_that_cannot_says_so(void **state)
{
	(void)state;
	dr_cpu_set_ops(&bare);
	assert_int_equal(dr_cpu_check(), -ENOTSUP);
	assert_non_null(strstr(dray_errmsg(), "bare"));
	assert_non_null(strstr(dray_errmsg(), "DRAY_DEVICE_NONCOHERENT"));
	/* And does nothing when asked to all the same. */
	dr_cpu_clean((const void *)0x1000, 64);
	dr_cpu_invalidate((const void *)0x1000, 64);
	dr_cpu_sync_code((const void *)0x1000, 64);
	assert_int_equal(seen.cleans + seen.drops + seen.code, 0);
	dr_cpu_set_ops(&machines[0]);
	assert_int_equal(dr_cpu_check(), 0);
}

/* What may be written back together counts, not the smallest line. */
static void partial_lines(void **state)
{
	const struct {
		uintptr_t va;
		size_t len;
		bool at_64, at_128, at_256;
	} cases[] = {
		{ 0x1000, 4096, false, false, false },
		{ 0x1000, 64, false, true, true },
		{ 0x1000, 128, false, false, true },
		{ 0x1000, 256, false, false, false },
		{ 0x1040, 64, false, true, true },
		{ 0x1040, 192, false, true, true },
		{ 0x1001, 4095, true, true, true },
		{ 0x1000, 4095, true, true, true },
		{ 0x1020, 64, true, true, true },
		{ 0x1000, 1, true, true, true },
		{ 0x1fff, 1, true, true, true },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		const void *va = (const void *)cases[i].va;

		dr_cpu_set_ops(&machines[1]);
		assert_int_equal(dr_cpu_is_partial(va, cases[i].len), cases[i].at_64);
		dr_cpu_set_ops(&machines[2]);
		assert_int_equal(dr_cpu_is_partial(va, cases[i].len), cases[i].at_128);
		dr_cpu_set_ops(&machines[3]);
		assert_int_equal(dr_cpu_is_partial(va, cases[i].len), cases[i].at_256);
		dr_cpu_set_ops(&machines[4]);
		assert_int_equal(dr_cpu_line_size(), 256);
		assert_int_equal(dr_cpu_is_partial(va, cases[i].len), cases[i].at_256);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(covers_the_range_and_no_more, setup, teardown),
		cmocka_unit_test_setup_teardown(nothing_is_no_line, setup, teardown),
		cmocka_unit_test_setup_teardown(code_is_not_widened, setup, teardown),
		cmocka_unit_test_setup_teardown(a_cpu_that_cannot_says_so, setup, teardown),
		cmocka_unit_test_setup_teardown(partial_lines, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
