// SPDX-License-Identifier: BSD-2-Clause
/* Registered memory: mapped once, found by lookup, and gone when it is unregistered. */
#define _GNU_SOURCE
#include "actor.h"
#include "limiter.h"
#include "world.h"
#include "domain/domain.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define AT UINT64_C(0x4000000)

static struct dray_region *region_at(struct dray_domain *dom, dray_iova_t iova, void *va,
				     size_t len, uint32_t flags)
{
	struct dray_region *region = NULL;

	CHECK_OK(dray_region_register_at(dom, iova, va, len, flags, &region));
	CHECK(region);
	return region;
}

/* One backend call to register; none, and no system call that we make, from then on. */
static void registered_once(struct rig *rig)
{
	struct dray_domain *dom = rig_domain(rig);
	struct dray_device *dev = rig_device(rig, dom, NULL);
	struct actor *a = actor_open(rig, dev);
	char *mem = rig_pages_aligned(LARGE, LARGE);
	struct dray_region *region;
	struct dray_stats was = rig_stats(dom), now;
	struct dray_mapping m;
	unsigned ioctls;
	size_t len;

	region = region_at(dom, AT, mem, LARGE, 0);
	CHECK_INT(rig_stats(dom).backend_maps, was.backend_maps + 1);
	was = rig_stats(dom);
	ioctls = world_calls(WORLD_IOCTL);
	for (unsigned i = 0; i < 100; i++) {
		size_t off = i * 4099, n = 1 + i * 97;

		CHECK_OK(dray_map(dev, mem + off, n, (enum dray_dir)(i % 3), 0, &m));
		CHECK_INT(m.iova, AT + off);
		CHECK_INT(m.len, n);
		CHECK_ERR(dray_region_unregister(region), EBUSY);
		CHECK_OK(dray_sync_for_device(dev, &m, 0, n));
		CHECK_OK(dray_sync_for_cpu(dev, &m, n, 0));
		CHECK_ERR(dray_sync_for_cpu(dev, &m, 1, n), EINVAL);
		dray_unmap(dev, &m);
		CHECK(!m.cookie[0]);
	}
	CHECK_INT(world_calls(WORLD_IOCTL), ioctls);
	now = rig_stats(dom);
	CHECK_INT(now.backend_maps, was.backend_maps);
	CHECK_INT(now.backend_unmaps, was.backend_unmaps);
	CHECK_INT(now.maps, was.maps + 100);
	CHECK_INT(now.unmaps, was.unmaps + 100);
	/* What its owner keeps mapped stays reachable. */
	CHECK_READS(a, AT + LARGE - 64, mem + LARGE - 64, 64);
	CHECK(dray_iova_to_va(dom, AT + 5) == mem + 5);
	len = 3 * LARGE;
	CHECK_INT(dray_translate(dom, mem + 7, &len), AT + 7);
	CHECK_INT(len, LARGE - 7);
	CHECK_INT(dray_translate(dom, mem + LARGE - 1, NULL), AT + LARGE - 1);
	CHECK(dray_translate(dom, mem + LARGE, NULL) == DRAY_IOVA_NONE);
	CHECK(dray_translate(dom, mem - 1, NULL) == DRAY_IOVA_NONE);
	len = 0;
	CHECK(dray_translate(dom, mem, &len) == DRAY_IOVA_NONE);
	CHECK_OK(dray_region_unregister(region));
	CHECK_BLOCKED(a, AT, mem, 64);
	CHECK(!dray_iova_to_va(dom, AT + 5));
	CHECK(dray_translate(dom, mem, NULL) == DRAY_IOVA_NONE);
	CHECK_ERR(dray_region_unregister(region), EINVAL);
	CHECK_ERR(dray_region_unregister(NULL), EINVAL);
	/* The place is free again. */
	CHECK_OK(dray_map_fixed(dev, AT, mem, PAGE, DRAY_TO_DEVICE, 0, &m));
	dray_unmap(dev, &m);
	actor_close(a);
	dray_device_close(dev);
	dray_domain_close(dom);
}

/* Over an edge a buffer is mapped as if there were no region; two regions are two. */
static void region_edges(struct rig *rig)
{
	struct dray_domain *dom = rig_domain(rig);
	struct dray_device *dev = rig_device(rig, dom, NULL);
	struct actor *a = actor_open(rig, dev);
	char *mem = rig_pages(8 * PAGE);
	struct dray_region *r1, *r2;
	struct dray_mapping m;
	size_t len = 4 * PAGE;

	r1 = region_at(dom, AT, mem + PAGE, 2 * PAGE, 0);
	r2 = region_at(dom, AT + 4 * PAGE, mem + 3 * PAGE, 2 * PAGE, 0);
	for (unsigned i = 0; i < 3; i++) {
		static const size_t off[] = { PAGE - 1, 3 * PAGE - 1, 5 * PAGE - 1 };

		CHECK_OK(dray_map(dev, mem + off[i], 66, DRAY_BIDIRECTIONAL, 0, &m));
		CHECK(m.iova < AT || m.iova >= AT + 6 * PAGE);
		CHECK_READS(a, m.iova, mem + off[i], 66);
		/* Its own: the regions have nothing out. */
		CHECK_OK(dray_region_unregister(r1));
		CHECK_READS(a, m.iova, mem + off[i], 66);
		r1 = region_at(dom, AT, mem + PAGE, 2 * PAGE, 0);
		dray_unmap(dev, &m);
	}
	CHECK_INT(dray_translate(dom, mem + PAGE, &len), AT);
	CHECK_INT(len, 2 * PAGE);
	CHECK_OK(dray_region_unregister(r2));
	/* Adjoining on both sides: they run on. */
	r2 = region_at(dom, AT + 2 * PAGE, mem + 3 * PAGE, 2 * PAGE, 0);
	len = 8 * PAGE;
	CHECK_INT(dray_translate(dom, mem + PAGE, &len), AT);
	CHECK_INT(len, 4 * PAGE);
	CHECK_OK(dray_region_unregister(r2));
	CHECK_OK(dray_region_unregister(r1));
	actor_close(a);
	dray_device_close(dev);
	dray_domain_close(dom);
}

static void region_refuses(struct rig *rig)
{
	struct dray_domain *dom = rig_domain(rig), *blocked;
	struct dray_device *dev = rig_device(rig, dom, NULL);
	char *mem = rig_pages(16 * PAGE);
	struct dray_region *region, *none = NULL;
	struct dray_mapping m;
	struct rig_state was;

	region = region_at(dom, AT, mem + 4 * PAGE, 4 * PAGE, 0);
	was = rig_state(dom);
	for (size_t first = 1; first < 8; first++)
		for (size_t len = first < 4 ? 5 - first : 1; len < 8; len += 3)
			CHECK_ERR(dray_region_register(dom, mem + first * PAGE, len * PAGE, 0,
						       &none), EEXIST);
	/* Bad granules come before overlaps. */
	CHECK_ERR(dray_region_register(dom, mem + 4 * PAGE + 8, PAGE, 0, &none), EINVAL);
	CHECK_ERR(dray_region_register(dom, mem + 4 * PAGE, PAGE + 8, 0, &none), EINVAL);
	CHECK_ERR(dray_region_register(dom, mem, 0, 0, &none), EINVAL);
	CHECK_ERR(dray_region_register(dom, NULL, PAGE, 0, &none), EINVAL);
	CHECK_ERR(dray_region_register(dom, mem, ~(PAGE - 1), 0, &none), EINVAL);
	CHECK_ERR(dray_region_register(dom, mem, PAGE, 1u << 20, &none), EINVAL);
	CHECK_ERR(dray_region_register(dom, mem, PAGE, 1u << 31, &none), EINVAL);
	CHECK_ERR(dray_region_register(dom, mem, PAGE, DRAY_REGION_PREMAPPED, &none), EINVAL);
	CHECK_ERR(dray_region_register(dom, mem, PAGE, 0, NULL), EINVAL);
	CHECK_ERR(dray_region_register(NULL, mem, PAGE, 0, &none), EINVAL);
	CHECK_ERR(dray_region_register_at(dom, AT + 8, mem, PAGE, 0, &none), EINVAL);
	CHECK_ERR(dray_region_register_at(dom, DRAY_IOVA_NONE, mem, PAGE, 0, &none), EINVAL);
	CHECK_ERR(dray_region_register_at(dom, AT + PAGE, mem, PAGE, 0, &none), EEXIST);
	CHECK_ERR(dray_region_register_at(dom, MSI_IOVA, mem, PAGE, 0, &none), EEXIST);
	CHECK_ERR(dray_region_register_at(dom, UINT64_C(1) << 60, mem, PAGE, 0, &none), ERANGE);
	CHECK_ERR(dray_region_register(dom, (void *)(uintptr_t)0x10000, PAGE, 0, &none), EFAULT);
	CHECK_SAME(dom, &was);
	CHECK(!none);
	CHECK_OK(dray_map_fixed(dev, AT + 8 * PAGE, mem, PAGE, DRAY_TO_DEVICE, 0, &m));
	CHECK_ERR(dray_region_register_at(dom, AT + 8 * PAGE, mem, PAGE, 0, &none), EEXIST);
	CHECK_ERR(dray_region_register_at(dom, AT + 8 * PAGE, mem, PAGE, DRAY_REGION_PREMAPPED,
					  &none), EEXIST);
	dray_unmap(dev, &m);
	CHECK_ERR(dray_map_fixed(dev, AT, mem, PAGE, DRAY_TO_DEVICE, 0, &m), EEXIST);
	CHECK_ERR(dray_domain_map(dom, AT, mem, PAGE, DRAY_PROT_READ, 0), EEXIST);
	CHECK_ERR(dray_domain_unmap(dom, AT, 4 * PAGE), EINVAL);
	CHECK_ERR(dray_domain_reserve(dom, AT, AT + PAGE - 1, 0), EEXIST);
	CHECK_OK(dray_region_unregister(region));
	/* In a fixed window its address is reserved again afterwards. */
	CHECK_OK(dray_domain_reserve(dom, AT, AT + 4 * PAGE - 1, DRAY_RESERVE_FIXED));
	region = region_at(dom, AT, mem, 4 * PAGE, 0);
	CHECK_OK(dray_region_unregister(region));
	CHECK_OK(dray_domain_unreserve(dom, AT, AT + 4 * PAGE - 1));
	dray_device_close(dev);
	dray_domain_close(dom);
	blocked = rig_domain_as(rig, DRAY_DOMAIN_BLOCKED);
	CHECK_ERR(dray_region_register(blocked, mem, PAGE, 0, &none), EPERM);
	dray_domain_close(blocked);
}

/* Left out when the last device closes: counted, settled, and no receipt of then counts again. */
static void region_leaks_are_settled(struct rig *rig)
{
	struct dray_domain *dom = rig_domain(rig);
	struct dray_device *dev = rig_device(rig, dom, NULL);
	struct dray_device *dev2 = rig_device(rig, dom, rig->device2);
	char *mem = rig_pages(8 * PAGE);
	struct dray_sg sg[2] = { { .va = mem, .len = 8 }, { .va = mem + 3 * PAGE, .len = 8 } };
	struct dray_region *region = region_at(dom, AT, mem, 4 * PAGE, 0);
	struct dray_mapping m, early;

	CHECK_OK(dray_map(dev, mem, 100, DRAY_BIDIRECTIONAL, 0, &m));
	early = m;
	CHECK_INT(dray_map_sg(dev, sg, 2, DRAY_TO_DEVICE, 0), 2);
	CHECK_INT(sg[1].iova, AT + 3 * PAGE);
	dray_device_close(dev);
	CHECK_INT(rig_stats(dom).leaks, 0);
	CHECK_ERR(dray_region_unregister(region), EBUSY);
	dray_device_close(dev2);
	CHECK_INT(rig_stats(dom).leaks, 3);
	dev = rig_device(rig, dom, NULL);
	CHECK_OK(dray_map(dev, mem, 100, DRAY_BIDIRECTIONAL, 0, &m));
	dray_unmap(dev, &early);
	dray_unmap_sg(dev, sg, 2);
	CHECK_INT(rig_stats(dom).bad_unmaps, 2);
	CHECK_ERR(dray_region_unregister(region), EBUSY);
	dray_unmap(dev, &m);
	CHECK_OK(dray_region_unregister(region));
	dray_device_close(dev);
	CHECK_INT(rig_stats(dom).leaks, 3);
	dray_domain_close(dom);
}

/* There before the device came, and after the domain was closed. */
static void region_outlives(struct rig *rig)
{
	struct dray_domain *dom = rig_domain(rig);
	char *mem = rig_pages(4 * PAGE);
	struct dray_region *region = region_at(dom, AT, mem, 4 * PAGE, 0);
	struct dray_device *dev;
	struct dray_mapping m;
	struct actor *a;

	for (unsigned i = 0; i < 2; i++) {
		dev = rig_device(rig, dom, i ? rig->device2 : NULL);
		a = actor_open(rig, dev);
		CHECK_READS(a, AT + 3 * PAGE, mem + 3 * PAGE, 64);
		CHECK_WRITES(a, AT, mem, 64);
		CHECK_OK(dray_map(dev, mem + 9, 100, DRAY_BIDIRECTIONAL, 0, &m));
		CHECK_INT(m.iova, AT + 9);
		if (i)
			dray_domain_close(dom);
		CHECK_ERR(dray_region_unregister(region), EBUSY);
		dray_unmap(dev, &m);
		actor_close(a);
		dray_device_close(dev);
	}
	/* Closed, without a device; the region is all that holds it. */
	CHECK(dray_translate(dom, mem, NULL) == AT);
	CHECK_OK(dray_region_unregister(region));
}

static void region_that_is_read_only(struct rig *rig)
{
	struct dray_domain *dom = rig_domain(rig);
	struct dray_device *dev = rig_device(rig, dom, NULL);
	struct actor *a = actor_open(rig, dev);
	char *mem = rig_pages(4 * PAGE);
	struct dray_region *region, *none;
	struct dray_mapping m;

	region = region_at(dom, AT, mem, 2 * PAGE, DRAY_REGION_READ_ONLY);
	CHECK_READS(a, AT, mem, 64);
	CHECK_NO_WRITE(a, AT, mem, 64);
	CHECK_OK(dray_map(dev, mem, 100, DRAY_TO_DEVICE, 0, &m));
	CHECK_INT(m.iova, AT);
	dray_unmap(dev, &m);
	for (unsigned i = 0; i < 2; i++) {
		CHECK_OK(dray_map(dev, mem, 100, i ? DRAY_FROM_DEVICE : DRAY_BIDIRECTIONAL, 0, &m));
		CHECK(m.iova != AT);
		CHECK_WRITES(a, m.iova, mem, 64);
		dray_unmap(dev, &m);
	}
	CHECK_OK(dray_region_unregister(region));
	CHECK(!mprotect(mem, 2 * PAGE, PROT_READ));
	CHECK_ERR(dray_region_register_at(dom, AT, mem, 2 * PAGE, 0, &none), EFAULT);
	region = region_at(dom, AT, mem, 2 * PAGE, DRAY_REGION_READ_ONLY);
	CHECK_READS(a, AT + PAGE, mem + PAGE, 64);
	CHECK_OK(dray_region_unregister(region));
	actor_close(a);
	dray_device_close(dev);
	dray_domain_close(dom);
}

/* Somebody else's mapping: looked up, and never touched. */
static void region_of_somebody_else(struct rig *rig)
{
	struct dray_domain_opts opts = rig_domain_opts(rig);
	char *mem = rig_pages(4 * PAGE);
	struct dray_region *region, *none;
	struct dray_device_opts wide = rig_device_opts();
	struct dray_domain *dom;
	struct dray_device *dev;
	struct dray_mapping m;
	struct dray_stats was;
	dray_iova_t at = UINT64_C(0x10000000);

	opts.first = 0x1000000;
	opts.last = 0x8ffffff;
	wide.dma_mask = 0;
	CHECK_OK(dray_domain_open(&opts, &dom));
	CHECK_OK(dray_device_open(dom, rig->device, &wide, &dev));
	was = rig_stats(dom);
	for (unsigned i = 0; i < 2; i++, at = AT) {
		region = region_at(dom, at, mem, 4 * PAGE, DRAY_REGION_PREMAPPED);
		CHECK(dray_iova_to_va(dom, at + 5) == mem + 5);
		CHECK_INT(dray_translate(dom, mem + 5, NULL), at + 5);
		CHECK_OK(dray_map(dev, mem + 5, PAGE, DRAY_BIDIRECTIONAL, 0, &m));
		CHECK_INT(m.iova, at + 5);
		CHECK_ERR(dray_region_unregister(region), EBUSY);
		dray_unmap(dev, &m);
		CHECK_ERR(dray_region_register_at(dom, at + PAGE, mem + 8 * PAGE, PAGE,
						  DRAY_REGION_PREMAPPED, &none), EEXIST);
		if (i)
			CHECK_ERR(dray_map_fixed(dev, at, mem, PAGE, DRAY_TO_DEVICE, 0, &m),
				  EEXIST);
		CHECK_OK(dray_region_unregister(region));
		CHECK(!dray_iova_to_va(dom, at + 5));
	}
	CHECK_INT(rig_stats(dom).backend_maps, was.backend_maps);
	CHECK_INT(rig_stats(dom).backend_unmaps, was.backend_unmaps);
	CHECK_ERR(dray_region_register_at(dom, 0x8fff000, mem, 2 * PAGE, DRAY_REGION_PREMAPPED,
					  &none), ERANGE);
	CHECK_OK(dray_map_fixed(dev, AT, mem, PAGE, DRAY_TO_DEVICE, 0, &m));
	dray_unmap(dev, &m);
	dray_device_close(dev);
	dray_domain_close(dom);
}

/* A region above a mask with anything out in it keeps the mask where it is. */
static void region_above_a_new_mask(struct rig *rig)
{
	struct dray_domain *dom = rig_domain(rig);
	struct dray_device *dev = rig_device(rig, dom, NULL);
	char *mem = rig_pages(PAGE);
	struct dray_region *region = region_at(dom, AT, mem, PAGE, 0);
	struct dray_mapping m;

	CHECK_OK(dray_map(dev, mem, 8, DRAY_TO_DEVICE, 0, &m));
	CHECK_ERR(dray_device_set_mask(dev, AT - 1), EBUSY);
	dray_unmap(dev, &m);
	CHECK_OK(dray_device_set_mask(dev, AT - 1));
	CHECK_OK(dray_map(dev, mem, 8, DRAY_TO_DEVICE, 0, &m));
	CHECK(m.iova < AT);
	CHECK_INT(rig_stats(dom).bounce_mask, 1);
	dray_unmap(dev, &m);
	CHECK_OK(dray_region_unregister(region));
	dray_device_close(dev);
	dray_domain_close(dom);
}

/* Registering in pieces: whichever fails, nothing is left. The locked-memory limit is named. */
static void region_fails_whole(struct rig *rig)
{
	static const int errs[] = { ENOSPC, ENOMEM, EFAULT };
	struct dray_domain *dom = rig_domain(rig);
	char *mem = rig_pages(64 * PAGE);
	struct dray_region *region;
	struct rig_state was;
	struct dray_device *dev;

	rig_set_max_op(dom, 2 * PAGE);
	dev = rig_device(rig, dom, NULL);
	CHECK_OK(dray_region_register(dom, mem, 8 * PAGE, 0, &region));
	CHECK_INT(rig_stats(dom).backend_maps, 4);
	CHECK_OK(dray_region_unregister(region));
	was = rig_state(dom);
	for (unsigned n = 1; n <= 4 && !rig_is_sim(rig); n++) {
		for (unsigned e = 0; e < 3; e++) {
			world_fail_nth(WORLD_IOCTL_MAP, n, errs[e]);
			CHECK_ERR(dray_region_register(dom, mem, 8 * PAGE, 0, &region), errs[e]);
			CHECK_SAME(dom, &was);
		}
	}
	for (unsigned n = 1;; n++) {
		bool fired;
		int err;

		world_fail_nth(WORLD_ALLOC, n, ENOMEM);
		err = dray_region_register(dom, mem, 8 * PAGE, 0, &region);
		fired = world_fired(WORLD_ALLOC);
		world_fail_nth(WORLD_ALLOC, 0, 0);
		if (!err)
			CHECK_OK(dray_region_unregister(region));
		else
			CHECK_INT(err, -ENOMEM);
		CHECK_SAME(dom, &was);
		if (!fired)
			break;
	}
	limiter_lock_at_most(32 * PAGE);
	if (!rig_is_sim(rig)) {
		CHECK_ERR(dray_region_register(dom, mem, 40 * PAGE, 0, &region), ENOMEM);
		CHECK_WORDS("RLIMIT_MEMLOCK");
		CHECK_SAME(dom, &was);
		CHECK_OK(dray_region_register(dom, mem, 24 * PAGE, 0, &region));
		CHECK_OK(dray_region_unregister(region));
	}
	dray_device_close(dev);
	dray_domain_close(dom);
}

static int child_says(int (*fn)(struct dray_domain *, struct dray_device *, struct dray_region *,
				char *), struct dray_domain *dom, struct dray_device *dev,
		      struct dray_region *region, char *mem)
{
	int status;
	pid_t pid = fork();

	CHECK(pid >= 0);
	if (!pid) {
		signal(SIGSEGV, SIG_DFL);
		_exit(fn(dom, dev, region, mem));
	}
	CHECK(waitpid(pid, &status, 0) == pid);
	return status;
}

static int use_it(struct dray_domain *dom, struct dray_device *dev, struct dray_region *region,
		  char *mem)
{
	struct dray_region *none;
	struct dray_mapping m;

	CHECK_ERR(dray_map(dev, mem, 8, DRAY_TO_DEVICE, 0, &m), EPERM);
	CHECK_ERR(dray_region_register(dom, mem + 8 * PAGE, PAGE, 0, &none), EPERM);
	CHECK_ERR(dray_region_unregister(region), EPERM);
	/* Its own copy: the device of the parent does not see this. */
	memset(mem, 0x33, 2 * PAGE);
	return 0;
}

static int touch_it(struct dray_domain *dom, struct dray_device *dev, struct dray_region *region,
		    char *mem)
{
	(void)dom;
	(void)dev;
	(void)region;
	return *(volatile char *)mem & 0;
}

static void region_and_fork(struct rig *rig)
{
	struct dray_domain *dom = rig_domain(rig);
	struct dray_device *dev = rig_device(rig, dom, NULL);
	struct actor *a = actor_open(rig, dev);
	char *mem = rig_pages(16 * PAGE);
	struct dray_region *region = region_at(dom, AT, mem, 4 * PAGE, 0);

	CHECK_INT(child_says(use_it, dom, dev, region, mem), 0);
	CHECK_READS(a, AT, mem, 64);
	CHECK_WRITES(a, AT, mem, 64);
	memset(mem, 0x44, PAGE);
	CHECK_READS(a, AT, mem, 64);
	CHECK_OK(dray_region_unregister(region));
	region = region_at(dom, AT, mem, 4 * PAGE, DRAY_REGION_DONTFORK);
	CHECK(WIFSIGNALED(child_says(touch_it, dom, dev, region, mem)));
	CHECK_READS(a, AT, mem, 64);
	CHECK_OK(dray_region_unregister(region));
	/* As it was before. */
	CHECK_INT(child_says(touch_it, dom, dev, NULL, mem), 0);
	actor_close(a);
	dray_device_close(dev);
	dray_domain_close(dom);
}

struct race {
	struct rig *rig;
	struct dray_domain *dom;
	struct dray_device *dev;
	char *mem;
	atomic_bool stop;
	atomic_uint inside, outside;
};

/* Wherever it says that the buffer is, there it is, until it is unmapped. */
static void *map_against(void *arg)
{
	struct race *r = arg;
	struct dray_mapping m;

	for (unsigned i = 0; !atomic_load(&r->stop); i++) {
		char *va = r->mem + i % 32 * 100, got[16];

		CHECK_OK(dray_map(r->dev, va, 16, DRAY_TO_DEVICE, 0, &m));
		CHECK(dray_iova_to_va(r->dom, m.iova) == va);
		if (rig_is_sim(r->rig)) {
			CHECK_OK(dray_sim_read(r->dev, m.iova, got, 16));
			CHECK(!memcmp(got, va, 16));
		}
		atomic_fetch_add(m.iova >= AT && m.iova < AT + PAGE ? &r->inside : &r->outside, 1);
		dray_unmap(r->dev, &m);
	}
	return NULL;
}

static void unregister_against_map(struct rig *rig)
{
	struct race r = { .rig = rig, .dom = rig_domain(rig), .mem = rig_pages(PAGE) };
	unsigned won = 0;
	pthread_t threads[2];

	r.dev = rig_device(rig, r.dom, NULL);
	for (unsigned i = 0; i < 2; i++)
		CHECK(!pthread_create(&threads[i], NULL, map_against, &r));
	for (unsigned i = 0; i < 1000000 && (won < 200 || !r.inside || !r.outside); i++) {
		struct dray_region *region = region_at(r.dom, AT, r.mem, PAGE, 0);
		int err;

		sched_yield();
		while ((err = dray_region_unregister(region)))
			CHECK_INT(err, -EBUSY);
		won++;
		sched_yield();
	}
	atomic_store(&r.stop, true);
	for (unsigned i = 0; i < 2; i++)
		CHECK(!pthread_join(threads[i], NULL));
	CHECK(r.inside && r.outside);
	CHECK_INT(rig_stats(r.dom).maps, rig_stats(r.dom).unmaps);
	CHECK(dr_regions_is_valid(r.dom->regions));
	dray_device_close(r.dev);
	CHECK_INT(rig_stats(r.dom).leaks, 0);
	dray_domain_close(r.dom);
}

const struct contract_case region_cases[] = {
	{ "registered_once", "F01 F02", registered_once },
	{ "region_edges", "F01 F04", region_edges },
	{ "region_refuses", "F04 A12", region_refuses },
	{ "region_leaks_are_settled", "F03", region_leaks_are_settled },
	{ "region_outlives", "D15 F03", region_outlives },
	{ "region_that_is_read_only", "F01", region_that_is_read_only },
	{ "region_of_somebody_else", "D06 F01", region_of_somebody_else },
	{ "region_above_a_new_mask", "D05", region_above_a_new_mask },
	{ "region_fails_whole", "B11 F01", region_fails_whole },
	{ "region_and_fork", "D14", region_and_fork },
	{ "unregister_against_map", "F03", unregister_against_map },
	{ NULL },
};
