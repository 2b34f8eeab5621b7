// SPDX-License-Identifier: BSD-2-Clause
/* Unmap and close always complete and never allocate: here there is no memory at all for them. */
#include "actor.h"
#include "world.h"

#include <errno.h>
#include <pthread.h>

#define AT UINT64_C(0x1800000)
#define N  100

/* From here on until memory_back() neither the allocator nor mmap gives anything. */
static unsigned memory_gone(void)
{
	world_fail_all(WORLD_ALLOC, ENOMEM);
	world_fail_all(WORLD_MMAP, ENOMEM);
	return world_calls(WORLD_ALLOC) + world_calls(WORLD_MMAP);
}

/* Nobody even asked. */
static void memory_back(unsigned before)
{
	CHECK_INT(world_calls(WORLD_ALLOC) + world_calls(WORLD_MMAP) - before, 0);
	world_fail_all(WORLD_ALLOC, 0);
	world_fail_all(WORLD_MMAP, 0);
}

struct receipts {
	struct dray_device *dev;
	struct dray_mapping m[N];
};

static void *unmap_all(void *arg)
{
	struct receipts *r = arg;

	for (int i = 0; i < N; i++)
		dray_unmap(r->dev, &r->m[i]);
	return NULL;
}

/* Sizes and places that split and merge records: odd ones out, in another order, elsewhere. */
static void unmap_never_allocates(struct rig *rig)
{
	struct dray_domain *dom = rig_domain(rig);
	struct dray_device *dev = rig_device(rig, dom, NULL);
	char *mem = rig_pages(8 * PAGE);
	struct receipts r = { .dev = dev };
	struct rig_state was;
	pthread_t thread;
	unsigned before;

	for (int round = 0; round < 2; round++) {
		was = rig_state(dom);
		for (int i = 0; i < N; i++)
			CHECK_OK(dray_map(dev, mem, (size_t)(1 + i % 8) * PAGE, DRAY_TO_DEVICE, 0,
					  &r.m[i]));
		before = memory_gone();
		for (int i = 0; i < N; i += 3)
			dray_unmap(dev, &r.m[i]);
		/* A thread that dray has never seen. */
		CHECK(!pthread_create(&thread, NULL, unmap_all, &r));
		CHECK(!pthread_join(thread, NULL));
		memory_back(before);
		CHECK_INT(rig_info(dom).mapped_bytes, was.info.mapped_bytes);
		CHECK_INT(rig_stats(dom).unmaps, was.unmaps + N);
	}
	CHECK_INT(rig_stats(dom).bad_unmaps, 0);
	dray_device_close(dev);
	dray_domain_close(dom);
}

static void explicit_unmap_never_allocates(struct rig *rig)
{
	struct dray_domain *dom = rig_domain(rig);
	struct dray_device *dev = rig_device(rig, dom, NULL);
	char *mem = rig_pages(8 * PAGE);
	struct dray_mapping fixed, block;
	unsigned before;
	void *va;

	CHECK_OK(dray_domain_reserve(dom, AT + 4 * PAGE, AT + 8 * PAGE - 1, DRAY_RESERVE_FIXED));
	CHECK_OK(dray_domain_map(dom, AT, mem, 8 * PAGE, DRAY_PROT_READ, 0));
	CHECK_OK(dray_domain_map(dom, AT + 8 * PAGE, mem, PAGE, DRAY_PROT_READ, 0));
	CHECK_OK(dray_map_fixed(dev, AT + 9 * PAGE, mem, 2 * PAGE, DRAY_TO_DEVICE, 0, &fixed));
	CHECK_OK(dray_coherent_alloc(dev, 3 * PAGE, 0, &va, &block));
	before = memory_gone();
	CHECK_OK(dray_domain_unmap(dom, AT, 9 * PAGE));
	dray_unmap(dev, &fixed);
	dray_coherent_free(dev, va, &block);
	/* Refused ones do not ask for memory either. */
	dray_unmap(dev, &fixed);
	CHECK_ERR(dray_domain_unmap(dom, AT, PAGE), EINVAL);
	memory_back(before);
	CHECK_INT(rig_info(dom).mapped_bytes, 0);
	dray_device_close(dev);
	dray_domain_close(dom);
}

/* Devices and domain with everything still mapped. */
static void close_never_allocates(struct rig *rig)
{
	struct dray_mapping m[N], m2, block;
	struct dray_device *dev, *dev2;
	struct dray_domain *dom;
	char *mem = rig_pages(4 * PAGE);
	unsigned before;
	long blocks = 0;
	void *va;

	for (int round = 0; round < 2; round++) {
		dom = rig_domain(rig);
		dev = rig_device(rig, dom, NULL);
		dev2 = rig_device(rig, dom, rig->device2);
		for (int i = 0; i < N; i++)
			CHECK_OK(dray_map(dev, mem, (size_t)(1 + i % 4) * PAGE, DRAY_TO_DEVICE, 0,
					  &m[i]));
		CHECK_OK(dray_map(dev2, mem, PAGE, DRAY_BIDIRECTIONAL, 0, &m2));
		CHECK_OK(dray_domain_map(dom, AT, mem, PAGE, DRAY_PROT_READ, 0));
		CHECK_OK(dray_coherent_alloc(dev2, PAGE, 0, &va, &block));
		before = memory_gone();
		dray_device_close(dev);
		dray_device_close(dev2);
		CHECK_INT(rig_stats(dom).leaks, N + 2);
		dray_domain_close(dom);
		memory_back(before);
		/* All of it is back: a second round leaves what the first one left. */
		if (round)
			CHECK_INT(world_blocks(), blocks);
		blocks = world_blocks();
	}
}

/* What the backend refuses meanwhile is quarantined without a byte of new memory. */
static void refused_unmap_never_allocates(struct rig *rig)
{
	struct dray_domain *dom = rig_domain(rig);
	struct dray_device *dev = rig_device(rig, dom, NULL);
	char *mem = rig_pages(2 * PAGE);
	struct dray_mapping m[20];
	unsigned before;

	for (int i = 0; i < 20; i++)
		CHECK_OK(dray_map(dev, mem, PAGE, DRAY_TO_DEVICE, 0, &m[i]));
	before = memory_gone();
	for (int i = 0; i < 20; i++) {
		if (i % 2)
			rig_refuse_unmap(rig, dom);
		dray_unmap(dev, &m[i]);
	}
	memory_back(before);
	CHECK_INT(rig_info(dom).quarantined_bytes, 10 * PAGE);
	before = memory_gone();
	dray_device_close(dev);
	dray_domain_close(dom);
	memory_back(before);
}

const struct contract_case never_cases[] = {
	{ "unmap_never_allocates", "B10", unmap_never_allocates },
	{ "explicit_unmap_never_allocates", "B10", explicit_unmap_never_allocates },
	{ "close_never_allocates", "B10", close_never_allocates },
	{ "refused_unmap_never_allocates", "B10", refused_unmap_never_allocates },
	{ NULL },
};
