// SPDX-License-Identifier: BSD-2-Clause
/* The parsers of what kernel and sysfs say about ranges, and the arithmetic on ranges. */
#include "rig.h"

#include <errno.h>
#include <stdlib.h>

static void limits(struct dr_backend_limits *ret_lim, dray_iova_t first, dray_iova_t last)
{
	memset(ret_lim, 0, sizeof(*ret_lim));
	ret_lim->granule = 4096;
	ret_lim->n_usable = 1;
	ret_lim->usable[0] = (struct dray_range){ first, last };
}

static void assert_range(const struct dr_backend_limits *lim, unsigned i, dray_iova_t first,
			 dray_iova_t last)
{
	assert_in_range(i, 0, lim->n_usable - 1);
	assert_int_equal(lim->usable[i].first, first);
	assert_int_equal(lim->usable[i].last, last);
}

static void test_exclude(void **state)
{
	struct dr_backend_limits lim;

	(void)state;
	limits(&lim, 0, 0xffffff);
	dr_type1_limits_exclude(&lim, 0x10000, 0x1ffff);
	assert_int_equal(lim.n_usable, 2);
	assert_range(&lim, 0, 0, 0xffff);
	assert_range(&lim, 1, 0x20000, 0xffffff);

	/* partial granules go whole */
	dr_type1_limits_exclude(&lim, 0x20010, 0x20010);
	assert_range(&lim, 1, 0x21000, 0xffffff);
	dr_type1_limits_exclude(&lim, 0xfff001, UINT64_MAX);
	assert_range(&lim, 1, 0x21000, 0xffefff);

	/* beside everything: nothing */
	dr_type1_limits_exclude(&lim, 0x10000, 0x20fff);
	assert_int_equal(lim.n_usable, 2);
	/* a whole range, and the end of the other */
	dr_type1_limits_exclude(&lim, 0, 0x21fff);
	assert_int_equal(lim.n_usable, 1);
	assert_range(&lim, 0, 0x22000, 0xffefff);
	dr_type1_limits_exclude(&lim, 0, UINT64_MAX);
	assert_int_equal(lim.n_usable, 0);
}

static void test_too_many_ranges_lose_the_smallest(void **state)
{
	struct dr_backend_limits lim;

	(void)state;
	limits(&lim, 0, 0xffffffff);
	/* the first piece is one granule, each next one longer */
	for (uint64_t i = 0, at = 0x1000; i < 40; at += (i + 2) * 0x1000, i++)
		dr_type1_limits_exclude(&lim, at, at + 0xfff);
	assert_int_equal(lim.n_usable, DR_BACKEND_RANGES);
	for (unsigned i = 0; i < lim.n_usable; i++) {
		assert_true(lim.usable[i].first < lim.usable[i].last);
		if (i)
			assert_true(lim.usable[i - 1].last < lim.usable[i].first);
	}
	/* the largest is still there, the smallest are not */
	assert_int_equal(lim.usable[DR_BACKEND_RANGES - 1].last, 0xffffffff);
	assert_true(lim.usable[0].first > 0x1000);

	/* and where they shrink, the last ones, of which each would push the one before it out */
	limits(&lim, 0, 0xffffffff);
	for (uint64_t i = 0, at = 0x40000; i < 40; at += (41 - i) * 0x1000, i++)
		dr_type1_limits_exclude(&lim, at, at + 0xfff);
	assert_int_equal(lim.n_usable, DR_BACKEND_RANGES);
	assert_range(&lim, 0, 0, 0x3ffff);
	assert_int_equal(lim.usable[DR_BACKEND_RANGES - 1].last, 0xffffffff);
	for (unsigned i = 1; i < lim.n_usable; i++)
		assert_true(lim.usable[i - 1].last < lim.usable[i].first);
}

static void test_reserved_text(void **state)
{
	struct dr_backend_limits lim;

	(void)state;
	limits(&lim, 0, UINT64_C(0xffffffffff));
	dr_type1_limits_exclude_text(&lim,
		"0x0000000000001000 0x0000000000001fff direct\n"
		"0x0000000000010000 0x000000000001ffff direct-relaxable\n"
		"0x00000000fee00000 0x00000000feefffff msi\n"
		"0x000000fd00000000 0x000000ffffffffff reserved\n");
	assert_int_equal(lim.n_usable, 3);
	assert_range(&lim, 0, 0, 0xfff);
	assert_range(&lim, 1, 0x2000, 0xfedfffff);
	assert_range(&lim, 2, 0xfef00000, UINT64_C(0xfcffffffff));

	/* nonsense changes nothing */
	dr_type1_limits_exclude_text(&lim, "");
	dr_type1_limits_exclude_text(&lim, "\n\nreserved\n0x2000\n0x5000 0x4000 reserved\n0x1 0x2");
	assert_int_equal(lim.n_usable, 3);
}

/* An answer of the kernel's, by hand. */
struct reply {
	_Alignas(8) char bytes[512];
	uint32_t len;
};

static void reply_head(struct reply *r, uint64_t page_sizes, uint32_t cap_offset)
{
	struct vfio_iommu_type1_info info = {
		.flags = VFIO_IOMMU_INFO_PGSIZES | VFIO_IOMMU_INFO_CAPS,
		.iova_pgsizes = page_sizes,
		.cap_offset = cap_offset,
	};

	memset(r, 0, sizeof(*r));
	memcpy(r->bytes, &info, sizeof(info));
	r->len = sizeof(info);
}

static void reply_cap(struct reply *r, uint16_t id, uint32_t next, const void *body, size_t len)
{
	struct vfio_info_cap_header head = { .id = id, .version = 1, .next = next };

	memcpy(r->bytes + r->len, &head, sizeof(head));
	memcpy(r->bytes + r->len + sizeof(head), body, len);
	r->len += (uint32_t)(sizeof(head) + len);
}

static void test_info(void **state)
{
	const uint32_t first = sizeof(struct vfio_iommu_type1_info);
	struct {
		uint32_t n, reserved;
		uint64_t r[4];
	} ranges = { 2, 0, { 0, 0xfedfffff, 0xfef00000, UINT64_MAX } };
	const uint32_t left = 1234;
	struct dr_type1_info info;
	struct reply r;

	(void)state;
	reply_head(&r, 0x40201000, first);
	reply_cap(&r, VFIO_IOMMU_TYPE1_INFO_CAP_IOVA_RANGE, first + 8 + sizeof(ranges), &ranges,
		  sizeof(ranges));
	reply_cap(&r, 77, r.len + 16, "unknown", 8);
	reply_cap(&r, VFIO_IOMMU_TYPE1_INFO_DMA_AVAIL, 0, &left, sizeof(left));
	assert_true(dr_type1_info_parse(r.bytes, r.len, &info));
	assert_int_equal(info.page_sizes, 0x40201000);
	assert_true(info.has_ranges && info.has_avail);
	assert_int_equal(info.avail, 1234);
	assert_int_equal(info.n_ranges, 2);
	assert_int_equal(info.ranges[0].last, 0xfedfffff);
	assert_int_equal(info.ranges[1].last, UINT64_MAX);

	/* no prefix of it is read past its end, and none is taken for well-formed but empty ones */
	for (size_t len = 0; len < r.len; len++) {
		char *cut = malloc(len ? len : 1); /* exact, so that a sanitizer sees the end */

		assert_non_null(cut);
		memcpy(cut, r.bytes, len);
		if (dr_type1_info_parse(cut, len, &info))
			assert_in_range(len, 16, sizeof(struct vfio_iommu_type1_info) - 1);
		free(cut);
	}
}

static void test_info_malformed(void **state)
{
	const uint32_t first = sizeof(struct vfio_iommu_type1_info);
	struct {
		uint32_t n, reserved;
		uint64_t r[4];
	} ranges = { 2, 0, { 0x1000, 0x1fff, 0x1000, 0x2fff } };
	struct dr_type1_info info;
	struct reply r;

	(void)state;
	/* overlapping, descending, reversed, after the end of everything */
	for (int i = 0; i < 4; i++) {
		static const uint64_t bad[4][4] = {
			{ 0x1000, 0x1fff, 0x1800, 0x2fff },
			{ 0x3000, 0x3fff, 0x1000, 0x1fff },
			{ 0x1000, 0x1fff, 0x3fff, 0x3000 },
			{ 0x1000, UINT64_MAX, 0, 0xfff },
		};

		memcpy(ranges.r, bad[i], sizeof(ranges.r));
		reply_head(&r, 0x1000, first);
		reply_cap(&r, VFIO_IOMMU_TYPE1_INFO_CAP_IOVA_RANGE, 0, &ranges, sizeof(ranges));
		assert_false(dr_type1_info_parse(r.bytes, r.len, &info));
	}
	/* more ranges said than there are */
	ranges.n = 1000;
	reply_head(&r, 0x1000, first);
	reply_cap(&r, VFIO_IOMMU_TYPE1_INFO_CAP_IOVA_RANGE, 0, &ranges, sizeof(ranges));
	assert_false(dr_type1_info_parse(r.bytes, r.len, &info));
	/* a loop */
	reply_head(&r, 0x1000, first);
	reply_cap(&r, 77, first, "unknown", 8);
	assert_false(dr_type1_info_parse(r.bytes, r.len, &info));
	/* into the head, and past the end */
	reply_head(&r, 0x1000, 8);
	assert_false(dr_type1_info_parse(r.bytes, r.len, &info));
	reply_head(&r, 0x1000, UINT32_MAX);
	assert_false(dr_type1_info_parse(r.bytes, r.len, &info));
	/* no capabilities at all is an old kernel's answer */
	reply_head(&r, 0x1000, 0);
	assert_true(dr_type1_info_parse(r.bytes, r.len, &info));
	assert_false(info.has_ranges || info.has_avail);
}

static void test_limits_at_open(void **state)
{
	struct dr_backend_limits lim;

	(void)state;
	assert_int_equal(dr_type1_limits_at_open(0, 0, &lim), 0);
	assert_int_equal(lim.granule, 4096);
	assert_true(lim.page_sizes & 4096);
	assert_int_equal(lim.entries_limit, 65535);
	assert_int_equal(lim.n_usable, 2);
	assert_range(&lim, 0, 0x100000, 0xfedfffff);
	assert_range(&lim, 1, 0xfef00000, (UINT64_C(1) << 39) - 1);

	vfio_fake_set_entry_limit(1000);
	assert_int_equal(dr_type1_limits_at_open(0x1234, 0x7fff, &lim), 0);
	assert_int_equal(lim.entries_limit, 1000);
	assert_int_equal(lim.n_usable, 1);
	assert_range(&lim, 0, 0x2000, 0x7fff);

	/* a window that is named is what counts, but not where interrupts go nor past the table */
	assert_int_equal(dr_type1_limits_at_open(0xfed00000, UINT64_MAX, &lim), 0);
	assert_int_equal(lim.n_usable, 2);
	assert_range(&lim, 0, 0xfed00000, 0xfedfffff);
	assert_range(&lim, 1, 0xfef00000, (UINT64_C(1) << 48) - 1);
	assert_int_equal(dr_type1_limits_at_open(0xfee00000, 0xfeefffff, &lim), -ERANGE);
	assert_words("0xfee00000", "window", NULL);
	assert_int_equal(dr_type1_limits_at_open(UINT64_C(1) << 48, UINT64_MAX, &lim), -ERANGE);
	assert_int_equal(dr_type1_limits_at_open(0x1001, 0x1fff, &lim), -EINVAL);
	assert_words("0x1001", "granule", NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_exclude),
		cmocka_unit_test(test_too_many_ranges_lose_the_smallest),
		cmocka_unit_test(test_reserved_text),
		cmocka_unit_test(test_info),
		cmocka_unit_test(test_info_malformed),
		cmocka_unit_test_setup_teardown(test_limits_at_open, machine_up, machine_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
