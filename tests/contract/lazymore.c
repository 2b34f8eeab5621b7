// SPDX-License-Identifier: BSD-2-Clause
/* Lazy invalidation where it meets the rest: helper thread, pressure, close, fork, refusals. */
#define _GNU_SOURCE
#include "actor.h"
#include "world.h"

#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MS UINT64_C(1000000)
#define AT UINT64_C(0x3000000)
/* A window of so many granules, so that addresses run out. */
#define WINDOW 64

static struct dray_domain *open_lazy(const struct rig *rig, uint32_t flags, size_t window,
				     const char *profile)
{
	struct dray_domain_opts opts = rig_domain_opts(rig);
	struct dray_domain *dom = NULL;

	opts.invalidation = DRAY_LAZY;
	opts.flags = flags;
	opts.sim_profile = profile;
	if (window) {
		opts.first = AT;
		opts.last = AT + window * PAGE - 1;
	}
	CHECK_OK(dray_domain_open(&opts, &dom));
	return dom;
}

static uint64_t waiting(const struct dray_domain *dom)
{
	return rig_stats(dom).waiting_entries;
}

/* The thread called dray-flush of this process; 0: there is none. */
static pid_t find_helper(void)
{
	DIR *dir = opendir("/proc/self/task");
	struct dirent *e;
	pid_t found = 0;

	CHECK(dir);
	while ((e = readdir(dir))) {
		char path[300], name[32] = "";
		FILE *f;

		snprintf(path, sizeof(path), "/proc/self/task/%s/comm", e->d_name);
		f = fopen(path, "r");
		if (f && fgets(name, sizeof(name), f) && !strcmp(name, "dray-flush\n"))
			found = atoi(e->d_name);
		if (f)
			fclose(f);
	}
	closedir(dir);
	return found;
}

static uint64_t blocked_signals(pid_t thread)
{
	unsigned long long mask = 0;
	char path[64], line[128];
	FILE *f;

	snprintf(path, sizeof(path), "/proc/self/task/%d/status", thread);
	f = fopen(path, "r");
	CHECK(f);
	while (fgets(line, sizeof(line), f))
		if (sscanf(line, "SigBlk: %llx", &mask) == 1)
			break;
	fclose(f);
	return mask;
}

static bool until_flushed(const struct dray_domain *dom)
{
	const struct timespec nap = { .tv_nsec = 2000000 };

	for (int i = 0; i < 10000; i++) {
		if (!waiting(dom))
			return true;
		nanosleep(&nap, NULL);
	}
	return false;
}

/* Quiet applications are flushed too, by a thread that gets in nobody's way. */
static void lazy_ages_by_itself(struct rig *rig)
{
	struct dray_domain *dom = open_lazy(rig, 0, 0, NULL), *polled;
	struct dray_device *dev = rig_device(rig, dom, NULL);
	struct actor *a = actor_open(rig, dev);
	char *mem = rig_pages(PAGE);
	cpu_set_t mine, its;
	struct dray_mapping m;
	dray_iova_t at;
	pid_t helper;

	for (unsigned i = 0; i < 3; i++) {
		CHECK_OK(dray_map(dev, mem, PAGE, DRAY_BIDIRECTIONAL, 0, &m));
		at = m.iova;
		dray_unmap(dev, &m);
		CHECK(until_flushed(dom));
		CHECK_BLOCKED(a, at, mem, 64);
	}
	CHECK(rig_stats(dom).flushes_timer);
	CHECK(rig_stats(dom).longest_stale_ns);
	helper = find_helper();
	CHECK(helper && helper != getpid());
	/* All but SIGKILL and SIGSTOP, and the two that the C library keeps for itself. */
	CHECK((blocked_signals(helper) | 1u << 8 | 1u << 18 | UINT64_C(3) << 31) == UINT64_MAX);
	CHECK(!sched_getaffinity(getpid(), sizeof(mine), &mine));
	CHECK(!sched_getaffinity(helper, sizeof(its), &its));
	CHECK(CPU_EQUAL(&mine, &its));
	actor_close(a);
	dray_device_close(dev);
	dray_domain_close(dom);
	CHECK(!find_helper());
	polled = open_lazy(rig, DRAY_DOMAIN_POLLED, 0, NULL);
	CHECK(!find_helper());
	CHECK_OK(dray_domain_set_invalidation(polled, DRAY_STRICT));
	CHECK_OK(dray_domain_set_invalidation(polled, DRAY_LAZY));
	CHECK(!find_helper());
	dray_domain_close(polled);
}

struct filler {
	struct dray_device *dev;
	char *mem;
	unsigned n; /* how many pages it could map */
};

/* Map all there is, then let all of it wait. */
static void *fill_and_leave(void *arg)
{
	struct filler *f = arg;
	struct dray_mapping m[WINDOW];

	while (f->n < WINDOW && !dray_map(f->dev, f->mem, PAGE, DRAY_TO_DEVICE, 0, &m[f->n]))
		f->n++;
	for (unsigned i = 0; i < f->n; i++)
		dray_unmap(f->dev, &m[i]);
	return NULL;
}

static void fill_on_thread(struct filler *f)
{
	pthread_t thread;

	f->n = 0;
	CHECK(!pthread_create(&thread, NULL, fill_and_leave, f));
	CHECK(!pthread_join(thread, NULL));
}

/* Addresses that wait in any thread's queue, flushed or not, are there for who needs them. */
static void pressure_on_addresses(struct rig *rig)
{
	struct dray_domain *dom;
	struct dray_mapping m[WINDOW];
	struct filler f = { .mem = rig_pages(WINDOW * PAGE) };
	unsigned first;

	world_hold_clock();
	dom = open_lazy(rig, DRAY_DOMAIN_POLLED, WINDOW, NULL);
	f.dev = rig_device(rig, dom, NULL);
	for (unsigned i = 0; i < 8 * WINDOW; i++) {
		CHECK_OK(dray_map(f.dev, f.mem, (1 + i % 7) * PAGE, DRAY_TO_DEVICE, 0, &m[0]));
		dray_unmap(f.dev, &m[0]);
	}
	CHECK(rig_stats(dom).flushes_pressure);
	CHECK_OK(dray_flush(dom));
	fill_on_thread(&f);
	first = f.n;
	CHECK_INT(first, WINDOW);
	/* The thread is gone, its queue is not. */
	fill_on_thread(&f);
	CHECK_INT(f.n, first);
	/* Flushed because of age, and not given back by a thread that is no more. */
	for (unsigned round = 0; round < 3; round++) {
		CHECK_INT(waiting(dom), first);
		world_pass(10 * MS);
		CHECK_OK(dray_poll(dom));
		CHECK_INT(waiting(dom), 0);
		if (round == 0) {
			CHECK_OK(dray_map(f.dev, f.mem, WINDOW * PAGE, DRAY_TO_DEVICE, 0, &m[0]));
			dray_unmap(f.dev, &m[0]);
			CHECK_OK(dray_flush(dom));
		} else if (round == 1) {
			for (unsigned i = 0; i < WINDOW; i++)
				CHECK_OK(dray_map(f.dev, f.mem, PAGE, DRAY_TO_DEVICE, 0, &m[i]));
			for (unsigned i = 0; i < WINDOW; i++)
				dray_unmap(f.dev, &m[i]);
			CHECK_OK(dray_flush(dom));
		} else {
			CHECK_OK(dray_domain_reserve(dom, AT, AT + WINDOW * PAGE - 1, 0));
			break;
		}
		fill_on_thread(&f);
	}
	dray_device_close(f.dev);
	dray_domain_close(dom);
}

struct squeezer {
	struct dray_device *dev;
	char *mem;
};

static void *squeeze(void *arg)
{
	const struct squeezer *q = arg;
	struct dray_mapping m;

	for (unsigned i = 0; i < 2000; i++) {
		CHECK_OK(dray_map(q->dev, q->mem, PAGE, DRAY_TO_DEVICE, 0, &m));
		dray_unmap(q->dev, &m);
	}
	return NULL;
}

/* Four threads never have more than four pages, and there is room for more: nobody is refused. */
static void pressure_by_many(struct rig *rig)
{
	struct dray_domain *dom = open_lazy(rig, DRAY_DOMAIN_POLLED, 8, NULL);
	struct squeezer q = { .mem = rig_pages(PAGE) };
	pthread_t threads[4];

	q.dev = rig_device(rig, dom, NULL);
	for (unsigned i = 0; i < 4; i++)
		CHECK(!pthread_create(&threads[i], NULL, squeeze, &q));
	for (unsigned i = 0; i < 4; i++)
		CHECK(!pthread_join(threads[i], NULL));
	CHECK(rig_stats(dom).flushes_pressure);
	dray_device_close(q.dev);
	dray_domain_close(dom);
}

/* Every way of mapping tries again after a flush, when entries or locked memory ran out. */
static void pressure_on_the_kernel(struct rig *rig)
{
	static const int errs[] = { ENOSPC, ENOMEM };
	struct dray_domain *dom = open_lazy(rig, DRAY_DOMAIN_POLLED, 0, NULL);
	struct dray_device *dev;
	char *mem = rig_pages(4 * PAGE);
	struct dray_mapping m, wait;

	world_hold_clock();
	dev = rig_device(rig, dom, NULL);
	for (unsigned i = 0; i < 2 && !rig_is_sim(rig); i++) {
		for (unsigned way = 0; way < 6; way++) {
			struct dray_sg sg[2] = { { .va = mem, .len = PAGE },
						 { .va = mem + 2 * PAGE, .len = PAGE } };
			struct dray_region *region;
			struct dray_link *link;
			uint64_t was;
			void *va;

			CHECK_OK(dray_link_open(dev, PAGE, 0, &link));
			CHECK_OK(dray_map(dev, mem + 3 * PAGE, PAGE, DRAY_TO_DEVICE, 0, &wait));
			dray_unmap(dev, &wait);
			was = rig_stats(dom).flushes_pressure;
			CHECK(waiting(dom));
			world_fail_nth(WORLD_IOCTL_MAP, way == 1 ? 2 : 1, errs[i]);
			switch (way) {
			case 0:
				CHECK_OK(dray_map(dev, mem, PAGE, DRAY_TO_DEVICE, 0, &m));
				dray_unmap(dev, &m);
				break;
			case 1:
				CHECK_INT(dray_map_sg(dev, sg, 2, DRAY_TO_DEVICE, 0), 1);
				dray_unmap_sg(dev, sg, 2);
				break;
			case 2:
				CHECK_OK(dray_domain_map(dom, AT, mem, PAGE, DRAY_PROT_READ, 0));
				CHECK_OK(dray_domain_unmap(dom, AT, PAGE));
				break;
			case 3:
				CHECK_OK(dray_region_register(dom, mem, PAGE, 0, &region));
				CHECK_OK(dray_region_unregister(region));
				break;
			case 4:
				CHECK_OK(dray_link_add(link, 0, mem, PAGE, DRAY_TO_DEVICE));
				break;
			default:
				CHECK_OK(dray_coherent_alloc(dev, PAGE, 0, &va, &m));
				dray_coherent_free(dev, va, &m);
			}
			CHECK(world_fired(WORLD_IOCTL_MAP));
			CHECK_INT(rig_stats(dom).flushes_pressure, was + 1);
			dray_link_close(link);
			CHECK_OK(dray_flush(dom));
		}
	}
	dray_device_close(dev);
	dray_domain_close(dom);
}

/* Whoever closes flushes; what stays behind is reached by nobody. */
static void close_flushes(struct rig *rig)
{
	struct dray_domain *dom = open_lazy(rig, DRAY_DOMAIN_POLLED, 0, NULL);
	struct dray_device *dev = rig_device(rig, dom, NULL);
	struct dray_device *dev2 = rig_device(rig, dom, rig->device2);
	struct actor *a2 = actor_open(rig, dev2);
	char *mem = rig_pages(4 * PAGE);
	struct dray_mapping m, left;
	dray_iova_t at, left_at;

	CHECK_OK(dray_map(dev, mem, PAGE, DRAY_BIDIRECTIONAL, 0, &m));
	CHECK_OK(dray_map(dev, mem + PAGE, PAGE, DRAY_BIDIRECTIONAL, 0, &left));
	at = m.iova;
	left_at = left.iova;
	CHECK_READS(a2, at, mem, 64);
	dray_unmap(dev, &m);
	dray_device_close(dev);
	CHECK_INT(waiting(dom), 0);
	CHECK_INT(rig_stats(dom).flushes_close, 1);
	CHECK_INT(rig_stats(dom).leaks, 1);
	CHECK_BLOCKED(a2, at, mem, 64);
	CHECK_BLOCKED(a2, left_at, mem + PAGE, 64);
	/* The last device, and the domain, with something waiting. */
	CHECK_OK(dray_map(dev2, mem, PAGE, DRAY_BIDIRECTIONAL, 0, &m));
	dray_unmap(dev2, &m);
	actor_close(a2);
	CHECK_OK(dray_map(dev2, mem, PAGE, DRAY_BIDIRECTIONAL, 0, &m));
	dray_device_close(dev2);
	CHECK_INT(waiting(dom), 0);
	CHECK_OK(dray_domain_map(dom, AT, mem, PAGE, DRAY_PROT_READ, 0));
	CHECK_OK(dray_domain_unmap(dom, AT, PAGE));
	CHECK_INT(rig_info(dom).damaged, 0);
	dray_domain_close(dom);
}

/* Asked for what cannot be had: it runs strict, and says so. */
static void lazy_where_it_cannot_be(struct rig *rig)
{
	struct dray_domain_opts opts = rig_domain_opts(rig);
	struct dray_domain *dom;
	struct dray_device *dev;
	struct dray_mapping m;
	char *mem = rig_pages(3 * LARGE);
	struct actor *a;
	dray_iova_t at;

	opts.invalidation = DRAY_LAZY;
	opts.type = DRAY_DOMAIN_BLOCKED;
	CHECK_OK(dray_domain_open(&opts, &dom));
	CHECK(dray_domain_invalidation(dom) == DRAY_STRICT);
	CHECK_OK(dray_domain_set_invalidation(dom, DRAY_LAZY));
	CHECK(dray_domain_invalidation(dom) == DRAY_STRICT);
	dray_domain_close(dom);
	if (!rig_is_sim(rig))
		return;
	dom = open_lazy(rig, DRAY_DOMAIN_POLLED, 0, "xen-pv");
	CHECK(dray_domain_invalidation(dom) == DRAY_STRICT);
	CHECK_INT(rig_info(dom).invalidation, DRAY_STRICT);
	CHECK_OK(dray_domain_set_invalidation(dom, DRAY_LAZY));
	CHECK(dray_domain_invalidation(dom) == DRAY_STRICT);
	CHECK_INT(rig_info(dom).page_sizes, PAGE);
	dev = rig_device(rig, dom, NULL);
	a = actor_open(rig, dev);
	for (size_t len = PAGE; len <= 3 * LARGE; len *= 6) {
		CHECK_OK(dray_map(dev, mem, len, DRAY_BIDIRECTIONAL, 0, &m));
		at = m.iova;
		CHECK_READS(a, at + len - PAGE, mem + len - PAGE, 64);
		dray_unmap(dev, &m);
		CHECK_BLOCKED(a, at, mem, 64);
		CHECK_BLOCKED(a, at + len - PAGE, mem + len - PAGE, 64);
		CHECK_INT(waiting(dom), 0);
	}
	CHECK_INT(rig_stats(dom).flushed, 0);
	actor_close(a);
	dray_device_close(dev);
	dray_domain_close(dom);
}

/* A flush that is refused: the address never comes back, and the domain says that it is damaged. */
static void refused_flush_is_quarantined(struct rig *rig)
{
	struct dray_domain *dom = open_lazy(rig, DRAY_DOMAIN_POLLED, WINDOW, NULL);
	struct dray_device *dev = rig_device(rig, dom, NULL);
	char *mem = rig_pages(WINDOW * PAGE);
	struct dray_mapping m, kept;
	dray_iova_t at;
	unsigned n = 0;

	CHECK_OK(dray_map(dev, mem, PAGE, DRAY_TO_DEVICE, 0, &m));
	at = m.iova;
	if (rig_is_sim(rig))
		rig_refuse_unmap(rig, dom);
	else
		world_fail_all(WORLD_IOCTL_UNMAP, EIO);
	dray_unmap(dev, &m);
	CHECK_OK(dray_flush(dom));
	world_fail_all(WORLD_IOCTL_UNMAP, 0);
	CHECK_INT(waiting(dom), 0);
	CHECK_INT(rig_info(dom).damaged, 1);
	CHECK_INT(rig_info(dom).quarantined_bytes, PAGE);
	CHECK(rig_stats(dom).unmap_errors);
	while (!dray_map(dev, mem, PAGE, DRAY_TO_DEVICE, 0, &kept)) {
		CHECK(kept.iova != at);
		CHECK(++n < WINDOW);
	}
	CHECK_INT(n, WINDOW - 1);
	dray_device_close(dev);
	CHECK_INT(rig_stats(dom).leaks, WINDOW - 1);
	dray_domain_close(dom);
}

/* A child of a process with a helper thread: refused, quickly gone, and the parent goes on. */
static void fork_of_a_lazy_domain(struct rig *rig)
{
	struct dray_domain *dom = open_lazy(rig, 0, 0, NULL);
	struct dray_device *dev = rig_device(rig, dom, NULL);
	struct actor *a = actor_open(rig, dev);
	char *mem = rig_pages(2 * PAGE);
	struct dray_mapping m, wait;
	dray_iova_t at, wait_at;
	int status;
	pid_t pid;

	CHECK_OK(dray_map(dev, mem, PAGE, DRAY_BIDIRECTIONAL, 0, &m));
	CHECK_OK(dray_map(dev, mem + PAGE, PAGE, DRAY_BIDIRECTIONAL, 0, &wait));
	at = m.iova;
	wait_at = wait.iova;
	dray_unmap(dev, &wait);
	pid = fork();
	CHECK(pid >= 0);
	if (!pid) {
		unsigned ioctls = world_calls(WORLD_IOCTL);

		CHECK_ERR(dray_flush(dom), EPERM);
		CHECK_ERR(dray_poll(dom), EPERM);
		CHECK_ERR(dray_domain_set_invalidation(dom, DRAY_STRICT), EPERM);
		CHECK_ERR(dray_domain_set_invalidation(dom, DRAY_LAZY), EPERM);
		dray_unmap(dev, &m);
		dray_device_close(dev);
		dray_domain_close(dom);
		CHECK_INT(world_calls(WORLD_IOCTL), ioctls);
		_exit(0);
	}
	CHECK(waitpid(pid, &status, 0) == pid && !status);
	CHECK_READS(a, at, mem, 64);
	CHECK_OK(dray_flush(dom));
	CHECK_BLOCKED(a, wait_at, mem + PAGE, 64);
	dray_unmap(dev, &m);
	CHECK_OK(dray_flush(dom));
	CHECK_BLOCKED(a, at, mem, 64);
	actor_close(a);
	dray_device_close(dev);
	dray_domain_close(dom);
}

const struct contract_case lazymore_cases[] = {
	{ "lazy_ages_by_itself", "C03", lazy_ages_by_itself },
	{ "pressure_on_addresses", "C03 A04", pressure_on_addresses },
	{ "pressure_by_many", "B11 C03", pressure_by_many },
	{ "pressure_on_the_kernel", "B11", pressure_on_the_kernel },
	{ "close_flushes", "C03", close_flushes },
	{ "lazy_where_it_cannot_be", "C04 G04", lazy_where_it_cannot_be },
	{ "refused_flush_is_quarantined", "C03 B02", refused_flush_is_quarantined },
	{ "fork_of_a_lazy_domain", "D14", fork_of_a_lazy_domain },
	{ NULL },
};
