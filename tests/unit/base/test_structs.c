// SPDX-License-Identifier: BSD-2-Clause
#include "base_test.h"

#include <dray/stats.h>

#include "base/structs.h"

#include <errno.h>
#include <string.h>

/* A struct at three moments of its history. */
struct old {
	size_t size;
	uint32_t a;
	uint32_t b;
};

struct known {
	size_t size;
	uint32_t a, b;
	uint64_t c;
};

struct newer {
	size_t size;
	uint32_t a, b;
	uint64_t c;
	uint8_t d[24];
};

static void test_in_same_size(void **state)
{
	struct known src = { .size = sizeof(src), .a = 1, .b = 2, .c = 3 }, dst = { 0 };

	(void)state;
	assert_int_equal(dr_struct_in(&dst, sizeof(dst), &src), 0);
	assert_memory_equal(&dst, &src, sizeof(src));
}

static void test_in_shorter(void **state)
{
	struct { struct old old; uint64_t next; } src = {
		{ .size = sizeof(struct old), .a = 1, .b = 2 }, ~UINT64_C(0),
	};
	struct known dst = { 0 };

	(void)state;
	assert_int_equal(dr_struct_in(&dst, sizeof(dst), &src), 0);
	assert_int_equal(dst.a, 1);
	assert_int_equal(dst.b, 2);
	assert_int_equal(dst.c, 0);
	assert_int_equal(dst.size, sizeof(struct old));
	/* Cut inside a field is a size like any other: what is there is taken. */
	dst = (struct known){ 0 };
	src.old.size = offsetof(struct old, b) + 1;
	src.old.b = 0x01020304;
	assert_int_equal(dr_struct_in(&dst, sizeof(dst), &src), 0);
	assert_memory_equal(&dst.b, &src.old.b, 1);
	assert_int_equal(((unsigned char *)&dst.b)[1], 0);
}

static void test_in_longer(void **state)
{
	struct newer src = { .size = sizeof(src), .a = 1, .c = 3 };
	struct known dst = { 0 }, untouched = { .a = 9 };

	(void)state;
	assert_int_equal(dr_struct_in(&dst, sizeof(dst), &src), 0);
	assert_int_equal(dst.c, 3);
	/* Any byte of the tail. */
	for (size_t i = 0; i < sizeof(src.d); i++) {
		memset(src.d, 0, sizeof(src.d));
		src.d[i] = 1;
		dst = untouched;
		assert_int_equal(dr_struct_in(&dst, sizeof(dst), &src), -E2BIG);
		assert_memory_equal(&dst, &untouched, sizeof(dst));
		assert_non_null(strstr(dray_errmsg(), "update"));
	}
}

static void test_in_bad_size(void **state)
{
	struct known src = { .size = 0 }, dst = { .a = 9 };

	(void)state;
	for (src.size = 0; src.size < sizeof(size_t); src.size++) {
		assert_int_equal(dr_struct_in(&dst, sizeof(dst), &src), -EINVAL);
		assert_int_equal(dst.a, 9);
	}
	assert_int_equal(dr_struct_in(&dst, sizeof(dst), NULL), -EINVAL);
	assert_non_null(strstr(dray_errmsg(), "NULL"));
	src.size = sizeof(size_t);
	assert_int_equal(dr_struct_in(&dst, sizeof(dst), &src), 0);
}

static void test_out(void **state)
{
	struct known src = { .size = 12345, .a = 1, .b = 2, .c = 3 };
	struct newer dst;

	(void)state;
	memset(&dst, 0xee, sizeof(dst));
	dst.size = sizeof(struct known);
	assert_int_equal(dr_struct_out(&dst, &src, sizeof(src)), 0);
	assert_int_equal(dst.size, sizeof(struct known));
	assert_int_equal(dst.c, 3);
	assert_int_equal(dst.d[0], 0xee);

	memset(&dst, 0xee, sizeof(dst));
	dst.size = sizeof(struct old);
	assert_int_equal(dr_struct_out(&dst, &src, sizeof(src)), 0);
	assert_int_equal(dst.b, 2);
	assert_int_equal(dst.c, UINT64_C(0xeeeeeeeeeeeeeeee));

	memset(&dst, 0xee, sizeof(dst));
	dst.size = sizeof(dst);
	assert_int_equal(dr_struct_out(&dst, &src, sizeof(src)), 0);
	assert_int_equal(dst.c, 3);
	for (size_t i = 0; i < sizeof(dst.d); i++)
		assert_int_equal(dst.d[i], 0);

	/* The size alone: nothing to fill. */
	memset(&dst, 0xee, sizeof(dst));
	dst.size = sizeof(size_t);
	assert_int_equal(dr_struct_out(&dst, &src, sizeof(src)), 0);
	assert_int_equal(dst.a, 0xeeeeeeee);
	dst.size = sizeof(size_t) - 1;
	assert_int_equal(dr_struct_out(&dst, &src, sizeof(src)), -EINVAL);
	assert_int_equal(dr_struct_out(NULL, &src, sizeof(src)), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_in_same_size), cmocka_unit_test(test_in_shorter),
		cmocka_unit_test(test_in_longer),    cmocka_unit_test(test_in_bad_size),
		cmocka_unit_test(test_out),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
