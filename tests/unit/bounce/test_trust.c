// SPDX-License-Identifier: BSD-2-Clause
/*
 * What an untrusted device can see: the buffer it was given, zeroes in the rest of its granules,
 * and nothing at all as soon as the buffer is unmapped.
 */
#include "rig.h"

#include <dray/dray.h>
#include <stdlib.h>
#include <string.h>

#define PATTERN 0xa5
#define GRANULES 32u

static unsigned char neighbours[64 * 4096] __attribute__((aligned(4096)));
static unsigned char page[4096];

static struct dr_bounce_request untrusted(void *va, size_t len, enum dray_dir dir, unsigned owner)
{
	struct dr_bounce_request q = request(va, len, dir, false);

	q.owner_bits = dr_pte_owner_bits(owner);
	return q;
}

/*
 * Every granule the device reaches anywhere near @iova: bytes outside [iova, iova + len) are zero.
 * Returns how many granules it reached.
 */
static unsigned scan(struct rig *r, dray_iova_t iova, const unsigned char *want, size_t len)
{
	dray_iova_t middle = iova & ~(dray_iova_t)4095;
	unsigned reached = 0;

	for (unsigned g = 0; g < 2 * GRANULES; g++) {
		dray_iova_t at = middle + (g - (dray_iova_t)GRANULES) * 4096;
		struct dray_sim_fault f;

		if (dr_sim_dma_read(r->dev, at, page, 4096)) {
			assert_int_equal(dr_sim_take_faults(r->dev, &f, 1), 1);
			continue;
		}
		reached++;
		for (unsigned i = 0; i < 4096; i++) {
			dray_iova_t byte = at + i;
			bool inside = byte >= iova && byte - iova < len;
			unsigned char right = inside ? want[byte - iova] : 0;

			if (page[i] != right)
				fail_msg("0x%llx reads %02x, not %02x", (unsigned long long)byte,
					 page[i], right);
		}
	}
	return reached;
}

/* Buffers all round, in the same granules and in slots of other devices. */
static void test_scan(void **state)
{
	struct rig *r = rig_open(NULL, DRAY_DOMAIN_PAGING, 0);
	static const struct { size_t off, len; } sub[] = {
		{ 0, 1 }, { 1, 1 }, { 4095, 1 }, { 100, 300 }, { 4000, 200 }, { 2048, 2048 },
		{ 1, 4096 }, { 4096, 4096 }, { 5, 12000 },
	};

	(void)state;
	memset(neighbours, PATTERN, sizeof(neighbours));
	for (unsigned i = 0; i < sizeof(sub) / sizeof(sub[0]); i++) {
		unsigned char *va = neighbours + 16 * 4096 + sub[i].off;
		struct dr_bounce_request q = untrusted(va, sub[i].len, DRAY_TO_DEVICE, 1);
		static unsigned char was[3 * 4096];
		unsigned granules = (unsigned)((sub[i].off % 4096 + sub[i].len + 4095) / 4096);
		dray_iova_t iova, other;
		uint64_t h, used;

		/* The slot's memory has held other things before. */
		struct dr_bounce_request before = untrusted(neighbours, 16 * 4096,
							    DRAY_TO_DEVICE, 2);

		used = map_at(r, &before, &other);
		assert_true(dr_bounce_unmap(r->b, used, true));
		fill(va, sub[i].len, i);
		memcpy(was, va, sub[i].len);
		h = map_at(r, &q, &iova);
		assert_int_equal(iova & 4095, sub[i].off & 4095);
		assert_int_equal(scan(r, iova, was, sub[i].len), granules);
		assert_true(dr_bounce_unmap(r->b, h, true));
		assert_int_equal(scan(r, iova, was, sub[i].len), 0);
		memset(va, PATTERN, sub[i].len);
	}
	rig_close(r);
}

/* Granules of pool memory beside each other belong to two devices; neither is in the other's. */
static void test_live_slot_beside(void **state)
{
	struct rig *r = rig_open(NULL, DRAY_DOMAIN_PAGING, 0);
	enum { N = 48 };
	dray_iova_t iova[N];
	unsigned char *memory[N];
	uint64_t h[N];
	unsigned neighbouring = 0;

	(void)state;
	for (unsigned i = 0; i < N; i++) {
		unsigned char *va = neighbours + i * 1300;
		struct dr_bounce_request q = untrusted(va, 600, DRAY_BIDIRECTIONAL, 1 + i % 2);

		memset(va, (int)(i + 1), 600);
		h[i] = map_at(r, &q, &iova[i]);
		memory[i] = dr_pgtable_va(r->io.pt, iova[i]);
		assert_non_null(memory[i]);
		assert_ptr_not_equal(memory[i], va);
	}
	for (unsigned i = 0; i < N; i++)
		for (unsigned k = 0; k < N; k++) {
			uintptr_t a = (uintptr_t)memory[i] / 4096, z = (uintptr_t)memory[k] / 4096;

			assert_true(i == k || a != z);
			neighbouring += a + 1 == z;
		}
	/* Packed densely, or this would show nothing. */
	assert_true(neighbouring > N / 2);
	for (unsigned i = 0; i < N; i++) {
		memset(page, 0, sizeof(page));
		device_reads(r, iova[i] & ~(dray_iova_t)4095, page, 4096);
		for (unsigned k = 0; k < 4096; k++) {
			bool inside = k >= (iova[i] & 4095) && k < (iova[i] & 4095) + 600;

			assert_int_equal(page[k], inside ? (int)(i + 1) : 0);
		}
		/* What it writes beside its buffer is nobody's, and nobody ever sees it. */
		memset(page, 0xbb, sizeof(page));
		device_writes(r, iova[i] & ~(dray_iova_t)4095, page, 4096);
		assert_true(dr_bounce_unmap(r->b, h[i], false));
	}
	for (unsigned i = 0; i < N; i++) {
		unsigned char *va = neighbours + i * 1300;
		struct dr_bounce_request q = untrusted(va, 600, DRAY_BIDIRECTIONAL, 1 + i % 2);

		assert_int_equal(*va, i + 1);
		h[i] = map_at(r, &q, &iova[i]);
	}
	for (unsigned i = 0; i < N; i++) {
		device_reads(r, iova[i] & ~(dray_iova_t)4095, page, 4096);
		for (unsigned k = 0; k < 4096; k++)
			assert_int_not_equal(page[k], 0xbb);
		assert_true(dr_bounce_unmap(r->b, h[i], true));
	}
	rig_close(r);
}

/* The device gets the rights its direction needs; both with the owner's number. */
static void test_rights(void **state)
{
	struct rig *r = rig_open(NULL, DRAY_DOMAIN_PAGING, 0);
	struct dr_bounce_request q = untrusted(neighbours + 5, 100, DRAY_TO_DEVICE, 9);
	struct dr_pt_mapping m;
	struct dray_sim_fault f;
	dray_iova_t iova;
	uint64_t h;

	(void)state;
	h = map_at(r, &q, &iova);
	assert_true(dr_pgtable_next(r->io.pt, 0, UINT64_MAX, &m));
	assert_int_equal(dr_pte_owner(m.bits), 9);
	assert_int_equal(m.len, 4096);
	assert_int_equal(dr_sim_dma_write(r->dev, iova, page, 1), -EFAULT);
	assert_int_equal(dr_sim_take_faults(r->dev, &f, 1), 1);
	assert_true(dr_bounce_unmap(r->b, h, true));
	q.dir = DRAY_FROM_DEVICE;
	h = map_at(r, &q, &iova);
	assert_int_equal(dr_sim_dma_read(r->dev, iova, page, 1), -EFAULT);
	assert_int_equal(dr_sim_take_faults(r->dev, &f, 1), 1);
	device_writes(r, iova, "in", 2);
	assert_true(dr_bounce_unmap(r->b, h, true));
	assert_memory_equal(neighbours + 5, "in", 2);
	assert_false(dr_pgtable_next(r->io.pt, 0, UINT64_MAX, &m));
	rig_close(r);
}

/* Unmapped for good when unmap returns, through a warm IOTLB. */
static void test_strict(void **state)
{
	struct rig *r = rig_open(NULL, DRAY_DOMAIN_PAGING, 0);
	struct dr_bounce_request q = untrusted(neighbours, 4096, DRAY_BIDIRECTIONAL, 1);
	dray_iova_t iova;
	uint64_t h;

	(void)state;
	for (unsigned i = 0; i < 50; i++) {
		h = map_at(r, &q, &iova);
		device_reads(r, iova, page, 1);
		assert_true(dr_bounce_unmap(r->b, h, true));
		device_read_faults(r, iova);
	}
	rig_close(r);
}

/* A trusted slot that is out keeps an untrusted device out; an idle pool goes. */
static void test_retire(void **state)
{
	struct rig *r = rig_open(NULL, DRAY_DOMAIN_PAGING, 0);
	struct dr_bounce_request q = request(neighbours, 4096, DRAY_BIDIRECTIONAL, true);
	struct dr_bounce_pool_set *own;
	dray_iova_t iova, again;
	uint64_t h, h2;

	(void)state;
	h = map_at(r, &q, &iova);
	assert_int_equal(dr_bounce_retire_idle(r->b), -EBUSY);
	assert_true(dr_bounce_is_present(r->b));
	/* Nothing has changed: the next one is from the pool as well. */
	h2 = map_at(r, &q, &again);
	assert_int_equal(stats_of(r).private_bytes, 0);
	assert_true(dr_bounce_unmap(r->b, h, true));
	assert_true(dr_bounce_unmap(r->b, h2, true));
	device_reads(r, iova, page, 1); /* a pool stays reachable */
	assert_int_equal(dr_bounce_own_open(r->b, 8 * KB, &own), 0);
	q.own = own;
	h = map_at(r, &q, &again);
	assert_int_equal(dr_bounce_retire_idle(r->b), -EBUSY);
	assert_true(dr_bounce_unmap(r->b, h, true));

	assert_int_equal(dr_bounce_retire_idle(r->b), 0);
	assert_false(dr_bounce_is_present(r->b));
	device_read_faults(r, iova);
	assert_int_equal(stats_of(r).mapped_bytes, 0);

	/* A map that had decided before, and comes after, exposes no more than its own granules. */
	q.own = NULL;
	q.len = 10;
	h = map_at(r, &q, &iova);
	assert_false(dr_bounce_is_present(r->b));
	fill(neighbours, 10, 1);
	assert_int_equal(dr_bounce_sync_for_device(r->b, h, 0, 10), 0);
	assert_int_equal(scan(r, iova, neighbours, 10), 1);
	/* Sealed twice is sealed. */
	assert_int_equal(dr_bounce_retire_idle(r->b), 0);
	dr_bounce_allow_pools(r->b);
	h2 = map_at(r, &q, &again);
	assert_true(dr_bounce_is_present(r->b));
	assert_true(dr_bounce_unmap(r->b, h, true));
	assert_true(dr_bounce_unmap(r->b, h2, true));
	dr_bounce_own_close(r->b, own);
	rig_close(r);
}

/*
 * A backend that refuses to let go: the granules and their IOVAs are never used again, and who
 * still reaches them reads zeroes.
 */
static void test_refused_unmap(void **state)
{
	struct rig *r = rig_open(NULL, DRAY_DOMAIN_PAGING, 0);
	struct dr_bounce_request q = untrusted(neighbours, 8192, DRAY_BIDIRECTIONAL, 1);
	dray_iova_t iova, other;
	uint64_t h;
	char *lost;

	(void)state;
	fill(neighbours, 8192, 3);
	h = map_at(r, &q, &iova);
	lost = dr_pgtable_va(r->io.pt, iova);
	dr_sim_fail_unmap_at(r->io.be, 0);
	assert_false(dr_bounce_unmap(r->b, h, true));
	assert_false(dr_bounce_unmap(r->b, h, true));
	assert_true(r->io.damaged);
	assert_int_equal(stats_of(r).lost_bytes, 8192);
	assert_int_equal(stats_of(r).slots_out, 0);
	memset(neighbours, 0x77, 8192);
	device_reads(r, iova, page, 4096);
	for (unsigned i = 0; i < 4096; i++)
		assert_int_equal(page[i], 0);
	for (unsigned i = 0; i < 100; i++) {
		h = map_at(r, &q, &other);
		assert_true(other + 8192 <= iova || iova + 8192 <= other);
		assert_true((char *)dr_pgtable_va(r->io.pt, other) >= lost + 8192 ||
			    (char *)dr_pgtable_va(r->io.pt, other) + 8192 <= lost);
		assert_true(dr_bounce_unmap(r->b, h, true));
	}
	/* Its pool is never given back before the end. */
	for (unsigned i = 0; i < 4; i++) {
		world_ns += UINT64_C(2000000000);
		dr_bounce_trim(r->b);
	}
	assert_int_equal(stats_of(r).pools, 1);
	rig_close(r);
}

/* The same of a pool, when it goes and when it is a device's own. */
static void test_refused_pool(void **state)
{
	struct rig *r = rig_open(NULL, DRAY_DOMAIN_PAGING, 0);
	struct dr_bounce_request q = request(neighbours, 10, DRAY_BIDIRECTIONAL, true);
	struct dr_bounce_pool_set *own;
	dray_iova_t iova, other;
	uint64_t h;

	(void)state;
	fill(neighbours, 10, 5);
	h = map_at(r, &q, &iova);
	assert_true(dr_bounce_unmap(r->b, h, true));
	dr_sim_fail_unmap_at(r->io.be, 0);
	assert_int_equal(dr_bounce_retire_idle(r->b), 0);
	assert_int_equal(stats_of(r).lost_bytes, 2 * MB1);
	assert_int_equal(stats_of(r).pools, 0);
	device_reads(r, iova, page, 10);
	for (unsigned i = 0; i < 10; i++)
		assert_int_equal(page[i], 0);
	dr_bounce_allow_pools(r->b);
	h = map_at(r, &q, &other);
	assert_true(other / (2 * MB1) != iova / (2 * MB1));
	assert_true(dr_bounce_unmap(r->b, h, true));
	assert_int_equal(dr_bounce_own_open(r->b, 64 * KB, &own), 0);
	q.own = own;
	assert_true(dr_bounce_unmap(r->b, map_at(r, &q, &other), true));
	dr_sim_fail_unmap_at(r->io.be, 0);
	dr_bounce_own_close(r->b, own);
	assert_int_equal(stats_of(r).lost_bytes, 2 * MB1 + 64 * KB);

	/* A device's own memory of which a slot was lost. */
	assert_int_equal(dr_bounce_own_open(r->b, 64 * KB, &own), 0);
	q.trusted = false;
	q.own = own;
	dr_bounce_retire_idle(r->b);
	h = map_at(r, &q, &other);
	dr_sim_fail_unmap_at(r->io.be, 0);
	assert_false(dr_bounce_unmap(r->b, h, true));
	dr_bounce_own_close(r->b, own);
	assert_false(dr_bounce_unmap(r->b, h, true));
	world_ns += UINT64_C(2000000000);
	dr_bounce_trim(r->b);
	assert_true(dr_bounce_is_valid(r->b));
	rig_close(r);
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
		cmocka_unit_test(test_scan),
		cmocka_unit_test(test_live_slot_beside),
		cmocka_unit_test(test_rights),
		cmocka_unit_test(test_strict),
		cmocka_unit_test(test_retire),
		cmocka_unit_test(test_refused_unmap),
		cmocka_unit_test(test_refused_pool),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
