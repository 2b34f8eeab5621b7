// SPDX-License-Identifier: BSD-2-Clause
/* What a device is to its domain: limits, trust, coherency, pools; as they are at the moment. */
#include "actor.h"

#include <errno.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define ALIGN 512u

static struct dray_device_info info_of(const struct dray_device *dev)
{
	struct dray_device_info info = { .size = sizeof(info) };

	CHECK_OK(dray_device_info(dev, &info));
	return info;
}

static void limits_as_opened(struct rig *rig)
{
	struct dray_device_opts opts = rig_device_opts();
	struct dray_domain *dom = rig_domain(rig);
	struct dray_device *dev, *plain;
	struct dray_device_info info;

	CHECK_OK(dray_device_open(dom, rig->device, NULL, &plain));
	info = info_of(plain);
	CHECK(!strcmp(info.name, rig->device));
	CHECK(info.dma_mask == UINT64_MAX && !info.segment_boundary_mask && !info.max_segment);
	CHECK(!info.min_align && !info.flags && info.trusted == 1);
	CHECK(!info.bounce_bytes && !info.bounce_held_bytes && !info.bounce_used_bytes);
	dray_device_close(plain);

	opts.segment_boundary_mask = 0xffff;
	opts.max_segment = 3 * PAGE;
	opts.min_align = ALIGN;
	CHECK_OK(dray_device_open(dom, rig->device, &opts, &dev));
	info = info_of(dev);
	CHECK_INT(info.dma_mask, RIG_MASK);
	CHECK_INT(info.segment_boundary_mask, 0xffff);
	CHECK_INT(info.max_segment, 3 * PAGE);
	CHECK_INT(info.min_align, ALIGN);
	/* As they are, not as they were. */
	CHECK_OK(dray_device_set_mask(dev, RIG_MASK >> 1));
	CHECK_INT(info_of(dev).dma_mask, RIG_MASK >> 1);
	CHECK_OK(dray_device_set_mask(dev, 0));
	CHECK(info_of(dev).dma_mask == UINT64_MAX);
	dray_device_close(dev);
	dray_domain_close(dom);
}

static void refusals(struct rig *rig)
{
	struct dray_domain *dom = rig_domain(rig);
	struct dray_device *dev = rig_device(rig, dom, NULL);
	struct dray_device_info info = { .size = sizeof(info) };
	struct {
		struct dray_device_info info;
		char more[64];
	} longer;
	int status = 0;
	pid_t child;

	CHECK_ERR(dray_device_info(NULL, &info), EINVAL);
	CHECK_ERR(dray_device_info(dev, NULL), EINVAL);
	info.size = 4;
	CHECK_ERR(dray_device_info(dev, &info), EINVAL);
	/* Filled up to the caller's size, and zeroed behind what is known. */
	memset(&info, 0x55, sizeof(info));
	info.size = offsetof(struct dray_device_info, name);
	CHECK_OK(dray_device_info(dev, &info));
	CHECK(info.trusted == 1 && info.name[0] == 0x55 && info.min_align != 0);
	memset(&longer, 0x55, sizeof(longer));
	longer.info.size = sizeof(longer);
	CHECK_OK(dray_device_info(dev, &longer.info));
	CHECK(!longer.more[0] && !memcmp(longer.more, longer.more + 1, sizeof(longer.more) - 1));
	info.size = sizeof(info);
	child = fork();
	if (!child)
		_exit(dray_device_info(dev, &info) == -EPERM ? 0 : 1);
	CHECK(waitpid(child, &status, 0) == child && !status);
	dray_device_close(dev);
	CHECK_ERR(dray_device_info(dev, &info), EINVAL);
	dray_domain_close(dom);
}

/* Trust is the domain's; flags stay the device's. */
static void trust_of_all(struct rig *rig)
{
	struct dray_device_opts opts = rig_device_opts();
	struct dray_domain *dom = rig_domain(rig);
	struct dray_device *dev = rig_device(rig, dom, NULL), *bad;

	opts.flags = DRAY_DEVICE_UNTRUSTED;
	CHECK_OK(dray_device_open(dom, rig->device2, &opts, &bad));
	CHECK_INT(info_of(bad).flags, DRAY_DEVICE_UNTRUSTED);
	CHECK_INT(info_of(bad).trusted, 0);
	CHECK_INT(info_of(dev).flags, 0);
	CHECK_INT(info_of(dev).trusted, 0);
	dray_device_close(bad);
	CHECK_INT(info_of(dev).trusted, 1);
	dray_device_close(dev);
	dray_domain_close(dom);
}

/* Two properties: what it does by default, and whether it is held to that. */
static void coherency_is_two(struct rig *rig)
{
	struct dray_domain_opts dopts = rig_domain_opts(rig);
	struct dray_device_opts opts = rig_device_opts();
	struct dray_domain *dom = rig_domain(rig);
	struct dray_device *dev = rig_device(rig, dom, NULL);
	uint32_t held = info_of(dev).enforces_coherency;

	CHECK_INT(info_of(dev).coherent, 1);
	CHECK(held <= 1);
	if (rig_is_sim(rig))
		CHECK_INT(held, 1);
	dray_device_close(dev);
	opts.flags = DRAY_DEVICE_NONCOHERENT;
	CHECK_OK(dray_device_open(dom, rig->device, &opts, &dev));
	CHECK_INT(info_of(dev).coherent, 0);
	CHECK_INT(info_of(dev).enforces_coherency, held);
	dray_device_close(dev);
	dray_domain_close(dom);
	if (!rig_is_sim(rig))
		return;
	dopts.sim_profile = "noncoherent";
	CHECK_OK(dray_domain_open(&dopts, &dom));
	dev = rig_device(rig, dom, NULL);
	CHECK_INT(info_of(dev).coherent, 0);
	CHECK_INT(info_of(dev).enforces_coherency, 0);
	dray_device_close(dev);
	dray_domain_close(dom);
}

static void pools_of_its_own(struct rig *rig)
{
	struct dray_device_opts opts = rig_device_opts();
	struct dray_domain *dom = rig_domain(rig), *to = rig_domain(rig);
	char *mem = rig_pages(4 * PAGE);
	struct dray_device *dev, *other;
	struct dray_device_info info;
	struct dray_mapping m[3], theirs;

	opts.min_align = ALIGN;
	CHECK_OK(dray_device_open(dom, rig->device2, &opts, &other));
	opts.bounce_bytes = 3 * PAGE + 1;
	CHECK_OK(dray_device_open(dom, rig->device, &opts, &dev));
	CHECK_OK(dray_map(other, mem + 1, 2000, DRAY_TO_DEVICE, 0, &theirs));
	info = info_of(dev);
	CHECK_INT(info.bounce_bytes, 3 * PAGE);
	CHECK_INT(info.bounce_held_bytes + info.bounce_used_bytes + info.bounce_high_water_bytes, 0);
	CHECK_INT(info_of(other).bounce_bytes, 0);
	CHECK_INT(info_of(other).bounce_used_bytes, 0);
	for (unsigned i = 0; i < 3; i++)
		CHECK_OK(dray_map(dev, mem + i * PAGE + 1, 2000, DRAY_TO_DEVICE, 0, &m[i]));
	info = info_of(dev);
	CHECK_INT(info.bounce_held_bytes, 3 * PAGE);
	CHECK_INT(info.bounce_used_bytes, 3 * 2048);
	dray_unmap(dev, &m[0]);
	dray_unmap(dev, &m[2]);
	info = info_of(dev);
	CHECK_INT(info.bounce_used_bytes, 2048);
	CHECK_INT(info.bounce_high_water_bytes, 3 * 2048);
	if (rig_is_sim(rig)) {
		CHECK_OK(dray_device_set_domain(dev, to));
		info = info_of(dev);
		CHECK_INT(info.bounce_bytes, 3 * PAGE);
		CHECK_INT(info.bounce_used_bytes + info.bounce_high_water_bytes, 0);
		CHECK_OK(dray_device_set_domain(dev, dom));
		CHECK_INT(info_of(dev).bounce_used_bytes, 2048);
		CHECK_INT(info_of(dev).bounce_high_water_bytes, 3 * 2048);
	}
	dray_unmap(dev, &m[1]);
	dray_unmap(other, &theirs);
	dray_device_close(dev);
	dray_device_close(other);
	dray_domain_close(to);
	dray_domain_close(dom);
}

const struct contract_case devinfo_cases[] = {
	{ "limits_as_opened", "-", limits_as_opened },
	{ "refusals", "-", refusals },
	{ "trust_of_all", "D09", trust_of_all },
	{ "coherency_is_two", "E09", coherency_is_two },
	{ "pools_of_its_own", "E05", pools_of_its_own },
	{ NULL },
};
