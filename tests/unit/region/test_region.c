// SPDX-License-Identifier: BSD-2-Clause
/* Regions: what may be registered where, what lookups answer, and how they go again. */
#include <dray/stats.h>

#include "rig.h"

static void test_bad_arguments(void **state)
{
	struct dray_region *g = (void *)0x1;

	(void)state;
	add(AT(0), MB2); /* none of these gets as far as to see it */
	assert_int_equal(add_flags(NULL, KB4, 0, &g), -EINVAL);
	assert_int_equal(add_flags(AT(0), 0, 0, &g), -EINVAL);
	assert_int_equal(add_flags(AT(1), KB4, 0, &g), -EINVAL);
	assert_int_equal(add_flags(AT(0), KB4 - 1, 0, &g), -EINVAL);
	assert_int_equal(add_flags(AT(512), KB4 + 512, 0, &g), -EINVAL);
	assert_int_equal(add_flags(AT(0), KB4, 1u << 4, &g), -EINVAL);
	assert_int_equal(add_flags((void *)(UINTPTR_MAX - KB4 + 1), 2 * KB4, 0, &g), -EINVAL);
	assert_int_equal(add_flags((void *)(uintptr_t)(UINT64_C(1) << 48), KB4, 0, &g), -EFAULT);
	assert_int_equal(add_flags((void *)(uintptr_t)((UINT64_C(1) << 48) - KB4), 2 * KB4, 0, &g),
			 -EFAULT);
	assert_int_equal(add_at(MB2 + 1, AT(GB1), KB4, 0, &g), -EINVAL);
	assert_int_equal(add_at(UINT64_MAX - KB4 + 1, AT(GB1), 2 * KB4, 0, &g), -ERANGE);
	assert_int_equal(add_at(UINT64_C(1) << 48, AT(GB1), KB4, DRAY_REGION_PREMAPPED, &g),
			 -ERANGE);
	assert_int_equal(add_at(0xff000, AT(GB1), KB4, 0, &g), -ERANGE);
	assert_int_equal(add_at(UINT64_C(1) << 47, AT(GB1), KB4, 0, &g), -ERANGE);
	assert_ptr_equal(g, (void *)0x1);
	assert_int_equal(rig.maps, 1);
}

/* One call, large pages possible, found at both ends and nowhere else. */
static void test_register_translate_unregister(void **state)
{
	struct dray_region *g = add(AT(3 * KB4), 5 * MB2);
	dray_iova_t iova = translate(AT(3 * KB4), NULL);
	size_t len = 100 * MB2;

	(void)state;
	assert_int_equal(rig.maps, 1);
	assert_int_not_equal(iova, DRAY_IOVA_NONE);
	assert_int_equal(iova % MB2, 3 * KB4);
	assert_int_equal(translate(AT(3 * KB4), &len), iova);
	assert_int_equal(len, 5 * MB2);
	len = 7;
	assert_int_equal(translate(AT(3 * KB4 + 5 * MB2 - 3), &len), iova + 5 * MB2 - 3);
	assert_int_equal(len, 3);
	len = 3;
	assert_int_equal(translate(AT(3 * KB4 + 17), &len), iova + 17);
	assert_int_equal(len, 3);
	assert_int_equal(translate(AT(3 * KB4 - 1), &len), DRAY_IOVA_NONE);
	assert_int_equal(translate(AT(3 * KB4 + 5 * MB2), &len), DRAY_IOVA_NONE);
	assert_int_equal(len, 3);
	assert_ptr_equal(dr_pgtable_va(rig.io.pt, iova + 12345), AT(3 * KB4 + 12345));
	assert_int_equal(drop(g), 0);
	assert_int_equal(rig.unmaps, 1);
	assert_int_equal(translate(AT(3 * KB4), NULL), DRAY_IOVA_NONE);
	assert_null(dr_pgtable_va(rig.io.pt, iova));
	assert_int_equal(drop(g), -EINVAL);
}

/* Where the whole is no possible IOVA at its congruence, somewhere else will do. */
static void test_no_room_for_congruence(void **state)
{
	struct dray_region *g;

	(void)state;
	rig_close();
	rig_open(MB2, 2 * MB2 + MB2 / 2 - 1);
	g = add(AT(MB2 - KB4), MB2 + MB2 / 4);
	assert_int_equal(drop(g), 0);
	assert_int_equal(add_flags(AT(0), 2 * MB2, 0, &g), -ENOSPC);
	assert_non_null(strstr(dray_errmsg(), "window"));
	assert_int_equal(rig.maps, 1);
}

static void test_overlaps(void **state)
{
	static const struct {
		size_t off, len;
		int want;
	} cases[] = {
		{ 0, 4 * MB2, -EEXIST },         /* the same */
		{ KB4, KB4, -EEXIST },           /* inside */
		{ MB2, MB2, -EEXIST },           /* inside, a large entry */
		{ 4 * MB2 - KB4, 2 * KB4, -EEXIST }, /* across the end */
		{ 4 * MB2, KB4, 0 },             /* behind */
		{ 4 * MB2 + KB4, MB2, 0 },
	};
	struct dray_region *g, *first = add(AT(GB1), 4 * MB2);
	dray_iova_t iova = translate(AT(GB1), NULL);

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		assert_int_equal(add_flags(AT(GB1 + cases[i].off), cases[i].len, 0, &g),
				 cases[i].want);
	assert_int_equal(add_flags(AT(GB1 - KB4), 2 * KB4, 0, &g), -EEXIST);
	assert_int_equal(add_flags(AT(GB1 - MB2), 10 * MB2, 0, &g), -EEXIST);
	assert_int_equal(add_flags(AT(GB1 - KB4), KB4, 0, &g), 0);
	assert_int_equal(rig.maps, 4); /* those refused got nowhere near the backend */
	assert_int_equal(translate(AT(GB1), NULL), iova);
	assert_int_equal(drop(first), 0);
	assert_int_equal(add_flags(AT(GB1), 4 * MB2, 0, &g), 0);
}

/* Contiguous across regions only if the IOVAs adjoin too, and never more than was asked. */
static void test_contiguous_length(void **state)
{
	struct dray_region *g;
	dray_iova_t iova = 16 * GB1;
	size_t len;

	(void)state;
	assert_int_equal(add_at(iova, AT(0), MB2 + KB4, 0, &g), 0);
	assert_int_equal(add_at(iova + MB2 + KB4, AT(MB2 + KB4), 3 * KB4, 0, &g), 0);
	assert_int_equal(add_at(iova + 2 * MB2, AT(MB2 + 4 * KB4), KB4, 0, &g), 0);
	for (size_t want = 1; want < MB2 + 8 * KB4; want += 4093) {
		len = want;
		assert_int_equal(translate(AT(1), &len), iova + 1);
		assert_int_equal(len, want < MB2 + 4 * KB4 - 1 ? want : MB2 + 4 * KB4 - 1);
	}
	len = SIZE_MAX;
	assert_int_equal(translate(AT(MB2 + 4 * KB4 + 5), &len), iova + 2 * MB2 + 5);
	assert_int_equal(len, KB4 - 5);
}

static void test_enter_and_leave(void **state)
{
	struct dray_region *g = add(AT(KB4), 2 * MB2), *other = add(AT(KB4 + 2 * MB2), KB4);
	dray_iova_t base = translate(AT(KB4), NULL), iova = 0;
	uint32_t index[3], i;

	(void)state;
	assert_true(enter(AT(KB4), 1, DRAY_TO_DEVICE, &iova, &index[0]));
	assert_int_equal(iova, base);
	assert_true(enter(AT(KB4 + 100), 2 * MB2 - 100, DRAY_FROM_DEVICE, &iova, &index[1]));
	assert_int_equal(iova, base + 100);
	assert_true(enter(AT(2 * KB4 - 1), 2, DRAY_BIDIRECTIONAL, &iova, &index[2]));
	assert_int_equal(iova, base + KB4 - 1);
	/* Over an edge, into a neighbour or into nothing; outside. */
	assert_false(enter(AT(KB4), 2 * MB2 + 1, DRAY_TO_DEVICE, &iova, &i));
	assert_false(enter(AT(KB4 - 1), 2, DRAY_TO_DEVICE, &iova, &i));
	assert_false(enter(AT(2 * KB4 + 2 * MB2 - 1), 2, DRAY_TO_DEVICE, &iova, &i));
	assert_false(enter(AT(0), 1, DRAY_TO_DEVICE, &iova, &i));
	assert_false(enter(AT(2 * KB4 + 2 * MB2), 1, DRAY_TO_DEVICE, &iova, &i));

	assert_int_equal(drop(other), 0);
	for (unsigned k = 0; k < 3; k++) {
		assert_int_equal(drop(g), -EBUSY);
		/* Refused, it goes on. */
		assert_true(enter(AT(KB4), 1, DRAY_TO_DEVICE, &iova, &i));
		leave(i);
		leave(index[k]);
	}
	assert_int_equal(drop(g), 0);
	assert_int_equal(rig.maps, 2);
}

static void test_read_only(void **state)
{
	struct dray_region *g;
	unsigned shift;
	dray_iova_t iova;
	uint64_t pte;
	uint32_t i;

	(void)state;
	assert_int_equal(add_flags(AT(0), MB2, DRAY_REGION_READ_ONLY, &g), 0);
	dr_rcu_read_lock();
	pte = dr_pgtable_lookup(rig.io.pt, translate(AT(0), NULL), &shift);
	dr_rcu_read_unlock();
	assert_int_equal(pte & (DR_PTE_READ | DR_PTE_WRITE), DR_PTE_READ);
	assert_int_equal(dr_pte_owner(pte), DR_OWNER_REGION);
	assert_false(enter(AT(0), 1, DRAY_FROM_DEVICE, &iova, &i));
	assert_false(enter(AT(0), 1, DRAY_BIDIRECTIONAL, &iova, &i));
	assert_true(enter(AT(0), MB2, DRAY_TO_DEVICE, &iova, &i));
	leave(i);
	assert_int_equal(drop(g), 0);
	/* What cannot be pinned for writing: the message names the flag. */
	rig.fail_map = 1;
	rig.map_err = -EFAULT;
	assert_int_equal(add_flags(AT(0), MB2, 0, &g), -EFAULT);
	assert_non_null(strstr(dray_errmsg(), "DRAY_REGION_READ_ONLY"));
}

static void test_premapped(void **state)
{
	dray_iova_t inside = 32 * GB1, outside = (UINT64_C(1) << 47) + GB1, iova;
	struct dray_region *a, *b, *c;
	uint32_t i;

	(void)state;
	assert_null(dr_regions_va(rig.r, outside));
	assert_int_equal(add_at(inside, AT(0), MB2, DRAY_REGION_PREMAPPED, &a), 0);
	assert_int_equal(add_at(outside, AT(GB1), KB4, DRAY_REGION_PREMAPPED, &b), 0);
	assert_int_equal(rig.maps, 0);
	assert_int_equal(translate(AT(0), NULL), inside);
	assert_int_equal(translate(AT(GB1 + 7), NULL), outside + 7);
	assert_ptr_equal(dr_regions_va(rig.r, inside + MB2 - 1), AT(MB2 - 1));
	assert_ptr_equal(dr_regions_va(rig.r, outside + 9), AT(GB1 + 9));
	assert_null(dr_regions_va(rig.r, outside + KB4));
	assert_null(dr_regions_va(rig.r, outside - 1));
	assert_null(dr_pgtable_va(rig.io.pt, inside));
	assert_true(enter(AT(0), MB2, DRAY_BIDIRECTIONAL, &iova, &i));
	assert_int_equal(drop(a), -EBUSY);
	leave(i);
	/* Nobody else gets these IOVAs meanwhile, inside the window or out of it. */
	assert_int_equal(dr_iova_take_fixed(rig.io.space, inside, inside + KB4 - 1), -EEXIST);
	assert_int_equal(add_at(outside, AT(2 * GB1), KB4, DRAY_REGION_PREMAPPED, &c), -EEXIST);
	assert_int_equal(add_at(inside, AT(2 * GB1), KB4, 0, &c), -EEXIST);
	assert_int_equal(translate(AT(2 * GB1), NULL), DRAY_IOVA_NONE);
	/* Half in the window. */
	assert_int_equal(add_at((UINT64_C(1) << 47) - KB4, AT(2 * GB1), 2 * KB4,
				DRAY_REGION_PREMAPPED, &c), -ERANGE);
	assert_int_equal(drop(a), 0);
	assert_int_equal(drop(b), 0);
	assert_int_equal(rig.unmaps, 0);
	assert_null(dr_regions_va(rig.r, inside));
	assert_int_equal(dr_iova_take_fixed(rig.io.space, inside, inside + KB4 - 1), 0);
	assert_true(dr_iova_give(rig.io.space, inside, KB4));
}

/* In a hole somebody made for whoever maps there; half in one, it is neither. */
static void test_premapped_in_a_hole(void **state)
{
	dray_iova_t hole = 64 * GB1;
	struct dray_region *g, *h;

	(void)state;
	assert_int_equal(dr_iova_resv(rig.io.space, hole, hole + MB2 - 1, DR_RESV_HOLE), 0);
	assert_int_equal(add_at(hole, AT(0), KB4, 0, &g), -EEXIST);
	assert_int_equal(add_at(hole + MB2 - KB4, AT(0), 2 * KB4, DRAY_REGION_PREMAPPED, &g),
			 -EEXIST);
	assert_int_equal(add_at(hole, AT(0), MB2, DRAY_REGION_PREMAPPED, &g), 0);
	assert_int_equal(add_at(hole, AT(GB1), MB2, DRAY_REGION_PREMAPPED, &h), -EEXIST);
	assert_int_equal(drop(g), 0);
	assert_int_equal(dr_iova_unresv(rig.io.space, hole, hole + MB2 - 1), 0);
}

static void test_identity(void **state)
{
	const struct dr_region_args a = {
		.iova = (uintptr_t)AT(KB4), .va = AT(KB4), .len = 2 * MB2,
		.flags = DR_REGION_IDENTITY,
	};
	struct dray_region *g;

	(void)state;
	assert_int_equal(dr_region_add(rig.r, &a, &g), 0);
	assert_int_equal(translate(AT(MB2 + 1), NULL), (uintptr_t)AT(MB2 + 1));
	assert_int_equal(drop(g), 0);
	assert_int_equal(rig.maps + rig.unmaps, 0);
}

static void test_dontfork(void **state)
{
	struct dray_region *g;

	(void)state;
	assert_int_equal(add_flags(AT(0), MB2, DRAY_REGION_DONTFORK, &g), 0);
	assert_int_equal(rig.dontforks, 1);
	assert_int_equal(drop(g), 0);
	assert_int_equal(rig.doforks, 1);
	/* Undone when a later step fails. */
	rig.fail_map = 1;
	rig.map_err = -ENOMEM;
	assert_int_equal(add_flags(AT(0), MB2, DRAY_REGION_DONTFORK, &g), -ENOMEM);
	assert_int_equal(rig.dontforks, 2);
	assert_int_equal(rig.doforks, 2);
	/* And nothing is done once it fails itself. */
	rig.fail_madvise = 1;
	rig.madvise_err = ENOMEM;
	assert_int_equal(add_flags(AT(0), MB2, DRAY_REGION_DONTFORK, &g), -ENOMEM);
	assert_non_null(strstr(dray_errmsg(), "max_map_count"));
	rig.fail_madvise = 1;
	rig.madvise_err = EINVAL;
	assert_int_equal(add_flags(AT(0), MB2, DRAY_REGION_DONTFORK, &g), -EINVAL);
	assert_int_equal(rig.maps, 2);
	assert_int_equal(add_flags(AT(0), MB2, 0, &g), 0);
	assert_int_equal(rig.dontforks, 2);
}

/* A backend that will not let go: the region is gone, its IOVAs never come back. */
static void test_refused_unmap(void **state)
{
	struct dray_region *g = add(AT(0), KB4);
	dray_iova_t iova = translate(AT(0), NULL);
	struct dr_iova_counts counts;
	bool gone;

	(void)state;
	rig.fail_unmap = 1;
	rig.unmap_err = -EIO;
	assert_int_equal(dr_region_remove(g, &gone), -EIO);
	assert_true(gone);
	assert_true(rig.io.damaged);
	assert_int_equal(translate(AT(0), NULL), DRAY_IOVA_NONE);
	assert_int_equal(dr_region_remove(g, &gone), -EINVAL);
	assert_false(gone);
	dr_iova_counts(rig.io.space, &counts);
	assert_int_equal(counts.quarantined_bytes, KB4);
	g = add(AT(0), KB4);
	assert_int_not_equal(translate(AT(0), NULL), iova);
	atomic_fetch_sub(&rig.mapped, KB4); /* what stays mapped for good */
}

/* A request larger than one call: cut, and undone where a later piece fails. */
static void test_pieces(void **state)
{
	struct dray_region *g;

	(void)state;
	rig.be.max_op = MB2;
	g = add(AT(0), 5 * MB2);
	assert_int_equal(rig.maps, 5);
	assert_int_equal(drop(g), 0);
	assert_int_equal(rig.unmaps, 5);
	rig.fail_map = 4;
	rig.map_err = -ENOSPC;
	assert_int_equal(add_flags(AT(0), 5 * MB2, 0, &g), -ENOSPC);
	assert_int_equal(rig.mapped, 0);
	assert_int_equal(translate(AT(0), NULL), DRAY_IOVA_NONE);
	rig.be.max_op = UINT64_MAX;
}

static int refuse(void *ctx, uint32_t flags)
{
	struct dr_regions *r = ctx;

	/* By now who looks can see it, and it is not mapped yet. */
	if (!dr_regions_any(r, DRAY_REGION_SHARE_UNTRUSTED) || rig.maps)
		abort();
	return flags ? 0 : -EPERM;
}

static void test_trust_is_asked_in_time(void **state)
{
	struct dr_region_args a = {
		.iova = DRAY_IOVA_NONE, .va = AT(0), .len = KB4, .may_add = refuse, .ctx = rig.r,
	};
	struct dray_region *g;

	(void)state;
	assert_int_equal(dr_region_add(rig.r, &a, &g), -EPERM);
	assert_false(dr_regions_any(rig.r, 0));
	assert_int_equal(add_flags(AT(0), KB4, DRAY_REGION_SHARE_UNTRUSTED, &g), 0);
	assert_true(dr_regions_any(rig.r, 0));
	assert_false(dr_regions_any(rig.r, DRAY_REGION_SHARE_UNTRUSTED));
	add(AT(MB2), KB4);
	assert_true(dr_regions_any(rig.r, DRAY_REGION_SHARE_UNTRUSTED));
}

static void test_out_above(void **state)
{
	struct dray_region *g;
	dray_iova_t iova;
	uint32_t i;

	(void)state;
	assert_int_equal(add_at(8 * GB1, AT(0), MB2, 0, &g), 0);
	assert_false(dr_regions_out_above(rig.r, UINT32_MAX));
	assert_true(enter(AT(0), 1, DRAY_TO_DEVICE, &iova, &i));
	assert_true(dr_regions_out_above(rig.r, UINT32_MAX));
	assert_true(dr_regions_out_above(rig.r, 8 * GB1 + MB2 - 2));
	assert_false(dr_regions_out_above(rig.r, 8 * GB1 + MB2 - 1));
	leave(i);
	assert_false(dr_regions_out_above(rig.r, UINT32_MAX));
}

static void test_leaks_are_settled(void **state)
{
	struct dray_region *a = add(AT(0), KB4), *b = add(AT(KB4), KB4);
	dray_iova_t iova;
	uint32_t i;

	(void)state;
	assert_int_equal(dr_regions_clear_leaks(rig.r), 0);
	for (unsigned n = 0; n < 5; n++)
		assert_true(enter(AT(n % 2 * KB4), 1, DRAY_TO_DEVICE, &iova, &i));
	assert_int_equal(dr_regions_clear_leaks(rig.r), 5);
	assert_int_equal(dr_regions_clear_leaks(rig.r), 0);
	assert_int_equal(drop(a), 0);
	assert_true(enter(AT(KB4), 1, DRAY_TO_DEVICE, &iova, &i));
	assert_int_equal(drop(b), -EBUSY);
	leave(i);
	assert_int_equal(drop(b), 0);
}

/* What is left at close is unmapped, and forked children get it again. */
static void test_close_unmaps(void **state)
{
	struct dray_region *g;

	(void)state;
	for (unsigned i = 0; i < 300; i++)
		add(AT(i * 3 * MB2 + KB4), MB2 + i * KB4);
	assert_int_equal(add_flags(AT(-KB4), KB4, DRAY_REGION_DONTFORK, &g), 0);
	assert_int_equal(add_at(1 << 30, AT(-GB1), KB4, DRAY_REGION_PREMAPPED, &g), 0);
	dr_regions_close(rig.r);
	rig.r = NULL;
	assert_int_equal(rig.unmaps, 301);
	assert_int_equal(rig.doforks, 1);
	assert_int_equal(dr_regions_open(&rig.io, &rig.r), 0);
}

/* A handle used once too often is told apart for as long as other descriptors are free. */
static void test_old_handles(void **state)
{
	struct dray_region *old = add(AT(0), KB4), *g;

	(void)state;
	assert_int_equal(drop(old), 0);
	for (unsigned i = 1; i < 1u << DR_FIRST_CHUNK_SHIFT; i++) {
		g = add(AT(i * KB4), KB4);
		assert_ptr_not_equal(g, old);
		assert_int_equal(drop(old), -EINVAL);
	}
}

static void test_many(void **state)
{
	enum { N = 60000 };
	static struct dray_region *g[N];
	uint32_t out[7], i;
	dray_iova_t iova;

	(void)state;
	for (unsigned n = 0; n < N; n++)
		g[n] = add(AT((uint64_t)n * 9 * KB4), (1 + n % 9) * KB4);
	for (unsigned n = 0; n < N; n++) {
		size_t len = MB2;

		iova = translate(AT((uint64_t)n * 9 * KB4), &len);
		assert_ptr_equal(dr_pgtable_va(rig.io.pt, iova), AT((uint64_t)n * 9 * KB4));
		assert_true(len >= (1 + n % 9) * KB4);
		assert_true(enter(AT((uint64_t)n * 9 * KB4), 1, DRAY_TO_DEVICE, &iova, &i));
		assert_int_equal(g[n]->index, i);
		if (n < 7)
			out[n] = i;
		else
			leave(i);
	}
	for (unsigned n = 0; n < 7; n++) {
		assert_int_equal(drop(g[n]), -EBUSY);
		leave(out[n]);
	}
	assert_true(dr_regions_is_valid(rig.r));
	for (unsigned n = 0; n < N; n += N / 50)
		assert_int_equal(drop(g[n]), 0);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, rig_setup, rig_teardown)
	const struct CMUnitTest tests[] = {
		T(test_bad_arguments),
		T(test_register_translate_unregister),
		T(test_no_room_for_congruence),
		T(test_overlaps),
		T(test_contiguous_length),
		T(test_enter_and_leave),
		T(test_read_only),
		T(test_premapped),
		T(test_premapped_in_a_hole),
		T(test_identity),
		T(test_dontfork),
		T(test_refused_unmap),
		T(test_pieces),
		T(test_trust_is_asked_in_time),
		T(test_out_above),
		T(test_leaks_are_settled),
		T(test_close_unmaps),
		T(test_old_handles),
		T(test_many),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
