// SPDX-License-Identifier: BSD-2-Clause
#include "base_test.h"

#include "base/bits.h"

static void test_pow2(void **state)
{
	(void)state;
	assert_false(dr_is_pow2(0));
	for (unsigned i = 0; i < 64; i++) {
		uint64_t x = UINT64_C(1) << i;

		assert_true(dr_is_pow2(x));
		assert_int_equal(dr_log2(x), i);
		assert_int_equal(dr_pow2_up(x), x);
		if (i > 1) {
			assert_false(dr_is_pow2(x - 1));
			assert_int_equal(dr_pow2_up(x - 1), x);
		}
		if (i && i < 63) {
			assert_false(dr_is_pow2(x + 1));
			assert_int_equal(dr_pow2_up(x + 1), x << 1);
		}
	}
}

static void test_align(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 63; i++) {
		uint64_t align = UINT64_C(1) << i, at = 5 * align;

		if (at / 5 != align)
			break;
		assert_int_equal(dr_align_up(at, align), at);
		assert_int_equal(dr_align_down(at, align), at);
		assert_int_equal(dr_align_down(at + align - 1, align), at);
		if (align > 1) {
			assert_int_equal(dr_align_up(at + 1, align), at + align);
			assert_int_equal(dr_align_down(at - 1, align), at - align);
		}
	}
	assert_int_equal(dr_align_up(0, 4096), 0);
	assert_int_equal(dr_align_down(UINT64_MAX, 4096), UINT64_MAX - 4095);
	assert_int_equal(dr_align_up(UINT64_MAX - 4095, 4096), UINT64_MAX - 4095);
}

static void test_container(void **state)
{
	struct outer {
		int before;
		int member;
	} o;

	(void)state;
	assert_ptr_equal(dr_container_of(&o.member, struct outer, member), &o);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_pow2),
		cmocka_unit_test(test_align),
		cmocka_unit_test(test_container),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
