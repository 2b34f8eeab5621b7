// SPDX-License-Identifier: BSD-2-Clause
/*
 * Modes that choose among dray's ways, and lists.
 *
 * 1. In one domain a mode is two things: what the domain promises (strict or lazy), and up to which
 *    size it copies instead of mapping: nothing, whatever a slot holds, what is cheaper. Both can
 *    be changed while mappings are out, so modes of one run stay interleaved on one device.
 * 2. Registered memory would be looked up in any mode. So the region mode has buffers of its own.
 * 3. A list is n elements, each at the same distance from the one before.
 */
#include "bench/map_world.h"

#include <errno.h>
#include <stdlib.h>

#include "base/err.h"
#include "baseline/choose.h"

int map_way_enter(void *setting)
{
	const struct map_setting *s = setting;
	const struct map_mode *mode = s->mode;
	struct dray_domain *dom = s->world->dom;
	int err;

	bench_choose(dom, mode->threshold);
	/* Nothing is asked of a library or backend that is in the mode anyway. */
	if (dray_domain_invalidation(dom) == mode->invalidation)
		return 0;
	err = dray_domain_set_invalidation(dom, mode->invalidation);
	/* A backend that cannot says so by what is in effect. */
	if (!err && dray_domain_invalidation(dom) != mode->invalidation)
		err = dr_fail(ENOTSUP, "backend %s cannot be lazy; measure --mode strict",
			      s->world->config.backend->name);
	return err;
}

void map_way_leave(void *setting)
{
	const struct map_setting *s = setting;

	if (s->mode->invalidation == DRAY_LAZY)
		dray_flush(s->world->dom);
}

/* --- Regions ---------------------------------------------------------------------------------- */

int map_regions_open(struct map_world *w)
{
	const struct map_config *c = &w->config;

	w->registered = calloc(c->threads, sizeof(*w->registered));
	w->regions = calloc(c->threads, sizeof(*w->regions));
	for (unsigned i = 0; w->registered && w->regions && i < c->threads; i++) {
		int err;

		w->registered[i] = map_arena_new(c);
		if (!w->registered[i])
			break;
		err = dray_region_register(w->dom, w->registered[i], map_arena_bytes(c), 0,
					   &w->regions[i]);
		if (!err && i + 1 == c->threads)
			return 0;
		if (err) {
			map_regions_close(w);
			return err;
		}
	}
	map_regions_close(w);
	return dr_fail(ENOMEM, "no memory for buffers to register; ask for a smaller --size or "
		       "fewer --threads");
}

void map_regions_close(struct map_world *w)
{
	for (unsigned i = 0; w->registered && w->regions && i < w->config.threads; i++) {
		if (w->regions[i])
			dray_region_unregister(w->regions[i]);
		map_arena_free(&w->config, w->registered[i]);
	}
	free(w->regions);
	free(w->registered);
	w->regions = NULL;
	w->registered = NULL;
}

/* --- Lists ------------------------------------------------------------------------------------ */

int map_lists_open(struct map_setting *s)
{
	const struct map_config *c = &s->world->config;
	size_t stride = c->sg_stride ? c->sg_stride : s->size;

	s->lists = calloc((size_t)s->threads * c->sg, sizeof(*s->lists));
	if (!s->lists)
		return dr_fail(ENOMEM, "no memory for lists of %u elements; ask for a smaller --sg",
			       c->sg);
	for (unsigned t = 0; t < s->threads; t++)
		for (unsigned i = 0; i < c->sg; i++) {
			struct dray_sg *e = &s->lists[(size_t)t * c->sg + i];

			e->va = map_arena_of(s, t) + i * stride;
			e->len = s->size;
		}
	return 0;
}

int map_lists_run(void *setting, unsigned thread, uint64_t n)
{
	const struct map_setting *s = setting;
	unsigned elements = s->world->config.sg;
	struct dray_sg *list = s->lists + (size_t)thread * elements;
	struct dray_device *dev = s->world->dev;

	while (n--) {
		int segments = dray_map_sg(dev, list, elements, DRAY_BIDIRECTIONAL, 0);

		if (segments < 0)
			return segments;
		dray_unmap_sg(dev, list, elements);
	}
	return 0;
}
