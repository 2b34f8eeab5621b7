// SPDX-License-Identifier: BSD-2-Clause
/*
 * Hand bytes over between CPU and device.
 *
 * Every device dray opens snoops the CPU's caches and every buffer is mapped where it is, so there
 * is nothing to write back, invalidate or copy: what is left is to hold the compiler and the
 * processor to their order, and to refuse ranges that are not the mapping's.
 */
#include "map/map.h"
#include "base/err.h"

#include <errno.h>
#include <inttypes.h>

static int check_sync(const struct dray_device *dev, const struct dray_mapping *m, size_t off,
		      size_t len)
{
	if (!dev || !m)
		return dr_fail(EINVAL, "%s is NULL", dev ? "receipt" : "device");
	if (!dr_receipt_domain(m))
		return dr_fail(EINVAL, "receipt is not live; sync before unmap");
	if (off > m->len || len > m->len - off)
		return dr_fail(EINVAL, "sync of 0x%zx+0x%zx in a mapping of 0x%zx bytes", off, len,
			       m->len);
	return 0;
}

int dray_sync_for_device(struct dray_device *dev, const struct dray_mapping *m, size_t off,
			 size_t len)
{
	int err = check_sync(dev, m, off, len);

	/* Release: the buffer's bytes before the doorbell that tells the device of them. */
	atomic_thread_fence(memory_order_release);
	return err;
}

int dray_sync_for_cpu(struct dray_device *dev, const struct dray_mapping *m, size_t off, size_t len)
{
	int err = check_sync(dev, m, off, len);

	/* Acquire: the completion that tells of the bytes before the bytes. */
	atomic_thread_fence(memory_order_acquire);
	return err;
}
