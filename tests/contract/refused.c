// SPDX-License-Identifier: BSD-2-Clause
/* Unmaps that the backend refuses, or does not do as asked: quarantined, counted, told. */
#include "actor.h"
#include "world.h"
#include "domain/domain.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#define AT UINT64_C(0x1400000)

/* [first, first + len) is lost to everyone: neither by choice nor by luck is it given again. */
static void check_never_given(struct dray_domain *dom, struct dray_device *dev, dray_iova_t first,
			      size_t len, void *va)
{
	struct dray_mapping m;

	CHECK_ERR(dray_map_fixed(dev, first, va, PAGE, DRAY_TO_DEVICE, 0, &m), EEXIST);
	CHECK_ERR(dray_map_fixed(dev, first + len - PAGE, va, PAGE, DRAY_TO_DEVICE, 0, &m), EEXIST);
	CHECK_ERR(dray_domain_map(dom, first, va, PAGE, DRAY_PROT_READ, 0), EEXIST);
	CHECK_ERR(dray_domain_reserve(dom, first, first + PAGE - 1, 0), EEXIST);
	for (int i = 0; i < 64; i++) {
		CHECK_OK(dray_map(dev, va, PAGE, DRAY_TO_DEVICE, 0, &m));
		CHECK(m.iova >= first + len || m.iova + PAGE <= first);
		dray_unmap(dev, &m);
	}
}

static void refused_unmap_is_quarantined(struct rig *rig)
{
	struct dray_domain *dom = rig_domain(rig);
	struct dray_device *dev = rig_device(rig, dom, NULL);
	struct actor *a = actor_open(rig, dev);
	char *mem = rig_pages(2 * PAGE);
	struct dray_stats was = rig_stats(dom), now;
	struct dray_domain_info info;
	struct dray_mapping m;
	dray_iova_t iova;

	CHECK_OK(dray_map(dev, mem, PAGE, DRAY_BIDIRECTIONAL, 0, &m));
	iova = m.iova;
	rig_refuse_unmap(rig, dom);
	dray_unmap(dev, &m);
	CHECK(!m.cookie[0]);
	now = rig_stats(dom);
	info = rig_info(dom);
	CHECK_INT(now.unmap_errors, 1);
	CHECK_INT(now.unmap_bytes, was.unmap_bytes);
	CHECK_INT(info.damaged, 1);
	CHECK_INT(info.quarantined_bytes, PAGE);
	CHECK(strstr(rig_logged(), "quarantined"));
	/* It was refused: it is still there, and nobody pretends otherwise. */
	CHECK_READS(a, iova, mem, 64);
	check_never_given(dom, dev, iova, PAGE, mem + PAGE);
	CHECK_READS(a, iova, mem, 64);
	/* A damaged domain keeps working. */
	CHECK_OK(dray_map(dev, mem + PAGE, PAGE, DRAY_BIDIRECTIONAL, 0, &m));
	CHECK_WRITES(a, m.iova, mem + PAGE, 64);
	dray_unmap(dev, &m);
	CHECK_INT(rig_info(dom).quarantined_bytes, PAGE);
	actor_close(a);
	dray_device_close(dev);
	dray_domain_close(dom);
}

static void refused_explicit_unmap_is_told(struct rig *rig)
{
	struct dray_domain *dom = rig_domain(rig);
	struct dray_device *dev = rig_device(rig, dom, NULL);
	char *mem = rig_pages(3 * PAGE);

	for (int i = 0; i < 3; i++)
		CHECK_OK(dray_domain_map(dom, AT + i * PAGE, mem + i * PAGE, PAGE, DRAY_PROT_READ,
					 0));
	/* The first of three is refused, the others go. */
	rig_refuse_unmap(rig, dom);
	CHECK_ERR(dray_domain_unmap(dom, AT, 3 * PAGE), EIO);
	CHECK_WORDS("refused", "quarantined");
	CHECK_INT(rig_info(dom).damaged, 1);
	CHECK_INT(rig_info(dom).quarantined_bytes, PAGE);
	CHECK_INT(rig_stats(dom).unmaps, 2);
	CHECK(!dray_iova_to_va(dom, AT + PAGE) && !dray_iova_to_va(dom, AT + 2 * PAGE));
	check_never_given(dom, dev, AT, PAGE, mem + PAGE);
	/* It is nobody's mapping any more; asking again changes nothing. */
	CHECK_ERR(dray_domain_unmap(dom, AT, PAGE), EINVAL);
	CHECK_INT(rig_info(dom).quarantined_bytes, PAGE);
	CHECK_OK(dray_domain_map(dom, AT + PAGE, mem, PAGE, DRAY_PROT_READ, 0));
	CHECK_OK(dray_domain_unmap(dom, AT + PAGE, PAGE));
	dray_device_close(dev);
	dray_domain_close(dom);
}

/* Refused at granule 2 of 4: two are gone, two are there, all four are lost. */
static void unmap_that_stops_half_way(struct rig *rig)
{
	struct dray_domain *dom = rig_domain(rig);
	char *mem = rig_pages(4 * PAGE);
	struct dray_device *dev;
	struct dray_mapping m;
	struct actor *a;

	if (!rig_is_sim(rig))
		rig_set_max_op(dom, 2 * PAGE);
	dev = rig_device(rig, dom, NULL);
	a = actor_open(rig, dev);
	CHECK_OK(dray_map_fixed(dev, AT, mem, 4 * PAGE, DRAY_BIDIRECTIONAL, 0, &m));
	CHECK_READS(a, AT + PAGE, mem + PAGE, 64);
	rig_refuse_unmap_after(rig, dom, 2 * PAGE);
	dray_unmap(dev, &m);
	CHECK_BLOCKED(a, AT, mem, 64);
	CHECK_BLOCKED(a, AT + PAGE, mem + PAGE, 64);
	CHECK_READS(a, AT + 2 * PAGE, mem + 2 * PAGE, 64);
	CHECK_READS(a, AT + 3 * PAGE, mem + 3 * PAGE, 64);
	CHECK_INT(rig_info(dom).quarantined_bytes, 4 * PAGE);
	check_never_given(dom, dev, AT, 4 * PAGE, mem);
	actor_close(a);
	dray_device_close(dev);
	CHECK_INT(rig_stats(dom).leaks, 0);
	dray_domain_close(dom);
}

/*
 * The unmap succeeds and reports less than was asked: not success, never. On type1 the kernel says
 * so; on sim, where nothing is asked for, all of it has been cleared behind dray's back.
 */
static void short_unmap_is_an_error(struct rig *rig)
{
	static const size_t reported[] = { 0, PAGE };
	struct dray_domain *dom = rig_domain(rig);
	struct dray_device *dev = rig_device(rig, dom, NULL);
	char *mem = rig_pages(4 * PAGE);
	struct dray_mapping m;

	for (unsigned i = 0; i < (rig_is_sim(rig) ? 1 : 2); i++) {
		dray_iova_t iova = AT + i * 16 * PAGE;

		CHECK_OK(dray_map_fixed(dev, iova, mem, 4 * PAGE, DRAY_BIDIRECTIONAL, 0, &m));
		if (rig_is_sim(rig))
			dr_pgtable_clear(dom->io.pt, iova, 4 * PAGE);
		else
			world_short_unmap(1, reported[i]);
		dray_unmap(dev, &m);
		CHECK_INT(rig_stats(dom).unmap_errors, i + 1);
		CHECK_INT(rig_info(dom).quarantined_bytes, (i + 1) * 4 * PAGE);
		CHECK_INT(rig_info(dom).damaged, 1);
		CHECK(!dray_iova_to_va(dom, iova));
		check_never_given(dom, dev, iova, 4 * PAGE, mem);
	}
	if (!rig_is_sim(rig)) {
		CHECK_OK(dray_domain_map(dom, AT + 64 * PAGE, mem, PAGE, DRAY_PROT_READ, 0));
		world_short_unmap(1, 0);
		CHECK_ERR(dray_domain_unmap(dom, AT + 64 * PAGE, PAGE), EIO);
	}
	dray_device_close(dev);
	dray_domain_close(dom);
}

/*
 * A map fails in its third piece and the undoing of its first is refused: the map has failed with
 * its own reason, and the address is lost.
 */
static void refused_while_undoing(struct rig *rig)
{
	struct dray_domain *dom = rig_domain(rig);
	char *mem = rig_pages(6 * PAGE);
	struct dray_device *dev;
	struct dray_mapping m;

	rig_set_max_op(dom, 2 * PAGE);
	dev = rig_device(rig, dom, NULL);
	CHECK(!mprotect(mem + 5 * PAGE, PAGE, PROT_NONE));
	rig_refuse_unmap(rig, dom);
	CHECK_ERR(dray_map_fixed(dev, AT, mem, 6 * PAGE, DRAY_BIDIRECTIONAL, 0, &m), EFAULT);
	CHECK_INT(rig_info(dom).quarantined_bytes, 6 * PAGE);
	CHECK_INT(rig_info(dom).damaged, 1);
	CHECK_INT(rig_stats(dom).map_failures, 1);
	check_never_given(dom, dev, AT, 6 * PAGE, mem);
	dray_device_close(dev);
	dray_domain_close(dom);
}

/* A refused unmap ends its receipt once: neither device nor domain waits for it or counts it again. */
static void refused_unmap_holds_nobody(struct rig *rig)
{
	struct dray_domain *dom = rig_domain(rig);
	struct dray_device *dev = rig_device(rig, dom, NULL);
	struct dray_mapping m, out;
	char *mem = rig_pages(2 * PAGE);
	long blocks;

	/* What stays for ever after the first time. */
	dray_device_close(dev);
	dray_domain_close(dom);
	blocks = world_blocks();
	dom = rig_domain(rig);
	dev = rig_device(rig, dom, NULL);
	CHECK_OK(dray_map(dev, mem, PAGE, DRAY_BIDIRECTIONAL, 0, &m));
	CHECK_OK(dray_map(dev, mem + PAGE, PAGE, DRAY_BIDIRECTIONAL, 0, &out));
	CHECK_OK(dray_domain_map(dom, AT, mem, PAGE, DRAY_PROT_READ, 0));
	rig_refuse_unmap(rig, dom);
	dray_unmap(dev, &m);
	rig_refuse_unmap(rig, dom);
	CHECK_ERR(dray_domain_unmap(dom, AT, PAGE), EIO);
	dray_device_close(dev);
	/* The one that was live is the one that leaked. */
	CHECK_INT(rig_stats(dom).leaks, 1);
	dray_domain_close(dom);
	CHECK_INT(world_blocks(), blocks);
}

const struct contract_case refused_cases[] = {
	{ "refused_unmap_is_quarantined", "B02", refused_unmap_is_quarantined },
	{ "refused_explicit_unmap_is_told", "B02", refused_explicit_unmap_is_told },
	{ "unmap_that_stops_half_way", "B02", unmap_that_stops_half_way },
	{ "short_unmap_is_an_error", "B03", short_unmap_is_an_error },
	{ "refused_while_undoing", "B02 B04", refused_while_undoing },
	{ "refused_unmap_holds_nobody", "B02 B10", refused_unmap_holds_nobody },
	{ NULL },
};
