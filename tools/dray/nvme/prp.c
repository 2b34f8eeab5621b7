// SPDX-License-Identifier: BSD-2-Clause
/*
 * PRP entries and lists
 *
 * 1. A command has two entries. The first points anywhere in a page and reaches to its end. The
 *    second is unused, or the second page of a buffer that touches two, or points to a list.
 * 2. A list is a page of 64-bit entries, each the start of the next page of the buffer. When the
 *    entries do not fit, the last place of the page holds the address of the next list page
 *    instead: so a page carries 512 entries if it is the last one, else 511 (for 4096-byte pages).
 * 3. A dray mapping is contiguous for the device, so each entry is the one before plus a page; no
 *    lookup is needed, and the device's page size is free of the IOMMU's.
 * 4. The offset of the buffer in its page decides how many pages it touches; that is why dray keeps
 *    the offset, and why the list's room is computed for the worst one.
 */
#include "nvme/prp.h"

#define ENTRY sizeof(nvme_le64)

size_t nvme_prp_list_pages(size_t max_len, size_t page)
{
	/* The worst offset is the last aligned word of a page. */
	size_t touched = (max_len + (page - 4) + (page - 1)) / page;
	size_t per_page = page / ENTRY;

	if (touched <= 2)
		return 0;
	/* n pages hold (n - 1) * (per_page - 1) + per_page entries; one entry is PRP1. */
	return (touched - 2 + (per_page - 2)) / (per_page - 1);
}

size_t nvme_prp_build(dray_iova_t iova, size_t len, size_t page, nvme_le64 *list,
		      dray_iova_t list_iova, nvme_le64 *ret_prp1, nvme_le64 *ret_prp2)
{
	size_t first = page - (size_t)(iova & (page - 1));
	size_t per_page = page / ENTRY;
	size_t left, at = 0;
	dray_iova_t next = iova + first;

	*ret_prp1 = nvme_to_le64(iova);
	*ret_prp2 = nvme_to_le64(0);
	if (len <= first)
		return 1;
	left = (len - first + page - 1) / page;
	if (left == 1) {
		*ret_prp2 = nvme_to_le64(next);
		return 2;
	}
	*ret_prp2 = nvme_to_le64(list_iova);
	for (size_t i = 0; i < left; i++, next += page) {
		if (at % per_page == per_page - 1 && left - i > 1) {
			/* The next list page follows this one in memory. */
			list[at] = nvme_to_le64(list_iova + (at + 1) * ENTRY);
			at++;
		}
		list[at++] = nvme_to_le64(next);
	}
	return left + 1;
}
