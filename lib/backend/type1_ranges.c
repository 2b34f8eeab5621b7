// SPDX-License-Identifier: BSD-2-Clause
/*
 * What the hardware takes: IOVA ranges, page sizes, entries left.
 *
 * 1. Sources. The kernel's list (VFIO_IOMMU_GET_INFO, a chain of capabilities) is what its map call
 *    checks against, so it decides. It exists since 5.4 and leaves out what the platform reserves,
 *    the MSI window among it; it changes when a group joins or leaves. What the groups' files in
 *    sysfs name as reserved is taken out as well, for kernels without the list.
 *
 * 2. "direct-relaxable" regions stay usable: firmware used them once, the kernel's list has them,
 *    and a device that userspace drives does not need them. "direct", "reserved" and "msi" go.
 *
 * 3. Before a device is there nothing is known. The default window starts above what firmware
 *    likes to reserve, ends at 2^39 - 1, the least that any VT-d unit translates, and leaves out
 *    the window in which x86 takes interrupts.
 *
 * 4. Ranges are kept ascending, disjoint, whole granules, and inside what the mapping table can
 *    hold. Should there be more than fit, the smallest are given up: addresses are lost, never
 *    invented.
 *
 * Locking: limits are guarded by the domain's attach lock; the rest is pure.
 */
#define _GNU_SOURCE
#include "backend/type1.h"
#include "base/bits.h"
#include "base/err.h"
#include "base/hooks.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/vfio.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DEFAULT_FIRST UINT64_C(0x100000)
#define DEFAULT_LAST  ((UINT64_C(1) << 39) - 1)
#define X86_MSI_FIRST UINT64_C(0xfee00000)
#define X86_MSI_LAST  UINT64_C(0xfeefffff)
#define TABLE_LAST    ((UINT64_C(1) << DR_PT_ADDR_BITS) - 1)

/* What the module takes when nobody told it otherwise (16-bit ids less one). */
#define DEFAULT_ENTRIES 65535u

/*
 * Room for the info struct and every capability of today with some 200 ranges. On the stack,
 * because closing a device reads it too, and closing never allocates.
 */
#define INFO_BYTES 4096

/* A capability chain has one entry of each kind; more than this is a loop. */
#define MAX_CAPS 32

static uint64_t span(const struct dray_range *r)
{
	return r->last - r->first;
}

/* Append to an ascending list; a full one gives up its smallest range, which may be @r. */
static void append(struct dray_range *list, uint32_t *inout_n, struct dray_range r)
{
	uint32_t least = 0;

	if (*inout_n < DR_BACKEND_RANGES) {
		list[(*inout_n)++] = r;
		return;
	}
	for (uint32_t i = 1; i < DR_BACKEND_RANGES; i++)
		if (span(&list[i]) < span(&list[least]))
			least = i;
	if (span(&list[least]) >= span(&r))
		return;
	memmove(&list[least], &list[least + 1], (DR_BACKEND_RANGES - 1 - least) * sizeof(r));
	list[DR_BACKEND_RANGES - 1] = r;
}

/* Append the whole granules of [first, last] that the table can hold, if there are any. */
static void append_granules(struct dr_backend_limits *lim, dray_iova_t first, dray_iova_t last)
{
	uint64_t mask = lim->granule - 1;

	if (last > TABLE_LAST)
		last = TABLE_LAST;
	if (first > last || last - first < mask)
		return;
	/* Neither rounding wraps: both stay between first and last. */
	first = (first + mask) & ~mask;
	last = (last - mask) | mask;
	if (first < last)
		append(lim->usable, &lim->n_usable, (struct dray_range){ first, last });
}

void dr_type1_limits_exclude(struct dr_backend_limits *lim, dray_iova_t first, dray_iova_t last)
{
	struct dr_backend_limits was = *lim;

	lim->n_usable = 0;
	for (uint32_t i = 0; i < was.n_usable; i++) {
		const struct dray_range *r = &was.usable[i];

		if (last < r->first || first > r->last) {
			append(lim->usable, &lim->n_usable, *r);
			continue;
		}
		if (first > r->first)
			append_granules(lim, r->first, first - 1);
		if (last < r->last)
			append_granules(lim, last + 1, r->last);
	}
}

void dr_type1_limits_exclude_text(struct dr_backend_limits *lim, const char *text)
{
	uint64_t first, last;
	char type[32];

	for (; *text; text = *text ? text + 1 : text) {
		if (sscanf(text, "0x%" SCNx64 " 0x%" SCNx64 " %31s", &first, &last, type) == 3 &&
		    first <= last && strcmp(type, "direct-relaxable"))
			dr_type1_limits_exclude(lim, first, last);
		text += strcspn(text, "\n");
	}
}

long dr_type1_read_text(const char *path, char *ret_text, size_t size)
{
	int fd = dr_hooks->open(path, O_RDONLY | O_CLOEXEC);
	ssize_t got;
	size_t len = 0;

	if (fd < 0)
		return -1;
	while (len < size - 1) {
		got = dr_hooks->pread(fd, ret_text + len, size - 1 - len, (off_t)len);
		if (got <= 0)
			break;
		len += (size_t)got;
	}
	ret_text[len] = '\0';
	dr_hooks->close(fd);
	return (long)len;
}

static void exclude_reserved(struct dr_backend_limits *lim, unsigned group_id)
{
	char path[256], text[INFO_BYTES];

	snprintf(path, sizeof(path), "%s/kernel/iommu_groups/%u/reserved_regions", dr_hooks->sysfs,
		 group_id);
	/* Kernels before 4.11 have no such file; the kernel's own list does not need it. */
	if (dr_type1_read_text(path, text, sizeof(text)) > 0)
		dr_type1_limits_exclude_text(lim, text);
}

static uint64_t read_entries_limit(void)
{
	unsigned long long n;
	char path[256], text[32];

	snprintf(path, sizeof(path), "%s/module/vfio_iommu_type1/parameters/dma_entry_limit",
		 dr_hooks->sysfs);
	if (dr_type1_read_text(path, text, sizeof(text)) <= 0)
		return DEFAULT_ENTRIES;
	n = strtoull(text, NULL, 10);
	return n ? n : DEFAULT_ENTRIES;
}

int dr_type1_limits_at_open(dray_iova_t first, dray_iova_t last, struct dr_backend_limits *ret_lim)
{
	struct dr_backend_limits *lim = ret_lim;
	bool named = first || last;

	memset(lim, 0, sizeof(*lim));
	lim->page_sizes = DR_PT_PAGE_SIZES;
	lim->granule = 4096;
	lim->entries_limit = read_entries_limit();
	append_granules(lim, named ? first : DEFAULT_FIRST, named ? last : DEFAULT_LAST);
	if (!lim->n_usable && first <= TABLE_LAST)
		return dr_fail(EINVAL, "window 0x%" PRIx64 "..0x%" PRIx64 " holds no whole granule "
			       "of %zu bytes; widen it", first, last, lim->granule);
	dr_type1_limits_exclude(lim, X86_MSI_FIRST, X86_MSI_LAST);
	if (!lim->n_usable)
		return dr_fail(ERANGE, "no IOMMU takes 0x%" PRIx64 "..0x%" PRIx64 "; name a window "
			       "below 2^%d that is more than 0xfee00000..0xfeefffff", first, last,
			       DR_PT_ADDR_BITS);
	return 0;
}

static bool parse_ranges(const char *cap, size_t len, struct dr_type1_info *ret_info)
{
	struct vfio_iommu_type1_info_cap_iova_range head;
	struct vfio_iova_range r;

	if (len < sizeof(head))
		return false;
	memcpy(&head, cap, sizeof(head));
	if (head.nr_iovas > (len - sizeof(head)) / sizeof(r))
		return false;
	ret_info->has_ranges = true;
	for (uint32_t i = 0; i < head.nr_iovas; i++) {
		uint64_t lowest = ret_info->n_ranges ?
			ret_info->ranges[ret_info->n_ranges - 1].last + 1 : 0;

		memcpy(&r, cap + sizeof(head) + i * sizeof(r), sizeof(r));
		/* lowest is 0 again after a range that ends with the address space. */
		if (r.start > r.end || r.start < lowest || (ret_info->n_ranges && !lowest))
			return false;
		append(ret_info->ranges, &ret_info->n_ranges,
		       (struct dray_range){ r.start, r.end });
	}
	return true;
}

static bool parse_avail(const char *cap, size_t len, struct dr_type1_info *ret_info)
{
	struct vfio_iommu_type1_info_dma_avail a;

	if (len < sizeof(a))
		return false;
	memcpy(&a, cap, sizeof(a));
	ret_info->has_avail = true;
	ret_info->avail = a.avail;
	return true;
}

bool dr_type1_info_parse(const void *buf, size_t len, struct dr_type1_info *ret_info)
{
	const size_t basic = offsetof(struct vfio_iommu_type1_info, cap_offset);
	struct vfio_iommu_type1_info info = { 0 };
	struct vfio_info_cap_header head;
	uint32_t off;

	memset(ret_info, 0, sizeof(*ret_info));
	if (len < basic)
		return false;
	memcpy(&info, buf, len < sizeof(info) ? len : sizeof(info));
	if (info.flags & VFIO_IOMMU_INFO_PGSIZES)
		ret_info->page_sizes = info.iova_pgsizes;
	if (!(info.flags & VFIO_IOMMU_INFO_CAPS) || len < sizeof(info))
		return true;
	/* 0: there are capabilities, but the buffer had no room for them. */
	off = info.cap_offset;
	for (unsigned n = 0; off; n++, off = head.next) {
		const char *cap = (const char *)buf + off;
		bool ok = true;

		if (n == MAX_CAPS || off < basic || off > len || len - off < sizeof(head))
			return false;
		memcpy(&head, cap, sizeof(head));
		if (head.id == VFIO_IOMMU_TYPE1_INFO_CAP_IOVA_RANGE && !ret_info->has_ranges)
			ok = parse_ranges(cap, len - off, ret_info);
		else if (head.id == VFIO_IOMMU_TYPE1_INFO_DMA_AVAIL)
			ok = parse_avail(cap, len - off, ret_info);
		if (!ok)
			return false;
	}
	return true;
}

int dr_type1_info_read(int container, struct dr_type1_info *ret_info)
{
	_Alignas(struct vfio_iommu_type1_info) char buf[INFO_BYTES];
	struct vfio_iommu_type1_info *info = (struct vfio_iommu_type1_info *)buf;
	size_t len;

	memset(buf, 0, sizeof(buf));
	info->argsz = sizeof(buf);
	if (dr_hooks->ioctl(container, VFIO_IOMMU_GET_INFO, info))
		return -errno;
	/* More than there was room for: then the rest is missing, capabilities first. */
	len = info->argsz < sizeof(buf) ? info->argsz : sizeof(buf);
	return dr_type1_info_parse(buf, len, ret_info) ? 0 : -EIO;
}

int dr_type1_limits_read(struct dr_type1 *t)
{
	struct dr_backend_limits *lim = &t->base.limits;
	const struct dray_range *ranges = t->at_open.usable;
	uint32_t n = t->at_open.n_usable;
	struct dr_type1_info info;
	int err = dr_type1_info_read(t->container, &info);

	if (err)
		return err;
	*lim = t->at_open;
	if (info.page_sizes) {
		lim->page_sizes = info.page_sizes;
		lim->granule = (size_t)1 << __builtin_ctzll(info.page_sizes);
	}
	if (info.has_ranges) {
		ranges = info.ranges;
		n = info.n_ranges;
	}
	lim->n_usable = 0;
	for (uint32_t i = 0; i < n; i++)
		append_granules(lim, ranges[i].first, ranges[i].last);
	for (const struct dr_type1_device *d = t->devices; d; d = d->next)
		exclude_reserved(lim, d->group_id);
	return lim->n_usable ? 0 : -ERANGE;
}
