// SPDX-License-Identifier: BSD-2-Clause
/* Scatter-gather lists at their edges, each walked as a controller does. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <dray/dray.h>

#include "check.h"

#define PAGE ((size_t)4096)
#define PER  ((size_t)256)

static bool describes(const struct dray_sg *sg, unsigned n, size_t off, size_t len, size_t align,
		      size_t list_bytes, unsigned *ret_lists)
{
	struct check c = {.sg = sg, .nsegs = n, .off = off, .len = len, .page = list_bytes,
			  .align = align};
	const char *bad = check_sgl(&c);

	if (bad)
		fail_msg("%u segments, %zu from %zu, align %zu, list pages of %zu: %s", n, len, off,
			 align, list_bytes, bad);
	if (ret_lists)
		*ret_lists = c.lists;
	return c.described;
}

static struct dray_sg seg(uint64_t iova, size_t len)
{
	return (struct dray_sg){.iova = iova, .dma_len = len};
}

static void one_piece_is_in_the_command(void **state)
{
	static const unsigned char want[] = {0x03, 0x0e, 0x01, 0, 0, 0, 0, 0,
					     0x05, 0x10, 0, 0, 0, 0, 0, 0x00};
	struct dray_sg sg = seg(0x10e03, 0x1005);
	struct dray_sgl_desc desc;

	(void)state;
	assert_true(describes(&sg, 1, 0, 0x1005, 1, PAGE, NULL));
	assert_int_equal(dray_sgl_build(&sg, 1, 0, 0x1005, 1, NULL, PAGE, 0, &desc), 0);
	assert_memory_equal(&desc, want, sizeof(want));
}

static void pieces_are_in_a_last_segment(void **state)
{
	static const unsigned char command[] = {0, 0, 0, 0, 0, 0x70, 0, 0, 32, 0, 0, 0, 0, 0, 0,
						0x30};
	static const unsigned char list[] = {0x01, 0, 0x01, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0,
					     0x07, 0, 0x02, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0};
	const struct dray_sg sg[] = {seg(0x10001, 3), seg(0x20007, 1)};
	_Alignas(16) unsigned char mem[32];
	struct dray_nvme_list lists = {mem, UINT64_C(0x700000000000)};
	struct dray_sgl_desc desc;

	(void)state;
	assert_true(describes(sg, 2, 0, 4, 1, PAGE, NULL));
	assert_int_equal(dray_sgl_build(sg, 2, 0, 4, 1, &lists, sizeof(mem), 1, &desc), 1);
	assert_memory_equal(&desc, command, sizeof(command));
	assert_memory_equal(mem, list, sizeof(list));
}

static void what_adjoins_is_merged(void **state)
{
	const struct dray_sg sg[] = {seg(0x10001, 0xfff), seg(0x11000, 0x10), seg(0x11010, 1),
				     seg(0x11012, 5), seg(0x11000, 9), seg(0x11009, 9)};

	(void)state;
	assert_true(describes(sg, 3, 0, 0x1010, 1, PAGE, NULL));
	assert_int_equal(dray_sgl_count(sg, 3, 0, 0x1010, 1, PAGE, NULL), 1);
	assert_true(describes(sg, 6, 0, 0x1010 + 5 + 18, 1, PAGE, NULL));
	assert_int_equal(dray_sgl_count(sg, 6, 0, 0x1010 + 5 + 18, 1, PAGE, NULL), 3);
	/* The address after the last is none. */
	assert_true(describes((struct dray_sg[]){seg(UINT64_MAX - 6, 7), seg(0, 7)}, 2, 0, 14, 1,
			      PAGE, NULL));
}

static void full_segments_and_one_more(void **state)
{
	static const size_t pieces[] = {2, 255, 256, 257, 510, 511, 512, 765, 766, 767};
	static const unsigned want[] = {1, 1, 1, 2, 2, 2, 3, 3, 3, 4};
	struct dray_sg *sg = calloc(800, sizeof(*sg));
	unsigned lists;

	(void)state;
	assert_non_null(sg);
	for (unsigned i = 0; i < 800; i++)
		sg[i] = seg(0x100000 + 0x1000 * (uint64_t)i, 3);
	for (size_t i = 0; i < sizeof(pieces) / sizeof(pieces[0]); i++) {
		assert_true(describes(sg, 800, 0, pieces[i] * 3, 1, PAGE, &lists));
		assert_int_equal(lists, want[i]);
		assert_true(describes(sg, 800, 31, pieces[i] * 3 - 1, 1, PAGE, &lists));
	}
	/* Two descriptors to a list page: one of data and one that leads on. */
	assert_true(describes(sg, 800, 0, 5 * 3, 1, 32, &lists));
	assert_int_equal(lists, 4);
	assert_true(describes(sg, 800, 0, 2 * 3, 1, 32, &lists));
	assert_int_equal(lists, 1);
	free(sg);
}

static void lengths_of_more_than_32_bits(void **state)
{
	const uint64_t most = UINT64_C(0xfffff000);
	struct dray_sg sg[] = {seg(0x10000, most), seg(0x10000 + most, 1),
			       seg(UINT64_C(1) << 50, (size_t)7 << 32)};

	(void)state;
	assert_int_equal(dray_sgl_count(sg, 1, 0, most, 4, PAGE, NULL), 1);
	assert_true(describes(sg, 1, 0, most, 4, PAGE, NULL));
	assert_int_equal(dray_sgl_count(sg, 2, 0, most + 1, 1, PAGE, NULL), 2);
	assert_true(describes(sg, 2, 0, most + 1, 1, PAGE, NULL));
	assert_true(describes(sg, 3, 0, most + 1 + ((size_t)7 << 32), 1, PAGE, NULL));
	assert_true(describes(sg + 2, 1, 0, (size_t)7 << 32, 4, PAGE, NULL));
}

static void controllers_that_want_words(void **state)
{
	struct dray_sg sg[] = {seg(0x10004, 8), seg(0x20000, 4), seg(0x30002, 2), seg(0x30004, 6)};

	(void)state;
	assert_true(describes(sg, 2, 0, 12, 4, PAGE, NULL));
	assert_false(describes(sg, 2, 1, 8, 4, PAGE, NULL));
	assert_false(describes(sg, 2, 0, 11, 4, PAGE, NULL));
	assert_false(describes(sg, 4, 0, 20, 4, PAGE, NULL));
	assert_true(strstr(dray_errmsg(), "aligned") != NULL);
	assert_true(describes(sg, 4, 0, 20, 1, PAGE, NULL));
	/* The odd place is inside what adjoins. */
	sg[2] = seg(0x30000, 3);
	sg[3] = seg(0x30003, 5);
	assert_true(describes(sg, 4, 0, 20, 4, PAGE, NULL));
}

static void what_is_refused(void **state)
{
	static const size_t bytes[] = {0, 16, 24, 40, 4090, (size_t)1 << 33};
	struct dray_sg sg[] = {seg(0x10000, 8), seg(0x20000, 8)};
	_Alignas(16) unsigned char mem[64], want[64];
	struct dray_nvme_list lists = {mem, UINT64_C(0x700000000000)};
	struct dray_sgl_desc desc;

	(void)state;
	memset(mem, 0x22, sizeof(mem));
	memset(want, 0x22, sizeof(want));
	memset(&desc, 0x22, sizeof(desc));
	for (size_t i = 0; i < sizeof(bytes) / sizeof(bytes[0]); i++)
		assert_int_equal(dray_sgl_count(sg, 2, 0, 16, 1, bytes[i], NULL), -EINVAL);
	assert_int_equal(dray_sgl_count(sg, 2, 0, 16, 2, PAGE, NULL), -EINVAL);
	assert_int_equal(dray_sgl_count(sg, 2, 0, 16, 0, PAGE, NULL), -EINVAL);
	assert_int_equal(dray_sgl_count(sg, 2, 0, 17, 1, PAGE, NULL), -EINVAL);
	assert_int_equal(dray_sgl_count(sg, 2, 0, 0, 1, PAGE, NULL), -EINVAL);
	assert_int_equal(dray_sgl_count(NULL, 2, 0, 4, 1, PAGE, NULL), -EINVAL);
	assert_int_equal(dray_sgl_build(sg, 2, 0, 16, 1, &lists, 64, 0, &desc), -EMSGSIZE);
	assert_int_equal(dray_sgl_build(sg, 2, 0, 16, 1, NULL, 64, 1, &desc), -EINVAL);
	assert_int_equal(dray_sgl_build(sg, 2, 0, 16, 1, &lists, 64, 1, NULL), -EINVAL);
	lists.iova += 8;
	assert_int_equal(dray_sgl_build(sg, 2, 0, 16, 1, &lists, 64, 1, &desc), -EINVAL);
	assert_true(strstr(dray_errmsg(), "aligned") != NULL);
	assert_memory_equal(mem, want, sizeof(mem));
	assert_memory_equal(&desc, want, sizeof(desc));
	/* Longer than an int counts, in the smallest pieces there are. */
	sg[0] = seg(0, SIZE_MAX - 8);
	assert_int_equal(dray_sgl_count(sg, 1, 0, SIZE_MAX - 8, 1, PAGE, NULL), -EMSGSIZE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_piece_is_in_the_command),
		cmocka_unit_test(pieces_are_in_a_last_segment),
		cmocka_unit_test(what_adjoins_is_merged),
		cmocka_unit_test(full_segments_and_one_more),
		cmocka_unit_test(lengths_of_more_than_32_bits),
		cmocka_unit_test(controllers_that_want_words),
		cmocka_unit_test(what_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
