// SPDX-License-Identifier: BSD-2-Clause
/* What a device is to the domain it is in: its limits, trust, coherency and bounce pools. */
#include "domain/attachment.h"
#include "base/err.h"
#include "base/structs.h"

#include <errno.h>
#include <string.h>

_Static_assert(sizeof(((struct dray_device_info *)0)->name) ==
	       sizeof(((struct dray_device *)0)->name), "a name is told whole");

static void tell_pools(const struct dr_attachment *att, struct dray_device_info *info)
{
	struct dr_bounce_stats st;

	if (!att->own)
		return;
	dr_bounce_stats(att->dom->bounce, att->own, &st);
	info->bounce_bytes = st.ceiling_bytes;
	info->bounce_held_bytes = st.mapped_bytes + st.private_bytes;
	info->bounce_used_bytes = st.used_bytes;
	info->bounce_high_water_bytes = st.high_water_bytes;
}

int dray_device_info(const struct dray_device *dev, struct dray_device_info *inout)
{
	struct dray_device_info info = { 0 };
	struct dr_attachment *att;
	int err = dr_device_check(dev);

	if (err)
		return err;
	/* It counts in the domain. */
	att = dr_device_lock_here((struct dray_device *)(uintptr_t)dev);
	if (!att)
		return -EINVAL;
	info.flags = dev->flags;
	info.trusted = dr_domain_is_trusted(att->dom);
	info.coherent = atomic_load_explicit(&dev->bd->coherent, memory_order_relaxed);
	info.enforces_coherency = dev->bd->enforces_coherency;
	memcpy(info.name, dev->name, sizeof(info.name));
	info.dma_mask = atomic_load_explicit(&dev->dma_mask, memory_order_relaxed);
	info.segment_boundary_mask = dev->boundary_mask;
	info.max_segment = dev->max_segment;
	info.min_align = dev->min_align;
	tell_pools(att, &info);
	dr_device_unlock_here(att);
	return dr_struct_out(inout, &info, sizeof(info));
}
