// SPDX-License-Identifier: BSD-2-Clause
/*
 * PRP entries and lists
 *
 * Concepts
 * 1. An entry is an address in a page of the controller and stands for the bytes from there to the
 *    page's end. The first may lie anywhere in its page, at a multiple of 4; every other begins
 *    one. So data that PRP entries can describe fills whole pages but at its two ends, and whether
 *    it does is a question about the places where it is not contiguous, nothing else.
 * 2. A command holds two entries. Data in one page needs the first alone; data in two pages has
 *    the second page in the second; for more, the second leads to a list of all pages but the
 *    first.
 * 3. A list page holds page / 8 entries. When more are to come, the last place of the page holds
 *    the address of the next list page instead. A list that exactly fills its page therefore has
 *    an entry in its last place, and one entry more moves that entry to the next page. The
 *    controller knows which it is from the length of the transfer, so both sides have to count
 *    alike.
 *
 * How it works
 * 4. Two walks over the runs (runs.c). The first counts pages and finds what cannot be described,
 *    looking at each run once, not at each page. The second writes.
 *
 * Locking and ordering: none; the output is the caller's, and ordering it before the doorbell
 * too. What can fail: the first walk, a list page that is missing or not aligned. Then nothing was
 * written.
 */
#include <errno.h>
#include <inttypes.h>
#include <limits.h>

#include <dray/nvme_prp.h>

#include "base/bits.h"
#include "base/err.h"
#include "nvme/runs.h"

#define ENTRY sizeof(dray_le64)
/* The smallest page that CC.MPS can name. */
#define SMALLEST_PAGE 4096u
/* Alignment of the first byte: the two lowest bits of an entry are reserved. */
#define WORD 4u

static bool known_page(size_t page)
{
	return page >= SMALLEST_PAGE && dr_is_pow2(page);
}

/* Pages that @len > 0 bytes at @at touch. */
static uint64_t touched(uint64_t at, uint64_t len, size_t page)
{
	uint64_t first = page - (at & (page - 1));

	return len <= first ? 1 : (len - first - 1) / page + 2;
}

/* May a stretch of data be so? @first, @last: of all. */
static bool fits(uint64_t at, uint64_t len, size_t page, bool first, bool last)
{
	if (first ? at % WORD : at & (page - 1))
		return false;
	return last || !((at + len) & (page - 1));
}

static int refuse_page(size_t page)
{
	return dr_fail(EINVAL,
		       "pages of %zu bytes are none of NVMe; pass a power of two of at least %u",
		       page, SMALLEST_PAGE);
}

/* All that can be wrong with a part, and how many entries and list pages it takes. */
static int count(const struct dray_sg *sg, unsigned nsegs, size_t off, size_t len, size_t page,
		 uint64_t *ret_entries)
{
	uint64_t entries = 0;
	struct dr_runs runs;
	struct dr_run run;
	int rc;

	if (!known_page(page))
		return refuse_page(page);
	rc = dr_runs_start(&runs, sg, nsegs, off, len);
	if (rc)
		return rc;
	while (dr_runs_next(&runs, &run)) {
		if (!fits(run.iova, run.len, page, !entries, !runs.left))
			return dr_fail(EINVAL,
				       "%zu bytes at IOVA %#" PRIx64 " begin or end inside a page "
				       "of %zu where PRP entries cannot; ask dray_prp_able() first, "
				       "use an SGL or copy",
				       run.len, run.iova, page);
		entries += touched(run.iova, run.len, page);
	}
	if (entries > INT_MAX)
		return dr_fail(EMSGSIZE,
			       "%" PRIu64 " PRP entries are more than one command can have; "
			       "describe a smaller part",
			       entries);
	*ret_entries = entries;
	return 0;
}

/* List pages of a command with so many entries. */
static uint64_t lists_of(uint64_t entries, size_t page)
{
	return entries <= 2 ? 0 : dr_list_pages(entries - 1, page / ENTRY);
}

bool dray_prp_able(const struct dray_sg *sg, unsigned nsegs, size_t page)
{
	bool first = true;

	if (!sg || !nsegs || !known_page(page))
		return false;
	for (unsigned i = 0; i < nsegs; i++) {
		dray_iova_t at = sg[i].iova, end = at + sg[i].dma_len;
		bool last = i + 1 == nsegs;

		if (!sg[i].dma_len || sg[i].dma_len - 1 > UINT64_MAX - at)
			return false;
		/* Where two adjoin it does not matter how they lie. */
		if (first && at % WORD)
			return false;
		if (!first && at != sg[i - 1].iova + sg[i - 1].dma_len && at & (page - 1))
			return false;
		if (!last && (!end || end != sg[i + 1].iova) && end & (page - 1))
			return false;
		first = false;
	}
	return true;
}

bool dray_prp_able_iov(const struct iovec *iov, unsigned n, size_t page)
{
	uintptr_t end = 0;
	bool first = true;

	if (!iov || !known_page(page))
		return false;
	for (unsigned i = 0; i < n; i++) {
		uintptr_t at = (uintptr_t)iov[i].iov_base;

		if (!iov[i].iov_len)
			continue;
		if (iov[i].iov_len - 1 > UINTPTR_MAX - at)
			return false;
		if (first ? at % WORD : at != end && (at | end) & (page - 1))
			return false;
		end = at + iov[i].iov_len;
		first = false;
	}
	return !first;
}

size_t dray_prp_lists_max(size_t len, size_t page)
{
	if (!len || !known_page(page))
		return 0;
	/* The worst offset is the last word of a page. */
	return (size_t)lists_of(touched(page - WORD, len, page), page);
}

int dray_prp_count(const struct dray_sg *sg, unsigned nsegs, size_t off, size_t len, size_t page,
		   unsigned *ret_lists)
{
	uint64_t entries;
	int rc = count(sg, nsegs, off, len, page, &entries);

	if (rc)
		return rc;
	if (ret_lists)
		*ret_lists = (unsigned)lists_of(entries, page);
	return (int)entries;
}

/* Where the next entry goes: the list pages in their order. */
struct cursor {
	const struct dray_nvme_list *list;
	size_t at, per;
	uint64_t left; /* entries not yet written, this one included */
};

static void put(struct cursor *c, dray_iova_t page)
{
	dray_le64 *entry = c->list->va;

	if (c->at == c->per - 1 && c->left > 1) {
		c->list++;
		entry[c->at] = dr_le64(c->list->iova);
		entry = c->list->va;
		c->at = 0;
	}
	entry[c->at++] = dr_le64(page);
	c->left--;
}

int dray_prp_build(const struct dray_sg *sg, unsigned nsegs, size_t off, size_t len, size_t page,
		   const struct dray_nvme_list *lists, unsigned n_lists, struct dray_prp *ret_prp)
{
	struct cursor c = {.list = lists, .per = page / ENTRY};
	dray_iova_t at, second = 0;
	uint64_t entries, need;
	struct dr_runs runs;
	struct dr_run run;
	int rc;

	rc = count(sg, nsegs, off, len, page, &entries);
	if (rc)
		return rc;
	need = lists_of(entries, page);
	if (!ret_prp)
		return dr_fail(EINVAL, "no place for the PRP entries was given; pass one");
	rc = dr_lists_check(lists, n_lists, need, ENTRY, page);
	if (rc)
		return rc;

	c.left = entries - 1;
	dr_runs_start(&runs, sg, nsegs, off, len);
	for (bool first = true; dr_runs_next(&runs, &run); first = false) {
		uint64_t n = touched(run.iova, run.len, page);

		at = run.iova;
		if (first) {
			ret_prp->prp1 = dr_le64(at);
			at = dr_align_down(at, page) + page;
			n--;
		}
		for (; n; n--, at += page) {
			if (need)
				put(&c, at);
			else
				second = at;
		}
	}
	ret_prp->prp2 = dr_le64(need ? lists[0].iova : second);
	return (int)need;
}
