// SPDX-License-Identifier: BSD-2-Clause
/* Where slots go: masks, alignments, boundaries, lengths, ceilings, other worlds. */
#include "rig.h"

#include <dray/dray.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

static char *big; /* 4 MiB */

#define BIG ((size_t)4 << 20)

static void test_offset_kept(void **state)
{
	struct rig *r = rig_open(NULL, DRAY_DOMAIN_PAGING, 0);

	(void)state;
	for (int trusted = 0; trusted < 2; trusted++)
		for (size_t off = 0; off < 4096; off += 91) {
			struct dr_bounce_request q = request(big + off, 3000, DRAY_TO_DEVICE,
							     trusted);
			dray_iova_t iova;
			uint64_t h = map_at(r, &q, &iova);
			char seen[3000];

			assert_int_equal(iova & 4095, off);
			device_reads(r, iova, seen, sizeof(seen));
			assert_memory_equal(seen, big + off, sizeof(seen));
			assert_true(dr_bounce_unmap(r->b, h, true));
		}
	rig_close(r);
}

/* Alignments at which an odd buffer has to start at an aligned address instead. */
static void test_min_align(void **state)
{
	struct rig *r = rig_open(NULL, DRAY_DOMAIN_PAGING, 0);

	(void)state;
	for (int trusted = 0; trusted < 2; trusted++)
		for (size_t align = 1; align <= MB1 * 16; align *= 2) {
			struct dr_bounce_request q = request(big + 4095, 5001, DRAY_BIDIRECTIONAL,
							     trusted);
			dray_iova_t odd, even;
			uint64_t h[2];

			q.min_align = align;
			h[0] = map_at(r, &q, &odd);
			assert_int_equal(odd & (align - 1), 0);
			if (align == 1)
				assert_int_equal(odd & 4095, 4095);
			/* Aligned and in the middle of a granule: both can be kept. */
			q.va = big + (align < 4096 ? align * (4096 / align - 1) : align <= BIG / 2 ?
				      align : 0);
			h[1] = map_at(r, &q, &even);
			assert_int_equal(even & (align - 1), 0);
			assert_int_equal(even & 4095, (uintptr_t)q.va & 4095);
			assert_true(even + q.len <= odd || odd + q.len <= even);
			assert_true(dr_bounce_unmap(r->b, h[0], true));
			assert_true(dr_bounce_unmap(r->b, h[1], true));
		}
	rig_close(r);
}

/* Two aligned requests at a time, of every alignment and many lengths, never share a byte. */
static void test_aligned_do_not_overlap(void **state)
{
	struct rig *r = rig_open(NULL, DRAY_DOMAIN_PAGING, 0);
	static const size_t lens[] = { 1, 2047, 2048, 2049, 4096, 6145, 65536, 70001 };
	enum { N = 64 };
	dray_iova_t iova[N];
	uint64_t h[N];
	size_t len[N];
	unsigned n = 0;

	(void)state;
	for (size_t align = 2048; align <= 65536; align *= 2)
		for (unsigned i = 0; i < 8; i++, n++) {
			struct dr_bounce_request q = request(big + 1, lens[i],
							     DRAY_TO_DEVICE, true);

			q.min_align = align;
			h[n] = map_at(r, &q, &iova[n]);
			len[n] = lens[i];
			assert_int_equal(iova[n] & (align - 1), 0);
			for (unsigned k = 0; k < n; k++)
				/* Whole slots, not bytes. */
				assert_true(iova[k] / 2048 > (iova[n] + len[n] - 1) / 2048 ||
					    iova[n] / 2048 > (iova[k] + len[k] - 1) / 2048);
		}
	assert_true(dr_bounce_is_valid(r->b));
	while (n-- > 0)
		assert_true(dr_bounce_unmap(r->b, h[n], true));
	rig_close(r);
}

static void test_masks(void **state)
{
	static const uint64_t masks[] = { MASK64, (UINT64_C(1) << 39) - 1, MASK32, 0xfffffff,
					  0x3ffffff };
	struct rig *r = rig_open(NULL, DRAY_DOMAIN_PAGING, 0);
	struct dr_bounce_request q = request(big, 4096, DRAY_TO_DEVICE, true);
	uint64_t h[5], wide;
	dray_iova_t iova;

	(void)state;
	for (unsigned i = 0; i < 5; i++) {
		q.mask = masks[i];
		h[i] = map_at(r, &q, &iova);
		assert_int_equal(stats_of(r).pools, i + 1);
	}
	/* A pool in narrow reach serves whoever reaches further; the narrow one finds its own. */
	assert_int_equal(stats_of(r).grows, 5);
	for (unsigned i = 0; i < 5; i++)
		assert_true(dr_bounce_unmap(r->b, h[i], true));
	rig_close(r);

	r = rig_open(NULL, DRAY_DOMAIN_PAGING, 0);
	q.mask = 0x3ffffff;
	h[0] = map_at(r, &q, &iova);
	q.mask = MASK64;
	wide = map_at(r, &q, &iova);
	assert_int_equal(stats_of(r).pools, 1);
	assert_true(dr_bounce_unmap(r->b, wide, true));
	assert_true(dr_bounce_unmap(r->b, h[0], true));
	/* A pool that goes on above the mask does not serve, whatever place in it is free. */
	wide = map_at(r, &q, &iova);
	assert_true(dr_bounce_unmap(r->b, wide, true));
	q.mask = iova + q.len - 2;
	wide = map_at(r, &q, &iova);
	assert_int_equal(stats_of(r).pools, 2);
	assert_true(dr_bounce_unmap(r->b, wide, true));
	rig_close(r);
}

/* A new pool goes where every attached device reaches, while there is room. */
static void test_shared_mask(void **state)
{
	struct rig *r = rig_open(NULL, DRAY_DOMAIN_PAGING, 0);
	struct dr_bounce_request q = request(big, 4096, DRAY_TO_DEVICE, true);
	dray_iova_t iova, low;
	uint64_t h[3];

	(void)state;
	q.shared_mask = MASK32;
	h[0] = map_at(r, &q, &low);
	assert_true(low <= MASK32);
	assert_int_equal(dr_bounce_retire_idle(r->b), -EBUSY);
	assert_true(dr_bounce_unmap(r->b, h[0], true));
	assert_int_equal(dr_bounce_retire_idle(r->b), 0);
	dr_bounce_allow_pools(r->b);
	/* No room down there: then further up, but below the device's own mask. */
	assert_int_equal(dr_iova_resv(r->io.space, 4096, 0xfedfffff, DR_RESV_HOLE), 0);
	assert_int_equal(dr_iova_resv(r->io.space, 0xfef00000, MASK32, DR_RESV_HOLE), 0);
	h[1] = map_at(r, &q, &iova);
	assert_true(iova > MASK32);
	/* A device that needs it lower has no address at all. */
	q.mask = MASK32;
	assert_int_equal(dr_bounce_map(r->b, &q, &iova, &h[2]), -ENOSPC);
	assert_true(dr_bounce_unmap(r->b, h[1], true));
	rig_close(r);
}

static void test_boundaries(void **state)
{
	struct rig *r = rig_open(NULL, DRAY_DOMAIN_PAGING, 0);
	enum { N = 40 };
	dray_iova_t iova;
	uint64_t h[N], none;

	(void)state;
	for (int trusted = 0; trusted < 2; trusted++) {
		unsigned n = 0;

		for (uint64_t bound = 4096; bound <= 65536; bound *= 2)
			for (unsigned i = 0; i < 8; i++) {
				size_t len = (size_t)bound - 300 * i;
				struct dr_bounce_request q = request(big, len, DRAY_TO_DEVICE,
								     trusted);

				q.boundary_mask = bound - 1;
				h[n++] = map_at(r, &q, &iova);
				assert_true((iova & (bound - 1)) + len <= bound);
			}
		while (n-- > 0)
			assert_true(dr_bounce_unmap(r->b, h[n], true));
	}
	/* Longer than any two boundaries are apart; or at an offset where it must cross. */
	for (int trusted = 0; trusted < 2; trusted++) {
		struct dr_bounce_request q = request(big, 4097, DRAY_TO_DEVICE, trusted);

		q.boundary_mask = 4095;
		assert_int_equal(dr_bounce_map(r->b, &q, &iova, &none), -EMSGSIZE);
		q = request(big + 500, 100, DRAY_TO_DEVICE, trusted);
		q.boundary_mask = 511;
		assert_int_equal(dr_bounce_map(r->b, &q, &iova, &none), -EMSGSIZE);
		q.keep_offset = false;
		none = map_at(r, &q, &iova);
		assert_true(iova / 512 == (iova + 99) / 512);
		assert_true(dr_bounce_unmap(r->b, none, true));
	}
	rig_close(r);
}

static void test_longest(void **state)
{
	struct rig *r = rig_open(NULL, DRAY_DOMAIN_PAGING, 0);
	dray_iova_t iova;
	uint64_t h;

	(void)state;
	for (int trusted = 0; trusted < 2; trusted++) {
		size_t max = dr_bounce_max_len(r->b, NULL, trusted);
		struct dr_bounce_request q = request(big + 4095, max, DRAY_BIDIRECTIONAL, trusted);
		char *seen = malloc(max);

		assert_true(max >= MB1);
		assert_non_null(seen);
		h = map_at(r, &q, &iova);
		device_reads(r, iova, seen, max);
		assert_memory_equal(seen, big + 4095, max);
		assert_true(dr_bounce_unmap(r->b, h, true));
		q.len = max + 1;
		assert_int_equal(dr_bounce_map(r->b, &q, &iova, &h), -EMSGSIZE);
		assert_non_null(strstr(dray_errmsg(), "map pieces"));
		free(seen);
	}
	rig_close(r);

	/* A small ceiling is the limit, and what is stated can be had. */
	for (size_t bytes = 1; bytes <= MB1; bytes *= 2) {
		struct dr_bounce_request q;

		r = rig_open(NULL, DRAY_DOMAIN_PAGING, bytes);
		q = request(big + 4095, dr_bounce_max_len(r->b, NULL, true), DRAY_TO_DEVICE, true);
		assert_true(q.len >= 4096 && q.len <= bytes + 4096);
		h = map_at(r, &q, &iova);
		assert_true(dr_bounce_unmap(r->b, h, true));
		q.trusted = false;
		h = map_at(r, &q, &iova);
		assert_true(dr_bounce_unmap(r->b, h, true));
		rig_close(r);
	}
}

static void test_refused(void **state)
{
	struct rig *r = rig_open(NULL, DRAY_DOMAIN_PAGING, 0);
	struct dr_bounce_opts opts = { .bytes = SIZE_MAX };
	struct dr_bounce_request q = request(NULL, 1, DRAY_TO_DEVICE, true);
	struct dr_bounce *none = NULL;
	struct dr_bounce_pool_set *own = NULL;
	dray_iova_t iova = 5;
	uint64_t h = 6;

	(void)state;
	assert_int_equal(dr_bounce_map(r->b, &q, &iova, &h), -EINVAL);
	q = request(big, 0, DRAY_TO_DEVICE, true);
	assert_int_equal(dr_bounce_map(r->b, &q, &iova, &h), -EINVAL);
	q = request(big, 1, DRAY_TO_DEVICE, true);
	q.min_align = 24;
	assert_int_equal(dr_bounce_map(r->b, &q, &iova, &h), -EINVAL);
	assert_true(iova == 5 && h == 6);
	assert_int_equal(stats_of(r).failures, 3);
	assert_int_equal(stats_of(r).pools, 0);
	assert_false(dr_bounce_is_present(r->b));
	assert_int_equal(dr_bounce_open(&r->io, &opts, &none), -EINVAL);
	assert_int_equal(dr_bounce_own_open(r->b, 0, &own), -EINVAL);
	assert_int_equal(dr_bounce_own_open(r->b, 2 * KB4 - 1, &own), -EINVAL);
	assert_int_equal(dr_bounce_own_open(r->b, SIZE_MAX, &own), -EINVAL);
	assert_null(own);
	rig_close(r);
}

static bool is_mapped(uintptr_t at)
{
	unsigned char v;

	return !mincore((void *)(at & ~(uintptr_t)4095), 1, &v);
}

/* Devices that address memory itself: the pool lies where a narrow one reaches. */
static void direct(const char *profile, enum dray_domain_type type)
{
	struct rig *r = rig_open(profile, type, 0);
	struct dr_bounce_request q = request(big + 77, 9000, DRAY_BIDIRECTIONAL, true);
	char seen[9000];
	dray_iova_t iova;
	uint64_t h, found;
	size_t off;

	q.mask = MASK32;
	h = map_at(r, &q, &iova);
	assert_int_equal(iova & 4095, 77);
	assert_true(is_mapped((uintptr_t)iova));
	device_reads(r, iova, seen, sizeof(seen));
	assert_memory_equal(seen, big + 77, sizeof(seen));
	device_writes(r, iova + 5, "direct", 6);
	assert_true(dr_bounce_find(r->b, iova + 5, 6, &found, &off));
	assert_true(found == h && off == 5);
	assert_true(dr_bounce_unmap(r->b, h, true));
	assert_memory_equal(big + 77 + 5, "direct", 6);
	assert_true(dr_bounce_is_present(r->b));
	assert_int_equal(dr_counters_sum(&r->io.counters, DR_BACKEND_MAPS), 0);
	/* Nothing could be kept from an untrusted one. */
	q.trusted = false;
	assert_int_equal(dr_bounce_map(r->b, &q, &iova, &h), -ENOTSUP);
	assert_int_equal(dr_bounce_max_len(r->b, NULL, false), 0);
	rig_close(r);
}

static void test_direct(void **state)
{
	(void)state;
	direct("direct", DRAY_DOMAIN_DEFAULT);
	direct(NULL, DRAY_DOMAIN_IDENTITY);
}

static int setup(void **state)
{
	(void)state;
	world_begin();
	big = dr_hooks_system.alloc(BIG, BIG);
	fill(big, BIG, 42);
	return big ? 0 : -1;
}

static int teardown(void **state)
{
	(void)state;
	world_end();
	free(big);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_offset_kept), cmocka_unit_test(test_min_align),
		cmocka_unit_test(test_aligned_do_not_overlap), cmocka_unit_test(test_masks),
		cmocka_unit_test(test_shared_mask), cmocka_unit_test(test_boundaries),
		cmocka_unit_test(test_longest),     cmocka_unit_test(test_refused),
		cmocka_unit_test(test_direct),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
