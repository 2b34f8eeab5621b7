// SPDX-License-Identifier: BSD-2-Clause
/*
 * Random buffers and lists, devices' limits, ways, modes, guards and failures against an oracle
 * that keeps every byte (held.h). Usage: prop-map-bytes [OPS [SEED]], or DRAY_OPS and DRAY_SEED.
 * The seed is printed.
 *
 * First one thread, round by round: each has a domain of its own kind, three devices and memory of
 * which a part is registered, and is repeated exactly by the seed. Then several threads, each with
 * lists of its own, in one domain whose mode changes.
 */
#include "held.h"

#include "backend/sim/sim.h"
#include "bounce/pool.h"
#include "iova/space.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#define HELD    16u
#define WORKERS 3u
#define DEVICES 3u
#define ROUNDS  48u

static uint64_t seed = 0x6a9, ops = 120000;

static struct dray_device_opts limits[DEVICES];
static _Alignas(4096) unsigned char arena[WORKERS][HELD][ROOM];
static struct held held[WORKERS][HELD];
static struct dray_region *regions[WORKERS][HELD];

static struct {
	uint64_t maps, refused, elements, copied, ends;
} total;

static void choose_limits(struct source *r)
{
	static const uint64_t masks[] = { 0, 0, 0xffffffff, 0x3ffffff };
	static const uint64_t bounds[] = { 0, 0, 0xffff, 0x3fff, 0xfff, 0x1ff, 0xffffffff };
	static const size_t longest[] = { 0, 0, 65536, 10000, 4096, 1500 };
	static const size_t aligns[] = { 0, 0, 8, 512, 4096, 64 };

	for (unsigned i = 0; i < DEVICES; i++) {
		limits[i] = (struct dray_device_opts){ .size = sizeof(limits[i]) };
		if (!i)
			continue;
		limits[i].dma_mask = masks[below(r, 4)];
		limits[i].segment_boundary_mask = bounds[below(r, 7)];
		limits[i].max_segment = longest[below(r, 6)];
		limits[i].min_align = aligns[below(r, 6)];
	}
	/* Of its own, for two lists at most: the third finds it full. */
	if (below(r, 2))
		limits[1].bounce_bytes = 2 * ROOM;
	if (!below(r, 4))
		limits[DEVICES - 1].flags = DRAY_DEVICE_UNTRUSTED;
}

static struct dray_domain *open_domain(struct source *r, uint32_t flags)
{
	struct dray_domain_opts opts = rig_opts();
	struct dray_domain *dom = NULL;

	opts.flags = flags;
	opts.invalidation = (uint32_t)below(r, 2);
	opts.bounce_threshold = below(r, 3) ? 0 : 700;
	opts.flush_entries = 1 + (uint32_t)below(r, 64);
	assert_int_equal(dray_domain_open(&opts, &dom), 0);
	/* What is in memory can be pinned; it is the test that says what cannot. */
	assert_int_equal(dray_sim_set_cost(dom, 0, 0, DRAY_SIM_NOCHECK), 0);
	return dom;
}

/* The middle of every other list's memory is registered. */
static void register_some(struct dray_domain *dom, unsigned worker)
{
	for (unsigned i = 0; i < HELD; i++) {
		held[worker][i] = (struct held){ .room = arena[worker][i] };
		regions[worker][i] = NULL;
		if (i % 2)
			assert_int_equal(dray_region_register(dom, arena[worker][i] + 4 * KB4,
							      (ROOM_PAGES - 10) * KB4,
							      DRAY_REGION_SHARE_UNTRUSTED,
							      &regions[worker][i]), 0);
	}
}

static void unregister_all(unsigned worker)
{
	for (unsigned i = 0; i < HELD; i++)
		if (regions[worker][i])
			assert_int_equal(dray_region_unregister(regions[worker][i]), 0);
}

/* May a call that met no failure end so, for such a device? */
static bool is_due(int err, const struct dray_device_opts *o, uint32_t flags)
{
	switch (err) {
	case -EMSGSIZE:
		return o->max_segment || o->segment_boundary_mask;
	case -ENOSPC:
		return o->bounce_bytes;
	case -ENOTSUP:
		return flags & DRAY_MAP_NO_BOUNCE;
	default:
		return false;
	}
}

/* Let something fail in the next call. */
static void arm(struct source *r)
{
	static const int errors[] = { -ENOMEM, -ENOSPC, -EIO, -EFAULT };

	lists_map_error = errors[below(r, 4)];
	if (below(r, 2))
		lists_fail_map = 1 + (unsigned)below(r, 5);
	else
		rig_fail_alloc = 1 + (unsigned)below(r, 4);
	if (!below(r, 8))
		lists_fail_unmap = 1 + (unsigned)below(r, 2);
}

static void disarm(void)
{
	lists_fail_map = rig_fail_alloc = lists_fail_unmap = 0;
}

static void map_some(struct held *h, struct source *r, struct dray_domain *dom,
		     struct dray_device *const *devs, bool alone)
{
	unsigned d = (unsigned)below(r, DEVICES);
	uint32_t flags = (below(r, 4) ? 0 : DRAY_MAP_NO_SYNC) |
			 (below(r, 8) ? 0 : DRAY_MAP_NO_BOUNCE);
	bool armed = alone && !below(r, 6);
	int err;

	if (armed)
		arm(r);
	err = held_map(h, r, dom, devs[d], &limits[d], flags);
	if (armed)
		disarm();
	need(r, !err || armed || is_due(err, &limits[d], flags), "refused without a reason");
	if (alone) {
		total.maps += !err;
		total.refused += err != 0;
		total.elements += h->n;
		for (unsigned i = 0; i < h->n && !err; i++)
			total.copied += h->copied[i];
	}
}

static void step(struct held *all, struct source *r, struct dray_domain *dom,
		 struct dray_device *const *devs, bool alone)
{
	struct held *h = &all[below(r, HELD)];

	if (!h->mapped) {
		map_some(h, r, dom, devs, alone);
		if (h->mapped && alone && dom->flags & DRAY_DOMAIN_GUARD)
			held_check_guards(h, r, dom);
		return;
	}
	switch (below(r, 8)) {
	case 0: case 1:
		if (alone && !below(r, 200))
			lists_fail_unmap = 1;
		held_unmap(h, r, dom);
		if (alone) {
			disarm();
			total.ends++;
		}
		break;
	case 2: case 3:
		held_device_writes(h, r);
		break;
	case 4: case 5:
		held_device_reads(h, r);
		break;
	case 6:
		held_cpu_writes(h, r);
		break;
	default:
		held_sync(h, r);
	}
}

static void shake(struct source *r, struct dray_domain *dom)
{
	switch (below(r, 4)) {
	case 0:
		need(r, !dray_flush(dom), "no flush");
		break;
	case 1:
		need(r, !dray_domain_set_invalidation(dom, (enum dray_invalidation)below(r, 2)),
		     "no switch");
		break;
	default:
		need(r, !dray_poll(dom), "no poll");
	}
}

/* Nothing is mapped any more but pools: is nothing counted, and nothing lost? */
static void check_empty(const struct source *r, struct dray_domain *dom)
{
	const struct dr_counters *c = &dom->io.counters;
	struct dray_stats s = rig_stats(dom);
	struct dr_iova_counts n;
	uint64_t pools;

	dr_iova_counts(dom->io.space, &n);
	pools = s.bounce_mapped_bytes + atomic_load(&dom->bounce->permanent) * dom->io.guard;
	need(r, dr_iova_space_is_valid(dom->io.space), "the space is not valid");
	need(r, dr_pgtable_is_valid(dom->io.pt), "the table is not valid");
	need(r, n.live_bytes == pools && !n.bad_frees, "an IOVA is left");
	need(r, !s.bounce_used_bytes || s.unmap_errors, "a slot is left");
	need(r, !s.bad_unmaps && !s.leaks, "a good unmap was refused");
	need(r, dr_counters_sum(c, DR_PARTIAL_BEGUN) == dr_counters_sum(c, DR_PARTIAL_ENDED),
	     "partial granules are left");
}

static void round_alone(struct source *r, uint64_t n)
{
	struct dray_domain *dom = open_domain(r, DRAY_DOMAIN_POLLED |
					      (below(r, 3) ? 0 : DRAY_DOMAIN_GUARD));
	struct dray_device *devs[DEVICES];
	char name[8];

	if (!below(r, 4))
		dr_sim_set_max_op(dom->io.be, KB4 << below(r, 4));
	lists_watch(dom);
	choose_limits(r);
	for (unsigned i = 0; i < DEVICES; i++) {
		snprintf(name, sizeof(name), "sim%u", i + 1);
		devs[i] = lists_plug(dom, name, &limits[i]);
	}
	register_some(dom, 0);
	for (uint64_t i = 0; i < n; i++) {
		step(held[0], r, dom, devs, true);
		if (!below(r, 64))
			shake(r, dom);
		if (!below(r, 256)) {
			need(r, dr_iova_space_is_valid(dom->io.space), "the space is not valid");
			need(r, dr_pgtable_is_valid(dom->io.pt), "the table is not valid");
		}
	}
	for (unsigned i = 0; i < HELD; i++)
		if (held[0][i].mapped)
			held_unmap(&held[0][i], r, dom);
	unregister_all(0);
	need(r, !dray_flush(dom), "no flush");
	check_empty(r, dom);
	lists_unwatch(dom);
	for (unsigned i = 0; i < DEVICES; i++)
		dray_device_close(devs[i]);
	dray_domain_close(dom);
	need(r, rig_is_gone(dom), "something holds the domain");
}

static void test_alone(void **state)
{
	struct source r = { .seed = seed, .state = seed * 2654435761u + 1 };

	(void)state;
	print_message("DRAY_SEED=0x%llx\n", (unsigned long long)seed);
	for (unsigned i = 0; i < ROUNDS; i++)
		round_alone(&r, ops / ROUNDS);
	print_message("%llu operations: %llu maps of %llu elements, %llu copied; %llu refused, "
		      "%llu unmaps\n", (unsigned long long)ops, (unsigned long long)total.maps,
		      (unsigned long long)total.elements, (unsigned long long)total.copied,
		      (unsigned long long)total.refused, (unsigned long long)total.ends);
	if (ops >= 20000) {
		assert_true(total.maps > ops / 16);
		assert_true(total.refused > ops / 256);
		assert_true(total.copied > total.elements / 32);
	}
}

/* --- Several threads -------------------------------------------------------------------------- */

struct worker {
	pthread_t thread;
	struct source r;
	struct dray_domain *dom;
	struct dray_device *devs[DEVICES];
	unsigned id;
};

static void *work(void *arg)
{
	struct worker *w = arg;

	for (uint64_t i = 0; i < ops / 8; i++) {
		step(held[w->id], &w->r, w->dom, w->devs, false);
		if (!w->id && !below(&w->r, 256))
			shake(&w->r, w->dom);
	}
	for (unsigned i = 0; i < HELD; i++)
		if (held[w->id][i].mapped)
			held_unmap(&held[w->id][i], &w->r, w->dom);
	return NULL;
}

static void test_threads(void **state)
{
	/* Even: nobody looks for what was unmapped, because others may have it by now. */
	struct source r = { .seed = seed & ~UINT64_C(1), .state = seed * 40503u + 1 };
	static struct worker w[WORKERS];
	struct dray_domain *dom;
	char name[8];

	(void)state;
	dom = open_domain(&r, 0);
	choose_limits(&r);
	for (unsigned i = 0; i < WORKERS; i++) {
		w[i] = (struct worker){ .dom = dom, .id = i };
		w[i].r = (struct source){ .seed = r.seed, .state = below(&r, UINT32_MAX) + 1 };
		register_some(dom, i);
	}
	for (unsigned d = 0; d < DEVICES; d++) {
		snprintf(name, sizeof(name), "sim%u", d + 1);
		w[0].devs[d] = lists_plug(dom, name, &limits[d]);
		for (unsigned i = 1; i < WORKERS; i++)
			w[i].devs[d] = w[0].devs[d];
	}
	for (unsigned i = 0; i < WORKERS; i++)
		assert_int_equal(pthread_create(&w[i].thread, NULL, work, &w[i]), 0);
	for (unsigned i = 0; i < WORKERS; i++) {
		pthread_join(w[i].thread, NULL);
		unregister_all(i);
	}
	assert_int_equal(dray_flush(dom), 0);
	check_empty(&r, dom);
	for (unsigned d = 0; d < DEVICES; d++)
		dray_device_close(w[0].devs[d]);
	dray_domain_close(dom);
	assert_true(rig_is_gone(dom));
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_alone, lists_setup, lists_teardown),
		/* Threads allocate and free in this one, and the counts above are plain. */
		cmocka_unit_test(test_threads),
	};
	const char *o = argc > 1 ? argv[1] : getenv("DRAY_OPS");
	const char *s = argc > 2 ? argv[2] : getenv("DRAY_SEED");

	if (o)
		ops = strtoull(o, NULL, 0);
	if (s)
		seed = strtoull(s, NULL, 0);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
