// SPDX-License-Identifier: BSD-2-Clause
/* Requests larger than one backend call: cut, and undone as a whole when a piece fails. */
#include "actor.h"
#include "world.h"

#include <errno.h>
#include <sys/mman.h>

#define PIECE  (16 * PAGE)
#define PIECES 5
#define AT     UINT64_C(0x1000000)

/* Five pieces, the last one short. */
#define LEN (PIECE * (PIECES - 1) + 3 * PAGE)

struct cut {
	struct dray_domain *dom;
	struct dray_device *dev;
	char *mem;
};

static struct cut cut_open(const struct rig *rig)
{
	struct cut c = { .dom = rig_domain(rig), .mem = rig_pages(LEN) };

	rig_set_max_op(c.dom, PIECE);
	c.dev = rig_device(rig, c.dom, NULL);
	return c;
}

static void cut_close(struct cut *c)
{
	dray_device_close(c->dev);
	dray_domain_close(c->dom);
}

static void large_map_is_cut(struct rig *rig)
{
	struct cut c = cut_open(rig);
	struct actor *a = actor_open(rig, c.dev);
	struct dray_stats was = rig_stats(c.dom), now;
	uint64_t left = rig_info(c.dom).entries_left;
	struct dray_mapping m;
	dray_iova_t iova;

	CHECK_INT(rig_info(c.dom).max_op, PIECE);
	CHECK_OK(dray_map(c.dev, c.mem, LEN, DRAY_BIDIRECTIONAL, 0, &m));
	iova = m.iova;
	now = rig_stats(c.dom);
	CHECK_INT(now.backend_maps - was.backend_maps, PIECES);
	CHECK_INT(now.map_bytes - was.map_bytes, LEN);
	CHECK_INT(now.maps - was.maps, 1);
	if (!rig_is_sim(rig))
		CHECK_INT(rig_info(c.dom).entries_left, left - PIECES);
	/* Across the cut, and at both ends. */
	CHECK_READS(a, iova, c.mem, 64);
	CHECK_READS(a, iova + PIECE - 128, c.mem + PIECE - 128, 256);
	CHECK_WRITES(a, iova + LEN - 64, c.mem + LEN - 64, 64);
	dray_unmap(c.dev, &m);
	now = rig_stats(c.dom);
	CHECK_INT(now.backend_unmaps - was.backend_unmaps, PIECES);
	CHECK_INT(now.unmap_bytes - was.unmap_bytes, LEN);
	CHECK_INT(now.unmaps - was.unmaps, 1);
	CHECK_INT(now.unmap_errors, 0);
	CHECK_INT(rig_info(c.dom).entries_left, left);
	CHECK_BLOCKED(a, iova + PIECE, c.mem + PIECE, 64);
	/* One explicit mapping is one, however many calls it took. */
	CHECK_OK(dray_domain_map(c.dom, AT, c.mem, LEN - 3 * PAGE, DRAY_PROT_READ, 0));
	CHECK_ERR(dray_domain_unmap(c.dom, AT, PIECE), EINVAL);
	CHECK_OK(dray_domain_unmap(c.dom, AT, LEN - 3 * PAGE));
	actor_close(a);
	cut_close(&c);
}

/* The memory of one piece cannot be pinned. */
static void piece_that_cannot_be_pinned(struct rig *rig)
{
	struct cut c = cut_open(rig);
	struct actor *a = actor_open(rig, c.dev);
	struct dray_mapping m;

	for (size_t bad = 0; bad < PIECES; bad++) {
		char *hole = c.mem + bad * PIECE + PAGE;
		struct rig_state was = rig_state(c.dom);

		CHECK(!mprotect(hole, PAGE, PROT_NONE));
		CHECK_ERR(dray_map_fixed(c.dev, AT, c.mem, LEN, DRAY_BIDIRECTIONAL, 0, &m), EFAULT);
		CHECK_ERR(dray_map(c.dev, c.mem, LEN, DRAY_BIDIRECTIONAL, 0, &m), EFAULT);
		CHECK_ERR(dray_domain_map(c.dom, AT, c.mem, LEN, DRAY_PROT_READ, 0), EFAULT);
		CHECK_SAME(c.dom, &was);
		CHECK(!dray_iova_to_va(c.dom, AT));
		CHECK(!mprotect(hole, PAGE, PROT_READ | PROT_WRITE));
	}
	CHECK_BLOCKED(a, AT, c.mem, 64);
	CHECK_OK(dray_map_fixed(c.dev, AT, c.mem, LEN, DRAY_BIDIRECTIONAL, 0, &m));
	CHECK_READS(a, AT + 4 * PIECE, c.mem + 4 * PIECE, 64);
	dray_unmap(c.dev, &m);
	actor_close(a);
	cut_close(&c);
}

/*
 * The backend fails in piece j, with every errno it has for a full machine. The software IOMMU has
 * nothing but memory that may fail: the n-th allocation instead of the n-th call.
 */
static void piece_that_the_backend_refuses(struct rig *rig)
{
	static const int errors[] = { ENOMEM, ENOSPC, EEXIST, EINVAL };
	const enum world_call call = rig_is_sim(rig) ? WORLD_ALLOC : WORLD_IOCTL_MAP;
	const unsigned n_errors = rig_is_sim(rig) ? 1 : 4;
	struct cut c = cut_open(rig);
	struct dray_mapping m;
	unsigned failed = 0;

	/* An address of this thread's first map takes records that stay. */
	CHECK_OK(dray_map_fixed(c.dev, AT, c.mem, PAGE, DRAY_TO_DEVICE, 0, &m));
	dray_unmap(c.dev, &m);
	for (unsigned e = 0; e < n_errors; e++) {
		for (unsigned n = 1;; n++) {
			struct rig_state was = rig_state(c.dom);
			dray_iova_t iova = AT + (e * 8 + n) * LARGE;
			int err;

			world_fail_nth(call, n, errors[e]);
			err = dray_map_fixed(c.dev, iova, c.mem, LEN, DRAY_TO_DEVICE, 0, &m);
			if (!world_fired(call)) {
				world_fail_nth(call, 0, 0);
				CHECK_OK(err);
				dray_unmap(c.dev, &m);
				break;
			}
			CHECK_ERR(err, errors[e]);
			CHECK_SAME(c.dom, &was);
			failed++;
		}
	}
	CHECK(failed >= (rig_is_sim(rig) ? 1 : PIECES * n_errors));
	cut_close(&c);
}

const struct contract_case pieces_cases[] = {
	{ "large_map_is_cut", "B04", large_map_is_cut },
	{ "piece_that_cannot_be_pinned", "B04", piece_that_cannot_be_pinned },
	{ "piece_that_the_backend_refuses", "B04 H06", piece_that_the_backend_refuses },
	{ NULL },
};
