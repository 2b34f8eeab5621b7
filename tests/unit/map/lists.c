// SPDX-License-Identifier: BSD-2-Clause
#include "lists.h"

#include "backend/sim/sim.h"
#include "iova/space.h"

#include <stdlib.h>
#include <sys/mman.h>

long lists_held;
unsigned lists_fail_mmap, lists_mmaps;
unsigned lists_fail_map, lists_fail_unmap, lists_maps, lists_unmaps;
bool lists_full;
int lists_map_error;
const char *lists_no_pin;
size_t lists_no_pin_len;

static struct dr_hooks world;
static struct dr_backend_ops watching;
static const struct dr_backend_ops *watched;

/* Address space that is only reserved, and what is placed in it, is nobody's page. */
#define RESERVED 64u
static void *reserved[RESERVED];
static unsigned n_reserved;

static void *count_mmap(void *addr, size_t len, int prot, int flags, int fd, off_t off)
{
	void *p;

	lists_mmaps++;
	if (lists_fail_mmap && !--lists_fail_mmap) {
		errno = ENOMEM;
		return MAP_FAILED;
	}
	p = dr_hooks_system.mmap(addr, len, prot, flags, fd, off);
	if (p == MAP_FAILED || flags & MAP_FIXED)
		return p;
	if (prot != PROT_NONE)
		lists_held += (long)len;
	else
		reserved[n_reserved++ % RESERVED] = p;
	return p;
}

static int count_munmap(void *addr, size_t len)
{
	for (unsigned i = 0; i < RESERVED; i++)
		if (reserved[i] == addr) {
			reserved[i] = NULL;
			return dr_hooks_system.munmap(addr, len);
		}
	lists_held -= (long)len;
	return dr_hooks_system.munmap(addr, len);
}

static void warm(void)
{
	struct dray_domain *dom = rig_open();

	dray_device_close(rig_plug(dom, "sim1"));
	dray_domain_close(dom);
}

int lists_setup(void **state)
{
	rig_setup(state);
	world = *dr_hooks;
	/* What the process keeps for ever is made now. */
	warm();
	world.mmap = count_mmap;
	world.munmap = count_munmap;
	dr_hooks = &world;
	lists_held = 0;
	lists_fail_mmap = lists_mmaps = 0;
	lists_fail_map = lists_fail_unmap = lists_maps = lists_unmaps = 0;
	lists_full = false;
	lists_map_error = -ENOMEM;
	lists_no_pin = NULL;
	n_reserved = 0;
	memset(reserved, 0, sizeof(reserved));
	return 0;
}

int lists_teardown(void **state)
{
	int err = rig_teardown(state);

	if (!lists_held)
		return err;
	print_error("%ld bytes of pages are left\n", lists_held);
	return -1;
}

static int watch_map(struct dr_backend *be, dray_iova_t iova, void *va, size_t len, uint64_t bits)
{
	lists_maps++;
	if (lists_full || (lists_fail_map && !--lists_fail_map))
		return dr_fail(-lists_map_error, "the test refuses to map");
	if (lists_no_pin && (char *)va < lists_no_pin + lists_no_pin_len &&
	    lists_no_pin < (char *)va + len)
		return dr_fail(EFAULT, "the test cannot pin %p", va);
	return watched->map(be, iova, va, len, bits);
}

static int watch_unmap(struct dr_backend *be, dray_iova_t iova, size_t len, size_t *ret_gone)
{
	lists_unmaps++;
	if (lists_fail_unmap && !--lists_fail_unmap) {
		*ret_gone = 0;
		return dr_fail(EIO, "the test refuses to unmap");
	}
	return watched->unmap(be, iova, len, ret_gone);
}

static void watch_invalidate(struct dr_backend *be, dray_iova_t first, dray_iova_t last)
{
	lists_full = false;
	watched->invalidate(be, first, last);
}

void lists_watch(struct dray_domain *dom)
{
	watched = dom->io.ops;
	watching = *watched;
	watching.map = watch_map;
	watching.unmap = watch_unmap;
	watching.invalidate = watch_invalidate;
	dom->io.ops = &watching;
}

void lists_unwatch(struct dray_domain *dom)
{
	dom->io.ops = watched;
}

struct dray_device *lists_plug(struct dray_domain *dom, const char *name,
			       const struct dray_device_opts *limits)
{
	struct dray_device *dev = NULL;

	assert_int_equal(dray_device_open(dom, name, limits, &dev), 0);
	return dev;
}

struct dray_sg lists_element(void *va, size_t len)
{
	return (struct dray_sg){ .va = va, .len = len };
}

void lists_fill(void *va, size_t len, unsigned seed)
{
	unsigned char *p = va;
	uint64_t x = seed * UINT64_C(0x9e3779b97f4a7c15) + 1;

	for (size_t i = 0; i < len; i++) {
		x = x * UINT64_C(6364136223846793005) + 1442695040888963407;
		p[i] = (unsigned char)(x >> 56);
	}
}

void lists_assert_reads(struct dray_device *dev, const struct dray_sg *sg, unsigned n,
			int segments)
{
	size_t all = 0, told = 0, done = 0;
	unsigned char *seen;

	for (unsigned i = 0; i < n; i++)
		all += sg[i].len;
	for (int i = 0; i < segments; i++)
		told += sg[i].dma_len;
	assert_int_equal(told, all);
	seen = malloc(all);
	assert_non_null(seen);
	for (int i = 0; i < segments; i++) {
		assert_int_equal(dr_sim_dma_read(dev->bd, sg[i].iova, seen + done, sg[i].dma_len),
				 0);
		done += sg[i].dma_len;
	}
	done = 0;
	for (unsigned i = 0; i < n; i++) {
		assert_memory_equal(seen + done, sg[i].va, sg[i].len);
		done += sg[i].len;
	}
	free(seen);
}

void lists_write(struct dray_device *dev, const struct dray_sg *sg, int segments, unsigned seed)
{
	size_t at = 0;

	for (int i = 0; i < segments; i++) {
		unsigned char *data = malloc(sg[i].dma_len);

		assert_non_null(data);
		for (size_t b = 0; b < sg[i].dma_len; b++, at++)
			data[b] = (unsigned char)(seed + at * 7);
		assert_int_equal(dr_sim_dma_write(dev->bd, sg[i].iova, data, sg[i].dma_len), 0);
		free(data);
	}
}

void lists_assert_written(const struct dray_sg *sg, unsigned n, unsigned seed)
{
	size_t at = 0;

	for (unsigned i = 0; i < n; i++)
		for (size_t b = 0; b < sg[i].len; b++, at++)
			assert_int_equal(((unsigned char *)sg[i].va)[b],
					 (unsigned char)(seed + at * 7));
}

void lists_assert_faults(struct dray_device *dev, dray_iova_t iova, bool write)
{
	struct dray_sim_fault f[2];
	char byte = 0;

	while (dr_sim_take_faults(dev->bd, f, 2))
		;
	assert_int_equal(write ? dr_sim_dma_write(dev->bd, iova, &byte, 1) :
				 dr_sim_dma_read(dev->bd, iova, &byte, 1), -EFAULT);
	assert_int_equal(dr_sim_take_faults(dev->bd, f, 2), 1);
	assert_int_equal(f[0].iova & ~(KB4 - 1), iova & ~(KB4 - 1));
}

uint64_t lists_live(const struct dray_domain *dom)
{
	struct dr_iova_counts counts;

	dr_iova_counts(dom->io.space, &counts);
	return counts.live_ranges;
}

unsigned lists_in_table(const struct dray_domain *dom)
{
	struct dr_pt_mapping m;
	unsigned n = 0;

	for (dray_iova_t from = dom->io.first;
	     from <= dom->io.last && dr_pgtable_next(dom->io.pt, from, dom->io.last, &m);
	     from = m.iova + m.len)
		n++;
	return n;
}
