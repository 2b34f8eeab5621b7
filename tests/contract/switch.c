// SPDX-License-Identifier: BSD-2-Clause
/*
 * A device is in exactly one domain. Where the backend replaces it in one step it can be moved;
 * type1 cannot, says so, and leaves it where it is.
 */
#include "actor.h"

#include <errno.h>

#define AT UINT64_C(0x2000000)

/* Already true, or not possible: on either backend the same answers. */
static void set_domain_refusals(struct rig *rig)
{
	struct dray_domain *dom = rig_domain(rig), *to = rig_domain(rig), *sim, *closed;
	struct dray_domain_opts opts = rig_domain_opts(rig);
	struct dray_device *dev = rig_device(rig, dom, NULL);
	struct actor *a = actor_open(rig, dev);
	char *mem = rig_pages(PAGE);
	struct dray_mapping m;
	struct rig_state was;

	CHECK_OK(dray_map(dev, mem, PAGE, DRAY_BIDIRECTIONAL, 0, &m));
	was = rig_state(dom);
	CHECK_OK(dray_device_set_domain(dev, dom));
	CHECK_SAME(dom, &was);
	CHECK_ERR(dray_device_set_domain(NULL, dom), EINVAL);
	CHECK_ERR(dray_device_set_domain(dev, NULL), EINVAL);
	opts.backend = DRAY_BACKEND_SIM;
	CHECK_OK(dray_domain_open(&opts, &sim));
	if (!rig_is_sim(rig)) {
		CHECK_ERR(dray_device_set_domain(dev, to), ENOTSUP);
		CHECK_ERR(dray_device_set_domain(dev, sim), EINVAL);
	}
	closed = rig_domain(rig);
	dray_domain_close(closed);
	CHECK_ERR(dray_device_set_domain(dev, closed), EINVAL);
	CHECK(dray_device_get_domain(dev) == dom);
	CHECK(!dray_device_get_domain(NULL));
	CHECK_READS(a, m.iova, mem, 64);
	CHECK_INT(rig_info(to).devices, 0);
	CHECK_INT(rig_info(dom).devices, 1);
	dray_unmap(dev, &m);
	actor_close(a);
	dray_device_close(dev);
	dray_domain_close(sim);
	dray_domain_close(to);
	dray_domain_close(dom);
}

/* Managed and explicit, 1,000 round trips: nothing of one is reachable in the other. */
static void thousand_round_trips(struct rig *rig)
{
	struct dray_domain *managed = rig_domain(rig), *explicit = rig_domain(rig);
	struct dray_device *dev = rig_device(rig, managed, NULL);
	char *mem = rig_pages(2 * PAGE);
	struct rig_state was, was_explicit;
	struct dray_mapping m;
	struct actor *a;

	CHECK_OK(dray_domain_map(explicit, AT, mem + PAGE, PAGE, DRAY_PROT_READ | DRAY_PROT_WRITE,
				 0));
	if (!rig_is_sim(rig)) {
		CHECK_ERR(dray_device_set_domain(dev, explicit), ENOTSUP);
		CHECK(dray_device_get_domain(dev) == managed);
		dray_device_close(dev);
		dray_domain_close(managed);
		dray_domain_close(explicit);
		return;
	}
	a = actor_open(rig, dev);
	CHECK_OK(dray_map(dev, mem, PAGE, DRAY_BIDIRECTIONAL, 0, &m));
	/* Once there and back: what ties a device to a domain stays as long as both. */
	CHECK_OK(dray_device_set_domain(dev, explicit));
	CHECK_OK(dray_device_set_domain(dev, managed));
	was = rig_state(managed);
	was_explicit = rig_state(explicit);
	for (int i = 0; i < 1000; i++) {
		CHECK_OK(dray_device_set_domain(dev, explicit));
		CHECK(dray_device_get_domain(dev) == explicit);
		if (i % 100 == 0) {
			CHECK_READS(a, AT, mem + PAGE, 64);
			CHECK_BLOCKED(a, m.iova, mem, 64);
		}
		CHECK_OK(dray_device_set_domain(dev, managed));
		if (i % 100 == 0) {
			CHECK_READS(a, m.iova, mem, 64);
			CHECK_BLOCKED(a, AT, mem + PAGE, 64);
		}
	}
	CHECK_SAME(managed, &was);
	CHECK_SAME(explicit, &was_explicit);
	/* The receipt is good wherever the device is meanwhile. */
	CHECK_OK(dray_device_set_domain(dev, explicit));
	dray_unmap(dev, &m);
	CHECK_INT(rig_info(managed).mapped_bytes, 0);
	actor_close(a);
	dray_device_close(dev);
	dray_domain_close(managed);
	dray_domain_close(explicit);
}

/* Through every type, and out of a domain that was closed meanwhile. */
static void switch_between_types(struct rig *rig)
{
	struct dray_domain *paging = rig_domain(rig), *blocked, *identity;
	struct dray_device_opts no_mask = { .size = sizeof(no_mask) };
	struct dray_device *dev;
	char *mem = rig_pages(PAGE);
	struct dray_mapping m;
	struct actor *a;

	blocked = rig_domain_as(rig, DRAY_DOMAIN_BLOCKED);
	CHECK_OK(dray_device_open(paging, rig->device, &no_mask, &dev));
	if (!rig_is_sim(rig)) {
		CHECK_ERR(dray_device_set_domain(dev, blocked), ENOTSUP);
		dray_device_close(dev);
		dray_domain_close(blocked);
		dray_domain_close(paging);
		return;
	}
	identity = rig_domain_as(rig, DRAY_DOMAIN_IDENTITY);
	a = actor_open(rig, dev);
	CHECK_OK(dray_map(dev, mem, PAGE, DRAY_BIDIRECTIONAL, 0, &m));
	CHECK_OK(dray_device_set_domain(dev, blocked));
	CHECK_BLOCKED(a, m.iova, mem, 64);
	CHECK_OK(dray_device_set_domain(dev, identity));
	CHECK_READS(a, (uintptr_t)mem, mem, 64);
	CHECK_OK(dray_device_set_domain(dev, paging));
	CHECK_READS(a, m.iova, mem, 64);
	CHECK_BLOCKED(a, (uintptr_t)mem, mem, 64);
	/* Closed while the device is in it: it goes when the device leaves and the receipt ends. */
	dray_domain_close(paging);
	CHECK_READS(a, m.iova, mem, 64);
	CHECK_OK(dray_device_set_domain(dev, blocked));
	dray_unmap(dev, &m);
	actor_close(a);
	dray_device_close(dev);
	dray_domain_close(blocked);
	dray_domain_close(identity);
}

const struct contract_case switch_cases[] = {
	{ "set_domain_refusals", "D04 D10", set_domain_refusals },
	{ "thousand_round_trips", "D04 D21", thousand_round_trips },
	{ "switch_between_types", "D04 D02", switch_between_types },
	{ NULL },
};
