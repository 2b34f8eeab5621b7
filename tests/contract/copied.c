// SPDX-License-Identifier: BSD-2-Clause
/*
 * Buffers that are copied: which bytes move, when, and which do not; what a pool takes and gives
 * back. Most cases use a device that wants its buffers aligned, which is true of trusted ones too.
 */
#include "actor.h"
#include "world.h"
#include "domain/domain.h"

#include <errno.h>
#include <string.h>

#define ALIGN 512u
#define HIGH  UINT64_C(0x140000000) /* above what edu sends */
#define SEED  UINT64_C(0xc0b1ed5)

static uint64_t dice_state = SEED;

static size_t dice(size_t below)
{
	dice_state ^= dice_state >> 12;
	dice_state ^= dice_state << 25;
	dice_state ^= dice_state >> 27;
	return (size_t)(dice_state * UINT64_C(2685821657736338717) % below);
}

static struct dray_device *choosy_device(const struct rig *rig, struct dray_domain *dom)
{
	struct dray_device_opts opts = rig_device_opts();
	struct dray_device *dev;

	opts.min_align = ALIGN;
	CHECK_OK(dray_device_open(dom, rig->device, &opts, &dev));
	return dev;
}

static void copy_stands_in(struct rig *rig)
{
	struct dray_domain *dom = rig_domain(rig);
	struct dray_device *dev = choosy_device(rig, dom);
	struct actor *a = actor_open(rig, dev);
	char *mem = rig_pages(2 * PAGE), *buf = mem + 100, *copy;
	struct dray_mapping m, spent;

	CHECK(!dray_bounce_present(dom) && !dray_bounce_present(NULL));
	CHECK(dray_device_uses_bounce(dev) && !dray_device_uses_bounce(NULL));
	CHECK_OK(dray_map(dev, buf, 1000, DRAY_BIDIRECTIONAL, 0, &m));
	CHECK(dray_bounce_present(dom));
	CHECK_INT(m.iova % ALIGN, 0);
	CHECK_INT(m.len, 1000);
	copy = dray_iova_to_va(dom, m.iova);
	CHECK(copy && copy != buf && !memcmp(copy, buf, 1000));
	CHECK(dray_iova_to_va(dom, m.iova + 999) == copy + 999);
	CHECK_READS(a, m.iova, buf, 1000);
	CHECK_WRITES(a, m.iova + 10, copy + 10, 64);
	CHECK(rig_is_filled(mem, 2 * PAGE, 1));
	spent = m;
	dray_unmap(dev, &m);
	CHECK(!memcmp(buf, copy, 1000));
	CHECK(!memcmp(mem, (char *)rig_pages(PAGE), 100));
	CHECK(!dray_iova_to_va(dom, spent.iova));
	CHECK_INT(rig_stats(dom).bounce_align, 1);
	CHECK_INT(rig_stats(dom).bounce_in_bytes, 1000);
	CHECK_INT(rig_stats(dom).bounce_out_bytes, 1000);
	CHECK_INT(rig_stats(dom).bounce_used_bytes, 0);
	CHECK(rig_stats(dom).bounce_high_water_bytes >= 1000 && rig_stats(dom).bounce_mapped_bytes);
	CHECK_ERR(dray_sync_for_cpu(dev, &spent, 0, 10), EINVAL);
	dray_unmap(dev, &spent);
	CHECK_INT(rig_stats(dom).bad_unmaps, 1);
	/* Aligned, it is no copy. */
	CHECK_OK(dray_map(dev, mem + ALIGN, 1000, DRAY_BIDIRECTIONAL, 0, &m));
	CHECK(dray_iova_to_va(dom, m.iova) == mem + ALIGN);
	dray_unmap(dev, &m);
	CHECK_ERR(dray_map(dev, buf, 10, DRAY_TO_DEVICE, DRAY_MAP_NO_BOUNCE, &m), ENOTSUP);
	CHECK_WORDS("align");
	actor_close(a);
	dray_device_close(dev);
	dray_domain_close(dom);
}

/* What the device did not write comes back as it was, not as the slot's last user left it. */
static void no_stale_bytes(struct rig *rig)
{
	struct dray_domain *dom = rig_domain(rig);
	struct dray_device *dev = choosy_device(rig, dom);
	struct actor *a = actor_open(rig, dev);
	char *secret = rig_pages(PAGE), *mem = rig_pages(PAGE);
	struct dray_mapping m;
	dray_iova_t at;

	memset(secret, 0x5e, PAGE);
	for (unsigned i = 0; i < 3; i++) {
		CHECK_OK(dray_map(dev, secret + 1, 2000, DRAY_TO_DEVICE, 0, &m));
		at = m.iova;
		dray_unmap(dev, &m);
		rig_fill(mem, PAGE, i);
		CHECK_OK(dray_map(dev, mem + 1, 2000, DRAY_FROM_DEVICE,
				  i == 2 ? DRAY_MAP_NO_SYNC : 0, &m));
		/* The very slot, or this shows nothing. */
		CHECK_INT(m.iova, at);
		a->ops->write(a, m.iova + 500, "0123456789", 10);
		if (i == 2)
			CHECK_OK(dray_sync_for_cpu(dev, &m, 0, 2000));
		dray_unmap(dev, &m);
		CHECK(!memcmp(mem + 501, "0123456789", 10));
		CHECK(!memchr(mem, 0x5e, 1) || mem[0] == 0x5e);
		memcpy(secret, mem, PAGE);
		rig_fill(mem, PAGE, i);
		CHECK(!memcmp(secret, mem, 501) && !memcmp(secret + 511, mem + 511, PAGE - 511));
		memset(secret, 0x5e, PAGE);
	}
	actor_close(a);
	dray_device_close(dev);
	dray_domain_close(dom);
}

/* Sync of any part moves just that part; of more than there is, nothing. */
static void sync_moves_just_that(struct rig *rig)
{
	struct dray_domain *dom = rig_domain(rig);
	struct dray_device *dev = choosy_device(rig, dom);
	enum { LEN = 3000 };
	unsigned char *mem = rig_pages(2 * PAGE), *buf = mem + 3, *copy;
	struct dray_mapping m;

	for (unsigned round = 0; round < 200; round++) {
		size_t off = dice(LEN), len = dice(LEN - off + 1);
		enum dray_dir dir = (enum dray_dir)dice(3);
		bool to_device = dice(2), moves = to_device || dir != DRAY_TO_DEVICE;
		unsigned char *from, *to;

		CHECK_OK(dray_map(dev, buf, LEN, dir, DRAY_MAP_NO_SYNC, &m));
		copy = dray_iova_to_va(dom, m.iova);
		CHECK(!memcmp(copy, buf, LEN));
		memset(copy, 0xcc, LEN);
		memset(buf, 0xbb, LEN);
		from = to_device ? buf : copy;
		to = to_device ? copy : buf;
		switch (dice(3)) {
		case 0:
			CHECK_ERR(to_device ? dray_sync_for_device(dev, &m, off, LEN - off + 1) :
				  dray_sync_for_cpu(dev, &m, off, LEN - off + 1), EINVAL);
			CHECK_ERR(dray_sync_for_device(dev, &m, LEN + 1, 0), EINVAL);
			CHECK_ERR(dray_sync_for_cpu(dev, &m, off, SIZE_MAX), EINVAL);
			moves = false;
			break;
		case 1:
			CHECK_OK(to_device ?
				 dray_sync_iova_for_device(dev, m.iova + off, len, dir) :
				 dray_sync_iova_for_cpu(dev, m.iova + off, len, dir));
			break;
		default:
			CHECK_OK(to_device ? dray_sync_for_device(dev, &m, off, len) :
				 dray_sync_for_cpu(dev, &m, off, len));
		}
		for (size_t i = 0; i < LEN; i++) {
			bool moved = moves && i >= off && i - off < len;

			CHECK_INT(from[i], to_device ? 0xbb : 0xcc);
			CHECK_INT(to[i], moved ? from[i] : to_device ? 0xcc : 0xbb);
		}
		/* The caller syncs: nothing comes back by itself. */
		dray_unmap(dev, &m);
		CHECK_INT(buf[LEN - 1],
			  !to_device && moves && off + len == LEN && len ? 0xcc : 0xbb);
	}
	dray_device_close(dev);
	dray_domain_close(dom);
}

/* Many slots at once, of all lengths and offsets: none overlaps, none crosses a limit. */
static void slots_never_overlap(struct rig *rig)
{
	enum { N = 48 };
	struct dray_domain *dom = rig_domain(rig);
	struct dray_device_opts opts = rig_device_opts();
	struct dray_mapping m[N] = { 0 };
	char *mem = rig_pages(N * 4 * PAGE);
	struct { size_t off, len; } at[N];
	struct dray_device *dev;

	opts.min_align = PAGE;
	opts.segment_boundary_mask = 4 * PAGE - 1;
	CHECK_OK(dray_device_open(dom, rig->device, &opts, &dev));
	for (unsigned round = 0; round < 2000; round++) {
		unsigned i = (unsigned)dice(N);

		if (m[i].len) {
			char *copy = dray_iova_to_va(dom, m[i].iova);

			CHECK(!memcmp(copy, mem + i * 4 * PAGE + at[i].off, at[i].len));
			dray_unmap(dev, &m[i]);
			continue;
		}
		at[i].off = 1 + dice(PAGE - 1);
		at[i].len = 1 + dice(3 * PAGE);
		rig_fill(mem + i * 4 * PAGE, 4 * PAGE, round);
		CHECK_OK(dray_map(dev, mem + i * 4 * PAGE + at[i].off, at[i].len,
				  DRAY_BIDIRECTIONAL, 0, &m[i]));
		CHECK_INT(m[i].iova % PAGE, 0);
		CHECK((m[i].iova & (4 * PAGE - 1)) + m[i].len <= 4 * PAGE);
		CHECK(m[i].iova + m[i].len - 1 <= RIG_MASK);
		for (unsigned k = 0; k < N; k++)
			CHECK(k == i || !m[k].len || m[k].iova + m[k].len <= m[i].iova ||
			      m[i].iova + m[i].len <= m[k].iova);
	}
	for (unsigned i = 0; i < N; i++)
		dray_unmap(dev, &m[i]);
	CHECK_INT(rig_stats(dom).bounce_used_bytes, 0);
	CHECK_INT(rig_stats(dom).bad_unmaps, 0);
	dray_device_close(dev);
	dray_domain_close(dom);
}

/* The ceiling is kept, named, and as high as before once slots came back. */
static void pool_has_a_ceiling(struct rig *rig)
{
	struct dray_domain_opts opts = rig_domain_opts(rig);
	enum { MOST = 64 };
	char *mem = rig_pages(2 * PAGE);
	struct dray_mapping m[MOST], none = { .iova = 7 };
	unsigned first = 0, n = 0;
	struct dray_domain *dom;
	struct dray_device *dev;
	struct rig_state was;

	opts.bounce_bytes = 16 * PAGE;
	CHECK_OK(dray_domain_open(&opts, &dom));
	dev = choosy_device(rig, dom);
	for (unsigned round = 0; round < 3; round++) {
		for (n = 0; n < MOST &&
		     !dray_map(dev, mem + 1, 1500, DRAY_TO_DEVICE, 0, &m[n]); n++)
			CHECK(rig_stats(dom).bounce_mapped_bytes <= opts.bounce_bytes);
		CHECK(n >= 16 && n < MOST);
		CHECK(!round || n == first);
		first = n;
		was = rig_state(dom);
		CHECK_ERR(dray_map(dev, mem + 1, 1500, DRAY_TO_DEVICE, 0, &none), ENOSPC);
		CHECK_WORDS("bounce_bytes");
		CHECK_SAME(dom, &was);
		CHECK_INT(none.iova, 7);
		dray_unmap(dev, &m[n / 2]);
		CHECK_OK(dray_map(dev, mem + 1, 1500, DRAY_TO_DEVICE, 0, &m[n / 2]));
		while (n)
			dray_unmap(dev, &m[--n]);
		CHECK_INT(rig_stats(dom).bounce_used_bytes, 0);
	}
	CHECK(rig_stats(dom).bounce_failures >= 3 && rig_stats(dom).bounce_grows);
	dray_device_close(dev);
	dray_domain_close(dom);
}

/* What dray_max_mapping_size() says fits, and a byte more does not. */
static void longest_copy(struct rig *rig)
{
	struct dray_domain *dom = rig_domain(rig);
	struct dray_device_opts opts = rig_device_opts();
	struct dray_device *dev = choosy_device(rig, dom);
	char *mem = rig_pages(8 << 20);
	struct dray_mapping m;
	size_t max = dray_max_mapping_size(dev);

	CHECK(max >= 64 * PAGE && max < 8 << 20);
	CHECK(dray_opt_mapping_size(dev) <= max);
	CHECK_OK(dray_map(dev, mem + 1, max, DRAY_TO_DEVICE, 0, &m));
	dray_unmap(dev, &m);
	CHECK_OK(dray_map(dev, mem + PAGE - 1, max, DRAY_TO_DEVICE, 0, &m));
	dray_unmap(dev, &m);
	CHECK_ERR(dray_map(dev, mem + 1, max + PAGE, DRAY_TO_DEVICE, 0, &m), EMSGSIZE);
	dray_device_close(dev);
	opts.max_segment = 3 * PAGE;
	CHECK_OK(dray_device_open(dom, rig->device, &opts, &dev));
	CHECK_INT(dray_max_mapping_size(dev), 3 * PAGE);
	CHECK_INT(dray_opt_mapping_size(dev), 3 * PAGE);
	CHECK_INT(dray_merge_boundary(dev), PAGE);
	dray_device_close(dev);
	opts.max_segment = 0;
	opts.dma_mask = 0;
	CHECK_OK(dray_device_open(dom, rig->device, &opts, &dev));
	CHECK_INT(dray_opt_mapping_size(dev), LARGE);
	CHECK(dray_max_mapping_size(dev) >= UINT64_C(1) << 38);
	CHECK(!dray_device_uses_bounce(dev));
	dray_device_close(dev);
	CHECK_INT(dray_max_mapping_size(NULL), 0);
	CHECK_INT(dray_opt_mapping_size(NULL), 0);
	CHECK_INT(dray_merge_boundary(NULL), 0);
	dray_domain_close(dom);
	dom = rig_domain_as(rig, DRAY_DOMAIN_BLOCKED);
	dev = rig_device(rig, dom, NULL);
	CHECK_INT(dray_max_mapping_size(dev), 0);
	CHECK_INT(dray_merge_boundary(dev), 0);
	dray_device_close(dev);
	dray_domain_close(dom);
}

/* Registered above what the device can send: both ways through a copy below it. */
static void memory_above_the_mask(struct rig *rig)
{
	struct dray_domain *dom = rig_domain(rig);
	struct dray_device *dev = rig_device(rig, dom, NULL);
	struct dray_device_opts opts = rig_device_opts();
	struct actor *a = actor_open(rig, dev);
	char *mem = rig_pages(4 * PAGE);
	struct dray_region *region;
	struct dray_device *wide;
	struct dray_mapping m;
	dray_iova_t at;

	opts.dma_mask = 0;
	CHECK_OK(dray_device_open(dom, rig->device2, &opts, &wide));
	CHECK_OK(dray_region_register_at(dom, HIGH, mem, 4 * PAGE, 0, &region));
	CHECK_OK(dray_map(wide, mem + PAGE, PAGE, DRAY_BIDIRECTIONAL, 0, &m));
	CHECK_INT(m.iova, HIGH + PAGE);
	dray_unmap(wide, &m);
	for (unsigned i = 0; i < 3; i++) {
		size_t off = i * 700, len = PAGE + i * 9;

		CHECK_OK(dray_map(dev, mem + off, len, DRAY_BIDIRECTIONAL, 0, &m));
		at = m.iova;
		CHECK(at + len - 1 <= RIG_MASK && at % PAGE == off % PAGE);
		CHECK_READS(a, at, mem + off, 64);
		CHECK_READS(a, at + len - 64, mem + off + len - 64, 64);
		a->ops->write(a, at + 5, "both ways", 9);
		CHECK(memcmp(mem + off + 5, "both ways", 9));
		CHECK_OK(dray_sync_for_cpu(dev, &m, 5, 4));
		CHECK(!memcmp(mem + off + 5, "both", 4) && memcmp(mem + off + 5, "both ways", 9));
		dray_unmap(dev, &m);
		CHECK(!memcmp(mem + off + 5, "both ways", 9));
		rig_fill(mem, 4 * PAGE, i);
	}
	CHECK_INT(rig_stats(dom).bounce_mask, 3);
	CHECK_ERR(dray_map(dev, mem, 8, DRAY_TO_DEVICE, DRAY_MAP_NO_BOUNCE, &m), ENOTSUP);
	/* Partly in the region: mapped for itself. */
	CHECK_OK(dray_region_unregister(region));
	CHECK_OK(dray_map(dev, mem, PAGE, DRAY_BIDIRECTIONAL, 0, &m));
	CHECK(dray_iova_to_va(dom, m.iova) == mem);
	dray_unmap(dev, &m);
	actor_close(a);
	dray_device_close(wide);
	dray_device_close(dev);
	dray_domain_close(dom);
}

static void copied_because_cheaper(struct rig *rig)
{
	struct dray_domain_opts opts = rig_domain_opts(rig);
	char *mem = rig_pages(4 * PAGE);
	struct dray_domain *dom;
	struct dray_device *dev;
	struct dray_mapping m;
	struct dray_stats was;

	opts.bounce_threshold = 2048;
	CHECK_OK(dray_domain_open(&opts, &dom));
	dev = rig_device(rig, dom, NULL);
	CHECK_OK(dray_map(dev, mem + 5, 2048, DRAY_BIDIRECTIONAL, 0, &m));
	CHECK(dray_iova_to_va(dom, m.iova) != mem + 5);
	CHECK_INT(m.iova % PAGE, ((uintptr_t)mem + 5) % PAGE);
	dray_unmap(dev, &m);
	was = rig_stats(dom);
	CHECK_INT(was.bounce_cheaper, 1);
	for (unsigned i = 0; i < 20; i++) {
		CHECK_OK(dray_map(dev, mem + i, 100 + i, DRAY_BIDIRECTIONAL, 0, &m));
		dray_unmap(dev, &m);
	}
	CHECK_INT(rig_stats(dom).backend_maps, was.backend_maps);
	CHECK_INT(rig_stats(dom).backend_unmaps, was.backend_unmaps);
	CHECK_INT(rig_stats(dom).maps, was.maps + 20);
	/* Longer, forbidden, or at a fixed address: mapped. */
	CHECK_OK(dray_map(dev, mem + 5, 2049, DRAY_BIDIRECTIONAL, 0, &m));
	CHECK(dray_iova_to_va(dom, m.iova) == mem + 5);
	dray_unmap(dev, &m);
	CHECK_OK(dray_map(dev, mem + 5, 8, DRAY_BIDIRECTIONAL, DRAY_MAP_NO_BOUNCE, &m));
	CHECK(dray_iova_to_va(dom, m.iova) == mem + 5);
	dray_unmap(dev, &m);
	dray_device_close(dev);
	dray_domain_close(dom);
	opts.flags = DRAY_DOMAIN_NO_BOUNCE;
	CHECK_ERR(dray_domain_open(&opts, &dom), EINVAL);
	opts.bounce_threshold = 0;
	CHECK_OK(dray_domain_open(&opts, &dom));
	dev = choosy_device(rig, dom);
	CHECK(!dray_device_uses_bounce(dev));
	CHECK_ERR(dray_map(dev, mem + 5, 8, DRAY_BIDIRECTIONAL, 0, &m), ENOTSUP);
	CHECK_OK(dray_map(dev, mem, 8, DRAY_BIDIRECTIONAL, 0, &m));
	CHECK(dray_iova_to_va(dom, m.iova) == mem);
	dray_unmap(dev, &m);
	dray_device_close(dev);
	CHECK(!dray_bounce_present(dom));
	dray_domain_close(dom);
}

/* The backend cannot pin what the CPU reaches: copied. What is not there is still refused. */
static void memory_that_cannot_be_pinned(struct rig *rig)
{
	struct dray_domain *dom = rig_domain(rig);
	struct dray_device *dev = rig_device(rig, dom, NULL);
	struct actor *a = actor_open(rig, dev);
	char *mem = rig_pages(4 * PAGE);
	struct dray_mapping m, none;
	struct rig_state was = rig_state(dom);

	CHECK_ERR(dray_map(dev, (void *)(uintptr_t)0x10000, PAGE, DRAY_BIDIRECTIONAL, 0, &none),
		  EFAULT);
	CHECK_SAME(dom, &was);
	for (unsigned i = 0; i < 2 && !rig_is_sim(rig); i++) {
		world_fail_nth(WORLD_IOCTL_MAP, 1, EFAULT);
		CHECK_OK(dray_map(dev, mem + 3, PAGE, DRAY_BIDIRECTIONAL, 0, &m));
		CHECK(world_fired(WORLD_IOCTL_MAP));
		CHECK(dray_iova_to_va(dom, m.iova) != mem + 3);
		CHECK_READS(a, m.iova, mem + 3, 64);
		a->ops->write(a, m.iova, "written", 7);
		dray_unmap(dev, &m);
		CHECK(!memcmp(mem + 3, "written", 7));
		CHECK_INT(rig_stats(dom).bounce_pin, i + 1);
		world_fail_nth(WORLD_IOCTL_MAP, 1, EFAULT);
		CHECK_ERR(dray_map(dev, mem, PAGE, DRAY_BIDIRECTIONAL, DRAY_MAP_NO_BOUNCE, &none),
			  EFAULT);
	}
	actor_close(a);
	dray_device_close(dev);
	dray_domain_close(dom);
}

/* A mask below a slot that is out is refused; a pool above the mask does not serve the device. */
static void mask_and_slots(struct rig *rig)
{
	struct dray_domain_opts opts = rig_domain_opts(rig);
	struct dray_device_opts wide = rig_device_opts();
	char *mem = rig_pages(PAGE);
	struct dray_domain *dom;
	struct dray_device *dev;
	struct dray_mapping m;

	opts.first = 0x1000000;
	CHECK_INT(opts.last, 0);
	opts.last = UINT64_C(0x1ffffffff);
	wide.dma_mask = 0;
	wide.min_align = ALIGN;
	CHECK_OK(dray_domain_open(&opts, &dom));
	/* Nothing below 4 GiB for it to choose but the first page. */
	CHECK_OK(dray_domain_reserve(dom, 0x2000000, 0xffffffff, DRAY_RESERVE_FIXED));
	CHECK_OK(dray_domain_reserve(dom, 0x1000000, 0x1ffffff, DRAY_RESERVE_FIXED));
	CHECK_OK(dray_device_open(dom, rig->device, &wide, &dev));
	CHECK_OK(dray_map(dev, mem + 1, 100, DRAY_BIDIRECTIONAL, 0, &m));
	CHECK(m.iova > 0xffffffff);
	CHECK_ERR(dray_device_set_mask(dev, 0xffffffff), EBUSY);
	dray_unmap(dev, &m);
	CHECK_OK(dray_domain_unreserve(dom, 0x1000000, 0x1ffffff));
	CHECK_OK(dray_device_set_mask(dev, 0xffffffff));
	CHECK_OK(dray_map(dev, mem + 1, 100, DRAY_BIDIRECTIONAL, 0, &m));
	CHECK(m.iova + 99 <= 0xffffffff);
	dray_unmap(dev, &m);
	dray_device_close(dev);
	dray_domain_close(dom);
}

/* Without an IOMMU a buffer is used where it is, or copied to where the device can use it. */
static void copied_where_nothing_translates(struct rig *rig)
{
	struct dray_domain_opts opts = rig_domain_opts(rig);
	struct dray_device_opts narrow = { .size = sizeof(narrow), .dma_mask = UINT32_MAX };
	char *mem = rig_pages(8 * PAGE), got[64];
	struct dray_sg sg[3] = {
		{ .va = mem + 9, .len = 100 }, { .va = mem + 3 * PAGE, .len = PAGE },
		{ .va = mem + 5 * PAGE + 1, .len = 7 },
	};
	struct dray_domain *dom;
	struct dray_device *dev, *choosy;
	struct dray_mapping m;
	int n;

	opts.backend = DRAY_BACKEND_SIM;
	opts.sim_profile = "direct";
	CHECK_OK(dray_domain_open(&opts, &dom));
	CHECK_OK(dray_device_open(dom, "sim5", &narrow, &dev));
	CHECK(dray_device_uses_bounce(dev));
	CHECK_OK(dray_map(dev, mem + 9, 3000, DRAY_BIDIRECTIONAL, 0, &m));
	CHECK(m.iova + 2999 <= UINT32_MAX);
	CHECK(dray_iova_to_va(dom, m.iova) == (void *)(uintptr_t)m.iova);
	CHECK_OK(dray_sim_read(dev, m.iova, got, 64));
	CHECK(!memcmp(got, mem + 9, 64));
	CHECK_OK(dray_sim_write(dev, m.iova + 100, "written", 7));
	CHECK_OK(dray_sync_for_cpu(dev, &m, 100, 3));
	CHECK(!memcmp(mem + 109, "wri", 3) && memcmp(mem + 109, "written", 7));
	dray_unmap(dev, &m);
	CHECK(!memcmp(mem + 109, "written", 7));
	CHECK_INT(rig_stats(dom).bounce_mask, 1);
	CHECK_ERR(dray_map(dev, mem, 8, DRAY_TO_DEVICE, DRAY_MAP_NO_BOUNCE, &m), ENOTSUP);
	n = dray_map_sg(dev, sg, 3, DRAY_BIDIRECTIONAL, 0);
	CHECK(n > 0 && n <= 3);
	for (int i = 0; i < n; i++)
		CHECK(sg[i].iova + sg[i].dma_len - 1 <= UINT32_MAX);
	CHECK_OK(dray_sim_write(dev, sg[0].iova + 1, "into the list", 13));
	CHECK_OK(dray_sync_sg_for_cpu(dev, sg, 3));
	CHECK(!memcmp(mem + 10, "into the list", 13));
	dray_unmap_sg(dev, sg, 3);
	CHECK_INT(rig_stats(dom).bounce_used_bytes, 0);
	/* One that reaches all, but wants it aligned: copied or not, as each element is. */
	narrow.dma_mask = 0;
	narrow.min_align = ALIGN;
	CHECK_OK(dray_device_open(dom, "sim6", &narrow, &choosy));
	CHECK_OK(dray_map(choosy, mem + 9, 100, DRAY_BIDIRECTIONAL, 0, &m));
	CHECK_INT(m.iova % ALIGN, 0);
	dray_unmap(choosy, &m);
	CHECK_OK(dray_map(choosy, mem + ALIGN, 100, DRAY_BIDIRECTIONAL, 0, &m));
	CHECK_INT(m.iova, (uintptr_t)mem + ALIGN);
	dray_unmap(choosy, &m);
	n = dray_map_sg(choosy, sg, 3, DRAY_BIDIRECTIONAL, 0);
	CHECK_INT(n, 3);
	CHECK(sg[0].iova % ALIGN == 0 && sg[2].iova % ALIGN == 0);
	CHECK_INT(sg[1].iova, (uintptr_t)mem + 3 * PAGE);
	dray_unmap_sg(choosy, sg, 3);
	/* Left out, and taken back with its device. */
	CHECK_OK(dray_map(choosy, mem + 9, 100, DRAY_BIDIRECTIONAL, 0, &m));
	dray_device_close(choosy);
	CHECK_INT(rig_stats(dom).leaks, 1);
	CHECK_INT(rig_stats(dom).bounce_used_bytes, 0);
	dray_device_close(dev);
	dray_domain_close(dom);
}

const struct contract_case copied_cases[] = {
	{ "copy_stands_in", "E01 E05", copy_stands_in },
	{ "no_stale_bytes", "E02", no_stale_bytes },
	{ "sync_moves_just_that", "E03", sync_moves_just_that },
	{ "slots_never_overlap", "E04 E06", slots_never_overlap },
	{ "pool_has_a_ceiling", "E04", pool_has_a_ceiling },
	{ "longest_copy", "E06 B14", longest_copy },
	{ "memory_above_the_mask", "D05 E01", memory_above_the_mask },
	{ "copied_because_cheaper", "E01 E11", copied_because_cheaper },
	{ "memory_that_cannot_be_pinned", "E01 E11", memory_that_cannot_be_pinned },
	{ "mask_and_slots", "D05 E04", mask_and_slots },
	{ "copied_where_nothing_translates", "G12 E01", copied_where_nothing_translates },
	{ NULL },
};
