// SPDX-License-Identifier: BSD-2-Clause
/*
 * Regions where mapping entries, locked memory or addresses run out: the refusal names the limit
 * and leaves nothing behind, what is registered goes on, and what waits for a flush is given up
 * first. The software IOMMU has no entries and locks nothing; there the same is registered without
 * end.
 */
#include "actor.h"
#include "limiter.h"

#include <errno.h>

#define ENTRIES 24
#define LOCKED  ((size_t)64 * PAGE)
#define AT      UINT64_C(0x2800000)
#define SPAN    ((size_t)128 * PAGE)

/* Everything a case has open. */
struct scene {
	struct rig *rig;
	struct dray_domain *dom;
	struct dray_device *dev;
	struct actor *a;
	char *mem; /* SPAN bytes */
	struct dray_region *region[ENTRIES + 1];
	unsigned n;
};

/* Only what the case itself asks for flushes. */
static void scene_open(struct scene *s, struct rig *rig, bool lazy)
{
	struct dray_domain_opts opts = rig_domain_opts(rig);
	int before = 0;

	*s = (struct scene){ .rig = rig, .mem = rig_pages(SPAN) };
	if (!rig_is_sim(rig))
		before = limiter_set_entries(ENTRIES);
	opts.flags = DRAY_DOMAIN_POLLED;
	opts.invalidation = lazy ? DRAY_LAZY : DRAY_STRICT;
	opts.flush_timeout_us = 10000000;
	opts.flush_entries = 256;
	opts.first = AT;
	opts.last = RIG_MASK;
	CHECK_OK(dray_domain_open(&opts, &s->dom));
	s->dev = rig_device(rig, s->dom, NULL);
	/* The container has taken the limit. */
	if (!rig_is_sim(rig))
		limiter_set_entries(before);
	s->a = actor_open(rig, s->dev);
}

static void scene_close(struct scene *s)
{
	while (s->n)
		CHECK_OK(dray_region_unregister(s->region[--s->n]));
	actor_close(s->a);
	CHECK_OK(dray_flush(s->dom));
	dray_device_close(s->dev);
	CHECK_INT(rig_stats(s->dom).maps, rig_stats(s->dom).unmaps);
	CHECK_INT(rig_info(s->dom).mapped_bytes, 0);
	CHECK_INT(rig_info(s->dom).damaged, 0);
	dray_domain_close(s->dom);
}

/* Page @page of the memory, as another region. */
static void add(struct scene *s, size_t page, size_t pages)
{
	CHECK(s->n <= ENTRIES);
	CHECK_OK(dray_region_register(s->dom, s->mem + page * PAGE, pages * PAGE, 0,
				      &s->region[s->n++]));
}

/* A buffer in a region that is there: mapped by lookup, whatever has run out. */
static void check_works(struct scene *s, size_t page)
{
	char *va = s->mem + page * PAGE + 40;
	struct dray_stats was = rig_stats(s->dom);
	struct dray_mapping m;

	CHECK_OK(dray_map(s->dev, va, 500, DRAY_BIDIRECTIONAL, 0, &m));
	CHECK_INT(m.iova, dray_translate(s->dom, va, NULL));
	CHECK_READS(s->a, m.iova, va, 64);
	CHECK_WRITES(s->a, m.iova + 400, va + 400, 64);
	dray_unmap(s->dev, &m);
	CHECK_INT(rig_stats(s->dom).backend_maps, was.backend_maps);
}

/* Registering @pages at @page fails with @err and this word, and nothing has changed. */
static void check_refused(struct scene *s, size_t page, size_t pages, int err, const char *word)
{
	struct dray_region *none = NULL;
	struct rig_state was = rig_state(s->dom);

	CHECK_ERR(dray_region_register(s->dom, s->mem + page * PAGE, pages * PAGE, 0, &none), err);
	CHECK_WORDS(word);
	CHECK(!none && dray_translate(s->dom, s->mem + page * PAGE, NULL) == DRAY_IOVA_NONE);
	CHECK_SAME(s->dom, &was);
}

static void regions_run_out_of_entries(struct rig *rig)
{
	struct dray_mapping none = { .iova = 1 };
	struct scene s;

	scene_open(&s, rig, false);
	while (s.n < ENTRIES && rig_info(s.dom).entries_left)
		add(&s, s.n, 1);
	if (!rig_is_sim(rig)) {
		CHECK_INT(rig_info(s.dom).entries_left, 0);
		check_refused(&s, 100, 1, ENOSPC, "dma_entry_limit");
		CHECK_ERR(dray_map(s.dev, s.mem + 100 * PAGE, PAGE, DRAY_TO_DEVICE, 0, &none),
			  ENOSPC);
		CHECK_INT(none.iova, 1);
	}
	check_works(&s, 0);
	CHECK_OK(dray_region_unregister(s.region[--s.n]));
	add(&s, 100, 1);
	check_works(&s, 100);
	scene_close(&s);
}

/* One that takes more entries than are left: the part that fitted is taken back. */
static void region_of_too_many_entries(struct rig *rig)
{
	struct scene s;

	scene_open(&s, rig, false);
	rig_set_max_op(s.dom, 2 * PAGE);
	while (s.n < ENTRIES && rig_info(s.dom).entries_left > 3)
		add(&s, s.n, 1);
	if (!rig_is_sim(rig))
		check_refused(&s, 100, 8, ENOSPC, "dma_entry_limit");
	add(&s, 100, 6);
	CHECK(rig_is_sim(rig) || !rig_info(s.dom).entries_left);
	check_works(&s, 105);
	scene_close(&s);
}

/* Map and unmap @n single pages from @page on: in a lazy domain they wait. */
static void leave_waiting(struct scene *s, size_t page, unsigned n)
{
	struct dray_mapping m[ENTRIES];

	CHECK(n <= ENTRIES);
	for (unsigned i = 0; i < n; i++)
		CHECK_OK(dray_map(s->dev, s->mem + (page + 2 * i) * PAGE, PAGE, DRAY_TO_DEVICE, 0,
				  &m[i]));
	for (unsigned i = 0; i < n; i++)
		dray_unmap(s->dev, &m[i]);
	CHECK_INT(rig_stats(s->dom).waiting_entries, n);
}

/* Unmaps that wait hold entries: they are flushed before a region is refused. */
static void lazy_regions_run_out_of_entries(struct rig *rig)
{
	struct scene s;
	unsigned n;

	scene_open(&s, rig, true);
	add(&s, 0, 1);
	n = rig_is_sim(rig) ? ENTRIES - 4 : (unsigned)rig_info(s.dom).entries_left;
	leave_waiting(&s, 10, n);
	add(&s, 100, 2);
	/* The software IOMMU lets go of an entry at once. */
	CHECK_INT(rig_stats(s.dom).waiting_entries, rig_is_sim(rig) ? n : 0);
	CHECK_INT(rig_stats(s.dom).flushes_pressure, !rig_is_sim(rig));
	check_works(&s, 0);
	check_works(&s, 101);
	while (!rig_is_sim(rig) && rig_info(s.dom).entries_left)
		add(&s, 10 + s.n, 1);
	if (!rig_is_sim(rig))
		check_refused(&s, 110, 1, ENOSPC, "dma_entry_limit");
	check_works(&s, 101);
	scene_close(&s);
}

static void regions_run_out_of_locked_memory(struct rig *rig)
{
	struct dray_mapping none = { .iova = 1 };
	struct scene s;

	limiter_lock_at_most(LOCKED);
	scene_open(&s, rig, false);
	add(&s, 0, 40);
	if (rig_is_sim(rig)) {
		add(&s, 40, 80);
	} else {
		check_refused(&s, 40, 60, ENOMEM, "RLIMIT_MEMLOCK");
		CHECK_ERR(dray_map(s.dev, s.mem + 40 * PAGE, 60 * PAGE, DRAY_TO_DEVICE, 0, &none),
			  ENOMEM);
		CHECK_INT(none.iova, 1);
		add(&s, 40, 10);
	}
	check_works(&s, 39);
	check_works(&s, 49);
	/* What one gives back, another has. */
	CHECK_OK(dray_region_unregister(s.region[0]));
	s.region[0] = s.region[--s.n];
	add(&s, 0, 39);
	check_works(&s, 38);
	check_works(&s, 40);
	scene_close(&s);
}

/* Unmaps that wait keep their pages locked. */
static void lazy_regions_run_out_of_locked_memory(struct rig *rig)
{
	struct scene s;

	limiter_lock_at_most(LOCKED);
	scene_open(&s, rig, true);
	add(&s, 0, 20);
	leave_waiting(&s, 20, 16);
	add(&s, 60, 35);
	CHECK_INT(rig_stats(s.dom).waiting_entries, rig_is_sim(rig) ? 16 : 0);
	CHECK_INT(rig_stats(s.dom).flushes_pressure, !rig_is_sim(rig));
	if (!rig_is_sim(rig))
		check_refused(&s, 20, 20, ENOMEM, "RLIMIT_MEMLOCK");
	check_works(&s, 19);
	check_works(&s, 94);
	scene_close(&s);
}

/* Registered before a device came: it is the device that is refused, and told why. */
static void regions_run_out_at_attach(struct rig *rig)
{
	struct dray_device_opts opts = rig_device_opts();
	struct dray_domain_opts dom_opts = rig_domain_opts(rig);
	struct dray_device *dev = NULL;
	struct dray_region *region[2];
	char *mem = rig_pages(SPAN);
	struct dray_domain *dom;
	struct rig_state was;
	struct actor *a;

	rig_warm(rig);
	limiter_lock_at_most(LOCKED);
	dom_opts.first = AT;
	dom_opts.last = RIG_MASK;
	CHECK_OK(dray_domain_open(&dom_opts, &dom));
	CHECK_OK(dray_region_register(dom, mem, 40 * PAGE, 0, &region[0]));
	CHECK_OK(dray_region_register(dom, mem + 40 * PAGE, 60 * PAGE, 0, &region[1]));
	was = rig_state(dom);
	if (rig_is_sim(rig)) {
		CHECK_OK(dray_device_open(dom, rig->device, &opts, &dev));
		dray_device_close(dev);
	} else {
		CHECK_ERR(dray_device_open(dom, rig->device, &opts, &dev), ENOMEM);
		CHECK_WORDS("RLIMIT_MEMLOCK");
	}
	CHECK_SAME(dom, &was);
	CHECK_OK(dray_region_unregister(region[1]));
	CHECK_OK(dray_device_open(dom, rig->device, &opts, &dev));
	a = actor_open(rig, dev);
	CHECK_READS(a, dray_translate(dom, mem + 39 * PAGE, NULL), mem + 39 * PAGE, 64);
	CHECK_OK(dray_region_unregister(region[0]));
	actor_close(a);
	dray_device_close(dev);
	dray_domain_close(dom);
}

/* No address left: another limit with another name; waiting ones are given back first. */
static void regions_run_out_of_addresses(struct rig *rig)
{
	struct dray_domain_opts opts = rig_domain_opts(rig);
	struct scene s = { .rig = rig, .mem = rig_pages(SPAN) };
	struct dray_mapping m;

	opts.flags = DRAY_DOMAIN_POLLED;
	opts.invalidation = DRAY_LAZY;
	opts.flush_timeout_us = 10000000;
	opts.first = AT;
	opts.last = AT + 64 * PAGE - 1;
	CHECK_OK(dray_domain_open(&opts, &s.dom));
	s.dev = rig_device(rig, s.dom, NULL);
	CHECK_OK(dray_map(s.dev, s.mem, 40 * PAGE, DRAY_TO_DEVICE, 0, &m));
	dray_unmap(s.dev, &m);
	add(&s, 0, 64);
	CHECK_INT(rig_stats(s.dom).flushes_pressure, 1);
	check_refused(&s, 64, 1, ENOSPC, "IOVA left");
	CHECK_OK(dray_map(s.dev, s.mem + 5, 7 * PAGE, DRAY_TO_DEVICE, 0, &m));
	CHECK_INT(m.iova, dray_translate(s.dom, s.mem + 5, NULL));
	dray_unmap(s.dev, &m);
	CHECK_OK(dray_region_unregister(s.region[--s.n]));
	add(&s, 1, 63);
	add(&s, 0, 1);
	while (s.n)
		CHECK_OK(dray_region_unregister(s.region[--s.n]));
	dray_device_close(s.dev);
	dray_domain_close(s.dom);
}

const struct contract_case regionlimit_cases[] = {
	{ "regions_run_out_of_entries", "B11 F01", regions_run_out_of_entries },
	{ "region_of_too_many_entries", "B11 F01", region_of_too_many_entries },
	{ "lazy_regions_run_out_of_entries", "B11", lazy_regions_run_out_of_entries },
	{ "regions_run_out_of_locked_memory", "B11 F01", regions_run_out_of_locked_memory },
	{ "lazy_regions_run_out_of_locked_memory", "B11", lazy_regions_run_out_of_locked_memory },
	{ "regions_run_out_at_attach", "B11 D15", regions_run_out_at_attach },
	{ "regions_run_out_of_addresses", "B11 F01", regions_run_out_of_addresses },
	{ NULL },
};
