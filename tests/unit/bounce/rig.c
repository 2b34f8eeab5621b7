// SPDX-License-Identifier: BSD-2-Clause
#define _GNU_SOURCE
#include "rig.h"

#include "base/process.h"
#include "base/thread.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

int fail_nth;
unsigned failed;
uint64_t world_ns;
long mapped_now, blocks_now;

static struct dr_hooks hooks;

bool fail_stays;

bool fails(int *nth)
{
	if (!*nth)
		return false;
	if (*nth > 1) {
		--*nth;
		return false;
	}
	if (!fail_stays)
		*nth = 0;
	failed++;
	return true;
}

static void *world_alloc(size_t len, size_t align)
{
	void *p = fails(&fail_nth) ? NULL : dr_hooks_system.alloc(len, align);

	if (p)
		__atomic_add_fetch(&blocks_now, 1, __ATOMIC_RELAXED);
	return p;
}

static void world_free(void *p)
{
	if (p)
		__atomic_sub_fetch(&blocks_now, 1, __ATOMIC_RELAXED);
	dr_hooks_system.free(p);
}

static void *world_mmap(void *addr, size_t len, int prot, int flags, int fd, off_t off)
{
	void *p;

	if (fails(&fail_nth)) {
		errno = ENOMEM;
		return MAP_FAILED;
	}
	p = dr_hooks_system.mmap(addr, len, prot, flags, fd, off);
	/* Over a reservation it has been counted. */
	if (p != MAP_FAILED && !(flags & MAP_FIXED))
		__atomic_add_fetch(&mapped_now, (long)len, __ATOMIC_RELAXED);
	return p;
}

static int world_munmap(void *addr, size_t len)
{
	if (len)
		__atomic_sub_fetch(&mapped_now, (long)len, __ATOMIC_RELAXED);
	return dr_hooks_system.munmap(addr, len);
}

static uint64_t world_clock(void)
{
	return world_ns;
}

void world_begin(void)
{
	dr_process_id(); /* keeps a page for the life of the process */
	dr_thread_number();
	hooks = dr_hooks_system;
	hooks.alloc = world_alloc;
	hooks.free = world_free;
	hooks.mmap = world_mmap;
	hooks.munmap = world_munmap;
	hooks.clock_ns = world_clock;
	fail_nth = 0;
	fail_stays = false;
	mapped_now = blocks_now = 0;
	world_ns = 1;
	dr_hooks = &hooks;
}

void world_end(void)
{
	dr_hooks = &dr_hooks_system;
}

struct rig *rig_open(const char *profile, enum dray_domain_type type, size_t bytes)
{
	struct dr_bounce_opts opts = { .bytes = bytes };
	struct dr_backend_args args = { .type = type, .profile = profile };
	struct dray_iova_opts space = { .size = sizeof(space) };
	struct rig *r = calloc(1, sizeof(*r));
	uint64_t replayed;

	assert_non_null(r);
	args.log = &r->io.log;
	r->io.ops = &dr_sim_ops;
	assert_int_equal(dr_pgtable_open(DR_PT_PAGE_SIZES, &r->io.pt), 0);
	args.pt = r->io.pt;
	assert_int_equal(dr_sim_ops.open(&args, &r->io.be), 0);
	space.granule = r->io.be->limits.granule;
	space.last = (UINT64_C(1) << DR_PT_ADDR_BITS) - 1;
	assert_int_equal(dray_iova_space_open(&space, &r->io.space), 0);
	assert_int_equal(dr_iova_set_usable(r->io.space, r->io.be->limits.usable,
					    r->io.be->limits.n_usable), 0);
	r->io.granule_mask = space.granule - 1;
	r->io.last = space.last;
	assert_int_equal(dr_sim_ops.attach(r->io.be, "sim0", NULL, &r->dev), 0);
	assert_int_equal(dr_sim_ops.enable(r->io.be, r->dev, &replayed), 0);
	assert_int_equal(dr_bounce_open(&r->io, &opts, &r->b), 0);
	return r;
}

void rig_close_without_bounce(struct rig *r)
{
	struct dr_iova_counts counts;

	dr_iova_counts(r->io.space, &counts);
	assert_int_equal(counts.live_ranges, 0);
	assert_true(dr_iova_space_is_valid(r->io.space));
	if (r->dev)
		dr_sim_ops.detach(r->io.be, r->dev, false);
	assert_true(dr_pgtable_is_valid(r->io.pt));
	dray_iova_space_close(r->io.space);
	dr_sim_ops.close(r->io.be);
	dr_pgtable_close(r->io.pt);
	dr_counters_close(&r->io.counters);
	free(r);
	if (dr_hooks != &dr_hooks_system) {
		assert_int_equal(mapped_now, 0);
		assert_int_equal(blocks_now, 0);
	}
}

void rig_close(struct rig *r)
{
	assert_true(dr_bounce_is_valid(r->b));
	dr_bounce_close(r->b);
	rig_close_without_bounce(r);
}

struct dr_bounce_request request(void *va, size_t len, enum dray_dir dir, bool trusted)
{
	return (struct dr_bounce_request){
		.va = va, .len = len, .dir = dir, .mask = MASK64, .trusted = trusted,
		.keep_offset = true, .owner_bits = dr_pte_owner_bits(1),
	};
}

uint64_t map_at(struct rig *r, const struct dr_bounce_request *q, dray_iova_t *ret_iova)
{
	uint64_t handle = 0;

	assert_int_equal(dr_bounce_map(r->b, q, ret_iova, &handle), 0);
	assert_true(handle && !(handle >> DR_BOUNCE_HANDLE_BITS));
	assert_true(*ret_iova + q->len - 1 <= q->mask);
	return handle;
}

void device_reads(struct rig *r, dray_iova_t iova, void *buf, size_t len)
{
	assert_int_equal(dr_sim_dma_read(r->dev, iova, buf, len), 0);
}

void device_writes(struct rig *r, dray_iova_t iova, const void *buf, size_t len)
{
	assert_int_equal(dr_sim_dma_write(r->dev, iova, buf, len), 0);
}

void device_read_faults(struct rig *r, dray_iova_t iova)
{
	struct dray_sim_fault f;
	char c;

	assert_int_equal(dr_sim_dma_read(r->dev, iova, &c, 1), -EFAULT);
	assert_int_equal(dr_sim_take_faults(r->dev, &f, 1), 1);
	assert_true(f.iova == iova);
}

struct dr_bounce_stats stats_of(struct rig *r)
{
	struct dr_bounce_stats st;

	dr_bounce_stats(r->b, NULL, &st);
	return st;
}

void fill(void *p, size_t len, unsigned seed)
{
	unsigned char *c = p;

	for (size_t i = 0; i < len; i++)
		c[i] = (unsigned char)(seed * 131 + i * 7 + (i >> 8) * 13);
}
