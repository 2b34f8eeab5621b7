// SPDX-License-Identifier: BSD-2-Clause
/* The CPU this runs on: its numbers make sense, and its instructions run and lose nothing. */
#include "cpu_test.h"

#include <stdlib.h>
#include <unistd.h>

static bool is_pow2(size_t n)
{
	return n && !(n & (n - 1));
}

static void numbers_make_sense(void **state)
{
	const struct dr_cpu_ops *ops = dr_cpu_ops();
	long told = sysconf(_SC_LEVEL1_DCACHE_LINESIZE);

	(void)state;
	assert_true(is_pow2(ops->stride) && ops->stride >= 16 && ops->stride <= 2048);
	assert_true(is_pow2(ops->line) && ops->line >= ops->stride && ops->line <= 2048);
	assert_int_equal(ops->clean == NULL, ops->drop == NULL);
	/* The C library has it from elsewhere, where it has it at all. */
	if (told > 0 && ops->clean)
		assert_true(ops->stride <= (size_t)told);
	assert_ptr_equal(ops, dr_cpu_ops());
#if defined(__x86_64__)
	assert_null(ops->sync_code);
#else
	assert_non_null(ops->sync_code);
#endif
}

static void this_machine_can(void **state)
{
	(void)state;
#if defined(__x86_64__) || defined(__aarch64__)
	assert_int_equal(dr_cpu_check(), 0);
	assert_non_null(dr_cpu_ops()->clean);
#else
	assert_int_equal(dr_cpu_check(), -ENOTSUP);
#endif
}

static void fill(unsigned char *p, size_t len, unsigned seed)
{
	for (size_t i = 0; i < len; i++)
		p[i] = (unsigned char)(i * 7 + seed);
}

/* Dirty lines inside the range and beside it keep what was stored, whatever the edges. */
static void no_byte_is_lost(void **state)
{
	enum { LEN = 3 * 4096 };
	unsigned char *mem = aligned_alloc(4096, LEN), *want = malloc(LEN);

	(void)state;
	assert_non_null(mem);
	assert_non_null(want);
	for (unsigned seed = 0; seed < 64; seed++) {
		size_t off = seed * 37 % 300, len = 1 + seed * 131 % (LEN - 300);

		fill(mem, LEN, seed);
		fill(want, LEN, seed);
		if (seed & 1)
			dr_cpu_clean(mem + off, len);
		else
			dr_cpu_invalidate(mem + off, len);
		assert_memory_equal(mem, want, LEN);
	}
	free(mem);
	free(want);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(numbers_make_sense),
		cmocka_unit_test(this_machine_can),
		cmocka_unit_test(no_byte_is_lost),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
