// SPDX-License-Identifier: BSD-2-Clause
/*
 * Lists: random ones, under random limits, against what every byte must be; and the promises about
 * calls, failures and leaks one by one. The random cases print their seed where they fail, with the
 * round.
 */
#include "actor.h"
#include "world.h"
#include "domain/domain.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define AT    UINT64_C(0x3000000)
#define MOST  24u
#define ARENA (64 * PAGE)
#define SEED  UINT64_C(0x5eed0123)

static uint64_t dice_state = SEED;

static size_t dice(size_t below)
{
	dice_state ^= dice_state >> 12;
	dice_state ^= dice_state << 25;
	dice_state ^= dice_state >> 27;
	return (size_t)(dice_state * UINT64_C(2685821657736338717) % below);
}

static uint64_t waiting(const struct dray_domain *dom)
{
	return rig_stats(dom).waiting_entries;
}

static size_t sum_of(const struct dray_sg *sg, unsigned n)
{
	size_t sum = 0;

	for (unsigned i = 0; i < n; i++)
		sum += sg[i].len;
	return sum;
}

/* Byte @at of the list, in the buffers. */
static unsigned char *byte_of(const struct dray_sg *sg, size_t at)
{
	for (; at >= sg->len; sg++)
		at -= sg->len;
	return (unsigned char *)sg->va + at;
}

/* Segments obey the limits, add up, hold the list's bytes in order; a slow device reads some. */
static void check_segments(struct actor *a, const struct dray_device_opts *lim,
			   const struct dray_sg *sg, unsigned n, int segments, bool all)
{
	size_t at = 0;

	for (int i = 0; i < segments; i++) {
		size_t len = sg[i].dma_len;
		dray_iova_t iova = sg[i].iova;

		CHECK(len && iova);
		CHECK(!lim->max_segment || len <= lim->max_segment);
		CHECK(!lim->segment_boundary_mask ||
		      (iova & lim->segment_boundary_mask) + len - 1 <= lim->segment_boundary_mask);
		CHECK(!lim->dma_mask || iova + len - 1 <= lim->dma_mask);
		for (size_t off = 0; off < len && (all || i % 6 == 0);
		     off += all ? ACTOR_MAX : len) {
			size_t now = len - off < ACTOR_MAX ? len - off : ACTOR_MAX;
			unsigned char got[ACTOR_MAX];

			a->ops->read(a, iova + off, got, now);
			for (size_t k = 0; k < now; k++)
				if (got[k] != *byte_of(sg, at + off + k))
					contract_fail(__FILE__, __LINE__, "byte %zu of the list "
						      "is wrong, seed 0x%llx", at + off + k,
						      (unsigned long long)SEED);
		}
		at += len;
	}
	CHECK_INT(at, sum_of(sg, n));
}

/* Elements in memory's order or not, adjoining, overlapping, of odd lengths. */
static unsigned random_list(char *arena, struct dray_sg *sg, unsigned most)
{
	unsigned n = 1 + (unsigned)dice(most);
	size_t at = dice(ARENA / 2);

	memset(sg, 0, n * sizeof(*sg));
	for (unsigned i = 0; i < n; i++) {
		size_t len = dice(2) ? 1 + dice(300) : dice(2) ? PAGE : 1 + dice(3 * PAGE);

		if (!dice(3))
			at = dice(4) ? dice(ARENA) : dice(ARENA) / PAGE * PAGE;
		if (at + len > ARENA)
			at = dice(ARENA - 4 * PAGE);
		sg[i].va = arena + at;
		sg[i].len = len;
		at += len;
	}
	return n;
}

static struct dray_device_opts random_limits(void)
{
	struct dray_device_opts lim = rig_device_opts();

	if (dice(2))
		lim.max_segment = PAGE + dice(4 * PAGE);
	if (dice(3) == 0)
		lim.segment_boundary_mask = (PAGE << dice(6)) - 1;
	if (dice(4) == 0)
		lim.min_align = (size_t)4 << dice(8);
	return lim;
}

static void random_lists(struct rig *rig, uint32_t flags, uint32_t invalidation)
{
	unsigned devices = rig_is_sim(rig) ? 40 : 2, rounds = rig_is_sim(rig) ? 40 : 4;
	struct dray_domain_opts opts = rig_domain_opts(rig);
	char *arena = rig_pages(ARENA);
	unsigned mapped = 0, refused = 0;
	struct dray_sg sg[MOST];

	opts.flags = flags;
	opts.invalidation = invalidation;
	for (unsigned d = 0; d < devices; d++) {
		struct dray_device_opts lim = random_limits();
		struct dray_region *region = NULL;
		struct dray_domain *dom;
		struct dray_device *dev;
		struct actor *a;

		CHECK_OK(dray_domain_open(&opts, &dom));
		CHECK_OK(dray_device_open(dom, rig->device, &lim, &dev));
		a = actor_open(rig, dev);
		/* Some of the memory is registered, where the device may reach it or not. */
		if (d % 2)
			CHECK_OK(dray_region_register(dom, arena + 8 * PAGE, 16 * PAGE, 0,
						      &region));
		for (unsigned r = 0; r < rounds; r++) {
			unsigned n = random_list(arena, sg, MOST);
			struct dray_sg was[MOST];
			int ret;

			rig_fill(arena, ARENA, r);
			memcpy(was, sg, sizeof(was));
			ret = dray_map_sg(dev, sg, n, DRAY_BIDIRECTIONAL, 0);
			if (ret < 0) {
				CHECK_INT(ret, -EMSGSIZE);
				CHECK(!memcmp(was, sg, n * sizeof(*sg)));
				refused++;
				continue;
			}
			mapped++;
			CHECK(ret > 0 && (unsigned)ret <= n);
			for (unsigned i = 0; i < n; i++)
				CHECK(sg[i].va == was[i].va && sg[i].len == was[i].len);
			check_segments(a, &lim, sg, n, ret, rig_is_sim(rig));
			dray_unmap_sg(dev, sg, n);
			CHECK(rig_is_filled(arena, ARENA, r));
			for (unsigned i = 0; i < n; i++)
				CHECK(sg[i].va == was[i].va && sg[i].len == was[i].len);
			/* Unmapped, and it says so. */
			CHECK_ERR(dray_sync_sg_for_cpu(dev, sg, n), EINVAL);
		}
		CHECK_OK(dray_flush(dom));
		if (region)
			CHECK_OK(dray_region_unregister(region));
		actor_close(a);
		dray_device_close(dev);
		CHECK_INT(rig_stats(dom).leaks, 0);
		CHECK_INT(rig_stats(dom).bad_unmaps, 0);
		CHECK_INT(rig_stats(dom).unmap_errors, 0);
		CHECK_INT(rig_stats(dom).maps, rig_stats(dom).unmaps);
		CHECK_INT(rig_stats(dom).bounce_used_bytes, 0);
		CHECK_INT(waiting(dom), 0);
		CHECK(dr_iova_space_is_valid(dom->io.space) && dr_pgtable_is_valid(dom->io.pt));
		dray_domain_close(dom);
	}
	CHECK(mapped > refused);
}

static void sg_of_any_kind(struct rig *rig)
{
	random_lists(rig, 0, DRAY_STRICT);
}

static void sg_of_any_kind_lazily(struct rig *rig)
{
	random_lists(rig, DRAY_DOMAIN_POLLED, DRAY_LAZY);
}

static void sg_of_any_kind_guarded(struct rig *rig)
{
	random_lists(rig, DRAY_DOMAIN_GUARD, DRAY_STRICT);
	random_lists(rig, DRAY_DOMAIN_GUARD | DRAY_DOMAIN_POLLED, DRAY_LAZY);
}

static void sg_refuses(struct rig *rig)
{
	struct dray_domain *dom = rig_domain(rig);
	struct dray_device *dev = rig_device(rig, dom, NULL);
	char *mem = rig_pages(2 * PAGE);
	struct dray_sg sg[3] = { { .va = mem, .len = 8 }, { .va = mem + PAGE, .len = 8 },
				 { .va = mem + 16, .len = 8 } };
	struct iovec iov[3] = { { mem, 5 }, { mem + 100, 0 }, { mem + 7, 9 } };
	struct dray_sg out[3], was[3];
	struct rig_state state = rig_state(dom);

	memcpy(was, sg, sizeof(sg));
	CHECK_ERR(dray_map_sg(dev, sg, 0, DRAY_TO_DEVICE, 0), EINVAL);
	CHECK_ERR(dray_map_sg(dev, NULL, 3, DRAY_TO_DEVICE, 0), EINVAL);
	CHECK_ERR(dray_map_sg(NULL, sg, 3, DRAY_TO_DEVICE, 0), EINVAL);
	CHECK_ERR(dray_map_sg(dev, sg, 3, (enum dray_dir)3, 0), EINVAL);
	CHECK_ERR(dray_map_sg(dev, sg, 3, DRAY_TO_DEVICE, 1u << 31), EINVAL);
	for (unsigned i = 0; i < 3; i++) {
		sg[i].len = 0;
		CHECK_ERR(dray_map_sg(dev, sg, 3, DRAY_TO_DEVICE, 0), EINVAL);
		sg[i].len = SIZE_MAX;
		CHECK_ERR(dray_map_sg(dev, sg, 3, DRAY_TO_DEVICE, 0), EINVAL);
		sg[i].len = 8;
		sg[i].va = NULL;
		CHECK_ERR(dray_map_sg(dev, sg, 3, DRAY_TO_DEVICE, 0), EINVAL);
		memcpy(sg, was, sizeof(sg));
	}
	CHECK_SAME(dom, &state);
	CHECK_ERR(dray_sync_sg_for_device(dev, sg, 3), EINVAL);
	dray_unmap_sg(dev, sg, 3);
	dray_unmap_sg(dev, NULL, 3);
	dray_unmap_sg(dev, sg, 0);
	CHECK(!memcmp(was, sg, sizeof(sg)));
	CHECK_INT(dray_sg_from_iov(iov, 3, out), 2);
	CHECK(out[1].va == mem + 7 && out[1].len == 9 && !out[1].iova && !out[1].cookie[1]);
	dray_device_close(dev);
	dray_domain_close(dom);
}

/* Elements that adjoin in memory are one backend mapping, and a list is one unmap. */
static void sg_calls(struct rig *rig)
{
	struct dray_domain *dom = rig_domain(rig);
	struct dray_device *dev = rig_device(rig, dom, NULL);
	char *mem = rig_pages(64 * PAGE);
	struct dray_sg sg[16];
	struct dray_stats was;

	for (unsigned scattered = 0; scattered < 2; scattered++) {
		for (unsigned i = 0; i < 16; i++)
			sg[i] = (struct dray_sg){
				.va = mem + i * (1 + scattered) * PAGE, .len = PAGE,
			};
		was = rig_stats(dom);
		CHECK_INT(dray_map_sg(dev, sg, 16, DRAY_BIDIRECTIONAL, 0), 1);
		CHECK_INT(sg[0].dma_len, 16 * PAGE);
		CHECK_INT(rig_stats(dom).backend_maps - was.backend_maps, scattered ? 16 : 1);
		CHECK_INT(rig_stats(dom).maps - was.maps, 1);
		dray_unmap_sg(dev, sg, 16);
		CHECK_INT(rig_stats(dom).backend_unmaps - was.backend_unmaps, 1);
		CHECK_INT(rig_stats(dom).unmaps - was.unmaps, 1);
	}
	/* In the midst of granules they adjoin too; a hole of one byte makes two. */
	sg[0] = (struct dray_sg){ .va = mem + 100, .len = PAGE };
	sg[1] = (struct dray_sg){ .va = mem + 100 + PAGE, .len = 3 };
	sg[2] = (struct dray_sg){ .va = mem + 104 + PAGE, .len = PAGE };
	was = rig_stats(dom);
	CHECK_INT(dray_map_sg(dev, sg, 2, DRAY_BIDIRECTIONAL, 0), 1);
	CHECK_INT(rig_stats(dom).backend_maps - was.backend_maps, 1);
	CHECK_INT(sg[0].iova % PAGE, 100);
	dray_unmap_sg(dev, sg, 2);
	CHECK_INT(dray_map_sg(dev, sg, 3, DRAY_BIDIRECTIONAL, 0), 2);
	CHECK_INT(rig_stats(dom).backend_maps - was.backend_maps, 3);
	dray_unmap_sg(dev, sg, 3);
	dray_device_close(dev);
	dray_domain_close(dom);
}

/* Fails at the second, third … backend call: the first ones are undone, nothing is lost. */
static void sg_fails_whole(struct rig *rig)
{
	struct dray_domain *dom = rig_domain(rig);
	struct dray_device_opts lim = rig_device_opts();
	char *mem = rig_pages(32 * PAGE);
	struct dray_sg sg[6], was[6];
	struct dray_region *region;
	struct dray_device *dev;
	unsigned hurt = 0;

	lim.min_align = 4;
	CHECK_OK(dray_device_open(dom, rig->device, &lim, &dev));
	CHECK_OK(dray_region_register_at(dom, AT, mem + 20 * PAGE, PAGE, 0, &region));
	for (unsigned i = 0; i < 6; i++)
		sg[i] = (struct dray_sg){ .va = mem + 3 * i * PAGE, .len = PAGE };
	sg[2].va = mem + 20 * PAGE; /* registered */
	sg[3].va = mem + 22 * PAGE + 1; /* copied */
	sg[3].len = 100;
	/* Once, for what stays: tables and a pool. */
	CHECK(dray_map_sg(dev, sg, 6, DRAY_TO_DEVICE, 0) > 0);
	CHECK_ERR(dray_region_unregister(region), EBUSY);
	dray_unmap_sg(dev, sg, 6);
	memcpy(was, sg, sizeof(sg));
	for (int k = 0; k < 2; k++) {
		for (unsigned n = 1; n < 30; n++) {
			enum world_call call = k ? WORLD_ALLOC : WORLD_IOCTL_MAP;
			struct rig_state state = rig_state(dom);
			bool fired;
			int ret;

			world_fail_nth(call, n, k ? ENOMEM : EIO);
			ret = dray_map_sg(dev, sg, 6, DRAY_TO_DEVICE, 0);
			fired = world_fired(call);
			world_fail_nth(call, 0, 0);
			if (ret > 0) {
				dray_unmap_sg(dev, sg, 6);
				state.maps++;
				state.unmaps++;
			} else {
				CHECK(!memcmp(was, sg, sizeof(sg)));
				hurt++;
			}
			CHECK_SAME(dom, &state);
			if (!fired)
				break;
		}
	}
	CHECK(rig_is_sim(rig) || hurt >= 4);
	/* Memory that cannot be pinned, as the last element. */
	sg[5].va = (void *)(uintptr_t)0x10000;
	memcpy(was, sg, sizeof(sg));
	CHECK_ERR(dray_map_sg(dev, sg, 6, DRAY_BIDIRECTIONAL, 0), EFAULT);
	CHECK(!memcmp(was, sg, sizeof(sg)));
	CHECK_INT(rig_stats(dom).bounce_used_bytes, 0);
	CHECK_OK(dray_region_unregister(region));
	dray_device_close(dev);
	CHECK_INT(rig_stats(dom).leaks, 0);
	dray_domain_close(dom);
}

/* What a list left mapped when its device closes goes with it; what came later saw it. */
static void sg_leaks_and_stays(struct rig *rig)
{
	struct dray_domain *dom = rig_domain(rig);
	struct dray_device *dev = rig_device(rig, dom, NULL), *dev2;
	struct dray_device_opts lim = rig_device_opts();
	char *mem = rig_pages(16 * PAGE);
	struct dray_sg sg[4], late[4];
	struct actor *a2;

	for (unsigned i = 0; i < 4; i++)
		sg[i] = (struct dray_sg){ .va = mem + 2 * i * PAGE, .len = PAGE };
	CHECK_INT(dray_map_sg(dev, sg, 4, DRAY_BIDIRECTIONAL, 0), 1);
	dev2 = rig_device(rig, dom, rig->device2);
	a2 = actor_open(rig, dev2);
	/* The device that came later reaches every element. */
	check_segments(a2, &lim, sg, 4, 1, false);
	for (unsigned i = 0; i < 4; i++)
		CHECK_READS(a2, sg[0].iova + i * PAGE, sg[i].va, 64);
	memcpy(late, sg, sizeof(sg));
	dray_device_close(dev);
	CHECK_INT(rig_stats(dom).leaks, 1);
	CHECK_BLOCKED(a2, sg[0].iova, mem, 64);
	CHECK_BLOCKED(a2, sg[0].iova + 3 * PAGE, mem + 6 * PAGE, 64);
	dray_unmap_sg(dev2, late, 4);
	CHECK_INT(rig_stats(dom).bad_unmaps, 1);
	/* A second unmap of a copied list is refused. */
	CHECK_INT(dray_map_sg(dev2, sg, 4, DRAY_BIDIRECTIONAL, 0), 1);
	memcpy(late, sg, sizeof(sg));
	dray_unmap_sg(dev2, sg, 4);
	dray_unmap_sg(dev2, late, 4);
	CHECK_INT(rig_stats(dom).bad_unmaps, 2);
	actor_close(a2);
	dray_device_close(dev2);
	dray_domain_close(dom);
}

/* A large run lies where large pages can be used; elements are unmapped as a whole. */
static void sg_is_congruent(struct rig *rig)
{
	struct dray_domain *dom = rig_domain(rig);
	struct dray_device *dev = rig_device(rig, dom, NULL);
	char *mem = rig_pages_aligned(2 * LARGE + 8 * PAGE, LARGE);
	struct dray_sg sg[3] = {
		{ .va = mem + 5 * PAGE, .len = LARGE },
		{ .va = mem + 5 * PAGE + LARGE, .len = LARGE },
		{ .va = mem, .len = PAGE },
	};

	CHECK_INT(dray_map_sg(dev, sg, 3, DRAY_BIDIRECTIONAL, 0), 1);
	CHECK_INT(sg[0].dma_len, 2 * LARGE + PAGE);
	CHECK_INT(sg[0].iova % LARGE, 5 * PAGE);
	dray_unmap_sg(dev, sg, 3);
	dray_device_close(dev);
	dray_domain_close(dom);
}

static void sg_in_other_kinds(struct rig *rig)
{
	struct dray_domain *dom;
	struct dray_device *dev;
	char *mem = rig_pages(8 * PAGE);
	struct dray_sg sg[3] = {
		{ .va = mem, .len = PAGE }, { .va = mem + PAGE, .len = 10 },
		{ .va = mem + 4 * PAGE, .len = 10 },
	}, was[3];

	memcpy(was, sg, sizeof(sg));
	if (rig_is_sim(rig)) {
		dom = rig_domain_as(rig, DRAY_DOMAIN_IDENTITY);
		CHECK_OK(dray_device_open(dom, rig->device, NULL, &dev));
		CHECK_INT(dray_map_sg(dev, sg, 3, DRAY_BIDIRECTIONAL, 0), 2);
		CHECK_INT(sg[0].iova, (uintptr_t)mem);
		CHECK_INT(sg[0].dma_len, PAGE + 10);
		CHECK_INT(sg[1].iova, (uintptr_t)mem + 4 * PAGE);
		dray_unmap_sg(dev, sg, 3);
		CHECK_OK(dray_device_set_mask(dev, 0xffff));
		memcpy(sg, was, sizeof(sg));
		CHECK_ERR(dray_map_sg(dev, sg, 3, DRAY_BIDIRECTIONAL, 0), ERANGE);
		CHECK(!memcmp(was, sg, sizeof(sg)));
		dray_device_close(dev);
		dray_domain_close(dom);
	}
	dom = rig_domain_as(rig, DRAY_DOMAIN_BLOCKED);
	dev = rig_device(rig, dom, NULL);
	memcpy(sg, was, sizeof(sg));
	CHECK_ERR(dray_map_sg(dev, sg, 3, DRAY_BIDIRECTIONAL, 0), EPERM);
	CHECK(!memcmp(was, sg, sizeof(sg)));
	dray_device_close(dev);
	dray_domain_close(dom);
}

const struct contract_case sglist_cases[] = {
	{ "sg_of_any_kind", "B07", sg_of_any_kind },
	{ "sg_of_any_kind_lazily", "B07 C02", sg_of_any_kind_lazily },
	{ "sg_of_any_kind_guarded", "B07 A10", sg_of_any_kind_guarded },
	{ "sg_refuses", "B07", sg_refuses },
	{ "sg_calls", "B06", sg_calls },
	{ "sg_fails_whole", "B08", sg_fails_whole },
	{ "sg_leaks_and_stays", "B05 B06 D15", sg_leaks_and_stays },
	{ "sg_is_congruent", "A09 B06", sg_is_congruent },
	{ "sg_in_other_kinds", "D01 B07", sg_in_other_kinds },
	{ NULL },
};
