// SPDX-License-Identifier: BSD-2-Clause
/* Explicit mappings: addresses of the caller's choice, for every device of the domain. */
#include "actor.h"

#include <errno.h>

#define AT UINT64_C(0x800000)

static void explicit_translates(struct rig *rig)
{
	struct dray_domain *dom = rig_domain(rig);
	struct dray_device *dev = rig_device(rig, dom, NULL);
	struct actor *a = actor_open(rig, dev);
	char *mem = rig_pages(3 * PAGE);

	CHECK_OK(dray_domain_map(dom, AT, mem, PAGE, DRAY_PROT_READ, 0));
	CHECK_OK(dray_domain_map(dom, AT + PAGE, mem + PAGE, PAGE, DRAY_PROT_WRITE, 0));
	CHECK_OK(dray_domain_map(dom, AT + 2 * PAGE, mem + 2 * PAGE, PAGE,
				 DRAY_PROT_READ | DRAY_PROT_WRITE, 0));
	CHECK_READS(a, AT, mem, 64);
	CHECK_NO_WRITE(a, AT, mem, 64);
	CHECK_WRITES(a, AT + PAGE, mem + PAGE, 64);
	if (rig_is_write_only_possible(rig))
		CHECK_NO_READ(a, AT + PAGE, mem + PAGE, 64);
	CHECK_READS(a, AT + 2 * PAGE, mem + 2 * PAGE, 64);
	CHECK_WRITES(a, AT + 2 * PAGE, mem + 2 * PAGE, 64);
	CHECK(dray_iova_to_va(dom, AT + PAGE + 5) == mem + PAGE + 5);
	CHECK_OK(dray_domain_unmap(dom, AT, 3 * PAGE));
	CHECK(!dray_iova_to_va(dom, AT));
	CHECK_BLOCKED(a, AT + 2 * PAGE, mem + 2 * PAGE, 64);
	actor_close(a);
	dray_device_close(dev);
	dray_domain_close(dom);
}

/* A range is unmapped whole or not at all: what is not exactly explicit mappings is refused. */
static void explicit_unmap_is_exact(struct rig *rig)
{
	struct dray_domain *dom = rig_domain(rig);
	struct dray_device *dev = rig_device(rig, dom, NULL);
	char *mem = rig_pages(8 * PAGE);
	struct dray_mapping m;
	struct rig_state was;

	CHECK_OK(dray_domain_map(dom, AT, mem, 4 * PAGE, DRAY_PROT_READ, 0));
	CHECK_OK(dray_domain_map(dom, AT + 4 * PAGE, mem, PAGE, DRAY_PROT_READ, 0));
	/* The same memory, right behind, by other means. */
	CHECK_OK(dray_map_fixed(dev, AT + 5 * PAGE, mem + PAGE, PAGE, DRAY_TO_DEVICE, 0, &m));
	CHECK_OK(dray_domain_map(dom, AT + 7 * PAGE, mem, PAGE, DRAY_PROT_READ, 0));
	was = rig_state(dom);
	CHECK_ERR(dray_domain_unmap(dom, AT, 2 * PAGE), EINVAL);            /* bisects */
	CHECK_ERR(dray_domain_unmap(dom, AT + PAGE, 3 * PAGE), EINVAL);     /* begins inside */
	CHECK_ERR(dray_domain_unmap(dom, AT, 6 * PAGE), EINVAL);            /* a device's */
	CHECK_ERR(dray_domain_unmap(dom, AT + 5 * PAGE, PAGE), EINVAL);     /* a device's */
	CHECK_ERR(dray_domain_unmap(dom, AT + 6 * PAGE, 2 * PAGE), EINVAL); /* a gap first */
	CHECK_ERR(dray_domain_unmap(dom, AT + 7 * PAGE, 2 * PAGE), EINVAL); /* a gap behind */
	CHECK_ERR(dray_domain_unmap(dom, AT + 9 * PAGE, PAGE), EINVAL);     /* nothing */
	CHECK_SAME(dom, &was);
	CHECK_INT(rig_stats(dom).bad_unmaps, 7);
	CHECK_OK(dray_domain_unmap(dom, AT, 5 * PAGE));
	CHECK_OK(dray_domain_unmap(dom, AT + 7 * PAGE, PAGE));
	CHECK_ERR(dray_domain_unmap(dom, AT + 7 * PAGE, PAGE), EINVAL);
	dray_unmap(dev, &m);
	CHECK_INT(rig_info(dom).mapped_bytes, 0);
	dray_device_close(dev);
	dray_domain_close(dom);
}

/* Managed addresses and a window for explicit ones live in one domain. */
static void managed_and_explicit(struct rig *rig)
{
	struct dray_domain_opts opts = rig_domain_opts(rig);
	struct dray_mapping m[12], none;
	struct dray_domain *dom;
	struct dray_device *dev;
	char *mem = rig_pages(16 * PAGE);

	opts.first = AT;
	opts.last = AT + 16 * PAGE - 1;
	CHECK_OK(dray_domain_open(&opts, &dom));
	CHECK_OK(dray_domain_reserve(dom, AT + 12 * PAGE, AT + 16 * PAGE - 1, DRAY_RESERVE_FIXED));
	dev = rig_device(rig, dom, NULL);
	CHECK_OK(dray_domain_map(dom, AT + 13 * PAGE, mem, 2 * PAGE, DRAY_PROT_READ, 0));
	for (int i = 0; i < 12; i++) {
		CHECK_OK(dray_map(dev, mem + i * PAGE, PAGE, DRAY_TO_DEVICE, 0, &m[i]));
		CHECK(m[i].iova < AT + 12 * PAGE);
	}
	CHECK_ERR(dray_map(dev, mem, PAGE, DRAY_TO_DEVICE, 0, &none), ENOSPC);
	/* Outside the window explicit ones may be too, where nothing is live. */
	CHECK_ERR(dray_domain_map(dom, m[3].iova, mem, PAGE, DRAY_PROT_READ, 0), EEXIST);
	dray_unmap(dev, &m[3]);
	CHECK_OK(dray_domain_map(dom, AT + 12 * PAGE, mem, PAGE, DRAY_PROT_READ, 0));
	for (int i = 0; i < 12; i++)
		dray_unmap(dev, &m[i]);
	CHECK_OK(dray_domain_unmap(dom, AT + 12 * PAGE, 3 * PAGE));
	CHECK_INT(rig_info(dom).mapped_bytes, 0);
	dray_device_close(dev);
	dray_domain_close(dom);
}

/* They belong to the domain: no device's mask or end touches them, and they go with the domain. */
static void explicit_belongs_to_the_domain(struct rig *rig)
{
	struct dray_domain *dom = rig_domain(rig);
	struct dray_device *dev = rig_device(rig, dom, NULL);
	char *mem = rig_pages(PAGE);

	CHECK_OK(dray_domain_map(dom, RIG_MASK + 1, mem, PAGE, DRAY_PROT_READ, 0));
	CHECK_OK(dray_device_set_mask(dev, 0x1fffff));
	dray_device_close(dev);
	CHECK(dray_iova_to_va(dom, RIG_MASK + 1) == mem);
	CHECK_INT(rig_stats(dom).leaks, 0);
	CHECK_OK(dray_domain_unmap(dom, RIG_MASK + 1, PAGE));
	CHECK_OK(dray_domain_map(dom, RIG_MASK + 1, mem, PAGE, DRAY_PROT_READ, 0));
	dray_domain_close(dom);
}

const struct contract_case explicit_cases[] = {
	{ "explicit_translates", "B12", explicit_translates },
	{ "explicit_unmap_is_exact", "B12 B03", explicit_unmap_is_exact },
	{ "managed_and_explicit", "B12", managed_and_explicit },
	{ "explicit_belongs_to_the_domain", "B12", explicit_belongs_to_the_domain },
	{ NULL },
};
