// SPDX-License-Identifier: BSD-2-Clause
/* Mappings belong to the domain: made before a device, kept without one, shared by several. */
#include "actor.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#define AT UINT64_C(0xc00000)

static void map_before_attach(struct rig *rig)
{
	struct dray_domain *dom = rig_domain(rig);
	char *mem = rig_pages(8 * PAGE);
	struct dray_domain_info info = rig_info(dom);
	struct dray_device *dev;
	struct actor *a;

	/* Known at open, and the same after. */
	CHECK_INT(info.granule, PAGE);
	CHECK_INT(info.devices, 0);
	CHECK_OK(dray_domain_map(dom, AT, mem, 3 * PAGE, DRAY_PROT_READ | DRAY_PROT_WRITE, 0));
	CHECK_OK(dray_domain_map(dom, AT + 5 * PAGE, mem + 5 * PAGE, PAGE, DRAY_PROT_READ, 0));
	CHECK(dray_iova_to_va(dom, AT + 2 * PAGE) == mem + 2 * PAGE);
	dev = rig_device(rig, dom, NULL);
	a = actor_open(rig, dev);
	/* Where the hardware is told, it was told all of it. */
	CHECK_INT(rig_stats(dom).replays, rig_is_sim(rig) ? 0 : 2);
	CHECK_READS(a, AT, mem, 64);
	CHECK_WRITES(a, AT + 2 * PAGE, mem + 2 * PAGE, 64);
	CHECK_READS(a, AT + 5 * PAGE, mem + 5 * PAGE, 64);
	CHECK_NO_WRITE(a, AT + 5 * PAGE, mem + 5 * PAGE, 64);
	CHECK_BLOCKED(a, AT + 4 * PAGE, mem + 4 * PAGE, 64);
	CHECK_OK(dray_domain_unmap(dom, AT, 3 * PAGE));
	CHECK_BLOCKED(a, AT, mem, 64);
	actor_close(a);
	dray_device_close(dev);
	CHECK_OK(dray_domain_unmap(dom, AT + 5 * PAGE, PAGE));
	dray_domain_close(dom);
}

/* All devices gone and one back: what was mapped is still there, changes made meanwhile included. */
static void detach_and_reattach(struct rig *rig)
{
	struct dray_domain *dom = rig_domain(rig);
	char *mem = rig_pages(4 * PAGE);
	struct dray_device *dev;
	struct actor *a;

	CHECK_OK(dray_domain_map(dom, AT, mem, PAGE, DRAY_PROT_READ | DRAY_PROT_WRITE, 0));
	for (unsigned round = 1; round <= 3; round++) {
		dev = rig_device(rig, dom, NULL);
		a = actor_open(rig, dev);
		CHECK_READS(a, AT, mem, 64);
		for (unsigned i = 1; i < round; i++)
			CHECK_READS(a, AT + i * PAGE, mem + i * PAGE, 64);
		CHECK_NO_WRITE(a, AT + round * PAGE, mem + round * PAGE, 64);
		actor_close(a);
		dray_device_close(dev);
		CHECK(dray_iova_to_va(dom, AT) == mem);
		CHECK_OK(dray_domain_map(dom, AT + round * PAGE, mem + round * PAGE, PAGE,
					 DRAY_PROT_READ, 0));
	}
	CHECK_OK(dray_domain_unmap(dom, AT, 4 * PAGE));
	CHECK_INT(rig_info(dom).mapped_bytes, 0);
	dray_domain_close(dom);
}

/* One buffer, one address, two devices; one leaves and the other does not notice. */
static void two_devices_one_domain(struct rig *rig)
{
	struct dray_domain *dom = rig_domain(rig);
	struct dray_device *dev = rig_device(rig, dom, NULL), *dev2;
	struct actor *a = actor_open(rig, dev), *a2;
	char *mem = rig_pages(2 * PAGE);
	struct dray_mapping m, late;
	dray_iova_t at, at2;

	CHECK_OK(dray_map(dev, mem, PAGE, DRAY_BIDIRECTIONAL, 0, &m));
	at = m.iova;
	dev2 = rig_device(rig, dom, rig->device2);
	a2 = actor_open(rig, dev2);
	CHECK_INT(rig_info(dom).devices, 2);
	CHECK_READS(a2, at, mem, 64);
	CHECK_OK(dray_map(dev2, mem + PAGE, PAGE, DRAY_BIDIRECTIONAL, 0, &late));
	at2 = late.iova;
	CHECK_READS(a, at2, mem + PAGE, 64);
	CHECK_WRITES(a2, at2, mem + PAGE, 64);
	/* Unmapped on the other device: the receipt knows its domain. */
	dray_unmap(dev, &late);
	CHECK_BLOCKED(a2, at2, mem + PAGE, 64);
	actor_close(a2);
	dray_device_close(dev2);
	CHECK_READS(a, at, mem, 64);
	CHECK_WRITES(a, at, mem, 64);
	dray_unmap(dev, &m);
	CHECK_BLOCKED(a, at, mem, 64);
	actor_close(a);
	dray_device_close(dev);
	dray_domain_close(dom);
}

/* What a device leaves mapped goes with it, counted; another device's and the domain's stay. */
static void leftovers_go_with_their_device(struct rig *rig)
{
	struct dray_domain *dom = rig_domain(rig);
	struct dray_device *dev = rig_device(rig, dom, NULL);
	struct dray_device *dev2 = rig_device(rig, dom, rig->device2);
	struct actor *a2 = actor_open(rig, dev2);
	char *mem = rig_pages(4 * PAGE);
	struct dray_mapping left[2], kept, late;

	CHECK_OK(dray_map(dev, mem, PAGE, DRAY_BIDIRECTIONAL, 0, &left[0]));
	CHECK_OK(dray_map_fixed(dev, AT, mem + PAGE, PAGE, DRAY_BIDIRECTIONAL, 0, &left[1]));
	CHECK_OK(dray_map(dev2, mem + 2 * PAGE, PAGE, DRAY_BIDIRECTIONAL, 0, &kept));
	CHECK_OK(dray_domain_map(dom, AT + PAGE, mem + 3 * PAGE, PAGE, DRAY_PROT_READ, 0));
	dray_device_close(dev);
	CHECK_INT(rig_stats(dom).leaks, 2);
	CHECK(strstr(rig_logged(), "device closed with"));
	CHECK(!dray_iova_to_va(dom, left[0].iova) && !dray_iova_to_va(dom, AT));
	CHECK_BLOCKED(a2, left[0].iova, mem, 64);
	CHECK_BLOCKED(a2, AT, mem + PAGE, 64);
	CHECK_READS(a2, kept.iova, mem + 2 * PAGE, 64);
	CHECK_READS(a2, AT + PAGE, mem + 3 * PAGE, 64);
	/* Its receipts are good for nothing any more, and harm nobody. */
	late = left[1];
	dray_unmap(dev2, &late);
	CHECK_INT(rig_stats(dom).bad_unmaps, 1);
	dray_unmap(dev2, &kept);
	actor_close(a2);
	dray_device_close(dev2);
	CHECK_INT(rig_stats(dom).leaks, 2);
	dray_domain_close(dom);
}

/*
 * Memory mapped before the first device and gone by then: where attaching pins, it fails, names the
 * cause and attaches nothing; the software IOMMU has nothing to replay.
 */
static void replay_that_fails(struct rig *rig)
{
	struct dray_domain *dom = rig_domain(rig);
	struct dray_device_opts opts = rig_device_opts();
	struct dray_device *dev = NULL;
	char *mem = rig_pages(2 * PAGE);
	struct rig_state was;

	rig_warm(rig);
	CHECK_OK(dray_domain_map(dom, AT, mem, PAGE, DRAY_PROT_READ, 0));
	CHECK_OK(dray_domain_map(dom, AT + PAGE, mem + PAGE, PAGE, DRAY_PROT_READ, 0));
	CHECK(!mprotect(mem + PAGE, PAGE, PROT_NONE));
	was = rig_state(dom);
	if (rig_is_sim(rig)) {
		CHECK_OK(dray_device_open(dom, rig->device, &opts, &dev));
		dray_device_close(dev);
	} else {
		CHECK_ERR(dray_device_open(dom, rig->device, &opts, &dev), EFAULT);
		CHECK(!dev);
	}
	CHECK_SAME(dom, &was);
	CHECK_OK(dray_domain_unmap(dom, AT + PAGE, PAGE));
	CHECK_OK(dray_device_open(dom, rig->device, &opts, &dev));
	CHECK_OK(dray_domain_unmap(dom, AT, PAGE));
	dray_device_close(dev);
	dray_domain_close(dom);
}

const struct contract_case replay_cases[] = {
	{ "map_before_attach", "B05 D15", map_before_attach },
	{ "detach_and_reattach", "B05", detach_and_reattach },
	{ "two_devices_one_domain", "B05 D05", two_devices_one_domain },
	{ "leftovers_go_with_their_device", "D12", leftovers_go_with_their_device },
	{ "replay_that_fails", "B05 D18", replay_that_fails },
	{ NULL },
};
