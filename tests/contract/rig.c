// SPDX-License-Identifier: BSD-2-Clause
#define _GNU_SOURCE
#include "rig.h"
#include "world.h"
#include "backend/sim/sim.h"
#include "domain/domain.h"
#include "iova/cache.h"
#include "iova/pieces.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static pthread_mutex_t log_lock = PTHREAD_MUTEX_INITIALIZER;
static char logged[8192]; /* guarded by log_lock; what does not fit is dropped */

static void keep_line(void *ctx, int level, const char *msg)
{
	size_t n;

	(void)ctx;
	(void)level;
	pthread_mutex_lock(&log_lock);
	n = strlen(logged);
	snprintf(logged + n, sizeof(logged) - n, "%s\n", msg);
	pthread_mutex_unlock(&log_lock);
}

const char *rig_logged(void)
{
	return logged;
}

struct dray_domain_opts rig_domain_opts(const struct rig *rig)
{
	return (struct dray_domain_opts){
		.size = sizeof(struct dray_domain_opts),
		.backend = rig->backend,
		.sim_profile = rig->profile,
		.log = keep_line,
	};
}

struct dray_device_opts rig_device_opts(void)
{
	return (struct dray_device_opts){
		.size = sizeof(struct dray_device_opts),
		.dma_mask = RIG_MASK,
	};
}

struct dray_domain *rig_domain_as(const struct rig *rig, enum dray_domain_type type)
{
	struct dray_domain_opts opts = rig_domain_opts(rig);
	struct dray_domain *dom = NULL;

	opts.type = type;
	CHECK_OK(dray_domain_open(&opts, &dom));
	CHECK(dom);
	return dom;
}

struct dray_domain *rig_domain(const struct rig *rig)
{
	return rig_domain_as(rig, DRAY_DOMAIN_DEFAULT);
}

struct dray_device *rig_device(const struct rig *rig, struct dray_domain *dom, const char *name)
{
	struct dray_device_opts opts = rig_device_opts();
	struct dray_device *dev = NULL;

	CHECK_OK(dray_device_open(dom, name ? name : rig->device, &opts, &dev));
	CHECK(dev);
	return dev;
}

bool rig_is_write_only_possible(const struct rig *rig)
{
	return rig_is_sim(rig) || access("/sys/class/iommu/dmar0", F_OK);
}

void rig_warm(const struct rig *rig)
{
	struct dray_domain *dom = rig_domain(rig);

	dray_device_close(rig_device(rig, dom, NULL));
	dray_domain_close(dom);
}

void rig_refuse_unmap_after(const struct rig *rig, struct dray_domain *dom, size_t bytes)
{
	if (rig_is_sim(rig))
		dr_sim_fail_unmap_at(dom->io.be, bytes / PAGE);
	else
		world_fail_nth(WORLD_IOCTL_UNMAP, (unsigned)(bytes / dom->io.be->max_op) + 1, EIO);
}

void rig_refuse_unmap(const struct rig *rig, struct dray_domain *dom)
{
	rig_refuse_unmap_after(rig, dom, 0);
}

void rig_set_max_op(struct dray_domain *dom, size_t bytes)
{
	dom->io.be->max_op = bytes;
}

struct dray_stats rig_stats(const struct dray_domain *dom)
{
	struct dray_stats stats = { .size = sizeof(stats) };

	CHECK_OK(dray_stats_get(dom, &stats));
	return stats;
}

struct dray_domain_info rig_info(const struct dray_domain *dom)
{
	struct dray_domain_info info = { .size = sizeof(info) };

	CHECK_OK(dray_domain_info(dom, &info));
	return info;
}

/* Threads that count in a block of their own: it stays until the domain goes. */
static long count_blocks(const struct dray_domain *dom)
{
	long n = 0;

	for (unsigned i = 0; i < DR_THREADS; i++)
		n += atomic_load(&dom->io.counters.by_thread[i]) != NULL;
	return n;
}

static uint64_t count_mappings(const struct dray_domain *dom)
{
	struct dr_pt_mapping m;
	uint64_t n = 0;

	for (dray_iova_t from = dom->io.first;
	     from <= dom->io.last && dr_pgtable_next(dom->io.pt, from, dom->io.last, &m);
	     from = m.iova + m.len)
		n++;
	return n;
}

struct rig_state rig_state(const struct dray_domain *dom)
{
	struct dray_stats stats = rig_stats(dom);
	struct rig_state state = { .info = rig_info(dom) };
	struct dr_iova_counts counts;

	CHECK(dr_iova_space_is_valid(dom->io.space));
	CHECK(dr_pgtable_is_valid(dom->io.pt));
	dr_iova_counts(dom->io.space, &counts);
	state.live_ranges = counts.live_ranges;
	state.live_bytes = counts.live_bytes;
	state.table_mappings = count_mappings(dom);
	state.maps = stats.maps;
	state.unmaps = stats.unmaps;
	state.leaks = stats.leaks;
	state.blocks = world_blocks() - (long)dom->io.space->spares -
		       (long)dr_cache_blocks(dom->io.space) -
		       (long)(state.info.pgtable_bytes / PAGE) - count_blocks(dom);
	state.fds = world_fds();
	return state;
}

static void same(const char *file, int line, const char *what, uint64_t now, uint64_t was)
{
	if (now != was)
		contract_fail(file, line, "%s: %llu, %llu before", what, (unsigned long long)now,
			      (unsigned long long)was);
}

void rig_check_same(const char *file, int line, const struct dray_domain *dom,
		    const struct rig_state *was)
{
	struct rig_state now = rig_state(dom);

	same(file, line, "live ranges", now.live_ranges, was->live_ranges);
	same(file, line, "live bytes", now.live_bytes, was->live_bytes);
	same(file, line, "mappings in the table", now.table_mappings, was->table_mappings);
	same(file, line, "maps", now.maps, was->maps);
	same(file, line, "unmaps", now.unmaps, was->unmaps);
	same(file, line, "leaks", now.leaks, was->leaks);
	same(file, line, "blocks of memory", (uint64_t)now.blocks, (uint64_t)was->blocks);
	same(file, line, "descriptors", (uint64_t)now.fds, (uint64_t)was->fds);
	same(file, line, "mapped bytes", now.info.mapped_bytes, was->info.mapped_bytes);
	same(file, line, "entries left", now.info.entries_left, was->info.entries_left);
	same(file, line, "quarantined bytes", now.info.quarantined_bytes,
	     was->info.quarantined_bytes);
	same(file, line, "damaged", now.info.damaged, was->info.damaged);
	same(file, line, "devices", now.info.devices, was->info.devices);
	same(file, line, "granule", now.info.granule, was->info.granule);
	same(file, line, "holes", now.info.n_holes, was->info.n_holes);
	same(file, line, "windows", now.info.n_windows, was->info.n_windows);
	if (memcmp(now.info.windows, was->info.windows, sizeof(now.info.windows)))
		contract_fail(file, line, "usable windows are others");
}

void *rig_pages_aligned(size_t len, size_t align)
{
	char *p = mmap(NULL, len + align, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
		       0);

	CHECK(p != MAP_FAILED);
	p = (char *)(((uintptr_t)p + align - 1) & ~(uintptr_t)(align - 1));
	rig_fill(p, len, 1);
	return p;
}

void *rig_pages(size_t len)
{
	return rig_pages_aligned(len, PAGE);
}

/* The byte at place @i: never 0, which is what a refused read may leave behind. */
static unsigned char pattern(size_t i, unsigned seed)
{
	return (unsigned char)((i * 7 + (i >> 8) * 13 + seed * 31) % 255 + 1);
}

void rig_fill(void *va, size_t len, unsigned seed)
{
	unsigned char *p = va;

	for (size_t i = 0; i < len; i++)
		p[i] = pattern(i, seed);
}

bool rig_is_filled(const void *va, size_t len, unsigned seed)
{
	const unsigned char *p = va;

	for (size_t i = 0; i < len; i++)
		if (p[i] != pattern(i, seed))
			return false;
	return true;
}
