// SPDX-License-Identifier: BSD-2-Clause
/* Pools of small coherent blocks. */
#include "actor.h"
#include "world.h"

#include <errno.h>
#include <string.h>

#define MOST 200u

struct shape {
	size_t block, align, boundary;
};

static const struct shape shapes[] = {
	{ 1, 0, 0 }, { 16, 0, 0 }, { 64, 64, 0 }, { 100, 4, 4096 }, { 4096, 4096, 4096 },
	{ 24, 64, 32 }, { 3000, 8, 4096 }, { 600, 16, 1024 }, { 5000, 0, 0 },
	{ 1 << 18, 0, 1 << 20 },
	{ 3 << 20, 4096, 0 },
};

/* Zeroed, aligned, crossing nothing, beside each other, and where the device finds them. */
static void blocks_of_any_shape(struct rig *rig)
{
	struct dray_domain *dom = rig_domain(rig);
	struct dray_device *dev = rig_device(rig, dom, NULL);
	struct actor *a = actor_open(rig, dev);

	for (unsigned s = 0; s < sizeof(shapes) / sizeof(shapes[0]); s++) {
		const struct shape *f = &shapes[s];
		unsigned n = f->block > 65536 ? 8 : MOST;
		struct dray_pool *pool;
		dray_iova_t at[MOST];
		char *va[MOST];

		CHECK_OK(dray_pool_open(dev, f->block, f->align, f->boundary, &pool));
		for (unsigned i = 0; i < n; i++) {
			size_t align = f->align ? f->align : 8;

			va[i] = dray_pool_alloc(pool, &at[i]);
			CHECK(va[i]);
			CHECK((uintptr_t)va[i] % align == 0 && at[i] % align == 0);
			CHECK(dray_iova_to_va(dom, at[i]) == va[i]);
			CHECK(at[i] + f->block - 1 <= RIG_MASK);
			if (f->boundary)
				CHECK(at[i] / f->boundary == (at[i] + f->block - 1) / f->boundary);
			for (size_t k = 0; k < f->block; k++)
				CHECK(!va[i][k]);
			for (unsigned k = 0; k < i; k++)
				CHECK(va[k] + f->block <= va[i] || va[i] + f->block <= va[k]);
			rig_fill(va[i], f->block, i);
		}
		for (unsigned i = 0; i < n; i++)
			CHECK(rig_is_filled(va[i], f->block, i));
		CHECK_READS(a, at[n - 1], va[n - 1], f->block < 64 ? f->block : 64);
		if (f->block >= 64)
			CHECK_WRITES(a, at[0], va[0], 64);
		for (unsigned i = 0; i < n; i++)
			dray_pool_free(pool, va[(i * 7) % n], at[(i * 7) % n]);
		CHECK_INT(rig_stats(dom).bad_unmaps, 0);
		dray_pool_close(pool);
		CHECK(!dray_iova_to_va(dom, at[0]));
	}
	actor_close(a);
	dray_device_close(dev);
	CHECK_INT(rig_stats(dom).leaks, 0);
	CHECK_INT(rig_info(dom).mapped_bytes, 0);
	dray_domain_close(dom);
}

static void blocks_are_cheap_and_checked(struct rig *rig)
{
	struct dray_domain *dom = rig_domain(rig);
	struct dray_device *dev = rig_device(rig, dom, NULL);
	struct dray_pool *pool, *none = NULL;
	struct dray_stats was;
	dray_iova_t at, at2;
	char *va, *va2;

	CHECK_ERR(dray_pool_open(NULL, 8, 0, 0, &none), EINVAL);
	CHECK_ERR(dray_pool_open(dev, 0, 0, 0, &none), EINVAL);
	CHECK_ERR(dray_pool_open(dev, 8, 3, 0, &none), EINVAL);
	CHECK_ERR(dray_pool_open(dev, 8, 0, 48, &none), EINVAL);
	CHECK_ERR(dray_pool_open(dev, 65, 0, 64, &none), EINVAL);
	CHECK_ERR(dray_pool_open(dev, SIZE_MAX, 0, 0, &none), EINVAL);
	CHECK_ERR(dray_pool_open(dev, 3 << 20, 0, 4 << 20, &none), EINVAL);
	CHECK_ERR(dray_pool_open(dev, 8, 0, 0, NULL), EINVAL);
	CHECK(!none);
	was = rig_stats(dom);
	CHECK_OK(dray_pool_open(dev, 64, 0, 0, &pool));
	CHECK_INT(rig_stats(dom).backend_maps, was.backend_maps);
	CHECK(!dray_pool_alloc(NULL, &at) && !dray_pool_alloc(pool, NULL));
	va = dray_pool_alloc(pool, &at);
	was = rig_stats(dom);
	for (unsigned i = 0; i < 1000; i++) {
		va2 = dray_pool_alloc(pool, &at2);
		CHECK(va2 && va2 != va && !va2[0]);
		va2[0] = 1;
		dray_pool_free(pool, va2, at2);
	}
	CHECK_INT(rig_stats(dom).backend_maps, was.backend_maps);
	/* Not a block, not out, not there. */
	dray_pool_free(pool, NULL, 0);
	CHECK_INT(rig_stats(dom).bad_unmaps, 0);
	dray_pool_free(pool, va2, at2);
	dray_pool_free(pool, va + 1, at + 1);
	dray_pool_free(pool, va, at + 64);
	dray_pool_free(pool, &at, at);
	CHECK_INT(rig_stats(dom).bad_unmaps, 4);
	dray_pool_free(pool, va, at);
	dray_pool_free(pool, va, at);
	CHECK_INT(rig_stats(dom).bad_unmaps, 5);
	/* Two left out; the device closed before its pool. */
	CHECK(dray_pool_alloc(pool, &at) && dray_pool_alloc(pool, &at2));
	dray_device_close(dev);
	CHECK_INT(rig_stats(dom).leaks, 0);
	CHECK(dray_iova_to_va(dom, at));
	dray_pool_close(pool);
	dray_pool_close(NULL);
	CHECK_INT(rig_stats(dom).leaks, 2);
	CHECK_INT(rig_info(dom).devices, 0);
	CHECK_INT(rig_info(dom).mapped_bytes, 0);
	dray_domain_close(dom);
}

/* No memory: NULL, and everything as it was. */
static void blocks_fail_whole(struct rig *rig)
{
	static const struct { enum world_call call; int err; } kinds[] = {
		{ WORLD_ALLOC, ENOMEM }, { WORLD_MMAP, ENOMEM }, { WORLD_IOCTL_MAP, ENOMEM },
	};
	struct dray_domain *dom;
	struct dray_device *dev;
	struct dray_pool *pool;
	dray_iova_t at;
	void *va;

	rig_warm(rig);
	dom = rig_domain(rig);
	dev = rig_device(rig, dom, NULL);
	for (unsigned k = 0; k < 3; k++) {
		for (unsigned n = 1; n < 20; n++) {
			struct rig_state was = rig_state(dom);
			bool fired;

			CHECK_OK(dray_pool_open(dev, 64, 0, 0, &pool));
			world_fail_nth(kinds[k].call, n, kinds[k].err);
			at = 7;
			va = dray_pool_alloc(pool, &at);
			fired = world_fired(kinds[k].call);
			world_fail_nth(kinds[k].call, 0, 0);
			CHECK(va || at == 7);
			if (va)
				dray_pool_free(pool, va, at);
			dray_pool_close(pool);
			was.maps = was.unmaps = rig_stats(dom).maps;
			CHECK_INT(rig_stats(dom).maps, rig_stats(dom).unmaps);
			CHECK_SAME(dom, &was);
			if (!fired)
				break;
		}
	}
	dray_device_close(dev);
	dray_domain_close(dom);
}

const struct contract_case block_cases[] = {
	{ "blocks_of_any_shape", "B14", blocks_of_any_shape },
	{ "blocks_are_cheap_and_checked", "B14", blocks_are_cheap_and_checked },
	{ "blocks_fail_whole", "B14 H06", blocks_fail_whole },
	{ NULL },
};
