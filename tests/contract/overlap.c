// SPDX-License-Identifier: BSD-2-Clause
/* Mapping over something live is refused, and what was there goes on working. */
#include "actor.h"
#include "backend/type1.h"
#include "domain/domain.h"

#include <errno.h>
#include <linux/vfio.h>
#include <sys/ioctl.h>

#define AT UINT64_C(0xa00000)

/* Every way to overlap: the same, inside, across either edge, around. In granules from AT. */
static const struct { int first, count; } overlaps[] = {
	{ 2, 4 }, { 3, 2 }, { 3, 1 }, { 1, 2 }, { 5, 3 }, { 0, 8 }, { 2, 1 }, { 5, 1 }, { 0, 16 },
};

static void overlap_is_refused(struct rig *rig)
{
	struct dray_domain *dom = rig_domain(rig);
	struct dray_device *dev = rig_device(rig, dom, NULL);
	struct actor *a = actor_open(rig, dev);
	char *mem = rig_pages(16 * PAGE), *other = rig_pages(16 * PAGE);
	struct dray_mapping m, none = { .iova = 1, .len = 2 };
	struct rig_state was;

	rig_fill(other, 16 * PAGE, 9);
	CHECK_OK(dray_map_fixed(dev, AT + 2 * PAGE, mem, 4 * PAGE, DRAY_BIDIRECTIONAL, 0, &m));
	was = rig_state(dom);
	for (size_t i = 0; i < sizeof(overlaps) / sizeof(overlaps[0]); i++) {
		dray_iova_t iova = AT + (unsigned)overlaps[i].first * PAGE;
		size_t len = (unsigned)overlaps[i].count * PAGE;

		CHECK_ERR(dray_map_fixed(dev, iova, other, len, DRAY_BIDIRECTIONAL, 0, &none),
			  EEXIST);
		CHECK_ERR(dray_domain_map(dom, iova, other, len, DRAY_PROT_READ, 0), EEXIST);
		CHECK_ERR(dray_domain_reserve(dom, iova, iova + len - 1, 0), EEXIST);
	}
	CHECK(none.iova == 1 && none.len == 2);
	CHECK_SAME(dom, &was);
	CHECK(dray_iova_to_va(dom, AT + 3 * PAGE) == mem + PAGE);
	CHECK(!dray_iova_to_va(dom, AT + PAGE));
	CHECK_READS(a, AT + 2 * PAGE, mem, 64);
	CHECK_READS(a, AT + 5 * PAGE, mem + 3 * PAGE, 64);
	CHECK_WRITES(a, AT + 3 * PAGE, mem + PAGE, 64);
	CHECK_BLOCKED(a, AT + 6 * PAGE, other, 64);
	dray_unmap(dev, &m);
	actor_close(a);
	dray_device_close(dev);
	dray_domain_close(dom);
}

/* 64 KiB over 4 KiB: whatever is under its middle. */
static void large_over_small_is_refused(struct rig *rig)
{
	struct dray_domain *dom = rig_domain(rig);
	struct dray_device *dev = rig_device(rig, dom, NULL);
	char *mem = rig_pages(0x10000), *page = rig_pages(PAGE);
	struct dray_mapping m;
	struct rig_state was;

	for (unsigned i = 0; i < 16; i++) {
		CHECK_OK(dray_domain_map(dom, AT + i * PAGE, page, PAGE, DRAY_PROT_READ, 0));
		was = rig_state(dom);
		CHECK_ERR(dray_map_fixed(dev, AT, mem, 0x10000, DRAY_TO_DEVICE, 0, &m), EEXIST);
		CHECK_ERR(dray_domain_map(dom, AT, mem, 0x10000, DRAY_PROT_READ, 0), EEXIST);
		CHECK_SAME(dom, &was);
		CHECK(dray_iova_to_va(dom, AT + i * PAGE) == page);
		CHECK_OK(dray_domain_unmap(dom, AT + i * PAGE, PAGE));
	}
	CHECK_OK(dray_map_fixed(dev, AT, mem, 0x10000, DRAY_TO_DEVICE, 0, &m));
	dray_unmap(dev, &m);
	dray_device_close(dev);
	dray_domain_close(dom);
}

static void raw_unmap(struct dray_domain *dom, dray_iova_t iova)
{
	struct vfio_iommu_type1_dma_unmap u = { .argsz = sizeof(u), .iova = iova, .size = PAGE };

	CHECK(!ioctl(dr_type1_of(dom->io.be)->container, VFIO_IOMMU_UNMAP_DMA, &u));
	CHECK_INT(u.size, PAGE);
}

static void raw_map(struct dray_domain *dom, dray_iova_t iova, void *va)
{
	struct vfio_iommu_type1_dma_map m = {
		.argsz = sizeof(m), .flags = VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE,
		.vaddr = (uintptr_t)va, .iova = iova, .size = PAGE,
	};

	CHECK(!ioctl(dr_type1_of(dom->io.be)->container, VFIO_IOMMU_MAP_DMA, &m));
}

/*
 * Somebody else has mapped in the container: the kernel's EEXIST is never taken for success. Nobody
 * else can map in an address space of the software IOMMU; there an explicit mapping is the other.
 */
static void foreign_mapping_is_not_ours(struct rig *rig)
{
	struct dray_domain *dom = rig_domain(rig);
	struct dray_device *dev = rig_device(rig, dom, NULL);
	struct actor *a = actor_open(rig, dev);
	char *theirs = rig_pages(PAGE), *mine = rig_pages(3 * PAGE);
	struct dray_mapping m;
	struct rig_state was;

	rig_fill(theirs, PAGE, 5);
	if (rig_is_sim(rig))
		CHECK_OK(dray_domain_map(dom, AT + PAGE, theirs, PAGE,
					 DRAY_PROT_READ | DRAY_PROT_WRITE, 0));
	else
		raw_map(dom, AT + PAGE, theirs);
	was = rig_state(dom);
	CHECK_ERR(dray_map_fixed(dev, AT, mine, 3 * PAGE, DRAY_BIDIRECTIONAL, 0, &m), EEXIST);
	CHECK_ERR(dray_domain_map(dom, AT + PAGE, mine, PAGE, DRAY_PROT_READ, 0), EEXIST);
	CHECK_SAME(dom, &was);
	CHECK_READS(a, AT + PAGE, theirs, 64);
	if (rig_is_sim(rig))
		CHECK_OK(dray_domain_unmap(dom, AT + PAGE, PAGE));
	else
		raw_unmap(dom, AT + PAGE);
	CHECK_OK(dray_map_fixed(dev, AT, mine, 3 * PAGE, DRAY_BIDIRECTIONAL, 0, &m));
	CHECK_READS(a, AT + PAGE, mine + PAGE, 64);
	dray_unmap(dev, &m);
	actor_close(a);
	dray_device_close(dev);
	dray_domain_close(dom);
}

const struct contract_case overlap_cases[] = {
	{ "overlap_is_refused", "B01", overlap_is_refused },
	{ "large_over_small_is_refused", "B01", large_over_small_is_refused },
	{ "foreign_mapping_is_not_ours", "B01", foreign_mapping_is_not_ours },
	{ NULL },
};
