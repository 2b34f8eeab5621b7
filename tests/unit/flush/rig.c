// SPDX-License-Identifier: BSD-2-Clause
#define _GNU_SOURCE
#include "rig.h"

#include <linux/membarrier.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

_Atomic uint64_t rig_now;
bool rig_real_time, rig_no_membarrier, rig_no_barrier;
int rig_fail_alloc;
_Atomic unsigned rig_allocs;

static struct dr_hooks hooks;

static uint64_t now(void)
{
	return rig_real_time ? dr_hooks_system.clock_ns() : rig_now;
}

static int membarrier_call(int command)
{
	if (rig_no_membarrier ||
	    (rig_no_barrier && command == MEMBARRIER_CMD_PRIVATE_EXPEDITED)) {
		errno = ENOSYS;
		return -1;
	}
	return dr_hooks_system.membarrier(command);
}

static void *alloc(size_t len, size_t align)
{
	rig_allocs++;
	if (rig_fail_alloc && !--rig_fail_alloc)
		return NULL;
	return dr_hooks_system.alloc(len, align);
}

int world_up(void **state)
{
	(void)state;
	rig_now = 1000 * US;
	rig_real_time = rig_no_membarrier = rig_no_barrier = false;
	rig_fail_alloc = 0;
	rig_allocs = 0;
	hooks = dr_hooks_system;
	hooks.clock_ns = now;
	hooks.membarrier = membarrier_call;
	hooks.alloc = alloc;
	dr_hooks = &hooks;
	return 0;
}

int world_down(void **state)
{
	(void)state;
	dr_hooks = &dr_hooks_system;
	return 0;
}

int kernel_up(void **state)
{
	world_up(state);
	vfio_fake_start();
	vfio_fake_add_device(NVME, 5, "vfio-pci");
	return 0;
}

int kernel_down(void **state)
{
	size_t mappings = vfio_fake_mappings();
	int fds = vfio_fake_fds_open();

	vfio_fake_stop();
	world_down(state);
	if (!mappings && !fds)
		return 0;
	print_error("left behind: %zu mappings, %d descriptors\n", mappings, fds);
	return -1;
}

static void keep_line(void *ctx, int level, const char *msg)
{
	struct rig *rig = ctx;
	size_t n = strlen(rig->logged);

	(void)level;
	snprintf(rig->logged + n, sizeof(rig->logged) - n, "%s\n", msg);
}

void rig_plug(struct rig *rig)
{
	const char *name = rig->io.ops == &dr_sim_ops ? "sim0" : NVME;
	uint64_t replayed;

	assert_int_equal(rig->io.ops->attach(rig->io.be, name, NULL, &rig->bd), 0);
	assert_int_equal(rig->io.ops->enable(rig->io.be, rig->bd, &replayed), 0);
}

void rig_unplug(struct rig *rig)
{
	rig->io.ops->detach(rig->io.be, rig->bd, false);
	rig->bd = NULL;
}

void rig_open_bare(struct rig *rig, const struct dr_backend_ops *ops, unsigned how)
{
	const struct dray_iova_opts opts = {
		.size = sizeof(opts), .granule = PAGE,
		.first = UINT64_C(0x10000000), .last = UINT64_C(0x4fffffff),
	};
	struct dr_backend_args args = { .log = &rig->io.log };

	memset(rig, 0, sizeof(*rig));
	rig->io.log.fn = keep_line;
	rig->io.log.ctx = rig;
	rig->io.ops = ops;
	rig->io.granule_mask = PAGE - 1;
	rig->io.first = opts.first;
	rig->io.last = opts.last;
	assert_int_equal(dr_pgtable_open(DR_PT_PAGE_SIZES, &rig->io.pt), 0);
	args.pt = rig->io.pt;
	assert_int_equal(ops->open(&args, &rig->io.be), 0);
	assert_int_equal(dr_iova_space_open(&opts, how, &rig->io.space), 0);
	rig->mem = mmap(NULL, RIG_PAGES * PAGE, PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	assert_true(rig->mem != MAP_FAILED);
	rig_plug(rig);
}

void rig_open(struct rig *rig, const struct dr_backend_ops *ops, unsigned how,
	      const struct dr_flush_opts *o)
{
	rig_open_bare(rig, ops, how);
	assert_int_equal(dr_flush_open(&rig->io, o, &rig->f), 0);
}

void rig_close_bare(struct rig *rig)
{
	assert_int_equal(rig_live(rig), 0);
	assert_int_equal(rig_retired(rig), 0);
	assert_true(dr_iova_space_is_valid(rig->io.space));
	if (rig->bd)
		rig_unplug(rig);
	dr_counters_close(&rig->io.counters);
	dray_iova_space_close(rig->io.space);
	rig->io.ops->close(rig->io.be);
	dr_pgtable_close(rig->io.pt);
	munmap(rig->mem, RIG_PAGES * PAGE);
}

void rig_close(struct rig *rig)
{
	dr_flush_close(rig->f);
	rig_close_bare(rig);
}

static void act(struct rig *rig, dray_iova_t iova, size_t pages)
{
	bool refused;

	if (rig->f)
		dr_flush_ready(rig->f);
	assert_int_equal(dr_act_map(&rig->io, iova, rig->mem, pages * PAGE, RW, &refused), 0);
}

dray_iova_t rig_map(struct rig *rig, size_t pages)
{
	const struct dr_iova_request req = {
		.len = pages * PAGE, .align = PAGE, .last = DRAY_IOVA_NONE,
	};
	dray_iova_t iova = 0;

	assert_int_equal(dr_iova_take(rig->io.space, &req, &iova), 0);
	act(rig, iova, pages);
	return iova;
}

void rig_map_at(struct rig *rig, dray_iova_t iova, size_t pages)
{
	assert_int_equal(dr_iova_take_fixed(rig->io.space, iova, iova + pages * PAGE - 1), 0);
	act(rig, iova, pages);
}

void rig_put(struct rig *rig, dray_iova_t iova, size_t pages)
{
	bool live = false;

	assert_true(dr_flush_put(rig->f, iova, pages * PAGE, &live));
	assert_true(live);
}

void rig_unmap(struct rig *rig, dray_iova_t iova, size_t pages)
{
	assert_int_equal(dr_act_unmap(&rig->io, iova, pages * PAGE), 0);
	dr_act_release(&rig->io, iova, pages * PAGE, false);
}

struct dr_flush_stats rig_stats(const struct rig *rig)
{
	struct dr_flush_stats st;

	dr_flush_stats(rig->f, &st);
	return st;
}

uint64_t rig_count(const struct rig *rig, enum dr_counter which)
{
	return dr_counters_sum(&rig->io.counters, which);
}

static struct dr_iova_counts counts(const struct rig *rig)
{
	struct dr_iova_counts c;

	dr_iova_counts(rig->io.space, &c);
	return c;
}

uint64_t rig_retired(const struct rig *rig)
{
	return counts(rig).retired_bytes;
}

uint64_t rig_live(const struct rig *rig)
{
	return counts(rig).live_bytes;
}

uint64_t rig_quarantined(const struct rig *rig)
{
	return counts(rig).quarantined_bytes;
}

bool rig_reaches(struct rig *rig, dray_iova_t iova)
{
	struct dray_sim_fault faults[4];
	char byte;
	int err = dr_sim_dma_read(rig->bd, iova, &byte, 1);

	dr_sim_take_faults(rig->bd, faults, 4);
	return !err;
}
