// SPDX-License-Identifier: BSD-2-Clause
/*
 * For which sizes is copying cheaper than mapping?
 *
 * 1. Three ways are measured at five sizes, where they will be paid:
 *
 *      copy     a slot of a permanent pool taken, filled, emptied and given back
 *      strict   an IOVA, a backend map, unmap and invalidation
 *      lazy     the same through a flush queue, with a share of what its flush costs
 *
 *    and the copy of a few bytes, which is what a slot costs by itself. Copying grows with the
 *    bytes, and twice as fast where they go both ways; mapping is a fixed sum for calls and
 *    invalidation and something for each page that is pinned.
 *
 * 2. A flush is shared by as many unmaps as the domain's queue holds at most. Where it is one
 *    invalidation of everything, its cost is divided by that; where it has calls to make for all of
 *    them, each pays for itself.
 *
 * 3. What is measured must not be seen: pools, queue and counters are of our own, on the address
 *    space that the domain uses. Only what a backend refuses to let go of is told to the domain,
 *    and then the memory behind it stays for good.
 *
 * 4. Each figure is that of the fastest of a few rounds: what else runs on the machine only adds.
 *    One before is not counted, in which pages and tables come to be. Where a round is long, noise
 *    is small beside it and fewer rounds do.
 *
 * 5. The lines of two ways may cross more than once: a processor copies more bytes by other means,
 *    and what it copies, or what the kernel pins, may fall out of a cache before the other does. So
 *    the choice is not one size but runs of sizes. At each size it is right by the costs; what they
 *    cannot tell is how the pages of one buffer lie. The kernel pins and maps pages that adjoin in
 *    memory as one, and those of a large page at a fraction of what scattered ones cost; the
 *    probe's are as a program gets them that touches its memory from first to last.
 *
 * 6. What can fail: memory, IOVAs, pinning. Then nothing stays and nothing is known.
 */
#include "bounce/measure.h"
#include "base/err.h"
#include "base/hooks.h"
#include "bounce/pool.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

/*
 * From a page on, each four times the one before: where bytes fall out of a cache the line bends,
 * and a bend that is missed moves a threshold by less than that.
 */
const size_t dr_cost_size[DR_COST_SIZES] = { 4096, 16384, 65536, 262144, 1048576 };

#define LARGEST ((size_t)1048576)
/* Copied for the slot's sake: what a slot costs when the bytes cost nothing. */
#define FEW_BYTES ((size_t)64)
/* Up to this many bytes an operation is not much more than reading the clock. */
#define SHORT ((size_t)4096)
/* So many at once outweigh reading the clock. */
#define BATCH 16u
/* Mapped at once at most: half of what a process may pin where nobody has raised the limit. */
#define PINNED ((size_t)4 << 20)
#define ROUNDS 9u
/* However long they are: not one that was interrupted. */
#define LEAST_ROUNDS 3u
/* Sixteen figures of this, and opening a domain is not felt. */
#define LONG_NS UINT64_C(1000000)
/* Slots are at most this long, less a granule. */
#define MOST ((size_t)2 << 20)

struct probe {
	struct dr_iospace *io; /* our own view of the address space: its parts, our counters */
	struct dr_flush *queue;
	struct dr_bounce *pools;
	char *memory, *va; /* what was taken; whole granules in it */
	size_t len;        /* of memory */
	uint64_t depth[DR_COST_SIZES]; /* unmaps that share a flush */
};

static unsigned batch_of(size_t len)
{
	return len > SHORT ? 1 : BATCH;
}

/* The same of what stays mapped until a flush. */
static unsigned lazy_batch_of(size_t len)
{
	return len > PINNED / BATCH ? (unsigned)(PINNED / len) : BATCH;
}

static size_t granules(const struct probe *p, size_t len)
{
	return (len + p->io->granule_mask) & ~p->io->granule_mask;
}

static int map_one(struct probe *p, size_t len, dray_iova_t *ret_iova)
{
	size_t span = granules(p, len);
	bool refused;
	int err;

	*ret_iova = dray_iova_alloc(p->io->space, span, 0, 0);
	if (*ret_iova == DRAY_IOVA_NONE)
		return dr_fail(ENOSPC, "no 0x%zx bytes of IOVA", span);
	err = dr_act_map(p->io, *ret_iova, p->va, span, DR_PTE_READ | DR_PTE_WRITE |
			 dr_pte_owner_bits(DR_OWNER_MAX), &refused);
	if (err)
		dr_act_release(p->io, *ret_iova, span, refused);
	return err;
}

static int unmap_one(struct probe *p, dray_iova_t iova, size_t len)
{
	int err = dr_act_unmap(p->io, iova, granules(p, len));

	dr_act_release(p->io, iova, granules(p, len), err != 0);
	return err;
}

/* --- A round of each way: nanoseconds of one operation ---------------------------------------- */

static int strict_round(struct probe *p, size_t len, uint64_t *ret_ns)
{
	uint64_t began = dr_hooks->clock_ns();
	dray_iova_t iova;

	for (unsigned i = 0; i < batch_of(len); i++) {
		int err = map_one(p, len, &iova);

		if (!err)
			err = unmap_one(p, iova, len);
		if (err)
			return err;
	}
	*ret_ns = (dr_hooks->clock_ns() - began) / batch_of(len);
	return 0;
}

static uint64_t depth_of(const struct probe *p, size_t len)
{
	unsigned i = 0;

	while (dr_cost_size[i] != len)
		i++;
	return p->depth[i];
}

static int lazy_round(struct probe *p, size_t len, uint64_t *ret_ns)
{
	uint64_t began = dr_hooks->clock_ns(), put, flush, share = lazy_batch_of(len);
	dray_iova_t iova;
	bool live;

	for (unsigned i = 0; i < lazy_batch_of(len); i++) {
		int err;

		dr_flush_ready(p->queue);
		err = map_one(p, len, &iova);
		if (!err && !dr_flush_put(p->queue, iova, granules(p, len), &live))
			err = live ? unmap_one(p, iova, len) : -EINVAL;
		if (err)
			return err;
	}
	put = dr_hooks->clock_ns() - began;
	dr_flush_now(p->queue, DR_FLUSH_EXPLICIT);
	flush = dr_hooks->clock_ns() - began - put;
	if (p->io->be->defers == DR_DEFER_INVALIDATION)
		share = depth_of(p, len);
	*ret_ns = put / lazy_batch_of(len) + flush / share;
	return 0;
}

/* There and back, but for the few bytes that stand for none. */
static int copy_round(struct probe *p, size_t len, uint64_t *ret_ns)
{
	struct dr_bounce_request req = {
		.va = p->va, .len = len, .dir = DRAY_BIDIRECTIONAL, .mask = p->io->last,
		.owner_bits = dr_pte_owner_bits(DR_OWNER_MAX), .trusted = true,
		.keep_offset = true,
	};
	uint64_t began = dr_hooks->clock_ns(), handle;
	dray_iova_t iova;

	for (unsigned i = 0; i < batch_of(len); i++) {
		int err = dr_bounce_map(p->pools, &req, &iova, &handle);

		if (err)
			return err;
		dr_bounce_unmap(p->pools, handle, true);
	}
	*ret_ns = (dr_hooks->clock_ns() - began) / batch_of(len);
	return 0;
}

static int measure(struct probe *p, int (*round)(struct probe *p, size_t len, uint64_t *ret_ns),
		   size_t len, uint64_t *ret_ns)
{
	uint64_t ns, least = UINT64_MAX, began;
	int err = round(p, len, &ns);

	began = dr_hooks->clock_ns();
	for (unsigned n = 0; !err && n < ROUNDS; n++) {
		if (n >= LEAST_ROUNDS && dr_hooks->clock_ns() - began >= LONG_NS)
			break;
		err = round(p, len, &ns);
		if (!err && ns < least)
			least = ns;
	}
	if (err)
		return err;
	*ret_ns = least;
	return 0;
}

static int measure_all(struct probe *p, struct dr_costs *ret_costs)
{
	struct dr_costs c = { 0 };
	int err = measure(p, copy_round, FEW_BYTES, &c.slot_ns);

	for (unsigned i = 0; !err && i < DR_COST_SIZES; i++)
		err = measure(p, copy_round, dr_cost_size[i], &c.copy_ns[i]);
	/* Pools are pinned too. */
	dr_bounce_retire_idle(p->pools);
	for (unsigned i = 0; !err && i < DR_COST_SIZES; i++) {
		err = measure(p, strict_round, dr_cost_size[i], &c.map_ns[i]);
		if (!err && p->queue)
			err = measure(p, lazy_round, dr_cost_size[i], &c.lazy_ns[i]);
		else
			c.lazy_ns[i] = c.map_ns[i];
	}
	if (!err)
		*ret_costs = c;
	return err;
}

/* --- What a round needs ----------------------------------------------------------------------- */

static int open_probe(struct probe *p, struct dr_iospace *io, const struct dr_flush *flush)
{
	struct dr_flush_opts queue = { .entries = 2 * BATCH, .polled = true, .lazy = true };
	int err;

	p->io = dr_alloc(sizeof(*p->io));
	p->len = LARGEST + (size_t)io->granule_mask + 1;
	p->memory = dr_hooks->mmap(NULL, p->len, PROT_READ | PROT_WRITE,
				   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (!p->io || p->memory == MAP_FAILED)
		return dr_fail(ENOMEM, "no memory to measure what copying and mapping cost");
	dr_hooks->madvise(p->memory, p->len, MADV_DONTFORK);
	p->va = (char *)(((uintptr_t)p->memory + io->granule_mask) & ~io->granule_mask);
	/* Pages that are not there yet would be measured instead. */
	memset(p->va, 1, LARGEST);
	p->io->ops = io->ops;
	p->io->be = io->be;
	p->io->pt = io->pt;
	p->io->space = io->space;
	p->io->granule_mask = io->granule_mask;
	p->io->first = io->first;
	p->io->last = io->last;
	p->io->log = io->log;
	dr_counters_ready(&p->io->counters);
	err = dr_bounce_open(p->io, NULL, &p->pools);
	if (err || !flush || io->be->defers == DR_DEFER_NOTHING)
		return err;
	for (unsigned i = 0; i < DR_COST_SIZES; i++)
		p->depth[i] = dr_flush_depth(flush, dr_cost_size[i]);
	return dr_flush_open(p->io, &queue, &p->queue);
}

/* What the backend refused to let go of, devices may reach for good: it stays memory. */
static void keep(struct probe *p, struct dr_iospace *io)
{
	atomic_store_explicit(&io->damaged, true, memory_order_relaxed);
	dr_count(&io->counters, DR_UNMAP_ERRORS,
		 dr_counters_sum(&p->io->counters, DR_UNMAP_ERRORS));
	p->memory = MAP_FAILED;
	for (struct dr_pool *pool = p->pools ? p->pools->lost : NULL; pool; pool = pool->next)
		pool->va = NULL;
}

static void close_probe(struct probe *p, struct dr_iospace *io)
{
	if (p->queue)
		dr_flush_close(p->queue);
	/* Whether or not it was done; before close, which takes it that no device is there. */
	if (p->pools)
		dr_bounce_retire_idle(p->pools);
	if (p->io && atomic_load_explicit(&p->io->damaged, memory_order_relaxed))
		keep(p, io);
	dr_bounce_close(p->pools);
	if (p->memory != MAP_FAILED)
		dr_hooks->munmap(p->memory, p->len);
	if (p->io)
		dr_counters_close(&p->io->counters);
	dr_free(p->io);
}

int dr_bounce_measure(struct dr_iospace *io, const struct dr_flush *flush,
		      struct dr_costs *ret_costs)
{
	struct probe p = { .memory = MAP_FAILED };
	int err = open_probe(&p, io, flush);

	if (!err)
		err = measure_all(&p, ret_costs);
	close_probe(&p, io);
	return err;
}

/* --- What follows from it --------------------------------------------------------------------- */

/* Where lines meet: no bytes, each size that is measured, and one that says where the last goes. */
#define KNOTS (DR_COST_SIZES + 2)

static uint64_t knot(unsigned k)
{
	if (k <= DR_COST_SIZES)
		return k ? dr_cost_size[k - 1] : 0;
	return 2 * dr_cost_size[DR_COST_SIZES - 1] - dr_cost_size[DR_COST_SIZES - 2];
}

/* Longer than four seconds is as good as four: so what follows fits into 64 bits. */
static int64_t known(uint64_t ns)
{
	return ns < UINT32_MAX ? (int64_t)ns : (int64_t)UINT32_MAX;
}

static int64_t ns_at(const uint64_t ns[DR_COST_SIZES], uint64_t none, unsigned k)
{
	int64_t last, rise;

	if (k <= DR_COST_SIZES)
		return known(k ? ns[k - 1] : none);
	/* More bytes do not cost less: what falls towards the end was a step on the way there. */
	last = known(ns[DR_COST_SIZES - 1]);
	rise = last - known(ns[DR_COST_SIZES - 2]);
	return last + (rise > 0 ? rise : 0);
}

/* How much dearer copying is at a knot, in half nanoseconds. */
static int64_t dearer(const struct dr_costs *c, bool lazy, bool once, unsigned k)
{
	const uint64_t *map_ns = lazy ? c->lazy_ns : c->map_ns;
	int64_t copy = ns_at(c->copy_ns, c->slot_ns, k);

	/* The slot once, and half of the bytes' part. */
	copy = once ? copy + known(c->slot_ns) : 2 * copy;
	/* Less than a granule is mapped as a granule. */
	return copy - 2 * ns_at(map_ns, map_ns[0], k);
}

void dr_costs_choose(const struct dr_costs *c, bool lazy, bool once,
		     struct dr_copy_run ret_runs[DR_COPY_RUNS])
{
	unsigned k = 1, run = 0;
	int64_t low = dearer(c, lazy, once, 0), high = dearer(c, lazy, once, 1);
	bool in_run = false;

	memset(ret_runs, 0, DR_COPY_RUNS * sizeof(*ret_runs));
	for (size_t len = 0; len < MOST;) {
		/* Finer than the measurement is true. */
		size_t next = len + (len < 65536 ? 512 : 4096);
		int64_t from, span;
		bool cheaper;

		while (next > knot(k) && k < KNOTS - 1) {
			low = high;
			high = dearer(c, lazy, once, ++k);
		}
		from = (int64_t)knot(k - 1);
		span = (int64_t)knot(k) - from;
		/* The line's height, times its length: nothing is rounded, so it is one line. */
		cheaper = low * span + (high - low) * ((int64_t)next - from) < 0;
		if (cheaper && !in_run)
			ret_runs[run].above = len;
		if (cheaper)
			ret_runs[run].up_to = next;
		if (!cheaper && in_run)
			run++;
		in_run = cheaper;
		len = next;
	}
}
