// SPDX-License-Identifier: BSD-2-Clause
/* Granule, page sizes, aperture and window belong to the domain and are known at open. */
#include "actor.h"

#include <errno.h>
#include <string.h>

static void known_at_open(struct rig *rig)
{
	struct dray_domain *dom = rig_domain(rig);
	struct dray_domain_info before = rig_info(dom), with, after;
	struct dray_device *dev;

	CHECK_INT(before.granule, PAGE);
	CHECK_INT(before.page_sizes, 0x40201000);
	CHECK(before.first < before.last && !(before.first % PAGE) && !((before.last + 1) % PAGE));
	CHECK(before.max_op >= PAGE && before.max_op % PAGE == 0);
	CHECK(before.n_windows >= 1 && before.n_windows <= DRAY_INFO_RANGES);
	CHECK(before.windows[0].first >= before.first);
	CHECK(before.windows[before.n_windows - 1].last <= before.last);
	dev = rig_device(rig, dom, NULL);
	with = rig_info(dom);
	CHECK_INT(with.granule, before.granule);
	CHECK_INT(with.first, before.first);
	CHECK_INT(with.last, before.last);
	CHECK_INT(with.devices, 1);
	/* The devices of either machine reach what was promised before they came. */
	CHECK(!memcmp(with.windows, before.windows, sizeof(with.windows)));
	dray_device_close(dev);
	after = rig_info(dom);
	CHECK_INT(after.devices, 0);
	CHECK(!memcmp(after.windows, before.windows, sizeof(after.windows)));
	dray_domain_close(dom);
}

/* The caller names the window and gets just that, rounded inward to granules. */
static void named_window(struct rig *rig)
{
	static const struct { dray_iova_t first, last, got_first, got_last; } good[] = {
		{ 0x100000, 0x1fffff, 0x100000, 0x1fffff },
		{ 0x100001, 0x1fffff, 0x101000, 0x1fffff },
		{ 0x100fff, 0x200ffe, 0x101000, 0x1fffff },
		{ 0x100000, 0x100fff, 0x100000, 0x100fff },
		{ 0x100000000, 0x1ffffffff, 0x100000000, 0x1ffffffff },
		{ 0, 0x1fff, 0, 0x1fff },
		{ 0x100000, UINT64_C(1) << 48, 0x100000, (UINT64_C(1) << 48) - 1 },
	};
	char *mem = rig_pages(PAGE);

	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		struct dray_domain_opts opts = rig_domain_opts(rig);
		struct dray_device_opts no_mask = { .size = sizeof(no_mask) };
		struct dray_domain_info info;
		struct dray_domain *dom;
		struct dray_device *dev;
		struct dray_mapping m;

		opts.first = good[i].first;
		opts.last = good[i].last;
		CHECK_OK(dray_domain_open(&opts, &dom));
		info = rig_info(dom);
		CHECK_INT(info.first, good[i].got_first);
		CHECK_INT(info.last, good[i].got_last);
		CHECK_OK(dray_device_open(dom, rig->device, &no_mask, &dev));
		CHECK_OK(dray_map(dev, mem, PAGE, DRAY_TO_DEVICE, 0, &m));
		CHECK(m.iova >= info.first && m.iova + PAGE - 1 <= info.last);
		CHECK_ERR(dray_domain_map(dom, info.last + 1, mem, PAGE, DRAY_PROT_READ, 0),
			  ERANGE);
		if (info.first)
			CHECK_ERR(dray_domain_map(dom, info.first - PAGE, mem, PAGE,
						  DRAY_PROT_READ, 0), ERANGE);
		dray_unmap(dev, &m);
		dray_device_close(dev);
		dray_domain_close(dom);
	}
}

static void refused_window(struct rig *rig)
{
	static const struct { dray_iova_t first, last; int err; } bad[] = {
		{ 0x200000, 0x100000, EINVAL },
		{ 0x100001, 0x100fff, EINVAL },
		{ 0x100001, 0x101ffe, EINVAL },
		{ 0x100000, 0x100ffe, EINVAL },
		{ 0, 1, EINVAL },
		{ 0x100000, (UINT64_C(1) << 48) + 0xfff, ERANGE },
		{ UINT64_C(1) << 50, UINT64_C(1) << 51, ERANGE },
		{ 0x100000, UINT64_MAX, ERANGE },
	};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct dray_domain_opts opts = rig_domain_opts(rig);
		struct dray_domain *dom = NULL;

		opts.first = bad[i].first;
		opts.last = bad[i].last;
		CHECK_ERR(dray_domain_open(&opts, &dom), bad[i].err);
		CHECK(!dom);
	}
}

/* Addresses above 4 GiB translate like any others. */
static void above_four_gibibytes(struct rig *rig)
{
	const dray_iova_t at = UINT64_C(0x100000000000) / 64 + 0x3000;
	struct dray_device_opts no_mask = { .size = sizeof(no_mask) };
	struct dray_domain *dom = rig_domain(rig);
	struct dray_device *dev;
	char *mem = rig_pages(PAGE);
	struct dray_mapping m;

	CHECK_OK(dray_device_open(dom, rig->device, &no_mask, &dev));
	CHECK_OK(dray_map_fixed(dev, at, mem, PAGE, DRAY_BIDIRECTIONAL, 0, &m));
	CHECK(dray_iova_to_va(dom, at) == mem);
	CHECK(!dray_iova_to_va(dom, at & 0xffffffff));
	/* The edu device cannot send such an address. */
	if (rig_is_sim(rig)) {
		struct actor *a = actor_open(rig, dev);

		CHECK_READS(a, at, mem, 64);
		CHECK_BLOCKED(a, at & 0xffffffff, mem, 64);
		actor_close(a);
	}
	dray_unmap(dev, &m);
	dray_device_close(dev);
	dray_domain_close(dom);
}

const struct contract_case window_cases[] = {
	{ "known_at_open", "D18 D08", known_at_open },
	{ "named_window", "A05 D18", named_window },
	{ "refused_window", "A05", refused_window },
	{ "above_four_gibibytes", "A05", above_four_gibibytes },
	{ NULL },
};
