/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef DR_MAP_SEGMENTS_H
#define DR_MAP_SEGMENTS_H

#include <dray/sg.h>

#include "domain/domain.h"

/*
 * Count the segments of @n elements, and write them to @sg_out, which may be @sg itself; not if it
 * is NULL. Element 0 begins at @first, every other where its cookie[0] says. In place no segment
 * hides an element, because only iova and dma_len are written and neither is read.
 */
unsigned dr_segments(const struct dray_device *dev, const struct dray_sg *sg, unsigned n,
		     dray_iova_t first, struct dray_sg *sg_out);

#endif
