// SPDX-License-Identifier: BSD-2-Clause
/* Who owns a device or a domain, for how long, and what a second owner is told. */
#include "actor.h"
#include "world.h"

#include <errno.h>
#include <sys/wait.h>
#include <unistd.h>

static void second_owner_is_busy(struct rig *rig)
{
	struct dray_device_opts opts = rig_device_opts();
	struct dray_domain *dom = rig_domain(rig), *other = rig_domain(rig);
	struct dray_device *dev = rig_device(rig, dom, NULL), *second = NULL;
	struct actor *a = actor_open(rig, dev);
	struct rig_state was = rig_state(dom), was_other = rig_state(other);
	char *mem = rig_pages(PAGE);
	struct dray_mapping m;

	CHECK_ERR(dray_device_open(dom, rig->device, &opts, &second), EBUSY);
	CHECK_ERR(dray_device_open(other, rig->device, &opts, &second), EBUSY);
	CHECK(!second);
	CHECK_SAME(dom, &was);
	CHECK_SAME(other, &was_other);
	/* The first owner's device works on. */
	CHECK_OK(dray_map(dev, mem, PAGE, DRAY_BIDIRECTIONAL, 0, &m));
	CHECK_READS(a, m.iova, mem, 64);
	dray_unmap(dev, &m);
	actor_close(a);
	dray_device_close(dev);
	CHECK_OK(dray_device_open(other, rig->device, &opts, &second));
	dray_device_close(second);
	dray_domain_close(other);
	dray_domain_close(dom);
}

/*
 * In another process, with a domain of its own: the kernel's devices are one machine's, the software
 * IOMMU's are each process's own.
 */
static void owner_in_another_process(struct rig *rig)
{
	struct dray_device_opts opts = rig_device_opts();
	struct dray_domain *dom = rig_domain(rig), *other;
	struct dray_device *dev = rig_device(rig, dom, NULL);
	int status;
	pid_t pid = fork();

	CHECK(pid >= 0);
	if (!pid) {
		struct dray_device *second = NULL;

		other = rig_domain(rig);
		if (rig_is_sim(rig))
			dray_device_close(rig_device(rig, other, NULL));
		else
			CHECK_ERR(dray_device_open(other, rig->device, &opts, &second), EBUSY);
		dray_domain_close(other);
		_exit(0);
	}
	CHECK(waitpid(pid, &status, 0) == pid && !status);
	CHECK_INT(rig_info(dom).devices, 1);
	dray_device_close(dev);
	dray_domain_close(dom);
}

static void close_once(struct rig *rig)
{
	struct dray_domain *dom = rig_domain(rig);
	struct dray_device *dev = rig_device(rig, dom, NULL), *out = NULL;
	struct dray_mapping m = { .iova = 1 };
	char *mem = rig_pages(PAGE);
	struct rig_state was;

	dray_device_close(NULL);
	dray_domain_close(NULL);
	dray_device_close(dev);
	was = rig_state(dom);
	dray_device_close(dev);
	CHECK_WORDS("closed already");
	CHECK_SAME(dom, &was);
	/* A closed device is refused, not followed. */
	CHECK_ERR(dray_map(dev, mem, PAGE, DRAY_TO_DEVICE, 0, &m), EINVAL);
	CHECK_ERR(dray_device_set_mask(dev, RIG_MASK), EINVAL);
	CHECK_ERR(dray_device_set_domain(dev, dom), EINVAL);
	CHECK_ERR(dray_device_fd(dev), EINVAL);
	CHECK(!dray_device_get_domain(dev));
	CHECK_SAME(dom, &was);
	dray_domain_close(dom);
	dray_domain_close(dom);
	CHECK_WORDS("closed already");
	CHECK_ERR(dray_device_open(dom, rig->device, NULL, &out), EINVAL);
	CHECK_ERR(dray_domain_map(dom, 0x200000, mem, PAGE, DRAY_PROT_READ, 0), EINVAL);
}

/* A closed domain lives on for its devices and receipts, and is gone with the last of them. */
static void last_one_out(struct rig *rig)
{
	long blocks = 0;

	for (int round = 0; round < 3; round++) {
		struct dray_domain *dom = rig_domain(rig);
		struct dray_device *dev = rig_device(rig, dom, NULL);
		struct actor *a = actor_open(rig, dev);
		char *mem = rig_pages(PAGE);
		struct dray_mapping m, late;

		CHECK_OK(dray_map(dev, mem, PAGE, DRAY_BIDIRECTIONAL, 0, &m));
		dray_domain_close(dom);
		CHECK_ERR(dray_domain_map(dom, 0x200000, mem, PAGE, DRAY_PROT_READ, 0), EINVAL);
		/* Its device still maps in it. */
		CHECK_READS(a, m.iova, mem, 64);
		CHECK_OK(dray_map(dev, mem, PAGE, DRAY_BIDIRECTIONAL, 0, &late));
		CHECK_WRITES(a, late.iova, mem, 64);
		dray_unmap(dev, &late);
		dray_unmap(dev, &m);
		actor_close(a);
		/* It is seen in memory that the domain went: round for round the same is left. */
		dray_device_close(dev);
		if (round > 1)
			CHECK_INT(world_blocks(), blocks);
		blocks = world_blocks();
	}
}

/* Opened again after close: nothing of the life before is left. */
static void reopened_is_new(struct rig *rig)
{
	char *mem = rig_pages(2 * PAGE);

	for (int round = 0; round < 5; round++) {
		struct dray_domain *dom = rig_domain(rig);
		struct dray_device *dev;
		struct dray_mapping m;
		struct dray_domain_info info = rig_info(dom);

		CHECK_INT(rig_stats(dom).maps, 0);
		CHECK_INT(rig_stats(dom).leaks, 0);
		CHECK_INT(info.damaged, 0);
		CHECK_INT(info.mapped_bytes, 0);
		CHECK_INT(info.quarantined_bytes, 0);
		dev = rig_device(rig, dom, NULL);
		CHECK_OK(dray_map(dev, mem, PAGE, DRAY_BIDIRECTIONAL, 0, &m));
		if (round & 1)
			dray_unmap(dev, &m);
		rig_refuse_unmap(rig, dom);
		CHECK_OK(dray_map(dev, mem, PAGE, DRAY_BIDIRECTIONAL, 0, &m));
		dray_unmap(dev, &m);
		CHECK_INT(rig_info(dom).damaged, 1);
		dray_device_close(dev);
		dray_domain_close(dom);
	}
}

const struct contract_case owner_cases[] = {
	{ "second_owner_is_busy", "D12", second_owner_is_busy },
	{ "owner_in_another_process", "D12", owner_in_another_process },
	{ "close_once", "D12", close_once },
	{ "last_one_out", "D12", last_one_out },
	{ "reopened_is_new", "D12", reopened_is_new },
	{ NULL },
};
