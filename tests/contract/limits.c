// SPDX-License-Identifier: BSD-2-Clause
/*
 * The kernel's limits: mapping entries and locked memory. Both come back as errors that name the
 * limit, with everything as before. The software IOMMU has neither, and says so.
 */
#include "actor.h"
#include "limiter.h"

#include <errno.h>

#define ENTRIES 50
#define AT UINT64_C(0x2800000)

static void check_no_limits(const struct dray_domain *dom)
{
	struct dray_domain_info info = rig_info(dom);

	CHECK_INT(info.entries_limit, 0);
	CHECK(info.entries_left == UINT64_MAX);
	CHECK(info.memlock_limit == UINT64_MAX);
}

/* All entries but those for @spare more. */
static int use_entries(struct dray_domain *dom, struct dray_device *dev, char *mem,
		       struct dray_mapping *maps, uint64_t spare)
{
	int n = 0;

	while (rig_info(dom).entries_left > spare) {
		CHECK(n < ENTRIES);
		CHECK_OK(dray_map(dev, mem, PAGE, DRAY_TO_DEVICE, 0, &maps[n++]));
	}
	return n;
}

static void entries_run_out(struct rig *rig)
{
	struct dray_mapping maps[ENTRIES], none = { .iova = 1 };
	char *mem = rig_pages(4 * PAGE);
	struct dray_domain *dom;
	struct dray_device *dev;
	struct rig_state was;
	struct actor *a;
	int n, before;

	if (rig_is_sim(rig)) {
		dom = rig_domain(rig);
		check_no_limits(dom);
		dray_domain_close(dom);
		return;
	}
	before = limiter_set_entries(ENTRIES);
	dom = rig_domain(rig);
	rig_set_max_op(dom, PAGE);
	CHECK_INT(rig_info(dom).entries_limit, ENTRIES);
	CHECK_INT(rig_info(dom).entries_left, ENTRIES);
	/* The kernel takes the limit when the container gets its IOMMU. */
	dev = rig_device(rig, dom, NULL);
	limiter_set_entries(before);
	a = actor_open(rig, dev);
	n = use_entries(dom, dev, mem, maps, 0);
	CHECK_INT(rig_info(dom).entries_left, 0);
	was = rig_state(dom);
	CHECK_ERR(dray_map(dev, mem, PAGE, DRAY_TO_DEVICE, 0, &none), ENOSPC);
	CHECK_WORDS("entries");
	CHECK_ERR(dray_domain_map(dom, AT, mem, PAGE, DRAY_PROT_READ, 0), ENOSPC);
	CHECK_SAME(dom, &was);
	/* Two left, four wanted: the two that fitted are undone. */
	dray_unmap(dev, &maps[--n]);
	dray_unmap(dev, &maps[--n]);
	was = rig_state(dom);
	CHECK_ERR(dray_map_fixed(dev, AT, mem, 4 * PAGE, DRAY_TO_DEVICE, 0, &none), ENOSPC);
	CHECK_SAME(dom, &was);
	CHECK_INT(none.iova, 1);
	CHECK_BLOCKED(a, AT, mem, 64);
	CHECK_OK(dray_map_fixed(dev, AT, mem, 2 * PAGE, DRAY_TO_DEVICE, 0, &none));
	CHECK_READS(a, AT + PAGE, mem + PAGE, 64);
	dray_unmap(dev, &none);
	while (n)
		dray_unmap(dev, &maps[--n]);
	actor_close(a);
	dray_device_close(dev);
	dray_domain_close(dom);
}

/* More mapped before the device came than its container takes: it is not attached. */
static void entries_run_out_at_attach(struct rig *rig)
{
	struct dray_device_opts opts = rig_device_opts();
	struct dray_device *dev = NULL;
	char *mem = rig_pages(PAGE);
	struct dray_domain *dom;
	struct rig_state was;
	int before = 0;

	rig_warm(rig);
	if (!rig_is_sim(rig))
		before = limiter_set_entries(ENTRIES);
	dom = rig_domain(rig);
	for (unsigned i = 0; i <= ENTRIES; i++)
		CHECK_OK(dray_domain_map(dom, AT + i * PAGE, mem, PAGE, DRAY_PROT_READ, 0));
	was = rig_state(dom);
	if (rig_is_sim(rig)) {
		check_no_limits(dom);
		CHECK_OK(dray_device_open(dom, rig->device, &opts, &dev));
		dray_device_close(dev);
	} else {
		CHECK_ERR(dray_device_open(dom, rig->device, &opts, &dev), ENOSPC);
		CHECK_WORDS("entries");
	}
	CHECK_SAME(dom, &was);
	CHECK_OK(dray_domain_unmap(dom, AT, PAGE));
	CHECK_OK(dray_device_open(dom, rig->device, &opts, &dev));
	if (!rig_is_sim(rig))
		limiter_set_entries(before);
	dray_device_close(dev);
	CHECK_OK(dray_domain_unmap(dom, AT + PAGE, ENTRIES * PAGE));
	dray_domain_close(dom);
}

static void locked_memory_runs_out(struct rig *rig)
{
	struct dray_mapping m, none = { .iova = 1 };
	struct dray_domain *dom;
	struct dray_device *dev;
	char *mem = rig_pages(64 * PAGE);
	struct rig_state was;
	struct actor *a;

	limiter_lock_at_most(32 * PAGE);
	dom = rig_domain(rig);
	dev = rig_device(rig, dom, NULL);
	a = actor_open(rig, dev);
	if (rig_is_sim(rig)) {
		check_no_limits(dom);
		CHECK_OK(dray_map(dev, mem, 64 * PAGE, DRAY_TO_DEVICE, 0, &m));
		CHECK_READS(a, m.iova + 63 * PAGE, mem + 63 * PAGE, 64);
	} else {
		CHECK_INT(rig_info(dom).memlock_limit, 32 * PAGE);
		CHECK_OK(dray_map(dev, mem, 16 * PAGE, DRAY_TO_DEVICE, 0, &m));
		was = rig_state(dom);
		CHECK_ERR(dray_map(dev, mem + 16 * PAGE, 32 * PAGE, DRAY_TO_DEVICE, 0, &none),
			  ENOMEM);
		CHECK_WORDS("RLIMIT_MEMLOCK", "131072", "ulimit -l");
		CHECK_ERR(dray_domain_map(dom, AT, mem + 16 * PAGE, 32 * PAGE, DRAY_PROT_READ, 0),
			  ENOMEM);
		CHECK_SAME(dom, &was);
		CHECK_INT(none.iova, 1);
		CHECK_BLOCKED(a, AT, mem + 16 * PAGE, 64);
		CHECK_OK(dray_map(dev, mem + 16 * PAGE, 8 * PAGE, DRAY_TO_DEVICE, 0, &none));
		dray_unmap(dev, &none);
	}
	dray_unmap(dev, &m);
	actor_close(a);
	dray_device_close(dev);
	dray_domain_close(dom);
}

/* What was mapped without a device is pinned when one comes, and then the limit counts. */
static void locked_memory_runs_out_at_attach(struct rig *rig)
{
	struct dray_device_opts opts = rig_device_opts();
	struct dray_device *dev = NULL;
	struct dray_domain *dom;
	char *mem = rig_pages(64 * PAGE);
	struct rig_state was;

	rig_warm(rig);
	limiter_lock_at_most(32 * PAGE);
	dom = rig_domain(rig);
	CHECK_OK(dray_domain_map(dom, AT, mem, 16 * PAGE, DRAY_PROT_READ, 0));
	CHECK_OK(dray_domain_map(dom, AT + 16 * PAGE, mem + 16 * PAGE, 48 * PAGE, DRAY_PROT_READ,
				 0));
	was = rig_state(dom);
	if (rig_is_sim(rig)) {
		CHECK_OK(dray_device_open(dom, rig->device, &opts, &dev));
		dray_device_close(dev);
	} else {
		CHECK_ERR(dray_device_open(dom, rig->device, &opts, &dev), ENOMEM);
		CHECK_WORDS("RLIMIT_MEMLOCK");
	}
	CHECK_SAME(dom, &was);
	CHECK_OK(dray_domain_unmap(dom, AT + 16 * PAGE, 48 * PAGE));
	CHECK_OK(dray_device_open(dom, rig->device, &opts, &dev));
	CHECK_OK(dray_domain_unmap(dom, AT, 16 * PAGE));
	dray_device_close(dev);
	dray_domain_close(dom);
}

/* No address below the device's mask, and none in the window: told apart from other limits. */
static void addresses_run_out(struct rig *rig)
{
	struct dray_domain_opts opts = rig_domain_opts(rig);
	struct dray_device_opts narrow = rig_device_opts();
	struct dray_mapping m[4], none;
	struct dray_device *dev, *dev2;
	struct dray_domain *dom;
	char *mem = rig_pages(4 * PAGE);
	struct rig_state was;

	opts.first = 0x3ffe000;
	opts.last = 0x4001fff;
	narrow.dma_mask = 0x3ffffff;
	CHECK_OK(dray_domain_open(&opts, &dom));
	CHECK_OK(dray_device_open(dom, rig->device, &narrow, &dev));
	dev2 = rig_device(rig, dom, rig->device2);
	for (int i = 0; i < 2; i++)
		CHECK_OK(dray_map(dev, mem, PAGE, DRAY_TO_DEVICE, 0, &m[i]));
	was = rig_state(dom);
	CHECK_ERR(dray_map(dev, mem, PAGE, DRAY_TO_DEVICE, 0, &none), ENOSPC);
	CHECK_WORDS("0x3ffffff");
	CHECK_SAME(dom, &was);
	/* The wider device still has the other half. */
	CHECK_OK(dray_map(dev2, mem, 2 * PAGE, DRAY_TO_DEVICE, 0, &m[2]));
	CHECK_ERR(dray_map(dev2, mem, PAGE, DRAY_TO_DEVICE, 0, &none), ENOSPC);
	for (int i = 0; i < 3; i++)
		dray_unmap(i < 2 ? dev : dev2, &m[i]);
	dray_device_close(dev2);
	dray_device_close(dev);
	dray_domain_close(dom);
}

const struct contract_case limit_cases[] = {
	{ "entries_run_out", "B11 B04", entries_run_out },
	{ "entries_run_out_at_attach", "B11 B05", entries_run_out_at_attach },
	{ "locked_memory_runs_out", "B11", locked_memory_runs_out },
	{ "locked_memory_runs_out_at_attach", "B11 B05", locked_memory_runs_out_at_attach },
	{ "addresses_run_out", "A06", addresses_run_out },
	{ NULL },
};
