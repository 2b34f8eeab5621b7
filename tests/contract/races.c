// SPDX-License-Identifier: BSD-2-Clause
/* Threads that open, close and attach the same things at the same moment. */
#include "actor.h"
#include "world.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <unistd.h>

#define THREADS 4
#define ROUNDS  40

struct contest {
	struct rig *rig;
	struct dray_domain *dom;
	struct dray_device *dev; /* for those who close one */
	char *mem;
	pthread_barrier_t start;
	atomic_int wins, busy, other, inside;
};

static struct contest contest_open(struct rig *rig)
{
	struct contest c = { .rig = rig, .dom = rig_domain(rig), .mem = rig_pages(PAGE) };

	CHECK(!pthread_barrier_init(&c.start, NULL, THREADS));
	return c;
}

static void run(struct contest *c, void *(*body)(void *))
{
	pthread_t threads[THREADS];

	for (int i = 0; i < THREADS; i++)
		CHECK(!pthread_create(&threads[i], NULL, body, c));
	for (int i = 0; i < THREADS; i++)
		CHECK(!pthread_join(threads[i], NULL));
}

static void *open_and_close(void *arg)
{
	struct contest *c = arg;
	struct dray_device_opts opts = rig_device_opts();
	struct dray_mapping m;

	pthread_barrier_wait(&c->start);
	for (int i = 0; i < ROUNDS; i++) {
		struct dray_device *dev = NULL;
		int err = dray_device_open(c->dom, c->rig->device, &opts, &dev);

		if (err == -EBUSY || err == -ENOMEM) {
			CHECK(!dev);
			atomic_fetch_add(err == -EBUSY ? &c->busy : &c->other, 1);
			continue;
		}
		CHECK_OK(err);
		/* Nobody else has it now. */
		CHECK_INT(atomic_fetch_add(&c->inside, 1), 0);
		/* Memory may be out for the map too; then there is no receipt. */
		m = (struct dray_mapping){ 0 };
		err = dray_map(dev, c->mem, PAGE, DRAY_TO_DEVICE, 0, &m);
		if (err)
			CHECK_ERR(err, ENOMEM);
		else
			CHECK(dray_iova_to_va(c->dom, m.iova) == c->mem);
		dray_unmap(dev, &m);
		CHECK_INT(atomic_fetch_sub(&c->inside, 1), 1);
		dray_device_close(dev);
		atomic_fetch_add(&c->wins, 1);
	}
	return NULL;
}

static void one_device_many_openers(struct rig *rig)
{
	struct contest c = contest_open(rig);

	run(&c, open_and_close);
	CHECK(c.wins > 0);
	CHECK_INT(c.wins + c.busy, THREADS * ROUNDS);
	CHECK_INT(c.other, 0);
	CHECK_INT(rig_info(c.dom).devices, 0);
	CHECK_INT(rig_stats(c.dom).leaks, 0);
	dray_domain_close(c.dom);
}

struct saboteur {
	atomic_bool stop;
	enum world_call call;
	int err;
};

static void *fail_some(void *arg)
{
	struct saboteur *s = arg;

	for (unsigned n = 0; !atomic_load(&s->stop); n++) {
		world_fail_nth(s->call, n % 7 + 1, s->err);
		usleep(200);
	}
	world_fail_nth(s->call, 0, 0);
	return NULL;
}

/* The same while opens and maps fail half-way: nothing is freed under the others. */
static void openers_that_fail_half_way(struct rig *rig)
{
	struct contest c = contest_open(rig);
	struct saboteur s = { .call = WORLD_ALLOC, .err = ENOMEM };
	struct rig_state was = rig_state(c.dom);
	pthread_t saboteur;

	CHECK(!pthread_create(&saboteur, NULL, fail_some, &s));
	for (int i = 0; i < 2; i++)
		run(&c, open_and_close);
	atomic_store(&s.stop, true);
	CHECK(!pthread_join(saboteur, NULL));
	CHECK_INT(c.wins + c.busy + c.other, 2 * THREADS * ROUNDS);
	CHECK_INT(rig_info(c.dom).devices, 0);
	CHECK_INT(rig_info(c.dom).mapped_bytes, was.info.mapped_bytes);
	CHECK_INT(rig_stats(c.dom).leaks, 0);
	/* It can still be had. */
	dray_device_close(rig_device(rig, c.dom, NULL));
	dray_domain_close(c.dom);
}

static void *close_it(void *arg)
{
	struct contest *c = arg;

	pthread_barrier_wait(&c->start);
	dray_device_close(c->dev);
	return NULL;
}

/* Closed by four at once: one closes it, the others are refused. */
static void one_device_many_closers(struct rig *rig)
{
	struct contest c = contest_open(rig);
	struct dray_mapping m;

	for (int i = 0; i < 10; i++) {
		c.dev = rig_device(rig, c.dom, NULL);
		CHECK_OK(dray_map(c.dev, c.mem, PAGE, DRAY_TO_DEVICE, 0, &m));
		run(&c, close_it);
		CHECK_INT(rig_info(c.dom).devices, 0);
		CHECK_INT(rig_stats(c.dom).leaks, i + 1);
	}
	dray_domain_close(c.dom);
}

static void *attach_device2(void *arg)
{
	struct contest *c = arg;

	pthread_barrier_wait(&c->start);
	for (int i = 0; i < ROUNDS / 4; i++) {
		struct dray_device_opts opts = rig_device_opts();
		struct dray_device *dev;
		int err = dray_device_open(c->dom, c->rig->device2, &opts, &dev);

		if (!err)
			dray_device_close(dev);
		else
			CHECK_ERR(err, EBUSY);
	}
	return NULL;
}

static void *map_meanwhile(void *arg)
{
	struct contest *c = arg;
	struct dray_mapping m;

	pthread_barrier_wait(&c->start);
	for (int i = 0; i < ROUNDS * 4; i++) {
		dray_iova_t iova = 0x3800000 + (dray_iova_t)(i % 16) * PAGE;

		CHECK_OK(dray_map(c->dev, c->mem, PAGE, DRAY_BIDIRECTIONAL, 0, &m));
		CHECK(dray_iova_to_va(c->dom, m.iova) == c->mem);
		dray_unmap(c->dev, &m);
		if (!dray_domain_map(c->dom, iova, c->mem, PAGE, DRAY_PROT_READ, 0))
			CHECK_OK(dray_domain_unmap(c->dom, iova, PAGE));
	}
	return NULL;
}

static void *attach_or_map(void *arg)
{
	struct contest *c = arg;

	return atomic_fetch_add(&c->other, 1) % 2 ? attach_device2(arg) : map_meanwhile(arg);
}

/* Devices come and go in the domain while others map in it: every map is whole or not there. */
static void attach_while_mapping(struct rig *rig)
{
	struct contest c = contest_open(rig);
	struct dray_mapping m;
	struct actor *a;

	c.dev = rig_device(rig, c.dom, NULL);
	run(&c, attach_or_map);
	a = actor_open(rig, c.dev);
	CHECK_OK(dray_map(c.dev, c.mem, PAGE, DRAY_BIDIRECTIONAL, 0, &m));
	CHECK_READS(a, m.iova, c.mem, 64);
	dray_unmap(c.dev, &m);
	actor_close(a);
	CHECK_INT(rig_info(c.dom).mapped_bytes, 0);
	CHECK_INT(rig_info(c.dom).damaged, 0);
	dray_device_close(c.dev);
	dray_domain_close(c.dom);
}

struct late_unmap {
	struct dray_device *dev;
	struct dray_mapping m[64];
};

static void *unmap_late(void *arg)
{
	struct late_unmap *l = arg;

	for (int i = 0; i < 64; i++)
		dray_unmap(l->dev, &l->m[i]);
	return NULL;
}

/*
 * The domain is closed while the last receipts are unmapped on other threads: whoever is last tears
 * it down, once. Where a device can be moved away first; elsewhere its close is what comes last.
 */
static void domain_goes_with_its_last_receipt(struct rig *rig)
{
	struct dray_domain *home = rig_domain(rig);
	struct late_unmap l[2];
	char *mem = rig_pages(PAGE);
	long blocks = 0;

	for (int round = 0; round < 20; round++) {
		struct dray_domain *dom = rig_domain(rig);
		struct dray_device *dev = rig_device(rig, dom, NULL);
		pthread_t threads[2];

		for (int t = 0; t < 2; t++) {
			l[t].dev = dev;
			for (int i = 0; i < 64; i++)
				CHECK_OK(dray_map(dev, mem, PAGE, DRAY_TO_DEVICE, 0, &l[t].m[i]));
		}
		if (rig_is_sim(rig))
			CHECK_OK(dray_device_set_domain(dev, home));
		for (int t = 0; t < 2; t++)
			CHECK(!pthread_create(&threads[t], NULL, unmap_late, &l[t]));
		dray_domain_close(dom);
		for (int t = 0; t < 2; t++)
			CHECK(!pthread_join(threads[t], NULL));
		dray_device_close(dev);
		if (round > 2)
			CHECK_INT(world_blocks(), blocks);
		blocks = world_blocks();
	}
	dray_domain_close(home);
}

const struct contract_case race_cases[] = {
	{ "one_device_many_openers", "D17", one_device_many_openers },
	{ "openers_that_fail_half_way", "D17", openers_that_fail_half_way },
	{ "one_device_many_closers", "D17 D12", one_device_many_closers },
	{ "attach_while_mapping", "D17 B05", attach_while_mapping },
	{ "domain_goes_with_its_last_receipt", "D12 B10", domain_goes_with_its_last_receipt },
	{ NULL },
};
