// SPDX-License-Identifier: BSD-2-Clause
/*
 * Strain
 *
 * 1. A driver is seldom alone in its domain. This thread stands for the others: it maps buffers of
 *    one to sixteen pages in all directions, holds LIVE of them, and unmaps a random one for each
 *    that it maps, as fast as it can. So addresses that a command just gave back are taken by
 *    somebody else at once, the queues of a lazy domain are filled and flushed all the time, and an
 *    IOVA that is handed out again too early is soon one that a controller still uses.
 * 2. It touches nothing that the controller knows, so whatever the controller then reads or writes
 *    wrongly is a defect of the mapping, and the checksums and fault counts of the command show it.
 * 3. The thread owns everything but stop and maps. What fails first ends it and is told at stop;
 *    its sentence is carried over, since failures are kept by thread.
 */
#include "nvme/strain.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "base/err.h"
#include "base/hooks.h"

/* Enough that unmaps are far from their maps, and few enough for the least lockable memory. */
#define LIVE  64u
#define PAGE  4096u
#define PAGES 16u

struct nvme_strain {
	struct dray_device *dev; /* constant, as @mem */
	unsigned char *mem;      /* LIVE times PAGES pages */
	pthread_t thread;
	_Atomic bool stop;       /* nothing is ordered by it; the join orders the rest */
	_Atomic bool ended;      /* likewise; the thread is about to return */
	_Atomic uint64_t maps;   /* written by the thread only */
	uint64_t random;
	struct dray_mapping map[LIVE];
	int err;
	char why[512];
};

/* xorshift64* */
static uint64_t next(struct nvme_strain *s)
{
	uint64_t x = s->random;

	x ^= x >> 12;
	x ^= x << 25;
	x ^= x >> 27;
	s->random = x;
	return x * UINT64_C(2685821657736338717) >> 16;
}

static void *run(void *arg)
{
	static const enum dray_dir dirs[] = {DRAY_BIDIRECTIONAL, DRAY_TO_DEVICE, DRAY_FROM_DEVICE};
	struct nvme_strain *s = arg;

	while (!atomic_load_explicit(&s->stop, memory_order_relaxed)) {
		unsigned i = (unsigned)(next(s) % LIVE);
		size_t off = (size_t)(next(s) % PAGE) & ~(size_t)3;
		size_t len = 1 + (size_t)(next(s) % (PAGES * PAGE - off));
		unsigned char *buf = s->mem + (size_t)i * PAGES * PAGE;

		dray_unmap(s->dev, &s->map[i]);
		s->err = dray_map(s->dev, buf + off, len, dirs[next(s) % 3], 0, &s->map[i]);
		if (s->err) {
			snprintf(s->why, sizeof(s->why), "%s", dray_errmsg());
			break;
		}
		atomic_fetch_add_explicit(&s->maps, 1, memory_order_relaxed);
	}
	for (unsigned i = 0; i < LIVE; i++)
		dray_unmap(s->dev, &s->map[i]);
	atomic_store_explicit(&s->ended, true, memory_order_relaxed);
	return NULL;
}

int nvme_strain_start(struct dray_device *dev, uint64_t seed, struct nvme_strain **ret_strain)
{
	struct nvme_strain *s = dr_alloc(sizeof(*s));
	sigset_t all, before;
	int err = ENOMEM;

	if (s)
		s->mem = dr_hooks->alloc((size_t)LIVE * PAGES * PAGE, PAGE);
	if (s && s->mem) {
		s->dev = dev;
		s->random = seed ? seed : 1;
		/* Signals are the program's. */
		sigfillset(&all);
		pthread_sigmask(SIG_SETMASK, &all, &before);
		err = pthread_create(&s->thread, NULL, run, s);
		pthread_sigmask(SIG_SETMASK, &before, NULL);
	}
	if (!err) {
		*ret_strain = s;
		return 0;
	}
	if (s)
		dr_free(s->mem);
	dr_free(s);
	return dr_fail(err, "--strain has no thread or memory: %s; free some or leave it out",
		       strerror(err));
}

uint64_t nvme_strain_maps(const struct nvme_strain *s)
{
	return atomic_load_explicit(&s->maps, memory_order_relaxed);
}

bool nvme_strain_running(const struct nvme_strain *s)
{
	return !atomic_load_explicit(&s->ended, memory_order_relaxed);
}

int nvme_strain_stop(struct nvme_strain *s, uint64_t *ret_maps)
{
	int rc = 0;

	if (!s)
		return 0;
	atomic_store_explicit(&s->stop, true, memory_order_relaxed);
	pthread_join(s->thread, NULL);
	*ret_maps = nvme_strain_maps(s);
	if (s->err)
		rc = dr_fail(-s->err, "--strain: %s", s->why);
	dr_free(s->mem);
	dr_free(s);
	return rc;
}
