// SPDX-License-Identifier: BSD-2-Clause
/* A map call and its unmap: what the device reaches, before, between and after. */
#include "actor.h"
#include "world.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>

/* Odd starts and lengths, inside one granule and across several, each way. */
static void map_translates(struct rig *rig)
{
	static const struct { size_t off, len; } buffers[] = {
		{ 0, PAGE }, { 0x123, 1 }, { 0xff8, 0x10 }, { 0x7f0, 3 * PAGE }, { 0, 1 },
	};
	struct dray_domain *dom = rig_domain(rig);
	struct dray_device *dev = rig_device(rig, dom, NULL);
	struct actor *a = actor_open(rig, dev);
	char *mem = rig_pages(5 * PAGE);

	for (size_t i = 0; i < sizeof(buffers) / sizeof(buffers[0]); i++) {
		char *va = mem + buffers[i].off;
		size_t len = buffers[i].len, part = len < 256 ? len : 256;
		struct dray_mapping m;

		CHECK_OK(dray_map(dev, va, len, DRAY_BIDIRECTIONAL, 0, &m));
		CHECK_INT(m.len, len);
		CHECK(m.iova);
		CHECK_INT(m.iova % PAGE, (uintptr_t)va % PAGE);
		CHECK(m.iova + len - 1 <= RIG_MASK);
		CHECK(dray_iova_to_va(dom, m.iova) == va);
		CHECK(dray_iova_to_va(dom, m.iova + len - 1) == va + len - 1);
		CHECK_READS(a, m.iova, va, part);
		CHECK_WRITES(a, m.iova + len - part, va + len - part, part);
		dray_unmap(dev, &m);
		CHECK(!m.iova && !m.len && !m.cookie[0] && !m.cookie[1]);
	}
	actor_close(a);
	dray_device_close(dev);
	dray_domain_close(dom);
}

static void map_direction(struct rig *rig)
{
	struct dray_domain *dom = rig_domain(rig);
	struct dray_device *dev = rig_device(rig, dom, NULL);
	struct actor *a = actor_open(rig, dev);
	char *mem = rig_pages(2 * PAGE);
	struct dray_mapping to, from;

	CHECK_OK(dray_map(dev, mem, PAGE, DRAY_TO_DEVICE, 0, &to));
	CHECK_OK(dray_map(dev, mem + PAGE, PAGE, DRAY_FROM_DEVICE, 0, &from));
	CHECK_READS(a, to.iova, mem, 64);
	CHECK_NO_WRITE(a, to.iova, mem, 64);
	CHECK_WRITES(a, from.iova, mem + PAGE, 64);
	if (rig_is_write_only_possible(rig))
		CHECK_NO_READ(a, from.iova, mem + PAGE, 64);
	dray_unmap(dev, &to);
	dray_unmap(dev, &from);
	actor_close(a);
	dray_device_close(dev);
	dray_domain_close(dom);
}

/* The device has been there, so that its IOMMU has cached the way; then it has lost it. */
static void unmap_is_strict(struct rig *rig)
{
	struct dray_domain *dom = rig_domain(rig);
	struct dray_device *dev = rig_device(rig, dom, NULL);
	struct actor *a = actor_open(rig, dev);
	char *mem = rig_pages(3 * PAGE);
	struct dray_mapping m;
	dray_iova_t iova;

	CHECK_INT(dray_domain_invalidation(dom), DRAY_STRICT);
	CHECK_OK(dray_map(dev, mem, 3 * PAGE, DRAY_BIDIRECTIONAL, 0, &m));
	iova = m.iova;
	for (int page = 0; page < 3; page += 2)
		CHECK_READS(a, iova + page * PAGE, mem + page * PAGE, 64);
	CHECK_WRITES(a, iova, mem, 64);
	dray_unmap(dev, &m);
	CHECK(!dray_iova_to_va(dom, iova));
	CHECK_BLOCKED(a, iova, mem, 64);
	CHECK_BLOCKED(a, iova + 2 * PAGE, mem + 2 * PAGE, 64);
	actor_close(a);
	dray_device_close(dev);
	dray_domain_close(dom);
}

/* Another buffer at the address that was just freed: the device sees that one, not the one before. */
static void reused_address_is_new(struct rig *rig)
{
	struct dray_domain *dom = rig_domain(rig);
	struct dray_device *dev = rig_device(rig, dom, NULL);
	struct actor *a = actor_open(rig, dev);
	char *mem = rig_pages(2 * PAGE);
	struct dray_mapping m;
	dray_iova_t iova;

	rig_fill(mem + PAGE, PAGE, 2);
	CHECK_OK(dray_map(dev, mem, PAGE, DRAY_BIDIRECTIONAL, 0, &m));
	iova = m.iova;
	CHECK_READS(a, iova, mem, 64);
	dray_unmap(dev, &m);
	CHECK_OK(dray_map_fixed(dev, iova, mem + PAGE, PAGE, DRAY_BIDIRECTIONAL, 0, &m));
	CHECK_READS(a, iova, mem + PAGE, 64);
	CHECK_WRITES(a, iova, mem + PAGE, 64);
	CHECK(rig_is_filled(mem, PAGE, 1));
	dray_unmap(dev, &m);
	actor_close(a);
	dray_device_close(dev);
	dray_domain_close(dom);
}

/* A receipt is good for one unmap; a zeroed one and none at all are no-ops. */
static void unmap_once(struct rig *rig)
{
	struct dray_domain *dom = rig_domain(rig);
	struct dray_device *dev = rig_device(rig, dom, NULL);
	char *mem = rig_pages(2 * PAGE);
	struct dray_mapping m, other, copy, zero = { 0 };
	struct rig_state was = rig_state(dom), live;

	CHECK_OK(dray_map(dev, mem, PAGE, DRAY_BIDIRECTIONAL, 0, &m));
	CHECK_OK(dray_map(dev, mem + PAGE, PAGE, DRAY_BIDIRECTIONAL, 0, &other));
	copy = m;
	dray_unmap(dev, &m);
	live = rig_state(dom);
	dray_unmap(dev, &copy);
	CHECK(!copy.cookie[0]);
	dray_unmap(dev, &zero);
	dray_unmap(dev, NULL);
	CHECK_SAME(dom, &live);
	CHECK_INT(rig_stats(dom).bad_unmaps, 1);
	CHECK(strstr(rig_logged(), "not mapped"));
	CHECK(dray_iova_to_va(dom, other.iova) == mem + PAGE);
	/* One with another length, or of a neighbour, is not that receipt. */
	copy = other;
	copy.len = 2 * PAGE;
	dray_unmap(dev, &copy);
	CHECK_INT(rig_stats(dom).bad_unmaps, 2);
	dray_unmap(dev, &other);
	CHECK_INT(rig_stats(dom).unmaps, was.unmaps + 2);
	CHECK_INT(rig_info(dom).mapped_bytes, 0);
	dray_device_close(dev);
	dray_domain_close(dom);
}

struct hand_over {
	struct dray_device *dev;
	struct dray_mapping m;
};

static void *unmap_elsewhere(void *arg)
{
	struct hand_over *h = arg;

	dray_unmap(h->dev, &h->m);
	return NULL;
}

static void unmap_on_another_thread(struct rig *rig)
{
	struct dray_domain *dom = rig_domain(rig);
	struct dray_device *dev = rig_device(rig, dom, NULL);
	struct hand_over h = { .dev = dev };
	char *mem = rig_pages(PAGE);
	pthread_t thread;

	for (int i = 0; i < 10; i++) {
		CHECK_OK(dray_map(dev, mem, PAGE, DRAY_BIDIRECTIONAL, 0, &h.m));
		CHECK(!pthread_create(&thread, NULL, unmap_elsewhere, &h));
		CHECK(!pthread_join(thread, NULL));
	}
	CHECK_INT(rig_stats(dom).maps, 10);
	CHECK_INT(rig_stats(dom).unmaps, 10);
	CHECK_INT(rig_info(dom).mapped_bytes, 0);
	dray_device_close(dev);
	dray_domain_close(dom);
}

/* The lowest granule is usable by hand, never given out. */
static void iova_zero_is_never_given(struct rig *rig)
{
	struct dray_domain_opts opts = rig_domain_opts(rig);
	struct dray_mapping m[3], none = { .iova = 7 };
	struct dray_domain *dom;
	struct dray_device *dev;
	char *mem = rig_pages(PAGE);

	opts.first = 0;
	opts.last = 4 * PAGE - 1;
	CHECK_OK(dray_domain_open(&opts, &dom));
	dev = rig_device(rig, dom, NULL);
	for (int i = 0; i < 3; i++) {
		CHECK_OK(dray_map(dev, mem, PAGE, DRAY_TO_DEVICE, 0, &m[i]));
		CHECK(m[i].iova >= PAGE && m[i].iova < 4 * PAGE);
	}
	CHECK_ERR(dray_map(dev, mem, PAGE, DRAY_TO_DEVICE, 0, &none), ENOSPC);
	CHECK_INT(none.iova, 7);
	for (int i = 0; i < 3; i++)
		dray_unmap(dev, &m[i]);
	dray_device_close(dev);
	dray_domain_close(dom);
}

/* Large buffers come at addresses that large pages can translate, where there is room for that. */
static void large_buffer_is_congruent(struct rig *rig)
{
	struct dray_domain *dom = rig_domain(rig);
	struct dray_device *dev = rig_device(rig, dom, NULL);
	struct actor *a = actor_open(rig, dev);
	char *mem = rig_pages_aligned(4 * LARGE, LARGE);
	struct dray_mapping m;

	for (size_t off = 0; off < LARGE; off += LARGE / 2 - PAGE) {
		CHECK_OK(dray_map(dev, mem + off, 2 * LARGE, DRAY_BIDIRECTIONAL, 0, &m));
		CHECK_INT(m.iova % LARGE, (uintptr_t)(mem + off) % LARGE);
		if (off == LARGE / 2 - PAGE)
			CHECK_READS(a, m.iova + LARGE, mem + off + LARGE, 64);
		dray_unmap(dev, &m);
	}
	if (rig_is_sim(rig)) {
		struct dray_sim_walk w = { .size = sizeof(w) };

		CHECK_OK(dray_map(dev, mem, LARGE, DRAY_BIDIRECTIONAL, 0, &m));
		CHECK_OK(dray_sim_walk(dom, m.iova, &w));
		CHECK_INT(w.page_shift, 21);
		CHECK_INT(w.levels, 3);
		dray_unmap(dev, &m);
	}
	actor_close(a);
	dray_device_close(dev);
	dray_domain_close(dom);
}

static void mask_bounds_addresses(struct rig *rig)
{
	struct dray_domain *dom = rig_domain(rig);
	struct dray_device_opts opts = rig_device_opts();
	struct dray_device *dev;
	struct dray_mapping m, high;
	char *mem = rig_pages(PAGE);

	opts.dma_mask = 0x1fffff;
	CHECK_OK(dray_device_open(dom, rig->device, &opts, &dev));
	CHECK_OK(dray_map(dev, mem, PAGE, DRAY_TO_DEVICE, 0, &m));
	CHECK(m.iova + PAGE - 1 <= 0x1fffff);
	CHECK_ERR(dray_map_fixed(dev, 0x200000, mem, PAGE, DRAY_TO_DEVICE, 0, &high), ERANGE);
	CHECK_OK(dray_device_set_mask(dev, RIG_MASK));
	CHECK_OK(dray_map_fixed(dev, 0x200000, mem, PAGE, DRAY_TO_DEVICE, 0, &high));
	CHECK_ERR(dray_device_set_mask(dev, 0x1fffff), EBUSY);
	dray_unmap(dev, &high);
	CHECK_OK(dray_device_set_mask(dev, 0x1fffff));
	CHECK_ERR(dray_device_set_mask(dev, 0x1ffffe), EINVAL);
	dray_unmap(dev, &m);
	dray_device_close(dev);
	dray_domain_close(dom);
}

/* A single mapping obeys the device's segment limits as well as a list would. */
static void segment_limits(struct rig *rig)
{
	struct dray_domain *dom = rig_domain(rig);
	struct dray_device_opts opts = rig_device_opts();
	struct dray_mapping m[20], none;
	struct rig_state was;
	struct dray_device *dev;
	char *mem = rig_pages(8 * PAGE);

	opts.segment_boundary_mask = 4 * PAGE - 1;
	opts.max_segment = 3 * PAGE;
	opts.min_align = 64;
	CHECK_OK(dray_device_open(dom, rig->device, &opts, &dev));
	for (int i = 0; i < 20; i++) {
		size_t len = 1 + (size_t)i * 613;
		char *va = mem + (i % 3) * 64;

		CHECK_OK(dray_map(dev, va, len, DRAY_TO_DEVICE, 0, &m[i]));
		CHECK_INT(m[i].iova / (4 * PAGE), (m[i].iova + len - 1) / (4 * PAGE));
	}
	was = rig_state(dom);
	CHECK_ERR(dray_map(dev, mem, 3 * PAGE + 1, DRAY_TO_DEVICE, 0, &none), EMSGSIZE);
	CHECK_ERR(dray_map(dev, mem + 32, 8, DRAY_TO_DEVICE, DRAY_MAP_NO_BOUNCE, &none), ENOTSUP);
	CHECK_ERR(dray_map_fixed(dev, 0x403000, mem, 2 * PAGE, DRAY_TO_DEVICE, 0, &none), EMSGSIZE);
	CHECK_SAME(dom, &was);
	for (int i = 0; i < 20; i++)
		dray_unmap(dev, &m[i]);
	dray_device_close(dev);
	dray_domain_close(dom);
}

/* A device that wants segments aligned beyond a granule gets addresses aligned like that. */
static void alignment_beyond_a_granule(struct rig *rig)
{
	struct dray_domain *dom = rig_domain(rig);
	struct dray_device_opts opts = rig_device_opts();
	struct dray_mapping m[8], none;
	struct dray_device *dev;
	char *mem = rig_pages_aligned(8 * 0x10000, 0x10000);
	void *va;

	opts.min_align = 0x10000;
	CHECK_OK(dray_device_open(dom, rig->device, &opts, &dev));
	for (int i = 0; i < 8; i++) {
		CHECK_OK(dray_map(dev, mem + i * 0x10000, PAGE, DRAY_TO_DEVICE, 0, &m[i]));
		CHECK_INT(m[i].iova % 0x10000, 0);
	}
	CHECK_ERR(dray_map(dev, mem + PAGE, PAGE, DRAY_TO_DEVICE, DRAY_MAP_NO_BOUNCE, &none), ENOTSUP);
	CHECK_ERR(dray_map_fixed(dev, 0x301000, mem, PAGE, DRAY_TO_DEVICE, 0, &none), EINVAL);
	for (int i = 0; i < 8; i++)
		dray_unmap(dev, &m[i]);
	CHECK_OK(dray_coherent_alloc(dev, 64, 0, &va, &m[0]));
	CHECK_INT(m[0].iova % 0x10000, 0);
	dray_coherent_free(dev, va, &m[0]);
	dray_device_close(dev);
	dray_domain_close(dom);
}

/* Sync answers inside a live mapping and nowhere else, and moves no data of its own. */
static void sync_bounds(struct rig *rig)
{
	struct dray_domain *dom = rig_domain(rig);
	struct dray_device *dev = rig_device(rig, dom, NULL);
	char *mem = rig_pages(2 * PAGE);
	struct dray_mapping m, zero = { 0 };

	CHECK_OK(dray_map(dev, mem + 100, PAGE, DRAY_BIDIRECTIONAL, 0, &m));
	CHECK_OK(dray_sync_for_device(dev, &m, 0, PAGE));
	CHECK_OK(dray_sync_for_cpu(dev, &m, 1, PAGE - 1));
	CHECK_OK(dray_sync_for_cpu(dev, &m, PAGE, 0));
	CHECK_ERR(dray_sync_for_device(dev, &m, 1, PAGE), EINVAL);
	CHECK_ERR(dray_sync_for_cpu(dev, &m, PAGE + 1, 0), EINVAL);
	CHECK_ERR(dray_sync_for_cpu(dev, &m, 8, SIZE_MAX - 4), EINVAL);
	CHECK_ERR(dray_sync_for_cpu(dev, &zero, 0, 0), EINVAL);
	CHECK_ERR(dray_sync_for_cpu(dev, NULL, 0, 0), EINVAL);
	CHECK_ERR(dray_sync_for_device(NULL, &m, 0, 1), EINVAL);
	CHECK(rig_is_filled(mem, 2 * PAGE, 1));
	dray_unmap(dev, &m);
	dray_device_close(dev);
	dray_domain_close(dom);
}

const struct contract_case map_cases[] = {
	{ "map_translates", "G01 G13", map_translates },
	{ "map_direction", "C01", map_direction },
	{ "unmap_is_strict", "C01", unmap_is_strict },
	{ "reused_address_is_new", "C01", reused_address_is_new },
	{ "unmap_once", "A03", unmap_once },
	{ "unmap_on_another_thread", "-", unmap_on_another_thread },
	{ "iova_zero_is_never_given", "A09", iova_zero_is_never_given },
	{ "large_buffer_is_congruent", "A09", large_buffer_is_congruent },
	{ "mask_bounds_addresses", "-", mask_bounds_addresses },
	{ "segment_limits", "A13", segment_limits },
	{ "alignment_beyond_a_granule", "A13", alignment_beyond_a_granule },
	{ "sync_bounds", "-", sync_bounds },
	{ NULL },
};
