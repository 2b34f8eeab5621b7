// SPDX-License-Identifier: BSD-2-Clause
/*
 * What a device is told of a list: elements whose bytes follow each other in IOVA become one
 * segment, as long as it is no longer than the device's longest and crosses no boundary of its.
 *
 * Elements are put together whole. An element is cut only where it does not fit by itself, and then
 * as late as it can be: so a list of elements that each fit never has more segments than elements,
 * which a device that counts its descriptors relies on.
 */
#include "map/segments.h"
#include "map/map.h"

/*
 * The longest piece of [iova, iova + len) that is one segment by itself; what follows it begins at
 * the device's alignment as well.
 */
static size_t piece(const struct dray_device *dev, dray_iova_t iova, size_t len)
{
	uint64_t room = dev->boundary_mask ? dev->boundary_mask - (iova & dev->boundary_mask) : 0;

	if (dev->max_segment && len > dev->max_segment) {
		len = dev->max_segment;
		if (dev->min_align && len > dev->min_align)
			len &= ~(dev->min_align - 1);
	}
	if (dev->boundary_mask && len - 1 > room)
		len = (size_t)room + 1;
	return len;
}

/* May [iova, iova + len) be one segment? */
static bool fits(const struct dray_device *dev, dray_iova_t iova, size_t len)
{
	return !(dev->max_segment && len > dev->max_segment) && !dr_crosses(dev, iova, len);
}

/*
 * Where nothing limits a segment: 7 instructions for an element that adjoins, 16 for one that does
 * not, where the general way takes 23 and 39.
 */
static unsigned join(const struct dray_sg *sg, unsigned n, dray_iova_t first,
		     struct dray_sg *sg_out)
{
	const struct dray_sg *e = sg, *end = sg + n;
	struct dray_sg *out = sg_out;

	for (;; out++) {
		dray_iova_t next = first + e->len;

		/* The inner loop is all that a long segment takes. */
		while (++e != end && e->cookie[0] == next)
			next += e->len;
		out->iova = first;
		out->dma_len = next - first;
		if (e == end)
			return (unsigned)(out - sg_out) + 1;
		first = e->cookie[0];
	}
}

unsigned dr_segments(const struct dray_device *dev, const struct dray_sg *sg, unsigned n,
		     dray_iova_t first, struct dray_sg *sg_out)
{
	dray_iova_t begin = 0, at;
	size_t have = 0; /* of the segment that grows */
	unsigned out = 0;

	if (sg_out && !dev->max_segment && !dev->boundary_mask)
		return join(sg, n, first, sg_out);
	for (unsigned i = 0; i < n; i++) {
		size_t left = sg[i].len;

		at = i ? sg[i].cookie[0] : first;
		if (have && begin + have == at && fits(dev, begin, have + left)) {
			have += left;
			continue;
		}
		while (left) {
			if (have) {
				if (sg_out) {
					sg_out[out].iova = begin;
					sg_out[out].dma_len = have;
				}
				out++;
			}
			begin = at;
			have = piece(dev, at, left);
			at += have;
			left -= have;
		}
	}
	if (sg_out) {
		sg_out[out].iova = begin;
		sg_out[out].dma_len = have;
	}
	return out + 1;
}
