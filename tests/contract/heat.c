// SPDX-License-Identifier: BSD-2-Clause
/* Where a domain's IOVAs lie, and what for: mapped, waiting for a flush, reserved, held by caches. */
#include "actor.h"

#include <dray/iova.h>

#include <errno.h>
#include <string.h>

#define BASE  UINT64_C(0x8000000)
#define CELLS 16
#define MIB   ((uint64_t)1 << 20)

static struct dray_domain *open_small(const struct rig *rig, uint32_t invalidation)
{
	struct dray_domain_opts opts = rig_domain_opts(rig);
	struct dray_domain *dom = NULL;

	opts.first = BASE;
	opts.last = BASE + CELLS * MIB - 1;
	opts.invalidation = invalidation;
	opts.flags |= DRAY_DOMAIN_POLLED;
	opts.flush_timeout_us = 60u * 1000 * 1000;
	CHECK_OK(dray_domain_open(&opts, &dom));
	return dom;
}

static struct dray_iova_cell total(const struct dray_domain *dom)
{
	struct dray_iova_cell all;

	CHECK_OK(dray_domain_heat(dom, 0, DRAY_IOVA_NONE, 1, &all));
	CHECK_INT(all.live + all.retired + all.cached + all.chunk_free + all.slack + all.reserved +
		  all.quarantined + all.free, CELLS * MIB / PAGE);
	return all;
}

static void mapped_and_reserved(struct rig *rig)
{
	struct dray_domain *dom = open_small(rig, DRAY_STRICT);
	struct dray_device *dev = rig_device(rig, dom, NULL);
	struct dray_iova_cell cells[CELLS], was = total(dom), now;
	char *mem = rig_pages(4 * PAGE);
	struct dray_mapping m;

	CHECK_OK(dray_domain_reserve(dom, BASE + 2 * MIB, BASE + 3 * MIB - 1, DRAY_RESERVE_FIXED));
	CHECK_OK(dray_domain_reserve(dom, BASE + 4 * MIB, BASE + 5 * MIB - 1, DRAY_RESERVE_HOLE));
	CHECK_OK(dray_domain_map(dom, BASE + 2 * MIB, mem, 4 * PAGE, DRAY_PROT_READ, 0));
	CHECK_OK(dray_domain_heat(dom, BASE, BASE + CELLS * MIB - 1, CELLS, cells));
	for (unsigned i = 0; i < CELLS; i++)
		CHECK_INT(cells[i].first, BASE + i * MIB);
	CHECK_INT(cells[2].live, 4);
	CHECK_INT(cells[2].reserved, MIB / PAGE - 4);
	CHECK_INT(cells[4].reserved, MIB / PAGE);
	CHECK_INT(cells[5].reserved + cells[5].live, 0);
	CHECK_OK(dray_map(dev, mem, 4 * PAGE, DRAY_BIDIRECTIONAL, 0, &m));
	CHECK_OK(dray_domain_heat(dom, BASE, BASE + CELLS * MIB - 1, CELLS, cells));
	now = total(dom);
	CHECK_INT(now.live, was.live + 8);
	CHECK(cells[(m.iova - BASE) / MIB].live >= 4);
	dray_unmap(dev, &m);
	CHECK_OK(dray_domain_unmap(dom, BASE + 2 * MIB, 4 * PAGE));
	CHECK_INT(total(dom).live, was.live);
	dray_device_close(dev);
	dray_domain_close(dom);
}

static void waiting_for_a_flush(struct rig *rig)
{
	struct dray_domain *dom = open_small(rig, DRAY_LAZY);
	struct dray_device *dev = rig_device(rig, dom, NULL);
	struct dray_iova_cell was = total(dom), now;
	char *mem = rig_pages(2 * PAGE);
	struct dray_mapping m;

	CHECK_OK(dray_map(dev, mem, 2 * PAGE, DRAY_BIDIRECTIONAL, 0, &m));
	now = total(dom);
	CHECK_INT(now.live, was.live + 2);
	CHECK_INT(now.retired, 0);
	dray_unmap(dev, &m);
	now = total(dom);
	CHECK_INT(now.live, was.live);
	CHECK_INT(now.retired, 2);
	CHECK_OK(dray_flush(dom));
	now = total(dom);
	CHECK_INT(now.live + now.retired, was.live);
	dray_device_close(dev);
	dray_domain_close(dom);
}

static void wrong_arguments(struct rig *rig)
{
	struct dray_domain *dom = open_small(rig, DRAY_STRICT);
	struct dray_iova_cell cell;

	CHECK_ERR(dray_domain_heat(NULL, 0, DRAY_IOVA_NONE, 1, &cell), EINVAL);
	CHECK_ERR(dray_domain_heat(dom, 0, DRAY_IOVA_NONE, 0, &cell), EINVAL);
	CHECK_ERR(dray_domain_heat(dom, 0, DRAY_IOVA_NONE, 1, NULL), EINVAL);
	CHECK_ERR(dray_domain_heat(dom, BASE + 1, BASE + PAGE - 1, 1, &cell), EINVAL);
	CHECK_ERR(dray_domain_heat(dom, BASE, BASE + PAGE, 1, &cell), EINVAL);
	CHECK_ERR(dray_domain_heat(dom, BASE + PAGE, BASE + PAGE - 1, 1, &cell), EINVAL);
	CHECK_WORDS("granules");
	dray_domain_close(dom);
}

const struct contract_case heat_cases[] = {
	{ "mapped_and_reserved", "A11", mapped_and_reserved },
	{ "waiting_for_a_flush", "A11", waiting_for_a_flush },
	{ "wrong_arguments", "A11", wrong_arguments },
	{ NULL },
};
