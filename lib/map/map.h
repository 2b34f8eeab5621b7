/* SPDX-License-Identifier: BSD-2-Clause */
/* What the files of the map layer share: one map, one unmap, one receipt. */
#ifndef DR_MAP_H
#define DR_MAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <dray/map.h>

#include "domain/domain.h"

/* In cookie[1]: that it is a receipt, and the owner number of the device it was made for. */
#define DR_RECEIPT_OWNER UINT64_C(0x3ff)
#define DR_RECEIPT_MAGIC UINT64_C(0xd7a9000000000000)

/* The whole granules around a buffer. */
struct dr_span {
	char *va;
	size_t len;
	size_t off; /* of the buffer in the first granule */
};

struct dr_map_args {
	void *va;
	size_t len;
	enum dray_dir dir;
	dray_iova_t iova; /* DRAY_IOVA_NONE: anywhere */
	size_t align;     /* of the IOVA; 0: as the buffer's size suggests */
};

/* What any map call refuses before it looks at the device. 0, -EINVAL. */
int dr_map_check(const void *va, size_t len, enum dray_dir dir, uint32_t flags);

int dr_map_one(struct dray_device *dev, const struct dr_map_args *a, struct dray_mapping *ret_map);

/*
 * Zeroes *m. False when the buffer is not the caller's to reuse: the backend refused to let go of
 * it, or the receipt was not live.
 */
bool dr_unmap_one(struct dray_mapping *m);

/* The domain a receipt was made in; NULL when it is no receipt, or its domain is gone. */
struct dray_domain *dr_receipt_domain(const struct dray_mapping *m);

#endif
