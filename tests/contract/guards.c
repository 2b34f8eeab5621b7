// SPDX-License-Identifier: BSD-2-Clause
/* A domain with guards: what a device finds beside anything that dray placed is nothing. */
#include "actor.h"

#include <errno.h>
#include <string.h>

/* Granules on both sides of [iova, iova + len) are nobody's. @mem: what the device must not get. */
static void check_alone(struct actor *a, dray_iova_t iova, size_t len, char *mem)
{
	struct dray_domain *dom = dray_device_get_domain(a->dev);
	dray_iova_t first = iova & ~(uint64_t)(PAGE - 1);
	dray_iova_t end = (iova + len + PAGE - 1) & ~(uint64_t)(PAGE - 1);

	CHECK(!dray_iova_to_va(dom, end) && !dray_iova_to_va(dom, end + PAGE - 1));
	CHECK(!dray_iova_to_va(dom, first - 1) && !dray_iova_to_va(dom, first - PAGE));
	CHECK_BLOCKED(a, end, mem, 64);
	CHECK_BLOCKED(a, first - 64, mem, 64);
}

/* All of it where the device can send: regions ask nobody's mask. */
static struct dray_domain *guarded_domain(const struct rig *rig)
{
	struct dray_domain_opts opts = rig_domain_opts(rig);
	struct dray_domain *dom;

	opts.flags = DRAY_DOMAIN_GUARD;
	opts.first = UINT64_C(1) << 20;
	opts.last = RIG_MASK;
	CHECK_OK(dray_domain_open(&opts, &dom));
	return dom;
}

/* Slots of an untrusted device among whole granules and shared regions, which all come and go. */
static void slots_stand_alone(struct rig *rig)
{
	enum { N = 6 };
	struct dray_device_opts opts = rig_device_opts();
	struct dray_domain *dom = guarded_domain(rig);
	char *mem = rig_pages(4 * N * PAGE), *beside = rig_pages(PAGE);
	struct dray_mapping slot[N], whole[N];
	struct dray_region *region[N];
	struct dray_device *dev;
	struct actor *a;

	opts.flags = DRAY_DEVICE_UNTRUSTED;
	CHECK_OK(dray_device_open(dom, rig->device, &opts, &dev));
	a = actor_open(rig, dev);
	for (unsigned i = 0; i < N; i++) {
		char *at = mem + 4 * i * PAGE;

		CHECK_OK(dray_map(dev, at + 10, 100 + i * 1500, DRAY_BIDIRECTIONAL, 0, &slot[i]));
		CHECK_OK(dray_map(dev, at, PAGE, DRAY_BIDIRECTIONAL, 0, &whole[i]));
		CHECK_OK(dray_region_register(dom, at, 4 * PAGE, DRAY_REGION_SHARE_UNTRUSTED,
					      &region[i]));
	}
	CHECK_INT(rig_stats(dom).bounce_edge, N);
	for (unsigned i = 0; i < N; i++) {
		size_t len = 4 * PAGE;
		dray_iova_t at = dray_translate(dom, mem + 4 * i * PAGE, &len);

		/* Regions that adjoin in memory do not for devices. */
		CHECK_INT(len, 4 * PAGE);
		check_alone(a, at, len, beside);
		check_alone(a, slot[i].iova, slot[i].len, beside);
		check_alone(a, whole[i].iova, PAGE, beside);
		CHECK_READS(a, slot[i].iova, mem + 4 * i * PAGE + 10, 64);
	}
	/* What goes leaves a place that fits it, guard included. */
	for (unsigned i = 0; i < N; i += 2) {
		dray_unmap(dev, &slot[i]);
		CHECK_OK(dray_region_unregister(region[i]));
		CHECK_OK(dray_map(dev, mem + 4 * i * PAGE + 9, 100, DRAY_BIDIRECTIONAL, 0,
				  &slot[i]));
		check_alone(a, slot[i].iova, slot[i].len, beside);
		check_alone(a, whole[i].iova, PAGE, beside);
	}
	for (unsigned i = 0; i < N; i++) {
		dray_unmap(dev, &slot[i]);
		dray_unmap(dev, &whole[i]);
		if (i % 2)
			CHECK_OK(dray_region_unregister(region[i]));
	}
	actor_close(a);
	CHECK_INT(rig_state(dom).live_bytes, 0);
	CHECK_INT(rig_info(dom).quarantined_bytes, 0);
	dray_device_close(dev);
	dray_domain_close(dom);
}

/* A pool has its guard as a whole; what is refused is lost with what is behind it. */
static void pools_and_refusals(struct rig *rig)
{
	struct dray_device_opts opts = rig_device_opts();
	struct dray_domain *dom = guarded_domain(rig);
	char *mem = rig_pages(4 * PAGE), *beside = rig_pages(PAGE);
	struct dray_mapping m, below, above;
	struct dray_region *region;
	struct dray_device *dev;
	struct actor *a;

	opts.min_align = 512;
	opts.bounce_bytes = 4 * PAGE;
	CHECK_OK(dray_device_open(dom, rig->device, &opts, &dev));
	a = actor_open(rig, dev);
	CHECK_OK(dray_map(dev, mem, PAGE, DRAY_BIDIRECTIONAL, 0, &above));
	CHECK_OK(dray_map(dev, mem + 1, 100, DRAY_BIDIRECTIONAL, 0, &m));
	CHECK_OK(dray_map(dev, mem + PAGE, PAGE, DRAY_BIDIRECTIONAL, 0, &below));
	check_alone(a, m.iova & ~(uint64_t)(4 * PAGE - 1), 4 * PAGE, beside);
	check_alone(a, above.iova, PAGE, beside);
	check_alone(a, below.iova, PAGE, beside);
	dray_unmap(dev, &m);
	dray_unmap(dev, &above);
	dray_unmap(dev, &below);
	CHECK_OK(dray_region_register(dom, mem, 2 * PAGE, 0, &region));
	rig_refuse_unmap(rig, dom);
	CHECK(dray_region_unregister(region) < 0);
	CHECK_INT(rig_info(dom).quarantined_bytes, 3 * PAGE);
	actor_close(a);
	dray_device_close(dev);
	CHECK_INT(rig_info(dom).quarantined_bytes, 3 * PAGE);
	dray_domain_close(dom);
}

const struct contract_case guard_cases[] = {
	{ "slots_stand_alone", "A10 D09", slots_stand_alone },
	{ "pools_and_refusals", "A10", pools_and_refusals },
	{ NULL },
};
