// SPDX-License-Identifier: BSD-2-Clause
/* Coherent memory: zeroed, aligned, mapped both ways, and gone after free. */
#include "actor.h"
#include "world.h"

#include <errno.h>

static bool is_zero(const void *va, size_t len)
{
	const unsigned char *p = va;

	for (size_t i = 0; i < len; i++)
		if (p[i])
			return false;
	return true;
}

/* The alignment that is promised: its size up to a power of two, at most 2 MiB. */
static size_t promised(size_t len)
{
	size_t align = PAGE;

	while (align < len && align < LARGE)
		align *= 2;
	return align;
}

static void coherent_works(struct rig *rig)
{
	static const size_t sizes[] = {
		1, 64, PAGE, PAGE + 1, 3 * PAGE, 0x10000, 0x10000 + 5, LARGE, LARGE + PAGE,
	};
	struct dray_domain *dom = rig_domain(rig);
	struct dray_device *dev = rig_device(rig, dom, NULL);
	struct actor *a = actor_open(rig, dev);
	struct rig_state was = rig_state(dom);
	struct dray_mapping m[9];
	unsigned char *va[9];

	for (int i = 0; i < 9; i++) {
		void *p = NULL;

		CHECK_OK(dray_coherent_alloc(dev, sizes[i], 0, &p, &m[i]));
		va[i] = p;
		CHECK(p && is_zero(p, sizes[i]));
		CHECK_INT(m[i].len, sizes[i]);
		CHECK_INT((uintptr_t)p % promised(sizes[i]), 0);
		CHECK_INT(m[i].iova % promised(sizes[i]), 0);
		CHECK(dray_iova_to_va(dom, m[i].iova) == p);
		rig_fill(p, sizes[i], 3);
	}
	for (int i = 0; i < 9; i += 4) {
		size_t part = sizes[i] < 64 ? sizes[i] : 64;

		CHECK_READS(a, m[i].iova + sizes[i] - part, va[i] + sizes[i] - part, part);
		CHECK_WRITES(a, m[i].iova, va[i], part);
	}
	for (int i = 0; i < 9; i++) {
		dray_iova_t iova = m[i].iova;

		dray_coherent_free(dev, va[i], &m[i]);
		CHECK(!m[i].cookie[0] && !m[i].len);
		CHECK(!dray_iova_to_va(dom, iova));
	}
	was.maps += 9;
	was.unmaps += 9;
	CHECK_SAME(dom, &was);
	actor_close(a);
	dray_device_close(dev);
	dray_domain_close(dom);
}

static void coherent_obeys_limits(struct rig *rig)
{
	struct dray_domain *dom = rig_domain(rig);
	struct dray_device_opts opts = rig_device_opts();
	struct dray_mapping m = { .iova = 3 };
	struct dray_device *dev;
	struct rig_state was;
	void *va = &m;

	opts.dma_mask = 0x3fffff;
	opts.segment_boundary_mask = 0xffff;
	CHECK_OK(dray_device_open(dom, rig->device, &opts, &dev));
	was = rig_state(dom);
	CHECK_ERR(dray_coherent_alloc(dev, 0x10001, 0, &va, &m), EMSGSIZE);
	CHECK(va == &m && m.iova == 3);
	CHECK_SAME(dom, &was);
	CHECK_OK(dray_coherent_alloc(dev, 0x10000, 0, &va, &m));
	CHECK(m.iova + 0xffff <= 0x3fffff && m.iova % 0x10000 == 0);
	dray_coherent_free(dev, va, &m);
	dray_coherent_free(dev, NULL, NULL);
	dray_coherent_free(dev, NULL, &m);
	dray_device_close(dev);
	dray_domain_close(dom);
}

/* Memory that a device may still reach is not given back to the kernel. */
static void coherent_refused_is_kept(struct rig *rig)
{
	struct dray_domain *dom = rig_domain(rig);
	struct dray_device *dev = rig_device(rig, dom, NULL);
	struct actor *a = actor_open(rig, dev);
	struct dray_mapping m;
	dray_iova_t iova;
	void *va;

	CHECK_OK(dray_coherent_alloc(dev, PAGE, 0, &va, &m));
	iova = m.iova;
	rig_fill(va, PAGE, 4);
	rig_refuse_unmap(rig, dom);
	dray_coherent_free(dev, va, &m);
	CHECK(!m.cookie[0]);
	CHECK_INT(rig_info(dom).quarantined_bytes, PAGE);
	CHECK(rig_is_filled(va, PAGE, 4));
	CHECK_WRITES(a, iova, va, 64);
	actor_close(a);
	dray_device_close(dev);
	dray_domain_close(dom);
}

/* No address space left, or no memory: all is as before, the pages are the kernel's again. */
static void coherent_fails_whole(struct rig *rig)
{
	struct dray_domain *dom = rig_domain(rig);
	struct dray_device *dev = rig_device(rig, dom, NULL);
	struct dray_mapping m = { .iova = 3 };
	struct rig_state was;
	void *va = NULL;
	int err;

	CHECK_OK(dray_coherent_alloc(dev, PAGE, 0, &va, &m));
	dray_coherent_free(dev, va, &m);
	was = rig_state(dom);
	va = NULL;
	world_fail_nth(WORLD_MMAP, 1, ENOMEM);
	CHECK_ERR(dray_coherent_alloc(dev, PAGE, 0, &va, &m), ENOMEM);
	for (unsigned n = 1;; n++) {
		world_fail_nth(WORLD_ALLOC, n, ENOMEM);
		err = dray_coherent_alloc(dev, LARGE + PAGE, 0, &va, &m);
		if (!world_fired(WORLD_ALLOC))
			break;
		CHECK_ERR(err, ENOMEM);
		CHECK(!va && !m.cookie[0]);
		CHECK_SAME(dom, &was);
	}
	world_fail_nth(WORLD_ALLOC, 0, 0);
	CHECK_OK(err);
	dray_coherent_free(dev, va, &m);
	dray_device_close(dev);
	dray_domain_close(dom);
}

const struct contract_case coherent_cases[] = {
	{ "coherent_works", "B14", coherent_works },
	{ "coherent_obeys_limits", "B14 A13", coherent_obeys_limits },
	{ "coherent_refused_is_kept", "B14 B02", coherent_refused_is_kept },
	{ "coherent_fails_whole", "B14 H06", coherent_fails_whole },
	{ NULL },
};
