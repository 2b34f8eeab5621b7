// SPDX-License-Identifier: BSD-2-Clause
#define _GNU_SOURCE
#include "fake_region.h"

#include "base/err.h"
#include "base/hooks.h"
#include "base/process.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <cmocka.h>

#include <dray/domain.h>
#include <dray/region.h>
#include <dray/stats.h>

struct fake_world fake;

static char nothing;
struct dray_domain *const fake_domain = (struct dray_domain *)(void *)&nothing;

struct dray_region {
	char *va;
	size_t len;
	bool live;
};

static struct dr_hooks hooks;

static bool refused(void)
{
	return ++fake.calls == fake.fail_at;
}

int dray_region_register(struct dray_domain *dom, void *va, size_t len, uint32_t flags,
			 struct dray_region **ret_region)
{
	struct dray_region *r;

	assert_ptr_equal(dom, fake_domain);
	assert_int_equal((uintptr_t)va % (2 * MIB), 0);
	assert_int_equal(len % (2 * MIB), 0);
	if (refused())
		return dr_fail(ENOSPC, "fake: refused");
	if (fake.register_error)
		return dr_fail(-fake.register_error, "fake: registering fails");
	if (fake.register_most && len > fake.register_most)
		return dr_fail(ENOMEM, "fake: more than %zu bytes", fake.register_most);
	/* As pinning does: all of it must be there. */
	for (size_t i = 0; i < len; i += 4096)
		*((volatile char *)va + i) = 0;
	r = calloc(1, sizeof(*r));
	assert_non_null(r);
	*r = (struct dray_region){ va, len, true };
	fake.registered++;
	fake.registrations++;
	fake.bytes += len;
	fake.flags = flags;
	*ret_region = r;
	return 0;
}

int dray_region_unregister(struct dray_region *r)
{
	assert_true(r->live);
	if (fake.unregister_error == -EBUSY)
		return dr_fail(EBUSY, "fake: mappings are out");
	/* Still mapped until now. */
	assert_int_equal(madvise(r->va, r->len, MADV_NORMAL), 0);
	fake.registered--;
	fake.bytes -= r->len;
	free(r);
	return fake.unregister_error;
}

void dray_domain_log(const struct dray_domain *dom, int level, const char *msg)
{
	assert_ptr_equal(dom, fake_domain);
	fake.logged++;
	fake.level = level;
	snprintf(fake.line, sizeof(fake.line), "%s", msg);
}

static void *fake_mmap(void *addr, size_t len, int prot, int flags, int fd, off_t off)
{
	void *p;

	if (refused()) {
		errno = ENOMEM;
		return MAP_FAILED;
	}
	/* What is there already is somebody's. */
	assert_false(flags & MAP_FIXED);
	if (flags & MAP_HUGETLB) {
		fake.hugetlb_asked++;
		if (!fake.hugetlb) {
			errno = ENOMEM;
			return MAP_FAILED;
		}
		/* The size of page is in the six bits from 26 on. */
		assert_int_equal((flags >> 26) & 63, 21);
		flags &= (int)~(MAP_HUGETLB | (63u << 26));
	}
	if (prot != PROT_NONE && fake.snatch) {
		fake.snatch--;
		p = mmap(addr, 4096, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
		assert_ptr_equal(p, addr);
		strcpy(p, "another thread's");
	}
	p = mmap(addr, len, prot, flags, fd, off);
	if (p != MAP_FAILED)
		fake.mapped += len;
	return p;
}

static int fake_munmap(void *addr, size_t len)
{
	fake.mapped -= len;
	return munmap(addr, len);
}

static int fake_madvise(void *addr, size_t len, int advice)
{
	if (refused()) {
		errno = ENOMEM;
		return -1;
	}
	switch (advice) {
	case MADV_HUGEPAGE:
		fake.thp_asked++;
		break;
	case MADV_NOHUGEPAGE:
		fake.no_huge_asked++;
		break;
	case MADV_DONTFORK:
		fake.dontfork_asked++;
		break;
	case MADV_POPULATE_WRITE:
		errno = fake.populate_error;
		return errno ? -1 : 0;
	case MADV_DONTNEED:
	case MADV_FREE:
		fail_msg("heap memory is purged");
	}
	return madvise(addr, len, advice);
}

static int fake_mbind(void *addr, size_t len, int mode, const unsigned long *mask,
		      unsigned long bits)
{
	(void)addr;
	(void)len;
	/* MPOL_BIND */
	assert_int_equal(mode, 2);
	assert_true(bits > 64);
	if (refused() || fake.mbind_error) {
		errno = fake.mbind_error ? fake.mbind_error : ENOMEM;
		return -1;
	}
	fake.mbinds++;
	fake.mask = mask[0];
	return 0;
}

static void *fake_alloc(size_t len, size_t align)
{
	void *p = refused() ? NULL : dr_hooks_system.alloc(len, align);

	fake.allocs += p != NULL;
	return p;
}

static void fake_free(void *p)
{
	fake.allocs -= p != NULL;
	dr_hooks_system.free(p);
}

int fake_start(void **state)
{
	(void)state;
	/* Its page is the process's, not a heap's. */
	assert_true(dr_process_id() != 0);
	fake = (struct fake_world){ 0 };
	hooks = dr_hooks_system;
	hooks.mmap = fake_mmap;
	hooks.munmap = fake_munmap;
	hooks.madvise = fake_madvise;
	hooks.mbind = fake_mbind;
	hooks.alloc = fake_alloc;
	hooks.free = fake_free;
	dr_hooks = &hooks;
	return 0;
}

int fake_stop(void **state)
{
	(void)state;
	dr_hooks = &dr_hooks_system;
	return 0;
}

struct dray_heap *fake_heap(uint32_t flags, size_t grow_bytes, size_t max_bytes)
{
	struct dray_heap_opts opts = { .size = sizeof(opts), .flags = flags,
				       .grow_bytes = grow_bytes, .max_bytes = max_bytes };
	struct dray_heap *heap = NULL;

	assert_int_equal(dray_heap_open(fake_domain, &opts, &heap), 0);
	assert_non_null(heap);
	return heap;
}

struct dray_heap_stats fake_stats(struct dray_heap *heap)
{
	struct dray_heap_stats s = { .size = sizeof(s) };

	assert_int_equal(dray_heap_stats(heap, &s), 0);
	return s;
}

void assert_said(const char *word)
{
	if (!strstr(dray_errmsg(), word))
		fail_msg("\"%s\" does not name %s", dray_errmsg(), word);
}

void assert_all_given_back(void)
{
	assert_int_equal(fake.registered, 0);
	assert_int_equal(fake.mapped, 0);
	assert_int_equal(fake.allocs, 0);
}
