// SPDX-License-Identifier: BSD-2-Clause
/*
 * Fail the nth call of each kind, for every n until none fails: the call under test then fails with
 * an error, not a crash, and leaves everything as it was. The whole of the scripted kernel's errors
 * is gone through in tests/fault; here it is the calls that the backend in use really makes.
 */
#include "rig.h"
#include "world.h"

#include <errno.h>

/* Kinds that open, attach and map go through. */
static const struct { enum world_call call; int err; } kinds[] = {
	{ WORLD_ALLOC, ENOMEM },
	{ WORLD_MMAP, ENOMEM },
	{ WORLD_OPEN, EMFILE },
	{ WORLD_IOCTL, EIO },
	{ WORLD_IOCTL, ENOMEM },
};
#define KINDS (sizeof(kinds) / sizeof(kinds[0]))

/* How many different calls failed in all: the test is no test if none did. */
static void check_hurt(const struct rig *rig, const unsigned *hurt)
{
	CHECK(hurt[0] > 0);
	if (!rig_is_sim(rig))
		CHECK(hurt[3] > 0);
}

static void domain_open_fails_whole(struct rig *rig)
{
	unsigned hurt[KINDS] = { 0 };
	struct dray_domain_opts opts = rig_domain_opts(rig);
	struct dray_domain *dom;

	rig_warm(rig);
	for (size_t k = 0; k < KINDS; k++) {
		for (unsigned n = 1;; n++) {
			long blocks = world_blocks();
			int fds = world_fds(), err;

			dom = NULL;
			world_fail_nth(kinds[k].call, n, kinds[k].err);
			err = dray_domain_open(&opts, &dom);
			/* A file that tells a limit may be unreadable; a default stands in. */
			if (!err) {
				bool fired = world_fired(kinds[k].call);

				world_fail_nth(kinds[k].call, 0, 0);
				dray_domain_close(dom);
				CHECK_INT(world_blocks(), blocks);
				CHECK_INT(world_fds(), fds);
				if (!fired)
					break;
				continue;
			}
			CHECK(err < 0 && !dom);
			CHECK_INT(world_blocks(), blocks);
			CHECK_INT(world_fds(), fds);
			hurt[k]++;
		}
	}
	check_hurt(rig, hurt);
}

static void device_open_fails_whole(struct rig *rig)
{
	struct dray_device_opts opts = rig_device_opts();
	struct dray_domain *dom = rig_domain(rig);
	char *mem = rig_pages(2 * PAGE);
	unsigned hurt[KINDS] = { 0 };
	struct dray_device *dev;

	rig_warm(rig);
	CHECK_OK(dray_domain_map(dom, 0x4000000, mem, PAGE, DRAY_PROT_READ, 0));
	CHECK_OK(dray_domain_map(dom, 0x4001000, mem + PAGE, PAGE, DRAY_PROT_READ, 0));
	for (size_t k = 0; k < KINDS; k++) {
		for (unsigned n = 1;; n++) {
			struct rig_state was = rig_state(dom);
			bool fired;
			int err;

			dev = NULL;
			world_fail_nth(kinds[k].call, n, kinds[k].err);
			err = dray_device_open(dom, rig->device, &opts, &dev);
			fired = world_fired(kinds[k].call);
			world_fail_nth(kinds[k].call, 0, 0);
			if (!err)
				dray_device_close(dev);
			CHECK((err < 0) == !dev);
			CHECK_SAME(dom, &was);
			if (!fired)
				break;
			hurt[k] += err < 0;
		}
	}
	check_hurt(rig, hurt);
	dray_device_close(rig_device(rig, dom, NULL));
	dray_domain_close(dom);
}

struct mapper {
	struct dray_domain *dom;
	struct dray_device *dev;
	char *mem;
	unsigned turn;
};

/* The kind of call k, for maps: undoing one may not fail here, refused.c is about that. */
static enum world_call map_kind(size_t k)
{
	return kinds[k].call == WORLD_IOCTL ? WORLD_IOCTL_MAP : kinds[k].call;
}

/* One map of each kind, undone when it succeeded. */
static int try_map(struct mapper *t)
{
	struct dray_mapping m = { 0 };
	int err = dray_map(t->dev, t->mem, 3 * PAGE, DRAY_TO_DEVICE, 0, &m);

	dray_unmap(t->dev, &m);
	return err;
}

static int try_fixed(struct mapper *t)
{
	/* A place of its own each time, so that tables are needed. */
	dray_iova_t iova = 0x5000000 + t->turn * LARGE - PAGE;
	struct dray_mapping m = { 0 };
	int err = dray_map_fixed(t->dev, iova, t->mem, 3 * PAGE, DRAY_BIDIRECTIONAL, 0, &m);

	dray_unmap(t->dev, &m);
	return err;
}

static int try_explicit(struct mapper *t)
{
	dray_iova_t iova = UINT64_C(0x100000000) * (1 + t->turn);
	int err = dray_domain_map(t->dom, iova, t->mem, 3 * PAGE, DRAY_PROT_READ, 0);

	if (!err)
		CHECK_OK(dray_domain_unmap(t->dom, iova, 3 * PAGE));
	return err;
}

static int try_coherent(struct mapper *t)
{
	struct dray_mapping m = { 0 };
	void *va = NULL;
	int err = dray_coherent_alloc(t->dev, 2 * PAGE, 0, &va, &m);

	dray_coherent_free(t->dev, va, &m);
	return err;
}

static void maps_fail_whole(struct rig *rig)
{
	static int (*const tries[])(struct mapper *) = {
		try_map, try_fixed, try_explicit, try_coherent,
	};
	unsigned hurt[KINDS] = { 0 };
	struct mapper t = { .dom = rig_domain(rig), .mem = rig_pages(3 * PAGE) };

	t.dev = rig_device(rig, t.dom, NULL);
	rig_set_max_op(t.dom, 2 * PAGE);
	CHECK_OK(try_map(&t));
	for (size_t i = 0; i < 4; i++) {
		for (size_t k = 0; k < KINDS; k++) {
			for (unsigned n = 1;; n++) {
				struct rig_state was = rig_state(t.dom);
				uint64_t maps;
				bool fired;
				int err;

				t.turn++;
				world_fail_nth(map_kind(k), n, kinds[k].err);
				err = tries[i](&t);
				fired = world_fired(map_kind(k));
				world_fail_nth(map_kind(k), 0, 0);
				maps = rig_stats(t.dom).maps;
				CHECK_INT(maps, was.maps + !err);
				was.maps = was.unmaps = maps;
				CHECK_SAME(t.dom, &was);
				if (!fired)
					break;
				hurt[k] += err < 0;
			}
		}
	}
	check_hurt(rig, hurt);
	dray_device_close(t.dev);
	dray_domain_close(t.dom);
}

const struct contract_case inject_cases[] = {
	{ "domain_open_fails_whole", "H06", domain_open_fails_whole },
	{ "device_open_fails_whole", "H06 D17", device_open_fails_whole },
	{ "maps_fail_whole", "H06 B04", maps_fail_whole },
	{ NULL },
};
