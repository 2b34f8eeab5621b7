// SPDX-License-Identifier: BSD-2-Clause
/* PRP entries and lists, against a walk that knows only what the specification says. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "nvme/prp.h"

#define PAGE    4096u
#define PER     512u
#define LIST    UINT64_C(0x700000000000)
#define UNUSED  UINT64_C(0xdeadbeefdeadbeef)
#define LISTS   8u

static nvme_le64 list[LISTS * PER];
static nvme_le64 prp1, prp2;

static size_t build(dray_iova_t iova, size_t len)
{
	for (size_t i = 0; i < LISTS * PER; i++)
		list[i] = nvme_to_le64(UNUSED);
	return nvme_prp_build(iova, len, PAGE, list, LIST, &prp1, &prp2);
}

/* How many entries of the list were written. */
static size_t used(void)
{
	size_t n = 0;

	for (size_t i = 0; i < LISTS * PER; i++)
		n += nvme_from_le64(list[i]) != UNUSED;
	return n;
}

/* Walk as a controller does and see that exactly [iova, iova + len) is described. */
static void check(dray_iova_t iova, size_t len)
{
	size_t touched = build(iova, len), left = len, n;
	uint64_t at = nvme_from_le64(prp1), second = nvme_from_le64(prp2), pages = 1;
	size_t slot = 0;

	assert_true(at == iova);
	n = PAGE - iova % PAGE;
	left -= n < left ? n : left;
	at = iova + n;
	if (left && left <= PAGE) {
		assert_true(second == at);
		left = 0;
		pages++;
	} else if (left) {
		assert_true(second == LIST);
	} else {
		assert_true(second == 0);
	}
	while (left) {
		uint64_t entry = nvme_from_le64(list[slot]);

		if (slot % PER == PER - 1 && left > PAGE) {
			/* The last place of a page that is not the last leads to the next page. */
			assert_true(entry == LIST + (slot + 1) * 8);
			slot++;
			continue;
		}
		assert_true(entry == at);
		slot++;
		pages++;
		at += PAGE;
		left -= left < PAGE ? left : PAGE;
	}
	assert_int_equal(pages, touched);
	assert_int_equal(used(), slot);
	assert_true(slot <= nvme_prp_list_pages(len, PAGE) * PER);
}

static void one_page(void **state)
{
	(void)state;
	check(0x10000, PAGE);
	check(0x10000, 512);
	check(0x10e00, 512);
	check(0x10ffc, 4);
	build(0x10200, 512);
	assert_int_equal(used(), 0);
	assert_true(nvme_from_le64(prp2) == 0);
}

static void two_pages_without_a_list(void **state)
{
	(void)state;
	check(0x10000, 2 * PAGE);
	check(0x10000, PAGE + 512);
	check(0x10e00, 1024);
	check(0x10ffc, PAGE);
	build(0x10e00, 1024);
	assert_int_equal(used(), 0);
	assert_true(nvme_from_le64(prp2) == 0x11000);
}

static void three_pages_need_a_list(void **state)
{
	(void)state;
	check(0x10000, 3 * PAGE);
	check(0x10e00, 2 * PAGE);
	build(0x10e00, 2 * PAGE);
	assert_int_equal(used(), 2);
	assert_true(nvme_from_le64(list[0]) == 0x11000);
	assert_true(nvme_from_le64(list[1]) == 0x12000);
}

static void a_full_list_page_is_not_chained(void **state)
{
	(void)state;
	check(0x10000, (PER + 1) * PAGE);
	build(0x10000, (PER + 1) * PAGE);
	assert_int_equal(used(), PER);
	assert_true(nvme_from_le64(list[PER - 1]) == 0x10000 + (uint64_t)PER * PAGE);
}

static void one_more_entry_chains(void **state)
{
	(void)state;
	check(0x10000, (PER + 2) * PAGE);
	build(0x10000, (PER + 2) * PAGE);
	/* The entry that made place for the chain moved to the next page, with the new one. */
	assert_int_equal(used(), PER + 2);
	assert_true(nvme_from_le64(list[PER - 1]) == LIST + PAGE);
	assert_true(nvme_from_le64(list[PER]) == 0x10000 + (uint64_t)PER * PAGE);
	/* An offset makes the same length touch one page more. */
	check(0x10004, (PER + 1) * PAGE);
	check(0x10ffc, (3 * PER) * PAGE);
}

static void every_length_and_offset_around_the_edges(void **state)
{
	static const size_t offs[] = {0, 4, 512, 2048, 4092};
	static const size_t pages[] = {1, 2, 3, 511, 512, 513, 1022, 1023, 1024, 1025, 1535};

	(void)state;
	for (size_t o = 0; o < sizeof(offs) / sizeof(offs[0]); o++)
		for (size_t p = 0; p < sizeof(pages) / sizeof(pages[0]); p++)
			for (size_t around = 0; around < 3; around++)
				check(0x123450000 + offs[o], pages[p] * PAGE + around * 4 - 4);
}

static void room_is_never_too_small_nor_wasted(void **state)
{
	(void)state;
	assert_int_equal(nvme_prp_list_pages(512, PAGE), 0);
	assert_int_equal(nvme_prp_list_pages(4, PAGE), 0);
	/* At the worst offset, one page of data touches two, one page and a word touches three. */
	assert_int_equal(nvme_prp_list_pages(PAGE, PAGE), 0);
	assert_int_equal(nvme_prp_list_pages(PAGE + 8, PAGE), 1);
	assert_int_equal(nvme_prp_list_pages(PER * PAGE, PAGE), 1);
	assert_int_equal(nvme_prp_list_pages((PER + 1) * PAGE, PAGE), 2);
	assert_int_equal(nvme_prp_list_pages((2 * PER - 1) * PAGE, PAGE), 2);
	assert_int_equal(nvme_prp_list_pages(2 * PER * PAGE, PAGE), 3);
}

static void larger_device_pages(void **state)
{
	(void)state;
	assert_int_equal(nvme_prp_build(0x10000, 65536 + 512, 65536, list, LIST, &prp1, &prp2), 2);
	assert_true(nvme_from_le64(prp2) == 0x20000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_page),
		cmocka_unit_test(two_pages_without_a_list),
		cmocka_unit_test(three_pages_need_a_list),
		cmocka_unit_test(a_full_list_page_is_not_chained),
		cmocka_unit_test(one_more_entry_chains),
		cmocka_unit_test(every_length_and_offset_around_the_edges),
		cmocka_unit_test(room_is_never_too_small_nor_wasted),
		cmocka_unit_test(larger_device_pages),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
