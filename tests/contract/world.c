// SPDX-License-Identifier: BSD-2-Clause
#define _GNU_SOURCE
#include "world.h"
#include "contract.h"
#include "base/hooks.h"
#include "domain/domain.h"

#include "vfio_fake.h"

#include <dirent.h>
#include <errno.h>
#include <linux/vfio.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

/* What base/slab.c aligns its objects to. */
#define SLAB_ALIGN 64u
#define PAGE       4096u
#define APART_MAX  16

struct script {
	atomic_uint seen;    /* calls so far */
	atomic_uint fail_at; /* the call that fails; 0 none */
	atomic_int all;      /* errno of every call; 0 none */
	atomic_int err;      /* errno of the one */
	atomic_bool fired;
};

static struct script scripts[WORLD_CALLS];
static atomic_uint advised[256];
static atomic_uint short_at;     /* unmap ioctl, by number; 0 none */
static _Atomic uint64_t short_to;
static atomic_uint release_told; /* 0: the truth */
static atomic_long blocks;
static _Atomic uint64_t clock_at; /* what a clock that is held says; 0: the truth */
/* Written before threads start. */
static bool apart;
static atomic_uint n_apart;
static struct { void *at; size_t len; } apart_list[APART_MAX];

/* Count one call. The errno it is to fail with, or 0. */
static int script_next(enum world_call call)
{
	struct script *s = &scripts[call];
	unsigned n = atomic_fetch_add(&s->seen, 1) + 1;

	if (atomic_load(&s->all))
		return atomic_load(&s->all);
	if (n != atomic_load(&s->fail_at))
		return 0;
	atomic_store(&s->fired, true);
	return atomic_load(&s->err);
}

static bool is_failed(enum world_call call)
{
	int err = script_next(call);

	if (err)
		errno = err;
	return err;
}

static int watched_open(const char *path, int flags)
{
	return is_failed(WORLD_OPEN) ? -1 : dr_hooks_system.open(path, flags);
}

static int watched_ioctl(int fd, unsigned long request, void *arg)
{
	int ret;

	if (is_failed(WORLD_IOCTL))
		return -1;
	if (request == VFIO_IOMMU_MAP_DMA && is_failed(WORLD_IOCTL_MAP))
		return -1;
	if (request != VFIO_IOMMU_UNMAP_DMA)
		return dr_hooks_system.ioctl(fd, request, arg);
	if (is_failed(WORLD_IOCTL_UNMAP))
		return -1;
	ret = dr_hooks_system.ioctl(fd, request, arg);
	if (!ret && world_calls(WORLD_IOCTL_UNMAP) == atomic_load(&short_at))
		((struct vfio_iommu_type1_dma_unmap *)arg)->size = atomic_load(&short_to);
	return ret;
}

static void *watched_mmap(void *addr, size_t len, int prot, int flags, int fd, off_t off)
{
	return is_failed(WORLD_MMAP) ? MAP_FAILED :
				       dr_hooks_system.mmap(addr, len, prot, flags, fd, off);
}

static int watched_madvise(void *addr, size_t len, int advice)
{
	if (is_failed(WORLD_MADVISE))
		return -1;
	if (advice >= 0 && advice < 256)
		atomic_fetch_add(&advised[advice], 1);
	return dr_hooks_system.madvise(addr, len, advice);
}

static unsigned watched_release(void)
{
	unsigned told = atomic_load(&release_told);

	return told ? told : dr_hooks_system.kernel_release();
}

static uint64_t watched_clock(void)
{
	uint64_t held = atomic_load(&clock_at);

	return held ? held : dr_hooks_system.clock_ns();
}

/* Pages for an object that may become read-only, never given back. */
static void *alloc_apart(size_t len)
{
	unsigned n = atomic_fetch_add(&n_apart, 1);
	void *p;

	len = (len + PAGE - 1) / PAGE * PAGE;
	p = n < APART_MAX ? mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
				 -1, 0) : MAP_FAILED;
	if (p == MAP_FAILED)
		return NULL;
	apart_list[n].at = p;
	apart_list[n].len = len;
	return p;
}

static bool is_apart(const void *p)
{
	for (unsigned i = 0; i < atomic_load(&n_apart); i++)
		if (apart_list[i].at == p)
			return true;
	return false;
}

static bool is_slab(size_t len, size_t align)
{
	size_t domain = (sizeof(struct dray_domain) + SLAB_ALIGN - 1) / SLAB_ALIGN * SLAB_ALIGN;
	size_t device = (sizeof(struct dray_device) + SLAB_ALIGN - 1) / SLAB_ALIGN * SLAB_ALIGN;

	return align == SLAB_ALIGN && (len == domain || len == device);
}

static void *watched_alloc(size_t len, size_t align)
{
	void *p;

	if (is_failed(WORLD_ALLOC))
		return NULL;
	if (apart && (is_slab(len, align) || len == sizeof(struct dr_attachment)))
		return alloc_apart(len);
	p = dr_hooks_system.alloc(len, align);
	if (p && !is_slab(len, align))
		atomic_fetch_add(&blocks, 1);
	return p;
}

static void watched_free(void *p)
{
	if (!p || is_apart(p))
		return;
	atomic_fetch_sub(&blocks, 1);
	dr_hooks_system.free(p);
}

static struct dr_hooks watched;

void world_start(void)
{
	watched = dr_hooks_system;
	watched.open = watched_open;
	watched.ioctl = watched_ioctl;
	watched.mmap = watched_mmap;
	watched.madvise = watched_madvise;
	watched.kernel_release = watched_release;
	watched.clock_ns = watched_clock;
	watched.alloc = watched_alloc;
	watched.free = watched_free;
	dr_hooks = &watched;
}

void world_fail_nth(enum world_call call, unsigned n, int err)
{
	struct script *s = &scripts[call];

	atomic_store(&s->fired, false);
	atomic_store(&s->err, err);
	atomic_store(&s->fail_at, n ? atomic_load(&s->seen) + n : 0);
}

void world_fail_all(enum world_call call, int err)
{
	atomic_store(&scripts[call].all, err);
}

bool world_fired(enum world_call call)
{
	return atomic_load(&scripts[call].fired);
}

unsigned world_calls(enum world_call call)
{
	return atomic_load(&scripts[call].seen);
}

unsigned world_advised(int advice)
{
	return atomic_load(&advised[advice]);
}

void world_short_unmap(unsigned n, uint64_t bytes)
{
	atomic_store(&short_to, bytes);
	atomic_store(&short_at, world_calls(WORLD_IOCTL_UNMAP) + n);
}

void world_set_release(unsigned major, unsigned minor)
{
	atomic_store(&release_told, major << 16 | minor);
}

void world_hold_clock(void)
{
	atomic_store(&clock_at, dr_hooks_system.clock_ns());
}

void world_pass(uint64_t ns)
{
	atomic_fetch_add(&clock_at, ns);
}

void world_set_roots(const char *sysfs, const char *devfs)
{
	watched.sysfs = sysfs ? sysfs : dr_hooks_system.sysfs;
	watched.devfs = devfs ? devfs : dr_hooks_system.devfs;
}

int world_fds(void)
{
	DIR *dir = opendir("/proc/self/fd");
	int n = 0;

	CHECK(dir);
	while (readdir(dir))
		n++;
	closedir(dir);
	return n - 3; /* ".", ".." and the directory's own */
}

long world_blocks(void)
{
	if (dr_hooks != &watched)
		return vfio_fake_allocs();
	return atomic_load(&blocks);
}

void world_apart(void)
{
	apart = true;
}

unsigned world_protect(bool forbid)
{
	unsigned n = atomic_load(&n_apart);

	for (unsigned i = 0; i < n; i++)
		CHECK(!mprotect(apart_list[i].at, apart_list[i].len,
				forbid ? PROT_READ : PROT_READ | PROT_WRITE));
	return n;
}
