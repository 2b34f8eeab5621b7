// SPDX-License-Identifier: BSD-2-Clause
/* Addresses of the caller's choice for a device, and ranges kept away from automatic ones. */
#include "actor.h"

#include <errno.h>
#include <string.h>

#define BASE UINT64_C(0x400000)
#define GRANULES 8

/* A domain of GRANULES granules from BASE on, and its device. */
static struct dray_device *small_domain(const struct rig *rig, struct dray_domain **ret_dom)
{
	struct dray_domain_opts opts = rig_domain_opts(rig);

	opts.first = BASE;
	opts.last = BASE + GRANULES * PAGE - 1;
	CHECK_OK(dray_domain_open(&opts, ret_dom));
	return rig_device(rig, *ret_dom, NULL);
}

/* Map single granules until there is no room. Bit n of the result: granule n was given. */
static unsigned fill_up(struct dray_device *dev, void *va, struct dray_mapping *maps)
{
	unsigned seen = 0;
	int n = 0;

	memset(maps, 0, GRANULES * sizeof(*maps));
	while (n < GRANULES && !dray_map(dev, va, PAGE, DRAY_TO_DEVICE, 0, &maps[n])) {
		unsigned granule = (unsigned)((maps[n].iova - BASE) / PAGE);

		CHECK(maps[n].iova >= BASE && granule < GRANULES && !(seen & 1u << granule));
		seen |= 1u << granule;
		n++;
	}
	return seen;
}

static void empty(struct dray_device *dev, struct dray_mapping *maps)
{
	for (int i = 0; i < GRANULES; i++)
		dray_unmap(dev, &maps[i]);
}

static void fixed_translates(struct rig *rig)
{
	struct dray_domain *dom = rig_domain(rig);
	struct dray_device *dev = rig_device(rig, dom, NULL);
	struct actor *a = actor_open(rig, dev);
	char *mem = rig_pages(3 * PAGE);
	struct dray_mapping m;

	CHECK_OK(dray_map_fixed(dev, BASE + 0x234, mem + 0x234, 2 * PAGE, DRAY_BIDIRECTIONAL, 0,
				&m));
	CHECK_INT(m.iova, BASE + 0x234);
	CHECK_INT(m.len, 2 * PAGE);
	CHECK_READS(a, BASE + 0x234, mem + 0x234, 512);
	CHECK_WRITES(a, BASE + 2 * PAGE, mem + 2 * PAGE, 0x234);
	CHECK(dray_iova_to_va(dom, BASE + PAGE) == mem + PAGE);
	dray_unmap(dev, &m);
	CHECK_BLOCKED(a, BASE + 0x238, mem + 0x238, 64);
	actor_close(a);
	dray_device_close(dev);
	dray_domain_close(dom);
}

/* A managed address that was taken by hand is managed again afterwards. */
static void managed_stays_managed(struct rig *rig)
{
	struct dray_mapping fixed, maps[GRANULES];
	struct dray_domain *dom;
	struct dray_device *dev = small_domain(rig, &dom);
	char *mem = rig_pages(2 * PAGE);

	CHECK_OK(dray_map_fixed(dev, BASE + 2 * PAGE, mem, 2 * PAGE, DRAY_TO_DEVICE, 0, &fixed));
	/* While it lives, automatic ones go around it. */
	CHECK_INT(fill_up(dev, mem, maps), 0xff & ~0x0c);
	empty(dev, maps);
	dray_unmap(dev, &fixed);
	CHECK_INT(fill_up(dev, mem, maps), 0xff);
	CHECK_ERR(dray_map_fixed(dev, BASE, mem, PAGE, DRAY_TO_DEVICE, 0, &fixed), EEXIST);
	empty(dev, maps);
	dray_device_close(dev);
	dray_domain_close(dom);
}

/* A reserved address stays reserved: never handed out, before, during or after. */
static void reserved_stays_reserved(struct rig *rig)
{
	struct dray_mapping fixed, across, maps[GRANULES];
	struct dray_domain *dom;
	struct dray_device *dev = small_domain(rig, &dom);
	char *mem = rig_pages(4 * PAGE);

	CHECK_OK(dray_domain_reserve(dom, BASE + 4 * PAGE, BASE + 6 * PAGE - 1,
				     DRAY_RESERVE_FIXED));
	CHECK_INT(fill_up(dev, mem, maps), 0xcf);
	empty(dev, maps);
	for (int round = 0; round < 2; round++) {
		CHECK_OK(dray_map_fixed(dev, BASE + 5 * PAGE, mem, PAGE, DRAY_TO_DEVICE, 0,
					&fixed));
		CHECK_ERR(dray_domain_unreserve(dom, BASE + 4 * PAGE, BASE + 6 * PAGE - 1), EBUSY);
		CHECK_INT(fill_up(dev, mem, maps), 0xcf);
		empty(dev, maps);
		dray_unmap(dev, &fixed);
		CHECK_INT(fill_up(dev, mem, maps), 0xcf);
		empty(dev, maps);
	}
	/* Across the window's edge each part becomes what it was. */
	CHECK_OK(dray_map_fixed(dev, BASE + 3 * PAGE, mem, 2 * PAGE, DRAY_TO_DEVICE, 0, &across));
	dray_unmap(dev, &across);
	CHECK_INT(fill_up(dev, mem, maps), 0xcf);
	empty(dev, maps);
	CHECK_OK(dray_domain_unreserve(dom, BASE + 4 * PAGE, BASE + 6 * PAGE - 1));
	CHECK_INT(fill_up(dev, mem, maps), 0xff);
	empty(dev, maps);
	dray_device_close(dev);
	dray_domain_close(dom);
}

static void reserved_hole(struct rig *rig)
{
	struct dray_mapping fixed, live, maps[GRANULES];
	struct dray_domain_info info;
	struct dray_domain *dom;
	struct dray_device *dev = small_domain(rig, &dom);
	char *mem = rig_pages(2 * PAGE);

	CHECK_OK(dray_map_fixed(dev, BASE, mem, PAGE, DRAY_TO_DEVICE, 0, &live));
	CHECK_ERR(dray_domain_reserve(dom, BASE, BASE + 2 * PAGE - 1, DRAY_RESERVE_HOLE), EEXIST);
	dray_unmap(dev, &live);
	CHECK_OK(dray_domain_reserve(dom, BASE, BASE + 2 * PAGE - 1, DRAY_RESERVE_HOLE));
	CHECK_ERR(dray_map_fixed(dev, BASE + PAGE, mem, PAGE, DRAY_TO_DEVICE, 0, &fixed), EEXIST);
	CHECK_ERR(dray_domain_map(dom, BASE + PAGE, mem, 2 * PAGE, DRAY_PROT_READ, 0), EEXIST);
	CHECK_INT(fill_up(dev, mem, maps), 0xfc);
	empty(dev, maps);
	info = rig_info(dom);
	CHECK_INT(info.n_holes, 1);
	CHECK_INT(info.holes[0].first, BASE);
	CHECK_INT(info.holes[0].last, BASE + 2 * PAGE - 1);
	CHECK_INT(info.n_windows, 1);
	CHECK_INT(info.windows[0].first, BASE + 2 * PAGE);
	/* What is reserved may be reserved again; the newest kind holds. */
	CHECK_OK(dray_domain_reserve(dom, BASE + PAGE, BASE + 3 * PAGE - 1, DRAY_RESERVE_FIXED));
	CHECK_OK(dray_map_fixed(dev, BASE + PAGE, mem, PAGE, DRAY_TO_DEVICE, 0, &fixed));
	dray_unmap(dev, &fixed);
	CHECK_INT(fill_up(dev, mem, maps), 0xf8);
	empty(dev, maps);
	CHECK_OK(dray_domain_unreserve(dom, BASE, BASE + 8 * PAGE - 1));
	CHECK_INT(fill_up(dev, mem, maps), 0xff);
	empty(dev, maps);
	dray_device_close(dev);
	dray_domain_close(dom);
}

/* The window in which x86 takes interrupts is never handed out and cannot be asked for. */
static void msi_window_is_a_hole(struct rig *rig)
{
	const dray_iova_t first = MSI_IOVA - 32 * PAGE, last = MSI_LAST + 32 * PAGE;
	struct dray_domain_opts opts = rig_domain_opts(rig);
	struct dray_device_opts no_mask = { .size = sizeof(no_mask) };
	struct dray_mapping maps[65], m;
	struct dray_domain_info info;
	struct rig_state was;
	struct dray_domain *dom;
	struct dray_device *dev;
	char *mem = rig_pages(2 * PAGE);
	int n = 0;

	opts.first = first;
	opts.last = last;
	CHECK_OK(dray_domain_open(&opts, &dom));
	CHECK_OK(dray_device_open(dom, rig->device, &no_mask, &dev));
	info = rig_info(dom);
	CHECK_INT(info.n_holes, 1);
	CHECK_INT(info.holes[0].first, MSI_IOVA);
	CHECK_INT(info.holes[0].last, MSI_LAST);
	CHECK_INT(info.n_windows, 2);
	was = rig_state(dom);
	CHECK_ERR(dray_map_fixed(dev, MSI_IOVA, mem, PAGE, DRAY_TO_DEVICE, 0, &m), EEXIST);
	CHECK_ERR(dray_map_fixed(dev, MSI_IOVA - PAGE, mem, 2 * PAGE, DRAY_TO_DEVICE, 0, &m),
		  EEXIST);
	CHECK_ERR(dray_domain_map(dom, MSI_LAST + 1 - PAGE, mem, 2 * PAGE, DRAY_PROT_READ, 0),
		  EEXIST);
	CHECK_SAME(dom, &was);
	while (!dray_map(dev, mem, PAGE, DRAY_TO_DEVICE, 0, &maps[n])) {
		CHECK(maps[n].iova + PAGE <= MSI_IOVA || maps[n].iova > MSI_LAST);
		CHECK(++n <= 64);
	}
	CHECK_INT(n, 64);
	while (n)
		dray_unmap(dev, &maps[--n]);
	/* It stays a hole whatever is reserved and given back around it. */
	CHECK_OK(dray_domain_reserve(dom, first, last, DRAY_RESERVE_FIXED));
	CHECK_ERR(dray_map_fixed(dev, MSI_IOVA, mem, PAGE, DRAY_TO_DEVICE, 0, &m), EEXIST);
	CHECK_OK(dray_domain_unreserve(dom, first, last));
	CHECK_ERR(dray_map_fixed(dev, MSI_IOVA, mem, PAGE, DRAY_TO_DEVICE, 0, &m), EEXIST);
	dray_device_close(dev);
	dray_domain_close(dom);
}

/* Each failed map leaves room for as many as before: none keeps its address. */
static void failed_maps_keep_nothing(struct rig *rig)
{
	struct dray_mapping maps[GRANULES];
	struct dray_domain *dom;
	struct dray_device *dev = small_domain(rig, &dom);
	char *mem = rig_pages(2 * PAGE);
	struct rig_state was = rig_state(dom);

	for (int i = 0; i < 3 * GRANULES; i++) {
		/* Nothing is mapped in the first page of any process. */
		CHECK_ERR(dray_map(dev, (void *)16, PAGE / 2, DRAY_TO_DEVICE, 0, &maps[0]), EFAULT);
		CHECK_ERR(dray_map_fixed(dev, BASE + 16, (void *)16, 8, DRAY_TO_DEVICE, 0,
					 &maps[0]), EFAULT);
	}
	CHECK_SAME(dom, &was);
	CHECK_INT(fill_up(dev, mem, maps), 0xff);
	empty(dev, maps);
	dray_device_close(dev);
	dray_domain_close(dom);
}

const struct contract_case fixed_cases[] = {
	{ "fixed_translates", "A12", fixed_translates },
	{ "managed_stays_managed", "A12", managed_stays_managed },
	{ "reserved_stays_reserved", "A12 A02", reserved_stays_reserved },
	{ "reserved_hole", "A02", reserved_hole },
	{ "msi_window_is_a_hole", "A12 D08", msi_window_is_a_hole },
	{ "failed_maps_keep_nothing", "A12 B04", failed_maps_keep_nothing },
	{ NULL },
};
