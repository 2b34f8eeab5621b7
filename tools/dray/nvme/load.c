// SPDX-License-Identifier: BSD-2-Clause
/*
 * Load
 *
 * 1. One thread keeps every queue at its depth: each command has a buffer of its own, and its
 *    completion submits the next one with the same buffer. So each command is one map and one
 *    unmap, and buffers are recycled in the order of completion, as in a driver.
 * 2. A command's latency is what a caller waits for: from before its submission, the map included,
 *    to its callback, when the buffer is unmapped. The polling itself is part of it.
 * 3. Addresses are whole commands: the next one for a sequential load, one of all for a random one,
 *    by xorshift64* from the given seed, the same in every run.
 * 4. When the time is up, or as many commands as were asked for have been submitted, nothing new
 *    is, and what is out is waited for and counted. The first failure ends it likewise.
 */
#include "nvme/load.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/err.h"
#include "base/hooks.h"

struct run;

struct flight {
	struct run *run;
	struct nvme_queue *q;
	unsigned char *mem;
	uint64_t start_ns;
};

struct run {
	const struct nvme_load *load;
	struct nvme_load_result *res;
	uint64_t places, next, random, end_ns; /* places: commands that fit onto the namespace */
	uint64_t left;                         /* to be submitted */
	uint32_t blocks;                       /* of one command */
	unsigned n;
	struct nvme_memory mem;
	struct flight *flights;
	int err;
	char why[512];
};

static void keep(struct run *r, int err)
{
	if (r->err)
		return;
	r->err = err;
	snprintf(r->why, sizeof(r->why), "%s", dray_errmsg());
}

static uint64_t choose(struct run *r)
{
	uint64_t x = r->random;

	if (r->load->sequential)
		return r->next++ % r->places;
	x ^= x >> 12;
	x ^= x << 25;
	x ^= x >> 27;
	r->random = x;
	return x * UINT64_C(2685821657736338717) % r->places;
}

static void landed(void *ctx, int err, uint16_t status);

static void fly(struct flight *f, uint64_t now)
{
	struct run *r = f->run;
	int rc;

	f->start_ns = now;
	r->left--;
	rc = nvme_submit(f->q, r->load->op, choose(r) * r->blocks, f->mem, r->load->bytes, landed,
			 f);
	if (rc)
		keep(r, rc);
}

static void landed(void *ctx, int err, uint16_t status)
{
	struct flight *f = ctx;
	struct run *r = f->run;
	uint64_t now = dr_hooks->clock_ns();

	(void)status;
	if (err) {
		keep(r, err);
		return;
	}
	r->res->commands++;
	nvme_hist_add(&r->res->latency, now - f->start_ns);
	if (now < r->end_ns && r->left && !r->err)
		fly(f, now);
}

/* Poll every queue. How many commands are still out. */
static unsigned poll_all(struct run *r, unsigned queues)
{
	unsigned busy = 0;
	int n = 0;

	for (unsigned i = 0; i < queues; i++) {
		struct nvme_queue *q = nvme_get_queue(r->load->ctrl, i);
		int rc = nvme_poll(q);

		if (rc < 0)
			keep(r, rc);
		n |= rc;
		busy += nvme_queue_busy(q);
	}
	if (!n)
		nvme_idle();
	return busy;
}

static int open_run(struct run *r, const struct nvme_load *load, const struct nvme_info *info)
{
	int rc;

	memset(r, 0, sizeof(*r));
	r->load = load;
	r->random = load->seed;
	r->blocks = (uint32_t)(load->bytes / info->block);
	r->places = info->blocks / r->blocks;
	if (!r->places)
		return dr_fail(EINVAL, "the namespace has %llu blocks, a command %u; use a larger "
				       "namespace or smaller commands",
			       (unsigned long long)info->blocks, r->blocks);
	r->left = load->commands ? load->commands : UINT64_MAX;
	r->n = info->queues * info->depth;
	rc = nvme_memory_open(&r->mem, load->memory, load->dom, r->n, load->bytes);
	if (rc)
		return rc;
	r->flights = dr_alloc(r->n * sizeof(*r->flights));
	if (r->flights)
		return 0;
	nvme_memory_close(&r->mem);
	return dr_fail(ENOMEM, "no memory for %u commands in flight; ask for less depth", r->n);
}

int nvme_load_run(const struct nvme_load *load, struct nvme_load_result *ret)
{
	const struct nvme_info *info = nvme_get_info(load->ctrl);
	uint64_t start;
	struct run r;
	int rc = open_run(&r, load, info);

	if (rc)
		return rc;
	memset(ret, 0, sizeof(*ret));
	r.res = ret;
	start = dr_hooks->clock_ns();
	r.end_ns = start + load->ns;
	for (unsigned i = 0; i < r.n && r.left && !r.err; i++) {
		r.flights[i].run = &r;
		r.flights[i].q = nvme_get_queue(load->ctrl, i % info->queues);
		r.flights[i].mem = r.mem.bufs[i];
		fly(&r.flights[i], dr_hooks->clock_ns());
	}
	while (poll_all(&r, info->queues))
		;
	ret->ns = dr_hooks->clock_ns() - start;
	dr_free(r.flights);
	nvme_memory_close(&r.mem);
	return r.err ? dr_fail(-r.err, "%s", r.why) : 0;
}
