// SPDX-License-Identifier: BSD-2-Clause
/* Why a mapping is a copy, said for each byte of it as long as it lives, and counted. */
#include "actor.h"
#include "world.h"

#include <errno.h>
#include <string.h>

#define ALIGN 512u
#define HIGH  UINT64_C(0x140000000) /* above what edu sends */

static struct dray_device *device(const struct rig *rig, struct dray_domain *dom, uint32_t flags,
				  size_t min_align)
{
	struct dray_device_opts opts = rig_device_opts();
	struct dray_device *dev;

	opts.flags = flags;
	opts.min_align = min_align;
	CHECK_OK(dray_device_open(dom, rig->device, &opts, &dev));
	return dev;
}

/* Map, find that reason at both ends and in between, and none beside it or afterwards. */
static void check_reason(struct dray_device *dev, void *va, size_t len, enum dray_dir dir,
			 enum dray_bounce_reason reason)
{
	struct dray_domain *dom = dray_device_get_domain(dev);
	struct dray_mapping m;
	dray_iova_t at;

	CHECK_OK(dray_map(dev, va, len, dir, 0, &m));
	at = m.iova;
	CHECK_INT(dray_bounce_reason_at(dom, at), reason);
	CHECK_INT(dray_bounce_reason_at(dom, at + len / 2), reason);
	CHECK_INT(dray_bounce_reason_at(dom, at + len - 1), reason);
	CHECK_INT(dray_bounce_reason_at(dom, at + len), DRAY_BOUNCE_NO);
	CHECK_INT(dray_bounce_reason_at(dom, at - 1), DRAY_BOUNCE_NO);
	CHECK_INT(dray_iova_to_va(dom, at) != va, reason != DRAY_BOUNCE_NO);
	dray_unmap(dev, &m);
	CHECK_INT(dray_bounce_reason_at(dom, at), DRAY_BOUNCE_NO);
}

static void each_reason(struct rig *rig)
{
	struct dray_domain_opts opts = rig_domain_opts(rig);
	struct dray_domain *dom = rig_domain(rig);
	char *mem = rig_pages(8 * PAGE);
	struct dray_region *region;
	struct dray_device *dev;

	dev = device(rig, dom, 0, ALIGN);
	check_reason(dev, mem, 100, DRAY_TO_DEVICE, DRAY_BOUNCE_NO);
	check_reason(dev, mem + 3, 100, DRAY_TO_DEVICE, DRAY_BOUNCE_ALIGN);
	check_reason(dev, mem + 3, 2 * PAGE, DRAY_BIDIRECTIONAL, DRAY_BOUNCE_ALIGN);
	/* The first that holds. */
	CHECK_OK(dray_region_register_at(dom, HIGH, mem, 4 * PAGE, 0, &region));
	check_reason(dev, mem + 3, 100, DRAY_TO_DEVICE, DRAY_BOUNCE_MASK);
	check_reason(dev, mem, PAGE, DRAY_TO_DEVICE, DRAY_BOUNCE_MASK);
	CHECK_OK(dray_region_unregister(region));
	CHECK_INT(rig_stats(dom).bounce_align, 2);
	CHECK_INT(rig_stats(dom).bounce_mask, 2);
	dray_device_close(dev);

	dev = device(rig, dom, DRAY_DEVICE_UNTRUSTED, ALIGN);
	check_reason(dev, mem + ALIGN, PAGE, DRAY_TO_DEVICE, DRAY_BOUNCE_EDGE);
	check_reason(dev, mem, PAGE, DRAY_TO_DEVICE, DRAY_BOUNCE_NO);
	check_reason(dev, mem + 1, PAGE, DRAY_TO_DEVICE, DRAY_BOUNCE_ALIGN);
	dray_device_close(dev);

	dev = device(rig, dom, DRAY_DEVICE_NONCOHERENT, 0);
	check_reason(dev, mem + 8, 1000, DRAY_FROM_DEVICE, DRAY_BOUNCE_LINE);
	check_reason(dev, mem + 8, 1000, DRAY_TO_DEVICE, DRAY_BOUNCE_NO);
	check_reason(dev, mem, PAGE, DRAY_FROM_DEVICE, DRAY_BOUNCE_NO);
	CHECK_INT(rig_stats(dom).bounce_line, 1);
	dray_device_close(dev);
	dray_domain_close(dom);

	opts.bounce_threshold = PAGE;
	CHECK_OK(dray_domain_open(&opts, &dom));
	dev = device(rig, dom, 0, 0);
	check_reason(dev, mem + 5, PAGE, DRAY_TO_DEVICE, DRAY_BOUNCE_CHEAPER);
	check_reason(dev, mem + 5, PAGE + 1, DRAY_TO_DEVICE, DRAY_BOUNCE_NO);
	if (!rig_is_sim(rig)) {
		world_fail_nth(WORLD_IOCTL_MAP, 1, EFAULT);
		check_reason(dev, mem + 5, 2 * PAGE, DRAY_TO_DEVICE, DRAY_BOUNCE_PIN);
		CHECK(world_fired(WORLD_IOCTL_MAP));
	}
	dray_device_close(dev);
	dray_domain_close(dom);
}

/* The IOVA of a byte of a list, counted from its first one. */
static dray_iova_t list_byte(const struct dray_sg *sg, int n, size_t off)
{
	for (int i = 0; i < n; i++) {
		if (off < sg[i].dma_len)
			return sg[i].iova + off;
		off -= sg[i].dma_len;
	}
	contract_fail(__FILE__, __LINE__, "the segments are shorter than the list");
}

static void each_element_of_a_list(struct rig *rig)
{
	struct dray_domain *dom = rig_domain(rig);
	struct dray_device *dev = device(rig, dom, 0, ALIGN);
	char *mem = rig_pages(16 * PAGE);
	struct dray_sg sg[] = {
		{ .va = mem, .len = PAGE },
		{ .va = mem + 3 * PAGE + 7, .len = 700 },
		{ .va = mem + 5 * PAGE + ALIGN, .len = 900 },
		{ .va = mem + 9 * PAGE + 9, .len = PAGE },
		{ .va = mem + 12 * PAGE + 9, .len = 1 },
	};
	enum { N = sizeof(sg) / sizeof(sg[0]) };
	dray_iova_t first[N], last[N];
	size_t at = 0;
	int n = dray_map_sg(dev, sg, N, DRAY_BIDIRECTIONAL, 0);

	CHECK(n > 0);
	for (unsigned i = 0; i < N; i++) {
		enum dray_bounce_reason reason = (uintptr_t)sg[i].va % ALIGN ? DRAY_BOUNCE_ALIGN :
									       DRAY_BOUNCE_NO;

		first[i] = list_byte(sg, n, at);
		last[i] = list_byte(sg, n, at + sg[i].len - 1);
		CHECK_INT(dray_bounce_reason_at(dom, first[i]), reason);
		CHECK_INT(dray_bounce_reason_at(dom, last[i]), reason);
		at += sg[i].len;
	}
	CHECK_INT(rig_stats(dom).bounce_align, 3);
	dray_unmap_sg(dev, sg, N);
	for (unsigned i = 0; i < N; i++)
		CHECK_INT(dray_bounce_reason_at(dom, first[i]), DRAY_BOUNCE_NO);
	/* Of one element: a map of its own. */
	CHECK_INT(dray_map_sg(dev, sg + 1, 1, DRAY_BIDIRECTIONAL, 0), 1);
	CHECK_INT(dray_bounce_reason_at(dom, sg[1].iova + 699), DRAY_BOUNCE_ALIGN);
	dray_unmap_sg(dev, sg + 1, 1);
	dray_device_close(dev);
	dray_domain_close(dom);
}

static void ends_of_a_link(struct rig *rig)
{
	struct dray_domain *dom = rig_domain(rig);
	struct dray_device *dev = device(rig, dom, DRAY_DEVICE_UNTRUSTED, 0);
	char *mem = rig_pages(16 * PAGE);
	struct dray_link *link;
	dray_iova_t at;

	CHECK_OK(dray_link_open(dev, 8 * PAGE, 0, &link));
	at = dray_link_iova(link);
	CHECK_OK(dray_link_add(link, 100, mem + 100, 2 * PAGE, DRAY_BIDIRECTIONAL));
	CHECK_OK(dray_link_add(link, 4 * PAGE, mem + 8 * PAGE, PAGE, DRAY_BIDIRECTIONAL));
	CHECK_INT(dray_bounce_reason_at(dom, at + 99), DRAY_BOUNCE_NO);
	CHECK_INT(dray_bounce_reason_at(dom, at + 100), DRAY_BOUNCE_EDGE);
	CHECK_INT(dray_bounce_reason_at(dom, at + PAGE - 1), DRAY_BOUNCE_EDGE);
	CHECK_INT(dray_bounce_reason_at(dom, at + PAGE), DRAY_BOUNCE_NO);
	CHECK_INT(dray_bounce_reason_at(dom, at + 2 * PAGE - 1), DRAY_BOUNCE_NO);
	CHECK_INT(dray_bounce_reason_at(dom, at + 2 * PAGE), DRAY_BOUNCE_EDGE);
	CHECK_INT(dray_bounce_reason_at(dom, at + 2 * PAGE + 99), DRAY_BOUNCE_EDGE);
	CHECK_INT(dray_bounce_reason_at(dom, at + 2 * PAGE + 100), DRAY_BOUNCE_NO);
	CHECK_INT(dray_bounce_reason_at(dom, at + 4 * PAGE), DRAY_BOUNCE_NO);
	/* A piece is counted once, and one that is not copied not at all. */
	CHECK_INT(rig_stats(dom).bounce_edge, 1);
	dray_link_remove(link, 0, 8 * PAGE);
	CHECK_INT(dray_bounce_reason_at(dom, at + 100), DRAY_BOUNCE_NO);
	dray_link_close(link);
	CHECK_INT(dray_bounce_reason_at(dom, at + 100), DRAY_BOUNCE_NO);
	dray_device_close(dev);

	dev = device(rig, dom, DRAY_DEVICE_NONCOHERENT, 0);
	CHECK_OK(dray_link_open(dev, 8 * PAGE, 0, &link));
	CHECK_OK(dray_link_add(link, 3, mem + 3, 9, DRAY_FROM_DEVICE));
	CHECK_INT(dray_bounce_reason_at(dom, dray_link_iova(link) + 3), DRAY_BOUNCE_LINE);
	CHECK_INT(dray_bounce_reason_at(dom, dray_link_iova(link) + 12), DRAY_BOUNCE_NO);
	CHECK_INT(rig_stats(dom).bounce_line, 1);
	dray_link_close(link);
	dray_device_close(dev);
	dray_domain_close(dom);
}

static void in_words(struct rig *rig)
{
	(void)rig;
	for (int i = DRAY_BOUNCE_NO; i <= DRAY_BOUNCE_CHEAPER; i++) {
		const char *name = dray_bounce_reason_name((enum dray_bounce_reason)i);

		CHECK(name && *name);
		for (int k = 0; k < i; k++)
			CHECK(strcmp(name, dray_bounce_reason_name((enum dray_bounce_reason)k)));
	}
	CHECK(dray_bounce_reason_name((enum dray_bounce_reason)99) != NULL);
	CHECK(!strcmp(dray_bounce_reason_name(DRAY_BOUNCE_ALIGN), "device alignment"));
	CHECK_INT(dray_bounce_reason_at(NULL, PAGE), DRAY_BOUNCE_NO);
}

const struct contract_case reason_cases[] = {
	{ "each_reason", "E01 E11", each_reason },
	{ "each_element_of_a_list", "E01 E06", each_element_of_a_list },
	{ "ends_of_a_link", "E01 B09", ends_of_a_link },
	{ "in_words", "E01", in_words },
	{ NULL },
};
