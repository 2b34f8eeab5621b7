// SPDX-License-Identifier: BSD-2-Clause
/* What goes where: every direction, trusted and not, whole and in parts. */
#include "rig.h"

#include <stdlib.h>
#include <string.h>

#define LEN 5000u

static char buf[16 * KB4] __attribute__((aligned(4096)));
static char was[sizeof(buf)], seen[sizeof(buf)];

static void both(void (*test)(struct rig *r, bool trusted))
{
	for (int trusted = 0; trusted < 2; trusted++) {
		struct rig *r = rig_open(NULL, DRAY_DOMAIN_PAGING, 0);

		test(r, trusted);
		rig_close(r);
	}
}

static void to_device(struct rig *r, bool trusted)
{
	char *va = buf + 123;
	struct dr_bounce_request q = request(va, LEN, DRAY_TO_DEVICE, trusted);
	struct dr_bounce_stats st;
	dray_iova_t iova;
	uint64_t h;

	fill(buf, sizeof(buf), 1);
	memcpy(was, buf, sizeof(buf));
	h = map_at(r, &q, &iova);
	assert_int_equal(iova & 4095, (uintptr_t)va & 4095);
	device_reads(r, iova, seen, LEN);
	assert_memory_equal(seen, va, LEN);
	st = stats_of(r);
	assert_int_equal(st.copied_in_bytes, LEN);
	assert_int_equal(st.slots_out, 1);
	/* Written since: nothing comes back over it. */
	fill(buf, sizeof(buf), 2);
	memcpy(was, buf, sizeof(buf));
	assert_int_equal(dr_bounce_sync_for_cpu(r->b, h, 0, LEN), 0);
	assert_true(dr_bounce_unmap(r->b, h, true));
	assert_memory_equal(buf, was, sizeof(buf));
	assert_int_equal(stats_of(r).copied_out_bytes, 0);
	assert_int_equal(stats_of(r).slots_out, 0);
	assert_int_equal(stats_of(r).used_bytes, 0);
}

static void test_to_device(void **state)
{
	(void)state;
	both(to_device);
}

/* A device that writes a part leaves the rest as it was, and nothing outside is touched. */
static void from_device(struct rig *r, bool trusted)
{
	char *va = buf + 2100;
	struct dr_bounce_request q = request(va, LEN, DRAY_FROM_DEVICE, trusted);
	dray_iova_t iova;
	uint64_t h;

	/* Somebody else's bytes were in the slot before. */
	memset(buf, 0xee, sizeof(buf));
	h = map_at(r, &q, &iova);
	assert_true(dr_bounce_unmap(r->b, h, true));
	fill(buf, sizeof(buf), 3);
	memcpy(was, buf, sizeof(buf));
	h = map_at(r, &q, &iova);
	device_writes(r, iova + 100, "abcdefg", 7);
	memcpy(was + 2200, "abcdefg", 7);
	assert_true(dr_bounce_unmap(r->b, h, true));
	assert_memory_equal(buf, was, sizeof(buf));
	assert_int_equal(stats_of(r).copied_out_bytes, 2 * LEN);
}

static void test_from_device(void **state)
{
	(void)state;
	both(from_device);
}

static void not_copied_out(struct rig *r, bool trusted)
{
	struct dr_bounce_request q = request(buf, LEN, DRAY_BIDIRECTIONAL, trusted);
	dray_iova_t iova;
	uint64_t h;

	fill(buf, sizeof(buf), 4);
	memcpy(was, buf, sizeof(buf));
	h = map_at(r, &q, &iova);
	device_writes(r, iova, "xyz", 3);
	assert_true(dr_bounce_unmap(r->b, h, false));
	assert_memory_equal(buf, was, sizeof(buf));
}

static void test_not_copied_out(void **state)
{
	(void)state;
	both(not_copied_out);
}

/* Every interior sub-range moves exactly its bytes, in each direction. */
static void sync_parts(struct rig *r, bool trusted)
{
	static const struct { size_t off, len; } part[] = {
		{ 0, 1 }, { 0, LEN }, { 1, LEN - 1 }, { LEN - 1, 1 }, { 2047, 2 }, { 700, 3000 },
		{ 4096, 0 }, { LEN, 0 },
	};
	char *va = buf + 777;
	struct dr_bounce_request q = request(va, LEN, DRAY_BIDIRECTIONAL, trusted);
	dray_iova_t iova;
	uint64_t h;

	for (unsigned i = 0; i < sizeof(part) / sizeof(part[0]); i++) {
		fill(buf, sizeof(buf), 5);
		h = map_at(r, &q, &iova);
		memcpy(was, va, LEN);
		fill(buf, sizeof(buf), 6);
		memcpy(was + part[i].off, va + part[i].off, part[i].len);
		assert_int_equal(dr_bounce_sync_for_device(r->b, h, part[i].off, part[i].len), 0);
		device_reads(r, iova, seen, LEN);
		assert_memory_equal(seen, was, LEN);

		fill(seen, LEN, 7);
		device_writes(r, iova, seen, LEN);
		memcpy(was, buf, sizeof(buf));
		memcpy(was + 777 + part[i].off, seen + part[i].off, part[i].len);
		assert_int_equal(dr_bounce_sync_for_cpu(r->b, h, part[i].off, part[i].len), 0);
		assert_memory_equal(buf, was, sizeof(buf));
		assert_true(dr_bounce_unmap(r->b, h, true));
	}
	h = map_at(r, &q, &iova);
	assert_int_equal(dr_bounce_sync_for_cpu(r->b, h, 1, LEN), -EINVAL);
	assert_int_equal(dr_bounce_sync_for_device(r->b, h, LEN + 1, 0), -EINVAL);
	assert_int_equal(dr_bounce_sync_for_device(r->b, h, 2, SIZE_MAX), -EINVAL);
	assert_true(dr_bounce_unmap(r->b, h, true));
	assert_int_equal(dr_bounce_sync_for_cpu(r->b, h, 0, 1), -EINVAL);
	assert_int_equal(dr_bounce_sync_for_device(r->b, h, 0, 1), -EINVAL);
}

static void test_sync_parts(void **state)
{
	(void)state;
	both(sync_parts);
}

/* What the CPU wrote before handing over stays where a device writes nothing. */
static void handed_back(struct rig *r, bool trusted)
{
	struct dr_bounce_request q = request(buf, LEN, DRAY_FROM_DEVICE, trusted);
	dray_iova_t iova;
	uint64_t h;

	fill(buf, LEN, 8);
	h = map_at(r, &q, &iova);
	fill(buf, LEN, 9);
	memcpy(was, buf, LEN);
	assert_int_equal(dr_bounce_sync_for_device(r->b, h, 0, LEN), 0);
	device_writes(r, iova + 10, "new", 3);
	memcpy(was + 10, "new", 3);
	assert_true(dr_bounce_unmap(r->b, h, true));
	assert_memory_equal(buf, was, LEN);
}

static void test_handed_back(void **state)
{
	(void)state;
	both(handed_back);
}

static void stale_handles(struct rig *r, bool trusted)
{
	struct dr_bounce_request q = request(buf, LEN, DRAY_BIDIRECTIONAL, trusted);
	dray_iova_t iova, again;
	uint64_t h, h2;

	assert_false(dr_bounce_unmap(r->b, 0, true));
	assert_false(dr_bounce_unmap(r->b, UINT64_MAX, true));
	h = map_at(r, &q, &iova);
	assert_false(dr_bounce_unmap(r->b, h + 1, true));
	assert_false(dr_bounce_unmap(r->b, h ^ (UINT64_C(1) << 28), true));
	assert_true(dr_bounce_unmap(r->b, h, true));
	assert_false(dr_bounce_unmap(r->b, h, true));
	/* The slot has a new life: the old handle is not mistaken for it. */
	h2 = map_at(r, &q, &again);
	assert_true(h2 != h);
	assert_false(dr_bounce_unmap(r->b, h, true));
	assert_int_equal(stats_of(r).bad_handles, 6);
	assert_int_equal(stats_of(r).slots_out, 1);
	assert_true(dr_bounce_unmap(r->b, h2, true));
	/* Nor when its pool is gone. */
	assert_int_equal(dr_bounce_retire_idle(r->b), 0);
	assert_false(dr_bounce_unmap(r->b, h2, true));
}

static void test_stale_handles(void **state)
{
	(void)state;
	both(stale_handles);
}

static void find(struct rig *r, bool trusted)
{
	char *va = buf + 3000;
	struct dr_bounce_request q = request(va, LEN, DRAY_BIDIRECTIONAL, trusted);
	dray_iova_t iova, other;
	uint64_t h, h2, found = 0;
	size_t off = 0;

	assert_false(dr_bounce_find(r->b, 4096, 1, &found, &off));
	h = map_at(r, &q, &iova);
	h2 = map_at(r, &q, &other);
	for (size_t i = 0; i < LEN; i += 333) {
		assert_true(dr_bounce_find(r->b, iova + i, LEN - i, &found, &off));
		assert_true(found == h && off == i);
		assert_true(dr_bounce_find(r->b, other + i, 1, &found, &off));
		assert_true(found == h2 && off == i);
		assert_false(dr_bounce_find(r->b, iova + i, LEN - i + 1, &found, &off));
	}
	assert_false(dr_bounce_find(r->b, iova - 1, 2, &found, &off));
	assert_false(dr_bounce_find(r->b, iova, LEN + 1, &found, &off));
	assert_ptr_equal((char *)dr_pgtable_va(r->io.pt, iova) + 1,
			 dr_pgtable_va(r->io.pt, iova + 1));
	assert_true(dr_bounce_unmap(r->b, h, true));
	assert_false(dr_bounce_find(r->b, iova, 1, &found, &off));
	assert_true(dr_bounce_find(r->b, other, 1, &found, &off));
	assert_true(dr_bounce_unmap(r->b, h2, true));
}

static void test_find(void **state)
{
	(void)state;
	both(find);
}

/* A closing device's slots go; the others' stay. */
static void by_owner(struct rig *r, bool trusted)
{
	struct dr_bounce_request q = request(buf, LEN, DRAY_FROM_DEVICE, trusted);
	dray_iova_t iova;
	uint64_t h[3];

	for (unsigned i = 0; i < 3; i++) {
		q.owner_bits = dr_pte_owner_bits(i == 1 ? 7 : 3);
		h[i] = map_at(r, &q, &iova);
		device_writes(r, iova, "no", 2);
	}
	fill(buf, LEN, 11);
	memcpy(was, buf, LEN);
	assert_int_equal(dr_bounce_unmap_owner(r->b, dr_pte_owner_bits(3), NULL, NULL), 2);
	assert_int_equal(dr_bounce_unmap_owner(r->b, dr_pte_owner_bits(3), NULL, NULL), 0);
	assert_memory_equal(buf, was, LEN);
	assert_false(dr_bounce_unmap(r->b, h[0], true));
	assert_false(dr_bounce_unmap(r->b, h[2], true));
	assert_true(dr_bounce_unmap(r->b, h[1], false));
}

static void test_by_owner(void **state)
{
	(void)state;
	both(by_owner);
}

/* Slots that are out when everything closes go with it. */
static void left_out(struct rig *r, bool trusted)
{
	struct dr_bounce_request q = request(buf, LEN, DRAY_BIDIRECTIONAL, trusted);
	dray_iova_t iova;

	map_at(r, &q, &iova);
}

static void test_left_out(void **state)
{
	(void)state;
	both(left_out);
}

static int setup(void **state)
{
	(void)state;
	world_begin();
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	world_end();
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_to_device),     cmocka_unit_test(test_from_device),
		cmocka_unit_test(test_not_copied_out), cmocka_unit_test(test_sync_parts),
		cmocka_unit_test(test_handed_back),   cmocka_unit_test(test_stale_handles),
		cmocka_unit_test(test_find),          cmocka_unit_test(test_by_owner),
		cmocka_unit_test(test_left_out),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
