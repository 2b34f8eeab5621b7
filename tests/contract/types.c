// SPDX-License-Identifier: BSD-2-Clause
/* Domain types: PAGING, IDENTITY, BLOCKED; what DEFAULT becomes, and what a backend lacks. */
#include "actor.h"

#include <errno.h>

static void default_is_never_reported(struct rig *rig)
{
	static const enum dray_domain_type types[] = {
		DRAY_DOMAIN_DEFAULT, DRAY_DOMAIN_PAGING, DRAY_DOMAIN_BLOCKED, DRAY_DOMAIN_IDENTITY,
	};

	for (int i = 0; i < 4; i++) {
		struct dray_domain_opts opts = rig_domain_opts(rig);
		struct dray_domain *dom = NULL;

		opts.type = types[i];
		/* VFIO always translates, and what was asked for by name is not replaced. */
		if (types[i] == DRAY_DOMAIN_IDENTITY && !rig_is_sim(rig)) {
			CHECK_ERR(dray_domain_open(&opts, &dom), ENOTSUP);
			CHECK_WORDS("IDENTITY");
			CHECK(!dom);
			continue;
		}
		CHECK_OK(dray_domain_open(&opts, &dom));
		CHECK_INT(dray_domain_get_type(dom),
			  types[i] ? types[i] : DRAY_DOMAIN_PAGING);
		CHECK_INT(rig_info(dom).type, dray_domain_get_type(dom));
		CHECK_INT(rig_info(dom).backend, rig->backend);
		dray_domain_close(dom);
	}
}

/* Opens everywhere, maps nothing, attaching works, and all DMA faults. */
static void blocked_domain(struct rig *rig)
{
	struct dray_domain *dom = rig_domain_as(rig, DRAY_DOMAIN_BLOCKED);
	struct dray_device *dev = rig_device(rig, dom, NULL);
	struct actor *a = actor_open(rig, dev);
	struct dray_mapping m = { .iova = 5 };
	char *mem = rig_pages(PAGE);
	struct rig_state was = rig_state(dom);
	void *va = NULL;

	CHECK_ERR(dray_map(dev, mem, PAGE, DRAY_BIDIRECTIONAL, 0, &m), EPERM);
	CHECK_WORDS("BLOCKED");
	CHECK_ERR(dray_map_fixed(dev, 0x200000, mem, PAGE, DRAY_BIDIRECTIONAL, 0, &m), EPERM);
	CHECK_ERR(dray_domain_map(dom, 0x200000, mem, PAGE, DRAY_PROT_READ, 0), EPERM);
	CHECK_ERR(dray_coherent_alloc(dev, PAGE, 0, &va, &m), EPERM);
	CHECK(m.iova == 5 && !va);
	CHECK_SAME(dom, &was);
	/* Not even where another domain would have memory. */
	CHECK_NO_WRITE(a, 0x200000, mem, 64);
	CHECK_NO_WRITE(a, (uintptr_t)mem & RIG_MASK, mem, 64);
	if (rig_is_sim(rig)) {
		CHECK_NO_READ(a, 0x200000, mem, 64);
		CHECK_NO_WRITE(a, (uintptr_t)mem, mem, 64);
	}
	actor_close(a);
	dray_device_close(dev);
	dray_domain_close(dom);
}

/* IOVA is VA: on the software IOMMU; elsewhere it is refused by name (see above). */
static void identity_domain(struct rig *rig)
{
	struct dray_domain_opts opts = rig_domain_opts(rig);
	struct dray_device_opts no_mask = { .size = sizeof(no_mask) };
	struct dray_domain *dom = NULL;
	struct dray_device *dev;
	struct actor *a;
	char *mem = rig_pages(PAGE);
	struct dray_mapping m;

	opts.type = DRAY_DOMAIN_IDENTITY;
	if (!rig_is_sim(rig)) {
		CHECK_ERR(dray_domain_open(&opts, &dom), ENOTSUP);
		return;
	}
	CHECK_OK(dray_domain_open(&opts, &dom));
	CHECK_OK(dray_device_open(dom, rig->device, &no_mask, &dev));
	a = actor_open(rig, dev);
	CHECK_OK(dray_map(dev, mem + 3, 100, DRAY_BIDIRECTIONAL, 0, &m));
	CHECK_INT(m.iova, (uintptr_t)mem + 3);
	CHECK(dray_iova_to_va(dom, m.iova) == mem + 3);
	CHECK_READS(a, m.iova, mem + 3, 64);
	CHECK_WRITES(a, m.iova, mem + 3, 64);
	dray_unmap(dev, &m);
	CHECK_ERR(dray_map_fixed(dev, 0x200000, mem, PAGE, DRAY_TO_DEVICE, 0, &m), ERANGE);
	CHECK_ERR(dray_domain_map(dom, 0x200000, mem, PAGE, DRAY_PROT_READ, 0), ENOTSUP);
	CHECK_OK(dray_map_fixed(dev, (uintptr_t)mem, mem, PAGE, DRAY_TO_DEVICE, 0, &m));
	dray_unmap(dev, &m);
	/* It cannot be moved for a device that does not reach it. */
	CHECK_OK(dray_device_set_mask(dev, RIG_MASK));
	CHECK_ERR(dray_map(dev, mem, PAGE, DRAY_TO_DEVICE, 0, &m), ERANGE);
	actor_close(a);
	dray_device_close(dev);
	dray_domain_close(dom);
}

/* What was never built is said so, and falls back only for DEFAULT. */
static void what_a_backend_lacks(struct rig *rig)
{
	struct dray_domain_opts opts = rig_domain_opts(rig);
	struct dray_domain *dom = NULL;

	opts.sim_profile = "no such profile";
	CHECK_ERR(dray_domain_open(&opts, &dom), rig_is_sim(rig) ? ENOTSUP : EINVAL);
	opts.sim_profile = NULL;
	/* Lazy is a wish: where it cannot be had the domain is strict and says so. */
	opts.invalidation = DRAY_LAZY;
	CHECK_OK(dray_domain_open(&opts, &dom));
	CHECK_INT(dray_domain_invalidation(dom), rig_info(dom).invalidation);
	dray_domain_close(dom);
}

const struct contract_case types_cases[] = {
	{ "default_is_never_reported", "D01 D03", default_is_never_reported },
	{ "blocked_domain", "D02", blocked_domain },
	{ "identity_domain", "D01 D03", identity_domain },
	{ "what_a_backend_lacks", "D03", what_a_backend_lacks },
	{ NULL },
};
