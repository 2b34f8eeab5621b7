// SPDX-License-Identifier: BSD-2-Clause
#include "rig.h"

#include <sys/mman.h>

struct rig rig;
static struct dr_hooks counting;

static bool fails(unsigned *nth)
{
	return *nth && !--*nth;
}

static void *rig_alloc(size_t len, size_t align)
{
	void *p = fails(&rig.fail_alloc) ? NULL : dr_hooks_system.alloc(len, align);

	if (p)
		atomic_fetch_add(&rig.blocks, 1);
	return p;
}

static void rig_free(void *p)
{
	if (p)
		atomic_fetch_sub(&rig.blocks, 1);
	dr_hooks_system.free(p);
}

static void *rig_mmap(void *addr, size_t len, int prot, int flags, int fd, off_t off)
{
	void *p;

	if (fails(&rig.fail_alloc)) {
		errno = ENOMEM;
		return MAP_FAILED;
	}
	p = dr_hooks_system.mmap(addr, len, prot, flags, fd, off);
	/* A fixed one lies in what was mapped before. */
	if (p != MAP_FAILED && !(flags & MAP_FIXED))
		atomic_fetch_add(&rig.area_bytes, (long)len);
	return p;
}

static int rig_munmap(void *addr, size_t len)
{
	atomic_fetch_sub(&rig.area_bytes, (long)len);
	return dr_hooks_system.munmap(addr, len);
}

static int rig_madvise(void *addr, size_t len, int advice)
{
	if (advice != MADV_DONTFORK && advice != MADV_DOFORK)
		return dr_hooks_system.madvise(addr, len, advice);
	if (fails(&rig.fail_madvise)) {
		errno = rig.madvise_err;
		return -1;
	}
	rig.dontforks += advice == MADV_DONTFORK;
	rig.doforks += advice == MADV_DOFORK;
	return 0;
}

static int be_map(struct dr_backend *be, dray_iova_t iova, void *va, size_t len, uint64_t bits)
{
	int err;

	atomic_fetch_add(&rig.maps, 1);
	if (fails(&rig.fail_map))
		return rig.map_err;
	err = dr_pgtable_prepare(be->pt, iova, va, len);
	if (err)
		return err;
	dr_pgtable_set(be->pt, iova, va, len, bits);
	atomic_fetch_add(&rig.mapped, len);
	return 0;
}

static int be_unmap(struct dr_backend *be, dray_iova_t iova, size_t len, size_t *ret_gone)
{
	atomic_fetch_add(&rig.unmaps, 1);
	if (fails(&rig.fail_unmap)) {
		*ret_gone = 0;
		return rig.unmap_err;
	}
	*ret_gone = dr_pgtable_clear(be->pt, iova, len);
	if (*ret_gone != len)
		abort(); /* something unmapped what it had not mapped */
	atomic_fetch_sub(&rig.mapped, len);
	return 0;
}

static const struct dr_backend_ops ops = { .name = "rig", .map = be_map, .unmap = be_unmap };

void rig_open(dray_iova_t first, dray_iova_t last)
{
	const struct dray_iova_opts space = {
		.size = sizeof(space), .granule = KB4, .first = first, .last = last,
	};

	assert_int_equal(dr_pgtable_open(DR_PT_PAGE_SIZES, &rig.io.pt), 0);
	assert_int_equal(dray_iova_space_open(&space, &rig.io.space), 0);
	rig.be = (struct dr_backend){
		.ops = &ops, .pt = rig.io.pt, .defers = DR_DEFER_NOTHING, .max_op = UINT64_MAX,
	};
	rig.io.ops = &ops;
	rig.io.be = &rig.be;
	rig.io.granule_mask = KB4 - 1;
	rig.io.first = first;
	rig.io.last = last;
	assert_int_equal(dr_regions_open(&rig.io, &rig.r), 0);
}

void rig_close(void)
{
	if (rig.r)
		dr_regions_close(rig.r);
	rig.r = NULL;
	dray_iova_space_close(rig.io.space);
	dr_pgtable_close(rig.io.pt);
	dr_counters_close(&rig.io.counters);
}

int rig_setup(void **state)
{
	(void)state;
	counting = dr_hooks_system;
	counting.alloc = rig_alloc;
	counting.free = rig_free;
	counting.mmap = rig_mmap;
	counting.munmap = rig_munmap;
	counting.madvise = rig_madvise;
	dr_hooks = &counting;
	memset(&rig, 0, sizeof(rig));
	rig_open(1 << 20, (UINT64_C(1) << 47) - 1);
	return 0;
}

int rig_teardown(void **state)
{
	bool valid = dr_regions_is_valid(rig.r);

	(void)state;
	rig_close();
	dr_hooks = &dr_hooks_system;
	if (valid && !rig.blocks && !rig.area_bytes && !rig.mapped)
		return 0;
	print_error("valid %d, %ld blocks, %ld bytes of areas and %lu mapped bytes are left\n",
		    valid, (long)rig.blocks, (long)rig.area_bytes, (unsigned long)rig.mapped);
	return -1;
}

int add_flags(void *va, size_t len, uint32_t flags, struct dray_region **ret)
{
	return add_at(DRAY_IOVA_NONE, va, len, flags, ret);
}

int add_at(dray_iova_t iova, void *va, size_t len, uint32_t flags, struct dray_region **ret)
{
	const struct dr_region_args a = { .iova = iova, .va = va, .len = len, .flags = flags };

	return dr_region_add(rig.r, &a, ret);
}

struct dray_region *add(void *va, size_t len)
{
	struct dray_region *g = NULL;

	assert_int_equal(add_flags(va, len, 0, &g), 0);
	assert_non_null(g);
	return g;
}

int drop(struct dray_region *g)
{
	bool gone;
	int err = dr_region_remove(g, &gone);

	if (!err && !gone)
		abort(); /* it must say so */
	return err;
}

dray_iova_t translate(const void *va, size_t *inout_len)
{
	return dr_region_translate(rig.r, va, inout_len);
}

bool enter(const void *va, size_t len, enum dray_dir dir, dray_iova_t *ret_iova,
	   uint32_t *ret_index)
{
	bool in;

	dr_rcu_read_lock();
	in = dr_region_enter(rig.r, va, len, dir, ret_iova, ret_index);
	dr_rcu_read_unlock();
	return in;
}

void leave(uint32_t index)
{
	dr_region_leave(rig.r, index);
}
