/* SPDX-License-Identifier: BSD-2-Clause */
/* Physical region pages: how a command tells the controller where its buffer is. */
#ifndef NVME_PRP_H
#define NVME_PRP_H

#include <stddef.h>

#include <dray/types.h>

#include "le.h"

/* Most list pages that any buffer of @max_len bytes needs, whatever its offset in a page. */
size_t nvme_prp_list_pages(size_t max_len, size_t page);

/*
 * Describe the buffer at @iova, @len > 0 bytes, contiguous for the device. @list has room for
 * nvme_prp_list_pages() pages that the device sees at @list_iova, both page-aligned and contiguous.
 * Returns how many pages the buffer touches.
 */
size_t nvme_prp_build(dray_iova_t iova, size_t len, size_t page, nvme_le64 *list,
		      dray_iova_t list_iova, nvme_le64 *ret_prp1, nvme_le64 *ret_prp2);

#endif
