// SPDX-License-Identifier: BSD-2-Clause
/* Size-first structs: callers older and newer than the library, unknown bits, outputs cut. */
#include "rig.h"

#include <errno.h>
#include <string.h>

/* A struct of a library still to come: the fields of today and one more. */
struct newer_domain_opts {
	struct dray_domain_opts known;
	uint64_t unknown;
};

struct newer_device_opts {
	struct dray_device_opts known;
	uint64_t unknown;
};

static void domain_opts_sizes(struct rig *rig)
{
	struct newer_domain_opts newer = { .known = rig_domain_opts(rig) };
	struct dray_domain_opts opts = rig_domain_opts(rig);
	struct dray_domain *dom = NULL;

	/* An older caller: what follows its struct in memory is not looked at. */
	opts.size = offsetof(struct dray_domain_opts, flags);
	opts.flags = ~0u;
	opts.first = 99;
	CHECK_OK(dray_domain_open(&opts, &dom));
	dray_domain_close(dom);
	newer.known.size = sizeof(newer);
	CHECK_OK(dray_domain_open(&newer.known, &dom));
	dray_domain_close(dom);
	dom = NULL;
	newer.unknown = 1;
	CHECK_ERR(dray_domain_open(&newer.known, &dom), E2BIG);
	newer.unknown = UINT64_C(1) << 63;
	CHECK_ERR(dray_domain_open(&newer.known, &dom), E2BIG);
	opts.size = 0;
	CHECK_ERR(dray_domain_open(&opts, &dom), EINVAL);
	CHECK_WORDS("sizeof");
	opts.size = 4;
	CHECK_ERR(dray_domain_open(&opts, &dom), EINVAL);
	CHECK(!dom);
}

static void device_opts_sizes(struct rig *rig)
{
	struct newer_device_opts newer = { .known = rig_device_opts() };
	struct dray_domain *dom = rig_domain(rig);
	struct dray_device_opts opts = rig_device_opts();
	struct dray_device *dev = NULL;
	struct rig_state was;

	rig_warm(rig);
	was = rig_state(dom);
	opts.size = offsetof(struct dray_device_opts, dma_mask);
	opts.dma_mask = 5;
	CHECK_OK(dray_device_open(dom, rig->device, &opts, &dev));
	dray_device_close(dev);
	newer.known.size = sizeof(newer);
	CHECK_OK(dray_device_open(dom, rig->device, &newer.known, &dev));
	dray_device_close(dev);
	dev = NULL;
	newer.unknown = 1;
	CHECK_ERR(dray_device_open(dom, rig->device, &newer.known, &dev), E2BIG);
	opts.size = 0;
	CHECK_ERR(dray_device_open(dom, rig->device, &opts, &dev), EINVAL);
	CHECK(!dev);
	CHECK_SAME(dom, &was);
	/* None at all are the defaults. */
	CHECK_OK(dray_device_open(dom, rig->device, NULL, &dev));
	dray_device_close(dev);
	dray_domain_close(dom);
}

static void outputs_are_cut(struct rig *rig)
{
	struct { struct dray_domain_info known; uint64_t unknown; } info = { .unknown = 7 };
	struct { struct dray_stats known; uint64_t unknown; } stats = { .unknown = 7 };
	struct dray_domain *dom = rig_domain(rig);

	memset(&info.known, 0xee, sizeof(info.known));
	info.known.size = offsetof(struct dray_domain_info, granule);
	CHECK_OK(dray_domain_info(dom, &info.known));
	CHECK_INT(info.known.size, offsetof(struct dray_domain_info, granule));
	CHECK_INT(info.known.backend, rig->backend);
	CHECK(info.known.granule != PAGE && info.unknown == 7);
	info.known.size = sizeof(info);
	CHECK_OK(dray_domain_info(dom, &info.known));
	CHECK_INT(info.known.granule, PAGE);
	CHECK_INT(info.unknown, 0);
	info.known.size = 3;
	CHECK_ERR(dray_domain_info(dom, &info.known), EINVAL);
	CHECK_ERR(dray_domain_info(dom, NULL), EINVAL);
	CHECK_ERR(dray_domain_info(NULL, &info.known), EINVAL);

	stats.known.size = sizeof(stats);
	CHECK_OK(dray_stats_get(dom, &stats.known));
	CHECK_INT(stats.unknown, 0);
	stats.known.size = offsetof(struct dray_stats, unmaps);
	stats.known.unmaps = 77;
	CHECK_OK(dray_stats_get(dom, &stats.known));
	CHECK_INT(stats.known.unmaps, 77);
	CHECK_ERR(dray_stats_get(dom, NULL), EINVAL);
	CHECK_ERR(dray_stats_get(NULL, &stats.known), EINVAL);
	dray_domain_close(dom);
}

const struct contract_case opts_cases[] = {
	{ "domain_opts_sizes", "D10", domain_opts_sizes },
	{ "device_opts_sizes", "D10", device_opts_sizes },
	{ "outputs_are_cut", "D10", outputs_are_cut },
	{ NULL },
};
