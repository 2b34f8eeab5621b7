// SPDX-License-Identifier: BSD-2-Clause
/* PRP entries and lists at their edges, each walked as a controller does. */
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
#define PER  ((size_t)512)
#define LIST UINT64_C(0x700000000000)

/* The part [off, off + len) of these segments behaves as the oracle says; *ret_lists pages. */
static bool describes(const struct dray_sg *sg, unsigned n, size_t off, size_t len, size_t page)
{
	struct check c = {.sg = sg, .nsegs = n, .off = off, .len = len, .page = page};
	const char *bad = check_prp(&c);

	if (bad)
		fail_msg("%u segments, %zu from %zu, pages of %zu: %s", n, len, off, page, bad);
	return c.described;
}

static struct dray_sg seg(uint64_t iova, size_t len)
{
	return (struct dray_sg){.iova = iova, .dma_len = len};
}

static int count(uint64_t iova, size_t len, unsigned *ret_lists)
{
	struct dray_sg sg = seg(iova, len);

	assert_true(describes(&sg, 1, 0, len, PAGE));
	return dray_prp_count(&sg, 1, 0, len, PAGE, ret_lists);
}

static void one_page(void **state)
{
	unsigned lists = 9;

	(void)state;
	assert_int_equal(count(0x10000, PAGE, &lists), 1);
	assert_int_equal(lists, 0);
	assert_int_equal(count(0x10000, 512, &lists), 1);
	assert_int_equal(count(0x10e00, 512, &lists), 1);
	assert_int_equal(count(0x10ffc, 4, &lists), 1);
	assert_int_equal(count(0x10ffc, 1, &lists), 1);
	assert_int_equal(lists, 0);
}

static void two_pages_without_a_list(void **state)
{
	static const unsigned char want[] = {0x00, 0x0e, 0x01, 0, 0, 0, 0, 0,
					     0x00, 0x10, 0x01, 0, 0, 0, 0, 0};
	struct dray_sg sg = seg(0x10e00, 1024);
	struct dray_prp prp;
	unsigned lists = 9;

	(void)state;
	assert_int_equal(count(0x10000, 2 * PAGE, &lists), 2);
	assert_int_equal(lists, 0);
	assert_int_equal(count(0x10000, PAGE + 1, &lists), 2);
	assert_int_equal(count(0x10ffc, PAGE, &lists), 2);
	assert_int_equal(lists, 0);
	/* Bytes, whatever this machine's order. */
	assert_int_equal(dray_prp_build(&sg, 1, 0, 1024, PAGE, NULL, 0, &prp), 0);
	assert_memory_equal(&prp, want, sizeof(want));
}

static void three_pages_need_a_list(void **state)
{
	unsigned lists;

	(void)state;
	assert_int_equal(count(0x10000, 3 * PAGE, &lists), 3);
	assert_int_equal(lists, 1);
	assert_int_equal(count(0x10ffc, PAGE + 5, &lists), 3);
	assert_int_equal(lists, 1);
}

static void a_full_list_page_is_not_chained(void **state)
{
	unsigned lists;

	(void)state;
	/* One entry is PRP1. */
	count(0x10000, (PER + 1) * PAGE, &lists);
	assert_int_equal(lists, 1);
	/* One byte more: the last place leads on, and two entries are in the next page. */
	count(0x10000, (PER + 1) * PAGE + 1, &lists);
	assert_int_equal(lists, 2);
	/* So does an offset. */
	count(0x10004, (PER + 1) * PAGE, &lists);
	assert_int_equal(lists, 2);
	/* A second list page that is full holds 511 entries more. */
	count(0x10000, 2 * PER * PAGE, &lists);
	assert_int_equal(lists, 2);
	count(0x10000, (2 * PER + 1) * PAGE, &lists);
	assert_int_equal(lists, 3);
	count(0x10ffc, 3 * PER * PAGE, &lists);
	assert_int_equal(lists, 4);
}

static void every_length_and_offset_around_the_edges(void **state)
{
	static const size_t offs[] = {0, 4, 512, 2048, 4092};
	static const size_t pages[] = {1, 2, 3, 511, 512, 513, 1022, 1023, 1024, 1025, 1535};

	(void)state;
	for (size_t o = 0; o < sizeof(offs) / sizeof(offs[0]); o++)
		for (size_t p = 0; p < sizeof(pages) / sizeof(pages[0]); p++)
			for (size_t around = 0; around < 5; around++) {
				size_t len = pages[p] * PAGE + around - 2;
				unsigned lists;

				count(0x123450000 + offs[o], len, &lists);
				assert_true(lists <= dray_prp_lists_max(len, PAGE));
			}
}

static void room_for_the_worst_offset(void **state)
{
	(void)state;
	assert_int_equal(dray_prp_lists_max(0, PAGE), 0);
	assert_int_equal(dray_prp_lists_max(4, PAGE), 0);
	assert_int_equal(dray_prp_lists_max(PAGE + 4, PAGE), 0);
	assert_int_equal(dray_prp_lists_max(PAGE + 5, PAGE), 1);
	assert_int_equal(dray_prp_lists_max(PER * PAGE + 4, PAGE), 1);
	assert_int_equal(dray_prp_lists_max(PER * PAGE + 5, PAGE), 2);
	assert_int_equal(dray_prp_lists_max(2 * PER * PAGE, PAGE), 3);
	assert_int_equal(dray_prp_lists_max(65536, 65536), 0);
	assert_int_equal(dray_prp_lists_max(PAGE, 1000), 0);
}

static void segments_meet_at_pages_or_adjoin(void **state)
{
	const struct dray_sg pages[] = {
		seg(0x10e00, 0x200), seg(0x90000, 0x3000), seg(0x50000, 0x1000), seg(0x70000, 7)};
	const struct dray_sg adjoin[] = {
		seg(0x10e00, 0x100), seg(0x10f00, 0x1234), seg(0x12134, 0xecc), seg(0x20000, 3)};
	const struct dray_sg gap[] = {seg(0x10000, 0x800), seg(0x11000, 0x1000)};
	const struct dray_sg offset[] = {seg(0x10000, 0x1000), seg(0x20004, 0x1000)};
	/* Pages may come twice, and in any order. */
	const struct dray_sg twice[] = {seg(0x20000, PAGE), seg(0x20000, PAGE), seg(0x1f000, 99)};

	(void)state;
	assert_true(dray_prp_able(pages, 4, PAGE));
	assert_true(describes(pages, 4, 0, 0x200 + 0x4000 + 7, PAGE));
	assert_true(dray_prp_able(adjoin, 4, PAGE));
	assert_true(describes(adjoin, 4, 0, 0x2203, PAGE));
	assert_true(describes(twice, 3, 0, 2 * PAGE + 99, PAGE));
	assert_false(dray_prp_able(gap, 2, PAGE));
	assert_false(describes(gap, 2, 0, 0x1800, PAGE));
	assert_false(dray_prp_able(offset, 2, PAGE));
	assert_false(describes(offset, 2, 0, 0x2000, PAGE));
	/* What is aligned for small pages may not be for large ones. */
	assert_true(dray_prp_able(pages, 1, 65536));
	assert_false(dray_prp_able(pages, 4, 65536));
	assert_true(strstr(dray_errmsg(), "dray_prp_able") != NULL);
}

static void parts_of_a_list(void **state)
{
	const struct dray_sg sg[] = {seg(0x10000, 0x800), seg(0x30000, 0x4000), seg(0x50003, 9)};

	(void)state;
	/* The whole cannot be described, parts of it can. */
	assert_false(describes(sg, 3, 0, 0x4809, PAGE));
	assert_true(describes(sg, 3, 0, 0x800, PAGE));
	assert_true(describes(sg, 3, 4, 0x7fc, PAGE));
	assert_true(describes(sg, 3, 0x800, 0x4000, PAGE));
	assert_true(describes(sg, 3, 0x1abc, 0x2000, PAGE));
	assert_true(describes(sg, 3, 0x47fc, 4, PAGE));
	/* An odd first byte cannot, an odd last one can. */
	assert_false(describes(sg, 3, 0x801, 0x100, PAGE));
	assert_true(describes(sg, 3, 0x800, 0x101, PAGE));
	assert_false(describes(sg, 3, 0x4800, 4, PAGE));
	assert_true(describes(sg, 3, 0x4801, 8, PAGE));
}

static void nothing_beyond_the_segments(void **state)
{
	struct dray_sg sg[] = {seg(0x10000, PAGE), seg(0x30000, PAGE)};
	struct dray_prp prp;

	(void)state;
	assert_false(describes(sg, 2, 0, 0, PAGE));
	assert_false(describes(sg, 2, 0, 2 * PAGE + 1, PAGE));
	assert_false(describes(sg, 2, 2 * PAGE, 1, PAGE));
	assert_false(describes(sg, 2, SIZE_MAX, 8, PAGE));
	assert_false(describes(sg, 2, 8, SIZE_MAX, PAGE));
	assert_int_equal(dray_prp_count(sg, 0, 0, 1, PAGE, NULL), -EINVAL);
	assert_int_equal(dray_prp_count(NULL, 2, 0, 1, PAGE, NULL), -EINVAL);
	assert_int_equal(dray_prp_build(sg, 2, 0, PAGE, PAGE, NULL, 0, NULL), -EINVAL);
	/* A list is needed; there is room on paper only. */
	sg[0].dma_len = 8 * PAGE;
	assert_int_equal(dray_prp_build(sg, 2, 0, 8 * PAGE, PAGE, NULL, 4, &prp), -EINVAL);
	assert_int_equal(dray_prp_build(sg, 2, 0, 8 * PAGE, PAGE, NULL, 0, &prp), -EINVAL);
	sg[1].dma_len = 0;
	assert_int_equal(dray_prp_count(sg, 2, 0, 9 * PAGE, PAGE, NULL), -EINVAL);
	assert_false(dray_prp_able(sg, 2, PAGE));
	/* What comes behind the part is not looked at. */
	assert_int_equal(dray_prp_count(sg, 2, 0, 8 * PAGE, PAGE, NULL), 8);
}

static void the_end_of_all_addresses(void **state)
{
	const uint64_t top = (uint64_t)0 - 3 * PAGE;
	struct dray_sg sg[] = {seg(top, 3 * PAGE), seg(0, PAGE)};
	struct dray_sg past = seg(top, 3 * PAGE + 1);

	(void)state;
	assert_true(dray_prp_able(sg, 2, PAGE));
	assert_true(describes(sg, 2, 0, 4 * PAGE, PAGE));
	assert_false(dray_prp_able(&past, 1, PAGE));
	assert_int_equal(dray_prp_count(&past, 1, 0, PAGE, PAGE, NULL), -EINVAL);
	sg[0].dma_len--;
	assert_false(dray_prp_able(sg, 2, PAGE));
	assert_false(describes(sg, 2, 0, 4 * PAGE - 1, PAGE));
}

static void sizes_that_no_page_has(void **state)
{
	static const size_t sizes[] = {0, 1, 8, 512, 2048, 4095, 6144, 12288};
	struct dray_sg sg = seg(0x10000, PAGE);
	struct iovec iov = {(void *)(uintptr_t)0x10000, PAGE};

	(void)state;
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		assert_false(dray_prp_able(&sg, 1, sizes[i]));
		assert_false(dray_prp_able_iov(&iov, 1, sizes[i]));
		assert_int_equal(dray_prp_count(&sg, 1, 0, PAGE, sizes[i], NULL), -EINVAL);
		assert_true(strstr(dray_errmsg(), "power of two") != NULL);
	}
	assert_true(describes(&sg, 1, 0, PAGE, 8192));
	assert_true(describes(&sg, 1, 0, PAGE, (size_t)1 << 27));
}

static void a_list_page_has_to_be_a_page(void **state)
{
	struct dray_sg sg = seg(0x10000, (PER + 2) * PAGE);
	unsigned char *mem = aligned_alloc(PAGE, 3 * PAGE), *want = malloc(3 * PAGE);
	struct dray_nvme_list lists[] = {{mem, LIST}, {mem + PAGE, LIST + PAGE}};
	struct dray_prp prp = {{7}, {7}};

	(void)state;
	assert_non_null(mem);
	assert_non_null(want);
	memset(mem, 0x11, 3 * PAGE);
	memset(want, 0x11, 3 * PAGE);
	for (unsigned i = 0; i < 3; i++) {
		struct dray_nvme_list bad[] = {lists[0], lists[1]};

		if (i == 0)
			bad[1].iova += 8;
		else if (i == 1)
			bad[1].va = mem + PAGE + 4;
		else
			bad[0].va = NULL;
		assert_int_equal(dray_prp_build(&sg, 1, 0, sg.dma_len, PAGE, bad, 2, &prp),
				 -EINVAL);
		assert_true(strstr(dray_errmsg(), "aligned") != NULL);
		assert_true(prp.prp1.raw == 7 && prp.prp2.raw == 7);
		assert_memory_equal(mem, want, 3 * PAGE);
	}
	assert_int_equal(dray_prp_build(&sg, 1, 0, sg.dma_len, PAGE, lists, 2, &prp), 2);
	/* A list page that is not needed is not looked at. */
	lists[1].va = NULL;
	assert_int_equal(dray_prp_build(&sg, 1, 0, PAGE * 3, PAGE, lists, 2, &prp), 1);
	free(want);
	free(mem);
}

static void more_entries_than_a_count(void **state)
{
	struct dray_sg sg = seg(0x10000, (size_t)1 << 62);
	struct dray_prp prp = {{7}, {7}};
	unsigned lists = 5;

	(void)state;
	assert_int_equal(dray_prp_count(&sg, 1, 0, sg.dma_len, PAGE, &lists), -EMSGSIZE);
	assert_int_equal(lists, 5);
	assert_int_equal(dray_prp_build(&sg, 1, 0, sg.dma_len, PAGE, NULL, 0, &prp), -EMSGSIZE);
	assert_true(prp.prp1.raw == 7);
	assert_int_equal(dray_prp_count(&sg, 1, 0, (size_t)0x7fffffff * PAGE, PAGE, &lists),
			 0x7fffffff);
}

static void a_mapping_is_a_segment(void **state)
{
	const struct dray_mapping m = {.iova = 0x10200, .len = 0x2000};
	struct dray_sg sg = dray_sg_of(&m);

	(void)state;
	assert_true(sg.iova == m.iova && sg.dma_len == m.len);
	assert_null(sg.va);
	assert_true(describes(&sg, 1, 0, m.len, PAGE));
}

static struct iovec buf(uintptr_t at, size_t len)
{
	return (struct iovec){(void *)at, len};
}

static void buffers_before_they_are_mapped(void **state)
{
	const struct iovec good[] = {buf(0x10e04, 0x1fc), buf(0, 0), buf(0x20000, 0x2000),
				     buf(0x22000, 0x123), buf(0x22123, 0xedd), buf(0x40000, 5)};
	const struct iovec hole[] = {buf(0x10000, 0x100), buf(0x10101, 0xeff)};
	const struct iovec odd[] = {buf(0x10001, 0xfff), buf(0x20000, 5)};
	const struct iovec inside[] = {buf(0x10000, 0x1000), buf(0x20200, 0x200)};
	const struct iovec top[] = {buf((uintptr_t)0 - 4096, 4096), buf(0x20000, 5)};
	const struct iovec past[] = {buf((uintptr_t)0 - 4096, 4097)};
	const struct iovec empty[] = {buf(0x10001, 0), buf(0x20003, 0)};

	(void)state;
	assert_true(dray_prp_able_iov(good, 6, PAGE));
	assert_true(dray_prp_able_iov(good, 1, 65536));
	assert_false(dray_prp_able_iov(good, 6, 65536));
	assert_false(dray_prp_able_iov(hole, 2, PAGE));
	assert_true(dray_prp_able_iov(hole, 1, PAGE));
	assert_false(dray_prp_able_iov(odd, 2, PAGE));
	assert_false(dray_prp_able_iov(inside, 2, PAGE));
	assert_true(dray_prp_able_iov(top, 2, PAGE));
	assert_false(dray_prp_able_iov(past, 1, PAGE));
	assert_false(dray_prp_able_iov(empty, 2, PAGE));
	assert_false(dray_prp_able_iov(good, 0, PAGE));
	assert_false(dray_prp_able_iov(NULL, 1, PAGE));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_page),
		cmocka_unit_test(two_pages_without_a_list),
		cmocka_unit_test(three_pages_need_a_list),
		cmocka_unit_test(a_full_list_page_is_not_chained),
		cmocka_unit_test(every_length_and_offset_around_the_edges),
		cmocka_unit_test(room_for_the_worst_offset),
		cmocka_unit_test(segments_meet_at_pages_or_adjoin),
		cmocka_unit_test(parts_of_a_list),
		cmocka_unit_test(nothing_beyond_the_segments),
		cmocka_unit_test(the_end_of_all_addresses),
		cmocka_unit_test(sizes_that_no_page_has),
		cmocka_unit_test(a_list_page_has_to_be_a_page),
		cmocka_unit_test(more_entries_than_a_count),
		cmocka_unit_test(a_mapping_is_a_segment),
		cmocka_unit_test(buffers_before_they_are_mapped),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
