// SPDX-License-Identifier: BSD-2-Clause
/* The fake's IOMMU: what the kernel's type1 driver does with a container's requests. */
#define _GNU_SOURCE
#include "internal.h"

#include <errno.h>
#include <inttypes.h>
#include <search.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ  22
#define MADV_POPULATE_WRITE 23
#endif

static uint64_t page_size(void)
{
	return UINT64_C(1) << __builtin_ctzll(fake.page_sizes);
}

/* Mappings that overlap are equal: so any overlap is found, and none gets in. */
static int compare(const void *a, const void *b)
{
	const struct fake_mapping *x = a, *y = b;

	if (x->iova + x->size - 1 < y->iova)
		return -1;
	return x->iova > y->iova + y->size - 1;
}

/* Any mapping that overlaps [iova, iova + size), or NULL. */
static struct fake_mapping *overlap(const struct fake_container *c, uint64_t iova, uint64_t size)
{
	const struct fake_mapping key = { .iova = iova, .size = size };
	void *node = tfind(&key, &c->maps, compare);

	return node ? *(struct fake_mapping **)node : NULL;
}

const struct fake_mapping *fake_type1_find(const struct fake_container *c, uint64_t iova)
{
	return overlap(c, iova, 1);
}

/* Subtract [first, last] from ascending ranges. */
static unsigned subtract(struct dray_range *r, unsigned n, struct dray_range hole)
{
	struct dray_range out[2 * FAKE_RANGES];
	unsigned m = 0;

	for (unsigned i = 0; i < n; i++) {
		if (hole.last < r[i].first || hole.first > r[i].last) {
			out[m++] = r[i];
			continue;
		}
		if (hole.first > r[i].first)
			out[m++] = (struct dray_range){ r[i].first, hole.first - 1 };
		if (hole.last < r[i].last)
			out[m++] = (struct dray_range){ hole.last + 1, r[i].last };
	}
	if (m > FAKE_RANGES)
		fake_die("more than %d ranges", FAKE_RANGES);
	memcpy(r, out, m * sizeof(*r));
	return m;
}

static unsigned subtract_group(struct dray_range *r, unsigned n, const struct fake_group *g)
{
	for (const struct fake_reserved *v = g->reserved; v; v = v->next)
		if (v->kernel)
			n = subtract(r, n, v->range);
	return n;
}

static unsigned ranges_of(const struct fake_container *c, struct dray_range *ret_ranges)
{
	static const struct dray_range everything = { 0, UINT64_MAX };
	unsigned n = fake.n_ranges;

	if (n)
		memcpy(ret_ranges, fake.ranges, n * sizeof(*ret_ranges));
	else
		ret_ranges[n++] = everything;
	for (const struct fake_group *g = fake.groups; g; g = g->next)
		if (g->in == c)
			n = subtract_group(ret_ranges, n, g);
	return n;
}

static bool is_inside(const struct dray_range *r, unsigned n, uint64_t first, uint64_t last)
{
	for (unsigned i = 0; i < n; i++)
		if (r[i].first <= first && last <= r[i].last)
			return true;
	return false;
}

struct misfits {
	struct dray_range ranges[FAKE_RANGES];
	unsigned n_ranges;
	bool found;
};

static void look_for_misfit(const void *node, VISIT visit, void *arg)
{
	const struct fake_mapping *m = *(struct fake_mapping *const *)node;
	struct misfits *mis = arg;

	if (visit == preorder || visit == leaf)
		mis->found |= !is_inside(mis->ranges, mis->n_ranges, m->iova,
					 m->iova + m->size - 1);
}

int fake_type1_check_group(const struct fake_container *c, const struct fake_group *g)
{
	struct misfits mis = { .found = false };

	mis.n_ranges = subtract_group(mis.ranges, ranges_of(c, mis.ranges), g);
	twalk_r(c->maps, look_for_misfit, &mis);
	return mis.found ? -EINVAL : 0;
}

/* Asks the real kernel whether the pages can be had for that, as pinning them would. */
static bool can_pin(uint64_t va, uint64_t size, bool write)
{
	return !madvise((void *)(uintptr_t)va, size,
			write ? MADV_POPULATE_WRITE : MADV_POPULATE_READ);
}

static int check_map(const struct fake_container *c, const struct vfio_iommu_type1_dma_map *m)
{
	const uint32_t known = VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE;
	struct dray_range r[FAKE_RANGES];

	if (m->argsz < sizeof(*m) || m->flags & ~known || !(m->flags & known))
		return -EINVAL;
	if (!m->size || (m->size | m->iova | m->vaddr) & (page_size() - 1))
		return -EINVAL;
	if (m->iova + m->size - 1 < m->iova || m->vaddr + m->size - 1 < m->vaddr)
		return -EINVAL;
	if (overlap(c, m->iova, m->size))
		return -EEXIST;
	if (!c->avail)
		return -ENOSPC;
	if (!is_inside(r, ranges_of(c, r), m->iova, m->iova + m->size - 1))
		return -EINVAL;
	if (fake.locked + m->size > fake.memlock)
		return -ENOMEM;
	return can_pin(m->vaddr, m->size, m->flags & VFIO_DMA_MAP_FLAG_WRITE) ? 0 : -EFAULT;
}

static long map(struct fake_container *c, const struct vfio_iommu_type1_dma_map *m)
{
	struct fake_mapping *fresh;
	int err = check_map(c, m);

	if (err)
		return err;
	fresh = malloc(sizeof(*fresh));
	if (!fresh)
		fake_die("out of memory");
	*fresh = (struct fake_mapping){ m->iova, m->vaddr, m->size, m->flags };
	if (!tsearch(fresh, &c->maps, compare))
		fake_die("out of memory");
	c->n++;
	c->avail--;
	fake.locked += m->size;
	return 0;
}

static void forget(struct fake_container *c, struct fake_mapping *m)
{
	tdelete(m, &c->maps, compare);
	fake.locked -= m->size;
	c->n--;
	c->avail++;
	free(m);
}

void fake_type1_unmap_all(struct fake_container *c)
{
	while (c->maps)
		forget(c, *(struct fake_mapping **)c->maps);
}

static long unmap(struct fake_container *c, struct vfio_iommu_type1_dma_unmap *u)
{
	uint64_t first = u->iova, last = u->iova + u->size - 1, size = 0;
	struct fake_mapping *m;

	if (u->argsz < sizeof(*u) || u->flags || !u->size || last < first)
		return -EINVAL;
	if ((u->iova | u->size) & (page_size() - 1))
		return -EINVAL;
	m = overlap(c, first, 1);
	if (m && m->iova < first)
		return -EINVAL;
	m = overlap(c, last, 1);
	if (m && m->iova + m->size - 1 > last)
		return -EINVAL;
	while ((m = overlap(c, first, u->size))) {
		size += m->size;
		forget(c, m);
	}
	u->size = size;
	if (fake.short_nth && !--fake.short_nth)
		u->size -= fake.short_by;
	return 0;
}

/* Append @len bytes of a capability to the reply, hung on the one before. */
static void add_cap(char *out, uint32_t *inout_len, uint32_t *link, const void *cap, size_t len)
{
	memcpy(out + *inout_len, cap, len);
	*link = *inout_len;
	*inout_len += (uint32_t)len;
}

static long get_info(const struct fake_container *c, struct vfio_iommu_type1_info *info)
{
	_Alignas(8) char out[512] = { 0 };
	struct vfio_iommu_type1_info *head = (struct vfio_iommu_type1_info *)out;
	struct vfio_iommu_type1_info_cap_iova_range ranges = {
		.header = { .id = VFIO_IOMMU_TYPE1_INFO_CAP_IOVA_RANGE, .version = 1 },
	};
	struct vfio_iommu_type1_info_dma_avail avail = {
		.header = { .id = VFIO_IOMMU_TYPE1_INFO_DMA_AVAIL, .version = 1 },
		.avail = (uint32_t)c->avail,
	};
	uint32_t len = sizeof(*head), *link = &head->cap_offset;
	struct dray_range r[FAKE_RANGES];

	if (info->argsz < offsetof(struct vfio_iommu_type1_info, cap_offset))
		return -EINVAL;
	head->flags = VFIO_IOMMU_INFO_PGSIZES;
	head->iova_pgsizes = fake.page_sizes;
	if (fake.n_ranges) {
		ranges.nr_iovas = ranges_of(c, r);
		add_cap(out, &len, link, &ranges, sizeof(ranges));
		link = &((struct vfio_info_cap_header *)(out + *link))->next;
		/* struct vfio_iova_range has the layout of struct dray_range. */
		memcpy(out + len, r, ranges.nr_iovas * sizeof(r[0]));
		len += ranges.nr_iovas * (uint32_t)sizeof(r[0]);
	}
	if (!fake.no_avail)
		add_cap(out, &len, link, &avail, sizeof(avail));
	if (head->cap_offset)
		head->flags |= VFIO_IOMMU_INFO_CAPS;
	head->argsz = info->argsz;
	if (info->argsz < len) {
		/* As the kernel: no room for capabilities, but how much it would take. */
		head->cap_offset = 0;
		head->argsz = len;
		len = info->argsz < sizeof(*head) ? info->argsz : sizeof(*head);
	}
	memcpy(info, out, len);
	return 0;
}

static long logged_map(struct fake_container *c, const struct vfio_iommu_type1_dma_map *m)
{
	long ret = map(c, m);

	fake_log(ret, "map 0x%" PRIx64 " 0x%" PRIx64 " %s%s", (uint64_t)m->iova, (uint64_t)m->size,
		 m->flags & VFIO_DMA_MAP_FLAG_READ ? "r" : "",
		 m->flags & VFIO_DMA_MAP_FLAG_WRITE ? "w" : "");
	return ret;
}

static long logged_unmap(struct fake_container *c, struct vfio_iommu_type1_dma_unmap *u)
{
	const uint64_t iova = u->iova, size = u->size;
	long ret = unmap(c, u);

	fake_log(ret, "unmap 0x%" PRIx64 " 0x%" PRIx64, iova, size);
	return ret;
}

long fake_type1_ioctl(struct fake_container *c, unsigned long request, void *arg)
{
	switch (request) {
	case VFIO_IOMMU_GET_INFO:
		return get_info(c, arg);
	case VFIO_IOMMU_MAP_DMA:
		return logged_map(c, arg);
	case VFIO_IOMMU_UNMAP_DMA:
		return logged_unmap(c, arg);
	default:
		return -ENOTTY;
	}
}
