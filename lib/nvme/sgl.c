// SPDX-License-Identifier: BSD-2-Clause
/*
 * Scatter-gather lists of NVMe
 *
 * Concepts
 * 1. A descriptor names an address, a length and what is there: data, or further descriptors. The
 *    first one is in the command. Data of one piece needs no other.
 * 2. A segment of the list (here: a list page) is described by its address and the bytes in use,
 *    by a descriptor of type Last Segment when only data follows in it, else by one of type
 *    Segment; then its last descriptor leads to the next segment. So each descriptor that leads on
 *    has to know whether what it leads to is the last.
 * 3. Lengths have 32 bits. A longer run becomes several descriptors, cut at a multiple of 4096, so
 *    that no alignment is lost.
 *
 * How it works: as prp.c: count, check, write. The fewest descriptors come out, because runs.c
 * merges what adjoins.
 */
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <string.h>

#include <dray/nvme_prp.h>

#include "base/err.h"
#include "nvme/runs.h"

#define DESC sizeof(struct dray_sgl_desc)
/* The longest descriptor that keeps every alignment for the one after it. */
#define DESC_MAX (UINT32_MAX - 4095u)

_Static_assert(DESC == 16, "a descriptor is 16 bytes");

static int check_shape(size_t align, size_t list_bytes)
{
	if (align != 1 && align != 4)
		return dr_fail(EINVAL, "SGL alignment %zu is none of NVMe; pass 1 or 4 as SGLS says",
			       align);
	if (list_bytes < 2 * DESC || list_bytes % DESC || list_bytes > DESC_MAX)
		return dr_fail(EINVAL,
			       "list pages of %zu bytes hold no descriptors; pass a multiple of %zu "
			       "of at least %zu",
			       list_bytes, DESC, 2 * DESC);
	return 0;
}

static int count(const struct dray_sg *sg, unsigned nsegs, size_t off, size_t len, size_t align,
		 size_t list_bytes, uint64_t *ret_descs)
{
	uint64_t descs = 0;
	struct dr_runs runs;
	struct dr_run run;
	int rc = check_shape(align, list_bytes);

	if (!rc)
		rc = dr_runs_start(&runs, sg, nsegs, off, len);
	if (rc)
		return rc;
	while (dr_runs_next(&runs, &run)) {
		if ((run.iova | run.len) % align)
			return dr_fail(EINVAL,
				       "%zu bytes at IOVA %#" PRIx64 " are not aligned to %zu as "
				       "the controller's SGLs are; copy them",
				       run.len, run.iova, align);
		descs += (run.len - 1) / DESC_MAX + 1;
	}
	if (descs > INT_MAX)
		return dr_fail(EMSGSIZE,
			       "%" PRIu64 " SGL descriptors are more than one command can have; "
			       "describe a smaller part",
			       descs);
	*ret_descs = descs;
	return 0;
}

static uint64_t lists_of(uint64_t descs, size_t list_bytes)
{
	return descs == 1 ? 0 : dr_list_pages(descs, list_bytes / DESC);
}

int dray_sgl_count(const struct dray_sg *sg, unsigned nsegs, size_t off, size_t len, size_t align,
		   size_t list_bytes, unsigned *ret_lists)
{
	uint64_t descs;
	int rc = count(sg, nsegs, off, len, align, list_bytes, &descs);

	if (rc)
		return rc;
	if (ret_lists)
		*ret_lists = (unsigned)lists_of(descs, list_bytes);
	return (int)descs;
}

static struct dray_sgl_desc describe(dray_iova_t iova, size_t len, uint8_t type)
{
	return (struct dray_sgl_desc){
		.addr = dr_le64(iova), .len = dr_le32((uint32_t)len), .type = type};
}

/* Where the next descriptor goes: the list pages in their order. */
struct cursor {
	const struct dray_nvme_list *list;
	size_t at, per;
	uint64_t left; /* data descriptors not yet written */
};

/* The descriptor that leads to @list, which is the next one to be filled. */
static struct dray_sgl_desc lead(const struct cursor *c, const struct dray_nvme_list *list)
{
	if (c->left <= c->per)
		return describe(list->iova, (size_t)c->left * DESC, DRAY_SGL_LAST_SEGMENT);
	return describe(list->iova, c->per * DESC, DRAY_SGL_SEGMENT);
}

static void put(struct cursor *c, struct dray_sgl_desc data)
{
	struct dray_sgl_desc *desc = c->list->va;

	if (c->at == c->per - 1 && c->left > 1) {
		c->list++;
		desc[c->at] = lead(c, c->list);
		desc = c->list->va;
		c->at = 0;
	}
	desc[c->at++] = data;
	c->left--;
}

int dray_sgl_build(const struct dray_sg *sg, unsigned nsegs, size_t off, size_t len, size_t align,
		   const struct dray_nvme_list *lists, size_t list_bytes, unsigned n_lists,
		   struct dray_sgl_desc *ret_sgl)
{
	struct cursor c = {.list = lists, .per = list_bytes / DESC};
	uint64_t descs, need;
	struct dr_runs runs;
	struct dr_run run;
	int rc;

	rc = count(sg, nsegs, off, len, align, list_bytes, &descs);
	if (rc)
		return rc;
	need = lists_of(descs, list_bytes);
	if (!ret_sgl)
		return dr_fail(EINVAL, "no place for the first SGL descriptor was given; pass one");
	rc = dr_lists_check(lists, n_lists, need, DESC, DESC);
	if (rc)
		return rc;

	c.left = descs;
	if (need)
		*ret_sgl = lead(&c, lists);
	dr_runs_start(&runs, sg, nsegs, off, len);
	while (dr_runs_next(&runs, &run)) {
		while (run.len) {
			size_t n = run.len < DESC_MAX ? run.len : DESC_MAX;
			struct dray_sgl_desc data = describe(run.iova, n, DRAY_SGL_DATA);

			if (need)
				put(&c, data);
			else
				*ret_sgl = data;
			run.iova += n;
			run.len -= n;
		}
	}
	return (int)need;
}
