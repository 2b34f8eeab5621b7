// SPDX-License-Identifier: BSD-2-Clause
#include "rig.h"

#include <stdio.h>

long rig_blocks;
unsigned rig_fail_alloc, rig_allocs;
char rig_log[4096];
int rig_level;
_Alignas(4096) char rig_memory[64 * 4096];

static struct dr_hooks counting;

/* Slabs align to 64, and give nothing back. */
static bool is_slab(size_t len, size_t align)
{
	return align == 64 && (len == (sizeof(struct dray_domain) + 63) / 64 * 64 ||
			       len == (sizeof(struct dray_device) + 63) / 64 * 64);
}

static void *count_alloc(size_t len, size_t align)
{
	void *p;

	rig_allocs++;
	if (rig_fail_alloc && !--rig_fail_alloc)
		return NULL;
	p = dr_hooks_system.alloc(len, align);
	if (p && !is_slab(len, align))
		rig_blocks++;
	return p;
}

static void count_free(void *p)
{
	rig_blocks -= p != NULL;
	dr_hooks_system.free(p);
}

static void keep_line(void *ctx, int level, const char *msg)
{
	size_t n = strlen(rig_log);

	(void)ctx;
	rig_level = level;
	snprintf(rig_log + n, sizeof(rig_log) - n, "%s\n", msg);
}

int rig_setup(void **state)
{
	(void)state;
	counting = dr_hooks_system;
	counting.alloc = count_alloc;
	counting.free = count_free;
	dr_hooks = &counting;
	rig_blocks = 0;
	rig_fail_alloc = rig_allocs = 0;
	rig_log[0] = '\0';
	rig_level = -1;
	return 0;
}

int rig_teardown(void **state)
{
	(void)state;
	dr_hooks = &dr_hooks_system;
	if (!rig_blocks)
		return 0;
	print_error("%ld blocks of memory are left\n", rig_blocks);
	return -1;
}

struct dray_domain_opts rig_opts(void)
{
	return (struct dray_domain_opts){
		.size = sizeof(struct dray_domain_opts),
		.backend = DRAY_BACKEND_SIM,
		.log = keep_line,
	};
}

struct dray_domain *rig_open(void)
{
	struct dray_domain_opts opts = rig_opts();
	struct dray_domain *dom = NULL;

	assert_int_equal(dray_domain_open(&opts, &dom), 0);
	assert_non_null(dom);
	return dom;
}

struct dray_device *rig_plug(struct dray_domain *dom, const char *name)
{
	struct dray_device *dev = NULL;

	assert_int_equal(dray_device_open(dom, name, NULL, &dev), 0);
	assert_non_null(dev);
	return dev;
}

struct dray_mapping rig_map(struct dray_device *dev, void *va, size_t len)
{
	struct dray_mapping m = { 0 };

	assert_int_equal(dray_map(dev, va, len, DRAY_BIDIRECTIONAL, 0, &m), 0);
	return m;
}

struct dray_stats rig_stats(const struct dray_domain *dom)
{
	struct dray_stats s = { .size = sizeof(s) };

	assert_int_equal(dray_stats_get(dom, &s), 0);
	return s;
}

struct dray_domain_info rig_info(const struct dray_domain *dom)
{
	struct dray_domain_info info = { .size = sizeof(info) };

	assert_int_equal(dray_domain_info(dom, &info), 0);
	return info;
}

bool rig_is_gone(const struct dray_domain *dom)
{
	return atomic_load(&dom->state) == DR_FREE;
}
