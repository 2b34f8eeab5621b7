// SPDX-License-Identifier: BSD-2-Clause
/*
 * Bounce pools of a device's own: what it has, nobody else takes, and it takes nobody's. Devices
 * here want their buffers aligned, so that what is not is copied.
 */
#include "actor.h"

#include <errno.h>
#include <string.h>

#define ALIGN 512u
#define OWN   (2 * PAGE)
#define SLOT  2000u /* bytes that take one slot of 2 KiB */
#define SLOTS 4u    /* in two granules */
#define HIGH  UINT64_C(0x140000000) /* above what edu sends */

static struct dray_device *owner(const struct rig *rig, struct dray_domain *dom, size_t bytes,
				 uint32_t flags)
{
	struct dray_device_opts opts = rig_device_opts();
	struct dray_device *dev;

	opts.min_align = ALIGN;
	opts.bounce_bytes = bytes;
	opts.flags = flags;
	CHECK_OK(dray_device_open(dom, rig->device, &opts, &dev));
	return dev;
}

static struct dray_device *neighbour(const struct rig *rig, struct dray_domain *dom)
{
	struct dray_device_opts opts = rig_device_opts();
	struct dray_device *dev;

	opts.min_align = ALIGN;
	CHECK_OK(dray_device_open(dom, rig->device2, &opts, &dev));
	return dev;
}

/* A domain whose other devices have no more than two granules either. */
static struct dray_domain *tight_domain(const struct rig *rig)
{
	struct dray_domain_opts opts = rig_domain_opts(rig);
	struct dray_domain *dom;

	opts.bounce_bytes = OWN;
	CHECK_OK(dray_domain_open(&opts, &dom));
	return dom;
}

static void map_slot(struct dray_device *dev, char *mem, unsigned i, struct dray_mapping *ret_map)
{
	CHECK_OK(dray_map(dev, mem + i * PAGE + 1, SLOT, DRAY_BIDIRECTIONAL, 0, ret_map));
}

/* Either runs dry alone. */
static void neither_takes_of_the_other(struct rig *rig)
{
	struct dray_domain *dom = tight_domain(rig);
	struct dray_device *dev = owner(rig, dom, OWN, 0), *other = neighbour(rig, dom);
	struct actor *a = actor_open(rig, dev);
	char *mem = rig_pages(2 * SLOTS * PAGE), *theirs = mem + SLOTS * PAGE;
	struct dray_mapping m[SLOTS], n[SLOTS], none;

	for (unsigned round = 0; round < 3; round++) {
		for (unsigned i = 0; i < SLOTS; i++)
			map_slot(dev, mem, i, &m[i]);
		CHECK_ERR(dray_map(dev, mem + 1, SLOT, DRAY_TO_DEVICE, 0, &none), ENOSPC);
		CHECK_WORDS("bounce_bytes");
		/* The others bounce on. */
		for (unsigned i = 0; i < SLOTS; i++)
			map_slot(other, theirs, i, &n[i]);
		CHECK_ERR(dray_map(other, theirs + 1, SLOT, DRAY_TO_DEVICE, 0, &none), ENOSPC);
		CHECK_INT(rig_stats(dom).bounce_mapped_bytes, 2 * OWN);
		CHECK_INT(rig_stats(dom).bounce_used_bytes, 2 * OWN);
		for (unsigned i = 0; i < SLOTS; i++) {
			CHECK_READS(a, m[i].iova, mem + i * PAGE + 1, 64);
			a->ops->write(a, m[i].iova + 100, "mine", 4);
		}
		/* What one gives back is not the other's. */
		dray_unmap(dev, &m[1]);
		CHECK(!memcmp(mem + PAGE + 101, "mine", 4));
		CHECK_ERR(dray_map(other, theirs + 1, SLOT, DRAY_TO_DEVICE, 0, &none), ENOSPC);
		map_slot(dev, mem, 1, &m[1]);
		dray_unmap(other, &n[3]);
		CHECK_ERR(dray_map(dev, mem + 1, SLOT, DRAY_TO_DEVICE, 0, &none), ENOSPC);
		map_slot(other, theirs, 3, &n[3]);
		for (unsigned i = 0; i < SLOTS; i++) {
			dray_unmap(dev, &m[i]);
			dray_unmap(other, &n[i]);
		}
		rig_fill(mem, 2 * SLOTS * PAGE, round);
	}
	CHECK_INT(rig_stats(dom).bounce_used_bytes, 0);
	actor_close(a);
	dray_device_close(other);
	dray_device_close(dev);
	dray_domain_close(dom);
}

/* Its ceiling is not the domain's: larger as well as smaller. */
static void its_own_ceiling(struct rig *rig)
{
	struct dray_domain *dom = tight_domain(rig);
	struct dray_device *dev = owner(rig, dom, 64 * PAGE, 0), *other = neighbour(rig, dom);
	char *mem = rig_pages(66 * PAGE);
	struct dray_mapping m, none;
	int seg;

	CHECK(dray_device_uses_bounce(dev));
	CHECK_INT(dray_max_mapping_size(dev), 63 * PAGE);
	CHECK_INT(dray_max_mapping_size(other), PAGE);
	CHECK_OK(dray_map(dev, mem + 1, 63 * PAGE, DRAY_BIDIRECTIONAL, 0, &m));
	CHECK_ERR(dray_map(other, mem + 1, PAGE + 1, DRAY_BIDIRECTIONAL, 0, &none), EMSGSIZE);
	dray_unmap(dev, &m);
	CHECK_ERR(dray_map(dev, mem + 1, 63 * PAGE + 1, DRAY_BIDIRECTIONAL, 0, &none), EMSGSIZE);
	/* Lists too. */
	for (unsigned round = 0; round < 3; round++) {
		struct dray_sg sg[2] = { { .va = mem + 1, .len = 9 * PAGE },
					 { .va = mem + 20 * PAGE + 1, .len = 9 * PAGE } };

		CHECK_ERR(dray_map_sg(other, sg, 2, DRAY_BIDIRECTIONAL, 0), EMSGSIZE);
		seg = dray_map_sg(dev, sg, 2, DRAY_BIDIRECTIONAL, 0);
		CHECK(seg > 0);
		CHECK(rig_stats(dom).bounce_used_bytes >= 18 * PAGE);
		dray_unmap_sg(dev, sg, 2);
	}
	CHECK_INT(rig_stats(dom).bounce_used_bytes, 0);
	dray_device_close(other);
	dray_device_close(dev);
	dray_domain_close(dom);
}

static void nothing_before_its_first_use(struct rig *rig)
{
	struct dray_domain *dom = rig_domain(rig);
	struct dray_device *dev;
	struct dray_mapping m;
	char *mem = rig_pages(PAGE);
	struct rig_state was;

	was = rig_state(dom);
	dev = owner(rig, dom, 16 * PAGE, 0);
	CHECK_INT(rig_info(dom).mapped_bytes, was.info.mapped_bytes);
	CHECK(!dray_bounce_present(dom));
	CHECK_INT(rig_stats(dom).bounce_mapped_bytes, 0);
	CHECK_OK(dray_map(dev, mem, ALIGN, DRAY_TO_DEVICE, 0, &m));
	dray_unmap(dev, &m);
	CHECK(!dray_bounce_present(dom));
	map_slot(dev, mem, 0, &m);
	CHECK(dray_bounce_present(dom));
	CHECK_INT(rig_stats(dom).bounce_mapped_bytes, 16 * PAGE);
	dray_unmap(dev, &m);
	/* It goes with its device. */
	dray_device_close(dev);
	CHECK(!dray_bounce_present(dom));
	CHECK_INT(rig_stats(dom).bounce_mapped_bytes, 0);
	CHECK_INT(rig_info(dom).mapped_bytes, was.info.mapped_bytes);
	CHECK_INT(rig_info(dom).quarantined_bytes, 0);
	dray_domain_close(dom);
}

static void refused_sizes(struct rig *rig)
{
	struct dray_domain_opts dopts = rig_domain_opts(rig);
	struct dray_device_opts opts = rig_device_opts();
	const size_t wrong[] = { 1, PAGE, OWN - 1, SIZE_MAX };
	struct dray_domain *dom = rig_domain(rig), *never;
	struct dray_device *dev;
	struct rig_state was;

	rig_warm(rig);
	was = rig_state(dom);
	for (unsigned i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		opts.bounce_bytes = wrong[i];
		CHECK_ERR(dray_device_open(dom, rig->device, &opts, &dev), EINVAL);
		CHECK_SAME(dom, &was);
	}
	dopts.flags = DRAY_DOMAIN_NO_BOUNCE;
	CHECK_OK(dray_domain_open(&dopts, &never));
	was = rig_state(never);
	opts.bounce_bytes = OWN;
	CHECK_ERR(dray_device_open(never, rig->device, &opts, &dev), ENOTSUP);
	CHECK_WORDS("NO_BOUNCE");
	CHECK_SAME(never, &was);
	/* Who knows of no such field shares the domain's. */
	opts.size = offsetof(struct dray_device_opts, bounce_bytes);
	opts.bounce_bytes = 1;
	CHECK_OK(dray_device_open(dom, rig->device, &opts, &dev));
	dray_device_close(dev);
	dray_domain_close(never);
	dray_domain_close(dom);
}

/* Whole granules of its own memory, mapped for the call; beside nobody's. */
static void untrusted_owner(struct rig *rig)
{
	struct dray_domain *dom = tight_domain(rig);
	struct dray_device *dev = owner(rig, dom, OWN, DRAY_DEVICE_UNTRUSTED);
	struct dray_device *other = neighbour(rig, dom);
	struct actor *a = actor_open(rig, dev);
	char *mem = rig_pages(4 * PAGE), zero[64] = { 0 }, got[64];
	struct dray_mapping m[2], n[2], none;
	dray_iova_t at;

	for (unsigned i = 0; i < 2; i++) {
		CHECK_OK(dray_map(dev, mem + i * PAGE + ALIGN, 64, DRAY_BIDIRECTIONAL, 0, &m[i]));
		CHECK_OK(dray_map(other, mem + i * PAGE + ALIGN, 64, DRAY_BIDIRECTIONAL, 0, &n[i]));
	}
	CHECK_ERR(dray_map(dev, mem + ALIGN, 64, DRAY_TO_DEVICE, 0, &none), ENOSPC);
	CHECK_ERR(dray_map(other, mem + ALIGN, 64, DRAY_TO_DEVICE, 0, &none), ENOSPC);
	CHECK(!dray_bounce_present(dom));
	CHECK_READS(a, m[1].iova, mem + PAGE + ALIGN, 64);
	a->ops->read(a, m[1].iova + 64, got, sizeof(got));
	CHECK(!memcmp(got, zero, sizeof(got)));
	at = m[1].iova;
	dray_unmap(dev, &m[1]);
	CHECK_NO_READ(a, at, mem + PAGE + ALIGN, 64);
	CHECK_ERR(dray_map(other, mem + ALIGN, 64, DRAY_TO_DEVICE, 0, &none), ENOSPC);
	CHECK_OK(dray_map(dev, mem + ALIGN, 64, DRAY_TO_DEVICE, 0, &m[1]));
	for (unsigned i = 0; i < 2; i++) {
		dray_unmap(dev, &m[i]);
		dray_unmap(other, &n[i]);
	}
	/* An idle pool, its own or another's, is no reason not to let one join; a slot is. */
	actor_close(a);
	dray_device_close(dev);
	dev = owner(rig, dom, OWN, 0);
	map_slot(dev, mem, 0, &m[0]);
	dray_device_close(other);
	CHECK_ERR(dray_device_open(dom, rig->device2, &(struct dray_device_opts){
		.size = sizeof(struct dray_device_opts), .flags = DRAY_DEVICE_UNTRUSTED }, &other),
		  EBUSY);
	CHECK_INT(rig_stats(dom).bounce_mapped_bytes, OWN);
	dray_unmap(dev, &m[0]);
	CHECK_OK(dray_device_open(dom, rig->device2, &(struct dray_device_opts){
		.size = sizeof(struct dray_device_opts), .flags = DRAY_DEVICE_UNTRUSTED }, &other));
	CHECK(!dray_bounce_present(dom));
	map_slot(dev, mem, 0, &m[0]);
	CHECK(!dray_bounce_present(dom));
	dray_unmap(dev, &m[0]);
	dray_device_close(other);
	dray_device_close(dev);
	dray_domain_close(dom);
}

/* Memory mapped before a narrow device came, and a mask that comes down while a pool is there. */
static void narrow_owner(struct rig *rig)
{
	struct dray_device_opts opts = rig_device_opts();
	struct dray_domain *dom = rig_domain(rig);
	char *mem = rig_pages(4 * PAGE);
	struct dray_device *wide, *dev;
	struct dray_region *region;
	struct dray_mapping m, n;
	struct actor *a;
	uint64_t mask;

	opts.dma_mask = 0;
	CHECK_OK(dray_device_open(dom, rig->device2, &opts, &wide));
	CHECK_OK(dray_region_register_at(dom, HIGH, mem, 4 * PAGE, 0, &region));
	opts.dma_mask = RIG_MASK;
	opts.bounce_bytes = OWN;
	CHECK_OK(dray_device_open(dom, rig->device, &opts, &dev));
	a = actor_open(rig, dev);
	CHECK_OK(dray_map(dev, mem + 10, 1000, DRAY_BIDIRECTIONAL, 0, &m));
	CHECK(m.iova + 999 <= RIG_MASK);
	CHECK_INT(rig_stats(dom).bounce_mask, 1);
	CHECK_INT(rig_stats(dom).bounce_mapped_bytes, OWN);
	CHECK_READS(a, m.iova, mem + 10, 64);
	a->ops->write(a, m.iova, "both ways", 9);
	dray_unmap(dev, &m);
	CHECK(!memcmp(mem + 10, "both ways", 9));
	actor_close(a);
	dray_device_close(dev);

	opts.dma_mask = 0;
	opts.min_align = ALIGN;
	CHECK_OK(dray_device_open(dom, rig->device, &opts, &dev));
	CHECK_OK(dray_region_unregister(region));
	map_slot(dev, mem, 0, &m);
	/* The highest mask that leaves the slot above it. */
	mask = (UINT64_C(1) << (63 - __builtin_clzll(m.iova))) - 1;
	CHECK_ERR(dray_device_set_mask(dev, mask), EBUSY);
	dray_unmap(dev, &m);
	CHECK_OK(dray_device_set_mask(dev, mask));
	map_slot(dev, mem, 0, &m);
	map_slot(dev, mem, 1, &n);
	CHECK(m.iova + SLOT - 1 <= mask && n.iova + SLOT - 1 <= mask);
	CHECK_INT(rig_stats(dom).bounce_mapped_bytes, OWN);
	dray_unmap(dev, &m);
	dray_unmap(dev, &n);
	dray_device_close(dev);
	dray_device_close(wide);
	dray_domain_close(dom);
}

/* Closed with copies out: they are taken back, their memory with them. */
static void closed_with_copies_out(struct rig *rig)
{
	struct dray_domain *dom = rig_domain(rig);
	char *mem = rig_pages(SLOTS * PAGE);
	struct dray_mapping m[SLOTS];
	struct dray_device *dev;
	struct rig_state was;

	rig_warm(rig);
	was = rig_state(dom);
	dev = owner(rig, dom, OWN, 0);
	for (unsigned i = 0; i < SLOTS; i++)
		map_slot(dev, mem, i, &m[i]);
	dray_device_close(dev);
	CHECK_INT(rig_stats(dom).leaks, SLOTS);
	CHECK_INT(rig_stats(dom).bounce_used_bytes, 0);
	CHECK(!dray_bounce_present(dom));
	CHECK_INT(rig_info(dom).mapped_bytes, was.info.mapped_bytes);
	CHECK_INT(rig_state(dom).live_bytes, was.live_bytes);
	CHECK_INT(rig_info(dom).quarantined_bytes, 0);
	dray_domain_close(dom);
}

/* It has its own wherever it is; what it left out stays until it is taken back. */
static void moves_with_its_device(struct rig *rig)
{
	struct dray_domain *from = rig_domain(rig), *to = tight_domain(rig), *never, *blocked;
	struct dray_domain_opts dopts = rig_domain_opts(rig);
	struct dray_device *dev = owner(rig, from, OWN, 0), *other;
	char *mem = rig_pages(2 * SLOTS * PAGE);
	struct dray_mapping m[SLOTS], n[SLOTS], none;
	struct rig_state was;
	char *copy;

	map_slot(dev, mem, 0, &m[0]);
	if (!rig_is_sim(rig)) {
		CHECK_ERR(dray_device_set_domain(dev, to), ENOTSUP);
		CHECK_INT(rig_stats(to).bounce_mapped_bytes, 0);
		dray_unmap(dev, &m[0]);
		dray_device_close(dev);
		dray_domain_close(to);
		dray_domain_close(from);
		return;
	}
	copy = dray_iova_to_va(from, m[0].iova);
	CHECK(copy && copy != mem + 1);
	other = neighbour(rig, to);
	was = rig_state(to);
	CHECK_OK(dray_device_set_domain(dev, to));
	CHECK_INT(rig_info(to).mapped_bytes, was.info.mapped_bytes);
	for (unsigned i = 0; i < SLOTS; i++)
		map_slot(dev, mem + SLOTS * PAGE, i, &n[i]);
	CHECK_ERR(dray_map(dev, mem + 1, SLOT, DRAY_TO_DEVICE, 0, &none), ENOSPC);
	map_slot(other, mem, 1, &m[1]);
	/* The receipt of before: still there, and its own. */
	CHECK(dray_iova_to_va(from, m[0].iova) == copy);
	CHECK_INT(rig_stats(from).bounce_used_bytes, 2048);
	memcpy(copy + 9, "written", 7);
	CHECK_OK(dray_sync_for_cpu(dev, &m[0], 9, 4));
	CHECK(!memcmp(mem + 10, "writ", 4) && memcmp(mem + 10, "written", 7));
	dray_unmap(dev, &m[0]);
	CHECK(!memcmp(mem + 10, "written", 7));
	CHECK_INT(rig_stats(from).bounce_used_bytes, 0);
	/* Back, and forth: what is left behind idle goes at once. */
	CHECK_OK(dray_device_set_domain(dev, from));
	map_slot(dev, mem, 0, &m[0]);
	dray_unmap(dev, &m[0]);
	CHECK_OK(dray_device_set_domain(dev, to));
	CHECK(!dray_bounce_present(from));
	for (unsigned i = 0; i < SLOTS; i++)
		dray_unmap(dev, &n[i]);
	dray_unmap(other, &m[1]);
	/* Where copies are forbidden it cannot go; where there are none it can. */
	dopts.flags = DRAY_DOMAIN_NO_BOUNCE;
	CHECK_OK(dray_domain_open(&dopts, &never));
	CHECK_ERR(dray_device_set_domain(dev, never), ENOTSUP);
	CHECK(dray_device_get_domain(dev) == to);
	CHECK_INT(rig_info(never).devices, 0);
	map_slot(dev, mem, 0, &m[0]);
	blocked = rig_domain_as(rig, DRAY_DOMAIN_BLOCKED);
	CHECK_OK(dray_device_set_domain(dev, blocked));
	CHECK_ERR(dray_map(dev, mem + 1, SLOT, DRAY_TO_DEVICE, 0, &none), EPERM);
	CHECK_OK(dray_device_set_domain(dev, from));
	map_slot(dev, mem, 1, &m[1]);
	/* Closed while receipts are out in two domains. */
	dray_device_close(dev);
	CHECK_INT(rig_stats(from).leaks, 1);
	CHECK_INT(rig_stats(to).leaks, 1);
	CHECK(!dray_bounce_present(from));
	CHECK_INT(rig_stats(from).bounce_mapped_bytes + rig_stats(from).bounce_used_bytes, 0);
	dray_device_close(other);
	dray_domain_close(never);
	dray_domain_close(blocked);
	dray_domain_close(to);
	dray_domain_close(from);
}

/* Where a copy would only be cheaper, a full pool means a mapping; too long for a slot, likewise. */
static void cheaper_is_no_must(struct rig *rig)
{
	struct dray_domain_opts dopts = rig_domain_opts(rig);
	struct dray_device_opts opts = rig_device_opts();
	char *mem = rig_pages(8 * PAGE);
	struct dray_mapping m[3];
	struct dray_domain *dom;
	struct dray_device *dev;

	dopts.bounce_threshold = 4 * PAGE;
	CHECK_OK(dray_domain_open(&dopts, &dom));
	opts.bounce_bytes = OWN;
	CHECK_OK(dray_device_open(dom, rig->device, &opts, &dev));
	CHECK_OK(dray_map(dev, mem, PAGE, DRAY_BIDIRECTIONAL, 0, &m[0]));
	CHECK_OK(dray_map(dev, mem + PAGE, PAGE, DRAY_BIDIRECTIONAL, 0, &m[1]));
	CHECK_INT(rig_stats(dom).bounce_cheaper, 2);
	CHECK_OK(dray_map(dev, mem + 2 * PAGE, PAGE, DRAY_BIDIRECTIONAL, 0, &m[2]));
	CHECK(dray_iova_to_va(dom, m[2].iova) == mem + 2 * PAGE);
	dray_unmap(dev, &m[2]);
	CHECK_INT(rig_stats(dom).bounce_failures, 1);
	CHECK_OK(dray_map(dev, mem, 2 * PAGE, DRAY_BIDIRECTIONAL, 0, &m[2]));
	CHECK(dray_iova_to_va(dom, m[2].iova) == mem);
	CHECK_INT(rig_stats(dom).bounce_failures, 1);
	for (unsigned i = 0; i < 3; i++)
		dray_unmap(dev, &m[i]);
	dray_device_close(dev);
	dray_domain_close(dom);
}

const struct contract_case ownpool_cases[] = {
	{ "neither_takes_of_the_other", "E05", neither_takes_of_the_other },
	{ "its_own_ceiling", "E05 B14", its_own_ceiling },
	{ "nothing_before_its_first_use", "E05", nothing_before_its_first_use },
	{ "refused_sizes", "E05", refused_sizes },
	{ "untrusted_owner", "E05 D09", untrusted_owner },
	{ "narrow_owner", "E05 D05", narrow_owner },
	{ "closed_with_copies_out", "E05", closed_with_copies_out },
	{ "moves_with_its_device", "E05", moves_with_its_device },
	{ "cheaper_is_no_must", "E05 E11", cheaper_is_no_must },
	{ NULL },
};
