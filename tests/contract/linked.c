// SPDX-License-Identifier: BSD-2-Clause
/* Two-step mapping: a window, and pieces that come and go in it. */
#include "actor.h"
#include "world.h"

#include <errno.h>
#include <string.h>

#define AT UINT64_C(0x3000000)

static void link_piece_by_piece(struct rig *rig)
{
	struct dray_domain *dom = rig_domain(rig);
	struct dray_device *dev = rig_device(rig, dom, NULL);
	struct actor *a = actor_open(rig, dev);
	char *mem = rig_pages(16 * PAGE);
	struct rig_state was = rig_state(dom);
	struct dray_link *link;
	dray_iova_t at;

	CHECK_OK(dray_link_open(dev, 8 * PAGE + 1, 0, &link));
	at = dray_link_iova(link);
	CHECK(at && at % PAGE == 0 && dray_link_iova(NULL) == DRAY_IOVA_NONE);
	CHECK_INT(rig_stats(dom).backend_maps, was.maps);
	/* From elsewhere in memory, in no order, with holes. */
	CHECK_OK(dray_link_add(link, 3 * PAGE, mem + 9 * PAGE, 2 * PAGE, DRAY_BIDIRECTIONAL));
	CHECK_OK(dray_link_add(link, 0, mem, 10, DRAY_TO_DEVICE));
	CHECK_OK(dray_link_add(link, 8 * PAGE + 5, mem + 5, 100, DRAY_BIDIRECTIONAL));
	CHECK_OK(dray_link_add(link, PAGE + 7, mem + 7, 2 * PAGE - 7, DRAY_BIDIRECTIONAL));
	CHECK_OK(dray_link_sync(link, 3 * PAGE, 2 * PAGE));
	CHECK_OK(dray_link_sync(link, PAGE + 7, 4 * PAGE - 7));
	CHECK_OK(dray_link_sync(link, 8 * PAGE + 5, 100));
	CHECK_OK(dray_link_sync(link, 0, 0));
	CHECK_ERR(dray_link_sync(link, 5 * PAGE, PAGE), EINVAL);
	CHECK_ERR(dray_link_sync(link, 3 * PAGE, 3 * PAGE), EINVAL);
	CHECK_ERR(dray_link_sync(link, 0, 10 * PAGE), EINVAL);
	CHECK_ERR(dray_link_sync(link, 0, SIZE_MAX), EINVAL);
	CHECK_READS(a, at + 3 * PAGE, mem + 9 * PAGE, 64);
	CHECK_WRITES(a, at + 4 * PAGE, mem + 10 * PAGE, 64);
	CHECK_READS(a, at + PAGE + 7, mem + 7, 64);
	CHECK_WRITES(a, at + 8 * PAGE + 5, mem + 5, 100);
	CHECK_NO_WRITE(a, at, mem, 10);
	CHECK_BLOCKED(a, at + 5 * PAGE, mem + 11 * PAGE, 64);
	/* One out of the middle; those beside it stay. */
	dray_link_remove(link, 3 * PAGE, 2 * PAGE);
	CHECK_BLOCKED(a, at + 3 * PAGE, mem + 9 * PAGE, 64);
	CHECK_READS(a, at + PAGE + 7, mem + 7, 64);
	CHECK_READS(a, at + 8 * PAGE + 5, mem + 5, 64);
	CHECK_ERR(dray_link_sync(link, 3 * PAGE, PAGE), EINVAL);
	CHECK_OK(dray_link_add(link, 3 * PAGE, mem + 12 * PAGE, PAGE, DRAY_TO_DEVICE));
	CHECK_READS(a, at + 3 * PAGE, mem + 12 * PAGE, 64);
	/* Nothing there, nothing long: nothing happens. A part of a piece stays, and is told. */
	dray_link_remove(link, 6 * PAGE, PAGE);
	dray_link_remove(link, PAGE + 100, 0);
	CHECK_INT(rig_stats(dom).bad_unmaps, 0);
	dray_link_remove(link, 2 * PAGE, PAGE);
	CHECK_INT(rig_stats(dom).bad_unmaps, 1);
	CHECK_READS(a, at + PAGE + 7, mem + 7, 64);
	dray_link_close(link);
	CHECK_BLOCKED(a, at + PAGE + 7, mem + 7, 64);
	CHECK_BLOCKED(a, at + 3 * PAGE, mem + 12 * PAGE, 64);
	was.maps = was.unmaps + (rig_stats(dom).maps - rig_stats(dom).unmaps);
	CHECK_INT(rig_info(dom).mapped_bytes, was.info.mapped_bytes);
	CHECK_INT(rig_state(dom).live_bytes, was.live_bytes);
	CHECK_INT(rig_state(dom).blocks, was.blocks);
	dray_link_close(NULL);
	actor_close(a);
	dray_device_close(dev);
	CHECK_INT(rig_stats(dom).maps, rig_stats(dom).unmaps);
	dray_domain_close(dom);
}

static void link_refuses(struct rig *rig)
{
	struct dray_domain *dom = rig_domain(rig), *blocked;
	struct dray_device *dev = rig_device(rig, dom, NULL), *dev2;
	struct dray_device_opts lim = rig_device_opts();
	char *mem = rig_pages(8 * PAGE);
	struct dray_link *link, *none = NULL;
	struct rig_state was;

	CHECK_ERR(dray_link_open(NULL, PAGE, 0, &none), EINVAL);
	CHECK_ERR(dray_link_open(dev, 0, 0, &none), EINVAL);
	CHECK_ERR(dray_link_open(dev, PAGE, 1u << 30, &none), EINVAL);
	CHECK_ERR(dray_link_open(dev, PAGE, 0, NULL), EINVAL);
	CHECK_ERR(dray_link_open(dev, SIZE_MAX, 0, &none), ENOSPC);
	CHECK_ERR(dray_link_open(dev, SIZE_MAX / 2, 0, &none), ENOSPC);
	lim.max_segment = 4 * PAGE;
	CHECK_OK(dray_device_open(dom, rig->device2, &lim, &dev2));
	CHECK_ERR(dray_link_open(dev2, 5 * PAGE, 0, &none), EMSGSIZE);
	CHECK(!none);
	dray_device_close(dev2);
	CHECK_OK(dray_link_open(dev, 4 * PAGE, 0, &link));
	/* A piece of no length, in the middle and at the end; none changes anything. */
	CHECK_OK(dray_link_add(link, 0, mem, PAGE, DRAY_BIDIRECTIONAL));
	was = rig_state(dom);
	CHECK_ERR(dray_link_add(link, PAGE, mem + PAGE, 0, DRAY_BIDIRECTIONAL), EINVAL);
	CHECK_ERR(dray_link_add(link, 4 * PAGE, mem, 0, DRAY_BIDIRECTIONAL), EINVAL);
	CHECK_ERR(dray_link_add(link, 4 * PAGE, mem, 1, DRAY_BIDIRECTIONAL), EINVAL);
	CHECK_ERR(dray_link_add(link, 3 * PAGE, mem, PAGE + 1, DRAY_BIDIRECTIONAL), EINVAL);
	CHECK_ERR(dray_link_add(link, SIZE_MAX & ~(PAGE - 1), mem, 2 * PAGE, DRAY_TO_DEVICE),
		  EINVAL);
	CHECK_ERR(dray_link_add(link, PAGE, NULL, PAGE, DRAY_BIDIRECTIONAL), EINVAL);
	CHECK_ERR(dray_link_add(link, PAGE, mem, PAGE, (enum dray_dir)9), EINVAL);
	CHECK_ERR(dray_link_add(link, PAGE + 1, mem, PAGE, DRAY_BIDIRECTIONAL), EINVAL);
	CHECK_ERR(dray_link_add(NULL, PAGE, mem, PAGE, DRAY_BIDIRECTIONAL), EINVAL);
	CHECK_ERR(dray_link_add(link, PAGE, (void *)(uintptr_t)0x10000, PAGE, DRAY_TO_DEVICE),
		  EFAULT);
	CHECK_ERR(dray_link_add(link, 0, mem, PAGE, DRAY_BIDIRECTIONAL), EEXIST);
	CHECK_ERR(dray_link_add(link, PAGE - 1, mem + PAGE - 1, 2, DRAY_BIDIRECTIONAL), EEXIST);
	CHECK_SAME(dom, &was);
	CHECK_OK(dray_link_add(link, 2 * PAGE, mem, PAGE, DRAY_BIDIRECTIONAL));
	was = rig_state(dom);
	CHECK_ERR(dray_link_add(link, PAGE, mem + PAGE, PAGE + 1, DRAY_BIDIRECTIONAL), EEXIST);
	CHECK_SAME(dom, &was);
	CHECK_OK(dray_link_add(link, PAGE, mem + PAGE, PAGE, DRAY_BIDIRECTIONAL));
	dray_link_close(link);
	dray_device_close(dev);
	dray_domain_close(dom);
	blocked = rig_domain_as(rig, DRAY_DOMAIN_BLOCKED);
	dev = rig_device(rig, blocked, NULL);
	CHECK_ERR(dray_link_open(dev, PAGE, 0, &none), EPERM);
	dray_device_close(dev);
	dray_domain_close(blocked);
}

/* Whatever call fails, at whatever place in the window, the window is as before. */
static void link_add_fails_whole(struct rig *rig)
{
	struct dray_domain *dom = rig_domain(rig);
	struct dray_device_opts opts = rig_device_opts();
	char *mem = rig_pages(16 * PAGE);
	struct dray_device *dev;
	struct dray_link *link;
	struct actor *a;
	dray_iova_t at;
	unsigned hurt = 0;

	opts.flags = DRAY_DEVICE_UNTRUSTED; /* so that a piece is up to three mappings */
	CHECK_OK(dray_device_open(dom, rig->device, &opts, &dev));
	a = actor_open(rig, dev);
	CHECK_OK(dray_link_open(dev, 12 * PAGE, 0, &link));
	at = dray_link_iova(link);
	CHECK_OK(dray_link_add(link, 4 * PAGE, mem, PAGE, DRAY_BIDIRECTIONAL));
	for (unsigned place = 0; place < 2; place++) {
		size_t off = place ? 6 * PAGE + 9 : 9;

		for (unsigned k = 0; k < 3; k++) {
			enum world_call call = k == 0 ? WORLD_IOCTL_MAP : k == 1 ? WORLD_ALLOC :
					       WORLD_MMAP;

			for (unsigned n = 1; n < 20; n++) {
				struct rig_state was = rig_state(dom);
				bool fired;
				int err;

				world_fail_nth(call, n, k ? ENOMEM : EIO);
				err = dray_link_add(link, off, mem + 9, 3 * PAGE, DRAY_TO_DEVICE);
				fired = world_fired(call);
				world_fail_nth(call, 0, 0);
				if (!err) {
					CHECK_READS(a, at + off, mem + 9, 64);
					CHECK_READS(a, at + off + 3 * PAGE - 64,
						    mem + 9 + 3 * PAGE - 64, 64);
					dray_link_remove(link, off, 3 * PAGE);
					was.maps++;
					was.unmaps++;
				}
				hurt += err != 0;
				CHECK_SAME(dom, &was);
				if (!fired)
					break;
			}
		}
	}
	CHECK(hurt >= (rig_is_sim(rig) ? 6 : 12));
	CHECK_READS(a, at + 4 * PAGE, mem, 64);
	CHECK_BLOCKED(a, at + 9, mem + 9, 64);
	dray_link_close(link);
	actor_close(a);
	dray_device_close(dev);
	dray_domain_close(dom);
}

/* The device and the domain live until the last link is closed. */
static void link_outlives_its_device(struct rig *rig)
{
	struct dray_domain *dom = rig_domain(rig);
	struct dray_device *dev = rig_device(rig, dom, NULL), *none;
	struct dray_device_opts opts = rig_device_opts();
	struct actor *a = actor_open(rig, dev);
	char *mem = rig_pages(4 * PAGE);
	struct dray_link *link, *link2;
	struct dray_mapping m;
	dray_iova_t at;

	CHECK_OK(dray_link_open(dev, 2 * PAGE, 0, &link));
	CHECK_OK(dray_link_open(dev, 2 * PAGE, 0, &link2));
	at = dray_link_iova(link);
	CHECK_OK(dray_link_add(link, 0, mem, PAGE, DRAY_BIDIRECTIONAL));
	CHECK_READS(a, at, mem, 64);
	actor_close(a);
	dray_device_close(dev);
	dray_domain_close(dom);
	/* Still its owner's. */
	CHECK_ERR(dray_link_add(link, 0, mem, PAGE, DRAY_BIDIRECTIONAL), EEXIST);
	CHECK_OK(dray_link_add(link, PAGE, mem + PAGE, PAGE, DRAY_BIDIRECTIONAL));
	CHECK_OK(dray_link_sync(link, 0, 2 * PAGE));
	dray_link_close(link);
	dray_link_close(link2);
	/* And now free for another domain. */
	dom = rig_domain(rig);
	CHECK_OK(dray_device_open(dom, rig->device, &opts, &none));
	CHECK_OK(dray_map(none, mem, PAGE, DRAY_BIDIRECTIONAL, 0, &m));
	dray_unmap(none, &m);
	dray_device_close(none);
	dray_domain_close(dom);
}

/* Sync by address: explicit, linked, mapped, in any mix that is mapped without a gap. */
static void sync_by_address(struct rig *rig)
{
	struct dray_domain *dom = rig_domain(rig);
	struct dray_device *dev = rig_device(rig, dom, NULL);
	char *mem = rig_pages(8 * PAGE);
	struct dray_link *link;
	dray_iova_t at;

	CHECK_OK(dray_domain_map(dom, AT, mem, 2 * PAGE, DRAY_PROT_READ | DRAY_PROT_WRITE, 0));
	CHECK_OK(dray_link_open(dev, 4 * PAGE, 0, &link));
	at = dray_link_iova(link);
	CHECK_OK(dray_link_add(link, 8, mem + 8, 2 * PAGE, DRAY_BIDIRECTIONAL));
	for (unsigned i = 0; i < 3; i++) {
		CHECK_OK(dray_sync_iova_for_device(dev, AT + 5, 2 * PAGE - 5, (enum dray_dir)i));
		CHECK_OK(dray_sync_iova_for_cpu(dev, AT + 5, 2 * PAGE - 5, (enum dray_dir)i));
		CHECK_OK(dray_sync_iova_for_device(dev, at + 8, 2 * PAGE, (enum dray_dir)i));
		CHECK_OK(dray_sync_iova_for_cpu(dev, at + 8, 2 * PAGE, (enum dray_dir)i));
	}
	CHECK_OK(dray_sync_iova_for_cpu(dev, AT + 7, 0, DRAY_BIDIRECTIONAL));
	CHECK_ERR(dray_sync_iova_for_device(dev, AT, 2 * PAGE + 1, DRAY_BIDIRECTIONAL), EINVAL);
	CHECK_ERR(dray_sync_iova_for_cpu(dev, AT - 1, 2, DRAY_BIDIRECTIONAL), EINVAL);
	CHECK_ERR(dray_sync_iova_for_cpu(dev, at, 4 * PAGE, DRAY_BIDIRECTIONAL), EINVAL);
	CHECK_ERR(dray_sync_iova_for_cpu(dev, DRAY_IOVA_NONE, 2, DRAY_BIDIRECTIONAL), ERANGE);
	CHECK_ERR(dray_sync_iova_for_cpu(NULL, AT, 8, DRAY_BIDIRECTIONAL), EINVAL);
	CHECK_ERR(dray_sync_iova_for_cpu(dev, AT, 8, (enum dray_dir)3), EINVAL);
	dray_link_close(link);
	CHECK_ERR(dray_sync_iova_for_cpu(dev, at + 8, 8, DRAY_BIDIRECTIONAL), EINVAL);
	CHECK_OK(dray_domain_unmap(dom, AT, 2 * PAGE));
	dray_device_close(dev);
	dray_domain_close(dom);
}

/* In a lazy domain a removed piece is gone at once; its place can be filled again. */
static void link_in_a_lazy_domain(struct rig *rig)
{
	struct dray_domain_opts opts = rig_domain_opts(rig);
	char *mem = rig_pages(4 * PAGE);
	struct dray_domain *dom;
	struct dray_device *dev;
	struct dray_link *link;
	struct actor *a;
	dray_iova_t at;

	opts.invalidation = DRAY_LAZY;
	opts.flags = DRAY_DOMAIN_POLLED | DRAY_DOMAIN_GUARD;
	CHECK_OK(dray_domain_open(&opts, &dom));
	dev = rig_device(rig, dom, NULL);
	a = actor_open(rig, dev);
	CHECK_OK(dray_link_open(dev, 2 * PAGE, 0, &link));
	at = dray_link_iova(link);
	for (unsigned i = 0; i < 4; i++) {
		CHECK_OK(dray_link_add(link, PAGE, mem + i * PAGE, PAGE, DRAY_BIDIRECTIONAL));
		CHECK_READS(a, at + PAGE, mem + i * PAGE, 64);
		CHECK_BLOCKED(a, at, mem, 64);
		dray_link_remove(link, PAGE, PAGE);
		CHECK_BLOCKED(a, at + PAGE, mem + i * PAGE, 64);
	}
	dray_link_close(link);
	CHECK_INT(rig_info(dom).damaged, 0);
	actor_close(a);
	dray_device_close(dev);
	dray_domain_close(dom);
}

const struct contract_case linked_cases[] = {
	{ "link_piece_by_piece", "B09", link_piece_by_piece },
	{ "link_refuses", "B09", link_refuses },
	{ "link_add_fails_whole", "B09", link_add_fails_whole },
	{ "link_outlives_its_device", "B09", link_outlives_its_device },
	{ "sync_by_address", "B12", sync_by_address },
	{ "link_in_a_lazy_domain", "B09 C02", link_in_a_lazy_domain },
	{ NULL },
};
