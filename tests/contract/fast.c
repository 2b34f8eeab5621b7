// SPDX-License-Identifier: BSD-2-Clause
/*
 * Map and unmap take no reference on domain or device and write no shared line of theirs: both are
 * made read-only here, with the records that tie them together, and go on working.
 */
#include "actor.h"
#include "world.h"

#include <pthread.h>

struct ready {
	struct dray_device *dev;
	char *mem;
};

static void *map_some(void *arg)
{
	struct ready *r = arg;
	struct dray_mapping m[8];

	for (int round = 0; round < 50; round++) {
		for (int i = 0; i < 8; i++)
			CHECK_OK(dray_map(r->dev, r->mem + i * 8, (size_t)(1 + i) * 100,
					  (enum dray_dir)(i % 3), 0, &m[i]));
		for (int i = 0; i < 8; i++)
			dray_unmap(r->dev, &m[(i * 3) % 8]);
	}
	return NULL;
}

static void map_writes_no_shared_line(struct rig *rig)
{
	struct dray_domain *dom;
	struct dray_device *dev;
	struct dray_mapping m;
	struct actor *a;
	struct ready r;

	/* Before anything of dray's exists, so that it is new memory. */
	world_apart();
	dom = rig_domain(rig);
	dev = rig_device(rig, dom, NULL);
	a = actor_open(rig, dev);
	r = (struct ready){ dev, rig_pages(PAGE) };
	/* The first map of a thread installs its counters in the domain: that is a write. */
	map_some(&r);
	/* The domain, the device, the attachment. */
	CHECK(world_protect(true) >= 3);
	map_some(&r);
	CHECK_OK(dray_map(dev, r.mem, PAGE, DRAY_BIDIRECTIONAL, 0, &m));
	CHECK_READS(a, m.iova, r.mem, 64);
	CHECK_WRITES(a, m.iova, r.mem, 64);
	dray_unmap(dev, &m);
	CHECK_INT(rig_stats(dom).maps, rig_stats(dom).unmaps + !rig_is_sim(rig));
	world_protect(false);
	actor_close(a);
	dray_device_close(dev);
	dray_domain_close(dom);
}

/* The counters of each thread are its own, and their sums are exact once the threads are done. */
static void counts_are_exact(struct rig *rig)
{
	struct dray_domain *dom = rig_domain(rig);
	struct ready r = { rig_device(rig, dom, NULL), rig_pages(PAGE) };
	struct dray_stats s;
	pthread_t threads[4];

	for (int i = 0; i < 4; i++)
		CHECK(!pthread_create(&threads[i], NULL, map_some, &r));
	for (int i = 0; i < 4; i++)
		CHECK(!pthread_join(threads[i], NULL));
	s = rig_stats(dom);
	CHECK_INT(s.maps, 4 * 50 * 8);
	CHECK_INT(s.unmaps, s.maps);
	CHECK_INT(s.backend_maps, s.maps);
	CHECK_INT(s.backend_unmaps, s.maps);
	CHECK_INT(s.map_bytes, s.unmap_bytes);
	CHECK_INT(s.invalidations, rig_is_sim(rig) ? s.maps : 0);
	CHECK_INT(s.map_failures + s.unmap_errors + s.bad_unmaps + s.leaks, 0);
	dray_device_close(r.dev);
	dray_domain_close(dom);
}

const struct contract_case fast_cases[] = {
	{ "map_writes_no_shared_line", "B17", map_writes_no_shared_line },
	{ "counts_are_exact", "H02", counts_are_exact },
	{ NULL },
};
