// SPDX-License-Identifier: BSD-2-Clause
#include "rig.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

int rig_fail_alloc;
unsigned rig_allocs;
struct rig_madvise rig_madvise;
size_t rig_pread_limit;
uint64_t rig_clock, rig_clock_step;
void (*rig_clock_look)(void);
unsigned rig_clock_looks;

static struct dr_hooks hooks;

static void *rig_alloc(size_t len, size_t align)
{
	rig_allocs++;
	if (rig_fail_alloc && !--rig_fail_alloc)
		return NULL;
	return dr_hooks_system.alloc(len, align);
}

static int rig_madvise_call(void *va, size_t len, int advice)
{
	char *first = va;

	rig_madvise.calls++;
	if (rig_madvise.err && first < rig_madvise.end && first + len > rig_madvise.first) {
		errno = rig_madvise.err;
		return -1;
	}
	return dr_hooks_system.madvise(va, len, advice);
}

static ssize_t rig_pread(int fd, void *buf, size_t len, off_t off)
{
	if (rig_pread_limit && len > rig_pread_limit)
		len = rig_pread_limit;
	return dr_hooks_system.pread(fd, buf, len, off);
}

static uint64_t rig_clock_ns(void)
{
	rig_clock_looks++;
	if (rig_clock_look)
		rig_clock_look();
	return rig_clock += rig_clock_step;
}

int rig_setup(void **state)
{
	(void)state;
	hooks = dr_hooks_system;
	hooks.alloc = rig_alloc;
	hooks.madvise = rig_madvise_call;
	hooks.pread = rig_pread;
	hooks.clock_ns = rig_clock_ns;
	rig_fail_alloc = 0;
	rig_allocs = 0;
	rig_madvise = (struct rig_madvise){ 0 };
	rig_pread_limit = 0;
	rig_clock = 1000;
	rig_clock_step = 1;
	rig_clock_look = NULL;
	rig_clock_looks = 0;
	dr_hooks = &hooks;
	return 0;
}

int rig_teardown(void **state)
{
	(void)state;
	dr_hooks = &dr_hooks_system;
	return 0;
}

struct space space_open(enum dray_domain_type type)
{
	return space_open_as(NULL, type);
}

struct space space_open_as(const char *profile, enum dray_domain_type type)
{
	static const struct dr_log silent;
	struct dr_backend_args args = { .type = type, .profile = profile, .log = &silent };
	struct space s;

	assert_int_equal(dr_pgtable_open(DR_PT_PAGE_SIZES, &s.pt), 0);
	args.pt = s.pt;
	assert_int_equal(dr_sim_ops.open(&args, &s.be), 0);
	return s;
}

void space_close(struct space *s)
{
	assert_true(dr_pgtable_is_valid(s->pt));
	s->be->ops->close(s->be);
	dr_pgtable_close(s->pt);
}

int device_try_open(const struct space *s, const char *name, struct dr_backend_device **ret_dev)
{
	uint64_t replayed = 99;
	int err = s->be->ops->attach(s->be, name, NULL, ret_dev);

	if (err)
		return err;
	assert_int_equal(s->be->ops->enable(s->be, *ret_dev, &replayed), 0);
	assert_int_equal(replayed, 0);
	return 0;
}

struct dr_backend_device *device_open(const struct space *s, const char *name)
{
	struct dr_backend_device *dev = NULL;

	assert_int_equal(device_try_open(s, name, &dev), 0);
	return dev;
}

void device_close(struct dr_backend_device *dev)
{
	dev->be->ops->detach(dev->be, dev, false);
}

void space_map(const struct space *s, dray_iova_t iova, void *va, size_t len, uint64_t bits)
{
	assert_int_equal(s->be->ops->map(s->be, iova, va, len, bits), 0);
}

void space_unmap(const struct space *s, dray_iova_t iova, size_t len)
{
	size_t gone = 0;

	assert_int_equal(s->be->ops->unmap(s->be, iova, len, &gone), 0);
	assert_int_equal(gone, len);
	s->be->ops->invalidate(s->be, iova, iova + len - 1);
}

struct dray_sim_fault only_fault(struct dr_backend_device *dev)
{
	struct dray_sim_fault f[2];

	assert_int_equal(dr_sim_take_faults(dev, f, 2), 1);
	assert_int_equal(f[0].pad, 0);
	return f[0];
}

void *memory(size_t len, size_t align)
{
	size_t more = len + align;
	char *p = mmap(NULL, more, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	size_t off;

	assert_true(p != MAP_FAILED);
	off = (align - (uintptr_t)p % align) % align;
	if (off)
		munmap(p, off);
	munmap(p + off + len, more - off - len);
	return p + off;
}

void memory_free(void *p, size_t len)
{
	munmap(p, len);
}
