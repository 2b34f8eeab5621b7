// SPDX-License-Identifier: BSD-2-Clause
/*
 * Forks of a process in which everything is under way. Other threads' locks are copied as they
 * were, so a child allocates nothing and prints nothing but when it fails.
 */
#define _GNU_SOURCE
#include "churn.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* A child that hangs fails, rather than the whole run. */
#define PATIENCE 120u

/* What the parent had when it forked. */
struct estate {
	struct parcel parcel;
	struct place *place; /* locked by the parent; registered, or NULL */
};

static void wait_for(pid_t pid)
{
	int status;

	MUST(pid > 0);
	MUST(waitpid(pid, &status, 0) == pid);
	MUST(!status);
}

static void try_maps(struct estate *e)
{
	struct dray_device *dev = churn.devices[0].dev;
	struct dray_mapping m = { .iova = 1 };
	struct dray_sg sg = { .va = arena, .len = KB4 };
	struct dray_link *link;
	void *va;

	MUST(dray_map(dev, arena, KB4, DRAY_TO_DEVICE, 0, &m) == -EPERM);
	MUST(dray_map_sg(dev, &sg, 1, DRAY_TO_DEVICE, 0) == -EPERM);
	MUST(dray_map_fixed(dev, FIXED_BASE, arena, KB4, DRAY_TO_DEVICE, 0, &m) == -EPERM);
	MUST(dray_coherent_alloc(dev, KB4, 0, &va, &m) == -EPERM);
	MUST(dray_link_open(dev, KB4, 0, &link) == -EPERM);
	MUST(m.iova == 1 && strstr(dray_errmsg(), "fork"));
	/* The parent's goes on. */
	if (e->parcel.segments)
		dray_unmap_sg(dev, e->parcel.sg, e->parcel.n);
	else if (e->parcel.n)
		dray_unmap(dev, &e->parcel.m);
}

static void try_regions(const struct estate *e)
{
	struct dray_region *none = NULL;

	MUST(dray_region_register(churn.dom, arena, KB4, 0, &none) == -EPERM);
	MUST(dray_region_register_at(churn.dom, FIXED_BASE, arena, KB4, 0, &none) == -EPERM);
	if (e->place)
		MUST(dray_region_unregister(e->place->region) == -EPERM);
	MUST(!none);
}

static void try_domain(void)
{
	struct dray_domain_info info = { .size = sizeof(info) };
	struct dray_domain *dom = churn.dom;
	struct dray_device *none;

	MUST(dray_domain_map(dom, FIXED_BASE, arena, KB4, DRAY_PROT_READ, 0) == -EPERM);
	MUST(dray_domain_unmap(dom, FIXED_BASE, KB4) == -EPERM);
	MUST(dray_domain_reserve(dom, FIXED_BASE, FIXED_BASE + KB4 - 1, 0) == -EPERM);
	MUST(dray_domain_unreserve(dom, FIXED_BASE, FIXED_BASE + KB4 - 1) == -EPERM);
	MUST(dray_domain_set_invalidation(dom, DRAY_LAZY) == -EPERM);
	MUST(dray_domain_info(dom, &info) == -EPERM);
	MUST(dray_flush(dom) == -EPERM && dray_poll(dom) == -EPERM);
	MUST(dray_device_open(dom, churn.visitor.name, NULL, &none) == -EPERM);
	MUST(dray_device_set_domain(churn.devices[1].dev, dom) == -EPERM);
	/* The scripted kernel has a lock of its own, which another thread may have held. */
	if (churn.scripted)
		return;
	for (unsigned i = 0; i < DEVICES; i++)
		dray_device_close(churn.devices[i].dev);
	dray_domain_close(dom);
}

_Noreturn static void misbehave(struct estate *e)
{
	alarm(PATIENCE);
	try_maps(e);
	try_regions(e);
	try_domain();
	_exit(0);
}

_Noreturn static void run_program(void)
{
	alarm(PATIENCE);
	execl("/proc/self/exe", "stress-churn", "--own-program", NULL);
	_exit(127);
}

static int live_in_own_domain(enum dray_invalidation mode)
{
	struct dray_domain_opts opts = {
		.size = sizeof(opts), .backend = DRAY_BACKEND_SIM, .invalidation = mode,
	};
	char *mem = aligned_alloc(KB4, 2 * KB4), got[16];
	struct dray_region *region;
	struct dray_domain *dom;
	struct dray_device *dev;
	struct dray_mapping m;

	MUST(mem);
	memset(mem, 0x5a, 2 * KB4);
	MUST(!dray_domain_open(&opts, &dom));
	MUST(!dray_device_open(dom, "sim1", NULL, &dev));
	MUST(!dray_region_register(dom, mem, KB4, 0, &region));
	/* In it, and over its edge. */
	for (unsigned i = 0; i < 2; i++) {
		MUST(!dray_map(dev, mem + i * (KB4 - 8), 16, DRAY_TO_DEVICE, 0, &m));
		MUST(!dray_sim_read(dev, m.iova, got, sizeof(got)));
		MUST(!memcmp(got, mem, sizeof(got)));
		dray_unmap(dev, &m);
	}
	MUST(!dray_region_unregister(region));
	dray_device_close(dev);
	dray_domain_close(dom);
	free(mem);
	return 0;
}

/* A place that is registered, and locked from here on. */
static struct place *hold_place(struct dice *d)
{
	struct place *p = &places[dice_below(d, PLACES)];

	if (pthread_mutex_trylock(&p->lock))
		return NULL;
	if (p->region)
		return p;
	pthread_mutex_unlock(&p->lock);
	return NULL;
}

void live_by_forking(struct life *l)
{
	struct estate e = { .place = NULL };
	pid_t pid;

	for (unsigned i = 0; i < 3; i++) {
		parcel_fill(&e.parcel, &l->dice, dice_below(&l->dice, 2));
		e.place = hold_place(&l->dice);
		pid = fork();
		if (!pid)
			misbehave(&e);
		wait_for(pid);
		COUNT(children);
		/* Nothing of what the child did reached this process. */
		parcel_check(&e.parcel, l);
		if (e.place) {
			MUST(read_name(&churn.prober, atomic_load(&e.place->iova), e.place->va) ==
			     1);
			pthread_mutex_unlock(&e.place->lock);
		}
		parcel_empty(&e.parcel, &l->dice);
	}
	pid = fork();
	if (!pid)
		run_program();
	wait_for(pid);
	COUNT(programs);
}

int own_program(void)
{
	return live_in_own_domain(DRAY_LAZY);
}
