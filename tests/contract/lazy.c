// SPDX-License-Identifier: BSD-2-Clause
/*
 * Lazy invalidation: what waits may be reached until the flush that covers it, and not a moment
 * longer; nobody gets its address before. The domain here is polled as a rule, with a clock that
 * stands still, so that nothing is flushed but by what the case does.
 */
#include "actor.h"
#include "world.h"
#include "backend/sim/sim.h"
#include "domain/domain.h"

#include <errno.h>
#include <string.h>

#define MS      UINT64_C(1000000)
#define MOST    64
#define AT      UINT64_C(0x3000000)

static struct dray_domain_opts lazy_opts(const struct rig *rig)
{
	struct dray_domain_opts opts = rig_domain_opts(rig);

	opts.invalidation = DRAY_LAZY;
	opts.flags = DRAY_DOMAIN_POLLED;
	opts.flush_timeout_us = 10000;
	return opts;
}

static struct dray_domain *open_as(const struct dray_domain_opts *opts)
{
	struct dray_domain *dom = NULL;

	CHECK_OK(dray_domain_open(opts, &dom));
	return dom;
}

static struct dray_domain *lazy_domain(const struct rig *rig)
{
	struct dray_domain_opts opts = lazy_opts(rig);

	world_hold_clock();
	return open_as(&opts);
}

static uint64_t waiting(const struct dray_domain *dom)
{
	return rig_stats(dom).waiting_entries;
}

static struct dray_mapping map_page(struct dray_device *dev, void *va)
{
	struct dray_mapping m;

	CHECK_OK(dray_map(dev, va, PAGE, DRAY_BIDIRECTIONAL, 0, &m));
	return m;
}

static void check_no_stale_reuse(const struct rig *rig, struct dray_domain *dom)
{
	struct dr_sim_counts counts;

	if (!rig_is_sim(rig))
		return;
	dr_sim_counts(dom->io.be, &counts);
	CHECK_INT(counts.stale_reuses, 0);
}

/* Nothing is asked of the hardware at unmap, all of it by the flush; and every figure is exact. */
static void lazy_until_the_flush(struct rig *rig)
{
	struct dray_domain *dom = lazy_domain(rig);
	struct dray_device *dev = rig_device(rig, dom, NULL);
	struct actor *a = actor_open(rig, dev);
	char *mem = rig_pages(2 * PAGE);
	struct dray_stats was, now;
	struct dray_mapping m[2];
	dray_iova_t at[2];

	CHECK(dray_domain_invalidation(dom) == DRAY_LAZY);
	CHECK_INT(rig_info(dom).invalidation, DRAY_LAZY);
	for (unsigned i = 0; i < 2; i++) {
		m[i] = map_page(dev, mem + i * PAGE);
		at[i] = m[i].iova;
	}
	CHECK_READS(a, at[0], mem, 64);
	was = rig_stats(dom);
	dray_unmap(dev, &m[0]);
	CHECK(!m[0].iova && !m[0].len && !m[0].cookie[0] && !m[0].cookie[1]);
	CHECK(!dray_iova_to_va(dom, at[0]));
	world_pass(3 * MS);
	dray_unmap(dev, &m[1]);
	now = rig_stats(dom);
	CHECK_INT(now.waiting_entries, 2);
	CHECK_INT(now.waiting_bytes, 2 * PAGE);
	CHECK_INT(now.unmaps, was.unmaps + 2);
	CHECK_INT(now.invalidations, was.invalidations);
	if (!rig_is_sim(rig))
		CHECK_INT(now.backend_unmaps, was.backend_unmaps);
	CHECK_INT(now.longest_stale_ns, 0);
	world_pass(MS);
	CHECK_OK(dray_flush(dom));
	for (unsigned i = 0; i < 2; i++)
		CHECK_BLOCKED(a, at[i], mem + i * PAGE, 64);
	now = rig_stats(dom);
	CHECK_INT(now.waiting_entries, 0);
	CHECK_INT(now.waiting_bytes, 0);
	CHECK_INT(now.flushes_explicit, 1);
	CHECK_INT(now.flushed, 2);
	CHECK_INT(now.longest_stale_ns, 4 * MS);
	CHECK_INT(now.unmap_bytes, was.unmap_bytes + 2 * PAGE);
	if (rig_is_sim(rig))
		CHECK_INT(now.invalidations, was.invalidations + 1);
	/* Nothing waits: nothing to do, and nothing counted. */
	CHECK_OK(dray_flush(dom));
	CHECK_INT(rig_stats(dom).flushes_explicit, 1);
	CHECK_ERR(dray_flush(NULL), EINVAL);
	CHECK_ERR(dray_poll(NULL), EINVAL);
	check_no_stale_reuse(rig, dom);
	actor_close(a);
	dray_device_close(dev);
	dray_domain_close(dom);
}

static bool is_among(dray_iova_t iova, const dray_iova_t *list, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		if (list[i] == iova)
			return true;
	return false;
}

/* The addresses of what waits are nobody's, however many are asked for. */
static void no_reuse_before_the_flush(struct rig *rig)
{
	struct dray_domain *dom = lazy_domain(rig);
	struct dray_device *dev = rig_device(rig, dom, NULL);
	char *mem = rig_pages(MOST * PAGE);
	struct dray_mapping m[MOST];
	dray_iova_t waits[MOST];
	unsigned back = 0;

	for (unsigned i = 0; i < MOST; i++)
		m[i] = map_page(dev, mem + i * PAGE);
	for (unsigned i = 0; i < MOST; i++) {
		waits[i] = m[i].iova;
		dray_unmap(dev, &m[i]);
	}
	CHECK_INT(waiting(dom), MOST);
	for (unsigned round = 0; round < 2; round++) {
		for (unsigned i = 0; i < MOST; i++) {
			m[i] = map_page(dev, mem + i * PAGE);
			CHECK(!is_among(m[i].iova, waits, MOST));
		}
		for (unsigned i = 0; i < MOST && !round; i++)
			dray_unmap(dev, &m[i]);
	}
	CHECK_INT(waiting(dom), 2 * MOST);
	CHECK_OK(dray_flush(dom));
	for (unsigned i = 0; i < MOST; i++)
		dray_unmap(dev, &m[i]);
	/* Afterwards they are used again: they came back to the cache they came from. */
	for (unsigned i = 0; i < MOST; i++) {
		m[i] = map_page(dev, mem + i * PAGE);
		back += is_among(m[i].iova, waits, MOST);
	}
	CHECK(back);
	for (unsigned i = 0; i < MOST; i++)
		dray_unmap(dev, &m[i]);
	check_no_stale_reuse(rig, dom);
	dray_device_close(dev);
	dray_domain_close(dom);
}

static void lazy_and_strict_by_turns(struct rig *rig)
{
	struct dray_domain *dom = rig_domain(rig);
	struct dray_domain_opts opts = rig_domain_opts(rig);
	struct dray_device *dev = rig_device(rig, dom, NULL);
	struct actor *a = actor_open(rig, dev);
	char *mem = rig_pages(PAGE);
	struct dray_mapping m;
	dray_iova_t at;

	CHECK(dray_domain_invalidation(dom) == DRAY_STRICT);
	CHECK_ERR(dray_domain_set_invalidation(dom, (enum dray_invalidation)2), EINVAL);
	CHECK_ERR(dray_domain_set_invalidation(NULL, DRAY_LAZY), EINVAL);
	opts.invalidation = 2;
	CHECK_ERR(dray_domain_open(&opts, &dom), EINVAL);
	for (unsigned i = 0; i < 3; i++) {
		CHECK_OK(dray_domain_set_invalidation(dom, DRAY_LAZY));
		CHECK_OK(dray_domain_set_invalidation(dom, DRAY_LAZY));
		CHECK(dray_domain_invalidation(dom) == DRAY_LAZY);
		m = map_page(dev, mem);
		at = m.iova;
		CHECK_READS(a, at, mem, 64);
		dray_unmap(dev, &m);
		CHECK_OK(dray_domain_set_invalidation(dom, DRAY_STRICT));
		CHECK(dray_domain_invalidation(dom) == DRAY_STRICT);
		CHECK_BLOCKED(a, at, mem, 64);
		CHECK_INT(waiting(dom), 0);
		m = map_page(dev, mem);
		at = m.iova;
		CHECK_READS(a, at, mem, 64);
		dray_unmap(dev, &m);
		CHECK_BLOCKED(a, at, mem, 64);
	}
	/* A mapping made in one mode may be unmapped in the other. */
	m = map_page(dev, mem);
	CHECK_OK(dray_domain_set_invalidation(dom, DRAY_LAZY));
	at = m.iova;
	dray_unmap(dev, &m);
	CHECK_OK(dray_flush(dom));
	CHECK_BLOCKED(a, at, mem, 64);
	check_no_stale_reuse(rig, dom);
	actor_close(a);
	dray_device_close(dev);
	dray_domain_close(dom);
}

/* Entries and bytes: neither is passed at any moment. What is more than all bytes never waits. */
static void lazy_within_bounds(struct rig *rig)
{
	struct dray_domain_opts opts = lazy_opts(rig);
	char *mem = rig_pages(16 * PAGE);
	struct dray_domain *dom;
	struct dray_device *dev;
	struct dray_mapping m;
	struct actor *a;
	dray_iova_t at;

	world_hold_clock();
	opts.flush_entries = 5;
	dom = open_as(&opts);
	dev = rig_device(rig, dom, NULL);
	for (unsigned i = 0; i < 23; i++) {
		m = map_page(dev, mem);
		dray_unmap(dev, &m);
		CHECK(waiting(dom) <= 5);
	}
	CHECK(rig_stats(dom).flushes_full >= 4);
	CHECK(rig_stats(dom).flushed >= 18);
	dray_device_close(dev);
	dray_domain_close(dom);

	opts.flush_entries = 0;
	opts.flush_bytes = 8 * PAGE;
	dom = open_as(&opts);
	dev = rig_device(rig, dom, NULL);
	a = actor_open(rig, dev);
	for (unsigned i = 0; i < 23; i++) {
		CHECK_OK(dray_map(dev, mem, (1 + i % 5) * PAGE, DRAY_BIDIRECTIONAL, 0, &m));
		dray_unmap(dev, &m);
		CHECK(rig_stats(dom).waiting_bytes <= 8 * PAGE);
	}
	CHECK(rig_stats(dom).flushes_bytes);
	CHECK_OK(dray_map(dev, mem, 9 * PAGE, DRAY_BIDIRECTIONAL, 0, &m));
	at = m.iova;
	dray_unmap(dev, &m);
	CHECK_BLOCKED(a, at + 8 * PAGE, mem + 8 * PAGE, 64);
	check_no_stale_reuse(rig, dom);
	actor_close(a);
	dray_device_close(dev);
	dray_domain_close(dom);
}

/* In a polled domain dray_poll() keeps the age; what it flushed is free for whoever wants it. */
static void lazy_ages_by_poll(struct rig *rig)
{
	struct dray_domain *dom = lazy_domain(rig);
	struct dray_device *dev = rig_device(rig, dom, NULL);
	struct actor *a = actor_open(rig, dev);
	char *mem = rig_pages(3 * PAGE);
	struct dray_mapping m;
	dray_iova_t at;

	for (unsigned round = 0; round < 3; round++) {
		m = map_page(dev, mem);
		at = m.iova;
		dray_unmap(dev, &m);
		CHECK_OK(dray_poll(dom));
		CHECK_INT(waiting(dom), 1);
		world_pass(10 * MS);
		CHECK_OK(dray_poll(dom));
		CHECK_INT(waiting(dom), 0);
		CHECK_INT(rig_stats(dom).flushes_timer, round + 1);
		CHECK_BLOCKED(a, at, mem, 64);
		/* Flushed, though still in its thread's hands: in nobody's way. */
		if (round == 0) {
			CHECK_OK(dray_map_fixed(dev, at, mem + PAGE, PAGE, DRAY_TO_DEVICE, 0, &m));
			CHECK_READS(a, at, mem + PAGE, 64);
			dray_unmap(dev, &m);
			CHECK_OK(dray_flush(dom));
		} else if (round == 1) {
			CHECK_OK(dray_domain_reserve(dom, at, at + PAGE - 1, DRAY_RESERVE_HOLE));
		} else {
			CHECK_OK(dray_domain_map(dom, at, mem + PAGE, PAGE, DRAY_PROT_READ, 0));
			CHECK_READS(a, at, mem + PAGE, 64);
			CHECK_OK(dray_domain_unmap(dom, at, PAGE));
		}
	}
	CHECK_INT(rig_stats(dom).longest_stale_ns, 10 * MS);
	actor_close(a);
	dray_device_close(dev);
	dray_domain_close(dom);
}

/* An address that waits is flushed for whoever asks for it by name. */
static void waiting_address_is_asked_for(struct rig *rig)
{
	struct dray_domain *dom = lazy_domain(rig);
	struct dray_device *dev = rig_device(rig, dom, NULL);
	struct actor *a = actor_open(rig, dev);
	struct dray_region *region;
	char *mem = rig_pages(2 * PAGE);
	struct dray_mapping m;

	for (unsigned round = 0; round < 4; round++) {
		CHECK_OK(dray_map_fixed(dev, AT, mem, PAGE, DRAY_BIDIRECTIONAL, 0, &m));
		CHECK_READS(a, AT, mem, 64);
		dray_unmap(dev, &m);
		CHECK_INT(waiting(dom), 1);
		switch (round) {
		case 0:
			CHECK_OK(dray_map_fixed(dev, AT, mem + PAGE, PAGE, DRAY_TO_DEVICE, 0, &m));
			CHECK_READS(a, AT, mem + PAGE, 64);
			dray_unmap(dev, &m);
			CHECK_OK(dray_flush(dom));
			break;
		case 1:
			CHECK_OK(dray_domain_map(dom, AT, mem + PAGE, PAGE, DRAY_PROT_READ, 0));
			CHECK_READS(a, AT, mem + PAGE, 64);
			CHECK_OK(dray_domain_unmap(dom, AT, PAGE));
			break;
		case 2:
			CHECK_OK(dray_region_register_at(dom, AT, mem + PAGE, PAGE, 0, &region));
			CHECK_READS(a, AT, mem + PAGE, 64);
			CHECK_OK(dray_region_unregister(region));
			break;
		default:
			CHECK_OK(dray_domain_reserve(dom, AT, AT + PAGE - 1, DRAY_RESERVE_HOLE));
			CHECK_BLOCKED(a, AT, mem, 64);
		}
		CHECK_INT(waiting(dom), 0);
	}
	/* What is live is still in the way. */
	m = map_page(dev, mem);
	CHECK_ERR(dray_domain_reserve(dom, m.iova, m.iova + PAGE - 1, 0), EEXIST);
	dray_unmap(dev, &m);
	check_no_stale_reuse(rig, dom);
	actor_close(a);
	dray_device_close(dev);
	dray_domain_close(dom);
}

/* A receipt is good for one unmap while it waits, after it was flushed, and afterwards. */
static void waiting_receipt_is_spent(struct rig *rig)
{
	struct dray_domain *dom = lazy_domain(rig);
	struct dray_device *dev = rig_device(rig, dom, NULL);
	char *mem = rig_pages(2 * PAGE);
	struct dray_mapping m = map_page(dev, mem), other = map_page(dev, mem + PAGE);
	struct dray_mapping second = m, third = m;

	dray_unmap(dev, &m);
	dray_unmap(dev, &second);
	CHECK_INT(rig_stats(dom).bad_unmaps, 1);
	CHECK_INT(waiting(dom), 1);
	CHECK(!second.cookie[0]);
	CHECK_OK(dray_flush(dom));
	dray_unmap(dev, &third);
	CHECK_INT(rig_stats(dom).bad_unmaps, 2);
	CHECK_INT(rig_stats(dom).unmaps, 1);
	CHECK(dray_iova_to_va(dom, other.iova) == mem + PAGE);
	dray_unmap(dev, &other);
	CHECK_INT(rig_stats(dom).unmaps, 2);
	dray_device_close(dev);
	dray_domain_close(dom);
}

/* Guards around mappings are no part of what a flush asks the backend for. */
static void lazy_with_guards(struct rig *rig)
{
	struct dray_domain_opts opts = lazy_opts(rig);
	char *mem = rig_pages(4 * PAGE);
	struct dray_mapping m[4];
	struct dray_domain *dom;
	struct dray_device *dev;
	dray_iova_t at[4];
	struct actor *a;

	world_hold_clock();
	opts.flags |= DRAY_DOMAIN_GUARD;
	dom = open_as(&opts);
	dev = rig_device(rig, dom, NULL);
	a = actor_open(rig, dev);
	for (unsigned i = 0; i < 4; i++) {
		m[i] = map_page(dev, mem + i * PAGE);
		at[i] = m[i].iova;
		for (unsigned k = 0; k < i; k++)
			CHECK(at[i] + PAGE != at[k] && at[k] + PAGE != at[i]);
	}
	CHECK_BLOCKED(a, at[0] + PAGE, mem + PAGE, 64);
	for (unsigned i = 0; i < 4; i++)
		dray_unmap(dev, &m[i]);
	CHECK_OK(dray_flush(dom));
	for (unsigned i = 0; i < 4; i++)
		CHECK_BLOCKED(a, at[i], mem + i * PAGE, 64);
	CHECK_INT(rig_stats(dom).unmap_errors, 0);
	CHECK_INT(rig_stats(dom).flushed, 4);
	CHECK_INT(rig_info(dom).damaged, 0);
	CHECK_INT(rig_info(dom).quarantined_bytes, 0);
	actor_close(a);
	dray_device_close(dev);
	CHECK(dr_iova_space_is_valid(dom->io.space) && dr_pgtable_is_valid(dom->io.pt));
	dray_domain_close(dom);
}

/* Many small mappings that waited together go together: few calls, one invalidation. */
static void waiting_unmaps_merge(struct rig *rig)
{
	struct dray_domain *dom = lazy_domain(rig);
	struct dray_device *dev = rig_device(rig, dom, NULL);
	char *mem = rig_pages(MOST * PAGE);
	struct dray_mapping m[MOST];
	struct dray_stats was, now;

	for (unsigned i = 0; i < MOST; i++)
		m[i] = map_page(dev, mem + i * PAGE);
	was = rig_stats(dom);
	for (unsigned i = 0; i < MOST; i++)
		dray_unmap(dev, &m[(i * 7) % MOST]);
	CHECK_OK(dray_flush(dom));
	now = rig_stats(dom);
	CHECK_INT(now.flushed, MOST);
	CHECK_INT(now.unmap_bytes - was.unmap_bytes, MOST * PAGE);
	if (rig_is_sim(rig)) {
		CHECK_INT(now.backend_unmaps - was.backend_unmaps, MOST);
		CHECK_INT(now.invalidations - was.invalidations, 1);
		CHECK_INT(now.ranged_unmaps, 0);
	} else {
		CHECK(now.backend_unmaps - was.backend_unmaps < MOST / 4);
		CHECK(now.ranged_unmaps > 0);
		CHECK(now.ranged_mappings > MOST / 2 && now.ranged_mappings <= MOST);
	}
	CHECK_INT(now.unmap_errors, 0);
	dray_device_close(dev);
	dray_domain_close(dom);
}

const struct contract_case lazy_cases[] = {
	{ "lazy_until_the_flush", "C02 C07", lazy_until_the_flush },
	{ "no_reuse_before_the_flush", "C02", no_reuse_before_the_flush },
	{ "lazy_and_strict_by_turns", "C05", lazy_and_strict_by_turns },
	{ "lazy_within_bounds", "C03", lazy_within_bounds },
	{ "lazy_ages_by_poll", "C03 C07", lazy_ages_by_poll },
	{ "waiting_address_is_asked_for", "C03 A02", waiting_address_is_asked_for },
	{ "waiting_receipt_is_spent", "A03 C02", waiting_receipt_is_spent },
	{ "lazy_with_guards", "C02 A10", lazy_with_guards },
	{ "waiting_unmaps_merge", "C08", waiting_unmaps_merge },
	{ NULL },
};
