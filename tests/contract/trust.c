// SPDX-License-Identifier: BSD-2-Clause
/*
 * Devices that may attack. What one can read is scanned whole: nothing but the buffers that were
 * mapped for devices of its domain, whoever else's data lies in the same granules. While it is in a
 * domain the domain is strict, and it does not get in while anything else is exposed.
 */
#include "actor.h"
#include "world.h"

#include <errno.h>
#include <string.h>

#define AT     UINT64_C(0x3000000)
#define SECRET 0x5e

static int open_untrusted(const struct rig *rig, struct dray_domain *dom, const char *name,
			  struct dray_device **ret_dev)
{
	struct dray_device_opts opts = rig_device_opts();

	opts.flags = DRAY_DEVICE_UNTRUSTED;
	*ret_dev = NULL;
	return dray_device_open(dom, name ? name : rig->device, &opts, ret_dev);
}

static struct dray_device *untrusted(const struct rig *rig, struct dray_domain *dom,
				     const char *name)
{
	struct dray_device *dev;

	CHECK_OK(open_untrusted(rig, dom, name, &dev));
	return dev;
}

static struct dray_domain *lazy_polled(const struct rig *rig)
{
	struct dray_domain_opts opts = rig_domain_opts(rig);
	struct dray_domain *dom;

	opts.invalidation = DRAY_LAZY;
	opts.flags = DRAY_DOMAIN_POLLED;
	CHECK_OK(dray_domain_open(&opts, &dom));
	return dom;
}

/* Memory all of one byte that must not be seen, with @len bytes of a pattern at @off. */
static char *among_secrets(size_t pages, size_t off, size_t len, unsigned seed)
{
	char *mem = rig_pages(pages * PAGE);

	memset(mem, SECRET, pages * PAGE);
	rig_fill(mem + off, len, seed);
	return mem;
}

/* The device reads the granules around [iova, iova + len): the buffer, and zeroes. */
static void check_alone(struct actor *a, dray_iova_t iova, const char *va, size_t len)
{
	dray_iova_t first = iova & ~(PAGE - 1), end = (iova + len + PAGE - 1) & ~(PAGE - 1);
	unsigned char got[ACTOR_MAX];

	for (dray_iova_t at = first; at < end; at += ACTOR_MAX) {
		a->ops->read(a, at, got, ACTOR_MAX);
		for (size_t i = 0; i < ACTOR_MAX; i++) {
			bool inside = at + i >= iova && at + i - iova < len;

			CHECK_INT(got[i], inside ? (unsigned char)va[at + i - iova] : 0);
		}
	}
}

/* Buffers that share granules, with each other and with secrets: each is seen alone. */
static void neighbours_are_not_seen(struct rig *rig)
{
	static const struct { size_t off, len; } parts[] = {
		{ 100, 200 }, { 300, 64 }, { PAGE - 8, 16 }, { PAGE + 8, PAGE - 8 }, { 5, 1 },
		{ 0, 7 },
	};
	enum { N = sizeof(parts) / sizeof(parts[0]) };
	struct dray_domain *dom = rig_domain(rig);
	struct dray_device *dev = untrusted(rig, dom, NULL);
	struct dray_device *dev2 = rig_device(rig, dom, rig->device2);
	struct actor *a = actor_open(rig, dev);
	char *mem = among_secrets(2, 0, 0, 0);
	struct dray_mapping m[N];
	dray_iova_t at[N];

	for (unsigned i = 0; i < N; i++)
		rig_fill(mem + parts[i].off, parts[i].len, i + 2);
	/* By turns for the one that may attack and the one that may not: it is one domain. */
	for (unsigned i = 0; i < N; i++) {
		CHECK_OK(dray_map(i % 2 ? dev2 : dev, mem + parts[i].off, parts[i].len,
				  DRAY_BIDIRECTIONAL, 0, &m[i]));
		at[i] = m[i].iova;
		CHECK_INT(at[i] % PAGE, (uintptr_t)(mem + parts[i].off) % PAGE);
		/* No two of them in one granule, nor side by side. */
		for (unsigned k = 0; k < i; k++)
			CHECK(at[i] / PAGE != at[k] / PAGE);
		CHECK((char *)dray_iova_to_va(dom, at[i]) != mem + parts[i].off);
	}
	for (unsigned i = 0; i < N; i++)
		check_alone(a, at[i], mem + parts[i].off, parts[i].len);
	CHECK_INT(rig_stats(dom).bounce_edge, N);
	CHECK(!dray_bounce_present(dom));
	CHECK(dray_device_uses_bounce(dev) && dray_device_uses_bounce(dev2));
	for (unsigned i = 0; i < N; i++) {
		char *copy = dray_iova_to_va(dom, at[i]);

		dray_unmap(dev, &m[i]);
		CHECK(!dray_iova_to_va(dom, at[i]));
		CHECK_BLOCKED(a, at[i], copy, 8);
	}
	actor_close(a);
	dray_device_close(dev2);
	dray_device_close(dev);
	dray_domain_close(dom);
}

/* What it wrote comes back, and not a byte beside it; what it may only read does not come back. */
static void attacks_stop_at_the_buffer(struct rig *rig)
{
	struct dray_domain *dom = rig_domain(rig);
	struct dray_device *dev = untrusted(rig, dom, NULL);
	struct actor *a = actor_open(rig, dev);
	char *mem = among_secrets(1, 1000, 100, 3);
	unsigned char junk[256], *p = (unsigned char *)mem;
	struct dray_mapping m;

	memset(junk, 0xee, sizeof(junk));
	CHECK_OK(dray_map(dev, mem + 1000, 100, DRAY_FROM_DEVICE, 0, &m));
	a->ops->write(a, m.iova - 50, junk, 200);
	dray_unmap(dev, &m);
	for (size_t i = 0; i < PAGE; i++)
		CHECK_INT(p[i], i >= 1000 && i < 1100 ? 0xee : SECRET);
	rig_fill(mem + 1000, 100, 4);
	CHECK_OK(dray_map(dev, mem + 1000, 100, DRAY_TO_DEVICE, 0, &m));
	check_alone(a, m.iova, mem + 1000, 100);
	CHECK_NO_WRITE(a, m.iova, dray_iova_to_va(dom, m.iova), 64);
	dray_unmap(dev, &m);
	CHECK(rig_is_filled(mem + 1000, 100, 4));
	/* Whole granules are what they are: no copy. */
	CHECK_OK(dray_map(dev, mem, PAGE, DRAY_BIDIRECTIONAL, 0, &m));
	CHECK(dray_iova_to_va(dom, m.iova) == mem);
	dray_unmap(dev, &m);
	CHECK_ERR(dray_map(dev, mem + 1000, 100, DRAY_TO_DEVICE, DRAY_MAP_NO_BOUNCE, &m), ENOTSUP);
	CHECK_ERR(dray_map_fixed(dev, AT + 1000, mem + 1000, 100, DRAY_TO_DEVICE, 0, &m), ENOTSUP);
	CHECK_OK(dray_map_fixed(dev, AT, mem, PAGE, DRAY_TO_DEVICE, 0, &m));
	dray_unmap(dev, &m);
	actor_close(a);
	dray_device_close(dev);
	dray_domain_close(dom);
}

/* It does not get in while a partial granule, a slot, or a region not shared with it is there. */
static void let_in_or_not(struct rig *rig)
{
	struct dray_domain *dom = lazy_polled(rig);
	struct dray_device_opts aligned = rig_device_opts();
	struct dray_device *dev, *dev2;
	struct dray_region *region;
	char *mem = rig_pages(4 * PAGE);
	struct dray_sg sg[2] = { { .va = mem, .len = PAGE }, { .va = mem + PAGE, .len = 10 } };
	struct dray_link *link;
	struct dray_mapping m;

	aligned.min_align = 512;
	dev2 = rig_device(rig, dom, rig->device2);
	CHECK_OK(dray_map(dev2, mem + 8, 16, DRAY_BIDIRECTIONAL, 0, &m));
	CHECK_ERR(open_untrusted(rig, dom, NULL, &dev), EBUSY);
	CHECK_WORDS("granule");
	CHECK(!dev && dray_domain_invalidation(dom) == DRAY_LAZY);
	dray_unmap(dev2, &m);
	CHECK_OK(dray_map_fixed(dev2, AT + 8, mem + 8, 16, DRAY_BIDIRECTIONAL, 0, &m));
	CHECK_ERR(open_untrusted(rig, dom, NULL, &dev), EBUSY);
	dray_unmap(dev2, &m);
	CHECK_INT(dray_map_sg(dev2, sg, 2, DRAY_TO_DEVICE, 0), 1);
	CHECK_ERR(open_untrusted(rig, dom, NULL, &dev), EBUSY);
	dray_unmap_sg(dev2, sg, 2);
	CHECK_OK(dray_link_open(dev2, PAGE, 0, &link));
	CHECK_OK(dray_link_add(link, 4, mem + 4, 100, DRAY_TO_DEVICE));
	CHECK_ERR(open_untrusted(rig, dom, NULL, &dev), EBUSY);
	dray_link_remove(link, 0, PAGE);
	CHECK_OK(dray_region_register(dom, mem, PAGE, 0, &region));
	CHECK_ERR(open_untrusted(rig, dom, NULL, &dev), EPERM);
	CHECK_WORDS("SHARE_UNTRUSTED");
	CHECK_OK(dray_region_unregister(region));
	dray_device_close(dev2);
	dray_link_close(link);

	CHECK_OK(dray_device_open(dom, rig->device2, &aligned, &dev2));
	CHECK_OK(dray_map(dev2, mem + 8, 16, DRAY_BIDIRECTIONAL, 0, &m));
	CHECK(dray_bounce_present(dom));
	CHECK_ERR(open_untrusted(rig, dom, NULL, &dev), EBUSY);
	CHECK_WORDS("slot");
	dray_unmap(dev2, &m);
	/* Whole granules and a shared region are no obstacle, and an idle pool goes. */
	CHECK_OK(dray_map(dev2, mem, PAGE, DRAY_BIDIRECTIONAL, 0, &m));
	CHECK_OK(dray_region_register(dom, mem + PAGE, PAGE, DRAY_REGION_SHARE_UNTRUSTED, &region));
	CHECK_OK(open_untrusted(rig, dom, NULL, &dev));
	CHECK(!dray_bounce_present(dom));
	CHECK_OK(dray_region_unregister(region));
	CHECK_ERR(dray_region_register(dom, mem + PAGE, PAGE, 0, &region), EPERM);
	CHECK_OK(dray_region_register(dom, mem + PAGE, PAGE, DRAY_REGION_SHARE_UNTRUSTED, &region));
	CHECK_OK(dray_region_unregister(region));
	dray_device_close(dev);
	CHECK_OK(dray_region_register(dom, mem + PAGE, PAGE, 0, &region));
	CHECK_OK(dray_region_unregister(region));
	dray_unmap(dev2, &m);
	dray_device_close(dev2);
	dray_domain_close(dom);
}

/* What a device left mapped when it closed exposes nothing any more. */
static void leaks_expose_nothing(struct rig *rig)
{
	struct dray_domain *dom = rig_domain(rig);
	char *mem = rig_pages(4 * PAGE);
	struct dray_sg sg[2] = { { .va = mem, .len = 9 }, { .va = mem + 2 * PAGE, .len = 9 } };
	struct dray_device_opts aligned = rig_device_opts();
	struct dray_device *dev;
	struct dray_mapping m;

	dev = rig_device(rig, dom, NULL);
	CHECK_OK(dray_map(dev, mem + 8, 16, DRAY_BIDIRECTIONAL, 0, &m));
	CHECK_INT(dray_map_sg(dev, sg, 2, DRAY_TO_DEVICE, 0), 2);
	dray_device_close(dev);
	aligned.min_align = 512;
	CHECK_OK(dray_device_open(dom, rig->device, &aligned, &dev));
	CHECK_OK(dray_map(dev, mem + 8, 16, DRAY_BIDIRECTIONAL, 0, &m));
	dray_device_close(dev);
	CHECK_OK(open_untrusted(rig, dom, NULL, &dev));
	dray_device_close(dev);
	dray_domain_close(dom);
}

/* Strict as long as one is in the domain, lazy again afterwards, if that is what was asked for. */
static void strict_while_it_is_there(struct rig *rig)
{
	struct dray_domain *dom = lazy_polled(rig);
	struct dray_device *dev2 = rig_device(rig, dom, rig->device2), *dev;
	char *mem = rig_pages(2 * PAGE);
	struct dray_mapping m;
	struct actor *a;
	dray_iova_t at;

	CHECK(dray_domain_invalidation(dom) == DRAY_LAZY);
	CHECK_OK(dray_map(dev2, mem, PAGE, DRAY_BIDIRECTIONAL, 0, &m));
	at = m.iova;
	dray_unmap(dev2, &m);
	CHECK_INT(rig_stats(dom).waiting_entries, 1);
	dev = untrusted(rig, dom, NULL);
	a = actor_open(rig, dev);
	CHECK_INT(rig_stats(dom).waiting_entries, 0);
	CHECK_BLOCKED(a, at, mem, 64);
	CHECK(dray_domain_invalidation(dom) == DRAY_STRICT);
	CHECK_OK(dray_domain_set_invalidation(dom, DRAY_LAZY));
	CHECK(dray_domain_invalidation(dom) == DRAY_STRICT);
	CHECK_OK(dray_map(dev2, mem, PAGE, DRAY_BIDIRECTIONAL, 0, &m));
	at = m.iova;
	CHECK_READS(a, at, mem, 64);
	dray_unmap(dev2, &m);
	CHECK_BLOCKED(a, at, mem, 64);
	actor_close(a);
	dray_device_close(dev);
	CHECK(dray_domain_invalidation(dom) == DRAY_LAZY);
	CHECK_OK(dray_map(dev2, mem, PAGE, DRAY_BIDIRECTIONAL, 0, &m));
	dray_unmap(dev2, &m);
	CHECK_INT(rig_stats(dom).waiting_entries, 1);
	/* Asked for strict meanwhile: strict it stays. */
	dev = untrusted(rig, dom, NULL);
	CHECK_OK(dray_domain_set_invalidation(dom, DRAY_STRICT));
	dray_device_close(dev);
	CHECK(dray_domain_invalidation(dom) == DRAY_STRICT);
	dray_device_close(dev2);
	dray_domain_close(dom);
}

/* Moved in and out: the domain it enters is looked at as at open, the one it leaves is free. */
static void attacker_that_moves(struct rig *rig)
{
	struct dray_domain *from = lazy_polled(rig), *to = lazy_polled(rig), *identity;
	struct dray_device *dev = untrusted(rig, from, NULL), *dev2;
	char *mem = rig_pages(PAGE);
	struct dray_mapping m;

	if (rig_is_sim(rig)) {
		dev2 = rig_device(rig, to, rig->device2);
		CHECK_OK(dray_map(dev2, mem + 8, 16, DRAY_BIDIRECTIONAL, 0, &m));
		CHECK_ERR(dray_device_set_domain(dev, to), EBUSY);
		CHECK(dray_device_get_domain(dev) == from);
		CHECK(dray_domain_invalidation(to) == DRAY_LAZY);
		CHECK(dray_domain_invalidation(from) == DRAY_STRICT);
		dray_unmap(dev2, &m);
		CHECK_INT(rig_stats(to).waiting_entries, 1);
		CHECK_OK(dray_device_set_domain(dev, to));
		CHECK_INT(rig_stats(to).waiting_entries, 0);
		CHECK(dray_domain_invalidation(to) == DRAY_STRICT);
		CHECK(dray_domain_invalidation(from) == DRAY_LAZY);
		CHECK_OK(dray_map(dev2, mem + 8, 16, DRAY_BIDIRECTIONAL, 0, &m));
		CHECK(dray_iova_to_va(to, m.iova) != mem + 8);
		dray_unmap(dev2, &m);
		identity = rig_domain_as(rig, DRAY_DOMAIN_IDENTITY);
		CHECK_ERR(dray_device_set_domain(dev, identity), EPERM);
		CHECK(dray_device_get_domain(dev) == to);
		dray_device_close(dev2);
		dray_device_close(dev);
		CHECK_ERR(open_untrusted(rig, identity, NULL, &dev), EPERM);
		dray_domain_close(identity);
	} else {
		CHECK_ERR(dray_device_set_domain(dev, to), ENOTSUP);
		CHECK(dray_domain_invalidation(to) == DRAY_LAZY);
		dray_device_close(dev);
	}
	dray_domain_close(from);
	dray_domain_close(to);
}

/* Where nothing holds a device back, one that may attack is refused. */
static void nothing_holds_it_back(struct rig *rig)
{
	struct dray_domain_opts opts = rig_domain_opts(rig);
	struct dray_domain *dom;
	struct dray_device *dev;

	opts.backend = DRAY_BACKEND_SIM;
	opts.sim_profile = "direct";
	CHECK_OK(dray_domain_open(&opts, &dom));
	CHECK_ERR(dray_device_open(dom, "sim5", &(struct dray_device_opts){
			.size = sizeof(struct dray_device_opts), .flags = DRAY_DEVICE_UNTRUSTED },
			&dev), EPERM);
	CHECK_INT(rig_info(dom).devices, 0);
	CHECK_OK(dray_device_open(dom, "sim5", NULL, &dev));
	dray_device_close(dev);
	dray_domain_close(dom);
}

/* A list and a link: each end is copied, the middle is not. */
static void attacked_lists_and_links(struct rig *rig)
{
	struct dray_domain *dom = rig_domain(rig);
	struct dray_device *dev = untrusted(rig, dom, NULL);
	struct actor *a = actor_open(rig, dev);
	char *mem = among_secrets(8, 100, 3 * PAGE, 5);
	struct dray_sg sg[3] = {
		{ .va = mem + 4 * PAGE, .len = PAGE }, { .va = mem + 5 * PAGE + 10, .len = 300 },
		{ .va = mem + 6 * PAGE, .len = PAGE + 1 },
	};
	struct dray_link *link;
	dray_iova_t at;
	int n;

	n = dray_map_sg(dev, sg, 3, DRAY_BIDIRECTIONAL, 0);
	CHECK(n > 0 && n <= 3);
	for (int i = 0, e = 0; i < n; i++) {
		CHECK(e < 3);
		check_alone(a, sg[i].iova, sg[e].va, sg[i].dma_len);
		for (size_t sum = 0; sum < sg[i].dma_len; e++)
			sum += sg[e].len;
	}
	dray_unmap_sg(dev, sg, 3);
	CHECK_OK(dray_link_open(dev, 4 * PAGE, 0, &link));
	at = dray_link_iova(link);
	CHECK_OK(dray_link_add(link, 100, mem + 100, 3 * PAGE, DRAY_BIDIRECTIONAL));
	CHECK_OK(dray_link_sync(link, 100, 3 * PAGE));
	check_alone(a, at + 100, mem + 100, 3 * PAGE);
	CHECK(dray_iova_to_va(dom, at + PAGE) == mem + PAGE);
	memset(mem + 100, 0x77, 50);
	CHECK_OK(dray_sync_iova_for_device(dev, at + 110, 10, DRAY_BIDIRECTIONAL));
	memcpy(mem + 100, dray_iova_to_va(dom, at + 100), 10);
	CHECK(mem[100] != 0x77 && mem[109] != 0x77 && mem[110] == 0x77 &&
	      ((char *)dray_iova_to_va(dom, at + 119))[0] == 0x77 &&
	      ((char *)dray_iova_to_va(dom, at + 120))[0] != 0x77);
	dray_link_remove(link, 0, 4 * PAGE);
	CHECK_BLOCKED(a, at + PAGE, mem + PAGE, 64);
	dray_link_close(link);
	actor_close(a);
	dray_device_close(dev);
	dray_domain_close(dom);
}

/* One that does not see the CPU's caches sees no older bytes of a copy's memory either. */
static void nothing_old_in_memory(struct rig *rig)
{
	struct dray_domain_opts opts = rig_domain_opts(rig);
	char *mem = among_secrets(4, 1000, 2 * PAGE, 3);
	struct dray_domain *dom;
	struct dray_device *dev;
	struct dray_link *link;
	struct dray_mapping m;
	struct actor *a;

	if (!rig_is_sim(rig))
		return;
	opts.sim_profile = "noncoherent";
	CHECK_OK(dray_domain_open(&opts, &dom));
	dev = untrusted(rig, dom, NULL);
	a = actor_open(rig, dev);
	for (unsigned i = 0; i < 2; i++) {
		CHECK_OK(dray_map(dev, mem + 1000, 100, DRAY_BIDIRECTIONAL,
				  i ? DRAY_MAP_NO_SYNC : 0, &m));
		CHECK_OK(dray_sync_for_device(dev, &m, 0, 100));
		check_alone(a, m.iova, mem + 1000, 100);
		dray_unmap(dev, &m);
	}
	CHECK_OK(dray_link_open(dev, 4 * PAGE, 0, &link));
	CHECK_OK(dray_link_add(link, 1000, mem + 1000, 2 * PAGE, DRAY_TO_DEVICE));
	CHECK_OK(dray_link_sync(link, 1000, 2 * PAGE));
	check_alone(a, dray_link_iova(link) + 1000, mem + 1000, 2 * PAGE);
	dray_link_close(link);
	actor_close(a);
	dray_device_close(dev);
	dray_domain_close(dom);
}

const struct contract_case trust_cases[] = {
	{ "neighbours_are_not_seen", "D09 E01", neighbours_are_not_seen },
	{ "attacks_stop_at_the_buffer", "D09 E01", attacks_stop_at_the_buffer },
	{ "let_in_or_not", "D09 C04", let_in_or_not },
	{ "leaks_expose_nothing", "D09", leaks_expose_nothing },
	{ "strict_while_it_is_there", "C04 D09", strict_while_it_is_there },
	{ "attacker_that_moves", "D09", attacker_that_moves },
	{ "nothing_holds_it_back", "D09", nothing_holds_it_back },
	{ "nothing_old_in_memory", "D09 E07", nothing_old_in_memory },
	{ "attacked_lists_and_links", "D09 B09", attacked_lists_and_links },
	{ NULL },
};
